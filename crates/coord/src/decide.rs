//! Whether a request is granted: pure, so that every engine decides alike.
//!
//! An engine brings the request, every reservation that could still hold something (not released, not
//! superseded) and `now`, all read while nothing else can be granted, and carries the [`Decision`] out.

use serde::{Serialize, Serializer};

use crate::address::Address;
use crate::clock::Timestamp;
use crate::id::{ReservationId, RunId, TicketNumber, Token};
use crate::lease::{Lease, State};
use crate::queue::{Claim, Ticket};
use crate::record::{Draft, Mode, Operation, RecordError, Reservation, TtlSeconds};

/// What a run asks to hold.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub run: RunId,
    /// What it is about to change; sorted, each once, at least one. [`Request::new`] sees to it.
    pub addresses: Vec<Address>,
    /// For how long, unless heartbeats extend it.
    pub ttl: TtlSeconds,
    /// What it keeps out.
    pub mode: Mode,
    /// What the run is about to do.
    pub operation: Option<Operation>,
    /// The branch of the worktree that it works in.
    pub branch: Option<String>,
    /// The reservation to take away from its holder in the same step.
    pub take_over: Option<TakeOver>,
}

impl Request {
    /// The most addresses of one request, so that a single call cannot keep the store busy for long.
    pub const ADDRESSES_MAX: usize = 1000;

    /// The reservation that grants this request now.
    ///
    /// # Errors
    ///
    /// See [`Draft::into_reservation`].
    pub fn reservation(&self, token: Token, now: Timestamp) -> Result<Reservation, RecordError> {
        self.reservation_for(None, token, now)
    }

    /// As [`Request::reservation`], for a request that waited with `ticket`, if it did.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn reservation_for(
        &self,
        ticket: Option<TicketNumber>,
        token: Token,
        now: Timestamp,
    ) -> Result<Reservation, RecordError> {
        let draft = Draft {
            run_id: self.run.clone(),
            branch: self.branch.clone(),
            addresses: self.addresses.clone(),
            mode: self.mode,
            operation: self.operation,
            token,
            ttl_seconds: self.ttl,
            created_at: now,
        };
        draft.into_reservation_for(ticket)
    }

    /// Whether any address of the request overlaps any address of `reservation`.
    pub fn overlaps(&self, reservation: &Reservation) -> bool {
        reservation.addresses.iter().any(|held| self.addresses.iter().any(|address| address.overlaps(held)))
    }

    /// An exclusive request without operation, branch or take-over.
    pub fn new(run: RunId, mut addresses: Vec<Address>, ttl: TtlSeconds) -> Request {
        addresses.sort();
        addresses.dedup();
        Request { run, addresses, ttl, mode: Mode::default(), operation: None, branch: None, take_over: None }
    }
}

/// A coordinator's steal: this reservation is released in the step that grants the new one.
#[derive(Clone, Debug)]
pub struct TakeOver {
    /// What is taken away.
    pub reservation: ReservationId,
    /// Why, for the holder and for the audit trail.
    pub reason: String,
}

/// Who holds something, told to whoever is denied or noticed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Holder {
    /// Its reservation.
    pub reservation_id: ReservationId,
    /// Its run.
    pub run_id: RunId,
    /// The branch it works on.
    pub branch: Option<String>,
    /// What the reservation keeps out.
    pub mode: Mode,
    /// What the holder is doing.
    pub operation: Option<Operation>,
    /// Its fencing token.
    pub token: Token,
    /// Its effective expiry.
    pub expires_at: Timestamp,
    /// Seconds until then, rounded up; 0 for a reservation that is being extended right now.
    pub expires_in_seconds: u64,
}

impl Holder {
    /// What `lease` says of its holder at `now`.
    pub fn of(lease: &Lease, now: Timestamp) -> Holder {
        let reservation = &lease.reservation;
        Holder {
            reservation_id: reservation.reservation_id,
            run_id: reservation.run_id.clone(),
            branch: reservation.branch.clone(),
            mode: reservation.mode,
            operation: reservation.operation,
            token: reservation.token,
            expires_at: lease.effective_expiry(),
            expires_in_seconds: lease.effective_expiry().seconds_left(now),
        }
    }
}

/// An address of a request and a reservation that stands beside or against it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overlap {
    /// The address that was asked for.
    pub address: Address,
    /// The address that is held: the first in order that overlaps it.
    pub held_address: Address,
    /// Who holds it.
    pub holder: Holder,
}

/// An [`Overlap`] that the run is told of and that denies nothing.
pub type Notice = Overlap;

/// Who waits for something, told to whoever comes after.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waiter {
    /// Its place in the queue.
    pub ticket: TicketNumber,
    /// Its run.
    pub run_id: RunId,
    /// The branch it works on.
    pub branch: Option<String>,
    /// What the reservation that it waits for will keep out.
    pub mode: Mode,
    /// What it is about to do.
    pub operation: Option<Operation>,
    /// When it began to wait.
    pub since: Timestamp,
    /// When its ticket lapses unless its process renews it.
    pub expires_at: Timestamp,
}

impl Waiter {
    fn of(ticket: &Ticket) -> Waiter {
        Waiter {
            ticket: ticket.ticket,
            run_id: ticket.run_id.clone(),
            branch: ticket.branch.clone(),
            mode: ticket.mode,
            operation: ticket.operation,
            since: ticket.created_at,
            expires_at: ticket.expires_at,
        }
    }
}

/// Who is in the way of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Blocker {
    /// Somebody who holds it.
    Holder(Holder),
    /// Somebody who asked for it earlier and waits.
    Waiter(Waiter),
}

/// An address of a request and who denies it.
///
/// As JSON: `address`, `held_address`, `holder`, which is null for a waiter, and `waiter`, where it is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The address that was asked for.
    pub address: Address,
    /// The address that is held or waited for: the first in order that overlaps it.
    pub held_address: Address,
    /// Who is in the way.
    pub blocker: Blocker,
}

impl Conflict {
    /// Who holds it; `None` where somebody waits for it.
    pub const fn holder(&self) -> Option<&Holder> {
        match &self.blocker {
            Blocker::Holder(holder) => Some(holder),
            Blocker::Waiter(_) => None,
        }
    }

    /// Who waits for it; `None` where somebody holds it.
    pub const fn waiter(&self) -> Option<&Waiter> {
        match &self.blocker {
            Blocker::Holder(_) => None,
            Blocker::Waiter(waiter) => Some(waiter),
        }
    }

    /// The run that is in the way.
    pub const fn run_id(&self) -> &RunId {
        match &self.blocker {
            Blocker::Holder(holder) => &holder.run_id,
            Blocker::Waiter(waiter) => &waiter.run_id,
        }
    }

    /// Holders stand before waiters, each in their order.
    const fn rank(&self) -> (bool, u64) {
        match &self.blocker {
            Blocker::Holder(holder) => (false, holder.token.get()),
            Blocker::Waiter(waiter) => (true, waiter.ticket.get()),
        }
    }
}

impl From<Overlap> for Conflict {
    fn from(overlap: Overlap) -> Conflict {
        let Overlap { address, held_address, holder } = overlap;
        Conflict { address, held_address, blocker: Blocker::Holder(holder) }
    }
}

impl Serialize for Conflict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            address: &'a Address,
            held_address: &'a Address,
            holder: Option<&'a Holder>,
            #[serde(skip_serializing_if = "Option::is_none")]
            waiter: Option<&'a Waiter>,
        }
        let (holder, waiter) = (self.holder(), self.waiter());
        Fields { address: &self.address, held_address: &self.held_address, holder, waiter }
            .serialize(serializer)
    }
}

/// A reservation that could still hold something.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Neither released nor superseded.
    pub lease: Lease,
    /// Its holder is in the middle of a heartbeat: it counts as active whatever its expiry says.
    pub being_extended: bool,
}

impl Candidate {
    /// Whether it holds what it was granted at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.being_extended || self.lease.state(now) == State::Active
    }
}

/// What becomes of a request. Numbers are positions among the candidates.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The run has just this reservation already: it is to be extended.
    Renew {
        /// The reservation.
        candidate: usize,
        /// What the run is told of.
        notices: Vec<Notice>,
    },
    /// A new reservation is to be granted.
    Grant {
        /// Lapsed reservations in the way, to be marked as superseded first.
        supersede: Vec<usize>,
        /// What the run is told of.
        notices: Vec<Notice>,
    },
    /// Somebody is in the way. Nothing is to be written.
    Deny {
        /// At least one; sorted by address, then holders by token, then waiters by ticket.
        conflicts: Vec<Conflict>,
    },
}

/// Decides `request` against `candidates` and against the tickets that stand before it in the queue, at `now`.
///
/// A ticket counts as the reservation that it waits for would. A renewal does not look at tickets: it takes
/// nothing that the run does not have. Neither does a take-over: it is a coordinator's order.
///
/// The reservation that the request takes over counts as gone, and such a request is never a renewal: its
/// grant has to carry a token above that of the reservation it replaces.
pub fn decide(
    request: &Request,
    candidates: &[Candidate],
    tickets_ahead: &[Ticket],
    now: Timestamp,
) -> Decision {
    // A renewal needs no look at conflicts: whoever was granted one since has superseded it.
    if request.take_over.is_none()
        && let Some(candidate) = renewable(request, candidates)
    {
        return Decision::Renew { candidate, notices: notices(request, candidates, now) };
    }

    let mut conflicts: Vec<Conflict> = Vec::new();
    let mut supersede = Vec::new();
    for (position, candidate) in others(request, candidates) {
        let reservation = &candidate.lease.reservation;
        if request.run.descends_from(&reservation.run_id) || !request.mode.conflicts_with(reservation.mode) {
            continue;
        }
        if candidate.is_active(now) {
            conflicts.extend(overlaps(request, candidate, now).map(Conflict::from));
        } else if overlaps(request, candidate, now).next().is_some() {
            supersede.push(position);
        }
    }
    if request.take_over.is_none() {
        let ahead = tickets_ahead.iter().filter(|ticket| ticket.is_live(now));
        conflicts.extend(ahead.flat_map(|ticket| waited_for(request, ticket)));
    }
    if conflicts.is_empty() {
        Decision::Grant { supersede, notices: notices(request, candidates, now) }
    } else {
        sort_conflicts(&mut conflicts);
        Decision::Deny { conflicts }
    }
}

/// The reservation that the request repeats; the latest, if there are several.
fn renewable(request: &Request, candidates: &[Candidate]) -> Option<usize> {
    let repeats = |candidate: &Candidate| {
        let reservation = &candidate.lease.reservation;
        reservation.run_id == request.run
            && reservation.mode == request.mode
            && reservation.addresses == request.addresses
    };
    (0..candidates.len())
        .filter(|&position| repeats(&candidates[position]))
        .max_by_key(|&position| candidates[position].lease.reservation.token)
}

/// The candidates of other runs, without the one that the request takes over, and their positions.
fn others<'a>(
    request: &Request,
    candidates: &'a [Candidate],
) -> impl Iterator<Item = (usize, &'a Candidate)> {
    let taken_over = request.take_over.as_ref().map(|take_over| take_over.reservation);
    candidates.iter().enumerate().filter(move |(_, candidate)| {
        let reservation = &candidate.lease.reservation;
        reservation.run_id != request.run && Some(reservation.reservation_id) != taken_over
    })
}

/// What overlaps the request and does not stop it; sorted.
pub(crate) fn notices(request: &Request, candidates: &[Candidate], now: Timestamp) -> Vec<Notice> {
    let is_told = |mode: Mode| request.mode == Mode::Advisory || (mode == Mode::Advisory);
    let mut notices: Vec<Notice> = others(request, candidates)
        .map(|(_, candidate)| candidate)
        .filter(|candidate| is_told(candidate.lease.reservation.mode) && candidate.is_active(now))
        .flat_map(|candidate| overlaps(request, candidate, now))
        .collect();
    sort(&mut notices);
    notices
}

/// One overlap for each address of the request that the candidate holds something of.
fn overlaps<'a>(
    request: &'a Request,
    candidate: &'a Candidate,
    now: Timestamp,
) -> impl Iterator<Item = Overlap> + 'a {
    overlaps_with(&request.addresses, &candidate.lease, now)
}

/// One overlap for each of `addresses` that `lease` holds something of.
pub(crate) fn overlaps_with<'a>(
    addresses: &'a [Address],
    lease: &'a Lease,
    now: Timestamp,
) -> impl Iterator<Item = Overlap> + 'a {
    addresses.iter().filter_map(move |address| {
        let held = lease.reservation.addresses.iter().find(|held| address.overlaps(held))?;
        Some(Overlap { address: address.clone(), held_address: held.clone(), holder: Holder::of(lease, now) })
    })
}

/// One conflict for each address of the request that an earlier ticket stands for, if it is in the way.
fn waited_for<'a>(request: &'a Request, ticket: &'a Ticket) -> impl Iterator<Item = Conflict> + 'a {
    let is_in_the_way = Claim::of_request(request).gives_way_to(Claim::of_ticket(ticket));
    request.addresses.iter().filter(move |_| is_in_the_way).filter_map(|address| {
        let wanted = ticket.addresses.iter().find(|wanted| address.overlaps(wanted))?;
        Some(Conflict {
            address: address.clone(),
            held_address: wanted.clone(),
            blocker: Blocker::Waiter(Waiter::of(ticket)),
        })
    })
}

pub(crate) fn sort_conflicts(conflicts: &mut [Conflict]) {
    conflicts.sort_by(|one, other| (&one.address, one.rank()).cmp(&(&other.address, other.rank())));
}

pub(crate) fn sort(overlaps: &mut [Overlap]) {
    overlaps
        .sort_by(|one, other| (&one.address, one.holder.token).cmp(&(&other.address, other.holder.token)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_microseconds(seconds * 1_000_000)
    }

    fn held(run: &str, address: &str, mode: Mode, token: u64) -> Candidate {
        let draft = Draft {
            run_id: RunId::new(run).unwrap(),
            branch: None,
            addresses: vec![address.parse().unwrap()],
            mode,
            operation: None,
            token: Token::new(token).unwrap(),
            ttl_seconds: TtlSeconds::new(60).unwrap(),
            created_at: at(1000),
        };
        Candidate { lease: Lease::fresh(draft.into_reservation().unwrap()), being_extended: false }
    }

    fn request(run: &str, addresses: &[&str], mode: Mode) -> Request {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let mut request = Request::new(RunId::new(run).unwrap(), addresses, TtlSeconds::new(60).unwrap());
        request.mode = mode;
        request
    }

    fn denied_by(decision: &Decision) -> Vec<&str> {
        match decision {
            Decision::Deny { conflicts } => {
                conflicts.iter().map(|conflict| conflict.run_id().as_str()).collect()
            }
            other => panic!("granted: {other:?}"),
        }
    }

    fn granted(decision: Decision) -> (Vec<usize>, Vec<Notice>) {
        match decision {
            Decision::Grant { supersede, notices } => (supersede, notices),
            other => panic!("not granted: {other:?}"),
        }
    }

    #[test]
    fn an_active_holder_denies_and_a_lapsed_one_is_superseded() {
        let candidates = [held("alice", "a.py", Mode::Exclusive, 1)];
        let wanted = request("bob", &["a.py::f"], Mode::Exclusive);
        assert_eq!(denied_by(&decide(&wanted, &candidates, &[], at(1059))), ["alice"]);
        assert_eq!(granted(decide(&wanted, &candidates, &[], at(1060))).0, [0]);
    }

    #[test]
    fn one_that_is_being_extended_denies_after_its_expiry() {
        let mut candidate = held("alice", "a.py", Mode::Exclusive, 1);
        candidate.being_extended = true;
        let decision = decide(&request("bob", &["a.py"], Mode::Shared), &[candidate], &[], at(5000));
        assert_eq!(denied_by(&decision), ["alice"]);
    }

    #[test]
    fn a_denial_lists_each_holder_once_for_each_address_in_order() {
        let candidates = [
            held("carol", "a.py", Mode::Shared, 3),
            held("bob", "a.py", Mode::Shared, 2),
            held("dave", "b.py", Mode::Exclusive, 1),
        ];
        let decision =
            decide(&request("eve", &["b.py", "a.py"], Mode::Exclusive), &candidates, &[], at(1000));
        assert_eq!(denied_by(&decision), ["bob", "carol", "dave"]);
    }

    #[test]
    fn a_run_is_stopped_neither_by_itself_nor_by_its_ancestors() {
        let candidates =
            [held("alice", "a.py", Mode::Exclusive, 1), held("alice/2", "b.py", Mode::Exclusive, 2)];
        granted(decide(&request("alice", &["a.py", "c.py"], Mode::Exclusive), &candidates, &[], at(1000)));
        granted(decide(&request("alice/1", &["a.py"], Mode::Exclusive), &candidates, &[], at(1000)));
        assert_eq!(
            denied_by(&decide(&request("alice/1", &["b.py"], Mode::Exclusive), &candidates, &[], at(1000))),
            ["alice/2"]
        );
        assert_eq!(
            denied_by(&decide(&request("alice", &["b.py"], Mode::Exclusive), &candidates, &[], at(1000))),
            ["alice/2"]
        );
    }

    #[test]
    fn a_repeat_is_a_renewal_until_it_is_superseded() {
        let candidates =
            [held("alice", "a.py", Mode::Exclusive, 1), held("alice", "a.py", Mode::Exclusive, 2)];
        for now in [1000, 9000] {
            let decision = decide(&request("alice", &["a.py"], Mode::Exclusive), &candidates, &[], at(now));
            assert_eq!(decision, Decision::Renew { candidate: 1, notices: vec![] });
        }
        granted(decide(&request("alice", &["a.py"], Mode::Shared), &candidates, &[], at(1000)));
        granted(decide(&request("alice", &["a.py", "b.py"], Mode::Exclusive), &candidates, &[], at(1000)));
    }

    #[test]
    fn advisory_tells_and_is_told() {
        let candidates = [
            held("alice", "a.py", Mode::Exclusive, 1),
            held("bob", "a.py", Mode::Advisory, 2),
            held("carol", "z.py", Mode::Advisory, 3),
        ];
        let (supersede, notices) =
            granted(decide(&request("dave", &["a.py"], Mode::Advisory), &candidates, &[], at(1000)));
        assert_eq!(notices.iter().map(|notice| notice.holder.token.get()).collect::<Vec<_>>(), [1, 2]);
        assert!(supersede.is_empty());
        let (_, notices) =
            granted(decide(&request("dave", &["z.py"], Mode::Exclusive), &candidates, &[], at(1000)));
        assert_eq!(notices[0].holder.run_id.as_str(), "carol");
        // A lapsed one tells nothing any more, and nobody supersedes it.
        let (supersede, notices) =
            granted(decide(&request("dave", &["z.py"], Mode::Exclusive), &candidates, &[], at(2000)));
        assert!(notices.is_empty() && supersede.is_empty());
    }

    #[test]
    fn what_is_taken_over_counts_as_gone_and_the_grant_is_new() {
        let candidates = [held("alice", "a.py", Mode::Exclusive, 1), held("bob", "a.py", Mode::Exclusive, 2)];
        let mut wanted = request("bob", &["a.py"], Mode::Exclusive);
        wanted.take_over = Some(TakeOver {
            reservation: candidates[0].lease.reservation.reservation_id,
            reason: "stuck".into(),
        });
        assert!(granted(decide(&wanted, &candidates, &[], at(1000))).0.is_empty());
        wanted.run = RunId::new("carol").unwrap();
        assert_eq!(denied_by(&decide(&wanted, &candidates, &[], at(1000))), ["bob"]);
    }
}
