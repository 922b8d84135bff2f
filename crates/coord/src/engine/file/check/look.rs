//! One subject, looked at: what is wrong with it now, in a sentence, and what can be done about it.

use std::ffi::OsStr;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use serde_json::Value;

use super::survey::Survey;
use super::{BadLine, FindingKind, QUARANTINE, Records, Remedy, Subject, Wrong, shown};
use crate::address::Address;
use crate::archive::Archived;
use crate::clock::Clock;
use crate::engine::EngineError;
use crate::engine::file::archive::is_month;
use crate::engine::file::index::{self, FOLDER as INDEX_FOLDER, Health};
use crate::engine::file::layout::{
    FOLDERS, Folder, LOCK_NAME, RECORD_SUFFIX, Room, Store, TOKEN_NAME, record_name,
};
use crate::engine::file::lock::{RecordLock, RecordLocking};
use crate::engine::file::waiting::TICKET_PREFIX;
use crate::engine::file::{FileEngine, HEARTBEAT_PREFIX, find, standing, tokens, waiting};
use crate::id::{ReservationId, Token};
use crate::lease::Lease;
use crate::queue::Ticket;
use crate::record::{Heartbeat, RecordError, Release, Reservation, Supersession};

const NO_FILE: &str =
    "it is not a regular file, and the store follows no link and reads no folder as a record";

/// What looks are made at, and what the survey knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'v, C> {
    pub(super) engine: &'v FileEngine<C>,
    pub(super) root: &'v Folder,
    pub(super) store: Option<&'v Store>,
    pub(super) survey: Option<&'v Survey>,
}

/// What one look at the type of something says; `None` if nothing is there.
pub(super) fn type_of(folder: &Folder, name: &OsStr) -> Result<Option<FileType>, EngineError> {
    match rustix::fs::statat(folder.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(folder.unreadable(&name.to_string_lossy(), errno)),
    }
}

/// The reservation that a file name says.
pub(super) fn id_of(name: &OsStr) -> Option<ReservationId> {
    name.to_str()?.strip_suffix(RECORD_SUFFIX)?.parse().ok()
}

impl<'v, C: Clock> View<'v, C> {
    /// Of the folders, before it is known whether there is a store in them.
    pub(super) const fn of_base(engine: &'v FileEngine<C>, root: &'v Folder) -> View<'v, C> {
        View { engine, root, store: None, survey: None }
    }

    /// Those at which a look finds something.
    pub(super) fn suspicious(&self, subjects: impl IntoIterator<Item = Subject>) -> Vec<Subject> {
        subjects.into_iter().filter(|subject| !self.look(subject).is_empty()).collect()
    }

    /// What is wrong with `subject` now; nothing if it is right, or gone.
    pub(super) fn look(&self, subject: &Subject) -> Vec<Wrong> {
        let found = match subject {
            Subject::Lock => self.look_at_lock().map(Vec::from_iter),
            Subject::Folder(name) => self.look_at_folder(name).map(Vec::from_iter),
            Subject::Top(name) => self.look_at_top(name).map(Vec::from_iter),
            Subject::Unfinished(name) => self.look_at_unfinished(name).map(Vec::from_iter),
            _ => match (self.store, self.survey) {
                (Some(store), Some(survey)) => self.look_in(store, survey, subject),
                _ => Ok(Vec::new()),
            },
        };
        found.unwrap_or_else(|error| vec![unreadable(&error)])
    }

    fn look_in(&self, store: &Store, survey: &Survey, subject: &Subject) -> Result<Vec<Wrong>, EngineError> {
        let one = match subject {
            Subject::Entry { records, name } => look_at_entry(store, survey, *records, name)?,
            Subject::TokenTwice(one, other) => look_at_token_twice(store, survey, *one, *other)?,
            Subject::Conflict(older, newer) => self.look_at_conflict(store, *older, *newer)?,
            Subject::Token => {
                look_at_token(store, survey, self.engine.clock.now().milliseconds_since_1970())?
            }
            Subject::Index => self.look_at_index(store, survey)?,
            Subject::IndexEntry(name) => look_at_index_entry(store, name)?,
            Subject::ArchiveEntry(name) => look_at_archive_entry(store, name)?,
            Subject::ArchiveLines { name, bad, has_tail } => {
                return look_at_lines(store, name, bad, *has_tail);
            }
            Subject::ArchiveBounds { name, number } => Some(archive_wrong(
                store,
                name,
                FindingKind::ArchiveBounds,
                format!(
                    "line {number} says that all before it ended earlier, or had smaller tokens, than they did: it was \
                     edited, or files were put together, and `log` may stop too early"
                ),
                Remedy::Advice("restore the file from before it was edited".to_owned()),
            )),
            Subject::ArchivedTwice { name, number, id } => Some(archive_wrong(
                store,
                name,
                FindingKind::ArchivedTwice,
                format!(
                    "line {number} is a later one of {id}: it was revived after it had been archived; the later counts"
                ),
                Remedy::Nothing,
            )),
            Subject::HalfArchived(id) => self.look_at_half_archived(store, survey, *id)?,
            Subject::Ticket(name) => look_at_ticket(store, name)?,
            Subject::Temporary(name) => {
                // One that a process is renewing right now is its own.
                let is_ticket = name.to_str().filter(|name| name.starts_with(TICKET_PREFIX));
                match is_ticket
                    .map(|name| waiting::is_left_over(store, name, self.engine.clock.now()))
                    .transpose()?
                {
                    Some(false) => None,
                    _ => look_at_temporary(store, name)?,
                }
            }
            Subject::Lock | Subject::Folder(_) | Subject::Top(_) | Subject::Unfinished(_) => None,
        };
        Ok(one.into_iter().collect())
    }

    fn look_at_lock(&self) -> Result<Option<Wrong>, EngineError> {
        let (kind, detail, remedy) = match type_of(self.root, LOCK_NAME.as_ref())? {
            Some(FileType::RegularFile) => return Ok(None),
            Some(_) => (FindingKind::NotAFile, "the lock is not a regular file", Remedy::ReplaceLock),
            None => (FindingKind::LockMissing, "the lock is missing", Remedy::MakeLock),
        };
        let path = shown(&self.root.path_of(LOCK_NAME));
        Ok(Some(Wrong { path, kind, detail: format!("{detail}: nobody can reserve or release"), remedy }))
    }

    fn look_at_folder(&self, name: &'static str) -> Result<Option<Wrong>, EngineError> {
        let path = shown(&self.root.path_of(name));
        let is_needed = FOLDERS.contains(&name) && name != "waiting";
        let (kind, detail, remedy) = match type_of(self.root, name.as_ref())? {
            Some(FileType::Directory) => match self.root.below(name)?.map(|folder| folder.is_empty()) {
                Some(Err(error)) => return Err(error),
                _ => return Ok(None),
            },
            Some(_) if name == QUARANTINE => (
                FindingKind::FolderReplaced,
                "something that is no folder has the name of the quarantine",
                Remedy::Advice("move it out of the store".to_owned()),
            ),
            Some(_) => (
                FindingKind::FolderReplaced,
                "something that is no folder has the name of one of the store's: what was in it is not there any more",
                Remedy::ReplaceFolder,
            ),
            None if is_needed => (
                FindingKind::FolderMissing,
                "a folder of the store is missing, and what was in it is lost: whoever held something must reserve again",
                Remedy::MakeFolder,
            ),
            None => return Ok(None),
        };
        Ok(Some(Wrong { path, kind, detail: detail.to_owned(), remedy }))
    }

    fn look_at_top(&self, name: &OsStr) -> Result<Option<Wrong>, EngineError> {
        Ok(type_of(self.root, name)?.map(|_| Wrong {
            path: shown(&self.root.path_of(&name.to_string_lossy())),
            kind: FindingKind::UnknownFile,
            detail: "this version knows nothing of that name: a person or another version put it there"
                .to_owned(),
            remedy: Remedy::Nothing,
        }))
    }

    fn look_at_unfinished(&self, name: &OsStr) -> Result<Option<Wrong>, EngineError> {
        let Some(parent) = self.parent()? else { return Ok(None) };
        Ok(type_of(&parent, name)?.map(|_| Wrong {
            path: shown(&parent.path_of(&name.to_string_lossy())),
            kind: FindingKind::UnfinishedStore,
            detail:
                "a store that was never finished: its builder was killed, and the next `muse init` removes it"
                    .to_owned(),
            remedy: Remedy::Quarantine,
        }))
    }

    /// The folder that the store lies in.
    pub(super) fn parent(&self) -> Result<Option<Folder>, EngineError> {
        match self.engine.path().parent() {
            Some(parent) => Folder::open(parent, self.engine.safeguards),
            None => Ok(None),
        }
    }

    fn look_at_conflict(
        &self,
        store: &Store,
        older: ReservationId,
        newer: ReservationId,
    ) -> Result<Option<Wrong>, EngineError> {
        let now = self.engine.clock.now();
        let (Some(first), Some(second)) = (standing(store, older)?, standing(store, newer)?) else {
            return Ok(None);
        };
        // The older one once more: it may have been released before the newer one was granted.
        if standing(store, older)?.is_none() || !stand_against(&first.reservation, &second.reservation) {
            return Ok(None);
        }
        let tell = |lease: &Lease| {
            format!(
                "run `{}`, token {}, {}",
                lease.reservation.run_id,
                lease.reservation.token,
                lease.state(now).as_str()
            )
        };
        Ok(Some(Wrong {
            path: shown(&store.reservations.path_of(&record_name(newer))),
            kind: FindingKind::Conflict,
            detail: format!(
                "it conflicts with {older}, and both stand ({}; {}): muse grants no such two, so one was put here or a \
                 mark was taken away",
                tell(&first),
                tell(&second)
            ),
            remedy: Remedy::Advice(format!(
                "ask both runs, then release one: muse coord release ID --run-id ID --force --reason TEXT ({older} or \
                 {newer})"
            )),
        }))
    }

    fn look_at_index(&self, store: &Store, survey: &Survey) -> Result<Option<Wrong>, EngineError> {
        if !matches!(type_of(&store.root, INDEX_FOLDER.as_ref())?, None | Some(FileType::Directory)) {
            return Ok(None);
        }
        // One that is made when the store outgrows the limit is made by the reserve after that.
        let is_due = store.reservations.has_more_than(self.engine.index_above.saturating_add(1))?;
        let (kind, detail) = match index::health(store, &survey.standing)? {
            Health::Missing if is_due => {
                let detail = "there is no index: each reserve reads every record until one is made";
                (FindingKind::IndexMissing, detail.to_owned())
            }
            Health::Sound { .. } | Health::Impossible | Health::Missing | Health::Old | Health::Busy => {
                return Ok(None);
            }
            Health::Foreign => {
                (FindingKind::IndexForeign, "another version of muse made this index".to_owned())
            }
            Health::Damaged(fault) => {
                (FindingKind::IndexDamaged, format!("the index cannot be read ({fault})"))
            }
            Health::Incomplete(lacking) => {
                let shown = lacking.first().map(ToString::to_string).unwrap_or_default();
                let detail = format!(
                    "the index does not have {} reservations that stand, {shown} for one: what they hold could be \
                     granted to others",
                    lacking.len()
                );
                (FindingKind::IndexIncomplete, detail)
            }
        };
        Ok(Some(Wrong {
            path: shown(&store.root.path_of(INDEX_FOLDER)),
            kind,
            detail,
            remedy: Remedy::Index,
        }))
    }

    fn look_at_half_archived(
        &self,
        store: &Store,
        survey: &Survey,
        id: ReservationId,
    ) -> Result<Option<Wrong>, EngineError> {
        let Some(archived) = survey.archived(id) else { return Ok(None) };
        let Some(lease) = find(store, id)? else { return Ok(None) };
        // One that was revived is live, and gets another line when it is over.
        Ok(archived.state.covers(archived.ended_at, &lease, self.engine.clock.now()).then(|| Wrong {
            path: shown(&store.reservations.path_of(&record_name(id))),
            kind: FindingKind::HalfArchived,
            detail: "it is in the archive too: whoever moved it was killed, and the next gc removes it here"
                .to_owned(),
            remedy: Remedy::Nothing,
        }))
    }
}

fn look_at_entry(
    store: &Store,
    survey: &Survey,
    records: Records,
    name: &OsStr,
) -> Result<Option<Wrong>, EngineError> {
    let folder = records.of(store);
    let path = shown(&folder.path_of(&name.to_string_lossy()));
    let Some(file_type) = type_of(folder, name)? else { return Ok(None) };
    let wrong = |kind, detail: String, remedy| Ok(Some(Wrong { path: path.clone(), kind, detail, remedy }));
    let Some(id) = id_of(name) else {
        let lost = if records == Records::Reservations {
            "; if it was a reservation, whoever held it must reserve again"
        } else {
            ""
        };
        let detail =
            format!("its name is not that of a record: it was renamed, or does not belong here{lost}");
        return wrong(FindingKind::Stray, detail, Remedy::Quarantine);
    };
    let has_record = store.reservations.holds(&record_name(id))?;
    let remedy = match records {
        Records::Releases if has_record => Remedy::Replace,
        Records::Superseded if has_record => Remedy::Retire,
        _ => Remedy::Quarantine,
    };
    if file_type != FileType::RegularFile {
        let detail = format!("{NO_FILE}{}", consequence(store, records, id)?);
        return wrong(FindingKind::NotAFile, detail, remedy);
    }
    let read = match records {
        Records::Reservations => return look_at_reservation(store, id, path),
        Records::Heartbeats => store.heartbeats.companion::<Heartbeat>(id).map(|read| read.is_some()),
        Records::Releases => store.releases.companion::<Release>(id).map(|read| read.is_some()),
        Records::Superseded => store.superseded.companion::<Supersession>(id).map(|read| read.is_some()),
    };
    match read {
        Ok(false) => Ok(None),
        Ok(true) if has_record || store.reservations.holds(&record_name(id))? => Ok(None),
        Ok(true) if survey.archived(id).is_some() => wrong(
            FindingKind::HalfArchived,
            "its reservation is in the archive: whoever moved it was killed, and the next gc goes on".to_owned(),
            Remedy::Nothing,
        ),
        Ok(true) => wrong(
            FindingKind::Orphan,
            "there is no reservation that it belongs to, neither here nor in the archive: the record was taken away"
                .to_owned(),
            Remedy::Quarantine,
        ),
        Err(error) => {
            let (kind, reason) = reason(&error, None);
            let end = consequence(store, records, id)?;
            wrong(kind, format!("{reason}{end}"), remedy_for(kind, remedy))
        }
    }
}

fn look_at_reservation(store: &Store, id: ReservationId, path: String) -> Result<Option<Wrong>, EngineError> {
    let wrong =
        |kind, detail: String| Wrong { path, kind, detail, remedy: remedy_for(kind, Remedy::Quarantine) };
    let end = || consequence(store, Records::Reservations, id);
    match store.reservation(id) {
        Ok(Some(reservation)) if reservation.expires_at < reservation.created_at => Ok(Some(wrong(
            FindingKind::BadTimes,
            format!("it expires before it was granted, and muse grants nothing like that{}", end()?),
        ))),
        Ok(_) => Ok(None),
        Err(error) => {
            let bytes = store.reservations.read(&record_name(id)).ok().flatten();
            let (kind, reason) = reason(&error, bytes.as_deref());
            Ok(Some(wrong(kind, format!("{reason}{}", end()?))))
        }
    }
}

/// What the damage of a record means for whom.
fn consequence(store: &Store, records: Records, id: ReservationId) -> Result<&'static str, EngineError> {
    let name = record_name(id);
    Ok(match records {
        Records::Reservations if store.releases.holds(&name)? || store.superseded.holds(&name)? => {
            "; the reservation has ended, and is in nobody's way"
        }
        Records::Reservations => "; what it holds is not known, so whoever held it must reserve again",
        Records::Heartbeats => {
            "; it counts as not sent once it is moved away: the holder should send another"
        }
        Records::Releases => "; the reservation stays released, and by whom and why is lost",
        Records::Superseded => "; nobody can tell the old holder who has its addresses now",
    })
}

/// What a person has to do where moving a file away is not right.
fn remedy_for(kind: FindingKind, remedy: Remedy) -> Remedy {
    match kind {
        FindingKind::TooNew => {
            Remedy::Advice("upgrade muse; what a newer version wrote is never moved".to_owned())
        }
        FindingKind::Unreadable => Remedy::Advice(
            "check its permissions and the disk; it may be whole, so it is not moved".to_owned(),
        ),
        _ => remedy,
    }
}

/// The word and the sentence for an error of reading a record.
pub(super) fn reason(error: &EngineError, bytes: Option<&[u8]>) -> (FindingKind, String) {
    match error {
        EngineError::Damaged { source, .. } | EngineError::DamagedLine { source, .. } => {
            let kind = match source {
                RecordError::SchemaTooNew { .. } => FindingKind::TooNew,
                RecordError::OtherReservation { .. } | RecordError::OtherTicket { .. } => {
                    FindingKind::Misnamed
                }
                RecordError::Edited => FindingKind::Edited,
                RecordError::Addresses => FindingKind::BadAddresses,
                RecordError::Malformed(_) if source.is_truncation() => FindingKind::Truncated,
                RecordError::Malformed(_) if bytes.is_some_and(has_bad_addresses) => {
                    FindingKind::BadAddresses
                }
                RecordError::Malformed(_) => FindingKind::Malformed,
            };
            (kind, source.to_string())
        }
        // The caller has seen that it is a regular file.
        EngineError::Misplaced { detail, .. } => (FindingKind::TooLarge, (*detail).to_owned()),
        EngineError::Unreadable { source, .. } => {
            (FindingKind::Unreadable, format!("it cannot be read ({source})"))
        }
        other => (FindingKind::Unreadable, other.to_string()),
    }
}

/// Whether it is JSON whose addresses are not spelled canonically.
fn has_bad_addresses(bytes: &[u8]) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(bytes) else { return false };
    fields.get("addresses").and_then(Value::as_array).is_some_and(|addresses| {
        addresses
            .iter()
            .filter_map(Value::as_str)
            .any(|address| Address::try_from(address.to_owned()).is_err())
    })
}

fn unreadable(error: &EngineError) -> Wrong {
    let path = match error {
        EngineError::Damaged { path, .. }
        | EngineError::DamagedLine { path, .. }
        | EngineError::Misplaced { path, .. }
        | EngineError::Incomplete { path, .. }
        | EngineError::Gone { path }
        | EngineError::Unreadable { path, .. }
        | EngineError::Unwritable { path, .. }
        | EngineError::Busy { path, .. }
        | EngineError::UnsupportedFileSystem { path, .. }
        | EngineError::TokensExhausted { path } => shown(path),
        // Not of a folder.
        EngineError::Remote { .. } | EngineError::TooManyLapsed { .. } | EngineError::Moved { .. } => {
            String::new()
        }
    };
    let (kind, detail) = (FindingKind::Unreadable, reason(error, None).1);
    Wrong { path, kind, detail, remedy: remedy_for(kind, Remedy::Nothing) }
}

/// Whether the newer of two standing reservations could not have been granted while the older one stood.
pub(super) fn stand_against(older: &Reservation, newer: &Reservation) -> bool {
    older.run_id != newer.run_id
        && !newer.run_id.descends_from(&older.run_id)
        && newer.mode.conflicts_with(older.mode)
        && newer.addresses.iter().any(|address| older.addresses.iter().any(|held| address.overlaps(held)))
}

fn look_at_token_twice(
    store: &Store,
    survey: &Survey,
    one: ReservationId,
    other: ReservationId,
) -> Result<Option<Wrong>, EngineError> {
    let Some(lease) = standing(store, one)? else { return Ok(None) };
    if survey.archived(other).is_none() && store.reservation(other)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Wrong {
        path: shown(&store.reservations.path_of(&record_name(one))),
        kind: FindingKind::TokenTwice,
        detail: format!(
            "it has the token {} of {other} too: a token is granted once, so one of them was put here, and whoever \
             compares tokens cannot tell them apart",
            lease.reservation.token
        ),
        remedy: Remedy::Advice(format!(
            "let run `{}` release it and reserve again",
            lease.reservation.run_id
        )),
    }))
}

fn look_at_token(
    store: &Store,
    survey: &Survey,
    now_milliseconds: u64,
) -> Result<Option<Wrong>, EngineError> {
    let path = shown(&store.root.path_of(TOKEN_NAME));
    let remedy = match survey.unread(store)? {
        // As with `muse init`: the greatest token may be in what cannot be read.
        Some(path) => Remedy::Advice(format!("put {path} right first: it may have the greatest token")),
        None => Remedy::Token,
    };
    let greatest = survey.greatest.map_or(0, Token::get);
    let (kind, detail) = match tokens::last(store) {
        Ok(last) if last.get() < greatest => (
            FindingKind::TokenBehind,
            format!(
                "the last token is {last}, and there is a reservation with {greatest}: tokens could repeat"
            ),
        ),
        Ok(last) if Token::next(Some(last), now_milliseconds).is_none() => {
            (FindingKind::TokenDamaged, "it holds the last possible token: nothing can be granted".to_owned())
        }
        Ok(_) => return Ok(None),
        Err(EngineError::Unreadable { source, .. }) => {
            let (kind, detail) = (FindingKind::Unreadable, format!("it cannot be read ({source})"));
            return Ok(Some(Wrong { path, kind, detail, remedy: remedy_for(kind, Remedy::Nothing) }));
        }
        Err(_) if store.root.holds(TOKEN_NAME)? => {
            (FindingKind::TokenDamaged, "it does not hold the last token: nothing can be granted".to_owned())
        }
        Err(_) => (
            FindingKind::TokenMissing,
            "the file with the last token is missing: nothing can be granted".to_owned(),
        ),
    };
    Ok(Some(Wrong { path, kind, detail, remedy }))
}

fn look_at_index_entry(store: &Store, name: &str) -> Result<Option<Wrong>, EngineError> {
    let Some((_, file_type)) = index::file_names(store)?.into_iter().find(|(its, _)| its == name) else {
        return Ok(None);
    };
    let path = shown(&store.root.path_of(INDEX_FOLDER).join(name));
    if file_type == FileType::RegularFile && index::is_draft(name) && index::is_being_made(store, name)? {
        return Ok(None);
    }
    let (kind, detail, remedy) = if file_type == FileType::RegularFile && index::is_draft(name) {
        let detail = "left by a process that was killed while it made an index: nobody reads it";
        (FindingKind::IndexOld, detail, Remedy::Remove)
    } else if file_type == FileType::RegularFile && index::is_index_file(name) {
        let detail = "the index of another boot: the next writer removes it unread, for it was never synced";
        (FindingKind::IndexOld, detail, Remedy::Remove)
    } else {
        (FindingKind::Stray, "it is not part of an index: it does not belong here", Remedy::Quarantine)
    };
    Ok(Some(Wrong { path, kind, detail: detail.to_owned(), remedy }))
}

/// The folder of the archive.
pub(super) fn archive(store: &Store) -> Result<Folder, EngineError> {
    store.root.room(Room::Archive)?.ok_or_else(|| store.root.missing(Room::Archive))
}

fn archive_wrong(store: &Store, name: &str, kind: FindingKind, detail: String, remedy: Remedy) -> Wrong {
    Wrong { path: shown(&store.root.path_of("archive").join(name)), kind, detail, remedy }
}

fn look_at_archive_entry(store: &Store, name: &OsStr) -> Result<Option<Wrong>, EngineError> {
    let folder = archive(store)?;
    let Some(file_type) = type_of(&folder, name)? else { return Ok(None) };
    let text = name.to_string_lossy();
    let (kind, detail) = match (name.to_str().is_some_and(is_month), file_type) {
        (true, FileType::RegularFile) => {
            // Only what cannot be opened is looked at here.
            folder.open_file(&text)?;
            return Ok(None);
        }
        (true, _) => (FindingKind::NotAFile, NO_FILE),
        (false, _) => (
            FindingKind::Stray,
            "its name is not that of an archive file, such as 2026-11.jsonl: it does not belong here",
        ),
    };
    Ok(Some(archive_wrong(store, &text, kind, detail.to_owned(), Remedy::Quarantine)))
}

/// What is wrong with a line, if it still is.
pub(super) fn line_fault(
    folder: &Folder,
    name: &str,
    line: &BadLine,
) -> Result<Option<(FindingKind, String)>, EngineError> {
    let Some(open) = folder.open_file(name)? else { return Ok(None) };
    let length = usize::try_from(line.length).unwrap_or(usize::MAX);
    if length > super::survey::LINE_BYTES_MAX {
        return Ok(Some((FindingKind::ArchiveLine, "it is too long for a line".to_owned())));
    }
    let mut bytes = vec![0; length];
    if open.file.read_exact_at(&mut bytes, line.offset).is_err() || bytes.pop() != Some(b'\n') {
        // The writer has cut it off meanwhile.
        return Ok(None);
    }
    Ok(Archived::from_line(&bytes).err().map(|source| match source {
        RecordError::SchemaTooNew { .. } => (FindingKind::TooNew, source.to_string()),
        source => (FindingKind::ArchiveLine, source.to_string()),
    }))
}

/// Whether something stands after the last newline.
pub(super) fn has_tail(folder: &Folder, name: &str) -> Result<bool, EngineError> {
    let Some(open) = folder.open_file(name)? else { return Ok(false) };
    let size = u64::try_from(open.stat.st_size).unwrap_or_default();
    let mut last = [b'\n'];
    if size > 0 {
        open.file.read_exact_at(&mut last, size - 1).map_err(|error| folder.unreadable(name, error))?;
    }
    Ok(last != [b'\n'])
}

fn look_at_lines(store: &Store, name: &str, bad: &[BadLine], tail: bool) -> Result<Vec<Wrong>, EngineError> {
    let folder = archive(store)?;
    let mut found = Vec::new();
    for line in bad {
        if let Some((kind, reason)) = line_fault(&folder, name, line)? {
            let detail = format!("line {}: {reason}", line.number);
            let remedy = remedy_for(kind, Remedy::Clean);
            found.push(archive_wrong(store, name, kind, detail, remedy));
        }
    }
    if tail && has_tail(&folder, name)? {
        let detail = "its last line is torn: whoever wrote it was killed; it is ignored, its reservations are still \
                      live, and the next gc that writes here cuts it off";
        found.push(archive_wrong(store, name, FindingKind::ArchiveTorn, detail.to_owned(), Remedy::Clean));
    }
    Ok(found)
}

/// What is wrong with something in the folder of the tickets.
pub(super) fn look_at_ticket(store: &Store, name: &OsStr) -> Result<Option<Wrong>, EngineError> {
    let Some(folder) = waiting::folder(store)? else { return Ok(None) };
    let Some(file_type) = type_of(&folder, name)? else { return Ok(None) };
    let text = name.to_string_lossy();
    let wrong = |kind, detail: &str| {
        let detail =
            format!("{detail}; it is nobody's place in the queue, and whoever waits with it draws another");
        let path = shown(&folder.path_of(&text));
        Ok(Some(Wrong { path, kind, detail, remedy: remedy_for(kind, Remedy::Quarantine) }))
    };
    let Some(number) = name.to_str().and_then(waiting::number_of) else {
        return wrong(FindingKind::Stray, "its name is not that of a ticket: it does not belong here");
    };
    if file_type != FileType::RegularFile {
        return wrong(FindingKind::NotAFile, NO_FILE);
    }
    let read = match folder.read(&text) {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => {
            Ticket::from_bytes(number, &bytes).map_err(|source| (folder.damaged(&text, source), Some(bytes)))
        }
        Err(error) => Err((error, None)),
    };
    match read {
        Ok(_) => Ok(None),
        Err((error, bytes)) => {
            let (kind, reason) = reason(&error, bytes.as_deref());
            wrong(kind, &reason)
        }
    }
}

fn look_at_temporary(store: &Store, name: &OsStr) -> Result<Option<Wrong>, EngineError> {
    let Some(file_type) = type_of(&store.temporary, name)? else { return Ok(None) };
    let text = name.to_string_lossy();
    let beaten = text
        .strip_prefix(HEARTBEAT_PREFIX)
        .and_then(|digits| format!("{}{digits}", ReservationId::PREFIX).parse().ok());
    let locking = beaten.map(|id| RecordLock::acquire(store, id, std::time::Duration::ZERO)).transpose();
    if matches!(locking, Ok(Some(RecordLocking::Busy(_))) | Err(EngineError::Unreadable { .. })) {
        return Ok(None);
    }
    let path = shown(&store.temporary.path_of(&text));
    // What is removed by its name, as the next writer does; a folder and what is not UTF-8 it leaves.
    Ok(Some(if file_type == FileType::Directory || name.to_str().is_none() {
        let detail = "it is no temporary file, and nobody removes it: it does not belong here".to_owned();
        Wrong { path, kind: FindingKind::Stray, detail, remedy: Remedy::Quarantine }
    } else {
        let detail = "what a killed process was writing: it has no meaning".to_owned();
        Wrong { path, kind: FindingKind::TemporaryFile, detail, remedy: Remedy::Remove }
    }))
}
