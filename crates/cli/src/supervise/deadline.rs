//! When to send heartbeats, when to stop the command, when to kill it: pure, takes `now`.
//!
//! A lease ends by the wall clock, for every process alike. Here its end is kept as a moment of a clock that
//! nobody sets and that runs through a suspend of the machine.

use std::time::Duration;

use muse_coord::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// On Linux the monotonic clock stands still while the machine sleeps, and this one does not. Elsewhere
/// (macOS) the monotonic clock is the one that runs on.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// How many heartbeats are sent in a TTL, so that two of them may fail.
const BEATS_IN_A_TTL: u32 = 3;
/// How many heartbeats are tried at least between a grant and the moment at which the command is stopped.
const BEATS_BEFORE_STOP: u32 = 2;
/// How soon a heartbeat that failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// A moment on a clock that runs through a suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    pub(crate) fn now() -> Moment {
        let time = clock_gettime(CLOCK);
        // It counts from the start of the machine, so it is never negative.
        Moment(Duration::try_from(time).unwrap_or_default())
    }

    pub(crate) const fn plus(self, time: Duration) -> Moment {
        Moment(self.0.saturating_add(time))
    }

    const fn minus(self, time: Duration) -> Moment {
        Moment(self.0.saturating_sub(time))
    }

    /// The time from `earlier` until `self`; none if it is not later.
    pub(crate) const fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// One instant on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant {
    pub(crate) moment: Moment,
    pub(crate) wall: Timestamp,
}

impl Instant {
    /// The moment is read before the wall clock (`read`): a suspend in between makes every end that is
    /// reckoned from the two too early, never too late.
    pub(crate) fn now(read: impl FnOnce() -> Timestamp) -> Instant {
        let moment = Moment::now();
        Instant { moment, wall: read() }
    }
}

/// The time that the reservation has left, and what is due in it.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    ttl: Duration,
    grace: Duration,
    /// The expiry as the store has it.
    expiry: Timestamp,
    /// The same, on the clock that nobody sets.
    expires: Moment,
}

impl Deadline {
    /// `ttl` is longer than `grace`. `expiry` is the store's, learnt at the instant `at` or later.
    pub(crate) fn new(ttl: Duration, grace: Duration, expiry: Timestamp, at: Instant) -> Deadline {
        Deadline { ttl, grace, expiry, expires: moment_of(expiry, at) }
    }

    /// The store's expiry as it was found at `at` or later. One that is known already changes nothing: a wall
    /// clock that is set back must not move the end away.
    pub(crate) fn learn(&mut self, expiry: Timestamp, at: Instant) {
        if expiry != self.expiry {
            self.extended(expiry, at);
        }
    }

    /// A heartbeat was written at `at` or later, and this is the expiry since.
    pub(crate) fn extended(&mut self, expiry: Timestamp, at: Instant) {
        self.expiry = expiry;
        self.expires = moment_of(expiry, at);
    }

    /// When the next heartbeat is due: every third of the TTL; sooner where the grace leaves less room. A
    /// reservation that lasts for longer than the TTL, because the run had it already, needs none until then.
    pub(crate) fn beat_at(&self) -> Moment {
        let room = self.ttl.saturating_sub(self.grace);
        let interval = (self.ttl / BEATS_IN_A_TTL).min(room / BEATS_BEFORE_STOP);
        self.expires.minus(self.ttl.saturating_sub(interval))
    }

    /// When the command has to be told to end, so that it is over before the reservation lapses.
    pub(crate) fn stop_at(&self) -> Moment {
        self.expires.minus(self.grace)
    }

    /// Whether there is no time left to start anything.
    pub(crate) fn is_over(&self) -> bool {
        Moment::now() >= self.stop_at()
    }

    /// When a command that was told at `told` is killed: after the grace, but not after the expiry.
    pub(crate) fn kill_at(&self, told: Moment) -> Moment {
        self.grace_from(told).min(self.expires).max(told)
    }

    /// When a command whose reservation is lost, and that was told so at `told`, is killed.
    pub(crate) const fn grace_from(&self, told: Moment) -> Moment {
        told.plus(self.grace)
    }
}

fn moment_of(expiry: Timestamp, at: Instant) -> Moment {
    let left = expiry.as_microseconds().saturating_sub(at.wall.as_microseconds());
    at.moment.plus(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn moment(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn wall(seconds: i64) -> Timestamp {
        Timestamp::from_microseconds(seconds * 1_000_000)
    }

    /// The wall clock shows 1000 s more than the other one.
    fn at(seconds: u64) -> Instant {
        Instant { moment: moment(seconds), wall: wall(1000 + i64::try_from(seconds).unwrap()) }
    }

    fn deadline(ttl: u64, grace: u64) -> Deadline {
        let expiry = wall(1000 + i64::try_from(ttl).unwrap());
        Deadline::new(Duration::from_secs(ttl), Duration::from_secs(grace), expiry, at(0))
    }

    #[test]
    fn heartbeats_come_every_third_and_the_end_before_the_expiry() {
        let mut deadline = deadline(60, 10);
        assert_eq!((deadline.beat_at(), deadline.stop_at()), (moment(20), moment(50)));
        deadline.extended(wall(1080), at(20));
        assert_eq!((deadline.beat_at(), deadline.stop_at()), (moment(40), moment(70)));
        assert_eq!(deadline.kill_at(moment(70)), moment(80));
        assert_eq!(deadline.kill_at(moment(75)), moment(80), "not after the expiry");
        assert_eq!(deadline.kill_at(moment(95)), moment(95), "at once if it is past");
        assert_eq!(deadline.grace_from(moment(75)), moment(85), "lost is lost: the whole grace");
    }

    #[test]
    fn a_grace_that_leaves_little_room_makes_heartbeats_more_frequent() {
        let deadline = deadline(12, 10);
        assert_eq!((deadline.beat_at(), deadline.stop_at()), (moment(1), moment(2)));
    }

    #[test]
    fn a_reservation_that_lasts_anyway_needs_no_heartbeat() {
        let mut deadline = deadline(60, 10);
        deadline.learn(wall(1000 + 7200), at(3));
        assert_eq!(deadline.beat_at(), moment(7200 - 40));
        deadline.learn(wall(1000 + 30), at(4));
        assert_eq!(deadline.beat_at(), moment(0), "somebody shortened it: at once");
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_nothing() {
        let mut deadline = deadline(60, 10);
        for shown in [0, 5000] {
            deadline.learn(wall(1060), Instant { moment: moment(5), wall: wall(shown) });
            assert_eq!(deadline.stop_at(), moment(50));
        }
        let lapsed = Instant { moment: moment(5), wall: wall(9999) };
        deadline.extended(wall(1060), lapsed);
        assert_eq!(deadline.stop_at(), Moment(Duration::ZERO), "a lapsed one has no time left");
    }

    #[test]
    fn the_clock_runs() {
        let first = Moment::now();
        assert!(Moment::now() >= first);
        assert_eq!(moment(3).since(moment(5)), Duration::ZERO);
    }
}
