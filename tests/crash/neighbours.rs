//! Several processes with one directory: what a dead one has left is for one of the others, what a living one has is
//! its own.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

use beluga_o11y_sandbox::Backend;
use uuid::Uuid;

use crate::{
    alone::{Process, Signal},
    calls::Number,
    kills::start,
    program::{Settings, Target},
    server::{Mode, Server},
    support::{MILLIS, Place, SECOND, files_below},
};

/// A directory, its backend, and what its processes have said.
struct House {
    place: Place,
    server: Server,
    settings: Settings,
    accepted: BTreeSet<Uuid>,
}

impl House {
    fn new(mode: Mode) -> Self {
        let place = Place::new();
        let server = Server::start(Backend::Opik, mode);
        let target = Target {
            address: server.address(),
            spool: place.path().join("spool"),
        };
        let settings = Settings {
            trial: 0,
            process: 0,
            targets: vec![target],
            power: false,
            write_timeout: 20 * SECOND,
            max_memory_bytes: 64 << 20,
            max_batch_delay: 5 * MILLIS,
            max_batch_size: 20,
        };
        Self {
            place,
            server,
            settings,
            accepted: BTreeSet::new(),
        }
    }

    fn log(&self) -> PathBuf {
        self.place.path().join("log")
    }

    /// One more process.
    fn start(&mut self) -> Process {
        let process = start(&self.settings, &self.log());
        self.settings.process += 1;
        process
    }

    /// So many more, none of which waits for another.
    fn start_at_once(&mut self, count: usize) -> Vec<Process> {
        let start = |_| {
            let settings = self.settings.to_json();
            self.settings.process += 1;
            Process::start("program", &[&settings], &self.log())
        };
        let processes: Vec<_> = (0..count).map(start).collect();
        for process in &processes {
            assert_eq!(process.line().as_deref(), Some("ready"));
        }
        processes
    }

    /// Lets a process submit calls, and waits until they are on disk.
    fn submit(&mut self, process: &mut Process, threads: usize, calls: usize) {
        process.order(&format!("submit {threads} {calls}"));
        for _ in 0..calls {
            let line = process.line().expect("a process that lives");
            let id = line.strip_prefix("+ ").unwrap_or_else(|| panic!("{line}"));
            assert!(self.accepted.insert(id.parse().unwrap()), "{id} twice");
        }
    }

    fn mend(self) -> Self {
        let server = self.server.mend();
        Self { server, ..self }
    }

    fn spool(&self) -> &Path {
        &self.settings.targets[0].spool
    }

    /// Everything has arrived, and nothing is left.
    fn check(&self) {
        let stored = self.server.calls();
        let ids: BTreeSet<Uuid> = stored
            .iter()
            .map(|call| call.trace_id.parse().unwrap())
            .collect();
        assert_eq!(stored.len(), ids.len());
        assert_eq!(ids, self.accepted);
        for call in &stored {
            let number = Number::of(call.trace_id.parse().unwrap());
            assert!(number.is(call), "{number:?} is not whole: {call:?}");
        }
        assert_eq!(self.server.sandbox().unwrap().traces().len(), ids.len());
        let files = files_below(self.spool());
        assert!(files.is_empty(), "left behind: {files:?}");
        let log = fs::read_to_string(self.log()).unwrap();
        let mut lines = log.lines();
        let warning = lines.find(|line| line.contains(" ERROR ") || line.contains(" WARN "));
        assert!(warning.is_none(), "{warning:?}");
    }
}

/// Waits for a process to end, and tells how many calls it has recovered.
fn end(mut process: Process, others: usize) -> u64 {
    process.order(&format!("end {others}"));
    recovered(process)
}

fn recovered(process: Process) -> u64 {
    let lines = process.join();
    let [line] = &lines[..] else {
        panic!("{lines:?}");
    };
    line.strip_prefix("recovered ").unwrap().parse().unwrap()
}

pub(crate) fn a_dead_one_leaves_its_calls_to_the_next() {
    for (mode, mended_early) in [
        (Mode::Down, true),
        (Mode::Refusing, false),
        (Mode::Slow(20 * MILLIS), true),
        (Mode::Down, false),
    ] {
        let mut house = House::new(mode);
        let mut living = house.start();
        house.submit(&mut living, 1, 30);
        let mut dead = house.start();
        house.submit(&mut dead, 4, 200);
        house.submit(&mut living, 4, 30);
        assert!(dead.kill(Signal::Kill).is_empty());
        house.submit(&mut living, 1, 30);

        let next;
        if mended_early {
            house = house.mend();
            next = house.start();
        } else {
            next = house.start();
            house = house.mend();
        }
        let taken_up = end(next, 1);
        house.submit(&mut living, 4, 30);
        let taken_up = taken_up + end(living, 0);
        match mode {
            // Some had arrived before.
            Mode::Slow(_) => assert!(taken_up <= 200, "{taken_up}"),
            _ => assert_eq!(taken_up, 200),
        }
        house.check();
    }
}

/// Processes that start at the same moment make their files while the others look for those of the dead.
pub(crate) fn all_at_once() {
    const ROUNDS: usize = 40;
    const DEAD: usize = 8;
    const LIVING: usize = 4;
    const CALLS: usize = 5;
    let mut several = 0;
    for round in 0..ROUNDS {
        let mut house = House::new(Mode::Down);
        let mut doomed = house.start_at_once(DEAD);
        for process in &mut doomed {
            house.submit(process, 1, CALLS);
        }
        for process in doomed {
            assert!(process.kill(Signal::Kill).is_empty());
        }
        house = house.mend();
        let mut living = house.start_at_once(LIVING);
        for process in &mut living {
            process.order(&format!("end {}", LIVING - 1));
        }
        let taken_up: Vec<_> = living.into_iter().map(recovered).collect();
        several += usize::from(taken_up.iter().filter(|calls| **calls > 0).count() > 1);
        let all = (DEAD * CALLS) as u64;
        assert_eq!(
            taken_up.iter().sum::<u64>(),
            all,
            "round {round}: {taken_up:?}"
        );
        house.check();
    }
    eprintln!("in {several} of {ROUNDS} rounds, more than one process took up what was left");
}

/// The system lets go of what a process held when the process is gone, unless one that it has started holds it, too.
pub(crate) fn what_a_dead_one_has_started_holds_nothing() {
    let mut house = House::new(Mode::Down);
    let mut dead = house.start();
    house.submit(&mut dead, 1, 50);
    dead.order("start 60");
    let started = dead.line().expect("the id of a process");
    house.submit(&mut dead, 1, 50);
    dead.kill(Signal::Kill);
    house = house.mend();
    let taken_up = end(house.start(), 0);
    let status = Command::new("kill").args(["-KILL", &started]).status();
    assert!(status.unwrap().success(), "it still ran");
    assert_eq!(taken_up, 100);
    house.check();
}

/// Nobody else starts.
pub(crate) fn a_dead_one_leaves_its_calls_to_the_living() {
    let mut house = House::new(Mode::Down);
    let mut living = house.start();
    house.submit(&mut living, 1, 30);
    let mut dead = house.start();
    house.submit(&mut dead, 1, 200);
    dead.kill(Signal::Kill);
    house = house.mend();
    let start = Instant::now();
    // It looks once a minute.
    let limit = 90 * SECOND;
    while house.server.calls().len() < house.accepted.len() {
        assert!(start.elapsed() < limit, "not within {limit:?}");
        thread::sleep(100 * MILLIS);
    }
    eprintln!("taken up by a neighbour after {:.1?}", start.elapsed());
    assert_eq!(end(living, 0), 200);
    house.check();
}
