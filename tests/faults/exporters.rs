//! Exporters that misbehave, and several of them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::{
    BatchReport, CallSink, ExportError, FanOut, InMemoryExporter, LLMCallData, MultiExporter,
    Refusal, Submission, TraceExporter, async_trait,
};
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::Fault;

use crate::support::*;

struct PanicsAtOne(InMemoryExporter);

#[async_trait]
impl TraceExporter for PanicsAtOne {
    fn name(&self) -> &str {
        "panics"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        assert!(call.model != "bad", "a panic that the row wants");
        self.0.export_llm_call(call).await
    }
}

pub(crate) fn a_panic_costs_one_call() {
    let memory = InMemoryExporter::new();
    let pipeline = Pipeline::builder(PanicsAtOne(memory.clone()))
        .spawn()
        .unwrap();
    let _watch = watch(&pipeline);
    let mut all = calls(100);
    all[60] = LLMCallData::new("openai", "bad");
    let bad = all[60].id();
    let mut ids = submit(&pipeline, all);
    let report = pipeline.flush_within(10 * SECOND);
    check(&report.stats);
    assert_eq!(report.pending, 0, "{}", report.stats);
    assert_eq!((report.stats.delivered, report.stats.rejected), (99, 1));
    ids.remove(&bad);
    let stored: BTreeSet<_> = memory.calls().iter().map(|call| call.id()).collect();
    assert_eq!(stored, ids);
    // And it goes on.
    submit(&pipeline, calls(1));
    let report = pipeline.shutdown(5 * SECOND);
    assert_eq!((report.pending, report.stats.delivered), (0, 100));
}

/// Holds up the thread that it is called on, as synchronous code in an async function does.
struct Blocks(Duration);

#[async_trait]
impl TraceExporter for Blocks {
    fn name(&self) -> &str {
        "blocks"
    }

    async fn export_llm_call(&self, _: &LLMCallData) -> Result<(), ExportError> {
        thread::sleep(self.0);
        Ok(())
    }
}

pub(crate) fn a_blocking_exporter_delays_no_flush() {
    let pipeline = Pipeline::builder(Blocks(8 * SECOND)).spawn().unwrap();
    let _watch = watch(&pipeline);
    submit(&pipeline, calls(1));
    let (report, took) = timed(|| pipeline.flush_within(SECOND));
    check(&report.stats);
    assert!(took < 2 * SECOND, "{took:?}");
    assert_eq!(report.pending, 1);
    let (_, took) = timed(|| submit(&pipeline, calls(100)));
    assert!(took < SECOND, "submit took {took:?}");
    let (report, took) = timed(|| pipeline.shutdown(SECOND));
    check(&report.stats);
    assert!(took < 2 * SECOND, "{took:?}");
    assert_eq!(report.pending, 101);
    let closed = pipeline.submit(call());
    assert_eq!(closed, Submission::Refused(Refusal::Closed));
}

/// Reports its own work to the pipeline that it works for.
#[derive(Clone, Default)]
struct Talks {
    pipeline: Arc<OnceLock<Pipeline>>,
    heard: Arc<Mutex<Vec<Submission>>>,
}

#[async_trait]
impl TraceExporter for Talks {
    fn name(&self) -> &str {
        "talks"
    }

    async fn export_llm_call(&self, _: &LLMCallData) -> Result<(), ExportError> {
        let pipeline = self.pipeline.get().expect("it is set before any call");
        let direct = pipeline.submit(call());
        // What the exporter's own code measures is its own traffic, too.
        pipeline
            .start("openai", "own")
            .finish(beluga_o11y::Usage::new(1, 1));
        self.heard.lock().unwrap().push(direct);
        Ok(())
    }
}

pub(crate) fn own_traffic_goes_nowhere() {
    let talks = Talks::default();
    let pipeline = Pipeline::builder(talks.clone()).spawn().unwrap();
    assert!(talks.pipeline.set(pipeline.clone()).is_ok());
    let _watch = watch(&pipeline);
    submit(&pipeline, calls(100));
    let report = pipeline.shutdown(10 * SECOND);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.delivered), (0, 100));
    assert_eq!(report.stats.accepted, 100);
    assert_eq!(report.stats.refused.own_traffic, 200);
    let heard = talks.heard.lock().unwrap();
    assert_eq!(heard.len(), 100);
    assert!(
        heard
            .iter()
            .all(|heard| *heard == Submission::Refused(Refusal::OwnTraffic))
    );
}

pub(crate) fn a_nested_pipeline() {
    let (a, b) = (sandbox(), sandbox());
    let inner = |url: String| Pipeline::builder(opik(url)).spawn().unwrap();
    let (to_a, to_b) = (inner(a.opik_url()), inner(b.opik_url()));
    let multi = MultiExporter::new().with(to_a.clone()).with(to_b.clone());
    let outer = Pipeline::builder(multi).spawn().unwrap();
    let _watches = [&outer, &to_a, &to_b].map(watch);
    let ids = submit(&outer, calls(100));
    let report = outer.flush_within(10 * SECOND);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.delivered), (0, 100));
    for (inner, sandbox) in [(&to_a, &a), (&to_b, &b)] {
        let report = inner.flush_within(10 * SECOND);
        check(&report.stats);
        assert_eq!((report.pending, report.stats.accepted), (0, 100));
        assert_eq!(report.stats.delivered, 100);
        assert_stored(sandbox, &ids);
    }
    // Inside out, nobody waits for anybody.
    for pipeline in [to_a, outer, to_b] {
        let (report, took) = timed(|| pipeline.shutdown(5 * SECOND));
        assert!(took < 3 * SECOND, "{took:?}");
        assert_eq!(report.pending, 0);
    }
}

/// Counts what it is given, and when the last one came.
#[derive(Clone, Default)]
struct Healthy {
    count: Arc<AtomicU64>,
    last: Arc<Mutex<Option<Instant>>>,
}

#[async_trait]
impl TraceExporter for Healthy {
    fn name(&self) -> &str {
        "healthy"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.export_batch(&[call]).await.map(|_| ())
    }

    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        self.count.fetch_add(calls.len() as u64, Ordering::Relaxed);
        *self.last.lock().unwrap() = Some(Instant::now());
        Ok(BatchReport::default())
    }
}

pub(crate) fn three_backends_one_dead_one_slow() {
    let (slow, healthy) = (sandbox(), sandbox());
    slow.inject(Fault::latency(4 * SECOND).always());
    let port = ClosedPort::new();
    let pipeline = |url: String| Pipeline::builder(opik(url)).spawn().unwrap();
    let to_dead = pipeline(port.url());
    let to_slow = pipeline(slow.opik_url());
    let to_healthy = pipeline(healthy.opik_url());
    let counter = Healthy::default();
    let to_counter = Pipeline::builder(counter.clone()).spawn().unwrap();
    let _watches = [&to_dead, &to_slow, &to_healthy, &to_counter].map(watch);
    let all = FanOut::new()
        .with(to_dead.clone())
        .with(to_slow.clone())
        .with(to_healthy.clone())
        .with(to_counter.clone());

    // Four rounds, so that the dead and the slow one are at work when calls come.
    let mut ids = BTreeSet::new();
    for round in 1..=4_u64 {
        let start = Instant::now();
        ids.extend(submit(&all, calls(25)));
        // The batch waits for 1 s.
        wait_for_delivery(&to_healthy, 3 * SECOND);
        wait_for_delivery(&to_counter, 3 * SECOND);
        let last = counter.last.lock().unwrap().expect("calls came");
        eprintln!("beside a dead and a slow one: {:?}", last - start);
        assert!(last - start < 3 * SECOND);
        assert_eq!(counter.count.load(Ordering::Relaxed), 25 * round);
    }
    assert_stored(&healthy, &ids);
    assert_eq!(stats(&to_dead).pending, 100);

    wait_for_delivery(&to_slow, PATIENCE);
    assert_stored(&slow, &ids);
    let (report, took) = timed(|| to_dead.flush_within(SECOND));
    check(&report.stats);
    assert_eq!((report.pending, report.stats.pending), (100, 100));
    assert!(took < 2 * SECOND, "{took:?}");
    let dead = port.open();
    assert_eq!(to_dead.flush_within(10 * SECOND).pending, 0);
    assert_stored(&dead, &ids);
}
