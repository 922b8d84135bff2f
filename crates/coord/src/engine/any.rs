//! One of the engines, chosen when the program runs.

use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;
use crate::archive::{Archived, Collected, Retention};
use crate::clock::{Clock, Timestamp};
use crate::decide::{Conflict, Request};
use crate::engine::changes::{Changes, Interest};
use crate::engine::etcd::EtcdEngine;
use crate::engine::file::FileEngine;
use crate::engine::file::check::{Checked, Repair};
use crate::engine::{
    Beat, Beaten, Engine, EngineError, Lines, Listing, ReleaseRequest, Released, Reserved, Turn,
};
use crate::id::{ReservationId, RunId, TicketNumber};
use crate::lease::Lease;
use crate::progress::Progress;
use crate::queue::Queue;

/// The embedded engine, or the distributed one.
#[derive(Debug)]
pub enum AnyEngine<C> {
    /// Files on this machine.
    Files(FileEngine<C>),
    /// etcd.
    Etcd(Box<EtcdEngine<C>>),
}

macro_rules! each {
    ($any:expr, $engine:ident => $call:expr) => {
        match $any {
            AnyEngine::Files($engine) => $call,
            AnyEngine::Etcd($engine) => $call,
        }
    };
}

impl<C: Clock> AnyEngine<C> {
    /// Where the store is: its folder, or the prefix of its keys behind `etcd:`.
    pub fn place(&self) -> PathBuf {
        match self {
            AnyEngine::Files(engine) => engine.path().to_owned(),
            AnyEngine::Etcd(engine) => engine.place(),
        }
    }

    /// Where the record of a reservation is.
    pub fn record_place(&self, id: ReservationId) -> PathBuf {
        match self {
            AnyEngine::Files(engine) => engine.record_path(id),
            AnyEngine::Etcd(engine) => engine.record_place(id),
        }
    }

    /// Checks all of the store: see [`FileEngine::check`] and [`EtcdEngine::check`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn check(&self, repair: Repair, progress: &dyn Progress) -> Result<Checked, EngineError> {
        each!(self, engine => engine.check(repair, progress))
    }

    /// From now on no call of another machine waits for longer than this.
    pub fn limit_calls(&self, time_max: Duration) {
        match self {
            AnyEngine::Files(_) => {}
            AnyEngine::Etcd(engine) => engine.limit_calls(time_max),
        }
    }

    /// The newest line of one reservation in the archive, and where that is.
    ///
    /// # Errors
    ///
    /// As those of [`Engine::find_archived`].
    pub fn locate_archived(&self, id: ReservationId) -> Result<Option<(Archived, PathBuf)>, EngineError> {
        match self {
            AnyEngine::Files(engine) => engine.locate_archived(id),
            AnyEngine::Etcd(engine) => {
                Ok(engine.find_archived(id)?.map(|line| (line, engine.archive_place())))
            }
        }
    }
}

impl<C: Clock> Engine for AnyEngine<C> {
    fn grant(&self, request: &Request) -> Result<Reserved, EngineError> {
        each!(self, engine => engine.grant(request))
    }

    fn take_turn(&self, request: &Request, ticket: Option<TicketNumber>) -> Result<Turn, EngineError> {
        each!(self, engine => engine.take_turn(request, ticket))
    }

    fn keep_place(&self, ticket: TicketNumber, run: &RunId) -> Result<bool, EngineError> {
        each!(self, engine => engine.keep_place(ticket, run))
    }

    fn leave(&self, ticket: TicketNumber, run: &RunId) -> Result<(), EngineError> {
        each!(self, engine => engine.leave(ticket, run))
    }

    fn tickets(&self) -> Result<Queue, EngineError> {
        each!(self, engine => engine.tickets())
    }

    fn stands_until(&self, conflict: &Conflict) -> Result<Option<Timestamp>, EngineError> {
        each!(self, engine => engine.stands_until(conflict))
    }

    fn changes(&self, interest: Interest) -> Result<Box<dyn Changes>, EngineError> {
        each!(self, engine => engine.changes(interest))
    }

    fn beat(&self, beat: &Beat) -> Result<Beaten, EngineError> {
        each!(self, engine => engine.beat(beat))
    }

    fn release(
        &self,
        request: &ReleaseRequest,
    ) -> Result<Vec<(ReservationId, Result<Released, EngineError>)>, EngineError> {
        each!(self, engine => engine.release(request))
    }

    fn find(&self, id: ReservationId) -> Result<Option<Lease>, EngineError> {
        each!(self, engine => engine.find(id))
    }

    fn live(&self) -> Result<Listing, EngineError> {
        each!(self, engine => engine.live())
    }

    fn overlapping(&self, addresses: &[Address]) -> Result<Listing, EngineError> {
        each!(self, engine => engine.overlapping(addresses))
    }

    fn superseded(&self, run: &RunId) -> Result<Listing, EngineError> {
        each!(self, engine => engine.superseded(run))
    }

    fn history(&self) -> Result<Listing, EngineError> {
        each!(self, engine => engine.history())
    }

    fn newest(&self, count: usize, wanted: &dyn Fn(&Lease) -> bool) -> Result<Listing, EngineError> {
        each!(self, engine => engine.newest(count, wanted))
    }

    fn collect(&self, retention: &Retention, progress: &dyn Progress) -> Result<Collected, EngineError> {
        each!(self, engine => engine.collect(retention, progress))
    }

    fn archived(&self) -> Result<Lines<'_>, EngineError> {
        each!(self, engine => engine.archived())
    }

    fn find_archived(&self, id: ReservationId) -> Result<Option<Archived>, EngineError> {
        each!(self, engine => engine.find_archived(id))
    }

    fn now(&self) -> Timestamp {
        each!(self, engine => engine.now())
    }
}
