//! `muse coord watch`: events as lines, or the screen.
//!
//! A line for each event, told and flushed by itself. The stream has no end of its own: it ends quietly when its reader
//! does (exit 0), by a signal (128 and its number), or because the store was moved (5).

use std::fmt::Write as _;
use std::io;

use muse_coord::watch::LINES_MAX;
use muse_coord::{
    Address, AnyEngine, EngineError, Event, EventFilter, ReservationId, RunId, Seen, SystemClock,
    TicketNumber, Timestamp, Token, Watcher, What,
};
use serde::Serialize;

use crate::args::WatchArgs;
use crate::commands::log::moment;
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, SCHEMA, Screen, is_reader_gone, print, print_event, print_warning};
use crate::report::duration;
use crate::screen;
use crate::wait::Interrupts;

/// How many addresses of an event the text shows.
const ADDRESSES_SHOWN_MAX: usize = 4;

/// One line of the stream. What belongs to the event stands behind what all events have.
#[derive(Debug, Serialize)]
struct Line<'a> {
    schema: u32,
    event: &'static str,
    time: Timestamp,
    run_id: &'a RunId,
    reservation_id: Option<ReservationId>,
    addresses: &'a [Address],
    token: Option<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<TicketNumber>,
    #[serde(flatten)]
    what: &'a What,
}

impl<'a> Line<'a> {
    fn of(event: &'a Event) -> Line<'a> {
        Line {
            schema: SCHEMA,
            event: event.what.as_str(),
            time: event.time,
            run_id: &event.run_id,
            reservation_id: event.reservation_id,
            addresses: &event.addresses,
            token: event.token,
            ticket: event.ticket,
            what: &event.what,
        }
    }
}

/// The event for people, in one line.
fn text(event: &Event) -> String {
    let mut line = format!("{:#} {:<9} {} ", event.time, event.what.as_str(), event.run_id);
    line.push_str(&screen::addresses(&event.addresses, ADDRESSES_SHOWN_MAX));
    let details = details(&event.what);
    if !details.is_empty() {
        line.push_str(": ");
        line.push_str(&details);
    }
    let written = match (event.reservation_id, event.token, event.ticket) {
        (Some(id), Some(token), _) => write!(line, " [{id}, token {token}]"),
        (_, _, Some(ticket)) => write!(line, " [ticket {ticket}]"),
        _ => Ok(()),
    };
    // A text grows without fail.
    written.unwrap_or_default();
    line
}

/// What belongs to an event, for people.
pub(crate) fn details(what: &What) -> String {
    let asked =
        |branch: &Option<String>, mode: &muse_coord::Mode, operation: &Option<muse_coord::Operation>| {
            let mut parts = vec![mode.as_str().to_owned()];
            parts.extend(operation.map(|operation| operation.as_str().to_owned()));
            parts.extend(branch.as_ref().map(|branch| format!("on {branch}")));
            parts.join(", ")
        };
    match what {
        What::Granted { branch, mode, operation, ttl_seconds, .. } => {
            format!("{}, for {}", asked(branch, mode, operation), duration((*ttl_seconds).into()))
        }
        What::Heartbeat { by, expires_at } => format!("by {by}, until {expires_at:#}"),
        What::Released { by, forced, reason } => {
            let by = by.as_ref().map(|by| format!("by {by}"));
            let forced = forced.unwrap_or(false).then(|| "forced".to_owned());
            let parts: Vec<String> = [by, forced, reason.clone()].into_iter().flatten().collect();
            parts.join(", ")
        }
        What::Lapsed { superseded_by_run: Some(run), .. } => format!("superseded by {run}"),
        What::Lapsed { .. } | What::GaveUp {} => String::new(),
        What::Revived { expires_at } => format!("until {expires_at:#}"),
        What::Waiting { branch, mode, operation } => asked(branch, mode, operation),
        What::Archived { state, .. } => format!("it was {}", state.as_str()),
    }
}

/// A stream has no answer; what comes before it may fail.
#[derive(Debug, Serialize)]
enum Nothing {}

impl Report for Nothing {
    fn exit_code(&self) -> u8 {
        match *self {}
    }

    fn text(&self, _: &mut Screen) {
        match *self {}
    }
}

/// What is watched, and what of it is shown.
pub(crate) struct Scope {
    pub(crate) engine: AnyEngine<SystemClock>,
    pub(crate) filter: EventFilter,
    pub(crate) since: Option<Timestamp>,
}

impl Scope {
    fn of(args: &WatchArgs, context: &Context, warnings: &mut Vec<String>) -> Result<Scope, CommandError> {
        let since = moment(args.since.as_ref(), "--since", context.now())?;
        let run = args.run_id.as_ref().map(|run| context.run_id(Some(run))).transpose()?;
        let repository = context.repository()?;
        let address = match &args.address {
            Some(typed) => context.addresses(std::slice::from_ref(typed), &repository, warnings)?.pop(),
            None => None,
        };
        Ok(Scope {
            engine: context.engine(&repository, Purpose::Ask)?,
            filter: EventFilter { run, address },
            since,
        })
    }

    pub(crate) fn shows(&self, event: &Event) -> bool {
        self.filter.shows(&event.run_id, &event.addresses)
    }
}

pub(crate) fn run(args: &WatchArgs, context: &Context) -> u8 {
    let mut warnings = Vec::new();
    let prepared = Scope::of(args, context, &mut warnings)
        .and_then(|scope| Ok((scope, Interrupts::listen()?)))
        .and_then(|prepared| {
            // What is shown on a screen is gone with the next picture: it is told before.
            tell(&warnings, context)?;
            Ok(prepared)
        });
    let ended = match prepared {
        Ok((scope, interrupts)) if !context.json && context.has_screen() => {
            screen::show(scope, interrupts, context)
        }
        Ok((scope, interrupts)) => stream(&scope, &interrupts, context),
        Err(error) => Err(error),
    };
    ended.unwrap_or_else(|error| print(Err::<Answer<Nothing>, _>(error), context))
}

fn tell(warnings: &[String], context: &Context) -> Result<(), CommandError> {
    warnings.iter().try_for_each(|warning| print_warning(warning, context)).map_err(|error| untold(&error))
}

fn untold(error: &io::Error) -> CommandError {
    CommandError::new(Kind::Internal, format!("the events cannot be printed ({error}): see where they go to"))
}

/// Prints events until nobody reads them, or a signal ends it.
fn stream(scope: &Scope, interrupts: &Interrupts, context: &Context) -> Result<u8, CommandError> {
    let mut watcher = Watcher::new(&scope.engine, scope.since);
    while let Some(mut seen) = watcher.next(Some(interrupts.descriptor())) {
        let moved = moved(&mut seen);
        match print_seen(&seen, scope, context) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(exit::OK),
            Err(error) => return Err(untold(&error)),
            Ok(()) if is_reader_gone() => return Ok(exit::OK),
            Ok(()) => {}
        }
        if let Some(error) = moved {
            return Err(error.into());
        }
        if interrupts.received().is_some() {
            break;
        }
    }
    Ok(interrupts.received().map_or(exit::OK, |signal| exit::SIGNALLED.saturating_add(signal)))
}

/// That the store was moved, if it was, taken out of what was seen: nothing happens there any more.
pub(crate) fn moved(seen: &mut Seen) -> Option<EngineError> {
    let at = seen.damaged.iter().position(|error| matches!(error, EngineError::Moved { .. }))?;
    Some(seen.damaged.swap_remove(at))
}

fn print_seen(seen: &Seen, scope: &Scope, context: &Context) -> io::Result<()> {
    for warning in warnings(seen) {
        // Nobody there to read it is no reason to end.
        print_warning(&warning, context).unwrap_or_default();
    }
    for event in seen.events.iter().filter(|event| scope.shows(event)) {
        print_event(&Line::of(event), || text(event), context)?;
    }
    Ok(())
}

/// What of the store cannot be read, or is not told, in sentences.
pub(crate) fn warnings(seen: &Seen) -> Vec<String> {
    let mut warnings: Vec<String> = seen.damaged.iter().map(damage).collect();
    if seen.is_cut {
        warnings.push(format!(
            "more than {LINES_MAX} reservations were archived in this time, and only the last ones are told: \
             give a later --since, or read .muse/coordination/archive/"
        ));
    }
    warnings
}

fn damage(error: &EngineError) -> String {
    // Its advice is that of a command that fails, which this does not.
    format!("{error}: what it says is not told until it can be read")
}
