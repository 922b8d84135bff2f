//! Payloads as the harnesses document them, what is read from them, and what is answered.
//!
//! `UPDATE=1 cargo test -p muse-guard --test payloads` writes what is read anew, to `payloads/read.txt`, and the answers
//! to `payloads/answers.txt`; read the difference.

#![expect(clippy::disallowed_methods, reason = "tests write files and read the environment")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use muse_coord::RunId;
use muse_guard::harness::{Answer, Event, EventKind, Reply, Sender};
use muse_guard::{Change, Harness};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads")
}

/// Every payload of every harness: whose hook gets it, its name, its bytes.
fn payloads() -> Vec<(Harness, String, Vec<u8>)> {
    let mut payloads = Vec::new();
    for harness in Harness::ALL {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder().join(harness.name())).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            payloads.push((harness, name, fs::read(path).unwrap()));
        }
    }
    payloads
}

fn is_as_written(name: &str, now: &str) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, now).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(now, written, "{name}: if this is meant, run with UPDATE=1 and read the difference");
}

#[test]
fn every_payload_is_read_as_written() {
    let mut text = String::new();
    for (harness, name, bytes) in payloads() {
        let event = harness.read(&bytes).unwrap_or_else(|error| panic!("{harness:?} {name}: {error}"));
        let run = event.run().unwrap_or_default();
        let cwd = event.cwd.clone().unwrap_or_default();
        writeln!(text, "{} {name}: run {run}, in {cwd}", harness.name()).unwrap();
        match &event.kind {
            EventKind::Edits(edits) => {
                for edit in edits {
                    writeln!(text, "  {}: {:?}", edit.path, edit.change).unwrap();
                }
            }
            other => writeln!(text, "  {other:?}").unwrap(),
        }
    }
    is_as_written("read.txt", &text);
}

#[test]
fn every_answer_is_as_written() {
    let mut text = String::new();
    let answers = [
        ("pass", Answer::Pass),
        ("deny", Answer::Deny("held by \"bob\"".to_owned())),
        ("deny without a reason", Answer::Deny(" ".to_owned())),
        ("context", Answer::Context("one\ntwo".to_owned())),
    ];
    let senders = Harness::ALL.into_iter().map(|harness| Sender { harness, is_compatible: false });
    let compatible = Sender { harness: Harness::Copilot, is_compatible: true };
    for sender in senders.chain([compatible]) {
        for (name, answer) in &answers {
            let Reply { stdout, stderr, exit } = sender.reply(answer);
            assert!(stdout.is_empty() || serde_json::from_str::<Value>(&stdout).unwrap().is_object());
            assert!(!stdout.contains('\n') && exit == 0, "{sender:?}");
            let words = if sender.is_compatible { " in other words" } else { "" };
            writeln!(text, "{}{words}, {name}: {stdout:?} {stderr:?} {exit}", sender.harness.name()).unwrap();
        }
    }
    for harness in Harness::ALL {
        for reason in ["because", ""] {
            let Reply { stdout, stderr, exit } = harness.refusal(reason);
            assert!(exit == 0 || (exit == 2 && !stderr.is_empty() && stdout.is_empty()));
            writeln!(text, "{}, refusal {reason:?}: {stdout:?} {stderr:?} {exit}", harness.name()).unwrap();
        }
    }
    is_as_written("answers.txt", &text);
}

#[test]
fn no_prefix_of_a_payload_is_read_as_anything() {
    for (harness, name, bytes) in payloads() {
        let end = bytes.trim_ascii_end().len();
        for length in 0..end {
            assert!(harness.read(&bytes[..length]).is_err(), "{harness:?} {name} {length}");
        }
        assert_eq!(harness.read(&bytes[..end]).unwrap(), harness.read(&bytes).unwrap());
        let marked = [b"\xEF\xBB\xBF", &bytes[..]].concat();
        assert_eq!(harness.read(&marked).unwrap(), harness.read(&bytes).unwrap());
    }
}

/// The payload with the field at the end of the path changed; `None` takes it out.
fn changed(bytes: &[u8], path: &[String], to: Option<Value>) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    let (last, rest) = path.split_last().unwrap();
    let object = rest.iter().fold(&mut value, |value, name| &mut value[name]);
    match to {
        Some(to) => object[last] = to,
        None => drop(object.as_object_mut().unwrap().remove(last)),
    }
    value.to_string().into_bytes()
}

/// Every field of an object, and of the objects in it.
fn fields(value: &Value) -> Vec<Vec<String>> {
    let Value::Object(object) = value else { return Vec::new() };
    object
        .iter()
        .flat_map(|(name, value)| {
            let below = fields(value).into_iter().map(|path| [vec![name.clone()], path].concat());
            std::iter::once(vec![name.clone()]).chain(below)
        })
        .collect()
}

/// A field that is missing, null or of another type never makes a panic, or an edit of another file.
#[test]
fn no_field_is_trusted() {
    for (harness, name, bytes) in payloads() {
        let whole = harness.read(&bytes).unwrap();
        for path in fields(&serde_json::from_slice(&bytes).unwrap()) {
            let null = harness.read(&changed(&bytes, &path, Some(Value::Null)));
            let missing = harness.read(&changed(&bytes, &path, None));
            // Who sent it is told by which fields are there.
            let is_telling = ["cursor_version", "conversation_id", "sessionId", "timestamp", "hookEventName"];
            if !is_telling.contains(&path[0].as_str()) && path[0] != "hook_event_name" {
                assert_eq!(format!("{null:?}"), format!("{missing:?}"), "{harness:?} {name} {path:?}");
            }
            for other in [Value::from(7), Value::from(true), Value::from(vec![1]), Value::from("")] {
                let Ok(event) = harness.read(&changed(&bytes, &path, Some(other.clone()))) else { continue };
                if let (EventKind::Edits(edits), EventKind::Edits(before)) = (&event.kind, &whole.kind) {
                    let is_known = |path: &str| before.iter().any(|edit| edit.path == path);
                    assert!(
                        edits.iter().all(|edit| is_known(&edit.path)),
                        "{harness:?} {name} {path:?} {other}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_no_payload_is_an_error_that_says_so() {
    for harness in Harness::ALL {
        for (text, says) in [
            ("", "no JSON"),
            ("nonsense", "no JSON"),
            ("{}", "no `"),
            ("[]", "no JSON object"),
            ("null", "no JSON object"),
            ("\"text\"", "no JSON object"),
            ("{} {}", "no JSON"),
            ("\u{0}", "no JSON"),
        ] {
            match harness.read(text.as_bytes()) {
                Err(error) => assert!(error.to_string().contains(says), "{harness:?} {text:?}: {error}"),
                // Copilot does not name its events.
                Ok(event) => {
                    assert!(harness == Harness::Copilot && text == "{}" && event.kind == EventKind::Other);
                }
            }
        }
        let deep = "[".repeat(100_000);
        assert!(harness.read(deep.as_bytes()).is_err());
        assert!(harness.read(b"{\"a\": \"\xff\"}").is_err());
    }
}

#[test]
fn two_sessions_never_have_one_run() {
    let event = |session: &str, agent: Option<&str>| Event {
        sender: Sender { harness: Harness::Codex, is_compatible: false },
        kind: EventKind::Other,
        session: Some(session.to_owned()),
        agent: agent.map(str::to_owned),
        cwd: None,
    };
    assert_eq!(event("a-1", None).run().unwrap(), "codex:a-1");
    assert_eq!(event("a-1", Some("b")).run().unwrap(), "codex:a-1/b");
    assert_eq!(event("a-1", Some("")).run().unwrap(), "codex:a-1");
    assert_eq!(event("a/b\n%é:", Some("/..")).run().unwrap(), "codex:a%2fb%0a%25%c3%a9%3a/%2f..");
    assert_eq!(event("", Some("b")).run(), None);
    assert_eq!(event("a", Some("b/c")).below("boss"), "boss/b%2fc");
    // As long as it may be, it stays as it is; a longer one ends with its hash.
    let long = "s".repeat(160);
    assert_eq!(event(&long, None).run().unwrap(), format!("codex:{long}"));
    let longer = event(&format!("{long}s"), None).run().unwrap();
    assert_eq!(longer, format!("codex:{}~1593e766486569f32d318805e3824664", &long[..127]));
    let others = [format!("{long}s"), format!("{long}t"), "é".repeat(300), "é".repeat(301), longer.clone()];
    let runs: HashSet<String> = others
        .iter()
        .flat_map(|session| [event(session, None), event(session, Some(session)), event("a", Some(session))])
        .map(|event| event.run().unwrap())
        .collect();
    assert_eq!(runs.len(), 3 * others.len());
    for run in &runs {
        RunId::new(run.as_str()).unwrap();
    }
    assert!(event(&long, Some(&long)).below(&longer).starts_with(&format!("{longer}/sss")));
}

/// Programs in JavaScript write them where they cut a text, and a text here cannot hold them.
#[test]
fn a_half_of_a_surrogate_pair_is_read_as_such_a_program_would_write_it() {
    let texts = [
        (r"a\ud800b", "a\u{fffd}b"),
        (r"\udc00\ud83d", "\u{fffd}\u{fffd}"),
        (r"\uD83D\ud83d\ude00\ude00", "\u{fffd}\u{1f600}\u{fffd}"),
        (r"\\ud800\ud800\\", "\\ud800\u{fffd}\\"),
        (r"\ud800\n\u0041", "\u{fffd}\nA"),
        (r"\ud83d\ude00", "\u{1f600}"),
        (r"\\ud800", "\\ud800"),
    ];
    for (harness, name, bytes) in payloads() {
        let whole = String::from_utf8(bytes.clone()).unwrap();
        for (text, _) in texts {
            // In a field that nobody reads.
            let with = whole.replacen('{', &format!("{{\"note\": \"{text}\", "), 1);
            assert_eq!(
                harness.read(with.as_bytes()).unwrap(),
                harness.read(&bytes).unwrap(),
                "{name} {text}"
            );
        }
    }
    for (text, read) in texts {
        let arguments = format!(r#"{{"file_path": "a.py", "content": "{text}"}}"#);
        // Older versions of Copilot send the text of an object.
        let as_text = Value::from(&*arguments).to_string();
        for (harness, payload) in [
            (
                Harness::Gemini,
                format!(
                    r#"{{"hook_event_name": "BeforeTool", "tool_name": "write_file", "tool_input": {arguments}}}"#
                ),
            ),
            (Harness::Copilot, format!(r#"{{"toolName": "create", "toolArgs": {as_text}}}"#)),
        ] {
            let event = harness.read(payload.as_bytes()).unwrap();
            let EventKind::Edits(edits) = event.kind else { panic!("{payload}") };
            assert_eq!(edits[0].change, Change::Write(read.to_owned()), "{payload}");
        }
    }
    for broken in [r#"{"a": "\ud80"}"#, r#"{"a": "\ud800\u12"}"#, r#"{"a": "\ud800"#, r#"{"\ud800"}"#] {
        assert!(
            Harness::Codex.read(broken.as_bytes()).unwrap_err().to_string().contains("no JSON"),
            "{broken}"
        );
    }
}

#[test]
fn a_file_uri_is_the_path_that_it_stands_for() {
    for (told, path) in [
        ("file:///repo/a%20b.py", "/repo/a b.py"),
        ("FILE://localhost/repo/%C3%A9%25.py", "/repo/é%.py"),
        ("file:///repo/50%.py", "/repo/50%.py"),
        ("file:///repo/%+1%4", "/repo/%+1%4"),
        // Of another machine, no path, no text, no file: as they are.
        ("file://server/repo/a.py", "file://server/repo/a.py"),
        ("file://a.py", "file://a.py"),
        ("file:///%ff", "file:///%ff"),
        ("file:///a%00", "file:///a%00"),
        ("vscode-notebook:///a", "vscode-notebook:///a"),
        ("/repo/a%20b.py", "/repo/a%20b.py"),
    ] {
        let payload = serde_json::json!({
            "hook_event_name": "PreToolUse", "tool_name": "Write", "session_id": "s", "cwd": told,
            "tool_input": {"file_path": told, "content": ""},
        });
        let event = Harness::ClaudeCode.read(payload.to_string().as_bytes()).unwrap();
        assert_eq!(event.cwd.as_deref(), Some(path));
        let EventKind::Edits(edits) = event.kind else { panic!("{told}") };
        assert_eq!(edits[0].path, path);
    }
}
