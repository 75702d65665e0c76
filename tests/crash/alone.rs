//! Processes of their own: this program again. What it was started for is in its environment; it is told what to do,
//! and tells what it did, line by line.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::{backlog, disk, outage, program, support::PATIENCE};

pub(crate) const ROW: &str = "BELUGA_O11Y_CRASH_ROW";

/// What is given to it are the arguments of its process.
type Row = fn(&[String]);

const ROWS: &[(&str, Row)] = &[
    ("backlog: drain", backlog::drain),
    ("backlog: fill", backlog::fill),
    ("disk: fills up", disk::fill),
    ("disk: hangs", disk::hang),
    ("disk: read-only", disk::read_only),
    ("disk: stands still", disk::stand_still),
    ("outage: begins", outage::begin),
    ("outage: ends", outage::end_of_it),
    ("outage: old calls", outage::old_calls),
    ("program", program::run),
];

/// Runs the row that this process was started for, if it was started for one.
pub(crate) fn run() -> bool {
    let Ok(name) = env::var(ROW) else {
        return false;
    };
    let row = ROWS.iter().find(|(known, _)| *known == name);
    let (_, row) = row.expect("a row of this name");
    row(&env::args().skip(1).collect::<Vec<_>>());
    true
}

/// How a process is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Kill,
    Term,
}

/// A process that runs a row. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// What it writes to standard error goes to the log.
    pub(crate) fn start(row: &str, arguments: &[&str], log: &Path) -> Self {
        let program = env::current_exe().expect("the path of this program");
        let log = File::options().create(true).append(true).open(log);
        let mut child = Command::new(program)
            .args(arguments)
            .env(ROW, row)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("a process");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        // Ends with the process, which has the other end of the pipe.
        thread::spawn(move || {
            for line in stdout.lines() {
                let _ = sender.send(line.expect("text"));
            }
        });
        Self {
            orders: child.stdin.take(),
            child,
            lines,
        }
    }

    /// Tells it what to do.
    pub(crate) fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("orders are open");
        let written = orders.write_all(format!("{order}\n").as_bytes());
        written.unwrap_or_else(|error| panic!("{order:?}: {error}"));
    }

    /// Its next line; none if it has ended.
    pub(crate) fn line(&self) -> Option<String> {
        self.line_within(PATIENCE)
    }

    fn line_within(&self, limit: Duration) -> Option<String> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the process says nothing for {limit:?}"),
        }
    }

    /// Ends it, and gives the lines that it had still written.
    pub(crate) fn kill(mut self, signal: Signal) -> Vec<String> {
        let number = match signal {
            Signal::Kill => {
                self.child.kill().expect("a process that runs");
                9
            }
            Signal::Term => {
                let id = self.child.id().to_string();
                let status = Command::new("kill").args(["-TERM", &id]).status();
                assert!(status.expect("kill").success());
                15
            }
        };
        let rest = std::iter::from_fn(|| self.line()).collect();
        let status = self.child.wait().expect("its status");
        assert_eq!(status.signal(), Some(number), "{status}");
        rest
    }

    /// Waits for its end, which must be a good one, and gives the lines that it had still written.
    pub(crate) fn join(mut self) -> Vec<String> {
        let start = Instant::now();
        let rest = std::iter::from_fn(|| self.line()).collect();
        let status = self.child.wait().expect("its status");
        let took = start.elapsed();
        assert!(status.success(), "{status}, after {took:?}: {rest:?}");
        rest
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
