//! A spool directory, seen from outside.
//!
//! A file may belong to a program that writes to it meanwhile, or be taken over or removed at any moment. So it is read
//! as SQLite lets several processes read, a few rows at a time, and its log is left to whoever owns it.

use std::{
    fmt, fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
    vec,
};

use beluga_o11y::LLMCallData;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::{
    directory::{exporter_of, is_in_use, length, remove, with_suffix},
    store::{self, Store, StoreError, Stored, StoredLetter, Table},
};
use crate::dead_letter::Line;

/// The most rows that are read at a time, and of their bytes.
const AT_ONCE: usize = 100;
const BYTES_AT_ONCE: usize = 128 * 1024;
/// What a file is set aside as.
const DAMAGED: &str = ".damaged";

/// A spool directory, seen from outside: for tools that look at what waits in it. It works beside the programs that use
/// the directory, and changes nothing but what it is told to.
///
/// ```no_run
/// use beluga_o11y_pipeline::{SpoolDirectory, SpoolError};
///
/// fn print(path: &str) -> Result<(), SpoolError> {
///     for file in SpoolDirectory::open(path)?.files()? {
///         let summary = file.summary()?;
///         println!("{}: {} waiting", file.exporter(), summary.waiting);
///     }
///     Ok(())
/// }
/// # print("spool").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct SpoolDirectory {
    path: PathBuf,
}

/// A file of a spool: one process writes to it, or has left it. What is read is what there is at that moment.
///
/// A file that vanishes meanwhile was delivered or taken over: nothing is in it any more.
#[derive(Clone, Debug)]
pub struct SpoolFile {
    path: PathBuf,
    exporter: String,
    is_in_use: bool,
    is_damaged: bool,
}

/// What is in a file of a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolSummary {
    /// Calls that wait to be delivered.
    pub waiting: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Those of the dead letters that are marked to be sent again.
    pub to_send_again: u64,
    /// When the oldest of the calls that wait was accepted.
    pub oldest: Option<DateTime<Utc>>,
    /// The disk space of the file with its log, in bytes.
    pub bytes: u64,
}

/// A dead letter in a spool.
///
/// Its JSON form is that of [`DeadLetter`](crate::DeadLetter); where the call is damaged, `record` is null.
#[derive(Clone)]
#[non_exhaustive]
pub struct SpooledDeadLetter {
    /// Its number in its file. Another one may have it later.
    pub id: i64,
    /// When the call was given up.
    pub time: DateTime<Utc>,
    /// The exporter that it was meant for.
    pub exporter: String,
    /// Why it was given up, as [`LossReason`](crate::LossReason) prints; or `damaged`, if it was found not to be what was
    /// written.
    pub reason: String,
    /// What the exporter said about it last.
    pub error: String,
    /// The HTTP status, if a server answered.
    pub status: Option<u16>,
    /// The start of what the server said. It may quote the call.
    pub response: Option<String>,
    /// Whether it is marked to be sent again.
    pub send_again: bool,
    /// The call. Nothing if it is damaged.
    pub call: Option<LLMCallData>,
}

/// The calls that wait in a file of a spool, oldest first: [`SpoolFile::calls`].
#[derive(Debug)]
pub struct SpooledCalls(Pages<Stored>);

/// The dead letters in a file of a spool, oldest first: [`SpoolFile::dead_letters`].
#[derive(Debug)]
pub struct SpooledDeadLetters(Pages<StoredLetter>);

/// Why a spool cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// There is no such directory.
    #[error(
        "spool: {} does not exist; name the directory that the program was given",
        path.display()
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// It is something else.
    #[error(
        "spool: {} is not a directory; name the directory that the program was given, not a file in it",
        path.display()
    )]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A directory or a lock cannot be read.
    #[error(
        "spool: cannot read {}; only the user that the program runs as can",
        path.display()
    )]
    Io {
        /// What cannot be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a link or a device in place of a file, which no program of a spool makes or follows.
    #[error("spool: {} is not a regular file; it is not used", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file belongs to another program.
    #[error("spool: {} is not a spool file; it does not belong here", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version of this library.
    #[error(
        "spool: {} was written by a newer version of this library (format {version}); look at it with that one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its tables.
        version: i64,
    },
    /// The file is damaged.
    #[error(
        "spool: {} is damaged: {problem}; the program that takes it over sends what can be read, and keeps the file",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        problem: String,
    },
    /// One call in the file is not what was written. The others are.
    #[error(
        "spool: call {id} of {} is not what was written; it is not sent, but kept as a dead letter",
        path.display()
    )]
    DamagedCall {
        /// The file.
        path: PathBuf,
        /// The number of the call in it.
        id: i64,
    },
    /// The file cannot be opened, read or written now.
    #[error(
        "spool: {} cannot be used now: {problem}; try again, as a user who may write to its directory",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        problem: String,
    },
}

impl SpoolDirectory {
    /// The directory that [`Spool::new`](crate::Spool::new) was given.
    ///
    /// # Errors
    ///
    /// If it does not exist, is not a directory, or cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SpoolError> {
        let given = path.into();
        // SQLite follows no links at all.
        let path = match fs::canonicalize(&given) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SpoolError::Missing { path: given });
            }
            Err(source) => {
                return Err(SpoolError::Io {
                    path: given,
                    source,
                });
            }
            Ok(path) => path,
        };
        if !path.is_dir() {
            return Err(SpoolError::NotADirectory { path: given });
        }
        match fs::read_dir(&path) {
            Ok(_) => Ok(Self { path }),
            Err(source) => Err(SpoolError::Io {
                path: given,
                source,
            }),
        }
    }

    /// All files, by exporter, oldest first; also those that were set aside as damaged. Of an empty directory there are
    /// none.
    ///
    /// # Errors
    ///
    /// If a directory or a lock cannot be read. Whether a file can be is found out when it is looked at.
    pub fn files(&self) -> Result<Vec<SpoolFile>, SpoolError> {
        let mut files = Vec::new();
        for (name, path) in entries(&self.path)? {
            let is_dir = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            let Some(exporter) = exporter_of(&name).filter(|_| is_dir) else {
                continue;
            };
            for (name, path) in entries(&path)? {
                let is_damaged = name.ends_with(&format!(".db{DAMAGED}"));
                if !is_damaged && !name.ends_with(".db") {
                    continue;
                }
                let in_use = !is_damaged && is_in_use(&path).map_err(unreadable(&path))?;
                files.push(SpoolFile {
                    path,
                    exporter: exporter.clone(),
                    is_in_use: in_use,
                    is_damaged,
                });
            }
        }
        files.sort_by(|one, other| (&one.exporter, &one.path).cmp(&(&other.exporter, &other.path)));
        Ok(files)
    }
}

/// What is in a directory. Names that are no text are not ours.
fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, SpoolError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(unreadable(directory))?,
    };
    let mut named = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable(directory))?;
        if let Ok(name) = entry.file_name().into_string() {
            named.push((name, entry.path()));
        }
    }
    Ok(named)
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> SpoolError {
    move |source| SpoolError::Io {
        path: path.to_owned(),
        source,
    }
}

impl SpoolFile {
    /// The exporter whose calls are in it.
    pub fn exporter(&self) -> &str {
        &self.exporter
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a living process owned it when the directory was read.
    pub fn is_in_use(&self) -> bool {
        self.is_in_use
    }

    /// The id of the process that made it, which is the one that writes to it as long as it lives. It is part of the
    /// file's name; nothing if the file has another name.
    pub fn process_id(&self) -> Option<u32> {
        let name = self.path.file_name()?.to_str()?;
        let (stem, _) = name.split_once('.')?;
        let mut numbers = stem.split('-').map(|part| part.parse::<u64>().ok());
        match (
            numbers.next(),
            numbers.next(),
            numbers.next(),
            numbers.next(),
        ) {
            (Some(Some(_)), Some(Some(process)), Some(Some(_)), None) => process.try_into().ok(),
            _ => None,
        }
    }

    /// Whether it was set aside, since it is damaged. What could be read of it was sent then, and no program touches it
    /// any more.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// What is in it.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is not a file of this version.
    pub fn summary(&self) -> Result<SpoolSummary, SpoolError> {
        let Some(store) = self.look()? else {
            return Ok(SpoolSummary {
                bytes: self.bytes(),
                ..SpoolSummary::default()
            });
        };
        let summary = || {
            let (waiting, oldest) = store.tally(Table::Calls)?;
            Ok(SpoolSummary {
                waiting,
                dead_letters: store.tally(Table::DeadLetters)?.0,
                to_send_again: store.dead_letters_to_send()?,
                oldest: oldest.and_then(DateTime::from_timestamp_millis),
                bytes: self.bytes(),
            })
        };
        self.unless_gone(summary())
    }

    fn bytes(&self) -> u64 {
        ["", "-wal", "-shm", "-journal"]
            .iter()
            .map(|suffix| length(&with_suffix(&self.path, suffix)))
            .sum()
    }

    /// The calls that wait in it, oldest first. They are read a few at a time, so that any number takes little memory:
    /// a call that is delivered before its turn does not come, nor does one that is accepted from now on.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is not a file of this version.
    pub fn calls(&self) -> Result<SpooledCalls, SpoolError> {
        let read =
            |store: &Store, ids: &RangeInclusive<i64>| store.read(ids, AT_ONCE, BYTES_AT_ONCE);
        Ok(SpooledCalls(Pages::new(
            self,
            Table::Calls,
            read,
            |stored| stored.id,
        )?))
    }

    /// The dead letters in it, oldest first. They are read a few at a time, like [`calls`](Self::calls).
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is not a file of this version.
    pub fn dead_letters(&self) -> Result<SpooledDeadLetters, SpoolError> {
        let read =
            |store: &Store, ids: &RangeInclusive<i64>| store.letters(ids, AT_ONCE, BYTES_AT_ONCE);
        Ok(SpooledDeadLetters(Pages::new(
            self,
            Table::DeadLetters,
            read,
            |letter| letter.id,
        )?))
    }

    /// Marks its dead letters to be sent again, but for damaged ones. The program that has the file sends them within
    /// seconds; where none has it, the next one that takes it over. Returns how many are marked.
    ///
    /// They are marked a few at a time, with pauses for the program that writes meanwhile. None is in a file that was set
    /// aside, since nobody would send it.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written, or is not a file of this version. Some may be marked then.
    pub fn send_dead_letters_again(&self) -> Result<u64, SpoolError> {
        /// Little enough that a `submit` of the program never waits for long.
        const AT_ONCE: usize = 50;
        const BYTES_AT_ONCE: i64 = 128 * 1024;
        const PAUSE: Duration = Duration::from_millis(5);
        if self.is_damaged {
            return Ok(0);
        }
        // Whoever opens it to write may have to mend it: not where there is nothing to mark.
        let Some(store) = self.look()? else {
            return Ok(0);
        };
        // Those that die from now on are not meant.
        let Some(last) = self.unless_gone(store.last(Table::DeadLetters))? else {
            return Ok(0);
        };
        drop(store);
        let Some(store) = self.open(true)? else {
            return Ok(0);
        };
        let (mut first, mut marked) = (i64::MIN, 0);
        loop {
            let began = Instant::now();
            let step = store.mark_to_send(&(first..=last), AT_ONCE, BYTES_AT_ONCE);
            let Some((through, count)) = self.unless_gone(step)? else {
                return Ok(marked);
            };
            marked += count;
            match through.checked_add(1) {
                // Pages that do not belong together may go round for ever.
                Some(next) if next > first && next <= last => first = next,
                _ => return Ok(marked),
            }
            thread::sleep(PAUSE + began.elapsed());
        }
    }

    /// Nothing if nothing is in it.
    fn look(&self) -> Result<Option<Store>, SpoolError> {
        self.open(false)
    }

    fn open(&self, writes: bool) -> Result<Option<Store>, SpoolError> {
        /// What SQLite makes of a database without tables.
        const PAGE: u64 = 4096;
        // First of all the log, which is made after the file and removed after it.
        let has_log = length(&with_suffix(&self.path, "-wal")) > 0;
        let bytes = match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => {
                return Err(SpoolError::NotAFile {
                    path: self.path.clone(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&self.path)(error)),
        };
        match (bytes, has_log) {
            (0, false) => return Ok(None),
            // SQLite would delete the log.
            (0, true) => {
                return Err(SpoolError::Damaged {
                    path: self.path.clone(),
                    problem: "it is empty, and its log is not".to_owned(),
                });
            }
            // It is only just being made: until it has a log, those who read are in the way of the one who writes.
            (1..=PAGE, false) if self.is_in_use => return Ok(None),
            _ => {}
        }
        let store = self.unless_gone(Store::look(&self.path, writes))?;
        if self.is_gone() {
            // SQLite may have made them anew. A log that is not empty goes with a file that is being renamed.
            drop(store);
            let _ = remove(&with_suffix(&self.path, "-shm"));
            let log = with_suffix(&self.path, "-wal");
            if length(&log) == 0 {
                let _ = remove(&log);
            }
            return Ok(None);
        }
        Ok(store)
    }

    fn is_gone(&self) -> bool {
        let metadata = fs::symlink_metadata(&self.path);
        metadata.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// In a file that vanished meanwhile there is nothing.
    fn unless_gone<T: Default>(&self, result: store::Result<T>) -> Result<T, SpoolError> {
        match result {
            Ok(found) => Ok(found),
            Err(_) if self.is_gone() => Ok(T::default()),
            Err(error) => Err(self.error(error)),
        }
    }

    fn error(&self, error: StoreError) -> SpoolError {
        let path = self.path.clone();
        match error {
            StoreError::Foreign => SpoolError::Foreign { path },
            StoreError::Newer(version) => SpoolError::Newer { path, version },
            StoreError::Io(source) => SpoolError::Io { path, source },
            StoreError::Damaged(error) => SpoolError::Damaged {
                path,
                problem: error.to_string(),
            },
            StoreError::Sqlite(error) => SpoolError::Unusable {
                path,
                problem: error.to_string(),
            },
        }
    }
}

type Read<T> = fn(&Store, &RangeInclusive<i64>) -> (Vec<T>, store::Result<()>);

/// Reads a table a few rows at a time, with pauses: the log of the program that writes to the file cannot begin anew
/// while somebody reads.
struct Pages<T> {
    file: SpoolFile,
    /// Nothing once all is read.
    store: Option<Store>,
    ids: RangeInclusive<i64>,
    read: Read<T>,
    id: fn(&T) -> i64,
    page: vec::IntoIter<T>,
    /// What came after the page.
    error: Option<SpoolError>,
}

impl<T> Pages<T> {
    fn new(
        file: &SpoolFile,
        table: Table,
        read: Read<T>,
        id: fn(&T) -> i64,
    ) -> Result<Self, SpoolError> {
        let store = file.look()?;
        // A program may write faster than this is read.
        let last = store.as_ref().map_or(Ok(None), |store| store.last(table));
        let last = file.unless_gone(last)?;
        Ok(Self {
            file: file.clone(),
            store: store.filter(|_| last.is_some()),
            ids: i64::MIN..=last.unwrap_or(i64::MIN),
            read,
            id,
            page: Vec::new().into_iter(),
            error: None,
        })
    }

    /// Whether there is anything more.
    fn turn(&mut self) -> bool {
        let Some(store) = self.store.take() else {
            return false;
        };
        let began = Instant::now();
        let (page, result) = (self.read)(&store, &self.ids);
        if *self.ids.start() > i64::MIN {
            // Whoever goes on at once would hardly ever let the log begin anew.
            thread::sleep(began.elapsed());
        }
        let next = page.last().and_then(|row| (self.id)(row).checked_add(1));
        match (self.file.unless_gone(result), next) {
            (Err(error), _) => self.error = Some(error),
            // Pages that do not belong together may go round for ever.
            (Ok(()), Some(next)) if next > *self.ids.start() && next <= *self.ids.end() => {
                self.ids = next..=*self.ids.end();
                self.store = Some(store);
            }
            (Ok(()), _) => {}
        }
        self.page = page.into_iter();
        true
    }
}

impl<T> Iterator for Pages<T> {
    type Item = Result<T, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(Ok(row));
            }
            if let Some(error) = self.error.take() {
                return Some(Err(error));
            }
            if !self.turn() {
                return None;
            }
        }
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("file", &self.file)
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

impl Iterator for SpooledCalls {
    type Item = Result<LLMCallData, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        let stored = self.0.next()?;
        Some(stored.and_then(|stored| {
            stored.call.ok_or_else(|| SpoolError::DamagedCall {
                path: self.0.file.path.clone(),
                id: stored.id,
            })
        }))
    }
}

impl Iterator for SpooledDeadLetters {
    type Item = Result<SpooledDeadLetter, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        let letter = self.0.next()?;
        Some(letter.map(|letter| SpooledDeadLetter {
            id: letter.id,
            time: DateTime::from_timestamp_millis(letter.time).unwrap_or_default(),
            exporter: self.0.file.exporter.clone(),
            reason: letter.reason,
            error: letter.error,
            status: letter.status,
            response: letter.response,
            send_again: letter.send_again,
            call: letter.call,
        }))
    }
}

impl Serialize for SpooledDeadLetter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line {
            time: self.time,
            exporter: &self.exporter,
            reason: &self.reason,
            error: &self.error,
            status: self.status,
            response: self.response.as_deref(),
            record: self.call.as_ref(),
        }
        .serialize(serializer)
    }
}

/// Shows neither content nor what the server answered, which may quote it.
impl fmt::Debug for SpooledDeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpooledDeadLetter")
            .field("id", &self.id)
            .field("time", &self.time)
            .field("exporter", &self.exporter)
            .field("reason", &self.reason)
            .field("error", &self.error)
            .field("status", &self.status)
            .field("send_again", &self.send_again)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}
