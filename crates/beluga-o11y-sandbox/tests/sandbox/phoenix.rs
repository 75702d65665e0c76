//! Phoenix: what it refuses, what it loses in silence, and what it shows.

use beluga_o11y_sandbox::{Backend, Fault, Sandbox, StoredCall};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use serde_json::{Value, json};

use crate::exports::Body::{Any, Is, Text};
use crate::exports::{body, body_with, check, failed, hex, llm_span, pairs, post, row, span};
use crate::http::Call;

const TRACES: &str = "/phoenix/v1/traces";

fn export(spans: Vec<Span>) -> Call {
    post(TRACES, body(spans))
}

fn stored(span: Span) -> StoredCall {
    let sandbox = Sandbox::start().unwrap();
    assert_eq!(export(vec![span]).send(&sandbox).status, 200);
    sandbox.calls_of(Backend::Phoenix).pop().unwrap()
}

/// The span as the REST API shows it.
fn shown(span: Span) -> Value {
    let sandbox = Sandbox::start().unwrap();
    assert_eq!(export(vec![span]).send(&sandbox).status, 200);
    let reply = Call::get("/phoenix/v1/projects/default/spans").send(&sandbox);
    reply.json()["data"][0].clone()
}

#[test]
#[rustfmt::skip] // One row a line.
fn what_is_refused() {
    let sandbox = Sandbox::start().unwrap();
    let good = || export(vec![llm_span(json!({}))]);
    let typed = |kind: &str| good().header("Content-Type", kind);
    let packed = |encoding: &str| good().header("Content-Encoding", encoding);
    let not_allowed = || Text("Method Not Allowed");
    check(
        &sandbox,
        vec![
            row("no JSON", typed("application/json"), 415, Text("Unsupported content type: application/json")),
            row("the type is exact", typed("application/x-protobuf; charset=utf-8"), 415, Text("Unsupported content type: application/x-protobuf; charset=utf-8")),
            row("to the letter", typed("Application/X-Protobuf"), 415, Text("Unsupported content type: Application/X-Protobuf")),
            row("and there", good().without("Content-Type"), 415, Text("Unsupported content type: None")),
            row("zstd is not unpacked", packed("zstd"), 415, Text("Unsupported content encoding: zstd")),
            row("what says gzip and is not, breaks it", packed("gzip"), 500, Text("Internal Server Error")),
            row("deflate, too", packed("deflate"), 500, Text("Internal Server Error")),
            row("it is a message", good().body("{}"), 422, Text("Request body is invalid ExportTraceServiceRequest")),
            row("no slash at the end", post("/phoenix/v1/traces/", body(vec![llm_span(json!({}))])), 405, not_allowed()),
            row("nor nothing", post("/phoenix/", body(vec![llm_span(json!({}))])), 405, not_allowed()),
            row("and no other method", good().method("PUT"), 405, not_allowed()),
            row("a project is known", Call::get("/phoenix/v1/projects/none/spans"), 404, Text("Project with name none not found")),
            row("by itself, too", Call::get("/phoenix/v1/projects/none"), 404, Text("Project with name none not found")),
        ],
    );
    let refused = typed("application/json").send(&sandbox);
    assert_eq!(refused.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(refused.header("x-phoenix-server-version"), Some("20.26.1"));
    assert_eq!(packed("gzip").send(&sandbox).header("x-phoenix-server-version"), None);
    assert_eq!(good().method("PUT").send(&sandbox).header("allow"), Some("GET, HEAD"));
}

#[test]
#[rustfmt::skip] // One row a line.
fn who_is_refused() {
    let sandbox = Sandbox::builder().with_phoenix_key("px-key").start().unwrap();
    let good = || export(vec![llm_span(json!({}))]);
    let auth = |value: &str| good().header("Authorization", value);
    let invalid = || Text("Invalid token");
    check(
        &sandbox,
        vec![
            row("there is a key", good(), 401, invalid()),
            row("a known one", auth("Bearer other"), 401, invalid()),
            row("in the header that is meant", good().header("api_key", "px-key"), 401, invalid()),
            row("not in the other one", good().header("x-api-key", "px-key"), 401, invalid()),
            row("not bare", auth("px-key"), 401, invalid()),
            row("not Basic", auth("Basic px-key"), 401, invalid()),
            row("it comes before the type", good().header("Content-Type", "application/json"), 401, invalid()),
            row("and for reading", Call::get("/phoenix/v1/projects"), 401, invalid()),
        ],
    );
    let refused = good().send(&sandbox);
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer realm=\"Arize Phoenix\", resource_metadata="));
    assert_eq!(auth("bearer px-key").send(&sandbox).status, 200);
    assert_eq!(auth("Bearer px-key").send(&sandbox).status, 200);
    for path in ["/phoenix/healthz", "/phoenix/readyz", "/phoenix/arize_phoenix_version"] {
        assert_eq!(Call::get(path).send(&sandbox).status, 200, "{path}");
    }
    let debug = format!("{:?} {sandbox:?}", Sandbox::builder().with_phoenix_key("px-key"));
    assert!(!debug.contains("px-key"), "{debug}");
}

#[test]
fn what_is_refused_only_just_is_accepted() {
    let sandbox = Sandbox::start().unwrap();
    let good = || export(vec![llm_span(json!({}))]);
    let deflated = {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body(vec![llm_span(json!({}))])).unwrap();
        good()
            .body(encoder.finish().unwrap())
            .header("Content-Encoding", "deflate")
    };
    for (index, call) in [good(), good().gzip(), deflated].iter().enumerate() {
        let reply = call.send(&sandbox);
        assert_eq!(reply.status, 200, "{index}: {}", reply.text());
        assert_eq!(reply.body, b"");
        assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(sandbox.calls().len(), index + 1);
    }
    assert_eq!(post(TRACES, Vec::new()).send(&sandbox).status, 200);
    // Any key will do while there is none.
    let keyed = good().header("Authorization", "Bearer x").send(&sandbox);
    assert_eq!(keyed.status, 200);
}

#[test]
fn other_paths() {
    let sandbox = Sandbox::start().unwrap();
    let get = |path: &str| Call::get(format!("/phoenix{path}")).send(&sandbox);
    assert_eq!(get("/healthz").text(), "OK");
    assert_eq!(get("/readyz").json(), json!({}));
    assert_eq!(get("/arize_phoenix_version").text(), "20.26.1");
    // Whoever probes with GET learns nothing.
    for path in ["/v1/traces", "/", "", "/nonsense"] {
        let page = get(path);
        assert_eq!(page.status, 200, "{path}");
        let kind = page.header("content-type");
        assert_eq!(kind, Some("text/html; charset=utf-8"), "{path}");
    }
}

#[test]
fn spans_without_ids_are_lost_in_silence() {
    let sandbox = Sandbox::start().unwrap();
    let (mut no_trace, mut no_span) = (llm_span(json!({})), llm_span(json!({})));
    no_trace.trace_id.clear();
    no_span.span_id.clear();
    let mut short = llm_span(json!({}));
    short.trace_id = vec![1];
    let good = llm_span(json!({}));
    let reply = export(vec![no_trace, good.clone(), no_span, short]).send(&sandbox);
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].id, hex(&good.span_id));
    assert_eq!(calls[1].trace_id, "01");
}

#[test]
fn the_first_write_of_a_span_id_wins_everywhere() {
    let sandbox = Sandbox::start().unwrap();
    let first = llm_span(json!({"user.id": "first"}));
    assert_eq!(export(vec![first.clone()]).send(&sandbox).status, 200);
    let mut again = llm_span(json!({"user.id": "second"}));
    again.span_id = first.span_id.clone();
    // Another trace, another project: it is taken all the same.
    let other = export(vec![again]).header("x-project-name", "other");
    assert_eq!(other.send(&sandbox).status, 200);
    assert_eq!(export(vec![first]).send(&sandbox).status, 200);
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].user_id.as_deref(), Some("first"));
    assert_eq!(calls[0].project.as_deref(), Some("default"));
}

#[test]
fn projects_by_header_then_resource() {
    let sandbox = Sandbox::start().unwrap();
    let send = |header: Option<&str>, resource: Value| {
        let call = post(TRACES, body_with(&resource, vec![llm_span(json!({}))]));
        let call = match header {
            Some(name) => call.header("x-project-name", name),
            None => call,
        };
        assert_eq!(call.send(&sandbox).status, 200);
        sandbox.calls().pop().unwrap().project.unwrap()
    };
    let named = json!({"openinference.project.name": "by resource"});
    assert_eq!(send(None, json!({})), "default");
    assert_eq!(send(None, named.clone()), "by resource");
    assert_eq!(send(Some("header"), named), "header");
    assert_eq!(
        send(None, json!({"openinference.project.name": ""})),
        "default"
    );
    let get = |path: &str| Call::get(format!("/phoenix/v1/projects{path}")).send(&sandbox);
    let names = |reply: Value| {
        let projects = reply["data"].as_array().unwrap().clone();
        projects
            .iter()
            .map(|p| p["name"].clone())
            .collect::<Vec<_>>()
    };
    let all = get("").json();
    assert_eq!(names(all.clone()), ["default", "by resource", "header"]);
    let id = all["data"][1]["id"].as_str().unwrap();
    assert_eq!(get(&format!("/{id}")).json()["data"]["name"], "by resource");
    assert_eq!(get("/by%20resource").json()["data"]["id"], id);
    assert_eq!(
        get("/by%20resource/spans").json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // An empty header is a name, and then nobody sees any project.
    assert_eq!(send(Some(""), json!({})), "");
    let broken = get("");
    assert_eq!(
        (broken.status, broken.text().as_str()),
        (500, "Internal Server Error")
    );
    assert_eq!(get("/default").status, 200);
    sandbox.clear();
    assert_eq!(names(get("").json()), ["default"]);
}

#[test]
fn a_full_span_is_shown() {
    let attributes = json!({
        "llm.provider": "openai", "llm.system": "openai",
        "input.value": "[{\"role\":\"user\",\"content\":\"hi\"}]", "input.mime_type": "application/json",
        "output.value": "{\"text\":1}", "output.mime_type": "text/plain",
        "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "hi",
        "llm.token_count.prompt": 1000, "llm.token_count.completion": "200", "llm.token_count.total": 1200,
        "llm.token_count.prompt_details.cache_read": 100, "llm.token_count.prompt_details.cache_write": 7,
        "llm.token_count.completion_details.reasoning": 50, "llm.cost.total": 3.75, "gen_ai.usage.cost": 3.75,
        "llm.invocation_parameters": "{\"temperature\":0.2}", "metadata": "{\"k\":{\"a\":1},\"release\":\"r1\"}",
        "session.id": "s", "user.id": "u", "tag.tags": ["b", "a"], "deployment.environment.name": "test",
        "gen_ai.response.time_to_first_chunk": 0.12,
    });
    let mut sent = failed(llm_span(attributes), "429");
    sent.parent_span_id = vec![1; 8];
    sent.events.push(Event {
        name: "exception".to_owned(),
        attributes: pairs(
            &json!({"exception.type": "RateLimitError", "exception.message": "429",
            "exception.stacktrace": "at x", "extra": 1}),
        ),
        ..Event::default()
    });
    let call = serde_json::to_value(stored(sent.clone())).unwrap();
    for (name, value) in [
        ("backend", json!("phoenix")),
        ("id", json!(hex(&sent.span_id))),
        ("trace_id", json!(hex(&sent.trace_id))),
        ("parent_id", json!("0101010101010101")),
        ("name", json!("chat gpt-4o")),
        ("provider", json!("openai")),
        ("model", json!("gpt-4o")),
        ("start_time", json!("2026-11-22T10:00:00.123456789Z")),
        ("end_time", json!("2026-11-22T10:00:00.963456789Z")),
        ("time_to_first_token_ms", json!(120.0)),
        ("input", json!([{"role": "user", "content": "hi"}])),
        ("output", json!("{\"text\":1}")),
        ("model_parameters", json!({"temperature": 0.2})),
        ("input_tokens", json!(1000)),
        ("output_tokens", json!(200)),
        ("cache_read_tokens", json!(100)),
        ("cache_write_tokens", json!(7)),
        ("reasoning_tokens", json!(50)),
        ("cost", Value::Null),
        (
            "error",
            json!({"kind": "RateLimitError", "message": "429", "trace": "at x"}),
        ),
        ("session_id", json!("s")),
        ("user_id", json!("u")),
        ("tags", json!(["a", "b"])),
        ("environment", json!("test")),
        ("release", json!("r1")),
        ("metadata", json!({"k": {"a": 1}, "release": "r1"})),
    ] {
        assert_eq!(call[name], value, "{name}");
    }
    let view = shown(sent);
    assert_eq!(
        (&view["span_kind"], &view["status_code"]),
        (&json!("LLM"), &json!("ERROR"))
    );
    assert_eq!(view["status_message"], "429");
    assert_eq!(view["attributes"].get("openinference.span.kind"), None);
    assert_eq!(view["attributes"]["metadata"]["k"], json!({"a": 1}));
    assert_eq!(view["attributes"]["llm.cost.total"], 3.75);
    assert_eq!(
        view["events"][0]["attributes"],
        json!({"exception.type": "RateLimitError", "exception.message": "429", "exception.stacktrace": "at x"})
    );
}

#[test]
fn spans_are_found_by_their_ids() {
    let sandbox = Sandbox::start().unwrap();
    let spans = [llm_span(json!({})), llm_span(json!({}))];
    assert_eq!(export(spans.to_vec()).send(&sandbox).status, 200);
    let found = |query: &str| {
        let path = format!("/phoenix/v1/projects/default/spans{query}");
        let reply = Call::get(path).send(&sandbox).json();
        let spans = reply["data"].as_array().unwrap().clone();
        spans
            .iter()
            .map(|span| span["context"]["span_id"].clone())
            .collect::<Vec<_>>()
    };
    let ids = spans.each_ref().map(|span| hex(&span.span_id));
    assert_eq!(found(""), ids);
    assert_eq!(
        found(&format!("?trace_id={}", hex(&spans[1].trace_id))),
        [ids[1].clone()]
    );
    assert_eq!(
        found(&format!("?span_id={}&limit=9", ids[0])),
        [ids[0].clone()]
    );
    assert_eq!(found("?limit=1"), [ids[0].clone()]);
    assert_eq!(found("?trace_id=00"), [""; 0]);
}

#[test]
fn kinds() {
    let tokens = json!({"llm.token_count.prompt": 10, "llm.token_count.completion": 5});
    let call_of = |attributes: Value| {
        let mut span = span(attributes);
        span.attributes.extend(pairs(&tokens));
        let sandbox = Sandbox::start().unwrap();
        assert_eq!(export(vec![span]).send(&sandbox).status, 200);
        sandbox.calls().pop()
    };
    let tokens_of =
        |attributes: Value| call_of(attributes).map(|call| (call.input_tokens, call.output_tokens));
    let all = Some((Some(10), Some(5)));
    assert_eq!(tokens_of(json!({"openinference.span.kind": "LLM"})), all);
    assert_eq!(tokens_of(json!({"openinference.span.kind": "llm"})), all);
    assert_eq!(tokens_of(json!({"gen_ai.operation.name": "chat"})), all);
    // No kind: no tokens.
    assert_eq!(
        tokens_of(json!({"llm.model_name": "gpt-4o"})),
        Some((None, None))
    );
    assert_eq!(
        tokens_of(json!({"openinference.span.kind": "novelty"})),
        Some((None, None))
    );
    assert_eq!(tokens_of(json!({"openinference.span.kind": "TOOL"})), None);
    assert_eq!(shown(span(json!({})))["span_kind"], "UNKNOWN");
}

#[test]
fn tokens_that_are_not_all_there() {
    let tokens = |attributes: Value| {
        let call = stored(llm_span(attributes));
        (call.input_tokens, call.output_tokens)
    };
    assert_eq!(tokens(json!({})), (None, None));
    assert_eq!(
        tokens(json!({"llm.token_count.total": 15})),
        (Some(0), Some(0))
    );
    assert_eq!(
        tokens(json!({"llm.token_count.prompt": 5})),
        (Some(5), None)
    );
}

#[test]
fn resource_and_scope_are_dropped() {
    let sandbox = Sandbox::start().unwrap();
    let resource = json!({"service.name": "svc", "deployment.environment.name": "prod", "service.version": "1"});
    let call = post(TRACES, body_with(&resource, vec![llm_span(json!({}))]));
    assert_eq!(call.send(&sandbox).status, 200);
    let stored = sandbox.calls().pop().unwrap();
    assert_eq!((stored.environment, stored.release), (None, None));
    let spans = Call::get("/phoenix/v1/projects/default/spans")
        .send(&sandbox)
        .text();
    assert!(
        !spans.contains("svc") && !spans.contains("prod") && !spans.contains("beluga-o11y"),
        "{spans}"
    );
    // For exact tests it is still there.
    let whole = &sandbox.otlp_spans(Backend::Phoenix)[0];
    assert_eq!(whole.resource["service.name"], "svc");
}

#[test]
fn gen_ai_is_read_where_openinference_says_nothing() {
    let messages = "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"hi\"}]}]";
    let answer = "[{\"role\":\"assistant\",\"parts\":[{\"type\":\"text\",\"content\":\"hello\"}],\"finish_reason\":\"stop\"}]";
    let attributes = json!({
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "gcp.gemini", "gen_ai.request.model": "gemini",
        "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2, "gen_ai.usage.cost": 1.0, "gen_ai.conversation.id": "c",
        "gen_ai.request.temperature": 0.5, "gen_ai.request.stop_sequences": ["a"],
        "gen_ai.input.messages": messages, "gen_ai.output.messages": answer,
    });
    let call = stored(span(attributes.clone()));
    assert_eq!(call.provider.as_deref(), Some("google"));
    assert_eq!(call.model.as_deref(), Some("gemini"));
    assert_eq!((call.input_tokens, call.output_tokens), (Some(10), Some(5)));
    assert_eq!(
        (call.cache_read_tokens, call.reasoning_tokens),
        (Some(4), None)
    );
    assert_eq!(call.session_id.as_deref(), Some("c"));
    assert_eq!(
        call.model_parameters,
        Some(json!({"temperature": 0.5, "stop": ["a"]}))
    );
    assert_eq!(call.input, Some(json!([{"role": "user", "content": "hi"}])));
    assert_eq!(
        call.output,
        Some(json!([{"role": "assistant", "content": "hello", "finish_reason": "stop"}]))
    );
    assert_eq!(call.cost, None);

    let with = |change: Value| {
        let mut sent = attributes.clone();
        sent.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        stored(span(sent))
    };
    // OpenInference wins.
    let both = with(
        json!({"llm.model_name": "mine", "llm.token_count.prompt": 11, "llm.provider": "acme"}),
    );
    assert_eq!(both.model.as_deref(), Some("mine"));
    assert_eq!((both.input_tokens, both.output_tokens), (Some(11), Some(5)));
    assert_eq!(both.provider.as_deref(), Some("acme"));
    // Lists that are no text are none, an answer without its reason neither; an id takes the output's place.
    assert_eq!(
        with(json!({"gen_ai.input.messages": [messages]})).input,
        None
    );
    let no_reason = answer.replace(",\"finish_reason\":\"stop\"", "");
    assert_eq!(
        with(json!({"gen_ai.output.messages": no_reason})).output,
        None
    );
    assert_eq!(
        with(json!({"gen_ai.response.id": "r1"})).output,
        Some(json!({"id": "r1"}))
    );
    // The model of the response is not the model.
    let only_response = json!({"gen_ai.operation.name": "chat", "gen_ai.response.model": "m"});
    assert_eq!(stored(span(only_response)).model, None);
}

#[test]
fn metadata_in_its_forms() {
    let metadata = |attributes: Value| json!(stored(llm_span(attributes)).metadata);
    assert_eq!(metadata(json!({"metadata": "{\"a\":1}"})), json!({"a": 1}));
    assert_eq!(metadata(json!({"metadata": {"a": 1}})), json!({"a": 1}));
    assert_eq!(
        metadata(json!({"metadata.a": 1, "metadata.b.c": "x"})),
        json!({"a": 1, "b": {"c": "x"}})
    );
    assert_eq!(
        metadata(json!({"metadata": "plain"})),
        json!({"metadata": "plain"})
    );
    assert_eq!(metadata(json!({})), json!({}));
}

#[test]
fn faults_speak_as_phoenix_does() {
    let sandbox = Sandbox::builder().with_max_body_bytes(100).start().unwrap();
    let call = export(vec![llm_span(json!({}))]);
    for (status, text) in [
        (
            503,
            "Server is at capacity and cannot process more requests",
        ),
        (401, "Invalid token"),
        (422, "Request body is invalid ExportTraceServiceRequest"),
        (500, "Internal Server Error"),
        (
            507,
            "Database operations are disabled due to insufficient storage.",
        ),
        (429, "Too Many Requests"),
    ] {
        sandbox.inject(Fault::status(status));
        let reply = call.send(&sandbox);
        assert_eq!((reply.status, reply.text().as_str()), (status, text));
        assert_eq!(reply.header("retry-after"), None);
    }
    let too_large = export(vec![llm_span(json!({"user.id": "u".repeat(200)}))]).send(&sandbox);
    assert_eq!(too_large.status, 413);
    assert_eq!(sandbox.calls(), []);
}

#[test]
fn the_json_door_is_closed() {
    let sandbox = Sandbox::start().unwrap();
    let call = Call::post("/phoenix/v1/projects/default/spans", &json!({"data": []}));
    check(&sandbox, vec![row("it is not played", call, 405, Any)]);
    let page = Call::get("/phoenix/v1/projects").send(&sandbox);
    assert_eq!(page.status, 200);
    check(
        &sandbox,
        vec![row(
            "projects are listed",
            Call::get("/phoenix/v1/projects"),
            200,
            Is(
                json!({"data": [{"id": "UHJvamVjdDox", "name": "default", "description": null}], "next_cursor": null}),
            ),
        )],
    );
}
