//! Reads the files one after the other, on a thread of its own.

use std::{
    sync::{Arc, atomic::AtomicU64, mpsc::SyncSender},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{
    lines::{Block, Lines},
    source::{self, Source},
};

/// A line up to which a file was read, and the digest of all that it held then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checked {
    pub(crate) line: u64,
    pub(crate) digest: u64,
}

/// A file to read.
pub(crate) struct Task {
    pub(crate) source: Source,
    /// What it must hold up to some line, if it was read before.
    pub(crate) checked: Option<Checked>,
}

/// What was read. Files are numbered as they were given.
pub(crate) enum Event {
    Opened {
        file: usize,
        modified: SystemTime,
    },
    Block {
        file: usize,
        block: Block,
    },
    /// It cannot be read, or not from that line on.
    Problem {
        file: usize,
        line: Option<u64>,
        what: String,
    },
    /// All of it was read.
    End {
        file: usize,
    },
}

/// Nobody listens any more.
struct Gone;

pub(crate) fn read(tasks: Vec<Task>, read: &Arc<AtomicU64>, events: &SyncSender<Event>) {
    for (file, task) in tasks.into_iter().enumerate() {
        if read_one(file, &task, read, events).is_err() {
            return;
        }
    }
}

fn read_one(
    file: usize,
    task: &Task,
    read: &Arc<AtomicU64>,
    events: &SyncSender<Event>,
) -> Result<(), Gone> {
    let tell = |event| events.send(event).map_err(|_| Gone);
    let problem = |line, what| tell(Event::Problem { file, line, what });
    let input = match task.source.open(read) {
        Ok(input) => input,
        Err(error) => return problem(None, source::problem(&error, false)),
    };
    tell(Event::Opened {
        file,
        modified: input.modified,
    })?;
    let mut lines = Lines::new(input.reader);
    let mut checked = task.checked;
    loop {
        let block = match lines.next_block() {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(error) => {
                let what = source::problem(&error, input.packed);
                return problem(Some(lines.number()), what);
            }
        };
        if let Some(expected) = checked
            && let Some((line, _)) = block.lines().find(|(line, _)| line.number == expected.line)
        {
            if line.digest != expected.digest {
                let what = "the file is not as it was when the state was written; replay it with another state";
                return problem(Some(line.number), what.to_owned());
            }
            checked = None;
        }
        tell(Event::Block { file, block })?;
    }
    if checked.is_some() {
        let what =
            "the file is shorter than when the state was written; replay it with another state";
        return problem(Some(lines.number()), what.to_owned());
    }
    tell(Event::End { file })
}
