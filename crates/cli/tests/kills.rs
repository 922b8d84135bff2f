//! A process killed at every one of its system calls: issue 2, acceptance 4. And disks that fail at every one.

#![allow(clippy::print_stdout, reason = "the counts are what the report of a run quotes")]
#![cfg(target_os = "linux")]

use muse_testkit::faults::{
    ReadOnly, break_for_good, fail_every_call_in_a_crowd, fail_every_change, fail_every_question, may_mount,
    network_file_systems, read_only,
};
use muse_testkit::kills::{KillReport, kill_everywhere, kill_everywhere_in_a_crowd};
use muse_testkit::operations::Operation;
use muse_testkit::{Muse, assert_sound};

fn muse() -> Muse {
    Muse::new(env!("CARGO_BIN_EXE_muse"))
}

fn killed(operation: Operation) {
    check(operation, kill_everywhere(&muse(), operation));
}

fn killed_in_a_crowd(operation: Operation) {
    check(operation, kill_everywhere_in_a_crowd(&muse(), operation));
}

fn check(operation: Operation, report: KillReport) {
    println!(
        "{operation:?}: killed at {} calls ({} of the loader left out), {} times after the answer, \
         {} times with a grant that nobody was told of",
        report.kills, report.loading, report.acknowledged, report.unacknowledged
    );
    assert_sound!(report.violations);
    assert!(report.acknowledged > 0, "no kill came after the answer");
    assert_eq!(report.unacknowledged > 0, operation.is_grant(), "kills between the grant and the answer");
}

#[test]
fn a_disk_that_stays_broken_leaves_one_holder() {
    assert_sound!(break_for_good(&muse()));
}

#[test]
fn reserve_killed_anywhere() {
    killed(Operation::Reserve);
}

#[test]
fn superseding_reserve_killed_anywhere() {
    killed(Operation::Supersede);
}

#[test]
fn take_over_killed_anywhere() {
    killed(Operation::TakeOver);
}

#[test]
fn renewal_killed_anywhere() {
    killed(Operation::Renew);
}

#[test]
fn first_reserve_killed_anywhere() {
    killed(Operation::First);
}

#[test]
fn heartbeat_killed_anywhere() {
    killed(Operation::Heartbeat);
}

#[test]
fn release_killed_anywhere() {
    killed(Operation::Release);
}

#[test]
fn init_killed_anywhere() {
    killed(Operation::Init);
}

#[test]
fn reserve_in_a_store_with_an_index_killed_anywhere() {
    killed_in_a_crowd(Operation::Reserve);
}

#[test]
fn superseding_reserve_in_a_store_with_an_index_killed_anywhere() {
    killed_in_a_crowd(Operation::Supersede);
}

#[test]
fn take_over_in_a_store_with_an_index_killed_anywhere() {
    killed_in_a_crowd(Operation::TakeOver);
}

#[test]
fn release_in_a_store_with_an_index_killed_anywhere() {
    killed_in_a_crowd(Operation::Release);
}

#[test]
fn disk_broken_at_any_call_in_a_store_with_an_index() {
    for operation in [Operation::Supersede, Operation::Release] {
        let report = fail_every_call_in_a_crowd(&muse(), operation);
        println!(
            "{operation:?}: {} calls failed with EIO: {} times the operation failed, \
             {} times it did not matter",
            report.calls, report.failed, report.harmless
        );
        assert_sound!(report.violations);
    }
}

#[test]
fn collection_killed_anywhere() {
    killed(Operation::Gc);
}

#[test]
fn first_collection_killed_anywhere() {
    killed(Operation::FirstGc);
}

#[test]
fn disk_full_or_broken_at_any_change() {
    for operation in Operation::ALL {
        let report = fail_every_change(&muse(), operation);
        println!(
            "{operation:?}: {} calls failed with ENOSPC and with EIO: {} times the operation failed, \
             {} times it did not matter",
            report.calls, report.failed, report.harmless
        );
        assert_sound!(report.violations);
        assert!(report.failed > 0);
    }
}

#[test]
fn disk_broken_at_any_question() {
    for operation in Operation::ALL {
        let report = fail_every_question(&muse(), operation);
        println!(
            "{operation:?}: {} calls failed with EIO: {} times the operation failed, {} times it did not matter",
            report.calls, report.failed, report.harmless
        );
        assert_sound!(report.violations);
        assert!(report.failed > 0);
    }
}

#[test]
fn network_file_systems_are_refused() {
    assert_sound!(network_file_systems(&muse()));
}

#[test]
fn read_only_store_is_read() {
    assert_sound!(read_only(&muse(), ReadOnly::Injected));
    if may_mount() {
        assert_sound!(read_only(&muse(), ReadOnly::Mount));
    } else {
        println!("a read-only mount was not tried: this user may not mount");
    }
}
