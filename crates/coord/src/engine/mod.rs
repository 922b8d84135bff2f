//! What an engine promises. Two places to keep the state are behind one trait: files that processes share
//! ([`file::FileEngine`]) and memory, the model for tests ([`memory::MemoryEngine`]).
//!
//! The trait speaks of grants and heartbeats, not of files: an engine whose atomic step is a file lock and one
//! whose atomic step is a remote transaction both fit, and both call the same [`decide`](crate::decide::decide).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;
use crate::archive::{Archived, Collected, Retention};
use crate::clock::Timestamp;
use crate::decide::{Conflict, Notice, Request};
use crate::engine::changes::{Changes, Interest};
use crate::id::{ReservationId, RunId, TicketNumber};
use crate::lease::Lease;
use crate::progress::Progress;
use crate::queue::{Queue, Wait};
use crate::record::{Heartbeat, RecordError, Reservation, Supersession, TtlSeconds};

pub mod any;
pub mod changes;
#[cfg(test)]
mod conformance;
pub mod etcd;
pub mod file;
pub mod memory;
pub mod moving;

/// Keeps reservations, for any number of callers at once.
///
/// Every method is atomic against every other one, whichever process or machine calls it, and reads the
/// clock after whatever makes it so. What a method has reported stays true after a crash of any process at
/// any instruction; of an operation that did not report, either all or nothing is there. One exception: a
/// take-over that did not report may have released the reservation without granting the new one, never the
/// other way round.
pub trait Engine {
    /// Grants or denies `request`, all of its addresses or none.
    ///
    /// Of any number of overlapping exclusive requests by unrelated runs, made at the same time, exactly one
    /// is granted. A denied request changes nothing. A lapsed reservation in the way is superseded, for good,
    /// before the new one is there. The token of a grant is larger than that of every earlier grant.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when any record that could matter cannot be read: a request is never granted in doubt.
    fn grant(&self, request: &Request) -> Result<Reserved, EngineError>;

    /// As [`Engine::grant`], for a request that takes its turn: one that is denied takes a place in the queue.
    ///
    /// Without `ticket` its place is behind all others; with it, that of the ticket. Before it is granted, it gives
    /// way to every earlier live ticket that it could not stand beside, and so does every request of `grant`. A
    /// renewal and a take-over give way to none, and a take-over never queues. A grant takes the ticket away and
    /// names it in the reservation. Nothing is written for a wait that would never end.
    ///
    /// # Errors
    ///
    /// As [`Engine::grant`]; what cannot be read among the tickets counts as a record for as long as it could be a
    /// live one.
    fn take_turn(&self, request: &Request, ticket: Option<TicketNumber>) -> Result<Turn, EngineError>;

    /// Renews the ticket with which `run` waits; `false` if it has lapsed or is gone: then the place is lost.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the ticket cannot be read or written.
    fn keep_place(&self, ticket: TicketNumber, run: &RunId) -> Result<bool, EngineError>;

    /// Takes the ticket of `run` out of the queue. One that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when it cannot be removed; then it lapses by itself.
    fn leave(&self, ticket: TicketNumber, run: &RunId) -> Result<(), EngineError>;

    /// The tickets that count now.
    ///
    /// # Errors
    ///
    /// As [`Engine::live`].
    fn tickets(&self) -> Result<Queue, EngineError>;

    /// Until when what `conflict` names is in the way if nothing else happens; `None` when it is not any more. For
    /// those who wait: a look at that one reservation or ticket, which locks nothing. What is being extended after
    /// its expiry counts as gone.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when it cannot be read, or is gone without having ended: somebody took it out by hand, or the
    /// whole store is being deleted.
    fn stands_until(&self, conflict: &Conflict) -> Result<Option<Timestamp>, EngineError>;

    /// Tells of changes from now on.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the store cannot be read at all.
    fn changes(&self, interest: Interest) -> Result<Box<dyn Changes>, EngineError>;

    /// Extends a reservation to `extension` from now.
    ///
    /// A beat by another run than the holder never shortens. A lapsed reservation is revived unless it was
    /// superseded. Either a beat or a rival's grant succeeds at the moment of expiry, never both.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the records of this one reservation cannot be read or written.
    fn beat(&self, beat: &Beat) -> Result<Beaten, EngineError>;

    /// Releases reservations, each for itself. The answers stand in the order of the request.
    ///
    /// # Errors
    ///
    /// The outer one when nothing could be attempted; an inner one for a single reservation.
    #[expect(clippy::type_complexity, reason = "one answer for each id, each of which can fail by itself")]
    fn release(
        &self,
        request: &ReleaseRequest,
    ) -> Result<Vec<(ReservationId, Result<Released, EngineError>)>, EngineError>;

    /// One reservation with everything that happened to it; `None` if there is none, or it is archived.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when its records cannot be read.
    fn find(&self, id: ReservationId) -> Result<Option<Lease>, EngineError>;

    /// The reservations that are neither released nor superseded, in no particular order.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the store cannot be read at all; a single damaged record is told in the listing.
    fn live(&self) -> Result<Listing, EngineError>;

    /// At least those of [`Engine::live`] that overlap one of `addresses`: an engine that can tell them from the
    /// others without reading all does so. Of what is damaged, at least what could overlap.
    ///
    /// # Errors
    ///
    /// As [`Engine::live`].
    fn overlapping(&self, addresses: &[Address]) -> Result<Listing, EngineError>;

    /// The reservations of `run` that were superseded, are not released, and not archived, in no particular order. Of
    /// what is damaged, at least what could be such a one.
    ///
    /// # Errors
    ///
    /// As [`Engine::live`]; and when there was a store and there is none any more.
    fn superseded(&self, run: &RunId) -> Result<Listing, EngineError>;

    /// Every reservation that is not archived, in no particular order.
    ///
    /// # Errors
    ///
    /// As [`Engine::live`].
    fn history(&self) -> Result<Listing, EngineError>;

    /// At least those of [`Engine::history`] that are the `count` newest by token among those that `wanted` says yes to:
    /// an engine that can tell them without reading all does so. Of what is damaged, at least what it met.
    ///
    /// # Errors
    ///
    /// As [`Engine::live`].
    fn newest(&self, count: usize, wanted: &dyn Fn(&Lease) -> bool) -> Result<Listing, EngineError>;

    /// Moves what has been over for long enough into the archive, in steps of at most
    /// [`BATCH_MAX`](crate::archive::BATCH_MAX), sorted by token; others are served in between.
    ///
    /// A reservation is always in the live store or in the archive. One whose heartbeat is being written is left.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when nothing could be attempted. What could not be read, and what stopped it later, is told
    /// in the answer.
    fn collect(&self, retention: &Retention, progress: &dyn Progress) -> Result<Collected, EngineError>;

    /// The lines of the archive, the newest first, read as they are asked for. A damaged line is an error, and the
    /// others follow. Of two lines of one reservation the newer counts; a record that is live as well counts more.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the archive cannot be read at all.
    fn archived(&self) -> Result<Lines<'_>, EngineError>;

    /// The newest line of one reservation; `None` if it is not in the archive.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the archive cannot be read at all, or when what looks like this line is damaged.
    fn find_archived(&self, id: ReservationId) -> Result<Option<Archived>, EngineError>;

    /// The engine's clock.
    fn now(&self) -> Timestamp;
}

/// The lines of an archive, read one by one.
pub type Lines<'e> = Box<dyn Iterator<Item = Result<Archived, EngineError>> + 'e>;

/// What became of a [`Request`].
#[derive(Clone, Debug, PartialEq)]
pub enum Reserved {
    /// The run holds all the addresses.
    Granted(Box<Grant>),
    /// Somebody is in the way; nothing was changed.
    Denied {
        /// At least one; sorted by address, then holders by token, then waiters by ticket.
        conflicts: Vec<Conflict>,
    },
    /// There is no reservation of the id that the request wanted to take over; nothing was changed.
    NothingToTakeOver,
    /// The reservation to take over has no address in common with the request; nothing was changed.
    TakeOverElsewhere,
}

/// What became of a request that takes its turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// It need not wait, or it is one that does not.
    Answered(Reserved),
    /// Somebody is in the way, and it has a place in the queue.
    Queued {
        /// The place.
        ticket: TicketNumber,
        /// Its number among those who wait for the same, from 1.
        position: usize,
        /// As of a denial.
        conflicts: Vec<Conflict>,
    },
    /// It would wait for somebody who waits for it. Nothing was changed: a ticket that it has is still there.
    Deadlock {
        /// The circle, beginning with the run that asked.
        cycle: Vec<Wait>,
    },
    /// Its ticket has lapsed or is gone. Nothing was changed.
    PlaceLost,
}

impl From<Reserved> for Turn {
    fn from(reserved: Reserved) -> Turn {
        Turn::Answered(reserved)
    }
}

/// A granted request.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The reservation, with the heartbeat that a renewal wrote.
    pub lease: Lease,
    /// Whether the run had it already.
    pub renewed: bool,
    /// Overlapping reservations that do not stop the run; sorted like conflicts.
    pub notices: Vec<Notice>,
    /// How many lapsed reservations of other runs were superseded.
    pub superseded: usize,
    /// Whether the reservation to take over had ended already, so that nothing had to be taken.
    pub take_over_was_void: bool,
    /// Why what has been over for long could not be moved into the archive in passing, where the next grant will find
    /// the same. This one stands all the same.
    pub untidied: Option<String>,
}

impl Grant {
    /// One that was made anew, and took nothing from anybody.
    pub(crate) fn new(lease: Lease, notices: Vec<Notice>) -> Grant {
        let (renewed, superseded, take_over_was_void) = (false, 0, false);
        Grant { lease, renewed, notices, superseded, take_over_was_void, untidied: None }
    }

    /// One that the run had already.
    pub(crate) fn renewal(lease: Lease, notices: Vec<Notice>, take_over_was_void: bool) -> Grant {
        Grant { renewed: true, take_over_was_void, ..Grant::new(lease, notices) }
    }
}

/// A heartbeat to be written.
#[derive(Clone, Debug)]
pub struct Beat {
    /// What is to be kept alive.
    pub reservation: ReservationId,
    /// Who sends it.
    pub run: RunId,
    /// From now.
    pub extension: TtlSeconds,
}

/// What became of a [`Beat`].
#[derive(Clone, Debug, PartialEq)]
pub enum Beaten {
    /// It was written.
    Extended {
        /// What the store holds now.
        heartbeat: Heartbeat,
        /// Whose reservation it is.
        holder: RunId,
        /// For how many seconds it had lapsed, rounded up; `None` when it had not.
        lapsed_seconds: Option<u64>,
        /// The reservation has lapsed again since the clock was read: the sender was stopped in between.
        already_over: bool,
    },
    /// The reservation was released: stop work.
    Released,
    /// It lapsed, and a conflicting one was granted since: stop work, reserve again.
    Superseded(Supersession),
    /// There is no such reservation, or it is archived.
    NotFound,
}

/// Reservations to give back.
#[derive(Clone, Debug)]
pub struct ReleaseRequest {
    /// Which.
    pub reservations: Vec<ReservationId>,
    /// Who gives them back.
    pub run: RunId,
    /// Why.
    pub reason: Option<String>,
    /// Whether those of other runs are taken from them too.
    pub force: bool,
}

impl ReleaseRequest {
    /// The longest reason, in bytes, so that a tombstone stays a small file.
    pub const REASON_BYTES_MAX: usize = 4096;
}

/// What became of one reservation of a [`ReleaseRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// It is released now.
    Released,
    /// It had been released before.
    AlreadyReleased,
    /// There is none, or it was archived after it had lapsed.
    NotFound,
    /// Another run holds it.
    NotHolder {
        /// That run.
        holder: RunId,
    },
}

/// Reservations, and what of them could not be read.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those that could be read.
    pub leases: Vec<Lease>,
    /// One error for each that could not, sorted by what it says.
    pub damaged: Vec<EngineError>,
    /// Those of which a record beside the reservation could not be read, so that where they stand is not known:
    /// whose they are is. Only [`Engine::history`] tells them.
    pub unsure: Vec<Reservation>,
}

impl Listing {
    /// What became of reading reservations, one by one.
    pub fn of(read: impl IntoIterator<Item = Result<Lease, EngineError>>) -> Listing {
        let mut listing = Listing::default();
        for lease in read {
            match lease {
                Ok(lease) => listing.leases.push(lease),
                Err(error) => listing.damaged.push(error),
            }
        }
        listing.damaged.sort_by_key(ToString::to_string);
        listing
    }

    /// Those of `run` that were superseded and are not released; what could not be read stays.
    #[must_use = "a listing is not narrowed in place"]
    pub(crate) fn superseded_of(mut self, run: &RunId) -> Listing {
        self.leases.retain(|lease| {
            lease.reservation.run_id == *run && lease.supersession.is_present() && !lease.release.is_present()
        });
        self
    }
}

/// Why an engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A record is not what its name promises.
    #[error(
        "{} is {}: {source}",
        path.display(),
        if matches!(source, RecordError::SchemaTooNew { .. }) { "too new" } else { "damaged" }
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A line of the archive is not what it has to be.
    #[error(
        "{}, line {line}, is {}: {source}",
        path.display(),
        if matches!(source, RecordError::SchemaTooNew { .. }) { "too new" } else { "damaged" }
    )]
    DamagedLine {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        source: RecordError,
    },
    /// Something that does not belong there stands in a folder of the store.
    #[error("{} is damaged: {detail}", path.display())]
    Misplaced {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// A part of the store is missing or has lost its content, and `prepare` (`muse init`) makes it again.
    #[error("{} {detail}", path.display())]
    Incomplete {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        detail: &'static str,
    },
    /// The store was there and is not any more. Nothing makes it again but `prepare` (`muse init`).
    #[error("the store {} is gone (it was deleted or replaced while it was used)", path.display())]
    Gone {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot {operation} {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What was tried: "write", "sync", "publish".
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Somebody holds a lock for too long.
    #[error(
        "{} was still locked{} after {}",
        path.display(),
        holder_pid.map(|pid| format!(" by process {pid}")).unwrap_or_default(),
        if waited.as_secs() > 0 { format!("{} s", waited.as_secs()) } else { format!("{} ms", waited.as_millis()) }
    )]
    Busy {
        /// The locked file.
        path: PathBuf,
        /// Who holds it, where that can be known.
        holder_pid: Option<u32>,
        /// How long was waited.
        waited: Duration,
    },
    /// The store lies where file locks do not hold between machines.
    #[error("{} is on a network file system ({kind}), where file locks cannot be trusted", path.display())]
    UnsupportedFileSystem {
        /// The store.
        path: PathBuf,
        /// Which file system.
        kind: String,
    },
    /// The distributed store could not be asked, said no, or gave no answer.
    #[error("{}", told_of_remote(*failure, operation, endpoints, why))]
    Remote {
        /// Which of these.
        failure: RemoteFailure,
        /// What was tried.
        operation: &'static str,
        /// Every endpoint.
        endpoints: String,
        /// What the last one that was asked said, or what kept it from being asked.
        why: String,
        /// The code of gRPC that it said no with.
        grpc_code: Option<i64>,
    },
    /// So many lapsed reservations are in the way that they cannot be superseded in one transaction.
    #[error("{found} lapsed reservations are in the way, and one transaction supersedes {max} at most")]
    TooManyLapsed {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// The store was moved: nothing is granted here any more.
    #[error("the store was moved to {to}")]
    Moved {
        /// Where it is now.
        to: String,
    },
    /// The tokens are used up: the token file was tampered with, for they last for ages.
    #[error("{} holds the last possible token", path.display())]
    TokensExhausted {
        /// The token file.
        path: PathBuf,
    },
}

/// How a distributed store failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteFailure {
    /// Nobody answered, and nothing was changed.
    Unreachable,
    /// It said no.
    Refused,
    /// A change was asked for, and no answer came: it may have been carried out, or not.
    Unknown,
}

fn told_of_remote(failure: RemoteFailure, operation: &str, endpoints: &str, why: &str) -> String {
    match failure {
        RemoteFailure::Unreachable => {
            format!("could not {operation}: etcd cannot be reached ({endpoints}): {why}")
        }
        RemoteFailure::Refused => format!("could not {operation}: etcd said no: {why}"),
        RemoteFailure::Unknown => {
            format!("it is not known whether etcd could {operation}: no answer came ({endpoints}): {why}")
        }
    }
}

impl EngineError {
    /// Whether something that every store has was not there: the store is damaged, or being deleted right now.
    pub(crate) fn is_of_missing_part(&self) -> bool {
        match self {
            EngineError::Incomplete { .. } => true,
            EngineError::Unreadable { source, .. } | EngineError::Unwritable { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
            _ => false,
        }
    }
}
