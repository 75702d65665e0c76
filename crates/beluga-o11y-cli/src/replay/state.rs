//! What a replay remembers from one run to the next.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::settled::Settled;
use crate::{
    input::Checked,
    output::{Failure, Outcome},
};

const FORMAT: u32 = 1;

/// The state file. It is written whole, beside the old one, and takes its place at once.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// Held for as long as the replay runs, so that no other one goes on from the same state.
    _lock: File,
}

/// What is in it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    format: u32,
    /// By absolute path.
    pub(crate) files: BTreeMap<String, Remembered>,
}

/// What is remembered of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// When calls without a time are taken to have ended: the change of the file at the first run.
    pub(crate) modified: DateTime<Utc>,
    /// A line up to which the file must be as it was.
    pub(crate) checked: Option<Checked>,
    /// By the name and the address of the backend.
    pub(crate) to: BTreeMap<String, Share>,
}

/// What became of the lines of a file at one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    /// Those that are done with: delivered, rejected, or not to be read.
    pub(crate) settled: Settled,
    /// Those of them that did not arrive.
    pub(crate) lost: u64,
}

impl StateFile {
    /// Reads it, if it is there.
    pub(crate) fn open(path: &Path) -> Outcome<(Self, Memory)> {
        let shown = path.display();
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        // It may be a file of somebody else's: what is in it stays.
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(false);
        let lock = options.open(&name).map_err(|error| {
            Failure::Settings(format!("--state: cannot write {shown}.lock: {error}"))
        })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Settings(format!(
                    "--state: another replay is using {shown}; wait for it, or use another file"
                )));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Failure::Settings(format!(
                    "--state: cannot lock {shown}.lock: {error}"
                )));
            }
        }
        let memory = match std::fs::read(path) {
            Ok(text) => serde_json::from_slice::<Memory>(&text)
                .ok()
                .filter(|memory| memory.format == FORMAT)
                .ok_or_else(|| {
                    Failure::Settings(format!(
                        "--state: {shown} is no state of a replay, or one of another version; name another file"
                    ))
                })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Memory {
                format: FORMAT,
                ..Memory::default()
            },
            Err(error) => {
                return Err(Failure::Settings(format!("--state: cannot read {shown}: {error}")));
            }
        };
        let path = path.to_owned();
        Ok((Self { path, _lock: lock }, memory))
    }

    pub(crate) fn save(&self, memory: &Memory) -> std::io::Result<()> {
        let directory = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
        serde_json::to_writer(&mut file, memory)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}
