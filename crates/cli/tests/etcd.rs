//! The distributed engine: the same program on a real etcd.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests start processes and write files; what a helper does not expect fails the test; counts are quoted"
)]

use std::process::Stdio;
use std::time::Duration;

use muse_testkit::etcd::{Etcd, free_port};
use muse_testkit::history::mixed;
use muse_testkit::process::until;
use muse_testkit::races::{KINDS, race};
use muse_testkit::{Muse as Program, assert_sound};
use rustix::process::Signal;
use serde_json::json;

mod support;

use support::{Answer, Muse, Site, set_mode};

/// How many seconds a run may last that loses its etcd with a TTL of 6 s.
const LINGERS_MAX: usize = 18;

/// Rounds of a race, each of 16 processes.
const ROUNDS: usize = 100;

fn program() -> Program {
    Program::on_etcd(env!("CARGO_BIN_EXE_muse"), Etcd::shared())
}

/// A repository whose `muse.toml` names an etcd.
fn site() -> Site {
    let site = Site::new();
    configure(&site, Etcd::shared().url());
    site
}

fn configure(site: &Site, endpoint: &str) {
    let text =
        format!("[coordination]\nendpoints = [\"{endpoint}\"]\nrepository = \"{}\"\n", Etcd::repository());
    site.file("muse.toml", &text);
}

fn coord(site: &Site, arguments: &[&str]) -> Muse {
    site.coord(arguments).env("MUSE_COORD_ENGINE", "etcd")
}

fn refused(answer: &Answer, code: i32, status: &str, parts: &[&str]) {
    let value = answer.value();
    assert_eq!(
        (value["exit_code"].as_i64(), value["status"].as_str()),
        (Some(code.into()), Some(status)),
        "{value}"
    );
    let error = value["error"].as_str().unwrap_or_default();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn the_life_of_a_reservation() {
    let site = site();
    let held = coord(&site, &["reserve", "src/a.py::f", "--run-id", "alice"]).granted();
    // Nothing of it is in the folder.
    assert!(support::names(&site.store().join("reservations")).is_empty());

    let denied = coord(&site, &["reserve", "src/", "--run-id", "bob"]).json();
    let value = denied.value();
    assert_eq!(value["status"], "conflict");
    assert_eq!(value["conflicts"][0]["holder"]["reservation_id"], held.id.as_str());
    assert_eq!(coord(&site, &["check", "src/a.py", "--run-id", "bob"]).json().value()["exit_code"], 6);
    assert_eq!(coord(&site, &["check", "src/a.py", "--run-id", "alice"]).json().value()["exit_code"], 0);

    for _ in 0..2 {
        let beat = coord(&site, &["heartbeat", &held.id, "--extension", "7200", "--run-id", "alice"]).json();
        assert_eq!(beat.value()["status"], "ok");
    }
    let listed = coord(&site, &["list"]).json().value();
    assert_eq!(listed["count"], 1);
    let left = listed["reservations"][0]["expires_in_seconds"].as_u64().unwrap();
    // Rounded up by etcd's word, and again because the clock was read before etcd was asked.
    assert!((7100..=7201).contains(&left), "{left}");
    let shown = coord(&site, &["show", &held.id]).json().value();
    assert!(shown["record_path"].as_str().unwrap().starts_with("etcd:/muse/test-"), "{shown}");

    assert_eq!(coord(&site, &["release", &held.id, "--run-id", "alice"]).json().value()["status"], "ok");
    let late = coord(&site, &["heartbeat", &held.id, "--extension", "60", "--run-id", "alice"]).json();
    assert_eq!(late.value()["status"], "already_released");
    let next = coord(&site, &["reserve", "src/", "--run-id", "bob"]).granted();
    assert!(next.token > held.token);
    let log = coord(&site, &["log"]).json().value();
    assert_eq!(log["count"], 2);
    let checked = coord(&site, &["fsck"]).json().value();
    assert_eq!(
        (checked["status"].as_str(), checked["checked"]["records"].as_u64()),
        (Some("ok"), Some(2)),
        "{checked}"
    );

    // Collected, it is in the archive, and known.
    let collected = coord(&site, &["gc", "--older-than", "0"]).json().value();
    assert_eq!(collected["archived"], 1, "{collected}");
    assert_eq!(coord(&site, &["log"]).json().value()["count"], 2);
    let again = coord(&site, &["release", &held.id, "--run-id", "alice"]).json().value();
    assert_eq!(again["reservations"][0]["status"], "already_released");
}

/// An etcd that hangs answers no heartbeat: the command is stopped before its lease can have ended there.
#[test]
fn a_command_does_not_outlive_an_etcd_that_hangs() {
    let etcd = Etcd::start(&[]);
    let site = Site::new();
    configure(&site, etcd.url());
    let script = "echo begun > begun; sleep 60; echo finished > finished";
    let mut run = coord(
        &site,
        &["run", "a.py", "--ttl", "6", "--grace", "1", "--run-id", "alice", "--", "sh", "-c", script],
    );
    let mut run = run.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it runs", || site.at("begun").exists());
    etcd.signal(Signal::STOP);
    // It is over soon after its reservation, although it cannot be given back.
    let is_over = (0..LINGERS_MAX).any(|_| {
        std::thread::sleep(Duration::from_secs(1));
        run.try_wait().unwrap().is_some()
    });
    etcd.signal(Signal::CONT);
    let output = run.wait_with_output().unwrap();
    assert!(is_over, "it lingers");
    assert_eq!(output.status.code(), Some(8));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("the command was stopped before its reservation lapsed"), "{stderr}");
    assert!(!site.at("finished").exists());
}

/// It lapses because etcd says so, and whoever waits is told by etcd.
#[test]
fn a_waiter_gets_what_lapses() {
    let site = site();
    let short = coord(&site, &["reserve", "a.py", "--ttl", "1", "--run-id", "alice"]).json().value();
    assert_eq!(short["ttl_seconds"], 2);
    let warning = short["warnings"][0].as_str().unwrap();
    assert!(warning.contains("etcd keeps no reservation for less than 2 s"), "{warning}");
    let served = coord(&site, &["reserve", "a.py", "--wait", "60", "--run-id", "bob"]).json().value();
    assert_eq!(served["status"], "ok");
    let id = short["reservation_id"].as_str().unwrap();
    let late = coord(&site, &["heartbeat", id, "--extension", "60", "--run-id", "alice"]).json().value();
    assert_eq!((late["exit_code"].as_i64(), late["status"].as_str()), (Some(4), Some("not_found")), "{late}");
}

#[test]
fn two_clones_with_one_name_see_each_other() {
    let [one, two] = [site(), Site::new()];
    std::fs::copy(one.at("muse.toml"), two.at("muse.toml")).unwrap();
    coord(&one, &["reserve", "a.py", "--run-id", "alice"]).granted();
    assert_eq!(coord(&two, &["reserve", "a.py", "--run-id", "bob"]).json().value()["status"], "conflict");
    // This machine's own file is stronger, and the environment is strongest.
    two.file(".muse/config.toml", "[coordination]\nrepository = \"elsewhere-7f3a\"\n");
    let check = |muse: Muse| muse.json().value()["exit_code"].as_i64();
    let ask = || coord(&two, &["check", "a.py", "--run-id", "bob"]);
    assert_eq!(check(ask()), Some(0));
    assert_eq!(check(ask().env("MUSE_COORD_ENGINE", "files")), Some(0));
    let text = std::fs::read_to_string(one.at("muse.toml")).unwrap();
    let name = text.lines().last().unwrap().split('"').nth(1).unwrap().to_owned();
    assert_eq!(check(ask().env("MUSE_COORD_REPOSITORY", name)), Some(6));
}

/// A worktree of a branch that has no `muse.toml` uses the engine of the main one.
#[test]
fn a_worktree_uses_the_engine_of_the_others() {
    let site = Site::without_store();
    let git = |arguments: &[&str]| muse_testkit::git::git(site.path(), arguments);
    git(&["init", "--quiet"]);
    git(&["commit", "--quiet", "--allow-empty", "-m", "old"]);
    git(&["branch", "old"]);
    site.muse(&["init"]).run().is_success();
    let (url, name) = (Etcd::shared().url(), Etcd::repository());
    let text =
        format!("[coordination]\nengine = \"etcd\"\nendpoints = [\"{url}\"]\nrepository = \"{name}\"\n");
    site.file("muse.toml", &text);
    git(&["worktree", "add", "--quiet", "linked", "old"]);
    site.coord(&["reserve", "a.py", "--run-id", "alice"]).granted();
    let linked = site.at("linked");
    let in_linked = |arguments: &[&str]| Muse::in_folder(&linked, arguments);
    let denied = in_linked(&["coord", "reserve", "a.py", "--run-id", "bob"]).json().value();
    assert_eq!(denied["status"], "conflict", "{denied}");
    // Its own file is stronger.
    std::fs::write(linked.join("muse.toml"), "[coordination]\nengine = \"files\"\n").unwrap();
    assert_eq!(in_linked(&["coord", "check", "a.py", "--run-id", "bob"]).json().value()["exit_code"], 0);
}

#[test]
fn whoever_cannot_ask_is_told_so() {
    let site = Site::new();
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    configure(&site, &endpoint);
    let parts = ["etcd cannot be reached", endpoint.as_str(), "nobody listens there"];
    for arguments in [
        &["reserve", "a.py"][..],
        &["check", "a.py"],
        &["release", "--all"],
        &["release", support::ABSENT],
        &["heartbeat", support::ABSENT],
        &["heartbeat", "--all", "--extension", "9"],
    ] {
        refused(&coord(&site, arguments).run_id("alice").json(), 5, "unreachable", &parts);
    }
    refused(&coord(&site, &["list"]).json(), 5, "unreachable", &parts);
    refused(&coord(&site, &["fsck"]).json(), 5, "unreachable", &parts);
    // A hook lets through what it could not check, and says so.
    site.file("a.py", "x = 1\n");
    let payload = json!({
        "session_id": "s", "cwd": site.path(), "hook_event_name": "PreToolUse", "tool_name": "Write",
        "tool_input": {"file_path": site.at("a.py"), "content": "x = 2\n"},
    });
    let payload = site.file("payload.json", &payload.to_string());
    let hook = coord(&site, &["hook", "claude-code"]).stdin_of(&payload).run();
    hook.is_success();
}

#[test]
fn what_is_configured_wrongly_is_said() {
    let site = Site::new();
    let redis = site.coord(&["list"]).env("MUSE_COORD_ENGINE", "redis").json();
    refused(&redis, 1, "bad_config", &["no engine `redis`"]);
    for (text, parts) in [
        (
            "[coordination]\nendpoint = \"http://h:1\"\n",
            &["muse.toml, line 2", "unknown field `endpoint`"][..],
        ),
        ("[coordination\n", &["muse.toml, line 1"]),
        ("[coordination]\nendpoints = [\"http://h:1\"]\n", &["needs `repository`"]),
        ("[coordination]\nrepository = \"a/b\"\n", &["and not `a/b`"]),
        ("[coordination]\nrepository = \"a\"\n", &["no endpoint is named"]),
        ("[coordination]\nrepository = \"a\"\nendpoints = [\"h:1\"]\n", &["`h:1` is no endpoint"]),
        ("[coordination]\nrepository = \"a\"\nendpoints = [\"https://h:1\"]\n", &["needs `ca`"]),
        ("[coordination]\nrepository = \"a\"\nca = \"no.pem\"\n", &["no.pem cannot be read"]),
        ("[coordination]\nrepository = \"a\"\nuser = \"u\"\n", &["needs a password"]),
        ("[coordination]\npassword = \"p\"\n", &["unknown field `password`"]),
    ] {
        site.file("muse.toml", text);
        refused(&coord(&site, &["reserve", "a.py", "--run-id", "alice"]).json(), 1, "bad_config", parts);
    }
    let file = site.file("password", "secret\n");
    set_mode(&file, 0o644);
    let text = "[coordination]\nrepository = \"a\"\nuser = \"u\"\npassword_file = \"password\"\n";
    site.file("muse.toml", text);
    let answer = coord(&site, &["list"]).json();
    refused(&answer, 1, "bad_config", &["others can read the password", "chmod 600"]);
    set_mode(&file, 0o600);
    refused(&coord(&site, &["list"]).json(), 1, "bad_config", &["no endpoint is named"]);
}

#[test]
fn exactly_one_of_sixteen_is_granted() {
    let report = race(&program(), KINDS[0], ROUNDS);
    println!("{} granted, {} denied", report.granted, report.denied);
    assert_sound!(report.violations);
    assert_eq!((report.granted, report.denied), (ROUNDS, 15 * ROUNDS));
}

#[test]
fn a_random_history_has_one_holder_at_a_time() {
    let report = mixed(&program(), 250, 3);
    println!(
        "{} granted, {} denied, {} heartbeats, {} released, {} superseded",
        report.granted, report.denied, report.beaten, report.released, report.superseded
    );
    assert_sound!(report.violations);
    let happened = [report.granted, report.denied, report.beaten, report.released];
    assert!(happened.iter().all(|&count| count > 10), "the history is too dull: {happened:?}");
}
