//! `replay` of a million calls of 1 KB to nowhere, beside what it takes to read them at all: `cargo bench -p beluga-o11y-cli`.
//!
//! `BELUGA_O11Y_BENCH_CALLS` sets another number.

#![expect(
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
    time::{Duration, Instant},
};

use beluga_o11y::LLMCallData;
use serde_json::json;

const RUNS: usize = 3;

fn main() {
    let calls: usize =
        std::env::var("BELUGA_O11Y_BENCH_CALLS").map_or(1_000_000, |calls| calls.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calls.jsonl");
    write(&path, calls);
    let bytes = fs::metadata(&path).unwrap().len() as usize;
    println!("{calls} calls of {} bytes, {RUNS} runs", bytes / calls);
    for _ in 0..RUNS {
        let floor = calls as f64 / read(&path).as_secs_f64();
        for (label, more) in [
            ("replay", &[][..]),
            ("replay --state", &["--state", "state"][..]),
        ] {
            let _ = fs::remove_file(directory.path().join("state"));
            let arguments = [&["replay", "--to", "none", "calls.jsonl"], more].concat();
            let (took, peak) = process::run(&arguments, directory.path());
            let rate = calls as f64 / took.as_secs_f64();
            println!(
                "{label:<15} {rate:>9.0}/s  {:.2} of reading alone ({floor:.0}/s)  peak {} MiB",
                rate / floor,
                peak / 1024
            );
        }
    }
}

/// Calls of about 1 KB, with ids, as a program would have written them.
fn write(path: &Path, calls: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let filler = "lorem ipsum dolor sit amet ".repeat(8);
    for number in 0..calls {
        let call = LLMCallData::new("openai", "gpt-4o")
            .with_messages(json!([
                {"role": "system", "content": filler},
                {"role": "user", "content": format!("question {number} {filler}")},
            ]))
            .with_response(format!("answer {number} {filler}"))
            .with_tokens(117, 3)
            .with_duration(Duration::from_millis(840))
            .with_cost(0.00123)
            .with_session_id("conversation")
            .with_tag("prod");
        serde_json::to_writer(&mut file, &call).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.flush().unwrap();
}

/// The floor: every line becomes a record, on one thread, and nothing is done with it.
fn read(path: &Path) -> Duration {
    let start = Instant::now();
    let mut file = BufReader::with_capacity(256 * 1024, File::open(path).unwrap());
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line).unwrap() > 0 {
        let call: LLMCallData = serde_json::from_slice(&line).unwrap();
        std::hint::black_box(call);
        line.clear();
    }
    start.elapsed()
}
