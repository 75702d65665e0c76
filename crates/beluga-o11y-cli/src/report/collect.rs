//! Reads files on all cores: one thread cuts them into lines, others parse what it has cut, and sum it up in order, so that
//! a report does not depend on who was faster.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel, sync_channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use chrono::DateTime;

use super::{
    picks::Place,
    row::{self, Row},
    summary::{Origin, Summary},
};
use crate::{
    identity,
    input::{self, Complaints, Event, Line, MAX_LINE_BYTES, Progress, Source, Task},
    output::{Failure, Outcome},
    record::{self, Problem},
};

/// How often it is looked how far reading has come.
const TICK: Duration = Duration::from_millis(100);
/// More would wait for each other.
const MAX_THREADS: usize = 8;

/// Sums up what is in files.
pub(crate) fn files(
    sources: &[Source],
    ignore_unknown: bool,
    summary: Summary,
    complaints: &Complaints,
    progress: &mut Progress,
) -> Outcome<Summary> {
    let tasks = sources.iter().map(|source| Task {
        source: source.clone(),
        checked: None,
    });
    let tasks: Vec<_> = tasks.collect();
    let (sender, events) = sync_channel(4);
    let files = Files {
        names: sources.iter().map(Source::name).collect(),
        keys: sources.iter().map(Source::key).collect(),
        ignore_unknown,
        complaints,
        events: Mutex::new((Some(events), 0)),
        turn: Mutex::new(Turn {
            next: 0,
            gone: false,
            modified: vec![None; sources.len()],
            summary,
        }),
        passed: Condvar::new(),
    };
    let read = progress.read.clone();
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        // The sender goes with it: its end is that of the events.
        let reader = thread::Builder::new()
            .spawn_scoped(scope, move || input::read(tasks, &read, &sender))
            .map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))?;
        let (running, done) = channel::<()>();
        let mut parsers = Vec::new();
        for _ in 0..threads.clamp(1, MAX_THREADS) {
            let running = running.clone();
            let parser = thread::Builder::new().spawn_scoped(scope, || {
                let _running = running;
                files.parse();
            });
            parsers.extend(parser.ok());
        }
        drop(running);
        if parsers.is_empty() {
            files.parse();
        }
        while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(TICK) {
            progress.at(lock(&files.turn).summary.calls());
        }
        let ended = parsers.into_iter().map(thread::ScopedJoinHandle::join);
        let ended: Vec<_> = ended.chain([reader.join()]).collect();
        match ended.iter().all(Result::is_ok) {
            true => Ok(()),
            false => Err(Failure::failed("a thread has panicked; please report it")),
        }
    })?;
    let turn = files.turn.into_inner();
    Ok(turn.unwrap_or_else(PoisonError::into_inner).summary)
}

struct Files<'a> {
    names: Vec<String>,
    keys: Vec<String>,
    ignore_unknown: bool,
    complaints: &'a Complaints,
    /// And the number of the next.
    events: Mutex<(Option<Receiver<Event>>, u64)>,
    turn: Mutex<Turn>,
    passed: Condvar,
}

/// Whose turn it is to add what was parsed.
struct Turn {
    next: u64,
    /// Somebody will never take theirs.
    gone: bool,
    /// When each file was last changed.
    modified: Vec<Option<SystemTime>>,
    summary: Summary,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets nobody wait for a thread that panics.
struct Leaving<'a, 'b>(&'a Files<'b>);

impl Drop for Leaving<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.events).0 = None;
            lock(&self.0.turn).gone = true;
            self.0.passed.notify_all();
        }
    }
}

/// A line, and what it is; nothing if it is empty.
type Parsed<'a> = (Line, &'a [u8], Result<Row<'a>, Problem>);

impl Files<'_> {
    fn parse(&self) {
        let _leaving = Leaving(self);
        loop {
            let (number, event) = {
                let mut events = lock(&self.events);
                let Some(Ok(event)) = events.0.as_ref().map(Receiver::recv) else {
                    return;
                };
                let number = events.1;
                events.1 += 1;
                (number, event)
            };
            // Before it is this one's turn.
            let parsed: Vec<Parsed<'_>> = match &event {
                Event::Block { block, .. } => block
                    .lines()
                    .filter_map(|(line, text)| self.line(line, text))
                    .collect(),
                _ => Vec::new(),
            };
            let mut turn = lock(&self.turn);
            while turn.next != number && !turn.gone {
                turn = self
                    .passed
                    .wait(turn)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if turn.gone {
                return;
            }
            self.add(&mut turn, &event, &parsed);
            turn.next += 1;
            drop(turn);
            self.passed.notify_all();
        }
    }

    fn line<'a>(&self, line: Line, text: Option<&'a [u8]>) -> Option<Parsed<'a>> {
        let Some(text) = text else {
            let problem = Problem::too_long(line.bytes, MAX_LINE_BYTES);
            return Some((line, &[], Err(problem)));
        };
        if text.trim_ascii().is_empty() {
            return None;
        }
        Some((line, text, row::read(text, self.ignore_unknown)))
    }

    fn add(&self, turn: &mut Turn, event: &Event, parsed: &[Parsed<'_>]) {
        let name = |file: &usize| {
            self.names
                .get(*file)
                .map(String::as_str)
                .unwrap_or_default()
        };
        match event {
            Event::Opened { file, modified } => {
                if let Some(file) = turn.modified.get_mut(*file) {
                    *file = Some(*modified);
                }
            }
            Event::Block { file, .. } => {
                let key = self.keys.get(*file).map(String::as_str).unwrap_or_default();
                let modified = turn.modified.get(*file).copied().flatten();
                for (line, text, call) in parsed {
                    match call {
                        Ok(call) => {
                            let place = Place {
                                source: name(file),
                                line: Some(line.number),
                            };
                            turn.summary.add(call, &Origin { place, modified }, || {
                                let call = record::read(text, self.ignore_unknown).ok()?;
                                let modified = modified.map(DateTime::from);
                                Some(identity::given(call, modified, key, line.number, text))
                            });
                        }
                        Err(problem) => {
                            turn.summary.unreadable += 1;
                            self.complaints.line(name(file), line.number, problem);
                        }
                    }
                }
            }
            Event::Problem { file, line, what } => {
                turn.summary.unreadable += 1;
                self.complaints.whole(match line {
                    None => format!("{}: {what}", name(file)),
                    Some(line) => format!("{}:{line}: {what}", name(file)),
                });
            }
            Event::End { .. } => {}
        }
    }
}
