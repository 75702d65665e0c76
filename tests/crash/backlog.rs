//! A process ends and leaves many calls on disk. Linux tells how much memory the next one needs for them.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::CallSink;
use beluga_o11y_pipeline::{Pipeline, Spool};

use crate::numbered::*;

const BACKLOG: u64 = 100_000;
const BYTES: usize = 1_000;
const MIB: u64 = 1024 * 1024;
const CAP: u64 = 16 * MIB;
/// What SQLite keeps in memory: the cache of a connection (2 MB by default), the index of its write-ahead log.
const OF_SQLITE: u64 = 6 * MIB;
/// The project's own goal is 1 s; a busy machine gets more.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);
/// Live calls, at most.
const LIVE: u64 = 20_000;
/// How long a live call may take: a second for its batch to fill up, and what is on its way before it.
const LIVE_WITHIN: Duration = Duration::from_secs(5);
/// How far a call may be overtaken: by batches that are on their way at the same time, and in what order they come back.
const OVERTAKEN: u64 = 8 * 500;

fn spawn(backend: Backend, directory: &str) -> Pipeline {
    // None goes by memory only, however busy the disk is.
    let spool = Spool::new(directory).with_write_timeout(PATIENCE);
    Pipeline::builder(backend)
        .with_max_memory_bytes(CAP as usize)
        .with_spool(spool)
        .spawn()
        .unwrap()
}

pub(crate) fn a_hundred_thousand_calls_of_a_killed_process() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let directory = directory();
    let mut filling = Running::start(this_program("backlog: fill").arg(directory.path()));
    filling.wait_for_line("filled");
    filling.kill();
    Running::start(this_program("backlog: drain").arg(directory.path())).end();
}

pub(crate) fn fill(arguments: &[String]) {
    let pipeline = spawn(Backend::new(BACKLOG), &arguments[0]);
    let start = Instant::now();
    for number in 0..BACKLOG {
        let submission = pipeline.submit(call(number, BYTES));
        assert!(submission.is_accepted(), "{number}: {submission:?}");
    }
    let took = start.elapsed();
    let stats = stats(&pipeline);
    eprintln!("a backlog: {BACKLOG} calls of {BYTES} B submitted in {took:.1?}: {stats}");
    assert_eq!(stats.spool.not_durable, 0);
    assert_eq!((stats.pending, stats.spool.durable), (BACKLOG, BACKLOG));
    assert!(stats.pending_bytes < CAP, "{} bytes", stats.pending_bytes);
    println!("filled");
    wait_for_the_end();
}

/// What the backend sees of the calls of both kinds.
#[derive(Default)]
struct Order {
    /// The highest number of the backlog so far, and by how much one that came later was lower.
    highest: u64,
    overtaken: u64,
    /// When calls of the backlog came last, and the longest time without any.
    last: Option<Instant>,
    longest_gap: Duration,
}

impl Order {
    fn note(&mut self, numbers: impl Iterator<Item = u64>) {
        let mut any = false;
        for number in numbers {
            any = true;
            self.overtaken = self.overtaken.max(self.highest.saturating_sub(number));
            self.highest = self.highest.max(number);
        }
        if any {
            let now = Instant::now();
            let gap = self.last.map_or(Duration::ZERO, |last| now - last);
            self.longest_gap = self.longest_gap.max(gap);
            self.last = Some(now);
        }
    }
}

pub(crate) fn drain(arguments: &[String]) {
    let order = Arc::<Mutex<Order>>::default();
    let of_backlog = Arc::<AtomicU64>::default();
    // When each live call came, and how much of the backlog had come before it.
    let arrived: Arc<Vec<OnceLock<(Instant, u64)>>> =
        Arc::new((0..LIVE).map(|_| OnceLock::new()).collect());
    let backend = {
        let (order, of_backlog) = (Arc::clone(&order), Arc::clone(&of_backlog));
        let arrived = Arc::clone(&arrived);
        // 20,000 calls a second, with four batches on their way.
        Backend::watched(BACKLOG + LIVE, 100 * MILLIS, move |numbers| {
            let old = || numbers.iter().copied().filter(|number| *number < BACKLOG);
            order.lock().unwrap().note(old());
            let so_far = of_backlog.fetch_add(old().count() as u64, Relaxed);
            for number in numbers.iter().filter(|number| **number >= BACKLOG) {
                let place = &arrived[(number - BACKLOG) as usize];
                place.set((Instant::now(), so_far)).expect("only once");
            }
        })
    };
    backend.goes_up();
    let before = memory("VmHWM");

    let start = Instant::now();
    let pipeline = spawn(backend.clone(), &arguments[0]);
    let spawned = start.elapsed();
    let submitted = thread::scope(|scope| {
        let live = scope.spawn(|| {
            let mut submitted = Vec::new();
            while of_backlog.load(Relaxed) < BACKLOG * 9 / 10 && (submitted.len() as u64) < LIVE {
                submitted.push(Instant::now());
                let number = BACKLOG + submitted.len() as u64 - 1;
                assert!(pipeline.submit(call(number, BYTES)).is_accepted());
                thread::sleep(2 * MILLIS);
            }
            submitted
        });
        wait_for("all known", PATIENCE, || {
            stats(&pipeline).recovered == BACKLOG
        });
        let known = start.elapsed();
        eprintln!("a backlog: spawn() took {spawned:.1?}, all known after {known:.1?}");
        let _watch = watch(&pipeline);
        let submitted = live.join().unwrap();
        settle(&pipeline, PATIENCE);
        let took = start.elapsed();
        eprintln!("a backlog: all delivered after {took:.1?}");
        assert!(known < KNOWN_WITHIN, "{known:?}");
        submitted
    });
    let grown = memory("VmHWM") - before;
    eprintln!(
        "a backlog: {:.1} MiB before spawn(), {:.1} MiB more at the peak, with {} MiB for calls",
        before as f64 / MIB as f64,
        grown as f64 / MIB as f64,
        CAP / MIB
    );

    let count = submitted.len() as u64;
    let stats = end(pipeline, Path::new(&arguments[0]));
    assert_eq!((stats.recovered, stats.accepted), (BACKLOG, count));
    assert_eq!(stats.delivered, BACKLOG + count);
    assert_eq!(backend.taken().count(), BACKLOG + count);
    backend.check();

    let times = submitted.iter().zip(arrived.iter());
    let times: Vec<_> = times
        .map(|(submitted, arrived)| {
            let (arrived, so_far) = *arrived.get().expect("it was delivered");
            (arrived - *submitted, so_far)
        })
        .collect();
    let longest = times.iter().map(|(time, _)| *time).max().unwrap();
    let beside = times.iter().filter(|(_, so_far)| *so_far < BACKLOG);
    let (beside, shares) = (
        beside.clone().count(),
        beside.map(|(_, so_far)| so_far / (BACKLOG / 10)),
    );
    let shares: HashSet<_> = shares.collect();
    let order = order.lock().unwrap();
    eprintln!(
        "a backlog: {count} live calls, {beside} delivered beside it, in {} tenths of it, the slowest after \
         {longest:.1?}; the longest time without any of the backlog {:.1?}; overtaken by at most {} calls",
        shares.len(),
        order.longest_gap,
        order.overtaken
    );
    assert!(longest < LIVE_WITHIN, "{longest:?}");
    assert!(beside > 100 && shares.len() >= 3, "{beside}, {shares:?}");
    assert!(order.longest_gap < LIVE_WITHIN, "{:?}", order.longest_gap);
    assert!(order.overtaken <= OVERTAKEN, "by {}", order.overtaken);
    assert!(
        grown <= CAP + CAP / 5 + OF_SQLITE,
        "{} MiB more",
        grown / MIB
    );
}
