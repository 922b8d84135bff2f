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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::decide::{Blocker, Decision, decide};
    use crate::id::Token;
    use crate::lease::Lease;
    use crate::record::{Draft, to_file_bytes};

    use Mode::{Advisory, Exclusive, Shared};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_microseconds(seconds * 1_000_000)
    }

    fn run(text: &str) -> RunId {
        RunId::new(text).unwrap()
    }

    fn request(run_id: &str, addresses: &[&str], mode: Mode) -> Request {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let mut request = Request::new(run(run_id), addresses, TtlSeconds::new(60).unwrap());
        request.mode = mode;
        request
    }

    /// A ticket that was drawn or renewed at second 1000.
    fn ticket(number: u64, run_id: &str, addresses: &[&str], mode: Mode) -> Ticket {
        Ticket::new(TicketNumber::new(number).unwrap(), &request(run_id, addresses, mode), at(1000))
    }

    /// A reservation that lapses at second 1060.
    fn held(token: u64, run_id: &str, address: &str, mode: Mode) -> Candidate {
        let draft = Draft {
            run_id: run(run_id),
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

    fn waits(cycle: Option<Vec<Wait>>) -> Vec<String> {
        let told = |wait: &Wait| format!("{} {} {}", wait.run_id, wait.address, wait.waits_for);
        cycle.unwrap_or_default().iter().map(told).collect()
    }

    #[test]
    fn a_ticket_counts_for_fifteen_seconds_and_not_longer() {
        let drawn = ticket(1, "alice", &["a.py"], Exclusive);
        assert!(drawn.is_live(at(1000)) && drawn.is_live(Timestamp::from_microseconds(1_014_999_999)));
        assert!(!drawn.is_live(at(1015)) && drawn.has_lapsed(at(1015)));
        let renewed = drawn.clone().renewed(at(1010));
        assert!(renewed.is_live(at(1024)) && !renewed.is_live(at(1025)));
        assert_eq!(renewed.created_at, drawn.created_at);
        assert!(!drawn.is_forgotten(at(1074)) && drawn.is_forgotten(at(1075)));
        // The clock was set back: its process may be dead for all that anybody can tell. A little is no matter.
        assert!(drawn.is_live(at(990)) && !drawn.is_live(at(984)) && !drawn.has_lapsed(at(984)));
    }

    #[test]
    fn a_ticket_is_read_back_and_every_other_is_refused() {
        let drawn = ticket(42, "alice", &["a.py", "b.py"], Shared);
        let bytes = to_file_bytes(&drawn).unwrap();
        assert_eq!(Ticket::from_bytes(drawn.ticket, &bytes).unwrap(), drawn);
        let other = TicketNumber::new(43).unwrap();
        assert!(matches!(Ticket::from_bytes(other, &bytes), Err(RecordError::OtherTicket { .. })));
        for length in 0..bytes.len() - 2 {
            assert!(Ticket::from_bytes(drawn.ticket, &bytes[..length]).unwrap_err().is_truncation());
        }
        let text = String::from_utf8(bytes).unwrap();
        let newer = text.replace("\"schema_version\": 1", "\"schema_version\": 2");
        let read = Ticket::from_bytes(drawn.ticket, newer.as_bytes());
        assert!(matches!(read, Err(RecordError::SchemaTooNew { found: 2 })));
        let unsorted = text.replace("a.py", "z.py");
        assert!(matches!(Ticket::from_bytes(drawn.ticket, unsorted.as_bytes()), Err(RecordError::Addresses)));
        let more = text.replace("\"ticket\"", "\"note\": 7, \"ticket\"");
        let read = Ticket::from_bytes(drawn.ticket, more.as_bytes()).unwrap().renewed(at(2000));
        assert!(String::from_utf8(to_file_bytes(&read).unwrap()).unwrap().contains("\"note\": 7"));
    }

    fn denied_by(wanted: &Request, ahead: &[Ticket], now: Timestamp) -> Vec<u64> {
        match decide(wanted, &[], ahead, now) {
            Decision::Deny { conflicts } => {
                conflicts.iter().map(|conflict| conflict.waiter().unwrap().ticket.get()).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_ticket_counts_as_the_reservation_that_it_waits_for_would() {
        let ahead = [
            ticket(1, "alice", &["a.py"], Exclusive),
            ticket(2, "bob", &["b.py"], Shared),
            ticket(3, "carol", &["c.py"], Advisory),
        ];
        let now = at(1001);
        assert_eq!(denied_by(&request("eve", &["a.py::f", "b.py", "c.py"], Exclusive), &ahead, now), [1, 2]);
        assert_eq!(denied_by(&request("eve", &["a.py", "b.py"], Shared), &ahead, now), [1]);
        for free in [
            request("eve", &["a.py", "b.py"], Advisory),
            request("eve", &["d.py"], Exclusive),
            request("alice", &["a.py"], Exclusive),
            request("alice/1", &["a.py"], Exclusive),
            request("bob", &["b.py"], Exclusive),
        ] {
            assert_eq!(denied_by(&free, &ahead, now), [] as [u64; 0], "{free:?}");
        }
        assert_eq!(denied_by(&request("eve", &["a.py"], Exclusive), &ahead, at(1015)), [] as [u64; 0]);
    }

    #[test]
    fn a_renewal_and_a_take_over_skip_the_queue() {
        let mine = held(1, "alice", "a.py", Exclusive);
        let ahead = [ticket(2, "bob", &["a.py"], Exclusive)];
        let repeat = request("alice", &["a.py"], Exclusive);
        let candidates = [mine.clone()];
        assert!(matches!(decide(&repeat, &candidates, &ahead, at(1001)), Decision::Renew { .. }));
        let mut order = request("boss", &["a.py"], Exclusive);
        assert!(matches!(decide(&order, &candidates, &ahead, at(1001)), Decision::Deny { .. }));
        order.take_over = Some(crate::decide::TakeOver {
            reservation: mine.lease.reservation.reservation_id,
            reason: "stuck".into(),
        });
        assert!(matches!(decide(&order, &candidates, &ahead, at(1001)), Decision::Grant { .. }));
    }

    #[test]
    fn holders_are_named_before_waiters_and_the_position_counts_waiters_once() {
        let candidates = [held(7, "holder", "a.py", Shared), held(8, "holder", "b.py", Shared)];
        let ahead = [
            ticket(1, "alice", &["a.py", "b.py"], Exclusive),
            ticket(2, "bob", &["b.py"], Exclusive),
            ticket(3, "carol", &["z.py"], Exclusive),
        ];
        let wanted = request("eve", &["b.py", "a.py"], Exclusive);
        let Decision::Deny { conflicts } = decide(&wanted, &candidates, &ahead, at(1001)) else {
            panic!("granted")
        };
        let told: Vec<(&str, &str)> =
            conflicts.iter().map(|it| (it.address.as_str(), it.run_id().as_str())).collect();
        let expected =
            [("a.py", "holder"), ("a.py", "alice"), ("b.py", "holder"), ("b.py", "alice"), ("b.py", "bob")];
        assert_eq!(told, expected);
        assert_eq!(position(&conflicts), 3);
        let json = serde_json::to_value(&conflicts[1]).unwrap();
        assert_eq!(json["holder"], Value::Null);
        assert_eq!((&json["waiter"]["ticket"], &json["waiter"]["run_id"]), (&1.into(), &"alice".into()));
        let json = serde_json::to_value(&conflicts[0]).unwrap();
        assert!(json["holder"]["token"] == 7 && json.get("waiter").is_none());
        assert!(matches!(conflicts[1].blocker, Blocker::Waiter(_)));
    }

    #[test]
    fn a_crossed_wait_is_told_step_by_step() {
        let candidates = [held(1, "alice", "a.py", Exclusive), held(2, "bob", "b.py", Exclusive)];
        let ahead = [ticket(3, "alice", &["b.py::f"], Exclusive)];
        let cycle =
            deadlock(&request("bob", &["a.py::g"], Exclusive), &candidates, &ahead, at(1001)).unwrap();
        let steps = serde_json::to_value(&cycle).unwrap();
        assert_eq!(
            steps,
            serde_json::json!([
                {"run_id": "bob", "waits_for": "alice", "address": "a.py::g",
                 "reservation_id": candidates[0].lease.reservation.reservation_id},
                {"run_id": "alice", "waits_for": "bob", "address": "b.py::f",
                 "reservation_id": candidates[1].lease.reservation.reservation_id},
            ])
        );
    }

    #[test]
    fn a_circle_may_go_through_places_in_the_queue() {
        // alice holds a and waits for b, which carol holds; bob waits behind alice, and alice asks for what bob
        // waits for too.
        let candidates = [held(1, "alice", "a.py", Exclusive), held(2, "carol", "b.py", Exclusive)];
        let ahead =
            [ticket(3, "alice", &["b.py"], Exclusive), ticket(4, "bob", &["b.py", "c.py"], Exclusive)];
        let again = request("alice", &["c.py"], Exclusive);
        assert_eq!(
            waits(deadlock(&again, &candidates, &ahead, at(1001))),
            ["alice c.py bob", "bob b.py alice"]
        );
        // Not once the ticket in between has lapsed.
        assert_eq!(deadlock(&again, &candidates, &[ahead[1].clone()], at(1001)), None);
    }

    #[test]
    fn what_holds_together_or_has_lapsed_or_is_kin_closes_no_circle() {
        let bob_wants = request("bob", &["a.py"], Exclusive);
        let ahead = [ticket(3, "alice", &["b.py"], Shared)];
        for (mode, its, closes) in
            [(Exclusive, "bob", true), (Shared, "bob", false), (Exclusive, "al", false)]
        {
            let candidates = [held(1, "alice", "a.py", Exclusive), held(2, its, "b.py", mode)];
            assert_eq!(
                deadlock(&bob_wants, &candidates, &ahead, at(1001)).is_some(),
                closes,
                "{its} {mode:?}"
            );
            assert_eq!(deadlock(&bob_wants, &candidates, &ahead, at(1015)), None, "the ticket has lapsed");
        }
        let lapsed = [held(1, "alice", "a.py", Exclusive), held(2, "bob", "b.py", Exclusive)];
        let late = [ahead[0].clone().renewed(at(1060))];
        assert_eq!(deadlock(&bob_wants, &lapsed, &late, at(1060)), None, "the reservations have lapsed");
        // What its parent holds does not stop a run.
        let candidates = [held(1, "alice", "a.py", Exclusive), held(2, "bob", "b.py", Exclusive)];
        let child = request("alice/1", &["a.py"], Exclusive);
        assert_eq!(deadlock(&child, &candidates, &[ticket(3, "bob", &["a.py"], Exclusive)], at(1001)), None);
    }

    const RUNS: [&str; 6] = ["a", "b", "c", "d", "a/1", "a/2"];
    const PLACES: [&str; 5] = ["w.py", "x.py", "x.py::f", "y.py", "*.py"];

    fn claim() -> impl Strategy<Value = (&'static str, &'static str, Mode)> {
        let mode = prop_oneof![4 => Just(Exclusive), 2 => Just(Shared), 1 => Just(Advisory)];
        (select(&RUNS[..]), select(&PLACES[..]), mode)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a matrix of who waits for whom, closed over and over until nothing is added.
        #[test]
        fn deadlocks_are_those_of_the_graph(
            holdings in proptest::collection::vec((claim(), any::<bool>()), 0..6),
            places in proptest::collection::vec((claim(), 0..20_i64), 0..6),
            wanted in claim(),
        ) {
            let now = at(1030);
            let candidates: Vec<Candidate> = holdings
                .iter()
                .zip(1..)
                .map(|(((run_id, address, mode), is_active), token)| {
                    let mut candidate = held(token, run_id, address, *mode);
                    if !is_active {
                        candidate.lease.reservation.expires_at = now;
                    }
                    candidate
                })
                .collect();
            let ahead: Vec<Ticket> = places
                .iter()
                .zip(1..)
                .map(|((wanted, age), number)| {
                    ticket(number, wanted.0, &[wanted.1], wanted.2).renewed(at(1030 - age))
                })
                .collect();
            let asked = request(wanted.0, &[wanted.1], wanted.2);

            let stops = |one: &(&str, &str, Mode), other: &(&str, &str, Mode)| {
                let address = |text: &str| text.parse::<Address>().unwrap();
                !run(one.0).descends_from(&run(other.0))
                    && one.2.conflicts_with(other.2)
                    && address(one.1).overlaps(&address(other.1))
            };
            let direct = |one: &(&str, &str, Mode), earlier: usize| -> HashSet<&str> {
                let held = holdings.iter().filter(|(_, is_active)| *is_active).map(|(claim, _)| claim);
                let waiting = places[..earlier].iter().filter(|(_, age)| *age < 15).map(|(claim, _)| claim);
                held.chain(waiting).filter(|other| stops(one, other)).map(|other| other.0).collect()
            };
            let mut edges: HashSet<(&str, &str)> = HashSet::new();
            for (place, (claim, age)) in places.iter().enumerate() {
                if *age < 15 {
                    edges.extend(direct(claim, place).into_iter().map(|to| (claim.0, to)));
                }
            }
            let mut reached = direct(&wanted, places.len());
            let blockers = reached.clone();
            let mut rounds = 1;
            while !reached.contains(wanted.0) {
                let before = reached.len();
                let more: Vec<&str> =
                    edges.iter().filter(|(from, _)| reached.contains(from)).map(|(_, to)| *to).collect();
                reached.extend(more);
                rounds += 1;
                if reached.len() == before {
                    break;
                }
            }

            let cycle = deadlock(&asked, &candidates, &ahead, now);
            prop_assert_eq!(cycle.is_some(), reached.contains(wanted.0));
            if let Some(cycle) = cycle {
                prop_assert_eq!(cycle.len(), rounds, "it is not the shortest: {:?}", cycle);
                prop_assert_eq!(cycle[0].run_id.as_str(), wanted.0);
                prop_assert!(blockers.contains(cycle[0].waits_for.as_str()));
                prop_assert_eq!(cycle[cycle.len() - 1].waits_for.as_str(), wanted.0);
                for pair in cycle.windows(2) {
                    prop_assert_eq!(&pair[0].waits_for, &pair[1].run_id);
                    prop_assert!(edges.contains(&(pair[1].run_id.as_str(), pair[1].waits_for.as_str())));
                }
            }
        }
    }
}
