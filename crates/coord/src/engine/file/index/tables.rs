//! The tables of the index: the only module that speaks SQL.
//!
//! A transaction is kept if the process is killed after it, and undone if it is killed within it. Nothing is
//! synced: see the parent module on power loss.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::super::layout::{FolderMark, Watched};
use crate::address::Address;
use crate::clock::Timestamp;
use crate::id::{ReservationId, Token};
use crate::record::Reservation;

/// The layout of the tables. An index with another one is made anew.
const FORMAT: i64 = 2;

/// How long a connection waits for another one. A writer holds the store's lock, so it meets readers only, for
/// microseconds.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// How much of a new database is kept in memory while it is made, in KiB, as a negative number: a part of each of its
/// trees is written at random places.
const DRAFT_CACHE: i64 = -65_536;

const SCHEMA: &str = "
    CREATE TABLE held (node TEXT, address TEXT, id BLOB, PRIMARY KEY (node, address, id)) WITHOUT ROWID;
    CREATE TABLE known (id BLOB PRIMARY KEY, token INTEGER, has_ended INTEGER, due INTEGER) WITHOUT ROWID;
    CREATE INDEX known_due ON known (due);
    CREATE INDEX known_token ON known (token);
    CREATE TABLE marks (room INTEGER PRIMARY KEY, device INTEGER, inode INTEGER, modified INTEGER);
    CREATE TABLE look (at INTEGER, records INTEGER);
";

/// An open database.
#[derive(Debug)]
pub(super) struct Tables {
    connection: Connection,
}

/// What an index is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Access {
    /// By anybody.
    Read,
    /// By whoever holds the store's lock.
    Write,
}

/// One address that a reservation holds, or held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) node: String,
    pub(super) address: String,
    pub(super) id: ReservationId,
}

/// What is known of a reservation whose record is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: ReservationId,
    /// `None` where the record could not be read, or was not.
    pub(super) token: Option<Token>,
    /// Whether it was released or superseded when it was looked at.
    pub(super) has_ended: bool,
    /// When it may be dead for long enough to be archived; not before.
    pub(super) due: Timestamp,
}

/// When all names were looked at, and how many records there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) at: Timestamp,
    pub(super) records: u32,
}

impl Tables {
    /// Opens the database at `path`, and makes it if it is not there. The caller holds the store's lock.
    pub(super) fn open_or_make(path: &Path) -> rusqlite::Result<Tables> {
        let tables = Tables::connect(path, OpenFlags::SQLITE_OPEN_CREATE, Access::Write)?;
        if tables.format()? == 0 {
            tables.make()?;
        }
        tables.of_this_format()
    }

    /// Opens the database at `path`, which has to be there.
    pub(super) fn open(path: &Path, access: Access) -> rusqlite::Result<Tables> {
        Tables::connect(path, OpenFlags::empty(), access)?.of_this_format()
    }

    /// Makes a database in the empty file at `path`, which nobody else reads. A change that fails or is killed in the
    /// middle leaves a file that must not be used.
    pub(super) fn make_draft(path: &Path) -> rusqlite::Result<Tables> {
        let tables = Tables::connect(path, OpenFlags::empty(), Access::Write)?;
        tables.connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
        tables.connection.pragma_update(None, "cache_size", DRAFT_CACHE)?;
        tables.make()?;
        Ok(tables)
    }

    fn connect(path: &Path, more: OpenFlags, access: Access) -> rusqlite::Result<Tables> {
        // A reader never rolls back what a killed writer left: it holds no lock of the store's, and the journal could
        // be that of another database which took this one's name meanwhile. It does without the index.
        let may_write = match access {
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        // NOFOLLOW: the index is never written through a planted link. NO_MUTEX: one thread uses a connection.
        let flags = may_write | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW | more;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.pragma_update(None, "cell_size_check", "ON")?;
        if access == Access::Write {
            connection.pragma_update(None, "synchronous", "OFF")?;
            // Undoes what a killed writer began, and is quicker than removing the file each time.
            connection.pragma_update_and_check(None, "journal_mode", "TRUNCATE", |_| Ok(()))?;
        }
        Ok(Tables { connection })
    }

    fn of_this_format(self) -> rusqlite::Result<Tables> {
        if self.format()? == FORMAT { Ok(self) } else { Err(rusqlite::Error::InvalidQuery) }
    }

    fn format(&self) -> rusqlite::Result<i64> {
        self.connection.pragma_query_value(None, "user_version", |row| row.get(0))
    }

    fn make(&self) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()
    }

    /// Carries out changes as one: all of them are there afterwards, or none.
    pub(super) fn change<T>(
        &self,
        changes: impl FnOnce(&Changes<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let transaction = self.connection.unchecked_transaction()?;
        let done = changes(&Changes { connection: &transaction })?;
        transaction.commit()?;
        Ok(done)
    }

    /// What the folders were marked with when the tables were known to be complete.
    pub(super) fn marks(&self) -> rusqlite::Result<Vec<(Watched, FolderMark)>> {
        let mut statement = self.connection.prepare("SELECT room, device, inode, modified FROM marks")?;
        let marks = statement.query_map([], |row| {
            let mark = FolderMark { device: row.get(1)?, inode: row.get(2)?, modified: row.get(3)? };
            Ok((row.get::<_, i64>(0)?, mark))
        })?;
        marks
            .map(|mark| {
                mark.and_then(|(room, mark)| {
                    Ok((watched_of(room).ok_or(rusqlite::Error::InvalidQuery)?, mark))
                })
            })
            .collect()
    }

    /// The last look.
    pub(super) fn look(&self) -> rusqlite::Result<Option<Look>> {
        self.connection
            .query_row("SELECT at, records FROM look", [], |row| {
                Ok(Look { at: Timestamp::from_microseconds(row.get(0)?), records: row.get(1)? })
            })
            .optional()
    }

    /// The entries that `address` could overlap: those at its node, above it and below it.
    pub(super) fn entries_near(&self, address: &Address) -> rusqlite::Result<Vec<Entry>> {
        let node = address.node();
        let mut entries = Vec::new();
        let mut at = self.connection.prepare_cached("SELECT node, address, id FROM held WHERE node = ?1")?;
        for node in above(&node).chain([&*node]) {
            for entry in at.query_map([node], entry)? {
                entries.push(entry?);
            }
        }
        if node.is_empty() {
            let mut all =
                self.connection.prepare_cached("SELECT node, address, id FROM held WHERE node > ''")?;
            for entry in all.query_map([], entry)? {
                entries.push(entry?);
            }
        } else {
            // `0` is the character after `/`.
            let mut below = self.connection.prepare_cached(
                "SELECT node, address, id FROM held WHERE node > ?1 || '/' AND node < ?1 || '0'",
            )?;
            for entry in below.query_map([&*node], entry)? {
                entries.push(entry?);
            }
        }
        Ok(entries)
    }

    /// What `quick_check` finds wrong with the file; `None` if nothing.
    pub(super) fn fault(&self) -> rusqlite::Result<Option<String>> {
        let found: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((found != "ok").then_some(found))
    }

    /// All entries, in no particular order.
    pub(super) fn entries(&self) -> rusqlite::Result<Vec<Entry>> {
        let mut statement = self.connection.prepare("SELECT node, address, id FROM held")?;
        let entries = statement.query_map([], entry)?;
        entries.collect()
    }

    /// Everything that is known, in no particular order.
    pub(super) fn known(&self) -> rusqlite::Result<Vec<Known>> {
        let mut statement = self.connection.prepare("SELECT id, has_ended, due, token FROM known")?;
        let known = statement.query_map([], known)?;
        known.collect()
    }

    /// Those whose tokens are not known.
    pub(super) fn without_token(&self) -> rusqlite::Result<Vec<ReservationId>> {
        let mut statement = self.connection.prepare("SELECT id FROM known WHERE token IS NULL")?;
        let ids = statement.query_map([], |row| id(row, 0))?;
        ids.collect()
    }

    /// At most `limit` of those that come after `after`, those with the largest tokens first.
    pub(super) fn newest(
        &self,
        after: Option<(ReservationId, Token)>,
        limit: usize,
    ) -> rusqlite::Result<Vec<(ReservationId, Token)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(
            "SELECT id, token FROM known WHERE (token, id) < (?1, ?2) ORDER BY token DESC, id DESC LIMIT ?3",
        )?;
        // A store that was put together from two may have two of one token.
        let (id, token) =
            after.map_or((None, i64::MAX), |(id, token)| (Some(id.digest()), number_of_token(token)));
        let newest = statement
            .query_map(params![token, id, limit], |row| Ok((self::id(row, 0)?, self::token(row, 1)?)))?
            .filter_map(|row| row.map(|(id, token)| Some((id, token?))).transpose());
        newest.collect()
    }

    /// At most `limit` of those that are due at `now`, longest first.
    pub(super) fn due(&self, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<ReservationId>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement =
            self.connection.prepare("SELECT id FROM known WHERE due <= ?1 ORDER BY due LIMIT ?2")?;
        let due = statement.query_map(params![now.as_microseconds(), limit], |row| id(row, 0))?;
        due.collect()
    }
}

/// The tables within a transaction.
#[derive(Debug)]
pub(super) struct Changes<'t> {
    connection: &'t Connection,
}

impl Changes<'_> {
    /// Adds the addresses of `reservation`.
    pub(super) fn add(&self, reservation: &Reservation) -> rusqlite::Result<()> {
        let mut statement = self
            .connection
            .prepare_cached("INSERT OR IGNORE INTO held (node, address, id) VALUES (?1, ?2, ?3)")?;
        let id = reservation.reservation_id.digest();
        for address in &reservation.addresses {
            statement.execute(params![address.node(), address.as_str(), id])?;
        }
        Ok(())
    }

    /// Takes the addresses of `reservation` out.
    pub(super) fn remove(&self, reservation: &Reservation) -> rusqlite::Result<()> {
        for address in &reservation.addresses {
            let entry = Entry {
                node: address.node().into_owned(),
                address: address.as_str().to_owned(),
                id: reservation.reservation_id,
            };
            self.remove_entry(&entry)?;
        }
        Ok(())
    }

    /// Takes one entry out.
    pub(super) fn remove_entry(&self, entry: &Entry) -> rusqlite::Result<()> {
        let mut statement = self
            .connection
            .prepare_cached("DELETE FROM held WHERE node = ?1 AND address = ?2 AND id = ?3")?;
        statement.execute(params![entry.node, entry.address, entry.id.digest()])?;
        Ok(())
    }

    /// Takes out the entries of all that is not known.
    pub(super) fn remove_unknown(&self) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM held WHERE id NOT IN (SELECT id FROM known)", [])?;
        Ok(())
    }

    /// Notes that a record is there, or what it is now. A token that is known stays.
    pub(super) fn know(&self, known: Known) -> rusqlite::Result<()> {
        let mut statement = self
            .connection
            .prepare_cached(
                "INSERT INTO known (id, token, has_ended, due) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE \
                 SET token = coalesce(excluded.token, token), has_ended = excluded.has_ended, due = excluded.due",
            )?;
        let token = known.token.map(number_of_token);
        statement.execute(params![known.id.digest(), token, known.has_ended, known.due.as_microseconds()])?;
        Ok(())
    }

    /// Notes that a reservation does not stand, so that its record is read again if it ever does.
    pub(super) fn end(&self, id: ReservationId) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE known SET has_ended = TRUE WHERE id = ?1")?
            .execute([id.digest()])?;
        Ok(())
    }

    /// Notes when a record may be archived; whether it has ended stays as it is.
    pub(super) fn put_off(&self, id: ReservationId, due: Timestamp) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("UPDATE known SET due = ?2 WHERE id = ?1")?;
        statement.execute(params![id.digest(), due.as_microseconds()])?;
        Ok(())
    }

    /// Notes that a record is gone.
    pub(super) fn forget(&self, id: ReservationId) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM known WHERE id = ?1")?.execute([id.digest()])?;
        Ok(())
    }

    /// Notes that the tables are complete while the folders carry these marks.
    pub(super) fn complete(&self, marks: &[(Watched, FolderMark)], look: Look) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM marks", [])?;
        for (room, FolderMark { device, inode, modified }) in marks {
            self.connection.execute(
                "INSERT INTO marks (room, device, inode, modified) VALUES (?1, ?2, ?3, ?4)",
                params![number_of(*room), device, inode, modified],
            )?;
        }
        self.connection.execute("DELETE FROM look", [])?;
        self.connection.execute(
            "INSERT INTO look (at, records) VALUES (?1, ?2)",
            params![look.at.as_microseconds(), look.records],
        )?;
        Ok(())
    }
}

/// The folders above a path, from the top down.
pub(in super::super) fn above(node: &str) -> impl Iterator<Item = &str> {
    let top = (!node.is_empty()).then_some("");
    top.into_iter().chain(node.match_indices('/').map(|(position, _)| &node[..position]))
}

const fn number_of(watched: Watched) -> i64 {
    match watched {
        Watched::Reservations => 1,
        Watched::Releases => 2,
        Watched::Superseded => 3,
    }
}

fn watched_of(number: i64) -> Option<Watched> {
    Watched::ALL.into_iter().find(|&watched| number_of(watched) == number)
}

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<ReservationId> {
    row.get(column).map(ReservationId::from_digest)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { node: row.get(0)?, address: row.get(1)?, id: id(row, 2)? })
}

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    let due = Timestamp::from_microseconds(row.get(2)?);
    Ok(Known { id: id(row, 0)?, token: token(row, 3)?, has_ended: row.get(1)?, due })
}

fn token(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Token>> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.and_then(|number| u64::try_from(number).ok()).and_then(Token::new))
}

/// Tokens are below 2^53.
fn number_of_token(token: Token) -> i64 {
    i64::try_from(token.get()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_told_part_by_part_though_some_have_one_token() {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open_or_make(&folder.path().join("tables")).unwrap();
        let all: Vec<(ReservationId, Token)> = [(9, 4), (8, 3), (7, 3), (6, 3), (5, 2)]
            .map(|(id, token)| (ReservationId::from_digest([id; 32]), Token::new(token).unwrap()))
            .into();
        let known = |&(id, token)| Known {
            id,
            token: Some(token),
            has_ended: false,
            due: Timestamp::from_microseconds(0),
        };
        tables.change(|tables| all.iter().try_for_each(|one| tables.know(known(one)))).unwrap();
        for limit in 1..=all.len() {
            let mut told = Vec::new();
            loop {
                let part = tables.newest(told.last().copied(), limit).unwrap();
                if part.is_empty() {
                    break;
                }
                told.extend(part);
            }
            assert_eq!(told, all, "{limit} at once");
        }
    }
}
