//! One who watches all the time: what it is told agrees with the records at the end.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::MixtureReport;
use super::store::Record;
use crate::process::{Running, Signal, now, signal};
use crate::{Muse, Scratch};

/// Where its lines go, in the working tree.
const STREAM: &str = "watched.jsonl";

/// How long it may take until it has told everything: it looks at least every five seconds. Where something is wrong
/// already, it may never tell all.
const PATIENCE_SECONDS: u32 = 60;
const PATIENCE_SECONDS_WHERE_WRONG: u32 = 6;

pub(super) struct Watcher {
    running: Running,
}

impl Watcher {
    /// Begins with an empty store, so that it is told of everything.
    pub(super) fn start(muse: &Muse, scratch: &Scratch) -> Watcher {
        let into_file = format!("exec \"$0\" \"$@\" > {STREAM}");
        let words = ["coord", "watch", "--json", "--since", "1h"];
        Watcher { running: muse.start(scratch.path(), &["sh", "-c", &into_file], &words) }
    }

    /// Every grant once, in the order of the tokens; every release once, after its grant; every move into the archive.
    pub(super) fn check(self, scratch: &Scratch, records: &[Record], report: &mut MixtureReport) {
        let granted: Vec<&str> = records.iter().map(|record| &*record.id).collect();
        let ids = |is_it: &dyn Fn(&Record) -> bool| {
            let mut ids: Vec<&str> =
                records.iter().filter(|record| is_it(record)).map(|record| &*record.id).collect();
            ids.sort_unstable();
            ids
        };
        let released = ids(&|record| record.released.is_some());
        let archived = ids(&|record| record.is_archived);

        let is_sound = report.violations.is_empty();
        let patience = if is_sound { PATIENCE_SECONDS } else { PATIENCE_SECONDS_WHERE_WRONG };
        let deadline = now().plus_seconds(patience);
        let mut lines = Vec::new();
        while now() < deadline {
            lines = read(scratch);
            let count = |word: &str| lines.iter().filter(|line| line["event"] == word).count();
            let is_told = count("granted") >= granted.len()
                && count("released") >= released.len()
                && count("archived") >= archived.len();
            if is_told {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        signal(self.running.id(), Signal::TERM);
        let answer = self.running.finish();
        if answer.exit != Some(143) || !answer.stderr.is_empty() {
            report.violations.push(format!("the watcher: {}", answer.brief()));
        }

        let told = |word: &str| -> Vec<&str> {
            let of_word = lines.iter().filter(|line| line["event"] == word);
            of_word.map(|line| line["reservation_id"].as_str().unwrap_or_default()).collect()
        };
        let sorted = |mut ids: Vec<&str>| -> Vec<String> {
            ids.sort_unstable();
            ids.into_iter().map(str::to_owned).collect()
        };
        let mut wrong = |what: &str, told: usize, there: usize| {
            report.violations.push(format!("watched: {told} {what}, {there} in the store"));
        };
        if told("granted") != granted {
            wrong("granted, in this order", told("granted").len(), granted.len());
        }
        if sorted(told("released")) != released {
            wrong("released", told("released").len(), released.len());
        }
        // What lapsed, was moved by a step that was killed and was revived before the next one, is moved twice.
        let mut moved = sorted(told("archived"));
        moved.dedup();
        if moved != archived {
            wrong("archived", moved.len(), archived.len());
        }
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for line in &lines {
            let (Some(id), Some(word)) = (line["reservation_id"].as_str(), line["event"].as_str()) else {
                continue;
            };
            if *first.entry(id).or_insert(word) != "granted" {
                report.violations.push(format!("watched: {word} of {id}, which was not told to be granted"));
            }
        }
        *report.counts.entry("watched").or_default() += lines.len();
    }
}

/// The whole lines so far.
fn read(scratch: &Scratch) -> Vec<Value> {
    crate::archive::lines_of(&fs::read(scratch.path().join(STREAM)).unwrap_or_default())
}
