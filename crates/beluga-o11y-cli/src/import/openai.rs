//! Requests and responses of OpenAI's APIs, a pair a line, and the output of OpenAI's batches.

mod stream;

use std::time::Duration;

use beluga_o11y::{CallError, Json, LLMCallData, Usage};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    Turned, chat,
    chat::{some, text},
};
use crate::{identity, record::Problem};

const START: [&str; 2] = ["start_time", "created_at"];
const END: [&str; 1] = ["end_time"];
const DURATION: [&str; 2] = ["duration_ms", "latency_ms"];

/// The first HTTP status of those that say that it failed.
const FIRST_FAILURE: u64 = 400;
/// What an envelope around a body has, and no body.
const ENVELOPE: [&str; 3] = ["status_code", "headers", "body"];

/// Of a request, what the record has a place for elsewhere.
const NO_PARAMETERS: [&str; 9] = [
    "model",
    "messages",
    "input",
    "prompt",
    "instructions",
    "user",
    "safety_identifier",
    "conversation",
    "metadata",
];

pub(super) fn turn(document: &str) -> Turned {
    let mut turned = Turned::default();
    match chat::read(document).and_then(|line| call(&line, document)) {
        Ok(call) => turned.calls.push(call),
        Err(problem) => turned.problems.push((0, problem)),
    }
    turned
}

fn call(line: &Value, document: &str) -> Result<LLMCallData, Problem> {
    if !line.is_object() {
        let found = chat::found(Some(line));
        return Err(Problem::new(format!(
            "expected an object with request and response, found {found}"
        )));
    }
    let status = status(line);
    let failed = status.is_some_and(|status| status >= FIRST_FAILURE);
    let response = body(line, "response");
    let failure = failure(line);
    if response.is_none() && failure.is_none() && !failed {
        return Err(match some(line, "body") {
            Some(_) => Problem::new(
                "the input of a batch, which has no answer: take the batch's output file",
            ),
            None => Problem::of("response", "expected an object, found nothing"),
        });
    }
    let request = match body(line, "request") {
        Some(request) => object("request", request)?,
        None => Value::Null,
    };
    let answer = match response.map(answered) {
        Some(Ok(answer)) => answer,
        // Proxies say why in HTML, or nothing.
        Some(Err(problem)) if !failed => return Err(problem),
        _ => Value::Null,
    };

    let provider = text(line, "provider").unwrap_or("openai");
    let model = text(&request, "model").unwrap_or_default();
    let mut call = LLMCallData::new(provider, model);
    call.error = error(&answer, failure, status);
    match &call.error {
        None => chat::answer(&answer, &mut call),
        // It may have begun to answer.
        Some(_) if answer.get("output").is_some() => chat::answer(&answer, &mut call),
        Some(_) => {}
    }
    call.usage = Usage::from_openai(&answer);
    asked(&request, &mut call);
    if let Some(custom_id) = text(line, "custom_id") {
        call.metadata
            .insert("custom_id".to_owned(), custom_id.into());
    }
    if let Some(status) = status.filter(|_| call.error.is_some()) {
        call.metadata
            .insert("http.response.status_code".to_owned(), Json::new(&status));
    }
    let start = times(line, &answer, &mut call)?;
    call.validate()?;
    let own = text(&answer, "id").or(text(line, "id"));
    // Servers that stand in for OpenAI may give every answer the same id.
    let asked = own.map_or_else(String::new, |_| request.to_string());
    let own = own.unwrap_or(document.trim());
    let parts = [
        b"openai\0".as_slice(),
        own.as_bytes(),
        b"\0",
        asked.as_bytes(),
    ];
    let id = identity::made(start, parts);
    Ok(call.with_start_time(start).with_id(id))
}

/// A body, alone or in an envelope beside its headers, of which nothing else is read.
fn body<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    let value = some(line, name)?;
    match ENVELOPE.iter().any(|name| value.get(name).is_some()) {
        true => some(value, "body"),
        false => Some(value),
    }
}

/// A body as JSON, or as the text that went over the wire.
fn object(name: &str, body: &Value) -> Result<Value, Problem> {
    let read = body
        .as_str()
        .and_then(|wire| serde_json::from_str(wire).ok());
    match read.as_ref().unwrap_or(body) {
        Value::Object(_) => Ok(read.unwrap_or_else(|| body.clone())),
        _ => {
            let found = chat::found(Some(body));
            Err(Problem::of(
                name,
                format!("expected an object, found {found}"),
            ))
        }
    }
}

/// The body of a response, which may be streamed.
fn answered(body: &Value) -> Result<Value, Problem> {
    let joined = match body {
        Value::Array(events) => stream::joined(events),
        Value::String(wire) if stream::is_one(wire) => {
            stream::events(wire).and_then(|events| stream::joined(&events))
        }
        _ => return object("response", body),
    };
    joined.map_err(|what| Problem::of("response", what))
}

fn status(line: &Value) -> Option<u64> {
    let homes = [&line["response"], line];
    let mut statuses = homes.iter().filter_map(|home| home["status_code"].as_u64());
    statuses.next()
}

/// An error that says anything; some say `false` of what went well.
fn failure(home: &Value) -> Option<&Value> {
    some(home, "error").filter(|error| match error {
        Value::Bool(failed) => *failed,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

/// Why the call failed, if it did: as the answer says, or what is said beside it.
fn error(answer: &Value, beside: Option<&Value>, status: Option<u64>) -> Option<CallError> {
    if let Some(error) = failure(answer).or(beside) {
        let message = text(error, "message").or(error.as_str());
        let kind = text(error, "code").or(text(error, "type"));
        let mut error = CallError::new(message.or(kind).unwrap_or("failed"));
        error.kind = kind.map(str::to_owned);
        return Some(error);
    }
    match (status, text(answer, "status")) {
        (Some(status), _) if status >= FIRST_FAILURE => {
            Some(CallError::new(format!("HTTP status {status}")))
        }
        (_, Some("failed")) => Some(CallError::new("failed")),
        (_, Some("cancelled")) => Some(CallError::new("cancelled").with_kind(CallError::CANCELLED)),
        _ => None,
    }
}

/// What was asked, how, and by whom.
fn asked(request: &Value, call: &mut LLMCallData) {
    let Value::Object(fields) = request else {
        return;
    };
    let input = ["messages", "input", "prompt"];
    let input = input.iter().find_map(|name| some(request, name));
    call.messages = chat::messages(fields.get("instructions"), input);
    let mut parameters = fields.clone();
    parameters.retain(|name, _| !NO_PARAMETERS.contains(&name.as_str()));
    call.model_parameters = chat::parameters(parameters);
    let user = text(request, "user").or(text(request, "safety_identifier"));
    call.user_id = user.map(str::to_owned);
    let conversation = &request["conversation"];
    let session = conversation.as_str().or(text(conversation, "id"));
    call.session_id = session.map(str::to_owned);
    chat::metadata(request["metadata"].as_object(), call);
}

/// Sets how long it took, and gives the start: as the line says, else when the answer was made.
fn times(line: &Value, answer: &Value, call: &mut LLMCallData) -> Result<DateTime<Utc>, Problem> {
    let start = moment(line, &START)?;
    let end = moment(line, &END)?;
    let took = DURATION.iter().find_map(|name| millis(line, name));
    call.duration = took.or_else(|| (end? - start?).to_std().ok());
    call.time_to_first_token = millis(line, "time_to_first_token_ms");
    let ended = || end?.checked_sub_signed(chrono::TimeDelta::from_std(took?).ok()?);
    let made = ["created", "created_at"]
        .iter()
        .find_map(|name| chat::moment(answer[*name].as_f64()?));
    start.or_else(ended).or(made).or(end).ok_or_else(|| {
        Problem::of(
            "start_time",
            "nothing says when the call was: expected start_time, or created in the response",
        )
    })
}

/// A time, of which one that cannot be read would put the call into another.
fn moment(line: &Value, names: &[&str]) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some((name, value)) = names
        .iter()
        .find_map(|name| Some((*name, some(line, name)?)))
    else {
        return Ok(None);
    };
    let read = match value {
        Value::String(text) => DateTime::parse_from_rfc3339(text).ok().map(Into::into),
        value => value.as_f64().and_then(chat::moment),
    };
    read.map(Some).ok_or_else(|| {
        let found = match value {
            Value::String(_) => "another string",
            value => chat::found(Some(value)),
        };
        Problem::of(
            name,
            format!("expected a time in RFC 3339 or seconds since 1970, found {found}"),
        )
    })
}

fn millis(line: &Value, name: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(line[name].as_f64()? / 1_000.0).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The record of a pair, as JSON.
    fn record(line: &Value) -> Value {
        let turned = turn(&line.to_string());
        assert_eq!(turned.problems, [], "{line}");
        serde_json::to_value(&turned.calls[0]).unwrap()
    }

    fn problem(line: &str) -> String {
        let mut turned = turn(line);
        assert!(turned.calls.is_empty(), "{line}");
        turned.problems.remove(0).1.to_string()
    }

    fn chat_pair() -> Value {
        json!({
            "start_time": "2026-11-23T12:00:00.250Z",
            "duration_ms": 840.5,
            "time_to_first_token_ms": 99,
            "request": {
                "model": "gpt-4o",
                "messages": [{"role": "user", "content": "hi"}],
                "temperature": 0.2,
                "seed": null,
                "user": "u-1",
                "metadata": {"team": "a"},
            },
            "response": {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1_790_000_000,
                "model": "gpt-4o-2026-11-01",
                "choices": [{
                    "index": 0,
                    "message": {"role": "assistant", "content": "hello", "refusal": null, "annotations": []},
                    "finish_reason": "stop",
                }],
                "usage": {
                    "prompt_tokens": 40,
                    "completion_tokens": 25,
                    "total_tokens": 65,
                    "prompt_tokens_details": {"cached_tokens": 16},
                    "completion_tokens_details": {"reasoning_tokens": 9},
                },
            },
        })
    }

    #[test]
    fn a_chat_with_everything() {
        let mut found = record(&chat_pair());
        let id = found["id"].take();
        assert!(id.as_str().unwrap().starts_with("01a20846-fefa-7"), "{id}");
        let expected = json!({
            "id": null,
            "provider": "openai",
            "model": "gpt-4o",
            "start_time": "2026-11-23T12:00:00.250Z",
            "duration_ms": 840.5,
            "time_to_first_token_ms": 99,
            "input_tokens": 40,
            "output_tokens": 25,
            "cache_read_tokens": 16,
            "reasoning_tokens": 9,
            "messages": [{"role": "user", "content": "hi"}],
            "response": "hello",
            "model_parameters": {"temperature": 0.2},
            "user_id": "u-1",
            "metadata": {
                "team": "a",
                "gen_ai.response.model": "gpt-4o-2026-11-01",
                "gen_ai.response.finish_reasons": ["stop"],
            },
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn bodies_may_stand_in_envelopes_and_be_text() {
        let plain = record(&chat_pair());
        let mut wrapped = chat_pair();
        for name in ["request", "response"] {
            let body = wrapped[name].take();
            let key = json!({"authorization": "Bearer SECRET"});
            wrapped[name] = json!({"headers": key, "status_code": 200, "body": body.to_string()});
        }
        assert_eq!(record(&wrapped), plain);
        assert!(!record(&wrapped).to_string().contains("SECRET"));
    }

    #[test]
    fn of_an_envelope_only_the_body_is_read() {
        let mut line = chat_pair();
        line["request"] = json!({"headers": {"authorization": "SECRET"}, "body": null});
        let record = record(&line);
        assert_eq!(record["response"], "hello");
        assert_eq!(
            (&record["messages"], &record["model_parameters"]),
            (&json!(null), &json!(null))
        );
        assert!(!record.to_string().contains("SECRET"));
    }

    #[test]
    fn no_metadata_is_a_key() {
        let mut line = chat_pair();
        line["request"]["metadata"] =
            json!({"team": "a", "Api-Key": "SECRET", "hook": "https://example.com/?key=SECRET"});
        let record = record(&line);
        assert_eq!(
            (&record["metadata"]["team"], &record["metadata"]["hook"]),
            (&json!("a"), &json!("https://example.com/"))
        );
        assert!(!record.to_string().contains("SECRET"));
    }

    #[test]
    fn an_error_that_says_nothing_is_none() {
        for nothing in [json!(false), json!({}), json!([]), json!(""), json!(null)] {
            let mut beside = chat_pair();
            beside["error"] = nothing.clone();
            let mut within = chat_pair();
            within["response"]["error"] = nothing;
            for line in [beside, within] {
                let record = record(&line);
                assert_eq!(
                    (&record["error"], &record["response"]),
                    (&json!(null), &json!("hello")),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn times_are_those_of_the_line_or_the_second_of_the_answer() {
        let times = |change: Value| {
            let mut line = chat_pair();
            for name in ["start_time", "duration_ms", "time_to_first_token_ms"] {
                line.as_object_mut().unwrap().remove(name);
            }
            line.as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            let record = record(&line);
            (record["start_time"].clone(), record["duration_ms"].clone())
        };
        let noon = 1_795_435_200;
        for (given, start, duration) in [
            (json!({}), "2026-09-21T14:13:20Z", json!(null)),
            (
                json!({"start_time": noon}),
                "2026-11-23T12:00:00Z",
                json!(null),
            ),
            (
                json!({"start_time": 1_795_435_200.25}),
                "2026-11-23T12:00:00.250Z",
                json!(null),
            ),
            (
                json!({"created_at": "2026-11-23T13:00:00+01:00", "latency_ms": 5}),
                "2026-11-23T12:00:00Z",
                json!(5),
            ),
            (
                json!({"start_time": noon, "end_time": 1_795_435_201.5}),
                "2026-11-23T12:00:00Z",
                json!(1500),
            ),
            (
                json!({"end_time": noon, "duration_ms": 1500}),
                "2026-11-23T11:59:58.500Z",
                json!(1500),
            ),
            (
                json!({"start_time": noon, "duration_ms": -1}),
                "2026-11-23T12:00:00Z",
                json!(null),
            ),
            (
                json!({"start_time": noon, "end_time": 5}),
                "2026-11-23T12:00:00Z",
                json!(null),
            ),
            (
                json!({"duration_ms": "fast"}),
                "2026-09-21T14:13:20Z",
                json!(null),
            ),
        ] {
            assert_eq!(times(given.clone()), (json!(start), duration), "{given}");
        }
    }

    #[test]
    fn responses_become_chats() {
        let line = json!({
            "request": {
                "model": "gpt-5",
                "instructions": "Be brief.",
                "conversation": {"id": "conv_1"},
                "safety_identifier": "u-2",
                "reasoning": {"effort": "low"},
                "input": [
                    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Capital?"}]},
                    {"type": "function_call", "call_id": "c1", "name": "a", "arguments": "{}"},
                    {"type": "function_call", "call_id": "c2", "name": "b", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c1", "output": "Paris"},
                    {"role": "user", "content": [
                        {"type": "input_text", "text": "And?"},
                        {"type": "input_image", "image_url": "https://example.com/a.png"},
                    ]},
                    {"type": "item_reference", "id": "x"},
                ],
            },
            "response": {
                "id": "resp_1",
                "object": "response",
                "created_at": 1_790_000_000,
                "model": "gpt-5",
                "status": "incomplete",
                "error": null,
                "incomplete_details": {"reason": "max_output_tokens"},
                "output": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
                    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Pa"}, {"type": "output_text", "text": "r"}]},
                    {"type": "function_call", "call_id": "c3", "name": "a", "arguments": "{}"},
                ],
                "usage": {"input_tokens": 3, "output_tokens": 2},
            },
        });
        let record = record(&line);
        let call = |id: &str, name: &str| {
            let function = json!({"name": name, "arguments": "{}"});
            json!({"id": id, "type": "function", "function": function})
        };
        assert_eq!(
            record["messages"],
            json!([
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Capital?"},
                {"role": "assistant", "tool_calls": [call("c1", "a"), call("c2", "b")]},
                {"role": "tool", "tool_call_id": "c1", "content": "Paris"},
                {"role": "user", "content": [
                    {"type": "text", "text": "And?"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ]},
                {"type": "item_reference", "id": "x"},
            ])
        );
        let said = json!({
            "role": "assistant",
            "content": "Par",
            "reasoning_content": "Hm.",
            "tool_calls": [call("c3", "a")],
        });
        assert_eq!(record["response"], said);
        assert_eq!(
            record["model_parameters"],
            json!({"reasoning": {"effort": "low"}})
        );
        assert_eq!(record["session_id"], "conv_1");
        assert_eq!(record["user_id"], "u-2");
        assert_eq!(record["input_tokens"], 3);
        let reasons = json!({"gen_ai.response.finish_reasons": ["max_output_tokens"]});
        assert_eq!(record["metadata"], reasons);
    }

    #[test]
    fn items_that_chat_does_not_have_stay() {
        let items = json!([{"type": "web_search_call", "id": "ws_1"}]);
        let line = json!({"response": {"created_at": 1, "output": items}});
        assert_eq!(record(&line)["response"], items);
    }

    fn streamed(response: Value) -> Value {
        record(&json!({"request": {"model": "gpt-4o", "stream": true}, "response": response}))
    }

    fn chunk(delta: Value, reason: Value) -> Value {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        json!({"id": "c", "created": 1_790_000_000, "model": "gpt-4o", "choices": [choice], "usage": null})
    }

    #[test]
    fn streams_are_joined() {
        let piece = |index: u64, id: Value, name: Value, arguments: &str| {
            let function = json!({"name": name, "arguments": arguments});
            json!({"tool_calls": [{"index": index, "id": id, "function": function}]})
        };
        let chunks = json!([
            chunk(json!({"role": "assistant", "content": ""}), json!(null)),
            chunk(json!({"content": "Par"}), json!(null)),
            chunk(json!({"content": "is"}), json!(null)),
            chunk(piece(0, json!("c1"), json!("a"), ""), json!(null)),
            chunk(piece(0, json!(null), json!(null), "{\"x\""), json!(null)),
            chunk(piece(1, json!("c2"), json!("b"), "{}"), json!(null)),
            chunk(piece(0, json!(null), json!(null), ":1}"), json!(null)),
            chunk(json!({}), json!("tool_calls")),
            {"id": "c", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}},
            {"id": "c", "choices": [], "usage": null},
        ]);
        let record = streamed(chunks.clone());
        let call = |id: &str, name: &str, arguments: &str| {
            let function = json!({"name": name, "arguments": arguments});
            json!({"id": id, "type": "function", "function": function})
        };
        let calls = json!([call("c1", "a", "{\"x\":1}"), call("c2", "b", "{}")]);
        let said = json!({"role": "assistant", "content": "Paris", "tool_calls": calls});
        assert_eq!(record["response"], said);
        assert_eq!(
            (&record["input_tokens"], &record["output_tokens"]),
            (&json!(7), &json!(5))
        );
        let reasons = json!({"gen_ai.response.finish_reasons": ["tool_calls"]});
        assert_eq!(record["metadata"], reasons);

        let wire: String = chunks
            .as_array()
            .unwrap()
            .iter()
            .map(|chunk| format!("data: {chunk}\n\n"))
            .collect();
        let mut from_wire = streamed(json!(wire + "data: [DONE]\n\n"));
        assert_eq!(from_wire["response"].take(), said);
    }

    #[test]
    fn tool_calls_of_streams_keep_apart_and_keep_their_shape() {
        let piece = |call: Value| chunk(json!({"tool_calls": [call]}), json!(null));
        let mut unnamed = chunk(json!({"content": ""}), json!("tool_calls"));
        for name in ["id", "model", "error"] {
            unnamed[name] = json!("");
        }
        let given = json!([
            piece(json!({"index": 0, "id": "c1", "function": {"name": "a", "arguments": "{"}})),
            piece(json!({"index": 0, "id": "c1", "function": {"arguments": "}"}})),
            piece(
                json!({"index": 1, "id": "c3", "type": "custom", "custom": {"name": "sql", "input": ""}})
            ),
            piece(json!({"index": 0, "id": "c2", "function": {"name": "b", "arguments": "["}})),
            piece(json!({"index": 1, "custom": {"input": "select"}})),
            piece(json!({"index": 0, "id": "", "function": {"arguments": "]"}})),
            unnamed,
        ]);
        let calls = json!([
            {"id": "c1", "type": "function", "function": {"name": "a", "arguments": "{}"}},
            {"id": "c2", "type": "function", "function": {"name": "b", "arguments": "[]"}},
            {"id": "c3", "type": "custom", "custom": {"name": "sql", "input": "select"}},
        ]);
        let joined = stream::joined(given.as_array().unwrap()).unwrap();
        assert_eq!(joined["choices"][0]["message"]["tool_calls"], calls);
        assert_eq!(
            (&joined["id"], &joined["model"]),
            (&json!("c"), &json!("gpt-4o"))
        );

        let piece = |call: Value| chunk(json!({"function_call": call}), json!(null));
        let record = streamed(json!([
            piece(json!({"name": "a", "arguments": ""})),
            piece(json!({"arguments": "{\"x\""})),
            piece(json!({"arguments": ":1}"})),
        ]));
        let function = json!({"name": "a", "arguments": "{\"x\":1}"});
        assert_eq!(
            record["response"],
            json!({"role": "assistant", "function_call": function})
        );
    }

    #[test]
    fn streams_of_completions_and_responses_are_joined() {
        let piece = |text: &str, reason: Value| json!({"created": 1, "choices": [{"index": 0, "text": text, "finish_reason": reason}]});
        let record = streamed(json!([
            piece("Par", json!(null)),
            piece("is", json!("stop"))
        ]));
        assert_eq!(record["response"], "Paris");

        let output =
            json!([{"type": "message", "content": [{"type": "output_text", "text": "Paris"}]}]);
        let whole = json!({"created_at": 1, "model": "gpt-4o", "output": output});
        let created =
            json!({"type": "response.created", "response": {"created_at": 1, "output": []}});
        let end = json!({"type": "response.completed", "response": whole});
        assert_eq!(streamed(json!([created, end]))["response"], "Paris");
        let cut = json!({"request": {}, "response": [created]}).to_string();
        assert_eq!(
            problem(&cut),
            "response: the stream has no end: expected the event response.completed"
        );
    }

    #[test]
    fn what_failed_says_why() {
        let error = |line: Value| {
            let mut line = line;
            line["start_time"] = json!(1_790_000_000);
            let record = record(&line);
            (record["error"].clone(), record["metadata"].clone())
        };
        let busy = json!({"error": {"message": "busy", "type": "requests", "code": "rate_limit_exceeded"}});
        let told = json!({"kind": "rate_limit_exceeded", "message": "busy", "trace": null});
        let status = json!({"http.response.status_code": 429});
        for (line, expected) in [
            (json!({"response": busy}), (told.clone(), json!(null))),
            (
                json!({"response": {"status_code": 429, "body": busy}}),
                (told.clone(), status.clone()),
            ),
            (
                json!({"response": busy, "status_code": 429}),
                (told, status),
            ),
            (
                json!({"response": {"status_code": 502, "body": {}}}),
                (
                    json!("HTTP status 502"),
                    json!({"http.response.status_code": 502}),
                ),
            ),
            (
                json!({"response": {"status_code": 502, "body": "<html>busy</html>"}}),
                (
                    json!("HTTP status 502"),
                    json!({"http.response.status_code": 502}),
                ),
            ),
            (
                json!({"response": "", "status_code": 502}),
                (
                    json!("HTTP status 502"),
                    json!({"http.response.status_code": 502}),
                ),
            ),
            (
                json!({"response": {"status_code": 502, "headers": {"x": "y"}, "body": null}}),
                (
                    json!("HTTP status 502"),
                    json!({"http.response.status_code": 502}),
                ),
            ),
            (
                json!({"error": "timed out"}),
                (json!("timed out"), json!(null)),
            ),
            (
                json!({"response": {"status": "failed", "error": {"code": "server_error", "message": "oh"}}}),
                (
                    json!({"kind": "server_error", "message": "oh", "trace": null}),
                    json!(null),
                ),
            ),
            (
                json!({"response": [{"type": "error", "code": "server_error", "message": "oh"}]}),
                (
                    json!({"kind": "server_error", "message": "oh", "trace": null}),
                    json!(null),
                ),
            ),
            (
                json!({"custom_id": "q", "response": null, "error": {"code": "batch_expired", "message": "late"}}),
                (
                    json!({"kind": "batch_expired", "message": "late", "trace": null}),
                    json!({"custom_id": "q"}),
                ),
            ),
        ] {
            assert_eq!(error(line.clone()), expected, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_turned_is_named_and_not_quoted() {
        let no_time = json!({"request": {"model": "m"}, "response": {"id": "SECRET"}});
        let bad_time = json!({"start_time": "SECRET", "request": {}, "response": {}});
        let input =
            json!({"custom_id": "q", "method": "POST", "url": "/v1", "body": {"model": "SECRET"}});
        for (line, expected) in [
            (
                json!(["SECRET"]),
                "expected an object with request and response, found an array",
            ),
            (
                json!({"request": {"model": "SECRET"}}),
                "response: expected an object, found nothing",
            ),
            (
                input,
                "the input of a batch, which has no answer: take the batch's output file",
            ),
            (
                json!({"request": "SECRET", "response": {}}),
                "request: expected an object, found a string",
            ),
            (
                json!({"request": {}, "response": 7}),
                "response: expected an object, found a number",
            ),
            (
                json!({"request": {}, "response": {"status_code": 204, "headers": {"x": "SECRET"}, "body": null}}),
                "response: expected an object, found nothing",
            ),
            (
                json!({"response": {"status_code": 200, "headers": {"x": "SECRET"}, "json": {"id": "x"}}}),
                "response: expected an object, found nothing",
            ),
            (
                json!({"request": {}, "response": "<html>SECRET"}),
                "response: expected an object, found a string",
            ),
            (
                json!({"response": "data: {\"choices\": [{}]}\n\ndata: {\"SECRET\n\n"}),
                "response: an event of the stream is no JSON",
            ),
            (
                json!({"request": {}, "response": []}),
                "response: expected the events of a stream",
            ),
            (
                no_time,
                "start_time: nothing says when the call was: expected start_time, or created in the response",
            ),
            (
                bad_time,
                "start_time: expected a time in RFC 3339 or seconds since 1970, found another string",
            ),
            (
                json!({"start_time": -5, "request": {}, "response": {}}),
                "start_time: expected a time in RFC 3339 or seconds since 1970, found a number",
            ),
        ] {
            assert_eq!(problem(&line.to_string()), expected, "{line}");
        }
        let deep = format!("{{\"request\":{}{}}}", "[".repeat(120), "]".repeat(120));
        assert!(problem(&deep).starts_with("JSON is more than 100 levels deep"));
    }

    #[test]
    fn ids_are_of_the_call_and_not_of_how_it_is_written() {
        let pair = chat_pair();
        let pretty = serde_json::to_string_pretty(&pair).unwrap();
        let id = |text: &str| turn(text).calls[0].id();
        assert_eq!(id(&pair.to_string()), id(&pretty));
        for (place, other) in [
            ("/response/id", json!("chatcmpl-2")),
            ("/request/messages/0/content", json!("hi there")),
            ("/start_time", json!("2026-11-23T12:00:01Z")),
        ] {
            let mut changed = pair.clone();
            *changed.pointer_mut(place).unwrap() = other;
            assert_ne!(id(&changed.to_string()), id(&pretty), "{place}");
        }
    }

    proptest! {
        #[test]
        fn no_json_panics(pair in crate::import::chat::tests::changed(vec![
            chat_pair(),
            json!({"response": [chunk(json!({"content": "x"}), json!("stop"))]}),
            json!({"response": {"output": [{"type": "reasoning", "summary": [{"text": "x"}]}], "created_at": 1}}),
        ])) {
            let turned = turn(&pair.to_string());
            prop_assert_eq!(turned.calls.len() + turned.problems.len(), 1);
            for call in &turned.calls {
                prop_assert!(serde_json::to_string(call).is_ok());
            }
        }
    }
}
