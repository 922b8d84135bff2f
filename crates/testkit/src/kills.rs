//! Kills a process at every system call in turn, and lets the next ones use the store.

use std::collections::HashSet;

use serde_json::Value;

use crate::operations::{self, BYSTANDER, Operation, Ready};
use crate::races::reserve;
use crate::scratch::{Records, names};
use crate::strace::{inject, trace};
use crate::{Answer, Muse, Scratch, Violations, archive};

/// What killing an operation came to.
#[derive(Debug, Default)]
pub struct KillReport {
    /// What must not be.
    pub violations: Violations,
    /// At how many system calls it was killed.
    pub kills: usize,
    /// Calls of the trace that another run did not make, so that there was no kill.
    pub missed: Vec<String>,
    /// How many calls of the loader and the runtime, before the program's own first one, were left out.
    pub loading: usize,
    /// After how many kills the operation had been acknowledged.
    pub acknowledged: usize,
    /// After how many kills a new reservation was there that nobody had acknowledged.
    pub unacknowledged: usize,
}

/// Kills `operation` at each of its system calls, from the program's own first one to the last. SIGKILL comes
/// on entering the call, which is then not carried out: so there is one kill between every two calls.
pub fn kill_everywhere(muse: &Muse, operation: Operation) -> KillReport {
    kill_each(muse, &Ready::make(muse, operation))
}

/// As [`kill_everywhere`], in a store that is so large that it has an index.
pub fn kill_everywhere_in_a_crowd(muse: &Muse, operation: Operation) -> KillReport {
    kill_each(muse, &Ready::crowded(muse, operation))
}

fn kill_each(muse: &Muse, ready: &Ready) -> KillReport {
    let operation = ready.operation;
    let traced = trace(muse, ready.copy(muse).path(), &ready.arguments);
    assert!(traced.answer.is_ok(), "{operation:?}: {}", traced.answer.brief());
    let mut report = KillReport { loading: traced.loading, ..KillReport::default() };
    for call in traced.calls.iter().skip(traced.loading) {
        let scratch = ready.copy(muse);
        let before = scratch.records();
        let injection = format!("{}:signal=SIGKILL:when={}", call.name, call.occurrence);
        let answer = inject(muse, scratch.path(), &[injection], &ready.arguments);
        if answer.signal.is_none() {
            // This time it made fewer such calls: to its allocator, perhaps.
            assert!(answer.is_ok(), "{operation:?}: {}", answer.brief());
            report.missed.push(call.name.clone());
            continue;
        }
        report.kills += 1;
        let mut wrong = Violations::new();
        aftermath(muse, ready, (&before, &scratch), &answer, &mut report, &mut wrong);
        let place = format!("{operation:?} killed at {} {}", call.name, call.occurrence);
        report.violations.extend(wrong.into_iter().map(|what| format!("{place}: {what}")));
    }
    let is_memory = |name: &String| matches!(name.as_str(), "brk" | "mmap" | "munmap" | "mremap" | "madvise");
    assert!(report.missed.iter().all(is_memory), "{operation:?} was not killed at {:?}", report.missed);
    report
}

/// What the processes after a killed one find.
fn aftermath(
    muse: &Muse,
    ready: &Ready,
    (before, scratch): (&Records, &Scratch),
    killed: &Answer,
    report: &mut KillReport,
    wrong: &mut Violations,
) {
    let is_acknowledged = killed.json["exit_code"] == 0;
    report.acknowledged += usize::from(is_acknowledged);
    if !is_acknowledged && !killed.stdout.is_empty() {
        wrong.push(format!("half an answer: {}", killed.brief()));
    }

    // What lies there, read without muse: every record is whole.
    let after = scratch.records();
    wrong.extend(broken(&after));
    if ready.operation.is_collection() {
        wrong.extend(archive::lost_or_doubled(ready, scratch));
    } else if let Some((name, _)) = before.iter().find(|(name, _)| !after.contains_key(*name)) {
        wrong.push(format!("{} is gone", name.display()));
    }
    let changed: Vec<String> = before
        .iter()
        .filter(|(name, bytes)| after.get(*name).is_some_and(|after| after != *bytes))
        .map(|(name, _)| name.display().to_string())
        .collect();
    let own_heartbeat = ready.target.as_ref().map(|id| format!("heartbeats/{id}.json"));
    if changed.iter().any(|name| Some(name) != own_heartbeat.as_ref()) {
        wrong.push(format!("{changed:?} changed"));
    }

    // Only `init` may leave a place that is no repository yet, and only until it runs again.
    if ready.operation == Operation::Init && !scratch.path().join(".muse").is_dir() {
        if is_acknowledged {
            wrong.push("init was acknowledged, and there is no .muse".to_owned());
        }
        let again = muse.run(scratch.path(), &ready.arguments);
        if !again.is_ok() {
            wrong.push(format!("init cannot be repeated: {}", again.brief()));
        }
    }

    let list = muse.run(scratch.path(), &["coord", "list", "--all", "--json"]);
    if !list.is_ok() {
        wrong.push(format!("list: {}", list.brief()));
    }
    let rows = list.json["reservations"].as_array().cloned().unwrap_or_default();
    let known: HashSet<String> =
        before.keys().filter_map(|name| Some(name.file_stem()?.to_str()?.to_owned())).collect();
    let new: Vec<&Value> = rows
        .iter()
        .filter(|row| row["reservation_id"].as_str().is_some_and(|id| !known.contains(id)))
        .collect();
    if new.len() > usize::from(ready.operation.is_grant()) {
        wrong.push(format!("{} new reservations", new.len()));
    }
    if is_acknowledged && let Err(what) = operations::effect(muse, ready, scratch, killed) {
        wrong.push(format!("acknowledged and lost: {what}"));
    }
    if !is_acknowledged && let [row] = new[..] {
        // Nobody was told, yet it is there: then all of it is.
        report.unacknowledged += 1;
        let mut whole = killed.clone();
        whole.json = row.clone();
        if let Err(what) = operations::effect(muse, ready, scratch, &whole) {
            wrong.push(format!("half a grant: {what}"));
        }
    }

    if ready.is_crowded {
        wrong.extend(unseen(muse, scratch, &rows));
    }
    let tokens = rows.iter().filter_map(|row| row["token"].as_u64());
    let largest = tokens.chain([ready.scratch.token(), killed.token()]).max().unwrap_or_default();
    let next = muse.run(scratch.path(), &reserve(&["elsewhere.py"], "next", &[]));
    if !next.is_ok() {
        wrong.push(format!("the next reserve: {}", next.brief()));
    } else if next.token() <= largest {
        wrong.push(format!("token {} after {largest}", next.token()));
    }
    if !scratch.temporary().is_empty() {
        wrong.push(format!("left behind after the next reserve: {:?}", scratch.temporary()));
    }
    if let Some(bystander) = &ready.bystander {
        let beat =
            muse.run(scratch.path(), &["coord", "heartbeat", bystander, "--run-id", BYSTANDER, "--json"]);
        if !beat.is_ok() {
            wrong.push(format!("a bystander's heartbeat: {}", beat.brief()));
        }
    }

    // Whoever was killed is started again by its supervisor.
    let again = muse.run(scratch.path(), &ready.arguments);
    if !again.is_ok() {
        wrong.push(format!("cannot be repeated: {}", again.brief()));
    } else if let Err(what) = operations::effect(muse, ready, scratch, &again) {
        wrong.push(format!("repeated without effect: {what}"));
    }
    let unfinished: Vec<String> =
        names(&scratch.path().join(".muse")).into_iter().filter(|name| name.contains(".new-")).collect();
    if !unfinished.is_empty() {
        wrong.push(format!("left behind: {unfinished:?}"));
    }
}

/// Active reservations of the operation's address that an index does not show: to readers, and to a request that is
/// told of everything it overlaps.
fn unseen(muse: &Muse, scratch: &Scratch, rows: &[Value]) -> Violations {
    let is_active_there = |row: &&Value| {
        let mut addresses = row["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
        row["state"] == "active" && addresses.any(|address| address.starts_with("target.py"))
    };
    let held: Vec<&Value> = rows.iter().filter(is_active_there).collect();
    let list = muse.run(scratch.path(), &["coord", "list", "--address", "target.py", "--json"]);
    let asked = muse.run(scratch.path(), &reserve(&["target.py"], "observer", &["--advisory"]));
    let shown = |id: &Value| {
        let listed = list.json["reservations"].as_array().into_iter().flatten();
        let noticed = asked.json["notices"].as_array().into_iter().flatten();
        (
            listed.map(|row| &row["reservation_id"]).any(|its| its == id),
            noticed.map(|notice| &notice["holder"]["reservation_id"]).any(|its| its == id),
        )
    };
    held.into_iter()
        .map(|row| &row["reservation_id"])
        .filter(|id| shown(id) != (true, true))
        .map(|id| format!("{id} is held and not seen: (listed, noticed) = {:?}", shown(id)))
        .collect()
}

/// Records that are not whole, or not those of their name.
fn broken(records: &Records) -> Violations {
    let is_whole = |name: &std::path::Path, bytes: &[u8]| {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        bytes.ends_with(b"}\n")
            && value["reservation_id"].as_str() == name.file_stem().and_then(|stem| stem.to_str())
    };
    records
        .iter()
        .filter(|(name, bytes)| !is_whole(name, bytes))
        .map(|(name, bytes)| format!("{} is not whole: {:?}", name.display(), String::from_utf8_lossy(bytes)))
        .collect()
}
