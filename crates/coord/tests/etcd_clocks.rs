//! The distributed engine for clients on machines whose clocks disagree.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "what a helper of a test does not expect fails the test"
)]

use std::sync::Arc;

use muse_coord::{
    Address, Beat, Beaten, Clock, Endpoints, Engine as _, EtcdEngine, ReleaseRequest, Released, Request,
    Reserved, RunId, SystemClock, Timestamp, TtlSeconds,
};
use muse_testkit::etcd::Etcd;
use muse_testkit::process::until;

fn request(run: &str, address: &str, seconds: u32) -> Request {
    let address: Address = address.parse().unwrap();
    Request::new(RunId::new(run).unwrap(), vec![address], TtlSeconds::new(seconds.into()).unwrap())
}

/// Clients on machines whose clocks are an hour apart: etcd's leader keeps the time.
#[test]
fn clocks_that_are_an_hour_apart() {
    #[derive(Debug)]
    struct Shifted(i64);
    impl Clock for Shifted {
        fn now(&self) -> Timestamp {
            Timestamp::from_microseconds(SystemClock.now().as_microseconds() + self.0 * 3_600_000_000)
        }
    }
    let repository = Etcd::repository();
    let endpoints = Endpoints { urls: vec![Etcd::shared().url().to_owned()], ..Endpoints::default() };
    let at = |hours| EtcdEngine::new(&endpoints, &repository, Arc::new(Shifted(hours))).unwrap();
    let engines = [at(-1), at(0), at(1)];
    let [behind, exact, ahead] = &engines;
    let grant = |engine: &EtcdEngine<Arc<Shifted>>, run: &str, address: &str, seconds| match engine
        .grant(&request(run, address, seconds))
        .unwrap()
    {
        Reserved::Granted(grant) => Some(grant.lease.reservation),
        _ => None,
    };
    for (holder, others) in [(behind, [exact, ahead]), (exact, [behind, ahead]), (ahead, [behind, exact])] {
        let held = grant(holder, "holder", "a.py", 600).unwrap();
        for other in others {
            // To nobody has it lapsed, and everybody tells the time that is left by their own clock.
            assert!(grant(other, "other", "a.py", 600).is_none());
            let lease = other.find(held.reservation_id).unwrap().unwrap();
            let left = lease.effective_expiry().seconds_left(other.now());
            assert!((590..=601).contains(&left), "{left}");
            let run = RunId::new("holder").unwrap();
            let extension = TtlSeconds::new(600).unwrap();
            let beat = Beat { reservation: held.reservation_id, run, extension };
            assert!(matches!(other.beat(&beat), Ok(Beaten::Extended { lapsed_seconds: None, .. })));
        }
        let run = RunId::new("holder").unwrap();
        let reservations = vec![held.reservation_id];
        let release = ReleaseRequest { reservations, run, reason: None, force: false };
        assert!(matches!(others[0].release(&release).unwrap()[0].1, Ok(Released::Released)));
        // Whoever comes next has a greater token, whatever its clock says.
        let next = grant(others[1], "next", "a.py", 600).unwrap();
        assert!(next.token > held.token);
        let run = RunId::new("next").unwrap();
        let reservations = vec![next.reservation_id];
        holder.release(&ReleaseRequest { reservations, run, reason: None, force: false }).unwrap();
    }
    // What has lapsed has lapsed for all, and is superseded once.
    let short = grant(ahead, "short", "b.py", 2).unwrap();
    until("it lapses for those who are behind", || grant(behind, "late", "b.py", 600).is_some());
    let run = RunId::new("short").unwrap();
    let extension = TtlSeconds::new(60).unwrap();
    let beat = Beat { reservation: short.reservation_id, run, extension };
    assert!(matches!(ahead.beat(&beat), Ok(Beaten::Superseded(_))));
}
