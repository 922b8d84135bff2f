//! The names of keys, and of leases.
//!
//! ```text
//! /muse/<repository>/coordination/
//!   token                    the last token granted; every grant compares and raises it
//!   reservations/<id>        the record of each reservation that is not archived; written once
//!   standing/<id>            the same while it is neither released nor superseded
//!   alive/<id>/grant         bound to a lease of the TTL that was granted
//!   alive/<id>/beat          bound to a lease of the last heartbeat's extension
//!   heartbeats/<id>          the last heartbeat
//!   releases/<id>            written once
//!   superseded/<id>          written once
//!   waiting/<ticket>         bound to a lease: who waits
//!   queue                    every ticket that is drawn compares and changes it
//!   archive/<number>         what `gc` has taken out of the live keys
//!   archived/<id>            under which number
//!   moved                    where the store was moved to: nothing is granted here any more
//! ```

use sha2::{Digest, Sha256};

use super::wire::Int;
use crate::id::{ReservationId, TicketNumber};

/// The keys of one repository.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn of(repository: &str) -> Keys {
        Keys { prefix: format!("/muse/{repository}/coordination/") }
    }

    /// What all of them begin with.
    pub(super) fn all(&self) -> &str {
        &self.prefix
    }

    pub(super) fn at(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn token(&self) -> String {
        self.at("token")
    }

    pub(super) fn queue(&self) -> String {
        self.at("queue")
    }

    pub(super) fn moved(&self) -> String {
        self.at("moved")
    }

    /// A key of a reservation in one of the folders.
    pub(super) fn of_reservation(&self, folder: Folder, id: ReservationId) -> String {
        format!("{}{}/{id}", self.prefix, folder.name())
    }

    /// What all keys in a folder begin with.
    pub(super) fn folder(&self, folder: Folder) -> String {
        format!("{}{}/", self.prefix, folder.name())
    }

    /// What both keys of a reservation's life begin with.
    pub(super) fn life(&self, id: ReservationId) -> String {
        format!("{}/", self.of_reservation(Folder::Alive, id))
    }

    pub(super) fn life_of(&self, id: ReservationId, life: Life) -> String {
        format!("{}/{}", self.of_reservation(Folder::Alive, id), life.name())
    }

    pub(super) fn ticket(&self, number: TicketNumber) -> String {
        format!("{}{:020}", self.folder(Folder::Waiting), number.get())
    }

    pub(super) fn archive_line(&self, number: u64) -> String {
        format!("{}{number:020}", self.folder(Folder::Archive))
    }
}

/// Where keys lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folder {
    Reservations,
    Standing,
    Alive,
    Heartbeats,
    Releases,
    Superseded,
    Waiting,
    Archive,
    Archived,
}

impl Folder {
    const fn name(self) -> &'static str {
        match self {
            Folder::Reservations => "reservations",
            Folder::Standing => "standing",
            Folder::Alive => "alive",
            Folder::Heartbeats => "heartbeats",
            Folder::Releases => "releases",
            Folder::Superseded => "superseded",
            Folder::Waiting => "waiting",
            Folder::Archive => "archive",
            Folder::Archived => "archived",
        }
    }
}

/// What keeps a reservation alive: it has lapsed when both are gone. So it lasts until the later of the two ends, as the
/// contract says, and nobody has to compare times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    /// For the time that was granted.
    Grant,
    /// For the extension of the last heartbeat.
    Beat,
}

impl Life {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Life::Grant => "grant",
            Life::Beat => "beat",
        }
    }
}

impl Keys {
    /// The lease of a reservation's life for so many seconds. It is made of what it is for, so that the same heartbeat
    /// finds the same lease without asking for it, and so that asking twice for one lease makes one.
    pub(super) fn lease_of(&self, id: ReservationId, life: Life, seconds: u32) -> Int {
        lease(&[self.prefix.as_bytes(), life.name().as_bytes(), &id.digest(), &seconds.to_be_bytes()])
    }

    /// The lease of a ticket.
    pub(super) fn lease_of_ticket(&self, number: TicketNumber) -> Int {
        lease(&[self.prefix.as_bytes(), b"ticket", &number.get().to_be_bytes()])
    }
}

/// 63 bits of a hash: etcd takes positive numbers.
fn lease(parts: &[&[u8]]) -> Int {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    Int((i64::from_be_bytes(first) & i64::MAX).max(1))
}
