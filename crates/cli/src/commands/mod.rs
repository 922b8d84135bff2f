//! One file a command: resolved arguments in, one report out.

use std::ffi::OsString;

use muse_coord::{EngineError, ReleaseRequest, ReservationId, TtlSeconds};

use crate::args::{Command, Coord, Engine, Guard, Seconds};
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::output::print;

pub(crate) mod check;
mod completions;
mod demo;
mod engine;
mod fsck;
mod gc;
mod guard;
mod guide;
pub(crate) mod heartbeat;
pub(crate) mod hook;
mod init;
pub(crate) mod list;
mod log;
mod man;
mod mcp;
mod migrate;
pub(crate) mod release;
pub(crate) mod reserve;
mod run;
mod show;
mod symbols;
mod verify;
pub(crate) mod watch;

/// The most reservations of one call, as many as addresses of a reserve.
const RESERVATIONS_MAX: usize = 1000;

/// Runs a command, prints its answer and returns the exit code.
pub(crate) fn dispatch(command: Command, context: &Context) -> u8 {
    match command {
        Command::Init(args) => print(init::run(&args, context), context),
        Command::Coord(Coord::Reserve(args)) => reserve::run(&args, context),
        Command::Coord(Coord::Check(args)) => print(check::run(&args, context), context),
        Command::Coord(Coord::Verify(args)) => print(verify::run(&args, context), context),
        Command::Coord(Coord::Run(args)) => run::run(&args, context),
        Command::Coord(Coord::Heartbeat(args)) => match &args.reservation_id {
            Some(id) => print(heartbeat::run_one(id, &args, context), context),
            None => print(heartbeat::run_all(&args, context), context),
        },
        Command::Coord(Coord::Release(args)) => print(release::run(&args, context), context),
        Command::Coord(Coord::List(args)) => print(list::run(&args, context), context),
        Command::Coord(Coord::Show(args)) => print(show::run(&args, context), context),
        Command::Coord(Coord::Log(args)) => print(log::run(&args, context), context),
        Command::Coord(Coord::Watch(args)) => watch::run(&args, context),
        Command::Coord(Coord::Gc(args)) => print(gc::run(&args, context), context),
        Command::Coord(Coord::Fsck(args)) => print(fsck::run(&args, context), context),
        Command::Coord(Coord::Engine(Engine::Status(args))) => print(engine::status(&args, context), context),
        Command::Coord(Coord::Hook(hook)) => hook::run(&hook, context),
        Command::Coord(Coord::Guard(Guard::Install(args))) => print(guard::install(&args, context), context),
        Command::Coord(Coord::Guard(Guard::Uninstall(args))) => {
            print(guard::uninstall(&args, context), context)
        }
        Command::Coord(Coord::Guard(Guard::Status(args))) => print(guard::status(&args, context), context),
        Command::Coord(Coord::Engine(Engine::Migrate(args))) => print(migrate::run(&args, context), context),
        Command::Coord(Coord::Guide(args)) => print(guide::run(&args), context),
        Command::Mcp(args) => mcp::run(&args, context),
        Command::Symbols(args) => print(symbols::run(&args, context), context),
        Command::Demo(args) => print(demo::run(&args, context), context),
        Command::Completions(args) => print(completions::run(&args), context),
        Command::Man(args) => print(man::run(&args), context),
    }
}

/// Checks the range of a number of seconds. `flag` is what it was given with.
pub(crate) fn ttl(seconds: Seconds, flag: &str) -> Result<TtlSeconds, CommandError> {
    TtlSeconds::new(seconds.0)
        .map_err(|error| CommandError::new(Kind::BadArgs, format!("{flag} {error}; nothing was changed")))
}

/// Reads a reservation id exactly.
pub(crate) fn reservation_id(text: &OsString) -> Result<ReservationId, CommandError> {
    // What is not UTF-8 is not ASCII, so its replacement characters make it no id either.
    Ok(text.to_string_lossy().parse::<ReservationId>()?)
}

/// What is said of a reservation that is neither in the live store nor, where it was looked for, in the archive.
fn not_found(id: ReservationId) -> String {
    format!(
        "reservation {id} not found: check the id with `muse coord list --all`, \
         or with `muse coord log` for those that are over"
    )
}

/// Checks that a reason says something and is not too long.
fn reason(text: Option<&OsString>) -> Result<Option<String>, CommandError> {
    let bad = |message: String| CommandError::new(Kind::BadArgs, message);
    let Some(text) = text else { return Ok(None) };
    let text = text.to_str().ok_or_else(|| bad("--reason is not valid UTF-8: write another".to_owned()))?;
    if text.trim().is_empty() {
        return Err(bad("--reason is empty: say why, for those who look later".to_owned()));
    }
    if text.len() > ReleaseRequest::REASON_BYTES_MAX {
        let max = ReleaseRequest::REASON_BYTES_MAX;
        return Err(bad(format!("--reason is too long ({} bytes; at most {max}): shorten it", text.len())));
    }
    Ok(Some(text.to_owned()))
}

/// What could not be read of the store, as warnings beside an answer that it does not spoil.
fn damage_warnings(damaged: Vec<EngineError>) -> Vec<String> {
    damaged.into_iter().map(|error| CommandError::from(error).message).collect()
}

/// How an answer begins whose store could not be read in part.
struct PartialFailure {
    status: &'static str,
    exit_code: u8,
    error: Option<String>,
}

/// The first error makes the answer a failure, and the others are warnings beside it.
fn failure_of(errors: impl IntoIterator<Item = EngineError>) -> (PartialFailure, Vec<String>) {
    let mut errors = errors.into_iter().map(CommandError::from);
    let failure = match errors.next() {
        Some(CommandError { kind, message, .. }) => {
            let (status, exit_code) = kind.word_and_code();
            PartialFailure { status, exit_code, error: Some(message) }
        }
        None => PartialFailure { status: "ok", exit_code: crate::exit::OK, error: None },
    };
    (failure, errors.map(|error| error.message).collect())
}
