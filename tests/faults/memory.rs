//! Memory is bounded, whatever the backend does. Linux tells how much of it a process has.

use std::{fs, thread};

use beluga_o11y::{CallError, CallSink, LLMCallData, Refusal, Submission};
use beluga_o11y_pipeline::{Overflow, Pipeline};
use beluga_o11y_sandbox::Fault;

use crate::{alone, support::*};

const MIB: u64 = 1024 * 1024;
const CAP: u64 = 64 * MIB;

/// Bytes, by the name that Linux has for them: `VmRSS` now, `VmHWM` at its peak.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().trim_start_matches(':').trim();
    number.strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

pub(crate) fn a_huge_error_body() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let sandbox = sandbox();
    // The process has had good answers before the first bad one.
    for status in [500, 401, 429] {
        sandbox.inject(Fault::huge_body(status, 400_000_000).after(2).times(2));
    }
    alone::start("a huge error body", &[&sandbox.opik_url()]);
    assert_eq!(sandbox.traces().len(), 200);
    let bad = sandbox.requests().into_iter();
    let bad = bad.filter(|request| request.status.is_some_and(|status| status >= 400));
    assert!(bad.count() >= 4);
}

pub(crate) fn huge_error_body(arguments: &[String]) {
    let pipeline = Pipeline::builder(opik(&arguments[0])).spawn().unwrap();
    submit(&pipeline, calls(100));
    assert_eq!(pipeline.flush_within(10 * SECOND).pending, 0);
    let before = memory("VmHWM");
    submit(&pipeline, calls(100));
    // Each flush makes an attempt.
    wait_for("delivery", PATIENCE, || {
        pipeline.flush_within(SECOND).pending == 0
    });
    let grown = memory("VmHWM") - before;
    eprintln!("400 MB of error body, three times: {} KiB", grown / 1024);
    assert!(grown < 10_000_000, "{grown} bytes");
    let stats = stats(&pipeline);
    assert_eq!(stats.delivered, 200);
    assert!(stats.last_error.is_some());
}

pub(crate) fn a_million_calls_at_a_dead_backend() {
    million("refuse", &[]);
}

/// With one arena: glibc has several, and memory that one thread's calls took up it keeps for other calls of threads
/// that use the same one. Threads that take turns in filling the queue then have up to a queue each, and it is not the
/// pipeline that has them.
pub(crate) fn a_million_calls_at_a_dead_backend_dropping_the_oldest() {
    million("drop", &[("MALLOC_ARENA_MAX", "1")]);
}

fn million(policy: &str, variables: &[(&str, &str)]) {
    if cfg!(target_os = "linux") {
        let _busy = one_at_a_time();
        let port = ClosedPort::new();
        alone::start_with("dead backend", &[&port.url(), policy], variables);
    }
}

/// 10 KB of its own. In unoptimised code it takes less time to copy a text than to write it as JSON, so most of it is
/// in the error.
fn large_call(number: u64) -> LLMCallData {
    let text = format!("{number:032}");
    call()
        .with_messages(&text)
        .with_error(CallError::new("too slow").with_trace(text.repeat(310)))
}

pub(crate) fn dead_backend(arguments: &[String]) {
    const THREADS: u64 = 2;
    const CALLS: u64 = 1_000_000;
    let overflow = match &*arguments[1] {
        "refuse" => Overflow::RefuseNew,
        _ => Overflow::DropOldest,
    };
    let pipeline = Pipeline::builder(opik(&arguments[0]))
        .with_overflow(overflow)
        .spawn()
        .unwrap();
    let idle = memory("VmRSS");
    let watch = watch(&pipeline);
    let submit = |thread: u64| {
        let mut refused = 0;
        for number in 0..CALLS / THREADS {
            match pipeline.submit(large_call(number * THREADS + thread)) {
                Submission::Accepted => {}
                Submission::Refused(Refusal::Full) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        refused
    };
    let (refused, took) = timed(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || submit(thread)))
                .collect();
            let refused = threads.into_iter().map(|thread| thread.join().unwrap());
            refused.sum::<u64>()
        })
    });
    drop(watch);
    let stats = stats(&pipeline);
    let peak = memory("VmHWM");
    eprintln!(
        "{CALLS} calls of 10 KB at a dead backend, {overflow:?}: {took:.1?}, {} MiB idle, {} MiB at the peak, {} MiB \
         pending, {stats}",
        idle / MIB,
        peak / MIB,
        stats.pending_bytes / MIB
    );
    assert_eq!(stats.submitted, CALLS);
    assert_eq!(stats.refused.full, refused);
    assert_eq!(stats.delivered + stats.rejected + stats.dropped.expired, 0);
    let lost = match overflow {
        Overflow::DropOldest => stats.dropped.overflow,
        _ => stats.refused.full,
    };
    assert_eq!(lost + stats.pending, CALLS);
    // It is used, too.
    assert!(
        stats.pending_bytes > CAP / 2,
        "{} bytes",
        stats.pending_bytes
    );
    assert!(
        peak - idle <= CAP + CAP / 5,
        "{} MiB more than the idle process",
        (peak - idle) / MIB
    );
    let (report, took) = timed(|| pipeline.shutdown(SECOND));
    check(&report.stats);
    assert!(took < 3 * SECOND, "{took:?}");
    assert_eq!(report.pending, stats.pending);
}
