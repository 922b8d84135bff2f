//! `muse coord watch` with real processes: the screen in a real terminal, and the stream beside a busy store.
//!
//! `UPDATE=1 cargo test -p muse-cli --test watch` writes the pictures in `screens/` anew; read the difference.
//! `WATCH_SECONDS=30 cargo test -p muse-cli --test watch busy` keeps the store busy for so long, in place of a number of
//! calls.

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "tests write files, read the environment and start processes")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use muse_coord::{Mode, Stopwatch};
use muse_testkit::process::{signal, until};
use muse_testkit::tmux::Tmux;
use rustix::process::Signal;
use serde_json::Value;

mod support;

use support::Site;

/// A stream of events that is written to a file. Dropped, it is ended.
struct Stream {
    child: Child,
    lines: PathBuf,
    errors: PathBuf,
}

impl Stream {
    fn start(site: &Site, flags: &[&str]) -> Stream {
        let (lines, errors) = (site.at("lines"), site.at("errors"));
        let child = Command::new(env!("CARGO_BIN_EXE_muse"))
            .args(["coord", "watch"])
            .args(flags)
            .current_dir(site.path())
            .env_remove("MUSE_RUN_ID")
            .env_remove("MUSE_REPO_ROOT")
            .stdin(Stdio::null())
            .stdout(File::create(&lines).unwrap())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        Stream { child, lines, errors }
    }

    /// The events so far.
    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.lines).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn words(&self) -> Vec<String> {
        let word = |event: &Value| {
            format!("{} {}", event["run_id"].as_str().unwrap(), event["event"].as_str().unwrap())
        };
        self.events().iter().map(word).collect()
    }

    fn until_said(&self, last: &str) {
        until(last, || self.words().last().is_some_and(|word| word == last));
    }

    fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap()
    }

    /// Ends it by a signal, and returns its exit code.
    fn end(&mut self, by: Signal) -> Option<i32> {
        signal(self.child.id(), by);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Every event has the keys of all, and those of its kind.
fn have_their_keys(events: &[Value]) {
    let keys = |event: &Value| event.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    for event in events {
        assert_eq!(event["schema"], 1);
        assert!(event["time"].is_string() && event["addresses"].is_array(), "{event}");
        assert_eq!(event["token"].is_null(), event["reservation_id"].is_null(), "{event}");
    }
    let common = "schema event time run_id reservation_id addresses token";
    let sorted = |keys: &str| {
        let mut keys: Vec<String> = keys.split(' ').map(str::to_owned).collect();
        keys.sort();
        keys.join(" ")
    };
    for (position, own) in [
        (1, "branch mode operation ttl_seconds expires_at"),
        (2, "by expires_at"),
        (3, "ticket branch mode operation"),
        (4, "by forced reason"),
        (5, "ticket branch mode operation ttl_seconds expires_at"),
        (7, "expired_at superseded_by superseded_by_run"),
        (9, "expires_at"),
        (14, "ticket"),
        (15, "state ended_at"),
    ] {
        assert_eq!(
            sorted(&keys(&events[position])),
            sorted(&format!("{common} {own}")),
            "{}",
            events[position]
        );
    }
}

#[test]
fn the_stream_tells_each_event_as_an_object_of_its_own() {
    let site = Site::new();
    let before = site.reserve("early", "early.py", &[]);
    let mut stream = Stream::start(&site, &["--json", "--since", "1h"]);
    stream.until_said("early granted");
    let alice = site.reserve("alice", "a.py", &["--op", "modify"]);
    stream.until_said("alice granted");
    site.coord(&["heartbeat", &alice.id, "--extension", "7200"]).run_id("boss").json().is_success();
    stream.until_said("alice heartbeat");
    let mut waiter = Command::new(env!("CARGO_BIN_EXE_muse"))
        .args(["coord", "reserve", "a.py", "--run-id", "bob", "--wait", "100", "--json"])
        .current_dir(site.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    stream.until_said("bob waiting");
    site.coord(&["release", &alice.id, "--force", "--reason", "crashed"]).run_id("boss").json().is_success();
    stream.until_said("bob granted");
    assert!(waiter.wait().unwrap().success());
    let carol = site.coord(&["reserve", "c.py", "--ttl", "1"]).run_id("carol").granted();
    stream.until_said("carol lapsed");
    site.coord(&["heartbeat", &carol.id, "--extension", "1"]).run_id("carol").json().is_success();
    until("it lapses again", || stream.words().iter().filter(|word| *word == "carol lapsed").count() == 2);
    let dave = site.coord(&["reserve", "c.py", "--ttl", "100"]).run_id("dave").granted();
    stream.until_said("dave granted");
    let mut gives_up = Command::new(env!("CARGO_BIN_EXE_muse"))
        .args(["coord", "reserve", "c.py", "--run-id", "erin", "--wait", "100", "--json"])
        .current_dir(site.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    stream.until_said("erin waiting");
    signal(gives_up.id(), Signal::INT);
    stream.until_said("erin gave_up");
    gives_up.wait().unwrap();
    site.coord(&["gc", "--older-than", "0"]).json().is_success();
    stream.until_said("carol archived");
    assert_eq!(
        stream.words(),
        [
            "early granted",
            "alice granted",
            "alice heartbeat",
            "bob waiting",
            "alice released",
            "bob granted",
            "carol granted",
            "carol lapsed",
            "carol heartbeat",
            "carol revived",
            "carol lapsed",
            "carol lapsed",
            "dave granted",
            "erin waiting",
            "erin gave_up",
            "alice archived",
            "carol archived",
        ]
    );
    assert_eq!(stream.errors(), "");
    let events = stream.events();
    have_their_keys(&events);
    assert_eq!(events[0]["reservation_id"], before.id);
    assert_eq!((&events[1]["token"], &events[1]["operation"]), (&alice.token.into(), &"modify".into()));
    assert_eq!((&events[2]["by"], &events[4]["by"]), (&"boss".into(), &"boss".into()));
    assert_eq!((&events[4]["forced"], &events[4]["reason"]), (&true.into(), &"crashed".into()));
    assert_eq!((&events[3]["ticket"], events[3]["ticket"].is_u64()), (&events[5]["ticket"], true));
    assert_eq!(events[10]["superseded_by"], Value::Null);
    assert_eq!(
        (&events[11]["superseded_by"], &events[11]["superseded_by_run"]),
        (&dave.id.into(), &"dave".into())
    );
    assert_eq!((&events[15]["state"], &events[16]["state"]), (&"released".into(), &"superseded".into()));
    assert_eq!(stream.end(Signal::TERM), Some(143));
}

#[test]
fn filters_show_a_run_or_what_overlaps() {
    let site = Site::new();
    site.reserve("alice", "src/a.py", &[]);
    site.reserve("bob", "src/b.py", &[]);
    site.reserve("bob", "c.py", &[]);
    let mut by_run = Stream::start(&site, &["--json", "--since", "1h", "--run-id", "bob"]);
    by_run.until_said("bob granted");
    until("both", || by_run.words() == ["bob granted", "bob granted"]);
    by_run.end(Signal::INT);
    let mut by_address = Stream::start(&site, &["--json", "--since", "1h", "--address", "src"]);
    until("both", || by_address.words() == ["alice granted", "bob granted"]);
    assert_eq!(by_address.end(Signal::INT), Some(130));
}

#[test]
fn damage_is_told_once_and_ends_nothing() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let mut stream = Stream::start(&site, &["--json", "--since", "1h"]);
    stream.until_said("alice granted");
    let record = site.record("reservations", &held.id);
    let whole = fs::read(&record).unwrap();
    fs::write(&record, b"{").unwrap();
    // Something happens, so that it is looked at.
    for name in ["bob", "carol"] {
        site.fabricate(name, &format!("{name}.py"), Mode::Exclusive, 0, 100);
        stream.until_said(&format!("{name} granted"));
    }
    until("it is told", || stream.errors().contains("is damaged"));
    assert_eq!(stream.errors().matches("warning: ").count(), 1, "{}", stream.errors());
    fs::write(&record, whole).unwrap();
    site.coord(&["release", &held.id]).run_id("alice").json().is_success();
    stream.until_said("alice released");
    assert_eq!(stream.words(), ["alice granted", "bob granted", "carol granted", "alice released"]);
    assert_eq!(stream.end(Signal::TERM), Some(143));
}

#[test]
fn whoever_stops_reading_ends_it_quietly() {
    let site = Site::new();
    site.reserve("alice", "a.py", &[]);
    for flags in ["--json --since 1h", "--since 1h"] {
        let muse = env!("CARGO_BIN_EXE_muse");
        let line = format!("'{muse}' coord watch {flags} | head -n 1; echo \"ended ${{PIPESTATUS[0]}}\"");
        let output = Command::new("bash").args(["-c", &line]).current_dir(site.path()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.ends_with("ended 0\n") && said.contains("granted"), "{said}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    }
}

#[test]
fn what_cannot_be_begun_is_a_failure_as_of_every_command() {
    let site = Site::new();
    site.coord(&["watch", "--since", "yesterday"]).json().is_failure(1, "bad_args", None);
    site.coord(&["watch", "--address", "../x"]).json().is_failure(1, "bad_address", None);
    site.coord(&["watch", "--until", "1h"]).json().is_failure(2, "usage", None);
    let nowhere = Site::without_store();
    nowhere.coord(&["watch"]).json().is_failure(2, "not_a_repository", None);
    nowhere.coord(&["watch"]).run().is_text_failure(2, &["error: "]);
}

/// How many processes are busy, and how many calls each makes where no time is given.
const BUSY: usize = 16;
const CALLS_EACH: usize = 30;

#[test]
fn a_busy_store_is_told_as_the_log_tells_it() {
    let site = Site::new();
    let mut stream = Stream::start(&site, &["--json", "--since", "1h"]);
    let seconds: u64 = std::env::var("WATCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let busy_for = Stopwatch::start();
    let goes_on = |calls: usize| match seconds {
        0 => calls < CALLS_EACH,
        seconds => busy_for.elapsed().as_secs() < seconds,
    };
    let working = AtomicUsize::new(BUSY);
    thread::scope(|scope| {
        for worker in 0..BUSY {
            let (site, working, goes_on) = (&site, &working, &goes_on);
            scope.spawn(move || {
                work(site, worker, goes_on);
                working.fetch_sub(1, Ordering::SeqCst);
            });
        }
        // Whatever is over goes into the archive at once, while others work.
        while working.load(Ordering::SeqCst) > 0 {
            let answer = site.coord(&["gc", "--older-than", "0"]).json();
            assert!(answer.code == 0 || answer.stdout.contains("store_busy"), "{answer:?}");
        }
    });
    site.coord(&["gc", "--older-than", "0"]).json().is_success();

    let log = site.coord(&["log", "--limit", "100000"]).json();
    log.is_success();
    let log = log.value();
    let entries = log["entries"].as_array().unwrap();
    let among = |events: &[Value], word: &str| events.iter().filter(|event| event["event"] == word).count();
    let count = |word: &str| among(&stream.events(), word);
    let archived = entries.iter().filter(|entry| entry["archived"] == true).count();
    until("all is told", || count("granted") >= entries.len() && count("archived") >= archived);
    assert_eq!(stream.end(Signal::TERM), Some(143));
    assert_eq!(stream.errors(), "");

    let events = stream.events();
    let of = |word: &'static str| events.iter().filter(move |event| event["event"] == word);
    let told = |event: &Value, more: &[&str]| {
        let keys = ["reservation_id", "run_id", "token", "addresses", "time"];
        keys.iter().chain(more).map(|key| event[key].clone()).collect::<Vec<Value>>()
    };
    let logged = |entry: &Value, time: &str, more: &[&str]| {
        let keys = ["reservation_id", "run_id", "token", "addresses", time];
        keys.iter().chain(more).map(|key| entry[key].clone()).collect::<Vec<Value>>()
    };
    // Every grant once, in the order of the tokens, which is that of the log.
    let granted: Vec<_> = of("granted").map(|event| told(event, &["mode"])).collect();
    let expected: Vec<_> = entries.iter().map(|entry| logged(entry, "created_at", &["mode"])).collect();
    assert!(granted == expected, "{} granted, {} in the log", granted.len(), expected.len());
    // Every release once, with by whom and why.
    let by_id = |rows: Vec<Vec<Value>>| {
        let count = rows.len();
        let by_id: BTreeMap<String, Vec<Value>> =
            rows.into_iter().map(|row| (row[0].as_str().unwrap().to_owned(), row)).collect();
        assert_eq!(by_id.len(), count, "told twice");
        by_id
    };
    let released = by_id(of("released").map(|event| told(event, &["by", "forced", "reason"])).collect());
    let is_released = |entry: &&Value| entry["state"] == "released";
    let expected = entries.iter().filter(is_released);
    let expected =
        by_id(expected.map(|entry| logged(entry, "ended_at", &["ended_by", "forced", "reason"])).collect());
    assert!(released == expected, "{} released, {} in the log", released.len(), expected.len());
    // Every move into the archive once.
    let moved = by_id(of("archived").map(|event| told(event, &["state"])).collect());
    assert_eq!(moved.len(), archived);
    // And in each reservation's own order.
    let mut last: HashMap<&str, usize> = HashMap::new();
    for event in &events {
        let Some(id) = event["reservation_id"].as_str() else { continue };
        let rank = match event["event"].as_str().unwrap() {
            "granted" => 1,
            "released" => 3,
            "archived" => 4,
            _ => 2,
        };
        let before = last.insert(id, rank).unwrap_or(0);
        assert!(before <= rank && (before > 0 || rank == 1), "{event}");
    }
    println!(
        "{} events: {} granted, {} released, {} archived, {} heartbeats",
        events.len(),
        granted.len(),
        released.len(),
        moved.len(),
        among(&events, "heartbeat")
    );
    assert!(granted.len() > BUSY && released.len() > BUSY, "the store was not busy");
}

/// Reserves, extends and releases whatever comes.
fn work(site: &Site, worker: usize, goes_on: &dyn Fn(usize) -> bool) {
    let run = format!("worker-{worker}");
    // A plain generator of numbers: the same calls each time.
    let mut random = worker + 1;
    let mut number = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut held: Vec<String> = Vec::new();
    let mut calls = 0;
    while goes_on(calls) {
        calls += 1;
        let answer = match number(10) {
            0..5 => {
                let address = format!("src/f{}.py", number(24));
                let ttl = if number(8) == 0 { "1" } else { "100" };
                let answer = site.coord(&["reserve", &address, "--ttl", ttl]).run_id(&run).json();
                if answer.code == 0 {
                    held.push(answer.field("reservation_id"));
                }
                answer
            }
            5 | 6 if !held.is_empty() => {
                let id = &held[number(held.len())];
                site.coord(&["heartbeat", id, "--extension", "100"]).run_id(&run).json()
            }
            _ if !held.is_empty() => {
                let id = held.swap_remove(number(held.len()));
                site.coord(&["release", &id, "--reason", "done"]).run_id(&run).json()
            }
            _ => continue,
        };
        assert!([0, 1, 4, 6].contains(&answer.code) || answer.stdout.contains("store_busy"), "{answer:?}");
    }
}

// The screen.

/// A terminal with a shell, of this size.
fn terminal(site: &Site, columns: u16, lines: u16) -> Tmux {
    let tmux = Tmux::start(site.path());
    tmux.resize(columns, lines);
    tmux
}

fn watch(tmux: &Tmux, flags: &str) {
    tmux.line(&format!("'{}' coord watch {flags}", env!("CARGO_BIN_EXE_muse")));
}

/// Waits until a line of the screen holds the text.
fn until_seen(tmux: &Tmux, text: &str) {
    let mut lines = Vec::new();
    let is_seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until(text, || {
            lines = tmux.lines(false);
            lines.iter().any(|line| line.contains(text))
        });
    }));
    assert!(is_seen.is_ok(), "no {text:?} on\n{}", lines.join("\n"));
}

/// The screen without what changes: times of day, ids, and how much is left in numbers.
fn redacted(tmux: &Tmux) -> String {
    let mut text = String::new();
    for line in tmux.lines(false) {
        let bar = line.rfind(['█', '░']).map(|at| at + '█'.len_utf8());
        let line = match bar {
            Some(end) => format!("{} LEFT", &line[..end]),
            None => line,
        };
        let bytes: Vec<char> = line.chars().collect();
        let is_clock = |at: usize| {
            bytes.get(at..at + 8).is_some_and(|part| {
                part.iter().enumerate().all(|(place, character)| match place {
                    2 | 5 => *character == ':',
                    _ => character.is_ascii_digit(),
                })
            })
        };
        let mut at = 0;
        let mut since = false;
        let mut words = String::new();
        while at < bytes.len() {
            if is_clock(at) {
                words.push_str("HH:MM:SS");
                at += 8;
                continue;
            }
            since |= words.ends_with(" since ") || words.ends_with("Z, ");
            if since && (bytes[at].is_ascii_digit() || "smh ".contains(bytes[at])) && bytes[at] != '(' {
                if bytes[at] == ' ' && !bytes.get(at + 1).is_some_and(char::is_ascii_digit) {
                    since = false;
                    words.push_str("AGE ");
                }
                at += 1;
                continue;
            }
            since = false;
            words.push(bytes[at]);
            at += 1;
        }
        text.push_str(words.trim_end());
        text.push('\n');
    }
    text
}

/// Compares the screen with a picture of it.
fn is_as_pictured(tmux: &Tmux, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/screens/{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, redacted(tmux)).unwrap();
    }
    let picture = fs::read_to_string(&path).unwrap_or_default();
    let mut shown = String::new();
    let is_equal = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // A picture may be half drawn when it is taken.
        until(name, || {
            shown = redacted(tmux);
            shown == picture
        });
    }));
    assert!(
        is_equal.is_ok(),
        "{name}: if this is meant, run with UPDATE=1 and read the difference:\n{shown}"
    );
}

/// Three holders: one with half of its time, one with little, one that tries to break the screen.
fn three(site: &Site) {
    site.fabricate("alice", "src/billing.py::Invoice.total", Mode::Exclusive, -1850, 3600);
    site.fabricate("carol/sub-1", "docs/", Mode::Shared, -3300, 3600);
    let hostile = "bo\u{1b}[31mb\u{7}\u{202e}日本語のとても長い名前のエージェント\u{200b}\u{1f44d}\u{1f3fd}";
    site.fabricate(hostile, "データ/請求書/とても長い名前のファイル.py", Mode::Advisory, -100, 36_000);
}

#[test]
fn the_screen_at_both_sizes_with_nothing_three_and_five_hundred() {
    let site = Site::new();
    for (columns, lines) in [(80, 24), (200, 60)] {
        let tmux = terminal(&site, columns, lines);
        watch(&tmux, "--since 2h");
        until_seen(&tmux, "nothing is reserved");
        is_as_pictured(&tmux, &format!("none-{columns}x{lines}"));
        tmux.key("q");
        tmux.until_shown("ready>");
    }
    let site = Site::new();
    three(&site);
    for (columns, lines) in [(80, 24), (200, 60)] {
        let mut waiter = site
            .coord(&["reserve", "src/billing.py", "--wait", "100", "--json"])
            .run_id("wim")
            .command
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let tmux = terminal(&site, columns, lines);
        until("wim waits", || fs::read_dir(site.store().join("waiting")).unwrap().count() == 1);
        watch(&tmux, "--since 2h");
        until_seen(&tmux, "3 held, 1 waiting");
        until_seen(&tmux, "granted   carol/sub-1");
        is_as_pictured(&tmux, &format!("three-{columns}x{lines}"));
        tmux.key("q");
        tmux.until_shown("ready>");
        signal(waiter.id(), Signal::INT);
        waiter.wait().unwrap();
    }
    let site = Site::new();
    for number in 1..=500 {
        site.fabricate(
            &format!("agent-{number:03}"),
            &format!("src/f{number}.py"),
            Mode::Exclusive,
            -1000 - number,
            3600,
        );
    }
    for (columns, lines) in [(80, 24), (200, 60)] {
        let tmux = terminal(&site, columns, lines);
        watch(&tmux, "--since 2h");
        until_seen(&tmux, "500 held, 0 waiting");
        until_seen(&tmux, "granted   agent-001");
        is_as_pictured(&tmux, &format!("many-{columns}x{lines}"));
        tmux.key("End");
        until_seen(&tmux, "> agent-001");
        is_as_pictured(&tmux, &format!("many-end-{columns}x{lines}"));
        tmux.key("q");
        tmux.until_shown("ready>");
    }
}

#[test]
fn keys_sort_filter_tell_more_and_end() {
    let site = Site::new();
    three(&site);
    let tmux = terminal(&site, 80, 24);
    watch(&tmux, "");
    until_seen(&tmux, "3 held, 0 waiting");
    assert_eq!(tmux.is_alternate_with_cursor(), (true, false));
    let first = || tmux.lines(false)[2].clone();
    assert!(first().starts_with("> carol/sub-1"), "{}", first());
    for (sort, run) in [("by run", "  alice"), ("by address", "  carol"), ("by token", "  carol")] {
        tmux.text("s");
        until_seen(&tmux, sort);
        until(sort, || first().trim_start_matches('>').trim_start().starts_with(run.trim_start()));
    }
    // What was selected stays selected.
    until_seen(&tmux, "> carol/sub-1");
    tmux.text("s");
    until_seen(&tmux, "by time left");
    tmux.text("/BILL");
    until_seen(&tmux, "run or address: BILL_");
    until_seen(&tmux, "/BILL  1 shown");
    assert!(first().starts_with("> alice"), "{}", first());
    // In a filter every letter is one, `q` too.
    tmux.text("qqs");
    until_seen(&tmux, "nothing of that is reserved");
    for _ in 0..3 {
        tmux.key("BSpace");
    }
    until_seen(&tmux, "/BILL  1 shown");
    tmux.key("Enter");
    until_seen(&tmux, "q end  / filter");
    tmux.key("Enter");
    until_seen(&tmux, "state    active");
    until_seen(&tmux, "address  src/billing.py::Invoice.total");
    let id = tmux.lines(false)[1].clone();
    assert_eq!(id.len(), "id       sha256:".len() + 64, "the id is whole: {id}");
    tmux.key("Escape");
    until_seen(&tmux, "HOLDER");
    tmux.key("Escape");
    until("no filter", || !tmux.lines(false)[0].contains("BILL"));
    tmux.key("Home");
    until_seen(&tmux, "> carol");
    tmux.key("Down");
    until_seen(&tmux, "> alice");
    tmux.text("?");
    until_seen(&tmux, "filter by run or address");
    tmux.key("Space");
    until_seen(&tmux, "HOLDER");
    // What happens is seen at once.
    site.reserve("zoe", "z.py", &[]);
    until_seen(&tmux, "granted   zoe");
    until_seen(&tmux, "4 held");
    tmux.key("C-c");
    tmux.until_shown("ready>");
    assert_eq!(tmux.is_alternate_with_cursor(), (false, true));
}

/// The first line, the last and one between are there again, at 80x24, and `q` ends the screen.
fn is_whole_and_ends(tmux: &Tmux) {
    until_seen(tmux, "q end  / filter  s sort");
    until_seen(tmux, "3 held, 0 waiting");
    until_seen(tmux, "> carol/sub-1");
    tmux.text("q");
    tmux.until_shown("ready>");
}

#[test]
fn the_screen_follows_its_size_however_small() {
    let site = Site::new();
    three(&site);
    let tmux = terminal(&site, 80, 24);
    watch(&tmux, "");
    until_seen(&tmux, "3 held, 0 waiting");
    for (columns, lines) in [(200, 60), (40, 10), (10, 3), (3, 2), (1, 1), (120, 12), (80, 24)] {
        tmux.resize(columns, lines);
        until("the size", || tmux.lines(false).len() <= usize::from(lines));
    }
    is_whole_and_ends(&tmux);
}

/// Terminals move what they show when their size changes, and a size that is back before anybody asks for it is none
/// that has changed.
#[test]
fn a_size_that_comes_back_is_drawn_anew() {
    let site = Site::new();
    three(&site);
    let tmux = terminal(&site, 80, 24);
    let muse = env!("CARGO_BIN_EXE_muse");
    tmux.line(&format!("sh -c 'tty > tty; echo $$ > pid; exec \"{muse}\" coord watch'"));
    until_seen(&tmux, "q end  / filter  s sort");
    let read = |name: &str| fs::read_to_string(site.at(name)).unwrap().trim().to_owned();
    // What a terminal may do to the picture on the way from one size to another and back.
    fs::write(read("tty"), "\x1b[2J").unwrap();
    until("the picture is gone", || !tmux.lines(false).iter().any(|line| line.contains("q end")));
    signal(read("pid").parse().unwrap(), Signal::WINCH);
    is_whole_and_ends(&tmux);
}

#[test]
fn the_terminal_is_given_back_whatever_ends_it() {
    let site = Site::new();
    three(&site);
    for (end, code) in [("q", 0), ("C-c", 0), ("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let tmux = terminal(&site, 80, 24);
        tmux.line("stty -a > before; echo ready-to-go");
        tmux.until_shown("ready-to-go");
        let muse = env!("CARGO_BIN_EXE_muse");
        tmux.line(&format!("sh -c 'echo $$ > pid; exec \"{muse}\" coord watch'; echo \"ended $?\""));
        until_seen(&tmux, "3 held, 0 waiting");
        let pid = || fs::read_to_string(site.at("pid")).unwrap().trim().parse().unwrap();
        match end {
            "q" | "C-c" => tmux.key(end),
            "TERM" => signal(pid(), Signal::TERM),
            "HUP" => signal(pid(), Signal::HUP),
            _ => signal(pid(), Signal::INT),
        }
        tmux.until_shown(&format!("ended {code}"));
        assert_eq!(tmux.is_alternate_with_cursor(), (false, true), "{end}");
        assert!(!tmux.lines(false).iter().any(|line| line.contains("HOLDER")), "{end}");
        tmux.line("stty -a > after; echo compared");
        tmux.until_shown("compared");
        let read = |name: &str| fs::read_to_string(site.at(name)).unwrap();
        assert_eq!(read("after"), read("before"), "{end}");
    }
}

/// The last step of a move is that the store's lock gets another name, and says where to.
#[test]
fn the_screen_ends_when_the_store_is_moved() {
    let site = Site::new();
    three(&site);
    let tmux = terminal(&site, 80, 24);
    watch(&tmux, "; echo \"ended $?\"");
    until_seen(&tmux, "3 held, 0 waiting");
    fs::write(site.store().join("lock"), "etcd far away").unwrap();
    fs::rename(site.store().join("lock"), site.store().join("moved")).unwrap();
    tmux.until_shown("ended 5");
    until_seen(&tmux, "etcd far away");
    assert_eq!(tmux.is_alternate_with_cursor(), (false, true));
}

#[test]
fn colour_is_there_unless_it_is_not_wanted() {
    let site = Site::new();
    three(&site);
    let is_coloured = |before: &str| {
        let tmux = terminal(&site, 80, 24);
        tmux.line(&format!("{before} '{}' coord watch", env!("CARGO_BIN_EXE_muse")));
        until_seen(&tmux, "3 held, 0 waiting");
        let styled = tmux.lines(true).join("\n");
        tmux.text("q");
        ["\u{1b}[38;", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"].iter().any(|colour| styled.contains(colour))
    };
    assert!(is_coloured(""));
    assert!(!is_coloured("NO_COLOR=1"));
}

#[test]
fn a_dumb_terminal_gets_lines() {
    let site = Site::new();
    site.reserve("alice", "a.py", &[]);
    let tmux = terminal(&site, 120, 24);
    tmux.line(&format!("TERM=dumb '{}' coord watch --since 1h", env!("CARGO_BIN_EXE_muse")));
    until_seen(&tmux, "granted   alice a.py: exclusive");
    assert_eq!(tmux.is_alternate_with_cursor(), (false, true));
    tmux.key("C-c");
    tmux.until_shown("ready>");
}
