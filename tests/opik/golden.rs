//! What is sent agrees with recorded traffic of Opik's own Python client, field by field.

use beluga_o11y_opik::{DatasetItem, FeedbackScore, OpikAuthorization};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    scripted::{Asked, Scripted},
    *,
};

const PYTHON: &str =
    include_str!("../../crates/beluga-o11y-sandbox/tests/golden/opik-python-sdk-2.2.122.jsonl");
/// The headers that Opik reads. What it unpacks, and what it makes of `charset=utf-8`, does not matter here.
const HEADERS: [&str; 3] = ["authorization", "comet-workspace", "content-type"];

fn golden(method: &str, path: &str) -> Value {
    let lines = PYTHON.lines().filter(|line| !line.is_empty());
    let mut requests = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let path = format!("/api/v1/private{path}");
    requests
        .find(|request| request["method"] == method && request["path"] == *path)
        .unwrap()
}

fn header<'a>(golden: &'a Value, name: &str) -> Option<&'a str> {
    let headers = golden["headers"].as_object().unwrap();
    let header = headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    header.and_then(|(_, value)| value.as_str()?.split(';').next())
}

/// Why a field differs.
enum Allowed {
    /// Either client makes an id of its own, of version 7.
    OwnId,
    /// Sent by us only.
    More,
}

type Difference = (&'static str, Allowed);

/// Compares a request with the client's own. What that client sends as null may be absent: Opik reads both as nothing.
fn agree(ours: &Asked, method: &str, path: &str, differences: &[Difference]) {
    let golden = golden(method, path);
    assert!(ours.is(method, path), "{} {}", ours.method, ours.path);
    for name in HEADERS {
        assert_eq!(ours.header(name), header(&golden, name), "{name}");
    }
    same(&ours.body, &golden["body"], "", differences);
    for (field, _) in differences {
        assert!(
            mentions(&ours.body, "", field),
            "{field} is no difference any more"
        );
    }
}

fn mentions(value: &Value, at: &str, field: &str) -> bool {
    at == field
        || match value {
            Value::Object(fields) => fields
                .iter()
                .any(|(name, value)| mentions(value, &format!("{at}.{name}"), field)),
            Value::Array(values) => values
                .iter()
                .any(|value| mentions(value, &format!("{at}[]"), field)),
            _ => false,
        }
}

fn same(ours: &Value, golden: &Value, at: &str, differences: &[Difference]) {
    let difference = differences.iter().find(|(field, _)| *field == at);
    match (difference.map(|(_, allowed)| allowed), ours, golden) {
        (Some(Allowed::OwnId), ours, golden) => {
            for id in [ours, golden] {
                let id: Uuid = id.as_str().unwrap().parse().unwrap();
                assert_eq!(id.get_version_num(), 7, "{at}");
            }
        }
        (Some(Allowed::More), _, golden) => {
            assert!(golden.is_null(), "{at}: the client sends it now")
        }
        (None, Value::Object(ours), Value::Object(golden)) => {
            let names: Map<String, Value> =
                ours.clone().into_iter().chain(golden.clone()).collect();
            for name in names.keys() {
                let (one, other) = (ours.get(name), golden.get(name));
                let null = &Value::Null;
                same(
                    one.unwrap_or(null),
                    other.unwrap_or(null),
                    &format!("{at}.{name}"),
                    differences,
                );
            }
        }
        (None, Value::Array(ours), Value::Array(golden)) => {
            assert_eq!(ours.len(), golden.len(), "{at}");
            for (one, other) in ours.iter().zip(golden) {
                same(one, other, &format!("{at}[]"), differences);
            }
        }
        (None, ours, golden) => assert_eq!(ours, golden, "{at}"),
    }
}

fn id(value: &Value) -> Uuid {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn our_requests_are_those_of_the_python_client() {
    let server = Scripted::start(|_| None).await;
    let opik = server
        .builder()
        .with_api_key("KEY123")
        // Otherwise `Bearer KEY123` is tried first, which gateways want.
        .with_authorization(OpikAuthorization::Bare)
        .with_workspace("default")
        .with_project("beluga-demo")
        .build()
        .unwrap();

    let dataset = opik.create_dataset("beluga-ds").await.unwrap();
    let [asked] = server.asked_of("POST", "/datasets").try_into().unwrap();
    // Tells our own 409 from that of somebody else's dataset.
    agree(&asked, "POST", "/datasets", &[(".id", Allowed::More)]);

    let item = &golden("PUT", "/datasets/items")["body"]["items"][0];
    let item = DatasetItem::new(&item["data"]).with_id(id(&item["id"]));
    dataset
        .insert([item.clone()])
        .await
        .unwrap()
        .into_result()
        .unwrap();
    let [asked] = server
        .asked_of("PUT", "/datasets/items")
        .try_into()
        .unwrap();
    agree(
        &asked,
        "PUT",
        "/datasets/items",
        &[
            (".batch_group_id", Allowed::OwnId),
            // By its name alone Opik would make a dataset that was deleted meanwhile anew.
            (".dataset_id", Allowed::More),
        ],
    );

    let experiment = dataset.create_experiment("exp-1").await.unwrap();
    let [asked] = server.asked_of("POST", "/experiments").try_into().unwrap();
    agree(&asked, "POST", "/experiments", &[(".id", Allowed::OwnId)]);
    assert_eq!(asked.body["id"], json!(experiment.id()));

    let link = &golden("POST", "/experiments/items")["body"]["experiment_items"][0];
    let link = (id(&link["dataset_item_id"]), id(&link["trace_id"]));
    experiment
        .link([link])
        .await
        .unwrap()
        .into_result()
        .unwrap();
    let [asked] = server
        .asked_of("POST", "/experiments/items")
        .try_into()
        .unwrap();
    let differences = [
        (".experiment_items[].id", Allowed::OwnId),
        (".experiment_items[].experiment_id", Allowed::OwnId),
        // Without it Opik does not find a link by project that comes before its trace.
        (".experiment_items[].project_name", Allowed::More),
    ];
    agree(&asked, "POST", "/experiments/items", &differences);
    assert_eq!(
        asked.list("experiment_items")[0]["experiment_id"],
        json!(experiment.id())
    );
    assert_eq!(
        asked.list("experiment_items")[0]["project_name"],
        "beluga-demo"
    );

    let scores = [
        (link.1, FeedbackScore::new("quality", 0.9).with_reason("ok")),
        (link.1, FeedbackScore::new("batch", 1.0)),
    ];
    opik.score_traces(scores.clone())
        .await
        .unwrap()
        .into_result()
        .unwrap();
    let [asked] = server
        .asked_of("PUT", "/traces/feedback-scores")
        .try_into()
        .unwrap();
    agree(&asked, "PUT", "/traces/feedback-scores", &[]);
    opik.score_spans(scores)
        .await
        .unwrap()
        .into_result()
        .unwrap();
    let [spans] = server
        .asked_of("PUT", "/spans/feedback-scores")
        .try_into()
        .unwrap();
    assert_eq!(spans.body, asked.body);
}

/// Recorded of the same client, with another project: reading a dataset, and looking for an experiment.
#[tokio::test]
async fn our_questions_are_those_of_the_python_client() {
    let server = Scripted::start(|_| None).await;
    let opik = server.builder().with_project("official").build().unwrap();
    let dataset = opik.dataset("ds-a").await.unwrap();
    dataset.experiment("exp-x").await.unwrap_err();
    dataset.all_items().await.unwrap();
    // Pages of a quarter of its size: a dataset's items may be large.
    for (path, python) in [
        (
            "/datasets/retrieve",
            json!({"dataset_name": "ds-a", "project_name": "official"}),
        ),
        (
            "/datasets/items/stream",
            json!({
                "dataset_name": "ds-a", "last_retrieved_id": null, "steam_limit": 2000 / 4, "dataset_version": null,
                "project_name": "official", "filters": null,
            }),
        ),
        (
            "/experiments/stream",
            json!({
                "name": "exp-x", "limit": 2000, "last_retrieved_id": null, "project_name": "official",
            }),
        ),
    ] {
        let all = server.asked_of("POST", path);
        assert!(!all.is_empty(), "{path}");
        for asked in all {
            same(&asked.body, &python, "", &[]);
        }
    }
}
