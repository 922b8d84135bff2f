//! Bad luck and planted files: what is damaged in a store makes `reserve` fail closed and stops nobody who does
//! not need it; a symbolic link is never followed for writing.

#![expect(clippy::disallowed_methods, reason = "tests write, move and lock files, and make links")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

mod support;

use support::{Answer, Held, Muse, Site, dangle, edit, is_superuser, make_fifo, move_aside, names, set_mode};

/// A store with one reservation of each of three runs, two of them with a heartbeat; one lapsed and superseded
/// by a fourth.
struct Scene {
    site: Site,
    alice: Held,
    bob: Held,
}

impl Scene {
    fn new() -> Scene {
        let site = Site::new();
        let alice = site.reserve_and_beat("alice", "a.py");
        let bob = site.reserve_and_beat("bob", "b.py");
        Scene { site, alice, bob }
    }

    fn reserve(&self) -> Answer {
        self.site.coord(&["reserve", "free.py"]).run_id("eve").json()
    }

    /// Bob's reservation is served as if nothing was wrong with Alice's.
    #[track_caller]
    fn bob_goes_on(&self) {
        let site = &self.site;
        let answer = site.coord(&["heartbeat", &self.bob.id]).run_id("bob").json();
        assert_eq!(answer.code, 0, "{answer:?}");
        assert_eq!(answer.value()["warnings"], serde_json::json!([]));
        let answer = site.coord(&["show", &self.bob.id]).json();
        assert_eq!(answer.code, 0, "{answer:?}");
        assert_eq!(answer.value()["reservation"]["state"], "active");
    }

    #[track_caller]
    fn bob_can_release(&self) {
        let answer = self.site.coord(&["release", &self.bob.id]).run_id("bob").json();
        assert_eq!(answer.code, 0, "{answer:?}");
    }

    /// The list shows Bob's, tells what is damaged, and fails.
    #[track_caller]
    fn list_shows_the_rest(&self, path: &Path) {
        let answer = self.site.coord(&["list"]).json();
        assert_eq!((answer.code, &*answer.stderr), (3, ""), "{answer:?}");
        let value = answer.value();
        let ids: Vec<&str> = value["reservations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["reservation_id"].as_str().unwrap())
            .collect();
        assert!(ids.contains(&&*self.bob.id), "{ids:?}");
        assert_eq!(value["count"], ids.len());
        assert!(["store_damaged", "schema_too_new"].contains(&value["status"].as_str().unwrap()), "{value}");
        assert!(answer.field("error").contains(path.to_str().unwrap()), "{value}");
        let keys = ["\"status\":", "\"count\":", "\"reservations\":", "\"error\":"];
        let found: Vec<usize> = keys.iter().map(|key| answer.stdout.find(key).unwrap()).collect();
        assert!(found.is_sorted(), "{answer:?}");
        let answer = self.site.coord(&["list"]).run();
        assert_eq!(answer.code, 3);
        assert!(answer.stdout.contains(&self.bob.id) && answer.stderr.contains(path.to_str().unwrap()));
    }
}

type Damage = (&'static str, fn(&Path));

/// What can be wrong with a record.
const DAMAGES: [Damage; 12] = [
    ("emptied", |path| fs::write(path, "").unwrap()),
    ("truncated", |path| edit(path, |text| text[..text.len() / 2].to_owned())),
    ("without its last brace", |path| edit(path, |text| text[..text.len() - 2].to_owned())),
    ("edited", |path| edit(path, |text| text.replace("alice", "mallory"))),
    ("prolonged", |path| {
        edit(path, |text| {
            let (before, after) = text.split_once("\"expires_at\": \"").unwrap();
            format!("{before}\"expires_at\": \"9{}", &after[1..])
        });
    }),
    ("with a field more", |path| edit(path, |text| text.replacen('{', "{\n  \"admin\": true,", 1))),
    ("followed by junk", |path| edit(path, |text| format!("{text}{text}"))),
    ("of a later schema", |path| {
        edit(path, |text| text.replace("\"schema_version\": 1", "\"schema_version\": 7"));
    }),
    ("a folder", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("a symbolic link to a whole record", move_aside),
    ("a dangling symbolic link", dangle),
    ("a FIFO", make_fifo),
];

#[test]
fn a_damaged_reservation_fails_closed() {
    for (name, damage) in DAMAGES {
        let scene = Scene::new();
        let path = scene.site.record("reservations", &scene.alice.id);
        damage(&path);
        let before = scene.site.snapshot();
        let status = if name == "of a later schema" { "schema_too_new" } else { "store_damaged" };
        let error = scene.reserve().is_failure(3, status, None);
        assert!(error.starts_with(path.to_str().unwrap()), "{name}: {error}");
        let answer = scene.site.coord(&["reserve", "free.py"]).run_id("eve").run();
        answer.is_text_failure(3, &[path.to_str().unwrap()]);
        let error = scene.site.coord(&["show", &scene.alice.id]).json();
        let error = error.is_failure(3, status, Some(&scene.alice.id));
        assert!(error.starts_with(path.to_str().unwrap()), "{name}: {error}");
        let answer = scene.site.coord(&["release", &scene.alice.id]).run_id("alice").json();
        assert_eq!((answer.code, &*answer.field("status")), (3, status), "{name}");
        assert_eq!(scene.site.snapshot(), before, "{name}");
        scene.list_shows_the_rest(&path);
        scene.bob_goes_on();
        scene.bob_can_release();
        // The way out that the message names is tested in fsck.rs. Another: a coordinator's tombstone takes it out of
        // the way.
        let is_file = path.symlink_metadata().unwrap().is_file();
        assert!(status == "schema_too_new" || error.contains("`muse coord fsck`"), "{error}");
        let answer = scene.site.coord(&["release", &scene.alice.id, "--force", "--reason", "unreadable"]);
        let answer = answer.run_id("boss").json();
        let code = if is_file { 0 } else { 3 };
        assert_eq!(answer.code, code, "{name}: {answer:?}");
        if !is_file {
            continue; // What is no file is in the way until somebody moves it.
        }
        assert_eq!(scene.reserve().code, 0, "{name}");
    }
}

#[test]
fn a_damaged_heartbeat_fails_closed_unless_a_power_loss_explains_it() {
    for (name, damage) in DAMAGES {
        if ["edited", "prolonged", "with a field more"].contains(&name) {
            continue; // A heartbeat is not hashed.
        }
        let scene = Scene::new();
        let path = scene.site.record("heartbeats", &scene.alice.id);
        damage(&path);
        if ["emptied", "truncated", "without its last brace"].contains(&name) {
            let shown = scene.site.coord(&["show", &scene.alice.id]).json();
            assert_eq!(shown.value()["heartbeat"], serde_json::Value::Null, "{name}");
            assert_eq!(scene.reserve().code, 0, "{name}");
            assert_eq!(scene.site.coord(&["list"]).json().value()["count"], 3);
            continue;
        }
        let before = scene.site.snapshot();
        let status = if name == "of a later schema" { "schema_too_new" } else { "store_damaged" };
        let error = scene.reserve().is_failure(3, status, None);
        assert!(error.starts_with(path.to_str().unwrap()), "{name}: {error}");
        let answer = scene.site.coord(&["show", &scene.alice.id]).json();
        answer.is_failure(3, status, Some(&scene.alice.id));
        assert_eq!(scene.site.snapshot(), before, "{name}");
        scene.list_shows_the_rest(&path);
        scene.bob_goes_on();
        scene.bob_can_release();
    }
}

#[test]
fn a_tombstone_counts_whatever_is_in_it() {
    for (name, damage) in DAMAGES {
        if name == "prolonged" {
            continue; // It has no such field.
        }
        let scene = Scene::new();
        let site = &scene.site;
        let path = site.record("releases", &scene.alice.id);
        site.coord(&["release", &scene.alice.id]).run_id("alice").run().is_success();
        damage(&path);
        let shown = site.coord(&["show", &scene.alice.id]).json();
        assert_eq!(shown.code, 0, "{name}: {shown:?}");
        assert_eq!(shown.value()["reservation"]["state"], "released", "{name}");
        let answer = site.coord(&["heartbeat", &scene.alice.id]).run_id("alice").json();
        assert_eq!((answer.code, &*answer.field("status")), (1, "already_released"), "{name}");
        let answer = site.coord(&["release", &scene.alice.id]).run_id("alice").json();
        assert_eq!(answer.value()["reservations"][0]["status"], "already_released", "{name}");
        if path.symlink_metadata().unwrap().is_file() {
            // It is in nobody's way.
            let answer = site.coord(&["reserve", "a.py"]).run_id("eve").json();
            assert_eq!(answer.code, 0, "{name}: {answer:?}");
        } else {
            let error = scene.reserve().is_failure(3, "store_damaged", None);
            assert!(error.starts_with(path.to_str().unwrap()), "{name}: {error}");
        }
        scene.bob_goes_on();
    }
}

#[test]
fn what_does_not_belong_into_a_folder_fails_closed() {
    for room in ["reservations", "heartbeats", "releases", "superseded"] {
        let plant: [Damage; 4] = [
            ("junk.json", |path| fs::write(path, "{}").unwrap()),
            ("renamed", |path| fs::write(path, "{}").unwrap()),
            ("folder", |path| fs::create_dir(path).unwrap()),
            ("link", |path| symlink("/nowhere", path).unwrap()),
        ];
        for (name, make) in plant {
            let scene = Scene::new();
            let path = scene.site.store().join(room).join(name);
            make(&path);
            let before = scene.site.snapshot();
            let error = scene.reserve().is_failure(3, "store_damaged", None);
            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
            assert_eq!(scene.site.snapshot(), before);
            scene.list_shows_the_rest(&path);
            scene.bob_goes_on();
            scene.bob_can_release();
            let aside = scene.site.at("aside");
            fs::rename(&path, aside).unwrap();
            assert_eq!(scene.reserve().code, 0, "moved out of the store, it is as before");
        }
    }
}

#[test]
fn a_record_under_another_name_fails_closed() {
    let scene = Scene::new();
    let path = scene.site.record("reservations", &scene.alice.id);
    for name in
        [support::ABSENT.to_owned() + ".json", scene.alice.id.clone(), format!("{}.json~", scene.alice.id)]
    {
        let renamed = path.with_file_name(name);
        fs::rename(&path, &renamed).unwrap();
        let error = scene.reserve().is_failure(3, "store_damaged", None);
        assert!(error.starts_with(renamed.to_str().unwrap()), "{error}");
        scene.list_shows_the_rest(&renamed);
        scene.bob_goes_on();
        fs::rename(&renamed, &path).unwrap();
    }
    assert_eq!(scene.reserve().code, 0);
}

#[test]
fn a_store_with_a_folder_missing_or_replaced_is_damaged() {
    for room in ["reservations", "heartbeats", "releases", "superseded", "tmp"] {
        let scene = Scene::new();
        let folder = scene.site.store().join(room);
        let aside = scene.site.at("aside");
        fs::rename(&folder, &aside).unwrap();
        let make: [fn(&Path, &Path); 3] = [
            |_, _| {},
            |folder, aside| symlink(aside, folder).unwrap(),
            |folder, _| fs::write(folder, "").unwrap(),
        ];
        for make in make {
            make(&folder, &aside);
            let before = scene.site.snapshot();
            for call in [
                scene.site.coord(&["reserve", "free.py"]).run_id("eve"),
                scene.site.coord(&["list"]),
                scene.site.coord(&["release", "--all"]).run_id("bob"),
                scene.site.coord(&["release", &scene.bob.id]).run_id("bob"),
            ] {
                let error = call.json().is_failure(3, "store_damaged", None);
                assert!(error.contains(folder.to_str().unwrap()), "{error}");
            }
            for call in [
                scene.site.coord(&["heartbeat", &scene.bob.id]).run_id("bob"),
                scene.site.coord(&["show", &scene.bob.id]),
            ] {
                let error = call.json().is_failure(3, "store_damaged", Some(&scene.bob.id));
                assert!(error.contains(folder.to_str().unwrap()), "{error}");
            }
            assert_eq!(scene.site.snapshot(), before);
            if folder.symlink_metadata().is_ok() {
                fs::remove_file(&folder).unwrap();
            }
        }
        fs::rename(&aside, &folder).unwrap();
        scene.bob_goes_on();
        assert_eq!(scene.reserve().code, 0);
    }
}

#[test]
fn a_token_file_that_cannot_be_trusted_fails_closed() {
    let make: [fn(&Path); 8] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, "12").unwrap(),
        |path| fs::write(path, "-1\n").unwrap(),
        |path| fs::write(path, "9007199254740991\n").unwrap(),
        |path| fs::write(path, "99999999999999999999999999\n").unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        |path| {
            let aside = path.ancestors().nth(3).unwrap().join("aside");
            fs::rename(path, &aside).unwrap();
            symlink(&aside, path).unwrap();
        },
    ];
    for make in make {
        let scene = Scene::new();
        let token = scene.site.store().join("token");
        make(&token);
        let before = scene.site.snapshot();
        let error = scene.reserve().is_failure(3, "store_damaged", None);
        assert!(error.starts_with(token.to_str().unwrap()), "{error}");
        assert_eq!(scene.site.snapshot(), before);
        scene.bob_goes_on();
        scene.bob_can_release();
        // A renewal grants no token, and so needs none.
        let answer = scene.site.coord(&["reserve", "a.py"]).run_id("alice").json();
        assert_eq!(answer.value()["renewed"], true, "{answer:?}");
        assert_eq!(scene.site.coord(&["list"]).json().code, 0);
    }
}

// Symbolic links.

/// A file outside the store that nobody may touch.
fn victim(site: &Site) -> (PathBuf, Vec<u8>) {
    let content = b"precious\n".to_vec();
    (site.file("victim", "precious\n"), content)
}

#[test]
fn no_link_in_the_store_is_followed_for_writing() {
    // What is put where, and by which call it would be written through.
    for name in [
        "lock".to_owned(),
        "token".to_owned(),
        "tmp/token".to_owned(),
        "tmp/heartbeat-HEX".to_owned(),
        "tmp/release-HEX".to_owned(),
        "tmp/reservation-HEX".to_owned(),
        "tmp/superseded-HEX".to_owned(),
        "heartbeats/ID.json".to_owned(),
        "releases/ID.json".to_owned(),
        "superseded/ID.json".to_owned(),
        "reservations/ID.json".to_owned(),
    ] {
        let scene = Scene::new();
        let site = &scene.site;
        let (file, content) = victim(site);
        let id = &scene.alice.id;
        let path = site.store().join(name.replace("ID", id).replace("HEX", &id[7..]));
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path).unwrap();
        }
        symlink(&file, &path).unwrap();
        for call in [
            site.coord(&["heartbeat", id]).run_id("alice"),
            site.coord(&["reserve", "a.py"]).run_id("alice"),
            site.coord(&["reserve", "free.py"]).run_id("eve"),
            site.coord(&["release", id]).run_id("alice"),
            site.coord(&["release", id, "--force"]).run_id("boss"),
            site.coord(&["reserve", "a.py", "--take-over", id, "--reason", "x"]).run_id("eve"),
            site.coord(&["heartbeat", "--all"]).run_id("alice"),
            site.coord(&["release", "--all"]).run_id("alice"),
            site.muse(&["init"]),
        ] {
            let answer = call.json();
            assert!([0, 1, 3, 4].contains(&answer.code), "{name}: {answer:?}");
        }
        assert_eq!(fs::read(&file).unwrap(), content, "{name}");
        assert!(file.symlink_metadata().unwrap().is_file());
        // A temporary file is nobody's: it is taken away, and nothing was in the way.
        if name.starts_with("tmp/") {
            assert!(path.symlink_metadata().is_err(), "{name} was left");
            assert_eq!(names(&site.store().join("tmp")), Vec::<String>::new());
        }
        scene.bob_goes_on();
    }
}

#[test]
fn a_dangling_link_makes_no_file() {
    for name in ["lock", "token", "heartbeats/ID.json", "tmp/heartbeat-HEX", "tmp/token"] {
        let scene = Scene::new();
        let site = &scene.site;
        let outside = site.folder("outside");
        let id = &scene.alice.id;
        let path = site.store().join(name.replace("ID", id).replace("HEX", &id[7..]));
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path).unwrap();
        }
        symlink(outside.join("made"), &path).unwrap();
        for call in [
            site.coord(&["heartbeat", id]).run_id("alice"),
            site.coord(&["reserve", "free.py"]).run_id("eve"),
            site.coord(&["release", id]).run_id("alice"),
            site.muse(&["init"]),
        ] {
            call.json();
        }
        assert!(names(&outside).is_empty(), "{name}");
    }
}

#[test]
fn a_linked_lock_is_told_and_heartbeats_go_on() {
    let scene = Scene::new();
    let lock = scene.site.store().join("lock");
    fs::remove_file(&lock).unwrap();
    symlink("/nowhere", &lock).unwrap();
    let error = scene.reserve().is_failure(3, "store_damaged", None);
    assert!(error.starts_with(lock.to_str().unwrap()), "{error}");
    let answer = scene.site.coord(&["release", &scene.bob.id]).run_id("bob").json();
    let error = answer.is_failure(3, "store_damaged", None);
    assert!(error.starts_with(lock.to_str().unwrap()), "{error}");
    scene.bob_goes_on();
    assert_eq!(scene.site.coord(&["list"]).json().code, 0);
    // One that was deleted is told too: the store may be on its way out, and nothing is put there in passing.
    for mend in [&["init"][..], &["coord", "fsck", "--repair"]] {
        fs::remove_file(&lock).unwrap();
        let error = scene.reserve().is_failure(3, "store_damaged", None);
        assert!(error.starts_with(lock.to_str().unwrap()) && error.contains("`muse init`"), "{error}");
        assert!(!lock.exists());
        let found = scene.site.coord(&["fsck"]).json().value();
        assert_eq!((&found["findings"][0]["kind"], lock.exists()), (&"lock_missing".into(), false));
        assert_eq!(scene.site.muse(mend).json().code, 0);
        assert_eq!(scene.reserve().code, 0);
    }
}

#[test]
fn a_store_that_is_a_link_or_a_file_is_refused_by_every_command() {
    for place in [".muse", ".muse/coordination"] {
        let scene = Scene::new();
        let site = &scene.site;
        let path = site.at(place);
        let aside = site.at("aside");
        fs::rename(&path, &aside).unwrap();
        let make: [fn(&Path, &Path); 3] = [
            |path, aside| symlink(aside, path).unwrap(),
            |path, _| symlink("/nowhere", path).unwrap(),
            |path, _| fs::write(path, "").unwrap(),
        ];
        for make in make {
            make(&path, &aside);
            let before = site.snapshot();
            for call in [
                site.coord(&["reserve", "free.py"]).run_id("eve"),
                site.coord(&["heartbeat", &scene.bob.id]).run_id("bob"),
                site.coord(&["release", &scene.bob.id]).run_id("bob"),
                site.coord(&["list"]),
                site.coord(&["show", &scene.bob.id]),
                site.muse(&["init"]),
            ] {
                let answer = call.json();
                assert_eq!((answer.code, &*answer.field("status")), (3, "store_damaged"), "{answer:?}");
                assert!(answer.field("error").contains(path.to_str().unwrap()), "{answer:?}");
            }
            assert_eq!(site.snapshot(), before);
            fs::remove_file(&path).unwrap();
        }
    }
}

// A store that cannot be written, or is in use.

#[test]
fn a_read_only_store_is_read_and_not_written() {
    let scene = Scene::new();
    let site = &scene.site;
    // Somebody to whom permissions count something.
    let program = site.at("muse");
    fs::copy(env!("CARGO_BIN_EXE_muse"), &program).unwrap();
    let is_superuser = is_superuser(site);
    let muse = |arguments: &[&str]| {
        let mut muse = Muse::of_program(&program, site.path(), arguments).arg("--json");
        if is_superuser {
            muse.command.uid(65_534).gid(65_534);
        }
        muse.run()
    };
    let folders: Vec<PathBuf> = site.snapshot().into_keys().filter(|path| path.is_dir()).collect();
    for path in site.snapshot().keys() {
        set_mode(path, if path.is_dir() || *path == program { 0o555 } else { 0o444 });
    }
    let before = site.snapshot();
    let (alice, bob) = (&*scene.alice.id, &*scene.bob.id);
    let store = site.store();
    for (arguments, id) in [
        (&["coord", "reserve", "free.py", "--run-id", "eve"][..], None),
        (&["coord", "reserve", "a.py", "--run-id", "alice"], None),
        (&["coord", "heartbeat", alice, "--run-id", "alice"], Some(alice)),
    ] {
        let error = muse(arguments).is_failure(3, "store_unwritable", id);
        assert!(error.contains(store.to_str().unwrap()), "{error}");
    }
    let answer = muse(&["coord", "release", bob, "--run-id", "bob"]);
    assert_eq!((answer.code, &*answer.field("status")), (3, "store_unwritable"), "{answer:?}");
    assert!(answer.field("error").contains(store.to_str().unwrap()));
    let answer = muse(&["coord", "heartbeat", "--all", "--run-id", "bob"]);
    assert_eq!((answer.code, &*answer.field("status")), (3, "store_unwritable"), "{answer:?}");
    let answer = muse(&["coord", "list"]);
    assert_eq!((answer.code, answer.value()["count"].as_u64()), (0, Some(2)), "{answer:?}");
    assert_eq!(muse(&["coord", "show", alice]).code, 0);
    assert_eq!(muse(&["init"]).code, 0, "there is nothing to be done");
    assert_eq!(site.snapshot(), before);

    // Not even readable: that is told too.
    let record = site.record("reservations", alice);
    set_mode(&record, 0o000);
    let answer = muse(&["coord", "show", alice]);
    let error = answer.is_failure(3, "store_damaged", Some(alice));
    assert!(error.starts_with(record.to_str().unwrap()) && error.contains("cannot be read"), "{error}");
    for path in folders {
        set_mode(&path, 0o755);
    }
}

#[test]
fn a_busy_store_lets_heartbeats_and_readers_pass() {
    let scene = Scene::new();
    let site = &scene.site;
    let lock = site.store().join("lock");
    let held = fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let before = site.snapshot();
    let answers = std::thread::scope(|scope| {
        let calls = [
            site.coord(&["reserve", "free.py"]).run_id("eve"),
            site.coord(&["reserve", "a.py"]).run_id("alice"),
            site.coord(&["release", &scene.bob.id]).run_id("bob"),
            site.coord(&["release", "--all"]).run_id("bob"),
        ];
        let waiting: Vec<_> = calls.into_iter().map(|call| scope.spawn(|| call.json())).collect();
        waiting.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for answer in answers {
        let error = answer.is_failure(3, "store_busy", None);
        let expected =
            format!("{} was still locked by process {} after 10 s", lock.display(), std::process::id());
        assert!(error.starts_with(&expected), "{error}");
    }
    assert_eq!(site.snapshot(), before);
    scene.bob_goes_on();
    assert_eq!(site.coord(&["list"]).json().code, 0);
    drop(held);
    assert_eq!(scene.reserve().code, 0);
}

#[test]
fn what_killed_processes_left_is_swept_by_the_next_writer() {
    let scene = Scene::new();
    let tmp = scene.site.store().join("tmp");
    for name in [
        "token".to_owned(),
        format!("heartbeat-{}", &scene.alice.id[7..]),
        format!("heartbeat-{}", &support::ABSENT[7..]),
        "reservation-x".to_owned(),
        "heartbeat-nonsense".to_owned(),
    ] {
        fs::write(tmp.join(name), "half").unwrap();
    }
    scene.bob_goes_on();
    assert_eq!(scene.site.coord(&["list"]).json().code, 0);
    assert_eq!(scene.reserve().code, 0);
    assert!(names(&tmp).is_empty());
}
