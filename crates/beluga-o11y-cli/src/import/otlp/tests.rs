use beluga_o11y::{LLMCallData, MAX_JSON_DEPTH};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::turn;

/// Files that OpenTelemetry's own exporter has written of calls to a server like `tests/live/llm_server.py`, by these
/// instrumentations: `opentelemetry-instrumentation-genai-openai` and `-genai-anthropic` 1.3b0,
/// `openinference-instrumentation-openai` 0.1.66 and `-anthropic` 3.1.0, `opentelemetry-instrumentation-openai` and
/// `-anthropic` (OpenLLMetry) 0.40.14 and 0.62.4. Version 2.12 of Anthropic's own client tells its calls as well.
const GENAI: &str = include_str!("../../../tests/fixtures/otlp-genai.jsonl");
const OPENINFERENCE: &str = include_str!("../../../tests/fixtures/otlp-openinference.jsonl");
const OPENLLMETRY_OLD: &str = include_str!("../../../tests/fixtures/otlp-openllmetry-0.40.jsonl");
const OPENLLMETRY: &str = include_str!("../../../tests/fixtures/otlp-openllmetry-0.62.jsonl");

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const START: u64 = 1_790_000_000_000_000_000;

/// The calls of a document in which nothing is bad, as JSON.
#[track_caller]
fn calls(document: &str) -> Vec<Value> {
    let turned = turn(document);
    assert_eq!(turned.problems, []);
    let json = |call: &LLMCallData| serde_json::to_value(call).unwrap();
    turned.calls.iter().map(json).collect()
}

fn problems(document: &str) -> Vec<String> {
    let problems = turn(document).problems.into_iter();
    problems.map(|(_, problem)| problem.to_string()).collect()
}

/// An `AnyValue`.
fn any_value(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(it) => json!({ "boolValue": it }),
        Value::String(it) => json!({ "stringValue": it }),
        Value::Number(it) if it.is_f64() => json!({ "doubleValue": it }),
        Value::Number(it) => json!({ "intValue": it.to_string() }),
        Value::Array(list) => {
            json!({"arrayValue": {"values": list.iter().map(any_value).collect::<Vec<_>>()}})
        }
        Value::Object(fields) => json!({"kvlistValue": {"values": pairs(fields)}}),
    }
}

fn pairs(fields: &Map<String, Value>) -> Vec<Value> {
    let pair = |(key, value): (&String, &Value)| json!({"key": key, "value": any_value(value)});
    fields.iter().map(pair).collect()
}

fn attributes(fields: Value) -> Vec<Value> {
    pairs(fields.as_object().unwrap())
}

fn event(name: &str, after_millis: u64, fields: Value) -> Value {
    let time = START + after_millis * 1_000_000;
    json!({"name": name, "timeUnixNano": time.to_string(), "attributes": attributes(fields)})
}

/// A span of one second.
fn span(fields: Value) -> Value {
    json!({
        "traceId": TRACE,
        "spanId": "b7ad6b7169203331",
        "name": "n",
        "startTimeUnixNano": START.to_string(),
        "endTimeUnixNano": (START + 1_000_000_000).to_string(),
        "attributes": attributes(fields),
    })
}

fn with(mut span: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    span.as_object_mut().unwrap().extend(more);
    span
}

fn document(spans: Vec<Value>) -> String {
    json!({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "s"}, "spans": spans}]}]})
        .to_string()
}

/// Spans of several libraries.
fn by_scopes(scopes: Vec<(&str, Vec<Value>)>) -> String {
    let scopes = scopes.into_iter();
    let scopes = scopes.map(|(name, spans)| json!({"scope": {"name": name}, "spans": spans}));
    json!({"resourceSpans": [{"scopeSpans": scopes.collect::<Vec<_>>()}]}).to_string()
}

/// The one call that the one span is.
#[track_caller]
fn call_of(span: Value) -> Value {
    let mut calls = calls(&document(vec![span]));
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

/// The call of a chat with these attributes.
#[track_caller]
fn chat(mut fields: Value) -> Value {
    fields["gen_ai.operation.name"] = "chat".into();
    call_of(span(fields))
}

fn only(call: &Value, fields: &[&str]) -> Value {
    let some = fields
        .iter()
        .map(|name| ((*name).to_owned(), call[*name].clone()));
    Value::Object(some.filter(|(_, value)| !value.is_null()).collect())
}

const FIGURES: &[&str] = &[
    "provider",
    "model",
    "name",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "messages",
    "response",
    "model_parameters",
    "environment",
    "release",
];

fn said() -> Value {
    json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of \"France\"? \u{1f600}"},
    ])
}

/// The calls by model, and which of that model.
fn figures(document: &str) -> Vec<Value> {
    calls(document)
        .iter()
        .map(|call| only(call, FIGURES))
        .collect()
}

fn stream_of_gpt(parameters: Value) -> Value {
    json!({
        "provider": "openai", "model": "gpt-4o", "environment": "staging", "release": "1.2.3",
        "input_tokens": 140, "output_tokens": 125, "cache_read_tokens": 16, "reasoning_tokens": 9,
        "messages": said(), "response": "Paris is the capital.", "model_parameters": parameters,
    })
}

fn tools_of_gpt(arguments: &str, parameters: Value) -> Value {
    json!({
        "provider": "openai", "model": "gpt-4o", "environment": "staging", "release": "1.2.3",
        "input_tokens": 40, "output_tokens": 25, "cache_read_tokens": 16, "reasoning_tokens": 9,
        "messages": said(),
        "response": {"role": "assistant", "tool_calls": [tool_call("call_1", arguments)]},
        "model_parameters": parameters,
    })
}

fn tool_call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}})
}

fn busy_gpt(parameters: Value) -> Value {
    json!({
        "provider": "openai", "model": "busy-model", "environment": "staging", "release": "1.2.3",
        "messages": said(), "model_parameters": parameters,
    })
}

fn claude(messages: Value, response: Value, parameters: Value) -> Value {
    json!({
        "provider": "anthropic", "model": "claude-sonnet-4-5", "environment": "staging", "release": "1.2.3",
        "input_tokens": 40, "output_tokens": 25, "cache_read_tokens": 16, "cache_write_tokens": 7,
        "messages": messages, "response": response, "model_parameters": parameters,
    })
}

fn with_result_of_tool(id: &str, arguments: &str) -> Value {
    json!([
        {"role": "user", "content": "What is the capital of \"France\"? \u{1f600}"},
        {"role": "assistant", "tool_calls": [tool_call(id, arguments)]},
        {"role": "tool", "tool_call_id": id, "content": "sunny"},
    ])
}

fn thought() -> Value {
    json!({"role": "assistant", "content": "Paris is the capital.", "reasoning_content": "France has a capital."})
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
}

#[test]
fn a_real_file_of_the_genai_conventions() {
    let tool = json!({"type": "function", "name": "weather", "description": "The weather of a city.", "parameters": schema()});
    let asked = json!({"temperature": 0.2, "max_tokens": 100});
    let embedded = json!({
        "provider": "openai", "model": "text-embedding-3-small", "environment": "staging", "release": "1.2.3",
        "input_tokens": 14,
    });
    let expected = [
        stream_of_gpt(json!({"temperature": 0.2, "max_tokens": 100, "stream": true})),
        tools_of_gpt(
            r#"{"city":"Paris"}"#,
            json!({"temperature": 0.2, "max_tokens": 100, "tools": [tool]}),
        ),
        busy_gpt(asked),
        embedded,
        claude(
            with_result_of_tool("toolu_1", r#"{"city":"Paris"}"#),
            "Paris is the capital.".into(),
            json!({"max_tokens": 100}),
        ),
        claude(said(), thought(), json!({"max_tokens": 100})),
    ];
    assert_eq!(figures(GENAI), expected);
    let turned = turn(GENAI);
    assert_eq!(
        turned.others, 8,
        "those around the calls, and what the client tells"
    );
    let [stream, _, busy, embeddings, ..] = &calls(GENAI)[..] else {
        panic!("fewer calls")
    };
    assert_eq!(stream["start_time"], "2026-11-24T02:41:27.124890601Z");
    assert_eq!(stream["duration_ms"], 6.092606);
    assert_eq!(stream["time_to_first_token_ms"], 4.798727);
    assert_eq!(stream["trace_id"], "c21c4200ddf85934b19adb22b70278b5");
    assert_eq!(stream["parent_span_id"], "28b624501cd406d5");
    assert_eq!(
        stream["metadata"],
        json!({
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.response.id": "chatcmpl-2",
            "gen_ai.response.model": "gpt-4o-2026-11-01",
            "server.address": "127.0.0.1",
            "server.port": 8080,
            "service.name": "travel",
        })
    );
    let what = "Error code: 429 - Rate limit reached for busy-model. Try again in 20 s.";
    assert_eq!(
        busy["error"],
        json!({"kind": "openai.RateLimitError", "message": what, "trace": null})
    );
    assert_eq!(
        embeddings["metadata"]["gen_ai.operation.name"],
        "embeddings"
    );
}

#[test]
fn a_real_file_of_openinference() {
    let function =
        json!({"name": "weather", "description": "The weather of a city.", "parameters": schema()});
    let asked = |more: Value| {
        let parameters = json!({"model": "gpt-4o", "max_tokens": 100, "temperature": 0.2});
        with(parameters, more)
    };
    let embedded = json!({
        "provider": "openai", "model": "text-embedding-3-small", "environment": "staging", "release": "1.2.3",
        "input_tokens": 14, "messages": ["one", "two"],
        "model_parameters": {"model": "text-embedding-3-small", "dimensions": 3, "encoding_format": "base64"},
    });
    let expected = [
        stream_of_gpt(asked(
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        )),
        tools_of_gpt(
            r#"{"city": "Paris"}"#,
            asked(json!({"tools": [{"type": "function", "function": function}]})),
        ),
        busy_gpt(asked(json!({"model": "busy-model"}))),
        embedded,
        claude(
            with_result_of_tool("toolu_1", r#"{"city": "Paris"}"#),
            "Paris is the capital.".into(),
            json!({"max_tokens": 100}),
        ),
        claude(
            said(),
            thought(),
            json!({"max_tokens": 100, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ),
    ];
    assert_eq!(figures(OPENINFERENCE), expected);
    let [stream, _, busy, ..] = &calls(OPENINFERENCE)[..] else {
        panic!("fewer calls")
    };
    assert_eq!(
        stream["time_to_first_token_ms"], 3.895578,
        "told by an event"
    );
    assert_eq!(
        stream["metadata"]["gen_ai.response.model"],
        "gpt-4o-2026-11-01"
    );
    assert_eq!(busy["error"]["kind"], "openai.RateLimitError");
    let what = "Error code: 429 - Rate limit reached for busy-model. Try again in 20 s.";
    assert_eq!(busy["error"]["message"], what);
    let trace = busy["error"]["trace"].as_str().unwrap();
    assert!(trace.starts_with("Traceback"), "{trace}");
}

#[test]
fn real_files_of_openllmetry() {
    let function =
        json!({"name": "weather", "description": "The weather of a city.", "parameters": schema()});
    let asked = json!({"temperature": 0.2, "max_tokens": 100});
    // It tells of no tokens of streams, and of no reasoning.
    let mut stream = stream_of_gpt(json!({"temperature": 0.2, "max_tokens": 100, "stream": true}));
    let mut answer = tools_of_gpt(
        "",
        json!({"tools": [{"type": "function", "function": function}]}),
    );
    answer["messages"] = with_result_of_tool("call_1", r#"{"city": "Paris"}"#);
    answer["response"] = "Paris is the capital.".into();
    for (call, names) in [(&mut stream, &FIGURES[3..8]), (&mut answer, &FIGURES[7..8])] {
        for name in names {
            call.as_object_mut().unwrap().remove(*name);
        }
    }
    let embedded = json!({
        "provider": "openai", "model": "text-embedding-3-small", "environment": "staging", "release": "1.2.3",
        "input_tokens": 14, "cache_read_tokens": 0, "messages": ["one", "two"],
    });
    let mut plain = claude(said(), "Paris is the capital.".into(), Value::Null);
    let mut thinking = claude(said(), thought(), Value::Null);
    for call in [&mut plain, &mut thinking] {
        call.as_object_mut().unwrap().remove("model_parameters");
    }
    let expected = [
        stream.clone(),
        answer,
        busy_gpt(asked),
        embedded,
        plain,
        thinking,
    ];
    assert_eq!(figures(OPENLLMETRY_OLD), expected);
    let thinking = &calls(OPENLLMETRY_OLD)[5];
    assert_eq!(
        thinking["metadata"]["gen_ai.response.finish_reasons"],
        json!(["end_turn"])
    );

    stream["input_tokens"] = 140.into();
    stream["output_tokens"] = 125.into();
    stream["cache_read_tokens"] = 16.into();
    let mut streamed = claude(
        said(),
        "Paris is the capital.".into(),
        json!({"max_tokens": 100, "stream": true}),
    );
    streamed["input_tokens"] = 140.into();
    // It adds up what is told of the same tokens twice.
    streamed["output_tokens"] = 126.into();
    let busy = json!({
        "provider": "anthropic", "model": "busy-model", "environment": "staging", "release": "1.2.3",
        "messages": said(), "model_parameters": {"max_tokens": 100},
    });
    assert_eq!(figures(OPENLLMETRY), [stream, streamed, busy]);
    let calls = calls(OPENLLMETRY);
    assert_eq!(
        calls[0]["time_to_first_token_ms"], 5.85216,
        "told by events"
    );
    assert_eq!(
        calls[1]["time_to_first_token_ms"], 19.487623,
        "told by the client only, whose span is beside this one"
    );
    assert_eq!(calls[2]["error"]["kind"], "RateLimitError");
}

#[test]
fn the_same_file_gives_the_same_records() {
    assert_eq!(calls(GENAI), calls(GENAI));
    let mut ids: Vec<_> = [GENAI, OPENINFERENCE, OPENLLMETRY, OPENLLMETRY_OLD]
        .iter()
        .flat_map(|file| turn(file).calls)
        .map(|call| call.id())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    let of = |more: Value| {
        let span = span(json!({"gen_ai.operation.name": "chat"}));
        call_of(with(span, more))["id"].clone()
    };
    let id = of(json!({}));
    assert_ne!(of(json!({"spanId": "b7ad6b7169203332"})), id);
    assert_ne!(of(json!({"traceId": TRACE.replace('0', "1")})), id);
    assert_eq!(of(json!({"name": "another"})), id);
    let call = &turn(GENAI).calls[0];
    assert_eq!(call.id().get_version_num(), 7);
    let (seconds, nanos) = call.id().get_timestamp().unwrap().to_unix();
    assert_eq!(
        i64::try_from(seconds * 1000).unwrap() + i64::from(nanos / 1_000_000),
        call.start_time().timestamp_millis()
    );
}

#[test]
fn a_file_over_many_lines_is_the_same() {
    let request: Value = serde_json::from_str(GENAI).unwrap();
    let pretty = serde_json::to_string_pretty(&request).unwrap();
    assert_eq!(calls(&pretty), calls(GENAI));
    let resource = request["resourceSpans"][0].to_string();
    assert_eq!(calls(&resource), calls(GENAI), "and a part of one");
}

#[test]
fn values_of_every_kind() {
    let mut span = span(json!({"gen_ai.operation.name": "chat"}));
    let list = span["attributes"].as_array_mut().unwrap();
    for (key, value) in [
        ("int", json!({"intValue": "-9223372036854775808"})),
        ("number", json!({"intValue": 7})),
        ("large", json!({"intValue": "99999999999999999999"})),
        ("double", json!({"doubleValue": 0.5})),
        ("text", json!({"doubleValue": "1.5"})),
        ("nan", json!({"doubleValue": "NaN"})),
        ("flag", json!({"boolValue": false})),
        ("bytes", json!({"bytesValue": "AAH/"})),
        (
            "list",
            json!({"arrayValue": {"values": [{"intValue": "1"}, {}]}}),
        ),
        ("none", json!({"arrayValue": {}})),
        (
            "map",
            json!({"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}}),
        ),
        ("empty", json!({})),
        ("wrong", json!({"stringValue": 7})),
        ("unknown", json!({"futureValue": 7})),
        ("blank", json!({"stringValue": " "})),
    ] {
        list.push(json!({"key": key, "value": value}));
    }
    list.push(json!({"key": "without"}));
    list.push(json!("loose"));
    list.push(json!({"key": 7, "value": {"intValue": 7}}));
    assert_eq!(
        call_of(span)["metadata"],
        json!({
            "int": i64::MIN, "number": 7, "double": 0.5, "text": 1.5, "nan": "NaN", "flag": false, "bytes": "AAH/",
            "list": [1, null], "none": [], "map": {"k": "v"},
        })
    );
}

#[test]
fn what_the_encoding_allows() {
    let plain = call_of(span(json!({"gen_ai.operation.name": "chat"})));
    for more in [
        json!({"traceId": TRACE.to_uppercase(), "spanId": "B7AD6B7169203331"}),
        json!({"startTimeUnixNano": START, "endTimeUnixNano": START + 1_000_000_000}),
        json!({"parentSpanId": "", "events": null, "links": [], "status": null, "traceState": ""}),
        json!({"parentSpanId": "0000000000000000", "status": {}, "events": [], "someday": {"new": 1}}),
        json!({"kind": 3, "flags": 257, "droppedAttributesCount": 0, "status": {"code": 0}}),
        json!({"kind": "SPAN_KIND_CLIENT", "status": {"code": "STATUS_CODE_OK"}}),
    ] {
        let span = with(span(json!({"gen_ai.operation.name": "chat"})), more.clone());
        assert_eq!(call_of(span), plain, "{more}");
    }
    let odd = r#"{"resourceSpans":[{"resource":null,"scopeSpans":null,"x":[]},{"scopeSpans":[{"scope":null,"spans":null},{}]},{}],"y":1}"#;
    assert_eq!(calls(odd), Vec::<Value>::new());
    for empty in [
        "{}",
        "{\"resourceSpans\":[]}",
        "{\"resourceSpans\":null}",
        "{\"resourceLogs\":[{}]}",
        "{\"resourceMetrics\":[]}",
    ] {
        let turned = turn(empty);
        assert_eq!((turned.problems, turned.others), (vec![], 0), "{empty}");
    }
    // Half a character, as it is left where a text was cut.
    let cut = document(vec![span(
        json!({"gen_ai.operation.name": "chat", "gen_ai.completion": "CUT"}),
    )]);
    let cut = cut.replace("CUT", "Pari\\ud83d");
    assert_eq!(calls(&cut)[0]["response"], "Pari\u{fffd}");
}

#[test]
fn without_an_end_there_is_no_duration() {
    let of = |end: Value| {
        let span = span(json!({"gen_ai.operation.name": "chat"}));
        call_of(with(span, json!({"endTimeUnixNano": end})))["duration_ms"].clone()
    };
    for end in [
        json!(null),
        json!("0"),
        json!((START - 1).to_string()),
        json!("soon"),
    ] {
        assert_eq!(of(end.clone()), Value::Null, "{end}");
    }
    assert_eq!(of(json!(START.to_string())), 0);
    assert_eq!(of(json!(START + 1_500_000)), 1.5);
}

#[test]
fn what_is_bad_is_named_where_it_begins_and_not_quoted() {
    let bad = |more: Value| {
        let span = with(span(json!({"gen_ai.operation.name": "chat"})), more);
        document(vec![span])
    };
    for (document, expected) in [
        (
            bad(json!({"traceId": "SECRET"})),
            "traceId: expected 32 hexadecimal digits, found a text of 6 characters",
        ),
        (
            bad(json!({"traceId": "W47/95gDgQPSabYzgT/GDA=="})),
            "traceId: expected 32 hexadecimal digits, found a text of 24 characters; protobuf's own JSON has base64 here, OTLP/JSON has not",
        ),
        (
            bad(json!({"traceId": "0".repeat(32)})),
            "traceId: expected 32 hexadecimal digits, found only zeros",
        ),
        (
            bad(json!({"spanId": null})),
            "spanId: expected 16 hexadecimal digits, found none",
        ),
        (
            bad(json!({"spanId": 7})),
            "spanId: expected 16 hexadecimal digits, found no text",
        ),
        (
            bad(json!({"parentSpanId": "SECRET"})),
            "parentSpanId: expected 16 hexadecimal digits, found a text of 6 characters",
        ),
        (
            bad(json!({"startTimeUnixNano": null})),
            "startTimeUnixNano: missing",
        ),
        (
            bad(json!({"startTimeUnixNano": "0"})),
            "startTimeUnixNano: expected nanoseconds since 1970",
        ),
        (
            bad(json!({"startTimeUnixNano": "SECRET"})),
            "startTimeUnixNano: expected nanoseconds since 1970",
        ),
        (
            bad(json!({"attributes": "SECRET"})),
            "attributes: expected an array",
        ),
        (
            document(vec![json!("SECRET")]),
            "expected a span, found a string",
        ),
        ("[]".to_owned(), "expected an object, found an array"),
        (
            "\"SECRET\"".to_owned(),
            "expected an object, found a string",
        ),
        (
            "{\"SECRET\":1}".to_owned(),
            "no trace in OTLP/JSON: resourceSpans is missing",
        ),
        (
            "{\"resource_spans\":[]}".to_owned(),
            "resource_spans: OTLP/JSON has names in lowerCamelCase, resourceSpans",
        ),
        (
            "{\"resourceSpans\":\"SECRET\"}".to_owned(),
            "resourceSpans: expected an array, found a string",
        ),
        (
            "{\"resourceSpans\":[7]}".to_owned(),
            "expected an object, found a number",
        ),
        (
            "{\"resourceSpans\":[{\"scopeSpans\":7}]}".to_owned(),
            "scopeSpans: expected an array, found a number",
        ),
        (
            "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":{}}]}]}".to_owned(),
            "spans: expected an array, found another object",
        ),
    ] {
        assert_eq!(problems(&document), [expected], "{document}");
    }
    let deep = "[".repeat(200) + &"]".repeat(200);
    let deep = document(vec![json!({"x": "DEEP"})]).replace("\"DEEP\"", &deep);
    assert_eq!(
        problems(&deep),
        ["a span that is nested too deeply, or has a number that is too large"]
    );
}

#[test]
fn the_others_are_turned_and_problems_have_their_place() {
    let good = || span(json!({"gen_ai.operation.name": "chat"}));
    let bad = || with(good(), json!({"traceId": "x"}));
    let request: Value = serde_json::from_str(&document(vec![bad(), good(), bad()])).unwrap();
    let pretty = serde_json::to_string_pretty(&request).unwrap();
    let turned = turn(&pretty);
    assert_eq!(turned.calls.len(), 1);
    let begins: Vec<_> = pretty
        .match_indices("{\n              \"attributes\"")
        .collect();
    let places: Vec<_> = turned.problems.iter().map(|(at, _)| *at).collect();
    assert_eq!(begins.len(), 3);
    assert_eq!(places, [begins[0].0, begins[2].0]);
    // A span that is no call may be as it likes.
    let turned = turn(&document(vec![with(bad(), json!({"attributes": []}))]));
    assert_eq!((turned.problems.len(), turned.others), (0, 1));
}

#[test]
fn which_spans_are_calls() {
    let kind = |fields: Value| {
        let turned = turn(&document(vec![span(fields)]));
        assert_eq!(turned.calls.len() as u64 + turned.others, 1);
        turned.calls.len() == 1
    };
    for operation in [
        "chat",
        "text_completion",
        "generate_content",
        "embeddings",
        "rerank",
        "transcription",
    ] {
        assert!(
            kind(json!({"gen_ai.operation.name": operation})),
            "{operation}"
        );
    }
    let full = |operation: &str| json!({"gen_ai.operation.name": operation, "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1});
    for operation in [
        "invoke_agent",
        "create_agent",
        "execute_tool",
        "retrieval",
        "invoke_workflow",
    ] {
        assert!(!kind(full(operation)), "{operation}");
    }
    assert!(kind(full("dream")), "what nobody has heard of yet");
    assert!(!kind(
        json!({"gen_ai.operation.name": "dream", "gen_ai.request.model": "m"})
    ));
    for (fields, is_call) in [
        (json!({}), false),
        (json!({"http.request.method": "POST"}), false),
        (json!({"gen_ai.request.model": "m"}), false),
        (json!({"gen_ai.usage.input_tokens": 1}), false),
        (
            json!({"gen_ai.request.model": "m", "gen_ai.usage.output_tokens": 1}),
            true,
        ),
        (json!({"openinference.span.kind": "LLM"}), true),
        (json!({"openinference.span.kind": "llm"}), true),
        (json!({"openinference.span.kind": "EMBEDDING"}), true),
        (
            json!({"openinference.span.kind": "CHAIN", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1}),
            false,
        ),
        (json!({"openinference.span.kind": "TOOL"}), false),
        (
            json!({"openinference.span.kind": "AGENT", "gen_ai.operation.name": "chat"}),
            true,
        ),
        (
            json!({"openinference.span.kind": "LLM", "gen_ai.operation.name": "invoke_agent"}),
            false,
        ),
        (json!({"llm.request.type": "chat"}), true),
        (json!({"llm.request.type": "completion"}), true),
        (json!({"llm.request.type": "embedding"}), true),
        (json!({"llm.request.type": "unknown"}), false),
    ] {
        assert_eq!(kind(fields.clone()), is_call, "{fields}");
    }
}

#[test]
fn counts_in_every_form() {
    for (fields, expected) in [
        (
            json!({"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 0}),
            json!([5, 0, null, null, null]),
        ),
        (
            json!({"gen_ai.usage.input_tokens": "5", "gen_ai.usage.output_tokens": 2.0}),
            json!([5, 2, null, null, null]),
        ),
        (
            json!({"gen_ai.usage.input_tokens": 0.5, "gen_ai.usage.output_tokens": -1}),
            json!([null, null, null, null, null]),
        ),
        (
            json!({"gen_ai.usage.prompt_tokens": 5, "gen_ai.usage.completion_tokens": 2}),
            json!([5, 2, null, null, null]),
        ),
        (
            json!({"gen_ai.usage.prompt_tokens": 5, "gen_ai.usage.input_tokens": 6}),
            json!([6, null, null, null, null]),
        ),
        (
            json!({"llm.token_count.prompt": 5, "llm.token_count.completion": 2, "llm.token_count.total": 7}),
            json!([5, 2, null, null, null]),
        ),
        (
            json!({"gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 8, "gen_ai.usage.cache_read.input_tokens": 3,
                "gen_ai.usage.cache_creation.input_tokens": 2, "gen_ai.usage.reasoning_tokens": 1}),
            json!([9, 8, 3, 2, 1]),
        ),
        // It cannot have included them.
        (
            json!({"gen_ai.usage.input_tokens": 4, "gen_ai.usage.output_tokens": 1, "gen_ai.usage.cache_read_input_tokens": 3,
                "gen_ai.usage.cache_write.input_tokens": 2, "gen_ai.usage.reasoning.output_tokens": 5}),
            json!([9, 6, 3, 2, 5]),
        ),
    ] {
        let call = chat(fields.clone());
        let found: Vec<_> = FIGURES[3..8]
            .iter()
            .map(|name| call[*name].clone())
            .collect();
        assert_eq!(Value::Array(found), expected, "{fields}");
    }
    let odd = chat(
        json!({"gen_ai.usage.input_tokens": "many", "gen_ai.request.model": 7, "tag.tags": {"a": 1}}),
    );
    assert_eq!(
        odd["metadata"],
        json!({"gen_ai.usage.input_tokens": "many", "gen_ai.request.model": 7, "tag.tags": {"a": 1}}),
        "what cannot be read is kept as it is"
    );
}

#[test]
fn who_and_where() {
    let call = chat(json!({
        "gen_ai.provider.name": "aws.bedrock", "gen_ai.system": "x", "llm.provider": "y", "llm.system": "z",
        "session.id": "s", "gen_ai.conversation.id": "c", "user.id": "u", "enduser.id": "e", "tag.tags": ["a", "b"],
        "deployment.environment": "old", "llm.cost.total": 0.25,
        "metadata": "{\"experiment\": {\"n\": 1}, \"plain\": \"x\"}", "own": 1,
    }));
    let expected = json!({
        "provider": "aws.bedrock", "session_id": "s", "user_id": "u", "tags": ["a", "b"], "environment": "old", "cost": 0.25,
        "metadata": {"experiment": {"n": 1}, "plain": "x", "own": 1},
    });
    let names: Vec<_> = expected
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(only(&call, &names), expected);
    for (fields, name, expected) in [
        (
            json!({"gen_ai.conversation.id": "c"}),
            "session_id",
            json!("c"),
        ),
        (json!({"enduser.id": "e"}), "user_id", json!("e")),
        (json!({"tag.tags": "[\"a\"]"}), "tags", json!(["a"])),
        (json!({"gen_ai.usage.cost": "0.5"}), "cost", json!(0.5)),
        (json!({"operation.cost": 0.5}), "cost", json!(0.5)),
        (
            json!({"gen_ai.system": "OpenAI"}),
            "provider",
            json!("openai"),
        ),
        (
            json!({"llm.provider": "azure", "llm.system": "openai"}),
            "provider",
            json!("azure"),
        ),
        (json!({"embedding.model_name": "e"}), "model", json!("e")),
        (
            json!({"gen_ai.response.model": "m-1"}),
            "model",
            json!("m-1"),
        ),
        (
            json!({"llm.model_name": "m-1", "llm.invocation_parameters": "{\"model\":\"m\"}"}),
            "model",
            json!("m"),
        ),
        (
            json!({"metadata": "no JSON"}),
            "metadata",
            json!({"metadata": "no JSON"}),
        ),
        (
            json!({"gen_ai.response.time_to_first_chunk": 0.25}),
            "time_to_first_token_ms",
            json!(250),
        ),
    ] {
        assert_eq!(chat(fields.clone())[name], expected, "{fields}");
    }
    let resource = json!({
        "service.name": "travel", "service.namespace": "shop", "service.version": "2", "deployment.environment": "prod",
        "telemetry.sdk.name": "opentelemetry", "host.name": "h",
    });
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": attributes(resource)},
        "scopeSpans": [{"spans": [span(json!({"gen_ai.operation.name": "chat"}))]}],
    }]});
    let call = &calls(&request.to_string())[0];
    assert_eq!(
        only(call, &["environment", "release", "metadata"]),
        json!({
            "environment": "prod", "release": "2",
            "metadata": {"service.name": "travel", "service.namespace": "shop"},
        })
    );
}

#[test]
fn names_that_say_something() {
    let name = |scope: &str, name: &str| {
        let fields = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m"});
        let span = with(span(fields), json!({"name": name}));
        calls(&by_scopes(vec![(scope, vec![span])]))[0]["name"].clone()
    };
    assert_eq!(name("shop", "judge"), "judge");
    for default in ["chat m", "chat", "openai.chat", " "] {
        assert_eq!(name("shop", default), Value::Null, "{default}");
    }
    assert_eq!(
        name("openinference.instrumentation.openai", "ChatCompletion"),
        Value::Null
    );
}

#[test]
fn parameters_in_every_form() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    for (fields, expected) in [
        (json!({}), Value::Null),
        (
            json!({
                "gen_ai.request.model": "m", "gen_ai.request.stop_sequences": ["END"], "gen_ai.request.choice.count": 2,
                "gen_ai.request.stream": false, "gen_ai.output.type": "json", "gen_ai.request.top_k": 1.0,
            }),
            json!({"stop": ["END"], "n": 2, "output_type": "json", "top_k": 1.0}),
        ),
        (
            json!({"llm.invocation_parameters": "{\"a\": 1}", "gen_ai.request.temperature": 0.5}),
            json!({"a": 1}),
        ),
        (
            json!({"llm.invocation_parameters": "{\"a\": 1}", "llm.tools.0.tool.json_schema": tool.to_string()}),
            json!({"a": 1, "tools": [tool]}),
        ),
        (
            json!({"llm.invocation_parameters": "{\"tools\": []}", "llm.tools.0.tool.json_schema": tool.to_string()}),
            json!({"tools": []}),
        ),
        (json!({"llm.invocation_parameters": "hot"}), json!("hot")),
        (json!({"llm.invocation_parameters": "{}"}), Value::Null),
        (
            json!({"gen_ai.tool.definitions": json!([tool]).to_string()}),
            json!({"tools": [tool]}),
        ),
        (
            json!({"gen_ai.tool.definitions": [tool]}),
            json!({"tools": [tool]}),
        ),
    ] {
        assert_eq!(
            chat(fields.clone())["model_parameters"],
            expected,
            "{fields}"
        );
    }
}

#[test]
fn messages_in_every_form() {
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let image = json!({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}});
    for (fields, expected) in [
        (json!({"gen_ai.prompt": "hi"}), json!("hi")),
        (
            json!({"gen_ai.prompt": "[{\"role\":\"user\",\"content\":\"hi\"}]"}),
            user(json!("hi")),
        ),
        (
            json!({"gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]}),
            user(json!("hi")),
        ),
        (
            json!({"gen_ai.system_instructions": "[{\"type\":\"text\",\"content\":\"s\"}]"}),
            json!([{"role": "system", "content": "s"}]),
        ),
        (
            json!({"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": format!("[{{\"type\":\"text\",\"text\":\"what?\"}},{image}]")}),
            user(json!([{"type": "text", "text": "what?"}, image])),
        ),
        (
            json!({"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "[1, 2]"}),
            user(json!("[1, 2]")),
        ),
        (
            json!({"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "[not JSON"}),
            user(json!("[not JSON")),
        ),
        // By number, not by how the name sorts.
        (
            json!({"gen_ai.prompt.10.role": "user", "gen_ai.prompt.10.content": "b", "gen_ai.prompt.9.role": "user", "gen_ai.prompt.9.content": "a"}),
            json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]),
        ),
        (
            json!({
                "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.name": "ann",
                "llm.input_messages.0.message.contents.0.message_content.type": "text",
                "llm.input_messages.0.message.contents.0.message_content.text": "what?",
                "llm.input_messages.0.message.contents.1.message_content.type": "image",
                "llm.input_messages.0.message.contents.1.message_content.image.image.url": "https://example.org/a.png",
                "llm.input_messages.0.message.contents.2.message_content.type": "audio",
                "llm.input_messages.0.message.contents.2.message_content.audio.url": "https://example.org/a.wav",
            }),
            json!([{"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "what?"}, image, {"type": "audio", "audio.url": "https://example.org/a.wav"},
            ]}]),
        ),
        (json!({"input.value": "hi"}), json!("hi")),
        (json!({"input.value": "{\"a\": 1}"}), json!("{\"a\": 1}")),
        (
            json!({"input.value": "{\"a\": 1}", "input.mime_type": "application/json"}),
            json!({"a": 1}),
        ),
        (
            json!({"input.value": "{\"a\":", "input.mime_type": "application/json"}),
            json!("{\"a\":"),
        ),
        (
            json!({"input.value": "all of it", "llm.input_messages.0.message.content": "hi"}),
            user(json!("hi")),
        ),
    ] {
        let call = chat(fields.clone());
        assert_eq!(call["messages"], expected, "{fields}");
        assert_eq!(call["metadata"], Value::Null, "{fields}");
    }
}

#[test]
fn answers_in_every_form() {
    for (fields, expected, reasons) in [
        (
            json!({"gen_ai.completion": "Paris"}),
            json!("Paris"),
            Value::Null,
        ),
        (json!({"gen_ai.completion": "42"}), json!("42"), Value::Null),
        (
            json!({"gen_ai.output.messages": "[{\"role\":\"assistant\",\"name\":null,\"parts\":[{\"type\":\"text\",\"content\":\"Paris\"}],\"finish_reason\":\"stop\"}]"}),
            json!("Paris"),
            json!(["stop"]),
        ),
        (
            json!({"gen_ai.completion.0.content": "a", "gen_ai.completion.0.finish_reason": "length", "gen_ai.completion.1.role": "assistant", "gen_ai.completion.1.content": "b"}),
            json!([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]),
            json!(["length"]),
        ),
        (
            json!({"gen_ai.completion.0.role": "thinking", "gen_ai.completion.0.content": "hm"}),
            json!({"role": "assistant", "reasoning_content": "hm"}),
            Value::Null,
        ),
        (
            json!({
                "llm.output_messages.0.message.role": "assistant", "llm.finish_reason": "tool_use",
                "llm.output_messages.0.message.contents.0.message_content.type": "tool_use",
                "llm.output_messages.0.message.contents.0.tool_call.id": "t",
                "llm.output_messages.0.message.contents.0.tool_call.function.name": "weather",
                "llm.output_messages.0.message.contents.0.tool_call.function.arguments": "{}",
            }),
            json!({"role": "assistant", "tool_calls": [tool_call("t", "{}")]}),
            json!(["tool_use"]),
        ),
        (
            json!({"output.value": "Paris", "output.mime_type": "text/plain"}),
            json!("Paris"),
            Value::Null,
        ),
    ] {
        let call = chat(fields.clone());
        assert_eq!(call["response"], expected, "{fields}");
        assert_eq!(
            call["metadata"]["gen_ai.response.finish_reasons"], reasons,
            "{fields}"
        );
    }
    let embedded = json!({"openinference.span.kind": "EMBEDDING", "output.value": "[0.5]", "embedding.embeddings.0.embedding.vector": [0.5]});
    let call = call_of(span(embedded));
    assert_eq!(call["response"], Value::Null);
    assert_eq!(
        call["metadata"],
        json!({"gen_ai.operation.name": "embeddings"})
    );
}

#[test]
fn what_events_say() {
    let of = |events: Vec<Value>| {
        let span = span(json!({"gen_ai.operation.name": "chat"}));
        let call = call_of(with(span, json!({ "events": events })));
        json!([
            call["messages"],
            call["response"],
            call["metadata"]["gen_ai.response.finish_reasons"]
        ])
    };
    let asked = json!([{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]);
    assert_eq!(
        of(vec![
            event("gen_ai.system.message", 0, json!({"content": "s"})),
            event(
                "gen_ai.user.message",
                0,
                json!({"content": "[{\"text\":\"hi\"}]"})
            ),
            event(
                "gen_ai.choice",
                9,
                json!({"index": 0, "finish_reason": "stop", "message": "{\"role\":\"assistant\",\"content\":\"Paris\"}"})
            ),
        ]),
        json!([asked, "Paris", ["stop"]])
    );
    // As Azure's clients have it.
    assert_eq!(
        of(vec![
            event(
                "gen_ai.user.message",
                0,
                json!({"gen_ai.event.content": "{\"content\": \"hi\"}"})
            ),
            event(
                "gen_ai.choice",
                9,
                json!({"gen_ai.event.content": "{\"finish_reason\": \"stop\", \"message\": {\"content\": \"Paris\"}}"})
            ),
        ]),
        json!([[{"role": "user", "content": "hi"}], "Paris", ["stop"]])
    );
    let call = tool_call("c", "{}");
    assert_eq!(
        of(vec![
            event(
                "gen_ai.assistant.message",
                0,
                json!({"tool_calls": json!([call]).to_string()})
            ),
            event(
                "gen_ai.tool.message",
                0,
                json!({"id": "c", "content": "sunny"})
            ),
            event(
                "gen_ai.choice",
                9,
                json!({"message.role": "assistant", "message.content": "Paris"})
            ),
        ]),
        json!([[{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "sunny"}], "Paris", null])
    );
    assert_eq!(
        of(vec![event(
            "gen_ai.choice",
            9,
            json!({"message": "[{\"text\":\"Paris\"}]"})
        ),]),
        json!([null, "Paris", null])
    );
    assert_eq!(
        of(vec![
            event(
                "gen_ai.content.prompt",
                0,
                json!({"gen_ai.prompt": asked.to_string()})
            ),
            event(
                "gen_ai.content.completion",
                9,
                json!({"gen_ai.completion": "Paris"})
            ),
        ]),
        json!([asked, "Paris", null])
    );
    assert_eq!(
        of(vec![event(
            "gen_ai.client.inference.operation.details",
            9,
            json!({
                "gen_ai.input.messages": "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"hi\"}]}]",
                "gen_ai.output.messages": "[{\"role\":\"assistant\",\"parts\":[{\"type\":\"text\",\"content\":\"Paris\"}]}]",
            })
        )]),
        json!([[{"role": "user", "content": "hi"}], "Paris", null])
    );
    let first = event("First Token Stream Event", 250, json!({}));
    let early = with(
        first.clone(),
        json!({"timeUnixNano": (START - 1).to_string()}),
    );
    let time = |event: Value| {
        let span = span(json!({"gen_ai.operation.name": "chat"}));
        call_of(with(span, json!({"events": [event]})))["time_to_first_token_ms"].clone()
    };
    assert_eq!(time(first), 250);
    assert_eq!(time(early), Value::Null);
}

#[test]
fn errors_in_every_form() {
    let exception = event(
        "exception",
        9,
        json!({"exception.type": "E", "exception.message": "boom", "exception.stacktrace": "at x"}),
    );
    let of_exception = json!({"kind": "E", "message": "boom", "trace": "at x"});
    for (fields, more, expected) in [
        (json!({}), json!({}), Value::Null),
        (
            json!({}),
            json!({"status": {"code": 1, "message": "fine"}}),
            Value::Null,
        ),
        (
            json!({}),
            json!({"status": {"code": 2, "message": "boom"}}),
            json!("boom"),
        ),
        (
            json!({}),
            json!({"status": {"code": "STATUS_CODE_ERROR", "message": "boom"}}),
            json!("boom"),
        ),
        (
            json!({}),
            json!({"status": {"code": 2}}),
            json!("the call failed"),
        ),
        (
            json!({"error.type": "_OTHER"}),
            json!({"status": {"code": 2, "message": "boom"}}),
            json!("boom"),
        ),
        (
            json!({"error.type": "429"}),
            json!({}),
            json!({"kind": "429", "message": "the call failed: 429", "trace": null}),
        ),
        (
            json!({"error.type": "T"}),
            json!({"status": {"code": 2, "message": "m"}}),
            json!({"kind": "T", "message": "m", "trace": null}),
        ),
        (
            json!({"error.message": "told"}),
            json!({"status": {"code": 2}}),
            json!("told"),
        ),
        (
            json!({}),
            json!({"status": {"code": 2, "message": "E: boom"}, "events": [exception]}),
            of_exception.clone(),
        ),
        (
            json!({}),
            json!({"events": [exception]}),
            of_exception.clone(),
        ),
        // The last one ended it.
        (
            json!({}),
            json!({"status": {"code": 2}, "events": [event("exception", 1, json!({"exception.message": "again"})), exception]}),
            of_exception.clone(),
        ),
        // On the way to a good answer.
        (
            json!({"gen_ai.completion": "Paris"}),
            json!({"events": [exception]}),
            Value::Null,
        ),
        (
            json!({}),
            json!({"status": {"code": 1}, "events": [exception]}),
            Value::Null,
        ),
    ] {
        let span = span(with(
            json!({"gen_ai.operation.name": "chat"}),
            fields.clone(),
        ));
        assert_eq!(
            call_of(with(span, more.clone()))["error"],
            expected,
            "{fields} {more}"
        );
    }
}

#[test]
fn what_is_left_is_kept_up_to_a_bound() {
    let mut fields = Map::new();
    for number in 0..150 {
        fields.insert(format!("own.{number:03}"), number.into());
    }
    fields.insert("large".to_owned(), "x".repeat(8 * 1024).into());
    for header in ["llm.headers", "http.request.header.authorization"] {
        fields.insert(header.to_owned(), "SECRET".into());
    }
    let mut deep = json!(1);
    for _ in 0..20 {
        deep = json!([deep]);
    }
    fields.insert("deep".to_owned(), deep.clone());
    let metadata = chat(Value::Object(fields))["metadata"].clone();
    let metadata = metadata.as_object().unwrap();
    assert_eq!(metadata.len(), 100);
    assert!(!metadata.contains_key("large"));
    assert!(!Value::from(metadata.clone()).to_string().contains("SECRET"));
    assert_eq!(metadata["deep"], deep);
}

/// A call of one second, `millis` after the others, as one library tells it.
fn told(id: &str, parent: Option<&str>, millis: u64, length: u64, fields: Value) -> Value {
    let start = START + millis * 1_000_000;
    let fields = with(
        json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}),
        fields,
    );
    with(
        span(fields),
        json!({
            "spanId": format!("{id:0>16}"), "parentSpanId": parent.map(|id| format!("{id:0>16}")),
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + length * 1_000_000).to_string(),
        }),
    )
}

/// The answers of the calls that there are, and how many spans are none.
fn answers(document: &str) -> (Vec<Value>, u64) {
    let answers = calls(document)
        .into_iter()
        .map(|call| call["response"].clone());
    (answers.collect(), turn(document).others)
}

#[test]
fn a_call_that_two_libraries_tell_is_one() {
    let outer = |more: Value| {
        told(
            "a",
            Some("f"),
            0,
            100,
            with(json!({"gen_ai.completion": "outer"}), more),
        )
    };
    let inner = |parent: &str, more: Value| {
        told(
            "b",
            Some(parent),
            10,
            50,
            with(json!({"gen_ai.usage.input_tokens": 7}), more),
        )
    };
    for parent in ["a", "f"] {
        for turned in [false, true] {
            let mut scopes = vec![
                ("outer", vec![outer(json!({}))]),
                ("inner", vec![inner(parent, json!({}))]),
            ];
            if turned {
                scopes.reverse();
            }
            let file = by_scopes(scopes);
            assert_eq!(
                answers(&file),
                (vec![json!("outer")], 1),
                "{parent} {turned}"
            );
            assert_eq!(
                calls(&file)[0]["input_tokens"],
                7,
                "what only the other knows"
            );
        }
    }
    // By the id of the answer, wherever it stands.
    let id = json!({"gen_ai.response.id": "r"});
    let apart = with(
        inner("e", id.clone()),
        json!({"traceId": TRACE.replace('0', "1")}),
    );
    let file = by_scopes(vec![
        ("outer", vec![outer(id.clone())]),
        ("inner", vec![apart.clone()]),
    ]);
    assert_eq!(answers(&file).0.len(), 1);

    let two = |outer: Value, inner: Value| {
        let (calls, others) = answers(&by_scopes(vec![
            ("outer", vec![outer]),
            ("inner", vec![inner]),
        ]));
        assert_eq!(others, 0);
        calls.len()
    };
    let other_id = json!({"gen_ai.response.id": "other"});
    assert_eq!(two(outer(other_id.clone()), apart), 2);
    assert_eq!(two(outer(id.clone()), inner("a", other_id.clone())), 2);
    assert_eq!(two(outer(id), inner("f", other_id)), 2);
    assert_eq!(
        two(outer(json!({})), inner("e", json!({}))),
        2,
        "beside another span"
    );
    assert_eq!(
        two(
            outer(json!({})),
            inner("f", json!({"gen_ai.request.model": "n"}))
        ),
        2
    );
    assert_eq!(
        two(
            outer(json!({})),
            inner("a", json!({"gen_ai.operation.name": "embeddings"}))
        ),
        2
    );
    let at_its_begin = told("b", Some("a"), 0, 50, json!({}));
    let file = by_scopes(vec![
        ("inner", vec![at_its_begin]),
        ("outer", vec![outer(json!({}))]),
    ]);
    assert_eq!(answers(&file), (vec![json!("outer")], 1));
    let late = told("b", Some("f"), 60, 50, json!({}));
    assert_eq!(two(outer(json!({})), late), 2, "it ends later");
    // One library makes two calls at once.
    let at_once = by_scopes(vec![(
        "outer",
        vec![outer(json!({})), inner("f", json!({}))],
    )]);
    assert_eq!(answers(&at_once).0.len(), 2);
}

#[test]
fn a_span_around_several_calls_is_none() {
    let outer = told("a", None, 0, 100, json!({"gen_ai.completion": "sum"}));
    let first = told(
        "b",
        Some("a"),
        10,
        20,
        json!({"gen_ai.completion": "first"}),
    );
    let second = told(
        "c",
        Some("a"),
        40,
        20,
        json!({"gen_ai.completion": "second"}),
    );
    let within = told(
        "d",
        Some("c"),
        45,
        10,
        json!({"gen_ai.completion": "within"}),
    );
    let file = by_scopes(vec![
        ("agents", vec![outer]),
        ("client", vec![first, second]),
        ("http", vec![within]),
    ]);
    assert_eq!(answers(&file), (vec![json!("first"), json!("second")], 2));
}

#[test]
fn spans_that_are_each_others_parents_end() {
    let spans = vec![
        told("a", Some("b"), 0, 10, json!({})),
        told("b", Some("a"), 0, 10, json!({})),
        told("c", Some("c"), 0, 10, json!({})),
    ];
    let turned = turn(&document(spans));
    assert_eq!(turned.calls.len() as u64 + turned.others, 3);
}

#[test]
fn a_record_of_ours_comes_back_under_its_id() {
    let call = chat(json!({
        "beluga_o11y.id": "01a2053e-d6f8-792b-8988-1657efa89323",
        "beluga_o11y.trace_id": "order-7",
        "gen_ai.provider.name": "My-Own",
        "input.value": "{\"b\": 1.50, \"a\": 1}", "input.mime_type": "application/json",
        "output.value": "hello", "output.mime_type": "text/plain",
        "gen_ai.input.messages": "[]", "gen_ai.response.finish_reasons": ["stop"],
        "metadata": "{\"trace_id\": \"order-7\", \"release\": \"mine\", \"k\": 1}",
    }));
    assert_eq!(
        only(
            &call,
            &[
                "id",
                "provider",
                "trace_id",
                "parent_span_id",
                "messages",
                "response",
                "metadata"
            ]
        ),
        json!({
            "id": "01a2053e-d6f8-792b-8988-1657efa89323", "provider": "My-Own", "trace_id": "order-7",
            "messages": {"a": 1, "b": 1.5}, "response": "hello", "metadata": {"k": 1, "release": "mine"},
        })
    );
    // Number for number.
    let text = r#"{"b": 1.50, "tools": [], "a": 12345678901234567890123}"#;
    let exact = document(vec![span(json!({
        "gen_ai.operation.name": "chat", "beluga_o11y.id": "01a2053e-d6f8-792b-8988-1657efa89323",
        "input.value": text, "input.mime_type": "application/json",
        "llm.invocation_parameters": text, "llm.tools.0.tool.json_schema": "{}", "metadata": "{\"k\": 1.50}",
    }))]);
    let call = &turn(&exact).calls[0];
    assert_eq!(call.messages.as_ref().unwrap().as_str(), text);
    assert_eq!(call.model_parameters.as_ref().unwrap().as_str(), text);
    assert_eq!(call.metadata["k"].as_str(), "1.50");
    let odd = chat(json!({"beluga_o11y.id": "no id"}));
    assert_eq!(odd["trace_id"], TRACE);
}

#[test]
fn what_may_be_a_key_is_left_out() {
    let mcp = json!({
        "type": "mcp", "server_label": "s", "server_url": "https://x.test/mcp?k=SECRET",
        "authorization": "SECRET", "headers": {"x": "SECRET"},
    });
    let call = chat(json!({
        "gen_ai.headers": "{'x': 'SECRET'}", "llm.headers": {"x": "SECRET"},
        "http.request.header.x": ["SECRET"], "http.response.header.set-cookie": ["SECRET"],
        "rpc.request.metadata.x": ["SECRET"], "metadata.user_api_key_hash": "SECRET", "llm.headers.x": "SECRET",
        "url.full": "https://x.test/v1?key=SECRET", "url.query": "key=SECRET", "http.target": "/v1?key=SECRET",
        "own": json!([{"token": "SECRET", "a": 1}]).to_string(), "map": {"token": "SECRET"}, "python": "{'api_key': 'SECRET'}",
        "metadata": json!({"team": "a", "user_api_key": "SECRET", "l": [{"headers": "SECRET", "b": 1}]}).to_string(),
        "gen_ai.request.headers": "SECRET", "gen_ai.request.extra_headers": {"x": "SECRET"},
        "gen_ai.request.api_key": "SECRET", "gen_ai.request.header.x": "SECRET", "gen_ai.request.top_k": 1,
        "gen_ai.request.extra_body": json!({"token": "SECRET"}).to_string(),
        "gen_ai.tool.definitions": json!([mcp]).to_string(),
    }));
    assert_eq!(
        only(&call, &["metadata", "model_parameters"]),
        json!({
            "metadata": {
                "url.full": "https://x.test/v1", "own": "[{\"a\":1}]", "map": {}, "team": "a", "l": [{"b": 1}],
            },
            "model_parameters": {
                "top_k": 1, "extra_body": "{}",
                "tools": [{"type": "mcp", "server_label": "s", "server_url": "https://x.test/mcp"}],
            },
        })
    );
    let whole = json!({"api_key": "SECRET", "extra_headers": {"x": "SECRET"}, "seed": 1});
    for (fields, expected) in [
        (
            json!({"llm.invocation_parameters": whole.to_string()}),
            json!({"seed": 1}),
        ),
        (
            json!({"embedding.invocation_parameters": json!([whole]).to_string()}),
            json!([{"seed": 1}]),
        ),
        (
            json!({"llm.invocation_parameters": "{'api_key': 'SECRET'}"}),
            Value::Null,
        ),
        (
            json!({"llm.invocation_parameters": "{\"api_key\": \"SECRET\"}"}),
            Value::Null,
        ),
        (
            json!({"llm.tools.0.tool.json_schema": mcp.to_string(), "llm.tools.1.tool.json_schema": "{'authorization': 'SECRET'}"}),
            json!({"tools": [{"type": "mcp", "server_label": "s", "server_url": "https://x.test/mcp"}]}),
        ),
        (
            json!({"llm.request.functions.0.name": "f", "llm.request.functions.0.headers": "SECRET"}),
            json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ),
    ] {
        let call = chat(fields.clone());
        assert_eq!(call["model_parameters"], expected, "{fields}");
        assert_eq!(call["metadata"], Value::Null, "{fields}");
    }
    let resource = json!({"service.name": "travel", "service.token": "SECRET"});
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": attributes(resource)},
        "scopeSpans": [{"spans": [span(json!({"gen_ai.operation.name": "chat"}))]}],
    }]});
    assert_eq!(
        calls(&request.to_string())[0]["metadata"],
        json!({"service.name": "travel"})
    );
}

#[test]
fn ours_are_as_they_were() {
    let told = json!({"headers": {"x": "mine"}, "token": "mine", "url": "https://x.test/?mine"});
    let call = chat(json!({
        "beluga_o11y.id": "01a2053e-d6f8-792b-8988-1657efa89323",
        "llm.invocation_parameters": told.to_string(), "metadata": told.to_string(),
        "gen_ai.usage.input_tokens": 4, "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.output_tokens": 1, "gen_ai.usage.reasoning.output_tokens": 2,
    }));
    assert_eq!(call["model_parameters"], told);
    assert_eq!(call["metadata"], told);
    assert_eq!(
        (&call["input_tokens"], &call["output_tokens"]),
        (&json!(4), &json!(1))
    );
    let none = chat(json!({
        "beluga_o11y.id": "01a2053e-d6f8-792b-8988-1657efa89323", "llm.invocation_parameters": "{}",
    }));
    assert_eq!(none["model_parameters"], json!({}));
}

#[test]
fn numbers_that_are_none_are_kept_as_they_are() {
    for name in ["llm.cost.total", "gen_ai.response.time_to_first_chunk"] {
        for value in [
            json!("NaN"),
            json!("inf"),
            json!("-Infinity"),
            json!("-0.5"),
            json!(-0.5),
        ] {
            let call = chat(json!({ name: value }));
            assert_eq!(call["metadata"], json!({ name: value }));
            assert_eq!(only(&call, &["cost", "time_to_first_token_ms"]), json!({}));
        }
    }
    let call = chat(json!({"llm.cost.total": "NaN", "gen_ai.usage.cost": 0}));
    assert_eq!(
        call["cost"].as_f64(),
        Some(0.0),
        "the next that can be read"
    );
}

#[test]
fn spans_under_another_name_are_named() {
    let resource = "scopeSpans is missing: OTLP/JSON has names in lowerCamelCase, scopeSpans";
    let scope = "spans is missing: OTLP/JSON has names in lowerCamelCase, spans";
    for (part, expected) in [
        (json!({"scope_spans": []}), resource),
        (
            json!({"resource": {}, "instrumentationLibrarySpans": []}),
            resource,
        ),
        (json!({"scopeSpans": [{"scope": {}, "span": []}]}), scope),
    ] {
        let request = json!({"resourceSpans": [{}, part]}).to_string();
        assert_eq!(problems(&request), [expected], "{request}");
        let part = request.find(match expected == scope {
            true => "{\"scope\":",
            false => ",{",
        });
        let at = turn(&request).problems[0].0;
        assert_eq!(
            at,
            part.unwrap() + usize::from(expected != scope),
            "{request}"
        );
    }
    let empty = json!({"resourceSpans": [
        {}, {"resource": {}, "schemaUrl": ""}, {"scopeSpans": [{}, {"scope": {}, "schemaUrl": ""}]},
    ]});
    assert_eq!(calls(&empty.to_string()), Vec::<Value>::new());
}

#[test]
fn spans_that_tell_of_other_calls_are_calls() {
    let model = |model: &str| json!({"gen_ai.request.model": model});
    let usage = |input: u64, output: u64| json!({"gen_ai.usage.input_tokens": input, "gen_ai.usage.output_tokens": output});
    let count = |parent: &str, outer: Value, inner: Value| {
        let outer = told("a", Some("f"), 0, 100, outer);
        let inner = told("b", Some(parent), 10, 50, inner);
        let file = by_scopes(vec![("outer", vec![outer]), ("inner", vec![inner])]);
        calls(&file).len()
    };
    for parent in ["a", "f"] {
        for (outer, inner, expected) in [
            (model("m"), model("n"), 2),
            (model(""), model("n"), 1),
            (model("m"), model(""), 1),
            (
                with(model("m"), json!({"gen_ai.response.model": "m-1"})),
                model("m-1"),
                1,
            ),
            (
                model("m-1"),
                with(model("m"), json!({"gen_ai.response.model": "m-1"})),
                1,
            ),
            (usage(100, 20), usage(100, 20), 1),
            (usage(100, 20), usage(99, 20), 2),
            (usage(100, 20), usage(100, 500), 2),
            // As OpenLLMetry has it.
            (usage(100, 21), usage(100, 20), 1),
        ] {
            assert_eq!(
                count(parent, outer.clone(), inner.clone()),
                expected,
                "{parent} {outer} {inner}"
            );
        }
    }
    let parent = told("a", Some("f"), 0, 100, json!({}));
    let child = told("b", Some("a"), 10, 50, json!({}));
    assert_eq!(
        calls(&document(vec![parent, child])).len(),
        2,
        "of one library"
    );
    // A sum is none, but what has tokens of its own is a call.
    for (input, expected) in [(30, 2), (40, 3)] {
        let file = by_scopes(vec![
            ("outer", vec![told("a", None, 0, 100, usage(input, 10))]),
            (
                "inner",
                vec![
                    told("b", Some("a"), 10, 20, usage(10, 5)),
                    told("c", Some("a"), 40, 20, usage(20, 5)),
                ],
            ),
        ]);
        assert_eq!(calls(&file).len(), expected, "{input}");
    }
}

#[test]
fn calls_at_once_that_two_libraries_tell() {
    let file = by_scopes(vec![
        (
            "outer",
            vec![
                told("a", Some("f"), 0, 100, json!({})),
                told("b", Some("f"), 1, 100, json!({})),
            ],
        ),
        (
            "inner",
            vec![
                told("c", Some("f"), 2, 50, json!({})),
                told("d", Some("f"), 3, 50, json!({})),
            ],
        ),
    ]);
    let turned = turn(&file);
    assert_eq!((turned.calls.len(), turned.others), (2, 2));
}

#[test]
fn a_parent_of_the_same_time_comes_first() {
    let outer = told(
        "a",
        Some("f"),
        0,
        100,
        json!({"gen_ai.completion": "outer"}),
    );
    let inner = told(
        "b",
        Some("a"),
        0,
        100,
        json!({"gen_ai.completion": "inner"}),
    );
    let within = told(
        "c",
        Some("b"),
        0,
        100,
        json!({"gen_ai.completion": "within"}),
    );
    let file = by_scopes(vec![
        ("c", vec![within]),
        ("b", vec![inner]),
        ("a", vec![outer]),
    ]);
    assert_eq!(answers(&file), (vec![json!("outer")], 2));
}

#[test]
fn what_only_the_inner_span_knows() {
    let bare = with(
        told(
            "a",
            None,
            0,
            100,
            json!({"gen_ai.request.model": "", "own": 1}),
        ),
        json!({"name": ""}),
    );
    let fields = json!({
        "gen_ai.provider.name": "openai", "session.id": "s", "user.id": "u", "tag.tags": ["t"],
        "deployment.environment": "prod", "service.version": "2", "own": 2, "more": 3,
    });
    let full = with(
        told("b", Some("a"), 10, 50, fields),
        json!({"name": "judge", "status": {"code": 2, "message": "boom"}}),
    );
    let call = &calls(&by_scopes(vec![
        ("outer", vec![bare]),
        ("inner", vec![full]),
    ]))[0];
    let expected = json!({
        "provider": "openai", "model": "m", "name": "judge", "session_id": "s", "user_id": "u", "tags": ["t"],
        "environment": "prod", "release": "2", "error": "boom", "metadata": {"own": 1, "more": 3},
    });
    let names = expected.as_object().unwrap().keys();
    let names: Vec<_> = names.map(String::as_str).collect();
    assert_eq!(only(call, &names), expected);
}

#[test]
fn content_that_is_too_deep_stays_text() {
    let deep = "[".repeat(MAX_JSON_DEPTH + 1) + &"]".repeat(MAX_JSON_DEPTH + 1);
    let call = chat(
        json!({"input.value": deep, "input.mime_type": "application/json", "gen_ai.completion": deep}),
    );
    assert_eq!(call["messages"], deep);
    assert_eq!(call["response"], deep);
}

/// The place of every value in JSON.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                places(value, &format!("{at}/{index}"), all);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                places(
                    value,
                    &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                    all,
                );
            }
        }
        _ => {}
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!(
            "[{\"role\":\"user\",\"parts\":[{\"type\":\"tool_call\"}]}]"
        )),
        Just(json!("{\"model\":\"m\"}")),
        Just(json!("[]")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![
            Just("stringValue".to_owned()),
            Just("arrayValue".to_owned()),
            Just("values".to_owned()),
            Just("key".to_owned()),
            Just("value".to_owned()),
            ".{0,4}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_file() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(GENAI),
        Just(OPENINFERENCE),
        Just(OPENLLMETRY),
        Just(OPENLLMETRY_OLD)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_json_makes_it_panic(
        file in any_file(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any_json()), 1..6),
    ) {
        let mut request: Value = serde_json::from_str(file).unwrap();
        for (index, value) in changes {
            let mut all = Vec::new();
            places(&request, "", &mut all);
            let place: &String = index.get(&all);
            *request.pointer_mut(place).unwrap() = value;
        }
        let document = request.to_string();
        let turned = turn(&document);
        for (at, _) in &turned.problems {
            prop_assert!(document.is_char_boundary(*at));
        }
        for call in &turned.calls {
            prop_assert_eq!(call.validate(), Ok(()));
        }
    }

    #[test]
    fn no_text_makes_it_panic(file in any_file(), cut in any::<prop::sample::Index>(), junk in ".{0,9}") {
        let mut at = cut.index(file.len());
        while !file.is_char_boundary(at) {
            at -= 1;
        }
        let turned = turn(&format!("{}{junk}", &file[..at]));
        prop_assert!(turned.calls.is_empty() || turned.problems.is_empty());
        turn(&format!("{}{junk}{}", &file[..at], &file[at..]));
    }

    #[test]
    fn any_json_at_all(value in any_json()) {
        turn(&value.to_string());
    }
}
