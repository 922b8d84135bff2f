//! Waiting for one's turn, on any engine: take a ticket, keep it alive, look when something has changed.
//!
//! Whoever waits remembers who was in its way and looks at one of them alone, without any lock, until none is left;
//! only then does it try again. So of many who are woken at once one or two ask for the store.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::clock::{Stopwatch, Timestamp};
use crate::coordinator::Coordinator;
use crate::decide::{Conflict, Request};
use crate::engine::changes::{Changes, Interest, Polling, Woken, pause};
use crate::engine::{Engine, EngineError, Reserved, Turn};
use crate::id::TicketNumber;
use crate::queue::Wait;

/// How often a waiter renews its ticket: a third of the lease, so that two renewals may fail.
const RENEWAL: Duration = Duration::from_secs(5);

/// When a renewal that failed is tried again.
const RENEWAL_RETRY: Duration = Duration::from_secs(1);

/// A ticket older than this is renewed before a try: that may last as long as the wait for the store's lock, 10 s,
/// and the ticket must not lapse meanwhile.
const RENEWED_BEFORE_TRY: Duration = Duration::from_secs(2);

/// How often a waiter tries although it can see who is in its way: the net under everything that a look at one of
/// them does not show, such as a circle of waits that a take-over has closed.
const RECHECK: Duration = Duration::from_secs(15);

/// The pause before a try that follows on another at once, because what denied it cannot be seen any more: a lapsed
/// reservation that is being extended. It doubles up to [`PAUSE_MAX`], since each such try holds the store's lock
/// for a quarter of a second.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// For how long a waiter looks again at a store of which something is missing before it says so: one that is being
/// deleted is gone by then, and of that it tells at once.
const DELETION: Duration = Duration::from_secs(10);

/// The pause before a try after something had vanished that nobody takes away but by hand: a record, a place in the
/// queue, a part of the store. If the whole store is being deleted, what a try writes would be in the way of that.
const VANISHED_PAUSE: Duration = Duration::from_millis(250);

/// What became of a request that waits.
#[derive(Clone, Debug, PartialEq)]
pub enum Waited {
    /// It was granted; or it is one that does not wait: a take-over that is denied or has nothing to take, any
    /// request without patience.
    Answered(Reserved),
    /// Its patience came to its end.
    GaveUp {
        /// Its place among those who wait for the same, from 1.
        position: usize,
        /// Who was in the way at the end.
        conflicts: Vec<Conflict>,
    },
    /// It would wait, or has come to wait, for somebody who waits for it.
    Deadlock {
        /// The circle, beginning with its own run.
        cycle: Vec<Wait>,
    },
    /// The interrupting descriptor could be read.
    Interrupted,
}

/// Somebody's place in the queue. Dropped, it is given up.
struct Place<'a, E: Engine> {
    engine: &'a E,
    request: &'a Request,
    ticket: TicketNumber,
    renewed: Stopwatch,
    renew_after: Duration,
    is_over: bool,
}

impl<E: Engine> Place<'_, E> {
    /// Renews the ticket once it is `age` old; `false` if the place is lost.
    fn keep(&mut self, age: Duration) -> bool {
        if self.renewed.elapsed() < age {
            return true;
        }
        let Ok(kept) = self.engine.keep_place(self.ticket, &self.request.run) else {
            // A full disk, perhaps: it is still there until it lapses.
            self.renew_after = self.renewed.elapsed() + RENEWAL_RETRY;
            return true;
        };
        self.renewed = Stopwatch::start();
        self.renew_after = RENEWAL;
        kept
    }
}

impl<E: Engine> Drop for Place<'_, E> {
    fn drop(&mut self) {
        if !self.is_over {
            // If it cannot be removed, it lapses.
            self.engine.leave(self.ticket, &self.request.run).unwrap_or_default();
        }
    }
}

impl<E: Engine> Coordinator<E> {
    /// Reserves, and waits in the queue for up to `patience` where somebody is in the way.
    ///
    /// `queued` is told once, when the wait begins: the position and who is in the way. The wait ends early when
    /// `interrupt` can be read. Unless it is granted, nothing is left of the ticket. A try that was begun is
    /// finished, so patience may be exceeded by the wait for the store's lock.
    ///
    /// # Errors
    ///
    /// As [`Engine::take_turn`]; that the store is locked for too long only once the patience is over.
    pub fn reserve_waiting(
        &self,
        request: &Request,
        patience: Duration,
        interrupt: Option<BorrowedFd<'_>>,
        queued: impl FnMut(usize, &[Conflict]),
    ) -> Result<Waited, EngineError> {
        if patience.is_zero() {
            return self.reserve(request).map(Waited::Answered);
        }
        let wait = Waiting {
            engine: self.engine(),
            request,
            patience,
            interrupt,
            since: Stopwatch::start(),
            place: None,
            changes: None,
            pause: PAUSE_MIN,
            incomplete: None,
        };
        wait.wait_and_take(queued)
    }
}

/// A request that waits.
struct Waiting<'a, E: Engine> {
    engine: &'a E,
    request: &'a Request,
    patience: Duration,
    interrupt: Option<BorrowedFd<'a>>,
    since: Stopwatch,
    place: Option<Place<'a, E>>,
    changes: Option<Box<dyn Changes>>,
    /// How long to pause if the next try comes at once.
    pause: Duration,
    /// Since when a part of the store is missing.
    incomplete: Option<Stopwatch>,
}

impl<E: Engine> Waiting<'_, E> {
    fn wait_and_take(mut self, mut queued: impl FnMut(usize, &[Conflict])) -> Result<Waited, EngineError> {
        let mut is_told = false;
        loop {
            let is_last = self.since.elapsed() >= self.patience;
            let turn = self.take_turn();
            if turn.is_ok() {
                self.incomplete = None;
            }
            let conflicts = match turn {
                Ok(Turn::Answered(reserved)) => return Ok(Waited::Answered(reserved)),
                Ok(Turn::Deadlock { cycle }) => return Ok(Waited::Deadlock { cycle }),
                // It queues again, at the back.
                Ok(Turn::PlaceLost) => match self.pause_after_a_loss() {
                    Woken::Interrupted => return Ok(Waited::Interrupted),
                    _ => continue,
                },
                Ok(Turn::Queued { position, conflicts, .. }) if is_last => {
                    return Ok(Waited::GaveUp { position, conflicts });
                }
                Ok(Turn::Queued { position, conflicts, .. }) => {
                    if !is_told {
                        queued(position, &conflicts);
                        is_told = true;
                    }
                    conflicts
                }
                // Others are busy with the store, and there is patience left.
                Err(EngineError::Busy { .. }) if !is_last => Vec::new(),
                // So it looks while a store is being deleted.
                Err(error) if !is_last && error.is_of_missing_part() && self.is_worth_another_look() => {
                    match self.pause_after_a_loss() {
                        Woken::Interrupted => return Ok(Waited::Interrupted),
                        _ => continue,
                    }
                }
                Err(error) => return Err(error),
            };
            if self.wait_while_in_the_way(conflicts) == Woken::Interrupted {
                return Ok(Waited::Interrupted);
            }
        }
    }

    fn is_worth_another_look(&mut self) -> bool {
        self.incomplete.get_or_insert_with(Stopwatch::start).elapsed() < DELETION
    }

    fn pause_after_a_loss(&self) -> Woken {
        let left = self.patience.saturating_sub(self.since.elapsed());
        pause(VANISHED_PAUSE.min(left), self.interrupt)
    }

    /// Tries once, with the place that it has.
    fn take_turn(&mut self) -> Result<Turn, EngineError> {
        if let Some(place) = &mut self.place {
            // If it is lost, the try says so.
            place.keep(RENEWED_BEFORE_TRY);
        }
        let ticket = self.place.as_ref().map(|place| place.ticket);
        let turn = self.engine.take_turn(self.request, ticket)?;
        match &turn {
            Turn::Answered(Reserved::Granted(_)) => {
                if let Some(place) = &mut self.place {
                    place.is_over = true;
                }
            }
            Turn::PlaceLost => self.place = None,
            Turn::Queued { ticket, .. } if self.place.is_none() => {
                self.place = Some(Place {
                    engine: self.engine,
                    request: self.request,
                    ticket: *ticket,
                    renewed: Stopwatch::start(),
                    renew_after: RENEWAL,
                    is_over: false,
                });
            }
            Turn::Answered(_) | Turn::Deadlock { .. } | Turn::Queued { .. } => {}
        }
        Ok(turn)
    }

    /// Returns when another try is worth it, and the place is kept until then: when none of `conflicts` is in the
    /// way any more, the patience is over, the place is lost, or it is time for a look at the whole.
    fn wait_while_in_the_way(&mut self, mut conflicts: Vec<Conflict>) -> Woken {
        let tried = Stopwatch::start();
        let changes = self.changes.get_or_insert_with(|| {
            // Made before the first look, so that nothing is missed after it.
            self.engine.changes(Interest::Freed).unwrap_or_else(|_| Box::new(Polling))
        });
        let mut has_waited = false;
        let mut has_vanished = false;
        loop {
            let renewal = match &mut self.place {
                Some(place) => {
                    if !place.keep(place.renew_after) {
                        return Woken::Changed;
                    }
                    place.renew_after.saturating_sub(place.renewed.elapsed())
                }
                None => RECHECK,
            };
            let patience = self.patience.saturating_sub(self.since.elapsed());
            let recheck = RECHECK.saturating_sub(tried.elapsed());
            let left = patience.min(recheck);
            if left.is_zero() {
                return Woken::TimedOut;
            }
            let Some(until) = in_the_way(self.engine, &mut conflicts, &mut has_vanished) else {
                if has_vanished {
                    return self.pause_after_a_loss();
                }
                if has_waited {
                    self.pause = PAUSE_MIN;
                    return Woken::Changed;
                }
                let time = self.pause.min(left);
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                return pause(time, self.interrupt);
            };
            has_waited = true;
            let until = time_between(self.engine.now(), until);
            let woken = changes.wait(left.min(renewal).min(until), self.interrupt);
            if woken == Woken::Interrupted {
                return woken;
            }
        }
    }
}

/// Until when somebody of `conflicts` is in the way, if nothing else happens; `None` when nobody is any more. Those
/// who are not are taken out, the last first: of those who wait ahead it goes last. `has_vanished` is set if one cannot
/// be read any more: of that the next try tells more.
fn in_the_way<E: Engine>(
    engine: &E,
    conflicts: &mut Vec<Conflict>,
    has_vanished: &mut bool,
) -> Option<Timestamp> {
    loop {
        match engine.stands_until(conflicts.last()?) {
            Ok(Some(until)) => return Some(until),
            Ok(None) => {}
            Err(_) => *has_vanished = true,
        }
        conflicts.pop();
    }
}

fn time_between(now: Timestamp, until: Timestamp) -> Duration {
    let microseconds = until.as_microseconds().saturating_sub(now.as_microseconds());
    Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
}
