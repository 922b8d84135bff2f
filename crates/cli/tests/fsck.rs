//! `muse coord fsck`: every kind of damage is found, named and repaired, nothing is lost by it, and the store serves
//! afterwards; beside busy writers there are no false alarms.

#![expect(clippy::disallowed_methods, reason = "tests write, move and link files")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use muse_coord::Mode;
use serde_json::Value;

mod support;

use support::{Answer, Held, Site, dangle, edit, make_fifo, move_aside, names, set_mode};

/// A finding: its path below the store, its kind, and whether it was repaired.
type Told = (String, String, bool);

fn told(site: &Site, list: &Value) -> Vec<Told> {
    let store = site.store();
    list.as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let path = finding["path"].as_str().unwrap();
            let below = path.strip_prefix(store.to_str().unwrap()).unwrap_or(path).trim_start_matches('/');
            assert!(!finding["detail"].as_str().unwrap().is_empty());
            let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
            assert_eq!(keys.len(), 5, "{keys:?}");
            (
                below.to_owned(),
                finding["kind"].as_str().unwrap().to_owned(),
                finding["repaired"].as_bool().unwrap(),
            )
        })
        .collect()
}

/// A store with a reservation of Alice and of Bob, each with a heartbeat; Zoe's is superseded by Yan's, Xia's released.
struct Scene {
    site: Site,
    alice: Held,
    bob: Held,
    zoe: Held,
    xia: Held,
}

impl Scene {
    fn new() -> Scene {
        let site = Site::new();
        let alice = site.reserve_and_beat("alice", "a.py");
        let bob = site.reserve_and_beat("bob", "b.py");
        let zoe = site.lapsed("zoe", "z.py", 10);
        site.reserve("yan", "z.py", &[]);
        let xia = site.reserve("xia", "x.py", &[]);
        site.coord(&["release", &xia.id]).run_id("xia").run().is_success();
        Scene { site, alice, bob, zoe, xia }
    }

    fn fsck(&self, flags: &[&str]) -> Answer {
        let all: Vec<&str> = std::iter::once("fsck").chain(flags.iter().copied()).collect();
        self.site.coord(&all).json()
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        content(self.site.path())
    }

    /// Finds just this, twice, repairs it, and is clean then; the store serves.
    #[track_caller]
    fn is_found_and_repaired(&self, what: &str, expected: &[(&str, &str)]) {
        self.is_found(what, expected);
        let before = self.bytes();
        let answer = self.fsck(&["--repair"]);
        nothing_is_lost(&before, &self.bytes(), what);
        let value = answer.value();
        let repaired: Vec<Told> =
            expected.iter().map(|(path, kind)| ((*path).to_owned(), (*kind).to_owned(), true)).collect();
        assert_eq!(told(&self.site, &value["findings"]), repaired, "{what}: {value:#}");
        assert_eq!(
            (answer.code, &value["status"], &value["repaired"]),
            (0, &"ok".into(), &true.into()),
            "{what}"
        );
        assert!(value.get("error").is_none(), "{what}");
        self.is_clean(what);
        self.serves(what);
        self.is_clean(what);
    }

    #[track_caller]
    fn is_found(&self, what: &str, expected: &[(&str, &str)]) {
        for _ in 0..2 {
            let before = self.site.snapshot();
            let answer = self.fsck(&[]);
            let value = answer.value();
            let found: Vec<Told> =
                expected.iter().map(|(path, kind)| ((*path).to_owned(), (*kind).to_owned(), false)).collect();
            assert_eq!(told(&self.site, &value["findings"]), found, "{what}: {value:#}");
            assert_eq!((answer.code, &value["status"]), (3, &"store_damaged".into()), "{what}");
            assert!(answer.field("error").contains("fsck --repair"), "{what}");
            assert_eq!(self.site.snapshot(), before, "{what}: it only looks");
        }
        let text = self.site.coord(&["fsck"]).run();
        assert_eq!(text.code, 3);
        for (path, kind) in expected {
            assert!(
                text.stdout.contains(path) && text.stdout.contains(&format!(": {kind}: ")),
                "{what}: {text:?}"
            );
        }
    }

    #[track_caller]
    fn is_clean(&self, what: &str) {
        let answer = self.fsck(&[]);
        let value = answer.value();
        assert_eq!((answer.code, told(&self.site, &value["findings"])), (0, vec![]), "{what}: {value:#}");
        assert_eq!((&value["status"], &value["repaired"]), (&"ok".into(), &false.into()), "{what}");
    }

    #[track_caller]
    fn serves(&self, what: &str) {
        let site = &self.site;
        let held = site.coord(&["reserve", "free.py"]).run_id("eve").json();
        assert_eq!(held.code, 0, "{what}: {held:?}");
        assert_eq!(site.coord(&["list"]).json().code, 0, "{what}");
        assert_eq!(site.coord(&["list", "--all"]).json().code, 0, "{what}");
        if site.record("reservations", &self.bob.id).is_file() {
            let answer = site.coord(&["heartbeat", &self.bob.id]).run_id("bob").json();
            assert_eq!(answer.code, 0, "{what}: {answer:?}");
        }
        let id = held.field("reservation_id");
        let answer = site.coord(&["release", &id]).run_id("eve").json();
        assert_eq!(answer.code, 0, "{what}: {answer:?}");
    }
}

/// The bytes of every file below a folder, sorted.
fn content(top: &Path) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(folder) = open.pop() {
        for name in fs::read_dir(folder).unwrap() {
            let path = name.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                open.push(path);
            } else if metadata.is_file() {
                found.push(fs::read(path).unwrap());
            }
        }
    }
    found.sort();
    found
}

/// What was there before is there now.
#[track_caller]
fn nothing_is_lost(before: &[Vec<u8>], after: &[Vec<u8>], what: &str) {
    let mut left = after.to_vec();
    for bytes in before {
        let found = left.iter().position(|other| other == bytes);
        assert!(found.is_some(), "{what}: lost {}", String::from_utf8_lossy(bytes));
        left.swap_remove(found.unwrap());
    }
}

type Change = fn(&Path);
type Swap = fn(&Path, &Path);
type Damage = (&'static str, &'static str, Change);

/// What can be wrong with a record, and the word for it.
const DAMAGES: [Damage; 13] = [
    ("emptied", "truncated", |path| fs::write(path, "").unwrap()),
    ("NUL", "truncated", |path| fs::write(path, [0; 300]).unwrap()),
    ("cut", "truncated", |path| edit(path, |text| text[..text.len() / 2].to_owned())),
    ("without its last brace", "truncated", |path| edit(path, |text| text[..text.len() - 2].to_owned())),
    ("edited", "edited", |path| edit(path, |text| text.replace("\"alice\"", "\"mallory\""))),
    ("with a field more", "edited", |path| edit(path, |text| text.replacen('{', "{\n  \"admin\": true,", 1))),
    ("junk", "malformed", |path| fs::write(path, "junk").unwrap()),
    ("followed by junk", "malformed", |path| edit(path, |text| format!("{text}{text}"))),
    ("another one's", "misnamed", |path| {
        edit(path, |text| {
            let (before, after) = text.split_once("sha256:").unwrap();
            format!("{before}{}{}", support::ABSENT, &after[64..])
        });
    }),
    ("a folder", "not_a_file", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
        fs::write(path.join("inside"), "kept").unwrap();
    }),
    ("a link to a whole record", "not_a_file", move_aside),
    ("a dangling link", "not_a_file", dangle),
    ("a FIFO", "not_a_file", make_fifo),
];

/// The path of a record below the store.
fn below(room: &str, held: &Held) -> String {
    format!("{room}/{}.json", held.id)
}

#[test]
fn a_sound_store_is_clean() {
    let scene = Scene::new();
    let answer = scene.site.coord(&["fsck"]).run();
    assert_eq!((answer.code, &*answer.stdout), (0, "nothing is wrong\n"), "{answer:?}");
    let before = scene.site.snapshot();
    let answer = scene.fsck(&[]);
    answer.is_json(
        0,
        &[],
        &support::object! {
            "status": "ok",
            "repaired": false,
            "findings": Vec::<i32>::new(),
            "notices": Vec::<i32>::new(),
            "checked": support::object! {
                "records": 5, "companions": 4, "archived": 0, "tickets": 0, "index_entries": 0,
            },
        },
    );
    assert_eq!(scene.fsck(&["--repair"]).value()["findings"], serde_json::json!([]));
    assert_eq!(scene.site.snapshot(), before);
}

#[test]
fn a_damaged_reservation() {
    for (what, kind, damage) in DAMAGES {
        let scene = Scene::new();
        let path = scene.site.record("reservations", &scene.alice.id);
        damage(&path);
        let name = below("reservations", &scene.alice);
        scene.is_found_and_repaired(what, &[(&name, kind)]);
        assert!(path.symlink_metadata().is_err(), "{what}");
        // The record and its heartbeat.
        let quarantine = names(&scene.site.store().join("quarantine"));
        let expected =
            [format!("heartbeats-{}.json", scene.alice.id), format!("reservations-{}.json", scene.alice.id)];
        assert_eq!(quarantine, expected, "{what}");
        // Whoever held it is told to reserve again, and can.
        let answer = scene.site.coord(&["heartbeat", &scene.alice.id]).run_id("alice").json();
        assert_eq!(answer.code, 4, "{what}: {answer:?}");
        scene.site.reserve("alice", "a.py", &[]);
    }
}

#[test]
fn a_damaged_heartbeat() {
    for (what, kind, damage) in DAMAGES {
        if kind == "edited" {
            continue; // A heartbeat is not hashed.
        }
        let scene = Scene::new();
        damage(&scene.site.record("heartbeats", &scene.alice.id));
        scene.is_found_and_repaired(what, &[(&below("heartbeats", &scene.alice), kind)]);
        scene.site.coord(&["heartbeat", &scene.alice.id]).run_id("alice").run().is_success();
    }
}

#[test]
fn a_damaged_tombstone_keeps_the_reservation_released() {
    for (what, kind, damage) in DAMAGES {
        if kind == "edited" {
            continue;
        }
        let scene = Scene::new();
        damage(&scene.site.record("releases", &scene.xia.id));
        scene.is_found_and_repaired(what, &[(&below("releases", &scene.xia), kind)]);
        let shown = scene.site.coord(&["show", &scene.xia.id]).json().value();
        assert_eq!(shown["reservation"]["state"], "released", "{what}");
        assert_eq!(shown["release"]["run_id"], "muse-fsck", "{what}");
        let answer = scene.site.coord(&["heartbeat", &scene.xia.id]).run_id("xia").json();
        assert_eq!(answer.code, 1, "{what}");
    }
}

#[test]
fn a_damaged_supersession_never_gives_the_reservation_back() {
    for (what, kind, damage) in DAMAGES {
        if kind == "edited" {
            continue;
        }
        let scene = Scene::new();
        damage(&scene.site.record("superseded", &scene.zoe.id));
        scene.is_found_and_repaired(what, &[(&below("superseded", &scene.zoe), kind)]);
        let answer = scene.site.coord(&["heartbeat", &scene.zoe.id]).run_id("zoe").json();
        assert_eq!((answer.code, &*answer.field("status")), (1, "already_released"), "{what}");
    }
}

#[test]
fn what_a_newer_version_wrote_is_told_and_left() {
    for room in ["reservations", "heartbeats"] {
        let scene = Scene::new();
        let path = scene.site.record(room, &scene.alice.id);
        edit(&path, |text| text.replace("\"schema_version\": 1", "\"schema_version\": 7"));
        let before = scene.site.snapshot();
        for flags in [&[][..], &["--repair"]] {
            let answer = scene.fsck(flags);
            let value = answer.value();
            assert_eq!(answer.code, 3);
            let expected = vec![(below(room, &scene.alice), "too_new".to_owned(), false)];
            assert_eq!(told(&scene.site, &value["findings"]), expected);
            assert!(value["findings"][0]["action"].as_str().unwrap().contains("upgrade"));
        }
        assert_eq!(scene.site.snapshot(), before);
    }
}

#[test]
fn strays_and_records_under_other_names() {
    for room in ["reservations", "heartbeats", "releases", "superseded"] {
        let scene = Scene::new();
        let folder = scene.site.store().join(room);
        fs::write(folder.join("junk.json"), "{}").unwrap();
        fs::write(folder.join(OsStr::from_bytes(b"\xff\xfe")), "x").unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        symlink("/nowhere", folder.join("link")).unwrap();
        let name = |name: &str| format!("{room}/{name}");
        scene.is_found_and_repaired(
            room,
            &[
                (&name("folder"), "stray"),
                (&name("junk.json"), "stray"),
                (&name("link"), "stray"),
                (&name("\u{fffd}\u{fffd}"), "stray"),
            ],
        );
    }
    let scene = Scene::new();
    let path = scene.site.record("reservations", &scene.alice.id);
    fs::rename(&path, path.with_file_name(format!("{}.json", support::ABSENT))).unwrap();
    let found = format!("reservations/{}.json", support::ABSENT);
    // Its heartbeat has no record any more.
    scene.is_found_and_repaired(
        "renamed",
        &[(&below("heartbeats", &scene.alice), "orphan"), (&found, "misnamed")],
    );
}

#[test]
fn names_that_are_taken_in_the_quarantine_get_a_number() {
    let scene = Scene::new();
    let stray = scene.site.store().join("releases/stray");
    for content in ["one", "two", "three"] {
        fs::write(&stray, content).unwrap();
        assert_eq!(scene.fsck(&["--repair"]).code, 0);
    }
    let quarantine = scene.site.store().join("quarantine");
    assert_eq!(names(&quarantine), ["releases-stray", "releases-stray.2", "releases-stray.3"]);
    assert_eq!(fs::read_to_string(quarantine.join("releases-stray")).unwrap(), "one");
    assert_eq!(fs::read_to_string(quarantine.join("releases-stray.3")).unwrap(), "three");
}

#[test]
fn missing_and_replaced_folders() {
    for room in ["reservations", "heartbeats", "releases", "superseded", "tmp", "archive", "intents"] {
        let make: [(&str, Swap); 3] = [
            ("folder_missing", |_, _| {}),
            ("folder_replaced", |folder, aside| symlink(aside, folder).unwrap()),
            ("folder_replaced", |folder, _| fs::write(folder, "content").unwrap()),
        ];
        for (kind, make) in make {
            let scene = Scene::new();
            let folder = scene.site.store().join(room);
            let aside = scene.site.at("aside");
            fs::rename(&folder, &aside).unwrap();
            make(&folder, &aside);
            let before = scene.bytes();
            let answer = scene.fsck(&[]);
            assert_eq!(answer.code, 3);
            let found = told(&scene.site, &answer.value()["findings"]);
            assert!(found.contains(&(room.to_owned(), kind.to_owned(), false)), "{room}: {found:?}");
            let repaired = scene.fsck(&["--repair"]).value();
            let list = told(&scene.site, &repaired["findings"]);
            assert!(list.contains(&(room.to_owned(), kind.to_owned(), true)), "{room}: {list:?}");
            nothing_is_lost(&before, &scene.bytes(), room);
            if room == "superseded" {
                // Zoe's mark is gone with it, and both she and Yan hold: that is for people to decide.
                assert_eq!(list.len(), 2, "{list:?}");
                assert!(list.iter().any(|told| told.1 == "conflict"), "{list:?}");
                continue;
            }
            scene.is_clean(room);
            scene.serves(room);
        }
    }
}

#[test]
fn a_token_file_that_cannot_be_trusted() {
    let make: [(&str, Change); 9] = [
        ("token_missing", |path| fs::remove_file(path).unwrap()),
        ("token_damaged", |path| fs::write(path, "").unwrap()),
        ("token_damaged", |path| fs::write(path, "12").unwrap()),
        ("token_damaged", |path| fs::write(path, "-1\n").unwrap()),
        ("token_damaged", |path| fs::write(path, "9007199254740991\n").unwrap()),
        ("token_damaged", |path| fs::write(path, "99999999999999999999999999\n").unwrap()),
        ("token_behind", |path| fs::write(path, "12\n").unwrap()),
        ("token_damaged", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("token_damaged", |path| {
            let aside = path.ancestors().nth(3).unwrap().join("aside");
            fs::rename(path, &aside).unwrap();
            symlink(&aside, path).unwrap();
        }),
    ];
    for (kind, make) in make {
        let scene = Scene::new();
        let future = scene.site.fabricate("future", "future.py", Mode::Exclusive, 1000, 60);
        make(&scene.site.store().join("token"));
        scene.is_found_and_repaired(kind, &[("token", kind)]);
        assert!(scene.site.reserve("eve", "late.py", &[]).token > future.token, "{kind}");
    }
}

#[test]
fn a_lock_that_is_none() {
    let make: [fn(&Path); 2] =
        [|path| symlink("/nowhere", path).unwrap(), |path| fs::create_dir(path).unwrap()];
    for make in make {
        let scene = Scene::new();
        let lock = scene.site.store().join("lock");
        fs::remove_file(&lock).unwrap();
        make(&lock);
        let answer = scene.fsck(&[]);
        let found = told(&scene.site, &answer.value()["findings"]);
        assert_eq!((answer.code, found), (3, vec![("lock".to_owned(), "not_a_file".to_owned(), false)]));
        assert_eq!(scene.fsck(&["--repair"]).code, 0);
        scene.is_clean("lock");
        scene.serves("lock");
    }
}

#[test]
fn orphans() {
    let scene = Scene::new();
    for held in [&scene.alice, &scene.zoe, &scene.xia] {
        fs::rename(scene.site.record("reservations", &held.id), scene.site.at(&held.id)).unwrap();
    }
    scene.is_found_and_repaired(
        "records taken away",
        &[
            (&below("heartbeats", &scene.alice), "orphan"),
            (&below("releases", &scene.xia), "orphan"),
            (&below("superseded", &scene.zoe), "orphan"),
        ],
    );
}

#[test]
fn forged_pairs_are_for_people_to_decide() {
    let scene = Scene::new();
    let site = &scene.site;
    let rival = site.fabricate("rival", "a.py", Mode::Exclusive, 2, 3600);
    // Not in each other's way: shared, the same run, a descendant, another file, advisory.
    site.fabricate("s1", "s.py", Mode::Shared, 3, 3600);
    site.fabricate("s2", "s.py::f", Mode::Shared, 4, 3600);
    site.fabricate("bob", "b.py::f", Mode::Exclusive, 5, 3600);
    site.fabricate("bob/1", "b.py::g", Mode::Exclusive, 6, 3600);
    site.fabricate("adv", "./", Mode::Advisory, 7, 3600);
    site.coord(&["reserve", "late.py"]).run_id("late").granted();
    fs::write(site.store().join("token"), format!("{}\n", rival.token + 100_000)).unwrap();
    for flags in [&[][..], &["--repair"]] {
        let answer = scene.fsck(flags);
        let found = told(site, &answer.value()["findings"]);
        assert_eq!(
            (answer.code, found),
            (3, vec![(below("reservations", &rival), "conflict".to_owned(), false)])
        );
    }
    site.coord(&["release", &rival.id]).run_id("rival").run().is_success();
    scene.is_clean("one was released");
    // A whole folder against a file in it, and a token twice.
    let folder = site.fabricate("folder", "./", Mode::Shared, 8, 3600);
    let found = told(site, &scene.fsck(&[]).value()["findings"]);
    assert!(
        found.iter().all(|(path, kind, _)| *path == below("reservations", &folder) && kind == "conflict")
    );
    assert!(!found.is_empty());
}

#[test]
fn a_token_that_two_have() {
    let scene = Scene::new();
    let site = &scene.site;
    // Of one microsecond, and so of one token.
    let one = site.fabricate("one", "one.py", Mode::Exclusive, -5, 3600);
    let bytes = fs::read_to_string(site.record("reservations", &one.id)).unwrap();
    let other = with_id(site, &bytes.replace("one.py", "two.py").replace("\"one\"", "\"two\""));
    fs::write(site.record("reservations", &other.0), &other.1).unwrap();
    let found = told(site, &scene.fsck(&[]).value()["findings"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].1, "token_twice");
    site.coord(&["release", &one.id]).run_id("one").run().is_success();
    assert_eq!(told(site, &scene.fsck(&[]).value()["findings"]).len(), 1, "the other one stands still");
    site.coord(&["release", &other.0]).run_id("two").run().is_success();
    scene.is_clean("both have ended");
}

/// A record with the id that its content has.
fn with_id(site: &Site, text: &str) -> (String, String) {
    let mut fields: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
    fields.remove("reservation_id");
    // Keys are sorted, and RFC 8785 spells nothing in these records in another way.
    let canonical = site.file("canonical", &serde_json::to_string(&fields).unwrap());
    let output = support::tool("sha256sum", site.path(), &[canonical.to_str().unwrap()]);
    let id = format!("sha256:{}", &String::from_utf8(output.stdout).unwrap()[..64]);
    fields.insert("reservation_id".to_owned(), id.clone().into());
    (id, serde_json::to_string_pretty(&fields).unwrap() + "\n")
}

#[test]
fn whole_records_that_muse_does_not_write() {
    for (kind, from, to) in [
        ("bad_times", "\"expires_at\": \"2", "\"expires_at\": \"1"),
        ("bad_addresses", "\"alice.py\"", "\"src/../alice.py\""),
        ("bad_addresses", "\"alice.py\"", "\"b.py\",\n    \"alice.py\""),
    ] {
        let scene = Scene::new();
        let site = &scene.site;
        let held = site.fabricate("alice", "alice.py", Mode::Exclusive, -5, 3600);
        let path = site.record("reservations", &held.id);
        let (id, text) = with_id(site, &fs::read_to_string(&path).unwrap().replace(from, to));
        fs::remove_file(&path).unwrap();
        fs::write(site.record("reservations", &id), text).unwrap();
        scene.is_found_and_repaired(kind, &[(&format!("reservations/{id}.json"), kind)]);
    }
}

#[test]
fn what_is_normal_is_told_and_is_no_failure() {
    let scene = Scene::new();
    let site = &scene.site;
    let tmp = site.store().join("tmp");
    for name in ["token", "reservation-x", &format!("heartbeat-{}", &scene.alice.id[7..])] {
        fs::write(tmp.join(name), "half").unwrap();
    }
    fs::write(site.store().join("README"), "mine").unwrap();
    fs::create_dir(site.at(".muse/coordination.new-abc")).unwrap();
    fs::write(site.at(".muse/coordination.new-abc/token"), "5\n").unwrap();
    let answer = scene.fsck(&[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let mut kinds: Vec<String> =
        told(site, &answer.value()["notices"]).into_iter().map(|told| told.1).collect();
    kinds.sort();
    assert_eq!(
        kinds,
        ["temporary_file", "temporary_file", "temporary_file", "unfinished_store", "unknown_file"]
    );
    assert_eq!(names(&tmp).len(), 3, "it only looks");
    assert_eq!(scene.fsck(&["--repair"]).code, 0);
    assert_eq!(names(&tmp), Vec::<String>::new());
    assert_eq!(names(&site.at(".muse")), ["coordination"]);
    assert_eq!(names(&site.store().join("quarantine")), ["coordination.new-abc"]);
    let kinds: Vec<String> =
        told(site, &scene.fsck(&[]).value()["notices"]).into_iter().map(|told| told.1).collect();
    assert_eq!(kinds, ["unknown_file"]);

    // A folder among the temporary files is nobody's.
    fs::create_dir(tmp.join("folder")).unwrap();
    scene.is_found_and_repaired("a folder in tmp", &[("tmp/folder", "stray")]);
    // A heartbeat that is being written is left alone.
    fs::write(tmp.join(format!("heartbeat-{}", &scene.alice.id[7..])), "half").unwrap();
    let held = fs::File::open(site.record("reservations", &scene.alice.id)).unwrap();
    held.lock().unwrap();
    assert_eq!(told(site, &scene.fsck(&["--repair"]).value()["notices"]).len(), 1);
    assert_eq!(names(&tmp).len(), 1);
}

#[test]
fn tickets() {
    let scene = Scene::new();
    let waiting = scene.site.store().join("waiting");
    fs::create_dir_all(&waiting).unwrap();
    let number = "1795382883870.json";
    for (content, kind) in
        [("junk", "malformed"), ("{\"schema_version\": 1,", "truncated"), ("", "truncated")]
    {
        fs::write(waiting.join(number), content).unwrap();
        scene.is_found_and_repaired(kind, &[(&format!("waiting/{number}"), kind)]);
    }
    fs::write(waiting.join("stray"), "x").unwrap();
    symlink("/nowhere", waiting.join(number)).unwrap();
    scene.is_found_and_repaired(
        "waiting",
        &[(&format!("waiting/{number}"), "not_a_file"), ("waiting/stray", "stray")],
    );
    // Of a newer version, and one that is somebody's place.
    fs::write(waiting.join(number), "{\"schema_version\": 9}").unwrap();
    let found = told(&scene.site, &scene.fsck(&["--repair"]).value()["findings"]);
    assert_eq!(found, [(format!("waiting/{number}"), "too_new".to_owned(), false)]);
    fs::remove_file(waiting.join(number)).unwrap();
    let mut waiter = scene.site.coord(&["reserve", "a.py", "--wait", "60"]).run_id("eve");
    let mut waiter = waiter.command.stdout(std::process::Stdio::null()).spawn().unwrap();
    while names(&waiting).is_empty() {
        std::thread::yield_now();
    }
    let answer = scene.fsck(&["--repair"]);
    assert_eq!((answer.code, answer.value()["checked"]["tickets"].as_u64()), (0, Some(1)), "{answer:?}");
    assert_eq!(answer.value()["notices"], serde_json::json!([]));
    scene.site.coord(&["release", &scene.alice.id]).run_id("alice").run().is_success();
    assert!(waiter.wait().unwrap().success());
    scene.is_clean("nobody waits");
}

// The archive.

/// A store with three archived reservations; the path of the file.
fn archived() -> (Scene, PathBuf) {
    let scene = Scene::new();
    for number in 0..3 {
        let held = scene.site.reserve("old", &format!("old/{number}.py"), &[]);
        scene.site.coord(&["release", &held.id]).run_id("old").run().is_success();
    }
    scene.site.coord(&["gc", "--older-than", "0"]).run().is_success();
    let files = names(&scene.site.store().join("archive"));
    assert_eq!(files.len(), 1);
    let path = scene.site.store().join("archive").join(&files[0]);
    (scene, path)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn damaged_lines_of_the_archive() {
    let (scene, path) = archived();
    let whole = lines(&path);
    assert!(whole.len() >= 4, "{}", whole.len());
    let mut spoilt = whole.clone();
    spoilt[1] = spoilt[1].replacen("\"exclusive\"", "\"shared\"", 1);
    spoilt[2] = spoilt[2][..100].to_owned();
    spoilt.insert(3, String::new());
    fs::write(&path, spoilt.join("\n") + "\n").unwrap();
    let name = format!("archive/{}", path.file_name().unwrap().to_str().unwrap());
    let found = scene.fsck(&[]).value();
    let details: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["detail"].as_str().unwrap())
        .collect();
    for (number, detail) in [2, 3, 4].iter().zip(&details) {
        assert!(detail.starts_with(&format!("line {number}: ")), "{detail}");
    }
    let expected = [(&*name, "archive_line"); 3];
    scene.is_found_and_repaired("three lines", &expected);
    let mut left = whole;
    left.drain(1..3);
    assert_eq!(lines(&path), left);
    scene.site.coord(&["gc", "--older-than", "0"]).run().is_success();
    scene.is_clean("after another gc");
}

#[test]
fn a_torn_line_of_the_archive_is_normal() {
    let (scene, path) = archived();
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.clone() + "{\"half").unwrap();
    let notices = told(&scene.site, &scene.fsck(&[]).value()["notices"]);
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].1, "archive_torn");
    scene.is_clean("a torn line");
    let before = scene.bytes();
    assert_eq!(scene.fsck(&["--repair"]).code, 0);
    nothing_is_lost(&before, &scene.bytes(), "torn");
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    assert_eq!(scene.fsck(&[]).value()["notices"], serde_json::json!([]));
}

#[test]
fn what_does_not_belong_into_the_archive() {
    let (scene, path) = archived();
    fs::write(path.with_file_name("notes.txt"), "x").unwrap();
    symlink("/nowhere", path.with_file_name("2020-01.jsonl")).unwrap();
    scene.is_found_and_repaired(
        "archive",
        &[("archive/2020-01.jsonl", "not_a_file"), ("archive/notes.txt", "stray")],
    );
    // Lines that were put before others of larger tokens: readers would stop too early.
    let mut all = lines(&path);
    all.reverse();
    fs::write(&path, all.join("\n") + "\n").unwrap();
    let answer = scene.fsck(&[]);
    let found = told(&scene.site, &answer.value()["findings"]);
    assert!(answer.code == 3 && found.iter().all(|told| told.1 == "archive_bounds"), "{found:?}");
}

#[test]
fn a_token_that_only_the_archive_has() {
    let (scene, path) = archived();
    let token =
        serde_json::from_str::<Value>(lines(&path).last().unwrap()).unwrap()["reservation"]["token"].clone();
    for name in names(&scene.site.store().join("reservations")) {
        fs::rename(scene.site.store().join("reservations").join(&name), scene.site.at(&name)).unwrap();
        for room in ["heartbeats", "releases", "superseded"] {
            fs::remove_file(scene.site.store().join(room).join(&name)).unwrap_or_default();
        }
    }
    fs::write(scene.site.store().join("token"), "77\n").unwrap();
    scene.is_found_and_repaired("token", &[("token", "token_behind")]);
    assert!(scene.site.reserve("eve", "late.py", &[]).token > token.as_u64().unwrap());
}

#[test]
fn what_a_killed_gc_left_is_normal() {
    let (scene, path) = archived();
    let line: Value = serde_json::from_str(lines(&path).last().unwrap()).unwrap();
    let id = line["reservation"]["reservation_id"].as_str().unwrap().to_owned();
    for (room, field) in [("reservations", "reservation"), ("releases", "release")] {
        let text = serde_json::to_string_pretty(&line[field]).unwrap() + "\n";
        fs::write(scene.site.record(room, &id), text).unwrap();
    }
    let kinds = |scene: &Scene| -> Vec<Told> { told(&scene.site, &scene.fsck(&[]).value()["notices"]) };
    assert_eq!(kinds(&scene), [(format!("reservations/{id}.json"), "half_archived".to_owned(), false)]);
    scene.is_clean("both");
    fs::remove_file(scene.site.record("reservations", &id)).unwrap();
    assert_eq!(kinds(&scene), [(format!("releases/{id}.json"), "half_archived".to_owned(), false)]);
    scene.is_clean("the tombstone alone");
    scene.site.coord(&["gc"]).run().is_success();
    assert_eq!(kinds(&scene), []);
}

// The index.

/// A store with an index, and the index.
fn crowded() -> (Scene, PathBuf) {
    let scene = Scene::new();
    for number in 0..70 {
        scene.site.fabricate("crowd", &format!("crowd/{number}.py"), Mode::Exclusive, -10 - number, 3600);
    }
    scene.serves("the index is made");
    let index = scene.site.store().join("index");
    let files: Vec<String> = names(&index).into_iter().filter(|name| name.ends_with(".sqlite")).collect();
    assert_eq!(files.len(), 1);
    let path = index.join(&files[0]);
    (scene, path)
}

#[test]
fn an_index_of_any_damage() {
    let tamper: [Damage; 11] = [
        ("deleted", "index_missing", |path| fs::remove_dir_all(path.parent().unwrap()).unwrap()),
        ("emptied", "index_damaged", |path| fs::write(path, "").unwrap()),
        ("no database", "index_damaged", |path| {
            fs::write(path, "not a database at all, but long enough for a header ".repeat(90)).unwrap();
        }),
        ("cut in half", "index_damaged", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("without its last page", "index_damaged", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 4096]).unwrap();
        }),
        ("with a spoilt header", "index_damaged", |path| {
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0xff; 60], 20).unwrap();
        }),
        ("of another format", "index_foreign", |path| {
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0, 0, 0, 99], 60).unwrap();
        }),
        ("without an entry", "index_incomplete", |path| {
            let text = "crowd/7.py";
            let bytes = fs::read(path).unwrap();
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let places = bytes.windows(text.len()).enumerate().filter(|(_, part)| *part == text.as_bytes());
            for (place, _) in places {
                file.write_all_at(b"crowd/7.pz", place as u64).unwrap();
            }
        }),
        ("a folder", "index_damaged", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("a link to nowhere", "index_damaged", |path| {
            fs::remove_file(path).unwrap();
            symlink("/nowhere/at/all", path).unwrap();
        }),
        ("with a folder for its journal", "index_damaged", |path| {
            let journal = PathBuf::from(format!("{}-journal", path.display()));
            fs::remove_file(&journal).unwrap_or_default();
            fs::create_dir(journal).unwrap();
        }),
    ];
    for (what, kind, tamper) in tamper {
        let (scene, path) = crowded();
        scene.is_clean(what);
        tamper(&path);
        scene.is_found_and_repaired(what, &[("index", kind)]);
        assert!(fs::read(&path).unwrap().starts_with(b"SQLite format 3"), "{what}");
        let answer = scene.site.coord(&["reserve", "crowd/7.py"]).run_id("rival").json();
        assert_eq!(answer.code, 6, "{what}: {answer:?}");
    }
}

#[test]
fn an_index_of_another_boot_is_normal() {
    let (scene, path) = crowded();
    let old = path.with_file_name("0d0f7a2e-0000-4000-8000-000000000000.sqlite");
    fs::rename(&path, &old).unwrap();
    let notices = told(&scene.site, &scene.fsck(&[]).value()["notices"]);
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].1, "index_old");
    scene.is_clean("of another boot");
    assert_eq!(scene.fsck(&["--repair"]).code, 0);
    assert!(!old.exists());
    scene.serves("index");
    scene.is_clean("made again");
    // Surplus entries are normal: what was released and is met no more.
    let link = scene.site.store().join("index");
    fs::remove_dir_all(&link).unwrap();
    symlink("/nowhere", &link).unwrap();
    let found = told(&scene.site, &scene.fsck(&[]).value()["findings"]);
    assert!(found.contains(&("index".to_owned(), "folder_replaced".to_owned(), false)), "{found:?}");
    assert_eq!(scene.fsck(&["--repair"]).code, 0);
    scene.is_clean("a real folder");
}

#[test]
fn a_store_that_is_no_folder_is_told_and_not_touched() {
    let scene = Scene::new();
    let store = scene.site.store();
    fs::rename(&store, scene.site.at("aside")).unwrap();
    symlink(scene.site.at("aside"), &store).unwrap();
    for flags in [&[][..], &["--repair"]] {
        let error = scene.fsck(flags).is_failure(3, "store_damaged", None);
        assert!(!error.contains("fsck"), "{error}");
    }
}

#[test]
fn a_record_without_permissions_is_left_where_it_is() {
    let scene = Scene::new();
    let site = &scene.site;
    if support::is_superuser(site) {
        return; // Nothing is unreadable for the superuser.
    }
    let path = site.record("reservations", &scene.alice.id);
    set_mode(&path, 0o000);
    let answer = scene.fsck(&["--repair"]);
    let found = told(site, &answer.value()["findings"]);
    assert_eq!(
        (answer.code, found),
        (3, vec![(below("reservations", &scene.alice), "unreadable".to_owned(), false)])
    );
    set_mode(&path, 0o644);
    scene.is_clean("permissions");
}

#[test]
fn busy_writers_are_no_false_alarm() {
    const WRITERS: usize = 8;
    const CHECKS: usize = 25;
    // Every third round waits: tickets come and go.
    for indexed in [false, true] {
        let scene = if indexed { crowded().0 } else { Scene::new() };
        let site = &scene.site;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let stop = &stop;
                scope.spawn(move || {
                    let run = format!("writer-{writer}");
                    let mut round = 0;
                    while !stop.load(Ordering::Relaxed) {
                        round += 1;
                        let address = format!("w/{}.py", (writer + round) % 5);
                        let ttl = if round % 4 == 0 { "1" } else { "60" };
                        let patience = if round % 3 == 0 { "2" } else { "0" };
                        let held = ["reserve", &address, "--ttl", ttl, "--wait", patience];
                        let held = site.coord(&held).run_id(&run).json();
                        if held.code == 0 {
                            let id = held.field("reservation_id");
                            site.coord(&["heartbeat", &id, "--extension", ttl]).run_id(&run).json();
                            if round % 4 != 0 {
                                site.coord(&["release", &id]).run_id(&run).json();
                            }
                        }
                        if round % 7 == 0 {
                            site.coord(&["gc", "--older-than", "0"]).json();
                        }
                    }
                });
            }
            let answers: Vec<Answer> = (0..CHECKS).map(|_| scene.fsck(&[])).collect();
            stop.store(true, Ordering::Relaxed);
            for answer in answers {
                let value = answer.value();
                assert_eq!((answer.code, &value["findings"]), (0, &serde_json::json!([])), "{value:#}");
                assert_eq!(value["notices"], serde_json::json!([]), "{value:#}");
            }
        });
    }
}

#[test]
fn a_repair_beside_busy_writers_harms_nobody() {
    let (scene, _) = crowded();
    let site = &scene.site;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                scope.spawn(move || {
                    let run = format!("writer-{writer}");
                    let mut held = Vec::new();
                    for round in 0..10 {
                        let answer =
                            site.coord(&["reserve", &format!("{run}/{round}.py")]).run_id(&run).json();
                        // What is damaged just now is told; nothing else may fail.
                        if answer.code == 0 {
                            held.push(answer.field("reservation_id"));
                        } else {
                            assert_eq!(answer.field("status"), "store_damaged", "{answer:?}");
                        }
                    }
                    (run, held)
                })
            })
            .collect();
        for round in 0..8 {
            fs::write(site.store().join("reservations").join(format!("stray-{round}")), "x").unwrap();
            let answer = scene.fsck(&["--repair"]);
            assert_eq!(answer.code, 0, "{answer:?}");
        }
        for writer in writers {
            let (run, held) = writer.join().unwrap();
            for id in held {
                let answer = site.coord(&["heartbeat", &id]).run_id(&run).json();
                assert_eq!(answer.code, 0, "{answer:?}");
            }
        }
    });
    scene.is_clean("in the end");
}

/// Calls between which nothing on the disk differs, as with those that only ask.
const PASSIVE: [&str; 9] =
    ["close", "fcntl", "lseek", "mmap", "munmap", "mremap", "brk", "getrandom", "clock_gettime"];

/// Kills `fsck --repair` at every system call that is not a mere question. What was there is there, moved or not; the next repair ends
/// it, and the store serves.
#[cfg(target_os = "linux")]
fn kill_everywhere(scene: &Scene) {
    use muse_testkit::strace::{inject, trace};
    let muse = muse_testkit::Muse::new(env!("CARGO_BIN_EXE_muse"));
    let ready = muse_testkit::Scratch::empty();
    let everything = format!("{}/.muse", scene.site.path().display());
    let copied = support::tool("cp", Path::new("/"), &["-a", &everything, ready.path().to_str().unwrap()]);
    assert!(copied.status.success());
    let before = content(ready.path());
    let arguments = ["coord", "fsck", "--repair", "--json"].map(str::to_owned);
    let traced = trace(&muse, ready.copy().path(), &arguments);
    assert!(traced.answer.is_ok(), "{}", traced.answer.brief());
    let mut kills = 0;
    let own = traced.calls.iter().skip(traced.loading);
    for call in own.filter(|call| !call.is_question() && !PASSIVE.contains(&&*call.name)) {
        let what = format!("killed at {} {}", call.name, call.occurrence);
        let scratch = ready.copy();
        let injection = format!("{}:signal=SIGKILL:when={}", call.name, call.occurrence);
        let answer = inject(&muse, scratch.path(), &[injection], &arguments);
        kills += usize::from(answer.signal.is_some());
        nothing_is_lost(&before, &content(scratch.path()), &what);
        // It is found, or put right, by whoever comes next.
        let again = muse.run(scratch.path(), &arguments);
        assert!(again.is_ok(), "{what}: {}", again.brief());
        nothing_is_lost(&before, &content(scratch.path()), &what);
        let clean = muse.run(scratch.path(), &["coord", "fsck", "--json"]);
        assert!(
            clean.is_ok() && clean.json["findings"] == serde_json::json!([]),
            "{what}: {}",
            clean.brief()
        );
        let beat = ["coord", "heartbeat", &scene.zoe.id, "--run-id", "zoe", "--json"];
        assert_ne!(muse.run(scratch.path(), &beat).json["exit_code"], 0, "{what}: revived");
        let next = ["coord", "reserve", "free.py", "--run-id", "eve", "--json"];
        assert!(muse.run(scratch.path(), &next).is_ok(), "{what}");
    }
    assert!(kills > 20, "{kills}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_repair_killed_anywhere_loses_nothing() {
    let (scene, path) = archived();
    let site = &scene.site;
    // What gc left is for Zoe and Xia to be damaged, and what they were is in the archive: they are made again.
    let zoe = site.lapsed("zoe", "zz.py", 10);
    site.reserve("yan", "zz.py", &[]);
    let xia = site.reserve("xia", "xx.py", &[]);
    site.coord(&["release", &xia.id]).run_id("xia").run().is_success();
    let scene = Scene { zoe, xia, ..scene };
    let site = &scene.site;
    fs::write(site.record("reservations", &scene.alice.id), "junk").unwrap();
    fs::write(site.record("superseded", &scene.zoe.id), "junk").unwrap();
    fs::write(site.record("releases", &scene.xia.id), "junk of a tombstone").unwrap();
    fs::write(site.store().join("heartbeats/stray"), "stray").unwrap();
    fs::write(site.store().join("token"), "junk of a token").unwrap();
    let mut spoilt = lines(&path);
    spoilt[1] = "junk of a line".to_owned();
    fs::write(&path, spoilt.join("\n") + "\n").unwrap();
    fs::create_dir(site.store().join("tmp/folder")).unwrap();
    fs::write(site.store().join("tmp/folder/inside"), "inside").unwrap();
    fs::rename(site.store().join("intents"), site.at("aside")).unwrap();
    kill_everywhere(&scene);
}

#[cfg(target_os = "linux")]
#[test]
fn a_repair_of_an_index_killed_anywhere_loses_nothing() {
    let (scene, path) = crowded();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    kill_everywhere(&scene);
}
