//! The memory is full.

use std::{thread, time::Duration};

use beluga_o11y::{CallSink, LLMCallData, Refusal, Submission};
use beluga_o11y_pipeline::{Overflow, Pipeline};
use beluga_o11y_sandbox::{Fault, Sandbox};

use crate::support::*;

/// One of them fits into the smallest memory, two do not.
fn large_call() -> LLMCallData {
    call().with_response("x".repeat(30_000))
}

fn pipeline(sandbox: &Sandbox, overflow: Overflow) -> Pipeline {
    Pipeline::builder(opik(sandbox.opik_url()))
        .with_max_memory_bytes(64 * 1024)
        .with_overflow(overflow)
        .spawn()
        .unwrap()
}

/// It asks for a minute, so that nothing is on its way when the second call comes.
fn full(overflow: Overflow) -> (Sandbox, Pipeline) {
    let sandbox = sandbox();
    let minute = Fault::status(503).with_header("Retry-After", "60");
    sandbox.inject(minute.always());
    let pipeline = pipeline(&sandbox, overflow);
    assert!(pipeline.submit(large_call()).is_accepted());
    wait_for("a first attempt", PATIENCE, || {
        pipeline.stats().last_error.is_some()
    });
    (sandbox, pipeline)
}

pub(crate) fn refuse_new() {
    let (_sandbox, pipeline) = full(Overflow::RefuseNew);
    let _watch = watch(&pipeline);
    for refused in 1..=2 {
        let (submission, took) = timed(|| pipeline.submit(large_call()));
        assert_eq!(submission, Submission::Refused(Refusal::Full));
        assert!(took < SECOND, "{took:?}");
        let stats = stats(&pipeline);
        assert_eq!((stats.accepted, stats.pending), (1, 1));
        assert_eq!(stats.refused.full, refused);
    }
    // A small one still has room, and one that never would is told so.
    assert!(pipeline.submit(call()).is_accepted());
    let huge = pipeline.submit(call().with_response("x".repeat(100_000)));
    assert!(
        matches!(huge, Submission::Refused(Refusal::TooLarge { bytes: 100_000.., limit }) if limit < 65_536),
        "{huge:?}"
    );
    let stats = stats(&pipeline);
    assert_eq!((stats.pending, stats.refused.full), (2, 3));
    assert!(stats.pending_bytes <= 64 * 1024);
}

pub(crate) fn drop_oldest() {
    let (sandbox, pipeline) = full(Overflow::DropOldest);
    let _watch = watch(&pipeline);
    for dropped in 1..=2 {
        assert!(pipeline.submit(large_call()).is_accepted());
        let stats = stats(&pipeline);
        assert_eq!((stats.accepted, stats.pending), (dropped + 1, 1));
        assert_eq!(stats.dropped.overflow, dropped);
        assert_eq!(stats.refused.total(), 0);
    }
    // The server is well, but it asked for a minute, which a flush does not cut short.
    sandbox.clear_faults();
    let report = pipeline.shutdown(SECOND);
    check(&report.stats);
    assert_eq!((report.pending, sandbox.traces().len()), (1, 0));
}

pub(crate) fn block_waits_and_refuses() {
    let (_sandbox, pipeline) = full(Overflow::Block(SECOND));
    let _watch = watch(&pipeline);
    for refused in 1..=2 {
        let (submission, took) = timed(|| pipeline.submit(large_call()));
        assert_eq!(submission, Submission::Refused(Refusal::Full));
        assert!((9 * SECOND / 10..2 * SECOND).contains(&took), "{took:?}");
        assert_eq!(stats(&pipeline).refused.full, refused);
    }
    assert_eq!(stats(&pipeline).pending, 1);
}

pub(crate) fn block_goes_on_when_there_is_room() {
    let sandbox = sandbox();
    sandbox.inject(Fault::latency(SECOND).times(2));
    let pipeline = pipeline(&sandbox, Overflow::Block(PATIENCE));
    let _watch = watch(&pipeline);
    let mut ids = submit(&pipeline, vec![large_call()]);
    // Several threads wait, and nobody is forgotten.
    let (others, took) = timed(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| submit(&pipeline, vec![large_call()])))
                .collect();
            let ids = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            ids.collect::<Vec<_>>()
        })
    });
    ids.extend(others);
    assert!(took > Duration::from_millis(500), "{took:?}");
    assert!(took < 20 * SECOND, "{took:?}");
    assert_eq!(pipeline.shutdown(20 * SECOND).pending, 0);
    let stats = stats(&pipeline);
    assert_eq!((stats.accepted, stats.delivered), (5, 5));
    assert_stored(&sandbox, &ids);
}
