//! The index of large stores: whatever happens to it, and whatever happens to the store behind its back, nobody is
//! granted what another run holds.

#![expect(clippy::disallowed_methods, reason = "these tests tamper with a store's files")]
#![expect(clippy::panic, reason = "an answer that is not expected fails the test")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muse_coord::{
    Beat, Engine, EngineError, FileEngine, Listing, ManualClock, ReleaseRequest, Request, ReservationId,
    Reserved, Retention, RunId, Silent, TakeOver, TtlSeconds, Turn,
};

const START_SECONDS: i64 = 1_800_000_000;
/// As many as make reading all of them the wrong thing to do.
const MANY: usize = 80;

struct Site {
    folder: tempfile::TempDir,
    engine: FileEngine<Arc<ManualClock>>,
    clock: Arc<ManualClock>,
}

impl Site {
    fn new() -> Site {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.unwrap();
        let clock = Arc::new(ManualClock::at_seconds(START_SECONDS));
        let engine = FileEngine::new(folder.path().join("coordination"), Arc::clone(&clock));
        Site { folder, engine, clock }
    }

    /// A store with so many reservations that it has an index, of `crowd` on `crowd/N.py`.
    fn crowded() -> Site {
        let site = Site::new();
        for number in 0..MANY {
            site.hold("crowd", &format!("crowd/{number}.py"));
        }
        site.must_have_an_index();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.engine.path().join(name)
    }

    /// The one database in the folder of the index.
    fn index(&self) -> PathBuf {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.path("index")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "sqlite"));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    #[track_caller]
    fn must_have_an_index(&self) {
        let bytes = fs::read(self.index()).unwrap();
        assert!(bytes.starts_with(b"SQLite format 3"), "{}", self.index().display());
    }

    fn ask(&self, run: &str, address: &str) -> Result<Reserved, EngineError> {
        self.engine.grant(&request(run, address))
    }

    fn hold(&self, run: &str, address: &str) -> ReservationId {
        match self.ask(run, address).unwrap() {
            Reserved::Granted(grant) => grant.lease.reservation.reservation_id,
            other => panic!("not granted: {other:?}"),
        }
    }

    fn release(&self, run: &str, id: ReservationId) {
        let request = ReleaseRequest {
            reservations: vec![id],
            run: RunId::new(run).unwrap(),
            reason: None,
            force: false,
        };
        for (_, released) in self.engine.release(&request).unwrap() {
            released.unwrap();
        }
    }

    #[track_caller]
    fn is_denied(&self, address: &str) {
        match self.ask("rival", address) {
            Ok(Reserved::Denied { .. }) => {}
            other => panic!("not denied: {other:?}"),
        }
    }

    /// Who is found on an address, through the index or without it.
    fn found(&self, address: &str) -> Vec<String> {
        let address = address.parse().unwrap();
        let Listing { leases, damaged, .. } =
            self.engine.overlapping(std::slice::from_ref(&address)).unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        let reservations = leases.into_iter().map(|lease| lease.reservation);
        let mut runs: Vec<String> = reservations
            .filter(|reservation| reservation.addresses.iter().any(|held| held.overlaps(&address)))
            .map(|reservation| reservation.run_id.to_string())
            .collect();
        runs.sort();
        runs
    }

    fn record(&self, room: &str, id: ReservationId) -> PathBuf {
        self.path(room).join(format!("{id}.json"))
    }

    /// Whether the index alone tells what is asked of it: nothing would be found without the record's entry.
    #[track_caller]
    fn serves(&self) {
        self.must_have_an_index();
        for held in ["crowd/7.py", "crowd/", "crowd/7.py::f", "**/7.py", "./"] {
            self.is_denied(held);
        }
        let id = self.hold("worker", "elsewhere.py");
        self.is_denied("elsewhere.py::f");
        self.release("worker", id);
        assert_eq!(self.found("crowd/7.py"), ["crowd"]);
        assert!(self.found("elsewhere.py").is_empty());
    }
}

fn request(run: &str, address: &str) -> Request {
    let addresses = vec![address.parse().unwrap()];
    Request::new(RunId::new(run).unwrap(), addresses, TtlSeconds::new(3600).unwrap())
}

#[test]
fn a_small_store_has_none() {
    let site = Site::new();
    for number in 0..10 {
        site.hold("few", &format!("{number}.py"));
    }
    assert!(!site.path("index").exists());
}

#[test]
fn a_large_store_is_served_by_it() {
    Site::crowded().serves();
}

type Tampering = (&'static str, fn(&Path));

#[test]
fn whatever_is_done_to_it_it_is_made_again() {
    let tamper: [Tampering; 11] = [
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("deleted with its folder", |path| fs::remove_dir_all(path.parent().unwrap()).unwrap()),
        ("emptied", |path| fs::write(path, "").unwrap()),
        ("no database", |path| {
            fs::write(path, "not a database at all, but long enough for a header ".repeat(90)).unwrap();
        }),
        ("cut in half", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("without its last page", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 4096]).unwrap();
        }),
        ("with a spoilt header", |path| {
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0xff; 60], 20).unwrap();
        }),
        ("of another format", |path| {
            // user_version: bytes 60 to 63 of the header.
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0, 0, 0, 99], 60).unwrap();
        }),
        ("a folder", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("a link to nowhere", |path| {
            fs::remove_file(path).unwrap();
            symlink("/nowhere/at/all", path).unwrap();
        }),
        ("with a folder for its journal", |path| {
            let journal = PathBuf::from(format!("{}-journal", path.display()));
            fs::remove_file(&journal).unwrap_or_default();
            fs::create_dir(journal).unwrap();
        }),
    ];
    for (what, tamper) in tamper {
        let site = Site::crowded();
        tamper(&site.index());
        for held in ["crowd/7.py", "crowd/", "**/7.py"] {
            site.is_denied(held);
        }
        let id = site.hold("worker", "elsewhere.py");
        site.is_denied("elsewhere.py");
        site.release("worker", id);
        site.is_denied("crowd/79.py");
        assert_eq!(site.found("crowd/7.py"), ["crowd"], "{what}");
        if !what.contains("folder") || what == "deleted with its folder" {
            site.serves();
        }
    }
}

#[test]
fn a_planted_link_is_not_written_through() {
    let site = Site::crowded();
    let victim = site.folder.path().join("victim");
    // An empty file would be taken for a new database.
    for content in ["precious", ""] {
        fs::write(&victim, content).unwrap();
        let index = site.index();
        fs::remove_file(&index).unwrap();
        symlink(&victim, &index).unwrap();
        site.is_denied("crowd/7.py");
        site.release("worker", site.hold("worker", "elsewhere.py"));
        assert_eq!(fs::read_to_string(&victim).unwrap(), content);
        site.must_have_an_index();
    }

    // The folder, too.
    fs::remove_dir_all(site.path("index")).unwrap();
    let elsewhere = site.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, site.path("index")).unwrap();
    site.is_denied("crowd/7.py");
    site.is_denied("crowd/8.py");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn what_other_boots_left_is_removed_unread() {
    let site = Site::crowded();
    let old = site.path("index").join("0d0f7a2e-0000-4000-8000-000000000000.sqlite");
    fs::rename(site.index(), &old).unwrap();
    fs::write(site.path("index").join("0d0f7a2e-0000-4000-8000-000000000000.sqlite-journal"), "x").unwrap();
    site.is_denied("crowd/7.py");
    assert!(!old.exists());
    site.serves();
}

/// A record of another store, copied into this one.
fn copy_in(site: &Site, run: &str, address: &str) -> PathBuf {
    let other = Site::new();
    let id = other.hold(run, address);
    let target = site.record("reservations", id);
    fs::copy(other.record("reservations", id), &target).unwrap();
    target
}

#[test]
fn a_record_that_another_program_put_there_is_noticed() {
    let site = Site::crowded();
    site.serves();
    let copied = copy_in(&site, "stranger", "foreign/a.py");
    assert_eq!(site.found("foreign/"), ["stranger"], "by readers");
    site.is_denied("foreign/a.py");
    assert_eq!(site.found("foreign/"), ["stranger"]);
    fs::remove_file(copied).unwrap();
    assert!(site.found("foreign/").is_empty());
    site.hold("rival", "foreign/a.py");
}

#[test]
fn a_record_that_was_put_there_beside_a_grant_is_noticed_at_the_next_look() {
    let site = Site::crowded();
    site.serves();
    // In the instant between a look at the folder's time and the mark on it: as if it had been there before.
    let reservations = site.path("reservations");
    let marked = fs::metadata(&reservations).unwrap().modified().unwrap();
    copy_in(&site, "stranger", "foreign/a.py");
    fs::File::open(&reservations).unwrap().set_modified(marked).unwrap();
    site.clock.advance_seconds(60);
    site.is_denied("foreign/a.py");
}

#[test]
fn a_tombstone_that_was_taken_away_gives_the_reservation_back() {
    for room in ["releases", "superseded"] {
        let site = Site::crowded();
        let id = site.hold("alice", "a.py");
        let zoe = site.hold("zoe", "z.py");
        if room == "releases" {
            site.release("alice", id);
        } else {
            site.clock.advance_seconds(3601);
            site.release("bob", site.hold("bob", "a.py"));
        }
        // Its entries are met, and taken out.
        site.release("carol", site.hold("carol", "a.py"));
        site.release("carol", site.hold("carol", "a.py"));
        fs::remove_file(site.record(room, id)).unwrap();
        if room == "superseded" {
            let beat = Beat {
                reservation: id,
                run: RunId::new("alice").unwrap(),
                extension: TtlSeconds::new(60).unwrap(),
            };
            site.engine.beat(&beat).unwrap();
        }
        // A release in between does not hide it.
        site.release("zoe", zoe);
        assert_eq!(site.found("a.py"), ["alice"], "{room}");
        site.is_denied("a.py");
        assert_eq!(site.found("a.py"), ["alice"], "{room}");
    }
}

#[test]
fn what_does_not_belong_there_fails_closed_until_it_is_gone() {
    for room in ["reservations", "releases", "superseded"] {
        let site = Site::crowded();
        let stray = site.path(room).join("stray");
        fs::write(&stray, "").unwrap();
        for _ in 0..3 {
            let error = site.ask("worker", "elsewhere.py").unwrap_err().to_string();
            assert!(error.starts_with(stray.to_str().unwrap()), "{error}");
        }
        fs::remove_file(&stray).unwrap();
        site.serves();
    }
}

#[test]
fn a_damaged_record_stops_those_in_its_way_and_nobody_else() {
    let site = Site::crowded();
    let id = site.hold("alice", "a.py");
    let record = site.record("reservations", id);
    fs::write(&record, "{}").unwrap();
    let error = site.ask("bob", "a.py::f").unwrap_err().to_string();
    assert!(error.starts_with(record.to_str().unwrap()), "{error}");
    // What it holds is known, for its name is the hash of what it was.
    site.release("bob", site.hold("bob", "b.py"));
    // Without the index nobody knows.
    fs::remove_file(site.index()).unwrap();
    let error = site.ask("bob", "b.py").unwrap_err().to_string();
    assert!(error.starts_with(record.to_str().unwrap()), "{error}");
    let request = ReleaseRequest {
        reservations: vec![id],
        run: RunId::new("boss").unwrap(),
        reason: Some("unreadable".to_owned()),
        force: true,
    };
    site.engine.release(&request).unwrap();
    site.hold("bob", "a.py");
}

#[test]
fn a_take_over_finds_what_it_is_about() {
    let site = Site::crowded();
    let alice = site.hold("alice", "a.py");
    let mut wanted = request("boss", "b.py");
    wanted.take_over = Some(TakeOver { reservation: alice, reason: "stuck".to_owned() });
    assert_eq!(site.engine.grant(&wanted).unwrap(), Reserved::TakeOverElsewhere);
    wanted.addresses = vec!["a.py::f".parse().unwrap()];
    assert!(matches!(site.engine.grant(&wanted).unwrap(), Reserved::Granted(_)));
    site.is_denied("a.py::f");
    site.hold("carol", "a.py::g");
}

#[test]
fn a_store_that_shrinks_and_grows_keeps_all_in_sight() {
    let site = Site::crowded();
    let aside = site.folder.path().join("aside");
    fs::create_dir(&aside).unwrap();
    // Below the number that an index is kept for, it is not written.
    let names: Vec<PathBuf> =
        fs::read_dir(site.path("reservations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in names.iter().take(60) {
        fs::rename(name, aside.join(name.file_name().unwrap())).unwrap();
    }
    site.hold("alice", "a.py");
    for name in names.iter().take(60) {
        fs::rename(aside.join(name.file_name().unwrap()), name).unwrap();
    }
    site.is_denied("a.py");
    site.serves();
}

/// Everything that was ever granted, live and archived.
fn ever(site: &Site) -> (usize, usize) {
    let live: Vec<ReservationId> =
        site.engine.history().unwrap().leases.iter().map(|lease| lease.reservation.reservation_id).collect();
    let archived: Vec<ReservationId> =
        site.engine.archived().unwrap().map(|line| line.unwrap().reservation.reservation_id).collect();
    assert!(live.iter().all(|id| !archived.contains(id)), "in both");
    (live.len(), archived.len())
}

#[test]
fn a_reserve_tidies_up_what_has_long_been_over() {
    let site = Site::crowded();
    let kept = site.hold("alice", "kept.py");
    site.clock.advance_seconds(3600 + 3599);
    site.hold("bob", "b.py");
    assert_eq!(ever(&site), (MANY + 2, 0), "not over for an hour");
    // Revived in time, and later than its record says.
    let beat = Beat {
        reservation: kept,
        run: RunId::new("alice").unwrap(),
        extension: TtlSeconds::new(36_000).unwrap(),
    };
    site.engine.beat(&beat).unwrap();
    site.clock.advance_seconds(1);
    // One step looks at 64, of which one is held; the rest is left until there are so many again.
    site.hold("carol", "c.py");
    assert_eq!(ever(&site), (3 + MANY - 63, 63));
    site.is_denied("kept.py");
    site.is_denied("b.py");
    site.hold("dave", "crowd/");
    assert_eq!(ever(&site), (4 + MANY - 63, 63));
}

#[test]
fn a_reserve_that_cannot_tidy_up_is_granted_and_says_so() {
    let site = Site::crowded();
    site.clock.advance_seconds(7201);
    let archive = site.path("archive");
    fs::rename(&archive, site.path("aside")).unwrap();
    for address in ["a.py", "b.py"] {
        let Ok(Reserved::Granted(grant)) = site.engine.grant(&request("alice", address)) else {
            panic!("not granted");
        };
        let why = grant.untidied.expect("it says why");
        assert!(why.contains(archive.to_str().unwrap()), "{why}");
    }
    fs::rename(site.path("aside"), &archive).unwrap();
    let Ok(Reserved::Granted(grant)) = site.engine.grant(&request("alice", "c.py")) else {
        panic!("not granted");
    };
    assert_eq!(grant.untidied, None);
    assert_eq!(ever(&site), (3 + MANY - 64, 64));
}

#[test]
fn what_was_released_is_tidied_up_after_an_hour_whatever_its_lifetime() {
    let site = Site::crowded();
    let ids: Vec<ReservationId> =
        site.engine.live().unwrap().leases.iter().map(|lease| lease.reservation.reservation_id).collect();
    for id in ids {
        site.release("crowd", id);
    }
    site.clock.advance_seconds(3599);
    site.hold("alice", "a.py");
    assert_eq!(ever(&site), (MANY + 1, 0));
    site.clock.advance_seconds(1);
    site.hold("bob", "b.py");
    assert_eq!(ever(&site), (2 + MANY - 64, 64));
}

#[test]
fn an_index_goes_on_through_gc() {
    let site = Site::crowded();
    site.clock.advance_seconds(3601);
    for number in 0..MANY {
        site.hold("later", &format!("later/{number}.py"));
    }
    site.engine.collect(&Retention::older_than(0), &Silent).unwrap();
    assert_eq!(ever(&site), (MANY, MANY));
    site.is_denied("later/3.py");
    assert!(site.found("crowd/").is_empty());
    site.hold("worker", "crowd/3.py");
}

#[test]
fn a_circle_of_waits_is_seen_through_the_index() {
    let site = Site::crowded();
    site.hold("alice", "a.py");
    site.hold("bob", "b.py");
    let turn = site.engine.take_turn(&request("alice", "b.py"), None).unwrap();
    assert!(matches!(turn, Turn::Queued { .. }), "{turn:?}");
    let turn = site.engine.take_turn(&request("bob", "a.py"), None).unwrap();
    assert!(matches!(turn, Turn::Deadlock { .. }), "{turn:?}");
}
