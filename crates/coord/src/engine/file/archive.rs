//! The archive: one file of JSON lines a month, written at its end only.
//!
//! A reservation that is over is moved in this order: its line is appended and synced, its record is removed and
//! that synced, then heartbeat, supersession and tombstone, all under the record's lock inside the store's. So it
//! is always in one place or in both, and a tombstone outlives the record that it speaks of. Only the last batch
//! can be half moved: whoever moves finishes that first. `docs/store-format.md` argues every crash.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use memchr::memmem::Finder;
use rustix::fs::FileType;
use serde::de::Error as _;

use super::backwards::Backwards;
use super::layout::{Folder, Room, Store, record_name};
use super::lock::{RecordLock, RecordLocking, StoreLock, allow_record_locks};
use super::publish;
use super::safeguards::Safeguard;
use crate::archive::{Archived, BATCH_MAX, Bounds, Ending, Retention};
use crate::clock::Timestamp;
use crate::engine::{EngineError, Released};
use crate::id::{ReservationId, Token};
use crate::lease::{Lease, Mark};
use crate::record::{Companion, RecordError, Reservation};

/// The ending of every archive file's name.
const SUFFIX: &str = ".jsonl";

/// How many bytes one step appends at most, unless a single line is longer: it is put together in memory.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The open archive of a store.
#[derive(Debug)]
pub(super) struct Archive {
    folder: Folder,
    /// The files, the newest last: every line in one of them was appended after every line in those before it.
    names: Vec<String>,
    /// What stands in the place of one.
    misplaced: Vec<EngineError>,
}

/// What a step came to.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Those that are archived now and were not known to be before, what a killed process had begun included.
    pub(super) ids: Vec<ReservationId>,
    /// When each of those that this step appended ended.
    pub(super) ended: Vec<Timestamp>,
    /// Those that this step appended.
    pub(super) reservations: Vec<Reservation>,
    /// Those that were too long to be moved together with the others; never all.
    pub(super) too_many: Vec<ReservationId>,
    /// How many were left: in use just then, or not over for long enough.
    pub(super) skipped: usize,
    /// How many bytes were appended.
    pub(super) bytes: u64,
    /// What could not be read.
    pub(super) damaged: Vec<EngineError>,
}

/// Moves those of `ids`, at most [`BATCH_MAX`], into the archive that are over for long enough at `now`, and finishes
/// what a killed process had begun: with none, only that. Of `ids`, those that are in use or no longer over for long
/// enough are left, and so is what cannot be read.
///
/// The caller has read the clock since it holds the store's lock. An error says that nothing was moved, or that
/// something is half moved, which the next step finishes: it need not fail what the caller is about.
pub(super) fn move_batch(
    store: &Store,
    _: &StoreLock,
    ids: &[ReservationId],
    retention: &Retention,
    now: Timestamp,
) -> Result<Moved, EngineError> {
    let mut archive = Archive::open(store)?;
    let mut moved = Moved { damaged: std::mem::take(&mut archive.misplaced), ..Moved::default() };
    allow_record_locks(BATCH_MAX);
    let last = archive.last_batch()?;
    moved.damaged.extend(last.damaged);
    let begun = Begun::of(store, &last.lines, now)?;
    if begun.is_in_use {
        // Nothing is appended until the last batch is moved: that is what keeps all others whole.
        moved.skipped = ids.len();
        return Ok(moved);
    }
    if begun.stands {
        // Whoever was killed may not have come to it, and may have removed records that a power loss brings back.
        archive.sync(last.files)?;
        store.reservations.sync()?;
        remove(store, &begun.ids)?;
    }
    let finished: HashSet<ReservationId> = begun.ids.iter().copied().collect();
    moved.ids = begun.ids;
    drop(begun.locks);

    let mut lines: Vec<(Archived, RecordLock)> = Vec::with_capacity(ids.len());
    for id in ids.iter().filter(|id| !finished.contains(id)) {
        match lock_over(store, *id, retention, now) {
            Ok(Look::Over(line)) => lines.push(*line),
            Ok(Look::InUse) => moved.skipped += 1,
            Ok(Look::Gone) => {}
            Err(error) => moved.damaged.push(error),
        }
    }
    lines.sort_by_key(|(line, _)| line.reservation.token);
    let mut bounds = last.bounds;
    let mut bytes = Vec::new();
    for position in 0..lines.len() {
        let (line, _) = &mut lines[position];
        line.before = bounds;
        line.batch_position = u32::try_from(position).unwrap_or(u32::MAX);
        let line_bytes = line.to_line().map_err(|source| archive.folder.damaged("", source))?;
        if position > 0 && bytes.len() + line_bytes.len() > BATCH_BYTES_MAX {
            moved.too_many = lines.drain(position..).map(|(line, _)| line.id()).collect();
            break;
        }
        bytes.extend_from_slice(&line_bytes);
        bounds = Some(line.bounds());
    }
    if lines.is_empty() {
        return Ok(moved);
    }
    let appended: Vec<ReservationId> = lines.iter().map(|(line, _)| line.id()).collect();
    if !store.root.safeguards().keep(Safeguard::ArchiveFirst) {
        remove(store, &appended)?;
    }
    archive.append(&bytes, now, begun.stands)?;
    remove(store, &appended)?;
    moved.ended = lines.iter().map(|(line, _)| line.ended_at).collect();
    moved.bytes = bytes.len() as u64;
    moved.ids.extend(appended);
    moved.reservations = lines.into_iter().map(|(line, _)| line.reservation).collect();
    Ok(moved)
}

/// What there is of a reservation that is to be moved.
enum Look {
    /// Its line, to be completed, and its record's lock.
    Over(Box<(Archived, RecordLock)>),
    /// Somebody holds the lock, or it is not over for long enough: its holder may have revived it since the caller
    /// looked.
    InUse,
    /// It is not live: somebody else moved it.
    Gone,
}

/// Locks the record of `id` and looks at it again.
fn lock_over(
    store: &Store,
    id: ReservationId,
    retention: &Retention,
    now: Timestamp,
) -> Result<Look, EngineError> {
    let lock = match RecordLock::acquire(store, id, Duration::ZERO)? {
        RecordLocking::Locked(lock) => lock,
        RecordLocking::Busy(_) => return Ok(Look::InUse),
        RecordLocking::Missing => return Ok(Look::Gone),
    };
    let Some(lease) = find_whole(store, id)? else { return Ok(Look::Gone) };
    if retention.ended_at(&lease, now).is_none() {
        return Ok(Look::InUse);
    }
    let line = Archived::of(lease, None, 0, now);
    Ok(line.map_or(Look::InUse, |line| Look::Over(Box::new((line, lock)))))
}

/// Everything that is known of a live reservation. Beside its presence, the content of a tombstone or supersession is
/// about to be all that is left of it: one that the disk does not give now is an error, not a record without content.
pub(super) fn find_whole(store: &Store, id: ReservationId) -> Result<Option<Lease>, EngineError> {
    let Some(mut lease) = super::find(store, id)? else { return Ok(None) };
    lease.release = reread(&store.releases, id, lease.release)?;
    lease.supersession = reread(&store.superseded, id, lease.supersession)?;
    Ok(Some(lease))
}

fn reread<T: Companion>(folder: &Folder, id: ReservationId, mark: Mark<T>) -> Result<Mark<T>, EngineError> {
    if !matches!(mark, Mark::Present) {
        return Ok(mark);
    }
    match folder.companion::<T>(id) {
        Ok(content) => Ok(content.map_or(mark, Mark::Read)),
        Err(error @ EngineError::Unreadable { .. }) => Err(error),
        Err(_) => Ok(mark),
    }
}

/// What of the last batch is in the live store as well.
#[derive(Debug, Default)]
struct Begun {
    /// What has to be removed from it.
    ids: Vec<ReservationId>,
    locks: Vec<RecordLock>,
    /// Somebody holds the lock of such a record.
    is_in_use: bool,
    /// Whether anything of the batch is there at all: then nobody knows whether the batch was synced.
    stands: bool,
}

impl Begun {
    fn of(store: &Store, lines: &[Archived], now: Timestamp) -> Result<Begun, EngineError> {
        let mut begun = Begun::default();
        for line in lines {
            let id = line.id();
            let name = record_name(id);
            if store.reservations.holds(&name)? {
                begun.stands = true;
                match RecordLock::acquire(store, id, Duration::ZERO)? {
                    RecordLocking::Locked(lock) => {
                        // The holder may have revived it after the process was killed: then it stays, and gets
                        // another line when it is over. So does one that cannot be read.
                        let live = super::find(store, id).unwrap_or_default();
                        if live.is_some_and(|live| line.covers(&live, now)) {
                            begun.ids.push(id);
                            begun.locks.push(lock);
                        }
                    }
                    RecordLocking::Busy(_) => begun.is_in_use = true,
                    RecordLocking::Missing => begun.ids.push(id),
                }
            } else {
                for folder in companions(store) {
                    if folder.holds(&name)? {
                        begun.stands = true;
                        begun.ids.push(id);
                        break;
                    }
                }
            }
        }
        Ok(begun)
    }
}

/// The folders of what lies beside a record, in the order in which it is removed.
const fn companions(store: &Store) -> [&Folder; 3] {
    [&store.heartbeats, &store.superseded, &store.releases]
}

/// Removes archived reservations from the live store. The caller holds their records' locks.
///
/// The records go first, and for good: a tombstone that is gone while its record comes back with a power loss would
/// give a released reservation back to its holder.
fn remove(store: &Store, ids: &[ReservationId]) -> Result<(), EngineError> {
    if remove_from(&store.reservations, ids)? {
        store.reservations.sync()?;
    }
    for folder in companions(store) {
        // What is left of a heartbeat by a power loss is in nobody's way: heartbeats are never synced.
        if remove_from(folder, ids)? && !std::ptr::eq(folder, &raw const store.heartbeats) {
            folder.sync()?;
        }
    }
    Ok(())
}

/// Whether there was anything to remove.
fn remove_from(folder: &Folder, ids: &[ReservationId]) -> Result<bool, EngineError> {
    let mut is_changed = false;
    for id in ids {
        let name = record_name(*id);
        let removed = publish::remove_if_there(folder, &name);
        is_changed |= removed.map_err(|errno| folder.unwritable(&name, "remove", errno))?;
    }
    Ok(is_changed)
}

/// The last batch of an archive.
#[derive(Debug, Default)]
struct LastBatch {
    /// Its lines, the newest first; more, if its end is not known.
    lines: Vec<Archived>,
    /// How many files they are in.
    files: usize,
    /// The bounds of the whole archive.
    bounds: Option<Bounds>,
    damaged: Vec<EngineError>,
}

impl Archive {
    /// Opens the archive of `store`.
    pub(super) fn open(store: &Store) -> Result<Archive, EngineError> {
        let folder = store.root.room(Room::Archive)?.ok_or_else(|| store.root.missing(Room::Archive))?;
        let mut names = Vec::new();
        let mut misplaced = Vec::new();
        folder.for_each_entry(|name, file_type| {
            if !is_month(name) {
                // Somebody's copy, or what a tool left: in nobody's way, and `fsck` tells it.
            } else if file_type == FileType::RegularFile {
                names.push(name.to_owned());
            } else {
                misplaced.push(folder.not_a_file(name, file_type));
            }
        })?;
        names.sort_unstable();
        misplaced.sort_by_key(ToString::to_string);
        Ok(Archive { folder, names, misplaced })
    }

    /// The lines, the newest first.
    pub(super) fn lines(self) -> Newest {
        Newest { archive: self, current: None }
    }

    /// The newest line of `id`, and the file that it is in.
    pub(super) fn find(self, id: ReservationId) -> Result<Option<(Archived, PathBuf)>, EngineError> {
        let digits = id.hex();
        let finder = Finder::new(digits.as_bytes());
        let mut lines = self.lines();
        // What cannot be read may be what is asked for: it is told if nothing is found.
        let mut damaged = None;
        loop {
            match lines.next_line(|line| finder.find(line).is_some()) {
                // The id stands in the line of what it superseded, too.
                Some(Ok(line)) if line.id() == id => {
                    return Ok(Some((line, lines.path())));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => damaged = damaged.or(Some(error)),
                None => return damaged.map_or(Ok(None), Err),
            }
        }
    }

    /// The greatest token in the archive. What cannot be read is an error: it may be the one.
    pub(super) fn greatest_token(self) -> Result<Option<Token>, EngineError> {
        Ok(self.lines().next().transpose()?.map(|line| line.bounds().token))
    }

    /// The lines of the last batch, which alone can be in the live store as well, and the bounds of all. A line of a
    /// later version is an error, because what it says of its batch is not known.
    fn last_batch(&self) -> Result<LastBatch, EngineError> {
        let mut last = LastBatch::default();
        let copy = Archive { folder: self.folder.again()?, names: self.names.clone(), misplaced: Vec::new() };
        let files = copy.names.len();
        let mut lines = copy.lines();
        // Where the newest line cannot be read, nobody knows how long its batch is.
        let mut left = BATCH_MAX;
        while left > 0 {
            let Some(line) = lines.next() else { break };
            left -= 1;
            last.files = files - lines.archive.names.len();
            match line {
                Ok(line) => {
                    if last.bounds.is_none() {
                        last.bounds = Some(line.bounds());
                        if last.damaged.is_empty() {
                            left = BATCH_MAX.min(line.batch_position as usize);
                        }
                    }
                    last.lines.push(line);
                }
                Err(error @ EngineError::DamagedLine { source: RecordError::SchemaTooNew { .. }, .. }) => {
                    return Err(error);
                }
                Err(error @ EngineError::DamagedLine { .. }) => last.damaged.push(error),
                Err(error) => return Err(error),
            }
        }
        // Without bounds the next line would say that it is the first, and readers would stop behind the damage and
        // not see what stands before it. The newest line that can be read covers all before itself. What the damaged
        // ones after it held, nothing tells any more; but no reader can show them either, so bounds that leave them
        // out hide nothing. No more of them is told here: there may be a million.
        while last.bounds.is_none() {
            match lines.next() {
                Some(Ok(line)) => last.bounds = Some(line.bounds()),
                Some(Err(EngineError::DamagedLine { source, .. }))
                    if !matches!(source, RecordError::SchemaTooNew { .. }) => {}
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(last)
    }

    /// Makes the last files, and their names, last through a power loss.
    fn sync(&self, files: usize) -> Result<(), EngineError> {
        for name in self.names.iter().rev().take(files) {
            publish::sync_file(&self.folder, name)?;
        }
        self.folder.sync()
    }

    /// Appends a batch, and syncs it: to the file of this month, or of a later one if the clock was set back, so that
    /// the files stand in the order in which they were written.
    fn append(&self, bytes: &[u8], now: Timestamp, may_be_unsynced: bool) -> Result<(), EngineError> {
        let month = now.to_string().chars().take(MONTH_CHARACTERS).collect::<String>() + SUFFIX;
        let name = self.names.last().filter(|last| **last > month).unwrap_or(&month);
        let whole = match self.folder.open_file(name)? {
            Some(open) => {
                Backwards::new(open).whole_bytes().map_err(|error| self.folder.unreadable(name, error))?
            }
            None => 0,
        };
        publish::append(&self.folder, name, whole, bytes)?;
        // A file that is new, or that a killed process may have made, has a name that is not on the disk yet.
        if whole == 0 || may_be_unsynced { self.folder.sync() } else { Ok(()) }
    }
}

/// `YYYY-MM`.
const MONTH_CHARACTERS: usize = 7;

/// Whether this is the name of an archive file.
pub(super) fn is_month(name: &str) -> bool {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_suffix(SUFFIX).and_then(|month| month.split_once('-')).is_some_and(|(year, month)| {
        year.len() == 4
            && is_number(year)
            && month.len() == 2
            && ("01"..="12").contains(&month)
            && is_number(month)
    })
}

/// The lines of an archive, the newest first.
#[derive(Debug)]
pub(super) struct Newest {
    archive: Archive,
    current: Option<(String, Backwards)>,
}

impl Newest {
    /// The next line that is `wanted`. What cannot be read is always told.
    fn next_line(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<Result<Archived, EngineError>> {
        loop {
            let Some((name, reader)) = &mut self.current else {
                if let Some(error) = self.archive.misplaced.pop() {
                    return Some(Err(error));
                }
                let name = self.archive.names.pop()?;
                match self.archive.folder.open_file(&name) {
                    Ok(Some(open)) => self.current = Some((name, Backwards::new(open))),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            let found = match reader.next() {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.current = None;
                    continue;
                }
                Err(error) => {
                    let error = self.archive.folder.unreadable(name, error);
                    self.current = None;
                    return Some(Err(error));
                }
            };
            let read = match found.bytes {
                None => Err(RecordError::Malformed(serde_json::Error::custom("it is too long"))),
                Some(range) => {
                    let line = reader.line(range);
                    // A blank line holds nothing that could be missed.
                    if line.trim_ascii().is_empty() || !wanted(line) {
                        continue;
                    }
                    Archived::from_line(line)
                }
            };
            return Some(read.map_err(|source| match reader.number(found.offset) {
                Ok(line) => {
                    EngineError::DamagedLine { path: self.archive.folder.path_of(name), line, source }
                }
                Err(error) => self.archive.folder.unreadable(name, error),
            }));
        }
    }

    /// The file of the line that was the last to be found.
    fn path(&self) -> PathBuf {
        let name = self.current.as_ref().map_or("", |(name, _)| name);
        self.archive.folder.path_of(name)
    }
}

impl Iterator for Newest {
    type Item = Result<Archived, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line(|_| true)
    }
}

/// What a release says of a reservation that is not live.
pub(super) fn released(store: &Store, id: ReservationId) -> Result<Released, EngineError> {
    let line = Archive::open(store)?.find(id)?;
    Ok(match line {
        Some((line, _)) if line.state == Ending::Released => Released::AlreadyReleased,
        _ => Released::NotFound,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock as _, ManualClock};
    use crate::decide::Request;
    use crate::engine::file::FileEngine;
    use crate::engine::{Engine as _, ReleaseRequest, Reserved};
    use crate::id::RunId;
    use crate::record::TtlSeconds;

    #[test]
    fn a_small_step_moves_what_is_over_and_leaves_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at_seconds(1_800_000_000));
        let engine = FileEngine::new(folder.path().join("coordination"), Arc::clone(&clock));
        let run = RunId::new("alice").unwrap();
        let hold = |address: &str| {
            let wanted = vec![address.parse().unwrap()];
            let request = Request::new(run.clone(), wanted, TtlSeconds::new(60).unwrap());
            match engine.grant(&request).unwrap() {
                Reserved::Granted(grant) => grant.lease.reservation.reservation_id,
                other => panic!("{other:?}"),
            }
        };
        let made: Vec<ReservationId> = ["a.py", "b.py", "c.py"].map(hold).to_vec();
        let reservations = made[..2].to_vec();
        let request = ReleaseRequest { reservations, run: run.clone(), reason: None, force: false };
        engine.release(&request).unwrap();

        let store = Store::open(engine.path(), crate::engine::file::Safeguards::ALL).unwrap().unwrap();
        let lock = StoreLock::acquire(&store.root).unwrap();
        let step = |ids: &[ReservationId], seconds| {
            let retention = Retention::older_than(seconds);
            move_batch(&store, &lock, ids, &retention, clock.now()).unwrap().ids
        };
        let nobody = ReservationId::from_digest([7; 32]);
        assert_eq!(step(&[], 0), []);
        assert_eq!(step(&made, 1), [], "not over for long enough");
        assert_eq!(step(&[made[1], nobody, made[2], made[1]], 0), [made[1]]);
        assert_eq!(step(&made, 0), [made[0]]);
        // Steps in the order that the caller gives leave each line its bounds.
        let lines: Vec<Archived> = engine.archived().unwrap().map(|line| line.unwrap()).collect();
        assert_eq!(lines.iter().map(Archived::id).collect::<Vec<_>>(), [made[0], made[1]]);
        assert_eq!(lines[0].before.unwrap().token, lines[1].reservation.token);
        drop(lock);
        assert_eq!(engine.history().unwrap().leases.len(), 1);
    }
}
