//! What a pipeline with a spool does, around exporters that do as they are told.
#![cfg(feature = "spool")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use beluga_o11y::{BatchReport, CallSink, ExportError, LLMCallData, Submission, TraceExporter};
use beluga_o11y_pipeline::{Pipeline, PipelineBuilder, PipelineStats, Spool};
use tempfile::TempDir;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);

/// Keeps what it takes, in order; takes nothing while it is down.
#[derive(Clone, Default)]
struct Backend(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    down: bool,
    ids: Vec<Uuid>,
    rejects: BTreeSet<Uuid>,
}

impl Backend {
    fn down() -> Self {
        let backend = Self::default();
        backend.set_down(true);
        backend
    }

    fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    fn ids(&self) -> Vec<Uuid> {
        self.0.lock().unwrap().ids.clone()
    }
}

#[async_trait]
impl TraceExporter for Backend {
    fn name(&self) -> &str {
        "test"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        let mut taken = self.0.lock().unwrap();
        if taken.down {
            return Err(ExportError::temporary("test", "down"));
        }
        if taken.rejects.contains(&call.id()) {
            return Err(ExportError::rejected("test", "bad").with_status(400));
        }
        taken.ids.push(call.id());
        Ok(())
    }

    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let mut report = BatchReport::default();
        for (index, call) in calls.iter().enumerate() {
            match self.export_llm_call(call).await {
                Err(error) if error.kind().affects_every_call() => return Err(error),
                Err(error) => report.push(index, error),
                Ok(()) => {}
            }
        }
        Ok(report)
    }
}

fn call(number: usize) -> LLMCallData {
    LLMCallData::new("openai", "gpt-4o").with_response(format!("{number} {}", "x".repeat(1000)))
}

fn builder(backend: &Backend, dir: &Path) -> PipelineBuilder {
    Pipeline::builder(backend.clone())
        .with_max_batch_delay(Duration::from_millis(5))
        .with_drop_timeout(Duration::ZERO)
        .with_spool(Spool::new(dir).with_write_timeout(SECOND))
}

fn check(stats: &PipelineStats) {
    assert_eq!(
        stats.submitted,
        stats.accepted + stats.refused.total() + stats.sampled_out,
        "{stats:?}"
    );
    assert_eq!(
        stats.accepted + stats.recovered,
        stats.delivered + stats.rejected + stats.dropped.total() + stats.pending,
        "{stats:?}"
    );
}

fn submit(pipeline: &Pipeline, numbers: std::ops::Range<usize>) -> Vec<Uuid> {
    numbers
        .map(|number| {
            let call = call(number);
            let id = call.id();
            assert_eq!(pipeline.submit(call), Submission::Accepted);
            id
        })
        .collect()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("test"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_delivered_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::default();
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    let ids = submit(&pipeline, 0..100);
    assert_eq!(pipeline.stats().spool.not_durable, 0);
    let report = pipeline.shutdown(5 * SECOND);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.delivered), (0, 100));
    assert_eq!(backend.ids(), ids);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn the_next_one_delivers_what_one_has_left() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::down();
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    let ids = submit(&pipeline, 0..100);
    let report = pipeline.shutdown(Duration::from_millis(100));
    check(&report.stats);
    assert_eq!((report.pending, report.stats.spool.durable), (100, 100));
    assert_eq!(backend.ids().len(), 0);
    backend.set_down(false);
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    let began = Instant::now();
    let report = pipeline.flush_within(5 * SECOND);
    check(&report.stats);
    assert_eq!(
        (
            report.pending,
            report.stats.recovered,
            report.stats.delivered
        ),
        (0, 100, 100)
    );
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(backend.ids(), ids);
    let _ = pipeline.shutdown(SECOND);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn what_memory_has_no_room_for_waits_on_disk() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::down();
    let pipeline = builder(&backend, dir.path())
        .with_max_memory_bytes(256 * 1024)
        .spawn()
        .unwrap();
    let ids = submit(&pipeline, 0..5000);
    let stats = pipeline.stats();
    check(&stats);
    assert!(stats.pending_bytes < 256 * 1024, "{stats:?}");
    assert_eq!((stats.pending, stats.spool.durable), (5000, 5000));
    backend.set_down(false);
    let report = pipeline.flush_within(20 * SECOND);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.delivered), (0, 5000));
    let taken: BTreeSet<Uuid> = backend.ids().into_iter().collect();
    assert_eq!(backend.ids().len(), 5000);
    assert_eq!(taken, ids.into_iter().collect());
    let _ = pipeline.shutdown(SECOND);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}
