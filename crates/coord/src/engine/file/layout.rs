//! The folders of a store and the names in them.
//!
//! Folders are opened once an operation and never through a symbolic link; everything below is done relative
//! to the open folder. A path that is swapped for a link in the middle of an operation therefore leads
//! nowhere, and a store that is deleted in the middle is not half made again.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::safeguards::{Safeguard, Safeguards};
use crate::engine::EngineError;
use crate::id::ReservationId;
use crate::record::{Companion, Reservation};

/// The ending of every record's file name.
pub(super) const RECORD_SUFFIX: &str = ".json";

/// The longest record file that is read, in bytes: 1,000 addresses of 4,096 bytes, each byte escaped to six.
pub(super) const RECORD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How much of a record that is beside a reservation is read at once, in bytes: more than one that holds no long reason.
const SMALL_RECORD_BYTES: usize = 4096;

/// A folder above this size, in bytes, is dear to list however few names are in it: on ext4 it has held about 700
/// records at once, and a listing of it takes some tenths of a millisecond.
const LISTED_BYTES_MAX: i64 = 64 * 1024;

/// Mode of new files and folders, before the umask.
pub(super) const FILE_MODE: u32 = 0o644;
pub(super) const FOLDER_MODE: u32 = 0o777;

/// The file name of the record of `id`.
pub(super) fn record_name(id: ReservationId) -> String {
    format!("{id}{RECORD_SUFFIX}")
}

/// The folders of a store. `Temporary` holds what is being written and is otherwise empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Reservations,
    Heartbeats,
    Releases,
    Superseded,
    Archive,
    Waiting,
    Temporary,
}

impl Room {
    const fn folder_name(self) -> &'static str {
        match self {
            Room::Reservations => "reservations",
            Room::Heartbeats => "heartbeats",
            Room::Releases => "releases",
            Room::Superseded => "superseded",
            Room::Archive => "archive",
            Room::Waiting => WAITING,
            Room::Temporary => "tmp",
        }
    }
}

/// The folders whose names say what stands: the index follows their changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Watched {
    Reservations,
    Releases,
    Superseded,
}

impl Watched {
    pub(super) const ALL: [Watched; 3] = [Watched::Reservations, Watched::Releases, Watched::Superseded];
}

/// Every folder that a new store gets. One that this program does not use yet belongs to the format.
pub(super) const FOLDERS: [&str; 8] =
    ["reservations", "heartbeats", "releases", "superseded", "waiting", "intents", "archive", "tmp"];

/// The name of the folder of the tickets.
pub(super) const WAITING: &str = "waiting";
/// The name of the store's lock file.
pub(super) const LOCK_NAME: &str = "lock";
/// The name of the file with the last token.
pub(super) const TOKEN_NAME: &str = "token";

/// A regular file, open for reading, and what it was when it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) stat: Stat,
}

/// Whether two looks at a file saw the same one.
pub(super) fn is_same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Which folder it is, and when it was changed last, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FolderMark {
    pub(super) device: i64,
    pub(super) inode: i64,
    pub(super) modified: i64,
}

impl FolderMark {
    fn of(stat: &Stat) -> FolderMark {
        // Numbers of devices and files are compared and stored, not counted with. That of a device has another type
        // on each system.
        FolderMark {
            device: i64::try_from(i128::from(stat.st_dev)).unwrap_or(i64::MAX),
            inode: stat.st_ino.cast_signed(),
            modified: stat
                .st_mtime
                .saturating_mul(NANOSECONDS_PER_SECOND)
                .saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or_default()),
        }
    }
}

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
    safeguards: Safeguards,
}

/// The open folders of a store.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) root: Folder,
    pub(super) reservations: Folder,
    pub(super) heartbeats: Folder,
    pub(super) releases: Folder,
    pub(super) superseded: Folder,
    pub(super) temporary: Folder,
}

impl Store {
    /// Opens the store at `path`; `None` if there is none, or an empty folder.
    pub(super) fn open(path: &Path, safeguards: Safeguards) -> Result<Option<Store>, EngineError> {
        let Some(root) = Folder::open(path, safeguards)? else {
            return Ok(None);
        };
        super::network::refuse_network_file_system(&root)?;
        let Some(reservations) = root.room(Room::Reservations)? else {
            return if root.is_empty()? { Ok(None) } else { Err(root.missing(Room::Reservations)) };
        };
        let open = |room: Room| root.room(room)?.ok_or_else(|| root.missing(room));
        Ok(Some(Store {
            reservations,
            heartbeats: open(Room::Heartbeats)?,
            releases: open(Room::Releases)?,
            superseded: open(Room::Superseded)?,
            temporary: open(Room::Temporary)?,
            root,
        }))
    }

    /// One of the folders whose changes the index follows.
    pub(super) const fn watched(&self, watched: Watched) -> &Folder {
        match watched {
            Watched::Reservations => &self.reservations,
            Watched::Releases => &self.releases,
            Watched::Superseded => &self.superseded,
        }
    }

    /// Makes the folder of the tickets in a store of an earlier version, which has none. It has all the rest: a store
    /// that lacks more is damaged, or being deleted, and nothing is put there.
    pub(super) fn make_waiting(&self) -> Result<Folder, EngineError> {
        for room in [Room::Reservations, Room::Heartbeats, Room::Releases, Room::Superseded, Room::Temporary]
        {
            self.root.room(room)?.ok_or_else(|| self.root.missing(room))?;
        }
        self.root.make_below(WAITING)
    }

    /// Reads the reservation `id` and verifies it; `None` if there is none.
    pub(super) fn reservation(&self, id: ReservationId) -> Result<Option<Reservation>, EngineError> {
        let name = record_name(id);
        let Some(bytes) = self.reservations.read(&name)? else { return Ok(None) };
        Reservation::from_bytes(id, &bytes)
            .map(Some)
            .map_err(|source| self.reservations.damaged(&name, source))
    }
}

impl Folder {
    /// Opens the folder at `path`, which must not be a symbolic link; `None` if nothing is there.
    pub(super) fn open(path: &Path, safeguards: Safeguards) -> Result<Option<Folder>, EngineError> {
        Folder::open_at(rustix::fs::CWD, path.as_os_str(), path.to_path_buf(), safeguards)
    }

    fn open_at(
        at: BorrowedFd<'_>,
        name: &std::ffi::OsStr,
        path: PathBuf,
        safeguards: Safeguards,
    ) -> Result<Option<Folder>, EngineError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(at, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Folder { path, fd, safeguards })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                Err(EngineError::Misplaced { path, detail: "a folder of the store must be a real folder" })
            }
            Err(errno) => Err(EngineError::Unreadable { path, source: errno.into() }),
        }
    }

    /// Fails when another folder, or none, has this one's path by now: what is written here would be seen by
    /// nobody who comes later.
    pub(super) fn must_be_in_place(&self) -> Result<(), EngineError> {
        let open = rustix::fs::fstat(&self.fd).map_err(|errno| self.unreadable("", errno))?;
        match rustix::fs::statat(rustix::fs::CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if is_same_file(&named, &open) => Ok(()),
            _ => Err(EngineError::Gone { path: self.path.clone() }),
        }
    }

    /// Opens a folder of the store; `None` if it is missing.
    pub(super) fn room(&self, room: Room) -> Result<Option<Folder>, EngineError> {
        let name = room.folder_name();
        Folder::open_at(self.fd(), name.as_ref(), self.path.join(name), self.safeguards)
    }

    pub(super) fn missing(&self, room: Room) -> EngineError {
        EngineError::Incomplete {
            path: self.path.join(room.folder_name()),
            detail: "is missing, a folder of the store: what was in it is lost; `muse init` makes it again",
        }
    }

    /// Another handle of the same open folder.
    pub(super) fn again(&self) -> Result<Folder, EngineError> {
        let fd = self.fd.try_clone().map_err(|source| self.unreadable("", source))?;
        Ok(Folder { path: self.path.clone(), fd, safeguards: self.safeguards })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) const fn safeguards(&self) -> Safeguards {
        self.safeguards
    }

    pub(super) fn damaged(&self, name: &str, source: crate::record::RecordError) -> EngineError {
        EngineError::Damaged { path: self.path_of(name), source }
    }

    pub(super) fn unreadable(&self, name: &str, source: impl Into<io::Error>) -> EngineError {
        EngineError::Unreadable { path: self.path_of(name), source: source.into() }
    }

    pub(super) fn unwritable(
        &self,
        name: &str,
        operation: &'static str,
        source: impl Into<io::Error>,
    ) -> EngineError {
        EngineError::Unwritable { path: self.path_of(name), operation, source: source.into() }
    }

    /// Makes the names in this folder last through a power loss.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        if !self.safeguards.keep(Safeguard::DirectorySync) {
            return Ok(());
        }
        rustix::fs::fsync(&self.fd).map_err(|errno| self.unwritable("", "sync", errno))
    }

    /// Whether anything, a dangling link included, has this name.
    pub(super) fn holds(&self, name: &str) -> Result<bool, EngineError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.unreadable(name, errno)),
        }
    }

    /// Opens a file for reading, never through a symbolic link; `None` if there is none. Anything but a
    /// regular file is an error: it was put there by hand.
    pub(super) fn open_file(&self, name: &str) -> Result<Option<OpenFile>, EngineError> {
        let Some(fd) = self.open_unseen(name)? else { return Ok(None) };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| self.unreadable(name, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(OpenFile { file: File::from(fd), stat })),
            other => Err(self.not_a_file(name, other)),
        }
    }

    /// Opens whatever has this name for reading, never through a symbolic link; `None` if there is nothing.
    fn open_unseen(&self, name: &str) -> Result<Option<OwnedFd>, EngineError> {
        // NONBLOCK: a planted FIFO must not stop the program.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(self.not_a_file(name, FileType::Symlink)),
            Err(errno) => Err(self.unreadable(name, errno)),
        }
    }

    pub(super) fn not_a_file(&self, name: &str, found: FileType) -> EngineError {
        let detail = match found {
            FileType::Symlink => "it is a symbolic link, and the store never follows one",
            FileType::Directory => "it is a folder where a record should be",
            _ => "it is not a regular file",
        };
        EngineError::Misplaced { path: self.path_of(name), detail }
    }

    /// Reads a file whole; `None` if there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        self.read_open(name, &file).map(Some)
    }

    /// Reads an open file of this folder whole. Published files never change, so its length at the opening is
    /// its length: no further call to find its end.
    pub(super) fn read_open(&self, name: &str, open: &OpenFile) -> Result<Vec<u8>, EngineError> {
        let length = u64::try_from(open.stat.st_size).unwrap_or(u64::MAX);
        if length > RECORD_BYTES_MAX as u64 {
            return Err(EngineError::Misplaced {
                path: self.path_of(name),
                detail: "it is too large for a record",
            });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        (&open.file).read_exact(&mut bytes).map_err(|source| self.unreadable(name, source))?;
        Ok(bytes)
    }

    /// Reads the record that lies here beside the reservation `id`; `None` if there is none.
    pub(super) fn companion<T: Companion>(&self, id: ReservationId) -> Result<Option<T>, EngineError> {
        let name = record_name(id);
        let Some(bytes) = self.read_small(&name)? else { return Ok(None) };
        T::from_bytes(id, &bytes).map(Some).map_err(|source| self.damaged(&name, source))
    }

    /// As [`read`](Self::read), for a file that is a few hundred bytes as a rule: one that gives less than is asked for
    /// was read to its end, and its length need not be asked for first.
    fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(fd) = self.open_unseen(name)? else { return Ok(None) };
        let mut bytes = vec![0; SMALL_RECORD_BYTES];
        match rustix::io::read(&fd, &mut bytes) {
            Ok(read) if (1..SMALL_RECORD_BYTES).contains(&read) => {
                bytes.truncate(read);
                Ok(Some(bytes))
            }
            // It is empty, or larger, or no file.
            _ => self.read(name),
        }
    }

    /// The records in this folder, and one error for everything else that stands in it.
    pub(super) fn names(&self) -> Result<(Vec<ReservationId>, Vec<EngineError>), EngineError> {
        let mut names = Vec::new();
        let mut misplaced = Vec::new();
        self.for_each_entry(|name, file_type| {
            let id = name.strip_suffix(RECORD_SUFFIX).and_then(|id| id.parse::<ReservationId>().ok());
            match (id, file_type) {
                (Some(id), FileType::RegularFile) => names.push(id),
                (Some(_), other) => misplaced.push(self.not_a_file(name, other)),
                (None, _) => misplaced.push(EngineError::Misplaced {
                    path: self.path_of(name),
                    detail: "its name is not that of a record: it was renamed, or does not belong here",
                }),
            }
        })?;
        misplaced.sort_by_key(ToString::to_string);
        Ok((names, misplaced))
    }

    /// Calls `visit` with the name and type of everything in this folder. Names that are not UTF-8 are shown
    /// with replacement characters: no name of the store is such a one.
    pub(super) fn for_each_entry(&self, mut visit: impl FnMut(&str, FileType)) -> Result<(), EngineError> {
        let unreadable = |errno: Errno| self.unreadable("", errno);
        for entry in Dir::read_from(&self.fd).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy();
            if matches!(&*name, "." | "..") {
                continue;
            }
            let file_type = match entry.file_type() {
                // Some file systems do not tell in the listing.
                FileType::Unknown => {
                    match rustix::fs::statat(&self.fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        Err(Errno::NOENT) => continue,
                        Err(errno) => return Err(unreadable(errno)),
                    }
                }
                known => known,
            };
            visit(&name, file_type);
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> Result<bool, EngineError> {
        let unreadable = |errno: Errno| self.unreadable("", errno);
        for entry in Dir::read_from(&self.fd).map_err(unreadable)? {
            if !matches!(entry.map_err(unreadable)?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether listing this folder is dear: there are more than `few` names in it, or there were so many once that
    /// the folder itself has grown. On some file systems (ext4) it never shrinks, and a listing walks all of it.
    pub(super) fn is_dear_to_list(&self, few: usize) -> Result<bool, EngineError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| self.unreadable("", errno))?;
        Ok(stat.st_size > LISTED_BYTES_MAX || self.has_more_than(few)?)
    }

    /// Whether there are more than `few` names in this folder.
    pub(super) fn has_more_than(&self, few: usize) -> Result<bool, EngineError> {
        let unreadable = |errno: Errno| self.unreadable("", errno);
        let mut count = 0;
        for entry in Dir::read_from(&self.fd).map_err(unreadable)? {
            count += usize::from(!matches!(entry.map_err(unreadable)?.file_name().to_bytes(), b"." | b".."));
            if count > few {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Which folder this is, and when it was changed last.
    pub(super) fn mark(&self) -> Result<FolderMark, EngineError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| self.unreadable("", errno))?;
        Ok(FolderMark::of(&stat))
    }

    /// Which file has this name, and when it was changed last; `None` where that cannot be told.
    pub(super) fn mark_of(&self, name: &str) -> Option<FolderMark> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FolderMark::of(&stat))
    }

    /// Says that this folder was changed last at `modified`, in nanoseconds since 1970. `None` if that cannot be
    /// said, as where it is another user's, or on a file system that does not keep it.
    pub(super) fn set_mark(&self, modified: i64) -> Option<FolderMark> {
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let modified_at = Timespec {
            tv_sec: modified.div_euclid(NANOSECONDS_PER_SECOND),
            tv_nsec: modified.rem_euclid(NANOSECONDS_PER_SECOND),
        };
        let times = Timestamps { last_access: omit, last_modification: modified_at };
        rustix::fs::futimens(&self.fd, &times).ok()?;
        self.mark().ok().filter(|mark| mark.modified == modified)
    }

    /// Opens a folder in this one; `None` if nothing is there.
    pub(super) fn below(&self, name: &str) -> Result<Option<Folder>, EngineError> {
        Folder::open_at(self.fd(), name.as_ref(), self.path.join(name), self.safeguards)
    }

    /// Opens a folder in this one, made if it is not there.
    pub(super) fn make_below(&self, name: &str) -> Result<Folder, EngineError> {
        if let Some(folder) = self.below(name)? {
            return Ok(folder);
        }
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(FOLDER_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.unwritable(name, "make", errno)),
        }
        self.below(name)?.ok_or_else(|| self.unreadable(name, Errno::NOENT))
    }

    /// Whether no folder of a store is missing here, nor the token, nor the lock.
    pub(super) fn is_complete(&self) -> Result<bool, EngineError> {
        for name in FOLDERS.iter().chain([&TOKEN_NAME, &LOCK_NAME]) {
            if !self.holds(name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the folders of a store that are missing here, and returns their paths.
    ///
    /// But for that of the tickets: a store of an earlier version has none, and whoever waits takes a new ticket.
    pub(super) fn make_rooms(&self) -> Result<Vec<PathBuf>, EngineError> {
        let mut made = Vec::new();
        for name in FOLDERS {
            match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(FOLDER_MODE)) {
                Ok(()) if name == WAITING => {}
                Ok(()) => made.push(self.path_of(name)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.unwritable(name, "make", errno)),
            }
        }
        Ok(made)
    }
}
