//! Holds a reservation while a command runs under it.
//!
//! One loop waits for signals, for the command and for the store, and decides; nothing in it can block, so that
//! the command is stopped in time whatever the store does. Invariants: the command is told to end before its
//! reservation can lapse, and as soon as it is known to be lost; it is dead when the grace is over; the
//! terminal is this process's own again before anything is printed. What there is to say is said at the end.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::context::Context;
use crate::exit;

mod child;
mod deadline;
mod keeper;
mod signals;
pub(crate) mod step;
mod terminal;

pub(crate) use child::Program;
pub(crate) use deadline::{Deadline, Instant};
pub(crate) use keeper::{Keeping, Loss, RELEASE_REASON, Standing};
pub(crate) use signals::{Interrupt, Signals, is_typed};
pub(crate) use terminal::Terminal;

use child::{Change, Child, Ended};
use deadline::{Moment, RETRY};
use keeper::{Job, Keeper, News};
use signals::Arrived;

/// The longest sleep. A timer stands still while the machine sleeps: so long after a resume it is noticed.
#[cfg(target_os = "linux")]
const SLICE: Duration = Duration::from_secs(1);
/// Elsewhere the end of a child may not be readable as a signal, and is asked for.
#[cfg(not(target_os = "linux"))]
const SLICE: Duration = Duration::from_millis(100);
/// How often the reservation is looked at: a few small files, and a forced release is noticed in this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a process that slept over its heartbeats waits for the one that it sends on waking.
const CHANCE: Duration = Duration::from_secs(3);
/// How long a heartbeat that may hang has still when the command was stopped for want of one.
const LAST_JOB: Duration = Duration::from_secs(1);
/// How often a group whose leader has ended is asked whether anybody is left in it: nobody tells.
const GROUP_EVERY: Duration = Duration::from_millis(50);
/// How many changes of the command are taken in one turn: one that stops whenever it is continued must not keep the
/// rest from its turn. For each that is left a signal has come.
const CHANGES_IN_A_TURN: usize = 8;

/// Why a command was told to end.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The reservation is not the run's any more.
    Lost(Loss),
    /// No heartbeat could be written until the reservation was about to lapse, for this reason if one is known.
    Unkept(Option<String>),
}

/// What there is to tell of a command that was started.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The command's own, as a shell would return it.
    pub(crate) code: u8,
    pub(crate) cause: Option<Cause>,
    /// How a key of the terminal ended it, if one did.
    pub(crate) interrupt: Option<Interrupt>,
    pub(crate) warnings: Vec<String>,
}

/// A command, its reservation, and what has become of them.
#[derive(Debug)]
struct Supervisor<'a> {
    child: Child,
    signals: &'a Signals,
    terminal: Option<Terminal>,
    keeper: Keeper,
    deadline: Deadline,
    next_look: Moment,
    /// Not before this a heartbeat is sent again.
    next_beat: Moment,
    /// The store's clock says that the reservation has lapsed already.
    has_lapsed: bool,
    /// When a heartbeat was first tried, of those since the last one that was written.
    tried: Option<Moment>,
    /// Why the last heartbeat was not written.
    trouble: Option<String>,
    /// The signal that stopped the command, while it is stopped.
    stopped: Option<i32>,
    /// The command may go on once the reservation is known to be held still.
    is_held_back: bool,
    /// The last signal that asked the command to end and came by here; once it has ended, only if that may be why.
    passed_on: Option<Arrived>,
    stopping: Option<Stopping>,
    ended: Option<Ended>,
    warnings: Vec<String>,
}

/// A command that was told to end.
#[derive(Debug)]
struct Stopping {
    cause: Cause,
    kill_at: Moment,
    is_killed: bool,
}

/// Starts a command and supervises it to its end; an error if it could not be started.
///
/// When this returns, nobody keeps the reservation any more, but for a last heartbeat that hangs.
pub(crate) fn run(
    program: &Program,
    keeping: Keeping,
    deadline: Deadline,
    terminal: Option<Terminal>,
    signals: &Signals,
    context: &Context,
) -> io::Result<Outcome> {
    let keeper = Keeper::start(keeping)?;
    let takes_terminal = terminal.as_ref().is_some_and(Terminal::is_to_be_given);
    let child = match Child::start(program, signals, takes_terminal, context) {
        Ok(child) => child,
        Err(error) => {
            keeper.end();
            return Err(error);
        }
    };
    let now = Moment::now();
    let supervisor = Supervisor {
        child,
        signals,
        terminal,
        keeper,
        deadline,
        next_look: now.plus(LOOK_EVERY),
        next_beat: now,
        has_lapsed: false,
        tried: None,
        trouble: None,
        stopped: None,
        is_held_back: false,
        passed_on: None,
        stopping: None,
        ended: None,
        warnings: Vec::new(),
    };
    Ok(supervisor.supervise())
}

impl Supervisor<'_> {
    fn supervise(mut self) -> Outcome {
        let ended = self.watch().unwrap_or_else(|error| {
            // Nothing is known of the command any more: it must not go on unwatched.
            self.child.signal(Signal::KILL);
            self.warnings.push(format!("the command cannot be watched ({error}), and was killed"));
            Ended { code: exit::INTERNAL, signal: Some(Signal::KILL.as_raw()) }
        });
        let mut had_terminal = false;
        if let Some(terminal) = &self.terminal {
            had_terminal = terminal.take_back(self.child.group());
            if ended.signal.is_some() {
                terminal.restore_modes();
            }
        }
        let interrupt = self.interrupt(ended, had_terminal);
        let cause = self.stopping.map(|stopping| stopping.cause);
        if matches!(cause, Some(Cause::Unkept(_))) {
            self.keeper.leave(LAST_JOB);
        } else {
            self.keeper.end();
        }
        Outcome { code: ended.code, cause, interrupt, warnings: self.warnings }
    }

    /// Whether a key of the terminal has ended the command. The key's signal has come to whoever had the terminal: to
    /// the command, or to this process's group, which the command is none of.
    fn interrupt(&self, ended: Ended, had_terminal: bool) -> Option<Interrupt> {
        let keys = [Signal::INT, Signal::QUIT];
        let signal = keys.into_iter().find(|key| ended.signal == Some(key.as_raw()))?;
        let passed_on = self.passed_on.filter(|arrived| arrived.signal == signal);
        let is_typed = passed_on.map_or(had_terminal, |arrived| arrived.is_typed);
        is_typed.then_some(Interrupt { signal, is_to_be_told: passed_on.is_none() })
    }

    fn watch(&mut self) -> io::Result<Ended> {
        loop {
            let has_to_act = self.receive()?;
            self.wait_for_child()?;
            // A stopped process acts on it only when it goes on.
            if has_to_act && self.stopped.is_some() {
                self.go_on();
            }
            while let Some(news) = self.keeper.hear()? {
                self.learn(news);
            }
            if let Some(ended) = self.ended.filter(|_| self.is_over()) {
                return Ok(ended);
            }
            self.offer_terminal();
            let now = Moment::now();
            self.enforce(now);
            self.ask(now);
            self.sleep(now)?;
        }
    }

    /// Passes on what has come for the command, and says whether any of it asks it to end. What the terminal sends to
    /// its foreground never comes by here while the command's group is that, so nothing reaches it twice.
    fn receive(&mut self) -> io::Result<bool> {
        let mut has_to_act = false;
        while let Some(arrived) = self.signals.next()? {
            let signal = arrived.signal;
            match signal {
                Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT => {
                    self.child.signal(signal);
                    self.passed_on = Some(arrived);
                    has_to_act = true;
                }
                Signal::CONT if self.stopped.is_some() => self.go_on(),
                // Others of its group may be stopped though it is not.
                Signal::CONT | Signal::TSTP => self.child.signal(signal),
                // A child's: it is asked in any case. The terminal's: for others of this group.
                _ => {}
            }
        }
        Ok(has_to_act)
    }

    fn wait_for_child(&mut self) -> io::Result<()> {
        for _ in 0..CHANGES_IN_A_TURN {
            if self.ended.is_some() {
                break;
            }
            match self.child.change()? {
                None => break,
                Some(Change::Stopped(signal)) => self.follow(signal)?,
                Some(Change::Continued) => self.stopped = None,
                Some(Change::Ended(ended)) => {
                    self.ended = Some(ended);
                    let now = Moment::now();
                    self.passed_on = self.passed_on.filter(|arrived| arrived.is_why(now));
                }
            }
        }
        Ok(())
    }

    /// The command has stopped. Where there is a terminal, and so job control, this process stops with it, for
    /// the shell to see; it goes on with it when the shell says so. While both are stopped nothing extends the
    /// reservation. Without a terminal this process goes on alone, and so do the heartbeats: whoever stopped the
    /// command continues it, or ends it.
    fn follow(&mut self, signal: i32) -> io::Result<()> {
        self.stopped = Some(signal);
        if self.stopping.is_some() {
            self.child.signal(Signal::CONT);
            return Ok(());
        }
        let Some(terminal) = &mut self.terminal else { return Ok(()) };
        if is_for_terminal(signal) {
            terminal.want();
            if terminal.is_ours() {
                self.go_on();
                return Ok(());
            }
        }
        terminal.take_back(self.child.group());
        let own = Signal::from_named_raw(signal).filter(|signal| *signal != Signal::STOP);
        signals::stop_own_group(own.unwrap_or(Signal::TSTP))?;
        // A heartbeat that was under way has slept too.
        self.tried = None;
        // Either the shell has continued this process, and its signal is passed on here; or the kernel has discarded
        // the one that stops, because nobody could continue it: then the command must not stay stopped either.
        let has_to_act = self.receive()?;
        if self.stopped.is_some() && (has_to_act || signal == Signal::TSTP.as_raw()) {
            self.go_on();
        }
        Ok(())
    }

    /// A command that stopped for want of the terminal gets it as soon as this process has it.
    fn offer_terminal(&mut self) {
        let waits = self.stopped.is_some_and(is_for_terminal) && !self.is_held_back;
        if waits && self.terminal.as_ref().is_some_and(Terminal::is_ours) {
            self.go_on();
        }
    }

    /// Continues the command; but if its reservation may have lapsed meanwhile, only after a heartbeat.
    fn go_on(&mut self) {
        self.is_held_back = Moment::now() >= self.deadline.stop_at();
        if self.is_held_back {
            return;
        }
        self.stopped = None;
        if let Some(terminal) = &self.terminal {
            terminal.give(self.child.group());
        }
        self.child.signal(Signal::CONT);
    }

    fn learn(&mut self, news: News) {
        match news.standing {
            Ok(Standing::Held { until, has_lapsed }) => {
                self.has_lapsed = has_lapsed;
                if news.job == Job::Beat {
                    self.deadline.extended(until, news.at);
                    (self.tried, self.trouble) = (None, None);
                } else {
                    self.deadline.learn(until, news.at);
                }
                self.warnings.extend(news.lapsed_seconds.map(|seconds| {
                    format!("the reservation had lapsed {seconds} s ago; nobody was granted its addresses meanwhile")
                }));
                if self.is_held_back {
                    self.go_on();
                }
            }
            Ok(Standing::Lost(loss)) => self.stop(Cause::Lost(loss)),
            Err(error) if news.job == Job::Beat => {
                self.trouble = Some(error.message);
                self.next_beat = Moment::now().plus(RETRY);
            }
            // That it could not be looked at is no loss: the heartbeats decide.
            Err(_) => {}
        }
    }

    /// Tells the command to end.
    fn stop(&mut self, cause: Cause) {
        if let Some(stopping) = &mut self.stopping {
            stopping.cause = cause;
            return;
        }
        if self.ended.is_some() {
            return;
        }
        let told = Moment::now();
        self.child.signal(Signal::TERM);
        // A stopped process acts on it only when it goes on.
        self.child.signal(Signal::CONT);
        let kill_at = match cause {
            Cause::Lost(_) => self.deadline.grace_from(told),
            Cause::Unkept(_) => self.deadline.kill_at(told),
        };
        self.stopping = Some(Stopping { cause, kill_at, is_killed: false });
    }

    /// Stops the command before its reservation lapses, and kills what has not ended when the grace is over.
    fn enforce(&mut self, now: Moment) {
        if let Some(stopping) = &mut self.stopping {
            if !stopping.is_killed && now >= stopping.kill_at {
                self.child.signal(Signal::KILL);
                stopping.is_killed = true;
            }
        } else if self.is_out_of_time(now) {
            self.stop(Cause::Unkept(self.trouble.clone()));
        }
    }

    /// Whether the command has to end now: no heartbeat that was tried was written in time. A process that slept
    /// past that moment, so that none was tried, gets one chance to: perhaps nobody has taken the reservation.
    fn is_out_of_time(&mut self, now: Moment) -> bool {
        let stop_at = self.deadline.stop_at();
        if now < stop_at {
            return false;
        }
        let first = *self.tried.get_or_insert(now);
        first < stop_at || self.trouble.is_some() || now >= first.plus(CHANCE)
    }

    /// Asks for a heartbeat or a look, if one is due.
    fn ask(&mut self, now: Moment) {
        let is_lost = matches!(&self.stopping, Some(Stopping { cause: Cause::Lost(_), .. }));
        if self.keeper.is_busy() || is_lost {
            return;
        }
        if (self.has_lapsed || now >= self.deadline.beat_at()) && now >= self.next_beat {
            self.tried.get_or_insert(now);
            self.keeper.ask(Job::Beat);
        } else if now >= self.next_look {
            self.keeper.ask(Job::Look);
        } else {
            return;
        }
        self.next_look = now.plus(LOOK_EVERY);
    }

    /// Whether nothing is left to do: the command has ended, and if it was told to, its whole group.
    fn is_over(&self) -> bool {
        self.stopping.as_ref().is_none_or(|stopping| stopping.is_killed || !self.child.has_group())
    }

    /// Sleeps until something happens or is due.
    fn sleep(&self, now: Moment) -> io::Result<()> {
        let mut wake = now.plus(SLICE);
        let mut at = |due: Moment| {
            // What is past was done, or waits for something that wakes this process.
            if due > now {
                wake = wake.min(due);
            }
        };
        at(self.deadline.stop_at());
        if let Some(tried) = self.tried {
            at(tried.plus(CHANCE));
        }
        if let Some(stopping) = &self.stopping {
            at(stopping.kill_at);
        }
        if !self.keeper.is_busy() {
            at(self.next_look);
            at(self.deadline.beat_at().max(self.next_beat));
        }
        if self.ended.is_some() {
            at(now.plus(GROUP_EVERY));
        }
        await_any([self.signals.readable(), self.keeper.readable()], wake.since(now))?;
        Ok(())
    }
}

/// Whether a signal stops whoever uses the terminal from the background.
fn is_for_terminal(signal: i32) -> bool {
    [Signal::TTIN, Signal::TTOU].iter().any(|known| known.as_raw() == signal)
}

/// Waits until one of these can be read; says whether one can.
fn await_any<const N: usize>(readable: [BorrowedFd<'_>; N], time: Duration) -> io::Result<bool> {
    let mut entries = readable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let time = Timespec::try_from(time).map_err(io::Error::other)?;
    match poll(&mut entries, Some(&time)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    await_any([fd], Duration::ZERO)
}

/// How the reservation was lost, if it is: looked at once more when the command has ended. What the run gave
/// back itself, as a last act of the command, is not lost.
pub(crate) fn lost_by_now(keeping: &Keeping) -> Option<Cause> {
    match keeping.look() {
        Ok(Standing::Lost(Loss::Released { by: Some(by), .. } | Loss::OtherEnded(by)))
            if by == keeping.run =>
        {
            None
        }
        Ok(Standing::Lost(loss)) => Some(Cause::Lost(loss)),
        Ok(Standing::Held { .. }) => None,
        // What cannot be read is told when the reservation is released.
        Err(_) => {
            keeping.hurry();
            None
        }
    }
}
