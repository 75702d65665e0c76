//! A sink in a process of its own, so that its work is not counted as the pipeline's.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Result, sink};

/// The argument that makes this program a sink; the latency in milliseconds comes after it.
pub(crate) const ROLE: &str = "as-sink";

/// It ends when this is dropped, or when the process that holds this ends in whatever way, since it then meets the end
/// of its input.
pub(crate) struct SinkProcess {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl SinkProcess {
    pub(crate) fn start(latency: Duration) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ROLE, &latency.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = child.stdout.take().ok_or("the sink has no output")?;
        let mut sink = Self {
            questions: child.stdin.take(),
            answers: BufReader::new(answers),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            child,
        };
        sink.address = sink.read_line()?.trim().parse()?;
        Ok(sink)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How much it has read, in the bodies of requests, for each of this many calls.
    pub(crate) fn bytes_per(&mut self, calls: usize) -> Result<f64> {
        let questions = self.questions.as_mut().ok_or("the sink has no input")?;
        questions.write_all(b"\n")?;
        let bytes: f64 = self.read_line()?.trim().parse()?;
        Ok(bytes / calls as f64)
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for SinkProcess {
    fn drop(&mut self) {
        self.questions = None;
        // It ends by itself now; if it does not want to, it is not waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side of [`SinkProcess`]: answers each line of its input with the bytes read so far, and ends with it.
pub(crate) fn run(latency: Duration) -> Result<()> {
    let bytes = Arc::<AtomicU64>::default();
    let mut output = io::stdout().lock();
    writeln!(output, "{}", sink::start(latency, Arc::clone(&bytes))?)?;
    for line in io::stdin().lines() {
        line?;
        writeln!(output, "{}", bytes.load(Ordering::Relaxed))?;
    }
    Ok(())
}
