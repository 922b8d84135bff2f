//! Leases whose time a test lets pass: they are real ones, of a day, and a manual clock ends them by ending the real ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::Client;
use super::lessor::{Etcd, Left, Lessor};
use super::wire::Int;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::engine::EngineError;

/// How long the real leases last, in seconds: longer than any test.
const DAY: u32 = 86_400;

#[derive(Debug)]
pub(super) struct Manual {
    etcd: Etcd,
    clock: Arc<ManualClock>,
    /// Until when each lease lasts, and for how long it was granted.
    leases: Mutex<BTreeMap<Int, (Timestamp, u32)>>,
}

impl Manual {
    pub(super) fn new(client: Arc<Client>, clock: Arc<ManualClock>) -> Manual {
        Manual { etcd: Etcd(client), clock, leases: Mutex::default() }
    }

    /// Ends what has lapsed by now, as etcd itself does.
    pub(super) fn pass_time(&self) {
        let now = self.clock.now();
        let mut leases = self.leases.lock().unwrap();
        let over: Vec<Int> = leases
            .iter()
            .filter(|(_, (until, _))| *until <= now && *until < Timestamp::MAX)
            .map(|(lease, _)| *lease)
            .collect();
        for lease in over {
            leases.remove(&lease);
            self.etcd.end(lease);
        }
    }
}

impl Lessor for Manual {
    fn pass_time(&self) {
        Manual::pass_time(self);
    }

    fn grant(&self, id: Int, seconds: u32) -> Result<u32, EngineError> {
        Manual::pass_time(self);
        self.etcd.grant(id, DAY)?;
        self.leases.lock().unwrap().insert(id, (self.clock.now().plus_seconds(seconds), seconds));
        Ok(seconds)
    }

    fn keep_alive(&self, id: Int) -> Result<bool, EngineError> {
        Manual::pass_time(self);
        let now = self.clock.now();
        let mut leases = self.leases.lock().unwrap();
        let Some((until, seconds)) = leases.get_mut(&id) else { return Ok(false) };
        *until = now.plus_seconds(*seconds);
        Ok(true)
    }

    fn left(&self, id: Int) -> Result<Option<Left>, EngineError> {
        Manual::pass_time(self);
        let now = self.clock.now();
        Ok(self.leases.lock().unwrap().get(&id).map(|(until, _)| {
            let left = until.as_microseconds() - now.as_microseconds();
            let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
            Left { at_least: left, at_most: left }
        }))
    }

    fn end(&self, id: Int) {
        self.leases.lock().unwrap().remove(&id);
        self.etcd.end(id);
    }
}
