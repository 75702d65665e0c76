//! What a sandbox with a limit keeps.

use std::sync::mpsc::{self, Receiver};

use beluga_o11y_sandbox::{Arrival, Backend, Sandbox};
use serde_json::{Value, json};

use crate::http::{Call, id, id_of, span, trace, with};
use crate::langsmith;

const KEPT: usize = 150;
const BATCH: usize = 100;
const BATCHES: usize = 25;

/// A sandbox that keeps [`KEPT`] calls, and whether each call that it stores was there before.
fn forgetful() -> (Sandbox, Receiver<bool>) {
    let (tell, told) = mpsc::channel();
    let builder = Sandbox::builder().with_max_calls(KEPT).with_request_log(0);
    let builder = builder.with_listener(move |arrival| match arrival {
        Arrival::Call { again, .. } => drop(tell.send(again)),
        other => panic!("{other:?}"),
    });
    (builder.start().unwrap(), told)
}

fn ids(sandbox: &Sandbox, backend: Backend) -> Vec<String> {
    let calls = sandbox.calls_of(backend).into_iter();
    calls.map(|call| call.id).collect()
}

/// Thousands of calls that `make` puts into requests, batch after batch: the newest stay in order, the first ones are
/// new when they come again, and the last ones are not; a backend that drops what it knows tells nothing of them.
fn newest_stay(backend: Backend, make: impl Fn(usize) -> (Vec<String>, Call), drops: bool) {
    let (sandbox, told) = forgetful();
    let mut sent = Vec::new();
    let mut first = None;
    let mut last = None;
    for batch in 0..BATCHES {
        let (ids, call) = make(BATCH);
        let status = call.send(&sandbox).status;
        assert!((200..300).contains(&status), "{backend:?}: {status}");
        sent.extend(ids);
        if batch == 0 {
            first = Some(call);
        } else {
            last = Some(call);
        }
    }
    assert_eq!(ids(&sandbox, backend), sent[sent.len() - KEPT..]);
    assert_eq!(told.try_iter().count(), BATCHES * BATCH, "all were told");
    let (first, last) = (first.unwrap(), last.unwrap());
    // What is kept is known, and stays in its place.
    last.send(&sandbox);
    let known: Vec<bool> = told.try_iter().collect();
    let expected = if drops { 0 } else { BATCH };
    assert_eq!(known, vec![true; expected]);
    // What is forgotten is new.
    first.send(&sandbox);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [false; BATCH]);
    let kept = ids(&sandbox, backend);
    assert_eq!(kept.len(), KEPT);
    assert_eq!(kept[KEPT - BATCH..], sent[..BATCH]);
    // A request with more than is kept is told whole.
    let (ids_of_many, call) = make(KEPT + 10);
    call.send(&sandbox);
    assert_eq!(told.try_iter().count(), KEPT + 10);
    assert_eq!(ids(&sandbox, backend), ids_of_many[10..]);
    sandbox.clear();
    assert_eq!(sandbox.calls(), []);
    call.send(&sandbox);
    assert_eq!(ids(&sandbox, backend), ids_of_many[10..], "the limit stays");
}

#[test]
fn the_newest_spans_of_opik_stay() {
    let trace = id();
    let make = |count| {
        let span = || {
            with(
                span(),
                json!({"trace_id": trace, "input": null, "output": null}),
            )
        };
        let spans: Vec<Value> = (0..count).map(|_| span()).collect();
        let ids = spans.iter().map(|span| id_of(span).to_string()).collect();
        (ids, Call::spans(&spans))
    };
    newest_stay(Backend::Opik, make, false);
}

#[test]
fn the_newest_traces_of_opik_stay_with_the_spans_that_are_kept() {
    let (sandbox, _told) = forgetful();
    let traces: Vec<Value> = (0..KEPT + 50).map(|_| trace()).collect();
    assert_eq!(Call::traces(&traces).send(&sandbox).status, 204);
    let kept: Vec<_> = sandbox.traces().iter().map(|trace| trace.id).collect();
    let newest: Vec<_> = traces[50..].iter().map(id_of).collect();
    assert_eq!(kept, newest);
    assert_eq!(sandbox.trace(id_of(&traces[49])), None);

    let of = |trace: &Value| with(span(), json!({"trace_id": trace["id"]}));
    let spans: Vec<Value> = (0..100).map(|_| of(&traces[60])).collect();
    assert_eq!(Call::spans(&spans).send(&sandbox).status, 204);
    let shown = |trace: &Value| sandbox.trace(id_of(trace)).unwrap();
    assert_eq!(shown(&traces[60]).span_count, 100);
    let spans: Vec<Value> = (0..120).map(|_| of(&traces[70])).collect();
    assert_eq!(Call::spans(&spans).send(&sandbox).status, 204);
    let (older, newer) = (shown(&traces[60]), shown(&traces[70]));
    assert_eq!((older.span_count, newer.span_count), (30, 120));
    assert_eq!(older.usage["prompt_tokens"], 30 * 12);
    let spans: Vec<Value> = (0..KEPT).map(|_| of(&traces[80])).collect();
    assert_eq!(Call::spans(&spans).send(&sandbox).status, 204);
    let older = shown(&traces[60]);
    assert_eq!((older.span_count, older.llm_span_count), (0, 0));
    // A call has of its trace what is kept.
    let orphan = of(&traces[0]);
    assert_eq!(Call::spans(&[orphan]).send(&sandbox).status, 204);
    assert_eq!(sandbox.calls().last().unwrap().session_id, None);
}

/// A span that an update put under one trace, and its create under another, counts in the other.
#[test]
fn a_span_of_opik_that_moves_is_forgotten_where_it_is() {
    let (sandbox, _told) = forgetful();
    let (before, after) = (trace(), trace());
    let traces = [before.clone(), after.clone()];
    assert_eq!(Call::traces(&traces).send(&sandbox).status, 204);
    let span = with(span(), json!({"trace_id": after["id"]}));
    let path = format!("/opik/api/v1/private/spans/{}", id_of(&span));
    let update = json!({
        "trace_id": before["id"], "parent_span_id": span["parent_span_id"], "project_name": span["project_name"],
    });
    assert_eq!(Call::patch(path, &update).send(&sandbox).status, 204);
    let counts = || {
        let count = |trace| sandbox.trace(id_of(trace)).unwrap().span_count;
        (count(&before), count(&after))
    };
    assert_eq!(counts(), (1, 0));
    let create = Call::post("/opik/api/v1/private/spans", &span);
    assert_eq!(create.send(&sandbox).status, 201);
    assert_eq!(counts(), (0, 1));
    let others: Vec<Value> = (0..KEPT).map(|_| crate::http::span()).collect();
    assert_eq!(Call::spans(&others).send(&sandbox).status, 204);
    assert_eq!(counts(), (0, 0));
}

#[test]
fn the_newest_runs_of_langsmith_stay() {
    let (sandbox, _told) = forgetful();
    let runs = |count| (0..count).map(|_| langsmith::run()).collect::<Vec<_>>();
    let id = |run: &Value| run["id"].as_str().unwrap().to_owned();
    let mut sent = Vec::new();
    let first = runs(BATCH);
    for batch in 0..BATCHES {
        let runs = if batch == 0 {
            first.clone()
        } else {
            runs(BATCH)
        };
        assert_eq!(langsmith::post(&runs).send(&sandbox).status, 202);
        sent.extend(runs.iter().map(id));
    }
    assert_eq!(ids(&sandbox, Backend::LangSmith), sent[sent.len() - KEPT..]);
    let again = langsmith::post(&first);
    assert_eq!(again.send(&sandbox).status, 202, "as if they were new");
    assert_eq!(
        ids(&sandbox, Backend::LangSmith)[KEPT - BATCH..],
        sent[..BATCH]
    );
    let one = langsmith::to(Call::get(format!("/langsmith/runs/{}", sent[BATCH])));
    assert_eq!(one.send(&sandbox).status, 404);
}

#[test]
fn the_newest_updates_that_wait_for_their_runs_in_langsmith_stay() {
    let sandbox = Sandbox::builder().with_max_calls(KEPT).start().unwrap();
    let runs: Vec<Value> = (0..KEPT + 20).map(|_| langsmith::run()).collect();
    let updates: Vec<Value> = runs
        .iter()
        .map(|run| with(run.clone(), json!({"error": "late", "end_time": null})))
        .collect();
    for updates in updates.chunks(30) {
        assert_eq!(langsmith::patch(updates).send(&sandbox).status, 202);
    }
    // One that found its run is no longer among them.
    let post = |run: &Value| {
        let run = with(run.clone(), json!({"error": null}));
        let id = id_of(&run);
        assert_eq!(langsmith::post(&[run]).send(&sandbox).status, 202);
        sandbox.run(id).unwrap().error
    };
    assert_eq!(post(&runs[19]), None);
    assert_eq!(post(&runs[20]).as_deref(), Some("late"));
    let more = with(langsmith::run(), json!({"error": "late"}));
    assert_eq!(langsmith::patch(&[more]).send(&sandbox).status, 202);
    assert_eq!(post(&runs[21]).as_deref(), Some("late"));
    assert_eq!(post(runs.last().unwrap()).as_deref(), Some("late"));
}

#[cfg(feature = "otlp")]
mod otlp {
    use super::*;
    use crate::exports::{body, hex, llm_span, post};

    fn spans(path: &str, count: usize) -> (Vec<String>, Call) {
        let spans: Vec<_> = (0..count).map(|_| llm_span(json!({}))).collect();
        let ids = spans.iter().map(|span| hex(&span.span_id)).collect();
        let call = post(path, body(spans));
        (ids, crate::langfuse::with_keys(call))
    }

    #[test]
    fn the_newest_observations_of_langfuse_stay() {
        let path = "/langfuse/api/public/otel/v1/traces";
        newest_stay(Backend::Langfuse, |count| spans(path, count), false);
    }

    #[test]
    fn the_newest_spans_of_phoenix_stay() {
        let path = "/phoenix/v1/traces";
        newest_stay(Backend::Phoenix, |count| spans(path, count), true);
        // Their numbers stay as well.
        let (sandbox, _told) = forgetful();
        let listed = |limit: usize| {
            let path = format!("/phoenix/v1/projects/default/spans?limit={limit}");
            Call::get(path).send(&sandbox).json()["data"].clone()
        };
        let (_, call) = spans(path, KEPT);
        assert_eq!(call.send(&sandbox).status, 200);
        let last = listed(KEPT)[KEPT - 1].clone();
        let (_, call) = spans(path, 10);
        assert_eq!(call.send(&sandbox).status, 200);
        assert_eq!(listed(KEPT)[KEPT - 11], last);
        assert_ne!(listed(1)[0]["id"], json!("U3Bhbjox"), "the first is gone");
    }

    /// Here what comes again is a row more.
    #[test]
    fn the_newest_spans_of_any_receiver_stay() {
        let path = "/otlp/v1/traces";
        let (sandbox, told) = forgetful();
        let (first_ids, first) = spans(path, BATCH);
        assert_eq!(first.send(&sandbox).status, 200);
        let mut sent = first_ids.clone();
        for _ in 1..BATCHES {
            let (ids, call) = spans(path, BATCH);
            assert_eq!(call.send(&sandbox).status, 200);
            sent.extend(ids);
        }
        assert_eq!(ids(&sandbox, Backend::Otlp), sent[sent.len() - KEPT..]);
        assert!(told.try_iter().all(|again| !again));
        first.send(&sandbox);
        assert!(told.try_iter().all(|again| !again), "it was forgotten");
        // With 60 more, the older half of each double is forgotten, and ten whole ones.
        first.send(&sandbox);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [true; BATCH]);
        let (_, more) = spans(path, 60);
        more.send(&sandbox);
        assert_eq!(told.try_iter().count(), 60);
        assert_eq!(ids(&sandbox, Backend::Otlp)[..90], first_ids[10..]);
        first.send(&sandbox);
        let again: Vec<bool> = told.try_iter().collect();
        assert_eq!(again[..10], [false; 10]);
        assert_eq!(again[10..], [true; 90]);
    }
}
