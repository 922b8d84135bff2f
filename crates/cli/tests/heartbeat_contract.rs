//! `muse coord heartbeat` against `spec/heartbeat.md`: each row of its tables and each of its numbered points
//! that a process can show, on the built program, comparing whole answers.

#![expect(
    clippy::disallowed_methods,
    reason = "tests write, move and lock files, and start threads that wait"
)]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;
use std::io::pipe;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use muse_coord::Mode;

mod support;

use support::{ABSENT, Answer, HOUR, Held, Json, Muse, Site, from_now, names, not_utf8, object};

/// `muse coord heartbeat` of one reservation.
fn heartbeat(site: &Site, id: &str) -> Muse {
    site.coord(&["heartbeat", id])
}

fn beat(site: &Site, id: &str, run: &str) -> Answer {
    heartbeat(site, id).run_id(run).json()
}

/// The fields of a success.
fn extended(id: &str, run: &str, seconds: u64) -> Json {
    object! {
        "status": "ok", "reservation_id": id, "run_id": run, "last_beat_at": "TIME",
        "extended_expires_at": "TIME", "ttl_extended_seconds": seconds,
    }
}

/// The fields of a failure that carry the reservation.
fn ended(status: &str, id: &str, error: &str) -> Json {
    object! { "status": status, "reservation_id": id, "error": error }
}

fn released_sentence(id: &str) -> String {
    format!("reservation {id} is already released: stop work and stop sending heartbeats")
}

fn missing_sentence(id: &str) -> String {
    format!("reservation {id} not found: check the id, or reserve again")
}

const BAD_ID: &str = "a reservation id is `sha256:` and 64 lower-case hexadecimal digits: \
                      copy it whole from `muse coord reserve` or `muse coord list`";
const OUT_OF_RANGE: &str = "--extension must be from 1 to 31536000 seconds; nothing was changed";
const NO_RUN_ID: &str = "a run id is required: give `--run-id ID` or set MUSE_RUN_ID, \
                         and use the same one for everything that this run does";
const EMPTY_RUN_ID: &str =
    "the run id is empty: give the name that your run goes by, for example `--run-id agent-42`";

#[track_caller]
fn is_refused(answer: &Answer, code: i32, status: &str, error: &str) {
    answer.is_json(code, &[], &object! { "status": status, "error": error });
}

/// A number of a heartbeat file, or of an answer, as seconds between its two times.
fn seconds_between(value: &serde_json::Value) -> i64 {
    let time = |name: &str| {
        let time: muse_coord::Timestamp = serde_json::from_value(value[name].clone()).unwrap();
        time.as_microseconds()
    };
    let microseconds = time("extended_expires_at") - time("last_beat_at");
    assert_eq!(microseconds % 1_000_000, 0);
    microseconds / 1_000_000
}

fn stored(site: &Site, id: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(site.record("heartbeats", id)).unwrap()).unwrap()
}

// The argument table.

#[test]
fn the_run_id_is_required() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let before = site.snapshot();
    is_refused(&heartbeat(&site, &held.id).json(), 2, "usage", NO_RUN_ID);
    heartbeat(&site, &held.id).run().is_text(2, "", &format!("error: {NO_RUN_ID}\n"));
    // A variable that is set to nothing is a variable that is not set.
    is_refused(&heartbeat(&site, &held.id).env("MUSE_RUN_ID", "").json(), 2, "usage", NO_RUN_ID);
    assert_eq!(site.snapshot(), before);
}

#[test]
fn the_run_id_has_1_to_256_characters_not_bytes() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let warning = |run: &str| format!("this reservation is held by run `alice`, not by `{run}`");
    for run in ["x".to_owned(), "x".repeat(256), "é".repeat(256), "💓".repeat(256), " ".to_owned()] {
        beat(&site, &held.id, &run).is_json(0, &[&warning(&run)], &extended(&held.id, &run, 3600));
        assert_eq!(stored(&site, &held.id)["run_id"], run);
    }
    let before = site.snapshot();
    for run in ["x".repeat(257), "é".repeat(257), "💓".repeat(257)] {
        let sentence = "the run id is too long (257 characters; at most 256): shorten it";
        is_refused(&beat(&site, &held.id, &run), 1, "bad_args", sentence);
        heartbeat(&site, &held.id).run_id(&run).run().is_text(1, "", &format!("error: {sentence}\n"));
    }
    is_refused(&beat(&site, &held.id, ""), 1, "bad_args", EMPTY_RUN_ID);
    is_refused(&heartbeat(&site, &held.id).arg("--run-id=").json(), 1, "bad_args", EMPTY_RUN_ID);
    heartbeat(&site, &held.id).run_id("").run().is_text(1, "", &format!("error: {EMPTY_RUN_ID}\n"));
    is_refused(
        &heartbeat(&site, &held.id).run_id(not_utf8()).json(),
        1,
        "bad_args",
        "the run id is not valid UTF-8: choose another",
    );
    assert_eq!(site.snapshot(), before, "a refused call changes nothing");
}

#[test]
fn the_environment_supplies_the_run_id_and_the_flag_outweighs_it() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let with = |run: &str| heartbeat(&site, &held.id).env("MUSE_RUN_ID", run);
    with("alice").json().is_json(0, &[], &extended(&held.id, "alice", 3600));
    with("bob").run_id("alice").json().is_json(0, &[], &extended(&held.id, "alice", 3600));
    // What is not used is not checked.
    with(&"x".repeat(257)).run_id("alice").json().is_json(0, &[], &extended(&held.id, "alice", 3600));
    heartbeat(&site, &held.id).env("MUSE_RUN_ID", not_utf8()).run_id("alice").json().is_json(
        0,
        &[],
        &extended(&held.id, "alice", 3600),
    );
    is_refused(
        &with(&"é".repeat(257)).json(),
        1,
        "bad_args",
        "the run id is too long (257 characters; at most 256): shorten it",
    );
    is_refused(&with("alice").run_id("").json(), 1, "bad_args", EMPTY_RUN_ID);
    is_refused(
        &heartbeat(&site, &held.id).env("MUSE_RUN_ID", not_utf8()).json(),
        1,
        "bad_args",
        "the run id is not valid UTF-8: choose another",
    );
}

#[test]
fn control_characters_in_a_run_id_are_taken_and_made_harmless() {
    let site = Site::new();
    let run = "al\u{1b}[31mi\nc\te\r\u{7}\u{7f}\u{9b}2J\u{202e}\u{2066}\u{200f}\u{2028}x";
    let held = site.coord(&["reserve", "a.py"]).run_id(run).granted();
    let answer = beat(&site, &held.id, run);
    answer.is_json(0, &[], &extended(&held.id, run, 3600));
    assert_eq!(answer.stdout.matches('\n').count(), 1);
    assert!(!answer.stdout.trim_end().chars().any(|character| character < ' '));
    assert_eq!(answer.field("run_id"), run, "as given, escaped by JSON's own rules");
    assert_eq!(stored(&site, &held.id)["run_id"], run);
    heartbeat(&site, &held.id).run_id(run).run().is_text(
        0,
        &format!("💓 heartbeat {} run=al[31mice2Jx extended until SECOND (+3600s)\n", held.id),
        "",
    );
    // In a warning about another run too.
    let answer = heartbeat(&site, &held.id).run_id("bob\u{1b}]0;title\u{7}\n").run();
    answer.is_text(
        0,
        &format!("💓 heartbeat {} run=bob]0;title extended until SECOND (+3600s)\n", held.id),
        "warning: this reservation is held by run `al[31mice2Jx`, not by `bob]0;title`\n",
    );
}

#[test]
fn the_extension_is_an_integer() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let before = site.snapshot();
    for wrong in [
        "", " ", " 60 ", "60 ", " 60", "+60", "1_000", "1,000", "60.0", "1e3", "0x3c", "sixty", "٦٠", "６０",
        "-", "--", "-٦", "6٠", "60s", "\n60", "60\n", "½",
    ] {
        let answer = heartbeat(&site, &held.id).run_id("alice").arg(format!("--extension={wrong}")).json();
        let error = answer.is_failure(2, "usage", None);
        assert!(error.contains("--extension"), "{wrong:?}: {error}");
        assert!(!error.contains("For more information"), "{error}");
        let answer = heartbeat(&site, &held.id).run_id("alice").arg(format!("--extension={wrong}")).run();
        answer.is_text_failure(2, &["--extension"]);
    }
    let answer = heartbeat(&site, &held.id).run_id("alice").arg("--extension").json();
    assert!(answer.is_failure(2, "usage", None).contains("--extension"));
    // A usage error repeats what was typed, made harmless.
    let wrong = "--extension=\u{1b}[31m6\u{9b}0\u{202e}\u{7}";
    let answer = heartbeat(&site, &held.id).run_id("alice").arg(wrong).run();
    answer.is_text_failure(2, &["'60' for '--extension <SECONDS>'"]);
    let is_obeyed =
        |character: char| (character.is_control() && character != '\n') || character == '\u{202e}';
    assert!(!answer.stderr.chars().any(is_obeyed), "{answer:?}");
    assert_eq!(site.snapshot(), before);
}

#[test]
fn the_extension_is_from_1_to_31536000_and_never_clamped() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let call = |seconds: &str| heartbeat(&site, &held.id).run_id("alice").args(&["--extension", seconds]);
    for (typed, seconds) in
        [("1", 1), ("60", 60), ("007", 7), ("31536000", 31_536_000), ("00000000000000000000000060", 60)]
    {
        let answer = call(typed).json();
        answer.is_json(0, &[], &extended(&held.id, "alice", seconds));
        assert_eq!(u64::try_from(seconds_between(&answer.value())), Ok(seconds));
        assert_eq!(u64::try_from(seconds_between(&stored(&site, &held.id))), Ok(seconds));
    }
    let answer = heartbeat(&site, &held.id).run_id("alice").json();
    answer.is_json(0, &[], &extended(&held.id, "alice", 3600));
    assert_eq!(seconds_between(&answer.value()), 3600, "the default");

    let before = site.snapshot();
    let digits = "9".repeat(400);
    for wrong in [
        "0",
        "-0",
        "000",
        "-1",
        "-5",
        "31536001",
        "31536000000",
        "4294967297",
        "18446744073709551617",
        "9223372036854775808",
        &digits,
        &format!("-{digits}"),
        &format!("1{}", "0".repeat(400)),
    ] {
        is_refused(&call(wrong).json(), 1, "bad_args", OUT_OF_RANGE);
        let equals = heartbeat(&site, &held.id).run_id("alice").arg(format!("--extension={wrong}"));
        is_refused(&equals.json(), 1, "bad_args", OUT_OF_RANGE);
        call(wrong).run().is_text(1, "", &format!("error: {OUT_OF_RANGE}\n"));
    }
    assert_eq!(site.snapshot(), before);
}

#[test]
fn the_reservation_id_has_one_spelling() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let before = site.snapshot();
    let hex = held.id.strip_prefix("sha256:").unwrap();
    let wrong = [
        String::new(),
        "sha256:".to_owned(),
        hex.to_owned(),
        held.id.to_uppercase(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        held.id[..held.id.len() - 1].to_owned(),
        format!("{}0", held.id),
        format!("{}\n", held.id),
        format!(" {}", held.id),
        format!("{} ", held.id),
        format!("{}.json", held.id),
        format!("sha256:{}g", &hex[1..]),
        format!("sha256:{}", "é".repeat(32)),
        format!("sha256:../{}", &hex[3..]),
        format!("../reservations/{}", held.id),
        "sha256:../../../../../../../../../../etc/passwd".to_owned(),
        format!("sha256:{}\u{1b}[31m", &hex[5..]),
        "./".to_owned(),
        format!("sha512:{hex}"),
    ];
    for id in &wrong {
        is_refused(&heartbeat(&site, id).run_id("alice").json(), 1, "bad_id", BAD_ID);
        heartbeat(&site, id).run_id("alice").run().is_text(1, "", &format!("error: {BAD_ID}\n"));
    }
    is_refused(&site.coord(&["heartbeat"]).arg(not_utf8()).run_id("a").json(), 1, "bad_id", BAD_ID);
    // A hyphen in front makes it a flag, unless the double hyphen says that none follows.
    heartbeat(&site, "-x").run_id("alice").json().is_failure(2, "usage", None);
    is_refused(&site.coord(&["heartbeat", "--run-id", "alice", "-j", "--", "-x"]).run(), 1, "bad_id", BAD_ID);
    assert_eq!(site.snapshot(), before);
}

#[test]
fn whichever_rule_is_broken_first_is_reported() {
    let site = Site::new();
    let elsewhere = Site::without_store();
    let refused = |folder: &Site, arguments: &[&str], code: i32, status: &str, part: &str| {
        let answer = folder.coord(&["heartbeat"]).args(arguments).json();
        let error = answer.is_failure(code, status, None);
        assert!(error.contains(part), "{arguments:?}: {error}");
    };
    for folder in [&site, &elsewhere] {
        // Usage errors, whatever else is wrong.
        refused(folder, &["nonsense", "--run-id", "", "--extension", "0", "--what"], 2, "usage", "--what");
        refused(folder, &["nonsense", "--run-id", "", "--extension", "1.5"], 2, "usage", "--extension");
        refused(folder, &["nonsense", "--extension", "0"], 2, "usage", "run id");
        refused(folder, &["--run-id", "", "--extension", "0"], 2, "usage", "RESERVATION_ID");
        refused(folder, &["--run-id", "", "x", "y"], 2, "usage", "'y'");
        // The run id, the extension, the id.
        refused(folder, &["nonsense", "--run-id", "", "--extension", "0"], 1, "bad_args", "run id");
        refused(folder, &["nonsense", "--run-id", "a", "--extension", "0"], 1, "bad_args", "--extension");
        refused(folder, &[ABSENT, "--run-id", "", "--extension", "60"], 1, "bad_args", "run id");
        refused(folder, &["nonsense", "--run-id", "a", "--extension", "60"], 1, "bad_id", "sha256:");
    }
    // All of them before any file is read: what is found here would be an error of its own.
    let broken = Site::without_store();
    symlink("/nowhere", broken.at(".muse")).unwrap();
    refused(&broken, &["nonsense", "--run-id", "a"], 1, "bad_id", "sha256:");
    refused(&broken, &[ABSENT, "--run-id", ""], 1, "bad_args", "run id");
    refused(&broken, &[ABSENT, "--run-id", "a"], 3, "store_damaged", ".muse");
}

#[test]
fn a_flag_is_given_once_and_by_its_whole_name() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let id = &*held.id;
    let before = site.snapshot();
    let wrong: [&[&str]; 17] = [
        &[id, "--run", "alice"],
        &[id, "--run-i", "alice"],
        &[id, "--r", "alice"],
        &[id, "--run_id", "alice"],
        &[id, "-r", "alice"],
        &[id, "--run-id", "alice", "--ext", "60"],
        &[id, "--run-id", "alice", "--extensio", "60"],
        &[id, "--run-id", "alice", "--js"],
        &[id, "--run-id", "alice", "--extension=60", "--extension=60"],
        &[id, "--run-id", "alice", "--run-id", "alice"],
        &[id, "--run-id", "alice", id],
        &[id, "--run-id", "alice", "--all"],
        // The source shows this one, and its parser has never known it.
        &[id, "--run-id", "alice", "--format", "json"],
        &[id, "--run-id", "alice", "--format=json"],
        &[id, "--run-id", "--extension", "60"],
        &[id, "--run-id"],
        &["--run-id", "alice"],
    ];
    for arguments in wrong {
        let answer = site.coord(&["heartbeat"]).args(arguments).json();
        answer.is_failure(2, "usage", None);
        let answer = site.coord(&["heartbeat"]).args(arguments).run();
        answer.is_text_failure(2, &["--help"]);
    }
    for (arguments, word) in
        [(["-j", "-j"], "--json"), (["--json", "-j"], "--json"), (["-jj", "-jj"], "--json")]
    {
        let answer = heartbeat(&site, id).run_id("alice").args(&arguments).run();
        assert!(answer.is_failure(2, "usage", None).contains(word));
    }
    assert_eq!(site.snapshot(), before);
}

#[test]
fn json_can_be_asked_for_in_every_position() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let words = ["coord", "heartbeat", &held.id, "--run-id", "alice", "--extension", "60"];
    for flag in ["-j", "--json"] {
        // Not between a flag and its value.
        for position in [0, 1, 2, 3, 5, 7] {
            let mut arguments = words.to_vec();
            arguments.insert(position, flag);
            site.muse(&arguments).run().is_json(0, &[], &extended(&held.id, "alice", 60));
            // And for every failure, usage errors included.
            let mut arguments = words.to_vec();
            arguments.push("--what");
            arguments.insert(position, flag);
            let error = site.muse(&arguments).run().is_failure(2, "usage", None);
            assert!(error.contains("--what"), "{error}");
        }
        // There it is no value, and still asks for JSON.
        let mut arguments = words.to_vec();
        arguments.insert(4, flag);
        site.muse(&arguments).run().is_failure(2, "usage", None);
        // Behind the double hyphen it is a reservation id.
        let answer = site.coord(&["heartbeat", "--run-id", "alice", "--", flag]).run();
        answer.is_text(1, "", &format!("error: {BAD_ID}\n"));
        let answer = site.coord(&["heartbeat", "--run-id", flag, "--", flag]).run();
        answer.is_failure(2, "usage", None);
    }
}

#[test]
fn help_with_json_is_one_object() {
    let site = Site::without_store();
    for (arguments, text) in [
        (&["coord", "heartbeat", "--help", "--json"][..], "Usage: muse coord heartbeat"),
        (&["--json", "coord", "heartbeat", "--help"], "Usage: muse coord heartbeat"),
        (&["coord", "heartbeat", "-hj"], "Usage: muse coord heartbeat"),
        (&["coord", "heartbeat", "-jh"], "Usage: muse coord heartbeat"),
        (&["--help", "-j"], "Usage: muse"),
        (&["-j", "--version"], "muse 0.1.0"),
        (&["-jV"], "muse 0.1.0"),
    ] {
        let answer = site.muse(arguments).run();
        let page = answer.field("text");
        assert!(page.contains(text), "{page}");
        answer.is_json(0, &[], &object! { "status": "ok", "text": page });
    }
    let answer = site.muse(&["coord", "heartbeat", "--help"]).run();
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    assert!(answer.stdout.contains("--extension <SECONDS>"));
}

// The outcomes.

#[test]
fn row_1_not_in_a_repository() {
    let site = Site::without_store();
    let sentence = format!(
        "{} is not in a muse repository: neither it nor a folder above it holds .muse or .git; \
         run `muse init` in the top folder of the code, or set MUSE_REPO_ROOT to it",
        site.path().display()
    );
    is_refused(&beat(&site, ABSENT, "alice"), 2, "not_a_repository", &sentence);
    heartbeat(&site, ABSENT).run_id("alice").run().is_text(2, "", &format!("error: {sentence}\n"));
    assert!(names(site.path()).is_empty(), "nothing was made");
    site.folder(".git");
    let error = beat(&site, ABSENT, "alice").is_failure(2, "not_a_repository", None);
    assert!(error.contains("run `muse init` to make it"), "{error}");
}

#[test]
fn row_2_already_released() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let id = &*held.id;
    site.coord(&["release", id]).run_id("alice").run().is_success();
    let before = site.snapshot();
    beat(&site, id, "alice").is_json(1, &[], &ended("already_released", id, &released_sentence(id)));
    heartbeat(&site, id).run_id("alice").run().is_text(
        1,
        "",
        &format!("error: {}\nhint: who released it and why: muse coord show {id}\n", released_sentence(id)),
    );
    // Another run, another extension: all the same.
    let answer = heartbeat(&site, id).run_id("bob").args(&["--extension", "5"]).json();
    answer.is_json(1, &[], &ended("already_released", id, &released_sentence(id)));
    assert_eq!(site.snapshot(), before);

    let held = site.reserve("alice", "b.py", &[]);
    beat(&site, &held.id, "alice").is_success();
    site.coord(&["release", &held.id, "--force"]).run_id("boss").run().is_success();
    let error = released_sentence(&held.id);
    beat(&site, &held.id, "alice").is_json(1, &[], &ended("already_released", &held.id, &error));
}

#[test]
fn row_2_outweighs_all_below_it() {
    let site = Site::new();
    let is_released = |id: &str| {
        beat(&site, id, "alice").is_json(1, &[], &ended("already_released", id, &released_sentence(id)));
    };
    // The name of the tombstone alone says it, with or without content, with or without a reservation.
    for content in ["", "{", "{\"schema_version\": 99}"] {
        let held = site.reserve("alice", "a.py", &[]);
        fs::write(site.record("releases", &held.id), content).unwrap();
        is_released(&held.id);
        // Damage.
        fs::write(site.record("reservations", &held.id), "junk").unwrap();
        fs::write(site.record("heartbeats", &held.id), "junk").unwrap();
        fs::write(site.record("superseded", &held.id), "junk").unwrap();
        is_released(&held.id);
        fs::remove_file(site.record("reservations", &held.id)).unwrap();
        is_released(&held.id);
    }
    fs::write(site.record("releases", ABSENT), "").unwrap();
    is_released(ABSENT);
    // Superseded, then released.
    let held = site.lapsed("alice", "z.py", 10);
    site.reserve("bob", "z.py", &[]);
    site.coord(&["release", &held.id]).run_id("alice").run().is_success();
    is_released(&held.id);
}

#[test]
fn row_3_not_found() {
    let site = Site::new();
    let before = site.snapshot();
    let sentence = missing_sentence(ABSENT);
    beat(&site, ABSENT, "alice").is_json(4, &[], &ended("not_found", ABSENT, &sentence));
    heartbeat(&site, ABSENT).run_id("alice").run().is_text(4, "", &format!("error: {sentence}\n"));
    assert_eq!(site.snapshot(), before);

    // An archived one has no record in the live folders; what else lies there does not bring it back.
    let held = site.reserve("alice", "a.py", &[]);
    beat(&site, &held.id, "alice").is_success();
    fs::rename(site.record("reservations", &held.id), site.record("archive", &held.id)).unwrap();
    let sentence = missing_sentence(&held.id);
    beat(&site, &held.id, "alice").is_json(4, &[], &ended("not_found", &held.id, &sentence));

    // A store that was never used.
    let site = Site::without_store();
    site.folder(".muse");
    beat(&site, ABSENT, "alice").is_json(4, &[], &ended("not_found", ABSENT, &missing_sentence(ABSENT)));
    assert!(names(&site.at(".muse")).is_empty(), "a heartbeat makes no store");
}

#[test]
fn row_4_superseded() {
    let site = Site::new();
    let lost = site.lapsed("alice", "src/a.py", 30);
    let winner = site.reserve("bob\u{1b}[1m", "src/", &[]);
    let before = site.snapshot();
    let error = format!(
        "reservation {} lapsed, and run `bob\u{1b}[1m` was granted its addresses since: \
         stop work and reserve again",
        lost.id
    );
    let fields = object! {
        "status": "not_found", "reservation_id": lost.id, "error": error,
        "holder": object! {
            "reservation_id": winner.id, "run_id": "bob\u{1b}[1m", "superseded_at": "TIME",
        },
    };
    for run in ["alice", "alice", "bob\u{1b}[1m", "carol"] {
        beat(&site, &lost.id, run).is_json(4, &[], &fields);
    }
    heartbeat(&site, &lost.id).run_id("alice").run().is_text(
        4,
        "",
        &format!(
            "error: reservation {} lapsed, and run `bob[1m` was granted its addresses since: \
             stop work and reserve again\nhint: what they hold: muse coord show {}\n",
            lost.id, winner.id
        ),
    );
    assert_eq!(site.snapshot(), before);

    // For good: also when the winner is gone, and whatever is wrong with the rest.
    site.coord(&["release", &winner.id]).run_id("bob\u{1b}[1m").run().is_success();
    beat(&site, &lost.id, "alice").is_json(4, &[], &fields);
    fs::write(site.record("heartbeats", &lost.id), "junk").unwrap();
    fs::write(site.record("reservations", &lost.id), "junk").unwrap();
    beat(&site, &lost.id, "alice").is_json(4, &[], &fields);
    // Archived outweighs it.
    fs::remove_file(site.record("reservations", &lost.id)).unwrap();
    let error = missing_sentence(&lost.id);
    beat(&site, &lost.id, "alice").is_json(4, &[], &ended("not_found", &lost.id, &error));
}

#[test]
fn row_4_takes_a_lapse_and_a_grant_in_real_time() {
    let site = Site::new();
    let lost = site.coord(&["reserve", "a.py::f", "--ttl", "1"]).run_id("alice").granted();
    site.coord(&["reserve", "a.py", "--json"]).run_id("bob").run().is_json_conflict();
    std::thread::sleep(std::time::Duration::from_millis(1050));
    let winner = site.reserve("bob", "a.py", &[]);
    let answer = beat(&site, &lost.id, "alice");
    assert_eq!((answer.code, &*answer.field("status")), (4, "not_found"));
    assert_eq!(answer.value()["holder"]["run_id"], "bob");
    assert_eq!(answer.value()["holder"]["reservation_id"], winner.id);
}

/// What can be wrong with a file of the store: a name, and what does it.
type Damage = (&'static str, fn(&Path));

const FILE_DAMAGES: [Damage; 8] = [
    ("not JSON", |path| fs::write(path, "junk\n").unwrap()),
    ("another kind of JSON", |path| fs::write(path, "[]\n").unwrap()),
    ("a field edited", |path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("\"schema_version\": 1", "\"schema_version\": \"1\"")).unwrap();
    }),
    ("of another reservation", |path| {
        let id = path.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace(id, ABSENT)).unwrap();
    }),
    ("not UTF-8", |path| fs::write(path, b"{\"\xff\": 1}").unwrap()),
    ("a folder", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("a symbolic link", |path| {
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        symlink(&aside, path).unwrap();
    }),
    ("a dangling symbolic link", |path| {
        fs::remove_file(path).unwrap();
        symlink("/nowhere", path).unwrap();
    }),
];

/// Damages one file of one reservation in every way; a heartbeat then fails, names the file and writes nothing.
fn assert_damage_is_told(room: &str, prepare: fn(&Site) -> Held) {
    for (name, damage) in FILE_DAMAGES {
        let site = Site::new();
        let neighbour = site.reserve("bob", "other.py", &[]);
        let held = prepare(&site);
        let path = site.record(room, &held.id);
        damage(&path);
        let before = site.snapshot();
        let error = beat(&site, &held.id, "alice").is_failure(3, "store_damaged", Some(&held.id));
        assert!(error.starts_with(path.to_str().unwrap()), "{name}: {error}");
        let answer = heartbeat(&site, &held.id).run_id("alice").run();
        answer.is_text_failure(3, &[path.to_str().unwrap()]);
        assert_eq!(site.snapshot(), before, "{name}");
        beat(&site, &neighbour.id, "bob").is_json(0, &[], &extended(&neighbour.id, "bob", 3600));
    }
}

#[test]
fn row_5_a_damaged_record() {
    assert_damage_is_told("reservations", |site| site.reserve("alice", "a.py", &[]));
    // A record is synced before it is published: not even an empty one is taken for none.
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let path = site.record("reservations", &held.id);
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 3] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = beat(&site, &held.id, "alice").is_failure(3, "store_damaged", Some(&held.id));
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
    }
    let text = String::from_utf8(whole.clone()).unwrap();
    for (from, to) in
        [("alice", "mallory"), ("a.py", "b.py"), ("exclusive", "advisory"), ("null", "\"main\"")]
    {
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = beat(&site, &held.id, "alice").is_failure(3, "store_damaged", Some(&held.id));
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
    }
    // Layout is not content.
    let value: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    fs::write(&path, serde_json::to_vec(&value).unwrap()).unwrap();
    beat(&site, &held.id, "alice").is_json(0, &[], &extended(&held.id, "alice", 3600));
}

#[test]
fn row_5_a_damaged_heartbeat() {
    assert_damage_is_told("heartbeats", |site| {
        let held = site.reserve("alice", "a.py", &[]);
        beat(site, &held.id, "alice").is_success();
        held
    });
}

#[test]
fn row_5_a_damaged_supersession() {
    assert_damage_is_told("superseded", |site| {
        let held = site.lapsed("alice", "a.py", 5);
        site.reserve("carol", "a.py", &[]);
        held
    });
}

#[test]
fn row_5_a_later_schema_asks_for_an_upgrade() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    beat(&site, &held.id, "alice").is_success();
    for room in ["heartbeats", "reservations"] {
        let path = site.record(room, &held.id);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole.replace("\"schema_version\": 1", "\"schema_version\": 2")).unwrap();
        let error = beat(&site, &held.id, "alice").is_failure(3, "schema_too_new", Some(&held.id));
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains("upgrade muse"), "{error}");
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn row_5_an_unwritable_store() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let hex = held.id.strip_prefix("sha256:").unwrap();
    let planted = site.store().join("tmp").join(format!("heartbeat-{hex}"));
    fs::create_dir(&planted).unwrap();
    let before = site.snapshot();
    let error = beat(&site, &held.id, "alice").is_failure(3, "store_unwritable", Some(&held.id));
    assert!(error.contains(planted.to_str().unwrap()), "{error}");
    let answer = heartbeat(&site, &held.id).run_id("alice").run();
    answer.is_text_failure(3, &[planted.to_str().unwrap(), "cannot "]);
    assert_eq!(site.snapshot(), before);
}

#[test]
fn row_5_a_busy_record() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let neighbour = site.reserve("bob", "b.py", &[]);
    let path = site.record("reservations", &held.id);
    let locked = fs::File::open(&path).unwrap();
    locked.lock().unwrap();
    let before = site.snapshot();
    let (json, text) = std::thread::scope(|scope| {
        let json = scope.spawn(|| beat(&site, &held.id, "alice"));
        let text = scope.spawn(|| heartbeat(&site, &held.id).run_id("alice").run());
        (json.join().unwrap(), text.join().unwrap())
    });
    let error = json.is_failure(3, "store_busy", Some(&held.id));
    let expected =
        format!("{} was still locked by process {} after 10 s", path.display(), std::process::id());
    assert!(error.starts_with(&expected), "{error}");
    text.is_text_failure(3, &[&expected]);
    assert_eq!(site.snapshot(), before);
    beat(&site, &neighbour.id, "bob").is_success();
    // A release needs no record lock, and is seen at once.
    site.coord(&["release", &held.id, "--force"]).run_id("boss").run().is_success();
    assert_eq!(beat(&site, &held.id, "alice").field("status"), "already_released");
    drop(locked);
}

#[test]
fn row_6_active() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let record = fs::read(site.record("reservations", &held.id)).unwrap();
    assert!(names(&site.store().join("heartbeats")).is_empty());

    let answer = beat(&site, &held.id, "alice");
    answer.is_json(0, &[], &extended(&held.id, "alice", 3600));
    let keys = [
        "muse_version",
        "schema",
        "exit_code",
        "duration_ms",
        "timestamp",
        "warnings",
        "status",
        "reservation_id",
        "run_id",
        "last_beat_at",
        "extended_expires_at",
        "ttl_extended_seconds",
    ];
    let mut rest = &*answer.stdout;
    for key in keys {
        rest = rest.split_once(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key} in {rest}")).1;
    }
    let value = answer.value();
    assert_eq!(value.as_object().unwrap().len(), keys.len());
    assert_eq!(seconds_between(&value), 3600);

    heartbeat(&site, &held.id).run_id("alice").args(&["--extension", "90"]).run().is_text(
        0,
        &format!("💓 heartbeat {} run=alice extended until SECOND (+90s)\n", held.id),
        "",
    );

    // What it stored, and that it stored nothing else.
    let path = site.record("heartbeats", &held.id);
    let stored = fs::read_to_string(&path).unwrap();
    assert_eq!(
        support::redact(&stored),
        format!(
            "{{\n  \"schema_version\": 1,\n  \"reservation_id\": \"{}\",\n  \"run_id\": \"alice\",\n  \
             \"last_beat_at\": \"TIME\",\n  \"extended_expires_at\": \"TIME\"\n}}\n",
            held.id
        )
    );
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777 & !0o644, 0);
    assert_eq!(fs::read(site.record("reservations", &held.id)).unwrap(), record, "never modified");
    assert!(names(&site.store().join("tmp")).is_empty());
    assert_eq!(names(&site.store().join("heartbeats")), [format!("{}.json", held.id)]);
}

#[test]
fn row_6_every_reader_uses_the_later_expiry() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let left = || {
        let answer = site.coord(&["show", &held.id]).json();
        answer.value()["reservation"]["expires_in_seconds"].as_u64().unwrap()
    };
    assert!((3600..=3630).contains(&left()));
    heartbeat(&site, &held.id).run_id("alice").args(&["--extension", "9000"]).run().is_success();
    assert!((8970..=9000).contains(&left()));
    // The holder may shorten, as far as the reservation goes.
    heartbeat(&site, &held.id).run_id("alice").args(&["--extension", "60"]).run().is_success();
    assert_eq!(seconds_between(&stored(&site, &held.id)), 60);
    assert!((3570..=3630).contains(&left()));
}

#[test]
fn row_6_fields_that_are_not_known_are_carried_along() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    beat(&site, &held.id, "alice").is_success();
    let path = site.record("heartbeats", &held.id);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("{\n", "{\n  \"mood\": {\"b\": 1, \"a\": [null]},\n", 1)).unwrap();
    beat(&site, &held.id, "alice").is_json(0, &[], &extended(&held.id, "alice", 3600));
    assert_eq!(stored(&site, &held.id)["mood"], serde_json::json!({ "b": 1, "a": [null] }));
}

#[test]
fn row_6_an_empty_or_truncated_heartbeat_counts_as_absent() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    beat(&site, &held.id, "alice").is_success();
    let path = site.record("heartbeats", &held.id);
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 20, whole.len() - 2] {
        fs::write(&path, &whole[..length]).unwrap();
        beat(&site, &held.id, "alice").is_json(0, &[], &extended(&held.id, "alice", 3600));
        assert_eq!(seconds_between(&stored(&site, &held.id)), 3600);
    }
}

// What the source leaves open.

#[test]
fn point_1_a_lapsed_reservation_is_revived_with_a_warning() {
    let site = Site::new();
    let held = site.lapsed("alice", "a.py", 7230);
    let warning = "it had lapsed 2h ago and is active again: send heartbeats sooner";
    beat(&site, &held.id, "alice").is_json(0, &[warning], &extended(&held.id, "alice", 3600));
    beat(&site, &held.id, "alice").is_json(0, &[], &extended(&held.id, "alice", 3600));
    let held = site.lapsed("alice", "b.py", 7230);
    heartbeat(&site, &held.id).run_id("alice").run().is_text(
        0,
        &format!("💓 heartbeat {} run=alice extended until SECOND (+3600s)\n", held.id),
        &format!("warning: {warning}\n"),
    );
    // It keeps others out again.
    site.coord(&["reserve", "b.py"]).run_id("bob").json().is_json_conflict();
    // What an unrelated or advisory grant did in between does not matter.
    let held = site.lapsed("alice", "c.py", 100);
    site.reserve("bob", "c.py", &["--advisory"]);
    site.reserve("bob", "d.py", &[]);
    assert_eq!(beat(&site, &held.id, "alice").code, 0);
}

#[test]
fn point_2_another_runs_heartbeat_is_taken_and_never_shortens() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let warning = "this reservation is held by run `alice`, not by `boss`";
    let by_boss = |seconds: &str| heartbeat(&site, &held.id).run_id("boss").args(&["--extension", seconds]);
    let answer = by_boss("9000").json();
    answer.is_json(0, &[warning], &extended(&held.id, "boss", 9000));
    let until = answer.field("extended_expires_at");

    let answer = by_boss("60").json();
    answer.is_json(0, &[warning], &extended(&held.id, "boss", 60));
    assert_eq!(answer.field("extended_expires_at"), until, "what the file now holds: the later expiry");
    assert_eq!(stored(&site, &held.id)["extended_expires_at"], until);
    assert_eq!(stored(&site, &held.id)["run_id"], "boss", "for the audit trail");

    by_boss("9100").run().is_text(
        0,
        &format!("💓 heartbeat {} run=boss extended until SECOND (+9100s)\n", held.id),
        &format!("warning: {warning}\n"),
    );
    // The holder may shorten it.
    let answer = heartbeat(&site, &held.id).run_id("alice").args(&["--extension", "60"]).json();
    answer.is_json(0, &[], &extended(&held.id, "alice", 60));
    assert_eq!(seconds_between(&answer.value()), 60);
    assert_eq!(seconds_between(&stored(&site, &held.id)), 60);
    // A subagent is another run than its parent.
    let warning = "this reservation is held by run `alice`, not by `alice/sub-1`";
    beat(&site, &held.id, "alice/sub-1").is_json(0, &[warning], &extended(&held.id, "alice/sub-1", 3600));
    // Both warnings.
    let held = site.lapsed("alice", "z.py", 7230);
    let warnings = [
        "this reservation is held by run `alice`, not by `boss`",
        "it had lapsed 2h ago and is active again: send heartbeats sooner",
    ];
    beat(&site, &held.id, "boss").is_json(0, &warnings, &extended(&held.id, "boss", 3600));
}

#[test]
fn points_6_and_7_no_other_record_can_influence_a_heartbeat() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let other = site.reserve("bob", "b.py", &[]);
    beat(&site, &other.id, "bob").is_success();
    for room in ["reservations", "heartbeats", "releases", "superseded", "tmp", "intents", "archive"] {
        let folder = site.store().join(room);
        fs::write(folder.join("junk"), "junk").unwrap();
        fs::write(folder.join(format!("{}.json.bak", held.id)), "junk").unwrap();
        fs::write(folder.join(format!("{ABSENT}.json")), "{").unwrap();
        symlink("/nowhere", folder.join("link")).unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
    }
    fs::write(site.record("reservations", &other.id), "junk").unwrap();
    fs::write(site.record("heartbeats", &other.id), "junk").unwrap();
    fs::remove_file(site.store().join("token")).unwrap();
    fs::remove_file(site.store().join("lock")).unwrap();
    symlink("/nowhere", site.store().join("lock")).unwrap();
    beat(&site, &held.id, "alice").is_json(0, &[], &extended(&held.id, "alice", 3600));
    let error = beat(&site, &other.id, "bob").is_failure(3, "store_damaged", Some(&other.id));
    assert!(error.contains(&other.id), "{error}");
    // While somebody holds the store's lock too.
    fs::remove_file(site.store().join("lock")).unwrap();
    let lock = fs::File::create(site.store().join("lock")).unwrap();
    lock.lock().unwrap();
    beat(&site, &held.id, "alice").is_json(0, &[], &extended(&held.id, "alice", 3600));
    drop(lock);
}

#[test]
fn point_7_the_two_failures_with_exit_1_begin_with_different_sentences() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    site.coord(&["release", &held.id]).run_id("alice").run().is_success();
    let stop = heartbeat(&site, &held.id).run_id("alice").run();
    let bad_id = heartbeat(&site, "sha256:").run_id("alice").run();
    let bad_args = heartbeat(&site, &held.id).run_id("").run();
    for answer in [&stop, &bad_id, &bad_args] {
        assert_eq!(answer.code, 1);
    }
    assert!(stop.stderr.starts_with("error: reservation sha256:"), "{stop:?}");
    assert!(bad_id.stderr.starts_with("error: a reservation id is"), "{bad_id:?}");
    assert!(bad_args.stderr.starts_with("error: the run id is"), "{bad_args:?}");
}

#[test]
fn point_10_a_closed_pipe_is_silent_and_keeps_the_exit_code() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let released = site.reserve("alice", "b.py", &[]);
    site.coord(&["release", &released.id]).run_id("alice").run().is_success();
    let lapsed = site.lapsed("alice", "c.py", 100);
    for json in [&[][..], &["--json"]] {
        for (id, code) in [(&*held.id, 0), (&released.id, 1), (ABSENT, 4), ("nonsense", 1), (&lapsed.id, 0)] {
            let (reader, writer) = pipe().unwrap();
            drop(reader);
            let answer = heartbeat(&site, id).run_id("alice").args(json).stdout(writer).run();
            assert_eq!(answer.code, code, "{answer:?}");
            assert!(!answer.stderr.contains("panic") && !answer.stderr.contains("cannot be printed"));
            if !json.is_empty() || id == held.id {
                assert_eq!(answer.stderr, "");
            }
        }
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let answer = site.coord(&["heartbeat", "--what"]).args(json).stdout(writer).run();
        assert_eq!(answer.code, 2);
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let answer = site.coord(&["heartbeat", "--help"]).args(json).stdout(writer).run();
        assert_eq!((answer.code, &*answer.stderr), (0, ""));
    }
    assert_eq!(seconds_between(&stored(&site, &held.id)), 3600, "it was carried out");
    assert_eq!(seconds_between(&stored(&site, &lapsed.id)), 3600);
    // The same for the other stream.
    let answer = heartbeat(&site, &released.id).run_id("alice").through_shell("2>&-").run();
    answer.is_text(1, "", "");
}

#[test]
fn point_10_any_other_write_error_says_that_the_heartbeat_was_carried_out() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for json in [&[][..], &["--json"]] {
        if let Err(error) = fs::remove_file(site.record("heartbeats", &held.id)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
        let answer = heartbeat(&site, &held.id).run_id("alice").args(json).stdout(full()).run();
        answer.is_text_failure(3, &["the heartbeat was carried out", "No space left on device"]);
        assert_eq!(answer.stderr.lines().count(), 1);
        assert_eq!(seconds_between(&stored(&site, &held.id)), 3600);
    }
    let answer = beat(&site, ABSENT, "alice");
    assert_eq!(answer.code, 4);
    let answer = heartbeat(&site, ABSENT).run_id("alice").arg("-j").stdout(full()).run();
    answer.is_text_failure(3, &["nothing was changed"]);
    let answer = site.coord(&["heartbeat", "--all", "--run-id", "alice", "-j"]).stdout(full()).run();
    answer.is_text_failure(3, &["the heartbeats were carried out"]);
}

#[test]
fn closed_streams_do_not_hurt() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let call = || heartbeat(&site, &held.id).run_id("alice").arg("--json");
    call().through_shell("<&-").run().is_json(0, &[], &extended(&held.id, "alice", 3600));
    call().through_shell("2>&-").run().is_json(0, &[], &extended(&held.id, "alice", 3600));
    let record = fs::read(site.record("reservations", &held.id)).unwrap();
    fs::remove_file(site.record("heartbeats", &held.id)).unwrap();
    let answer = call().through_shell("<&- >&- 2>&-").run();
    assert_eq!((answer.code, &*answer.stdout, &*answer.stderr), (0, "", ""));
    // Nothing that was meant for a stream went into a file that got its number.
    assert_eq!(fs::read(site.record("reservations", &held.id)).unwrap(), record);
    assert_eq!(seconds_between(&stored(&site, &held.id)), 3600);
}

#[test]
fn json_goes_to_stdout_and_text_to_stderr_for_every_failure() {
    let site = Site::new();
    let elsewhere = Site::without_store();
    let held = site.reserve("alice", "a.py", &[]);
    site.coord(&["release", &held.id]).run_id("alice").run().is_success();
    let lost = site.fabricate("alice", "b.py", Mode::Exclusive, -600, 60);
    site.reserve("bob", "b.py", &[]);
    let broken = site.reserve("alice", "c.py", &[]);
    fs::write(site.record("reservations", &broken.id), "").unwrap();
    let calls: [(&Site, &[&str], i32); 8] = [
        (&site, &["--what"], 2),
        (&site, &[&held.id, "--run-id", ""], 1),
        (&site, &["nonsense", "--run-id", "alice"], 1),
        (&elsewhere, &[ABSENT, "--run-id", "alice"], 2),
        (&site, &[&held.id, "--run-id", "alice"], 1),
        (&site, &[ABSENT, "--run-id", "alice"], 4),
        (&site, &[&lost.id, "--run-id", "alice"], 4),
        (&site, &[&broken.id, "--run-id", "alice"], 3),
    ];
    for (folder, arguments, code) in calls {
        let answer = folder.coord(&["heartbeat"]).args(arguments).json();
        assert_eq!((answer.code, &*answer.stderr), (code, ""), "{arguments:?}");
        assert_eq!(answer.stdout.matches('\n').count(), 1);
        assert_eq!(answer.value()["exit_code"], code);
        assert_eq!(answer.value()["schema"], 1);
        let answer = folder.coord(&["heartbeat"]).args(arguments).run();
        answer.is_text_failure(code, &[]);
    }
}

#[test]
fn the_time_is_told_to_the_second_in_text() {
    let site = Site::new();
    let held = site.coord(&["reserve", "a.py", "--ttl", HOUR]).run_id("alice").granted();
    let answer = heartbeat(&site, &held.id).run_id("alice").args(&["--extension", "7200"]).run();
    let text = answer.stdout.split_once("extended until ").unwrap().1.split_once(' ').unwrap().0;
    assert_eq!(text.len(), "2026-01-01T00:00:00Z".len(), "{text}");
    let until: muse_coord::Timestamp = serde_json::from_value(text.into()).unwrap();
    let off = until.as_microseconds() - from_now(7200).as_microseconds();
    assert!((-60_000_000..=0).contains(&off), "{off}");
}

/// The system calls of a heartbeat, from the first of its own, which asks for the current directory: those of the
/// loader and of the language's runtime before it are not ours.
#[cfg(target_os = "linux")]
fn own_calls(site: &Site, folder: &Path, held: &Held, flags: &[&str]) -> usize {
    muse_testkit::strace::need_strace();
    let log = site.at("calls");
    let words = ["-o", log.to_str().unwrap(), env!("CARGO_BIN_EXE_muse"), "coord", "heartbeat", &held.id];
    let mut call = Muse::of_program(Path::new("strace"), folder, &words);
    call = call.args(&["--run-id", "alice"]).args(flags).env("TERM", "xterm");
    call.run().is_success();
    let calls = fs::read_to_string(&log).unwrap();
    let own = calls.lines().skip_while(|line| !line.starts_with("getcwd("));
    // Where the program is built for tests, std asks for a file's flags before it closes it.
    own.filter(|line| !line.starts_with("+++") && !line.starts_with("fcntl(")).count()
}

/// The limit is 60 at the top of the repository, with the runtime's, of which there are 23.
#[cfg(target_os = "linux")]
#[test]
fn it_makes_few_system_calls() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let below = site.folder("one/two/three");
    // The first heartbeat has none to read.
    site.coord(&["heartbeat", &held.id]).run_id("alice").run().is_success();
    for flags in [&[][..], &["--json"]] {
        let at_the_top = own_calls(&site, site.path(), &held, flags);
        assert!((30..=37).contains(&at_the_top), "{at_the_top} with {flags:?}");
        // `.muse`, `.git` and `HEAD` in each folder; and once whether the kernel has the call that asked.
        let asked = own_calls(&site, &below, &held, flags) - at_the_top;
        assert!(asked <= 3 * 3 + 1, "{asked} more with {flags:?}");
    }
}
