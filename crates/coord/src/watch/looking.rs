//! Looks at a store whenever something may have changed, and gives the rest of the time to others.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{Event, LINES_MAX, LineMark, Look, Watch};
use crate::clock::{Stopwatch, Timestamp};
use crate::engine::changes::{Changes, Interest, Polling, Woken, pause};
use crate::engine::{Engine, EngineError, Listing};
use crate::lease::Lease;
use crate::queue::{Queue, Ticket};

/// How long to wait where nothing tells of a change: the net under the notification. A look costs milliseconds.
const NET: Duration = Duration::from_secs(5);

/// The shortest pause between two looks: what happens in a burst is seen at once.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// How many times as long as a look took the pause after it is, so that looking takes a fifth of the time at most,
/// however large the store is.
const PAUSE_PER_LOOK: u32 = 4;

/// How old a notification gets before it is made anew: folders that came later are not watched by it, nor is a store
/// that was deleted and made again.
const NOTIFICATION_KEPT: Duration = NET;

/// How many errors of one look are told: a file that was overwritten can hold a million.
const DAMAGED_MAX: usize = 20;

/// What a look found.
#[derive(Debug)]
pub struct Seen {
    /// The clock of the look.
    pub now: Timestamp,
    /// The reservations that are neither released nor superseded.
    pub leases: Vec<Lease>,
    /// The tickets that count.
    pub tickets: Vec<Ticket>,
    /// What is new.
    pub events: Vec<Event>,
    /// What cannot be read and was readable, or was not there, at the look before.
    pub damaged: Vec<EngineError>,
    /// How many errors there are in all.
    pub damaged_count: usize,
    /// Whether more of the archive is recorded for the time that is told than [`LINES_MAX`] lines.
    pub is_cut: bool,
}

/// Watches the store of an engine.
#[derive(Debug)]
pub struct Watcher<'e, E> {
    engine: &'e E,
    watch: Watch,
    since: Option<Timestamp>,
    changes: Option<(Box<dyn Changes>, Stopwatch)>,
    /// Since the last look, and how long the pause after it is.
    paused: Option<(Stopwatch, Duration)>,
    /// What cannot be read, as it was told.
    told: HashSet<String>,
    /// When the last look was.
    now: Timestamp,
}

/// What of the archive a look read.
#[derive(Default)]
struct Tail {
    lines: Vec<crate::archive::Archived>,
    meets_last: bool,
    has_all: bool,
    is_cut: bool,
}

impl<'e, E: Engine> Watcher<'e, E> {
    /// Watches from now on, and tells first what is recorded since `since`.
    pub fn new(engine: &'e E, since: Option<Timestamp>) -> Watcher<'e, E> {
        Watcher {
            engine,
            watch: Watch::new(since),
            since,
            changes: None,
            paused: None,
            told: HashSet::new(),
            now: engine.now(),
        }
    }

    /// Waits until something may have changed, and looks; `None` when `interrupt` can be read. Returns after a few
    /// seconds in any case, perhaps with nothing new; the first time at once.
    pub fn next(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Option<Seen> {
        if let Some((since, length)) = self.paused {
            let left = |length: Duration| length.saturating_sub(since.elapsed());
            if !self.watch.holds_back() {
                let lapse = self.watch.next_lapse(self.now).map(|at| time_between(self.now, at));
                let timeout = lapse.map_or(NET, |lapse| left(lapse).min(NET));
                let woken = match &mut self.changes {
                    Some((changes, _)) => changes.wait(timeout, interrupt),
                    None => Polling.wait(timeout, interrupt),
                };
                if woken == Woken::Interrupted {
                    return None;
                }
            }
            // What comes in this time is seen by the same look.
            if pause(left(length), interrupt) == Woken::Interrupted {
                return None;
            }
        }
        let took = Stopwatch::start();
        let seen = self.look();
        self.paused = Some((Stopwatch::start(), PAUSE_MIN.max(took.elapsed() * PAUSE_PER_LOOK)));
        Some(seen)
    }

    fn look(&mut self) -> Seen {
        if self.changes.as_ref().is_none_or(|(_, age)| age.elapsed() >= NOTIFICATION_KEPT) {
            // Made before anything is read, so that nothing is missed after it. Without one, the net is left.
            let changes = self.engine.changes(Interest::Everything).ok();
            self.changes = changes.map(|changes| (changes, Stopwatch::start()));
        }
        let mut errors = Vec::new();
        if self.paused.is_none() {
            self.watch.set_mark(self.newest_line());
        }
        let (tickets, has_all_tickets) = match self.engine.tickets() {
            Ok(Queue { tickets, damaged }) => {
                let has_all = damaged.is_empty();
                errors.extend(damaged);
                (tickets, has_all)
            }
            Err(error) => {
                errors.push(error);
                (Vec::new(), false)
            }
        };
        let mut leases = match self.engine.history() {
            Ok(Listing { leases, damaged, .. }) => {
                errors.extend(damaged);
                leases
            }
            Err(error) => {
                errors.push(error);
                Vec::new()
            }
        };
        let now = self.engine.now();
        let tail = self.tail(now, &mut errors);
        let look = Look {
            tickets,
            has_all_tickets,
            leases,
            now,
            lines: tail.lines,
            meets_last: tail.meets_last,
            has_all_lines: tail.has_all,
        };
        let events = self.watch.look(&look);
        self.now = now;
        leases = look.leases;
        leases.retain(|lease| !lease.release.is_present() && !lease.supersession.is_present());
        let damaged_count = errors.len();
        let damaged = self.untold(errors);
        Seen { now, leases, tickets: look.tickets, events, damaged, damaged_count, is_cut: tail.is_cut }
    }

    /// Of what cannot be read, what was not told yet.
    fn untold(&mut self, mut errors: Vec<EngineError>) -> Vec<EngineError> {
        errors.truncate(DAMAGED_MAX);
        let told = std::mem::take(&mut self.told);
        self.told = errors.iter().map(ToString::to_string).collect();
        errors.retain(|error| !told.contains(&error.to_string()));
        errors
    }

    /// Where the archive ends.
    fn newest_line(&self) -> Option<LineMark> {
        self.engine.archived().ok()?.find_map(Result::ok).as_ref().map(LineMark::of)
    }

    /// What of the archive is newer than at the look before; at the first look, all that belongs to the time that is
    /// told.
    fn tail(&self, now: Timestamp, errors: &mut Vec<EngineError>) -> Tail {
        let mark = self.watch.mark();
        let since = self.since.filter(|_| self.paused.is_none());
        // With nothing to come to, the beginning is the end.
        let mut tail = Tail { meets_last: mark.is_none(), has_all: true, ..Tail::default() };
        let lines = match self.engine.archived() {
            Ok(lines) => lines,
            Err(error) => {
                errors.push(error);
                tail.has_all = false;
                return tail;
            }
        };
        for line in lines {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    tail.has_all &= !matches!(error, EngineError::Unreadable { .. });
                    if errors.len() < 2 * DAMAGED_MAX {
                        errors.push(error);
                    }
                    continue;
                }
            };
            tail.meets_last |= mark == Some(LineMark::of(&line));
            let is_before = since.is_none_or(|since| {
                let is_told = line.archived_at >= since.min(now);
                !is_told && line.before.is_none_or(|before| before.ended_at < since)
            });
            if tail.meets_last && mark.is_some() && is_before {
                break;
            }
            if tail.lines.len() >= LINES_MAX {
                tail.is_cut = true;
                break;
            }
            tail.lines.push(line);
        }
        tail
    }
}

fn time_between(now: Timestamp, until: Timestamp) -> Duration {
    let microseconds = until.as_microseconds().saturating_sub(now.as_microseconds());
    Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
}
