//! One suite that every engine must pass: what the [`Engine`] trait and the coordination model promise.
//!
//! Each rule is a function over any engine and becomes one test for each of them, at the end of this file.
//! Time comes from [`ManualClock`] alone; nothing sleeps.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::archive::{Archived, BATCH_MAX, Bounds, Collected, Ending, Retention};
use crate::audit::{AuditQuery, AuditTrail};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::coordinator::{Coordinator, Filter};
use crate::decide::{Conflict, Holder, Notice, Request, TakeOver};
use crate::engine::etcd::EtcdEngine;
use crate::engine::file::FileEngine;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Beat, Beaten, Engine, Grant, Listing, ReleaseRequest, Released, Reserved, Turn};
use crate::id::{ReservationId, RunId, TicketNumber, Token};
use crate::lease::{Lease, State};
use crate::progress::Silent;
use crate::queue::Cause;
use crate::record::{Heartbeat, Mode, Operation, Supersession, TtlSeconds};
use crate::waiting::Waited;

use muse_testkit::etcd::Etcd;

use Mode::{Advisory, Exclusive, Shared};

/// When every test begins.
const START_SECONDS: i64 = 1_800_000_000;
/// For how long tests reserve, unless they say otherwise.
const TTL_SECONDS: i64 = 60;

/// An engine, its clock, and the folder that it lives in, if it needs one.
struct Bench<E> {
    /// Whether it goes by the clock alone. Where leases end by themselves, one that has ended does not begin again, whatever
    /// the clock says.
    goes_by_clock: bool,
    coordinator: Coordinator<E>,
    clock: Arc<ManualClock>,
    _folder: Option<tempfile::TempDir>,
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at_seconds(START_SECONDS))
}

fn memory() -> Bench<MemoryEngine<Arc<ManualClock>>> {
    let clock = clock();
    let coordinator = Coordinator::new(MemoryEngine::new(Arc::clone(&clock)));
    Bench { goes_by_clock: true, coordinator, clock, _folder: None }
}

fn file() -> Bench<FileEngine<Arc<ManualClock>>> {
    let clock = clock();
    let folder = tempfile::tempdir().unwrap();
    let engine = FileEngine::new(folder.path().join("coordination"), Arc::clone(&clock));
    Bench { goes_by_clock: true, coordinator: Coordinator::new(engine), clock, _folder: Some(folder) }
}

/// A file engine that has an index for the smallest store.
fn indexed() -> Bench<FileEngine<Arc<ManualClock>>> {
    let clock = clock();
    let folder = tempfile::tempdir().unwrap();
    let engine = FileEngine::new(folder.path().join("coordination"), Arc::clone(&clock)).index_above(0);
    Bench { goes_by_clock: true, coordinator: Coordinator::new(engine), clock, _folder: Some(folder) }
}

/// On a real etcd, whose leases the clock ends.
fn etcd() -> Bench<EtcdEngine<Arc<ManualClock>>> {
    let clock = clock();
    let url = Etcd::shared().url();
    let engine =
        EtcdEngine::by_manual_clock(url, &Etcd::repository(), Arc::clone(&clock), Arc::clone(&clock));
    Bench { goes_by_clock: false, coordinator: Coordinator::new(engine), clock, _folder: None }
}

fn run(text: &str) -> RunId {
    RunId::new(text).unwrap()
}

fn ttl(seconds: i64) -> TtlSeconds {
    TtlSeconds::new(seconds).unwrap()
}

/// So many seconds after the start.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_microseconds((START_SECONDS + seconds) * 1_000_000)
}

fn nobody() -> ReservationId {
    ReservationId::from_digest([0xAB; 32])
}

fn request(run_id: &str, addresses: &[&str], mode: Mode) -> Request {
    let addresses: Vec<Address> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let mut request = Request::new(run(run_id), addresses, ttl(TTL_SECONDS));
    request.mode = mode;
    request
}

fn taking_over(mut request: Request, reservation: ReservationId) -> Request {
    request.take_over = Some(TakeOver { reservation, reason: "stuck".to_owned() });
    request
}

fn id_of(grant: &Grant) -> ReservationId {
    grant.lease.reservation.reservation_id
}

fn token_of(grant: &Grant) -> u64 {
    grant.lease.reservation.token.get()
}

fn holders(conflicts: &[Conflict]) -> Vec<&str> {
    conflicts.iter().map(|conflict| conflict.run_id().as_str()).collect()
}

fn held(conflict: &Conflict) -> &Holder {
    conflict.holder().unwrap()
}

fn told_of(notices: &[Notice]) -> Vec<&str> {
    notices.iter().map(|notice| notice.holder.run_id.as_str()).collect()
}

impl<E: Engine> Bench<E> {
    fn reserve(&self, request: &Request) -> Reserved {
        self.coordinator.reserve(request).unwrap()
    }

    fn grant(&self, request: &Request) -> Grant {
        match self.reserve(request) {
            Reserved::Granted(grant) => *grant,
            other => panic!("not granted: {other:?}"),
        }
    }

    /// An exclusive reservation of `addresses`.
    fn hold(&self, run_id: &str, addresses: &[&str]) -> ReservationId {
        let grant = self.grant(&request(run_id, addresses, Exclusive));
        assert!(!grant.renewed);
        id_of(&grant)
    }

    fn conflicts(&self, request: &Request) -> Vec<Conflict> {
        match self.reserve(request) {
            Reserved::Denied { conflicts } => conflicts,
            other => panic!("not denied: {other:?}"),
        }
    }

    fn is_granted(&self, run_id: &str, address: &str, mode: Mode) -> bool {
        matches!(self.reserve(&request(run_id, &[address], mode)), Reserved::Granted(_))
    }

    fn beat(&self, id: ReservationId, run_id: &str, seconds: i64) -> Beaten {
        let beat = Beat { reservation: id, run: run(run_id), extension: ttl(seconds) };
        self.coordinator.heartbeat(&beat).unwrap()
    }

    /// Beats, and returns the heartbeat and for how long the reservation had lapsed.
    fn extend(&self, id: ReservationId, run_id: &str, seconds: i64) -> (Heartbeat, Option<u64>) {
        match self.beat(id, run_id, seconds) {
            Beaten::Extended { heartbeat, holder, lapsed_seconds, already_over } => {
                assert_eq!(holder, self.show(id).reservation.run_id);
                // The clock stands still, and nothing is later than the end of time.
                assert!(!already_over || self.clock.now() == Timestamp::MAX);
                (heartbeat, lapsed_seconds)
            }
            other => panic!("not extended: {other:?}"),
        }
    }

    fn superseded(&self, id: ReservationId, run_id: &str) -> Supersession {
        match self.beat(id, run_id, TTL_SECONDS) {
            Beaten::Superseded(mark) => mark,
            other => panic!("not superseded: {other:?}"),
        }
    }

    fn release(&self, id: ReservationId, run_id: &str, force: bool) -> Released {
        let request = ReleaseRequest { reservations: vec![id], run: run(run_id), reason: None, force };
        let mut answers = self.coordinator.release(&request).unwrap();
        assert_eq!(answers.len(), 1);
        let (answered, answer) = answers.remove(0);
        assert_eq!(answered, id);
        answer.unwrap()
    }

    fn show(&self, id: ReservationId) -> Lease {
        self.coordinator.show(id).unwrap().unwrap()
    }

    fn state(&self, id: ReservationId) -> State {
        self.show(id).state(self.clock.now())
    }

    fn expiry(&self, id: ReservationId) -> Timestamp {
        self.show(id).effective_expiry()
    }

    /// Everything that the engine keeps, in one order.
    fn contents(&self) -> Vec<Lease> {
        sorted(self.coordinator.engine().history().unwrap())
    }

    fn live(&self) -> Vec<ReservationId> {
        ids(&sorted(self.coordinator.engine().live().unwrap()))
    }

    fn collect(&self, retention: &Retention) -> Collected {
        let collected = self.coordinator.collect(retention, &Silent).unwrap();
        assert!(collected.damaged.is_empty() && collected.stopped_by.is_none(), "{collected:?}");
        assert_eq!(collected.skipped, 0);
        collected
    }

    /// The lines of the archive, the newest first.
    fn archived(&self) -> Vec<Archived> {
        self.coordinator.engine().archived().unwrap().map(|line| line.unwrap()).collect()
    }

    fn log(&self, query: &AuditQuery) -> AuditTrail {
        let trail = self.coordinator.log(query, &Silent).unwrap();
        assert!(trail.damaged.is_empty() && trail.more_damaged == 0, "{trail:?}");
        trail
    }

    fn logged(&self, query: &AuditQuery) -> Vec<ReservationId> {
        self.log(query).entries.iter().map(|entry| entry.lease.reservation.reservation_id).collect()
    }

    fn list(&self, filter: &Filter) -> Vec<ReservationId> {
        let listing = self.coordinator.list(filter).unwrap();
        assert!(listing.damaged.is_empty());
        ids(&listing.leases)
    }
}

fn sorted(mut listing: Listing) -> Vec<Lease> {
    assert!(listing.damaged.is_empty());
    listing.leases.sort_by_key(|lease| lease.reservation.token);
    listing.leases
}

fn ids(leases: &[Lease]) -> Vec<ReservationId> {
    leases.iter().map(|lease| lease.reservation.reservation_id).collect()
}

// Granting and denying.

fn a_grant_is_what_was_asked_for(bench: &Bench<impl Engine>) {
    let mut wanted = request("alice", &["b.py::B.m", "a.py"], Shared);
    wanted.operation = Some(Operation::Rename);
    wanted.branch = Some("topic".to_owned());
    let grant = bench.grant(&wanted);
    assert!(!grant.renewed && !grant.take_over_was_void);
    assert_eq!((grant.superseded, grant.notices.len()), (0, 0));
    let reservation = &grant.lease.reservation;
    assert_eq!(reservation.run_id, run("alice"));
    assert_eq!(reservation.addresses, wanted.addresses);
    assert_eq!(reservation.addresses[0].as_str(), "a.py");
    assert_eq!(reservation.mode, Shared);
    assert_eq!(reservation.operation, Some(Operation::Rename));
    assert_eq!(reservation.branch.as_deref(), Some("topic"));
    assert_eq!(reservation.ttl_seconds, ttl(TTL_SECONDS));
    assert_eq!((reservation.created_at, reservation.expires_at), (at(0), at(60)));
    assert!(grant.lease.heartbeat.is_none());
    assert_eq!(bench.show(id_of(&grant)), grant.lease);
    assert_eq!(bench.contents(), [grant.lease]);
}

fn exclusive_stops_exclusive_and_shared(bench: &Bench<impl Engine>) {
    bench.hold("alice", &["a.py"]);
    assert!(!bench.is_granted("bob", "a.py", Exclusive));
    assert!(!bench.is_granted("bob", "a.py", Shared));
    assert!(bench.is_granted("bob", "a.py", Advisory));
    assert!(bench.is_granted("bob", "b.py", Exclusive));
}

fn shared_stops_exclusive_only(bench: &Bench<impl Engine>) {
    bench.grant(&request("alice", &["a.py"], Shared));
    assert!(!bench.is_granted("bob", "a.py", Exclusive));
    let second = bench.grant(&request("bob", &["a.py"], Shared));
    assert!(second.notices.is_empty(), "two readers have nothing to tell each other");
    let conflicts = bench.conflicts(&request("carol", &["a.py"], Exclusive));
    assert_eq!(holders(&conflicts), ["alice", "bob"]);
}

fn advisory_neither_stops_nor_is_stopped(bench: &Bench<impl Engine>) {
    bench.grant(&request("alice", &["a.py"], Advisory));
    let told = bench.grant(&request("bob", &["a.py"], Exclusive));
    assert_eq!(told_of(&told.notices), ["alice"]);
    let told = bench.grant(&request("carol", &["a.py::f"], Advisory));
    assert_eq!(told_of(&told.notices), ["alice", "bob"], "sorted by token");
    assert_eq!(told.notices[0].address.as_str(), "a.py::f");
    assert_eq!(told.notices[0].held_address.as_str(), "a.py");
    assert_eq!(bench.live().len(), 3);
}

fn notices_are_of_active_reservations_of_others(bench: &Bench<impl Engine>) {
    let released = bench.grant(&request("alice", &["a.py"], Advisory));
    bench.release(id_of(&released), "alice", false);
    bench.grant(&request("bob", &["a.py"], Advisory));
    let own = bench.grant(&request("bob", &["a.py::f"], Advisory));
    assert!(own.notices.is_empty());
    bench.clock.advance_seconds(TTL_SECONDS);
    assert!(bench.grant(&request("carol", &["a.py"], Exclusive)).notices.is_empty());
}

fn a_renewal_is_told_of_what_it_overlaps(bench: &Bench<impl Engine>) {
    let wanted = request("alice", &["a.py"], Exclusive);
    bench.grant(&wanted);
    bench.grant(&request("bob", &["a.py"], Advisory));
    let renewal = bench.grant(&wanted);
    assert!(renewal.renewed);
    assert_eq!(told_of(&renewal.notices), ["bob"]);
}

fn a_run_does_not_conflict_with_itself(bench: &Bench<impl Engine>) {
    bench.hold("alice", &["src/"]);
    bench.hold("alice", &["src/a.py"]);
    for mode in [Shared, Advisory] {
        assert!(bench.is_granted("alice", "src/a.py", mode));
    }
    assert_eq!(bench.live().len(), 4);
}

fn ancestors_let_their_descendants_pass(bench: &Bench<impl Engine>) {
    bench.hold("alice", &["a.py"]);
    bench.hold("alice/1", &["a.py"]);
    bench.hold("alice/1/x", &["a.py"]);
    for stopped in ["alice", "alice/2", "alice/1/y", "alicent", "alice/10", "alice/"] {
        let conflicts = bench.conflicts(&request(stopped, &["a.py"], Shared));
        assert!(holders(&conflicts).contains(&"alice/1/x"), "{stopped}");
    }
    assert_eq!(holders(&bench.conflicts(&request("alice/1", &["a.py"], Shared))), ["alice/1/x"]);
}

fn an_ancestor_that_lapsed_is_not_superseded_by_its_descendant(bench: &Bench<impl Engine>) {
    let parent = bench.hold("alice", &["a.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    assert_eq!(bench.grant(&request("alice/1", &["a.py"], Exclusive)).superseded, 0);
    bench.extend(parent, "alice", 60);
}

fn a_descendant_that_lapsed_is_superseded_by_its_ancestor(bench: &Bench<impl Engine>) {
    let child = bench.hold("alice/1", &["a.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    assert_eq!(bench.grant(&request("alice", &["a.py"], Exclusive)).superseded, 1);
    assert_eq!(bench.superseded(child, "alice/1").run_id, run("alice"));
}

fn every_kind_of_address_conflicts(bench: &Bench<impl Engine>) {
    bench.hold("alice", &["src/api/", "lib/x.rs::Invoice", "docs/**/*.md"]);
    for taken in [
        "src/api/v1/a.py",
        "src/",
        "src/api/a.py::f",
        "lib/x.rs::Invoice.total",
        "lib/x.rs",
        "lib/*.rs",
        "docs/a.md",
        "docs/sub/",
        "**/README.*",
        "./",
    ] {
        assert!(!bench.is_granted("bob", taken, Exclusive), "{taken}");
    }
    for free in ["src/apis/", "lib/x.rs::Invoices", "lib/x.rs::Other", "docs/a.txt", "tests/"] {
        assert!(bench.is_granted("bob", free, Exclusive), "{free}");
    }
}

fn a_denial_names_address_holder_and_time_left(bench: &Bench<impl Engine>) {
    let mut wanted = request("alice", &["src/a.py", "src/b.py::f"], Exclusive);
    wanted.branch = Some("topic".to_owned());
    wanted.operation = Some(Operation::Delete);
    let alice = bench.grant(&wanted);
    bench.extend(id_of(&alice), "alice", 90);
    bench.clock.advance_microseconds(1);
    let bob = bench.hold("bob", &["z.py"]);

    let conflicts = bench.conflicts(&request("carol", &["z.py", "src/", "free.py"], Exclusive));
    assert_eq!(holders(&conflicts), ["alice", "bob"]);
    let (first, second) = (&conflicts[0], &conflicts[1]);
    assert_eq!((first.address.as_str(), first.held_address.as_str()), ("src/", "src/a.py"));
    assert_eq!(held(first).reservation_id, id_of(&alice));
    assert_eq!(held(first).branch.as_deref(), Some("topic"));
    assert_eq!(held(first).operation, Some(Operation::Delete));
    assert_eq!(held(first).mode, Exclusive);
    assert_eq!(held(first).token.get(), token_of(&alice));
    assert_eq!(held(first).expires_at, at(90), "the effective expiry, with the heartbeat");
    assert_eq!(held(first).expires_in_seconds, 90, "rounded up");
    assert_eq!(held(second).reservation_id, bob);
}

fn conflicts_are_sorted_by_address_then_token(bench: &Bench<impl Engine>) {
    for holder in ["zoe", "yan", "xia"] {
        bench.grant(&request(holder, &["b.py", "c.py"], Shared));
    }
    bench.hold("will", &["a.py"]);
    let conflicts = bench.conflicts(&request("bob", &["c.py", "b.py", "a.py"], Exclusive));
    let told: Vec<_> = conflicts.iter().map(|it| (it.address.as_str(), it.run_id().as_str())).collect();
    let expected = [
        ("a.py", "will"),
        ("b.py", "zoe"),
        ("b.py", "yan"),
        ("b.py", "xia"),
        ("c.py", "zoe"),
        ("c.py", "yan"),
        ("c.py", "xia"),
    ];
    assert_eq!(told, expected);
}

fn a_denied_request_changes_nothing(bench: &Bench<impl Engine>) {
    let lapsed = bench.hold("alice", &["a.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    let active = bench.hold("bob", &["b.py"]);
    let before = bench.contents();
    assert_eq!(holders(&bench.conflicts(&request("carol", &["a.py", "b.py", "c.py"], Exclusive))), ["bob"]);
    assert_eq!(bench.contents(), before);
    // Neither was the lapsed one superseded nor the free address taken.
    bench.extend(lapsed, "alice", 60);
    bench.hold("dave", &["c.py"]);
    assert_eq!(bench.state(active), State::Active);
}

fn a_reservation_holds_until_its_expiry_and_not_longer(bench: &Bench<impl Engine>) {
    bench.hold("alice", &["a.py"]);
    bench.clock.advance_microseconds(TTL_SECONDS * 1_000_000 - 1);
    let conflicts = bench.conflicts(&request("bob", &["a.py"], Exclusive));
    assert_eq!(held(&conflicts[0]).expires_in_seconds, 1);
    bench.clock.advance_microseconds(1);
    assert_eq!(bench.grant(&request("bob", &["a.py"], Exclusive)).superseded, 1);
}

fn of_racing_requests_one_is_granted(bench: &Bench<impl Engine + Sync>) {
    const RUNS: usize = 8;
    for round in 0..20 {
        let address = format!("{round}.py");
        let granted = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..RUNS)
                .map(|number| {
                    let wanted = request(&format!("run-{number}"), &[&address, "free/"], Exclusive);
                    scope.spawn(move || bench.reserve(&wanted))
                })
                .collect();
            racers
                .into_iter()
                .filter_map(|racer| match racer.join().unwrap() {
                    Reserved::Granted(grant) => Some(*grant),
                    Reserved::Denied { conflicts } => {
                        assert!(!conflicts.is_empty());
                        None
                    }
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<Grant>>()
        });
        assert_eq!(granted.len(), 1);
        let holder = &granted[0].lease.reservation;
        assert_eq!(bench.live(), [holder.reservation_id]);
        bench.release(holder.reservation_id, holder.run_id.as_str(), false);
    }
}

// Renewals.

fn a_repeat_renews(bench: &Bench<impl Engine>) {
    let wanted = request("alice", &["a.py", "b.py"], Exclusive);
    let first = bench.grant(&wanted);
    bench.clock.advance_seconds(30);
    // The order and number of addresses make no difference, nor do the operation and the branch.
    let mut again = request("alice", &["b.py", "a.py", "b.py"], Exclusive);
    again.operation = Some(Operation::Move);
    again.branch = Some("other".to_owned());
    let second = bench.grant(&again);
    assert!(second.renewed && !second.take_over_was_void && second.superseded == 0);
    assert_eq!(second.lease.reservation, first.lease.reservation, "the record is never modified");
    assert_eq!(second.lease.effective_expiry(), at(90));
    let heartbeat = second.lease.heartbeat.as_ref().unwrap();
    assert_eq!((heartbeat.last_beat_at, &heartbeat.run_id), (at(30), &run("alice")));
    assert_eq!(bench.contents(), [second.lease]);
}

fn a_repeat_never_shortens(bench: &Bench<impl Engine>) {
    let mut wanted = request("alice", &["a.py"], Exclusive);
    let id = id_of(&bench.grant(&wanted));
    wanted.ttl = ttl(5);
    assert_eq!(bench.grant(&wanted).lease.effective_expiry(), at(60), "shorter than was granted");
    bench.extend(id, "alice", 500);
    assert_eq!(bench.grant(&wanted).lease.effective_expiry(), at(500), "shorter than the heartbeat");
    bench.clock.advance_seconds(-3600);
    assert_eq!(bench.grant(&wanted).lease.effective_expiry(), at(500), "with the clock set back");
    assert_eq!(bench.expiry(id), at(500));
    wanted.ttl = ttl(7200);
    assert_eq!(bench.grant(&wanted).lease.effective_expiry(), at(3600));
}

fn a_repeat_revives_what_lapsed(bench: &Bench<impl Engine>) {
    let wanted = request("alice", &["a.py"], Exclusive);
    let first = bench.grant(&wanted);
    bench.clock.advance_seconds(10_000);
    let again = bench.grant(&wanted);
    assert!(again.renewed);
    assert_eq!((id_of(&again), token_of(&again)), (id_of(&first), token_of(&first)));
    assert_eq!(again.lease.effective_expiry(), at(10_060));
    assert_eq!(bench.state(id_of(&first)), State::Active);
}

fn other_addresses_or_another_mode_are_no_repeat(bench: &Bench<impl Engine>) {
    let first = bench.hold("alice", &["a.py"]);
    for (addresses, mode) in [
        (&["a.py", "b.py"][..], Exclusive),
        (&["a.py::f"], Exclusive),
        (&["a.py"], Shared),
        (&["a.py"], Advisory),
    ] {
        let grant = bench.grant(&request("alice", addresses, mode));
        assert!(!grant.renewed && id_of(&grant) != first);
    }
    assert_eq!(bench.expiry(first), at(60));
    assert_eq!(bench.live().len(), 5);
}

fn what_was_released_or_superseded_is_not_renewed(bench: &Bench<impl Engine>) {
    let released = bench.hold("alice", &["a.py"]);
    bench.release(released, "alice", false);
    let lapsed = bench.hold("alice", &["a.py"]);
    assert_ne!(lapsed, released);
    bench.clock.advance_seconds(TTL_SECONDS);
    let rival = bench.hold("bob", &["a.py"]);
    bench.release(rival, "bob", false);
    let fresh = bench.hold("alice", &["a.py"]);
    assert!(fresh != lapsed && fresh != released);
    assert_eq!(bench.state(lapsed), State::Superseded);
}

fn of_several_equal_reservations_the_latest_is_renewed(bench: &Bench<impl Engine>) {
    let wanted = request("alice", &["a.py"], Exclusive);
    let first = id_of(&bench.grant(&wanted));
    let advisory = id_of(&bench.grant(&request("bob", &["a.py"], Advisory)));
    let second = id_of(&bench.grant(&taking_over(wanted.clone(), advisory)));
    assert_ne!(first, second);
    let renewal = bench.grant(&wanted);
    assert!(renewal.renewed);
    assert_eq!(id_of(&renewal), second);
    assert!(bench.show(first).heartbeat.is_none());
}

// Supersession.

fn superseded_is_final_whatever_the_clock_says(bench: &Bench<impl Engine>) {
    let loser = bench.hold("alice", &["a.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    let winner = bench.grant(&request("bob", &["a.py"], Exclusive));
    assert_eq!(winner.superseded, 1);
    for jump in [0, -TTL_SECONDS, -100_000, 1_000_000, -900_000] {
        bench.clock.advance_seconds(jump);
        assert_eq!(bench.state(loser), State::Superseded);
        assert!(!bench.live().contains(&loser));
        for sender in ["alice", "bob"] {
            let mark = bench.superseded(loser, sender);
            assert_eq!((mark.reservation_id, mark.superseded_by), (loser, id_of(&winner)));
            assert_eq!((mark.run_id, mark.superseded_at), (run("bob"), at(60)));
        }
    }
    // The end of the winner does not bring the loser back.
    bench.release(id_of(&winner), "bob", false);
    bench.superseded(loser, "alice");
    assert_ne!(bench.hold("alice", &["a.py"]), loser);
}

fn one_grant_supersedes_all_that_are_in_the_way(bench: &Bench<impl Engine>) {
    let losers = [
        bench.hold("alice", &["src/a.py"]),
        bench.hold("bob", &["src/b.py", "docs/"]),
        id_of(&bench.grant(&request("dave", &["src/c.py::f"], Shared))),
    ];
    let elsewhere = bench.hold("alice", &["lib/"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    let winner = bench.grant(&request("eve", &["src/"], Exclusive));
    assert_eq!(winner.superseded, losers.len());
    for loser in losers {
        assert_eq!(bench.superseded(loser, "alice").superseded_by, id_of(&winner));
    }
    assert_eq!(bench.live(), [elsewhere, id_of(&winner)]);
    // Also what they held besides is free.
    bench.hold("frank", &["docs/"]);
}

fn only_a_conflicting_grant_supersedes(bench: &Bench<impl Engine>) {
    let shared = id_of(&bench.grant(&request("alice", &["a.py"], Shared)));
    let advisory = id_of(&bench.grant(&request("alice", &["a.py"], Advisory)));
    let own = bench.hold("alice", &["b.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    for wanted in [
        request("bob", &["a.py"], Shared),
        request("bob", &["a.py", "b.py"], Advisory),
        request("alice", &["b.py", "a.py"], Exclusive),
    ] {
        let grant = bench.grant(&wanted);
        assert_eq!(grant.superseded, 0);
        bench.release(id_of(&grant), wanted.run.as_str(), false);
    }
    for (id, lapsed) in [(shared, Some(0)), (advisory, Some(0)), (own, Some(0))] {
        assert_eq!(bench.extend(id, "alice", 60).1, lapsed);
    }
}

fn what_was_revived_is_not_superseded(bench: &Bench<impl Engine>) {
    let id = bench.hold("alice", &["a.py"]);
    bench.clock.advance_seconds(TTL_SECONDS + 5);
    bench.extend(id, "alice", 60);
    assert_eq!(holders(&bench.conflicts(&request("bob", &["a.py"], Exclusive))), ["alice"]);
}

// Take-over.

fn take_over_of_an_active_reservation(bench: &Bench<impl Engine>) {
    let held = bench.grant(&request("alice", &["a.py", "b.py"], Exclusive));
    let grant = bench.grant(&taking_over(request("boss", &["a.py"], Exclusive), id_of(&held)));
    assert!(!grant.renewed && !grant.take_over_was_void);
    assert_eq!(grant.superseded, 0);
    assert!(token_of(&grant) > token_of(&held));
    let lease = bench.show(id_of(&held));
    let release = lease.release.content().unwrap();
    assert_eq!((&release.run_id, release.reason.as_deref()), (&run("boss"), Some("stuck")));
    assert_eq!((release.forced, release.released_at), (true, at(0)));
    assert_eq!(release.reservation_id, id_of(&held));
    assert_eq!(bench.beat(id_of(&held), "alice", 60), Beaten::Released);
    assert_eq!(bench.live(), [id_of(&grant)]);
    // The other address of what was taken is free.
    bench.hold("carol", &["b.py"]);
}

fn take_over_of_a_lapsed_reservation_releases_it(bench: &Bench<impl Engine>) {
    let lapsed = bench.hold("alice", &["a.py"]);
    let other = bench.hold("bob", &["b.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    let grant = bench.grant(&taking_over(request("boss", &["a.py", "b.py"], Exclusive), lapsed));
    assert!(!grant.take_over_was_void);
    assert_eq!(grant.superseded, 1, "the other one");
    assert_eq!(bench.state(lapsed), State::Released);
    assert!(!bench.show(lapsed).supersession.is_present());
    assert_eq!(bench.beat(lapsed, "alice", 60), Beaten::Released);
    bench.superseded(other, "bob");
}

fn take_over_of_an_ended_reservation_is_void(bench: &Bench<impl Engine>) {
    let released = bench.hold("alice", &["a.py"]);
    bench.release(released, "alice", false);
    let superseded = bench.hold("alice", &["a.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    let last = bench.hold("bob", &["a.py"]);
    bench.release(last, "bob", false);
    for ended in [released, superseded] {
        let before = bench.show(ended);
        // Where it was does not matter any more.
        for address in ["a.py", "elsewhere.py"] {
            let grant = bench.grant(&taking_over(request("boss", &[address], Exclusive), ended));
            assert!(grant.take_over_was_void && !grant.renewed);
            bench.release(id_of(&grant), "boss", false);
        }
        assert_eq!(bench.show(ended), before);
    }
    assert!(matches!(bench.superseded(superseded, "alice").run_id.as_str(), "bob"));
    // A void take-over takes nobody else's place.
    bench.hold("carol", &["a.py"]);
    let wanted = taking_over(request("boss", &["a.py"], Exclusive), released);
    assert_eq!(holders(&bench.conflicts(&wanted)), ["carol"]);
}

fn take_over_of_nothing_changes_nothing(bench: &Bench<impl Engine>) {
    let wanted = taking_over(request("boss", &["a.py"], Exclusive), nobody());
    assert_eq!(bench.reserve(&wanted), Reserved::NothingToTakeOver);
    bench.hold("alice", &["b.py"]);
    let before = bench.contents();
    assert_eq!(bench.reserve(&wanted), Reserved::NothingToTakeOver);
    assert_eq!(bench.contents(), before);
}

fn take_over_elsewhere_changes_nothing(bench: &Bench<impl Engine>) {
    let held = bench.hold("alice", &["a.py"]);
    let before = bench.contents();
    let wanted = taking_over(request("boss", &["b.py"], Exclusive), held);
    assert_eq!(bench.reserve(&wanted), Reserved::TakeOverElsewhere);
    assert_eq!(bench.contents(), before);
    bench.clock.advance_seconds(TTL_SECONDS);
    assert_eq!(bench.reserve(&wanted), Reserved::TakeOverElsewhere, "lapsed");
    assert_eq!(bench.contents(), before);
}

fn take_over_with_others_in_the_way_changes_nothing(bench: &Bench<impl Engine>) {
    let target = bench.hold("alice", &["a.py"]);
    let lapsing = bench.hold("carol", &["c.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    bench.extend(target, "alice", 60);
    bench.hold("bob", &["b.py"]);
    let before = bench.contents();
    let wanted = taking_over(request("boss", &["a.py", "b.py", "c.py"], Exclusive), target);
    assert_eq!(holders(&bench.conflicts(&wanted)), ["bob"]);
    assert_eq!(bench.contents(), before);
    assert_eq!(bench.state(target), State::Active);
    bench.extend(target, "alice", 60);
    bench.extend(lapsing, "carol", 60);
}

fn take_over_is_never_a_renewal(bench: &Bench<impl Engine>) {
    let first = bench.grant(&request("alice", &["a.py"], Exclusive));
    let second = bench.grant(&taking_over(request("alice", &["a.py"], Exclusive), id_of(&first)));
    assert!(!second.renewed);
    assert!(token_of(&second) > token_of(&first));
    assert!(!bench.show(id_of(&first)).release.content().unwrap().forced, "it was its own");
    assert_eq!(bench.live(), [id_of(&second)]);
}

fn every_mode_can_take_over(bench: &Bench<impl Engine>) {
    for (held, taking) in
        [(Advisory, Exclusive), (Exclusive, Shared), (Shared, Advisory), (Advisory, Advisory)]
    {
        let target = id_of(&bench.grant(&request("alice", &["a.py"], held)));
        let grant = bench.grant(&taking_over(request("boss", &["a.py"], taking), target));
        assert!(grant.notices.is_empty(), "what is taken over counts as gone");
        assert_eq!(bench.state(target), State::Released);
        bench.release(id_of(&grant), "boss", false);
    }
}

// Tokens.

fn tokens_rise_whatever_the_clock_does(bench: &Bench<impl Engine>) {
    let mut last = 0;
    for (number, jump) in
        [0, 0, 3600, -7200, 0, 86_400 * 365, -86_400 * 365 * 60, 1, 0].into_iter().enumerate()
    {
        bench.clock.advance_seconds(jump);
        let grant = bench.grant(&request("alice", &[&format!("{number}.py")], Exclusive));
        assert!(token_of(&grant) > last, "after a jump of {jump} s");
        assert!(token_of(&grant) >= bench.clock.now().milliseconds_since_1970());
        last = token_of(&grant);
        if number % 2 == 0 {
            bench.release(id_of(&grant), "alice", false);
        }
    }
    assert!(last <= Token::MAX);
}

fn a_token_is_the_time_in_milliseconds_or_one_above_the_last(bench: &Bench<impl Engine>) {
    let token =
        |number: u32| token_of(&bench.grant(&request("alice", &[&format!("{number}.py")], Exclusive)));
    let milliseconds = || bench.clock.now().milliseconds_since_1970();
    // A new store goes on above the time when it was made.
    let first = token(0);
    assert!(first == milliseconds() || first == milliseconds() + 1, "{first}");
    assert_eq!(token(1), first + 1);
    bench.clock.advance_microseconds(-1);
    assert_eq!(token(2), first + 2);
    bench.clock.advance_seconds(1);
    let later = token(3);
    assert_eq!(later, milliseconds());
    bench.conflicts(&request("bob", &["3.py"], Exclusive));
    assert!(bench.grant(&request("alice", &["3.py"], Exclusive)).renewed);
    assert_eq!(token(4), later + 1, "neither a denial nor a renewal takes one");
}

// Releases.

fn a_release_frees_at_once_and_is_idempotent(bench: &Bench<impl Engine>) {
    let id = bench.hold("alice", &["a.py"]);
    bench.clock.advance_seconds(1);
    let with_reason = ReleaseRequest {
        reservations: vec![id],
        run: run("alice"),
        reason: Some("done\n".to_owned()),
        force: false,
    };
    assert!(matches!(bench.coordinator.release(&with_reason).unwrap()[..], [(_, Ok(Released::Released))]));
    let lease = bench.show(id);
    let release = lease.release.content().unwrap();
    assert_eq!((release.released_at, release.forced), (at(1), false));
    assert_eq!((&release.run_id, release.reason.as_deref()), (&run("alice"), Some("done\n")));
    assert_eq!(bench.state(id), State::Released);
    bench.clock.advance_seconds(1);
    for (again, force) in [("alice", false), ("alice", true), ("bob", false), ("bob", true)] {
        assert_eq!(bench.release(id, again, force), Released::AlreadyReleased);
    }
    assert_eq!(bench.show(id), lease, "the first tombstone stays");
    bench.hold("bob", &["a.py"]);
}

fn only_the_holder_releases_unless_by_force(bench: &Bench<impl Engine>) {
    let id = bench.hold("alice/1", &["a.py"]);
    for stranger in ["bob", "alice", "alice/1/x"] {
        let holder = run("alice/1");
        assert_eq!(bench.release(id, stranger, false), Released::NotHolder { holder });
    }
    assert_eq!(bench.state(id), State::Active);
    assert_eq!(bench.release(id, "bob", true), Released::Released);
    let lease = bench.show(id);
    assert!(lease.release.content().unwrap().forced);
    assert_eq!(bench.beat(id, "alice/1", 60), Beaten::Released);
}

fn force_is_not_forced_on_ones_own(bench: &Bench<impl Engine>) {
    let id = bench.hold("alice", &["a.py"]);
    assert_eq!(bench.release(id, "alice", true), Released::Released);
    assert!(!bench.show(id).release.content().unwrap().forced);
}

fn what_lapsed_or_was_superseded_can_be_released(bench: &Bench<impl Engine>) {
    let lapsed = bench.hold("alice", &["a.py"]);
    let superseded = bench.hold("alice", &["b.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    bench.hold("bob", &["b.py"]);
    for id in [lapsed, superseded] {
        assert_eq!(bench.release(id, "alice", false), Released::Released);
        assert_eq!(bench.state(id), State::Released);
        assert_eq!(bench.beat(id, "alice", 60), Beaten::Released, "a tombstone outweighs everything");
    }
    assert!(bench.show(superseded).supersession.is_present());
}

fn releases_are_answered_one_by_one_in_order(bench: &Bench<impl Engine>) {
    let (mine, theirs) = (bench.hold("alice", &["a.py"]), bench.hold("bob", &["b.py"]));
    let reservations = vec![theirs, nobody(), mine, mine];
    let request =
        ReleaseRequest { reservations: reservations.clone(), run: run("alice"), reason: None, force: false };
    let answers = bench.coordinator.release(&request).unwrap();
    let (answered, answers): (Vec<_>, Vec<_>) =
        answers.into_iter().map(|(id, answer)| (id, answer.unwrap())).unzip();
    assert_eq!(answered, reservations);
    let holder = run("bob");
    let expected =
        [Released::NotHolder { holder }, Released::NotFound, Released::Released, Released::AlreadyReleased];
    assert_eq!(answers, expected);
    assert_eq!(bench.live(), [theirs]);
}

fn a_release_of_nothing(bench: &Bench<impl Engine>) {
    assert_eq!(bench.release(nobody(), "alice", true), Released::NotFound);
    bench.hold("alice", &["a.py"]);
    for force in [false, true] {
        assert_eq!(bench.release(nobody(), "alice", force), Released::NotFound);
    }
    let none = ReleaseRequest { reservations: vec![], run: run("alice"), reason: None, force: false };
    assert!(bench.coordinator.release(&none).unwrap().is_empty());
    assert_eq!(bench.contents().len(), 1);
}

// Heartbeats.

fn a_beat_extends_from_now_and_leaves_the_record(bench: &Bench<impl Engine>) {
    let granted = bench.grant(&request("alice", &["a.py"], Exclusive));
    let id = id_of(&granted);
    bench.clock.advance_seconds(50);
    let (heartbeat, lapsed) = bench.extend(id, "alice", 100);
    assert_eq!(lapsed, None);
    assert_eq!((heartbeat.last_beat_at, heartbeat.extended_expires_at), (at(50), at(150)));
    assert_eq!((heartbeat.reservation_id, &heartbeat.run_id), (id, &run("alice")));
    let lease = bench.show(id);
    assert_eq!(lease.heartbeat, Some(heartbeat));
    assert_eq!(lease.reservation, granted.lease.reservation);
    bench.clock.advance_seconds(99);
    assert!(!bench.is_granted("bob", "a.py", Exclusive));
    bench.clock.advance_seconds(1);
    assert!(bench.is_granted("bob", "a.py", Exclusive));
}

fn the_holder_may_shorten_but_not_below_the_grant(bench: &Bench<impl Engine>) {
    let id = bench.hold("alice", &["a.py"]);
    bench.extend(id, "alice", 1000);
    assert_eq!(bench.extend(id, "alice", 100).0.extended_expires_at, at(100));
    assert_eq!(bench.expiry(id), at(100));
    assert_eq!(bench.extend(id, "alice", 1).0.extended_expires_at, at(1));
    assert_eq!(bench.expiry(id), at(60), "the later expiry counts");
}

fn a_beat_by_another_run_never_shortens(bench: &Bench<impl Engine>) {
    let id = bench.hold("alice", &["a.py"]);
    assert_eq!(bench.extend(id, "boss", 500).0.extended_expires_at, at(500));
    let (heartbeat, _) = bench.extend(id, "bob", 100);
    assert_eq!((&heartbeat.run_id, heartbeat.extended_expires_at), (&run("bob"), at(500)));
    bench.clock.advance_seconds(-3600);
    assert_eq!(bench.extend(id, "bob", 100).0.extended_expires_at, at(500));
    bench.clock.advance_seconds(3600);
    assert_eq!(bench.extend(id, "bob", 600).0.extended_expires_at, at(600));
    assert_eq!(bench.expiry(id), at(600));
    // A descendant is another run too.
    assert_eq!(bench.extend(id, "alice/1", 1).0.extended_expires_at, at(600));
}

fn a_beat_by_another_run_never_shortens_a_renewal(bench: &Bench<impl Engine>) {
    // As long as what is left of the grant, shorter, and longer.
    for (number, seconds) in [60, 5, 500].into_iter().enumerate() {
        let mut wanted = request("alice", &[&format!("{number}.py")], Exclusive);
        let id = id_of(&bench.grant(&wanted));
        wanted.ttl = ttl(seconds);
        let until = bench.grant(&wanted).lease.effective_expiry();
        assert_eq!(until, at(seconds.max(60)));
        assert_eq!(bench.extend(id, "bob", 1).0.extended_expires_at, until, "{seconds}");
        assert_eq!(bench.extend(id, "alice", 1).0.extended_expires_at, at(1), "the holder may");
    }
}

fn a_beat_revives_what_lapsed(bench: &Bench<impl Engine>) {
    let id = bench.hold("alice", &["a.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    assert_eq!(bench.extend(id, "alice", 10).1, Some(0));
    bench.clock.advance_microseconds(10_000_000 + 1);
    assert_eq!(bench.state(id), State::Lapsed);
    assert_eq!(bench.extend(id, "bob", 10).1, Some(1), "rounded up");
    bench.clock.advance_seconds(1_000_010);
    assert_eq!(bench.extend(id, "alice", 10).1, Some(1_000_000));
    assert_eq!(bench.state(id), State::Active);
    assert_eq!(bench.extend(id, "alice", 10).1, None);
}

fn a_beat_on_what_is_gone(bench: &Bench<impl Engine>) {
    assert_eq!(bench.beat(nobody(), "alice", 60), Beaten::NotFound);
    let released = bench.hold("alice", &["a.py"]);
    assert_eq!(bench.beat(nobody(), "alice", 60), Beaten::NotFound);
    bench.release(released, "alice", false);
    let before = bench.contents();
    for sender in ["alice", "bob"] {
        assert_eq!(bench.beat(released, sender, 60), Beaten::Released);
    }
    assert_eq!(bench.contents(), before, "nothing was written");
}

// Clocks.

fn jumps_of_the_clock_break_nothing(bench: &Bench<impl Engine>) {
    const YEAR: i64 = 31_536_000;
    let id = bench.hold("alice", &["a.py"]);
    let lapsing = bench.hold("alice", &["b.py"]);
    for jump in [3600, -7200, 100 * YEAR, -200 * YEAR, 10_000 * YEAR, -20_000 * YEAR, 11_000 * YEAR] {
        bench.clock.advance_seconds(jump);
        let now = bench.clock.now();
        let (heartbeat, lapsed) = bench.extend(id, "alice", 60);
        assert_eq!(heartbeat.last_beat_at, now);
        assert!(heartbeat.extended_expires_at >= now, "{heartbeat:?}");
        if now < at(60) {
            assert!(lapsed.is_none() || now > at(0), "{lapsed:?}");
        }
        assert_eq!(bench.show(id).heartbeat, Some(heartbeat), "every time is read as it was written");
        if now < Timestamp::MAX {
            let conflicts = bench.conflicts(&request("bob", &["a.py"], Exclusive));
            assert!(held(&conflicts[0]).expires_in_seconds >= 60);
        }
        let grant = bench.grant(&request("alice", &[&format!("{}.py", now.as_microseconds())], Exclusive));
        let reservation = &grant.lease.reservation;
        assert_eq!(reservation.created_at, now);
        assert!(reservation.expires_at >= now);
        assert_eq!(bench.show(id_of(&grant)), grant.lease);
        bench.list(&Filter::default());
        assert_eq!(bench.release(id_of(&grant), "alice", false), Released::Released);
    }
    assert!(bench.live().contains(&lapsing));
}

fn a_clock_set_back_leaves_reservations_active(bench: &Bench<impl Engine>) {
    let id = bench.hold("alice", &["a.py"]);
    bench.clock.advance_seconds(-3600);
    assert_eq!(bench.state(id), State::Active);
    let conflicts = bench.conflicts(&request("bob", &["a.py"], Exclusive));
    assert_eq!(held(&conflicts[0]).expires_in_seconds, 3660);
    // A lapsed reservation that nobody superseded is active again.
    bench.clock.advance_seconds(7200);
    assert_eq!(bench.state(id), State::Lapsed);
    bench.clock.advance_seconds(-7200);
    if bench.goes_by_clock {
        assert_eq!(bench.state(id), State::Active);
    }
}

// Listings, and what the coordinator makes of them.

fn find_live_and_history_tell_what_there_is(bench: &Bench<impl Engine>) {
    assert_eq!(bench.coordinator.show(nobody()).unwrap(), None);
    assert!(bench.contents().is_empty() && bench.live().is_empty());
    let superseded = bench.hold("alice", &["a.py"]);
    let lapsed = bench.hold("alice", &["b.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    let released = bench.hold("bob", &["c.py"]);
    bench.release(released, "bob", false);
    let active = bench.hold("bob", &["a.py"]);
    assert_eq!(bench.coordinator.show(nobody()).unwrap(), None);
    assert_eq!(ids(&bench.contents()), [superseded, lapsed, released, active]);
    assert_eq!(bench.live(), [lapsed, active]);
    let expected = [State::Superseded, State::Lapsed, State::Released, State::Active];
    for (lease, state) in bench.contents().into_iter().zip(expected) {
        assert_eq!(lease.state(bench.clock.now()), state);
        assert_eq!(bench.show(lease.reservation.reservation_id), lease);
    }
    assert_eq!(bench.coordinator.engine().now(), at(60));
}

fn list_sorts_by_expiry_then_token(bench: &Bench<impl Engine>) {
    let first = bench.hold("alice", &["a.py"]);
    let second = bench.hold("bob", &["b.py"]);
    let mut long = request("carol", &["c.py"], Exclusive);
    long.ttl = ttl(30);
    let third = id_of(&bench.grant(&long));
    assert_eq!(bench.list(&Filter::default()), [third, first, second]);
    bench.extend(third, "carol", 100);
    assert_eq!(bench.list(&Filter::default()), [first, second, third]);
    bench.extend(first, "alice", 100);
    assert_eq!(bench.list(&Filter::default()), [second, first, third]);
}

fn list_filters(bench: &Bench<impl Engine>) {
    let filter = Filter::default;
    let mut wanted = request("alice", &["src/a.py"], Exclusive);
    wanted.branch = Some("main".to_owned());
    let alice = id_of(&bench.grant(&wanted));
    let bob = bench.hold("bob", &["src/b.py", "lib/"]);
    let released = bench.hold("bob", &["x.py"]);
    bench.release(released, "bob", false);
    assert_eq!(bench.list(&filter()), [alice, bob]);
    assert_eq!(bench.list(&Filter { run: Some(run("bob")), ..filter() }), [bob]);
    assert_eq!(bench.list(&Filter { run: Some(run("bo")), ..filter() }), []);
    assert_eq!(bench.list(&Filter { branch: Some("main".to_owned()), ..filter() }), [alice]);
    let address = |text: &str| Some(text.parse().unwrap());
    assert_eq!(bench.list(&Filter { address: address("src/**/*.py"), ..filter() }), [alice, bob]);
    assert_eq!(bench.list(&Filter { address: address("lib/x.py::f"), ..filter() }), [bob]);
    assert_eq!(bench.list(&Filter { address: address("lib/x.py"), run: Some(run("alice")), ..filter() }), []);
    assert_eq!(bench.list(&Filter { all: true, ..filter() }), [alice, bob, released]);
    assert_eq!(bench.list(&Filter { all: true, address: address("x.py"), ..filter() }), [released]);
    // Only what is active, unless all is asked for.
    bench.clock.advance_seconds(TTL_SECONDS);
    bench.extend(bob, "bob", 60);
    assert_eq!(bench.list(&filter()), [bob]);
    assert_eq!(bench.list(&Filter { all: true, ..filter() }), [alice, released, bob]);
}

fn heartbeat_all_beats_for_what_the_run_did_not_release(bench: &Bench<impl Engine>) {
    let beat_all = |who: &str| {
        let all = bench.coordinator.heartbeat_all(&run(who), ttl(100)).unwrap();
        assert!(all.damaged.is_empty());
        all.beaten.into_iter().map(|(id, answer)| (id, answer.unwrap())).collect::<Vec<_>>()
    };
    assert!(beat_all("alice").is_empty());
    let superseded = bench.hold("alice", &["a.py"]);
    let lapsed = bench.hold("alice", &["b.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    let winner = bench.hold("bob", &["a.py"]);
    let own = bench.hold("alice", &["c.py"]);
    bench.release(own, "alice", false);
    let taken = bench.hold("alice", &["d.py"]);
    bench.release(taken, "boss", true);
    let active = bench.hold("alice", &["e.py"]);
    let descendant = bench.hold("alice/1", &["f.py"]);

    let beaten = beat_all("alice");
    let order: Vec<_> = beaten.iter().map(|(id, _)| *id).collect();
    assert_eq!(order, [superseded, lapsed, taken, active], "sorted by token");
    assert!(matches!(&beaten[0].1, Beaten::Superseded(mark) if mark.superseded_by == winner));
    assert!(matches!(beaten[1].1, Beaten::Extended { lapsed_seconds: Some(0), .. }));
    assert_eq!(beaten[2].1, Beaten::Released);
    assert!(matches!(beaten[3].1, Beaten::Extended { lapsed_seconds: None, .. }));
    assert_eq!((bench.expiry(lapsed), bench.expiry(active)), (at(160), at(160)));
    assert_eq!((bench.expiry(winner), bench.expiry(descendant)), (at(120), at(120)));
}

fn releasable_is_what_the_run_has_not_released(bench: &Bench<impl Engine>) {
    let superseded = bench.hold("alice", &["a.py"]);
    let lapsed = bench.hold("alice", &["b.py"]);
    bench.clock.advance_seconds(TTL_SECONDS);
    bench.hold("bob", &["a.py"]);
    let gone = bench.hold("alice", &["c.py"]);
    bench.release(gone, "boss", true);
    let active = bench.hold("alice", &["d.py"]);
    let (releasable, damaged) = bench.coordinator.releasable(&run("alice")).unwrap();
    assert!(damaged.is_empty());
    assert_eq!(releasable, [superseded, lapsed, active]);
}

// The archive.

/// One of each kind, in the order of their tokens: released, superseded, lapsed, and its successor, active.
fn one_of_each(bench: &Bench<impl Engine>) -> [ReservationId; 4] {
    let released = bench.hold("alice", &["a.py"]);
    let superseded = bench.hold("bob", &["b.py"]);
    let lapsed = bench.hold("carol", &["c.py"]);
    bench.clock.advance_seconds(10);
    bench.extend(released, "alice", TTL_SECONDS);
    assert_eq!(bench.release(released, "boss", true), Released::Released);
    bench.clock.advance_seconds(TTL_SECONDS - 10);
    let active = bench.grant(&request("dave", &["b.py"], Exclusive));
    [released, superseded, lapsed, id_of(&active)]
}

fn what_is_over_for_long_enough_is_archived(bench: &Bench<impl Engine>) {
    assert_eq!(bench.collect(&Retention::older_than(0)).archived, 0);
    let [released, superseded, lapsed, active] = one_of_each(bench);
    let leases = bench.contents();
    // Released at 10, the others over at 60, which is now.
    let collected = bench.collect(&Retention::older_than(50));
    assert_eq!((collected.archived, collected.ended), (1, Some((at(10), at(10)))));
    assert_eq!(ids(&bench.contents()), [superseded, lapsed, active]);
    assert_eq!(bench.collect(&Retention::older_than(1)).archived, 0);
    bench.clock.advance_seconds(1);
    let collected = bench.collect(&Retention::older_than(1));
    assert_eq!((collected.archived, collected.ended), (2, Some((at(60), at(60)))));
    assert!(collected.bytes > 0);
    assert_eq!(ids(&bench.contents()), [active]);

    let lines = bench.archived();
    let told: Vec<_> = lines.iter().map(|line| (line.id(), line.state, line.ended_at)).collect();
    let expected = [
        (lapsed, Ending::Lapsed, at(60)),
        (superseded, Ending::Superseded, at(60)),
        (released, Ending::Released, at(10)),
    ];
    assert_eq!(told, expected);
    for (line, lease) in lines.iter().zip(leases[..3].iter().rev()) {
        assert_eq!(line.clone().into_lease(), *lease, "nothing of it is lost");
        assert_eq!(bench.coordinator.show_archived(line.id()).unwrap().as_ref(), Some(line));
    }
    assert_eq!(bench.coordinator.show_archived(active).unwrap(), None);
    // A clock that is set back brings nothing back, and lets nothing go that is not over by it.
    bench.clock.advance_seconds(-1000);
    assert_eq!(bench.collect(&Retention::older_than(0)).archived, 0);
    assert_eq!(ids(&bench.contents()), [active]);
}

fn a_collection_that_is_dry_or_limited(bench: &Bench<impl Engine>) {
    let [released, superseded, lapsed, active] = one_of_each(bench);
    let retention = Retention { older_than_seconds: 0, at_most: Some(2), dry_run: true };
    let collected = bench.collect(&retention);
    assert_eq!((collected.archived, collected.bytes), (2, 0));
    assert_eq!(collected.ended, Some((at(10), at(60))));
    assert_eq!((bench.contents().len(), bench.archived().len()), (4, 0));
    bench.collect(&Retention { dry_run: false, ..retention });
    assert_eq!(ids(&bench.contents()), [lapsed, active]);
    assert_eq!(bench.archived().iter().map(Archived::id).collect::<Vec<_>>(), [superseded, released]);
}

fn archived_reservations_are_not_there_for_heartbeats_and_grants(bench: &Bench<impl Engine>) {
    let [_, superseded, lapsed, active] = one_of_each(bench);
    bench.collect(&Retention::older_than(0));
    for id in [superseded, lapsed] {
        assert_eq!(bench.beat(id, "carol", TTL_SECONDS), Beaten::NotFound);
        assert_eq!(bench.release(id, "carol", false), Released::NotFound);
        assert_eq!(bench.coordinator.show(id).unwrap(), None);
        let wanted = taking_over(request("eve", &["c.py"], Exclusive), id);
        assert_eq!(bench.reserve(&wanted), Reserved::NothingToTakeOver);
    }
    // A repeat of what was archived is a new grant, with a larger token.
    let token = bench.show(active).reservation.token.get();
    let again = bench.grant(&request("carol", &["c.py"], Exclusive));
    assert!(!again.renewed && id_of(&again) != lapsed && token_of(&again) > token);
}

fn a_released_one_stays_released_in_the_archive(bench: &Bench<impl Engine>) {
    let [released, ..] = one_of_each(bench);
    bench.collect(&Retention::older_than(0));
    assert_eq!(bench.release(released, "alice", false), Released::AlreadyReleased);
    assert_eq!(bench.beat(released, "alice", TTL_SECONDS), Beaten::NotFound);
}

fn the_archive_is_read_the_newest_first(bench: &Bench<impl Engine>) {
    // More than one step, in another order than that of their ends.
    let count = BATCH_MAX + 3;
    let mut made = Vec::new();
    for number in 0..count {
        made.push(bench.hold("alice", &[&format!("{number}.py")]));
    }
    for &id in made.iter().rev() {
        bench.clock.advance_microseconds(1);
        bench.release(id, "alice", false);
    }
    bench.collect(&Retention::older_than(0));
    let lines = bench.archived();
    assert_eq!(lines.iter().rev().map(Archived::id).collect::<Vec<_>>(), made);
    let mut before: Option<Bounds> = None;
    let mut batch_next = 0;
    for (position, line) in lines.iter().rev().enumerate() {
        assert_eq!(line.before, before);
        let batch_position = line.batch_position as usize;
        assert!(batch_position == batch_next || batch_position == 0 && batch_next > 1, "{position}");
        batch_next = batch_position + 1;
        assert!(batch_next <= BATCH_MAX);
        before = Some(line.bounds());
    }
    let first_ended = lines.last().unwrap().ended_at;
    assert_eq!(before.unwrap().ended_at, first_ended, "the first one was released last");
}

fn the_audit_trail_tells_live_and_archived(bench: &Bench<impl Engine>) {
    let made = one_of_each(bench);
    let all = AuditQuery::newest(100);
    let live = bench.log(&all);
    let shown: Vec<_> =
        live.entries.iter().map(|entry| (entry.state, entry.ended_at, entry.held_seconds())).collect();
    let expected = [
        (State::Released, Some(at(10)), 10),
        (State::Superseded, Some(at(60)), 60),
        (State::Lapsed, Some(at(60)), 60),
        (State::Active, None, 0),
    ];
    assert_eq!(shown, expected);
    assert!(!live.is_truncated);
    for retention in [50, 0] {
        bench.collect(&Retention::older_than(retention));
        let mut now = bench.log(&all);
        assert_eq!(bench.logged(&all), made);
        let archived = if retention == 50 { 1 } else { 3 };
        for (position, entry) in now.entries.iter_mut().enumerate() {
            assert_eq!(entry.is_archived, position < archived);
            entry.is_archived = false;
        }
        assert_eq!(now.entries, live.entries, "the archive tells the same");
    }
}

fn the_audit_trail_filters(bench: &Bench<impl Engine>) {
    let [released, superseded, lapsed, active] = one_of_each(bench);
    bench.clock.advance_seconds(1);
    bench.collect(&Retention::older_than(51));
    let query = |run_id: Option<&str>, address: Option<&str>, since: Option<i64>, until: Option<i64>| {
        bench.logged(&AuditQuery {
            run: run_id.map(run),
            address: address.map(|address| address.parse().unwrap()),
            since: since.map(at),
            until: until.map(at),
            limit: 100,
        })
    };
    assert_eq!(query(Some("alice"), None, None, None), [released]);
    assert_eq!(query(Some("boss"), None, None, None), []);
    assert_eq!(query(None, Some("b.py::f"), None, None), [superseded, active]);
    // Held at any moment of the span: 0 to 10, 0 to 60 twice, from 60 on.
    assert_eq!(query(None, None, Some(10), None), [released, superseded, lapsed, active]);
    assert_eq!(query(None, None, Some(11), None), [superseded, lapsed, active]);
    assert_eq!(query(None, None, Some(61), None), [active]);
    assert_eq!(query(None, None, None, Some(59)), [released, superseded, lapsed]);
    assert_eq!(query(None, None, None, Some(-1)), []);
    assert_eq!(query(None, None, Some(20), Some(30)), [superseded, lapsed]);
}

fn the_audit_trail_is_limited_to_the_newest(bench: &Bench<impl Engine>) {
    let mut made = Vec::new();
    for number in 0..12 {
        made.push(bench.hold("alice", &[&format!("{number}.py")]));
        bench.clock.advance_microseconds(1000);
    }
    // Moved in three steps, which leave the tokens in no order, and two stay.
    for numbers in [[4, 5, 6], [1, 0, 9], [2, 8, 3]] {
        for number in numbers {
            bench.release(made[number], "alice", false);
        }
        bench.collect(&Retention::older_than(0));
    }
    let log = |limit| {
        let trail = bench.log(&AuditQuery::newest(limit));
        (
            trail.entries.iter().map(|entry| entry.lease.reservation.reservation_id).collect(),
            trail.is_truncated,
        )
    };
    for limit in 1..12 {
        assert_eq!(log(limit), (made[12 - limit..].to_vec(), true), "{limit}");
    }
    assert_eq!(log(12), (made.clone(), false));
    // A repeated filter finds the same by reading further.
    let mut query = AuditQuery::newest(1);
    query.address = Some("0.py".parse().unwrap());
    assert_eq!(bench.logged(&query), [made[0]]);
}

// Waiting.

/// A place in the queue: its ticket and its position.
fn queued(turn: Turn) -> (TicketNumber, usize) {
    match turn {
        Turn::Queued { ticket, position, conflicts } => {
            assert!(!conflicts.is_empty());
            (ticket, position)
        }
        other => panic!("not queued: {other:?}"),
    }
}

impl<E: Engine> Bench<E> {
    fn take_turn(&self, run_id: &str, addresses: &[&str], ticket: Option<TicketNumber>) -> Turn {
        self.coordinator.engine().take_turn(&request(run_id, addresses, Exclusive), ticket).unwrap()
    }

    /// Asks for `address` where somebody is in the way.
    fn queue(&self, run_id: &str, address: &str) -> TicketNumber {
        queued(self.take_turn(run_id, &[address], None)).0
    }

    /// The grant of somebody's turn.
    fn turn_comes(&self, run_id: &str, address: &str, ticket: TicketNumber) -> Grant {
        match self.take_turn(run_id, &[address], Some(ticket)) {
            Turn::Answered(Reserved::Granted(grant)) => *grant,
            other => panic!("not granted: {other:?}"),
        }
    }

    fn tickets(&self) -> Vec<TicketNumber> {
        let queue = self.coordinator.engine().tickets().unwrap();
        assert!(queue.damaged.is_empty());
        queue.tickets.iter().map(|ticket| ticket.ticket).collect()
    }

    fn keep(&self, ticket: TicketNumber, run_id: &str) -> bool {
        self.coordinator.engine().keep_place(ticket, &run(run_id)).unwrap()
    }
}

fn turns_come_in_the_order_of_tickets(bench: &Bench<impl Engine>) {
    let holder = bench.hold("holder", &["a.py"]);
    let alice = bench.queue("alice", "a.py");
    let (bob, position) = queued(bench.take_turn("bob", &["a.py::f"], None));
    assert!(bob > alice && position == 2);
    assert_eq!(bench.tickets(), [alice, bob]);
    bench.release(holder, "holder", false);

    let Turn::Queued { ticket, position, conflicts } = bench.take_turn("bob", &["a.py::f"], Some(bob)) else {
        panic!("bob was granted before alice")
    };
    assert_eq!((ticket, position), (bob, 2));
    let waiter = conflicts[0].waiter().unwrap();
    assert_eq!((conflicts.len(), waiter.ticket, &waiter.run_id), (1, alice, &run("alice")));
    assert_eq!((conflicts[0].address.as_str(), conflicts[0].held_address.as_str()), ("a.py::f", "a.py"));
    // Whoever does not wait comes after them too, and whoever wants something else does not.
    assert_eq!(holders(&bench.conflicts(&request("carol", &["a.py"], Shared))), ["alice", "bob"]);
    bench.hold("carol", &["b.py"]);

    let grant = bench.turn_comes("alice", "a.py", alice);
    assert_eq!(grant.lease.reservation.ticket, Some(alice));
    assert_eq!(bench.show(id_of(&grant)), grant.lease);
    assert_eq!(bench.tickets(), [bob]);
    assert_eq!(queued(bench.take_turn("bob", &["a.py::f"], Some(bob))), (bob, 1));
    bench.release(id_of(&grant), "alice", false);
    assert!(token_of(&bench.turn_comes("bob", "a.py::f", bob)) > token_of(&grant));
    assert!(bench.tickets().is_empty());
}

fn who_need_not_wait_draws_no_ticket(bench: &Bench<impl Engine>) {
    let turn = bench.take_turn("alice", &["a.py"], None);
    let Turn::Answered(Reserved::Granted(grant)) = turn else { panic!("{turn:?}") };
    assert_eq!(grant.lease.reservation.ticket, None);
    bench.queue("bob", "a.py");
    // A renewal takes nothing that its run does not have.
    let turn = bench.take_turn("alice", &["a.py"], None);
    assert!(matches!(turn, Turn::Answered(Reserved::Granted(grant)) if grant.renewed));
    assert!(bench.is_granted("carol", "a.py", Advisory));
    assert_eq!(bench.tickets().len(), 1);
}

fn all_addresses_come_at_once(bench: &Bench<impl Engine>) {
    let holder = bench.hold("holder", &["a.py"]);
    let (alice, _) = queued(bench.take_turn("alice", &["a.py", "b.py"], None));
    // What a waiter wants and nobody holds is its own as soon as the rest is free: nobody gets it before.
    assert_eq!(queued(bench.take_turn("bob", &["b.py"], None)).1, 2);
    assert_eq!(holders(&bench.conflicts(&request("carol", &["b.py"], Exclusive))), ["alice", "bob"]);
    bench.release(holder, "holder", false);
    let turn = bench.take_turn("alice", &["a.py", "b.py"], Some(alice));
    assert!(matches!(turn, Turn::Answered(Reserved::Granted(_))));
}

fn shared_requests_do_not_pass_an_exclusive_waiter(bench: &Bench<impl Engine>) {
    let reader = bench.grant(&request("reader", &["a.py"], Shared));
    let writer = bench.queue("writer", "a.py");
    let late = request("late", &["a.py"], Shared);
    assert_eq!(holders(&bench.conflicts(&late)), ["writer"]);
    let (late_ticket, position) = queued(bench.coordinator.engine().take_turn(&late, None).unwrap());
    assert_eq!(position, 2);
    // Two that could hold together pass each other.
    let third = request("third", &["a.py"], Shared);
    let (_, position) = queued(bench.coordinator.engine().take_turn(&third, None).unwrap());
    assert_eq!(position, 2, "only the writer is in its way");
    bench.release(id_of(&reader), "reader", false);
    let writer = bench.turn_comes("writer", "a.py", writer);
    bench.release(id_of(&writer), "writer", false);
    let turn = bench.coordinator.engine().take_turn(&third, None).unwrap();
    assert!(matches!(turn, Turn::Answered(Reserved::Granted(_))), "{late_ticket} is shared as well");
}

fn a_ticket_that_is_not_renewed_counts_for_fifteen_seconds(bench: &Bench<impl Engine>) {
    let holder = bench.hold("holder", &["a.py"]);
    let alice = bench.queue("alice", "a.py");
    let bob = bench.queue("bob", "a.py");
    bench.release(holder, "holder", false);
    bench.clock.advance_seconds(14);
    assert!(bench.keep(bob, "bob"));
    assert!(!bench.is_granted("carol", "a.py", Exclusive));
    bench.clock.advance_microseconds(999_999);
    assert_eq!(queued(bench.take_turn("bob", &["a.py"], Some(bob))).1, 2);
    bench.clock.advance_microseconds(1);
    assert_eq!(bench.tickets(), [bob]);
    assert_eq!(holders(&bench.conflicts(&request("carol", &["a.py"], Exclusive))), ["bob"]);
    // It woke up too late, and queues again at the back.
    assert!(!bench.keep(alice, "alice"));
    assert_eq!(bench.take_turn("alice", &["a.py"], Some(alice)), Turn::PlaceLost);
    let (again, position) = queued(bench.take_turn("alice", &["a.py"], None));
    assert!(again > bob && position == 2);
    bench.turn_comes("bob", "a.py", bob);
}

fn a_renewed_ticket_keeps_its_place(bench: &Bench<impl Engine>) {
    bench.hold("holder", &["a.py"]);
    let alice = bench.queue("alice", "a.py");
    for _ in 0..20 {
        bench.clock.advance_seconds(5);
        assert!(bench.keep(alice, "alice"));
    }
    let queue = bench.coordinator.engine().tickets().unwrap();
    assert_eq!((queue.tickets[0].created_at, queue.tickets[0].expires_at), (at(0), at(115)));
    bench.turn_comes("alice", "a.py", alice);
}

fn only_its_own_run_keeps_and_leaves_a_place(bench: &Bench<impl Engine>) {
    bench.hold("holder", &["a.py"]);
    let alice = bench.queue("alice", "a.py");
    let engine = bench.coordinator.engine();
    assert!(!bench.keep(alice, "bob"));
    assert_eq!(bench.take_turn("bob", &["a.py"], Some(alice)), Turn::PlaceLost);
    engine.leave(alice, &run("bob")).unwrap();
    assert_eq!(bench.tickets(), [alice]);
    engine.leave(alice, &run("alice")).unwrap();
    engine.leave(alice, &run("alice")).unwrap();
    assert!(bench.tickets().is_empty() && !bench.keep(alice, "alice"));
    assert_eq!(bench.take_turn("alice", &["a.py"], Some(alice)), Turn::PlaceLost);
}

fn tickets_rise_whatever_the_clock_does(bench: &Bench<impl Engine>) {
    let holder = bench.grant(&request("holder", &["a.py"], Exclusive));
    bench.clock.advance_seconds(-10);
    let first = bench.queue("alice", "a.py");
    assert_eq!(first.get(), token_of(&holder) + 1);
    bench.clock.advance_seconds(-3600);
    let second = bench.queue("bob", "a.py");
    assert_eq!(second.get(), first.get() + 1);
    // Whose process died when the clock was set back counts no longer than others.
    if bench.goes_by_clock {
        assert_eq!(bench.tickets(), [second]);
    }
    assert!(bench.keep(first, "alice"));
    assert_eq!(bench.tickets(), [first, second]);
}

fn what_is_long_dead_is_forgotten(bench: &Bench<impl Engine>) {
    bench.hold("holder", &["a.py"]);
    let dead = bench.queue("alice", "a.py");
    bench.clock.advance_seconds(200);
    bench.hold("holder", &["a.py", "b.py"]);
    bench.clock.advance_seconds(-200);
    assert!(!bench.tickets().contains(&dead));
}

fn a_take_over_neither_waits_nor_gives_way(bench: &Bench<impl Engine>) {
    let holder = bench.hold("holder", &["a.py"]);
    let other = bench.hold("other", &["b.py"]);
    bench.queue("alice", "a.py");
    let order = |addresses: &[&str]| {
        let order = taking_over(request("boss", addresses, Exclusive), holder);
        bench.coordinator.engine().take_turn(&order, None).unwrap()
    };
    let denied = order(&["a.py", "b.py"]);
    let Turn::Answered(Reserved::Denied { conflicts }) = denied else { panic!("{denied:?}") };
    assert_eq!(held(&conflicts[0]).reservation_id, other);
    assert!(matches!(order(&["a.py"]), Turn::Answered(Reserved::Granted(_))));
    // What there is nothing of any more to take over is a plain request.
    bench.release(other, "other", false);
    let void = taking_over(request("boss", &["a.py::f"], Exclusive), other);
    assert!(!matches!(bench.reserve(&void), Reserved::Granted(_)));
    assert_eq!(bench.tickets().len(), 1);
}

fn a_wait_that_would_never_end_is_refused(bench: &Bench<impl Engine>) {
    let a = bench.hold("alice", &["a.py"]);
    bench.hold("bob", &["b.py"]);
    let alice = bench.queue("alice", "b.py");
    let turn = bench.take_turn("bob", &["a.py", "c.py"], None);
    let Turn::Deadlock { cycle } = turn else { panic!("{turn:?}") };
    let runs: Vec<&str> = cycle.iter().map(|wait| wait.run_id.as_str()).collect();
    assert_eq!(runs, ["bob", "alice"]);
    assert_eq!(cycle[0].cause, Cause::ReservationId(a));
    assert_eq!(bench.tickets(), [alice], "nothing was written");
    // Others may wait for either.
    bench.queue("carol", "a.py");
    bench.queue("carol", "b.py");
}

fn a_ring_of_three_is_refused(bench: &Bench<impl Engine>) {
    for (holder, address) in [("alice", "a.py"), ("bob", "b.py"), ("carol", "c.py")] {
        bench.hold(holder, &[address]);
    }
    bench.queue("alice", "b.py");
    bench.queue("bob", "c.py");
    let turn = bench.take_turn("carol", &["a.py"], None);
    assert!(matches!(&turn, Turn::Deadlock { cycle } if cycle.len() == 3), "{turn:?}");
}

fn of_a_circle_that_closes_later_the_latest_gives_up(bench: &Bench<impl Engine>) {
    bench.hold("alice", &["a.py"]);
    let carols = bench.hold("carol", &["c.py"]);
    let bob = bench.queue("bob", "a.py");
    let alice = bench.queue("alice", "c.py");
    let order = taking_over(request("bob", &["c.py"], Exclusive), carols);
    bench.grant(&order);
    let first = bench.take_turn("bob", &["a.py"], Some(bob));
    assert!(matches!(first, Turn::Queued { .. }), "{first:?}");
    let second = bench.take_turn("alice", &["c.py"], Some(alice));
    assert!(matches!(second, Turn::Deadlock { .. }), "{second:?}");
}

fn who_is_in_the_way_is_looked_at_alone(bench: &Bench<impl Engine>) {
    let holder = bench.hold("holder", &["a.py"]);
    let alice = bench.queue("alice", "a.py");
    let conflicts = bench.conflicts(&request("bob", &["a.py"], Exclusive));
    let until = |conflict: &Conflict| bench.coordinator.engine().stands_until(conflict).unwrap();
    assert_eq!((until(&conflicts[0]), until(&conflicts[1])), (Some(at(60)), Some(at(15))));
    bench.extend(holder, "holder", 90);
    assert_eq!(until(&conflicts[0]), Some(at(90)));
    bench.clock.advance_seconds(15);
    assert_eq!(until(&conflicts[1]), None);
    bench.coordinator.engine().leave(alice, &run("alice")).unwrap();
    assert_eq!(until(&conflicts[1]), None);
    bench.clock.advance_seconds(75);
    assert_eq!(until(&conflicts[0]), None);
    bench.extend(holder, "holder", 60);
    assert_eq!(until(&conflicts[0]), Some(at(150)));
    bench.release(holder, "holder", false);
    assert_eq!(until(&conflicts[0]), None);
}

/// A patience that no test comes to the end of.
const LONG: Duration = Duration::from_mins(10);

fn a_waiter_is_granted_when_the_holder_releases(bench: &Bench<impl Engine + Sync>) {
    let holder = bench.hold("holder", &["a.py"]);
    let mut positions = Vec::new();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while bench.tickets().is_empty() {
                std::thread::yield_now();
            }
            bench.release(holder, "holder", false);
        });
        let wanted = request("alice", &["a.py"], Exclusive);
        bench.coordinator.reserve_waiting(&wanted, LONG, None, |position, conflicts| {
            positions.push((position, conflicts[0].run_id().clone()));
        })
    });
    let outcome = outcome.unwrap();
    let Waited::Answered(Reserved::Granted(grant)) = outcome else { panic!("{outcome:?}") };
    assert!(grant.lease.reservation.ticket.is_some());
    assert_eq!(positions, [(1, run("holder"))]);
    assert!(bench.tickets().is_empty());
}

fn a_waiter_gives_up_and_leaves_nothing(bench: &Bench<impl Engine>) {
    bench.hold("holder", &["a.py"]);
    bench.queue("first", "a.py");
    let wanted = request("alice", &["a.py"], Exclusive);
    let wait = |patience| bench.coordinator.reserve_waiting(&wanted, patience, None, |_, _| {}).unwrap();
    let outcome = wait(Duration::from_millis(20));
    let Waited::GaveUp { position, conflicts } = outcome else { panic!("{outcome:?}") };
    assert_eq!((position, holders(&conflicts)), (2, vec!["holder", "first"]));
    assert_eq!(bench.tickets().len(), 1);
    // Without patience it is a plain request.
    assert!(matches!(wait(Duration::ZERO), Waited::Answered(Reserved::Denied { .. })));
}

fn an_interrupted_waiter_leaves_nothing(bench: &Bench<impl Engine>) {
    bench.hold("holder", &["a.py"]);
    let (reader, writer) = std::io::pipe().unwrap();
    let wanted = request("alice", &["a.py"], Exclusive);
    // What is closed can be read.
    let mut writer = Some(writer);
    let outcome = bench
        .coordinator
        .reserve_waiting(&wanted, LONG, Some(reader.as_fd()), |_, _| drop(writer.take()))
        .unwrap();
    assert_eq!(outcome, Waited::Interrupted);
    assert!(bench.tickets().is_empty());
}

fn a_waiter_in_a_circle_leaves_nothing(bench: &Bench<impl Engine>) {
    bench.hold("alice", &["a.py"]);
    bench.hold("bob", &["b.py"]);
    bench.queue("bob", "a.py");
    let wanted = request("alice", &["b.py"], Exclusive);
    let outcome = bench.coordinator.reserve_waiting(&wanted, LONG, None, |_, _| {}).unwrap();
    assert!(matches!(outcome, Waited::Deadlock { cycle } if cycle.len() == 2));
    assert_eq!(bench.tickets().len(), 1);
}

fn a_waiter_whose_place_is_lost_queues_again(bench: &Bench<impl Engine>) {
    let holder = bench.hold("holder", &["a.py"]);
    let wanted = request("alice", &["a.py"], Exclusive);
    let outcome = bench.coordinator.reserve_waiting(&wanted, LONG, None, |_, _| {
        // As if its process had been stopped until its ticket had lapsed, and the holder had left meanwhile.
        bench.clock.advance_seconds(20);
        bench.queue("bob", "a.py");
        bench.clock.advance_seconds(20);
        bench.release(holder, "holder", false);
    });
    assert!(matches!(outcome.unwrap(), Waited::Answered(Reserved::Granted(_))));
}

/// Makes one test of each rule for each engine. A rule that is missing here is dead code, which does not
/// compile.
macro_rules! conformance {
    ($($rule:ident,)*) => {
        mod memory_engine {
            $(#[test] fn $rule() { super::$rule(&super::memory()); })*
        }
        mod file_engine {
            $(#[test] fn $rule() { super::$rule(&super::file()); })*
        }
        mod etcd_engine {
            $(#[test] fn $rule() { super::$rule(&super::etcd()); })*
        }
        mod indexed_file_engine {
            $(#[test] fn $rule() { super::$rule(&super::indexed()); })*
        }
    };
}

conformance! {
    a_grant_is_what_was_asked_for,
    exclusive_stops_exclusive_and_shared,
    shared_stops_exclusive_only,
    advisory_neither_stops_nor_is_stopped,
    notices_are_of_active_reservations_of_others,
    a_renewal_is_told_of_what_it_overlaps,
    a_run_does_not_conflict_with_itself,
    ancestors_let_their_descendants_pass,
    an_ancestor_that_lapsed_is_not_superseded_by_its_descendant,
    a_descendant_that_lapsed_is_superseded_by_its_ancestor,
    every_kind_of_address_conflicts,
    a_denial_names_address_holder_and_time_left,
    conflicts_are_sorted_by_address_then_token,
    a_denied_request_changes_nothing,
    a_reservation_holds_until_its_expiry_and_not_longer,
    of_racing_requests_one_is_granted,
    a_repeat_renews,
    a_repeat_never_shortens,
    a_repeat_revives_what_lapsed,
    other_addresses_or_another_mode_are_no_repeat,
    what_was_released_or_superseded_is_not_renewed,
    of_several_equal_reservations_the_latest_is_renewed,
    superseded_is_final_whatever_the_clock_says,
    one_grant_supersedes_all_that_are_in_the_way,
    only_a_conflicting_grant_supersedes,
    what_was_revived_is_not_superseded,
    take_over_of_an_active_reservation,
    take_over_of_a_lapsed_reservation_releases_it,
    take_over_of_an_ended_reservation_is_void,
    take_over_of_nothing_changes_nothing,
    take_over_elsewhere_changes_nothing,
    take_over_with_others_in_the_way_changes_nothing,
    take_over_is_never_a_renewal,
    every_mode_can_take_over,
    tokens_rise_whatever_the_clock_does,
    a_token_is_the_time_in_milliseconds_or_one_above_the_last,
    a_release_frees_at_once_and_is_idempotent,
    only_the_holder_releases_unless_by_force,
    force_is_not_forced_on_ones_own,
    what_lapsed_or_was_superseded_can_be_released,
    releases_are_answered_one_by_one_in_order,
    a_release_of_nothing,
    a_beat_extends_from_now_and_leaves_the_record,
    the_holder_may_shorten_but_not_below_the_grant,
    a_beat_by_another_run_never_shortens,
    a_beat_by_another_run_never_shortens_a_renewal,
    a_beat_revives_what_lapsed,
    a_beat_on_what_is_gone,
    jumps_of_the_clock_break_nothing,
    a_clock_set_back_leaves_reservations_active,
    find_live_and_history_tell_what_there_is,
    list_sorts_by_expiry_then_token,
    list_filters,
    heartbeat_all_beats_for_what_the_run_did_not_release,
    releasable_is_what_the_run_has_not_released,
    what_is_over_for_long_enough_is_archived,
    a_collection_that_is_dry_or_limited,
    archived_reservations_are_not_there_for_heartbeats_and_grants,
    a_released_one_stays_released_in_the_archive,
    the_archive_is_read_the_newest_first,
    the_audit_trail_tells_live_and_archived,
    the_audit_trail_filters,
    the_audit_trail_is_limited_to_the_newest,
    turns_come_in_the_order_of_tickets,
    who_need_not_wait_draws_no_ticket,
    all_addresses_come_at_once,
    shared_requests_do_not_pass_an_exclusive_waiter,
    a_ticket_that_is_not_renewed_counts_for_fifteen_seconds,
    a_renewed_ticket_keeps_its_place,
    only_its_own_run_keeps_and_leaves_a_place,
    tickets_rise_whatever_the_clock_does,
    what_is_long_dead_is_forgotten,
    a_take_over_neither_waits_nor_gives_way,
    a_wait_that_would_never_end_is_refused,
    a_ring_of_three_is_refused,
    of_a_circle_that_closes_later_the_latest_gives_up,
    who_is_in_the_way_is_looked_at_alone,
    a_waiter_is_granted_when_the_holder_releases,
    a_waiter_gives_up_and_leaves_nothing,
    an_interrupted_waiter_leaves_nothing,
    a_waiter_in_a_circle_leaves_nothing,
    a_waiter_whose_place_is_lost_queues_again,
}
