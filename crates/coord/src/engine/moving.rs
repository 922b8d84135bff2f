//! Moving what stands from one engine to another: what is carried, and what keeps it from being carried.

use std::time::Duration;

use crate::address::Address;
use crate::clock::Timestamp;
use crate::decide::{Conflict, overlaps_with, sort_conflicts};
use crate::id::Token;
use crate::lease::Lease;
use crate::record::{Heartbeat, Reservation};

/// A reservation on its way: neither released nor superseded, with its id and its token.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// Its record.
    pub reservation: Reservation,
    /// Its last heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// How long it lasts still, at most; `None` if it has lapsed.
    pub left: Option<Duration>,
}

/// What a store that is moved holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// The last token that it granted: the other store goes on above it.
    pub token: Option<Token>,
    /// What stands there, sorted by token.
    pub carried: Vec<Carried>,
}

/// What became of a move.
#[derive(Clone, Debug, PartialEq)]
pub enum Moving {
    /// All of this is in the other store, and the old one refuses whoever still uses it.
    Moved(Load),
    /// What stands in the other store keeps some of it out. Nothing was changed.
    InTheWay(Vec<Conflict>),
}

/// Whether two texts that fences show name one store, whose endpoints may be told in different ways.
pub(super) fn is_same_place(one: &str, other: &str) -> bool {
    let place = |text: &'_ str| text.split_once(", at ").map_or(text, |(place, _)| place).trim().to_owned();
    place(one) == place(other)
}

/// Whether two reservations cannot both be active.
pub(super) fn excludes(one: &Reservation, other: &Reservation) -> bool {
    let is_related = one.run_id == other.run_id
        || one.run_id.descends_from(&other.run_id)
        || other.run_id.descends_from(&one.run_id);
    let overlaps = |address: &Address| other.addresses.iter().any(|held| address.overlaps(held));
    !is_related && one.mode.conflicts_with(other.mode) && one.addresses.iter().any(overlaps)
}

/// Who of those that stand in a store is in the way of what is carried there, be it lapsed: its holder could revive it.
/// The same reservation is in nobody's way.
pub(super) fn in_the_way(carried: &[Carried], standing: &[Lease], now: Timestamp) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for its in carried.iter().map(|carried| &carried.reservation) {
        for lease in standing {
            let other = &lease.reservation;
            if its.reservation_id == other.reservation_id || !excludes(its, other) {
                continue;
            }
            conflicts.extend(overlaps_with(&its.addresses, lease, now).map(Conflict::from));
        }
    }
    sort_conflicts(&mut conflicts);
    conflicts
}
