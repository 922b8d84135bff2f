//! Power lost after every system call, in a strict model of a file system.

#![cfg(target_os = "linux")]

use muse_testkit::operations::{Operation, Ready};
use muse_testkit::power_loss::{lose_power_after_a_kill, lose_power_everywhere};
use muse_testkit::{Muse, assert_sound};

#[test]
fn power_lost_after_any_call() {
    let muse = Muse::new(env!("CARGO_BIN_EXE_muse"));
    for operation in Operation::ALL {
        let report = lose_power_everywhere(&muse, &Ready::make(&muse, operation));
        println!("{operation:?}: power lost at {} moments, {} syncs", report.moments, report.syncs);
        assert_sound!(report.violations);
    }
}

#[test]
fn power_lost_after_any_call_of_one_that_follows_a_killed_one() {
    let muse = Muse::new(env!("CARGO_BIN_EXE_muse"));
    for operation in Operation::ALL {
        let report = lose_power_after_a_kill(&muse, &Ready::make(&muse, operation));
        println!("{operation:?}: power lost at {} moments, {} syncs", report.moments, report.syncs);
        assert_sound!(report.violations);
    }
}

/// Operations that change an index.
const INDEXED: [Operation; 4] =
    [Operation::Reserve, Operation::Supersede, Operation::TakeOver, Operation::Release];

#[test]
fn power_lost_in_a_store_with_an_index() {
    let muse = Muse::new(env!("CARGO_BIN_EXE_muse"));
    for operation in INDEXED {
        let ready = Ready::crowded(&muse, operation);
        let after_a_kill = lose_power_after_a_kill(&muse, &ready);
        let report = lose_power_everywhere(&muse, &ready);
        println!("{operation:?}: power lost at {} + {} moments", report.moments, after_a_kill.moments);
        assert_sound!(report.violations);
        assert_sound!(after_a_kill.violations);
    }
}
