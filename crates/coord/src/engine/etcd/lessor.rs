//! Leases: who keeps the time. It is etcd's leader; no clock of a client decides when anything lapses.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Call, Client};
use super::wire::{Int, LeaseAnswer, LeaseGrant, LeaseName, Streamed};
use crate::engine::EngineError;

/// How long something lasts still. etcd tells whole seconds, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Left {
    pub(super) at_least: Duration,
    pub(super) at_most: Duration,
}

/// Gives leases and keeps them alive. A test can let time pass.
pub(super) trait Lessor: std::fmt::Debug + Send + Sync {
    /// Ends what has lapsed, where nobody else does: in tests.
    #[cfg(test)]
    fn pass_time(&self) {}

    /// A lease of this id for so many seconds; returns for how many it is. One that is there already is kept alive.
    fn grant(&self, id: Int, seconds: u32) -> Result<u32, EngineError>;

    /// Gives a lease its whole time again; `false` if there is none.
    fn keep_alive(&self, id: Int) -> Result<bool, EngineError>;

    /// How long a lease lasts still; `None` if there is none.
    fn left(&self, id: Int) -> Result<Option<Left>, EngineError>;

    /// Ends a lease, which nothing depends on any more. One that cannot be ended lapses by itself.
    fn end(&self, id: Int);
}

/// etcd itself.
#[derive(Clone, Debug)]
pub(super) struct Etcd(pub(super) Arc<Client>);

/// The code of gRPC by which etcd says that a lease is there already.
const FAILED_PRECONDITION: i64 = 9;

/// That by which it says that a lease is not there.
const NOT_FOUND: i64 = 5;

/// Whether etcd said no because a lease is not there.
pub(super) fn is_no_lease(error: &EngineError) -> bool {
    said(error, NOT_FOUND)
}

/// That by which it says that it is full.
const RESOURCE_EXHAUSTED: i64 = 8;

/// That by which it says that what is asked for was compacted away.
const OUT_OF_RANGE: i64 = 11;

/// Whether etcd said no because the moment that is read was compacted away between two pages.
pub(super) fn is_compacted(error: &EngineError) -> bool {
    said(error, OUT_OF_RANGE)
}

/// Whether etcd said no because it is full. It takes nothing new then, but keeps leases alive.
pub(super) fn is_full(error: &EngineError) -> bool {
    said(error, RESOURCE_EXHAUSTED)
}

/// Whether etcd said no with this code.
fn said(error: &EngineError, code: i64) -> bool {
    matches!(error, EngineError::Remote { grpc_code: Some(told), .. } if *told == code)
}

impl Lessor for Etcd {
    fn grant(&self, id: Int, seconds: u32) -> Result<u32, EngineError> {
        let question = LeaseGrant { id, ttl: Int(seconds.into()) };
        let granted: Result<LeaseAnswer, EngineError> =
            self.0.call("/v3/lease/grant", Call::Read("grant a lease"), &question);
        match granted {
            Ok(answer) => Ok(u32::try_from(answer.ttl.0).unwrap_or(seconds)),
            // An earlier attempt, or an earlier heartbeat for as long.
            Err(error) if said(&error, FAILED_PRECONDITION) => {
                let answer: Streamed<LeaseAnswer> = self.0.call(
                    "/v3/lease/keepalive",
                    Call::Read("keep a lease alive"),
                    &LeaseName { id },
                )?;
                match u32::try_from(answer.result.ttl.0) {
                    Ok(kept) if kept > 0 => Ok(kept),
                    // It lapsed in between.
                    _ => self.grant(id, seconds),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn keep_alive(&self, id: Int) -> Result<bool, EngineError> {
        let answer: Streamed<LeaseAnswer> =
            self.0.call("/v3/lease/keepalive", Call::Read("keep a lease alive"), &LeaseName { id })?;
        Ok(answer.result.ttl.0 > 0)
    }

    fn left(&self, id: Int) -> Result<Option<Left>, EngineError> {
        let answer: LeaseAnswer =
            self.0.call("/v3/lease/timetolive", Call::Read("ask for a lease"), &LeaseName { id })?;
        // -1 for one that is not there.
        let granted = u64::try_from(answer.granted_ttl.0).unwrap_or(u64::MAX);
        let left = u64::try_from(answer.ttl.0).ok();
        Ok(left.map(|left| Left {
            at_least: Duration::from_secs(left),
            at_most: Duration::from_secs(left.saturating_add(1).min(granted.max(left))),
        }))
    }

    fn end(&self, id: Int) {
        let ended: Result<serde::de::IgnoredAny, EngineError> =
            self.0.call("/v3/lease/revoke", Call::Read("end a lease"), &LeaseName { id });
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use muse_testkit::etcd::Etcd as Server;

    use super::*;
    use crate::clock::SystemClock;
    use crate::decide::Request;
    use crate::engine::etcd::keys::Life;
    use crate::engine::etcd::{Endpoints, EtcdEngine};
    use crate::engine::{Beat, Beaten, Engine as _, Reserved};
    use crate::id::RunId;
    use crate::record::TtlSeconds;

    /// Lets another process send a heartbeat right before a lease is ended.
    #[derive(Debug)]
    struct Between {
        etcd: Etcd,
        other: EtcdEngine<SystemClock>,
        beat: Beat,
    }

    impl Lessor for Between {
        fn grant(&self, id: Int, seconds: u32) -> Result<u32, EngineError> {
            self.etcd.grant(id, seconds)
        }

        fn keep_alive(&self, id: Int) -> Result<bool, EngineError> {
            self.etcd.keep_alive(id)
        }

        fn left(&self, id: Int) -> Result<Option<Left>, EngineError> {
            self.etcd.left(id)
        }

        fn end(&self, id: Int) {
            self.other.beat(&self.beat).unwrap();
            self.etcd.end(id);
        }
    }

    /// Two processes of one run send heartbeats of different lengths: the lease that one of them has replaced is the one
    /// that the other goes on with.
    #[test]
    fn a_heartbeat_does_not_end_what_another_one_lives_by() {
        let repository = Server::repository();
        let endpoints = Endpoints { urls: vec![Server::shared().url().to_owned()], ..Endpoints::default() };
        let engine = || EtcdEngine::new(&endpoints, &repository, SystemClock).unwrap();
        let run = RunId::new("alice").unwrap();
        let request = Request::new(run.clone(), vec!["a.py".parse().unwrap()], TtlSeconds::new(600).unwrap());
        let id = match engine().grant(&request).unwrap() {
            Reserved::Granted(grant) => grant.lease.reservation.reservation_id,
            other => panic!("{other:?}"),
        };
        let beat = |seconds| Beat {
            reservation: id,
            run: run.clone(),
            extension: TtlSeconds::new(seconds).unwrap(),
        };
        engine().beat(&beat(60)).unwrap();
        let client = Arc::clone(&engine().client);
        let lessor = Between { etcd: Etcd(Arc::clone(&client)), other: engine(), beat: beat(60) };
        let interrupted = EtcdEngine::with(client, &repository, SystemClock, Box::new(lessor));
        assert!(matches!(interrupted.beat(&beat(120)), Ok(Beaten::Extended { .. })));
        let (_, lives) = engine().found(id).unwrap().unwrap();
        assert!(lives.of(Life::Beat).is_some(), "{lives:?}");
    }
}
