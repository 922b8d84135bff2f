//! What of the archive can only be seen in its files: the lines on disk, half moved batches as a killed process
//! leaves them, reservations that are in use, every kind of damage.

#![expect(clippy::disallowed_methods, reason = "these tests write, cut and lock the files of a store")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muse_coord::archive::BATCH_MAX;
use muse_coord::audit::AuditQuery;
use muse_coord::{
    Archived, Beat, Beaten, Collected, Coordinator, Ending, Engine, EngineError, FileEngine, ManualClock,
    ReleaseRequest, Released, Repair, Request, ReservationId, Reserved, Retention, RunId, Silent, TtlSeconds,
};

/// 2027-01-15T08:00:00Z.
const START_SECONDS: i64 = 1_800_000_000;
const TTL_SECONDS: i64 = 60;
const MONTH: &str = "2027-01.jsonl";
const NOW: Retention = Retention::older_than(0);

/// Puts something in the place of an archive file; the other path must not be touched.
type Plant = fn(&Path, &Path);

struct Site {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    coordinator: Coordinator<FileEngine<Arc<ManualClock>>>,
}

impl Site {
    fn new() -> Site {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        let clock = Arc::new(ManualClock::at_seconds(START_SECONDS));
        let engine = FileEngine::new(folder.path().join("coordination"), Arc::clone(&clock));
        engine.prepare().expect("a store");
        Site { folder, clock, coordinator: Coordinator::new(engine) }
    }

    fn engine(&self) -> &FileEngine<Arc<ManualClock>> {
        self.coordinator.engine()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.engine().path().join(name)
    }

    fn month(&self) -> PathBuf {
        self.path("archive").join(MONTH)
    }

    fn hold(&self, address: &str) -> ReservationId {
        let addresses = vec![address.parse().expect("an address")];
        let request = Request::new(run("alice"), addresses, ttl(TTL_SECONDS));
        match self.coordinator.reserve(&request) {
            Ok(Reserved::Granted(grant)) if !grant.renewed => grant.lease.reservation.reservation_id,
            other => panic!("{other:?}"),
        }
    }

    fn beat(&self, id: ReservationId, seconds: i64) -> Beaten {
        let beat = Beat { reservation: id, run: run("alice"), extension: ttl(seconds) };
        self.coordinator.heartbeat(&beat).expect("an answer")
    }

    fn release(&self, id: ReservationId) -> Result<Released, EngineError> {
        let request =
            ReleaseRequest { reservations: vec![id], run: run("alice"), reason: None, force: false };
        self.coordinator.release(&request).expect("an answer").remove(0).1
    }

    /// Released ones, with a heartbeat each.
    fn released(&self, count: usize) -> Vec<ReservationId> {
        let made: Vec<ReservationId> = (0..count).map(|number| self.hold(&format!("{number}.py"))).collect();
        for &id in &made {
            self.beat(id, TTL_SECONDS);
        }
        let reservations = made.clone();
        let request = ReleaseRequest { reservations, run: run("alice"), reason: None, force: false };
        self.coordinator.release(&request).expect("released");
        made
    }

    fn try_collect(&self) -> Collected {
        self.coordinator.collect(&NOW, &Silent).expect("a collection")
    }

    fn collect(&self) -> usize {
        let collected = self.try_collect();
        assert!(collected.damaged.is_empty() && collected.stopped_by.is_none(), "{collected:?}");
        collected.archived
    }

    fn lines(&self) -> Vec<Result<Archived, EngineError>> {
        self.engine().archived().expect("an archive").collect()
    }

    /// The ids in the archive, the oldest line first. All lines are whole.
    fn ids(&self) -> Vec<ReservationId> {
        let mut ids: Vec<ReservationId> =
            self.lines().into_iter().map(|line| line.expect("a line").id()).collect();
        ids.reverse();
        ids
    }

    fn live(&self) -> Vec<ReservationId> {
        let mut leases = self.engine().history().expect("a listing").leases;
        leases.sort_by_key(|lease| lease.reservation.token);
        leases.iter().map(|lease| lease.reservation.reservation_id).collect()
    }

    /// Every file of the live store, by path below it.
    fn records(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut records = BTreeMap::new();
        for room in ["reservations", "heartbeats", "superseded", "releases"] {
            for entry in fs::read_dir(self.path(room)).expect("a folder") {
                let path = entry.expect("an entry").path();
                records.insert(path.clone(), fs::read(path).expect("a file"));
            }
        }
        records
    }

    fn append(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.month()).expect("a file");
        file.write_all(bytes).expect("written");
    }
}

fn put_back(records: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in records {
        fs::write(path, bytes).expect("written");
    }
}

fn run(text: &str) -> RunId {
    RunId::new(text).expect("a run id")
}

fn ttl(seconds: i64) -> TtlSeconds {
    TtlSeconds::new(seconds).expect("a lifetime")
}

#[test]
fn the_archive_is_lines_of_json_in_a_file_a_month() {
    let site = Site::new();
    let made = site.released(2);
    assert_eq!(site.collect(), 2);
    let text = fs::read_to_string(site.month()).expect("a file");
    assert!(text.ends_with('\n') && text.lines().count() == 2);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let keys: Vec<&String> = lines[0].as_object().expect("an object").keys().collect();
    let mut expected = [
        "schema_version",
        "archived_at",
        "state",
        "ended_at",
        "reservation",
        "heartbeat",
        "superseded",
        "release",
        "before",
        "batch_position",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(lines[0]["before"], serde_json::Value::Null);
    assert_eq!(lines[1]["before"]["token"], lines[0]["reservation"]["token"]);
    assert_eq!(lines[1]["reservation"]["reservation_id"], made[1].to_string());
    assert_eq!(lines[1]["release"]["run_id"], "alice");
    assert_eq!(site.records(), BTreeMap::new());
    let bits = fs::metadata(site.month()).expect("a file").permissions().mode();
    assert_eq!(bits & 0o133, 0, "{bits:o}");

    // Two months on, and then a month back: a later file is never followed by a line in an earlier one.
    site.clock.advance_seconds(60 * 86_400);
    let march = site.released(1);
    site.collect();
    site.clock.advance_seconds(-40 * 86_400);
    let back = site.released(1);
    site.collect();
    let mut names: Vec<String> = fs::read_dir(site.path("archive"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, [MONTH, "2027-03.jsonl"]);
    assert_eq!(site.ids(), [made, march, back].concat());
}

/// Whatever part of a batch a killed process has removed, the next one removes the rest and appends nothing twice.
#[test]
fn a_batch_that_is_half_moved_is_finished() {
    let site = Site::new();
    let made = site.released(3);
    let records = site.records();
    site.collect();
    // In the order of removal: records, heartbeats, tombstones.
    let ordered: Vec<(PathBuf, Vec<u8>)> = ["reservations", "heartbeats", "releases"]
        .iter()
        .flat_map(|room| {
            records.iter().filter(move |(path, _)| path.parent().is_some_and(|folder| folder.ends_with(room)))
        })
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect();
    for removed in 0..=ordered.len() {
        for later in [false, true] {
            put_back(&ordered[removed..].iter().cloned().collect());
            for &id in &made {
                let lease = site.engine().find(id).expect("readable");
                assert!(lease.is_none_or(|lease| lease.release.is_present()), "it came back to life");
            }
            // Another month may begin in between.
            site.clock.advance_seconds(if later { 31 * 86_400 } else { 0 });
            assert_eq!(site.collect(), 0, "nothing is archived twice");
            assert_eq!(site.ids(), made);
            assert_eq!(site.records(), BTreeMap::new());
            site.clock.advance_seconds(if later { -31 * 86_400 } else { 0 });
        }
    }
    // What is over by then is moved in the same turn.
    put_back(&records);
    let more = site.released(0);
    assert_eq!(more, []);
    let next = site.hold("next.py");
    site.release(next).expect("released");
    assert_eq!(site.collect(), 1);
    assert_eq!(site.ids(), [made, vec![next]].concat());
}

#[test]
fn one_that_was_revived_while_it_was_half_moved_stays_and_is_archived_again() {
    let site = Site::new();
    let id = site.hold("a.py");
    site.clock.advance_seconds(TTL_SECONDS);
    let records = site.records();
    site.collect();
    put_back(&records);
    // Its line is there, the process was killed, and its holder comes back.
    assert!(matches!(site.beat(id, 1000), Beaten::Extended { .. }));
    assert_eq!(site.collect(), 0);
    assert_eq!(site.live(), [id], "an active reservation is never taken away");
    let trail = site.coordinator.log(&AuditQuery::newest(10), &Silent).expect("a trail");
    assert_eq!(trail.entries.len(), 1, "it is told once");
    assert!(!trail.entries[0].is_archived);

    site.clock.advance_seconds(10);
    site.release(id).expect("released");
    assert_eq!(site.collect(), 1);
    assert_eq!(site.ids(), [id, id]);
    let found = site.engine().find_archived(id).expect("readable").expect("there");
    assert_eq!(found.state, Ending::Released, "the newest line counts");
    let trail = site.coordinator.log(&AuditQuery::newest(10), &Silent).expect("a trail");
    let told: Vec<_> = trail.entries.iter().map(|entry| (entry.state, entry.held_seconds())).collect();
    assert_eq!(told, [(muse_coord::State::Released, 70)]);
    assert_eq!(site.release(id).expect("an answer"), Released::AlreadyReleased);
}

#[test]
fn a_reservation_whose_record_is_locked_is_left() {
    let site = Site::new();
    let made = site.released(2);
    let lock = File::open(site.engine().record_path(made[0])).expect("a record");
    lock.lock().expect("locked");
    let collected = site.try_collect();
    assert_eq!((collected.archived, collected.skipped), (1, 1));
    assert_eq!(site.live(), [made[0]]);
    drop(lock);
    assert_eq!(site.collect(), 1);
    assert_eq!(site.ids(), [made[1], made[0]]);

    // While a record of a half moved batch is in use, nothing is appended: only the last batch may be half moved.
    let site = Site::new();
    let made = site.released(1);
    let records = site.records();
    site.collect();
    put_back(&records);
    let next = site.hold("next.py");
    site.release(next).expect("released");
    let lock = File::open(site.engine().record_path(made[0])).expect("a record");
    lock.lock().expect("locked");
    let collected = site.try_collect();
    assert_eq!((collected.archived, collected.skipped), (0, 2));
    assert_eq!(site.ids(), made);
    drop(lock);
    assert_eq!(site.collect(), 1);
    assert_eq!(site.ids(), [made[0], next]);
}

#[test]
fn a_torn_last_line_is_ignored_and_cut_off() {
    let site = Site::new();
    let made = site.released(2);
    site.collect();
    let whole = fs::read(site.month()).expect("a file");
    for torn in [&whole[..1], &whole[..whole.len() / 3], b"\0\0\0", b"{"] {
        site.append(torn);
        assert_eq!(site.ids(), made);
        assert_eq!(site.collect(), 0);
        let id = site.hold("next.py");
        site.release(id).expect("released");
        assert_eq!(site.collect(), 1);
        assert_eq!(site.ids(), [made.clone(), vec![id]].concat());
        fs::write(site.month(), &whole).expect("written");
    }
    // All that there is, is torn.
    fs::write(site.month(), &whole[..10]).expect("written");
    assert_eq!(site.ids(), []);
    let id = site.hold("next.py");
    site.release(id).expect("released");
    site.collect();
    assert_eq!(site.ids(), [id]);
}

#[test]
fn a_damaged_line_is_told_by_file_and_line_and_the_others_are_shown() {
    let site = Site::new();
    let made = site.released(4);
    site.collect();
    let text = fs::read_to_string(site.month()).expect("a file");
    let lines: Vec<&str> = text.lines().collect();
    let cut = &lines[1][..lines[1].len() / 2];
    let edited = lines[1].replace("1.py", "9.py");
    for damaged in ["garbage", "\0\0", "{}", cut, &edited] {
        let text = format!("{}\n{damaged}\n{}\n{}\n", lines[0], lines[2], lines[3]);
        fs::write(site.month(), text).expect("written");
        let (read, errors): (Vec<_>, Vec<_>) = site.lines().into_iter().partition(Result::is_ok);
        assert_eq!((read.len(), errors.len()), (3, 1), "{damaged:?}");
        let error = errors[0].as_ref().expect_err("an error").to_string();
        assert!(error.starts_with(&format!("{}, line 2, is damaged", site.month().display())), "{error}");
        let trail = site.coordinator.log(&AuditQuery::newest(10), &Silent).expect("a trail");
        assert_eq!((trail.entries.len(), trail.damaged.len()), (3, 1));
        assert_eq!(site.engine().find_archived(made[0]).expect("found").expect("found").id(), made[0]);
        // A damaged line of the last batch is told by the next writer, who goes on behind it.
        let id = site.hold("next.py");
        site.release(id).expect("released");
        let collected = site.try_collect();
        assert_eq!((collected.archived, collected.damaged.len()), (1, 1));
        assert_eq!(site.engine().find_archived(id).expect("found").expect("found").id(), id);
    }
    let newer = lines[1].replacen("\"schema_version\":1", "\"schema_version\":2", 1);
    fs::write(site.month(), format!("{}\n{newer}\n", lines[0])).expect("written");
    let error = site.lines().remove(0).expect_err("an error").to_string();
    assert!(error.contains("line 2, is too new") && error.contains("upgrade"), "{error}");
    let id = site.hold("last.py");
    site.release(id).expect("released");
    let collected = site.try_collect();
    assert!(
        collected.archived == 0 && collected.stopped_by.is_some(),
        "nothing is appended to a newer archive"
    );
    assert_eq!(site.live(), [id]);
}

/// The bounds of what is appended behind a damaged part cover what stands before it, however long that part is.
#[test]
fn what_stands_before_many_damaged_lines_is_still_shown() {
    for garbage in [BATCH_MAX - 1, BATCH_MAX, BATCH_MAX + 1, 3 * BATCH_MAX] {
        let site = Site::new();
        // Three that lapse early, and are in use while one with a larger token, which ends later, is archived.
        let early: Vec<ReservationId> = ["a.py", "b.py", "c.py"].map(|address| site.hold(address)).to_vec();
        let locks = early.iter().map(|id| {
            let lock = File::open(site.engine().record_path(*id)).expect("a record");
            lock.lock().expect("locked");
            lock
        });
        let locks: Vec<File> = locks.collect();
        site.clock.advance_seconds(2 * TTL_SECONDS);
        let big = site.hold("big.py");
        let granted = site.engine().find(big).expect("readable").expect("there").reservation;
        site.clock.advance_seconds(1);
        site.release(big).expect("released");
        let collected = site.try_collect();
        assert_eq!((collected.archived, collected.skipped), (1, 3));
        site.append("garbage\n".repeat(garbage).as_bytes());
        for (step, lock) in locks.into_iter().enumerate() {
            drop(lock);
            let collected = site.try_collect();
            assert!(collected.stopped_by.is_none(), "{collected:?}");
            assert_eq!((collected.archived, collected.skipped), (1, 2 - step));
            // They are told by the step that comes upon them, and not all of them.
            let told = if step == 0 { garbage.min(BATCH_MAX) } else { 0 };
            assert_eq!(collected.damaged.len(), told);
            let before = site.lines().remove(0).expect("a line").before.expect("bounds");
            assert_eq!(before.token, granted.token);
            assert_eq!(before.ended_at, granted.created_at.plus_seconds(1));
        }

        let since = AuditQuery { since: Some(granted.created_at), ..AuditQuery::newest(10) };
        for (query, is_truncated) in [(AuditQuery::newest(1), true), (since, false)] {
            let trail = site.coordinator.log(&query, &Silent).expect("a trail");
            let shown: Vec<ReservationId> =
                trail.entries.iter().map(|entry| entry.lease.reservation.reservation_id).collect();
            assert_eq!((shown, trail.is_truncated), (vec![big], is_truncated), "{garbage} damaged lines");
            assert_eq!(trail.damaged.len() + trail.more_damaged, garbage);
        }
    }
}

#[test]
fn a_newer_line_before_many_damaged_ones_stops_a_collection() {
    let site = Site::new();
    site.released(1);
    site.collect();
    let line = fs::read_to_string(site.month()).expect("a file");
    let newer = line.replacen("\"schema_version\":1", "\"schema_version\":2", 1);
    fs::write(site.month(), newer + &"garbage\n".repeat(2 * BATCH_MAX)).expect("written");
    let next = site.hold("next.py");
    site.release(next).expect("released");
    let collected = site.try_collect();
    let error = collected.stopped_by.expect("an error").to_string();
    assert!(error.contains("line 1, is too new"), "{error}");
    assert_eq!(site.live(), [next]);
}

#[test]
fn every_damaged_line_is_told_by_its_own_number() {
    let site = Site::new();
    site.released(3);
    site.collect();
    let text = fs::read_to_string(site.month()).expect("a file");
    let lines: Vec<&str> = text.lines().collect();
    // More than what is read at once.
    let many = "garbage\n".repeat(20_000);
    fs::write(site.month(), format!("{}\n{many}{}\n\n{}\n{many}", lines[0], lines[1], lines[2]))
        .expect("written");
    let numbers = site.lines().into_iter().filter_map(|line| match line {
        Err(EngineError::DamagedLine { line, .. }) => Some(line),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    });
    let expected: Vec<u64> = (20_005..=40_004).rev().chain((2..=20_001).rev()).collect();
    assert_eq!(numbers.collect::<Vec<_>>(), expected);
}

#[test]
fn a_damaged_line_without_a_number_is_told_as_what_keeps_it_from_being_counted() {
    let site = Site::new();
    let made = site.released(2);
    site.collect();
    let text = fs::read_to_string(site.month()).expect("a file");
    let lines: Vec<&str> = text.lines().collect();
    fs::write(site.month(), format!("{}\ngarbage\n{}\n", lines[0], lines[1])).expect("written");
    let mut read = site.engine().archived().expect("an archive");
    assert_eq!(read.next().expect("a line").expect("whole").id(), made[1]);
    // What was read at once is still known; the lines before the damaged one can no longer be counted.
    fs::write(site.month(), "").expect("written");
    let error = read.next().expect("a line").expect_err("an error");
    assert!(matches!(error, EngineError::Unreadable { .. }), "{error}");
    assert_eq!(read.next().expect("a line").expect("whole").id(), made[0]);
    assert!(read.next().is_none());
}

#[test]
fn what_is_no_archive_file_is_told_and_never_written_through() {
    let site = Site::new();
    let made = site.released(1);
    let victim = site.folder.path().join("victim");
    fs::write(&victim, "precious\n").expect("written");
    let plants: [(&str, Plant); 3] = [
        ("a folder", |path, _| fs::create_dir(path).expect("made")),
        ("a link", |path, victim| symlink(victim, path).expect("made")),
        ("a dangling link", |path, victim| symlink(victim.with_extension("not"), path).expect("made")),
    ];
    for (what, plant) in plants {
        plant(&site.month(), &victim);
        let collected = site.try_collect();
        let error = collected.stopped_by.expect(what).to_string();
        assert!(error.contains(site.month().to_str().expect("UTF-8")), "{what}: {error}");
        assert_eq!(site.live(), made, "{what}");
        assert!(site.lines()[0].is_err(), "{what}");
        if site.month().symlink_metadata().expect("there").is_dir() {
            fs::remove_dir(site.month()).expect("removed");
        } else {
            fs::remove_file(site.month()).expect("removed");
        }
        assert_eq!(fs::read_to_string(&victim).expect("there"), "precious\n");
        assert!(!victim.with_extension("not").exists());
    }
    // What has another name is in nobody's way, and `fsck` tells it.
    let foreign = [
        "2027-01.jsonl~",
        "2026-12.jsonl.gz",
        "2026-13.jsonl",
        "2026-00.jsonl",
        "20a6-01.jsonl",
        "2026-1a.jsonl",
    ];
    for name in foreign {
        fs::write(site.path("archive").join(name), "no line\n").expect("written");
    }
    let collected = site.try_collect();
    assert_eq!((collected.archived, collected.damaged.len()), (1, 0));
    assert!(collected.stopped_by.is_none());
    let trail = site.coordinator.log(&AuditQuery::newest(10), &Silent).expect("a trail");
    assert_eq!((trail.entries.len(), trail.damaged.len()), (1, 0));
    let checked = site.engine().check(Repair::No, &Silent).expect("checked");
    let mut told: Vec<&str> = checked.findings.iter().map(|finding| finding.kind.as_str()).collect();
    told.dedup();
    assert_eq!((told, checked.findings.len()), (vec!["stray"], foreign.len()));

    // Without its folder the archive is lost, and `prepare` makes the folder again.
    fs::remove_dir_all(site.path("archive")).expect("removed");
    let error = site.engine().archived().err().expect("an error");
    assert!(matches!(error, EngineError::Incomplete { .. }), "{error}");
    let trail = site.coordinator.log(&AuditQuery::newest(10), &Silent).expect("a trail");
    assert_eq!(trail.damaged.len(), 1);
    let id = site.hold("next.py");
    site.release(id).expect("released");
    assert!(site.try_collect().stopped_by.is_some());
    site.engine().prepare().expect("completed");
    assert_eq!(site.collect(), 1);
}

#[test]
fn blank_lines_are_passed_over() {
    let site = Site::new();
    let first = site.released(1);
    site.collect();
    let line = fs::read_to_string(site.month()).expect("there");
    fs::write(site.month(), format!("\n  \r\n{line}\n \t \n\n")).expect("written");
    let second = site.released(1);
    site.collect();
    let ids: Vec<ReservationId> =
        site.lines().into_iter().map(|line| line.expect("a line").reservation.reservation_id).collect();
    assert_eq!(ids, [second, first].concat());
    let mut damaged = fs::read_to_string(site.month()).expect("there");
    damaged.push_str("\nno line\n\n");
    fs::write(site.month(), damaged).expect("written");
    let error = site.lines().remove(0).expect_err("no line").to_string();
    assert!(error.contains(", line 9, "), "blank lines are counted: {error}");
}

#[test]
fn a_read_only_archive_is_read_and_stops_a_collection() {
    let site = Site::new();
    let made = site.released(1);
    site.collect();
    let next = site.released(1);
    let archive = site.path("archive");
    for path in [&site.month(), &archive] {
        let bits = fs::metadata(path).expect("there").permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(bits & 0o555)).expect("set");
    }
    let collected = site.try_collect();
    // A superuser may write whatever the mode says.
    if let Some(error) = collected.stopped_by {
        assert!(matches!(error, EngineError::Unwritable { .. }), "{error}");
        assert_eq!(site.live(), next);
        assert_eq!(site.ids(), made);
    }
    for path in [&archive, &site.month()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
    }
}

#[test]
fn a_token_file_that_is_made_again_is_above_the_archive() {
    let site = Site::new();
    site.clock.advance_seconds(1000);
    let made = site.released(2);
    site.collect();
    let archived = site.lines().remove(0).expect("a line").reservation;
    assert_eq!(archived.reservation_id, made[1]);
    // The clock was set back since, so it does not speak for the tokens.
    site.clock.advance_seconds(-900);
    fs::remove_file(site.path("token")).expect("removed");
    site.engine().prepare().expect("completed");
    let id = site.hold("next.py");
    let lease = site.engine().find(id).expect("readable").expect("there");
    assert!(lease.reservation.token > archived.token);

    // The newest line may be the one with the last token: what cannot be read is not passed over.
    site.append(b"garbage\n");
    fs::remove_file(site.path("token")).expect("removed");
    site.engine().prepare().expect_err("it cannot be told");
}

#[test]
fn more_than_a_step_is_moved_and_the_lock_is_free_in_between() {
    let site = Site::new();
    let made = site.released(BATCH_MAX + 5);
    assert_eq!(site.collect(), made.len());
    assert_eq!(site.ids(), made);
    assert_eq!(site.records(), BTreeMap::new());
    // The last batch alone is looked at again: what another program puts back of an earlier one is archived anew.
    assert_eq!(site.collect(), 0);
}

#[test]
fn a_damaged_record_is_told_and_stays() {
    let site = Site::new();
    let made = site.released(2);
    fs::write(site.engine().record_path(made[0]), "{}").expect("written");
    let collected = site.try_collect();
    assert_eq!((collected.archived, collected.damaged.len()), (1, 1));
    assert!(site.engine().record_path(made[0]).exists());
    // A tombstone that cannot be read counts by its name, and its reservation ended when it would have lapsed.
    let site = Site::new();
    let made = site.released(1);
    fs::write(site.path("releases").join(format!("{}.json", made[0])), "").expect("written");
    assert_eq!(site.collect(), 0, "not before that");
    site.clock.advance_seconds(TTL_SECONDS);
    assert_eq!(site.collect(), 1);
    let line = site.engine().find_archived(made[0]).expect("readable").expect("there");
    assert_eq!((line.state, line.release), (Ending::Released, None));
    assert_eq!(site.release(made[0]).expect("an answer"), Released::AlreadyReleased);
}
