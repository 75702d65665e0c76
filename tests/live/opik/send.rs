//! Exports records of every kind to the Opik at the URL that is given, and prints, one JSON object a
//! line, what was meant to arrive: the record in its public form and, where its token counts were
//! made from a provider's answer, that answer.

use std::{error::Error, fs, path::Path, time::Duration};

use beluga_o11y::{CallError, LLMCallData, TraceExporter, Usage};
use beluga_o11y_opik::OpikExporter;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: live_opik_send URL")?;
    let opik = OpikExporter::builder()
        .with_base_url(url)
        .with_project("beluga-live")
        .with_environment("staging")
        .build()?;
    let mut meant = by_hand();
    meant.extend(from_answers()?);
    let calls: Vec<_> = meant.iter().map(|meant| &meant.call).collect();
    // One alone, the rest as a batch.
    let (first, rest) = calls.split_first().ok_or("no calls")?;
    opik.export_llm_call(first).await?;
    let report = opik.export_batch(rest).await?;
    if !report.is_complete() {
        return Err(format!("{report:?}").into());
    }
    for Meant {
        what,
        call,
        provider,
        answer,
    } in &meant
    {
        let line = json!({"what": what, "record": call, "provider": provider, "answer": answer});
        println!("{line}");
    }
    Ok(())
}

struct Meant {
    what: String,
    call: LLMCallData,
    provider: Option<&'static str>,
    answer: Option<Value>,
}

impl Meant {
    fn new(what: &str, call: LLMCallData) -> Self {
        Self {
            what: what.to_owned(),
            call,
            provider: None,
            answer: None,
        }
    }
}

fn by_hand() -> Vec<Meant> {
    let messages = json!([
        {"role": "system", "content": "Be brief. \u{1f40b} \"quoted\" \\ \u{0} \n"},
        {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]},
    ]);
    let full = LLMCallData::new("openai", "gpt-4o")
        .with_messages(&messages)
        .with_response(json!({"role": "assistant", "content": "Paris.", "n": [1, 2.5, null, true]}))
        .with_model_parameters(json!({"temperature": 0.2, "tools": []}))
        .with_usage(Usage::new(500, 150).with_cache_read(200).with_reasoning(64))
        .with_duration(Duration::from_micros(1_234_567))
        .with_time_to_first_token(Duration::from_micros(310_500))
        .with_cost(0.00123)
        .with_session_id("conversation-1")
        .with_user_id("user-1")
        .with_tag("prod")
        .with_tag("blue")
        .with_environment("production")
        .with_release("1.2.3")
        .with_trace_id("0af7651916cd43dd8448eb211c80319c")
        .with_parent_span_id("b7ad6b7169203331")
        .with_metadata("experiment", "baseline-v2")
        .with_metadata("nested", json!({"a": [{"b": 1}]}));
    let failed = LLMCallData::new("anthropic", "claude-sonnet-4-5")
        .with_messages(&messages)
        .with_error(CallError::new("429 Too Many Requests").with_kind("RateLimitError"))
        .with_duration(Duration::from_millis(95));
    let traced = LLMCallData::new("anthropic", "claude-sonnet-4-5").with_error(
        CallError::new("reset")
            .with_kind("Io")
            .with_trace("caused by: os error 104"),
    );
    vec![
        Meant::new("full", full),
        Meant::new("minimal", LLMCallData::new("", "llama3.2")),
        Meant::new(
            "named",
            LLMCallData::new("openai", "gpt-4o").with_name("judge"),
        ),
        Meant::new("failed", failed),
        Meant::new("failed, with a trace", traced),
        Meant::new(
            "failed, with nothing to say",
            LLMCallData::new("a", "b").with_error(" "),
        ),
        Meant::new(
            "plain text",
            LLMCallData::new("a", "b")
                .with_messages("hi")
                .with_response(""),
        ),
        Meant::new(
            "larger than a packet",
            LLMCallData::new("a", "b").with_response("Paris. ".repeat(50_000)),
        ),
        Meant::new(
            "of version 4",
            LLMCallData::new("a", "b").with_id(uuid::Uuid::new_v4()),
        ),
        Meant::new(
            "a year old",
            LLMCallData::new("a", "b").with_start_time(Utc::now() - TimeDelta::days(365)),
        ),
    ]
}

/// The answers that the usage makers are tested with.
fn from_answers() -> Result<Vec<Meant>, Box<dyn Error>> {
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/beluga-o11y/tests/golden/usage");
    let mut files: Vec<_> = fs::read_dir(golden)?
        .map(|file| Ok(file?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    files.sort();
    let mut meant = Vec::new();
    for file in files {
        let golden: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
        let answer = golden["answer"].clone();
        // Under the names that Opik's client knows the families by.
        let (provider, usage) = match golden["maker"].as_str() {
            Some("openai") => ("openai", Usage::from_openai(&answer)),
            Some("anthropic") => ("anthropic", Usage::from_anthropic(&answer)),
            Some("gemini") => ("google_ai", Usage::from_gemini(&answer)),
            Some("bedrock") => ("bedrock", Usage::from_bedrock(&answer)),
            other => return Err(format!("{}: unknown maker {other:?}", file.display()).into()),
        };
        let what = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        meant.push(Meant {
            call: LLMCallData::new(provider, "model")
                .with_name(what.clone())
                .with_usage(usage),
            what,
            provider: Some(provider),
            answer: Some(answer),
        });
    }
    Ok(meant)
}
