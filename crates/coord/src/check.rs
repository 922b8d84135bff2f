//! Whether a run may change what it is about to change, or has changed already: pure, so that every engine answers
//! alike.
//!
//! A check says that somebody is in the way exactly when a request for the same addresses in the same mode would be
//! denied by those who hold them: it asks [`decide`]. Those who wait do not count, for they hold nothing yet. It says
//! more than that of the run's own reservations: which of them it has lost, and, if it is asked, what it does not hold.

use serde::Serialize;

use crate::address::Address;
use crate::clock::Timestamp;
use crate::decide::{Candidate, Conflict, Decision, Notice, Request, decide, notices, sort, sort_conflicts};
use crate::id::{ReservationId, RunId, Token};
use crate::lease::Lease;
use crate::record::{Mode, Supersession, TtlSeconds};

/// What a run is about to change, or has changed.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// Who asks.
    pub run: RunId,
    /// What it changes; sorted, each once.
    pub exclusive: Vec<Address>,
    /// What it changes beside others who do the same; sorted, each once, none of them in `exclusive`.
    pub shared: Vec<Address>,
    /// Whether the run has to hold all of it.
    pub require: bool,
}

impl CheckRequest {
    /// A check of these addresses. One that stands in both lists is exclusive.
    pub fn new(run: RunId, mut exclusive: Vec<Address>, mut shared: Vec<Address>) -> CheckRequest {
        exclusive.sort();
        exclusive.dedup();
        shared.sort();
        shared.dedup();
        shared.retain(|address| exclusive.binary_search(address).is_err());
        CheckRequest { run, exclusive, shared, require: false }
    }

    /// All the addresses, in order.
    pub fn addresses(&self) -> Vec<Address> {
        let mut all: Vec<Address> = self.asked().map(|(address, _)| address.clone()).collect();
        all.sort();
        all
    }

    /// Whether any address overlaps any of `lease`.
    pub(crate) fn overlaps(&self, lease: &Lease) -> bool {
        let held = &lease.reservation.addresses;
        self.asked().any(|(address, _)| held.iter().any(|held| address.overlaps(held)))
    }

    fn asked(&self) -> impl Iterator<Item = (&Address, Mode)> {
        let exclusive = self.exclusive.iter().map(|address| (address, Mode::Exclusive));
        exclusive.chain(self.shared.iter().map(|address| (address, Mode::Shared)))
    }

    /// The requests that would be denied if somebody is in the way.
    fn requests(&self) -> impl Iterator<Item = Request> {
        [(&self.exclusive, Mode::Exclusive), (&self.shared, Mode::Shared)]
            .into_iter()
            .filter(|(addresses, _)| !addresses.is_empty())
            .map(|(addresses, mode)| Request {
                mode,
                ..Request::new(self.run.clone(), addresses.clone(), TtlSeconds::DEFAULT)
            })
    }
}

/// What a check found. Nothing in the first three lists: the way is clear.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// Who holds what is asked for; sorted by address, then by token.
    pub conflicts: Vec<Conflict>,
    /// What the run held and has lost to another run, and has not reserved anew since; sorted likewise.
    pub stale: Vec<Stale>,
    /// What the run does not hold, if it has to; in order.
    pub missing: Vec<Missing>,
    /// Advisory reservations of others; sorted like conflicts.
    pub notices: Vec<Notice>,
}

/// What a check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is in the way.
    Clear,
    /// Somebody is in the way, or was since the run reserved.
    Conflict,
    /// Nobody is in the way, but the run does not hold what it has to hold.
    NotHeld,
}

impl Check {
    /// What it comes to.
    pub const fn verdict(&self) -> Verdict {
        if !self.conflicts.is_empty() || !self.stale.is_empty() {
            Verdict::Conflict
        } else if !self.missing.is_empty() {
            Verdict::NotHeld
        } else {
            Verdict::Clear
        }
    }
}

/// An address that is asked for and that the run held by a reservation which lapsed and was superseded: its token is
/// stale, and what the run knows of the code may be too.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stale {
    /// The address that was asked for.
    pub address: Address,
    /// The address that the run held: the first in order that overlaps it.
    pub held_address: Address,
    /// The run's reservation.
    pub reservation_id: ReservationId,
    /// Its token.
    pub token: Token,
    /// Who was granted it since, released or not; `None` where that record cannot be read.
    pub superseded_by: Option<Successor>,
}

/// Who superseded a reservation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Successor {
    /// Its reservation.
    pub reservation_id: ReservationId,
    /// Its run.
    pub run_id: RunId,
    /// When.
    pub superseded_at: Timestamp,
}

impl Successor {
    fn of(mark: &Supersession) -> Successor {
        Successor {
            reservation_id: mark.superseded_by,
            run_id: mark.run_id.clone(),
            superseded_at: mark.superseded_at,
        }
    }
}

/// An address that the run does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The address that was asked for.
    pub address: Address,
    /// The least mode that would do: an exclusive reservation does for a shared one.
    pub mode: Mode,
}

/// Answers `request` at `now`.
///
/// `candidates` are those that could hold something of it, `lost` the run's own reservations that were superseded and
/// not released, and `since` at least all that were granted after the first of these and are not archived.
///
/// An address is held by a single active reservation of the run itself that [covers](Address::covers) it. What a run
/// holds that it descends from does not count: it stops nobody else who descends from that one.
pub fn check(
    request: &CheckRequest,
    candidates: &[Candidate],
    lost: &[Lease],
    since: &[Lease],
    now: Timestamp,
) -> Check {
    let mut check = Check::default();
    for request in request.requests() {
        if let Decision::Deny { conflicts } = decide(&request, candidates, &[], now) {
            check.conflicts.extend(conflicts);
        }
        check.notices.extend(notices(&request, candidates, now));
    }
    sort_conflicts(&mut check.conflicts);
    sort(&mut check.notices);
    for (address, mode) in request.asked() {
        check.stale.extend(lost.iter().filter_map(|lost| stale(address, lost, since)));
        if request.require && !candidates.iter().any(|own| holds(&request.run, own, address, mode, now)) {
            check.missing.push(Missing { address: address.clone(), mode });
        }
    }
    check.stale.sort_by(|one, other| (&one.address, one.token).cmp(&(&other.address, other.token)));
    check.missing.sort_by(|one, other| one.address.cmp(&other.address));
    check
}

fn holds(run: &RunId, own: &Candidate, address: &Address, mode: Mode, now: Timestamp) -> bool {
    let reservation = &own.lease.reservation;
    let suffices = match mode {
        Mode::Exclusive => reservation.mode == Mode::Exclusive,
        Mode::Shared => reservation.mode != Mode::Advisory,
        Mode::Advisory => true,
    };
    reservation.run_id == *run && suffices && own.is_active(now) && covers(&own.lease, address)
}

fn covers(lease: &Lease, address: &Address) -> bool {
    lease.reservation.addresses.iter().any(|held| held.covers(address))
}

/// What `lost` held of `address`, unless the run has reserved that since it was superseded.
fn stale(address: &Address, lost: &Lease, since: &[Lease]) -> Option<Stale> {
    let held_address = lost.reservation.addresses.iter().find(|held| address.overlaps(held))?;
    let mark = lost.supersession.content();
    let is_anew = |own: &Lease| {
        own.reservation.run_id == lost.reservation.run_id
            && own.reservation.mode != Mode::Advisory
            && mark.is_some_and(|mark| is_later(own, mark, since))
            && covers(own, address)
    };
    (!since.iter().any(is_anew)).then(|| Stale {
        address: address.clone(),
        held_address: held_address.clone(),
        reservation_id: lost.reservation.reservation_id,
        token: lost.reservation.token,
        superseded_by: mark.map(Successor::of),
    })
}

/// Whether `own` was granted after `mark` was made. Tokens tell, where that of the successor is at hand.
fn is_later(own: &Lease, mark: &Supersession, since: &[Lease]) -> bool {
    match since.iter().find(|lease| lease.reservation.reservation_id == mark.superseded_by) {
        Some(successor) => own.reservation.token > successor.reservation.token,
        None => own.reservation.created_at > mark.superseded_at,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::coordinator::Coordinator;
    use crate::engine::memory::MemoryEngine;
    use crate::engine::{Engine as _, ReleaseRequest, Reserved};

    /// A store in memory, at a clock of its own.
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

        /// Reserves for a minute.
        fn reserve(&self, id: &str, addresses: &[&str], mode: Mode) -> Lease {
            let mut request = Request::new(run(id), self::addresses(addresses), TtlSeconds::new(60).unwrap());
            request.mode = mode;
            match self.coordinator.reserve(&request).unwrap() {
                Reserved::Granted(grant) => grant.lease,
                other => panic!("{other:?}"),
            }
        }

        fn release(&self, id: &str, lease: &Lease) {
            let reservations = vec![lease.reservation.reservation_id];
            let request = ReleaseRequest { reservations, run: run(id), reason: None, force: false };
            self.coordinator.release(&request).unwrap();
        }

        fn check(&self, id: &str, exclusive: &[&str], shared: &[&str]) -> Check {
            let request = CheckRequest::new(run(id), addresses(exclusive), addresses(shared));
            self.coordinator.check(&request).unwrap()
        }

        fn missing(&self, id: &str, exclusive: &[&str], shared: &[&str]) -> Vec<String> {
            let request = CheckRequest::new(run(id), addresses(exclusive), addresses(shared));
            let check = self.coordinator.check(&CheckRequest { require: true, ..request }).unwrap();
            let is_not_held = check.verdict() == Verdict::NotHeld;
            assert_eq!(is_not_held, !check.missing.is_empty() && check.conflicts.is_empty());
            check.missing.iter().map(|missing| missing.address.to_string()).collect()
        }

        /// The tokens of what is stale for `a.py` alone.
        fn stale(&self, id: &str) -> Vec<u64> {
            self.check(id, &["a.py"], &[]).stale.iter().map(|stale| stale.token.get()).collect()
        }
    }

    fn holders(check: &Check) -> Vec<(&str, &str)> {
        let conflicts = check.conflicts.iter();
        conflicts.map(|conflict| (conflict.address.as_str(), conflict.run_id().as_str())).collect()
    }

    #[test]
    fn each_list_is_asked_about_in_its_mode() {
        let site = Site::new();
        site.reserve("alice", &["a.py::f"], Mode::Exclusive);
        site.reserve("bob", &["b.py"], Mode::Shared);
        site.reserve("carol", &["a.py", "b.py"], Mode::Advisory);
        let check = site.check("dave", &["b.py", "a.py::g"], &["a.py"]);
        assert_eq!(holders(&check), [("a.py", "alice"), ("b.py", "bob")]);
        assert_eq!(check.verdict(), Verdict::Conflict);
        let told: Vec<&str> = check.notices.iter().map(|notice| notice.address.as_str()).collect();
        assert_eq!(told, ["a.py", "a.py::g", "b.py"]);
        let check = site.check("dave", &["a.py::g"], &["b.py"]);
        assert_eq!((check.verdict(), check.notices.len()), (Verdict::Clear, 2));
        site.clock.advance_seconds(60);
        assert_eq!(site.check("dave", &["a.py", "b.py"], &[]), Check::default());
    }

    #[test]
    fn what_stands_in_both_lists_is_exclusive() {
        let request = CheckRequest::new(run("alice"), addresses(&["b", "a", "b"]), addresses(&["c", "a"]));
        assert_eq!(request.exclusive, addresses(&["a", "b"]));
        assert_eq!(request.shared, addresses(&["c"]));
        assert_eq!(request.addresses(), addresses(&["a", "b", "c"]));
    }

    #[test]
    fn neither_the_run_nor_its_ancestors_are_in_its_way() {
        let site = Site::new();
        site.reserve("alice", &["a.py"], Mode::Exclusive);
        for clear in ["alice", "alice/1"] {
            assert_eq!(site.check(clear, &["a.py"], &["b.py"]), Check::default());
        }
        site.reserve("alice/1", &["a.py"], Mode::Exclusive);
        for stopped in ["alice/2", "bob"] {
            assert_eq!(site.check(stopped, &["a.py::f"], &[]).verdict(), Verdict::Conflict);
        }
    }

    #[test]
    fn what_is_required_is_held_by_the_run_itself_in_a_mode_that_suffices() {
        let site = Site::new();
        site.reserve("alice", &["a.py", "src/"], Mode::Exclusive);
        site.reserve("alice", &["b.py"], Mode::Shared);
        site.reserve("alice", &["c.py"], Mode::Advisory);
        assert!(site.missing("alice", &["a.py::f", "src/x.py"], &["b.py", "a.py"]).is_empty());
        assert_eq!(site.missing("alice", &["b.py", "a.py", "d.py"], &["c.py"]), ["b.py", "c.py", "d.py"]);
        assert_eq!(site.missing("alice/1", &["a.py"], &[]), ["a.py"]);
        assert!(site.check("alice", &["d.py"], &[]).missing.is_empty(), "it was not asked for");
        site.clock.advance_seconds(60);
        assert_eq!(site.missing("alice", &["a.py"], &[]), ["a.py"]);
    }

    #[test]
    fn what_was_lost_is_stale_after_its_taker_has_gone() {
        let site = Site::new();
        let lost = site.reserve("alice", &["a.py::f", "b.py"], Mode::Exclusive).reservation;
        site.clock.advance_seconds(60);
        assert_eq!(site.check("alice", &["a.py"], &[]), Check::default(), "it lapsed, and nobody has it");
        let taker = site.reserve("bob", &["a.py::f.g"], Mode::Exclusive);
        let check = site.check("alice", &["a.py"], &["b.py"]);
        assert_eq!(holders(&check), [("a.py", "bob")]);
        let [stale, other] = &check.stale[..] else { panic!("{check:?}") };
        assert_eq!((stale.address.as_str(), stale.held_address.as_str()), ("a.py", "a.py::f"));
        assert_eq!((other.address.as_str(), other.token), ("b.py", lost.token));
        site.release("bob", &taker);
        let check = site.check("alice", &["a.py"], &[]);
        assert_eq!((check.conflicts.len(), check.verdict()), (0, Verdict::Conflict));
        let successor = check.stale[0].superseded_by.as_ref().unwrap();
        assert_eq!(successor.reservation_id, taker.reservation.reservation_id);
        assert_eq!(successor.run_id.as_str(), "bob");
        // It is the matter of that run, and of those addresses, alone.
        for other in ["alice/1", "bob", "carol"] {
            assert_eq!(site.check(other, &["a.py"], &[]), Check::default());
        }
        assert_eq!(site.check("alice", &["a.py::g", "c.py"], &[]), Check::default());
    }

    #[test]
    fn what_was_lost_is_stale_until_it_is_reserved_anew_or_released() {
        let site = Site::new();
        let lost = site.reserve("alice", &["a.py"], Mode::Exclusive);
        let token = lost.reservation.token.get();
        // Made before the loss, this says nothing of what has changed since.
        let early = site.reserve("alice", &["a.py"], Mode::Shared);
        site.release("alice", &early);
        site.clock.advance_seconds(60);
        let taker = site.reserve("bob", &["a.py"], Mode::Exclusive);
        site.release("bob", &taker);
        assert_eq!(site.stale("alice"), [token]);
        site.reserve("alice", &["a.py::f", "b.py"], Mode::Exclusive);
        site.reserve("alice", &["a.py"], Mode::Advisory);
        site.reserve("carol", &["a.py"], Mode::Advisory);
        assert_eq!(site.stale("alice"), [token], "none of them covers it");
        assert!(site.check("alice", &["a.py::f"], &[]).stale.is_empty());
        let anew = site.reserve("alice", &["a.py"], Mode::Exclusive);
        assert_eq!(site.stale("alice"), [] as [u64; 0]);
        site.release("alice", &anew);
        assert_eq!(site.stale("alice"), [] as [u64; 0], "it has looked since");
        site.clock.advance_seconds(60);
        site.reserve("dave", &["a.py::f"], Mode::Exclusive);
        assert_eq!(site.check("alice", &["a.py"], &[]).stale.len(), 1, "the one of `a.py::f` and `b.py` too");

        let site = Site::new();
        let lost = site.reserve("alice", &["a.py"], Mode::Exclusive);
        site.clock.advance_seconds(60);
        site.reserve("bob", &["a.py"], Mode::Exclusive);
        site.release("alice", &lost);
        assert_eq!(site.stale("alice"), [] as [u64; 0], "its run knows");
    }

    #[test]
    fn without_the_successor_times_tell_and_without_the_mark_nothing_does() {
        let site = Site::new();
        site.reserve("alice", &["a.py"], Mode::Exclusive);
        site.clock.advance_seconds(60);
        let taker = site.reserve("bob", &["a.py"], Mode::Exclusive);
        site.release("bob", &taker);
        site.clock.advance_seconds(1);
        let anew = site.reserve("alice", &["a.py"], Mode::Exclusive);
        let mut lost = site.coordinator.engine().superseded(&run("alice")).unwrap().leases;
        let request = CheckRequest::new(run("alice"), addresses(&["a.py"]), vec![]);
        let now = site.coordinator.engine().now();
        let stale = |lost: &[Lease], since: &[Lease]| check(&request, &[], lost, since, now).stale;
        assert!(stale(&lost, std::slice::from_ref(&anew)).is_empty());
        let mut early = anew.clone();
        early.reservation.created_at = taker.reservation.created_at;
        assert_eq!(stale(&lost, &[early]).len(), 1);
        lost[0].supersession = crate::lease::Mark::Present;
        assert_eq!(stale(&lost, &[anew])[0].superseded_by, None);
    }
}
