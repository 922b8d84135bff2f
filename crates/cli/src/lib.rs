//! The command line of muse: arguments in, one report out.
//!
//! A command takes resolved values, calls the coordinator and returns one report; text and JSON are two
//! renderings of it, so they cannot drift. This is a library only so that the negative twins can be the same
//! program with one protection taken out.

use std::process::ExitCode;

use clap::Parser;
use muse_coord::Safeguards;

mod args;
mod commands;
mod context;
mod error;
mod exit;
mod guard;
mod mcp;
mod output;
mod progress;
mod report;
mod screen;
mod settings;
mod supervise;
mod wait;

/// Runs the command that the process's arguments name, and returns its exit code.
///
/// `safeguards` are the protections of the embedded engine: all of them, in every shipped program.
pub fn run(safeguards: Safeguards) -> ExitCode {
    let context = context::Context::of_process(safeguards);
    if let Some(code) = supervise::step::take(&context) {
        return ExitCode::from(code);
    }
    let code = match args::Cli::try_parse_from(context.arguments_to_parse()) {
        Ok(cli) => commands::dispatch(cli.command, &context),
        Err(error) if context.is_hook() && error.use_stderr() => commands::hook::misused(&error, &context),
        Err(error) => output::print_parser_message(&error, &context),
    };
    ExitCode::from(code)
}
