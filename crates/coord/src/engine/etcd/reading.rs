//! What stands in etcd, read at one moment.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::Call;
use super::keys::{Folder, Life};
use super::wire::{Compare, Int, KeyValue, Range, RangeAnswer, Step, Transaction, TransactionAnswer};
use super::{ARCHIVED_AT_ONCE, EtcdEngine, damaged};
use crate::archive::{Archived, Bounds, Collected, Retention};
use crate::clock::{Clock, Timestamp};
use crate::decide::Request;
use crate::engine::{EngineError, Lines, Listing};
use crate::id::{ReservationId, RunId, TicketNumber, Token};
use crate::lease::{Lease, Mark};
use crate::progress::Progress;
use crate::queue::{LEASE_SECONDS, Queue, Ticket};
use crate::record::{Companion, Heartbeat, Mode, Release, Reservation, Supersession};

/// How many keys with their values are asked for at once: about a megabyte. Few in tests, so that they turn pages.
const KEYS_AT_ONCE: i64 = if cfg!(test) { 2 } else { 1000 };

/// How many lines of the archive are asked for at once.
const LINES_AT_ONCE: i64 = if cfg!(test) { 3 } else { 256 };

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

/// All that a grant is decided by, at one revision.
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

fn is_not_moved(moved: &RangeAnswer) -> Result<(), EngineError> {
    match moved.kvs.first() {
        Some(kv) => Err(EngineError::Moved { to: String::from_utf8_lossy(&kv.value.0).trim().to_owned() }),
        None => Ok(()),
    }
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
    /// All that a grant is decided by.
    ///
    /// # Errors
    ///
    /// [`EngineError::Damaged`] when any of it cannot be read: nothing is granted in doubt.
    pub(super) fn snapshot(&self) -> Result<Snapshot, EngineError> {
        let mut snapshot = super::anew(|| self.look())?;
        let damaged = &mut snapshot.damaged;
        damaged.append(&mut snapshot.damaged_tickets);
        match damaged.pop() {
            Some(error) => Err(error),
            None => Ok(snapshot),
        }
    }

    /// The same, with what of it cannot be read beside.
    pub(super) fn look(&self) -> Result<Snapshot, EngineError> {
        let standing = self.keys.folder(Folder::Standing);
        let first = Range { limit: Some(Int(KEYS_AT_ONCE)), ..Range::all(&standing) };
        let question = Transaction {
            success: vec![
                Step::get(self.keys.moved().as_str()),
                Step::get(self.keys.token().as_str()),
                Step::get(self.keys.queue().as_str()),
                Step::get_all(&self.keys.folder(Folder::Waiting)),
                Step::get_all(&self.keys.folder(Folder::Alive)),
                Step::RequestRange(first),
            ],
            ..Transaction::default()
        };
        let answer = self.transact(Call::Read("read what is reserved"), &question)?;
        let revision = answer.header.revision;
        let mut answers = answer.responses.into_iter().map(|its| its.response_range);
        let mut next = || answers.next().unwrap_or_default();
        let (moved, token, queue, waiting, alive, first) = (next(), next(), next(), next(), next(), next());
        is_not_moved(&moved)?;
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
        snapshot.lives = self.lives_of(&alive.kvs);
        self.each_page(first, &standing, revision, |kv| match reservation_of(kv) {
            Ok(reservation) => drop(snapshot.standing.insert(reservation.reservation_id, reservation)),
            Err(error) => snapshot.damaged.push(error),
        })?;
        Ok(snapshot)
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
        let range = Range { limit: Some(Int(KEYS_AT_ONCE)), revision: Some(revision), ..Range::all(&name) };
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

    /// A reservation with what etcd says of its life.
    pub(super) fn lease(
        &self,
        reservation: Reservation,
        lives: &Lives,
        heartbeat: Option<Heartbeat>,
        now: Timestamp,
    ) -> Result<Lease, EngineError> {
        let lease = Lease { heartbeat, ..Lease::fresh(reservation) };
        self.with_life(lease, lives, now)
    }

    fn with_life(&self, mut lease: Lease, lives: &Lives, now: Timestamp) -> Result<Lease, EngineError> {
        let recorded = lease.recorded_expiry();
        let lapses_at = match self.left(lives)? {
            Some(left) => plus(now, left.at_most),
            // By the clock of whoever wrote it.
            None if recorded <= now => recorded,
            // That clock is ahead, and when it was is not known: before whoever asks had begun to.
            None => Timestamp::from_microseconds(now.as_microseconds() - ASKED_MICROSECONDS),
        };
        lease.lapses_at = (lapses_at != recorded).then_some(lapses_at);
        Ok(lease)
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
        let lease = self.ended_or_alive(lease, &lives)?;
        Ok(Some((lease, lives)))
    }

    /// What has ended has no life; its records tell when it would have lapsed.
    fn ended_or_alive(&self, lease: Lease, lives: &Lives) -> Result<Lease, EngineError> {
        if lease.release.is_present() || lease.supersession.is_present() {
            return Ok(lease);
        }
        self.with_life(lease, lives, self.clock.now())
    }

    /// What stands, of what is `wanted`.
    pub(super) fn listed(&self, wanted: impl Fn(&Reservation) -> bool) -> Result<Listing, EngineError> {
        let mut snapshot = self.look()?;
        let heartbeats = self.folder(Folder::Heartbeats, snapshot.revision)?;
        let now = self.clock.now();
        let mut unread = std::mem::take(&mut snapshot.damaged);
        let mut leases = Vec::new();
        for (id, reservation) in std::mem::take(&mut snapshot.standing) {
            if !wanted(&reservation) {
                continue;
            }
            let key = self.keys.of_reservation(Folder::Heartbeats, id);
            match companion(&key, id, heartbeats.get(&id).map(Vec::as_slice)) {
                Ok(heartbeat) => {
                    leases.push(self.lease(reservation, &snapshot.lives(id), heartbeat, now)?);
                }
                Err(error) => unread.push(error),
            }
        }
        unread.sort_by_key(ToString::to_string);
        Ok(Listing { leases, damaged: unread, unsure: Vec::new() })
    }

    /// All that is not archived.
    pub(super) fn all(&self) -> Result<Listing, EngineError> {
        let snapshot = self.look()?;
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
            listing.leases.push(self.ended_or_alive(lease, &snapshot.lives(id))?);
        }
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
        for batch in over.chunks(ARCHIVED_AT_ONCE) {
            if let Err(error) = self.archive_batch(batch, &mut collected) {
                collected.stopped_by = Some(error);
                break;
            }
            progress.advance(batch.len() as u64);
        }
        Ok(collected)
    }

    fn archive_batch(
        &self,
        batch: &[(Token, Lease, Timestamp)],
        collected: &mut Collected,
    ) -> Result<(), EngineError> {
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
        for (position, (_, lease, ended_at)) in batch.iter().enumerate() {
            let id = lease.reservation.reservation_id;
            let bounds: Option<Bounds> = before;
            let batch_position = u32::try_from(position).unwrap_or_default();
            let Some(line) = Archived::of(lease.clone(), bounds, batch_position, now) else { continue };
            let key = |folder| self.keys.of_reservation(folder, id);
            let bytes = line.to_line().map_err(|source| damaged(&key(Folder::Archive), source))?;
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
            for folder in [
                Folder::Reservations,
                Folder::Standing,
                Folder::Heartbeats,
                Folder::Releases,
                Folder::Superseded,
            ] {
                transaction.success.push(Step::delete(key(folder).as_str()));
            }
            before = Some(line.bounds());
            number += 1;
        }
        if self.commit("archive", transaction)? {
            for (bytes, ended_at) in moved {
                collected.bytes += bytes;
                collected.count(ended_at);
            }
        } else {
            collected.skipped += batch.len();
        }
        Ok(())
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
