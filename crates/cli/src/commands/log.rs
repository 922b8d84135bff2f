//! `muse coord log`.

use std::ffi::OsString;

use muse_coord::audit::AuditQuery;
use muse_coord::{
    Address, AuditTrail, Entry, Mode, Operation, ReservationId, RunId, State, Timestamp, Token, clock,
};
use serde::Serialize;

use crate::args::{Count, LogArgs};
use crate::commands::failure_of;
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::output::{Answer, Report, Screen};
use crate::report::duration;

/// The most entries of one answer, which is put together in memory. The archive's lines hold the rest.
const LIMIT_MAX: i64 = 100_000;

/// How many addresses of an entry the text shows.
const ADDRESSES_SHOWN_MAX: usize = 8;

#[derive(Debug, Serialize)]
pub(crate) struct LogReport {
    status: &'static str,
    count: usize,
    entries: Vec<Row>,
    /// Whether older ones were left out for the limit.
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

#[derive(Debug, Serialize)]
struct Row {
    reservation_id: ReservationId,
    token: Token,
    run_id: RunId,
    branch: Option<String>,
    addresses: Vec<Address>,
    mode: Mode,
    operation: Option<Operation>,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
    held_seconds: u64,
    state: &'static str,
    archived: bool,
    last_beat_at: Option<Timestamp>,
    ended_by: Option<RunId>,
    forced: bool,
    reason: Option<String>,
    superseded_by: Option<ReservationId>,
}

impl Row {
    fn of(entry: Entry) -> Row {
        let (held_seconds, state) = (entry.held_seconds(), entry.state);
        let (ended_at, archived) = (entry.ended_at, entry.is_archived);
        let reservation = entry.lease.reservation;
        let release = entry.lease.release.into_content().filter(|_| state == State::Released);
        let superseded = entry.lease.supersession.into_content().filter(|_| state == State::Superseded);
        let (forced, reason, released_by) = match release {
            Some(release) => (release.forced, release.reason, Some(release.run_id)),
            None => (false, None, None),
        };
        let superseded_by = superseded.as_ref().map(|mark| mark.superseded_by);
        Row {
            reservation_id: reservation.reservation_id,
            token: reservation.token,
            run_id: reservation.run_id,
            branch: reservation.branch,
            addresses: reservation.addresses,
            mode: reservation.mode,
            operation: reservation.operation,
            created_at: reservation.created_at,
            ended_at,
            held_seconds,
            state: state.as_str(),
            archived,
            last_beat_at: entry.lease.heartbeat.map(|heartbeat| heartbeat.last_beat_at),
            ended_by: released_by.or(superseded.map(|mark| mark.run_id)),
            forced,
            reason,
            superseded_by,
        }
    }

    fn text(&self, screen: &mut Screen) {
        let held = duration(self.held_seconds);
        let stands = if self.state == "active" { "active for" } else { "held for" };
        screen.result(&format!("{:#}  {}  {stands} {held}", self.created_at, self.run_id));
        for address in self.addresses.iter().take(ADDRESSES_SHOWN_MAX) {
            screen.result(&format!("  {address}"));
        }
        if self.addresses.len() > ADDRESSES_SHOWN_MAX {
            screen.result(&format!("  and {} more", self.addresses.len() - ADDRESSES_SHOWN_MAX));
        }
        let mut facts = vec![self.mode.as_str().to_owned()];
        facts.extend(self.operation.map(|operation| operation.as_str().to_owned()));
        facts.extend(self.branch.as_ref().map(|branch| format!("on {branch}")));
        facts.push(format!("token {}", self.token));
        facts.extend(self.archived.then(|| "archived".to_owned()));
        screen.result(&format!("  {}", facts.join(", ")));
        if let Some(ended_at) = self.ended_at {
            let by = self.ended_by.as_ref().map(|run| format!(" by {run}")).unwrap_or_default();
            let forced = if self.forced { ", forced" } else { "" };
            let why = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            screen.result(&format!("  {} {ended_at:#}{by}{forced}{why}", self.state));
        }
        screen.result(&format!("  {}", self.reservation_id));
    }
}

impl Report for LogReport {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn text(&self, screen: &mut Screen) {
        if let Some(error) = &self.error {
            screen.error(error);
        }
        if self.entries.is_empty() {
            screen.status("no reservations to show");
        }
        for entry in &self.entries {
            entry.text(screen);
        }
        if self.truncated {
            screen.hint(&format!("older ones are left out: --limit N shows more than {}", self.count));
        }
    }
}

pub(crate) fn run(args: &LogArgs, context: &Context) -> Result<Answer<LogReport>, CommandError> {
    let now = context.now();
    let since = moment(args.since.as_ref(), "--since", now)?;
    let until = moment(args.until.as_ref(), "--until", now)?;
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        let message = format!("--until ({until:#}) is before --since ({since:#}): exchange them");
        return Err(CommandError::new(Kind::BadArgs, message));
    }
    let limit = limit(args.limit)?;
    let run = args.run_id.as_ref().map(|run| context.run_id(Some(run))).transpose()?;
    let repository = context.repository()?;
    let mut warnings = Vec::new();
    let address = match &args.address {
        Some(typed) => context.addresses(std::slice::from_ref(typed), &repository, &mut warnings)?.pop(),
        None => None,
    };
    let query = AuditQuery { run, address, since, until, limit };
    let progress = context.progress();
    let trail = context.coordinator(&repository, Purpose::Tend)?.log(&query, &*progress)?;
    drop(progress);

    let AuditTrail { entries, is_truncated, damaged, more_damaged } = trail;
    let (failure, others) = failure_of(damaged);
    warnings.extend(others);
    if more_damaged > 0 {
        warnings.push(format!("{more_damaged} more could not be read"));
    }
    let entries: Vec<Row> = entries.into_iter().map(Row::of).collect();
    let report = LogReport {
        status: failure.status,
        count: entries.len(),
        entries,
        truncated: is_truncated,
        error: failure.error,
        exit_code: failure.exit_code,
    };
    Ok(Answer { report, warnings })
}

/// Reads a time: how long ago, or a point in time.
pub(crate) fn moment(
    text: Option<&OsString>,
    flag: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, CommandError> {
    let Some(text) = text else { return Ok(None) };
    let bad = |why: String| CommandError::new(Kind::BadArgs, format!("{flag}: {why}"));
    let read = text.to_str().ok_or_else(|| bad(clock::MomentError::NotATime.to_string()))?;
    Timestamp::of_moment(read, now).map(Some).map_err(|error| bad(error.to_string()))
}

/// Checks the range.
fn limit(Count(limit): Count) -> Result<usize, CommandError> {
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(usize::try_from(limit).unwrap_or_default());
    }
    let what = if limit < 1 {
        "leave it out for the newest 100"
    } else {
        "narrow the span with --since and --until, or read the lines of .muse/coordination/archive/"
    };
    let message = format!("--limit is how many to show, from 1 to {LIMIT_MAX}: {what}");
    Err(CommandError::new(Kind::BadArgs, message))
}
