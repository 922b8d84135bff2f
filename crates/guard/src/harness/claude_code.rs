//! Claude Code: `PreToolUse` of its editing tools, `SessionStart`, `SessionEnd`, `SubagentStop`.

use serde_json::json;

use super::fields::Fields;
use super::tools::{self, Tool};
use super::{Answer, Event, EventKind, PayloadError, Reply, Sender, non_empty, object, session_context};

/// `MultiEdit` is of its earlier versions. What a cell of a notebook is in its file is not told.
const TOOLS: [(&str, Tool); 4] = [
    ("Edit", Tool::Replace),
    ("Write", Tool::Edit),
    ("MultiEdit", Tool::Replace),
    ("NotebookEdit", Tool::Unknown),
];

pub(super) fn read(sender: Sender, fields: Fields<'_>) -> Result<Event, PayloadError> {
    read_with(sender, fields, &TOOLS)
}

/// What harnesses send that speak as Claude Code does, with tools of their own.
pub(super) fn read_with(
    sender: Sender,
    fields: Fields<'_>,
    tools: &[(&str, Tool)],
) -> Result<Event, PayloadError> {
    let kind = match fields.needed(&["hook_event_name", "hookEventName"])? {
        "PreToolUse" => match tools::named(tools, fields.needed(&["tool_name"])?) {
            Some(tool) => EventKind::Edits(tools::edits(tool, fields.value(&["tool_input"]))?),
            None => EventKind::Other,
        },
        "SessionStart" => EventKind::SessionStart,
        "SessionEnd" => EventKind::SessionEnd,
        "SubagentStop" => EventKind::AgentEnd,
        _ => EventKind::Other,
    };
    Ok(Event {
        sender,
        kind,
        session: fields.owned(&["session_id", "sessionId"])?,
        agent: fields.owned(&["agent_id", "agentId"])?,
        cwd: fields.owned(&["cwd"])?,
    })
}

pub(super) fn reply(answer: &Answer) -> Reply {
    match answer {
        Answer::Pass => Reply::default(),
        Answer::Deny(reason) => object(&json!({"hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": non_empty(reason),
        }})),
        Answer::Context(text) => object(&session_context(text)),
    }
}
