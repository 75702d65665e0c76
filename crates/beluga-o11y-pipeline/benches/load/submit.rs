//! How long a submit keeps the thread that makes it.

use std::{
    net::SocketAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::CallSink;
use beluga_o11y_pipeline::Pipeline;

use crate::{
    Result,
    delivery::{BATCH, opik, patient, settle},
    nowhere::Nowhere,
    record,
};

/// The argument that makes this program one that submits; how many calls comes after it.
pub(crate) const ROLE: &str = "as-submitter";

/// The worker has more batches to do than it can send at a time.
const BUSY: u64 = 10 * BATCH as u64;
const CHUNK: usize = 2 * BATCH;
/// How many the program that is watched has ready, and may submit.
const READY: usize = 100_000;

/// Times in nanoseconds, in ascending order.
pub(crate) struct Times(Vec<u32>);

impl Times {
    fn new(mut times: Vec<u32>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that this share of all, from 0 to 1, does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = (share * last as f64) as usize;
        self.0.get(at).copied().unwrap_or(0).into()
    }
}

/// Each of this many submits, one by one, while the worker sends to the sink.
pub(crate) fn times(count: usize, sink: SocketAddr) -> Result<Times> {
    let pipeline = patient(opik(sink, false)?)?;
    let stock = record::calls(CHUNK);
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let calls = stock.clone();
        match pipeline.stats().pending {
            ..BUSY => calls.into_iter().for_each(|call| {
                pipeline.submit(call);
            }),
            pending if pending < 2 * BUSY => times.extend(calls.into_iter().map(|call| {
                let start = Instant::now();
                pipeline.submit(call);
                nanoseconds(start.elapsed())
            })),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
    settle(&pipeline)?;
    Ok(Times::new(times))
}

/// What the timer by itself shows.
pub(crate) fn timer(count: usize) -> Times {
    let empty = (0..count).map(|_| nanoseconds(Instant::now().elapsed()));
    Times::new(empty.collect())
}

fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

/// The system calls of the thread that submits, by name, and how often per thousand submits: what strace(1) sees of a
/// program that submits many calls, less what it sees of one that has them ready and submits none.
pub(crate) fn system_calls() -> Result<Vec<(String, f64)>> {
    let (with, without) = (trace(READY)?, trace(0)?);
    let rest = |(name, count): (String, f64)| {
        let before = without.iter().find(|(other, _)| *other == name);
        let count = count - before.map_or(0.0, |(_, count)| *count);
        (name, count * 1e3 / READY as f64)
    };
    Ok(with
        .into_iter()
        .map(rest)
        .filter(|(_, count)| *count > 0.0)
        .collect())
}

/// Without `-f`, strace follows the main thread only, and that is the one that submits.
fn trace(count: usize) -> Result<Vec<(String, f64)>> {
    let output = Command::new("strace")
        .args(["-c", "-U", "name,calls", "--"])
        .arg(std::env::current_exe()?)
        .args([ROLE, &count.to_string()])
        .output()
        .map_err(|error| format!("strace: {error}"))?;
    let table = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("strace: {}", table.trim()).into());
    }
    let line = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    Ok(table
        .lines()
        .filter_map(line)
        .filter(|(name, _)| name != "total")
        .collect())
}

/// The program that is watched: the queue has room for all, so that nobody waits for the worker.
pub(crate) fn run(count: usize) -> Result<()> {
    let pipeline = Pipeline::builder(Nowhere)
        .with_max_memory_bytes(1 << 30)
        .spawn()?;
    for call in record::calls(READY).into_iter().take(count) {
        pipeline.submit(call);
    }
    settle(&pipeline)
}
