//! Keeps calls on disk until they are delivered.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::LLMCallData;

use crate::{DeadLetter, PipelineError, SpoolStats, pipeline::Shared, row::Row};

use desk::Desk;
use directory::{Directory, DirectoryError, InUse};
use keeper::Keeper;
use store::Letter;

mod desk;
mod directory;
mod keeper;
mod look;
mod store;

pub use look::{
    SpoolDirectory, SpoolError, SpoolFile, SpoolSummary, SpooledCalls, SpooledDeadLetter,
    SpooledDeadLetters,
};

/// The spool of a pipeline, as the pipeline sees it.
#[derive(Debug)]
pub(crate) struct Disk {
    desk: Arc<Desk>,
}

/// What is needed to start the spool's thread.
#[derive(Debug)]
pub(crate) struct Opening {
    desk: Arc<Desk>,
    directory: Option<(Directory, InUse)>,
}

impl Spool {
    /// Finds out whether the directory can be used.
    pub(crate) fn open(
        self,
        exporter: &str,
        drops_oldest: bool,
    ) -> Result<(Disk, Opening), PipelineError> {
        const LEAST_BYTES: u64 = 1 << 20;
        let setting = |setting, problem: String| PipelineError::Setting { setting, problem };
        if self.max_bytes < LEAST_BYTES {
            let problem = format!("{} is less than {LEAST_BYTES}", self.max_bytes);
            return Err(setting("Spool::with_max_bytes", problem));
        }
        if self.write_timeout.is_zero() {
            let problem = "nothing can be written in no time".to_owned();
            return Err(setting("Spool::with_write_timeout", problem));
        }
        let directory = match Directory::prepare(&self.directory, exporter) {
            Ok(directory) => {
                let in_use = InUse::new(directory.path()).ok_or_else(|| {
                    let problem = format!(
                        "{} is in use by another pipeline of this process, whose calls it would mix up with its own at \
                         the next start; give each pipeline a directory of its own",
                        directory.path().display()
                    );
                    setting("with_spool", problem)
                })?;
                Some((directory, in_use))
            }
            Err(problem @ DirectoryError::Unfit { .. }) => {
                return Err(setting("with_spool", problem.to_string()));
            }
            // Perhaps it can be made later.
            Err(DirectoryError::Io { .. }) => None,
        };
        let desk = Arc::new(Desk::new(self, drops_oldest));
        let disk = Disk {
            desk: Arc::clone(&desk),
        };
        Ok((disk, Opening { desk, directory }))
    }
}

impl Opening {
    /// Makes the file, and starts the thread.
    pub(crate) fn start(self, shared: Arc<Shared>) -> Result<(), PipelineError> {
        let name = format!("o11y-disk-{}", shared.name.replace('\0', ""));
        let keeper = Keeper::new(self.desk, shared, self.directory);
        thread::Builder::new()
            .name(name)
            .spawn(move || keeper.run())
            .map_err(PipelineError::Thread)?;
        Ok(())
    }
}

impl Disk {
    /// Writes a call, and waits for it, at most as long as was set. Returns where it is, if it may be there.
    pub(crate) fn write(&self, call: &LLMCallData) -> Option<Row> {
        let json = serde_json::to_vec(call).ok()?;
        self.desk.write(json)
    }

    /// That call waits on disk alone from now on.
    pub(crate) fn park(&self, row: Row, epoch: u64) {
        self.desk.park(row, epoch);
    }

    /// These calls have left the pipeline.
    pub(crate) fn settle(&self, rows: impl IntoIterator<Item = Row>) {
        self.desk.settle(rows, None);
    }

    /// That call has left the pipeline, and is kept as a dead letter.
    pub(crate) fn bury(&self, row: Option<Row>, letter: &DeadLetter) {
        self.desk.settle(row, Letter::new(letter));
    }

    /// There may be room for calls that wait on disk.
    pub(crate) fn wake(&self) {
        self.desk.wake();
    }

    pub(crate) fn stats(&self) -> SpoolStats {
        self.desk.lock().stats
    }

    /// Asks for the dead letters to be sent again. Returns how many there are.
    pub(crate) fn send_dead_letters_again(&self) -> u64 {
        let mut state = self.desk.lock();
        state.send_again = true;
        let count = state.stats.dead_letters;
        drop(state);
        self.desk.wake();
        count
    }

    /// Waits until it is known what earlier processes have left.
    pub(crate) fn adopted_by(&self, until: Instant) {
        self.desk.adopted_by(until);
    }

    /// Waits until what has left the pipeline is deleted.
    pub(crate) fn cleared_by(&self, until: Instant) {
        self.desk.cleared_by(until);
    }

    /// Lets go of the files.
    pub(crate) fn close(&self) {
        self.desk.close();
    }

    /// Waits until the files are free.
    pub(crate) fn closed_by(&self, until: Instant) {
        self.desk.closed_by(until);
    }
}

/// Where and how a pipeline keeps calls on disk until its backend has taken them:
/// [`with_spool`](crate::PipelineBuilder::with_spool).
///
/// ```
/// use std::time::Duration;
///
/// use beluga_o11y_pipeline::{Durability, Spool};
///
/// let spool = Spool::new("/var/lib/my-program/llm-calls")
///     .with_durability(Durability::Power)
///     .with_max_bytes(256 << 20)
///     .with_max_age(Duration::from_secs(24 * 60 * 60));
/// ```
#[derive(Clone, Debug)]
pub struct Spool {
    directory: PathBuf,
    durability: Durability,
    max_bytes: u64,
    max_age: Duration,
    write_timeout: Duration,
}

/// What an accepted call survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The end of the process, however it comes: the call is with the operating system before `submit` returns. A power
    /// failure may cost the calls of the last seconds (SQLite: `journal_mode=WAL`, `synchronous=NORMAL`).
    #[default]
    Process,
    /// Also a crash of the system and a power failure: the call is on the disk itself before `submit` returns, which
    /// takes as long as the disk takes, often milliseconds (`synchronous=FULL`). Calls that are submitted at the same
    /// time go to the disk together.
    Power,
}

impl Spool {
    /// A spool in this directory, which is made if need be. Each process makes files of its own in it, and takes over
    /// those that ended processes have left.
    ///
    /// Choose one that belongs to this program and this backend, on a local disk. There is no default: a spool holds
    /// prompts and answers.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::default(),
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(7 * 24 * 60 * 60),
            write_timeout: Duration::from_millis(100),
        }
    }

    /// What an accepted call survives. Default: [`Durability::Process`].
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The most disk space for calls and dead letters, in bytes, without the write-ahead log. Default: 1 GiB. At
    /// least 1 MiB.
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long a call or a dead letter is kept, by the system's clock. Default: 7 days.
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How long `submit` waits for the disk, at most. Then the call goes by memory, and is counted as
    /// [`not_durable`](SpoolStats::not_durable). Default: 100 ms.
    pub fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }
}

impl Spool {
    pub(crate) fn max_age(&self) -> Duration {
        self.max_age
    }
}

impl From<PathBuf> for Spool {
    fn from(directory: PathBuf) -> Self {
        Self::new(directory)
    }
}

impl From<&Path> for Spool {
    fn from(directory: &Path) -> Self {
        Self::new(directory)
    }
}

impl From<&str> for Spool {
    fn from(directory: &str) -> Self {
        Self::new(directory)
    }
}

impl From<String> for Spool {
    fn from(directory: String) -> Self {
        Self::new(directory)
    }
}
