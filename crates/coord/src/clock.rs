//! The only place where the clock is read: everything else takes `now`.
//!
//! Times are UTC with microseconds, written as the source document writes them
//! (`2026-11-22T17:18:00.000005+00:00`). Arithmetic saturates at the ends of the representable years, so a
//! clock that is set to anything at all makes no panic and no negative duration.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::SpanRelativeTo;
use jiff::tz::Offset;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;

/// A moment: microseconds since 1970-01-01T00:00:00Z, between the years 1 and 9998.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Why a text names no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// It is none.
    #[error(
        "not a time: give how long ago, such as 90s, 2h, 1h30m or 3d, \
         or a point in time with its offset, such as 2026-11-22T18:30:00Z"
    )]
    NotATime,
    /// It is too far away.
    #[error(
        "out of range: give how long ago, such as 90s, 2h, 1h30m or 3d, \
         or a point in time within the years 1 to 9998, such as 2026-11-22T18:30:00Z"
    )]
    OutOfRange,
}

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(-62_135_596_800 * MICROSECONDS_PER_SECOND);
    /// The last microsecond of the year 9998: far enough, and inside what ISO 8601 and every reader take.
    pub const MAX: Timestamp = Timestamp(253_370_764_800 * MICROSECONDS_PER_SECOND - 1);

    /// The moment so many microseconds after 1970, brought into the representable years.
    pub fn from_microseconds(microseconds: i64) -> Timestamp {
        Timestamp(microseconds).clamp(Timestamp::MIN, Timestamp::MAX)
    }

    /// Microseconds since 1970; negative before it.
    pub const fn as_microseconds(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970; 0 before it.
    pub fn milliseconds_since_1970(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// The moment so many seconds later.
    #[must_use = "a timestamp is not changed in place"]
    pub fn plus_seconds(self, seconds: u32) -> Timestamp {
        Timestamp::from_microseconds(self.0 + i64::from(seconds) * MICROSECONDS_PER_SECOND)
    }

    /// Whole seconds from `earlier` until `self`, rounded down; 0 when `self` is not later.
    pub fn seconds_since(self, earlier: Timestamp) -> u64 {
        u64::try_from((self.0 - earlier.0) / MICROSECONDS_PER_SECOND).unwrap_or(0)
    }

    /// Whole seconds from `now` until `self`, rounded up, so that waiting so long is enough; 0 when it is past.
    pub fn seconds_left(self, now: Timestamp) -> u64 {
        u64::try_from(self.0 - now.0).map_or(0, |left| left.div_ceil(MICROSECONDS_PER_SECOND.unsigned_abs()))
    }

    /// The moment that a person names: how long before `now` (`90s`, `2h`, `1h30m`, `3d`, `1 week`), a day being 24
    /// hours, or a point in time with its offset (RFC 3339).
    ///
    /// # Errors
    ///
    /// [`MomentError`] for anything else: a time without an offset, months and years, which have no fixed length, a
    /// negative duration.
    pub fn of_moment(text: &str, now: Timestamp) -> Result<Timestamp, MomentError> {
        Timestamp::read_moment(text, now).map_err(|error| {
            // With fewer digits it would be one, so the numbers are too large.
            let is_too_large = Timestamp::read_moment(&shortened(text), now) != Err(MomentError::NotATime);
            if is_too_large { MomentError::OutOfRange } else { error }
        })
    }

    fn read_moment(text: &str, now: Timestamp) -> Result<Timestamp, MomentError> {
        if let Ok(point) = text.parse::<jiff::Timestamp>() {
            let read = Timestamp(point.as_microsecond());
            return if read.clamp(Timestamp::MIN, Timestamp::MAX) == read {
                Ok(read)
            } else {
                Err(MomentError::OutOfRange)
            };
        }
        let ago = text.parse::<jiff::Span>().map_err(|_| MomentError::NotATime)?;
        let ago = ago.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| MomentError::NotATime)?;
        let microseconds = i64::try_from(ago.as_micros()).map_err(|_| MomentError::OutOfRange)?;
        // "2h ago" is negative, and means what "2h" means; so does nothing else that begins with a sign.
        let microseconds = if text.trim_end().ends_with("ago") { -microseconds } else { microseconds };
        if microseconds < 0 {
            return Err(MomentError::NotATime);
        }
        Ok(Timestamp::from_microseconds(now.0.saturating_sub(microseconds)))
    }

    fn to_jiff(self) -> jiff::Timestamp {
        // In range by construction; the fallback is never taken.
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

/// A text with the first four digits alone of each number.
fn shortened(text: &str) -> String {
    let mut digits = 0;
    let is_kept = |character: &char| {
        digits = if character.is_ascii_digit() { digits + 1 } else { 0 };
        digits <= 4
    };
    text.chars().filter(is_kept).collect()
}

/// ISO 8601, UTC, six decimals, `+00:00`. With `{:#}`, to the second and with `Z`, for people.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            write!(f, "{:.0}", self.to_jiff())
        } else {
            write!(f, "{:.6}", self.to_jiff().display_with_offset(Offset::UTC))
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Takes any RFC 3339 time with an offset: other programs write `Z` or leave out a zero fraction.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Timestamp::from_microseconds(parsed.as_microsecond()))
    }
}

/// Where `now` comes from.
pub trait Clock: Send + Sync {
    /// The present moment. May go backwards: nothing may rely on the order of two calls.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock: a lease has to be judged alike by every process and after a reboot.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    fn now(&self) -> Timestamp {
        let microseconds = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_microseconds(microseconds)
    }
}

/// A clock that stands still until it is told to move, forwards or backwards.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows so many seconds after 1970.
    pub fn at_seconds(seconds: i64) -> ManualClock {
        ManualClock(AtomicI64::new(seconds.saturating_mul(MICROSECONDS_PER_SECOND)))
    }

    /// Moves the clock; a negative number sets it back.
    pub fn advance_seconds(&self, seconds: i64) {
        self.advance_microseconds(seconds.saturating_mul(MICROSECONDS_PER_SECOND));
    }

    /// Moves the clock by microseconds.
    pub fn advance_microseconds(&self, microseconds: i64) {
        self.0.fetch_add(microseconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microseconds(self.0.load(Ordering::SeqCst))
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// Measures how long something took, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelled_as_the_source_spells_them() {
        let at = |microseconds| Timestamp::from_microseconds(microseconds);
        assert_eq!(at(5).to_string(), "1970-01-01T00:00:00.000005+00:00");
        assert_eq!(at(1_900_000_000_999_999).to_string(), "2030-03-17T17:46:40.999999+00:00");
        assert_eq!(format!("{:#}", at(1_900_000_000_999_999)), "2030-03-17T17:46:40Z");
        assert_eq!(at(0).to_string(), "1970-01-01T00:00:00.000000+00:00");
        for text in ["1970-01-01T00:00:00.000005Z", "1970-01-01T01:00:00.000005+01:00"] {
            assert_eq!(serde_json::from_value::<Timestamp>(text.into()).unwrap(), at(5));
        }
        assert!(serde_json::from_value::<Timestamp>("yesterday".into()).is_err());
        assert!(serde_json::from_value::<Timestamp>("1970-01-01T00:00:00".into()).is_err());
    }

    #[test]
    fn moments_are_told_as_people_tell_them() {
        let now = Timestamp::from_microseconds(1_900_000_000_000_000);
        let ago = |seconds: i64| Ok(Timestamp::from_microseconds(now.0 - seconds * 1_000_000));
        for (text, seconds) in [
            ("90s", 90),
            ("2h", 7200),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("3d", 259_200),
            ("1 week", 604_800),
            ("2 hours ago", 7200),
            ("0s", 0),
            ("PT2H", 7200),
            ("2030-03-17T17:46:40Z", 0),
            ("2030-03-17T19:46:39+02:00", 1),
        ] {
            assert_eq!(Timestamp::of_moment(text, now), ago(seconds), "{text}");
        }
        for text in [
            "",
            "2",
            "-2h",
            "yesterday",
            "1mo",
            "1y",
            "2030-03-17",
            "2030-03-17T17:46:40",
            "2h junk",
            "١h",
            "1e3s",
            "\0",
            "20300317",
            "123456 junk",
        ] {
            assert_eq!(Timestamp::of_moment(text, now), Err(MomentError::NotATime), "{text:?}");
        }
        for text in [
            "99999999999999999999h",
            "1000000000000h",
            "1000000000000 hours ago",
            "99999-01-01T00:00:00Z",
            "9999-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::of_moment(text, now), Err(MomentError::OutOfRange), "{text:?}");
        }
        assert_eq!(Timestamp::of_moment("19000w", Timestamp::MIN), Ok(Timestamp::MIN));
    }

    #[test]
    fn arithmetic_saturates_and_is_never_negative() {
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert!(end.to_string().len() == 32, "{end}");
            assert_eq!(end.plus_seconds(u32::MAX).plus_seconds(0).to_string().len(), 32);
        }
        assert_eq!(Timestamp::MAX.plus_seconds(1), Timestamp::MAX);
        assert_eq!(Timestamp::from_microseconds(i64::MIN), Timestamp::MIN);
        let (early, late) = (Timestamp::from_microseconds(0), Timestamp::from_microseconds(1_500_000));
        assert_eq!(late.seconds_since(early), 1);
        assert_eq!(late.seconds_left(early), 2);
        assert_eq!(early.seconds_since(late), 0);
        assert_eq!(early.seconds_left(late), 0);
        assert_eq!(Timestamp::MIN.milliseconds_since_1970(), 0);
    }

    #[test]
    fn the_manual_clock_goes_both_ways() {
        let clock = ManualClock::at_seconds(100);
        clock.advance_seconds(-40);
        assert_eq!(clock.now(), Timestamp::from_microseconds(60_000_000));
    }
}
