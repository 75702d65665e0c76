//! Experiments and their items.

use std::slice;

use beluga_o11y_sandbox::{Fault, Sandbox};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::datasets::{self, ids_in};
use crate::http::{Call, id, id_of, span, trace, two_workspaces, with};
use crate::refusals::{Says, check, errors, invalid_id, message, row};
use crate::scores;

const EXPERIMENTS: &str = "/opik/api/v1/private/experiments";

/// An experiment that Opik takes, with every field there is.
fn experiment() -> Value {
    json!({
        "id": id(), "dataset_name": "ds", "project_name": "beluga-demo", "name": "exp-1", "metadata": {"model": "m1"},
        "tags": ["t1"], "type": "regular", "evaluation_method": "dataset", "status": "running",
        "optimization_id": null, "prompt_versions": null, "dataset_version_id": null,
        "experiment_scores": [{"name": "avg_len", "value": 2.5}],
    })
}

fn create(experiment: &Value) -> Call {
    Call::post(EXPERIMENTS, experiment)
}

/// An item that Opik takes.
fn item(experiment: &Value, dataset_item: &Value, trace: &Value) -> Value {
    json!({
        "id": id(), "experiment_id": experiment["id"], "dataset_item_id": dataset_item["id"], "trace_id": trace["id"],
        "project_name": null, "execution_policy": {"runs_per_item": 1, "pass_threshold": 1},
    })
}

/// One whose experiment, dataset item and trace are nowhere.
fn lonely() -> Value {
    let nowhere = || json!({"id": id()});
    item(&nowhere(), &nowhere(), &nowhere())
}

fn add(items: &[Value]) -> Call {
    post("items", json!({"experiment_items": items}))
}

fn post(path: &str, body: Value) -> Call {
    Call::post(format!("{EXPERIMENTS}/{path}"), &body)
}

fn update(of: &Value, change: Value) -> Call {
    Call::patch(format!("{EXPERIMENTS}/{}", id_of(of)), &change)
}

fn stored(sandbox: &Sandbox, call: &Call) {
    let reply = call.send(sandbox);
    assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{call:?}");
}

fn created(sandbox: &Sandbox, experiment: &Value) {
    let reply = create(experiment).send(sandbox);
    assert_eq!((reply.status, reply.text().as_str()), (201, ""));
}

fn get(sandbox: &Sandbox, of: &Value) -> Value {
    Call::get(format!("{EXPERIMENTS}/{}", id_of(of)))
        .send(sandbox)
        .json()
}

/// Two items that an experiment ran, the second without a trace so far: the experiment, the items, the traces.
fn evaluated(sandbox: &Sandbox) -> (Value, [Value; 2], [Value; 2]) {
    let (items, traces) = ([datasets::item(), datasets::item()], [trace(), trace()]);
    let experiment = with(experiment(), json!({"project_name": "p"}));
    stored(sandbox, &datasets::put(&items));
    created(sandbox, &experiment);
    let ran: Vec<Value> = (0..2)
        .map(|n| item(&experiment, &items[n], &traces[n]))
        .collect();
    stored(sandbox, &add(&ran));
    stored(
        sandbox,
        &scores::put("traces", &[scores::score(traces[0]["id"].clone())]),
    );
    stored(sandbox, &Call::traces(slice::from_ref(&traces[0])));
    (experiment, items, traces)
}

#[test]
#[rustfmt::skip] // One row a line.
fn refused() {
    let sandbox = Sandbox::start().unwrap();
    let known = experiment();
    created(&sandbox, &known);
    let unknown = json!({"id": id()});
    let name = id_of(&unknown);
    let v4 = Uuid::new_v4();
    let created = |change: Value| create(&with(experiment(), change));
    let updated = |change: Value| update(&known, change);
    let items = |change: Value| add(&[lonely(), with(lonely(), change)]);
    let tags: Vec<String> = (0..51).map(|tag| tag.to_string()).collect();
    let invalid = |what: &str| invalid_id(&format!("Experiment Item {what}id must be a version 7 UUID"));
    let compare = |query: &str| Call::get(format!("/v1/private/datasets/{}/items/experiments/items{query}", id()));
    check(
        &sandbox,
        vec![
            row("a dataset is named", created(json!({"dataset_name": null})), 422, errors("datasetName must not be blank")),
            row("and not blank", created(json!({"dataset_name": " "})), 422, errors("datasetName must not be blank")),
            row("nor longer than its column", created(json!({"dataset_name": "x".repeat(256)})), 422, errors("datasetName size must be between 0 and 255")),
            row("projects are not blank", created(json!({"project_name": ""})), 422, errors("projectName must not be blank")),
            row("projects with ids are there", created(json!({"project_id": id()})), 404, errors("Project not found")),
            row("ids are UUIDs", created(json!({"id": "x"})), 400, Says("java.util.UUID")),
            row("of version 7", created(json!({"id": v4})), 400, invalid_id("Experiment id must be a version 7 UUID")),
            row("types are known", created(json!({"type": "x"})), 400, Says("Unknown type 'x'")),
            row("methods are known", created(json!({"evaluation_method": "x"})), 400, Says("Unknown evaluation_method 'x'")),
            row("statuses are known", created(json!({"status": "x"})), 400, Says("Unknown status 'x'")),
            row("50 tags", created(json!({"tags": tags})), 422, Says("tags Cannot have more than 50 tags")),
            row("scores have names", created(json!({"experiment_scores": [{"value": 1}]})), 422, errors("experimentScores[0].name must not be blank")),
            row("and values", created(json!({"experiment_scores": [{"name": "x"}]})), 422, errors("experimentScores[0].value must not be null")),
            row("versions are there", created(json!({"dataset_version_id": id()})), 409, message(409, "Dataset version not found")),
            row("one to get is there", Call::get(format!("{EXPERIMENTS}/{name}")), 404, message(404, &format!("Not found experiment with id '{name}'"))),
            row("one to change, too", update(&unknown, json!({"name": "x"})), 404, message(404, &format!("Experiment not found: '{name}'"))),
            row("new names are not blank", updated(json!({"name": " "})), 422, errors("name must not be blank")),
            row("new types are known", updated(json!({"type": "x"})), 400, Says("Unknown type 'x'")),
            row("50 more tags", updated(json!({"tags_to_add": tags})), 422, Says("tagsToAdd Cannot have more than 50 tags")),
            row("finishing wants ids", post("finish", json!({})), 422, errors("ids must not be null")),
            row("some", post("finish", json!({"ids": []})), 422, errors("ids size must be between 1 and 1000")),
            row("streams are of a name", post("stream", json!({})), 422, errors("name must not be blank")),
            row("of at most 2000", post("stream", json!({"name": "x", "limit": 2001})), 422, errors("limit must be less than or equal to 2000")),
            row("items, too", post("items/stream", json!({"limit": 1})), 422, errors("experimentName must not be blank")),
            row("at least one", post("items/stream", json!({"experiment_name": "x", "limit": 0})), 422, errors("limit must be greater than or equal to 1")),
            row("a batch has items", add(&[]), 422, errors("experimentItems size must be between 1 and 1000")),
            row("at most 1000", add(&vec![lonely(); 1001]), 422, errors("experimentItems size must be between 1 and 1000")),
            row("it is a list", post("items", json!({})), 422, errors("experimentItems must not be null")),
            row("an item has an experiment", items(json!({"experiment_id": null})), 422, errors("experimentItems[1].experimentId must not be null")),
            row("a dataset item", items(json!({"dataset_item_id": null})), 422, errors("experimentItems[1].datasetItemId must not be null")),
            row("and a trace", items(json!({"trace_id": null})), 422, errors("experimentItems[1].traceId must not be null")),
            row("projects with ids are there", items(json!({"project_id": id()})), 404, errors("Project not found")),
            row("ids have version 7", items(json!({"id": v4})), 400, invalid("")),
            row("of experiments", items(json!({"experiment_id": v4})), 400, invalid("experiment ")),
            row("of dataset items", items(json!({"dataset_item_id": v4})), 400, invalid("datasetItem ")),
            row("of traces", items(json!({"trace_id": v4})), 400, invalid("trace ")),
            row("deleting wants ids", post("items/delete", json!({})), 422, errors("ids must not be null")),
            row("comparing wants experiments", compare(""), 400, Says("experiment_ids")),
            row("as JSON", compare("?experiment_ids=x"), 400, Says("Invalid query param ids")),
            row("of ids", compare("?experiment_ids=[%22x%22]"), 400, Says("Invalid query param ids")),
            row("lists have no filters", Call::get(format!("{EXPERIMENTS}?filters=[1]")), 400, Says("The sandbox has no filter")),
            row("methods are known", add(&[lonely()]).method("PUT"), 405, Says("405")),
            row("bodies are JSON", created(json!({})).without("Content-Type"), 415, Says("415")),
            row("of a workspace", created(json!({})).header("Comet-Workspace", "x"), 404, Says("Workspace not found")),
        ],
    );
}

#[test]
fn refused_only_just() {
    let sandbox = Sandbox::start().unwrap();
    let many: Vec<Value> = (0..1000).map(|_| lonely()).collect();
    stored(&sandbox, &add(&many));
    assert_eq!(sandbox.experiment_items().len(), 1000);
    stored(
        &sandbox,
        &add(&[with(lonely(), json!({"id": null, "project_name": "new"}))]),
    );
    stored(&sandbox, &post("finish", json!({"ids": [id()]})));
    stored(&sandbox, &post("items/delete", json!({"ids": [id()]})));
    for change in [
        json!({"id": null, "metadata": "text", "project_name": null}),
        json!({"type": "mini-batch", "evaluation_method": "evaluation_suite", "status": "failed"}),
        json!({"tags": vec!["x".repeat(100); 50], "name": "x".repeat(1000)}),
    ] {
        created(&sandbox, &with(experiment(), change));
    }
}

#[test]
fn an_experiment_comes_back_as_it_was_sent() {
    let sandbox = Sandbox::start().unwrap();
    let sent = experiment();
    let reply = create(&sent).send(&sandbox);
    let location = format!(
        "http://{}/v1/private/experiments/{}",
        sandbox.address(),
        id_of(&sent)
    );
    assert_eq!(
        (reply.status, reply.header("location")),
        (201, Some(location.as_str()))
    );
    let dataset = &sandbox.datasets()[0];
    assert_eq!(
        (dataset.name.as_str(), dataset.experiment_count),
        ("ds", 1),
        "made on the way"
    );
    let shown = get(&sandbox, &sent);
    for (name, value) in sent.as_object().unwrap() {
        assert_eq!(shown.get(name).unwrap_or(&Value::Null), value, "{name}");
    }
    assert_eq!(shown["dataset_id"], json!(dataset.id));
    assert_eq!(
        (&shown["trace_count"], shown.get("workspace")),
        (&json!(0), None)
    );
    assert_eq!(
        Call::get("/_sandbox/experiments").send(&sandbox).json()[0]["workspace"],
        "default"
    );
    // The same again is no error, and changes nothing.
    created(&sandbox, &with(sent.clone(), json!({"name": "other"})));
    assert_eq!(
        (
            sandbox.experiments().len(),
            sandbox.experiments()[0].name.as_str()
        ),
        (1, "exp-1")
    );
    // A name is made up.
    for name in [Value::Null, json!(" ")] {
        created(
            &sandbox,
            &with(experiment(), json!({"name": name, "type": null})),
        );
        let made = sandbox.experiments().pop().unwrap();
        let parts: Vec<_> = made.name.split('_').collect();
        assert_eq!((parts.len(), made.experiment_type.as_str()), (3, "regular"));
        assert!(parts[2].parse::<u32>().is_ok(), "{}", made.name);
    }
}

#[test]
fn changes() {
    let sandbox = Sandbox::start().unwrap();
    let sent = experiment();
    created(&sandbox, &sent);
    stored(
        &sandbox,
        &update(
            &sent,
            json!({"name": "new", "metadata": {"a": 1}, "tags_to_add": ["t1", "t2"]}),
        ),
    );
    let shown = get(&sandbox, &sent);
    assert_eq!(
        (&shown["name"], &shown["metadata"]),
        (&json!("new"), &json!({"a": 1}))
    );
    assert_eq!(
        (&shown["tags"], &shown["status"]),
        (&json!(["t1", "t2"]), &json!("running"))
    );
    let scores = json!([{"name": "b", "value": 1.0}]);
    stored(
        &sandbox,
        &update(
            &sent,
            json!({"experiment_scores": scores, "status": "completed", "tags_to_remove": ["t1"]}),
        ),
    );
    let shown = get(&sandbox, &sent);
    assert_eq!(
        (&shown["experiment_scores"], &shown["tags"]),
        (&scores, &json!(["t2"]))
    );
    assert_eq!(
        (&shown["status"], &shown["name"]),
        (&json!("completed"), &json!("new"))
    );
    assert!(!sandbox.experiments()[0].finished);
    stored(&sandbox, &post("finish", json!({"ids": [sent["id"]]})));
    assert!(sandbox.experiments()[0].finished);
    assert_eq!(get(&sandbox, &sent)["status"], "completed");
    // Its dataset may go.
    let delete = json!({"dataset_name": "ds", "project_name": "beluga-demo"});
    stored(
        &sandbox,
        &Call::post("/v1/private/datasets/delete", &delete),
    );
    assert_eq!(get(&sandbox, &sent).get("dataset_name"), None);
}

#[test]
fn averages_are_over_the_traces_that_are_there() {
    let sandbox = Sandbox::start().unwrap();
    let (experiment, items, traces) = evaluated(&sandbox);
    let shown = get(&sandbox, &experiment);
    assert_eq!(
        shown["feedback_scores"],
        json!([{"name": "quality", "value": 0.9}])
    );
    assert_eq!(shown["trace_count"], 2, "also the one that has not come");
    assert_eq!(
        shown["duration"],
        json!({"p50": 840.0, "p90": 840.0, "p99": 840.0})
    );
    assert_eq!(shown.get("total_estimated_cost"), None);
    let others = [
        with(
            scores::score(traces[1]["id"].clone()),
            json!({"value": 0.2}),
        ),
        with(
            scores::score(traces[1]["id"].clone()),
            json!({"name": "other", "value": 3}),
        ),
    ];
    stored(&sandbox, &scores::put("traces", &others));
    let longer = with(
        traces[1].clone(),
        json!({"end_time": "2026-11-22T21:52:15.072279Z"}),
    );
    stored(&sandbox, &Call::traces(&[longer]));
    let costs = |n: usize, cost: f64| {
        with(
            span(),
            json!({"trace_id": traces[n]["id"], "total_estimated_cost": cost}),
        )
    };
    stored(
        &sandbox,
        &Call::spans(&[costs(0, 0.001), costs(0, 0.002), costs(1, 0.003)]),
    );
    let shown = get(&sandbox, &experiment);
    assert_eq!(
        shown["feedback_scores"],
        json!([{"name": "other", "value": 3.0}, {"name": "quality", "value": 0.55}])
    );
    assert_eq!(
        (
            &shown["total_estimated_cost"],
            &shown["total_estimated_cost_avg"]
        ),
        (&json!(0.006), &json!(0.003))
    );
    assert_eq!(shown["usage"]["total_tokens"], 25.5);
    assert_eq!(
        shown["duration"],
        json!({"p50": 920.0, "p90": 984.0, "p99": 998.4})
    );
    // A trace that two items name counts twice.
    stored(&sandbox, &add(&[item(&experiment, &items[0], &traces[0])]));
    let again = get(&sandbox, &experiment);
    assert_eq!(
        (&again["trace_count"], &again["feedback_scores"][1]["value"]),
        (&json!(2), &json!(0.666_666_667))
    );
    let typed = &sandbox.experiments()[0];
    assert_eq!(
        (typed.trace_count, typed.feedback_scores["other"]),
        (2, 3.0)
    );
}

#[test]
fn items_beside_what_experiments_made_of_them() {
    let sandbox = Sandbox::start().unwrap();
    let (experiment, items, traces) = evaluated(&sandbox);
    stored(&sandbox, &datasets::put(&[datasets::item()]));
    let dataset = sandbox.datasets()[0].id;
    let compare = |more: &str| {
        let path = format!("/api/v1/private/datasets/{dataset}/items/experiments/items");
        let ids = format!("%5B%22{0}%22,%22{0}%22%5D", id_of(&experiment));
        Call::get(format!("{path}?experiment_ids={ids}{more}"))
            .send(&sandbox)
            .json()
    };
    let page = compare("&page=1&size=2000&truncate=false");
    assert_eq!(page["total"], 2, "only items that it ran");
    let rows = page["content"].as_array().unwrap();
    assert_eq!(ids_in(rows), [id_of(&items[1]), id_of(&items[0])]);
    assert_eq!(rows[1]["data"], items[0]["data"]);
    let [ran] = &rows[1]["experiment_items"].as_array().unwrap()[..] else {
        panic!("one run")
    };
    for (name, value) in [
        ("experiment_id", &experiment["id"]),
        ("dataset_item_id", &items[0]["id"]),
        ("trace_id", &traces[0]["id"]),
        ("input", &traces[0]["input"]),
        ("output", &traces[0]["output"]),
        ("duration", &json!(840.0)),
        (
            "execution_policy",
            &json!({"runs_per_item": 1, "pass_threshold": 1}),
        ),
    ] {
        assert_eq!(&ran[name], value, "{name}");
    }
    assert_eq!(ran["feedback_scores"][0]["value"], 0.9);
    // One whose trace has not come has no output.
    let waiting = &rows[0]["experiment_items"][0];
    assert_eq!(
        (&waiting["trace_id"], waiting.get("output")),
        (&traces[1]["id"], None)
    );
    let second = compare("&page=2&size=1");
    assert_eq!(
        (&second["total"], &second["content"][0]["id"]),
        (&json!(2), &items[0]["id"])
    );
    // The stream has the same, without the items of the dataset.
    let stream = |body: Value| post("items/stream", body).send(&sandbox).lines();
    let lines = stream(json!({"experiment_name": "EXP", "project_name": "p"}));
    assert_eq!(lines.len(), 0, "a run is in its trace's project");
    let lines = stream(json!({"experiment_name": "EXP", "project_name": "beluga-demo"}));
    assert_eq!(lines, slice::from_ref(ran));
    let lines = stream(json!({"experiment_name": "exp-1"}));
    assert_eq!(lines, [waiting.clone(), ran.clone()]);
    let older = json!({"experiment_name": "exp-1", "last_retrieved_id": waiting["id"], "limit": 5});
    assert_eq!(stream(older), slice::from_ref(ran));
    assert_eq!(
        stream(json!({"experiment_name": "none"})),
        Vec::<Value>::new()
    );
    stored(&sandbox, &post("items/delete", json!({"ids": [ran["id"]]})));
    assert_eq!(sandbox.experiment_items().len(), 1);
}

#[test]
fn found_by_name_and_dataset() {
    let sandbox = Sandbox::start().unwrap();
    let named = |name: &str, dataset: &str| {
        with(experiment(), json!({"name": name, "dataset_name": dataset}))
    };
    let sent = [
        named("exp-1", "a"),
        named("Exp-12", "a"),
        named("other", "b"),
    ];
    for experiment in &sent {
        created(&sandbox, experiment);
    }
    let stream = |change: Value| {
        let body = with(json!({"name": "exp-1", "limit": 2000}), change);
        ids_in(&post("stream", body).send(&sandbox).lines())
    };
    let newest_first = [id_of(&sent[1]), id_of(&sent[0])];
    assert_eq!(stream(json!({"project_name": "beluga-demo"})), newest_first);
    assert_eq!(stream(json!({"limit": 1})), newest_first[..1]);
    assert_eq!(
        stream(json!({"last_retrieved_id": newest_first[0]})),
        newest_first[1..]
    );
    assert!(stream(json!({"project_name": "none"})).is_empty());
    let listed = |query: String| {
        let page = Call::get(format!("{EXPERIMENTS}?{query}"))
            .send(&sandbox)
            .json();
        ids_in(page["content"].as_array().unwrap())
    };
    let dataset = sandbox.datasets()[0].id;
    assert_eq!(listed(format!("datasetId={dataset}")), newest_first);
    assert_eq!(
        listed(format!("dataset_id={dataset}&page=2&size=1")),
        newest_first[1..]
    );
    assert_eq!(listed("name=OTHER".to_owned()), [id_of(&sent[2])]);
    assert_eq!(listed(String::new()).len(), 3);
}

#[test]
fn workspaces_do_not_see_each_other() {
    let sandbox = two_workspaces();
    let of = |workspace: &str, call: Call| call.of(workspace).send(&sandbox);
    let (sent, item_of_one) = (experiment(), datasets::item());
    assert_eq!(of("one", create(&sent)).status, 201);
    assert_eq!(
        of("one", datasets::put(slice::from_ref(&item_of_one))).status,
        204
    );
    let by_id = || Call::get(format!("{EXPERIMENTS}/{}", id_of(&sent)));
    assert_eq!(
        (of("one", by_id()).status, of("two", by_id()).status),
        (200, 404)
    );
    assert_eq!(of("two", update(&sent, json!({"name": "x"}))).status, 404);
    let trace = trace();
    let foreign = |field: &str| {
        let text =
            format!("Upserting experiment item with '{field}' not belonging to the workspace");
        (409, json!({"code": 409, "message": text}))
    };
    for (item, field) in [
        (
            with(lonely(), json!({"experiment_id": sent["id"]})),
            "experiment_id",
        ),
        (
            with(lonely(), json!({"dataset_item_id": item_of_one["id"]})),
            "dataset_item_id",
        ),
    ] {
        let reply = of("two", add(&[lonely(), item]));
        assert_eq!((reply.status, reply.json()), foreign(field));
    }
    assert_eq!(
        of("one", add(&[item(&sent, &item_of_one, &trace)])).status,
        204
    );
    assert_eq!(sandbox.experiment_items().len(), 1);
}

#[test]
fn faults_and_limits_are_for_them_too() {
    let sandbox = Sandbox::builder().with_max_calls(10).start().unwrap();
    sandbox.inject(Fault::status(503).on("/experiments").times(1));
    let status = create(&experiment()).send(&sandbox).status;
    assert_eq!((status, sandbox.experiments().len()), (503, 0));
    let all: Vec<Value> = (0..25).map(|_| experiment()).collect();
    for experiment in &all {
        created(&sandbox, experiment);
    }
    let kept: Vec<Uuid> = sandbox
        .experiments()
        .iter()
        .map(|experiment| experiment.id)
        .collect();
    assert_eq!(kept, ids_in(&all[15..]));
    let items: Vec<Value> = (0..25).map(|_| lonely()).collect();
    stored(&sandbox, &add(&items));
    let kept: Vec<Uuid> = sandbox
        .experiment_items()
        .iter()
        .map(|item| item.id)
        .collect();
    assert_eq!(kept, ids_in(&items[15..]));
    sandbox.clear();
    assert_eq!(
        (
            sandbox.experiments().len(),
            sandbox.experiment_items().len()
        ),
        (0, 0)
    );
}
