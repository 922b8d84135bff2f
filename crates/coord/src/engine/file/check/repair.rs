//! What is done about what is wrong. Every step leaves what it is about where it was, or in the quarantine, whole:
//! it is a rename, or an exchange of two names.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::FileType;

use super::look::{View, archive, has_tail, id_of, line_fault, type_of};
use super::{FindingKind, QUARANTINE, Records, Remedy, Subject, Wrong};
use crate::clock::{Clock, Timestamp};
use crate::engine::EngineError;
use crate::engine::file::index::{self, FOLDER as INDEX_FOLDER};
use crate::engine::file::layout::{Folder, LOCK_NAME, Store, TOKEN_NAME, record_name};
use crate::engine::file::lock::{RIVAL_WAIT, RecordLock, RecordLocking, StoreLock};
use crate::engine::file::{prepare, publish, stage, tokens, waiting};
use crate::id::{ReservationId, RunId, Token};
use crate::record::{Release, to_file_bytes};

/// The run that the tombstones of a repair name.
const RUN: &str = "muse-fsck";

/// How many names are tried for one file in the quarantine: as many as things of one name can sensibly be there.
const NAMES_MAX: usize = 10_000;

/// How much of a name is kept in the quarantine, in bytes: with what comes before and behind it, a file system takes
/// it.
const NAME_BYTES_MAX: usize = 200;

/// How much of an archive file is copied at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// What became of a repair: what was done, or why it could not be.
type Done = Result<String, String>;

impl<C: Clock> View<'_, C> {
    /// Repairs the lock, which needs no lock, for nobody can have it.
    pub(super) fn repair_lock(&self, wrong: &Wrong) -> Done {
        let made = |()| "made again".to_owned();
        let done = match &wrong.remedy {
            Remedy::MakeLock => StoreLock::make(self.root).map(made),
            Remedy::ReplaceLock => self.replace_lock(),
            _ => return Err("not repaired".to_owned()),
        };
        done.map_err(|error| error.to_string())
    }

    /// Another repair may have made a lock since this one looked, and somebody may hold that.
    fn replace_lock(&self) -> Result<String, EngineError> {
        match type_of(self.root, LOCK_NAME.as_ref())? {
            None | Some(FileType::RegularFile) => {
                StoreLock::make(self.root)?;
                Ok("made again".to_owned())
            }
            Some(_) => self.put_lock_aside(),
        }
    }

    /// Moves what has the lock's name aside, and makes the lock, unless it was one: then that gets its name back.
    fn put_lock_aside(&self) -> Result<String, EngineError> {
        let quarantine = self.quarantine()?;
        let new = self.put_aside_as(self.root, "", LOCK_NAME.as_ref())?;
        let was_lock = type_of(&quarantine, new.as_ref())? == Some(FileType::RegularFile);
        if !was_lock {
            StoreLock::make(self.root)?;
            return Ok(format!("moved to {QUARANTINE}/{new}, and made again"));
        }
        if publish::quarantine(&quarantine, new.as_ref(), self.root, LOCK_NAME)? {
            return Ok("made again".to_owned());
        }
        Err(self.root.unwritable(LOCK_NAME, "put back", io::ErrorKind::AlreadyExists))
    }

    /// Repairs what was just found under the store's lock, and looks whether it is right now.
    pub(super) fn repair_under(&self, lock: &StoreLock, subject: &Subject, wrong: &Wrong) -> Done {
        let done = self.carry_out(lock, subject, wrong).map_err(|error| format!("not repaired: {error}"))?;
        // The lines of a file stand elsewhere now, and were read while they were copied.
        if matches!(subject, Subject::ArchiveLines { .. }) {
            return Ok(done);
        }
        match self.look(subject).into_iter().next() {
            None => Ok(done),
            Some(left) => Err(format!("{done}, and still: {}", left.detail)),
        }
    }

    fn carry_out(&self, lock: &StoreLock, subject: &Subject, wrong: &Wrong) -> Result<String, EngineError> {
        let made = |()| "made again, empty".to_owned();
        let store = || self.store.ok_or_else(|| self.gone());
        match (&wrong.remedy, subject) {
            (Remedy::MakeFolder, _) => self.root.make_rooms().map(drop).map(made),
            (Remedy::ReplaceFolder, Subject::Folder(name)) => {
                let done = self.put_aside(self.root, "", name.as_ref())?;
                // Those that every store has; another is made when it is needed.
                self.root.make_rooms()?;
                Ok(format!("{done}, and made again, empty"))
            }
            (Remedy::Quarantine, Subject::Unfinished(name)) => {
                let parent = self.parent()?.ok_or_else(|| self.gone())?;
                self.put_aside(&parent, "", name)
            }
            (Remedy::Quarantine, Subject::Entry { records: Records::Reservations, name }) => {
                self.put_reservation_aside(store()?, name)
            }
            (Remedy::Quarantine, Subject::Entry { records, name }) => {
                let store = store()?;
                let _lock = record_lock(store, id_of(name))?;
                self.put_aside(records.of(store), records.as_str(), name)
            }
            (Remedy::Quarantine, Subject::ArchiveEntry(name)) => {
                self.put_aside(&archive(store()?)?, "archive", name)
            }
            (Remedy::Quarantine, Subject::Ticket(name)) => match waiting::folder(store()?)? {
                Some(folder) => self.put_aside(&folder, "waiting", name),
                None => Err(self.gone()),
            },
            (Remedy::Quarantine, Subject::Temporary(name)) => {
                self.put_aside(&store()?.temporary, "tmp", name)
            }
            (Remedy::Quarantine, Subject::IndexEntry(name)) => {
                let folder = self.root.make_below(INDEX_FOLDER)?;
                self.put_aside(&folder, INDEX_FOLDER, name.as_ref())
            }
            (Remedy::Remove, Subject::Temporary(_)) => {
                super::super::sweep(store()?, self.engine.clock.now())?;
                Ok("removed".to_owned())
            }
            (Remedy::Remove, Subject::IndexEntry(name)) => {
                let folder = self.root.make_below(INDEX_FOLDER)?;
                publish::remove(&folder, name).map_err(|errno| folder.unwritable(name, "remove", errno))?;
                Ok("removed".to_owned())
            }
            (Remedy::Retire, Subject::Entry { records, name }) => {
                let store = store()?;
                let _lock = record_lock(store, id_of(name))?;
                if let Some(id) = id_of(name) {
                    release(store, id, self.engine.clock.now())?;
                }
                let done = self.put_aside(records.of(store), records.as_str(), name)?;
                Ok(format!("released, and {done}"))
            }
            (Remedy::Replace, Subject::Entry { records, name }) => {
                let id = id_of(name).ok_or_else(|| self.gone())?;
                let folder = records.of(store()?);
                let release =
                    tombstone(folder, id, self.engine.clock.now(), "its tombstone could not be read")?;
                let bytes = to_file_bytes(&release).map_err(|source| folder.damaged("", source))?;
                self.replace(folder, records.as_str(), &record_name(id), |out| out.write_all(&bytes))
            }
            (Remedy::Token, _) => self.write_token(store()?),
            (Remedy::Index, _) => self.make_index(lock, store()?, wrong.kind),
            (Remedy::Clean, Subject::ArchiveLines { name, .. }) => self.clean(store()?, subject, name),
            _ => Err(self.gone()),
        }
    }

    /// What was looked at is not there any more, or is nothing that this repairs.
    fn gone(&self) -> EngineError {
        EngineError::Misplaced {
            path: self.root.path().to_path_buf(),
            detail: "there is nothing to be repaired",
        }
    }

    /// Moves a reservation out of the store, and then what lies beside it: without the record, that has no meaning.
    fn put_reservation_aside(&self, store: &Store, name: &OsStr) -> Result<String, EngineError> {
        let id = id_of(name);
        let is_file = type_of(&store.reservations, name)? == Some(FileType::RegularFile);
        let _lock = if is_file { record_lock(store, id)? } else { None };
        let done = self.put_aside(&store.reservations, Records::Reservations.as_str(), name)?;
        if id.is_some() {
            for records in [Records::Heartbeats, Records::Superseded, Records::Releases] {
                if type_of(records.of(store), name)?.is_some() {
                    self.put_aside(records.of(store), records.as_str(), name)?;
                }
            }
        }
        Ok(done)
    }

    /// Moves whatever has this name into the quarantine, under a name that is free there.
    fn put_aside(&self, folder: &Folder, room: &str, name: &OsStr) -> Result<String, EngineError> {
        let new = self.put_aside_as(folder, room, name)?;
        Ok(format!("moved to {QUARANTINE}/{new}"))
    }

    /// As [`View::put_aside`]; returns the name in the quarantine.
    fn put_aside_as(&self, folder: &Folder, room: &str, name: &OsStr) -> Result<String, EngineError> {
        let quarantine = self.quarantine()?;
        let plain = name_in_quarantine(room, name);
        for number in 1..=NAMES_MAX {
            let new = numbered(&plain, number);
            if publish::quarantine(folder, name, &quarantine, &new)? {
                return Ok(new);
            }
        }
        Err(quarantine.unwritable(&plain, "quarantine", io::ErrorKind::AlreadyExists))
    }

    /// Writes a new file, lets it take the place of whatever has this name, and leaves that in the quarantine.
    fn replace(
        &self,
        folder: &Folder,
        room: &str,
        name: &str,
        write: impl Fn(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<String, EngineError> {
        let quarantine = self.quarantine()?;
        let plain = name_in_quarantine(room, name.as_ref());
        for number in 1..=NAMES_MAX {
            let new = numbered(&plain, number);
            if publish::write_new(&quarantine, &new, &write)? {
                // One that cannot take the place is no loss, and nothing that was somebody's.
                publish::exchange(&quarantine, &new, folder, name)
                    .inspect_err(|_| publish::remove(&quarantine, &new).unwrap_or_default())?;
                return Ok(format!("replaced; what was there is {QUARANTINE}/{new}"));
            }
        }
        Err(quarantine.unwritable(&plain, "quarantine", io::ErrorKind::AlreadyExists))
    }

    fn quarantine(&self) -> Result<Folder, EngineError> {
        let quarantine = self.root.make_below(QUARANTINE)?;
        self.root.sync()?;
        Ok(quarantine)
    }

    /// Writes a token above all on record, and above the clock, which stands for what cannot be read any more.
    fn write_token(&self, store: &Store) -> Result<String, EngineError> {
        let now = self.engine.clock.now();
        let greatest = self.survey.and_then(|survey| survey.greatest);
        let last = tokens::last(store).ok().filter(|last| Token::next(Some(*last), 0).is_some());
        let token = greatest.into_iter().chain(last).fold(prepare::first_token(now), Token::max);
        if store.root.holds(TOKEN_NAME)? {
            let text = format!("{token}\n");
            self.replace(&store.root, "", TOKEN_NAME, |out| out.write_all(text.as_bytes()))
        } else {
            tokens::start(store, token)?;
            Ok(format!("written: {token}"))
        }
    }

    /// Makes the index anew. What cannot be used goes to the quarantine, the database before its journal: a database
    /// without its journal could be half changed. A draft that somebody is making stays.
    fn make_index(&self, lock: &StoreLock, store: &Store, kind: FindingKind) -> Result<String, EngineError> {
        if kind != FindingKind::IndexMissing {
            let folder = self.root.make_below(INDEX_FOLDER)?;
            for (name, file_type) in index::file_names(store)? {
                let is_draft = file_type == FileType::RegularFile && index::is_draft(&name);
                if is_draft && index::is_being_made(store, &name)? {
                    continue;
                }
                self.put_aside(&folder, INDEX_FOLDER, name.as_ref())?;
            }
        }
        if store.reservations.is_dear_to_list(self.engine.index_above)? {
            index::remake(store, lock, self.engine.clock.now(), &*self.engine.progress)?;
        }
        Ok("made anew".to_owned())
    }

    /// Puts a file in the place of `name` that has all its lines but the bad ones.
    fn clean(&self, store: &Store, subject: &Subject, name: &str) -> Result<String, EngineError> {
        let Subject::ArchiveLines { bad, .. } = subject else { return Err(self.gone()) };
        let folder = archive(store)?;
        let mut left_out = Vec::new();
        for line in bad {
            if let Some((FindingKind::ArchiveLine, _)) = line_fault(&folder, name, line)? {
                left_out.push(line.offset..line.offset + line.length);
            }
        }
        // Done for another line of the same file already.
        if left_out.is_empty() && !has_tail(&folder, name)? {
            return Ok(format!("cleaned; the whole file is in {QUARANTINE}/"));
        }
        let Some(open) = folder.open_file(name)? else { return Err(self.gone()) };
        let size = u64::try_from(open.stat.st_size).unwrap_or_default();
        let mut kept = Vec::new();
        let mut start = 0;
        for part in left_out {
            kept.push(start..part.start);
            start = part.end;
        }
        let end = whole_bytes(&open.file, size).map_err(|error| folder.unreadable(name, error))?;
        kept.push(start..end.max(start));
        self.replace(&folder, "archive", name, |out| {
            for range in &kept {
                copy(&open.file, range.clone(), out)?;
            }
            Ok(())
        })
    }
}

/// The lock of the record that something lies beside; `None` if there is no such record to lock.
fn record_lock(store: &Store, id: Option<ReservationId>) -> Result<Option<RecordLock>, EngineError> {
    let Some(id) = id else { return Ok(None) };
    match RecordLock::acquire(store, id, RIVAL_WAIT) {
        Ok(RecordLocking::Locked(lock)) => Ok(Some(lock)),
        Ok(RecordLocking::Missing) | Err(EngineError::Misplaced { .. }) => Ok(None),
        Ok(RecordLocking::Busy(error)) | Err(error) => Err(error),
    }
}

/// The tombstone that a repair sets.
fn tombstone(
    folder: &Folder,
    id: ReservationId,
    now: Timestamp,
    reason: &str,
) -> Result<Release, EngineError> {
    let run = RunId::new(RUN).map_err(|error| folder.unwritable("", "write", io::Error::other(error)))?;
    Ok(Release::new(id, None, &run, Some(reason.to_owned()), now))
}

/// Releases a reservation whose supersession is about to be taken away: without it, its holder could revive it.
fn release(store: &Store, id: ReservationId, now: Timestamp) -> Result<(), EngineError> {
    let tombstone = tombstone(&store.releases, id, now, "its supersession could not be read")?;
    let staged = stage(store, "release", id, &tombstone)?;
    staged.publish_new(&store.releases, &record_name(id))?;
    store.releases.sync()
}

/// The name of a thing in the quarantine: where it was, and what it was called.
fn name_in_quarantine(room: &str, name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    if room.is_empty() { name[..end].to_owned() } else { format!("{room}-{}", &name[..end]) }
}

fn numbered(plain: &str, number: usize) -> String {
    if number == 1 { plain.to_owned() } else { format!("{plain}.{number}") }
}

/// How many bytes of the file are whole lines.
fn whole_bytes(file: &std::fs::File, size: u64) -> io::Result<u64> {
    let mut end = size;
    let mut block = vec![0; BLOCK_BYTES];
    while end > 0 {
        let length = BLOCK_BYTES.min(usize::try_from(end).unwrap_or(BLOCK_BYTES));
        let start = end - length as u64;
        file.read_exact_at(&mut block[..length], start)?;
        if let Some(newline) = memchr::memrchr(b'\n', &block[..length]) {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn copy(file: &std::fs::File, range: std::ops::Range<u64>, out: &mut dyn io::Write) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut position = range.start;
    while position < range.end {
        let length = BLOCK_BYTES.min(usize::try_from(range.end - position).unwrap_or(BLOCK_BYTES));
        file.read_exact_at(&mut block[..length], position)?;
        out.write_all(&block[..length])?;
        position += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::engine::file::FileEngine;

    #[test]
    fn the_run_of_a_repair_is_a_run_id() {
        assert_eq!(RunId::new(RUN).unwrap().as_str(), RUN);
    }

    #[test]
    fn names_in_the_quarantine_say_where_it_was_and_fit() {
        assert_eq!(name_in_quarantine("releases", "x.json".as_ref()), "releases-x.json");
        assert_eq!(name_in_quarantine("", "token".as_ref()), "token");
        let long = name_in_quarantine("reservations", "é".repeat(127).as_ref());
        assert!(long.len() < 255 - 6, "{}", long.len());
        assert_eq!((numbered("a", 1), numbered("a", 2)), ("a".to_owned(), "a.2".to_owned()));
    }

    #[test]
    fn a_lock_that_another_repair_has_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        let engine = FileEngine::new(folder.path().join("coordination"), ManualClock::at_seconds(1));
        engine.prepare().unwrap();
        let root = Folder::open(engine.path(), engine.safeguards).unwrap().unwrap();
        let view = View::of_base(&engine, &root);
        let lock = StoreLock::acquire(&root).unwrap();
        let is_held =
            || matches!(StoreLock::acquire_within(&root, Duration::ZERO), Err(EngineError::Busy { .. }));
        let in_quarantine = || {
            let quarantine = view.quarantine().unwrap();
            let mut names = 0;
            quarantine.for_each_entry(|_, _| names += 1).unwrap();
            names
        };

        // Made before the second look, and between that and the move.
        view.replace_lock().unwrap();
        assert!(is_held());
        assert_eq!(in_quarantine(), 0);
        view.put_lock_aside().unwrap();
        assert!(is_held(), "who holds the lock must keep others out");
        assert_eq!(in_quarantine(), 0);
        drop(lock);
        StoreLock::acquire_within(&root, Duration::ZERO).map(drop).unwrap();
    }
}
