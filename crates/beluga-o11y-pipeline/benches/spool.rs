//! What it costs a program to have its calls on disk when `submit` returns, beside the floor: SQLite alone, a row of the
//! same bytes in each transaction.
//!
//! ```text
//! cargo bench -p beluga-o11y-pipeline --features spool --bench spool
//! cargo bench -p beluga-o11y-pipeline --features spool --bench spool -- DIRECTORY
//! ```
//!
//! The directory says which disk; without one it is that of the target directory. A file system in memory measures
//! nothing that matters.

#[expect(dead_code, reason = "the load program makes more kinds of calls")]
#[path = "load/record.rs"]
mod record;
#[path = "load/table.rs"]
mod table;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::{
    BatchReport, CallSink, ExportError, LLMCallData, Submission, TraceExporter, async_trait,
};
use beluga_o11y_pipeline::{Durability, Overflow, Pipeline, Spool};
use rusqlite::{Connection, params};
use table::{
    Goal::{AtLeast, AtMost},
    Table,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 3;
/// Of each round, at most.
const CALLS: usize = 30_000;
/// How long a round makes calls, at most: a disk that is asked for each of them may be slow.
const TIME: Duration = Duration::from_secs(1);
/// Between two calls of a program that makes few.
const PAUSE: Duration = Duration::from_millis(1);
const BACKLOG: usize = 100_000;
/// Room for all calls of a round.
const MUCH_MEMORY: usize = 1 << 30;
/// Nothing here takes longer, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benches without what `cargo bench` says.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let directory = arguments.iter().find(|argument| *argument != "--bench");
    let disk = directory.map_or(env!("CARGO_TARGET_TMPDIR"), String::as_str);
    let disk = Path::new(disk);
    let mut table = Table::start()?;
    survives_the_process(&mut table, disk)?;
    few_calls(&mut table, disk)?;
    survives_a_power_failure(&mut table, disk)?;
    backlog(&mut table, disk)
}

/// What was measured in one round.
struct Run {
    /// What each submit, or each insert, took: nanoseconds, in ascending order.
    times: Vec<u32>,
    /// Calls per second that were on disk when their submit returned.
    rate: f64,
    /// The same until all are delivered, too.
    rate_delivered: f64,
    not_durable: f64,
}

impl Run {
    /// The time that this share of all, from 0 to 1, does not exceed, in microseconds.
    fn quantile(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        let at = (share * last as f64) as usize;
        self.times
            .get(at)
            .map_or(f64::NAN, |time| f64::from(*time) / 1e3)
    }
}

/// How calls are made.
#[derive(Clone, Copy)]
struct Load {
    spool: Option<Durability>,
    threads: usize,
    calls: usize,
    pause: Duration,
}

impl Load {
    fn flat_out(spool: Option<Durability>, threads: usize) -> Self {
        Self {
            spool,
            threads,
            calls: CALLS,
            pause: Duration::ZERO,
        }
    }
}

fn survives_the_process(table: &mut Table, disk: &Path) -> Result<()> {
    let [mut floor, mut one, mut four, mut memory] = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        floor.push(bare(disk, "NORMAL")?);
        one.push(submits(disk, Load::flat_out(Some(Durability::Process), 1))?);
        four.push(submits(disk, Load::flat_out(Some(Durability::Process), 4))?);
        memory.push(submits(disk, Load::flat_out(None, 1))?);
    }
    table.title("Each submit that survives the end of the process (WAL, synchronous=NORMAL)")?;
    table.info("bytes of a record as JSON, as in the floor", mean_size()?)?;
    print_floor(table, &floor)?;
    print(table, "one thread", &one, Some(30.0))?;
    print(table, "four threads", &four, None)?;
    table.goal(
        "  as a share of the floor",
        &ratios(&four, &floor),
        AtLeast(0.5),
    )?;
    print_times(table, "one thread without a spool", &memory, None)
}

/// Most programs make a call now and then; whoever writes it may have gone to sleep meanwhile.
fn few_calls(table: &mut Table, disk: &Path) -> Result<()> {
    let load = |spool| Load {
        spool,
        threads: 1,
        calls: 1_000,
        pause: PAUSE,
    };
    let [mut durable, mut memory] = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        durable.push(submits(disk, load(Some(Durability::Process)))?);
        memory.push(submits(disk, load(None))?);
    }
    table.title("Each submit of a program that makes a call every millisecond")?;
    print_times(table, "one thread", &durable, None)?;
    print_times(table, "one thread without a spool", &memory, None)
}

fn survives_a_power_failure(table: &mut Table, disk: &Path) -> Result<()> {
    let [mut floor, mut one, mut four] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        floor.push(bare(disk, "FULL")?);
        one.push(submits(disk, Load::flat_out(Some(Durability::Power), 1))?);
        four.push(submits(disk, Load::flat_out(Some(Durability::Power), 4))?);
    }
    table.title("Each submit that survives a power failure (WAL, synchronous=FULL)")?;
    print_floor(table, &floor)?;
    print(table, "one thread", &one, None)?;
    table.row("  as a share of the floor", &ratios(&one, &floor))?;
    print(table, "four threads", &four, None)?;
    table.row("  as a share of the floor", &ratios(&four, &floor))
}

/// Calls that an earlier pipeline has left on disk.
fn backlog(table: &mut Table, disk: &Path) -> Result<()> {
    let [mut fill, mut known, mut drain] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir_in(disk)?;
        // None goes by memory only, however slow the disk is for a moment.
        let spool = Spool::new(directory.path()).with_write_timeout(PATIENCE);
        let pipeline = spawn(false, Some(spool))?;
        let start = Instant::now();
        let calls = record::calls(BACKLOG);
        thread::scope(|scope| {
            for calls in calls.chunks(BACKLOG / 4) {
                let pipeline = &pipeline;
                scope.spawn(move || {
                    for call in calls {
                        pipeline.submit(call.clone());
                    }
                });
            }
        });
        fill.push(BACKLOG as f64 / start.elapsed().as_secs_f64());
        drop(calls);
        let report = pipeline.shutdown(TIME);
        let stats = report.stats;
        if stats.spool.durable != BACKLOG as u64 {
            return Err(format!("not all calls are on disk: {stats}").into());
        }
        drop(pipeline);

        let start = Instant::now();
        let pipeline = spawn(true, Some(directory.path().into()))?;
        let reached = |what: fn(&Pipeline) -> u64| -> Result<Duration> {
            while what(&pipeline) < BACKLOG as u64 {
                if start.elapsed() > PATIENCE {
                    let stats = pipeline.stats();
                    return Err(format!("not all calls came from disk: {stats}").into());
                }
                thread::sleep(PAUSE);
            }
            Ok(start.elapsed())
        };
        known.push(reached(|pipeline| pipeline.stats().recovered)?.as_secs_f64() * 1e3);
        drain.push(BACKLOG as f64 / reached(|pipeline| pipeline.stats().delivered)?.as_secs_f64());
        let _ = pipeline.shutdown(PATIENCE);
    }
    table.title("100,000 calls left on disk")?;
    table.row("written by four threads, per second", &fill)?;
    table.row("until all are counted, ms", &known)?;
    table.row("delivered per second, from the start", &drain)
}

/// SQLite alone.
fn bare(disk: &Path, synchronous: &str) -> Result<Run> {
    let records = records()?;
    let directory = tempfile::tempdir_in(disk)?;
    let connection = Connection::open(directory.path().join("bare.db"))?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
         CREATE TABLE call (id INTEGER PRIMARY KEY, time INTEGER, format INTEGER, checksum INTEGER, record BLOB)"
    ))?;
    let mut insert = connection
        .prepare("INSERT INTO call (time, format, checksum, record) VALUES (?, ?, ?, ?)")?;
    let mut times = Vec::with_capacity(CALLS);
    let start = Instant::now();
    for (record, checksum) in records.iter().cycle().take(CALLS).zip(i64::MIN..) {
        let before = Instant::now();
        insert.execute(params![1_700_000_000_000_i64, 1, checksum, record])?;
        times.push(nanoseconds(before.elapsed()));
        if start.elapsed() > TIME {
            break;
        }
    }
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    Ok(Run {
        times,
        rate,
        rate_delivered: f64::NAN,
        not_durable: 0.0,
    })
}

/// Submits while the backend takes everything.
fn submits(disk: &Path, load: Load) -> Result<Run> {
    let calls = record::calls(load.calls);
    let directory = tempfile::tempdir_in(disk)?;
    let spool = |durability| Spool::new(directory.path()).with_durability(durability);
    let spool = load.spool.map(spool);
    let pipeline = spawn(true, spool)?;
    let start = Instant::now();
    let mut times = thread::scope(|scope| -> Result<Vec<u32>> {
        let mut threads = Vec::new();
        for calls in calls.chunks(load.calls.div_ceil(load.threads)) {
            let pipeline = &pipeline;
            threads.push(scope.spawn(move || submit_all(pipeline, calls, load.pause)));
        }
        let mut times = Vec::new();
        for thread in threads {
            times.extend(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok(times)
    })?;
    let took = start.elapsed();
    if load.spool.is_some() && !has_database(directory.path())? {
        return Err("the spool has no file".into());
    }
    let report = pipeline.flush_within(PATIENCE);
    let took_all = start.elapsed();
    let stats = report.stats;
    if stats.delivered != times.len() as u64 {
        return Err(format!("not all calls were delivered: {stats}").into());
    }
    let count = times.len() as f64;
    let not_durable = stats.spool.not_durable as f64;
    times.sort_unstable();
    Ok(Run {
        times,
        rate: (count - not_durable) / took.as_secs_f64(),
        rate_delivered: count / took_all.as_secs_f64(),
        not_durable,
    })
}

fn submit_all(
    pipeline: &Pipeline,
    calls: &[LLMCallData],
    pause: Duration,
) -> std::result::Result<Vec<u32>, String> {
    let mut times = Vec::with_capacity(calls.len());
    let start = Instant::now();
    for call in calls {
        let call = call.clone();
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        let before = Instant::now();
        let submission = pipeline.submit(call);
        times.push(nanoseconds(before.elapsed()));
        if submission != Submission::Accepted {
            return Err(format!("{submission:?}"));
        }
        if pause.is_zero() && start.elapsed() > TIME {
            break;
        }
    }
    Ok(times)
}

fn spawn(takes: bool, spool: Option<Spool>) -> Result<Pipeline> {
    let builder = Pipeline::builder(Backend { takes }).with_overflow(Overflow::Block(PATIENCE));
    let builder = match spool {
        Some(spool) => builder.with_spool(spool),
        None => builder.with_max_memory_bytes(MUCH_MEMORY),
    };
    Ok(builder.spawn()?)
}

/// Takes everything at once, or nothing.
#[derive(Debug)]
struct Backend {
    takes: bool,
}

impl Backend {
    fn answer(&self) -> std::result::Result<(), ExportError> {
        match self.takes {
            true => Ok(()),
            false => Err(ExportError::temporary("backend", "down")),
        }
    }
}

#[async_trait]
impl TraceExporter for Backend {
    fn name(&self) -> &str {
        "backend"
    }

    async fn export_llm_call(&self, _: &LLMCallData) -> std::result::Result<(), ExportError> {
        self.answer()
    }

    async fn export_batch(
        &self,
        _: &[&LLMCallData],
    ) -> std::result::Result<BatchReport, ExportError> {
        self.answer().map(|()| BatchReport::default())
    }
}

fn has_database(directory: &Path) -> Result<bool> {
    let mut directories = vec![PathBuf::from(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "db") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn records() -> Result<Vec<Vec<u8>>> {
    let calls = record::calls(1_000);
    let records = calls.iter().map(serde_json::to_vec);
    Ok(records.collect::<serde_json::Result<_>>()?)
}

fn mean_size() -> Result<f64> {
    let records = records()?;
    let bytes: usize = records.iter().map(Vec::len).sum();
    Ok(bytes as f64 / records.len() as f64)
}

fn print_floor(table: &mut Table, runs: &[Run]) -> Result<()> {
    table.row("floor: inserts per second", &rates(runs))?;
    table.row("  each, µs: median", &quantiles(runs, 0.5))?;
    table.row("  99 % at most", &quantiles(runs, 0.99))
}

fn print(table: &mut Table, what: &str, runs: &[Run], at_most: Option<f64>) -> Result<()> {
    print_times(table, what, runs, at_most)?;
    table.row("  on disk per second", &rates(runs))?;
    let delivered: Vec<_> = runs.iter().map(|run| run.rate_delivered).collect();
    table.row("  delivered per second", &delivered)
}

fn print_times(table: &mut Table, what: &str, runs: &[Run], at_most: Option<f64>) -> Result<()> {
    let what = format!("{what}, µs: median");
    let medians = quantiles(runs, 0.5);
    match at_most {
        Some(most) => table.goal(&what, &medians, AtMost(most))?,
        None => table.row(&what, &medians)?,
    }
    for (what, share) in [
        ("  99 % at most", 0.99),
        ("  99.9 % at most", 0.999),
        ("  the longest", 1.0),
    ] {
        table.row(what, &quantiles(runs, share))?;
    }
    let not_durable: Vec<_> = runs.iter().map(|run| run.not_durable).collect();
    match not_durable.iter().any(|count| *count > 0.0) {
        true => table.row("  accepted without being on disk", &not_durable),
        false => Ok(()),
    }
}

fn quantiles(runs: &[Run], share: f64) -> Vec<f64> {
    runs.iter().map(|run| run.quantile(share)).collect()
}

fn rates(runs: &[Run]) -> Vec<f64> {
    runs.iter().map(|run| run.rate).collect()
}

/// Round by round, since the machine is not the same in every round.
fn ratios(runs: &[Run], floor: &[Run]) -> Vec<f64> {
    let pairs = runs.iter().zip(floor);
    pairs.map(|(run, floor)| run.rate / floor.rate).collect()
}

fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}
