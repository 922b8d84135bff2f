//! Every protection taken out in turn: the tests that guard it must notice.
//!
//! These run the code that the tests of `muse` run, on a program that differs in one protection, and expect
//! the violation that this protection is there against.

#![cfg(target_os = "linux")]

use std::time::Duration;

use muse_testkit::kills::kill_everywhere;
use muse_testkit::mixture::everything;
use muse_testkit::operations::{Operation, Ready};
use muse_testkit::pauses::{
    Ending, Point, late_heartbeat, stopped_heartbeat, stopped_heartbeat_and_collection,
};
use muse_testkit::power_loss::{PowerReport, lose_power_everywhere};
use muse_testkit::races::{KINDS, race};
use muse_testkit::waiting::queue;
use muse_testkit::{Muse, Violations, assert_caught};

fn without(safeguard: &'static str) -> Muse {
    Muse::twin(env!("CARGO_BIN_EXE_muse-twin"), safeguard)
}

fn power_lost(protection: &'static str, operation: Operation) -> PowerReport {
    let muse = without(protection);
    lose_power_everywhere(&muse, &Ready::make(&muse, operation))
}

#[test]
fn races_notice_a_missing_store_lock() {
    // About one round in seven has two winners: a few turns of ten rounds show it, and hundreds always do.
    let muse = without("StoreLock");
    let mut rounds = 0;
    let report = (0..40)
        .map(|turn| {
            rounds += 10;
            race(&muse, KINDS[turn % KINDS.len()], 10)
        })
        .find(|report| report.double > 0)
        .expect("no two were ever granted at once");
    println!("more than one granted in {} of the last ten of {rounds} rounds", report.double);
    assert_caught!(report.violations, "grants at once");
}

#[test]
fn pauses_notice_a_missing_record_lock() {
    assert_caught!(stopped_heartbeat(&without("RecordLock"), Point::Checked, Ending::GoesOn), "both hold");
}

#[test]
fn kills_notice_records_that_are_written_in_place() {
    let report = kill_everywhere(&without("Publishing"), Operation::Reserve);
    assert_caught!(report.violations, "is not whole");
}

#[test]
fn power_loss_notices_files_that_are_not_synced() {
    for operation in [Operation::Reserve, Operation::Supersede, Operation::TakeOver, Operation::Release] {
        let report = power_lost("FileSync", operation);
        assert_caught!(report.violations, "may be there with anything in it");
    }
}

#[test]
fn power_loss_notices_folders_that_are_not_synced() {
    for operation in [Operation::Reserve, Operation::Supersede, Operation::TakeOver, Operation::Release] {
        let violations = power_lost("DirectorySync", operation).violations;
        if operation.is_grant() {
            assert_caught!(violations.clone(), "may be there with a token above the token file's");
        }
        if matches!(operation, Operation::Supersede | Operation::TakeOver) {
            assert_caught!(violations.clone(), "may be there, but");
        }
        assert_caught!(violations, "acknowledged, but");
    }
}

#[test]
fn late_heartbeats_notice_a_missing_supersession() {
    assert_caught!(late_heartbeat(&without("Supersession")), "both hold");
}

#[test]
fn kills_notice_a_collection_that_removes_before_it_archives() {
    let report = kill_everywhere(&without("ArchiveFirst"), Operation::FirstGc);
    assert_caught!(report.violations, "is lost");
}

#[test]
fn power_loss_notices_an_archive_that_is_not_synced() {
    for operation in [Operation::Gc, Operation::FirstGc] {
        let report = power_lost("FileSync", operation);
        assert_caught!(report.violations, "may be in neither place");
    }
    let report = power_lost("DirectorySync", Operation::FirstGc);
    assert_caught!(report.violations, "may be in neither place");
    let report = power_lost("DirectorySync", Operation::Gc);
    assert_caught!(report.violations, "may be back without its record in releases");
}

#[test]
fn kills_notice_a_torn_line_that_is_not_cut_off() {
    let report = kill_everywhere(&without("TornLine"), Operation::Gc);
    assert_caught!(report.violations, "is lost");
}

#[test]
fn pauses_notice_a_collection_without_the_record_lock() {
    assert_caught!(stopped_heartbeat_and_collection(&without("RecordLock")), "extended, and archived");
}

#[test]
fn queues_notice_tickets_that_nobody_gives_way_to() {
    let report = queue(&without("Queue"), None);
    assert!(report.overtakes > 0);
    assert_caught!(report.violations, "overtakes");
}

/// What a mixture finds: a few seconds show some of it, and a minute always does.
fn everything_at_once(safeguard: &'static str, seconds: u64, saying: &str) -> Violations {
    let muse = without(safeguard);
    let mut turns = (1..=6).map(|seed| everything(&muse, Duration::from_secs(seconds), seed).violations);
    let is_caught = |violations: &Violations| violations.iter().any(|violation| violation.contains(saying));
    turns.find(is_caught).unwrap_or_default()
}

#[test]
fn everything_at_once_notices_a_missing_store_lock() {
    assert_caught!(everything_at_once("StoreLock", 3, "two holders at once"), "two holders at once");
}

#[test]
fn everything_at_once_notices_a_missing_supersession() {
    assert_caught!(everything_at_once("Supersession", 10, "two holders at once"), "two holders at once");
}
