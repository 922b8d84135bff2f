//! The file engine and the memory model are driven with the same random sequences of calls and clock jumps:
//! every answer and everything they keep has to be equal after each step.
//!
//! Nothing is normalised. The two could differ rightly where the clock moves within a call (`already_over`)
//! or where a record cannot be read (`Mark::Present`); here the clock stands still and every record is whole.

#![expect(clippy::expect_used, reason = "what a helper of a test does not expect fails the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use muse_coord::audit::audit;
use muse_coord::{
    Address, Archived, AuditQuery, Beat, CheckRequest, Collected, Coordinator, Engine, EngineError,
    FileEngine, Lease, Listing, ManualClock, MemoryEngine, Mode, ReleaseRequest, Request, ReservationId,
    Reserved, Retention, RunId, Silent, State, TakeOver, Ticket, TicketNumber, Timestamp, TtlSeconds, Turn,
};
use muse_testkit::ADDRESSES;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};

/// How many sequences a run of the tests drives.
const SEQUENCES: u32 = 10_000;
/// How many with an index, which takes longer.
const SEQUENCES_INDEXED: u32 = 4_000;
/// On how many threads, each with its own sequences.
const THREADS: u32 = 4;
/// The longest sequence. Bugs that need more steps than this need a pattern that chance does not find.
const STEPS_MAX: usize = 14;

const START_SECONDS: i64 = 1_800_000_000;

const RUNS: [&str; 5] = ["alice", "alice/1", "alice/2", "alice/1/x", "bob"];

/// A reservation that was granted earlier in the sequence, or, once in a while, one that never was.
#[derive(Clone, Copy, Debug)]
struct Pick(usize);

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        run: &'static str,
        addresses: Vec<&'static str>,
        mode: Mode,
        ttl: i64,
        take_over: Option<Pick>,
    },
    /// The same run asks for what it was granted, with another lifetime.
    Repeat {
        grant: Pick,
        ttl: i64,
    },
    Beat {
        reservation: Pick,
        run: &'static str,
        extension: i64,
    },
    /// A beat by the holder.
    KeepAlive {
        reservation: Pick,
        extension: i64,
    },
    Release {
        reservations: Vec<Pick>,
        run: &'static str,
        force: bool,
    },
    Find {
        reservation: Pick,
    },
    Collect(Retention),
    /// Asks, and queues if somebody is in the way.
    Queue {
        run: &'static str,
        addresses: Vec<&'static str>,
        mode: Mode,
    },
    /// Somebody who queued tries again.
    TakeTurn {
        ticket: Pick,
    },
    KeepPlace {
        ticket: Pick,
    },
    Leave {
        ticket: Pick,
    },
    Jump {
        microseconds: i64,
    },
}

fn run() -> impl Strategy<Value = &'static str> {
    select(&RUNS[..])
}

fn pick() -> impl Strategy<Value = Pick> {
    any::<usize>().prop_map(Pick)
}

/// Few values, so that expiries meet each other and the clock.
fn seconds() -> impl Strategy<Value = i64> {
    prop_oneof![8 => select(&[1, 10, 30, 60][..]), 1 => select(&[3600, 31_536_000][..])]
}

fn jump() -> impl Strategy<Value = i64> {
    const SECOND: i64 = 1_000_000;
    prop_oneof![
        8 => select(&[SECOND, 5 * SECOND, 10 * SECOND, 20 * SECOND, 30 * SECOND, 60 * SECOND][..]),
        3 => select(&[1, -1, 999, SECOND - 1][..]),
        4 => select(&[-SECOND, -30 * SECOND, -60 * SECOND, -3600 * SECOND][..]),
        2 => select(&[3600 * SECOND, 31_536_000 * SECOND, -63_072_000 * SECOND][..]),
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![4 => Just(Mode::Exclusive), 2 => Just(Mode::Shared), 1 => Just(Mode::Advisory)]
}

fn retention() -> impl Strategy<Value = Retention> {
    let at_most = prop_oneof![2 => Just(None), 1 => (0..3_usize).prop_map(Some)];
    (select(&[0, 0, 30, 3600][..]), at_most, any::<bool>(), any::<bool>()).prop_map(
        |(older_than_seconds, at_most, dry, run)| Retention {
            older_than_seconds,
            at_most,
            dry_run: dry && run,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let addresses = proptest::collection::vec(select(&ADDRESSES[..]), 1..=3);
    let queued = (run(), addresses.clone(), mode()).prop_map(|(run, addresses, mode)| Step::Queue {
        run,
        addresses,
        mode,
    });
    let take_over = prop_oneof![4 => Just(None), 1 => pick().prop_map(Some)];
    let reserve = (run(), addresses, mode(), seconds(), take_over).prop_map(
        |(run, addresses, mode, ttl, take_over)| Step::Reserve { run, addresses, mode, ttl, take_over },
    );
    let release = (proptest::collection::vec(pick(), 1..=3), run(), any::<bool>())
        .prop_map(|(reservations, run, force)| Step::Release { reservations, run, force });
    prop_oneof![
        8 => reserve,
        3 => (pick(), seconds()).prop_map(|(grant, ttl)| Step::Repeat { grant, ttl }),
        3 => (pick(), run(), seconds())
            .prop_map(|(reservation, run, extension)| Step::Beat { reservation, run, extension }),
        3 => (pick(), seconds())
            .prop_map(|(reservation, extension)| Step::KeepAlive { reservation, extension }),
        2 => release,
        1 => pick().prop_map(|reservation| Step::Find { reservation }),
        2 => retention().prop_map(Step::Collect),
        8 => queued,
        6 => pick().prop_map(|ticket| Step::TakeTurn { ticket }),
        2 => pick().prop_map(|ticket| Step::KeepPlace { ticket }),
        1 => pick().prop_map(|ticket| Step::Leave { ticket }),
        6 => jump().prop_map(|microseconds| Step::Jump { microseconds }),
    ]
}

/// The two engines on one clock, and what was granted so far.
struct Pair {
    file: FileEngine<Arc<ManualClock>>,
    memory: MemoryEngine<Arc<ManualClock>>,
    clock: Arc<ManualClock>,
    index_above: usize,
    granted: Vec<(ReservationId, Request)>,
    /// Every ticket that was drawn, whatever became of it.
    drawn: Vec<(TicketNumber, Request)>,
}

impl Pair {
    fn new(store: &Path, index_above: usize, unread_max: usize) -> Pair {
        // The tokens of a store begin at the time when it was made, those of the model at nothing: so it is
        // made long before all that a sequence can jump back to.
        let clock = Arc::new(ManualClock::at_seconds(1));
        let file = FileEngine::new(store, Arc::clone(&clock)).index_above(index_above).unread_max(unread_max);
        file.prepare().expect("a store");
        clock.advance_seconds(START_SECONDS - 1);
        Pair {
            file,
            memory: MemoryEngine::new(Arc::clone(&clock)),
            clock,
            index_above,
            granted: Vec::new(),
            drawn: Vec::new(),
        }
    }

    fn id(&self, pick: Pick) -> ReservationId {
        let never_granted = ReservationId::from_digest([0; 32]);
        self.granted.get(pick.0 % (self.granted.len() + 1)).map_or(never_granted, |(id, _)| *id)
    }

    /// Does one step with both engines, and compares their answers and everything that they keep then.
    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Reserve { run, addresses, mode, ttl, take_over } => {
                let addresses = addresses.iter().map(|text| address(text)).collect();
                let mut request = Request::new(run_id(run), addresses, ttl_of(*ttl));
                request.mode = *mode;
                request.take_over =
                    take_over.map(|pick| TakeOver { reservation: self.id(pick), reason: "stuck".to_owned() });
                self.reserve(request)
            }
            Step::Repeat { grant, ttl } => match self.granted.get(grant.0 % (self.granted.len() + 1)) {
                Some((_, request)) => {
                    let request = Request { ttl: ttl_of(*ttl), take_over: None, ..request.clone() };
                    self.reserve(request)
                }
                None => Ok(()),
            },
            Step::Beat { reservation, run, extension } => {
                self.beat(self.id(*reservation), run_id(run), *extension)
            }
            Step::KeepAlive { reservation, extension } => {
                match self.granted.get(reservation.0 % (self.granted.len() + 1)) {
                    Some((id, request)) => self.beat(*id, request.run.clone(), *extension),
                    None => Ok(()),
                }
            }
            Step::Release { reservations, run, force } => {
                let request = ReleaseRequest {
                    reservations: reservations.iter().map(|&pick| self.id(pick)).collect(),
                    run: run_id(run),
                    reason: force.then(|| "by force".to_owned()),
                    force: *force,
                };
                let told = |engine: &dyn Engine| {
                    let answers = told(engine.release(&request))?;
                    answers
                        .into_iter()
                        .map(|(id, answer)| Ok((id, told(answer)?)))
                        .collect::<Result<Vec<_>, TestCaseError>>()
                };
                prop_assert_eq!(told(&self.file)?, told(&self.memory)?);
                Ok(())
            }
            Step::Find { reservation } => {
                let id = self.id(*reservation);
                prop_assert_eq!(told(self.file.find(id))?, told(self.memory.find(id))?);
                prop_assert_eq!(told(self.file.find_archived(id))?, told(self.memory.find_archived(id))?);
                Ok(())
            }
            Step::Collect(retention) => {
                let Collected { archived, skipped, bytes, ended, damaged, stopped_by } =
                    told(self.file.collect(retention, &Silent))?;
                prop_assert!(damaged.is_empty() && stopped_by.is_none(), "{damaged:?} {stopped_by:?}");
                let model = told(self.memory.collect(retention, &Silent))?;
                prop_assert_eq!((archived, bytes, ended), (model.archived, model.bytes, model.ended));
                prop_assert_eq!(skipped, 0);
                Ok(())
            }
            Step::Queue { run, addresses, mode } => {
                let addresses = addresses.iter().map(|text| address(text)).collect();
                let mut request = Request::new(run_id(run), addresses, ttl_of(30));
                request.mode = *mode;
                self.take_turn(request, None)
            }
            Step::TakeTurn { ticket } => match self.ticket(*ticket) {
                Some((ticket, request)) => self.take_turn(request, Some(ticket)),
                None => Ok(()),
            },
            Step::KeepPlace { ticket } => match self.ticket(*ticket) {
                Some((ticket, request)) => {
                    let kept = told(self.file.keep_place(ticket, &request.run))?;
                    prop_assert_eq!(kept, told(self.memory.keep_place(ticket, &request.run))?);
                    Ok(())
                }
                None => Ok(()),
            },
            Step::Leave { ticket } => match self.ticket(*ticket) {
                Some((ticket, request)) => {
                    told(self.file.leave(ticket, &request.run))?;
                    told(self.memory.leave(ticket, &request.run))
                }
                None => Ok(()),
            },
            Step::Jump { microseconds } => {
                // No engine is called, so there is nothing new to compare.
                self.clock.advance_microseconds(*microseconds);
                return Ok(());
            }
        }?;
        self.compare()
    }

    fn reserve(&mut self, request: Request) -> Result<(), TestCaseError> {
        let answer = told(self.file.grant(&request))?;
        prop_assert_eq!(&answer, &told(self.memory.grant(&request))?);
        if let Reserved::Granted(grant) = answer
            && !grant.renewed
        {
            self.granted.push((grant.lease.reservation.reservation_id, request));
        }
        Ok(())
    }

    fn ticket(&self, pick: Pick) -> Option<(TicketNumber, Request)> {
        self.drawn.get(pick.0 % (self.drawn.len() + 1)).cloned()
    }

    /// Takes a turn with both engines. Whoever is granted something passes nobody who waits for it, and whoever is
    /// queued is told of somebody.
    fn take_turn(&mut self, request: Request, ticket: Option<TicketNumber>) -> Result<(), TestCaseError> {
        let before = told(self.file.tickets())?.tickets;
        let turn = told(self.file.take_turn(&request, ticket))?;
        prop_assert_eq!(&turn, &told(self.memory.take_turn(&request, ticket))?);
        match turn {
            Turn::Answered(Reserved::Granted(grant)) if !grant.renewed => {
                let reservation = &grant.lease.reservation;
                prop_assert_eq!(reservation.ticket, ticket);
                let is_ahead = |other: &&Ticket| ticket.is_none_or(|own| other.ticket < own);
                for other in before.iter().filter(is_ahead) {
                    let excludes = (request.mode == Mode::Exclusive && other.mode != Mode::Advisory)
                        || (other.mode == Mode::Exclusive && request.mode == Mode::Shared);
                    let meets = request
                        .addresses
                        .iter()
                        .any(|address| other.addresses.iter().any(|wanted| wanted.overlaps(address)));
                    let is_passed = excludes && meets && !request.run.descends_from(&other.run_id);
                    prop_assert!(!is_passed, "{:?} was passed by {:?}", other, reservation);
                }
                self.granted.push((reservation.reservation_id, request));
            }
            Turn::Queued { ticket: drawn, position, conflicts } => {
                prop_assert!(!conflicts.is_empty() && position >= 1);
                prop_assert!(ticket.is_none_or(|ticket| ticket == drawn));
                if ticket.is_none() {
                    prop_assert!(before.iter().all(|other| other.ticket < drawn));
                    self.drawn.push((drawn, request));
                }
            }
            Turn::Answered(_) | Turn::Deadlock { .. } | Turn::PlaceLost => {}
        }
        Ok(())
    }

    fn beat(&self, reservation: ReservationId, run: RunId, extension: i64) -> Result<(), TestCaseError> {
        let beat = Beat { reservation, run, extension: ttl_of(extension) };
        prop_assert_eq!(told(self.file.beat(&beat))?, told(self.memory.beat(&beat))?);
        Ok(())
    }

    /// What `check` says, against what a request on a copy of the model is told, and against everything that is
    /// recorded. Other questions after each step.
    fn check(&self) -> Result<(), TestCaseError> {
        let history = listed(self.memory.history())?;
        let number = self.granted.len() + 3 * history.len() + self.drawn.len();
        let run = run_id(RUNS[number % RUNS.len()]);
        let mode = if number.is_multiple_of(3) { Mode::Shared } else { Mode::Exclusive };
        let asked = [number, number / 2].map(|number| address(ADDRESSES[number % ADDRESSES.len()]));
        let request = Request { mode, ..Request::new(run.clone(), asked.to_vec(), ttl_of(30)) };
        let (exclusive, shared) = match mode {
            Mode::Shared => (Vec::new(), asked.to_vec()),
            _ => (asked.to_vec(), Vec::new()),
        };
        let question = CheckRequest { require: true, ..CheckRequest::new(run.clone(), exclusive, shared) };
        let another =
            FileEngine::new(self.file.path(), Arc::clone(&self.clock)).index_above(self.index_above);
        let check = told(Coordinator::new(another).check(&question))?;
        prop_assert_eq!(&check, &told(Coordinator::new(self.memory.clone()).check(&question))?);

        // Those who wait do not count.
        let copy = self.memory.clone();
        for ticket in told(copy.tickets())?.tickets {
            told(copy.leave(ticket.ticket, &ticket.run_id))?;
        }
        match told(copy.grant(&request))? {
            Reserved::Granted(grant) => {
                prop_assert!(check.conflicts.is_empty(), "{:?}", check.conflicts);
                prop_assert_eq!(&check.notices, &grant.notices);
            }
            Reserved::Denied { conflicts } => prop_assert_eq!(&check.conflicts, &conflicts),
            other => prop_assert!(false, "{:?}", other),
        }
        let now = self.memory.now();
        let own: Vec<&Lease> = history.iter().filter(|lease| lease.reservation.run_id == run).collect();
        let covers = |lease: &Lease, address: &Address| {
            lease.reservation.addresses.iter().any(|held| held.covers(address))
        };
        let token_of = |id: ReservationId| {
            let successor = history.iter().find(|lease| lease.reservation.reservation_id == id);
            successor.map(|successor| successor.reservation.token)
        };
        let is_stale = |address: &Address, lost: &Lease| {
            let mark = lost.supersession.content().filter(|_| lost.state(now) == State::Superseded);
            let is_later = |own: &Lease| match mark.and_then(|mark| token_of(mark.superseded_by)) {
                Some(token) => own.reservation.token > token,
                None => mark.is_some_and(|mark| own.reservation.created_at > mark.superseded_at),
            };
            let is_anew = |own: &&Lease| {
                own.reservation.mode != Mode::Advisory && is_later(own) && covers(own, address)
            };
            mark.is_some()
                && lost.reservation.addresses.iter().any(|held| held.overlaps(address))
                && !own.iter().any(is_anew)
        };
        let mut stale = Vec::new();
        let mut missing = Vec::new();
        for address in &request.addresses {
            let lost = own.iter().filter(|lost| is_stale(address, lost));
            stale.extend(lost.map(|lost| (address.clone(), lost.reservation.token)));
            let is_enough = |held: Mode| held == Mode::Exclusive || (held == mode);
            let holds = |own: &&Lease| {
                own.state(now) == State::Active && is_enough(own.reservation.mode) && covers(own, address)
            };
            if !own.iter().any(holds) {
                missing.push(address.clone());
            }
        }
        let told_stale: Vec<_> =
            check.stale.iter().map(|stale| (stale.address.clone(), stale.token)).collect();
        prop_assert_eq!(told_stale, stale);
        let told_missing: Vec<_> = check.missing.iter().map(|missing| missing.address.clone()).collect();
        prop_assert_eq!(told_missing, missing);
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let live = listed(self.file.live())?;
        prop_assert_eq!(&live, &listed(self.memory.live())?);
        // Another address after each step.
        let asked = [address(ADDRESSES[self.granted.len() % ADDRESSES.len()])];
        let overlap = |lease: &Lease| lease.reservation.addresses.iter().any(|held| held.overlaps(&asked[0]));
        let mut found = listed(self.file.overlapping(&asked))?;
        found.retain(overlap);
        prop_assert_eq!(found, live.into_iter().filter(overlap).collect::<Vec<Lease>>());
        prop_assert_eq!(told(self.file.tickets())?.tickets, told(self.memory.tickets())?.tickets);
        self.check()?;
        let history = listed(self.file.history())?;
        prop_assert_eq!(&history, &listed(self.memory.history())?);
        let archived = lines(&self.file)?;
        prop_assert_eq!(&archived, &lines(&self.memory)?);
        // What is read of the newest only, against everything. Other questions after each step.
        let number = self.granted.len() + history.len();
        let query = AuditQuery {
            run: (number % 3 == 1).then(|| run_id(RUNS[number % RUNS.len()])),
            address: (number % 5 == 1).then(|| asked[0].clone()),
            since: (number % 4 == 1).then(|| self.file.now().plus_seconds(0)),
            until: (number % 7 == 1)
                .then(|| history.first().map(|lease| lease.reservation.created_at))
                .flatten(),
            limit: 1 + number % 6,
        };
        let [asked_file, asked_memory] =
            [audit(&self.file, &query, &Silent), audit(&self.memory, &query, &Silent)];
        let (asked_file, asked_memory) = (told(asked_file)?, told(asked_memory)?);
        prop_assert!(asked_file.damaged.is_empty(), "{:?}", asked_file.damaged);
        prop_assert_eq!(asked_file.entries, asked_memory.entries);
        prop_assert_eq!(asked_file.is_truncated, asked_memory.is_truncated);
        // Nothing is lost, and nothing is in both places.
        let live = history.iter().map(|lease| lease.reservation.reservation_id);
        let mut kept: Vec<ReservationId> = live.chain(archived.iter().map(Archived::id)).collect();
        let mut granted: Vec<ReservationId> = self.granted.iter().map(|(id, _)| *id).collect();
        kept.sort();
        granted.sort();
        prop_assert_eq!(kept, granted);
        has_one_holder_each(&history, self.file.now())
    }
}

/// What holds whatever the engines share: of two reservations by unrelated runs that cannot stand beside each
/// other, at most one is active; and no token was granted twice.
fn has_one_holder_each(history: &[Lease], now: Timestamp) -> Result<(), TestCaseError> {
    for (position, one) in history.iter().enumerate() {
        for other in &history[position + 1..] {
            let (first, second) = (&one.reservation, &other.reservation);
            prop_assert!(first.token < second.token, "{first:?} and {second:?}");
            let is_kin =
                first.run_id.descends_from(&second.run_id) || second.run_id.descends_from(&first.run_id);
            let excludes = (first.mode == Mode::Exclusive && second.mode != Mode::Advisory)
                || (second.mode == Mode::Exclusive && first.mode != Mode::Advisory);
            let meet = || {
                first.addresses.iter().any(|held| second.addresses.iter().any(|other| held.overlaps(other)))
            };
            let both = one.state(now) == State::Active && other.state(now) == State::Active;
            prop_assert!(is_kin || !excludes || !both || !meet(), "both hold: {first:?} and {second:?}");
        }
    }
    Ok(())
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn run_id(text: &str) -> RunId {
    RunId::new(text).expect("a run id")
}

fn ttl_of(seconds: i64) -> TtlSeconds {
    TtlSeconds::new(seconds).expect("a lifetime")
}

/// An answer; no call of a sequence may fail.
fn told<T>(answer: Result<T, EngineError>) -> Result<T, TestCaseError> {
    answer.map_err(|error| TestCaseError::fail(error.to_string()))
}

fn listed(listing: Result<Listing, EngineError>) -> Result<Vec<Lease>, TestCaseError> {
    let Listing { mut leases, damaged, unsure } = told(listing)?;
    prop_assert!(unsure.is_empty());
    prop_assert!(damaged.is_empty(), "{:?}", damaged);
    leases.sort_by_key(|lease| lease.reservation.token);
    Ok(leases)
}

fn lines(engine: &dyn Engine) -> Result<Vec<Archived>, TestCaseError> {
    told(engine.archived())?.map(told).collect()
}

/// Where stores are made: in memory, where that is offered, since thousands of them are synced.
fn folder() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder")
}

fn drive(sequences: u32, index_above: usize, unread_max: usize) {
    let folder = folder();
    let store = folder.path().join("coordination");
    let config = ProptestConfig { cases: sequences, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&proptest::collection::vec(step(), 1..=STEPS_MAX), |steps| {
        let mut pair = Pair::new(&store, index_above, unread_max);
        let outcome = steps.iter().enumerate().try_for_each(|(number, step)| {
            pair.take(step).map_err(|error| match error {
                TestCaseError::Fail(why) => TestCaseError::fail(format!("step {number}: {why}")),
                rejected @ TestCaseError::Reject(_) => rejected,
            })
        });
        std::fs::remove_dir_all(&store).expect("the store is removed");
        outcome
    });
    // The message holds the shortest sequence that fails.
    assert!(outcome.is_ok(), "{}", outcome.expect_err("it is not"));
}

fn drive_threads(sequences: u32, index_above: usize, unread_max: usize) {
    std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(move || drive(sequences.div_ceil(THREADS), index_above, unread_max)))
            .collect();
        for driver in drivers {
            if let Err(panicked) = driver.join() {
                std::panic::resume_unwind(panicked);
            }
        }
    });
}

#[test]
fn the_file_engine_does_what_the_model_does() {
    drive_threads(SEQUENCES, usize::MAX, usize::MAX);
}

#[test]
fn the_file_engine_with_an_index_does_what_the_model_does() {
    drive_threads(SEQUENCES_INDEXED, 0, usize::MAX);
}

#[test]
fn the_file_engine_whose_index_comes_and_goes_does_what_the_model_does() {
    drive_threads(SEQUENCES_INDEXED, 2, 0);
}
