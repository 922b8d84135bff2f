//! Processes that are stopped in the middle, for longer than anybody should have to wait for them.

use crate::operations::{show, state};
use crate::process::until;
use crate::races::{listed, reserve};
use crate::strace::{Call, Stopped, trace};
use crate::{Answer, Muse, Scratch, Violations};

/// How a stopped heartbeat's story ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It goes on.
    GoesOn,
    /// It is killed.
    Dies,
    /// A coordinator releases its reservation by force, a rival is granted the address, and then it goes on.
    Released,
}

/// Where between its check and its write a heartbeat is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// After its last look at the store, before it makes its temporary file.
    Checked,
    /// With its temporary file made and empty.
    Writing,
}

const HOLDER: &str = "holder";
const RIVAL: &str = "rival";

/// Stops a heartbeat between its check and its write until its reservation has lapsed. Meanwhile a rival is
/// denied and told of the holder, and nobody else is held up; then the story ends as `ending` says.
pub fn stopped_heartbeat(muse: &Muse, point: Point, ending: Ending) -> Violations {
    let mut violations = Violations::new();
    let mut wrong = |what: String| violations.push(format!("{point:?}, {ending:?}: {what}"));
    let scratch = Scratch::with_store(muse);
    let run = |arguments: &[&str]| muse.run(scratch.path(), arguments);
    let make = |address: &str, run: &str, ttl: &str| {
        let answer = muse.run(scratch.path(), &reserve(&[address], run, &["--ttl", ttl]));
        assert!(answer.is_ok(), "{}", answer.brief());
        answer.id()
    };
    let bystander = make("bystander.py", "bystander", "3600");
    let done = make("done.py", "bystander", "3600");

    // Which of its calls makes the temporary file: seen in a copy, where it may go through.
    let id = make("src/a.py", HOLDER, "1");
    let beat = ["coord", "heartbeat", &id, "--run-id", HOLDER, "--extension", "3600", "--json"];
    let beat: Vec<String> = beat.map(str::to_owned).to_vec();
    let traced = trace(muse, scratch.copy().path(), &beat);
    let makes = traced.calls.iter().position(Call::is_change).expect("a heartbeat writes a file");
    // The signal is delivered on entering a call, and stops the process once that is done.
    let call = match point {
        Point::Checked => &traced.calls[makes - 1],
        Point::Writing => &traced.calls[makes],
    };
    let stopped = Stopped::at(muse, scratch.path(), &call.name, call.occurrence, &beat);
    until("the stopped holder has lapsed", || state(muse, &scratch, &id) == "lapsed");

    let rival = || muse.run(scratch.path(), &reserve(&["src/a.py::f"], RIVAL, &[]));
    let first = rival();
    let is_denied = |answer: &Answer| {
        let holder = &answer.json["conflicts"][0]["holder"];
        answer.exit == Some(6) && holder["reservation_id"] == id.as_str() && holder["run_id"] == HOLDER
    };
    if !is_denied(&first) {
        wrong(format!("a rival was not denied by the stopped holder: {}", first.brief()));
    }
    for (what, answer) in [
        ("a reserve elsewhere", muse.run(scratch.path(), &reserve(&["else.py"], "other", &[]))),
        (
            "a heartbeat elsewhere",
            run(&["coord", "heartbeat", &bystander, "--run-id", "bystander", "--json"]),
        ),
        ("a release elsewhere", run(&["coord", "release", &done, "--run-id", "bystander", "--json"])),
        ("a list", run(&["coord", "list", "--all", "--json"])),
    ] {
        if !answer.is_ok() {
            wrong(format!("{what} was held up: {}", answer.brief()));
        }
    }

    match ending {
        Ending::GoesOn => {
            let resumed = stopped.go_on();
            let again = rival();
            if resumed.is_ok() && first.is_ok() {
                wrong(format!("both hold: the rival has {}, and {}", first.id(), resumed.brief()));
            }
            if !resumed.is_ok() || !is_denied(&again) {
                wrong(format!("resumed: {}; the rival then: {}", resumed.brief(), again.brief()));
            }
        }
        Ending::Dies => {
            stopped.die();
            let granted = rival();
            if !granted.is_ok() {
                wrong(format!("the holder died, and the rival is still denied: {}", granted.brief()));
            }
            let late = muse.run(scratch.path(), &beat);
            let names_rival = late.json["holder"]["reservation_id"] == granted.json["reservation_id"];
            if late.exit != Some(4) || late.status() != "not_found" || !names_rival {
                wrong(format!("the old holder's next heartbeat: {}", late.brief()));
            }
        }
        Ending::Released => {
            let forced =
                run(&["coord", "release", &id, "--run-id", "boss", "--force", "--reason", "stuck", "--json"]);
            if !forced.is_ok() || forced.json["reservations"][0]["status"] != "released" {
                wrong(format!("a forced release: {}", forced.brief()));
            }
            let granted = rival();
            if !granted.is_ok() {
                wrong(format!("released, and the rival is denied: {}", granted.brief()));
            }
            let before = listed(muse, scratch.path());
            let resumed = stopped.go_on();
            if resumed.exit != Some(1) || resumed.status() != "already_released" {
                wrong(format!("resumed after the release: {}", resumed.brief()));
            }
            let shown = show(muse, &scratch, &id);
            let is_as_released = shown.json["reservation"]["state"] == "released"
                && shown.json["release"]["run_id"] == "boss"
                && shown.json["release"]["forced"] == true;
            if !is_as_released {
                wrong(format!("after the resumed heartbeat: {}", shown.brief()));
            }
            let after = listed(muse, scratch.path());
            if before != after || after.contains(&id) || !after.contains(&granted.id()) {
                wrong(format!("listed {before:?} before the resumed heartbeat and {after:?} after"));
            }
        }
    }
    let next = muse.run(scratch.path(), &reserve(&["last.py"], "last", &[]));
    if !next.is_ok() || !scratch.temporary().is_empty() {
        wrong(format!("left behind {:?}; the next reserve: {}", scratch.temporary(), next.brief()));
    }
    violations
}

/// Stops a reserve while it holds the store's lock. Heartbeats and readers go on; another writer gives up and
/// names the process; once that goes on, or dies, everything does.
pub fn stopped_reserve(muse: &Muse, goes_on: bool) -> Violations {
    let mut violations = Violations::new();
    let mut wrong = |what: String| violations.push(what);
    let scratch = Scratch::with_store(muse);
    let held = muse.run(scratch.path(), &reserve(&["held.py"], "bystander", &[]));
    assert!(held.is_ok(), "{}", held.brief());

    // Its first sync comes after the lock and before anything is published.
    let stopped = Stopped::at(muse, scratch.path(), "fsync", 1, &reserve(&["src/a.py"], HOLDER, &[]));
    let waiting = muse.start(scratch.path(), &[] as &[&str], &reserve(&["else.py"], "other", &[]));
    let release = ["coord", "release", &held.id(), "--run-id", "bystander", "--json"];
    let releasing = muse.start(scratch.path(), &[] as &[&str], &release);
    for arguments in [
        ["coord", "heartbeat", &held.id(), "--run-id", "bystander", "--json"].as_slice(),
        &["coord", "list", "--all", "--json"],
        &["coord", "show", &held.id(), "--json"],
    ] {
        let answer = muse.run(scratch.path(), arguments);
        if !answer.is_ok() {
            wrong(format!("{arguments:?} was held up: {}", answer.brief()));
        }
    }
    for answer in [waiting.finish(), releasing.finish()] {
        let names_pid = answer.text("error").contains(&format!("process {}", stopped.pid()));
        if answer.exit != Some(3) || answer.status() != "store_busy" || !names_pid {
            wrong(format!("a writer beside process {}: {}", stopped.pid(), answer.brief()));
        }
    }

    let stopped = if goes_on { stopped.go_on() } else { stopped.die() };
    if goes_on && (!stopped.is_ok() || !listed(muse, scratch.path()).contains(&stopped.id())) {
        wrong(format!("resumed: {}", stopped.brief()));
    }
    for (what, answer) in [
        ("reserve", muse.run(scratch.path(), &reserve(&["else.py"], "other", &[]))),
        ("release", muse.run(scratch.path(), &release)),
    ] {
        if !answer.is_ok() {
            wrong(format!("the next {what}: {}", answer.brief()));
        }
    }
    if !scratch.temporary().is_empty() {
        wrong(format!("left behind: {:?}", scratch.temporary()));
    }
    violations
}

/// A holder lapses, a rival is granted its address, and then the holder's heartbeat comes after all.
pub fn late_heartbeat(muse: &Muse) -> Violations {
    let mut violations = Violations::new();
    let scratch = Scratch::with_store(muse);
    let old = muse.run(scratch.path(), &reserve(&["src/a.py::f"], HOLDER, &["--ttl", "1"]));
    assert!(old.is_ok(), "{}", old.brief());
    until("the holder has lapsed", || state(muse, &scratch, &old.id()) == "lapsed");
    let new = muse.run(scratch.path(), &reserve(&["src/a.py"], RIVAL, &[]));
    if !new.is_ok() {
        violations.push(format!("the rival of a lapsed holder: {}", new.brief()));
    }
    let late = muse.run(scratch.path(), &["coord", "heartbeat", &old.id(), "--run-id", HOLDER, "--json"]);
    let names_rival = late.json["holder"]["reservation_id"] == new.json["reservation_id"]
        && late.json["holder"]["run_id"] == RIVAL;
    if late.is_ok() {
        violations.push(format!("both hold: the rival has {}, and the late heartbeat succeeded", new.id()));
    } else if late.exit != Some(4) || late.status() != "not_found" || !names_rival {
        violations.push(format!("the late heartbeat: {}", late.brief()));
    }
    let listed = listed(muse, scratch.path());
    if listed != [new.id()] {
        violations.push(format!("listed: {listed:?}"));
    }
    violations
}

/// Stops a heartbeat of a reservation that has lapsed between its check and its write, and collects what is over
/// meanwhile: the heartbeat was first, so the reservation is revived and not archived.
pub fn stopped_heartbeat_and_collection(muse: &Muse) -> Violations {
    let mut wrong = Violations::new();
    let scratch = Scratch::with_store(muse);
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
    let held = muse.run(scratch.path(), &reserve(&["src/a.py"], HOLDER, &["--ttl", "1"]));
    assert!(held.is_ok(), "{}", held.brief());
    let id = held.id();
    until("the holder has lapsed", || state(muse, &scratch, &id) == "lapsed");
    let beat = words(&["coord", "heartbeat", &id, "--run-id", HOLDER, "--extension", "3600", "--json"]);
    let traced = trace(muse, scratch.copy().path(), &beat);
    let makes = traced.calls.iter().position(Call::is_change).expect("a heartbeat writes a file");
    let call = &traced.calls[makes - 1];
    let stopped = Stopped::at(muse, scratch.path(), &call.name, call.occurrence, &beat);

    let collected = muse.run(scratch.path(), &words(&["coord", "gc", "--older-than", "0", "--json"]));
    if !collected.is_ok() || collected.json["archived"] != 0 || collected.json["skipped"] != 1 {
        wrong.push(format!("what is being extended was not left: {}", collected.brief()));
    }
    let resumed = stopped.go_on();
    let now = state(muse, &scratch, &id);
    if resumed.is_ok() && now != "active" {
        wrong.push(format!("extended, and {now}: {}", resumed.brief()));
    }
    if !resumed.is_ok() {
        wrong.push(format!("resumed: {}", resumed.brief()));
    }
    wrong
}
