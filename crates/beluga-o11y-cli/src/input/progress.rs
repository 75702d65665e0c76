//! How far reading has come, for whoever looks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, HumanCount, ProgressBar};

use crate::{arguments::Loudness, human, screen};

/// How often it is shown.
const EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Progress {
    bar: ProgressBar,
    total: Option<u64>,
    /// Bytes that were read so far, packed as they are.
    pub(crate) read: Arc<AtomicU64>,
    started: Instant,
    shown: Instant,
}

impl Progress {
    /// Over so many bytes, if that is known.
    pub(crate) fn new(loudness: Loudness, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "[{bar:24}] {msg}",
            None => "{spinner} {msg}",
        };
        let bar = screen::bar(loudness, template);
        bar.set_length(1000);
        let now = Instant::now();
        Self {
            bar,
            total,
            read: Arc::default(),
            started: now,
            shown: now,
        }
    }

    /// After so many calls.
    pub(crate) fn at(&mut self, calls: u64) {
        if self.bar.is_hidden() || self.shown.elapsed() < EVERY {
            return;
        }
        self.shown = Instant::now();
        let elapsed = self.started.elapsed().as_secs_f64();
        let read = self.read.load(Ordering::Relaxed);
        let mut message = String::new();
        if let Some(total) = self.total {
            let share = (read as f64 / total as f64).clamp(0.0, 1.0);
            self.bar.set_position((share * 1000.0) as u64);
            message = format!("{:>3.0} %  ", share * 100.0);
            if share > 0.0 && elapsed > 1.0 {
                let left = Duration::from_secs_f64(elapsed * (1.0 - share) / share);
                message.push_str(&format!("{} left  ", human::duration(left)));
            }
        }
        let rate = read as f64 / elapsed.max(0.001);
        message.push_str(&format!(
            "{} calls  {}/s",
            HumanCount(calls),
            HumanBytes(rate as u64)
        ));
        self.bar.set_message(message);
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
