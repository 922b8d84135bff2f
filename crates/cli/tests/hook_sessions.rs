//! What a session is told at its start, and gives back at its end.

#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;

use serde_json::Value;

mod harness;
mod support;

use harness::{F, G, HARNESSES, TEXT, call, call_with, edit, ends, held, passes, session};
use support::{Answer, Site};

fn site() -> Site {
    let site = Site::new();
    site.file("m.py", TEXT);
    site
}

/// The text for the model, in the harness's own words.
#[track_caller]
fn context(harness: &str, answer: &Answer) -> String {
    assert_eq!((answer.code, &*answer.stderr), (0, ""), "{answer:?}");
    let value: Value = answer.value();
    let text = match harness {
        "claude-code" | "codex" | "gemini" => {
            assert_eq!(value["hookSpecificOutput"]["hookEventName"], "SessionStart");
            &value["hookSpecificOutput"]["additionalContext"]
        }
        "cursor" => &value["additional_context"],
        "copilot" => &value["additionalContext"],
        _ => &value["context"],
    };
    text.as_str().unwrap().to_owned()
}

#[test]
fn a_session_is_told_in_three_lines_who_works_on_what() {
    let site = site();
    for harness in HARNESSES {
        let start = session(harness, site.path(), "s", true);
        let text = context(harness, &call(harness, &start));
        let [rules, who, how] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(rules.contains(&format!("for your run, `{harness}:s`")), "{rules}");
        assert_eq!(who, "At work now: nobody else.");
        assert!(how.contains(&format!("Give `--run-id {harness}:s` to each `muse coord` command")), "{how}");
    }
    site.reserve("alice", "m.py::C.f", &["--op", "rename"]);
    site.reserve("alice", "src/", &[]);
    site.reserve("codex:s", "docs/", &[]);
    site.reserve("codex:s/agent", "docs/x", &[]);
    site.lapsed("zoe", "old.py", 60);
    let text = context("codex", &call("codex", &session("codex", site.path(), "s", true)));
    assert_eq!(
        text.lines().nth(1),
        Some("At work now: run `alice` on `m.py::C.f` and 1 more (rename) for 1h more.")
    );
    for number in 0..20 {
        site.reserve(&format!("many-{number}"), &format!("many/{number}"), &[]);
    }
    let text = context("codex", &call("codex", &session("codex", site.path(), "s", true)));
    assert_eq!(text.lines().count(), 3);
    assert!(text.contains("; 16 more.") && text.len() < 2000, "{text}");
}

#[test]
fn commands_of_a_session_find_their_run() {
    let site = site();
    let start = |id: &str, variables: &[(&str, &str)]| {
        let payload = session("claude-code", site.path(), id, true).to_string();
        let answer = call_with("claude-code", payload.as_bytes(), |call| {
            variables.iter().fold(call, |call, (name, value)| call.env(name, value))
        });
        context("claude-code", &answer)
    };
    let file = site.file("env", "export A=1");
    let path = file.to_str().unwrap();
    for _ in 0..2 {
        start("it's", &[("CLAUDE_ENV_FILE", path)]);
    }
    let expected = "export A=1\nexport MUSE_RUN_ID='claude-code:it%27s'\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    let text = start("t", &[("CLAUDE_ENV_FILE", path), ("MUSE_RUN_ID", "alice")]);
    assert!(text.contains("`alice`"), "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), expected, "it is set already");
    let new = site.at("new");
    start("t", &[("CODEX_ENV_FILE", new.to_str().unwrap())]);
    assert_eq!(fs::read_to_string(new).unwrap(), "export MUSE_RUN_ID=claude-code:t\n");
    // Where that cannot be, the rest is told all the same.
    let text = start("t", &[("CLAUDE_ENV_FILE", site.path().to_str().unwrap())]);
    assert!(text.contains("`claude-code:t`") && text.contains("\nMUSE_RUN_ID is not set: "), "{text}");
}

#[test]
fn the_end_of_a_session_releases_what_it_held_and_nothing_else() {
    let site = site();
    for harness in HARNESSES {
        let run = format!("{harness}:s");
        passes(&call(harness, &edit(harness, site.path(), "s", F)));
        passes(&call(harness, &edit(harness, site.path(), "other", G)));
        let by_hand = site.reserve(&run, "docs/", &[]);
        site.reserve(&format!("{run}/agent"), "docs/a", &[]);
        site.reserve(&format!("{run}2"), "else/", &[]);
        site.lapsed(&run, "old.py", 60);
        ends(harness, &site, "s");
        let left = [format!("{harness}:other exclusive m.py::C.g"), format!("{run}2 exclusive else/")];
        assert_eq!(held(&site), left);
        let shown = site.coord(&["show", &by_hand.id]).json().value();
        assert_eq!(shown["release"]["reason"], "its session has ended");
        for name in ["s", "other", "s2"] {
            ends(harness, &site, name);
        }
        assert_eq!(held(&site), [""; 0]);
    }
}

#[test]
fn however_many_it_held_are_released() {
    let site = site();
    for number in 0..130 {
        site.fabricate("gemini:s", &format!("f{number}.py"), muse_coord::Mode::Exclusive, -1, 600);
    }
    ends("gemini", &site, "s");
    assert_eq!(held(&site), [""; 0]);
}
