//! What is known of a call beside what was said.

use std::time::Duration;

use beluga_o11y::{CallError, LLMCallData, Usage};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::conformance::trial::{Trial, call};

pub(crate) async fn error_text(trial: &mut Trial) {
    trial.deliver(failed("429 Too Many Requests".into())).await;
}

pub(crate) async fn error_kind_and_trace(trial: &mut Trial) {
    let error = CallError::new("429 Too Many Requests")
        .with_kind("RateLimitError")
        .with_trace("caused by: quota\ncaused by: a long day");
    trial.deliver(failed(error)).await;
}

pub(crate) async fn error_without_message(trial: &mut Trial) {
    let error = CallError::new("").with_kind(CallError::TIMEOUT);
    trial.deliver(failed(error)).await;
}

/// A call that failed has no answer and no tokens.
fn failed(error: CallError) -> LLMCallData {
    let mut call = call("gpt-4o")
        .with_usage(Usage::default())
        .with_error(error);
    call.response = None;
    call
}

pub(crate) async fn cached_tokens(trial: &mut Trial) {
    let openai = call("gpt-4o").with_usage(Usage::new(2_006, 300).with_cache_read(1_920));
    // Their ways of counting differ; what a person sees must not.
    let family = |provider: &str, model: &str, usage: Usage| {
        let mut call = call(model).with_usage(usage);
        call.provider = provider.into();
        call
    };
    let usage = Usage::new(117, 3).with_cache_read(100).with_cache_write(7);
    let zero = Usage::new(10, 3).with_cache_read(0).with_cache_write(0);
    let all_cached = Usage::new(100, 3).with_cache_read(100);
    let calls = [
        openai,
        family("anthropic", "claude-sonnet-4-5", usage),
        family("bedrock", "nova-pro", usage),
        family("anthropic", "claude-none-cached", zero),
        family("openai", "gpt-all-cached", all_cached),
    ];
    trial.deliver_all(&calls).await;
}

pub(crate) async fn reasoning_tokens(trial: &mut Trial) {
    let usage = Usage::new(12, 430).with_reasoning(400);
    let mut gemini = call("gemini-2.5-pro").with_usage(usage);
    gemini.provider = "gemini".into();
    let openai = call("o3").with_usage(usage.with_cache_read(4));
    trial.deliver_all(&[gemini, openai]).await;
}

pub(crate) async fn unknown_tokens_and_cost(trial: &mut Trial) {
    let nothing = call("gpt-4o").with_usage(Usage::default());
    let mut input_only = Usage::default();
    input_only.input_tokens = Some(12);
    let half = call("text-embedding-3-small").with_usage(input_only);
    let mut output_only = Usage::default();
    output_only.output_tokens = Some(5);
    let other_half = call("gpt-4o-mini").with_usage(output_only);
    trial.deliver_all(&[nothing, half, other_half]).await;
}

pub(crate) async fn zero_tokens_and_cost(trial: &mut Trial) {
    trial
        .deliver(call("gpt-4o").with_tokens(0, 0).with_cost(0.0))
        .await;
}

pub(crate) async fn model_parameters(trial: &mut Trial) {
    let call = call("gpt-4o").with_model_parameters(json!({
        "temperature": 0.2, "top_p": 1, "max_tokens": 512, "stream": true, "stop": ["\n\n", "END"],
        "seed": null, "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}],
    }));
    trial.deliver(call).await;
}

pub(crate) async fn call_name(trial: &mut Trial) {
    trial
        .deliver(call("gpt-4o").with_name("judge the answer"))
        .await;
}

pub(crate) async fn session(trial: &mut Trial) {
    trial
        .deliver(call("gpt-4o").with_session_id("conversation 7/a"))
        .await;
}

pub(crate) async fn user(trial: &mut Trial) {
    trial
        .deliver(call("gpt-4o").with_user_id("user@example.com"))
        .await;
}

pub(crate) async fn tags(trial: &mut Trial) {
    let call = call("gpt-4o")
        .with_tag("prod")
        .with_tag("one, two")
        .with_tag("a blank")
        .with_tag("k:v=\"q\"");
    trial.deliver(call).await;
}

pub(crate) async fn environment_and_release(trial: &mut Trial) {
    let call = call("gpt-4o")
        .with_environment("staging-eu_1")
        .with_release("1.2.3-rc.1+abc");
    trial.deliver(call).await;
}

pub(crate) async fn nested_metadata(trial: &mut Trial) {
    let deep = (0..30).fold(json!("bottom"), |inner, level| {
        if level % 2 == 0 {
            json!({"in": inner})
        } else {
            Value::Array(vec![inner])
        }
    });
    let object = json!({"b": 1, "a": {"x.y": [1, "two", null, {"z": []}]}, "": "no name"});
    let numbers = json!([
        i64::MIN,
        i64::MAX,
        9_007_199_254_740_993_u64,
        0.1,
        1.5e300,
        -2.5
    ]);
    let call = call("gpt-4o")
        .with_metadata("text", "plain")
        .with_metadata("number in a text", "007")
        .with_metadata("true in a text", "true")
        .with_metadata("object", object)
        .with_metadata("array", json!([[], {}, [1, [2, [3]]], "", null, true]))
        .with_metadata("deep", deep)
        .with_metadata("numbers", numbers)
        .with_metadata("dots.in.a.key", "dots")
        .with_metadata("a slash/and [brackets]", "signs")
        .with_metadata("ключ 🐋", "unicode");
    trial.deliver(call).await;
}

pub(crate) async fn metadata_types(trial: &mut Trial) {
    let call = call("gpt-4o")
        .with_metadata("int", 42)
        .with_metadata("large int", i64::MAX)
        .with_metadata("small int", i64::MIN)
        .with_metadata("beyond a double", 9_007_199_254_740_993_u64)
        .with_metadata("float", 0.1)
        .with_metadata("large float", 1.5e300)
        .with_metadata("negative", -2.5)
        .with_metadata("true", true)
        .with_metadata("false", false)
        .with_metadata("null", json!(null));
    trial.deliver(call).await;
}

pub(crate) async fn times(trial: &mut Trial) {
    // To the microsecond, and with a fraction that rounds up.
    let now = Utc::now();
    let micros = now.timestamp_micros() / 1_000_000 * 1_000_000 + 123_956;
    let start = DateTime::from_timestamp_micros(micros).unwrap_or(now);
    let streamed = call("streamed")
        .with_start_time(start - TimeDelta::hours(1))
        .with_duration(Duration::from_micros(1_234_567))
        .with_time_to_first_token(Duration::from_micros(321_500));
    let old = call("old")
        .with_start_time(start - TimeDelta::days(7))
        .with_duration(Duration::from_secs(2 * 60 * 60));
    let at_once = call("at-once")
        .with_start_time(start)
        .with_duration(Duration::ZERO)
        .with_time_to_first_token(Duration::ZERO);
    let mut unmeasured = call("unmeasured").with_start_time(start);
    unmeasured.duration = None;
    trial
        .deliver_all(&[streamed, old, at_once, unmeasured])
        .await;
}

pub(crate) async fn own_id(trial: &mut Trial) {
    // Of version 7, as some backends want it, and not of this moment, as an exporter would make one.
    let an_hour_ago = call("").with_duration(Duration::from_secs(60 * 60));
    trial
        .deliver(call("gpt-4o").with_id(an_hour_ago.id()))
        .await;
}

pub(crate) async fn own_trace(trial: &mut Trial) {
    // As W3C has them: 32 and 16 hexadecimal digits, made anew so that real backends do not know them.
    let (trace, parent) = (Uuid::new_v4(), Uuid::new_v4().as_u64_pair().0);
    let call = call("gpt-4o")
        .with_trace_id(trace.simple().to_string())
        .with_parent_span_id(format!("{parent:016x}"));
    trial.deliver(call).await;
}
