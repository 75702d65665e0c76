//! Langfuse: what it refuses, what it stores, and how a wrong exporter shows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beluga_o11y_sandbox::{Backend, Fault, LangfuseProject, Sandbox, StoredCall};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

use crate::exports::Body::{Any, Is, Says, Text};
use crate::exports::{
    MILLISECOND, START, body, body_with, check, failed, hex, pairs, post, row, span,
};
use crate::http::{Call, gzip};

const TRACES: &str = "/langfuse/api/public/otel/v1/traces";
const INGESTION: &str = "/langfuse/api/public/ingestion";

fn basic(public: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{public}:{secret}")))
}

pub(crate) fn with_keys(call: Call) -> Call {
    call.header(
        "Authorization",
        &basic(Sandbox::LANGFUSE_PUBLIC_KEY, Sandbox::LANGFUSE_SECRET_KEY),
    )
}

fn export(spans: Vec<Span>) -> Call {
    with_keys(post(TRACES, body(spans)))
}

fn generation(attributes: Value) -> Span {
    let mut span = span(json!({"langfuse.observation.type": "generation"}));
    span.attributes.extend(pairs(&attributes));
    span
}

fn observations(sandbox: &Sandbox) -> Vec<Value> {
    let call = with_keys(Call::get("/langfuse/api/public/v2/observations"));
    let reply = call.send(sandbox).json();
    reply["data"].as_array().unwrap().clone()
}

/// What becomes of one span.
fn stored(span: Span) -> (Value, Option<StoredCall>) {
    stored_with(json!({}), span)
}

fn stored_with(resource: Value, span: Span) -> (Value, Option<StoredCall>) {
    let sandbox = Sandbox::start().unwrap();
    let call = with_keys(post(TRACES, body_with(&resource, vec![span])));
    assert_eq!(call.send(&sandbox).status, 200);
    let observation = observations(&sandbox).pop().unwrap();
    (observation, sandbox.calls_of(Backend::Langfuse).pop())
}

#[test]
#[rustfmt::skip] // One row a line.
fn what_is_refused() {
    let sandbox = Sandbox::start().unwrap();
    let good = || export(vec![generation(json!({}))]);
    let error = |error: &str| Is(json!({"error": error}));
    let message = |message: &str| Is(json!({"message": message}));
    let unauthorized = || message("Invalid credentials. Confirm that you've configured the correct host.");
    let unparsed = || error("Failed to parse OTel Protobuf Trace");
    let no_type = || error("Invalid content type");
    let auth = |value: &str| good().header("Authorization", value);
    let without = |change: fn(&mut Span)| {
        let mut bad = generation(json!({}));
        change(&mut bad);
        export(vec![generation(json!({})), bad])
    };
    let ids = || Says("1 of 2 span(s) have a missing or malformed traceId/spanId");
    let json_body = |body: Value| good().header("Content-Type", "application/json").body(body.to_string());
    let legacy = |body: &str| with_keys(Call::post(INGESTION, &json!({}))).body(body);
    let legacy_401 = Is(json!({"error": "UnauthorizedError", "message": "Invalid credentials. Confirm that you've configured the correct host."}));
    let no_batch = Is(json!({"message": "Invalid request data", "errors": [{"path": ["batch"], "message": "Required"}]}));
    check(
        &sandbox,
        vec![
            row("there are credentials", good().without("Authorization"), 401, unauthorized()),
            row("the secret is known", auth(&basic(Sandbox::LANGFUSE_PUBLIC_KEY, "sk-lf-other")), 401, unauthorized()),
            row("there is a secret", auth(&format!("Basic {}", STANDARD.encode("pk"))), 401, unauthorized()),
            row("they are in base64", auth("Basic pk:sk"), 401, unauthorized()),
            row("they are Basic", auth(Sandbox::LANGFUSE_SECRET_KEY), 401, unauthorized()),
            row("a public key alone may not", auth("Bearer pk-lf-sandbox"), 403, Says("basic auth with secret key")),
            row("an unknown one is nobody", auth("Bearer pk-lf-other"), 401, unauthorized()),
            row("keys come before the body", good().without("Authorization").body("x"), 401, unauthorized()),
            row("there is a content type", good().without("Content-Type"), 400, no_type()),
            row("of the two", good().header("Content-Type", "application/octet-stream"), 400, no_type()),
            row("the body is protobuf", good().body("{}"), 400, unparsed()),
            row("or JSON", good().header("Content-Type", "application/json").body("x"), 400, error("Failed to parse OTel JSON Trace")),
            row("deflate is not unpacked", good().body(zlib(&body(vec![generation(json!({}))]))).header("Content-Encoding", "deflate"), 400, unparsed()),
            row("nor is zstd", good().body([0x28, 0xb5, 0x2f, 0xfd, 0x04]).header("Content-Encoding", "zstd"), 400, unparsed()),
            row("gzip is gzip", good().header("Content-Encoding", "gzip"), 400, error("Failed to decompress request body")),
            row("all have a trace id", without(|span| span.trace_id.clear()), 400, ids()),
            row("and a span id", without(|span| span.span_id.clear()), 400, ids()),
            row("of 16 bytes", without(|span| span.trace_id.truncate(8)), 400, ids()),
            row("and 8 bytes", without(|span| span.span_id.truncate(4)), 400, ids()),
            row("in JSON, too", json_body(json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"spanId": "b7ad6b7169203331"}]}]}]})), 400, Says("1 of 1 span(s)")),
            row("attributes are a list", json_body(json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "attributes": {"a": 1}}]}]}]})), 400, Says("not arrays")),
            row("versions are known", good().header("x-langfuse-ingestion-version", "5"), 400, error("Unsupported x-langfuse-ingestion-version: \"5\". Maximum supported: \"4\".")),
            row("and numbers", good().header("x-langfuse-ingestion-version", "latest"), 400, Says("Unsupported x-langfuse-ingestion-version: \\\"latest\\\"")),
            row("traces are posted", with_keys(Call::get(TRACES)), 405, message("Method not allowed")),
            row("paths are exact", with_keys(post("/langfuse/v1/traces", body(vec![generation(json!({}))]))), 404, Any),
            row("trailing slashes count", with_keys(post(&format!("{TRACES}/"), body(vec![generation(json!({}))]))), 404, Any),
            row("traces are not read by id", with_keys(Call::get("/langfuse/api/public/traces/x")), 404, Any),
            row("nor created", with_keys(Call::post("/langfuse/api/public/traces", &json!({}))), 404, Any),
            row("generations neither", with_keys(Call::post("/langfuse/api/public/generations", &json!({}))), 404, Any),
            row("projects are for those with keys", Call::get("/langfuse/api/public/projects"), 401, unauthorized()),
            row("as are observations", Call::get("/langfuse/api/public/v2/observations"), 401, unauthorized()),
            row("the legacy endpoint, too", Call::post(INGESTION, &json!({"batch": []})), 401, legacy_401),
            row("it reads JSON", legacy("x"), 400, Text("Invalid JSON")),
            row("not as text", legacy("{\"batch\":[]}").header("Content-Type", "text/plain"), 400, Text("Invalid JSON")),
            row("not gzipped", legacy("{\"batch\":[]}").gzip(), 400, Text("Invalid JSON")),
            row("with a batch", legacy("{}"), 400, no_batch),
            row("of 4.5 MB", legacy(&" ".repeat(4_500_001)), 413, Text("Body exceeded 4.5mb limit")),
            row("posted", with_keys(Call::get(INGESTION)), 405, message("Method not allowed")),
        ],
    );
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_is_refused_only_just_is_accepted() {
    let sandbox = Sandbox::start().unwrap();
    let good = || export(vec![generation(json!({}))]);
    let accepted = [
        good(),
        good().header("x-langfuse-ingestion-version", "4"),
        good().header("x-langfuse-ingestion-version", "3"),
        good().header("Content-Type", "application/x-protobuf; charset=utf-8"),
        good().gzip(),
        good().header(
            "Authorization",
            &basic("pk-lf-other", Sandbox::LANGFUSE_SECRET_KEY),
        ),
    ];
    for (index, call) in accepted.iter().enumerate() {
        let reply = call.send(&sandbox);
        assert_eq!(reply.status, 200, "{index}: {}", reply.text());
        assert_eq!(sandbox.calls().len(), index + 1);
    }
}

#[test]
fn the_answer_is_a_job_and_no_otlp() {
    let sandbox = Sandbox::start().unwrap();
    let reply = export(vec![generation(json!({}))]).send(&sandbox);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let key = &reply.json()["data"]["payload"]["data"]["publicKey"];
    assert_eq!(key, Sandbox::LANGFUSE_PUBLIC_KEY);
    ExportTraceServiceResponse::decode(reply.body.as_slice()).unwrap_err();
    // Of nothing there is no job.
    let empty = with_keys(post(TRACES, Vec::new())).send(&sandbox);
    assert_eq!((empty.status, empty.json()), (200, json!({})));
    assert_eq!(sandbox.calls().len(), 1);
}

#[test]
fn the_legacy_endpoint_refuses_inside_a_success() {
    let sandbox = Sandbox::start().unwrap();
    let batch = json!({"batch": [
        {"id": "e1", "type": "trace-create", "timestamp": "2026-11-22T10:00:00Z", "body": {"id": "t"}},
        {"id": "e2", "type": "score-create", "timestamp": "2026-11-22T10:00:00Z", "body": {}},
        {"type": "generation-create", "body": {}},
    ]});
    let reply = with_keys(Call::post(INGESTION, &batch)).send(&sandbox);
    assert_eq!(reply.status, 207);
    let reply = reply.json();
    assert_eq!(reply["successes"], json!([{"id": "e2", "status": 201}]));
    assert_eq!(reply["errors"][0]["id"], "e1");
    assert_eq!(reply["errors"][0]["status"], 400);
    assert_eq!(reply["errors"][0]["message"], "Event type not accepted");
    assert_eq!(reply["errors"][1]["id"], "unknown");
    assert_eq!(sandbox.calls(), []);
}

#[test]
fn health_and_projects() {
    let project = |name: &str, key: &str| {
        LangfuseProject::new(format!("pk-{key}"), format!("sk-{key}")).with_name(name)
    };
    let sandbox = Sandbox::builder()
        .with_langfuse(project("one", "1"))
        .with_langfuse(project("two", "2"))
        .start()
        .unwrap();
    let health = Call::get("/langfuse/api/public/health").send(&sandbox);
    assert_eq!(health.status, 200);
    assert_eq!(health.json(), json!({"status": "OK", "version": "4.16.0"}));
    // The secret decides.
    let key = basic("pk-1", "sk-2");
    let projects = Call::get("/langfuse/api/public/projects")
        .header("Authorization", &key)
        .send(&sandbox)
        .json();
    assert_eq!(projects["data"][0]["name"], "two");
    assert!(projects["data"][0]["organization"]["id"].is_string());
    let call = post(TRACES, body(vec![generation(json!({}))]));
    assert_eq!(
        call.header("Authorization", &key).send(&sandbox).status,
        200
    );
    assert_eq!(sandbox.calls()[0].project.as_deref(), Some("two"));
    // And nobody sees another's.
    let others = Call::get("/langfuse/api/public/v2/observations")
        .header("Authorization", &basic("pk-1", "sk-1"))
        .send(&sandbox);
    assert_eq!(others.json()["data"], json!([]));
    let debug = format!(
        "{:?}",
        Sandbox::builder().with_langfuse(project("one", "1"))
    );
    assert!(debug.contains("one") && !debug.contains("sk-1"), "{debug}");
}

/// From the wire contract, where it was measured.
const CORRECT: &str = r#"{"resourceSpans":[{"resource":{"attributes":[
  {"key":"service.name","value":{"stringValue":"my-svc"}},{"key":"service.version","value":{"stringValue":"1.2.3"}},
  {"key":"telemetry.sdk.language","value":{"stringValue":"rust"}},
  {"key":"langfuse.environment","value":{"stringValue":"production"}},{"key":"langfuse.release","value":{"stringValue":"abc123"}}]},
 "scopeSpans":[{"scope":{"name":"beluga-o11y","version":"0.1.0"},"spans":[{
  "traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"chat gpt-4o","kind":3,
  "startTimeUnixNano":"1795341600123456789","endTimeUnixNano":"1795341601000000000","status":{"code":2,"message":"rate limited"},
  "attributes":[
   {"key":"langfuse.observation.type","value":{"stringValue":"generation"}},
   {"key":"langfuse.trace.name","value":{"stringValue":"answer-question"}},
   {"key":"user.id","value":{"stringValue":"u1"}},{"key":"session.id","value":{"stringValue":"s1"}},
   {"key":"langfuse.trace.tags","value":{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}},
   {"key":"langfuse.observation.input","value":{"stringValue":"[{\"role\":\"user\",\"content\":\"hi\"}]"}},
   {"key":"langfuse.observation.output","value":{"stringValue":"{\"role\":\"assistant\",\"content\":\"hello\"}"}},
   {"key":"langfuse.observation.model.name","value":{"stringValue":"gpt-4o"}},
   {"key":"langfuse.observation.model.parameters","value":{"stringValue":"{\"temperature\":0.2,\"stop\":[\"a\"]}"}},
   {"key":"langfuse.observation.usage_details","value":{"stringValue":"{\"input\":8,\"input_cached_tokens\":2,\"output\":5,\"total\":15}"}},
   {"key":"langfuse.observation.cost_details","value":{"stringValue":"{\"input\":0.001,\"output\":0.002,\"total\":0.003}"}},
   {"key":"langfuse.observation.completion_start_time","value":{"stringValue":"2026-11-22T10:00:00.500Z"}},
   {"key":"langfuse.observation.prompt.name","value":{"stringValue":"p"}},{"key":"langfuse.observation.prompt.version","value":{"intValue":"3"}},
   {"key":"langfuse.observation.metadata.k","value":{"stringValue":"v"}},
   {"key":"gen_ai.provider.name","value":{"stringValue":"openai"}}]}]}]}]}"#;

#[test]
fn a_correct_request_is_read_back_whole() {
    let sandbox = Sandbox::start().unwrap();
    let call = Call::get(TRACES).method("POST").body(CORRECT);
    let call = with_keys(call.header("Content-Type", "application/json"));
    assert_eq!(call.send(&sandbox).status, 200);
    let path = "/langfuse/api/public/v2/observations?traceId=";
    let of = |trace: &str| {
        with_keys(Call::get(format!("{path}{trace}")))
            .send(&sandbox)
            .json()
    };
    assert_eq!(of("0af7651916cd43dd8448eb211c80319d")["data"], json!([]));
    let found = of("0af7651916cd43dd8448eb211c80319c")["data"][0].clone();
    for (name, value) in [
        ("id", json!("b7ad6b7169203331")),
        ("type", json!("GENERATION")),
        ("traceName", json!("answer-question")),
        ("startTime", json!("2026-11-22T10:00:00.123Z")),
        ("level", json!("ERROR")),
        ("statusMessage", json!("rate limited")),
        (
            "usageDetails",
            json!({"input": 8, "input_cached_tokens": 2, "output": 5, "total": 15}),
        ),
        ("totalCost", json!(0.003)),
        ("promptName", json!("p")),
        ("promptVersion", json!(3)),
        ("version", json!("1.2.3")),
        ("isRootObservation", json!(true)),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    let calls = sandbox.calls();
    let call = serde_json::to_value(&calls[0]).unwrap();
    for (name, value) in [
        ("backend", json!("langfuse")),
        ("project", json!("sandbox")),
        ("trace_id", json!("0af7651916cd43dd8448eb211c80319c")),
        ("name", json!("chat gpt-4o")),
        ("provider", json!("openai")),
        ("model", json!("gpt-4o")),
        ("end_time", json!("2026-11-22T10:00:01Z")),
        ("time_to_first_token_ms", json!(377.0)),
        ("input", json!([{"role": "user", "content": "hi"}])),
        ("output", json!({"role": "assistant", "content": "hello"})),
        (
            "model_parameters",
            json!({"temperature": 0.2, "stop": ["a"]}),
        ),
        ("input_tokens", json!(10)),
        ("output_tokens", json!(5)),
        ("cache_read_tokens", json!(2)),
        ("cache_write_tokens", Value::Null),
        ("cost", json!(0.003)),
        (
            "error",
            json!({"kind": null, "message": "rate limited", "trace": null}),
        ),
        ("session_id", json!("s1")),
        ("user_id", json!("u1")),
        ("tags", json!(["a", "b"])),
        ("environment", json!("production")),
        ("release", json!("abc123")),
    ] {
        assert_eq!(call[name], value, "{name}");
    }
    assert_eq!(calls[0].metadata["k"], "v");
    assert_eq!(
        calls[0].metadata["attributes"]["gen_ai.provider.name"],
        "openai"
    );
    assert_eq!(
        calls[0].metadata["attributes"].get("langfuse.observation.input"),
        None
    );
    assert_eq!(
        calls[0].metadata["resourceAttributes"]["service.name"],
        "my-svc"
    );
}

#[test]
fn usage_is_in_exclusive_buckets() {
    for (sent, kept, input, output) in [
        // Inclusive ones are counted twice.
        (
            json!({"input": 10, "input_cached_tokens": 4, "output": 5}),
            json!({"input": 10, "input_cached_tokens": 4, "output": 5, "total": 19}),
            Some(14),
            Some(5),
        ),
        (
            json!({"input": 6, "input_cached_tokens": 4, "output": 2, "output_reasoning_tokens": 3, "total": 15}),
            json!({"input": 6, "input_cached_tokens": 4, "output": 2, "output_reasoning_tokens": 3, "total": 15}),
            Some(10),
            Some(5),
        ),
        // A stray bucket becomes tokens, what is no count is dropped.
        (
            json!({"input": 1, "cost": 1, "output": 2.5, "input_audio_tokens": -3}),
            json!({"input": 1, "cost": 1, "total": 2}),
            Some(1),
            None,
        ),
        // OpenAI's names count only if all are there.
        (
            json!({"prompt_tokens": 10, "completion_tokens": 5}),
            json!({"prompt_tokens": 10, "completion_tokens": 5, "total": 15}),
            None,
            None,
        ),
        (
            json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 1}}),
            json!({"input": 6, "input_cached_tokens": 4, "output": 4, "output_reasoning_tokens": 1, "total": 15}),
            Some(10),
            Some(5),
        ),
    ] {
        let sent = json!({"langfuse.observation.usage_details": sent.to_string()});
        let (observation, call) = stored(generation(sent.clone()));
        assert_eq!(observation["usageDetails"], kept, "{sent}");
        let call = call.unwrap();
        assert_eq!(
            (call.input_tokens, call.output_tokens),
            (input, output),
            "{sent}"
        );
    }
    // By the conventions, where totals include their parts.
    let (observation, call) = stored(generation(json!({
        "gen_ai.usage.input_tokens": 10, "llm.token_count.prompt": 10, "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4, "llm.token_count.prompt_details.cache_read": 4,
        "gen_ai.usage.cache_creation.input_tokens": 1, "gen_ai.usage.reasoning.output_tokens": 2,
        "gen_ai.usage.cache_write.input_tokens": 7,
    })));
    assert_eq!(
        observation["usageDetails"],
        json!({"input": 5, "input_cached_tokens": 4, "input_cache_creation": 1, "output": 3,
            "output_reasoning_tokens": 2, "total": 15})
    );
    let call = call.unwrap();
    assert_eq!(
        (
            call.cache_read_tokens,
            call.cache_write_tokens,
            call.reasoning_tokens
        ),
        (Some(4), Some(1), Some(2))
    );
    let (observation, call) = stored(generation(json!({})));
    assert_eq!(observation["usageDetails"], json!({}));
    assert_eq!(call.unwrap().input_tokens, None);
}

#[test]
fn a_cost_needs_its_total() {
    for (sent, total) in [
        (
            json!({"input": 0.001, "output": 0.002, "total": 0.004}),
            Some(0.004),
        ),
        (json!({"total": 0}), Some(0.0)),
        (json!({"input": 0.25, "output": 0.5}), Some(0.75)),
        (
            json!({"input": 0.25, "input_cached_tokens": 0.1, "output": 0.5}),
            None,
        ),
        (json!({"input": 0.25}), None),
        (json!({"total": -1}), None),
        (json!({"total": "1"}), None),
    ] {
        let attributes = json!({"langfuse.observation.cost_details": sent.to_string()});
        let (observation, call) = stored(generation(attributes));
        assert_eq!(observation["totalCost"].as_f64(), total, "{sent}");
        assert_eq!(call.unwrap().cost, total, "{sent}");
    }
    let cost = |attributes| stored(generation(attributes)).1.unwrap().cost;
    assert_eq!(
        cost(json!({"gen_ai.usage.cost": 0.5, "llm.cost.total": 1.0})),
        Some(0.5)
    );
    assert_eq!(cost(json!({"llm.cost.total": 1.0})), Some(1.0));
    // There is a price table in the real one, but nothing that it was told.
    assert_eq!(cost(json!({"gen_ai.usage.input_tokens": 10})), None);
}

#[test]
fn names_that_win() {
    let shown = |attributes: Value| stored(generation(attributes)).0;
    let all = json!({
        "langfuse.observation.model.name": "m1", "gen_ai.response.model": "m2", "gen_ai.request.model": "m3",
        "llm.model_name": "m4", "model": "m5",
        "langfuse.user.id": "u1", "user.id": "u2",
        "langfuse.session.id": "s1", "session.id": "s2", "gen_ai.conversation.id": "s3",
        "langfuse.trace.tags": ["t1"], "langfuse.tags": ["t2"], "tag.tags": ["t3"],
        "langfuse.environment": "e1", "deployment.environment.name": "e2",
        "langfuse.observation.input": "i1", "input.value": "i2",
        "gen_ai.input.messages": "[{\"role\":\"user\",\"parts\":[]}]",
        "gen_ai.system_instructions": "[{\"type\":\"text\"}]",
    });
    let steps = [
        (
            "providedModelName",
            vec![
                "langfuse.observation.model.name",
                "gen_ai.response.model",
                "gen_ai.request.model",
                "llm.model_name",
                "model",
            ],
            vec![
                json!("m1"),
                json!("m2"),
                json!("m3"),
                json!("m4"),
                json!("m5"),
                Value::Null,
            ],
        ),
        (
            "userId",
            vec!["langfuse.user.id", "user.id"],
            vec![json!("u1"), json!("u2"), Value::Null],
        ),
        (
            "sessionId",
            vec![
                "langfuse.session.id",
                "session.id",
                "gen_ai.conversation.id",
            ],
            vec![json!("s1"), json!("s2"), json!("s3"), Value::Null],
        ),
        (
            "tags",
            vec!["langfuse.trace.tags", "langfuse.tags", "tag.tags"],
            vec![json!(["t1"]), json!(["t2"]), json!(["t3"]), json!([])],
        ),
        (
            "environment",
            vec!["langfuse.environment", "deployment.environment.name"],
            vec![json!("e1"), json!("e2"), json!("default")],
        ),
        (
            "input",
            vec![
                "langfuse.observation.input",
                "input.value",
                "gen_ai.input.messages",
            ],
            vec![
                json!("i1"),
                json!("i2"),
                json!([{"role": "system", "parts": [{"type": "text"}]}, {"role": "user", "parts": []}]),
                Value::Null,
            ],
        ),
    ];
    for (field, names, values) in steps {
        let mut attributes = all.clone();
        for (step, value) in values.iter().enumerate() {
            assert_eq!(&shown(attributes.clone())[field], value, "{field} {step}");
            if let Some(name) = names.get(step) {
                attributes.as_object_mut().unwrap().remove(*name);
            }
        }
    }
    assert_eq!(
        shown(json!({"langfuse.trace.tags": "[\"a\",\"b\"]"}))["tags"],
        json!(["a", "b"])
    );
    assert_eq!(
        shown(json!({"langfuse.trace.tags": "a, b"}))["tags"],
        json!(["a", "b"])
    );
    // A tool's name replaces that of the call.
    assert_eq!(
        shown(json!({"gen_ai.tool.name": "search"}))["name"],
        "search"
    );
    assert_eq!(
        shown(json!({"llm.input_messages.0.message.role": "user"}))["input"],
        json!([{"message": {"role": "user"}}])
    );
    // Of the resource only some count.
    let resource = json!({"user.id": "u", "session.id": "s", "langfuse.release": "r",
        "deployment.environment": "e", "service.version": "1"});
    let shown = stored_with(resource, generation(json!({}))).0;
    assert_eq!(
        (&shown["userId"], &shown["sessionId"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&shown["release"], &shown["environment"], &shown["version"]),
        (&json!("r"), &json!("e"), &json!("1"))
    );
}

#[test]
fn types_and_what_is_a_call() {
    for (attributes, kind) in [
        (
            json!({"langfuse.observation.type": "generation"}),
            "GENERATION",
        ),
        (
            json!({"langfuse.observation.type": "tool", "openinference.span.kind": "LLM"}),
            "TOOL",
        ),
        (
            json!({"openinference.span.kind": "LLM", "gen_ai.operation.name": "embeddings"}),
            "GENERATION",
        ),
        (json!({"gen_ai.operation.name": "chat"}), "GENERATION"),
        (json!({"gen_ai.operation.name": "embeddings"}), "EMBEDDING"),
        (
            json!({"gen_ai.tool.name": "x", "llm.model_name": "m"}),
            "TOOL",
        ),
        (json!({"llm.model_name": "m"}), "GENERATION"),
        (json!({"langfuse.observation.type": "novelty"}), "SPAN"),
        (json!({}), "SPAN"),
    ] {
        let (observation, call) = stored(span(attributes.clone()));
        assert_eq!(observation["type"], kind, "{attributes}");
        assert_eq!(call.is_some(), kind == "GENERATION", "{attributes}");
    }
    // An agent has neither model nor tokens.
    let agent = stored(generation(
        json!({"gen_ai.operation.name": "invoke_agent", "llm.model_name": "m",
        "gen_ai.usage.input_tokens": 5, "gen_ai.usage.cost": 1.0}),
    ));
    let call = agent.1.unwrap();
    assert_eq!(
        (call.model, call.input_tokens, call.cost),
        (None, None, None)
    );
}

#[test]
fn levels() {
    let level = |span: Span| stored(span).0["level"].clone();
    assert_eq!(level(generation(json!({}))), "DEFAULT");
    assert_eq!(level(failed(generation(json!({})), "boom")), "ERROR");
    for (said, kept) in [
        ("info", "DEFAULT"),
        ("warn", "WARNING"),
        ("fatal", "ERROR"),
        ("DEBUG", "DEBUG"),
        ("odd", "ERROR"),
    ] {
        let span = failed(
            generation(json!({"langfuse.observation.level": said})),
            "boom",
        );
        assert_eq!(level(span), kept, "{said}");
    }
    let said =
        json!({"langfuse.observation.status_message": "mine", "error.type": "RateLimitError"});
    let (_, call) = stored(failed(generation(said), "status"));
    let error = call.unwrap().error.unwrap();
    assert_eq!(
        (error.kind.as_deref(), error.message.as_str()),
        (Some("RateLimitError"), "mine")
    );
    // A name is not the number.
    let sandbox = Sandbox::start().unwrap();
    let body = CORRECT.replace("\"code\":2", "\"code\":\"STATUS_CODE_ERROR\"");
    let call = Call::get(TRACES).method("POST").body(body);
    let call = with_keys(call.header("Content-Type", "application/json"));
    assert_eq!(call.send(&sandbox).status, 200);
    assert_eq!(sandbox.calls()[0].error, None);
}

#[test]
fn metadata_is_what_is_named_so() {
    let (_, call) = stored(generation(json!({
        "langfuse.observation.metadata.k": "v", "langfuse.trace.metadata.n": 1,
        "langfuse.observation.metadata.deep": "{\"a\":[1]}", "langfuse.observation.metadata.__proto__": "x",
        "metadata": "{\"lost\":true}", "custom": 2, "llm.input_messages.0.message.content": "content",
    })));
    let metadata = call.unwrap().metadata;
    assert_eq!(
        (&metadata["k"], &metadata["n"], &metadata["deep"]),
        (&json!("v"), &json!(1), &json!({"a": [1]}))
    );
    assert!(
        !metadata.contains_key("lost")
            && !metadata.contains_key("custom")
            && !metadata.contains_key("__proto__")
    );
    assert_eq!(metadata["attributes"]["metadata"], "{\"lost\":true}");
    assert_eq!(metadata["attributes"]["custom"], "2");
    assert!(!metadata["attributes"].to_string().contains("content\""));
    assert_eq!(metadata["scope"]["name"], "beluga-o11y");
}

#[test]
fn its_own_sdks_scope_loses_what_is_not_mapped() {
    let sandbox = Sandbox::start().unwrap();
    let raw = body(vec![generation(json!({"custom": 1}))]);
    let mut request = ExportTraceServiceRequest::decode(raw.as_slice()).unwrap();
    let scope = &mut request.resource_spans[0].scope_spans[0].scope;
    scope.as_mut().unwrap().name = "langfuse-sdk-rust".to_owned();
    let call = with_keys(post(TRACES, request.encode_to_vec()));
    assert_eq!(call.send(&sandbox).status, 200);
    let metadata = &sandbox.calls()[0].metadata;
    assert!(!metadata.contains_key("attributes"), "{metadata:?}");
}

#[test]
fn a_row_is_trace_span_and_start() {
    let sandbox = Sandbox::start().unwrap();
    let first = generation(json!({"langfuse.observation.model.name": "a"}));
    let send = |span: &Span| assert_eq!(export(vec![span.clone()]).send(&sandbox).status, 200);
    send(&first);
    send(&generation(json!({})));
    let mut again = generation(json!({"langfuse.observation.model.name": "b"}));
    (again.trace_id, again.span_id) = (first.trace_id.clone(), first.span_id.clone());
    // Less than a millisecond is no difference.
    again.start_time_unix_nano = START + 500;
    send(&again);
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].model.as_deref(), Some("b"));
    again.start_time_unix_nano = START + MILLISECOND;
    send(&again);
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(
        (&calls[0].id, &calls[0].trace_id),
        (&calls[2].id, &calls[2].trace_id)
    );
    assert_eq!(calls[2].id, hex(&first.span_id));
    sandbox.clear();
    assert_eq!(sandbox.calls(), []);
}

#[test]
fn times_that_are_missing() {
    let mut open = generation(json!({}));
    open.end_time_unix_nano = 0;
    let (_, call) = stored(open);
    let call = call.unwrap();
    assert_eq!(call.end_time, Some(call.start_time));
    let mut late = generation(json!({}));
    late.start_time_unix_nano = 0;
    assert_eq!(stored(late).0["startTime"], "2026-11-22T10:00:00.963Z");
}

#[test]
fn a_parent_that_stays_elsewhere() {
    let child = |attributes| {
        let mut span = generation(attributes);
        span.parent_span_id = vec![7; 8];
        stored(span).0
    };
    assert_eq!(child(json!({}))["isRootObservation"], false);
    assert_eq!(child(json!({}))["parentObservationId"], "0707070707070707");
    assert_eq!(
        child(json!({"langfuse.internal.is_app_root": true}))["isRootObservation"],
        true
    );
}

#[test]
fn faults_speak_as_langfuse_does() {
    let sandbox = Sandbox::start().unwrap();
    let faulty = |status| {
        sandbox.inject(Fault::status(status).on("/langfuse"));
        let reply = export(vec![generation(json!({}))]).send(&sandbox);
        assert_eq!(reply.status, status);
        reply
    };
    let limited = faulty(429);
    for (name, value) in [
        ("retry-after", "2"),
        ("x-ratelimit-limit", "1000"),
        ("x-ratelimit-remaining", "0"),
    ] {
        assert_eq!(limited.header(name), Some(value));
    }
    assert!(
        limited
            .header("x-ratelimit-reset")
            .unwrap()
            .contains(" GMT+0000 (")
    );
    assert_eq!(limited.json()["code"], "rate_limited");
    assert_eq!(limited.json()["details"]["retryAfterSeconds"], 2);
    assert!(faulty(401).text().contains("Invalid credentials"));
    assert_eq!(
        faulty(500).json(),
        json!({"message": "Internal Server Error"})
    );
    assert!(faulty(403).text().contains("Ingestion suspended"));
    assert!(faulty(400).text().contains("Failed to parse"));
    sandbox.inject(Fault::status(429).with_header("Retry-After", "9"));
    let reply = export(vec![]).send(&sandbox);
    assert_eq!(reply.header("retry-after"), Some("9"));
    assert_eq!(sandbox.calls(), []);
}

#[test]
fn a_lost_answer_is_stored_and_comes_again_as_one_row() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::lost_answer());
    let call = export(vec![generation(json!({}))]);
    call.try_send(&sandbox).unwrap_err();
    assert_eq!(sandbox.calls().len(), 1);
    assert_eq!(call.send(&sandbox).status, 200);
    assert_eq!(sandbox.calls().len(), 1);
}

#[test]
fn requests_can_be_read() {
    let sandbox = Sandbox::start().unwrap();
    let raw = body(vec![generation(json!({"user.id": "u"}))]);
    assert_eq!(
        export(vec![])
            .body(gzip(&raw))
            .header("Content-Encoding", "gzip")
            .send(&sandbox)
            .status,
        200
    );
    let request = &sandbox.requests()[0];
    assert_eq!(request.json_bytes, raw.len() as u64);
    assert_eq!(request.body["spans"][0]["attributes"]["user.id"], "u");
    let debug = format!("{request:?}");
    assert!(!debug.contains("Basic "), "{debug}");
}

#[test]
fn observations_are_found_by_trace_and_time_and_shown_by_fields() {
    let sandbox = Sandbox::start().unwrap();
    let sent = generation(json!({
        "langfuse.observation.input": "\"in\"",
        "langfuse.observation.output": "\"out\"",
        "langfuse.observation.metadata.k": "v",
    }));
    let trace = hex(&sent.trace_id);
    assert_eq!(export(vec![sent]).send(&sandbox).status, 200);
    let ask = |query: &str| {
        let path = format!("/langfuse/api/public/v2/observations?{query}");
        with_keys(Call::get(&path)).send(&sandbox)
    };
    // It starts at 2026-11-22T10:00:00.123Z.
    for (query, found) in [
        (format!("traceId={trace}"), 1),
        ("traceId=0".to_owned(), 0),
        ("fromStartTime=2026-11-22T10%3A00%3A00.123Z".to_owned(), 1),
        ("fromStartTime=2026-11-22T10%3A00%3A00.124Z".to_owned(), 0),
        ("toStartTime=2026-11-22T10%3A00%3A00.124Z".to_owned(), 1),
        ("toStartTime=2026-11-22T10%3A00%3A00.123Z".to_owned(), 0),
    ] {
        let reply = ask(&query).json();
        assert_eq!(reply["data"].as_array().unwrap().len(), found, "{query}");
    }
    assert_eq!(ask("fromStartTime=yesterday").status, 400);
    for (query, io, metadata) in [
        ("", true, true),
        ("fields=core,io", true, false),
        ("fields=metadata", false, true),
        ("fields=core", false, false),
    ] {
        let reply = ask(query).json();
        let observation = reply["data"][0].as_object().unwrap();
        assert!(observation.contains_key("id"));
        assert_eq!(observation.contains_key("input"), io, "{query}");
        assert_eq!(observation.contains_key("output"), io, "{query}");
        assert_eq!(observation.contains_key("metadata"), metadata, "{query}");
    }
}
