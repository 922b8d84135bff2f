//! A random history of real processes, and a checker over all that they said.
//!
//! Each worker starts one process after the other and writes down when it started it, what it answered and
//! when it had ended. What a process did happened somewhere in between, so the checker takes for true only
//! what was certain: a reservation was certainly held from its `created_at` until the first process that
//! could have released it was started, and as long as an expiry that was certainly in force had not passed.

use std::collections::HashMap;
use std::path::Path;
use std::thread;

use muse_coord::{Address, Timestamp};

use crate::process::now;
use crate::races::{listed, reserve};
use crate::scratch::Scratch;
use crate::{Answer, Muse, Violations};

/// How many workers run processes at the same time.
const WORKERS: u64 = 8;

/// What they want: in each of a few areas the same things, which all overlap.
const AREAS: usize = 16;
const ADDRESSES: [&str; 4] = ["/a.py", "/a.py::f", "/", "/*.py"];

/// Every extension of a history is this long, so that no heartbeat ever shortens what another had extended.
const EXTENSION_SECONDS: &str = "2";

/// How many of its latest reservations a worker looks after; older ones lapse.
const RECENT: usize = 4;

/// What a history came to.
#[derive(Debug, Default)]
pub struct HistoryReport {
    /// What must not be.
    pub violations: Violations,
    /// How many requests were granted, renewals not counted.
    pub granted: usize,
    /// How many were denied.
    pub denied: usize,
    /// How many heartbeats were taken.
    pub beaten: usize,
    /// How many releases were made.
    pub released: usize,
    /// How many lapsed reservations were granted over.
    pub superseded: usize,
}

#[derive(Debug)]
enum Act {
    Reserve,
    Heartbeat(String),
    Release(String),
}

#[derive(Debug)]
struct Event {
    act: Act,
    answer: Answer,
}

/// Lets workers reserve, heartbeat and release at random until each has run `operations` processes, and
/// checks what they were told.
pub fn mixed(muse: &Muse, operations: usize, seed: u64) -> HistoryReport {
    let scratch = Scratch::with_store(muse);
    let events: Vec<Event> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (path, muse) = (scratch.path(), &*muse);
                scope.spawn(move || work(muse, path, worker, operations, seed))
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends well")).collect()
    });
    let before_list = now();
    let listed = listed(muse, scratch.path());
    let history = muse.run(scratch.path(), &["coord", "list", "--all", "--json"]);
    let mut report = check(&events, &listed, before_list);
    let rows = history.json["reservations"].as_array().map(Vec::as_slice).unwrap_or_default();
    report.superseded = rows.iter().filter(|row| row["state"] == "superseded").count();
    if rows.len() != report.granted {
        report.violations.push(format!("{} granted, {} in the store", report.granted, rows.len()));
    }
    report
}

fn work(muse: &Muse, repository: &Path, worker: u64, operations: usize, seed: u64) -> Vec<Event> {
    let mut random = Random::new(seed, worker);
    let mut events: Vec<Event> = Vec::new();
    let mut held: Vec<(String, String)> = Vec::new();
    for operation in 0..operations {
        let choice = random.below(10);
        let recent = held.iter().rev().nth(random.below(RECENT));
        let (act, arguments) = match recent {
            Some((id, run)) if choice < 3 => {
                let words =
                    ["coord", "heartbeat", id, "--run-id", run, "--extension", EXTENSION_SECONDS, "--json"];
                (Act::Heartbeat(id.clone()), words.map(str::to_owned).to_vec())
            }
            Some((id, run)) if choice < 6 => {
                let words = ["coord", "release", id, "--run-id", run, "--json"];
                (Act::Release(id.clone()), words.map(str::to_owned).to_vec())
            }
            _ => {
                let (area, address) = (random.below(AREAS), ADDRESSES[random.below(ADDRESSES.len())]);
                let address = &*format!("area-{area}{address}");
                let run = format!("worker-{worker}-{operation}");
                (Act::Reserve, reserve(&[address], &run, &["--ttl", "1"]))
            }
        };
        let answer = muse.run(repository, &arguments);
        // Every third is forgotten: it lapses and is granted over.
        if matches!(act, Act::Reserve) && answer.is_ok() && random.below(3) > 0 {
            held.push((answer.id(), answer.text("run_id").to_owned()));
        }
        events.push(Event { act, answer });
    }
    events
}

/// Everything certain about one reservation.
#[derive(Debug)]
struct Held<'a> {
    id: &'a str,
    run: &'a str,
    token: u64,
    address: Address,
    created_at: Timestamp,
    expires_at: Timestamp,
    reserved_until: Timestamp,
    beats: Vec<(&'a Answer, Timestamp, Timestamp)>,
    release_started: Option<Timestamp>,
    released_before: Option<Timestamp>,
}

impl Held<'_> {
    /// Whether it was certainly active at `instant`, which lies in the life of `observer`.
    fn is_certainly_held(&self, instant: Timestamp, observer: &Answer) -> bool {
        let extended = self
            .beats
            .iter()
            .filter(|(beat, ..)| beat.ended < observer.started)
            .map(|(_, _, until)| *until)
            .max();
        let expiry = extended.map_or(self.expires_at, |until| until.max(self.expires_at));
        self.created_at <= instant
            && instant < expiry
            && self.release_started.is_none_or(|started| instant < started)
    }
}

fn check(events: &[Event], listed: &[String], before_list: Timestamp) -> HistoryReport {
    let mut report = HistoryReport::default();
    let mut held: HashMap<&str, Held<'_>> = HashMap::new();
    for Event { act, answer } in events {
        let expected: &[i32] = match act {
            Act::Reserve => &[0, 6],
            Act::Heartbeat(_) => &[0, 1, 4],
            Act::Release(_) => &[0],
        };
        if !answer.exit.is_some_and(|code| expected.contains(&code)) {
            report.violations.push(format!("{act:?}: {}", answer.brief()));
        } else if matches!(act, Act::Reserve) && answer.is_ok() {
            let address = answer.json["addresses"][0].as_str().and_then(|text| text.parse().ok());
            let id = answer.text("reservation_id");
            let grant = Held {
                id,
                run: answer.text("run_id"),
                token: answer.token(),
                address: address.expect("muse prints addresses that it reads"),
                created_at: time(answer, "created_at"),
                expires_at: time(answer, "expires_at"),
                reserved_until: answer.ended,
                beats: Vec::new(),
                release_started: None,
                released_before: None,
            };
            if held.insert(id, grant).is_some() {
                report.violations.push(format!("{id} was granted twice"));
            }
        }
    }
    report.granted = held.len();
    for Event { act, answer } in events {
        match act {
            Act::Heartbeat(id) if answer.is_ok() => {
                report.beaten += 1;
                let beat = (answer, time(answer, "last_beat_at"), time(answer, "extended_expires_at"));
                held.get_mut(id.as_str()).expect("only what was granted is beaten").beats.push(beat);
            }
            Act::Release(id) if answer.json["reservations"][0]["status"] == "released" => {
                report.released += 1;
                let held = held.get_mut(id.as_str()).expect("only what was granted is released");
                if held.release_started.replace(answer.started).is_some() {
                    report.violations.push(format!("{id} was released twice"));
                }
                held.released_before = Some(answer.ended);
            }
            _ => {}
        }
    }

    let mut by_token: Vec<&Held<'_>> = held.values().collect();
    by_token.sort_by_key(|held| held.token);
    check_grants(&by_token, events, &mut report.violations);
    check_denials(&held, events, &mut report);
    check_stops(&held, events, &mut report.violations);
    check_list(&by_token, listed, before_list, &mut report.violations);
    report
}

/// No two at once, tokens unique and in the order of the grants.
fn check_grants(by_token: &[&Held<'_>], events: &[Event], violations: &mut Violations) {
    let answers: HashMap<&str, &Answer> = events
        .iter()
        .filter(|event| matches!(event.act, Act::Reserve) && event.answer.is_ok())
        .map(|event| (event.answer.text("reservation_id"), &event.answer))
        .collect();
    for (position, later) in by_token.iter().enumerate() {
        let reserve = answers[later.id];
        for earlier in &by_token[..position] {
            if earlier.token == later.token {
                violations.push(format!("token {} was granted twice", later.token));
            }
            if later.reserved_until < answers[earlier.id].started {
                violations
                    .push(format!("{} ended before {} began, with a larger token", later.id, earlier.id));
            }
            if !earlier.address.overlaps(&later.address) {
                continue;
            }
            if earlier.is_certainly_held(later.created_at, reserve) {
                violations.push(format!(
                    "two holders at once: {} by {} held {} when {} by {} was granted {}",
                    earlier.id, earlier.run, earlier.address, later.id, later.run, later.address
                ));
            }
            for (_, beaten_at, _) in &earlier.beats {
                if *beaten_at > later.created_at {
                    violations.push(format!(
                        "two holders at once: {} was extended after {} had been granted over it",
                        earlier.id, later.id
                    ));
                }
            }
        }
    }
}

/// Every denial names somebody who may have been there.
fn check_denials(held: &HashMap<&str, Held<'_>>, events: &[Event], report: &mut HistoryReport) {
    for answer in events.iter().map(|event| &event.answer).filter(|answer| answer.exit == Some(6)) {
        report.denied += 1;
        let conflicts = answer.json["conflicts"].as_array().map(Vec::as_slice).unwrap_or_default();
        if conflicts.is_empty() {
            report.violations.push(format!("denied by nobody: {}", answer.brief()));
        }
        for holder in conflicts.iter().map(|conflict| &conflict["holder"]) {
            let named = holder["reservation_id"].as_str().and_then(|id| held.get(id));
            let is_plausible = named.is_some_and(|named| {
                holder["run_id"].as_str() == Some(named.run)
                    && named.created_at <= answer.ended
                    && named.released_before.is_none_or(|released| answer.started <= released)
            });
            if !is_plausible {
                report.violations.push(format!("denied by one who was not there: {}", answer.brief()));
            }
        }
    }
}

/// No heartbeat succeeds once a release was reported.
fn check_stops(held: &HashMap<&str, Held<'_>>, events: &[Event], violations: &mut Violations) {
    for Event { act, answer } in events {
        let Act::Heartbeat(id) = act else { continue };
        let released = held.get(id.as_str()).and_then(|held| held.released_before);
        if released.is_some_and(|released| released < answer.started) && answer.status() != "already_released"
        {
            violations.push(format!("a heartbeat after the release of {id}: {}", answer.brief()));
        }
    }
}

/// What was certainly held at the end is listed, and what was released is not.
fn check_list(
    by_token: &[&Held<'_>],
    listed: &[String],
    before_list: Timestamp,
    violations: &mut Violations,
) {
    /// How long the listing may have taken, in seconds. What lapses meanwhile is not asked for.
    const LISTING_SECONDS: u32 = 1;

    for held in by_token {
        let is_listed = listed.iter().any(|id| id == held.id);
        let until = held.beats.iter().map(|(_, _, until)| *until).fold(held.expires_at, Timestamp::max);
        let is_granted_over =
            by_token.iter().any(|other| other.token > held.token && other.address.overlaps(&held.address));
        if held.release_started.is_none()
            && !is_granted_over
            && until > before_list.plus_seconds(LISTING_SECONDS)
            && !is_listed
        {
            violations.push(format!("an acknowledged grant was lost: {}", held.id));
        }
        if is_listed && held.released_before.is_some() {
            violations.push(format!("{} is listed though it was released", held.id));
        }
    }
}

pub(crate) fn time(answer: &Answer, field: &str) -> Timestamp {
    serde_json::from_value(answer.json[field].clone()).expect("muse prints times that it reads")
}

/// A small generator of random numbers (`xorshift64*`), so that a seed names a history.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, worker: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (worker + 1))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).unwrap_or(usize::MAX) % end
    }
}
