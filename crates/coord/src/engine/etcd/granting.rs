//! Granting: what stands is read, [`decide`] is asked, and what it says is committed on the condition that nothing it goes by
//! has changed.

use super::keys::{Folder, Life};
use super::line::Place;
use super::reading::Snapshot;
use super::wire::{Compare, Int, Step, Transaction};
use super::{EtcdEngine, bytes, damaged, must_have_time};
use crate::address::Address;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::decide::{Candidate, Conflict, Decision, Request, decide};
use crate::engine::{Engine as _, EngineError, Grant, RemoteFailure, Reserved};
use crate::id::{ReservationId, TicketNumber, Token};
use crate::lease::{Lease, State};
use crate::queue::Ticket;
use crate::record::{Release, TtlSeconds};

/// How many lapsed reservations one grant supersedes: etcd takes 128 conditions and 128 steps a transaction, each of
/// these needs three of the first and two of the second, and the grant itself and a take-over need some.
const SUPERSEDED_MAX: usize = 38;

/// How often a request is overtaken before it waits in line: once is told in the same call, and tried again at once.
const LOSSES_BEFORE_LINE: usize = 2;

/// A request that somebody is in the way of.
pub(super) struct Denial {
    pub(super) snapshot: Snapshot,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) ahead: Vec<Ticket>,
    pub(super) now: Timestamp,
}

impl<C: Clock> EtcdEngine<C> {
    /// Grants `request`, which waits with the ticket of `place`, if it does, or answers what `denied` makes of the
    /// denial; `None` from it is to read again.
    pub(super) fn attempt<A: From<Reserved>>(
        &self,
        request: &Request,
        place: Option<(TicketNumber, A)>,
        mut denied: impl FnMut(Denial) -> Result<Option<A>, EngineError>,
    ) -> Result<A, EngineError> {
        let ticket = place.as_ref().map(|(ticket, _)| *ticket);
        let mut lost = place.map(|(_, lost)| lost);
        let time = Stopwatch::start();
        // What a transaction was asked for that no answer came to, or that failed: it may be there all the same.
        let mut tried: Vec<ReservationId> = Vec::new();
        let mut ttl = request.ttl;
        let places = self.keys.standing_near(&request.addresses);
        let mut prepared = None;
        let mut read: Option<Snapshot> = None;
        let mut place_in_line: Option<Place> = None;
        let mut losses = 0;
        loop {
            if losses >= LOSSES_BEFORE_LINE && place_in_line.is_none() {
                place_in_line = self.wait_in_line(request);
                read = None;
            }
            let mut snapshot = match read.take() {
                Some(snapshot) => snapshot,
                None => self.snapshot(&places)?,
            };
            let now = self.clock.now();
            if let Some(granted) = self.granted_already(&mut snapshot, &tried, request)? {
                return Ok(granted.into());
            }
            if let Some(ticket) = ticket
                && !snapshot.has_ticket(ticket, &request.run)
                && let Some(lost) = lost.take()
            {
                return Ok(lost);
            }
            let ahead = snapshot.ahead(request, ticket);
            let candidates = self.candidates(&mut snapshot, &request.addresses, now)?;
            let void = match self.is_take_over_void(request, &candidates, now)? {
                Ok(void) => void,
                Err(refused) => return Ok(refused.into()),
            };
            let take_over = request.take_over.clone().filter(|_| !void);
            let asked = Request { ttl, take_over, ..request.clone() };
            match decide(&asked, &candidates, &ahead, now) {
                Decision::Deny { conflicts } => {
                    self.give_back(&mut prepared);
                    let denial = Denial { snapshot, conflicts, candidates, ahead, now };
                    if let Some(answer) = denied(denial)? {
                        return Ok(answer);
                    }
                    losses += 1;
                }
                Decision::Renew { candidate, notices } => {
                    let lease = &candidates[candidate].lease;
                    if let Some(lease) = self.renew(&snapshot, &asked, lease, now)? {
                        let grant = Grant::renewal(lease, notices, void);
                        return Ok(Reserved::Granted(Box::new(grant)).into());
                    }
                }
                Decision::Grant { supersede, notices } => {
                    let superseded: Vec<&Lease> =
                        supersede.iter().map(|&position| &candidates[position].lease).collect();
                    let write = Write {
                        snapshot: &snapshot,
                        ticket,
                        superseded: &superseded,
                        candidates: &candidates,
                    };
                    match self.write_grant(&asked, &write, &places, &mut prepared, now)? {
                        Written::Granted(lease) => {
                            let grant = Grant {
                                superseded: superseded.len(),
                                take_over_was_void: void,
                                ..Grant::new(*lease, notices)
                            };
                            return Ok(Reserved::Granted(Box::new(grant)).into());
                        }
                        Written::Overtaken(id, next) => {
                            tried.push(id);
                            losses += 1;
                            // It is tried again at once, with what was read when it was lost.
                            read = next.map(|next| *next);
                        }
                        Written::Longer(seconds) => ttl = seconds,
                    }
                }
            }
            must_have_time(&self.keys.token(), &time)?;
        }
    }

    /// Whether what the request takes over has ended already; what it is answered where it cannot be taken over.
    fn is_take_over_void(
        &self,
        request: &Request,
        candidates: &[Candidate],
        now: Timestamp,
    ) -> Result<Result<bool, Reserved>, EngineError> {
        let Some(take_over) = &request.take_over else { return Ok(Ok(false)) };
        let id = take_over.reservation;
        if candidates.iter().any(|its| its.lease.reservation.reservation_id == id) {
            return Ok(Ok(false));
        }
        Ok(match self.find(id)?.map(|lease| lease.state(now)) {
            None => Err(Reserved::NothingToTakeOver),
            Some(State::Active | State::Lapsed) => Err(Reserved::TakeOverElsewhere),
            Some(State::Released | State::Superseded) => Ok(true),
        })
    }

    /// A place in the line of those who were overtaken, at its head.
    fn wait_in_line(&self, request: &Request) -> Option<Place> {
        let lease = self.keys.lease_of_place(&request.run, self.clock.now(), std::process::id());
        let name = self.keys.folder(Folder::Line);
        Place::wait(&self.client, name.trim_end_matches('/').to_owned(), lease)
    }

    /// The reservation of an earlier turn, whose answer got lost.
    fn granted_already(
        &self,
        snapshot: &mut Snapshot,
        tried: &[ReservationId],
        request: &Request,
    ) -> Result<Option<Reserved>, EngineError> {
        let Some(reservation) = tried.iter().find_map(|id| snapshot.standing(*id)).cloned() else {
            return Ok(None);
        };
        let now = self.clock.now();
        let candidates = self.candidates(snapshot, &request.addresses, now)?;
        let notices = crate::decide::notices(request, &candidates, now);
        let id = reservation.reservation_id;
        self.look_for_lives(snapshot, &[id])?;
        let mut leases = self.with_lives(vec![Lease::fresh(reservation)], |id| snapshot.lives(id), now)?;
        Ok(leases.pop().map(|lease| Reserved::Granted(Box::new(Grant::new(lease, notices)))))
    }

    /// What of the standing reservations overlaps `addresses`, whose places the snapshot is of.
    pub(super) fn candidates(
        &self,
        snapshot: &mut Snapshot,
        addresses: &[Address],
        now: Timestamp,
    ) -> Result<Vec<Candidate>, EngineError> {
        let found: Vec<Lease> = snapshot.overlapping(addresses).cloned().map(Lease::fresh).collect();
        let ids: Vec<ReservationId> = found.iter().map(|lease| lease.reservation.reservation_id).collect();
        self.look_for_lives(snapshot, &ids)?;
        let leases = self.with_lives(found, |id| snapshot.lives(id), now)?;
        Ok(leases.into_iter().map(|lease| Candidate { lease, being_extended: false }).collect())
    }

    /// Ends a lease that was to be bound to a grant. Should an attempt that no answer came to be carried out yet, it grants
    /// nothing any more.
    fn give_back(&self, prepared: &mut Option<Prepared>) {
        if let Some(Prepared { lease, .. }) = prepared.take() {
            self.lessor.end(lease);
        }
    }

    /// A lease of so many seconds from now, so that the reservation does not end before what is told of it. One that an
    /// earlier attempt was not granted with is taken again: to keep it alive etcd writes nothing.
    fn prepare(
        &self,
        prepared: &mut Option<Prepared>,
        id: ReservationId,
        seconds: u32,
    ) -> Result<(Int, u32), EngineError> {
        if let Some(its) = prepared.as_ref().filter(|its| its.seconds == seconds)
            && self.lessor.keep_alive(its.lease)?
        {
            return Ok((its.lease, seconds));
        }
        let lease = self.keys.lease_of(id, Life::Grant, seconds);
        let granted = self.lessor.grant(lease, seconds)?;
        *prepared = Some(Prepared { lease, seconds: granted });
        Ok((lease, granted))
    }

    fn write_grant(
        &self,
        request: &Request,
        &Write { snapshot, ticket, superseded, candidates }: &Write<'_>,
        places: &[String],
        prepared: &mut Option<Prepared>,
        now: Timestamp,
    ) -> Result<Written, EngineError> {
        if superseded.len() > SUPERSEDED_MAX {
            return Err(EngineError::TooManyLapsed { found: superseded.len(), max: SUPERSEDED_MAX });
        }
        let token = Token::next(snapshot.token(), now.milliseconds_since_1970()).ok_or_else(|| {
            EngineError::TokensExhausted { path: format!("etcd:{}", self.keys.token()).into() }
        })?;
        let record_key = self.keys.folder(Folder::Reservations);
        let reservation =
            request.reservation_for(ticket, token, now).map_err(|source| damaged(&record_key, source))?;
        let id = reservation.reservation_id;
        let seconds = request.ttl.get();
        let (lease, granted) = self.prepare(prepared, id, seconds)?;
        if granted != seconds {
            // What the record says is what etcd keeps.
            self.give_back(prepared);
            return match TtlSeconds::new(granted.into()) {
                Ok(longer) if granted > seconds => Ok(Written::Longer(longer)),
                _ => Err(EngineError::Remote {
                    failure: RemoteFailure::Refused,
                    operation: "grant a lease",
                    endpoints: self.client.endpoints().join(", "),
                    why: format!("it gave {granted} s where {seconds} s were asked for"),
                    grpc_code: None,
                }),
            };
        }
        let record = bytes(&record_key, &reservation)?;
        let mut transaction = Transaction {
            compare: vec![Compare::unchanged(self.keys.token().as_str(), snapshot.token_revision())],
            success: vec![
                Step::put(self.keys.token().as_str(), format!("{token}\n").into_bytes()),
                Step::put(self.keys.of_reservation(Folder::Reservations, id).as_str(), record.clone()),
                Step::put(self.keys.standing(&reservation).as_str(), record),
                Step::put_bound(self.keys.life_of(id, Life::Grant).as_str(), Vec::new(), lease),
            ],
            failure: self.question(places),
        };
        for lapsed in superseded {
            let its = lapsed.reservation.reservation_id;
            let standing = self.keys.standing(&lapsed.reservation);
            let key = self.keys.of_reservation(Folder::Superseded, its);
            let mark = bytes(&key, &lapsed.superseded_by(id, &request.run, now))?;
            transaction.compare.push(Compare::present(standing.as_str()));
            for life in [Life::Grant, Life::Beat] {
                transaction.compare.push(Compare::absent(self.keys.life_of(its, life).as_str()));
            }
            transaction.success.push(Step::put(key.as_str(), mark));
            transaction.success.push(Step::delete(standing.as_str()));
        }
        let mut ended = Vec::new();
        if let Some(take_over) = &request.take_over
            && let Some(target) = candidates
                .iter()
                .map(|candidate| &candidate.lease.reservation)
                .find(|reservation| reservation.reservation_id == take_over.reservation)
        {
            let its = target.reservation_id;
            let standing = self.keys.standing(target);
            let key = self.keys.of_reservation(Folder::Releases, its);
            let release =
                Release::new(its, Some(&target.run_id), &request.run, Some(take_over.reason.clone()), now);
            transaction.compare.push(Compare::present(standing.as_str()));
            transaction.success.push(Step::put(key.as_str(), bytes(&key, &release)?));
            transaction.success.push(Step::delete(standing.as_str()));
            transaction.success.push(Step::delete_all(&self.keys.life(its)));
            ended.extend(snapshot.lives(its).leases());
        }
        if let Some(ticket) = ticket {
            let key = self.keys.ticket(ticket);
            transaction.compare.push(Compare::present(key.as_str()));
            transaction.success.push(Step::delete(key.as_str()));
        }
        match self.commit_or_read("grant a reservation", transaction)? {
            Some(answer) if answer.succeeded => {}
            // Overtaken, or granted by an attempt whose answer got lost: what was read instead tells.
            Some(answer) => {
                let next = self.undamaged(places, answer)?;
                return Ok(Written::Overtaken(id, Some(Box::new(next))));
            }
            None => {
                *prepared = None;
                return Ok(Written::Overtaken(id, None));
            }
        }
        for lease in ended {
            self.lessor.end(lease);
        }
        if let Some(ticket) = ticket {
            self.lessor.end(self.keys.lease_of_ticket(ticket));
        }
        Ok(Written::Granted(Box::new(Lease::fresh(reservation))))
    }
}

/// A lease that a grant is to be bound to.
struct Prepared {
    lease: Int,
    seconds: u32,
}

/// What a grant is written by.
struct Write<'a> {
    snapshot: &'a Snapshot,
    ticket: Option<TicketNumber>,
    superseded: &'a [&'a Lease],
    candidates: &'a [Candidate],
}

/// What became of writing a grant.
enum Written {
    Granted(Box<Lease>),
    /// Something has changed since it was read, and is now as it was read then; or it was granted, and the answer got lost.
    Overtaken(ReservationId, Option<Box<Snapshot>>),
    /// etcd gives no shorter lease than this one.
    Longer(TtlSeconds),
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use muse_testkit::etcd::Etcd as Server;

    use super::*;
    use crate::clock::SystemClock;
    use crate::engine::etcd::Endpoints;
    use crate::engine::etcd::lessor::{Etcd, Left, Lessor};
    use crate::id::RunId;

    /// Notes what is asked of it, and has somebody else be granted something right after it gave a lease.
    #[derive(Debug)]
    struct Overtaken {
        etcd: Etcd,
        other: EtcdEngine<SystemClock>,
        asked: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Lessor for Overtaken {
        fn grant(&self, id: Int, seconds: u32) -> Result<u32, EngineError> {
            let granted = self.etcd.grant(id, seconds);
            self.asked.lock().unwrap().push("grant");
            self.other.grant(&request("bob", "b.py")).unwrap();
            granted
        }

        fn keep_alive(&self, id: Int) -> Result<bool, EngineError> {
            self.asked.lock().unwrap().push("keep alive");
            self.etcd.keep_alive(id)
        }

        fn left(&self, id: Int) -> Result<Option<Left>, EngineError> {
            self.etcd.left(id)
        }

        fn end(&self, id: Int) {
            self.etcd.end(id);
        }
    }

    fn request(run: &str, address: &str) -> Request {
        let addresses = vec![address.parse().unwrap()];
        Request::new(RunId::new(run).unwrap(), addresses, TtlSeconds::new(60).unwrap())
    }

    /// The second attempt tells a later end than the first, so its lease has to last until then.
    #[test]
    fn an_attempt_that_was_overtaken_gives_its_lease_its_whole_time_again() {
        let endpoints = Endpoints { urls: vec![Server::shared().url().to_owned()], ..Endpoints::default() };
        let repository = Server::repository();
        let other = EtcdEngine::new(&endpoints, &repository, SystemClock).unwrap();
        let client = Arc::clone(&other.client);
        let asked = Arc::new(Mutex::default());
        let lessor = Overtaken { etcd: Etcd(Arc::clone(&client)), other, asked: Arc::clone(&asked) };
        let engine = EtcdEngine::with(client, &repository, SystemClock, Box::new(lessor));
        let granted = engine.grant(&request("alice", "a.py")).unwrap();
        assert!(matches!(granted, Reserved::Granted(_)), "{granted:?}");
        assert_eq!(*asked.lock().unwrap(), ["grant", "keep alive"]);
    }
}
