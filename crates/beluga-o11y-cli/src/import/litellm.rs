//! LiteLLM's `StandardLoggingPayload`, as its loggers write it: one a line, or a list of them.

use std::{collections::BTreeMap, time::Duration};

use beluga_o11y::{CallError, Json, LLMCallData, Usage};
use serde_json::{Map, Value};

use super::{Turned, chat, chat::text};
use crate::{identity, record::Problem};

/// What is kept of a payload besides what a record has a place for, if it says anything. Not kept is what tells of keys
/// (`user_api_key_hash`), addresses (`api_base`, which may hold a key) and people (`user_api_key_user_email`).
const KEPT: [&str; 2] = ["litellm_call_id", "model_group"];
const KEPT_OF_METADATA: [&str; 2] = ["user_api_key_alias", "user_api_key_team_alias"];

/// Metadata of the one who called, by the name of the field in the payload's.
const REQUESTED: [&str; 2] = ["requester_metadata", "spend_logs_metadata"];
/// Of these, what stands in the record elsewhere.
const NOT_KEPT: [&str; 3] = ["session_id", "tags", "trace_id"];

pub(super) fn turn(document: &str) -> Turned {
    let mut turned = Turned::default();
    let payloads = match chat::read(document) {
        Ok(Value::Array(payloads)) => payloads,
        Ok(payload) => vec![payload],
        Err(problem) => {
            turned.problems.push((0, problem));
            return turned;
        }
    };
    for payload in &payloads {
        match call(payload) {
            Ok(Some(call)) => turned.calls.push(call),
            Ok(None) => turned.others += 1,
            Err(problem) => turned.problems.push((0, problem)),
        }
    }
    turned
}

/// The call of a payload, unless it tells of something else, such as files and batches.
fn call(payload: &Value) -> Result<Option<LLMCallData>, Problem> {
    if !payload.is_object() {
        let found = chat::found(Some(payload));
        return Err(Problem::new(format!(
            "expected a payload of LiteLLM, an object, found {found}"
        )));
    }
    let start = payload.get("startTime");
    let seconds = start.and_then(Value::as_f64);
    let start = seconds.and_then(chat::moment).ok_or_else(|| {
        let found = chat::found(start);
        Problem::of(
            "startTime",
            format!("expected seconds since 1970, found {found}"),
        )
    })?;
    let call_type = text(payload, "call_type").unwrap_or_default();
    let Some(model) = text(payload, "model").filter(|_| !call_type.contains("mcp")) else {
        return Ok(None);
    };
    let provider = match text(payload, "custom_llm_provider").unwrap_or_default() {
        // LiteLLM's name for OpenAI's old API.
        "text-completion-openai" => "openai",
        provider => provider,
    };
    // A router has it as `provider/model`.
    let bare = model
        .strip_prefix(provider)
        .and_then(|rest| rest.strip_prefix('/'));
    let mut call = LLMCallData::new(provider, bare.unwrap_or(model)).with_start_time(start);
    call.duration = seconds_since(payload, "endTime");
    // Where nothing is streamed, it is when the answer was there.
    if payload["stream"] == true {
        call.time_to_first_token = seconds_since(payload, "completionStartTime");
    }
    call.usage = usage(payload);
    call.cost = cost(payload, &call.usage);
    call.trace_id = text(payload, "trace_id").map(str::to_owned);
    let tags = payload["request_tags"].as_array().into_iter().flatten();
    call.tags = tags.filter_map(Value::as_str).map(str::to_owned).collect();
    chat::answer(&payload["response"], &mut call);
    // The proxy gives its own name for the model back.
    let group = text(payload, "model_group").map(Json::from);
    if group.is_some() && call.metadata.get(chat::RESPONSE_MODEL) == group.as_ref() {
        call.metadata.remove(chat::RESPONSE_MODEL);
    }
    parameters(payload, &mut call);
    metadata(payload, call_type, &mut call);
    call.error = error(payload, &mut call.metadata);
    call.validate()?;
    let own = text(payload, "id").map_or_else(|| payload.to_string(), str::to_owned);
    // Servers that stand in for others may give every answer the same id.
    let asked = text(payload, "litellm_call_id").unwrap_or_default();
    let parts = [
        b"litellm\0".as_slice(),
        own.as_bytes(),
        b"\0",
        asked.as_bytes(),
    ];
    let id = identity::made(start, parts);
    Ok(Some(call.with_id(id)))
}

/// How long after the start; it cannot be before it.
fn seconds_since(payload: &Value, name: &str) -> Option<Duration> {
    let seconds = payload[name].as_f64()? - payload["startTime"].as_f64()?;
    // As precise as the times are.
    Duration::try_from_secs_f64((seconds * 1e6).round() / 1e6).ok()
}

/// Where nothing was counted, LiteLLM says 0.
fn usage(payload: &Value) -> Usage {
    let homes = ["/metadata/usage_object", "/response/usage"];
    let counted = homes.iter().filter_map(|home| payload.pointer(home));
    let mut usages = counted.chain([payload]).map(Usage::from_openai);
    let counts = |usage: &Usage| usage.input_tokens.max(usage.output_tokens) > Some(0);
    usages.find(counts).unwrap_or_default()
}

/// Where no price is known, LiteLLM says 0 as well. Less than that is no price.
fn cost(payload: &Value, usage: &Usage) -> Option<f64> {
    let cost = payload["response_cost"].as_f64()?;
    if !(0.0..f64::INFINITY).contains(&cost) {
        return None;
    }
    let priced = payload.pointer("/hidden_params/response_cost");
    let priced = priced.is_some_and(Value::is_number);
    let free = payload["cache_hit"] == true || (priced && *usage != Usage::default());
    (cost != 0.0 || free).then_some(cost)
}

/// What was asked, how, and by whom.
fn parameters(payload: &Value, call: &mut LLMCallData) {
    let mut parameters = match &payload["model_parameters"] {
        Value::Object(parameters) => parameters.clone(),
        _ => Map::new(),
    };
    let user = parameters.remove("user");
    let end_user = text(payload, "end_user").map(str::to_owned);
    call.user_id = end_user.or_else(|| Some(user?.as_str()?.to_owned()).filter(|s| !s.is_empty()));
    // Of the responses API; in other payloads they are the first message.
    let instructions = parameters.remove("instructions");
    call.messages = chat::messages(instructions.as_ref(), payload.get("messages"));
    call.model_parameters = chat::parameters(parameters);
}

fn metadata(payload: &Value, call_type: &str, call: &mut LLMCallData) {
    let metadata = &payload["metadata"];
    let given = KEPT.iter().map(|name| (payload, *name));
    let given = given.chain(KEPT_OF_METADATA.iter().map(|name| (metadata, *name)));
    for (home, name) in given {
        if let Some(value) = text(home, name) {
            call.metadata.insert(name.to_owned(), value.into());
        }
    }
    if !call_type.is_empty() && !matches!(call_type, "completion" | "acompletion") {
        call.metadata
            .insert("call_type".to_owned(), call_type.into());
    }
    if payload["cache_hit"] == true {
        call.metadata
            .insert("cache_hit".to_owned(), Json::new(&true));
    }
    let session = text(payload, "session_id");
    let requested = || REQUESTED.iter().map(|name| &metadata[*name]);
    let mut sessions = requested().filter_map(|given| text(given, "session_id"));
    call.session_id = session.or_else(|| sessions.next()).map(str::to_owned);
    for mut given in requested().filter_map(Value::as_object).cloned() {
        given.retain(|name, _| !NOT_KEPT.contains(&name.as_str()));
        chat::metadata(Some(&given), call);
    }
}

/// Why the call failed, if it did.
fn error(payload: &Value, metadata: &mut BTreeMap<String, Json>) -> Option<CallError> {
    let information = &payload["error_information"];
    let told = text(payload, "error_str");
    let failed = match text(payload, "status") {
        Some(status) => status == "failure",
        None => told.is_some(),
    };
    if !failed {
        return None;
    }
    // LiteLLM takes keys out of this one.
    let message = text(information, "error_message").or(told);
    let mut error = CallError::new(message.unwrap_or("failed"));
    error.kind = text(information, "error_class").map(str::to_owned);
    error.trace = text(information, "traceback").map(str::to_owned);
    if let Some(Ok(status)) = text(information, "error_code").map(str::parse::<u16>) {
        metadata.insert("http.response.status_code".to_owned(), Json::new(&status));
    }
    Some(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// As LiteLLM 1.106.2 wrote them, of calls to a mock, without what is null or long.
    const PAYLOADS: &str = include_str!("../../tests/fixtures/litellm.jsonl");

    const MOCK: usize = 0;
    const STREAMED: usize = 1;
    const UNCOUNTED: usize = 2;
    const BUSY: usize = 3;
    const UNPRICED: usize = 4;
    const TOOL: usize = 5;
    const VECTORS: usize = 6;
    const RESPONSES: usize = 7;
    const ANTHROPIC: usize = 9;
    const ROUTED: usize = 11;
    const REDACTED: usize = 12;
    const SESSION: usize = 13;
    /// By the proxy, which was given a user, a session and metadata.
    const PROXY: usize = 14;

    fn payload(number: usize) -> Value {
        serde_json::from_str(PAYLOADS.lines().nth(number).unwrap()).unwrap()
    }

    /// The record of a payload, as JSON.
    fn record(payload: &Value) -> Value {
        let turned = turn(&payload.to_string());
        assert_eq!(turned.problems, []);
        serde_json::to_value(&turned.calls[0]).unwrap()
    }

    fn recorded(number: usize) -> Value {
        record(&payload(number))
    }

    fn changed(number: usize, place: &str, value: Value) -> Value {
        let mut payload = payload(number);
        let (home, name) = place.rsplit_once('/').unwrap();
        payload.pointer_mut(home).unwrap()[name] = value;
        payload
    }

    fn asked() -> Value {
        json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Capital of France?"},
        ])
    }

    #[test]
    fn a_call_with_everything() {
        let mut found = recorded(MOCK);
        let id = found["id"].take();
        assert!(id.as_str().unwrap().starts_with("01a20b78-4aa5-7"), "{id}");
        let expected = json!({
            "id": null,
            "provider": "openai",
            "model": "gpt-4o",
            "start_time": "2026-11-24T02:52:42.533259Z",
            "duration_ms": 227.529,
            "input_tokens": 10,
            "output_tokens": 20,
            "cost": 0.00022500000000000002,
            "messages": asked(),
            "response": "Paris",
            "model_parameters": {"max_tokens": 5, "temperature": 0.2},
            "user_id": "u-1",
            "tags": ["prod", "a"],
            "trace_id": "s-1",
            "metadata": {
                "gen_ai.response.finish_reasons": ["stop"],
                "litellm_call_id": "bcd17106-f7a4-4ffe-a9d1-efcb44ae8d9b",
            },
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_stream_has_a_first_token_and_an_answer_none() {
        let streamed = recorded(STREAMED);
        assert_eq!(streamed["time_to_first_token_ms"], 7.306);
        assert_eq!(streamed["duration_ms"], 16.577);
        assert_eq!(streamed["input_tokens"], 140);
        assert_eq!(streamed["output_tokens"], 125);
        assert_eq!(streamed["cache_read_tokens"], 16);
        assert_eq!(streamed["reasoning_tokens"], 9);
        assert_eq!(recorded(TOOL)["time_to_first_token_ms"], Value::Null);
    }

    #[test]
    fn zero_that_was_not_counted_is_unknown() {
        let unknown = ["input_tokens", "output_tokens", "cost", "reasoning_tokens"];
        for number in [UNCOUNTED, BUSY] {
            let record = recorded(number);
            assert!(
                unknown.iter().all(|name| record[*name].is_null()),
                "{number}"
            );
        }
        let unpriced = recorded(UNPRICED);
        assert_eq!(
            (&unpriced["input_tokens"], &unpriced["cost"]),
            (&json!(40), &json!(null))
        );
        // A model of one's own may be free, and an answer out of LiteLLM's cache is.
        let free = changed(UNPRICED, "/hidden_params/response_cost", json!(0.0));
        assert_eq!(record(&free)["cost"], 0.0);
        let cached = record(&changed(UNPRICED, "/cache_hit", json!(true)));
        assert_eq!(
            (&cached["cost"], &cached["metadata"]["cache_hit"]),
            (&json!(0.0), &json!(true))
        );
        // What is less than nothing is not known either.
        let negative = record(&changed(MOCK, "/response_cost", json!(-1.5)));
        assert_eq!(
            (&negative["cost"], &negative["output_tokens"]),
            (&json!(null), &json!(20))
        );
    }

    #[test]
    fn an_error_says_why() {
        let record = recorded(BUSY);
        assert_eq!(record["model"], "busy-model");
        assert_eq!(record["error"]["kind"], "RateLimitError");
        let message = record["error"]["message"].as_str().unwrap();
        assert!(message.ends_with("Try again in 20 s."), "{message}");
        let trace = record["error"]["trace"].as_str().unwrap();
        assert!(trace.contains("raise RateLimitError"), "{trace}");
        assert_eq!(record["metadata"]["http.response.status_code"], 429);
        assert_eq!(record["response"], Value::Null);
        assert_eq!(recorded(MOCK)["error"], Value::Null);
    }

    #[test]
    fn cached_tokens_of_anthropic_are_part_of_the_input() {
        let record = recorded(ANTHROPIC);
        let counts = [
            "input_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "output_tokens",
        ];
        assert_eq!(
            counts.map(|name| record[name].as_u64().unwrap()),
            [117, 100, 7, 3]
        );
        assert_eq!(
            (&record["provider"], &record["model"]),
            (&json!("anthropic"), &json!("claude-sonnet-4-5"))
        );
    }

    #[test]
    fn answers_of_other_kinds() {
        let called = recorded(TOOL);
        assert_eq!(
            called["response"]["tool_calls"][0]["function"]["name"],
            "capital"
        );
        assert_eq!(called["response"]["content"], Value::Null);
        assert!(called["model_parameters"]["tools"].is_array());
        let vectors = recorded(VECTORS);
        assert_eq!(vectors["response"], Value::Null);
        assert_eq!(vectors["input_tokens"], 14);
        assert_eq!(vectors["metadata"]["gen_ai.operation.name"], "embeddings");
        let responses = recorded(RESPONSES);
        assert_eq!(responses["response"], "Paris is the capital.");
        assert_eq!(
            responses["messages"][0],
            json!({"role": "system", "content": "Be brief."})
        );
        assert_eq!(responses["model_parameters"], json!({"stream": true}));
        let redacted = recorded(REDACTED);
        assert_eq!(redacted["response"], "redacted-by-litellm");
        assert_eq!(redacted["messages"][0]["content"], "redacted-by-litellm");
    }

    #[test]
    fn what_is_written_twice_is_one_call() {
        let ids = |number| recorded(number)["id"].clone();
        assert_eq!(ids(RESPONSES), ids(RESPONSES + 1));
        let again = changed(RESPONSES, "/response_time", json!(0.5));
        assert_eq!(record(&again)["id"], ids(RESPONSES));
        let all: std::collections::BTreeSet<String> =
            (0..15).map(|number| ids(number).to_string()).collect();
        assert_eq!(all.len(), 14);
    }

    #[test]
    fn a_router_names_the_group_and_not_the_provider() {
        let record = recorded(ROUTED);
        assert_eq!(
            (&record["provider"], &record["model"]),
            (&json!("openai"), &json!("gpt-4o"))
        );
        assert_eq!(record["metadata"]["model_group"], "fast");
        assert_eq!(
            record["metadata"]["gen_ai.response.model"],
            "gpt-4o-2026-11-01"
        );
    }

    #[test]
    fn sessions_users_and_what_the_caller_says() {
        let record_of = |place, value| record(&changed(MOCK, place, value));
        let session = recorded(SESSION);
        assert_eq!(
            (&session["session_id"], &session["trace_id"]),
            (&json!("ls-2"), &json!("lt-2"))
        );
        assert_eq!(record_of("/end_user", json!("u-9"))["user_id"], "u-9");
        let given = json!({"session_id": "s-9", "tags": ["x"], "team": {"a": 1}});
        let asked = record_of("/metadata/requester_metadata", given);
        assert_eq!(
            (&asked["session_id"], &asked["metadata"]["team"]),
            (&json!("s-9"), &json!({"a": 1}))
        );
        assert_eq!(asked["metadata"]["tags"], Value::Null);
    }

    #[test]
    fn no_key_no_address_and_no_mail_is_kept() {
        let mut payload = payload(MOCK);
        for name in [
            "user_api_key_hash",
            "user_api_key_user_email",
            "requester_ip_address",
        ] {
            payload["metadata"][name] = json!("SECRET");
        }
        for given in REQUESTED {
            payload["metadata"][given] = json!({
                "Authorization": "SECRET",
                "user_api_key": "SECRET",
                "user_api_key_hash": "SECRET",
                "headers": {"x": "SECRET"},
                "used_client_oauth_token": "SECRET",
                "proxy": {"Headers": {"x": "SECRET"}, "url": "https://example.com/?key=SECRET"},
                "hook": "https://example.com/?key=SECRET",
                "team": "blue",
            });
        }
        payload["metadata"]["user_api_key_alias"] = json!("batch jobs");
        payload["metadata"]["user_api_key_team_alias"] = json!("blue");
        payload["api_base"] = json!("https://example.com/?key=SECRET");
        payload["hidden_params"]["api_base"] = json!("https://example.com/?key=SECRET");
        let record = record(&payload);
        assert!(!record.to_string().contains("SECRET"));
        assert_eq!(record["metadata"]["user_api_key_alias"], "batch jobs");
        assert_eq!(record["metadata"]["user_api_key_team_alias"], "blue");
        assert_eq!(
            record["metadata"]["proxy"],
            json!({"url": "https://example.com/"})
        );
        assert_eq!(record["metadata"]["team"], "blue");
    }

    #[test]
    fn the_proxy_tells_of_who_called() {
        let record = recorded(PROXY);
        assert_eq!(
            (&record["provider"], &record["model"]),
            (&json!("openai"), &json!("gpt-4o"))
        );
        assert_eq!(
            (&record["user_id"], &record["session_id"]),
            (&json!("u-7"), &json!("sess-1"))
        );
        assert_eq!(record["tags"][0], "t1");
        let metadata = json!({
            "gen_ai.response.finish_reasons": ["stop"],
            "litellm_call_id": "1aeffa97-87d6-4f18-bfbd-3f909e2f9bd9",
            "model_group": "fast",
            "team": "blue",
        });
        assert_eq!(record["metadata"], metadata);
    }

    #[test]
    fn what_is_no_call_is_left_out() {
        let files = changed(MOCK, "/model", json!(""));
        let tool = changed(MOCK, "/call_type", json!("call_mcp_tool"));
        for payload in [files, tool] {
            let turned = turn(&payload.to_string());
            assert_eq!(
                (turned.calls.len(), turned.problems.len(), turned.others),
                (0, 0, 1)
            );
        }
    }

    #[test]
    fn a_list_is_as_many_payloads() {
        let lines: Vec<&str> = PAYLOADS.lines().collect();
        let turned = turn(&format!("[{}]", lines.join(",")));
        assert_eq!((turned.calls.len(), turned.problems.len()), (15, 0));
    }

    #[test]
    fn what_cannot_be_turned_is_named_and_not_quoted() {
        let time = |value| changed(MOCK, "/startTime", value).to_string();
        let start = "startTime: expected seconds since 1970, found";
        for (document, expected) in [
            (time(json!("SECRET")), format!("{start} a string")),
            (time(json!(null)), format!("{start} null")),
            (time(json!(-1)), format!("{start} a number")),
            (time(json!(1e300)), format!("{start} a number")),
            ("{}".to_owned(), format!("{start} nothing")),
            (
                "7".to_owned(),
                "expected a payload of LiteLLM, an object, found a number".to_owned(),
            ),
        ] {
            let turned = turn(&document);
            assert!(turned.calls.is_empty());
            assert_eq!(turned.problems[0].1.to_string(), expected);
        }
        // What else is wrong costs no call.
        for place in [
            "/endTime",
            "/messages",
            "/response",
            "/request_tags",
            "/metadata",
            "/id",
            "/response_cost",
        ] {
            record(&changed(MOCK, place, json!(-7)));
        }
    }

    proptest! {
        #[test]
        fn no_json_panics(payload in chat::tests::changed(
            [MOCK, STREAMED, BUSY, TOOL, RESPONSES].map(payload).to_vec(),
        )) {
            let turned = turn(&payload.to_string());
            for call in &turned.calls {
                prop_assert!(serde_json::to_string(call).is_ok());
            }
        }
    }
}
