//! `muse coord run`: hold a reservation while a command runs.

use std::time::Duration;

use muse_coord::{
    AnyEngine, Coordinator, Grant, Mode, ReleaseRequest, Released, Request, Reserved, Stopwatch, SystemClock,
    TtlSeconds, Waited,
};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::args::{RunArgs, Seconds};
use crate::commands::reserve::{self, ReserveReport};
use crate::commands::ttl;
use crate::context::{Context, Purpose, RUN_ID_VARIABLE};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::guard::unknown;
use crate::output::{Answer, Screen, print_beside, print_error};

use crate::supervise::{
    self, Cause, Deadline, Instant, Keeping, Outcome, Program, RELEASE_REASON, Signals, Terminal, lost_by_now,
};
use crate::wait::{self, Interrupts, Refusal};

/// The environment variables that tell the command what it runs under.
const RESERVATION_VARIABLE: &str = "MUSE_RESERVATION_ID";
const TOKEN_VARIABLE: &str = "MUSE_TOKEN";

/// For how long a reservation outlives `muse`, and a command its reservation, unless it is said; the help texts say so.
const TTL_DEFAULT: Seconds = Seconds(60);
const GRACE_DEFAULT: Seconds = Seconds(10);

/// How a run came out.
enum Held {
    Denied(Answer<ReserveReport>),
    Ended(Outcome),
}

/// Runs the command, and returns the exit code: its own unless there is a reason for another. Once it has been
/// started, nothing but the command writes to stdout.
pub(crate) fn run(args: &RunArgs, context: &Context) -> u8 {
    match hold(args, context) {
        Ok(Held::Ended(outcome)) => {
            let interrupt = outcome.interrupt.filter(|_| outcome.cause.is_none());
            let code = tell(outcome, context);
            // Nothing is held, and nothing is left to be said.
            if let Some(interrupt) = interrupt {
                interrupt.end_by_it();
            }
            code
        }
        Ok(Held::Denied(answer)) => reserve::tell(answer, context),
        Err(error) => print_error(error, context),
    }
}

fn hold(args: &RunArgs, context: &Context) -> Result<Held, CommandError> {
    let run = context.run_id(args.identity.run_id.as_ref())?;
    let ttl = ttl(args.ttl.unwrap_or(TTL_DEFAULT), "--ttl")?;
    let grace = grace(args, ttl)?;
    let patience = wait::patience(args.terms.wait)?;
    reserve::check_count(&args.addresses)?;
    let repository = context.repository()?;
    let mut warnings = Vec::new();
    let addresses = context.addresses(&args.addresses, &repository, &mut warnings)?;
    let mut request = Request::new(run, addresses, ttl);
    request.mode = if args.terms.shared { Mode::Shared } else { Mode::Exclusive };
    request.operation = reserve::operation(args.terms.op.as_deref());
    request.branch = reserve::branch(&repository, &mut warnings);

    let open_files = getrlimit(Resource::Nofile);
    let coordinator = context.coordinator(&repository, Purpose::Ask)?;
    let (grant, signals) = match acquire(&coordinator, &request, patience, context)? {
        Ok(acquired) => acquired,
        Err(refusal) => {
            let report = ReserveReport::Refused(refusal);
            return Ok(Held::Denied(Answer { report, warnings }));
        }
    };
    // The engine may have raised it for itself; the command gets what this process was given.
    setrlimit(Resource::Nofile, open_files).unwrap_or_default();

    let at = Instant::now(|| context.now());
    warnings.extend(context.note_grant(&repository, coordinator.engine()));
    warnings.extend(reserve::grant_warnings(&grant, &request, at.wall));
    warnings.extend(grant.notices.iter().map(reserve::not_stopped));
    if !grant.renewed {
        warnings.extend(unknown::warnings(&grant.lease.reservation.addresses, repository.top()));
    }
    warn(&warnings, context);
    let deadline =
        Deadline::new(Duration::from_secs(ttl.get().into()), grace, grant.lease.least_expiry(), at);
    let keeping = |coordinator| Keeping {
        coordinator,
        reservation: grant.lease.reservation.reservation_id,
        run: request.run.clone(),
        ttl,
    };
    // The one works on a thread of its own; the other has the last word.
    let (beating, last) = (keeping(context.coordinator(&repository, Purpose::Tend)?), keeping(coordinator));
    let ran = start(beating, &grant, deadline, &signals, args, context);
    if matches!(&ran, Ok(outcome) if matches!(outcome.cause, Some(Cause::Unkept(_)))) {
        last.hurry();
    }
    let cause = lost_by_now(&last);
    let mut after = Vec::new();
    if !grant.renewed {
        release(&last, &mut after);
    }
    let mut outcome = ran.inspect_err(|_| warn(&after, context))?;
    outcome.cause = outcome.cause.or(cause);
    outcome.warnings.extend(after);
    Ok(Held::Ended(outcome))
}

/// Reserves, waiting if that is asked for, and sees to it that no signal ends this process afterwards: what it was
/// granted is given back. Being refused is an answer, as `reserve` prints it.
fn acquire(
    coordinator: &Coordinator<AnyEngine<SystemClock>>,
    request: &Request,
    patience: Duration,
    context: &Context,
) -> Result<Result<(Grant, Signals), Refusal>, CommandError> {
    let block = || {
        Signals::block().map_err(|error| {
            CommandError::new(Kind::Internal, format!("signals cannot be blocked ({error}): try again"))
        })
    };
    if patience.is_zero() {
        let signals = block()?;
        return Ok(granted(coordinator.reserve(request)?, request)?.map(|grant| (grant, signals)));
    }
    // A wait ends with a signal; what is supervised is told of it.
    let interrupts = Interrupts::listen()?;
    let waiting = Stopwatch::start();
    let waited = wait::reserve(coordinator, request, patience, Some(interrupts.descriptor()), context)?;
    let grant = match waited {
        Waited::Answered(reserved) => match granted(reserved, request)? {
            Ok(grant) => grant,
            Err(refusal) => return Ok(Err(refusal)),
        },
        Waited::GaveUp { position, conflicts } => {
            return Ok(Err(Refusal::gave_up(waiting.elapsed(), position, conflicts, &request.run)));
        }
        Waited::Deadlock { cycle } => return Ok(Err(Refusal::deadlock(cycle))),
        Waited::Interrupted => {
            let done = "nothing is held, the place is given up, and the command was not started";
            return Ok(Err(Refusal::interrupted(interrupts.ending(), done)));
        }
    };
    let signals = block();
    // One that came before they were blocked was meant for the wait.
    if interrupts.received().is_some() || signals.is_err() {
        let mut done = "the command was not started".to_owned();
        if !grant.renewed {
            let id = grant.lease.reservation.reservation_id;
            done = format!("{}, and {done}", wait::take_back(coordinator, id, &request.run));
        }
        signals?;
        return Ok(Err(Refusal::interrupted(interrupts.ending(), &done)));
    }
    Ok(Ok((grant, signals?)))
}

/// The grant in an answer of the store, or who is in the way.
fn granted(reserved: Reserved, request: &Request) -> Result<Result<Grant, Refusal>, CommandError> {
    match reserved {
        Reserved::Granted(grant) => Ok(Ok(*grant)),
        Reserved::Denied { conflicts } => Ok(Err(Refusal::denied(conflicts, &request.run))),
        Reserved::NothingToTakeOver | Reserved::TakeOverElsewhere => {
            let message = "the store answered a take-over that nobody asked for: report this";
            Err(CommandError::new(Kind::Internal, message))
        }
    }
}

/// Starts the command under the grant, and supervises it to its end.
fn start(
    keeping: Keeping,
    grant: &Grant,
    deadline: Deadline,
    signals: &Signals,
    args: &RunArgs,
    context: &Context,
) -> Result<Outcome, CommandError> {
    let reservation = &grant.lease.reservation;
    if deadline.is_over() {
        let message = "the reservation lapsed, or was about to, before the command could be started, because \
                       this process was stopped: run it again";
        return Err(CommandError::new(Kind::Lost, message));
    }
    let variables = [
        (RUN_ID_VARIABLE, reservation.run_id.to_string()),
        (RESERVATION_VARIABLE, reservation.reservation_id.to_string()),
        (TOKEN_VARIABLE, reservation.token.to_string()),
    ];
    let program = Program { words: &args.command, variables: &variables };
    let terminal = Terminal::open(context.is_interactive());
    supervise::run(&program, keeping, deadline, terminal, signals, context).map_err(|error| {
        let message = format!("the command could not be started ({error}): try again with fewer processes");
        CommandError::new(Kind::CommandNotExecutable, message)
    })
}

/// Gives back what was granted for the command.
fn release(keeping: &Keeping, warnings: &mut Vec<String>) {
    let id = keeping.reservation;
    let request = ReleaseRequest {
        reservations: vec![id],
        run: keeping.run.clone(),
        reason: Some(RELEASE_REASON.to_owned()),
        force: false,
    };
    let answers = match keeping.coordinator.release(&request) {
        Ok(answers) => answers.into_iter().map(|(_, answer)| answer).collect(),
        Err(error) => vec![Err(error)],
    };
    for answer in answers {
        match answer {
            // One that is gone was lost, which is told.
            Ok(Released::Released | Released::AlreadyReleased | Released::NotFound) => {}
            Ok(Released::NotHolder { holder }) => {
                warnings.push(format!("reservation {id} is held by run `{holder}` now: it was not released"));
            }
            Err(error) => {
                let message = CommandError::from(error).message;
                warnings.push(format!("reservation {id} was not released, and lapses by itself: {message}"));
            }
        }
    }
}

/// Says what there is to say beside the command's own output, and returns the exit code.
fn tell(outcome: Outcome, context: &Context) -> u8 {
    let Outcome { code, cause, warnings, .. } = outcome;
    let mut screen = Screen::default();
    for warning in &warnings {
        screen.warning(warning);
    }
    let code = match cause {
        None => code,
        Some(cause) => {
            screen.error(&match &cause {
                Cause::Lost(loss) => {
                    format!("the reservation was lost while the command was running: {}", loss.describe())
                }
                Cause::Unkept(None) => "the command was stopped before its reservation lapsed: no heartbeat was \
                                        written in time"
                    .to_owned(),
                Cause::Unkept(Some(why)) => {
                    format!("the command was stopped before its reservation lapsed: no heartbeat could be written: {why}")
                }
            });
            if let Cause::Lost(loss) = &cause
                && let Some(advice) = loss.advice()
            {
                screen.hint(&advice);
            }
            screen.hint("look at what the command has left behind, then run it again");
            exit::LOST
        }
    };
    // Whoever closed stderr does not want to know; the exit code tells.
    print_beside(&screen, context).unwrap_or_default();
    code
}

fn warn(warnings: &[String], context: &Context) {
    let mut screen = Screen::default();
    for warning in warnings {
        screen.warning(warning);
    }
    print_beside(&screen, context).unwrap_or_default();
}

/// Checks that the grace is a number of seconds and leaves time before it.
fn grace(args: &RunArgs, ttl: TtlSeconds) -> Result<Duration, CommandError> {
    let (ttl, Seconds(grace)) = (ttl.get(), args.grace.unwrap_or(GRACE_DEFAULT));
    if let Some(grace) = u32::try_from(grace).ok().filter(|grace| *grace < ttl) {
        return Ok(Duration::from_secs(grace.into()));
    }
    let origin = |given: Option<Seconds>| if given.is_some() { "" } else { " (the default)" };
    let longer = grace.saturating_add(1);
    let or_longer = if (1..=TtlSeconds::MAX.into()).contains(&longer) && longer > ttl.into() {
        format!(" or a --ttl of at least {longer}")
    } else {
        String::new()
    };
    let message = format!(
        "--grace is {grace} seconds{}, and has to be from 0 to less than --ttl, which is {ttl} seconds{}, so that the \
         command is over before the reservation lapses: give a --grace of at most {}{or_longer}; nothing was changed",
        origin(args.grace),
        origin(args.ttl),
        ttl - 1,
    );
    Err(CommandError::new(Kind::BadArgs, message))
}
