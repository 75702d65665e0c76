//! Datasets: what is asked of the server, and what becomes of bad items, lost answers and broken streams.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
};

use beluga_o11y::ExportErrorKind;
use beluga_o11y_opik::{DatasetItem, FeedbackScore, OpikDataset, OpikError};
use beluga_o11y_sandbox::Fault;
use chrono::Utc;
use futures_util::{TryStreamExt, future::join_all};
use serde_json::Value;
use uuid::Uuid;

use super::{
    scripted::{Asked, DATASET, Scripted, http, raw, reply},
    *,
};

const ITEMS: &str = "/datasets/items";
const STREAM: &str = "/datasets/items/stream";

fn question(number: usize) -> DatasetItem {
    DatasetItem::new(json!({"n": number, "question": format!("question {number}")}))
}

fn questions(count: usize) -> Vec<DatasetItem> {
    (0..count).map(question).collect()
}

fn numbers(items: &[DatasetItem]) -> Vec<u64> {
    items
        .iter()
        .map(|item| item["n"].as_u64().unwrap())
        .collect()
}

fn millis(id: Uuid) -> u64 {
    u64::try_from(id.as_u128() >> 80).unwrap()
}

fn now() -> u64 {
    u64::try_from(Utc::now().timestamp_millis()).unwrap()
}

fn v7(millis: u64) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(
        millis,
        &Uuid::new_v4().as_bytes()[..10].try_into().unwrap(),
    )
    .into_uuid()
}

/// The requests of a sandbox to this path.
fn requests_to(sandbox: &Sandbox, method: &str, path: &str) -> Vec<Request> {
    let mut requests = sandbox.requests();
    let path = format!("/opik/api/v1/private{path}");
    requests.retain(|request| request.method == method && request.path == path);
    requests
}

async fn dataset(sandbox: &Sandbox) -> OpikDataset {
    exporter(sandbox).create_dataset("capitals").await.unwrap()
}

#[tokio::test]
async fn a_dataset_is_created_and_found_again() {
    let sandbox = sandbox();
    let opik = builder(&sandbox).with_project("demo").build().unwrap();
    let created = opik.create_dataset("  capitals ").await.unwrap();
    let [stored] = sandbox.datasets().try_into().unwrap();
    assert_eq!(
        (stored.id, stored.name.as_str()),
        (created.id(), "capitals")
    );
    assert_eq!(stored.project_name.as_deref(), Some("demo"));
    assert_eq!(created.name(), "capitals");

    let error = opik.create_dataset("capitals").await.unwrap_err();
    assert!(
        matches!(&error, OpikError::DatasetExists { name } if name == "capitals"),
        "{error}"
    );
    assert_eq!(error.kind(), ExportErrorKind::Rejected);
    assert_eq!(opik.dataset(" capitals").await.unwrap().id(), created.id());
    let got = opik.get_or_create_dataset("capitals").await.unwrap();
    assert_eq!(got.id(), created.id());
    let error = opik.dataset("rivers").await.unwrap_err();
    assert!(
        matches!(&error, OpikError::DatasetNotFound { name } if name == "rivers"),
        "{error}"
    );
    assert_eq!(sandbox.datasets().len(), 1);
    let rivers = opik.get_or_create_dataset("rivers").await.unwrap();
    assert_eq!(sandbox.datasets()[1].id, rivers.id());
}

#[tokio::test]
async fn a_dataset_whose_answer_was_lost_is_ours() {
    let sandbox = sandbox();
    sandbox.inject(Fault::lost_answer().on("/v1/private/datasets"));
    let created = exporter(&sandbox).create_dataset("capitals").await.unwrap();
    let [stored] = sandbox.datasets().try_into().unwrap();
    assert_eq!(stored.id, created.id());
    let sent = requests_to(&sandbox, "POST", "/datasets");
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].body, sent[1].body);
    assert_eq!(sent[1].status, Some(409));
}

#[tokio::test]
async fn many_create_one_dataset() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let got = join_all((0..8).map(|_| opik.get_or_create_dataset("capitals"))).await;
    let ids: BTreeSet<Uuid> = got.into_iter().map(|got| got.unwrap().id()).collect();
    let [stored] = sandbox.datasets().try_into().unwrap();
    assert_eq!(ids, BTreeSet::from([stored.id]));

    // One that somebody else creates between the question and the creation.
    let asked = AtomicUsize::new(0);
    let server = Scripted::start(move |request| {
        if request.is("POST", "/datasets/retrieve") && asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return Some(reply(404).json(&json!({"errors": ["Dataset not found"]})));
        }
        let create = request.is("POST", "/datasets");
        create.then(|| reply(409).json(&json!({"errors": ["Dataset already exists"]})))
    })
    .await;
    let got = server.exporter().get_or_create_dataset("capitals").await;
    assert_eq!(got.unwrap().id(), DATASET);
}

#[tokio::test]
async fn a_name_is_checked_before_anything_is_asked() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let long = "ü".repeat(256);
    for (name, blank) in [("", true), (" \t\n", true), (long.as_str(), false)] {
        for error in [
            opik.create_dataset(name).await.unwrap_err(),
            opik.dataset(name).await.unwrap_err(),
            opik.get_or_create_dataset(name).await.unwrap_err(),
        ] {
            if blank {
                assert!(
                    matches!(error, OpikError::BlankName { of: "dataset" }),
                    "{error}"
                );
            } else {
                let (length, limit) = (256, 255);
                assert!(
                    matches!(error, OpikError::NameTooLong { of: "dataset", length: l, limit: m } if (l, m) == (length, limit)),
                    "{error}"
                );
            }
        }
    }
    assert_eq!(sandbox.request_count(), 0);
    let longest = "ü".repeat(255);
    let padded = format!("  {longest}  ");
    assert_eq!(opik.create_dataset(&padded).await.unwrap().name(), longest);
}

#[tokio::test]
async fn only_opik_says_that_there_is_none() {
    for (status, content_type, body) in [
        (404, "text/html", "<html>nginx</html>"),
        (404, "text/plain", ""),
        (
            404,
            "application/json",
            r#"{"code":404,"message":"Workspace not found"}"#,
        ),
        (401, "application/json", "{}"),
        (200, "text/html", "<html>log in</html>"),
    ] {
        let server = Scripted::start(move |_| {
            Some(
                reply(status)
                    .header("content-type", content_type)
                    .body(body),
            )
        })
        .await;
        let error = server.exporter().get_or_create_dataset("x").await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, OpikError::Failed { .. }),
            "{status} {body}: {error:?}"
        );
        assert_eq!(error.kind(), ExportErrorKind::Destination, "{error}");
        assert_eq!(server.asked().len(), 1);
    }
    let server = Scripted::start(|_| Some(reply(200).json(&json!({"name": "x"})))).await;
    let error = server.exporter().dataset("x").await.unwrap_err();
    assert!(matches!(error, OpikError::NotOpik { .. }), "{error}");
}

#[tokio::test]
async fn the_same_content_is_stored_once() {
    let sandbox = sandbox();
    let dataset = dataset(&sandbox).await;
    let before = now();
    let item = |text: &str| DatasetItem::new(serde_json::from_str::<Value>(text).unwrap());
    let one = || item(r#"{"question":"one","more":{"a":1,"b":[1,2]}}"#);
    let other_order = || item(r#"{"more":{"b":[1,2],"a":1},"question":"one"}"#);
    let two = || item(r#"{"question":"two"}"#);

    let report = dataset.insert([one(), two(), other_order(), two()]).await;
    let report = report.unwrap();
    assert_eq!((report.stored, report.unchanged), (2, 2));
    assert!(report.failures.is_empty());
    let stored = sandbox.dataset_items();
    assert_eq!(stored.len(), 2);
    assert!(stored[0].id < stored[1].id);
    assert_eq!(stored[0].data["question"], "one");
    for item in &stored {
        assert_eq!(item.id.get_version_num(), 7);
        assert_eq!(item.source, "sdk");
        let time = millis(item.id);
        assert!(time <= before && before - time < 24 * 3_600_000, "{time}");
    }

    let puts = requests_to(&sandbox, "PUT", ITEMS).len();
    let report = dataset.insert([two(), other_order()]).await.unwrap();
    assert_eq!((report.stored, report.unchanged), (0, 2));
    assert_eq!(
        requests_to(&sandbox, "PUT", ITEMS).len(),
        puts,
        "nothing to send"
    );

    let report = dataset.insert([two(), question(3), one()]).await.unwrap();
    assert_eq!((report.stored, report.unchanged), (1, 2));
    let all = dataset.all_items().await.unwrap();
    assert_eq!(all[2]["n"], 3);
    assert_eq!(all.len(), 3);
}

#[tokio::test]
async fn two_at_once_give_the_same_ids() {
    let server = Scripted::start(|_| None).await;
    let (one, other) = (server.dataset().await, server.dataset().await);
    one.insert(questions(3))
        .await
        .unwrap()
        .into_result()
        .unwrap();
    other
        .insert(questions(3))
        .await
        .unwrap()
        .into_result()
        .unwrap();
    let ids: Vec<Vec<Value>> = server
        .asked_of("PUT", ITEMS)
        .iter()
        .map(|put| {
            put.list("items")
                .iter()
                .map(|item| item["id"].clone())
                .collect()
        })
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(
        ids[0]
            .iter()
            .map(Value::to_string)
            .collect::<BTreeSet<_>>()
            .len(),
        3
    );

    let sandbox = sandbox();
    let dataset = dataset(&sandbox).await;
    let inserted = join_all((0..3).map(|_| dataset.insert(questions(50)))).await;
    assert!(inserted.iter().all(Result::is_ok));
    assert_eq!(sandbox.dataset_items().len(), 50);
}

#[tokio::test]
async fn an_insertion_that_broke_off_goes_on() {
    let sandbox = sandbox();
    let dataset = dataset(&sandbox).await;
    // The stream, the first thousand, then no more.
    sandbox.inject(Fault::status(401).on("/datasets/items").after(2));
    let error = dataset.insert(questions(1_500)).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Destination, "{error}");
    assert_eq!(sandbox.dataset_items().len(), 1_000);
    let report = dataset.insert(questions(1_500)).await.unwrap();
    assert_eq!((report.stored, report.unchanged), (500, 1_000));
    let expected: Vec<u64> = (0..1_500).collect();
    assert_eq!(numbers(&dataset.all_items().await.unwrap()), expected);

    // The answer is lost, and the server shows nothing of it yet: the same ids.
    let lost = super::sandbox();
    let dataset = self::dataset(&lost).await;
    lost.inject(Fault::lost_answer().on("/datasets/items").after(1));
    lost.inject(
        Fault::status(200)
            .with_body("\r\n")
            .with_header("content-type", "text/plain")
            .on(STREAM)
            .times(2),
    );
    dataset
        .insert(questions(10))
        .await
        .unwrap()
        .into_result()
        .unwrap();
    dataset
        .insert(questions(10))
        .await
        .unwrap()
        .into_result()
        .unwrap();
    assert_eq!(lost.dataset_items().len(), 10);
}

#[tokio::test]
async fn an_old_item_is_not_inserted_again() {
    let old = v7(now() - 36 * 3_600_000);
    let line = json!({"id": old, "source": "sdk", "data": {"question": "question 1", "n": 1}});
    let server = Scripted::start(move |asked| {
        first_page(asked).then(|| reply(200).body(format!("{line}\r\n")))
    })
    .await;
    let dataset = server.dataset().await;
    let report = dataset.insert([question(1), question(2)]).await.unwrap();
    assert_eq!((report.stored, report.unchanged), (1, 1));
    let [put] = server.asked_of("PUT", ITEMS).try_into().unwrap();
    assert_eq!(put.list("items")[0]["data"]["n"], 2);
}

#[tokio::test]
async fn an_item_with_an_id_replaces() {
    let sandbox = sandbox();
    let dataset = dataset(&sandbox).await;
    let id = Uuid::now_v7();
    let v4 = Uuid::new_v4();
    let items = [question(1).with_id(id), question(2).with_id(v4)];
    let report = dataset.insert(items).await.unwrap();
    assert_eq!((report.stored, report.unchanged), (1, 0));
    let [failure] = report.failures.try_into().unwrap();
    assert_eq!(failure.index, 1);
    assert!(
        matches!(failure.error, OpikError::IdNotVersion7 { of: "dataset item", id } if id == v4),
        "{}",
        failure.error
    );
    let report = dataset.insert([question(1).with_id(id)]).await.unwrap();
    assert_eq!((report.stored, report.unchanged), (0, 1));

    // The content that was replaced is not there any more.
    let items = [question(3).with_id(id), question(1)];
    let report = dataset.insert(items).await.unwrap();
    assert_eq!((report.stored, report.unchanged), (2, 0));
    let mut all = dataset.all_items().await.unwrap();
    all.sort_by_key(|item| item["n"].as_u64());
    assert_eq!(numbers(&all), [1, 3]);
    assert_eq!(all[1].id(), Some(id));
    // Same content under an id of its own is an item of its own.
    let report = dataset
        .insert([question(3).with_id(Uuid::now_v7())])
        .await
        .unwrap();
    assert_eq!((report.stored, sandbox.dataset_items().len()), (1, 3));
}

#[tokio::test]
async fn a_bad_item_costs_no_other() {
    let sandbox = sandbox();
    let opik = builder(&sandbox)
        .with_max_record_bytes(1_000)
        .build()
        .unwrap();
    let dataset = opik.create_dataset("capitals").await.unwrap();
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let report = dataset
        .insert([
            question(0),
            DatasetItem::new(json!({})),
            DatasetItem::new(json!(null)),
            DatasetItem::new(json!(["canary"])),
            DatasetItem::new(json!({"canary": deep})),
            DatasetItem::new(json!({"text": "canary".repeat(200)})),
            DatasetItem::new(std::collections::BTreeMap::from([(("canary", 1), 1)])),
            question(1),
        ])
        .await
        .unwrap();
    assert_eq!((report.stored, report.unchanged), (2, 0));
    assert!(!format!("{report:?}").contains("canary"));
    let mut kinds = Vec::new();
    for failure in report.failures {
        assert!(
            !failure.error.to_string().contains("canary"),
            "{}",
            failure.error
        );
        kinds.push((
            failure.index,
            match failure.error {
                OpikError::ItemWithoutData => "no data",
                OpikError::ItemNotAnObject { found } => found,
                OpikError::ItemContent(_) => "content",
                OpikError::ItemTooLarge {
                    bytes: 1_200..,
                    limit: 1_000,
                } => "large",
                _ => "?",
            },
        ));
    }
    let expected = [
        "no data", "no data", "an array", "content", "large", "content",
    ];
    let expected: Vec<_> = (1..).zip(expected).collect();
    assert_eq!(kinds, expected);
    assert_eq!(numbers(&dataset.all_items().await.unwrap()), [0, 1]);
}

#[tokio::test]
async fn many_items_are_one_version_in_a_few_requests() {
    let sandbox = sandbox();
    let dataset = dataset(&sandbox).await;
    let report = dataset.insert(questions(2_500)).await.unwrap();
    assert_eq!((report.stored, report.failures.len()), (2_500, 0));
    dataset
        .insert([question(2_500)])
        .await
        .unwrap()
        .into_result()
        .unwrap();
    let puts = requests_to(&sandbox, "PUT", ITEMS);
    let sizes: Vec<_> = puts
        .iter()
        .map(|put| put.body["items"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [1_000, 1_000, 500, 1]);
    let groups: Vec<Uuid> = puts
        .iter()
        .map(|put| {
            put.body["batch_group_id"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    assert_eq!(groups[0].get_version_num(), 7);
    assert!(groups[0] == groups[1] && groups[1] == groups[2] && groups[2] != groups[3]);
    let all = numbers(&dataset.all_items().await.unwrap());
    assert_eq!(all, (0..=2_500).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_item_that_opik_refuses_is_found() {
    let bad = |request: &Asked| {
        let items = request.list("items");
        items.iter().any(|item| item["data"]["n"] == 1_234)
    };
    let server = Scripted::start(move |request| {
        let refused = request.is("PUT", ITEMS) && bad(request);
        refused.then(|| reply(422).json(&json!({"errors": ["items[234].data canary"]})))
    })
    .await;
    let dataset = server.dataset().await;
    // The places are those in the caller's list, with what is not sent.
    let mut items = questions(2_500);
    items.insert(0, DatasetItem::new(json!({})));
    items.insert(1, question(0));
    let report = dataset.insert(items).await.unwrap();
    assert_eq!((report.stored, report.unchanged), (2_499, 1));
    let places: Vec<_> = report
        .failures
        .iter()
        .map(|failure| failure.index)
        .collect();
    assert_eq!(places, [0, 1_236]);
    let error = &report.failures[1].error;
    assert_eq!(error.kind(), ExportErrorKind::Rejected);
    assert!(
        error.to_string().starts_with("opik: dataset: 422 "),
        "{error}"
    );
    assert!(
        !format!("{error} {error:?}").contains("canary"),
        "{error:?}"
    );
    let mut stored: Vec<u64> = server
        .asked_of("PUT", ITEMS)
        .iter()
        .filter(|put| !bad(put))
        .flat_map(|put| put.list("items"))
        .map(|item| item["data"]["n"].as_u64().unwrap())
        .collect();
    stored.sort_unstable();
    assert_eq!(
        stored,
        (0..2_500).filter(|n| *n != 1_234).collect::<Vec<_>>()
    );
    assert!(matches!(
        report.into_result(),
        Err(OpikError::ItemWithoutData)
    ));
}

#[tokio::test]
async fn items_are_listed_in_pages() {
    // The last page is an empty one.
    for (count, pages) in [(0, 1), (1, 2), (499, 2), (500, 2), (501, 3), (1_200, 4)] {
        let sandbox = sandbox();
        let dataset = dataset(&sandbox).await;
        dataset
            .insert(questions(count))
            .await
            .unwrap()
            .into_result()
            .unwrap();
        let before = requests_to(&sandbox, "POST", STREAM).len();
        let all = dataset.all_items().await.unwrap();
        assert_eq!(numbers(&all), (0..count as u64).collect::<Vec<_>>());
        assert!(all.iter().all(|item| item.id().is_some()));
        let asked = &requests_to(&sandbox, "POST", STREAM)[before..];
        assert_eq!(asked.len(), pages, "{count}");
        for (page, asked) in asked.iter().enumerate() {
            assert_eq!(asked.body["steam_limit"], 500);
            let after = all.get(count.saturating_sub(500 * page));
            let after = after.filter(|_| page > 0).and_then(DatasetItem::id);
            assert_eq!(
                asked.body["last_retrieved_id"],
                json!(after),
                "{count} {page}"
            );
        }
        if count == 1_200 {
            let before = requests_to(&sandbox, "POST", STREAM).len();
            let newest = dataset.items().try_next().await.unwrap().unwrap();
            assert_eq!(newest["n"], 1_199);
            assert_eq!(requests_to(&sandbox, "POST", STREAM).len(), before + 1);
        }
    }
}

fn line(number: u64) -> String {
    let id = v7(1_700_000_000_000 + number);
    json!({"id": id, "source": "sdk", "data": {"n": number}, "tags": null}).to_string()
}

fn first_page(asked: &Asked) -> bool {
    asked.is("POST", STREAM) && asked.body["last_retrieved_id"].is_null()
}

async fn listed(answers: Vec<String>) -> (Result<Vec<u64>, OpikError>, Vec<Asked>) {
    let found = json!({"id": DATASET, "name": "capitals"}).to_string();
    let mut all = vec![http(found.len(), &found)];
    all.extend(answers);
    let (url, asked) = raw(all);
    let opik = OpikExporter::builder().with_base_url(url).build().unwrap();
    let dataset = opik.dataset("capitals").await.unwrap();
    let mut numbers = Vec::new();
    let mut items = dataset.items();
    let listed = loop {
        match items.try_next().await {
            Ok(Some(item)) => numbers.push(item["n"].as_u64().unwrap()),
            Ok(None) => break Ok(numbers),
            Err(error) => break Err(error),
        }
    };
    let asked = asked.lock().unwrap()[1..].to_vec();
    (listed, asked)
}

#[tokio::test]
async fn a_stream_that_breaks_off_goes_on_after_the_last_whole_line() {
    let (three, rest) = (line(7), line(5));
    let broken = format!(
        "{}\r\n{}\r\n{three}\r\n{}",
        line(9),
        line(8),
        &line(6)[..20]
    );
    let whole = format!("{}\r\n{rest}", line(6));
    let (listed, asked) = listed(vec![
        http(100_000, &broken),
        http(whole.len(), &whole),
        http(0, ""),
    ])
    .await;
    assert_eq!(listed.unwrap(), [9, 8, 7, 6, 5]);
    assert_eq!(asked[0].body["last_retrieved_id"], json!(null));
    let last: Value = serde_json::from_str(&three).unwrap();
    assert_eq!(asked[1].body["last_retrieved_id"], last["id"]);

    let nothing = http(100_000, &line(6)[..20]);
    let (listed, asked) =
        self::listed(vec![nothing.clone(), nothing.clone(), nothing.clone()]).await;
    let error = listed.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary, "{error}");
    assert_eq!(
        error.to_string(),
        "opik: dataset: the answer broke off; try again"
    );
    assert_eq!(asked.len(), 3);
    let one = line(6);
    let answers = vec![nothing.clone(), nothing, http(one.len(), &one), http(0, "")];
    assert_eq!(self::listed(answers).await.0.unwrap(), [6]);

    // A line that looks whole and is not known to be.
    let (listed, _) = self::listed(vec![
        http(100_000, &format!("{}\n{}", line(9), line(8))),
        http(0, ""),
    ])
    .await;
    assert_eq!(listed.unwrap(), [9]);
}

#[tokio::test]
async fn a_server_without_pages_does_not_keep_one_for_ever() {
    let page: String = (0..500).rev().map(|n| line(n) + "\r\n").collect();
    let server = Scripted::start(move |asked| {
        let stream = asked.is("POST", STREAM);
        stream.then(|| reply(200).body(page.clone()))
    })
    .await;
    let dataset = server.dataset().await;
    let all = tokio::time::timeout(Duration::from_secs(20), dataset.all_items()).await;
    let error = all.expect("pages for ever").unwrap_err();
    assert!(matches!(error, OpikError::NotOpik { .. }), "{error}");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn what_a_stream_may_look_like() {
    let (one, two) = (line(2), line(1));
    for (body, expected) in [
        (format!("{one}\r\n{two}\r\n"), Some(2)),
        (format!("{one}\n\n{two}"), Some(2)),
        (format!("{one}\r\n\r\n"), Some(1)),
        (
            "{\"id\":\"01a2053e-d7e5-7c63-a7ee-bd5a764f8e70\",\"data\":null}".to_owned(),
            Some(1),
        ),
        (
            // Opik's own word that it broke off: what follows is asked for.
            format!("{one}\r\n{{\"code\":500,\"message\":\"Streaming operation timed out\"}}\r\n"),
            Some(1),
        ),
        (format!("{one}\r\ncanary"), None),
    ] {
        let answer = body.clone();
        let server = Scripted::start(move |asked| {
            first_page(asked).then(|| reply(200).body(answer.clone()))
        })
        .await;
        let items = server.dataset().await.all_items().await;
        match expected {
            Some(count) => assert_eq!(items.unwrap().len(), count, "{body}"),
            None => {
                let error = items.unwrap_err();
                assert!(!format!("{error} {error:?}").contains("canary"));
            }
        }
    }
    let server = Scripted::start(|asked| {
        let stream = asked.is("POST", STREAM);
        stream.then(|| {
            reply(200)
                .header("content-type", "text/html")
                .body("<html>log in</html>")
        })
    })
    .await;
    let error = server.dataset().await.all_items().await.unwrap_err();
    assert!(
        error.to_string().contains("answered by a web page"),
        "{error}"
    );
    // Nothing is written if it is not known what is there.
    server
        .dataset()
        .await
        .insert(questions(2))
        .await
        .unwrap_err();
    assert!(server.asked_of("PUT", ITEMS).is_empty());
}

#[tokio::test]
async fn an_item_shows_no_content() {
    let item = DatasetItem::new(json!({"canary": "canary"}));
    assert!(!format!("{item:?}").contains("canary"));
    let odd = DatasetItem::new("canary");
    assert!(!format!("{odd:?} {:?}", odd.read::<Vec<u8>>()).contains("canary"));
}

#[tokio::test]
async fn a_server_that_ends_its_streams_early_is_asked_for_the_rest() {
    // Whole lines, status 200, and fewer of them than were asked for and are there.
    let lines: Vec<String> = (0..100).rev().map(line).collect();
    let failure = "{\"code\":500,\"message\":\"Streaming operation timed out\"}\r\n";
    for (last_line, tell) in [("", "nothing"), (failure, "why")] {
        let lines = lines.clone();
        let server = Scripted::start(move |asked| {
            asked.is("POST", STREAM).then(|| {
                let after = asked.body["last_retrieved_id"].as_str();
                let place = lines.iter().position(|line| {
                    let line: Value = serde_json::from_str(line).unwrap();
                    line["id"].as_str() == after
                });
                let rest = &lines[place.map_or(0, |place| place + 1)..];
                let some = rest.iter().take(40).map(|line| format!("{line}\r\n"));
                let end = if rest.is_empty() { "" } else { last_line };
                reply(200).body(some.collect::<String>() + end)
            })
        })
        .await;
        let all = server.dataset().await.all_items().await.unwrap();
        assert_eq!(numbers(&all), (0..100).collect::<Vec<_>>(), "{tell}");
    }

    // One that only says that it failed is not done.
    let server = Scripted::start(move |asked| {
        let stream = asked.path.ends_with("/stream");
        stream.then(|| reply(200).body(failure))
    })
    .await;
    let dataset = server.dataset().await;
    for error in [
        dataset.all_items().await.unwrap_err(),
        dataset.insert(questions(2)).await.unwrap_err(),
        dataset.get_or_create_experiment("x").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ExportErrorKind::Temporary, "{error}");
        assert!(
            error
                .to_string()
                .ends_with("the answer broke off; try again")
        );
    }
    assert_eq!(server.asked_of("POST", STREAM).len(), 6);
    assert!(server.asked_of("PUT", ITEMS).is_empty());
    assert!(server.asked_of("POST", "/experiments").is_empty());
}

/// Deletes a dataset, as the user interface does.
fn delete(sandbox: &Sandbox, name: &str) {
    let body = json!({ "dataset_name": name }).to_string();
    let mut connection = TcpStream::connect(sandbox.address()).unwrap();
    let request = format!(
        "POST /opik/api/v1/private/datasets/delete HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

#[tokio::test]
async fn a_dataset_that_was_deleted_is_not_made_anew() {
    let sandbox = sandbox();
    let dataset = dataset(&sandbox).await;
    let report = dataset.insert(questions(2)).await.unwrap();
    report.into_result().unwrap();
    let items = dataset.all_items().await.unwrap();
    let experiment = dataset.create_experiment("before").await.unwrap();
    let never = async |_| -> Result<LLMCallData, _> { panic!("it would cost money") };
    delete(&sandbox, "capitals");
    for error in [
        dataset.insert([question(3)]).await.unwrap_err(),
        dataset.all_items().await.unwrap_err(),
        dataset.create_experiment("x").await.unwrap_err(),
        experiment.run(items, never).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, OpikError::DatasetNotFound { name } if name == "capitals"),
            "{error:?}"
        );
    }
    assert!(sandbox.datasets().is_empty());
    assert_eq!(sandbox.experiments().len(), 1);
    // Nor is one that has the name now taken for it.
    let other = exporter(&sandbox).create_dataset("capitals").await.unwrap();
    let error = dataset.create_experiment("x").await.unwrap_err();
    assert!(
        matches!(error, OpikError::DatasetNotFound { .. }),
        "{error:?}"
    );
    assert_eq!(other.all_items().await.unwrap().len(), 0);

    // Any other 404 is another matter.
    for body in ["<html>nginx</html>", r#"{"message":"Workspace not found"}"#] {
        let server =
            Scripted::start(move |asked| asked.is("PUT", ITEMS).then(|| reply(404).body(body)))
                .await;
        let dataset = server.dataset().await;
        let error = dataset.insert(questions(1)).await.unwrap_err();
        assert!(matches!(error, OpikError::Failed { .. }), "{error:?}");
        assert_eq!(error.kind(), ExportErrorKind::Destination);
    }
}

#[tokio::test]
async fn items_stay_in_order_after_one_with_a_new_id() {
    let sandbox = sandbox();
    let dataset = dataset(&sandbox).await;
    // A millisecond for each is more than has gone by.
    let newest = [question(0).with_id(Uuid::now_v7())];
    for items in [
        newest.into(),
        (1..3_000).map(question).collect(),
        vec![question(3_000)],
    ] {
        let report = dataset.insert(items).await.unwrap();
        report.into_result().unwrap();
    }
    let all = numbers(&dataset.all_items().await.unwrap());
    assert_eq!(all, (0..=3_000).collect::<Vec<_>>());

    // A clock that is hours ahead is not followed: Opik would take it for wrong.
    let ahead = question(3_001).with_id(v7(now() + 20 * 3_600_000));
    for items in [vec![ahead], vec![question(3_002)]] {
        let report = dataset.insert(items).await.unwrap();
        report.into_result().unwrap();
    }
    let stored = sandbox.dataset_items();
    let last = stored.iter().find(|item| item.data["n"] == 3_002).unwrap();
    assert!(millis(last.id) <= now() + 60_000, "{}", last.id);
}

#[tokio::test]
async fn names_may_have_anything_in_them() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    for name in [
        "a\"b",
        "a\\b",
        "a\nb",
        "a/b?c=d&e#f",
        "ü🦀",
        "{}",
        "a%20b",
        "[\"x\"]",
        "\u{200b}",
        "Ａ",
    ] {
        let dataset = opik.create_dataset(name).await.unwrap();
        let got = opik.get_or_create_dataset(name).await.unwrap();
        assert_eq!((got.id(), got.name()), (dataset.id(), name));
        let item = DatasetItem::new(json!({ name: name }));
        let report = dataset.insert([item]).await.unwrap();
        assert_eq!(report.stored, 1, "{name:?}");
        let items = dataset.all_items().await.unwrap();
        assert_eq!(items[0][name], name);
        let experiment = dataset.create_experiment(name).await.unwrap();
        let got = dataset.get_or_create_experiment(name).await.unwrap();
        assert_eq!(got.id(), experiment.id(), "{name:?}");
        let summary = experiment
            .runner()
            .with_scorer(|_, _| vec![FeedbackScore::new(name, 1.0)])
            .run(items, async |_| Ok(call()))
            .await
            .unwrap();
        assert_eq!((summary.errors, summary.failures.len()), (0, 0), "{name:?}");
        assert_eq!(summary.scores[name].count, 1);
    }
    for trace in sandbox.traces() {
        assert_eq!(trace.feedback_scores.len(), 1);
    }
}
