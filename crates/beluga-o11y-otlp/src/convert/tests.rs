use std::{collections::BTreeSet, time::Duration};

use beluga_o11y::{CallError, ExportErrorKind, Json, LLMCallData, Usage};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::Span,
};
use proptest::{collection, option, prelude::*};
use prost::Message;
use serde_json::{Map, Value, json};

use crate::{OtlpConventions, OtlpExporter, OtlpExporterBuilder, wire};

fn builder() -> OtlpExporterBuilder {
    OtlpExporter::builder().with_service_name("svc")
}

/// By the official types; what they write is what we wrote.
fn decoded(bytes: &[u8]) -> ExportTraceServiceRequest {
    let request = ExportTraceServiceRequest::decode(bytes).unwrap();
    assert_eq!(request.encode_to_vec(), bytes);
    request
}

fn span_of(exporter: &OtlpExporter, call: &LLMCallData) -> Span {
    let request = decoded(&exporter.encode(call).unwrap());
    let [resource_spans] = request.resource_spans.try_into().unwrap();
    let [scope_spans] = resource_spans.scope_spans.try_into().unwrap();
    let [span] = scope_spans.spans.try_into().unwrap();
    span
}

fn json_of(value: &AnyValue) -> Value {
    match value.value.as_ref().unwrap() {
        Any::StringValue(text) => json!(text),
        Any::BoolValue(value) => json!(value),
        Any::IntValue(value) => json!(value),
        Any::DoubleValue(value) => json!({ "double": value }),
        Any::ArrayValue(array) => array.values.iter().map(json_of).collect(),
        other => panic!("{other:?} is never sent"),
    }
}

fn attributes(all: &[KeyValue]) -> Map<String, Value> {
    let fields: Map<_, _> = all
        .iter()
        .map(|attribute| {
            let value = attribute.value.as_ref().unwrap();
            (attribute.key.clone(), json_of(value))
        })
        .collect();
    assert_eq!(fields.len(), all.len(), "a name comes twice");
    fields
}

fn sent(conventions: OtlpConventions, call: &LLMCallData) -> Value {
    let exporter = builder().with_conventions(conventions).build().unwrap();
    Value::Object(attributes(&span_of(&exporter, call).attributes))
}

const ID: &str = "01a2053e-d6f8-792b-8988-1657efa89323";

fn full() -> LLMCallData {
    LLMCallData::new("OpenAI", "gpt-4o")
        .with_id(ID.parse().unwrap())
        .with_start_time("2026-11-22T10:00:00.123456Z".parse().unwrap())
        .with_name("answer")
        .with_messages(json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ]))
        .with_response("hello")
        .with_model_parameters(
            Json::parse(
                r#"{"temperature": 0.20, "top_p": 1, "topK": 40.0, "max_completion_tokens": 99, "frequency_penalty": -1,
                    "presence_penalty": 0.5, "stop": "END", "seed": 7, "stream": true, "n": 2,
                    "tools": [{"type": "function", "function": {"name": "f", "a": 1}}]}"#,
            )
            .unwrap(),
        )
        .with_duration(Duration::from_millis(1500))
        .with_time_to_first_token(Duration::from_millis(250))
        .with_usage(
            Usage::new(100, 50)
                .with_cache_read(40)
                .with_cache_write(0)
                .with_reasoning(20),
        )
        .with_cost(0.003)
        .with_error(
            CallError::new("slow down")
                .with_kind("RateLimitError")
                .with_trace("caused by: x"),
        )
        .with_session_id("s1")
        .with_user_id("u1")
        .with_tag("a")
        .with_tag("b")
        .with_environment("production")
        .with_release("1.2.3")
        .with_trace_id("0af7651916cd43dd8448eb211c80319c")
        .with_parent_span_id("b7ad6b7169203331")
        .with_metadata("experiment", json!({"z": [1, 2.5]}))
}

fn open_inference_of_full() -> Map<String, Value> {
    let parameters = full().model_parameters.unwrap();
    let Value::Object(fields) = json!({
        "openinference.span.kind": "LLM",
        "llm.provider": "openai",
        "llm.system": "openai",
        "llm.model_name": "gpt-4o",
        "llm.invocation_parameters": parameters.as_str(),
        "llm.tools.0.tool.json_schema": r#"{"type": "function", "function": {"name": "f", "a": 1}}"#,
        "input.value": r#"[{"content":"be brief","role":"system"},{"content":"hi","role":"user"}]"#,
        "input.mime_type": "application/json",
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "be brief",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": "hi",
        "output.value": "hello",
        "output.mime_type": "text/plain",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "hello",
        "llm.token_count.prompt": 100,
        "llm.token_count.prompt_details.cache_read": 40,
        "llm.token_count.prompt_details.cache_write": 0,
        "llm.token_count.completion": 50,
        "llm.token_count.completion_details.reasoning": 20,
        "llm.cost.total": {"double": 0.003},
        "session.id": "s1",
    }) else {
        unreachable!()
    };
    fields
}

fn gen_ai_of_full() -> Map<String, Value> {
    let Value::Object(fields) = json!({
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.temperature": {"double": 0.2},
        "gen_ai.request.top_p": {"double": 1.0},
        "gen_ai.request.top_k": 40,
        "gen_ai.request.max_tokens": 99,
        "gen_ai.request.frequency_penalty": {"double": -1.0},
        "gen_ai.request.presence_penalty": {"double": 0.5},
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.request.seed": 7,
        "gen_ai.request.stream": true,
        "gen_ai.request.choice.count": 2,
        "gen_ai.tool.definitions": r#"[{"type": "function", "function": {"name": "f", "a": 1}}]"#,
        "gen_ai.system_instructions": r#"[{"type":"text","content":"be brief"}]"#,
        "gen_ai.input.messages": r#"[{"role":"user","parts":[{"type":"text","content":"hi"}]}]"#,
        "gen_ai.output.messages":
            r#"[{"role":"assistant","parts":[{"type":"text","content":"hello"}],"finish_reason":"error"}]"#,
        "gen_ai.response.finish_reasons": ["error"],
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.output_tokens": 50,
        "gen_ai.usage.reasoning.output_tokens": 20,
        "gen_ai.usage.cost": {"double": 0.003},
        "gen_ai.conversation.id": "s1",
    }) else {
        unreachable!()
    };
    fields
}

/// What has one name only.
fn common_of_full() -> Map<String, Value> {
    let Value::Object(fields) = json!({
        "llm.token_count.total": 150,
        "gen_ai.response.time_to_first_chunk": {"double": 0.25},
        "user.id": "u1",
        "tag.tags": ["a", "b"],
        "metadata": concat!(
            r#"{"environment":"production","release":"1.2.3","trace_id":"0af7651916cd43dd8448eb211c80319c","#,
            r#""parent_span_id":"b7ad6b7169203331","experiment":{"z":[1,2.5]}}"#,
        ),
        "deployment.environment.name": "production",
        "service.version": "1.2.3",
        "error.type": "RateLimitError",
        "beluga_o11y.id": ID,
        "beluga_o11y.trace_id": "0af7651916cd43dd8448eb211c80319c",
        "beluga_o11y.parent_span_id": "b7ad6b7169203331",
    }) else {
        unreachable!()
    };
    fields
}

#[test]
fn every_field_under_the_names_that_were_chosen() {
    let both = [common_of_full(), open_inference_of_full(), gen_ai_of_full()];
    for (conventions, sets) in [
        (OtlpConventions::Both, &[0, 1, 2][..]),
        (OtlpConventions::OpenInference, &[0, 1]),
        (OtlpConventions::GenAi, &[0, 2]),
    ] {
        let expected: Map<_, _> = sets.iter().flat_map(|set| both[*set].clone()).collect();
        assert_eq!(sent(conventions, &full()), Value::Object(expected));
    }
}

#[test]
fn the_span_around_them() {
    let span = span_of(&builder().build().unwrap(), &full());
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.span_id), "89881657efa89323");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert_eq!((span.name.as_str(), span.kind), ("answer", 3));
    assert_eq!(span.start_time_unix_nano, 1_795_341_600_123_456_000);
    assert_eq!(span.end_time_unix_nano, 1_795_341_601_623_456_000);
    let status = span.status.unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "slow down"));
    let [event] = span.events.try_into().unwrap();
    assert_eq!(event.name, "exception");
    assert_eq!(event.time_unix_nano, span.end_time_unix_nano);
    assert_eq!(
        Value::Object(attributes(&event.attributes)),
        json!({
            "exception.type": "RateLimitError",
            "exception.message": "slow down",
            "exception.stacktrace": "caused by: x",
        })
    );
}

#[test]
fn the_resource_and_the_scope() {
    let resource = |builder: OtlpExporterBuilder| {
        let request = decoded(&builder.build().unwrap().encode(&full()).unwrap());
        let spans = &request.resource_spans[0];
        let scope = spans.scope_spans[0].scope.clone().unwrap();
        assert_eq!(
            (scope.name.as_str(), scope.version.as_str()),
            ("beluga-o11y", env!("CARGO_PKG_VERSION"))
        );
        Value::Object(attributes(&spans.resource.clone().unwrap().attributes))
    };
    assert_eq!(
        resource(
            builder()
                .with_resource_attribute("team", "ml")
                .with_resource_attribute("service.name", "loses")
                .with_resource_attribute("telemetry.sdk.name", "own")
        ),
        json!({
            "service.name": "svc", "team": "ml", "telemetry.sdk.name": "own",
            "telemetry.sdk.language": "rust", "telemetry.sdk.version": env!("CARGO_PKG_VERSION"),
        })
    );
    let named = resource(OtlpExporter::builder().with_resource_attribute("service.name", "res"));
    assert_eq!(named["service.name"], "res");
    let unnamed = resource(OtlpExporter::builder());
    let name = unnamed["service.name"].as_str().unwrap();
    assert!(
        name.starts_with("unknown_service:beluga_o11y_otlp"),
        "{name}"
    );
}

#[test]
fn what_is_unknown_is_left_out() {
    let call = LLMCallData::new("", "").with_id(ID.parse().unwrap());
    let bare = json!({
        "openinference.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "beluga_o11y.id": ID,
    });
    assert_eq!(sent(OtlpConventions::Both, &call), bare);
    let mut blank = call
        .with_name(" ")
        .with_session_id("")
        .with_user_id("\t")
        .with_environment(" ")
        .with_release("")
        .with_trace_id(" ")
        .with_parent_span_id("");
    blank.model = " ".to_owned();
    blank.provider = "\n".to_owned();
    blank.error = Some(CallError::new(""));
    assert_eq!(sent(OtlpConventions::Both, &blank), bare);
    let exporter = builder().build().unwrap();
    let span = span_of(&exporter, &blank);
    assert_eq!(span.name, "chat");
    assert!(span.events.is_empty() && span.parent_span_id.is_empty());
    assert_eq!(span.status.unwrap().code, 1);

    // A blank environment of the call does not hide the exporter's.
    let exporter = builder().with_environment("staging").build().unwrap();
    let sent = attributes(&span_of(&exporter, &blank).attributes);
    assert_eq!(sent["deployment.environment.name"], "staging");
    assert_eq!(sent["metadata"], r#"{"environment":"staging"}"#);
}

#[test]
fn zeros_and_extremes_stay() {
    let call = LLMCallData::new("x", "y")
        .with_usage(
            Usage::new(u64::MAX, 0)
                .with_cache_read(0)
                .with_cache_write(1 << 63)
                .with_reasoning(i64::MAX.unsigned_abs()),
        )
        .with_cost(0.0)
        .with_time_to_first_token(Duration::ZERO)
        .with_response("")
        .with_messages(Value::Null);
    let sent = sent(OtlpConventions::Both, &call);
    for (name, value) in [
        ("llm.token_count.prompt", json!(i64::MAX)),
        ("gen_ai.usage.output_tokens", json!(0)),
        ("llm.token_count.prompt_details.cache_read", json!(0)),
        ("gen_ai.usage.cache_creation.input_tokens", json!(i64::MAX)),
        ("llm.token_count.total", json!(i64::MAX)),
        (
            "llm.token_count.completion_details.reasoning",
            json!(i64::MAX),
        ),
        ("llm.cost.total", json!({"double": 0.0})),
        ("gen_ai.usage.cost", json!({"double": 0.0})),
        (
            "gen_ai.response.time_to_first_chunk",
            json!({"double": 0.0}),
        ),
        ("output.value", json!("")),
        ("llm.output_messages.0.message.content", json!("")),
        ("input.value", json!("null")),
        ("input.mime_type", json!("application/json")),
    ] {
        assert_eq!(sent[name], value, "{name}");
    }
    assert!(sent.get("gen_ai.input.messages").is_none());
}

#[test]
fn an_error_may_say_little() {
    let said = |error: CallError| {
        let call = LLMCallData::new("a", "b").with_error(error);
        let span = span_of(&builder().build().unwrap(), &call);
        let kind = attributes(&span.attributes)["error.type"].clone();
        let status = span.status.unwrap();
        assert_eq!(status.code, 2);
        let [event] = span.events.try_into().unwrap();
        (
            kind,
            status.message,
            Value::Object(attributes(&event.attributes)),
        )
    };
    assert_eq!(
        said(CallError::new("m")),
        (
            json!("_OTHER"),
            "m".into(),
            json!({"exception.message": "m"})
        )
    );
    assert_eq!(
        said(CallError::new(" ").with_kind("k")),
        (
            json!("k"),
            "k".into(),
            json!({"exception.type": "k", "exception.message": "k"})
        )
    );
    assert_eq!(
        said(CallError::new("").with_kind(" ").with_trace("t")),
        (
            json!("_OTHER"),
            String::new(),
            json!({"exception.stacktrace": "t"})
        )
    );
}

#[test]
fn metadata_of_the_caller_beats_what_is_added_to_it() {
    let call = full()
        .with_metadata("environment", "own")
        .with_metadata("trace_id", 5)
        .with_metadata(
            "exact",
            Json::parse("[1.50, 12345678901234567890123]").unwrap(),
        );
    assert_eq!(
        sent(OtlpConventions::GenAi, &call)["metadata"],
        concat!(
            r#"{"release":"1.2.3","parent_span_id":"b7ad6b7169203331","environment":"own","#,
            r#""exact":[1.50, 12345678901234567890123],"experiment":{"z":[1,2.5]},"trace_id":5}"#,
        )
    );
}

#[test]
fn parameters_in_the_places_of_gemini_and_bedrock_and_of_the_wrong_kind() {
    let sent = |parameters: &str| {
        let call =
            LLMCallData::new("a", "b").with_model_parameters(Json::parse(parameters).unwrap());
        let mut sent = sent(OtlpConventions::Both, &call);
        let fields = sent.as_object_mut().unwrap();
        assert_eq!(fields["llm.invocation_parameters"], parameters);
        fields.retain(|key, _| key.starts_with("gen_ai.request.") && !key.ends_with(".model"));
        sent
    };
    assert_eq!(
        sent(
            r#"{"generationConfig": {"topP": 0.5, "candidateCount": 1, "stopSequences": ["a", 1, "b"]}}"#
        ),
        json!({
            "gen_ai.request.top_p": {"double": 0.5}, "gen_ai.request.choice.count": 1,
            "gen_ai.request.stop_sequences": ["a", "b"],
        })
    );
    assert_eq!(
        sent(r#"{"inferenceConfig": {"maxTokens": 5}}"#),
        json!({"gen_ai.request.max_tokens": 5})
    );
    for odd in [
        r#"{"temperature": "hot", "top_k": 0.5, "seed": 18446744073709551615, "stream": 1, "stop": {}, "n": null}"#,
        "5",
        "\"text\"",
        "[1]",
        r#"{"tools": {}}"#,
    ] {
        assert_eq!(sent(odd), json!({}), "{odd}");
    }
}

/// Names in the table of [`OtlpConventions`]' documentation; `*` and `N` stand for anything.
fn documented() -> BTreeSet<&'static str> {
    let source = include_str!("../conventions.rs");
    let table = source.lines().filter(|line| line.starts_with("/// | "));
    let quoted = table.flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted
        .filter(|name| name.contains('.') || *name == "metadata")
        .collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.split_once('.'), name.split_once('.')) {
        _ if pattern == "*" => true,
        (Some((p, pattern)), Some((n, name))) => (p == "N" || p == n) && matches(pattern, name),
        (None, None) => pattern == "N" || pattern == name,
        _ => false,
    }
}

#[test]
fn the_documentation_has_the_names_that_are_sent_and_no_others() {
    let documented = documented();
    let Value::Object(sent) = sent(OtlpConventions::Both, &full()) else {
        unreachable!()
    };
    for name in sent.keys() {
        let known = documented.iter().any(|pattern| matches(pattern, name));
        assert!(known, "{name} is not in the documentation");
    }
    for pattern in documented {
        let sent = sent.keys().any(|name| matches(pattern, name));
        assert!(sent, "{pattern} is not sent");
    }
}

#[test]
fn calls_that_cannot_be_sent() {
    let time = |text: &str| LLMCallData::new("a", "b").with_start_time(text.parse().unwrap());
    for (call, text) in [
        (
            time("1969-12-31T23:59:59.999Z"),
            "the start is 1969-12-31T23:59:59Z",
        ),
        (time("2262-04-12T00:00:00Z"), "the start is 2262-"),
        (
            time("2262-04-11T23:47:16Z").with_duration(Duration::from_secs(1)),
            "the end is 2262-04-11T23:47:17Z",
        ),
        (
            LLMCallData::new("a", "b").with_duration(Duration::MAX),
            "the start is -262143-",
        ),
        (
            LLMCallData::new("a", "b").with_id(uuid::Uuid::nil()),
            "id: its last 8 bytes are zero",
        ),
        (LLMCallData::new("a", "b").with_cost(-1.0), "cost: -1 USD"),
    ] {
        let error = builder().build().unwrap().encode(&call).unwrap_err();
        assert_eq!(error.kind(), ExportErrorKind::Rejected);
        let text = format!("otlp: export: {text}");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
    let epoch = time("1970-01-01T00:00:00Z");
    assert_eq!(
        span_of(&builder().build().unwrap(), &epoch).start_time_unix_nano,
        0
    );
    let last = time("2262-04-11T23:47:16Z");
    span_of(&builder().build().unwrap(), &last);
}

#[test]
fn a_call_may_have_exactly_as_many_bytes_as_are_allowed() {
    let size = span_of(&builder().build().unwrap(), &full()).encoded_len();
    let limited = |bytes: usize| builder().with_max_record_bytes(bytes).build().unwrap();
    limited(size).encode(&full()).unwrap();
    let error = limited(size - 1).encode(&full()).unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::TooLarge);
    let text = format!(
        "otlp: export: the call is {size} bytes of OTLP, more than the {} that",
        size - 1
    );
    assert!(error.to_string().starts_with(&text), "{error}");
}

#[test]
fn the_official_answer_is_read() {
    let answer = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "no".to_owned(),
        }),
    };
    let ours = wire::ExportTraceServiceResponse::decode(answer.encode_to_vec().as_slice()).unwrap();
    let partial = ours.partial_success.unwrap();
    assert_eq!(
        (partial.rejected_spans, partial.error_message.as_str()),
        (3, "no")
    );
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
    .prop_map(|value| Json::new(&value))
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

prop_compose! {
    fn any_call()(
        names: [String; 2],
        texts in collection::vec(text(), 8),
        contents in collection::vec(option::of(any_json()), 3),
        metadata in collection::btree_map(any::<String>(), any_json(), 0..4),
        tags in collection::vec(any::<String>(), 0..3),
        start in option::of(0..9_000_000_000_000_i64),
        durations in collection::vec(option::of(0..90_000_000_000_u64), 2),
        usage in any::<[Option<u64>; 5]>(),
        cost in option::of(0.0..1e9_f64),
        error in option::of((text(), any::<String>(), text())),
        own_ids in (option::of("[0-9a-f]{32}|order-[0-9]"), option::of("[0-9a-f]{16}|x")),
    ) -> LLMCallData {
        let [provider, model] = names;
        let mut call = LLMCallData::new(provider, model);
        if let Some(millis) = start {
            call = call.with_start_time(chrono::DateTime::from_timestamp_millis(millis).unwrap());
        }
        let mut texts = texts.into_iter();
        let mut text = || texts.next().flatten();
        call.name = text();
        call.session_id = text();
        call.user_id = text();
        call.environment = text();
        call.release = text();
        let mut contents = contents.into_iter();
        call.messages = contents.next().flatten();
        call.response = contents.next().flatten();
        call.model_parameters = contents.next().flatten();
        call.metadata = metadata;
        call.tags = tags;
        call.duration = durations[0].map(Duration::from_micros);
        call.time_to_first_token = durations[1].map(Duration::from_micros);
        let [input, output, read, write, reasoning] = usage;
        call.usage.input_tokens = input;
        call.usage.output_tokens = output;
        call.usage.cache_read_tokens = read;
        call.usage.cache_write_tokens = write;
        call.usage.reasoning_tokens = reasoning;
        call.cost = cost;
        call.error = error.map(|(kind, message, trace)| {
            let mut error = CallError::new(message);
            (error.kind, error.trace) = (kind, trace);
            error
        });
        (call.trace_id, call.parent_span_id) = own_ids;
        call
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_bytes_are_those_of_the_official_types(call in any_call()) {
        for conventions in [OtlpConventions::Both, OtlpConventions::OpenInference, OtlpConventions::GenAi] {
            let exporter = builder().with_conventions(conventions).build().unwrap();
            // Decodes, compares the bytes, and that no name comes twice.
            let span = span_of(&exporter, &call);
            let sent = attributes(&span.attributes);
            prop_assert!(span.trace_id != [0; 16] && span.span_id != [0; 8] && !span.name.is_empty());
            if let Some(messages) = call.messages.as_ref().filter(|_| conventions != OtlpConventions::GenAi) {
                let value = messages.read::<String>().unwrap_or_else(|_| messages.as_str().to_owned());
                prop_assert_eq!(&sent["input.value"], &Value::from(value));
            }
        }
    }
}
