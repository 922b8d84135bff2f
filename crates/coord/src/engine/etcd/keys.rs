//! The names of keys, and of leases.
//!
//! ```text
//! /muse/<repository>/coordination/
//!   token                    the last token granted; every grant compares and raises it
//!   reservations/<id>        the record of each reservation that is not archived; written once
//!   standing/<place>//<id>   the same while it is neither released nor superseded, under the folder or file that all of
//!                            its addresses have in common, so that what may overlap an address is read without the rest
//!   alive/<id>/grant         bound to a lease of the TTL that was granted
//!   alive/<id>/beat          bound to a lease of the last heartbeat's extension
//!   heartbeats/<id>          the last heartbeat
//!   releases/<id>            written once
//!   superseded/<id>          written once
//!   waiting/<ticket>         bound to a lease: who waits
//!   line/<lease>             bound to a lease: whose grants were overtaken, one behind the other
//!   queue                    every ticket that is drawn compares and changes it
//!   archive/<number>         what `gc` has taken out of the live keys
//!   archived/<id>            under which number
//!   moved                    where the store was moved to: nothing is granted here any more
//! ```

use std::borrow::Cow;
use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::wire::Int;
use crate::address::Address;
use crate::clock::Timestamp;
use crate::id::{ReservationId, RunId, TicketNumber};
use crate::record::Reservation;

/// How many places are read one by one: etcd takes 128 steps a transaction.
const PLACES_MAX: usize = 100;

/// The path that all of these addresses lie at or below, in whole names.
fn place(addresses: &[Address]) -> String {
    let nodes = addresses.iter().map(Address::node);
    nodes.map(Cow::into_owned).reduce(|one, other| common(&one, &other).to_owned()).unwrap_or_default()
}

/// The names that both paths begin with.
fn common<'a>(one: &'a str, other: &str) -> &'a str {
    let shared = one.split('/').zip(other.split('/')).take_while(|(one, other)| one == other);
    let length: usize = shared.map(|(name, _)| name.len() + 1).sum();
    &one[..length.saturating_sub(1)]
}

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

    /// The key of what stands. No path has an empty name, so `//` is where the place ends.
    pub(super) fn standing(&self, reservation: &Reservation) -> String {
        format!("{}{}", self.standing_at(&place(&reservation.addresses)), reservation.reservation_id)
    }

    /// What the keys begin with of all that stands under exactly this place.
    fn standing_at(&self, place: &str) -> String {
        format!("{}/", self.standing_from(place))
    }

    /// What the keys begin with of all that stands under this place and those below it.
    fn standing_from(&self, place: &str) -> String {
        let folder = self.folder(Folder::Standing);
        if place.is_empty() { folder } else { format!("{folder}{place}/") }
    }

    /// What the keys begin with of all that may overlap one of `addresses`: two that do lie at one path, or one above the
    /// other. Everything, where there would be too many.
    pub(super) fn standing_near(&self, addresses: &[Address]) -> Vec<String> {
        let mut near = BTreeSet::new();
        for address in addresses {
            let node = address.node();
            near.insert(self.standing_from(&node));
            let above = node.match_indices('/').map(|(end, _)| &node[..end]);
            near.extend(
                above.chain([""]).filter(|above| **above != *node).map(|above| self.standing_at(above)),
            );
        }
        if near.len() > PLACES_MAX { vec![self.folder(Folder::Standing)] } else { near.into_iter().collect() }
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
    Line,
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
            Folder::Line => "line",
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

    /// The lease of a place in the line, of one call: should two be the same, they wait together, which harms nobody.
    pub(super) fn lease_of_place(&self, run: &RunId, now: Timestamp, process: u32) -> Int {
        let (now, process) = (now.as_microseconds().to_be_bytes(), process.to_be_bytes());
        lease(&[self.prefix.as_bytes(), b"line", run.as_str().as_bytes(), &now, &process])
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

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_place_of_addresses_is_what_they_have_in_common() {
        for (texts, expected) in [
            (&["src/a.py::f"][..], "src/a.py"),
            (&["src/a.py::f", "src/a.py::g"], "src/a.py"),
            (&["src/a.py", "src/ab.py"], "src"),
            (&["src/", "src/a.py"], "src"),
            (&["src/a/*.py", "src/a/b/c.py"], "src/a"),
            (&["src/a.py", "lib/a.py"], ""),
            (&["**/*.py"], ""),
            (&["a.py"], "a.py"),
        ] {
            assert_eq!(place(&addresses(texts)), expected, "{texts:?}");
        }
    }

    #[test]
    fn what_overlaps_is_near() {
        let all = addresses(&[
            "./",
            "a.py",
            "a.py::f",
            "src/",
            "src/a.py",
            "src/a.py::f",
            "src/a/b.py",
            "srca/b.py",
            "src/**/*.py",
            "*.py",
            "**",
            "{lib,src}/?.rs",
            "lib/x.rs",
            "src/a*/b.py",
            "src/[ab].py",
        ]);
        let keys = Keys::of("r");
        for one in &all {
            for two in &all {
                for other in &all {
                    if one.overlaps(other) || two.overlaps(other) {
                        let key = keys.standing_at(&place(&[one.clone(), two.clone()]));
                        let near = keys.standing_near(std::slice::from_ref(other));
                        assert!(near.iter().any(|near| key.starts_with(near)), "{one} {two} {other}");
                    }
                }
            }
        }
        let elsewhere = keys.standing_at("src/b.py");
        assert!(
            !keys.standing_near(&addresses(&["src/a.py::f"])).iter().any(|near| elsewhere.starts_with(near))
        );
        let many: Vec<String> = (0..=PLACES_MAX).map(|number| format!("{number}.py")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(keys.standing_near(&addresses(&many)), [keys.folder(Folder::Standing)]);
    }
}
