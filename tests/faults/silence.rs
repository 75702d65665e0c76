//! The backend accepts connections and never answers.

use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::Fault;

use crate::{sockets::Mute, support::*};

pub(crate) fn a_flush_tells_the_truth() {
    let sandbox = sandbox();
    sandbox.inject(Fault::silence().always());
    let pipeline = Pipeline::builder(opik(sandbox.opik_url())).spawn().unwrap();
    let _watch = watch(&pipeline);
    let ids = submit(&pipeline, calls(100));
    assert_in_time(&pipeline);

    // What is in doubt is sent again.
    sandbox.clear_faults();
    wait_for_delivery(&pipeline, PATIENCE);
    let report = pipeline.shutdown(5 * SECOND);
    assert!(!report.stats.has_losses(), "{}", report.stats);
    assert_stored(&sandbox, &ids);
}

pub(crate) fn a_flush_tells_the_truth_of_what_reads_nothing() {
    let mute = Mute::start();
    let pipeline = Pipeline::builder(opik(mute.url())).spawn().unwrap();
    let _watch = watch(&pipeline);
    // More than a socket buffer holds.
    let large = |_| call().with_response("x".repeat(100_000));
    submit(&pipeline, (0..100).map(large).collect());
    assert_in_time(&pipeline);
    let (report, took) = timed(|| pipeline.shutdown(2 * SECOND));
    check(&report.stats);
    assert!(took < 3 * SECOND, "{took:?}");
    assert_eq!((report.pending, report.stats.pending), (100, 100));
    assert!(mute.connections() > 0);
}

fn assert_in_time(pipeline: &Pipeline) {
    for _ in 0..2 {
        let (report, took) = timed(|| pipeline.flush_within(2 * SECOND));
        eprintln!("a silent server: flush_within(2 s) took {took:?}");
        check(&report.stats);
        assert!((SECOND..3 * SECOND).contains(&took), "{took:?}");
        assert_eq!((report.pending, report.stats.pending), (100, 100));
    }
    let (report, took) = timed(|| pipeline.flush_within(std::time::Duration::ZERO));
    assert!(took < SECOND, "{took:?}");
    assert_eq!(report.pending, 100);
}
