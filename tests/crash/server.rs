//! The backend of a pipeline, in all states that backends are in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use beluga_o11y_sandbox::{Backend, Fault, Sandbox, StoredCall};
use serde_json::{Value, json};

use crate::{
    plan::Dice,
    support::{ClosedPort, MILLIS},
};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Up,
    /// Answers after so long, so that many batches are on their way.
    Slow(Duration),
    /// Answers 503.
    Down,
    /// Refuses connections.
    Refusing,
    /// Stores everything, and breaks the connection instead of saying so.
    LosesAnswers,
    /// Up and down every few milliseconds, as the number has it.
    Flapping(u64),
}

pub(crate) struct Server {
    pub(crate) backend: Backend,
    place: Place,
    flapping: Option<Flapping>,
}

enum Place {
    Closed(ClosedPort),
    Open(Arc<Sandbox>),
}

impl Server {
    pub(crate) fn start(backend: Backend, mode: Mode) -> Self {
        let place = match mode {
            Mode::Refusing => Place::Closed(ClosedPort::new()),
            _ => Place::Open(Arc::new(Sandbox::start().expect("a free port on loopback"))),
        };
        let mut server = Self {
            backend,
            place,
            flapping: None,
        };
        if let Place::Open(sandbox) = &server.place {
            match mode {
                Mode::Up | Mode::Refusing => {}
                Mode::Slow(delay) => sandbox.inject(Fault::latency(delay).always()),
                Mode::Down => sandbox.inject(Fault::status(503).always()),
                Mode::LosesAnswers => sandbox.inject(Fault::lost_answer().always()),
                Mode::Flapping(seed) => {
                    server.flapping = Some(Flapping::start(Arc::clone(sandbox), seed));
                }
            }
        }
        server
    }

    /// What a [program](crate::program) has to know of it.
    pub(crate) fn address(&self) -> Value {
        let port = match &self.place {
            Place::Closed(port) => port.port(),
            Place::Open(sandbox) => sandbox.address().port(),
        };
        json!({"backend": self.backend, "port": port})
    }

    /// From now on it is up, to stay.
    pub(crate) fn mend(self) -> Self {
        drop(self.flapping);
        let sandbox = match self.place {
            Place::Closed(port) => Arc::new(port.open()),
            Place::Open(sandbox) => sandbox,
        };
        sandbox.clear_faults();
        Self {
            backend: self.backend,
            place: Place::Open(sandbox),
            flapping: None,
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.sandbox().map_or(0, Sandbox::request_count)
    }

    pub(crate) fn calls(&self) -> Vec<StoredCall> {
        let sandbox = self.sandbox();
        sandbox.map_or_else(Vec::new, |sandbox| sandbox.calls_of(self.backend))
    }

    pub(crate) fn sandbox(&self) -> Option<&Sandbox> {
        match &self.place {
            Place::Closed(_) => None,
            Place::Open(sandbox) => Some(sandbox),
        }
    }
}

/// Ends when it is dropped.
struct Flapping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flapping {
    fn start(sandbox: Arc<Sandbox>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut dice = Dice(seed);
            while !stopped.load(Ordering::Relaxed) {
                let fault = match dice.below(3) {
                    0 => Fault::status(503),
                    1 => Fault::reset(),
                    _ => Fault::lost_answer(),
                };
                sandbox.inject(fault.always());
                thread::sleep((1 + dice.below(8)) * MILLIS);
                sandbox.clear_faults();
                thread::sleep((1 + dice.below(8)) * MILLIS);
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Flapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}
