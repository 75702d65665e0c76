//! A process ends, in the ways in which processes end.

use std::sync::OnceLock;

use beluga_o11y_pipeline::Pipeline;

use crate::{alone, sockets::Mute, support::*};

fn spawn(url: &str) -> Pipeline {
    Pipeline::builder(opik(url)).spawn().unwrap()
}

pub(crate) fn with_a_guard(arguments: &[String]) {
    let pipeline = spawn(&arguments[0]);
    let _guard = pipeline.flush_guard(2 * SECOND);
    submit(&pipeline, calls(100));
}

pub(crate) fn with_a_static(arguments: &[String]) {
    static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
    let pipeline = PIPELINE.get_or_init(|| spawn(&arguments[0]));
    let _guard = pipeline.flush_guard(2 * SECOND);
    submit(pipeline, calls(100));
}

pub(crate) fn with_a_shutdown(arguments: &[String]) {
    let pipeline = spawn(&arguments[0]);
    submit(&pipeline, calls(100));
    let report = pipeline.shutdown(2 * SECOND);
    check(&report.stats);
    assert_eq!(report.pending, 100);
}

/// The drop of the last handle waits, 2 s by default.
pub(crate) fn without_any_flush(arguments: &[String]) {
    let pipeline = spawn(&arguments[0]);
    submit(&pipeline, calls(100));
}

pub(crate) fn ends_with_a_guard() {
    delivers("ends with a guard");
}

pub(crate) fn ends_with_a_guard_and_a_static() {
    delivers("ends with a guard and a static");
}

pub(crate) fn ends_without_any_flush() {
    delivers("ends without any flush");
}

fn delivers(row: &str) {
    let sandbox = sandbox();
    let took = alone::start(row, &[&sandbox.opik_url()]);
    eprintln!("{row}: after {took:?}");
    assert_eq!((sandbox.traces().len(), sandbox.spans().len()), (100, 100));
}

pub(crate) fn ends_in_time_with_a_guard() {
    ends_in_time("ends with a guard");
}

pub(crate) fn ends_in_time_with_a_guard_and_a_static() {
    ends_in_time("ends with a guard and a static");
}

pub(crate) fn ends_in_time_with_a_shutdown() {
    ends_in_time("ends with a shutdown");
}

pub(crate) fn ends_in_time_without_any_flush() {
    ends_in_time("ends without any flush");
}

/// All of them have 2 s. A process takes its time to start, too.
fn ends_in_time(row: &str) {
    let mute = Mute::start();
    let took = alone::start(row, &[&mute.url()]);
    eprintln!("{row}, a silent server: after {took:?}");
    assert!(took < 7 * SECOND / 2, "{took:?}");
    assert!(mute.connections() > 0);
}
