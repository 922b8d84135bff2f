//! What is happening in a store: looks in, events out. Pure: [`Watcher`] is what looks.
//!
//! Every event is told once and follows from the records: that one look saw it or that the next one did makes no
//! difference, but for what the store does not keep (see [`What`]). Four rules carry this:
//!
//! - **Nothing is skipped.** A look reads the tickets, then the live folders, then the archive from its end back to the
//!   newest line of the look before. A reservation is archived before it leaves the live folders: one that left them
//!   before they were read has its line by then. One that was granted, released and archived since the look before is
//!   told from its line alone. A ticket that is gone because it was granted has its reservation by then.
//! - **Nothing is repeated.** What was seen stays known until it is in the archive *and* gone from the live folders;
//!   then nothing can happen to it any more, and its line is not read again. If the newest line is not found (an append
//!   that failed was taken back, somebody removed a file), a line tells only what is known or has a new token.
//! - **Grants come in the order of their tokens.** A folder that is read while names appear in it may show a later grant
//!   and not the one before. Grants follow each other, so whatever the *next* look does not show below the greatest
//!   token of this one was never granted: a grant is held back until one look after it was first seen has begun, and the
//!   loop that looks does so at once.
//! - **What cannot be read is not over.** A reservation that disappears without a line, because its record was damaged,
//!   say, stays known, and goes on where it was when it can be read again.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use crate::address::Address;
use crate::archive::{Archived, Ending};
use crate::clock::Timestamp;
use crate::id::{ReservationId, RunId, TicketNumber, Token};
use crate::lease::{Lease, Mark, State};
use crate::queue::Ticket;
use crate::record::{Mode, Operation, Reservation};

mod looking;

pub use looking::{Seen, Watcher};

/// The most lines of the archive that one look takes, the newest: they are held in memory together. A stream that is not
/// stopped for days never comes near it; `--since` may.
pub const LINES_MAX: usize = 100_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, by the record that tells of it; when it was seen, where none does.
    pub time: Timestamp,
    /// The holder, or who waits.
    pub run_id: RunId,
    /// The reservation; `None` for a ticket.
    pub reservation_id: Option<ReservationId>,
    /// What it is about.
    pub addresses: Vec<Address>,
    /// The reservation's token; `None` for a ticket.
    pub token: Option<Token>,
    /// The ticket, or that with which the reservation was waited for.
    pub ticket: Option<TicketNumber>,
    /// What happened.
    pub what: What,
}

/// What happened, and what belongs to it.
///
/// Of heartbeats the store keeps the last one, of tickets only those that wait. So several heartbeats between two looks
/// are told as one, a lapse that was ended by a heartbeat before it was seen as that heartbeat, and a ticket that came
/// and went not at all.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum What {
    /// A reservation was granted.
    Granted {
        /// The branch that it was made on.
        branch: Option<String>,
        /// What it keeps out.
        mode: Mode,
        /// What its holder is about to do.
        operation: Option<Operation>,
        /// The lifetime that was asked for.
        ttl_seconds: u32,
        /// When it lapses if no heartbeat extends it.
        expires_at: Timestamp,
    },
    /// It was extended; also by a repeated request.
    Heartbeat {
        /// Who sent it.
        by: RunId,
        /// The effective expiry.
        expires_at: Timestamp,
    },
    /// It was given back or taken away. Nothing more is known where the tombstone cannot be read.
    Released {
        /// By whom.
        by: Option<RunId>,
        /// Whether it was another run's reservation.
        forced: Option<bool>,
        /// Why.
        reason: Option<String>,
    },
    /// It is past its effective expiry; or, once more, with the reservation that superseded it then.
    Lapsed {
        /// The effective expiry.
        expired_at: Timestamp,
        /// What was granted in its place.
        superseded_by: Option<ReservationId>,
        /// Whose that is.
        superseded_by_run: Option<RunId>,
    },
    /// It had lapsed and is active again: by the heartbeat just before this event, or because the clock was set back.
    Revived {
        /// The effective expiry.
        expires_at: Timestamp,
    },
    /// Somebody waits.
    Waiting {
        /// The branch that is waited on.
        branch: Option<String>,
        /// What the reservation would keep out.
        mode: Mode,
        /// What is waited to be done.
        operation: Option<Operation>,
    },
    /// Somebody waits no longer, and no reservation names the ticket.
    GaveUp {},
    /// It was moved into the archive.
    Archived {
        /// How it ended.
        state: Ending,
        /// When.
        ended_at: Timestamp,
    },
}

impl What {
    /// The word that names the event.
    pub const fn as_str(&self) -> &'static str {
        match self {
            What::Granted { .. } => "granted",
            What::Heartbeat { .. } => "heartbeat",
            What::Released { .. } => "released",
            What::Lapsed { .. } => "lapsed",
            What::Revived { .. } => "revived",
            What::Waiting { .. } => "waiting",
            What::GaveUp {} => "gave_up",
            What::Archived { .. } => "archived",
        }
    }

    /// Whether the store keeps it, so that it can be told later: what `--since` tells of the time before.
    const fn is_recorded(&self) -> bool {
        matches!(
            self,
            What::Granted { .. } | What::Released { .. } | What::Lapsed { .. } | What::Archived { .. }
        )
    }
}

impl Event {
    fn of_reservation(reservation: &Reservation, time: Timestamp, what: What) -> Event {
        Event {
            time,
            run_id: reservation.run_id.clone(),
            reservation_id: Some(reservation.reservation_id),
            addresses: reservation.addresses.clone(),
            token: Some(reservation.token),
            ticket: reservation.ticket,
            what,
        }
    }

    fn of_ticket(ticket: &Ticket, time: Timestamp, what: What) -> Event {
        Event {
            time,
            run_id: ticket.run_id.clone(),
            reservation_id: None,
            addresses: ticket.addresses.clone(),
            token: None,
            ticket: Some(ticket.ticket),
            what,
        }
    }
}

/// Whether `ticket` waits for `reservation`, as far as the two tell: it could not stand beside it.
pub fn waits_for(ticket: &Ticket, reservation: &Reservation) -> bool {
    !ticket.run_id.descends_from(&reservation.run_id)
        && ticket.mode.conflicts_with(reservation.mode)
        && ticket
            .addresses
            .iter()
            .any(|wanted| reservation.addresses.iter().any(|held| held.overlaps(wanted)))
}

/// Which events are told.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only those of this run.
    pub run: Option<RunId>,
    /// Only those that overlap this address.
    pub address: Option<Address>,
}

impl EventFilter {
    /// Whether what `run` does at `addresses` is shown.
    pub fn shows(&self, run: &RunId, addresses: &[Address]) -> bool {
        self.run.as_ref().is_none_or(|only| only == run)
            && self.address.as_ref().is_none_or(|only| addresses.iter().any(|address| address.overlaps(only)))
    }
}

/// Which line of the archive is the newest that was read: no two lines agree in this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineMark {
    id: ReservationId,
    archived_at: Timestamp,
    batch_position: u32,
}

impl LineMark {
    pub(crate) const fn of(line: &Archived) -> LineMark {
        LineMark { id: line.id(), archived_at: line.archived_at, batch_position: line.batch_position }
    }
}

/// What one look at a store found, in the order in which it was read.
#[derive(Clone, Debug)]
pub struct Look {
    /// The tickets that count.
    pub tickets: Vec<Ticket>,
    /// Whether they are all: none of them was unreadable.
    pub has_all_tickets: bool,
    /// The live reservations, those that are over among them.
    pub leases: Vec<Lease>,
    /// The clock, read after them.
    pub now: Timestamp,
    /// The lines of the archive that are newer than the newest one of the look before, the newest first.
    pub lines: Vec<Archived>,
    /// Whether the reading came to that line, so that all of these are new.
    pub meets_last: bool,
    /// Whether every file of the archive could be read: else the next look reads these lines again.
    pub has_all_lines: bool,
}

/// Where a reservation was met first, which says what of its past is told.
#[derive(Clone, Copy, Debug)]
enum Past {
    /// It is the past of the stream: nothing of it is told.
    Untold,
    /// What is recorded since this moment is told.
    Since(Timestamp),
    /// It happened while the stream was open.
    Told,
}

/// What was told of a reservation.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says of one event whether it was told, and any may be alone"
)]
struct Known {
    past: Past,
    granted: bool,
    /// When the last heartbeat was sent, and until when it extends.
    beat: Option<(Timestamp, Timestamp)>,
    /// It lapsed and was not revived.
    lapsed: bool,
    superseded: bool,
    released: bool,
    /// The effective expiry as it was seen last; `None` when it is over or was never told.
    expires_at: Option<Timestamp>,
    /// Its newest line.
    line: Option<Archived>,
}

impl Known {
    const fn new(past: Past) -> Known {
        Known {
            past,
            granted: false,
            beat: None,
            lapsed: false,
            superseded: false,
            released: false,
            expires_at: None,
            line: None,
        }
    }

    /// Tells what `lease` shows that was not told yet, in the order in which it happened.
    fn catch_up(&mut self, lease: &Lease, now: Timestamp, tell: &mut Vec<Event>) {
        let reservation = &lease.reservation;
        let state = lease.state(now);
        let expiry = lease.effective_expiry();
        let mut tell = |time, what| tell.push(Event::of_reservation(reservation, time, what));
        if !self.granted {
            self.granted = true;
            let what = What::Granted {
                branch: reservation.branch.clone(),
                mode: reservation.mode,
                operation: reservation.operation,
                ttl_seconds: reservation.ttl_seconds.get(),
                expires_at: reservation.expires_at,
            };
            tell(reservation.created_at, what);
        }
        let released_at = lease.release.content().map(|release| release.released_at);
        let is_over = self.superseded || self.released;
        if let Some(heartbeat) = lease.heartbeat.as_ref().filter(|_| !is_over) {
            let beat = (heartbeat.last_beat_at, heartbeat.extended_expires_at);
            // One that came just too late for a release is a file and nothing else.
            let is_late = released_at.is_some_and(|released| released < heartbeat.last_beat_at);
            if self.beat != Some(beat) && !is_late {
                self.beat = Some(beat);
                tell(beat.0, What::Heartbeat { by: heartbeat.run_id.clone(), expires_at: expiry });
                if std::mem::take(&mut self.lapsed) {
                    tell(beat.0, What::Revived { expires_at: expiry });
                }
            }
        }
        if self.lapsed && state == State::Active {
            self.lapsed = false;
            tell(now, What::Revived { expires_at: expiry });
        }
        let has_lapsed = match state {
            State::Active => false,
            State::Lapsed | State::Superseded => true,
            State::Released => {
                lease.supersession.is_present() || released_at.is_some_and(|released| expiry <= released)
            }
        };
        if has_lapsed && !self.lapsed && !is_over {
            self.lapsed = true;
            tell(expiry, What::Lapsed { expired_at: expiry, superseded_by: None, superseded_by_run: None });
        }
        if lease.supersession.is_present() && !self.superseded {
            self.superseded = true;
            let mark = lease.supersession.content();
            let what = What::Lapsed {
                expired_at: expiry,
                superseded_by: mark.map(|mark| mark.superseded_by),
                superseded_by_run: mark.map(|mark| mark.run_id.clone()),
            };
            tell(mark.map_or(expiry, |mark| mark.superseded_at), what);
        }
        if lease.release.is_present() && !self.released {
            self.released = true;
            let release = match &lease.release {
                Mark::Read(release) => Some(release),
                Mark::Absent | Mark::Present => None,
            };
            let what = What::Released {
                by: release.map(|release| release.run_id.clone()),
                forced: release.map(|release| release.forced),
                reason: release.and_then(|release| release.reason.clone()),
            };
            tell(released_at.unwrap_or_else(|| expiry.min(now)), what);
        }
        self.expires_at = (state == State::Active).then_some(expiry);
    }
}

/// What is known of a store, and was told: see the [module](self).
#[derive(Debug)]
pub struct Watch {
    since: Option<Timestamp>,
    is_first: bool,
    known: BTreeMap<(Token, ReservationId), Known>,
    tickets: BTreeMap<TicketNumber, Ticket>,
    /// The greatest token that the last look showed: what the next one shows up to here is complete.
    greatest: Option<Token>,
    /// The same of the look before that.
    greatest_before: Option<Token>,
    holds_back: bool,
    mark: Option<LineMark>,
    /// What was told to its end and may be read again, because the newest line could not be remembered.
    finished: HashSet<ReservationId>,
}

impl Watch {
    /// Nothing is known yet. What the first look finds is the past: told from `since` on, or not at all.
    pub fn new(since: Option<Timestamp>) -> Watch {
        Watch {
            since,
            is_first: true,
            known: BTreeMap::new(),
            tickets: BTreeMap::new(),
            greatest: None,
            greatest_before: None,
            holds_back: false,
            mark: None,
            finished: HashSet::new(),
        }
    }

    /// The newest line of the archive that was read: the next look reads what is newer.
    pub(crate) const fn mark(&self) -> Option<LineMark> {
        self.mark
    }

    /// Sets where the archive ended before the first look.
    pub(crate) const fn set_mark(&mut self, mark: Option<LineMark>) {
        self.mark = mark;
    }

    /// Whether something was seen that the next look tells: it is worth to look again at once.
    pub const fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// When something happens if nobody does anything: a reservation or a ticket lapses.
    pub fn next_lapse(&self, now: Timestamp) -> Option<Timestamp> {
        let expiries = self.known.values().filter_map(|known| known.expires_at);
        expiries.chain(self.tickets.values().map(|ticket| ticket.expires_at)).filter(|at| *at > now).min()
    }

    /// Takes in what a look found, and tells what is new.
    pub fn look(&mut self, look: &Look) -> Vec<Event> {
        let past = match self.since {
            _ if !self.is_first => Past::Told,
            Some(since) => Past::Since(since),
            None => Past::Untold,
        };
        let live: HashMap<ReservationId, &Lease> =
            look.leases.iter().map(|lease| (lease.reservation.reservation_id, lease)).collect();
        for lease in &look.leases {
            self.known.entry(key(&lease.reservation)).or_insert_with(|| Known::new(past));
        }
        self.take_lines(look, past);

        let mut order = Order::default();
        self.tell_tickets(look, &mut order);
        self.tell_reservations(look, &live, &mut order);

        let shown = look.leases.iter().map(|lease| lease.reservation.token);
        let shown = shown.chain(look.lines.iter().map(|line| line.reservation.token)).max();
        self.greatest_before = self.greatest;
        self.greatest = self.greatest.max(shown);
        self.is_first = false;
        order.into_events()
    }

    fn take_lines(&mut self, look: &Look, past: Past) {
        let mut met = HashSet::new();
        for line in &look.lines {
            // Of two lines of one reservation the newer counts.
            if !met.insert(line.id()) {
                continue;
            }
            let key = key(&line.reservation);
            // A line that may have been read before is that of something new only with a new token.
            let may_be_old = !look.meets_last && self.greatest_before.is_some_and(|told| key.0 <= told);
            if may_be_old && !self.known.contains_key(&key) || self.finished.contains(&line.id()) {
                continue;
            }
            self.known.entry(key).or_insert_with(|| Known::new(past)).line = Some(line.clone());
        }
        if look.has_all_lines {
            self.mark = look.lines.first().map(LineMark::of).or(self.mark);
            self.finished.clear();
        }
    }

    fn tell_reservations(&mut self, look: &Look, live: &HashMap<ReservationId, &Lease>, order: &mut Order) {
        let complete = self.greatest;
        let mut holds_back = false;
        let mut finished = Vec::new();
        for (&(token, id), known) in &mut self.known {
            let from_line;
            let lease = match (live.get(&id), &known.line) {
                (Some(lease), _) => *lease,
                (None, Some(archived)) => {
                    from_line = archived.clone().into_lease();
                    &from_line
                }
                // It cannot be read, or somebody took it out by hand.
                (None, None) => {
                    known.expires_at = None;
                    continue;
                }
            };
            let is_told_at_once = known.granted || matches!(known.past, Past::Untold);
            if !is_told_at_once && complete.is_none_or(|complete| token > complete) {
                holds_back = true;
                continue;
            }
            let mut events = Vec::new();
            known.catch_up(lease, look.now, &mut events);
            if let Some(line) = known.line.as_ref().filter(|_| !live.contains_key(&id)) {
                let what = What::Archived { state: line.state, ended_at: line.ended_at };
                events.push(Event::of_reservation(&line.reservation, line.archived_at, what));
                finished.push((token, id));
            }
            match std::mem::replace(&mut known.past, Past::Told) {
                Past::Untold => events.clear(),
                Past::Since(since) => events.retain(|event| event.time >= since && event.what.is_recorded()),
                Past::Told => {}
            }
            order.add(events);
        }
        for key in finished {
            self.known.remove(&key);
            if !look.has_all_lines {
                self.finished.insert(key.1);
            }
        }
        self.holds_back = holds_back;
    }

    /// Before the reservations are told: those that are finished name tickets too.
    fn tell_tickets(&mut self, look: &Look, order: &mut Order) {
        let waiting: HashSet<TicketNumber> = look.tickets.iter().map(|ticket| ticket.ticket).collect();
        let is_gone = |number: &TicketNumber| look.has_all_tickets && !waiting.contains(number);
        let gone: Vec<TicketNumber> = self.tickets.keys().copied().filter(is_gone).collect();
        if !gone.is_empty() {
            let live = look.leases.iter().map(|lease| &lease.reservation);
            let granted: HashSet<TicketNumber> = live
                .chain(self.known.values().filter_map(|known| Some(&known.line.as_ref()?.reservation)))
                .filter_map(|reservation| reservation.ticket)
                .collect();
            for ticket in gone.iter().filter_map(|number| self.tickets.remove(number)) {
                if !granted.contains(&ticket.ticket) {
                    let time = ticket.expires_at.min(look.now);
                    order.add(vec![Event::of_ticket(&ticket, time, What::GaveUp {})]);
                }
            }
        }
        for ticket in &look.tickets {
            let known = self.tickets.insert(ticket.ticket, ticket.clone());
            if known.is_none() && !self.is_first {
                let what = What::Waiting {
                    branch: ticket.branch.clone(),
                    mode: ticket.mode,
                    operation: ticket.operation,
                };
                order.add(vec![Event::of_ticket(ticket, ticket.created_at, what)]);
            }
        }
    }
}

const fn key(reservation: &Reservation) -> (Token, ReservationId) {
    (reservation.token, reservation.reservation_id)
}

/// Brings the events of one look into one order: by time, where the clock was not set back meanwhile; those of one
/// reservation as they happened, grants by token, always.
#[derive(Default)]
struct Order {
    events: Vec<(Timestamp, Event)>,
    granted_until: Option<Timestamp>,
}

impl Order {
    /// Adds what happened to one reservation, or to one ticket. Reservations come in the order of their tokens.
    fn add(&mut self, events: Vec<Event>) {
        let mut until = None;
        for event in events {
            let mut at = until.map_or(event.time, |until| event.time.max(until));
            if matches!(event.what, What::Granted { .. }) {
                at = self.granted_until.map_or(at, |until| at.max(until));
                self.granted_until = Some(at);
            }
            until = Some(at);
            self.events.push((at, event));
        }
    }

    fn into_events(mut self) -> Vec<Event> {
        self.events.sort_by_key(|(at, _)| *at);
        self.events.into_iter().map(|(_, event)| event).collect()
    }
}

#[cfg(test)]
mod tests;
