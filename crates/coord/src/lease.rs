//! The life of one reservation, as its records tell it. Pure: whoever asks gives `now`.

use crate::clock::Timestamp;
use crate::id::{ReservationId, RunId};
use crate::record::{Extra, Heartbeat, Release, Reservation, SCHEMA_VERSION, Supersession, TtlSeconds};

/// Whether a record that lies beside a reservation is there. Its presence alone decides; its content is for
/// people and may be unreadable.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark<T> {
    /// There is none.
    Absent,
    /// It is there; the content was not asked for or could not be read.
    Present,
    /// It is there and was read.
    Read(T),
}

impl<T> Mark<T> {
    /// Whether it is there.
    pub const fn is_present(&self) -> bool {
        !matches!(self, Mark::Absent)
    }

    /// The content, if it was read.
    pub const fn content(&self) -> Option<&T> {
        match self {
            Mark::Read(content) => Some(content),
            Mark::Absent | Mark::Present => None,
        }
    }
}

/// A reservation together with everything that happened to it since.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The grant.
    pub reservation: Reservation,
    /// The latest heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// The tombstone.
    pub release: Mark<Release>,
    /// Who was granted a conflicting reservation after this one lapsed.
    pub supersession: Mark<Supersession>,
    /// When it lapses, or has, on the clock of whoever reads this, where another one keeps the time: that of a server.
    /// `None` where the records tell.
    pub lapses_at: Option<Timestamp>,
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Before its effective expiry.
    Active,
    /// Past it; a heartbeat may still revive it.
    Lapsed,
    /// Lapsed, and a conflicting reservation was granted since. Final.
    Superseded,
    /// Given back or taken away. Final.
    Released,
}

impl State {
    /// The word that answers use.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Lapsed => "lapsed",
            State::Superseded => "superseded",
            State::Released => "released",
        }
    }
}

impl Lease {
    /// A reservation that nothing has happened to.
    pub const fn fresh(reservation: Reservation) -> Lease {
        Lease {
            reservation,
            heartbeat: None,
            release: Mark::Absent,
            supersession: Mark::Absent,
            lapses_at: None,
        }
    }

    /// `max(reservation.expires_at, heartbeat.extended_expires_at)`: the rule of the source document. Where a server keeps
    /// the time, when it says that both are over.
    pub fn effective_expiry(&self) -> Timestamp {
        self.lapses_at.unwrap_or_else(|| self.recorded_expiry())
    }

    /// A moment until which it does not lapse, for those who must have stopped by then: a server tells whole seconds, rounded
    /// up, so it is one less than the effective expiry where a server keeps the time.
    pub fn least_expiry(&self) -> Timestamp {
        const ROUNDED_MICROSECONDS: i64 = 1_000_000;
        match self.lapses_at {
            Some(told) => Timestamp::from_microseconds(told.as_microseconds() - ROUNDED_MICROSECONDS),
            None => self.recorded_expiry(),
        }
    }

    /// The effective expiry as its records tell it, by the clocks of those who wrote them.
    pub(crate) fn recorded_expiry(&self) -> Timestamp {
        let granted = self.reservation.expires_at;
        self.heartbeat.as_ref().map_or(granted, |heartbeat| granted.max(heartbeat.extended_expires_at))
    }

    /// The heartbeat that `run` sends at `now` for `extension`.
    ///
    /// The holder may shorten; another run's beat keeps the later expiry. Fields of the previous heartbeat
    /// that this program does not know are carried along.
    pub fn beat(&self, run: &RunId, extension: TtlSeconds, now: Timestamp) -> Heartbeat {
        let asked = now.plus_seconds(extension.get());
        let kept = match &self.heartbeat {
            Some(heartbeat) if *run != self.reservation.run_id => heartbeat.extended_expires_at,
            _ => asked,
        };
        self.heartbeat_until(run, asked.max(kept), now)
    }

    /// The heartbeat that extends the reservation to `ttl` from `now` and never shortens it: a repeated
    /// request's.
    pub fn renewal(&self, ttl: TtlSeconds, now: Timestamp) -> Heartbeat {
        let until = self.effective_expiry().max(now.plus_seconds(ttl.get()));
        self.heartbeat_until(&self.reservation.run_id, until, now)
    }

    fn heartbeat_until(&self, run: &RunId, extended_expires_at: Timestamp, now: Timestamp) -> Heartbeat {
        Heartbeat {
            schema_version: SCHEMA_VERSION,
            reservation_id: self.reservation.reservation_id,
            run_id: run.clone(),
            last_beat_at: now,
            extended_expires_at,
            extra: self.heartbeat.as_ref().map(|heartbeat| heartbeat.extra.clone()).unwrap_or_default(),
        }
    }

    /// Whole seconds since the reservation lapsed, rounded up; `None` while it has not.
    pub fn lapsed_seconds(&self, now: Timestamp) -> Option<u64> {
        let expiry = self.effective_expiry();
        (expiry <= now).then(|| now.seconds_left(expiry))
    }

    /// The mark that this lapsed reservation was superseded at `now`.
    pub fn superseded_by(&self, successor: ReservationId, run: &RunId, now: Timestamp) -> Supersession {
        Supersession {
            schema_version: SCHEMA_VERSION,
            reservation_id: self.reservation.reservation_id,
            superseded_by: successor,
            run_id: run.clone(),
            superseded_at: now,
            extra: Extra::new(),
        }
    }

    /// The state at `now`. A release outweighs everything: it wins whichever file was written last.
    pub fn state(&self, now: Timestamp) -> State {
        if self.release.is_present() {
            State::Released
        } else if self.supersession.is_present() {
            State::Superseded
        } else if now < self.effective_expiry() {
            State::Active
        } else {
            State::Lapsed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Token;
    use crate::record::{Draft, Mode};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_microseconds(seconds * 1_000_000)
    }

    fn lease() -> Lease {
        let draft = Draft {
            run_id: RunId::new("alice").unwrap(),
            branch: None,
            addresses: vec!["a.py".parse().unwrap()],
            mode: Mode::Exclusive,
            operation: None,
            token: Token::new(1).unwrap(),
            ttl_seconds: TtlSeconds::new(60).unwrap(),
            created_at: at(1000),
        };
        Lease::fresh(draft.into_reservation().unwrap())
    }

    #[test]
    fn the_later_expiry_counts() {
        let mut lease = lease();
        assert_eq!(lease.effective_expiry(), at(1060));
        for (extended, effective) in [(1030, 1060), (1090, 1090)] {
            lease.heartbeat = Some(Heartbeat {
                schema_version: SCHEMA_VERSION,
                reservation_id: lease.reservation.reservation_id,
                run_id: lease.reservation.run_id.clone(),
                last_beat_at: at(1010),
                extended_expires_at: at(extended),
                extra: Extra::new(),
            });
            assert_eq!(lease.effective_expiry(), at(effective));
        }
    }

    #[test]
    fn the_holder_may_shorten_and_nobody_else() {
        let ttl = |seconds| TtlSeconds::new(seconds).unwrap();
        let mut lease = lease();
        let (alice, boss) = (RunId::new("alice").unwrap(), RunId::new("boss").unwrap());
        lease.heartbeat = Some(lease.beat(&boss, ttl(500), at(1000)));
        assert_eq!(lease.effective_expiry(), at(1500));
        assert_eq!(lease.beat(&boss, ttl(100), at(1000)).extended_expires_at, at(1500));
        assert_eq!(lease.beat(&alice, ttl(100), at(1000)).extended_expires_at, at(1100));
        assert_eq!(lease.renewal(ttl(100), at(1000)).extended_expires_at, at(1500));
        assert_eq!(lease.renewal(ttl(100), at(2000)).extended_expires_at, at(2100));
    }

    #[test]
    fn what_a_server_rounds_up_is_not_relied_on() {
        let mut lease = lease();
        assert_eq!(lease.least_expiry(), at(1060));
        lease.lapses_at = Some(at(1040));
        assert_eq!((lease.effective_expiry(), lease.least_expiry()), (at(1040), at(1039)));
    }

    #[test]
    fn lapsed_time_is_never_negative() {
        let lease = lease();
        assert_eq!(lease.lapsed_seconds(at(1059)), None);
        assert_eq!(lease.lapsed_seconds(at(1060)), Some(0));
        assert_eq!(lease.lapsed_seconds(at(1070)), Some(10));
        assert_eq!(lease.lapsed_seconds(at(0)), None);
    }

    #[test]
    fn a_lease_lapses_at_its_expiry_and_not_before() {
        let lease = lease();
        assert_eq!(lease.state(at(0)), State::Active);
        assert_eq!(lease.state(Timestamp::from_microseconds(1_059_999_999)), State::Active);
        assert_eq!(lease.state(at(1060)), State::Lapsed);
    }

    #[test]
    fn released_outweighs_superseded_outweighs_the_clock() {
        let mut lease = lease();
        lease.supersession = Mark::Present;
        assert_eq!(lease.state(at(0)), State::Superseded);
        lease.release = Mark::Present;
        assert_eq!(lease.state(at(0)), State::Released);
    }
}
