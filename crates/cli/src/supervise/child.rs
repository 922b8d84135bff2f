//! The command: started in a process group of its own, signalled as a group, and asked how it is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::process::{kill_process_group, test_kill_process_group, waitpid};

use super::signals::Signals;
use super::step::Step;
use crate::context::Context;

/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: u8 = 128;

/// What is started, and what of its environment differs from this process's.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// The command and its arguments.
    pub(crate) words: &'a [OsString],
    pub(crate) variables: &'a [(&'static str, String)],
}

/// How the command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// This signal stopped it.
    Stopped(i32),
    /// It goes on.
    Continued,
    /// It is over.
    Ended(Ended),
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// As a shell would return it.
    pub(super) code: u8,
    /// The number of the signal that ended it, if one did.
    pub(super) signal: Option<i32>,
}

/// A command that was started. It leads its process group, so one number names both.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
}

impl Child {
    /// Starts the step that becomes the command. By then the group exists, so it can be signalled at once. It is
    /// waited for by its id from now on, because it can stop and go on as well.
    #[expect(clippy::disallowed_methods, reason = "a command is what `muse coord run` is asked to start")]
    pub(super) fn start(
        program: &Program,
        signals: &Signals,
        takes_terminal: bool,
        context: &Context,
    ) -> io::Result<Child> {
        let step = Step { parent: rustix::process::getpid(), unblock: signals.added(), takes_terminal };
        let mut command = Command::new(own_program(context)?);
        command.args(step.arguments(context.json)).args(program.words);
        command.envs(program.variables.iter().map(|(name, value)| (name, OsStr::new(value))));
        let child = command.process_group(0).spawn()?;
        // A process id is a positive number that fits.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Child { pid: pid.ok_or(Errno::SRCH)? })
    }

    /// The group that it leads.
    pub(super) const fn group(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to the whole group. One that is gone needs none.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process_group(self.pid, signal).unwrap_or_default();
    }

    /// Whether any process of the group is left.
    pub(super) fn has_group(&self) -> bool {
        test_kill_process_group(self.pid) != Err(Errno::SRCH)
    }

    /// What has become of the command since the last call, if anything has.
    pub(super) fn change(&self) -> io::Result<Option<Change>> {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        Ok(waitpid(Some(self.pid), options)?.and_then(|(_, status)| change(status)))
    }
}

fn change(status: WaitStatus) -> Option<Change> {
    if let Some(signal) = status.stopping_signal() {
        return Some(Change::Stopped(signal));
    }
    if status.continued() {
        return Some(Change::Continued);
    }
    let number = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    let exited = status.exit_status().map(|code| Ended { code: number(code), signal: None });
    let killed = status
        .terminating_signal()
        .map(|signal| Ended { code: SIGNALLED.saturating_add(number(signal)), signal: Some(signal) });
    exited.or(killed).map(Change::Ended)
}

/// This very program, also if its file was replaced or removed since it was started.
fn own_program(context: &Context) -> io::Result<PathBuf> {
    const LINK: &str = "/proc/self/exe";
    if cfg!(target_os = "linux") && Path::new(LINK).exists() {
        return Ok(PathBuf::from(LINK));
    }
    context.program().map_err(|error| io::Error::other(error.message))
}
