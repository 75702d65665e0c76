//! What it costs to turn a record into the JSON of its trace and span, beside the floor: serialising
//! the same two objects, finished, into a reused buffer.
//!
//! `cargo bench -p beluga-o11y-opik`; compare the medians of one run.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot be set up has nothing to measure"
)]

use std::time::Duration;

use beluga_o11y::LLMCallData;
use beluga_o11y_opik::OpikExporter;
use divan::{Bencher, black_box};
use serde::Serialize;
use serde_json::{Value, json};

fn main() {
    // Long enough to average over a machine whose clock and neighbours change.
    divan::Divan::from_args()
        .sample_count(5_000)
        .sample_size(20)
        .main();
}

/// A history of 1 KB and an answer of 500 B.
fn call() -> LLMCallData {
    let prose = "Paris is the capital of France, and \"the city of light\" to many.\n";
    let text = |bytes: usize| prose.chars().cycle().take(bytes).collect::<String>();
    let messages = json!([
        {"role": "system", "content": text(200)},
        {"role": "user", "content": text(300)},
        {"role": "assistant", "content": text(200)},
        {"role": "user", "content": text(140)},
    ]);
    let call = LLMCallData::new("openai", "gpt-4o")
        .with_messages(messages)
        .with_response(text(480))
        .with_tokens(500, 150)
        .with_duration(Duration::from_millis(1200))
        .with_cost(0.003)
        .with_session_id("conversation-1")
        .with_metadata("experiment", "baseline-v2");
    let size = |json: &Option<beluga_o11y::Json>| json.as_ref().map_or(0, beluga_o11y::Json::size);
    assert!(
        (1000..1100).contains(&size(&call.messages)),
        "{}",
        size(&call.messages)
    );
    assert!(
        (480..520).contains(&size(&call.response)),
        "{}",
        size(&call.response)
    );
    call
}

fn exporter() -> OpikExporter {
    OpikExporter::builder()
        .with_base_url("http://localhost:5173/api")
        .with_project("beluga-bench")
        .build()
        .expect("these settings are fine")
}

fn encoded() -> (Vec<u8>, Vec<u8>) {
    let (mut trace, mut span) = (Vec::new(), Vec::new());
    exporter()
        .encode(&call(), &mut trace, &mut span)
        .expect("this call is fine");
    (trace, span)
}

/// Ours: from the record, with ids, times, usage and metadata still to be made.
#[divan::bench]
fn record_to_trace_and_span(bencher: Bencher<'_, '_>) {
    let (exporter, call) = (exporter(), call());
    let (mut trace, mut span) = encoded();
    bencher.bench_local(|| {
        trace.clear();
        span.clear();
        exporter.encode(black_box(&call), &mut trace, &mut span)
    });
}

/// The floor: the finished objects, as `serde_json::Value` all through.
#[divan::bench]
fn floor_finished_values(bencher: Bencher<'_, '_>) {
    let (mut trace, mut span) = encoded();
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("we wrote it");
    let (trace_value, span_value) = (read(&trace), read(&span));
    bencher.bench_local(|| {
        trace.clear();
        span.clear();
        serde_json::to_writer(&mut trace, black_box(&trace_value))?;
        serde_json::to_writer(&mut span, black_box(&span_value))
    });
}

/// A lower floor: structs of finished strings and numbers, with only the content as
/// `serde_json::Value`.
#[divan::bench]
fn floor_finished_structs_with_value_content(bencher: Bencher<'_, '_>) {
    let (mut trace, mut span) = encoded();
    let trace_struct: Finished = serde_json::from_slice(&trace).expect("we wrote it");
    let span_struct: Finished = serde_json::from_slice(&span).expect("we wrote it");
    bencher.bench_local(|| {
        trace.clear();
        span.clear();
        serde_json::to_writer(&mut trace, black_box(&trace_struct))?;
        serde_json::to_writer(&mut span, black_box(&span_struct))
    });
}

#[derive(Serialize, serde::Deserialize)]
struct Finished {
    id: String,
    trace_id: Option<String>,
    project_name: String,
    name: String,
    r#type: Option<String>,
    start_time: String,
    end_time: String,
    input: Value,
    output: Value,
    metadata: Option<Value>,
    model: Option<String>,
    provider: Option<String>,
    usage: Option<std::collections::BTreeMap<String, u64>>,
    total_estimated_cost: Option<f64>,
    last_updated_at: String,
    source: String,
    thread_id: Option<String>,
}
