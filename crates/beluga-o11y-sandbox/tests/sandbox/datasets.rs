//! Datasets and their items.

use beluga_o11y_sandbox::{Dataset, Sandbox};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{Call, Reply, id, id_at, two_workspaces, with};
use crate::refusals::{Says, check, errors, invalid_id, message, row};

const DATASETS: &str = "/opik/api/v1/private/datasets";

pub(crate) fn create(dataset: &Value) -> Call {
    Call::post(DATASETS, dataset)
}

/// An item that Opik takes.
pub(crate) fn item() -> Value {
    json!({
        "id": id(), "source": "sdk", "data": {"question": "q", "n": [1, 1.0, null, 32_556_453.494_940_374]}, "trace_id": null, "span_id": null,
        "description": null, "evaluators": null, "execution_policy": null,
    })
}

pub(crate) fn put(items: &[Value]) -> Call {
    Call::put(
        format!("{DATASETS}/items"),
        &json!({"dataset_name": "ds", "project_name": "p", "items": items}),
    )
}

/// The same with other fields in the body.
fn put_with(items: &[Value], change: Value) -> Call {
    let body = json!({"dataset_name": "ds", "project_name": "p", "items": items});
    Call::put(format!("{DATASETS}/items"), &with(body, change))
}

fn items(change: Value) -> Call {
    put(&[item(), with(item(), change)])
}

fn stream(change: Value) -> Call {
    let body = json!({"dataset_name": "ds", "project_name": "p", "last_retrieved_id": null, "steam_limit": 2000});
    Call::post(format!("{DATASETS}/items/stream"), &with(body, change))
}

fn post(path: &str, body: Value) -> Call {
    Call::post(format!("{DATASETS}/{path}"), &body)
}

fn store(sandbox: &Sandbox, call: &Call) {
    let reply = call.send(sandbox);
    assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{call:?}");
}

pub(crate) fn ids_in(records: &[Value]) -> Vec<Uuid> {
    records.iter().map(crate::http::id_of).collect()
}

fn content(reply: &Reply) -> Vec<Value> {
    reply.json()["content"].as_array().unwrap().clone()
}

#[test]
#[rustfmt::skip] // One row a line.
fn refused_datasets() {
    let sandbox = Sandbox::start().unwrap();
    let good = json!({"id": id(), "name": "ds", "project_name": "p"});
    assert_eq!(create(&good).send(&sandbox).status, 201);
    let dataset = |change: Value| create(&with(json!({"name": "other", "project_name": "p"}), change));
    let exists = || errors("Dataset already exists");
    let unknown = || errors("Dataset not found");
    check(
        &sandbox,
        vec![
            row("a dataset has a name", dataset(json!({"name": null})), 422, errors("name must not be blank")),
            row("that is not blank", dataset(json!({"name": " "})), 422, errors("name must not be blank")),
            row("nor longer than its column", dataset(json!({"name": "x".repeat(256)})), 422, errors("name size must be between 0 and 255")),
            row("it is text", dataset(json!({"name": 5})), 400, Says("java.lang.String")),
            row("descriptions are not blank", dataset(json!({"description": ""})), 422, errors("description must not be blank")),
            row("nor long", dataset(json!({"description": "x".repeat(256)})), 422, errors("description cannot exceed 255 characters")),
            row("projects are not blank", dataset(json!({"project_name": ""})), 422, errors("projectName must not be blank")),
            row("projects with ids are there", dataset(json!({"project_id": id()})), 404, errors("Project not found")),
            row("types are known", dataset(json!({"type": "x"})), 400, Says("Unknown type 'x'")),
            row("visibilities are known", dataset(json!({"visibility": "x"})), 400, Says("Unknown visibility 'x'")),
            row("ids have version 7", dataset(json!({"id": Uuid::new_v4()})), 400, invalid_id("dataset id must be a version 7 UUID")),
            row("a name is there once", dataset(json!({"name": "ds"})), 409, exists()),
            row("in any case", dataset(json!({"name": "DS"})), 409, exists()),
            row("an id, too", dataset(json!({"id": good["id"]})), 409, exists()),
            row("one to retrieve is there", post("retrieve", json!({"dataset_name": "no"})), 404, unknown()),
            row("in its project", post("retrieve", json!({"dataset_name": "ds", "project_name": "no"})), 404, unknown()),
            row("and named", post("retrieve", json!({})), 422, errors("datasetName must not be blank")),
            row("one to delete is there", post("delete", json!({"dataset_name": "no"})), 404, unknown()),
            row("and named", post("delete", json!({"dataset_name": ""})), 422, errors("datasetName must not be blank")),
            row("one to get is there", Call::get(format!("{DATASETS}/{}", id())), 404, unknown()),
            row("for its items", Call::get(format!("{DATASETS}/{}/items", id())), 404, unknown()),
            row("and its versions", Call::get(format!("{DATASETS}/{}/versions", id())), 404, unknown()),
            row("versions are there", post(&format!("{}/versions/retrieve", good["id"].as_str().unwrap()), json!({"version_name": "v1"})), 404, errors("Dataset version not found")),
            row("lists are of a project", Call::get(format!("{DATASETS}?project_id={}", id())), 404, errors("Project not found")),
            row("filters are not known", Call::get(format!("{DATASETS}?filters=[1]")), 400, Says("The sandbox has no filter")),
            row("an id is one", Call::get(format!("{DATASETS}/x")), 404, Says("HTTP 404 Not Found")),
            row("paths are exact", Call::get(format!("/opik/api/v1/private///datasets/{}", good["id"].as_str().unwrap())), 404, Says("HTTP 404 Not Found")),
            row("in every part", Call::get(format!("/opik/api/v1/privatedatasets/{}", good["id"].as_str().unwrap())), 404, Says("HTTP 404 Not Found")),
            row("methods are known", Call::get(format!("{DATASETS}/retrieve")), 405, Says("405")),
            row("bodies are JSON", dataset(json!({})).without("Content-Type"), 415, Says("415")),
            row("of a workspace", dataset(json!({})).header("Comet-Workspace", "x"), 404, Says("Workspace not found")),
        ],
    );
}

#[test]
#[rustfmt::skip] // One row a line.
fn refused_items() {
    let sandbox = Sandbox::start().unwrap();
    store(&sandbox, &put(&[item()]));
    let v4 = Uuid::new_v4();
    let future = id_at(2 * 86_400);
    let when = |source: &str, rule: &str| errors(&format!("items[1].source when it is {source}, {rule}be null"));
    let delete = |body: Value| post("items/delete", body);
    let other = json!({"dataset_name": "other", "items": [item()]});
    let elsewhere = other["items"][0]["id"].clone();
    store(&sandbox, &put_with(&[], other));
    let here = json!(sandbox.dataset_items()[0].id);
    check(
        &sandbox,
        vec![
            row("a batch has items", put(&[]), 422, errors("items size must be between 1 and 1000")),
            row("at most 1000", put(&vec![item(); 1001]), 422, errors("items size must be between 1 and 1000")),
            row("it is a list", put_with(&[], json!({"items": null})), 422, errors("items must not be null")),
            row("a dataset is named", put_with(&[item()], json!({"dataset_name": null})), 422, errors("The request body must provide either a dataset_name or a dataset_id")),
            row("with a name", put_with(&[item()], json!({"dataset_name": ""})), 422, errors("datasetName must not be blank")),
            row("that fits its column", put_with(&[item()], json!({"dataset_name": "x".repeat(256)})), 422, errors("datasetName size must be between 0 and 255")),
            row("or an id that is there", put_with(&[item()], json!({"dataset_id": id()})), 404, errors("Dataset not found")),
            row("projects are not blank", put_with(&[item()], json!({"project_name": " "})), 422, errors("projectName must not be blank")),
            row("projects with ids are there", put_with(&[item()], json!({"project_id": id()})), 404, errors("Project not found")),
            row("groups are UUIDs", put_with(&[item()], json!({"batch_group_id": "x"})), 400, Says("java.util.UUID")),
            row("copies have a version", put_with(&[item()], json!({"copy_from_dataset_id": id()})), 422, Says("must be provided together")),
            row("and are not made here", put_with(&[item()], json!({"copy_from_dataset_id": id(), "copy_from_version_id": id()})), 400, Says("does not copy")),
            row("data is there", items(json!({"data": null})), 422, errors("items[1].data must not be empty")),
            row("and not empty", items(json!({"data": {}})), 422, errors("items[1].data must not be empty")),
            row("it is an object", items(json!({"data": "text"})), 400, Says("Unable to process JSON")),
            row("sources are there", items(json!({"source": null})), 422, errors("items[1].source must not be null")),
            row("and known", items(json!({"source": "x"})), 400, Says("Unknown source 'x'")),
            row("the SDK has no span", items(json!({"span_id": id()})), 422, when("sdk", "span_id must ")),
            row("and no trace", items(json!({"trace_id": id()})), 422, when("sdk", "trace_id must ")),
            row("nor have you", items(json!({"source": "manual", "trace_id": id()})), 422, when("manual", "trace_id must ")),
            row("a span has one", items(json!({"source": "span", "trace_id": id()})), 422, when("span", "span_id must not ")),
            row("and a trace", items(json!({"source": "span", "span_id": id()})), 422, when("span", "trace_id must not ")),
            row("a trace has one", items(json!({"source": "trace"})), 422, when("trace", "trace_id must not ")),
            row("and no span", items(json!({"source": "trace", "trace_id": id(), "span_id": id()})), 422, when("trace", "span_id must ")),
            row("ids have version 7", items(json!({"id": v4})), 400, invalid_id("dataset_item id must be a version 7 UUID")),
            row("their traces', too", items(json!({"source": "trace", "trace_id": v4})), 400, invalid_id("trace id must be a version 7 UUID")),
            row("and are not of tomorrow", items(json!({"source": "trace", "trace_id": future})), 400, Says("too_far_future")),
            row("their spans', too", items(json!({"source": "span", "trace_id": id(), "span_id": v4})), 400, invalid_id("span id must be a version 7 UUID")),
            row("evaluators are a list", items(json!({"evaluators": {}})), 400, Says("EvaluatorItem")),
            row("policies are objects", items(json!({"execution_policy": []})), 400, Says("ExecutionPolicy")),
            row("tags are a list", items(json!({"tags": "x"})), 400, Says("java.util.HashSet")),
            row("they are put", put(&[item()]).method("POST"), 405, Says("405")),
            row("streams are of a dataset", stream(json!({"dataset_name": null})), 422, errors("datasetName must not be blank")),
            row("of at least one", stream(json!({"steam_limit": 0})), 422, errors("steamLimit must be greater than or equal to 1")),
            row("and at most 2000", stream(json!({"steam_limit": 2001})), 422, errors("steamLimit must be less than or equal to 2000")),
            row("without filters", stream(json!({"filters": "[{}]"})), 400, Says("The sandbox has no filter")),
            row("of a version that is there", stream(json!({"dataset_version": "none"})), 404, errors("Dataset version not found")),
            row("deleting wants ids", delete(json!({})), 422, Says("Either 'item_ids' or 'dataset_id'")),
            row("some", delete(json!({"item_ids": []})), 422, errors("itemIds size must be between 1 and 1000")),
            row("of nothing else", delete(json!({"item_ids": [id()], "dataset_id": id()})), 422, Says("Cannot provide 'dataset_id' or 'filters'")),
            row("or a dataset", delete(json!({"dataset_id": id()})), 404, errors("Dataset not found")),
            row("of one dataset", delete(json!({"item_ids": [here, elsewhere]})), 400, message(400, "Cannot operate on items across multiple datasets")),
        ],
    );
}

/// The other side of every limit.
#[test]
fn refused_only_just() {
    let sandbox = Sandbox::start().unwrap();
    let old = id_at(-400 * 86_400);
    for call in [
        items(json!({"id": null})),
        items(json!({"id": old, "data": {"x": null}})),
        items(json!({"id": id_at(400 * 86_400)})),
        items(json!({"source": "manual"})),
        items(json!({"source": "trace", "trace_id": old})),
        items(json!({"source": "span", "trace_id": old, "span_id": old})),
        put(&(0..1000).map(|_| item()).collect::<Vec<_>>()),
        put(&[item()]).gzip(),
        put(&[item()]).header("Content-Type", "application/json;charset=utf-8"),
        post("items/delete", json!({"item_ids": [id()]})),
    ] {
        store(&sandbox, &call);
    }
    let names = [
        json!({"name": "x".repeat(255), "description": "x".repeat(255)}),
        json!({"name": "y"}),
    ];
    for dataset in names {
        assert_eq!(create(&dataset).send(&sandbox).status, 201);
    }
}

#[test]
fn a_dataset_comes_back_as_it_was_sent() {
    let sandbox = Sandbox::start().unwrap();
    let sent =
        json!({"id": id(), "name": "ds", "project_name": "p", "description": "d", "tags": ["a"]});
    let reply = create(&sent).send(&sandbox);
    assert_eq!((reply.status, reply.text().as_str()), (201, ""));
    let location = format!(
        "http://{}/v1/private/datasets/{}",
        sandbox.address(),
        sent["id"].as_str().unwrap()
    );
    assert_eq!(reply.header("location"), Some(location.as_str()));
    store(&sandbox, &items(json!({})));
    let [dataset] = &sandbox.datasets()[..] else {
        panic!("one dataset")
    };
    assert_eq!(
        (
            dataset.name.as_str(),
            dataset.project_name.as_deref(),
            dataset.dataset_items_count
        ),
        ("ds", Some("p"), 2)
    );
    let by_id = Call::get(format!("{DATASETS}/{}", dataset.id))
        .send(&sandbox)
        .json();
    let by_name = post(
        "retrieve",
        json!({"dataset_name": "DS", "project_name": "P"}),
    )
    .send(&sandbox)
    .json();
    assert_eq!(by_id, by_name);
    for (name, value) in [
        ("id", &sent["id"]),
        ("description", &json!("d")),
        ("tags", &json!(["a"])),
        ("dataset_items_count", &json!(2)),
        ("experiment_count", &json!(0)),
        ("created_by", &json!("admin")),
    ] {
        assert_eq!(&by_id[name], value, "{name}");
    }
    assert_eq!(by_id.get("workspace"), None);
    let own = Call::get("/_sandbox/datasets").send(&sandbox).json();
    assert_eq!(own[0]["project_name"], "p");
    assert_eq!(
        Call::get("/_sandbox/dataset_items").send(&sandbox).json()[1]["source"],
        "sdk"
    );
    store(
        &sandbox,
        &post("delete", json!({"dataset_name": "ds", "project_name": "p"})),
    );
    assert_eq!(sandbox.datasets(), []);
}

#[test]
fn names_are_of_a_project() {
    let sandbox = Sandbox::start().unwrap();
    let make = |project: Value| {
        create(&json!({"name": "ds", "project_name": project}))
            .send(&sandbox)
            .status
    };
    assert_eq!(
        [json!("p"), Value::Null, json!("q")].map(make),
        [201, 201, 201]
    );
    assert_eq!(
        [json!(" P "), json!("Q"), Value::Null].map(make),
        [409, 409, 409]
    );
    let found = |project: Value| {
        let body = json!({"dataset_name": "ds", "project_name": project});
        let reply = post("retrieve", body).send(&sandbox);
        sandbox
            .datasets()
            .iter()
            .position(|dataset| reply.json()["id"] == json!(dataset.id))
    };
    assert_eq!((found(json!("p")), found(json!("q"))), (Some(0), Some(2)));
    // In another project there is the one of none.
    assert_eq!(
        create(&json!({"name": "x", "project_name": "r"}))
            .send(&sandbox)
            .status,
        201
    );
    assert_eq!(found(json!("r")), Some(1));
    let listed =
        |query: &str| content(&Call::get(format!("{DATASETS}?{query}")).send(&sandbox)).len();
    assert_eq!(
        (listed("name=D"), listed("name=none"), listed("")),
        (3, 0, 4)
    );
    let project = sandbox.datasets()[0].project_id.unwrap();
    assert_eq!(listed(&format!("project_id={project}")), 1);
    assert_eq!(
        (
            listed("size=3"),
            listed("size=3&page=2"),
            listed("size=3&page=3")
        ),
        (3, 1, 0)
    );
}

#[test]
fn workspaces_do_not_see_each_other() {
    let sandbox = two_workspaces();
    let send = |workspace: &str, call: Call| call.of(workspace).send(&sandbox);
    assert_eq!(send("one", put(&[item()])).status, 204);
    let Dataset { id, workspace, .. } = &sandbox.datasets()[0];
    assert_eq!(workspace, "one");
    let by_id = || Call::get(format!("{DATASETS}/{id}"));
    assert_eq!(
        (send("one", by_id()).status, send("two", by_id()).status),
        (200, 404)
    );
    assert_eq!(send("one", stream(json!({}))).lines().len(), 1);
    assert_eq!(send("two", stream(json!({}))).lines().len(), 0);
    assert_eq!(send("two", put(&[item()])).status, 204);
    assert_eq!(sandbox.datasets().len(), 2);
    let foreign = json!({"item_ids": [sandbox.dataset_items()[0].id]});
    assert_eq!(send("two", post("items/delete", foreign)).status, 204);
    assert_eq!(sandbox.dataset_items().len(), 2);
}

#[test]
fn items_are_replaced_by_id_within_their_dataset() {
    let sandbox = Sandbox::start().unwrap();
    let first = item();
    let full = with(
        item(),
        json!({"source": "span", "trace_id": id(), "span_id": id(), "description": "d", "tags": ["t"],
            "evaluators": [{"name": "e", "type": "llm_judge", "config": {"a": 1}}],
            "execution_policy": {"runs_per_item": 2, "pass_threshold": 1}}),
    );
    store(&sandbox, &put(&[first, full.clone()]));
    let shown = &stream(json!({})).send(&sandbox).lines()[0];
    for (name, value) in full.as_object().unwrap() {
        assert_eq!(&shown[name], value, "{name}");
    }
    let dataset = sandbox.datasets()[0].id;
    assert_eq!(
        (&shown["dataset_id"], &shown["dataset_item_id"]),
        (&json!(dataset), &full["id"])
    );
    let newer = with(item(), json!({"id": full["id"], "data": {"new": true}}));
    store(
        &sandbox,
        &put_with(
            &[newer],
            json!({"dataset_name": null, "dataset_id": dataset}),
        ),
    );
    let kept = sandbox.dataset_items();
    assert_eq!(kept.len(), 2);
    assert_eq!(
        (&kept[1].data, &kept[1].description, kept[1].trace_id),
        (&json!({"new": true}), &None, None)
    );
    assert!(kept[1].created_at < kept[1].last_updated_at);
    // The same id in another dataset is another item.
    store(
        &sandbox,
        &put_with(&[full], json!({"dataset_name": "other"})),
    );
    assert_eq!(
        (sandbox.dataset_items().len(), sandbox.datasets().len()),
        (3, 2)
    );
}

#[test]
fn items_are_read_newest_first() {
    let sandbox = Sandbox::start().unwrap();
    let sent: Vec<Value> = (0..25).map(|_| item()).collect();
    store(&sandbox, &put(&sent[..10]));
    store(&sandbox, &put(&sent[10..]));
    let mut newest_first = ids_in(&sent);
    newest_first.reverse();
    let page = |last: Option<Uuid>| {
        let lines = stream(json!({"steam_limit": 10, "last_retrieved_id": last}))
            .send(&sandbox)
            .lines();
        ids_in(&lines)
    };
    let (first, second) = (page(None), page(Some(newest_first[9])));
    assert_eq!(
        (&first[..], &second[..]),
        (&newest_first[..10], &newest_first[10..20])
    );
    assert_eq!(page(Some(newest_first[19])), newest_first[20..]);
    assert!(page(Some(newest_first[24])).is_empty());
    assert_eq!(
        stream(json!({"dataset_name": "none"}))
            .send(&sandbox)
            .lines()
            .len(),
        0
    );
    assert_eq!(
        stream(json!({"project_name": "none"}))
            .send(&sandbox)
            .lines()
            .len(),
        0
    );
    let dataset = sandbox.datasets()[0].id;
    let list =
        |query: &str| Call::get(format!("{DATASETS}/{dataset}/items?{query}")).send(&sandbox);
    assert_eq!(ids_in(&content(&list(""))), newest_first[..10]);
    assert_eq!(
        ids_in(&content(&list("page=3&size=10"))),
        newest_first[20..]
    );
    assert_eq!(
        (
            &list("page=9").json()["total"],
            content(&list("page=9")).len()
        ),
        (&json!(25), 0)
    );
    // Some are deleted, then all.
    store(
        &sandbox,
        &post("items/delete", json!({"item_ids": newest_first[..5]})),
    );
    assert_eq!(ids_in(&content(&list("size=100"))), newest_first[5..]);
    store(
        &sandbox,
        &post("items/delete", json!({"dataset_id": dataset})),
    );
    assert_eq!(sandbox.dataset_items(), []);
}

#[test]
fn a_group_of_writes_is_a_version() {
    let sandbox = Sandbox::start().unwrap();
    let group = id();
    store(&sandbox, &put(&[item()]));
    store(&sandbox, &put(&[item()]));
    for _ in 0..2 {
        store(
            &sandbox,
            &put_with(&[item()], json!({"batch_group_id": group})),
        );
    }
    let dataset = sandbox.datasets()[0].id;
    let versions =
        content(&Call::get(format!("{DATASETS}/{dataset}/versions?page=1&size=5")).send(&sandbox));
    let names: Vec<_> = versions
        .iter()
        .map(|version| &version["version_name"])
        .collect();
    assert_eq!(names, ["v2", "v1"]);
    assert_eq!(
        (&versions[0]["is_latest"], &versions[0]["items_total"]),
        (&json!(true), &json!(4))
    );
    let retrieve = |name: &str| {
        post(
            &format!("{dataset}/versions/retrieve"),
            json!({"version_name": name}),
        )
        .send(&sandbox)
    };
    assert_eq!(retrieve("v1").json(), versions[1]);
    let (latest, first) = (&versions[0]["version_hash"], &versions[1]["version_hash"]);
    assert_eq!(
        stream(json!({"dataset_version": latest}))
            .send(&sandbox)
            .lines()
            .len(),
        4
    );
    assert_eq!(
        stream(json!({"dataset_version": "latest"}))
            .send(&sandbox)
            .lines()
            .len(),
        4
    );
    let old = stream(json!({"dataset_version": first})).send(&sandbox);
    assert_eq!(old.status, 400, "what it had is not kept");
    let path = format!("{DATASETS}/{dataset}/items?version=");
    assert_eq!(
        Call::get(format!("{path}{}", latest.as_str().unwrap()))
            .send(&sandbox)
            .status,
        200
    );
    assert_eq!(
        Call::get(format!("{path}{}", first.as_str().unwrap()))
            .send(&sandbox)
            .status,
        400
    );
}

#[test]
fn the_newest_stay() {
    let sandbox = Sandbox::builder().with_max_calls(10).start().unwrap();
    let sent: Vec<Value> = (0..25).map(|_| item()).collect();
    store(&sandbox, &put(&sent));
    let kept: Vec<Uuid> = sandbox.dataset_items().iter().map(|item| item.id).collect();
    assert_eq!(kept, ids_in(&sent[15..]));
    for name in 0..25 {
        assert_eq!(
            create(&json!({"name": name.to_string()}))
                .send(&sandbox)
                .status,
            201
        );
    }
    let names: Vec<String> = sandbox
        .datasets()
        .into_iter()
        .map(|dataset| dataset.name)
        .collect();
    assert_eq!(
        names,
        (15..25).map(|name| name.to_string()).collect::<Vec<_>>()
    );
    sandbox.clear();
    assert_eq!(
        (sandbox.datasets().len(), sandbox.dataset_items().len()),
        (0, 0)
    );
}
