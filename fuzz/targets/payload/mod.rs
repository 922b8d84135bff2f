//! What has to hold of every payload, whatever harness sends it.

use muse_guard::edit::{AFTER_BYTES_MAX, After};
use muse_guard::harness::{Answer, EventKind, Reply};
use muse_guard::{Change, Harness};

/// Files that edits are followed through.
const FILES: [Option<&[u8]>; 4] =
    [None, Some(b""), Some(b"import os\n\ndef total():\n    return 1\n"), Some(b"a\r\nb\r\n\xff\n")];

/// Reads a payload, follows what it tells, and answers.
pub fn read(harness: Harness, bytes: &[u8]) {
    let event = match harness.read(bytes) {
        Ok(event) => event,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let refusal = harness.refusal(&error.to_string());
            return is_taken(&refusal, true);
        }
    };
    // It is JSON, but for a mark at its beginning and for halves of surrogate pairs.
    let has_halves = bytes.windows(3).any(|start| start.eq_ignore_ascii_case(b"\\ud"));
    let is_json = serde_json::from_slice::<serde_json::Value>(bytes.trim_ascii_start()).is_ok();
    assert!(is_json || has_halves || bytes.starts_with(b"\xEF\xBB\xBF"));
    if let Some(run) = event.run() {
        assert!(run.starts_with(event.sender.harness.name()));
        assert!(!run.chars().any(|character| character.is_control() || character.is_whitespace()));
        let has_agent = event.agent.as_ref().is_some_and(|agent| !agent.is_empty());
        assert_eq!(run.matches('/').count(), usize::from(has_agent));
    }
    if let EventKind::Edits(edits) = &event.kind {
        for edit in edits {
            assert!(!edit.path.is_empty());
            for old in FILES {
                match edit.change.apply(old) {
                    After::Bytes(bytes) => assert!(bytes.len() <= 2 * AFTER_BYTES_MAX),
                    After::Gone => assert_eq!(edit.change, Change::Delete),
                    After::Unclear(unclear) => assert!(!unclear.to_string().is_empty()),
                }
            }
        }
    }
    for answer in [Answer::Pass, Answer::Deny("because".to_owned()), Answer::Context("text".to_owned())] {
        is_taken(&event.sender.reply(&answer), matches!(answer, Answer::Deny(_)));
    }
}

fn is_taken(reply: &Reply, is_denial: bool) {
    assert!(reply.exit == 0 || (reply.exit == 2 && !reply.stderr.is_empty() && reply.stdout.is_empty()));
    assert!(reply.stdout.is_empty() || serde_json::from_str::<serde_json::Value>(&reply.stdout).unwrap().is_object());
    assert!(!is_denial || !reply.stdout.is_empty() || reply.exit == 2);
}
