//! LLM calls in one form, and what the sandbox tells of all backends at once.

use std::collections::BTreeSet;
use std::slice;

use beluga_o11y_sandbox::{Backend, OpikCloud, Sandbox};
use serde_json::{Value, json};

use crate::http::{Call, id, span, trace, with};

fn store(sandbox: &Sandbox, trace: &Value, span: &Value) {
    assert_eq!(
        Call::traces(slice::from_ref(trace)).send(sandbox).status,
        204
    );
    assert_eq!(Call::spans(slice::from_ref(span)).send(sandbox).status, 204);
}

#[test]
fn a_span_of_opik_with_what_its_trace_knows() {
    let sandbox = Sandbox::start().unwrap();
    let metadata = json!({"k": "v", "user_id": "u1", "release": "r1", "model": "gpt-4o"});
    let trace = with(trace(), json!({"metadata": metadata, "tags": ["b", "a"]}));
    let span = with(
        span(),
        json!({
            "trace_id": trace["id"], "tags": ["c", "a"], "output": {"response": "hello"},
            "metadata": {"model_parameters": {"temperature": 0.2}},
            "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17,
                "original_usage.prompt_tokens_details.cached_tokens": 4,
                "original_usage.completion_tokens_details.reasoning_tokens": 2},
        }),
    );
    store(&sandbox, &trace, &span);
    let calls = sandbox.calls();
    assert_eq!(calls, sandbox.calls_of(Backend::Opik));
    assert_eq!(
        serde_json::to_value(&calls).unwrap(),
        json!([{
            "backend": "opik", "project": "beluga-demo", "id": span["id"], "trace_id": trace["id"],
            "parent_id": span["parent_span_id"], "name": "chat", "provider": "openai", "model": "gpt-4o",
            "start_time": "2026-11-22T21:52:14.072279Z", "end_time": "2026-11-22T21:52:14.912279Z",
            "time_to_first_token_ms": 120.5, "input": [{"role": "user", "content": "hi"}], "output": "hello",
            "model_parameters": {"temperature": 0.2}, "input_tokens": 12, "output_tokens": 5,
            "cache_read_tokens": 4, "cache_write_tokens": null, "reasoning_tokens": 2, "cost": 0.00123,
            "error": {"kind": "RateLimitError", "message": "429", "trace": "RateLimitError: 429"},
            "session_id": "conv-1", "user_id": "u1", "tags": ["a", "b", "c"], "environment": "test", "release": "r1",
            "metadata": {"k": "v", "user_id": "u1", "release": "r1", "model": "gpt-4o",
                "model_parameters": {"temperature": 0.2}},
        }])
    );
    let own = Call::get("/_sandbox/calls").send(&sandbox).json();
    assert_eq!(own, serde_json::to_value(&calls).unwrap());
}

/// Of several calls in a trace each has its own, and the trace's where it has none.
#[test]
fn what_a_span_of_opik_says_itself_comes_first() {
    let sandbox = Sandbox::start().unwrap();
    let of_trace = json!({"user_id": "of the trace", "k": "of the trace"});
    let trace = with(trace(), json!({"metadata": of_trace}));
    let call = |metadata: Value| {
        let span = with(
            span(),
            json!({"trace_id": trace["id"], "metadata": metadata}),
        );
        store(&sandbox, &trace, &span);
        let call = sandbox.calls().pop().unwrap();
        (
            call.user_id.unwrap(),
            call.release,
            call.metadata["k"].clone(),
        )
    };
    let own = call(json!({"user_id": "its own", "release": "r2", "k": "its own"}));
    assert_eq!(own, ("its own".into(), Some("r2".into()), json!("its own")));
    let shared = call(json!({"user_id": 5}));
    assert_eq!(shared, ("of the trace".into(), None, json!("of the trace")));
}

#[test]
fn only_llm_spans_are_calls() {
    let sandbox = Sandbox::start().unwrap();
    for kind in ["general", "tool", "guardrail"] {
        store(&sandbox, &trace(), &with(span(), json!({"type": kind})));
    }
    assert_eq!(sandbox.calls(), []);
    // A trace that never came has nothing to say.
    let lonely = with(span(), json!({"trace_id": id()}));
    assert_eq!(Call::spans(&[lonely]).send(&sandbox).status, 204);
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (calls[0].session_id.as_ref(), calls[0].user_id.as_ref()),
        (None, None)
    );
}

#[test]
fn how_other_providers_count_in_opik() {
    for (usage, read, write, reasoning) in [
        (
            json!({"original_usage.cache_read_input_tokens": 1, "original_usage.cache_creation_input_tokens": 2,
                "original_usage.output_tokens_details.thinking_tokens": 3}),
            Some(1),
            Some(2),
            Some(3),
        ),
        (
            json!({"original_usage.cacheReadInputTokens": 1, "original_usage.cacheWriteInputTokens": 2}),
            Some(1),
            Some(2),
            None,
        ),
        (
            json!({"original_usage.cached_content_token_count": 1, "original_usage.thoughts_token_count": 3}),
            Some(1),
            None,
            Some(3),
        ),
    ] {
        let sandbox = Sandbox::start().unwrap();
        store(&sandbox, &trace(), &with(span(), json!({"usage": usage})));
        let call = &sandbox.calls()[0];
        assert_eq!(
            (
                call.cache_read_tokens,
                call.cache_write_tokens,
                call.reasoning_tokens
            ),
            (read, write, reasoning)
        );
        assert_eq!((call.input_tokens, call.output_tokens), (None, None));
    }
}

#[test]
fn the_environment_begins_with_opik_and_names_each_variable_once() {
    let sandbox = Sandbox::builder()
        .with_cloud(OpikCloud::new("k").with_workspace("w"))
        .with_cloud(OpikCloud::new("other"))
        .start()
        .unwrap();
    let all = sandbox.environment();
    let opik = [
        ("OPIK_URL_OVERRIDE", sandbox.opik_url()),
        ("OPIK_API_KEY", "k".to_owned()),
        ("OPIK_WORKSPACE", "w".to_owned()),
    ];
    assert_eq!(all[..3], opik);
    let langsmith = ("LANGSMITH_ENDPOINT", sandbox.langsmith_url());
    assert!(all.contains(&langsmith), "{all:?}");
    let names: BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), all.len());
    // What has no backend here is not named.
    let langfuse = names.contains(&"LANGFUSE_BASE_URL");
    assert_eq!(langfuse, cfg!(feature = "otlp"));
    let own = Sandbox::start().unwrap().environment();
    assert_eq!(own[1], ("OPIK_WORKSPACE", "default".to_owned()));
    assert!(own.iter().all(|(name, _)| *name != "OPIK_API_KEY"));
}

#[test]
fn clearing_and_debug() {
    let sandbox = Sandbox::start().unwrap();
    store(&sandbox, &trace(), &span());
    let debug = format!("{sandbox:?}");
    assert!(
        debug.contains("spans: 1") && debug.contains("langsmith: 0"),
        "{debug}"
    );
    assert!(
        !debug.contains("gpt-4o") && !debug.contains("hello"),
        "{debug}"
    );
    sandbox.clear();
    assert_eq!(sandbox.calls(), []);
    assert!(format!("{sandbox:?}").contains("spans: 0"));
}

#[cfg(feature = "otlp")]
#[test]
fn every_backend_has_a_path_and_a_store_of_its_own() {
    use beluga_o11y_sandbox::Fault;

    use crate::exports::{body, llm_span, post};

    let sandbox = Sandbox::start().unwrap();
    let address = sandbox.address();
    assert_eq!(sandbox.langfuse_url(), format!("http://{address}/langfuse"));
    assert_eq!(sandbox.phoenix_url(), format!("http://{address}/phoenix"));
    assert_eq!(
        sandbox.langsmith_url(),
        format!("http://{address}/langsmith")
    );
    assert_eq!(sandbox.otlp_url(), format!("http://{address}/otlp"));
    // A name that only starts like a path is not it.
    assert_eq!(Call::get("/phoenixes/healthz").send(&sandbox).status, 404);
    store(&sandbox, &trace(), &span());
    for path in ["/otlp/v1/traces", "/phoenix/v1/traces"] {
        let call = post(path, body(vec![llm_span(json!({}))]));
        assert_eq!(call.send(&sandbox).status, 200);
    }
    let backends: Vec<_> = sandbox.calls().iter().map(|call| call.backend).collect();
    assert_eq!(backends, [Backend::Opik, Backend::Phoenix, Backend::Otlp]);
    assert_eq!(sandbox.calls_of(Backend::Otlp).len(), 1);
    assert_eq!(sandbox.calls_of(Backend::Langfuse), []);
    assert_eq!(sandbox.otlp_spans(Backend::Phoenix).len(), 1);
    assert_eq!(sandbox.otlp_spans(Backend::Opik), []);
    sandbox.clear();
    assert_eq!(sandbox.calls(), []);
    // A fault for one leaves the others alone.
    sandbox.inject(Fault::status(503).on("/phoenix").always());
    let status = |path| {
        post(path, body(vec![llm_span(json!({}))]))
            .send(&sandbox)
            .status
    };
    assert_eq!(
        (status("/phoenix/v1/traces"), status("/otlp/v1/traces")),
        (503, 200)
    );
}
