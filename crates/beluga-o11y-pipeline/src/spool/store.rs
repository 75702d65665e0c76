//! One file of a spool: an SQLite database of calls and dead letters.
//!
//! Whatever crashes, SQLite's write-ahead log keeps whole transactions; what a broken disk or a stranger changes, the
//! checksum of each row finds out.

use std::{
    fs::File,
    io::{self, Read},
    ops::RangeInclusive,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::LLMCallData;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row as SqlRow, TransactionBehavior,
    config::DbConfig, ffi, params,
};
use xxhash_rust::xxh64::Xxh64;

use crate::{DeadLetter, Durability};

/// "bo11" in ASCII: tells our files from other SQLite databases.
const APPLICATION_ID: i64 = 0x626F_3131;
/// The version of the tables. A file with a higher one is left to whoever wrote it.
const VERSION: i64 = 1;
/// The form of a record: the JSON form of `LLMCallData`.
const FORMAT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE calls (
        id INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        format INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        record BLOB NOT NULL
    );
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        reason TEXT NOT NULL,
        error TEXT NOT NULL,
        status INTEGER,
        response TEXT,
        send_again INTEGER NOT NULL DEFAULT 0,
        accepted INTEGER NOT NULL,
        format INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        record BLOB NOT NULL
    );
    CREATE INDEX dead_letters_to_send ON dead_letters (id) WHERE send_again = 1;
";

/// An open file.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
}

/// A call as it is written.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: i64,
    /// When it was accepted, in milliseconds since 1970.
    pub(super) time: i64,
    pub(super) json: Vec<u8>,
}

/// A call as it is read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: i64,
    pub(super) time: i64,
    /// Nothing if it is not what was written.
    pub(super) call: Option<LLMCallData>,
    /// The size of its record.
    pub(super) bytes: usize,
}

/// A dead letter as it is read.
#[derive(Debug)]
pub(super) struct StoredLetter {
    pub(super) id: i64,
    pub(super) time: i64,
    pub(super) reason: String,
    pub(super) error: String,
    pub(super) status: Option<u16>,
    pub(super) response: Option<String>,
    pub(super) send_again: bool,
    /// Nothing if it is not what was written.
    pub(super) call: Option<LLMCallData>,
}

/// What a file has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    Calls,
    DeadLetters,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::DeadLetters => "dead_letters",
        }
    }
}

/// The calls of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: usize,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("it is damaged: {0}")]
    Damaged(rusqlite::Error),
    #[error("it is not a spool file")]
    Foreign,
    #[error(
        "it was written by a newer version of this library (format {0}, this one knows {VERSION})"
    )]
    Newer(i64),
    #[error("{0}")]
    Sqlite(rusqlite::Error),
    #[error("{0}")]
    Io(io::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            _ => Self::Sqlite(error),
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Makes the tables in a new, empty file.
    pub(super) fn create(path: &Path, durability: Durability, wait: Duration) -> Result<Self> {
        let store = Self::connect(path, durability, wait)?;
        store.connection.execute_batch(&format!(
            // Only as long as there are no pages: gives space back to the disk when asked to.
            "PRAGMA auto_vacuum=INCREMENTAL;
            PRAGMA application_id={APPLICATION_ID};"
        ))?;
        store.use_log()?;
        store.leave_log()?;
        store.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={VERSION}; COMMIT"
        ))?;
        Ok(store)
    }

    /// Opens a file that a process has left. Nothing if it was only just made.
    pub(super) fn open(
        path: &Path,
        durability: Durability,
        wait: Duration,
    ) -> Result<Option<Self>> {
        // As far as one can tell without SQLite, which would leave its traces.
        check_header(path)?;
        let store = Self::connect(path, durability, wait)?;
        if !store.has_tables()? {
            return Ok(None);
        }
        store.use_log()?;
        Ok(Some(store))
    }

    /// Opens a file to look at it, beside the process that it belongs to, and neither copies nor deletes its log. Nothing
    /// if it was only just made.
    pub(super) fn look(path: &Path, writes: bool) -> Result<Option<Self>> {
        /// Whoever looks has the time.
        const WAIT: Duration = Duration::from_secs(5);
        // Not its header, as others do: to close the file would free all locks that a pipeline of this process has on it.
        let store = if writes {
            let store = Self::connect(path, Durability::Process, WAIT)?;
            store.leave_log()?;
            store
        } else {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_NOFOLLOW;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(WAIT)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.execute_batch(
                "PRAGMA query_only=ON; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON",
            )?;
            Self { connection }
        };
        match store.has_tables() {
            Ok(has_tables) => Ok(has_tables.then_some(store)),
            // Its process ended while it made the file: later there is a log instead of a journal.
            Err(StoreError::Sqlite(error)) if is_half_made(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it is more than only just made, if it is one of ours.
    fn has_tables(&self) -> Result<bool> {
        let pragma = |name| {
            let value: i64 = self
                .connection
                .pragma_query_value(None, name, |row| row.get(0))?;
            Ok::<_, StoreError>(value)
        };
        let id = pragma("application_id")?;
        let version = pragma("user_version")?;
        let tables: i64 =
            self.connection
                .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        if tables == 0 && version == 0 && (id == 0 || id == APPLICATION_ID) {
            return Ok(false);
        }
        check_ids(id, version)?;
        Ok(true)
    }

    /// A second connection to the same file.
    pub(super) fn connect_again(&self, wait: Duration) -> Result<Self> {
        let path = self.connection.path().unwrap_or_default();
        let store = Self::connect(Path::new(path), Durability::Process, wait)?;
        store.leave_log()?;
        Ok(store)
    }

    fn connect(path: &Path, durability: Durability, wait: Duration) -> Result<Self> {
        // One thread at a time, which our own lock sees to.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(wait)?;
        // Whoever opens it next does that; the end of a process need not wait for it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let synchronous = match durability {
            Durability::Process => "NORMAL",
            Durability::Power => "FULL",
        };
        connection.execute_batch(&format!(
            // What is in a file is data, and pages are looked at twice.
            "PRAGMA synchronous={synchronous}; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON"
        ))?;
        Ok(Self { connection })
    }

    fn use_log(&self) -> Result<()> {
        self.connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA journal_size_limit=16777216")?;
        Ok(())
    }

    /// The log is copied into the file by whoever has the time, not by whoever submits a call.
    fn leave_log(&self) -> Result<()> {
        self.connection
            .execute_batch("PRAGMA wal_autocheckpoint=0")?;
        Ok(())
    }

    /// Writes all of them or none.
    pub(super) fn insert<'a>(
        &self,
        records: impl ExactSizeIterator<Item = &'a Record>,
    ) -> Result<()> {
        let insert = |record: &Record| {
            let checksum = checksum(record.id, record.time, FORMAT, &record.json);
            self.connection
                .prepare_cached("INSERT INTO calls VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![
                    record.id,
                    record.time,
                    FORMAT,
                    checksum,
                    record.json
                ])?;
            Ok::<_, StoreError>(())
        };
        if records.len() == 1 {
            // A transaction by itself.
            return records.into_iter().try_for_each(insert);
        }
        self.all_or_nothing(|| records.into_iter().try_for_each(insert))
    }

    fn all_or_nothing(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let transaction =
            rusqlite::Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        work()?;
        transaction.commit()?;
        Ok(())
    }

    /// Deletes calls, and keeps dead letters, together.
    pub(super) fn settle(&self, ids: &[i64], letters: &[Letter]) -> Result<()> {
        self.all_or_nothing(|| {
            for range in ranges(ids) {
                self.connection
                    .prepare_cached("DELETE FROM calls WHERE id BETWEEN ?1 AND ?2")?
                    .execute(params![range.start(), range.end()])?;
            }
            letters.iter().try_for_each(|letter| self.bury(letter))
        })
    }

    fn bury(&self, letter: &Letter) -> Result<()> {
        // As a call again, it will be as old as the letter.
        let accepted = letter.time;
        let checksum = checksum(0, accepted, FORMAT, &letter.json);
        self.connection
            .prepare_cached(
                "INSERT INTO dead_letters
                    (time, reason, error, status, response, accepted, format, checksum, record)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                letter.time,
                letter.reason,
                letter.error,
                letter.status,
                letter.response,
                accepted,
                FORMAT,
                checksum,
                letter.json
            ])?;
        Ok(())
    }

    /// Moves a call that is not what was written out of the way, as it is.
    pub(super) fn bury_damaged(&self, id: i64, now: i64) -> Result<()> {
        self.all_or_nothing(|| {
            self.connection
                .prepare_cached(
                    "INSERT INTO dead_letters (time, reason, error, accepted, format, checksum, record)
                        SELECT ?2, 'damaged', 'spool: the record is not what was written', time, format, checksum, record
                        FROM calls WHERE id = ?1",
                )?
                .execute(params![id, now])?;
            self.connection
                .prepare_cached("DELETE FROM calls WHERE id = ?1")?
                .execute([id])?;
            Ok(())
        })
    }

    /// Nothing if there are no calls.
    pub(super) fn contents(&self) -> Result<Option<Contents>> {
        let sql = "SELECT min(id), max(id), count(*) FROM calls";
        Ok(self.connection.query_row(sql, [], |row| {
            let ends: (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            let count = usize::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
            Ok(match ends {
                (Some(first), Some(last)) => Some(Contents { first, last, count }),
                _ => None,
            })
        })?)
    }

    /// The calls of a damaged file with ids in that range that can be found from one end.
    pub(super) fn readable(&self, ids: &RangeInclusive<i64>, backward: bool) -> Option<Contents> {
        let sql = if backward {
            "SELECT id FROM calls WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC"
        } else {
            "SELECT id FROM calls WHERE id BETWEEN ?1 AND ?2 ORDER BY id"
        };
        let mut statement = self.connection.prepare_cached(sql).ok()?;
        let found = statement.query_map([ids.start(), ids.end()], |row| row.get::<_, i64>(0));
        // Pages that do not belong together may go round for ever.
        let mut last = None;
        let ascending = found.ok()?.map_while(|id| id.ok()).take_while(|id| {
            let before = last.replace(*id);
            before.is_none_or(|before| if backward { *id < before } else { *id > before })
        });
        ascending.fold(None, |contents, id| {
            let (first, last, count) = match contents {
                None => (id, id, 0),
                Some(Contents { first, last, count }) => (first.min(id), last.max(id), count),
            };
            Some(Contents {
                first,
                last,
                count: count + 1,
            })
        })
    }

    /// Reads calls with ids in that range, until there are so many, or so many bytes of records.
    pub(super) fn read(
        &self,
        ids: &RangeInclusive<i64>,
        most: usize,
        most_bytes: usize,
    ) -> (Vec<Stored>, Result<()>) {
        let mut raw = Vec::new();
        let result = self.read_into(&mut raw, ids, most, most_bytes);
        // Only now, when nothing is read any more: the log cannot begin anew meanwhile.
        (raw.into_iter().map(RawCall::parse).collect(), result)
    }

    fn read_into(
        &self,
        raw: &mut Vec<RawCall>,
        ids: &RangeInclusive<i64>,
        most: usize,
        most_bytes: usize,
    ) -> Result<()> {
        let sql = "SELECT * FROM calls WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![ids.start(), ids.end(), limit])?;
        let mut bytes = 0;
        let mut next = *ids.start();
        while let Some(row) = rows.next()? {
            let call = RawCall::read(row)?;
            if call.id < next {
                // A page that stands in another's place has calls that have been read, or will be.
                return Err(StoreError::Damaged(rusqlite::Error::SqliteFailure(
                    ffi::Error::new(ffi::SQLITE_CORRUPT),
                    None,
                )));
            }
            next = call.id.saturating_add(1);
            bytes += call.record.bytes();
            raw.push(call);
            if bytes >= most_bytes {
                break;
            }
        }
        Ok(())
    }

    /// The disk space in use, without the log.
    pub(super) fn used_bytes(&self) -> Result<u64> {
        let pragma = |sql| {
            let mut statement = self.connection.prepare_cached(sql)?;
            Ok::<_, StoreError>(statement.query_row([], |row| row.get::<_, i64>(0))?)
        };
        let pages = pragma("PRAGMA page_count")? - pragma("PRAGMA freelist_count")?;
        let bytes = pages.max(0).saturating_mul(pragma("PRAGMA page_size")?);
        Ok(bytes.unsigned_abs())
    }

    /// How many dead letters there are.
    pub(super) fn dead_letters(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM dead_letters";
        let count: i64 = self
            .connection
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// How many rows a table has, and the earliest of their times. They are counted a few at a time, with pauses: the log
    /// of the process that writes to the file cannot begin anew while somebody reads.
    pub(super) fn tally(&self, table: Table) -> Result<(u64, Option<i64>)> {
        const AT_ONCE: i64 = 1000;
        let table = table.name();
        let sql = format!(
            "SELECT count(*), max(id), min(time)
                FROM (SELECT id, time FROM {table} WHERE id > ?1 ORDER BY id LIMIT {AT_ONCE})"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let (mut after, mut all, mut earliest) = (i64::MIN, 0, None);
        loop {
            let began = Instant::now();
            let (count, last, time) = statement.query_row([after], |row| {
                // A garbled row may hold anything.
                let time = row.get::<_, Option<i64>>(2).unwrap_or_default();
                Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, time))
            })?;
            all += count.unsigned_abs();
            earliest = earliest.into_iter().chain(time).min();
            match last {
                // Pages that do not belong together may go round for ever.
                Some(last) if count == AT_ONCE && last > after => after = last,
                _ => return Ok((all, earliest)),
            }
            thread::sleep(began.elapsed());
        }
    }

    /// The id of the last row of a table.
    pub(super) fn last(&self, table: Table) -> Result<Option<i64>> {
        let sql = format!("SELECT max(id) FROM {}", table.name());
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// Reads dead letters with ids in that range, until there are so many, or so many bytes of records.
    pub(super) fn letters(
        &self,
        ids: &RangeInclusive<i64>,
        most: usize,
        most_bytes: usize,
    ) -> (Vec<StoredLetter>, Result<()>) {
        let mut raw = Vec::new();
        let result = self.letters_into(&mut raw, ids, most, most_bytes);
        let parse = |(letter, record): (_, RawRecord)| StoredLetter {
            call: record.parse(0),
            ..letter
        };
        (raw.into_iter().map(parse).collect(), result)
    }

    fn letters_into(
        &self,
        raw: &mut Vec<(StoredLetter, RawRecord)>,
        ids: &RangeInclusive<i64>,
        most: usize,
        most_bytes: usize,
    ) -> Result<()> {
        let sql = "SELECT id, time, reason, error, status, response, send_again, accepted, format, checksum, record
            FROM dead_letters WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![ids.start(), ids.end(), limit])?;
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let record = RawRecord::read(row, [7, 8, 9, 10])?;
            bytes += record.bytes();
            raw.push((stored_letter(row)?, record));
            if bytes >= most_bytes {
                break;
            }
        }
        Ok(())
    }

    /// How many dead letters somebody wants to be sent again.
    pub(super) fn dead_letters_to_send(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM dead_letters WHERE send_again = 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let count: i64 = statement.query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Marks the first dead letters with ids in that range to be sent again, so many or so many bytes of them: what is
    /// marked is written anew. Returns the last one that was looked at, and how many up to it are marked.
    pub(super) fn mark_to_send(
        &self,
        ids: &RangeInclusive<i64>,
        most: usize,
        most_bytes: i64,
    ) -> Result<Option<(i64, u64)>> {
        let mut last = None;
        let mut count: i64 = 0;
        self.all_or_nothing(|| {
            let sql = "SELECT id, length(record) FROM dead_letters WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
            let mut statement = self.connection.prepare_cached(sql)?;
            let limit = i64::try_from(most).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![ids.start(), ids.end(), limit])?;
            let mut bytes = 0;
            while let Some(row) = rows.next()? {
                last = Some(row.get(0)?);
                bytes += row.get::<_, i64>(1).unwrap_or_default();
                if bytes >= most_bytes {
                    break;
                }
            }
            drop(rows);
            let Some(last) = last else { return Ok(()) };
            self.connection
                .prepare_cached(
                    "UPDATE dead_letters SET send_again = 1
                        WHERE id BETWEEN ?1 AND ?2 AND send_again <> 1 AND reason <> 'damaged'",
                )?
                .execute([*ids.start(), last])?;
            let sql = "SELECT count(*) FROM dead_letters WHERE id BETWEEN ?1 AND ?2 AND send_again = 1";
            let mut statement = self.connection.prepare_cached(sql)?;
            count = statement.query_row([*ids.start(), last], |row| row.get(0))?;
            Ok(())
        })?;
        Ok(last.map(|last| (last, count.unsigned_abs())))
    }

    /// Whether any calls are left.
    pub(super) fn has_calls(&self) -> Result<bool> {
        let sql = "SELECT 1 FROM calls LIMIT 1";
        let any = self
            .connection
            .prepare_cached(sql)?
            .query_row([], |_| Ok(()));
        Ok(any.optional()?.is_some())
    }

    /// Whether every page has its place. What is hidden by a damaged page shows as pages that nobody uses.
    pub(super) fn is_sound(&self) -> Result<bool> {
        let sql = "PRAGMA quick_check(1)";
        let found: String = self.connection.query_row(sql, [], |row| row.get(0))?;
        Ok(found == "ok")
    }

    /// Forgets dead letters from before that time, so many at most. Returns how many.
    pub(super) fn forget_dead_letters(&self, before: i64, most: usize) -> Result<usize> {
        let sql = "DELETE FROM dead_letters WHERE time < ?1
            AND id IN (SELECT id FROM dead_letters ORDER BY id LIMIT ?2)";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.execute([before, most])?)
    }

    /// Forgets so many of them at most. Returns how many.
    pub(super) fn drop_oldest_dead_letters(&self, most: usize) -> Result<usize> {
        let sql = "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters ORDER BY id LIMIT ?1)";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Ok(self.connection.prepare_cached(sql)?.execute([most])?)
    }

    /// Moves the dead letters of another file into this one. A crash in the middle may leave one in both.
    pub(super) fn take_dead_letters(&self, from: &Self) -> Result<()> {
        const AT_ONCE: usize = 100;
        loop {
            // First of all, whether they can be deleted there: else there would be more of them each time.
            let leaves = rusqlite::Transaction::new_unchecked(
                &from.connection,
                TransactionBehavior::Immediate,
            )?;
            let letters = from.all_letters(AT_ONCE)?;
            let Some((last, _)) = letters.last() else {
                return Ok(());
            };
            leaves.execute("DELETE FROM dead_letters WHERE id <= ?1", [last])?;
            self.all_or_nothing(|| {
                letters.iter().try_for_each(|(_, letter)| {
                    self.connection
                        .prepare_cached(
                            "INSERT INTO dead_letters
                                (time, reason, error, status, response, send_again, accepted, format, checksum, record)
                                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                        )?
                        .execute(rusqlite::params_from_iter(letter))?;
                    Ok(())
                })
            })?;
            leaves.commit()?;
        }
    }

    fn all_letters(&self, most: usize) -> Result<Vec<(i64, Vec<rusqlite::types::Value>)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, time, reason, error, status, response, send_again, accepted, format, checksum, record
                FROM dead_letters ORDER BY id LIMIT ?1",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map([most], |row| {
            let values = (1..=10).map(|column| row.get(column));
            Ok((row.get(0)?, values.collect::<rusqlite::Result<_>>()?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Makes calls again of dead letters, with ids from `next_id` on: of those in that range, or of those that somebody
    /// wants to be sent again. Returns the last one that was looked at, and how many are calls now.
    pub(super) fn revive(
        &self,
        among: Option<RangeInclusive<i64>>,
        next_id: i64,
        most: usize,
        most_bytes: usize,
    ) -> Result<(Option<i64>, usize)> {
        let sql = if among.is_some() {
            "SELECT id, accepted, format, checksum, record FROM dead_letters
                WHERE id BETWEEN ?1 AND ?2 AND reason <> 'damaged' ORDER BY id LIMIT ?3"
        } else {
            "SELECT id, accepted, format, checksum, record FROM dead_letters
                WHERE send_again = 1 AND id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3"
        };
        let (first, last) = among.unwrap_or(i64::MIN..=i64::MAX).into_inner();
        let mut letters: Vec<(i64, i64, i64, i64, Vec<u8>)> = Vec::new();
        {
            let mut statement = self.connection.prepare_cached(sql)?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let mut rows = statement.query([first, last, most])?;
            let mut bytes = 0;
            while let Some(row) = rows.next()? {
                let record: Vec<u8> = row.get(4)?;
                bytes += record.len();
                letters.push((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, record));
                if bytes >= most_bytes {
                    break;
                }
            }
        }
        let last = letters.last().map(|letter| letter.0);
        let mut id = next_id;
        self.all_or_nothing(|| {
            for (letter, accepted, format, sum, json) in letters {
                if sum != checksum(0, accepted, format, &json) {
                    let sql =
                        "UPDATE dead_letters SET send_again = 0, reason = 'damaged' WHERE id = ?1";
                    self.connection.prepare_cached(sql)?.execute([letter])?;
                    continue;
                }
                let sum = checksum(id, accepted, format, &json);
                self.connection
                    .prepare_cached("INSERT INTO calls VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![id, accepted, format, sum, json])?;
                self.connection
                    .prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?
                    .execute([letter])?;
                id += 1;
            }
            Ok(())
        })?;
        Ok((last, usize::try_from(id - next_id).unwrap_or_default()))
    }

    /// Whether somebody wants dead letters to be sent again.
    pub(super) fn has_dead_letters_to_send(&self) -> Result<bool> {
        let sql = "SELECT 1 FROM dead_letters WHERE send_again = 1 LIMIT 1";
        let any = self
            .connection
            .prepare_cached(sql)?
            .query_row([], |_| Ok(()));
        Ok(any.optional()?.is_some())
    }

    /// Copies the log into the file, as far as nobody is in the way. Returns the size of the log, and how much of it is
    /// left, in bytes.
    pub(super) fn checkpoint(&self) -> Result<(u64, u64)> {
        const FRAME_BYTES: i64 = 4096 + 24;
        let frames: (i64, i64) =
            self.connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                    Ok((row.get(1)?, row.get(2)?))
                })?;
        let bytes = |frames: i64| frames.max(0).saturating_mul(FRAME_BYTES).unsigned_abs();
        Ok((bytes(frames.0), bytes(frames.0 - frames.1)))
    }

    /// Gives space back to the disk that is not used, if it is much.
    pub(super) fn shrink(&self) -> Result<()> {
        const MUCH: i64 = 4096;
        let free: i64 = self
            .connection
            .pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free >= MUCH {
            let mut statement = self
                .connection
                .prepare(&format!("PRAGMA incremental_vacuum({MUCH})"))?;
            let mut rows = statement.query([])?;
            // One page is given back with each step.
            while rows.next()?.is_some() {}
        }
        Ok(())
    }
}

/// What the beginning of the file says of it, if it is one of SQLite's.
fn check_header(path: &Path) -> Result<()> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut header = Vec::new();
    const PAGE: u64 = 4096;
    let file = File::open(path).map_err(StoreError::Io)?;
    let length = file.metadata().map_err(StoreError::Io)?.len();
    file.take(100)
        .read_to_end(&mut header)
        .map_err(StoreError::Io)?;
    let number = |at: usize| {
        let bytes = header.get(at..at + 4)?.try_into().ok()?;
        Some(i64::from(i32::from_be_bytes(bytes)))
    };
    // See "Database File Format" in SQLite's documentation.
    match (number(68), number(60)) {
        // Its process may have ended while it made the file.
        (Some(0), _) if length <= PAGE => Ok(()),
        (Some(id), Some(version)) if header.starts_with(MAGIC) => check_ids(id, version),
        _ => Ok(()),
    }
}

fn check_ids(id: i64, version: i64) -> Result<()> {
    if id != APPLICATION_ID {
        return Err(StoreError::Foreign);
    }
    if version > VERSION {
        return Err(StoreError::Newer(version));
    }
    Ok(())
}

/// A dead letter as it is written.
#[derive(Debug)]
pub(super) struct Letter {
    time: i64,
    reason: String,
    error: String,
    status: Option<u16>,
    response: Option<String>,
    json: Vec<u8>,
}

impl Letter {
    /// Nothing if its call cannot be written.
    pub(super) fn new(letter: &DeadLetter) -> Option<Self> {
        Some(Self {
            time: letter.time.timestamp_millis(),
            reason: letter.reason.to_string(),
            error: letter.error.to_string(),
            status: letter.error.status(),
            response: letter.error.response_snippet().map(str::to_owned),
            json: serde_json::to_vec(&*letter.call).ok()?,
        })
    }
}

/// A call as it is in the file.
struct RawCall {
    id: i64,
    record: RawRecord,
}

/// A record as it is in the file. Nothing if it is garbled: then it may hold anything.
struct RawRecord(Option<(i64, i64, i64, Vec<u8>)>);

impl RawRecord {
    /// From the columns with its time, format, checksum and bytes.
    fn read(row: &SqlRow<'_>, [time, format, sum, bytes]: [usize; 4]) -> rusqlite::Result<Self> {
        let number = |column| row.get::<_, i64>(column);
        let record = row.get_ref(bytes)?.as_blob();
        Ok(Self(
            match (number(time), number(format), number(sum), record) {
                (Ok(time), Ok(format), Ok(sum), Ok(record)) => {
                    Some((time, format, sum, record.to_vec()))
                }
                _ => None,
            },
        ))
    }

    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |(.., record)| record.len())
    }

    /// The call, if it is what was written.
    fn parse(&self, id: i64) -> Option<LLMCallData> {
        let (time, format, sum, record) = self.0.as_ref()?;
        let sound = *format == FORMAT && *sum == checksum(id, *time, *format, record);
        sound.then(|| serde_json::from_slice(record).ok()).flatten()
    }
}

impl RawCall {
    fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            record: RawRecord::read(row, [1, 2, 3, 4])?,
        })
    }

    fn parse(self) -> Stored {
        let Self { id, record } = self;
        Stored {
            id,
            time: record.0.as_ref().map_or(0, |(time, ..)| *time),
            call: record.parse(id),
            bytes: record.bytes(),
        }
    }
}

/// All but its call.
fn stored_letter(row: &SqlRow<'_>) -> rusqlite::Result<StoredLetter> {
    // A garbled row may hold anything.
    let number = |column| row.get::<_, i64>(column).ok();
    let text = |column| row.get::<_, String>(column).ok();
    Ok(StoredLetter {
        id: row.get(0)?,
        time: number(1).unwrap_or_default(),
        reason: text(2).unwrap_or_default(),
        error: text(3).unwrap_or_default(),
        status: number(4).and_then(|status| u16::try_from(status).ok()),
        response: text(5),
        send_again: number(6) == Some(1),
        call: None,
    })
}

/// SQLite would have to write in order to read.
fn is_half_made(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

/// Of all that a row says.
fn checksum(id: i64, time: i64, format: i64, record: &[u8]) -> i64 {
    let mut hash = Xxh64::new(0);
    for number in [id, time, format] {
        hash.update(&number.to_le_bytes());
    }
    hash.update(record);
    hash.digest().cast_signed()
}

/// The disk space that a record of so many bytes takes up, about: what SQLite's "Database File Format" says of table
/// leaves and of payload that spills to overflow pages.
pub(super) fn cost(record: usize) -> u64 {
    const PAGE: usize = 4096;
    const PAGE_HEADER: usize = 8;
    const OVERFLOW: usize = PAGE - 4;
    const MOST_LOCAL: usize = PAGE - 35;
    const LEAST_LOCAL: usize = (PAGE - 12) * 32 / 255 - 23;
    /// The other columns; and what a cell needs for itself.
    const COLUMNS: usize = 22;
    const CELL: usize = 8;
    let payload = record + COLUMNS;
    let local = if payload <= MOST_LOCAL {
        payload
    } else {
        let local = LEAST_LOCAL + (payload - LEAST_LOCAL) % OVERFLOW;
        if local <= MOST_LOCAL {
            local
        } else {
            LEAST_LOCAL
        }
    };
    let in_a_leaf = (PAGE - PAGE_HEADER) / (local + CELL);
    let overflow = (payload - local).div_ceil(OVERFLOW);
    (PAGE / in_a_leaf.max(1) + overflow * PAGE) as u64
}

/// Ids, which ascend, as ranges without gaps.
fn ranges(ids: &[i64]) -> Vec<RangeInclusive<i64>> {
    let mut ranges: Vec<RangeInclusive<i64>> = Vec::new();
    for &id in ids {
        match ranges.last_mut() {
            Some(range) if range.end().checked_add(1) == Some(id) => *range = *range.start()..=id,
            _ => ranges.push(id..=id),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn create(dir: &TempDir) -> Store {
        let path = dir.path().canonicalize().unwrap().join("a.db");
        File::create(&path).unwrap();
        Store::create(&path, Durability::Process, WAIT).unwrap()
    }

    fn record(id: i64, bytes: usize) -> Record {
        let call = LLMCallData::new("", "").with_response("x".repeat(bytes));
        Record {
            id,
            time: 7,
            json: serde_json::to_vec(&call).unwrap(),
        }
    }

    fn insert(store: &Store, records: &[Record]) {
        store.insert(records.iter()).unwrap();
    }

    #[test]
    fn what_a_call_costs_is_what_the_file_grows_by() {
        for bytes in [
            0, 200, 500, 900, 1200, 1900, 2100, 3000, 3800, 4100, 5000, 9000, 70_000,
        ] {
            let dir = TempDir::new().unwrap();
            let store = create(&dir);
            let before = store.used_bytes().unwrap();
            let records: Vec<Record> = (1..=100).map(|id| record(id, bytes)).collect();
            let reckoned: u64 = records.iter().map(|record| cost(record.json.len())).sum();
            insert(&store, &records);
            let grown = store.used_bytes().unwrap() - before;
            let ratio = grown as f64 / reckoned as f64;
            assert!((0.85..1.15).contains(&ratio), "{bytes}: {ratio}");
        }
    }

    #[test]
    fn a_checksum_is_of_all_that_a_row_says() {
        let sum = checksum(1, 2, 3, b"record");
        for other in [
            checksum(2, 2, 3, b"record"),
            checksum(1, 3, 3, b"record"),
            checksum(1, 2, 4, b"record"),
            checksum(1, 2, 3, b"recorf"),
            checksum(1, 2, 3, b""),
        ] {
            assert_ne!(sum, other);
        }
        // Files of all versions have it; as computed by the Python package xxhash.
        assert_eq!(sum, 2_796_733_866_787_523_800);
    }

    #[test]
    fn a_form_that_is_not_known_is_not_read() {
        let dir = TempDir::new().unwrap();
        let store = create(&dir);
        let record = record(1, 10);
        for (id, format) in [(1, FORMAT), (2, FORMAT + 1)] {
            let sum = checksum(id, 7, format, &record.json);
            let sql = "INSERT INTO calls VALUES (?1, 7, ?2, ?3, ?4)";
            let row = params![id, format, sum, record.json];
            store.connection.execute(sql, row).unwrap();
        }
        let (stored, result) = store.read(&(1..=2), 10, 10_000);
        result.unwrap();
        let read: Vec<bool> = stored.iter().map(|call| call.call.is_some()).collect();
        assert_eq!(read, [true, false]);
    }

    #[test]
    fn durability_is_what_sqlite_is_told() {
        for (durability, synchronous) in [(Durability::Process, 1), (Durability::Power, 2)] {
            let dir = TempDir::new().unwrap();
            let path = dir.path().canonicalize().unwrap().join("a.db");
            File::create(&path).unwrap();
            let store = Store::create(&path, durability, WAIT).unwrap();
            let pragma = |name| {
                let value = store
                    .connection
                    .pragma_query_value(None, name, |row| row.get(0));
                value.unwrap()
            };
            let level: i64 = pragma("synchronous");
            assert_eq!(level, synchronous);
            let mode = store
                .connection
                .pragma_query_value(None, "journal_mode", |row| row.get(0));
            let mode: String = mode.unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[test]
    fn all_or_none_are_written() {
        let dir = TempDir::new().unwrap();
        let store = create(&dir);
        insert(&store, &[record(3, 10)]);
        let clash = [record(1, 10), record(2, 10), record(3, 10)];
        store.insert(clash.iter()).unwrap_err();
        let contents = store.contents().unwrap();
        assert_eq!(
            contents,
            Some(Contents {
                first: 3,
                last: 3,
                count: 1
            })
        );
        // And the connection works on.
        insert(&store, &[record(4, 10), record(5, 10)]);
        assert_eq!(store.contents().unwrap().unwrap().count, 3);
    }

    #[test]
    fn space_is_given_back() {
        let dir = TempDir::new().unwrap();
        let store = create(&dir);
        let records: Vec<Record> = (1..=3000).map(|id| record(id, 9000)).collect();
        insert(&store, &records);
        let ids: Vec<i64> = (1..=3000).collect();
        store.settle(&ids, &[]).unwrap();
        assert!(store.used_bytes().unwrap() < 100_000);
        for _ in 0..10 {
            store.shrink().unwrap();
        }
        store.checkpoint().unwrap();
        let file = std::fs::metadata(dir.path().join("a.db")).unwrap();
        assert!(file.len() < 20_000_000, "{}", file.len());
    }

    proptest! {
        #[test]
        fn ranges_are_the_ids(ids in proptest::collection::btree_set(any::<i8>(), 0..60)) {
            let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
            let ranges = ranges(&ids);
            let all: Vec<i64> = ranges.iter().cloned().flatten().collect();
            prop_assert_eq!(all, ids);
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].end() + 1 < *pair[1].start());
            }
        }

        #[test]
        fn what_was_written_is_read(
            sizes in proptest::collection::vec(0..9000_usize, 1..40),
            most in 1..10_usize,
            most_bytes in 1..20_000_usize,
        ) {
            let dir = TempDir::new().unwrap();
            let store = create(&dir);
            let records: Vec<Record> = (1..).zip(&sizes).map(|(id, bytes)| record(id, *bytes)).collect();
            insert(&store, &records);
            let mut read = Vec::new();
            let mut first = 1;
            while read.len() < records.len() {
                let (stored, result) = store.read(&(first..=100), most, most_bytes);
                result.unwrap();
                prop_assert!(!stored.is_empty() && stored.len() <= most);
                let before: usize = stored.iter().rev().skip(1).map(|call| call.bytes).sum();
                prop_assert!(before < most_bytes);
                first = stored.last().unwrap().id + 1;
                read.extend(stored);
            }
            for (stored, record) in read.iter().zip(&records) {
                prop_assert_eq!((stored.id, stored.time), (record.id, 7));
                let call = stored.call.as_ref().unwrap();
                prop_assert_eq!(serde_json::to_vec(call).unwrap(), record.json.clone());
            }
        }
    }
}
