//! The distributed engine: the same reservations on etcd, for clients on many machines.
//!
//! etcd's leader keeps the time: a reservation is active while one of two keys is there that are bound to leases
//! (`keys.rs`), and no client's clock decides. Every change is one transaction. A grant reads what stands, asks
//! [`decide`](crate::decide::decide), and commits on the conditions that no other grant has happened since (all of them
//! change the key `token`), that what it supersedes is still lapsed, and that what it relies on is still there. If one of
//! them fails it reads again. Heartbeats change no such key, so they disturb nobody.
//!
//! **Asking twice.** An answer that got lost says nothing of its request. A grant that is asked again finds its own
//! reservation, whose id no other request can have; a heartbeat and a release say the same twice.
//!
//! **Times** that are told are the reader's clock plus what etcd says is left, in whole seconds. Times in records are of
//! whoever wrote them.

mod beating;
mod checking;
mod client;
mod granting;
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

use self::beating::LastBeats;
use self::client::{Call, Client, DEADLINE};
use self::granting::Denial;
use self::keys::{Folder, Keys};
use self::lessor::{Etcd, Lessor};
use self::reading::Snapshot;
use self::wire::{Compare, Range, RangeAnswer, Step, Transaction, TransactionAnswer};
use crate::address::Address;
use crate::archive::{Archived, Collected, Retention};
#[cfg(test)]
use crate::clock::ManualClock;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::decide::{Blocker, Conflict, Request};
use crate::engine::changes::{Changes, Interest};
use crate::engine::{
    Beat, Beaten, Engine, EngineError, Lines, Listing, ReleaseRequest, Released, Reserved, Turn,
};
use crate::id::{ReservationId, RunId, TicketNumber};
use crate::lease::{Lease, Mark, State};
use crate::progress::Progress;
use crate::queue::{LEASE_SECONDS, Queue, Ticket, deadlock, position};
use crate::record::{RecordError, Release, to_file_bytes};

/// How many reservations one transaction moves into the archive: each takes seven steps.
const ARCHIVED_AT_ONCE: usize = 16;

/// How many bytes of records one transaction moves, where it is more than one reservation's: etcd takes 1.5 MiB a request.
const MOVED_BYTES_MAX: usize = 1 << 20;

/// The engine on etcd.
#[derive(Debug)]
pub struct EtcdEngine<C> {
    client: Arc<Client>,
    keys: Keys,
    clock: C,
    lessor: Box<dyn Lessor>,
    last_beats: LastBeats,
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
        Ok(EtcdEngine::with(client, repository, clock, lessor))
    }

    fn with(client: Arc<Client>, repository: &str, clock: C, lessor: Box<dyn Lessor>) -> EtcdEngine<C> {
        EtcdEngine { client, keys: Keys::of(repository), clock, lessor, last_beats: LastBeats::default() }
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
        EtcdEngine::with(client, repository, clock, lessor)
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

/// Whether what is tried again and again may be tried once more.
///
/// # Errors
///
/// [`EngineError::Busy`] when the time of a call is up.
fn must_have_time(key: &str, time: &Stopwatch) -> Result<(), EngineError> {
    let waited = time.elapsed();
    if waited > DEADLINE {
        return Err(EngineError::Busy { path: named(key), holder_pid: None, waited });
    }
    Ok(())
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

impl<C: Clock> EtcdEngine<C> {
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
            must_have_time(&key, &time)?;
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
            must_have_time(&self.keys.life(beat.reservation), &time)?;
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
