//! How a waiter learns that something has changed: notification where there is one, a slow poll elsewhere.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::clock::Stopwatch;

/// How often those look who are not told: seldom enough that a minute costs a few milliseconds of a processor, often
/// enough that nobody notices.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// What may let a waiter go on: a release, or a ticket that was given up.
    Freed,
    /// Every change of a reservation or a ticket, heartbeats among them.
    Everything,
}

/// Why a wait came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something may have changed.
    Changed,
    /// The time is over.
    TimedOut,
    /// The interrupting descriptor can be read.
    Interrupted,
}

/// Tells of changes since it was made. None is missed: what happens between two waits ends the next one at once.
pub trait Changes: std::fmt::Debug {
    /// Waits until something may have changed, `timeout` is over, or `interrupt` can be read. Many changes at
    /// once are one.
    fn wait(&mut self, timeout: Duration, interrupt: Option<BorrowedFd<'_>>) -> Woken;
}

/// Changes that nobody tells of: somebody has to look again every quarter of a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Polling;

impl Changes for Polling {
    fn wait(&mut self, timeout: Duration, interrupt: Option<BorrowedFd<'_>>) -> Woken {
        let woken = wait_for(None, timeout.min(POLL_INTERVAL), interrupt);
        if woken == Woken::TimedOut && timeout > POLL_INTERVAL { Woken::Changed } else { woken }
    }
}

/// Waits for so long, or until `interrupt` can be read: [`Woken::Interrupted`] then.
pub(crate) fn pause(timeout: Duration, interrupt: Option<BorrowedFd<'_>>) -> Woken {
    wait_for(None, timeout, interrupt)
}

/// Waits until one of the two can be read. What is interrupted by a signal goes on for the rest of its time.
pub(crate) fn wait_for(
    changes: Option<BorrowedFd<'_>>,
    timeout: Duration,
    interrupt: Option<BorrowedFd<'_>>,
) -> Woken {
    let waiting = Stopwatch::start();
    loop {
        let mut watched: Vec<PollFd<'_>> =
            interrupt.iter().chain(&changes).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let left = timeout.saturating_sub(waiting.elapsed());
        // A timeout that is too long for the system is one that never ends.
        let polled = poll(&mut watched, Timespec::try_from(left).ok().as_ref());
        match polled {
            Ok(0) => return Woken::TimedOut,
            Ok(_) => {
                let is_interrupted =
                    interrupt.is_some() && watched.first().is_some_and(|first| !first.revents().is_empty());
                return if is_interrupted { Woken::Interrupted } else { Woken::Changed };
            }
            Err(Errno::INTR) => {}
            Err(_) => return wait_blindly(left.min(POLL_INTERVAL)),
        }
    }
}

/// What is left where the system cannot poll, as without memory: to look again a little later, whatever happened.
#[expect(clippy::disallowed_methods, reason = "it ends after a quarter of a second")]
fn wait_blindly(time: Duration) -> Woken {
    std::thread::sleep(time);
    Woken::Changed
}
