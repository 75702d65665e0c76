//! What is stored: row keys, versions, updates, projects, workspaces, and what a trace gets from its spans.

use std::slice;

use beluga_o11y_sandbox::{OpikCloud, Sandbox};
use serde_json::{Value, json};

use crate::http::{Call, id, id_of, span, trace, with};

fn store_traces(sandbox: &Sandbox, traces: &[Value]) {
    assert_eq!(Call::traces(traces).send(sandbox).status, 204);
}

fn store_spans(sandbox: &Sandbox, spans: &[Value]) {
    assert_eq!(Call::spans(spans).send(sandbox).status, 204);
}

#[test]
fn what_is_sent_is_what_comes_back() {
    let sandbox = Sandbox::start().unwrap();
    let (trace, span) = (trace(), span());
    store_traces(&sandbox, slice::from_ref(&trace));
    store_spans(&sandbox, slice::from_ref(&span));
    let typed = [
        (serde_json::to_value(&sandbox.traces()[0]).unwrap(), &trace),
        (serde_json::to_value(&sandbox.spans()[0]).unwrap(), &span),
    ];
    for (stored, sent) in &typed {
        for (name, value) in sent.as_object().unwrap() {
            assert_eq!(&stored[name], value, "{name}");
        }
        assert_eq!(stored["workspace"], "default");
    }
    for (kind, sent) in [("traces", &trace), ("spans", &span)] {
        let path = format!(
            "/opik/api/v1/private/{kind}/{}",
            sent["id"].as_str().unwrap()
        );
        let public = Call::get(path).send(&sandbox).json();
        for (name, value) in sent.as_object().unwrap() {
            // The public view of a trace has its project's id only.
            if !(kind == "traces" && name == "project_name") {
                assert_eq!(&public[name], value, "{name}");
            }
        }
        assert_eq!(
            (public.get("workspace"), &public["duration"]),
            (None, &json!(840.0))
        );
        let own = Call::get(format!("/_sandbox/{kind}")).send(&sandbox).json();
        assert_eq!(own[0]["id"], sent["id"]);
        assert_eq!(own[0]["project_name"], "beluga-demo");
    }
    assert_eq!(
        Call::get("/_sandbox/requests")
            .send(&sandbox)
            .json()
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn a_batch_may_come_twice() {
    let sandbox = Sandbox::start().unwrap();
    let (trace, span) = (trace(), span());
    for _ in 0..2 {
        store_traces(&sandbox, slice::from_ref(&trace));
        store_spans(&sandbox, slice::from_ref(&span));
    }
    assert_eq!((sandbox.traces().len(), sandbox.spans().len()), (1, 1));
}

#[test]
fn the_last_update_wins_and_replaces_the_whole_row() {
    let sandbox = Sandbox::start().unwrap();
    let first = trace();
    store_traces(&sandbox, &[first.clone(), trace()]);
    let version = |at: &str, name: &str| {
        with(
            first.clone(),
            json!({"last_updated_at": at, "name": name, "tags": null}),
        )
    };
    store_traces(&sandbox, &[version("2026-11-22T21:52:13Z", "older")]);
    assert_eq!(sandbox.traces()[0].name.as_deref(), Some("chat"));
    store_traces(&sandbox, &[version("2026-11-22T21:52:15Z", "newer")]);
    let stored = &sandbox.traces()[0];
    assert_eq!(
        (stored.name.as_deref(), stored.tags.len()),
        (Some("newer"), 0)
    );
    store_traces(&sandbox, &[version("2026-11-22T21:52:15Z", "as new")]);
    assert_eq!(sandbox.traces()[0].name.as_deref(), Some("as new"));
    store_traces(
        &sandbox,
        &[with(
            first.clone(),
            json!({"last_updated_at": null, "name": "now"}),
        )],
    );
    assert_eq!(sandbox.traces()[0].name.as_deref(), Some("now"));
    assert_eq!(sandbox.traces().len(), 2);
}

#[test]
fn of_one_batch_the_newest_stays() {
    let sandbox = Sandbox::start().unwrap();
    let version = |id, at: &str| {
        with(
            trace(),
            json!({"id": id, "last_updated_at": at, "name": at}),
        )
    };
    let one = id();
    store_traces(
        &sandbox,
        &[
            version(one, "2026-11-22T21:52:15Z"),
            version(one, "2026-11-22T21:52:14Z"),
            trace(),
        ],
    );
    assert_eq!(sandbox.traces().len(), 2);
    assert_eq!(
        sandbox.traces()[0].name.as_deref(),
        Some("2026-11-22T21:52:15Z")
    );
}

#[test]
fn a_bad_element_refuses_the_batch() {
    let sandbox = Sandbox::start().unwrap();
    for bad in [
        json!({"start_time": null}),
        json!({"tags": "x"}),
        json!({"id": uuid::Uuid::new_v4()}),
    ] {
        let status = Call::traces(&[trace(), with(trace(), bad)])
            .send(&sandbox)
            .status;
        assert!([400, 422].contains(&status));
    }
    assert!(sandbox.traces().is_empty());
}

#[test]
fn keys_are_of_a_project_and_for_spans_of_a_trace_and_parent() {
    let sandbox = Sandbox::start().unwrap();
    let (trace, span) = (trace(), span());
    store_traces(&sandbox, slice::from_ref(&trace));
    store_traces(
        &sandbox,
        &[with(trace.clone(), json!({"project_name": "other"}))],
    );
    assert_eq!(sandbox.traces().len(), 2);
    store_spans(&sandbox, slice::from_ref(&span));
    store_spans(
        &sandbox,
        &[with(span.clone(), json!({"project_name": "other"}))],
    );
    store_spans(&sandbox, &[with(span.clone(), json!({"trace_id": id()}))]);
    store_spans(
        &sandbox,
        &[with(span.clone(), json!({"parent_span_id": null}))],
    );
    store_spans(&sandbox, &[span]);
    assert_eq!(sandbox.spans().len(), 4);
}

#[test]
fn projects_are_stripped_and_known_in_any_case() {
    let sandbox = Sandbox::start().unwrap();
    let names = [
        json!(" Beluga "),
        json!("beluga"),
        json!(null),
        json!("Default Project"),
        json!("BELUGA\n"),
    ];
    for name in names {
        store_traces(&sandbox, &[with(trace(), json!({"project_name": name}))]);
    }
    let stored: Vec<_> = sandbox
        .traces()
        .into_iter()
        .map(|trace| trace.project_name)
        .collect();
    assert_eq!(
        stored,
        [
            "Beluga",
            "Beluga",
            "Default Project",
            "Default Project",
            "Beluga"
        ]
    );
    let ids: std::collections::HashSet<_> = sandbox
        .traces()
        .iter()
        .map(|trace| trace.project_id)
        .collect();
    assert_eq!(ids.len(), 2);
    let retrieved = Call::post(
        "/api/v1/private/projects/retrieve",
        &json!({"name": "BELUGA"}),
    )
    .send(&sandbox);
    assert_eq!(
        (retrieved.status, &retrieved.json()["name"]),
        (200, &json!("Beluga"))
    );
    let missing =
        Call::post("/api/v1/private/projects/retrieve", &json!({"name": "x"})).send(&sandbox);
    assert_eq!(
        (missing.status, missing.json()),
        (404, json!({"errors": ["Project not found"]}))
    );
    let by_id = Call::get(format!(
        "/api/v1/private/projects/{}",
        sandbox.traces()[0].project_id
    ))
    .send(&sandbox);
    assert_eq!(
        (by_id.status, &by_id.json()["name"]),
        (200, &json!("Beluga"))
    );
    assert_eq!(
        Call::get("/api/v1/private/projects").send(&sandbox).json()["total"],
        2
    );
}

#[test]
fn workspaces_are_apart() {
    let account = OpikCloud::new("key")
        .with_workspace("ml-team")
        .with_workspace("other");
    let sandbox = Sandbox::builder().with_cloud(account).start().unwrap();
    let trace = trace();
    let id = trace["id"].as_str().unwrap();
    let on = |call: Call, workspace: &str| {
        call.header("Authorization", "key")
            .header("Comet-Workspace", workspace)
    };
    for workspace in ["ml-team", "other", "default"] {
        assert_eq!(
            on(Call::traces(slice::from_ref(&trace)), workspace)
                .send(&sandbox)
                .status,
            204
        );
    }
    let workspaces: Vec<_> = sandbox
        .traces()
        .into_iter()
        .map(|trace| trace.workspace)
        .collect();
    assert_eq!(workspaces, ["ml-team", "other"], "default is the first one");
    assert_ne!(
        sandbox.traces()[0].project_id,
        sandbox.traces()[1].project_id
    );
    let fresh = crate::http::trace();
    assert_eq!(
        on(Call::traces(slice::from_ref(&fresh)), "other")
            .send(&sandbox)
            .status,
        204
    );
    let path = format!(
        "/opik/api/v1/private/traces/{}",
        fresh["id"].as_str().unwrap()
    );
    assert_eq!(
        on(Call::get(path.clone()), "ml-team").send(&sandbox).status,
        404
    );
    assert_eq!(on(Call::get(path), "other").send(&sandbox).status, 200);
    assert_eq!(
        on(
            Call::get(format!("/opik/api/v1/private/traces/{id}")),
            "default"
        )
        .send(&sandbox)
        .status,
        200
    );
    let named = on(Call::get("/opik/api/v1/private/auth/workspace"), "default").send(&sandbox);
    assert_eq!(named.json(), json!({"workspace_name": "ml-team"}));
    assert_eq!(
        on(Call::post("/opik/api/v1/private/auth", &json!({})), "other")
            .send(&sandbox)
            .status,
        204
    );
    let query = Call::get("/opik/api/v1/private/auth/workspace?workspace_name=other")
        .header("Authorization", "key");
    assert_eq!(
        query.send(&sandbox).json(),
        json!({"workspace_name": "other"})
    );
}

#[test]
fn single_creates() {
    let sandbox = Sandbox::start().unwrap();
    let (trace, span) = (trace(), span());
    for (kind, record) in [("traces", &trace), ("spans", &span)] {
        let reply = Call::post(format!("/opik/api/v1/private/{kind}"), record).send(&sandbox);
        assert_eq!((reply.status, reply.text().as_str()), (201, ""));
        let location = format!(
            "http://{}/v1/private/{kind}/{}",
            sandbox.address(),
            record["id"].as_str().unwrap()
        );
        assert_eq!(reply.header("location"), Some(location.as_str()));
    }
    assert_eq!(
        Call::post("/v1/private/traces", &trace)
            .send(&sandbox)
            .status,
        409
    );
    let again = with(
        span.clone(),
        json!({"name": "again", "last_updated_at": "2029-01-01T00:00:00Z"}),
    );
    assert_eq!(
        Call::post("/v1/private/spans", &again)
            .send(&sandbox)
            .status,
        201
    );
    assert_eq!(
        sandbox.span(id_of(&span)).unwrap().name.as_deref(),
        Some("chat"),
        "a known span is left as it is"
    );
    let nameless =
        Call::post("/v1/private/traces", &with(trace, json!({"id": null}))).send(&sandbox);
    assert_eq!(nameless.status, 201);
    assert!(
        nameless
            .header("location")
            .unwrap()
            .ends_with(&sandbox.traces()[1].id.to_string())
    );
}

#[test]
fn late_updates() {
    let sandbox = Sandbox::start().unwrap();
    let (trace, span) = (trace(), span());
    store_traces(&sandbox, slice::from_ref(&trace));
    store_spans(&sandbox, slice::from_ref(&span));
    let change = json!({
        "project_name": "beluga-demo", "output": {"late": true}, "end_time": "2026-11-22T21:52:16.072279Z",
        "tags_to_add": ["new", "prod"],
    });
    let path = format!("/v1/private/traces/{}", trace["id"].as_str().unwrap());
    assert_eq!(Call::patch(&path, &change).send(&sandbox).status, 204);
    let stored = sandbox.trace(id_of(&trace)).unwrap();
    assert_eq!(stored.output, Some(json!({"late": true})));
    assert_eq!(
        (stored.duration, stored.name.as_deref()),
        (Some(2000.0), Some("chat"))
    );
    assert_eq!(stored.tags, ["prod", "new"]);
    let removal = json!({"project_name": "beluga-demo", "tags_to_remove": ["prod"]});
    assert_eq!(Call::patch(&path, &removal).send(&sandbox).status, 204);
    assert_eq!(sandbox.trace(id_of(&trace)).unwrap().tags, ["new"]);
    store_traces(&sandbox, slice::from_ref(&trace));
    let stored = sandbox.trace(id_of(&trace)).unwrap();
    assert_eq!(
        stored.tags,
        ["new"],
        "the update is newer than a late batch"
    );

    let change = json!({
        "project_id": stored.project_id, "trace_id": span["trace_id"], "parent_span_id": span["parent_span_id"],
        "usage": {"total_tokens": 1}, "model": "gpt-5",
    });
    let path = format!("/v1/private/spans/{}", span["id"].as_str().unwrap());
    assert_eq!(Call::patch(path, &change).send(&sandbox).status, 204);
    let stored = sandbox.span(id_of(&span)).unwrap();
    assert_eq!(
        (stored.model.as_deref(), stored.usage.len()),
        (Some("gpt-5"), 1)
    );
    assert_eq!(stored.provider.as_deref(), Some("openai"));
}

#[test]
fn an_update_that_comes_first_hides_the_batch_but_not_the_single_create() {
    let sandbox = Sandbox::start().unwrap();
    let trace = trace();
    let path = format!("/v1/private/traces/{}", trace["id"].as_str().unwrap());
    let early = json!({"project_name": "beluga-demo", "output": "early"});
    assert_eq!(Call::patch(&path, &early).send(&sandbox).status, 204);
    assert_eq!(sandbox.traces()[0].start_time.timestamp(), 0);
    store_traces(&sandbox, slice::from_ref(&trace));
    assert_eq!(sandbox.traces()[0].name, None, "the update is newer");
    let create = with(trace, json!({"output": null}));
    assert_eq!(
        Call::post("/v1/private/traces", &create)
            .send(&sandbox)
            .status,
        201
    );
    let stored = &sandbox.traces()[0];
    assert_eq!(
        (stored.name.as_deref(), &stored.output),
        (Some("chat"), &Some(json!("early")))
    );
    assert_eq!(sandbox.traces().len(), 1);
}

#[test]
fn a_trace_gets_tokens_and_cost_from_its_spans_only() {
    let sandbox = Sandbox::start().unwrap();
    let trace = with(
        trace(),
        json!({"usage": {"total_tokens": 99}, "total_estimated_cost": 9.0}),
    );
    store_traces(&sandbox, slice::from_ref(&trace));
    let bare = sandbox.trace(id_of(&trace)).unwrap();
    assert!(
        bare.usage.is_empty() && bare.total_estimated_cost.is_none() && bare.providers.is_empty()
    );
    assert_eq!((bare.span_count, bare.llm_span_count), (0, 0));

    let of_trace = |change: Value| {
        let base = with(
            span(),
            json!({"trace_id": trace["id"], "total_estimated_cost": null, "metadata": null}),
        );
        with(base, change)
    };
    let cost =
        |currency: &str, cost: Value| json!({"cost": {"currency": currency, "total_cost": cost}});
    store_spans(
        &sandbox,
        &[
            of_trace(json!({"total_estimated_cost": 0.1, "metadata": cost("USD", json!(5.0))})),
            of_trace(
                json!({"metadata": cost("USD", json!(0.2)), "provider": "anthropic", "type": "tool"}),
            ),
            of_trace(
                json!({"metadata": cost("EUR", json!(1.0)), "usage": {"total_tokens": 1.9, "cached": 2, "none": null}}),
            ),
            of_trace(json!({"metadata": cost("USD", json!("3")), "usage": null, "provider": ""})),
            with(
                of_trace(json!({"total_estimated_cost": 50})),
                json!({"project_name": "other"}),
            ),
        ],
    );
    let stored = sandbox.trace(id_of(&trace)).unwrap();
    assert_eq!(stored.total_estimated_cost, Some(0.3));
    assert_eq!(
        json!(stored.usage),
        json!({"prompt_tokens": 24, "completion_tokens": 10, "total_tokens": 35, "cached": 2})
    );
    assert_eq!((stored.span_count, stored.llm_span_count), (4, 3));
    assert_eq!(stored.providers, ["anthropic", "openai"]);
    let costs: Vec<_> = sandbox
        .spans()
        .iter()
        .map(|span| span.total_estimated_cost)
        .collect();
    assert_eq!(costs, [Some(0.1), Some(0.2), None, None, Some(50.0)]);
}

#[test]
fn searches_give_one_object_a_line_newest_first() {
    let sandbox = Sandbox::start().unwrap();
    let traces: Vec<_> = (0..3)
        .map(|n| with(trace(), json!({"name": format!("chat {n}")})))
        .collect();
    store_traces(&sandbox, &traces);
    store_traces(&sandbox, &[with(trace(), json!({"project_name": "other"}))]);
    let search = |query: Value| {
        let query = with(json!({"project_name": "beluga-demo"}), query);
        let reply = Call::post("/opik/api/v1/private/traces/search", &query).send(&sandbox);
        assert_eq!(
            reply.header("content-type"),
            Some("application/octet-stream")
        );
        let names = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["name"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        reply.text().lines().map(names).collect::<Vec<_>>()
    };
    assert_eq!(search(json!({})), ["chat 2", "chat 1", "chat 0"]);
    assert_eq!(search(json!({"limit": 2})), ["chat 2", "chat 1"]);
    assert_eq!(
        search(json!({"last_retrieved_id": traces[1]["id"]})),
        ["chat 0"]
    );
    assert_eq!(
        search(json!({"filters": [{"field": "name", "operator": "=", "value": "chat 1"}]})),
        ["chat 1"]
    );
    assert!(
        search(json!({"filters": [{"field": "tags", "operator": "contains", "value": "x"}]}))
            .is_empty()
    );
    let page = Call::get("/api/v1/private/traces?project_name=beluga%2Ddemo&page=2&size=2")
        .send(&sandbox)
        .json();
    assert_eq!(
        (&page["total"], &page["size"], &page["content"][0]["name"]),
        (&json!(3), &json!(1), &json!("chat 0"))
    );

    let spans = [span(), span()];
    store_spans(&sandbox, &spans);
    let query = json!({"project_name": "beluga-demo", "trace_id": spans[0]["trace_id"]});
    let found = Call::post("/opik/api/v1/private/spans/search", &query)
        .send(&sandbox)
        .text();
    assert_eq!(found.lines().count(), 1);
    assert!(found.contains(spans[0]["id"].as_str().unwrap()));
}

#[test]
fn three_prefixes_and_the_health_checks() {
    let sandbox = Sandbox::start().unwrap();
    for prefix in ["/opik/api", "/api", ""] {
        let ping = Call::get(format!("{prefix}/is-alive/ping")).send(&sandbox);
        assert_eq!(
            ping.json(),
            json!({"message": "Healthy Server", "healthy": true})
        );
        assert!(
            Call::get(format!("{prefix}/is-alive/ver"))
                .send(&sandbox)
                .json()["version"]
                .is_string()
        );
        let batch = Call::post(
            format!("{prefix}/v1/private/traces/batch"),
            &json!({"traces": [trace()]}),
        );
        assert_eq!(batch.send(&sandbox).status, 204);
        let auth = Call::get(format!("{prefix}/v1/private/auth"))
            .method("POST")
            .send(&sandbox);
        assert_eq!(
            (auth.status, auth.body.len()),
            (204, 0),
            "an empty body will do"
        );
    }
    assert_eq!(sandbox.traces().len(), 3);
}

#[test]
fn clearing_forgets_rows_and_requests() {
    let sandbox = Sandbox::start().unwrap();
    store_traces(&sandbox, &[trace()]);
    store_spans(&sandbox, &[span()]);
    assert_eq!((sandbox.request_count(), sandbox.requests().len()), (2, 2));
    sandbox.clear();
    assert_eq!((sandbox.request_count(), sandbox.requests().len()), (0, 0));
    assert!(sandbox.traces().is_empty() && sandbox.spans().is_empty());
    store_traces(&sandbox, &[trace()]);
    assert_eq!(
        (sandbox.request_count(), sandbox.requests()[0].status),
        (1, Some(204))
    );
}

#[test]
fn the_log_of_requests_is_bounded() {
    let sandbox = Sandbox::builder().with_request_log(2).start().unwrap();
    for name in ["a", "b", "c"] {
        store_traces(&sandbox, &[with(trace(), json!({"name": name}))]);
    }
    let names: Vec<_> = sandbox
        .requests()
        .iter()
        .map(|request| request.body["traces"][0]["name"].clone())
        .collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!((sandbox.request_count(), sandbox.traces().len()), (3, 3));
    let sandbox = Sandbox::builder().with_request_log(0).start().unwrap();
    store_traces(&sandbox, &[trace()]);
    assert_eq!((sandbox.request_count(), sandbox.requests().len()), (1, 0));
}

#[test]
fn debug_hides_the_key() {
    let sandbox = Sandbox::start().unwrap();
    Call::traces(&[trace()])
        .header("Authorization", "secret-key")
        .send(&sandbox);
    let request = &sandbox.requests()[0];
    assert_eq!(request.header("authorization"), Some("secret-key"));
    assert!(!format!("{request:?}").contains("secret-key"));
}
