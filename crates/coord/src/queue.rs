//! The queue of those who wait: tickets, who gives way to whom, and waits that would never end. Pure: whoever
//! asks gives `now`.
//!
//! A ticket is a lease of [`LEASE_SECONDS`] on a place in the queue. It stands for the reservation that its run
//! waits for: a later request gives way to it where it would give way to that reservation. Its process renews it,
//! so that a waiter which died or is stopped soon stands in nobody's way.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::Address;
use crate::clock::Timestamp;
use crate::decide::{Candidate, Conflict, Request};
use crate::id::{ReservationId, RunId, TicketNumber};
use crate::record::{
    Extra, Mode, Operation, RecordError, Reservation, SCHEMA_VERSION, TtlSeconds, check_addresses,
    parse_fields,
};

/// For how long a ticket counts after it was last renewed. From the spec: so long a dead waiter may delay others.
pub const LEASE_SECONDS: u32 = 15;

/// A ticket that ends later than this from now was written before the clock was set back: nobody can tell whether
/// its process lives. Twice the lease, because others may have read the clock a little before its process did.
const LEASE_SECONDS_MAX: u32 = 2 * LEASE_SECONDS;

/// For how long a ticket that lapsed stays in the store, at least, so that a process which was stopped for a moment
/// finds out from it, and is not told that somebody removed it.
const KEPT_SECONDS: u32 = 60;

/// A place in the queue, and the reservation that its run waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The place: smaller numbers come first.
    pub ticket: TicketNumber,
    /// Who waits.
    pub run_id: RunId,
    /// The branch of the worktree that it waits in.
    pub branch: Option<String>,
    /// Canonical, sorted, at least one.
    pub addresses: Vec<Address>,
    /// What the reservation will keep out.
    pub mode: Mode,
    /// What the run is about to do.
    pub operation: Option<Operation>,
    /// The lifetime that the reservation will have.
    pub ttl_seconds: TtlSeconds,
    /// When it was drawn.
    pub created_at: Timestamp,
    /// When it lapses if its process does not renew it.
    pub expires_at: Timestamp,
    /// Fields that this program does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Ticket {
    /// The ticket of this number, drawn for `request` at `now`.
    pub fn new(number: TicketNumber, request: &Request, now: Timestamp) -> Ticket {
        Ticket {
            schema_version: SCHEMA_VERSION,
            ticket: number,
            run_id: request.run.clone(),
            branch: request.branch.clone(),
            addresses: request.addresses.clone(),
            mode: request.mode,
            operation: request.operation,
            ttl_seconds: request.ttl,
            created_at: now,
            expires_at: now.plus_seconds(LEASE_SECONDS),
            extra: Extra::new(),
        }
    }

    /// Reads the ticket that is stored under `number`.
    ///
    /// # Errors
    ///
    /// [`RecordError::Malformed`], [`RecordError::OtherTicket`], [`RecordError::Addresses`],
    /// [`RecordError::SchemaTooNew`].
    pub fn from_bytes(number: TicketNumber, bytes: &[u8]) -> Result<Ticket, RecordError> {
        let fields = parse_fields(bytes)?;
        let ticket: Ticket = serde_json::from_value(Value::Object(fields)).map_err(RecordError::Malformed)?;
        if ticket.ticket != number {
            return Err(RecordError::OtherTicket { found: ticket.ticket });
        }
        check_addresses(&ticket.addresses)?;
        Ok(ticket)
    }

    /// Whether others give way to it at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        counts_until(self.expires_at, now)
    }

    /// Whether its process has lost the place at `now`, because it did not renew it in time.
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// Whether it lapsed so long ago that it may be taken out of the store.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.expires_at.plus_seconds(KEPT_SECONDS) <= now
    }

    /// The same place, renewed at `now`.
    #[must_use = "a ticket is not renewed in place"]
    pub fn renewed(self, now: Timestamp) -> Ticket {
        Ticket { expires_at: now.plus_seconds(LEASE_SECONDS), ..self }
    }
}

/// Whether a lease of [`LEASE_SECONDS`] that ends at `expires_at` counts at `now`.
pub(crate) fn counts_until(expires_at: Timestamp, now: Timestamp) -> bool {
    now < expires_at && expires_at <= now.plus_seconds(LEASE_SECONDS_MAX)
}

/// The tickets of those who wait, and what of them could not be read.
#[derive(Debug, Default)]
pub struct Queue {
    /// Those that count, in their order.
    pub tickets: Vec<Ticket>,
    /// One error for each that could not be read, sorted by what it says.
    pub damaged: Vec<crate::engine::EngineError>,
}

/// What a run holds, waits for or asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    run: &'a RunId,
    mode: Mode,
    addresses: &'a [Address],
}

impl<'a> Claim<'a> {
    pub(crate) fn of_request(request: &'a Request) -> Claim<'a> {
        Claim { run: &request.run, mode: request.mode, addresses: &request.addresses }
    }

    pub(crate) fn of_ticket(ticket: &'a Ticket) -> Claim<'a> {
        Claim { run: &ticket.run_id, mode: ticket.mode, addresses: &ticket.addresses }
    }

    fn of_reservation(reservation: &'a Reservation) -> Claim<'a> {
        Claim { run: &reservation.run_id, mode: reservation.mode, addresses: &reservation.addresses }
    }

    /// Whether this cannot stand beside `other` where they overlap, and is the one that gives way: neither its own
    /// run nor one that it descends from stops a run.
    pub(crate) fn gives_way_to(self, other: Claim<'_>) -> bool {
        !self.run.descends_from(other.run) && self.mode.conflicts_with(other.mode)
    }

    /// The first of these addresses that overlaps one of the other's.
    fn meets(self, other: Claim<'_>) -> Option<&'a Address> {
        self.addresses.iter().find(|address| other.addresses.iter().any(|held| address.overlaps(held)))
    }
}

/// The place of a request in the queue, from 1: behind the waiters that are in its way.
pub fn position(conflicts: &[Conflict]) -> usize {
    let ahead: HashSet<TicketNumber> =
        conflicts.iter().filter_map(|conflict| conflict.waiter().map(|waiter| waiter.ticket)).collect();
    ahead.len() + 1
}

/// One step of a wait that would never end: a run, and the run that it waits for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wait {
    /// Who waits.
    pub run_id: RunId,
    /// For whom.
    pub waits_for: RunId,
    /// What it asked for: the first address in order that the other has or waits for.
    pub address: Address,
    /// What of the other it waits for.
    #[serde(flatten)]
    pub cause: Cause,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The end of this reservation.
    ReservationId(ReservationId),
    /// Somebody's turn who asked earlier.
    Ticket(TicketNumber),
}

/// The circle of waits that `request` would close, beginning with its own run; `None` if it closes none.
///
/// `candidates` are at least those reservations that overlap the request or one of `ahead`: the tickets before it
/// in the queue, in their order. Each run waits for the runs of those active reservations and earlier live tickets
/// that its own tickets give way to. Of the shortest circles it is the one whose steps were there first.
///
/// Asked with the tickets before its own alone, a circle that closes later (by a take-over, by a heartbeat that
/// revives) is found by the latest ticket in it and by no other, so that one waiter gives up and not all of them.
pub fn deadlock(
    request: &Request,
    candidates: &[Candidate],
    ahead: &[Ticket],
    now: Timestamp,
) -> Option<Vec<Wait>> {
    let mut held: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.is_active(now)).collect();
    held.sort_by_key(|candidate| candidate.lease.reservation.token);
    let mut ahead: Vec<&Ticket> = ahead.iter().filter(|ticket| ticket.is_live(now)).collect();
    ahead.sort_by_key(|ticket| ticket.ticket);
    // Nobody waits for a run that holds nothing and has no place in the queue.
    let run = &request.run;
    let is_waited_for = held.iter().any(|candidate| candidate.lease.reservation.run_id == *run)
        || ahead.iter().any(|ticket| ticket.run_id == *run);
    if !is_waited_for {
        return None;
    }

    // Breadth first over runs.
    let mut search = Search { run, held, ahead, steps: Vec::new(), reached: HashSet::new() };
    if search.closes(Claim::of_request(request), search.ahead.len(), None) {
        return Some(search.way());
    }
    let mut step = 0;
    while let Some(reached) = search.steps.get(step).map(|(wait, _)| wait.waits_for.clone()) {
        for place in 0..search.ahead.len() {
            let ticket = search.ahead[place];
            if ticket.run_id == reached && search.closes(Claim::of_ticket(ticket), place, Some(step)) {
                return Some(search.way());
            }
        }
        step += 1;
    }
    None
}

/// A search for a way back to the run that began it.
struct Search<'a> {
    run: &'a RunId,
    held: Vec<&'a Candidate>,
    ahead: Vec<&'a Ticket>,
    /// One for each run that was reached, with the position of the step that led to its waiting run.
    steps: Vec<(Wait, Option<usize>)>,
    reached: HashSet<&'a RunId>,
}

impl<'a> Search<'a> {
    /// Takes the steps from `claim`, which stands behind the first `earlier` tickets and was reached by the step
    /// `before`, to the runs that it waits for. Whether the last one leads back to the beginning.
    fn closes(&mut self, claim: Claim<'_>, earlier: usize, before: Option<usize>) -> bool {
        let held: Vec<(Claim<'a>, Cause)> = self
            .held
            .iter()
            .map(|candidate| {
                let reservation = &candidate.lease.reservation;
                (Claim::of_reservation(reservation), Cause::ReservationId(reservation.reservation_id))
            })
            .chain(
                self.ahead[..earlier]
                    .iter()
                    .map(|ticket| (Claim::of_ticket(ticket), Cause::Ticket(ticket.ticket))),
            )
            .collect();
        for (other, cause) in held {
            if self.reached.contains(other.run) || !claim.gives_way_to(other) {
                continue;
            }
            let Some(address) = claim.meets(other) else { continue };
            let wait = Wait {
                run_id: claim.run.clone(),
                waits_for: other.run.clone(),
                address: address.clone(),
                cause,
            };
            self.steps.push((wait, before));
            if other.run == self.run {
                return true;
            }
            self.reached.insert(other.run);
        }
        false
    }

    /// The steps that lead to the last one, in order.
    fn way(&self) -> Vec<Wait> {
        let mut way = Vec::new();
        let mut at = self.steps.len().checked_sub(1);
        while let Some((wait, before)) = at.and_then(|at| self.steps.get(at)) {
            way.push(wait.clone());
            at = *before;
        }
        way.reverse();
        way
    }
}
