//! Calls through pipelines to sinks.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use beluga_o11y::{CallSink, FanOut, LLMCallData, TraceExporter};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_pipeline::{Overflow, Pipeline};

use crate::{Result, cpu::Cpu};

/// How many calls a pipeline sends together by default.
pub(crate) const BATCH: usize = 500;
/// How many calls are not measured: more than a queue that nobody empties has room for by default.
pub(crate) const WARM_UP: usize = 30_000;
/// Nothing here takes longer, unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Processor time per call, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cost {
    pub(crate) fn of(cpu: Cpu, calls: usize) -> Self {
        let per_call = |time: Duration| time.as_secs_f64() * 1e6 / calls as f64;
        Self {
            user: per_call(cpu.user),
            system: per_call(cpu.system),
        }
    }

    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

/// Calls per second, and what each took of this process.
pub(crate) struct Delivery {
    pub(crate) rate: f64,
    pub(crate) cost: Cost,
}

/// An exporter to a server on this machine, without authorization, with the project of the opik crate's bench.
pub(crate) fn opik(server: SocketAddr, gzip: bool) -> Result<OpikExporter> {
    Ok(OpikExporter::builder()
        .with_base_url(format!("http://{server}/api"))
        .with_project("beluga-bench")
        .with_gzip(gzip)
        .build()?)
}

/// A pipeline with the defaults, except that whoever submits waits while the queue is full.
pub(crate) fn patient(exporter: impl TraceExporter + 'static) -> Result<Pipeline> {
    Ok(Pipeline::builder(exporter)
        .with_overflow(Overflow::Block(PATIENCE))
        .spawn()?)
}

/// Submits the calls as fast as a pipeline takes them; from the first submit until the last is delivered.
pub(crate) fn deliver(
    exporter: impl TraceExporter + 'static,
    calls: Vec<LLMCallData>,
) -> Result<Delivery> {
    let pipeline = patient(exporter)?;
    deliver_to(&pipeline, &pipeline, calls)
}

/// The rate of one pipeline that gets its calls together with others, which are full most of the time.
pub(crate) fn deliver_beside(
    healthy: SocketAddr,
    others: &[SocketAddr],
    calls: Vec<LLMCallData>,
) -> Result<Delivery> {
    let pipeline = patient(opik(healthy, false)?)?;
    let mut all = FanOut::new().with(pipeline.clone());
    let mut neighbours = Vec::new();
    for other in others {
        let other = Pipeline::builder(opik(*other, false)?)
            .with_drop_timeout(Duration::ZERO)
            .spawn()?;
        all = all.with(other.clone());
        neighbours.push(other);
    }
    let delivery = deliver_to(&all, &pipeline, calls);
    for neighbour in neighbours {
        let _ = neighbour.shutdown(Duration::ZERO);
    }
    delivery
}

fn deliver_to(
    door: &impl CallSink,
    pipeline: &Pipeline,
    calls: Vec<LLMCallData>,
) -> Result<Delivery> {
    let mut calls = calls.into_iter();
    // Connections are made once in the life of a program, and queues that are full stay full.
    for call in calls.by_ref().take(WARM_UP) {
        door.submit(call);
    }
    settle(pipeline)?;
    let count = calls.len();

    let (cpu, start) = (Cpu::now()?, Instant::now());
    for call in calls.by_ref() {
        door.submit(call);
    }
    settle(pipeline)?;
    Ok(Delivery {
        rate: count as f64 / start.elapsed().as_secs_f64(),
        cost: Cost::of(Cpu::now()? - cpu, count),
    })
}

/// Waits until everything is delivered; anything else is an error.
pub(crate) fn settle(pipeline: &Pipeline) -> Result<()> {
    let report = pipeline.flush_within(PATIENCE);
    let stats = report.stats;
    if report.pending > 0 || stats.delivered != stats.submitted {
        return Err(format!("not all calls were delivered: {stats}").into());
    }
    Ok(())
}
