//! Tickets on the disk: what cannot be read, what killed processes leave, what an earlier version did not make.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]
#![allow(clippy::disallowed_methods, reason = "these tests put files into a store from outside")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use muse_coord::{
    Beat, Engine, EngineError, FileEngine, Interest, ManualClock, ReleaseRequest, Request, Reserved, RunId,
    TicketNumber, TtlSeconds, Turn, Woken,
};

const START_SECONDS: u64 = 1_800_000_000;

struct Site {
    folder: tempfile::TempDir,
    engine: FileEngine<Arc<ManualClock>>,
    clock: Arc<ManualClock>,
}

fn run(text: &str) -> RunId {
    RunId::new(text).expect("a run id")
}

fn request(run_id: &str, address: &str) -> Request {
    let ttl = TtlSeconds::new(3600).expect("a lifetime");
    Request::new(run(run_id), vec![address.parse().expect("an address")], ttl)
}

impl Site {
    /// A store where `holder` holds `held.py`.
    fn new() -> Site {
        let clock = Arc::new(ManualClock::at_seconds(START_SECONDS.cast_signed()));
        let folder = tempfile::tempdir().expect("a folder");
        let engine = FileEngine::new(folder.path().join("coordination"), Arc::clone(&clock));
        let site = Site { folder, engine, clock };
        assert!(matches!(site.reserve("holder", "held.py"), Ok(Reserved::Granted(_))));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("coordination").join(name)
    }

    fn reserve(&self, run_id: &str, address: &str) -> Result<Reserved, EngineError> {
        self.engine.grant(&request(run_id, address))
    }

    fn queue(&self, run_id: &str) -> TicketNumber {
        match self.engine.take_turn(&request(run_id, "held.py"), None) {
            Ok(Turn::Queued { ticket, .. }) => ticket,
            other => panic!("not queued: {other:?}"),
        }
    }

    fn ticket(&self, number: TicketNumber) -> PathBuf {
        self.path("waiting").join(format!("{number}.json"))
    }

    /// Puts a file into the folder of the tickets that was written so many seconds ago.
    fn plant(&self, name: &str, bytes: &[u8], seconds_ago: u64) {
        let path = self.path("waiting").join(name);
        fs::write(&path, bytes).expect("written");
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(START_SECONDS - seconds_ago);
        File::open(&path).expect("a file").set_modified(written).expect("a time");
    }

    fn is_granted(&self, address: &str) -> bool {
        matches!(self.reserve("somebody", address), Ok(Reserved::Granted(_)))
    }
}

#[test]
fn what_cannot_be_read_stops_grants_for_as_long_as_it_could_be_somebodys_place() {
    let site = Site::new();
    let ticket = site.queue("alice");
    let whole = fs::read_to_string(site.ticket(ticket)).unwrap();
    site.engine.leave(ticket, &run("alice")).unwrap();
    let newer = whole.replace("\"schema_version\": 1", "\"schema_version\": 2");
    let misnamed = "7.json";
    for (name, bytes) in [
        ("5.json", "not JSON"),
        ("5.json", "{}"),
        ("5.json", &*newer),
        (misnamed, &*whole),
        ("note.txt", "remember the milk"),
        ("05.json", "{}"),
    ] {
        site.plant(name, bytes.as_bytes(), 0);
        let error = site.reserve("somebody", "x.py").unwrap_err();
        assert!(error.to_string().contains(&format!("waiting/{name}")), "{error}");
        assert!(site.engine.take_turn(&request("somebody", "x.py"), None).is_err());
        let queue = site.engine.tickets().unwrap();
        assert_eq!((queue.tickets.len(), queue.damaged.len()), (0, 1));
        // Nothing else needs the queue.
        assert!(site.engine.live().unwrap().damaged.is_empty());
        site.plant(name, bytes.as_bytes(), 14);
        assert!(!site.is_granted("x.py"));
        // Whoever lives has written it again by now; and nobody removes what nobody can read.
        site.plant(name, bytes.as_bytes(), 15);
        assert!(site.is_granted("x.py"), "{name}");
        site.plant(name, bytes.as_bytes(), 1000);
        assert!(site.is_granted("x.py") && site.path("waiting").join(name).exists());
        fs::remove_file(site.path("waiting").join(name)).unwrap();
    }
    fs::create_dir(site.path("waiting/8.json")).unwrap();
    site.clock.advance_seconds(
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed()
            - START_SECONDS.cast_signed(),
    );
    assert!(site.reserve("somebody", "y.py").unwrap_err().to_string().contains("8.json"));
}

#[test]
fn what_a_power_loss_leaves_is_nobodys_place() {
    let site = Site::new();
    let ticket = site.queue("alice");
    let whole = fs::read(site.ticket(ticket)).unwrap();
    for bytes in [&b""[..], &[0; 400], &whole[..whole.len() / 2]] {
        site.plant(&format!("{ticket}.json"), bytes, 0);
        assert!(site.engine.tickets().unwrap().damaged.is_empty());
        assert!(site.is_granted("x.py"));
        assert!(!site.engine.keep_place(ticket, &run("alice")).unwrap());
        let turn = site.engine.take_turn(&request("alice", "held.py"), Some(ticket)).unwrap();
        assert_eq!(turn, Turn::PlaceLost);
    }
}

#[test]
fn a_place_that_somebody_else_has_written_over_is_lost() {
    let site = Site::new();
    let alice = site.queue("alice");
    let text = fs::read_to_string(site.ticket(alice)).unwrap().replace("\"alice\"", "\"mallory\"");
    site.plant(&format!("{alice}.json"), text.as_bytes(), 0);
    assert!(!site.engine.keep_place(alice, &run("alice")).unwrap());
    site.engine.leave(alice, &run("alice")).unwrap();
    assert!(site.ticket(alice).exists(), "it is not alice's to take away");
}

#[test]
fn temporary_files_of_tickets_are_left_to_those_who_live() {
    let site = Site::new();
    let alice = site.queue("alice");
    let its_own = format!("tmp/ticket-{alice}");
    let never_drawn = "tmp/ticket-77";
    for name in [&its_own, never_drawn, "tmp/ticket-", "tmp/ticket-x"] {
        fs::write(site.path(name), "{").unwrap();
    }
    assert!(site.is_granted("x.py"));
    assert!(site.path(&its_own).exists(), "alice may be about to publish it");
    assert_eq!(fs::read_dir(site.path("tmp")).unwrap().count(), 1);
    assert!(site.engine.keep_place(alice, &run("alice")).unwrap());
    assert!(!site.path(&its_own).exists());
    fs::write(site.path(&its_own), "{").unwrap();
    site.clock.advance_seconds(15);
    assert!(site.is_granted("x.py"));
    assert!(!site.path(&its_own).exists());
    assert!(site.ticket(alice).exists(), "the ticket itself is kept for a minute");
    site.clock.advance_seconds(60);
    assert!(site.is_granted("x.py"));
    assert!(!site.ticket(alice).exists());
}

#[test]
fn the_last_number_is_not_passed() {
    let site = Site::new();
    let alice = site.queue("alice");
    let last = fs::read_to_string(site.ticket(alice))
        .unwrap()
        .replace(&format!("\"ticket\": {alice}"), "\"ticket\": 9007199254740991");
    site.plant("9007199254740991.json", last.as_bytes(), 0);
    let error = site.engine.take_turn(&request("bob", "held.py"), None).unwrap_err();
    assert!(error.to_string().contains("9007199254740991.json"), "{error}");
}

#[test]
fn the_folder_of_tickets_is_made_when_somebody_waits() {
    let site = Site::new();
    fs::remove_dir(site.path("waiting")).unwrap();
    assert!(site.is_granted("x.py"));
    assert!(site.engine.tickets().unwrap().tickets.is_empty());
    let number = TicketNumber::new(5).expect("a number");
    assert!(!site.engine.keep_place(number, &run("alice")).unwrap());
    site.engine.leave(number, &run("alice")).unwrap();
    assert!(!site.path("waiting").exists());
    let alice = site.queue("alice");
    assert!(site.ticket(alice).exists());
    // One that is no folder is in everybody's way.
    fs::remove_dir_all(site.path("waiting")).unwrap();
    fs::write(site.path("waiting"), "").unwrap();
    assert!(site.reserve("bob", "y.py").is_err());
}

#[test]
fn a_denied_request_and_a_refused_wait_write_nothing() {
    let site = Site::new();
    site.reserve("alice", "a.py").unwrap();
    let alice = site.queue("alice");
    let listed = || {
        let mut names: Vec<PathBuf> = ["waiting", "tmp", "reservations", "superseded", "releases"]
            .iter()
            .flat_map(|room| fs::read_dir(site.path(room)).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        (names, fs::read(site.path("token")).unwrap())
    };
    let before = listed();
    assert!(matches!(site.reserve("bob", "held.py"), Ok(Reserved::Denied { .. })));
    let turn = site.engine.take_turn(&request("holder", "a.py"), None).unwrap();
    assert!(matches!(turn, Turn::Deadlock { .. }), "{turn:?}");
    assert_eq!(listed(), before);
    assert!(site.ticket(alice).exists());
}

/// Events are there as soon as the call that caused them is over, so nothing has to be waited for.
#[cfg(target_os = "linux")]
#[test]
fn who_waits_is_woken_by_what_may_free_something_and_by_nothing_else() {
    let site = Site::new();
    let ticket = site.queue("alice");
    let mut freed = site.engine.changes(Interest::Freed).unwrap();
    let mut everything = site.engine.changes(Interest::Everything).unwrap();
    let mut told = |what: &str, wakes: bool| {
        let woken = freed.wait(Duration::ZERO, None);
        assert_eq!(woken, if wakes { Woken::Changed } else { Woken::TimedOut }, "{what}");
        assert_eq!(everything.wait(Duration::ZERO, None), Woken::Changed, "{what}");
        // Many changes at once are one.
        assert_eq!(freed.wait(Duration::ZERO, None), Woken::TimedOut, "{what}");
        assert_eq!(everything.wait(Duration::ZERO, None), Woken::TimedOut, "{what}");
    };
    assert!(site.engine.keep_place(ticket, &run("alice")).unwrap());
    told("a renewal of a ticket", false);
    site.queue("bob");
    told("another ticket", false);
    let Ok(Reserved::Granted(grant)) = site.reserve("carol", "b.py") else { panic!("not granted") };
    told("a grant", false);
    let reservation = grant.lease.reservation.reservation_id;
    let extension = TtlSeconds::DEFAULT;
    site.engine.beat(&Beat { reservation, run: run("carol"), extension }).unwrap();
    told("a heartbeat", false);
    let reservations = vec![reservation];
    let release = ReleaseRequest { reservations, run: run("carol"), reason: None, force: false };
    site.engine.release(&release).unwrap();
    told("a release", true);
    site.engine.leave(ticket, &run("alice")).unwrap();
    told("a ticket that is given up", true);

    // A store that goes is told, and looked for every quarter of a second from then on.
    fs::remove_dir_all(site.path("")).unwrap();
    assert_eq!(freed.wait(Duration::ZERO, None), Woken::Changed);
    assert_eq!(freed.wait(Duration::from_mins(1), None), Woken::Changed);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_of_tickets_that_is_made_later_is_watched() {
    let site = Site::new();
    for interest in [Interest::Freed, Interest::Everything] {
        fs::remove_dir_all(site.path("waiting")).unwrap();
        let mut changes = site.engine.changes(interest).unwrap();
        assert_eq!(changes.wait(Duration::ZERO, None), Woken::TimedOut);
        let ticket = site.queue("alice");
        assert_eq!(changes.wait(Duration::ZERO, None), Woken::Changed, "the folder");
        assert_eq!(changes.wait(Duration::ZERO, None), Woken::TimedOut);
        site.engine.leave(ticket, &run("alice")).unwrap();
        assert_eq!(changes.wait(Duration::ZERO, None), Woken::Changed, "a ticket in it");
    }
}

/// Nothing is made where everything else may be on its way out.
#[cfg(target_os = "linux")]
#[test]
fn no_folder_of_tickets_is_made_in_a_store_that_lacks_more() {
    let site = Site::new();
    fs::remove_dir_all(site.path("waiting")).unwrap();
    let engine = &site.engine;
    let (moved, moved_back) = (site.folder.path().join("tmp"), site.path("tmp"));
    // What its process has open is not what has the name: so it looks when a store is deleted under it.
    let lock = File::open(site.path("lock")).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| engine.take_turn(&request("alice", "held.py"), None));
        opened_twice(&site.path("lock"));
        fs::rename(&moved_back, &moved).unwrap();
        lock.unlock().unwrap();
        let error = waiting.join().unwrap().expect_err("a folder is missing");
        assert!(matches!(error, EngineError::Incomplete { .. }), "{error}");
    });
    assert!(!site.path("waiting").exists());
}

/// A place is asked for under the store's lock: a process that is stopped on its way there may have lost it.
#[cfg(target_os = "linux")]
#[test]
fn a_place_that_lapses_while_its_process_waits_for_the_lock_is_lost() {
    let site = Site::new();
    let ticket = site.queue("alice");
    let engine = &site.engine;
    let lock = File::open(site.path("lock")).unwrap();
    lock.lock().unwrap();
    let turn = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| engine.take_turn(&request("alice", "held.py"), Some(ticket)));
        opened_twice(&site.path("lock"));
        site.clock.advance_seconds(15);
        lock.unlock().unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(turn.unwrap(), Turn::PlaceLost);
}

/// Returns once this process has the file open more than once.
#[cfg(target_os = "linux")]
fn opened_twice(path: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let file = fs::metadata(path).expect("a file");
    let count = || {
        let open = fs::read_dir("/proc/self/fd").expect("its files").flatten();
        let is_it = |other: fs::Metadata| (other.dev(), other.ino()) == (file.dev(), file.ino());
        open.filter(|entry| fs::metadata(entry.path()).is_ok_and(is_it)).count()
    };
    while count() < 2 {
        std::thread::yield_now();
    }
}
