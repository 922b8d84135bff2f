//! The start and the end of a session.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use muse_coord::{Coordinator, Engine as _, ReleaseRequest, ReservationId, RunId, State};
use muse_guard::harness::Answer;
use muse_repo::Repository;

use super::words;
use crate::context::{Context, Purpose, RUN_ID_VARIABLE};
use crate::error::CommandError;
use crate::report::shell_word;

/// How many reservations are released at once. Whatever time there is, what was released by then is.
const PART: usize = 50;

/// Why what a session held is given back.
const ENDED: &str = "its session has ended";

/// Tells who works on what, and which run this session is.
pub(super) fn start(run: &RunId, repository: &Repository, context: &Context) -> Result<Answer, String> {
    let unset = match (context.session_file(), context.run_id_of_environment().unwrap_or_default()) {
        (Some(file), None) => name_run(file, run).err().map(|error| {
            format!("\n{RUN_ID_VARIABLE} is not set: {} cannot be written: {error}.", file.display())
        }),
        _ => None,
    };
    let engine = context.engine(repository, Purpose::Ask).map_err(|error| error.message)?;
    let listing = engine.live().map_err(|error| CommandError::from(error).message)?;
    let now = engine.now();
    let is_others = |other: &RunId| !other.descends_from(run) && !run.descends_from(other);
    let mut others = listing.leases;
    others.retain(|lease| lease.state(now) == State::Active && is_others(&lease.reservation.run_id));
    others.sort_by_key(|lease| lease.reservation.token);
    Ok(Answer::Context(words::context(run, &others, now) + &unset.unwrap_or_default()))
}

/// Makes the commands of the session find their run, unless they do already.
fn name_run(file: &Path, run: &RunId) -> io::Result<()> {
    let line = format!("export {RUN_ID_VARIABLE}={}\n", shell_word(run.as_str()));
    let known = match fs::read_to_string(file) {
        Ok(known) => known,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if known.lines().any(|known| known == line.trim_end()) {
        return Ok(());
    }
    let gap = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
    OpenOptions::new().append(true).create(true).open(file)?.write_all(format!("{gap}{line}").as_bytes())
}

/// Gives back all that the run and its subagents hold.
pub(super) fn end(run: &RunId, repository: &Repository, context: &Context) -> Result<Answer, String> {
    let told = |error| CommandError::from(error).message;
    let coordinator =
        Coordinator::new(context.engine(repository, Purpose::Tend).map_err(|error| error.message)?);
    let mut held: BTreeMap<RunId, Vec<ReservationId>> = BTreeMap::new();
    for lease in coordinator.engine().live().map_err(told)?.leases {
        if lease.reservation.run_id.descends_from(run) {
            held.entry(lease.reservation.run_id).or_default().push(lease.reservation.reservation_id);
        }
    }
    if held.is_empty() {
        context.must_not_be_elsewhere(repository).map_err(|error| error.message)?;
    }
    for (run, ids) in held {
        for ids in ids.chunks(PART) {
            let request = ReleaseRequest {
                reservations: ids.to_vec(),
                run: run.clone(),
                reason: Some(ENDED.to_owned()),
                force: false,
            };
            for (_, released) in coordinator.release(&request).map_err(told)? {
                released.map_err(told)?;
            }
        }
    }
    Ok(Answer::Pass)
}
