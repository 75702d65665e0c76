//! The legacy endpoint, `POST /api/public/ingestion`, as the default of version 4 has it: it takes scores and its SDKs'
//! log lines, and refuses all else, one by one inside a 207.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::role::Arrived;

/// Bytes of a body.
const MAX_BODY: u64 = 4_500_000;
const ACCEPTED: &[&str] = &["score-create", "sdk-log"];

pub(super) fn answer(request: &Arrived<'_>) -> Result<Answer, Answer> {
    let bytes = &request.body.bytes;
    if request.body.wire_bytes > MAX_BODY {
        return Err(Answer::text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Body exceeded 4.5mb limit",
        ));
    }
    let is_json = request
        .header("content-type")
        .is_some_and(|value| value.contains("application/json"));
    // It does not unpack anything.
    let packed = request.header("content-encoding").is_some();
    let body: Option<Value> = (is_json && !packed)
        .then(|| serde_json::from_slice(bytes).ok())
        .flatten();
    let Some(body) = body else {
        return Err(Answer::text(StatusCode::BAD_REQUEST, "Invalid JSON"));
    };
    let Some(batch) = body.get("batch").and_then(Value::as_array) else {
        let errors = json!([{"path": ["batch"], "message": "Required"}]);
        let body = json!({"message": "Invalid request data", "errors": errors});
        return Err(Answer::json(StatusCode::BAD_REQUEST, &body));
    };
    let (accepted, refused): (Vec<&Value>, Vec<&Value>) = batch
        .iter()
        .partition(|event| ACCEPTED.contains(&kind(event)));
    let successes: Vec<Value> = accepted
        .into_iter()
        .map(|event| json!({"id": id(event), "status": 201}))
        .collect();
    let errors: Vec<Value> = refused.into_iter().map(refusal).collect();
    Ok(Answer::json(
        StatusCode::MULTI_STATUS,
        &json!({"successes": successes, "errors": errors}),
    ))
}

fn refusal(event: &Value) -> Value {
    let error = format!(
        "Event type \"{}\" is not accepted by /api/public/ingestion when LANGFUSE_MIGRATION_V4_WRITE_MODE is \
         events_only.",
        kind(event)
    );
    json!({"id": id(event), "status": 400, "message": "Event type not accepted", "error": error})
}

fn kind(event: &Value) -> &str {
    event
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn id(event: &Value) -> &str {
    event.get("id").and_then(Value::as_str).unwrap_or("unknown")
}
