//! Processes that wait for their turn.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use muse_coord::{Reservation, Ticket, Timestamp};
use serde_json::Value;

use crate::process::{Running, signal, until};
use crate::races::reserve;
use crate::scratch::names;
use crate::{Answer, Muse, Scratch, Violations};

/// How many processes queue.
pub const WAITERS: usize = 32;

/// For how long each of them holds what it got.
const HOLD: Duration = Duration::from_millis(20);

/// How long every waiter is ready to wait: nobody comes to the end of it.
const PATIENCE: &str = "600";

const ADDRESS: &str = "src/a.py";
const HOLDER: &str = "holder";

/// What a queue came to.
#[derive(Debug, Default)]
pub struct QueueReport {
    /// What must not be.
    pub violations: Violations,
    /// How many were granted their turn.
    pub served: usize,
    /// How many grants came before that of a smaller ticket.
    pub overtakes: usize,
    /// How many grants came before the end of the one before.
    pub double: usize,
    /// The longest time from the end of one turn to the beginning of the next, in milliseconds.
    pub longest_gap_ms: i64,
    /// The median of these times.
    pub median_gap_ms: i64,
}

/// The tickets that lie in a store, smallest number first, live or not.
pub fn tickets(scratch: &Scratch) -> Vec<Ticket> {
    let folder = scratch.store().join("waiting");
    let mut tickets: Vec<Ticket> = names(&folder)
        .iter()
        // One that was taken away in between is none.
        .filter_map(|name| Some((name, fs::read(folder.join(name)).ok()?)))
        .map(|(name, bytes)| {
            let number = name.trim_end_matches(".json").parse().expect("the name of a ticket");
            Ticket::from_bytes(number, &bytes).expect("tickets are published whole")
        })
        .collect();
    tickets.sort_by_key(|ticket| ticket.ticket);
    tickets
}

/// Starts a process that waits for `addresses`, and returns once it has its place in the queue.
pub fn start_waiting(
    muse: &Muse,
    scratch: &Scratch,
    run: &str,
    addresses: &[&str],
    more: &[&str],
) -> Running {
    let more = [&["--wait", PATIENCE], more].concat();
    let running = muse.start(scratch.path(), &[] as &[&str], &reserve(addresses, run, &more));
    has_place(scratch, run);
    running
}

/// Returns once `run` has a place in the queue.
pub fn has_place(scratch: &Scratch, run: &str) {
    until(&format!("{run} has its place"), || {
        tickets(scratch).iter().any(|ticket| ticket.run_id.as_str() == run)
    });
}

/// Lets [`WAITERS`] processes queue for one address, each of which releases what it got soon after; once
/// `killed_after` were served, kills the next five of the queue.
pub fn queue(muse: &Muse, killed_after: Option<usize>) -> QueueReport {
    const KILLED: usize = 5;
    let scratch = Scratch::with_store(muse);
    let mut report = QueueReport::default();
    let holder = muse.run(scratch.path(), &reserve(&[ADDRESS], HOLDER, &[]));
    assert!(holder.is_ok(), "{}", holder.brief());
    let mut pids = BTreeMap::new();
    let waiters: Vec<(String, Running)> = (0..WAITERS)
        .map(|number| {
            let run = format!("waiter-{number}");
            let arguments = reserve(&[ADDRESS], &run, &["--wait", PATIENCE]);
            let running = muse.start(scratch.path(), &[] as &[&str], &arguments);
            pids.insert(run.clone(), running.id());
            (run, running)
        })
        .collect();
    until("all have their places", || tickets(&scratch).len() == WAITERS);
    let queued = tickets(&scratch);

    let killed: Vec<String> = thread::scope(|scope| {
        let scratch = &scratch;
        let served: Vec<_> = waiters
            .into_iter()
            .map(|(run, running)| {
                scope.spawn(move || {
                    let answer = running.finish();
                    let mut released = None;
                    if answer.is_ok() {
                        thread::sleep(HOLD);
                        released = Some(release(muse, scratch, &answer.id(), &run));
                    }
                    (run, answer, released)
                })
            })
            .collect();
        let first = release(muse, scratch, &holder.id(), HOLDER);
        assert!(first.is_ok(), "{}", first.brief());
        let mut killed = Vec::new();
        if let Some(after) = killed_after {
            until("some were served", || tickets(scratch).len() <= WAITERS - after);
            // The first of those who wait now may be granted its turn at this moment; the five behind it are not.
            for ticket in tickets(scratch).iter().skip(1).take(KILLED) {
                let run = ticket.run_id.to_string();
                signal(pids[&run], rustix::process::Signal::KILL);
                killed.push(run);
            }
        }
        for server in served {
            let (run, answer, released) = server.join().expect("a waiter's thread ends");
            let is_well = answer.is_ok() && released.is_some_and(|released| released.is_ok());
            let is_killed = killed.contains(&run) && answer.signal == Some(9);
            if !is_well && !is_killed {
                report.violations.push(format!("{run}: {}", answer.brief()));
            }
        }
        killed
    });

    check_turns(&scratch, &queued, &killed, &mut report);
    report
}

fn release(muse: &Muse, scratch: &Scratch, id: &str, run: &str) -> Answer {
    muse.run(scratch.path(), &["coord", "release", id, "--run-id", run, "--json"])
}

/// Reads the records: everybody who lived was served, in the order of the tickets, one at a time.
fn check_turns(scratch: &Scratch, queued: &[Ticket], killed: &[String], report: &mut QueueReport) {
    let mut turns = turns(scratch);
    turns.sort_by_key(|(reservation, _)| reservation.token);
    let served: Vec<&Reservation> =
        turns.iter().map(|(reservation, _)| reservation).filter(|it| it.ticket.is_some()).collect();
    report.served = served.len();
    report.overtakes = served.windows(2).filter(|pair| pair[0].ticket > pair[1].ticket).count();
    if report.overtakes > 0 {
        report.violations.push(format!("{} overtakes", report.overtakes));
    }
    for ticket in queued {
        let is_served =
            served.iter().any(|it| it.ticket == Some(ticket.ticket) && it.run_id == ticket.run_id);
        if is_served == killed.contains(&ticket.run_id.to_string()) {
            report
                .violations
                .push(format!("ticket {} of {}: served {is_served}", ticket.ticket, ticket.run_id));
        }
    }
    let mut gaps = Vec::new();
    for pair in turns.windows(2) {
        let ((before, ended), (after, _)) = (&pair[0], &pair[1]);
        let gap = after.created_at.as_microseconds() - ended.as_microseconds();
        gaps.push(gap / 1000);
        if gap < 0 {
            report.double += 1;
            report.violations.push(format!("{} and {} held at once", before.run_id, after.run_id));
        }
    }
    gaps.sort_unstable();
    report.longest_gap_ms = gaps.last().copied().unwrap_or_default();
    report.median_gap_ms = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
}

/// Every reservation and when it was released.
fn turns(scratch: &Scratch) -> Vec<(Reservation, Timestamp)> {
    let store = scratch.store();
    names(&store.join("reservations"))
        .iter()
        .map(|name| {
            let bytes = fs::read(store.join("reservations").join(name)).expect("a record");
            let id = name.trim_end_matches(".json").parse().expect("an id");
            let release = fs::read(store.join("releases").join(name)).expect("a tombstone");
            let release: Value = serde_json::from_slice(&release).expect("a tombstone is JSON");
            let released_at = serde_json::from_value(release["released_at"].clone()).expect("a time");
            (Reservation::from_bytes(id, &bytes).expect("a whole record"), released_at)
        })
        .collect()
}

/// The run that is killed while it waits.
#[cfg(target_os = "linux")]
const WORKER: &str = "worker";

/// Kills a process that waits and gives up at each of its system calls in turn. [`KillReport::unacknowledged`] counts
/// the tickets that were left.
///
/// [`KillReport::unacknowledged`]: crate::kills::KillReport::unacknowledged
#[cfg(target_os = "linux")]
pub fn kill_everywhere(muse: &Muse) -> crate::kills::KillReport {
    use crate::kills::KillReport;
    use crate::strace::trace;

    /// Most of the time is spent waiting, so many at once are as quick as few.
    const AT_ONCE: usize = 8;

    let ready = Scratch::with_store(muse);
    let holder = muse.run(ready.path(), &reserve(&[ADDRESS], HOLDER, &[]));
    assert!(holder.is_ok(), "{}", holder.brief());
    let arguments = reserve(&[ADDRESS], WORKER, &["--wait", "1"]);
    let traced = trace(muse, ready.copy().path(), &arguments);
    assert_eq!(traced.answer.exit, Some(7), "{}", traced.answer.brief());
    let calls = &traced.calls[traced.loading..];
    let holder = holder.id();
    let mut report = KillReport { loading: traced.loading, ..KillReport::default() };
    thread::scope(|scope| {
        let (ready, holder, arguments) = (&ready, &holder, &arguments);
        let parts: Vec<_> = calls
            .chunks(calls.len().div_ceil(AT_ONCE))
            .map(|calls| {
                scope.spawn(move || {
                    let mut part = KillReport::default();
                    for call in calls {
                        kill_at(muse, ready, holder, arguments, call, &mut part);
                    }
                    part
                })
            })
            .collect();
        for part in parts {
            let part = part.join().expect("a killer's thread ends");
            report.violations.extend(part.violations);
            report.missed.extend(part.missed);
            report.kills += part.kills;
            report.acknowledged += part.acknowledged;
            report.unacknowledged += part.unacknowledged;
        }
    });
    report
}

#[cfg(target_os = "linux")]
fn kill_at(
    muse: &Muse,
    ready: &Scratch,
    holder: &str,
    arguments: &[String],
    call: &crate::strace::Call,
    report: &mut crate::kills::KillReport,
) {
    let scratch = ready.copy();
    let injection = format!("{}:signal=SIGKILL:when={}", call.name, call.occurrence);
    let killed = crate::strace::inject(muse, scratch.path(), &[injection], arguments);
    if killed.signal.is_none() {
        report.missed.push(call.name.clone());
        return;
    }
    report.kills += 1;
    report.acknowledged += usize::from(killed.json["exit_code"] == 7);
    let mut wrong = Violations::new();
    if scratch.records() != ready.records() {
        wrong.push("the records changed".to_owned());
    }
    // Read here as well: each is whole.
    let left = tickets(&scratch);
    report.unacknowledged += left.len();
    if left.len() > 1 || left.iter().any(|ticket| ticket.run_id.as_str() != WORKER) {
        wrong.push(format!("tickets: {left:?}"));
    }
    let next = muse.run(scratch.path(), &reserve(&["elsewhere.py"], "next", &[]));
    if !next.is_ok() {
        wrong.push(format!("the next reserve: {}", next.brief()));
    }
    let temporary = scratch.temporary();
    let is_its_own = |name: &String| left.iter().any(|ticket| *name == format!("ticket-{}", ticket.ticket));
    if !temporary.iter().all(is_its_own) {
        wrong.push(format!("left behind: {temporary:?}"));
    }
    let released = release(muse, &scratch, holder, HOLDER);
    let again = muse.run(scratch.path(), arguments);
    if !released.is_ok() || !again.is_ok() {
        wrong.push(format!("its own dead ticket stops the run: {}", again.brief()));
    }
    let place = format!("killed at {} {}", call.name, call.occurrence);
    report.violations.extend(wrong.into_iter().map(|what| format!("{place}: {what}")));
}

/// Kills a process that waited between its grant and the removal of its ticket.
#[cfg(target_os = "linux")]
pub fn kill_after_the_grant(muse: &Muse) -> Violations {
    use crate::strace::{Call, inject, trace};

    let mut violations = Violations::new();
    let arguments = reserve(&[ADDRESS], WORKER, &["--wait", PATIENCE]);
    // The holder lapses while the worker waits: each try needs a store of its own.
    let held = || {
        let scratch = Scratch::with_store(muse);
        let holder = muse.run(scratch.path(), &reserve(&[ADDRESS], HOLDER, &["--ttl", "1"]));
        assert!(holder.is_ok(), "{}", holder.brief());
        scratch
    };
    let traced = trace(muse, held().path(), &arguments);
    assert!(traced.answer.is_ok(), "{}", traced.answer.brief());
    let removes = |call: &&Call| call.name == "unlinkat" && call.path(1).strip_suffix(".json").is_some();
    let removal = traced.calls.iter().rfind(removes).expect("a granted waiter takes its ticket away");

    let scratch = held();
    let injection = format!("unlinkat:signal=SIGKILL:when={}", removal.occurrence);
    let killed = inject(muse, scratch.path(), &[injection], &arguments);
    let left = tickets(&scratch);
    let listed = muse.run(scratch.path(), &["coord", "list", "--json"]);
    let row = &listed.json["reservations"][0];
    let is_as_killed = killed.signal == Some(9)
        && left.len() == 1
        && row["run_id"] == WORKER
        && listed.json["waiting"][0]["ticket"] == left[0].ticket.get();
    if !is_as_killed {
        violations.push(format!("killed: {}; then listed: {}", killed.brief(), listed.brief()));
        return violations;
    }
    // The run that repeats its call has what it was not told of; others are told of it, and come after it.
    let again = muse.run(scratch.path(), &arguments);
    if !again.is_ok()
        || again.json["renewed"] != true
        || again.json["reservation_id"] != row["reservation_id"]
    {
        violations.push(format!("repeated: {}", again.brief()));
    }
    let rival = start_waiting(muse, &scratch, "rival", &[ADDRESS], &[]);
    let released = release(muse, &scratch, &again.id(), WORKER);
    let rival = rival.finish();
    if !released.is_ok() || !rival.is_ok() || rival.token() <= again.token() {
        violations.push(format!("released: {}; the rival: {}", released.brief(), rival.brief()));
    }
    violations
}
