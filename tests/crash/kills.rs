//! Processes are killed at random moments, with their backend in any state. Whatever they had accepted is there once
//! their successor has run.
//!
//! What a trial does follows from its seed. `BELUGA_O11Y_CRASH_TRIALS` says how many there are,
//! `BELUGA_O11Y_CRASH_SEED` what the first one's seed is; with that alone it is the only one.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    panic::catch_unwind,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use beluga_o11y_sandbox::Backend;
use uuid::Uuid;

use crate::{
    alone::Process,
    calls::Number,
    plan::{Dice, Doomed, Moment, Plan, Variant},
    program::{Settings, Target},
    server::Server,
    support::{MILLIS, Place, files_below},
};

const TRIALS: u64 = 200;
/// At a time.
const WORKERS: usize = 2;
/// Then there are no more trials.
const ENOUGH_FAILURES: usize = 5;

pub(crate) fn no_accepted_call_is_lost() {
    let seed = number_from("BELUGA_O11Y_CRASH_SEED");
    let trials = number_from("BELUGA_O11Y_CRASH_TRIALS");
    let trials = trials.unwrap_or(if seed.is_some() { 1 } else { TRIALS });
    let first = seed.unwrap_or_else(|| {
        // Any will do. Those of one run are neighbours.
        Dice(u64::from(Uuid::new_v4().as_fields().0)).next() >> 32
    });
    let start = Instant::now();
    eprintln!("{trials} trials, seeds from {first}");
    let seeds = Mutex::new(first..first + trials);
    let sum = Mutex::new(Sum::default());
    let (failures, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while failures.load(Ordering::Relaxed) < ENOUGH_FAILURES {
                    let Some(seed) = seeds.lock().unwrap().next() else {
                        return;
                    };
                    match try_with(seed, &lost) {
                        Some(tally) => sum.lock().unwrap().add(&tally),
                        None => drop(failures.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            });
        }
    });
    let (sum, failures) = (sum.into_inner().unwrap(), failures.into_inner());
    eprintln!(
        "{sum}, {} lost; {failures} trials failed, in {:.1?}",
        lost.into_inner(),
        start.elapsed()
    );
    // Else nothing was tried.
    let all = [sum.kills, sum.durable, sum.delivered_before, sum.recovered];
    assert!(trials < TRIALS || failures > 0 || all.iter().all(|count| *count > 100));
    assert_eq!(
        failures, 0,
        "trials failed; their seeds and directories are above"
    );
}

fn number_from(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Nothing if the trial failed, of which it tells.
fn try_with(seed: u64, lost: &AtomicUsize) -> Option<Tally> {
    let plan = Plan::of(seed);
    let tally = catch_unwind(|| trial(&plan, lost));
    if tally.is_err() {
        eprintln!("trial failed: BELUGA_O11Y_CRASH_SEED={seed}, {plan:?}");
    }
    tally.ok()
}

/// What became of the calls of a trial that went well. Calls that go to two backends count twice.
#[derive(Debug)]
struct Tally {
    variant: Variant,
    kills: u64,
    durable: u64,
    not_durable: u64,
    delivered_before: u64,
    recovered: u64,
}

#[derive(Default)]
struct Sum {
    trials: BTreeMap<Variant, u64>,
    kills: u64,
    durable: u64,
    not_durable: u64,
    delivered_before: u64,
    recovered: u64,
}

impl Sum {
    fn add(&mut self, tally: &Tally) {
        *self.trials.entry(tally.variant).or_default() += 1;
        self.kills += tally.kills;
        self.durable += tally.durable;
        self.not_durable += tally.not_durable;
        self.delivered_before += tally.delivered_before;
        self.recovered += tally.recovered;
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} trials {:?}: {} kills; {} calls accepted and on disk ({} more not on disk), {} of them delivered \
             before the last kill, {} recovered",
            self.trials.values().sum::<u64>(),
            self.trials,
            self.kills,
            self.durable,
            self.not_durable,
            self.delivered_before,
            self.recovered,
        )
    }
}

/// What the processes of a trial have said.
#[derive(Default)]
struct Said {
    durable: BTreeSet<Uuid>,
    not_durable: BTreeSet<Uuid>,
    recovered: Vec<u64>,
}

impl Said {
    fn take(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("+", id)) => assert!(self.durable.insert(id.parse().unwrap()), "{id} twice"),
            Some(("-", id)) => assert!(self.not_durable.insert(id.parse().unwrap()), "{id} twice"),
            Some(("recovered", calls)) => self.recovered.push(calls.parse().unwrap()),
            _ => assert_eq!(line, "ready"),
        }
    }
}

fn trial(plan: &Plan, lost: &AtomicUsize) -> Tally {
    let place = Place::new();
    let directory = place.path();
    let servers = plan.backends.iter();
    let servers: Vec<_> = servers
        .map(|(backend, mode)| Server::start(*backend, *mode))
        .collect();
    let mut settings = Settings {
        targets: targets(plan, &servers, directory),
        ..plan.settings.clone()
    };
    let log = directory.join("log");
    let mut said = Said::default();
    for doomed in &plan.processes {
        live_and_die(doomed, &settings, &servers, &log, &mut said);
        settings.process += 1;
    }
    let servers: Vec<_> = servers.into_iter().map(Server::mend).collect();
    // What was on its way when the process was killed may be there in part.
    let before = servers.iter().flat_map(Server::calls);
    let before = before.filter(|call| said.durable.contains(&call.trace_id.parse().unwrap()));
    let delivered_before = before.count() as u64;

    let mut last = start(&settings, &log);
    if plan.last_calls > 0 {
        last.order(&format!("submit 1 {}", plan.last_calls));
    }
    last.order("end 0");
    for line in last.join() {
        said.take(&line);
    }
    for (server, target) in servers.iter().zip(&settings.targets) {
        let gone = compare(server, plan, &said);
        lost.fetch_add(gone, Ordering::Relaxed);
        assert_eq!(gone, 0, "calls lost");
        let files = files_below(&target.spool);
        assert!(files.is_empty(), "left behind: {files:?}");
    }
    let log = fs::read_to_string(&log).unwrap();
    let mut lines = log.lines();
    let warning = lines.find(|line| line.contains(" ERROR ") || line.contains(" WARN "));
    // In haste everything is late.
    assert!(
        warning.is_none() || plan.variant == Variant::Hasty,
        "{warning:?}"
    );
    let pipelines = servers.len() as u64;
    Tally {
        variant: plan.variant,
        kills: plan.processes.len() as u64,
        durable: said.durable.len() as u64 * pipelines,
        not_durable: said.not_durable.len() as u64 * pipelines,
        delivered_before,
        recovered: said.recovered.iter().sum(),
    }
}

/// A spool for each. Where the exporters differ, the directory need not.
fn targets(plan: &Plan, servers: &[Server], directory: &Path) -> Vec<Target> {
    let share = matches!(plan.backends[..], [(a, _), (b, _)] if a != b);
    let place = |place| if share { 0 } else { place };
    let servers = servers.iter().enumerate();
    let targets = servers.map(|(number, server)| Target {
        address: server.address(),
        spool: directory.join(format!("spool-{}", place(number))),
    });
    targets.collect()
}

/// A program whose pipelines run.
pub(crate) fn start(settings: &Settings, log: &Path) -> Process {
    let program = Process::start("program", &[&settings.to_json()], log);
    assert_eq!(program.line().as_deref(), Some("ready"));
    program
}

fn live_and_die(
    doomed: &Doomed,
    settings: &Settings,
    servers: &[Server],
    log: &Path,
    said: &mut Said,
) {
    let mut program = Process::start("program", &[&settings.to_json()], log);
    program.order(&format!("submit {} {}", doomed.threads, doomed.calls));
    match doomed.moment {
        Moment::Start(pause) => thread::sleep(pause),
        Moment::Calls {
            calls,
            request,
            pause,
        } => {
            // The first one says that it is ready.
            for _ in 0..=calls {
                said.take(&program.line().expect("a program that lives"));
            }
            if request {
                wait_for_a_request(servers);
            }
            thread::sleep(pause);
        }
    }
    for line in program.kill(doomed.signal) {
        said.take(&line);
    }
}

/// A batch is on its way then. Not always is there one.
fn wait_for_a_request(servers: &[Server]) {
    let requests = || -> u64 { servers.iter().map(Server::requests).sum() };
    let (before, start) = (requests(), Instant::now());
    while requests() == before && start.elapsed() < 20 * MILLIS {
        thread::yield_now();
    }
}

/// The ids of the calls that a backend has. Each must be there once, be one that a process of this trial was told to
/// submit, and be whole.
fn stored(server: &Server, plan: &Plan, said: &Said) -> BTreeSet<Uuid> {
    let mut ids = BTreeSet::new();
    for call in server.calls() {
        let id: Uuid = call.trace_id.parse().unwrap();
        let number = Number::of(id);
        let submitted = plan.processes.iter().map(|process| process.calls);
        let mut submitted = submitted.chain([plan.last_calls]);
        let submitted = submitted.nth(usize::from(number.process)).unwrap_or(0);
        let known = number.trial == plan.settings.trial && number.call < submitted;
        assert!(known, "{number:?} was never submitted");
        // Of a call that was in memory only, half may have arrived.
        let on_disk = plan.variant != Variant::Hasty || said.durable.contains(&id);
        let whole = number.is(&call) || !on_disk;
        assert!(whole, "{number:?} is not whole: {call:?}");
        assert!(ids.insert(id), "{number:?} is there twice");
    }
    ids
}

/// How many of the calls that were accepted and on disk are not there.
fn compare(server: &Server, plan: &Plan, said: &Said) -> usize {
    let there = stored(server, plan, said);
    let lost: Vec<_> = said.durable.difference(&there).collect();
    if let [first, ..] = lost[..] {
        let (backend, all) = (server.backend, said.durable.len());
        let (first, lost) = (Number::of(*first), lost.len());
        eprintln!("{backend:?}: {lost} of {all} calls lost, the first is {first:?}");
        return lost;
    }
    if plan.variant == Variant::Hasty {
        return 0;
    }
    assert!(
        said.not_durable.is_empty(),
        "{} not on disk",
        said.not_durable.len()
    );
    if server.backend == Backend::Opik {
        let traces = server.sandbox().unwrap().traces();
        assert_eq!(traces.len(), there.len(), "traces");
        let traces: BTreeSet<_> = traces.iter().map(|trace| trace.id).collect();
        assert_eq!(traces, there, "traces");
    }
    0
}
