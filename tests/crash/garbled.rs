//! What a crash of the system or a bad disk may make of the files: cut, overwritten with zeros or anything, bits
//! flipped, pages exchanged or gone back in time, one of them missing.
//!
//! Whatever it is, the next process starts, sends nothing that was never submitted, and loses no file.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, mem,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use beluga_o11y::{BatchReport, CallSink, ExportError, LLMCallData, TraceExporter, async_trait};
use beluga_o11y_pipeline::{Pipeline, PipelineBuilder, PipelineStats, Spool};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{MILLIS, PATIENCE, SECOND, check};

/// How many ways of breaking the files are tried; the environment may ask for more.
const CASES: u32 = 10_000;
const CASES_VARIABLE: &str = "BELUGA_O11Y_CRASH_CASES";
const THREADS: u32 = 2;
const PAGE: usize = 4096;
/// The header of a log, and that of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Keeps what it takes, as text; takes nothing, or all but some.
#[derive(Clone, Default)]
struct Backend(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    down_for: BTreeSet<Uuid>,
    calls: Vec<(Uuid, String)>,
}

#[async_trait]
impl TraceExporter for Backend {
    fn name(&self) -> &str {
        "backend"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        let mut taken = self.0.lock().unwrap();
        if taken.down_for.contains(&call.id()) {
            return Err(ExportError::temporary("backend", "down"));
        }
        let text = serde_json::to_string(call).unwrap();
        taken.calls.push((call.id(), text));
        Ok(())
    }

    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let mut report = BatchReport::default();
        for (index, call) in calls.iter().enumerate() {
            if let Err(error) = self.export_llm_call(call).await {
                report.push(index, error);
            }
        }
        Ok(report)
    }
}

fn builder(backend: &Backend, directory: &Path) -> PipelineBuilder {
    Pipeline::builder(backend.clone())
        .with_max_batch_delay(MILLIS)
        .with_drop_timeout(Duration::ZERO)
        .with_spool(Spool::new(directory).with_write_timeout(10 * SECOND))
}

/// What a process left that was killed: its files, byte by byte.
struct Left {
    /// Without the log and its index.
    name: String,
    file: Vec<u8>,
    log: Vec<u8>,
    /// All that was ever submitted, and what the backend has not taken.
    submitted: BTreeMap<Uuid, String>,
    waiting: BTreeSet<Uuid>,
}

/// Calls of all sizes from nearly nothing to several pages; every third was taken and deleted, in the middle of it the log was copied
/// into the file, or not.
fn left(copied: bool) -> Left {
    let directory = TempDir::new().unwrap();
    let backend = Backend::default();
    let pipeline = builder(&backend, directory.path()).spawn().unwrap();
    let mut submitted = BTreeMap::new();
    let mut waiting = BTreeSet::new();
    let mut submit = |number: usize| {
        let bytes = [10, 300, 1_000, 2_000, 4_000, 5_000, 9_000, 100_000][number % 8];
        let call = LLMCallData::new("openai", "gpt-4o")
            .with_response(format!("{number} {}", "call ".repeat(bytes / 5)))
            .with_metadata("number", number);
        submitted.insert(call.id(), serde_json::to_string(&call).unwrap());
        if !number.is_multiple_of(3) {
            waiting.insert(call.id());
            backend.0.lock().unwrap().down_for.insert(call.id());
        }
        assert!(pipeline.submit(call).is_accepted());
    };
    (0..40)
        .filter(|number| number % 8 < 7)
        .for_each(&mut submit);
    if copied {
        // Enough for the keeper to copy the log.
        (0..50).for_each(|number| submit(24 * number + 15));
    }
    let delivered = submitted.len() - waiting.len();
    let settled = || pipeline.stats().delivered == delivered as u64;
    let database = || -> PathBuf {
        let files = fs::read_dir(directory.path().join("backend")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        files
            .find(|path| path.extension().is_some_and(|ending| ending == "db"))
            .unwrap()
    };
    let log = || PathBuf::from(format!("{}-wal", database().display()));
    wait_for(|| settled() && pipeline.stats().spool.durable == waiting.len() as u64);
    // Until all is deleted that was taken.
    thread::sleep(200 * MILLIS);
    assert_eq!(pipeline.stats().spool.not_durable, 0);
    let left = Left {
        name: database().file_name().unwrap().to_str().unwrap().to_owned(),
        file: fs::read(database()).unwrap(),
        log: fs::read(log()).unwrap(),
        submitted,
        waiting,
    };
    let _ = pipeline.shutdown(Duration::ZERO);
    left
}

fn wait_for(condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE);
        thread::sleep(MILLIS);
    }
}

/// What happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    /// It ends there.
    Cut(f64),
    /// It ends at the end of a page, or of a page in the log.
    CutAtPage(f64),
    /// A page is zero.
    ZeroPage(f64),
    /// So many bytes from there on are zero.
    Zero(f64, usize),
    /// Bits are flipped, at these places.
    Flip(Vec<(f64, u8)>),
    /// Anything is written there.
    Garble(f64, Vec<u8>),
    /// One page is written where another one was.
    Move(f64, f64),
    /// Anything comes after its end.
    Grow(Vec<u8>),
    /// It is empty, or not there.
    Empty,
    Gone,
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || 0.0..1.0_f64;
    // What is at the beginning matters most.
    let early = || prop_oneof![3 => place(), 1 => 0.0..0.002_f64];
    let bytes = || proptest::collection::vec(any::<u8>(), 1..600);
    prop_oneof![
        2 => place().prop_map(Damage::Cut),
        2 => place().prop_map(Damage::CutAtPage),
        2 => early().prop_map(Damage::ZeroPage),
        1 => (early(), 1..9000_usize).prop_map(|(at, bytes)| Damage::Zero(at, bytes)),
        4 => proptest::collection::vec((early(), 0..8_u8), 1..8).prop_map(Damage::Flip),
        2 => (early(), bytes()).prop_map(|(at, bytes)| Damage::Garble(at, bytes)),
        2 => (place(), place()).prop_map(|(from, to)| Damage::Move(from, to)),
        1 => bytes().prop_map(Damage::Grow),
        1 => Just(Damage::Empty),
        1 => Just(Damage::Gone),
    ]
}

/// What becomes of a file of pages, the first of which begins at `header`, each after a header of its own.
fn damaged(mut file: Vec<u8>, damage: &Damage, header: usize, page: usize) -> Option<Vec<u8>> {
    let length = file.len();
    let at = |place: f64| ((place * length as f64) as usize).min(length.saturating_sub(1));
    let pages = length.saturating_sub(header) / page;
    let page_at = |place: f64| {
        let number = ((place * pages as f64) as usize).min(pages.saturating_sub(1));
        let start = (header + number * page).min(length);
        start..(start + page).min(length)
    };
    match damage {
        Damage::Cut(place) => file.truncate(at(*place)),
        Damage::CutAtPage(place) => file.truncate(page_at(*place).start),
        Damage::ZeroPage(place) => file[page_at(*place)].fill(0),
        Damage::Zero(place, bytes) => {
            let start = at(*place);
            file[start..(start + bytes).min(length)].fill(0);
        }
        Damage::Flip(places) => {
            for (place, bit) in places {
                if let Some(byte) = file.get_mut(at(*place)) {
                    *byte ^= 1 << bit;
                }
            }
        }
        Damage::Garble(place, bytes) => {
            let start = at(*place);
            let end = (start + bytes.len()).min(length);
            file[start..end].copy_from_slice(&bytes[..end - start]);
        }
        Damage::Move(from, to) => {
            let from = file[page_at(*from)].to_vec();
            let to = page_at(*to);
            let bytes = from.len().min(to.len());
            file[to][..bytes].copy_from_slice(&from[..bytes]);
        }
        Damage::Grow(bytes) => file.extend(bytes),
        Damage::Empty => file.clear(),
        Damage::Gone => return None,
    }
    Some(file)
}

/// One process after the crash. Returns what it delivered, and what it says.
fn start_on(
    left: &Left,
    file: Option<&[u8]>,
    log: Option<&[u8]>,
) -> (Vec<(Uuid, String)>, PipelineStats, Vec<String>) {
    // In memory where that is possible: thousands of files are made.
    let memory = Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => TempDir::new_in(memory),
        false => TempDir::new(),
    };
    let directory = directory.unwrap();
    let files = directory.path().join("backend");
    fs::create_dir(&files).unwrap();
    for (name, bytes) in [
        (left.name.clone(), file),
        (format!("{}-wal", left.name), log),
    ] {
        if let Some(bytes) = bytes {
            fs::write(files.join(name), bytes).unwrap();
        }
    }
    let backend = Backend::default();
    let pipeline = builder(&backend, directory.path()).spawn().unwrap();
    // It works, whatever there is.
    let call = LLMCallData::new("openai", "gpt-4o").with_response("new");
    let id = call.id();
    assert!(pipeline.submit(call).is_accepted());
    let report = pipeline.flush_within(PATIENCE);
    assert_eq!(report.pending, 0, "{:?}", report.stats);
    let stats = pipeline.shutdown(PATIENCE).stats;
    check(&stats);
    assert_eq!(
        (stats.pending, stats.spool.not_durable),
        (0, 0),
        "{stats:?}"
    );
    let mut calls = mem::take(&mut backend.0.lock().unwrap().calls);
    let new = calls.iter().position(|(other, _)| *other == id);
    calls.remove(new.expect("the new call arrives"));
    let names = fs::read_dir(&files).unwrap();
    let names = names
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    (calls, stats, names)
}

fn try_it(
    left: &Left,
    on_file: &Option<Damage>,
    on_log: &Option<Damage>,
) -> Result<bool, TestCaseError> {
    let file = match on_file {
        Some(damage) => damaged(left.file.clone(), damage, 0, PAGE),
        None => Some(left.file.clone()),
    };
    let log = match on_log {
        Some(damage) => damaged(left.log.clone(), damage, LOG_HEADER, FRAME_HEADER + PAGE),
        None => Some(left.log.clone()),
    };
    let (calls, stats, names) = start_on(left, file.as_deref(), log.as_deref());
    let mut delivered = BTreeSet::new();
    for (id, text) in &calls {
        prop_assert_eq!(
            left.submitted.get(id),
            Some(text),
            "never submitted like this"
        );
        prop_assert!(delivered.insert(*id), "sent twice: {}", id);
    }
    // What a sound log holds is not deleted: it was sent, or is still there, perhaps as a dead letter.
    let kept_any = names
        .iter()
        .any(|name| name.ends_with(".db") || name.starts_with(&left.name));
    prop_assert!(
        on_log.is_some() || delivered == left.waiting || kept_any,
        "deleted: {} of {} were sent, {:?}",
        delivered.len(),
        left.waiting.len(),
        stats
    );
    // The file is still there, unless all in it has been settled.
    let kept = names.iter().any(|name| name.starts_with(&left.name));
    let emptied = stats.spool.set_aside == 0;
    prop_assert!(kept || emptied, "{:?} {:?}", stats, names);
    if stats.spool.set_aside > 0 {
        let aside = format!("{}.damaged", left.name);
        prop_assert!(names.contains(&aside), "{:?}", names);
    }
    Ok(delivered == left.waiting)
}

pub(crate) fn files_that_nothing_happened_to() {
    for copied in [false, true] {
        let left = left(copied);
        assert!(left.waiting.len() > 20 && left.waiting.len() < left.submitted.len());
        assert_eq!(left.file.len() > 100_000, copied, "{}", left.file.len());
        let (calls, stats, names) = start_on(&left, Some(&left.file), Some(&left.log));
        let delivered: BTreeSet<Uuid> = calls.iter().map(|(id, _)| *id).collect();
        assert_eq!(delivered, left.waiting);
        assert_eq!(stats.recovered, left.waiting.len() as u64);
        assert_eq!(names, [""; 0], "{stats:?}");
    }
}

pub(crate) fn whatever_becomes_of_the_files() {
    let cases = env::var(CASES_VARIABLE).map_or(CASES, |cases| cases.parse().expect("a number"));
    let left = [left(false), left(true)];
    // Few of the random ones are as short as this.
    for left in &left {
        for bytes in 0..3 {
            let cut = Damage::Cut((bytes as f64 + 0.5) / left.file.len() as f64);
            try_it(left, &Some(cut), &None).unwrap_or_else(|error| panic!("{bytes}: {error}"));
        }
    }
    // And few have a page of calls in the place of another, without the log that has it right.
    let pages = left[1].file.len() / PAGE;
    let place = |page: usize| (page as f64 + 0.5) / pages as f64;
    for (from, to) in (4..11).flat_map(|from| (4..11).map(move |to| (from, to))) {
        let damage = Some(Damage::Move(place(from), place(to)));
        try_it(&left[1], &damage, &Some(Damage::ZeroPage(0.0)))
            .unwrap_or_else(|error| panic!("{from} in the place of {to}: {error}"));
    }
    let whole = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let config = Config {
                    cases: cases / THREADS,
                    failure_persistence: None,
                    ..Config::default()
                };
                let case = (
                    any::<bool>(),
                    prop_oneof![
                        (damage().prop_map(Some), Just(None)),
                        (Just(None), damage().prop_map(Some)),
                        (damage().prop_map(Some), damage().prop_map(Some)),
                    ],
                );
                let mut runner = TestRunner::new(config);
                let result = runner.run(&case, |(copied, (on_file, on_log))| {
                    let tried = || try_it(&left[usize::from(copied)], &on_file, &on_log);
                    let all =
                        panic::catch_unwind(AssertUnwindSafe(tried)).unwrap_or_else(|panic| {
                            let text = panic.downcast_ref::<String>().cloned();
                            Err(TestCaseError::fail(text.unwrap_or_default()))
                        })?;
                    *whole.lock().unwrap() += u32::from(all);
                    Ok(())
                });
                if let Err(error) = result {
                    panic!("{error}");
                }
            });
        }
    });
    let whole = *whole.lock().unwrap();
    eprintln!("{cases} cases, all calls arrived in {whole} of them");
    // Otherwise nothing was broken, or everything.
    assert!(whole > cases / 20 && whole < cases / 10 * 9, "{whole}");
}
