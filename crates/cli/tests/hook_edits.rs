//! Edits of two sessions, by the hook of each harness: issue 4, acceptance 4.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a helper of a test does not expect fails the test"
)]

use std::fs;
use std::process::Stdio;

use muse_testkit::process::until;
use serde_json::{Value, json};

mod harness;
mod support;

use harness::{
    F, G, H, HARNESSES, IMPORT, TEXT, call, call_at_once, change, edit, ends, held, passes, reason, session,
};
use support::{ABSENT, Site, names, snapshot};

const ROUNDS: usize = 8;

fn site() -> Site {
    let site = Site::new();
    site.file("m.py", TEXT);
    site
}

fn two_sessions(harness: &str) {
    let site = site();
    let at = site.path();
    let both = |round: usize, one: harness::Change<'_>, other: harness::Change<'_>| {
        let payloads = [
            edit(harness, at, &format!("one-{round}"), one),
            edit(harness, at, &format!("two-{round}"), other),
        ];
        call_at_once(harness, &payloads)
    };
    for round in 0..ROUNDS {
        // Two methods of one class: both pass, every time.
        both(round, F, G).iter().for_each(passes);
        // Imports of both: both pass.
        both(round, IMPORT, change("import os", "import os, re")).iter().for_each(passes);
        // One method: exactly one passes.
        let answers = both(round, H, change(H.old, "        return 31"));
        let reasons: Vec<String> = answers.iter().filter_map(|answer| reason(harness, answer)).collect();
        let [reason] = &reasons[..] else { panic!("{harness} {round}: {answers:?}") };
        let winner = if reason.contains(&format!("run `{harness}:one-{round}`")) { "one" } else { "two" };
        let loser = if winner == "one" { "two" } else { "one" };
        assert!(
            reason.contains(&format!("`m.py::C.h` is held by run `{harness}:{winner}-{round}` (modify)")),
            "{reason}"
        );
        assert!(reason.contains(" for 15m") || reason.contains(" for 14m"), "{reason}");
        let command = format!("`muse coord reserve m.py::C.h --wait 100 --run-id {harness}:{loser}-{round}`");
        assert!(reason.contains(&command) && reason.contains("read the file again"), "{reason}");
        let run = |name: &str| format!("{harness}:{name}-{round}");
        let mut expected = vec![
            format!("{} exclusive m.py::C.f", run("one")),
            format!("{} exclusive m.py::C.g", run("two")),
            format!("{} shared m.py::@top", run("one")),
            format!("{} shared m.py::@top", run("two")),
            format!("{} exclusive m.py::C.h", run(winner)),
        ];
        expected.sort();
        assert_eq!(held(&site), expected);
        // The same edit again, whoever makes it, changes nothing but the time.
        both(round, F, G).iter().for_each(passes);
        assert_eq!(held(&site), expected);
        for name in ["one", "two"] {
            ends(harness, &site, &format!("{name}-{round}"));
        }
        assert_eq!(held(&site), [""; 0]);
    }
    // Whoever holds the whole file stops both, and nothing is left of what was denied.
    site.reserve("boss", "m.py", &["--op", "rename"]);
    let before = snapshot(&site.store().join("reservations"));
    for change in [F, IMPORT] {
        for answer in both(ROUNDS, change, change) {
            let reason = reason(harness, &answer).unwrap();
            assert!(reason.contains("as `m.py` by run `boss` (rename) for 1h"), "{reason}");
            assert_eq!(reason.contains("--shared"), change.old == IMPORT.old, "{reason}");
        }
    }
    assert_eq!(snapshot(&site.store().join("reservations")), before);
    assert_eq!(held(&site), ["boss exclusive m.py"]);
}

#[test]
fn two_sessions_of_claude_code() {
    two_sessions("claude-code");
}

#[test]
fn two_sessions_of_codex() {
    two_sessions("codex");
}

#[test]
fn two_sessions_of_cursor() {
    two_sessions("cursor");
}

#[test]
fn two_sessions_of_gemini() {
    two_sessions("gemini");
}

#[test]
fn two_sessions_of_copilot() {
    two_sessions("copilot");
}

#[test]
fn two_sessions_of_opencode() {
    two_sessions("opencode");
}

#[test]
fn sessions_of_different_harnesses_stop_each_other() {
    let site = site();
    for (position, harness) in HARNESSES.into_iter().enumerate() {
        let reason = reason(harness, &call(harness, &edit(harness, site.path(), "s", F)));
        assert_eq!(reason.is_some(), position > 0, "{harness}");
        assert!(reason.is_none_or(|reason| reason.contains("run `claude-code:s`")));
    }
}

/// An edit of a symbol and of what is outside is all or nothing, whichever of the two is held.
#[test]
fn what_is_denied_in_part_leaves_nothing() {
    for (held_address, flags) in [("m.py::C.f", &[][..]), ("m.py::@top", &[])] {
        let site = site();
        site.reserve("boss", held_address, flags);
        let before = snapshot(&site.store().join("reservations"));
        let text = TEXT.replace("import os", "import os, re").replace("return 1", "return 10");
        let payload = json!({
            "session_id": "s", "cwd": site.path(), "hook_event_name": "PreToolUse", "tool_name": "Write",
            "tool_input": {"file_path": "m.py", "content": text},
        });
        assert!(reason("claude-code", &call("claude-code", &payload)).is_some());
        assert_eq!(snapshot(&site.store().join("reservations")), before);
        assert_eq!(held(&site), [format!("boss exclusive {held_address}")]);
    }
}

/// Whoever waits for a part of it comes first, which only the store's lock tells: what was reserved by then goes back.
#[test]
fn what_is_denied_late_is_given_back() {
    let site = site();
    site.reserve("boss", "m.py::@top", &["--shared"]);
    let mut waiter = site.coord(&["reserve", "m.py::@top", "--wait", "600"]).run_id("waiter").command;
    let mut waiter = waiter.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the waiter has its place", || names(&site.store().join("waiting")).len() == 1);
    let text = TEXT.replace("import os", "import os, re").replace("return 1", "return 10");
    let payload = json!({
        "session_id": "s", "cwd": site.path(), "hook_event_name": "PreToolUse", "tool_name": "Write",
        "tool_input": {"file_path": "m.py", "content": text},
    });
    let reason = reason("claude-code", &call("claude-code", &payload));
    waiter.kill().unwrap();
    waiter.wait().unwrap();
    assert!(reason.unwrap().contains("`m.py::@top` is waited for by run `waiter`"));
    assert_eq!(held(&site), ["boss shared m.py::@top"]);
}

#[test]
fn a_subagent_is_a_run_below_its_session() {
    let site = site();
    let of = |agent: Option<&str>, change| {
        let mut payload = edit("claude-code", site.path(), "s", change);
        payload["agent_id"] = agent.map_or(Value::Null, Into::into);
        reason("claude-code", &call("claude-code", &payload))
    };
    assert_eq!(of(None, F), None);
    assert_eq!(of(Some("a"), F), None, "what its session holds does not stop it");
    assert_eq!(of(Some("a"), G), None);
    assert!(of(Some("b"), G).unwrap().contains("run `claude-code:s/a`"));
    let own = of(None, G).unwrap();
    assert!(
        own.contains(
            "is a subagent of yours: if it is done, `muse coord release --all --run-id claude-code:s/a`"
        ),
        "{own}"
    );
    let stop = |agent: &str| {
        let payload = json!({
            "session_id": "s", "cwd": site.path(), "hook_event_name": "SubagentStop", "agent_id": agent,
        });
        passes(&call("claude-code", &payload));
    };
    stop("a");
    assert_eq!(held(&site), ["claude-code:s exclusive m.py::C.f"]);
    assert_eq!(of(Some("b"), G), None);
    ends("claude-code", &site, "s");
    assert_eq!(held(&site), [""; 0], "the end of a session is that of its subagents");
}

#[test]
fn the_run_of_the_environment_is_the_sessions_run() {
    let site = site();
    let with = |payload: &Value| {
        harness::call_with("codex", payload.to_string().as_bytes(), |call| call.env("MUSE_RUN_ID", "alice"))
    };
    passes(&with(&edit("codex", site.path(), "s", F)));
    let mut agents = edit("codex", site.path(), "s", G);
    agents["agent_id"] = "a/1".into();
    passes(&with(&agents));
    assert_eq!(held(&site), ["alice exclusive m.py::C.f", "alice/a%2f1 exclusive m.py::C.g"]);
    // Nor does it need a session then.
    let mut nobodys = edit("codex", site.path(), "s", H);
    nobodys.as_object_mut().unwrap().remove("session_id");
    passes(&with(&nobodys));
    passes(&with(&session("codex", site.path(), "other", false)));
    assert_eq!(held(&site), [""; 0]);
}

/// Cursor and Copilot run what is configured for Claude Code beside what is configured for them.
#[test]
fn one_edit_that_two_hooks_tell_is_one() {
    let site = site();
    let of_copilot = |change: harness::Change<'_>| {
        json!({
            "hook_event_name": "PreToolUse", "session_id": "s", "timestamp": "2026-11-20T10:00:00Z",
            "cwd": site.path(), "tool_name": "Edit",
            "tool_input": {"path": site.at("m.py"), "old_str": change.old, "new_str": change.new},
        })
    };
    let of_cursor = |change| edit("cursor", site.path(), "s", change);
    for (own, payload, other, run) in [
        ("copilot", edit("copilot", site.path(), "s", F), of_copilot(F), "copilot:s"),
        ("cursor", of_cursor(G), of_cursor(G), "cursor:s"),
    ] {
        for _ in 0..3 {
            passes(&call(own, &payload));
            passes(&call("claude-code", &other));
            passes(&call(own, &other));
        }
        assert_eq!(held(&site).iter().filter(|held| held.starts_with(run)).count(), 1);
    }
    // Each is answered in its own words.
    site.reserve("boss", "m.py::C.h", &[]);
    let cursor = call("claude-code", &of_cursor(H));
    assert!(reason("cursor", &cursor).unwrap().contains("`boss`"));
    let copilot = call("claude-code", &of_copilot(H));
    assert!(reason("copilot", &copilot).unwrap().contains("--run-id copilot:s"));
    assert!(reason("claude-code", &copilot).is_some(), "in VS Code it reads the words of Claude Code");
}

#[test]
fn many_edits_of_the_same_are_one_reservation() {
    let site = site();
    let at = site.path();
    for _ in 0..3 {
        for change in [F, G, IMPORT] {
            passes(&call("gemini", &edit("gemini", at, "s", change)));
        }
        let text = TEXT.replace("return 1", "return 10").replace("return 2", "return 20");
        let mut both = edit("gemini", at, "s", F);
        both["tool_name"] = "write_file".into();
        both["tool_input"] = json!({"file_path": site.at("m.py"), "content": text});
        passes(&call("gemini", &both));
    }
    let three =
        ["gemini:s exclusive m.py::C.f", "gemini:s exclusive m.py::C.g", "gemini:s shared m.py::@top"];
    assert_eq!(held(&site), three);
    // What is in a file that the run holds is held.
    let mut gone = edit("cursor", at, "s", F);
    gone["tool_name"] = "Delete".into();
    assert!(reason("cursor", &call("cursor", &gone)).unwrap().contains("`m.py` is held as `m.py::C.f`"));
    ends("gemini", &site, "s");
    passes(&call("cursor", &gone));
    passes(&call("cursor", &edit("cursor", at, "s", F)));
    passes(&call("cursor", &edit("cursor", at, "s", IMPORT)));
    assert_eq!(held(&site), ["cursor:s exclusive m.py"]);
    let list = site.coord(&["list"]).json().value();
    assert_eq!(list["reservations"][0]["operation"], "delete");
}

#[test]
fn an_edit_extends_and_never_shortens() {
    let site = site();
    let seconds =
        || site.coord(&["list"]).json().value()["reservations"][0]["expires_in_seconds"].as_u64().unwrap();
    let short = site.coord(&["reserve", "m.py::C.f", "--ttl", "60"]).run_id("codex:s").granted();
    passes(&call("codex", &edit("codex", site.path(), "s", F)));
    assert!((600..=900).contains(&seconds()), "{}", seconds());
    site.coord(&["heartbeat", &short.id, "--extension", "5000"]).run_id("codex:s").run().is_success();
    passes(&call("codex", &edit("codex", site.path(), "s", F)));
    assert!(seconds() > 900, "{}", seconds());
    // What has lapsed and nobody has had since is held again by the next edit.
    let lapsed = site.lapsed("codex:s", "m.py::C.g", 60);
    passes(&call("codex", &edit("codex", site.path(), "s", G)));
    assert_eq!(held(&site).len(), 2);
    assert!(site.record("heartbeats", &lapsed.id).exists());
}

#[test]
fn what_an_edit_makes_of_a_file_that_is_not_told_is_all_of_it() {
    let site = site();
    for (old, says) in [("        return 9", "is not in it"), ("    ", "is in it several times")] {
        let payload = json!({
            "session_id": "s", "cwd": site.path(), "hook_event_name": "PreToolUse", "tool_name": "Edit",
            "tool_input": {"file_path": site.at("m.py"), "old_string": old, "new_string": "x"},
        });
        site.reserve("boss", "m.py::C.h", &[]);
        let reason = reason("claude-code", &call("claude-code", &payload)).unwrap();
        assert!(
            reason.contains(&format!("`m.py` counts as a whole: the text to be replaced {says}")),
            "{reason}"
        );
        site.coord(&["release", "--all"]).run_id("boss").run().is_success();
        passes(&call("claude-code", &payload));
        assert_eq!(held(&site), ["claude-code:s exclusive m.py"]);
        ends("claude-code", &site, "s");
    }
}

#[test]
fn files_are_found_as_the_harness_spells_them() {
    let site = site();
    site.folder("sub");
    site.file("app/[id] ü/a.py", TEXT);
    std::os::unix::fs::symlink(site.path(), site.at("loop")).unwrap();
    let absolute = site.at("sub/../m.py");
    // A submodule, and a folder that nobody guards.
    site.folder("nested/.git");
    let elsewhere = Site::without_store();
    for (cwd, path, address) in [
        (site.path().to_owned(), "m.py".to_owned(), "m.py::C.f"),
        (site.path().to_owned(), "./sub/../m.py".to_owned(), "m.py::C.f"),
        (site.at("sub"), "../m.py".to_owned(), "m.py::C.f"),
        (site.at("sub"), absolute.to_string_lossy().into_owned(), "m.py::C.f"),
        (site.at("loop"), "loop/m.py".to_owned(), "m.py::C.f"),
        (site.path().to_owned(), "app/[id] ü/a.py".to_owned(), "app/\\[id\\] ü/a.py::C.f"),
        (site.path().to_owned(), "new/x/../a*.py".to_owned(), "new/a\\*.py"),
        (site.at("nested"), absolute.to_string_lossy().into_owned(), "m.py::C.f"),
        (elsewhere.path().to_owned(), site.at("new/b.py").to_string_lossy().into_owned(), "new/b.py"),
    ] {
        let payload = json!({
            "session_id": "s", "cwd": cwd, "hook_event_name": "BeforeTool", "tool_name": "write_file",
            "tool_input": {"file_path": path, "content": TEXT.replace("return 1", "return 10")},
        });
        passes(&call("gemini", &payload));
        assert_eq!(held(&site), [format!("gemini:s exclusive {address}")], "{path}");
        ends("gemini", &site, "s");
    }
    // None of these is ours.
    let nested = Site::without_store();
    for path in [
        elsewhere.at("m.py"),
        nested.at("a/b.py"),
        site.at(".muse/x.py"),
        site.at(".git/hooks/x.py"),
        site.at("nested/m.py"),
        site.path().to_owned(),
    ] {
        let payload = json!({
            "session_id": "s", "cwd": site.path(), "hook_event_name": "BeforeTool", "tool_name": "write_file",
            "tool_input": {"file_path": path, "content": "x = 1\n"},
        });
        passes(&call("gemini", &payload));
        assert_eq!(held(&site), [""; 0], "{path:?}");
    }
}

#[test]
fn a_patch_of_several_files_is_all_or_nothing() {
    let site = site();
    site.file("src/a.py", TEXT);
    site.file("src/old.py", TEXT);
    let patch = "*** Begin Patch\n*** Update File: m.py\n@@ class C:\n@@     def g(self):\n-        return 2\n\
                 +        return 20\n*** Add File: src/new.py\n+x = 1\n*** Update File: src/a.py\n*** Move to: src/b.py\n\
                 @@\n-import os\n+import re\n*** Delete File: src/old.py\n*** End Patch\n";
    let mut payload = edit("codex", site.path(), "s", F);
    payload["tool_input"]["command"] = patch.into();
    let boss = site.reserve("boss", "src/b.py", &[]);
    let reason = reason("codex", &call("codex", &payload)).unwrap();
    assert!(reason.contains("`src/b.py` is held by run `boss`"), "{reason}");
    assert_eq!(held(&site), ["boss exclusive src/b.py"]);
    site.coord(&["release", &boss.id]).run_id("boss").run().is_success();
    passes(&call("codex", &payload));
    assert_eq!(held(&site), ["codex:s exclusive m.py::C.g src/a.py src/b.py src/new.py src/old.py"]);
    assert_eq!(fs::read_to_string(site.at("m.py")).unwrap(), TEXT, "a hook changes no file");
}

/// Else a patch of many such files would be let through for want of time.
#[test]
fn the_time_for_reading_files_is_that_of_all_repositories() {
    let comment = |at: usize| format!("#c{at}\n");
    let comments: String = (0..45_000).map(comment).collect();
    let slow = format!("def f():\n  if x:\n    a\n{comments}\ndef g():\n    return 2\n");
    let sites = [site(), site(), site()];
    let change = |at: usize| {
        let (site, name) = (&sites[at / 7], format!("{}.py", at % 7));
        site.file(&name, &slow);
        format!("*** Update File: {}\n@@\n-    return 2\n+    return 20\n", site.at(&name).display())
    };
    let changes: String = (0..sites.len() * 7).map(change).collect();
    let [here, _, last] = &sites;
    last.reserve("boss", "6.py::g", &[]);
    let mut payload = edit("codex", here.path(), "s", F);
    payload["tool_input"]["command"] = format!("*** Begin Patch\n{changes}*** End Patch\n").into();
    let denied = reason("codex", &call("codex", &payload)).unwrap();
    assert!(denied.contains("is held as `6.py::g` by run `boss`"), "{denied}");
    assert_eq!(held(here), [""; 0]);
}

#[test]
fn a_patch_of_files_in_two_repositories_is_guarded_in_both_or_in_none() {
    let (one, other, third) = (site(), site(), Site::without_store());
    third.file("m.py", TEXT);
    let patch_of = |sites: &[&Site]| {
        let change = |site: &&Site| {
            let path = site.at("m.py");
            format!("*** Update File: {}\n@@\n-        return 1\n+        return 10\n", path.display())
        };
        format!("*** Begin Patch\n{}*** End Patch\n", sites.iter().map(change).collect::<String>())
    };
    let call_in = |cwd: &Site, sites: &[&Site]| {
        let mut payload = edit("codex", cwd.path(), "s", F);
        payload["tool_input"]["command"] = patch_of(sites).into();
        call("codex", &payload)
    };
    let mine = ["codex:s exclusive m.py::C.f"];
    for cwd in [&one, &other, &third] {
        for sites in [[&third, &one, &other], [&other, &third, &one]] {
            // Whoever is in the way in either stops it, and nothing is left in the other.
            for (held_in, free) in [(&one, &other), (&other, &one)] {
                let boss = held_in.reserve("boss", "m.py::C.f", &[]);
                let denied = reason("codex", &call_in(cwd, &sites)).unwrap();
                assert!(denied.contains("`m.py::C.f` is held by run `boss`"), "{denied}");
                assert_eq!(held(held_in), ["boss exclusive m.py::C.f"]);
                assert_eq!(held(free), [""; 0]);
                // What the run held before it keeps.
                passes(&call_in(cwd, &[free]));
                assert!(reason("codex", &call_in(cwd, &sites)).is_some());
                assert_eq!(held(free), mine);
                ends("codex", free, "s");
                held_in.coord(&["release", &boss.id]).run_id("boss").run().is_success();
            }
            passes(&call_in(cwd, &sites));
            assert!(held(&one) == mine && held(&other) == mine);
            ends("codex", &one, "s");
            ends("codex", &other, "s");
        }
    }
    // One that cannot be read hides nobody who is in the way in the other, and leaves nothing there.
    let record = format!(".muse/coordination/reservations/{ABSENT}.json");
    for (path, text) in [(&*record, "no record"), (".git", "gitdir: nowhere\n")] {
        other.file(path, text);
        for (cwd, sites) in [(&one, [&one, &other]), (&one, [&other, &one]), (&other, [&one, &other])] {
            let answer = call_in(cwd, &sites);
            assert!(answer.code == 0 && answer.stderr.contains("could not check: "), "{answer:?}");
            assert_eq!(held(&one), [""; 0]);
            let boss = one.reserve("boss", "m.py::C.f", &[]);
            assert!(reason("codex", &call_in(cwd, &sites)).is_some());
            assert!(reason("codex", &call_in(cwd, &[&one])).is_some());
            one.coord(&["release", &boss.id]).run_id("boss").run().is_success();
        }
        fs::remove_dir_all(other.at(".muse")).unwrap_or_default();
    }
}

/// The commands of a session take paths from its folder.
#[test]
fn a_denial_tells_a_command_for_the_folder_of_the_session() {
    let (site, other) = (site(), site());
    let sub = site.folder("sub");
    site.reserve("boss", "m.py", &[]);
    let reserve = "muse coord reserve m.py::C.f --wait 100 --run-id codex:s";
    let top = site.path().canonicalize().unwrap();
    for (cwd, command) in [
        (site.path(), format!("`{reserve}`")),
        (&*sub, format!("`(cd '{}' && {reserve})`", top.display())),
        (other.path(), format!("`(cd '{}' && {reserve})`", top.display())),
    ] {
        let mut payload = edit("codex", cwd, "s", F);
        let text = payload["tool_input"]["command"].as_str().unwrap();
        payload["tool_input"]["command"] = text.replace("m.py", &site.at("m.py").to_string_lossy()).into();
        let denied = reason("codex", &call("codex", &payload)).unwrap();
        assert!(denied.contains(&format!("in the queue with {command}, and then")), "{denied}");
    }
}

#[test]
fn a_long_session_is_guarded_and_ends_as_any_other() {
    let site = site();
    let (one, other) = ("s".repeat(400), format!("{}t", "s".repeat(399)));
    for harness in HARNESSES {
        passes(&call(harness, &edit(harness, site.path(), &one, F)));
        let denied = reason(harness, &call(harness, &edit(harness, site.path(), &other, F))).unwrap();
        let run = held(&site)[0].split(' ').next().unwrap().to_owned();
        assert!(run.starts_with(&format!("{harness}:sss")) && run.len() <= 256, "{run}");
        assert!(denied.contains(&format!("run `{run}`")), "{denied}");
        passes(&call(harness, &edit(harness, site.path(), &one, F)));
        ends(harness, &site, &one);
        assert_eq!(held(&site), [""; 0]);
    }
    // A run id that leaves no room for a subagent below it: it is the session that edits.
    let boss = "b".repeat(254);
    let mut payload = edit("claude-code", site.path(), "s", F);
    payload["agent_id"] = "sub".into();
    let answer = harness::call_with("claude-code", payload.to_string().as_bytes(), |call| {
        call.env("MUSE_RUN_ID", &boss)
    });
    passes(&answer);
    assert_eq!(held(&site), [format!("{boss} exclusive m.py::C.f")]);
}

/// `\\ud800` in a text that JavaScript cut: the rest is read, and what the edit makes of the file is what is guarded.
#[test]
fn half_a_surrogate_pair_hides_no_edit() {
    for harness in HARNESSES {
        let site = site();
        let with = |change| edit(harness, site.path(), "s", change).to_string().replace("HALF", r"\ud83d");
        let in_new = with(change("        return 1", "        return 'HALF'"));
        passes(&harness::call_with(harness, in_new.as_bytes(), |call| call));
        assert_eq!(held(&site), [format!("{harness}:s exclusive m.py::C.f")], "{in_new}");
        // A text that is in no file: the file is touched whole.
        let in_old = with(change("        return 2HALF", "        return 20"));
        passes(&harness::call_with(harness, in_old.as_bytes(), |call| call));
        assert!(held(&site).contains(&format!("{harness}:s exclusive m.py")), "{:?}", held(&site));
    }
}
