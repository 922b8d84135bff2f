//! `muse coord reserve`.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use muse_coord::{
    Address, AnyEngine, Conflict, Coordinator, Grant, Mode, Notice, Operation, Request, ReservationId,
    Reserved, RunId, Stopwatch, SystemClock, TakeOver, Timestamp, Token, Waited,
};
use muse_repo::Repository;
use serde::Serialize;

use crate::args::ReserveArgs;
use crate::commands::{reason, reservation_id, ttl};
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::guard::unknown;
use crate::output::{Answer, Report, Screen, print, print_or_take_back};
use crate::report::{doing, duration};
use crate::wait::{self, Interrupts, Refusal, SHOWN_MAX, more, patience, take_back};

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ReserveReport {
    Granted(Granted),
    Refused(Refusal),
}

#[derive(Debug, Serialize)]
pub(crate) struct Granted {
    status: &'static str,
    reservation_id: ReservationId,
    token: Token,
    run_id: RunId,
    branch: Option<String>,
    addresses: Vec<Address>,
    mode: Mode,
    operation: Option<Operation>,
    ttl_seconds: u32,
    created_at: Timestamp,
    expires_at: Timestamp,
    renewed: bool,
    notices: Vec<Notice>,
    #[serde(skip)]
    expires_in_seconds: u64,
}

impl ReserveReport {
    /// The reservation that was granted, and whether it is one that the run had already.
    pub(crate) const fn granted(&self) -> Option<(ReservationId, bool)> {
        match self {
            ReserveReport::Granted(granted) => Some((granted.reservation_id, granted.renewed)),
            ReserveReport::Refused(_) => None,
        }
    }
}

impl Report for ReserveReport {
    fn exit_code(&self) -> u8 {
        match self {
            ReserveReport::Granted(_) => exit::OK,
            ReserveReport::Refused(refusal) => refusal.exit_code(),
        }
    }

    fn text(&self, screen: &mut Screen) {
        match self {
            ReserveReport::Granted(granted) => {
                screen.result(&format!(
                    "{} {} run={} token={} expires in {}",
                    if granted.renewed { "renewed" } else { "reserved" },
                    granted.reservation_id,
                    granted.run_id,
                    granted.token,
                    duration(granted.expires_in_seconds)
                ));
                for address in &granted.addresses {
                    screen.result(&format!("  {address}"));
                }
                for notice in granted.notices.iter().take(SHOWN_MAX) {
                    screen.warning(&not_stopped(notice));
                }
                more(screen, granted.notices.len(), "notices");
            }
            ReserveReport::Refused(refusal) => refusal.text(screen),
        }
    }

    fn carried_out(&self) -> Option<&'static str> {
        match self {
            ReserveReport::Granted(_) => Some("the reservation was made: see `muse coord list`"),
            ReserveReport::Refused(_) => None,
        }
    }
}

/// A notice in one sentence.
pub(super) fn not_stopped(notice: &Notice) -> String {
    format!("{}, and you were not stopped", describe(notice))
}

/// Who has what, in one sentence.
fn describe(notice: &Notice) -> String {
    let holder = &notice.holder;
    let held = if notice.address == notice.held_address {
        String::new()
    } else {
        format!(" as `{}`", notice.held_address)
    };
    let left = match holder.expires_in_seconds {
        0 => "in the middle of a heartbeat".to_owned(),
        seconds => format!("for {} more", duration(seconds)),
    };
    format!(
        "`{}` is held{held} by run `{}`{} {left}",
        notice.address,
        holder.run_id,
        doing(holder.operation, holder.branch.as_deref())
    )
}

/// Runs the command, prints its answer and returns the exit code.
pub(crate) fn run(args: &ReserveArgs, context: &Context) -> u8 {
    match patience(args.terms.wait) {
        Ok(Duration::ZERO) => print(at_once(args, context), context),
        Ok(patience) => in_turn(args, patience, context),
        Err(error) => print::<ReserveReport>(Err(error), context),
    }
}

/// Reserves, or says who is in the way.
fn at_once(args: &ReserveArgs, context: &Context) -> Result<Answer<ReserveReport>, CommandError> {
    let mut wanted = Wanted::of(args, context)?;
    let reserved = wanted.coordinator.reserve(&wanted.request)?;
    let report = wanted.answered(reserved, context)?;
    Ok(Answer { report, warnings: wanted.warnings })
}

/// Reserves, and waits if somebody is in the way. A grant that nobody can be told of is given back.
fn in_turn(args: &ReserveArgs, patience: Duration, context: &Context) -> u8 {
    let waited = Wanted::of(args, context).and_then(|mut wanted| {
        let interrupts = Interrupts::listen()?;
        let report = wanted.in_turn(patience, interrupts.descriptor(), context)?;
        Ok((wanted, interrupts, report))
    });
    let (Wanted { request, coordinator, warnings, .. }, interrupts, report) = match waited {
        Ok(waited) => waited,
        Err(error) => return print::<ReserveReport>(Err(error), context),
    };
    let run = &request.run;
    let report = report.unwrap_or_else(|| {
        let done = "nothing is held, and the place is given up";
        ReserveReport::Refused(Refusal::interrupted(interrupts.ending(), done))
    });
    let new = match &report {
        ReserveReport::Granted(granted) if !granted.renewed => granted.reservation_id,
        _ => return tell(Answer { report, warnings }, context),
    };
    // Whoever sent the signal does not wait for an answer.
    if interrupts.received().is_some() {
        let done = take_back(&coordinator, new, run);
        let report = ReserveReport::Refused(Refusal::interrupted(interrupts.ending(), &done));
        return tell(Answer { report, warnings }, context);
    }
    print_or_take_back(&Answer { report, warnings }, context, || take_back(&coordinator, new, run))
}

/// Prints an answer after which nothing is left to be done. If a key of the terminal has ended the wait, it ends this
/// process too, so that the script or the loop around it does not go on.
pub(super) fn tell(answer: Answer<ReserveReport>, context: &Context) -> u8 {
    let key = match &answer.report {
        ReserveReport::Refused(refusal) => refusal.key(),
        ReserveReport::Granted(_) => None,
    };
    let code = print(Ok(answer), context);
    if let Some(key) = key {
        key.end_by_it();
    }
    code
}

/// What is asked for, and where.
struct Wanted {
    request: Request,
    coordinator: Coordinator<AnyEngine<SystemClock>>,
    /// What the addresses are of.
    repository: Repository,
    warnings: Vec<String>,
}

impl Wanted {
    fn of(args: &ReserveArgs, context: &Context) -> Result<Wanted, CommandError> {
        let run = context.run_id(args.identity.run_id.as_ref())?;
        let ttl = ttl(args.ttl, "--ttl")?;
        let reason = reason(args.reason.as_ref())?;
        check_count(&args.addresses)?;
        let take_over = match (&args.take_over, reason) {
            (Some(id), Some(reason)) => Some(TakeOver { reservation: reservation_id(id)?, reason }),
            _ => None,
        };

        let repository = context.repository()?;
        let mut warnings = Vec::new();
        let addresses = context.addresses(&args.addresses, &repository, &mut warnings)?;
        let mut request = Request::new(run, addresses, ttl);
        request.mode = match (args.terms.shared, args.advisory) {
            (true, _) => Mode::Shared,
            (_, true) => Mode::Advisory,
            _ => Mode::Exclusive,
        };
        request.operation = operation(args.terms.op.as_deref());
        request.take_over = take_over;
        request.branch = branch(&repository, &mut warnings);

        let coordinator = context.coordinator(&repository, Purpose::Ask)?;
        Ok(Wanted { request, coordinator, repository, warnings })
    }

    /// Reserves, and waits for up to `patience` if somebody is in the way; `None` if `interrupt` ended the wait.
    fn in_turn(
        &mut self,
        patience: Duration,
        interrupt: BorrowedFd<'_>,
        context: &Context,
    ) -> Result<Option<ReserveReport>, CommandError> {
        let waiting = Stopwatch::start();
        let waited = wait::reserve(&self.coordinator, &self.request, patience, Some(interrupt), context)?;
        Ok(match waited {
            Waited::Answered(reserved) => Some(self.answered(reserved, context)?),
            Waited::GaveUp { position, conflicts } => {
                let refusal = Refusal::gave_up(waiting.elapsed(), position, conflicts, &self.request.run);
                Some(ReserveReport::Refused(refusal))
            }
            Waited::Deadlock { cycle } => Some(ReserveReport::Refused(Refusal::deadlock(cycle))),
            Waited::Interrupted => None,
        })
    }

    /// The answer to a request that does not wait any more.
    fn answered(&mut self, reserved: Reserved, context: &Context) -> Result<ReserveReport, CommandError> {
        if matches!(reserved, Reserved::Granted(_)) {
            self.warnings.extend(context.note_grant(&self.repository, self.coordinator.engine()));
        }
        answered(reserved, &self.request, self.repository.top(), &mut self.warnings, context)
    }
}

/// What became of a request that was made for somebody else.
pub(crate) struct Served {
    /// `None` if the wait was interrupted.
    pub(crate) answer: Option<Answer<ReserveReport>>,
    pub(crate) coordinator: Coordinator<AnyEngine<SystemClock>>,
    pub(crate) run: RunId,
}

/// Reserves, and waits as `args` say until `interrupt` can be read.
pub(crate) fn serve(
    args: &ReserveArgs,
    interrupt: BorrowedFd<'_>,
    context: &Context,
) -> Result<Served, CommandError> {
    let patience = patience(args.terms.wait)?;
    let mut wanted = Wanted::of(args, context)?;
    let report = wanted.in_turn(patience, interrupt, context)?;
    let Wanted { request, coordinator, warnings, .. } = wanted;
    let answer = report.map(|report| Answer { report, warnings });
    Ok(Served { answer, coordinator, run: request.run })
}

/// The answer, where the addresses are relative to `top`.
fn answered(
    reserved: Reserved,
    request: &Request,
    top: &Path,
    warnings: &mut Vec<String>,
    context: &Context,
) -> Result<ReserveReport, CommandError> {
    match reserved {
        Reserved::Granted(grant) => {
            let now = context.now();
            warnings.extend(grant_warnings(&grant, request, now));
            let kept = grant.lease.reservation.ttl_seconds;
            if !grant.renewed && kept != request.ttl {
                warnings.push(format!(
                    "etcd keeps no reservation for less than {} s: it is for so long, and not for {} s",
                    kept.get(),
                    request.ttl.get()
                ));
            }
            // The store's lock is not held any more, and a grant that was made before has told it.
            if !grant.renewed {
                warnings.extend(unknown::warnings(&grant.lease.reservation.addresses, top));
            }
            Ok(ReserveReport::Granted(granted(*grant, now)))
        }
        Reserved::Denied { conflicts } => Ok(denied(conflicts, &request.run)),
        Reserved::NothingToTakeOver => {
            let message = "there is no such reservation to take over: \
                           see `muse coord list`, or reserve without --take-over";
            let error = CommandError::new(Kind::NotFound, message);
            Err(match &request.take_over {
                Some(take_over) => error.about(take_over.reservation),
                None => error,
            })
        }
        Reserved::TakeOverElsewhere => {
            let message = "the reservation to take over has no address in common with these: \
                           correct the id, or end it with `muse coord release ID --force`";
            Err(CommandError::new(Kind::BadArgs, message))
        }
    }
}

/// Checks the number of addresses, before any file is looked at.
pub(super) fn check_count(addresses: &[OsString]) -> Result<(), CommandError> {
    let (count, max) = (addresses.len(), Request::ADDRESSES_MAX);
    if count <= max {
        return Ok(());
    }
    let message = format!("too many addresses ({count}; at most {max}): reserve folders or globs instead");
    Err(CommandError::new(Kind::BadArgs, message))
}

/// The operation of that name; the parser has seen to it that there is one.
pub(super) fn operation(name: Option<&str>) -> Option<Operation> {
    Operation::ALL.into_iter().find(|operation| name == Some(operation.as_str()))
}

/// The branch to record. It is for people: that it cannot be told must not stop the work.
pub(super) fn branch(repository: &Repository, warnings: &mut Vec<String>) -> Option<String> {
    repository.branch().unwrap_or_else(|error| {
        warnings.push(format!("the branch is not recorded: {error}"));
        None
    })
}

/// The answer to a request that was denied for these `conflicts`, of which there is one at least.
fn denied(conflicts: Vec<Conflict>, run: &RunId) -> ReserveReport {
    ReserveReport::Refused(Refusal::denied(conflicts, run))
}

fn granted(grant: Grant, now: Timestamp) -> Granted {
    let expires_at = grant.lease.effective_expiry();
    let reservation = grant.lease.reservation;
    Granted {
        status: "ok",
        reservation_id: reservation.reservation_id,
        token: reservation.token,
        run_id: reservation.run_id,
        branch: reservation.branch,
        addresses: reservation.addresses,
        mode: reservation.mode,
        operation: reservation.operation,
        ttl_seconds: reservation.ttl_seconds.get(),
        created_at: reservation.created_at,
        expires_at,
        renewed: grant.renewed,
        notices: grant.notices,
        expires_in_seconds: expires_at.seconds_left(now),
    }
}

/// What the holder should know of its grant.
pub(super) fn grant_warnings(grant: &Grant, request: &Request, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    if grant.lease.effective_expiry() <= now {
        let late = "it has lapsed again, because this process was stopped: reserve again";
        warnings.push(late.to_owned());
    }
    let recorded = grant.lease.reservation.operation;
    if grant.renewed && request.operation.is_some() && recorded != request.operation {
        let recorded = recorded.map_or("no operation", Operation::as_str);
        warnings.push(format!(
            "this reservation was made before with {recorded}, and a record is never changed: \
             release it and reserve again to record another"
        ));
    }
    if let Some(why) = &grant.untidied {
        warnings.push(format!(
            "what has been over for long cannot be moved into the archive ({why}), and the reservation was made all \
             the same: `muse coord fsck` says what is wrong"
        ));
    }
    if grant.take_over_was_void {
        warnings.push(
            "the reservation to take over had ended already: nothing was taken from anybody".to_owned(),
        );
    }
    warnings
}
