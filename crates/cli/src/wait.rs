//! Waiting in the queue as a command does it: a line when it begins, signals that end it, and a grant that is given
//! back when nobody can be told of it.

use std::cell::RefCell;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use muse_coord::{
    Cause, Conflict, Coordinator, Engine, ReleaseRequest, Released, Request, ReservationId, RunId, Wait,
    Waited,
};
use rustix::process::Signal;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;
use signal_hook::{flag, low_level};

use crate::args::Seconds;
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Report, Screen, print_status};
use crate::report::{doing, duration, shell_word};
use crate::supervise::{Interrupt, is_typed};

/// How many conflicts or notices the text shows; JSON has all of them.
pub(crate) const SHOWN_MAX: usize = 10;

/// The longest wait that is taken: one year, as for every other number of seconds.
const PATIENCE_SECONDS_MAX: u32 = 31_536_000;

/// The signals that ask a program to end.
const ENDING: [(i32, &str); 3] = [(SIGINT, "SIGINT"), (SIGTERM, "SIGTERM"), (SIGHUP, "SIGHUP")];

/// For how long `--wait` asks to wait; not at all without it.
pub(crate) fn patience(seconds: Option<Seconds>) -> Result<Duration, CommandError> {
    let Some(Seconds(seconds)) = seconds else { return Ok(Duration::ZERO) };
    let seconds = u32::try_from(seconds).ok().filter(|&seconds| seconds <= PATIENCE_SECONDS_MAX);
    seconds.map(|seconds| Duration::from_secs(seconds.into())).ok_or_else(|| {
        let message = format!("--wait must be from 0 to {PATIENCE_SECONDS_MAX} seconds; nothing was changed");
        CommandError::new(Kind::BadArgs, message)
    })
}

/// Takes note of the signals that ask a program to end, from now until the process ends, in place of ending it. A
/// second one ends it at once. Those that the process was told to ignore, as by `nohup`, are ignored still.
#[derive(Debug)]
pub(crate) struct Interrupts {
    pipe: PipeReader,
    received: Arc<AtomicUsize>,
    /// The interrupts from the keyboard or from processes, with what the kernel says of them.
    origins: RefCell<SignalsInfo<WithRawSiginfo>>,
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Interrupts, CommandError> {
        let failed = |error: io::Error| {
            let message = format!("signals cannot be waited for ({error}): try again, or without --wait");
            CommandError::new(Kind::Internal, message)
        };
        let (pipe, writer) = io::pipe().map_err(failed)?;
        let received = Arc::new(AtomicUsize::new(0));
        let is_second = Arc::new(AtomicBool::new(false));
        // The first: what wakes the wait finds it told already.
        let told = [SIGINT].into_iter().filter(|&signal| !is_ignored(signal));
        let origins = SignalsInfo::with_exfiltrator(told, WithRawSiginfo).map_err(failed)?;
        for (signal, _) in ENDING {
            let Ok(number) = usize::try_from(signal) else { continue };
            if is_ignored(signal) {
                continue;
            }
            // In this order: a second one finds that there was a first.
            flag::register_conditional_default(signal, Arc::clone(&is_second)).map_err(failed)?;
            flag::register(signal, Arc::clone(&is_second)).map_err(failed)?;
            flag::register_usize(signal, Arc::clone(&received), number).map_err(failed)?;
            low_level::pipe::register(signal, writer.try_clone().map_err(failed)?).map_err(failed)?;
        }
        Ok(Interrupts { pipe, received, origins: RefCell::new(origins) })
    }

    /// Can be read once a signal has come.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Waits until a signal has come, and tells which.
    pub(crate) fn wait(&self) -> u8 {
        // A pipe that cannot be read tells of none: whoever waits here waits for nothing else.
        (&self.pipe).read_exact(&mut [0]).unwrap_or_default();
        self.received().unwrap_or_default()
    }

    /// The signal that came, if one has.
    pub(crate) fn received(&self) -> Option<u8> {
        u8::try_from(self.received.load(Ordering::SeqCst)).ok().filter(|&signal| signal != 0)
    }

    /// How the wait was ended, once it was. To be asked once.
    pub(crate) fn ending(&self) -> Ending {
        let signal = self.received().unwrap_or_default();
        let is_interrupt = i32::from(signal) == SIGINT;
        let is_key = is_interrupt && self.origins.borrow_mut().pending().any(|info| is_typed(info.si_code));
        Ending { signal, key: is_key.then(|| Interrupt::told(Signal::INT)) }
    }
}

/// The signal that came, and the key of the terminal that sent it, if one did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    signal: u8,
    key: Option<Interrupt>,
}

/// Whether the process was started with this signal ignored, where the system tells.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

/// Reserves, and waits for up to `patience` if somebody is in the way, or until `interrupt` can be read. In text, a
/// line on stderr says that it waits, for whom, and at which place.
pub(crate) fn reserve<E: Engine>(
    coordinator: &Coordinator<E>,
    request: &Request,
    patience: Duration,
    interrupt: Option<BorrowedFd<'_>>,
    context: &Context,
) -> Result<Waited, CommandError> {
    let waited = coordinator.reserve_waiting(request, patience, interrupt, |position, conflicts| {
        if !context.json
            && let Some(first) = conflicts.first()
        {
            let line = format!("waiting at place {position}: {}", in_the_way(first, conflicts.len()));
            // Nobody there to read it is no reason not to wait.
            print_status(&line, context).unwrap_or_default();
        }
    })?;
    Ok(waited)
}

/// Gives back a reservation whose holder could not be told of it, and says how that went.
pub(crate) fn take_back<E: Engine>(
    coordinator: &Coordinator<E>,
    reservation: ReservationId,
    run: &RunId,
) -> String {
    let request = ReleaseRequest {
        reservations: vec![reservation],
        run: run.clone(),
        reason: Some("its run could not be told that it was granted".to_owned()),
        force: false,
    };
    let why = match coordinator.release(&request).map(|mut answers| answers.pop()) {
        Ok(Some((_, Ok(Released::Released | Released::AlreadyReleased)))) => {
            return "the reservation was released again".to_owned();
        }
        Ok(Some((_, Err(error)))) | Err(error) => CommandError::from(error).message,
        Ok(_) => "it is gone".to_owned(),
    };
    format!("the reservation {reservation} could not be released again ({why})")
}

/// Why a request was not granted.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Refusal {
    Denied(Denied),
    GaveUp(GaveUp),
    Deadlock(Deadlock),
    Interrupted(Interrupted),
}

/// Somebody is in the way.
#[derive(Debug, Serialize)]
pub(crate) struct Denied {
    status: &'static str,
    conflicts: Vec<Conflict>,
    next: String,
    error: String,
}

/// Somebody was in the way for too long.
#[derive(Debug, Serialize)]
pub(crate) struct GaveUp {
    status: &'static str,
    waited_seconds: u64,
    position: usize,
    conflicts: Vec<Conflict>,
    next: String,
    error: String,
}

/// Who is in the way waits for this run.
#[derive(Debug, Serialize)]
pub(crate) struct Deadlock {
    status: &'static str,
    cycle: Vec<Wait>,
    next: String,
    error: String,
}

/// A signal ended the wait.
#[derive(Debug, Serialize)]
pub(crate) struct Interrupted {
    status: &'static str,
    signal: u8,
    #[serde(skip)]
    key: Option<Interrupt>,
    error: String,
}

impl Refusal {
    pub(crate) fn denied(conflicts: Vec<Conflict>, run: &RunId) -> Refusal {
        let error = conflicts.first().map(|first| in_the_way(first, conflicts.len())).unwrap_or_default();
        let next = next(&conflicts, run, "reserve again");
        Refusal::Denied(Denied { status: "conflict", conflicts, next, error })
    }

    pub(crate) fn gave_up(
        waited: Duration,
        position: usize,
        conflicts: Vec<Conflict>,
        run: &RunId,
    ) -> Refusal {
        let waited_seconds = waited.as_secs();
        let why = conflicts.first().map(|first| in_the_way(first, conflicts.len())).unwrap_or_default();
        let error =
            format!("gave up after {} at place {position} of the queue: {why}", duration(waited_seconds));
        let next = next(&conflicts, run, "wait again");
        Refusal::GaveUp(GaveUp { status: "wait_timeout", waited_seconds, position, conflicts, next, error })
    }

    pub(crate) fn deadlock(cycle: Vec<Wait>) -> Refusal {
        let steps: Vec<String> = cycle
            .iter()
            .map(|wait| {
                let what = match wait.cause {
                    Cause::ReservationId(_) => "held",
                    Cause::Ticket(_) => "waited for earlier",
                };
                format!("`{}`, {what} by run `{}`", wait.address, wait.waits_for)
            })
            .collect();
        let run = cycle.first().map(|wait| wait.run_id.to_string()).unwrap_or_default();
        let error = format!(
            "waiting would never end: run `{run}` would wait for {}",
            steps.join(", which waits for ")
        );
        let next = match cycle.last().map(|wait| (&wait.waits_for, wait.cause)) {
            Some((run, Cause::ReservationId(id))) => format!(
                "release what is waited for, then reserve it together with the rest, in one call: \
                 muse coord release {id} --run-id{}",
                flag_value(run)
            ),
            _ => "end the other wait of this run, then reserve all of it in one call".to_owned(),
        };
        Refusal::Deadlock(Deadlock { status: "deadlock", cycle, next, error })
    }

    /// `done` says what became of the request.
    pub(crate) fn interrupted(ending: Ending, done: &str) -> Refusal {
        let Ending { signal, key } = ending;
        let name = ENDING
            .iter()
            .find(|(number, _)| *number == i32::from(signal))
            .map_or("a signal", |(_, name)| *name);
        Refusal::Interrupted(Interrupted {
            status: "interrupted",
            signal,
            key,
            error: format!("interrupted by {name}: {done}; reserve again if you still need it"),
        })
    }

    /// How a key of the terminal ended the wait, if one did.
    pub(crate) const fn key(&self) -> Option<Interrupt> {
        match self {
            Refusal::Interrupted(interrupted) => interrupted.key,
            _ => None,
        }
    }
}

impl Report for Refusal {
    fn exit_code(&self) -> u8 {
        match self {
            Refusal::Denied(_) | Refusal::Deadlock(_) => exit::CONFLICT,
            Refusal::GaveUp(_) => exit::GAVE_UP,
            Refusal::Interrupted(interrupted) => exit::SIGNALLED.saturating_add(interrupted.signal),
        }
    }

    fn text(&self, screen: &mut Screen) {
        let all = |screen: &mut Screen, conflicts: &[Conflict]| {
            for conflict in conflicts.iter().take(SHOWN_MAX) {
                screen.error(&describe(conflict));
            }
            more(screen, conflicts.len(), "conflicts");
        };
        match self {
            Refusal::Denied(denied) => {
                all(screen, &denied.conflicts);
                screen.hint(&denied.next);
            }
            Refusal::GaveUp(gave_up) => {
                let waited = duration(gave_up.waited_seconds);
                screen.error(&format!("gave up after {waited} at place {} of the queue", gave_up.position));
                all(screen, &gave_up.conflicts);
                screen.hint(&gave_up.next);
            }
            Refusal::Deadlock(deadlock) => {
                screen.error(&deadlock.error);
                screen.hint(&deadlock.next);
            }
            Refusal::Interrupted(interrupted) => screen.error(&interrupted.error),
        }
    }
}

/// How many are not shown.
pub(crate) fn more(screen: &mut Screen, count: usize, what: &str) {
    if count > SHOWN_MAX {
        screen.status(&format!("... and {} more {what}; --json names them all", count - SHOWN_MAX));
    }
}

/// The first of so many that are in the way, in one sentence.
pub(crate) fn in_the_way(first: &Conflict, count: usize) -> String {
    match count {
        0 | 1 => describe(first),
        count => format!("{}; {} more in the way", describe(first), count - 1),
    }
}

/// Who holds what or waits for it, in one sentence.
pub(crate) fn describe(conflict: &Conflict) -> String {
    match (conflict.holder(), conflict.waiter()) {
        (Some(holder), _) => {
            let left = match holder.expires_in_seconds {
                0 => "in the middle of a heartbeat".to_owned(),
                seconds => format!("for {} more", duration(seconds)),
            };
            format!(
                "`{}` is held{} by run `{}`{} {left}",
                conflict.address,
                named(conflict),
                holder.run_id,
                doing(holder.operation, holder.branch.as_deref())
            )
        }
        (None, Some(waiter)) => format!(
            "`{}` is waited for{} by run `{}`{} since {:#}",
            conflict.address,
            named(conflict),
            waiter.run_id,
            doing(waiter.operation, waiter.branch.as_deref()),
            waiter.since
        ),
        (None, None) => format!("`{}` is not free", conflict.address),
    }
}

/// The other's address, where it is another one.
fn named(conflict: &Conflict) -> String {
    if conflict.address == conflict.held_address {
        String::new()
    } else {
        format!(" as `{}`", conflict.held_address)
    }
}

/// What the run that was not granted can do, in one sentence.
fn next(conflicts: &[Conflict], run: &RunId, again: &str) -> String {
    let wait = conflicts
        .iter()
        .filter_map(Conflict::holder)
        .map(|holder| holder.expires_in_seconds)
        .max()
        .unwrap_or(0);
    let is_queued_for = conflicts.iter().any(|conflict| conflict.waiter().is_some());
    let what = if is_queued_for {
        "work elsewhere, or take your place in the queue with --wait SECONDS".to_owned()
    } else if wait == 0 {
        format!("work elsewhere and {again} in a moment")
    } else {
        format!("work elsewhere and {again} in {wait} s or when it is released")
    };
    or_end_the_holder(what, conflicts, run)
}

/// A sentence with the last way out behind it, if somebody holds what is asked for.
pub(crate) fn or_end_the_holder(what: String, conflicts: &[Conflict], run: &RunId) -> String {
    match conflicts.iter().find_map(Conflict::holder) {
        Some(first) => format!(
            "{what}; only if run `{}` is known to be dead: muse coord release {} --force --reason TEXT --run-id{}",
            first.run_id,
            first.reservation_id,
            flag_value(run)
        ),
        None => what,
    }
}

/// A run id behind its flag: one that looks like a flag has to stand in one word with it.
pub(crate) fn flag_value(run: &RunId) -> String {
    let separator = if run.as_str().starts_with('-') { '=' } else { ' ' };
    format!("{separator}{}", shell_word(run.as_str()))
}
