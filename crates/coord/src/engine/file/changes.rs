//! Notification of changes in a store's folders, by inotify where there is such a thing (Linux).
//!
//! What is watched are names: they appear by `link` or `rename`, whole, and go by `unlink`. So a waiter learns of
//! a release when the tombstone has its name, and renewals of tickets, which are renamed over their old names,
//! wake nobody who waits for a place to become free.

use crate::engine::EngineError;
use crate::engine::changes::{Changes, Interest, Polling};

use super::layout::Store;

/// Tells of changes of `store`, by notification where it is to be had: a process may be out of open files, or its
/// user out of watches.
#[cfg(target_os = "linux")]
pub(super) fn changes(store: &Store, interest: Interest) -> Result<Box<dyn Changes>, EngineError> {
    match notified::Notified::of(store, interest)? {
        Some(notified) => Ok(Box::new(notified)),
        None => Ok(Box::new(Polling)),
    }
}

/// Elsewhere nobody tells.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
pub(super) fn changes(_: &Store, _: Interest) -> Result<Box<dyn Changes>, EngineError> {
    Ok(Box::new(Polling))
}

#[cfg(target_os = "linux")]
mod notified {
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::time::Duration;

    use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};

    use super::super::layout::{Folder, Room, Store};
    use crate::engine::EngineError;
    use crate::engine::changes::{Changes, Interest, Polling, Woken, wait_for};

    /// Room for about a hundred events at once, with names as long as those of records.
    const BUFFER_BYTES: usize = 16 * 1024;

    /// How many events are taken before the next look, so that a store where much happens keeps nobody from it.
    const EVENTS_MAX: usize = 4096;

    const ADDED: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO);
    const REMOVED: WatchFlags = WatchFlags::DELETE.union(WatchFlags::MOVED_FROM);

    /// What tells that a watched folder is not the store's any more.
    const GONE: ReadFlags = ReadFlags::DELETE_SELF
        .union(ReadFlags::MOVE_SELF)
        .union(ReadFlags::IGNORED)
        .union(ReadFlags::UNMOUNT);

    /// An inotify descriptor that watches the folders.
    #[derive(Debug)]
    pub(super) struct Notified {
        fd: OwnedFd,
        /// A watched folder was removed or moved: nothing more will be told.
        is_gone: bool,
    }

    impl Notified {
        /// `None` where the system gives no watches, or no more of them.
        pub(super) fn of(store: &Store, interest: Interest) -> Result<Option<Notified>, EngineError> {
            let Ok(fd) = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else { return Ok(None) };
            let waiting = store.root.room(Room::Waiting)?;
            let watch = |folder: &Folder, freed: Option<WatchFlags>| {
                let flags = match interest {
                    Interest::Freed => freed,
                    Interest::Everything => Some(ADDED | REMOVED),
                };
                let Some(flags) = flags else { return true };
                let always = WatchFlags::DELETE_SELF
                    | WatchFlags::MOVE_SELF
                    | WatchFlags::ONLYDIR
                    | WatchFlags::DONT_FOLLOW;
                add_watch(&fd, folder.path(), flags | always).is_ok()
            };
            let is_watched = watch(&store.releases, Some(ADDED))
                // Somebody takes a record out by hand.
                && watch(&store.reservations, Some(REMOVED))
                && watch(&store.superseded, None)
                && watch(&store.heartbeats, None)
                && waiting.is_none_or(|waiting| watch(&waiting, Some(REMOVED)));
            Ok(is_watched.then_some(Notified { fd, is_gone: false }))
        }

        /// Takes every event that there is.
        fn drain(&mut self) {
            let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
            let mut reader = Reader::new(self.fd.as_fd(), &mut buffer);
            for _ in 0..EVENTS_MAX {
                match reader.next() {
                    Ok(event) => self.is_gone |= event.events().intersects(GONE),
                    // There are no more, or none can be read: then those who wait look again all the same.
                    Err(_) => return,
                }
            }
        }
    }

    impl Changes for Notified {
        fn wait(&mut self, timeout: Duration, interrupt: Option<BorrowedFd<'_>>) -> Woken {
            if self.is_gone {
                return Polling.wait(timeout, interrupt);
            }
            let woken = wait_for(Some(self.fd.as_fd()), timeout, interrupt);
            if woken == Woken::Changed {
                self.drain();
            }
            woken
        }
    }
}
