//! Gemini CLI: `BeforeTool` of its editing tools, `SessionStart`, `SessionEnd`.

use serde_json::json;

use super::fields::Fields;
use super::tools::{self, Tool};
use super::{Answer, Event, EventKind, PayloadError, Reply, Sender, non_empty, object, session_context};

const TOOLS: [(&str, Tool); 2] = [("write_file", Tool::Edit), ("replace", Tool::Replace)];

pub(super) fn read(sender: Sender, fields: Fields<'_>) -> Result<Event, PayloadError> {
    let kind = match fields.needed(&["hook_event_name"])? {
        "BeforeTool" => match tools::named(&TOOLS, fields.needed(&["tool_name"])?) {
            Some(tool) => EventKind::Edits(tools::edits(tool, fields.value(&["tool_input"]))?),
            None => EventKind::Other,
        },
        "SessionStart" => EventKind::SessionStart,
        "SessionEnd" => EventKind::SessionEnd,
        _ => EventKind::Other,
    };
    Ok(Event {
        sender,
        kind,
        session: fields.owned(&["session_id"])?,
        agent: fields.owned(&["agent_id"])?,
        cwd: fields.owned(&["cwd"])?,
    })
}

pub(super) fn reply(answer: &Answer) -> Reply {
    match answer {
        Answer::Pass => Reply::default(),
        Answer::Deny(reason) => object(&json!({"decision": "deny", "reason": non_empty(reason)})),
        Answer::Context(text) => object(&session_context(text)),
    }
}
