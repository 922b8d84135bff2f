//! What the tests of hooks share: an edit in the words of each harness, a hook that is called, and what it answers.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::expect_used, clippy::panic, reason = "what a helper does not expect fails the test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::{Answer, Muse, Site};

pub(crate) const HARNESSES: [&str; 6] = ["claude-code", "codex", "cursor", "gemini", "copilot", "opencode"];

/// A file with a class of three methods.
pub(crate) const TEXT: &str = "import os\n\n\nclass C:\n    def f(self):\n        return 1\n\n    def g(self):\n        \
                               return 2\n\n    def h(self):\n        return 3\n";

/// One line of a file that becomes another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) file: &'a str,
    pub(crate) old: &'a str,
    pub(crate) new: &'a str,
}

/// A change of a line of [`TEXT`] in `m.py`.
pub(crate) const fn change<'a>(old: &'a str, new: &'a str) -> Change<'a> {
    Change { file: "m.py", old, new }
}

pub(crate) const F: Change<'_> = change("        return 1", "        return 10");
pub(crate) const G: Change<'_> = change("        return 2", "        return 20");
pub(crate) const H: Change<'_> = change("        return 3", "        return 30");
pub(crate) const IMPORT: Change<'_> = change("import os", "import os, sys");

/// The payload for an edit, as the harness sends it.
pub(crate) fn edit(harness: &str, folder: &Path, session: &str, change: Change<'_>) -> Value {
    let path = folder.join(change.file);
    let (old, new) = (format!("{}\n", change.old), format!("{}\n", change.new));
    let mut payload = match harness {
        "claude-code" => json!({
            "hook_event_name": "PreToolUse", "permission_mode": "default", "tool_name": "Edit",
            "tool_input": {"file_path": path, "old_string": old, "new_string": new, "replace_all": false},
        }),
        "codex" => json!({
            "hook_event_name": "PreToolUse", "permission_mode": "default", "turn_id": "1", "tool_name": "apply_patch",
            "tool_input": {"command": format!(
                "*** Begin Patch\n*** Update File: {}\n@@\n-{}\n+{}\n*** End Patch\n", change.file, change.old, change.new
            )},
        }),
        "cursor" => json!({
            "hook_event_name": "preToolUse", "cursor_version": "3.2.16", "workspace_roots": [folder],
            "tool_name": "Write", "tool_input": {"file_path": path, "old_string": old, "new_string": new},
        }),
        "gemini" => json!({
            "hook_event_name": "BeforeTool", "timestamp": "2026-11-20T10:00:00.000Z", "tool_name": "replace",
            "tool_input": {"file_path": path, "old_string": old, "new_string": new},
        }),
        "copilot" => json!({
            "timestamp": 1_763_632_800_000_u64, "toolName": "edit",
            "toolArgs": {"path": path, "old_str": old, "new_str": new},
        }),
        "opencode" => json!({
            "event": "tool.execute.before", "tool": "edit",
            "args": {"filePath": path, "oldString": old, "newString": new},
        }),
        other => panic!("no harness is called {other}"),
    };
    add_session(&mut payload, harness, folder, session);
    payload
}

/// The payload at the start or the end of a session.
pub(crate) fn session(harness: &str, folder: &Path, session: &str, is_start: bool) -> Value {
    let name = |start: &'static str, end: &'static str| if is_start { start } else { end };
    let mut payload = match harness {
        "cursor" => {
            json!({"hook_event_name": name("sessionStart", "sessionEnd"), "cursor_version": "3.2.16"})
        }
        "copilot" if is_start => json!({"source": "new", "timestamp": 1_763_632_800_000_u64}),
        "copilot" => json!({"reason": "complete", "timestamp": 1_763_632_800_000_u64}),
        "opencode" => json!({"event": name("session.start", "session.end")}),
        _ => json!({"hook_event_name": name("SessionStart", "SessionEnd")}),
    };
    add_session(&mut payload, harness, folder, session);
    payload
}

fn add_session(payload: &mut Value, harness: &str, folder: &Path, session: &str) {
    let field = match harness {
        "cursor" => "conversation_id",
        "copilot" => "sessionId",
        "opencode" => "sessionID",
        _ => "session_id",
    };
    payload[field] = session.into();
    payload["cwd"] = folder.to_str().expect("UTF-8").into();
}

/// A hook that waits for its payload.
pub(crate) struct Hook {
    child: Child,
}

impl Hook {
    /// Starts the hook of a harness, in a folder that is not the session's.
    pub(crate) fn start(harness: &str, set: impl FnOnce(Muse) -> Muse) -> Hook {
        let call = Muse::in_folder(Path::new("/"), &["coord", "hook", harness]);
        let mut command = set(call).command;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Hook { child: command.spawn().expect("muse runs") }
    }

    /// Gives it the payload, and does not close its standard input.
    pub(crate) fn give(&mut self, payload: &[u8]) {
        // One that does not read all of it has its reasons, and its answer tells.
        self.child.stdin.as_mut().expect("a pipe").write_all(payload).unwrap_or_default();
    }

    /// Closes its standard input.
    pub(crate) fn close(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(crate) fn answer(mut self) -> Answer {
        self.close();
        self.answer_while_open()
    }

    /// The answer, with standard input open until it is there.
    pub(crate) fn answer_while_open(mut self) -> Answer {
        let stdin = self.child.stdin.take();
        let answer = Answer::of(self.child.wait_with_output().expect("muse ends"));
        drop(stdin);
        answer
    }
}

/// The answer of a hook to a payload.
pub(crate) fn call(harness: &str, payload: &Value) -> Answer {
    call_with(harness, payload.to_string().as_bytes(), |call| call)
}

pub(crate) fn call_with(harness: &str, payload: &[u8], set: impl FnOnce(Muse) -> Muse) -> Answer {
    let mut hook = Hook::start(harness, set);
    hook.give(payload);
    hook.answer()
}

/// The answers to payloads that are given at once.
pub(crate) fn call_at_once(harness: &str, payloads: &[Value]) -> Vec<Answer> {
    let mut hooks: Vec<Hook> = payloads.iter().map(|_| Hook::start(harness, |call| call)).collect();
    for (hook, payload) in hooks.iter_mut().zip(payloads) {
        hook.give(payload.to_string().as_bytes());
    }
    // All of them begin their work when their input ends.
    hooks.iter_mut().for_each(Hook::close);
    hooks.into_iter().map(Hook::answer).collect()
}

/// The hook lets the edit pass, and says nothing.
#[track_caller]
pub(crate) fn passes(answer: &Answer) {
    assert_eq!((answer.code, &*answer.stdout, &*answer.stderr), (0, "", ""));
}

/// The session ends, and says nothing. There is little time for it, and a busy machine may need that twice.
#[track_caller]
pub(crate) fn ends(harness: &str, site: &Site, name: &str) {
    let payload = session(harness, site.path(), name, false);
    let mut answer = call(harness, &payload);
    for _ in 0..10 {
        if !answer.stderr.contains("it took longer than ") {
            break;
        }
        answer = call(harness, &payload);
    }
    passes(&answer);
}

/// The reason of a denial in the harness's own words; `None` where the edit passes in silence.
#[track_caller]
pub(crate) fn reason(harness: &str, answer: &Answer) -> Option<String> {
    assert_eq!((answer.code, &*answer.stderr), (0, ""), "{harness}: {answer:?}");
    if answer.stdout.is_empty() {
        return None;
    }
    let value = answer.value();
    let (decision, reason) = match harness {
        "claude-code" | "codex" => {
            let output = &value["hookSpecificOutput"];
            assert_eq!(output["hookEventName"], "PreToolUse");
            (&output["permissionDecision"], &output["permissionDecisionReason"])
        }
        "cursor" => {
            assert_eq!(value["user_message"], value["agent_message"]);
            (&value["permission"], &value["agent_message"])
        }
        "copilot" => (&value["permissionDecision"], &value["permissionDecisionReason"]),
        _ => (&value["decision"], &value["reason"]),
    };
    assert_eq!(decision, "deny", "{harness}: {answer:?}");
    Some(reason.as_str().expect("a text").to_owned())
}

/// What is held, and by whom, sorted.
pub(crate) fn held(site: &Site) -> Vec<String> {
    let list = site.coord(&["list"]).json().value();
    let mut held: Vec<String> = list["reservations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| {
            let addresses: Vec<&str> =
                row["addresses"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
            format!(
                "{} {} {}",
                row["run_id"].as_str().unwrap_or_default(),
                row["mode"].as_str().unwrap_or_default(),
                addresses.join(" ")
            )
        })
        .collect();
    held.sort();
    held
}
