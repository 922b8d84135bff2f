//! Keeping a reservation alive: heartbeats, and requests that are repeated.
//!
//! A heartbeat keeps the lease alive before it publishes itself, in a transaction that fails if the reservation does not
//! live by that lease any more: what was released, superseded or taken over has no life.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::client::Call;
use super::keys::{Folder, Life};
use super::lessor::{self, Left};
use super::reading::{self, Lives, Snapshot};
use super::wire::{Compare, Int, Range, Step, Transaction};
use super::{EtcdEngine, bytes, damaged};
use crate::clock::{Clock, Timestamp};
use crate::decide::Request;
use crate::engine::{Beat, Beaten, EngineError};
use crate::id::{ReservationId, RunId};
use crate::lease::{Lease, Mark};
use crate::record::{Extra, Heartbeat, Reservation};

/// What calls are for, in messages.
const SEND: &str = "send a heartbeat";

/// How many reservations are remembered: far above what one process keeps alive.
const REMEMBERED_MAX: usize = 1 << 14;

/// What the last heartbeats of this engine have left. As long as nobody else sends one, the next need not read what is there.
#[derive(Debug, Default)]
pub(super) struct LastBeats(Mutex<HashMap<ReservationId, LastBeat>>);

#[derive(Debug)]
struct LastBeat {
    /// By which the reservation is kept alive.
    lease: Int,
    /// At which the heartbeat was published; 0 where it was not.
    revision: Int,
    holder: RunId,
    /// What another version wrote beside, and is carried along.
    extra: Extra,
}

impl LastBeats {
    /// Forgets the last one, and returns it if it kept the reservation alive by this lease.
    fn take(&self, id: ReservationId, lease: Int) -> Option<LastBeat> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&id).filter(|last| last.lease == lease)
    }

    fn remember(&self, id: ReservationId, last: LastBeat) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(id, last);
    }
}

impl<C: Clock> EtcdEngine<C> {
    /// The heartbeat of a reservation whose last one had the same extension: its lease is kept alive, and the heartbeat
    /// published if the reservation still lives by it. `None` where that is not so.
    pub(super) fn beat_again(&self, beat: &Beat) -> Result<Option<Beaten>, EngineError> {
        let id = beat.reservation;
        let lease = self.keys.lease_of(id, Life::Beat, beat.extension.get());
        let last = self.last_beats.take(id, lease);
        // Before it is kept alive: what is told of its end is never later than etcd's own.
        let now = self.clock.now();
        if !self.lessor.keep_alive(lease)? {
            return Ok(None);
        }
        let mut heartbeat = Heartbeat {
            schema_version: crate::record::SCHEMA_VERSION,
            reservation_id: id,
            run_id: beat.run.clone(),
            last_beat_at: now,
            extended_expires_at: now.plus_seconds(beat.extension.get()),
            extra: Extra::new(),
        };
        if let Some(last) = last {
            heartbeat.extra.clone_from(&last.extra);
            if let Some(beaten) = self.publish_after(last, &heartbeat)? {
                return Ok(Some(beaten));
            }
            heartbeat.extra.clear();
        }
        match self.publish_and_read(lease, &heartbeat)? {
            Some(last) if last.extra.is_empty() => Ok(Some(self.beaten(last, &heartbeat))),
            Some(last) => {
                // What another version wrote beside was written over just now, and is put back.
                heartbeat.extra.clone_from(&last.extra);
                self.publish_after(last, &heartbeat)
            }
            None => Ok(None),
        }
    }

    fn beaten(&self, last: LastBeat, heartbeat: &Heartbeat) -> Beaten {
        let holder = last.holder.clone();
        // One that a full etcd did not take is not there.
        if last.revision != Int(0) {
            self.last_beats.remember(heartbeat.reservation_id, last);
        }
        Beaten::Extended { heartbeat: heartbeat.clone(), holder, lapsed_seconds: None, already_over: false }
    }

    /// What publishes a heartbeat of a reservation that lives by this lease. What is released, superseded or taken over has
    /// no life.
    fn publish(&self, lease: Int, heartbeat: &Heartbeat) -> Result<Transaction, EngineError> {
        let id = heartbeat.reservation_id;
        let key = self.keys.of_reservation(Folder::Heartbeats, id);
        Ok(Transaction {
            compare: vec![
                Compare::bound(self.keys.life_of(id, Life::Beat).as_str(), lease),
                Compare::absent(self.keys.moved().as_str()),
            ],
            success: vec![Step::put(key.as_str(), bytes(&key, heartbeat)?)],
            failure: Vec::new(),
        })
    }

    /// Publishes a heartbeat over the last one; `None` if that is not there any more as this engine left it, or etcd is full.
    fn publish_after(&self, last: LastBeat, heartbeat: &Heartbeat) -> Result<Option<Beaten>, EngineError> {
        let key = self.keys.of_reservation(Folder::Heartbeats, heartbeat.reservation_id);
        let mut transaction = self.publish(last.lease, heartbeat)?;
        transaction.compare.push(Compare::unchanged(key.as_str(), last.revision));
        match self.transact(Call::Change(SEND), &transaction) {
            Ok(answer) if answer.succeeded => {
                let last = LastBeat { revision: answer.header.revision, ..last };
                Ok(Some(self.beaten(last, heartbeat)))
            }
            Ok(_) => Ok(None),
            Err(error) if lessor::is_full(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Publishes a heartbeat whatever is there, and tells what was, and who holds the reservation; `None` if it does not live
    /// by this lease.
    fn publish_and_read(&self, lease: Int, heartbeat: &Heartbeat) -> Result<Option<LastBeat>, EngineError> {
        let id = heartbeat.reservation_id;
        let key = self.keys.of_reservation(Folder::Heartbeats, id);
        let record = self.keys.of_reservation(Folder::Reservations, id);
        let mut publish = self.publish(lease, heartbeat)?;
        publish.success.splice(0..0, [Step::get(key.as_str()), Step::get(record.as_str())]);
        let mut answer = self.transact(Call::Change(SEND), &publish);
        let is_full = answer.as_ref().is_err_and(lessor::is_full);
        if is_full {
            // Nobody reads of it, but it is kept.
            publish.success.pop();
            answer = self.transact(Call::Read(SEND), &publish);
        }
        let answer = answer?;
        if !answer.succeeded {
            return Ok(None);
        }
        let value =
            |at: usize| answer.responses.get(at)?.response_range.kvs.first().map(|kv| kv.value.0.as_slice());
        let before: Option<Heartbeat> = reading::companion(&key, id, value(0))?;
        // Where nothing is written, there is nothing to carry along.
        let before = before.filter(|_| !is_full);
        let revision = if is_full { Int(0) } else { answer.header.revision };
        let reservation = Reservation::from_bytes(id, value(1).unwrap_or_default())
            .map_err(|source| damaged(&record, source))?;
        Ok(Some(LastBeat {
            lease,
            revision,
            holder: reservation.run_id,
            extra: before.map(|before| before.extra).unwrap_or_default(),
        }))
    }

    pub(super) fn beat_anew(&self, beat: &Beat) -> Result<Option<Beaten>, EngineError> {
        let id = beat.reservation;
        let Some((lease, lives)) = self.found(id)? else { return Ok(Some(Beaten::NotFound)) };
        if lease.release.is_present() {
            return Ok(Some(Beaten::Released));
        }
        if let Mark::Read(mark) = &lease.supersession {
            return Ok(Some(Beaten::Superseded(mark.clone())));
        }
        let now = self.clock.now();
        let lapsed_seconds =
            if lives.is_over() { Some(lease.lapsed_seconds(now).unwrap_or(0)) } else { None };
        let is_holder = lease.reservation.run_id == beat.run;
        let extension = beat.extension.get();
        let left = match lives.of(Life::Beat) {
            Some(its) if !is_holder => self.lessor.left(its)?.map(|left| left.at_least),
            _ => None,
        };
        // The times of records are of whoever wrote them; what is left is etcd's word.
        let until = left.map(|left| reading::plus(now, left));
        let mut told = Lease { heartbeat: lease.heartbeat.clone(), ..lease.clone() };
        if let Some(heartbeat) = &mut told.heartbeat {
            heartbeat.extended_expires_at = until.unwrap_or(now);
        }
        let mut heartbeat = told.beat(&beat.run, beat.extension, now);
        let is_kept = if left.is_some_and(|left| left > seconds(extension)) {
            self.keep_as_it_is(&lease.reservation, &lives, Life::Beat, &heartbeat)?
        } else {
            match self.keep_for(&lease.reservation, &lives, extension, &mut heartbeat) {
                Err(error) if lessor::is_full(&error) => {
                    self.keep_by_grant(&lease, &lives, extension)?.ok_or(error)?
                }
                kept => kept?,
            }
        };
        Ok(is_kept.then_some(Beaten::Extended {
            heartbeat,
            holder: lease.reservation.run_id,
            lapsed_seconds,
            already_over: false,
        }))
    }

    /// Extends what the run has already, and never shortens it; `None` if it changed meanwhile.
    pub(super) fn renew(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<Lease>, EngineError> {
        let id = lease.reservation.reservation_id;
        let lives = snapshot.lives(id);
        let heartbeat = self.heartbeat(id)?;
        let lease = Lease { heartbeat, ..lease.clone() };
        let mut heartbeat = lease.renewal(request.ttl, now);
        let longest = self.longest(&lives)?.map(|(life, left)| (life, left.at_least));
        let kept = if let Some((life, left)) = longest.filter(|(_, left)| *left >= seconds(request.ttl.get()))
        {
            heartbeat.extended_expires_at = reading::plus(now, left);
            self.keep_as_it_is(&lease.reservation, &lives, life, &heartbeat)?
        } else {
            self.keep_for(&lease.reservation, &lives, request.ttl.get(), &mut heartbeat)?
        };
        Ok(kept.then_some(Lease { heartbeat: Some(heartbeat), lapses_at: None, ..lease }))
    }

    pub(super) fn heartbeat(&self, id: ReservationId) -> Result<Option<Heartbeat>, EngineError> {
        let key = self.keys.of_reservation(Folder::Heartbeats, id);
        let answer =
            self.range("read a heartbeat", &Range { key: key.as_str().into(), ..Range::default() })?;
        reading::companion(&key, id, answer.kvs.first().map(|kv| kv.value.0.as_slice()))
    }

    /// The longer one of the two lives, and how long it lasts; `None` where both are over.
    pub(super) fn longest(&self, lives: &Lives) -> Result<Option<(Life, Left)>, EngineError> {
        let mut longest = None;
        for (life, lease) in lives.each() {
            let left = self.lessor.left(lease)?.map(|left| (life, left));
            // Of two that last equally long the heartbeat's.
            longest = [longest, left].into_iter().flatten().max_by_key(|(_, left)| *left);
        }
        Ok(longest)
    }

    /// Publishes a heartbeat that counts for as long as one of the lives that there are. Where that is the grant's, the
    /// heartbeat's becomes as long: what the next heartbeat must not shorten is told by it.
    fn keep_as_it_is(
        &self,
        reservation: &Reservation,
        lives: &Lives,
        longest: Life,
        heartbeat: &Heartbeat,
    ) -> Result<bool, EngineError> {
        let id = reservation.reservation_id;
        let key = self.keys.of_reservation(Folder::Heartbeats, id);
        let beat = self.keys.life_of(id, Life::Beat);
        let mut compare = vec![Compare::present(self.keys.standing(reservation).as_str())];
        if lives.of(Life::Beat).is_none() {
            compare.push(Compare::absent(beat.as_str()));
        }
        let mut success = vec![Step::put(key.as_str(), bytes(&key, heartbeat)?)];
        for (life, lease) in lives.each() {
            compare.push(Compare::bound(self.keys.life_of(id, life).as_str(), lease));
            if life == Life::Grant && longest == life {
                success.push(Step::put_bound(beat.as_str(), Vec::new(), lease));
            }
        }
        self.commit(SEND, Transaction { compare, success, failure: Vec::new() })
    }

    /// Gives the reservation a life of `extension` seconds from now, and publishes the heartbeat; `false` where it was
    /// released or superseded, or its life is another one meanwhile. Of this and a grant that supersedes it one fails: each
    /// goes by what the other changes.
    fn keep_for(
        &self,
        reservation: &Reservation,
        lives: &Lives,
        extension: u32,
        heartbeat: &mut Heartbeat,
    ) -> Result<bool, EngineError> {
        let id = reservation.reservation_id;
        let new = self.keys.lease_of(id, Life::Beat, extension);
        let granted = self.lessor.grant(new, extension)?;
        if granted > extension {
            // A time below etcd's shortest.
            let until = heartbeat.last_beat_at.plus_seconds(granted);
            heartbeat.extended_expires_at = heartbeat.extended_expires_at.max(until);
        }
        let key = self.keys.of_reservation(Folder::Heartbeats, id);
        let beat = self.keys.life_of(id, Life::Beat);
        let mut compare = vec![Compare::present(self.keys.standing(reservation).as_str())];
        compare.push(match lives.of(Life::Beat) {
            Some(old) => Compare::bound(beat.as_str(), old),
            None => Compare::absent(beat.as_str()),
        });
        let success = vec![
            Step::put_bound(beat.as_str(), Vec::new(), new),
            Step::put(key.as_str(), bytes(&key, heartbeat)?),
        ];
        // The old lease is left to lapse. It is also that of a later heartbeat of that length, which may have bound the life
        // to it again by the time that it would be ended.
        self.commit(SEND, Transaction { compare, success, failure: Vec::new() })
    }

    /// Keeps a reservation alive by the lease that it was granted with, where etcd is full and gives no other. `None`
    /// where that one is over, or is shorter than what is asked for.
    fn keep_by_grant(
        &self,
        lease: &Lease,
        lives: &Lives,
        extension: u32,
    ) -> Result<Option<bool>, EngineError> {
        let id = lease.reservation.reservation_id;
        // One that was moved here has another, of the time that it had left.
        let ttl = lease.reservation.ttl_seconds.get();
        let whole = self.keys.lease_of(id, Life::Grant, ttl);
        let Some(its) = lives.of(Life::Grant).filter(|its| *its == whole && ttl >= extension) else {
            return Ok(None);
        };
        if !self.lessor.keep_alive(its)? {
            return Ok(None);
        }
        let compare = vec![
            Compare::present(self.keys.standing(&lease.reservation).as_str()),
            Compare::bound(self.keys.life_of(id, Life::Grant).as_str(), its),
            Compare::absent(self.keys.moved().as_str()),
        ];
        let question = Transaction { compare, ..Transaction::default() };
        Ok(Some(self.transact(Call::Read(SEND), &question)?.succeeded))
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use muse_testkit::etcd::Etcd;

    use super::*;
    use crate::clock::{ManualClock, SystemClock};
    use crate::engine::etcd::Endpoints;
    use crate::engine::{Engine as _, Reserved};
    use crate::record::TtlSeconds;

    fn beat_of(id: ReservationId, run: &str) -> Beat {
        Beat { reservation: id, run: RunId::new(run).unwrap(), extension: TtlSeconds::new(60).unwrap() }
    }

    /// What this engine wrote last need not be what is there: the next heartbeat reads again, and carries along what it does
    /// not know.
    #[test]
    fn what_others_write_in_between_is_read() {
        let repository = Etcd::repository();
        let endpoints = Endpoints { urls: vec![Etcd::shared().url().to_owned()], ..Endpoints::default() };
        let engine = || EtcdEngine::new(&endpoints, &repository, SystemClock).unwrap();
        let (one, other) = (engine(), engine());
        let wanted = vec!["a.py".parse().unwrap()];
        let ten_minutes = TtlSeconds::new(600).unwrap();
        let request = Request::new(RunId::new("alice").unwrap(), wanted, ten_minutes);
        let id = match one.grant(&request).unwrap() {
            Reserved::Granted(grant) => grant.lease.reservation.reservation_id,
            denied => panic!("{denied:?}"),
        };
        let beaten_by = |engine: &EtcdEngine<SystemClock>, run: &str| match engine.beat(&beat_of(id, run)) {
            Ok(Beaten::Extended { heartbeat, holder, .. }) => {
                assert_eq!(holder.as_str(), "alice");
                heartbeat
            }
            other => panic!("{other:?}"),
        };
        let is_remembered = || one.last_beats.0.lock().unwrap().contains_key(&id);
        beaten_by(&one, "alice");
        for _ in 0..3 {
            assert_eq!(beaten_by(&one, "alice").run_id.as_str(), "alice");
            assert!(is_remembered());
        }
        beaten_by(&other, "bob");
        assert_eq!(one.heartbeat(id).unwrap().unwrap().run_id.as_str(), "bob");
        beaten_by(&one, "alice");
        assert!(is_remembered());

        let key = one.keys.of_reservation(Folder::Heartbeats, id);
        let mut theirs = one.heartbeat(id).unwrap().unwrap();
        theirs.extra.insert("of_a_later_version".to_owned(), true.into());
        let success = vec![Step::put(key.as_str(), bytes(&key, &theirs).unwrap())];
        one.commit("write", Transaction { success, ..Transaction::default() }).unwrap();
        for _ in 0..2 {
            assert_eq!(beaten_by(&one, "alice").extra, theirs.extra);
            assert_eq!(one.heartbeat(id).unwrap().unwrap().extra, theirs.extra);
        }
        assert_eq!(beaten_by(&other, "alice").extra, theirs.extra);
    }

    /// What has ended is not kept alive by what is remembered of it.
    #[test]
    fn what_is_over_is_told_though_its_last_heartbeat_is_remembered() {
        let clock = Arc::new(ManualClock::at_seconds(1_800_000_000));
        let repository = Etcd::repository();
        let both = [Arc::clone(&clock), Arc::clone(&clock)];
        let [one, two] = both;
        let engine = EtcdEngine::by_manual_clock(Etcd::shared().url(), &repository, one, two);
        let other = EtcdEngine::by_manual_clock(
            Etcd::shared().url(),
            &repository,
            Arc::clone(&clock),
            Arc::clone(&clock),
        );
        let reserve = |address: &str| {
            let request = Request::new(
                RunId::new("alice").unwrap(),
                vec![address.parse().unwrap()],
                TtlSeconds::new(60).unwrap(),
            );
            match engine.grant(&request).unwrap() {
                Reserved::Granted(grant) => grant.lease.reservation.reservation_id,
                denied => panic!("{denied:?}"),
            }
        };
        let released = reserve("a.py");
        let lapsed = reserve("b.py");
        for id in [released, lapsed].repeat(3) {
            assert!(matches!(engine.beat(&beat_of(id, "alice")), Ok(Beaten::Extended { .. })));
        }
        let alice = RunId::new("alice").unwrap();
        let request = crate::engine::ReleaseRequest {
            reservations: vec![released],
            run: alice,
            reason: None,
            force: false,
        };
        other.release(&request).unwrap();
        assert_eq!(engine.beat(&beat_of(released, "alice")).unwrap(), Beaten::Released);
        clock.advance_seconds(61);
        let revived = engine.beat(&beat_of(lapsed, "alice")).unwrap();
        assert!(matches!(revived, Beaten::Extended { lapsed_seconds: Some(_), .. }), "{revived:?}");
    }
}
