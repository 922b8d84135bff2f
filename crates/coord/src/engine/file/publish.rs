//! The only place that writes files: temporary file, write, sync, publish.
//!
//! A record appears under its name in one step and whole, by a hard link (written once: an existing name is
//! never replaced) or by a rename (rewritten). Whoever is killed in between leaves a temporary file, which
//! has no meaning and is taken away by the next writer. The archive alone is appended to in its place.
//! `docs/store-format.md` argues every crash.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::layout::{FILE_MODE, Folder, LOCK_NAME, Store};
use super::safeguards::Safeguard;
use crate::engine::EngineError;

/// What a written file survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// A crash of the process.
    Process,
    /// A power loss, once the folder that it is published in is synced too.
    PowerLoss,
}

/// A file that is written and has no name yet that anybody reads. Dropped unpublished, it is removed.
#[derive(Debug)]
#[must_use = "a staged file that is not published is removed"]
pub(super) struct Staged<'s> {
    store: &'s Store,
    name: String,
    is_there: bool,
}

impl<'s> Staged<'s> {
    /// Writes `bytes` to the temporary file `name`, which belongs to whoever holds the lock that covers the
    /// target: a file of that name that is there already was left by a process that is dead.
    pub(super) fn write(
        store: &'s Store,
        name: String,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<Staged<'s>, EngineError> {
        let folder = &store.temporary;
        let file = match create(folder, &name) {
            Err(Errno::EXIST) => {
                remove(folder, &name).map_err(|errno| folder.unwritable(&name, "remove", errno))?;
                create(folder, &name)
            }
            created => created,
        };
        let mut file = file.map_err(|errno| folder.unwritable(&name, "make", errno))?;
        let staged = Staged { store, name, is_there: true };
        file.write_all(bytes).map_err(|source| folder.unwritable(&staged.name, "write", source))?;
        if durability == Durability::PowerLoss && folder.safeguards().keep(Safeguard::FileSync) {
            file.sync_all().map_err(|source| folder.unwritable(&staged.name, "sync", source))?;
        }
        Ok(staged)
    }

    /// Gives the file its name in `folder` unless that is taken: `false` then, and nothing was changed.
    ///
    /// The temporary name stays until `self` is dropped, which has to come after the folder is synced: one that
    /// is found later tells the next writer that a name may not be on the disk yet.
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    pub(super) fn publish_new(&self, folder: &Folder, name: &str) -> Result<bool, EngineError> {
        if !folder.safeguards().keep(Safeguard::Publishing) {
            return self.write_in_place(folder, name);
        }
        let temporary = &self.store.temporary;
        match rustix::fs::linkat(temporary.fd(), &*self.name, folder.fd(), name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(folder.unwritable(name, "publish", errno)),
        }
    }

    /// Gives the file its name in `folder`, in place of whatever had it.
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    pub(super) fn publish_over(mut self, folder: &Folder, name: &str) -> Result<(), EngineError> {
        let temporary = &self.store.temporary;
        rustix::fs::renameat(temporary.fd(), &*self.name, folder.fd(), name)
            .map_err(|errno| folder.unwritable(name, "publish", errno))?;
        self.is_there = false;
        Ok(())
    }

    /// What the negative twin of the protocol does: the record can be seen while it is being written.
    fn write_in_place(&self, folder: &Folder, name: &str) -> Result<bool, EngineError> {
        let bytes = self.store.temporary.read(&self.name)?.unwrap_or_default();
        let mut file = match create(folder, name) {
            Err(Errno::EXIST) => return Ok(false),
            created => created.map_err(|errno| folder.unwritable(name, "make", errno))?,
        };
        file.write_all(&bytes).map_err(|source| folder.unwritable(name, "write", source))?;
        file.sync_all().map_err(|source| folder.unwritable(name, "sync", source))?;
        Ok(true)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.is_there {
            // The next writer takes it away if this fails.
            remove(&self.store.temporary, &self.name).unwrap_or_default();
        }
    }
}

/// Names that are published in the course of one operation: taken back if it does not come to its end, so
/// that a failed operation leaves the store as it was.
///
/// They are taken back in the opposite order, and no further than the first that cannot be: an earlier name may
/// be what a later one relies on, as a reservation does on the marks of what it superseded.
#[derive(Debug, Default)]
pub(super) struct Undo<'s> {
    names: Vec<(&'s Folder, String)>,
}

impl<'s> Undo<'s> {
    /// Remembers that the operation made this name.
    pub(super) fn made(&mut self, folder: &'s Folder, name: String) {
        self.names.push((folder, name));
    }

    /// The operation came to its end: what it made stays.
    pub(super) fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let mut names = self.names.drain(..).rev().peekable();
        while let Some((folder, name)) = names.next() {
            let is_last_of_folder = names.peek().is_none_or(|(next, _)| !std::ptr::eq(*next, folder));
            // A disk that takes no writes may refuse this too. Then what stays is whole, as after a crash.
            if remove(folder, &name).is_err() || (is_last_of_folder && folder.sync().is_err()) {
                return;
            }
        }
    }
}

/// Moves a folder that was built beside its place into it. Fails if anything but an empty folder is there.
#[expect(clippy::disallowed_methods, reason = "this is the one caller")]
pub(super) fn move_folder(from: &Path, to: &Path) -> Result<(), EngineError> {
    let unwritable =
        |source| EngineError::Unwritable { path: to.to_path_buf(), operation: "publish", source };
    std::fs::rename(from, to).map_err(unwritable)
}

/// Gives a file another name in its folder, in place of whatever has that.
#[expect(clippy::disallowed_methods, reason = "this is the one caller")]
pub(super) fn rename(folder: &Folder, name: &str, new: &str) -> Result<(), EngineError> {
    rustix::fs::renameat(folder.fd(), name, folder.fd(), new)
        .map_err(|errno| folder.unwritable(new, "publish", errno))
}

/// Makes a new file. Never opens what is there, be it a link.
pub(super) fn create(folder: &Folder, name: &str) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder.fd(), name, flags, Mode::from_raw_mode(FILE_MODE)).map(File::from)
}

/// Removes a file; one that is not there is no error.
pub(super) fn remove(folder: &Folder, name: &str) -> Result<(), Errno> {
    remove_if_there(folder, name).map(drop)
}

/// Removes a file: `false` if there was none.
pub(super) fn remove_if_there(folder: &Folder, name: &str) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(folder.fd(), name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Appends `bytes` to a file of lines, which is made if it is not there, in one write, and syncs it. What stands
/// after its first `whole` bytes is a line that somebody was killed while writing: it is cut off.
///
/// This is the one file that is not written beside and published: it is never read by its end but from the last
/// newline backwards, so what is half written is not there. If a step fails, the file is as it was before.
#[expect(clippy::disallowed_methods, reason = "this is the one caller")]
pub(super) fn append(folder: &Folder, name: &str, whole: u64, bytes: &[u8]) -> Result<(), EngineError> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder.fd(), name, flags, Mode::from_raw_mode(FILE_MODE));
    let mut file = File::from(file.map_err(|errno| folder.unwritable(name, "open", errno))?);
    let length = file.metadata().map_err(|source| folder.unreadable(name, source))?.len();
    if length > whole && folder.safeguards().keep(Safeguard::TornLine) {
        file.set_len(whole).map_err(|source| folder.unwritable(name, "cut", source))?;
    }
    let written = file.write_all(bytes).map_err(|source| folder.unwritable(name, "write", source));
    let synced = written.and_then(|()| {
        if folder.safeguards().keep(Safeguard::FileSync) {
            file.sync_all().map_err(|source| folder.unwritable(name, "sync", source))?;
        }
        Ok(())
    });
    synced.inspect_err(|_| {
        // A disk that takes no writes may refuse this too: then whole lines stay, and the next step finishes them.
        file.set_len(whole).unwrap_or_default();
    })
}

/// Makes the content of a file last through a power loss.
pub(super) fn sync_file(folder: &Folder, name: &str) -> Result<(), EngineError> {
    let Some(open) = folder.open_file(name)? else { return Ok(()) };
    if !folder.safeguards().keep(Safeguard::FileSync) {
        return Ok(());
    }
    open.file.sync_all().map_err(|source| folder.unwritable(name, "sync", source))
}

/// Writes `text` into an open file, in place of all that stands there, and syncs it.
#[expect(clippy::disallowed_methods, reason = "this is the one caller")]
pub(super) fn overwrite(folder: &Folder, mut file: &File, text: &str) -> Result<(), EngineError> {
    let mut write = || {
        file.set_len(0)?;
        file.rewind()?;
        if !text.is_empty() {
            file.write_all(format!("{text}\n").as_bytes())?;
        }
        file.sync_all()
    };
    write().map_err(|source| folder.unwritable(LOCK_NAME, "write", source))
}

/// Moves whatever has this name in `from`, be it a folder or a link, to a name in the folder `to`. `false` if that
/// name is taken: nothing is ever overwritten.
#[expect(clippy::disallowed_methods, reason = "this is the one caller")]
pub(super) fn quarantine(from: &Folder, name: &OsStr, to: &Folder, new: &str) -> Result<bool, EngineError> {
    match rustix::fs::renameat_with(from.fd(), name, to.fd(), new, RenameFlags::NOREPLACE) {
        Ok(()) => {
            to.sync()?;
            from.sync()?;
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(from.unwritable(&name.to_string_lossy(), "quarantine", errno)),
    }
}

/// Lets the file `new` in `of` and whatever has the name in `folder` change places, in one step: the name leads to the
/// one or to the other at every moment, and nothing is lost.
#[expect(clippy::disallowed_methods, reason = "this is the one caller")]
pub(super) fn exchange(of: &Folder, new: &str, folder: &Folder, name: &str) -> Result<(), EngineError> {
    rustix::fs::renameat_with(of.fd(), new, folder.fd(), name, RenameFlags::EXCHANGE)
        .map_err(|errno| folder.unwritable(name, "replace", errno))?;
    of.sync()?;
    folder.sync()
}

/// Writes and syncs a new file; `false` if the name is taken. One that cannot be written whole is removed again.
pub(super) fn write_new(
    folder: &Folder,
    name: &str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<bool, EngineError> {
    let file = match create(folder, name) {
        Err(Errno::EXIST) => return Ok(false),
        created => created.map_err(|errno| folder.unwritable(name, "make", errno))?,
    };
    let mut buffered = io::BufWriter::new(&file);
    let written = write(&mut buffered).and_then(|()| buffered.flush()).and_then(|()| file.sync_all());
    written.map(|()| true).map_err(|source| {
        remove(folder, name).unwrap_or_default();
        folder.unwritable(name, "write", source)
    })
}
