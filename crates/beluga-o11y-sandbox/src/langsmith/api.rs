//! The doors of LangSmith.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answers::{self, MAX_BODY_BYTES, Refusal};
use super::fields::Fields;
use super::order::{self, Place};
use super::session::Session;
use super::store::{NotTaken, Store};
use super::{LangSmith, account, integers};
use crate::answer::Answer;
use crate::arrival::News;
use crate::body::Problem;
use crate::role::Arrived;
use crate::text::query_value;

/// In this order: the size, the path, the key and its workspace, the JSON, the fields of every run, its place in
/// its trace, what was received before.
pub(crate) fn answer(langsmith: &LangSmith, request: &Arrived<'_>, news: &mut News) -> Answer {
    if let Some(Problem::TooLarge(_) | Problem::TooLargeUnpacked) = request.body.problem {
        return answers::too_large();
    }
    if request.body.bytes.len() > MAX_BODY_BYTES {
        return answers::too_large();
    }
    // A server of one's own has its API there.
    let path = request.path.strip_prefix("/api/v1").unwrap_or(request.path);
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (method, store) = (&request.head.method, || langsmith.store());
    if segments == ["info"] {
        return only(method, Method::GET, info);
    }
    let known = matches!(
        segments.as_slice(),
        ["runs"] | ["runs", "batch"] | ["runs", _] | ["sessions"] | ["sessions", _]
    );
    if !known || segments == ["runs", "multipart"] {
        return answers::detail(StatusCode::NOT_FOUND, "Not Found");
    }
    if let Err(answer) = account::admit(&langsmith.settings.accounts, request) {
        return answer;
    }
    let answered = match (method.as_str(), segments.as_slice()) {
        ("POST", ["runs", "batch"]) => batch(langsmith, &request.body.bytes, news),
        ("POST", ["runs"]) => create(langsmith, &request.body.bytes, news),
        ("GET", ["runs", id]) => Ok(read_run(&store(), id)),
        ("PATCH", ["runs", id]) => update(langsmith, id, &request.body.bytes, news),
        ("GET", ["sessions"]) => Ok(list_sessions(&store(), request.query())),
        ("GET", ["sessions", id]) => Ok(read_session(&store(), id)),
        ("POST", ["sessions"]) => create_session(&mut store(), request),
        _ => Ok(method_not_allowed()),
    };
    answered.unwrap_or_else(|refusal| refusal.answer())
}

fn only(method: &Method, allowed: Method, answer: impl FnOnce() -> Answer) -> Answer {
    if *method == allowed {
        answer()
    } else {
        method_not_allowed()
    }
}

fn method_not_allowed() -> Answer {
    answers::detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// Says that there is no `/runs/multipart`, so that clients use the same door as exporters without attachments.
fn info() -> Answer {
    let info = json!({
        "version": concat!("0.0.0-sandbox-", env!("CARGO_PKG_VERSION")),
        "license_expiration_time": null,
        "batch_ingest_config": {
            "use_multipart_endpoint": false,
            "size_limit": 100,
            "size_limit_bytes": MAX_BODY_BYTES,
            "scale_up_qsize_trigger": 1000,
            "scale_up_nthreads_limit": 16,
            "scale_down_nempty_trigger": 4,
        },
        "instance_flags": {"zstd_compression_enabled": false, "gzip_body_enabled": false},
    });
    Answer::json(StatusCode::OK, &info)
}

fn json(body: &[u8]) -> Result<Value, Refusal> {
    if integers::too_big(body) {
        return Err(Refusal::IntegerTooBig);
    }
    serde_json::from_slice(body).map_err(|error| Refusal::Body(error.to_string()))
}

fn taken(result: Result<(), NotTaken>) -> Result<Answer, Refusal> {
    match result {
        Ok(()) => Ok(answers::accepted()),
        Err(NotTaken::AlreadyReceived) => Ok(answers::already_received()),
        Err(NotTaken::Refused(refusal)) => Err(refusal),
    }
}

/// `{"post": [..], "patch": [..]}`. One bad run is the end of all of them (BerriAI/litellm issue 37269).
fn batch(langsmith: &LangSmith, body: &[u8], news: &mut News) -> Result<Answer, Refusal> {
    let body = json(body)?;
    let Value::Object(body) = body else {
        return Err(Refusal::Body("Invalid type. Expected: object".to_owned()));
    };
    let of = |key: &str| -> Result<Vec<(String, &Value)>, Refusal> {
        match body.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(runs)) => {
                let place = |(index, run)| (format!("{key}.{index}"), run);
                Ok(runs.iter().enumerate().map(place).collect())
            }
            Some(_) => Err(Refusal::Body(format!(
                "{key}: Invalid type. Expected: array"
            ))),
        }
    };
    let (posts, patches) = (of("post")?, of("patch")?);
    let read = |runs: Vec<(String, &Value)>, required: &[&'static str]| {
        runs.into_iter()
            .map(|(place, run)| {
                let fields = Fields::read(run, Some(&place))?;
                fields.require(Some(&place), required)?;
                Ok(fields)
            })
            .collect::<Result<Vec<_>, Refusal>>()
    };
    let posts = read(
        posts,
        &[
            "id",
            "trace_id",
            "dotted_order",
            "name",
            "run_type",
            "start_time",
        ],
    )?;
    let patches = read(patches, &["id", "trace_id", "dotted_order"])?;
    for run in posts.iter().chain(&patches) {
        check_place(run)?;
    }
    taken(langsmith.take(posts, patches, news))
}

fn check_place(run: &Fields) -> Result<(), Refusal> {
    if let (Some(id), Some(trace_id), Some(dotted_order)) =
        (run.id, run.trace_id, run.dotted_order.as_deref())
    {
        order::check(Place {
            id,
            trace_id,
            parent_run_id: run.parent_run_id,
            dotted_order,
        })?;
    }
    Ok(())
}

/// The only door that fills in what is missing of `trace_id` and `dotted_order`.
fn create(langsmith: &LangSmith, body: &[u8], news: &mut News) -> Result<Answer, Refusal> {
    let mut run = Fields::read(&json(body)?, None)?;
    run.require(None, &["id", "name", "run_type", "start_time"])?;
    if let (Some(id), Some(start), None) = (run.id, run.start_time, &run.dotted_order) {
        let own = order::part(start, id);
        let parent = match run.parent_run_id {
            Some(parent) => Some(langsmith.store().run(parent).ok_or(Refusal::NoParent)?),
            None => None,
        };
        run.trace_id = run
            .trace_id
            .or(parent.as_ref().map(|parent| parent.trace_id))
            .or(Some(id));
        run.dotted_order = Some(match parent {
            Some(parent) => format!("{}.{own}", parent.dotted_order),
            None => own,
        });
    }
    if run.trace_id.is_none() && run.parent_run_id.is_none() {
        run.trace_id = run.id;
    }
    run.require(None, &["trace_id"])?;
    check_place(&run)?;
    taken(langsmith.take(vec![run], Vec::new(), news))
}

fn update(
    langsmith: &LangSmith,
    id: &str,
    body: &[u8],
    news: &mut News,
) -> Result<Answer, Refusal> {
    let known = id.parse().ok().and_then(|id| langsmith.store().run(id));
    let Some(known) = known else {
        return Ok(run_not_found());
    };
    let mut run = Fields::read(&json(body)?, None)?;
    run.id = Some(known.id);
    taken(langsmith.take(Vec::new(), vec![run], news))
}

fn read_run(store: &Store, id: &str) -> Answer {
    match id.parse().ok().and_then(|id| store.run(id)) {
        Some(run) => Answer::json(StatusCode::OK, &run),
        None => run_not_found(),
    }
}

fn run_not_found() -> Answer {
    answers::detail(StatusCode::NOT_FOUND, "Run not found")
}

/// All, or the one of this name.
fn list_sessions(store: &Store, query: &str) -> Answer {
    let name = query_value(query, "name");
    let number = |name| query_value(query, name).and_then(|text| text.parse().ok());
    let sessions: Vec<Value> = store
        .sessions()
        .iter()
        .filter(|session| name.as_ref().is_none_or(|name| *name == session.name))
        .skip(number("offset").unwrap_or(0))
        .take(number("limit").unwrap_or(100))
        .map(Session::json)
        .collect();
    Answer::json(StatusCode::OK, &sessions)
}

fn read_session(store: &Store, id: &str) -> Answer {
    match id.parse().ok().and_then(|id| store.session(id)) {
        Some(session) => Answer::json(StatusCode::OK, &session.json()),
        None => answers::detail(StatusCode::NOT_FOUND, "Session not found"),
    }
}

fn create_session(store: &mut Store, request: &Arrived<'_>) -> Result<Answer, Refusal> {
    let body = json(&request.body.bytes)?;
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let Some(name) = text("name").filter(|name| !name.trim().is_empty()) else {
        return Err(Refusal::Schema {
            place: None,
            field: "name",
            problem: "name is required".to_owned(),
        });
    };
    if let Some(known) = store.session_named(name) {
        let upsert = query_value(request.query(), "upsert");
        return Ok(match upsert.as_deref() {
            Some("true" | "True") => Answer::json(StatusCode::OK, &known.json()),
            // Issue 814.
            _ => answers::detail(StatusCode::CONFLICT, "Session already exists."),
        });
    }
    let mut session = Session::named(name);
    if let Some(id) = text("id").and_then(|id| id.parse::<Uuid>().ok()) {
        session.id = id;
    }
    session.description = text("description").map(str::to_owned);
    session.extra = body.get("extra").cloned();
    let answer = Answer::json(StatusCode::OK, &session.json());
    store.add_session(session);
    Ok(answer)
}
