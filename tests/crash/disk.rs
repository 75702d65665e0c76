//! The disk is full, slow or not to be written to. Calls go on by way of memory until it is well again.
//!
//! A small disk is a file system in memory, in a namespace of its own: `unshare -rm` must work.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::{CallSink, Refusal, Submission};
use beluga_o11y_pipeline::{Pipeline, Spool};

use crate::numbered::*;

const BYTES: usize = 1_000;
/// More calls than any row makes.
const BOUND: u64 = 1 << 20;
/// Longer than the default, for a busy machine: a disk that is well is never as slow.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);
/// No submit takes longer: the write timeout, and time for a busy machine.
const SUBMIT_WITHIN: Duration = Duration::from_millis(1_500);
/// How soon calls are durable again when the disk is well. It is tried about once a second.
const WELL_AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// Starts a row in a namespace with a file system of 8 MB in a directory. Returns what it logged.
fn in_small_space(row: &str, argument: &str) -> String {
    const MOUNT: &str = r#"mount -t tmpfs -o size=8m none "$0" && exec "$@""#;
    let probe = Command::new("unshare").args(["-rm", "true"]).output();
    match probe {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "`unshare -rm` must work here, but this user may not make namespaces: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("this needs unshare(1) of util-linux: {error}"),
    }
    let directory = directory();
    let place = directory.path().to_str().unwrap();
    let mut command = this_program_within(row, &["unshare", "-rm", "sh", "-c", MOUNT, place]);
    run(command.arg(place).arg(argument))
}

/// Runs it to its end, which must be a good one, and returns what it logged.
fn run(command: &mut Command) -> String {
    let directory = directory();
    let file = directory.path().join("log");
    let status = command
        .stderr(File::create(&file).unwrap())
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let log = fs::read_to_string(file).unwrap();
    eprintln!("{log}");
    assert!(status.success(), "{status}");
    assert!(!log.contains("panicked"));
    log
}

fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

/// Warnings that are about the disk.
fn disk_warnings(log: &str) -> Vec<&str> {
    let about_calls = [
        "calls are kept and tried again later",
        "a call was refused",
        "shut down:",
    ];
    log.lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .filter(|line| !about_calls.iter().any(|what| line.contains(what)))
        .collect()
}

fn spawn(backend: &Backend, directory: &Path) -> Pipeline {
    let spool = Spool::new(directory).with_write_timeout(WRITE_TIMEOUT);
    Pipeline::builder(backend.clone())
        .with_max_memory_bytes(4 * 1024 * 1024)
        .with_max_batch_delay(50 * MILLIS)
        .with_spool(spool)
        .spawn()
        .unwrap()
}

/// Threads that submit all the time.
struct Traffic {
    stop: AtomicBool,
    /// Microseconds between two calls of a thread.
    pause: AtomicU64,
    next: AtomicU64,
    accepted: Numbers,
    full: AtomicU64,
    /// Microseconds.
    longest: AtomicU64,
}

impl Traffic {
    fn new(pause: Duration) -> Self {
        Self {
            stop: AtomicBool::new(false),
            pause: AtomicU64::new(pause.as_micros() as u64),
            next: AtomicU64::new(0),
            accepted: Numbers::below(BOUND),
            full: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        }
    }

    fn set_pause(&self, pause: Duration) {
        self.pause.store(pause.as_micros() as u64, Relaxed);
    }

    fn submit(&self, pipeline: &Pipeline) {
        let number = self.next.fetch_add(1, Relaxed);
        let call = call(number, BYTES);
        let start = Instant::now();
        let submission = pipeline.submit(call);
        let took = start.elapsed().as_micros() as u64;
        self.longest.fetch_max(took, Relaxed);
        match submission {
            Submission::Accepted => {
                self.accepted.add(number);
            }
            Submission::Refused(Refusal::Full) => {
                self.full.fetch_add(1, Relaxed);
            }
            other => panic!("{other:?}"),
        }
    }

    fn run(&self, pipeline: &Pipeline) {
        while !self.stop.load(Relaxed) {
            self.submit(pipeline);
            thread::sleep(Duration::from_micros(self.pause.load(Relaxed)));
        }
    }

    /// Two threads of it, while something else is done. They end also if that panics.
    fn during<T>(&self, pipeline: &Pipeline, something: impl FnOnce() -> T) -> T {
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Relaxed);
            }
        }
        thread::scope(|scope| {
            let _stop = Stop(&self.stop);
            for _ in 0..2 {
                scope.spawn(|| self.run(pipeline));
            }
            something()
        })
    }

    /// Everything that was accepted has been delivered, once, and nobody was kept waiting.
    fn check(&self, backend: &Backend) {
        let differences = self.accepted.differences(backend.taken());
        assert!(differences.is_empty(), "not one of each: {differences:?}");
        backend.check();
        let longest = Duration::from_micros(self.longest.load(Relaxed));
        assert!(longest < SUBMIT_WITHIN, "a submit took {longest:?}");
    }
}

/// Waits for a second in which calls were accepted and all of them are durable; returns when it began, in seconds.
fn wait_until_durable(pipeline: &Pipeline) -> f32 {
    let start = Instant::now();
    loop {
        let (began, before) = (start.elapsed(), stats(pipeline));
        thread::sleep(SECOND);
        let after = stats(pipeline);
        let calm = after.spool.not_durable == before.spool.not_durable;
        if calm && after.accepted >= before.accepted + 10 {
            return began.as_secs_f32();
        }
        assert!(
            start.elapsed() < WELL_AGAIN_WITHIN,
            "still not durable: {after:?}"
        );
    }
}

/// What is left of the spool when all is delivered: nothing that another pipeline would send again.
fn end_for_good(pipeline: Pipeline, backend: &Backend, directory: &Path) {
    end(pipeline, directory);
    let next = spawn(backend, directory);
    thread::sleep(SECOND / 2);
    assert_eq!(end(next, directory).recovered, 0);
    backend.check();
}

pub(crate) fn fills_up_and_has_room_again() {
    let log = in_small_space("disk: fills up", "ballast");
    assert_eq!(disk_warnings(&log).len(), 1);
}

/// The same where nobody may mount anything: no file may become larger than 1 MB.
pub(crate) fn fills_up_and_has_room_again_by_a_limit() {
    // In blocks of 512 bytes, or of 1 KB in some shells. The hard limit stays, or nobody could lift it again.
    const LIMIT: &str = r#"trap '' XFSZ; ulimit -S -f 2000 && exec "$0" "$@""#;
    let directory = directory();
    let mut command = this_program_within("disk: fills up", &["sh", "-c", LIMIT]);
    let log = run(command.arg(directory.path()).arg("limit"));
    assert_eq!(disk_warnings(&log).len(), 1);
}

/// What takes up the room of others.
enum Shortage {
    Ballast(PathBuf),
    Limit,
}

impl Shortage {
    fn begin(what: &str, directory: &Path) -> Self {
        if what == "limit" {
            return Self::Limit;
        }
        let path = directory.join("ballast");
        fs::write(&path, vec![b'x'; 5_000_000]).unwrap();
        Self::Ballast(path)
    }

    fn end(self) {
        match self {
            Self::Ballast(path) => fs::remove_file(path).unwrap(),
            Self::Limit => {
                let pid = process::id().to_string();
                let status = Command::new("prlimit")
                    .args(["--pid", &pid, "--fsize=unlimited:"])
                    .status()
                    .unwrap_or_else(|error| panic!("this needs prlimit(1): {error}"));
                assert!(status.success(), "prlimit: {status}");
            }
        }
    }
}

/// First the disk is full, then the memory, too. With ballast, there is room before the backend comes back; with a
/// limit, there is only afterwards, so that what was delivered has to be deleted on a full disk.
pub(crate) fn fill(arguments: &[String]) {
    log_to_stderr();
    let (place, kind) = (Path::new(&arguments[0]), &arguments[1]);
    let shortage = Shortage::begin(kind, place);
    let place = place.join("spool");
    let backend = Backend::new(BOUND);
    let pipeline = spawn(&backend, &place);
    let watch = watch(&pipeline);
    let traffic = Traffic::new(MILLIS / 2);
    traffic.during(&pipeline, || {
        wait_for("a full disk", PATIENCE, || {
            stats(&pipeline).spool.not_durable > 0
        });
        let durable = stats(&pipeline).spool.durable;
        wait_for("full memory, too", PATIENCE, || {
            traffic.full.load(Relaxed) > 0
        });
        let full = stats(&pipeline);
        eprintln!("a full disk ({kind}): after {durable} calls; with full memory {full}");
        assert!(durable > 100, "{durable}");
        // The room is not for many: SQLite writes whole pages, first to its log.
        traffic.set_pause(50 * MILLIS);
        let well_again = match shortage {
            Shortage::Ballast(_) => {
                shortage.end();
                let well_again = wait_until_durable(&pipeline);
                backend.goes_up();
                well_again
            }
            Shortage::Limit => {
                backend.goes_up();
                wait_for("delivery", PATIENCE, || {
                    pipeline.flush_within(SECOND).pending == 0
                });
                let before = stats(&pipeline).spool.not_durable;
                wait_for("more that is not durable", PATIENCE, || {
                    stats(&pipeline).spool.not_durable > before + 10
                });
                // Nobody writes, so that what was delivered is what the disk is tried with, in vain.
                traffic.set_pause(5 * SECOND / 2);
                thread::sleep(5 * SECOND / 2);
                traffic.set_pause(50 * MILLIS);
                backend.check();
                shortage.end();
                wait_until_durable(&pipeline)
            }
        };
        wait_for("delivery", PATIENCE, || {
            pipeline.flush_within(SECOND).pending == 0
        });
        eprintln!("a full disk ({kind}): with room, durable again after {well_again:.1} s");
        let after = stats(&pipeline).spool.not_durable;
        thread::sleep(SECOND);
        assert_eq!(stats(&pipeline).spool.not_durable, after);
    });
    settle(&pipeline, PATIENCE);
    traffic.check(&backend);
    drop(watch);
    end_for_good(pipeline, &backend, &place);
}

pub(crate) fn is_read_only_at_first() {
    let log = in_small_space("disk: read-only", "");
    assert_eq!(disk_warnings(&log).len(), 1);
}

/// What is open for writing keeps a file system from becoming read-only, so it can only be so at first.
pub(crate) fn read_only(arguments: &[String]) {
    log_to_stderr();
    let place = Path::new(&arguments[0]);
    let remount = |how: &str| {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", &format!("remount,{how}")]).arg(place);
        assert!(status.status().unwrap().success(), "remount,{how}");
    };
    remount("ro");
    let place = place.join("spool");
    let backend = Backend::new(BOUND);
    let pipeline = spawn(&backend, &place);
    let watch = watch(&pipeline);
    let traffic = Traffic::new(10 * MILLIS);
    traffic.during(&pipeline, || {
        // Long enough for it to try again.
        thread::sleep(3 * SECOND);
        let before = stats(&pipeline);
        assert!(before.accepted > 50, "{before}");
        // A call may be submitted right now.
        let not_durable = before.spool.not_durable;
        assert!(before.accepted - not_durable <= 2, "{before:?}");
        assert_eq!(before.spool.durable, 0);
        remount("rw");
        let well_again = wait_until_durable(&pipeline);
        eprintln!("a read-only disk: durable again after {well_again:.1} s");
        assert!(stats(&pipeline).spool.durable > 0);
        backend.goes_up();
        thread::sleep(SECOND);
    });
    settle(&pipeline, PATIENCE);
    traffic.check(&backend);
    assert_eq!(stats(&pipeline).refused.total(), 0);
    drop(watch);
    end_for_good(pipeline, &backend, &place);
}

pub(crate) fn hangs() {
    let directory = directory();
    run(this_program("disk: hangs").arg(directory.path()));
}

/// Somebody else has the write lock of the file.
pub(crate) fn hang(arguments: &[String]) {
    const HOLD: &str = "
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
connection.execute('BEGIN IMMEDIATE')
print('locked', flush=True)
time.sleep(3)
connection.execute('ROLLBACK')
connection.close()
print('released', flush=True)
";
    log_to_stderr();
    let place = Path::new(&arguments[0]);
    let backend = Backend::new(BOUND);
    backend.goes_up();
    let pipeline = spawn(&backend, place);
    let watch = watch(&pipeline);
    let traffic = Traffic::new(2 * MILLIS);
    traffic.during(&pipeline, || {
        thread::sleep(SECOND / 2);
        let before = stats(&pipeline);
        assert!(before.accepted > 50, "{before}");
        assert_eq!(before.spool.not_durable, 0);
        let file = files(place)
            .into_iter()
            .find(|path| path.extension().is_some_and(|extension| extension == "db"));
        let mut python = Command::new("python3");
        python.args(["-c", HOLD]).arg(file.expect("a database"));
        let mut python = Running::start(&mut python);
        python.wait_for_line("locked");
        let start = Instant::now();
        wait_for("a call that is not durable", 2 * SECOND, || {
            stats(&pipeline).spool.not_durable > 0
        });
        python.wait_for_line("released");
        let held = start.elapsed();
        let after = stats(&pipeline);
        python.end();
        let well_again = wait_until_durable(&pipeline);
        eprintln!(
            "a disk that hangs for {held:.1?}: {} of {} calls were not durable; durable again after {well_again:.1} s",
            after.spool.not_durable,
            after.accepted - before.accepted
        );
        // Calls went on meanwhile.
        assert!(after.accepted - before.accepted > 10, "{after}");
    });
    settle(&pipeline, PATIENCE);
    let longest = traffic.longest.load(Relaxed) / 1000;
    eprintln!("a disk that hangs: the longest submit took {longest} ms");
    traffic.check(&backend);
    assert_eq!(stats(&pipeline).refused.total(), 0);
    drop(watch);
    end_for_good(pipeline, &backend, place);
}

pub(crate) fn stands_still_with_all_else() {
    let directory = directory();
    run(this_program("disk: stands still").arg(directory.path()));
}

/// The process is stopped again and again, as by a machine that is put to sleep: whoever waits has waited for too long
/// when it goes on, and is just then written by whoever has the pen.
pub(crate) fn stand_still(arguments: &[String]) {
    const STOP: &str = r#"for _ in 1 2 3 4 5 6 7 8 9 10; do
        sleep 0.2; kill -STOP "$0"; sleep 0.6; kill -CONT "$0"
    done"#;
    log_to_stderr();
    let place = Path::new(&arguments[0]);
    let backend = Backend::new(BOUND);
    backend.goes_up();
    let pipeline = spawn(&backend, place);
    let watch = watch(&pipeline);
    let traffic = Traffic::new(Duration::ZERO);
    traffic.during(&pipeline, || {
        let pid = process::id().to_string();
        let mut shell = Command::new("sh");
        let status = shell.args(["-c", STOP, &pid]).status().unwrap();
        assert!(status.success(), "{status}");
    });
    settle(&pipeline, PATIENCE);
    let stats = stats(&pipeline);
    eprintln!("a process that stands still ten times: {stats}");
    traffic.check(&backend);
    assert_eq!(stats.refused.total(), 0);
    drop(watch);
    end_for_good(pipeline, &backend, place);
}
