//! What a listener is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use beluga_o11y_sandbox::{Arrival, Backend, Fault, Sandbox, SandboxBuilder};
use serde_json::json;

use crate::http::{Call, id, id_of, span, trace, with};
use crate::langsmith;

/// A sandbox, and what its listener is told.
fn listening(builder: SandboxBuilder) -> (Sandbox, Receiver<Arrival>) {
    let (tell, told) = mpsc::channel();
    let builder = builder.with_listener(move |arrival| drop(tell.send(arrival)));
    (builder.start().unwrap(), told)
}

/// Of the calls that were told: backend, id, model, tokens, and whether it was again. Nothing else was told.
type Told = (
    Backend,
    String,
    Option<String>,
    Option<u64>,
    Option<u64>,
    bool,
);

fn told_calls(told: &Receiver<Arrival>) -> Vec<Told> {
    let call = |arrival| match arrival {
        Arrival::Call { call, again } => (
            call.backend,
            call.id,
            call.model,
            call.input_tokens,
            call.output_tokens,
            again,
        ),
        other => panic!("{other:?}"),
    };
    told.try_iter().map(call).collect()
}

fn one(backend: Backend, id: impl ToString, tokens: (u64, u64), again: bool) -> Told {
    let model = Some("gpt-4o".to_owned());
    let (input, output) = (Some(tokens.0), Some(tokens.1));
    (backend, id.to_string(), model, input, output, again)
}

fn refused(told: &Receiver<Arrival>) -> (Option<Backend>, String, String, u16, Option<String>) {
    let all: Vec<_> = told.try_iter().collect();
    match <[Arrival; 1]>::try_from(all).unwrap() {
        [
            Arrival::Refused {
                backend,
                method,
                path,
                status,
                reason,
            },
        ] => (backend, method, path, status, reason),
        other => panic!("{other:?}"),
    }
}

fn is_refused(told: &Receiver<Arrival>, backend: Backend, status: u16, says: &str) {
    let (of, method, path, code, reason) = refused(told);
    assert_eq!((of, method.as_str(), code), (Some(backend), "POST", status));
    assert!(path.starts_with('/'), "{path}");
    let reason = reason.unwrap();
    assert!(reason.contains(says), "{reason}");
    assert!(reason.chars().count() <= 200 && !reason.contains(char::is_control));
}

#[test]
fn calls_of_opik() {
    let (sandbox, told) = listening(Sandbox::builder());
    let trace = trace();
    let span = with(span(), json!({"trace_id": trace["id"]}));
    let id = id_of(&span);
    assert_eq!(Call::traces(&[trace]).send(&sandbox).status, 204);
    assert_eq!(told_calls(&told), []);

    let tool = with(crate::http::span(), json!({"type": "tool"}));
    let batch = Call::spans(&[span.clone(), tool]);
    assert_eq!(batch.send(&sandbox).status, 204);
    let all: Vec<_> = told.try_iter().collect();
    let call = Box::new(sandbox.calls().remove(0));
    assert_eq!(call.session_id.as_deref(), Some("conv-1"), "of its trace");
    assert_eq!(all, [Arrival::Call { call, again: false }]);

    // Again, and twice in one batch: once for each request, with what stays.
    assert_eq!(batch.send(&sandbox).status, 204);
    let call = |again| one(Backend::Opik, id, (12, 5), again);
    assert_eq!(told_calls(&told), [call(true)]);
    let newer = with(
        span.clone(),
        json!({"last_updated_at": null, "usage": {"prompt_tokens": 13, "completion_tokens": 5}}),
    );
    let twice = Call::spans(&[span.clone(), newer]);
    assert_eq!(twice.send(&sandbox).status, 204);
    assert_eq!(told_calls(&told), [one(Backend::Opik, id, (13, 5), true)]);
    // An older one changes nothing.
    let older = with(span, json!({"last_updated_at": "2020-01-01T00:00:00Z"}));
    assert_eq!(Call::spans(&[older]).send(&sandbox).status, 204);
    assert_eq!(told_calls(&told), []);
}

#[test]
fn single_spans_of_opik_and_late_traces() {
    const SPANS: &str = "/opik/api/v1/private/spans";
    let (sandbox, told) = listening(Sandbox::builder());
    let span = span();
    let id = id_of(&span);
    let call = |again| one(Backend::Opik, id, (12, 5), again);
    let create = Call::post(SPANS, &span);
    assert_eq!(create.send(&sandbox).status, 201);
    assert_eq!(told_calls(&told), [call(false)]);
    assert_eq!(create.send(&sandbox).status, 201, "and nothing changes");
    assert_eq!(told_calls(&told), []);
    let names = json!({
        "trace_id": span["trace_id"], "parent_span_id": span["parent_span_id"],
        "project_name": span["project_name"], "model": "gpt-4o",
    });
    let patch = Call::patch(format!("{SPANS}/{id}"), &names);
    assert_eq!(patch.send(&sandbox).status, 204);
    assert_eq!(told_calls(&told), [call(true)]);
    // The trace comes last: what it knows is shown, not told.
    let trace = with(trace(), json!({"id": span["trace_id"]}));
    assert_eq!(Call::traces(&[trace]).send(&sandbox).status, 204);
    assert_eq!(told_calls(&told), []);
    assert_eq!(sandbox.calls()[0].session_id.as_deref(), Some("conv-1"));

    // An update that comes before the span.
    let early = crate::http::span();
    let id = id_of(&early);
    let update = with(
        names,
        json!({"trace_id": early["trace_id"], "parent_span_id": early["parent_span_id"]}),
    );
    let patch = Call::patch(format!("{SPANS}/{id}"), &update);
    assert_eq!(patch.send(&sandbox).status, 204);
    assert_eq!(told_calls(&told), [], "nobody knows that it is a call");
    assert_eq!(Call::post(SPANS, &early).send(&sandbox).status, 201);
    assert_eq!(told_calls(&told), [one(Backend::Opik, id, (12, 5), true)]);
}

#[test]
fn calls_of_langsmith() {
    let (sandbox, told) = listening(Sandbox::builder());
    let run = langsmith::run();
    let id = run["id"].as_str().unwrap();
    let chain = with(langsmith::run(), json!({"run_type": "chain"}));
    let call = |again| one(Backend::LangSmith, id, (10, 5), again);
    let post = langsmith::post(&[chain, run.clone()]);
    assert_eq!(post.send(&sandbox).status, 202);
    assert_eq!(told_calls(&told), [call(false)]);
    let patch = langsmith::patch(slice::from_ref(&run));
    assert_eq!(patch.send(&sandbox).status, 202);
    assert_eq!(told_calls(&told), [call(true)]);
    assert_eq!(post.send(&sandbox).status, 409);
    is_refused(&told, Backend::LangSmith, 409, "payload already received");

    // Both in one request, and the update first.
    let run = langsmith::run();
    let id = run["id"].as_str().unwrap();
    let both = json!({"post": [run], "patch": [run]});
    let both = langsmith::to(Call::post("/langsmith/runs/batch", &both));
    assert_eq!(both.send(&sandbox).status, 202);
    assert_eq!(
        told_calls(&told),
        [one(Backend::LangSmith, id, (10, 5), false)]
    );
    let run = langsmith::run();
    let id = run["id"].as_str().unwrap();
    let patch = langsmith::patch(slice::from_ref(&run));
    assert_eq!(patch.send(&sandbox).status, 202);
    assert_eq!(told_calls(&told), []);
    let post = langsmith::post(slice::from_ref(&run));
    assert_eq!(post.send(&sandbox).status, 202);
    assert_eq!(
        told_calls(&told),
        [one(Backend::LangSmith, id, (10, 5), false)]
    );
}

#[cfg(feature = "otlp")]
#[test]
fn calls_of_those_that_read_otlp() {
    use crate::exports::{body, hex, llm_span, post, span};

    let (sandbox, told) = listening(Sandbox::builder());
    let tokens = json!({"llm.token_count.prompt": 7, "llm.token_count.completion": 3});
    for (path, backend, again) in [
        (
            "/langfuse/api/public/otel/v1/traces",
            Backend::Langfuse,
            true,
        ),
        ("/phoenix/v1/traces", Backend::Phoenix, false),
        ("/otlp/v1/traces", Backend::Otlp, true),
    ] {
        let span = span(json!({"openinference.span.kind": "TOOL"}));
        let call = llm_span(tokens.clone());
        let id = hex(&call.span_id);
        let request = crate::langfuse::with_keys(post(path, body(vec![span, call])));
        let expected = |again| one(backend, id.clone(), (7, 3), again);
        assert_eq!(request.send(&sandbox).status, 200);
        assert_eq!(told_calls(&told), [expected(false)]);
        assert_eq!(sandbox.calls_of(backend).len(), 1);
        assert_eq!(request.send(&sandbox).status, 200);
        // What Phoenix knows it drops.
        let second = again.then(|| expected(true));
        assert_eq!(told_calls(&told), second.as_slice(), "{backend:?}");
    }
    // Twice in one request.
    let call = llm_span(tokens);
    let id = hex(&call.span_id);
    let twice = |path| {
        let request = post(path, body(vec![call.clone(), call.clone()]));
        let request = crate::langfuse::with_keys(request);
        assert_eq!(request.send(&sandbox).status, 200);
        told_calls(&told)
    };
    let expected = |backend, again| one(backend, id.clone(), (7, 3), again);
    assert_eq!(
        twice("/langfuse/api/public/otel/v1/traces"),
        [expected(Backend::Langfuse, false)]
    );
    assert_eq!(
        twice("/otlp/v1/traces"),
        [
            expected(Backend::Otlp, false),
            expected(Backend::Otlp, true)
        ],
        "both are rows"
    );
}

#[test]
fn refusals_by_the_rules() {
    let (sandbox, told) = listening(Sandbox::builder());
    let bad = with(trace(), json!({"start_time": null}));
    assert_eq!(Call::traces(&[bad]).send(&sandbox).status, 422);
    is_refused(&told, Backend::Opik, 422, "startTime must not be null");
    assert_eq!(Call::traces(&[]).body("{").send(&sandbox).status, 400);
    is_refused(&told, Backend::Opik, 400, "Unable to process JSON");
    let keyless = langsmith::post(&[langsmith::run()]).without("x-api-key");
    assert_eq!(keyless.send(&sandbox).status, 401);
    is_refused(&told, Backend::LangSmith, 401, "Invalid token");
    // A bad span takes the whole batch along.
    let bad = with(span(), json!({"start_time": null}));
    assert_eq!(Call::spans(&[span(), bad]).send(&sandbox).status, 422);
    is_refused(&told, Backend::Opik, 422, "spans[1].startTime");
    // Reading.
    let path = format!("/api/v1/private/spans/{}", id());
    assert_eq!(Call::get(path.as_str()).send(&sandbox).status, 404);
    let (backend, method, of, _, _) = refused(&told);
    assert_eq!(
        (backend, method.as_str(), of),
        (Some(Backend::Opik), "GET", path)
    );
    // A path of nobody, and what is no refusal.
    assert_eq!(Call::get("/favicon.ico").send(&sandbox).status, 404);
    assert_eq!(
        refused(&told),
        (
            None,
            "GET".to_owned(),
            "/favicon.ico".to_owned(),
            404,
            Some("HTTP 404 Not Found".to_owned())
        )
    );
    for path in [
        "/is-alive/ping",
        "/langsmith/info",
        "/_sandbox/calls",
        "/_sandbox/x",
    ] {
        Call::get(path).send(&sandbox);
    }
    assert_eq!(told.try_iter().count(), 0);
}

#[cfg(feature = "otlp")]
#[test]
fn refusals_of_those_that_read_otlp() {
    use crate::exports::{body, llm_span, post};
    use crate::langfuse::with_keys;

    let builder = Sandbox::builder().with_otlp_header("x-key", "k");
    let (sandbox, told) = listening(builder);
    let good = || body(vec![llm_span(json!({}))]);
    let langfuse = "/langfuse/api/public/otel/v1/traces";
    for (call, backend, status, says) in [
        (
            post(langfuse, good()),
            Backend::Langfuse,
            401,
            "Invalid credentials",
        ),
        (
            with_keys(post(langfuse, vec![1])),
            Backend::Langfuse,
            400,
            "Failed to parse",
        ),
        (
            post("/phoenix/v1/traces", vec![1]),
            Backend::Phoenix,
            422,
            "ExportTraceServiceRequest",
        ),
        (
            post("/otlp/v1/traces", good()),
            Backend::Otlp,
            401,
            "Unauthorized",
        ),
        (
            post("/otlp/v1/logs", good()),
            Backend::Otlp,
            404,
            "404 page not found",
        ),
    ] {
        assert_eq!(call.send(&sandbox).status, status);
        is_refused(&told, backend, status, says);
    }
    // The legacy endpoint says it in a 207.
    let ingest = |kind: &str| {
        let event = json!({"id": "e", "type": kind, "body": {}});
        let call = Call::post("/langfuse/api/public/ingestion", &json!({"batch": [event]}));
        assert_eq!(with_keys(call).send(&sandbox).status, 207);
    };
    ingest("trace-create");
    is_refused(&told, Backend::Langfuse, 207, "Event type not accepted");
    ingest("score-create");
    assert_eq!(told.try_iter().count(), 0);
}

#[test]
fn faults_are_told_if_they_answer() {
    let (sandbox, told) = listening(Sandbox::builder());
    let send = || Call::spans(&[span()]).try_send(&sandbox);
    sandbox.inject(Fault::status(503));
    assert_eq!(send().unwrap().status, 503);
    is_refused(&told, Backend::Opik, 503, "HTTP 503 Service Unavailable");
    sandbox.inject(Fault::status(502).with_body("<html>Bad Gateway</html>"));
    assert_eq!(send().unwrap().status, 502);
    assert_eq!(refused(&told).4, None, "a page is no reason");
    sandbox.inject(Fault::huge_body(500, 100_000));
    assert_eq!(send().unwrap().status, 500);
    assert_eq!(refused(&told).4, None);
    sandbox.inject(Fault::redirect("http://127.0.0.1:1/"));
    assert_eq!(send().unwrap().status, 307);
    assert_eq!(refused(&told).3, 307);
    sandbox.inject(Fault::reset());
    send().unwrap_err();
    assert_eq!(told.try_iter().count(), 0);
    // Stored, whatever the client sees.
    sandbox.inject(Fault::lost_answer());
    send().unwrap_err();
    assert_eq!(told_calls(&told).len(), 1);
    assert_eq!(send().unwrap().status, 204);
    assert_eq!(told_calls(&told).len(), 1);
}

#[test]
fn a_listener_that_panics_harms_nobody() {
    let builder = Sandbox::builder().with_listener(|_| panic!("of the listener, on purpose"));
    let sandbox = builder.start().unwrap();
    for _ in 0..3 {
        assert_eq!(Call::spans(&[span(), span()]).send(&sandbox).status, 204);
        assert_eq!(Call::get("/nothing").send(&sandbox).status, 404);
    }
    assert_eq!(sandbox.calls().len(), 6);
}

#[test]
fn a_listener_may_ask_the_sandbox() {
    let (tell, told) = mpsc::channel();
    let cell: Arc<OnceLock<Weak<Sandbox>>> = Arc::default();
    let asking = Arc::clone(&cell);
    let builder = Sandbox::builder().with_listener(move |_| {
        let sandbox = asking.get().and_then(Weak::upgrade).unwrap();
        let known = (sandbox.calls().len(), sandbox.requests().len());
        sandbox.clear_faults();
        tell.send(known).unwrap();
    });
    let sandbox = Arc::new(builder.start().unwrap());
    cell.set(Arc::downgrade(&sandbox)).unwrap();
    assert_eq!(Call::spans(&[span()]).send(&sandbox).status, 204);
    assert_eq!(told.try_recv().unwrap(), (1, 1));
    let run = langsmith::post(&[langsmith::run()]);
    assert_eq!(run.send(&sandbox).status, 202);
    assert_eq!(told.try_recv().unwrap(), (2, 2));
    assert_eq!(Call::get("/nothing").send(&sandbox).status, 404);
    assert_eq!(told.try_recv().unwrap(), (2, 3));
}

#[test]
fn the_last_handle_may_end_in_the_listener() {
    let (give, given) = mpsc::channel::<Sandbox>();
    let (done, ended) = mpsc::channel();
    let given = Mutex::new(given);
    let builder = Sandbox::builder().with_listener(move |_| {
        let sandbox = given.lock().unwrap().recv().unwrap();
        let end = catch_unwind(AssertUnwindSafe(|| drop(sandbox)));
        done.send(end.is_ok()).unwrap();
    });
    let sandbox = builder.start().unwrap();
    // Open until it is over, since who hangs up is not served.
    let _call = Call::spans(&[span()]).open(&sandbox).unwrap();
    give.send(sandbox).unwrap();
    assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Ok(true));
}

#[test]
fn debug_of_a_builder_names_the_listener_and_no_more() {
    let builder = Sandbox::builder().with_listener(drop);
    let text = format!("{:?}", builder.clone());
    assert!(text.contains("listener: Some(..)"), "{text}");
    let none = format!("{:?}", Sandbox::builder());
    assert!(none.contains("listener: None"), "{none}");
}
