//! What was said.

use beluga_o11y::{CallError, LLMCallData};
use serde_json::{Value, json};

use crate::conformance::trial::{PROMPT, Trial, call};

pub(crate) async fn plain(trial: &mut Trial) {
    let call = call("gpt-4o")
        .with_cost(0.003)
        .with_metadata("experiment", "baseline-v2");
    trial.deliver(call).await;
}

pub(crate) async fn tool_calls_openai(trial: &mut Trial) {
    let tool_call = |id: &str, arguments: &str| {
        json!({"id": id, "type": "function",
            "function": {"name": "get_weather", "arguments": arguments}})
    };
    let asked = call("gpt-4o")
        .with_messages(json!([
            {"role": "system", "content": "You know the weather."},
            {"role": "user", "content": PROMPT},
        ]))
        .with_response(json!({"role": "assistant", "content": null, "tool_calls": [
            tool_call("call_1", r#"{"city": "Paris"}"#),
            tool_call("call_2", r#"{"city": "Nantes", "days": 2}"#),
        ]}));
    let answered = call("gpt-4o-mini")
        .with_messages(json!([
            {"role": "user", "content": PROMPT},
            {"role": "assistant", "content": null, "tool_calls": [tool_call("call_1", "{}")]},
            {"role": "tool", "tool_call_id": "call_1", "content": r#"{"celsius": 21.5}"#},
        ]))
        .with_response(json!({"role": "assistant", "content": "It is 21.5 °C."}));
    trial.deliver_all(&[asked, answered]).await;
}

pub(crate) async fn tool_calls_anthropic(trial: &mut Trial) {
    let mut call = call("claude-sonnet-4-5")
        .with_messages(json!([
            {"role": "user", "content": [{"type": "text", "text": PROMPT}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "The weather it is.", "signature": "c2ln"},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": false,
                    "content": [{"type": "text", "text": "21.5 °C"}]},
            ]},
        ]))
        .with_response(json!([
            {"type": "text", "text": "Let me look at Nantes, too."},
            {"type": "tool_use", "id": "toolu_2", "name": "get_weather",
                "input": {"city": "Nantes", "hours": [9, 12]}},
        ]));
    call.provider = "anthropic".into();
    trial.deliver(call).await;
}

pub(crate) async fn image_urls(trial: &mut Trial) {
    let call = call("gpt-4o").with_messages(json!([{"role": "user", "content": [
        {"type": "text", "text": PROMPT},
        {"type": "image_url", "image_url": {
            "url": "https://example.com/a%20b.png?width=10&height=20#top", "detail": "low"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/b.webp"}},
    ]}]));
    trial.deliver(call).await;
}

pub(crate) async fn image_base64(trial: &mut Trial) {
    // Some 50 KiB. Nobody looks at the pixels.
    let image = "iVBORw0KGgoAAAANSUhEUgAA+/8z".repeat(1_800);
    let call = call("gpt-4o").with_messages(json!([{"role": "user", "content": [
        {"type": "text", "text": PROMPT},
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{image}")}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}},
    ]}]));
    trial.deliver(call).await;
}

pub(crate) async fn unicode(trial: &mut Trial) {
    // A family of four code points with joiners, a flag, right to left with an override, a combining accent, the line
    // separators, a byte order mark, characters of two, three and four bytes.
    let text = "👩\u{200d}👩\u{200d}👧 🇫🇷 שלום \u{202e}מימין\u{202c} e\u{301} a\u{2028}b\u{2029}c \
                \u{feff}é ﷽ 日本 𐍈 🐋 \"'\\/<>&%{}";
    trial.deliver(every_text(text)).await;
}

pub(crate) async fn control_characters(trial: &mut Trial) {
    let text = "nul \0 one \u{1} escape \u{1b}[31m bell \u{7} tab \t line \n return \r\n delete \u{7f} next \u{85} end";
    trial.deliver(every_text(text)).await;
}

/// A call that has this text wherever a text can be, but for ids that have a form.
fn every_text(text: &str) -> LLMCallData {
    LLMCallData::new(
        format!("provider {text}").to_lowercase(),
        format!("model {text}"),
    )
    .with_name(format!("name {text}"))
    .with_messages(json!([{"role": "user", "content": text, "name": text, text: text}]))
    .with_response(json!({"role": "assistant", "content": text}))
    .with_model_parameters(json!({"stop": [text]}))
    .with_tokens(12, 5)
    .with_error(
        CallError::new(format!("message {text}"))
            .with_kind(format!("Kind {text}"))
            .with_trace(format!("trace {text}")),
    )
    .with_session_id(format!("session {text}"))
    .with_user_id(format!("user {text}"))
    .with_tag(format!("tag {text}"))
    .with_environment(format!("environment {text}"))
    .with_release(format!("release {text}"))
    .with_metadata(format!("key {text}"), json!({text: [text]}))
    .with_metadata("text", text)
}

pub(crate) async fn half_characters(trial: &mut Trial) {
    let cut = r#"{
        "provider": "openai", "model": "gpt-4o", "duration_ms": 840,
        "messages": [{"role": "user", "content": "a whole \ud83d\udc0b, and cut \ud83d"}],
        "response": "\udc0b and the rest",
        "metadata": {"note": {"cut": ["\ud83d"]}}
    }"#;
    match serde_json::from_str::<LLMCallData>(cut) {
        Ok(call) => trial.deliver(call).await,
        Err(error) => trial.fail(error.to_string()),
    }
}

pub(crate) async fn empty_content(trial: &mut Trial) {
    let mut calls: Vec<_> = [json!(""), json!([]), json!(null), json!({})]
        .iter()
        .enumerate()
        .map(|(index, empty)| {
            LLMCallData::new("openai", format!("empty-{index}"))
                .with_messages(empty)
                .with_response(empty)
                .with_model_parameters(empty)
                .with_metadata("empty", empty)
        })
        .collect();
    let parts = json!([{"role": "user", "content": ""}, {"role": "assistant", "content": null}]);
    calls.push(LLMCallData::new("openai", "empty-parts").with_messages(parts));
    let mut texts = LLMCallData::new("", "empty-texts");
    for text in [
        &mut texts.name,
        &mut texts.session_id,
        &mut texts.user_id,
        &mut texts.environment,
        &mut texts.release,
        &mut texts.trace_id,
        &mut texts.parent_span_id,
    ] {
        *text = Some(String::new());
    }
    calls.push(texts);
    calls.push(LLMCallData::new("", ""));
    trial.deliver_all(&calls).await;
}

pub(crate) async fn huge_content(trial: &mut Trial) {
    const BYTES: usize = 1 << 20;
    // Numbered, so that no part can be missing.
    let text: String = (0..)
        .map(|n: u32| format!("{n} naïve 🐋, "))
        .scan(0, |size, part| {
            *size += part.len();
            (*size <= BYTES).then_some(part)
        })
        .collect();
    let text = Value::String(text);
    let call = call("gpt-4o")
        .with_messages(json!([{"role": "user", "content": text}]))
        .with_response(&text);
    trial.deliver(call).await;
}
