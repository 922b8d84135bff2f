//! `muse coord engine migrate`.

use std::fs;

use muse_coord::{Carried, Conflict, Load, Moving, ReservationId, RunId, Token};
use muse_repo::Repository;
use serde::Serialize;

use crate::args::{EngineMigrateArgs, EngineName};
use crate::context::Context;
use crate::error::CommandError;
use crate::exit;
use crate::output::{Answer, Report, Screen};

#[derive(Debug, Serialize)]
pub(crate) struct MigrateReport {
    status: &'static str,
    /// Where the reservations were, and where they are: `files` and `etcd`.
    from: &'static str,
    to: &'static str,
    /// The new place, as whoever still uses the old one is told it.
    place: String,
    /// What was moved, with ids and tokens as they were.
    reservations: Vec<MovedRow>,
    /// Who is in the way in the new place, where anybody is: then nothing was moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<Conflict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct MovedRow {
    reservation_id: ReservationId,
    token: Token,
    run_id: RunId,
    /// How long it lasts still, in seconds, rounded up; null for one that has lapsed and that its holder may revive.
    expires_in_seconds: Option<u64>,
}

impl MovedRow {
    fn of(carried: &Carried) -> MovedRow {
        MovedRow {
            reservation_id: carried.reservation.reservation_id,
            token: carried.reservation.token,
            run_id: carried.reservation.run_id.clone(),
            expires_in_seconds: carried.left.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0)),
        }
    }
}

impl Report for MigrateReport {
    fn exit_code(&self) -> u8 {
        if self.error.is_some() { exit::CONFLICT } else { exit::OK }
    }

    fn text(&self, screen: &mut Screen) {
        if let Some(error) = &self.error {
            screen.error(error);
            return;
        }
        let count = match self.reservations.len() {
            1 => "1 reservation".to_owned(),
            count => format!("{count} reservations"),
        };
        screen.result(&format!("moved {count} to {}", self.place));
        screen.hint(&format!(
            "set `engine = \"{}\"` under [coordination] in muse.toml, and commit it: whoever still uses {} is refused",
            self.to, self.from
        ));
    }

    fn carried_out(&self) -> Option<&'static str> {
        self.error.is_none().then_some("the reservations were moved")
    }
}

pub(crate) fn run(
    args: &EngineMigrateArgs,
    context: &Context,
) -> Result<Answer<MigrateReport>, CommandError> {
    let repository = context.repository()?;
    let files = context.files(&repository).telling(context.progress());
    let etcd = context.etcd(&repository)?;
    let in_etcd = etcd.name()?;
    let in_files = place_of_files(&repository);
    let mut warnings = Vec::new();
    let (from, to, place, moving) = match args.to {
        EngineName::Etcd => {
            let moving = files.move_out(&in_etcd, |load| etcd.bring(&in_files, load))?;
            if matches!(moving, Moving::Moved(_)) {
                etcd.lift_fence(&in_files)?;
            }
            ("files", "etcd", in_etcd, moving)
        }
        EngineName::Files => {
            let hand_over = || etcd.hand_over(&in_files);
            let moving = files.move_in(&in_etcd, hand_over, || etcd.lift_fence(&in_files))?;
            if let Moving::Moved(Load { carried, .. }) = &moving {
                etcd.take_away(carried)?;
                if let Err(error) = repository.forget_engine() {
                    let note = repository.note_of_engine();
                    warnings.push(format!("{} cannot be removed ({error}): remove it", note.display()));
                }
            }
            ("etcd", "files", in_files, moving)
        }
    };
    let (reservations, conflicts) = match moving {
        Moving::Moved(load) => (load.carried.iter().map(MovedRow::of).collect(), Vec::new()),
        Moving::InTheWay(conflicts) => (Vec::new(), conflicts),
    };
    let error = conflicts.first().map(|first| {
        format!(
            "nothing was moved: run `{}` holds `{}` there, which overlaps what is held here, and {} in all are in the way: \
             let them be released, or wait, then try again",
            first.run_id(),
            first.held_address,
            conflicts.len()
        )
    });
    let status = if error.is_some() { "conflict" } else { "ok" };
    let report = MigrateReport { status, from, to, place, reservations, conflicts, error };
    Ok(Answer { report, warnings })
}

/// The folder, and the machine that it is on.
fn place_of_files(repository: &Repository) -> String {
    let folder = repository.coordination();
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match machine.trim() {
        "" => format!("files in {}", folder.display()),
        machine => format!("files in {} on {machine}", folder.display()),
    }
}
