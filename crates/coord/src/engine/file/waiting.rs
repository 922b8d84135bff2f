//! Tickets on the disk: `waiting/<number>.json`, written like heartbeats, without any sync, because those who wait
//! end with the machine.
//!
//! A ticket is drawn under the store's lock. From then on it is its own process's: that renews it and takes it away
//! without any lock, and everybody else only reads it, but for what lapsed long ago. What cannot be read stands in
//! the way of every grant for as long as it could be somebody's live ticket, which is 15 s after it was written.

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::layout::{Folder, Room, Store};
use super::publish::{self, Durability, Staged};
use super::tokens;
use crate::clock::Timestamp;
use crate::decide::Request;
use crate::engine::EngineError;
use crate::id::{RunId, TicketNumber};
use crate::queue::{LEASE_SECONDS, Queue, Ticket, counts_until};
use crate::record::to_file_bytes;

/// What the temporary file of a ticket begins with; its number follows. It belongs to the ticket's own process,
/// or, while that draws it, to whoever holds the store's lock.
pub(super) const TICKET_PREFIX: &str = "ticket-";

/// The ending of every ticket's file name.
const TICKET_SUFFIX: &str = ".json";

/// The file name of a ticket.
fn ticket_name(number: TicketNumber) -> String {
    format!("{number}{TICKET_SUFFIX}")
}

/// The folder of the tickets. A store of an earlier version has none until somebody waits.
pub(super) fn folder(store: &Store) -> Result<Option<Folder>, EngineError> {
    store.root.room(Room::Waiting)
}

/// What lies in the folder of the tickets.
#[derive(Default)]
struct Scan {
    queue: Queue,
    /// What lapsed so long ago that it may go.
    forgotten: Vec<TicketNumber>,
}

fn scan(folder: &Folder, now: Timestamp) -> Result<Scan, EngineError> {
    let mut scan = Scan::default();
    let mut names = Vec::new();
    folder.for_each_entry(|name, file_type| names.push((name.to_owned(), file_type)))?;
    for (name, file_type) in names {
        match ticket_in(folder, &name, file_type) {
            Ok(Some(ticket)) if ticket.is_live(now) => scan.queue.tickets.push(ticket),
            Ok(Some(ticket)) if ticket.is_forgotten(now) => scan.forgotten.push(ticket.ticket),
            Ok(_) => {}
            Err(error) => {
                if could_be_live(folder, &name, now)? {
                    scan.queue.damaged.push(error);
                }
            }
        }
    }
    scan.queue.tickets.sort_by_key(|ticket| ticket.ticket);
    scan.queue.damaged.sort_by_key(ToString::to_string);
    Ok(scan)
}

/// The tickets that count at `now`, in their order, and what cannot be read and could be one.
pub(super) fn queue(store: &Store, now: Timestamp) -> Result<Queue, EngineError> {
    Ok(match folder(store)? {
        Some(folder) => scan(&folder, now)?.queue,
        None => Queue::default(),
    })
}

/// The tickets that a grant at `now` has to respect. One that cannot be read fails it: it could be in the way.
/// The caller holds the store's lock; what lapsed long ago is taken away.
pub(super) fn respected(store: &Store, now: Timestamp) -> Result<Vec<Ticket>, EngineError> {
    let Some(folder) = folder(store)? else { return Ok(Vec::new()) };
    let Scan { queue, forgotten } = scan(&folder, now)?;
    for number in forgotten {
        // What cannot be removed is in nobody's way.
        publish::remove(&folder, &ticket_name(number)).unwrap_or_default();
    }
    queue.damaged.into_iter().next().map_or(Ok(queue.tickets), Err)
}

/// The number that the name of a ticket's file says.
pub(super) fn number_of(name: &str) -> Option<TicketNumber> {
    name.strip_suffix(TICKET_SUFFIX)?.parse().ok()
}

fn ticket_in(folder: &Folder, name: &str, file_type: FileType) -> Result<Option<Ticket>, EngineError> {
    match (number_of(name), file_type) {
        (Some(number), FileType::RegularFile) => read(folder, number),
        _ => Err(EngineError::Misplaced {
            path: folder.path_of(name),
            detail: "it is not a ticket: it was renamed, or does not belong here",
        }),
    }
}

/// Reads a ticket; `None` if there is none. One that is empty, cut short or all NUL counts as none: a power loss
/// leaves such files, and no waiter survives it.
fn read(folder: &Folder, number: TicketNumber) -> Result<Option<Ticket>, EngineError> {
    let name = ticket_name(number);
    let Some(bytes) = folder.read(&name)? else { return Ok(None) };
    match Ticket::from_bytes(number, &bytes) {
        Ok(ticket) => Ok(Some(ticket)),
        Err(error) if error.is_truncation() => Ok(None),
        Err(source) => Err(folder.damaged(&name, source)),
    }
}

/// Whether a file that cannot be read could be the ticket of a process that lives: that would have written it in
/// the last 15 s.
fn could_be_live(folder: &Folder, name: &str, now: Timestamp) -> Result<bool, EngineError> {
    match rustix::fs::statat(folder.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(counts_until(written_at(&stat).plus_seconds(LEASE_SECONDS), now)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(folder.unreadable(name, errno)),
    }
}

fn written_at(stat: &Stat) -> Timestamp {
    let microseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0) / 1000;
    Timestamp::from_microseconds(stat.st_mtime.saturating_mul(1_000_000).saturating_add(microseconds))
}

/// Draws the next ticket for `request`. The caller holds the store's lock.
pub(super) fn draw(store: &Store, request: &Request, now: Timestamp) -> Result<Ticket, EngineError> {
    let folder = match folder(store)? {
        Some(folder) => folder,
        None => store.make_waiting()?,
    };
    let mut greatest = None;
    folder.for_each_entry(|name, _| greatest = greatest.max(number_of(name)))?;
    let number = TicketNumber::next(Some(tokens::last(store)?), greatest, now.milliseconds_since_1970())
        .ok_or_else(|| EngineError::Misplaced {
            path: folder.path_of(&greatest.map(ticket_name).unwrap_or_default()),
            detail: "its number is the last possible one",
        })?;
    let ticket = Ticket::new(number, request, now);
    write(store, &folder, &ticket)?;
    Ok(ticket)
}

fn write(store: &Store, folder: &Folder, ticket: &Ticket) -> Result<(), EngineError> {
    let name = ticket_name(ticket.ticket);
    let bytes = to_file_bytes(ticket).map_err(|source| folder.damaged(&name, source))?;
    Staged::write(store, temporary_name(ticket.ticket), &bytes, Durability::Process)?
        .publish_over(folder, &name)
}

fn temporary_name(number: TicketNumber) -> String {
    format!("{TICKET_PREFIX}{number}")
}

/// The ticket of this number if it is that of `run` and has not lapsed: what cannot be read is nobody's place.
fn place(
    folder: &Folder,
    number: TicketNumber,
    run: &RunId,
    now: Timestamp,
) -> Result<Option<Ticket>, EngineError> {
    match read(folder, number) {
        Ok(ticket) => Ok(ticket.filter(|ticket| ticket.run_id == *run && !ticket.has_lapsed(now))),
        Err(EngineError::Damaged { .. } | EngineError::Misplaced { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `run` still has the place of this number.
pub(super) fn has_place(
    store: &Store,
    number: TicketNumber,
    run: &RunId,
    now: Timestamp,
) -> Result<bool, EngineError> {
    match folder(store)? {
        Some(folder) => Ok(place(&folder, number, run, now)?.is_some()),
        None => Ok(false),
    }
}

/// Renews a ticket; `false` if its run has lost the place.
pub(super) fn keep_place(
    store: &Store,
    number: TicketNumber,
    run: &RunId,
    now: Timestamp,
) -> Result<bool, EngineError> {
    let Some(folder) = folder(store)? else { return Ok(false) };
    let Some(ticket) = place(&folder, number, run, now)? else { return Ok(false) };
    match write(store, &folder, &ticket.renewed(now)) {
        Ok(()) => Ok(true),
        // Somebody took the ticket's temporary file for a dead process's: then its place was lost before.
        Err(EngineError::Unwritable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Takes the ticket of `run` out of the queue. One that is not there any more is no error.
pub(super) fn leave(store: &Store, number: TicketNumber, run: &RunId) -> Result<(), EngineError> {
    let Some(folder) = folder(store)? else { return Ok(()) };
    // Lapsed or not: it is its own.
    if place(&folder, number, run, Timestamp::MIN)?.is_none() {
        return Ok(());
    }
    remove(&folder, &ticket_name(number))
}

fn remove(folder: &Folder, name: &str) -> Result<(), EngineError> {
    publish::remove(folder, name).map_err(|errno| folder.unwritable(name, "remove", errno))
}

/// Whether the ticket still stands in the way of others at `now`, and until when, if nobody renews it. One that
/// cannot be read does not: the next grant says what is wrong with it.
pub(super) fn stands_until(
    store: &Store,
    number: TicketNumber,
    now: Timestamp,
) -> Result<Option<Timestamp>, EngineError> {
    let Some(folder) = folder(store)? else { return Ok(None) };
    match read(&folder, number) {
        Ok(ticket) => Ok(ticket.filter(|ticket| ticket.is_live(now)).map(|ticket| ticket.expires_at)),
        Err(EngineError::Damaged { .. } | EngineError::Misplaced { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a temporary file is that of a ticket that does not count any more, or was never drawn: nobody will
/// publish it. The caller holds the store's lock, so nobody is drawing one.
pub(super) fn is_left_over(store: &Store, name: &str, now: Timestamp) -> Result<bool, EngineError> {
    let number = name.strip_prefix(TICKET_PREFIX).and_then(|number| number.parse().ok());
    let (Some(number), Some(folder)) = (number, folder(store)?) else { return Ok(true) };
    match read(&folder, number) {
        Ok(ticket) => Ok(ticket.is_none_or(|ticket| ticket.has_lapsed(now))),
        Err(_) => Ok(false),
    }
}
