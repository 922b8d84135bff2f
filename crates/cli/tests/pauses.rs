//! Processes stopped in the middle: the rows of issue 2 on SIGSTOP.

#![cfg(target_os = "linux")]

use muse_testkit::pauses::{
    Ending, Point, late_heartbeat, stopped_heartbeat, stopped_heartbeat_and_collection, stopped_reserve,
};
use muse_testkit::{Muse, assert_sound};

fn muse() -> Muse {
    Muse::new(env!("CARGO_BIN_EXE_muse"))
}

#[test]
fn heartbeat_stopped_past_its_expiry_goes_on() {
    for point in [Point::Checked, Point::Writing] {
        assert_sound!(stopped_heartbeat(&muse(), point, Ending::GoesOn));
    }
}

#[test]
fn heartbeat_stopped_past_its_expiry_dies() {
    for point in [Point::Checked, Point::Writing] {
        assert_sound!(stopped_heartbeat(&muse(), point, Ending::Dies));
    }
}

#[test]
fn heartbeat_stopped_past_its_expiry_is_released() {
    for point in [Point::Checked, Point::Writing] {
        assert_sound!(stopped_heartbeat(&muse(), point, Ending::Released));
    }
}

#[test]
fn reserve_stopped_with_the_store_lock_goes_on() {
    assert_sound!(stopped_reserve(&muse(), true));
}

#[test]
fn reserve_stopped_with_the_store_lock_dies() {
    assert_sound!(stopped_reserve(&muse(), false));
}

#[test]
fn heartbeat_after_a_rival_was_granted_is_refused() {
    assert_sound!(late_heartbeat(&muse()));
}

#[test]
fn heartbeat_stopped_past_its_expiry_is_not_collected() {
    assert_sound!(stopped_heartbeat_and_collection(&muse()));
}
