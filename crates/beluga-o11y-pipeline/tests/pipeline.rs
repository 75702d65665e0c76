//! The pipeline around exporters that do as they are told. What real sockets and real time do to it is in the
//! workspace's `tests/faults`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use beluga_o11y::{
    BatchReport, CallSink, ExportError, ExportErrorKind, FanOut, InMemoryExporter, LLMCallData,
    MultiExporter, Refusal, Submission, TraceExporter, async_trait,
};
use beluga_o11y_pipeline::{
    LossReason, Overflow, Oversize, Pipeline, PipelineBuilder, PipelineError, PipelineStats,
};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

fn call() -> LLMCallData {
    LLMCallData::new("openai", "gpt-4o").with_response("hello")
}

fn check(stats: &PipelineStats) {
    let PipelineStats {
        submitted,
        accepted,
        refused,
        sampled_out,
        ..
    } = stats;
    assert_eq!(*submitted, accepted + refused.total() + sampled_out);
    let settled = stats.delivered + stats.rejected + stats.dropped.total();
    assert_eq!(*accepted, settled + stats.pending);
}

fn stats(pipeline: &Pipeline) -> PipelineStats {
    let stats = pipeline.stats();
    check(&stats);
    stats
}

/// Answers as a function says, and keeps what it took.
struct Fake<F> {
    answer: F,
    taken: InMemoryExporter,
}

#[async_trait]
impl<F: Fn(&[&LLMCallData]) -> Result<BatchReport, ExportError> + Send + Sync> TraceExporter
    for Fake<F>
{
    fn name(&self) -> &str {
        "fake"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.export_batch(&[call]).await.map(drop)
    }

    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let report = (self.answer)(calls)?;
        for (index, call) in calls.iter().enumerate() {
            if report.failures.iter().all(|failure| failure.index != index) {
                self.taken.export_llm_call(call).await?;
            }
        }
        Ok(report)
    }
}

fn fake(
    answer: impl Fn(&[&LLMCallData]) -> Result<BatchReport, ExportError> + Send + Sync + 'static,
) -> (PipelineBuilder, InMemoryExporter) {
    let taken = InMemoryExporter::new();
    let fake = Fake {
        answer,
        taken: taken.clone(),
    };
    (Pipeline::builder(fake), taken)
}

/// Takes nothing, ever.
struct Silent;

#[async_trait]
impl TraceExporter for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    async fn export_llm_call(&self, _: &LLMCallData) -> Result<(), ExportError> {
        std::future::pending().await
    }
}

#[test]
fn senseless_settings_are_named() {
    let builder = || Pipeline::builder(InMemoryExporter::new());
    for (builder, named) in [
        (builder().with_max_batch_size(0), "with_max_batch_size"),
        (builder().with_max_batch_bytes(0), "with_max_batch_bytes"),
        (builder().with_max_in_flight(0), "with_max_in_flight"),
        (builder().with_max_memory_bytes(9), "with_max_memory_bytes"),
        (
            builder().with_export_timeout(Duration::ZERO),
            "with_export_timeout",
        ),
        (builder().with_sample_rate(1.5), "with_sample_rate: 1.5"),
        (
            builder().with_sample_rate(f64::NAN),
            "with_sample_rate: NaN",
        ),
        (
            builder().with_dead_letter_file("/nonexistent/x"),
            "with_dead_letter_file: cannot append to /nonexistent/x",
        ),
    ] {
        let error: PipelineError = builder.spawn().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("pipeline: {named}")), "{text}");
    }
}

#[test]
fn calls_arrive_and_a_flush_says_so() {
    let backend = InMemoryExporter::new();
    let pipeline = Pipeline::builder(backend.clone()).spawn().unwrap();
    for _ in 0..1_000 {
        assert!(pipeline.submit(call()).is_accepted());
    }
    let report = pipeline.flush_within(LONG);
    assert_eq!((report.pending, report.stats.delivered), (0, 1_000));
    check(&report.stats);
    assert_eq!((backend.len(), stats(&pipeline).pending_bytes), (1_000, 0));
}

#[test]
fn a_call_waits_for_others_no_longer_than_it_is_told_to() {
    let (builder, taken) = fake(|_| Ok(BatchReport::default()));
    let pipeline = builder
        .with_max_batch_delay(Duration::from_millis(300))
        .spawn()
        .unwrap();
    let start = Instant::now();
    pipeline.submit(call());
    while taken.is_empty() {
        assert!(start.elapsed() < SECOND * 10);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn after_the_shutdown_calls_are_refused() {
    let backend = InMemoryExporter::new();
    let pipeline = Pipeline::builder(backend.clone()).spawn().unwrap();
    pipeline.submit(call());
    assert_eq!(pipeline.shutdown(LONG).pending, 0);
    assert_eq!(
        pipeline.submit(call()),
        Submission::Refused(Refusal::Closed)
    );
    let again = pipeline.shutdown(LONG);
    check(&again.stats);
    assert_eq!((again.stats.refused.closed, backend.len()), (1, 1));
    let error = futures(pipeline.export_llm_call(&call())).unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Destination);
    assert_eq!(
        error.to_string(),
        "memory: export: handed over after the shutdown"
    );
}

fn futures<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn deadlines_are_kept_and_what_is_in_doubt_is_pending() {
    let pipeline = Pipeline::builder(Silent)
        .with_max_batch_delay(Duration::ZERO)
        .spawn()
        .unwrap();
    pipeline.submit(call());
    let start = Instant::now();
    let report = pipeline.flush_within(SECOND);
    assert_eq!((report.pending, report.stats.pending), (1, 1));
    let report = pipeline.shutdown(SECOND);
    assert_eq!((report.pending, report.stats.pending), (1, 1));
    check(&report.stats);
    assert!((SECOND * 2..SECOND * 3).contains(&start.elapsed()));
    // The worker has ended: nobody waits for it any more.
    let error = futures(pipeline.flush()).unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary);
    assert_eq!(stats(&pipeline).pending, 1);
}

#[test]
fn the_drop_of_the_last_handle_waits_for_what_is_pending() {
    let backend = InMemoryExporter::new();
    let pipeline = Pipeline::builder(backend.clone()).spawn().unwrap();
    pipeline.submit(call());
    let other = pipeline.clone();
    drop(pipeline);
    other.submit(call());
    drop(other);
    assert_eq!(backend.len(), 2);

    let start = Instant::now();
    let silent = Pipeline::builder(Silent).with_drop_timeout(SECOND).spawn();
    silent.unwrap().submit(call());
    assert!((SECOND..SECOND * 2).contains(&start.elapsed()));
}

#[test]
fn a_handle_that_does_not_wait_leaves_the_rest_to_the_background() {
    let backend = InMemoryExporter::new();
    let pipeline = Pipeline::builder(backend.clone())
        .with_drop_timeout(Duration::ZERO)
        .spawn()
        .unwrap();
    for _ in 0..100 {
        pipeline.submit(call());
    }
    drop(pipeline);
    let start = Instant::now();
    while backend.len() < 100 {
        assert!(start.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_guard_flushes_though_a_handle_lives_on() {
    let backend = InMemoryExporter::new();
    let pipeline = Pipeline::builder(backend.clone()).spawn().unwrap();
    {
        let _guard = pipeline.flush_guard(LONG);
        pipeline.submit(call());
    }
    assert_eq!(backend.len(), 1);
    assert!(pipeline.submit(call()).is_accepted());
}

#[tokio::test]
async fn as_an_exporter_it_says_what_became_of_a_call() {
    let (builder, taken) = fake(|calls| match calls[0].model.as_str() {
        "bad" => Err(ExportError::rejected("fake", "bad")),
        _ => Ok(BatchReport::default()),
    });
    let pipeline = builder.with_max_memory_bytes(100_000).spawn().unwrap();
    assert_eq!(pipeline.name(), "fake");
    pipeline.export_llm_call(&call()).await.unwrap();
    pipeline.flush().await.unwrap();
    assert_eq!(taken.len(), 1);

    let nan = call().with_cost(f64::NAN);
    let huge = call().with_messages("x".repeat(200_000));
    let report = pipeline
        .export_batch(&[&call(), &nan, &call(), &huge])
        .await
        .unwrap();
    let failures = report.failures.iter();
    let failures: Vec<_> = failures.map(|f| (f.index, f.error.kind())).collect();
    assert_eq!(
        failures,
        [
            (1, ExportErrorKind::Rejected),
            (3, ExportErrorKind::TooLarge)
        ]
    );
    pipeline.flush().await.unwrap();
    assert_eq!(taken.len(), 3);

    let bad = LLMCallData::new("openai", "bad");
    pipeline.export_llm_call(&bad).await.unwrap();
    let error = pipeline.flush().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "fake: export: not everything was delivered: 1 rejected or dropped; the log says why"
    );
    pipeline.flush().await.unwrap();
    stats(&pipeline);
}

#[tokio::test]
async fn pipelines_nest() {
    let (a, b) = (InMemoryExporter::new(), InMemoryExporter::new());
    let inner = |backend: &InMemoryExporter| Pipeline::builder(backend.clone()).spawn().unwrap();
    let (first, second) = (inner(&a), inner(&b));
    let multi = MultiExporter::new()
        .with(first.clone())
        .with(second.clone());
    let outer = Pipeline::builder(multi).spawn().unwrap();
    for _ in 0..10 {
        outer.submit(call());
    }
    outer.flush().await.unwrap();
    for pipeline in [&first, &second] {
        pipeline.flush().await.unwrap();
        assert_eq!(stats(pipeline).delivered, 10);
    }
    assert_eq!((a.len(), b.len()), (10, 10));
}

#[test]
fn a_record_is_shared_between_pipelines() {
    let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
    let pipeline = || {
        let seen = Arc::clone(&seen);
        let (builder, _) = fake(move |calls| {
            let addresses = calls.iter().map(|call| std::ptr::from_ref(*call).addr());
            seen.lock().unwrap().extend(addresses);
            Ok(BatchReport::default())
        });
        builder.spawn().unwrap()
    };
    let pipelines = [pipeline(), pipeline(), pipeline()];
    let sinks = pipelines.iter().fold(FanOut::new(), |sinks, pipeline| {
        sinks.with(pipeline.clone())
    });
    let record = Arc::new(call());
    let address = Arc::as_ptr(&record).addr();
    sinks.submit_shared(record);
    for pipeline in &pipelines {
        assert_eq!(pipeline.flush_within(LONG).pending, 0);
    }
    assert_eq!(*seen.lock().unwrap(), [address; 3]);
}

#[test]
fn dead_letters_are_told_before_they_are_counted() {
    let letters: Arc<Mutex<Vec<_>>> = Arc::default();
    let (builder, _) = fake(|calls| {
        if calls.iter().any(|call| call.model == "bad") {
            return Err(ExportError::rejected("fake", "bad").with_status(422));
        }
        Ok(BatchReport::default())
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dead.jsonl");
    let told = Arc::clone(&letters);
    let pipeline = builder
        .with_dead_letters(move |letter| told.lock().unwrap().push(letter.clone()))
        .with_dead_letter_file(&file)
        .spawn()
        .unwrap();
    let bad = LLMCallData::new("openai", "bad").with_response("kept");
    let id = bad.id();
    pipeline.submit(bad);
    for _ in 0..20 {
        pipeline.submit(call());
    }
    while stats(&pipeline).rejected == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let letters = letters.lock().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].call.id(), letters[0].reason),
        (id, LossReason::Rejected)
    );
    let line: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(line["status"], 422);
    assert_eq!(line["record"]["response"], "kept");
}

#[test]
fn a_call_that_is_too_large_is_shortened_or_a_dead_letter() {
    for oversize in [Oversize::Shorten, Oversize::DeadLetter] {
        let (builder, taken) = fake(|calls| {
            let size = |call: &&LLMCallData| call.messages.as_ref().map_or(0, |json| json.size());
            if calls.iter().map(size).sum::<usize>() > 100_000 {
                return Err(ExportError::too_large("fake", "too large"));
            }
            Ok(BatchReport::default())
        });
        let pipeline = builder.with_oversize(oversize).spawn().unwrap();
        let big = call().with_messages("x".repeat(500_000)).with_tokens(7, 1);
        let id = big.id();
        pipeline.submit(big);
        for _ in 0..9 {
            pipeline.submit(call());
        }
        let report = pipeline.flush_within(LONG);
        check(&report.stats);
        let shortened = oversize == Oversize::Shorten;
        assert_eq!(report.stats.rejected, u64::from(!shortened));
        assert_eq!(taken.len(), 9 + usize::from(shortened));
        if shortened {
            let calls = taken.calls();
            let big = calls.iter().find(|call| call.id() == id).unwrap();
            assert_eq!(
                big.messages.as_ref().unwrap().as_str(),
                r#"{"truncated":true,"bytes":500002}"#
            );
            assert_eq!(big.usage.input_tokens, Some(7));
            assert_eq!(big.response.as_ref().unwrap().as_str(), "\"hello\"");
        }
    }
}

#[test]
fn a_panic_of_the_exporter_costs_the_call_that_caused_it() {
    let (builder, taken) = fake(|calls| {
        assert!(calls.iter().all(|call| call.model != "bad"), "on purpose");
        Ok(BatchReport::default())
    });
    let pipeline = builder.spawn().unwrap();
    pipeline.submit(LLMCallData::new("openai", "bad"));
    for _ in 0..30 {
        pipeline.submit(call());
    }
    let report = pipeline.flush_within(LONG);
    check(&report.stats);
    assert_eq!((report.stats.rejected, taken.len()), (1, 30));
    let error = report.stats.last_error.unwrap().to_string();
    assert!(error.contains("panicked"), "{error}");
}

#[test]
fn settings_without_an_end_are_fine() {
    let backend = InMemoryExporter::new();
    let pipeline = Pipeline::builder(backend.clone())
        .with_max_batch_size(usize::MAX)
        .with_max_batch_bytes(usize::MAX)
        .with_max_batch_delay(Duration::MAX)
        .with_max_in_flight(usize::MAX)
        .with_max_memory_bytes(usize::MAX)
        .with_max_retry_time(Duration::MAX)
        .with_export_timeout(Duration::MAX)
        .with_drop_timeout(Duration::MAX)
        .with_overflow(Overflow::Block(Duration::MAX))
        .spawn()
        .unwrap();
    for _ in 0..10 {
        assert!(pipeline.submit(call()).is_accepted());
    }
    assert_eq!(pipeline.flush_within(Duration::MAX).pending, 0);
    pipeline.submit(call());
    drop(pipeline);
    assert_eq!(backend.len(), 11);
}

#[test]
fn an_export_that_takes_too_long_is_cancelled_and_tried_again() {
    struct SlowOnce(AtomicUsize);

    #[async_trait]
    impl TraceExporter for SlowOnce {
        fn name(&self) -> &str {
            "slow"
        }

        async fn export_llm_call(&self, _: &LLMCallData) -> Result<(), ExportError> {
            if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    }

    let pipeline = Pipeline::builder(SlowOnce(AtomicUsize::new(0)))
        .with_export_timeout(Duration::from_millis(200))
        .spawn()
        .unwrap();
    pipeline.submit(call());
    let report = pipeline.flush_within(LONG);
    assert_eq!((report.stats.delivered, report.stats.export_calls), (1, 2));
    assert_eq!(
        report.stats.last_error.unwrap().to_string(),
        "slow: export: not done after 200ms, and cancelled"
    );
}

#[test]
fn when_it_is_full_the_policy_decides() {
    let builder = |overflow| {
        Pipeline::builder(Silent)
            .with_max_memory_bytes(100_000)
            .with_overflow(overflow)
            .with_drop_timeout(Duration::ZERO)
            .spawn()
            .unwrap()
    };
    let big = || call().with_messages("x".repeat(10_000));
    let fill = |pipeline: &Pipeline| {
        (0..100)
            .filter(|_| pipeline.submit(big()).is_accepted())
            .count()
    };

    let refuse = builder(Overflow::RefuseNew);
    let taken = fill(&refuse) as u64;
    assert!((5..10).contains(&taken), "{taken}");
    assert_eq!(refuse.submit(big()), Submission::Refused(Refusal::Full));
    assert_eq!(stats(&refuse).refused.full, 101 - taken);

    let drop_oldest = builder(Overflow::DropOldest);
    assert_eq!(fill(&drop_oldest), 100);
    let dropped = stats(&drop_oldest).dropped.overflow;
    assert!((90..=95).contains(&dropped), "{dropped}");

    let block = builder(Overflow::Block(SECOND));
    while block.stats().pending < taken {
        assert!(block.submit(big()).is_accepted());
    }
    let start = Instant::now();
    assert_eq!(block.submit(big()), Submission::Refused(Refusal::Full));
    assert!((SECOND..SECOND * 2).contains(&start.elapsed()));
    // A shutdown lets go whoever waits.
    let start = Instant::now();
    let waiting = {
        let block = builder(Overflow::Block(LONG));
        while block.stats().pending < taken {
            assert!(block.submit(big()).is_accepted());
        }
        let blocked = block.clone();
        let waiting = std::thread::spawn(move || blocked.submit(big()));
        std::thread::sleep(Duration::from_millis(200));
        let _ = block.shutdown(Duration::ZERO);
        waiting
    };
    assert_eq!(
        waiting.join().unwrap(),
        Submission::Refused(Refusal::Closed)
    );
    assert!(start.elapsed() < LONG / 2);
    // One that alone is too large is told so at once.
    let submission = block.submit(call().with_messages("x".repeat(100_000)));
    assert!(
        matches!(
            submission,
            Submission::Refused(Refusal::TooLarge { limit: 66_667, .. })
        ),
        "{submission:?}"
    );
    stats(&block);
}

#[test]
fn whoever_waits_for_room_goes_on_when_there_is_some() {
    let (builder, taken) = fake(|_| {
        std::thread::sleep(Duration::from_millis(2));
        Ok(BatchReport::default())
    });
    let pipeline = builder
        .with_max_memory_bytes(200_000)
        .with_overflow(Overflow::Block(LONG))
        .spawn()
        .unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let pipeline = pipeline.clone();
            std::thread::spawn(move || {
                for _ in 0..100 {
                    let call = call().with_messages("x".repeat(10_000));
                    assert!(pipeline.submit(call).is_accepted());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(pipeline.flush_within(LONG).pending, 0);
    assert_eq!((taken.len(), stats(&pipeline).delivered), (300, 300));
}

#[test]
fn its_own_traffic_is_refused() {
    #[derive(Default)]
    struct Loop(Mutex<Option<Pipeline>>, Mutex<Vec<Submission>>);

    #[async_trait]
    impl TraceExporter for Loop {
        fn name(&self) -> &str {
            "loop"
        }

        async fn export_llm_call(&self, _: &LLMCallData) -> Result<(), ExportError> {
            let pipeline = self.0.lock().unwrap().clone().unwrap();
            self.1.lock().unwrap().push(pipeline.submit(call()));
            let own = pipeline.export_llm_call(&call()).await;
            assert_eq!(own.unwrap_err().kind(), ExportErrorKind::Rejected);
            // Asked by the worker itself, it does not wait for the worker.
            assert_eq!(pipeline.flush_within(LONG).pending, 1);
            Ok(())
        }
    }

    let exporter = Arc::new(Loop::default());
    let pipeline = Pipeline::builder(Arc::clone(&exporter)).spawn().unwrap();
    *exporter.0.lock().unwrap() = Some(pipeline.clone());
    pipeline.submit(call());
    let report = pipeline.shutdown(LONG);
    check(&report.stats);
    assert_eq!(
        (report.stats.delivered, report.stats.refused.own_traffic),
        (1, 2)
    );
    assert_eq!(
        *exporter.1.lock().unwrap(),
        [Submission::Refused(Refusal::OwnTraffic)]
    );
    *exporter.0.lock().unwrap() = None;
}

#[test]
fn samples_are_counted_and_errors_can_be_kept() {
    let backend = InMemoryExporter::new();
    let pipeline = Pipeline::builder(backend.clone())
        .with_sample_rate(0.25)
        .with_errors_always_kept(true)
        .spawn()
        .unwrap();
    for index in 0..1_000 {
        let kept = call();
        let sampled = match index % 2 {
            0 => pipeline.submit(kept),
            _ => pipeline.submit(kept.with_error("boom")),
        };
        assert!(matches!(
            sampled,
            Submission::Accepted | Submission::SampledOut
        ));
    }
    let report = pipeline.flush_within(LONG);
    check(&report.stats);
    let left_out = report.stats.sampled_out;
    assert!((300..450).contains(&left_out), "{left_out}");
    let errors = backend.calls();
    let errors = errors.iter().filter(|call| call.error.is_some()).count();
    assert_eq!(errors, 500);
}

#[test]
fn the_laws_hold_at_every_moment() {
    let attempts = AtomicUsize::new(0);
    let (builder, _) = fake(
        move |calls| match attempts.fetch_add(1, Ordering::Relaxed) % 5 {
            0 => Err(ExportError::temporary("fake", "busy").with_retry_after(SECOND / 10)),
            1 => {
                let mut report = BatchReport::default();
                report.push(calls.len() / 2, ExportError::rejected("fake", "bad"));
                Ok(report)
            }
            _ => Ok(BatchReport::default()),
        },
    );
    let pipeline = builder
        .with_max_batch_size(10)
        .with_max_memory_bytes(64 * 1024)
        .with_overflow(Overflow::DropOldest)
        .with_sample_rate(0.9)
        .spawn()
        .unwrap();
    let submitting: Vec<_> = (0..3)
        .map(|_| {
            let pipeline = pipeline.clone();
            std::thread::spawn(move || {
                for index in 0..2_000 {
                    let call = match index % 100 {
                        0 => call().with_cost(-1.0),
                        _ => call(),
                    };
                    pipeline.submit(call);
                }
            })
        })
        .collect();
    let mut looks = 0;
    while !submitting.iter().all(std::thread::JoinHandle::is_finished) {
        stats(&pipeline);
        looks += 1;
    }
    assert!(looks > 10);
    let report = pipeline.shutdown(LONG);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.submitted), (0, 6_000));
    assert_eq!(report.stats.refused.invalid, 60);
    assert!(report.stats.rejected > 0 && report.stats.dropped.overflow > 0);
}

#[test]
fn debug_shows_no_content() {
    let pipeline = Pipeline::builder(Silent)
        .with_drop_timeout(Duration::ZERO)
        .with_redaction(|text| text.into());
    assert!(format!("{pipeline:?}").contains("redaction: true"));
    let pipeline = pipeline.spawn().unwrap();
    pipeline.submit(call().with_response("SECRET"));
    let debug = format!("{pipeline:?}");
    assert!(
        !debug.contains("SECRET") && debug.contains("pending: 1"),
        "{debug}"
    );
}

#[test]
fn the_time_that_a_guard_has_waited_counts_for_the_drop_of_the_last_handle() {
    let spawn = || {
        let pipeline = Pipeline::builder(Silent).with_drop_timeout(SECOND).spawn();
        let pipeline = pipeline.unwrap();
        pipeline.submit(call());
        pipeline
    };
    let start = Instant::now();
    {
        let pipeline = spawn();
        let _guard = pipeline.flush_guard(SECOND);
    }
    assert!((SECOND..SECOND * 2).contains(&start.elapsed()));
    let start = Instant::now();
    {
        let pipeline = spawn();
        let _guard = pipeline.flush_guard(SECOND / 10);
    }
    assert!((SECOND..SECOND * 2).contains(&start.elapsed()));
}

/// Waits until it is so.
fn wait_for(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_flush_after_a_complete_shutdown_has_nothing_to_say() {
    let pipeline = Pipeline::builder(InMemoryExporter::new()).spawn().unwrap();
    pipeline.submit(call());
    assert_eq!(pipeline.shutdown(LONG).pending, 0);
    std::thread::sleep(SECOND / 5);
    futures(pipeline.flush()).unwrap();
}

#[test]
fn a_waker_may_look_at_the_pipeline() {
    use std::task::{Context, Wake, Waker};

    struct Looks(Pipeline, AtomicUsize);

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            check(&self.0.stats());
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    let (builder, _) = fake(|_| {
        std::thread::sleep(SECOND / 5);
        Ok(BatchReport::default())
    });
    let pipeline = builder.spawn().unwrap();
    pipeline.submit(call());
    let looks = Arc::new(Looks(pipeline.clone(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&looks));
    let mut flush = pipeline.flush();
    let pending = flush.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(pending.is_pending());
    wait_for("the waker", || looks.1.load(Ordering::Relaxed) > 0);
}

#[test]
fn what_is_the_exporters_own_cannot_end_the_worker() {
    #[derive(Debug)]
    struct Unprintable;
    impl std::error::Error for Unprintable {}
    impl std::fmt::Display for Unprintable {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("on purpose")
        }
    }
    struct Payload(u8);
    impl Drop for Payload {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::panic_any(Self(self.0 - 1));
            }
        }
    }

    let (builder, taken) = fake(|calls| match calls[0].model.as_str() {
        "error" => Err(ExportError::rejected("fake", "bad").with_cause(Unprintable)),
        "panic" => std::panic::panic_any(Payload(1)),
        _ => Ok(BatchReport::default()),
    });
    let directory = tempfile::tempdir().unwrap();
    let pipeline = builder
        .with_max_batch_size(1)
        .with_dead_letter_file(directory.path().join("dead.jsonl"))
        .spawn()
        .unwrap();
    for model in ["error", "panic", "gpt-4o"] {
        pipeline.submit(LLMCallData::new("openai", model));
    }
    let report = pipeline.flush_within(LONG);
    check(&report.stats);
    assert_eq!((report.stats.rejected, taken.len()), (2, 1));
}

#[test]
fn the_drop_waits_for_what_came_after_a_flush() {
    let (builder, taken) = fake(|calls| {
        if calls[0].model == "slow" {
            std::thread::sleep(SECOND * 3 / 2);
        }
        Ok(BatchReport::default())
    });
    let pipeline = builder.with_drop_timeout(SECOND).spawn().unwrap();
    pipeline.submit(LLMCallData::new("openai", "slow"));
    assert_eq!(pipeline.flush_within(SECOND).pending, 1);
    pipeline.submit(call());
    drop(pipeline);
    assert_eq!(taken.len(), 2);
}

#[test]
fn after_a_shutdown_that_ran_out_of_time_the_calls_are_freed_and_stay_pending() {
    let pipeline = Pipeline::builder(Silent).spawn().unwrap();
    let record = Arc::new(call());
    for _ in 0..10 {
        pipeline.submit_shared(Arc::clone(&record));
    }
    assert_eq!(pipeline.shutdown(Duration::ZERO).pending, 10);
    wait_for("their release", || Arc::strong_count(&record) == 1);
    assert_eq!(stats(&pipeline).pending, 10);
}

#[test]
fn one_that_hangs_and_one_that_fails_do_not_hold_up_the_rest() {
    struct Mixed(AtomicUsize);

    #[async_trait]
    impl TraceExporter for Mixed {
        fn name(&self) -> &str {
            "mixed"
        }

        async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
            match call.model.as_str() {
                "hangs" => std::future::pending().await,
                "fails" if self.0.fetch_add(1, Ordering::Relaxed) == 0 => {
                    Err(ExportError::temporary("mixed", "busy").with_status(503))
                }
                _ => Ok(()),
            }
        }
    }

    let pipeline = Pipeline::builder(Mixed(AtomicUsize::new(0)))
        .with_max_batch_size(1)
        .with_drop_timeout(Duration::ZERO)
        .spawn()
        .unwrap();
    for model in ["hangs", "fails"] {
        pipeline.submit(LLMCallData::new("openai", model));
    }
    for _ in 0..100 {
        pipeline.submit(call());
    }
    wait_for("all but the one that hangs", || {
        stats(&pipeline).pending == 1
    });
}

#[test]
fn what_the_exporter_does_in_other_threads_is_its_own_traffic_too() {
    #[derive(Default)]
    struct Elsewhere(Mutex<Option<Pipeline>>);

    #[async_trait]
    impl TraceExporter for Elsewhere {
        fn name(&self) -> &str {
            "else\0where"
        }

        async fn export_llm_call(&self, _: &LLMCallData) -> Result<(), ExportError> {
            let pipeline = self.0.lock().unwrap().clone().unwrap();
            assert!(pipeline.flush().await.is_err(), "it would wait for itself");
            let submit = move || pipeline.submit(call());
            let submission = tokio::task::spawn_blocking(submit).await.unwrap();
            assert_eq!(submission, Submission::Refused(Refusal::OwnTraffic));
            Ok(())
        }
    }

    let exporter = Arc::new(Elsewhere::default());
    let pipeline = Pipeline::builder(Arc::clone(&exporter)).spawn().unwrap();
    *exporter.0.lock().unwrap() = Some(pipeline.clone());
    pipeline.submit(call());
    assert_eq!(pipeline.shutdown(LONG).stats.delivered, 1);
    *exporter.0.lock().unwrap() = None;
}

#[test]
fn a_call_is_not_dropped_in_vain() {
    let pipeline = Pipeline::builder(Silent)
        .with_max_batch_delay(Duration::ZERO)
        .with_max_memory_bytes(1_000_000)
        .with_max_in_flight(1)
        .with_overflow(Overflow::DropOldest)
        .with_drop_timeout(Duration::ZERO)
        .spawn()
        .unwrap();
    pipeline.submit(call().with_messages("x".repeat(400_000)));
    wait_for("its export", || pipeline.stats().export_calls == 1);
    pipeline.submit(call());
    // Beside what is on its way there is no room for this one, whatever is dropped.
    let submission = pipeline.submit(call().with_messages("x".repeat(200_000)));
    assert_eq!(submission, Submission::Refused(Refusal::Full));
    assert_eq!(stats(&pipeline).dropped.overflow, 0);
}

#[test]
fn a_call_is_shortened_once_and_then_a_dead_letter() {
    let letters: Arc<Mutex<Vec<_>>> = Arc::default();
    let (builder, _) = fake(|_| Err(ExportError::too_large("fake", "too large")));
    let told = Arc::clone(&letters);
    let pipeline = builder
        .with_dead_letters(move |letter| told.lock().unwrap().push(letter.clone()))
        .spawn()
        .unwrap();
    pipeline.submit(call().with_messages("x".repeat(200_000)));
    let report = pipeline.flush_within(LONG);
    check(&report.stats);
    assert_eq!((report.stats.rejected, report.stats.export_calls), (1, 2));
    let letters = letters.lock().unwrap();
    assert_eq!(
        (letters.len(), letters[0].reason),
        (1, LossReason::TooLarge)
    );
    let messages = letters[0].call.messages.as_ref().unwrap();
    assert_eq!(messages.as_str(), r#"{"truncated":true,"bytes":200002}"#);
}
