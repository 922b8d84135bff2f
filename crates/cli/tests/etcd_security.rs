//! What etcd refuses, and why: certificates, logins, a full disk, a history that is compacted away. Each is told with what
//! to do about it, and what can go on goes on without being started again.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start processes and write files; what a helper does not expect fails the test"
)]

use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use muse_coord::{
    Beat, Beaten, Coordinator, Endpoints, Engine as _, EngineError, EtcdEngine, Interest, ReleaseRequest,
    RemoteFailure, Request, ReservationId, Reserved, RunId, SystemClock, TtlSeconds, Woken,
};
use muse_testkit::etcd::Etcd;
use muse_testkit::etcd::certificates::{Authority, Pair};
use muse_testkit::etcd::proxy::Proxy;
use muse_testkit::process::until;

mod support;

use support::{Answer, Muse, Site, set_mode};

const LATE: i32 = 2090;
const LONG_AGO: i32 = 2001;

/// Long enough for anything that is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Long enough to see that nobody answers.
const SHORT: Duration = Duration::from_secs(2);

/// Longer than it takes to be told of something.
const QUIET: Duration = Duration::from_secs(2);

fn coord(site: &Site, arguments: &[&str]) -> Muse {
    site.coord(arguments).env("MUSE_COORD_ENGINE", "etcd")
}

/// Writes `muse.toml`.
fn configure(site: &Site, endpoint: &str, lines: &[&str]) {
    let repository = Etcd::repository();
    let mut text = format!("[coordination]\nendpoints = [\"{endpoint}\"]\nrepository = \"{repository}\"\n");
    for line in lines {
        text.extend([line, "\n"]);
    }
    site.file("muse.toml", &text);
}

#[track_caller]
fn refused(answer: &Answer, code: i32, status: &str, parts: &[&str]) {
    let value = answer.value();
    let told = (value["exit_code"].as_i64(), value["status"].as_str());
    assert_eq!(told, (Some(code.into()), Some(status)), "{value}");
    let error = value["error"].as_str().unwrap_or_default();
    for part in parts {
        assert!(error.contains(part), "no {part:?} in {error:?}");
    }
}

/// Puts a certificate and its key into the folder.
fn place(site: &Site, name: &str, pair: &Pair) -> (String, String) {
    let certificate = site.file(&format!("{name}.pem"), &pair.certificate);
    let key = site.file(&format!("{name}.key"), &pair.key);
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    (text(&certificate), text(&key))
}

fn start_secure(site: &Site, pair: &Pair, authority: &Authority) -> Etcd {
    let (certificate, key) = place(site, "server", pair);
    let ca = site.file("ca.pem", &authority.pem());
    let ca = ca.to_str().expect("UTF-8");
    Etcd::start_secure(&[
        "--cert-file",
        &certificate,
        "--key-file",
        &key,
        "--client-cert-auth",
        "--trusted-ca-file",
        ca,
    ])
}

#[test]
fn certificates_that_are_not_taken_are_told() {
    let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
    let site = Site::new();
    let etcd = start_secure(&site, &known.certify("server", LATE), &known);
    site.file("other-ca.pem", &stranger.pem());
    place(&site, "client", &known.certify("client", LATE));
    place(&site, "old", &known.certify("old", LONG_AGO));
    place(&site, "strange", &stranger.certify("strange", LATE));
    let reserve = |endpoint: &str, lines: &[&str]| {
        configure(&site, endpoint, lines);
        coord(&site, &["reserve", "a.py", "--run-id", "alice"]).json()
    };
    let identity = ["ca = \"ca.pem\"", "cert = \"client.pem\"", "key = \"client.key\""];
    until("etcd answers", || reserve(etcd.url(), &identity).code == 0);

    let unreachable = |endpoint: &str, lines: &[&str], parts: &[&str]| {
        let answer = reserve(endpoint, lines);
        refused(&answer, 5, "unreachable", parts);
        refused(&answer, 5, "unreachable", &[endpoint, "could not check, so take it for held"]);
    };
    let url = etcd.url();
    let others = ["ca = \"other-ca.pem\"", identity[1], identity[2]];
    unreachable(url, &others, &["unknown issuer", "name the file of those"]);
    unreachable(url, &identity[..1], &["it wants a certificate of the client: give `cert` and `key`"]);
    for name in ["old", "strange"] {
        let [cert, key] = [format!("cert = \"{name}.pem\""), format!("key = \"{name}.key\"")];
        unreachable(url, &[identity[0], &cert, &key], &["does not take the certificate in `cert`"]);
    }
    let named = url.replace("127.0.0.1", "localhost");
    unreachable(&named, &identity, &["its certificate is not for the name in the endpoint"]);
    let without = engine(&plain(&url.replace("https", "http")));
    without.engine().limit_calls(SHORT);
    let told = without.reserve(&request("a.py")).expect_err("it speaks TLS").to_string();
    assert!(told.contains("speaks TLS") && told.contains("write `https://`"), "{told}");
    let mixed = [identity[0], identity[1], "key = \"old.key\""];
    refused(&reserve(url, &mixed), 1, "bad_config", &["`cert` and `key` do not belong together"]);
    drop(etcd);

    let etcd = start_secure(&site, &known.certify("server", LONG_AGO), &known);
    unreachable(etcd.url(), &identity, &["has expired: renew it", "this machine's clock"]);
}

/// One with users: `agent` may do what it has to, and `guest` nothing.
fn with_users(arguments: &[&str]) -> Etcd {
    let etcd = Etcd::start(arguments);
    for words in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "agent:secret"],
        &["user", "add", "guest:secret"],
        &["role", "add", "muse"],
        &["role", "grant-permission", "muse", "--prefix=true", "readwrite", "/muse/"],
        &["user", "grant-role", "agent", "muse"],
        &["auth", "enable"],
    ] {
        assert!(etcd.control(words).is_some(), "{words:?}");
    }
    etcd
}

fn write_password(site: &Site, password: &str) {
    let file = site.file("password", &format!("{password}\n"));
    set_mode(&file, 0o600);
}

#[test]
fn logins_that_are_not_taken_are_told() {
    let etcd = with_users(&[]);
    let site = Site::new();
    write_password(&site, "secret");
    let reserve = |lines: &[&str]| {
        configure(&site, etcd.url(), lines);
        coord(&site, &["reserve", "a.py", "--run-id", "alice"]).json()
    };
    let user = |name: &str| [format!("user = \"{name}\""), "password_file = \"password\"".to_owned()];
    let with = |name: &str| reserve(&user(name).each_ref().map(String::as_str));
    assert_eq!(with("agent").code, 0);
    refused(&with("guest"), 5, "refused", &["permission denied", "begin with `/muse/`"]);
    refused(&with("nobody"), 5, "refused", &["user `nobody` cannot log in", "check `user`"]);
    write_password(&site, "guess");
    let parts = ["user `agent` cannot log in", "password", "`password_file` or MUSE_COORD_PASSWORD"];
    refused(&with("agent"), 5, "refused", &parts);
    refused(&reserve(&[]), 5, "refused", &["it wants a login: give `user` and its password"]);
    // Where there are no users, a login is too much.
    configure(&site, Etcd::shared().url(), &user("agent").each_ref().map(String::as_str));
    let answer = coord(&site, &["list"]).json();
    refused(&answer, 5, "refused", &["user `agent` cannot log in", "authentication is not enabled"]);
}

fn engine(endpoints: &Endpoints) -> Coordinator<EtcdEngine<SystemClock>> {
    Coordinator::new(EtcdEngine::new(endpoints, &Etcd::repository(), SystemClock).expect("endpoints"))
}

fn plain(url: &str) -> Endpoints {
    Endpoints { urls: vec![url.to_owned()], ..Endpoints::default() }
}

fn request(address: &str) -> Request {
    let address = address.parse().expect("an address");
    Request::new(RunId::new("alice").expect("a run"), vec![address], TtlSeconds::new(600).expect("a TTL"))
}

fn id_of(reserved: Reserved) -> ReservationId {
    match reserved {
        Reserved::Granted(grant) => grant.lease.reservation.reservation_id,
        other => panic!("not granted: {other:?}"),
    }
}

fn release(id: ReservationId) -> ReleaseRequest {
    let run = RunId::new("alice").expect("a run");
    ReleaseRequest { reservations: vec![id], run, reason: None, force: false }
}

/// Twice: once it has expired, and once etcd does not know it any more.
#[test]
fn whoever_was_logged_out_logs_in_again() {
    let mut etcd = with_users(&["--auth-token-ttl", "1"]);
    let login = Some(("agent".to_owned(), "secret".to_owned()));
    let long_lived = engine(&Endpoints { login, ..plain(etcd.url()) });
    id_of(long_lived.reserve(&request("a.py")).expect("granted"));
    thread::sleep(Duration::from_secs(4));
    id_of(long_lived.reserve(&request("b.py")).expect("granted with a new login"));
    let changes = long_lived.engine().changes(Interest::Freed);
    etcd.restart();
    let id = id_of(long_lived.reserve(&request("c.py")).expect("granted with a new login"));
    // The watch is at it again too.
    let mut changes = changes.expect("a watch");
    while changes.wait(QUIET, None) == Woken::Changed {}
    long_lived.release(&release(id)).expect("released");
    assert_eq!(changes.wait(PATIENCE, None), Woken::Changed);
}

#[test]
fn who_waits_is_served_though_etcd_was_started_again() {
    let mut etcd = with_users(&[]);
    let site = Site::new();
    write_password(&site, "secret");
    configure(&site, etcd.url(), &["user = \"agent\"", "password_file = \"password\""]);
    let held = coord(&site, &["reserve", "a.py", "--run-id", "alice"]).granted();
    let mut waiter = coord(&site, &["reserve", "a.py", "--wait", "100", "--run-id", "bob", "--json"]);
    let waiter = waiter.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    until("it waits", || {
        let queue = coord(&site, &["list"]).json().value();
        queue["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty())
    });
    etcd.restart();
    coord(&site, &["release", &held.id, "--run-id", "alice"]).run().is_success();
    let answer = Answer::of(waiter.wait_with_output().expect("it ends"));
    assert_eq!(answer.value()["status"], "ok", "{answer:?}");
}

/// Fills it until it takes no more.
fn fill(etcd: &Etcd) {
    let value = "x".repeat(100_000);
    let is_full = (0..1000).any(|number| etcd.control(&["put", &format!("big/{number}"), &value]).is_none());
    assert!(is_full);
}

/// What its administrator does.
fn make_room(etcd: &Etcd) {
    let control = |words: &[&str]| etcd.control(words).unwrap_or_else(|| panic!("{words:?}"));
    control(&["del", "--prefix", "big/"]);
    let status = control(&["endpoint", "status", "--write-out=json"]);
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let revision = status[0]["Status"]["header"]["revision"].to_string();
    control(&["compact", "--physical=true", &revision]);
    control(&["defrag"]);
    control(&["alarm", "disarm"]);
}

#[test]
fn a_full_etcd_is_told_and_keeps_what_there_is() {
    let etcd = Etcd::start(&["--quota-backend-bytes", "3000000"]);
    let site = Site::new();
    configure(&site, etcd.url(), &[]);
    let beaten = coord(&site, &["reserve", "a.py", "--ttl", "600", "--run-id", "alice"]).granted();
    let beat = |id: &str, seconds: &str| {
        coord(&site, &["heartbeat", id, "--extension", seconds, "--run-id", "alice"]).json()
    };
    assert_eq!(beat(&beaten.id, "600").code, 0);
    let fresh = coord(&site, &["reserve", "b.py", "--ttl", "600", "--run-id", "alice"]).granted();
    let long_lived = engine(&plain(etcd.url()));
    let id = id_of(long_lived.reserve(&request("a.py")).expect("granted"));
    fill(&etcd);

    let parts =
        ["space exceeded", "etcd is full", "etcdctl compact", "etcdctl defrag", "etcdctl alarm disarm"];
    let reserve = || coord(&site, &["reserve", "c.py", "--run-id", "alice"]).json();
    refused(&reserve(), 5, "refused", &parts);
    assert!(long_lived.reserve(&request("b.py")).is_err());
    // What is held can be kept, for as long as it was granted or was kept before.
    for id in [&beaten.id, &fresh.id] {
        let answer = beat(id, "600").value();
        assert_eq!((answer["status"].as_str(), answer["lapsed_seconds"].as_u64()), (Some("ok"), None));
    }
    refused(&beat(&fresh.id, "6000"), 5, "refused", &parts);
    let extension = TtlSeconds::new(600).expect("a TTL");
    let run = RunId::new("alice").expect("a run");
    let kept = long_lived.heartbeat(&Beat { reservation: id, run, extension });
    assert!(matches!(kept, Ok(Beaten::Extended { lapsed_seconds: None, .. })), "{kept:?}");
    assert_eq!(coord(&site, &["check", "a.py", "--run-id", "bob"]).json().code, 6);
    refused(&coord(&site, &["release", &fresh.id, "--run-id", "alice"]).json(), 5, "refused", &parts);

    make_room(&etcd);
    assert_eq!(reserve().code, 0);
    id_of(long_lived.reserve(&request("b.py")).expect("the same client goes on"));
    assert_eq!(coord(&site, &["release", &fresh.id, "--run-id", "alice"]).json().code, 0);
}

/// What a watch was to begin with is compacted away while its network is cut.
#[test]
fn a_watch_outlives_a_compaction() {
    let etcd = Etcd::start(&[]);
    let proxy = Proxy::to(etcd.url());
    let repository = Etcd::repository();
    let new = |url: &str| {
        Coordinator::new(EtcdEngine::new(&plain(url), &repository, SystemClock).expect("endpoints"))
    };
    let (near, far) = (new(etcd.url()), new(proxy.url()));
    let mut changes = far.engine().changes(Interest::Freed).expect("a watch");
    let take = |address: &str| id_of(near.reserve(&request(address)).expect("granted"));
    // It is at it.
    let id = take("a.py");
    near.release(&release(id)).expect("released");
    assert_eq!(changes.wait(PATIENCE, None), Woken::Changed);

    proxy.cut();
    proxy.break_off();
    let id = take("b.py");
    near.release(&release(id)).expect("released");
    let revision = etcd.control(&["put", "other", "x", "--write-out=json"]).expect("put");
    let revision: serde_json::Value = serde_json::from_str(&revision).expect("JSON");
    let revision = revision["header"]["revision"].to_string();
    etcd.control(&["compact", "--physical=true", &revision]).expect("compacted");
    proxy.mend();
    assert_eq!(changes.wait(PATIENCE, None), Woken::Changed);
    // It goes on from there: it is quiet, and tells what comes.
    until("it is quiet", || changes.wait(QUIET, None) == Woken::TimedOut);
    let id = take("c.py");
    near.release(&release(id)).expect("released");
    assert_eq!(changes.wait(PATIENCE, None), Woken::Changed);
}

#[test]
fn who_waits_is_served_though_the_history_was_compacted() {
    let etcd = Etcd::start(&[]);
    let proxy = Proxy::to(etcd.url());
    let site = Site::new();
    configure(&site, etcd.url(), &[]);
    let held = coord(&site, &["reserve", "a.py", "--run-id", "alice"]).granted();
    let mut waiter = coord(&site, &["reserve", "a.py", "--wait", "100", "--run-id", "bob", "--json"])
        .env("MUSE_COORD_ENDPOINTS", proxy.url());
    let waiter = waiter.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    until("it waits", || {
        let queue = coord(&site, &["list"]).json().value();
        queue["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty())
    });
    proxy.cut();
    proxy.break_off();
    coord(&site, &["release", &held.id, "--run-id", "alice"]).run().is_success();
    let put = etcd.control(&["put", "other", "x", "--write-out=json"]).expect("put");
    let put: serde_json::Value = serde_json::from_str(&put).expect("JSON");
    let revision = put["header"]["revision"].to_string();
    etcd.control(&["compact", "--physical=true", &revision]).expect("compacted");
    proxy.mend();
    let answer = Answer::of(waiter.wait_with_output().expect("it ends"));
    assert_eq!(answer.value()["status"], "ok", "{answer:?}");
}

/// An endpoint that hangs leaves the others time, and a call that is cut off altogether says so.
#[test]
fn an_endpoint_that_hangs_is_passed_over() {
    let etcd = Etcd::start(&[]);
    let proxy = Proxy::to(etcd.url());
    proxy.cut();
    let urls = vec![proxy.url().to_owned(), etcd.url().to_owned()];
    let long_lived = engine(&Endpoints { urls, ..Endpoints::default() });
    id_of(long_lived.reserve(&request("a.py")).expect("granted by the other"));
    // A watch that was at it goes on at the other.
    let network = Proxy::to(etcd.url());
    let urls = vec![network.url().to_owned(), etcd.url().to_owned()];
    let far = engine(&Endpoints { urls, ..Endpoints::default() });
    let mut changes = far.engine().changes(Interest::Freed).expect("a watch");
    network.cut();
    network.break_off();
    until("it is quiet", || changes.wait(QUIET, None) == Woken::TimedOut);
    let id = id_of(far.reserve(&request("a.py")).expect("granted by the other"));
    far.release(&release(id)).expect("released");
    assert_eq!(changes.wait(PATIENCE, None), Woken::Changed);

    let alone = engine(&plain(proxy.url()));
    alone.engine().limit_calls(SHORT);
    let told = alone.reserve(&request("a.py"));
    let Err(EngineError::Remote { failure, why, .. }) = told else { panic!("{told:?}") };
    assert_eq!(failure, RemoteFailure::Unreachable);
    assert!(why.contains(proxy.url()) && why.contains("did not answer in time"), "{why}");
}
