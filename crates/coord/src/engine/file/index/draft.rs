//! A new index for a store with many records: made beside its place while others go on, and moved into it under the
//! store's lock.
//!
//! A draft is complete for nobody: it carries no marks. Whoever moves it into its place looks at all names then, as at
//! any index without its marks, and reads what came since: records are immutable and named by their content, so the
//! names are the whole difference. Killed at any point, there is a draft that nobody reads, or an index that nobody
//! trusts yet.

use std::time::Duration;

use super::super::layout::{Folder, FolderMark, Store};
use super::super::lock::{DraftLock, STORE_WAIT, StoreLock};
use super::super::publish;
use super::tables::{Access, Changes, Known, Look, Tables};
use super::{
    Difference, FOLDER, Fault, JOURNAL_SUFFIX, LOOKS_MAX, Opened, current_name, due, open_to_write,
    remove_all,
};
use crate::clock::{Clock, Timestamp};
use crate::engine::EngineError;
use crate::engine::file::{read_each, sweep};
use crate::id::{ReservationId, Token};
use crate::progress::Progress;
use crate::record::Reservation;

/// What the name of a draft has behind that of the database that it is to be.
pub(super) const DRAFT_SUFFIX: &str = "-new";

/// How many records a `reserve` reads for the index while it holds the store's lock: what takes a few tens of
/// milliseconds. More are read into a draft.
pub(in super::super) const UNREAD_MAX: usize = 4096;

/// How many records are entered at once, and so held in memory.
const PART: usize = 65_536;

/// How many records are read between two reports to the progress, and looks whether somebody else was quicker.
const RECORDS_PER_REPORT: usize = 1024;

/// Takes the store's lock, with its index brought up to date if it has more than `above` records. Where that takes
/// long it is done before the lock is taken; `unread_max` says what is long.
///
/// # Errors
///
/// When the lock cannot be had, and when a record that the index does not know yet cannot be read, or something that is
/// no record stands among them: nothing may be granted then.
pub(in super::super) fn locked<'s>(
    store: &'s Store,
    above: usize,
    unread_max: usize,
    clock: &impl Clock,
    progress: &dyn Progress,
) -> Result<(StoreLock, Timestamp, Option<super::Index<'s>>), EngineError> {
    let mut attempt = None;
    loop {
        let lock = StoreLock::acquire(&store.root)?;
        let now = clock.now();
        sweep(store, now)?;
        if !store.reservations.is_dear_to_list(above)? {
            return Ok((lock, now, None));
        }
        let may_be_drafted = attempt.is_none();
        if let Some(Some(draft)) = attempt {
            Draft::install(draft, &lock);
        }
        let unread_max = if may_be_drafted { unread_max } else { usize::MAX };
        match open_to_write(store, &lock, now, unread_max)? {
            Opened::Answered(index) => return Ok((lock, now, index)),
            Opened::Unbuilt => {}
        }
        // Once: what is still missing then is read under the lock.
        let before = Place::of(store).map(|place| place.database());
        drop(lock);
        let place = before.and_then(|before| Some((Place::of(store)?, before)));
        let draft =
            place.and_then(|(place, before)| Draft::make(store, place, before, now, STORE_WAIT, progress));
        attempt = Some(draft);
        progress.end();
    }
}

/// Makes the index for whoever holds the store's lock and is in no hurry. It waits for nobody's draft: who makes that
/// waits for this lock in the end.
///
/// # Errors
///
/// As [`locked`].
pub(in super::super) fn remake(
    store: &Store,
    lock: &StoreLock,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<(), EngineError> {
    if let Some(place) = Place::of(store) {
        let before = place.database();
        if let Some(draft) = Draft::make(store, place, before, now, Duration::ZERO, progress) {
            draft.install(lock);
        }
        progress.end();
    }
    open_to_write(store, lock, now, usize::MAX).map(drop)
}

/// Where the database of this boot is to be.
struct Place {
    folder: Folder,
    name: String,
    draft: String,
}

/// Which file the database is, and when it was last complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Present {
    file: (i64, i64),
    look: Option<Look>,
}

impl Place {
    /// `None` where there can be none.
    fn of(store: &Store) -> Option<Place> {
        let name = current_name(store)?;
        let draft = format!("{name}{DRAFT_SUFFIX}");
        Some(Place { folder: store.root.make_below(FOLDER).ok()?, name, draft })
    }

    /// The database that is there.
    fn database(&self) -> Option<Present> {
        let FolderMark { device, inode, .. } = self.folder.mark_of(&self.name)?;
        let tables = Tables::open(&self.folder.path_of(&self.name), Access::Read);
        let look = tables.and_then(|tables| tables.look()).ok().flatten();
        Some(Present { file: (device, inode), look })
    }

    /// Whether somebody has made an index since the database was `before`: another one, or that one complete.
    fn is_served(&self, before: Option<Present>) -> bool {
        self.database().is_some_and(|now| {
            let changed =
                |before: Present| now.file != before.file || (now.look.is_some() && now.look != before.look);
            before.is_none_or(changed)
        })
    }
}

/// A new database, whole, and nobody's index yet. Removed when dropped.
struct Draft {
    place: Place,
    /// Which database it is to take the place of.
    before: Option<Present>,
    lock: DraftLock,
}

impl Draft {
    /// Makes a draft; `None` if that cannot be, if somebody else was quicker, or is at it for all of `wait`.
    fn make(
        store: &Store,
        place: Place,
        before: Option<Present>,
        now: Timestamp,
        wait: Duration,
        progress: &dyn Progress,
    ) -> Option<Draft> {
        let acquire = |wait| DraftLock::acquire(&place.folder, &place.draft, wait).ok();
        // A process that was killed left its own: its content is not known.
        let lock = loop {
            let lock = match acquire(Duration::ZERO)? {
                None if !wait.is_zero() => {
                    progress.begin(None, "waiting for the index");
                    acquire(wait)?
                }
                lock => lock,
            }?;
            if lock.is_new {
                break lock;
            }
            publish::remove(&place.folder, &place.draft).ok()?;
        };
        let draft = Draft { place, before, lock };
        if draft.place.is_served(before) {
            return None;
        }
        draft.fill(store, now, progress).ok()??;
        Some(draft)
    }

    /// Reads all records. `None` if somebody else was quicker.
    fn fill(&self, store: &Store, now: Timestamp, progress: &dyn Progress) -> Result<Option<()>, Fault> {
        let Place { folder, draft, .. } = &self.place;
        let tables = Tables::make_draft(&folder.path_of(draft))?;
        for _ in 0..LOOKS_MAX {
            let difference = Difference::of(store, &tables)?;
            let total = difference.to_be_read();
            if total == 0 {
                break;
            }
            progress.begin(Some(total as u64), "indexing");
            let mut is_served = false;
            let mut read = |ids: &[ReservationId]| {
                let mut reservations = Vec::with_capacity(ids.len());
                for ids in ids.chunks(RECORDS_PER_REPORT) {
                    is_served = is_served || self.place.is_served(self.before);
                    if is_served {
                        break;
                    }
                    // What cannot be read is read again under the lock, and told then.
                    reservations.extend(
                        read_each(ids, |id| store.reservation(id))
                            .into_iter()
                            .filter_map(|read| read.ok()?),
                    );
                    progress.advance(ids.len() as u64);
                }
                reservations
            };
            for ids in difference.unread.chunks(PART) {
                let standing = read(ids);
                tables.change(|tables| stand(tables, standing))?;
            }
            for ids in difference.unread_ended.chunks(PART) {
                let tokens: Vec<_> =
                    read(ids).iter().map(|its| (its.reservation_id, Some(its.token))).collect();
                tables.change(|tables| have_ended(tables, &tokens, now))?;
            }
            if is_served {
                return Ok(None);
            }
            if total <= RECORDS_PER_REPORT {
                break;
            }
        }
        Ok(Some(()))
    }

    /// Moves the draft into its place, unless somebody else was quicker.
    fn install(self, _: &StoreLock) {
        let Place { folder, name, draft } = &self.place;
        if self.place.is_served(self.before) || !self.lock.is_of(folder, draft).unwrap_or_default() {
            return;
        }
        // A journal that is left of the database before would be rolled back into this one.
        remove_all(folder, draft);
        // Where it is not moved, it is removed, and the index is made under the lock.
        if folder.holds(&format!("{name}{JOURNAL_SUFFIX}")).is_ok_and(|is_left| !is_left) {
            publish::rename(folder, draft, name).unwrap_or_default();
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once it is moved, or was taken away by somebody, the name may be that of another's.
        let Place { folder, draft, .. } = &self.place;
        if self.lock.is_of(folder, draft).unwrap_or_default() {
            publish::remove(folder, draft).unwrap_or_default();
        }
    }
}

/// Enters reservations that stand.
pub(super) fn stand(tables: &Changes<'_>, mut standing: Vec<Reservation>) -> rusqlite::Result<()> {
    // Neighbours in the tables are written one after the other.
    standing.sort_by(|one, other| one.addresses.cmp(&other.addresses));
    for reservation in &standing {
        tables.add(reservation)?;
    }
    standing.sort_by_key(|reservation| reservation.reservation_id);
    standing.iter().try_for_each(|reservation| tables.know(due(reservation)))
}

/// Notes reservations that have ended, with their tokens where they are to be noted.
pub(super) fn have_ended(
    tables: &Changes<'_>,
    ended: &[(ReservationId, Option<Token>)],
    now: Timestamp,
) -> rusqlite::Result<()> {
    ended.iter().try_for_each(|&(id, token)| tables.know(Known { id, token, has_ended: true, due: now }))
}
