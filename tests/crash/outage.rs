//! The backend is down for long, and calls wait on disk.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use beluga_o11y::{CallSink, LLMCallData};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_pipeline::{Pipeline, Spool};
use beluga_o11y_sandbox::{Fault, Sandbox};
use chrono::{TimeDelta, Utc};
use uuid::Uuid;

use crate::numbered::*;

/// 100 calls a second for an hour.
const AN_HOUR: u64 = 360_000;
const SOME_MINUTES: u64 = 36_000;
/// So much less than the calls take up that most of them wait on disk alone.
const MEMORY: usize = 4 * 1024 * 1024;

/// From 300 B to 1 KB.
fn varied_call(number: u64) -> LLMCallData {
    call(number, 300 + (number * 37 % 700) as usize)
}

pub(crate) fn of_an_hour() {
    const THREADS: u64 = 2;
    let directory = directory();
    let backend = Backend::new(AN_HOUR);
    let pipeline = spawn(&backend, directory.path());
    let watch = watch(&pipeline);
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let pipeline = &pipeline;
            scope.spawn(move || {
                for number in (thread..AN_HOUR).step_by(THREADS as usize) {
                    let submission = pipeline.submit(varied_call(number));
                    assert!(submission.is_accepted(), "{number}: {submission:?}");
                }
            });
        }
    });
    let submitting = start.elapsed();
    let during = stats(&pipeline);
    assert_eq!((during.accepted, during.delivered), (AN_HOUR, 0));
    assert_eq!(during.spool.durable, AN_HOUR, "{during:?}");
    backend.goes_up();
    let took = settle(&pipeline, 2 * PATIENCE);
    eprintln!(
        "an hour's outage: {AN_HOUR} calls submitted in {submitting:.1?}, {} MB on disk, delivered in {took:.1?}",
        during.spool.bytes / 1_000_000
    );
    drop(watch);
    let stats = end(pipeline, directory.path());
    assert_eq!(stats.delivered, AN_HOUR);
    assert!(!stats.has_losses(), "{stats}");
    assert_eq!(backend.taken().count(), AN_HOUR);
    backend.check();
}

fn spawn(backend: &Backend, directory: impl Into<PathBuf>) -> Pipeline {
    // None goes by memory only, however busy the disk is.
    let spool = Spool::new(directory).with_write_timeout(PATIENCE);
    Pipeline::builder(backend.clone())
        .with_max_memory_bytes(MEMORY)
        .with_spool(spool)
        .spawn()
        .unwrap()
}

pub(crate) fn of_some_minutes_with_a_kill() {
    let directory = directory();
    let mut first = Running::start(this_program("outage: begins").arg(directory.path()));
    // Somewhere in the middle, never at the same place.
    let until = SOME_MINUTES / 3 + u64::from(Uuid::new_v4().as_bytes()[0]) * 30;
    let mut durable = String::new();
    while durable.is_empty() || durable.parse::<u64>().unwrap() < until {
        durable = first.line().expect("it goes on");
    }
    let more = first.kill();
    // The last line may be half a line.
    durable = more.into_iter().rev().nth(1).unwrap_or(durable);
    let mut second = this_program("outage: ends");
    Running::start(second.arg(directory.path()).arg(durable)).end();
}

pub(crate) fn begin(arguments: &[String]) {
    let pipeline = spawn(&Backend::new(SOME_MINUTES), &arguments[0]);
    let _watch = watch(&pipeline);
    for number in 0..SOME_MINUTES {
        assert!(pipeline.submit(varied_call(number)).is_accepted());
        if number % 10 == 9 {
            assert_eq!(stats(&pipeline).spool.not_durable, 0);
            println!("{}", number + 1);
        }
    }
    wait_for_the_end();
}

pub(crate) fn end_of_it(arguments: &[String]) {
    let durable: u64 = arguments[1].parse().unwrap();
    let backend = Backend::new(2 * SOME_MINUTES);
    let pipeline = spawn(&backend, &arguments[0]);
    let watch = watch(&pipeline);
    for number in SOME_MINUTES..SOME_MINUTES + SOME_MINUTES / 2 {
        assert!(pipeline.submit(varied_call(number)).is_accepted());
    }
    wait_for("what the other process left", PATIENCE, || {
        stats(&pipeline).recovered >= durable
    });
    assert_eq!(stats(&pipeline).delivered, 0);
    backend.goes_up();
    let took = settle(&pipeline, PATIENCE);
    drop(watch);
    let stats = end(pipeline, Path::new(&arguments[0]));
    eprintln!("an outage with a kill: {durable} were durable; delivered in {took:.1?}: {stats}");
    assert!(!stats.has_losses(), "{stats}");
    assert_eq!(stats.accepted, SOME_MINUTES / 2);
    assert_eq!(stats.delivered, stats.accepted + stats.recovered);
    assert_eq!(backend.taken().count(), stats.delivered);
    let lost = (0..durable).find(|number| !backend.taken().has(*number));
    assert_eq!(lost, None, "the first that was lost");
    backend.check();
}

/// Opik refuses ids that are older than a day, so these calls are sent under others: the same ones each time, also by
/// another process. (An id changes once in 22 hours, each at its own moment; of ten it is hardly one, just now.)
pub(crate) fn older_than_opiks_ids_may_be() {
    const CALLS: usize = 10;
    let sandbox = Sandbox::start().unwrap();
    let directory = directory();
    let start = |calls: usize| {
        let mut command = this_program("outage: old calls");
        command.arg(sandbox.opik_url()).arg(directory.path());
        Running::start(command.arg(calls.to_string()))
    };
    let stored = || (sandbox.traces().len(), sandbox.spans().len());

    sandbox.inject(Fault::status(503).always());
    let mut first = start(CALLS);
    let ids = (0..CALLS).map(|_| first.line().unwrap().parse().unwrap());
    let ids: BTreeSet<Uuid> = ids.collect();
    wait_for("an attempt", PATIENCE, || sandbox.request_count() > 0);
    first.kill();
    assert_eq!(stored(), (0, 0));

    sandbox.clear_faults();
    sandbox.inject(Fault::lost_answer().always());
    let second = start(0);
    wait_for("storage", PATIENCE, || stored() == (CALLS, CALLS));
    second.kill();

    sandbox.clear_faults();
    let before = sandbox.request_count();
    start(0).end();
    assert!(sandbox.request_count() > before, "nothing was sent again");
    assert_eq!(stored(), (CALLS, CALLS));
    let original = |metadata: &serde_json::Value| metadata["original_id"].as_str()?.parse().ok();
    let originals = sandbox.traces().into_iter().map(|trace| {
        assert!(Utc::now() - trace.start_time > TimeDelta::days(2));
        original(&trace.metadata.unwrap()).unwrap()
    });
    assert_eq!(originals.collect::<BTreeSet<Uuid>>(), ids);
}

/// With new calls it waits to be killed; without any it ends when all that it found is delivered.
pub(crate) fn old_calls(arguments: &[String]) {
    let opik = OpikExporter::builder().with_base_url(&*arguments[0]);
    let spool = Spool::new(&*arguments[1]).with_write_timeout(PATIENCE);
    let pipeline = Pipeline::builder(opik.build().unwrap())
        .with_max_batch_delay(10 * MILLIS)
        .with_spool(spool)
        .spawn()
        .unwrap();
    let count: usize = arguments[2].parse().unwrap();
    for number in 0..count {
        let start = Utc::now() - TimeDelta::days(3) + TimeDelta::seconds(number as i64);
        let call = LLMCallData::new("openai", "gpt-4o")
            .with_response("hello")
            .with_start_time(start);
        let id = call.id();
        assert!(pipeline.submit(call).is_accepted());
        assert_eq!(stats(&pipeline).spool.not_durable, 0);
        println!("{id}");
    }
    if count > 0 {
        wait_for_the_end();
    }
    wait_for("what was left", PATIENCE, || stats(&pipeline).recovered > 0);
    settle(&pipeline, PATIENCE);
    let stats = end(pipeline, Path::new(&arguments[1]));
    assert_eq!((stats.delivered, stats.recovered), (10, 10), "{stats}");
}
