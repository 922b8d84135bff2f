//! Processes that want the same thing at the same moment.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use crate::scratch::Scratch;
use crate::{Answer, Muse, Violations};

/// How many processes race.
pub const RACERS: usize = 16;

/// A way in which what the racers want overlaps. The racers take the entries in turn; each entry is the list
/// of addresses of one racer, and every two entries overlap.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What it is about.
    pub name: &'static str,
    entries: &'static [&'static [&'static str]],
}

/// Every way that is tried.
pub const KINDS: [Kind; 7] = [
    Kind { name: "same symbol", entries: &[&["src/billing.py::Invoice.total"]] },
    Kind {
        name: "symbol against file",
        entries: &[&["src/billing.py::Invoice.total"], &["src/billing.py"], &["src/billing.py::Invoice"]],
    },
    Kind { name: "file against glob", entries: &[&["src/a.py"], &["src/*.py"], &["**/a.py"]] },
    Kind { name: "folder against file", entries: &[&["src/"], &["src/a.py"], &["src/a.py::f"]] },
    Kind { name: "glob against glob", entries: &[&["src/**/*.py"], &["src/a*/*"], &["**/b.py"]] },
    Kind { name: "folder against glob", entries: &[&["lib/"], &["lib/**/x?.rs"], &["**/{x,y}[0-9].rs"]] },
    Kind {
        name: "several addresses",
        entries: &[&["x.py", "y.py"], &["y.py::f", "z.py"], &["z.py", "x.py"]],
    },
];

/// What many rounds of a race came to.
#[derive(Debug, Default)]
pub struct RaceReport {
    /// What must not be.
    pub violations: Violations,
    /// How many requests were granted.
    pub granted: usize,
    /// How many were denied.
    pub denied: usize,
    /// In how many rounds more than one was granted.
    pub double: usize,
}

/// Lets [`RACERS`] processes race for overlapping addresses, again and again on one store: exactly one of each
/// round is granted, every denial names it, it is listed, and tokens increase from round to round.
pub fn race(muse: &Muse, kind: Kind, rounds: usize) -> RaceReport {
    let scratch = Scratch::with_store(muse);
    let mut report = RaceReport::default();
    let mut last_token = 0;
    for round in 0..rounds {
        let arguments: Vec<Vec<String>> = (0..RACERS)
            .map(|racer| {
                let addresses = kind.entries[racer % kind.entries.len()];
                let run = format!("round-{round}-agent-{racer}");
                reserve(addresses, &run, &[])
            })
            .collect();
        let answers = muse.race(scratch.path(), &arguments);
        let mut wrong = |what: String| {
            report.violations.push(format!("{}, round {round}: {what}", kind.name));
        };

        let granted: Vec<&Answer> = answers.iter().filter(|answer| answer.is_ok()).collect();
        let denied: Vec<&Answer> = answers.iter().filter(|answer| answer.exit == Some(6)).collect();
        report.granted += granted.len();
        report.denied += denied.len();
        report.double += usize::from(granted.len() > 1);
        if granted.len() != 1 {
            wrong(format!("{} grants at once: {:?}", granted.len(), ids(&granted)));
        }
        for answer in &answers {
            if !answer.is_ok() && answer.exit != Some(6) {
                wrong(format!("neither granted nor denied: {}", answer.brief()));
            }
        }
        if let [winner] = granted[..] {
            for answer in denied {
                if answer.status() != "conflict" || !names_only(answer, winner) {
                    wrong(format!("a denial does not name the winner {}: {}", winner.id(), answer.brief()));
                }
            }
        }

        let listed = listed(muse, scratch.path());
        if listed != ids(&granted) {
            wrong(format!("granted {:?}, listed {listed:?}", ids(&granted)));
        }
        let mut tokens: Vec<u64> = granted.iter().map(|answer| answer.token()).collect();
        tokens.sort_unstable();
        for token in tokens {
            if token <= last_token {
                wrong(format!("token {token} after {last_token}"));
            }
            last_token = last_token.max(token);
        }
        for winner in granted {
            let released = release(muse, scratch.path(), winner);
            if !released.is_ok() {
                wrong(format!("release: {}", released.brief()));
            }
        }
    }
    if !scratch.temporary().is_empty() {
        report.violations.push(format!("left behind: {:?}", scratch.temporary()));
    }
    report
}

/// Lets [`RACERS`] processes race for the first reservation in repositories that have no store yet, so that
/// they race for making it as well; in every other repository `muse init` runs among them.
pub fn race_for_the_first(muse: &Muse, rounds: usize) -> RaceReport {
    let mut report = RaceReport::default();
    for round in 0..rounds {
        let scratch = Scratch::without_store();
        let arguments: Vec<Vec<String>> = (0..RACERS)
            .map(|racer| match (round % 2, racer % 4) {
                (1, 0) => vec!["init".to_owned(), "--json".to_owned()],
                _ => reserve(&["a.py"], &format!("agent-{racer}"), &[]),
            })
            .collect();
        let answers = muse.race(scratch.path(), &arguments);
        let mut wrong = |what: String| report.violations.push(format!("first, round {round}: {what}"));
        let (reserves, inits): (Vec<&Answer>, Vec<&Answer>) =
            answers.iter().partition(|answer| answer.json.get("created").is_none());
        for answer in &inits {
            if !answer.is_ok() {
                wrong(format!("init: {}", answer.brief()));
            }
        }
        let granted: Vec<&Answer> = reserves.iter().copied().filter(|answer| answer.is_ok()).collect();
        for answer in &reserves {
            if !answer.is_ok() && answer.exit != Some(6) {
                wrong(format!("neither granted nor denied: {}", answer.brief()));
            }
        }
        report.granted += granted.len();
        report.denied += reserves.len() - granted.len();
        report.double += usize::from(granted.len() > 1);
        if granted.len() != 1 || listed(muse, scratch.path()) != ids(&granted) {
            wrong(format!("granted {:?}, listed {:?}", ids(&granted), listed(muse, scratch.path())));
        }
        let left = crate::scratch::names(&scratch.path().join(".muse"));
        if left != ["coordination"] {
            wrong(format!("left behind: {left:?}"));
        }
    }
    report
}

/// `waves` times [`RACERS`] advisory reservations of one address, each by a run of its own: of each two, the
/// one with the larger token was told of the other.
pub fn advisory(muse: &Muse, waves: usize) -> RaceReport {
    let scratch = Scratch::with_store(muse);
    let mut report = RaceReport::default();
    let mut granted: Vec<(u64, String, HashSet<String>)> = Vec::new();
    for wave in 0..waves {
        let arguments: Vec<Vec<String>> = (0..RACERS)
            .map(|racer| reserve(&["src/a.py"], &format!("wave-{wave}-agent-{racer}"), &["--advisory"]))
            .collect();
        let answers = muse.race_unread(scratch.path(), &arguments);
        for (mut answer, arguments) in answers.into_iter().zip(&arguments) {
            // A machine that is busy with other things as well may take ten seconds for a wave. Giving up then
            // is what a writer is meant to do; it asks again.
            while answer.exit == Some(3) && answer.stdout.windows(10).any(|word| word == b"store_busy") {
                answer = muse.run(scratch.path(), arguments);
            }
            match advisory_grant(&answer) {
                Some(grant) => granted.push(grant),
                None => report.violations.push(format!("wave {wave}: not granted: {}", answer.brief())),
            }
        }
    }
    report.granted = granted.len();
    granted.sort_by_key(|(token, ..)| *token);
    for (position, (token, id, told)) in granted.iter().enumerate() {
        let earlier = &granted[..position];
        if earlier.last().is_some_and(|(before, ..)| before == token) {
            report.violations.push(format!("token {token} was granted twice"));
        }
        let missed = earlier.iter().filter(|(_, earlier, _)| !told.contains(earlier)).count();
        if missed > 0 || told.len() != earlier.len() {
            report.violations.push(format!(
                "{id} with token {token} was told of {} and not of {missed} of the {} before it",
                told.len(),
                earlier.len()
            ));
        }
    }
    report
}

/// The token, the id, and the ids in the notices. Found by their keys alone, of which the grant's own come
/// first: the last answers are half a megabyte each, and reading 1,600 of them as JSON takes longer than making
/// them.
fn advisory_grant(answer: &Answer) -> Option<(u64, String, HashSet<String>)> {
    let text = std::str::from_utf8(&answer.stdout).ok()?.strip_suffix("]}\n")?;
    let value = |after_key: &str, end: char| after_key.split(end).next().map(str::to_owned);
    let mut ids = text.split("\"reservation_id\":\"").skip(1).filter_map(|rest| value(rest, '"'));
    let token = value(text.split("\"token\":").nth(1)?, ',')?.parse().ok()?;
    let id = ids.next()?;
    (answer.exit == Some(0)).then(|| (token, id, ids.collect()))
}

/// The arguments of a reserve.
pub(crate) fn reserve(addresses: &[&str], run: &str, more: &[&str]) -> Vec<String> {
    let words = [&["coord", "reserve"], addresses, &["--run-id", run, "--json"], more].concat();
    words.into_iter().map(str::to_owned).collect()
}

fn release(muse: &Muse, repository: &Path, winner: &Answer) -> Answer {
    muse.run(repository, &["coord", "release", &winner.id(), "--run-id", winner.text("run_id"), "--json"])
}

fn ids(answers: &[&Answer]) -> Vec<String> {
    let mut ids: Vec<String> = answers.iter().map(|answer| answer.id()).collect();
    ids.sort();
    ids
}

/// The ids that `list` shows.
pub(crate) fn listed(muse: &Muse, repository: &Path) -> Vec<String> {
    let answer = muse.run(repository, &["coord", "list", "--json"]);
    let rows = answer.json["reservations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut ids: Vec<String> =
        rows.iter().filter_map(|row| row["reservation_id"].as_str()).map(str::to_owned).collect();
    ids.sort();
    ids
}

fn names_only(denied: &Answer, winner: &Answer) -> bool {
    let conflicts = denied.json["conflicts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names_winner = |conflict: &Value| {
        let holder = &conflict["holder"];
        holder["reservation_id"] == winner.json["reservation_id"]
            && holder["run_id"] == winner.json["run_id"]
            && holder["token"] == winner.json["token"]
    };
    !conflicts.is_empty() && conflicts.iter().all(names_winner)
}
