//! The index: which reservations an address could overlap, without reading every record.
//!
//! Derived and disposable. What it promises is one-sided: **every reservation that stands has its entries.** An
//! entry whose reservation does not stand is looked up and skipped. Since an id is the hash of its record, what an
//! entry says of an id is true for ever, whatever happens to the record's file.
//!
//! The index is trusted while the three folders that it is derived from carry the *mark* that it remembers: a
//! modification time, long past, which whoever holds the store's lock gives them after each change of their own.
//! Any other change moves the time to the present, and all names are looked at again. A process that is killed
//! between its change and the mark leaves the folder unmarked, which costs that look and nothing else.
//!
//! The file is named after the boot of the machine, because it is never synced: after a power loss there is another
//! boot, and what lies there of an earlier one is removed unread. `docs/design/index.md` has the argument and the
//! figures.

mod draft;
mod tables;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use rusqlite::ErrorCode;
use rustix::fs::FileType;

use self::draft::{DRAFT_SUFFIX, have_ended, stand};
pub(super) use self::draft::{UNREAD_MAX, locked, remake};
pub(super) use self::tables::{Access, above};
use self::tables::{Entry, Known, Look, Tables};
use super::archive::move_batch;
use super::layout::{Folder, FolderMark, Store, Watched};
use super::lock::{DraftLock, StoreLock};
use super::{publish, read_each, read_each_telling, standing};
use crate::address::Address;
use crate::archive::{BATCH_MAX, Retention};
use crate::clock::Timestamp;
use crate::engine::EngineError;
use crate::id::ReservationId;
use crate::lease::Lease;
use crate::progress::Progress;
use crate::record::Reservation;

/// Up to so many records are all read, as if there was no index: it takes no longer, and damage anywhere in a
/// small store is noticed at once.
pub(super) const FEW: usize = 64;

/// Before a grant all names are looked at again, though the marks are there, if the last look is so long ago: for each
/// record, and at least. A foreign change in the instant between the last look at a folder's time and the mark on it
/// cannot be seen otherwise. A look takes a few microseconds for each record, so this costs less than a hundredth of
/// the time. A denial needs no look: what denies it is there.
const LOOK_INTERVAL_MICROSECONDS: i64 = 1000;
const LOOK_INTERVAL_MICROSECONDS_MIN: i64 = 60_000_000;

/// How often a look is begun again because somebody changed the folders during it.
const LOOKS_MAX: usize = 3;

/// How many reservations have to be due before a `reserve` moves them into the archive: as many as one step moves. A
/// step takes five syncs however many there are, and this way one `reserve` in many pays for them.
const TIDIED: usize = BATCH_MAX;

/// How many records are read at once, the newest first, until enough of them are wanted, at most: at first as many as
/// are asked for, then twice as many each time.
const NEWEST_AT_ONCE_MAX: usize = 65_536;

/// The folder of the index, below the store's.
pub(super) const FOLDER: &str = "index";
/// What the name of the database ends with; before it stands the boot's id.
const SUFFIX: &str = ".sqlite";
/// What the name of its journal has behind its own.
const JOURNAL_SUFFIX: &str = "-journal";

/// An open index that has an entry for every standing reservation.
#[derive(Debug)]
pub(super) struct Index<'s> {
    store: &'s Store,
    tables: Tables,
    marks: HashMap<Watched, FolderMark>,
    /// Entries that were met and whose reservation does not stand: taken out with the next change.
    phantoms: RefCell<Vec<Entry>>,
}

/// Why the index could not be used.
#[derive(Debug)]
enum Fault {
    /// The store itself cannot be read: nothing may be granted.
    Store(EngineError),
    /// The index cannot be read or written: it is made anew, or done without.
    Index,
    /// Somebody goes on changing the folders: it is done without.
    Restless,
    /// Too many records are to be read for it.
    Unbuilt,
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Fault {
        Fault::Store(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(_: rusqlite::Error) -> Fault {
        Fault::Index
    }
}

/// What came of an attempt to bring the index up to date.
enum Opened<'s> {
    /// It is; `None` where there can be no index: then all records are to be read.
    Answered(Option<Index<'s>>),
    /// So many records are to be read for it that it should not be done under the store's lock.
    Unbuilt,
}

/// Opens the index and brings it up to date, unless more than `unread_max` records are to be read for that.
///
/// # Errors
///
/// When a record that the index does not know yet cannot be read, or something that is no record stands among them:
/// nothing may be granted then.
fn open_to_write<'s>(
    store: &'s Store,
    lock: &StoreLock,
    now: Timestamp,
    unread_max: usize,
) -> Result<Opened<'s>, EngineError> {
    let Some(path) = prepare_folder(store) else { return Ok(Opened::Answered(None)) };
    for is_last in [false, true] {
        match Index::up_to_date(store, &path, now, unread_max) {
            Ok(index) => return Ok(Opened::Answered(Some(index))),
            Err(Fault::Store(error)) => return Err(error),
            Err(Fault::Restless) => return Ok(Opened::Answered(None)),
            Err(Fault::Unbuilt) => return Ok(Opened::Unbuilt),
            // Not a database, damaged, of another format, on a full disk: once more from nothing.
            Err(Fault::Index) if is_last => {}
            Err(Fault::Index) => discard(store, lock),
        }
    }
    Ok(Opened::Answered(None))
}

impl<'s> Index<'s> {
    /// Opens the index as it is. `None` where there is none.
    pub(super) fn as_it_is(store: &'s Store, access: Access) -> Option<Index<'s>> {
        let path = database(store)?;
        let open = || Index::of(store, Tables::open(&path, access)?);
        open().ok()
    }

    fn of(store: &'s Store, tables: Tables) -> rusqlite::Result<Index<'s>> {
        let marks = tables.marks()?.into_iter().collect();
        Ok(Index { store, tables, marks, phantoms: RefCell::default() })
    }

    fn up_to_date(
        store: &'s Store,
        path: &std::path::Path,
        now: Timestamp,
        unread_max: usize,
    ) -> Result<Index<'s>, Fault> {
        let mut index = Index::of(store, Tables::open_or_make(path)?)?;
        if !index.is_marked()? {
            index.look_until_quiet(now, unread_max)?;
        }
        Ok(index)
    }

    fn look_until_quiet(&mut self, now: Timestamp, unread_max: usize) -> Result<(), Fault> {
        for _ in 0..LOOKS_MAX {
            self.look(now, unread_max)?;
            if self.is_marked()? {
                return Ok(());
            }
        }
        Err(Fault::Restless)
    }

    /// Looks at all names again. `false` when the index cannot be used any more, and all records are to be read.
    ///
    /// # Errors
    ///
    /// As [`locked`].
    pub(super) fn look_again(&mut self, now: Timestamp) -> Result<bool, EngineError> {
        match self.look_until_quiet(now, usize::MAX) {
            Ok(()) => Ok(true),
            Err(Fault::Store(error)) => Err(error),
            Err(Fault::Index | Fault::Restless | Fault::Unbuilt) => Ok(false),
        }
    }

    /// Whether every watched folder carries its mark, so that nobody else has changed it.
    pub(super) fn is_marked(&self) -> Result<bool, EngineError> {
        for watched in Watched::ALL {
            if !self.is_folder_marked(watched)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_folder_marked(&self, watched: Watched) -> Result<bool, EngineError> {
        let Some(mark) = self.marks.get(&watched) else { return Ok(false) };
        Ok(self.store.watched(watched).mark()? == *mark)
    }

    /// Whether the last look is so long ago that there has to be another one before a grant.
    pub(super) fn is_look_due(&self, now: Timestamp) -> bool {
        // Where that cannot be read, the look finds out.
        let Ok(Some(Look { at, records })) = self.tables.look() else { return true };
        let interval = (i64::from(records) * LOOK_INTERVAL_MICROSECONDS).max(LOOK_INTERVAL_MICROSECONDS_MIN);
        let since = now.as_microseconds() - at.as_microseconds();
        // A clock that was set back makes it due too.
        !(0..interval).contains(&since)
    }

    /// Looks at all names, reads the records that are not known yet, `unread_max` at most, and marks the folders.
    fn look(&mut self, now: Timestamp, unread_max: usize) -> Result<(), Fault> {
        // Until this look has come to its end, no folder may carry a mark that the tables remember.
        let remembered: Vec<i64> = self.marks.drain().map(|(_, mark)| mark.modified).collect();
        let fresh = (past(now)..).step_by(MARK_STEP).find(|modified| !remembered.contains(modified));
        let mut durable = Vec::with_capacity(Watched::ALL.len());
        for watched in Watched::ALL {
            let folder = self.store.watched(watched);
            if let Some(mark) = fresh.and_then(|modified| folder.set_mark(modified)) {
                durable.push((watched, mark));
            }
            // Where the folder is another user's it cannot be marked: it is looked at by each call, for itself.
            self.marks.insert(watched, folder.mark()?);
        }
        let difference = Difference::of(self.store, &self.tables)?;
        if difference.to_be_read() > unread_max {
            return Err(Fault::Unbuilt);
        }
        let mut standing = Vec::with_capacity(difference.unread.len());
        for read in read_each(&difference.unread, |id| self.store.reservation(id)) {
            standing.extend(read?);
        }
        // One that has ended is in nobody's way, whatever it says.
        let token = |id| (id, self.store.reservation(id).ok().flatten().map(|its| its.token));
        let ended = read_each(&difference.unread_ended, token);

        self.tables.change(|tables| {
            for &id in &difference.gone {
                tables.forget(id)?;
            }
            if !difference.gone.is_empty() {
                tables.remove_unknown()?;
            }
            for &id in &difference.ended {
                tables.know(Known { id, token: None, has_ended: true, due: now })?;
            }
            have_ended(tables, &ended, now)?;
            stand(tables, standing)?;
            let records = u32::try_from(difference.present).unwrap_or(u32::MAX);
            tables.complete(&durable, Look { at: now, records })
        })?;
        Ok(())
    }

    /// The standing reservations that overlap one of `addresses`, or hold just the same; an error for each that
    /// cannot be read and could be such a one. `None` when the index cannot be read.
    pub(super) fn overlapping(&self, addresses: &[Address]) -> Option<Vec<Result<Lease, EngineError>>> {
        let mut entries: HashMap<ReservationId, Vec<Entry>> = HashMap::new();
        for address in addresses {
            for entry in self.tables.entries_near(address).ok()? {
                let held = Address::try_from(entry.address.clone()).ok()?;
                if held == *address || held.overlaps(address) {
                    entries.entry(entry.id).or_default().push(entry);
                }
            }
        }
        let ids: Vec<ReservationId> = entries.keys().copied().collect();
        let mut leases = Vec::with_capacity(ids.len());
        for (id, lease) in ids.iter().zip(read_each(&ids, |id| standing(self.store, id))) {
            match lease.transpose() {
                Some(lease) => leases.push(lease),
                None => self.phantoms.borrow_mut().extend(entries.remove(id).unwrap_or_default()),
            }
        }
        Some(leases)
    }

    /// All standing reservations; an error for each that cannot be read. `None` when the index cannot be read.
    pub(super) fn standing(&self, progress: &dyn Progress) -> Option<Vec<Result<Lease, EngineError>>> {
        let known = self.tables.known().ok()?;
        let ids: Vec<ReservationId> =
            known.into_iter().filter(|known| !known.has_ended).map(|known| known.id).collect();
        let read = read_each_telling(&ids, |id| standing(self.store, id), progress);
        Some(read.into_iter().filter_map(Result::transpose).collect())
    }

    /// Of all records that are there, the `count` newest by token that are `wanted`, and all that are newer than the
    /// last of them; all, if there are not so many. `None` when the index cannot be read.
    pub(super) fn newest(
        &self,
        count: usize,
        wanted: &dyn Fn(&Lease) -> bool,
    ) -> Option<Vec<Result<Lease, EngineError>>> {
        let read = |ids: &[ReservationId]| {
            read_each(ids, |id| super::find(self.store, id)).into_iter().filter_map(Result::transpose)
        };
        let mut leases: Vec<Result<Lease, EngineError>> = read(&self.tables.without_token().ok()?).collect();
        let (mut found, mut after, mut part) = (0, None, count.clamp(1, NEWEST_AT_ONCE_MAX));
        loop {
            let newest = self.tables.newest(after, part).ok()?;
            let Some(last) = newest.last() else { return Some(leases) };
            let ids: Vec<ReservationId> = newest.iter().map(|(id, _)| *id).collect();
            for lease in read(&ids) {
                found += usize::from(lease.as_ref().is_ok_and(wanted));
                leases.push(lease);
            }
            if found >= count {
                return Some(leases);
            }
            after = Some(*last);
            part = (2 * part).min(NEWEST_AT_ONCE_MAX);
        }
    }

    /// Makes the entries of a reservation that is about to be published, and puts off the archiving of those that
    /// it ends. `false` when that failed: then the folders must not be marked any more.
    pub(super) fn enter(&self, reservation: &Reservation, ends: &[ReservationId], now: Timestamp) -> bool {
        let phantoms = self.phantoms.take();
        let changed = self.tables.change(|tables| {
            for entry in &phantoms {
                tables.remove_entry(entry)?;
                // The next look tells whether its record is there, and reads it if it stands again.
                tables.end(entry.id)?;
            }
            for &id in ends {
                tables.know(Known {
                    id,
                    token: None,
                    has_ended: false,
                    due: now.plus_seconds(Retention::OLDER_THAN_DEFAULT),
                })?;
            }
            tables.add(reservation)?;
            tables.know(due(reservation))
        });
        changed.is_ok()
    }

    /// Takes out the entries of reservations that were released. That it fails harms nobody.
    pub(super) fn end<'r>(&self, released: impl IntoIterator<Item = &'r Reservation>, now: Timestamp) {
        let changed = self.tables.change(|tables| {
            for reservation in released {
                tables.remove(reservation)?;
                let due = now.plus_seconds(Retention::OLDER_THAN_DEFAULT);
                tables.know(Known { has_ended: true, due, ..self::due(reservation) })?;
            }
            Ok(())
        });
        changed.unwrap_or_default();
    }

    /// Moves what has been over for long into the archive, if there is enough of it to be worth the syncs. What kept
    /// it from that, and will do so again, is told; it need not fail what the caller is about.
    pub(super) fn tidy(&self, lock: &StoreLock, now: Timestamp) -> Option<EngineError> {
        let Ok(due) = self.tables.due(now, TIDIED) else { return None };
        if due.len() < TIDIED {
            return None;
        }
        let retention = Retention::older_than(Retention::OLDER_THAN_DEFAULT);
        let moved = marked(Some(self), &Watched::ALL, || move_batch(self.store, lock, &due, &retention, now));
        let moved = match moved {
            Ok(moved) => moved,
            Err(EngineError::Busy { .. }) => return None,
            Err(error) => return Some(error),
        };
        self.forget(&moved.reservations);
        // What was revived, or is in use just now, or cannot be read: later.
        let archived: HashSet<ReservationId> = moved.ids.into_iter().collect();
        let left: Vec<(ReservationId, Timestamp)> = due
            .into_iter()
            .filter(|id| !archived.contains(id))
            .map(|id| {
                let lease = standing(self.store, id).ok().flatten();
                let over = lease.map_or(now, |lease| lease.effective_expiry().max(now));
                (id, over.plus_seconds(Retention::OLDER_THAN_DEFAULT))
            })
            .collect();
        let changed =
            self.tables.change(|tables| left.iter().try_for_each(|(id, due)| tables.put_off(*id, *due)));
        changed.unwrap_or_default();
        None
    }

    /// Takes out what was archived. That it fails harms nobody.
    pub(super) fn forget(&self, archived: &[Reservation]) {
        let changed = self.tables.change(|tables| {
            archived.iter().try_for_each(|reservation| {
                tables.remove(reservation)?;
                tables.forget(reservation.reservation_id)
            })
        });
        changed.unwrap_or_default();
    }

    /// Marks `watched` again after a change that this process made and nobody else, as far as `was_marked` just
    /// before it tells.
    pub(super) fn mark(&self, watched: Watched) {
        if let Some(mark) = self.marks.get(&watched) {
            // Unmarked, it is looked at again.
            self.store.watched(watched).set_mark(mark.modified);
        }
    }
}

/// Carries out a change of `folders` by this process, and marks them again unless somebody else has changed them
/// before.
pub(super) fn marked<T>(
    index: Option<&Index<'_>>,
    folders: &[Watched],
    change: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let mut intact = Vec::with_capacity(folders.len());
    if let Some(index) = index {
        for &watched in folders {
            if index.is_folder_marked(watched)? {
                intact.push((index, watched));
            }
        }
    }
    let changed = change()?;
    for (index, watched) in intact {
        index.mark(watched);
    }
    Ok(changed)
}

/// How the index of a store is, for `fsck`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Every standing reservation has its entries, or will get them at the next look.
    Sound {
        entries: usize,
    },
    /// The system does not tell one boot from the next: there is none.
    Impossible,
    Missing,
    /// Of another boot only: the next writer makes it anew.
    Old,
    /// Somebody was writing it for all the time.
    Busy,
    /// Of another format.
    Foreign,
    /// Not to be read.
    Damaged(String),
    /// These stand, and what could be in their way is not told of them.
    Incomplete(Vec<ReservationId>),
}

/// Compares the index with `reservations`, which were read before it and stood then.
pub(super) fn health(store: &Store, reservations: &[Reservation]) -> Result<Health, EngineError> {
    let Some(path) = database(store) else { return Ok(Health::Impossible) };
    let mut names = file_names(store)?;
    names.retain(|(name, file_type)| !(is_draft(name) && *file_type == FileType::RegularFile));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !names.iter().any(|(its, _)| *its == name) {
        return Ok(if names.is_empty() { Health::Missing } else { Health::Old });
    }
    if let Some((odd, _)) =
        names.iter().find(|(its, file_type)| its.starts_with(&name) && *file_type != FileType::RegularFile)
    {
        return Ok(Health::Damaged(format!("{odd} is not a regular file")));
    }
    if store.root.below(FOLDER)?.is_some_and(|folder| folder.open_file(&name).is_ok_and(is_empty)) {
        return Ok(Health::Damaged("it is empty".to_owned()));
    }
    let read = || -> rusqlite::Result<Health> {
        let tables = Tables::open(&path, Access::Read)?;
        if let Some(fault) = tables.fault()? {
            return Ok(Health::Damaged(fault));
        }
        compare(store, &Index::of(store, tables)?, reservations)
    };
    match read() {
        Ok(health) => Ok(health),
        Err(rusqlite::Error::InvalidQuery) => Ok(Health::Foreign),
        Err(error) => Ok(match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Health::Busy,
            _ => Health::Damaged(error.to_string()),
        }),
    }
}

fn is_empty(open: Option<super::layout::OpenFile>) -> bool {
    open.is_some_and(|open| open.stat.st_size == 0)
}

fn compare(store: &Store, index: &Index<'_>, reservations: &[Reservation]) -> rusqlite::Result<Health> {
    let entries: HashSet<(String, String, ReservationId)> =
        index.tables.entries()?.into_iter().map(|entry| (entry.node, entry.address, entry.id)).collect();
    let known: HashMap<ReservationId, Known> =
        index.tables.known()?.into_iter().map(|known| (known.id, known)).collect();
    // Unmarked, the next writer looks at all names, and enters what it does not know to stand.
    let is_trusted = index.is_marked().unwrap_or(false);
    let lacks = |reservation: &&Reservation| {
        let id = reservation.reservation_id;
        let is_entered = reservation
            .addresses
            .iter()
            .all(|address| entries.contains(&(address.node().into_owned(), address.as_str().to_owned(), id)));
        let will_be = !is_trusted && known.get(&id).is_none_or(|known| known.has_ended);
        // Its entries go when it is released.
        !is_entered && !will_be && standing(store, id).is_ok_and(|lease| lease.is_some())
    };
    let lacking: Vec<ReservationId> =
        reservations.iter().filter(lacks).map(|reservation| reservation.reservation_id).collect();
    Ok(if lacking.is_empty() {
        Health::Sound { entries: entries.len() }
    } else {
        Health::Incomplete(lacking)
    })
}

/// The name of the database of this boot; `None` where there is none.
pub(super) fn current_name(store: &Store) -> Option<String> {
    Some(database(store)?.file_name()?.to_str()?.to_owned())
}

/// Whether a file of this name is a database of some boot, or lies beside one.
pub(super) fn is_index_file(name: &str) -> bool {
    let database =
        name.strip_suffix(JOURNAL_SUFFIX).or_else(|| name.strip_suffix(DRAFT_SUFFIX)).unwrap_or(name);
    let boot = database.strip_suffix(SUFFIX);
    boot.is_some_and(|boot| boot.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
}

/// Whether a file of this name is a database that is being made, or was.
pub(super) fn is_draft(name: &str) -> bool {
    is_index_file(name) && name.ends_with(DRAFT_SUFFIX)
}

/// Whether somebody is making the database of this name now.
pub(super) fn is_being_made(store: &Store, name: &str) -> Result<bool, EngineError> {
    let Some(folder) = store.root.below(FOLDER)? else { return Ok(false) };
    Ok(!DraftLock::is_free(&folder, name)?)
}

/// What stands in the folder of the index.
pub(super) fn file_names(store: &Store) -> Result<Vec<(String, FileType)>, EngineError> {
    let mut names = Vec::new();
    if let Some(folder) = store.root.below(FOLDER)? {
        folder.for_each_entry(|name, file_type| names.push((name.to_owned(), file_type)))?;
    }
    // A database stands before its journal.
    names.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(names)
}

/// What tables do not say yet of the records that are there.
struct Difference {
    /// How many records there are.
    present: usize,
    /// Known, and not there any more.
    gone: Vec<ReservationId>,
    /// Known to have stood, and ended since.
    ended: Vec<ReservationId>,
    /// Not known, and ended.
    unread_ended: Vec<ReservationId>,
    /// Standing, and not known to stand.
    unread: Vec<ReservationId>,
}

impl Difference {
    fn of(store: &Store, tables: &Tables) -> Result<Difference, Fault> {
        // The records first: what is made after this is not missed by a look at what lies beside it.
        let present = ids(&store.reservations)?;
        let released = ids(&store.releases)?;
        let superseded = ids(&store.superseded)?;
        let known: HashMap<ReservationId, bool> =
            tables.known()?.into_iter().map(|known| (known.id, known.has_ended)).collect();
        let gone = known.keys().filter(|id| !present.contains(id)).copied().collect();
        let mut difference = Difference {
            present: present.len(),
            gone,
            ended: Vec::new(),
            unread_ended: Vec::new(),
            unread: Vec::new(),
        };
        for id in present {
            let has_ended = released.contains(&id) || superseded.contains(&id);
            match (has_ended, known.get(&id)) {
                (true, Some(true)) | (false, Some(false)) => {}
                (true, Some(false)) => difference.ended.push(id),
                (true, None) => difference.unread_ended.push(id),
                (false, _) => difference.unread.push(id),
            }
        }
        Ok(difference)
    }

    const fn to_be_read(&self) -> usize {
        self.unread.len() + self.unread_ended.len()
    }
}

/// What is known of a reservation that stands.
fn due(reservation: &Reservation) -> Known {
    Known {
        id: reservation.reservation_id,
        token: Some(reservation.token),
        has_ended: false,
        due: reservation.expires_at.plus_seconds(Retention::OLDER_THAN_DEFAULT),
    }
}

/// The records in a folder; anything else in it is an error.
fn ids(folder: &Folder) -> Result<HashSet<ReservationId>, EngineError> {
    let (ids, misplaced) = folder.names()?;
    match misplaced.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(ids.into_iter().collect()),
    }
}

/// The time that folders are marked with at a look: an even second between 1980 and 1997. No change of today's gives
/// a folder such a time, and file systems that keep times to two seconds keep it whole.
fn past(now: Timestamp) -> i64 {
    const YEAR_1980_SECONDS: i64 = 315_532_800;
    const SPAN: i64 = 1 << 28;
    (YEAR_1980_SECONDS + 2 * now.as_microseconds().rem_euclid(SPAN)) * NANOSECONDS_PER_SECOND
}

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// Marks lie so far apart, in nanoseconds: two seconds.
const MARK_STEP: usize = 2_000_000_000;

/// Where the index of this boot lies; `None` where the system does not tell one boot from the next.
#[cfg(target_os = "linux")]
fn database(store: &Store) -> Option<PathBuf> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = boot.trim();
    let is_plain = !boot.is_empty() && boot.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_plain.then(|| store.root.path().join(FOLDER).join(format!("{boot}{SUFFIX}")))
}

#[cfg(not(target_os = "linux"))]
fn database(_: &Store) -> Option<PathBuf> {
    None
}

/// Makes the folder of the index, takes away what other boots left in it, and returns where the index of this one is.
/// `None` where there can be none.
fn prepare_folder(store: &Store) -> Option<PathBuf> {
    let path = database(store)?;
    let folder = store.root.make_below(FOLDER).ok()?;
    let name = path.file_name()?.to_str()?;
    if !folder.holds(name).ok()? {
        remove_all(&folder, &format!("{name}{DRAFT_SUFFIX}"));
    }
    Some(path)
}

/// Removes an index that cannot be used. The lock makes sure that nobody is writing it.
fn discard(store: &Store, _: &StoreLock) {
    if let (Ok(folder), Some(name)) = (store.root.make_below(FOLDER), current_name(store)) {
        remove_all(&folder, &format!("{name}{DRAFT_SUFFIX}"));
    }
}

/// Removes all but the draft, which somebody may be writing without the store's lock.
///
/// The databases first: a journal without its database means nothing, a database without the journal that would undo
/// half a change is damaged unseen. What cannot be removed is told by whoever opens it.
fn remove_all(folder: &Folder, draft: &str) {
    let mut names = Vec::new();
    folder.for_each_entry(|name, _| names.push(name.to_owned())).unwrap_or_default();
    names.retain(|name| name != draft);
    names.sort_by_key(|name| !name.ends_with(SUFFIX));
    for name in names {
        publish::remove(folder, &name).unwrap_or_default();
    }
}
