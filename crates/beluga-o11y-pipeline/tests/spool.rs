//! What a pipeline with a spool does, around exporters that do as they are told.
#![cfg(feature = "spool")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use beluga_o11y::{
    BatchReport, CallError, CallSink, ExportError, InMemoryExporter, Json, LLMCallData, Submission,
    TraceExporter,
};
use beluga_o11y_pipeline::{
    Durability, LossReason, Overflow, Pipeline, PipelineBuilder, PipelineStats, Spool,
};
use chrono::DateTime;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
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

/// Its database files.
fn databases(dir: &Path) -> Vec<PathBuf> {
    let names = files(dir).into_iter();
    let names = names.filter(|name| name.ends_with(".db"));
    names.map(|name| dir.join("test").join(name)).collect()
}

fn wait_for(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < 20 * SECOND);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Calls that a process of before has left in a directory.
fn leave(dir: &Path, numbers: std::ops::Range<usize>) -> Vec<Uuid> {
    let pipeline = builder(&Backend::down(), dir).spawn().unwrap();
    let ids = submit(&pipeline, numbers);
    let report = pipeline.shutdown(Duration::ZERO);
    assert!(report.stats.spool.durable >= ids.len() as u64);
    ids
}

#[test]
fn a_call_comes_back_as_it_was() {
    let dir = TempDir::new().unwrap();
    let calls: Vec<LLMCallData> = vec![
        LLMCallData::new("", ""),
        LLMCallData::new("openai", "gpt-4o")
            .with_name("ü \"\\\n\u{2028}")
            .with_messages(json!([{"role": "user", "content": "🐋", "n": 1e300, "m": 0.1}]))
            .with_response(serde_json::from_str::<Json>("{ \"spaced\" :  1.50 }").unwrap())
            .with_model_parameters(json!({"temperature": 0.2}))
            .with_tokens(500, u64::MAX)
            .with_duration(Duration::new(1, 123_456_789))
            .with_time_to_first_token(Duration::from_nanos(17))
            .with_cost(0.1 + 0.2)
            .with_error(
                CallError::new("no")
                    .with_kind("Timeout")
                    .with_trace("at\nat"),
            )
            .with_session_id("s")
            .with_user_id("u")
            .with_tag("a")
            .with_tag("b")
            .with_environment("e")
            .with_release("r")
            .with_trace_id("t")
            .with_parent_span_id("p")
            .with_metadata("k", json!({"deep": [null, true]})),
    ];
    let pipeline = builder(&Backend::down(), dir.path()).spawn().unwrap();
    for call in &calls {
        assert!(pipeline.submit(call.clone()).is_accepted());
    }
    let _ = pipeline.shutdown(Duration::ZERO);
    let memory = InMemoryExporter::new();
    let renamed = Renamed(memory.clone());
    let pipeline = Pipeline::builder(renamed)
        .with_spool(dir.path())
        .spawn()
        .unwrap();
    assert_eq!(pipeline.flush_within(5 * SECOND).pending, 0);
    let text = |call: &LLMCallData| serde_json::to_string_pretty(call).unwrap();
    for (came, went) in memory.calls().iter().zip(&calls) {
        assert_eq!(text(came), text(went));
    }
    assert_eq!(memory.calls().len(), calls.len());
}

/// Under the name of the backend of these tests.
struct Renamed(InMemoryExporter);

#[async_trait]
impl TraceExporter for Renamed {
    fn name(&self) -> &str {
        "test"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.0.export_llm_call(call).await
    }
}

#[test]
fn dead_letters_are_kept_and_sent_again() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::default();
    let bad = call(7);
    backend.0.lock().unwrap().rejects.insert(bad.id());
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    submit(&pipeline, 0..5);
    assert!(pipeline.submit(bad.clone()).is_accepted());
    let report = pipeline.flush_within(5 * SECOND);
    check(&report.stats);
    assert_eq!((report.stats.delivered, report.stats.rejected), (5, 1));
    assert_eq!(report.stats.spool.dead_letters, 1);
    // Still bad: it is a dead letter once more.
    assert_eq!(pipeline.send_dead_letters_again(), 1);
    wait_for(|| pipeline.stats().rejected == 2);
    let stats = pipeline.shutdown(5 * SECOND).stats;
    check(&stats);
    assert_eq!((stats.recovered, stats.spool.dead_letters), (1, 1));
    assert_eq!(databases(dir.path()).len(), 1);

    // In the next process, and not by itself.
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    let report = pipeline.flush_within(5 * SECOND);
    assert_eq!(
        (report.stats.recovered, report.stats.spool.dead_letters),
        (0, 1)
    );
    backend.0.lock().unwrap().rejects.clear();
    assert_eq!(pipeline.send_dead_letters_again(), 1);
    wait_for(|| backend.ids().contains(&bad.id()));
    let stats = pipeline.shutdown(5 * SECOND).stats;
    check(&stats);
    assert_eq!(
        (stats.recovered, stats.delivered, stats.spool.dead_letters),
        (1, 1, 0)
    );
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn what_is_too_old_is_given_up_and_told_of() {
    let dir = TempDir::new().unwrap();
    leave(dir.path(), 0..30);
    std::thread::sleep(Duration::from_millis(1600));
    let young = leave(dir.path(), 30..40);
    let told = Arc::new(Mutex::new(Vec::new()));
    let letters = Arc::clone(&told);
    let backend = Backend::default();
    let pipeline = Pipeline::builder(backend.clone())
        .with_dead_letters(move |letter| letters.lock().unwrap().push(letter.reason))
        .with_spool(Spool::new(dir.path()).with_max_age(Duration::from_millis(1500)))
        .spawn()
        .unwrap();
    let report = pipeline.flush_within(5 * SECOND);
    check(&report.stats);
    assert_eq!(
        (report.stats.recovered, report.stats.dropped.expired),
        (40, 30)
    );
    assert_eq!(backend.ids(), young);
    assert_eq!(*told.lock().unwrap(), [LossReason::Expired; 30]);
    let _ = pipeline.shutdown(SECOND);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn what_waits_in_memory_grows_too_old_as_well() {
    let dir = TempDir::new().unwrap();
    let spool = Spool::new(dir.path()).with_max_age(Duration::from_millis(200));
    let backend = Backend::down();
    let pipeline = builder(&backend, dir.path())
        .with_spool(spool)
        .spawn()
        .unwrap();
    submit(&pipeline, 0..10);
    wait_for(|| pipeline.stats().dropped.expired == 10);
    check(&pipeline.stats());
}

#[test]
fn a_full_spool_leaves_new_calls_in_memory() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::down();
    let pipeline = builder(&backend, dir.path())
        .with_max_memory_bytes(3 << 20)
        .with_spool(Spool::new(dir.path()).with_max_bytes(1 << 20))
        .spawn()
        .unwrap();
    let mut refused = 0;
    for number in 0..3000 {
        refused += u64::from(!pipeline.submit(call(number)).is_accepted());
    }
    let stats = pipeline.stats();
    check(&stats);
    assert_eq!(
        (stats.refused.full, stats.refused.full > 500),
        (refused, true)
    );
    assert!(stats.spool.bytes < (1 << 20) / 10 * 11, "{stats:?}");
    assert!(
        stats.spool.durable > 300 && stats.spool.not_durable > 300,
        "{stats:?}"
    );
    assert_eq!(
        stats.accepted,
        stats.spool.durable + stats.spool.not_durable,
        "{stats:?}"
    );
    backend.set_down(false);
    let report = pipeline.flush_within(10 * SECOND);
    check(&report.stats);
    assert_eq!(
        (report.pending, report.stats.delivered),
        (0, stats.accepted)
    );
    // There is room again.
    submit(&pipeline, 0..10);
    assert_eq!(pipeline.stats().spool.not_durable, stats.spool.not_durable);
}

/// Also when the memory is full of calls that are on disk: they need not be in memory.
#[test]
fn a_disk_that_takes_nothing_for_a_moment_refuses_nothing() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::down();
    let pipeline = builder(&backend, dir.path())
        .with_max_memory_bytes(2 << 20)
        .with_spool(Spool::new(dir.path()).with_write_timeout(Duration::from_millis(50)))
        .spawn()
        .unwrap();
    submit(&pipeline, 0..2000);
    let durable = pipeline.stats().spool.durable;
    assert!(durable > 1000, "{durable}");
    let mut other = Connection::open(&databases(dir.path())[0]).unwrap();
    let lock = other
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    submit(&pipeline, 2000..2100);
    let stats = pipeline.stats();
    check(&stats);
    assert!(stats.spool.not_durable >= 100, "{stats:?}");
    assert_eq!(
        stats.spool.durable + stats.spool.not_durable,
        2100,
        "{stats:?}"
    );
    drop(lock);
    backend.set_down(false);
    let report = pipeline.shutdown(20 * SECOND);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.delivered), (0, 2100));
    assert_eq!(
        backend.ids().into_iter().collect::<BTreeSet<_>>().len(),
        2100
    );
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn a_full_spool_drops_the_oldest_if_told_to() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::down();
    let told = Arc::new(Mutex::new(Vec::new()));
    let letters = Arc::clone(&told);
    let pipeline = builder(&backend, dir.path())
        .with_max_memory_bytes(256 << 10)
        .with_overflow(Overflow::DropOldest)
        .with_dead_letters(move |letter| {
            letters
                .lock()
                .unwrap()
                .push((letter.reason, letter.call.id()))
        })
        .with_spool(
            Spool::new(dir.path())
                .with_max_bytes(2 << 20)
                .with_write_timeout(SECOND),
        )
        .spawn()
        .unwrap();
    let mut ids = Vec::new();
    for number in 0..5000 {
        ids.extend(submit(&pipeline, number..number + 1));
    }
    wait_for(|| pipeline.stats().spool.bytes <= 2 << 20);
    wait_for(|| told.lock().unwrap().len() as u64 == pipeline.stats().dropped.overflow);
    let stats = pipeline.stats();
    check(&stats);
    assert!(stats.dropped.overflow > 2000, "{stats:?}");
    backend.set_down(false);
    let report = pipeline.flush_within(20 * SECOND);
    check(&report.stats);
    assert_eq!(
        (report.pending, report.stats.delivered),
        (0, 5000 - report.stats.dropped.overflow)
    );
    let dropped: BTreeSet<Uuid> = told
        .lock()
        .unwrap()
        .iter()
        .map(|(reason, id)| {
            assert_eq!(*reason, LossReason::Overflow);
            *id
        })
        .collect();
    let delivered: BTreeSet<Uuid> = backend.ids().into_iter().collect();
    assert_eq!(dropped.len() + delivered.len(), 5000);
    assert!(delivered.is_disjoint(&dropped));
    // The last ones are what is wanted.
    assert!(
        ids[4500..]
            .iter()
            .filter(|id| delivered.contains(id))
            .count()
            > 450
    );
}

#[test]
fn each_pipeline_has_a_directory_of_its_own() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::default();
    let first = builder(&backend, dir.path()).spawn().unwrap();
    let error = builder(&backend, dir.path())
        .spawn()
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("pipeline: with_spool: ") && error.contains("in use by another pipeline"),
        "{error}"
    );
    let _ = first.shutdown(SECOND);
    let second = builder(&backend, dir.path())
        .with_drop_timeout(SECOND)
        .spawn()
        .unwrap();
    submit(&second, 0..3);
    drop(second);
    builder(&backend, dir.path()).spawn().unwrap();
    // Another exporter has its own anyway.
    Pipeline::builder(InMemoryExporter::new())
        .with_spool(dir.path())
        .spawn()
        .unwrap();
}

#[test]
fn senseless_settings_are_named() {
    let dir = TempDir::new().unwrap();
    for (spool, text) in [
        (
            Spool::new(dir.path()).with_max_bytes(1000),
            "pipeline: Spool::with_max_bytes: 1000 is less than 1048576",
        ),
        (
            Spool::new(dir.path()).with_write_timeout(Duration::ZERO),
            "pipeline: Spool::with_write_timeout: nothing can be written in no time",
        ),
    ] {
        let builder = builder(&Backend::default(), dir.path()).with_spool(spool);
        assert_eq!(builder.spawn().unwrap_err().to_string(), text);
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn error(dir: &Path) -> String {
        builder(&Backend::default(), dir)
            .spawn()
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn only_the_owner_can_look_into_it() {
        let root = TempDir::new().unwrap();
        let dir = root.path().join("made").join("spool");
        let pipeline = builder(&Backend::down(), &dir).spawn().unwrap();
        submit(&pipeline, 0..3);
        for made in [&root.path().join("made"), &dir, &dir.join("test")] {
            assert_eq!(mode(made), 0o700, "{}", made.display());
        }
        let names = files(&dir);
        assert_eq!(names.len(), 4, "{names:?}");
        for name in names {
            assert_eq!(mode(&dir.join("test").join(&name)), 0o600, "{name}");
        }
        let _ = pipeline.shutdown(Duration::ZERO);

        // What was opened to others is closed again.
        set_mode(&dir.join("test"), 0o755);
        let database = &databases(&dir)[0];
        set_mode(database, 0o644);
        let backend = Backend::default();
        let pipeline = builder(&backend, &dir).spawn().unwrap();
        assert_eq!(mode(&dir.join("test")), 0o700);
        assert_eq!(pipeline.flush_within(5 * SECOND).stats.delivered, 3);
    }

    #[test]
    fn an_unfit_directory_is_refused() {
        let root = TempDir::new().unwrap();
        let real = root.path().join("real");
        fs::create_dir(&real).unwrap();
        let link = root.path().join("link");
        symlink(&real, &link).unwrap();
        let text = error(&link);
        assert!(
            text.contains("is a symbolic link, which is not followed"),
            "{text}"
        );
        symlink(&real, real.join("test")).unwrap();
        let text = error(&real);
        assert!(text.contains("real/test is a symbolic link"), "{text}");

        let shared = root.path().join("shared");
        fs::create_dir(&shared).unwrap();
        for everybody in [0o777, 0o1777] {
            set_mode(&shared, everybody);
            let text = error(&shared);
            assert!(text.contains("can be written to by everybody"), "{text}");
        }
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let text = error(&file);
        assert!(text.contains("is not a directory"), "{text}");
    }

    #[test]
    fn a_link_in_place_of_a_file_is_left_alone() {
        let root = TempDir::new().unwrap();
        leave(root.path(), 0..3);
        let database = databases(root.path()).remove(0);
        let elsewhere = root.path().join("elsewhere");
        fs::rename(&database, &elsewhere).unwrap();
        symlink(&elsewhere, &database).unwrap();
        let backend = Backend::default();
        let pipeline = builder(&backend, root.path()).spawn().unwrap();
        let report = pipeline.flush_within(5 * SECOND);
        assert_eq!((report.pending, report.stats.recovered), (0, 0));
        assert!(elsewhere.exists() && database.is_symlink());
    }
}

#[test]
fn where_there_can_be_no_directory_memory_has_to_do_until_there_is_one() {
    let root = TempDir::new().unwrap();
    let blocked = root.path().join("file");
    fs::write(&blocked, "").unwrap();
    let backend = Backend::down();
    let dir = blocked.join("spool");
    let pipeline = builder(&backend, &dir).spawn().unwrap();
    submit(&pipeline, 0..5);
    let stats = pipeline.stats();
    check(&stats);
    assert_eq!((stats.spool.not_durable, stats.spool.durable), (5, 0));
    fs::remove_file(&blocked).unwrap();
    wait_for(|| {
        submit(&pipeline, 5..6);
        std::thread::sleep(Duration::from_millis(20));
        pipeline.stats().spool.durable > 0
    });
    let before = pipeline.stats();
    submit(&pipeline, 6..10);
    let stats = pipeline.stats();
    assert_eq!(stats.spool.durable, before.spool.durable + 4);
    assert_eq!(stats.spool.not_durable, before.spool.not_durable);
    backend.set_down(false);
    let report = pipeline.shutdown(5 * SECOND);
    check(&report.stats);
    assert_eq!(
        (report.pending, report.stats.delivered),
        (0, stats.accepted)
    );
}

/// SQLite gives the number of a letter that was revived to the next one that dies.
#[test]
fn a_letter_that_dies_again_is_not_revived_unless_somebody_asks_again() {
    let root = TempDir::new().unwrap();
    let backend = Backend::default();
    let bad: Vec<_> = (0..5).map(call).collect();
    let ids = bad.iter().map(LLMCallData::id);
    backend.0.lock().unwrap().rejects.extend(ids);
    let pipeline = builder(&backend, root.path()).spawn().unwrap();
    for call in bad {
        assert!(pipeline.submit(call).is_accepted());
    }
    wait_for(|| pipeline.stats().spool.dead_letters == 5);
    for asked in 1..=5 {
        assert_eq!(pipeline.send_dead_letters_again(), 5);
        wait_for(|| pipeline.stats().rejected >= 5 + 5 * asked);
        wait_for(|| pipeline.stats().spool.dead_letters == 5);
        // Time for what should not happen.
        std::thread::sleep(Duration::from_millis(100));
        let stats = pipeline.stats();
        assert_eq!(
            (stats.recovered, stats.rejected),
            (5 * asked, 5 + 5 * asked)
        );
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_is_deleted_meanwhile_is_made_anew() {
    let root = TempDir::new().unwrap();
    let dir = root.path().join("spool");
    let backend = Backend::down();
    let pipeline = builder(&backend, &dir)
        .with_max_memory_bytes(64 << 10)
        .spawn()
        .unwrap();
    submit(&pipeline, 0..100);
    fs::remove_dir_all(&dir).unwrap();
    // Memory is full. Until it is noticed, calls go into the file that is not there.
    let _ = pipeline.submit(call(100));
    wait_for(|| dir.join("test").is_dir() && !databases(&dir).is_empty());
    wait_for(|| pipeline.submit(call(101)).is_accepted());
    let before = pipeline.stats().spool.not_durable;
    submit(&pipeline, 110..120);
    assert_eq!(pipeline.stats().spool.not_durable, before);
    let report = pipeline.shutdown(Duration::ZERO);
    check(&report.stats);
    // The next process finds what came after it; what was deleted cannot be had back by it.
    let late = builder(&Backend::default(), &dir).spawn().unwrap();
    let recovered = late.flush_within(5 * SECOND).stats.recovered;
    assert!((11..=12).contains(&recovered), "{recovered}");
    let _ = late.shutdown(SECOND);
}

#[cfg(unix)]
#[test]
fn what_was_deleted_meanwhile_is_sent_all_the_same() {
    let root = TempDir::new().unwrap();
    let dir = root.path().join("spool");
    let backend = Backend::down();
    let pipeline = builder(&backend, &dir)
        .with_max_memory_bytes(64 << 10)
        .spawn()
        .unwrap();
    submit(&pipeline, 0..100);
    fs::remove_dir_all(&dir).unwrap();
    backend.set_down(false);
    let report = pipeline.shutdown(10 * SECOND);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.delivered), (0, 100));
}

#[test]
fn files_that_are_not_ours_are_left_as_they_are() {
    let root = TempDir::new().unwrap();
    leave(root.path(), 0..1);
    let dir = root.path().join("test");
    // Another program's database, and one of a newer version.
    let foreign = dir.join("00000000000000-1-0.db");
    let connection = Connection::open(&foreign).unwrap();
    connection
        .execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)")
        .unwrap();
    drop(connection);
    leave(&root.path().join("newer"), 0..3);
    let newer = dir.join("00000000000000-1-1.db");
    fs::copy(&databases(&root.path().join("newer"))[0], &newer).unwrap();
    let connection = Connection::open(&newer).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(connection);
    // Made, and never written to; a lock of nothing.
    fs::write(dir.join("00000000000000-1-2.db"), "").unwrap();
    fs::write(dir.join("00000000000000-1-3.lock"), "").unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    let before = [fs::read(&foreign).unwrap(), fs::read(&newer).unwrap()];

    let backend = Backend::default();
    let pipeline = builder(&backend, root.path()).spawn().unwrap();
    let report = pipeline.flush_within(5 * SECOND);
    check(&report.stats);
    assert_eq!(
        (report.stats.recovered, report.stats.spool.set_aside),
        (1, 0)
    );
    let _ = pipeline.shutdown(SECOND);
    assert_eq!(
        [fs::read(&foreign).unwrap(), fs::read(&newer).unwrap()],
        before
    );
    let left = files(root.path());
    let left: Vec<&str> = left
        .iter()
        .map(String::as_str)
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert_eq!(
        left,
        [
            "00000000000000-1-0.db",
            "00000000000000-1-1.db",
            "notes.txt"
        ]
    );
}

#[test]
fn a_damaged_file_is_set_aside_and_what_can_be_read_is_sent() {
    let root = TempDir::new().unwrap();
    let ids = leave(root.path(), 0..200);
    // So that all is in one file.
    let database = databases(root.path()).remove(0);
    let connection = Connection::open(&database).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(connection);
    let mut bytes = fs::read(&database).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xEE);
    fs::write(&database, bytes).unwrap();

    let backend = Backend::default();
    let pipeline = builder(&backend, root.path()).spawn().unwrap();
    let report = pipeline.flush_within(5 * SECOND);
    check(&report.stats);
    let delivered: BTreeSet<Uuid> = backend.ids().into_iter().collect();
    assert!(delivered.is_subset(&ids.iter().copied().collect()));
    // From both ends, up to the page.
    assert!((190..200).contains(&delivered.len()), "{}", delivered.len());
    wait_for(|| pipeline.stats().spool.set_aside == 1);
    let stats = pipeline.shutdown(5 * SECOND).stats;
    check(&stats);
    assert_eq!(stats.recovered, stats.delivered + stats.dropped.damaged);
    let name = database.file_name().unwrap().to_str().unwrap();
    assert_eq!(files(root.path())[0], format!("{name}.damaged"));
}

#[test]
fn a_row_that_was_changed_is_kept_and_not_sent() {
    let root = TempDir::new().unwrap();
    leave(root.path(), 0..10);
    let database = databases(root.path()).remove(0);
    let connection = Connection::open(&database).unwrap();
    let changed = "UPDATE calls SET record = CAST(replace(CAST(record AS TEXT), 'gpt-4o', 'gpt-4x') AS BLOB) WHERE id = 3";
    assert_eq!(connection.execute(changed, []).unwrap(), 1);
    assert_eq!(
        connection
            .execute("UPDATE calls SET time = 0 WHERE id = 5", [])
            .unwrap(),
        1
    );
    drop(connection);
    let backend = Backend::default();
    let pipeline = builder(&backend, root.path()).spawn().unwrap();
    let report = pipeline.flush_within(5 * SECOND);
    check(&report.stats);
    assert_eq!(
        (report.stats.delivered, report.stats.dropped.damaged),
        (8, 2)
    );
    wait_for(|| pipeline.stats().spool.dead_letters == 2);
    // It would not help.
    pipeline.send_dead_letters_again();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(pipeline.shutdown(5 * SECOND).stats.delivered, 8);
    let connection = Connection::open(&databases(root.path())[0]).unwrap();
    let kept: i64 = connection
        .query_row(
            "SELECT count(*) FROM dead_letters WHERE reason = 'damaged'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, 2);
}

#[cfg(unix)]
#[test]
fn the_own_file_may_be_damaged_meanwhile() {
    let root = TempDir::new().unwrap();
    let backend = Backend::down();
    let pipeline = builder(&backend, root.path())
        .with_max_memory_bytes(64 << 10)
        .spawn()
        .unwrap();
    submit(&pipeline, 0..500);
    let database = databases(root.path()).remove(0);
    // The log, and with it everything.
    let log = PathBuf::from(format!("{}-wal", database.display()));
    let length = fs::metadata(&log).unwrap().len() as usize;
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xEE; length - 4096], 4096).unwrap();
    for number in 500..520 {
        // Refused where memory is full and the disk takes nothing.
        let _ = pipeline.submit(call(number));
    }
    backend.set_down(false);
    let report = pipeline.flush_within(20 * SECOND);
    check(&report.stats);
    assert_eq!(report.pending, 0, "{:?}", report.stats);
    let before = pipeline.stats();
    wait_for(|| pipeline.stats().spool.set_aside == 1);
    submit(&pipeline, 520..540);
    let stats = pipeline.shutdown(5 * SECOND).stats;
    check(&stats);
    assert_eq!(stats.delivered - before.delivered, 20);
    assert!(
        stats.spool.set_aside == 1 && stats.dropped.damaged > 0,
        "{stats:?}"
    );
}

#[test]
fn a_flush_waits_for_what_waits_on_disk() {
    let dir = TempDir::new().unwrap();
    leave(dir.path(), 0..50);
    let backend = Backend::down();
    let pipeline = builder(&backend, dir.path())
        .with_max_batch_delay(60 * SECOND)
        .with_max_memory_bytes(64 << 10)
        .spawn()
        .unwrap();
    submit(&pipeline, 50..150);
    let report = pipeline.flush_within(Duration::from_millis(300));
    check(&report.stats);
    assert_eq!((report.pending, report.stats.recovered), (150, 50));
    backend.set_down(false);
    let report = pipeline.flush_within(20 * SECOND);
    assert_eq!((report.pending, report.stats.delivered), (0, 150));
    // All was sent once, although some waited in memory and some on disk.
    assert_eq!(
        backend.ids().into_iter().collect::<BTreeSet<_>>().len(),
        150
    );
    assert_eq!(backend.ids().len(), 150);
}

#[test]
fn several_threads_and_a_power_failure() {
    for durability in [Durability::Process, Durability::Power] {
        let dir = TempDir::new().unwrap();
        let backend = Backend::default();
        let spool = Spool::new(dir.path())
            .with_durability(durability)
            .with_write_timeout(5 * SECOND);
        let pipeline = builder(&backend, dir.path())
            .with_spool(spool)
            .spawn()
            .unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let pipeline = &pipeline;
                scope.spawn(move || submit(pipeline, thread * 200..(thread + 1) * 200));
            }
        });
        assert_eq!(pipeline.stats().spool.not_durable, 0);
        let report = pipeline.shutdown(10 * SECOND);
        check(&report.stats);
        assert_eq!((report.pending, report.stats.delivered), (0, 800));
        assert_eq!(
            backend.ids().into_iter().collect::<BTreeSet<_>>().len(),
            800
        );
        assert_eq!(files(dir.path()), Vec::<String>::new());
    }
}

#[test]
fn somebody_else_may_hold_the_write_lock() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::down();
    let spool = Spool::new(dir.path()).with_write_timeout(Duration::from_millis(100));
    let pipeline = builder(&backend, dir.path())
        .with_spool(spool)
        .spawn()
        .unwrap();
    submit(&pipeline, 0..1);
    let mut other = Connection::open(&databases(dir.path())[0]).unwrap();
    let lock = other
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let began = Instant::now();
    submit(&pipeline, 1..20);
    // One of them waits; the others do not try.
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(pipeline.stats().spool.not_durable, 19);
    drop(lock);
    wait_for(|| {
        submit(&pipeline, 20..21);
        std::thread::sleep(Duration::from_millis(50));
        pipeline.stats().spool.durable > 1
    });
    backend.set_down(false);
    let report = pipeline.shutdown(5 * SECOND);
    check(&report.stats);
    assert_eq!(report.pending, 0);
    assert_eq!(backend.ids().len() as u64, report.stats.accepted);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

/// What version 1 of the files wrote must be read by every later one: `fixtures/spool-v1.db` was made on 2026-11-23 and
/// is never made again.
#[test]
fn a_file_of_version_1_is_read() {
    let root = TempDir::new().unwrap();
    let dir = root.path().join("test");
    fs::create_dir(&dir).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/spool-v1.db");
    fs::copy(fixture, dir.join("spool-v1.db")).unwrap();
    let memory = InMemoryExporter::new();
    let pipeline = Pipeline::builder(Renamed(memory.clone()))
        .with_spool(Spool::new(root.path()).with_max_age(Duration::from_secs(100 * 365 * 86_400)))
        .spawn()
        .unwrap();
    assert_eq!(pipeline.flush_within(5 * SECOND).stats.recovered, 2);
    assert_eq!(pipeline.send_dead_letters_again(), 1);
    wait_for(|| memory.len() == 3);
    let stats = pipeline.shutdown(5 * SECOND).stats;
    check(&stats);
    assert_eq!(
        (stats.recovered, stats.delivered, stats.spool.set_aside),
        (3, 3, 0)
    );
    assert_eq!(files(root.path()), Vec::<String>::new());
    let texts: Vec<String> = memory
        .calls()
        .iter()
        .map(|call| serde_json::to_string(&**call).unwrap())
        .collect();
    assert_eq!(
        texts,
        old_calls().map(|call| serde_json::to_string(&call).unwrap())
    );
}

/// What is in the file of version 1: two calls, and a dead letter.
fn old_calls() -> [LLMCallData; 3] {
    [1, 2, 3].map(|number: u8| {
        let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number));
        let start = DateTime::from_timestamp_millis(1_750_000_000_000 + i64::from(number)).unwrap();
        LLMCallData::new("anthropic", "claude-sonnet-4-5")
            .with_id(id)
            .with_start_time(start)
            .with_duration(Duration::from_millis(840))
            .with_messages(
                json!([{"role": "user", "content": "What is the capital of France? 🐋"}]),
            )
            .with_response("x".repeat(usize::from(number) * 3000))
            .with_tokens(500, 150)
            .with_cost(0.003)
            .with_metadata("number", number)
    })
}

fn copy_log_of(database: &Path) {
    let connection = Connection::open(database).unwrap();
    let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    copied.unwrap();
}

fn count(database: &Path, table: &str) -> i64 {
    let connection = Connection::open(database).unwrap();
    let sql = format!("SELECT count(*) FROM {table}");
    connection.query_row(&sql, [], |row| row.get(0)).unwrap()
}

fn write_lock(connection: &mut Connection) -> rusqlite::Transaction<'_> {
    connection.busy_timeout(5 * SECOND).unwrap();
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap()
}

#[test]
fn a_flipped_bit_in_the_version_loses_nothing() {
    let dir = TempDir::new().unwrap();
    leave(dir.path(), 0..10);
    let database = databases(dir.path()).remove(0);
    copy_log_of(&database);
    let mut bytes = fs::read(&database).unwrap();
    assert_eq!(bytes[63], 1);
    bytes[63] = 0;
    fs::write(&database, bytes).unwrap();
    let pipeline = builder(&Backend::default(), dir.path()).spawn().unwrap();
    let report = pipeline.flush_within(5 * SECOND);
    assert_eq!((report.stats.recovered, report.stats.delivered), (10, 10));
}

#[test]
fn a_disk_that_refuses_for_a_moment_drops_no_more_than_there_is_too_much() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::down();
    let spool = Spool::new(dir.path())
        .with_max_bytes(4 << 20)
        .with_write_timeout(Duration::from_millis(50));
    let pipeline = builder(&backend, dir.path())
        .with_max_memory_bytes(256 << 10)
        .with_overflow(Overflow::DropOldest)
        .with_spool(spool)
        .spawn()
        .unwrap();
    while pipeline.stats().dropped.overflow == 0 {
        submit(&pipeline, 0..1);
    }
    while pipeline.stats().spool.bytes <= 4 << 20 {
        submit(&pipeline, 0..1);
    }
    let mut other = Connection::open(&databases(dir.path())[0]).unwrap();
    let lock = write_lock(&mut other);
    let before = pipeline.stats();
    submit(&pipeline, 0..2);
    std::thread::sleep(3 * SECOND / 2);
    let after = pipeline.stats();
    check(&after);
    drop(lock);
    let dropped = after.dropped.overflow - before.dropped.overflow;
    assert!(dropped < 300, "{dropped}");
}

#[test]
fn a_call_that_somebody_deletes_holds_up_no_flush() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::down();
    let pipeline = builder(&backend, dir.path())
        .with_max_memory_bytes(64 << 10)
        .spawn()
        .unwrap();
    submit(&pipeline, 0..500);
    let other = Connection::open(&databases(dir.path())[0]).unwrap();
    other.busy_timeout(5 * SECOND).unwrap();
    let sql = "DELETE FROM calls WHERE id = 400";
    assert_eq!(other.execute(sql, []).unwrap(), 1);
    backend.set_down(false);
    let report = pipeline.flush_within(10 * SECOND);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.dropped.damaged), (0, 1));
    assert_eq!(report.stats.delivered, 499);
}

#[test]
fn dead_letters_of_a_file_that_is_locked_do_not_multiply() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::default();
    let bad = call(7);
    backend.0.lock().unwrap().rejects.insert(bad.id());
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    assert!(pipeline.submit(bad).is_accepted());
    let _ = pipeline.shutdown(5 * SECOND);
    let mut other = Connection::open(&databases(dir.path())[0]).unwrap();
    let lock = write_lock(&mut other);
    let spool = Spool::new(dir.path()).with_write_timeout(Duration::from_millis(20));
    let pipeline = builder(&backend, dir.path())
        .with_spool(spool)
        .spawn()
        .unwrap();
    for number in 0..10 {
        submit(&pipeline, number..number + 1);
        std::thread::sleep(Duration::from_millis(60));
    }
    drop(lock);
    drop(other);
    let _ = pipeline.shutdown(5 * SECOND);
    let all = databases(dir.path());
    let all: i64 = all.iter().map(|file| count(file, "dead_letters")).sum();
    assert_eq!(all, 1);
}

#[test]
fn what_could_not_be_deleted_is_deleted_later() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::down();
    let bad = call(7);
    backend.0.lock().unwrap().rejects.insert(bad.id());
    let spool = Spool::new(dir.path()).with_write_timeout(Duration::from_millis(50));
    let pipeline = builder(&backend, dir.path())
        .with_spool(spool)
        .spawn()
        .unwrap();
    submit(&pipeline, 0..3);
    assert!(pipeline.submit(bad).is_accepted());
    let database = databases(dir.path()).remove(0);
    let mut other = Connection::open(&database).unwrap();
    let lock = write_lock(&mut other);
    backend.set_down(false);
    wait_for(|| pipeline.stats().pending == 0);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(count(&database, "calls"), 4);
    drop(lock);
    // Nothing more is submitted.
    wait_for(|| count(&database, "calls") == 0 && count(&database, "dead_letters") == 1);
    wait_for(|| pipeline.stats().spool.dead_letters == 1);
}

#[test]
fn all_dead_letters_are_kept_and_all_are_sent_again() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::default();
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    for number in 0..5000 {
        let call = call(number);
        backend.0.lock().unwrap().rejects.insert(call.id());
        assert!(pipeline.submit(call).is_accepted());
    }
    let report = pipeline.flush_within(30 * SECOND);
    check(&report.stats);
    assert_eq!(report.stats.spool.dead_letters, 5000);
    backend.0.lock().unwrap().rejects.clear();
    assert_eq!(pipeline.send_dead_letters_again(), 5000);
    wait_for(|| pipeline.stats().delivered == 5000);
    let stats = pipeline.shutdown(10 * SECOND).stats;
    check(&stats);
    assert_eq!((stats.recovered, stats.spool.dead_letters), (5000, 0));
    assert_eq!(
        backend.ids().into_iter().collect::<BTreeSet<_>>().len(),
        5000
    );
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn old_dead_letters_are_forgotten() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::default();
    let spool = Spool::new(dir.path()).with_max_age(SECOND);
    let pipeline = builder(&backend, dir.path())
        .with_spool(spool)
        .spawn()
        .unwrap();
    for number in 0..700 {
        let call = call(number);
        backend.0.lock().unwrap().rejects.insert(call.id());
        assert!(pipeline.submit(call).is_accepted());
    }
    wait_for(|| pipeline.stats().rejected == 700);
    wait_for(|| pipeline.stats().spool.dead_letters == 0);
    assert_eq!(count(&databases(dir.path())[0], "dead_letters"), 0);
}

/// Whoever is told of dead letters is slow, and the end comes.
#[test]
fn what_falls_off_stays_until_it_is_told() {
    let dir = TempDir::new().unwrap();
    leave(dir.path(), 0..200);
    std::thread::sleep(11 * SECOND / 10);
    let told = Arc::new(Mutex::new(0));
    let letters = Arc::clone(&told);
    let backend = Backend::default();
    let pipeline = Pipeline::builder(backend.clone())
        .with_dead_letters(move |_| {
            *letters.lock().unwrap() += 1;
            std::thread::sleep(Duration::from_millis(10));
        })
        .with_spool(Spool::new(dir.path()).with_max_age(SECOND))
        .spawn()
        .unwrap();
    std::thread::sleep(SECOND / 2);
    check(&pipeline.shutdown(Duration::from_millis(200)).stats);
    wait_for(|| {
        let left: i64 = databases(dir.path())
            .iter()
            .map(|file| count(file, "calls"))
            .sum();
        *told.lock().unwrap() + left >= 200
    });
    // Not one of them was sent.
    assert_eq!(backend.ids().len(), 0);
}

/// It may not be ours to send. Only the administrator can give a file away.
#[cfg(unix)]
#[test]
fn what_is_in_another_users_directory_is_not_sent() {
    use std::os::unix::fs::chown;
    const SOMEBODY: Option<u32> = Some(12_345);
    let dir = TempDir::new().unwrap();
    leave(dir.path(), 0..5);
    let own = dir.path().join("test");
    for name in files(dir.path()) {
        if chown(own.join(name), SOMEBODY, None).is_err() {
            return;
        }
    }
    chown(&own, SOMEBODY, None).unwrap();
    let backend = Backend::default();
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    std::thread::sleep(SECOND / 2);
    assert_eq!(pipeline.flush_within(Duration::ZERO).stats.recovered, 0);
    assert_eq!(backend.ids().len(), 0);
}

#[test]
fn the_log_stays_small() {
    let dir = TempDir::new().unwrap();
    let pipeline = builder(&Backend::down(), dir.path())
        .with_max_memory_bytes(1 << 20)
        .spawn()
        .unwrap();
    let content = "x".repeat(50_000);
    for _ in 0..800 {
        let call = LLMCallData::new("openai", "gpt-4o").with_response(&content);
        assert!(pipeline.submit(call).is_accepted());
    }
    let log = format!("{}-wal", databases(dir.path())[0].display());
    let bytes = fs::metadata(log).unwrap().len();
    assert!(bytes < 25 << 20, "{bytes}");
}

/// SQLite would delete the log, and every call with it.
#[test]
fn a_file_that_lost_all_but_its_log_is_set_aside_with_it() {
    let dir = TempDir::new().unwrap();
    leave(dir.path(), 0..10);
    let database = databases(dir.path()).remove(0);
    fs::write(&database, "").unwrap();
    let pipeline = builder(&Backend::default(), dir.path()).spawn().unwrap();
    let _ = pipeline.flush_within(5 * SECOND);
    let stats = pipeline.shutdown(5 * SECOND).stats;
    assert_eq!((stats.recovered, stats.spool.set_aside), (0, 1));
    let name = database.file_name().unwrap().to_str().unwrap();
    let kept = [format!("{name}.damaged"), format!("{name}.damaged-wal")];
    assert_eq!(files(dir.path()), kept);
}

/// A page that went back in time is a sound page; what it hides must not be deleted.
#[test]
fn calls_that_a_damaged_page_hides_are_set_aside() {
    let dir = TempDir::new().unwrap();
    leave(dir.path(), 0..100);
    let database = databases(dir.path()).remove(0);
    copy_log_of(&database);
    let connection = Connection::open(&database).unwrap();
    let sql = "SELECT rootpage FROM sqlite_master WHERE name = 'calls'";
    let root: usize = connection
        .query_row(sql, [], |row| row.get::<_, u32>(0))
        .unwrap() as usize;
    drop(connection);
    let mut bytes = fs::read(&database).unwrap();
    let page = &mut bytes[(root - 1) * 4096..root * 4096];
    page.fill(0);
    // A leaf of a table, without cells.
    page[..8].copy_from_slice(&[13, 0, 0, 0, 0, 16, 0, 0]);
    fs::write(&database, bytes).unwrap();
    let pipeline = builder(&Backend::default(), dir.path()).spawn().unwrap();
    let _ = pipeline.flush_within(5 * SECOND);
    wait_for(|| pipeline.stats().spool.set_aside == 1);
    assert_eq!(pipeline.shutdown(5 * SECOND).stats.recovered, 0);
    let name = database.file_name().unwrap().to_str().unwrap();
    assert_eq!(files(dir.path())[0], format!("{name}.damaged"));
}
