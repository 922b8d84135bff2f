//! The line of those whose grants were overtaken. Every grant goes by the same token, so of many at a time one commits and
//! the others were in vain; whoever lost twice waits for its turn in a line of etcd's own, first come, first served.
//!
//! The line decides nothing: a grant has its conditions, in the line or not. Where it cannot be had, it is done without.

use std::sync::Arc;

use super::client::{Call, Client};
use super::lessor::{Etcd, Lessor as _};
use super::wire::{Bytes, Int};

/// For how many seconds a place lasts whose process was killed or stopped, at most: those behind it wait so long.
const PLACE_SECONDS: u32 = 5;

/// A place in the line, at its head. It ends when this is dropped.
pub(super) struct Place {
    client: Arc<Client>,
    lease: Int,
}

impl Place {
    /// Waits for its turn in the line `name`, as long as a call may take; `None` where it is not to be had. One that is
    /// asked for again by the same lease is the same place.
    pub(super) fn wait(client: &Arc<Client>, name: String, lease: Int) -> Option<Place> {
        let leases = Etcd(Arc::clone(client));
        leases.grant(lease, PLACE_SECONDS).ok()?;
        let place = Place { client: Arc::clone(client), lease };
        let question = LockRequest { name: Bytes(name.into_bytes()), lease };
        let locked: Result<serde::de::IgnoredAny, _> =
            client.call("/v3/lock/lock", Call::Read("wait in line"), &question);
        locked.ok().map(|_| place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        Etcd(Arc::clone(&self.client)).end(self.lease);
    }
}

#[derive(serde::Serialize)]
struct LockRequest {
    name: Bytes,
    lease: Int,
}
