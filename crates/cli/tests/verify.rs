//! `muse coord verify`: on files, and on a real etcd.

#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use muse_testkit::etcd::{Etcd, free_port};

mod support;

use support::{Answer, Held, Muse, NULL, Site, not_utf8, object};

/// A store, and the engine that keeps it.
struct Scene {
    site: Site,
    engine: &'static str,
}

impl Scene {
    fn both() -> [Scene; 2] {
        let etcd = Site::new();
        configure(&etcd, Etcd::shared().url());
        [Scene { site: Site::new(), engine: "files" }, Scene { site: etcd, engine: "etcd" }]
    }

    fn coord(&self, arguments: &[&str]) -> Muse {
        self.site.coord(arguments).env("MUSE_COORD_ENGINE", self.engine)
    }

    fn reserve(&self, run: &str, addresses: &[&str], flags: &[&str]) -> Held {
        self.coord(&["reserve"]).args(addresses).args(&["--run-id", run]).args(flags).granted()
    }

    fn verify(&self, held: &Held, addresses: &[&str]) -> Muse {
        self.coord(&["verify", "--token", &held.token.to_string()]).args(addresses)
    }

    /// The token is refused with this word, and the error says so. Returns the object.
    #[track_caller]
    fn refused(&self, held: &Held, addresses: &[&str], status: &str, parts: &[&str]) -> serde_json::Value {
        let answer = self.verify(held, addresses).json();
        let value = answer.value();
        assert_eq!((answer.code, value["status"].as_str()), (6, Some(status)), "{}: {value}", self.engine);
        assert_eq!(value["token"], held.token);
        assert_eq!(value["reservation_id"], held.id.as_str());
        let error = value["error"].as_str().unwrap();
        assert!(parts.iter().all(|part| error.contains(part)) && error.contains("do not go on"), "{error}");
        value
    }

    #[track_caller]
    fn is_good(&self, held: &Held, addresses: &[&str]) {
        let answer = self.verify(held, addresses).json();
        assert_eq!((answer.code, &*answer.field("status")), (0, "ok"), "{}: {answer:?}", self.engine);
    }
}

fn configure(site: &Site, endpoint: &str) {
    let name = Etcd::repository();
    let text = format!("[coordination]\nendpoints = [\"{endpoint}\"]\nrepository = \"{name}\"\n");
    site.file("muse.toml", &text);
}

#[test]
fn a_good_token_is_told_whole_and_nothing_is_written() {
    let site = Site::new();
    let held = site.coord(&["reserve", "src/api/", "b.py", "--ttl", "3630", "--run-id", "alice"]).granted();
    let before = site.snapshot();
    let token = held.token.to_string();
    let verify = || site.coord(&["verify", "--token", &token, "b.py::f", "./src/api/x.py", "b.py::f"]);
    let asked = ["b.py::f", "src/api/x.py"];
    let none: [&str; 0] = [];
    let fields = object! {
        "status": "ok", "reservation_id": held.id, "run_id": "alice", "token": held.token,
        "mode": "exclusive", "state": "active", "archived": false, "addresses": asked,
        "held_addresses": ["b.py", "src/api/"], "expires_at": "TIME", "expires_in_seconds": 3660_u64,
        "not_covered": none, "released": NULL, "superseded": NULL, "conflicts": none,
    };
    verify().json().is_json(0, &[], &fields);
    let text = format!("good token={token} run=alice for 1h\n  b.py::f\n  src/api/x.py\n");
    verify().run().is_text(0, &text, "");
    assert_eq!(site.snapshot(), before);
}

#[test]
fn a_token_is_good_while_its_reservation_stands_for_what_it_covers() {
    for scene in Scene::both() {
        let held = scene.reserve("alice", &["src/api/", "b.py::f"], &["--ttl", "600"]);
        scene.is_good(&held, &["src/api/x.py", "src/api/", "b.py::f.g"]);
        let value =
            scene.refused(&held, &["b.py", "src/api/", "z.py"], "not_covered", &["`b.py` and 1 more"]);
        assert_eq!(value["not_covered"], serde_json::json!(["b.py", "z.py"]));
        assert_eq!(value["state"], "active");
        // Whom others are, and what they hold elsewhere, does not matter.
        scene.reserve("bob", &["z.py"], &[]);
        scene.is_good(&held, &["src/api/"]);
        scene.coord(&["heartbeat", &held.id, "--run-id", "alice", "--extension", "600"]).run().is_success();
        scene.is_good(&held, &["src/api/"]);

        scene.coord(&["release", &held.id, "--run-id", "alice"]).run().is_success();
        let value = scene.refused(&held, &["src/api/"], "stale", &["was released at"]);
        assert_eq!(value["released"]["run_id"], "alice");
        assert_eq!(value["expires_in_seconds"], 0);
        let next = scene.reserve("bob", &["src/api/x.py"], &[]);
        let newer = format!("newer token {}", next.token);
        let value = scene.refused(&held, &["src/api/"], "stale", &["run `bob` holds it", &newer]);
        assert_eq!(value["conflicts"][0]["holder"]["token"], next.token);
        scene.is_good(&next, &["src/api/x.py"]);
        // In the archive it is stale as well.
        scene.coord(&["gc", "--older-than", "0"]).run().is_success();
        let value = scene.refused(&held, &["src/api/"], "stale", &["was released at", &newer]);
        assert_eq!((value["archived"].as_bool(), value["state"].as_str()), (Some(true), Some("released")));
        scene.is_good(&next, &["src/api/x.py"]);
    }
}

#[test]
fn what_lapsed_and_what_was_superseded_is_told_apart() {
    for scene in Scene::both() {
        let held = scene.reserve("alice", &["a.py"], &["--ttl", "2"]);
        muse_testkit::process::until("it lapses", || scene.verify(&held, &["a.py"]).json().code == 6);
        let value = scene.refused(&held, &["a.py"], "lapsed", &["lapsed at"]);
        assert_eq!(
            (value["state"].as_str(), value["expires_in_seconds"].as_u64()),
            (Some("lapsed"), Some(0))
        );
        let next = scene.reserve("bob", &["a.py::f"], &[]);
        let newer = "run `bob` was granted it at ";
        let value = scene.refused(&held, &["a.py"], "stale", &[newer]);
        assert_eq!(value["state"], "superseded");
        assert_eq!(value["superseded"]["run_id"], "bob");
        assert_eq!(value["superseded"]["token"], next.token);
        assert_eq!(value["superseded"]["reservation_id"], next.id.as_str());
        // Its successor is over, and archived with it.
        scene.coord(&["release", &next.id, "--run-id", "bob"]).run().is_success();
        scene.coord(&["gc", "--older-than", "0"]).run().is_success();
        let value = scene.refused(&held, &["a.py"], "stale", &[newer]);
        assert_eq!(value["superseded"]["token"], next.token);
        assert_eq!(value["conflicts"], serde_json::json!([]));
    }
}

#[test]
fn what_was_taken_over_and_what_a_descendant_holds_is_told() {
    for scene in Scene::both() {
        let held = scene.reserve("alice", &["src/"], &[]);
        let child = scene.reserve("alice/1", &["src/a.py"], &[]);
        let value = scene.refused(&held, &["src/"], "conflict", &["run `alice/1` holds it as `src/a.py`"]);
        assert_eq!(value["state"], "active");
        scene.is_good(&child, &["src/a.py"]);
        scene.is_good(&held, &["src/b.py"]);
        scene.coord(&["release", &child.id, "--run-id", "alice/1"]).run().is_success();
        scene.is_good(&held, &["src/"]);

        let steal = ["--take-over", &held.id, "--reason", "alice crashed"];
        let stolen = scene.reserve("boss", &["src/"], &steal);
        let newer = format!("newer token {}", stolen.token);
        let parts = ["taken away by run `boss`", "(alice crashed)", &newer];
        let value = scene.refused(&held, &["src/b.py"], "stale", &parts);
        assert_eq!(value["released"]["forced"], true);
        scene.is_good(&stolen, &["src/"]);
    }
}

#[test]
fn an_advisory_one_is_good_and_keeps_nobody_out() {
    for scene in Scene::both() {
        let held = scene.reserve("alice", &["a.py"], &["--advisory"]);
        scene.reserve("bob", &["a.py"], &[]);
        let answer = scene.verify(&held, &["a.py"]).json();
        assert_eq!((answer.code, &*answer.field("mode")), (0, "advisory"));
        let warnings = &answer.value()["warnings"];
        assert_eq!(warnings, &serde_json::json!(["the reservation is advisory: it keeps nobody out"]));
    }
}

#[test]
fn wrong_input_is_said() {
    for scene in Scene::both() {
        scene.reserve("alice", &["a.py"], &[]);
        let absent = scene.coord(&["verify", "--token", "7", "a.py"]).json().is_failure(4, "not_found", None);
        assert!(absent.contains("no reservation has the token 7"), "{absent}");
        for token in ["0", "-1", "9007199254740992", "99999999999999999999999"] {
            let answer = scene.coord(&["verify", "--token", token, "a.py"]).json();
            let error = answer.is_failure(1, "bad_args", None);
            assert!(error.contains("--token must be from 1 to"), "{error}");
        }
        for wrong in [
            &["verify", "--token", "x", "a.py"][..],
            &["verify", "--token", "", "a.py"],
            &["verify", "--token", "1.0", "a.py"],
            &["verify", "--token", "1"],
            &["verify", "a.py"],
            &["verify"],
            &["verify", "--token", "1", "--token", "2", "a.py"],
        ] {
            scene.coord(wrong).json().is_failure(2, "usage", None);
        }
        for bad in ["../x", ".muse/x", "", "a.py::"] {
            scene.coord(&["verify", "--token", "1", bad]).json().is_failure(1, "bad_address", None);
        }
        scene.coord(&["verify", "--token", "1"]).arg(not_utf8()).json().is_failure(1, "bad_address", None);
        let many: Vec<String> = (0..1001).map(|number| format!("f{number}")).collect();
        scene.coord(&["verify", "--token", "1"]).args(&many).json().is_failure(1, "bad_args", None);
    }
    Site::without_store().coord(&["verify", "--token", "1", "a.py"]).json().is_failure(
        2,
        "not_a_repository",
        None,
    );
}

/// Nobody is told in doubt that a token is good, or that there is none.
#[test]
fn what_cannot_be_read_is_not_good() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let other = site.reserve("bob", "b.py", &[]);
    let verify = |token: u64, address: &str| -> Answer {
        site.coord(&["verify", "--token", &token.to_string(), address]).json()
    };
    support::edit(&site.record("reservations", &other.id), |text| text.replace("b.py", "a.py"));
    assert_eq!(verify(held.token, "a.py").code, 3);
    assert_eq!(verify(other.token, "a.py").code, 3);
    let error = verify(7, "z.py").is_failure(3, "store_damaged", None);
    assert!(error.starts_with("this could not be checked: "), "{error}");
}

#[test]
fn an_etcd_that_is_not_there_is_no_yes() {
    let site = Site::new();
    configure(&site, &format!("http://127.0.0.1:{}", free_port()));
    let answer = site.coord(&["verify", "--token", "1", "a.py"]).env("MUSE_COORD_ENGINE", "etcd").json();
    let error = answer.is_failure(5, "unreachable", None);
    assert!(error.contains("could not check"), "{error}");
}
