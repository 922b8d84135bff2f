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
