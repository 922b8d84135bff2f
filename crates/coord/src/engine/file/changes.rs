//! Notification of changes in a store's folders, by inotify where there is such a thing (Linux).
//!
//! What is watched are names: they appear by `link` or `rename`, whole, and go by `unlink`. So a waiter learns of
//! a release when the tombstone has its name, and renewals of tickets, which are renamed over their old names,
//! wake nobody who waits for a place to become free.

use crate::engine::changes::{Changes, Interest, Polling};

use super::layout::Store;

/// Tells of changes of `store`, by notification where it is to be had: a process may be out of open files, or its
/// user out of watches.
#[cfg(target_os = "linux")]
pub(super) fn changes(store: &Store, interest: Interest) -> Box<dyn Changes> {
    match notified::Notified::of(store, interest) {
        Some(notified) => Box::new(notified),
        None => Box::new(Polling),
    }
}

/// Elsewhere nobody tells.
#[cfg(not(target_os = "linux"))]
pub(super) fn changes(_: &Store, _: Interest) -> Box<dyn Changes> {
    Box::new(Polling)
}

#[cfg(target_os = "linux")]
mod notified {
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::path::PathBuf;
    use std::time::Duration;

    use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};

    use super::super::layout::{Folder, Store, WAITING};
    use crate::engine::changes::{Changes, Interest, Polling, Woken, wait_for};

    /// Room for about a hundred events at once, with names as long as those of records.
    const BUFFER_BYTES: usize = 16 * 1024;

    /// How many events are taken before the next look, so that a store where much happens keeps nobody from it.
    const EVENTS_MAX: usize = 4096;

    const ADDED: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO);
    const REMOVED: WatchFlags = WatchFlags::DELETE.union(WatchFlags::MOVED_FROM);

    const ALWAYS: WatchFlags = WatchFlags::DELETE_SELF
        .union(WatchFlags::MOVE_SELF)
        .union(WatchFlags::ONLYDIR)
        .union(WatchFlags::DONT_FOLLOW);

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
        /// The folder of the tickets and what of it is told, until it is watched: a store of an earlier version has none
        /// before somebody waits.
        unmade: Option<(PathBuf, WatchFlags)>,
    }

    impl Notified {
        /// `None` where the system gives no watches, or no more of them.
        pub(super) fn of(store: &Store, interest: Interest) -> Option<Notified> {
            let Ok(fd) = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else { return None };
            let wanted = |freed: Option<WatchFlags>| match interest {
                Interest::Freed => freed,
                Interest::Everything => Some(ADDED | REMOVED),
            };
            let watch = |folder: &Folder, freed: Option<WatchFlags>| {
                wanted(freed).is_none_or(|flags| add_watch(&fd, folder.path(), flags | ALWAYS).is_ok())
            };
            let is_watched = watch(&store.releases, Some(ADDED))
                // Somebody takes a record out by hand.
                && watch(&store.reservations, Some(REMOVED))
                && watch(&store.superseded, None)
                && watch(&store.heartbeats, None);
            let flags = wanted(Some(REMOVED)).unwrap_or(REMOVED) | ALWAYS;
            let unmade = Some((store.root.path_of(WAITING), flags));
            let mut notified = Notified { fd, is_gone: false, unmade };
            notified.watch_what_was_made();
            let has_all = is_watched
                && (notified.unmade.is_none()
                    // Tokens are renamed into the store's folder: this tells of what is made there.
                    || add_watch(&notified.fd, store.root.path(), WatchFlags::CREATE | ALWAYS).is_ok());
            // Somebody may have made it before that.
            notified.watch_what_was_made();
            has_all.then_some(notified)
        }

        /// Watches the folder of the tickets, if it is there by now.
        fn watch_what_was_made(&mut self) {
            let fd = &self.fd;
            self.unmade.take_if(|(path, flags)| add_watch(fd, path.as_path(), *flags).is_ok());
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
                self.watch_what_was_made();
            }
            woken
        }
    }
}
