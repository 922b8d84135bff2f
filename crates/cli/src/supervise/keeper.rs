//! Looks at the reservation and sends its heartbeats, on a thread of its own: a store whose lock is held, or a
//! disk that does not answer, must not keep the supervisor from stopping the command in time.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use muse_coord::{
    AnyEngine, Beat, Beaten, Clock as _, Coordinator, Lease, ReservationId, RunId, State, SystemClock,
    Timestamp, TtlSeconds,
};

use super::deadline::Instant;
use crate::error::CommandError;

/// What the tombstone of a reservation says that was held for a command.
pub(crate) const RELEASE_REASON: &str = "the command that it was held for ended";

/// The reservation that is kept, and what keeps it.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) coordinator: Coordinator<AnyEngine<SystemClock>>,
    pub(crate) reservation: ReservationId,
    pub(crate) run: RunId,
    pub(crate) ttl: TtlSeconds,
}

/// What the store says of the reservation.
#[derive(Debug)]
pub(crate) enum Standing {
    /// The run has it, until then at least.
    Held { until: Timestamp, has_lapsed: bool },
    /// The run does not have it any more.
    Lost(Loss),
}

/// How a reservation was lost.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It was released, by this run and for this reason if that could be read.
    Released { by: Option<RunId>, reason: Option<String> },
    /// It was granted to this run for another command, which shared it, and which has ended.
    OtherEnded(RunId),
    /// It lapsed, and somebody was granted its addresses.
    Superseded { by: Option<RunId> },
    /// There is no such reservation any more.
    Gone,
}

impl Loss {
    /// How it was lost, as the end of a sentence.
    pub(crate) fn describe(&self) -> String {
        match self {
            Loss::Released { by: Some(by), reason: Some(reason) } => {
                format!("run `{by}` released it: {reason}")
            }
            Loss::Released { by: Some(by), reason: None } => format!("run `{by}` released it"),
            Loss::Released { by: None, .. } => "it was released".to_owned(),
            Loss::OtherEnded(run) => {
                format!("another command of run `{run}` that it was granted for has ended, and gave it back")
            }
            Loss::Superseded { by: Some(by) } => {
                format!("it lapsed, and run `{by}` was granted its addresses")
            }
            Loss::Superseded { by: None } => {
                "it lapsed, and another run was granted its addresses".to_owned()
            }
            Loss::Gone => "it is not in the store any more".to_owned(),
        }
    }

    /// How to keep that from happening again, if the run itself can.
    pub(crate) fn advice(&self) -> Option<String> {
        let Loss::OtherEnded(run) = self else { return None };
        Some(format!(
            "commands of one run with the same addresses share a reservation: give each a run id of its own \
             (`{run}/1`, `{run}/2`) and --wait to take turns, or reserve the addresses under `{run}` before them, \
             which no command gives back"
        ))
    }
}

/// How long a call may take once the store did not answer: nothing depends on it, for the reservation lapses by itself.
const HURRIED: Duration = Duration::from_secs(1);

impl Keeping {
    /// From now on a store that does not answer is not waited for as long as otherwise.
    pub(crate) fn hurry(&self) {
        self.coordinator.engine().limit_calls(HURRIED);
    }

    /// Looks at the reservation.
    pub(super) fn look(&self) -> Result<Standing, CommandError> {
        let Some(lease) = self.coordinator.show(self.reservation)? else {
            return Ok(Standing::Lost(Loss::Gone));
        };
        Ok(standing(&lease, SystemClock.now()))
    }

    /// Extends the reservation to a TTL from now. Also says for how many seconds it had lapsed, if it had.
    pub(crate) fn beat(&self) -> Result<(Standing, Option<u64>), CommandError> {
        let beat = Beat { reservation: self.reservation, run: self.run.clone(), extension: self.ttl };
        let lost = match self.coordinator.heartbeat(&beat)? {
            Beaten::Extended { lapsed_seconds, .. } => return Ok((self.look()?, lapsed_seconds)),
            Beaten::Released => Loss::Released { by: None, reason: None },
            Beaten::Superseded(mark) => Loss::Superseded { by: Some(mark.run_id) },
            Beaten::NotFound => Loss::Gone,
        };
        // The records say more than the answer, if they can be read.
        match self.look() {
            Ok(Standing::Lost(lost)) => Ok((Standing::Lost(lost), None)),
            _ => Ok((Standing::Lost(lost), None)),
        }
    }
}

fn standing(lease: &Lease, now: Timestamp) -> Standing {
    let state = lease.state(now);
    match state {
        State::Released => {
            let Some(release) = lease.release.content() else {
                return Standing::Lost(Loss::Released { by: None, reason: None });
            };
            let (by, reason) = (release.run_id.clone(), release.reason.clone());
            let is_command = by == lease.reservation.run_id && reason.as_deref() == Some(RELEASE_REASON);
            Standing::Lost(if is_command {
                Loss::OtherEnded(by)
            } else {
                Loss::Released { by: Some(by), reason }
            })
        }
        State::Superseded => {
            let by = lease.supersession.content().map(|mark| mark.run_id.clone());
            Standing::Lost(Loss::Superseded { by })
        }
        State::Active | State::Lapsed => {
            Standing::Held { until: lease.least_expiry(), has_lapsed: state == State::Lapsed }
        }
    }
}

/// What the keeper is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Look,
    Beat,
}

/// What came of a job.
#[derive(Debug)]
pub(super) struct News {
    pub(super) job: Job,
    /// When it was begun.
    pub(super) at: Instant,
    pub(super) standing: Result<Standing, CommandError>,
    /// For how many seconds the reservation had lapsed before a heartbeat, if it had.
    pub(super) lapsed_seconds: Option<u64>,
}

/// The thread, and the ways to and from it.
#[derive(Debug)]
pub(super) struct Keeper {
    jobs: Sender<Job>,
    news: Receiver<News>,
    /// Has a byte for each piece of news: what waits for signals can wait for this too.
    bell: PipeReader,
    thread: JoinHandle<()>,
    is_busy: bool,
}

impl Keeper {
    pub(super) fn start(keeping: Keeping) -> io::Result<Keeper> {
        let (jobs, received) = channel();
        let (sender, news) = channel();
        let (bell, ringer) = io::pipe()?;
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || keep(&keeping, &received, &sender, ringer))?;
        Ok(Keeper { jobs, news, bell, thread, is_busy: false })
    }

    /// Whether the last job is still under way.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_busy
    }

    pub(super) fn ask(&mut self, job: Job) {
        // The thread ends only after this side has.
        self.is_busy = self.jobs.send(job).is_ok();
    }

    /// Can be read as soon as there is news.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What came of the job, if it is done.
    pub(super) fn hear(&mut self) -> io::Result<Option<News>> {
        let Ok(news) = self.news.try_recv() else { return Ok(None) };
        self.is_busy = false;
        // The byte was written after the news was sent, so this waits for an instant at most.
        self.bell.read_exact(&mut [0])?;
        Ok(Some(news))
    }

    /// Leaves the thread to itself once it has had so long for the job that is under way: it waits for a store that does
    /// not answer, and ends with the process.
    pub(super) fn leave(self, time_max: Duration) {
        if self.is_busy {
            // Whether it was done in time changes nothing.
            super::await_any([self.readable()], time_max).unwrap_or_default();
        }
    }

    /// Ends the thread, after the job that is under way: every wait for the store has an end.
    pub(super) fn end(self) {
        drop(self.jobs);
        // It does not panic; if it did, there would be nothing more to do.
        self.thread.join().unwrap_or_default();
    }
}

fn keep(keeping: &Keeping, jobs: &Receiver<Job>, news: &Sender<News>, mut bell: PipeWriter) {
    for job in jobs {
        let at = Instant::now(|| SystemClock.now());
        let (standing, lapsed_seconds) = match job {
            Job::Look => (keeping.look(), None),
            Job::Beat => match keeping.beat() {
                Ok((standing, lapsed_seconds)) => (Ok(standing), lapsed_seconds),
                Err(error) => (Err(error), None),
            },
        };
        if news.send(News { job, at, standing, lapsed_seconds }).is_err() || bell.write_all(&[0]).is_err() {
            break;
        }
    }
}
