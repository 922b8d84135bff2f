//! Cursor: `preToolUse` of its editing tools, `sessionStart`, `sessionEnd`, `subagentStop`.

use serde_json::json;

use super::fields::Fields;
use super::tools::{self, Tool};
use super::{Answer, Event, EventKind, PayloadError, Reply, Sender, non_empty, object};

/// `Write` stands for every edit of a file but its deletion; some versions tell the tool's own name.
const TOOLS: [(&str, Tool); 8] = [
    ("Write", Tool::Edit),
    ("StrReplace", Tool::Replace),
    ("Edit", Tool::Edit),
    ("MultiEdit", Tool::Replace),
    ("Delete", Tool::Delete),
    ("ApplyPatch", Tool::Patch),
    ("EditNotebook", Tool::Unknown),
    ("NotebookEdit", Tool::Unknown),
];

pub(super) fn read(sender: Sender, fields: Fields<'_>) -> Result<Event, PayloadError> {
    // Where it runs the hooks of Claude Code, some versions tell that one's name of the event.
    let kind = match fields.needed(&["hook_event_name"])? {
        "preToolUse" | "PreToolUse" => {
            match tools::named(&TOOLS, fields.needed(&["tool_name", "toolName"])?) {
                Some(tool) => {
                    EventKind::Edits(tools::edits(tool, fields.value(&["tool_input", "toolInput"]))?)
                }
                None => EventKind::Other,
            }
        }
        "sessionStart" | "SessionStart" => EventKind::SessionStart,
        "sessionEnd" | "SessionEnd" => EventKind::SessionEnd,
        "subagentStop" | "SubagentStop" => EventKind::AgentEnd,
        _ => EventKind::Other,
    };
    let root = match fields.list(&["workspace_roots"])? {
        Some([root, ..]) => root.as_str().map(str::to_owned),
        _ => None,
    };
    Ok(Event {
        sender,
        kind,
        session: fields.owned(&["conversation_id", "session_id"])?,
        agent: fields.owned(&["agent_id", "subagent_id"])?,
        cwd: fields.owned(&["cwd"])?.filter(|cwd| !cwd.is_empty()).or(root),
    })
}

pub(super) fn reply(answer: &Answer) -> Reply {
    match answer {
        Answer::Pass => Reply::default(),
        Answer::Deny(reason) => {
            let reason = non_empty(reason);
            object(&json!({"permission": "deny", "user_message": reason, "agent_message": reason}))
        }
        Answer::Context(text) => object(&json!({"additional_context": text})),
    }
}
