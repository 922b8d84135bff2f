//! The embedded engine: plain JSON files in one folder, shared by any number of processes, no daemon.
//!
//! `lock.rs` is the only caller of file locks, `publish.rs` the only one that writes, `layout.rs` knows the
//! names. What is here is the order of their steps; `docs/store-format.md` argues why a process killed
//! between any two of them leaves a store that the next one uses without repair.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::archive::Archive;
use self::index::{Access, Index, marked};
use self::layout::{Folder, Store, Watched, record_name};
use self::lock::{BEAT_WAIT, RIVAL_WAIT, RecordLock, RecordLocking, StoreLock, allow_record_locks};
pub use self::prepare::Prepared;
use self::publish::{Durability, Staged, Undo};
pub use self::safeguards::{Safeguard, Safeguards};
use self::waiting::TICKET_PREFIX;
use crate::address::Address;
use crate::archive::{Archived, Collected, Retention};
use crate::clock::{Clock, Timestamp};
use crate::decide::{Blocker, Candidate, Conflict, Decision, Notice, Request, decide};
use crate::engine::changes::{Changes, Interest, Polling};
use crate::engine::{
    Beat, Beaten, Engine, EngineError, Grant, Lines, Listing, ReleaseRequest, Released, Reserved, Turn,
};
use crate::id::{ReservationId, RunId, TicketNumber};
use crate::lease::{Lease, Mark};
use crate::progress::{Progress, Silent};
use crate::queue::{Queue, Ticket, deadlock, position};
use crate::record::{Companion, Heartbeat, Mode, Release, Reservation, Supersession, to_file_bytes};

mod archive;
mod backwards;
mod changes;
pub mod check;
mod collect;
mod index;
mod layout;
mod lock;
mod moving;
mod network;
mod prepare;
mod publish;
mod safeguards;
mod tokens;
mod waiting;

/// What the temporary file of a heartbeat begins with; the reservation's digits follow. It belongs to whoever
/// holds that record's lock, a ticket's to whoever waits with it, all others to whoever holds the store's lock.
const HEARTBEAT_PREFIX: &str = "heartbeat-";

/// Reservations in a folder, usually `.muse/coordination`.
///
/// The folder is opened anew by each call, so that a value may live long: a store that was deleted and made
/// again is used as it is now. One that was deleted is not made again in passing: see [`EngineError::Gone`].
#[derive(Debug)]
pub struct FileEngine<C> {
    path: PathBuf,
    clock: C,
    safeguards: Safeguards,
    index_above: usize,
    unread_max: usize,
    progress: Box<dyn Progress>,
    /// Whether there was a store already.
    was_there: AtomicBool,
}

impl<C: Clock> FileEngine<C> {
    /// An engine on the store at `path`. The first grant makes it if it never was there; nothing else does.
    pub fn new(path: impl Into<PathBuf>, clock: C) -> FileEngine<C> {
        FileEngine::with_safeguards(path, clock, Safeguards::ALL)
    }

    /// An engine with the given protections: all of them, outside the tests that take one out.
    pub fn with_safeguards(path: impl Into<PathBuf>, clock: C, safeguards: Safeguards) -> FileEngine<C> {
        FileEngine {
            path: path.into(),
            clock,
            safeguards,
            index_above: index::FEW,
            unread_max: index::UNREAD_MAX,
            progress: Box::new(Silent),
            was_there: AtomicBool::new(false),
        }
    }

    /// The same engine, told whether somebody has seen the store already. If so, no grant makes it.
    #[must_use = "this returns the engine"]
    pub fn was_there(self, was_there: bool) -> FileEngine<C> {
        FileEngine { was_there: AtomicBool::new(was_there), ..self }
    }

    /// The same engine with an index above so many records, in place of 64: below, all records are read. Answers do
    /// not depend on it, as tests of small stores show; damage in records that are in nobody's way goes unseen above.
    #[must_use = "this returns the engine"]
    pub fn index_above(self, records: usize) -> FileEngine<C> {
        FileEngine { index_above: records, ..self }
    }

    /// The same engine, which reads so many records for the index under the store's lock, in place of 4,096, and more
    /// than that beforehand. Answers do not depend on it.
    #[must_use = "this returns the engine"]
    pub fn unread_max(self, records: usize) -> FileEngine<C> {
        FileEngine { unread_max: records, ..self }
    }

    /// The same engine, which tells `progress` how far a call is that reads very many records, such as the one that
    /// makes the index.
    #[must_use = "this returns the engine"]
    pub fn telling(self, progress: Box<dyn Progress>) -> FileEngine<C> {
        FileEngine { progress, ..self }
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the store, or what is missing in it: a deleted folder, a deleted token file. The folder that the
    /// store lies in has to be there.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or lies on a network file system.
    pub fn prepare(&self) -> Result<Prepared, EngineError> {
        prepare::prepare(&self.path, self.safeguards, self.clock.now())
    }

    /// The file that the reservation `id` is stored in.
    pub fn record_path(&self, id: ReservationId) -> PathBuf {
        self.path.join("reservations").join(record_name(id))
    }

    /// The newest line of an archived reservation, and the file that it is in: see [`Engine::find_archived`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn locate_archived(&self, id: ReservationId) -> Result<Option<(Archived, PathBuf)>, EngineError> {
        match self.open()? {
            Some(store) => here(&store, Archive::open(&store)?.find(id)),
            None => Ok(None),
        }
    }

    fn open(&self) -> Result<Option<Store>, EngineError> {
        let store = Store::open(&self.path, self.safeguards)?;
        if store.is_some() {
            self.was_there.store(true, Ordering::Relaxed);
        }
        Ok(store)
    }

    /// The index of a store with many records, as it is.
    fn index_as_it_is<'s>(&self, store: &'s Store, access: Access) -> Result<Option<Index<'s>>, EngineError> {
        let has_many = store.reservations.is_dear_to_list(self.index_above)?;
        Ok(if has_many { Index::as_it_is(store, access) } else { None })
    }

    /// What `read` finds by the index; `None` where all records are to be read.
    fn by_index(
        &self,
        store: &Store,
        read: impl Fn(&Index<'_>) -> Option<Vec<Result<Lease, EngineError>>>,
    ) -> Result<Option<Listing>, EngineError> {
        for _ in 0..READINGS_MAX {
            let Some(index) = self.index_as_it_is(store, Access::Read)? else { break };
            let leases = read(&index);
            // What was read while all was marked is complete.
            if let (Some(leases), true) = (leases, index.is_marked()?) {
                return Ok(Some(Listing::of(leases)));
            }
        }
        Ok(None)
    }

    fn open_or_make(&self) -> Result<Store, EngineError> {
        // Asked before the look: another thread may make the store after it.
        let was_there = self.was_there.load(Ordering::Relaxed);
        if let Some(store) = self.open()? {
            return Ok(store);
        }
        if was_there {
            return Err(self.gone());
        }
        self.prepare()?;
        self.open()?.ok_or_else(|| self.gone())
    }

    fn gone(&self) -> EngineError {
        EngineError::Gone { path: self.path.clone() }
    }

    /// What came of an operation; where something was missing because the store is gone by now, just that.
    fn unless_gone<T>(&self, done: Result<T, EngineError>) -> Result<T, EngineError> {
        done.map_err(|error| self.or_gone(error))
    }

    fn or_gone(&self, error: EngineError) -> EngineError {
        let is_of_missing_part = error.is_of_missing_part();
        if is_of_missing_part && let Ok(Some(to)) = self.moved_to() {
            return EngineError::Moved { to };
        }
        let is_gone =
            is_of_missing_part && self.was_there.load(Ordering::Relaxed) && matches!(self.open(), Ok(None));
        if is_gone { self.gone() } else { error }
    }
}

/// What came of each release that was asked for.
type Answers = Vec<(ReservationId, Result<Released, EngineError>)>;

/// A request that somebody is in the way of. The store's lock is still held.
struct Denial<'a> {
    store: &'a Store,
    index: &'a mut Option<Index<'a>>,
    conflicts: Vec<Conflict>,
    /// What the request was decided against: with an index, only what overlaps it.
    candidates: &'a [Candidate],
    /// The tickets before it in the queue.
    ahead: &'a [Ticket],
    now: Timestamp,
}

impl Denial<'_> {
    /// What the request was decided against, and all that the tickets before it could be waiting for.
    fn candidates_of_all(&mut self) -> Result<Vec<Candidate>, EngineError> {
        let mut all = self.candidates.to_vec();
        if self.index.is_none() || self.ahead.is_empty() {
            return Ok(all);
        }
        let wanted: Vec<Address> = self.ahead.iter().flat_map(|ticket| ticket.addresses.clone()).collect();
        let known: HashSet<ReservationId> =
            all.iter().map(|candidate| candidate.lease.reservation.reservation_id).collect();
        let others = candidates(self.store, self.index, &wanted)?.into_iter();
        all.extend(others.filter(|other| !known.contains(&other.lease.reservation.reservation_id)));
        Ok(all)
    }
}

impl<C: Clock> FileEngine<C> {
    /// Grants `request`, which waits with the ticket of `place`, if it does, or answers what `denied` makes of the
    /// denial, or what stands beside the ticket if that place is lost.
    fn attempt<A: From<Reserved>>(
        &self,
        request: &Request,
        place: Option<(TicketNumber, A)>,
        denied: impl FnOnce(Denial<'_>) -> Result<A, EngineError>,
    ) -> Result<A, EngineError> {
        let store = self.open_or_make()?;
        let (lock, mut now, mut index) =
            index::locked(&store, self.index_above, self.unread_max, &self.clock, &*self.progress)?;
        // Asked under the lock: whoever is stopped while it waits for that may lose its place meanwhile.
        let ticket = match place {
            Some((ticket, lost)) if !waiting::has_place(&store, ticket, &request.run, now)? => {
                return Ok(lost);
            }
            Some((ticket, _)) => Some(ticket),
            None => None,
        };
        let ahead = tickets_ahead(&store, request, ticket, now)?;
        let mut candidates = candidates(&store, &mut index, &request.addresses)?;
        // A denial needs no look: what denies it is there.
        if let Some(used) = &mut index
            && used.is_look_due(now)
            && !matches!(decide(request, &candidates, &ahead, now), Decision::Deny { .. })
        {
            if !used.look_again(now)? {
                index = None;
            }
            candidates = self::candidates(&store, &mut index, &request.addresses)?;
        }
        // Whoever made the store may have been killed before its own name was on the disk: its first grant sees
        // to it.
        if index.is_none() && candidates.is_empty() && store.reservations.is_empty()? {
            prepare::sync_name(&self.path, self.safeguards)?;
        }
        let plain;
        let (request, void) = match take_over_target(&store, request, &candidates)? {
            Target::None | Target::Held => (request, false),
            Target::Ended => {
                plain = Request { take_over: None, ..request.clone() };
                (&plain, true)
            }
            Target::Missing => return Ok(Reserved::NothingToTakeOver.into()),
            Target::Elsewhere => return Ok(Reserved::TakeOverElsewhere.into()),
        };

        // Lapsed reservations in the way are locked, and each is looked at again once it is: its holder may
        // have revived it meanwhile. Each turn locks some more, so this comes to an end.
        let mut locks: HashMap<usize, RecordLock> = HashMap::new();
        loop {
            let (supersede, notices) = match decide(request, &candidates, &ahead, now) {
                Decision::Deny { conflicts } => {
                    let (index, candidates, ahead) = (&mut index, &*candidates, &*ahead);
                    return denied(Denial { store: &store, index, conflicts, candidates, ahead, now });
                }
                Decision::Renew { candidate, notices } => {
                    let lease = candidates.swap_remove(candidate).lease;
                    return renew(&store, request, lease, notices, void, &self.clock).map(A::from);
                }
                Decision::Grant { supersede, notices } => (supersede, notices),
            };
            allow_record_locks(supersede.len());
            let locked_before = locks.len();
            for &position in &supersede {
                if let Entry::Vacant(lock) = locks.entry(position) {
                    match lock_lapsed(&store, &mut candidates[position])? {
                        Some(locked) => lock.insert(locked),
                        // Being extended right now: this denies the request, whatever the others say.
                        None => break,
                    };
                }
            }
            let is_settled = locks.len() == locked_before
                && supersede.iter().all(|&position| !candidates[position].being_extended);
            if is_settled {
                let superseded: Vec<&Lease> =
                    supersede.iter().map(|&position| &candidates[position].lease).collect();
                let taken_over = taken_over(request, &candidates);
                let lease = write_grant(&store, &mut index, request, ticket, &superseded, taken_over, now)?;
                // Reservations that are being superseded are locked by this process, and not touched.
                let untidied = index.as_ref().and_then(|index| index.tidy(&lock, now));
                let grant = Grant {
                    superseded: superseded.len(),
                    take_over_was_void: void,
                    untidied: untidied.map(|error| error.to_string()),
                    ..Grant::new(lease, notices)
                };
                return Ok(Reserved::Granted(Box::new(grant)).into());
            }
            now = self.clock.now();
        }
    }

    /// Sends a heartbeat to `store`.
    fn beat_in(&self, store: &Store, beat: &Beat) -> Result<Beaten, EngineError> {
        let id = beat.reservation;
        let name = record_name(id);
        if store.releases.holds(&name)? {
            return Ok(Beaten::Released);
        }
        let lock = match RecordLock::acquire(store, id, BEAT_WAIT)? {
            RecordLocking::Locked(lock) => lock,
            RecordLocking::Busy(_) if store.releases.holds(&name)? => return Ok(Beaten::Released),
            RecordLocking::Busy(error) => return Err(error),
            RecordLocking::Missing => return Ok(Beaten::NotFound),
        };
        // From here until the lock ends, nobody can supersede or archive this reservation.
        if let Some(mark) = store.superseded.companion::<Supersession>(id)? {
            return Ok(Beaten::Superseded(mark));
        }
        let bytes = store.reservations.read_open(&name, &lock.open)?;
        let reservation = Reservation::from_bytes(id, &bytes)
            .map_err(|source| store.reservations.damaged(&name, source))?;
        let lease = Lease { heartbeat: heartbeat(store, id)?, ..Lease::fresh(reservation) };

        let now = self.clock.now();
        let lapsed_seconds = lease.lapsed_seconds(now);
        let heartbeat = lease.beat(&beat.run, beat.extension, now);
        write_heartbeat(store, &heartbeat)?;
        // A release takes no record lock, and it wins, whichever file was written last.
        if store.releases.holds(&name)? {
            return Ok(Beaten::Released);
        }
        let effective_expiry = lease.reservation.expires_at.max(heartbeat.extended_expires_at);
        Ok(Beaten::Extended {
            heartbeat,
            holder: lease.reservation.run_id,
            lapsed_seconds,
            already_over: effective_expiry <= self.clock.now(),
        })
    }

    /// Releases in `store`.
    fn release_in(&self, store: &Store, request: &ReleaseRequest) -> Result<Answers, EngineError> {
        let lock = StoreLock::acquire(&store.root)?;
        let now = self.clock.now();
        sweep(store, now)?;
        let index = self.index_as_it_is(store, Access::Write)?;
        let mut published = Published::default();
        let mut answers = Vec::with_capacity(request.reservations.len());
        for &id in &request.reservations {
            let released = marked(index.as_ref(), &[Watched::Releases], || {
                write_release(store, request, id, now, &mut published)
            });
            answers.push((id, self.unless_gone(released)));
        }
        if !published.staged.is_empty() {
            store.releases.sync()?;
        }
        let Published { undo, reservations, staged } = published;
        undo.keep();
        if let Some(index) = index {
            index.end(&reservations, now);
        }
        drop((staged, lock));
        // Nobody waits for a look into the archive. What was neither live nor is archived now never was.
        for (id, answer) in &mut answers {
            if matches!(answer, Ok(Released::NotFound)) {
                *answer = self.unless_gone(archive::released(store, *id));
            }
        }
        Ok(answers)
    }
}

impl<C: Clock> Engine for FileEngine<C> {
    fn grant(&self, request: &Request) -> Result<Reserved, EngineError> {
        let denied = |denial: Denial<'_>| Ok(Reserved::Denied { conflicts: denial.conflicts });
        self.unless_gone(self.attempt(request, None, denied))
    }

    fn take_turn(&self, request: &Request, ticket: Option<TicketNumber>) -> Result<Turn, EngineError> {
        let place = ticket.map(|ticket| (ticket, Turn::PlaceLost));
        let turn = self.unless_gone(self.attempt(request, place, |mut denial| {
            if request.take_over.is_some() {
                return Ok(Turn::Answered(Reserved::Denied { conflicts: denial.conflicts }));
            }
            let candidates = denial.candidates_of_all()?;
            let Denial { store, conflicts, ahead, now, .. } = denial;
            if let Some(cycle) = deadlock(request, &candidates, ahead, now) {
                return Ok(Turn::Deadlock { cycle });
            }
            let ticket = match ticket {
                Some(ticket) => ticket,
                None => waiting::draw(store, request, now)?.ticket,
            };
            Ok(Turn::Queued { ticket, position: position(&conflicts), conflicts })
        }))?;
        if let (Turn::Answered(Reserved::Granted(_)), Some(ticket)) = (&turn, ticket) {
            // What it waited for is there. A ticket that cannot be removed stops nobody whom that does not stop,
            // and lapses.
            self.leave(ticket, &request.run).unwrap_or_default();
        }
        Ok(turn)
    }

    fn keep_place(&self, ticket: TicketNumber, run: &RunId) -> Result<bool, EngineError> {
        match self.open()? {
            Some(store) => self.unless_gone(waiting::keep_place(&store, ticket, run, self.clock.now())),
            None => Ok(false),
        }
    }

    fn leave(&self, ticket: TicketNumber, run: &RunId) -> Result<(), EngineError> {
        self.open()?.map_or(Ok(()), |store| waiting::leave(&store, ticket, run))
    }

    fn tickets(&self) -> Result<Queue, EngineError> {
        match self.open()? {
            Some(store) => here(&store, waiting::queue(&store, self.clock.now())),
            None => Ok(Queue::default()),
        }
    }

    fn stands_until(&self, conflict: &Conflict) -> Result<Option<Timestamp>, EngineError> {
        let Some(store) = self.open()? else { return Err(self.gone()) };
        let now = self.clock.now();
        match &conflict.blocker {
            Blocker::Waiter(waiter) => waiting::stands_until(&store, waiter.ticket, now),
            Blocker::Holder(holder) => {
                let name = record_name(holder.reservation_id);
                if store.releases.holds(&name)? || store.superseded.holds(&name)? {
                    return Ok(None);
                }
                let Some(reservation) = store.reservation(holder.reservation_id)? else {
                    moving::must_be_here(&store.root)?;
                    return Err(removed_while_used(&store, holder.reservation_id));
                };
                let heartbeat = heartbeat(&store, holder.reservation_id)?;
                let expiry = Lease { heartbeat, ..Lease::fresh(reservation) }.effective_expiry();
                Ok((now < expiry).then_some(expiry))
            }
        }
    }

    fn changes(&self, interest: Interest) -> Result<Box<dyn Changes>, EngineError> {
        Ok(match self.open()? {
            Some(store) => changes::changes(&store, interest),
            None => Box::new(Polling),
        })
    }

    fn beat(&self, beat: &Beat) -> Result<Beaten, EngineError> {
        let Some(store) = self.open()? else { return Ok(Beaten::NotFound) };
        match self.unless_gone(self.beat_in(&store, beat)) {
            // What was moved is not there.
            Ok(Beaten::NotFound) => here(&store, Ok(Beaten::NotFound)),
            beaten => beaten,
        }
    }

    fn release(&self, request: &ReleaseRequest) -> Result<Answers, EngineError> {
        let Some(store) = self.open()? else {
            return Ok(request.reservations.iter().map(|&id| (id, Ok(Released::NotFound))).collect());
        };
        self.unless_gone(self.release_in(&store, request))
    }

    fn find(&self, id: ReservationId) -> Result<Option<Lease>, EngineError> {
        match self.open()? {
            Some(store) => here(&store, find(&store, id)),
            None => Ok(None),
        }
    }

    fn live(&self) -> Result<Listing, EngineError> {
        let Some(store) = self.open()? else { return Ok(Listing::default()) };
        let found = match self.by_index(&store, |index| index.standing(&*self.progress))? {
            Some(listing) => Ok(listing),
            None => live(&store, &*self.progress),
        };
        here(&store, found)
    }

    fn overlapping(&self, addresses: &[Address]) -> Result<Listing, EngineError> {
        let Some(store) = self.open()? else { return Ok(Listing::default()) };
        let found = match self.by_index(&store, |index| index.overlapping(addresses))? {
            Some(listing) => Ok(listing),
            None => live(&store, &*self.progress),
        };
        here(&store, found)
    }

    fn superseded(&self, run: &RunId) -> Result<Listing, EngineError> {
        let Some(store) = self.open()? else {
            let was_there = self.was_there.load(Ordering::Relaxed);
            return if was_there { Err(self.gone()) } else { Ok(Listing::default()) };
        };
        self.unless_gone(here(&store, superseded(&store, run)))
    }

    fn history(&self) -> Result<Listing, EngineError> {
        let Some(store) = self.open()? else { return Ok(Listing::default()) };
        let (names, mut damaged) = store.reservations.names()?;
        let mut leases = Vec::with_capacity(names.len());
        let mut unsure = Vec::new();
        let read = |id: ReservationId| {
            let found = find(&store, id);
            let reservation = if found.is_err() { store.reservation(id).ok().flatten() } else { None };
            (found, reservation)
        };
        for (found, reservation) in read_each_telling(&names, read, &*self.progress) {
            match found {
                Ok(lease) => leases.extend(lease),
                Err(error) => damaged.push(error),
            }
            unsure.extend(reservation);
        }
        damaged.sort_by_key(ToString::to_string);
        here(&store, Ok(Listing { leases, damaged, unsure }))
    }

    fn newest(&self, count: usize, wanted: &dyn Fn(&Lease) -> bool) -> Result<Listing, EngineError> {
        let Some(store) = self.open()? else { return Ok(Listing::default()) };
        match self.by_index(&store, |index| index.newest(count, wanted))? {
            Some(listing) => here(&store, Ok(listing)),
            None => self.history(),
        }
    }

    fn collect(&self, retention: &Retention, progress: &dyn Progress) -> Result<Collected, EngineError> {
        let Some(store) = self.open()? else { return Ok(Collected::default()) };
        let mut collected = self.unless_gone(collect::collect(&store, retention, &self.clock, progress))?;
        collected.stopped_by = collected.stopped_by.map(|error| self.or_gone(error));
        Ok(collected)
    }

    fn archived(&self) -> Result<Lines<'_>, EngineError> {
        match self.open()? {
            Some(store) => here(&store, Ok(Box::new(Archive::open(&store)?.lines()))),
            None => Ok(Box::new(std::iter::empty())),
        }
    }

    fn find_archived(&self, id: ReservationId) -> Result<Option<Archived>, EngineError> {
        Ok(self.locate_archived(id)?.map(|(line, _)| line))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What was read of a store, unless that was moved meanwhile, or before.
fn here<T>(store: &Store, read: Result<T, EngineError>) -> Result<T, EngineError> {
    moving::must_be_here(&store.root)?;
    read
}

/// The heartbeat of `id`. One that is empty, cut short or all NUL counts as absent: heartbeats are not synced, and a
/// power loss, which no local holder survives, leaves such files. Any other damage is an error.
fn heartbeat(store: &Store, id: ReservationId) -> Result<Option<Heartbeat>, EngineError> {
    match store.heartbeats.companion::<Heartbeat>(id) {
        Err(EngineError::Damaged { source, .. }) if source.is_truncation() => Ok(None),
        read => read,
    }
}

/// A record whose presence alone decides: that its content cannot be read changes nothing.
fn mark<T: Companion>(folder: &Folder, id: ReservationId) -> Result<Mark<T>, EngineError> {
    match folder.companion::<T>(id) {
        Ok(Some(content)) => Ok(Mark::Read(content)),
        Ok(None) => Ok(Mark::Absent),
        Err(_) if folder.holds(&record_name(id))? => Ok(Mark::Present),
        Err(error) => Err(error),
    }
}

fn find(store: &Store, id: ReservationId) -> Result<Option<Lease>, EngineError> {
    let Some(reservation) = store.reservation(id)? else { return Ok(None) };
    let lease = Lease {
        heartbeat: heartbeat(store, id)?,
        supersession: mark(&store.superseded, id)?,
        release: mark(&store.releases, id)?,
        ..Lease::fresh(reservation)
    };
    // Archiving removes the record first and the tombstone last: a tombstone that was missed because it had
    // just gone would make a released reservation look held.
    let is_gone = !lease.release.is_present() && !store.reservations.holds(&record_name(id))?;
    Ok((!is_gone).then_some(lease))
}

/// The reservation `id`, if it is there and neither released nor superseded.
fn standing(store: &Store, id: ReservationId) -> Result<Option<Lease>, EngineError> {
    let name = record_name(id);
    if store.releases.holds(&name)? || store.superseded.holds(&name)? {
        return Ok(None);
    }
    let Some(reservation) = store.reservation(id)? else { return Ok(None) };
    Ok(Some(Lease { heartbeat: heartbeat(store, id)?, ..Lease::fresh(reservation) }))
}

/// The reservations of `run` that were superseded and are not released.
fn superseded(store: &Store, run: &RunId) -> Result<Listing, EngineError> {
    let (names, damaged) = store.superseded.names()?;
    let read = |id: ReservationId| -> Result<Option<Lease>, EngineError> {
        match store.reservation(id) {
            Ok(Some(reservation)) if reservation.run_id == *run => {}
            Ok(_) => return Ok(None),
            // A tombstone takes a record that nobody can read out of the way.
            Err(_) if store.releases.holds(&record_name(id))? => return Ok(None),
            Err(error) => return Err(error),
        }
        let lease = find(store, id)?;
        Ok(lease.filter(|lease| lease.supersession.is_present() && !lease.release.is_present()))
    };
    let mut listing = Listing::of(read_each(&names, read).into_iter().filter_map(Result::transpose));
    listing.damaged.extend(damaged);
    listing.damaged.sort_by_key(ToString::to_string);
    Ok(listing)
}

/// Everything that is neither released nor superseded, and all that cannot be read.
fn live(store: &Store, progress: &dyn Progress) -> Result<Listing, EngineError> {
    // The reservations first: one that is made after this is not missed by a look at its companions.
    let (names, mut damaged) = store.reservations.names()?;
    let mut companions = |folder: &Folder| -> Result<HashSet<ReservationId>, EngineError> {
        let (names, misplaced) = folder.names()?;
        damaged.extend(misplaced);
        Ok(names.into_iter().collect())
    };
    let released = companions(&store.releases)?;
    let superseded = companions(&store.superseded)?;
    // What belongs there is looked up by name below: a listing may miss a name that is being renamed over, as
    // those of heartbeats are (tmpfs, btrfs), and the reservation would seem to have lapsed.
    companions(&store.heartbeats)?;

    let standing: Vec<ReservationId> =
        names.into_iter().filter(|id| !released.contains(id) && !superseded.contains(id)).collect();
    let read = |id: ReservationId| -> Result<Option<Lease>, EngineError> {
        let Some(reservation) = store.reservation(id)? else { return Ok(None) };
        Ok(Some(Lease { heartbeat: heartbeat(store, id)?, ..Lease::fresh(reservation) }))
    };
    let mut listing =
        Listing::of(read_each_telling(&standing, read, progress).into_iter().filter_map(Result::transpose));
    listing.damaged.extend(damaged);
    listing.damaged.sort_by_key(ToString::to_string);
    Ok(listing)
}

/// How often a reader begins again because somebody was changing the store.
const READINGS_MAX: usize = 3;

/// How many records make another thread worth its start, which takes as long as reading about ten.
const RECORDS_PER_THREAD: usize = 256;

/// More threads than this wait for each other: opening files of one folder is not quite parallel.
const THREADS_MAX: usize = 4;

/// How many records are read between two reports to the progress, and without any report: what takes some tens of
/// milliseconds.
const RECORDS_PER_REPORT: usize = 4096;

/// As [`read_each`], and tells how far it is where that takes long.
fn read_each_telling<T: Send>(
    ids: &[ReservationId],
    read: impl Fn(ReservationId) -> T + Sync,
    progress: &dyn Progress,
) -> Vec<T> {
    if ids.len() <= RECORDS_PER_REPORT {
        return read_each(ids, read);
    }
    progress.begin(Some(ids.len() as u64), "reading");
    let mut answers = Vec::with_capacity(ids.len());
    for ids in ids.chunks(RECORDS_PER_REPORT) {
        answers.extend(read_each(ids, &read));
        progress.advance(ids.len() as u64);
    }
    progress.end();
    answers
}

/// Calls `read` for each of `ids`, on several threads where there are many. The answers stand in their order.
fn read_each<T: Send>(ids: &[ReservationId], read: impl Fn(ReservationId) -> T + Sync) -> Vec<T> {
    let threads = (ids.len() / RECORDS_PER_THREAD).min(THREADS_MAX);
    let threads = if threads > 1 {
        threads.min(std::thread::available_parallelism().map_or(1, NonZero::get))
    } else {
        1
    };
    if threads <= 1 {
        return ids.iter().map(|&id| read(id)).collect();
    }
    let read_chunk = |chunk: &[ReservationId]| chunk.iter().map(|&id| read(id)).collect::<Vec<T>>();
    let read_chunk = &read_chunk;
    std::thread::scope(|scope| {
        let workers: Vec<_> = ids
            .chunks(ids.len().div_ceil(threads))
            // Where no thread can be had, as in a container that is full of them, the part is read here.
            .map(|chunk| {
                std::thread::Builder::new().spawn_scoped(scope, || read_chunk(chunk)).map_err(|_| chunk)
            })
            .collect();
        let mut answers = Vec::with_capacity(ids.len());
        for worker in workers {
            match worker {
                Ok(worker) => match worker.join() {
                    Ok(read) => answers.extend(read),
                    Err(panic) => std::panic::resume_unwind(panic),
                },
                Err(chunk) => answers.extend(read_chunk(chunk)),
            }
        }
        answers
    })
}

/// What a grant of `addresses` is decided against. A single record that cannot be read fails it: it could be in
/// the way. Without an index, and where the index cannot be read, all records are read.
fn candidates(
    store: &Store,
    index: &mut Option<Index<'_>>,
    addresses: &[Address],
) -> Result<Vec<Candidate>, EngineError> {
    let listing = if let Some(leases) = index.as_ref().and_then(|index| index.overlapping(addresses)) {
        Listing::of(leases)
    } else {
        *index = None;
        live(store, &Silent)?
    };
    match listing.damaged.into_iter().next() {
        Some(error) => Err(error),
        None => {
            Ok(listing.leases.into_iter().map(|lease| Candidate { lease, being_extended: false }).collect())
        }
    }
}

/// The tickets that `request` may have to give way to. Advisory requests give way to nobody, and a coordinator's
/// order is not kept waiting; one whose reservation has ended already is a plain request, though.
fn tickets_ahead(
    store: &Store,
    request: &Request,
    ticket: Option<TicketNumber>,
    now: Timestamp,
) -> Result<Vec<Ticket>, EngineError> {
    if request.mode == Mode::Advisory || !store.root.safeguards().keep(Safeguard::Queue) {
        return Ok(Vec::new());
    }
    let mut ahead = waiting::respected(store, now)?;
    ahead.retain(|other| ticket.is_none_or(|own| other.ticket < own));
    Ok(ahead)
}

/// What a request wants to take over.
enum Target {
    None,
    /// Held or lapsed, and in the way.
    Held,
    /// Released or superseded: there is nothing to take any more.
    Ended,
    Missing,
    /// No address in common with the request.
    Elsewhere,
}

fn take_over_target(
    store: &Store,
    request: &Request,
    candidates: &[Candidate],
) -> Result<Target, EngineError> {
    let Some(take_over) = &request.take_over else { return Ok(Target::None) };
    let id = take_over.reservation;
    let held = candidates.iter().map(|candidate| &candidate.lease.reservation);
    match held.into_iter().find(|reservation| reservation.reservation_id == id) {
        Some(reservation) if request.overlaps(reservation) => Ok(Target::Held),
        Some(_) => Ok(Target::Elsewhere),
        // Of the candidates that an index finds, all overlap the request.
        None if standing(store, id)?.is_some() => Ok(Target::Elsewhere),
        None if store.reservations.holds(&record_name(id))? => Ok(Target::Ended),
        None => Ok(Target::Missing),
    }
}

/// The held reservation that `request` takes over.
fn taken_over<'a>(request: &Request, candidates: &'a [Candidate]) -> Option<&'a Lease> {
    let id = request.take_over.as_ref()?.reservation;
    candidates.iter().map(|candidate| &candidate.lease).find(|lease| lease.reservation.reservation_id == id)
}

/// Locks the record of a lapsed reservation and reads its heartbeat again. `None`, and the candidate says so,
/// when somebody is extending it right now.
fn lock_lapsed(store: &Store, candidate: &mut Candidate) -> Result<Option<RecordLock>, EngineError> {
    let id = candidate.lease.reservation.reservation_id;
    match RecordLock::acquire(store, id, RIVAL_WAIT)? {
        RecordLocking::Locked(lock) => {
            candidate.lease.heartbeat = heartbeat(store, id)?;
            Ok(Some(lock))
        }
        RecordLocking::Busy(_) => {
            candidate.being_extended = true;
            Ok(None)
        }
        RecordLocking::Missing => Err(removed_while_used(store, id)),
    }
}

fn removed_while_used(store: &Store, id: ReservationId) -> EngineError {
    let source = std::io::Error::new(std::io::ErrorKind::NotFound, "it was removed while it was used");
    store.reservations.unreadable(&record_name(id), source)
}

/// Extends the reservation that `request` repeats.
fn renew(
    store: &Store,
    request: &Request,
    lease: Lease,
    notices: Vec<Notice>,
    take_over_was_void: bool,
    clock: &impl Clock,
) -> Result<Reserved, EngineError> {
    let id = lease.reservation.reservation_id;
    let _lock = match RecordLock::acquire(store, id, RIVAL_WAIT)? {
        RecordLocking::Locked(lock) => lock,
        RecordLocking::Busy(error) => return Err(error),
        RecordLocking::Missing => return Err(removed_while_used(store, id)),
    };
    let mut lease = Lease { heartbeat: heartbeat(store, id)?, ..lease };
    let renewal = lease.renewal(request.ttl, clock.now());
    write_heartbeat(store, &renewal)?;
    lease.heartbeat = Some(renewal);
    Ok(Reserved::Granted(Box::new(Grant::renewal(lease, notices, take_over_was_void))))
}

/// Writes a granted request: the token, the tombstone of what it takes over, the marks on what it supersedes,
/// then the reservation. Everything is written and synced before anything is published, so that a full disk
/// changes nothing; what was published is taken back if a later step fails.
fn write_grant(
    store: &Store,
    index: &mut Option<Index<'_>>,
    request: &Request,
    ticket: Option<TicketNumber>,
    superseded: &[&Lease],
    taken_over: Option<&Lease>,
    now: Timestamp,
) -> Result<Lease, EngineError> {
    let token = tokens::next(store, tokens::last(store)?, now)?;
    let reservation = request
        .reservation_for(ticket, token, now)
        .map_err(|source| EngineError::Damaged { path: store.reservations.path().to_path_buf(), source })?;
    let id = reservation.reservation_id;

    let staged_token = tokens::stage(store, token)?;
    let mut marks = Vec::with_capacity(superseded.len() + 1);
    if let (Some(take_over), Some(lease)) = (&request.take_over, taken_over) {
        let holder = &lease.reservation.run_id;
        let reason = Some(take_over.reason.clone());
        let release = Release::new(take_over.reservation, Some(holder), &request.run, reason, now);
        marks.push((
            Watched::Releases,
            take_over.reservation,
            stage(store, "release", take_over.reservation, &release)?,
        ));
    }
    if store.root.safeguards().keep(Safeguard::Supersession) {
        for lease in superseded {
            let loser = lease.reservation.reservation_id;
            let mark = lease.superseded_by(id, &request.run, now);
            marks.push((Watched::Superseded, loser, stage(store, "superseded", loser, &mark)?));
        }
    }
    let staged_reservation = stage(store, "reservation", id, &reservation)?;

    tokens::publish(store, staged_token)?;
    let ends: Vec<ReservationId> = marks.iter().map(|(_, id, _)| *id).collect();
    // Without its entries, the folder of the new record is left unmarked, and whoever comes next looks at it.
    if index.as_ref().is_some_and(|index| !index.enter(&reservation, &ends, now)) {
        *index = None;
    }
    let index = index.as_ref();
    let mut undo = Undo::default();
    for (watched, marked_id, staged) in &marks {
        let (folder, name) = (store.watched(*watched), record_name(*marked_id));
        if marked(index, &[*watched], || staged.publish_new(folder, &name))? {
            undo.made(folder, name);
        }
    }
    for watched in [Watched::Releases, Watched::Superseded] {
        if marks.iter().any(|(its, ..)| *its == watched) {
            store.watched(watched).sync()?;
        }
    }
    let name = record_name(id);
    let publish = || staged_reservation.publish_new(&store.reservations, &name);
    if !marked(index, &[Watched::Reservations], publish)? {
        let detail = "a record of this id is there already, though its token was never granted";
        return Err(EngineError::Misplaced { path: store.reservations.path_of(&name), detail });
    }
    undo.made(&store.reservations, name);
    store.reservations.sync()?;
    undo.keep();
    Ok(Lease::fresh(reservation))
}

/// Writes a record that has to last through a power loss to a temporary file of its own.
fn stage<'s>(
    store: &'s Store,
    kind: &str,
    id: ReservationId,
    record: &impl serde::Serialize,
) -> Result<Staged<'s>, EngineError> {
    let name = format!("{kind}-{}", id.hex());
    let bytes = to_file_bytes(record).map_err(|source| store.temporary.damaged(&name, source))?;
    Staged::write(store, name, &bytes, Durability::PowerLoss)
}

/// Rewrites a heartbeat. The caller holds the record's lock. Not synced: see [`heartbeat`].
fn write_heartbeat(store: &Store, heartbeat: &Heartbeat) -> Result<(), EngineError> {
    let id = heartbeat.reservation_id;
    let name = record_name(id);
    let bytes = to_file_bytes(heartbeat).map_err(|source| store.heartbeats.damaged(&name, source))?;
    let temporary = format!("{HEARTBEAT_PREFIX}{}", id.hex());
    Staged::write(store, temporary, &bytes, Durability::Process)?.publish_over(&store.heartbeats, &name)
}

/// Tombstones that are published in a folder that is still to be synced.
#[derive(Default)]
struct Published<'s> {
    staged: Vec<Staged<'s>>,
    undo: Undo<'s>,
    /// What was released, as far as it can be read.
    reservations: Vec<Reservation>,
}

/// Releases one reservation.
fn write_release<'s>(
    store: &'s Store,
    request: &ReleaseRequest,
    id: ReservationId,
    now: Timestamp,
    published: &mut Published<'s>,
) -> Result<Released, EngineError> {
    let name = record_name(id);
    if store.releases.holds(&name)? {
        return Ok(Released::AlreadyReleased);
    }
    let reservation = match store.reservation(id) {
        Ok(None) => return Ok(Released::NotFound),
        Ok(Some(reservation)) => Some(reservation),
        // The way out for a coordinator: a tombstone takes a record that nobody can read out of the way. What is
        // no record at all stays in the way, whatever its tombstone says.
        Err(EngineError::Damaged { .. }) if request.force => None,
        Err(error) => return Err(error),
    };
    let holder = reservation.as_ref().map(|reservation| &reservation.run_id);
    if let Some(holder) = holder
        && *holder != request.run
        && !request.force
    {
        return Ok(Released::NotHolder { holder: holder.clone() });
    }
    let release = Release::new(id, holder, &request.run, request.reason.clone(), now);
    let staged = stage(store, "release", id, &release)?;
    if staged.publish_new(&store.releases, &name)? {
        published.undo.made(&store.releases, name);
        published.staged.push(staged);
        published.reservations.extend(reservation);
        Ok(Released::Released)
    } else {
        Ok(Released::AlreadyReleased)
    }
}

/// Takes away what killed processes left in the folder of temporary files. The caller holds the store's lock,
/// so whatever is not a heartbeat's or a ticket's is dead; a heartbeat's is dead when its record's lock is free, a
/// ticket's when that does not count any more.
///
/// A writer that was killed may have published a name that is not on the disk yet, which this process is about
/// to rely on: the folders are synced before the sign of it is removed.
fn sweep(store: &Store, now: Timestamp) -> Result<(), EngineError> {
    let mut left = Vec::new();
    store.temporary.for_each_entry(|name, _| left.push(name.to_owned()))?;
    let is_unsynced = |name: &String| !name.starts_with(HEARTBEAT_PREFIX) && !name.starts_with(TICKET_PREFIX);
    if left.iter().any(is_unsynced) {
        for folder in [&store.root, &store.releases, &store.superseded, &store.reservations] {
            folder.sync()?;
        }
    }
    for name in left {
        if name.starts_with(TICKET_PREFIX) && !waiting::is_left_over(store, &name, now)? {
            continue;
        }
        let beaten = name
            .strip_prefix(HEARTBEAT_PREFIX)
            .and_then(|digits| format!("{}{digits}", ReservationId::PREFIX).parse().ok());
        let _lock = match beaten.map(|id| RecordLock::acquire(store, id, Duration::ZERO)).transpose() {
            // Somebody is writing it, or that cannot be told: a process may be out of open files.
            Ok(Some(RecordLocking::Busy(_))) | Err(EngineError::Unreadable { .. }) => continue,
            free => free,
        };
        // What cannot be removed is in nobody's way: only names that are in use matter, and their next user
        // reports it.
        publish::remove(&store.temporary, &name).unwrap_or_default();
    }
    Ok(())
}
