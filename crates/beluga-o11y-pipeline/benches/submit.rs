//! What it costs a program to submit a call of 1 KB, beside the floor: pushing it into a shared queue.
//!
//! `cargo bench -p beluga-o11y-pipeline --bench submit`; compare the medians of one run. The bytes that a submit
//! allocates are those of the record, whatever its content: that is shared, not copied.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot be set up has nothing to measure"
)]

#[path = "load/nowhere.rs"]
mod nowhere;
#[expect(dead_code, reason = "the load program makes more kinds of calls")]
#[path = "load/record.rs"]
mod record;
#[path = "load/sink.rs"]
mod sink;

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use beluga_o11y::{CallSink, FanOut, LLMCallData, Submission, TraceExporter};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_pipeline::Pipeline;
use divan::{AllocProfiler, Bencher};

use nowhere::Nowhere;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

/// Room for all calls of a bench: none is refused, none waits.
const MEMORY: usize = 1 << 40;
const SAMPLE: u32 = 100;

fn main() {
    divan::Divan::from_args()
        .sample_count(2_000)
        .sample_size(SAMPLE)
        .main();
}

/// Takes nothing from its queue, until it is flushed.
fn asleep() -> Pipeline {
    Pipeline::builder(Nowhere)
        .with_max_batch_size(usize::MAX)
        .with_max_batch_bytes(usize::MAX)
        .with_max_batch_delay(Duration::from_secs(3600))
        .with_max_memory_bytes(MEMORY)
        .spawn()
        .expect("these settings are fine")
}

/// Takes what it can.
fn awake(exporter: impl TraceExporter + 'static) -> Pipeline {
    Pipeline::builder(exporter)
        .with_max_memory_bytes(MEMORY)
        .spawn()
        .expect("these settings are fine")
}

fn flush(pipeline: &Pipeline) {
    let report = pipeline.flush_within(Duration::from_secs(60));
    assert_eq!(report.stats.delivered, report.stats.submitted);
}

/// Submits calls that are made beforehand, a sample at a time; between samples, the sink is emptied.
fn submit(
    bencher: Bencher<'_, '_>,
    sink: &impl CallSink,
    make: impl Fn() -> LLMCallData,
    empty: impl Fn(),
) {
    let made = Cell::new(0_u32);
    bencher
        .with_inputs(|| {
            if made.replace(made.get() + 1).is_multiple_of(SAMPLE) {
                empty();
            }
            make()
        })
        .bench_local_values(|call| sink.submit(call));
}

#[divan::bench]
fn pipeline_asleep(bencher: Bencher<'_, '_>) {
    let pipeline = asleep();
    submit(bencher, &pipeline, record::call, || flush(&pipeline));
}

#[divan::bench]
fn pipeline_asleep_100_kb(bencher: Bencher<'_, '_>) {
    let pipeline = asleep();
    let call = record::call().with_messages("x".repeat(100_000));
    submit(bencher, &pipeline, || call.clone(), || flush(&pipeline));
}

#[divan::bench]
fn pipeline_busy_with_nothing(bencher: Bencher<'_, '_>) {
    let pipeline = awake(Nowhere);
    submit(bencher, &pipeline, record::call, || {});
    flush(&pipeline);
}

#[divan::bench]
fn pipeline_busy_with_opik(bencher: Bencher<'_, '_>) {
    let server = sink::start(Duration::ZERO, Arc::default()).expect("there is a loopback");
    let opik = OpikExporter::builder()
        .with_base_url(format!("http://{server}/api"))
        .with_gzip(false)
        .build()
        .expect("these settings are fine");
    let pipeline = awake(opik);
    submit(bencher, &pipeline, record::call, || {});
    flush(&pipeline);
}

#[divan::bench]
fn three_pipelines_asleep(bencher: Bencher<'_, '_>) {
    let pipelines = [asleep(), asleep(), asleep()];
    let all = pipelines.iter().cloned().fold(FanOut::new(), FanOut::with);
    submit(bencher, &all, record::call, || {
        pipelines.iter().for_each(flush);
    });
}

/// The least that hands a call to another thread.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<Arc<LLMCallData>>>>);

impl Queue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<LLMCallData>>> {
        self.0.lock().expect("nothing panics under the lock")
    }
}

impl CallSink for Queue {
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        self.lock().push_back(call);
        Submission::Accepted
    }
}

#[divan::bench]
fn floor_one_queue(bencher: Bencher<'_, '_>) {
    let queue = Queue::default();
    submit(bencher, &queue, record::call, || queue.lock().clear());
}

#[divan::bench]
fn floor_three_queues(bencher: Bencher<'_, '_>) {
    let queues = [Queue::default(), Queue::default(), Queue::default()];
    let all = queues.iter().cloned().fold(FanOut::new(), FanOut::with);
    submit(bencher, &all, record::call, || {
        queues.iter().for_each(|queue| queue.lock().clear());
    });
}
