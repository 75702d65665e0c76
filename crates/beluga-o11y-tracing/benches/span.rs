//! What the layer costs a program: its spans with the layer, beside the same spans without it, turn by turn in one run.
//!
//! `cargo bench -p beluga-o11y-tracing`, about 20 s. The sink takes records and drops them: what a pipeline costs is
//! measured with the pipeline.

use std::{
    error::Error,
    hint::black_box,
    io::{self, Write},
    sync::Arc,
    time::Instant,
};

use beluga_o11y::{CallSink, LLMCallData, Submission};
use beluga_o11y_tracing::{LlmCallLayer, LlmSpans};
use tracing::{Dispatch, Span, dispatcher, field::Empty, info_span, level_filters::LevelFilter};
use tracing_subscriber::{Layer, Registry, fmt, prelude::*};

/// What is measured, at which level the log is, and how many nanoseconds more are fine.
type Case = (&'static str, fn(), LevelFilter, f64);

const ROUNDS: usize = 31;
const SPANS: u32 = 20_000;

struct Nowhere;

impl CallSink for Nowhere {
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        black_box(call);
        Submission::Accepted
    }
}

/// A log that is written nowhere, at a level.
fn log<S>(level: LevelFilter) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fmt::layer().with_writer(io::sink).with_filter(level)
}

fn without(level: LevelFilter) -> Dispatch {
    Dispatch::new(Registry::default().with(log(level)))
}

/// A layer that does nothing, behind the same filter: what tracing-subscriber itself takes for one.
struct Nothing;

impl<S: tracing::Subscriber> Layer<S> for Nothing {}

fn floor(level: LevelFilter) -> Dispatch {
    let nothing = Nothing.with_filter(LlmSpans::default());
    Dispatch::new(Registry::default().with(log(level)).with(nothing))
}

fn with(level: LevelFilter) -> Dispatch {
    Dispatch::new(
        Registry::default()
            .with(log(level))
            .with(LlmCallLayer::new(Nowhere)),
    )
}

/// A span as rig 0.44 makes it around a call, and what it records.
fn call() {
    let span = info_span!(
        target: "rig::completions",
        "chat",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "openai",
        gen_ai.request.model = "gpt-4o",
        gen_ai.system_instructions = Empty,
        gen_ai.request.stream = Empty,
        gen_ai.response.id = Empty,
        gen_ai.response.model = Empty,
        rig.provider_request_id = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.usage.cache_creation.input_tokens = Empty,
        gen_ai.usage.tool_use_prompt_tokens = Empty,
        gen_ai.usage.reasoning_tokens = Empty,
        gen_ai.input.messages = Empty,
        gen_ai.output.messages = Empty,
    );
    span.record("gen_ai.request.stream", false);
    span.in_scope(|| {});
    record_answer(&span);
}

fn record_answer(span: &Span) {
    span.record("gen_ai.response.id", "chatcmpl-123");
    span.record("gen_ai.response.model", "gpt-4o-2024-08-06");
    span.record("gen_ai.usage.input_tokens", 500_u64);
    span.record("gen_ai.usage.output_tokens", 150_u64);
    span.record("gen_ai.usage.cache_read.input_tokens", 100_u64);
    span.record("gen_ai.usage.reasoning_tokens", 20_u64);
}

/// A call in an agent's run, in a request of a user.
fn call_in_a_request() {
    let _request = info_span!("request", beluga.session.id = "s", beluga.user.id = "u").entered();
    let _run = info_span!(
        "invoke_agent",
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "a"
    )
    .entered();
    call();
}

/// A span that is none of the layer's business.
fn other() {
    info_span!("request", method = "GET", path = "/", status = Empty).in_scope(|| {});
}

/// Nanoseconds of one.
fn time(dispatch: &Dispatch, run: fn()) -> f64 {
    dispatcher::with_default(dispatch, || {
        let some = |count: u32| {
            for _ in 0..count {
                run();
            }
        };
        some(SPANS / 10);
        let start = Instant::now();
        some(SPANS);
        start.elapsed().as_nanos() as f64 / f64::from(SPANS)
    })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    writeln!(
        out,
        "{:<46}{:>9}{:>9}{:>9}{:>9}   goal",
        format!("ns, medians of {ROUNDS} rounds"),
        "without",
        "floor",
        "with",
        "more"
    )?;
    let cases: [Case; 6] = [
        (
            "a call, log at WARN: only the layer wants it",
            call,
            LevelFilter::WARN,
            3_000.0,
        ),
        ("a call, log at INFO", call, LevelFilter::INFO, 3_000.0),
        (
            "a call in a run in a request, log at INFO",
            call_in_a_request,
            LevelFilter::INFO,
            9_000.0,
        ),
        ("another span, log at WARN", other, LevelFilter::WARN, 20.0),
        ("another span, log at INFO", other, LevelFilter::INFO, 20.0),
        (
            "another span, log at TRACE",
            other,
            LevelFilter::TRACE,
            20.0,
        ),
    ];
    for (name, run, level, goal) in cases {
        let mut figures = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            // One after the other: what one subscriber wants changes what a span costs under all that are alive.
            let [without, floor, with] = [without, floor, with].map(|make| time(&make(level), run));
            let round = [without, floor, with, with - without];
            for (all, figure) in figures.iter_mut().zip(round) {
                all.push(figure);
            }
        }
        let [without, floor, with, more] = figures.map(median);
        let verdict = if more <= goal { "met" } else { "missed" };
        writeln!(
            out,
            "{name:<46}{without:>9.1}{floor:>9.1}{with:>9.1}{more:>9.1}   at most {goal}: {verdict}"
        )?;
    }
    Ok(())
}
