//! The only place that locks files: the store's lock and the lock of one record, as two types.
//!
//! Both are `flock` locks of this process's own open file, so they end with the process, however it ends.
//! Nothing ever removes the lock of a live process. Every wait has a deadline. Order: the store's lock first,
//! record locks inside it; a heartbeat takes its record's lock alone.

use std::fs::{File, TryLockError};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::layout::{FILE_MODE, Folder, LOCK_NAME, OpenFile, Store, is_same_file, record_name};
use super::moving::must_be_here;
use super::publish;
use super::safeguards::Safeguard;
use crate::clock::Stopwatch;
use crate::engine::EngineError;
use crate::id::ReservationId;

/// How long a writer waits for the store's lock. From the spec; a whole operation under it takes milliseconds.
pub(super) const STORE_WAIT: Duration = Duration::from_secs(10);

/// How long a heartbeat waits for its record's lock, which another heartbeat of the same reservation may hold.
pub(super) const BEAT_WAIT: Duration = Duration::from_secs(10);

/// How long a rival waits for the record's lock of a lapsed reservation before it counts it as being extended
/// right now. From the spec; a heartbeat holds it for a fraction of a millisecond.
pub(super) const RIVAL_WAIT: Duration = Duration::from_millis(250);

/// The first pause between two attempts. It doubles up to [`PAUSE_MAX`]: the first is about what a heartbeat
/// needs, the last keeps a waiting process below a hundredth of a core.
const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(2);

/// The store's exclusive lock. Whoever holds it is the only one that grants, releases or archives.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub(super) struct StoreLock {
    file: File,
}

impl StoreLock {
    /// Makes the lock file where there is none: in a store that is being made or repaired, and nowhere else. In a
    /// store that is being deleted it would stay, and keep the folder from going; and whoever still holds one that
    /// was deleted would not be alone.
    pub(super) fn make(folder: &Folder) -> Result<(), EngineError> {
        match publish::create(folder, LOCK_NAME) {
            Ok(_) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(folder.unwritable(LOCK_NAME, "make", errno)),
        }
    }

    /// Waits for the lock of the store whose folder is `folder`, [`STORE_WAIT`] at most. Makes nothing.
    pub(super) fn acquire(folder: &Folder) -> Result<StoreLock, EngineError> {
        StoreLock::acquire_within(folder, STORE_WAIT)
    }

    /// As [`StoreLock::acquire`], with another limit.
    pub(super) fn acquire_within(folder: &Folder, wait: Duration) -> Result<StoreLock, EngineError> {
        StoreLock::acquire_named(folder, LOCK_NAME, wait)
    }

    /// As [`StoreLock::acquire_within`], under the name that the lock of a store has that was moved.
    pub(super) fn acquire_named(
        folder: &Folder,
        name: &str,
        wait: Duration,
    ) -> Result<StoreLock, EngineError> {
        let waiting = Stopwatch::start();
        loop {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let misplaced = || EngineError::Misplaced {
                path: folder.path_of(name),
                detail: "the lock must be a regular file",
            };
            let fd = match rustix::fs::openat(folder.fd(), name, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => {
                    folder.must_be_in_place()?;
                    must_be_here(folder)?;
                    return Err(EngineError::Incomplete {
                        path: folder.path_of(name),
                        detail: "is missing, the file that writers lock: if the store is not just being deleted, \
                                 `muse init` makes it again",
                    });
                }
                Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(misplaced()),
                Err(errno) => return Err(folder.unwritable(name, "open", errno)),
            };
            let stat = rustix::fs::fstat(&fd).map_err(|errno| folder.unreadable(name, errno))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(misplaced());
            }
            let file = File::from(fd);
            if !folder.safeguards().keep(Safeguard::StoreLock) {
                return Ok(StoreLock { file });
            }
            if !lock(folder, name, &file, &waiting, wait)? {
                return Err(busy(folder, name, &file, wait));
            }
            if still_named(folder, name, &stat)? {
                folder.must_be_in_place()?;
                return Ok(StoreLock { file });
            }
            if waiting.elapsed() >= wait {
                return Err(busy(folder, name, &file, wait));
            }
        }
    }

    /// Writes `text` into the lock's file, in place of what stands there: where the store was moved to.
    pub(super) fn write(&self, folder: &Folder, text: &str) -> Result<(), EngineError> {
        publish::overwrite(folder, &self.file, text)
    }
}

/// The exclusive lock of a file that is written for long, outside the store's lock.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub(super) struct DraftLock {
    file: File,
    /// Whether the file is empty, as one that was made for this.
    pub(super) is_new: bool,
}

impl DraftLock {
    /// Waits for the lock of `name` in `folder`, which is made if it is not there, `wait` at most. `None` if somebody
    /// else held it for all the time.
    pub(super) fn acquire(
        folder: &Folder,
        name: &str,
        wait: Duration,
    ) -> Result<Option<DraftLock>, EngineError> {
        let waiting = Stopwatch::start();
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let fd = rustix::fs::openat(folder.fd(), name, flags, Mode::from_raw_mode(FILE_MODE));
            let file = File::from(fd.map_err(|errno| folder.unwritable(name, "open", errno))?);
            let stat = rustix::fs::fstat(&file).map_err(|errno| folder.unreadable(name, errno))?;
            if !lock(folder, name, &file, &waiting, wait)? {
                return Ok(None);
            }
            if still_named(folder, name, &stat)? {
                let length = file.metadata().map_err(|source| folder.unreadable(name, source))?.len();
                return Ok(Some(DraftLock { file, is_new: length == 0 }));
            }
            if waiting.elapsed() >= wait {
                return Ok(None);
            }
        }
    }

    /// Whether `name` in `folder` still leads to the locked file.
    pub(super) fn is_of(&self, folder: &Folder, name: &str) -> Result<bool, EngineError> {
        let stat = rustix::fs::fstat(&self.file).map_err(|errno| folder.unreadable(name, errno))?;
        still_named(folder, name, &stat)
    }

    /// Whether nobody holds the lock of `name`, which is not made if it is not there.
    pub(super) fn is_free(folder: &Folder, name: &str) -> Result<bool, EngineError> {
        let Some(open) = folder.open_file(name)? else { return Ok(true) };
        lock(folder, name, &open.file, &Stopwatch::start(), Duration::ZERO)
    }
}

/// Waits for as long as somebody who wants the store's lock may pause between two attempts: whoever takes it again and
/// again would keep everybody out otherwise.
#[expect(clippy::disallowed_methods, reason = "this module is the one caller, and it is one pause")]
pub(super) fn let_others_in() {
    std::thread::sleep(2 * PAUSE_MAX);
}

/// The exclusive lock of one reservation's record, which it can be read through.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub(super) struct RecordLock {
    pub(super) open: OpenFile,
}

/// Files that a process may have open besides record locks: what any program has, and a server's connections.
const OTHER_FILES: u64 = 256;

/// Lets this process hold so many record locks at once: each is an open file, and the limit that processes
/// start with (1,024 on Linux, 256 on macOS) is far below the one that they may ask for. Where it cannot be
/// raised, the lock that does not fit fails and says so.
pub(super) fn allow_record_locks(locks: usize) {
    let wanted = OTHER_FILES.saturating_add(locks as u64);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = Some(maximum.map_or(wanted, |maximum| wanted.min(maximum)));
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap_or_default();
    }
}

/// What came of an attempt to lock a record.
#[derive(Debug)]
pub(super) enum RecordLocking {
    Locked(RecordLock),
    /// Somebody else held it for the whole wait.
    Busy(EngineError),
    /// There is no such record.
    Missing,
}

impl RecordLock {
    /// Waits for the lock, `wait` at most; with no time to wait, tries once.
    pub(super) fn acquire(
        store: &Store,
        id: ReservationId,
        wait: Duration,
    ) -> Result<RecordLocking, EngineError> {
        let folder = &store.reservations;
        let name = record_name(id);
        let waiting = Stopwatch::start();
        loop {
            let Some(open) = folder.open_file(&name)? else { return Ok(RecordLocking::Missing) };
            if !folder.safeguards().keep(Safeguard::RecordLock) {
                return Ok(RecordLocking::Locked(RecordLock { open }));
            }
            if !lock(folder, &name, &open.file, &waiting, wait)? {
                return Ok(RecordLocking::Busy(busy(folder, &name, &open.file, wait)));
            }
            // Somebody may have archived the record, or put another in its place, before the lock was held.
            if still_named(folder, &name, &open.stat)? {
                return Ok(RecordLocking::Locked(RecordLock { open }));
            }
            if waiting.elapsed() >= wait {
                return Ok(RecordLocking::Busy(busy(folder, &name, &open.file, wait)));
            }
        }
    }
}

/// Whether the lock could be had before `wait` had passed since `waiting` started.
#[expect(clippy::disallowed_methods, reason = "this is the one caller, and the loop has a deadline")]
fn lock(
    folder: &Folder,
    name: &str,
    file: &File,
    waiting: &Stopwatch,
    wait: Duration,
) -> Result<bool, EngineError> {
    let mut pause = PAUSE_MIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(folder.unwritable(name, "lock", source)),
        }
        let Some(left) = wait.checked_sub(waiting.elapsed()).filter(|left| !left.is_zero()) else {
            return Ok(false);
        };
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Whether the name in the folder still leads to the open file.
fn still_named(folder: &Folder, name: &str, open: &Stat) -> Result<bool, EngineError> {
    match rustix::fs::statat(folder.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok(is_same_file(&named, open)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(folder.unreadable(name, errno)),
    }
}

fn busy(folder: &Folder, name: &str, file: &File, waited: Duration) -> EngineError {
    EngineError::Busy { path: folder.path_of(name), holder_pid: holder_pid(file), waited }
}

/// How often the kernel's table of locks is read: it changes while it is read, and a line can be missed.
#[cfg(target_os = "linux")]
const TABLE_READINGS_MAX: usize = 10;

/// The process that holds a lock on `file`, from the kernel's table of locks.
#[cfg(target_os = "linux")]
fn holder_pid(file: &File) -> Option<u32> {
    let stat = rustix::fs::fstat(file).ok()?;
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let locked = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    (0..TABLE_READINGS_MAX).find_map(|_| {
        let table = std::fs::read_to_string("/proc/locks").ok()?;
        holder_pid_in(&table, &locked)
    })
}

#[cfg(not(target_os = "linux"))]
fn holder_pid(_: &File) -> Option<u32> {
    None
}

/// Looks a file up in the table of locks (`proc_locks(5)`): kind, strictness, mode, process, file, range. A
/// line with an arrow is a process that waits.
#[cfg(target_os = "linux")]
fn holder_pid_in(table: &str, file: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, pid, locked, ..] if locked == file => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_holder_is_found_in_the_table_of_locks() {
        let table = "1: FLOCK  ADVISORY  WRITE 4711 fe:00:2883600 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 4712 fe:00:2883600 0 EOF\n\
                     2: POSIX  ADVISORY  READ 9 fe:00:7 0 EOF\n";
        assert_eq!(holder_pid_in(table, "fe:00:2883600"), Some(4711));
        assert_eq!(holder_pid_in(table, "fe:00:7"), None);
        assert_eq!(holder_pid_in(table, "fe:00:8"), None);
    }
}
