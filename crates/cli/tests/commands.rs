//! Every command but `heartbeat ID` and `demo` against the table "Answers" of `spec/coordination.md`: whole
//! answers, as JSON and as text.

#![expect(clippy::disallowed_methods, reason = "tests write and move files, and start a shell")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;

use muse_coord::Mode;

mod support;

use support::{ABSENT, Answer, HOUR, Held, Json, Muse, NULL, Site, from_now, names, object, tool};

fn reserve(site: &Site, run: &str, addresses: &[&str]) -> Muse {
    site.coord(&["reserve", "--ttl", HOUR]).run_id(run).args(addresses)
}

/// The fields of a grant, the notices left to the caller.
struct Granted<'a> {
    run: &'a str,
    addresses: &'a [&'a str],
    mode: &'a str,
    operation: Option<&'a str>,
    ttl: u64,
    renewed: bool,
    notices: Vec<Json>,
}

impl<'a> Granted<'a> {
    fn new(run: &'a str, addresses: &'a [&'a str]) -> Granted<'a> {
        Granted {
            run,
            addresses,
            mode: "exclusive",
            operation: None,
            ttl: 3630,
            renewed: false,
            notices: vec![],
        }
    }

    fn json(&self, held: &Held) -> Json {
        object! {
            "status": "ok", "reservation_id": held.id, "token": held.token, "run_id": self.run, "branch": NULL,
            "addresses": *self.addresses, "mode": self.mode, "operation": self.operation,
            "ttl_seconds": self.ttl, "created_at": "TIME", "expires_at": "TIME", "renewed": self.renewed,
            "notices": self.notices,
        }
    }

    /// The answer is this grant. Id and token are what the answer says, held against the record.
    #[track_caller]
    fn is(&self, site: &Site, answer: &Answer) -> Held {
        let value = answer.value();
        let held = Held {
            id: value["reservation_id"].as_str().unwrap_or_default().to_owned(),
            token: value["token"].as_u64().unwrap_or_default(),
        };
        answer.is_json(0, &[], &self.json(&held));
        let record: serde_json::Value =
            serde_json::from_slice(&fs::read(site.record("reservations", &held.id)).unwrap()).unwrap();
        for field in ["reservation_id", "token", "run_id", "branch", "addresses", "mode", "created_at"] {
            assert_eq!(record[field], value[field], "{field}");
        }
        held
    }
}

/// A conflict or a notice.
fn overlap(address: &str, held_address: &str, held: &Held, run: &str, mode: &str, left: u64) -> Json {
    overlap_of(address, held_address, held, run, mode, None, left)
}

fn overlap_of(
    address: &str,
    held_address: &str,
    held: &Held,
    run: &str,
    mode: &str,
    operation: Option<&str>,
    left: u64,
) -> Json {
    object! {
        "address": address, "held_address": held_address,
        "holder": object! {
            "reservation_id": held.id, "run_id": run, "branch": NULL, "mode": mode, "operation": operation,
            "token": held.token, "expires_at": "TIME", "expires_in_seconds": left,
        },
    }
}

// init

#[test]
fn init_makes_the_store_once() {
    let site = Site::without_store();
    let fields = |created: bool| {
        object! {
            "status": "ok", "created": created, "top": site.path().to_str().unwrap(),
            "store": site.store().to_str().unwrap(),
        }
    };
    site.muse(&["init"]).json().is_json(0, &[], &fields(true));
    let mut expected = support::ROOMS.to_vec();
    expected.extend(["lock", "token"]);
    expected.sort_unstable();
    assert_eq!(names(&site.store()), expected);
    assert_eq!(names(&site.at(".muse")), ["coordination"], "outside Git there is nothing to ignore");
    let before = site.snapshot();
    site.muse(&["init"]).json().is_json(0, &[], &fields(false));
    site.muse(&["init"]).run().is_text(
        0,
        &format!("the store is there already: {}\n", site.store().display()),
        "",
    );
    assert_eq!(site.snapshot(), before, "the second call changes nothing");

    let site = Site::without_store();
    site.muse(&["init"]).run().is_text(
        0,
        &format!("made the store {}\n", site.store().display()),
        "hint: reserve what you are about to change: muse coord reserve PATH::SYMBOL --run-id ID\n",
    );
}

#[test]
fn init_makes_again_what_was_deleted_from_the_store() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    for room in ["tmp", "heartbeats"] {
        fs::remove_dir(site.store().join(room)).unwrap();
    }
    fs::remove_file(site.store().join("token")).unwrap();
    let error = reserve(&site, "bob", &["b.py"]).json().is_failure(3, "store_damaged", None);
    assert!(error.contains("`muse init` makes it again"), "{error}");
    site.muse(&["init"]).run().is_success();
    let later = site.reserve("bob", "b.py", &[]);
    assert!(later.token > held.token);
    reserve(&site, "bob", &["a.py"]).json().is_json_conflict();
}

// reserve

#[test]
fn a_grant_tells_everything() {
    let site = Site::new();
    let answer = reserve(&site, "alice", &["b.py", "./a.py", "a.py", "src//x/../c.py::A::b"]).json();
    let held = Granted::new("alice", &["a.py", "b.py", "src/c.py::A.b"]).is(&site, &answer);
    let text = fs::read_to_string(site.record("reservations", &held.id)).unwrap();
    assert_eq!(
        support::redact(&text),
        format!(
            "{{\n  \"schema_version\": 1,\n  \"reservation_id\": \"{}\",\n  \"run_id\": \"alice\",\n  \
             \"branch\": null,\n  \"addresses\": [\n    \"a.py\",\n    \"b.py\",\n    \"src/c.py::A.b\"\n  ],\n  \
             \"mode\": \"exclusive\",\n  \"operation\": null,\n  \"token\": {},\n  \"ttl_seconds\": 3630,\n  \
             \"created_at\": \"TIME\",\n  \"expires_at\": \"TIME\"\n}}\n",
            held.id, held.token
        )
    );
    let now = u64::try_from(from_now(0).as_microseconds() / 1000).unwrap();
    assert!((now - 60_000..=now).contains(&held.token), "milliseconds since 1970: {}", held.token);

    let answer = site.coord(&["reserve", "z.py", "y.py"]).args(&["--ttl", HOUR]).run_id("bob").run();
    let id = answer.stdout.split(' ').nth(1).unwrap().to_owned();
    let token = answer.stdout.split("token=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    answer.is_text(0, &format!("reserved {id} run=bob token={token} expires in 1h\n  y.py\n  z.py\n"), "");
    site.coord(&["show", &id]).run().is_success();
}

#[test]
fn modes_and_operations_are_recorded() {
    let site = Site::new();
    let operations = ["modify", "rename", "move", "extract", "delete", "inline", "split", "merge"];
    for (position, operation) in operations.into_iter().enumerate() {
        let address = format!("{position}.py");
        for (mode, flag) in
            [("exclusive", None), ("shared", Some("--shared")), ("advisory", Some("--advisory"))]
        {
            let address = format!("{mode}{address}");
            let flags: Vec<&str> = flag.into_iter().collect();
            let answer = reserve(&site, "alice", &[&address]).args(&flags).args(&["--op", operation]).json();
            Granted { mode, operation: Some(operation), ..Granted::new("alice", &[&address]) }
                .is(&site, &answer);
        }
    }
    for wrong in [
        &["--op", "refactor"][..],
        &["--op", "Modify"],
        &["--op", ""],
        &["--op"],
        &["--op", "modify", "--op", "modify"],
        &["--shared", "--advisory"],
        &["--exclusive"],
        &["--mode", "shared"],
        &["--adv"],
    ] {
        reserve(&site, "alice", &["new.py"]).args(wrong).json().is_failure(2, "usage", None);
    }
    reserve(&site, "alice", &[]).json().is_failure(2, "usage", None);
}

#[test]
fn tokens_rise() {
    let site = Site::new();
    let mut last = 0;
    for position in 0..20 {
        let held = site.reserve("alice", &format!("{position}.py"), &["--shared"]);
        assert!(held.token > last);
        last = held.token;
        assert_eq!(fs::read_to_string(site.store().join("token")).unwrap(), format!("{last}\n"));
    }
    // A clock that was set back does not matter.
    fs::write(site.store().join("token"), "9007199254740000\n").unwrap();
    assert_eq!(site.reserve("alice", "x.py", &[]).token, 9_007_199_254_740_001);
}

#[test]
fn the_ttl_has_a_range_and_a_default() {
    let site = Site::new();
    for (flags, ttl) in [(&[][..], 3600), (&["--ttl", "1"], 1), (&["--ttl", "31536000"], 31_536_000)] {
        let address = format!("{ttl}.py");
        let answer = site.coord(&["reserve", &address]).run_id("alice").args(flags).json();
        Granted { ttl, ..Granted::new("alice", &[&address]) }.is(&site, &answer);
        let record = fs::read(site.record("reservations", &answer.field("reservation_id"))).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let time = |name: &str| {
            serde_json::from_value::<muse_coord::Timestamp>(record[name].clone()).unwrap().as_microseconds()
        };
        assert_eq!(u64::try_from(time("expires_at") - time("created_at")).unwrap(), ttl * 1_000_000);
    }
    let before = site.snapshot();
    for wrong in ["0", "-1", "31536001", &"9".repeat(400), &format!("-{}", "9".repeat(400))] {
        let answer = site.coord(&["reserve", "x.py", "--ttl", wrong]).run_id("alice").json();
        let sentence = "--ttl must be from 1 to 31536000 seconds; nothing was changed";
        answer.is_json(1, &[], &object! { "status": "bad_args", "error": sentence });
    }
    for wrong in [" 60 ", "+60", "1_000", "60.0", "٦٠", "1h", ""] {
        let answer = site.coord(&["reserve", "x.py"]).arg(format!("--ttl={wrong}")).run_id("alice").json();
        answer.is_failure(2, "usage", None);
    }
    assert_eq!(site.snapshot(), before);
}

#[test]
fn a_call_takes_1000_addresses_of_4096_bytes() {
    let site = Site::new();
    let many: Vec<String> = (0..1001).map(|number| format!("{number:04}.py")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = reserve(&site, "alice", &many).json().is_failure(1, "bad_args", None);
    assert!(error.contains("1001") && error.contains("1000"), "{error}");
    let long = |bytes: usize| {
        format!("{}.py", "d/".repeat((bytes - 4) / 2) + if bytes % 2 == 1 { "xy" } else { "x" })
    };
    assert_eq!((long(4096).len(), long(4097).len()), (4096, 4097));
    let error = reserve(&site, "alice", &[&long(4097)]).json().is_failure(1, "bad_address", None);
    assert!(error.contains("4096"), "{error}");
    assert!(error.len() < 1000, "a sentence, not the address: {} bytes", error.len());
    assert!(names(&site.store().join("reservations")).is_empty());
    let answer = reserve(&site, "alice", &many[..1000]).json();
    Granted::new("alice", &many[..1000]).is(&site, &answer);
    let address = long(4096);
    Granted::new("alice", &[&address]).is(&site, &reserve(&site, "alice", &[&address]).json());
}

#[test]
fn a_denial_names_who_and_what_next_and_writes_nothing() {
    let site = Site::new();
    let held = site.reserve("alice", "src/", &["--op", "rename"]);
    let other = site.reserve("it's $HOME", "lib/b.py::B", &["--shared"]);
    let before = site.snapshot();
    let call = || reserve(&site, "bob the 2nd", &["lib/b.py", "free.py", "src/a.py::f"]);
    let release = format!("muse coord release {} --force --reason TEXT --run-id 'bob the 2nd'", other.id);
    let fields = object! {
        "status": "conflict",
        "conflicts": [
            overlap("lib/b.py", "lib/b.py::B", &other, "it's $HOME", "shared", 3660),
            overlap_of("src/a.py::f", "src/", &held, "alice", "exclusive", Some("rename"), 3660),
        ],
        "next": format!(
            "work elsewhere and reserve again in 3660 s or when it is released; \
             only if run `it's $HOME` is known to be dead: {release}"
        ),
        "error": "`lib/b.py` is held as `lib/b.py::B` by run `it's $HOME` for 1h more; 1 more in the way",
    };
    let answer = call().json();
    answer.is_json(6, &[], &fields);
    call().run().is_text(
        6,
        "",
        &format!(
            "error: `lib/b.py` is held as `lib/b.py::B` by run `it's $HOME` for 1h more\n\
             error: `src/a.py::f` is held as `src/` by run `alice` (rename) for 1h more\n\
             hint: work elsewhere and reserve again in 3660 s or when it is released; \
             only if run `it's $HOME` is known to be dead: {release}\n"
        ),
    );
    assert_eq!(site.snapshot(), before, "a denied request writes nothing");

    // The command that it proposes works, as it is, in a shell.
    let answer = call().json();
    let next = answer.field("next");
    let (_, proposed) = next.split_once("known to be dead: ").unwrap();
    let program = env!("CARGO_BIN_EXE_muse");
    let shell = proposed.replacen("muse ", &format!("'{program}' "), 1);
    let output = tool("sh", site.path(), &["-c", &shell]);
    assert!(output.status.success(), "{output:?}");
    let answer = call().json();
    answer.is_json_conflict();
    assert_eq!(answer.value()["conflicts"].as_array().unwrap().len(), 1);
    site.coord(&["release", &held.id]).run_id("alice").run().is_success();
    let addresses = ["free.py", "lib/b.py", "src/a.py::f"];
    Granted::new("bob the 2nd", &addresses).is(&site, &call().json());
}

#[test]
fn a_proposed_command_is_quoted_whatever_the_run_is_called() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    for run in
        ["a b", "it's", "$(touch pwned)", "`touch pwned`", "a\\", "\"", "-x", "--force", "é💓", "a;b", "#"]
    {
        let answer = site.coord(&["reserve", "a.py", &format!("--run-id={run}")]).json();
        let next = answer.field("next");
        let proposed = next.split_once("known to be dead: ").unwrap().1;
        // Only seen to be parsed as it was meant: no store is found from there.
        let elsewhere = Site::without_store();
        let program = env!("CARGO_BIN_EXE_muse");
        let shell = proposed.replacen("muse ", &format!("'{program}' "), 1);
        let output = Answer::of(tool("sh", elsewhere.path(), &["-c", &shell]));
        assert_eq!(output.code, 2, "{run:?}: {output:?}");
        assert!(output.stderr.contains("is not in a muse repository"), "{run:?}: {output:?}");
        assert!(names(elsewhere.path()).is_empty());
    }
    assert!(!held.id.is_empty());
}

#[test]
fn conflicts_are_sorted_and_all_there() {
    let site = Site::new();
    let shared: Vec<Held> =
        ["c", "b", "a"].iter().map(|run| site.reserve(run, "x.py", &["--shared"])).collect();
    let early = site.reserve("z", "a.py", &["--shared"]);
    let answer = reserve(&site, "late", &["x.py", "a.py"]).json();
    answer.is_json_conflict();
    let found: Vec<String> = answer.value()["conflicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|conflict| conflict["holder"]["reservation_id"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<&str> = std::iter::once(&early).chain(&shared).map(|held| held.id.as_str()).collect();
    assert_eq!(found, expected, "by address, then by token");
    assert!(answer.field("error").ends_with("; 3 more in the way"));

    // Text shows ten and counts the rest.
    for number in 0..9 {
        site.reserve(&format!("more-{number}"), "x.py", &["--shared"]);
    }
    let answer = reserve(&site, "late", &["x.py"]).run();
    assert_eq!(answer.code, 6);
    let lines: Vec<&str> = answer.stderr.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("error: ")).count(), 10);
    assert_eq!(lines[10], "... and 2 more conflicts; --json names them all");
    assert!(lines[11].starts_with("hint: work elsewhere"));
}

#[test]
fn each_pair_of_modes() {
    for (held_mode, wanted, is_granted, is_noticed) in [
        ("exclusive", "exclusive", false, false),
        ("exclusive", "shared", false, false),
        ("exclusive", "advisory", true, true),
        ("shared", "exclusive", false, false),
        ("shared", "shared", true, false),
        ("shared", "advisory", true, true),
        ("advisory", "exclusive", true, true),
        ("advisory", "shared", true, true),
        ("advisory", "advisory", true, true),
    ] {
        let site = Site::new();
        let flags = |mode: &str| match mode {
            "exclusive" => vec![],
            mode => vec![format!("--{mode}")],
        };
        let held = reserve(&site, "alice", &["src/a.py"]).args(&flags(held_mode)).granted();
        let answer = reserve(&site, "bob", &["src/"]).args(&flags(wanted)).json();
        if !is_granted {
            answer.is_json_conflict();
            continue;
        }
        let notice = overlap("src/", "src/a.py", &held, "alice", held_mode, 3660);
        let notices = if is_noticed { vec![notice] } else { vec![] };
        Granted { mode: wanted, notices, ..Granted::new("bob", &["src/"]) }.is(&site, &answer);
    }
}

#[test]
fn notices_in_text() {
    let site = Site::new();
    site.reserve("alice", "a.py::f", &["--advisory", "--op", "delete"]);
    let answer = reserve(&site, "bob", &["a.py"]).run();
    assert_eq!(answer.code, 0);
    assert!(answer.stdout.starts_with("reserved sha256:"));
    assert_eq!(
        answer.stderr,
        "warning: `a.py` is held as `a.py::f` by run `alice` (delete) for 1h more, and you were not stopped\n"
    );
}

#[test]
fn runs_descend_by_their_parts() {
    for (holder, wants, is_granted) in [
        ("alice", "alice/sub-1", true),
        ("alice", "alice/sub-1/x", true),
        ("alice/sub-1", "alice/sub-1/x", true),
        ("alice/sub-1", "alice/sub-2", false),
        ("alice/sub-1", "alice", false),
        ("alice", "alicent", false),
        ("alice", "Alice", false),
        ("alice", "alice-2", false),
        ("alice/", "alice/x", false),
    ] {
        let site = Site::new();
        site.reserve(holder, "a.py", &[]);
        let answer = reserve(&site, wants, &["a.py"]).json();
        if is_granted {
            Granted::new(wants, &["a.py"]).is(&site, &answer);
        } else {
            answer.is_json_conflict();
        }
    }
}

#[test]
fn a_run_never_conflicts_with_itself() {
    let site = Site::new();
    let file = site.reserve("alice", "a.py", &[]);
    let symbol = site.reserve("alice", "a.py::f", &[]);
    let folder = site.reserve("alice", "./", &["--shared"]);
    assert!(file.token < symbol.token && symbol.token < folder.token);
    assert_eq!(site.coord(&["list"]).json().value()["count"], 3);
}

#[test]
fn all_or_nothing() {
    let site = Site::new();
    site.reserve("alice", "b.py", &[]);
    reserve(&site, "bob", &["a.py", "b.py", "c.py"]).json().is_json_conflict();
    site.reserve("carol", "a.py", &[]);
    site.reserve("carol", "c.py", &[]);
}

#[test]
fn a_repeat_renews_and_never_shortens() {
    let site = Site::new();
    let call = |ttl: &str| {
        site.coord(&["reserve", "b.py", "a.py", "--shared", "--op", "move", "--ttl", ttl]).run_id("alice")
    };
    let expected = |ttl: u64, renewed: bool| Granted {
        mode: "shared",
        operation: Some("move"),
        ttl,
        renewed,
        ..Granted::new("alice", &["a.py", "b.py"])
    };
    let first = expected(3630, false).is(&site, &call(HOUR).json());
    let record = fs::read(site.record("reservations", &first.id)).unwrap();
    // The same id and token, the recorded lifetime; other spellings in another order.
    let answer = call("9000").json();
    let again = expected(3630, true).is(&site, &answer);
    assert_eq!((&again.id, again.token), (&first.id, first.token));
    let until = answer.field("expires_at");
    let answer = call("60").json();
    expected(3630, true).is(&site, &answer);
    assert_eq!(answer.field("expires_at"), until);
    assert_eq!(site.coord(&["show", &first.id]).json().value()["heartbeat"]["extended_expires_at"], until);
    let spelled =
        site.coord(&["reserve", "./a.py", "x/../b.py", "a.py", "--shared", "--op", "move"]).run_id("alice");
    assert_eq!(spelled.granted().id, first.id);
    assert_eq!(fs::read(site.record("reservations", &first.id)).unwrap(), record);
    let answer = call("60").run();
    assert!(answer.stdout.starts_with(&format!("renewed {} run=alice", first.id)), "{answer:?}");
    assert_eq!(answer.stderr, "");

    // Another operation cannot be recorded any more.
    let answer = site.coord(&["reserve", "a.py", "b.py", "--shared", "--op", "split"]).run_id("alice").json();
    answer.is_json(
        0,
        &["this reservation was made before with move, and a record is never changed: \
           release it and reserve again to record another"],
        &expected(3630, true).json(&first),
    );
    // Other addresses, another mode, another run: another reservation.
    for other in [
        reserve(&site, "alice", &["a.py", "--shared"]),
        reserve(&site, "alice", &["a.py", "b.py", "c.py", "--shared"]),
        reserve(&site, "alice", &["a.py", "b.py", "--advisory"]),
        reserve(&site, "alice/x", &["a.py", "b.py", "--shared"]),
    ] {
        let held = other.granted();
        assert!(held.id != first.id && held.token > first.token);
    }
}

#[test]
fn a_repeat_renews_a_lapsed_reservation_until_it_is_superseded() {
    let site = Site::new();
    let lapsed = site.lapsed("alice", "a.py", 100);
    let answer = reserve(&site, "alice", &["a.py"]).json();
    let expected =
        Granted { ttl: 60, operation: Some("rename"), renewed: true, ..Granted::new("alice", &["a.py"]) };
    assert_eq!(expected.is(&site, &answer).id, lapsed.id);

    let lapsed = site.lapsed("alice", "b.py", 100);
    let winner = site.reserve("bob", "b.py", &[]);
    reserve(&site, "alice", &["b.py"]).json().is_json_conflict();
    site.coord(&["release", &winner.id]).run_id("bob").run().is_success();
    let again = Granted::new("alice", &["b.py"]).is(&site, &reserve(&site, "alice", &["b.py"]).json());
    assert!(again.id != lapsed.id && again.token > winner.token);

    // A released one is not renewed either.
    site.coord(&["release", &again.id]).run_id("alice").run().is_success();
    let last = Granted::new("alice", &["b.py"]).is(&site, &reserve(&site, "alice", &["b.py"]).json());
    assert!(last.id != again.id && last.token > again.token);
}

#[test]
fn a_lapsed_reservation_in_the_way_is_superseded() {
    let site = Site::new();
    let lapsed = site.lapsed("alice", "a.py", 100);
    let untouched = site.lapsed("alice", "other.py", 100);
    let winner = Granted::new("bob", &["a.py::f"]).is(&site, &reserve(&site, "bob", &["a.py::f"]).json());
    let text = fs::read_to_string(site.record("superseded", &lapsed.id)).unwrap();
    assert_eq!(
        support::redact(&text),
        format!(
            "{{\n  \"schema_version\": 1,\n  \"reservation_id\": \"{}\",\n  \"superseded_by\": \"{}\",\n  \
             \"run_id\": \"bob\",\n  \"superseded_at\": \"TIME\"\n}}\n",
            lapsed.id, winner.id
        )
    );
    assert!(!site.record("superseded", &untouched.id).exists());
}

// take-over

fn take_over(site: &Site, run: &str, address: &str, id: &str) -> Muse {
    reserve(site, run, &[address]).args(&["--take-over", id, "--reason", "it hangs"])
}

#[test]
fn a_take_over_releases_and_grants_in_one_step() {
    let site = Site::new();
    let held = site.reserve("alice", "src/a.py", &[]);
    let taken = Granted::new("boss", &["src/"]).is(&site, &take_over(&site, "boss", "src/", &held.id).json());
    assert!(taken.token > held.token);
    let tombstone = fs::read_to_string(site.record("releases", &held.id)).unwrap();
    assert_eq!(
        support::redact(&tombstone),
        format!(
            "{{\n  \"schema_version\": 1,\n  \"reservation_id\": \"{}\",\n  \"run_id\": \"boss\",\n  \
             \"released_at\": \"TIME\",\n  \"reason\": \"it hangs\",\n  \"forced\": true\n}}\n",
            held.id
        )
    );
    let stopped = site.coord(&["heartbeat", &held.id]).run_id("alice").json();
    assert_eq!((stopped.code, &*stopped.field("status")), (1, "already_released"));
}

#[test]
fn a_take_over_of_what_has_ended_or_lapsed() {
    let site = Site::new();
    let void = "the reservation to take over had ended already: nothing was taken from anybody";
    // Lapsed: taken like an active one.
    let lapsed = site.lapsed("alice", "a.py", 100);
    Granted::new("boss", &["a.py"]).is(&site, &take_over(&site, "boss", "a.py", &lapsed.id).json());
    assert!(site.record("releases", &lapsed.id).exists());
    // Released.
    let held = site.reserve("alice", "b.py", &[]);
    site.coord(&["release", &held.id]).run_id("alice").run().is_success();
    let answer = take_over(&site, "boss", "b.py", &held.id).json();
    let granted =
        Held { id: answer.field("reservation_id"), token: answer.value()["token"].as_u64().unwrap() };
    answer.is_json(0, &[void], &Granted::new("boss", &["b.py"]).json(&granted));
    // Superseded: whoever superseded it is still in the way.
    let lapsed = site.lapsed("alice", "c.py", 100);
    let winner = site.reserve("bob", "c.py", &[]);
    take_over(&site, "boss", "c.py", &lapsed.id).json().is_json_conflict();
    site.coord(&["release", &winner.id]).run_id("bob").run().is_success();
    let answer = take_over(&site, "boss", "c.py", &lapsed.id).run();
    assert_eq!((answer.code, answer.stderr), (0, format!("warning: {void}\n")));
}

#[test]
fn a_take_over_takes_nothing_but_what_it_names() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &["--shared"]);
    let other = site.reserve("bob", "a.py", &["--shared"]);
    let elsewhere = site.reserve("carol", "z.py", &[]);
    let before = site.snapshot();
    // Somebody else is in the way too.
    let answer = take_over(&site, "boss", "a.py", &held.id).json();
    answer.is_json_conflict();
    let conflicts = &answer.value()["conflicts"];
    assert_eq!(conflicts.as_array().unwrap().len(), 1);
    assert_eq!(conflicts[0]["holder"]["reservation_id"], other.id);
    // It has nothing to do with the addresses.
    let error = take_over(&site, "boss", "free.py", &elsewhere.id).json().is_failure(1, "bad_args", None);
    assert!(error.contains("no address in common"), "{error}");
    // There is none.
    let answer = take_over(&site, "boss", "free.py", ABSENT).json();
    let error = answer.is_failure(4, "not_found", Some(ABSENT));
    assert!(error.contains("take over"), "{error}");
    // Half of the flags, or a bad id.
    reserve(&site, "boss", &["a.py", "--take-over", &held.id]).json().is_failure(2, "usage", None);
    reserve(&site, "boss", &["a.py", "--reason", "x"]).json().is_failure(2, "usage", None);
    take_over(&site, "boss", "a.py", "sha256:../x").json().is_failure(1, "bad_id", None);
    let long = "x".repeat(4097);
    reserve(&site, "boss", &["a.py", "--take-over", &held.id, "--reason", &long])
        .json()
        .is_failure(1, "bad_args", None);
    assert_eq!(site.snapshot(), before);
}

// release

fn part(id: &str, status: &str) -> Json {
    object! { "reservation_id": id, "status": status }
}

fn failed_part(id: &str, status: &str, error: &str) -> Json {
    object! { "reservation_id": id, "status": status, "error": error }
}

fn not_found(id: &str) -> String {
    format!(
        "reservation {id} not found: check the id with `muse coord list --all`, \
         or with `muse coord log` for those that are over"
    )
}

fn not_holder(id: &str, holder: &str, run: &str) -> String {
    format!(
        "reservation {id} is held by run `{holder}`, not by `{run}`: \
         only a coordinator takes it away, with --force --reason TEXT"
    )
}

#[test]
fn a_release_is_idempotent() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let release = || site.coord(&["release", &held.id]).run_id("alice");
    let fields = |status: &str| object! { "status": "ok", "reservations": [part(&held.id, status)] };
    release().json().is_json(0, &[], &fields("released"));
    let tombstone = fs::read_to_string(site.record("releases", &held.id)).unwrap();
    assert_eq!(
        support::redact(&tombstone),
        format!(
            "{{\n  \"schema_version\": 1,\n  \"reservation_id\": \"{}\",\n  \"run_id\": \"alice\",\n  \
             \"released_at\": \"TIME\",\n  \"reason\": null,\n  \"forced\": false\n}}\n",
            held.id
        )
    );
    release().json().is_json(0, &[], &fields("already_released"));
    release().run().is_text(0, &format!("already released {}\n", held.id), "");
    // By anybody, with any reason: the first tombstone stays.
    let answer = site.coord(&["release", &held.id, "--force", "--reason", "x"]).run_id("boss").json();
    answer.is_json(0, &[], &fields("already_released"));
    assert_eq!(fs::read_to_string(site.record("releases", &held.id)).unwrap(), tombstone);
    reserve(&site, "bob", &["a.py"]).granted();
}

#[test]
fn only_the_holder_releases_and_a_coordinator_by_force() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let before = site.snapshot();
    for run in ["bob", "alice/sub-1", "Alice"] {
        let error = not_holder(&held.id, "alice", run);
        site.coord(&["release", &held.id]).run_id(run).json().is_json(
            6,
            &[],
            &object! {
                "status": "not_holder", "reservations": [failed_part(&held.id, "not_holder", &error)],
                "error": error,
            },
        );
        let answer = site.coord(&["release", &held.id]).run_id(run).run();
        answer.is_text(6, "", &format!("error: {error}\n"));
    }
    assert_eq!(site.snapshot(), before);
    let answer = site.coord(&["release", &held.id, "--force", "--reason", "agent\u{7} 42\ncrashed"]);
    answer.run_id("boss").run().is_text(0, &format!("released {}\n", held.id), "");
    let tombstone: serde_json::Value =
        serde_json::from_slice(&fs::read(site.record("releases", &held.id)).unwrap()).unwrap();
    assert_eq!(tombstone["run_id"], "boss");
    assert_eq!(tombstone["reason"], "agent\u{7} 42\ncrashed");
    assert_eq!(tombstone["forced"], true);
    // By force of one's own: nothing was forced.
    let held = site.reserve("alice", "b.py", &[]);
    site.coord(&["release", &held.id, "--force"]).run_id("alice").run().is_success();
    let tombstone: serde_json::Value =
        serde_json::from_slice(&fs::read(site.record("releases", &held.id)).unwrap()).unwrap();
    assert_eq!(tombstone["forced"], false);
}

#[test]
fn a_release_of_many_answers_for_each_and_exits_with_the_worst() {
    let site = Site::new();
    let mine = site.reserve("alice", "a.py", &[]);
    let gone = site.reserve("alice", "b.py", &[]);
    let theirs = site.reserve("bob", "c.py", &[]);
    site.coord(&["release", &gone.id]).run_id("alice").run().is_success();
    let (missing_error, holder_error) = (not_found(ABSENT), not_holder(&theirs.id, "bob", "alice"));
    let call = |ids: &[&str]| site.coord(&["release"]).args(ids).run_id("alice");
    call(&[&gone.id, ABSENT]).json().is_json(
        4,
        &[],
        &object! {
            "status": "not_found",
            "reservations": [part(&gone.id, "already_released"), failed_part(ABSENT, "not_found", &missing_error)],
            "error": missing_error,
        },
    );
    call(&[ABSENT, &theirs.id, &gone.id, &mine.id]).json().is_json(
        6,
        &[],
        &object! {
            "status": "not_found",
            "reservations": [
                failed_part(ABSENT, "not_found", &missing_error),
                failed_part(&theirs.id, "not_holder", &holder_error),
                part(&gone.id, "already_released"),
                part(&mine.id, "released"),
            ],
            "error": missing_error,
        },
    );
    call(&[&theirs.id, ABSENT, &mine.id]).run().is_text(
        6,
        &format!("already released {}\n", mine.id),
        &format!("error: {holder_error}\nerror: {missing_error}\n"),
    );
    // The same one twice.
    let twice = site.reserve("alice", "e.py", &[]);
    call(&[&twice.id, &twice.id]).json().is_json(
        0,
        &[],
        &object! {
            "status": "ok",
            "reservations": [part(&twice.id, "released"), part(&twice.id, "already_released")],
        },
    );
    // One that cannot be read outweighs them.
    let broken = site.reserve("alice", "d.py", &[]);
    fs::write(site.record("reservations", &broken.id), "junk").unwrap();
    let answer = call(&[&theirs.id, &broken.id, ABSENT]).json();
    assert_eq!((answer.code, &*answer.field("status")), (3, "not_holder"));
    assert_eq!(answer.value()["reservations"][1]["status"], "store_damaged");
    assert_eq!(answer.value()["reservations"][2]["status"], "not_found");
}

#[test]
fn nothing_is_released_when_one_id_is_malformed() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let before = site.snapshot();
    let call = |arguments: &[&str]| site.coord(&["release"]).args(arguments).json();
    call(&[&held.id, "--run-id", "alice", "sha256:x"]).is_failure(1, "bad_id", None);
    call(&[&held.id]).is_failure(2, "usage", None);
    call(&[&held.id, "--run-id", ""]).is_failure(1, "bad_args", None);
    call(&["--run-id", "alice"]).is_failure(2, "usage", None);
    call(&[&held.id, "--all", "--run-id", "alice"]).is_failure(2, "usage", None);
    call(&["--all", "--force", "--run-id", "alice"]).is_failure(2, "usage", None);
    call(&[&held.id, "--run-id", "alice", "--reason", &"x".repeat(4097)]).is_failure(1, "bad_args", None);
    let many = vec![ABSENT; 1001];
    let error = site.coord(&["release"]).args(&many).run_id("alice").json().is_failure(1, "bad_args", None);
    assert!(error.contains("1001"), "{error}");
    assert_eq!(site.snapshot(), before);
    let answer = call(&[&held.id, "--run-id", "alice", "--reason", &"x".repeat(4096)]);
    assert_eq!(answer.code, 0);
}

#[test]
fn release_all_gives_back_whatever_the_run_has() {
    let site = Site::new();
    let empty = object! { "status": "ok", "reservations": Vec::<Json>::new() };
    site.coord(&["release", "--all"]).run_id("alice").json().is_json(0, &[], &empty);
    site.coord(&["release", "--all"]).run_id("alice").run().is_text(0, "", "nothing to release\n");
    let one = site.reserve("alice", "z.py", &[]);
    let two = site.reserve("alice", "a.py", &["--advisory"]);
    let lapsed = site.lapsed("alice", "l.py", 9);
    let theirs = site.reserve("bob", "b.py", &[]);
    let child = site.reserve("alice/sub-1", "c.py", &[]);
    let fields = object! {
        "status": "ok",
        "reservations": [
            part(&lapsed.id, "released"), part(&one.id, "released"), part(&two.id, "released"),
        ],
    };
    site.coord(&["release", "--all", "--reason", "done"]).run_id("alice").json().is_json(0, &[], &fields);
    site.coord(&["release", "--all"]).run_id("alice").json().is_json(0, &[], &empty);
    for held in [&theirs, &child] {
        assert!(!site.record("releases", &held.id).exists());
    }
}

// heartbeat --all

fn beaten(id: &str) -> Json {
    object! { "reservation_id": id, "status": "ok", "extended_expires_at": "TIME" }
}

#[test]
fn all_of_a_run_is_not_nothing_where_it_cannot_be_read() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let all = |verb: &str| site.coord(&[verb, "--all"]).run_id("alice").json();
    // Its heartbeat is damaged: whose the reservation is can still be read.
    assert_eq!(all("heartbeat").code, 0);
    let heartbeat = site.record("heartbeats", &held.id);
    fs::write(&heartbeat, "{}").unwrap();
    let answer = all("heartbeat");
    assert_eq!((answer.code, &*answer.field("status")), (3, "store_damaged"), "{answer:?}");
    assert_eq!(answer.value()["reservations"][0]["reservation_id"], *held.id);
    // The record itself is: nobody knows whose it is.
    fs::remove_file(&heartbeat).unwrap();
    let record = site.record("reservations", &held.id);
    let whole = fs::read(&record).unwrap();
    fs::write(&record, "{}").unwrap();
    for verb in ["heartbeat", "release"] {
        let answer = all(verb);
        assert_eq!((answer.code, &*answer.field("status")), (3, "store_damaged"), "{answer:?}");
    }
    fs::write(&record, whole).unwrap();
    fs::write(&heartbeat, "{}").unwrap();
    let answer = all("release");
    assert_eq!((answer.code, &*answer.field("status")), (0, "ok"), "{answer:?}");
    assert_eq!(answer.value()["reservations"][0]["status"], "released");
}

#[test]
fn what_may_be_a_slip_is_warned_of() {
    let site = Site::new();
    fs::create_dir_all(site.at("src/api")).unwrap();
    fs::write(site.at("src/a.py"), "").unwrap();
    let warned = |folder: &str, address: &str| {
        let folder = site.at(folder);
        let answer = Muse::in_folder(&folder, &["coord", "reserve", address, "--run-id", "alice"]).json();
        let warnings = answer.value()["warnings"].as_array().unwrap().clone();
        (answer.value()["addresses"][0].as_str().unwrap().to_owned(), warnings.len(), warnings)
    };
    for (folder, address, canonical, count) in [
        (".", "src/a.py:12", "src/a.py:12", 1),
        (".", "src/a.py:12:7", "src/a.py:12:7", 1),
        (".", "src/a.py ", "src/a.py ", 1),
        ("src", "src/a.py", "src/src/a.py", 1),
        ("src", "a.py", "src/a.py", 0),
        ("src", "new.py", "src/new.py", 0),
        (".", "src/new.py::f", "src/new.py::f", 0),
    ] {
        let (is, warnings, texts) = warned(folder, address);
        assert_eq!((&*is, warnings), (canonical, count), "{address}: {texts:?}");
    }
    let reason = site.coord(&["reserve", "b.py", "--take-over", ABSENT, "--reason", " "]).run_id("a").json();
    reason.is_failure(1, "bad_args", None);
}

#[test]
fn heartbeat_all_extends_everything_of_the_run() {
    let site = Site::new();
    let beat_all = || site.coord(&["heartbeat", "--all"]).run_id("alice");
    let nothing = "run `alice` holds nothing: reserve first";
    let empty = object! { "status": "not_found", "reservations": Vec::<Json>::new(), "error": nothing };
    site.reserve("bob", "b.py", &[]);
    site.reserve("alice/sub-1", "c.py", &[]);
    beat_all().json().is_json(4, &[], &empty);
    beat_all().run().is_text(4, "", &format!("error: {nothing}\n"));

    let one = site.reserve("alice", "z.py", &[]);
    let two = site.reserve("alice", "a.py", &["--shared"]);
    let lapsed = site.lapsed("alice", "l.py", 100);
    let fields =
        object! { "status": "ok", "reservations": [beaten(&lapsed.id), beaten(&one.id), beaten(&two.id)] };
    let answer = beat_all().args(&["--extension", "9000"]).json();
    let warning = answer.value()["warnings"][0].as_str().unwrap_or_default().to_owned();
    assert!(warning.starts_with(&format!("reservation {} had lapsed 1m 4", lapsed.id)), "{warning}");
    answer.is_json(0, &[&warning], &fields);
    for held in [&one, &two, &lapsed] {
        let shown = site.coord(&["show", &held.id]).json().value();
        assert!((8900..=9000).contains(&shown["reservation"]["expires_in_seconds"].as_u64().unwrap()));
    }
    assert_eq!(names(&site.store().join("heartbeats")).len(), 3, "of nobody else");
    beat_all().run().is_text(
        0,
        &format!(
            "💓 heartbeat {} extended until SECOND\n💓 heartbeat {} extended until SECOND\n\
             💓 heartbeat {} extended until SECOND\n",
            lapsed.id, one.id, two.id
        ),
        "",
    );
    // What the run released itself is over, and no reason to stop.
    site.coord(&["release", &one.id, &two.id, &lapsed.id]).run_id("alice").run().is_success();
    beat_all().json().is_json(4, &[], &empty);
}

#[test]
fn heartbeat_all_exits_with_the_worst() {
    let site = Site::new();
    let beat_all = || site.coord(&["heartbeat", "--all"]).run_id("alice");
    let kept = site.reserve("alice", "kept.py", &[]);
    let lost = site.lapsed("alice", "lost.py", 100);
    let winner = site.reserve("bob", "lost.py", &[]);
    let lost_error = format!(
        "reservation {} lapsed, and run `bob` was granted its addresses since: stop work and reserve again",
        lost.id
    );
    let lost_part = object! {
        "reservation_id": lost.id, "status": "not_found", "extended_expires_at": NULL,
        "holder": object! { "reservation_id": winner.id, "run_id": "bob", "superseded_at": "TIME" },
        "error": lost_error,
    };
    let fields = object! {
        "status": "not_found", "reservations": [lost_part.clone(), beaten(&kept.id)], "error": lost_error,
    };
    beat_all().json().is_json(4, &[], &fields);
    beat_all().run().is_text(
        4,
        &format!("💓 heartbeat {} extended until SECOND\n", kept.id),
        &format!("error: {lost_error}\n"),
    );

    let taken = site.reserve("alice", "taken.py", &[]);
    site.coord(&["release", &taken.id, "--force"]).run_id("boss").run().is_success();
    let taken_error =
        format!("reservation {} is already released: stop work and stop sending heartbeats", taken.id);
    let taken_part = object! {
        "reservation_id": taken.id, "status": "already_released", "extended_expires_at": NULL,
        "error": taken_error,
    };
    let fields = object! {
        "status": "already_released", "reservations": [lost_part, beaten(&kept.id), taken_part],
        "error": taken_error,
    };
    beat_all().json().is_json(1, &[], &fields);
    // That somebody said stop outweighs damage too.
    let broken = site.reserve("alice", "broken.py", &[]);
    fs::write(site.record("heartbeats", &broken.id), "[]").unwrap();
    let answer = beat_all().json();
    assert_eq!((answer.code, &*answer.field("status")), (1, "already_released"));

    for wrong in [&["--extension", "0"][..], &["--extension", "31536001"]] {
        beat_all().args(wrong).json().is_failure(1, "bad_args", None);
    }
    site.coord(&["heartbeat", "--all"]).json().is_failure(2, "usage", None);
}

// list

struct Row<'a> {
    run: &'a str,
    address: &'a str,
    mode: &'a str,
    operation: Option<&'a str>,
    ttl: u64,
    state: &'a str,
    left: u64,
    beat: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn new(run: &'a str, address: &'a str, ttl: u64, left: u64) -> Row<'a> {
        Row { run, address, mode: "exclusive", operation: None, ttl, state: "active", left, beat: None }
    }

    fn json(&self, held: &Held) -> Json {
        object! {
            "reservation_id": held.id, "token": held.token, "run_id": self.run, "branch": NULL,
            "addresses": [self.address], "mode": self.mode, "operation": self.operation,
            "ttl_seconds": self.ttl, "created_at": "TIME", "expires_at": "TIME", "state": self.state,
            "effective_expires_at": "TIME", "expires_in_seconds": self.left, "last_beat_at": self.beat,
        }
    }
}

fn listed(rows: &[Json]) -> Json {
    object! {
        "status": "ok", "count": rows.len(), "reservations": *rows, "waiting": Vec::<&str>::new(),
    }
}

#[test]
fn list_shows_the_active_soonest_expiry_first() {
    let site = Site::new();
    site.coord(&["list"]).json().is_json(0, &[], &listed(&[]));
    site.coord(&["list"]).run().is_text(0, "", "no reservations to show\n");
    let late = site.coord(&["reserve", "a.py", "--ttl", "9030"]).run_id("alice").granted();
    let soon = site.coord(&["reserve", "b.py::B", "--ttl", "630", "--shared"]).run_id("bob").granted();
    let middle = site.reserve("carol", "c/", &["--op", "move"]);
    site.lapsed("dave", "d.py", 10);
    let released = site.reserve("erin", "e.py", &[]);
    site.coord(&["release", &released.id]).run_id("erin").run().is_success();
    let row = |held: &Held, row: Row<'_>| row.json(held);
    let rows = [
        row(&soon, Row { mode: "shared", ..Row::new("bob", "b.py::B", 630, 660) }),
        row(&middle, Row { operation: Some("move"), ..Row::new("carol", "c/", 3630, 3660) }),
        row(&late, Row::new("alice", "a.py", 9030, 9060)),
    ];
    site.coord(&["list"]).json().is_json(0, &[], &listed(&rows));

    // The order is that of the effective expiry.
    site.coord(&["heartbeat", &soon.id, "--extension", "20010"]).run_id("bob").run().is_success();
    let rows = [
        row(&middle, Row { operation: Some("move"), ..Row::new("carol", "c/", 3630, 3660) }),
        row(&late, Row::new("alice", "a.py", 9030, 9060)),
        row(&soon, Row { mode: "shared", beat: Some("TIME"), ..Row::new("bob", "b.py::B", 630, 20_040) }),
    ];
    let answer = site.coord(&["list"]).json();
    answer.is_json(0, &[], &listed(&rows));
    let first = &answer.value()["reservations"][2];
    assert_ne!(first["expires_at"], first["effective_expires_at"]);
    // Equal states give equal bytes.
    let again = site.coord(&["list"]).json();
    assert_eq!(support::redact(&again.stdout), support::redact(&answer.stdout));
}

#[test]
fn list_as_a_table() {
    let site = Site::new();
    let one = site.fabricate("alice\u{1b}[31m\n", "src/a.py", Mode::Exclusive, -7230, 10_860);
    let two = site.fabricate("bob", "b.py", Mode::Advisory, -90_030, 31_536_000);
    site.coord(&["list"]).run().is_text(
        0,
        &format!(
            " HOLDER     ADDRESSES  MODE       OPERATION  STATE   AGE    LEFT      RESERVATION\n \
             alice[31m  src/a.py   exclusive  rename     active     2h        1h  {}\n \
             bob        b.py       advisory   rename     active  1d 1h  363d 22h  {}\n",
            one.id, two.id
        ),
        "",
    );
}

#[test]
fn a_table_shows_the_first_addresses_and_counts_the_rest() {
    let site = Site::new();
    let names = |count: usize| (0..count).map(|number| format!("{number:03}.py")).collect::<Vec<String>>();
    for (run, count) in [("few", 8), ("many", 100)] {
        site.coord(&["reserve", "--shared"]).args(&names(count)).run_id(run).json().is_success();
    }
    let text = site.coord(&["list"]).run().stdout;
    let words: Vec<&str> = text.split_whitespace().collect();
    for (name, times) in [("007.py", 2), ("008.py", 0), ("and", 1), ("92", 1), ("more", 1)] {
        assert_eq!(words.iter().filter(|word| **word == name).count(), times, "{name}: {text}");
    }
    let rows = site.coord(&["list"]).json().value();
    assert_eq!(rows["reservations"][1]["addresses"].as_array().unwrap().len(), 100);
}

#[test]
fn list_all_shows_every_state() {
    let site = Site::new();
    let superseded = site.lapsed("alice", "a.py", 300);
    let winner = site.reserve("bob", "a.py", &[]);
    let lapsed = site.lapsed("carol", "c.py", 10);
    let released = site.reserve("dave", "d.py", &[]);
    site.coord(&["release", &released.id]).run_id("dave").run().is_success();
    let row = |run, address, state, ttl, left| Row {
        state,
        operation: (ttl == 60).then_some("rename"),
        ..Row::new(run, address, ttl, left)
    };
    let rows = [
        row("alice", "a.py", "superseded", 60, 0).json(&superseded),
        row("carol", "c.py", "lapsed", 60, 0).json(&lapsed),
        row("bob", "a.py", "active", 3630, 3660).json(&winner),
        row("dave", "d.py", "released", 3630, 0).json(&released),
    ];
    site.coord(&["list", "--all"]).json().is_json(0, &[], &listed(&rows));
    site.coord(&["list"]).json().is_json(0, &[], &listed(&rows[2..3]));
    let answer = site.coord(&["list", "--all"]).run();
    for state in ["superseded", "lapsed", "active", "released"] {
        assert_eq!(answer.stdout.matches(&format!("  {state} ")).count(), 1, "{}", answer.stdout);
    }
}

#[test]
fn list_filters() {
    let site = Site::new();
    site.folder("src/api");
    let one = site.reserve("alice", "src/api/a.py::A.f", &[]);
    let two = site.coord(&["reserve", "src/b.py", "--ttl", "4000"]).run_id("bob").granted();
    let three = site.coord(&["reserve", "tests/**/*.py", "--ttl", "5000"]).run_id("alice/sub").granted();
    let ids = |arguments: &[&str]| -> Vec<String> {
        let answer = site.coord(&["list"]).args(arguments).json();
        assert_eq!(answer.code, 0, "{answer:?}");
        let value = answer.value();
        let rows = value["reservations"].as_array().unwrap();
        assert_eq!(value["count"], rows.len());
        rows.iter().map(|row| row["reservation_id"].as_str().unwrap().to_owned()).collect()
    };
    let (one, two, three) = (one.id, two.id, three.id);
    assert_eq!(ids(&[]), [&*one, &two, &three]);
    // A run is not its descendants.
    assert_eq!(ids(&["--run-id", "alice"]), [&*one]);
    assert_eq!(ids(&["--run-id", "alice/sub"]), [&*three]);
    assert!(ids(&["--run-id", "nobody"]).is_empty());
    // By overlap, not by spelling.
    assert_eq!(ids(&["--address", "src/api/a.py"]), [&*one]);
    assert_eq!(ids(&["--address", "src/api/a.py::A"]), [&*one]);
    assert_eq!(ids(&["--address", "src/api/a.py::A.f.g"]), [&*one]);
    assert!(ids(&["--address", "src/api/a.py::B"]).is_empty());
    assert!(ids(&["--address", "src/api/a.py::A.ff"]).is_empty());
    assert_eq!(ids(&["--address", "src/"]), [&*one, &two]);
    assert_eq!(ids(&["--address", "src/*.py"]), [&*two]);
    assert_eq!(ids(&["--address", "./tests/unit/../unit/x.py::T"]), [&*three]);
    assert_eq!(ids(&["--address", "**"]), [&*one, &two, &three]);
    assert!(ids(&["--address", "docs/"]).is_empty());
    assert_eq!(ids(&["--address", "src/", "--run-id", "bob"]), [&*two]);
    // MUSE_RUN_ID says who asks, not what is asked for.
    let answer = site.coord(&["list"]).env("MUSE_RUN_ID", "bob").json();
    assert_eq!(answer.value()["count"], 3);
    // Outside Git no branch is recorded.
    assert!(ids(&["--branch", "main"]).is_empty());
    site.coord(&["list", "--address", "../x"]).json().is_failure(1, "bad_address", None);
    site.coord(&["list", "--run-id", ""]).json().is_failure(1, "bad_args", None);
}

#[test]
fn list_by_branch() {
    let site = Site::new();
    site.file(".muse/HEAD", "ref: refs/heads/feature/x\n");
    let one = site.reserve("alice", "a.py", &[]);
    site.file(".muse/HEAD", "ref: refs/heads/main\n");
    let two = site.reserve("bob", "b.py", &[]);
    let shown = |branch: &str| {
        let value = site.coord(&["list", "--branch", branch]).json().value();
        value["reservations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["reservation_id"].as_str().unwrap().to_owned(), row["branch"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown("feature/x"), [(one.id, "feature/x".into())]);
    assert_eq!(shown("main"), [(two.id, "main".into())]);
    assert_eq!(shown("mai"), []);
    let error = reserve(&site, "carol", &["a.py"]).json().field("error");
    assert_eq!(error, "`a.py` is held by run `alice` (on feature/x) for 1h more");
}

// show

#[test]
fn show_tells_everything() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &["--op", "split"]);
    let path = site.record("reservations", &held.id).to_str().unwrap().to_owned();
    let row = |state, beat, left| {
        Row { operation: Some("split"), state, beat, ..Row::new("alice", "a.py", 3630, left) }.json(&held)
    };
    let fields = object! {
        "status": "ok", "reservation": row("active", None, 3660), "heartbeat": NULL, "release": NULL,
        "superseded": NULL, "record_path": path,
    };
    site.coord(&["show", &held.id]).json().is_json(0, &[], &fields);
    site.coord(&["heartbeat", &held.id, "--extension", "9030"]).run_id("boss").run().is_success();
    site.coord(&["release", &held.id, "--force", "--reason", "it\nhangs"]).run_id("boss").run().is_success();
    let fields = object! {
        "status": "ok", "reservation": row("released", Some("TIME"), 0),
        "heartbeat": object! {
            "schema_version": 1, "reservation_id": held.id, "run_id": "boss", "last_beat_at": "TIME",
            "extended_expires_at": "TIME",
        },
        "release": object! {
            "schema_version": 1, "reservation_id": held.id, "run_id": "boss", "released_at": "TIME",
            "reason": "it\nhangs", "forced": true,
        },
        "superseded": NULL, "record_path": path,
    };
    site.coord(&["show", &held.id]).json().is_json(0, &[], &fields);
    site.coord(&["show", &held.id]).run().is_text(
        0,
        &format!(
            "reservation {}\nstate       released\nrun         alice\nbranch      -\naddress     a.py\n\
             mode        exclusive\noperation   split\ntoken       {}\ngranted     SECOND for 1h\n\
             expires     SECOND\nheartbeat   SECOND by boss\n\
             released    SECOND by boss, forced: ithangs\nrecord      {path}\n",
            held.id, held.token
        ),
        "",
    );
}

#[test]
fn show_tells_who_superseded_it() {
    let site = Site::new();
    let lost = site.lapsed("alice", "a.py", 100);
    let winner = site.reserve("bob", "a.py", &[]);
    let answer = site.coord(&["show", &lost.id]).json();
    let row = Row { operation: Some("rename"), state: "superseded", ..Row::new("alice", "a.py", 60, 0) };
    let fields = object! {
        "status": "ok", "reservation": row.json(&lost), "heartbeat": NULL, "release": NULL,
        "superseded": object! {
            "schema_version": 1, "reservation_id": lost.id, "superseded_by": winner.id, "run_id": "bob",
            "superseded_at": "TIME",
        },
        "record_path": site.record("reservations", &lost.id).to_str().unwrap(),
    };
    answer.is_json(0, &[], &fields);
    let text = site.coord(&["show", &lost.id]).run();
    assert!(
        support::redact(&text.stdout)
            .contains(&format!("superseded  SECOND by bob, reservation {}\n", winner.id))
    );
}

#[test]
fn show_of_what_is_not_there() {
    let site = Site::new();
    let error = not_found(ABSENT);
    let fields = object! { "status": "not_found", "reservation_id": ABSENT, "error": error };
    site.coord(&["show", ABSENT]).json().is_json(4, &[], &fields);
    site.coord(&["show", ABSENT]).run().is_text(4, "", &format!("error: {error}\n"));
    site.coord(&["show", "sha256:x"]).json().is_failure(1, "bad_id", None);
    site.coord(&["show"]).json().is_failure(2, "usage", None);
    site.coord(&["show", ABSENT, ABSENT]).json().is_failure(2, "usage", None);
}

// The rest

#[test]
fn every_command_says_when_it_is_in_no_repository() {
    let site = Site::without_store();
    for (arguments, run) in [
        (&["reserve", "a.py"][..], true),
        (&["heartbeat", ABSENT], true),
        (&["heartbeat", "--all"], true),
        (&["release", ABSENT], true),
        (&["release", "--all"], true),
        (&["list"], false),
        (&["show", ABSENT], false),
    ] {
        let call = || {
            let call = site.coord(arguments);
            if run { call.run_id("alice") } else { call }
        };
        let error = call().json().is_failure(2, "not_a_repository", None);
        assert!(error.contains("`muse init`"), "{error}");
        call().run().is_text(2, "", &format!("error: {error}\n"));
    }
    assert!(names(site.path()).is_empty());
    // These need none.
    site.coord(&["guide"]).run().is_success();
    site.muse(&["completions", "zsh"]).run().is_success();
}

#[test]
fn the_root_can_be_named() {
    let site = Site::new();
    let held = site.reserve("alice", "src/a.py", &[]);
    let other = Site::new();
    site.folder("src");
    let root = site.path();
    let from = |folder: &std::path::Path, arguments: &[&str]| {
        Muse::in_folder(folder, arguments).env("MUSE_REPO_ROOT", root).json()
    };
    // From the root, from below it, and from another repository.
    assert_eq!(from(&site.at("src"), &["coord", "list", "--address", "a.py"]).value()["count"], 1);
    assert_eq!(from(other.path(), &["coord", "show", &held.id]).code, 0);
    let answer = from(other.path(), &["coord", "reserve", "a.py", "--run-id", "bob"]);
    let error = answer.is_failure(1, "bad_address", None);
    assert!(error.contains("MUSE_REPO_ROOT"), "{error}");
    let answer = site.coord(&["list"]).env("MUSE_REPO_ROOT", "").json();
    assert_eq!(answer.value()["count"], 1, "empty is not set");
    let answer = site.coord(&["list"]).env("MUSE_REPO_ROOT", site.at("nowhere")).json();
    let error = answer.is_failure(2, "not_a_repository", None);
    assert!(error.contains("MUSE_REPO_ROOT"), "{error}");
    let answer = site.coord(&["list"]).env("MUSE_REPO_ROOT", site.folder("bare")).json();
    answer.is_failure(2, "not_a_repository", None);
}

#[test]
fn the_guide_is_the_agent_guide() {
    let site = Site::without_store();
    let guide = include_str!("../../../docs/agent-guide.md");
    site.coord(&["guide"]).json().is_json(0, &[], &object! { "status": "ok", "text": guide });
    let answer = site.coord(&["guide"]).run();
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    assert_eq!(answer.stdout.trim_end(), guide.trim_end());
}

#[test]
fn completions_for_every_shell() {
    let site = Site::without_store();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let answer = site.muse(&["completions", shell]).run();
        assert_eq!((answer.code, &*answer.stderr), (0, ""));
        assert!(answer.stdout.contains("heartbeat"), "{shell}");
        let script = answer.stdout.clone();
        let json = site.muse(&["completions", shell]).json();
        assert_eq!(json.field("script"), script, "byte for byte, tabs included");
        json.is_json(0, &[], &object! { "status": "ok", "shell": shell, "script": script });
    }
    let script = site.muse(&["completions", "bash"]).run().stdout;
    let output = tool(
        "sh",
        site.path(),
        &["-c", &format!("command -v bash >/dev/null || exit 0; bash -n <<'EOF'\n{script}\nEOF")],
    );
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let error = site.muse(&["completions", "tcsh"]).json().is_failure(2, "usage", None);
    assert!(error.contains("bash"), "it names those that it knows: {error}");
    site.muse(&["completions"]).json().is_failure(2, "usage", None);
}

#[test]
fn manual_pages_for_every_command() {
    let site = Site::without_store();
    let folder = site.at("share/man 1");
    let folder_text = folder.to_str().unwrap();
    let fields = object! { "status": "ok", "folder": folder_text };
    site.muse(&["man", folder_text]).json().is_json(0, &[], &fields);
    let mut expected: Vec<String> = [
        "",
        "-completions",
        "-coord",
        "-coord-check",
        "-coord-engine",
        "-coord-engine-migrate",
        "-coord-engine-status",
        "-coord-gc",
        "-coord-guard",
        "-coord-guard-install",
        "-coord-guard-status",
        "-coord-guard-uninstall",
        "-coord-guide",
        "-coord-fsck",
        "-coord-heartbeat",
        "-coord-hook",
        "-coord-hook-claude-code",
        "-coord-hook-codex",
        "-coord-hook-copilot",
        "-coord-hook-cursor",
        "-coord-hook-gemini",
        "-coord-hook-opencode",
        "-coord-hook-pre-commit",
        "-coord-hook-pre-push",
        "-coord-list",
        "-coord-log",
        "-coord-release",
        "-coord-reserve",
        "-coord-run",
        "-coord-show",
        "-coord-verify",
        "-coord-watch",
        "-demo",
        "-init",
        "-man",
        "-mcp",
        "-symbols",
    ]
    .iter()
    .map(|command| format!("muse{command}.1"))
    .collect();
    expected.sort();
    assert_eq!(names(&folder), expected);
    let page = fs::read_to_string(folder.join("muse-coord-heartbeat.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("Send one every half of the extension"));
    site.muse(&["man", folder_text]).run().is_text(
        0,
        &format!("wrote the manual pages into {folder_text}\n"),
        "",
    );
    let file = site.file("file", "");
    let error = site.muse(&["man", file.to_str().unwrap()]).json().is_failure(1, "bad_args", None);
    assert!(error.contains("name another folder"), "{error}");
}

#[test]
fn a_command_that_does_not_exist_is_a_usage_error() {
    let site = Site::new();
    for arguments in [
        &[][..],
        &["coord"],
        &["reserve", "a.py"],
        &["coord", "reserv"],
        &["coord", "lock", "a.py"],
        &["init", "x"],
        &["coord", "list", "x"],
        &["coord", "guide", "x"],
        &["--what"],
        &[""],
    ] {
        let mut json = vec!["-j"];
        json.extend(arguments);
        let answer = site.muse(&json).run();
        answer.is_failure(2, "usage", None);
        let answer = site.muse(arguments).run();
        assert_eq!((answer.code, &*answer.stdout), (2, ""), "{arguments:?}");
        assert!(!answer.stderr.is_empty());
    }
}
