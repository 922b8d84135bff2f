//! The distributed engine: the same reservations on etcd, for clients on many machines.
//!
//! etcd's leader keeps the time: a reservation is active while one of two keys is there that are bound to leases
//! (`keys.rs`), and no client's clock decides. Every change is one transaction. A grant reads what stands, asks
//! [`decide`], and commits on the conditions that no other grant has happened since (all of them
//! change the key `token`), that what it supersedes is still lapsed, and that what it relies on is still there. If one of
//! them fails it reads again. Heartbeats change no such key, so they disturb nobody.
//!
//! **Asking twice.** An answer that got lost says nothing of its request. A grant that is asked again finds its own
//! reservation, whose id no other request can have; a heartbeat and a release say the same twice.
//!
//! **Times** that are told are the reader's clock plus what etcd says is left, in whole seconds. Times in records are of
//! whoever wrote them.

mod checking;
mod client;
mod keys;
mod lessor;
mod line;
mod moving;
mod names;
#[cfg(test)]
mod properties;
mod reading;
mod server;
#[cfg(test)]
mod testing;
mod trouble;
mod watching;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::client::{Endpoints, EndpointsError};
pub use self::server::Server;

use self::client::{Call, Client, DEADLINE};
use self::keys::{Folder, Keys, Life};
use self::lessor::{Etcd, Left, Lessor};
use self::line::Place;
use self::reading::{Lives, Snapshot};
use self::wire::{Compare, Int, Range, RangeAnswer, Step, Transaction, TransactionAnswer};
use crate::address::Address;
use crate::archive::{Archived, Collected, Retention};
#[cfg(test)]
use crate::clock::ManualClock;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::decide::{Blocker, Candidate, Conflict, Decision, Request, decide};
use crate::engine::changes::{Changes, Interest};
use crate::engine::{
    Beat, Beaten, Engine, EngineError, Grant, Lines, Listing, ReleaseRequest, Released, Reserved, Turn,
};
use crate::id::{ReservationId, RunId, TicketNumber, Token};
use crate::lease::{Lease, Mark, State};
use crate::progress::Progress;
use crate::queue::{LEASE_SECONDS, Queue, Ticket, deadlock, position};
use crate::record::{Heartbeat, RecordError, Release, Reservation, to_file_bytes};

/// How many lapsed reservations one grant supersedes: etcd takes 128 conditions and 128 steps a transaction, each of
/// these needs three of the first and two of the second, and the grant itself and a take-over need some.
const SUPERSEDED_MAX: usize = 38;

/// How many reservations one transaction moves into the archive: each takes seven steps.
const ARCHIVED_AT_ONCE: usize = 16;

/// How many bytes of records one transaction moves, where it is more than one reservation's: etcd takes 1.5 MiB a request.
const MOVED_BYTES_MAX: usize = 1 << 20;

/// How old a lease may be that a grant is bound to: what etcd's times, of whole seconds, do not tell.
const FRESH: Duration = Duration::from_millis(200);

/// How often a request is overtaken before it waits in line: once is told in the same call, and tried again at once.
const LOSSES_BEFORE_LINE: usize = 2;

/// The engine on etcd.
#[derive(Debug)]
pub struct EtcdEngine<C> {
    client: Arc<Client>,
    keys: Keys,
    clock: C,
    lessor: Box<dyn Lessor>,
}

impl<C: Clock> EtcdEngine<C> {
    /// The engine of one repository. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`EndpointsError`] when the endpoints or their certificates cannot be used.
    pub fn new(endpoints: &Endpoints, repository: &str, clock: C) -> Result<EtcdEngine<C>, EndpointsError> {
        let client = Arc::new(Client::new(endpoints)?);
        let lessor = Box::new(Etcd(Arc::clone(&client)));
        Ok(EtcdEngine { client, keys: Keys::of(repository), clock, lessor })
    }

    /// One whose leases lapse by a manual clock.
    #[cfg(test)]
    pub(crate) fn by_manual_clock(
        url: &str,
        repository: &str,
        clock: C,
        manual: Arc<ManualClock>,
    ) -> EtcdEngine<C> {
        let endpoints = Endpoints { urls: vec![url.to_owned()], ..Endpoints::default() };
        let client = Arc::new(Client::new(&endpoints).unwrap());
        let lessor = Box::new(testing::Manual::new(Arc::clone(&client), manual));
        EtcdEngine { client, keys: Keys::of(repository), clock, lessor }
    }

    /// From now on no call waits for longer than this: for whoever has seen that etcd does not answer, and has no time.
    pub fn limit_calls(&self, time_max: Duration) {
        self.client.limit_calls(time_max);
    }

    /// What each endpoint tells of itself, or why it does not.
    pub fn servers(&self) -> Vec<(String, Result<Server, EngineError>)> {
        servers(&self.client, &self.clock)
    }

    /// As [`EtcdEngine::servers`], where it is not known yet whose engine it is.
    ///
    /// # Errors
    ///
    /// As [`EtcdEngine::new`].
    #[expect(
        clippy::type_complexity,
        reason = "one answer for each endpoint, each of which can fail by itself"
    )]
    pub fn servers_at(
        endpoints: &Endpoints,
        clock: &C,
    ) -> Result<Vec<(String, Result<Server, EngineError>)>, EndpointsError> {
        Ok(servers(&Client::new(endpoints)?, clock))
    }

    /// What all keys of the store begin with, behind `etcd:`.
    pub fn place(&self) -> PathBuf {
        named(self.keys.all())
    }

    /// The key of a reservation's record.
    pub fn record_place(&self, id: ReservationId) -> PathBuf {
        named(&self.keys.of_reservation(Folder::Reservations, id))
    }

    /// What the keys of the archive begin with.
    pub fn archive_place(&self) -> PathBuf {
        named(&self.keys.folder(Folder::Archive))
    }

    /// What tells this store from all others, and its endpoints.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when etcd cannot be asked.
    pub fn name(&self) -> Result<String, EngineError> {
        let token = Range { key: self.keys.token().as_str().into(), ..Range::default() };
        let cluster = self.range("read", &token)?.header.cluster_id.0;
        let endpoints = self.client.endpoints().join(", ");
        Ok(format!("etcd, cluster {cluster:x}, {}, at {endpoints}", self.keys.all()))
    }

    fn range(&self, what: &'static str, range: &Range) -> Result<RangeAnswer, EngineError> {
        #[cfg(test)]
        self.lessor.pass_time();
        self.client.call("/v3/kv/range", Call::Read(what), range)
    }

    fn transact(&self, what: Call, transaction: &Transaction) -> Result<TransactionAnswer, EngineError> {
        #[cfg(test)]
        self.lessor.pass_time();
        self.client.call("/v3/kv/txn", what, transaction)
    }

    /// Commits, on the condition that the store was not moved. `false` where a condition does not hold.
    fn commit(&self, what: &'static str, transaction: Transaction) -> Result<bool, EngineError> {
        Ok(self.commit_or_read(what, transaction)?.is_some_and(|answer| answer.succeeded))
    }

    /// The same, with what it reads where a condition does not hold; `None` where a lease that was to be bound ended just
    /// now.
    fn commit_or_read(
        &self,
        what: &'static str,
        mut transaction: Transaction,
    ) -> Result<Option<TransactionAnswer>, EngineError> {
        transaction.compare.push(Compare::absent(self.keys.moved().as_str()));
        match self.transact(Call::Change(what), &transaction) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if lessor::is_no_lease(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What each endpoint tells of itself, or why it does not. All are asked at once: one that hangs takes seconds.
fn servers(client: &Client, clock: &impl Clock) -> Vec<(String, Result<Server, EngineError>)> {
    let ask = |url: &String| {
        let server = client.status(url);
        (url.clone(), server.map(|server| server.told_at(clock.now())))
    };
    std::thread::scope(|scope| {
        let asked: Vec<_> = client.endpoints().iter().map(|url| scope.spawn(move || ask(url))).collect();
        let answer = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        asked.into_iter().map(answer).collect()
    })
}

/// How often something is read of which a part was compacted away meanwhile.
const READINGS_MAX: u32 = 8;

/// Reads what takes several calls, and begins anew where the moment that is read is compacted away between two of them.
fn anew<A>(read: impl Fn() -> Result<A, EngineError>) -> Result<A, EngineError> {
    for _ in 1..READINGS_MAX {
        match read() {
            Err(error) if lessor::is_compacted(&error) => {}
            answer => return answer,
        }
    }
    read()
}

fn damaged(key: &str, source: RecordError) -> EngineError {
    EngineError::Damaged { path: named(key), source }
}

fn bytes(key: &str, record: &impl serde::Serialize) -> Result<Vec<u8>, EngineError> {
    to_file_bytes(record).map_err(|source| damaged(key, source))
}

/// A key, where others tell of a file.
fn named(key: &str) -> PathBuf {
    PathBuf::from(format!("etcd:{key}"))
}

/// A request that somebody is in the way of.
struct Denial {
    snapshot: Snapshot,
    conflicts: Vec<Conflict>,
    candidates: Vec<Candidate>,
    ahead: Vec<Ticket>,
    now: Timestamp,
}

impl<C: Clock> EtcdEngine<C> {
    /// Grants `request`, which waits with the ticket of `place`, if it does, or answers what `denied` makes of the
    /// denial; `None` from it is to read again.
    fn attempt<A: From<Reserved>>(
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
                        let grant = Grant {
                            lease,
                            renewed: true,
                            notices,
                            superseded: 0,
                            take_over_was_void: void,
                            untidied: None,
                        };
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
                                lease: *lease,
                                renewed: false,
                                notices,
                                superseded: superseded.len(),
                                take_over_was_void: void,
                                untidied: None,
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
            if time.elapsed() > DEADLINE {
                return Err(EngineError::Busy {
                    path: format!("etcd:{}", self.keys.token()).into(),
                    holder_pid: None,
                    waited: time.elapsed(),
                });
            }
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
        Ok(leases.pop().map(|lease| {
            Reserved::Granted(Box::new(Grant {
                lease,
                renewed: false,
                notices,
                superseded: 0,
                take_over_was_void: false,
                untidied: None,
            }))
        }))
    }

    /// What of the standing reservations overlaps `addresses`, whose places the snapshot is of.
    fn candidates(
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

    /// A lease of so many seconds from now. One that an earlier attempt was not granted with is taken again: to keep it
    /// alive etcd writes nothing.
    fn prepare(
        &self,
        prepared: &mut Option<Prepared>,
        id: ReservationId,
        seconds: u32,
    ) -> Result<(Int, u32), EngineError> {
        if let Some(its) = prepared.as_ref().filter(|its| its.seconds == seconds)
            && (its.since.elapsed() < FRESH || self.lessor.keep_alive(its.lease)?)
        {
            return Ok((its.lease, seconds));
        }
        let lease = self.keys.lease_of(id, Life::Grant, seconds);
        let granted = self.lessor.grant(lease, seconds)?;
        *prepared = Some(Prepared { lease, seconds: granted, since: Stopwatch::start() });
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
            return match crate::record::TtlSeconds::new(granted.into()) {
                Ok(longer) if granted > seconds => Ok(Written::Longer(longer)),
                _ => Err(EngineError::Remote {
                    failure: crate::engine::RemoteFailure::Refused,
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

    /// Extends what the run has already, and never shortens it; `None` if it changed meanwhile.
    fn renew(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<Lease>, EngineError> {
        let id = lease.reservation.reservation_id;
        let lives = snapshot.lives(id);
        let heartbeat = self.heartbeat(id)?;
        let lease = Lease { heartbeat, ..lease.clone() };
        let mut heartbeat = lease.renewal(request.ttl, now);
        let longest = self.longest(&lives)?.map(|(life, left)| (life, left.at_least));
        let kept = if let Some((life, left)) = longest.filter(|(_, left)| *left >= seconds(request.ttl.get()))
        {
            heartbeat.extended_expires_at = reading::plus(now, left);
            self.keep_as_it_is(&lease.reservation, &lives, life, &heartbeat)?
        } else {
            self.keep_for(&lease.reservation, &lives, request.ttl.get(), &mut heartbeat)?
        };
        Ok(kept.then_some(Lease { heartbeat: Some(heartbeat), lapses_at: None, ..lease }))
    }

    fn heartbeat(&self, id: ReservationId) -> Result<Option<Heartbeat>, EngineError> {
        let key = self.keys.of_reservation(Folder::Heartbeats, id);
        let answer =
            self.range("read a heartbeat", &Range { key: key.as_str().into(), ..Range::default() })?;
        reading::companion(&key, id, answer.kvs.first().map(|kv| kv.value.0.as_slice()))
    }

    /// The longer one of the two lives, and how long it lasts; `None` where both are over.
    fn longest(&self, lives: &Lives) -> Result<Option<(Life, Left)>, EngineError> {
        let mut longest = None;
        for (life, lease) in lives.each() {
            let left = self.lessor.left(lease)?.map(|left| (life, left));
            // Of two that last equally long the heartbeat's.
            longest = [longest, left].into_iter().flatten().max_by_key(|(_, left)| *left);
        }
        Ok(longest)
    }

    /// Publishes a heartbeat that counts for as long as one of the lives that there are. Where that is the grant's, the
    /// heartbeat's becomes as long: what the next heartbeat must not shorten is told by it.
    fn keep_as_it_is(
        &self,
        reservation: &Reservation,
        lives: &Lives,
        longest: Life,
        heartbeat: &Heartbeat,
    ) -> Result<bool, EngineError> {
        let id = reservation.reservation_id;
        let key = self.keys.of_reservation(Folder::Heartbeats, id);
        let beat = self.keys.life_of(id, Life::Beat);
        let mut compare = vec![Compare::present(self.keys.standing(reservation).as_str())];
        if lives.of(Life::Beat).is_none() {
            compare.push(Compare::absent(beat.as_str()));
        }
        let mut success = vec![Step::put(key.as_str(), bytes(&key, heartbeat)?)];
        for (life, lease) in lives.each() {
            compare.push(Compare::bound(self.keys.life_of(id, life).as_str(), lease));
            if life == Life::Grant && longest == life {
                success.push(Step::put_bound(beat.as_str(), Vec::new(), lease));
            }
        }
        self.commit("send a heartbeat", Transaction { compare, success, failure: Vec::new() })
    }

    /// Gives the reservation a life of `extension` seconds from now, and publishes the heartbeat; `false` where it was
    /// released or superseded, or its life is another one meanwhile. Of this and a grant that supersedes it one fails: each
    /// goes by what the other changes.
    fn keep_for(
        &self,
        reservation: &Reservation,
        lives: &Lives,
        extension: u32,
        heartbeat: &mut Heartbeat,
    ) -> Result<bool, EngineError> {
        let id = reservation.reservation_id;
        let new = self.keys.lease_of(id, Life::Beat, extension);
        let granted = self.lessor.grant(new, extension)?;
        if granted > extension {
            // A time below etcd's shortest.
            let until = heartbeat.last_beat_at.plus_seconds(granted);
            heartbeat.extended_expires_at = heartbeat.extended_expires_at.max(until);
        }
        let key = self.keys.of_reservation(Folder::Heartbeats, id);
        let beat = self.keys.life_of(id, Life::Beat);
        let mut compare = vec![Compare::present(self.keys.standing(reservation).as_str())];
        compare.push(match lives.of(Life::Beat) {
            Some(old) => Compare::bound(beat.as_str(), old),
            None => Compare::absent(beat.as_str()),
        });
        let success = vec![
            Step::put_bound(beat.as_str(), Vec::new(), new),
            Step::put(key.as_str(), bytes(&key, heartbeat)?),
        ];
        // The old lease is left to lapse. It is also that of a later heartbeat of that length, which may have bound the life
        // to it again by the time that it would be ended.
        self.commit("send a heartbeat", Transaction { compare, success, failure: Vec::new() })
    }
}

impl<C: Clock> EtcdEngine<C> {
    /// Keeps a reservation alive by the lease that it was granted with, where etcd is full and gives no other. `None`
    /// where that one is over, or is shorter than what is asked for.
    fn keep_by_grant(
        &self,
        lease: &Lease,
        lives: &Lives,
        extension: u32,
    ) -> Result<Option<bool>, EngineError> {
        let id = lease.reservation.reservation_id;
        // One that was moved here has another, of the time that it had left.
        let ttl = lease.reservation.ttl_seconds.get();
        let whole = self.keys.lease_of(id, Life::Grant, ttl);
        let Some(its) = lives.of(Life::Grant).filter(|its| *its == whole && ttl >= extension) else {
            return Ok(None);
        };
        if !self.lessor.keep_alive(its)? {
            return Ok(None);
        }
        let compare = vec![
            Compare::present(self.keys.standing(&lease.reservation).as_str()),
            Compare::bound(self.keys.life_of(id, Life::Grant).as_str(), its),
            Compare::absent(self.keys.moved().as_str()),
        ];
        let question = Transaction { compare, ..Transaction::default() };
        Ok(Some(self.transact(Call::Read("send a heartbeat"), &question)?.succeeded))
    }
}

/// A lease that a grant is to be bound to.
struct Prepared {
    lease: Int,
    seconds: u32,
    /// When it had its whole time.
    since: Stopwatch,
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
    Longer(crate::record::TtlSeconds),
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

impl<C: Clock> EtcdEngine<C> {
    /// The heartbeat of a reservation whose last one had the same extension: its lease is kept alive, and the heartbeat
    /// published if the reservation still lives by it. `None` where that is not so.
    fn beat_again(&self, beat: &Beat) -> Result<Option<Beaten>, EngineError> {
        let id = beat.reservation;
        let lease = self.keys.lease_of(id, Life::Beat, beat.extension.get());
        // Before it is kept alive: what is told of its end is never later than etcd's own.
        let now = self.clock.now();
        if !self.lessor.keep_alive(lease)? {
            return Ok(None);
        }
        let key = self.keys.of_reservation(Folder::Heartbeats, id);
        let heartbeat = Heartbeat {
            schema_version: crate::record::SCHEMA_VERSION,
            reservation_id: id,
            run_id: beat.run.clone(),
            last_beat_at: now,
            extended_expires_at: now.plus_seconds(beat.extension.get()),
            extra: crate::record::Extra::new(),
        };
        let record = self.keys.of_reservation(Folder::Reservations, id);
        let mut transaction = Transaction {
            compare: vec![
                // What is released, superseded or taken over has no life.
                Compare::bound(self.keys.life_of(id, Life::Beat).as_str(), lease),
                Compare::absent(self.keys.moved().as_str()),
            ],
            success: vec![
                Step::get(key.as_str()),
                Step::get(record.as_str()),
                Step::put(key.as_str(), bytes(&key, &heartbeat)?),
            ],
            failure: Vec::new(),
        };
        let mut answer = self.transact(Call::Change("send a heartbeat"), &transaction);
        if answer.as_ref().is_err_and(lessor::is_full) {
            // Nobody reads of it, but it is kept.
            transaction.success.pop();
            answer = self.transact(Call::Read("send a heartbeat"), &transaction);
        }
        let answer = answer?;
        if !answer.succeeded {
            return Ok(None);
        }
        let value =
            |at: usize| answer.responses.get(at)?.response_range.kvs.first().map(|kv| kv.value.0.as_slice());
        let before: Option<Heartbeat> = reading::companion(&key, id, value(0))?;
        if before.is_some_and(|before| !before.extra.is_empty()) {
            // What another version wrote beside is carried along.
            return Ok(None);
        }
        let reservation = Reservation::from_bytes(id, value(1).unwrap_or_default())
            .map_err(|source| damaged(&record, source))?;
        Ok(Some(Beaten::Extended {
            heartbeat,
            holder: reservation.run_id,
            lapsed_seconds: None,
            already_over: false,
        }))
    }

    fn beat_anew(&self, beat: &Beat) -> Result<Option<Beaten>, EngineError> {
        let id = beat.reservation;
        let Some((lease, lives)) = self.found(id)? else { return Ok(Some(Beaten::NotFound)) };
        if lease.release.is_present() {
            return Ok(Some(Beaten::Released));
        }
        if let Mark::Read(mark) = &lease.supersession {
            return Ok(Some(Beaten::Superseded(mark.clone())));
        }
        let now = self.clock.now();
        let lapsed_seconds =
            if lives.is_over() { Some(lease.lapsed_seconds(now).unwrap_or(0)) } else { None };
        let is_holder = lease.reservation.run_id == beat.run;
        let extension = beat.extension.get();
        let left = match lives.of(Life::Beat) {
            Some(its) if !is_holder => self.lessor.left(its)?.map(|left| left.at_least),
            _ => None,
        };
        // The times of records are of whoever wrote them; what is left is etcd's word.
        let until = left.map(|left| reading::plus(now, left));
        let mut told = Lease { heartbeat: lease.heartbeat.clone(), ..lease.clone() };
        if let Some(heartbeat) = &mut told.heartbeat {
            heartbeat.extended_expires_at = until.unwrap_or(now);
        }
        let mut heartbeat = told.beat(&beat.run, beat.extension, now);
        let is_kept = if left.is_some_and(|left| left > seconds(extension)) {
            self.keep_as_it_is(&lease.reservation, &lives, Life::Beat, &heartbeat)?
        } else {
            match self.keep_for(&lease.reservation, &lives, extension, &mut heartbeat) {
                Err(error) if lessor::is_full(&error) => {
                    self.keep_by_grant(&lease, &lives, extension)?.ok_or(error)?
                }
                kept => kept?,
            }
        };
        Ok(is_kept.then_some(Beaten::Extended {
            heartbeat,
            holder: lease.reservation.run_id,
            lapsed_seconds,
            already_over: false,
        }))
    }

    fn release_one(
        &self,
        request: &ReleaseRequest,
        id: ReservationId,
        now: Timestamp,
    ) -> Result<Released, EngineError> {
        let time = Stopwatch::start();
        let mut was_tried = false;
        loop {
            let (lease, lives) = match self.found(id) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    let archived = self.find_archived(id)?;
                    return Ok(match archived {
                        Some(line) if line.state == crate::archive::Ending::Released => {
                            Released::AlreadyReleased
                        }
                        _ => Released::NotFound,
                    });
                }
                Err(error) => return Err(error),
            };
            let key = self.keys.of_reservation(Folder::Releases, id);
            let holder = &lease.reservation.run_id;
            let release = Release::new(id, Some(holder), &request.run, request.reason.clone(), now);
            if let Mark::Read(there) = &lease.release {
                // An attempt of this very call may have been carried out, and its answer got lost.
                let is_own = was_tried && *there == release;
                return Ok(if is_own { Released::Released } else { Released::AlreadyReleased });
            }
            if lease.release.is_present() {
                return Ok(Released::AlreadyReleased);
            }
            if *holder != request.run && !request.force {
                return Ok(Released::NotHolder { holder: holder.clone() });
            }
            let transaction = Transaction {
                compare: vec![
                    Compare::absent(key.as_str()),
                    Compare::present(self.keys.of_reservation(Folder::Reservations, id).as_str()),
                ],
                success: vec![
                    Step::put(key.as_str(), bytes(&key, &release)?),
                    Step::delete(self.keys.standing(&lease.reservation).as_str()),
                    Step::delete_all(&self.keys.life(id)),
                ],
                failure: Vec::new(),
            };
            if self.commit("release", transaction)? {
                for lease in lives.leases() {
                    self.lessor.end(lease);
                }
                return Ok(Released::Released);
            }
            was_tried = true;
            if time.elapsed() > DEADLINE {
                return Err(EngineError::Busy {
                    path: format!("etcd:{key}").into(),
                    holder_pid: None,
                    waited: time.elapsed(),
                });
            }
        }
    }

    /// Draws a ticket; `None` if somebody else did since the snapshot, or something was granted.
    fn draw(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        now: Timestamp,
    ) -> Result<Option<TicketNumber>, EngineError> {
        let number =
            TicketNumber::next(snapshot.token(), snapshot.greatest_ticket(), now.milliseconds_since_1970())
                .ok_or_else(|| EngineError::TokensExhausted {
                path: format!("etcd:{}", self.keys.token()).into(),
            })?;
        let key = self.keys.ticket(number);
        let lease = self.keys.lease_of_ticket(number);
        self.lessor.grant(lease, LEASE_SECONDS)?;
        let ticket = bytes(&key, &Ticket::new(number, request, now))?;
        let transaction = Transaction {
            compare: vec![
                Compare::unchanged(self.keys.token().as_str(), snapshot.token_revision()),
                Compare::unchanged(self.keys.queue().as_str(), snapshot.queue_revision()),
            ],
            success: vec![
                Step::put_bound(key.as_str(), ticket, lease),
                Step::put(self.keys.queue().as_str(), number.to_string().into_bytes()),
            ],
            failure: Vec::new(),
        };
        Ok(self.commit("take a place in the queue", transaction)?.then_some(number))
    }
}

impl<C: Clock> Engine for EtcdEngine<C> {
    fn grant(&self, request: &Request) -> Result<Reserved, EngineError> {
        self.attempt(request, None, |denial| Ok(Some(Reserved::Denied { conflicts: denial.conflicts })))
    }

    fn take_turn(&self, request: &Request, ticket: Option<TicketNumber>) -> Result<Turn, EngineError> {
        let place = ticket.map(|ticket| (ticket, Turn::PlaceLost));
        self.attempt(request, place, |denial| {
            let Denial { mut snapshot, conflicts, candidates, ahead, now } = denial;
            if request.take_over.is_some() {
                return Ok(Some(Turn::Answered(Reserved::Denied { conflicts })));
            }
            let mut all = candidates;
            if !ahead.is_empty() {
                let wanted: Vec<Address> = ahead.iter().flat_map(|ticket| ticket.addresses.clone()).collect();
                let known: Vec<ReservationId> =
                    all.iter().map(|candidate| candidate.lease.reservation.reservation_id).collect();
                self.look_further(&mut snapshot, &self.keys.standing_near(&wanted))?;
                let others = self.candidates(&mut snapshot, &wanted, now)?;
                all.extend(
                    others
                        .into_iter()
                        .filter(|other| !known.contains(&other.lease.reservation.reservation_id)),
                );
            }
            if let Some(cycle) = deadlock(request, &all, &ahead, now) {
                return Ok(Some(Turn::Deadlock { cycle }));
            }
            let ticket = match ticket {
                Some(ticket) => Some(ticket),
                None => self.draw(&snapshot, request, now)?,
            };
            Ok(ticket.map(|ticket| Turn::Queued { ticket, position: position(&conflicts), conflicts }))
        })
    }

    fn keep_place(&self, ticket: TicketNumber, run: &RunId) -> Result<bool, EngineError> {
        if !self.lessor.keep_alive(self.keys.lease_of_ticket(ticket))? {
            return Ok(false);
        }
        Ok(self.ticket(ticket)?.is_some_and(|its| its.run_id == *run))
    }

    fn leave(&self, ticket: TicketNumber, run: &RunId) -> Result<(), EngineError> {
        if self.ticket(ticket)?.is_some_and(|its| its.run_id == *run) {
            let key = self.keys.ticket(ticket);
            let transaction =
                Transaction { success: vec![Step::delete(key.as_str())], ..Transaction::default() };
            self.transact(Call::Change("leave the queue"), &transaction)?;
            self.lessor.end(self.keys.lease_of_ticket(ticket));
        }
        Ok(())
    }

    fn tickets(&self) -> Result<Queue, EngineError> {
        Ok(anew(|| self.look(&[]))?.into_queue())
    }

    fn stands_until(&self, conflict: &Conflict) -> Result<Option<Timestamp>, EngineError> {
        let now = self.clock.now();
        match &conflict.blocker {
            Blocker::Waiter(waiter) => {
                let ticket = self.ticket(waiter.ticket)?;
                Ok(ticket.map(|_| now.plus_seconds(LEASE_SECONDS)))
            }
            Blocker::Holder(holder) => {
                let lease = self.find(holder.reservation_id)?;
                Ok(lease
                    .filter(|lease| lease.state(now) == State::Active)
                    .map(|lease| lease.effective_expiry()))
            }
        }
    }

    fn changes(&self, interest: Interest) -> Result<Box<dyn Changes>, EngineError> {
        let revision =
            self.range("read", &Range { key: self.keys.token().as_str().into(), ..Range::default() })?;
        Ok(watching::watch(Arc::clone(&self.client), &self.keys, revision.header.revision, interest))
    }

    fn beat(&self, beat: &Beat) -> Result<Beaten, EngineError> {
        if let Some(beaten) = self.beat_again(beat)? {
            return Ok(beaten);
        }
        let time = Stopwatch::start();
        loop {
            if let Some(beaten) = self.beat_anew(beat)? {
                return Ok(beaten);
            }
            if time.elapsed() > DEADLINE {
                return Err(EngineError::Busy {
                    path: format!("etcd:{}", self.keys.life(beat.reservation)).into(),
                    holder_pid: None,
                    waited: time.elapsed(),
                });
            }
        }
    }

    fn release(
        &self,
        request: &ReleaseRequest,
    ) -> Result<Vec<(ReservationId, Result<Released, EngineError>)>, EngineError> {
        let now = self.clock.now();
        Ok(request.reservations.iter().map(|&id| (id, self.release_one(request, id, now))).collect())
    }

    fn find(&self, id: ReservationId) -> Result<Option<Lease>, EngineError> {
        Ok(self.found(id)?.map(|(lease, _)| lease))
    }

    fn live(&self) -> Result<Listing, EngineError> {
        anew(|| self.listed())
    }

    fn overlapping(&self, addresses: &[Address]) -> Result<Listing, EngineError> {
        anew(|| self.listed_near(addresses))
    }

    fn superseded(&self, run: &RunId) -> Result<Listing, EngineError> {
        Ok(self.history()?.superseded_of(run))
    }

    fn history(&self) -> Result<Listing, EngineError> {
        anew(|| self.all())
    }

    fn newest(&self, _: usize, _: &dyn Fn(&Lease) -> bool) -> Result<Listing, EngineError> {
        self.history()
    }

    fn collect(&self, retention: &Retention, progress: &dyn Progress) -> Result<Collected, EngineError> {
        self.archive(retention, progress)
    }

    fn archived(&self) -> Result<Lines<'_>, EngineError> {
        Ok(self.archive_lines())
    }

    fn find_archived(&self, id: ReservationId) -> Result<Option<Archived>, EngineError> {
        self.archive_line(id)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use muse_testkit::etcd::Etcd;

    use super::*;
    use crate::clock::SystemClock;
    use crate::record::TtlSeconds;

    /// Many pages, and a history that is cut off between some two of them.
    #[test]
    fn what_is_compacted_away_while_it_is_read_is_read_anew() {
        let etcd = Etcd::start(&[]);
        let endpoints = Endpoints { urls: vec![etcd.url().to_owned()], ..Endpoints::default() };
        let engine = EtcdEngine::new(&endpoints, &Etcd::repository(), SystemClock).unwrap();
        for number in 0..6 {
            let address = format!("{number}.py").parse().unwrap();
            let run = RunId::new("alice").unwrap();
            engine.grant(&Request::new(run, vec![address], TtlSeconds::new(600).unwrap())).unwrap();
        }
        let is_over = AtomicBool::new(false);
        let compact = || {
            for _ in 0..60 {
                // Seldom enough that a second reading is undisturbed.
                crate::engine::changes::pause(Duration::from_millis(100), None);
                let put = serde_json::json!({ "key": "b3RoZXI=", "value": "" });
                let put: RangeAnswer = engine.client.call("/v3/kv/put", Call::Read("put"), &put).unwrap();
                let at = serde_json::json!({ "revision": put.header.revision });
                engine
                    .client
                    .call::<_, RangeAnswer>("/v3/kv/compaction", Call::Read("compact"), &at)
                    .unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        };
        let readings: Vec<Result<Listing, EngineError>> = thread::scope(|scope| {
            scope.spawn(compact);
            let mut readings = Vec::new();
            while !is_over.load(Ordering::Relaxed) && readings.len() < 100_000 {
                readings.extend([engine.live(), engine.history()]);
            }
            readings
        });
        for reading in readings {
            assert_eq!(reading.unwrap().leases.len(), 6);
        }
    }
}
