//! Exports records of every kind to the LangSmith at the URL that is given, and prints, one JSON object a line,
//! what was meant to arrive: the record in its public form, and the run as it was written.

use std::{error::Error, time::Duration};

use beluga_o11y::{CallError, LLMCallData, TraceExporter, Usage};
use beluga_o11y_langsmith::LangSmithExporter;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args()
        .nth(1)
        .ok_or("usage: live_langsmith_send URL")?;
    let langsmith = LangSmithExporter::builder()
        .with_base_url(url)
        .with_api_key("lsv2_pt_beluga")
        .with_project("beluga-live")
        .with_environment("staging")
        .build()?;
    let meant = meant();
    let calls: Vec<_> = meant.iter().map(|(_, call)| call).collect();
    // One alone, the rest as a batch, and all of it once more: nothing is there twice then.
    let (first, rest) = calls.split_first().ok_or("no calls")?;
    langsmith.export_llm_call(first).await?;
    for batch in [rest, &calls] {
        let report = langsmith.export_batch(batch).await?;
        if !report.is_complete() {
            return Err(format!("{report:?}").into());
        }
    }
    for (what, call) in &meant {
        let mut run = Vec::new();
        langsmith.encode(call, &mut run)?;
        let run: Value = serde_json::from_slice(&run)?;
        println!("{}", json!({"what": what, "record": call, "run": run}));
    }
    Ok(())
}

fn meant() -> Vec<(&'static str, LLMCallData)> {
    let call = || LLMCallData::new("openai", "gpt-4o").with_duration(Duration::from_millis(840));
    let messages = json!([
        {"role": "system", "content": "Be brief. \u{1f40b} \"quoted\" \\ \u{0} \n"},
        {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]},
    ]);
    let full = call()
        .with_messages(&messages)
        .with_response(json!({"role": "assistant", "content": "Paris.", "n": [1, 2.5, null, true]}))
        .with_model_parameters(
            json!({"temperature": 0.2, "max_tokens": 100, "stop": "END", "tools": []}),
        )
        .with_usage(
            Usage::new(500, 150)
                .with_cache_read(200)
                .with_cache_write(7)
                .with_reasoning(64),
        )
        .with_duration(Duration::from_micros(1_234_567))
        .with_time_to_first_token(Duration::from_micros(310_500))
        .with_cost(0.00123)
        .with_session_id("conversation-1")
        .with_user_id("user-1")
        .with_tag("prod")
        .with_tag("blue, green")
        .with_environment("production")
        .with_release("1.2.3")
        .with_trace_id("0af7651916cd43dd8448eb211c80319c")
        .with_parent_span_id("b7ad6b7169203331")
        .with_metadata("experiment", "baseline-v2")
        .with_metadata("nested", json!({"a": [{"b": 1}]}));
    let failed = LLMCallData::new("anthropic", "claude-sonnet-4-5")
        .with_messages(&messages)
        .with_error(CallError::new("429 Too Many Requests").with_kind("RateLimitError"));
    let traced = call().with_error(
        CallError::new("reset")
            .with_kind("Io")
            .with_trace("caused by: os error 104"),
    );
    vec![
        ("full", full),
        ("minimal", LLMCallData::new("", "llama3.2")),
        ("named", call().with_name("judge ".repeat(40))),
        ("failed", failed),
        ("failed, with a trace", traced),
        ("failed, with nothing to say", call().with_error(" ")),
        ("plain text", call().with_messages("hi").with_response("")),
        (
            "parts of a message",
            call().with_response(json!([{"type": "text", "text": "Paris."}])),
        ),
        (
            "other JSON",
            call()
                .with_messages(json!({"contents": [{"parts": [{"text": "hi"}]}]}))
                .with_response(17),
        ),
        ("large", call().with_response("Paris. ".repeat(50_000))),
        ("of version 4", call().with_id(uuid::Uuid::new_v4())),
        (
            "a year old",
            call().with_start_time(Utc::now() - TimeDelta::days(365)),
        ),
        (
            "bedrock",
            LLMCallData::new("aws.bedrock", "nova").with_tokens(3, 4),
        ),
        ("zero", call().with_tokens(0, 0).with_cost(0.0)),
    ]
}
