//! What Opik refuses, the sandbox refuses: one row per rule, with the status and the body.
//!
//! Every row differs in one thing from a request that is accepted (`what_is_refused_only_just` sends those), so it
//! fails when its rule is gone.

use std::slice;

use beluga_o11y_sandbox::{OpikCloud, Sandbox};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{Call, id, id_at, span, trace, with};

pub(crate) enum Body {
    Is(Value),
    Says(&'static str),
}

pub(crate) use Body::{Is, Says};

pub(crate) struct Row {
    rule: &'static str,
    call: Call,
    status: u16,
    body: Body,
}

pub(crate) fn row(rule: &'static str, call: Call, status: u16, body: Body) -> Row {
    Row {
        rule,
        call,
        status,
        body,
    }
}

/// A batch of one good trace and one that is changed like this.
fn traces(change: Value) -> Call {
    Call::traces(&[trace(), with(trace(), change)])
}

fn spans(change: Value) -> Call {
    Call::spans(&[span(), with(span(), change)])
}

pub(crate) fn message(code: u16, message: &str) -> Body {
    Is(json!({"code": code, "message": message}))
}

pub(crate) fn errors(error: &str) -> Body {
    Is(json!({"errors": [error]}))
}

pub(crate) fn invalid_id(details: &str) -> Body {
    Is(json!({"code": 400, "message": "Invalid UUID for id", "details": details}))
}

/// All that is stored, but for the times of datasets.
fn all(sandbox: &Sandbox) -> impl PartialEq + std::fmt::Debug + use<> {
    let datasets = sandbox.datasets().into_iter();
    let datasets: Vec<_> = datasets.map(|dataset| dataset.id).collect();
    let evaluation = (sandbox.experiments(), sandbox.experiment_items());
    let items = (datasets, sandbox.dataset_items());
    (sandbox.traces(), sandbox.spans(), evaluation, items)
}

pub(crate) fn check(sandbox: &Sandbox, rows: Vec<Row>) {
    for row in rows {
        let (before, stored) = (sandbox.request_count(), all(sandbox));
        let reply = row.call.send(sandbox);
        assert_eq!(reply.status, row.status, "{}: {}", row.rule, reply.text());
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{}",
            row.rule
        );
        match row.body {
            Is(body) => assert_eq!(reply.json(), body, "{}", row.rule),
            Says(part) => assert!(
                reply.text().contains(part),
                "{}: {}",
                row.rule,
                reply.text()
            ),
        }
        assert_eq!(all(sandbox), stored, "{}: something was stored", row.rule);
        assert_eq!(sandbox.request_count(), before + 1);
        assert_eq!(
            sandbox.requests().last().unwrap().status,
            Some(row.status),
            "{}",
            row.rule
        );
    }
}

const RANGE: &str =
    "must be after or equal 1970-01-01T00:00:00.000000Z and before 2262-04-11T23:47:16.000000000Z";
const NOT_JSON: &str = r#"{"code":400,"message":"Unable to process JSON. "#;

#[test]
#[rustfmt::skip] // One row a line.
fn types() {
    let sandbox = Sandbox::start().unwrap();
    let error_info_text = "Unable to process JSON. Cannot construct instance of `com.comet.opik.api.ErrorInfo` (although \
                           at least one Creator exists): no String-argument constructor/factory method to deserialize \
                           from String value ('boom')";
    let uuid = |text| row("ids are 36 characters with dashes", traces(json!({"id": text})), 400, Says("java.util.UUID"));
    let time = |text: Value| row("times are ISO-8601 instants", traces(json!({"start_time": text})), 400, Says("java.time.Instant"));
    check(
        &sandbox,
        vec![
            row("the body is JSON", traces(json!({})).body("{\"traces\": [}"), 400, Says(NOT_JSON)),
            row("there is a body", traces(json!({})).body(""), 400, Says(NOT_JSON)),
            row("nothing follows it", traces(json!({})).body(format!("{} x", json!({"traces": [trace()]}))), 400, Says(NOT_JSON)),
            row("the body is an object", traces(json!({})).body("[]"), 400, Says("START_ARRAY")),
            row("the batch is an array", Call::traces(&[]).body(json!({"traces": trace()}).to_string()), 400, Says("START_OBJECT")),
            row("elements are objects", Call::traces(&[json!("x")]), 400, Says("com.comet.opik.api.Trace")),
            row("no element is null", Call::traces(&[trace(), Value::Null]), 400, Says(NOT_JSON)),
            uuid("not-a-uuid"),
            uuid("01a2053ed6f8792b89881657efa89323"),
            uuid("{01a2053e-d6f8-792b-8988-1657efa89323}"),
            row("trace ids, too", spans(json!({"trace_id": "x"})), 400, Says("java.util.UUID")),
            row("and parents", spans(json!({"parent_span_id": "x"})), 400, Says("java.util.UUID")),
            time(json!("2026-11-22T21:52:14")),
            time(json!("2026-11-22 21:52:14Z")),
            time(json!("yesterday")),
            time(json!(1_795_384_334)),
            row("end times, too", traces(json!({"end_time": "x"})), 400, Says("java.time.Instant")),
            row("and versions", traces(json!({"last_updated_at": "x"})), 400, Says("java.time.Instant")),
            row("names are strings", traces(json!({"name": 5})), 400, Says("java.lang.String")),
            row("projects are strings", traces(json!({"project_name": ["x"]})), 400, Says("java.lang.String")),
            row("threads are strings", traces(json!({"thread_id": 5})), 400, Says("java.lang.String")),
            row("environments are strings", traces(json!({"environment": 5})), 400, Says("java.lang.String")),
            row("models are strings", spans(json!({"model": {}})), 400, Says("java.lang.String")),
            row("providers are strings", spans(json!({"provider": 5})), 400, Says("java.lang.String")),
            row("tags are an array", traces(json!({"tags": "prod"})), 400, Says("java.util.HashSet<java.lang.String>")),
            row("of strings", traces(json!({"tags": [5]})), 400, Says("java.lang.String")),
            row("ttft is a number", traces(json!({"ttft": "fast"})), 400, Says("java.lang.Double")),
            row("costs are numbers", spans(json!({"total_estimated_cost": "free"})), 400, Says("java.lang.Double")),
            row("sources are known", traces(json!({"source": "beluga"})), 400, Says("Unknown source 'beluga'")),
            row("in lower case", traces(json!({"source": "SDK"})), 400, Says("Unknown source 'SDK'")),
            row("types are known", spans(json!({"type": "chain"})), 400, Says("Unknown type 'chain'")),
            row("errors are no strings", traces(json!({"error_info": "boom"})), 400, message(400, error_info_text)),
            row("not even empty ones", traces(json!({"error_info": ""})), 400, Says("String value ('')")),
            row("nor arrays", spans(json!({"error_info": []})), 400, Says("START_ARRAY")),
            row("usage is an object", spans(json!({"usage": 17})), 400, Says("java.util.LinkedHashMap")),
            row("and flat", spans(json!({"usage": {"details": {"cached_tokens": 4}}})), 400, Says("java.lang.Integer")),
            row("of numbers", spans(json!({"usage": {"total_tokens": "17"}})), 400, Says("java.lang.Integer")),
            row(
                "of 32 bits",
                spans(json!({"usage": {"total_tokens": 2_147_483_648_u64}})),
                400,
                message(400, "Unable to process JSON. Numeric value (2147483648) out of range of `int` (-2147483648 - 2147483647)"),
            ),
            row("also as floats", spans(json!({"usage": {"total_tokens": 2_147_483_648.5}})), 400, Says("out of range of `int`")),
            row(
                "types before constraints",
                Call::traces(&[with(trace(), json!({"start_time": null})), with(trace(), json!({"tags": "x"}))]),
                400,
                Says(NOT_JSON),
            ),
        ],
    );
}

#[test]
#[rustfmt::skip] // One row a line.
fn constraints() {
    let sandbox = Sandbox::start().unwrap();
    let long = "x".repeat(151);
    check(
        &sandbox,
        vec![
            row("there are traces", Call::traces(&[]).body("{}"), 422, errors("traces must not be null")),
            row("at least one", Call::traces(&[]), 422, errors("traces size must be between 1 and 1000")),
            row("at most 1000", Call::traces(&vec![trace(); 1001]), 422, errors("traces size must be between 1 and 1000")),
            row("at least one span", Call::spans(&[]), 422, errors("spans size must be between 1 and 1000")),
            row("at most 1000 spans", Call::spans(&vec![span(); 1001]), 422, errors("spans size must be between 1 and 1000")),
            row("a start", traces(json!({"start_time": null})), 422, errors("traces[1].startTime must not be null")),
            row("a start of a span", spans(json!({"start_time": null})), 422, errors("spans[1].startTime must not be null")),
            row("starts after 1970", traces(json!({"start_time": "1969-12-31T23:59:59.999Z"})), 422, errors(&format!("traces[1].startTime {RANGE}"))),
            row("starts before 2262", spans(json!({"start_time": "2262-04-11T23:47:16Z"})), 422, errors(&format!("spans[1].startTime {RANGE}"))),
            row("ends after 1970", traces(json!({"end_time": "1969-12-31T23:59:59Z"})), 422, errors(&format!("traces[1].endTime {RANGE}"))),
            row("ends before 2262", traces(json!({"end_time": "2262-04-11T23:47:16Z"})), 422, errors(&format!("traces[1].endTime {RANGE}"))),
            row("versions before 2300", traces(json!({"last_updated_at": "2300-01-01T00:00:00Z"})), 422, Says("traces[1].lastUpdatedAt must be")),
            row("projects are not empty", traces(json!({"project_name": ""})), 422, errors("traces[1].projectName must not be blank")),
            row("nor blank", spans(json!({"project_name": " \n"})), 422, errors("spans[1].projectName must not be blank")),
            row("nor long", traces(json!({"project_name": long})), 422, Says("traces[1].projectName size must be")),
            row("environments are not long", traces(json!({"environment": long})), 422, Says("traces[1].environment size must be")),
            row("ttft is not negative", spans(json!({"ttft": -0.1})), 422, Says("spans[1].ttft must be greater than or equal to 0")),
            row(
                "nor is a cost",
                spans(json!({"total_estimated_cost": -0.01})),
                422,
                Says("spans[1].totalEstimatedCost must be greater than or equal to 0.0"),
            ),
            row("spans have a trace", spans(json!({"trace_id": null})), 422, errors("spans[1].traceId must not be null")),
            row(
                "errors have a type",
                traces(json!({"error_info": {"message": "m", "traceback": "t"}})),
                422,
                errors("traces[1].errorInfo.exceptionType must not be blank"),
            ),
            row(
                "and a traceback",
                spans(json!({"error_info": {"exception_type": "E", "message": "m"}})),
                422,
                errors("spans[1].errorInfo.traceback must not be blank"),
            ),
            row(
                "that are not blank",
                traces(json!({"error_info": {"exception_type": "E", "traceback": " "}})),
                422,
                errors("traces[1].errorInfo.traceback must not be blank"),
            ),
            row(
                "all of a batch is checked",
                Call::traces(&[with(trace(), json!({"start_time": null, "ttft": -1})), trace(), with(trace(), json!({"project_name": ""}))]),
                422,
                Is(json!({"errors": [
                    "traces[0].startTime must not be null",
                    "traces[0].ttft must be greater than or equal to 0",
                    "traces[2].projectName must not be blank",
                ]})),
            ),
            row(
                "constraints before ids",
                Call::traces(&[with(trace(), json!({"id": Uuid::new_v4()})), with(trace(), json!({"start_time": null}))]),
                422,
                errors("traces[1].startTime must not be null"),
            ),
            row(
                "single ones, too",
                Call::post("/api/v1/private/traces", &with(trace(), json!({"start_time": null}))),
                422,
                errors("startTime must not be null"),
            ),
            row(
                "single spans, too",
                Call::post("/api/v1/private/spans", &with(span(), json!({"trace_id": null}))),
                422,
                errors("traceId must not be null"),
            ),
        ],
    );
}

#[test]
#[rustfmt::skip] // One row a line.
fn ids() {
    let sandbox = Sandbox::start().unwrap();
    let v4 = Uuid::new_v4();
    let day = 24 * 60 * 60;
    let late = "must be in the allowed ingestion window of 'PT24H' around now, reason 'too_far_future'";
    let old = "must be in the allowed ingestion window of 'PT24H' around now, reason 'too_old'";
    let single = |path: &str, record: Value| Call::post(format!("/v1/private/{path}"), &record);
    check(
        &sandbox,
        vec![
            row("traces have version 7", traces(json!({"id": v4})), 400, invalid_id("Trace id must be a version 7 UUID")),
            row("spans have version 7", spans(json!({"id": v4})), 400, invalid_id("Span id must be a version 7 UUID")),
            row("a version is more than its digit", traces(json!({"id": "ffffffff-ffff-7fff-bfff-ffffffffffff"})), 400, Says("too_far_future")),
            row("traces are new", traces(json!({"id": id_at(-day - 60)})), 400, Says(old)),
            row("spans are new", spans(json!({"id": id_at(-day - 60)})), 400, Says(old)),
            row("traces are not of tomorrow", traces(json!({"id": id_at(day + 60)})), 400, Says(late)),
            row("spans are not of tomorrow", spans(json!({"id": id_at(day + 60)})), 400, Says(late)),
            row("spans' traces have version 7", spans(json!({"trace_id": v4})), 400, invalid_id("Trace id must be a version 7 UUID")),
            row("and are not of tomorrow", spans(json!({"trace_id": id_at(day + 60)})), 400, Says(late)),
            row("spans' parents have version 7", spans(json!({"parent_span_id": v4})), 400, Says("id must be a version 7 UUID")),
            row("and are not of tomorrow, either", spans(json!({"parent_span_id": id_at(day + 60)})), 400, Says(late)),
            row("single traces", single("traces", with(trace(), json!({"id": v4}))), 400, Says("Invalid UUID for id")),
            row("single spans", single("spans", with(span(), json!({"id": v4}))), 400, Says("Invalid UUID for id")),
            row("updated traces", Call::patch(format!("/v1/private/traces/{v4}"), &json!({"name": "x"})), 400, Says("Invalid UUID for id")),
            row("updated spans", Call::patch(format!("/v1/private/spans/{v4}"), &json!({"trace_id": id()})), 400, Says("Invalid UUID for id")),
            row("updated spans' traces", Call::patch(format!("/v1/private/spans/{}", id()), &json!({"trace_id": v4})), 400, invalid_id("Trace id must be a version 7 UUID")),
            row("updates of tomorrow", Call::patch(format!("/v1/private/traces/{}", id_at(day + 60)), &json!({"name": "x"})), 400, Says(late)),
        ],
    );
}

#[test]
#[rustfmt::skip] // One row a line.
fn updates() {
    let sandbox = Sandbox::start().unwrap();
    let (trace_id, span_id) = (id(), id());
    let trace = |change| Call::patch(format!("/api/v1/private/traces/{trace_id}"), &change);
    let span = |change| Call::patch(format!("/api/v1/private/spans/{span_id}"), &change);
    let tags: Vec<String> = (0..51).map(|tag| tag.to_string()).collect();
    check(
        &sandbox,
        vec![
            row("a span's trace", span(json!({"name": "x"})), 422, errors("traceId must not be null")),
            row("projects are not blank", trace(json!({"project_name": " "})), 422, errors("projectName must not be blank")),
            row("ends are in range", trace(json!({"end_time": "2262-04-11T23:47:16Z"})), 422, errors(&format!("endTime {RANGE}"))),
            row("50 tags", trace(json!({"tags": tags})), 422, Says("tags Cannot have more than 50 tags")),
            row("50 new tags", trace(json!({"tags_to_add": tags})), 422, Says("tagsToAdd Cannot have more than 50 tags")),
            row("of 100 characters", trace(json!({"tags": ["x".repeat(101)]})), 422, Says("Tag cannot exceed 100 characters")),
            row("that are not blank", trace(json!({"tags": [""]})), 422, Says("Tag must not be blank")),
            row("errors are objects", trace(json!({"error_info": "boom"})), 400, Says("com.comet.opik.api.ErrorInfo")),
            row("usage is flat", span(json!({"trace_id": id(), "usage": {"a": {}}})), 400, Says("java.lang.Integer")),
            row("a known project", trace(json!({"project_id": id()})), 404, errors("Project not found")),
        ],
    );
}

#[test]
#[rustfmt::skip] // One row a line.
fn conflicts() {
    let sandbox = Sandbox::start().unwrap();
    let (trace, span) = (trace(), span());
    assert_eq!(Call::traces(slice::from_ref(&trace)).send(&sandbox).status, 204);
    assert_eq!(Call::spans(slice::from_ref(&span)).send(&sandbox).status, 204);
    let elsewhere = "Project name and workspace name do not match the existing trace";
    let id = trace["id"].as_str().unwrap();
    let update = |change: Value| {
        let base = json!({"project_name": "beluga-demo", "trace_id": span["trace_id"], "parent_span_id": span["parent_span_id"]});
        Call::patch(format!("/v1/private/spans/{}", span["id"].as_str().unwrap()), &with(base, change))
    };
    check(
        &sandbox,
        vec![
            row("a trace exists once", Call::post("/v1/private/traces", &trace), 409, errors("Trace already exists")),
            row("in one project", Call::post("/v1/private/traces", &with(trace.clone(), json!({"project_name": "other"}))), 409, errors(elsewhere)),
            row("also for updates", Call::patch(format!("/v1/private/traces/{id}"), &json!({"project_name": "other"})), 409, errors(elsewhere)),
            row("a span keeps its trace", update(json!({"trace_id": crate::http::id()})), 409, errors("trace_id does not match the existing span")),
            row(
                "and its parent",
                update(json!({"parent_span_id": crate::http::id()})),
                409,
                errors("parent_span_id does not match the existing span"),
            ),
        ],
    );
}

#[test]
#[rustfmt::skip] // One row a line.
fn a_cloud() {
    let account = OpikCloud::new("key-1").with_workspace("ml-team");
    let tokens = OpikCloud::new("key-2").with_workspace("other-team").with_bearer_accepted();
    let sandbox = Sandbox::builder().with_cloud(account).with_cloud(tokens).start().unwrap();
    let good = || traces(json!({})).header("Authorization", "key-1").header("Comet-Workspace", "ml-team");
    let check_auth = || Call::post("/opik/api/v1/private/auth", &json!({}));
    let missing = || message(401, "API key should be provided");
    let wrong = || message(401, "User not allowed to access workspace!");
    let nowhere = || message(403, "Workspace name should be provided");
    check(
        &sandbox,
        vec![
            row("a key", good().without("Authorization"), 401, missing()),
            row("that is not blank", good().header("Authorization", ""), 401, missing()),
            row("the right one", good().header("Authorization", "key-3"), 401, wrong()),
            row("to the letter", good().header("Authorization", "KEY-1"), 401, wrong()),
            row("without Bearer", good().header("Authorization", "Bearer key-1"), 401, wrong()),
            row("a workspace", good().without("Comet-Workspace"), 403, nowhere()),
            row("with a name", good().header("Comet-Workspace", ""), 403, nowhere()),
            row("before the key", good().without("Comet-Workspace").without("Authorization"), 403, nowhere()),
            row("that exists", good().header("Comet-Workspace", "nobody"), 400, Says("nobody")),
            row("to the letter", good().header("Comet-Workspace", "ML-team"), 400, Says("ML-team")),
            row("that is the key's", good().header("Comet-Workspace", "other-team"), 403, message(403, "User is not allowed to access workspace")),
            row("before the body", good().header("Authorization", "key-3").body("{"), 401, wrong()),
            row("for the check", check_auth().header("Comet-Workspace", "ml-team"), 401, missing()),
            row("and its workspace", check_auth().header("Authorization", "key-1"), 403, nowhere()),
            row("for reading", Call::get("/opik/api/v1/private/traces?project_name=x").header("Comet-Workspace", "ml-team"), 401, missing()),
        ],
    );
    let bearer = good().header("Authorization", "Bearer key-2").header("Comet-Workspace", "other-team");
    assert_eq!(bearer.send(&sandbox).status, 204);
    assert_eq!(good().send(&sandbox).status, 204);
    assert_eq!(Call::get("/opik/api/is-alive/ping").send(&sandbox).status, 200);
}

#[test]
#[rustfmt::skip] // One row a line.
fn a_self_hosted_backend() {
    let sandbox = Sandbox::start().unwrap();
    let elsewhere = || message(404, "Workspace not found");
    check(
        &sandbox,
        vec![
            row("has one workspace", traces(json!({})).header("Comet-Workspace", "ml-team"), 404, elsewhere()),
            row("in lower case", traces(json!({})).header("Comet-Workspace", "Default"), 404, elsewhere()),
            row("also for the check", Call::post("/v1/private/auth", &json!({})).header("Comet-Workspace", "ml-team"), 404, elsewhere()),
            row("also in the query", Call::get("/v1/private/auth/workspace?workspace_name=ml-team"), 404, elsewhere()),
        ],
    );
    for workspace in ["", "default"] {
        let call = traces(json!({})).header("Comet-Workspace", workspace).header("Authorization", "Bearer whatever");
        assert_eq!(call.send(&sandbox).status, 204, "{workspace}");
    }
}

#[test]
#[rustfmt::skip] // One row a line.
fn paths_methods_and_media() {
    let sandbox = Sandbox::start().unwrap();
    let unknown = || message(404, "HTTP 404 Not Found");
    let method = || message(405, "HTTP 405 Method Not Allowed");
    let media = || message(415, "HTTP 415 Unsupported Media Type");
    let batch = |path: &str| Call::post(path, &json!({"traces": [trace()]}));
    check(
        &sandbox,
        vec![
            row("unknown paths", Call::get("/opik/api/v1/private/nothing"), 404, unknown()),
            row("no prefix but three", batch("/api/opik/v1/private/traces/batch"), 404, unknown()),
            row("a lost prefix", batch("/v1/private/v1/private/traces/batch"), 404, unknown()),
            row("an id that is none", Call::get("/v1/private/traces/x"), 404, unknown()),
            row(
                "a trace that is not there",
                Call::get("/v1/private/traces/01a2053e-d6f8-792b-8988-1657efa89323"),
                404,
                message(404, "Trace id: 01a2053e-d6f8-792b-8988-1657efa89323 not found"),
            ),
            row("wrong methods", Call::get("/v1/private/traces/batch"), 405, method()),
            row("of the ping", batch("/is-alive/ping"), 405, method()),
            row("of a trace", Call::get(format!("/v1/private/traces/{}", id())).method("PUT"), 405, method()),
            row("other media", traces(json!({})).header("Content-Type", "text/plain"), 415, media()),
            row("no media", traces(json!({})).without("Content-Type"), 415, media()),
            row("media before workspaces", traces(json!({})).without("Content-Type").header("Comet-Workspace", "x"), 415, media()),
            row("no project to search in", Call::post("/v1/private/traces/search", &json!({})), 400, Says("Either 'project_name' or 'project_id'")),
            row("an unknown one", Call::post("/v1/private/traces/search", &json!({"project_name": "x"})), 404, Says("Project name: x not found")),
            row(
                "too much at once",
                Call::post("/v1/private/spans/search", &json!({"project_name": "x", "limit": 2001})),
                422,
                errors("limit must be less than or equal to 2000"),
            ),
            row(
                "too little",
                Call::post("/v1/private/spans/search", &json!({"project_name": "x", "limit": 0})),
                422,
                errors("limit must be greater than or equal to 1"),
            ),
            row(
                "an unknown filter",
                Call::post(
                    "/v1/private/spans/search",
                    &json!({"project_name": "x", "filters": [{"field": "duration", "operator": ">", "value": "1"}]}),
                ),
                400,
                Says("The sandbox has no filter"),
            ),
        ],
    );
    let allow = Call::get("/v1/private/traces/batch").send(&sandbox);
    assert_eq!(allow.header("allow"), Some("POST"));
}

#[test]
#[rustfmt::skip] // One row a line.
fn sizes() {
    let account = OpikCloud::new("key").with_workspace("ml-team");
    let sandbox = Sandbox::builder().with_max_body_bytes(2_000).with_cloud(account).start().unwrap();
    let good = |call: Call| call.header("Authorization", "key").header("Comet-Workspace", "ml-team");
    let large = || Call::traces(&[with(trace(), json!({"input": "x".repeat(3_000)}))]);
    let refused = || message(413, "Request body exceeds the maximum allowed size of 2000 bytes");
    check(
        &sandbox,
        vec![
            row("a large body", good(large()), 413, refused()),
            row("before the key", large(), 413, refused()),
            row("before the path", large().method("PUT"), 413, refused()),
            row("gzip is gzip", good(large()).body("no gzip").header("Content-Encoding", "gzip"), 400, Says("Not in GZIP format")),
            row(
                "keys before gzip",
                large().body("no gzip").header("Content-Encoding", "gzip").header("Comet-Workspace", "ml-team"),
                401,
                message(401, "API key should be provided"),
            ),
            row("other encodings", good(large()).body(r#"{"x"#).header("Content-Encoding", "br"), 400, Says(NOT_JSON)),
        ],
    );
    assert_eq!(good(large()).gzip().send(&sandbox).status, 204, "compressed bytes count");
}

/// The other side of every limit: this much is accepted.
#[test]
fn what_is_refused_only_just() {
    let sandbox = Sandbox::start().unwrap();
    let day = 24 * 60 * 60;
    let accepted = [
        traces(json!({})),
        spans(json!({})),
        Call::traces(&[json!({"start_time": "2026-11-22T21:52:14Z"})]),
        Call::spans(&[json!({"start_time": "2026-11-22T21:52:14Z", "trace_id": id()})]),
        Call::traces(&vec![json!({"start_time": "1970-01-01T00:00:00Z"}); 1000]),
        Call::spans(&vec![
            json!({"start_time": "2262-04-11T23:47:15.999999999Z", "trace_id": id()});
            1000
        ]),
        traces(json!({"id": id_at(-day + 60)})),
        traces(json!({"id": id_at(day - 60)})),
        spans(json!({"trace_id": id_at(-400 * day), "parent_span_id": id_at(-400 * day)})),
        traces(json!({"id": id().to_string().to_uppercase()})),
        traces(
            json!({"project_name": format!(" {} ", "x".repeat(150)), "environment": "x".repeat(150)}),
        ),
        traces(
            json!({"start_time": "2026-11-22T22:52:14+01:00", "end_time": "2026-11-22T21:52:14Z"}),
        ),
        traces(
            json!({"input": "text", "output": [1, null, "x"], "metadata": 5, "ttft": 0, "tags": vec!["x".repeat(101); 60]}),
        ),
        spans(
            json!({"usage": {"a": 2_147_483_647, "b": 1.9, "c": null, "d": -1}, "total_estimated_cost": 0}),
        ),
        traces(json!({"error_info": {"exception_type": "E", "traceback": "t", "extra": [1]}})),
        traces(
            json!({"usage": {"nested": {}}, "total_estimated_cost": "x", "duration": {}, "no_such_field": [[]]}),
        ),
        traces(json!({})).header("Content-Type", "application/json;charset=utf-8"),
        traces(json!({})).gzip(),
        Call::patch(
            format!("/v1/private/traces/{}", id_at(-400 * day)),
            &json!({"tags": vec!["x".repeat(100); 50]}),
        ),
    ];
    for source in ["experiment", "playground", "optimization", "evaluator"] {
        assert_eq!(
            traces(json!({"source": source})).send(&sandbox).status,
            204,
            "{source}"
        );
    }
    for span_type in ["general", "tool", "guardrail"] {
        assert_eq!(
            spans(json!({"type": span_type})).send(&sandbox).status,
            204,
            "{span_type}"
        );
    }
    for call in accepted {
        let reply = call.send(&sandbox);
        assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{call:?}");
        assert_eq!(reply.header("content-type"), None);
    }
    let nulls = json!({"id": null, "project_name": null, "end_time": null, "input": null, "tags": null, "error_info": null,
               "start_time": "2026-11-22T21:52:14Z", "source": null, "usage": null, "ttft": null});
    assert_eq!(Call::traces(&[nulls]).send(&sandbox).status, 204);
}
