//! `muse coord show`.

use muse_coord::lease::Mark;
use muse_coord::record::Extra;
use muse_coord::{
    Ending, EngineError, Heartbeat, Lease, Operation, Release, ReservationId, Supersession, Timestamp,
};
use serde::Serialize;

use crate::args::ShowArgs;
use crate::commands::{not_found, reservation_id};
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};
use crate::report::{Row, duration};

/// The word for the state of what is in the archive.
const ARCHIVED: &str = "archived";

#[derive(Debug, Serialize)]
pub(crate) struct ShowReport {
    status: &'static str,
    reservation: Row,
    heartbeat: Option<Heartbeat>,
    release: Option<Companion<Release>>,
    superseded: Option<Companion<Supersession>>,
    record_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    archived: Option<Past>,
    /// Fields of the record that this program does not know.
    #[serde(skip_serializing_if = "Extra::is_empty")]
    extra: Extra,
}

/// How a reservation ended that is in the archive.
#[derive(Debug, Serialize)]
struct Past {
    state: Ending,
    ended_at: Timestamp,
    archived_at: Timestamp,
}

/// A record that lies beside the reservation.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Companion<T> {
    Read(T),
    /// It is there, which is what counts, but its content cannot be read.
    Unreadable {
        reservation_id: ReservationId,
    },
}

impl<T> Companion<T> {
    fn of(mark: Mark<T>, reservation_id: ReservationId, warnings: &mut Vec<String>) -> Option<Companion<T>> {
        match mark {
            Mark::Absent => None,
            Mark::Read(content) => Some(Companion::Read(content)),
            Mark::Present => {
                let what = std::any::type_name::<T>().rsplit(':').next().unwrap_or_default().to_lowercase();
                warnings.push(format!("the {what} record of this reservation counts, but cannot be read"));
                Some(Companion::Unreadable { reservation_id })
            }
        }
    }
}

impl Report for ShowReport {
    fn exit_code(&self) -> u8 {
        exit::OK
    }

    fn text(&self, screen: &mut Screen) {
        let row = &self.reservation;
        let mut line = |name: &str, value: &str| screen.result(&format!("{name:<12}{value}"));
        line("reservation", &row.reservation_id.to_string());
        match &self.archived {
            Some(past) => line("state", &format!("archived, {} {:#}", past.state.as_str(), past.ended_at)),
            None => line("state", row.state),
        }
        line("run", row.run_id.as_str());
        line("branch", row.branch.as_deref().unwrap_or("-"));
        for address in &row.addresses {
            line("address", address.as_str());
        }
        line("mode", row.mode.as_str());
        line("operation", row.operation.map_or("-", Operation::as_str));
        line("token", &row.token.to_string());
        line("granted", &format!("{:#} for {}", row.created_at, duration(row.ttl_seconds.into())));
        let left = match row.expires_in_seconds {
            0 => String::new(),
            seconds => format!(" ({} left)", duration(seconds)),
        };
        line("expires", &format!("{:#}{left}", row.effective_expires_at));
        if let Some(heartbeat) = &self.heartbeat {
            line("heartbeat", &format!("{:#} by {}", heartbeat.last_beat_at, heartbeat.run_id));
        }
        match &self.release {
            Some(Companion::Read(release)) => {
                let how = if release.forced { ", forced" } else { "" };
                let why = release.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                line("released", &format!("{:#} by {}{how}{why}", release.released_at, release.run_id));
            }
            Some(Companion::Unreadable { .. }) => line("released", "yes"),
            None => {}
        }
        match &self.superseded {
            Some(Companion::Read(mark)) => line(
                "superseded",
                &format!("{:#} by {}, reservation {}", mark.superseded_at, mark.run_id, mark.superseded_by),
            ),
            Some(Companion::Unreadable { .. }) => line("superseded", "yes"),
            None => {}
        }
        line("record", &self.record_path);
    }
}

pub(crate) fn run(args: &ShowArgs, context: &Context) -> Result<Answer<ShowReport>, CommandError> {
    let id = reservation_id(&args.reservation_id)?;
    let repository = context.repository()?;
    let coordinator = context.coordinator(&repository, Purpose::Tend)?;
    let about = |error: EngineError| CommandError::from(error).about(id);
    let now = context.now();
    let engine = coordinator.engine();
    // The live store first: what is moved in between is in the archive by then.
    let (lease, mut reservation, record_path, archived) =
        if let Some(lease) = coordinator.show(id).map_err(about)? {
            let row = Row::of(&lease, now);
            (lease, row, engine.record_place(id), None)
        } else if let Some((line, path)) = engine.locate_archived(id).map_err(about)? {
            let past = Past { state: line.state, ended_at: line.ended_at, archived_at: line.archived_at };
            let lease = line.into_lease();
            let row = Row::of(&lease, now);
            (lease, row, path, Some(past))
        } else {
            context.must_not_be_elsewhere(&repository).map_err(|error| error.about(id))?;
            return Err(CommandError::new(Kind::NotFound, not_found(id)).about(id));
        };
    if archived.is_some() {
        reservation.state = ARCHIVED;
        reservation.expires_in_seconds = 0;
    }
    let Lease { reservation: record, heartbeat, release, supersession, lapses_at: _ } = lease;
    let mut warnings = Vec::new();
    let report = ShowReport {
        status: "ok",
        reservation,
        heartbeat,
        release: Companion::of(release, id, &mut warnings),
        superseded: Companion::of(supersession, id, &mut warnings),
        record_path: record_path.to_string_lossy().into_owned(),
        archived,
        extra: record.extra,
    };
    Ok(Answer { report, warnings })
}
