//! The step between the supervisor and the command: this program, started once more, which sets up what only
//! the new process can set for itself and then becomes the command.
//!
//! It is no command of the argument tree, so no help text and no completion knows it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, getppid};

use super::{signals, terminal};
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::print_error;
use crate::report::shell_word;

/// The first argument of the step.
const NAME: &str = "__exec";
/// Stands for an empty list.
const NONE: &str = "-";

/// What the supervisor tells the step.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// The supervisor.
    pub(super) parent: Pid,
    /// The signals that it has blocked for itself.
    pub(super) unblock: &'a [i32],
    /// Whether the command is to start in the foreground of the terminal.
    pub(super) takes_terminal: bool,
}

impl Step<'_> {
    /// The arguments that stand before the command's own.
    pub(super) fn arguments(&self, json: bool) -> Vec<OsString> {
        let numbers: Vec<String> = self.unblock.iter().map(ToString::to_string).collect();
        let unblock = if numbers.is_empty() { NONE.to_owned() } else { numbers.join(",") };
        let terminal = if self.takes_terminal { "terminal" } else { NONE };
        let parent = self.parent.as_raw_nonzero().to_string();
        let output = if json { "--json" } else { NONE };
        [NAME, &parent, &unblock, terminal, output, "--"].map(OsString::from).to_vec()
    }
}

/// Becomes the command if the arguments are those of the step; returns only if they are not, or if the command
/// could not be started.
pub(crate) fn take(context: &Context) -> Option<u8> {
    let [_, name, parent, unblock, terminal, _, _, program, arguments @ ..] = &context.arguments[..] else {
        return None;
    };
    (name == NAME).then(|| become_command(parent, unblock, terminal, program, arguments, context))
}

fn become_command(
    parent: &OsStr,
    unblock: &OsStr,
    terminal: &OsStr,
    program: &OsStr,
    arguments: &[OsString],
    context: &Context,
) -> u8 {
    let parent: Option<i32> = number(parent);
    if !is_tied_to(parent.and_then(Pid::from_raw)) {
        return exit::LOST;
    }
    if terminal == "terminal" {
        terminal::take();
    }
    let numbers: Vec<i32> =
        unblock.to_string_lossy().split(',').filter_map(|number| number.parse().ok()).collect();
    // From here on a signal that was forwarded already acts.
    if let Err(error) = signals::unblock(&numbers) {
        let message = format!("signals cannot be unblocked ({error}): try again");
        return print_error(CommandError::new(Kind::Internal, message), context);
    }
    print_error(not_started(program, &execute(program, arguments)), context)
}

#[expect(clippy::disallowed_methods, reason = "this process becomes the command")]
fn execute(program: &OsStr, arguments: &[OsString]) -> std::io::Error {
    Command::new(program).args(arguments).exec()
}

/// Lets the kernel tell this process, and the command that it becomes, when its parent dies: by `SIGTERM`. A
/// parent that died before that is noticed by its absence.
#[cfg(target_os = "linux")]
fn is_tied_to(parent: Option<Pid>) -> bool {
    let signal = Some(rustix::process::Signal::TERM);
    // It fails for numbers that are no signals alone.
    rustix::process::set_parent_process_death_signal(signal).unwrap_or_default();
    getppid() == parent
}

/// Other systems have nothing of the kind.
#[cfg(not(target_os = "linux"))]
fn is_tied_to(parent: Option<Pid>) -> bool {
    getppid() == parent
}

fn number(text: &OsStr) -> Option<i32> {
    text.to_str()?.parse().ok()
}

/// Why the command could not be started, with the exit codes of `env` and the shells.
pub(super) fn not_started(program: &OsStr, error: &std::io::Error) -> CommandError {
    let name = shell_word(&program.to_string_lossy());
    if error.kind() == std::io::ErrorKind::NotFound {
        let message = format!("the command {name} was not found ({error}): check its name and the PATH");
        return CommandError::new(Kind::CommandNotFound, message);
    }
    let message =
        format!("the command {name} cannot be executed ({error}): check its permissions and format");
    CommandError::new(Kind::CommandNotExecutable, message)
}
