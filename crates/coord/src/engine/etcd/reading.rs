//! What stands in etcd, read at one moment.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::Call;
use super::keys::{Folder, Life};
use super::lessor::Left;
use super::wire::{Compare, Int, KeyValue, Range, RangeAnswer, Step, Transaction, TransactionAnswer};
use super::{ARCHIVED_AT_ONCE, EtcdEngine, MOVED_BYTES_MAX, damaged};
use crate::address::Address;
use crate::archive::{Archived, Bounds, Collected, Retention};
use crate::clock::{Clock, Timestamp};
use crate::decide::Request;
use crate::engine::{EngineError, Lines, Listing};
use crate::id::{ReservationId, RunId, TicketNumber, Token};
use crate::lease::{Lease, Mark};
use crate::progress::Progress;
use crate::queue::{LEASE_SECONDS, Queue, Ticket};
use crate::record::{Companion, Mode, Release, Reservation, Supersession};

/// How many keys with their values are asked for at once: about a megabyte. Few in tests, so that they turn pages.
pub(super) const KEYS_AT_ONCE: i64 = if cfg!(test) { 2 } else { 1000 };

/// How many lines of the archive are asked for at once.
const LINES_AT_ONCE: i64 = if cfg!(test) { 3 } else { 256 };

/// The lives of how many reservations are asked for at once: etcd takes 128 steps a transaction.
const LIVES_AT_ONCE: usize = 100;

/// How many leases are asked for at the same time.
const ASKING_MAX: usize = 16;

/// How many leases are worth a thread that asks for them.
const WORTH_ASKING: usize = 8;

/// How long before an answer its question may have been asked, and the clock been read: longer than a call takes, 10 s.
const ASKED_MICROSECONDS: i64 = 10_000_000;

/// Which lives of a reservation are there, and their leases.
#[derive(Clone, Debug, Default)]
pub(super) struct Lives {
    grant: Option<Int>,
    beat: Option<Int>,
}

impl Lives {
    pub(super) const fn is_over(&self) -> bool {
        self.grant.is_none() && self.beat.is_none()
    }

    pub(super) const fn of(&self, life: Life) -> Option<Int> {
        match life {
            Life::Grant => self.grant,
            Life::Beat => self.beat,
        }
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (Life, Int)> {
        [Life::Grant, Life::Beat].into_iter().filter_map(|life| Some((life, self.of(life)?)))
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = Int> {
        self.each().map(|(_, lease)| lease)
    }

    fn add(&mut self, name: &str, lease: Int) {
        match name {
            "grant" => self.grant = Some(lease),
            "beat" => self.beat = Some(lease),
            // Of a later version: that it is there is told by the others.
            _ => {}
        }
    }
}

/// What a grant is decided by, at one revision: who waits, and of what stands that of the places that were asked for.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    token: Option<Token>,
    token_revision: Int,
    queue_revision: Int,
    revision: Int,
    standing: BTreeMap<ReservationId, Reservation>,
    lives: BTreeMap<ReservationId, Lives>,
    tickets: BTreeMap<TicketNumber, Ticket>,
    /// What could not be read of the reservations, and of the tickets.
    damaged: Vec<EngineError>,
    damaged_tickets: Vec<EngineError>,
}

impl Snapshot {
    pub(super) const fn token(&self) -> Option<Token> {
        self.token
    }

    pub(super) const fn token_revision(&self) -> Int {
        self.token_revision
    }

    pub(super) const fn queue_revision(&self) -> Int {
        self.queue_revision
    }

    pub(super) fn standing(&self, id: ReservationId) -> Option<&Reservation> {
        self.standing.get(&id)
    }

    /// What of it overlaps one of `addresses`.
    pub(super) fn overlapping(&self, addresses: &[Address]) -> impl Iterator<Item = &Reservation> {
        let overlaps = |its: &Address| addresses.iter().any(|address| address.overlaps(its));
        self.standing.values().filter(move |reservation| reservation.addresses.iter().any(overlaps))
    }

    /// All of it.
    pub(super) fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.standing.values()
    }

    pub(super) fn lives(&self, id: ReservationId) -> Lives {
        self.lives.get(&id).cloned().unwrap_or_default()
    }

    pub(super) fn has_ticket(&self, number: TicketNumber, run: &RunId) -> bool {
        self.tickets.get(&number).is_some_and(|ticket| ticket.run_id == *run)
    }

    pub(super) fn greatest_ticket(&self) -> Option<TicketNumber> {
        self.tickets.last_key_value().map(|(number, _)| *number)
    }

    /// The tickets that a request has to respect.
    pub(super) fn ahead(&self, request: &Request, own: Option<TicketNumber>) -> Vec<Ticket> {
        if request.mode == Mode::Advisory {
            return Vec::new();
        }
        self.tickets.values().filter(|ticket| own.is_none_or(|own| ticket.ticket < own)).cloned().collect()
    }

    /// Something that cannot be read of what stands, if anything cannot.
    pub(super) fn first_damage(&mut self) -> Option<EngineError> {
        self.damaged.pop()
    }

    fn add(&mut self, kv: &KeyValue) {
        match reservation_of(kv) {
            Ok(reservation) => drop(self.standing.insert(reservation.reservation_id, reservation)),
            Err(error) => self.damaged.push(error),
        }
    }

    pub(super) fn into_queue(self) -> Queue {
        Queue { tickets: self.tickets.into_values().collect(), damaged: self.damaged_tickets }
    }
}

/// A record beside a reservation. What cannot be read is an error.
pub(super) fn companion<T: Companion>(
    key: &str,
    id: ReservationId,
    value: Option<&[u8]>,
) -> Result<Option<T>, EngineError> {
    let Some(bytes) = value else { return Ok(None) };
    T::from_bytes(id, bytes)
        .map(Some)
        .map_err(|source| EngineError::Damaged { path: format!("etcd:{key}").into(), source })
}

/// One whose presence alone decides.
fn mark<T: Companion>(id: ReservationId, value: Option<&[u8]>) -> Mark<T> {
    match value.map(|bytes| T::from_bytes(id, bytes)) {
        None => Mark::Absent,
        Some(Ok(content)) => Mark::Read(content),
        Some(Err(_)) => Mark::Present,
    }
}

/// What comes behind the last slash.
fn last_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key).ok()?.rsplit('/').next()
}

/// The first page of all keys that begin with `prefix`.
fn first_page(prefix: &str) -> Range {
    Range { limit: Some(Int(KEYS_AT_ONCE)), ..Range::all(prefix) }
}

fn is_not_moved(moved: &RangeAnswer) -> Result<(), EngineError> {
    match moved_to(moved) {
        Some(to) => Err(EngineError::Moved { to }),
        None => Ok(()),
    }
}

pub(super) fn moved_to(moved: &RangeAnswer) -> Option<String> {
    moved.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value.0).into_owned())
}

fn line_of(kv: &KeyValue) -> Result<(u64, Archived), EngineError> {
    let key = String::from_utf8_lossy(&kv.key.0).into_owned();
    let number = last_name(&kv.key.0).and_then(|digits| digits.parse().ok()).unwrap_or_default();
    Archived::from_line(&kv.value.0).map(|line| (number, line)).map_err(|source| EngineError::DamagedLine {
        path: format!("etcd:{key}").into(),
        line: number,
        source,
    })
}

fn reservation_of(kv: &KeyValue) -> Result<Reservation, EngineError> {
    let key = String::from_utf8_lossy(&kv.key.0).into_owned();
    let Some(id) = last_name(&kv.key.0).and_then(|name| name.parse().ok()) else {
        let detail = "it is no reservation, and must not lie there";
        return Err(EngineError::Misplaced { path: format!("etcd:{key}").into(), detail });
    };
    Reservation::from_bytes(id, &kv.value.0).map_err(|source| damaged(&key, source))
}

/// A ticket that is there: its lease is, so it counts, whatever its writer's clock said.
fn ticket_of(kv: &KeyValue, now: Timestamp) -> Result<Ticket, EngineError> {
    let key = String::from_utf8_lossy(&kv.key.0).into_owned();
    let digits = last_name(&kv.key.0).map(|name| name.trim_start_matches('0'));
    let Some(number) = digits.and_then(|digits| digits.parse().ok()) else {
        let detail = "it is no ticket, and must not lie there";
        return Err(EngineError::Misplaced { path: format!("etcd:{key}").into(), detail });
    };
    let ticket = Ticket::from_bytes(number, &kv.value.0).map_err(|source| damaged(&key, source))?;
    Ok(Ticket { expires_at: now.plus_seconds(LEASE_SECONDS), ..ticket })
}

impl<C: Clock> EtcdEngine<C> {
    /// The steps that read what a grant of `addresses` is decided by.
    pub(super) fn question(&self, places: &[String]) -> Vec<Step> {
        let mut steps = vec![
            Step::get(self.keys.moved().as_str()),
            Step::get(self.keys.token().as_str()),
            Step::get(self.keys.queue().as_str()),
            Step::get_all(&self.keys.folder(Folder::Waiting)),
        ];
        steps.extend(places.iter().map(|place| Step::RequestRange(first_page(place))));
        steps
    }

    /// What a grant in these places is decided by.
    ///
    /// # Errors
    ///
    /// [`EngineError::Damaged`] when any of it cannot be read: nothing is granted in doubt.
    pub(super) fn snapshot(&self, places: &[String]) -> Result<Snapshot, EngineError> {
        super::anew(|| {
            let question = Transaction { success: self.question(places), ..Transaction::default() };
            let answer = self.transact(Call::Read("read what is reserved"), &question)?;
            self.undamaged(places, answer)
        })
    }

    /// The same, of an answer to [`EtcdEngine::question`].
    pub(super) fn undamaged(
        &self,
        places: &[String],
        answer: TransactionAnswer,
    ) -> Result<Snapshot, EngineError> {
        let mut snapshot = self.read(places, answer)?;
        let damaged = &mut snapshot.damaged;
        damaged.append(&mut snapshot.damaged_tickets);
        match damaged.pop() {
            Some(error) => Err(error),
            None => Ok(snapshot),
        }
    }

    /// What there is in these places, with what of it cannot be read beside.
    pub(super) fn look(&self, places: &[String]) -> Result<Snapshot, EngineError> {
        let question = Transaction { success: self.question(places), ..Transaction::default() };
        let answer = self.transact(Call::Read("read what is reserved"), &question)?;
        self.read(places, answer)
    }

    /// All that there is, with the lives of all.
    pub(super) fn look_everywhere(&self) -> Result<Snapshot, EngineError> {
        match self.look_anyway()? {
            (_, Some(to)) => Err(EngineError::Moved { to }),
            (snapshot, None) => Ok(snapshot),
        }
    }

    /// What stands at these places, also in a store that was moved, and where to.
    pub(super) fn look_anyway_at(
        &self,
        places: &[String],
    ) -> Result<(Snapshot, Option<String>), EngineError> {
        let question = Transaction { success: self.question(places), ..Transaction::default() };
        let answer = self.transact(Call::Read("read what is reserved"), &question)?;
        self.read_anyway(places, answer)
    }

    /// All that there is, with the lives of all, also in a store that was moved, and where to.
    pub(super) fn look_anyway(&self) -> Result<(Snapshot, Option<String>), EngineError> {
        let (mut snapshot, moved) = self.look_anyway_at(&[self.keys.folder(Folder::Standing)])?;
        let alive = self.keys.folder(Folder::Alive);
        let range = Range { revision: Some(snapshot.revision), ..first_page(&alive) };
        let first = self.range("read what is reserved", &range)?;
        let mut all = Vec::new();
        self.each_page(first, &alive, snapshot.revision, |kv| all.push(kv.clone()))?;
        snapshot.lives = self.lives_of(&all);
        Ok((snapshot, moved))
    }

    fn read(&self, places: &[String], answer: TransactionAnswer) -> Result<Snapshot, EngineError> {
        match self.read_anyway(places, answer)? {
            (_, Some(to)) => Err(EngineError::Moved { to }),
            (snapshot, None) => Ok(snapshot),
        }
    }

    fn read_anyway(
        &self,
        places: &[String],
        answer: TransactionAnswer,
    ) -> Result<(Snapshot, Option<String>), EngineError> {
        let revision = answer.header.revision;
        let mut answers = answer.responses.into_iter().map(|its| its.response_range);
        let mut next = || answers.next().unwrap_or_default();
        let (moved, token, queue, waiting) = (next(), next(), next(), next());
        let mut snapshot = Snapshot { revision, ..Snapshot::default() };
        if let Some(kv) = token.kvs.first() {
            snapshot.token_revision = kv.mod_revision;
            snapshot.token = Some(self.token_of(kv)?);
        }
        snapshot.queue_revision = queue.kvs.first().map_or(Int(0), |kv| kv.mod_revision);
        let now = self.clock.now();
        for kv in &waiting.kvs {
            match ticket_of(kv, now) {
                Ok(ticket) => drop(snapshot.tickets.insert(ticket.ticket, ticket)),
                Err(error) => snapshot.damaged_tickets.push(error),
            }
        }
        for place in places {
            self.each_page(next(), place, revision, |kv| snapshot.add(kv))?;
        }
        Ok((snapshot, moved_to(&moved)))
    }

    /// Reads what stands in further places, at the revision of the snapshot.
    pub(super) fn look_further(&self, snapshot: &mut Snapshot, places: &[String]) -> Result<(), EngineError> {
        for place in places {
            let range = Range { revision: Some(snapshot.revision), ..first_page(place) };
            let first = self.range("read what is reserved", &range)?;
            self.each_page(first, place, snapshot.revision, |kv| snapshot.add(kv))?;
        }
        match snapshot.damaged.pop() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Reads the lives of these reservations, at the revision of the snapshot.
    pub(super) fn look_for_lives(
        &self,
        snapshot: &mut Snapshot,
        ids: &[ReservationId],
    ) -> Result<(), EngineError> {
        let unknown: Vec<ReservationId> =
            ids.iter().copied().filter(|id| !snapshot.lives.contains_key(id)).collect();
        for some in unknown.chunks(LIVES_AT_ONCE) {
            let life = |id: &ReservationId| {
                let all = Range::all(&self.keys.life(*id));
                Step::RequestRange(Range { revision: Some(snapshot.revision), ..all })
            };
            let question = Transaction { success: some.iter().map(life).collect(), ..Transaction::default() };
            let answer = self.transact(Call::Read("read what is reserved"), &question)?;
            for (id, its) in some.iter().zip(answer.responses) {
                let lives = self.lives_of(&its.response_range.kvs).remove(id).unwrap_or_default();
                snapshot.lives.insert(*id, lives);
            }
        }
        Ok(())
    }

    fn token_of(&self, kv: &KeyValue) -> Result<Token, EngineError> {
        let text = std::str::from_utf8(&kv.value.0).ok().map(str::trim);
        let token = text.and_then(|text| text.parse().ok()).and_then(Token::new);
        token.ok_or_else(|| EngineError::Misplaced {
            path: format!("etcd:{}", self.keys.token()).into(),
            detail: "it holds no token",
        })
    }

    /// Goes on from the first page of a folder to its last, at the same revision.
    fn each_page(
        &self,
        first: RangeAnswer,
        folder: &str,
        revision: Int,
        mut each: impl FnMut(&KeyValue),
    ) -> Result<(), EngineError> {
        let mut page = first;
        loop {
            page.kvs.iter().for_each(&mut each);
            let Some(last) = page.kvs.last().filter(|_| page.more) else { return Ok(()) };
            let mut key = last.key.clone();
            key.0.push(0);
            let range =
                Range { key, limit: Some(Int(KEYS_AT_ONCE)), revision: Some(revision), ..Range::all(folder) };
            page = self.range("read what is reserved", &range)?;
        }
    }

    /// All of a folder, at a revision.
    fn folder(&self, folder: Folder, revision: Int) -> Result<BTreeMap<ReservationId, Vec<u8>>, EngineError> {
        let name = self.keys.folder(folder);
        let range = Range { revision: Some(revision), ..first_page(&name) };
        let first = self.range("read what was reserved", &range)?;
        let mut all = BTreeMap::new();
        self.each_page(first, &name, revision, |kv| {
            if let Some(id) = last_name(&kv.key.0).and_then(|name| name.parse().ok()) {
                all.insert(id, kv.value.0.clone());
            }
        })?;
        Ok(all)
    }

    fn lives_of(&self, kvs: &[KeyValue]) -> BTreeMap<ReservationId, Lives> {
        let folder = self.keys.folder(Folder::Alive);
        let mut lives: BTreeMap<ReservationId, Lives> = BTreeMap::new();
        for kv in kvs {
            let name = std::str::from_utf8(&kv.key.0).ok().and_then(|key| key.strip_prefix(folder.as_str()));
            if let Some((id, life)) = name.and_then(|name| name.split_once('/'))
                && let Ok(id) = id.parse()
            {
                lives.entry(id).or_default().add(life, kv.lease);
            }
        }
        lives
    }

    pub(super) fn ticket(&self, number: TicketNumber) -> Result<Option<Ticket>, EngineError> {
        let range = Range { key: self.keys.ticket(number).as_str().into(), ..Range::default() };
        let answer = self.range("read a ticket", &range)?;
        answer.kvs.first().map(|kv| ticket_of(kv, self.clock.now())).transpose()
    }

    /// These with what etcd says of their lives. What has ended has none; its records tell when it would have lapsed.
    pub(super) fn with_lives(
        &self,
        mut leases: Vec<Lease>,
        lives: impl Fn(ReservationId) -> Lives,
        now: Timestamp,
    ) -> Result<Vec<Lease>, EngineError> {
        let is_over = |lease: &Lease| lease.release.is_present() || lease.supersession.is_present();
        let lives_of = |lease: &Lease| {
            if is_over(lease) { Lives::default() } else { lives(lease.reservation.reservation_id) }
        };
        let lives: Vec<Lives> = leases.iter().map(lives_of).collect();
        let names: Vec<Int> = lives.iter().flat_map(Lives::leases).collect();
        let mut left = self.left_of_each(&names)?.into_iter();
        for (lease, lives) in leases.iter_mut().zip(&lives) {
            let longest = lives.leases().filter_map(|_| left.next().flatten()).max();
            if is_over(lease) {
                continue;
            }
            let recorded = lease.recorded_expiry();
            let lapses_at = match longest {
                Some(left) => plus(now, left.at_most),
                // By the clock of whoever wrote it.
                None if recorded <= now => recorded,
                // That clock is ahead, and when it was is not known: before whoever asks had begun to.
                None => Timestamp::from_microseconds(now.as_microseconds() - ASKED_MICROSECONDS),
            };
            lease.lapses_at = (lapses_at != recorded).then_some(lapses_at);
        }
        Ok(leases)
    }

    /// How long each of these leases lasts still. Many are asked for at the same time.
    fn left_of_each(&self, leases: &[Int]) -> Result<Vec<Option<Left>>, EngineError> {
        let lessor = &*self.lessor;
        let ask = |leases: &[Int]| leases.iter().map(|lease| lessor.left(*lease)).collect();
        let threads = (leases.len() / WORTH_ASKING).min(ASKING_MAX);
        if threads < 2 {
            return ask(leases);
        }
        let answers: Vec<Result<Vec<Option<Left>>, EngineError>> = std::thread::scope(|scope| {
            let shares = leases.chunks(leases.len().div_ceil(threads));
            let asking: Vec<_> = shares.map(|share| scope.spawn(move || ask(share))).collect();
            let answers = asking.into_iter().map(std::thread::ScopedJoinHandle::join);
            answers.map(|answer| answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        Ok(answers.into_iter().collect::<Result<Vec<_>, EngineError>>()?.concat())
    }

    /// One reservation with everything that happened to it, and its lives.
    pub(super) fn found(&self, id: ReservationId) -> Result<Option<(Lease, Lives)>, EngineError> {
        let key = |folder| self.keys.of_reservation(folder, id);
        let folders = [Folder::Reservations, Folder::Heartbeats, Folder::Releases, Folder::Superseded];
        let mut success: Vec<Step> = folders.iter().map(|folder| Step::get(key(*folder).as_str())).collect();
        success.push(Step::get_all(&self.keys.life(id)));
        success.push(Step::get(self.keys.moved().as_str()));
        let question = Transaction { success, ..Transaction::default() };
        let answer: TransactionAnswer = self.transact(Call::Read("read a reservation"), &question)?;
        let range = |at: usize| answer.responses.get(at).map(|its| &its.response_range);
        if let Some(moved) = range(5) {
            is_not_moved(moved)?;
        }
        let value = |at: usize| range(at)?.kvs.first().map(|kv| kv.value.0.as_slice());
        let Some(bytes) = value(0) else { return Ok(None) };
        let reservation = Reservation::from_bytes(id, bytes)
            .map_err(|source| damaged(&key(Folder::Reservations), source))?;
        let lives = range(4).map(|alive| self.lives_of(&alive.kvs)).unwrap_or_default();
        let lives = lives.get(&id).cloned().unwrap_or_default();
        let lease = Lease {
            heartbeat: companion(&key(Folder::Heartbeats), id, value(1))?,
            release: mark::<Release>(id, value(2)),
            supersession: mark::<Supersession>(id, value(3)),
            ..Lease::fresh(reservation)
        };
        let mut leases = self.with_lives(vec![lease], |_| lives.clone(), self.clock.now())?;
        Ok(leases.pop().map(|lease| (lease, lives)))
    }

    /// All that stands.
    pub(super) fn listed(&self) -> Result<Listing, EngineError> {
        let mut snapshot = self.look_everywhere()?;
        let heartbeats = self.folder(Folder::Heartbeats, snapshot.revision)?;
        let standing = std::mem::take(&mut snapshot.standing).into_values().collect();
        self.listing(&mut snapshot, standing, &heartbeats)
    }

    /// What stands and overlaps one of `addresses`.
    pub(super) fn listed_near(&self, addresses: &[Address]) -> Result<Listing, EngineError> {
        let mut snapshot = self.look(&self.keys.standing_near(addresses))?;
        let found: Vec<Reservation> = snapshot.overlapping(addresses).cloned().collect();
        let ids: Vec<ReservationId> = found.iter().map(|its| its.reservation_id).collect();
        self.look_for_lives(&mut snapshot, &ids)?;
        let mut heartbeats = BTreeMap::new();
        for some in ids.chunks(LIVES_AT_ONCE) {
            let heartbeat = |id: &ReservationId| {
                let key = self.keys.of_reservation(Folder::Heartbeats, *id);
                let revision = Some(snapshot.revision);
                Step::RequestRange(Range { key: key.as_str().into(), revision, ..Range::default() })
            };
            let success = some.iter().map(heartbeat).collect();
            let question = Transaction { success, ..Transaction::default() };
            let answer = self.transact(Call::Read("read what is reserved"), &question)?;
            for (id, its) in some.iter().zip(answer.responses) {
                heartbeats.extend(its.response_range.kvs.into_iter().map(|kv| (*id, kv.value.0)));
            }
        }
        self.listing(&mut snapshot, found, &heartbeats)
    }

    fn listing(
        &self,
        snapshot: &mut Snapshot,
        standing: Vec<Reservation>,
        heartbeats: &BTreeMap<ReservationId, Vec<u8>>,
    ) -> Result<Listing, EngineError> {
        let now = self.clock.now();
        let mut unread = std::mem::take(&mut snapshot.damaged);
        let mut leases = Vec::new();
        for reservation in standing {
            let id = reservation.reservation_id;
            let key = self.keys.of_reservation(Folder::Heartbeats, id);
            match companion(&key, id, heartbeats.get(&id).map(Vec::as_slice)) {
                Ok(heartbeat) => leases.push(Lease { heartbeat, ..Lease::fresh(reservation) }),
                Err(error) => unread.push(error),
            }
        }
        let leases = self.with_lives(leases, |id| snapshot.lives(id), now)?;
        unread.sort_by_key(ToString::to_string);
        Ok(Listing { leases, damaged: unread, unsure: Vec::new() })
    }

    /// All that is not archived.
    pub(super) fn all(&self) -> Result<Listing, EngineError> {
        let snapshot = self.look_everywhere()?;
        let revision = snapshot.revision;
        let records = self.folder(Folder::Reservations, revision)?;
        let heartbeats = self.folder(Folder::Heartbeats, revision)?;
        let releases = self.folder(Folder::Releases, revision)?;
        let superseded = self.folder(Folder::Superseded, revision)?;
        let mut listing = Listing::default();
        for (id, bytes) in records {
            let key = |folder| self.keys.of_reservation(folder, id);
            let reservation = match Reservation::from_bytes(id, &bytes) {
                Ok(reservation) => reservation,
                Err(source) => {
                    listing.damaged.push(damaged(&key(Folder::Reservations), source));
                    continue;
                }
            };
            let heartbeat =
                match companion(&key(Folder::Heartbeats), id, heartbeats.get(&id).map(Vec::as_slice)) {
                    Ok(heartbeat) => heartbeat,
                    Err(error) => {
                        listing.damaged.push(error);
                        listing.unsure.push(reservation);
                        continue;
                    }
                };
            let lease = Lease {
                heartbeat,
                release: mark::<Release>(id, releases.get(&id).map(Vec::as_slice)),
                supersession: mark::<Supersession>(id, superseded.get(&id).map(Vec::as_slice)),
                ..Lease::fresh(reservation)
            };
            listing.leases.push(lease);
        }
        let leases = std::mem::take(&mut listing.leases);
        listing.leases = self.with_lives(leases, |id| snapshot.lives(id), self.clock.now())?;
        listing.damaged.sort_by_key(ToString::to_string);
        Ok(listing)
    }

    /// Moves what is over for long enough into the archive.
    pub(super) fn archive(
        &self,
        retention: &Retention,
        progress: &dyn Progress,
    ) -> Result<Collected, EngineError> {
        let listing = super::anew(|| self.all())?;
        let now = self.clock.now();
        let mut collected = Collected { damaged: listing.damaged, ..Collected::default() };
        let mut over: Vec<(Token, Lease, Timestamp)> = listing
            .leases
            .into_iter()
            .filter_map(|lease| {
                let ended_at = retention.ended_at(&lease, now)?;
                Some((lease.reservation.token, lease, ended_at))
            })
            .collect();
        over.sort_unstable_by_key(|(token, ..)| *token);
        over.truncate(retention.at_most.unwrap_or(usize::MAX));
        if retention.dry_run {
            for (.., ended_at) in &over {
                collected.count(*ended_at);
            }
            return Ok(collected);
        }
        progress.begin(Some(over.len() as u64), "archiving");
        let mut rest = &over[..];
        while !rest.is_empty() {
            match self.archive_batch(&rest[..rest.len().min(ARCHIVED_AT_ONCE)], &mut collected) {
                Ok(done) => {
                    progress.advance(done as u64);
                    rest = &rest[done..];
                }
                Err(error) => {
                    collected.stopped_by = Some(error);
                    break;
                }
            }
        }
        Ok(collected)
    }

    /// Archives as many of them as one transaction takes, from the first on; returns how many that were.
    fn archive_batch(
        &self,
        batch: &[(Token, Lease, Timestamp)],
        collected: &mut Collected,
    ) -> Result<usize, EngineError> {
        let newest = self.newest_line()?;
        let (mut number, mut before) = match &newest {
            Some((number, line)) => (*number + 1, Some(line.bounds())),
            None => (1, None),
        };
        let now = self.clock.now();
        let mut transaction = Transaction {
            compare: vec![Compare::absent(self.keys.archive_line(number).as_str())],
            ..Transaction::default()
        };
        let mut moved = Vec::new();
        let (mut done, mut size) = (0, 0);
        for (position, (_, lease, ended_at)) in batch.iter().enumerate() {
            let id = lease.reservation.reservation_id;
            let bounds: Option<Bounds> = before;
            let batch_position = u32::try_from(position).unwrap_or_default();
            let Some(line) = Archived::of(lease.clone(), bounds, batch_position, now) else {
                done += 1;
                continue;
            };
            let key = |folder| self.keys.of_reservation(folder, id);
            let bytes = line.to_line().map_err(|source| damaged(&key(Folder::Archive), source))?;
            size += bytes.len();
            if !moved.is_empty() && size > MOVED_BYTES_MAX {
                break;
            }
            done += 1;
            // It has neither been revived nor released since, nor archived by somebody else.
            transaction.compare.push(Compare::present(key(Folder::Reservations).as_str()));
            if lease.release.is_present() {
                transaction.compare.push(Compare::present(key(Folder::Releases).as_str()));
            } else {
                transaction.compare.push(Compare::absent(key(Folder::Releases).as_str()));
                for life in [Life::Grant, Life::Beat] {
                    transaction.compare.push(Compare::absent(self.keys.life_of(id, life).as_str()));
                }
            }
            moved.push((bytes.len() as u64, *ended_at));
            transaction.success.push(Step::put(self.keys.archive_line(number).as_str(), bytes));
            transaction
                .success
                .push(Step::put(key(Folder::Archived).as_str(), number.to_string().into_bytes()));
            for folder in [Folder::Reservations, Folder::Heartbeats, Folder::Releases, Folder::Superseded] {
                transaction.success.push(Step::delete(key(folder).as_str()));
            }
            let standing = self.keys.standing(&lease.reservation);
            transaction.success.push(Step::delete(standing.as_str()));
            before = Some(line.bounds());
            number += 1;
        }
        if self.commit("archive", transaction)? {
            for (bytes, ended_at) in moved {
                collected.bytes += bytes;
                collected.count(ended_at);
            }
        } else {
            collected.skipped += done;
        }
        Ok(done)
    }

    fn newest_line(&self) -> Result<Option<(u64, Archived)>, EngineError> {
        let folder = self.keys.folder(Folder::Archive);
        let range = Range { limit: Some(Int(1)), sort_order: Some("DESCEND"), ..Range::all(&folder) };
        let answer = self.range("read the archive", &range)?;
        answer.kvs.first().map(line_of).transpose()
    }

    /// The archive, the newest first, a page at a time.
    pub(super) fn archive_lines(&self) -> Lines<'_> {
        let folder = self.keys.folder(Folder::Archive);
        let mut end = super::wire::end_of(&folder);
        let mut page: std::vec::IntoIter<Result<Archived, EngineError>> = Vec::new().into_iter();
        let mut is_over = false;
        Box::new(std::iter::from_fn(move || {
            loop {
                if let Some(line) = page.next() {
                    return Some(line);
                }
                if is_over {
                    return None;
                }
                let range = Range {
                    limit: Some(Int(LINES_AT_ONCE)),
                    sort_order: Some("DESCEND"),
                    range_end: Some(end.clone()),
                    ..Range::all(&folder)
                };
                match self.range("read the archive", &range) {
                    Ok(answer) => {
                        is_over = !answer.more;
                        if let Some(last) = answer.kvs.last() {
                            end = last.key.clone();
                        }
                        let lines = answer.kvs.iter().map(|kv| line_of(kv).map(|(_, line)| line));
                        page = lines.collect::<Vec<_>>().into_iter();
                    }
                    Err(error) => {
                        is_over = true;
                        return Some(Err(error));
                    }
                }
            }
        }))
    }

    pub(super) fn archive_line(&self, id: ReservationId) -> Result<Option<Archived>, EngineError> {
        let key = self.keys.of_reservation(Folder::Archived, id);
        let answer =
            self.range("read the archive", &Range { key: key.as_str().into(), ..Range::default() })?;
        let Some(kv) = answer.kvs.first() else { return Ok(None) };
        let number = std::str::from_utf8(&kv.value.0).ok().and_then(|digits| digits.parse().ok());
        let number = number.ok_or_else(|| EngineError::Misplaced {
            path: format!("etcd:{key}").into(),
            detail: "it holds no number of a line",
        })?;
        let line = self.keys.archive_line(number);
        let answer =
            self.range("read the archive", &Range { key: line.as_str().into(), ..Range::default() })?;
        answer.kvs.first().map(|kv| line_of(kv).map(|(_, line)| line)).transpose()
    }
}

/// So much later, to the microsecond.
pub(super) fn plus(now: Timestamp, time: Duration) -> Timestamp {
    let microseconds = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microseconds(now.as_microseconds().saturating_add(microseconds))
}
