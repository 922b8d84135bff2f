//! opencode: the contract between our plugin and `muse coord hook opencode`.
//!
//! opencode has no hooks that are commands, so a plugin pipes one JSON object to the command's standard input:
//!
//! ```json
//! {"event": "tool.execute.before", "tool": "edit", "sessionID": "ses_1", "cwd": "/repo",
//!  "args": {"filePath": "/repo/src/a.ts", "oldString": "a", "newString": "b", "replaceAll": false}}
//! {"event": "session.start", "sessionID": "ses_1", "cwd": "/repo"}
//! {"event": "session.end", "sessionID": "ses_1", "cwd": "/repo"}
//! ```
//!
//! - `event`, `sessionID`, `cwd`: always. `parentID`: that of the session's parent, where it has one: the session is a
//!   subagent of that one then.
//! - `tool`, `args`: with `tool.execute.before`, as opencode gave them (`input.tool`, `output.args`), for `edit`,
//!   `write`, `apply_patch` and `patch`; other tools pass.
//!
//! The answer is nothing, or one JSON object on standard output, and the exit code is 0:
//!
//! - `{"decision": "deny", "reason": "..."}`: the plugin throws an `Error` with the reason.
//! - `{"decision": "allow", "context": "..."}`, to `session.start`: text for the model.
//! - nothing, or anything else, or another exit code, or no answer in 8 seconds: the edit passes.

use serde_json::json;

use super::fields::Fields;
use super::tools::{self, Tool};
use super::{Answer, Event, EventKind, PayloadError, Reply, Sender, non_empty, object};

const TOOLS: [(&str, Tool); 5] = [
    ("edit", Tool::Replace),
    ("multiedit", Tool::Replace),
    ("write", Tool::Edit),
    ("apply_patch", Tool::Patch),
    ("patch", Tool::Patch),
];

pub(super) fn read(sender: Sender, fields: Fields<'_>) -> Result<Event, PayloadError> {
    let kind = match fields.needed(&["event"])? {
        "tool.execute.before" => match tools::named(&TOOLS, fields.needed(&["tool"])?) {
            Some(tool) => EventKind::Edits(tools::edits(tool, fields.value(&["args"]))?),
            None => EventKind::Other,
        },
        "session.start" => EventKind::SessionStart,
        "session.end" => EventKind::SessionEnd,
        _ => EventKind::Other,
    };
    let session = fields.owned(&["sessionID", "sessionId", "session_id"])?;
    let parent = fields.owned(&["parentID"])?.filter(|parent| !parent.is_empty());
    let (session, agent) = match parent {
        Some(parent) => (Some(parent), session),
        None => (session, None),
    };
    let is_agents = agent.is_some();
    let kind = match kind {
        // The session of a subagent is a part of another.
        EventKind::SessionEnd if is_agents => EventKind::AgentEnd,
        kind => kind,
    };
    Ok(Event { sender, kind, session, agent, cwd: fields.owned(&["cwd"])? })
}

pub(super) fn reply(answer: &Answer) -> Reply {
    match answer {
        Answer::Pass => Reply::default(),
        Answer::Deny(reason) => object(&json!({"decision": "deny", "reason": non_empty(reason)})),
        Answer::Context(text) => object(&json!({"decision": "allow", "context": text})),
    }
}
