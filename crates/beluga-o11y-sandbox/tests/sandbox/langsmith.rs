//! LangSmith: what is known of its rules, one row each, and what it gives back.

use std::slice;

use beluga_o11y_sandbox::{Backend, Fault, LangSmithAccount, Sandbox};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{Call, id, with};

const START: &str = "2026-11-22T10:00:00.123456Z";
const TIME: &str = "20261122T100000123456Z";

/// A run that LangSmith takes, with every field that clients send.
pub(crate) fn run() -> Value {
    let id = id();
    json!({
        "id": id, "trace_id": id, "dotted_order": format!("{TIME}{id}"), "name": "chat gpt-4o", "run_type": "llm",
        "start_time": START, "end_time": "2026-11-22T10:00:01Z", "session_name": "demo", "tags": ["b", "a"],
        "inputs": {"messages": [{"role": "user", "content": "hi"}]},
        "outputs": {"choices": [{"message": {"role": "assistant", "content": "hello"}}]},
        "error": null, "events": [{"name": "new_token", "time": "2026-11-22T10:00:00.5Z"}],
        "extra": {
            "metadata": {
                "ls_provider": "openai", "ls_model_name": "gpt-4o", "thread_id": "s1", "user_id": "u1",
                "environment": "staging", "revision_id": "1.2.3", "k": {"nested": [1]},
                "usage_metadata": {
                    "input_tokens": 10, "output_tokens": 5, "input_token_details": {"cache_read": 2, "cache_creation": 1},
                    "output_token_details": {"reasoning": 3}, "input_cost": 0.001, "output_cost": 0.002,
                },
            },
            "invocation_params": {"model": "gpt-4o", "temperature": 0.2},
            "runtime": {"sdk": "test"},
        },
    })
}

/// A run within another one.
fn child(of: &Value) -> Value {
    let id = id();
    let order = format!("{}.20261122T100000200000Z{id}", text(of, "dotted_order"));
    with(
        run(),
        json!({
            "id": id, "trace_id": of["trace_id"], "parent_run_id": of["id"], "dotted_order": order,
            "start_time": "2026-11-22T10:00:00.2Z",
        }),
    )
}

fn text<'a>(run: &'a Value, field: &str) -> &'a str {
    run[field].as_str().unwrap()
}

fn id_of(run: &Value) -> Uuid {
    text(run, "id").parse().unwrap()
}

pub(crate) fn to(call: Call) -> Call {
    call.header("x-api-key", "lsv2_pt_key")
}

pub(crate) fn post(runs: &[Value]) -> Call {
    to(Call::post("/langsmith/runs/batch", &json!({"post": runs})))
}

pub(crate) fn patch(runs: &[Value]) -> Call {
    to(Call::post("/langsmith/runs/batch", &json!({"patch": runs})))
}

fn get(path: &str) -> Call {
    to(Call::get(format!("/langsmith{path}")))
}

struct Row {
    rule: &'static str,
    call: Call,
    status: u16,
    /// All of the body, or a part of its text.
    says: String,
}

fn row(rule: &'static str, call: Call, status: u16, says: impl Into<String>) -> Row {
    Row {
        rule,
        call,
        status,
        says: says.into(),
    }
}

fn check(sandbox: &Sandbox, rows: Vec<Row>) {
    for row in rows {
        let stored = sandbox.runs().len();
        let reply = row.call.send(sandbox);
        assert_eq!(reply.status, row.status, "{}: {}", row.rule, reply.text());
        let text = reply.text();
        assert!(text.contains(&row.says), "{}: {text}", row.rule);
        assert_eq!(sandbox.runs().len(), stored, "{}: stored", row.rule);
    }
}

/// A batch of a good run and one that is changed like this.
fn changed(change: Value) -> Call {
    post(&[run(), with(run(), change)])
}

fn schema(field: &str) -> String {
    json!({"error": format!(
        "Unprocessable entity: invalid batch JSON: batch schema error post.1.{field}: Must validate one and \
         only one schema (oneOf)"
    )})
    .to_string()
}

#[test]
fn a_run_is_taken_and_given_back() {
    let sandbox = Sandbox::start().unwrap();
    let sent = run();
    let reply = post(slice::from_ref(&sent)).send(&sandbox);
    assert_eq!((reply.status, reply.json()), (202, json!({})));

    let stored = sandbox.run(id_of(&sent)).unwrap();
    assert_eq!(sandbox.runs(), slice::from_ref(&stored));
    assert_eq!(stored.trace_id, stored.id);
    assert_eq!(stored.session_name, "demo");
    assert_eq!(
        (stored.status, stored.run_type.as_str()),
        ("success", "llm")
    );
    assert_eq!(Value::from(stored.inputs), sent["inputs"]);
    assert_eq!(stored.outputs.map(Value::from).unwrap(), sent["outputs"]);
    assert_eq!(Value::from(stored.extra), sent["extra"]);
    assert_eq!(
        (stored.prompt_tokens, stored.completion_tokens),
        (Some(10), Some(5))
    );
    assert_eq!(
        (stored.total_tokens, stored.total_cost),
        (Some(15), Some(0.003))
    );

    let read = get(&format!("/runs/{}", text(&sent, "id"))).send(&sandbox);
    let read = (read.status, read.json());
    assert_eq!(read.0, 200);
    assert_eq!(read.1["first_token_time"], "2026-11-22T10:00:00.500Z");
    assert_eq!(
        read.1["prompt_token_details"],
        json!({"cache_read": 2, "cache_creation": 1})
    );
    for field in [
        "id",
        "trace_id",
        "dotted_order",
        "name",
        "start_time",
        "tags",
        "inputs",
        "outputs",
        "events",
    ] {
        assert_eq!(read.1[field], sent[field], "{field}");
    }
}

#[test]
fn a_run_is_a_call() {
    let sandbox = Sandbox::start().unwrap();
    let sent = run();
    let step = with(child(&sent), json!({"run_type": "chain"}));
    assert_eq!(post(&[sent.clone(), step]).send(&sandbox).status, 202);
    let calls = sandbox.calls();
    let [call] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert_eq!(call.backend, Backend::LangSmith);
    let stored = serde_json::to_value(call).unwrap();
    assert_eq!(
        stored,
        json!({
            "backend": "langsmith", "project": "demo", "id": sent["id"], "trace_id": sent["id"], "parent_id": null,
            "name": "chat gpt-4o", "provider": "openai", "model": "gpt-4o",
            "start_time": START, "end_time": "2026-11-22T10:00:01Z", "time_to_first_token_ms": 376.544,
            "input": [{"role": "user", "content": "hi"}],
            "output": {"choices": [{"message": {"role": "assistant", "content": "hello"}}]},
            "model_parameters": {"temperature": 0.2},
            "input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 2, "cache_write_tokens": 1,
            "reasoning_tokens": 3, "cost": 0.003, "error": null, "session_id": "s1", "user_id": "u1",
            "tags": ["a", "b"], "environment": "staging", "release": "1.2.3",
            "metadata": {
                "ls_provider": "openai", "ls_model_name": "gpt-4o", "thread_id": "s1", "user_id": "u1",
                "environment": "staging", "revision_id": "1.2.3", "k": {"nested": [1]},
            },
        })
    );
    assert_eq!(
        Call::get("/_sandbox/calls").send(&sandbox).json(),
        json!([stored])
    );
}

#[test]
fn what_is_said_comes_back_as_it_was() {
    let sandbox = Sandbox::start().unwrap();
    let seen = |change: Value| {
        sandbox.clear();
        assert_eq!(post(&[with(run(), change)]).send(&sandbox).status, 202);
        serde_json::to_value(&sandbox.calls()[0]).unwrap()
    };
    let said = |content: Value| json!({"outputs": {"messages": [{"role": "assistant", "content": content}]}});
    assert_eq!(seen(said(json!("hello")))["output"], "hello");
    let parts = json!([{"type": "text", "text": "hello"}]);
    assert_eq!(seen(said(parts.clone()))["output"], parts);
    let named = json!([{"role": "assistant", "content": "hello", "name": "x"}]);
    assert_eq!(
        seen(json!({"outputs": {"messages": named}}))["output"],
        named
    );
    assert_eq!(seen(json!({"outputs": {"output": 17}}))["output"], 17);
    assert_eq!(seen(json!({"outputs": null}))["output"], Value::Null);
    assert_eq!(seen(json!({"inputs": {"input": 17}}))["input"], 17);
    assert_eq!(seen(json!({"inputs": {}}))["input"], Value::Null);
    let other = json!({"contents": [], "model": "x"});
    assert_eq!(seen(json!({"inputs": other}))["input"], other);

    let error = |error: &str, kind: Option<&str>| {
        let run = json!({"error": error, "extra": {"metadata": {"error_type": kind}}});
        let error = seen(run)["error"].clone();
        [&error["kind"], &error["message"], &error["trace"]]
            .map(|text| text.as_str().unwrap_or("-").to_owned())
    };
    assert_eq!(error("boom", None), ["-", "boom", "-"]);
    assert_eq!(
        error("E: boom\n\nTraceback:\nat x\nat y", Some("E")),
        ["E", "boom", "at x\nat y"]
    );
    assert_eq!(error("E", Some("E")), ["E", "", "-"]);
    let python = "ValueError('x')\n\nTraceback (most recent call last):\n  File";
    assert_eq!(error(python, None)[1], "ValueError('x')");
}

#[test]
fn usage_in_the_outputs_counts_first() {
    let sandbox = Sandbox::start().unwrap();
    let usage =
        json!({"usage_metadata": {"input_tokens": 1, "output_tokens": 2, "total_cost": 0.5}});
    post(&[with(run(), json!({"outputs": usage}))]).send(&sandbox);
    let call = &sandbox.calls()[0];
    assert_eq!(
        (call.input_tokens, call.output_tokens, call.cost),
        (Some(1), Some(2), Some(0.5))
    );
    assert_eq!(call.reasoning_tokens, None);
}

#[test]
#[rustfmt::skip] // One row a line.
fn what_is_refused() {
    let sandbox = Sandbox::start().unwrap();
    let other = id();
    let wrong = |field: &str, value: Value| row("types", changed(json!({field: value})), 422, schema(field));
    let missing = |field: &'static str| row("what must be there", changed(json!({field: null})), 422, format!("post.1.{field}: {field} is required"));
    let time = |value: Value| row("times are ISO-8601", changed(json!({"start_time": value})), 422, "{\"detail\":\"start_time must be an ISO 8601 timestamp\"}");
    let order = |rule, change: Value, says: &str| row(rule, changed(change), 400, format!("\"Bad request: invalid 'dotted_order': {says}"));
    let own = |order: &str| { let run = run(); let order = order.replace("ID", text(&run, "id")); post(&[with(run, json!({"dotted_order": order}))]) };
    let parent = run();
    let of_child = |change: Value| post(&[parent.clone(), with(child(&parent), change)]);
    let big = "18446744073709551616";
    check(&sandbox, vec![
        row("the body is JSON", post(&[]).body("{\"post\":[}"), 422, "Unprocessable entity: invalid batch JSON: "),
        row("there is a body", post(&[]).body(""), 422, "Unprocessable entity: invalid batch JSON: "),
        row("the body is an object", post(&[]).body("[]"), 422, "Unprocessable entity: invalid batch JSON: "),
        row("the batch is an array", post(&[]).body("{\"post\":{}}"), 422, "invalid batch JSON: post"),
        row("runs are objects", post(&[run(), json!("x")]), 422, "invalid batch JSON: post.1"),
        row("packed bodies are not known", post(&[run()]).gzip(), 422, "Unprocessable entity: invalid batch JSON: "),
        row("20 MiB are the most", post(&[with(run(), json!({"name": "x".repeat(20_971_520)}))]), 413, ""),
        wrong("id", json!("not-a-uuid")),
        wrong("id", json!(17)),
        wrong("id", json!(other.simple().to_string())),
        wrong("trace_id", json!("x")),
        wrong("parent_run_id", json!("x")),
        wrong("session_id", json!("conversation-1")),
        wrong("session_name", json!(1)),
        wrong("name", json!(1)),
        wrong("inputs", json!("hi")),
        wrong("inputs", json!([])),
        wrong("outputs", json!("hello")),
        wrong("error", json!({"message": "x"})),
        wrong("tags", json!("a")),
        wrong("tags", json!([1])),
        wrong("events", json!({})),
        wrong("events", json!(["new_token"])),
        wrong("extra", json!([])),
        row("types", changed(json!({"extra": {"metadata": "x"}})), 422, schema("extra.metadata")),
        row("run types", changed(json!({"run_type": "LLM"})), 422, "run_type must be one of the following: tool, chain, llm"),
        missing("id"), missing("trace_id"), missing("dotted_order"), missing("name"), missing("run_type"), missing("start_time"),
        row("a name is not empty", changed(json!({"name": ""})), 422, "post.1.name: name is required"),
        time(json!("yesterday")), time(json!("2026-11-22")), time(json!("2026-11-22 10:00:00Z ")), time(json!(1_795_341_600_123_i64)),
        row("times are ISO-8601", changed(json!({"end_time": "x"})), 422, "{\"detail\":\"end_time must be an ISO 8601 timestamp\"}"),
        row("integers have 64 bits", post(&[run()]).body(json!({"post": [run()]}).to_string().replace("\"nested\":[1]", &format!("\"nested\":[{big}]"))), 422, "{\"detail\":\"int too big to convert\"}"),
        row("integers have a sign", post(&[with(run(), json!({"inputs": {"n": u64::MAX}}))]), 422, "{\"detail\":\"int too big to convert\"}"),
        order("a root is its own trace", json!({"trace_id": other}), &format!("trace_id {other} does not match first part of dotted_order ")),
        order("the order is the run's own", json!({"id": other}), &format!("run_id {other} does not match last part of dotted_order ")),
        order("a child has two parts", json!({"parent_run_id": other}), "dotted_order must contain at least two parts for child runs for run_id:"),
        row("a root has one part", of_child(json!({"parent_run_id": null})), 400, "dotted_order must contain a single part for root runs for run_id:"),
        row("a child's trace is the root", of_child(json!({"trace_id": other})), 400, "does not match first part of dotted_order"),
        row("a child's parent is before it", of_child(json!({"parent_run_id": other})), 400, format!("parent_run_id {other} does not match")),
        row("a child is not earlier", { let id = id(); of_child(json!({"id": id, "dotted_order": format!("{}.20251122T100000000000Z{id}", text(&parent, "dotted_order"))})) }, 400, "earlier than its parent"),
        row("six digits of microseconds", own("20261122T100000123ZID"), 400, "invalid timestamp format in dotted_order"),
        row("six digits, not nine", own("20261122T100000123456789ZID"), 400, "invalid timestamp format in dotted_order"),
        row("no dashes in the time", own("2026-11-22T10:00:00.123456ZID"), 400, "invalid 'dotted_order'"),
        row("no blanks in the time", own("20261122T 100000123456ZID"), 400, "invalid timestamp format in dotted_order"),
        row("a Z", own("20261122T100000123456ID"), 400, "invalid timestamp format in dotted_order"),
        row("a real day", own("20261322T100000123456ZID"), 400, "invalid timestamp format in dotted_order"),
        row("an id in it", own("20261122T100000123456Z"), 400, "invalid run id in dotted_order"),
        row("no empty part", own("20261122T100000123456ZID."), 400, "invalid run id in dotted_order"),
        row("a session that exists", changed(json!({"session_id": other})), 404, "{\"detail\":\"Session not found\"}"),
        row("no multipart", to(Call::post("/langsmith/runs/multipart", &json!({}))), 404, "Not Found"),
        row("no other doors", to(Call::post("/langsmith/feedback", &json!({}))), 404, "Not Found"),
        row("no OTLP", to(Call::post("/langsmith/otel/v1/traces", &json!({}))), 404, "Not Found"),
        row("methods", get("/runs/batch").method("DELETE"), 405, "Method Not Allowed"),
        row("runs that are there", get(&format!("/runs/{other}")), 404, "{\"detail\":\"Run not found\"}"),
    ]);
    assert!(sandbox.runs().is_empty());
}

/// What is refused above, changed so little that it is not.
#[test]
fn what_is_taken_only_just() {
    let sandbox = Sandbox::start().unwrap();
    let parent = run();
    let large = with(
        run(),
        json!({"inputs": {"n": [i64::MAX, i64::MIN, "18446744073709551616", 1e99]}}),
    );
    for (rule, runs) in [
        ("a root and its child", vec![parent.clone(), child(&parent)]),
        ("a child whose parent is elsewhere", vec![child(&run())]),
        ("largest integers", vec![large]),
        (
            "nothing that can be left out",
            vec![with(
                run(),
                json!({
                    "end_time": null, "session_name": null, "tags": null, "inputs": null, "outputs": null,
                    "error": null, "events": null, "extra": null,
                }),
            )],
        ),
        (
            "a time without offset",
            vec![with(
                run(),
                json!({"start_time": "2026-11-22T10:00:00.123456"}),
            )],
        ),
        (
            "a time with an offset",
            vec![with(
                run(),
                json!({"start_time": "2026-11-22T11:00:00.123456+01:00"}),
            )],
        ),
        ("a hundred and more", (0..150).map(|_| run()).collect()),
        ("none", vec![]),
    ] {
        sandbox.clear();
        let reply = post(&runs).send(&sandbox);
        assert_eq!(reply.status, 202, "{rule}: {}", reply.text());
        assert_eq!(sandbox.runs().len(), runs.len(), "{rule}");
    }
    sandbox.clear();
    post(&[with(
        run(),
        json!({"start_time": "2026-11-22T11:00:00.123456+01:00", "session_name": null}),
    )])
    .send(&sandbox);
    let stored = &sandbox.runs()[0];
    assert_eq!(
        stored.start_time.to_rfc3339(),
        "2026-11-22T10:00:00.123456+00:00"
    );
    assert_eq!(stored.session_name, "default");
}

#[test]
fn what_was_received_is_received_once_and_the_rest_of_its_batch_is_not() {
    let sandbox = Sandbox::start().unwrap();
    let (first, second) = (run(), run());
    assert_eq!(post(slice::from_ref(&first)).send(&sandbox).status, 202);
    let conflict =
        json!({"error": "Conflict: payload already received: payloads already received"});
    for runs in [
        vec![first.clone()],
        vec![second.clone(), first.clone()],
        vec![second.clone(), second.clone()],
    ] {
        let reply = post(&runs).send(&sandbox);
        assert_eq!((reply.status, reply.json()), (409, conflict.clone()));
    }
    assert_eq!(sandbox.runs().len(), 1);
    assert_eq!(post(&[second]).send(&sandbox).status, 202);
    sandbox.clear();
    assert_eq!(post(&[first]).send(&sandbox).status, 202);
}

#[test]
fn a_run_is_updated_once() {
    let sandbox = Sandbox::start().unwrap();
    let sent = run();
    let started = with(
        sent.clone(),
        json!({"end_time": null, "outputs": null, "events": null}),
    );
    assert_eq!(post(&[started]).send(&sandbox).status, 202);
    assert_eq!(sandbox.runs()[0].status, "pending");
    let update = json!({
        "id": sent["id"], "trace_id": sent["trace_id"], "dotted_order": sent["dotted_order"], "name": null,
        "end_time": sent["end_time"], "outputs": sent["outputs"], "extra": {"metadata": {"more": 1}, "x": 2},
    });
    assert_eq!(patch(slice::from_ref(&update)).send(&sandbox).status, 202);
    let stored = sandbox.run(id_of(&sent)).unwrap();
    assert_eq!(
        (stored.status, stored.name.as_str()),
        ("success", "chat gpt-4o")
    );
    assert_eq!(stored.outputs.map(Value::from).unwrap(), sent["outputs"]);
    assert_eq!(stored.extra["metadata"]["more"], 1);
    assert_eq!(stored.extra["metadata"]["k"], json!({"nested": [1]}));
    assert_eq!(
        (&stored.extra["x"], stored.total_tokens),
        (&json!(2), Some(15))
    );
    assert_eq!(patch(slice::from_ref(&update)).send(&sandbox).status, 409);
    check(
        &sandbox,
        vec![
            row(
                "updates, too, are checked",
                patch(&[with(update.clone(), json!({"outputs": "x"}))]),
                422,
                "patch.0.outputs",
            ),
            row(
                "an update has its place",
                patch(&[with(update.clone(), json!({"dotted_order": null}))]),
                422,
                "patch.0.dotted_order",
            ),
            row(
                "its right place",
                patch(&[with(update, json!({"trace_id": id()}))]),
                400,
                "first part of dotted_order",
            ),
        ],
    );
}

#[test]
fn an_update_may_come_before_its_run() {
    let sandbox = Sandbox::start().unwrap();
    let sent = run();
    let early = with(
        sent.clone(),
        json!({"name": null, "run_type": null, "start_time": null, "error": "late"}),
    );
    assert_eq!(patch(slice::from_ref(&early)).send(&sandbox).status, 202);
    assert!(sandbox.runs().is_empty());
    assert_eq!(patch(&[early]).send(&sandbox).status, 409);
    assert_eq!(post(&[sent]).send(&sandbox).status, 202);
    assert_eq!(sandbox.runs()[0].error.as_deref(), Some("late"));
}

#[test]
fn single_runs_may_leave_their_place_to_the_server() {
    let sandbox = Sandbox::start().unwrap();
    let bare = |run: Value| with(run, json!({"trace_id": null, "dotted_order": null}));
    let root = run();
    let inner = with(
        child(&root),
        json!({"start_time": "2026-11-22T10:00:00.2Z"}),
    );
    let send = |run: &Value| to(Call::post("/langsmith/runs", run)).send(&sandbox).status;
    assert_eq!(send(&bare(inner.clone())), 404, "the parent is not known");
    assert_eq!(send(&bare(root.clone())), 202);
    assert_eq!(send(&bare(inner.clone())), 202);
    assert_eq!(send(&bare(root.clone())), 409);
    for sent in [&root, &inner] {
        let stored = sandbox.run(id_of(sent)).unwrap();
        assert_eq!(stored.dotted_order, sent["dotted_order"]);
        assert_eq!(stored.trace_id, id_of(&root));
    }
    let update = |id: &str| {
        let call = Call::patch(format!("/langsmith/runs/{id}"), &json!({"error": "boom"}));
        to(call).send(&sandbox).status
    };
    assert_eq!(update(text(&root, "id")), 202);
    assert_eq!(update(text(&root, "id")), 409);
    assert_eq!(update(&id().to_string()), 404);
    assert_eq!(sandbox.run(id_of(&root)).unwrap().status, "error");
    check(
        &sandbox,
        vec![
            row(
                "single runs are checked",
                to(Call::post(
                    "/langsmith/runs",
                    &with(run(), json!({"id": "x"})),
                )),
                422,
                "{\"error\":\"Unprocessable entity: schema validation failed: id: Must validate one and only one schema (oneOf)\"}",
            ),
            row(
                "and their place",
                to(Call::post(
                    "/langsmith/runs",
                    &with(run(), json!({"trace_id": id()})),
                )),
                400,
                "first part",
            ),
        ],
    );
}

#[test]
fn projects_are_made_on_demand_and_by_hand() {
    let sandbox = Sandbox::start().unwrap();
    let named = |name: &str| {
        get(&format!(
            "/sessions?limit=1&name={name}&include_stats=False"
        ))
        .send(&sandbox)
        .json()
    };
    assert_eq!(named("demo"), json!([]));
    let sent = run();
    post(slice::from_ref(&sent)).send(&sandbox);
    let session = named("demo")[0].clone();
    assert_eq!(session["name"], "demo");
    assert_eq!(
        sandbox.runs()[0].session_id.to_string(),
        text(&session, "id")
    );
    assert_eq!(
        get(&format!("/sessions/{}", text(&session, "id")))
            .send(&sandbox)
            .json(),
        session
    );

    let create = |query: &str| {
        let body = json!({"name": "by hand 100%", "id": Uuid::nil(), "description": "d", "extra": {"a": 1}});
        to(Call::post(format!("/langsmith/sessions{query}"), &body)).send(&sandbox)
    };
    assert_eq!(create("").status, 200);
    assert_eq!(
        (create("").status, create("").json()),
        (409, json!({"detail": "Session already exists."}))
    );
    assert_eq!(create("?upsert=True").json()["id"], json!(Uuid::nil()));
    assert_eq!(named("by+hand+100%25")[0]["description"], "d");
    let by_id = with(
        run(),
        json!({"session_id": Uuid::nil(), "session_name": null}),
    );
    assert_eq!(post(&[by_id]).send(&sandbox).status, 202);
    assert_eq!(sandbox.runs()[1].session_name, "by hand 100%");
    let all = get("/sessions").send(&sandbox).json();
    assert_eq!(all.as_array().unwrap().len(), 2);
}

#[test]
fn it_says_what_it_is_to_anybody() {
    let sandbox = Sandbox::start().unwrap();
    for prefix in ["", "/api/v1"] {
        let info = Call::get(format!("/langsmith{prefix}/info")).send(&sandbox);
        assert_eq!(info.status, 200);
        let info = info.json();
        assert!(info["version"].is_string());
        assert_eq!(info["batch_ingest_config"]["use_multipart_endpoint"], false);
        assert_eq!(info["batch_ingest_config"]["size_limit"], 100);
        assert_eq!(info["batch_ingest_config"]["size_limit_bytes"], 20_971_520);
    }
    let own = to(Call::post(
        "/langsmith/api/v1/runs/batch",
        &json!({"post": [run()]}),
    ));
    assert_eq!(own.send(&sandbox).status, 202);
    assert_eq!(
        sandbox.langsmith_url(),
        format!("http://{}/langsmith", sandbox.address())
    );
}

#[test]
fn who_may_come_in() {
    let account = LangSmithAccount::new("lsv2_pt_key").with_workspace("w1");
    let service = LangSmithAccount::new("lsv2_sk_key")
        .with_workspace("w1")
        .with_workspace("w2");
    let closed = Sandbox::builder()
        .with_langsmith(account)
        .with_langsmith(service)
        .start()
        .unwrap();
    let open = Sandbox::start().unwrap();
    let send = |sandbox: &Sandbox, key: Option<&str>, workspace: Option<&str>| {
        let mut call = post(&[run()]).without("x-api-key");
        if let Some(key) = key {
            call = call.header("x-api-key", key);
        }
        if let Some(workspace) = workspace {
            call = call.header("X-Tenant-Id", workspace);
        }
        let reply = call.send(sandbox);
        (reply.status, reply.json())
    };
    let (taken, refused) = ((202, json!({})), (401, json!({"detail": "Invalid token"})));
    let legacy = (
        401,
        json!({"detail": "Using legacy API key. Please generate a new API key."}),
    );
    let forbidden = (403, json!({"error": "Forbidden"}));
    let workspace_wanted = (403, json!({"error": "org_scoped_key_requires_workspace"}));
    for sandbox in [&closed, &open] {
        assert_eq!(send(sandbox, None, None), refused);
        assert_eq!(send(sandbox, Some(" "), None), refused);
        assert_eq!(send(sandbox, Some("ls__old"), None), legacy);
        assert_eq!(send(sandbox, Some("lsv2_sk_key"), None), workspace_wanted);
        assert_eq!(send(sandbox, Some("lsv2_sk_key"), Some("w2")), taken);
        assert_eq!(send(sandbox, Some("lsv2_pt_key"), None), taken);
        assert_eq!(send(sandbox, Some("lsv2_pt_key"), Some("w1")), taken);
    }
    assert_eq!(send(&closed, Some("lsv2_pt_other"), None), refused);
    assert_eq!(send(&closed, Some("lsv2_pt_key"), Some("w2")), forbidden);
    assert_eq!(send(&closed, Some("lsv2_sk_key"), Some("w3")), forbidden);
    assert_eq!(send(&open, Some("anything"), Some("w3")), taken);
    let sessions = Call::get("/langsmith/sessions").send(&closed);
    assert_eq!((sessions.status, sessions.json()), refused);
}

#[test]
fn ordered_statuses_have_its_bodies() {
    let sandbox = Sandbox::start().unwrap();
    for (status, says) in [
        (401, "Invalid token"),
        (403, "Forbidden"),
        (409, "already received"),
        (429, "detail"),
        (502, "Bad Gateway"),
    ] {
        sandbox.inject(Fault::status(status).on("/langsmith/"));
        let reply = post(&[run()]).send(&sandbox);
        assert_eq!(reply.status, status);
        assert!(reply.text().contains(says), "{}", reply.text());
    }
    assert!(sandbox.runs().is_empty());
}

#[test]
fn debug_shows_no_key() {
    let account = LangSmithAccount::new("canary").with_workspace("w");
    assert!(!format!("{account:?}").contains("canary"));
    let sandbox = Sandbox::builder().with_langsmith(account);
    assert!(!format!("{sandbox:?}").contains("canary"));
}
