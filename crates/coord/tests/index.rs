//! The index of large stores: whatever happens to it, and whatever happens to the store behind its back, nobody is
//! granted what another run holds.

#![expect(clippy::disallowed_methods, reason = "these tests tamper with a store's files")]
#![expect(clippy::panic, reason = "an answer that is not expected fails the test")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use muse_coord::{
    Beat, Engine, EngineError, FileEngine, Listing, ManualClock, Progress, ReleaseRequest, Repair, Request,
    ReservationId, Reserved, Retention, RunId, Silent, TakeOver, TtlSeconds, Turn,
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
        Site::at(folder.unwrap())
    }

    fn at(folder: tempfile::TempDir) -> Site {
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

    /// Which file the database is.
    fn index_inode(&self) -> u64 {
        fs::metadata(self.index()).unwrap().ino()
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

/// Takes its turn while an index is made, between the reading of the records and the store's lock.
struct Meanwhile<F>(F);

impl<F> std::fmt::Debug for Meanwhile<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Meanwhile")
    }
}

impl<F: Fn(&str) + Send + Sync> Progress for Meanwhile<F> {
    fn begin(&self, total: Option<u64>, what: &'static str) {
        (self.0)(&format!("begin {what} {total:?}"));
    }

    fn advance(&self, steps: u64) {
        (self.0)(&format!("advance {steps}"));
    }

    fn end(&self) {
        (self.0)("end");
    }
}

impl Site {
    /// Another process: it makes its index in a draft, and does something whenever it tells how far it is.
    fn drafting(&self, meanwhile: impl Fn(&str) + Send + Sync + 'static) -> FileEngine<Arc<ManualClock>> {
        self.another().unread_max(0).telling(Box::new(Meanwhile(meanwhile)))
    }

    fn another(&self) -> FileEngine<Arc<ManualClock>> {
        FileEngine::new(self.engine.path(), Arc::clone(&self.clock))
    }

    fn without_index(&self) {
        fs::remove_dir_all(self.path("index")).unwrap();
    }

    fn names_of_index(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("index")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn an_index_is_made_in_a_draft_and_tells_how_far_it_is() {
    let site = Site::crowded();
    site.without_index();
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    let engine = site.drafting(move |what| teller.lock().unwrap().push(what.to_owned()));
    assert!(matches!(engine.grant(&request("rival", "crowd/7.py")).unwrap(), Reserved::Denied { .. }));
    let begun = format!("begin indexing Some({MANY})");
    let expected = [&*begun, &format!("advance {MANY}"), "end"];
    assert_eq!(*told.lock().unwrap(), expected);
    assert_eq!(site.names_of_index().iter().filter(|name| !name.ends_with("-journal")).count(), 1);
    site.serves();

    // With an index, nobody is told of anything.
    assert!(matches!(engine.grant(&request("rival", "crowd/7.py")).unwrap(), Reserved::Denied { .. }));
    assert_eq!(told.lock().unwrap().len(), expected.len());
}

#[test]
fn who_waits_for_a_draft_of_another_says_so() {
    let site = Site::crowded();
    let draft = format!("{}-new", site.index().display());
    site.without_index();
    fs::create_dir(site.path("index")).unwrap();
    let other = fs::File::create(draft).unwrap();
    other.try_lock().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (teller, other) = (Arc::clone(&told), Mutex::new(Some(other)));
    let engine = site.drafting(move |what| {
        teller.lock().unwrap().push(what.to_owned());
        drop(other.lock().unwrap().take());
    });
    assert!(matches!(engine.grant(&request("rival", "crowd/7.py")).unwrap(), Reserved::Denied { .. }));
    assert_eq!(told.lock().unwrap()[0], "begin waiting for the index None");
    site.serves();
}

#[test]
fn what_happens_while_a_draft_is_made_is_in_the_index() {
    let site = Site::crowded();
    let (alice, bob) = (site.hold("alice", "a.py"), site.hold("bob", "b.py"));
    site.without_index();
    // What runs beside it has no index: it would wait for the draft.
    let other = site.another().index_above(usize::MAX);
    let first = Mutex::new(true);
    let engine = site.drafting(move |what| {
        if what.starts_with("advance") && std::mem::take(&mut *first.lock().unwrap()) {
            // All records are read by now.
            assert!(matches!(other.grant(&request("carol", "c.py")).unwrap(), Reserved::Granted(_)));
            for (run, id) in [("alice", alice), ("bob", bob)] {
                let run = RunId::new(run).unwrap();
                let request = ReleaseRequest { reservations: vec![id], run, reason: None, force: false };
                other.release(&request).unwrap();
            }
            assert!(matches!(other.grant(&request("dave", "a.py")).unwrap(), Reserved::Granted(_)));
            // Archived: neither the record nor its tombstone is there any more.
            let retention = Retention { at_most: Some(1), ..Retention::older_than(0) };
            assert_eq!(other.collect(&retention, &Silent).unwrap().archived, 1);
        }
    });
    assert!(matches!(engine.grant(&request("rival", "crowd/7.py")).unwrap(), Reserved::Denied { .. }));
    site.must_have_an_index();
    assert_eq!(site.found("c.py"), ["carol"]);
    assert_eq!(site.found("a.py"), ["dave"]);
    assert!(site.found("b.py").is_empty());
    for held in ["c.py", "a.py", "crowd/3.py"] {
        site.is_denied(held);
    }
    site.serves();
}

#[test]
fn of_two_who_make_an_index_one_result_is_used() {
    // Before the records are read for the draft, and after that.
    for moment in ["begin indexing", "advance"] {
        let site = Arc::new(Site::crowded());
        site.without_index();
        let told = Arc::new(Mutex::new(Vec::new()));
        let inode = Arc::new(Mutex::new(0));
        // Somebody else makes one under the lock, as one does who was not let at the draft for too long: it completes
        // the database that is there.
        let other = site.another();
        let engine = {
            let (site, told, inode) = (Arc::clone(&site), Arc::clone(&told), Arc::clone(&inode));
            let drafted = Arc::clone(&site);
            drafted.drafting(move |what| {
                told.lock().unwrap().push(what.to_owned());
                if what.starts_with(moment) {
                    let granted = other.grant(&request("carol", "c.py"));
                    assert!(matches!(granted, Ok(Reserved::Granted(_))), "{granted:?}");
                    *inode.lock().unwrap() = site.index_inode();
                }
            })
        };
        assert!(matches!(engine.grant(&request("rival", "c.py")).unwrap(), Reserved::Denied { .. }));
        assert_eq!(site.index_inode(), *inode.lock().unwrap(), "{moment}: a stale draft took its place");
        let has_read = told.lock().unwrap().iter().any(|what| what.starts_with("advance"));
        assert_eq!(has_read, moment == "advance", "{:?}", told.lock().unwrap());
        let names = site.names_of_index();
        assert!(names.iter().all(|name| !name.ends_with("-new")), "{names:?}");
        site.is_denied("c.py");
        site.serves();
    }
}

#[test]
fn an_index_that_has_much_to_read_gives_way_to_a_draft() {
    let site = Site::crowded();
    let inode = site.index_inode();
    // It was complete once, and what is there now came past it.
    site.another().index_above(usize::MAX).grant(&request("erin", "e.py")).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    let engine = site.drafting(move |what| teller.lock().unwrap().push(what.to_owned()));
    assert!(matches!(engine.grant(&request("rival", "e.py")).unwrap(), Reserved::Denied { .. }));
    assert_eq!(told.lock().unwrap()[0], format!("begin indexing Some({})", MANY + 1));
    assert_ne!(site.index_inode(), inode);
    site.serves();
}

#[test]
fn a_repair_leaves_a_draft_to_whoever_makes_it_and_does_not_wait_for_it() {
    let site = Arc::new(Site::crowded());
    let database = site.index();
    site.without_index();
    let told = Arc::new(Mutex::new(Vec::new()));
    let inode = Arc::new(Mutex::new(0));
    let repairing = {
        let told = Arc::clone(&told);
        let tell = Meanwhile(move |what: &str| told.lock().unwrap().push(what.to_owned()));
        site.another().telling(Box::new(tell))
    };
    let engine = {
        let (beside, inode) = (Arc::clone(&site), Arc::clone(&inode));
        site.drafting(move |what| {
            if what.starts_with("advance") {
                fs::write(&database, "half of a database").unwrap();
                let checked = repairing.check(Repair::Yes, &Silent).unwrap();
                assert!(checked.findings.iter().all(|finding| finding.repaired), "{checked:?}");
                assert_eq!(checked.findings.len(), 1, "{checked:?}");
                let names = beside.names_of_index();
                assert!(names.iter().any(|name| name.ends_with("-new")), "{names:?}");
                *inode.lock().unwrap() = beside.index_inode();
            }
        })
    };
    assert!(matches!(engine.grant(&request("rival", "crowd/7.py")).unwrap(), Reserved::Denied { .. }));
    // The one who makes the draft waits for the store's lock, which the repair holds.
    assert!(!told.lock().unwrap().iter().any(|what| what.contains("waiting")), "{told:?}");
    assert_eq!(site.index_inode(), *inode.lock().unwrap(), "a stale draft took its place");
    let mut kept = fs::read_dir(site.path("quarantine")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(kept.all(|name| !name.to_str().unwrap().ends_with("-new")));
    site.serves();
}

#[test]
fn a_draft_that_took_the_place_of_another_is_not_removed_by_whoever_made_that() {
    let site = Site::crowded();
    let draft = PathBuf::from(format!("{}-new", site.index().display()));
    site.without_index();
    let newcomer = draft.clone();
    let engine = site.drafting(move |what| {
        if what.starts_with("advance") {
            fs::remove_file(&newcomer).unwrap();
            fs::write(&newcomer, "a newcomer's").unwrap();
        }
    });
    assert!(matches!(engine.grant(&request("rival", "crowd/7.py")).unwrap(), Reserved::Denied { .. }));
    assert_eq!(fs::read_to_string(&draft).unwrap(), "a newcomer's");
    site.serves();
}

#[test]
fn what_a_killed_process_left_of_a_draft_harms_nobody() {
    for content in ["", "half of a database", "SQLite format 3\0"] {
        let site = Site::crowded();
        let draft = PathBuf::from(format!("{}-new", site.index().display()));
        fs::remove_file(site.index()).unwrap();
        fs::write(&draft, content).unwrap();
        let engine = site.drafting(|_| {});
        assert!(matches!(engine.grant(&request("rival", "crowd/7.py")).unwrap(), Reserved::Denied { .. }));
        assert!(!draft.exists());
        site.serves();

        // Killed between moving it into its place and looking at what came since: it has no marks.
        let reservations = fs::File::open(site.path("reservations")).unwrap();
        let now = std::time::SystemTime::now();
        site.another().index_above(usize::MAX).grant(&request("erin", "e.py")).unwrap();
        reservations.set_modified(now).unwrap();
        site.is_denied("e.py");
    }
}

#[test]
fn a_draft_in_whose_place_something_else_stands_is_done_without() {
    let site = Site::crowded();
    let draft = PathBuf::from(format!("{}-new", site.index().display()));
    let plant: [fn(&Path); 3] = [
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("/nowhere/at/all", path).unwrap(),
        |path| symlink("/dev/null", path).unwrap(),
    ];
    for plant in plant {
        site.without_index();
        fs::create_dir(site.path("index")).unwrap();
        plant(&draft);
        let engine = site.drafting(|_| {});
        assert!(matches!(engine.grant(&request("rival", "crowd/7.py")).unwrap(), Reserved::Denied { .. }));
        site.serves();
    }
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

/// Some file systems, ext4 among them, never make a folder smaller. A store that held many reservations once would
/// have all of such a folder listed by each `reserve` and `list --address`, however few are left.
#[test]
fn a_folder_that_many_have_left_is_not_listed() {
    let site = Site::at(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    let held = site.hold("alice", "a.py");
    let reservations = site.path("reservations");
    // As long as the names of records.
    let name = |number: u32| reservations.join(format!("{number:0>76}"));
    (0..2_000).for_each(|number| fs::write(name(number), "").unwrap());
    (0..2_000).for_each(|number| fs::remove_file(name(number)).unwrap());
    let keeps_its_size = fs::metadata(&reservations).unwrap().len() > 64 * 1024;

    site.is_denied("a.py");
    assert_eq!(site.path("index").exists(), keeps_its_size);
    site.hold("bob", "b.py");
    assert_eq!(site.found("a.py"), ["alice"]);
    site.release("alice", held);
    site.hold("carol", "a.py");
    assert_eq!(site.found("a.py"), ["carol"]);
    assert_eq!(site.found("b.py"), ["bob"]);
}
