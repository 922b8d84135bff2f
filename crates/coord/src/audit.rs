//! The audit trail: who held what, when, for how long, and how it ended, from live and archived records.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::archive::Archived;
use crate::clock::Timestamp;
use crate::engine::{Engine, EngineError, Listing};
use crate::id::{RunId, Token};
use crate::lease::{Lease, State};
use crate::progress::Progress;

/// How many errors of the archive are told one by one: a file that was overwritten can hold a million.
pub const DAMAGED_SHOWN_MAX: usize = 20;

/// How many lines of the archive are one report to the progress: fewer would cost more than the reading.
const LINES_PER_REPORT: u64 = 1024;

/// Which reservations an audit trail shows.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// Only those of this run.
    pub run: Option<RunId>,
    /// Only those that overlap this address.
    pub address: Option<Address>,
    /// Only those that were held at this moment or later.
    pub since: Option<Timestamp>,
    /// Only those that were held at this moment or earlier.
    pub until: Option<Timestamp>,
    /// Not more than so many, those with the largest tokens.
    pub limit: usize,
}

/// One reservation, held or over.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// All that is known of it.
    pub lease: Lease,
    /// Where it stands, or how it ended.
    pub state: State,
    /// When it ended; `None` while it is active.
    pub ended_at: Option<Timestamp>,
    /// Until when it was held: it ended or lapsed, or that is now.
    pub held_until: Timestamp,
    /// Whether it is in the archive.
    pub is_archived: bool,
}

/// What an [`AuditQuery`] found.
#[derive(Debug, Default)]
pub struct AuditTrail {
    /// Sorted by token, the newest last.
    pub entries: Vec<Entry>,
    /// Whether older ones were left out for the limit.
    pub is_truncated: bool,
    /// What could not be read, at most [`DAMAGED_SHOWN_MAX`] of the archive.
    pub damaged: Vec<EngineError>,
    /// How many more could not be read.
    pub more_damaged: usize,
}

impl Entry {
    fn live(lease: Lease, now: Timestamp) -> Entry {
        let ended_at = lease.ending(now).map(|(_, ended_at)| ended_at);
        let held_until = held_until(&lease, now);
        Entry { state: lease.state(now), ended_at, held_until, is_archived: false, lease }
    }

    fn archived(line: Archived) -> Entry {
        let (ending, ended_at) = (line.state, line.ended_at);
        let lease = line.into_lease();
        let held_until = ended_at.min(lease.effective_expiry());
        Entry { state: ending.into(), ended_at: Some(ended_at), held_until, is_archived: true, lease }
    }

    /// For how many seconds it was held, rounded down.
    pub fn held_seconds(&self) -> u64 {
        self.held_until.seconds_since(self.lease.reservation.created_at)
    }
}

/// Until when a live reservation was held, or that is `now`.
fn held_until(lease: &Lease, now: Timestamp) -> Timestamp {
    lease.ending(now).map_or(now, |(_, ended_at)| ended_at).min(lease.effective_expiry())
}

impl AuditQuery {
    /// Everything, the newest `limit` of it.
    pub const fn newest(limit: usize) -> AuditQuery {
        AuditQuery { run: None, address: None, since: None, until: None, limit }
    }

    /// Whether it shows a reservation that was held until then.
    fn shows(&self, lease: &Lease, held_until: Timestamp) -> bool {
        let reservation = &lease.reservation;
        self.run.as_ref().is_none_or(|run| *run == reservation.run_id)
            && self.since.is_none_or(|since| held_until >= since)
            && self.until.is_none_or(|until| reservation.created_at <= until)
            && self
                .address
                .as_ref()
                .is_none_or(|address| reservation.addresses.iter().any(|held| held.overlaps(address)))
    }
}

/// The newest entries, one more than are shown: it tells that there are more.
struct Newest {
    limit: usize,
    entries: BTreeMap<Token, Entry>,
}

impl Newest {
    /// A token is one reservation's alone. What is found first counts: the live record before the archive, and of
    /// two lines the newer.
    fn add(&mut self, entry: Entry) {
        self.entries.entry(entry.lease.reservation.token).or_insert(entry);
        if self.entries.len() > self.limit.saturating_add(1) {
            self.entries.pop_first();
        }
    }

    /// Whether no reservation with this token or a smaller one would be kept.
    fn is_beyond(&self, token: Token) -> bool {
        self.entries.len() > self.limit
            && self.entries.keys().next().is_some_and(|smallest| *smallest > token)
    }
}

/// What `query` shows.
///
/// The live records are read first and the archive then, from its end, so that what is moved in between is seen. The
/// bounds in the archive's lines say when nothing earlier matters: the newest entries cost the same however long the
/// archive is.
///
/// # Errors
///
/// [`EngineError`] when the store cannot be read at all.
pub fn audit(
    engine: &impl Engine,
    query: &AuditQuery,
    progress: &dyn Progress,
) -> Result<AuditTrail, EngineError> {
    // One more than are shown tells that there are more.
    let wanted = |lease: &Lease| query.shows(lease, held_until(lease, engine.now()));
    let Listing { leases, mut damaged, .. } = engine.newest(query.limit.saturating_add(1), &wanted)?;
    let now = engine.now();
    let mut newest = Newest { limit: query.limit, entries: BTreeMap::new() };
    for lease in leases.into_iter().filter(|lease| query.shows(lease, held_until(lease, now))) {
        newest.add(Entry::live(lease, now));
    }
    let mut more_damaged = 0;
    let mut told = 0;
    let mut tell = |error: EngineError| {
        told += 1;
        if told <= DAMAGED_SHOWN_MAX {
            damaged.push(error);
        } else {
            more_damaged += 1;
        }
    };
    match engine.archived() {
        Ok(lines) => {
            progress.begin(None, "reading the archive");
            for (number, line) in (1_u64..).zip(lines) {
                if number % LINES_PER_REPORT == 0 {
                    progress.advance(LINES_PER_REPORT);
                }
                let line = match line {
                    Ok(line) => line,
                    Err(error) => {
                        tell(error);
                        continue;
                    }
                };
                let before = line.before;
                let entry = Entry::archived(line);
                if query.shows(&entry.lease, entry.held_until) {
                    newest.add(entry);
                }
                let is_settled = before.is_some_and(|before| {
                    newest.is_beyond(before.token) || query.since.is_some_and(|since| before.ended_at < since)
                });
                if is_settled {
                    break;
                }
            }
        }
        Err(error) => tell(error),
    }
    let is_truncated = newest.entries.len() > query.limit;
    if is_truncated {
        newest.entries.pop_first();
    }
    Ok(AuditTrail { entries: newest.entries.into_values().collect(), is_truncated, damaged, more_damaged })
}
