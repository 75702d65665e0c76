//! Rows in a process of their own: this program again.

use std::{
    env, io,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::{content, memory, process, refusal, runtimes};

const ROW: &str = "BELUGA_O11Y_FAULTS_ROW";

/// What is given to it are the arguments of its process.
type Row = fn(&[String]);

const ROWS: &[(&str, Row)] = &[
    ("a huge error body", memory::huge_error_body),
    ("any place", runtimes::any_place),
    ("canary", content::canary),
    ("dead backend", memory::dead_backend),
    ("ends with a guard", process::with_a_guard),
    ("ends with a guard and a static", process::with_a_static),
    ("ends with a shutdown", process::with_a_shutdown),
    ("ends without any flush", process::without_any_flush),
    ("losses", content::losses),
    ("quota", refusal::quota),
    ("wrong key", refusal::key),
    ("wrong key in the cloud", refusal::cloud_key),
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

/// Starts a process for a row, waits for its end, and tells how long that took. It must end well.
pub(crate) fn start(row: &str, arguments: &[&str]) -> Duration {
    start_with(row, arguments, &[])
}

/// The same, with variables of the environment.
pub(crate) fn start_with(row: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Duration {
    let program = env::current_exe().expect("the path of this program");
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .env(ROW, row)
        .stdin(Stdio::null())
        .status()
        .expect("a process");
    let took = start.elapsed();
    assert!(status.success(), "{row}: {status}");
    took
}

/// All that is logged in this process.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn capture() -> Self {
        let log = Self::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .with_ansi(false)
            .init();
        log
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let text = self.text();
        let lines = text
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        lines.map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
