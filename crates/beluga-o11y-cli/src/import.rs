//! Turns what others write into records.

mod chat;
mod litellm;
mod openai;
mod otlp;
mod secrets;

use std::{
    collections::HashSet,
    io::{self, BufWriter, Write},
};

use beluga_o11y::LLMCallData;
use indicatif::HumanCount;
use serde_json::{error::Category, value::RawValue};
use uuid::Uuid;

use crate::{
    arguments::{Format, Import, Loudness},
    human,
    input::{self, Complaints, Lines, Progress, Source},
    output::{Failure, Outcome, json_line},
    record::{self, Problem},
    screen,
};

/// The longest line, and the most of a file that is no JSON Lines, in bytes. It is held in memory.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024 * 1024;

/// What was found in a document: a line, or a whole file.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    pub(crate) calls: Vec<LLMCallData>,
    /// What cannot be turned: where it begins, in bytes from the document's begin, and why.
    pub(crate) problems: Vec<(usize, Problem)>,
    /// What is no LLM call: spans of tools, chains, HTTP.
    pub(crate) others: u64,
}

pub(crate) fn run(arguments: &Import, loudness: Loudness) -> Outcome {
    let sources = input::sources(&arguments.files)?;
    let mut run = Run {
        format: arguments.from,
        out: BufWriter::new(io::stdout().lock()),
        complaints: Complaints::default(),
        progress: Progress::new(loudness, input::total_bytes(&sources)),
        ids: HashSet::new(),
        twice: 0,
        others: 0,
    };
    let done = sources.iter().try_for_each(|source| run.file(source));
    run.progress.end();
    done?;
    run.out.flush()?;
    if !loudness.quiet {
        run.sum_up();
    }
    match run.complaints.any() {
        true => Err(Failure::Told),
        false => Ok(()),
    }
}

struct Run<W> {
    format: Format,
    out: W,
    complaints: Complaints,
    progress: Progress,
    /// Of the calls that were written.
    ids: HashSet<Uuid>,
    /// What was told again of these.
    twice: u64,
    others: u64,
}

impl<W: Write> Run<W> {
    fn file(&mut self, source: &Source) -> Outcome {
        let name = source.name();
        let input = match source.open(&self.progress.read) {
            Ok(input) => input,
            Err(error) => {
                let what = input::problem(&error, false);
                self.complaints.whole(format_args!("{name}: {what}"));
                return Ok(());
            }
        };
        let mut lines = Lines::up_to(MAX_DOCUMENT_BYTES, input.reader);
        // A document over many lines, and the number of its first.
        let mut whole: Option<(Vec<u8>, u64)> = None;
        let mut first = true;
        loop {
            let block = match lines.next_block() {
                Ok(Some(block)) => block,
                Ok(None) => break,
                Err(error) => {
                    let what = input::problem(&error, input.packed);
                    self.complaints.line(&name, lines.number(), what);
                    break;
                }
            };
            for (line, text) in block.lines() {
                let Some(text) = text else {
                    let problem = Problem::too_long(line.bytes, MAX_DOCUMENT_BYTES);
                    self.complaints.line(&name, line.number, problem);
                    continue;
                };
                if let Some((whole, begins)) = &mut whole {
                    if whole.len() + text.len() > MAX_DOCUMENT_BYTES {
                        let most = MAX_DOCUMENT_BYTES >> 20;
                        let what = format!(
                            "a document over many lines is read up to {most} MiB; write one a line"
                        );
                        self.complaints.line(&name, *begins, what);
                        return Ok(());
                    }
                    whole.push(b'\n');
                    whole.extend_from_slice(text);
                    continue;
                }
                if text.trim_ascii().is_empty() {
                    continue;
                }
                // Further down it would be a line that was cut short.
                let first = std::mem::take(&mut first);
                if first && self.format == Format::OtlpJson && goes_on(text) {
                    whole = Some((text.to_vec(), line.number));
                    continue;
                }
                match record::json(text) {
                    Ok(text) => self.document(&name, line.number, text)?,
                    Err(problem) => self.complaints.line(&name, line.number, problem),
                }
            }
        }
        match whole {
            Some((text, first)) => self.documents(&name, first, &text),
            None => Ok(()),
        }
    }

    /// Documents one after the other, each over as many lines as it likes. After one that is no JSON, the next begins
    /// with a line that could be its first, and ends before another: what was cut off does not swallow what follows.
    fn documents(&mut self, name: &str, first: u64, text: &[u8]) -> Outcome {
        let mut place = Place::new(text, first);
        let (mut at, mut end) = (0, text.len());
        while let Some(part) = text.get(at..end).filter(|part| !part.is_empty()) {
            let mut documents = serde_json::Deserializer::from_slice(part).into_iter::<&RawValue>();
            let error = loop {
                match documents.next() {
                    None => break None,
                    Some(Ok(document)) => {
                        let document = document.get();
                        let end = at + documents.byte_offset();
                        let line = place.line(end.saturating_sub(document.len()));
                        self.document(name, line, document)?;
                    }
                    Some(Err(error)) => break Some(error),
                }
            };
            if let Some(error) = error {
                let (begin, bad) = own_lines(text, at + documents.byte_offset());
                // Without the lines that follow it tells where it ends.
                let error = serde_json::from_slice::<&RawValue>(bad)
                    .err()
                    .unwrap_or(error);
                let line = place.line(begin) + (error.line() as u64).saturating_sub(1);
                self.complaints.line(name, line, record::not_json(&error));
                end = begin + bad.len();
            }
            at = end;
            let (begin, own) = own_lines(text, at);
            end = begin + own.len();
        }
        Ok(())
    }

    /// One that begins in this line.
    fn document(&mut self, name: &str, line: u64, text: &str) -> Outcome {
        let turned = match self.format {
            Format::OtlpJson => otlp::turn(text),
            Format::LiteLlm => litellm::turn(text),
            Format::OpenAi => openai::turn(text),
        };
        for call in &turned.calls {
            match self.ids.insert(call.id()) {
                true => json_line(&mut self.out, call)?,
                false => self.twice += 1,
            }
        }
        let mut place = Place::new(text.as_bytes(), line);
        for (at, problem) in turned.problems {
            self.complaints.line(name, place.line(at), problem);
        }
        self.others += turned.others;
        self.progress.at(self.calls());
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.ids.len() as u64
    }

    /// On standard error, since the records are on standard output.
    fn sum_up(&self) {
        let mut line = format!("{} turned", human::count(self.calls(), "call"));
        if self.twice > 0 {
            let twice = HumanCount(self.twice);
            line.push_str(&format!(", {twice} told twice left out"));
        }
        if self.others > 0 {
            let what = match self.format {
                Format::OtlpJson => "span",
                Format::LiteLlm | Format::OpenAi => "payload",
            };
            let others = match self.others {
                1 => format!("1 {what} that is no LLM call"),
                many => format!("{} that are no LLM calls", human::count(many, what)),
            };
            line.push_str(&format!(", {others} left out"));
        }
        if self.complaints.any() {
            let bad = HumanCount(self.complaints.count());
            line.push_str(&format!(", {bad} could not be turned"));
        }
        screen::remark(line);
        if self.complaints.hidden() > 0 {
            let more = human::count(self.complaints.hidden(), "more error");
            screen::remark(format_args!("{more} not shown"));
        }
    }
}

/// Whether JSON begins here and does not end: it is written over several lines.
fn goes_on(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_err_and(|error| error.classify() == Category::Eof)
}

/// What begins here, after blanks, up to the next line that begins with an object.
fn own_lines(text: &[u8], at: usize) -> (usize, &[u8]) {
    let rest = text.get(at..).unwrap_or_default();
    let own = rest.trim_ascii_start();
    let end = memchr::memmem::find(own, b"\n{").unwrap_or(own.len());
    let lines = own.get(..end).unwrap_or(own).trim_ascii_end();
    (text.len() - own.len(), lines)
}

/// A place in a text that only goes on, and its line.
struct Place<'a> {
    rest: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Place<'a> {
    /// The begin, which is in this line.
    fn new(text: &'a [u8], line: u64) -> Self {
        Self {
            rest: text,
            at: 0,
            line,
        }
    }

    /// The line of a place that is not before the last one.
    fn line(&mut self, at: usize) -> u64 {
        let step = at.saturating_sub(self.at).min(self.rest.len());
        let (passed, rest) = self.rest.split_at(step);
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        (self.rest, self.at) = (rest, self.at + step);
        self.line
    }
}
