//! The reference model: what an engine means, without files. Property tests hold the others against it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::address::Address;
use crate::archive::{Archived, BATCH_MAX, Collected, Ending, Retention};
use crate::clock::{Clock, Timestamp};
use crate::decide::{Candidate, Decision, Request, decide};
use crate::engine::{
    Beat, Beaten, Engine, EngineError, Grant, Lines, Listing, ReleaseRequest, Released, Reserved,
};
use crate::id::{ReservationId, Token};
use crate::lease::{Lease, Mark, State};
use crate::progress::Progress;
use crate::record::{RecordError, Release};

/// Reservations in memory, lost with the value.
#[derive(Debug)]
pub struct MemoryEngine<C> {
    clock: C,
    state: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    leases: BTreeMap<ReservationId, Lease>,
    last_token: Option<Token>,
    /// The oldest line first.
    archive: Vec<Archived>,
}

impl Contents {
    fn archived(&self, id: ReservationId) -> Option<&Archived> {
        self.archive.iter().rev().find(|line| line.id() == id)
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

impl<C: Clock> Engine for MemoryEngine<C> {
    fn grant(&self, request: &Request) -> Result<Reserved, EngineError> {
        let mut contents = self.contents();
        let now = self.clock.now();
        let mut void = false;
        if let Some(take_over) = &request.take_over {
            let Some(target) = contents.leases.get(&take_over.reservation) else {
                return Ok(Reserved::NothingToTakeOver);
            };
            void = matches!(target.state(now), State::Released | State::Superseded);
            if !void && !request.overlaps(&target.reservation) {
                return Ok(Reserved::TakeOverElsewhere);
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
        match decide(request, &candidates, now) {
            Decision::Deny { conflicts } => Ok(Reserved::Denied { conflicts }),
            Decision::Renew { candidate, notices } => {
                let mut lease = candidates[candidate].lease.clone();
                lease.heartbeat = Some(lease.renewal(request.ttl, now));
                contents.leases.insert(lease.reservation.reservation_id, lease.clone());
                Ok(Reserved::Granted(Box::new(Grant {
                    lease,
                    renewed: true,
                    notices,
                    superseded: 0,
                    take_over_was_void: void,
                })))
            }
            Decision::Grant { supersede, notices } => {
                let token = Token::next(contents.last_token, now.milliseconds_since_1970())
                    .ok_or_else(|| EngineError::TokensExhausted { path: PathBuf::from("memory") })?;
                let reservation = request.reservation(token, now).map_err(unexpected)?;
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
                    lease,
                    renewed: false,
                    notices,
                    superseded: supersede.len(),
                    take_over_was_void: void,
                })))
            }
        }
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

    fn history(&self) -> Result<Listing, EngineError> {
        let leases = self.contents().leases.values().cloned().collect();
        Ok(Listing { leases, ..Listing::default() })
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
