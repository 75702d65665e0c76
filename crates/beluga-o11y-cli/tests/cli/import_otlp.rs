//! `import --from otlp-json`: what our exporters have sent comes back.

use beluga_o11y_sandbox::{Backend, OtlpSpan, Sandbox};
use serde_json::{Map, Value, json};

use crate::support::Place;

/// Records of all kinds, as their JSON. What they have under other names in a span comes back in that span's words: the
/// providers' names are those of the conventions.
fn records() -> Vec<Value> {
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
    let call = json!({"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}});
    let full = json!({
        "id": "01a2053e-d6f8-792b-8988-1657efa89323",
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "name": "judge",
        "start_time": "2026-11-22T21:52:14.072279123Z",
        "duration_ms": 840.000001,
        "time_to_first_token_ms": 120.5,
        "input_tokens": 117,
        "output_tokens": 3,
        "cache_read_tokens": 100,
        "cache_write_tokens": 7,
        "reasoning_tokens": 1,
        "cost": 0.00123,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "text", "text": "what is it? \u{1f600}"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "sunny"},
        ],
        "response": {"role": "assistant", "content": "hello", "reasoning_content": "hm"},
        "model_parameters": {"temperature": 0.2, "max_tokens": 99, "stop": "END", "tools": [tool]},
        "error": {"kind": "RateLimitError", "message": "429", "trace": "at x"},
        "session_id": "conv-1",
        "user_id": "u-1",
        "tags": ["prod", "b"],
        "environment": "staging",
        "release": "1.2.3",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "parent_span_id": "b7ad6b7169203331",
        "metadata": {"k": {"nested": [1, 2.5]}, "release": "of the caller"},
    });
    let small = |id: u8, more: Value| {
        let Value::Object(mut call) = json!({
            "id": format!("01a2053e-d6f8-792b-8988-1657efa893{id:02}"),
            "provider": "openai", "model": "gpt-4o",
            "start_time": "2026-11-22T21:52:15Z", "duration_ms": 12,
        }) else {
            panic!("an object")
        };
        call.extend(more.as_object().unwrap().clone());
        Value::Object(call)
    };
    vec![
        full,
        small(10, json!({"messages": "hi", "response": "hello"})),
        small(
            11,
            json!({"messages": {"contents": [{"parts": [{"text": "hi"}]}]}, "response": [1, {"a": null}]}),
        ),
        small(
            12,
            json!({"trace_id": "order-7", "parent_span_id": "step", "error": "boom"}),
        ),
        small(
            13,
            json!({"input_tokens": 0, "output_tokens": 0, "cost": 0.0, "metadata": {"environment": 7}}),
        ),
        small(
            14,
            json!({"provider": "My-Own", "model": "", "response": "", "model_parameters": "hot"}),
        ),
        small(
            15,
            json!({"messages": "[1", "response": "{\"a\"", "name": "chat"}),
        ),
    ]
}

fn any_value(value: &Value) -> Value {
    match value {
        Value::Bool(it) => json!({ "boolValue": it }),
        Value::String(it) => json!({ "stringValue": it }),
        Value::Number(it) if it.is_f64() => json!({ "doubleValue": it }),
        Value::Number(it) => json!({ "intValue": it.to_string() }),
        Value::Array(list) => {
            json!({"arrayValue": {"values": list.iter().map(any_value).collect::<Vec<_>>()}})
        }
        other => panic!("{other} is never sent"),
    }
}

fn attributes<'a>(fields: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Vec<Value> {
    let pair = |(key, value): (&String, &Value)| json!({"key": key, "value": any_value(value)});
    fields.into_iter().map(pair).collect()
}

/// A span that arrived, as the Collector's file exporter would write it.
fn line(span: &OtlpSpan) -> String {
    let events = span.events.iter().map(|event| {
        json!({
            "name": event.name, "timeUnixNano": event.time_unix_nano.to_string(),
            "attributes": attributes(&event.attributes),
        })
    });
    let code = ["unset", "ok", "error"]
        .iter()
        .position(|status| *status == span.status);
    let written = json!({
        "traceId": span.trace_id, "spanId": span.span_id,
        "parentSpanId": span.parent_span_id.clone().unwrap_or_default(),
        "name": span.name, "kind": 3,
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": attributes(&span.attributes),
        "events": events.collect::<Vec<_>>(),
        "status": {"code": code, "message": span.status_message},
    });
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes(&span.resource)},
        "scopeSpans": [{"scope": {"name": span.scope_name, "version": span.scope_version}, "spans": [written]}],
    }]})
    .to_string()
}

#[test]
fn what_our_exporters_have_sent_comes_back() {
    for (name, backend, of_resource) in [
        ("otlp", Backend::Otlp, "service.name"),
        ("phoenix", Backend::Phoenix, "openinference.project.name"),
    ] {
        let sandbox = Sandbox::start().unwrap();
        let variables = sandbox.environment().into_iter();
        let place = variables.fold(Place::new(), |place, (name, value)| place.with(name, value));
        let sent: Vec<String> = records().iter().map(Value::to_string).collect();
        let file = place.file("calls.jsonl", sent.join("\n"));
        place.run(&["replay", &file, "--to", name]).ends_with(0);

        let spans = sandbox.otlp_spans(backend);
        assert_eq!(spans.len(), sent.len());
        let lines: Vec<String> = spans.iter().map(line).collect();
        let file = place.file("spans.jsonl", lines.join("\n"));
        let back = place
            .run(&["import", "--from", "otlp-json", &file])
            .ends_with(0);
        let mut back: Vec<Value> = (back.out.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        back.sort_by_key(|call| call["id"].to_string());
        let mut expected = records();
        expected.sort_by_key(|call| call["id"].to_string());
        assert_eq!(back.len(), expected.len());
        for (mut back, mut expected) in back.into_iter().zip(expected) {
            // What is known beside the record: who sent it.
            let metadata = back["metadata"].as_object_mut().unwrap();
            assert!(metadata.remove(of_resource).is_some(), "{metadata:?}");
            if metadata.is_empty() {
                back.as_object_mut().unwrap().remove("metadata");
            }
            // The conventions' default for a name.
            if expected["name"] == "chat" {
                expected.as_object_mut().unwrap().remove("name");
            }
            let fields: Map<_, _> = expected.as_object().unwrap().clone();
            for (field, value) in fields {
                assert_eq!(back[&field], value, "{name}: {field}");
            }
            assert_eq!(back, expected, "{name}: no more than was sent");
        }
    }
}
