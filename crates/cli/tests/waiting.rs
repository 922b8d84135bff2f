//! Processes that wait for their turn: issue 3, acceptance 1 and 2.

#![allow(clippy::print_stdout, reason = "the figures are what the report of a run quotes")]
#![expect(clippy::disallowed_methods, reason = "tests delete a store with rm, and move files in it")]
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use muse_testkit::process::{Running, Signal, signal, until};
use muse_testkit::strace::inject;
use muse_testkit::waiting::{
    WAITERS, has_place, kill_after_the_grant, kill_everywhere, queue, start_waiting, tickets,
};
use muse_testkit::{Answer, Muse, Scratch, assert_sound};
use support::Site;

fn muse() -> Muse {
    Muse::new(env!("CARGO_BIN_EXE_muse"))
}

fn call(scratch: &Scratch, words: &[&str]) -> Answer {
    muse().run(scratch.path(), &[&["coord"], words, &["--json"]].concat())
}

/// Reserves for an hour, at once.
fn hold(scratch: &Scratch, run: &str, address: &str, more: &[&str]) -> String {
    let answer = call(scratch, &[&["reserve", address, "--run-id", run], more].concat());
    assert!(answer.is_ok(), "{}", answer.brief());
    answer.id()
}

fn release(scratch: &Scratch, run: &str, id: &str) {
    let answer = call(scratch, &["release", id, "--run-id", run]);
    assert!(answer.is_ok(), "{}", answer.brief());
}

fn wait(scratch: &Scratch, run: &str, address: &str) -> Running {
    start_waiting(&muse(), scratch, run, &[address], &[])
}

fn state(scratch: &Scratch, id: &str) -> String {
    let shown = call(scratch, &["show", id]);
    shown.json["reservation"]["state"].as_str().unwrap_or("missing").to_owned()
}

// The queue.

#[test]
fn thirty_two_are_served_in_the_order_of_their_tickets() {
    let report = queue(&muse(), None);
    println!(
        "{} served, {} overtakes, {} double holds; from one turn to the next {} ms (median), {} ms (longest)",
        report.served, report.overtakes, report.double, report.median_gap_ms, report.longest_gap_ms
    );
    assert_sound!(report.violations);
    assert_eq!(report.served, WAITERS);
}

#[test]
fn waiters_that_are_killed_stop_counting() {
    let report = queue(&muse(), Some(8));
    println!(
        "{} served after five were killed, {} overtakes, {} double holds; longest gap {} ms",
        report.served, report.overtakes, report.double, report.longest_gap_ms
    );
    assert_sound!(report.violations);
    assert_eq!(report.served, WAITERS - 5);
}

#[test]
fn a_stream_of_readers_does_not_keep_a_writer_out() {
    let scratch = Scratch::with_store(&muse());
    let reader = hold(&scratch, "reader", "a.py", &["--shared"]);
    let writer = wait(&scratch, "writer", "a.py");
    for number in 0..5 {
        let late = call(&scratch, &["reserve", "a.py", "--shared", "--run-id", &format!("late-{number}")]);
        assert_eq!((late.exit, late.status()), (Some(6), "conflict"));
        let conflict = &late.json["conflicts"][0];
        assert!(conflict["holder"].is_null(), "{}", late.brief());
        assert_eq!(conflict["waiter"]["run_id"], "writer");
    }
    let patient = start_waiting(&muse(), &scratch, "patient", &["a.py"], &["--shared"]);
    release(&scratch, "reader", &reader);
    let writer = writer.finish();
    assert!(writer.is_ok(), "{}", writer.brief());
    release(&scratch, "writer", &writer.id());
    let patient = patient.finish();
    assert!(patient.is_ok() && patient.token() > writer.token(), "{}", patient.brief());
}

#[test]
fn a_stopped_waiter_stops_counting_and_queues_again_when_it_goes_on() {
    let scratch = Scratch::with_store(&muse());
    let holder = hold(&scratch, "holder", "a.py", &[]);
    let stopped = wait(&scratch, "alice", "a.py");
    let first = tickets(&scratch)[0].ticket;
    signal(stopped.id(), Signal::STOP);
    release(&scratch, "holder", &holder);
    let denied = call(&scratch, &["reserve", "a.py", "--run-id", "bob"]);
    assert_eq!(denied.exit, Some(6), "its ticket counts for a while: {}", denied.brief());
    let mut bob = denied;
    until("its ticket has lapsed", || {
        bob = call(&scratch, &["reserve", "a.py", "--run-id", "bob"]);
        bob.is_ok()
    });
    signal(stopped.id(), Signal::CONT);
    until("it queues again", || tickets(&scratch).iter().any(|ticket| ticket.ticket > first));
    release(&scratch, "bob", &bob.id());
    let alice = stopped.finish();
    assert!(alice.is_ok() && alice.token() > bob.token(), "{}", alice.brief());
}

// Waking.

#[test]
fn a_forced_release_wakes_a_waiter() {
    let scratch = Scratch::with_store(&muse());
    let holder = hold(&scratch, "holder", "a.py", &[]);
    let waiter = wait(&scratch, "alice", "a.py");
    let forced =
        call(&scratch, &["release", &holder, "--run-id", "boss", "--force", "--reason", "it crashed"]);
    assert!(forced.is_ok(), "{}", forced.brief());
    let granted = waiter.finish();
    assert!(granted.is_ok(), "{}", granted.brief());
    let late = granted.ended.as_microseconds() - forced.ended.as_microseconds();
    println!("granted {} ms after the release had ended", late / 1000);
}

#[test]
fn a_lapse_wakes_a_waiter() {
    let scratch = Scratch::with_store(&muse());
    let lapsing = hold(&scratch, "holder", "a.py", &["--ttl", "1"]);
    let granted = wait(&scratch, "alice", "a.py").finish();
    assert!(granted.is_ok(), "{}", granted.brief());
    assert_eq!(state(&scratch, &lapsing), "superseded");
}

#[test]
fn without_notification_a_waiter_polls() {
    for injection in ["inotify_init1:error=EMFILE", "inotify_add_watch:error=ENOSPC"] {
        let scratch = Scratch::with_store(&muse());
        let holder = hold(&scratch, "holder", "a.py", &[]);
        let granted = thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let words = ["coord", "reserve", "a.py", "--run-id", "alice", "--wait", "600", "--json"];
                inject(&muse(), scratch.path(), &[injection.to_owned()], &words.map(str::to_owned))
            });
            has_place(&scratch, "alice");
            release(&scratch, "holder", &holder);
            waiter.join().unwrap()
        });
        assert!(granted.is_ok(), "{injection}: {}", granted.brief());
    }
}

// A store that goes.

/// How many wait for something in a store that is deleted.
const LEFT: usize = 8;

#[test]
fn a_store_that_is_deleted_goes_and_stays_gone_and_its_waiters_say_so() {
    let rm: fn(&Path) = |store| {
        let removed = Command::new("rm").arg("-rf").arg(store).output().unwrap();
        assert!(removed.status.success() && removed.stderr.is_empty(), "{removed:?}");
    };
    // The holder's record goes long before the rest, and the lock before it.
    let slowly: fn(&Path) = |store| {
        for file in ["lock", "token"] {
            fs::remove_file(store.join(file)).unwrap();
        }
        fs::remove_dir_all(store.join("reservations")).unwrap();
        thread::yield_now();
        fs::remove_dir_all(store).unwrap();
    };
    let at_once: fn(&Path) = |store| fs::remove_dir_all(store).unwrap();
    for delete in [rm, slowly, at_once] {
        let scratch = Scratch::with_store(&muse());
        hold(&scratch, "holder", "a.py", &[]);
        let run = |number: usize| format!("waiter-{number}");
        let waiters: Vec<Running> = (0..LEFT).map(|number| wait(&scratch, &run(number), "a.py")).collect();
        delete(&scratch.store());
        for waiter in waiters {
            let answer = waiter.finish();
            assert_eq!((answer.exit, answer.status()), (Some(3), "store_gone"), "{}", answer.brief());
            assert!(answer.text("error").contains("`muse init`"), "{}", answer.brief());
        }
        assert_eq!(fs::read_dir(scratch.path().join(".muse")).unwrap().count(), 0, "nothing is left");
    }
}

#[test]
fn a_waiter_goes_on_when_what_is_missing_in_its_store_is_there_again() {
    let scratch = Scratch::with_store(&muse());
    let holder = hold(&scratch, "holder", "a.py", &[]);
    let waiter = wait(&scratch, "alice", "a.py");
    let lock = scratch.store().join("lock");
    let (aside, record) = (scratch.path().join("aside"), scratch.store().join("reservations"));
    fs::rename(&lock, &aside).unwrap();
    fs::remove_file(record.join(format!("{holder}.json"))).unwrap();
    // It wakes, finds no lock, and makes none: each of its looks ends in a pause.
    let pauses = || {
        let status = fs::read_to_string(format!("/proc/{}/status", waiter.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok())
    };
    let before = pauses().unwrap();
    // One that has ended has none.
    until("it has looked", || pauses().is_none_or(|now| now >= before + 6));
    let denied = call(&scratch, &["reserve", "b.py", "--run-id", "bob"]);
    assert_eq!((denied.exit, denied.status()), (Some(3), "store_damaged"), "{}", denied.brief());
    assert!(!lock.exists());
    fs::rename(&aside, &lock).unwrap();
    assert!(waiter.finish().is_ok());
}

// Circles.

#[test]
fn of_two_that_wait_for_each_other_one_is_told() {
    let scratch = Scratch::with_store(&muse());
    let a = hold(&scratch, "alice", "a.py", &[]);
    let b = hold(&scratch, "bob", "b.py", &[]);
    let alice = wait(&scratch, "alice", "b.py");
    let refused = call(&scratch, &["reserve", "a.py", "--run-id", "bob", "--wait", "600"]);
    assert_eq!((refused.exit, refused.status()), (Some(6), "deadlock"), "{}", refused.brief());
    let steps = serde_json::json!([
        {"run_id": "bob", "waits_for": "alice", "address": "a.py", "reservation_id": a},
        {"run_id": "alice", "waits_for": "bob", "address": "b.py", "reservation_id": b},
    ]);
    assert_eq!(refused.json["cycle"], steps);
    let took = refused.ended.as_microseconds() - refused.started.as_microseconds();
    println!("told after {} ms", took / 1000);
    // It does as it is told, and the other goes on.
    assert!(refused.text("next").contains(&format!("muse coord release {b} --run-id bob")));
    release(&scratch, "bob", &b);
    assert!(alice.finish().is_ok());
}

#[test]
fn of_three_in_a_ring_the_last_is_told() {
    let scratch = Scratch::with_store(&muse());
    let ids = [("alice", "a.py"), ("bob", "b.py"), ("carol", "c.py")]
        .map(|(run, address)| hold(&scratch, run, address, &[]));
    let alice = wait(&scratch, "alice", "b.py");
    let bob = wait(&scratch, "bob", "c.py");
    let refused = call(&scratch, &["reserve", "a.py", "--run-id", "carol", "--wait", "600"]);
    assert_eq!((refused.exit, refused.status()), (Some(6), "deadlock"), "{}", refused.brief());
    assert_eq!(refused.json["cycle"].as_array().map(Vec::len), Some(3));
    release(&scratch, "carol", &ids[2]);
    assert!(bob.finish().is_ok());
    release(&scratch, "bob", &ids[1]);
    assert!(alice.finish().is_ok());
}

#[test]
fn a_circle_that_a_take_over_closes_is_seen_by_the_later_waiter() {
    let scratch = Scratch::with_store(&muse());
    hold(&scratch, "alice", "a.py", &[]);
    let carols = hold(&scratch, "carol", "c.py", &[]);
    let bob = wait(&scratch, "bob", "a.py");
    let alice = wait(&scratch, "alice", "c.py");
    hold(&scratch, "bob", "c.py", &["--take-over", &carols, "--reason", "carol crashed"]);
    let refused = alice.finish();
    assert_eq!((refused.exit, refused.status()), (Some(6), "deadlock"), "{}", refused.brief());
    assert_eq!(call(&scratch, &["release", "--all", "--run-id", "alice"]).exit, Some(0));
    let granted = bob.finish();
    assert!(granted.is_ok(), "{}", granted.brief());
}

// Ends.

#[test]
fn a_signal_ends_the_wait_and_takes_the_ticket_away() {
    let scratch = Scratch::with_store(&muse());
    hold(&scratch, "holder", "a.py", &[]);
    for (sent, code, name) in
        [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM"), (Signal::HUP, 129, "SIGHUP")]
    {
        let waiter = wait(&scratch, "alice", "a.py");
        signal(waiter.id(), sent);
        let answer = waiter.finish();
        assert_eq!((answer.exit, answer.status()), (Some(code), "interrupted"), "{}", answer.brief());
        assert_eq!(answer.json["signal"], code - 128);
        assert!(answer.text("error").contains(name) && answer.stderr.is_empty(), "{}", answer.brief());
        assert!(tickets(&scratch).is_empty());
    }
}

#[test]
fn a_signal_that_the_process_was_told_to_ignore_is_ignored() {
    let scratch = Scratch::with_store(&muse());
    let holder = hold(&scratch, "holder", "a.py", &[]);
    let shell = ["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""];
    let words = ["coord", "reserve", "a.py", "--run-id", "alice", "--wait", "600", "--json"];
    let waiter = muse().start(scratch.path(), &shell, &words);
    has_place(&scratch, "alice");
    signal(waiter.id(), Signal::HUP);
    release(&scratch, "holder", &holder);
    let answer = waiter.finish();
    assert!(answer.is_ok(), "{}", answer.brief());
}

/// The signal comes with the reservation's name: after the grant, before anything is printed.
#[test]
fn a_grant_that_a_signal_overtakes_is_released() {
    let scratch = Scratch::with_store(&muse());
    let words = ["coord", "reserve", "a.py", "--run-id", "alice", "--wait", "5", "--json"];
    let injection = "linkat:signal=SIGINT:when=1".to_owned();
    let answer = inject(&muse(), scratch.path(), &[injection], &words.map(str::to_owned));
    // What is injected comes from the kernel, as a key of the terminal does: it ends the process by the signal.
    assert_eq!((answer.signal, answer.status()), (Some(2), "interrupted"), "{}", answer.brief());
    assert_eq!(answer.json["exit_code"], 130, "{}", answer.brief());
    assert!(answer.text("error").contains("the reservation was released again"), "{}", answer.brief());
    let all = call(&scratch, &["list", "--all"]);
    assert_eq!(all.json["reservations"][0]["state"], "released", "{}", all.brief());
    hold(&scratch, "bob", "a.py", &[]);
}

#[test]
fn a_grant_that_cannot_be_printed_is_released() {
    let site = Site::new();
    let reserve = |flags: &[&str]| site.coord(&["reserve", "a.py", "--run-id", "alice"]).args(flags);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let answers = [
        reserve(&["--wait", "5", "--json"]).through_shell("> /dev/full").run(),
        reserve(&["--wait", "5"]).through_shell("> /dev/full").run(),
        reserve(&["--wait", "5", "--json"]).stdout(writer).run(),
    ];
    for answer in answers {
        assert_eq!(answer.code, 3, "{answer:?}");
        assert!(answer.stderr.contains("the reservation was released again"), "{answer:?}");
        assert_eq!(site.coord(&["list"]).json().value()["count"], 0);
    }
    // What it had before stays.
    let held = site.reserve("alice", "a.py", &[]);
    let again = reserve(&["--wait", "5", "--json"]).through_shell("> /dev/full").run();
    assert_eq!(again.code, 3, "{again:?}");
    let list = site.coord(&["list"]).json().value();
    assert_eq!(list["reservations"][0]["reservation_id"], held.id);
}

#[test]
fn killed_anywhere_while_it_waits() {
    let report = kill_everywhere(&muse());
    println!(
        "killed at {} calls ({} of the loader left out), {} times after the answer, {} times with a ticket left, \
         {} calls not made again: {:?}",
        report.kills,
        report.loading,
        report.acknowledged,
        report.unacknowledged,
        report.missed.len(),
        report.missed
    );
    assert_sound!(report.violations);
    assert!(report.acknowledged > 0 && report.unacknowledged > 0);
}

#[test]
fn killed_between_the_grant_and_the_end_of_its_ticket() {
    assert_sound!(kill_after_the_grant(&muse()));
}

// Answers.

#[test]
fn giving_up_names_position_and_everybody_in_the_way() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &["--op", "rename"]);
    let bob = muse().start(
        site.path(),
        &[] as &[&str],
        &["coord", "reserve", "a.py", "--run-id", "bob", "--wait", "600", "--op", "modify"],
    );
    until("bob waits", || support::names(&site.store().join("waiting")).len() == 1);
    let answer = site.coord(&["reserve", "a.py::f", "--wait", "1"]).run_id("carol").json();
    assert_eq!(answer.code, 7, "{answer:?}");
    let value = answer.value();
    assert_eq!((&value["status"], &value["position"]), (&"wait_timeout".into(), &2.into()));
    assert_eq!(value["waited_seconds"], 1);
    assert_eq!(value["conflicts"][0]["holder"]["reservation_id"], held.id);
    let waiter = &value["conflicts"][1];
    assert!(waiter["holder"].is_null());
    let keys: Vec<&String> = waiter["waiter"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["branch", "expires_at", "mode", "operation", "run_id", "since", "ticket"]);
    assert_eq!((&waiter["address"], &waiter["held_address"]), (&"a.py::f".into(), &"a.py".into()));
    assert_eq!(waiter["waiter"]["operation"], "modify");
    assert_eq!(answer.stderr, "", "with --json nothing goes to stderr");

    let text = site.coord(&["reserve", "a.py::f", "--wait", "1"]).run_id("carol").run();
    text.is_text(
        7,
        "",
        &format!(
            "waiting at place 2: `a.py::f` is held as `a.py` by run `alice` (rename) for 1h more; \
             1 more in the way\n\
             error: gave up after 1s at place 2 of the queue\n\
             error: `a.py::f` is held as `a.py` by run `alice` (rename) for 1h more\n\
             error: `a.py::f` is waited for as `a.py` by run `bob` (modify) since SECOND\n\
             hint: work elsewhere, or take your place in the queue with --wait SECONDS; only if run `alice` is \
             known to be dead: muse coord release {} --force --reason TEXT --run-id carol\n",
            held.id
        ),
    );
    drop(bob);
}

#[test]
fn list_tells_who_waits() {
    let site = Site::new();
    site.reserve("alice", "a.py", &[]);
    let words = ["coord", "reserve", "a.py::f", "src/", "--run-id", "bob", "--wait", "600", "--shared"];
    let bob = muse().start(site.path(), &[] as &[&str], &words);
    until("bob waits", || support::names(&site.store().join("waiting")).len() == 1);
    let list = |flags: &[&str]| site.coord(&["list"]).args(flags).json().value();
    let all = list(&[]);
    let waiter = &all["waiting"][0];
    assert_eq!((&waiter["run_id"], &waiter["mode"]), (&"bob".into(), &"shared".into()));
    assert_eq!(waiter["addresses"], serde_json::json!(["a.py::f", "src/"]));
    assert_eq!(list(&["--run-id", "bob"])["waiting"], all["waiting"]);
    assert_eq!(list(&["--address", "src/x.py"])["waiting"].as_array().map(Vec::len), Some(1));
    for other in [["--run-id", "alice"], ["--address", "b.py"], ["--branch", "main"]] {
        assert_eq!(list(&other)["waiting"], serde_json::json!([]), "{other:?}");
    }
    let text = site.coord(&["list", "--run-id", "bob"]).run();
    assert_eq!((text.code, &*text.stderr), (0, "no reservations to show\n"));
    let lines: Vec<Vec<&str>> = text.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["WAITER", "ADDRESSES", "MODE", "OPERATION", "AGE", "TICKET"]);
    assert_eq!(lines[1][..4], ["bob", "a.py::f", "shared", "-"]);
    assert_eq!(lines[1][5], waiter["ticket"].to_string());
    drop(bob);
}

#[test]
fn a_wait_of_no_seconds_is_none() {
    let site = Site::new();
    site.reserve("alice", "a.py", &[]);
    let plain = site.coord(&["reserve", "a.py"]).run_id("bob").json();
    let waited = site.coord(&["reserve", "a.py", "--wait", "0"]).run_id("bob").json();
    assert_eq!((waited.code, waited.field("status")), (6, plain.field("status")));
    for wrong in ["-1", "31536001", "99999999999999999999"] {
        let answer = site.coord(&["reserve", "b.py", "--wait", wrong]).run_id("bob").json();
        let error = answer.is_failure(1, "bad_args", None);
        assert_eq!(error, "--wait must be from 0 to 31536000 seconds; nothing was changed");
    }
    for wrong in ["x", "1.5", ""] {
        let answer = site.coord(&["reserve", "b.py", "--wait", wrong]).run_id("bob").json();
        answer.is_failure(2, "usage", None);
    }
}

#[test]
fn a_store_without_the_folder_of_tickets_is_one_where_nobody_waits() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    fs::remove_dir(site.store().join("waiting")).unwrap();
    site.coord(&["reserve", "a.py"]).run_id("bob").json().is_json_conflict();
    let gave_up = site.coord(&["reserve", "a.py", "--wait", "1"]).run_id("bob").json();
    assert_eq!(gave_up.code, 7, "{gave_up:?}");
    fs::remove_dir(site.store().join("waiting")).unwrap();
    let init = site.muse(&["init"]).json();
    init.is_success();
    assert_eq!(init.value()["warnings"], serde_json::json!([]), "nothing was lost");
    assert!(site.store().join("waiting").is_dir());
    site.coord(&["release", &held.id]).run_id("alice").run().is_success();
}
