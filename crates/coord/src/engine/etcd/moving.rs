//! Moving what stands to etcd, and away from it.

use super::client::Call;
use super::keys::{Folder, Life};
use super::wire::{Compare, Int, Range, Step, Transaction};
use super::{EtcdEngine, MOVED_BYTES_MAX, bytes, must_have_time, reading};
use crate::address::Address;
use crate::clock::{Clock, Stopwatch};
use crate::decide::Conflict;
use crate::engine::EngineError;
use crate::engine::moving::{Carried, Load, in_the_way, is_same_place};
use crate::id::{ReservationId, Token};
use crate::lease::Lease;
use crate::record::Heartbeat;

/// How many reservations one transaction brings or takes away: each takes seven conditions or steps.
const CARRIED_AT_ONCE: usize = 16;

/// As many of `carried` as one transaction brings, from the first on; each record twice.
fn batch_of(carried: &[Carried]) -> Result<&[Carried], EngineError> {
    let mut size = 0;
    let mut count = 0;
    for its in carried.iter().take(CARRIED_AT_ONCE) {
        size += 2 * bytes("", &its.reservation)?.len();
        if count > 0 && size > MOVED_BYTES_MAX {
            break;
        }
        count += 1;
    }
    Ok(&carried[..count])
}

impl<C: Clock> EtcdEngine<C> {
    /// Where the store was moved to; `None` if it is here.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when etcd cannot be asked.
    pub fn moved_to(&self) -> Result<Option<String>, EngineError> {
        let key = Range { key: self.keys.moved().as_str().into(), ..Range::default() };
        Ok(reading::moved_to(&self.range("read", &key)?))
    }

    /// Brings what stands in a store elsewhere, which `from` names, here, with ids and tokens. Answers with what is in the
    /// way, if anything is: then nothing of it is here. Bringing it again changes nothing.
    ///
    /// A fence that names `from` stays until [`lift_fence`](Self::lift_fence).
    ///
    /// # Errors
    ///
    /// [`EngineError`] when etcd cannot be asked, or the store was moved elsewhere than to `from`.
    pub fn bring(&self, from: &str, load: &Load) -> Result<Vec<Conflict>, EngineError> {
        let time = Stopwatch::start();
        let mut brought = 0;
        loop {
            let batch = batch_of(&load.carried[brought..])?;
            // Nobody is granted what is in the way of those that are here already. Those of a later turn are looked at then,
            // and at first too, so that what cannot be brought as a whole is not begun.
            let asked = if brought == 0 { &load.carried[..] } else { batch };
            let wanted: Vec<Address> =
                asked.iter().flat_map(|carried| carried.reservation.addresses.clone()).collect();
            let (mut snapshot, moved) = self.look_anyway_at(&self.keys.standing_near(&wanted))?;
            if let Some(to) = moved.clone().filter(|to| !is_same_place(to, from)) {
                return Err(EngineError::Moved { to });
            }
            if let Some(error) = snapshot.first_damage() {
                return Err(error);
            }
            let now = self.clock.now();
            let standing: Vec<Lease> = snapshot.reservations().cloned().map(Lease::fresh).collect();
            if !in_the_way(asked, &standing, now).is_empty() {
                self.take_away(&load.carried[..brought])?;
                // Only now, for it takes a question for each that stands.
                let ids: Vec<ReservationId> =
                    standing.iter().map(|lease| lease.reservation.reservation_id).collect();
                self.look_for_lives(&mut snapshot, &ids)?;
                let standing = self.with_lives(standing, |id| snapshot.lives(id), now)?;
                return Ok(in_the_way(asked, &standing, now));
            }
            let token = snapshot.token().max(load.token);
            if self.bring_batch(batch, token, snapshot.token_revision(), moved.as_deref())? {
                brought += batch.len();
                if brought == load.carried.len() {
                    return Ok(Vec::new());
                }
            } else {
                must_have_time(&self.keys.token(), &time)?;
            }
        }
    }

    fn bring_batch(
        &self,
        batch: &[Carried],
        token: Option<Token>,
        token_revision: Int,
        moved: Option<&str>,
    ) -> Result<bool, EngineError> {
        let mut transaction = Transaction {
            compare: vec![Compare::unchanged(self.keys.token().as_str(), token_revision)],
            ..Transaction::default()
        };
        transaction.compare.push(match moved {
            Some(text) => Compare::value(self.keys.moved().as_str(), text.as_bytes().to_vec()),
            None => Compare::absent(self.keys.moved().as_str()),
        });
        if let Some(token) = token {
            let text = format!("{token}\n").into_bytes();
            transaction.success.push(Step::put(self.keys.token().as_str(), text));
        }
        for carried in batch {
            let id = carried.reservation.reservation_id;
            let key = |folder| self.keys.of_reservation(folder, id);
            if self.has_ended(id)? {
                continue;
            }
            for folder in [Folder::Releases, Folder::Superseded, Folder::Archived] {
                transaction.compare.push(Compare::absent(key(folder).as_str()));
            }
            let record = bytes(&key(Folder::Reservations), &carried.reservation)?;
            let put = |folder, value| Step::put(key(folder).as_str(), value);
            transaction.success.push(put(Folder::Reservations, record.clone()));
            let standing = self.keys.standing(&carried.reservation);
            transaction.success.push(Step::put(standing.as_str(), record));
            if let Some(left) = carried.left {
                let whole = left.as_millis().div_ceil(1000);
                let seconds = u32::try_from(whole).unwrap_or(u32::MAX).max(1);
                let lease = self.keys.lease_of(id, Life::Grant, seconds);
                self.lessor.grant(lease, seconds)?;
                let life = self.keys.life_of(id, Life::Grant);
                transaction.success.push(Step::put_bound(life.as_str(), Vec::new(), lease));
            }
            if let Some(heartbeat) = &carried.heartbeat {
                let value = bytes(&key(Folder::Heartbeats), heartbeat)?;
                transaction.success.push(put(Folder::Heartbeats, value));
            }
        }
        Ok(self.transact(Call::Change("take over a store"), &transaction)?.succeeded)
    }

    /// Whether a reservation that was here once has ended.
    fn has_ended(&self, id: ReservationId) -> Result<bool, EngineError> {
        let key = |folder| self.keys.of_reservation(folder, id);
        let folders = [Folder::Releases, Folder::Superseded, Folder::Archived];
        let question = Transaction {
            success: folders.iter().map(|folder| Step::get(key(*folder).as_str())).collect(),
            ..Transaction::default()
        };
        let answer = self.transact(Call::Read("read a reservation"), &question)?;
        Ok(answer.responses.iter().any(|its| !its.response_range.kvs.is_empty()))
    }

    /// Lets nobody be granted, extended or released here any more, and tells what stands. `to` is told to whoever asks.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when etcd cannot be asked, when something cannot be read, or the store was moved elsewhere already.
    pub fn hand_over(&self, to: &str) -> Result<Load, EngineError> {
        let key = self.keys.moved();
        let fence = Transaction {
            compare: vec![Compare::absent(key.as_str())],
            success: vec![Step::put(key.as_str(), to.as_bytes().to_vec())],
            failure: Vec::new(),
        };
        self.transact(Call::Change("move the store"), &fence)?;
        let (mut snapshot, moved) = self.look_anyway()?;
        if let Some(elsewhere) = moved.filter(|its| !is_same_place(its, to)) {
            return Err(EngineError::Moved { to: elsewhere });
        }
        if let Some(error) = snapshot.first_damage() {
            self.lift_fence(to)?;
            return Err(error);
        }
        let mut carried = Vec::new();
        for reservation in snapshot.reservations() {
            let id = reservation.reservation_id;
            let heartbeat: Option<Heartbeat> = self.heartbeat(id)?;
            let left = self.longest(&snapshot.lives(id))?.map(|(_, left)| left.at_most);
            carried.push(Carried { reservation: reservation.clone(), heartbeat, left });
        }
        carried.sort_by_key(|carried| carried.reservation.token);
        Ok(Load { token: snapshot.token(), carried })
    }

    /// Takes away what was brought elsewhere.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when etcd cannot be asked.
    pub fn take_away(&self, carried: &[Carried]) -> Result<(), EngineError> {
        for batch in carried.chunks(CARRIED_AT_ONCE) {
            let mut transaction = Transaction::default();
            for carried in batch {
                let id = carried.reservation.reservation_id;
                transaction.success.push(Step::delete_all(&self.keys.life(id)));
                let standing = self.keys.standing(&carried.reservation);
                transaction.success.push(Step::delete(standing.as_str()));
                for folder in [Folder::Reservations, Folder::Heartbeats] {
                    let key = self.keys.of_reservation(folder, id);
                    transaction.success.push(Step::delete(key.as_str()));
                }
            }
            self.transact(Call::Change("take away what was moved"), &transaction)?;
        }
        Ok(())
    }

    /// Lets everybody in again who was told that the store is at `from`.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when etcd cannot be asked.
    pub fn lift_fence(&self, from: &str) -> Result<(), EngineError> {
        let key = self.keys.moved();
        let Some(moved) = self.moved_to()?.filter(|moved| is_same_place(moved, from)) else { return Ok(()) };
        let transaction = Transaction {
            compare: vec![Compare::value(key.as_str(), moved.into_bytes())],
            success: vec![Step::delete(key.as_str())],
            failure: Vec::new(),
        };
        self.transact(Call::Change("open the store"), &transaction).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use muse_testkit::etcd::Etcd;

    use super::*;
    use crate::address::Address;
    use crate::archive::Retention;
    use crate::clock::SystemClock;
    use crate::decide::Request;
    use crate::engine::etcd::{Endpoints, EndpointsError};
    use crate::engine::{Engine as _, ReleaseRequest, Released, RemoteFailure, Reserved};
    use crate::id::RunId;
    use crate::progress::Silent;
    use crate::record::TtlSeconds;

    fn engine() -> EtcdEngine<SystemClock> {
        let endpoints = Endpoints { urls: vec![Etcd::shared().url().to_owned()], ..Endpoints::default() };
        EtcdEngine::new(&endpoints, &Etcd::repository(), SystemClock).unwrap()
    }

    /// So many addresses in a folder, of some 250 bytes each.
    fn request(folder: &str, count: usize, long: &str) -> Request {
        let address = |number| format!("{folder}/{long}/{number}.py").parse().unwrap();
        let addresses: Vec<Address> = (0..count).map(address).collect();
        Request::new(RunId::new("alice").unwrap(), addresses, TtlSeconds::new(600).unwrap())
    }

    /// Together they are more than etcd takes at once.
    #[test]
    fn what_is_large_is_brought_and_archived_in_parts() {
        let (from, to) = (engine(), engine());
        let long = "x".repeat(240);
        for number in 0..8 {
            let granted = from.grant(&request(&format!("f{number}"), 1000, &long)).unwrap();
            assert!(matches!(granted, Reserved::Granted(_)), "{granted:?}");
        }
        let load = from.hand_over("files in a").unwrap();
        assert_eq!(to.bring("files in a", &load).unwrap(), []);
        // The same again changes nothing.
        assert_eq!(to.bring("files in a", &load).unwrap(), []);
        let reservations: Vec<_> = load.carried.iter().map(|its| its.reservation.reservation_id).collect();
        let run = RunId::new("alice").unwrap();
        let release = ReleaseRequest { reservations, run, reason: None, force: false };
        for (_, released) in to.release(&release).unwrap() {
            assert_eq!(released.unwrap(), Released::Released);
        }
        let collected = to.collect(&Retention::older_than(0), &Silent).unwrap();
        assert_eq!((collected.archived, collected.skipped), (8, 0), "{collected:?}");
        assert_eq!(to.archived().unwrap().flatten().count(), 8);
    }

    #[test]
    fn what_etcd_does_not_take_at_once_is_refused_with_what_to_do() {
        for long in [100, 300] {
            let failed = engine().grant(&request("f", 1000, &vec!["y".repeat(long); 10].join("/")));
            let Err(EngineError::Remote { failure: RemoteFailure::Refused, why, .. }) = failed else {
                panic!("{failed:?}");
            };
            assert!(why.contains("name fewer addresses at once"), "{why}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_said_before_it_is_asked() {
        for url in ["http://a:b:2379", "http://\u{e9}:1", "http://[::1:99", "http://h\n:5", "http://h:1/x"] {
            let endpoints = Endpoints { urls: vec![url.to_owned()], ..Endpoints::default() };
            let made = EtcdEngine::new(&endpoints, "r", SystemClock);
            assert_eq!(made.map(drop), Err(EndpointsError::NoUrl(url.to_owned())), "{url}");
        }
        for url in ["http://[::1]:2379", "http://h:1//", "http://10.0.0.1:2379"] {
            let endpoints = Endpoints { urls: vec![url.to_owned()], ..Endpoints::default() };
            assert_eq!(EtcdEngine::new(&endpoints, "r", SystemClock).map(drop), Ok(()), "{url}");
        }
    }
}
