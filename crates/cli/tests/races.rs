//! Races of real processes: issue 2, acceptance 3.

#![allow(clippy::print_stdout, reason = "the counts are what the report of a run quotes")]

use muse_testkit::history::mixed;
use muse_testkit::races::{KINDS, Kind, RaceReport, advisory, race, race_for_the_first};
use muse_testkit::{Muse, assert_sound};

/// Rounds of all kinds together are 203, each of 16 processes.
const ROUNDS_OF_A_KIND: usize = 29;

fn muse() -> Muse {
    Muse::new(env!("CARGO_BIN_EXE_muse"))
}

fn told(what: &str, report: RaceReport) {
    println!("{what}: {} granted, {} denied", report.granted, report.denied);
    assert_sound!(report.violations);
}

fn exactly_one_of_sixteen(kinds: &[Kind]) {
    for &kind in kinds {
        let report = race(&muse(), kind, ROUNDS_OF_A_KIND);
        assert_eq!((report.granted, report.denied), (ROUNDS_OF_A_KIND, 15 * ROUNDS_OF_A_KIND));
        told(kind.name, report);
    }
}

#[test]
fn exactly_one_of_sixteen_is_granted_what_overlaps_by_symbols_and_files() {
    exactly_one_of_sixteen(&KINDS[..4]);
}

#[test]
fn exactly_one_of_sixteen_is_granted_what_overlaps_by_globs() {
    exactly_one_of_sixteen(&KINDS[4..]);
}

#[test]
fn exactly_one_of_sixteen_is_granted_while_they_make_the_store() {
    told("first", race_for_the_first(&muse(), 40));
}

#[test]
fn of_two_advisory_reservations_the_later_is_told_of_the_earlier() {
    let report = advisory(&muse(), 100);
    assert_eq!(report.granted, 1600);
    told("advisory", report);
}

#[test]
fn a_random_history_has_one_holder_at_a_time() {
    for seed in [1, 2] {
        let report = mixed(&muse(), 250, seed);
        println!(
            "seed {seed}: {} granted, {} denied, {} heartbeats, {} released, {} superseded",
            report.granted, report.denied, report.beaten, report.released, report.superseded
        );
        assert_sound!(report.violations);
        let happened = [report.granted, report.denied, report.beaten, report.released, report.superseded];
        assert!(happened.iter().all(|&count| count > 10), "the history is too dull: {happened:?}");
    }
}
