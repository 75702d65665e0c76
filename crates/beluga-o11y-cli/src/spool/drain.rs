//! Delivers what ended programs have left.

use std::{
    io::Write,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use beluga_o11y_pipeline::{Pipeline, PipelineStats, Spool};
use indicatif::HumanCount;

use super::{Files, TICK, owner};
use crate::{
    arguments::{Loudness, SpoolDrain, Target},
    backend::{self, Backend},
    delivery::{Ledger, Patience, Watched},
    human, interrupt,
    output::{Failure, Outcome, say},
    screen,
};

/// Nothing falls off while it is being delivered, however old it is.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
const GRACE: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: &SpoolDrain, loudness: Loudness) -> Outcome {
    let only = arguments.exporter.map(Target::name);
    let Files { files, mut failed } = Files::open(&arguments.dir, only)?;
    let mut names: Vec<String> = Vec::new();
    let mut out = anstream::stdout().lock();
    for file in &files {
        let Some(summary) = Files::noted(&mut failed, file.summary()) else {
            continue;
        };
        let to_send = summary.waiting + summary.to_send_again;
        if file.is_damaged() {
            screen::complain(format_args!(
                "{} is damaged and stays as it is",
                file.path().display()
            ));
            failed = true;
        } else if file.is_in_use() {
            if !loudness.quiet {
                say(
                    &mut out,
                    format_args!(
                        "{}, {}: {} left to that program, which delivers what it has",
                        file.exporter(),
                        owner(file),
                        human::count(to_send, "call")
                    ),
                )?;
            }
        } else if to_send > 0 && !names.iter().any(|name| name == file.exporter()) {
            names.push(file.exporter().to_owned());
        }
    }
    drop(out);
    let mut targets = Vec::new();
    for name in &names {
        match Target::by_name(name).filter(|target| *target != Target::None) {
            Some(target) => targets.push(target),
            None => {
                failed = true;
                screen::complain(format_args!(
                    "the exporter {name} is the program's own: start the program, which delivers its calls"
                ));
            }
        }
    }
    if targets.is_empty() {
        if !failed && !loudness.quiet {
            writeln!(anstream::stdout(), "there is nothing to deliver")?;
        }
        return Files::end(failed);
    }
    if targets.len() > 1 && arguments.connection.is_set() {
        return Err(Failure::settings(
            "flags for the connection are for one backend: name one with --exporter, or set the variables of each",
        ));
    }
    interrupt::handle();
    for target in targets {
        // One that is not set up keeps no other waiting.
        match backend::open(&[target], &arguments.connection) {
            Ok(backends) => {
                for backend in backends {
                    failed |= !drain(arguments, loudness, &backend)?;
                }
            }
            Err(failure) => {
                failed = true;
                screen::complain(failure);
            }
        }
        if interrupt::asked() {
            return Err(Failure::Interrupted);
        }
    }
    Files::end(failed)
}

/// Returns whether everything has arrived.
fn drain(arguments: &SpoolDrain, loudness: Loudness, backend: &Arc<dyn Backend>) -> Outcome<bool> {
    let ledger = Arc::new(Ledger::new(|()| {}));
    let watched = Watched {
        backend: Arc::clone(backend),
        ledger: Arc::clone(&ledger),
    };
    let spool = Spool::new(&*arguments.dir)
        .with_max_age(FOR_EVER)
        .with_max_bytes(u64::MAX >> 1);
    let pipeline = Pipeline::builder(watched)
        .with_spool(spool)
        .with_drop_timeout(Duration::ZERO)
        .spawn()
        .map_err(Failure::failed)?;
    let bar = screen::bar(loudness, "[{bar:24}] {msg}");
    let mut patience = Patience::new(backend.name(), arguments.patience);
    let mut hopeless = None;
    let mut stats = first_look(&pipeline);
    while stats.pending > 0 && hopeless.is_none() && !interrupt::asked() {
        thread::sleep(TICK);
        stats = pipeline.stats();
        hopeless = patience.is_over(&stats, &ledger);
        bar.set_length(stats.recovered);
        bar.set_position(stats.recovered - stats.pending.min(stats.recovered));
        bar.set_message(format!(
            "{}: {} of {} calls",
            backend.name(),
            HumanCount(stats.delivered),
            HumanCount(stats.recovered)
        ));
    }
    bar.finish_and_clear();
    if let Some(why) = &hopeless {
        screen::complain(why);
    }
    ledger.halt();
    ledger.answers_by(Instant::now() + GRACE);
    let stats = pipeline.shutdown(Duration::from_secs(1)).stats;
    let (left, looked) = left(&arguments.dir, backend.name())?;
    if left > stats.pending {
        screen::complain(format_args!(
            "{}: what waits in {} was not taken up; check that its files can be written",
            backend.name(),
            arguments.dir.display()
        ));
    }
    if !loudness.quiet {
        say(
            &mut anstream::stdout(),
            told(backend.as_ref(), &stats, left),
        )?;
    }
    Ok(left == 0 && looked && stats.pending == 0 && stats.delivered == stats.recovered)
}

/// Waits until it is known what there is.
fn first_look(pipeline: &Pipeline) -> PipelineStats {
    let until = Instant::now() + GRACE;
    loop {
        let start = Instant::now();
        let stats = pipeline.flush_within(TICK).stats;
        let known = stats.recovered > 0 || start.elapsed() < TICK;
        if known || start > until || interrupt::asked() {
            return stats;
        }
    }
}

/// How many calls nobody has who could deliver them, and whether all files could be read.
fn left(directory: &Path, exporter: &str) -> Outcome<(u64, bool)> {
    let Files { files, mut failed } = Files::open(directory, Some(exporter))?;
    let mut left = 0;
    for file in files.iter().filter(|file| !file.is_in_use()) {
        if let Some(summary) = Files::noted(&mut failed, file.summary()) {
            left += summary.waiting + summary.to_send_again;
        }
    }
    Ok((left, !failed))
}

fn told(backend: &dyn Backend, stats: &PipelineStats, left: u64) -> String {
    let mut line = format!(
        "{} ({}): {} delivered",
        backend.name(),
        backend.destination(),
        HumanCount(stats.delivered)
    );
    for (count, what) in [
        (stats.rejected, "rejected, see `spool dead`"),
        (stats.dropped.total(), "lost"),
        (left.max(stats.pending), "still wait"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {} {what}", HumanCount(count)));
        }
    }
    line
}
