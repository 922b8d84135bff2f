//! `muse coord engine status`: on files, on a real etcd, and on what answers as a faulty one would.

#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use muse_testkit::etcd::{Etcd, free_port};
use muse_testkit::git::git;
use serde_json::{Value, json};

mod support;

use support::{Answer, Muse, NULL, Site, object};

fn status(site: &Site) -> Muse {
    site.coord(&["engine", "status"])
}

fn on_etcd(site: &Site) -> Muse {
    status(site).env("MUSE_COORD_ENGINE", "etcd")
}

fn configure(site: &Site, endpoints: &[&str], more: &str) {
    site.file("muse.toml", &format!("[coordination]\nendpoints = {endpoints:?}\n{more}\n"));
}

fn named() -> String {
    format!("repository = \"{}\"", Etcd::repository())
}

/// The answer has this exit code and word. Returns the object.
#[track_caller]
fn is(answer: &Answer, code: i32, word: &str) -> Value {
    let value = answer.value();
    assert_eq!((answer.code, value["status"].as_str()), (code, Some(word)), "{value}");
    assert_eq!(value["error"].is_string(), code != 0, "{value}");
    value
}

fn warnings(value: &Value) -> Vec<&str> {
    value["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap()).collect()
}

#[track_caller]
fn warns(value: &Value, part: &str) {
    assert!(warnings(value).iter().any(|warning| warning.contains(part)), "no {part:?} in {value}");
}

#[track_caller]
fn does_not_warn(value: &Value, part: &str) {
    assert!(!warnings(value).iter().any(|warning| warning.contains(part)), "{part:?} in {value}");
}

/// Answers as an etcd that tells this of itself, until the test ends. Everything else it is asked it does not know.
fn fake(status: &Value, date: &'static str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let status = status.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut first, mut length) = (String::new(), 0);
            stream.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = number.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let (code, body) = if first.contains("/v3/maintenance/status") {
                (200, status.clone())
            } else {
                (404, json!({"error": "unknown", "message": "unknown", "code": 5}).to_string())
            };
            let head = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\nDate: {date}\r\n", body.len());
            write!(stream.get_mut(), "{head}Connection: close\r\n\r\n{body}").unwrap();
        }
    });
    format!("http://127.0.0.1:{port}")
}

/// What a member tells; 0 is no leader.
fn member(version: &str, cluster: u64, leader: u64, errors: &[&str]) -> Value {
    let header = json!({"cluster_id": cluster.to_string(), "member_id": "7", "revision": "1"});
    json!({
        "header": header, "version": version, "dbSize": "20480", "leader": leader.to_string(), "errors": errors,
    })
}

const LONG_AGO: &str = "Sun, 22 Nov 2020 18:30:00 GMT";

#[test]
fn files_tell_their_folder_and_what_is_active() {
    let site = Site::new();
    site.reserve("alice", "a.py", &[]);
    site.lapsed("bob", "b.py", 9);
    let none: [&str; 0] = [];
    let why = format!("{} is not in a Git repository", site.path().display());
    let name = object! {
        "configured": NULL, "configured_in": NULL, "derived": NULL, "remote": NULL, "not_derived": why,
    };
    let place = site.store().display().to_string();
    let fields = object! {
        "status": "ok", "engine": "files", "chosen_by": NULL, "place": place, "repository": name,
        "endpoints_in": NULL, "cluster_id": NULL, "endpoints": none, "reservations": 1_u64, "problems": none,
    };
    let before = site.snapshot();
    status(&site).json().is_json(0, &[], &fields);
    let text = format!(
        "engine       files (the default: neither MUSE_COORD_ENGINE nor a file says another)\nplace        {place}\n\
         repository   no name is configured\nderived      no name: {why}\nactive       1\n"
    );
    status(&site).run().is_text(0, &text, "");
    assert_eq!(site.snapshot(), before);

    // What is configured for etcd is shown. What is wrong with it hinders nobody where the variable chooses the files;
    // where it does not, nobody can tell which engine it is.
    site.file("muse.toml", "[coordination]\nrepository = \"shop\"\n");
    let value = is(&status(&site).env("MUSE_COORD_ENGINE", "files").json(), 0, "ok");
    assert_eq!(value["chosen_by"], "MUSE_COORD_ENGINE");
    assert_eq!(value["repository"]["configured"], "shop");
    assert_eq!(value["repository"]["configured_in"], site.at("muse.toml").to_str().unwrap());
    site.file("muse.toml", "[coordination\n");
    let by_variable = status(&site).env("MUSE_COORD_ENGINE", "files").json();
    warns(&is(&by_variable, 0, "ok"), "muse.toml, line 1");
    is(&status(&site).json(), 1, "bad_config");
    assert_eq!(site.coord(&["list"]).json().value()["status"], "bad_config");
    std::fs::remove_file(site.at("muse.toml")).unwrap();

    // A store that cannot be read works for nobody.
    let held = site.reserve("carol", "c.py", &[]);
    support::edit(&site.record("reservations", &held.id), |_| "{".to_owned());
    let value = is(&status(&site).json(), 3, "store_damaged");
    assert_eq!(value["reservations"], 1);
    Site::without_store().coord(&["engine", "status"]).json().is_failure(2, "not_a_repository", None);
}

#[test]
fn an_etcd_tells_of_itself() {
    let site = Site::new();
    configure(&site, &[Etcd::shared().url()], &named());
    site.coord(&["reserve", "a.py", "--run-id", "alice"]).env("MUSE_COORD_ENGINE", "etcd").granted();
    let value = is(&on_etcd(&site).json(), 0, "ok");
    assert_eq!(
        (value["engine"].as_str(), value["chosen_by"].as_str()),
        (Some("etcd"), Some("MUSE_COORD_ENGINE"))
    );
    assert_eq!(value["reservations"], 1);
    let place = format!("etcd:/muse/{}/coordination/", value["repository"]["configured"].as_str().unwrap());
    assert_eq!(value["place"], place);
    assert_eq!(value["endpoints_in"], site.at("muse.toml").to_str().unwrap());
    let endpoint = &value["endpoints"][0];
    assert_eq!(endpoint["endpoint"], Etcd::shared().url());
    assert_eq!(
        (&endpoint["reachable"], &endpoint["leader"], &endpoint["has_leader"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert!(endpoint["version"].as_str().unwrap().starts_with("3."), "{endpoint}");
    assert!(
        endpoint["database_bytes"].as_u64().unwrap() > 0 && endpoint["latency_ms"].as_f64().unwrap() > 0.0
    );
    assert_eq!(endpoint["cluster_id"], value["cluster_id"]);
    assert_eq!(endpoint["alarms"], json!([]));
    // The same clock, of which etcd tells whole seconds.
    assert!((-1..=1).contains(&endpoint["clock_ahead_seconds"].as_i64().unwrap()), "{endpoint}");
    does_not_warn(&value, "clock");

    // Variables are strongest, and the text tells the same.
    let text = on_etcd(&site).env("MUSE_COORD_REPOSITORY", "else").run();
    assert_eq!(text.code, 0);
    assert!(text.stdout.contains("repository   else (by MUSE_COORD_REPOSITORY)"), "{text:?}");
    assert!(text.stdout.contains(", leader, "), "{text:?}");
}

#[test]
fn what_is_missing_is_told_beside_what_is_known() {
    let site = Site::without_store();
    git(site.path(), &["init", "--quiet"]);
    site.muse(&["init"]).run().is_success();
    site.file("a.py", "");
    git(site.path(), &["add", "a.py"]);
    git(site.path(), &["commit", "--quiet", "-m", "a"]);
    git(site.path(), &["remote", "add", "origin", "git@example.com:acme/shop.git"]);
    configure(&site, &[Etcd::shared().url()], "");

    // Whoever needs the name is told where to find one.
    let list = |site: &Site| site.coord(&["list"]).env("MUSE_COORD_ENGINE", "etcd").json();
    let error = list(&site).is_failure(1, "bad_config", None);
    assert!(error.contains("needs `repository`") && error.contains("muse coord engine status"), "{error}");
    let value = is(&on_etcd(&site).json(), 1, "bad_config");
    let derived = value["repository"]["derived"].as_str().unwrap();
    assert!(derived.starts_with("shop-") && derived.len() == 17, "{derived}");
    assert_eq!(value["repository"]["remote"], "example.com/acme/shop");
    assert_eq!(value["repository"]["configured"], Value::Null);
    assert_eq!((&value["endpoints"][0]["reachable"], &value["reservations"]), (&json!(true), &Value::Null));
    assert!(value["problems"][0].as_str().unwrap().contains("needs `repository`"), "{value}");
    let line = format!("repository = \"{derived}\"");
    let text = on_etcd(&site).run();
    assert!(text.stderr.contains(&line), "{text:?}");
    // Copied, it works.
    configure(&site, &[Etcd::shared().url()], &line);
    is(&on_etcd(&site).json(), 0, "ok");
    list(&site).is_success();

    site.file("muse.toml", "");
    let value = is(&on_etcd(&site).json(), 1, "bad_config");
    let problems = value["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{value}");
    assert!(problems[1].as_str().unwrap().contains("no endpoint is named"), "{value}");
    assert_eq!(value["repository"]["derived"], derived);
    let value = is(&status(&site).env("MUSE_COORD_ENGINE", "redis").json(), 1, "bad_config");
    assert!(value["problems"][0].as_str().unwrap().contains("no engine `redis`"), "{value}");
    let value = is(&on_etcd(&site).env("MUSE_COORD_ENDPOINTS", "h:1").json(), 1, "bad_config");
    assert_eq!(value["endpoints_in"], "MUSE_COORD_ENDPOINTS");
    // A comma at the end is no endpoint, and none is left here.
    let value = is(&on_etcd(&site).env("MUSE_COORD_ENDPOINTS", " , ").json(), 1, "bad_config");
    let told = value["problems"].to_string();
    assert!(told.contains("no endpoint is named"), "{value}");
}

#[test]
fn two_clones_show_one_name_and_a_shallow_one_none() {
    let site = Site::without_store();
    git(site.path(), &["init", "--quiet", "first"]);
    let first = site.file("first/a.py", "");
    let first = first.parent().unwrap();
    for message in ["a", "b"] {
        git(first, &["add", "."]);
        git(first, &["commit", "--quiet", "--allow-empty", "-m", message]);
    }
    git(site.path(), &["clone", "--quiet", "--bare", "first", "shop.git"]);
    let url = format!("file://{}", site.at("shop.git").display());
    let name = |folder: &Path| {
        Muse::in_folder(folder, &["init"]).run().is_success();
        is(&Muse::in_folder(folder, &["coord", "engine", "status"]).json(), 0, "ok")["repository"].take()
    };
    let clone = |folder: &str, flags: &[&str]| {
        git(site.path(), &[&["clone", "--quiet"], flags, &[&*url, folder]].concat());
        name(&site.at(folder))
    };
    let one = clone("one", &[]);
    assert!(one["derived"].as_str().unwrap().starts_with("shop-"), "{one}");
    assert_eq!(clone("two", &[]), one);
    git(&site.at("two"), &["remote", "set-url", "origin", "https://example.com/fork/shop"]);
    assert_ne!(name(&site.at("two"))["derived"], one["derived"]);
    let shallow = clone("shallow", &["--depth", "1"]);
    assert_eq!(shallow["derived"], Value::Null);
    assert!(shallow["not_derived"].as_str().unwrap().contains("shallow clone"), "{shallow}");
}

#[test]
fn an_etcd_that_does_not_answer_hides_nothing_else() {
    let site = Site::new();
    let dead = format!("http://127.0.0.1:{}", free_port());
    configure(&site, &[&dead], &named());
    let value = is(&on_etcd(&site).json(), 5, "unreachable");
    let error = value["error"].as_str().unwrap();
    assert!(error.contains("nobody listens there") && error.contains("could not check"), "{error}");
    let endpoint = &value["endpoints"][0];
    assert_eq!((&endpoint["reachable"], &endpoint["version"]), (&json!(false), &Value::Null));
    assert_eq!(endpoint["error"], "nobody listens there");
    assert!(value["place"].as_str().unwrap().starts_with("etcd:/muse/test-"), "{value}");
    let text = on_etcd(&site).run();
    assert_eq!(text.code, 5);
    assert!(text.stdout.contains("nobody listens there") && text.stderr.starts_with("error: "), "{text:?}");

    // One of two that answers is enough.
    configure(&site, &[&dead, Etcd::shared().url()], &named());
    let value = is(&on_etcd(&site).json(), 0, "ok");
    warns(&value, &format!("{dead} does not tell its state: nobody listens there"));
    assert_eq!(value["endpoints"][1]["reachable"], true);
}

#[test]
fn what_is_wrong_with_an_etcd_is_warned_of() {
    let site = Site::new();
    let tell = |endpoints: &[&str]| {
        configure(&site, endpoints, "repository = \"shop\"");
        on_etcd(&site).json()
    };
    let faults = "known for faults in its leases";
    let good = fake(&member("3.5.28", 1, 7, &[]), LONG_AGO);
    // It answers, but keeps no reservations.
    let value = is(&tell(&[&good]), 5, "refused");
    does_not_warn(&value, faults);
    warns(&value, "ahead of that of http://127.0.0.1:");
    assert!(value["endpoints"][0]["clock_ahead_seconds"].as_i64().unwrap() > 100_000_000, "{value}");
    assert_eq!(value["endpoints"][0]["leader"], true);
    assert_eq!(value["cluster_id"], "1");

    for version in ["3.4.40", "3.5.27", "3.6.8"] {
        let old = fake(&member(version, 1, 8, &[]), "no date");
        let value = is(&tell(&[&old]), 5, "refused");
        warns(&value, &format!("runs etcd {version}, which is {faults}"));
        assert_eq!(value["endpoints"][0]["clock_ahead_seconds"], Value::Null);
        assert_eq!(value["endpoints"][0]["leader"], false);
    }
    let full = ["memberID:7 alarm:NOSPACE "];
    let full = fake(&member("3.6.9", 255, 7, &full), LONG_AGO);
    let value = is(&tell(&[&good, &full]), 5, "refused");
    warns(&value, "alarm:NOSPACE: nothing can be reserved until space is made");
    warns(&value, "different clusters");
    assert_eq!(value["cluster_id"], Value::Null);
    assert_eq!(value["endpoints"][1]["alarms"], json!(["memberID:7 alarm:NOSPACE"]));
    assert_eq!(value["endpoints"][1]["cluster_id"], "ff");

    let headless = fake(&member("3.6.9", 1, 0, &["etcdserver: no leader"]), LONG_AGO);
    let value = is(&tell(&[&headless]), 5, "unreachable");
    assert!(value["error"].as_str().unwrap().contains("etcd has no leader"), "{value}");
    warns(&value, "knows of no leader");
    does_not_warn(&is(&tell(&[&good, &headless]), 5, "refused"), "etcd has no leader");
}

#[test]
fn a_password_in_the_open_is_warned_of() {
    let site = Site::new();
    let port = free_port();
    let login = format!("{}\nuser = \"u\"", named());
    for (host, is_warned) in [("127.0.0.1", false), ("0.0.0.0", true)] {
        configure(&site, &[&format!("http://{host}:{port}")], &login);
        let value = is(&on_etcd(&site).env("MUSE_COORD_PASSWORD", "s3cret").json(), 5, "unreachable");
        let is_there = warnings(&value).iter().any(|warning| warning.contains("unencrypted"));
        assert_eq!(is_there, is_warned, "{value}");
        assert!(!value.to_string().contains("s3cret"));
    }
    // Without a password there is none to tell, but `user` needs one.
    configure(&site, &[Etcd::shared().url()], &login);
    let value = is(&on_etcd(&site).json(), 1, "bad_config");
    assert!(value["problems"][0].as_str().unwrap().contains("needs a password"), "{value}");
}
