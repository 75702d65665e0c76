use std::collections::BTreeSet;

use proptest::{collection, prelude::*};
use serde_json::{Value, json};

use super::*;
use crate::wire::Val;

/// A conversation in short: a line for each message, `role: part | part -> finish reason`.
fn short(conversation: &Conversation<'_>) -> Vec<String> {
    let line = |message: &Message<'_>| {
        let parts: Vec<_> = message.parts.iter().map(short_part).collect();
        let name = message.name.as_ref();
        let name = name.map(|name| format!("({name})")).unwrap_or_default();
        let reason = message.finish_reason.as_ref();
        let reason = reason
            .map(|reason| format!(" -> {reason}"))
            .unwrap_or_default();
        format!("{}{name}: {}{reason}", message.role, parts.join(" | "))
    };
    conversation.messages.iter().map(line).collect()
}

fn short_part(part: &Part<'_>) -> String {
    let raw = |raw: &Option<&RawValue>| raw.map_or("-", |raw| raw.get()).to_owned();
    let id = |id: &Option<Cow<'_, str>>| id.as_deref().unwrap_or("-").to_owned();
    match part {
        Part::Text(text) => text.to_string(),
        Part::Reasoning(text) => format!("thinks {text}"),
        Part::Image(url) => format!("image {url}"),
        Part::ToolCall {
            id: of,
            name,
            arguments,
        } => format!("calls {name} {} {}", id(of), raw(arguments)),
        Part::ToolResult { id: of, result } => format!("result {} {}", id(of), raw(result)),
        Part::Other(value) => format!("other {}", value.get()),
    }
}

fn read_in(content: &str) -> Vec<String> {
    short(&input(&Json::parse(content).unwrap()))
}

fn read_out(content: &str) -> Vec<String> {
    short(&output(&Json::parse(content).unwrap(), false))
}

#[test]
fn messages_of_openai_chat() {
    for (content, expected) in [
        (
            r#"[{"role": "developer", "content": "be brief"}, {"role": "user", "name": "ann", "content": "hi"}]"#,
            &["developer: be brief", "user(ann): hi"][..],
        ),
        (
            r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": [
                {"type": "text", "text": "what is it?"},
                {"type": "image_url", "image_url": {"url": "https://e.com/i.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}"#,
            &["user: what is it? | image https://e.com/i.png | image data:image/png;base64,AAAA"],
        ),
        (
            r#"[{"role": "assistant", "content": null, "tool_calls": [
                 {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"z\": 1, \"a\": 2}"}},
                 {"id": "c2", "type": "function", "function": {"name": "go", "arguments": ""}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
                {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "ok"}]}]"#,
            &[
                r#"assistant: calls look c1 "{\"z\": 1, \"a\": 2}" | calls go c2 """#,
                r#"tool: result c1 "sunny""#,
                r#"tool: result c2 [{"type": "text", "text": "ok"}]"#,
            ],
        ),
        (
            r#"[{"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "42"}]"#,
            &[r#"assistant:  | calls f - "{}""#, "function(f): 42"],
        ),
        (
            r#"[{"role": "assistant", "content": null, "refusal": "no", "reasoning_content": "hm"}]"#,
            &["assistant: thinks hm | no"],
        ),
        (
            r#"[{"role": "assistant", "content": null, "audio": {"id": "a", "transcript": "said"}}]"#,
            &["assistant: said"],
        ),
    ] {
        assert_eq!(read_in(content), expected, "{content}");
    }
    for (content, expected) in [
        (
            r#"{"id": "x", "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "length"},
                {"index": 1, "message": {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "tool_calls"}]}"#,
            &[
                "assistant: a -> length",
                r#"assistant: calls f c "{}" -> tool_call"#,
            ][..],
        ),
        (
            r#"{"choices": [{"text": "once", "finish_reason": "stop"}]}"#,
            &["assistant: once -> stop"],
        ),
        (
            r#"{"role": "assistant", "content": null, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}"#,
            &[r#"assistant: calls f c "{}" -> tool_call"#],
        ),
        (
            r#"{"choices": []}"#,
            &[r#"assistant: other {"choices": []} -> stop"#],
        ),
    ] {
        assert_eq!(read_out(content), expected, "{content}");
    }
}

#[test]
fn items_of_openai_responses() {
    assert_eq!(
        read_in(
            r#"{"instructions": "be brief", "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "https://e.com/i"}]},
                {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}], "content": [{"type": "reasoning_text", "text": "deep"}]},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "c2", "name": "sh", "input": "ls"},
                {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "done"}, {"type": "refusal", "refusal": "no"}]}]}"#
        ),
        [
            "system: be brief",
            "user: hi | image https://e.com/i",
            r#"assistant: thinks hm
deep | calls look c1 "{}" | calls sh c2 "ls""#,
            r#"tool: result c1 "sunny""#,
            "assistant: done | no",
        ]
    );
    assert_eq!(read_in(r#"{"input": "hi"}"#), ["user: hi"]);
    for (content, expected) in [
        (
            r#"{"status": "completed", "output": [
                {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "web_search_call", "id": "w"}]}"#,
            &[
                "assistant: thinks hm -> stop",
                r#"assistant: a | calls f c "{}" | other {"type": "web_search_call", "id": "w"} -> tool_call"#,
            ][..],
        ),
        (
            r#"{"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"},
                "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]}"#,
            &["assistant: a -> length"],
        ),
        (
            r#"{"output": "plain", "stop_reason": "x"}"#,
            &["assistant: plain -> x"],
        ),
    ] {
        assert_eq!(read_out(content), expected, "{content}");
    }
}

#[test]
fn messages_of_anthropic() {
    assert_eq!(
        read_in(
            r#"{"system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}], "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://e.com/i"}}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"z": 1, "a": 2}},
                    {"type": "tool_use", "id": "t2", "name": "go", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"},
                    {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "ok"}], "is_error": true},
                    {"type": "text", "text": "and now?"}]}]}"#
        ),
        [
            "system: be brief",
            "user: hi | image data:image/png;base64,AAAA | image https://e.com/i",
            r#"assistant: thinks hm | calls look t1 {"z": 1, "a": 2} | calls go t2 {}"#,
            r#"tool: result t1 "sunny""#,
            r#"tool: result t2 [{"type": "text", "text": "ok"}]"#,
            "user: and now?",
        ]
    );
    assert_eq!(
        read_in(r#"{"system": "be brief", "messages": [{"role": "user", "content": "hi"}]}"#),
        ["system: be brief", "user: hi"]
    );
    for (content, expected) in [
        (
            r#"{"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}], "stop_reason": "max_tokens"}"#,
            "assistant: a -> length",
        ),
        (
            r#"{"type": "message", "role": "assistant", "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}], "stop_reason": "tool_use"}"#,
            "assistant: calls web_search s {} -> tool_call",
        ),
        (
            r#"[{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"q": 1}}]"#,
            r#"assistant: a | calls f t {"q": 1} -> tool_call"#,
        ),
        (
            r#"[{"type": "redacted_thinking", "data": "x"}]"#,
            r#"assistant: other {"type": "redacted_thinking", "data": "x"} -> stop"#,
        ),
    ] {
        assert_eq!(read_out(content), [expected], "{content}");
    }
}

#[test]
fn contents_of_gemini() {
    for instruction in ["systemInstruction", "system_instruction"] {
        let content = r#"{"INSTRUCTION": {"parts": [{"text": "be brief"}]}, "contents": [
            {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/i"}}, {"inline_data": {"mime_type": "audio/wav", "data": "B"}}]},
            {"role": "model", "parts": [{"text": "hm", "thought": true}, {"functionCall": {"name": "look", "args": {"z": 1, "a": 2}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"sky": "blue"}}},
                {"function_response": {"id": "2", "name": "look", "response": {}}}]}]}"#;
        assert_eq!(
            read_in(&content.replace("INSTRUCTION", instruction)),
            [
                "system: be brief",
                r#"user: hi | image data:image/png;base64,AAAA | image gs://b/i | other {"inline_data": {"mime_type": "audio/wav", "data": "B"}}"#,
                r#"assistant: thinks hm | calls look - {"z": 1, "a": 2}"#,
                r#"tool: result look {"sky": "blue"}"#,
                "tool: result 2 {}",
            ]
        );
    }
    assert_eq!(read_in(r#"{"contents": "hi"}"#), ["user: hi"]);
    assert_eq!(
        read_in(r#"{"contents": {"parts": [{"text": "hi"}]}}"#),
        ["user: hi"]
    );
    assert_eq!(
        read_in(r#"{"systemInstruction": "be brief", "contents": ["hi", {"text": "there"}]}"#),
        ["system: be brief", "user: hi | there"]
    );
    assert_eq!(
        read_out(
            r#"{"candidates": [
                {"content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": "STOP"},
                {"content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]}},
                {"finishReason": "SAFETY"}]}"#
        ),
        [
            "assistant: a -> stop",
            "assistant: calls f - {} -> tool_call",
            "assistant:  -> content_filter",
        ]
    );
}

#[test]
fn messages_of_bedrock() {
    assert_eq!(
        read_in(
            r#"{"system": [{"text": "be brief"}], "messages": [
                {"role": "user", "content": [{"text": "hi"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]},
                {"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                    {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"z": 1, "a": 2}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "sunny"}], "status": "success"}}]}]}"#
        ),
        [
            "system: be brief",
            "user: hi | image data:image/png;base64,AAAA",
            r#"assistant: thinks hm | calls look t1 {"z": 1, "a": 2}"#,
            r#"tool: result t1 [{"text": "sunny"}]"#,
        ]
    );
    assert_eq!(
        read_out(
            r#"{"output": {"message": {"role": "assistant", "content": [{"text": "a"}]}}, "stopReason": "guardrail_intervened"}"#
        ),
        ["assistant: a -> content_filter"]
    );
}

#[test]
fn messages_of_the_genai_conventions_and_of_libraries() {
    assert_eq!(
        read_in(
            r#"[{"role": "user", "parts": [{"type": "text", "content": "hi"},
                    {"type": "uri", "modality": "image", "uri": "https://e.com/i"},
                    {"type": "uri", "modality": "audio", "uri": "https://e.com/a"},
                    {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "AAAA"}]},
                {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, {"type": "tool_call", "id": "c", "name": "look", "arguments": {"a": 1}}]},
                {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": {"sky": "blue"}}]},
                {"role": "tool", "parts": [{"type": "tool_call_response", "id": "d", "result": 5}]}]"#
        ),
        [
            r#"user: hi | image https://e.com/i | other {"type": "uri", "modality": "audio", "uri": "https://e.com/a"} | image data:image/png;base64,AAAA"#,
            r#"assistant: thinks hm | calls look c {"a": 1}"#,
            r#"tool: result c {"sky": "blue"}"#,
            "tool: result d 5",
        ]
    );
    assert_eq!(
        read_out(
            r#"[{"role": "assistant", "parts": [{"type": "text", "content": "a"}], "finish_reason": "unknown"}]"#
        ),
        ["assistant: a -> unknown"]
    );
    for (content, expected) in [
        // rig
        (
            r#"[{"role": "assistant", "content": [{"text": "a"}, {"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]}]"#,
            r#"assistant: a | calls f c {"a": 1}"#,
        ),
        // Vercel's AI SDK
        (
            r#"[{"role": "assistant", "content": [{"type": "tool-call", "toolCallId": "c", "toolName": "f", "args": {}}]}]"#,
            "assistant: calls f c {}",
        ),
        (
            r#"[{"role": "user", "content": "", "parts": [{"type": "text", "text": "hi"}]}]"#,
            "user: hi",
        ),
        // LangChain
        (r#"[{"type": "human", "content": "hi"}]"#, "user: hi"),
        // Cohere
        (r#"[{"role": "USER", "message": "hi"}]"#, "USER: hi"),
        (
            r#"[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]"#,
            "user: a | b",
        ),
        (r#"{"prompt": "hi"}"#, "user: hi"),
    ] {
        assert_eq!(read_in(content), [expected], "{content}");
    }
    // Ollama
    assert_eq!(
        read_out(r#"{"message": {"role": "assistant", "content": "a"}, "done_reason": "length"}"#),
        ["assistant: a -> length"]
    );
}

#[test]
fn plain_and_unknown_content() {
    for (content, expected) in [
        ("null", &[][..]),
        ("[]", &[]),
        (r#""hi""#, &["user: hi"]),
        (r#""""#, &["user: "]),
        ("5", &["user: other 5"]),
        ("true", &["user: other true"]),
        (r#"{"foo": 1.50}"#, &[r#"user: other {"foo": 1.50}"#]),
        (r#"["a", null, 5]"#, &["user: a | other 5"]),
        (
            r#"[{"role": "user"}]"#,
            &[r#"user: other {"role": "user"}"#],
        ),
        (
            r#"[{"role": 5, "x": 1}]"#,
            &[r#"user: other {"role": 5, "x": 1}"#],
        ),
        (r#"{"messages": 5}"#, &["user: other 5"]),
    ] {
        assert_eq!(read_in(content), expected, "{content}");
    }
    assert_eq!(read_out("null"), [""; 0]);
    assert_eq!(read_out("5"), ["assistant: other 5 -> stop"]);
    let cut = Json::new("cut o");
    assert_eq!(short(&output(&cut, true)), ["assistant: cut o -> error"]);
}

fn open_inference_of(conversation: &Conversation<'_>) -> Value {
    let mut attributes = Attributes::new();
    open_inference("m", Some(conversation), &mut attributes);
    let fields = attributes.0.into_iter().map(|attribute| {
        let Some(Val::Text(text)) = attribute.value.and_then(|value| value.value) else {
            panic!("{} is no text", attribute.key);
        };
        let key = attribute.key.strip_prefix("m.").unwrap().to_owned();
        (key.replace("message_content", "mc"), json!(text))
    });
    let fields: Vec<_> = fields.collect();
    let names: BTreeSet<_> = fields.iter().map(|(key, _)| key).collect();
    assert_eq!(names.len(), fields.len(), "a name comes twice");
    Value::Object(fields.into_iter().collect())
}

#[test]
fn in_the_names_of_openinference() {
    let content = Json::parse(
        r#"[{"role": "system", "content": "be brief"},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://e.com/i"}}, {"type": "input_audio", "x": 1.50}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": "{\"z\": 123456789012345678901, \"a\": 1.50}"}},
                {"id": "c2", "function": {"name": "g"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "one"}, {"text": "two"}]},
                {"type": "tool_result", "tool_use_id": "c2", "content": {"z": 1, "a": 2}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": ""}]},
            {"role": "assistant", "content": ""}]"#,
    )
    .unwrap();
    assert_eq!(
        open_inference_of(&input(&content)),
        json!({
            "0.message.role": "system",
            "0.message.content": "be brief",
            "1.message.role": "user",
            "1.message.name": "ann",
            "1.message.contents.0.mc.type": "text",
            "1.message.contents.0.mc.text": "hi",
            "1.message.contents.1.mc.type": "image",
            "1.message.contents.1.mc.image.image.url": "https://e.com/i",
            "1.message.contents.2.mc.type": "text",
            "1.message.contents.2.mc.text": r#"{"type": "input_audio", "x": 1.50}"#,
            "2.message.role": "assistant",
            "2.message.tool_calls.0.tool_call.id": "c1",
            "2.message.tool_calls.0.tool_call.function.name": "f",
            "2.message.tool_calls.0.tool_call.function.arguments":
                r#"{"z": 123456789012345678901, "a": 1.50}"#,
            "2.message.tool_calls.1.tool_call.id": "c2",
            "2.message.tool_calls.1.tool_call.function.name": "g",
            "3.message.role": "tool",
            "3.message.tool_call_id": "c1",
            "3.message.content": "one\ntwo",
            "4.message.role": "tool",
            "4.message.tool_call_id": "c2",
            "4.message.content": r#"{"z": 1, "a": 2}"#,
            "5.message.role": "assistant",
            "5.message.contents.0.mc.type": "reasoning",
            "5.message.contents.0.mc.text": "hm",
            "5.message.contents.1.mc.type": "text",
            "5.message.contents.1.mc.text": "",
            "6.message.role": "assistant",
            "6.message.content": "",
        })
    );
}

fn texts_of(attributes: &Attributes) -> Vec<(&str, &str)> {
    attributes
        .0
        .iter()
        .filter_map(|attribute| match &attribute.value.as_ref()?.value {
            Some(Val::Text(text)) => Some((attribute.key.as_str(), text.as_str())),
            _ => None,
        })
        .collect()
}

#[test]
fn in_the_words_of_the_genai_conventions() {
    let content = Json::parse(
        r#"[{"role": "developer", "content": "be brief"},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "https://e.com/i"}}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "input_audio", "x": 1.50}, {"no": "type"}, {"type": "text", "text": 5}]},
            {"role": "assistant", "reasoning_content": "hm", "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": "{\"z\": 123456789012345678901, \"a\": 1.50}"}},
                {"function": {"name": "g", "arguments": "no json"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": {"z": 1, "a": 2}}]"#,
    )
    .unwrap();
    let mut attributes = Attributes::new();
    gen_ai_input(&input(&content), &mut attributes);
    assert_eq!(
        texts_of(&attributes),
        [
            (
                "gen_ai.system_instructions",
                r#"[{"type":"text","content":"be brief"}]"#
            ),
            (
                "gen_ai.input.messages",
                concat!(
                    r#"[{"role":"user","parts":[{"type":"text","content":"hi"},"#,
                    r#"{"type":"uri","modality":"image","uri":"https://e.com/i"},"#,
                    r#"{"type":"blob","modality":"image","mime_type":"image/png","content":"AAAA"},"#,
                    r#"{"type": "input_audio", "x": 1.50},"#,
                    r#"{"type":"text","content":"{\"no\": \"type\"}"},"#,
                    r#"{"type":"text","content":"{\"type\": \"text\", \"text\": 5}"}],"name":"ann"},"#,
                    r#"{"role":"assistant","parts":[{"type":"reasoning","content":"hm"},"#,
                    r#"{"type":"tool_call","id":"c1","name":"f","arguments":{"z": 123456789012345678901, "a": 1.50}},"#,
                    r#"{"type":"tool_call","id":null,"name":"g","arguments":"no json"}]},"#,
                    r#"{"role":"tool","parts":[{"type":"tool_call_response","id":"c1","response":{"z": 1, "a": 2}}]}]"#,
                )
            ),
        ]
    );
    let mut attributes = Attributes::new();
    let answer = Json::new(&json!({"choices": [
        {"message": {"role": "assistant", "content": "a"}, "finish_reason": "length"},
        {"message": {"role": "assistant", "content": "b"}},
    ]}));
    gen_ai_output(&output(&answer, false), &mut attributes);
    assert_eq!(
        texts_of(&attributes),
        [(
            "gen_ai.output.messages",
            concat!(
                r#"[{"role":"assistant","parts":[{"type":"text","content":"a"}],"finish_reason":"length"},"#,
                r#"{"role":"assistant","parts":[{"type":"text","content":"b"}],"finish_reason":"stop"}]"#,
            )
        )]
    );
    let mut reasons = Attributes::new();
    reasons.texts("gen_ai.response.finish_reasons", &["length", "stop"]);
    assert_eq!(attributes.0.last(), reasons.0.last());
}

/// The rules of `gen-ai-input-messages.json` and `gen-ai-output-messages.json` that Phoenix checks too.
fn is_valid(message: &Value) -> bool {
    let text = |value: &Value, field: &str| value[field].is_string();
    let has = |value: &Value, field: &str| value.get(field).is_some();
    let part = |part: &Value| match part["type"].as_str() {
        None => false,
        Some("text" | "reasoning") => text(part, "content"),
        Some("tool_call") => text(part, "name") && has(part, "id") && has(part, "arguments"),
        Some("tool_call_response") => has(part, "response") && has(part, "id"),
        Some("blob") => text(part, "modality") && text(part, "content"),
        Some("uri") => text(part, "modality") && text(part, "uri"),
        Some("file") => text(part, "modality") && text(part, "file_id"),
        Some("server_tool_call" | "server_tool_call_response") => false,
        Some(_) => true,
    };
    text(message, "role")
        && message["parts"]
            .as_array()
            .is_some_and(|parts| parts.iter().all(part))
}

/// What arrives of content under both sets of names.
struct Arrived {
    open_inference: Value,
    gen_ai: Vec<Value>,
}

impl Arrived {
    fn of(content: &Json, is_output: bool) -> Self {
        let conversation = match is_output {
            true => output(content, false),
            false => input(content),
        };
        let mut attributes = Attributes::new();
        match is_output {
            true => gen_ai_output(&conversation, &mut attributes),
            false => gen_ai_input(&conversation, &mut attributes),
        }
        let mut gen_ai = Vec::new();
        for (name, json) in texts_of(&attributes) {
            let list: Vec<Value> = serde_json::from_str(json).unwrap();
            match name {
                "gen_ai.system_instructions" => {
                    gen_ai.push(json!({"role": "system", "parts": list}));
                }
                _ => gen_ai.extend(list),
            }
        }
        Self {
            open_inference: open_inference_of(&conversation),
            gen_ai,
        }
    }

    /// Whether a text is there, in both.
    fn has(&self, text: &str) -> bool {
        leaves(&self.open_inference).any(|leaf| leaf.contains(text))
            && self
                .gen_ai
                .iter()
                .any(|message| leaves(message).any(|leaf| leaf.contains(text)))
    }
}

fn leaves(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        Value::String(text) => Box::new(std::iter::once(text.as_str())),
        Value::Array(items) => Box::new(items.iter().flat_map(leaves)),
        Value::Object(fields) => Box::new(fields.values().flat_map(leaves)),
        _ => Box::new(std::iter::empty()),
    }
}

/// Any JSON, rich in the words that shapes are told by.
fn nonsense() -> impl Strategy<Value = Value> {
    const WORDS: &[&str] = &[
        "role",
        "content",
        "parts",
        "type",
        "text",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "tool_use",
        "tool_result",
        "tool_call_id",
        "toolUse",
        "toolResult",
        "functionCall",
        "functionResponse",
        "inlineData",
        "image_url",
        "image",
        "source",
        "url",
        "uri",
        "blob",
        "modality",
        "message",
        "output",
        "choices",
        "candidates",
        "messages",
        "input",
        "contents",
        "system",
        "reasoning",
        "summary",
        "thinking",
        "file",
        "assistant",
        "user",
        "tool",
        "server_tool_call",
        "human",
        "finish_reason",
        "function_call",
        "id",
        "refusal",
        "audio",
    ];
    let word = || prop::sample::select(WORDS).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 60, 6, move |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            collection::vec((word(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The content of a message in one of the shapes of providers, with these texts in it.
fn well_formed(shape: usize, texts: &[String]) -> Value {
    let all = |part: &dyn Fn(&String) -> Value| texts.iter().map(part).collect::<Vec<_>>();
    match shape {
        0 => json!({"role": "user", "content": texts.concat()}),
        1 => json!({"role": "user", "content": all(&|text| json!({"type": "text", "text": text}))}),
        2 => json!({"role": "assistant", "content": null, "tool_calls":
            all(&|text| json!({"id": "c", "type": "function", "function": {
                "name": "f", "arguments": json!({"q": text}).to_string()}}))}),
        3 => json!({"role": "tool", "tool_call_id": "c", "content":
            all(&|text| json!({"type": "text", "text": text}))}),
        4 => json!({"role": "user", "content":
            all(&|text| json!({"type": "tool_result", "tool_use_id": "t", "content": text}))}),
        5 => json!({"role": "assistant", "content":
            all(&|text| json!({"type": "thinking", "thinking": text}))}),
        6 => json!({"role": "model", "parts": all(&|text| json!({"text": text}))}),
        7 => json!({"role": "user", "parts": all(&|text| json!({"functionResponse": {
            "name": "f", "response": {"result": text}}}))}),
        8 => json!({"role": "user", "content": all(&|text| json!({"toolResult": {
            "toolUseId": "t", "content": [{"text": text}]}}))}),
        9 => json!({"role": "assistant", "content": all(&|text| json!({"toolUse": {
            "toolUseId": "t", "name": "f", "input": {"q": text}}}))}),
        10 => json!({"type": "function_call_output", "call_id": "c", "output": texts.concat()}),
        11 => json!({"role": "user", "parts":
            all(&|text| json!({"type": "text", "content": text}))}),
        12 => json!({"type": "reasoning", "summary":
            all(&|text| json!({"type": "summary_text", "text": text}))}),
        13 => json!({"role": "assistant", "content": [], "refusal": texts.concat()}),
        _ => json!({"type": "message", "role": "assistant", "content":
            all(&|text| json!({"type": "output_text", "text": text}))}),
    }
}

const SHAPES: usize = 15;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn nonsense_harms_nothing(value in nonsense()) {
        let content = Json::new(&value);
        for is_output in [false, true] {
            let arrived = Arrived::of(&content, is_output);
            prop_assert!(arrived.gen_ai.iter().all(is_valid), "{:?}", arrived.gen_ai);
            if is_output {
                let reasons = arrived.gen_ai.iter().all(|message| message["finish_reason"].is_string());
                prop_assert!(reasons);
            }
        }
    }

    #[test]
    fn no_text_of_a_message_is_lost(
        messages in collection::vec((0..SHAPES, collection::vec("[a-z]{8,12}", 1..4)), 1..6),
        is_output: bool,
        in_body: bool,
    ) {
        let list: Vec<_> = messages.iter().map(|(shape, texts)| well_formed(*shape, texts)).collect();
        let content = match (in_body, is_output) {
            (false, _) => json!(list),
            (true, false) => json!({"model": "m", "messages": list}),
            (true, true) => json!({"output": list}),
        };
        let arrived = Arrived::of(&Json::new(&content), is_output);
        for text in messages.iter().flat_map(|(_, texts)| texts) {
            prop_assert!(arrived.has(text), "{text} of {content}");
        }
        prop_assert!(arrived.gen_ai.iter().all(is_valid));
    }
}
