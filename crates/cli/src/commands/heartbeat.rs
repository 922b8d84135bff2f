//! `muse coord heartbeat`: the contract of `spec/heartbeat.md`.

use std::ffi::OsString;

use muse_coord::{Beat, Beaten, EngineError, ReservationId, RunId, Supersession, Timestamp};
use serde::Serialize;

use crate::args::HeartbeatArgs;
use crate::commands::{damage_warnings, reservation_id, ttl};
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};
use crate::report::duration;

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum HeartbeatReport {
    Extended(Extended),
    Ended(Ended),
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the contract's")]
pub(crate) struct Extended {
    status: &'static str,
    reservation_id: ReservationId,
    run_id: RunId,
    last_beat_at: Timestamp,
    extended_expires_at: Timestamp,
    ttl_extended_seconds: u32,
    #[serde(skip)]
    is_of_holder: bool,
}

/// The reservation is over for its holder.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    status: &'static str,
    reservation_id: ReservationId,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<Successor>,
    #[serde(skip)]
    exit_code: u8,
    #[serde(skip)]
    hint: Option<String>,
}

/// Who was granted the addresses after they had lapsed, as the reservation's own files tell it.
#[derive(Debug, Serialize)]
pub(crate) struct Successor {
    reservation_id: ReservationId,
    run_id: RunId,
    superseded_at: Timestamp,
}

impl HeartbeatReport {
    /// The reservation, and whether the run that sent the heartbeat holds it now; nothing of another run's.
    pub(crate) fn held(&self) -> Option<(ReservationId, bool)> {
        match self {
            HeartbeatReport::Extended(extended) => {
                extended.is_of_holder.then_some((extended.reservation_id, true))
            }
            HeartbeatReport::Ended(ended) => Some((ended.reservation_id, false)),
        }
    }
}

impl Report for HeartbeatReport {
    fn exit_code(&self) -> u8 {
        match self {
            HeartbeatReport::Extended(_) => exit::OK,
            HeartbeatReport::Ended(ended) => ended.exit_code,
        }
    }

    fn text(&self, screen: &mut Screen) {
        match self {
            HeartbeatReport::Extended(extended) => screen.result(&format!(
                "💓 heartbeat {} run={} extended until {:#} (+{}s)",
                extended.reservation_id,
                extended.run_id,
                extended.extended_expires_at,
                extended.ttl_extended_seconds
            )),
            HeartbeatReport::Ended(ended) => {
                screen.error(&ended.error);
                if let Some(hint) = &ended.hint {
                    screen.hint(hint);
                }
            }
        }
    }

    fn carried_out(&self) -> Option<&'static str> {
        match self {
            HeartbeatReport::Extended(_) => Some("the heartbeat was carried out"),
            HeartbeatReport::Ended(_) => None,
        }
    }
}

pub(crate) fn run_one(
    id: &OsString,
    args: &HeartbeatArgs,
    context: &Context,
) -> Result<Answer<HeartbeatReport>, CommandError> {
    let run = context.run_id(args.identity.run_id.as_ref())?;
    let extension = ttl(args.extension, "--extension")?;
    let reservation = reservation_id(id)?;
    let repository = context.repository_unseen()?;
    let coordinator = context.coordinator(&repository, Purpose::Tend)?;
    let beat = Beat { reservation, run: run.clone(), extension };
    let beaten = coordinator.heartbeat(&beat);
    if matches!(beaten, Err(_) | Ok(Beaten::NotFound)) {
        // A store that is gone says more.
        context.repository()?;
    }
    if matches!(beaten, Ok(Beaten::NotFound)) {
        context.must_not_be_elsewhere(&repository).map_err(|error| error.about(reservation))?;
    }
    let beaten = beaten.map_err(|error| CommandError::from(error).about(reservation))?;
    Ok(match beaten {
        Beaten::Extended { heartbeat, holder, lapsed_seconds, already_over } => {
            let mut answer = Answer::new(HeartbeatReport::Extended(Extended {
                status: "ok",
                reservation_id: reservation,
                run_id: run.clone(),
                last_beat_at: heartbeat.last_beat_at,
                extended_expires_at: heartbeat.extended_expires_at,
                ttl_extended_seconds: extension.get(),
                is_of_holder: holder == run,
            }));
            if holder != run {
                answer.warnings.push(format!("this reservation is held by run `{holder}`, not by `{run}`"));
            }
            answer.warnings.extend(lapse_warnings("it", lapsed_seconds, already_over));
            answer
        }
        over => Answer::new(HeartbeatReport::Ended(ended(reservation, &over))),
    })
}

/// What a run should know of a reservation (`which`) that had lapsed before the heartbeat, or has again after it.
fn lapse_warnings(which: &str, lapsed_seconds: Option<u64>, already_over: bool) -> Vec<String> {
    let lapsed = lapsed_seconds.map(|seconds| {
        let ago = duration(seconds);
        format!("{which} had lapsed {ago} ago and is active again: send heartbeats sooner")
    });
    let over = already_over
        .then(|| format!("{which} has lapsed again, because this process was stopped: send a heartbeat now"));
    lapsed.into_iter().chain(over).collect()
}

/// What there is to say of a reservation that cannot be extended.
fn ended(reservation_id: ReservationId, beaten: &Beaten) -> Ended {
    match beaten {
        Beaten::Released => Ended {
            status: "already_released",
            reservation_id,
            error: format!(
                "reservation {reservation_id} is already released: stop work and stop sending heartbeats"
            ),
            holder: None,
            exit_code: exit::BAD_ARGUMENTS,
            hint: Some(format!("who released it and why: muse coord show {reservation_id}")),
        },
        Beaten::Superseded(Supersession { superseded_by, run_id, superseded_at, .. }) => Ended {
            status: "not_found",
            reservation_id,
            error: format!(
                "reservation {reservation_id} lapsed, and run `{run_id}` was granted its addresses since: \
                 stop work and reserve again"
            ),
            holder: Some(Successor {
                reservation_id: *superseded_by,
                run_id: run_id.clone(),
                superseded_at: *superseded_at,
            }),
            exit_code: exit::NOT_FOUND,
            hint: Some(format!("what they hold: muse coord show {superseded_by}")),
        },
        Beaten::NotFound | Beaten::Extended { .. } => Ended {
            status: "not_found",
            reservation_id,
            error: format!("reservation {reservation_id} not found: check the id, or reserve again"),
            holder: None,
            exit_code: exit::NOT_FOUND,
            hint: None,
        },
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct AllReport {
    status: &'static str,
    reservations: Vec<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

#[derive(Debug, Serialize)]
pub(crate) struct Part {
    reservation_id: ReservationId,
    status: &'static str,
    extended_expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<Successor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

impl AllReport {
    /// The reservations that can be told of, and whether the run holds each now.
    pub(crate) fn held(&self) -> impl Iterator<Item = (ReservationId, bool)> {
        let of_store = |part: &&Part| ![exit::INTERNAL, exit::REMOTE].contains(&part.exit_code);
        self.reservations
            .iter()
            .filter(of_store)
            .map(|part| (part.reservation_id, part.extended_expires_at.is_some()))
    }
}

impl Report for AllReport {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn text(&self, screen: &mut Screen) {
        for part in &self.reservations {
            match (&part.error, part.extended_expires_at) {
                (Some(error), _) => screen.error(error),
                (None, Some(until)) => {
                    screen.result(&format!("💓 heartbeat {} extended until {until:#}", part.reservation_id));
                }
                (None, None) => {}
            }
        }
        if self.reservations.is_empty()
            && let Some(error) = &self.error
        {
            screen.error(error);
        }
    }

    fn carried_out(&self) -> Option<&'static str> {
        self.reservations
            .iter()
            .any(|part| part.extended_expires_at.is_some())
            .then_some("the heartbeats were carried out")
    }
}

pub(crate) fn run_all(args: &HeartbeatArgs, context: &Context) -> Result<Answer<AllReport>, CommandError> {
    let run = context.run_id(args.identity.run_id.as_ref())?;
    let extension = ttl(args.extension, "--extension")?;
    let repository = context.repository()?;
    let all = context.coordinator(&repository, Purpose::Tend)?.heartbeat_all(&run, extension)?;
    if all.beaten.is_empty() {
        context.must_not_be_elsewhere(&repository)?;
    }
    let mut warnings = damage_warnings(all.damaged);
    // Without anything that could be read, that nothing is held is not known.
    let unreadable = warnings.first().cloned();
    let reservations: Vec<Part> =
        all.beaten.into_iter().map(|(id, beaten)| part(id, beaten, &mut warnings)).collect();
    // That somebody said stop outweighs that a disk failed, which outweighs what lapsed.
    let worst = [exit::BAD_ARGUMENTS, exit::INTERNAL, exit::REMOTE, exit::NOT_FOUND]
        .into_iter()
        .find_map(|code| reservations.iter().find(|part| part.exit_code == code));
    let (status, exit_code, error) = match worst {
        Some(part) => (part.status, part.exit_code, part.error.clone()),
        None if reservations.is_empty() && unreadable.is_some() => {
            let (status, exit_code) = Kind::StoreDamaged.word_and_code();
            (status, exit_code, unreadable)
        }
        None if reservations.is_empty() => {
            let nothing = format!("run `{run}` holds nothing: reserve first");
            ("not_found", exit::NOT_FOUND, Some(nothing))
        }
        None => ("ok", exit::OK, None),
    };
    Ok(Answer { report: AllReport { status, reservations, error, exit_code }, warnings })
}

fn part(
    reservation_id: ReservationId,
    beaten: Result<Beaten, EngineError>,
    warnings: &mut Vec<String>,
) -> Part {
    match beaten {
        Ok(Beaten::Extended { heartbeat, lapsed_seconds, already_over, .. }) => {
            let which = format!("reservation {reservation_id}");
            warnings.extend(lapse_warnings(&which, lapsed_seconds, already_over));
            Part {
                reservation_id,
                status: "ok",
                extended_expires_at: Some(heartbeat.extended_expires_at),
                holder: None,
                error: None,
                exit_code: exit::OK,
            }
        }
        Ok(over) => {
            let Ended { status, error, holder, exit_code, .. } = ended(reservation_id, &over);
            Part { reservation_id, status, extended_expires_at: None, holder, error: Some(error), exit_code }
        }
        Err(error) => {
            let error = CommandError::from(error);
            let (status, exit_code) = error.kind.word_and_code();
            Part {
                reservation_id,
                status,
                extended_expires_at: None,
                holder: None,
                error: Some(error.message),
                exit_code,
            }
        }
    }
}
