//! Standard error: a progress bar, if a person looks at it, and everything else above it.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt};

use crate::{arguments::Loudness, output};

/// The bar that is on the screen. What is written must go above it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A progress bar, if standard error is a terminal and the user wants to see it; else one that nobody sees.
pub(crate) fn bar(loudness: Loudness, template: &str) -> ProgressBar {
    let seen = io::stderr().is_terminal() && !loudness.quiet;
    let target = match seen {
        true => ProgressDrawTarget::stderr_with_hz(10),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    if seen {
        bar.enable_steady_tick(Duration::from_millis(100));
    }
    *shown() = Some(bar.clone());
    bar
}

/// An error, above the bar.
pub(crate) fn complain(problem: impl std::fmt::Display) {
    above(|| output::complain(problem));
}

/// A remark, above the bar.
pub(crate) fn remark(text: impl std::fmt::Display) {
    above(|| output::remark(text));
}

fn above<T>(print: impl FnOnce() -> T) -> T {
    // A copy: what is printed may have something to say itself.
    let bar = shown().clone();
    match bar {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows the library's own log on standard error: warnings, and more if the user asks for it.
pub(crate) fn log(loudness: Loudness) {
    let level = match (loudness.quiet, loudness.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::TRACE,
    };
    // What a pipeline warns of, the command tells itself.
    let pipeline = match loudness.verbose {
        0 => LevelFilter::ERROR,
        _ => level,
    };
    // Of the libraries below, nobody knows what they write.
    let filter = Targets::new()
        .with_target("beluga_o11y", level)
        .with_target("beluga_o11y_pipeline", pipeline);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(false)
        .without_time()
        .with_writer(AboveTheBar)
        .with_filter(filter);
    // There is no other one in this process.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
}

struct AboveTheBar;

impl<'a> MakeWriter<'a> for AboveTheBar {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for AboveTheBar {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // A file's name or a variable's value may be in it.
        let shown = output::visible_lines(&String::from_utf8_lossy(text));
        above(|| io::stderr().lock().write_all(shown.as_bytes()))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
