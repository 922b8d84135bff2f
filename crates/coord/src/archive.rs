//! Reservations that are over, as the archive keeps them: one line of JSON each, never changed. Pure.
//!
//! A line holds all that the live store held of a reservation, and how it ended. The newest line of a
//! reservation counts: a holder may revive a lapsed one after a process was killed while it moved it, and then it
//! is moved again when it is over for good. Each line carries [`Bounds`] over all that come before it, so that
//! whoever reads from the end knows where nothing older can matter any more.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{ReservationId, Token};
use crate::lease::{Lease, Mark, State};
use crate::record::{
    Companion, Heartbeat, RecordError, Release, Reservation, SCHEMA_VERSION, Supersession, UniqueFields,
    check_schema_version,
};

/// How many reservations one step moves at most: others wait for the store's lock meanwhile, which takes four removed
/// files for each of them, up to a millisecond each on a busy disk; and their records' locks are open files.
pub const BATCH_MAX: usize = 64;

/// How a reservation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Given back or taken away.
    Released,
    /// Lapsed, and a conflicting reservation was granted since.
    Superseded,
    /// Past its effective expiry.
    Lapsed,
}

impl Ending {
    /// The word that records and answers use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ending::Released => State::Released.as_str(),
            Ending::Superseded => State::Superseded.as_str(),
            Ending::Lapsed => State::Lapsed.as_str(),
        }
    }

    /// Whether a line that ended so at `ended_at` says all of `live`: see [`Archived::covers`].
    pub(crate) fn covers(self, ended_at: Timestamp, live: &Lease, now: Timestamp) -> bool {
        match live.ending(now) {
            Some((Ending::Lapsed, live_ended_at)) => self == Ending::Lapsed && live_ended_at <= ended_at,
            Some((ending, _)) => self == ending,
            None => false,
        }
    }
}

impl From<Ending> for State {
    fn from(ending: Ending) -> State {
        match ending {
            Ending::Released => State::Released,
            Ending::Superseded => State::Superseded,
            Ending::Lapsed => State::Lapsed,
        }
    }
}

/// The largest of what several lines hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// No token is larger.
    pub token: Token,
    /// Nothing ended later.
    pub ended_at: Timestamp,
}

/// A reservation that was moved out of the live store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Archived {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When it was moved.
    pub archived_at: Timestamp,
    /// How it ended.
    pub state: Ending,
    /// When: released, superseded or lapsed. The effective expiry where the record that tells cannot be read.
    pub ended_at: Timestamp,
    /// The grant, whole.
    pub reservation: Reservation,
    /// The last heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// Who superseded it; `None` also where that record could not be read.
    pub superseded: Option<Supersession>,
    /// Its tombstone; `None` also where that could not be read.
    pub release: Option<Release>,
    /// The bounds of all earlier lines of the archive; `None` in the very first.
    pub before: Option<Bounds>,
    /// How many lines of the same batch stand before this one, less than [`BATCH_MAX`].
    pub batch_position: u32,
}

/// What a line is read as. Each field stands once: a derived reader sees to that.
#[derive(Deserialize)]
struct Line {
    schema_version: u64,
    archived_at: Timestamp,
    state: Ending,
    ended_at: Timestamp,
    reservation: UniqueFields,
    heartbeat: Option<Heartbeat>,
    superseded: Option<Supersession>,
    release: Option<Release>,
    before: Option<Bounds>,
    batch_position: u32,
}

/// What a line of any version has.
#[derive(Deserialize)]
struct Version {
    schema_version: u64,
}

impl Archived {
    /// The line of a reservation that is over at `now`; `None` for one that is held.
    pub fn of(lease: Lease, before: Option<Bounds>, batch_position: u32, now: Timestamp) -> Option<Archived> {
        let (state, ended_at) = lease.ending(now)?;
        let Lease { reservation, heartbeat, release, supersession, lapses_at: _ } = lease;
        Some(Archived {
            schema_version: SCHEMA_VERSION,
            archived_at: now,
            state,
            ended_at,
            reservation,
            heartbeat,
            superseded: supersession.into_content(),
            release: release.into_content(),
            before,
            batch_position,
        })
    }

    /// The reservation.
    pub const fn id(&self) -> ReservationId {
        self.reservation.reservation_id
    }

    /// The bounds of this line and all before it.
    pub fn bounds(&self) -> Bounds {
        let (token, ended_at) = (self.reservation.token, self.ended_at);
        self.before.map_or(Bounds { token, ended_at }, |before| Bounds {
            token: token.max(before.token),
            ended_at: ended_at.max(before.ended_at),
        })
    }

    /// As it stood in the live store.
    pub fn into_lease(self) -> Lease {
        Lease {
            release: Mark::of(self.release, self.state == Ending::Released),
            supersession: Mark::of(self.superseded, self.state == Ending::Superseded),
            heartbeat: self.heartbeat,
            ..Lease::fresh(self.reservation)
        }
    }

    /// Whether this line says all that the live store says of the same reservation at `now`: then it was moved, and
    /// only not removed yet. One that the holder revived, or that was released since, is not covered.
    pub fn covers(&self, live: &Lease, now: Timestamp) -> bool {
        self.state.covers(self.ended_at, live, now)
    }

    /// The line, its newline included.
    ///
    /// # Errors
    ///
    /// None that a caller can cause: every record has a JSON form.
    pub fn to_line(&self) -> Result<Vec<u8>, RecordError> {
        // Compact JSON escapes control characters: the only newline is the last byte.
        let mut line = serde_json::to_vec(self).map_err(RecordError::Malformed)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Reads a line, without its newline, and verifies that it is whole and that its reservation is unedited.
    /// Fields that this program does not know are let stand.
    ///
    /// # Errors
    ///
    /// Every [`RecordError`].
    pub fn from_line(line: &[u8]) -> Result<Archived, RecordError> {
        let read: Line = serde_json::from_slice(line).map_err(|error| {
            // A later version may have other fields.
            let version = serde_json::from_slice::<Version>(line).ok();
            version
                .and_then(|version| check_schema_version(Some(version.schema_version)).err())
                .unwrap_or(RecordError::Malformed(error))
        })?;
        let schema_version = check_schema_version(Some(read.schema_version))?;
        let reservation = Reservation::from_fields(read.reservation.0)?;
        let id = reservation.reservation_id;
        let companions = [
            read.heartbeat.as_ref().map(Companion::reservation_id),
            read.superseded.as_ref().map(Companion::reservation_id),
            read.release.as_ref().map(Companion::reservation_id),
        ];
        if let Some(found) = companions.into_iter().flatten().find(|found| *found != id) {
            return Err(RecordError::OtherReservation { found });
        }
        Ok(Archived {
            schema_version,
            archived_at: read.archived_at,
            state: read.state,
            ended_at: read.ended_at,
            reservation,
            heartbeat: read.heartbeat,
            superseded: read.superseded,
            release: read.release,
            before: read.before,
            batch_position: read.batch_position,
        })
    }
}

impl Lease {
    /// How and when it ended; `None` while it is held at `now`. The effective expiry where the record that tells
    /// cannot be read.
    pub fn ending(&self, now: Timestamp) -> Option<(Ending, Timestamp)> {
        let expiry = self.effective_expiry();
        match self.state(now) {
            State::Active => None,
            State::Lapsed => Some((Ending::Lapsed, expiry)),
            State::Superseded => Some((
                Ending::Superseded,
                self.supersession.content().map_or(expiry, |mark| mark.superseded_at),
            )),
            State::Released => {
                Some((Ending::Released, self.release.content().map_or(expiry, |release| release.released_at)))
            }
        }
    }
}

impl<T> Mark<T> {
    /// A record whose content may be known, and that may be there without.
    fn of(content: Option<T>, is_present: bool) -> Mark<T> {
        match content {
            Some(content) => Mark::Read(content),
            None if is_present => Mark::Present,
            None => Mark::Absent,
        }
    }

    /// The content, if it was read.
    pub fn into_content(self) -> Option<T> {
        match self {
            Mark::Read(content) => Some(content),
            Mark::Absent | Mark::Present => None,
        }
    }
}

/// Which reservations are moved into the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Those that ended so many seconds ago at least.
    pub older_than_seconds: u32,
    /// Not more than so many, those with the smallest tokens first; `None` for all.
    pub at_most: Option<usize>,
    /// Nothing is moved, only counted.
    pub dry_run: bool,
}

impl Retention {
    /// One hour, the default of `--older-than`: long enough for whoever lost a reservation to be told why.
    pub const OLDER_THAN_DEFAULT: u32 = 3600;

    /// All that ended so many seconds ago at least.
    pub const fn older_than(seconds: u32) -> Retention {
        Retention { older_than_seconds: seconds, at_most: None, dry_run: false }
    }

    /// When `lease` ended, if that is long enough before `now`. One whose end lies ahead, because the clock was
    /// set back, stays.
    pub fn ended_at(&self, lease: &Lease, now: Timestamp) -> Option<Timestamp> {
        let (_, ended_at) = lease.ending(now)?;
        (ended_at.plus_seconds(self.older_than_seconds) <= now).then_some(ended_at)
    }
}

/// What a collection came to.
#[derive(Debug, Default)]
pub struct Collected {
    /// How many reservations were moved into the archive, or would be.
    pub archived: usize,
    /// How many were left because they were in use or revived just then.
    pub skipped: usize,
    /// By how many bytes the archive grew.
    pub bytes: u64,
    /// When the first and the last of them ended.
    pub ended: Option<(Timestamp, Timestamp)>,
    /// What could not be read, sorted by what it says.
    pub damaged: Vec<crate::engine::EngineError>,
    /// What stopped the collection before its end. What was moved until then is moved.
    pub stopped_by: Option<crate::engine::EngineError>,
}

impl Collected {
    /// Counts one that ended at `ended_at`.
    pub(crate) fn count(&mut self, ended_at: Timestamp) {
        self.archived += 1;
        let (first, last) = self.ended.unwrap_or((ended_at, ended_at));
        self.ended = Some((first.min(ended_at), last.max(ended_at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunId;
    use crate::record::{Draft, Extra, Mode, TtlSeconds};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_microseconds(seconds * 1_000_000)
    }

    /// Granted at 1000 for 60 seconds.
    fn lease() -> Lease {
        let draft = Draft {
            run_id: RunId::new("al\nice").unwrap(),
            branch: Some("main".to_owned()),
            addresses: vec!["a.py".parse().unwrap()],
            mode: Mode::Exclusive,
            operation: None,
            token: Token::new(7).unwrap(),
            ttl_seconds: TtlSeconds::new(60).unwrap(),
            created_at: at(1000),
        };
        Lease::fresh(draft.into_reservation().unwrap())
    }

    fn released(mut lease: Lease, seconds: i64) -> Lease {
        let run = RunId::new("boss").unwrap();
        let id = lease.reservation.reservation_id;
        lease.release = Mark::Read(Release::new(id, None, &run, Some("why\n".to_owned()), at(seconds)));
        lease
    }

    fn archived(lease: Lease) -> Archived {
        Archived::of(lease, None, 0, at(9000)).unwrap()
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let run = RunId::new("bob").unwrap();
        let mut lease = lease();
        lease.heartbeat = Some(lease.beat(&run, TtlSeconds::new(5).unwrap(), at(1010)));
        lease.supersession =
            Mark::Read(lease.superseded_by(lease.reservation.reservation_id, &run, at(1070)));
        let before = Some(Bounds { token: Token::new(9).unwrap(), ended_at: at(3) });
        for lease in [lease.clone(), released(lease, 1100)] {
            let line = Archived::of(lease.clone(), before, 3, at(9000)).unwrap();
            let bytes = line.to_line().unwrap();
            assert_eq!(bytes.iter().position(|byte| *byte == b'\n'), Some(bytes.len() - 1));
            let read = Archived::from_line(&bytes[..bytes.len() - 1]).unwrap();
            assert_eq!(read, line);
            assert_eq!(read.bounds(), Bounds { token: Token::new(9).unwrap(), ended_at: line.ended_at });
            assert_eq!(read.into_lease(), lease);
        }
    }

    #[test]
    fn a_line_tells_how_and_when_it_ended() {
        let lapsed = archived(lease());
        assert_eq!((lapsed.state, lapsed.ended_at), (Ending::Lapsed, at(1060)));
        let line = archived(released(lease(), 1020));
        assert_eq!((line.state, line.ended_at), (Ending::Released, at(1020)));
        for (release, supersession, state) in [
            (Mark::Present, Mark::Absent, Ending::Released),
            (Mark::Absent, Mark::Present, Ending::Superseded),
        ] {
            let unread = Lease { release, supersession, ..lease() };
            let line = archived(unread.clone());
            assert_eq!((line.state, line.ended_at), (state, at(1060)));
            assert_eq!(line.into_lease(), unread);
        }
        assert!(Archived::of(lease(), None, 0, at(1059)).is_none());
    }

    #[test]
    fn a_changed_line_is_noticed() {
        let line = String::from_utf8(archived(released(lease(), 1020)).to_line().unwrap()).unwrap();
        let line = line.trim_end();
        let read = |text: &str| Archived::from_line(text.as_bytes());
        assert!(read(line).is_ok());
        assert!(matches!(read(&line.replace("a.py", "b.py")), Err(RecordError::Edited)));
        assert!(matches!(read(&line[..line.len() / 2]), Err(RecordError::Malformed(_))));
        assert!(matches!(read(&format!("{line}{line}")), Err(RecordError::Malformed(_))));
        assert!(matches!(read(""), Err(RecordError::Malformed(_))));
        let newer = line.replacen("\"schema_version\":1", "\"schema_version\":2", 1);
        assert!(matches!(read(&newer), Err(RecordError::SchemaTooNew { found: 2 })));
        assert!(matches!(
            read("{\"schema_version\":3,\"what\":1}"),
            Err(RecordError::SchemaTooNew { found: 3 })
        ));
        let twice = line.replacen("\"state\":", "\"state\":\"lapsed\",\"state\":", 1);
        assert!(matches!(read(&twice), Err(RecordError::Malformed(_))));
        // A field that a later version adds is no error.
        assert!(read(&line.replacen('{', "{\"later\":true,", 1)).is_ok());
        let other = ReservationId::from_digest([1; 32]);
        let mut wrong = archived(released(lease(), 1020));
        wrong.release.as_mut().unwrap().reservation_id = other;
        let bytes = wrong.to_line().unwrap();
        let read = Archived::from_line(&bytes[..bytes.len() - 1]);
        assert!(matches!(read, Err(RecordError::OtherReservation { found }) if found == other));
    }

    #[test]
    fn a_line_covers_what_it_was_made_of_and_nothing_later() {
        let now = at(9000);
        let lapsed = archived(lease());
        assert!(lapsed.covers(&lease(), now));
        // The clock was set back: nobody knows that it is over.
        assert!(!lapsed.covers(&lease(), at(1059)));
        let beat = |extended: i64| Lease {
            heartbeat: Some(Heartbeat {
                schema_version: SCHEMA_VERSION,
                reservation_id: lease().reservation.reservation_id,
                run_id: RunId::new("alice").unwrap(),
                last_beat_at: at(8000),
                extended_expires_at: at(extended),
                extra: Extra::new(),
            }),
            ..lease()
        };
        assert!(!lapsed.covers(&beat(8100), now), "revived, and lapsed again");
        assert!(!lapsed.covers(&beat(9100), now), "revived");
        assert!(!lapsed.covers(&released(lease(), 8000), now), "released since");
        assert!(archived(beat(8100)).covers(&lease(), now), "the heartbeat was lost with the power");
        assert!(archived(released(lease(), 8000)).covers(&released(beat(9100), 8000), now));
    }

    #[test]
    fn only_what_ended_long_ago_is_moved() {
        let retention = Retention::older_than(100);
        let moved = |lease: &Lease, now| retention.ended_at(lease, at(now)).is_some();
        assert!(!moved(&lease(), 1159));
        assert!(moved(&lease(), 1160));
        assert!(!moved(&released(lease(), 1020), 1119));
        assert!(moved(&released(lease(), 1020), 1120));
        // The clock was set back by far.
        assert!(!moved(&released(lease(), 1020), 0));
        assert!(Retention::older_than(0).ended_at(&released(lease(), 1020), at(1020)).is_some());
    }
}
