//! Disks that are full or broken, stores that are read-only, file systems of other machines.

use std::path::Path;

use crate::operations::{self, Operation, RUN, Ready};
use crate::races::reserve;
use crate::scratch::Records;
use crate::strace::{Call, inject, need_strace, trace};
use crate::{Answer, Muse, Scratch, Violations, archive};

/// What failing an operation came to.
#[derive(Debug, Default)]
pub struct FaultReport {
    /// What must not be.
    pub violations: Violations,
    /// How many calls were failed, each with every error.
    pub calls: usize,
    /// How many times the operation failed for it.
    pub failed: usize,
    /// How many times the failing call did not matter, and the operation succeeded.
    pub harmless: usize,
}

/// Fails each call of `operation` that changes the file system, with `ENOSPC` and with `EIO`: the operation
/// fails with exit 3, names the file, and the store is as before; or the call did not matter, and its effect
/// is there.
pub fn fail_every_change(muse: &Muse, operation: Operation) -> FaultReport {
    fail_every(muse, operation, &["ENOSPC", "EIO"], Call::is_change, true)
}

/// Fails each call of `operation` that asks the file system, with `EIO`: it never succeeds without its effect
/// and never leaves a part of it.
pub fn fail_every_question(muse: &Muse, operation: Operation) -> FaultReport {
    fail_every(muse, operation, &["EIO"], Call::is_question, false)
}

fn fail_every(
    muse: &Muse,
    operation: Operation,
    errors: &[&str],
    is_chosen: impl Fn(&Call) -> bool,
    is_strict: bool,
) -> FaultReport {
    fail_each(muse, &Ready::make(muse, operation), errors, is_chosen, is_strict)
}

/// As [`fail_every_question`] and [`fail_every_change`], in a store that is so large that it has an index: that can
/// be done without, so it never makes an operation fail.
pub fn fail_every_call_in_a_crowd(muse: &Muse, operation: Operation) -> FaultReport {
    let is_chosen = |call: &Call| call.is_change() || call.is_question() || call.is_of_database();
    fail_each(muse, &Ready::crowded(muse, operation), &["EIO"], is_chosen, false)
}

fn fail_each(
    muse: &Muse,
    ready: &Ready,
    errors: &[&str],
    is_chosen: impl Fn(&Call) -> bool,
    is_strict: bool,
) -> FaultReport {
    let operation = ready.operation;
    let traced = trace(muse, ready.copy(muse).path(), &ready.arguments);
    assert!(traced.answer.is_ok(), "{operation:?}: {}", traced.answer.brief());
    let mut report = FaultReport::default();
    for call in traced.calls.iter().skip(traced.loading).filter(|call| is_chosen(call)) {
        report.calls += 1;
        for error in errors {
            let scratch = ready.copy(muse);
            let before = scratch.records();
            let injection = format!("{}:error={error}:when={}", call.name, call.occurrence);
            let answer = inject(muse, scratch.path(), &[injection], &ready.arguments);
            let mut wrong = Violations::new();
            report.failed += usize::from(!answer.is_ok());
            report.harmless += usize::from(answer.is_ok());
            outcome(muse, ready, (before, &scratch), &answer, is_strict, &mut wrong);
            let place = format!("{operation:?} with {error} at {} {}", call.name, call.occurrence);
            report.violations.extend(wrong.into_iter().map(|what| format!("{place}: {what}")));
        }
    }
    assert!(report.calls > 0, "{operation:?} made no such call");
    report
}

fn outcome(
    muse: &Muse,
    ready: &Ready,
    (mut before, scratch): (Records, &Scratch),
    answer: &Answer,
    is_strict: bool,
    wrong: &mut Violations,
) {
    if answer.is_ok() {
        if let Err(what) = operations::effect(muse, ready, scratch, answer) {
            wrong.push(format!("exit 0 without effect: {what}"));
        }
    } else {
        let says = answer.text("error");
        if answer.exit.is_none() || answer.json["exit_code"] != answer.exit.unwrap_or_default() {
            wrong.push(format!("no answer of its own: {}", answer.brief()));
        }
        if is_strict {
            let is_named = says.contains(&*scratch.path().to_string_lossy());
            let is_word = matches!(answer.status(), "store_unwritable" | "store_damaged");
            if answer.exit != Some(3) || !is_named || !is_word {
                wrong.push(format!("not exit 3 with the path: {}", answer.brief()));
            }
        }
        let mut after = scratch.records();
        if !is_strict {
            // A heartbeat looks for a tombstone after its write as well: what it wrote stays if it cannot.
            before.retain(|name, _| !name.starts_with("heartbeats"));
            after.retain(|name, _| !name.starts_with("heartbeats"));
        }
        if ready.operation.is_collection() {
            wrong.extend(archive::lost_or_doubled(ready, scratch));
        } else if before != after {
            let differs: Vec<String> = before
                .keys()
                .chain(after.keys())
                .filter(|name| before.get(*name) != after.get(*name))
                .map(|name| name.display().to_string())
                .collect();
            wrong.push(format!("failed, and changed {differs:?}: {}", answer.brief()));
        }
    }

    // The disk is well again.
    let again = muse.run(scratch.path(), &ready.arguments);
    if !again.is_ok() {
        wrong.push(format!("cannot be repeated: {}", again.brief()));
    } else if let Err(what) = operations::effect(muse, ready, scratch, &again) {
        wrong.push(format!("repeated without effect: {what}"));
    }
    let next = muse.run(scratch.path(), &reserve(&["elsewhere.py"], "next", &[]));
    if !next.is_ok() || next.token() <= ready.scratch.token() {
        wrong.push(format!("the next reserve: {}", next.brief()));
    }
    if !scratch.temporary().is_empty() {
        wrong.push(format!("left behind: {:?}", scratch.temporary()));
    }
}

/// Runs muse on a store whose file system says that it is one of another machine: every command that looks at
/// the store refuses it.
pub fn network_file_systems(muse: &Muse) -> Violations {
    /// Names and magic numbers, as the first bytes of a `statfs` on a little-endian machine.
    const KINDS: [(&str, &str); 3] =
        [("nfs", "6969000000000000"), ("smb", "424d53ff00000000"), ("smb", "424d53fe00000000")];

    need_strace();
    let ready = Ready::make(muse, Operation::Release);
    let id = ready.target.clone().unwrap_or_default();
    let mut violations = Violations::new();
    for (kind, magic) in KINDS {
        let commands = [
            reserve(&["other.py"], "other", &[]),
            ready.arguments.clone(),
            ["coord", "heartbeat", &id, "--run-id", "worker", "--json"].map(str::to_owned).to_vec(),
            ["coord", "list", "--json"].map(str::to_owned).to_vec(),
        ];
        for arguments in commands {
            let injection = format!("fstatfs:poke_exit=@arg2={magic}");
            let answer = inject(muse, ready.scratch.path(), &[injection], &arguments);
            let is_refused = answer.exit == Some(3)
                && answer.status() == "unsupported_file_system"
                && answer.text("error").contains(&format!("({kind})"));
            if !is_refused {
                violations.push(format!("{kind}: {arguments:?}: {}", answer.brief()));
            }
        }
    }
    violations
}

/// A way to make a store read-only.
#[derive(Clone, Copy, Debug)]
pub enum ReadOnly {
    /// A mount of its own in which the repository cannot be written. Needs the right to mount.
    Mount,
    /// Every call that would write fails with `EROFS`, as on such a mount: for where nobody may mount.
    Injected,
}

/// Runs muse on a read-only store: readers work, writers exit with 3 and name a path.
pub fn read_only(muse: &Muse, way: ReadOnly) -> Violations {
    let ready = Ready::make(muse, Operation::Release);
    let id = ready.target.clone().unwrap_or_default();
    let before = ready.scratch.records();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
    let mut violations = Violations::new();
    for arguments in [words(&["coord", "list", "--all", "--json"]), words(&["coord", "show", &id, "--json"])]
    {
        let answer = run_read_only(muse, ready.scratch.path(), way, &arguments);
        if !answer.is_ok() || !String::from_utf8_lossy(&answer.stdout).contains(&id) {
            violations.push(format!("a reader: {arguments:?}: {}", answer.brief()));
        }
    }
    for arguments in [
        reserve(&["other.py"], "other", &[]),
        ready.arguments.clone(),
        words(&["coord", "heartbeat", &id, "--run-id", "worker", "--json"]),
    ] {
        let answer = run_read_only(muse, ready.scratch.path(), way, &arguments);
        let is_named = answer.text("error").contains(&*ready.scratch.store().to_string_lossy());
        if answer.exit != Some(3) || answer.status() != "store_unwritable" || !is_named {
            violations.push(format!("a writer: {arguments:?}: {}", answer.brief()));
        }
    }
    if ready.scratch.records() != before {
        violations.push("a read-only store has changed".to_owned());
    }
    violations
}

/// Whether this process may mount.
pub fn may_mount() -> bool {
    std::process::Command::new("unshare")
        .args(["-m", "mount", "--bind", "/tmp", "/tmp"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn run_read_only(muse: &Muse, repository: &Path, way: ReadOnly, arguments: &[String]) -> Answer {
    match way {
        ReadOnly::Mount => {
            let script = "mount --bind . \"$PWD\" && mount -o remount,ro,bind \"$PWD\" && cd \"$PWD\" && \
                          exec \"$0\" \"$@\"";
            muse.start(repository, &["unshare", "-m", "sh", "-c", script], arguments).finish()
        }
        ReadOnly::Injected => {
            let writes =
                ["linkat", "renameat", "unlinkat", "mkdirat"].map(|call| format!("{call}:error=EROFS"));
            // Files are made by `openat`, which readers call too: just the calls that make one fail.
            let mut injections = writes.to_vec();
            let dry = trace(muse, copy_of(repository).path(), arguments);
            let makes = dry.calls.iter().find(|call| call.name == "openat" && call.is_change());
            injections.extend(makes.map(|call| format!("openat:error=EROFS:when={}+", call.occurrence)));
            inject(muse, repository, &injections, arguments)
        }
    }
}

fn copy_of(repository: &Path) -> Scratch {
    let copy = Scratch::empty();
    crate::scratch::copy_folder(repository, copy.path());
    copy
}

/// Breaks the disk in the middle of a superseding reserve, for good: from each of its syncs on every sync fails,
/// and so do the removals that would take back what it published, one of them or all. Whatever is left of it,
/// the old holder and the new one must not hold both.
pub fn break_for_good(muse: &Muse) -> Violations {
    let ready = Ready::make(muse, Operation::Supersede);
    let target = ready.target.clone().unwrap_or_default();
    let whole = ready.scratch.copy();
    let syncs =
        trace(muse, whole.path(), &ready.arguments).calls.iter().filter(|call| call.name == "fsync").count();
    let mut violations = Violations::new();
    for sync in 1..=syncs {
        for removals in ["1", "2", "1+", "2+"] {
            let scratch = ready.scratch.copy();
            let injections =
                [format!("fsync:error=EIO:when={sync}+"), format!("unlinkat:error=EIO:when={removals}")];
            let answer = inject(muse, scratch.path(), &injections, &ready.arguments);
            let broken = format!("syncs broken from {sync} on, removals {removals}");
            if answer.exit != Some(3) {
                violations.push(format!("{broken}: {}", answer.brief()));
            }
            let beat = ["coord", "heartbeat", &target, "--run-id", "holder", "--json"].map(str::to_owned);
            let beat = muse.run(scratch.path(), &beat);
            let list = ["coord", "list", "--run-id", RUN, "--json"].map(str::to_owned);
            let list = muse.run(scratch.path(), &list);
            let is_granted = list.json["count"].as_u64() != Some(0);
            if beat.is_ok() && is_granted {
                violations.push(format!("{broken}: both hold"));
            }
        }
    }
    if syncs < 6 {
        violations.push(format!("only {syncs} syncs were seen"));
    }
    violations
}
