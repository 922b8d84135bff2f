//! An edit that is about to happen: what it touches is reserved for the session's run, or it is denied.

use std::path::Path;
use std::thread;

use muse_coord::check::check;
use muse_coord::decide::Candidate;
use muse_coord::{
    Address, AnyEngine, Beat, Beaten, CheckRequest, Conflict, Coordinator, Engine, EngineError, Lease, Mode,
    Operation, ReleaseRequest, Request, ReservationId, Reserved, RunId, Stopwatch, SystemClock, TtlSeconds,
};
use muse_guard::harness::Answer;
use muse_guard::{Change, Edit, Footprint};
use muse_repo::Repository;

use super::files::Files;
use super::words;
use crate::context::{Context, Purpose};
use crate::error::CommandError;

/// For how long an edit holds what it touches, in seconds; from the spec. Each further edit of the same extends it.
const TTL_SECONDS: u32 = 900;

/// How often it is begun anew because a reservation of the run went away in between.
const ROUNDS_MAX: usize = 3;

/// Why what is new is given back.
const TAKEN_BACK: &str = "the edit was denied, or could not be checked";

/// Reserves what the edits touch, in each of the repositories, or denies them: all of it or nothing.
///
/// Whoever is in the way in one of them is, whatever cannot be told of another.
pub(super) fn guard(
    edits: &[Edit],
    folder: &Path,
    run: &RunId,
    repositories: &[Result<Repository, String>],
    context: &Context,
) -> Result<Answer, String> {
    let clock = Stopwatch::start();
    let mut guards = Vec::new();
    let mut answer = Ok(Answer::Pass);
    for repository in repositories {
        let guarded = repository.as_ref().map_err(String::clone);
        match guarded.and_then(|repository| guard_in(edits, folder, run.clone(), repository, context, &clock))
        {
            Ok((Answer::Pass, guard)) => guards.extend(guard),
            Ok((denied, _)) => {
                answer = Ok(denied);
                break;
            }
            Err(error) => answer = answer.and(Err(error)),
        }
    }
    if answer != Ok(Answer::Pass) {
        guards.iter_mut().for_each(Guard::take_back);
    }
    answer
}

/// Reserves what the edits touch in one repository, or denies them. What was reserved can be taken back.
fn guard_in(
    edits: &[Edit],
    folder: &Path,
    run: RunId,
    repository: &Repository,
    context: &Context,
    clock: &Stopwatch,
) -> Result<(Answer, Option<StoreGuard>), String> {
    let mut files = Files::new(repository, folder);
    for edit in edits {
        files.follow(edit)?;
    }
    let engine = context.engine(repository, Purpose::Ask).map_err(|error| error.message)?;
    let coordinator = Coordinator::new(engine);
    let (footprint, seen) =
        beside_each_other(|| files.footprint(clock), || look(&coordinator, &files.addresses()));
    let footprint = footprint?;
    if footprint.is_empty() {
        return Ok((Answer::Pass, None));
    }
    let deletes = edits.iter().all(|edit| edit.change == Change::Delete);
    let mut guard = Guard {
        coordinator,
        run,
        operation: if deletes { Operation::Delete } else { Operation::Modify },
        // It is for people: that it cannot be told stops nobody.
        branch: repository.branch().unwrap_or_default(),
        new: Vec::new(),
    };
    let conflicts = guard.hold(&footprint, seen)?;
    let answer = if let Some(conflicts) = conflicts {
        let (whole, top) = (footprint.whole(), repository.top());
        Answer::Deny(words::denial(&conflicts, &guard.run, whole, folder, top))
    } else {
        // There is nobody to tell that it cannot be.
        drop(context.note_grant(repository, guard.coordinator.engine()));
        Answer::Pass
    };
    Ok((answer, Some(guard)))
}

/// Does the one while a thread of its own does the other. `None` where no thread can be had: then it is done when it is
/// needed.
fn beside_each_other<T, U: Send>(
    here: impl FnOnce() -> T,
    there: impl FnOnce() -> U + Send,
) -> (T, Option<U>) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, there);
        let done = here();
        (done, thread.ok().and_then(|thread| thread.join().ok()))
    })
}

/// What stands in the way of these addresses, or could; an error where some of that cannot be read.
fn look<E: Engine>(coordinator: &Coordinator<E>, addresses: &[Address]) -> Seen {
    let listing = coordinator.engine().overlapping(addresses).map_err(told)?;
    match listing.damaged.into_iter().next() {
        Some(error) => Err(told(error)),
        None => Ok(listing.leases),
    }
}

struct Guard<E> {
    coordinator: Coordinator<E>,
    run: RunId,
    operation: Operation,
    branch: Option<String>,
    /// What was reserved for the edit, and was not held before it.
    new: Vec<ReservationId>,
}

/// One of the store that is configured.
type StoreGuard = Guard<AnyEngine<SystemClock>>;

/// What a look at the store saw.
type Seen = Result<Vec<Lease>, String>;

/// What is touched, as the run stands to it.
struct Need {
    /// What is not held yet.
    request: CheckRequest,
    /// The run's own reservations that hold the rest.
    own: Vec<Lease>,
}

impl<E: Engine> Guard<E> {
    /// Holds all of the footprint, or tells who is in the way; nothing new is held then, nor after a failure. `seen` is
    /// what a look at all of its files saw, if there was one.
    fn hold(&mut self, footprint: &Footprint, seen: Option<Seen>) -> Result<Option<Vec<Conflict>>, String> {
        let held = self.try_to_hold(footprint, seen);
        if !matches!(held, Ok(None)) {
            self.take_back();
        }
        held
    }

    fn try_to_hold(
        &mut self,
        footprint: &Footprint,
        seen: Option<Seen>,
    ) -> Result<Option<Vec<Conflict>>, String> {
        // What is damaged may be in the way of another part of a file: that is looked for by the footprint alone.
        let mut seen = seen.and_then(Result::ok);
        for _ in 0..ROUNDS_MAX {
            let standing = match seen.take() {
                Some(standing) => standing,
                None => look(
                    &self.coordinator,
                    &footprint.exclusive().chain(footprint.shared()).cloned().collect::<Vec<_>>(),
                )?,
            };
            let (need, candidates) = self.need(footprint, standing);
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

    /// What of the footprint the run holds, and what it does not; and `standing`, to decide by.
    fn need(&self, footprint: &Footprint, standing: Vec<Lease>) -> (Need, Vec<Candidate>) {
        let mut own: Vec<Lease> = Vec::new();
        let mut is_held = |address: &Address, mode: Mode| {
            let holds = |lease: &&Lease| {
                let reservation = &lease.reservation;
                reservation.run_id == self.run
                    && (reservation.mode == Mode::Exclusive || reservation.mode == mode)
                    && reservation.addresses.iter().any(|held| held.covers(address))
            };
            let Some(lease) = standing.iter().find(holds) else { return false };
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
            standing.into_iter().map(|lease| Candidate { lease, being_extended: false }).collect();
        (Need { request, own }, candidates)
    }

    /// Reserves what is not held yet.
    fn reserve(&mut self, need: &CheckRequest) -> Result<Option<Vec<Conflict>>, String> {
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
            match self.coordinator.reserve(&request).map_err(told)? {
                Reserved::Granted(grant) => {
                    self.new.extend((!grant.renewed).then_some(grant.lease.reservation.reservation_id));
                }
                Reserved::Denied { conflicts } => return Ok(Some(conflicts)),
                Reserved::NothingToTakeOver | Reserved::TakeOverElsewhere => {
                    return Err("a take-over was answered that nobody asked for".to_owned());
                }
            }
        }
        Ok(None)
    }

    /// Gives back what is new. What cannot be given back lapses: the answer is the same.
    fn take_back(&mut self) {
        if self.new.is_empty() {
            return;
        }
        let request = ReleaseRequest {
            reservations: std::mem::take(&mut self.new),
            run: self.run.clone(),
            reason: Some(TAKEN_BACK.to_owned()),
            force: false,
        };
        drop(self.coordinator.release(&request));
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
    use muse_coord::{Filter, ManualClock, MemoryEngine};
    use muse_guard::Unclear;

    use super::*;

    #[test]
    fn the_time_is_that_of_the_spec() {
        assert_eq!(ttl().get(), TTL_SECONDS);
    }

    /// A lapsed reservation of the run goes to another run while the rest is being reserved.
    #[test]
    fn what_was_reserved_in_an_earlier_round_goes_back() {
        let clock = std::sync::Arc::new(ManualClock::at_seconds(1000));
        let run = |name: &str| RunId::new(name).unwrap();
        let mut guard = Guard {
            coordinator: Coordinator::new(MemoryEngine::new(std::sync::Arc::clone(&clock))),
            run: run("session"),
            operation: Operation::Modify,
            branch: None,
            new: Vec::new(),
        };
        let reserve = |guard: &Guard<_>, name: &str| {
            let request = Request::new(run(name), vec!["a".parse().unwrap()], TtlSeconds::new(1).unwrap());
            assert!(matches!(guard.coordinator.reserve(&request), Ok(Reserved::Granted(_))));
        };
        reserve(&guard, "session");
        clock.advance_seconds(2);
        let mut footprint = Footprint::default();
        for path in ["a", "b"] {
            footprint.add_whole(path, Unclear::NotTold).unwrap();
        }
        let standing = look(&guard.coordinator, &["a".parse().unwrap(), "b".parse().unwrap()]).unwrap();
        let (need, _) = guard.need(&footprint, standing);
        assert_eq!(guard.reserve(&need.request), Ok(None));
        reserve(&guard, "other");
        assert_eq!(guard.extend(&need.own), Ok(false));
        assert!(guard.hold(&footprint, None).unwrap().is_some());
        let listing = guard.coordinator.list(&Filter::default()).unwrap();
        let holders: Vec<RunId> = listing.leases.into_iter().map(|lease| lease.reservation.run_id).collect();
        assert_eq!(holders, [run("other")]);
    }
}
