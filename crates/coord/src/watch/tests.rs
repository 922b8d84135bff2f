//! Every transition, seen and missed; what a folder that is read while it changes may show; damage; gc in between.

use std::sync::Arc;

use super::*;
use crate::archive::Retention;
use crate::clock::ManualClock;
use crate::coordinator::Coordinator;
use crate::decide::{Request, TakeOver};
use crate::engine::memory::MemoryEngine;
use crate::engine::{Beat, Engine, ReleaseRequest, Reserved, Turn};
use crate::progress::Silent;
use crate::record::{Draft, TtlSeconds};

const TTL: i64 = 60;

/// A store in memory, somebody who watches it, and a clock that stands still until it is moved.
struct Scene {
    clock: Arc<ManualClock>,
    store: Coordinator<MemoryEngine<Arc<ManualClock>>>,
    watch: Watch,
}

fn run(id: &str) -> RunId {
    RunId::new(id).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_microseconds(seconds * 1_000_000)
}

fn request(run_id: &str, address: &str) -> Request {
    Request {
        run: run(run_id),
        branch: Some("main".to_owned()),
        addresses: vec![address.parse().unwrap()],
        mode: Mode::Exclusive,
        operation: None,
        ttl: TtlSeconds::new(TTL).unwrap(),
        take_over: None,
    }
}

impl Scene {
    /// An empty store at 1000 s, watched from then on.
    fn new() -> Scene {
        let mut scene = Scene::since(None);
        assert_eq!(scene.words(), "");
        scene
    }

    /// An empty store at 1000 s, and a watch that has not looked yet.
    fn since(since: Option<Timestamp>) -> Scene {
        let clock = Arc::new(ManualClock::at_seconds(1000));
        let store = Coordinator::new(MemoryEngine::new(Arc::clone(&clock)));
        Scene { clock, store, watch: Watch::new(since) }
    }

    fn pass(&self, seconds: i64) {
        self.clock.advance_seconds(seconds);
    }

    fn try_to_reserve(&self, request: &Request) -> Reserved {
        // Times that differ tell orders apart.
        self.clock.advance_microseconds(1);
        self.store.reserve(request).unwrap()
    }

    fn hold(&self, run_id: &str, address: &str) -> ReservationId {
        match self.try_to_reserve(&request(run_id, address)) {
            Reserved::Granted(grant) => grant.lease.reservation.reservation_id,
            other => panic!("not granted: {other:?}"),
        }
    }

    fn beat(&self, id: ReservationId, by: &str, seconds: i64) {
        self.clock.advance_microseconds(1);
        let beat = Beat { reservation: id, run: run(by), extension: TtlSeconds::new(seconds).unwrap() };
        self.store.heartbeat(&beat).unwrap();
    }

    fn release(&self, id: ReservationId, by: &str) {
        self.clock.advance_microseconds(1);
        let request = ReleaseRequest {
            reservations: vec![id],
            run: run(by),
            reason: Some("done".to_owned()),
            force: true,
        };
        self.store.release(&request).unwrap();
    }

    fn queue(&self, run_id: &str, address: &str) -> TicketNumber {
        self.clock.advance_microseconds(1);
        match self.store.engine().take_turn(&request(run_id, address), None).unwrap() {
            Turn::Queued { ticket, .. } => ticket,
            other => panic!("not queued: {other:?}"),
        }
    }

    fn collect(&self) {
        self.clock.advance_microseconds(1);
        self.store.collect(&Retention::older_than(0), &Silent).unwrap();
    }

    /// What a look would find now.
    fn sight(&self) -> Look {
        let lines: Vec<Archived> = self.store.engine().archived().unwrap().map(Result::unwrap).collect();
        let last = lines.iter().position(|line| self.watch.mark() == Some(LineMark::of(line)));
        Look {
            tickets: self.store.engine().tickets().unwrap().tickets,
            has_all_tickets: true,
            leases: self.store.engine().history().unwrap().leases,
            now: self.store.engine().now(),
            meets_last: last.is_some() || self.watch.mark().is_none(),
            lines: lines[..last.unwrap_or(lines.len())].to_vec(),
            has_all_lines: true,
        }
    }

    /// Looks, and once more if something was held back.
    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..2 {
            let look = self.sight();
            events.extend(self.watch.look(&look));
            if !self.watch.holds_back() {
                return events;
            }
        }
        panic!("held back for more than one look: {:?}", self.watch);
    }

    /// `run word` of each event.
    fn words(&mut self) -> String {
        words(&self.events())
    }
}

fn words(events: &[Event]) -> String {
    let words: Vec<String> =
        events.iter().map(|event| format!("{} {}", event.run_id, event.what.as_str())).collect();
    words.join(", ")
}

#[test]
fn every_step_is_told_once() {
    let mut scene = Scene::new();
    let id = scene.hold("alice", "a.py");
    let events = scene.events();
    assert_eq!(events.len(), 1);
    let granted = &events[0];
    assert_eq!((granted.reservation_id, &granted.run_id), (Some(id), &run("alice")));
    assert_eq!(granted.addresses, ["a.py".parse().unwrap()]);
    assert!(granted.token.is_some() && granted.ticket.is_none());
    let What::Granted { branch, mode, ttl_seconds, expires_at, .. } = &granted.what else {
        panic!("{granted:?}")
    };
    assert_eq!((branch.as_deref(), *mode, *ttl_seconds), (Some("main"), Mode::Exclusive, 60));
    assert_eq!(*expires_at, granted.time.plus_seconds(60));
    assert_eq!(scene.words(), "");

    scene.beat(id, "boss", 100);
    let events = scene.events();
    let What::Heartbeat { by, expires_at } = &events[0].what else { panic!("{events:?}") };
    assert_eq!((by, *expires_at), (&run("boss"), events[0].time.plus_seconds(100)));
    assert_eq!((events.len(), scene.words().as_str()), (1, ""));

    scene.pass(101);
    let events = scene.events();
    let What::Lapsed { expired_at, superseded_by: None, .. } = events[0].what else { panic!("{events:?}") };
    assert_eq!((events.len(), events[0].time), (1, expired_at));
    assert_eq!(scene.words(), "");

    scene.beat(id, "alice", 30);
    assert_eq!(scene.words(), "alice heartbeat, alice revived");
    assert_eq!(scene.words(), "");

    scene.release(id, "boss");
    let events = scene.events();
    let What::Released { by, forced, reason } = &events[0].what else { panic!("{events:?}") };
    let told = (by.as_ref(), *forced, reason.as_deref(), events.len());
    assert_eq!(told, (Some(&run("boss")), Some(true), Some("done"), 1));
    assert_eq!(scene.words(), "");

    scene.collect();
    let events = scene.events();
    let What::Archived { state, ended_at } = events[0].what else { panic!("{events:?}") };
    assert_eq!((state, ended_at < events[0].time, events.len()), (Ending::Released, true, 1));
    assert_eq!(scene.words(), "");
    assert!(scene.watch.known.is_empty(), "what is told to its end is forgotten");
}

#[test]
fn what_was_missed_between_two_looks_is_told_all_the_same() {
    let mut scene = Scene::new();
    let id = scene.hold("alice", "a.py");
    scene.beat(id, "alice", TTL);
    scene.release(id, "alice");
    assert_eq!(scene.words(), "alice granted, alice heartbeat, alice released");

    let id = scene.hold("bob", "a.py");
    scene.beat(id, "bob", TTL);
    scene.release(id, "bob");
    scene.collect();
    assert_eq!(scene.words(), "alice archived, bob granted, bob heartbeat, bob released, bob archived");

    let id = scene.hold("carol", "a.py");
    scene.pass(TTL + 1);
    scene.release(id, "carol");
    scene.collect();
    assert_eq!(scene.words(), "carol granted, carol lapsed, carol released, carol archived");

    scene.hold("dave", "a.py");
    scene.pass(TTL + 1);
    scene.collect();
    assert_eq!(scene.words(), "dave granted, dave lapsed, dave archived");
    assert_eq!(scene.words(), "");
    assert!(scene.watch.known.is_empty());
}

#[test]
fn it_makes_no_difference_when_one_looks() {
    let script: [fn(&Scene); 9] = [
        |scene| {
            scene.hold("alice", "a.py");
        },
        |scene| {
            scene.hold("bob", "b.py");
        },
        |scene| scene.pass(TTL + 1),
        |scene| {
            scene.hold("carol", "a.py");
        },
        |scene| scene.collect(),
        |scene| {
            let held = scene.store.releasable(&run("carol")).unwrap().0;
            scene.release(held[0], "carol");
        },
        |scene| {
            scene.hold("dave", "a.py");
        },
        |scene| scene.collect(),
        |scene| scene.pass(1),
    ];
    let all = |looks: usize| {
        let mut scene = Scene::new();
        let mut told = Vec::new();
        for (number, step) in script.iter().enumerate() {
            step(&scene);
            if looks >> number & 1 == 1 {
                told.extend(scene.events());
            }
        }
        told.extend(scene.events());
        // A lapse is told later than what was told before it was seen.
        told.sort_by_key(|event| event.time);
        told.into_iter().map(|event| (event.time, event.run_id.to_string(), event.what)).collect::<Vec<_>>()
    };
    let once = all(0);
    assert_eq!(once.len(), 11, "{once:?}");
    for looks in 1..1 << script.len() {
        let mut told = all(looks);
        let mut expected = once.clone();
        let order = |one: &(Timestamp, String, What)| (one.0, one.1.clone(), format!("{:?}", one.2));
        told.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(told, expected, "looks {looks:b}");
    }
}

#[test]
fn a_superseded_one_lapses_and_says_by_whom() {
    let mut scene = Scene::new();
    scene.hold("alice", "a.py");
    scene.hold("bob", "b.py");
    assert_eq!(scene.words(), "alice granted, bob granted");
    scene.pass(TTL + 1);
    let successor = scene.hold("carol", "a.py");
    let events = scene.events();
    assert_eq!(words(&events), "alice lapsed, bob lapsed, alice lapsed, carol granted");
    let What::Lapsed { superseded_by, superseded_by_run, .. } = &events[2].what else { panic!("{events:?}") };
    assert_eq!((*superseded_by, superseded_by_run.as_ref()), (Some(successor), Some(&run("carol"))));
    assert_eq!(events[2].time, events[3].time);
    // The lapse was told before it was superseded.
    scene.hold("dave", "b.py");
    assert_eq!(scene.words(), "bob lapsed, dave granted");
    scene.collect();
    assert_eq!(scene.words(), "alice archived, bob archived");
}

#[test]
fn a_take_over_releases_before_it_grants() {
    let mut scene = Scene::new();
    let id = scene.hold("alice", "a.py");
    scene.words();
    let take_over = Some(TakeOver { reservation: id, reason: "crashed".to_owned() });
    scene.try_to_reserve(&Request { take_over, ..request("boss", "a.py") });
    assert_eq!(scene.words(), "alice released, boss granted");
}

#[test]
fn a_denial_and_a_void_release_are_no_events() {
    let mut scene = Scene::new();
    let id = scene.hold("alice", "a.py");
    scene.words();
    scene.try_to_reserve(&request("bob", "a.py"));
    assert_eq!(scene.words(), "");
    scene.release(id, "alice");
    scene.words();
    scene.release(id, "alice");
    assert_eq!(scene.words(), "");
}

#[test]
fn a_clock_that_is_set_back_revives_and_repeats_nothing() {
    let mut scene = Scene::new();
    scene.hold("alice", "a.py");
    scene.pass(TTL + 1);
    assert_eq!(scene.words(), "alice granted, alice lapsed");
    scene.pass(-30);
    assert_eq!(scene.words(), "alice revived");
    assert_eq!(scene.words(), "");
    scene.pass(30);
    assert_eq!(scene.words(), "alice lapsed");
    // Granted later, at an earlier time, both in one look: the token tells the order.
    scene.hold("bob", "b.py");
    scene.pass(-500);
    let id = scene.hold("carol", "c.py");
    scene.release(id, "carol");
    assert_eq!(scene.words(), "alice revived, bob granted, carol granted, carol released");
}

#[test]
fn a_later_grant_that_is_seen_first_waits_for_the_one_before() {
    let mut scene = Scene::new();
    scene.hold("alice", "a.py");
    scene.hold("bob", "b.py");
    // The folder was read while both names appeared in it.
    let mut half = scene.sight();
    half.leases.retain(|lease| lease.reservation.run_id == run("bob"));
    assert_eq!(words(&scene.watch.look(&half)), "");
    assert!(scene.watch.holds_back());
    assert_eq!(scene.words(), "alice granted, bob granted");
}

#[test]
fn what_is_held_back_is_held_back_whole() {
    let mut scene = Scene::new();
    let id = scene.hold("alice", "a.py");
    scene.release(id, "alice");
    let look = scene.sight();
    assert_eq!(words(&scene.watch.look(&look)), "");
    scene.collect();
    assert_eq!(scene.words(), "alice granted, alice released, alice archived");
}

#[test]
fn what_leaves_while_it_is_looked_at_is_told_by_its_line() {
    let mut scene = Scene::new();
    let id = scene.hold("alice", "a.py");
    assert_eq!(scene.words(), "alice granted");
    scene.release(id, "alice");
    // The live folders were read before the collection, the archive after it.
    let before = scene.sight();
    scene.collect();
    let both = Look { leases: before.leases, ..scene.sight() };
    assert_eq!(words(&scene.watch.look(&both)), "alice released");
    assert_eq!(scene.words(), "alice archived");
    assert_eq!(scene.words(), "");
}

#[test]
fn a_line_of_what_is_live_counts_when_it_is_not_live_any_more() {
    let mut scene = Scene::new();
    let id = scene.hold("alice", "a.py");
    scene.pass(TTL + 1);
    let live = scene.sight().leases;
    scene.collect();
    // A collector was killed between the two; then the holder revives it.
    let older = scene.sight().lines.remove(0);
    let killed = Look { leases: live.clone(), ..scene.sight() };
    assert_eq!(words(&scene.watch.look(&killed)), "");
    assert_eq!(
        words(&scene.watch.look(&Look { lines: vec![], ..killed.clone() })),
        "alice granted, alice lapsed"
    );
    let mut revived = live;
    let beat = revived[0].beat(&run("alice"), TtlSeconds::new(30).unwrap(), killed.now);
    revived[0].heartbeat = Some(beat);
    let look = Look { leases: revived.clone(), lines: vec![], ..killed.clone() };
    assert_eq!(words(&scene.watch.look(&look)), "alice heartbeat, alice revived");
    // It is over for good, and gets another line.
    let now = killed.now.plus_seconds(100);
    let newer = Archived::of(revived[0].clone(), None, 0, now).unwrap();
    let look = Look { leases: vec![], lines: vec![newer.clone()], now, ..killed };
    let events = scene.watch.look(&look);
    assert_eq!(words(&events), "alice lapsed, alice archived");
    assert_eq!(events[1].what, What::Archived { state: Ending::Lapsed, ended_at: newer.ended_at });
    assert_eq!((older.id(), older.ended_at < newer.ended_at), (id, true));
}

#[test]
fn two_lines_in_one_look_are_one_reservation() {
    let mut scene = Scene::new();
    scene.hold("alice", "a.py");
    scene.pass(TTL + 1);
    let lease = scene.sight().leases.remove(0);
    let older = Archived::of(lease.clone(), None, 0, scene.sight().now).unwrap();
    let mut lease = lease;
    lease.heartbeat = Some(lease.beat(&run("alice"), TtlSeconds::new(5).unwrap(), older.archived_at));
    let newer = Archived::of(lease, None, 0, older.archived_at.plus_seconds(60)).unwrap();
    let look =
        Look { leases: vec![], lines: vec![newer.clone(), older], now: newer.archived_at, ..scene.sight() };
    let mut events = scene.watch.look(&look);
    events.extend(scene.watch.look(&Look { lines: vec![], ..look }));
    assert_eq!(words(&events), "alice granted, alice heartbeat, alice lapsed, alice archived");
    assert_eq!(events[3].time, newer.archived_at);
}

#[test]
fn damage_ends_nothing() {
    let mut scene = Scene::new();
    let alice = scene.hold("alice", "a.py");
    scene.hold("bob", "b.py");
    scene.words();
    // A record is damaged, all of them are, and they are put right again, released meanwhile.
    let without = |scene: &Scene, gone: &[&str]| {
        let mut look = scene.sight();
        look.leases.retain(|lease| !gone.contains(&lease.reservation.run_id.as_str()));
        look
    };
    for gone in [&["alice"][..], &["alice", "bob"], &["bob"]] {
        let look = without(&scene, gone);
        assert_eq!(words(&scene.watch.look(&look)), "");
    }
    assert_eq!(scene.words(), "");
    scene.release(alice, "alice");
    let look = without(&scene, &["alice"]);
    assert_eq!(words(&scene.watch.look(&look)), "");
    assert_eq!(scene.words(), "alice released");

    // One that could never be read is told when it can be, however late.
    scene.hold("carol", "c.py");
    scene.hold("dave", "d.py");
    for told in ["", "dave granted"] {
        let look = without(&scene, &["carol"]);
        assert_eq!(words(&scene.watch.look(&look)), told);
    }
    assert_eq!(scene.words(), "carol granted");
    // Damaged, and archived once it was put right.
    let look = without(&scene, &["dave"]);
    assert_eq!(words(&scene.watch.look(&look)), "");
    scene.pass(TTL + 1);
    scene.collect();
    let lapsed = "bob lapsed, carol lapsed, dave lapsed";
    assert_eq!(
        scene.words(),
        format!("{lapsed}, alice archived, bob archived, carol archived, dave archived")
    );
}

#[test]
fn a_lost_newest_line_repeats_nothing_and_skips_nothing() {
    let mut scene = Scene::new();
    let ids: Vec<_> = ["alice", "bob"].map(|name| scene.hold(name, &format!("{name}.py"))).into();
    for &id in &ids {
        scene.release(id, "boss");
        scene.collect();
        scene.words();
    }
    scene.hold("carol", "c.py");
    assert_eq!(scene.words(), "carol granted");
    scene.hold("dave", "d.py");
    scene.pass(TTL + 1);
    scene.collect();
    // Somebody removed the newest line that was known: everything is read again.
    let mut look = scene.sight();
    look.lines.extend(scene.store.engine().archived().unwrap().map(Result::unwrap).skip(3));
    assert_eq!(look.lines.len(), 3);
    look.meets_last = false;
    let mut events = scene.watch.look(&look);
    events.extend(scene.events());
    assert_eq!(words(&events), "carol lapsed, carol archived, dave granted, dave lapsed, dave archived");
    assert_eq!(scene.words(), "");
}

#[test]
fn an_archive_that_cannot_be_read_whole_is_read_again_and_told_once() {
    let mut scene = Scene::new();
    let id = scene.hold("alice", "a.py");
    scene.words();
    scene.release(id, "alice");
    scene.collect();
    let look = Look { has_all_lines: false, ..scene.sight() };
    assert_eq!(words(&scene.watch.look(&look)), "alice released, alice archived");
    assert_eq!(words(&scene.watch.look(&look)), "");
    let nothing = Look { lines: vec![], ..look.clone() };
    assert_eq!(words(&scene.watch.look(&nothing)), "");
    assert_eq!(scene.words(), "", "and when all can be read again");
    assert!(scene.watch.finished.is_empty());
}

#[test]
fn tickets_wait_and_are_granted_or_given_up() {
    let mut scene = Scene::new();
    let holder = scene.hold("holder", "a.py");
    scene.words();
    let alice = scene.queue("alice", "a.py");
    let bob = scene.queue("bob", "a.py");
    let events = scene.events();
    assert_eq!(words(&events), "alice waiting, bob waiting");
    let told = (events[0].reservation_id, events[0].token, events[0].ticket);
    assert_eq!(told, (None, None, Some(alice)));
    scene.store.engine().keep_place(alice, &run("alice")).unwrap();
    assert_eq!(scene.words(), "");
    // Granted: the reservation names the ticket.
    scene.release(holder, "holder");
    scene.clock.advance_microseconds(1);
    scene.store.engine().take_turn(&request("alice", "a.py"), Some(alice)).unwrap();
    let events = scene.events();
    assert_eq!(words(&events), "holder released, alice granted");
    assert_eq!(events[1].ticket, Some(alice));
    // Given up, and lapsed.
    scene.store.engine().leave(bob, &run("bob")).unwrap();
    let events = scene.events();
    assert_eq!((words(&events).as_str(), events[0].ticket), ("bob gave_up", Some(bob)));
    scene.queue("carol", "a.py");
    scene.pass(20);
    assert_eq!(scene.words(), "", "it came and went between two looks");
    scene.queue("dave", "a.py");
    assert_eq!(scene.words(), "dave waiting");
    let waiting_until = scene.watch.tickets.values().next().unwrap().expires_at;
    scene.pass(20);
    let events = scene.events();
    assert_eq!((words(&events).as_str(), events[0].time), ("dave gave_up", waiting_until));
}

#[test]
fn a_ticket_whose_reservation_is_over_and_archived_was_not_given_up() {
    let mut scene = Scene::new();
    let holder = scene.hold("holder", "a.py");
    let ticket = scene.queue("alice", "a.py");
    assert_eq!(scene.words(), "alice waiting, holder granted");
    scene.release(holder, "holder");
    scene.clock.advance_microseconds(1);
    let turn = scene.store.engine().take_turn(&request("alice", "a.py"), Some(ticket)).unwrap();
    let Turn::Answered(Reserved::Granted(grant)) = turn else { panic!("{turn:?}") };
    scene.release(grant.lease.reservation.reservation_id, "alice");
    scene.collect();
    assert_eq!(
        scene.words(),
        "holder released, holder archived, alice granted, alice released, alice archived"
    );
}

#[test]
fn a_ticket_that_may_be_unreadable_is_not_given_up() {
    let mut scene = Scene::new();
    scene.hold("holder", "a.py");
    scene.queue("alice", "a.py");
    scene.events();
    let look = Look { tickets: vec![], has_all_tickets: false, ..scene.sight() };
    assert_eq!(words(&scene.watch.look(&look)), "");
    assert_eq!(scene.words(), "");
}

#[test]
fn a_heartbeat_that_came_too_late_for_a_release_is_no_event() {
    let mut scene = Scene::new();
    let id = scene.hold("alice", "a.py");
    scene.words();
    let mut lease = scene.sight().leases.remove(0);
    scene.release(id, "boss");
    scene.clock.advance_microseconds(1);
    let late = lease.beat(&run("alice"), TtlSeconds::new(5).unwrap(), scene.sight().now);
    lease = scene.sight().leases.remove(0);
    lease.heartbeat = Some(late);
    let look = Look { leases: vec![lease], ..scene.sight() };
    assert_eq!(words(&scene.watch.look(&look)), "alice released");
    assert_eq!(words(&scene.watch.look(&look)), "");
}

#[test]
fn marks_that_cannot_be_read_count_by_their_names() {
    let mut scene = Scene::new();
    scene.hold("alice", "a.py");
    scene.words();
    let mut look = scene.sight();
    look.leases[0].release = Mark::Present;
    let events = scene.watch.look(&look);
    assert_eq!(events[0].what, What::Released { by: None, forced: None, reason: None });
    assert_eq!((events.len(), events[0].time), (1, look.now));
    let mut scene = Scene::new();
    scene.hold("alice", "a.py");
    scene.words();
    scene.pass(TTL + 1);
    let mut look = scene.sight();
    look.leases[0].supersession = Mark::Present;
    assert_eq!(words(&scene.watch.look(&look)), "alice lapsed, alice lapsed");
}

#[test]
fn the_past_is_told_from_a_moment_on() {
    let told = |since: Option<i64>| {
        let mut scene = Scene::since(since.map(at));
        let alice = scene.hold("alice", "a.py");
        scene.pass(10);
        scene.release(alice, "alice");
        scene.hold("bob", "b.py");
        let carol = scene.hold("carol", "c.py");
        scene.beat(carol, "carol", 200);
        scene.queue("waiter", "c.py");
        scene.pass(100);
        scene.collect();
        scene.pass(1);
        let words = scene.words();
        assert_eq!(scene.words(), "");
        scene.release(carol, "carol");
        assert_eq!(scene.words(), "carol released");
        words
    };
    assert_eq!(told(None), "");
    let end = "bob lapsed, alice archived, bob archived";
    assert_eq!(told(Some(0)), format!("alice granted, alice released, bob granted, carol granted, {end}"));
    assert_eq!(told(Some(1005)), format!("alice released, bob granted, carol granted, {end}"));
    assert_eq!(told(Some(1020)), end);
    assert_eq!(told(Some(1090)), "alice archived, bob archived");
    assert_eq!(told(Some(2000)), "");
}

#[test]
fn the_next_lapse_is_known() {
    let mut scene = Scene::new();
    assert_eq!(scene.watch.next_lapse(at(0)), None);
    let id = scene.hold("alice", "a.py");
    scene.events();
    let expiry = scene.sight().leases[0].effective_expiry();
    assert_eq!(scene.watch.next_lapse(at(1000)), Some(expiry));
    assert_eq!(scene.watch.next_lapse(expiry), None);
    scene.queue("bob", "a.py");
    scene.events();
    assert!(scene.watch.next_lapse(at(1000)).is_some_and(|next| next < expiry));
    scene.release(id, "alice");
    scene.pass(30);
    scene.events();
    assert_eq!(scene.watch.next_lapse(at(1000)), None);
}

#[test]
fn who_waits_for_what() {
    let reservation = |run_id: &str, mode: Mode| {
        let draft = Draft {
            run_id: run(run_id),
            branch: None,
            addresses: vec!["src/".parse().unwrap()],
            mode,
            operation: None,
            token: Token::new(1).unwrap(),
            ttl_seconds: TtlSeconds::new(60).unwrap(),
            created_at: at(1000),
        };
        draft.into_reservation().unwrap()
    };
    let ticket = |run_id: &str, address: &str| {
        Ticket::new(TicketNumber::new(5).unwrap(), &request(run_id, address), at(1000))
    };
    assert!(waits_for(&ticket("bob", "src/a.py"), &reservation("alice", Mode::Exclusive)));
    assert!(waits_for(&ticket("bob", "src/a.py"), &reservation("alice", Mode::Shared)));
    assert!(!waits_for(&ticket("bob", "src/a.py"), &reservation("alice", Mode::Advisory)));
    assert!(!waits_for(&ticket("bob", "b.py"), &reservation("alice", Mode::Exclusive)));
    assert!(!waits_for(&ticket("alice/sub", "src/a.py"), &reservation("alice", Mode::Exclusive)));
}

#[test]
fn a_filter_shows_a_run_and_what_overlaps() {
    let addresses = ["src/a.py".parse().unwrap()];
    let shows = |only: Option<&str>, address: Option<&str>| {
        let filter =
            EventFilter { run: only.map(run), address: address.map(|address| address.parse().unwrap()) };
        filter.shows(&run("alice"), &addresses)
    };
    assert!(shows(None, None) && shows(Some("alice"), Some("src/")));
    assert!(!shows(Some("bob"), None) && !shows(None, Some("b.py")));
}
