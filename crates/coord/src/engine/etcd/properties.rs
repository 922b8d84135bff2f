//! The engine on a real etcd and the memory model are driven with the same random sequences of calls, while a manual clock
//! goes on: every answer and everything they keep has to be equal after each step.
//!
//! As `tests/engine_properties.rs` does with files, with two differences. The clock never goes back, since a lease that has
//! ended does not begin again. And the end of a place in the queue is not compared: its reader's clock tells it.

use std::sync::Arc;

use muse_testkit::ADDRESSES;
use muse_testkit::etcd::Etcd;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::{Endpoints, EtcdEngine};
use crate::address::Address;
use crate::archive::Retention;
use crate::clock::{Clock as _, ManualClock, SystemClock, Timestamp};
use crate::decide::{Blocker, Conflict, Request, TakeOver};
use crate::engine::memory::MemoryEngine;
use crate::engine::{Beat, Engine, EngineError, Listing, ReleaseRequest, Reserved, Turn};
use crate::id::{ReservationId, RunId, TicketNumber};
use crate::lease::{Lease, State};
use crate::progress::Silent;
use crate::queue::Ticket;
use crate::record::{Mode, TtlSeconds};

/// How many sequences are driven, and on how many threads.
const SEQUENCES: u32 = 60;
const THREADS: u32 = 4;
/// The longest sequence.
const STEPS_MAX: usize = 14;

const START_SECONDS: i64 = 1_800_000_000;
const SECOND: i64 = 1_000_000;

const RUNS: [&str; 4] = ["alice", "alice/1", "alice/2", "bob"];

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        run: &'static str,
        addresses: Vec<&'static str>,
        mode: Mode,
        ttl: i64,
        take_over: Option<usize>,
    },
    Repeat {
        grant: usize,
        ttl: i64,
    },
    Beat {
        reservation: usize,
        run: Option<&'static str>,
        extension: i64,
    },
    Release {
        reservations: Vec<usize>,
        run: &'static str,
        force: bool,
    },
    Collect(Retention),
    Queue {
        run: &'static str,
        addresses: Vec<&'static str>,
        mode: Mode,
    },
    TakeTurn(usize),
    KeepPlace(usize),
    Leave(usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let run = || select(&RUNS[..]);
    let pick = any::<usize>;
    let addresses = || proptest::collection::vec(select(&ADDRESSES[..]), 1..=3);
    let mode = || prop_oneof![4 => Just(Mode::Exclusive), 2 => Just(Mode::Shared), 1 => Just(Mode::Advisory)];
    let seconds = || prop_oneof![8 => select(&[1, 10, 30, 60][..]), 1 => select(&[3600, 31_536_000][..])];
    let take_over = prop_oneof![4 => Just(None), 1 => pick().prop_map(Some)];
    let by = prop_oneof![1 => Just(None), 1 => run().prop_map(Some)];
    let passed = prop_oneof![
        8 => select(&[SECOND, 5 * SECOND, 10 * SECOND, 20 * SECOND, 30 * SECOND, 60 * SECOND][..]),
        3 => select(&[1, 999, SECOND - 1, 3600 * SECOND][..]),
    ];
    prop_oneof![
        8 => (run(), addresses(), mode(), seconds(), take_over).prop_map(
            |(run, addresses, mode, ttl, take_over)| Step::Reserve { run, addresses, mode, ttl, take_over }),
        3 => (pick(), seconds()).prop_map(|(grant, ttl)| Step::Repeat { grant, ttl }),
        6 => (pick(), by, seconds())
            .prop_map(|(reservation, run, extension)| Step::Beat { reservation, run, extension }),
        2 => (proptest::collection::vec(pick(), 1..=3), run(), any::<bool>())
            .prop_map(|(reservations, run, force)| Step::Release { reservations, run, force }),
        2 => (select(&[0, 0, 30, 3600][..]), any::<bool>()).prop_map(|(older_than_seconds, dry_run)| {
            Step::Collect(Retention { older_than_seconds, at_most: None, dry_run })
        }),
        8 => (run(), addresses(), mode())
            .prop_map(|(run, addresses, mode)| Step::Queue { run, addresses, mode }),
        6 => pick().prop_map(Step::TakeTurn),
        2 => pick().prop_map(Step::KeepPlace),
        1 => pick().prop_map(Step::Leave),
        6 => passed.prop_map(Step::Pass),
    ]
}

fn request(run: &str, addresses: &[&str], mode: Mode, ttl: i64) -> Request {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Request { mode, ..Request::new(RunId::new(run).unwrap(), addresses, TtlSeconds::new(ttl).unwrap()) }
}

/// An answer; no call of a sequence may fail.
fn told<T>(answer: Result<T, EngineError>) -> Result<T, TestCaseError> {
    answer.map_err(|error| TestCaseError::fail(error.to_string()))
}

fn listed(listing: Result<Listing, EngineError>) -> Result<Vec<Lease>, TestCaseError> {
    let Listing { mut leases, damaged, unsure } = told(listing)?;
    prop_assert!(unsure.is_empty() && damaged.is_empty(), "{damaged:?}");
    leases.sort_by_key(|lease| lease.reservation.token);
    Ok(leases)
}

/// Without the ends of places in the queue.
fn without_ends(mut conflicts: Vec<Conflict>) -> Vec<Conflict> {
    for conflict in &mut conflicts {
        if let Blocker::Waiter(waiter) = &mut conflict.blocker {
            waiter.expires_at = Timestamp::MAX;
        }
    }
    conflicts
}

fn comparable(reserved: Reserved) -> Reserved {
    match reserved {
        Reserved::Denied { conflicts } => Reserved::Denied { conflicts: without_ends(conflicts) },
        other => other,
    }
}

/// The two engines on one clock, what was granted so far, and every ticket that was drawn.
struct Pair {
    etcd: EtcdEngine<Arc<ManualClock>>,
    memory: MemoryEngine<Arc<ManualClock>>,
    clock: Arc<ManualClock>,
    granted: Vec<(ReservationId, Request)>,
    drawn: Vec<(TicketNumber, Request)>,
}

impl Pair {
    fn new() -> Pair {
        let clock = Arc::new(ManualClock::at_seconds(START_SECONDS));
        let url = Etcd::shared().url();
        let both = [Arc::clone(&clock), Arc::clone(&clock)];
        let [one, two] = both;
        Pair {
            etcd: EtcdEngine::by_manual_clock(url, &Etcd::repository(), one, two),
            memory: MemoryEngine::new(Arc::clone(&clock)),
            clock,
            granted: Vec::new(),
            drawn: Vec::new(),
        }
    }

    /// One that was granted earlier, or, once in a while, one that never was.
    fn id(&self, pick: usize) -> ReservationId {
        let never_granted = ReservationId::from_digest([0; 32]);
        self.granted.get(pick % (self.granted.len() + 1)).map_or(never_granted, |(id, _)| *id)
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Reserve { run, addresses, mode, ttl, take_over } => {
                let take_over =
                    take_over.map(|pick| TakeOver { reservation: self.id(pick), reason: "stuck".to_owned() });
                self.reserve(Request { take_over, ..request(run, addresses, *mode, *ttl) })?;
            }
            Step::Repeat { grant, ttl } => {
                if let Some((_, request)) = self.granted.get(grant % (self.granted.len() + 1)) {
                    let ttl = TtlSeconds::new(*ttl).unwrap();
                    self.reserve(Request { ttl, take_over: None, ..request.clone() })?;
                }
            }
            Step::Beat { reservation, run, extension } => {
                let holder = self.granted.get(reservation % (self.granted.len() + 1));
                let holder = holder.map(|(_, request)| request.run.clone());
                let run = run.map(|run| RunId::new(run).unwrap()).or(holder);
                let run = run.unwrap_or_else(|| RunId::new("bob").unwrap());
                let extension = TtlSeconds::new(*extension).unwrap();
                let beat = Beat { reservation: self.id(*reservation), run, extension };
                prop_assert_eq!(told(self.etcd.beat(&beat))?, told(self.memory.beat(&beat))?);
            }
            Step::Release { reservations, run, force } => {
                let request = ReleaseRequest {
                    reservations: reservations.iter().map(|&pick| self.id(pick)).collect(),
                    run: RunId::new(*run).unwrap(),
                    reason: force.then(|| "by force".to_owned()),
                    force: *force,
                };
                let answers = told(self.etcd.release(&request))?.into_iter();
                for ((id, answer), (_, model)) in answers.zip(told(self.memory.release(&request))?) {
                    prop_assert_eq!(told(answer)?, told(model)?, "{}", id);
                }
            }
            Step::Collect(retention) => {
                let collected = told(self.etcd.collect(retention, &Silent))?;
                let model = told(self.memory.collect(retention, &Silent))?;
                prop_assert_eq!(
                    (collected.archived, collected.bytes, collected.ended),
                    (model.archived, model.bytes, model.ended)
                );
                prop_assert!(collected.damaged.is_empty() && collected.stopped_by.is_none());
                prop_assert_eq!(collected.skipped, 0);
            }
            Step::Queue { run, addresses, mode } => {
                self.take_turn(request(run, addresses, *mode, 30), None)?;
            }
            Step::TakeTurn(pick) => {
                if let Some((ticket, request)) = self.ticket(*pick) {
                    self.take_turn(request, Some(ticket))?;
                }
            }
            Step::KeepPlace(pick) => {
                if let Some((ticket, request)) = self.ticket(*pick) {
                    let kept = told(self.etcd.keep_place(ticket, &request.run))?;
                    prop_assert_eq!(kept, told(self.memory.keep_place(ticket, &request.run))?);
                }
            }
            Step::Leave(pick) => {
                if let Some((ticket, request)) = self.ticket(*pick) {
                    told(self.etcd.leave(ticket, &request.run))?;
                    told(self.memory.leave(ticket, &request.run))?;
                }
            }
            Step::Pass(microseconds) => {
                self.clock.advance_microseconds(*microseconds);
                return Ok(());
            }
        }
        self.compare()
    }

    fn ticket(&self, pick: usize) -> Option<(TicketNumber, Request)> {
        self.drawn.get(pick % (self.drawn.len() + 1)).cloned()
    }

    fn reserve(&mut self, request: Request) -> Result<(), TestCaseError> {
        let answer = comparable(told(self.etcd.grant(&request))?);
        prop_assert_eq!(&answer, &comparable(told(self.memory.grant(&request))?));
        if let Reserved::Granted(grant) = answer
            && !grant.renewed
        {
            self.granted.push((grant.lease.reservation.reservation_id, request));
        }
        Ok(())
    }

    fn take_turn(&mut self, request: Request, ticket: Option<TicketNumber>) -> Result<(), TestCaseError> {
        let comparable = |turn: Turn| match turn {
            Turn::Answered(reserved) => Turn::Answered(comparable(reserved)),
            Turn::Queued { ticket, position, conflicts } => {
                Turn::Queued { ticket, position, conflicts: without_ends(conflicts) }
            }
            other => other,
        };
        let turn = comparable(told(self.etcd.take_turn(&request, ticket))?);
        prop_assert_eq!(&turn, &comparable(told(self.memory.take_turn(&request, ticket))?));
        match turn {
            Turn::Answered(Reserved::Granted(grant)) if !grant.renewed => {
                self.granted.push((grant.lease.reservation.reservation_id, request));
            }
            Turn::Queued { ticket: drawn, .. } if ticket.is_none() => self.drawn.push((drawn, request)),
            _ => {}
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let live = listed(self.etcd.live())?;
        prop_assert_eq!(&live, &listed(self.memory.live())?);
        // Another address after each step.
        let asked: [Address; 1] = [ADDRESSES[self.granted.len() % ADDRESSES.len()].parse().unwrap()];
        let overlap = |lease: &Lease| lease.reservation.addresses.iter().any(|held| held.overlaps(&asked[0]));
        let near = listed(self.etcd.overlapping(&asked))?;
        prop_assert_eq!(near, live.into_iter().filter(overlap).collect::<Vec<Lease>>());
        let ends = |ticket: Ticket| Ticket { expires_at: Timestamp::MAX, ..ticket };
        let waiting = told(self.etcd.tickets())?.tickets.into_iter().map(ends).collect::<Vec<Ticket>>();
        let model = told(self.memory.tickets())?.tickets.into_iter().map(ends).collect::<Vec<Ticket>>();
        prop_assert_eq!(waiting, model);
        let history = listed(self.etcd.history())?;
        prop_assert_eq!(&history, &listed(self.memory.history())?);
        let archived = told(told(self.etcd.archived())?.collect::<Result<Vec<_>, _>>())?;
        let model = told(told(self.memory.archived())?.collect::<Result<Vec<_>, _>>())?;
        prop_assert_eq!(&archived, &model);
        prop_assert_eq!(history.len() + archived.len(), self.granted.len());
        has_one_holder_each(&history, self.clock.now())
    }
}

/// What holds whatever the engines share: of two that cannot stand beside each other at most one is active.
fn has_one_holder_each(history: &[Lease], now: Timestamp) -> Result<(), TestCaseError> {
    let active: Vec<_> = history.iter().filter(|lease| lease.state(now) == State::Active).collect();
    for (position, one) in active.iter().enumerate() {
        for other in &active[position + 1..] {
            let (one, other) = (&one.reservation, &other.reservation);
            prop_assert!(one.token < other.token);
            let is_kin = one.run_id.descends_from(&other.run_id) || other.run_id.descends_from(&one.run_id);
            let excludes = (one.mode == Mode::Exclusive && other.mode != Mode::Advisory)
                || (other.mode == Mode::Exclusive && one.mode != Mode::Advisory);
            let meet = one.addresses.iter().any(|held| other.addresses.iter().any(|its| held.overlaps(its)));
            prop_assert!(is_kin || !excludes || !meet, "both hold: {one:?} and {other:?}");
        }
    }
    Ok(())
}

fn drive(sequences: u32) {
    let config = ProptestConfig { cases: sequences, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&proptest::collection::vec(step(), 1..=STEPS_MAX), |steps| {
        let mut pair = Pair::new();
        steps.iter().enumerate().try_for_each(|(number, step)| {
            pair.take(step).map_err(|error| match error {
                TestCaseError::Fail(why) => TestCaseError::fail(format!("step {number}: {why}")),
                rejected @ TestCaseError::Reject(_) => rejected,
            })
        })
    });
    // The message holds the shortest sequence that fails.
    assert!(outcome.is_ok(), "{}", outcome.expect_err("it is not"));
}

#[test]
fn the_engine_on_etcd_does_what_the_model_does() {
    std::thread::scope(|scope| {
        let drivers: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| drive(SEQUENCES.div_ceil(THREADS)))).collect();
        for driver in drivers {
            if let Err(panicked) = driver.join() {
                std::panic::resume_unwind(panicked);
            }
        }
    });
}

/// Many ask at the same moment for what overlaps: one is granted it, the others are told so, and no token is granted twice.
#[test]
fn of_many_who_ask_at_once_one_is_granted_it() {
    const ROUNDS: usize = 4;
    const ASKING: usize = 8;
    // By etcd's own leases: a manual clock's are known to one engine only.
    let endpoints = Endpoints { urls: vec![Etcd::shared().url().to_owned()], ..Endpoints::default() };
    let repository = Etcd::repository();
    let engine = || EtcdEngine::new(&endpoints, &repository, SystemClock).unwrap();
    let engines: Vec<_> = (0..ASKING).map(|_| engine()).collect();
    let barrier = std::sync::Barrier::new(ASKING);
    let ask = &|number: usize, engine: &EtcdEngine<SystemClock>| {
        let mut answers = Vec::new();
        for round in 0..ROUNDS {
            let wanted = format!("src/{round}/{}", ["", "a.py", "**", "a.py::f"][number % 4]);
            let run = format!("run-{number}");
            barrier.wait();
            // One that everybody wants, and one of its own.
            for wanted in [wanted, format!("own/{number}/{round}.py")] {
                let request = request(&run, &[&wanted], Mode::Exclusive, 3600);
                // Looked at when all are through: who panicked would leave the others waiting.
                answers.push(engine.grant(&request));
            }
        }
        answers
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking =
            engines.iter().enumerate().map(|(number, engine)| scope.spawn(move || ask(number, engine)));
        let asking: Vec<_> = asking.collect();
        asking.into_iter().flat_map(|asking| asking.join().unwrap()).collect()
    });
    let token = |answer: Result<Reserved, EngineError>| match answer.unwrap() {
        Reserved::Granted(grant) => Some(grant.lease.reservation.token),
        Reserved::Denied { .. } => None,
        other => panic!("{other:?}"),
    };
    let mut tokens: Vec<_> = answers.into_iter().filter_map(token).collect();
    assert_eq!(tokens.len(), ROUNDS * (ASKING + 1));
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), ROUNDS * (ASKING + 1), "a token was granted twice");
}
