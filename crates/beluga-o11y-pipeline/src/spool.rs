//! Keeps calls on disk until they are delivered.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
    pub(crate) directory: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) max_bytes: u64,
    pub(crate) max_age: Duration,
    pub(crate) write_timeout: Duration,
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

    /// How long a call or a dead letter is kept. Default: 7 days.
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How long `submit` waits for the disk, at most. Default: 100 ms.
    pub fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
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
