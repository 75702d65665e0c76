//! Files of lines: opened, unpacked, cut, and what is wrong with them told.

mod complaints;
mod lines;
mod progress;
mod reader;
mod source;

pub(crate) use complaints::Complaints;
pub(crate) use lines::{Line, Lines, MAX_LINE_BYTES};
pub(crate) use progress::Progress;
pub(crate) use reader::{Checked, Event, Task, read};
pub(crate) use source::{Source, problem};

use std::{collections::BTreeMap, path::PathBuf};

use crate::output::{Failure, Outcome};

/// What was named on the command line; each only once, since it would count twice.
pub(crate) fn sources(files: &[PathBuf]) -> Outcome<Vec<Source>> {
    let sources: Vec<_> = files.iter().map(|path| Source::new(path)).collect();
    let mut seen = BTreeMap::new();
    for source in &sources {
        let name = source.name();
        let Some(before) = seen.insert(source.path(), name.clone()) else {
            continue;
        };
        return Err(Failure::Settings(match source {
            Source::StandardInput => "standard input can be read only once".to_owned(),
            Source::File(_) if before == name => format!("{name} is named twice; name it once"),
            Source::File(_) => format!("{before} and {name} are the same file; name it once"),
        }));
    }
    Ok(sources)
}

/// How many bytes there are to read, if that is known of all.
pub(crate) fn total_bytes(sources: &[Source]) -> Option<u64> {
    let sizes: Option<Vec<_>> = sources.iter().map(Source::size).collect();
    let total = sizes?.iter().sum();
    (total > 0).then_some(total)
}
