//! `muse coord engine migrate`, with a real etcd: nothing is lost, and nobody works in the old place.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start processes and write files; what a helper does not expect fails the test"
)]

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use muse_testkit::etcd::Etcd;
use serde_json::{Value, json};

mod support;

use support::{Muse, Site};

/// A repository whose `muse.toml` says where the etcd is, and not yet that it is used.
fn site() -> Site {
    let site = Site::new();
    choose(&site, "files", &Etcd::repository());
    site
}

fn choose(site: &Site, engine: &str, repository: &str) {
    let url = Etcd::shared().url();
    let text = format!(
        "[coordination]\nengine = \"{engine}\"\nendpoints = [\"{url}\"]\nrepository = \"{repository}\"\n"
    );
    site.file("muse.toml", &text);
}

fn on(site: &Site, engine: &str, arguments: &[&str]) -> Muse {
    site.coord(arguments).env("MUSE_COORD_ENGINE", engine)
}

fn migrate(site: &Site, to: &str) -> Value {
    site.coord(&["engine", "migrate", "--to", to]).json().value()
}

fn status(muse: Muse) -> (i64, String) {
    let value = muse.json().value();
    (value["exit_code"].as_i64().unwrap(), value["status"].as_str().unwrap().to_owned())
}

/// The ids of what is active, and their tokens.
fn active(site: &Site, engine: &str) -> BTreeMap<String, u64> {
    let listed = on(site, engine, &["list"]).json().value();
    assert_eq!(listed["status"], "ok", "{listed}");
    let rows = listed["reservations"].as_array().unwrap().iter();
    rows.map(|row| (row["reservation_id"].as_str().unwrap().to_owned(), row["token"].as_u64().unwrap()))
        .collect()
}

fn moved() -> (i64, String) {
    (5, "moved".to_owned())
}

#[test]
fn what_is_reserved_goes_to_etcd_and_back() {
    let site = site();
    let short = site.coord(&["reserve", "a.py", "--ttl", "900", "--run-id", "alice"]).granted();
    let beaten = site.reserve_and_beat("bob", "b.py");
    let lapsed = site.lapsed("carol", "c.py", 10);
    let before = active(&site, "files");
    let there = migrate(&site, "etcd");
    assert_eq!((there["status"].as_str(), there["exit_code"].as_i64()), (Some("ok"), Some(0)), "{there}");
    let rows = there["reservations"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{there}");
    let row = |id: &str| rows.iter().find(|row| row["reservation_id"] == id).unwrap();
    assert_eq!(row(&short.id)["token"], short.token);
    assert!((890..=900).contains(&row(&short.id)["expires_in_seconds"].as_u64().unwrap()));
    assert_eq!(row(&lapsed.id)["expires_in_seconds"], Value::Null);
    assert_eq!(active(&site, "etcd"), before);

    // Whoever still uses the files is refused, whatever is asked, and told where to go.
    for arguments in [
        &["reserve", "z.py"][..],
        &["reserve", "z.py", "--wait", "9"],
        &["heartbeat", &beaten.id],
        &["heartbeat", "--all"],
        &["release", &beaten.id],
        &["release", "--all"],
        &["check", "a.py"],
    ] {
        assert_eq!(status(on(&site, "files", arguments).run_id("bob")), moved(), "{arguments:?}");
    }
    for arguments in [&["list"][..], &["list", "--all"], &["log"], &["show", &short.id], &["gc"], &["fsck"]] {
        let value = on(&site, "files", arguments).json().value();
        assert_eq!(
            (value["exit_code"].as_i64(), value["status"].as_str()),
            (Some(5), Some("moved")),
            "{value}"
        );
        let error = value["error"].as_str().unwrap();
        assert!(error.contains("moved to etcd, cluster") && error.contains(Etcd::shared().url()), "{error}");
    }
    let repair = on(&site, "files", &["fsck", "--repair"]);
    assert_eq!(status(repair), moved());
    assert_eq!(status(site.muse(&["init"])), moved());
    choose_keeping_name(&site, "etcd");
    assert_eq!(status(site.muse(&["init"])), (0, "ok".to_owned()));

    // There, each goes on as it was: the holder's heartbeat counts, a lapsed one is revived, tokens go on rising.
    assert_eq!(status(site.coord(&["heartbeat", &beaten.id]).run_id("bob")), (0, "ok".to_owned()));
    assert_eq!(status(site.coord(&["reserve", "b.py"]).run_id("dave")), (6, "conflict".to_owned()));
    assert_eq!(status(site.coord(&["heartbeat", &lapsed.id]).run_id("carol")), (0, "ok".to_owned()));
    assert_eq!(status(site.coord(&["release", &short.id]).run_id("alice")), (0, "ok".to_owned()));
    let newer = site.coord(&["reserve", "a.py", "--run-id", "dave"]).granted();
    assert!(newer.token > lapsed.token.max(beaten.token));

    let back = migrate(&site, "files");
    assert_eq!(back["status"], "ok", "{back}");
    assert_eq!(back["reservations"].as_array().unwrap().len(), 3, "{back}");
    assert_eq!(status(site.coord(&["heartbeat", &newer.id]).run_id("dave")), moved());
    assert_eq!(status(site.coord(&["reserve", "z.py"]).run_id("dave")), moved());
    assert_eq!(status(site.coord(&["check", "z.py"]).run_id("dave")), moved());
    choose_keeping_name(&site, "files");
    let after = active(&site, "files");
    assert_eq!(after.keys().collect::<Vec<_>>(), {
        let mut ids = vec![&newer.id, &beaten.id, &lapsed.id];
        ids.sort();
        ids
    });
    assert_eq!(status(site.coord(&["heartbeat", &newer.id]).run_id("dave")), (0, "ok".to_owned()));
    assert!(site.reserve("erin", "z.py", &[]).token > newer.token);
    assert_eq!(status(site.coord(&["fsck"])), (0, "ok".to_owned()));
    // And once more, with the same.
    let count = active(&site, "files").len();
    assert_eq!(migrate(&site, "etcd")["reservations"].as_array().unwrap().len(), count);
    assert_eq!(active(&site, "etcd").len(), count);
}

/// The other engine for the same name.
fn choose_keeping_name(site: &Site, engine: &str) {
    let text = std::fs::read_to_string(site.at("muse.toml")).unwrap();
    let name = text.lines().last().unwrap().split('"').nth(1).unwrap().to_owned();
    choose(site, engine, &name);
}

#[test]
fn nothing_is_moved_where_somebody_is_in_the_way() {
    let [one, two] = [site(), Site::new()];
    std::fs::copy(one.at("muse.toml"), two.at("muse.toml")).unwrap();
    let first = one.reserve("alice", "src/a.py", &[]);
    let other = two.reserve("bob", "src/", &[]);
    let free = two.reserve("bob", "docs/", &[]);
    assert_eq!(migrate(&one, "etcd")["status"], "ok");
    let refused = migrate(&two, "etcd");
    assert_eq!((refused["status"].as_str(), refused["exit_code"].as_i64()), (Some("conflict"), Some(6)));
    assert_eq!(refused["conflicts"][0]["holder"]["reservation_id"], first.id.as_str());
    assert_eq!(refused["reservations"], json!([]));
    // All of it is where it was.
    assert_eq!(active(&two, "files").len(), 2);
    assert_eq!(active(&one, "etcd").len(), 1);
    two.coord(&["release", &other.id]).run_id("bob").run().is_success();
    assert_eq!(migrate(&two, "etcd")["status"], "ok");
    assert_eq!(active(&one, "etcd").keys().collect::<Vec<_>>(), {
        let mut ids = vec![&first.id, &free.id];
        ids.sort();
        ids
    });

    // The other way round: a clone that has its own takes nothing over that it overlaps, and etcd goes on.
    let three = Site::new();
    three.reserve("carol", "src/a.py", &[]);
    std::fs::copy(one.at("muse.toml"), three.at("muse.toml")).unwrap();
    let refused = migrate(&three, "files");
    assert_eq!(refused["status"], "conflict", "{refused}");
    assert_eq!(status(on(&one, "etcd", &["heartbeat", &first.id]).run_id("alice")), (0, "ok".to_owned()));
    // Whose files were moved there cannot be opened by another store.
    let elsewhere = migrate(&one, "files");
    assert_eq!(elsewhere["status"], "ok");
    assert_eq!(migrate(&two, "files")["status"], "moved");
    assert_eq!(migrate(&two, "etcd")["status"], "moved");
}

#[test]
fn wrong_input_moves_nothing() {
    let site = Site::new();
    site.reserve("alice", "a.py", &[]);
    let before = site.snapshot();
    let missing = site.coord(&["engine", "migrate", "--to", "etcd"]).json().value();
    assert_eq!((missing["exit_code"].as_i64(), missing["status"].as_str()), (Some(1), Some("bad_config")));
    assert_eq!(status(site.coord(&["engine", "migrate", "--to", "redis"])).0, 2);
    assert_eq!(status(site.coord(&["engine", "migrate"])).0, 2);
    let nobody = format!("http://127.0.0.1:{}", muse_testkit::etcd::free_port());
    let unreachable = site
        .coord(&["engine", "migrate", "--to", "etcd"])
        .env("MUSE_COORD_ENDPOINTS", nobody)
        .env("MUSE_COORD_REPOSITORY", "x");
    assert_eq!(status(unreachable), (5, "unreachable".to_owned()));
    assert_eq!(site.snapshot(), before);
}

/// Whoever waits for the store's lock while it is moved is refused: every grant that was acknowledged is in etcd.
#[test]
fn no_grant_gets_past_the_fence() {
    let site = site();
    let (granted, moving) = thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|worker| {
                let site = &site;
                scope.spawn(move || {
                    let mut granted = Vec::new();
                    for number in 0..400 {
                        let address = format!("w{worker}/{number}.py");
                        let run = format!("run-{worker}");
                        let answer = on(site, "files", &["reserve", &address]).run_id(run).json().value();
                        match answer["status"].as_str() {
                            Some("ok") => granted.push(answer["reservation_id"].as_str().unwrap().to_owned()),
                            Some("moved") => return (granted, true),
                            _ => panic!("{answer}"),
                        }
                    }
                    (granted, false)
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(700));
        let moving = migrate(&site, "etcd");
        (workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>(), moving)
    });
    assert_eq!(moving["status"], "ok", "{moving}");
    assert!(granted.iter().all(|(_, was_refused)| *was_refused));
    let there = active(&site, "etcd");
    let granted: Vec<&String> = granted.iter().flat_map(|(granted, _)| granted).collect();
    assert!(granted.len() > 6, "{}", granted.len());
    assert_eq!(there.len(), granted.len());
    assert!(granted.iter().all(|id| there.contains_key(*id)));
}

/// Who waits in the old place is told, and does not wait on.
#[test]
fn a_waiter_is_told_where_to_go() {
    let site = site();
    site.reserve("alice", "a.py", &[]);
    let mut waiting = site.coord(&["reserve", "a.py", "--wait", "60", "--json"]).run_id("bob");
    let waiting = waiting.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_queued = || !support::names(&site.store().join("waiting")).is_empty();
    muse_testkit::process::until("it waits", is_queued);
    assert_eq!(migrate(&site, "etcd")["status"], "ok");
    let answer: Value = serde_json::from_slice(&waiting.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(answer["status"], "moved", "{answer}");
}

/// A move that is killed at any step is finished by the same command, and in between nobody holds in both places what
/// somebody else holds.
#[test]
fn a_killed_move_is_finished_by_the_next() {
    muse_testkit::strace::need_strace();
    let mut killed = 0;
    for (to, back) in [("etcd", "files"), ("files", "etcd")] {
        for (call, last) in [("renameat", 4), ("unlinkat", 6), ("fsync", 6), ("ftruncate", 1), ("sendto", 12)]
        {
            for number in 1..=last {
                let site = site();
                let held = [
                    site.reserve("alice", "a.py", &[]),
                    site.reserve_and_beat("bob", "b.py"),
                    site.reserve("carol", "c.py", &[]),
                ];
                if to == "files" {
                    assert_eq!(migrate(&site, back)["status"], "ok");
                }
                let before = active(&site, back);
                let trace = format!("inject={call}:signal=SIGKILL:when={number}");
                let muse = env!("CARGO_BIN_EXE_muse");
                let words =
                    ["-f", "-o", "/dev/null", "-e", &trace, muse, "coord", "engine", "migrate", "--to", to];
                let mut traced = Muse::of_program(Path::new("strace"), site.path(), &words);
                killed += u32::from(!traced.command.output().unwrap().status.success());
                // Either it can still be used where it was, or it says that it cannot.
                let beat = |engine| status(on(&site, engine, &["heartbeat", &held[1].id]).run_id("bob"));
                let old = beat(back);
                assert!(old == moved() || old.0 == 0, "{old:?} after {call} {number}");
                assert_eq!(migrate(&site, to)["status"], "ok", "{call} {number}");
                assert_eq!(active(&site, to), before, "{call} {number}");
                assert_eq!(beat(to), (0, "ok".to_owned()), "{call} {number}");
                assert_eq!(beat(back), moved(), "{call} {number}");
                let next = on(&site, to, &["reserve", "d.py"]).run_id("dave").granted();
                assert!(before.values().all(|token| *token < next.token));
            }
        }
    }
    assert!(killed > 30, "{killed}");
}

/// So is who watches, when the move comes and afterwards.
#[test]
fn a_watch_ends_with_the_move() {
    let site = site();
    site.reserve("alice", "a.py", &[]);
    let mut watching = on(&site, "files", &["watch", "--json", "--since", "1h"]);
    let mut watching = watching.command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(watching.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["run_id"], "alice", "{first}");
    migrate(&site, "etcd");
    assert_eq!(watching.wait().unwrap().code(), Some(5));
    let value = on(&site, "files", &["watch", "--json"]).run().value();
    assert_eq!((&value["exit_code"], &value["status"]), (&json!(5), &json!("moved")), "{value}");
}

/// A branch that names no engine would use files beside all others; it is refused where another branch uses etcd.
#[test]
fn a_branch_without_settings_is_refused_where_etcd_is_used() {
    let site = site();
    let own = site.reserve("bob", "own.py", &[]);
    choose_keeping_name(&site, "etcd");
    let settings = std::fs::read_to_string(site.at("muse.toml")).unwrap();
    // Nothing is noted by who only asks, is denied, or does not reach it.
    let nowhere = settings.replace(Etcd::shared().url(), "http://127.0.0.1:1");
    site.file("muse.toml", &nowhere);
    assert_eq!(status(site.coord(&["reserve", "a.py"]).run_id("alice")), (5, "unreachable".to_owned()));
    site.file("muse.toml", &settings);
    for arguments in [&["list"][..], &["check", "a.py", "--run-id", "alice"], &["engine", "status"]] {
        site.coord(arguments).run().is_success();
    }
    assert!(!site.at(".muse/engine").exists());
    let held = site.coord(&["reserve", "a.py", "--ttl", "900", "--run-id", "alice"]).granted();
    std::fs::remove_file(site.at("muse.toml")).unwrap();
    let refused = (1, "bad_config".to_owned());
    for arguments in [&["reserve", "a.py"][..], &["check", "a.py"]] {
        assert_eq!(status(site.coord(arguments).run_id("bob")), refused, "{arguments:?}");
    }
    let verify = &["verify", "a.py", "--token", "1"];
    for arguments in [&["list"][..], verify, &["run", "a.py", "--run-id", "bob", "--json", "--", "true"]] {
        let answer = site.coord(arguments).json();
        assert_eq!(
            (answer.code, answer.value()["status"].as_str()),
            (1, Some("bad_config")),
            "{arguments:?}"
        );
    }
    let told = site.coord(&["engine", "status"]).json().value();
    let problem = told["problems"][0].as_str().unwrap();
    for part in ["this branch names no engine", Etcd::shared().url(), ".muse/config.toml", ".muse/engine"] {
        assert!(problem.contains(part), "{problem}");
    }
    // What is not found here is not said to be nowhere.
    for arguments in
        [&["heartbeat", &held.id][..], &["heartbeat", "--all"], &["release", &held.id], &["release", "--all"]]
    {
        assert_eq!(status(site.coord(arguments).run_id("alice")), refused, "{arguments:?}");
    }
    let answer = site.coord(&["show", &held.id]).json();
    assert_eq!((answer.code, answer.value()["status"].as_str()), (1, Some("bad_config")));
    // What is held in the files is looked after, and who says `files` uses them.
    for arguments in [&["heartbeat", &own.id][..], &["heartbeat", "--all"]] {
        assert_eq!(status(site.coord(arguments).run_id("bob")), (0, "ok".to_owned()), "{arguments:?}");
    }
    for arguments in [&["show", &own.id][..], &["log"], &["gc"], &["fsck"]] {
        assert_eq!(site.coord(arguments).json().code, 0, "{arguments:?}");
    }
    assert_eq!(status(on(&site, "files", &["reserve", "b.py"]).run_id("bob")), (0, "ok".to_owned()));
    assert_eq!(status(site.coord(&["release", "--all"]).run_id("bob")), (0, "ok".to_owned()));
    // The remedy that is told; its own settings are stronger, and count on every branch.
    site.file(".muse/config.toml", &settings);
    assert_eq!(status(site.coord(&["reserve", "a.py"]).run_id("bob")), (6, "conflict".to_owned()));
    std::fs::remove_file(site.at(".muse/config.toml")).unwrap();

    // A branch that says `files` means it, and the way back takes the note along.
    site.file("muse.toml", "[coordination]\nengine = \"files\"\n");
    assert_eq!(status(site.coord(&["check", "a.py"]).run_id("bob")), (0, "ok".to_owned()));
    site.file("muse.toml", &settings);
    assert_eq!(migrate(&site, "files")["reservations"].as_array().unwrap().len(), 1);
    assert_eq!(status(site.coord(&["reserve", "a.py"]).run_id("bob")), moved(), "and notes nothing again");
    std::fs::remove_file(site.at("muse.toml")).unwrap();
    assert_eq!(status(site.coord(&["heartbeat", &held.id]).run_id("alice")), (0, "ok".to_owned()));
    assert_eq!(status(site.coord(&["reserve", "a.py"]).run_id("bob")), (6, "conflict".to_owned()));
}

/// Waiters, guarded commands and guarded edits are granted in other ways.
#[test]
fn every_way_to_be_granted_something_is_noted() {
    let edit = json!({
        "session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Write",
        "tool_input": {"file_path": "a.py", "content": "x = 1\n"},
    });
    for arguments in [
        &["reserve", "--run-id", "alice", "--wait", "5", "a.py"][..],
        &["run", "--run-id", "alice", "a.py", "--", "true"],
        &["hook", "claude-code"],
    ] {
        let site = site();
        choose_keeping_name(&site, "etcd");
        let input = site.file("edit.json", &edit.to_string());
        site.coord(arguments).stdin_of(&input).run().is_success();
        let note = std::fs::read_to_string(site.at(".muse/engine")).unwrap();
        assert!(note.starts_with("etcd, repository `test-") && note.contains(Etcd::shared().url()), "{note}");
    }
}

/// Who tries etcd out by a variable, or has chosen it for this machine, which counts on every branch. A note that cannot be
/// written stops nobody, and that is told; one that is a link elsewhere is replaced and not followed.
#[test]
fn nothing_is_noted_where_no_branch_decides() {
    let site = site();
    on(&site, "etcd", &["reserve", "a.py", "--run-id", "alice"]).granted();
    let settings = std::fs::read_to_string(site.at("muse.toml")).unwrap();
    let of_etcd = settings.replace("\"files\"", "\"etcd\"");
    site.file(".muse/config.toml", &of_etcd);
    site.coord(&["reserve", "b.py", "--run-id", "alice"]).granted();
    assert!(!site.at(".muse/engine").exists());

    std::fs::remove_file(site.at(".muse/config.toml")).unwrap();
    site.file("muse.toml", &of_etcd);
    let elsewhere = site.file("elsewhere", "mine");
    std::os::unix::fs::symlink(&elsewhere, site.at(".muse/engine")).unwrap();
    site.coord(&["reserve", "c.py", "--run-id", "alice"]).granted();
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "mine");
    std::fs::remove_file(site.at(".muse/engine")).unwrap();
    std::fs::create_dir(site.at(".muse/engine")).unwrap();
    let granted = site.coord(&["reserve", "d.py", "--run-id", "alice"]).json().value();
    assert_eq!(granted["status"], "ok", "{granted}");
    let warning = granted["warnings"][0].as_str().unwrap();
    assert!(warning.contains(".muse/engine cannot be written"), "{warning}");
}
