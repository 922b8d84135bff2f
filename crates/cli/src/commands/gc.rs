//! `muse coord gc`.

use muse_coord::{Collected, Retention, Timestamp, TtlSeconds};
use serde::Serialize;

use crate::args::{GcArgs, Seconds};
use crate::commands::failure_of;
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::output::{Answer, Report, Screen};
use crate::report::duration;

#[derive(Debug, Serialize)]
pub(crate) struct GcReport {
    status: &'static str,
    dry_run: bool,
    older_than_seconds: u32,
    /// How many, and not which: there may be a million. `log` tells.
    archived: usize,
    skipped: usize,
    bytes: u64,
    first_ended_at: Option<Timestamp>,
    last_ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

impl Report for GcReport {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn text(&self, screen: &mut Screen) {
        if let Some(error) = &self.error {
            screen.error(error);
        }
        let count = match self.archived {
            1 => "1 reservation".to_owned(),
            count => format!("{count} reservations"),
        };
        let done = if self.dry_run { "would archive" } else { "archived" };
        let age = duration(self.older_than_seconds.into());
        match (self.first_ended_at, self.last_ended_at) {
            (Some(first), Some(last)) => {
                screen.result(&format!("{done} {count}, which ended between {first:#} and {last:#}"));
            }
            _ => screen.status(&format!("nothing that ended {age} ago or earlier")),
        }
        if self.skipped > 0 {
            screen.status(&format!("{} left: in use just now; the next gc takes them", self.skipped));
        }
    }

    fn carried_out(&self) -> Option<&'static str> {
        (self.archived > 0 && !self.dry_run).then_some("the collection was carried out")
    }
}

pub(crate) fn run(args: &GcArgs, context: &Context) -> Result<Answer<GcReport>, CommandError> {
    let older_than_seconds = older_than(args.older_than)?;
    let repository = context.repository()?;
    let retention = Retention { older_than_seconds, at_most: None, dry_run: args.dry_run };
    let progress = context.progress();
    let collected = context.coordinator(&repository, Purpose::Tend)?.collect(&retention, &*progress)?;
    drop(progress);

    let Collected { archived, skipped, bytes, ended, damaged, stopped_by } = collected;
    let (failure, warnings) = failure_of(stopped_by.into_iter().chain(damaged));
    let report = GcReport {
        status: failure.status,
        dry_run: args.dry_run,
        older_than_seconds,
        archived,
        skipped,
        bytes,
        first_ended_at: ended.map(|(first, _)| first),
        last_ended_at: ended.map(|(_, last)| last),
        error: failure.error,
        exit_code: failure.exit_code,
    };
    Ok(Answer { report, warnings })
}

/// Checks the range.
fn older_than(Seconds(seconds): Seconds) -> Result<u32, CommandError> {
    if let Ok(seconds @ 0..=TtlSeconds::MAX) = u32::try_from(seconds) {
        return Ok(seconds);
    }
    let message = format!("--older-than must be from 0 to {} seconds; nothing was archived", TtlSeconds::MAX);
    Err(CommandError::new(Kind::BadArgs, message))
}
