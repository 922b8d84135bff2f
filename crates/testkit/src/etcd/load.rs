//! Clients that reserve, keep and release while something happens to etcd, and what they were told, checked.
//!
//! What a client may rely on is reckoned by one clock that nobody sets, from when it began to ask: a reservation is its own
//! from the answer until its TTL is over after the last call that kept it, or until it began to release it. No two clients
//! may rely on one address at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use muse_coord::{
    Beat, Beaten, Coordinator, Endpoints, Engine as _, EngineError, EtcdEngine, ReleaseRequest, Request,
    ReservationId, Reserved, RunId, State, Stopwatch, SystemClock, TtlSeconds,
};

use super::Etcd;
use crate::Violations;
use crate::process::until;

/// For how long the clients reserve what they share, in seconds.
pub const TTL: u16 = 5;

/// How many addresses all clients want.
const ADDRESSES: u32 = 3;

/// What stays for the whole run, in seconds.
const HOUR: i64 = 3600;

const PAUSE: Duration = Duration::from_millis(100);

/// A time during which a client may rely on an address.
#[derive(Clone, Debug)]
struct Held {
    client: usize,
    address: String,
    id: ReservationId,
    token: u64,
    asked: Duration,
    from: Duration,
    to: Duration,
}

#[derive(Debug, Default)]
struct Told {
    held: Vec<Held>,
    /// Reservations that stay.
    kept: Vec<Held>,
    /// When heartbeats were asked for and answered, of each client.
    beats: Vec<Vec<(Duration, Duration)>>,
    /// What was gone although a client relied on it.
    freed: Violations,
    violations: Violations,
    failed: BTreeMap<String, usize>,
    denied: usize,
}

impl Told {
    /// Counts a call that failed, by what it says without the numbers in it.
    fn fail(&mut self, error: &EngineError) {
        let text: String = error.to_string().chars().filter(|letter| !letter.is_ascii_digit()).collect();
        *self.failed.entry(text).or_default() += 1;
    }
}

#[derive(Debug)]
struct Shared {
    time: Stopwatch,
    is_over: AtomicBool,
    told: Mutex<Told>,
    ttl: Duration,
}

impl Shared {
    fn now(&self) -> Duration {
        self.time.elapsed()
    }

    fn tell<A>(&self, tell: impl FnOnce(&mut Told) -> A) -> A {
        tell(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }
}

/// The clients at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    last: Client,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// How many reservations were granted, and the clients told so.
    pub granted: usize,
    /// How many requests were denied.
    pub denied: usize,
    /// How many heartbeats went well.
    pub beaten: usize,
    /// What calls failed with, and how many did.
    pub failed: BTreeMap<String, usize>,
    /// Reservations that were gone, or granted to another, while somebody could rely on them.
    pub freed: Violations,
    /// Everything else that must not be.
    pub violations: Violations,
}

impl Report {
    /// Adds another one.
    pub fn add(&mut self, other: Report) {
        self.granted += other.granted;
        self.denied += other.denied;
        self.beaten += other.beaten;
        for (why, count) in other.failed {
            *self.failed.entry(why).or_default() += count;
        }
        self.freed.extend(other.freed);
        self.violations.extend(other.violations);
    }
}

#[derive(Clone, Debug)]
struct Client {
    number: usize,
    run: RunId,
    coordinator: Arc<Coordinator<EtcdEngine<SystemClock>>>,
    shared: Arc<Shared>,
}

impl Load {
    /// Lets clients work, each with its own endpoints, in a repository of their own. Returns once each has sent a heartbeat.
    pub fn start(endpoints: &[Endpoints]) -> Load {
        let repository = Etcd::repository();
        let told = Told { beats: vec![Vec::new(); endpoints.len()], ..Told::default() };
        let shared = Arc::new(Shared {
            time: Stopwatch::start(),
            is_over: AtomicBool::new(false),
            told: Mutex::new(told),
            ttl: Duration::from_secs(TTL.into()),
        });
        let client = |number: usize, endpoints: &Endpoints| Client {
            number,
            run: RunId::new(format!("client-{number}")).expect("a run"),
            coordinator: Arc::new(Coordinator::new(
                EtcdEngine::new(endpoints, &repository, SystemClock).expect("endpoints"),
            )),
            shared: Arc::clone(&shared),
        };
        let mut threads = Vec::new();
        for (number, endpoints) in endpoints.iter().enumerate() {
            let [one, other] = [client(number, endpoints), client(number, endpoints)];
            threads.push(thread::spawn(move || one.work()));
            threads.push(thread::spawn(move || other.beat_on()));
        }
        // The last one was not cut off from anything.
        let last = client(endpoints.len() - 1, endpoints.last().expect("a client"));
        let load = Load { shared, threads, last };
        until("every client has sent a heartbeat", || load.first_beats(Duration::ZERO).is_some());
        load
    }

    /// The time since it began.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// How long after `from` each client's heartbeat was answered that was the first to be asked for after it; `None` while
    /// one still has none.
    pub fn first_beats(&self, from: Duration) -> Option<Vec<Duration>> {
        self.first_beats_but(usize::MAX, from)
    }

    /// The same, of all clients but one.
    pub fn first_beats_but(&self, except: usize, from: Duration) -> Option<Vec<Duration>> {
        self.shared.tell(|told| {
            let first = |beats: &Vec<(Duration, Duration)>| {
                let after = beats.iter().find(|(asked, _)| *asked >= from);
                after.map(|(_, answered)| answered.saturating_sub(from))
            };
            let others = told.beats.iter().enumerate().filter(|(client, _)| *client != except);
            others.map(|(_, beats)| first(beats)).collect()
        })
    }

    /// Ends it, and checks what the clients were told.
    pub fn finish(self) -> Report {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
        let mut history = None;
        until("the history can be read", || {
            history = self.last.coordinator.engine().history().ok();
            history.is_some()
        });
        let history = history.expect("a history");
        let now = self.last.coordinator.engine().now();
        let known = |id: ReservationId| {
            history
                .leases
                .iter()
                .find(|lease| lease.reservation.reservation_id == id)
                .map(|its| its.state(now))
        };
        self.shared.tell(|told| {
            let mut report = Report {
                granted: told.held.len() + told.kept.len(),
                denied: told.denied,
                beaten: told.beats.iter().map(Vec::len).sum(),
                failed: std::mem::take(&mut told.failed),
                freed: std::mem::take(&mut told.freed),
                violations: std::mem::take(&mut told.violations),
            };
            for held in told.held.iter().chain(&told.kept) {
                if known(held.id).is_none() {
                    report.violations.push(format!("a grant was lost: {held:?}"));
                }
            }
            for kept in &told.kept {
                if known(kept.id) != Some(State::Active) {
                    let state = known(kept.id);
                    report.freed.push(format!("what was granted for an hour is {state:?}: {kept:?}"));
                }
            }
            report.freed.extend(overlaps(&told.held));
            report.violations.extend(disorder(told.held.iter().chain(&told.kept)));
            report
        })
    }
}

/// Two clients that could rely on one address at once.
fn overlaps(held: &[Held]) -> Violations {
    let mut violations = Violations::new();
    for (at, one) in held.iter().enumerate() {
        for other in &held[at + 1..] {
            let is_both = one.from.max(other.from) < one.to.min(other.to);
            if one.client != other.client && one.address == other.address && is_both {
                violations.push(format!("two hold one address: {one:?} and {other:?}"));
            }
        }
    }
    violations
}

/// Tokens that do not grow with the grants.
fn disorder<'a>(held: impl Iterator<Item = &'a Held>) -> Violations {
    let mut violations = Violations::new();
    // A grant that was renewed has the token that it had.
    let mut seen = BTreeSet::new();
    let mut all: Vec<&Held> = held.filter(|its| seen.insert(its.id)).collect();
    all.sort_by_key(|its| its.token);
    let mut latest: Option<&Held> = None;
    for next in all {
        if let Some(before) = latest {
            if before.token == next.token {
                violations.push(format!("one token twice: {before:?} and {next:?}"));
            }
            if next.from < before.asked {
                violations.push(format!("a token that does not grow: {next:?}, then {before:?}"));
            }
        }
        if latest.is_none_or(|latest| next.asked > latest.asked) {
            latest = Some(next);
        }
    }
    violations
}

impl Client {
    fn reserve(&self, address: &str, seconds: i64) -> Option<Held> {
        let ttl = TtlSeconds::new(seconds).expect("a TTL");
        let request = Request::new(self.run.clone(), vec![address.parse().expect("an address")], ttl);
        let asked = self.shared.now();
        match self.coordinator.reserve(&request) {
            Ok(Reserved::Granted(grant)) => {
                let from = self.shared.now();
                let reservation = &grant.lease.reservation;
                Some(Held {
                    client: self.number,
                    address: address.to_owned(),
                    id: reservation.reservation_id,
                    token: reservation.token.get(),
                    asked,
                    from,
                    to: asked + self.shared.ttl,
                })
            }
            Ok(_) => {
                self.shared.tell(|told| told.denied += 1);
                None
            }
            Err(error) => {
                self.shared.tell(|told| told.fail(&error));
                None
            }
        }
    }

    /// Sends a heartbeat; `false` if the reservation was not there any more, or was past its time.
    fn beat(&self, held: &mut Held) -> bool {
        let ttl = TtlSeconds::new(TTL.into()).expect("a TTL");
        let beat = Beat { reservation: held.id, run: self.run.clone(), extension: ttl };
        let asked = self.shared.now();
        let beaten = self.coordinator.heartbeat(&beat);
        let answered = self.shared.now();
        let is_gone = match &beaten {
            Ok(Beaten::Extended { lapsed_seconds, .. }) => lapsed_seconds.is_some(),
            Ok(_) => true,
            Err(error) => {
                self.shared.tell(|told| told.fail(error));
                return true;
            }
        };
        if is_gone && answered < held.to {
            self.shared.tell(|told| told.freed.push(format!("at {answered:?} {beaten:?}, of {held:?}")));
        }
        if matches!(beaten, Ok(Beaten::Extended { .. })) {
            held.to = asked + self.shared.ttl;
            self.shared.tell(|told| told.beats[self.number].push((asked, answered)));
        }
        !is_gone
    }

    /// Reserves what all want, keeps it for a while and releases it. Now and then reserves something that stays.
    fn work(self) {
        let mut random = u32::try_from(self.number).unwrap_or(0) * 7919 + 1;
        let mut number = 0;
        while self.shared.goes_on() {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let address = format!("shared/{}.py", (random >> 16) % ADDRESSES);
            if let Some(mut held) = self.reserve(&address, TTL.into()) {
                for _ in 0..(random >> 8) % 5 {
                    thread::sleep(PAUSE);
                    let was_until = held.to;
                    if self.shared.now() >= was_until || !self.beat_shared(&mut held) {
                        break;
                    }
                }
                self.release(held);
            }
            if random % 4 == 0 {
                number += 1;
                let stays = self.reserve(&format!("kept/{}/{number}.py", self.number), HOUR);
                self.shared.tell(|told| told.kept.extend(stays));
            }
            thread::sleep(PAUSE / 10);
        }
    }

    /// As [`Client::beat`]; where it had lapsed meanwhile, what was relied on before ends where it did.
    fn beat_shared(&self, held: &mut Held) -> bool {
        let before = held.to;
        let is_kept = self.beat(held);
        if !is_kept {
            held.to = before;
        }
        is_kept
    }

    fn release(&self, mut held: Held) {
        held.to = held.to.min(self.shared.now());
        let request =
            ReleaseRequest { reservations: vec![held.id], run: self.run.clone(), reason: None, force: false };
        self.shared.tell(|told| told.held.push(held));
        let released = self.coordinator.release(&request);
        let errors = match released {
            Ok(all) => all.into_iter().filter_map(|(_, its)| its.err()).collect(),
            Err(error) => vec![error],
        };
        self.shared.tell(|told| errors.iter().for_each(|error| told.fail(error)));
    }

    /// Keeps what nobody else wants, as `muse coord run` does.
    fn beat_on(self) {
        let address = format!("own/{}.py", self.number);
        let mut held = None;
        while self.shared.goes_on() {
            match &mut held {
                None => held = self.reserve(&address, TTL.into()),
                Some(held) => drop(self.beat(held)),
            }
            thread::sleep(PAUSE);
        }
    }
}
