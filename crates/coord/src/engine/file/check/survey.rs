//! Reads everything once, without a lock, and suspects.
//!
//! The order makes the comparisons right beside writers: a record's companions are listed after the records, the
//! archive is read after both, and the token and the index last of all. So whatever a writer published in the
//! meantime is only ever missing from what was read earlier.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::Dir;
use rustix::io::Errno;

use super::look::{archive, id_of, look_at_ticket, stand_against};
use super::{BadLine, Counts, QUARANTINE, Records, Subject, shown};
use crate::archive::{Archived, Bounds, Ending};
use crate::clock::{Clock, Timestamp};
use crate::engine::EngineError;
use crate::engine::file::archive::is_month;
pub(super) use crate::engine::file::backwards::LINE_BYTES_MAX;
use crate::engine::file::index::{self, FOLDER as INDEX_FOLDER, Health};
use crate::engine::file::layout::{FOLDERS, Folder, LOCK_NAME, Store, TOKEN_NAME, record_name};
use crate::engine::file::prepare::BUILDING_PREFIX;
use crate::engine::file::{FileEngine, read_each, waiting};
use crate::id::{ReservationId, Token};
use crate::progress::Progress;
use crate::record::{Heartbeat, Mode, Release, Reservation, Supersession};

/// How many records are read between two reports to the progress.
const RECORDS_PER_REPORT: usize = 1024;

/// How many conflicts and repeated tokens are told: more says no more, and a forged store may have millions.
const PAIRS_MAX: usize = 100;

/// What a reservation is in the archive: what of its newest line matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    id: ReservationId,
    token: Token,
    pub(super) state: Ending,
    pub(super) ended_at: Timestamp,
    position: usize,
}

/// What a survey found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) suspects: Vec<Subject>,
    pub(super) counts: Counts,
    /// Those that are neither released nor superseded, by what the listings said.
    pub(super) standing: Vec<Reservation>,
    /// The greatest token on record.
    pub(super) greatest: Option<Token>,
    /// Reservations that could not be read.
    unread: Vec<ReservationId>,
    /// Sorted by id; the newest line of each.
    archived: Vec<Line>,
}

impl Survey {
    /// The newest line of `id` in the archive.
    pub(super) fn archived(&self, id: ReservationId) -> Option<Line> {
        let position = self.archived.binary_search_by_key(&id, |line| line.id).ok()?;
        self.archived.get(position).copied()
    }

    /// A reservation that cannot be read, that stands in the store still, and that nobody released: its token could be
    /// the greatest.
    pub(super) fn unread(&self, store: &Store) -> Result<Option<String>, EngineError> {
        for id in &self.unread {
            let name = record_name(*id);
            if store.reservations.holds(&name)?
                && !store.releases.holds(&name)?
                && store.reservation(*id).is_err()
            {
                return Ok(Some(shown(&store.reservations.path_of(&name))));
            }
        }
        Ok(None)
    }
}

/// The names in a folder, as they are.
pub(super) fn names(folder: &Folder) -> Result<Vec<OsString>, EngineError> {
    let unreadable = |errno: Errno| folder.unreadable("", errno);
    let mut names = Vec::new();
    for entry in Dir::read_from(folder.fd()).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Surveys a store.
pub(super) fn survey<C: Clock>(
    engine: &FileEngine<C>,
    root: &Folder,
    store: &Store,
    progress: &dyn Progress,
) -> Result<Survey, EngineError> {
    let mut survey = Survey::default();
    for name in names(root)? {
        let text = name.to_string_lossy();
        let is_known = FOLDERS.contains(&&*text)
            || [LOCK_NAME, TOKEN_NAME, INDEX_FOLDER, QUARANTINE, "waiting"].contains(&&*text);
        if !is_known {
            survey.suspects.push(Subject::Top(name));
        }
    }
    if let Some(parent) = engine.path().parent()
        && let Some(parent) = Folder::open(parent, engine.safeguards)?
    {
        let unfinished = names(&parent)?.into_iter();
        let unfinished = unfinished.filter(|name| name.to_string_lossy().starts_with(BUILDING_PREFIX));
        survey.suspects.extend(unfinished.map(Subject::Unfinished));
    }
    let present = survey_records(store, progress, &mut survey)?;
    survey_archive(store, &present, progress, &mut survey)?;
    survey.suspects.extend(conflicts(&survey.standing));
    if let Ok(Some(folder)) = waiting::folder(store) {
        let names = names(&folder)?;
        survey.counts.tickets = names.len();
        let suspect = |name: &OsString| look_at_ticket(store, name).map_or(true, |wrong| wrong.is_some());
        survey.suspects.extend(names.into_iter().filter(suspect).map(Subject::Ticket));
    }
    survey.suspects.extend(names(&store.temporary)?.into_iter().map(Subject::Temporary));
    let current = index::current_name(store).unwrap_or_default();
    for (name, _) in index::file_names(store).unwrap_or_default() {
        if !name.starts_with(&current) || current.is_empty() || index::is_draft(&name) {
            survey.suspects.push(Subject::IndexEntry(name));
        }
    }
    progress.begin(None, "comparing the index");
    if let Ok(Health::Sound { entries }) = index::health(store, &survey.standing) {
        survey.counts.index_entries = entries;
    }
    Ok(survey)
}

/// A name among records, and the reservation that it says.
type Named = (OsString, Option<ReservationId>);

/// Reads the four folders of records. Returns the ids of the reservations.
fn survey_records(
    store: &Store,
    progress: &dyn Progress,
    survey: &mut Survey,
) -> Result<HashSet<ReservationId>, EngineError> {
    let mut listed: Vec<(Records, Vec<Named>)> = Vec::with_capacity(Records::ALL.len());
    for records in Records::ALL {
        let names = names(records.of(store))?.into_iter();
        listed.push((records, names.map(|name| (id_of(&name), name)).map(|(id, name)| (name, id)).collect()));
    }
    let ids = |records: Records| -> HashSet<ReservationId> {
        let found = listed.iter().filter(|(its, _)| *its == records);
        found.flat_map(|(_, names)| names.iter().filter_map(|(_, id)| *id)).collect()
    };
    let (present, released, superseded) =
        (ids(Records::Reservations), ids(Records::Releases), ids(Records::Superseded));

    progress.begin(Some(listed.iter().map(|(_, names)| names.len() as u64).sum()), "checking records");
    let mut tokens: Vec<(Token, ReservationId)> = Vec::new();
    for (records, names) in &listed {
        let strays = names.iter().filter(|(_, id)| id.is_none());
        survey
            .suspects
            .extend(strays.map(|(name, _)| Subject::Entry { records: *records, name: name.clone() }));
        let ids: Vec<ReservationId> = names.iter().filter_map(|(_, id)| *id).collect();
        for ids in ids.chunks(RECORDS_PER_REPORT) {
            let suspect =
                |id: &ReservationId| Subject::Entry { records: *records, name: record_name(*id).into() };
            if *records == Records::Reservations {
                survey.counts.records += ids.len();
                for (id, read) in ids.iter().zip(read_each(ids, |id| store.reservation(id))) {
                    match read {
                        Ok(Some(reservation)) => {
                            survey.greatest = survey.greatest.max(Some(reservation.token));
                            tokens.push((reservation.token, *id));
                            if reservation.expires_at < reservation.created_at {
                                survey.suspects.push(suspect(id));
                            }
                            if !released.contains(id) && !superseded.contains(id) {
                                survey.standing.push(reservation);
                            }
                        }
                        Ok(None) => {}
                        Err(_) => {
                            survey.unread.push(*id);
                            survey.suspects.push(suspect(id));
                        }
                    }
                }
            } else {
                survey.counts.companions += ids.len();
                let is_whole = read_each(ids, |id| is_whole(store, *records, id));
                let odd =
                    ids.iter().zip(is_whole).filter(|(id, is_whole)| !is_whole || !present.contains(*id));
                survey.suspects.extend(odd.map(|(id, _)| suspect(id)));
            }
            progress.advance(ids.len() as u64);
        }
    }
    tokens.sort_unstable();
    let standing: HashSet<ReservationId> =
        survey.standing.iter().map(|reservation| reservation.reservation_id).collect();
    let twice = tokens.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    let twice = twice.filter_map(|pair| {
        let (one, other) = (pair[0].1, pair[1].1);
        // What has ended is compared by nobody.
        let one_stands = standing.contains(&one);
        (one_stands || standing.contains(&other)).then_some(if one_stands {
            Subject::TokenTwice(one, other)
        } else {
            Subject::TokenTwice(other, one)
        })
    });
    survey.suspects.extend(twice.take(PAIRS_MAX));
    Ok(present)
}

/// Whether a companion can be read.
fn is_whole(store: &Store, records: Records, id: ReservationId) -> bool {
    match records {
        Records::Reservations => store.reservation(id).is_ok(),
        Records::Heartbeats => store.heartbeats.companion::<Heartbeat>(id).is_ok(),
        Records::Releases => store.releases.companion::<Release>(id).is_ok(),
        Records::Superseded => store.superseded.companion::<Supersession>(id).is_ok(),
    }
}

/// Reads every line of the archive, the oldest first.
fn survey_archive(
    store: &Store,
    present: &HashSet<ReservationId>,
    progress: &dyn Progress,
    survey: &mut Survey,
) -> Result<(), EngineError> {
    // Where it is missing, or no folder, that was told.
    let Ok(folder) = archive(store) else { return Ok(()) };
    let mut files = Vec::new();
    for name in names(&folder)? {
        match name.to_str().filter(|name| is_month(name)).map(|text| (text, folder.open_file(text))) {
            Some((text, Ok(Some(open)))) => files.push((text.to_owned(), open)),
            Some((_, Ok(None))) => {}
            Some((_, Err(_))) | None => survey.suspects.push(Subject::ArchiveEntry(name)),
        }
    }
    let bytes = files.iter().map(|(_, open)| u64::try_from(open.stat.st_size).unwrap_or_default()).sum();
    progress.begin(Some(bytes), "checking the archive");
    let mut bounds: Option<Bounds> = None;
    let mut lines: Vec<Line> = Vec::new();
    let mut places = Vec::new();
    for (file, (name, open)) in files.iter().enumerate() {
        let mut bad = Vec::new();
        let tail = each_line(&open.file, |place, line| {
            progress.advance(place.length);
            let Some(read) = line.and_then(|line| Archived::from_line(line).ok()) else {
                bad.push(place);
                return;
            };
            let is_bounded = bounds.is_none_or(|bounds| {
                read.before
                    .is_some_and(|before| before.token >= bounds.token && before.ended_at >= bounds.ended_at)
            });
            if !is_bounded {
                let subject = Subject::ArchiveBounds { name: name.clone(), number: place.number };
                survey.suspects.push(subject);
            }
            let (token, ended_at) = (read.reservation.token, read.ended_at);
            bounds = Some(bounds.map_or(Bounds { token, ended_at }, |bounds| Bounds {
                token: bounds.token.max(token),
                ended_at: bounds.ended_at.max(ended_at),
            }));
            lines.push(Line { id: read.id(), token, state: read.state, ended_at, position: places.len() });
            places.push((file, place.number));
        });
        let has_tail = tail.map_err(|source| folder.unreadable(name, source))?;
        if has_tail || !bad.is_empty() {
            survey.suspects.push(Subject::ArchiveLines { name: name.clone(), bad, has_tail });
        }
    }
    survey.counts.archived = lines.len();
    survey.greatest = survey.greatest.max(bounds.map(|bounds| bounds.token));

    lines.sort_unstable_by_key(|line| (line.id, line.position));
    for pair in lines.windows(2).filter(|pair| pair[0].id == pair[1].id).take(PAIRS_MAX) {
        let (file, number) = places[pair[1].position];
        survey.suspects.push(Subject::ArchivedTwice { name: files[file].0.clone(), number, id: pair[1].id });
    }
    // The newest line of each counts, and stands last.
    lines.reverse();
    lines.dedup_by_key(|line| line.id);
    lines.reverse();
    let half = lines.iter().filter(|line| present.contains(&line.id));
    survey.suspects.extend(half.map(|line| Subject::HalfArchived(line.id)));

    let standing: HashMap<Token, ReservationId> =
        survey.standing.iter().map(|reservation| (reservation.token, reservation.reservation_id)).collect();
    let twice = lines.iter().filter_map(|line| {
        let id = *standing.get(&line.token)?;
        (id != line.id).then_some(Subject::TokenTwice(id, line.id))
    });
    survey.suspects.extend(twice.take(PAIRS_MAX));
    survey.archived = lines;
    Ok(())
}

/// Calls `visit` with each line of a file and where it is; `None` for one that is too long. Returns whether something
/// stands after the last one.
fn each_line(file: &File, mut visit: impl FnMut(BadLine, Option<&[u8]>)) -> io::Result<bool> {
    let mut reader = BufReader::new(file);
    let mut place = BadLine { number: 1, offset: 0, length: 0 };
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut length = 0;
        let mut is_too_long = false;
        loop {
            let read = (&mut reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
            length += read as u64;
            if read == 0 {
                return Ok(length > 0);
            }
            if line.last() == Some(&b'\n') {
                break;
            }
            is_too_long = read == LINE_BYTES_MAX || is_too_long;
            line.clear();
        }
        place.length = length;
        let text = (!is_too_long && length == line.len() as u64).then(|| &line[..line.len() - 1]);
        visit(place, text);
        place = BadLine { number: place.number + 1, offset: place.offset + length, length: 0 };
    }
}

/// Who holds something at a node, as positions among those that stand.
#[derive(Debug, Default)]
struct Holders {
    exclusive: Vec<usize>,
    shared: Vec<usize>,
}

/// Pairs that cannot both stand. Each address is compared with what is at its node and above it only, and never with
/// what it could not conflict with.
fn conflicts(standing: &[Reservation]) -> Vec<Subject> {
    let mut nodes: BTreeMap<String, Holders> = BTreeMap::new();
    for (position, reservation) in standing.iter().enumerate() {
        for address in &reservation.addresses {
            let holders = nodes.entry(address.node().into_owned()).or_default();
            match reservation.mode {
                Mode::Exclusive => holders.exclusive.push(position),
                Mode::Shared => holders.shared.push(position),
                Mode::Advisory => {}
            }
        }
    }
    let mut pairs: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut compare = |one: usize, other: usize| {
        let (older, newer) =
            if standing[one].token <= standing[other].token { (one, other) } else { (other, one) };
        if one != other && pairs.len() < PAIRS_MAX && stand_against(&standing[older], &standing[newer]) {
            pairs.insert((older, newer));
        }
    };
    for (node, here) in &nodes {
        for there in index::above(node).chain([&**node]).filter_map(|node| nodes.get(node)) {
            for &one in &there.exclusive {
                here.exclusive.iter().chain(&here.shared).for_each(|&other| compare(one, other));
            }
            for &one in &there.shared {
                here.exclusive.iter().for_each(|&other| compare(one, other));
            }
        }
    }
    let ids =
        |(older, newer): (usize, usize)| (standing[older].reservation_id, standing[newer].reservation_id);
    pairs.into_iter().map(ids).map(|(older, newer)| Subject::Conflict(older, newer)).collect()
}
