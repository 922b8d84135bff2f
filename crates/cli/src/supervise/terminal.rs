//! The terminal that the supervisor was started from, which one process group at a time has.

use std::fs::File;

use rustix::process::{Pid, getpgrp, test_kill_process_group};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

/// The controlling terminal, whatever the standard streams are.
const DEVICE: &str = "/dev/tty";

/// A controlling terminal. That it hangs up in the middle is told by `SIGHUP`; here it only fails.
#[derive(Debug)]
pub(crate) struct Terminal {
    device: File,
    /// How it was set before the command ran.
    modes: Option<Termios>,
    /// Whether the command has to have it whenever this process does.
    is_wanted: bool,
}

impl Terminal {
    /// The terminal, if there is one. `is_interactive` says whether the command reads and writes it: then it
    /// gets it at once. Otherwise (in a pipeline whose other programs may need it) it gets it when it asks.
    pub(crate) fn open(is_interactive: bool) -> Option<Terminal> {
        let device = File::options().read(true).write(true).open(DEVICE).ok()?;
        let modes = tcgetattr(&device).ok();
        Some(Terminal { device, modes, is_wanted: is_interactive })
    }

    /// Whether this process's group is the one in the foreground.
    pub(super) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.device).is_ok_and(|group| group == getpgrp())
    }

    /// Whether the command is to start in the foreground.
    pub(super) fn is_to_be_given(&self) -> bool {
        self.is_wanted && self.is_ours()
    }

    /// The command asked for the terminal from the background.
    pub(super) const fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Puts the command's group into the foreground if it wants that and this process can give it.
    pub(super) fn give(&self, group: Pid) {
        if self.is_to_be_given() {
            // A terminal that is gone cannot be given; the command will be told by SIGHUP.
            tcsetpgrp(&self.device, group).unwrap_or_default();
        }
    }

    /// Puts this process's group into the foreground again, if the command's (or one that has ended, such as a
    /// job of the command's) is there, and says whether it was. A living group of somebody else's is a shell that
    /// took it: it keeps it.
    pub(super) fn take_back(&self, group: Pid) -> bool {
        let is_given = tcgetpgrp(&self.device)
            .is_ok_and(|now| now == group || (now != getpgrp() && test_kill_process_group(now).is_err()));
        if is_given {
            tcsetpgrp(&self.device, getpgrp()).unwrap_or_default();
        }
        is_given
    }

    /// Sets it as it was before the command, which was killed and could not: a shell does that for its own jobs,
    /// but does not see that this one was killed.
    pub(super) fn restore_modes(&self) {
        if let Some(modes) = self.modes.as_ref().filter(|_| self.is_ours()) {
            tcsetattr(&self.device, OptionalActions::Now, modes).unwrap_or_default();
        }
    }
}

/// Puts this process's own group into the foreground of its terminal. `SIGTTOU` has to be blocked.
pub(super) fn take() {
    if let Ok(device) = File::options().read(true).write(true).open(DEVICE) {
        // If it cannot be had, it is asked for when it is needed: the kernel stops whoever reads without it.
        tcsetpgrp(&device, getpgrp()).unwrap_or_default();
    }
}
