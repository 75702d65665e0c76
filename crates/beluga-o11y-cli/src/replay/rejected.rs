//! The lines that did not arrive, with the reason, to be mended and replayed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use beluga_o11y_pipeline::DeadLetter;
use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    input::Source,
    record::{Object, Problem, RECORD},
};

/// The most bytes of a line that are copied if it is no JSON.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// The files that rejected lines are written to: one for each file that is read, or one for all.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// The names of the sources, and which file is theirs.
    sources: Vec<(String, usize)>,
    files: Vec<Output>,
}

#[derive(Debug)]
struct Output {
    path: PathBuf,
    /// Whether what an earlier run wrote is there still, to be replaced.
    replace: bool,
    /// Opened for the first line.
    file: Option<File>,
    /// What was written is on the disk.
    synced: bool,
    lines: u64,
}

/// A line of such a file.
#[derive(Serialize)]
struct Entry<'a, T> {
    file: &'a str,
    line: u64,
    #[serde(flatten)]
    what: T,
}

/// What stands there of a line that could not be read, under the names that a dead letter has.
#[derive(Serialize)]
struct Unreadable<'a> {
    time: String,
    reason: &'static str,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
}

impl Output {
    fn new(path: PathBuf, replace: bool) -> Self {
        Self {
            path,
            replace,
            file: None,
            synced: true,
            lines: 0,
        }
    }
}

impl Rejected {
    /// `sources` are told with whether they are read from the start: then what an earlier run rejected of them is rejected
    /// again, and its file is replaced. What is written to the one file for `all` is added to it.
    pub(crate) fn new(sources: &[(Source, bool)], all: Option<&Path>) -> Self {
        let files = match all {
            Some(path) => vec![Output::new(path.to_owned(), false)],
            None => sources
                .iter()
                .map(|(source, anew)| Output::new(beside(source), *anew))
                .collect(),
        };
        let sources = sources.iter().enumerate();
        Self {
            sources: sources
                .map(|(index, (source, _))| (source.name(), if all.is_some() { 0 } else { index }))
                .collect(),
            files,
        }
    }

    /// The files that there are lines in, and how many.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&Path, u64)> {
        let written = self.files.iter().filter(|output| output.lines > 0);
        written.map(|output| (&*output.path, output.lines))
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|output| &*output.path)
    }

    /// All of a source was read: what an earlier run rejected of it does not count any more.
    pub(crate) fn complete(&mut self, source: usize) {
        let output = self.sources.get(source);
        let output = output.and_then(|(_, output)| self.files.get(*output));
        if let Some(output) = output
            && output.replace
        {
            let _ = std::fs::remove_file(&output.path);
        }
    }

    /// A line that could not be read; nothing of it if it is too long.
    pub(crate) fn unreadable(
        &mut self,
        source: usize,
        line: u64,
        problem: &Problem,
        text: Option<&[u8]>,
    ) -> io::Result<()> {
        let text = text.map(String::from_utf8_lossy);
        let record = text.as_deref().and_then(record);
        let text = text
            .as_deref()
            .filter(|text| record.is_none() && text.len() <= MAX_TEXT_BYTES);
        let unreadable = Unreadable {
            time: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            reason: "unreadable",
            error: &problem.what,
            field: problem.field.as_deref(),
            text,
            record,
        };
        self.write(source, line, unreadable)
    }

    /// A call that a backend did not take.
    pub(crate) fn letter(
        &mut self,
        source: usize,
        line: u64,
        letter: &DeadLetter,
    ) -> io::Result<()> {
        self.write(source, line, letter)
    }

    fn write(&mut self, source: usize, line: u64, what: impl Serialize) -> io::Result<()> {
        let Some((file, output)) = self.sources.get(source) else {
            return Ok(());
        };
        let Some(output) = self.files.get_mut(*output) else {
            return Ok(());
        };
        let mut text = serde_json::to_vec(&Entry { file, line, what })?;
        // A call is written as its author wrote it. Between the tokens of JSON a line break is as good as a space, and within a
        // string there is none.
        for byte in &mut text {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        text.push(b'\n');
        let file = match &mut output.file {
            Some(file) => file,
            none => none.insert(open(&output.path, output.replace)?),
        };
        output.replace = false;
        output.synced = false;
        if let Err(error) = file.write_all(&text) {
            // Half of the line may be there: the next one begins where the file is opened.
            output.file = None;
            return Err(error);
        }
        output.lines += 1;
        Ok(())
    }

    /// Waits until what was written is on the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        for output in self.files.iter_mut().filter(|output| !output.synced) {
            // A pipe has no disk.
            if let Some(file) = &output.file
                && file.metadata()?.is_file()
            {
                file.sync_data()?;
            }
            output.synced = true;
        }
        Ok(())
    }
}

/// The call in a line that is JSON, as it is to be mended: of a dead letter, that which it has.
fn record(line: &str) -> Option<&RawValue> {
    let object: Object<'_> = serde_json::from_str(line).ok()?;
    match object.get(RECORD) {
        Some(record) => Some(record),
        None => serde_json::from_str(line).ok(),
    }
}

/// `calls.jsonl.rejected.jsonl`; for standard input in the current directory.
fn beside(source: &Source) -> PathBuf {
    match source {
        Source::StandardInput => "stdin.rejected.jsonl".into(),
        Source::File(path) => {
            let mut name = path.as_os_str().to_owned();
            name.push(".rejected.jsonl");
            name.into()
        }
    }
}

/// It holds prompts and answers: for its owner only.
fn open(path: &Path, replace: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true);
    match replace {
        true => options.write(true).truncate(true),
        false => options.append(true),
    };
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    if !replace && !ends_a_line(path) {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// A line may lack its break, be it that the disk was full.
fn ends_a_line(path: &Path) -> bool {
    let mut last = [0];
    let read = File::open(path).and_then(|mut file| {
        // There is nothing before the start of an empty file.
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)
    });
    read.is_err() || last == *b"\n"
}

/// What is said when a line cannot be kept there.
pub(crate) fn not_written(error: &io::Error) -> String {
    format!(
        "cannot be written to the file of rejected lines: {error}; name another one with --rejected"
    )
}
