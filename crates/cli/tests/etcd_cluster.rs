//! Three members of etcd, one of which is lost, hangs or is started again, and a client whose network is cut: nobody is
//! granted what another one has, nothing that was granted is lost, and heartbeats go on.
//!
//! `MUSE_ETCD_RUNS` says how many runs there are of each. Where it is set, heartbeats have to go on within five seconds.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "tests wait; what a helper does not expect fails the test; figures are quoted"
)]

use std::env;
use std::thread;
use std::time::Duration;

use muse_coord::Endpoints;
use muse_testkit::assert_sound;
use muse_testkit::etcd::cluster::{Cluster, MEMBERS};
use muse_testkit::etcd::load::{Load, Report, TTL};
use muse_testkit::etcd::proxy::Proxy;
use muse_testkit::process::until;
use rustix::process::Signal;

const CLIENTS: usize = 4;

/// How soon heartbeats go on.
const RESUMED_MAX: Duration = Duration::from_secs(5);

/// For how long clients work before something happens, and after it.
const WHILE: Duration = Duration::from_millis(700);

/// Longer than what the clients reserve lasts.
const LONG: Duration = Duration::from_millis(TTL as u64 * 1000 + 1500);

fn runs_asked_for() -> Option<usize> {
    env::var("MUSE_ETCD_RUNS").ok()?.parse().ok()
}

/// What the runs of one kind came to.
#[derive(Debug, Default)]
struct Figures {
    report: Report,
    /// How long each client's heartbeats were away, in each run.
    gaps: Vec<Duration>,
    /// In how many runs something was freed early.
    runs_freed: usize,
}

impl Figures {
    fn add(&mut self, gaps: Vec<Duration>, report: Report) {
        self.gaps.extend(gaps);
        self.runs_freed += usize::from(!report.freed.is_empty());
        self.report.add(report);
    }

    /// Prints them. `is_known` where this release of etcd itself ends leases early: that is counted apart.
    fn check(mut self, what: &str, runs: usize, is_known: bool) {
        self.gaps.sort();
        let Report { granted, denied, beaten, failed, freed, violations } = self.report;
        let at =
            |share: usize| self.gaps.get((self.gaps.len() - 1) * share / 100).copied().unwrap_or_default();
        println!(
            "{what}: {runs} runs, {granted} granted, {denied} denied, {beaten} heartbeats, {} calls failed; \
             heartbeats away: median {:.1?}, longest {:.1?}; violations: {}, freed early: {}",
            failed.values().sum::<usize>(),
            at(50),
            at(100),
            violations.len(),
            freed.len(),
        );
        for (why, count) in &failed {
            println!("  {count} times: {why}");
        }
        assert_sound!(violations);
        if is_known && !freed.is_empty() {
            println!(
                "{what}: in {} of {runs} runs this etcd, which is older than 3.4.31 and 3.5.13, let a leader that had \
                 been paused end leases, and {} times somebody else was granted what was freed: {}",
                self.runs_freed,
                freed.iter().filter(|its| its.starts_with("two hold")).count(),
                muse_testkit::show(&freed)
            );
        } else {
            assert_sound!(freed);
        }
        assert!(
            runs_asked_for().is_none() || at(100) < RESUMED_MAX,
            "heartbeats were away for {:?}",
            at(100)
        );
    }
}

fn run_each(
    what: &str,
    has_known_fault: bool,
    mut act: impl FnMut(&mut Cluster, Load, usize) -> (Vec<Duration>, Report),
    endpoints: impl Fn(&Cluster) -> Vec<Endpoints>,
) {
    let runs = runs_asked_for().unwrap_or(1);
    let mut cluster = Cluster::start();
    let release = cluster.release();
    let is_old = release < vec![3, 4, 31] || (vec![3, 5]..vec![3, 5, 13]).contains(&release);
    let mut figures = Figures::default();
    for run in 0..runs {
        let load = Load::start(&endpoints(&cluster));
        thread::sleep(WHILE);
        let (gaps, report) = act(&mut cluster, load, run);
        figures.add(gaps, report);
    }
    figures.check(what, runs, has_known_fault && is_old);
}

fn all(cluster: &Cluster) -> Vec<Endpoints> {
    (0..CLIENTS).map(|client| cluster.endpoints(client)).collect()
}

/// Waits until every client has sent a heartbeat since `from`, and tells how long that took.
fn resumed(load: &Load, from: Duration) -> Vec<Duration> {
    let mut gaps = None;
    until("every client's heartbeats go on", || {
        gaps = load.first_beats(from);
        gaps.is_some()
    });
    gaps.unwrap_or_default()
}

/// Lets the clients work for a while with all members again.
fn settle(cluster: &Cluster, load: Load) -> Report {
    cluster.until_healthy();
    resumed(&load, load.now());
    thread::sleep(WHILE);
    load.finish()
}

#[test]
fn a_leader_is_killed() {
    let kill = |cluster: &mut Cluster, load: Load, _| {
        let leader = cluster.leader();
        let from = load.now();
        cluster.signal(leader, Signal::KILL);
        let gaps = resumed(&load, from);
        thread::sleep(WHILE);
        cluster.begin_again(leader);
        (gaps, settle(cluster, load))
    };
    run_each("leader killed", false, kill, all);
}

/// For longer than the reservations last: it goes on in the belief that they are over.
#[test]
fn a_leader_is_paused() {
    let pause = |cluster: &mut Cluster, load: Load, _| {
        let leader = cluster.leader();
        let from = load.now();
        cluster.signal(leader, Signal::STOP);
        let gaps = resumed(&load, from);
        cluster.leader_but(Some(leader));
        thread::sleep(LONG.saturating_sub(load.now().saturating_sub(from)));
        cluster.signal(leader, Signal::CONT);
        (gaps, settle(cluster, load))
    };
    run_each("leader paused", true, pause, all);
}

#[test]
fn a_leader_is_started_again() {
    let restart = |cluster: &mut Cluster, load: Load, _| {
        let leader = cluster.leader();
        let from = load.now();
        cluster.signal(leader, Signal::TERM);
        cluster.begin_again(leader);
        let gaps = resumed(&load, from);
        (gaps, settle(cluster, load))
    };
    run_each("leader restarted", false, restart, all);
}

/// One client reaches no member for longer than its reservations last; the others go on, and are granted what it had. In
/// every second run its connections are broken off before the network is there again.
#[test]
fn a_network_is_cut() {
    let proxies: std::cell::RefCell<Vec<Proxy>> = std::cell::RefCell::default();
    let cut = |cluster: &mut Cluster, load: Load, run: usize| {
        let proxies = proxies.borrow();
        let from = load.now();
        proxies.iter().for_each(Proxy::cut);
        until("the others' heartbeats go on", || load.first_beats_but(0, from).is_some());
        thread::sleep(LONG);
        if run % 2 == 1 {
            proxies.iter().for_each(Proxy::break_off);
        }
        let from = load.now();
        proxies.iter().for_each(Proxy::mend);
        let gaps = resumed(&load, from);
        (gaps, settle(cluster, load))
    };
    let endpoints = |cluster: &Cluster| {
        let mut all = all(cluster);
        let new: Vec<Proxy> = cluster.urls().iter().map(|url| Proxy::to(url)).collect();
        assert_eq!(new.len(), MEMBERS);
        all[0].urls = new.iter().map(|proxy| proxy.url().to_owned()).collect();
        *proxies.borrow_mut() = new;
        all
    };
    run_each("network cut", false, cut, endpoints);
}
