//! Copilot CLI: `preToolUse` of its editing tools, `sessionStart`, `sessionEnd`, `subagentStop`.
//!
//! The payload does not name the event, so the fields that only one of them has do. Where it runs hooks that are
//! configured in the way of Claude Code, as Copilot in VS Code does too, the names are those of Claude Code, and the
//! arguments of the tools are its own.

use serde_json::json;

use super::fields::Fields;
use super::tools::{self, Tool};
use super::{Answer, Event, EventKind, PayloadError, Reply, Sender, claude_code, non_empty, object};

const TOOLS: [(&str, Tool); 13] = [
    ("edit", Tool::Replace),
    ("create", Tool::Edit),
    ("apply_patch", Tool::Patch),
    ("str_replace_editor", Tool::Edit),
    // In the words of Claude Code.
    ("Edit", Tool::Replace),
    ("Write", Tool::Edit),
    // In VS Code.
    ("create_file", Tool::Edit),
    ("replace_string_in_file", Tool::Replace),
    ("multi_replace_string_in_file", Tool::Replace),
    ("insert_edit_into_file", Tool::Unknown),
    ("edit_notebook_file", Tool::Unknown),
    ("MultiEdit", Tool::Replace),
    ("NotebookEdit", Tool::Unknown),
];

pub(super) fn read(sender: Sender, fields: Fields<'_>) -> Result<Event, PayloadError> {
    let is_look = |name: &str| -> Result<bool, PayloadError> {
        // This tool also shows files.
        Ok(name == "str_replace_editor"
            && match fields.value(&["toolArgs", "tool_input"]) {
                Some((_, serde_json::Value::Object(object))) => {
                    Fields(object).text(&["command"])? == Some("view")
                }
                _ => false,
            })
    };
    if sender.is_compatible {
        return match fields.text(&["tool_name"])? {
            Some(name) if is_look(name)? => claude_code::read_with(sender, fields, &[]),
            _ => claude_code::read_with(sender, fields, &TOOLS),
        };
    }
    let has = |name: &'static str| fields.value(&[name]).is_some();
    let kind = if has("toolName") {
        let name = fields.needed(&["toolName"])?;
        match tools::named(&TOOLS, name) {
            // After a tool has run, its result is there as well.
            Some(_) if has("toolResult") || has("error") || is_look(name)? => EventKind::Other,
            Some(tool) => EventKind::Edits(tools::edits(tool, fields.value(&["toolArgs", "toolInput"]))?),
            None => EventKind::Other,
        }
    } else if has("source") {
        EventKind::SessionStart
    } else if has("reason") {
        EventKind::SessionEnd
    } else if has("agentName") && has("stopReason") {
        EventKind::AgentEnd
    } else {
        EventKind::Other
    };
    Ok(Event {
        sender,
        kind,
        session: fields.owned(&["sessionId"])?,
        agent: fields.owned(&["agentId"])?,
        cwd: fields.owned(&["cwd"])?,
    })
}

pub(super) fn reply(answer: &Answer, is_compatible: bool) -> Reply {
    match answer {
        Answer::Pass => Reply::default(),
        Answer::Deny(reason) => {
            let reason = non_empty(reason);
            let mut reply = json!({"permissionDecision": "deny", "permissionDecisionReason": reason});
            // Copilot in VS Code reads this, and the command line reads the two above.
            if is_compatible {
                reply["hookSpecificOutput"] = json!({
                    "hookEventName": "PreToolUse",
                    "permissionDecision": "deny",
                    "permissionDecisionReason": reason,
                });
            }
            object(&reply)
        }
        Answer::Context(text) => {
            let mut reply = json!({"additionalContext": text});
            if is_compatible {
                reply["hookSpecificOutput"] =
                    json!({"hookEventName": "SessionStart", "additionalContext": text});
            }
            object(&reply)
        }
    }
}
