//! What a pipeline delivers, and what that costs, with servers in a process of their own that take everything and keep
//! nothing.
//!
//! ```text
//! cargo bench -p beluga-o11y-pipeline --bench load
//! cargo bench -p beluga-o11y-pipeline --bench load -- rate fan-out
//! ```
//!
//! The second form measures only what is named: `rate`, `latency`, `gzip`, `submit`, `fan-out`, `system-calls`.

mod cpu;
mod delivery;
mod floor;
mod nowhere;
mod process;
mod record;
mod sink;
mod submit;
mod table;

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use beluga_o11y::LLMCallData;
use delivery::{BATCH, Cost, Delivery, WARM_UP, deliver, deliver_beside, opik};
use process::SinkProcess;
use table::{
    Goal::{AtLeast, AtMost},
    Table,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A server that is far away, or busy.
const FAR: Duration = Duration::from_millis(50);
/// A server that is hardly there.
const SLOW: Duration = Duration::from_secs(1);
/// A port that nobody listens to.
const DEAD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

type Measure = fn(&mut Table) -> Result<()>;

/// The measurements, by the names they are asked for.
const ALL: [(&str, Measure); 6] = [
    ("rate", rate),
    ("latency", latency),
    ("gzip", gzip),
    ("submit", submit),
    ("fan-out", fan_out),
    ("system-calls", system_calls),
];

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let asked: Vec<_> = arguments.iter().map(String::as_str).collect();
    match asked.as_slice() {
        [process::ROLE, latency] => return process::run(Duration::from_millis(latency.parse()?)),
        [submit::ROLE, count] => return submit::run(count.parse()?),
        // `cargo test --all-targets` runs benches without what `cargo bench` says.
        asked if !asked.contains(&"--bench") => return Ok(()),
        _ => {}
    }
    let asked: Vec<_> = asked
        .into_iter()
        .filter(|name| *name != "--bench")
        .collect();
    if let Some(unknown) = asked
        .iter()
        .find(|name| ALL.iter().all(|(known, _)| known != *name))
    {
        return Err(format!("there is no measurement {unknown}").into());
    }
    let mut table = Table::start()?;
    for (name, measure) in ALL {
        if asked.is_empty() || asked.contains(&name) {
            measure(&mut table)?;
        }
    }
    Ok(())
}

/// Calls per second and processor time without gzip, beside the floors, which are measured in turn with it.
fn rate(table: &mut Table) -> Result<()> {
    const ROUNDS: usize = 5;
    const CALLS: usize = 200_000;
    let mut server = SinkProcess::start(Duration::ZERO)?;
    let exporter = opik(server.address(), false)?;
    let (one, batch) = (record::calls(1), record::calls(BATCH));
    let [mut hot, mut cold, mut socket] = [const { Vec::new() }; 3];
    let mut deliveries = Vec::new();
    for _ in 0..ROUNDS {
        hot.push(floor::serialise(&exporter, &one, CALLS)?.total());
        cold.push(floor::serialise(&exporter, &batch, CALLS)?.total());
        socket.push(floor::socket(&exporter, &batch, CALLS, server.address())?.total());
        deliveries.push(deliver(exporter.clone(), record::calls(WARM_UP + CALLS))?);
    }
    let sent = ROUNDS * (WARM_UP + CALLS + CALLS);
    let of_all = |part: fn(&Delivery) -> f64| deliveries.iter().map(part).collect::<Vec<_>>();
    let cost = costs(&deliveries);

    table.title("To Opik's wire, without gzip")?;
    table.info("bytes per call, in trace and span", server.bytes_per(sent)?)?;
    table.goal("calls per second", &rates(&deliveries), AtLeast(1e5))?;
    table.row("CPU per call, µs", &cost)?;
    table.row("  in the program", &of_all(|delivery| delivery.cost.user))?;
    table.row("  in the system", &of_all(|delivery| delivery.cost.system))?;
    table.row("floor: serde_json, one call again and again", &hot)?;
    table.row("floor: serde_json, a batch in turn", &cold)?;
    table.row("floor: the same bytes to a socket", &socket)?;
    table.goal(
        "ratio to serde_json, one call",
        &ratios(&cost, &hot),
        AtMost(2.0),
    )?;
    table.row("ratio to serde_json, a batch", &ratios(&cost, &cold))
}

fn latency(table: &mut Table) -> Result<()> {
    let server = SinkProcess::start(FAR)?;
    let deliveries = three_times(&server, false, record::calls)?;
    table.title("To a server that takes 50 ms to answer, without gzip")?;
    table.goal("calls per second", &rates(&deliveries), AtLeast(3e4))
}

fn gzip(table: &mut Table) -> Result<()> {
    let mut server = SinkProcess::start(Duration::ZERO)?;
    let deliveries = three_times(&server, true, record::varied_calls)?;
    let bytes = server.bytes_per(THREE_TIMES)?;
    table.title("To Opik's wire, with gzip")?;
    table.info("bytes per call, in trace and span", bytes)?;
    table.goal("calls per second", &rates(&deliveries), AtLeast(4.5e4))?;
    table.row("CPU per call, µs", &costs(&deliveries))?;

    let mut server = SinkProcess::start(Duration::ZERO)?;
    let deliveries = three_times(&server, true, record::calls)?;
    table.info(
        "bytes, one sentence over and over",
        server.bytes_per(THREE_TIMES)?,
    )?;
    table.row("calls per second, the same", &rates(&deliveries))
}

const CALLS: usize = 100_000;
/// What [`three_times`] sends in all.
const THREE_TIMES: usize = 3 * (WARM_UP + CALLS);

fn three_times(
    server: &SinkProcess,
    gzip: bool,
    calls: fn(usize) -> Vec<LLMCallData>,
) -> Result<Vec<Delivery>> {
    let run = || deliver(opik(server.address(), gzip)?, calls(WARM_UP + CALLS));
    std::iter::repeat_with(run).take(3).collect()
}

fn submit(table: &mut Table) -> Result<()> {
    const SUBMITS: usize = 1_000_000;
    let server = SinkProcess::start(Duration::ZERO)?;
    let timer = submit::timer(SUBMITS);
    let times = submit::times(SUBMITS, server.address())?;
    table.title("Each of 1,000,000 submits while the worker is busy, ns")?;
    table.info("the timer alone, median", timer.quantile(0.5))?;
    table.goal("median", &[times.quantile(0.5)], AtMost(500.0))?;
    table.goal(
        "99 % take at most",
        &[times.quantile(0.99)],
        AtMost(20_000.0),
    )?;
    table.info("99.9 % take at most", times.quantile(0.999))?;
    table.info("the longest", times.quantile(1.0))
}

/// The rate of one pipeline alone, and beside two others that are given the same calls, in turn.
fn fan_out(table: &mut Table) -> Result<()> {
    const ROUNDS: usize = 15;
    let healthy = SinkProcess::start(Duration::ZERO)?;
    let (slow, far) = (SinkProcess::start(SLOW)?, SinkProcess::start(FAR)?);
    let rate = |others: &[SocketAddr]| {
        let calls = record::calls(WARM_UP + 50_000);
        deliver_beside(healthy.address(), others, calls).map(|delivery| delivery.rate)
    };
    let [mut alone, mut beside_slow, mut beside_far] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        alone.push(rate(&[])?);
        beside_slow.push(rate(&[DEAD, slow.address()])?);
        beside_far.push(rate(&[DEAD, far.address()])?);
    }
    table.title("Calls per second of a healthy pipeline")?;
    table.row("alone", &alone)?;
    table.row("beside a dead one and one of 1 s", &beside_slow)?;
    table.goal(
        "  as a share of alone",
        &ratios(&beside_slow, &alone),
        AtLeast(0.95),
    )?;
    table.row("beside a dead one and one of 50 ms", &beside_far)?;
    table.row("  as a share of alone", &ratios(&beside_far, &alone))
}

fn system_calls(table: &mut Table) -> Result<()> {
    let calls = submit::system_calls();
    table.title("System calls of the thread that submits, per 1000 submits")?;
    let calls = match calls {
        Ok(calls) => calls,
        Err(problem) => return table.title(&format!("  not measured: {problem}")),
    };
    for (name, count) in calls {
        table.info(&name, count)?;
    }
    table.info("(batches)", 1e3 / BATCH as f64)
}

fn rates(deliveries: &[Delivery]) -> Vec<f64> {
    deliveries.iter().map(|delivery| delivery.rate).collect()
}

fn costs(deliveries: &[Delivery]) -> Vec<f64> {
    let costs = deliveries.iter().map(|delivery| delivery.cost);
    costs.map(Cost::total).collect()
}

/// Round by round, since the machine is not the same in every round.
fn ratios(values: &[f64], to: &[f64]) -> Vec<f64> {
    let pairs = values.iter().zip(to);
    pairs.map(|(value, to)| value / to).collect()
}
