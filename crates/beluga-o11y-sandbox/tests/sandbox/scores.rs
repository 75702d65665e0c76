//! Feedback scores of traces and spans.

use std::slice;

use beluga_o11y_sandbox::{FeedbackScore, Sandbox};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{Call, id, id_at, id_of, span, trace, with};
use crate::refusals::{Says, check, errors, invalid_id, message, row};

/// A score that Opik takes, with every field there is.
pub(crate) fn score(of: impl Into<Value>) -> Value {
    json!({
        "id": of.into(), "project_name": "beluga-demo", "name": "quality", "category_name": "good", "value": 0.9,
        "reason": "ok", "source": "sdk",
    })
}

pub(crate) fn put(kind: &str, scores: &[Value]) -> Call {
    let path = format!("/opik/api/v1/private/{kind}/feedback-scores");
    Call::put(path, &json!({"scores": scores}))
}

fn store(sandbox: &Sandbox, kind: &str, scores: &[Value]) {
    let reply = put(kind, scores).send(sandbox);
    assert_eq!((reply.status, reply.text().as_str()), (204, ""));
}

/// A batch of one good score and one that is changed like this.
fn traces(change: Value) -> Call {
    let good = score(id().to_string());
    put("traces", &[good.clone(), with(good, change)])
}

fn brief(scores: &[FeedbackScore]) -> Vec<(&str, f64)> {
    let brief = scores.iter();
    brief
        .map(|score| (score.name.as_str(), score.value))
        .collect()
}

#[test]
#[rustfmt::skip] // One row a line.
fn refused() {
    let sandbox = Sandbox::start().unwrap();
    let v4 = Uuid::new_v4();
    let unknown = id();
    let single = |kind: &str, of: Uuid, change: Value| {
        Call::put(format!("/v1/private/{kind}/{of}/feedback-scores"), &with(score(Value::Null), change))
    };
    let number = |text: &str| {
        let call = traces(json!({}));
        call.body(json!({"scores": [score(id().to_string())]}).to_string().replace("0.9", text))
    };
    let too_much = "scores[0].value must be less than or equal to 999999999.999999999";
    let too_little = "scores[0].value must be greater than or equal to -999999999.999999999";
    check(
        &sandbox,
        vec![
            row("a batch has scores", put("traces", &[]), 422, errors("scores size must be between 1 and 1000")),
            row("at most 1000", put("spans", &vec![score(id().to_string()); 1001]), 422, errors("scores size must be between 1 and 1000")),
            row("it is a list", put("traces", &[]).body("{}"), 422, errors("scores must not be null")),
            row("ids are there", traces(json!({"id": null})), 422, errors("scores[1].id must not be null")),
            row("they are UUIDs", traces(json!({"id": "abc"})), 400, Says("java.util.UUID")),
            row("of version 7", traces(json!({"id": v4})), 400, invalid_id("trace id must be a version 7 UUID")),
            row("those of spans, too", put("spans", &[score(v4.to_string())]), 400, invalid_id("span id must be a version 7 UUID")),
            row("names are there", traces(json!({"name": null})), 422, errors("scores[1].name must not be blank")),
            row("and not blank", traces(json!({"name": " "})), 422, errors("scores[1].name must not be blank")),
            row("values are there", traces(json!({"value": null})), 422, errors("scores[1].value must not be null")),
            row("they are numbers", traces(json!({"value": "0.9"})), 400, Says("Unable to process JSON")),
            row("no booleans", traces(json!({"value": true})), 400, Says("Unable to process JSON")),
            row("no NaN", number("NaN"), 400, Says("Unable to process JSON")),
            row("nothing infinite", number("Infinity"), 400, Says("Unable to process JSON")),
            row("not too great", number("1000000000"), 422, errors(too_much)),
            row("by a digit", number("999999999.9999999991"), 422, errors(too_much)),
            row("nor too small", number("-1e30"), 422, errors(too_little)),
            row("sources are there", traces(json!({"source": null})), 422, errors("scores[1].source must not be null")),
            row("and known", traces(json!({"source": "martian"})), 400, Says("Unknown source 'martian'")),
            row("projects are not blank", traces(json!({"project_name": " "})), 422, errors("scores[1].projectName must not be blank")),
            row("projects with ids are there", traces(json!({"project_id": id()})), 404, errors("Project not found")),
            row("a single one has a value", single("traces", unknown, json!({"value": null})), 422, errors("value must not be null")),
            row("and a trace", single("traces", unknown, json!({})), 404, message(404, &format!("Trace id: {unknown} not found"))),
            row("or a span", single("spans", unknown, json!({})), 404, message(404, &format!("Span id: {unknown} not found"))),
            row("with an id", single("spans", v4, json!({})), 400, invalid_id("span id must be a version 7 UUID")),
            row("scores are put", put("traces", &[]).method("POST"), 405, Says("405")),
            row("as JSON", traces(json!({})).without("Content-Type"), 415, Says("415")),
            row("in a workspace", traces(json!({})).header("Comet-Workspace", "x"), 404, Says("Workspace not found")),
            row("deleting names one", Call::post(format!("/v1/private/traces/{unknown}/feedback-scores/delete"), &json!({})), 422, errors("name must not be blank")),
        ],
    );
}

/// The other side of every limit, and what no rule is about.
#[test]
fn refused_only_just() {
    let sandbox = Sandbox::start().unwrap();
    let at = |value: &str| {
        let body = json!({"scores": [score(id().to_string())]}).to_string();
        put("traces", &[]).body(body.replace("0.9", value))
    };
    for call in [
        traces(json!({"reason": null, "category_name": null, "project_name": null})),
        traces(json!({"id": id_at(-400 * 86_400), "source": "ui"})),
        traces(json!({"source": "online_scoring", "author": "me", "name": "x".repeat(1000)})),
        put("spans", &vec![score(id().to_string()); 1000]),
        at("999999999.999999999"),
        at("-999999999.999999999"),
        at("1e-7"),
        at("0"),
    ] {
        let reply = call.send(&sandbox);
        assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{call:?}");
    }
}

#[test]
fn shown_with_what_they_are_of() {
    let sandbox = Sandbox::start().unwrap();
    let (trace, span) = (trace(), span());
    // They may come first, and one id may be both.
    let of_span = with(score(span["id"].clone()), json!({"value": 1}));
    store(&sandbox, "traces", &[score(trace["id"].clone())]);
    store(&sandbox, "spans", &[of_span]);
    store(
        &sandbox,
        "spans",
        &[with(score(trace["id"].clone()), json!({"name": "no"}))],
    );
    assert_eq!(
        Call::traces(slice::from_ref(&trace)).send(&sandbox).status,
        204
    );
    assert_eq!(
        Call::spans(slice::from_ref(&span)).send(&sandbox).status,
        204
    );
    let typed = sandbox.trace(id_of(&trace)).unwrap().feedback_scores;
    let [one] = &typed[..] else {
        panic!("{typed:?}")
    };
    assert_eq!(
        (one.name.as_str(), one.value, one.source.as_str()),
        ("quality", 0.9, "sdk")
    );
    assert_eq!(
        (one.reason.as_deref(), one.category_name.as_deref()),
        (Some("ok"), Some("good"))
    );
    assert_eq!(
        brief(&sandbox.spans()[0].feedback_scores),
        [("quality", 1.0)]
    );
    for (kind, record, value) in [("traces", &trace, 0.9), ("spans", &span, 1.0)] {
        let path = format!("/opik/api/v1/private/{kind}/{}", id_of(record));
        let got = Call::get(path).send(&sandbox).json()["feedback_scores"].clone();
        let shown = json!({"name": "quality", "category_name": "good", "value": value, "reason": "ok", "source": "sdk",
            "created_by": "admin", "last_updated_by": "admin",
            "created_at": got[0]["created_at"], "last_updated_at": got[0]["last_updated_at"]});
        assert_eq!(got, json!([shown]));
        let path = format!("/opik/api/v1/private/{kind}/search");
        let found = Call::post(path, &json!({"project_name": "beluga-demo"})).send(&sandbox);
        assert_eq!(found.lines()[0]["feedback_scores"], got);
    }
    sandbox.clear();
    assert_eq!(
        Call::traces(slice::from_ref(&trace)).send(&sandbox).status,
        204
    );
    assert_eq!(sandbox.traces()[0].feedback_scores, []);
}

#[test]
fn one_of_a_name_and_the_last_wins() {
    let sandbox = Sandbox::start().unwrap();
    let trace = trace();
    assert_eq!(
        Call::traces(slice::from_ref(&trace)).send(&sandbox).status,
        204
    );
    let one = |change| with(score(trace["id"].clone()), change);
    let shown = || sandbox.traces()[0].feedback_scores.clone();
    store(
        &sandbox,
        "traces",
        &[
            one(json!({"value": 0.1})),
            one(json!({"name": "other", "reason": " "})),
        ],
    );
    store(
        &sandbox,
        "traces",
        &[
            one(json!({"value": 0.3})),
            one(json!({"value": 0.2, "category_name": "bad"})),
        ],
    );
    assert_eq!(brief(&shown()), [("quality", 0.2), ("other", 0.9)]);
    assert_eq!(shown()[0].category_name.as_deref(), Some("bad"));
    assert!(shown()[0].created_at < shown()[0].last_updated_at);
    assert_eq!(shown()[1].reason, None, "a blank text is none");
    // Those of another project are not the trace's.
    store(
        &sandbox,
        "traces",
        &[one(json!({"value": 0.7, "project_name": "other"}))],
    );
    store(
        &sandbox,
        "traces",
        &[one(json!({"value": 0.7, "project_name": null}))],
    );
    assert_eq!(brief(&shown())[0], ("quality", 0.2));
    // A single one is, whatever it says.
    let path = format!("/api/v1/private/traces/{}/feedback-scores", id_of(&trace));
    let single = Call::put(
        path.as_str(),
        &one(json!({"id": null, "value": 0.123_456_789_4})),
    );
    assert_eq!(single.send(&sandbox).status, 204);
    assert_eq!(
        brief(&shown()),
        [("quality", 0.123_456_789), ("other", 0.9)]
    );
    let delete = Call::post(format!("{path}/delete"), &json!({"name": "quality"}));
    for _ in 0..2 {
        assert_eq!(delete.send(&sandbox).status, 204);
        assert_eq!(brief(&shown()), [("other", 0.9)]);
    }
}

#[test]
fn the_newest_stay() {
    let sandbox = Sandbox::builder().with_max_calls(10).start().unwrap();
    let trace = trace();
    assert_eq!(
        Call::traces(slice::from_ref(&trace)).send(&sandbox).status,
        204
    );
    let one = |name: usize| {
        with(
            score(trace["id"].clone()),
            json!({"name": name.to_string()}),
        )
    };
    let scores: Vec<Value> = (0..25).map(one).collect();
    store(&sandbox, "traces", &scores);
    let shown = sandbox.traces()[0].feedback_scores.clone();
    let names: Vec<_> = shown.iter().map(|score| score.name.as_str()).collect();
    assert_eq!(
        names,
        ["15", "16", "17", "18", "19", "20", "21", "22", "23", "24"]
    );
}
