//! `report` over a file of records, beside what it takes to parse its JSON at all:
//! `cargo bench -p beluga-o11y-cli --bench report`.
//!
//! `BELUGA_O11Y_BENCH_CALLS` sets another number than a million calls of 1 KB.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and stops where it cannot go on"
)]

#[path = "support/process.rs"]
mod process;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

const RUNS: usize = 3;

fn main() {
    let calls: usize =
        std::env::var("BELUGA_O11Y_BENCH_CALLS").map_or(1_000_000, |calls| calls.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calls.jsonl");
    write(&path, calls);
    let bytes = fs::metadata(&path).unwrap().len() as usize;
    let threads = thread::available_parallelism().unwrap();
    println!(
        "{calls} calls of {} bytes, {threads} cores, {RUNS} runs",
        bytes / calls
    );
    let rate = |took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
    for _ in 0..RUNS {
        let skipped = rate(parse::<IgnoredAny>(&path));
        let values = rate(parse::<Value>(&path));
        println!(
            "one thread, serde_json: {skipped:.0} MB/s as IgnoredAny, {values:.0} MB/s as Value"
        );
        for (label, more) in [
            ("report", &[][..]),
            (
                "report --by session,user,tag",
                &["--by", "session,user,tag"],
            ),
            ("report --html", &["--html", "page.html"]),
        ] {
            let arguments = [&["report", "calls.jsonl"], more].concat();
            let (took, peak) = process::run(&arguments, directory.path());
            let rate = rate(took);
            println!(
                "{label:<29} {rate:>5.0} MB/s  {:.2} of IgnoredAny, {:.2} of Value  peak {} MiB",
                rate / skipped,
                rate / values,
                peak / 1024
            );
        }
    }
}

/// Calls of about 1 KB over a month, of some models, users and sessions.
fn write(path: &Path, calls: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let filler = "lorem ipsum dolor sit amet ".repeat(8);
    for number in 0..calls {
        let start = chrono::DateTime::from_timestamp_millis(
            1_793_500_000_000 + (number * 2_600_000 / calls.max(1)) as i64 * 1_000,
        );
        let model = ["gpt-4o", "gpt-4o-mini", "o4-mini"][number % 3];
        let call = json!({
            "provider": "openai",
            "model": model,
            "start_time": start.unwrap().to_rfc3339(),
            "duration_ms": 300 + number % 7_919,
            "time_to_first_token_ms": 100 + number % 997,
            "input_tokens": 117 + number % 1_000,
            "cache_read_tokens": number % 117,
            "output_tokens": 3 + number % 100,
            "cost": (number % 1_000) as f64 / 1e5,
            "messages": [
                {"role": "system", "content": filler},
                {"role": "user", "content": format!("question {number}\n{filler}")},
            ],
            "response": format!("answer {number}\n{filler}"),
            "session_id": format!("session-{}", number / 5),
            "user_id": format!("user-{}", number % 5_003),
            "tags": ["prod"],
        });
        serde_json::to_writer(&mut file, &call).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.flush().unwrap();
}

/// The floor: the JSON of every line, parsed on one thread, and nothing done with it.
fn parse<T: for<'a> Deserialize<'a>>(path: &Path) -> Duration {
    let start = Instant::now();
    let mut file = BufReader::with_capacity(256 * 1024, File::open(path).unwrap());
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line).unwrap() > 0 {
        std::hint::black_box(serde_json::from_slice::<T>(&line).unwrap());
        line.clear();
    }
    start.elapsed()
}
