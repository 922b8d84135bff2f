//! The reference model: what an engine means, without files. Property tests hold the others against it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::address::Address;
use crate::archive::{Archived, BATCH_MAX, Collected, Ending, Retention};
use crate::clock::{Clock, Timestamp};
use crate::decide::{Blocker, Candidate, Conflict, Decision, Request, decide};
use crate::engine::changes::{Changes, Interest, Polling};
use crate::engine::{
    Beat, Beaten, Engine, EngineError, Grant, Lines, Listing, ReleaseRequest, Released, Reserved, Turn,
};
use crate::id::{ReservationId, RunId, TicketNumber, Token};
use crate::lease::{Lease, Mark, State};
use crate::progress::Progress;
use crate::queue::{Queue, Ticket, deadlock, position};
use crate::record::{Mode, RecordError, Release};

/// Reservations in memory, lost with the value.
#[derive(Debug)]
pub struct MemoryEngine<C> {
    clock: C,
    state: Mutex<Contents>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    leases: BTreeMap<ReservationId, Lease>,
    tickets: BTreeMap<TicketNumber, Ticket>,
    last_token: Option<Token>,
    /// The oldest line first.
    archive: Vec<Archived>,
}

impl Contents {
    fn archived(&self, id: ReservationId) -> Option<&Archived> {
        self.archive.iter().rev().find(|line| line.id() == id)
    }
}

/// A copy of what it holds now.
impl<C: Clone + Clock> Clone for MemoryEngine<C> {
    fn clone(&self) -> MemoryEngine<C> {
        MemoryEngine { clock: self.clock.clone(), state: Mutex::new(self.contents().clone()) }
    }
}

impl<C: Clock> MemoryEngine<C> {
    /// An engine that holds nothing.
    pub fn new(clock: C) -> MemoryEngine<C> {
        MemoryEngine { clock, state: Mutex::default() }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Every method leaves the contents whole, so a panic of another thread does not spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The model has no files; its errors name what would be one.
fn unexpected(source: RecordError) -> EngineError {
    EngineError::Damaged { path: PathBuf::from("memory"), source }
}

/// A request that somebody is in the way of.
struct Denial<'a> {
    contents: MutexGuard<'a, Contents>,
    conflicts: Vec<Conflict>,
    candidates: Vec<Candidate>,
    ahead: Vec<Ticket>,
    now: Timestamp,
}

impl Contents {
    /// The tickets that a request has to respect; those that lapsed long ago are taken away.
    fn tickets_ahead(&mut self, request: &Request, own: Option<TicketNumber>, now: Timestamp) -> Vec<Ticket> {
        if request.mode == Mode::Advisory {
            return Vec::new();
        }
        self.tickets.retain(|_, ticket| !ticket.is_forgotten(now));
        let is_ahead = |ticket: &&Ticket| ticket.is_live(now) && own.is_none_or(|own| ticket.ticket < own);
        self.tickets.values().filter(is_ahead).cloned().collect()
    }

    fn has_place(&self, ticket: TicketNumber, run: &RunId, now: Timestamp) -> bool {
        self.tickets.get(&ticket).is_some_and(|ticket| ticket.run_id == *run && !ticket.has_lapsed(now))
    }
}

impl<C: Clock> MemoryEngine<C> {
    /// Grants `request`, which waits with the ticket of `place`, if it does, or answers what `denied` makes of the
    /// denial, or what stands beside the ticket if that place is lost.
    fn attempt<A: From<Reserved>>(
        &self,
        request: &Request,
        place: Option<(TicketNumber, A)>,
        denied: impl FnOnce(Denial<'_>) -> Result<A, EngineError>,
    ) -> Result<A, EngineError> {
        let mut contents = self.contents();
        let now = self.clock.now();
        let ticket = match place {
            Some((ticket, lost)) if !contents.has_place(ticket, &request.run, now) => return Ok(lost),
            Some((ticket, _)) => Some(ticket),
            None => None,
        };
        let ahead = contents.tickets_ahead(request, ticket, now);
        let mut void = false;
        if let Some(take_over) = &request.take_over {
            let Some(target) = contents.leases.get(&take_over.reservation) else {
                return Ok(Reserved::NothingToTakeOver.into());
            };
            void = matches!(target.state(now), State::Released | State::Superseded);
            if !void && !request.overlaps(&target.reservation) {
                return Ok(Reserved::TakeOverElsewhere.into());
            }
        }
        let plain = Request { take_over: request.take_over.clone().filter(|_| !void), ..request.clone() };
        let request = &plain;
        let candidates: Vec<Candidate> = contents
            .leases
            .values()
            .filter(|lease| !lease.release.is_present() && !lease.supersession.is_present())
            .map(|lease| Candidate { lease: lease.clone(), being_extended: false })
            .collect();
        match decide(request, &candidates, &ahead, now) {
            Decision::Deny { conflicts } => denied(Denial { contents, conflicts, candidates, ahead, now }),
            Decision::Renew { candidate, notices } => {
                let mut lease = candidates[candidate].lease.clone();
                lease.heartbeat = Some(lease.renewal(request.ttl, now));
                contents.leases.insert(lease.reservation.reservation_id, lease.clone());
                Ok(Reserved::Granted(Box::new(Grant::renewal(lease, notices, void))).into())
            }
            Decision::Grant { supersede, notices } => {
                let token = Token::next(contents.last_token, now.milliseconds_since_1970())
                    .ok_or_else(|| EngineError::TokensExhausted { path: PathBuf::from("memory") })?;
                let reservation = request.reservation_for(ticket, token, now).map_err(unexpected)?;
                let id = reservation.reservation_id;
                for &position in &supersede {
                    let superseded = &candidates[position].lease;
                    let mark = superseded.superseded_by(id, &request.run, now);
                    if let Some(lease) = contents.leases.get_mut(&superseded.reservation.reservation_id) {
                        lease.supersession = Mark::Read(mark);
                    }
                }
                if let Some(take_over) = &request.take_over
                    && let Some(target) = contents.leases.get_mut(&take_over.reservation)
                {
                    target.release = Mark::Read(Release::new(
                        take_over.reservation,
                        Some(&target.reservation.run_id),
                        &request.run,
                        Some(take_over.reason.clone()),
                        now,
                    ));
                }
                let lease = Lease::fresh(reservation);
                contents.last_token = Some(token);
                contents.leases.insert(id, lease.clone());
                Ok(Reserved::Granted(Box::new(Grant {
                    superseded: supersede.len(),
                    take_over_was_void: void,
                    ..Grant::new(lease, notices)
                }))
                .into())
            }
        }
    }
}

impl<C: Clock> Engine for MemoryEngine<C> {
    fn grant(&self, request: &Request) -> Result<Reserved, EngineError> {
        self.attempt(request, None, |denial| Ok(Reserved::Denied { conflicts: denial.conflicts }))
    }

    fn take_turn(&self, request: &Request, ticket: Option<TicketNumber>) -> Result<Turn, EngineError> {
        let place = ticket.map(|ticket| (ticket, Turn::PlaceLost));
        let turn = self.attempt(request, place, |denial| {
            let Denial { mut contents, conflicts, candidates, ahead, now } = denial;
            if request.take_over.is_some() {
                return Ok(Turn::Answered(Reserved::Denied { conflicts }));
            }
            if let Some(cycle) = deadlock(request, &candidates, &ahead, now) {
                return Ok(Turn::Deadlock { cycle });
            }
            let ticket = if let Some(ticket) = ticket {
                ticket
            } else {
                let greatest = contents.tickets.last_key_value().map(|(number, _)| *number);
                let clock = now.milliseconds_since_1970();
                let number = TicketNumber::next(contents.last_token, greatest, clock)
                    .ok_or_else(|| EngineError::TokensExhausted { path: PathBuf::from("memory") })?;
                contents.tickets.insert(number, Ticket::new(number, request, now));
                number
            };
            Ok(Turn::Queued { ticket, position: position(&conflicts), conflicts })
        })?;
        if let (Turn::Answered(Reserved::Granted(_)), Some(ticket)) = (&turn, ticket) {
            self.leave(ticket, &request.run)?;
        }
        Ok(turn)
    }

    fn keep_place(&self, ticket: TicketNumber, run: &RunId) -> Result<bool, EngineError> {
        let mut contents = self.contents();
        let now = self.clock.now();
        let has_place = contents.has_place(ticket, run, now);
        if has_place && let Some(kept) = contents.tickets.get_mut(&ticket) {
            *kept = kept.clone().renewed(now);
        }
        Ok(has_place)
    }

    fn leave(&self, ticket: TicketNumber, run: &RunId) -> Result<(), EngineError> {
        self.contents().tickets.retain(|number, kept| *number != ticket || kept.run_id != *run);
        Ok(())
    }

    fn tickets(&self) -> Result<Queue, EngineError> {
        let now = self.clock.now();
        let contents = self.contents();
        let tickets = contents.tickets.values().filter(|ticket| ticket.is_live(now)).cloned().collect();
        Ok(Queue { tickets, damaged: Vec::new() })
    }

    fn stands_until(&self, conflict: &Conflict) -> Result<Option<Timestamp>, EngineError> {
        let contents = self.contents();
        let now = self.clock.now();
        Ok(match &conflict.blocker {
            Blocker::Waiter(waiter) => contents
                .tickets
                .get(&waiter.ticket)
                .filter(|ticket| ticket.is_live(now))
                .map(|ticket| ticket.expires_at),
            Blocker::Holder(holder) => contents
                .leases
                .get(&holder.reservation_id)
                .filter(|lease| lease.state(now) == State::Active)
                .map(Lease::effective_expiry),
        })
    }

    fn changes(&self, _: Interest) -> Result<Box<dyn Changes>, EngineError> {
        Ok(Box::new(Polling))
    }

    fn beat(&self, beat: &Beat) -> Result<Beaten, EngineError> {
        let mut contents = self.contents();
        let now = self.clock.now();
        let Some(lease) = contents.leases.get_mut(&beat.reservation) else {
            return Ok(Beaten::NotFound);
        };
        if lease.release.is_present() {
            return Ok(Beaten::Released);
        }
        if let Mark::Read(mark) = &lease.supersession {
            return Ok(Beaten::Superseded(mark.clone()));
        }
        let lapsed_seconds = lease.lapsed_seconds(now);
        let heartbeat = lease.beat(&beat.run, beat.extension, now);
        lease.heartbeat = Some(heartbeat.clone());
        Ok(Beaten::Extended {
            heartbeat,
            holder: lease.reservation.run_id.clone(),
            lapsed_seconds,
            already_over: false,
        })
    }

    fn release(
        &self,
        request: &ReleaseRequest,
    ) -> Result<Vec<(ReservationId, Result<Released, EngineError>)>, EngineError> {
        let mut contents = self.contents();
        let now = self.clock.now();
        let mut answers = Vec::with_capacity(request.reservations.len());
        for &id in &request.reservations {
            let is_archived = contents.archived(id).is_some_and(|line| line.state == Ending::Released);
            let answer = match contents.leases.get_mut(&id) {
                None if is_archived => Released::AlreadyReleased,
                None => Released::NotFound,
                Some(lease) if lease.release.is_present() => Released::AlreadyReleased,
                Some(lease) if lease.reservation.run_id != request.run && !request.force => {
                    Released::NotHolder { holder: lease.reservation.run_id.clone() }
                }
                Some(lease) => {
                    lease.release = Mark::Read(Release::new(
                        id,
                        Some(&lease.reservation.run_id),
                        &request.run,
                        request.reason.clone(),
                        now,
                    ));
                    Released::Released
                }
            };
            answers.push((id, Ok(answer)));
        }
        Ok(answers)
    }

    fn find(&self, id: ReservationId) -> Result<Option<Lease>, EngineError> {
        Ok(self.contents().leases.get(&id).cloned())
    }

    fn live(&self) -> Result<Listing, EngineError> {
        let mut listing = self.history()?;
        listing.leases.retain(|lease| !lease.release.is_present() && !lease.supersession.is_present());
        Ok(listing)
    }

    fn overlapping(&self, _: &[Address]) -> Result<Listing, EngineError> {
        self.live()
    }

    fn superseded(&self, run: &RunId) -> Result<Listing, EngineError> {
        Ok(self.history()?.superseded_of(run))
    }

    fn history(&self) -> Result<Listing, EngineError> {
        let leases = self.contents().leases.values().cloned().collect();
        Ok(Listing { leases, ..Listing::default() })
    }

    fn newest(&self, _: usize, _: &dyn Fn(&Lease) -> bool) -> Result<Listing, EngineError> {
        self.history()
    }

    fn collect(&self, retention: &Retention, _: &dyn Progress) -> Result<Collected, EngineError> {
        let mut contents = self.contents();
        let now = self.clock.now();
        let mut over: Vec<(Token, ReservationId, Timestamp)> = contents
            .leases
            .values()
            .filter_map(|lease| {
                let reservation = &lease.reservation;
                Some((reservation.token, reservation.reservation_id, retention.ended_at(lease, now)?))
            })
            .collect();
        over.sort_by_key(|(token, ..)| *token);
        over.truncate(retention.at_most.unwrap_or(usize::MAX));
        let mut collected = Collected::default();
        for (position, (_, id, ended_at)) in over.into_iter().enumerate() {
            collected.count(ended_at);
            if retention.dry_run {
                continue;
            }
            let before = contents.archive.last().map(Archived::bounds);
            let batch_position = u32::try_from(position % BATCH_MAX).unwrap_or_default();
            let line = contents
                .leases
                .remove(&id)
                .and_then(|lease| Archived::of(lease, before, batch_position, now));
            if let Some(line) = line {
                collected.bytes += line.to_line().map_err(unexpected)?.len() as u64;
                contents.archive.push(line);
            }
        }
        Ok(collected)
    }

    fn archived(&self) -> Result<Lines<'_>, EngineError> {
        let lines = self.contents().archive.clone();
        Ok(Box::new(lines.into_iter().rev().map(Ok)))
    }

    fn find_archived(&self, id: ReservationId) -> Result<Option<Archived>, EngineError> {
        Ok(self.contents().archived(id).cloned())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
