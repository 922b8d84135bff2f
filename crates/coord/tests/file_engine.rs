//! What of the file engine can only be seen in its files: the bytes on disk, every kind of damage, what killed
//! processes leave behind, races between threads.

#![expect(clippy::disallowed_methods, reason = "these tests write, move and lock the files of a store")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use muse_coord::record::to_file_bytes;
use muse_coord::{
    Address, Beat, Beaten, CheckRequest, Clock, Coordinator, Engine, EngineError, FileEngine, Filter, Grant,
    Interest, Lease, ManualClock, Mode, Operation, ReleaseRequest, Released, Request, ReservationId,
    Reserved, RunId, State, SystemClock, TakeOver, Token, TtlSeconds,
};

const START_SECONDS: i64 = 1_800_000_000;
const TTL_SECONDS: i64 = 60;

/// Every folder of a store. The engine opens the first five for each call.
const FOLDERS: [&str; 8] =
    ["heartbeats", "releases", "reservations", "superseded", "tmp", "archive", "intents", "waiting"];

/// A store in a folder of its own, and its engine.
struct Site {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    engine: FileEngine<Arc<ManualClock>>,
}

impl Site {
    fn new() -> Site {
        Site::within(memory_folder())
    }

    fn within(folder: tempfile::TempDir) -> Site {
        let clock = Arc::new(ManualClock::at_seconds(START_SECONDS));
        let engine = FileEngine::new(folder.path().join("coordination"), Arc::clone(&clock));
        Site { folder, clock, engine }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.engine.path().join(name)
    }

    fn record(&self, room: &str, id: ReservationId) -> PathBuf {
        self.path(room).join(format!("{id}.json"))
    }

    fn grant(&self, run: &str, addresses: &[&str]) -> Grant {
        granted(self.engine.grant(&request(run, addresses)))
    }

    fn hold(&self, run: &str, addresses: &[&str]) -> ReservationId {
        self.grant(run, addresses).lease.reservation.reservation_id
    }

    fn beat(&self, id: ReservationId, run: &str, seconds: i64) -> Result<Beaten, EngineError> {
        self.engine.beat(&Beat { reservation: id, run: run_id(run), extension: ttl(seconds) })
    }

    fn extend(&self, id: ReservationId, run: &str) {
        let beaten = self.beat(id, run, TTL_SECONDS).expect("a heartbeat");
        assert!(matches!(beaten, Beaten::Extended { .. }), "{beaten:?}");
    }

    fn release(&self, id: ReservationId, run: &str, force: bool) -> Result<Released, EngineError> {
        let request = ReleaseRequest { reservations: vec![id], run: run_id(run), reason: None, force };
        self.engine.release(&request).expect("an answer").remove(0).1
    }

    /// A store with reservations of every kind: one of dave's that lapsed, one of zoe's that was superseded,
    /// and the four that are returned: alice's active one, bob's with a heartbeat, alice's released one, and
    /// carol's, which no test damages.
    fn populated() -> (Site, [ReservationId; 4]) {
        let site = Site::new();
        site.hold("dave", &["lapsed.py"]);
        site.hold("zoe", &["old.py"]);
        site.clock.advance_seconds(TTL_SECONDS);
        let active = site.hold("alice", &["old.py"]);
        let beaten = site.hold("bob", &["b.py"]);
        site.extend(beaten, "bob");
        let released = site.hold("alice", &["gone.py"]);
        site.release(released, "alice", false).expect("a release");
        let untouched = site.hold("carol", &["c.py"]);
        (site, [active, beaten, released, untouched])
    }
}

/// A folder in memory, where that is offered: what is tested here does not depend on the disk, and hundreds of
/// stores are synced.
fn memory_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder")
}

fn ttl(seconds: i64) -> TtlSeconds {
    TtlSeconds::new(seconds).expect("a lifetime")
}

fn run_id(text: &str) -> RunId {
    RunId::new(text).expect("a run id")
}

fn request(run: &str, addresses: &[&str]) -> Request {
    let addresses: Vec<Address> =
        addresses.iter().map(|address| address.parse().expect("an address")).collect();
    Request::new(run_id(run), addresses, ttl(TTL_SECONDS))
}

fn granted(answer: Result<Reserved, EngineError>) -> Grant {
    match answer.expect("an answer") {
        Reserved::Granted(grant) => *grant,
        other => panic!("not granted: {other:?}"),
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a text file")
}

/// Every file below `path` with its bytes, without following links.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut ahead = vec![path.to_owned()];
    while let Some(folder) = ahead.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("its type");
            if kind.is_dir() {
                ahead.push(entry.path());
            } else {
                let bytes = if kind.is_file() { fs::read(entry.path()).expect("bytes") } else { Vec::new() };
                files.insert(entry.path(), bytes);
            }
        }
    }
    files
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// The message of an error, which has to name `path`.
#[track_caller]
fn message_about<T: std::fmt::Debug>(answer: Result<T, EngineError>, path: &Path) -> String {
    let message = answer.expect_err("an error").to_string();
    assert!(message.contains(path.to_str().expect("UTF-8")), "{message} does not name {}", path.display());
    message
}

// Layout and bytes.

#[test]
fn a_new_store_has_the_folders_of_the_format_and_nothing_beside() {
    let site = Site::new();
    site.hold("alice", &["a.py"]);
    let mut expected: BTreeSet<String> = FOLDERS.iter().map(ToString::to_string).collect();
    expected.extend(["lock".to_owned(), "token".to_owned()]);
    assert_eq!(names(site.engine.path()), expected);
    assert!(names(&site.path("tmp")).is_empty());
    assert_eq!(names(site.folder.path()), BTreeSet::from(["coordination".to_owned()]));
}

#[test]
fn a_reservation_is_stored_as_the_format_says() {
    let site = Site::new();
    site.clock.advance_microseconds(5);
    let mut wanted = request("agent \"42\"/é", &["src/billing.py::compute_total", "a.py"]);
    wanted.branch = Some("main".to_owned());
    wanted.operation = Some(Operation::Modify);
    let lease = granted(site.engine.grant(&wanted)).lease;
    let (id, token) = (lease.reservation.reservation_id, lease.reservation.token);
    let path = site.record("reservations", id);
    assert_eq!(path, site.engine.record_path(id));
    let expected = format!(
        r#"{{
  "schema_version": 1,
  "reservation_id": "{id}",
  "run_id": "agent \"42\"/é",
  "branch": "main",
  "addresses": [
    "a.py",
    "src/billing.py::compute_total"
  ],
  "mode": "exclusive",
  "operation": "modify",
  "token": {token},
  "ttl_seconds": 60,
  "created_at": "2027-01-15T08:00:00.000005+00:00",
  "expires_at": "2027-01-15T08:01:00.000005+00:00"
}}
"#
    );
    assert_eq!(read(&path), expected);
    assert_eq!(read(&site.path("token")), format!("{token}\n"));

    wanted.branch = None;
    wanted.operation = None;
    wanted.mode = Mode::Advisory;
    let id = granted(site.engine.grant(&wanted)).lease.reservation.reservation_id;
    let text = read(&site.record("reservations", id));
    assert!(text.contains("\"branch\": null") && text.contains("\"operation\": null"), "{text}");
    assert!(text.contains("\"mode\": \"advisory\""), "{text}");
}

#[test]
fn companions_are_stored_as_the_format_says() {
    let site = Site::new();
    let loser = site.hold("alice", &["a.py"]);
    site.beat(loser, "boss", 30).expect("a heartbeat");
    let heartbeat = format!(
        r#"{{
  "schema_version": 1,
  "reservation_id": "{loser}",
  "run_id": "boss",
  "last_beat_at": "2027-01-15T08:00:00.000000+00:00",
  "extended_expires_at": "2027-01-15T08:00:30.000000+00:00"
}}
"#
    );
    assert_eq!(read(&site.record("heartbeats", loser)), heartbeat);

    site.clock.advance_seconds(TTL_SECONDS);
    let winner = site.hold("bob", &["a.py"]);
    let supersession = format!(
        r#"{{
  "schema_version": 1,
  "reservation_id": "{loser}",
  "superseded_by": "{winner}",
  "run_id": "bob",
  "superseded_at": "2027-01-15T08:01:00.000000+00:00"
}}
"#
    );
    assert_eq!(read(&site.record("superseded", loser)), supersession);

    site.clock.advance_microseconds(999_999);
    let release = ReleaseRequest {
        reservations: vec![winner],
        run: run_id("boss"),
        reason: Some("stuck\nfor long".to_owned()),
        force: true,
    };
    assert!(matches!(site.engine.release(&release).unwrap()[..], [(_, Ok(Released::Released))]));
    let tombstone = format!(
        r#"{{
  "schema_version": 1,
  "reservation_id": "{winner}",
  "run_id": "boss",
  "released_at": "2027-01-15T08:01:00.999999+00:00",
  "reason": "stuck\nfor long",
  "forced": true
}}
"#
    );
    assert_eq!(read(&site.record("releases", winner)), tombstone);
    site.release(loser, "alice", false).unwrap();
    let text = read(&site.record("releases", loser));
    assert!(text.contains("\"reason\": null,\n  \"forced\": false\n"), "{text}");
}

#[test]
fn files_and_folders_have_the_modes_of_the_format_less_the_umask() {
    let (site, [active, beaten, released, _]) = Site::populated();
    let probe = site.folder.path().join("probe");
    OpenOptions::new().create_new(true).write(true).mode(0o777).open(&probe).unwrap();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    let masked = mode(&probe);
    for file in [
        site.record("reservations", active),
        site.record("heartbeats", beaten),
        site.record("releases", released),
        site.path("token"),
        site.path("lock"),
    ] {
        assert_eq!(mode(&file), 0o644 & masked, "{}", file.display());
    }
    for folder in FOLDERS {
        assert_eq!(mode(&site.path(folder)), masked, "{folder}");
    }
}

#[test]
fn records_are_written_once_and_the_lock_file_stays() {
    let site = Site::new();
    let wanted = request("alice", &["a.py"]);
    let id = granted(site.engine.grant(&wanted)).lease.reservation.reservation_id;
    let identity = |path: &Path| (fs::metadata(path).unwrap().ino(), fs::read(path).unwrap());
    let record = identity(&site.record("reservations", id));
    let lock = identity(&site.path("lock"));
    site.extend(id, "alice");
    assert!(granted(site.engine.grant(&wanted)).renewed);
    site.release(id, "alice", false).unwrap();
    let tombstone = identity(&site.record("releases", id));
    assert_eq!(site.release(id, "bob", true).unwrap(), Released::AlreadyReleased);
    assert_eq!(identity(&site.record("reservations", id)), record);
    assert_eq!(identity(&site.record("releases", id)), tombstone);
    assert_eq!(identity(&site.path("lock")), lock);
    assert!(record.1.ends_with(b"}\n") && lock.1.is_empty());
}

#[test]
fn a_denied_request_writes_nothing_at_all() {
    let (site, _) = Site::populated();
    site.clock.advance_seconds(TTL_SECONDS - 1);
    site.hold("dave", &["d.py"]);
    site.clock.advance_seconds(1);
    let before = contents(site.engine.path());
    // Of these, some have lapsed, one is active and one is free.
    let answer = site.engine.grant(&request("eve", &["old.py", "b.py", "c.py", "d.py", "new.py"])).unwrap();
    assert!(matches!(answer, Reserved::Denied { .. }));
    assert_eq!(contents(site.engine.path()), before);
}

#[test]
fn only_a_grant_makes_a_store() {
    let site = Site::new();
    let id = ReservationId::from_digest([7; 32]);
    assert_eq!(site.beat(id, "alice", 60).unwrap(), Beaten::NotFound);
    assert_eq!(site.release(id, "alice", true).unwrap(), Released::NotFound);
    assert_eq!(site.engine.find(id).unwrap(), None);
    assert!(site.engine.live().unwrap().leases.is_empty());
    assert!(site.engine.history().unwrap().leases.is_empty());
    assert!(names(site.folder.path()).is_empty());
    // An empty folder is none either.
    fs::create_dir(site.engine.path()).unwrap();
    assert_eq!(site.beat(id, "alice", 60).unwrap(), Beaten::NotFound);
    assert!(names(site.engine.path()).is_empty());
    site.hold("alice", &["a.py"]);
}

// Heartbeats.

#[test]
fn unknown_fields_of_a_heartbeat_are_carried_along() {
    let site = Site::new();
    let wanted = request("alice", &["a.py"]);
    let id = granted(site.engine.grant(&wanted)).lease.reservation.reservation_id;
    site.extend(id, "alice");
    let path = site.record("heartbeats", id);
    let extended =
        read(&path).replace("\n}\n", ",\n  \"zeta\": {\"b\": [1.5, null]},\n  \"host\": \"build-7\"\n}\n");
    fs::write(&path, extended).unwrap();
    site.clock.advance_seconds(1);
    let is_carried = || {
        let text = read(&path);
        let fields: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(fields["host"], "build-7");
        assert_eq!(fields["zeta"], serde_json::json!({"b": [1.5, null]}));
        assert!(text.find("extended_expires_at") < text.find("host"), "known fields come first: {text}");
        assert!(text.contains(&format!("\"last_beat_at\": \"{}\"", site.clock.now())), "{text}");
    };
    site.extend(id, "alice");
    is_carried();
    site.clock.advance_seconds(1);
    site.extend(id, "bob");
    is_carried();
    site.clock.advance_seconds(1);
    assert!(granted(site.engine.grant(&wanted)).renewed);
    is_carried();
}

#[test]
fn an_empty_or_truncated_heartbeat_counts_as_absent() {
    let site = Site::new();
    let id = site.hold("älice", &["a.py"]);
    site.beat(id, "älice", 1000).unwrap();
    let path = site.record("heartbeats", id);
    let whole = fs::read(&path).unwrap();
    // Up to its closing brace: without its final newline it is still whole.
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).unwrap();
        let lease = site.engine.find(id).unwrap().unwrap();
        assert_eq!(lease.heartbeat, None, "{length} bytes");
        let listing = site.engine.live().unwrap();
        assert!(listing.damaged.is_empty() && listing.leases == [lease], "{length} bytes");
    }
    // As some file systems leave it after a power loss.
    fs::write(&path, vec![0; whole.len()]).unwrap();
    assert_eq!(site.engine.find(id).unwrap().unwrap().heartbeat, None);
    // It neither extends the reservation, nor is it in the way of a beat.
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    site.extend(id, "älice");
    fs::write(&path, b"").unwrap();
    site.clock.advance_seconds(TTL_SECONDS);
    assert_eq!(site.grant("bob", &["a.py"]).superseded, 1);
}

#[test]
fn any_other_damage_of_a_heartbeat_is_an_error() {
    let (site, [_, beaten, _, other]) = Site::populated();
    let path = site.record("heartbeats", beaten);
    let whole = read(&path);
    let foreign = ReservationId::from_digest([9; 32]).to_string();
    for damaged in [
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!("\0{whole}"),
        format!("{whole}x"),
        whole.replace(&beaten.to_string(), &foreign),
        whole.replace("extended_expires_at", "extended"),
        whole.replace("+00:00", ""),
        whole.replace("\"schema_version\": 1", "\"schema_version\": \"1\""),
        whole.replace("\"schema_version\": 1", "\"schema_version\": 2"),
    ] {
        assert_ne!(damaged, whole);
        fs::write(&path, &damaged).unwrap();
        message_about(site.beat(beaten, "bob", 60), &path);
        message_about(site.engine.find(beaten), &path);
        message_about(site.engine.grant(&request("eve", &["free.py"])), &path);
        assert_eq!(read(&path), damaged, "it is left as it is");
        let listing = site.engine.live().unwrap();
        assert_eq!(listing.damaged.len(), 1);
        assert!(listing.leases.iter().any(|lease| lease.reservation.reservation_id == other));
        site.extend(other, "carol");
    }
    fs::write(&path, whole).unwrap();
    site.hold("eve", &["free.py"]);
}

// Damage. A request is never granted in doubt, and the heartbeats of others go on.

/// What is put where a file of the store belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Folder,
    Symlink,
    DanglingSymlink,
    #[cfg(target_os = "linux")]
    Fifo,
    #[cfg(target_os = "linux")]
    Socket,
}

const PLANTED: &[Planted] = &[
    Planted::Folder,
    Planted::Symlink,
    Planted::DanglingSymlink,
    #[cfg(target_os = "linux")]
    Planted::Fifo,
    #[cfg(target_os = "linux")]
    Planted::Socket,
];

/// Something in the store that was put there by hand, and the file outside of it that a link leads to.
struct Trap {
    path: PathBuf,
    victim: PathBuf,
    victim_bytes: Option<Vec<u8>>,
}

impl Trap {
    /// Puts `planted` in place of what is at `path`. A link leads to a file outside that has the same bytes,
    /// so that nothing but the link itself gives it away.
    fn set(site: &Site, planted: Planted, path: &Path) -> Trap {
        let victim = site.folder.path().join("victim");
        if victim.exists() {
            fs::remove_file(&victim).expect("the last victim is removed");
        }
        let old = fs::read(path).ok();
        if old.is_some() {
            fs::remove_file(path).expect("the file is removed");
        }
        let victim_bytes = (planted == Planted::Symlink).then(|| old.unwrap_or_else(|| b"victim\n".to_vec()));
        if let Some(bytes) = &victim_bytes {
            fs::write(&victim, bytes).expect("a victim");
        }
        match planted {
            Planted::Folder => fs::create_dir(path).expect("a folder"),
            Planted::Symlink | Planted::DanglingSymlink => symlink(&victim, path).expect("a link"),
            #[cfg(target_os = "linux")]
            Planted::Fifo => make_node(path, rustix::fs::FileType::Fifo),
            #[cfg(target_os = "linux")]
            Planted::Socket => make_node(path, rustix::fs::FileType::Socket),
        }
        Trap { path: path.to_owned(), victim, victim_bytes }
    }

    #[track_caller]
    fn assert_victim_is_untouched(&self) {
        assert_eq!(fs::read(&self.victim).ok(), self.victim_bytes, "written through {}", self.path.display());
    }
}

#[cfg(target_os = "linux")]
fn make_node(path: &Path, kind: rustix::fs::FileType) {
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("a special file");
}

/// Asserts that no request is granted, whatever it asks for, that the error names `path` and that no record
/// and no token changed.
#[track_caller]
fn assert_fails_closed(site: &Site, path: &Path) {
    let before = [contents(&site.path("reservations")), contents(&site.path("releases"))];
    let token = fs::read(site.path("token")).ok();
    for wanted in [request("eve", &["nobody/wants/this.py"]), request("carol", &["c.py"])] {
        for mode in [Mode::Exclusive, Mode::Advisory] {
            message_about(site.engine.grant(&Request { mode, ..wanted.clone() }), path);
        }
    }
    assert_eq!([contents(&site.path("reservations")), contents(&site.path("releases"))], before);
    assert_eq!(fs::read(site.path("token")).ok(), token);
}

/// Asserts that the reservation `id` of carol can still be found, listed and kept alive.
#[track_caller]
fn assert_goes_on(site: &Site, id: ReservationId) {
    site.extend(id, "carol");
    let lease = site.engine.find(id).expect("an answer").expect("a lease");
    assert_eq!(lease.state(site.clock.now()), State::Active);
    for listing in [site.engine.live(), site.engine.history()] {
        assert!(listing.expect("a listing").leases.contains(&lease));
    }
}

#[test]
fn a_record_with_other_bytes_stops_every_grant() {
    let (site, [active, beaten, _, fresh]) = Site::populated();
    let path = site.record("reservations", active);
    let whole = read(&path);
    let neighbour = read(&site.record("reservations", beaten));
    for damaged in [
        String::new(),
        whole[..whole.len() / 2].to_owned(),
        whole[..whole.len() - 2].to_owned(),
        "\0".repeat(whole.len()),
        whole.replace("old.py", "other.py"),
        whole.replace("\"ttl_seconds\": 60", "\"ttl_seconds\": 61"),
        whole.replace("exclusive", "advisory"),
        whole.replace("\n}", ",\n  \"note\": 1\n}"),
        whole.replace("  \"branch\": null,\n", ""),
        whole.replace(&active.to_string(), &beaten.to_string()),
        neighbour,
    ] {
        assert_ne!(damaged, whole);
        fs::write(&path, &damaged).unwrap();
        assert_fails_closed(&site, &path);
        message_about(site.beat(active, "alice", 60), &path);
        message_about(site.engine.find(active), &path);
        message_about(site.release(active, "alice", false), &path);
        let listing = site.engine.live().unwrap();
        assert_eq!(listing.damaged.len(), 1, "{:?}", listing.damaged);
        assert_goes_on(&site, fresh);
        assert_eq!(read(&path), damaged);
    }
    // Another order of fields is the same content.
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(&whole).unwrap();
    fs::write(&path, serde_json::to_vec(&fields).unwrap()).unwrap();
    site.extend(active, "alice");
    site.hold("eve", &["free.py"]);
}

#[test]
fn a_renamed_or_copied_record_stops_every_grant() {
    let (site, [active, _, _, fresh]) = Site::populated();
    let path = site.record("reservations", active);
    let other_id = site.record("reservations", ReservationId::from_digest([3; 32]));
    let folder = site.path("reservations");
    let upper_case = path.with_file_name(path.file_name().unwrap().to_str().unwrap().to_uppercase());
    for wrong in [
        other_id,
        folder.join("note.txt"),
        folder.join(format!("{active}.json~")),
        upper_case,
        folder.join(".json"),
    ] {
        fs::rename(&path, &wrong).unwrap();
        assert_fails_closed(&site, &wrong);
        assert_eq!(site.beat(active, "alice", 60).unwrap(), Beaten::NotFound);
        assert_goes_on(&site, fresh);
        fs::rename(&wrong, &path).unwrap();
        fs::copy(&path, &wrong).unwrap();
        assert_fails_closed(&site, &wrong);
        assert_goes_on(&site, fresh);
        fs::remove_file(&wrong).unwrap();
    }
    site.extend(active, "alice");
    site.hold("eve", &["free.py"]);
}

#[test]
fn stray_files_among_records_stop_every_grant() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let (site, [.., fresh]) = Site::populated();
    for room in ["reservations", "heartbeats", "releases", "superseded"] {
        let stray = site.path(room).join(".DS_Store");
        fs::write(&stray, "").unwrap();
        assert_fails_closed(&site, &stray);
        assert_goes_on(&site, fresh);
        fs::remove_file(&stray).unwrap();
        // macOS takes no name that is not UTF-8.
        let stray = site.path(room).join(OsStr::from_bytes(b"\xFF.json"));
        if fs::write(&stray, "").is_ok() {
            message_about(site.engine.grant(&request("eve", &["e.py"])), &site.path(room));
            fs::remove_file(&stray).unwrap();
        }
    }
    // Those folders belong to others, and the top of the store may hold what later versions put there.
    for harmless in ["intents/x", "archive/x", "x.json"] {
        fs::write(site.path(harmless), "").unwrap();
    }
    site.hold("eve", &["e.py"]);
}

#[test]
fn anything_but_a_file_in_place_of_a_record_stops_every_grant() {
    for &planted in PLANTED {
        let (site, [active, .., fresh]) = Site::populated();
        let trap = Trap::set(&site, planted, &site.record("reservations", active));
        assert_fails_closed(&site, &trap.path);
        message_about(site.beat(active, "alice", 60), &trap.path);
        message_about(site.engine.find(active), &trap.path);
        message_about(site.release(active, "alice", false), &trap.path);
        assert_goes_on(&site, fresh);
        trap.assert_victim_is_untouched();
    }
}

#[test]
fn anything_but_a_file_in_place_of_a_heartbeat_stops_every_grant() {
    for &planted in PLANTED {
        let (site, [_, beaten, _, fresh]) = Site::populated();
        let trap = Trap::set(&site, planted, &site.record("heartbeats", beaten));
        assert_fails_closed(&site, &trap.path);
        message_about(site.beat(beaten, "bob", 60), &trap.path);
        message_about(site.engine.find(beaten), &trap.path);
        assert_goes_on(&site, fresh);
        trap.assert_victim_is_untouched();
        // The way out: the tombstone needs no heartbeat.
        assert_eq!(site.release(beaten, "bob", false).unwrap(), Released::Released);
    }
}

#[test]
fn anything_but_a_file_in_place_of_a_tombstone_stops_every_grant() {
    for room in ["releases", "superseded"] {
        for &planted in PLANTED {
            let (site, [active, _, _, fresh]) = Site::populated();
            let trap = Trap::set(&site, planted, &site.record(room, active));
            assert_fails_closed(&site, &trap.path);
            // Whatever it is, it says that the reservation has ended: no heartbeat goes against it.
            let beaten = site.beat(active, "alice", 60);
            if room == "releases" {
                assert_eq!(beaten.unwrap(), Beaten::Released);
                assert_eq!(site.release(active, "alice", false).unwrap(), Released::AlreadyReleased);
            } else {
                message_about(beaten, &trap.path);
            }
            let state = site.engine.find(active).unwrap().unwrap().state(site.clock.now());
            assert_eq!(state, if room == "releases" { State::Released } else { State::Superseded });
            assert_goes_on(&site, fresh);
            trap.assert_victim_is_untouched();
        }
    }
}

#[test]
fn the_name_of_a_tombstone_alone_says_released() {
    for bytes in ["", "{", "null", "{\"schema_version\": 2}"] {
        let (site, [active, ..]) = Site::populated();
        fs::write(site.record("releases", active), bytes).unwrap();
        assert_eq!(site.beat(active, "alice", 60).unwrap(), Beaten::Released);
        assert_eq!(site.release(active, "alice", false).unwrap(), Released::AlreadyReleased);
        let lease = site.engine.find(active).unwrap().unwrap();
        assert!(lease.release.is_present() && lease.release.content().is_none());
        site.hold("eve", &["old.py"]);
        assert_eq!(read(&site.record("releases", active)), bytes);
    }
}

#[test]
fn a_tombstone_without_a_record_is_a_release() {
    let (site, [active, ..]) = Site::populated();
    site.release(active, "alice", false).unwrap();
    fs::remove_file(site.record("reservations", active)).unwrap();
    assert_eq!(site.beat(active, "alice", 60).unwrap(), Beaten::Released);
    assert_eq!(site.release(active, "alice", false).unwrap(), Released::AlreadyReleased);
    assert_eq!(site.engine.find(active).unwrap(), None);
    site.hold("eve", &["old.py"]);
}

#[test]
fn a_damaged_mark_of_supersession_lets_no_heartbeat_pass() {
    for bytes in ["", "{", "null"] {
        let (site, [active, ..]) = Site::populated();
        let path = site.record("superseded", active);
        fs::write(&path, bytes).unwrap();
        message_about(site.beat(active, "alice", 60), &path);
        let lease = site.engine.find(active).unwrap().unwrap();
        assert_eq!(lease.state(site.clock.now()), State::Superseded);
        // Its presence alone decides, so that nobody else is stopped.
        site.hold("eve", &["old.py"]);
    }
}

#[test]
fn anything_but_a_file_in_place_of_the_lock_stops_every_writer() {
    for &planted in PLANTED {
        let (site, [active, .., fresh]) = Site::populated();
        let trap = Trap::set(&site, planted, &site.path("lock"));
        assert_fails_closed(&site, &trap.path);
        let release =
            ReleaseRequest { reservations: vec![active], run: run_id("alice"), reason: None, force: false };
        message_about(site.engine.release(&release), &trap.path);
        assert_goes_on(&site, fresh);
        trap.assert_victim_is_untouched();
    }
}

#[test]
fn a_lock_that_is_missing_is_told_and_nobody_but_prepare_makes_it_again() {
    let (site, [active, .., fresh]) = Site::populated();
    fs::remove_file(site.path("lock")).unwrap();
    assert_fails_closed(&site, &site.path("lock"));
    let release =
        ReleaseRequest { reservations: vec![active], run: run_id("alice"), reason: None, force: false };
    message_about(site.engine.release(&release), &site.path("lock"));
    assert_goes_on(&site, fresh);
    assert!(!site.path("lock").exists());
    assert_eq!(site.engine.prepare().unwrap().restored, Vec::<PathBuf>::new());
    assert!(site.path("lock").is_file());
    site.hold("eve", &["e.py"]);
}

#[test]
fn a_store_that_is_gone_is_not_made_again_in_passing() {
    let site = Site::new();
    let id = site.hold("alice", &["a.py"]);
    let other = FileEngine::new(site.engine.path(), Arc::clone(&site.clock)).was_there(true);
    let is_gone = |error: EngineError| assert!(matches!(error, EngineError::Gone { .. }), "{error}");
    fs::remove_dir_all(site.engine.path()).unwrap();
    for empty in [false, true] {
        if empty {
            fs::create_dir(site.engine.path()).unwrap();
        }
        for engine in [&site.engine, &other] {
            is_gone(engine.grant(&request("bob", &["b.py"])).unwrap_err());
            is_gone(engine.take_turn(&request("bob", &["b.py"]), None).unwrap_err());
            is_gone(engine.superseded(&run_id("bob")).unwrap_err());
            engine.changes(Interest::Freed).unwrap();
        }
        // Nobody is told that the way is clear.
        let again = FileEngine::new(site.engine.path(), Arc::clone(&site.clock)).was_there(true);
        let asked = CheckRequest::new(run_id("bob"), vec!["b.py".parse().unwrap()], Vec::new());
        is_gone(Coordinator::new(again).check(&asked).unwrap_err());
        assert_eq!(site.beat(id, "alice", 60).unwrap(), Beaten::NotFound);
        assert_eq!(site.path("").exists(), empty);
    }
    assert_eq!(names(site.engine.path()), BTreeSet::new());
    assert_eq!(names(site.folder.path()), BTreeSet::from(["coordination".to_owned()]));
}

#[test]
fn without_a_readable_token_nothing_is_granted() {
    for &planted in PLANTED {
        let (site, [.., fresh]) = Site::populated();
        let trap = Trap::set(&site, planted, &site.path("token"));
        message_about(site.engine.grant(&request("eve", &["e.py"])), &trap.path);
        assert_goes_on(&site, fresh);
        trap.assert_victim_is_untouched();
    }
    let (site, [active, .., fresh]) = Site::populated();
    let path = site.path("token");
    let whole = read(&path);
    let before = contents(&site.path("reservations"));
    for junk in ["", "\n", "12", "0\n", "-5\n", " 7\n", "7\n\n", "seven\n", "9007199254740992\n", "\0\0"] {
        fs::write(&path, junk).unwrap();
        message_about(site.engine.grant(&request("eve", &["e.py"])), &path);
        assert_eq!(read(&path), junk);
        assert_goes_on(&site, fresh);
    }
    fs::remove_file(&path).unwrap();
    let message = message_about(site.engine.grant(&request("eve", &["e.py"])), &path);
    assert!(message.contains("muse init"), "{message}");
    assert!(!path.exists());
    assert_eq!(contents(&site.path("reservations")), before);
    // What needs no token goes on.
    assert_eq!(site.release(active, "alice", false).unwrap(), Released::Released);
    assert!(granted(site.engine.grant(&request("carol", &["c.py"]))).renewed);

    fs::write(&path, format!("{}\n", Token::MAX)).unwrap();
    let answer = site.engine.grant(&request("eve", &["e.py"]));
    assert!(matches!(answer, Err(EngineError::TokensExhausted { .. })), "{answer:?}");
    fs::write(&path, whole).unwrap();
    site.hold("eve", &["e.py"]);
}

#[test]
fn a_missing_or_planted_folder_of_the_store_is_an_error() {
    for folder in &FOLDERS[..5] {
        let (site, [.., fresh]) = Site::populated();
        let path = site.path(folder);
        let aside = site.folder.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        let before = contents(&aside);
        let message = message_about(site.engine.grant(&request("eve", &["e.py"])), &path);
        assert!(message.contains("muse init"), "{message}");
        message_about(site.beat(fresh, "carol", 60), &path);
        message_about(site.engine.live(), &path);
        assert!(!path.exists(), "nothing is made by the way");
        for plant in [
            |_: &Path, path: &Path| fs::write(path, ""),
            |aside: &Path, path: &Path| symlink(aside, path),
            |aside: &Path, path: &Path| symlink(aside.with_extension("missing"), path),
        ] {
            plant(&aside, &path).unwrap();
            message_about(site.engine.grant(&request("eve", &["e.py"])), &path);
            message_about(site.beat(fresh, "carol", 60), &path);
            message_about(site.engine.find(fresh), &path);
            message_about(site.engine.prepare(), &path);
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(contents(&aside), before, "nothing is written through the link");
        fs::rename(&aside, &path).unwrap();
        assert_goes_on(&site, fresh);
        site.hold("eve", &["e.py"]);
    }
}

#[test]
fn a_store_that_is_a_symlink_is_refused() {
    let (site, [.., fresh]) = Site::populated();
    let aside = site.folder.path().join("aside");
    fs::rename(site.engine.path(), &aside).unwrap();
    symlink(&aside, site.engine.path()).unwrap();
    let before = contents(&aside);
    message_about(site.engine.grant(&request("eve", &["e.py"])), site.engine.path());
    message_about(site.beat(fresh, "carol", 60), site.engine.path());
    message_about(site.engine.prepare(), site.engine.path());
    assert_eq!(contents(&aside), before);
}

#[test]
fn what_is_planted_among_temporary_files_is_never_written_through() {
    for &planted in PLANTED {
        let (site, [active, .., fresh]) = Site::populated();
        let hex = |id: ReservationId| id.hex();
        for name in ["token".to_owned(), "anything".to_owned(), format!("release-{}", hex(active))] {
            let trap = Trap::set(&site, planted, &site.path("tmp").join(&name));
            let granted = site.engine.grant(&request("eve", &[&format!("{name}.py")]));
            match planted {
                // A folder cannot be swept, and is in the way of its own name alone.
                Planted::Folder if name == "token" => {
                    message_about(granted, &trap.path);
                }
                _ => drop(self::granted(granted)),
            }
            trap.assert_victim_is_untouched();
            if trap.path.is_dir() {
                fs::remove_dir(&trap.path).unwrap();
            }
            assert!(fs::symlink_metadata(&trap.path).is_err(), "it was swept");
        }
        let trap = Trap::set(&site, planted, &site.path("tmp").join(format!("heartbeat-{}", hex(fresh))));
        let beaten = site.beat(fresh, "carol", 60);
        if planted == Planted::Folder {
            message_about(beaten, &trap.path);
        } else {
            assert!(matches!(beaten, Ok(Beaten::Extended { .. })), "{beaten:?}");
        }
        trap.assert_victim_is_untouched();
    }
}

#[test]
fn a_coordinator_can_take_a_damaged_record_out_of_the_way() {
    let (site, [active, .., fresh]) = Site::populated();
    let path = site.record("reservations", active);
    fs::write(&path, "{\"schema_version\": 1}").unwrap();
    message_about(site.release(active, "alice", false), &path);
    assert_eq!(site.release(active, "boss", true).unwrap(), Released::Released);
    let tombstone = read(&site.record("releases", active));
    assert!(tombstone.contains("\"forced\": true"), "{tombstone}");
    site.hold("eve", &["old.py"]);
    assert_goes_on(&site, fresh);
}

#[test]
fn a_newer_schema_version_is_refused_with_the_advice_to_upgrade() {
    let (site, [active, beaten, _, fresh]) = Site::populated();
    let says_upgrade = |message: String| assert!(message.contains("upgrade"), "{message}");
    for (room, id, run) in [("reservations", active, "alice"), ("heartbeats", beaten, "bob")] {
        let path = site.record(room, id);
        let whole = read(&path);
        for version in ["2", "18446744073709551615"] {
            let newer = format!("\"schema_version\": {version}");
            fs::write(&path, whole.replace("\"schema_version\": 1", &newer)).unwrap();
            says_upgrade(message_about(site.beat(id, run, 60), &path));
            says_upgrade(message_about(site.engine.find(id), &path));
            says_upgrade(message_about(site.engine.grant(&request("eve", &["e.py"])), &path));
            assert_goes_on(&site, fresh);
        }
        fs::write(&path, whole).unwrap();
    }
    let path = site.record("superseded", active);
    fs::write(&path, "{\"schema_version\": 2}").unwrap();
    says_upgrade(message_about(site.beat(active, "alice", 60), &path));
}

#[test]
fn a_file_that_is_too_large_for_a_record_is_not_read() {
    let (site, [active, .., fresh]) = Site::populated();
    let path = site.record("reservations", active);
    // A hole, which takes no room on the disk.
    OpenOptions::new().write(true).open(&path).unwrap().set_len((32 << 20) + 1).unwrap();
    assert_fails_closed(&site, &path);
    assert_goes_on(&site, fresh);
}

#[test]
fn coordinator_calls_tell_damage_beside_what_can_be_read() {
    let (site, [active, beaten, _, fresh]) = Site::populated();
    fs::write(site.record("reservations", active), "").unwrap();
    let coordinator = Coordinator::new(FileEngine::new(site.engine.path(), Arc::clone(&site.clock)));
    let listing = coordinator.list(&Filter::default()).unwrap();
    assert_eq!(listing.damaged.len(), 1);
    let listed: Vec<_> = listing.leases.iter().map(|lease| lease.reservation.reservation_id).collect();
    assert_eq!(listed, [beaten, fresh]);
    let all = coordinator.heartbeat_all(&run_id("bob"), ttl(60)).unwrap();
    assert!(matches!(all.beaten[..], [(id, Ok(Beaten::Extended { .. }))] if id == beaten));
    assert_eq!(all.damaged.len(), 1);
}

// Preparing.

#[test]
fn prepare_makes_a_store_once_and_leaves_nothing_behind() {
    let site = Site::new();
    let dead = site.folder.path().join("coordination.new-1");
    fs::create_dir_all(dead.join("reservations")).unwrap();
    assert!(site.engine.prepare().unwrap().created);
    assert_eq!(names(site.folder.path()), BTreeSet::from(["coordination".to_owned()]));
    let made = contents(site.engine.path());
    assert!(!site.engine.prepare().unwrap().created);
    assert_eq!(contents(site.engine.path()), made);
    let id = site.hold("alice", &["a.py"]);
    let used = contents(site.engine.path());
    assert!(!site.engine.prepare().unwrap().created);
    assert_eq!(contents(site.engine.path()), used);
    site.extend(id, "alice");
}

#[test]
fn prepare_takes_an_empty_folder_and_makes_none_above() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/coordination");
    let engine = FileEngine::new(&path, SystemClock);
    // The folder above was deleted, and with it every reservation: nothing is granted as if nothing had been.
    for error in [engine.prepare().unwrap_err(), engine.grant(&request("eve", &["e.py"])).unwrap_err()] {
        assert!(matches!(error, EngineError::Unwritable { .. }), "{error}");
    }
    assert_eq!(names(folder.path()), BTreeSet::new());
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    assert!(engine.prepare().unwrap().created);
    fs::remove_dir_all(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(engine.prepare().unwrap().created);
    assert!(path.join("token").is_file());
    assert_eq!(names(&folder.path().join("a/b")), BTreeSet::from(["coordination".to_owned()]));
}

#[test]
fn prepare_completes_what_is_missing() {
    let (site, [active, beaten, ..]) = Site::populated();
    let token = |grant: &Grant| grant.lease.reservation.token;
    let last = token(&site.grant("dave", &["d.py"]));
    // The clock of the machine is behind, so that only the records tell which tokens were granted.
    site.clock.advance_seconds(-86_400);
    fs::remove_file(site.path("token")).unwrap();
    fs::remove_dir_all(site.path("heartbeats")).unwrap();
    let prepared = site.engine.prepare().unwrap();
    assert_eq!((prepared.created, prepared.restored), (false, vec![site.path("heartbeats")]));
    assert!(FOLDERS.iter().all(|folder| site.path(folder).is_dir()));
    assert!(token(&site.grant("eve", &["e.py"])) > last);
    site.extend(active, "alice");
    site.extend(beaten, "bob");
    for folder in ["tmp", "archive", "intents", "superseded"] {
        fs::remove_dir_all(site.path(folder)).unwrap();
    }
    assert!(!site.engine.prepare().unwrap().created);
    assert!(FOLDERS.iter().all(|folder| site.path(folder).is_dir()));
}

#[test]
fn a_store_that_was_made_again_grants_larger_tokens() {
    let site = Site::new();
    let first = site.grant("alice", &["a.py"]).lease.reservation;
    fs::remove_dir_all(site.engine.path()).unwrap();
    assert_eq!(site.beat(first.reservation_id, "alice", 60).unwrap(), Beaten::NotFound);
    site.clock.advance_microseconds(1000);
    assert!(site.engine.prepare().unwrap().created);
    let second = site.grant("alice", &["a.py"]).lease.reservation;
    assert!(second.token > first.token);
    assert_ne!(second.reservation_id, first.reservation_id);
    assert_eq!(site.engine.live().unwrap().leases.len(), 1);
}

// What dead processes left, and what live ones hold.

#[test]
fn leftovers_of_dead_processes_are_swept() {
    let (site, [active, beaten, ..]) = Site::populated();
    let litter = || {
        for name in [
            "token".to_owned(),
            "whatever".to_owned(),
            format!("reservation-{}", active.hex()),
            format!("heartbeat-{}", active.hex()),
            format!("heartbeat-{}", ReservationId::from_digest([1; 32]).hex()),
            "heartbeat-x".to_owned(),
        ] {
            fs::write(site.path("tmp").join(name), "{").unwrap();
        }
    };
    litter();
    let id = site.hold("eve", &["e.py"]);
    assert_eq!(names(&site.path("tmp")), BTreeSet::new());
    litter();
    site.release(id, "eve", false).unwrap();
    assert_eq!(names(&site.path("tmp")), BTreeSet::new());
    // A heartbeat takes only what has its own name.
    litter();
    site.extend(active, "alice");
    site.extend(beaten, "bob");
    assert_eq!(names(&site.path("tmp")).len(), 5);
}

#[test]
fn the_temporary_file_of_a_live_heartbeat_is_left_alone() {
    let (site, [active, ..]) = Site::populated();
    let record = File::open(site.record("reservations", active)).unwrap();
    record.try_lock().unwrap();
    let live = site.path("tmp").join(format!("heartbeat-{}", active.hex()));
    fs::write(&live, "half").unwrap();
    let id = site.hold("eve", &["e.py"]);
    site.release(id, "eve", false).unwrap();
    assert_eq!(read(&live), "half");
    record.unlock().unwrap();
    site.hold("eve", &["e.py"]);
    assert!(!live.exists());
}

#[test]
fn a_lapsed_reservation_that_is_being_extended_stops_its_rivals() {
    let site = Site::new();
    let id = site.hold("alice", &["a.py"]);
    site.clock.advance_seconds(10 * TTL_SECONDS);
    let record = File::open(site.record("reservations", id)).unwrap();
    record.try_lock().unwrap();
    let before = contents(site.engine.path());
    match site.engine.grant(&request("bob", &["a.py"])).unwrap() {
        Reserved::Denied { conflicts } => {
            assert_eq!(conflicts.len(), 1);
            assert_eq!(conflicts[0].holder().unwrap().reservation_id, id);
            assert_eq!(conflicts[0].holder().unwrap().expires_in_seconds, 0);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(contents(site.engine.path()), before);
    // Elsewhere nobody is stopped, and a coordinator can still take it away.
    site.hold("bob", &["b.py"]);
    let mut wanted = request("boss", &["a.py"]);
    wanted.take_over = Some(TakeOver { reservation: id, reason: "hangs".to_owned() });
    let taken = granted(site.engine.grant(&wanted)).lease.reservation.reservation_id;
    assert_eq!(site.beat(id, "alice", 60).unwrap(), Beaten::Released);
    assert_eq!(site.release(taken, "boss", false).unwrap(), Released::Released);
    drop(record);
    site.hold("bob", &["a.py"]);
}

#[test]
fn a_reservation_that_is_being_extended_can_be_released_by_force() {
    let site = Site::new();
    let id = site.hold("alice", &["a.py"]);
    let record = File::open(site.record("reservations", id)).unwrap();
    record.try_lock().unwrap();
    assert_eq!(site.release(id, "boss", true).unwrap(), Released::Released);
    assert_eq!(site.beat(id, "alice", 60).unwrap(), Beaten::Released);
    site.hold("bob", &["a.py"]);
}

/// Ten seconds of the test are spent waiting, which is the point of it.
#[test]
fn every_wait_for_a_lock_ends() {
    let site = Site::new();
    let id = site.hold("alice", &["a.py"]);
    let lock = |path: PathBuf| {
        let file = File::open(&path).unwrap();
        file.try_lock().unwrap();
        (path, file)
    };
    let (store_path, store_lock) = lock(site.path("lock"));
    let (record_path, record_lock) = lock(site.record("reservations", id));
    let release = ReleaseRequest { reservations: vec![id], run: run_id("alice"), reason: None, force: false };
    let (granted, released, beaten) = std::thread::scope(|scope| {
        let granted = scope.spawn(|| site.engine.grant(&request("bob", &["b.py"])).expect_err("busy"));
        let released = scope.spawn(|| site.engine.release(&release).expect_err("busy"));
        let beaten = scope.spawn(|| site.beat(id, "alice", 60).expect_err("busy"));
        (granted.join().unwrap(), released.join().unwrap(), beaten.join().unwrap())
    });
    for (error, locked) in [(granted, &store_path), (released, &store_path), (beaten, &record_path)] {
        match &error {
            EngineError::Busy { path, holder_pid, waited } => {
                assert_eq!((path, waited.as_secs()), (locked, 10));
                if cfg!(target_os = "linux") {
                    assert_eq!(*holder_pid, Some(std::process::id()), "{error}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
    // Readers take no lock.
    assert_eq!(site.engine.live().unwrap().leases.len(), 1);
    drop((store_lock, record_lock));
    site.extend(id, "alice");
    site.hold("bob", &["b.py"]);
}

// Threads.

const THREADS: usize = 8;

/// Runs `work` on all threads at once, which get their numbers.
fn race<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let gate = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        let racers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (gate, work) = (&gate, &work);
                scope.spawn(move || {
                    gate.wait();
                    work(number)
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    })
}

#[test]
fn of_racing_threads_one_is_granted_even_where_the_store_is_not_made_yet() {
    for _ in 0..50 {
        let site = Site::new();
        let answers = race(|number| site.engine.grant(&request(&format!("run-{number}"), &["a.py"])));
        let is_granted = |answer: &&Result<Reserved, EngineError>| {
            matches!(answer.as_ref().expect("an answer"), Reserved::Granted(_))
        };
        assert_eq!(answers.iter().filter(is_granted).count(), 1);
        assert_eq!(site.engine.live().unwrap().leases.len(), 1);
        assert_eq!(names(site.folder.path()), BTreeSet::from(["coordination".to_owned()]));
    }
}

#[test]
fn tokens_of_racing_threads_are_unique_even_where_the_store_is_not_made_yet() {
    const ROUNDS: usize = 20;
    for round in 0..ROUNDS {
        let site = Site::new();
        let tokens: BTreeSet<Token> = race(|number| {
            let addresses = [format!("{number}/a.py"), format!("{number}/b.py"), format!("{number}/c.py")];
            addresses.map(|address| site.grant("alice", &[&address]).lease.reservation.token)
        })
        .into_iter()
        .flat_map(|tokens| {
            assert!(tokens.is_sorted());
            tokens
        })
        .collect();
        assert_eq!(tokens.len(), 3 * THREADS, "round {round}: {tokens:?}");
    }
}

#[test]
fn a_lapsed_reservation_is_revived_or_superseded_and_never_both() {
    for _ in 0..50 {
        let site = Site::new();
        let id = site.hold("alice", &["a.py"]);
        site.clock.advance_seconds(TTL_SECONDS);
        let kept = race(|number| {
            if number % 2 == 0 {
                matches!(site.beat(id, "alice", 60).expect("an answer"), Beaten::Extended { .. })
            } else {
                let answer = site.engine.grant(&request(&format!("run-{number}"), &["a.py"]));
                matches!(answer.expect("an answer"), Reserved::Granted(_))
            }
        });
        let (revived, granted): (Vec<_>, Vec<_>) =
            kept.into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
        let count = |answers: &[(usize, bool)]| answers.iter().filter(|(_, kept)| *kept).count();
        match count(&granted) {
            0 => assert!(count(&revived) > 0),
            granted => assert_eq!((granted, count(&revived)), (1, 0)),
        }
    }
}

#[test]
fn readers_beside_writers_never_err_and_never_miss_what_is_held() {
    // File systems differ in what a listing shows of names that change while it is read.
    read_beside_writers(&Site::new());
    read_beside_writers(&Site::within(tempfile::tempdir().unwrap()));
}

fn read_beside_writers(site: &Site) {
    const BEATS: usize = 200;
    let held: Vec<ReservationId> =
        (0..20).map(|number| site.hold("alice", &[&format!("held-{number}.py")])).collect();
    for &id in &held {
        site.beat(id, "alice", 10_000).expect("a heartbeat");
    }
    // From now on only the heartbeats keep them alive.
    site.clock.advance_seconds(2 * TTL_SECONDS);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = |history: bool| {
            let (held, is_over) = (&held, &is_over);
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    let listing = if history { site.engine.history() } else { site.engine.live() };
                    let listing = listing.expect("a listing");
                    assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
                    let now = site.clock.now();
                    let active: BTreeSet<ReservationId> = listing
                        .leases
                        .iter()
                        .filter(|lease: &&Lease| lease.state(now) == State::Active)
                        .map(|lease| lease.reservation.reservation_id)
                        .collect();
                    for id in held {
                        assert!(active.contains(id), "{id} was missed");
                        assert!(site.engine.find(*id).expect("an answer").is_some());
                    }
                }
            }
        };
        let readers = [scope.spawn(reader(false)), scope.spawn(reader(true))];
        let writers = [
            scope.spawn(|| {
                for &id in held.iter().cycle().take(BEATS) {
                    site.beat(id, "alice", 10_000).expect("a heartbeat");
                }
            }),
            scope.spawn(|| {
                for number in 0..BEATS / 4 {
                    let id = site.hold("bob", &[&format!("b-{number}.py")]);
                    site.beat(id, "bob", 5).expect("a heartbeat");
                    site.release(id, "bob", false).expect("a release");
                }
            }),
        ];
        let outcomes = writers.map(std::thread::ScopedJoinHandle::join);
        is_over.store(true, Ordering::Relaxed);
        for outcome in outcomes.into_iter().chain(readers.map(std::thread::ScopedJoinHandle::join)) {
            outcome.expect("no panic");
        }
    });
}

/// Whether another thread of this process has the file open.
#[expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]
fn is_opened_twice(path: &Path) -> bool {
    let file = fs::metadata(path).unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten().filter(|entry| {
        fs::metadata(entry.path()).is_ok_and(|other| (other.dev(), other.ino()) == (file.dev(), file.ino()))
    });
    open.count() > 1
}

#[test]
fn a_store_that_is_replaced_while_a_writer_waits_is_not_written() {
    let site = Site::new();
    let id = site.hold("alice", &["a.py"]);
    let lock = File::open(site.path("lock")).unwrap();
    lock.lock().unwrap();
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.engine.grant(&request("bob", &["b.py"])).expect_err("replaced"));
        // Whether the writer waits already or opens the new store later: either way nothing goes to the old one.
        while !is_opened_twice(&site.path("lock")) {
            std::thread::yield_now();
        }
        fs::rename(site.engine.path(), site.folder.path().join("moved")).unwrap();
        fs::create_dir(site.engine.path()).unwrap();
        lock.unlock().unwrap();
        waiting.join().unwrap()
    });
    assert!(matches!(&error, EngineError::Gone { path } if path == site.engine.path()), "{error}");
    assert_eq!(names(&site.folder.path().join("moved/reservations")), BTreeSet::from([format!("{id}.json")]));
}

// Very many at once.

/// More than a process may have files open on most systems, unless it asks for more: 1,024 on Linux.
const VERY_MANY: usize = 1200;

#[test]
fn very_many_lapsed_reservations_are_superseded_at_once() {
    let folder = memory_folder();
    let clock = Arc::new(ManualClock::at_seconds(START_SECONDS));
    let engine = FileEngine::new(folder.path().join("coordination"), Arc::clone(&clock));
    engine.prepare().unwrap();
    // Written as they would be granted, one after the other, only faster.
    let mut losers = Vec::with_capacity(VERY_MANY);
    for number in 0..VERY_MANY {
        let wanted = request("alice", &[&format!("src/{number}.py")]);
        let token = Token::new(1 + number as u64).unwrap();
        let reservation = wanted.reservation(token, clock.now()).unwrap();
        let id = reservation.reservation_id;
        fs::write(engine.record_path(id), to_file_bytes(&reservation).unwrap()).unwrap();
        losers.push(id);
    }
    clock.advance_seconds(TTL_SECONDS);
    let grant = granted(engine.grant(&request("bob", &["src/"])));
    assert_eq!(grant.superseded, VERY_MANY);
    for id in losers {
        let lease = engine.find(id).unwrap().unwrap();
        assert_eq!(lease.state(clock.now()), State::Superseded);
    }
    assert_eq!(engine.live().unwrap().leases, [grant.lease]);
}

/// The same with few files that may be open, which is what a process has by default on some systems.
#[cfg(target_os = "linux")]
#[test]
fn very_many_are_superseded_where_few_files_may_be_open() {
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            "ulimit -Sn 256 && exec \"$0\" --exact very_many_lapsed_reservations_are_superseded_at_once",
        ])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
