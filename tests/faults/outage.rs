//! The backend is down, or asks for time.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant, SystemTime},
};

use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::{Fault, Sandbox};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::support::*;

/// Ten batches, so that a probe that sends more than one of them is seen.
pub(crate) fn unavailable_for_30_s() {
    let sandbox = sandbox();
    sandbox.inject(Fault::status(503).always());
    let pipeline = Pipeline::builder(opik(sandbox.opik_url()))
        .with_max_batch_size(10)
        .spawn()
        .unwrap();
    let _watch = watch(&pipeline);
    let start = Instant::now();
    let ids = submit(&pipeline, calls(100));

    sleep_until(start, 11 * SECOND);
    let early = sandbox.request_count();
    sleep_until(start, 30 * SECOND);
    let late = sandbox.request_count() - early;
    assert_eq!(stats(&pipeline).pending, 100);
    sandbox.clear_faults();

    wait_for_delivery(&pipeline, 20 * SECOND);
    eprintln!(
        "503 for 30 s: {early} requests in 11 s, {late} in the next 19 s, all delivered after {:?}",
        start.elapsed()
    );
    // A probe is a batch, which is two requests, and there are at most two of them in 19 s.
    assert!(late <= 4, "{late} requests");
    assert!(early <= 60, "{early} requests");
    assert_delivered(&pipeline, &sandbox, &ids);
}

pub(crate) fn connection_refused_for_30_s() {
    let port = ClosedPort::new();
    let pipeline = Pipeline::builder(opik(port.url())).spawn().unwrap();
    let _watch = watch(&pipeline);
    let start = Instant::now();
    let ids = submit(&pipeline, calls(100));

    sleep_until(start, 30 * SECOND);
    let before = stats(&pipeline);
    assert_eq!(before.pending, 100);
    let sandbox = port.open();

    wait_for_delivery(&pipeline, 20 * SECOND);
    eprintln!(
        "refused for 30 s: {} attempts, all delivered after {:?}",
        before.export_calls,
        start.elapsed()
    );
    assert!(
        before.export_calls <= 40,
        "{} attempts",
        before.export_calls
    );
    assert_delivered(&pipeline, &sandbox, &ids);
}

pub(crate) fn rate_limited_with_retry_after() {
    let fault = Fault::status(429).with_header("Retry-After", "2");
    rate_limited("Retry-After: 2", fault, Some(2 * SECOND));
}

pub(crate) fn rate_limited_with_rate_limit_reset() {
    let fault = Fault::status(429).with_header("RateLimit-Reset", "2");
    rate_limited("RateLimit-Reset: 2", fault, Some(2 * SECOND));
}

/// As a server says it that knows when: the date does not move. It has whole seconds, so it is 15 to 16 s from now.
pub(crate) fn rate_limited_with_a_date() {
    let until = DateTime::<Utc>::from(SystemTime::now() + 16 * SECOND);
    let date = until.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let fault = Fault::status(429).with_header("Retry-After", date);
    rate_limited("Retry-After: a date", fault, Some(15 * SECOND));
}

pub(crate) fn rate_limited_without_a_wait() {
    rate_limited("nothing", Fault::status(429), None);
}

fn rate_limited(what: &str, fault: Fault, wait: Option<Duration>) {
    let sandbox = sandbox();
    sandbox.inject(fault.always());
    let mut builder = Pipeline::builder(opik(sandbox.opik_url()));
    if wait.is_some() {
        // A wait that the server asks for spends nothing of it.
        builder = builder.with_max_retry_time(5 * SECOND);
    }
    let pipeline = builder.spawn().unwrap();
    let _watch = watch(&pipeline);
    let start = Instant::now();
    let ids = submit(&pipeline, calls(100));

    let arrivals = arrivals(&sandbox, start + 15 * SECOND);
    let count = sandbox.request_count();
    assert_eq!(stats(&pipeline).pending, 100);
    sandbox.clear_faults();

    wait_for_delivery(&pipeline, 20 * SECOND);
    let took = start.elapsed();
    eprintln!(
        "429 for 15 s with {what}: {count} requests at {arrivals:.1?}, all delivered after {took:?}"
    );
    // Each attempt is one batch, which is two requests.
    assert_eq!(count, 2 * arrivals.len() as u64);
    if let Some(wait) = wait {
        for (one, next) in arrivals.iter().zip(arrivals.iter().skip(1)) {
            // It is looked at every 5 ms only.
            assert!(*next - *one >= wait - 100 * MILLIS, "{arrivals:?}");
        }
        assert!(took < 20 * SECOND, "{took:?}");
    }
    assert_delivered(&pipeline, &sandbox, &ids);
}

/// When requests arrived, since the first look, until that moment; those of one attempt count once.
fn arrivals(sandbox: &Sandbox, until: Instant) -> Vec<Duration> {
    let start = Instant::now();
    let mut arrivals: Vec<Duration> = Vec::new();
    let mut seen = 0;
    while Instant::now() < until {
        let count = sandbox.request_count();
        if count > seen {
            let now = start.elapsed();
            // The second request of an attempt is on its way when the first one is seen.
            if seen % 2 == 0 {
                arrivals.push(now);
            }
            seen = count;
        }
        thread::sleep(5 * MILLIS);
    }
    arrivals
}

fn assert_delivered(pipeline: &Pipeline, sandbox: &Sandbox, ids: &BTreeSet<Uuid>) {
    let report = pipeline.shutdown(5 * SECOND);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.delivered), (0, 100));
    assert!(!report.stats.has_losses(), "{}", report.stats);
    assert_stored(sandbox, ids);
}

/// Batches go out as they fill up, one attempt fails in the middle of them.
pub(crate) fn a_single_503_costs_no_breakers_wait() {
    let run = |fault: Option<Fault>| {
        let sandbox = sandbox();
        let pipeline = Pipeline::builder(opik(sandbox.opik_url()))
            .with_max_batch_size(10)
            .spawn()
            .unwrap();
        let _watch = watch(&pipeline);
        fault.into_iter().for_each(|fault| sandbox.inject(fault));
        let start = Instant::now();
        let ids = submit(&pipeline, calls(100));
        wait_for_delivery(&pipeline, PATIENCE);
        let took = start.elapsed();
        assert_delivered(&pipeline, &sandbox, &ids);
        took
    };
    let without = run(None);
    for after in [0, 1, 9, 19] {
        let with = run(Some(Fault::status(503).after(after)));
        eprintln!("a single 503 after {after} answers: {with:?}; without: {without:?}");
        assert!(with < without + SECOND, "{with:?} and {without:?}");
    }
}

/// What the server has stored, and what it has not, it gets again.
pub(crate) fn one_answer_in_five_is_lost() {
    let _busy = one_at_a_time();
    let sandbox = sandbox();
    sandbox.inject(Fault::lost_answer().share(0.2));
    let pipeline = Pipeline::builder(opik(sandbox.opik_url()))
        .with_max_batch_size(100)
        .spawn()
        .unwrap();
    let _watch = watch(&pipeline);
    let start = Instant::now();
    let ids = submit(&pipeline, calls(10_000));
    assert_eq!(ids.len(), 10_000);
    let report = pipeline.shutdown(PATIENCE);
    check(&report.stats);
    eprintln!(
        "20 % of the answers lost: {} requests, {} attempts, all delivered after {:?}",
        sandbox.request_count(),
        report.stats.export_calls,
        start.elapsed()
    );
    // A fifth of 200 requests; otherwise this shows nothing.
    assert!(sandbox.request_count() > 210);
    assert!(!report.stats.has_losses(), "{}", report.stats);
    assert_stored(&sandbox, &ids);
}

/// Everything at once: threads that submit, threads that flush, and a backend that fails in every other way.
pub(crate) fn a_backend_that_fails_now_and_then() {
    let sandbox = sandbox();
    for fault in [
        Fault::status(503),
        Fault::reset(),
        Fault::lost_answer(),
        Fault::status(500).with_header("Retry-After", "0.2"),
        Fault::latency(300 * MILLIS),
    ] {
        sandbox.inject(fault.share(0.05));
    }
    let pipeline = Pipeline::builder(opik(sandbox.opik_url()))
        .with_max_batch_size(20)
        .with_max_batch_delay(50 * MILLIS)
        .spawn()
        .unwrap();
    let _watch = watch(&pipeline);
    let ids = thread::scope(|scope| {
        let submitting = || {
            (0..50)
                .flat_map(|_| {
                    thread::sleep(20 * MILLIS);
                    submit(&pipeline, calls(10))
                })
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(submitting)).collect();
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let (report, took) = timed(|| pipeline.flush_within(200 * MILLIS));
                    check(&report.stats);
                    assert!(took < SECOND, "{took:?}");
                }
            });
        }
        let ids = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        ids.collect::<BTreeSet<_>>()
    });
    assert_eq!(ids.len(), 2000);
    // Each flush makes an attempt.
    wait_for("delivery", PATIENCE, || {
        pipeline.flush_within(SECOND).pending == 0
    });
    let report = pipeline.shutdown(5 * SECOND);
    check(&report.stats);
    eprintln!(
        "failing now and then: {} attempts for {} calls",
        report.stats.export_calls, report.stats.delivered
    );
    assert!(!report.stats.has_losses(), "{}", report.stats);
    assert_stored(&sandbox, &ids);
}
