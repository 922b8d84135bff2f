//! `muse coord reserve`.

use std::ffi::OsString;

use muse_coord::{
    Address, Conflict, Grant, Mode, Notice, Operation, Request, ReservationId, Reserved, RunId, TakeOver,
    Timestamp, Token,
};
use muse_repo::Repository;
use serde::Serialize;

use crate::args::ReserveArgs;
use crate::commands::{reason, reservation_id, ttl};
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};
use crate::report::{doing, duration, shell_word};

/// How many conflicts or notices the text shows; JSON has all of them.
const SHOWN_MAX: usize = 10;

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ReserveReport {
    Granted(Granted),
    Denied(Denied),
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

#[derive(Debug, Serialize)]
pub(crate) struct Denied {
    status: &'static str,
    conflicts: Vec<Conflict>,
    next: String,
    error: String,
}

impl Report for ReserveReport {
    fn exit_code(&self) -> u8 {
        match self {
            ReserveReport::Granted(_) => exit::OK,
            ReserveReport::Denied(_) => exit::CONFLICT,
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
                    screen.warning(&format!("{}, and you were not stopped", describe(notice)));
                }
                more(screen, granted.notices.len(), "notices");
            }
            ReserveReport::Denied(denied) => {
                for conflict in denied.conflicts.iter().take(SHOWN_MAX) {
                    screen.error(&describe(conflict));
                }
                more(screen, denied.conflicts.len(), "conflicts");
                screen.hint(&denied.next);
            }
        }
    }

    fn carried_out(&self) -> Option<&'static str> {
        match self {
            ReserveReport::Granted(_) => Some("the reservation was made: see `muse coord list`"),
            ReserveReport::Denied(_) => None,
        }
    }
}

fn more(screen: &mut Screen, count: usize, what: &str) {
    if count > SHOWN_MAX {
        screen.status(&format!("... and {} more {what}; --json names them all", count - SHOWN_MAX));
    }
}

/// Who holds what, in one sentence.
fn describe(overlap: &Conflict) -> String {
    let holder = &overlap.holder;
    let held = if overlap.address == overlap.held_address {
        String::new()
    } else {
        format!(" as `{}`", overlap.held_address)
    };
    let left = match holder.expires_in_seconds {
        0 => "in the middle of a heartbeat".to_owned(),
        seconds => format!("for {} more", duration(seconds)),
    };
    format!(
        "`{}` is held{held} by run `{}`{} {left}",
        overlap.address,
        holder.run_id,
        doing(holder.operation, holder.branch.as_deref())
    )
}

/// What the denied run can do, in one sentence.
fn next(conflicts: &[Conflict], run: &RunId) -> String {
    let wait = conflicts.iter().map(|conflict| conflict.holder.expires_in_seconds).max().unwrap_or(0);
    let Some(first) = conflicts.first() else { return String::new() };
    let when =
        if wait == 0 { "in a moment".to_owned() } else { format!("in {wait} s or when it is released") };
    // A value that looks like a flag has to stand in one word with its own.
    let separator = if run.as_str().starts_with('-') { '=' } else { ' ' };
    format!(
        "work elsewhere and reserve again {when}; only if run `{}` is known to be dead: \
         muse coord release {} --force --reason TEXT --run-id{separator}{}",
        first.holder.run_id,
        first.holder.reservation_id,
        shell_word(run.as_str())
    )
}

pub(crate) fn run(args: &ReserveArgs, context: &Context) -> Result<Answer<ReserveReport>, CommandError> {
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
    request.mode = match (args.shared, args.advisory) {
        (true, _) => Mode::Shared,
        (_, true) => Mode::Advisory,
        _ => Mode::Exclusive,
    };
    request.operation = operation(args.op.as_deref());
    request.take_over = take_over;
    request.branch = branch(&repository, &mut warnings);

    let coordinator = context.coordinator(&repository);
    let report = match coordinator.reserve(&request)? {
        Reserved::Granted(grant) => {
            let now = context.now();
            warnings.extend(grant_warnings(&grant, &request, now));
            ReserveReport::Granted(granted(*grant, now))
        }
        Reserved::Denied { conflicts } => denied(conflicts, &request.run),
        Reserved::NothingToTakeOver => {
            let message = "there is no such reservation to take over: \
                           see `muse coord list`, or reserve without --take-over";
            let error = CommandError::new(Kind::NotFound, message);
            return Err(match &request.take_over {
                Some(take_over) => error.about(take_over.reservation),
                None => error,
            });
        }
        Reserved::TakeOverElsewhere => {
            let message = "the reservation to take over has no address in common with these: \
                           correct the id, or end it with `muse coord release ID --force`";
            return Err(CommandError::new(Kind::BadArgs, message));
        }
    };
    Ok(Answer { report, warnings })
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
pub(super) fn denied(conflicts: Vec<Conflict>, run: &RunId) -> ReserveReport {
    let error = match conflicts.len() {
        1 => describe(&conflicts[0]),
        count => format!("{}; {} more in the way", describe(&conflicts[0]), count - 1),
    };
    let next = next(&conflicts, run);
    ReserveReport::Denied(Denied { status: "conflict", conflicts, next, error })
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
    if grant.take_over_was_void {
        warnings.push(
            "the reservation to take over had ended already: nothing was taken from anybody".to_owned(),
        );
    }
    warnings
}
