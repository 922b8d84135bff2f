//! What is reserved through `muse mcp`: contended, waited for, cancelled, kept alive, lost, and given back however the
//! client or the server ends: issue 4, acceptance 7.

#![expect(clippy::disallowed_methods, reason = "tests start processes, and remove a store")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a helper of a test does not expect fails the test"
)]
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;

use muse_testkit::process::{Signal, signal, until};
use serde_json::{Value, json};

#[path = "mcp/client.rs"]
mod client;
mod support;

use client::{Client, Lines, OLD, Told, initialize, tool_call};
use support::Site;

/// The signal of that number ends a process with this exit code.
const BY_SIGTERM: i32 = 128 + 15;

fn shown(site: &Site, id: &str) -> Value {
    site.coord(&["show", id]).json().value()
}

fn state(site: &Site, id: &str) -> String {
    shown(site, id)["reservation"]["state"].as_str().unwrap_or("missing").to_owned()
}

fn listed(site: &Site) -> Value {
    site.coord(&["list"]).json().value()
}

fn waiters(site: &Site) -> usize {
    listed(site)["waiting"].as_array().unwrap().len()
}

fn last_beat(site: &Site, id: &str) -> Option<String> {
    shown(site, id)["heartbeat"]["last_beat_at"].as_str().map(str::to_owned)
}

/// Reserves line by line.
fn reserve(lines: &mut Lines, number: u64, arguments: &Value) -> Value {
    let answer = lines.ask(&tool_call(number, "reserve", arguments));
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    answer["result"]["structuredContent"].clone()
}

fn id(report: &Value) -> String {
    report["reservation_id"].as_str().unwrap().to_owned()
}

fn cancelled(number: u64) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": number } })
}

fn waiting(address: &str) -> Value {
    json!({ "addresses": [address], "wait_s": 600 })
}

// Two clients.

#[test]
fn of_two_clients_one_is_denied_and_waits_for_its_turn() {
    let site = Site::new();
    let [alice, bob] = [Client::connect(site.path()), Client::connect(site.path())];
    let first = alice.reserve("src/a.py::A.f");
    bob.reserve("src/a.py::A.g");
    let denied = bob.call("reserve", &json!({ "addresses": ["src/a.py"] }));
    assert!(denied.is_error, "a model has to see it");
    assert_eq!(denied.report["exit_code"], 6);
    assert_eq!(denied.report["conflicts"][0]["holder"]["run_id"], first.run());
    let check = bob.call("check", &json!({ "addresses": ["src/a.py"] }));
    assert_eq!((check.is_error, check.status()), (true, "conflict"));
    let foreign = bob.call("release", &json!({ "reservation_ids": [first.id()] }));
    assert_eq!(foreign.status(), "not_holder");
    // Nobody is asked again and again: the answer comes when it is free.
    let turn = bob.begin("reserve", &waiting("src/a.py"));
    until("bob waits", || waiters(&site) == 1);
    assert_eq!(bob.ok("list", &json!({})).report["waiting"][0]["run_id"], denied.run());
    alice.ok("release", &json!({ "all": true }));
    let granted = bob.finish(turn);
    assert_eq!(granted.status(), "ok", "{}", granted.report);
    // And this one is told of the circle at once.
    alice.reserve("src/b.py");
    let wait = alice.begin("reserve", &waiting("src/a.py"));
    until("alice waits", || waiters(&site) == 1);
    let deadlock = bob.call("reserve", &waiting("src/b.py"));
    assert_eq!((deadlock.is_error, deadlock.status()), (true, "deadlock"));
    alice.cancel(wait);
    until("alice does not wait any more", || waiters(&site) == 0);
    let gave_up = alice.call("reserve", &json!({ "addresses": ["src/a.py"], "wait_s": 1 }));
    assert_eq!((gave_up.is_error, gave_up.status()), (true, "wait_timeout"));
}

// Cancellation.

#[test]
fn a_wait_that_is_cancelled_leaves_nothing() {
    let site = Site::new();
    let held = site.reserve("bob", "a.py", &[]);
    let client = Client::connect(site.path());
    let wait = client.begin("reserve", &waiting("a.py"));
    until("it waits", || waiters(&site) == 1);
    client.cancel(wait);
    until("the ticket is gone", || waiters(&site) == 0);
    site.coord(&["release", &held.id]).run_id("bob").run().is_success();
    assert_eq!(listed(&site)["count"], 0);
    // The server is as it was.
    client.reserve("a.py");
}

#[test]
fn what_was_granted_to_a_cancelled_request_is_taken_back() {
    let site = Site::new();
    let mut lines = Lines::connect(site.path());
    // The answer and the cancellation have met on their way.
    let late = reserve(&mut lines, 1, &json!({ "addresses": ["a.py"] }));
    lines.write(&cancelled(1));
    until("it is released", || state(&site, &id(&late)) == "released");
    // Asked for by another request since: that one was not cancelled.
    let first = reserve(&mut lines, 2, &json!({ "addresses": ["b.py"] }));
    let again = reserve(&mut lines, 3, &json!({ "addresses": ["b.py"] }));
    assert_eq!((id(&first), &again["renewed"]), (id(&again), &json!(true)));
    lines.write(&cancelled(2));
    lines.write(&cancelled(3));
    let last = reserve(&mut lines, 4, &json!({ "addresses": ["c.py"] }));
    lines.write(&cancelled(4));
    until("the last one is released", || state(&site, &id(&last)) == "released");
    assert_eq!(state(&site, &id(&again)), "active");
    // All at once, in whatever order they are carried out: nothing of a cancelled one stays.
    for number in 100..150 {
        lines.write(&tool_call(number, "reserve", &json!({ "addresses": [format!("{number}.py")] })));
        lines.write(&cancelled(number));
    }
    lines.write(&tool_call(200, "list", &json!({})));
    while lines.read()["id"] != 200 {}
    until("only one is left", || listed(&site)["count"] == 1);
    lines.close();
    assert_eq!(lines.end(), Ok(0));
}

// Alive.

#[test]
fn what_is_reserved_outlives_its_ttl() {
    let site = Site::new();
    let client = Client::connect(site.path());
    let brief = client.ok("reserve", &json!({ "addresses": ["a.py"], "ttl_s": 1 }));
    let expiry = brief.report["expires_at"].as_str().map(str::to_owned);
    until("a heartbeat comes after its TTL", || last_beat(&site, &brief.id()) > expiry);
    assert_eq!(state(&site, &brief.id()), "active");
    // Given back by another way, it is not missed.
    site.coord(&["release", &brief.id()]).run_id(brief.run()).run().is_success();
    let other = client.ok("reserve", &json!({ "addresses": ["b.py"], "ttl_s": 1 }));
    until("there are heartbeats", || last_beat(&site, &other.id()).is_some());
    let beat = last_beat(&site, &other.id());
    until("there are more", || last_beat(&site, &other.id()) > beat);
    assert!(client.ok("list", &json!({})).report["lost"].is_null());
}

/// Asks until an answer tells of a loss.
fn lost(client: &Client) -> Told {
    let mut told = None;
    until("the loss is told", || {
        told = Some(client.ok("list", &json!({}))).filter(|told| !told.report["lost"].is_null());
        told.is_some()
    });
    told.unwrap()
}

#[test]
fn a_loss_is_told_with_the_next_answer() {
    let site = Site::new();
    let client = Client::connect(site.path());
    let held = client.ok("reserve", &json!({ "addresses": ["a.py::f"], "ttl_s": 1 }));
    let by_force = ["release", &held.id(), "--force", "--reason", "it is mine"];
    site.coord(&by_force).run_id("boss").run().is_success();
    let told = lost(&client);
    let loss = &told.report["lost"][0];
    assert_eq!((&loss["reservation_id"], &loss["addresses"]), (&json!(held.id()), &json!(["a.py::f"])));
    let sentence = loss["error"].as_str().unwrap();
    assert!(sentence.contains("run `boss` released it: it is mine"), "{sentence}");
    assert!(client.ok("list", &json!({})).report["lost"].is_null(), "told once");
    // While the server stands still, somebody else is granted it.
    let held = client.ok("reserve", &json!({ "addresses": ["b.py"], "ttl_s": 1 }));
    signal(client.server, Signal::STOP);
    until("it has lapsed", || state(&site, &held.id()) == "lapsed");
    site.reserve("bob", "b.py", &[]);
    signal(client.server, Signal::CONT);
    let told = lost(&client);
    let sentence = told.report["lost"][0]["error"].as_str().unwrap();
    assert!(sentence.contains("it lapsed, and run `bob` was granted its addresses"), "{sentence}");
    // Somebody asks about it before the next heartbeat: it is told once.
    let held = client.ok("reserve", &json!({ "addresses": ["c.py"] }));
    let by_force = ["release", &held.id(), "--force", "--reason", "it is mine"];
    site.coord(&by_force).run_id("boss").run().is_success();
    let beaten = client.call("heartbeat", &json!({ "reservation_id": held.id() }));
    assert_eq!((beaten.is_error, beaten.status()), (true, "already_released"));
}

#[test]
fn a_store_that_cannot_be_written_is_told_until_it_can() {
    let site = Site::new();
    let client = Client::connect(site.path());
    let held = client.ok("reserve", &json!({ "addresses": ["a.py"], "ttl_s": 2 }));
    let (heartbeats, aside) = (site.store().join("heartbeats"), site.at("aside"));
    fs::rename(&heartbeats, &aside).unwrap();
    fs::write(&heartbeats, "no folder").unwrap();
    let warned = || {
        let told = client.call("check", &json!({ "addresses": ["z.py"] }));
        let warnings = told.report["warnings"].to_string();
        warnings.contains("cannot be kept alive for now") && warnings.contains(&held.id())
    };
    until("it is told", warned);
    fs::remove_file(&heartbeats).unwrap();
    fs::rename(&aside, &heartbeats).unwrap();
    until("it is kept alive again", || !warned());
    assert_eq!(state(&site, &held.id()), "active");
}

#[test]
fn what_was_reserved_elsewhere_is_kept_alive_and_not_given_back() {
    let site = Site::new();
    let held = site.coord(&["reserve", "a.py", "--ttl", "2"]).run_id("alice").granted();
    let renewed = site.coord(&["reserve", "b.py", "--ttl", "2"]).run_id("alice").granted();
    let client = Client::of(site.muse(&["mcp"]).env("MUSE_RUN_ID", "alice"), OLD);
    client.ok("heartbeat", &json!({ "all": true, "ttl_s": 1 }));
    let again = client.ok("reserve", &json!({ "addresses": ["b.py"], "ttl_s": 1 }));
    assert_eq!((again.id(), &again.report["renewed"]), (renewed.id.clone(), &json!(true)));
    let own = client.reserve("c.py");
    for id in [&held.id, &renewed.id] {
        let beat = last_beat(&site, id);
        until("the server beats for it", || last_beat(&site, id) > beat);
    }
    client.go();
    assert_eq!(state(&site, &own.id()), "released");
    for id in [&held.id, &renewed.id] {
        assert_ne!(state(&site, id), "released", "another way of the same run made it");
    }
    // Another run's is not taken care of.
    let foreign = site.reserve("bob", "d.py", &[]);
    let client = Client::of(site.muse(&["mcp"]).env("MUSE_RUN_ID", "alice"), OLD);
    let told = client.ok("heartbeat", &json!({ "reservation_id": foreign.id, "ttl_s": 1 }));
    assert!(told.report["warnings"][0].as_str().unwrap().contains("held by run `bob`"));
    let beat = last_beat(&site, &foreign.id);
    let own = client.ok("reserve", &json!({ "addresses": ["e.py"], "ttl_s": 1 }));
    let expiry = own.report["expires_at"].as_str().map(str::to_owned);
    until("others are", || last_beat(&site, &own.id()) > expiry);
    assert_eq!(last_beat(&site, &foreign.id), beat);
}

// The end.

#[test]
fn a_client_that_goes_gives_everything_back() {
    let site = Site::new();
    let held = site.reserve("bob", "wanted.py", &[]);
    let mut lines = Lines::connect(site.path());
    let first = reserve(&mut lines, 1, &json!({ "addresses": ["a.py"], "ttl_s": 3600 }));
    let second = reserve(&mut lines, 2, &json!({ "addresses": ["b.py"], "run_id": "other" }));
    let done = reserve(&mut lines, 3, &json!({ "addresses": ["c.py"] }));
    lines.ask(&tool_call(4, "release", &json!({ "reservation_ids": [id(&done)], "reason": "done" })));
    lines.write(&tool_call(5, "reserve", &waiting("wanted.py")));
    until("it waits", || waiters(&site) == 1);
    lines.close();
    let answer = lines.read();
    assert_eq!((&answer["id"], answer["error"].is_object()), (&json!(5), true), "it is told: {answer}");
    assert_eq!(lines.end(), Ok(0));
    assert_eq!(waiters(&site), 0);
    for report in [first, second] {
        let release = &shown(&site, &id(&report))["release"];
        assert_eq!(release["run_id"], report["run_id"]);
        assert_eq!(release["reason"], "the MCP client that it was reserved for has gone");
    }
    assert_eq!(shown(&site, &id(&done))["release"]["reason"], "done");
    assert_eq!(state(&site, &held.id), "active");
    assert_eq!(listed(&site)["count"], 1);
}

#[test]
fn with_keep_it_is_left_to_lapse() {
    let site = Site::new();
    let client = Client::of(site.muse(&["mcp", "--keep"]), OLD);
    let held = client.reserve("a.py");
    client.go();
    let row = &shown(&site, &held.id())["reservation"];
    assert_eq!(row["state"], "active");
    assert!(row["expires_in_seconds"].as_u64().unwrap() <= 120, "{row}");
}

#[test]
fn a_client_that_is_killed_gives_everything_back() {
    let site = Site::new();
    // The client is a process between this one and the server: it passes on what is said.
    let mut between = site.muse(&[]);
    let muse = between.command.get_program().to_owned();
    between.command = Command::new("sh");
    between
        .command
        .args(["-c", "sh -c 'echo $$ >&2; exec cat' | \"$0\" mcp"])
        .arg(muse)
        .current_dir(site.path());
    let mut lines = Lines::of(between);
    let client = lines.first_error_line().parse().unwrap();
    lines.write(&initialize(0, "2025-11-25"));
    assert_eq!(lines.read()["id"], 0);
    let held = reserve(&mut lines, 1, &json!({ "addresses": ["a.py"], "ttl_s": 3600 }));
    signal(client, Signal::KILL);
    assert_eq!(lines.end(), Ok(0));
    assert_eq!(state(&site, &id(&held)), "released");
}

#[test]
fn a_server_that_is_asked_to_end_gives_everything_back() {
    for by in [Signal::TERM, Signal::INT, Signal::HUP] {
        let site = Site::new();
        site.reserve("bob", "wanted.py", &[]);
        let mut lines = Lines::connect(site.path());
        let held = reserve(&mut lines, 1, &json!({ "addresses": ["a.py"] }));
        lines.write(&tool_call(2, "reserve", &waiting("wanted.py")));
        until("it waits", || waiters(&site) == 1);
        // These may be granted while it ends.
        for number in 10..20 {
            lines.write(&tool_call(number, "reserve", &json!({ "addresses": [format!("{number}.py")] })));
        }
        until("some are", || listed(&site)["count"].as_u64() > Some(2));
        signal(lines.id(), by);
        assert_eq!(lines.end(), Ok(BY_SIGTERM - Signal::TERM.as_raw() + by.as_raw()));
        assert_eq!((state(&site, &id(&held)), waiters(&site)), ("released".to_owned(), 0));
        assert_eq!(listed(&site)["count"], 1, "bob's alone");
    }
}

#[test]
fn what_a_killed_server_held_lapses_within_its_ttl() {
    let site = Site::new();
    let mut lines = Lines::connect(site.path());
    let long = reserve(&mut lines, 1, &json!({ "addresses": ["a.py"] }));
    let brief = reserve(&mut lines, 2, &json!({ "addresses": ["b.py"], "ttl_s": 1 }));
    until("it has been kept alive", || last_beat(&site, &id(&brief)).is_some());
    signal(lines.id(), Signal::KILL);
    assert_eq!(lines.end(), Err(Signal::KILL.as_raw()));
    let row = &shown(&site, &id(&long))["reservation"];
    assert_eq!(row["state"], "active");
    assert!(row["expires_in_seconds"].as_u64().unwrap() <= 120, "{row}");
    until("it lapses", || state(&site, &id(&brief)) == "lapsed");
    // The next one starts anew, and has it.
    Client::connect(site.path()).reserve("b.py");
}

#[test]
fn an_end_that_finds_the_store_busy_is_one_all_the_same() {
    let site = Site::new();
    let mut lines = Lines::connect(site.path());
    let held = reserve(&mut lines, 1, &json!({ "addresses": ["a.py"] }));
    let lock = fs::File::open(site.store().join("lock")).unwrap();
    lock.lock().unwrap();
    lines.close();
    let (code, complaint) = lines.end_with_errors();
    assert_eq!(code, Ok(0));
    assert!(complaint.ends_with("was not released, and lapses: the store was busy\n"), "{complaint}");
    drop(lock);
    assert_eq!(state(&site, &id(&held)), "active");
}

// The other SDK.

/// Where `scripts/mcp-client` puts the official SDK for Python.
fn python() -> std::path::PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    target.join("mcp-client/bin/python")
}

#[test]
fn the_python_sdk_has_the_same_session() {
    let python = python();
    assert!(python.exists(), "{} is missing: run scripts/mcp-client", python.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/client.py");
    for mode in ["legacy", "auto", "2026-07-28"] {
        let site = Site::new();
        let mut command = Command::new(&python);
        command.arg(&script).arg(env!("CARGO_BIN_EXE_muse")).arg(mode).current_dir(site.path());
        for variable in ["MUSE_RUN_ID", "MUSE_REPO_ROOT"] {
            command.env_remove(variable);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{mode}: {said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.lines().last(), Some("all as it should be"), "{mode}");
        assert_eq!(listed(&site)["count"], 0, "{mode}");
    }
}
