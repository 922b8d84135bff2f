//! Three members of a real etcd that lose their leader, and clients that lose their network: no two hold the same at one
//! time, what was acknowledged is there, what lives is not taken away, and heartbeats come through again.
//!
//! `MUSE_ETCD_RUNS` says how often each happens.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests wait and start processes; figures are quoted; what a helper does not expect fails the test"
)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use muse_coord::{
    Address, Beat, Beaten, Endpoints, Engine as _, EngineError, EtcdEngine, ReleaseRequest, Released,
    Request, ReservationId, Reserved, RunId, SystemClock, TtlSeconds,
};
use muse_testkit::cluster::{Cluster, Proxy};
use muse_testkit::etcd::Etcd;
use muse_testkit::process::until;
use rustix::process::Signal;

/// How long what is contended for is granted, and what is kept through the fault, in seconds.
const SHORT: u32 = 4;
const LONG: u32 = 20;
/// For how long whoever got something works.
const WORK: Duration = Duration::from_millis(400);
/// How often what is kept gets a heartbeat.
const BEAT_EVERY: Duration = Duration::from_millis(250);
/// How long a fault lasts: longer than what heartbeats may take to come through again while it does. How long a network
/// is cut, and how long is waited after each.
const FAULT: Duration = Duration::from_secs(7);
const CUT: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(3);
const CONTENDERS: usize = 4;
const KEEPERS: usize = 4;

/// What somebody held for sure, from the answer to the end that they were promised.
#[derive(Clone, Debug)]
struct Held {
    address: usize,
    run: String,
    id: ReservationId,
    token: u64,
    asked: Instant,
    granted: Instant,
    until: Instant,
}

/// What a run showed.
#[derive(Debug, Default)]
struct Seen {
    held: Vec<Held>,
    violations: Vec<String>,
    /// What was lost before its time; where an old leader was stopped, etcd itself may be the cause.
    lost: Vec<String>,
    /// When each keeper's heartbeats were answered.
    beats: HashMap<usize, Vec<Instant>>,
    failures: usize,
}

fn engine(urls: &[String], first: usize, repository: &str) -> EtcdEngine<SystemClock> {
    let mut urls = urls.to_vec();
    let count = urls.len();
    urls.rotate_left(first % count);
    EtcdEngine::new(&Endpoints { urls, ..Endpoints::default() }, repository, SystemClock).unwrap()
}

fn request(run: &str, address: &str, seconds: u32) -> Request {
    let address: Address = address.parse().unwrap();
    Request::new(RunId::new(run).unwrap(), vec![address], TtlSeconds::new(seconds.into()).unwrap())
}

/// Takes one address after the other, works, and gives it back.
fn contend(engine: &EtcdEngine<SystemClock>, number: usize, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let run = format!("contender-{number}");
    let mut turn = number;
    while !stop.load(Ordering::SeqCst) {
        turn = turn.wrapping_mul(5).wrapping_add(3) % 7;
        let kept = format!("own-{}.py", turn % KEEPERS);
        match engine.grant(&request(&run, &kept, SHORT)) {
            Ok(Reserved::Granted(_)) => {
                seen.lock().unwrap().lost.push(format!("{run} got {kept}, which lived"))
            }
            Ok(_) => {}
            Err(error) => fail(seen, &error),
        }
        let address = turn % 2;
        let asked = Instant::now();
        let grant = match engine.grant(&request(&run, &format!("shared-{address}.py"), SHORT)) {
            Ok(Reserved::Granted(grant)) => grant,
            Ok(_) => {
                thread::sleep(Duration::from_millis(30));
                continue;
            }
            Err(error) => {
                fail(seen, &error);
                continue;
            }
        };
        let granted = Instant::now();
        let until = asked + Duration::from_secs(SHORT.into());
        thread::sleep(WORK);
        let released = Instant::now();
        let lease = &grant.lease.reservation;
        let held = Held {
            address,
            run: run.clone(),
            id: lease.reservation_id,
            token: lease.token.get(),
            asked,
            granted,
            until: until.min(released),
        };
        seen.lock().unwrap().held.push(held);
        let release = ReleaseRequest {
            reservations: vec![lease.reservation_id],
            run: RunId::new(run.clone()).unwrap(),
            reason: None,
            force: false,
        };
        // Until it is known to be released.
        while !stop.load(Ordering::SeqCst) {
            match engine.release(&release).unwrap().remove(0).1 {
                Ok(Released::Released | Released::AlreadyReleased) => break,
                Ok(other) => {
                    seen.lock().unwrap().violations.push(format!("{run}: {other:?} at a release"));
                    break;
                }
                Err(error) => fail(seen, &error),
            }
        }
    }
}

/// Holds one address of its own for all of the time.
fn keep(engine: &EtcdEngine<SystemClock>, number: usize, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let run = RunId::new(format!("keeper-{number}")).unwrap();
    let asked = Instant::now();
    let Reserved::Granted(grant) =
        engine.grant(&request(run.as_str(), &format!("own-{number}.py"), LONG)).unwrap()
    else {
        panic!("nobody else wants it")
    };
    let mut safe_until = asked + Duration::from_secs(LONG.into());
    let reservation = grant.lease.reservation.reservation_id;
    let beat = Beat { reservation, run, extension: TtlSeconds::new(LONG.into()).unwrap() };
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(BEAT_EVERY);
        let asked = Instant::now();
        match engine.beat(&beat) {
            Ok(Beaten::Extended { lapsed_seconds: None, .. }) => {
                safe_until = asked + Duration::from_secs(LONG.into());
                seen.lock().unwrap().beats.entry(number).or_default().push(Instant::now());
            }
            Ok(other) if asked < safe_until => {
                seen.lock().unwrap().lost.push(format!("keeper-{number} lost what lived: {other:?}"));
                return;
            }
            Ok(_) => return,
            Err(error) => fail(seen, &error),
        }
    }
}

fn fail(seen: &Mutex<Seen>, error: &EngineError) {
    let mut seen = seen.lock().unwrap();
    seen.failures += 1;
    if !matches!(error, EngineError::Remote { .. } | EngineError::Busy { .. }) {
        seen.violations.push(format!("an error that tells nothing of the network: {error}"));
    }
    drop(seen);
    thread::sleep(Duration::from_millis(20));
}

/// What is wrong with what was seen.
fn check(seen: &mut Seen) {
    seen.held.sort_by_key(|held| held.granted);
    for (position, one) in seen.held.iter().enumerate() {
        for other in &seen.held[position + 1..] {
            if one.address == other.address && one.run != other.run && other.granted < one.until {
                seen.violations.push(format!("two hold shared-{}: {one:?} and {other:?}", one.address));
            }
            if one.granted < other.asked && one.token >= other.token {
                seen.violations.push(format!("a token fell: {one:?} and {other:?}"));
            }
        }
    }
}

/// One run: clients at work, a fault, its end, and a look at all of it.
///
/// The keepers and half of the others are `clients`, the rest are `healthy`.
fn run(
    clients: &[String],
    healthy: &[String],
    lasts: Duration,
    fault: impl FnOnce(),
    mend: impl FnOnce(),
) -> (Seen, Duration) {
    let repository = Etcd::repository();
    let seen = Mutex::new(Seen::default());
    let stop = AtomicBool::new(false);
    let began = thread::scope(|scope| {
        for number in 0..KEEPERS {
            let (engine, seen, stop) = (engine(clients, number, &repository), &seen, &stop);
            scope.spawn(move || keep(&engine, number, stop, seen));
        }
        until("all keepers hold theirs", || seen.lock().unwrap().beats.len() == KEEPERS);
        for number in 0..CONTENDERS {
            let urls = if number % 2 == 0 { clients } else { healthy };
            let (engine, seen, stop) = (engine(urls, number, &repository), &seen, &stop);
            scope.spawn(move || contend(&engine, number, stop, seen));
        }
        thread::sleep(WORK);
        fault();
        let began = Instant::now();
        thread::sleep(lasts);
        mend();
        thread::sleep(AFTER);
        stop.store(true, Ordering::SeqCst);
        began
    });
    let mut seen = seen.into_inner().unwrap();
    check(&mut seen);
    // What was acknowledged is there, whoever led when.
    let engine = engine(healthy, 0, &repository);
    until("etcd answers", || engine.name().is_ok());
    for held in &seen.held {
        if engine.find(held.id).unwrap().is_none() {
            seen.violations.push(format!("an acknowledged grant is lost: {held:?}"));
        }
    }
    // The longest time without an answered heartbeat from the fault on, over all who keep something.
    let silence = seen.beats.values().filter_map(|beats| {
        let before = beats.iter().rev().find(|beat| **beat <= began).copied().unwrap_or(began);
        let after = beats.iter().find(|beat| **beat > began + Duration::from_millis(50)).copied()?;
        Some(after - before)
    });
    let silence = silence.max().unwrap_or(lasts + AFTER);
    (seen, silence)
}

fn runs() -> usize {
    std::env::var("MUSE_ETCD_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1)
}

/// Whether a stopped leader may end leases that it does not own any more: before 3.4.31 and 3.5.13.
fn has_lease_fault(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0_u32));
    let mut next = || parts.next().unwrap_or(0);
    let version = (next(), next(), next());
    version < (3, 4, 31) || ((3, 5, 0)..(3, 5, 13)).contains(&version)
}

/// Does the same several times, prints what was seen, and fails for what must not be.
fn several(name: &str, lost_is_known: bool, mut once: impl FnMut() -> (Seen, Duration)) {
    let mut silences = Vec::new();
    let (mut grants, mut beats, mut failures, mut lost) = (0, 0, 0, Vec::new());
    let mut violations = Vec::new();
    for _ in 0..runs() {
        let (seen, silence) = once();
        silences.push(silence);
        grants += seen.held.len();
        beats += seen.beats.values().map(Vec::len).sum::<usize>();
        failures += seen.failures;
        lost.extend(seen.lost);
        violations.extend(seen.violations);
    }
    silences.sort();
    println!(
        "{name}: {} runs, {grants} grants, {beats} heartbeats, {failures} calls failed, {} violations, {} lost before \
         their time; heartbeats resumed after {:.1} s (median), {:.1} s (longest)",
        silences.len(),
        violations.len(),
        lost.len(),
        silences[silences.len() / 2].as_secs_f64(),
        silences[silences.len() - 1].as_secs_f64(),
    );
    if lost_is_known && !lost.is_empty() {
        println!(
            "  this etcd is older than 3.4.31 or 3.5.13: a stopped leader may end leases of others: {lost:?}"
        );
    } else {
        violations.extend(lost);
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn a_leader_that_is_killed() {
    let cluster = Cluster::start();
    let urls = cluster.urls();
    several("leader killed", false, || {
        let leader = cluster.leader().unwrap();
        let run = run(&urls, &urls, FAULT, || cluster.kill(leader), || cluster.restart(leader));
        until("the cluster is whole", || cluster.is_whole());
        run
    });
}

#[test]
fn a_leader_that_is_started_anew() {
    let cluster = Cluster::start();
    let urls = cluster.urls();
    several("leader restarted", false, || {
        let leader = cluster.leader().unwrap();
        let restart = || {
            cluster.kill(leader);
            cluster.restart(leader);
        };
        let run = run(&urls, &urls, FAULT, restart, || ());
        until("the cluster is whole", || cluster.is_whole());
        run
    });
}

#[test]
fn a_leader_that_is_stopped_and_goes_on() {
    let cluster = Cluster::start();
    let urls = cluster.urls();
    several("leader stopped", has_lease_fault(&cluster.version()), || {
        let leader = cluster.leader().unwrap();
        let stop = || cluster.signal(leader, Signal::STOP);
        let run = run(&urls, &urls, FAULT, stop, || cluster.signal(leader, Signal::CONT));
        until("the cluster is whole", || cluster.is_whole());
        run
    });
}

/// The network of some is cut: theirs is not given to the others before its time, and they go on when it is there again.
#[test]
fn clients_whose_network_is_cut_off() {
    let cluster = Cluster::start();
    let proxies: Vec<Proxy> = cluster.ports().into_iter().map(Proxy::to).collect();
    let through: Vec<String> = proxies.iter().map(Proxy::url).collect();
    several("network cut off for 4 s", false, || {
        let cut = |is_cut| proxies.iter().for_each(|proxy| proxy.cut(is_cut));
        run(&through, &cluster.urls(), CUT, || cut(true), || cut(false))
    });
}

/// Clients on machines whose clocks are an hour apart: etcd's leader keeps the time.
#[test]
fn clocks_that_are_an_hour_apart() {
    use std::sync::Arc;

    use muse_coord::{Clock, Timestamp};

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
