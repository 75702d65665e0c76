//! What is said of bad lines.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::screen;

/// How many bad lines of a file are shown; the rest is counted.
const MAX_COMPLAINTS: u64 = 20;

/// What is wrong with files and lines, for the user.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    count: AtomicU64,
    hidden: AtomicU64,
    /// How many were shown, by file.
    shown: Mutex<BTreeMap<String, u64>>,
}

impl Complaints {
    /// About a line. The first ones of a file are shown.
    pub(crate) fn line(&self, source: &str, line: u64, problem: impl Display) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = shown.entry(source.to_owned()).or_default();
        if *shown < MAX_COMPLAINTS {
            *shown += 1;
            screen::complain(format_args!("{source}:{line}: {problem}"));
        } else {
            self.hidden.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// About what concerns more than a line.
    pub(crate) fn whole(&self, problem: impl Display) {
        self.count.fetch_add(1, Ordering::Relaxed);
        screen::complain(problem);
    }

    pub(crate) fn any(&self) -> bool {
        self.count() > 0
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Those that were not shown.
    pub(crate) fn hidden(&self) -> u64 {
        self.hidden.load(Ordering::Relaxed)
    }
}
