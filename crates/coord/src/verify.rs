//! Whether a fencing token still stands for addresses: what a deploy script asks that was handed one.
//!
//! The question is of a token, not of a run: whoever asks may be another process, on another machine, than the one that
//! reserved. [`Coordinator::verify`](crate::Coordinator::verify) is pure, so that every engine answers alike.

use serde::Serialize;

use crate::address::Address;
use crate::archive::Archived;
use crate::clock::Timestamp;
use crate::decide::{Overlap, overlaps_with, sort};
use crate::id::{ReservationId, RunId, Token};
use crate::lease::{Lease, State};

/// What is known of a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// Its reservation.
    pub lease: Lease,
    /// Where that stands: of one in the archive, how it ended.
    pub state: State,
    /// Whether it is in the archive.
    pub is_archived: bool,
    /// The addresses that were asked for and that no address of the reservation covers; in order.
    pub not_covered: Vec<Address>,
    /// What was granted later to other runs and holds something that was asked for, in a mode that this one cannot stand
    /// beside; sorted by address, then by token. Of a reservation that stands there is none, but for those of its run's
    /// descendants.
    pub later: Vec<Overlap>,
    /// Who was granted what it had held, if it was superseded and the record that tells can be read.
    pub successor: Option<Successor>,
}

/// Whether a token is good for what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is: the reservation stands, and covers all of it.
    Good,
    /// The reservation was released or superseded, or is in the archive.
    Stale,
    /// It lapsed, and nobody was granted what it had held. A heartbeat may still revive it.
    Lapsed,
    /// It stands, and does not cover all of it.
    NotCovered,
    /// It stands and covers all of it, and somebody was granted some of it later.
    Overtaken,
}

/// Who superseded a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Successor {
    /// Its reservation.
    pub reservation_id: ReservationId,
    /// Its run.
    pub run_id: RunId,
    /// Its token; `None` where its record is gone.
    pub token: Option<Token>,
    /// When.
    pub superseded_at: Timestamp,
}

impl Verification {
    /// What it comes to.
    pub const fn standing(&self) -> Standing {
        match self.state {
            _ if self.is_archived => Standing::Stale,
            State::Released | State::Superseded => Standing::Stale,
            State::Lapsed => Standing::Lapsed,
            State::Active if !self.not_covered.is_empty() => Standing::NotCovered,
            State::Active if !self.later.is_empty() => Standing::Overtaken,
            State::Active => Standing::Good,
        }
    }

    /// What is known of a reservation that is in the archive.
    pub(crate) fn of_archived(line: Archived, addresses: &[Address]) -> Verification {
        let state = line.state.into();
        let lease = line.into_lease();
        let not_covered = not_covered(&lease, addresses);
        Verification { lease, state, is_archived: true, not_covered, later: Vec::new(), successor: None }
    }

    /// What is known of a reservation that is not in the archive.
    pub(crate) fn of_live(lease: Lease, addresses: &[Address], now: Timestamp) -> Verification {
        let state = lease.state(now);
        let not_covered = not_covered(&lease, addresses);
        Verification { lease, state, is_archived: false, not_covered, later: Vec::new(), successor: None }
    }
}

fn not_covered(lease: &Lease, addresses: &[Address]) -> Vec<Address> {
    let covers = |address: &&Address| lease.reservation.addresses.iter().any(|held| held.covers(address));
    addresses.iter().filter(|address| !covers(address)).cloned().collect()
}

/// What of `standing` was granted after `lease`, to another run, and holds something of `addresses` in a mode that it
/// could not stand beside.
pub(crate) fn later(
    lease: &Lease,
    addresses: &[Address],
    standing: &[Lease],
    now: Timestamp,
) -> Vec<Overlap> {
    let own = &lease.reservation;
    let mut later = Vec::new();
    for other in standing {
        let its = &other.reservation;
        if its.token <= own.token
            || its.run_id == own.run_id
            || !own.mode.conflicts_with(its.mode)
            || other.state(now) != State::Active
        {
            continue;
        }
        later.extend(overlaps_with(addresses, other, now));
    }
    sort(&mut later);
    later
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::archive::Retention;
    use crate::clock::ManualClock;
    use crate::coordinator::Coordinator;
    use crate::decide::{Request, TakeOver};
    use crate::engine::memory::MemoryEngine;
    use crate::engine::{Beat, ReleaseRequest, Reserved};
    use crate::progress::Silent;
    use crate::record::{Mode, TtlSeconds};

    struct Site {
        coordinator: Coordinator<MemoryEngine<Arc<ManualClock>>>,
        clock: Arc<ManualClock>,
    }

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn run(id: &str) -> RunId {
        RunId::new(id).unwrap()
    }

    impl Site {
        fn new() -> Site {
            let clock = Arc::new(ManualClock::at_seconds(1_800_000_000));
            Site { coordinator: Coordinator::new(MemoryEngine::new(Arc::clone(&clock))), clock }
        }

        fn request(&self, request: &Request) -> Lease {
            match self.coordinator.reserve(request).unwrap() {
                Reserved::Granted(grant) => grant.lease,
                other => panic!("{other:?}"),
            }
        }

        fn reserve(&self, id: &str, addresses: &[&str], mode: Mode) -> Lease {
            let ttl = TtlSeconds::new(60).unwrap();
            self.request(&Request { mode, ..Request::new(run(id), self::addresses(addresses), ttl) })
        }

        fn verify(&self, lease: &Lease, addresses: &[&str]) -> Verification {
            let asked = self::addresses(addresses);
            self.coordinator.verify(lease.reservation.token, &asked).unwrap().unwrap()
        }

        fn standing(&self, lease: &Lease, addresses: &[&str]) -> Standing {
            self.verify(lease, addresses).standing()
        }

        fn release(&self, id: &str, lease: &Lease) {
            let reservations = vec![lease.reservation.reservation_id];
            let request = ReleaseRequest { reservations, run: run(id), reason: None, force: false };
            self.coordinator.release(&request).unwrap();
        }

        fn beat(&self, id: &str, lease: &Lease) {
            let reservation = lease.reservation.reservation_id;
            let beat = Beat { reservation, run: run(id), extension: TtlSeconds::new(600).unwrap() };
            self.coordinator.heartbeat(&beat).unwrap();
        }
    }

    #[test]
    fn a_token_is_good_for_what_its_reservation_covers_while_it_stands() {
        let site = Site::new();
        let held = site.reserve("alice", &["src/api/", "b.py::f"], Mode::Exclusive);
        for covered in [&["src/api/"][..], &["src/api/x.py::f", "b.py::f.g"], &["src/api/**/*.py"]] {
            assert_eq!(site.standing(&held, covered), Standing::Good, "{covered:?}");
        }
        let verification = site.verify(&held, &["b.py", "src/", "src/api/x.py", "z.py"]);
        assert_eq!(verification.standing(), Standing::NotCovered);
        assert_eq!(verification.not_covered, addresses(&["b.py", "src/", "z.py"]));

        site.clock.advance_seconds(60);
        assert_eq!(site.standing(&held, &["src/api/"]), Standing::Lapsed);
        // One that has lapsed covers nothing, whatever is asked.
        assert_eq!(site.standing(&held, &["z.py"]), Standing::Lapsed);
        site.beat("alice", &held);
        assert_eq!(site.standing(&held, &["src/api/"]), Standing::Good);
        site.release("alice", &held);
        assert_eq!(site.standing(&held, &["src/api/"]), Standing::Stale);
    }

    #[test]
    fn who_came_later_is_told() {
        let site = Site::new();
        let old = site.reserve("alice", &["a.py"], Mode::Exclusive);
        site.clock.advance_seconds(61);
        let new = site.reserve("bob", &["a.py::f"], Mode::Exclusive);
        let verification = site.verify(&old, &["a.py::f.g"]);
        assert_eq!((verification.state, verification.standing()), (State::Superseded, Standing::Stale));
        let successor = verification.successor.unwrap();
        assert_eq!((successor.run_id.as_str(), successor.token), ("bob", Some(new.reservation.token)));
        assert_eq!(verification.later.len(), 1);
        assert_eq!(verification.later[0].holder.token, new.reservation.token);
        assert_eq!(site.standing(&new, &["a.py::f.g"]), Standing::Good);

        // Taken over, in one step.
        let mut steal = Request::new(run("boss"), addresses(&["a.py"]), TtlSeconds::new(60).unwrap());
        steal.take_over =
            Some(TakeOver { reservation: new.reservation.reservation_id, reason: "stuck".into() });
        let stolen = site.request(&steal);
        let verification = site.verify(&new, &["a.py::f"]);
        assert_eq!((verification.state, verification.standing()), (State::Released, Standing::Stale));
        assert_eq!(verification.later[0].holder.token, stolen.reservation.token);
        assert_eq!(site.standing(&stolen, &["a.py"]), Standing::Good);
    }

    #[test]
    fn a_descendant_that_was_granted_it_later_is_in_the_way_as_it_is_of_a_check() {
        let site = Site::new();
        let parent = site.reserve("alice", &["src/"], Mode::Exclusive);
        let child = site.reserve("alice/1", &["src/a.py"], Mode::Exclusive);
        assert_eq!(site.standing(&parent, &["src/"]), Standing::Overtaken);
        assert_eq!(site.standing(&parent, &["src/b.py"]), Standing::Good);
        assert_eq!(site.standing(&child, &["src/a.py"]), Standing::Good);
        site.release("alice/1", &child);
        assert_eq!(site.standing(&parent, &["src/"]), Standing::Good);
    }

    #[test]
    fn those_that_stand_beside_each_other_do_not_count() {
        let site = Site::new();
        let shared = site.reserve("alice", &["a.py"], Mode::Shared);
        let advisory = site.reserve("carol", &["b.py"], Mode::Advisory);
        site.reserve("bob", &["a.py"], Mode::Shared);
        site.reserve("bob", &["b.py"], Mode::Exclusive);
        assert_eq!(site.standing(&shared, &["a.py"]), Standing::Good);
        assert_eq!(site.standing(&advisory, &["b.py"]), Standing::Good);
    }

    #[test]
    fn what_is_archived_is_stale_however_it_ended() {
        let site = Site::new();
        let lapsed = site.reserve("alice", &["a.py"], Mode::Exclusive);
        site.clock.advance_seconds(100);
        let released = site.reserve("alice", &["b.py"], Mode::Exclusive);
        site.release("alice", &released);
        site.clock.advance_seconds(100);
        site.coordinator.collect(&Retention::older_than(0), &Silent).unwrap();
        for (lease, state) in [(&lapsed, State::Lapsed), (&released, State::Released)] {
            let verification = site.verify(lease, &["a.py"]);
            assert!(verification.is_archived);
            assert_eq!((verification.state, verification.standing()), (state, Standing::Stale));
        }
        let none = Token::new(1).unwrap();
        assert_eq!(site.coordinator.verify(none, &addresses(&["a.py"])).unwrap(), None);
        let none = Token::new(released.reservation.token.get() + 1).unwrap();
        assert_eq!(site.coordinator.verify(none, &addresses(&["a.py"])).unwrap(), None);
    }
}
