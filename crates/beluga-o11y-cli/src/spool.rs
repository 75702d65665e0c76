//! Looks after the directory where a program keeps calls.

mod drain;

use std::{
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use beluga_o11y_pipeline::{SpoolDirectory, SpoolError, SpoolFile, SpoolSummary};
use chrono::{DateTime, SecondsFormat, Utc};
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use crate::{
    arguments::{Loudness, Spool, SpoolDead, SpoolFilter, SpoolStatus},
    human,
    output::{Failure, Outcome, json_line, say, table, visible, wrap},
    screen,
};

/// How often a drain looks around.
const TICK: Duration = Duration::from_millis(100);
/// Where the error of a dead letter begins.
const INDENT: usize = 4;

pub(crate) fn run(arguments: &Spool, loudness: Loudness) -> Outcome {
    match arguments {
        Spool::Status(arguments) => status(arguments),
        Spool::Drain(arguments) => drain::run(arguments, loudness),
        Spool::Export(filter) => export(filter),
        Spool::Dead(arguments) => dead(arguments),
        Spool::RetryDead(filter) => retry_dead(filter, loudness),
    }
}

/// The files in a directory, and whether all of them could be read so far.
struct Files {
    files: Vec<SpoolFile>,
    failed: bool,
}

impl Files {
    fn open(directory: &Path, exporter: Option<&str>) -> Outcome<Self> {
        let files = SpoolDirectory::open(directory).and_then(|directory| directory.files());
        let mut files = files.map_err(Failure::failed)?;
        files.retain(|file| exporter.is_none_or(|exporter| file.exporter() == exporter));
        Ok(Self {
            files,
            failed: false,
        })
    }

    fn of(filter: &SpoolFilter) -> Outcome<Self> {
        Self::open(&filter.dir, filter.exporter.as_deref())
    }

    /// What was read, or nothing after saying why not.
    fn noted<T>(failed: &mut bool, read: Result<T, SpoolError>) -> Option<T> {
        read.map_err(|error| {
            *failed = true;
            screen::complain(error);
        })
        .ok()
    }

    fn end(failed: bool) -> Outcome {
        match failed {
            true => Err(Failure::Told),
            false => Ok(()),
        }
    }
}

/// Who has a file.
fn owner(file: &SpoolFile) -> String {
    let by = file
        .process_id()
        .map(|id| format!(" by {id}"))
        .unwrap_or_default();
    match (file.is_damaged(), file.is_in_use()) {
        (true, _) => "damaged".to_owned(),
        (false, true) => format!("in use{by}"),
        (false, false) => format!("left{by}"),
    }
}

fn age(time: DateTime<Utc>) -> String {
    let age = (Utc::now() - time).to_std().unwrap_or_default();
    match age.as_secs() / (24 * 60 * 60) {
        0 => format!("{} ago", human::duration(age)),
        1 => "1 day ago".to_owned(),
        days => format!("{days} days ago"),
    }
}

fn status(arguments: &SpoolStatus) -> Outcome {
    let Files { files, mut failed } = Files::of(&arguments.filter)?;
    let mut summaries: Vec<(&SpoolFile, SpoolSummary)> = Vec::new();
    for file in &files {
        if let Some(summary) = Files::noted(&mut failed, file.summary()) {
            summaries.push((file, summary));
        }
    }
    let mut out = anstream::stdout().lock();
    if arguments.json {
        let files = summaries.iter().map(|(file, summary)| {
            json!({
                "exporter": file.exporter(),
                "file": file.path().to_string_lossy(),
                "process_id": file.process_id(),
                "in_use": file.is_in_use(),
                "damaged": file.is_damaged(),
                "waiting": summary.waiting,
                "dead_letters": summary.dead_letters,
                "to_send_again": summary.to_send_again,
                "oldest": summary.oldest.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)),
                "bytes": summary.bytes,
            })
        });
        let text = serde_json::to_string_pretty(&json!({ "files": files.collect::<Vec<_>>() }));
        writeln!(out, "{}", text.map_err(Failure::failed)?)?;
        return Files::end(failed);
    }
    if summaries.is_empty() {
        if !failed {
            let dir = arguments.filter.dir.display();
            say(&mut out, format_args!("nothing is in {dir}"))?;
        }
        return Files::end(failed);
    }
    let mut shown = table(["exporter", "file", "waiting", "oldest", "dead", "size"]);
    for (file, summary) in &summaries {
        shown.add_row([
            visible(file.exporter()).into_owned(),
            owner(file),
            HumanCount(summary.waiting).to_string(),
            summary.oldest.map(age).unwrap_or_default(),
            match summary.to_send_again {
                0 => HumanCount(summary.dead_letters).to_string(),
                again => format!(
                    "{} ({again} to send again)",
                    HumanCount(summary.dead_letters)
                ),
            },
            HumanBytes(summary.bytes).to_string(),
        ]);
    }
    writeln!(out, "{}", crate::output::trimmed(&shown))?;
    Files::end(failed)
}

fn export(filter: &SpoolFilter) -> Outcome {
    let Files { files, mut failed } = Files::of(filter)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for file in &files {
        for call in Files::noted(&mut failed, file.calls())
            .into_iter()
            .flatten()
        {
            let Some(call) = Files::noted(&mut failed, call) else {
                continue;
            };
            json_line(&mut out, &call)?;
        }
    }
    out.flush()?;
    Files::end(failed)
}

fn dead(arguments: &SpoolDead) -> Outcome {
    let Files { files, mut failed } = Files::of(&arguments.filter)?;
    let mut out = BufWriter::new(anstream::stdout().lock());
    let mut any = false;
    for file in &files {
        let letters = Files::noted(&mut failed, file.dead_letters());
        for letter in letters.into_iter().flatten() {
            let Some(letter) = Files::noted(&mut failed, letter) else {
                continue;
            };
            any = true;
            if arguments.json {
                json_line(&mut out, &letter)?;
                continue;
            }
            let again = if letter.send_again {
                ", to send again"
            } else {
                ""
            };
            let call = letter.call.as_ref();
            writeln!(
                out,
                "{}  {:<9}  {}  {}",
                letter.time.format("%Y-%m-%d %H:%M:%S"),
                visible(&letter.exporter),
                call.map_or_else(|| "damaged".to_owned(), |call| call.id().to_string()),
                visible(&letter.reason),
            )?;
            for line in wrap(&format!("{}{again}", letter.error), INDENT) {
                writeln!(out, "{:INDENT$}{line}", "")?;
            }
        }
    }
    if !arguments.json && !any && !failed {
        let dir = arguments.filter.dir.display();
        say(&mut out, format_args!("there are no dead letters in {dir}"))?;
    }
    out.flush()?;
    Files::end(failed)
}

fn retry_dead(filter: &SpoolFilter, loudness: Loudness) -> Outcome {
    let Files { files, mut failed } = Files::of(filter)?;
    let mut out = anstream::stdout().lock();
    let mut all = 0;
    for file in files.iter().filter(|file| !file.is_damaged()) {
        let marked = Files::noted(&mut failed, file.send_dead_letters_again()).unwrap_or(0);
        all += marked;
        if marked == 0 || loudness.quiet {
            continue;
        }
        let when = match file.is_in_use() {
            true => "within seconds",
            false => "by the next program that starts there, or by `spool drain`",
        };
        let letters = human::count(marked, "dead letter");
        let (exporter, owner) = (file.exporter(), owner(file));
        say(
            &mut out,
            format_args!("{exporter}, {owner}: {letters} to be sent again {when}"),
        )?;
    }
    if all == 0 && !failed && !loudness.quiet {
        let dir = filter.dir.display();
        say(&mut out, format_args!("there are no dead letters in {dir}"))?;
    }
    Files::end(failed)
}
