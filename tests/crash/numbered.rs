//! Calls that have a number, a backend that counts them, and what else rows about many calls need.

use std::{
    env, fs,
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use beluga_o11y::{BatchReport, ExportError, LLMCallData, TraceExporter, async_trait};
use beluga_o11y_pipeline::{Pipeline, PipelineStats};
use tempfile::TempDir;
use uuid::Uuid;

use crate::alone::ROW;

pub(crate) const MILLIS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// For what has no deadline of its own; only a test that fails waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// On a disk, not in memory.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Its answer has this many bytes, and like its id it tells the number.
pub(crate) fn call(number: u64, bytes: usize) -> LLMCallData {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let id = uuid::Builder::from_unix_timestamp_millis(now.as_millis() as u64, &random);
    LLMCallData::new("openai", "gpt-4o")
        .with_id(id.into_uuid())
        .with_response(text(number, bytes))
        .with_tokens(12, 5)
}

fn text(number: u64, bytes: usize) -> String {
    let mut text = format!("{number:016} ").repeat(bytes / 17 + 1);
    text.truncate(bytes);
    text
}

fn number(id: Uuid) -> u64 {
    // The two highest bits are the variant of the id.
    id.as_u128() as u64 & u64::MAX >> 2
}

fn is_whole(call: &LLMCallData) -> bool {
    let answer = call.response.as_ref().map_or("", |json| json.as_str());
    let answer = answer.trim_matches('"');
    !answer.is_empty() && answer == text(number(call.id()), answer.len())
}

/// A set of numbers below a bound, a bit each.
pub(crate) struct Numbers {
    bits: Vec<AtomicU64>,
    count: AtomicU64,
}

impl Numbers {
    pub(crate) fn below(bound: u64) -> Self {
        Self {
            bits: (0..=bound / 64).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
        }
    }

    /// Returns whether it is new.
    pub(crate) fn add(&self, number: u64) -> bool {
        let bit = 1 << (number % 64);
        let is_new = self.bits[(number / 64) as usize].fetch_or(bit, Relaxed) & bit == 0;
        self.count.fetch_add(is_new.into(), Relaxed);
        is_new
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.bits[(number / 64) as usize].load(Relaxed) & 1 << (number % 64) != 0
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The first few that are in only one of the two.
    pub(crate) fn differences(&self, other: &Self) -> Vec<u64> {
        let bound = 64 * self.bits.len().min(other.bits.len()) as u64;
        let differ = |number: &u64| self.has(*number) != other.has(*number);
        (0..bound).filter(differ).take(10).collect()
    }
}

/// Takes calls while it is up, and refuses all for now while it is down.
#[derive(Clone)]
pub(crate) struct Backend(Arc<State>);

struct State {
    up: AtomicBool,
    latency: Duration,
    taken: Numbers,
    /// How often it got a call that it had.
    twice: AtomicU64,
    damaged: AtomicU64,
    on_batch: Box<OnBatch>,
}

/// Is told the numbers of a batch.
type OnBatch = dyn Fn(&[u64]) + Send + Sync;

impl Backend {
    /// For calls of numbers below this. It is down.
    pub(crate) fn new(bound: u64) -> Self {
        Self::watched(bound, Duration::ZERO, |_| {})
    }

    /// It takes this long for each batch, and then tells the numbers in it.
    pub(crate) fn watched(
        bound: u64,
        latency: Duration,
        on_batch: impl Fn(&[u64]) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(State {
            up: AtomicBool::new(false),
            latency,
            taken: Numbers::below(bound),
            twice: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            on_batch: Box::new(on_batch),
        }))
    }

    pub(crate) fn goes_up(&self) {
        self.0.up.store(true, Relaxed);
    }

    pub(crate) fn taken(&self) -> &Numbers {
        &self.0.taken
    }

    /// No call came twice, and each was as it had been submitted.
    pub(crate) fn check(&self) {
        let (twice, damaged) = (self.0.twice.load(Relaxed), self.0.damaged.load(Relaxed));
        assert_eq!((twice, damaged), (0, 0), "came twice, were damaged");
    }
}

#[async_trait]
impl TraceExporter for Backend {
    fn name(&self) -> &str {
        "backend"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.export_batch(&[call]).await.map(|_| ())
    }

    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let state = &self.0;
        if !state.up.load(Relaxed) {
            return Err(ExportError::temporary("backend", "down"));
        }
        tokio::time::sleep(state.latency).await;
        let numbers: Vec<_> = calls.iter().map(|call| number(call.id())).collect();
        for (call, number) in calls.iter().zip(&numbers) {
            state.damaged.fetch_add((!is_whole(call)).into(), Relaxed);
            let is_new = state.taken.add(*number);
            state.twice.fetch_add((!is_new).into(), Relaxed);
        }
        (state.on_batch)(&numbers);
        Ok(BatchReport::default())
    }
}

/// Both laws.
pub(crate) fn check(stats: &PipelineStats) {
    let (refused, dropped) = (stats.refused.total(), stats.dropped.total());
    assert_eq!(
        stats.submitted,
        stats.accepted + refused + stats.sampled_out,
        "{stats:?}"
    );
    assert_eq!(
        stats.accepted + stats.recovered,
        stats.delivered + stats.rejected + dropped + stats.pending,
        "{stats:?}"
    );
}

/// What became of all calls, both laws checked.
pub(crate) fn stats(pipeline: &Pipeline) -> PipelineStats {
    let stats = pipeline.stats();
    check(&stats);
    stats
}

/// Checks both laws from a thread of its own for as long as it lives. It holds a handle of the pipeline.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

pub(crate) fn watch(pipeline: &Pipeline) -> Watch {
    let stop = Arc::new(AtomicBool::new(false));
    let (pipeline, stopped) = (pipeline.clone(), Arc::clone(&stop));
    let thread = thread::spawn(move || {
        let mut before = PipelineStats::default();
        let mut looks = 0;
        while !stopped.load(Relaxed) {
            let now = stats(&pipeline);
            assert!(now.accepted >= before.accepted && now.delivered >= before.delivered);
            assert!(now.recovered >= before.recovered, "{now:?}");
            assert!(now.spool.not_durable >= before.spool.not_durable, "{now:?}");
            before = now;
            looks += 1;
            thread::sleep(5 * MILLIS);
        }
        looks
    });
    Watch {
        stop,
        thread: Some(thread),
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let result = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            let looked = matches!(result, Some(Ok(1..)));
            assert!(looked, "a law was broken, or nobody looked");
        }
    }
}

/// Waits until it is so, and returns how long that took.
pub(crate) fn wait_for(what: &str, limit: Duration, is_so: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(2 * MILLIS);
    }
    start.elapsed()
}

/// Waits until nothing is pending. Each flush makes an attempt.
pub(crate) fn settle(pipeline: &Pipeline, limit: Duration) -> Duration {
    let start = Instant::now();
    loop {
        let report = pipeline.flush_within(SECOND);
        check(&report.stats);
        if report.stats.pending == 0 {
            return start.elapsed();
        }
        assert!(
            start.elapsed() < limit,
            "not within {limit:?}: {}, last error {:?}",
            report.stats,
            report.stats.last_error
        );
    }
}

/// Nothing is pending, nothing was lost, and the spool's files are gone once the pipeline is.
pub(crate) fn end(pipeline: Pipeline, directory: &Path) -> PipelineStats {
    let report = pipeline.shutdown(10 * SECOND);
    check(&report.stats);
    let stats = report.stats;
    assert_eq!(stats.pending, 0, "{stats}");
    assert_eq!((stats.rejected, stats.dropped.total()), (0, 0), "{stats}");
    assert_eq!(stats.spool.durable, 0, "{stats:?}");
    assert_eq!(stats.spool.set_aside, 0, "{stats:?}");
    drop(pipeline);
    let left = files(directory);
    assert!(left.is_empty(), "{left:?}");
    stats
}

pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files
}

/// Bytes, by the name that Linux has for them: `VmRSS` now, `VmHWM` at its peak.
pub(crate) fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().trim_start_matches(':').trim();
    number.strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// This program, to be started for a row.
pub(crate) fn this_program(row: &str) -> Command {
    this_program_within(row, &[])
}

/// The same, as the last argument of another program with arguments.
pub(crate) fn this_program_within(row: &str, outer: &[&str]) -> Command {
    let program = env::current_exe().expect("the path of this program");
    let mut command = match outer {
        [] => Command::new(program),
        [outer, arguments @ ..] => {
            let mut command = Command::new(outer);
            command.args(arguments).arg(program);
            command
        }
    };
    command.env(ROW, row).stdin(Stdio::null());
    command
}

/// A process that says line by line how far it is. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = child.stdout.take().unwrap();
        Self {
            child,
            lines: BufReader::new(output).lines(),
        }
    }

    /// The next line; none if it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        self.lines.next().map(Result::unwrap)
    }

    pub(crate) fn wait_for_line(&mut self, what: &str) {
        assert_eq!(self.line().as_deref(), Some(what));
    }

    /// As `kill -9` does. Returns what it had said that nobody had read yet.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.by_ref().map(Result::unwrap).collect()
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn end(mut self) {
        for line in self.lines.by_ref() {
            eprintln!("{}", line.unwrap());
        }
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Until this process is killed; not for ever, in case nobody does.
pub(crate) fn wait_for_the_end() -> ! {
    thread::sleep(PATIENCE);
    panic!("nobody has killed this process");
}
