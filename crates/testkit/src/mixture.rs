//! Everything at once: two dozen processes that reserve, wait, run commands, send heartbeats, release, take over,
//! collect and look, on one store that is large enough for an index, while some of them are killed or stopped.
//!
//! Each worker starts one process after the other and writes down what it said. Now and then all of them are let
//! finish, and what the index shows is compared with all that there is. One process watches all the time. What is
//! checked in the end stands in `check.rs`. A seed names the choices of the workers; what real processes make of them
//! differs from time to time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use muse_coord::{Address, RunId, Timestamp};
use serde_json::Value;

use crate::history::Random;
use crate::process::{Running, Signal, now, signal};
use crate::races::reserve;
use crate::{Answer, Muse, Scratch, Violations};

mod check;
mod store;
mod watch;

/// How many workers run processes at the same time.
pub const WORKERS: u64 = 24;

/// Reservations that stand all the time and are in nobody's way: with so many, there is an index.
const SEEDED: usize = 160;

/// What the workers want, in each of a few areas, and what each wants for itself.
const AREAS: usize = 5;
const ADDRESSES: [&str; 12] = [
    "/a.py",
    "/a.py::Invoice",
    "/a.py::Invoice.total",
    "/a.py::Order",
    "/sub/b.py",
    "/sub/",
    "/*.py",
    "/**/b.py",
    "/{a,c}.py",
    "/sub/[a-c].py",
    "/",
    "/c.py",
];

/// Each of them may have a child and a grandchild.
const FAMILIES: usize = 9;

/// Lifetimes are short, so that leases lapse, and never longer than an extension, so that no heartbeat shortens what
/// another process was told.
const TTLS_SECONDS: [&str; 4] = ["1", "1", "2", "3"];
const EXTENSION_SECONDS: u32 = 3;
const EXTENSION: &str = "3";

/// Of how many of the latest grants the workers know.
const KNOWN_MAX: usize = 40;

/// How often everybody is let finish, so that nothing changes for a moment.
const QUIET_MOMENTS: u64 = 3;

/// What the command of a `run` says: what it was told that it holds.
const COMMAND: &str = "echo \"$MUSE_RESERVATION_ID $MUSE_TOKEN\"; exec sleep 0.05";

/// What a mixture came to.
#[derive(Debug, Default)]
pub struct MixtureReport {
    /// What must not be.
    pub violations: Violations,
    /// How often each thing happened.
    pub counts: BTreeMap<&'static str, usize>,
    /// How many processes of each kind were run, and how long they took: the median and the 99th percentile, in
    /// milliseconds.
    pub operations: BTreeMap<&'static str, (usize, i64, i64)>,
}

impl MixtureReport {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// How often it happened.
    pub fn of(&self, what: &str) -> usize {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// The figures, for the report of a test.
    pub fn figures(&self) -> String {
        let total: usize = self.operations.values().map(|(count, ..)| count).sum();
        let operations: Vec<String> = self
            .operations
            .iter()
            .map(|(kind, (count, p50, p99))| format!("{kind} {count} ({p50}/{p99} ms)"))
            .collect();
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        format!("{total} processes (p50/p99): {}; {}", operations.join(", "), counts.join(", "))
    }
}

/// What a process was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Reserve,
    Wait,
    TakeOver(String),
    Run,
    Heartbeat(String),
    HeartbeatAll,
    Release(String),
    ReleaseForced(String),
    ReleaseAll,
    Gc,
    List,
    ListAddress(Address),
    ListAll,
    Show(String),
    Log,
    LogRun,
}

impl Act {
    const fn kind(&self) -> &'static str {
        match self {
            Act::Reserve => "reserve",
            Act::Wait => "reserve --wait",
            Act::TakeOver(_) => "reserve --take-over",
            Act::Run => "run",
            Act::Heartbeat(_) => "heartbeat",
            Act::HeartbeatAll => "heartbeat --all",
            Act::Release(_) => "release",
            Act::ReleaseForced(_) => "release --force",
            Act::ReleaseAll => "release --all",
            Act::Gc => "gc",
            Act::List => "list",
            Act::ListAddress(_) => "list --address",
            Act::ListAll => "list --all",
            Act::Show(_) => "show",
            Act::Log => "log",
            Act::LogRun => "log --run-id",
        }
    }
}

/// What is done to a process while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lives,
    Killed,
    Terminated,
    Stopped,
}

/// A process, from its start to its end.
#[derive(Debug)]
struct Event {
    act: Act,
    /// Who ran it.
    run: RunId,
    /// What it asked for.
    addresses: Vec<Address>,
    fate: Fate,
    answer: Answer,
    /// The rows that it showed, which are taken out of the answer.
    rows: Vec<Row>,
}

/// A reservation in a list or a log.
#[derive(Clone, Debug)]
struct Row {
    id: String,
    token: u64,
    state: String,
    effective_expires_at: Option<Timestamp>,
}

/// A grant that a worker knows of.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    run: String,
    /// The addresses and the mode with which it can be repeated.
    wanted: Vec<String>,
}

/// What the workers share.
struct Stage<'a> {
    muse: &'a Muse,
    scratch: &'a Scratch,
    seed: u64,
    until: Timestamp,
    /// Whoever runs a process reads; whoever wants quiet writes.
    gate: RwLock<()>,
    known: Mutex<VecDeque<Known>>,
}

/// Lets the workers do everything for so long, and checks what they were told and what is in the store.
pub fn everything(muse: &Muse, duration: Duration, seed: u64) -> MixtureReport {
    let scratch = Scratch::with_store(muse);
    let mut report = MixtureReport::default();
    let watcher = watch::Watcher::start(muse, &scratch);
    let mut events = fill(muse, &scratch);
    let started = now();
    let length = i64::try_from(duration.as_micros()).expect("a duration of minutes");
    let stage = Stage {
        muse,
        scratch: &scratch,
        seed,
        until: Timestamp::from_microseconds(started.as_microseconds() + length),
        gate: RwLock::new(()),
        known: Mutex::default(),
    };
    thread::scope(|scope| {
        let stage = &stage;
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || work(stage, worker))).collect();
        for moment in 0..QUIET_MOMENTS {
            let pause = duration / u32::try_from(QUIET_MOMENTS + 1).expect("a few");
            thread::sleep(pause);
            let _quiet = stage.gate.write().unwrap_or_else(PoisonError::into_inner);
            events.extend(store::check_index(stage, moment, &mut report));
        }
        for worker in workers {
            events.extend(worker.join().expect("a worker ends well"));
        }
    });
    for event in &events {
        match event.fate {
            Fate::Killed if event.answer.signal.is_some() => report.count("killed"),
            Fate::Terminated => report.count("terminated"),
            Fate::Stopped => report.count("stopped"),
            Fate::Killed | Fate::Lives => {}
        }
    }
    let records = store::read_at_the_end(&stage, &mut events, &mut report);
    check::check(&events, &records, &mut report);
    watcher.check(&scratch, &records, &mut report);
    time_operations(&events, &mut report);
    store::check_that_it_serves(&stage, &mut report);
    report
}

fn time_operations(events: &[Event], report: &mut MixtureReport) {
    let mut times: BTreeMap<&'static str, Vec<i64>> = BTreeMap::new();
    for Event { act, answer, .. } in events {
        let took = answer.ended.as_microseconds() - answer.started.as_microseconds();
        times.entry(act.kind()).or_default().push(took / 1000);
    }
    for (kind, mut times) in times {
        times.sort_unstable();
        let count = times.len();
        report.operations.insert(kind, (count, times[count / 2], times[(count * 99) / 100]));
    }
}

/// Makes the reservations that stand all the time.
fn fill(muse: &Muse, scratch: &Scratch) -> Vec<Event> {
    let run = "seeded";
    let addresses: Vec<String> = (0..SEEDED).map(|number| format!("seeded/{number}.py")).collect();
    let arguments: Vec<Vec<String>> = addresses.iter().map(|address| reserve(&[address], run, &[])).collect();
    let mut events = Vec::new();
    for (arguments, addresses) in arguments.chunks(16).zip(addresses.chunks(16)) {
        for (answer, address) in muse.race(scratch.path(), arguments).into_iter().zip(addresses) {
            let addresses = vec![address.parse().expect("an address")];
            let run = RunId::new(run).expect("a run id");
            events.push(Event { act: Act::Reserve, run, addresses, fate: Fate::Lives, answer, rows: vec![] });
        }
    }
    events
}

fn work(stage: &Stage<'_>, worker: u64) -> Vec<Event> {
    let mut random = Random::new(stage.seed, worker);
    let mut events = Vec::new();
    while now() < stage.until {
        let turn = stage.gate.read().unwrap_or_else(PoisonError::into_inner);
        let Choice { act, run, addresses, wanted, arguments } = choose(stage, worker, &mut random);
        let running = stage.muse.start(stage.scratch.path(), &[] as &[&str], &arguments);
        let fate = meddle(&running, &act, &mut random);
        let event = Event::of(act, run, &addresses, fate, running.finish());
        drop(turn);
        if let Some((id, _)) = event.granted() {
            let known = Known { id: id.to_owned(), run: event.run.to_string(), wanted };
            let mut all = stage.known.lock().unwrap_or_else(PoisonError::into_inner);
            all.push_back(known);
            if all.len() > KNOWN_MAX {
                all.pop_front();
            }
        }
        events.push(event);
    }
    events
}

/// Kills, ends or stops a process at some moment, or lets it live. A collection is killed more often than others.
fn meddle(running: &Running, act: &Act, random: &mut Random) -> Fate {
    /// Most processes take some ten milliseconds, those that wait or find the machine busy much longer.
    const LATEST_MICROSECONDS: [usize; 3] = [10_000, 80_000, 400_000];

    let number = |number: usize| u64::try_from(number).expect("a small number");
    let latest = LATEST_MICROSECONDS[random.below(LATEST_MICROSECONDS.len())];
    let moment = Duration::from_micros(number(random.below(latest)));
    let chance = random.below(if *act == Act::Gc { 18 } else { 100 });
    let fate = match chance {
        0..6 => Fate::Killed,
        6 => Fate::Terminated,
        7 => Fate::Stopped,
        _ => return Fate::Lives,
    };
    thread::sleep(moment);
    // It has not been waited for: its id is its own still.
    match fate {
        Fate::Killed => signal(running.id(), Signal::KILL),
        Fate::Terminated => signal(running.id(), Signal::TERM),
        Fate::Stopped | Fate::Lives => {
            let is_long = random.below(6) == 0;
            let time = if is_long { 1500 + random.below(2000) } else { 20 + random.below(500) };
            signal(running.id(), Signal::STOP);
            thread::sleep(Duration::from_millis(number(time)));
            signal(running.id(), Signal::CONT);
        }
    }
    fate
}

/// What a worker does next.
struct Choice {
    act: Act,
    /// As whom.
    run: String,
    /// What is asked for.
    addresses: Vec<String>,
    /// The same, with the mode.
    wanted: Vec<String>,
    /// All the words of the call.
    arguments: Vec<String>,
}

fn choose(stage: &Stage<'_>, worker: u64, random: &mut Random) -> Choice {
    let known = {
        let all = stage.known.lock().unwrap_or_else(PoisonError::into_inner);
        (!all.is_empty()).then(|| all[random.below(all.len())].clone())
    };
    match known {
        Some(known) if random.below(100) < 55 => deal_with(known, random),
        _ => ask(worker, random),
    }
}

/// Something about a grant that is known, or a look.
fn deal_with(Known { id, run, wanted }: Known, random: &mut Random) -> Choice {
    // Most are looked after by their own run.
    let run = if random.below(8) == 0 { run_of(random) } else { run };
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
    let coord = |rest: &[&str]| words(&[&["coord"], rest, &["--run-id", &run, "--json"]].concat());
    let look = |rest: &[&str]| words(&[&["coord"], rest, &["--json"]].concat());
    let mut addresses = Vec::new();
    let (act, arguments) = match random.below(55) {
        0..7 => {
            addresses = wanted.iter().filter(|word| !word.starts_with("--")).cloned().collect();
            let again: Vec<&str> = wanted.iter().map(String::as_str).collect();
            (Act::Reserve, reserve(&again, &run, &["--ttl", ttl(random)]))
        }
        7..10 => {
            addresses = vec![wanted[0].clone()];
            let more = ["--ttl", ttl(random), "--take-over", &id, "--reason", "it is stuck"];
            let arguments = reserve(&[&wanted[0]], &run, &more);
            (Act::TakeOver(id), arguments)
        }
        10..25 => {
            let arguments = coord(&["heartbeat", &id, "--extension", EXTENSION]);
            (Act::Heartbeat(id), arguments)
        }
        25..29 => (Act::HeartbeatAll, coord(&["heartbeat", "--all", "--extension", EXTENSION])),
        29..39 => {
            let arguments = coord(&["release", &id]);
            (Act::Release(id), arguments)
        }
        39..41 => {
            let arguments = coord(&["release", &id, "--force", "--reason", "it is stuck"]);
            (Act::ReleaseForced(id), arguments)
        }
        41 => (Act::ReleaseAll, coord(&["release", "--all"])),
        42..46 => (Act::Gc, look(&["gc", "--older-than", ["0", "1"][random.below(2)]])),
        46..48 => (Act::List, look(&["list"])),
        48..51 => {
            let address = address_in(random);
            let arguments = look(&["list", "--address", &address]);
            (Act::ListAddress(address.parse().expect("an address")), arguments)
        }
        51 => (Act::ListAll, look(&["list", "--all"])),
        52 => {
            let arguments = look(&["show", &id]);
            (Act::Show(id), arguments)
        }
        53 => (Act::Log, look(&["log", "--limit", "60"])),
        _ => (Act::LogRun, coord(&["log", "--limit", "100000"])),
    };
    Choice { act, run, addresses, wanted, arguments }
}

/// A request of its own.
fn ask(worker: u64, random: &mut Random) -> Choice {
    let run = run_of(random);
    let mut addresses = vec![address_in(random)];
    match random.below(8) {
        0 => addresses.push(address_in(random)),
        1 => addresses = vec![format!("own/worker-{worker}.py")],
        2 => addresses.push(format!("own/worker-{worker}.py::f")),
        _ => {}
    }
    let asked: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut mode: &[&str] = match random.below(10) {
        0..6 => &[],
        6..9 => &["--shared"],
        _ => &["--advisory"],
    };
    let (act, arguments) = match random.below(45) {
        0..32 => (Act::Reserve, reserve(&asked, &run, &[&["--ttl", ttl(random)], mode].concat())),
        32..38 => {
            let patience = ["1", "2"][random.below(2)];
            let flags = [&["--ttl", ttl(random), "--wait", patience], mode].concat();
            (Act::Wait, reserve(&asked, &run, &flags))
        }
        _ => {
            // A command cannot be run under an advisory reservation.
            if mode == ["--advisory"] {
                mode = &[];
            }
            let waits: &[&str] = if random.below(4) == 0 { &["--wait", "1"] } else { &[] };
            let first = ["coord", "run", "--run-id", &run, "--ttl", "2", "--grace", "1", "--json"];
            let words = [&first, waits, mode, &asked, &["--", "sh", "-c", COMMAND]].concat();
            (Act::Run, words.into_iter().map(str::to_owned).collect())
        }
    };
    let wanted = asked.iter().chain(mode).map(|&word| word.to_owned()).collect();
    Choice { act, run, addresses, wanted, arguments }
}

fn ttl(random: &mut Random) -> &'static str {
    TTLS_SECONDS[random.below(TTLS_SECONDS.len())]
}

fn address_in(random: &mut Random) -> String {
    format!("area-{}{}", random.below(AREAS), ADDRESSES[random.below(ADDRESSES.len())])
}

fn run_of(random: &mut Random) -> String {
    let family = format!("run-{}", random.below(FAMILIES));
    match random.below(6) {
        0..3 => family,
        3 => format!("{family}/one"),
        4 => format!("{family}/two"),
        _ => format!("{family}/one/leaf"),
    }
}

impl Event {
    fn of(act: Act, run: String, addresses: &[String], fate: Fate, mut answer: Answer) -> Event {
        let rows = rows(&answer.json);
        if let Some(fields) = answer.json.as_object_mut()
            && !rows.is_empty()
        {
            fields.retain(|field, _| field != "reservations" && field != "entries");
            answer.stdout = Vec::new();
        }
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        Event { act, run: RunId::new(run).expect("a run id"), addresses, fate, answer, rows }
    }

    /// The reservation that it was told it holds, and the token.
    fn granted(&self) -> Option<(&str, u64)> {
        match self.act {
            Act::Reserve | Act::Wait | Act::TakeOver(_) if self.answer.json["exit_code"] == 0 => {
                Some((self.answer.text("reservation_id"), self.answer.token()))
            }
            Act::Run => {
                let said = std::str::from_utf8(&self.answer.stdout).ok()?;
                let (id, token) = said.strip_suffix('\n')?.split_once(' ')?;
                Some((id, token.parse().ok()?))
            }
            _ => None,
        }
    }
}

/// The reservations with a state that an answer shows: those of `list` and `log`.
fn rows(json: &Value) -> Vec<Row> {
    let list = json["reservations"].as_array().or(json["entries"].as_array());
    list.into_iter()
        .flatten()
        .filter_map(|row| {
            Some(Row {
                id: row["reservation_id"].as_str()?.to_owned(),
                token: row["token"].as_u64()?,
                state: row["state"].as_str()?.to_owned(),
                effective_expires_at: serde_json::from_value(row["effective_expires_at"].clone()).ok(),
            })
        })
        .collect()
}
