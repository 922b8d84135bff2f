//! What is in the store: the index at a quiet moment, all records at the end, and whether it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use muse_coord::record::Mode;
use muse_coord::{Address, RunId, Timestamp};
use serde_json::Value;

use super::{ADDRESSES, AREAS, Act, Event, Fate, MixtureReport, Row, Stage, rows};
use crate::archive::{id_of, lines};
use crate::history::Random;
use crate::races::reserve;
use crate::scratch::names;
use crate::{Answer, Violations};

/// How many addresses are looked up at a quiet moment, beside one in which everything lies.
const LOOKED_UP: usize = 6;

/// A reservation as the store tells it, live or archived.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) run: RunId,
    pub(super) token: u64,
    pub(super) addresses: Vec<Address>,
    pub(super) mode: Mode,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) ticket: Option<u64>,
    /// When, and by which run.
    pub(super) released: Option<(Timestamp, RunId)>,
    /// When, and by which reservation.
    pub(super) superseded: Option<(Timestamp, String)>,
    pub(super) is_archived: bool,
    /// As `log` says.
    pub(super) state: String,
}

impl Record {
    /// Whether a request of `run` in this `mode` for `addresses` has to give way to this reservation.
    pub(super) fn stops(&self, run: &RunId, mode: Mode, addresses: &[Address]) -> bool {
        mode.conflicts_with(self.mode) && !run.descends_from(&self.run) && self.overlaps(addresses)
    }

    pub(super) fn overlaps(&self, addresses: &[Address]) -> bool {
        self.addresses.iter().any(|held| addresses.iter().any(|address| address.overlaps(held)))
    }
}

/// The records of one reservation, as they lie there.
#[derive(Clone, Debug, Default)]
struct Raw {
    reservation: Value,
    release: Value,
    superseded: Value,
}

fn ask(stage: &Stage<'_>, words: &[&str]) -> Answer {
    stage.muse.run(stage.scratch.path(), &[&["coord"], words, &["--json"]].concat())
}

/// While nothing changes: what `list --address` shows of an address is what `list` shows that overlaps it, and a
/// request that is told of everything in its way is told of the same.
pub(super) fn check_index(stage: &Stage<'_>, moment: u64, report: &mut MixtureReport) -> Vec<Event> {
    let mut random = Random::new(stage.seed, 1000 + moment);
    let mut wanted: Vec<String> = (0..LOOKED_UP)
        .map(|_| format!("area-{}{}", random.below(AREAS), ADDRESSES[random.below(ADDRESSES.len())]))
        .collect();
    wanted.push("**".to_owned());
    let mut events = Vec::new();
    for address in wanted {
        let wanted: Address = address.parse().expect("an address");
        let run = format!("observer-{moment}-{}", events.len());
        let all = ask(stage, &["list"]);
        let found = ask(stage, &["list", "--address", &address]);
        let arguments = reserve(&[&address], &run, &["--advisory", "--ttl", "1"]);
        let told = stage.muse.run(stage.scratch.path(), &arguments);
        for answer in [&all, &found, &told] {
            if !answer.is_ok() {
                report.violations.push(format!("at a quiet moment: {}", answer.brief()));
            }
        }
        let found_ids = ids(&rows(&found.json));
        let notices = told.json["notices"].as_array().into_iter().flatten();
        let told_ids: BTreeSet<String> = notices
            .filter_map(|notice| notice["holder"]["reservation_id"].as_str().map(str::to_owned))
            .collect();
        let mut seen = BTreeSet::new();
        for row in all.json["reservations"].as_array().into_iter().flatten() {
            let id = row["reservation_id"].as_str().unwrap_or_default();
            let expiry: Timestamp = time_of(&row["effective_expires_at"]).expect("a time");
            let mut held = row["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if !held.any(|held| held.parse::<Address>().is_ok_and(|held| held.overlaps(&wanted))) {
                continue;
            }
            seen.insert(id.to_owned());
            if expiry > found.ended && !found_ids.contains(id) {
                report.violations.push(format!("list --address {address} hides {id}"));
            }
            if expiry > told.ended && !told_ids.contains(id) {
                report.violations.push(format!("a request for {address} is not told of {id}"));
            }
        }
        if let Some(id) = found_ids.union(&told_ids).find(|id| !seen.contains(*id)) {
            report.violations.push(format!("{address}: {id} is told of, and not listed"));
        }
        report.count("looked up at a quiet moment");
        let act = Act::Reserve;
        events.push(Event::of(act, run, std::slice::from_ref(&address), Fate::Lives, told));
    }
    events
}

fn ids(rows: &[Row]) -> BTreeSet<String> {
    rows.iter().map(|row| row.id.clone()).collect()
}

fn time_of(value: &Value) -> Option<Timestamp> {
    serde_json::from_value(value.clone()).ok()
}

/// Lets one more reserve and one more step of a collection tidy up, and reads everything. The reservations in the order
/// of their tokens.
pub(super) fn read_at_the_end(
    stage: &Stage<'_>,
    events: &mut Vec<Event>,
    report: &mut MixtureReport,
) -> Vec<Record> {
    let scratch = stage.scratch;
    let last = stage.muse.run(scratch.path(), &reserve(&["last.py"], "last", &[]));
    if !last.is_ok() {
        report.violations.push(format!("one more reserve: {}", last.brief()));
    }
    events.push(Event::of(Act::Reserve, "last".to_owned(), &["last.py".to_owned()], Fate::Lives, last));
    report.violations.extend(left_over(stage, events));
    // A step that was killed is finished by the next one, which has nothing of its own to move.
    let collected = ask(stage, &["gc"]);
    if !collected.is_ok() || collected.json["archived"] != 0 {
        report.violations.push(format!("one more collection: {}", collected.brief()));
    }

    let mut raws = live(stage, &mut report.violations);
    let archived: BTreeSet<String> = add_archived(stage, &mut raws, &mut report.violations);
    let log = ask(stage, &["log", "--limit", "100000"]);
    if !log.is_ok() || log.json["truncated"] != false {
        report.violations.push(format!("the log: {}", log.brief()));
    }
    let logged: BTreeMap<String, String> =
        rows(&log.json).into_iter().map(|row| (row.id, row.state)).collect();
    if log.json["count"].as_u64() != Some(logged.len() as u64) {
        report.violations.push(format!("{} entries of the log are {}", log.json["count"], logged.len()));
    }
    for id in logged.keys().filter(|id| !raws.contains_key(*id)) {
        report.violations.push(format!("{id} is in the log, and nowhere in the store"));
    }
    let mut records = Vec::new();
    for (id, raw) in raws {
        let Some(word) = logged.get(&id) else {
            report.violations.push(format!("{id} is in the store, and not in the log"));
            continue;
        };
        match record(&id, &raw, archived.contains(&id), word) {
            Some(record) => records.push(record),
            None => report.violations.push(format!("{id} is not whole: {raw:?}")),
        }
    }
    records.sort_by_key(|record| record.token);
    records
}

fn record(id: &str, raw: &Raw, is_archived: bool, state: &str) -> Option<Record> {
    let Raw { reservation, release, superseded } = raw;
    let addresses = reservation["addresses"].as_array()?.iter();
    let run = |value: &Value| RunId::new(value["run_id"].as_str()?).ok();
    Some(Record {
        id: id.to_owned(),
        run: run(reservation)?,
        token: reservation["token"].as_u64()?,
        addresses: addresses.map(|address| address.as_str()?.parse().ok()).collect::<Option<_>>()?,
        mode: serde_json::from_value(reservation["mode"].clone()).ok()?,
        created_at: time_of(&reservation["created_at"])?,
        expires_at: time_of(&reservation["expires_at"])?,
        ticket: reservation["ticket"].as_u64(),
        released: match release {
            Value::Null => None,
            release => Some((time_of(&release["released_at"])?, run(release)?)),
        },
        superseded: match superseded {
            Value::Null => None,
            mark => Some((time_of(&mark["superseded_at"])?, mark["superseded_by"].as_str()?.to_owned())),
        },
        is_archived,
        state: state.to_owned(),
    })
}

/// The records in the live folders.
fn live(stage: &Stage<'_>, violations: &mut Violations) -> BTreeMap<String, Raw> {
    let mut raws: BTreeMap<String, Raw> = BTreeMap::new();
    let records = stage.scratch.records();
    let id_in = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let is_there = |id: &str| records.contains_key(&Path::new("reservations").join(format!("{id}.json")));
    for (path, bytes) in &records {
        let id = id_in(path);
        if !is_there(&id) {
            violations.push(format!("{} is left without its reservation", path.display()));
            continue;
        }
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let raw = raws.entry(id).or_default();
        match path.parent().and_then(Path::to_str) {
            Some("reservations") => raw.reservation = value,
            Some("releases") => raw.release = value,
            Some("superseded") => raw.superseded = value,
            _ => {}
        }
    }
    raws
}

/// Adds the archive's lines. A reservation is there once, and not in the live store as well; but for one that had
/// lapsed, whose step was killed, and that was revived before the next one: that has an end of its own later.
fn add_archived(
    stage: &Stage<'_>,
    raws: &mut BTreeMap<String, Raw>,
    violations: &mut Violations,
) -> BTreeSet<String> {
    let mut newest: BTreeMap<String, Value> = BTreeMap::new();
    for line in lines(stage.scratch) {
        let id = id_of(&line).to_owned();
        if id.is_empty() {
            violations.push(format!("a line of the archive is not whole: {line}"));
        } else if let Some(before) = newest.insert(id.clone(), line.clone())
            && (before["state"] != "lapsed" || time_of(&before["ended_at"]) >= time_of(&line["ended_at"]))
        {
            violations.push(format!("{id} is counted twice: {before} and {line}"));
        }
    }
    let mut archived = BTreeSet::new();
    for (id, line) in newest {
        if raws.contains_key(&id) {
            if line["state"] != "lapsed" {
                violations.push(format!("{id} is live and archived: {line}"));
            }
            continue;
        }
        archived.insert(id.clone());
        let field = |name: &str| line[name].clone();
        let raw = Raw {
            reservation: field("reservation"),
            release: field("release"),
            superseded: field("superseded"),
        };
        raws.insert(id, raw);
    }
    archived
}

/// What lies where nothing should lie any more. The tickets of those who were killed while they waited stay for a
/// while, with what they were writing.
fn left_over(stage: &Stage<'_>, events: &[Event]) -> Violations {
    let mut wrong = Violations::new();
    let waiting = stage.scratch.store().join("waiting");
    let tickets = names(&waiting);
    for name in &tickets {
        let bytes = fs::read(waiting.join(name)).unwrap_or_default();
        let ticket: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let is_of_the_dead = events.iter().any(|event| {
            matches!(event.act, Act::Wait | Act::Run)
                && event.answer.signal.is_some()
                && ticket["run_id"] == event.run.as_str()
                && time_of(&ticket["created_at"])
                    .is_some_and(|drawn| event.answer.started <= drawn && drawn <= event.answer.ended)
        });
        if !is_of_the_dead {
            wrong.push(format!("left behind in waiting/: {name}: {ticket}"));
        }
    }
    for name in stage.scratch.temporary() {
        let number = name.strip_prefix("ticket-").unwrap_or_default();
        if !tickets.contains(&format!("{number}.json")) {
            wrong.push(format!("left behind in tmp/: {name}"));
        }
    }
    wrong
}

/// After all that: a reservation of everything, for which a coordinator takes everything away, kept alive, released.
pub(super) fn check_that_it_serves(stage: &Stage<'_>, report: &mut MixtureReport) {
    let scratch = stage.scratch;
    let boss = ["--run-id", "boss"];
    let mut wrong = |what: &str, answer: &Answer| {
        if !answer.is_ok() {
            report.violations.push(format!("afterwards, {what}: {}", answer.brief()));
        }
    };
    let fresh = stage.muse.run(scratch.path(), &reserve(&["afterwards.py"], "other", &[]));
    wrong("a reserve", &fresh);
    let list = ask(stage, &["list"]);
    wrong("list", &list);
    let held: Vec<String> = rows(&list.json).into_iter().map(|row| row.id).collect();
    let held: Vec<&str> = held.iter().map(String::as_str).filter(|id| *id != fresh.id()).collect();
    let force = ["--force", "--reason", "the end"];
    wrong("a release of all", &ask(stage, &[&["release"], &held[..], &boss, &force].concat()));
    // A coordinator's order does not wait for the tickets of the dead.
    let more = ["--take-over", &fresh.id(), "--reason", "the end"];
    let all = stage.muse.run(scratch.path(), &reserve(&["**"], "boss", &more));
    wrong("a reserve of everything", &all);
    wrong("a heartbeat", &ask(stage, &[&["heartbeat", &all.id()], &boss[..]].concat()));
    let denied = stage.muse.run(scratch.path(), &reserve(&["a.py"], "other", &[]));
    if denied.json["conflicts"][0]["holder"]["reservation_id"] != all.json["reservation_id"] {
        report.violations.push(format!("afterwards, not denied: {}", denied.brief()));
    }
    let mut wrong = |what: &str, answer: &Answer| {
        if !answer.is_ok() {
            report.violations.push(format!("afterwards, {what}: {}", answer.brief()));
        }
    };
    wrong("a release", &ask(stage, &[&["release", &all.id()], &boss[..]].concat()));
    let collected = ask(stage, &["gc", "--older-than", "0"]);
    wrong("gc", &collected);
    let left = ask(stage, &["list", "--all"]);
    if collected.json["skipped"] != 0 || left.json["count"] != 0 {
        report.violations.push(format!("afterwards, left: {} of {}", left.brief(), collected.brief()));
    }
}
