//! Moving the store to another engine, and back.
//!
//! The fence is the lock itself: whoever moves the store away holds it, writes into it where to, and gives it the name
//! `moved`. Every writer takes the lock first, so none gets by, and none needs a further look; what readers find is told
//! to be moved by a look at that name afterwards. A heartbeat takes its record's lock alone: the records of what was moved
//! are taken away under theirs.

use super::archive::Archive;
use super::layout::{Folder, LOCK_NAME, Store, record_name};
use super::lock::{RIVAL_WAIT, RecordLock, RecordLocking, STORE_WAIT, StoreLock, allow_record_locks};
use super::publish::{self, Staged};
use super::{FileEngine, live, stage, standing, sweep, tokens, write_heartbeat};
use crate::clock::{Clock, Timestamp};
use crate::decide::Conflict;
use crate::engine::EngineError;
use crate::engine::moving::{Carried, Load, Moving, in_the_way, is_same_place};
use crate::lease::Lease;
use crate::progress::Silent;
use crate::record::{Extra, Heartbeat, SCHEMA_VERSION};

/// The name of the lock of a store that was moved.
pub(super) const MOVED_NAME: &str = "moved";

/// Where the store was moved to; `None` if it is here.
pub(super) fn moved(root: &Folder) -> Result<Option<String>, EngineError> {
    let text = root.read(MOVED_NAME)?;
    Ok(text.map(|text| String::from_utf8_lossy(&text).trim().to_owned()))
}

/// Fails where the store was moved.
pub(super) fn must_be_here(root: &Folder) -> Result<(), EngineError> {
    match moved(root)? {
        Some(to) => Err(EngineError::Moved { to }),
        None => Ok(()),
    }
}

impl<C: Clock> FileEngine<C> {
    /// Where the store was moved to; `None` if it is here, or there is none.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when it cannot be read.
    pub fn moved_to(&self) -> Result<Option<String>, EngineError> {
        self.open()?.map_or(Ok(None), |store| moved(&store.root))
    }

    /// Moves what stands here to another engine, which `take` puts it into, and leaves a fence that names `to`. Nothing
    /// is granted, released or extended meanwhile. A move that broke off is finished by asking again.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when a record cannot be read, when `take` fails, or the store was moved elsewhere. Before the
    /// fence stands, everything here is as it was.
    pub fn move_out(
        &self,
        to: &str,
        take: impl FnOnce(&Load) -> Result<Vec<Conflict>, EngineError>,
    ) -> Result<Moving, EngineError> {
        let store = self.open_for_moving()?;
        let was_moved = was_moved_to(&store, to)?;
        let lock = lock_of(&store, was_moved)?;
        let now = self.clock.now();
        if !was_moved {
            sweep(&store, now)?;
        }
        let (carried, locks) = lock_all(&store, now)?;
        let load = Load { token: Some(tokens::last(&store)?), carried };
        let conflicts = take(&load)?;
        if !conflicts.is_empty() {
            return Ok(Moving::InTheWay(conflicts));
        }
        if !was_moved {
            lock.write(&store.root, to)?;
            publish::rename(&store.root, LOCK_NAME, MOVED_NAME)?;
            store.root.sync()?;
        }
        for carried in &load.carried {
            let name = record_name(carried.reservation.reservation_id);
            for folder in [&store.reservations, &store.heartbeats] {
                publish::remove(folder, &name).map_err(|errno| folder.unwritable(&name, "remove", errno))?;
            }
        }
        store.reservations.sync()?;
        drop(locks);
        Ok(Moving::Moved(load))
    }

    /// Takes in what `hand_over` gives of the store at `from`, and lifts the fence that names it. Where something that stands
    /// here is in the way, `take_back` undoes what `hand_over` did.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when something cannot be read or written, when `hand_over` fails, or when the store was moved
    /// elsewhere than to `from`.
    pub fn move_in(
        &self,
        from: &str,
        hand_over: impl FnOnce() -> Result<Load, EngineError>,
        take_back: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<Moving, EngineError> {
        let store = self.open_for_moving()?;
        let was_moved = was_moved_to(&store, from)?;
        let lock = lock_of(&store, was_moved)?;
        let now = self.clock.now();
        sweep(&store, now)?;
        let listing = live(&store, &Silent)?;
        if let Some(error) = listing.damaged.into_iter().next() {
            return Err(error);
        }
        let load = hand_over()?;
        let conflicts = in_the_way(&load.carried, &listing.leases, now);
        if !conflicts.is_empty() {
            take_back()?;
            return Ok(Moving::InTheWay(conflicts));
        }
        let last = tokens::last(&store)?;
        if let Some(token) = load.token.filter(|token| *token > last) {
            tokens::publish(&store, tokens::stage(&store, token)?)?;
        }
        let mut staged: Vec<Staged<'_>> = Vec::new();
        for carried in &load.carried {
            let id = carried.reservation.reservation_id;
            if store.reservations.holds(&record_name(id))? {
                // An earlier attempt brought it, and its holder may use it here already.
                let RecordLocking::Locked(_lock) = RecordLock::acquire(&store, id, RIVAL_WAIT)? else {
                    continue;
                };
                if let Some(lease) = standing(&store, id)? {
                    let brought = Carried { heartbeat: lease.heartbeat, ..carried.clone() };
                    if let Some(heartbeat) = heartbeat_of(&brought, self.clock.now()) {
                        write_heartbeat(&store, &heartbeat)?;
                    }
                }
                continue;
            }
            // Brought earlier, and over for long.
            if Archive::open(&store)?.find(id)?.is_some() {
                continue;
            }
            if let Some(heartbeat) = heartbeat_of(carried, self.clock.now()) {
                write_heartbeat(&store, &heartbeat)?;
            }
            let record = stage(&store, "reservation", id, &carried.reservation)?;
            record.publish_new(&store.reservations, &record_name(id))?;
            staged.push(record);
        }
        store.reservations.sync()?;
        if was_moved {
            publish::rename(&store.root, MOVED_NAME, LOCK_NAME)?;
            store.root.sync()?;
            lock.write(&store.root, "")?;
        }
        drop(staged);
        Ok(Moving::Moved(load))
    }

    fn open_for_moving(&self) -> Result<Store, EngineError> {
        if let Some(store) = self.open()? {
            return Ok(store);
        }
        // A store that nobody has used yet could be used by whoever comes next.
        self.open_or_make()
    }
}

/// Whether the store was moved to `place`; fails where it was moved elsewhere.
fn was_moved_to(store: &Store, place: &str) -> Result<bool, EngineError> {
    match moved(&store.root)? {
        Some(elsewhere) if !is_same_place(&elsewhere, place) => Err(EngineError::Moved { to: elsewhere }),
        there => Ok(there.is_some()),
    }
}

fn lock_of(store: &Store, was_moved: bool) -> Result<StoreLock, EngineError> {
    StoreLock::acquire_named(&store.root, if was_moved { MOVED_NAME } else { LOCK_NAME }, STORE_WAIT)
}

/// What stands, sorted by token, each with the lock of its record.
fn lock_all(store: &Store, now: Timestamp) -> Result<(Vec<Carried>, Vec<RecordLock>), EngineError> {
    let listing = live(store, &Silent)?;
    if let Some(error) = listing.damaged.into_iter().next() {
        return Err(error);
    }
    allow_record_locks(listing.leases.len());
    let mut carried = Vec::with_capacity(listing.leases.len());
    let mut locks = Vec::with_capacity(listing.leases.len());
    for Lease { reservation, .. } in listing.leases {
        match RecordLock::acquire(store, reservation.reservation_id, RIVAL_WAIT)? {
            RecordLocking::Locked(lock) => locks.push(lock),
            RecordLocking::Busy(error) => return Err(error),
            RecordLocking::Missing => continue,
        }
        // Again, since a heartbeat may have been written before the lock was held.
        let Some(lease) = standing(store, reservation.reservation_id)? else { continue };
        let microseconds = lease.effective_expiry().as_microseconds() - now.as_microseconds();
        let left = u64::try_from(microseconds).ok().filter(|left| *left > 0);
        carried.push(Carried {
            reservation: lease.reservation,
            heartbeat: lease.heartbeat,
            left: left.map(std::time::Duration::from_micros),
        });
    }
    carried.sort_by_key(|carried| carried.reservation.token);
    Ok((carried, locks))
}

/// The heartbeat that makes it last here for as long as it did there.
fn heartbeat_of(carried: &Carried, now: Timestamp) -> Option<Heartbeat> {
    let left = i64::try_from(carried.left?.as_micros()).unwrap_or(i64::MAX);
    let until = Timestamp::from_microseconds(now.as_microseconds().saturating_add(left));
    let reservation = &carried.reservation;
    let recorded = carried.heartbeat.as_ref().map(|heartbeat| heartbeat.extended_expires_at);
    if recorded.max(Some(reservation.expires_at)) >= Some(until) {
        return carried.heartbeat.clone();
    }
    Some(match &carried.heartbeat {
        Some(heartbeat) => Heartbeat { extended_expires_at: until, ..heartbeat.clone() },
        None => Heartbeat {
            schema_version: SCHEMA_VERSION,
            reservation_id: reservation.reservation_id,
            run_id: reservation.run_id.clone(),
            last_beat_at: now,
            extended_expires_at: until,
            extra: Extra::new(),
        },
    })
}
