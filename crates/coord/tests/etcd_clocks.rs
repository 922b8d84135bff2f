//! Clients whose clocks differ by hours, on one etcd: it alone keeps the time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use muse_coord::{
    Beat, Beaten, CheckRequest, Clock, Coordinator, Endpoints, EtcdEngine, Filter, Grant, ReleaseRequest,
    Request, Reserved, RunId, State, SystemClock, Timestamp, TtlSeconds, Verdict, Waited,
};
use muse_testkit::etcd::Etcd;
use muse_testkit::process::until;

const HOUR: i64 = 3600;

/// Long enough for anything that is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A clock that is wrong by so many seconds.
#[derive(Clone, Copy, Debug)]
struct Wrong(i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::from_microseconds(SystemClock.now().as_microseconds() + self.0 * 1_000_000)
    }
}

fn clients<const N: usize>(clocks: [i64; N]) -> [Coordinator<EtcdEngine<Wrong>>; N] {
    let repository = Etcd::repository();
    let endpoints = Endpoints { urls: vec![Etcd::shared().url().to_owned()], ..Endpoints::default() };
    clocks.map(|clock| Coordinator::new(EtcdEngine::new(&endpoints, &repository, Wrong(clock)).unwrap()))
}

fn request(run: &str, seconds: i64) -> Request {
    let ttl = TtlSeconds::new(seconds).unwrap();
    Request::new(RunId::new(run).unwrap(), vec!["a.py".parse().unwrap()], ttl)
}

fn granted(reserved: Reserved) -> Grant {
    match reserved {
        Reserved::Granted(grant) => *grant,
        other => panic!("not granted: {other:?}"),
    }
}

/// What one holds the other is denied, whichever clock is ahead, and each tells of it by its own.
#[test]
fn what_is_held_is_held_by_every_clock() {
    for [holder, other] in [[HOUR, -HOUR], [-HOUR, HOUR]] {
        let [alice, bob] = clients([holder, other]);
        let grant = granted(alice.reserve(&request("alice", 60)).unwrap());
        let reservation = grant.lease.reservation.reservation_id;
        for _ in 0..2 {
            assert!(matches!(bob.reserve(&request("bob", 60)).unwrap(), Reserved::Denied { .. }));
            let listed = bob.list(&Filter::default()).unwrap().leases;
            let now = Wrong(other).now();
            assert_eq!(listed.iter().map(|lease| lease.state(now)).collect::<Vec<_>>(), [State::Active]);
            let left = listed[0].effective_expiry().seconds_left(now);
            assert!((1..=62).contains(&left), "{left} s are left by a clock that is {other} s wrong");
            let beat = Beat {
                reservation,
                run: RunId::new("alice").unwrap(),
                extension: TtlSeconds::new(60).unwrap(),
            };
            let beaten = alice.heartbeat(&beat).unwrap();
            assert!(matches!(beaten, Beaten::Extended { lapsed_seconds: None, .. }), "{beaten:?}");
        }
        let release = ReleaseRequest {
            reservations: vec![reservation],
            run: RunId::new("alice").unwrap(),
            reason: None,
            force: false,
        };
        alice.release(&release).unwrap();
        let next = granted(bob.reserve(&request("bob", 60)).unwrap());
        assert!(next.lease.reservation.token > grant.lease.reservation.token);
    }
}

/// Whoever waits is served when it lapses by etcd's clock: before that a heartbeat finds it alive.
#[test]
fn what_lapses_lapses_for_every_clock() {
    for [holder, other] in [[HOUR, -HOUR], [-HOUR, HOUR]] {
        let [alice, bob] = clients([holder, other]);
        let grant = granted(alice.reserve(&request("alice", 2)).unwrap());
        // It is in the way until it has lapsed, and not for longer.
        let question =
            CheckRequest::new(RunId::new("bob").unwrap(), request("bob", 60).addresses, Vec::new());
        let is_in_the_way = || bob.check(&question).unwrap().verdict() == Verdict::Conflict;
        assert!(is_in_the_way());
        until("it has lapsed", || bob.list(&Filter::default()).unwrap().leases.is_empty());
        assert!(!is_in_the_way());
        granted(alice.reserve(&request("alice", 2)).unwrap());
        let waited = bob.reserve_waiting(&request("bob", 60), PATIENCE, None, |_, _| {}).unwrap();
        let Waited::Answered(reserved) = waited else { panic!("{waited:?}") };
        let next = granted(reserved).lease.reservation;
        assert!(next.token > grant.lease.reservation.token);
        let beat = Beat {
            reservation: grant.lease.reservation.reservation_id,
            run: RunId::new("alice").unwrap(),
            extension: TtlSeconds::new(60).unwrap(),
        };
        let late = alice.heartbeat(&beat).unwrap();
        assert!(matches!(&late, Beaten::Superseded(mark) if mark.run_id.as_str() == "bob"), "{late:?}");
    }
}

/// Of many who take turns there is one at a time, and the tokens grow.
#[test]
fn there_is_one_holder_at_a_time() {
    const TURNS: usize = 5;
    let inside = AtomicUsize::new(0);
    let newest = AtomicUsize::new(0);
    let take_turns = |name: String, client: Coordinator<EtcdEngine<Wrong>>| {
        for _ in 0..TURNS {
            let waited = client.reserve_waiting(&request(&name, 60), PATIENCE, None, |_, _| {}).unwrap();
            let Waited::Answered(reserved) = waited else { panic!("{waited:?}") };
            let reservation = granted(reserved).lease.reservation;
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            let token = usize::try_from(reservation.token.get()).unwrap();
            assert!(newest.swap(token, Ordering::SeqCst) < token);
            inside.fetch_sub(1, Ordering::SeqCst);
            let release = ReleaseRequest {
                reservations: vec![reservation.reservation_id],
                run: RunId::new(&*name).unwrap(),
                reason: None,
                force: false,
            };
            client.release(&release).unwrap();
        }
    };
    let take_turns = &take_turns;
    thread::scope(|scope| {
        for (number, client) in clients([HOUR, 0, -HOUR, 12 * HOUR]).into_iter().enumerate() {
            scope.spawn(move || take_turns(format!("run-{number}"), client));
        }
    });
}
