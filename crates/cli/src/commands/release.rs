//! `muse coord release`.

use muse_coord::{EngineError, ReleaseRequest, Released, ReservationId};
use serde::Serialize;

use crate::args::ReleaseArgs;
use crate::commands::{RESERVATIONS_MAX, damage_warnings, not_found, reason, reservation_id};
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};

#[derive(Debug, Serialize)]
pub(crate) struct ReleaseReport {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

impl ReleaseReport {
    /// The reservations that are over now.
    pub(crate) fn over(&self) -> impl Iterator<Item = ReservationId> {
        self.reservations.iter().filter(|part| part.exit_code == exit::OK).map(|part| part.reservation_id)
    }
}

impl Report for ReleaseReport {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn text(&self, screen: &mut Screen) {
        for part in &self.reservations {
            let done = if part.status == "released" { "released" } else { "already released" };
            match &part.error {
                Some(error) => screen.error(error),
                None => screen.result(&format!("{done} {}", part.reservation_id)),
            }
        }
        if self.reservations.is_empty() {
            screen.status("nothing to release");
        }
    }

    fn carried_out(&self) -> Option<&'static str> {
        self.reservations
            .iter()
            .any(|part| part.status == "released")
            .then_some("the release was carried out")
    }
}

pub(crate) fn run(args: &ReleaseArgs, context: &Context) -> Result<Answer<ReleaseReport>, CommandError> {
    let run = context.run_id(args.identity.run_id.as_ref())?;
    let reason = reason(args.reason.as_ref())?;
    if args.reservation_ids.len() > RESERVATIONS_MAX {
        let count = args.reservation_ids.len();
        let message =
            format!("too many reservations ({count}; at most {RESERVATIONS_MAX}): release them in parts");
        return Err(CommandError::new(Kind::BadArgs, message));
    }
    let ids = args
        .reservation_ids
        .iter()
        .map(reservation_id)
        .collect::<Result<Vec<ReservationId>, CommandError>>()?;

    let repository = context.repository()?;
    let coordinator = context.coordinator(&repository, Purpose::Tend)?;
    let (ids, mut damaged) = if args.all { coordinator.releasable(&run)? } else { (ids, Vec::new()) };
    if ids.is_empty() && !damaged.is_empty() {
        // Without anything that could be read, that nothing is held is not known.
        return Err(damaged.swap_remove(0).into());
    }
    let mut request = ReleaseRequest { reservations: Vec::new(), run, reason, force: args.force };
    // In parts, so that a run with thousands of reservations does not keep the store busy for long.
    let mut reservations = Vec::with_capacity(ids.len());
    for ids in ids.chunks(RESERVATIONS_MAX) {
        request.reservations = ids.to_vec();
        let answers = coordinator.release(&request)?;
        reservations.extend(answers.into_iter().map(|(id, answer)| part(id, answer, &request)));
    }

    if reservations.iter().all(|part: &Part| part.exit_code == exit::NOT_FOUND) {
        context.must_not_be_elsewhere(&repository)?;
    }

    let failed = reservations.iter().find(|part| part.exit_code != exit::OK);
    let status = failed.map_or("ok", |part| part.status);
    let error = failed.and_then(|part| part.error.clone());
    // A store that fails outweighs another run's reservation, which outweighs one that is not there.
    let exit_code = [exit::INTERNAL, exit::REMOTE, exit::CONFLICT, exit::NOT_FOUND]
        .into_iter()
        .find(|&code| reservations.iter().any(|part| part.exit_code == code))
        .unwrap_or(exit::OK);
    Ok(Answer {
        report: ReleaseReport { status, reservations, error, exit_code },
        warnings: damage_warnings(damaged),
    })
}

fn part(
    reservation_id: ReservationId,
    answer: Result<Released, EngineError>,
    request: &ReleaseRequest,
) -> Part {
    let (status, exit_code, error) = match answer {
        Ok(Released::Released) => ("released", exit::OK, None),
        Ok(Released::AlreadyReleased) => ("already_released", exit::OK, None),
        Ok(Released::NotFound) => ("not_found", exit::NOT_FOUND, Some(not_found(reservation_id))),
        Ok(Released::NotHolder { holder }) => {
            let error = format!(
                "reservation {reservation_id} is held by run `{holder}`, not by `{}`: \
                 only a coordinator takes it away, with --force --reason TEXT",
                request.run
            );
            ("not_holder", exit::CONFLICT, Some(error))
        }
        Err(error) => {
            let error = CommandError::from(error);
            let (status, exit_code) = error.kind.word_and_code();
            (status, exit_code, Some(error.message))
        }
    };
    Part { reservation_id, status, error, exit_code }
}
