//! Sends the calls of files.

mod outlet;
mod rejected;
mod settled;
mod state;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::{CallSink, LLMCallData, Refusal, Submission};
use beluga_o11y_pipeline::PipelineStats;
use chrono::{DateTime, Utc};
use indicatif::{HumanCount, ProgressBar};

use crate::{
    arguments::{Loudness, Replay},
    backend::{self, Backend},
    human, identity,
    input::{self, Checked, Complaints, Event, Line, MAX_LINE_BYTES, Source, Task},
    interrupt,
    output::{Failure, Outcome, say},
    record::{self, Problem},
    screen,
};

use outlet::{Outlet, Place, Waste};
use rejected::Rejected;
use state::{Memory, Remembered, StateFile};

/// How often the bar, the state and the patience are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often it is asked whether everything has arrived.
const SHORT: Duration = Duration::from_millis(5);
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How long calls on their way are waited for after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);
/// A file is compared with itself at the lines that are multiples of this, and at its end.
const CHECK_EVERY: u64 = 1024;

pub(crate) fn run(arguments: &Replay, loudness: Loudness) -> Outcome {
    let sources = input::sources(&arguments.files)?;
    if arguments.state.is_some()
        && let Some(pipe) = sources.iter().find(|source| source.is_pipe())
    {
        return Err(Failure::Settings(format!(
            "--state: {} cannot be read again; write it to a file",
            pipe.name()
        )));
    }
    // Without a backend a dry run just reads.
    let backends = match arguments.dry_run && arguments.to.is_empty() {
        true => Vec::new(),
        false => backend::open(&arguments.to, &arguments.connection)?,
    };
    let (state, memory) = match &arguments.state {
        Some(path) => {
            let (file, memory) = StateFile::open(path)?;
            (Some(file), memory)
        }
        None => (None, Memory::default()),
    };
    let mut run = Run::new(arguments, loudness, sources, &backends, state, memory)?;
    interrupt::handle();
    run.read();
    run.finish()
}

struct Run<'a> {
    arguments: &'a Replay,
    loudness: Loudness,
    files: Vec<InFile>,
    outlets: Vec<Outlet>,
    /// For a dry run: who is asked whether it would take a call.
    judges: Vec<Arc<dyn Backend>>,
    rejected: Arc<Mutex<Rejected>>,
    complaints: Arc<Complaints>,
    state: Option<StateFile>,
    memory: Memory,
    bar: ProgressBar,
    total_bytes: Option<u64>,
    read_bytes: Arc<AtomicU64>,
    started: Instant,
    ticked: Instant,
    saved: Instant,
    /// Calls that were read, in this run.
    calls: u64,
    unreadable: u64,
    /// Lines that were settled in earlier runs.
    skipped: u64,
    /// When the next call may be sent, with `--rate`.
    next: Instant,
    stopped: bool,
    /// The state could not be written.
    unsaved: bool,
}

struct InFile {
    source: Source,
    /// By which it is remembered.
    path: String,
    modified: Option<DateTime<Utc>>,
    /// Lines that were read, with the digest of all up to there.
    marks: Vec<Checked>,
    checked: Option<Checked>,
    /// All of it was read.
    complete: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Run<'a> {
    fn new(
        arguments: &'a Replay,
        loudness: Loudness,
        sources: Vec<Source>,
        backends: &[Arc<dyn Backend>],
        state: Option<StateFile>,
        memory: Memory,
    ) -> Outcome<Self> {
        let total_bytes = input::total_bytes(&sources);
        let mut files = Vec::new();
        let mut remembered = Vec::new();
        for source in sources {
            let path = source.path();
            let before = memory.files.get(&path).cloned();
            files.push(InFile {
                source,
                path,
                modified: before.as_ref().map(|before| before.modified),
                marks: Vec::new(),
                checked: before.as_ref().and_then(|before| before.checked),
                complete: false,
            });
            remembered.push(before);
        }
        let anew = files.iter().zip(&remembered);
        let anew: Vec<_> = anew
            .map(|(file, before)| (file.source.clone(), before.is_none()))
            .collect();
        let rejected = Rejected::new(&anew, arguments.rejected.as_deref());
        not_read_and_written(&files, &rejected, arguments)?;
        let rejected = Arc::new(Mutex::new(rejected));
        let complaints = Arc::new(Complaints::default());
        let names: Arc<[String]> = files.iter().map(|file| file.source.name()).collect();

        let mut outlets = Vec::new();
        let sending = backends.iter().filter(|_| !arguments.dry_run);
        for backend in sending {
            let waste = Waste {
                names: Arc::clone(&names),
                rejected: Arc::clone(&rejected),
                complaints: Arc::clone(&complaints),
            };
            outlets.push(Outlet::open(
                backend,
                &remembered,
                arguments.patience,
                waste,
            )?);
        }
        let template = match total_bytes {
            Some(_) => "[{bar:24}] {msg}",
            None => "{spinner} {msg}",
        };
        let bar = screen::bar(loudness, template);
        bar.set_length(1000);
        let now = Instant::now();
        Ok(Self {
            arguments,
            loudness,
            files,
            outlets,
            judges: match arguments.dry_run {
                true => backends.to_vec(),
                false => Vec::new(),
            },
            rejected,
            complaints,
            state,
            memory,
            bar,
            total_bytes,
            read_bytes: Arc::default(),
            started: now,
            ticked: now,
            saved: now,
            calls: 0,
            unreadable: 0,
            skipped: 0,
            next: now,
            stopped: false,
            unsaved: false,
        })
    }

    /// Reads all files, and hands over what is in them.
    fn read(&mut self) {
        let tasks = self.files.iter().map(|file| Task {
            source: file.source.clone(),
            checked: file.checked,
        });
        let (sender, events) = std::sync::mpsc::sync_channel(4);
        let (tasks, read) = (tasks.collect(), Arc::clone(&self.read_bytes));
        let reader = thread::Builder::new().name("reader".to_owned());
        // It is not waited for: standard input may be silent for ever.
        if let Err(error) = reader.spawn(move || input::read(tasks, &read, &sender)) {
            self.complaints
                .whole(format_args!("cannot start a thread: {error}"));
            return;
        }
        self.take(&events);
    }

    fn take(&mut self, events: &Receiver<Event>) {
        while !self.stops() {
            match events.recv_timeout(TICK) {
                Ok(event) => self.event(event),
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        self.stopped = true;
    }

    /// Whether it is time to end, although there is more to read.
    fn stops(&self) -> bool {
        let hopeless =
            !self.outlets.is_empty() && self.outlets.iter().all(|outlet| outlet.given_up.is_some());
        interrupt::asked() || hopeless || (self.arguments.strict && self.complaints.any())
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened { file, modified } => {
                if let Some(file) = self.files.get_mut(file) {
                    file.modified.get_or_insert(modified.into());
                }
            }
            Event::Block { file, block } => {
                for (line, text) in block.lines() {
                    if self.stops() {
                        return;
                    }
                    self.line(file, line, text);
                }
            }
            Event::Problem { file, line, what } => {
                self.unreadable += 1;
                let name = self.name(file);
                self.complaints.whole(match line {
                    None => format!("{name}: {what}"),
                    Some(line) => format!("{name}:{line}: {what}"),
                });
            }
            Event::End { file } => {
                if let Some(file) = self.files.get_mut(file) {
                    file.complete = true;
                }
            }
        }
    }

    fn line(&mut self, file: usize, line: Line, text: Option<&[u8]>) {
        let place = Place {
            file,
            line: line.number,
        };
        if self.ticked.elapsed() > TICK {
            self.tick();
        }
        let Some(in_file) = self.files.get_mut(file) else {
            return;
        };
        if self.state.is_some() {
            // The last mark moves on with the lines, all others stay.
            let last = in_file.marks.last();
            if last.is_some_and(|last| !last.line.is_multiple_of(CHECK_EVERY)) {
                in_file.marks.pop();
            }
            in_file.marks.push(Checked {
                line: line.number,
                digest: line.digest,
            });
        }

        let outlets = self.outlets.iter().enumerate();
        let wanted: Vec<usize> = outlets
            .filter(|(_, outlet)| outlet.wants(place))
            .map(|(index, _)| index)
            .collect();
        if wanted.is_empty() && !self.arguments.dry_run {
            // One that was given up has not got it either.
            let by_all = self.outlets.iter().all(|outlet| outlet.given_up.is_none());
            self.skipped += u64::from(by_all);
            return;
        }
        if text.is_some_and(|text| text.trim_ascii().is_empty()) {
            self.settle(&wanted, place, false);
            return;
        }
        let read = match text {
            Some(text) => record::read(text, self.arguments.ignore_unknown),
            None => Err(Problem::too_long(line.bytes, MAX_LINE_BYTES)),
        };
        match read {
            Ok(call) => {
                self.calls += 1;
                let key = in_file.source.key();
                let call = identity::given(
                    call,
                    in_file.modified,
                    &key,
                    line.number,
                    text.unwrap_or_default(),
                );
                self.judge(place, &call);
                self.pace();
                let call = Arc::new(call);
                for index in wanted {
                    self.hand_over(index, place, &call, text.unwrap_or_default());
                }
            }
            Err(problem) if self.state.is_some() && !line.ended => {
                // Somebody may be writing it: the next run finds it whole.
                self.unreadable += 1;
                let name = self.name(file);
                self.complaints.line(
                    &name,
                    place.line,
                    format_args!("{problem} (without a line break; the next run reads it again)"),
                );
            }
            Err(problem) => {
                self.unreadable += 1;
                self.bad_line(&wanted, place, &problem, text);
            }
        }
    }

    /// Outlets will not get a line. It is done with once it stands among the rejected ones.
    fn bad_line(&self, outlets: &[usize], place: Place, problem: &Problem, text: Option<&[u8]>) {
        let name = self.name(place.file);
        self.complaints.line(&name, place.line, problem);
        if self.arguments.dry_run {
            return;
        }
        let written = lock(&self.rejected).unreadable(place.file, place.line, problem, text);
        match written {
            Ok(()) => self.settle(outlets, place, true),
            Err(error) => self
                .complaints
                .line(&name, place.line, rejected::not_written(&error)),
        }
    }

    fn name(&self, file: usize) -> String {
        let file = self.files.get(file);
        file.map(|file| file.source.name()).unwrap_or_default()
    }

    fn settle(&self, outlets: &[usize], place: Place, lost: bool) {
        for outlet in outlets.iter().filter_map(|index| self.outlets.get(*index)) {
            outlet.settle(place, lost);
        }
    }

    /// The line up to which a file is settled everywhere.
    fn settled_by_all(&self, file: usize) -> u64 {
        let outlets = self.outlets.iter();
        outlets
            .map(|outlet| outlet.settled_up_to(file))
            .min()
            .unwrap_or(0)
    }

    /// In a dry run: whether the backends would take it, as far as their exporters can tell.
    fn judge(&self, place: Place, call: &LLMCallData) {
        for judge in &self.judges {
            if let Err(error) = judge.validate(call) {
                self.complaints
                    .line(&self.name(place.file), place.line, error);
            }
        }
    }

    /// Waits for the turn of the next call.
    fn pace(&mut self) {
        let Some(rate) = self.arguments.rate else {
            return;
        };
        loop {
            let now = Instant::now();
            if now >= self.next {
                // What was missed is not made up for.
                let missed = now.checked_sub(TICK).unwrap_or(now);
                self.next = self.next.max(missed) + Duration::from_secs_f64(1.0 / rate);
                return;
            }
            thread::sleep((self.next - now).min(TICK));
            self.tick();
            if self.stops() {
                return;
            }
        }
    }

    fn hand_over(&mut self, index: usize, place: Place, call: &Arc<LLMCallData>, text: &[u8]) {
        let id = call.id();
        loop {
            let Some(outlet) = self.outlets.get(index) else {
                return;
            };
            if outlet.given_up.is_some() || self.stops() {
                return;
            }
            if outlet.ledger.expect(id, place, text.len(), TICK) {
                match outlet.pipeline.submit_shared(Arc::clone(call)) {
                    Submission::Accepted => return,
                    Submission::Refused(refusal) if refusal != Refusal::Full => {
                        outlet.ledger.take_back(id);
                        let problem = Problem::new(refusal.to_string());
                        return self.bad_line(&[index], place, &problem, Some(text));
                    }
                    // There will be room.
                    _ => outlet.ledger.take_back(id),
                }
            }
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.ticked = Instant::now();
        for outlet in &mut self.outlets {
            if outlet.given_up.is_none() {
                let stats = outlet.pipeline.stats();
                outlet.given_up = outlet.patience.is_over(&stats, &outlet.ledger);
                if let Some(why) = &outlet.given_up {
                    screen::complain(why);
                }
            }
        }
        self.show();
        if self.saved.elapsed() > SAVE_EVERY {
            self.save();
        }
    }

    fn show(&self) {
        if self.bar.is_hidden() {
            return;
        }
        let stats = self.outlets.iter().map(|outlet| outlet.pipeline.stats());
        let stats: Vec<PipelineStats> = stats.collect();
        let done = |stats: &PipelineStats| stats.delivered + stats.rejected;
        // The slowest one counts.
        let settled = stats.iter().map(done).min().unwrap_or(self.calls);
        let elapsed = self.started.elapsed().as_secs_f64();
        let rate = settled as f64 / elapsed.max(0.001);
        let mut message = String::new();
        if let Some(total) = self.total_bytes {
            let read = self.read_bytes.load(Ordering::Relaxed) as f64 / total as f64;
            let arrived = settled as f64 / (self.calls as f64).max(1.0);
            let share = (read * arrived).clamp(0.0, 1.0);
            self.bar.set_position((share * 1000.0) as u64);
            message = format!("{:>3.0} %  ", share * 100.0);
            if share > 0.0 && elapsed > 1.0 {
                let left = Duration::from_secs_f64(elapsed * (1.0 - share) / share);
                message.push_str(&format!("{} left  ", human::duration(left)));
            }
        }
        message.push_str(&format!(
            "{} calls  {}/s",
            HumanCount(settled),
            HumanCount(rate as u64)
        ));
        let lost = self.complaints.count();
        if lost > 0 {
            message.push_str(&format!("  {} bad", HumanCount(lost)));
        }
        self.bar.set_message(message);
    }

    fn save(&mut self) {
        self.saved = Instant::now();
        let Some(state) = &self.state else {
            return;
        };
        for index in 0..self.files.len() {
            let settled = self.settled_by_all(index);
            let Some(file) = self.files.get_mut(index) else {
                continue;
            };
            let Some(modified) = file.modified else {
                continue;
            };
            let passed = file.marks.iter().rposition(|mark| mark.line <= settled);
            if let Some(passed) = passed {
                let mark = file.marks.get(passed).copied();
                file.checked = mark.or(file.checked);
                file.marks.drain(..passed);
            }
            let remembered = self
                .memory
                .files
                .entry(file.path.clone())
                .or_insert_with(|| Remembered {
                    modified,
                    checked: None,
                    to: BTreeMap::new(),
                });
            remembered.checked = file.checked;
            for outlet in &self.outlets {
                if let Some(share) = outlet.share(index) {
                    remembered.to.insert(outlet.key.clone(), share);
                }
            }
        }
        // What the state calls rejected is to be found there, even after a power failure.
        let written = lock(&self.rejected).sync();
        if let Err(error) = written.and_then(|()| state.save(&self.memory))
            && !std::mem::replace(&mut self.unsaved, true)
        {
            self.complaints
                .whole(format_args!("--state: cannot be written: {error}"));
        }
    }

    /// Waits for what is on its way, and sums up.
    fn finish(mut self) -> Outcome {
        // What is there need not wait for more.
        for outlet in &self.outlets {
            let _ = outlet.pipeline.flush_within(Duration::ZERO);
        }
        let waits = |outlet: &Outlet| outlet.given_up.is_none() && !outlet.ledger.is_empty();
        while !interrupt::asked() && self.outlets.iter().any(waits) {
            thread::sleep(SHORT);
            if self.ticked.elapsed() > TICK {
                self.tick();
            }
        }
        if interrupt::asked() {
            let until = Instant::now() + GRACE;
            for outlet in &self.outlets {
                outlet.ledger.halt();
            }
            for outlet in &self.outlets {
                outlet.ledger.answers_by(until);
            }
        }
        let mut stats = Vec::new();
        for outlet in &self.outlets {
            // Nothing is on its way any more, but for what is left behind.
            let patience = match outlet.ledger.is_empty() {
                true => SAVE_EVERY,
                false => Duration::ZERO,
            };
            stats.push(outlet.pipeline.shutdown(patience).stats);
        }
        self.save();
        self.bar.finish_and_clear();
        let all = self.files.iter().all(|file| file.complete) && !self.stopped;
        for (index, file) in self.files.iter().enumerate() {
            if file.complete && !self.stopped && !self.arguments.dry_run {
                lock(&self.rejected).complete(index);
            }
        }
        if !self.loudness.quiet {
            self.sum_up(&stats)?;
        }
        let arrived = self.outlets.iter().zip(&stats).all(|(outlet, stats)| {
            stats.delivered == stats.accepted
                && outlet.given_up.is_none()
                && outlet.lost_before == 0
        });
        match all && arrived && !self.complaints.any() && self.unreadable == 0 {
            true => Ok(()),
            false if interrupt::asked() => Err(Failure::Interrupted),
            false => Err(Failure::Told),
        }
    }

    fn sum_up(&self, stats: &[PipelineStats]) -> Outcome {
        let mut out = anstream::stdout().lock();
        let elapsed = self.started.elapsed();
        for (outlet, stats) in self.outlets.iter().zip(stats) {
            let mut line = format!(
                "{} ({}): {} delivered",
                outlet.backend.name(),
                outlet.backend.destination(),
                HumanCount(stats.delivered)
            );
            for (count, what) in [
                (stats.rejected + stats.dropped.total(), "rejected"),
                (stats.pending, "not delivered"),
                (outlet.lost_before, "rejected in earlier runs"),
            ] {
                if count > 0 {
                    line.push_str(&format!(", {} {what}", HumanCount(count)));
                }
            }
            say(&mut out, line)?;
        }
        let mut line = format!(
            "{} read in {}",
            human::count(self.calls, "call"),
            human::duration(elapsed)
        );
        if elapsed > Duration::from_secs(1) {
            let rate = self.calls as f64 / elapsed.as_secs_f64();
            line.push_str(&format!(", {}/s", HumanCount(rate as u64)));
        }
        if self.skipped > 0 {
            let lines = human::count(self.skipped, "line");
            line.push_str(&format!(", {lines} done with in earlier runs"));
        }
        if self.unreadable > 0 {
            line.push_str(&format!(", {} unreadable", HumanCount(self.unreadable)));
        }
        say(&mut out, line)?;
        let hidden = self.complaints.hidden();
        if hidden > 0 {
            let more = human::count(hidden, "more error");
            say(&mut out, format_args!("{more} not shown"))?;
        }
        for (path, lines) in lock(&self.rejected).written() {
            let lines = human::count(lines, "line");
            let path = path.display();
            say(
                &mut out,
                format_args!("{path} has {lines} that did not arrive, with the reason"),
            )?;
        }
        let pending = stats.iter().any(|stats| stats.pending > 0);
        if (self.stopped || pending) && self.state.is_some() {
            say(&mut out, "run the same command again to go on")?;
        }
        Ok(())
    }
}

/// A file of rejected lines that is read as well would be lost, or read for ever; one that is the state, too.
fn not_read_and_written(files: &[InFile], rejected: &Rejected, arguments: &Replay) -> Outcome {
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    };
    let state = arguments.state.as_deref();
    for written in rejected.paths() {
        if state.is_some_and(|state| same(state, written)) {
            return Err(Failure::Settings(format!(
                "{} would hold both the state and the rejected lines; name another file with --rejected or --state",
                written.display()
            )));
        }
    }
    for written in rejected.paths().chain(state) {
        for file in files {
            if let Source::File(read) = &file.source
                && same(written, read)
            {
                return Err(Failure::Settings(format!(
                    "{} would be read and written; replay it alone, or name another file with --rejected or --state",
                    written.display()
                )));
            }
        }
    }
    Ok(())
}
