//! What it costs to turn a record into a request of OTLP, beside the floor: encoding the same request, finished.
//!
//! `cargo bench -p beluga-o11y-otlp`; compare the medians of one run.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot be set up has nothing to measure"
)]

use std::time::Duration;

use beluga_o11y::LLMCallData;
use beluga_o11y_otlp::{OtlpConventions, OtlpExporter};
use divan::{Bencher, black_box};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::json;

fn main() {
    // Long enough to average over a machine whose clock and neighbours change.
    divan::Divan::from_args()
        .sample_count(5_000)
        .sample_size(20)
        .main();
}

const CONVENTIONS: [OtlpConventions; 3] = [
    OtlpConventions::Both,
    OtlpConventions::OpenInference,
    OtlpConventions::GenAi,
];

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
    LLMCallData::new("openai", "gpt-4o")
        .with_messages(messages)
        .with_response(text(480))
        .with_tokens(500, 150)
        .with_duration(Duration::from_millis(1200))
        .with_cost(0.003)
        .with_session_id("conversation-1")
        .with_metadata("experiment", "baseline-v2")
}

fn exporter(conventions: OtlpConventions) -> OtlpExporter {
    OtlpExporter::builder()
        .with_conventions(conventions)
        .build()
        .expect("these settings are fine")
}

/// Ours: from the record, with ids, attributes and messages still to be made.
#[divan::bench(args = CONVENTIONS)]
fn record_to_request(bencher: Bencher<'_, '_>, conventions: OtlpConventions) {
    let (exporter, call) = (exporter(conventions), call());
    bencher.bench_local(|| exporter.encode(black_box(&call)));
}

/// The floor: the finished request, by the same encoder.
#[divan::bench(args = CONVENTIONS)]
fn floor_finished_request(bencher: Bencher<'_, '_>, conventions: OtlpConventions) {
    let bytes = exporter(conventions)
        .encode(&call())
        .expect("this call is fine");
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("we wrote it");
    bencher.bench_local(|| black_box(&request).encode_to_vec());
}

/// The same, with the request still to be put together out of finished texts, as whoever encodes it has to.
#[divan::bench(args = CONVENTIONS)]
fn floor_with_its_allocations(bencher: Bencher<'_, '_>, conventions: OtlpConventions) {
    let bytes = exporter(conventions)
        .encode(&call())
        .expect("this call is fine");
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("we wrote it");
    bencher.bench_local(|| black_box(&request).clone().encode_to_vec());
}
