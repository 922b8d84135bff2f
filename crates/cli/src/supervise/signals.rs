//! The signals that the supervisor waits for instead of being interrupted by them.
//!
//! They are blocked and read as events. No handler is installed for what was ignored when this process was started
//! (`nohup`, a shell's background job): that stays as it was, and the command inherits it. There are two exceptions,
//! which the command gets the default for: `SIGCHLD`, because whoever ignores it is not told how its child ends, and
//! `SIGPIPE`, which the Rust runtime ignores for this process and `std` sets to the default for what it starts.
//!
//! A blocked signal stays pending until it is read, so none is lost between a grant and the command's start. The mask
//! itself would be inherited too: the step before the command takes it back (see [`super::step`]).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_current_process_group, setrlimit};
use signal_hook::{flag, low_level};

use super::deadline::Moment;

/// Those that are blocked. The terminal's own (`SIGTTIN`, `SIGTTOU`) are because another process of the same
/// pipeline can bring them upon this one, which must go on; and because whoever hands the terminal over from
/// the background would be stopped by `SIGTTOU`.
const BLOCKED: [(NixSignal, Signal); 9] = [
    (NixSignal::SIGCHLD, Signal::CHILD),
    (NixSignal::SIGINT, Signal::INT),
    (NixSignal::SIGTERM, Signal::TERM),
    (NixSignal::SIGHUP, Signal::HUP),
    (NixSignal::SIGQUIT, Signal::QUIT),
    (NixSignal::SIGTSTP, Signal::TSTP),
    (NixSignal::SIGCONT, Signal::CONT),
    (NixSignal::SIGTTIN, Signal::TTIN),
    (NixSignal::SIGTTOU, Signal::TTOU),
];

/// A signal that has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) signal: Signal,
    /// A key of the terminal sent it, and so to this process's whole group; no process did. Told on Linux alone.
    pub(super) is_typed: bool,
    /// When it was read here.
    pub(super) at: Moment,
}

/// How long after a signal a command may take to tidy up and to end by that same signal. A key is remembered for longer:
/// it comes by here where the command does not have the terminal, so that nothing else tells of it. Any other must not
/// hide a key that came after it.
const TIDY_AFTER_KEY: Duration = Duration::from_secs(10);
const TIDY_AFTER_OTHER: Duration = Duration::from_secs(1);

impl Arrived {
    /// Whether a command that ended at `end` by a signal of this name was ended by this one, and not by a later one that
    /// did not come by here.
    pub(super) fn is_why(&self, end: Moment) -> bool {
        end.since(self.at) <= if self.is_typed { TIDY_AFTER_KEY } else { TIDY_AFTER_OTHER }
    }
}

/// Blocked signals, to be read one after the other.
#[derive(Debug)]
pub(crate) struct Signals {
    /// The numbers of those that were not blocked before.
    added: Vec<i32>,
    source: Source,
}

impl Signals {
    /// Blocks the signals in this thread and in those that it starts from now on. To be called while it is the
    /// only one.
    pub(crate) fn block() -> io::Result<Signals> {
        // Nobody reads the flag. With any handler the signal is not ignored, and what this process starts has none.
        flag::register(NixSignal::SIGCHLD as i32, Arc::default())?;
        let before = SigSet::thread_get_mask()?;
        let set: SigSet = BLOCKED.iter().map(|(signal, _)| *signal).collect();
        set.thread_block()?;
        let added = set.iter().filter(|signal| !before.contains(*signal));
        Ok(Signals { added: added.map(|signal| signal as i32).collect(), source: Source::of(&set)? })
    }

    /// The numbers of the signals that a process started from here has to unblock.
    pub(super) fn added(&self) -> &[i32] {
        &self.added
    }

    /// The next signal that has arrived, if any has.
    pub(super) fn next(&self) -> io::Result<Option<Arrived>> {
        let Some((number, is_typed)) = self.source.next()? else { return Ok(None) };
        let known = BLOCKED.iter().find(|(signal, _)| *signal as i32 == number);
        Ok(known.map(|(_, signal)| Arrived { signal: *signal, is_typed, at: Moment::now() }))
    }

    /// Can be read as soon as a signal has arrived.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.source.fd()
    }
}

/// Unblocks the signals of these numbers in this thread. Those that are pending act now.
pub(super) fn unblock(numbers: &[i32]) -> io::Result<()> {
    let set: SigSet = numbers.iter().filter_map(|&number| NixSignal::try_from(number).ok()).collect();
    Ok(set.thread_unblock()?)
}

/// Stops this process and its whole group (a pipeline, a script) as `signal` does, and returns when they go on.
///
/// The kernel discards the signal for a process in an orphaned group, which nobody could continue: then this
/// returns at once. Therefore it is the default action of the signal, and not `SIGSTOP`.
pub(super) fn stop_own_group(signal: Signal) -> io::Result<()> {
    let own = BLOCKED.iter().find(|(_, known)| *known == signal).map(|(own, _)| *own);
    let set: SigSet = own.into_iter().collect();
    kill_current_process_group(signal)?;
    set.thread_unblock()?;
    Ok(set.thread_block()?)
}

/// A key of the terminal ended the command, or the wait before it, by this signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt {
    pub(super) signal: Signal,
    /// It went to the command's group alone, which had the terminal: this process's own group knows nothing of it.
    pub(super) is_to_be_told: bool,
}

impl Interrupt {
    /// The key reached this process itself, with its whole group.
    pub(crate) const fn told(signal: Signal) -> Interrupt {
        Interrupt { signal, is_to_be_told: false }
    }

    /// Ends this process by the signal, as the key would have without it: a shell that runs a script or a loop goes on
    /// to the next step after a program that exits, whatever its code, and stops after one that a key has ended.
    ///
    /// Returns where no signal can end it, so that the exit code tells.
    pub(crate) fn end_by_it(self) {
        if !has_default_actions(std::process::id()) {
            return;
        }
        leave_no_core();
        if self.is_to_be_told {
            // For this process itself it stays pending, blocked as it is.
            kill_current_process_group(self.signal).unwrap_or_default();
        }
        // It fails for numbers that are no signals alone. If the signal did nothing, it would abort this process.
        low_level::emulate_default_handler(self.signal.as_raw()).unwrap_or_default();
    }
}

/// Whether a signal of which nothing is made ends this process as usual. For the first one of a container (of a PID
/// namespace) the kernel discards such a signal.
const fn has_default_actions(pid: u32) -> bool {
    pid != 1
}

/// Keeps the kernel from writing this process's memory to a file: what went wrong, if anything did, is the command's.
fn leave_no_core() {
    let none = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    setrlimit(Resource::Core, none).unwrap_or_default();
    // The limit does not hold where cores are piped into a program.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .unwrap_or_default();
}

/// Whether a signal that came with this code was sent by the kernel itself, as for a key of the terminal.
#[cfg(target_os = "linux")]
pub(crate) const fn is_typed(code: i32) -> bool {
    code == nix::libc::SI_KERNEL
}

/// Other systems do not tell.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn is_typed(_: i32) -> bool {
    false
}

/// Where blocked signals are read: a file descriptor that the kernel fills.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Source(nix::sys::signalfd::SignalFd);

#[cfg(target_os = "linux")]
impl Source {
    fn of(set: &SigSet) -> io::Result<Source> {
        use nix::sys::signalfd::{SfdFlags, SignalFd};
        Ok(Source(SignalFd::with_flags(set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The number of a signal, and whether the kernel sent it by itself.
    fn next(&self) -> io::Result<Option<(i32, bool)>> {
        let info = self.0.read_signal()?;
        Ok(info.and_then(|info| Some((i32::try_from(info.ssi_signo).ok()?, is_typed(info.ssi_code)))))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where blocked signals are read: a pipe, filled by a thread that waits for them. `SIGTSTP` is left out, or
/// the thread would take it from [`stop_own_group`].
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Source(io::PipeReader);

#[cfg(not(target_os = "linux"))]
impl Source {
    fn of(set: &SigSet) -> io::Result<Source> {
        use std::io::Write as _;
        let (reader, mut writer) = io::pipe()?;
        let mut awaited = *set;
        awaited.remove(NixSignal::SIGTSTP);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while let Ok(signal) = awaited.wait() {
                if writer.write_all(&(signal as i32).to_ne_bytes()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Source(reader))
    }

    fn next(&self) -> io::Result<Option<(i32, bool)>> {
        use std::io::Read as _;
        if !super::is_readable(self.fd())? {
            return Ok(None);
        }
        let mut number = [0; 4];
        (&self.0).read_exact(&mut number)?;
        Ok(Some((i32::from_ne_bytes(number), false)))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_of_a_container_cannot_be_ended_by_its_own_signal() {
        assert!(!has_default_actions(1));
        assert!(has_default_actions(2));
    }
    #[test]
    fn a_signal_that_the_command_survived_is_not_why_it_ends_later() {
        let at = Moment::now();
        let is_why = |is_typed, milliseconds| {
            let end = at.plus(Duration::from_millis(milliseconds));
            Arrived { signal: Signal::INT, is_typed, at }.is_why(end)
        };
        assert_eq!([0, 1000, 1001].map(|after| is_why(false, after)), [true, true, false]);
        assert_eq!([0, 10_000, 10_001].map(|after| is_why(true, after)), [true, true, false]);
    }
}
