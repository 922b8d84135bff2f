//! Reservations of code addresses: leases with an expiry and a fencing token, kept in plain JSON files.
//!
//! Many agents change one codebase at the same time. Each *reserves* the addresses that it is about to
//! change, learns at once who is in the way, keeps the reservation alive with *heartbeats* and *releases*
//! it. [`Coordinator`] is the whole API; [`FileEngine`] keeps the state in a folder that any number of
//! processes share, [`MemoryEngine`] is the model that tests hold every engine against.
//!
//! ```
//! use std::sync::Arc;
//! use muse_coord::{Address, Coordinator, ManualClock, MemoryEngine, Request, Reserved, RunId, TtlSeconds};
//!
//! let clock = Arc::new(ManualClock::at_seconds(1_800_000_000));
//! let coordinator = Coordinator::new(MemoryEngine::new(clock.clone()));
//! let wanted: Address = "src/billing.py::compute_total".parse()?;
//! let mut request = Request::new(RunId::new("alice")?, vec![wanted], TtlSeconds::new(60)?);
//! assert!(matches!(coordinator.reserve(&request)?, Reserved::Granted(_)));
//!
//! // Another run is told who is in the way; once the lease has lapsed, it is granted.
//! request.run = RunId::new("bob")?;
//! assert!(matches!(coordinator.reserve(&request)?, Reserved::Denied { .. }));
//! clock.advance_seconds(61);
//! assert!(matches!(coordinator.reserve(&request)?, Reserved::Granted(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limitations
//!
//! - A reservation is a signal, not a mutex: nothing here stops an editor from writing. Guards at the edges
//!   compare fencing tokens.
//! - [`FileEngine`] needs a local file system with working `flock` and hard links. Network file systems are
//!   refused where they can be told (Linux).
//! - All processes of one store are expected to share one clock, that of their machine.

pub mod address;
pub mod archive;
pub mod audit;
pub mod check;
pub mod clock;
pub mod coordinator;
pub mod decide;
pub mod engine;
pub mod id;
pub mod lease;
mod overlap;
pub mod progress;
pub mod queue;
pub mod record;
pub mod verify;
pub mod waiting;
pub mod watch;

pub use address::{Address, AddressError};
pub use archive::{Archived, Collected, Ending, Retention};
pub use audit::{AuditQuery, AuditTrail, Entry};
pub use check::{Check, CheckRequest, Missing, Stale, Successor, Verdict};
pub use clock::{Clock, ManualClock, Stopwatch, SystemClock, Timestamp};
pub use coordinator::{BeatenAll, Coordinator, Filter};
pub use decide::{Blocker, Conflict, Holder, Notice, Overlap, Request, TakeOver, Waiter};
pub use engine::any::AnyEngine;
pub use engine::changes::{Changes, Interest, Woken};
pub use engine::etcd::{Endpoints, EndpointsError, EtcdEngine, Server};
pub use engine::file::check::{Checked, Counts, Finding, FindingKind, Repair};
pub use engine::file::{FileEngine, Prepared, Safeguard, Safeguards};
pub use engine::memory::MemoryEngine;
pub use engine::moving::{Carried, Load, Moving};
pub use engine::{
    Beat, Beaten, Engine, EngineError, Grant, Listing, ReleaseRequest, Released, RemoteFailure, Reserved,
    Turn,
};
pub use id::{IdError, ReservationId, RunId, RunIdError, TicketNumber, Token};
pub use lease::{Lease, State};
pub use progress::{Progress, Silent};
pub use queue::{Cause, Queue, Ticket, Wait};
pub use record::{Heartbeat, Mode, Operation, Release, Reservation, Supersession, TtlSeconds};
pub use verify::{Standing, Verification};
pub use waiting::Waited;
pub use watch::{Event, EventFilter, Seen, Watcher, What};
