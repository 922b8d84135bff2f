//! What a guard says to a model: plain sentences, each with what to do.

use std::collections::BTreeMap;
use std::path::Path;

use muse_coord::{Address, Conflict, Lease, RunId, Timestamp};
use muse_guard::Whole;

use crate::output::one_line;
use crate::report::{doing, duration, shell_word};
use crate::wait::{describe, flag_value};

/// The most conflicts that a denial tells, and the most holders that a session is told of at its start.
const SHOWN_MAX: usize = 5;

/// How long a model is told to wait at most, in seconds: less than shells of harnesses let a command run by default.
const WAIT_SECONDS: u32 = 100;

/// Why an edit is denied, and what to do instead. There is at least one conflict. The session is in `folder`, and its
/// commands take paths from there, unless they go to the `top` that addresses are relative to.
pub(super) fn denial(
    conflicts: &[Conflict],
    run: &RunId,
    whole: &[Whole],
    folder: &Path,
    top: &Path,
) -> String {
    let at_top = |command: String| {
        if folder == top {
            format!("`{command}`")
        } else {
            format!("`(cd {} && {command})`", shell_word(&top.to_string_lossy()))
        }
    };
    let mut told: Vec<String> = conflicts.iter().take(SHOWN_MAX).map(describe).collect();
    told.extend(more(conflicts.len()));
    let mut sentences = vec![format!("muse coord: {}", told.join("; "))];
    sentences.extend(whole.iter().take(SHOWN_MAX).map(Whole::to_string));
    sentences.push("This edit was not made, and the file is as it was".to_owned());
    let own = conflicts.iter().map(Conflict::run_id).find(|other| other.descends_from(run));
    if let Some(own) = own {
        sentences.push(format!(
            "Run `{own}` is a subagent of yours: if it is done, {}",
            at_top(format!("muse coord release --all --run-id{}", flag_value(own)))
        ));
    }
    let mut addresses: Vec<&Address> = conflicts.iter().map(|conflict| &conflict.address).collect();
    addresses.dedup();
    addresses.truncate(SHOWN_MAX);
    let shared =
        if addresses.iter().all(|address| address.symbol() == Some("@top")) { " --shared" } else { "" };
    let words: Vec<String> = addresses.iter().map(|address| shell_word(address.as_str())).collect();
    sentences.push(format!(
        "Work on something else; or wait in the queue with {}, and then read the file again before you edit it",
        at_top(format!(
            "muse coord reserve {}{shared} --wait {WAIT_SECONDS} --run-id{}",
            words.join(" "),
            flag_value(run)
        ))
    ));
    one_line(&format!("{}.", sentences.join(". ")))
}

/// What a session is told at its start, in three lines. `others` are active reservations of other runs.
pub(super) fn context(run: &RunId, others: &[Lease], now: Timestamp) -> String {
    let mut runs: BTreeMap<&RunId, Vec<&Lease>> = BTreeMap::new();
    for lease in others {
        runs.entry(&lease.reservation.run_id).or_default().push(lease);
    }
    let mut told: Vec<String> = runs
        .iter()
        .take(SHOWN_MAX)
        .map(|(run, leases)| format!("run `{run}` on {}", held(leases, now)))
        .collect();
    told.extend(more(runs.len()));
    let who = if told.is_empty() { "nobody else".to_owned() } else { told.join("; ") };
    let flag = flag_value(run);
    let lines = [
        format!(
            "This repository is guarded by `muse coord`: each edit reserves the symbols that it changes for your run, \
             `{run}`, for 15 minutes, and is denied where another run holds them."
        ),
        format!("At work now: {who}."),
        format!(
            "To hold more, or for longer: `muse coord reserve PATH::SYMBOL... --ttl 3600 --run-id{flag}`; who holds \
             what: `muse coord list`. Give `--run-id{flag}` to each `muse coord` command that takes it."
        ),
    ];
    lines.map(|line| one_line(&line)).join("\n")
}

/// What a run holds: the first address, how many more, what it does, and for how much longer at least.
fn held(leases: &[&Lease], now: Timestamp) -> String {
    let addresses: Vec<&Address> = leases.iter().flat_map(|lease| &lease.reservation.addresses).collect();
    let first = addresses.first().map(|address| format!("`{address}`")).unwrap_or_default();
    let others = match addresses.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let doing = leases
        .first()
        .map(|lease| doing(lease.reservation.operation, lease.reservation.branch.as_deref()))
        .unwrap_or_default();
    let left =
        leases.iter().map(|lease| lease.effective_expiry().seconds_left(now)).max().unwrap_or_default();
    format!("{first}{others}{doing} for {} more", duration(left))
}

fn more(count: usize) -> Option<String> {
    (count > SHOWN_MAX).then(|| format!("{} more", count - SHOWN_MAX))
}
