//! What can be seen of a spool from outside, beside pipelines that use it.
#![cfg(feature = "spool")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use beluga_o11y::{BatchReport, CallSink, ExportError, LLMCallData, Submission, TraceExporter};
use beluga_o11y_pipeline::{
    Pipeline, PipelineBuilder, Spool, SpoolDirectory, SpoolError, SpoolFile,
};
use chrono::Utc;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);

/// Keeps what it takes, in order.
#[derive(Clone)]
struct Backend {
    name: &'static str,
    does: Arc<Mutex<Does>>,
    ids: Arc<Mutex<Vec<Uuid>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Does {
    Take,
    Fail,
    Reject,
    /// Rejects those whose answer begins with a 7.
    RejectSevens,
}

impl Backend {
    fn new(does: Does) -> Self {
        Self::named("test", does)
    }

    fn named(name: &'static str, does: Does) -> Self {
        let does = Arc::new(Mutex::new(does));
        let ids = Arc::default();
        Self { name, does, ids }
    }

    fn set(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn ids(&self) -> Vec<Uuid> {
        self.ids.lock().unwrap().clone()
    }
}

#[async_trait]
impl TraceExporter for Backend {
    fn name(&self) -> &str {
        self.name
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        let does = *self.does.lock().unwrap();
        let seven = || serde_json::to_string(&call.response).is_ok_and(|r| r.starts_with("\"7"));
        match does {
            Does::Fail => Err(ExportError::temporary(self.name, "down")),
            Does::Reject => Err(refusal(self.name)),
            Does::RejectSevens if seven() => Err(refusal(self.name)),
            Does::Take | Does::RejectSevens => {
                self.ids.lock().unwrap().push(call.id());
                Ok(())
            }
        }
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

fn refusal(name: &str) -> ExportError {
    let error = ExportError::rejected(name.to_owned(), "422 Unprocessable Entity");
    error.with_status(422).with_response_snippet("no SECRET")
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

fn wait_for(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < 20 * SECOND);
        thread::sleep(Duration::from_millis(2));
    }
}

/// Calls that a process of before has left in a directory.
fn leave(dir: &Path, numbers: std::ops::Range<usize>) -> Vec<Uuid> {
    let pipeline = builder(&Backend::new(Does::Fail), dir).spawn().unwrap();
    let ids = submit(&pipeline, numbers);
    let report = pipeline.shutdown(Duration::ZERO);
    assert!(report.stats.spool.durable >= ids.len() as u64);
    ids
}

/// Dead letters that a process of before has left in a directory.
fn leave_dead(dir: &Path, numbers: std::ops::Range<usize>) -> Vec<Uuid> {
    let pipeline = builder(&Backend::new(Does::Reject), dir).spawn().unwrap();
    let ids = submit(&pipeline, numbers);
    let report = pipeline.shutdown(10 * SECOND);
    assert_eq!(report.stats.spool.dead_letters, ids.len() as u64);
    ids
}

fn look(dir: &Path) -> Vec<SpoolFile> {
    SpoolDirectory::open(dir).unwrap().files().unwrap()
}

fn only(dir: &Path) -> SpoolFile {
    let mut files = look(dir);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn ids(file: &SpoolFile) -> Vec<Uuid> {
    let calls = file.calls().unwrap();
    calls.map(|call| call.unwrap().id()).collect()
}

fn dead_ids(file: &SpoolFile) -> Vec<Uuid> {
    let letters = file.dead_letters().unwrap();
    letters
        .map(|letter| letter.unwrap().call.unwrap().id())
        .collect()
}

/// Each file of the test's exporter with what is in it.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir.join("test"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn log_of(database: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", database.display()))
}

fn copy_log_of(database: &Path) {
    let connection = Connection::open(database).unwrap();
    let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    copied.unwrap();
}

#[test]
fn a_summary_says_what_is_there() {
    let dir = TempDir::new().unwrap();
    let began = Utc::now();
    let waiting = Backend::new(Does::Fail);
    let refused = Backend::named("My Own", Does::Reject);
    let one = builder(&waiting, dir.path()).spawn().unwrap();
    let other = builder(&refused, dir.path()).spawn().unwrap();
    let waits = submit(&one, 0..30);
    let dies = submit(&other, 0..20);
    wait_for(|| other.stats().spool.dead_letters == 20);

    let files = look(dir.path());
    let names: Vec<&str> = files.iter().map(SpoolFile::exporter).collect();
    assert_eq!(names, ["My Own", "test"]);
    for file in &files {
        assert!(file.is_in_use() && !file.is_damaged());
        assert_eq!(file.process_id(), Some(process::id()));
        assert!(file.path().is_file());
    }
    let summary = files[1].summary().unwrap();
    assert_eq!((summary.waiting, summary.dead_letters), (30, 0));
    let oldest = summary.oldest.unwrap();
    assert!(oldest >= began - SECOND && oldest <= Utc::now());
    assert!(summary.bytes > 30 * 1000, "{summary:?}");
    let summary = files[0].summary().unwrap();
    assert_eq!((summary.waiting, summary.oldest), (0, None));
    assert_eq!((summary.dead_letters, summary.to_send_again), (20, 0));
    assert_eq!(ids(&files[1]), waits);
    assert_eq!(
        dead_ids(&files[0]).into_iter().collect::<BTreeSet<_>>(),
        dies.into_iter().collect()
    );

    // And when they have ended.
    let _ = one.shutdown(Duration::ZERO);
    let _ = other.shutdown(Duration::ZERO);
    let files = look(dir.path());
    assert!(files.iter().all(|file| !file.is_in_use()));
    assert_eq!(files[1].summary().unwrap().oldest, Some(oldest));
    assert_eq!(ids(&files[1]), waits);
}

#[test]
fn a_dead_letter_reads_like_any_other() {
    let dir = TempDir::new().unwrap();
    let lines = dir.path().join("dead.jsonl");
    let pipeline = builder(&Backend::new(Does::Reject), dir.path())
        .with_dead_letter_file(&lines)
        .spawn()
        .unwrap();
    submit(&pipeline, 0..3);
    let _ = pipeline.shutdown(5 * SECOND);
    let letters = only(dir.path()).dead_letters().unwrap();
    let letters: Vec<_> = letters.map(Result::unwrap).collect();
    let debug = format!("{letters:?}");
    assert!(
        debug.contains("422") && !debug.contains("SECRET"),
        "{debug}"
    );
    let told: Vec<Value> = letters
        .iter()
        .map(|letter| serde_json::to_value(letter).unwrap())
        .collect();
    assert_eq!(
        (told[0]["exporter"].clone(), told[0]["response"].clone()),
        ("test".into(), "no SECRET".into())
    );
    let text = fs::read_to_string(&lines).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(told, lines);
}

/// The file of version 1 has no log: SQLite makes an empty one.
#[test]
fn a_file_of_version_1_is_seen() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("test")).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/spool-v1.db");
    let copy = dir.path().join("test").join("spool-v1.db");
    fs::copy(fixture, &copy).unwrap();
    let file = only(dir.path());
    assert_eq!(
        (file.process_id(), file.is_in_use(), file.is_damaged()),
        (None, false, false)
    );
    let summary = file.summary().unwrap();
    assert_eq!((summary.waiting, summary.dead_letters), (2, 1));
    assert_eq!((ids(&file).len(), dead_ids(&file).len()), (2, 1));
    assert_eq!(fs::read(&copy).unwrap(), fs::read(fixture).unwrap());
    let backend = Backend::new(Does::Take);
    let pipeline = Pipeline::builder(backend.clone())
        .with_spool(Spool::new(dir.path()).with_max_age(Duration::from_secs(100 * 365 * 86_400)))
        .spawn()
        .unwrap();
    assert_eq!(pipeline.flush_within(5 * SECOND).stats.recovered, 2);
    assert_eq!(pipeline.send_dead_letters_again(), 1);
    wait_for(|| backend.ids().len() == 3);
    let _ = pipeline.shutdown(5 * SECOND);
    assert_eq!(contents(dir.path()).len(), 0);
}

#[test]
fn to_look_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let dead = leave_dead(dir.path(), 0..50);
    let waits = leave(dir.path(), 50..350);
    let before = contents(dir.path());
    assert!(before.keys().any(|name| name.ends_with("-wal")));
    for _ in 0..3 {
        for file in look(dir.path()) {
            file.summary().unwrap();
            for call in file.calls().unwrap() {
                call.unwrap();
            }
            // Not to the end.
            file.calls().unwrap().next();
            file.dead_letters().unwrap().for_each(|letter| {
                letter.unwrap();
            });
        }
    }
    let mut after = contents(dir.path());
    for (name, bytes) in before {
        let same = after.remove(&name).unwrap() == bytes;
        // What SQLite knows of the log it may find out anew.
        assert!(same || name.ends_with("-shm"), "{name}");
    }
    assert_eq!(after.len(), 0, "{:?}", after.keys());

    // The next process finds everything, once.
    let backend = Backend::new(Does::Take);
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    let report = pipeline.flush_within(10 * SECOND);
    assert_eq!((report.stats.recovered, report.pending), (300, 0));
    assert_eq!(backend.ids(), waits);
    assert_eq!(pipeline.stats().spool.dead_letters, dead.len() as u64);
}

#[test]
fn what_is_read_need_not_fit_into_memory() {
    let dir = TempDir::new().unwrap();
    let left = leave(dir.path(), 0..2500);
    let file = only(dir.path());
    assert_eq!(file.summary().unwrap().waiting, 2500);
    assert_eq!(ids(&file), left);
    // Only some of it is read ahead.
    let mut calls = file.calls().unwrap();
    assert_eq!(calls.next().unwrap().unwrap().id(), left[0]);
    let connection = Connection::open(file.path()).unwrap();
    let deleted = connection.execute("DELETE FROM calls WHERE id BETWEEN 300 AND 2400", []);
    assert_eq!(deleted.unwrap(), 2101);
    // What comes later is not meant.
    connection
        .execute(
            "INSERT INTO calls VALUES (3000, 0, 1, 0, CAST('{}' AS BLOB))",
            [],
        )
        .unwrap();
    let rest: Vec<Uuid> = calls.map(|call| call.unwrap().id()).collect();
    assert!((398..498).contains(&rest.len()), "{}", rest.len());
    assert_eq!(rest[298 - 1..].last(), left.last());
}

/// Nor does the log grow without bound, while somebody reads all the time.
#[test]
fn nobody_who_writes_is_in_the_way_of_who_looks_or_the_other_way_round() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::new(Does::RejectSevens);
    let pipeline = builder(&backend, dir.path())
        .with_max_memory_bytes(1 << 20)
        .spawn()
        .unwrap();
    let done = AtomicBool::new(false);
    let (submitted, seen, log) = thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let (mut seen, mut log) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                for file in look(dir.path()) {
                    assert!(file.is_in_use() && !file.is_damaged());
                    file.summary().unwrap();
                    seen += file.calls().unwrap().map(Result::unwrap).count();
                    seen += dead_ids(&file).len();
                    let bytes = fs::metadata(log_of(file.path())).unwrap().len();
                    log = log.max(bytes);
                }
            }
            (seen, log)
        });
        let mut submitted = BTreeSet::new();
        for number in 0..30_000 {
            let id = submit(&pipeline, number..number + 1)[0];
            assert!(submitted.insert(id));
        }
        let report = pipeline.flush_within(60 * SECOND);
        assert_eq!(report.pending, 0);
        done.store(true, Ordering::Relaxed);
        let (seen, log) = looker.join().unwrap();
        (submitted, seen, log)
    });
    let stats = pipeline.stats();
    assert_eq!(stats.spool.not_durable, 0, "{stats:?}");
    // 7, 70 to 79 and so on.
    assert_eq!((stats.rejected, stats.delivered), (1111, 30_000 - 1111));
    assert_eq!(stats.spool.set_aside, 0);
    let delivered: BTreeSet<Uuid> = backend.ids().into_iter().collect();
    assert_eq!(delivered.len(), backend.ids().len());
    assert!(delivered.is_subset(&submitted));
    assert!(seen > 0);
    assert!(log < 64 << 20, "{log}");
    let dead = dead_ids(&only(dir.path()));
    assert_eq!(dead.len(), 1111);
    assert!(dead.iter().all(|id| !delivered.contains(id)));
}

#[test]
fn the_program_sends_dead_letters_that_are_marked() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::new(Does::Reject);
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    let dead = submit(&pipeline, 0..170);
    wait_for(|| pipeline.stats().spool.dead_letters == 170);
    backend.set(Does::Take);
    let file = only(dir.path());
    assert_eq!(file.send_dead_letters_again().unwrap(), 170);
    let began = Instant::now();
    wait_for(|| pipeline.stats().delivered == 170);
    assert!(began.elapsed() < 8 * SECOND, "{:?}", began.elapsed());
    let sent: BTreeSet<Uuid> = backend.ids().into_iter().collect();
    assert_eq!(
        (sent, backend.ids().len()),
        (dead.into_iter().collect(), 170)
    );
    assert_eq!(file.send_dead_letters_again().unwrap(), 0);
    let stats = pipeline.shutdown(5 * SECOND).stats;
    assert_eq!((stats.recovered, stats.spool.dead_letters), (170, 0));
    assert_eq!(stats.spool.not_durable, 0);
    assert_eq!(contents(dir.path()).len(), 0);
}

#[test]
fn the_next_program_sends_dead_letters_that_are_marked() {
    let dir = TempDir::new().unwrap();
    let dead = leave_dead(dir.path(), 0..4000);
    let file = only(dir.path());
    let database = fs::read(file.path()).unwrap();
    assert_eq!(file.send_dead_letters_again().unwrap(), 4000);
    // Also those that were marked before.
    assert_eq!(file.send_dead_letters_again().unwrap(), 4000);
    let summary = file.summary().unwrap();
    assert_eq!((summary.dead_letters, summary.to_send_again), (4000, 4000));
    let mut letters = file.dead_letters().unwrap();
    assert!(letters.all(|letter| letter.unwrap().send_again));
    // However large it is, the log is left to the one who takes it over.
    assert_eq!(fs::read(file.path()).unwrap(), database);
    let backend = Backend::new(Does::Take);
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    wait_for(|| pipeline.stats().delivered == 4000);
    assert_eq!(
        backend.ids().into_iter().collect::<BTreeSet<_>>(),
        dead.into_iter().collect()
    );
    let _ = pipeline.shutdown(5 * SECOND);
    assert_eq!(contents(dir.path()).len(), 0);
}

/// Many are marked while the program writes: each write of it waits for few of them.
#[test]
fn to_mark_dead_letters_keeps_nobody_waiting() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::new(Does::Reject);
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    submit(&pipeline, 0..3000);
    wait_for(|| pipeline.stats().spool.dead_letters == 3000);
    backend.set(Does::Take);
    let file = only(dir.path());
    let slowest = thread::scope(|scope| {
        let marks = scope.spawn(|| file.send_dead_letters_again().unwrap());
        let mut slowest = Duration::ZERO;
        while !marks.is_finished() {
            let began = Instant::now();
            submit(&pipeline, 3000..3001);
            slowest = slowest.max(began.elapsed());
        }
        assert_eq!(marks.join().unwrap(), 3000);
        slowest
    });
    assert!(slowest < SECOND, "{slowest:?}");
    wait_for(|| pipeline.stats().recovered == 3000);
    assert_eq!(pipeline.flush_within(20 * SECOND).pending, 0);
    assert_eq!(pipeline.stats().spool.not_durable, 0);
}

#[test]
fn a_damaged_call_is_told_of_and_the_rest_is_read() {
    let dir = TempDir::new().unwrap();
    let left = leave(dir.path(), 0..10);
    let file = only(dir.path());
    let connection = Connection::open(file.path()).unwrap();
    let changed = "UPDATE calls
        SET record = CAST(replace(CAST(record AS TEXT), 'gpt-4o', 'gpt-4x') AS BLOB) WHERE id = 3";
    assert_eq!(connection.execute(changed, []).unwrap(), 1);
    let garbled = "UPDATE calls SET time = 'no time', checksum = x'00' WHERE id = 5";
    assert_eq!(connection.execute(garbled, []).unwrap(), 1);
    drop(connection);
    let items: Vec<_> = file.calls().unwrap().collect();
    assert_eq!(items.len(), 10);
    for (index, item) in items.iter().enumerate() {
        match item {
            Ok(call) => assert_eq!(call.id(), left[index]),
            Err(SpoolError::DamagedCall { id, path }) => {
                assert!([3, 5].contains(id) && index as i64 == id - 1);
                assert_eq!(path, file.path());
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(items.iter().filter(|item| item.is_err()).count(), 2);
    let summary = file.summary().unwrap();
    assert_eq!((summary.waiting, summary.oldest.is_some()), (10, true));

    // The pipeline keeps them as they are, and nobody can send them.
    let pipeline = builder(&Backend::new(Does::Take), dir.path())
        .spawn()
        .unwrap();
    wait_for(|| pipeline.stats().spool.dead_letters == 2);
    let _ = pipeline.shutdown(5 * SECOND);
    let file = only(dir.path());
    let letters = file.dead_letters().unwrap();
    let letters: Vec<_> = letters.map(Result::unwrap).collect();
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!((&*letter.reason, letter.send_again), ("damaged", false));
        assert!(letter.call.is_none());
        let json = serde_json::to_value(&letter).unwrap();
        assert_eq!(json["record"], Value::Null);
        assert_eq!(json["error"], "spool: the record is not what was written");
    }
    assert_eq!(file.send_dead_letters_again().unwrap(), 0);
    assert_eq!(file.summary().unwrap().to_send_again, 0);
}

#[test]
fn a_damaged_file_is_told_of() {
    let dir = TempDir::new().unwrap();
    let left = leave(dir.path(), 0..200);
    let file = only(dir.path());
    copy_log_of(file.path());
    let mut bytes = fs::read(file.path()).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xEE);
    fs::write(file.path(), &bytes).unwrap();
    let (calls, errors): (Vec<_>, Vec<_>) = file.calls().unwrap().partition(Result::is_ok);
    let read: Vec<Uuid> = calls.into_iter().map(|call| call.unwrap().id()).collect();
    assert!((90..110).contains(&read.len()), "{}", read.len());
    assert_eq!(read, left[..read.len()]);
    assert!(matches!(&*errors, [Err(SpoolError::Damaged { .. })]));
    let error = file.summary().unwrap_err();
    assert!(matches!(error, SpoolError::Damaged { .. }), "{error}");

    // Set aside, it is still there to be looked at.
    let pipeline = builder(&Backend::new(Does::Take), dir.path())
        .spawn()
        .unwrap();
    wait_for(|| pipeline.stats().spool.set_aside == 1);
    let _ = pipeline.shutdown(5 * SECOND);
    let file = only(dir.path());
    assert!(file.is_damaged() && !file.is_in_use());
    assert_eq!(file.process_id(), Some(process::id()));
    assert_eq!(file.exporter(), "test");
    assert!(file.calls().unwrap().count() > 90);

    // No database at all.
    fs::write(file.path(), "x".repeat(10_000)).unwrap();
    let error = file.calls().unwrap_err();
    assert!(matches!(error, SpoolError::Damaged { .. }), "{error}");
}

#[test]
fn nobody_would_send_what_was_set_aside() {
    let dir = TempDir::new().unwrap();
    let dead = leave_dead(dir.path(), 0..3);
    let file = only(dir.path());
    let aside = PathBuf::from(format!("{}.damaged", file.path().display()));
    fs::rename(file.path(), &aside).unwrap();
    fs::rename(log_of(file.path()), log_of(&aside)).unwrap();
    let file = only(dir.path());
    assert!(file.is_damaged());
    assert_eq!(dead_ids(&file), dead);
    assert_eq!(file.send_dead_letters_again().unwrap(), 0);
    assert_eq!(file.summary().unwrap().to_send_again, 0);
}

/// SQLite would delete the log.
#[test]
fn a_file_that_lost_all_but_its_log_is_left_alone() {
    let dir = TempDir::new().unwrap();
    leave(dir.path(), 0..10);
    let file = only(dir.path());
    let log = fs::read(log_of(file.path())).unwrap();
    fs::write(file.path(), "").unwrap();
    for error in [
        file.summary().unwrap_err(),
        file.calls().unwrap_err(),
        file.send_dead_letters_again().unwrap_err(),
    ] {
        assert!(matches!(error, SpoolError::Damaged { .. }), "{error}");
    }
    assert_eq!(fs::read(log_of(file.path())).unwrap(), log);
}

#[test]
fn what_is_not_ours_is_named() {
    let dir = TempDir::new().unwrap();
    let own = dir.path().join("test");
    leave(dir.path(), 0..3);
    let newer = only(dir.path());
    let connection = Connection::open(newer.path()).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(connection);
    let error = newer.summary().unwrap_err();
    assert!(
        matches!(error, SpoolError::Newer { version: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("format 2"), "{error}");
    fs::remove_file(newer.path()).unwrap();
    fs::remove_file(log_of(newer.path())).unwrap();

    let foreign = own.join("foreign.db");
    let connection = Connection::open(&foreign).unwrap();
    connection
        .execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)")
        .unwrap();
    drop(connection);
    let before = fs::read(&foreign).unwrap();
    fs::create_dir(own.join("directory.db")).unwrap();
    fs::write(own.join("notes.txt"), "mine").unwrap();
    // Made, and never written to.
    fs::write(own.join("00000000000000-1-2.db"), "").unwrap();
    // Not the directories of exporters.
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    fs::write(dir.path().join("lost+found").join("a.db"), "").unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let files = look(dir.path());
    assert_eq!(files.len(), 3, "{files:?}");
    assert_eq!(files[0].summary().unwrap().waiting, 0);
    assert_eq!(files[0].process_id(), Some(1));
    let error = files[1].summary().unwrap_err();
    assert!(matches!(error, SpoolError::NotAFile { .. }), "{error}");
    for error in [
        files[2].summary().unwrap_err(),
        files[2].dead_letters().unwrap_err(),
        files[2].send_dead_letters_again().unwrap_err(),
    ] {
        assert!(matches!(error, SpoolError::Foreign { .. }), "{error}");
    }
    assert_eq!(fs::read(&foreign).unwrap(), before);
}

#[test]
fn what_is_no_directory_is_named() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    let error = SpoolDirectory::open(&missing).unwrap_err();
    assert!(matches!(error, SpoolError::Missing { .. }), "{error}");
    assert!(!missing.exists());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = SpoolDirectory::open(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    let error = SpoolDirectory::open(&file).unwrap_err();
    assert!(matches!(error, SpoolError::NotADirectory { .. }), "{error}");
    fs::remove_file(&file).unwrap();
    assert_eq!(look(dir.path()).len(), 0);
}

#[test]
fn what_vanishes_meanwhile_is_empty() {
    let dir = TempDir::new().unwrap();
    let left = leave(dir.path(), 0..500);
    let file = only(dir.path());
    let mut calls = file.calls().unwrap();
    assert_eq!(calls.next().unwrap().unwrap().id(), left[0]);
    let backend = Backend::new(Does::Take);
    let pipeline = builder(&backend, dir.path()).spawn().unwrap();
    assert_eq!(pipeline.flush_within(10 * SECOND).stats.delivered, 500);
    wait_for(|| !file.path().exists());
    // What was read before it went.
    assert!(calls.all(|call| call.is_ok()));
    let summary = file.summary().unwrap();
    assert_eq!((summary.waiting, summary.bytes), (0, 0));
    assert_eq!(file.calls().unwrap().count(), 0);
    assert_eq!(file.dead_letters().unwrap().count(), 0);
    assert_eq!(file.send_dead_letters_again().unwrap(), 0);
    let _ = pipeline.shutdown(5 * SECOND);
    assert_eq!(contents(dir.path()).len(), 0);
}

/// Files come and go, and each of those who start gets what the one before has left, although somebody looks all the time.
#[test]
fn who_looks_keeps_no_file_from_the_next_program() {
    let dir = TempDir::new().unwrap();
    let backend = Backend::new(Does::Take);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let looker = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for file in look(dir.path()) {
                    file.summary().unwrap();
                    file.calls().unwrap().for_each(|call| {
                        call.unwrap();
                    });
                }
            }
        });
        for number in 0..15 {
            let left = leave(dir.path(), number..number + 5);
            let pipeline = builder(&backend, dir.path()).spawn().unwrap();
            let report = pipeline.flush_within(10 * SECOND);
            assert_eq!((report.stats.recovered, report.pending), (5, 0));
            assert!(backend.ids().ends_with(&left));
            let _ = pipeline.shutdown(5 * SECOND);
        }
        done.store(true, Ordering::Relaxed);
        looker.join().unwrap();
    });
    assert_eq!(backend.ids().len(), 75);
    let left = contents(dir.path());
    assert_eq!(left.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_are_not_followed() {
        let dir = TempDir::new().unwrap();
        leave(dir.path(), 0..3);
        let file = only(dir.path());
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(file.path(), &elsewhere).unwrap();
        symlink(&elsewhere, file.path()).unwrap();
        symlink(dir.path().join("test"), dir.path().join("other")).unwrap();
        let file = only(dir.path());
        for error in [
            file.summary().unwrap_err(),
            file.send_dead_letters_again().unwrap_err(),
        ] {
            assert!(matches!(error, SpoolError::NotAFile { .. }), "{error}");
        }
        // The directory itself may be named by one.
        let link = dir.path().join("link");
        symlink(dir.path(), &link).unwrap();
        assert_eq!(look(&link).len(), 1);
    }

    #[test]
    fn what_sqlite_makes_is_the_owners_only() {
        let dir = TempDir::new().unwrap();
        leave(dir.path(), 0..3);
        let file = only(dir.path());
        copy_log_of(file.path());
        assert!(!log_of(file.path()).exists());
        assert_eq!(file.summary().unwrap().waiting, 3);
        for entry in fs::read_dir(dir.path().join("test")).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
        }
    }
}
