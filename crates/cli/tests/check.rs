//! `muse coord check`: whole answers, as JSON and as text.

#![expect(clippy::disallowed_methods, reason = "tests write and remove files")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;

mod support;

use support::{Held, Json, Muse, NULL, Site, edit, object};

fn check(site: &Site, run: &str, addresses: &[&str]) -> Muse {
    site.coord(&["check"]).run_id(run).args(addresses)
}

/// What an answer has, where only a part is told.
struct Told<'a> {
    run: &'a str,
    addresses: &'a [&'a str],
    shared: &'a [&'a str],
    conflicts: Vec<Json>,
    stale: Vec<Json>,
    missing: Vec<Json>,
    notices: Vec<Json>,
}

impl<'a> Told<'a> {
    fn new(run: &'a str, addresses: &'a [&'a str]) -> Told<'a> {
        Told {
            run,
            addresses,
            shared: &[],
            conflicts: vec![],
            stale: vec![],
            missing: vec![],
            notices: vec![],
        }
    }

    fn clear(&self) -> Json {
        self.fields("ok")
    }

    /// As told with this word, and what is to be done.
    fn refused(&self, status: &str, next: &str, error: &str) -> Json {
        let Json(fields) = self.fields(status);
        let Json(more) = object! { "next": next, "error": error };
        Json(format!("{},{}", fields.strip_suffix('}').unwrap(), more.strip_prefix('{').unwrap()))
    }

    fn fields(&self, status: &str) -> Json {
        object! {
            "status": status, "run_id": self.run, "addresses": *self.addresses, "shared": *self.shared,
            "conflicts": self.conflicts, "stale": self.stale, "missing": self.missing,
            "notices": self.notices,
        }
    }
}

fn overlap(address: &str, held_address: &str, held: &Held, run: &str, mode: &str) -> Json {
    object! {
        "address": address, "held_address": held_address,
        "holder": object! {
            "reservation_id": held.id, "run_id": run, "branch": NULL, "mode": mode, "operation": NULL,
            "token": held.token, "expires_at": "TIME", "expires_in_seconds": 3660_u64,
        },
    }
}

fn lost(address: &str, held_address: &str, held: &Held, by: &Held, run: &str) -> Json {
    object! {
        "address": address, "held_address": held_address, "reservation_id": held.id, "token": held.token,
        "superseded_by": object! { "reservation_id": by.id, "run_id": run, "superseded_at": "TIME" },
    }
}

#[test]
fn what_nobody_else_holds_is_clear_and_nothing_is_written() {
    let site = Site::new();
    site.reserve("alice", "src/a.py::f", &[]);
    let told = site.reserve("carol", "src/", &["--advisory"]);
    let before = site.snapshot();
    let addresses = ["src/a.py::f.g", "src/b.py"];
    let typed = ["src/b.py", "./src/a.py::f::g", "src/b.py"];
    let notices = vec![
        overlap("src/a.py::f.g", "src/", &told, "carol", "advisory"),
        overlap("src/b.py", "src/", &told, "carol", "advisory"),
    ];
    let answer = check(&site, "alice", &typed).json();
    answer.is_json(0, &[], &Told { notices, ..Told::new("alice", &addresses) }.clear());
    check(&site, "alice", &["src/b.py"]).run().is_text(
        0,
        "clear run=alice\n  src/b.py\n",
        "warning: `src/b.py` is held as `src/` by run `carol` for 1h more, and you were not stopped\n",
    );
    check(&site, "alice", &["src/a.py::f.g", "--require"]).run().is_text(
        0,
        "held run=alice\n  src/a.py::f.g\n",
        "warning: `src/a.py::f.g` is held as `src/` by run `carol` for 1h more, and you were not stopped\n",
    );
    assert_eq!(site.snapshot(), before);
}

#[test]
fn whoever_holds_it_is_named_and_whoever_waits_is_not() {
    let site = Site::new();
    let held = site.reserve("alice", "src/", &["--shared"]);
    let before = site.snapshot();
    let next = format!(
        "work elsewhere, or wait for your turn: muse coord reserve ADDRESS... --wait SECONDS --run-id bob; only if \
         run `alice` is known to be dead: muse coord release {} --force --reason TEXT --run-id bob",
        held.id
    );
    let error = "`src/a.py` is held as `src/` by run `alice` for 1h more";
    let conflicts = vec![overlap("src/a.py", "src/", &held, "alice", "shared")];
    let addresses = ["b.py", "src/a.py"];
    let answer = check(&site, "bob", &addresses).json();
    answer.is_json(
        6,
        &[],
        &Told { conflicts, ..Told::new("bob", &addresses) }.refused("conflict", &next, error),
    );
    check(&site, "bob", &addresses).run().is_text(6, "", &format!("error: {error}\nhint: {next}\n"));
    let shared = Told { shared: &addresses, ..Told::new("bob", &addresses) };
    check(&site, "bob", &addresses).arg("--shared").json().is_json(0, &[], &shared.clear());
    check(&site, "alice/1", &addresses).run().is_success();
    assert_eq!(site.snapshot(), before);

    // A process that waits has a ticket, which lies there like this.
    let waits = site.coord(&["reserve", "src/", "--wait", "1"]).run_id("bob").json();
    assert_eq!(waits.code, 7, "{waits:?}");
    site.coord(&["release", "--all"]).run_id("alice").run().is_success();
    check(&site, "carol", &["src/a.py"]).run().is_success();
}

#[test]
fn what_was_lost_stays_stale_until_it_is_reserved_anew() {
    let site = Site::new();
    let held = site.lapsed("alice", "src/a.py::f", 5);
    check(&site, "alice", &["src/a.py"]).run().is_success();
    let taker = site.reserve("bob", "src/", &[]);
    let answer = check(&site, "alice", &["src/a.py"]).json();
    answer.is_json_conflict();
    assert_eq!(answer.value()["conflicts"].as_array().unwrap().len(), 1, "{answer:?}");
    assert_eq!(answer.value()["stale"].as_array().unwrap().len(), 1, "{answer:?}");

    site.coord(&["release", &taker.id]).run_id("bob").run().is_success();
    let before = site.snapshot();
    let next = "reserve it anew, look again at what has become of the code, and change it then: \
                muse coord reserve ADDRESS... --run-id alice";
    let error = "`src/a.py` was yours as `src/a.py::f` until your reservation lapsed, and run `bob` was granted it at \
                 SECOND";
    let stale = vec![lost("src/a.py", "src/a.py::f", &held, &taker, "bob")];
    let told = Told { stale, ..Told::new("alice", &["src/a.py"]) };
    // The sentence is compared as the text, where its time is no string of its own.
    let answer = check(&site, "alice", &["src/a.py"]).json();
    answer.is_json(6, &[], &told.refused("conflict", next, error));
    let answer = check(&site, "alice", &["src/a.py"]).run();
    answer.is_text(6, "", &format!("error: {error}\nhint: {next}\n"));
    for other in ["bob", "alice/1"] {
        check(&site, other, &["src/a.py"]).run().is_success();
    }
    check(&site, "alice", &["src/b.py", "src/a.py::g"]).run().is_success();
    assert_eq!(site.snapshot(), before);

    site.reserve("alice", "src/a.py::g", &[]);
    check(&site, "alice", &["src/a.py"]).json().is_json_conflict();
    let anew = site.reserve("alice", "src/a.py", &[]);
    check(&site, "alice", &["src/a.py", "--require"]).run().is_success();
    site.coord(&["release", &anew.id]).run_id("alice").run().is_success();
    check(&site, "alice", &["src/a.py"]).run().is_success();
}

#[test]
fn what_is_not_held_is_missing_only_where_it_is_required() {
    let site = Site::new();
    site.reserve("alice", "src/", &[]);
    site.reserve("alice", "b.py", &["--shared"]);
    let addresses = ["b.py", "c.py", "src/a.py::f"];
    check(&site, "alice", &addresses).json().is_json(0, &[], &Told::new("alice", &addresses).clear());
    let missing = vec![
        object! { "address": "b.py", "mode": "exclusive" },
        object! { "address": "c.py", "mode": "exclusive" },
    ];
    let next = "reserve it before you change it: muse coord reserve ADDRESS... --run-id alice";
    let error = "`b.py` is not held by run `alice` (exclusive); 1 more not held";
    let told = Told { missing, ..Told::new("alice", &addresses) }.refused("not_held", next, error);
    check(&site, "alice", &addresses).arg("--require").json().is_json(6, &[], &told);
    check(&site, "alice", &addresses).arg("--require").run().is_text(
        6,
        "",
        &format!(
            "error: `b.py` is not held by run `alice` (exclusive)\n\
             error: `c.py` is not held by run `alice` (exclusive)\nhint: {next}\n"
        ),
    );
    let answer = check(&site, "alice", &["b.py", "c.py", "--shared", "--require"]).json();
    assert_eq!(answer.field("error"), "`c.py` is not held by run `alice` (shared)");
    assert!(answer.field("next").contains("ADDRESS... --shared --run-id"), "{answer:?}");
    // A subagent holds what it has reserved itself.
    let answer = check(&site, "alice/1", &["src/a.py", "--require"]).json();
    assert_eq!((answer.code, &*answer.field("status")), (6, "not_held"));
    site.reserve("alice/1", "src/a.py", &[]);
    check(&site, "alice/1", &["src/a.py", "--require"]).run().is_success();
    check(&site, "alice", &["src/a.py", "--require"]).json().is_json_conflict();
}

#[test]
fn what_cannot_be_read_is_never_clear() {
    let damaged: fn(&Site, &Held, &Held) -> std::path::PathBuf =
        |site, standing, _| site.record("reservations", &standing.id);
    let superseded = |site: &Site, _: &Held, lost: &Held| site.record("reservations", &lost.id);
    for (name, path) in [("standing", damaged), ("superseded", superseded)] {
        let site = Site::new();
        let lost = site.lapsed("alice", "a.py", 5);
        let standing = site.reserve("bob", "a.py", &[]);
        site.coord(&["release", &standing.id]).run_id("bob").run().is_success();
        let standing = site.reserve("bob", "b.py", &[]);
        let path = path(&site, &standing, &lost);
        edit(&path, |text| text.replace("\"exclusive\"", "\"shared\""));
        let error = check(&site, "alice", &["c.py"]).json().is_failure(3, "store_damaged", None);
        assert!(
            error.contains(path.to_str().unwrap()) && error.contains("muse coord fsck"),
            "{name}: {error}"
        );
    }
    // What was released is in nobody's way, whether it can be read or not.
    let site = Site::new();
    let lost = site.lapsed("alice", "a.py", 5);
    site.reserve("bob", "a.py", &[]);
    site.coord(&["release", &lost.id]).run_id("alice").run().is_success();
    edit(&site.record("reservations", &lost.id), |text| text.replace("\"exclusive\"", "\"shared\""));
    check(&site, "alice", &["c.py"]).run().is_success();
    // A file that does not belong there may be a record that was renamed.
    fs::write(site.store().join("superseded/planted"), "").unwrap();
    check(&site, "alice", &["c.py"]).json().is_failure(3, "store_damaged", None);
}

#[test]
fn without_a_store_it_says_so() {
    let site = Site::without_store();
    check(&site, "alice", &["a.py"]).json().is_failure(2, "not_a_repository", None);
    let site = Site::new();
    fs::remove_dir_all(site.store().join("superseded")).unwrap();
    check(&site, "alice", &["a.py"]).json().is_failure(3, "store_damaged", None);
}

#[test]
fn what_is_asked_wrongly_is_refused() {
    let site = Site::new();
    site.coord(&["check", "a.py"]).json().is_failure(2, "usage", None);
    check(&site, "alice", &[]).json().is_failure(2, "usage", None);
    check(&site, "", &["a.py"]).json().is_failure(1, "bad_args", None);
    check(&site, "alice", &["../a.py"]).json().is_failure(1, "bad_address", None);
    check(&site, "alice", &["a.py", "--advisory"]).json().is_failure(2, "usage", None);
    let many: Vec<String> = (0..1001).map(|number| format!("{number}.py")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(&site, "alice", &many).json().is_failure(1, "bad_args", None);
    check(&site, "alice", &many[..1000]).run().is_success();
}
