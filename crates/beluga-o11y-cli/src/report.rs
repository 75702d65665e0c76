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
    io::{self, BufWriter, IsTerminal, Write},
    path::Path,
};

use beluga_o11y::LLMCallData;
use beluga_o11y_pipeline::{SpoolDirectory, SpoolError};

use crate::{
    arguments::{Loudness, Report},
    human,
    input::{self, Complaints, Progress, Source},
    output::{Failure, Outcome, say, visible_lines},
    screen,
};

use page::PageFile;
use picks::Place;
use row::Row;
use summary::{Data, Origin, Summary};

/// The most intervals of time.
const MAX_INTERVALS: i64 = 400;
/// In a terminal: the days of a month.
const MAX_ROWS_OVER_TIME: i64 = 31;

pub(crate) fn run(arguments: &Report, loudness: Loudness) -> Outcome {
    let sources = input::sources(&arguments.files)?;
    makes_sense(arguments)?;
    // What cannot be written is known before a gigabyte is read.
    let page = arguments.html.as_deref().map(PageFile::open).transpose()?;
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
            )?;
            (summary, sources.iter().map(Source::name).collect())
        }
    };
    progress.end();

    let read_by_people = !arguments.json && !arguments.csv && page.is_none();
    let most_intervals = match read_by_people {
        true => MAX_ROWS_OVER_TIME,
        false => MAX_INTERVALS,
    };
    let (data, details) = summary.data(names, most_intervals);
    if arguments.json {
        for_machines(&json(&data)?)?;
    } else if arguments.csv {
        for_machines(&csv::text(&data, &arguments.by))?;
    } else if read_by_people {
        let mut out = BufWriter::new(anstream::stdout().lock());
        table::write(&mut out, &data, &arguments.by)?;
        out.flush()?;
    }
    if let (Some(page), Some(details)) = (page, &details) {
        page.write(&data, details)?;
        if let Some(path) = &arguments.html
            && !arguments.json
            && !arguments.csv
            && !loudness.quiet
        {
            let calls = human::count(data.total.calls, "call");
            say(
                &mut anstream::stdout().lock(),
                format_args!("{}: {calls}", path.display()),
            )?;
        }
    }
    if complaints.hidden() > 0 && !loudness.quiet {
        let more = human::count(complaints.hidden(), "more error");
        screen::remark(format_args!("{more} not shown"));
    }
    match complaints.any() {
        true => Err(Failure::Told),
        false => Ok(()),
    }
}

/// What would give a report that says nothing, or the same twice, is a mistake.
fn makes_sense(arguments: &Report) -> Outcome {
    for (place, key) in arguments.by.iter().enumerate() {
        if arguments.by.iter().take(place).any(|before| before == key) {
            return Err(Failure::Settings(format!(
                "--by: {key} is named twice; name it once"
            )));
        }
    }
    match (arguments.since, arguments.until) {
        (Some(since), Some(until)) if since.0 >= until.0 => Err(Failure::settings(
            "--since: no call can begin then and before --until",
        )),
        _ => Ok(()),
    }
}

/// Nothing in a string acts on a terminal.
fn json(data: &Data) -> Outcome<String> {
    let mut text = serde_json::to_string_pretty(data).map_err(Failure::failed)?;
    if text.contains(|char| matches!(char, '\u{7f}'..='\u{9f}')) {
        // serde_json escapes the other control characters; these stand in strings only.
        let mut escaped = String::with_capacity(text.len() + 16);
        for char in text.chars() {
            match char {
                '\u{7f}'..='\u{9f}' => escaped.push_str(&format!("\\u{:04x}", u32::from(char))),
                char => escaped.push(char),
            }
        }
        text = escaped;
    }
    text.push('\n');
    Ok(text)
}

/// As it is, but for a terminal.
fn for_machines(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.is_terminal() {
        true => out.write_all(visible_lines(text).as_bytes())?,
        false => out.write_all(text.as_bytes())?,
    }
    out.flush()?;
    Ok(())
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
        match (file.calls(), file.dead_letters()) {
            (Ok(calls), Ok(letters)) => {
                calls.for_each(|call| add(call.map(Some)));
                letters.for_each(|letter| add(letter.map(|letter| letter.call)));
            }
            (Err(error), _) | (_, Err(error)) => add(Err(error)),
        }
        summary.unreadable += unreadable;
    }
    Ok(summary)
}
