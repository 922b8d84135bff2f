//! An edit that is about to happen: what it touches is reserved for the session's run, or it is denied.

use std::path::Path;

use muse_coord::check::check;
use muse_coord::decide::Candidate;
use muse_coord::{
    Address, Beat, Beaten, CheckRequest, Conflict, Coordinator, Engine, EngineError, FileEngine, Lease, Mode,
    Operation, ReleaseRequest, Request, ReservationId, Reserved, RunId, SystemClock, TtlSeconds,
};
use muse_guard::harness::Answer;
use muse_guard::{Change, Edit, Footprint};
use muse_repo::Repository;

use super::files::Files;
use super::words;
use crate::context::Context;
use crate::error::CommandError;

/// For how long an edit holds what it touches, in seconds; from the spec. Each further edit of the same extends it.
const TTL_SECONDS: u32 = 900;

/// How often it is begun anew because a reservation of the run went away in between.
const ROUNDS_MAX: usize = 3;

/// Why the first of two reservations is given back: the second was denied.
const TAKEN_BACK: &str = "the edit was denied";

/// Reserves what the edits touch, or denies them.
pub(super) fn guard(
    edits: &[Edit],
    folder: &Path,
    run: RunId,
    repository: &Repository,
    context: &Context,
) -> Result<Answer, String> {
    let mut files = Files::new(repository, folder);
    for edit in edits {
        files.follow(edit)?;
    }
    let footprint = files.footprint()?;
    if footprint.is_empty() {
        return Ok(Answer::Pass);
    }
    let coordinator = Coordinator::new(context.engine(repository));
    let deletes = edits.iter().all(|edit| edit.change == Change::Delete);
    let mut guard = Guard {
        coordinator,
        run,
        operation: if deletes { Operation::Delete } else { Operation::Modify },
        // It is for people: that it cannot be told stops nobody.
        branch: repository.branch().unwrap_or_default(),
    };
    let conflicts = guard.hold(&footprint)?;
    Ok(match conflicts {
        Some(conflicts) => Answer::Deny(words::denial(&conflicts, &guard.run, footprint.whole())),
        None => Answer::Pass,
    })
}

struct Guard {
    coordinator: Coordinator<FileEngine<SystemClock>>,
    run: RunId,
    operation: Operation,
    branch: Option<String>,
}

/// What is touched, as the run stands to it.
struct Need {
    /// What is not held yet.
    request: CheckRequest,
    /// The run's own reservations that hold the rest.
    own: Vec<Lease>,
}

impl Guard {
    /// Holds all of the footprint, or tells who is in the way; nothing is changed then.
    fn hold(&mut self, footprint: &Footprint) -> Result<Option<Vec<Conflict>>, String> {
        for _ in 0..ROUNDS_MAX {
            let (need, candidates) = self.look(footprint)?;
            // A look that locks nothing and writes nothing: most denials end here.
            let now = self.coordinator.engine().now();
            let conflicts = check(&need.request, &candidates, &[], &[], now).conflicts;
            if !conflicts.is_empty() {
                return Ok(Some(conflicts));
            }
            if let Some(conflicts) = self.reserve(&need.request)? {
                return Ok(Some(conflicts));
            }
            if self.extend(&need.own)? {
                return Ok(None);
            }
        }
        Err("the run's own reservations kept being taken away".to_owned())
    }

    /// What of the footprint the run holds, and what it does not.
    fn look(&self, footprint: &Footprint) -> Result<(Need, Vec<Candidate>), String> {
        let all: Vec<Address> = footprint.exclusive().chain(footprint.shared()).cloned().collect();
        let listing = self.coordinator.engine().overlapping(&all).map_err(told)?;
        if let Some(error) = listing.damaged.into_iter().next() {
            return Err(told(error));
        }
        let mut own: Vec<Lease> = Vec::new();
        let mut is_held = |address: &Address, mode: Mode| {
            let holds = |lease: &&Lease| {
                let reservation = &lease.reservation;
                reservation.run_id == self.run
                    && (reservation.mode == Mode::Exclusive || reservation.mode == mode)
                    && reservation.addresses.iter().any(|held| held.covers(address))
            };
            let Some(lease) = listing.leases.iter().find(holds) else { return false };
            if !own.iter().any(|known| known.reservation.reservation_id == lease.reservation.reservation_id) {
                own.push(lease.clone());
            }
            true
        };
        let exclusive = footprint.exclusive().filter(|address| !is_held(address, Mode::Exclusive));
        let exclusive: Vec<Address> = exclusive.cloned().collect();
        let shared = footprint.shared().filter(|address| !is_held(address, Mode::Shared));
        let shared: Vec<Address> = shared.cloned().collect();
        let request = CheckRequest::new(self.run.clone(), exclusive, shared);
        let candidates =
            listing.leases.into_iter().map(|lease| Candidate { lease, being_extended: false }).collect();
        Ok((Need { request, own }, candidates))
    }

    /// Reserves what is not held yet, all of it or nothing.
    fn reserve(&self, need: &CheckRequest) -> Result<Option<Vec<Conflict>>, String> {
        let mut new: Option<ReservationId> = None;
        for (addresses, mode) in [(&need.exclusive, Mode::Exclusive), (&need.shared, Mode::Shared)] {
            if addresses.is_empty() {
                continue;
            }
            let request = Request {
                mode,
                operation: Some(self.operation),
                branch: self.branch.clone(),
                ..Request::new(self.run.clone(), addresses.clone(), ttl())
            };
            let reserved = self.coordinator.reserve(&request);
            match reserved {
                Ok(Reserved::Granted(grant)) => {
                    new = new.or((!grant.renewed).then_some(grant.lease.reservation.reservation_id));
                }
                Ok(Reserved::Denied { conflicts }) => {
                    self.take_back(new)?;
                    return Ok(Some(conflicts));
                }
                Ok(Reserved::NothingToTakeOver | Reserved::TakeOverElsewhere) => {
                    return Err("a take-over was answered that nobody asked for".to_owned());
                }
                Err(error) => {
                    self.take_back(new).unwrap_or_default();
                    return Err(told(error));
                }
            }
        }
        Ok(None)
    }

    fn take_back(&self, new: Option<ReservationId>) -> Result<(), String> {
        let Some(new) = new else { return Ok(()) };
        let request = ReleaseRequest {
            reservations: vec![new],
            run: self.run.clone(),
            reason: Some(TAKEN_BACK.to_owned()),
            force: false,
        };
        for (_, released) in self.coordinator.release(&request).map_err(told)? {
            released.map_err(told)?;
        }
        Ok(())
    }

    /// Extends what the run holds already, and never shortens it; `false` if some of it is gone.
    fn extend(&self, own: &[Lease]) -> Result<bool, String> {
        for lease in own {
            if lease.effective_expiry() >= self.coordinator.engine().now().plus_seconds(TTL_SECONDS) {
                continue;
            }
            let beat = Beat {
                reservation: lease.reservation.reservation_id,
                run: self.run.clone(),
                extension: ttl(),
            };
            match self.coordinator.heartbeat(&beat).map_err(told)? {
                Beaten::Extended { .. } => {}
                Beaten::Released | Beaten::Superseded(_) | Beaten::NotFound => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn ttl() -> TtlSeconds {
    // In range, as a test makes sure.
    TtlSeconds::new(TTL_SECONDS.into()).unwrap_or(TtlSeconds::DEFAULT)
}

fn told(error: EngineError) -> String {
    CommandError::from(error).message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_spec() {
        assert_eq!(ttl().get(), TTL_SECONDS);
    }
}
