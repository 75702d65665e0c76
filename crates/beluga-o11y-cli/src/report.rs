//! Sums up calls.

mod collect;
mod conversation;
mod csv;
mod figures;
mod groups;
mod key;
mod moment;
mod page;
mod picks;
mod row;
mod summary;
mod table;
mod timeline;

pub(crate) use key::{Key, Sort};
pub(crate) use moment::Moment;

use std::{
    collections::HashSet,
    io::{BufWriter, Write},
    path::Path,
};

use beluga_o11y::LLMCallData;
use beluga_o11y_pipeline::{SpoolDirectory, SpoolError};

use crate::{
    arguments::{Loudness, Report},
    human,
    input::{self, Complaints, Progress, Source},
    output::{Failure, Outcome},
    screen,
};

use picks::Place;
use row::Row;
use summary::{Origin, Summary};

/// The most intervals of time.
const MAX_INTERVALS: i64 = 400;
/// In a terminal: the days of a month.
const MAX_ROWS_OVER_TIME: i64 = 31;

pub(crate) fn run(arguments: &Report, loudness: Loudness) -> Outcome {
    let sources = input::sources(&arguments.files)?;
    if let Some(page) = &arguments.html {
        not_one_of(&sources, page)?;
    }
    let summary = Summary::new(arguments);
    let complaints = Complaints::default();
    let mut progress = Progress::new(loudness, input::total_bytes(&sources));
    let (summary, names) = match &arguments.spool {
        Some(directory) => {
            let summary = spool(directory, summary, &complaints, &mut progress)?;
            (summary, vec![directory.display().to_string()])
        }
        None => {
            let summary = collect::files(
                &sources,
                arguments.ignore_unknown,
                summary,
                &complaints,
                &mut progress,
            );
            (summary, sources.iter().map(Source::name).collect())
        }
    };
    progress.end();

    let read_by_people = !arguments.json && !arguments.csv && arguments.html.is_none();
    let most_intervals = match read_by_people {
        true => MAX_ROWS_OVER_TIME,
        false => MAX_INTERVALS,
    };
    let (data, details) = summary.data(names, most_intervals);
    if let (Some(path), Some(details)) = (&arguments.html, &details) {
        page::write(path, &data, details)?;
    }
    let mut out = BufWriter::new(anstream::stdout().lock());
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &data).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else if arguments.csv {
        csv::write(&mut out, &data, &arguments.by)?;
    } else if read_by_people {
        table::write(&mut out, &data, &arguments.by)?;
    } else if let Some(path) = &arguments.html
        && !loudness.quiet
    {
        let calls = human::count(data.total.calls, "call");
        writeln!(out, "{}: {calls}", path.display())?;
    }
    out.flush()?;
    drop(out);
    if complaints.hidden() > 0 && !loudness.quiet {
        let more = human::count(complaints.hidden(), "more error");
        screen::remark(format_args!("{more} not shown"));
    }
    match complaints.any() {
        true => Err(Failure::Told),
        false => Ok(()),
    }
}

/// A file that is read is not written over.
fn not_one_of(sources: &[Source], page: &Path) -> Outcome {
    let page = Source::File(page.to_owned());
    match sources.iter().find(|source| source.path() == page.path()) {
        Some(source) => Err(Failure::Settings(format!(
            "--html: {} is read; name another file",
            source.name()
        ))),
        None => Ok(()),
    }
}

/// Sums up what waits in a directory, and its dead letters. A call that is there for several backends is one.
fn spool(
    directory: &Path,
    mut summary: Summary,
    complaints: &Complaints,
    progress: &mut Progress,
) -> Outcome<Summary> {
    let files = SpoolDirectory::open(directory).and_then(|directory| directory.files());
    let mut seen = HashSet::new();
    for file in files.map_err(Failure::failed)? {
        let name = file.path().display().to_string();
        let mut unreadable = 0;
        let mut add = |call: Result<Option<LLMCallData>, SpoolError>| match call {
            Ok(Some(call)) => {
                if seen.insert(call.id()) {
                    let place = Place {
                        source: &name,
                        line: None,
                    };
                    // They have a start and an id.
                    let origin = Origin {
                        place,
                        modified: None,
                    };
                    let row = Row::of(call.clone());
                    summary.add(&row, &origin, || Some(call));
                    progress.at(summary.calls());
                }
            }
            // Damaged.
            Ok(None) => {
                unreadable += 1;
                complaints.whole(format_args!("{name}: a dead letter is damaged"));
            }
            Err(error) => {
                unreadable += 1;
                complaints.whole(error);
            }
        };
        match file.calls() {
            Ok(calls) => calls.for_each(|call| add(call.map(Some))),
            Err(error) => add(Err(error)),
        }
        match file.dead_letters() {
            Ok(letters) => letters.for_each(|letter| add(letter.map(|letter| letter.call))),
            Err(error) => add(Err(error)),
        }
        summary.unreadable += unreadable;
    }
    Ok(summary)
}
