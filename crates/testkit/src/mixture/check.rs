//! What must not be, from what every process said and what the store tells at the end.
//!
//! A reservation is granted, released and superseded under the store's lock, and each writes down the time that it
//! read while it held that. So these times stand in the order in which things happened, and can be compared exactly.
//! A heartbeat reads the clock under its record's lock, which whoever supersedes takes as well: one that is older than
//! a grant was seen by it. Of what else a process did only its start and its end are known.

use std::collections::HashMap;

use muse_coord::{RunId, Timestamp};
use serde_json::Value;

use super::store::Record;
use super::{Act, EXTENSION_SECONDS, Event, Fate, MixtureReport};
use crate::Violations;
use crate::history::time;

/// What is known of one reservation.
struct Story<'a> {
    record: &'a Record,
    /// The process that was granted it, if that lived to say so.
    granted: Option<&'a Event>,
    /// When the clock was read for a heartbeat, until when it extends, and who said so.
    beats: Vec<(Timestamp, Timestamp, &'a Event)>,
    /// The repeated requests that extended it, and until when.
    renewals: Vec<(Timestamp, &'a Event)>,
    /// The first process that said that it had released it.
    release: Option<&'a Event>,
    /// When the last process had ended that may have ended it for good, if it was: it writes down the time before
    /// others can see that it is over.
    over_before: Option<Timestamp>,
}

impl Story<'_> {
    /// Until when it was certainly to be held for whoever decided at `instant`, if nobody released it.
    fn expiry_at(&self, instant: Timestamp) -> Timestamp {
        let beats = self.beats.iter().filter(|(at, ..)| *at < instant).map(|(_, until, _)| *until);
        let renewals = self.renewals.iter().filter(|(_, event)| event.answer.ended <= instant);
        beats.chain(renewals.map(|(until, _)| *until)).fold(self.record.expires_at, Timestamp::max)
    }

    /// Until when it was certainly to be held for whoever began to read at `instant`, without any lock.
    fn expiry_told_before(&self, instant: Timestamp) -> Timestamp {
        let beats = self.beats.iter().map(|(_, until, event)| (*until, event));
        let renewals = self.renewals.iter().map(|(until, event)| (*until, event));
        beats
            .chain(renewals)
            .filter(|(_, event)| event.answer.ended <= instant)
            .map(|(until, _)| until)
            .fold(self.record.expires_at, Timestamp::max)
    }

    /// When it was over for good, released or superseded.
    fn end(&self) -> Option<Timestamp> {
        let released = self.record.released.as_ref().map(|(at, _)| *at);
        let superseded = self.record.superseded.as_ref().map(|(at, _)| *at);
        released.into_iter().chain(superseded).min()
    }

    /// Whether it was certainly held at `instant`.
    fn is_held_at(&self, instant: Timestamp) -> bool {
        self.record.created_at <= instant
            && instant < self.expiry_at(instant)
            && self.end().is_none_or(|end| instant < end)
    }
}

/// Every reservation, in the order of the tokens, and where each stands.
struct Stories<'a> {
    all: Vec<Story<'a>>,
    by_id: HashMap<&'a str, usize>,
}

impl<'a> Stories<'a> {
    fn of(&self, id: &str) -> Option<&Story<'a>> {
        self.by_id.get(id).map(|&position| &self.all[position])
    }

    fn of_mut(&mut self, id: &str) -> Option<&mut Story<'a>> {
        self.by_id.get(id).map(|&position| &mut self.all[position])
    }
}

pub(super) fn check(events: &[Event], records: &[Record], report: &mut MixtureReport) {
    check_ends(events, report);
    let mut stories = tell(events, records, report);
    check_causes(&mut stories, events, &mut report.violations);
    for story in &stories.all {
        match story.record.state.as_str() {
            "lapsed" => report.count("lapsed at the end"),
            "superseded" => report.count("superseded"),
            _ => {}
        }
        if story.record.is_archived {
            report.count("archived");
        }
        if story.granted.is_none() {
            report.count("granted, and killed before it said so");
        }
    }
    check_order(&stories, &mut report.violations);
    check_holders(&stories, &mut report.violations);
    check_supersessions(&stories, &mut report.violations);
    check_queue(&stories, report);
    check_denials(&stories, events, report);
    check_lists(&stories, events, &mut report.violations);
    check_stops(&stories, events, &mut report.violations);
}

/// How each process may end: with these exit codes and, in the JSON, these words.
fn expected(act: &Act) -> &'static [(i32, &'static str)] {
    const BUSY: (i32, &str) = (3, "store_busy");
    match act {
        Act::Reserve => &[(0, "ok"), (6, "conflict"), BUSY],
        Act::Wait => &[(0, "ok"), (6, "deadlock"), (7, "wait_timeout"), (143, "interrupted"), BUSY],
        Act::TakeOver(_) => &[(0, "ok"), (6, "conflict"), (4, "not_found"), (1, "bad_args"), BUSY],
        // What it says once its command runs is the command's own.
        Act::Run => {
            &[(6, "conflict"), (6, "deadlock"), (7, "wait_timeout"), (8, "lost"), (143, "interrupted"), BUSY]
        }
        Act::Heartbeat(_) | Act::HeartbeatAll => {
            &[(0, "ok"), (1, "already_released"), (4, "not_found"), BUSY]
        }
        Act::Release(_) | Act::ReleaseForced(_) | Act::ReleaseAll => {
            &[(0, "ok"), (4, "not_found"), (6, "not_holder"), BUSY]
        }
        Act::Gc => &[(0, "ok"), BUSY],
        Act::List | Act::ListAddress(_) | Act::ListAll | Act::Log | Act::LogRun => &[(0, "ok")],
        Act::Show(_) => &[(0, "ok"), (4, "not_found")],
    }
}

/// Exit codes, status words, one JSON object, nothing beside it.
fn check_ends(events: &[Event], report: &mut MixtureReport) {
    for event in events {
        let Event { act, fate, answer, .. } = event;
        let mut wrong = |what: &str| {
            report.violations.push(format!("{what}: {act:?} of {}, {fate:?}: {}", event.run, answer.brief()));
        };
        if answer.exit.is_none() {
            match (fate, answer.signal) {
                (Fate::Killed, Some(9)) | (Fate::Terminated, Some(15)) => {}
                _ => wrong("ended by a signal that nobody sent"),
            }
            continue;
        }
        if matches!(act, Act::Run) && answer.json.is_null() {
            let is_known = match answer.exit {
                Some(0) => event.granted().is_some(),
                // Its command was told to end, or the reservation was taken away.
                Some(143) => *fate == Fate::Terminated,
                Some(8) => true,
                _ => false,
            };
            if !is_known {
                wrong("an end that the contract does not know");
            }
            report.count(if answer.exit == Some(8) { "run lost its reservation" } else { "ran" });
            continue;
        }
        if !answer.json.is_object() || !answer.stderr.is_empty() {
            wrong("not one JSON object");
            continue;
        }
        let status = answer.status();
        let is_known = expected(act).iter().any(|(exit, word)| answer.exit == Some(*exit) && status == *word);
        if !is_known || answer.json["exit_code"].as_i64() != answer.exit.map(i64::from) {
            wrong("an end that the contract does not know");
        }
        match status {
            "store_busy" => report.count("store_busy"),
            "deadlock" => report.count("deadlock"),
            "wait_timeout" => report.count("wait_timeout"),
            "interrupted" => report.count("interrupted"),
            _ => {}
        }
    }
}

/// Brings together what was said of each reservation. What was granted is there, once, as it was said.
fn tell<'a>(events: &'a [Event], records: &'a [Record], report: &mut MixtureReport) -> Stories<'a> {
    let all: Vec<Story<'_>> = records
        .iter()
        .map(|record| Story {
            record,
            granted: None,
            beats: vec![],
            renewals: vec![],
            release: None,
            over_before: None,
        })
        .collect();
    let by_id = records.iter().enumerate().map(|(position, record)| (&*record.id, position)).collect();
    let mut stories = Stories { all, by_id };
    // A command is not told whether its run had the reservation already: that is known once all others have spoken.
    let (commands, others): (Vec<&Event>, Vec<&Event>) =
        events.iter().partition(|event| event.act == Act::Run);
    for event in others.into_iter().chain(commands) {
        let answer = &event.answer;
        if let Some((id, token)) = event.granted() {
            let Some(story) = stories.of_mut(id) else {
                report.violations.push(format!("an acknowledged grant was lost: {id}: {}", answer.brief()));
                continue;
            };
            if story.record.token != token || story.record.run != event.run {
                report.violations.push(format!("{id} is not as it was granted: {}", answer.brief()));
            }
            if answer.json["renewed"] == true {
                report.count("renewed");
                story.renewals.push((time(answer, "expires_at"), event));
            } else if event.act == Act::Run
                && (story.granted.is_some() || answer.started > story.record.created_at)
            {
                report.count("renewed");
            } else if let Some(first) = story.granted.replace(event) {
                report.violations.push(format!("{id} was granted twice, the first time to {:?}", first.act));
            } else {
                report.count("granted");
            }
        }
        let parts = answer.json["reservations"].as_array().into_iter().flatten();
        let mut extended: Vec<(&str, Timestamp)> = Vec::new();
        match &event.act {
            Act::Heartbeat(id) if answer.json["exit_code"] == 0 => {
                extended.push((id, time(answer, "extended_expires_at")));
                let warnings = answer.json["warnings"].to_string();
                if warnings.contains("is active again") {
                    report.count("revived");
                }
            }
            Act::HeartbeatAll => extended.extend(parts.filter_map(|part| {
                let until = serde_json::from_value(part["extended_expires_at"].clone()).ok()?;
                Some((part["reservation_id"].as_str()?, until))
            })),
            Act::Release(_) | Act::ReleaseForced(_) | Act::ReleaseAll => {
                for part in parts.filter(|part| part["status"] == "released") {
                    report.count("released");
                    let id = part["reservation_id"].as_str().unwrap_or_default();
                    match stories.of_mut(id).map(|story| story.release.replace(event)) {
                        Some(None) => {}
                        Some(Some(_)) => report.violations.push(format!("{id} was released twice")),
                        None => report.violations.push(format!("{id} was released, and is lost")),
                    }
                }
            }
            _ => {}
        }
        for (id, until) in extended {
            report.count("extended");
            let Some(story) = stories.of_mut(id) else {
                report.violations.push(format!("{id} was extended, and is lost: {}", answer.brief()));
                continue;
            };
            // All extensions are of the same length.
            let length = i64::from(EXTENSION_SECONDS) * 1_000_000;
            let at = Timestamp::from_microseconds(until.as_microseconds() - length);
            story.beats.push((at, until, event));
        }
    }
    stories
}

/// Tokens rise: in the order of the grants, and from any process that had ended to one that began later.
fn check_order(stories: &Stories<'_>, violations: &mut Violations) {
    for pair in stories.all.windows(2) {
        let (one, other) = (&pair[0].record, &pair[1].record);
        if one.token >= other.token {
            violations.push(format!("token {} of {} is that of {} too", one.token, one.id, other.id));
        }
        if one.created_at > other.created_at {
            violations.push(format!("{} came before {}, with a larger token", other.id, one.id));
        }
    }
    let mut latest_start: Option<(Timestamp, &Record)> = None;
    for story in &stories.all {
        let Some(granted) = story.granted else { continue };
        if let Some((started, earlier)) = latest_start
            && granted.answer.ended < started
        {
            violations
                .push(format!("{} ended before {} began, with a larger token", story.record.id, earlier.id));
        }
        if latest_start.is_none_or(|(started, _)| started < granted.answer.started) {
            latest_start = Some((granted.answer.started, story.record));
        }
    }
}

/// No two at once: nobody is granted what another certainly holds, and nobody is extended once another was granted it.
fn check_holders(stories: &Stories<'_>, violations: &mut Violations) {
    for (position, later) in stories.all.iter().enumerate() {
        let grant = later.record;
        for earlier in &stories.all[..position] {
            // One that is taken over is released in the same step, which takes no record's lock: a heartbeat may come
            // between the look at the clock and the tombstone, and is told to stop the next time.
            let is_taken_over =
                earlier.record.released.as_ref().is_some_and(|(at, _)| *at == grant.created_at);
            let late_beat = earlier.beats.iter().find(|(at, _, event)| {
                *at > grant.created_at
                    && (!is_taken_over || earlier.over_before.is_some_and(|over| over < event.answer.started))
            });
            let late_renewal =
                earlier.renewals.iter().find(|(_, event)| event.answer.started > grant.created_at);
            let is_held = earlier.is_held_at(grant.created_at);
            if !is_held && late_beat.is_none() && late_renewal.is_none() {
                continue;
            }
            let held = earlier.record;
            if !held.stops(&grant.run, grant.mode, &grant.addresses) {
                continue;
            }
            if is_held {
                violations.push(format!("two holders at once: {held:?} held when {grant:?} was granted"));
            }
            if let Some((at, _, event)) = late_beat {
                violations.push(format!(
                    "two holders at once: {held:?} was extended at {at} after {grant:?} had been granted: {}",
                    event.answer.brief()
                ));
            }
            if let Some((_, event)) = late_renewal {
                violations.push(format!(
                    "two holders at once: {held:?} was renewed after {grant:?} had been granted: {}",
                    event.answer.brief()
                ));
            }
        }
    }
}

/// Only what had lapsed is superseded, by a request that it stood against.
fn check_supersessions(stories: &Stories<'_>, violations: &mut Violations) {
    for story in &stories.all {
        let Some((at, by)) = &story.record.superseded else { continue };
        let released_before = story.record.released.as_ref().is_some_and(|(released, _)| released < at);
        if *at < story.expiry_at(*at) || released_before {
            violations.push(format!("superseded while it was held, or released: {:?}", story.record));
        }
        // Whoever did it may have been killed before its own reservation was there.
        if let Some(by) = stories.of(by).map(|by| by.record)
            && (by.created_at != *at || !story.record.stops(&by.run, by.mode, &by.addresses))
        {
            violations.push(format!("superseded by a stranger: {:?} by {by:?}", story.record));
        }
    }
}

/// Everything in the store was done by a process that was there, and everything that a process said is in the store.
fn check_causes(stories: &mut Stories<'_>, events: &[Event], violations: &mut Violations) {
    let done_before = |run: &RunId, at: Timestamp, could: &dyn Fn(&Act) -> bool| {
        let could_have = events.iter().filter(|event| {
            event.run == *run && event.answer.started <= at && at <= event.answer.ended && could(&event.act)
        });
        could_have.map(|event| event.answer.ended).max()
    };
    let reserves = |act: &Act| matches!(act, Act::Reserve | Act::Wait | Act::TakeOver(_) | Act::Run);
    for position in 0..stories.all.len() {
        let record = stories.all[position].record;
        if done_before(&record.run, record.created_at, &reserves).is_none() {
            violations.push(format!("granted to nobody: {record:?}"));
        }
        let mut over_before = None;
        if let Some((at, by)) = &record.superseded
            && let Some(by) = stories.of(by)
        {
            over_before = done_before(&by.record.run, *at, &reserves);
        }
        if let Some((at, run)) = &record.released {
            let releases = |act: &Act| match act {
                Act::Release(id) | Act::ReleaseForced(id) | Act::TakeOver(id) => *id == record.id,
                Act::ReleaseAll | Act::Run | Act::Wait => true,
                _ => false,
            };
            let released_before = done_before(run, *at, &releases);
            if released_before.is_none() {
                violations.push(format!("released by nobody: {record:?}"));
            }
            over_before = over_before.or(released_before);
        }
        let story = &mut stories.all[position];
        story.over_before = over_before;
        if let Some(event) = story.release {
            let is_so = record.released.as_ref().is_some_and(|(at, run)| {
                event.answer.started <= *at && *at <= event.answer.ended && *run == event.run
            });
            if !is_so {
                violations.push(format!("said to be released: {record:?}: {}", event.answer.brief()));
            }
        }
    }
}

/// Nobody is granted what somebody waits for who asked earlier. A ticket's number is at least the millisecond in which
/// it was drawn, so whatever was granted after that saw it. A take-over does not wait.
fn check_queue(stories: &Stories<'_>, report: &mut MixtureReport) {
    for waiter in &stories.all {
        let Some(ticket) = waiter.record.ticket else { continue };
        report.count("granted in turn");
        let waiter = waiter.record;
        for story in &stories.all {
            let record = story.record;
            let is_drawn = record.created_at.milliseconds_since_1970() > ticket;
            let is_later = record.ticket.is_none_or(|its| its > ticket);
            let is_order = story.granted.is_none_or(|event| matches!(event.act, Act::TakeOver(_)));
            if record.token < waiter.token
                && is_drawn
                && is_later
                && !is_order
                && waiter.stops(&record.run, record.mode, &record.addresses)
            {
                report.violations.push(format!("{waiter:?} was overtaken by {record:?}"));
            }
        }
    }
}

/// Every denial names somebody who may have been in the way.
fn check_denials(stories: &Stories<'_>, events: &[Event], report: &mut MixtureReport) {
    for event in events {
        let answer = &event.answer;
        if !matches!(answer.status(), "conflict" | "wait_timeout") {
            continue;
        }
        report.count("denied");
        let conflicts = answer.json["conflicts"].as_array().map(Vec::as_slice).unwrap_or_default();
        if conflicts.is_empty() {
            report.violations.push(format!("denied by nobody: {}", answer.brief()));
        }
        for conflict in conflicts {
            if conflict["holder"].is_null() {
                report.count("denied by a waiter");
            }
            if !is_plausible(stories, events, event, conflict) {
                report.violations.push(format!(
                    "denied by one who was not there: {} for {:?}: {conflict}",
                    event.run, event.addresses
                ));
            }
        }
    }
}

fn is_plausible(stories: &Stories<'_>, events: &[Event], event: &Event, conflict: &Value) -> bool {
    let answer = &event.answer;
    let address = |field: &str| conflict[field].as_str().and_then(|text| text.parse().ok());
    let (Some(asked), Some(held)) = (address("address"), address("held_address")) else { return false };
    if !event.addresses.contains(&asked) || !asked.overlaps(&held) {
        return false;
    }
    let time_in = |value: &Value, field: &str| -> Option<Timestamp> {
        serde_json::from_value(value[field].clone()).ok()
    };
    let holder = &conflict["holder"];
    if holder.is_null() {
        let waiter = &conflict["waiter"];
        let since = time_in(waiter, "since");
        return since.is_some_and(|since| {
            since <= answer.ended
                && events.iter().any(|other| {
                    matches!(other.act, Act::Wait | Act::Run)
                        && waiter["run_id"] == other.run.as_str()
                        && !event.run.descends_from(&other.run)
                        && other.addresses.contains(&held)
                        && other.answer.started <= since
                        && since <= other.answer.ended
                        // Nobody has given way to those who had gone, unless they were killed.
                        && (other.answer.ended >= answer.started || other.answer.signal.is_some())
                })
        });
    }
    let Some(story) = holder["reservation_id"].as_str().and_then(|id| stories.of(id)) else { return false };
    let record = story.record;
    let is_being_extended = holder["expires_in_seconds"] == 0;
    holder["run_id"] == record.run.as_str()
        && holder["token"] == record.token
        && record.addresses.contains(&held)
        && !event.run.descends_from(&record.run)
        && record.created_at <= answer.ended
        && story.end().is_none_or(|end| answer.started <= end)
        && (is_being_extended || time_in(holder, "expires_at").is_some_and(|expiry| answer.started < expiry))
}

/// A list shows what was certainly held while it was made, and nothing that was over before. A log and `show` tell of
/// everything that was granted before they began.
fn check_lists(stories: &Stories<'_>, events: &[Event], violations: &mut Violations) {
    for event in events {
        let answer = &event.answer;
        if answer.json["exit_code"] != 0 && !matches!(event.act, Act::Show(_)) {
            continue;
        }
        let rows_of = |id: &str| event.rows.iter().filter(|row| row.id == id).count();
        let is_active = matches!(event.act, Act::List | Act::ListAddress(_));
        for story in &stories.all {
            let record = story.record;
            let is_asked = match &event.act {
                Act::List | Act::ListAll | Act::Log => true,
                Act::ListAddress(address) => record.overlaps(std::slice::from_ref(address)),
                Act::LogRun => record.run == event.run,
                _ => continue,
            };
            let is_over = story.over_before.is_some_and(|end| end < answer.started);
            let shown = rows_of(&record.id);
            if shown > 1 {
                violations.push(format!("{:?} shows {} {shown} times", event.act, record.id));
            }
            if is_active && shown > 0 && (is_over || !is_asked) {
                violations.push(format!(
                    "{:?} at {} shows {record:?}, which was over by {:?} or elsewhere",
                    event.act, answer.started, story.over_before
                ));
            }
            let is_told = story.granted.is_some_and(|granted| granted.answer.ended < answer.started);
            let is_held = story.expiry_told_before(answer.started) > answer.ended
                && story.end().is_none_or(|end| answer.ended < end);
            let must_show = match event.act {
                Act::List | Act::ListAddress(_) => is_held,
                Act::ListAll => !record.is_archived,
                Act::LogRun => true,
                _ => false,
            };
            if is_asked && is_told && must_show && shown == 0 {
                violations.push(format!("{:?} hides {record:?}: {}", event.act, answer.brief()));
            }
        }
        for row in &event.rows {
            let is_lapsed = row.effective_expires_at.is_some_and(|expiry| expiry <= answer.started);
            if is_active && (row.state != "active" || is_lapsed) {
                violations.push(format!("{:?} shows what is not held: {row:?}", event.act));
            }
            if stories.of(&row.id).is_none_or(|story| story.record.token != row.token) {
                violations.push(format!("{:?} shows what is nowhere: {row:?}", event.act));
            }
        }
        if event.act == Act::Log && !event.rows.is_sorted_by(|one, other| one.token < other.token) {
            violations.push("a log that is not in the order of the tokens".to_owned());
        }
        // Workers know of what was granted before.
        if let Act::Show(id) = &event.act
            && answer.json["status"] == "not_found"
        {
            violations.push(format!("show does not find {id}: {:?}", stories.of(id).map(|it| it.record)));
        }
    }
}

/// No heartbeat succeeds once a release was reported, and none is refused without a reason.
fn check_stops(stories: &Stories<'_>, events: &[Event], violations: &mut Violations) {
    for story in &stories.all {
        let Some(released) = story.release else { continue };
        for (_, _, beat) in &story.beats {
            if released.answer.ended < beat.answer.started {
                violations.push(format!(
                    "a heartbeat after the release of {:?}: {}",
                    story.record,
                    beat.answer.brief()
                ));
            }
        }
    }
    for event in events {
        let answer = &event.answer;
        let (Act::Heartbeat(id) | Act::Release(id) | Act::ReleaseForced(id)) = &event.act else { continue };
        let Some(record) = stories.of(id).map(|story| story.record) else { continue };
        let released = record.released.as_ref().map(|(at, _)| *at);
        let word = match &event.act {
            Act::Heartbeat(_) => answer.status(),
            _ => answer.json["reservations"][0]["status"].as_str().unwrap_or_default(),
        };
        let is_so = match (word, &event.act) {
            ("already_released", _) => released.is_some_and(|released| released <= answer.ended),
            ("not_found", Act::Heartbeat(_)) => record.superseded.is_some() || record.is_archived,
            // What was released is told to be, wherever it is.
            ("not_found", _) => record.is_archived && released.is_none(),
            ("not_holder", _) => record.run != event.run,
            _ => true,
        };
        if !is_so {
            violations.push(format!("{:?}: {word} of {record:?}: {}", event.act, answer.brief()));
        }
    }
}
