//! `fsck`: looks at everything in a store, says what is wrong, and puts right what can be put right without losing
//! anything.
//!
//! The *survey* reads all without a lock and only suspects: what it saw may have been a writer's half step. Every
//! *subject* that it suspects is looked at again under the store's lock, and only what is wrong then is told. So is
//! what is repaired: looked at, repaired and looked at once more, all under the lock.
//!
//! Nothing is deleted and nothing is overwritten. What cannot be read is moved to `quarantine/` by a rename; what has
//! to be there (a token, a tombstone, a file of the archive) changes places with its successor in one step. So a
//! repair that is killed leaves each file where it was or in `quarantine/`. `docs/store-format.md` has the argument.

mod look;
mod repair;
mod survey;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};

use self::look::View;
use super::FileEngine;
use super::layout::{FOLDERS, Folder, LOCK_NAME, Store};
use super::lock::StoreLock;
use super::moving::must_be_here;
use super::network;
use crate::clock::{Clock, Stopwatch};
use crate::engine::EngineError;
use crate::id::ReservationId;
use crate::progress::Progress;

/// The folder of what was moved out of the way.
pub(super) const QUARANTINE: &str = "quarantine";

/// For how long a check waits for the store's lock, each time: writers hold it for milliseconds.
const LOOK_WAIT: Duration = Duration::from_millis(500);

/// How often it tries. A process that is stopped with the lock in its hands delays a check by this much in all.
const LOOK_TRIES: usize = 4;

/// How long the lock is held at most before others are let in between two subjects: a fraction of what they wait for.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// What is wrong with a path: one word each, the same in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    missing_docs,
    reason = "`docs/output-and-exit-codes.md` describes the words, and each finding its own case"
)]
pub enum FindingKind {
    FolderMissing,
    FolderReplaced,
    LockMissing,
    Stray,
    NotAFile,
    TooLarge,
    Truncated,
    Malformed,
    Misnamed,
    Edited,
    BadAddresses,
    BadTimes,
    TooNew,
    Unreadable,
    Orphan,
    Conflict,
    TokenTwice,
    TokenMissing,
    TokenDamaged,
    TokenBehind,
    IndexMissing,
    IndexDamaged,
    IndexForeign,
    IndexIncomplete,
    ArchiveLine,
    ArchiveBounds,
    // What is normal, and told beside.
    TemporaryFile,
    UnfinishedStore,
    UnknownFile,
    IndexOld,
    ArchiveTorn,
    ArchivedTwice,
    HalfArchived,
    Busy,
}

impl FindingKind {
    /// The word that answers use.
    pub const fn as_str(self) -> &'static str {
        match self {
            FindingKind::FolderMissing => "folder_missing",
            FindingKind::FolderReplaced => "folder_replaced",
            FindingKind::LockMissing => "lock_missing",
            FindingKind::Stray => "stray",
            FindingKind::NotAFile => "not_a_file",
            FindingKind::TooLarge => "too_large",
            FindingKind::Truncated => "truncated",
            FindingKind::Malformed => "malformed",
            FindingKind::Misnamed => "misnamed",
            FindingKind::Edited => "edited",
            FindingKind::BadAddresses => "bad_addresses",
            FindingKind::BadTimes => "bad_times",
            FindingKind::TooNew => "too_new",
            FindingKind::Unreadable => "unreadable",
            FindingKind::Orphan => "orphan",
            FindingKind::Conflict => "conflict",
            FindingKind::TokenTwice => "token_twice",
            FindingKind::TokenMissing => "token_missing",
            FindingKind::TokenDamaged => "token_damaged",
            FindingKind::TokenBehind => "token_behind",
            FindingKind::IndexMissing => "index_missing",
            FindingKind::IndexDamaged => "index_damaged",
            FindingKind::IndexForeign => "index_foreign",
            FindingKind::IndexIncomplete => "index_incomplete",
            FindingKind::ArchiveLine => "archive_line",
            FindingKind::ArchiveBounds => "archive_bounds",
            FindingKind::TemporaryFile => "temporary_file",
            FindingKind::UnfinishedStore => "unfinished_store",
            FindingKind::UnknownFile => "unknown_file",
            FindingKind::IndexOld => "index_old",
            FindingKind::ArchiveTorn => "archive_torn",
            FindingKind::ArchivedTwice => "archived_twice",
            FindingKind::HalfArchived => "half_archived",
            FindingKind::Busy => "busy",
        }
    }

    /// Whether it is normal in a store that serves: what a killed process or another boot leaves behind, and what the
    /// store does not know. Told, and no reason to fail.
    pub const fn is_notice(self) -> bool {
        matches!(
            self,
            FindingKind::TemporaryFile
                | FindingKind::UnfinishedStore
                | FindingKind::UnknownFile
                | FindingKind::IndexOld
                | FindingKind::ArchiveTorn
                | FindingKind::ArchivedTwice
                | FindingKind::HalfArchived
                | FindingKind::Busy
        )
    }
}

impl Serialize for FindingKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Something that is wrong, or worth telling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file or folder.
    pub path: String,
    /// What is wrong with it.
    pub kind: FindingKind,
    /// The same as a sentence, and what it means for whom.
    pub detail: String,
    /// Whether it was put right.
    pub repaired: bool,
    /// What was done, or would be, or what a person has to do; `None` if nothing has to be done.
    pub action: Option<String>,
}

/// How much a check read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Reservations.
    pub records: usize,
    /// Heartbeats, tombstones and supersessions.
    pub companions: usize,
    /// Lines of the archive.
    pub archived: usize,
    /// Tickets of those who wait.
    pub tickets: usize,
    /// Entries of the index.
    pub index_entries: usize,
}

/// What a check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is wrong, sorted by path.
    pub findings: Vec<Finding>,
    /// What is normal and worth telling, sorted by path.
    pub notices: Vec<Finding>,
    /// How much was read.
    pub counts: Counts,
}

/// What a check does about what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing: it only tells.
    No,
    /// It puts right what can be.
    Yes,
}

/// A folder of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Records {
    Reservations,
    Heartbeats,
    Releases,
    Superseded,
}

impl Records {
    const ALL: [Records; 4] =
        [Records::Reservations, Records::Heartbeats, Records::Releases, Records::Superseded];

    const fn of(self, store: &Store) -> &Folder {
        match self {
            Records::Reservations => &store.reservations,
            Records::Heartbeats => &store.heartbeats,
            Records::Releases => &store.releases,
            Records::Superseded => &store.superseded,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Records::Reservations => "reservations",
            Records::Heartbeats => "heartbeats",
            Records::Releases => "releases",
            Records::Superseded => "superseded",
        }
    }
}

/// A part of a file of the archive that is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BadLine {
    number: u64,
    offset: u64,
    /// The newline included.
    length: u64,
}

/// What is looked at, and looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    /// The store's lock file.
    Lock,
    /// A folder of the store.
    Folder(&'static str),
    /// Something in a folder of records.
    Entry { records: Records, name: OsString },
    /// Two reservations that carry one token; the second may be archived.
    TokenTwice(ReservationId, ReservationId),
    /// Two reservations that cannot both stand, the older one first.
    Conflict(ReservationId, ReservationId),
    /// The file with the last token.
    Token,
    /// The index.
    Index,
    /// Something in the folder of the index that is not of this boot.
    IndexEntry(String),
    /// Something in the folder of the archive.
    ArchiveEntry(OsString),
    /// Lines of a file of the archive, and whether something stands after the last one.
    ArchiveLines { name: String, bad: Vec<BadLine>, has_tail: bool },
    /// A line whose bounds are below what stands before it.
    ArchiveBounds { name: String, number: u64 },
    /// A reservation with more than one line.
    ArchivedTwice { name: String, number: u64, id: ReservationId },
    /// A reservation that is archived and live.
    HalfArchived(ReservationId),
    /// Something in the folder of the tickets.
    Ticket(OsString),
    /// Something in the folder of temporary files.
    Temporary(OsString),
    /// Something at the top of the store.
    Top(OsString),
    /// A store that is being built beside this one, or was.
    Unfinished(OsString),
}

impl Subject {
    /// Whether it looks the same while somebody who holds the store's lock is in the middle of a step.
    const fn needs_lock(&self) -> bool {
        match self {
            Subject::Entry { records, .. } => !matches!(records, Records::Reservations),
            Subject::ArchiveLines { has_tail, .. } => *has_tail,
            Subject::Index | Subject::HalfArchived(_) | Subject::Temporary(_) => true,
            _ => false,
        }
    }
}

/// What a look at a subject found.
#[derive(Clone, Debug)]
struct Wrong {
    path: String,
    kind: FindingKind,
    detail: String,
    remedy: Remedy,
}

/// What can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Remedy {
    /// It is moved to the quarantine.
    Quarantine,
    /// The reservation that it belongs to is released, and then it is moved to the quarantine.
    Retire,
    /// A new one takes its place in one step, and it is in the quarantine.
    Replace,
    /// The folder is made.
    MakeFolder,
    /// The lock file is made.
    MakeLock,
    /// What has the lock's name is moved to the quarantine, and the lock file is made.
    ReplaceLock,
    /// It is moved to the quarantine, and the folder is made.
    ReplaceFolder,
    /// A token above all others is written.
    Token,
    /// It is removed, as the next writer would do.
    Remove,
    /// The index is made anew from the records.
    Index,
    /// The whole file goes to the quarantine, and what can be read of it takes its place.
    Clean,
    /// Something that a person has to decide or do.
    Advice(String),
    /// Nothing has to be done.
    Nothing,
}

impl Remedy {
    /// What `--repair` would do, or somebody has to.
    fn action(&self) -> Option<String> {
        let would = |what: &str| Some(format!("`--repair` {what}"));
        match self {
            Remedy::Quarantine => would("moves it to quarantine/"),
            Remedy::Retire => would("releases the reservation for good, then moves this to quarantine/"),
            Remedy::Replace => would("puts a new one in its place and keeps this in quarantine/"),
            Remedy::MakeFolder => would("makes it again, empty"),
            Remedy::MakeLock => would("makes it again, unless the store is just being deleted"),
            Remedy::ReplaceLock => would("moves it to quarantine/ and makes the lock again"),
            Remedy::ReplaceFolder => would("moves it to quarantine/ and makes the folder again, empty"),
            Remedy::Token => would("writes a token above all on record"),
            Remedy::Remove => would("removes it, as the next reserve does"),
            Remedy::Index => would("makes it anew from the records"),
            Remedy::Clean => would("keeps the whole file in quarantine/ and the lines that can be read here"),
            Remedy::Advice(advice) => Some(advice.clone()),
            Remedy::Nothing => None,
        }
    }
}

impl<C: Clock> FileEngine<C> {
    /// Checks everything in the store, and repairs what can be repaired if `repair` says so.
    ///
    /// Without repair nothing is written; the store's lock is held for moments, to look again at what looks wrong.
    /// With it, the lock is held while something is repaired, and let go of at least once a second.
    ///
    /// # Errors
    ///
    /// When the store cannot be read at all, lies on a network file system, or cannot be locked for a repair.
    pub fn check(&self, repair: Repair, progress: &dyn Progress) -> Result<Checked, EngineError> {
        let mut checked = Checked::default();
        let root = Folder::open(self.path(), self.safeguards).map_err(|error| match error {
            EngineError::Misplaced { path, .. } => EngineError::Incomplete {
                path,
                detail: "is not a real folder, and nothing in it is checked: put the store back, or move this away",
            },
            error => error,
        })?;
        let Some(root) = root else { return Ok(checked) };
        if root.is_empty()? {
            return Ok(checked);
        }
        network::refuse_network_file_system(&root)?;
        must_be_here(&root)?;

        // What everything else stands on.
        let base = std::iter::once(Subject::Lock).chain(FOLDERS.map(Subject::Folder));
        let base = base.chain([Subject::Folder(super::index::FOLDER), Subject::Folder(QUARANTINE)]);
        let view = View::of_base(self, &root);
        let suspects = view.suspicious(base);
        settle(&view, suspects, repair, &mut checked)?;
        let store = match Store::open(self.path(), self.safeguards) {
            Ok(Some(store)) => store,
            Ok(None) => return Ok(checked.sorted()),
            // It was told, and the rest is checked when it is put right.
            Err(_) if !checked.findings.is_empty() => return Ok(checked.sorted()),
            Err(error) => return Err(error),
        };

        let survey = survey::survey(self, &root, &store, progress)?;
        progress.end();
        checked.counts = survey.counts;
        let view = View { store: Some(&store), survey: Some(&survey), ..View::of_base(self, &root) };
        // The order is that of their dependence: a token has to be above those of the records that stay, and an index
        // has to have what stands in the end.
        settle(&view, survey.suspects.clone(), repair, &mut checked)?;
        for last in [Subject::Token, Subject::Index] {
            let suspects = view.suspicious([last]);
            settle(&view, suspects, repair, &mut checked)?;
        }
        Ok(checked.sorted())
    }
}

/// Looks again at what is suspected, where nobody can be in the middle of a step, and tells what is wrong.
fn settle<C: Clock>(
    view: &View<'_, C>,
    suspects: Vec<Subject>,
    repair: Repair,
    checked: &mut Checked,
) -> Result<(), EngineError> {
    let mut suspects = suspects.into_iter().peekable();
    // A lock file that is none, or is not there, is held by nobody, and stops everybody who needs it.
    if let Some(lock) = suspects.next_if_eq(&Subject::Lock) {
        for wrong in view.look(&lock) {
            let repaired = (repair == Repair::Yes).then(|| view.repair_lock(&wrong));
            checked.tell(wrong, repaired);
        }
    }
    if repair == Repair::No {
        confirm(view, suspects.collect(), checked);
        return Ok(());
    }
    while suspects.peek().is_some() {
        let lock = StoreLock::acquire(view.root)?;
        let held = Stopwatch::start();
        for subject in suspects.by_ref() {
            for wrong in view.look(&subject) {
                let done = view.repair_under(&lock, &subject, &wrong);
                checked.tell(wrong, Some(done));
            }
            if held.elapsed() >= HOLD_MAX {
                break;
            }
        }
    }
    Ok(())
}

/// Tells what is still wrong under the store's lock; without it, what cannot be a writer's half step.
fn confirm<C: Clock>(view: &View<'_, C>, mut suspects: Vec<Subject>, checked: &mut Checked) {
    let mut tries = 0;
    while !suspects.is_empty() {
        let lock = StoreLock::acquire_within(view.root, LOOK_WAIT);
        tries += usize::from(lock.is_err());
        if lock.is_ok() || tries >= LOOK_TRIES {
            let held = Stopwatch::start();
            let mut left = suspects.into_iter();
            for subject in left.by_ref() {
                if lock.is_err() && subject.needs_lock() {
                    checked.leave_out(view, &lock);
                    continue;
                }
                for wrong in view.look(&subject) {
                    checked.tell(wrong, None);
                }
                if lock.is_ok() && held.elapsed() >= HOLD_MAX {
                    break;
                }
            }
            suspects = left.collect();
        } else {
            // What is gone by now was somebody's step.
            suspects.retain(|subject| !view.look(subject).is_empty());
        }
    }
}

impl Checked {
    /// Adds what is wrong, and what became of its repair.
    fn tell(&mut self, wrong: Wrong, repaired: Option<Result<String, String>>) {
        let Wrong { path, kind, detail, remedy } = wrong;
        let (repaired, action) = match repaired {
            None => (false, remedy.action()),
            Some(Ok(done)) => (true, Some(done)),
            Some(Err(_)) if matches!(remedy, Remedy::Advice(_) | Remedy::Nothing) => (false, remedy.action()),
            Some(Err(why)) => (false, Some(why)),
        };
        let finding = Finding { path, kind, detail, repaired, action };
        if kind.is_notice() { self.notices.push(finding) } else { self.findings.push(finding) }
    }

    /// Tells once that the store's lock could not be had.
    fn leave_out<C>(&mut self, view: &View<'_, C>, lock: &Result<StoreLock, EngineError>) {
        if !self.notices.iter().any(|notice| notice.kind == FindingKind::Busy) {
            let why = lock.as_ref().err().map(ToString::to_string).unwrap_or_default();
            self.notices.push(Finding {
                path: shown(&view.root.path_of(LOCK_NAME)),
                kind: FindingKind::Busy,
                detail: format!("{why}: what may be a writer's half step was left out"),
                repaired: false,
                action: Some("check again".to_owned()),
            });
        }
    }

    fn sorted(mut self) -> Checked {
        self.findings.sort();
        self.findings.dedup();
        self.notices.sort();
        self.notices.dedup();
        self
    }
}

/// A path as answers show it.
fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
