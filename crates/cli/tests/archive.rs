//! `gc`, `log`, and what the other commands say of archived reservations: whole answers, as JSON and as text.

#![expect(clippy::disallowed_methods, reason = "tests write files and make links")]

use std::fs;

mod support;

use support::{ABSENT, Answer, Held, Json, Muse, NULL, Site, names, object};

fn gc(site: &Site, flags: &[&str]) -> Muse {
    site.coord(&["gc"]).args(flags)
}

fn log(site: &Site, flags: &[&str]) -> Muse {
    site.coord(&["log"]).args(flags)
}

fn archive(site: &Site) -> std::path::PathBuf {
    let folder = site.store().join("archive");
    let names = names(&folder);
    assert_eq!(names.len(), 1, "{names:?}");
    folder.join(&names[0])
}

/// One that its holder released, one that lapsed two hours ago, one that a coordinator took away.
fn three(site: &Site) -> [Held; 3] {
    let lapsed = site.lapsed("bob", "b.py", 7200);
    let released = site.reserve("alice", "a.py", &[]);
    site.coord(&["release", &released.id, "--reason", "done"]).run_id("alice").run().is_success();
    let taken = site.reserve("carol", "c.py", &["--op", "modify"]);
    let force = ["release", &taken.id, "--force", "--reason", "stuck\u{1b}[31m"];
    site.coord(&force).run_id("boss").run().is_success();
    [lapsed, released, taken]
}

fn collected(archived: u64, older_than: u64, bytes: u64, dry_run: bool) -> Json {
    let time = |is: bool| if is { "\"TIME\"".to_owned() } else { "null".to_owned() };
    let time = Json(time(archived > 0));
    object! {
        "status": "ok", "dry_run": dry_run, "older_than_seconds": older_than, "archived": archived, "skipped": 0_u64,
        "bytes": bytes, "first_ended_at": time.clone(), "last_ended_at": time,
    }
}

#[test]
fn gc_moves_what_is_over() {
    let site = Site::new();
    gc(&site, &[]).json().is_json(0, &[], &collected(0, 3600, 0, false));
    gc(&site, &[]).run().is_text(0, "", "nothing that ended 1h ago or earlier\n");
    three(&site);
    let before = site.snapshot();
    gc(&site, &["--dry-run"]).json().is_json(0, &[], &collected(1, 3600, 0, true));
    gc(&site, &["--dry-run", "--older-than", "0"]).json().is_json(0, &[], &collected(3, 0, 0, true));
    assert_eq!(site.snapshot(), before, "a dry run changes nothing");

    let answer = gc(&site, &[]).json();
    let bytes = fs::metadata(archive(&site)).unwrap().len();
    answer.is_json(0, &[], &collected(1, 3600, bytes, false));
    let answer = gc(&site, &["--older-than", "0"]).run();
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    assert!(answer.stdout.starts_with("archived 2 reservations, which ended between "), "{answer:?}");
    for room in ["reservations", "heartbeats", "releases", "superseded", "tmp"] {
        assert_eq!(names(&site.store().join(room)), [""; 0], "{room}");
    }
    assert_eq!(fs::read_to_string(archive(&site)).unwrap().lines().count(), 3);
}

#[test]
fn gc_checks_its_arguments() {
    let site = Site::new();
    for wrong in ["-1", "31536001", "99999999999999999999"] {
        let error = gc(&site, &["--older-than", wrong]).json().is_failure(1, "bad_args", None);
        assert_eq!(error, "--older-than must be from 0 to 31536000 seconds; nothing was archived");
    }
    gc(&site, &["--older-than", "1h"]).json().is_failure(2, "usage", None);
    let site = Site::without_store();
    gc(&site, &[]).json().is_failure(2, "not_a_repository", None);
    log(&site, &[]).json().is_failure(2, "not_a_repository", None);
}

#[test]
fn gc_tells_what_it_cannot_read_and_moves_the_rest() {
    let site = Site::new();
    let [lapsed, ..] = three(&site);
    let path = site.record("reservations", &lapsed.id);
    fs::write(&path, "{}").unwrap();
    let answer = gc(&site, &["--older-than", "0"]).json();
    assert_eq!(answer.code, 3);
    assert_eq!(
        (answer.field("status").as_str(), answer.value()["archived"].as_u64()),
        ("store_damaged", Some(2))
    );
    assert!(answer.field("error").contains(path.to_str().unwrap()));
    assert!(path.exists());
}

#[test]
fn log_tells_who_held_what() {
    let site = Site::new();
    let [lapsed, released, taken] = three(&site);
    let held = site.reserve("dave", "b.py", &[]);
    let row = |held: &Held, run: &str, address: &str, archived: bool| {
        (held.id.clone(), held.token, run.to_owned(), vec![address.to_owned()], archived)
    };
    let entries = |archived: bool| -> Json {
        let entry = |(id, token, run, addresses, archived): (String, u64, String, Vec<String>, bool),
                     operation: Json,
                     seconds: u64,
                     state: &str,
                     ended_by: Json,
                     forced: bool,
                     reason: Json,
                     superseded_by: Json| {
            let ended = if state == "active" { null() } else { Json("\"TIME\"".to_owned()) };
            object! {
                "reservation_id": id, "token": token, "run_id": run, "branch": NULL, "addresses": addresses,
                "mode": "exclusive", "operation": operation, "created_at": "TIME", "ended_at": ended,
                "held_seconds": seconds, "state": state, "archived": archived, "last_beat_at": NULL,
                "ended_by": ended_by, "forced": forced, "reason": reason, "superseded_by": superseded_by,
            }
        };
        let text = |text: &str| Json(serde_json::to_string(text).unwrap());
        let all = vec![
            entry(
                row(&lapsed, "bob", "b.py", archived),
                text("rename"),
                60,
                "superseded",
                text("dave"),
                false,
                null(),
                text(&held.id),
            ),
            entry(
                row(&released, "alice", "a.py", archived),
                null(),
                0,
                "released",
                text("alice"),
                false,
                text("done"),
                null(),
            ),
            entry(
                row(&taken, "carol", "c.py", archived),
                text("modify"),
                0,
                "released",
                text("boss"),
                true,
                text("stuck\u{1b}[31m"),
                null(),
            ),
            entry(row(&held, "dave", "b.py", false), null(), 0, "active", null(), false, null(), null()),
        ];
        object! { "status": "ok", "count": 4_u64, "entries": all, "truncated": false }
    };
    let redact = |answer: Answer| Answer { stdout: seconds_of_now(&answer.stdout), ..answer };
    redact(log(&site, &[]).json()).is_json(0, &[], &entries(false));
    gc(&site, &["--older-than", "0"]).run().is_success();
    redact(log(&site, &[]).json()).is_json(0, &[], &entries(true));

    let answer = log(&site, &["--limit", "2"]).run();
    assert_eq!(answer.code, 0);
    assert_eq!(answer.stderr, "hint: older ones are left out: --limit N shows more than 2\n");
    assert!(!answer.stdout.contains('\u{1b}') && answer.stdout.contains("by boss, forced: stuck[31m"));
    assert!(answer.stdout.lines().all(|line| line.chars().count() < 100), "{}", answer.stdout);
    for (flags, tokens) in [
        (&["--run-id", "bob"][..], &[lapsed.token][..]),
        (&["--address", "b.py::f"], &[lapsed.token, held.token]),
        (&["--until", "1h"], &[lapsed.token]),
        (&["--since", "1h"], &[released.token, taken.token, held.token]),
        (&["--since", "2h1m", "--until", "2h"], &[lapsed.token]),
        (&["--until", "1970-01-01T00:00:00Z"], &[]),
    ] {
        let answer = log(&site, flags).json();
        let entries = answer.value()["entries"].as_array().unwrap().clone();
        let found: Vec<u64> = entries.iter().map(|entry| entry["token"].as_u64().unwrap()).collect();
        assert_eq!(found, tokens, "{flags:?}");
    }
    log(&site, &["--run-id", "nobody"]).run().is_text(0, "", "no reservations to show\n");
}

fn null() -> Json {
    Json("null".to_owned())
}

/// What was held for a moment may have been held over the turn of a second.
fn seconds_of_now(answer: &str) -> String {
    answer.replace("\"held_seconds\":1,", "\"held_seconds\":0,")
}

#[test]
fn log_checks_its_arguments() {
    let site = Site::new();
    for flag in ["--since", "--until"] {
        for wrong in ["", "yesterday", "2026-11-22", "2026-11-22T10:00:00", "-2h", "1mo", "\u{1b}"] {
            let error = log(&site, &[flag, wrong]).json().is_failure(1, "bad_args", None);
            assert!(error.starts_with(flag) && error.contains("such as 90s, 2h"), "{error}");
        }
    }
    for wrong in ["99999-01-01T00:00:00Z", "1000000000000h"] {
        let error = log(&site, &["--since", wrong]).json().is_failure(1, "bad_args", None);
        assert!(error.starts_with("--since: out of range: give how long ago, such as 90s"), "{error}");
    }
    let limits = [
        ("0", "leave it out"),
        ("-1", "leave it out"),
        ("100001", "narrow the span"),
        ("99999999999999999999", "narrow the span"),
    ];
    for (wrong, advice) in limits {
        let error = log(&site, &["--limit", wrong]).json().is_failure(1, "bad_args", None);
        let expected = format!("--limit is how many to show, from 1 to 100000: {advice}");
        assert!(error.starts_with(&expected), "{error}");
    }
    log(&site, &["--limit", "many"]).json().is_failure(2, "usage", None);
    let error = log(&site, &["--since", "1h", "--until", "2h"]).json().is_failure(1, "bad_args", None);
    assert!(error.ends_with("exchange them"), "{error}");
}

#[test]
fn log_tells_what_it_cannot_read_and_shows_the_rest() {
    let site = Site::new();
    three(&site);
    gc(&site, &["--older-than", "0"]).run().is_success();
    let path = archive(&site);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // A torn tail is nothing; garbage in the middle is told, by file and line.
    fs::write(&path, format!("{}\n{}\n{}\n{{\"torn", lines[0], &lines[1][..100], lines[2])).unwrap();
    let answer = log(&site, &[]).json();
    assert_eq!((answer.code, answer.field("status").as_str()), (3, "store_damaged"));
    assert_eq!(answer.value()["count"], 2);
    let named = format!("{}, line 2, is damaged", path.display());
    assert!(answer.field("error").starts_with(&named), "{answer:?}");
    let hint = "`muse coord fsck` says what is wrong, and with --repair puts it right";
    assert!(answer.field("error").ends_with(hint), "{answer:?}");
    let answer = log(&site, &[]).run();
    assert_eq!(answer.code, 3);
    assert!(answer.stderr.contains(&named) && answer.stdout.contains("carol"));

    // Thousands of such lines are not told one by one.
    fs::write(&path, format!("{}\n{}", lines[0], "garbage\n".repeat(3000))).unwrap();
    let answer = log(&site, &[]).json();
    assert_eq!((answer.code, answer.value()["count"].as_u64()), (3, Some(1)));
    let warnings = answer.value()["warnings"].as_array().unwrap().clone();
    assert_eq!(warnings.len(), 20);
    assert_eq!(warnings[19], "2980 more could not be read");
}

#[test]
fn what_is_archived_is_shown_and_is_over() {
    let site = Site::new();
    let [lapsed, _, taken] = three(&site);
    gc(&site, &["--older-than", "0"]).run().is_success();
    let answer = site.coord(&["show", &taken.id]).json();
    assert_eq!(answer.code, 0, "{answer:?}");
    let value = answer.value();
    assert_eq!(value["reservation"]["state"], "archived");
    assert_eq!(value["reservation"]["expires_in_seconds"], 0);
    assert_eq!(value["release"]["run_id"], "boss");
    assert_eq!(value["archived"]["state"], "released");
    assert_eq!(value["archived"]["ended_at"], value["release"]["released_at"]);
    assert_eq!(value["record_path"], archive(&site).to_str().unwrap());
    let answer = site.coord(&["show", &lapsed.id]).run();
    assert!(answer.stdout.contains("state       archived, lapsed "), "{answer:?}");

    let release = |id: &str| site.coord(&["release", id]).run_id("carol").json();
    let answer = release(&taken.id);
    assert_eq!(answer.value()["reservations"][0]["status"], "already_released");
    assert_eq!(answer.code, 0);
    for id in [&*lapsed.id, ABSENT] {
        assert_eq!(release(id).value()["status"], "not_found");
        site.coord(&["heartbeat", id]).run_id("bob").json().is_failure(4, "not_found", Some(id));
    }
    site.coord(&["heartbeat", &taken.id]).run_id("carol").json().is_failure(4, "not_found", Some(&taken.id));
    assert_eq!(site.coord(&["list", "--all"]).json().value()["count"], 0);
}

#[test]
fn nothing_of_a_bar_is_seen_where_no_terminal_is() {
    let site = Site::new();
    three(&site);
    let answer = gc(&site, &["--older-than", "0"]).env("TERM", "xterm").run();
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    let answer = log(&site, &[]).env("TERM", "xterm").run();
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
}
