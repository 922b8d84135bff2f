//! Hooks that get what they cannot use, or no answer from the store: issue 4, acceptance 6.

#![expect(clippy::disallowed_methods, reason = "tests write files and hold locks")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs::{self, File};

use serde_json::{Value, json};

mod harness;
mod support;

use harness::{F, G, HARNESSES, Hook, TEXT, call, call_with, edit, ends, held, passes, reason, session};
use support::{Answer, Muse, Site, snapshot};

fn site() -> Site {
    let site = Site::new();
    site.file("m.py", TEXT);
    site
}

/// In the folder of the site, which counts where the payload tells no other.
fn in_folder<'a>(site: &'a Site, flags: &'a [&'a str]) -> impl FnOnce(Muse) -> Muse + 'a {
    |mut call| {
        call.command.current_dir(site.path());
        call.args(flags)
    }
}

/// It could not be checked: the edit passes, and standard error says why.
#[track_caller]
fn could_not_check(answer: &Answer, says: &str) {
    assert_eq!((answer.code, &*answer.stdout), (0, ""), "{answer:?}");
    let line = answer.stderr.strip_suffix('\n').unwrap();
    assert!(line.starts_with("muse coord hook: could not check: ") && !line.contains('\n'), "{line}");
    assert!(line.contains(says), "{line}");
}

/// It could not be checked: the edit is denied, in words that the harness takes.
#[track_caller]
fn is_refused(harness: &str, answer: &Answer, says: &str) {
    if harness == "opencode" {
        let value = answer.value();
        assert_eq!((answer.code, &value["decision"]), (0, &Value::from("deny")), "{answer:?}");
        assert!(value["reason"].as_str().unwrap().contains(says), "{answer:?}");
    } else {
        assert_eq!((answer.code, &*answer.stdout), (2, ""), "{harness}: {answer:?}");
        assert!(answer.stderr.contains("could not check") && answer.stderr.contains(says), "{answer:?}");
    }
}

/// It could not be checked, and the payload was understood: the reason of the denial in the harness's own words.
#[track_caller]
fn strict_reason(harness: &str, mut answer: Answer) -> String {
    let said = std::mem::take(&mut answer.stderr);
    assert!(said.starts_with("muse coord hook: could not check: "), "{said}");
    let reason = reason(harness, &answer).unwrap();
    assert!(reason.contains("installed with --strict"), "{reason}");
    reason
}

#[test]
fn what_cannot_be_read_passes_and_is_logged() {
    let site = site();
    let mut count = 0;
    for harness in HARNESSES {
        let whole = edit(harness, site.path(), "s", F).to_string();
        let mut wrong_type = edit(harness, site.path(), "s", F);
        let arguments =
            ["tool_input", "toolArgs", "args"].into_iter().find(|name| !wrong_type[name].is_null());
        wrong_type[arguments.unwrap()] = 7.into();
        let wrong_type = wrong_type.to_string();
        let cut = (0..whole.len()).step_by(29).map(|length| &whole.as_bytes()[..length]);
        let others =
            ["", "nonsense", "[]", "null", "{\"a\": \"\u{0}\"}", "{}{}", &wrong_type].map(str::as_bytes);
        for payload in cut.chain(others).chain([&b"\xff\xfe"[..]]) {
            could_not_check(&call_with(harness, payload, in_folder(&site, &[])), "payload");
            is_refused(harness, &call_with(harness, payload, in_folder(&site, &["--strict"])), "payload");
            count += 2;
        }
    }
    assert_eq!(held(&site), [""; 0]);
    let lines = |name: &str| fs::read_to_string(site.at(".muse").join(name)).unwrap_or_default();
    let log = lines("hook.log");
    assert!(
        log.lines().count() > 100.min(count)
            && log.lines().all(|line| line.contains(" could not check: the payload ")
                || line.contains(" could not check: `")),
        "{log}"
    );
}

#[test]
fn events_and_tools_that_are_none_of_ours_pass_in_silence() {
    let site = site();
    for harness in HARNESSES {
        let field = if harness == "opencode" { "event" } else { "hook_event_name" };
        let tool = ["tool_name", "toolName", "tool"];
        for change in ["event", "tool"] {
            let mut payload = edit(harness, site.path(), "s", F);
            if change == "event" && harness == "copilot" {
                payload["toolResult"] = json!({"resultType": "success"});
            } else if change == "event" {
                payload[field] = "SomethingNew".into();
            } else {
                let name = tool.into_iter().find(|name| !payload[name].is_null()).unwrap();
                payload[name] = "Bash".into();
            }
            for flags in [&[][..], &["--strict"]] {
                passes(&call_with(harness, payload.to_string().as_bytes(), in_folder(&site, flags)));
            }
        }
        for is_start in [true, false] {
            let answer = call(harness, &session(harness, site.path(), "s", is_start));
            assert_eq!((answer.code, &*answer.stderr), (0, ""));
            assert_eq!(answer.stdout.is_empty(), !is_start, "{answer:?}");
        }
    }
    assert_eq!(held(&site), [""; 0]);
    assert!(!site.at(".muse/hook.log").exists());
}

#[test]
fn large_payloads_are_read_or_said_to_be_too_large() {
    let site = site();
    for harness in HARNESSES {
        let mut payload = edit(harness, site.path(), "s", F);
        payload["padding"] = "x".repeat(10 << 20).into();
        passes(&call(harness, &payload));
        assert_eq!(held(&site), [format!("{harness}:s exclusive m.py::C.f")]);
        ends(harness, &site, "s");
    }
    // A file of 10 MB is touched whole.
    let text = "x = 1\n".repeat((10 << 20) / 6);
    let payload = json!({
        "session_id": "s", "cwd": site.path(), "hook_event_name": "BeforeTool", "tool_name": "write_file",
        "tool_input": {"file_path": "m.py", "content": text},
    });
    passes(&call("gemini", &payload));
    assert_eq!(held(&site), ["gemini:s exclusive m.py"]);
    ends("gemini", &site, "s");
    let mut payload = edit("gemini", site.path(), "s", F);
    payload["padding"] = "x".repeat(17 << 20).into();
    let payload = payload.to_string();
    let plain = call_with("gemini", payload.as_bytes(), in_folder(&site, &[]));
    could_not_check(&plain, "the payload is larger than 16 MiB");
    let strict = call_with("gemini", payload.as_bytes(), in_folder(&site, &["--strict"]));
    is_refused("gemini", &strict, "the payload is larger than 16 MiB");
    assert_eq!(held(&site), [""; 0]);
}

#[test]
fn a_repository_that_was_never_made_one_is_left_alone() {
    let site = Site::without_store();
    site.file("m.py", TEXT);
    site.folder(".git");
    let before = snapshot(site.path());
    for harness in HARNESSES {
        for flags in [&[][..], &["--strict"]] {
            for payload in [
                edit(harness, site.path(), "s", F).to_string(),
                session(harness, site.path(), "s", true).to_string(),
                session(harness, site.path(), "s", false).to_string(),
                "nonsense".to_owned(),
                String::new(),
            ] {
                passes(&call_with(harness, payload.as_bytes(), in_folder(&site, flags)));
            }
        }
    }
    assert_eq!(snapshot(site.path()), before);
}

#[test]
fn a_guard_that_is_off_lets_everything_pass() {
    let site = site();
    site.reserve("boss", "m.py", &[]);
    for harness in HARNESSES {
        for payload in [edit(harness, site.path(), "s", F).to_string(), "nonsense".to_owned()] {
            for off in ["off", "OFF"] {
                let call = |call: Muse| in_folder(&site, &["--strict"])(call).env("MUSE_GUARD", off);
                passes(&call_with(harness, payload.as_bytes(), call));
            }
        }
        let payload = edit(harness, site.path(), "s", F).to_string();
        let on = call_with(harness, payload.as_bytes(), |call| call.env("MUSE_GUARD", "on"));
        assert!(reason(harness, &on).is_some());
    }
}

#[test]
fn a_store_that_is_gone_or_damaged_is_warned_of() {
    let site = site();
    let held = site.reserve("boss", "m.py::C.f", &[]);
    fs::write(site.record("reservations", &held.id), "{").unwrap();
    let unchecked = |says: &str| {
        for harness in HARNESSES {
            let payload = edit(harness, site.path(), "s", F);
            could_not_check(&call(harness, &payload), says);
            let strict = call_with(harness, payload.to_string().as_bytes(), |call| call.arg("--strict"));
            let reason = strict_reason(harness, strict);
            assert!(reason.contains(says), "{reason}");
        }
    };
    unchecked(&held.id);
    // The mark of a store that was there.
    let git = Site::without_store();
    assert!(support::tool("git", git.path(), &["init", "--quiet"]).status.success());
    git.muse(&["init"]).run().is_success();
    git.file("m.py", TEXT);
    fs::remove_dir_all(git.at(".muse")).unwrap();
    for harness in HARNESSES {
        let payload = edit(harness, git.path(), "s", F);
        could_not_check(&call(harness, &payload), "muse init");
        let strict = call_with(harness, payload.to_string().as_bytes(), |call| call.arg("--strict"));
        let reason = strict_reason(harness, strict);
        assert!(reason.contains("muse init"), "{reason}");
    }
    assert!(!git.at(".muse").exists());
}

/// A stopped process holds the store's lock for as long as it likes.
#[test]
fn a_store_that_stays_locked_holds_nobody_up() {
    let site = site();
    let lock = File::options().write(true).open(site.store().join("lock")).unwrap();
    lock.lock().unwrap();
    let mut hooks: Vec<(&str, Hook)> = Vec::new();
    for harness in HARNESSES {
        for flags in [&[][..], &["--strict"]] {
            let mut hook = Hook::start(harness, in_folder(&site, flags));
            hook.give(edit(harness, site.path(), "s", F).to_string().as_bytes());
            hook.close();
            hooks.push((harness, hook));
        }
    }
    for (position, (harness, hook)) in hooks.into_iter().enumerate() {
        let answer = hook.answer();
        if position % 2 == 0 {
            could_not_check(&answer, "it took longer than");
        } else {
            let reason = strict_reason(harness, answer);
            assert!(reason.contains("it took longer than"), "{reason}");
        }
    }
    drop(lock);
    assert_eq!(held(&site), [""; 0]);
    passes(&call("codex", &edit("codex", site.path(), "s", F)));
    assert_eq!(held(&site), ["codex:s exclusive m.py::C.f"]);
    passes(&call("claude-code", &edit("claude-code", site.path(), "s", G)));
    let lock = File::options().write(true).open(site.store().join("lock")).unwrap();
    lock.lock().unwrap();
    // What the run holds already needs no lock.
    passes(&call("codex", &edit("codex", site.path(), "s", F)));
    // The end of a session of Claude Code has less time.
    let end = session("claude-code", site.path(), "s", false);
    could_not_check(&call("claude-code", &end), "it took longer than 1200 ms");
}

#[test]
fn standard_input_that_nobody_closes_holds_nobody_up() {
    let site = site();
    let payload = edit("copilot", site.path(), "s", G).to_string();
    let hooks: Vec<(bool, Hook)> = [(false, &payload[..0]), (false, &payload), (true, &payload)]
        .map(|(is_strict, given)| {
            let flags: &[&str] = if is_strict { &["--strict"] } else { &[] };
            let mut hook = Hook::start("copilot", in_folder(&site, flags));
            hook.give(given.as_bytes());
            (is_strict, hook)
        })
        .into();
    for (is_strict, hook) in hooks {
        let answer = hook.answer_while_open();
        if is_strict {
            is_refused("copilot", &answer, "it took longer than");
        } else {
            could_not_check(&answer, "it took longer than");
        }
    }
    assert_eq!(held(&site), [""; 0]);
}

#[test]
fn a_hook_that_is_called_wrongly_stops_nothing() {
    let site = site();
    let says = "the guard was called wrongly, and does nothing: ";
    for arguments in [
        &["coord", "hook"][..],
        &["coord", "hook", "vi"],
        &["coord", "hook", "copilot", "--nonsense"],
        &["coord", "hook", "copilot", "more"],
        &["coord", "hook", "copilot", "--strict", "--strict=yes"],
        &["coord", "hook", "pre-commit", "--bad"],
    ] {
        let answer = site.muse(arguments).run();
        assert_eq!((answer.code, &*answer.stdout), (0, ""), "{arguments:?}: {answer:?}");
        assert!(answer.stderr.contains(says), "{answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
        for arguments in [[arguments, &["--json"]].concat(), [&["-j"], arguments].concat()] {
            let answer = site.muse(&arguments).run();
            assert_eq!((answer.code, &*answer.stderr), (0, ""), "{arguments:?}: {answer:?}");
            let value = answer.value();
            assert_eq!((&value["status"], &value["stopped"]), (&"usage".into(), &false.into()));
            assert!(value["error"].as_str().unwrap().starts_with(says), "{answer:?}");
            // Nor where that cannot be printed.
            assert_eq!(site.muse(&arguments).through_shell("> /dev/full").run().code, 0, "{arguments:?}");
        }
    }
    // A folder of that name is none of it.
    assert_eq!(site.muse(&["coord", "list", "hook"]).run().code, 2);
}

#[test]
fn a_log_is_of_bounded_size_and_leads_nowhere_else() {
    let site = site();
    let log = site.at(".muse/hook.log");
    let fail = || could_not_check(&call_with("codex", b"nonsense", in_folder(&site, &[])), "no JSON");
    fs::write(&log, "x".repeat(70_000)).unwrap();
    fail();
    fail();
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2);
    assert_eq!(fs::read_to_string(site.at(".muse/hook.log.1")).unwrap().len(), 70_000);
    let victim = site.file("victim", "");
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink(&victim, &log).unwrap();
    fail();
    assert_eq!(fs::read_to_string(victim).unwrap(), "");
    support::make_fifo(&log);
    fail();
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let site = site();
    support::make_fifo(&site.at("m.py"));
    passes(&call("cursor", &edit("cursor", site.path(), "s", F)));
    assert_eq!(held(&site), ["cursor:s exclusive m.py"]);
}
