//! What becomes of odd values, and of those that contradict each other.

mod support;

use std::{error::Error, io, panic::panic_any, thread, time::Duration};

use beluga_o11y::{InMemoryExporter, LLMCallData, Usage};
use beluga_o11y_tracing::{CallScope, LlmCallLayer};
use serde_json::{Value, json};
use support::{Lines, calls, calls_with, one, value};
use tracing::{
    Span, error,
    field::{Empty, display},
    info_span,
    subscriber::with_default,
    warn,
};
use tracing_subscriber::{Registry, filter::LevelFilter, fmt as log, prelude::*};

const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
const NO_ANSWER: &str = "no answer was recorded";

/// A call without an answer.
macro_rules! unanswered {
    ($($more:tt)*) => {
        info_span!("chat", gen_ai.operation.name = "chat", $($more)*)
    };
}

/// A call with one.
macro_rules! chat {
    ($($more:tt)*) => {
        unanswered!(gen_ai.response.id = "1", $($more)*)
    };
}

/// The record of a call with an answer.
macro_rules! record {
    ($($more:tt)*) => {
        one(|| drop(chat!($($more)*)))
    };
}

fn metadata(call: &LLMCallData, key: &str) -> Option<Value> {
    call.metadata.get(key).and_then(|value| value.read().ok())
}

fn error(call: LLMCallData) -> Option<String> {
    call.error.map(|error| error.message)
}

/// The record of a call of a layer that wants no content.
fn without_content(run: impl FnOnce()) -> LLMCallData {
    let mut calls = calls_with(|builder| builder.with_content(false), run);
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

#[test]
fn json_that_is_too_deep_to_keep_as_json_costs_no_call() {
    for depth in [100, 110, 130] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        record!(gen_ai.tool.definitions = deep.as_str());
        record!(gen_ai.response.finish_reasons = deep.as_str());
        record!(gen_ai.request.stop_sequences = deep.as_str());
        let system = format!(r#"[{{"type":"x","content":{deep}}}]"#);
        let call = record!(gen_ai.system_instructions = system.as_str());
        assert_ne!(value(&call.messages), json!(""), "{depth}");
    }
}

#[test]
fn what_is_told_last_or_best_is_the_error() {
    let boom = Some("boom");
    for (call, message) in [
        (record!(error = false), None),
        (record!(error = true), Some("the call failed")),
        (record!(error.message = "boom", error = ""), boom),
        (
            record!(
                exception.message = "boom",
                otel.status_description = "",
                otel.status_code = "ERROR"
            ),
            boom,
        ),
        // An event completes what the span tells of.
        (
            one(|| chat!(error.type = "429").in_scope(|| error!("boom"))),
            boom,
        ),
        (
            one(|| chat!(error.message = "boom").in_scope(|| error!("later"))),
            boom,
        ),
        (
            one(|| {
                unanswered!().in_scope(|| {
                    error!("boom");
                    error!(code = 5);
                });
            }),
            boom,
        ),
    ] {
        assert_eq!(error(call).as_deref(), message);
    }
}

#[test]
fn only_events_of_level_error_in_the_call_itself_tell_of_errors() {
    let warned = one(|| unanswered!().in_scope(|| warn!("not so bad")));
    assert!(error(warned).unwrap().starts_with(NO_ANSWER));
    let in_a_tool = one(|| {
        let _call = unanswered!().entered();
        info_span!("tool", gen_ai.operation.name = "execute_tool")
            .in_scope(|| error!("of the tool"));
    });
    assert!(error(in_a_tool).unwrap().starts_with(NO_ANSWER));
    let in_a_span_of_the_program = one(|| {
        let _call = unanswered!().entered();
        info_span!("step", beluga.user.id = "u").in_scope(|| error!("of the call"));
    });
    assert_eq!(
        error(in_a_span_of_the_program).as_deref(),
        Some("of the call")
    );
}

#[test]
fn a_blank_or_senseless_value_replaces_no_other() {
    let call = record!(
        gen_ai.system = "openai",
        gen_ai.provider.name = "",
        gen_ai.request.model = " ",
        gen_ai.response.model = "m",
        gen_ai.usage.input_tokens = 500,
        gen_ai.usage.prompt_tokens = -1,
        gen_ai.input.messages = "hi",
        gen_ai.prompt = "",
    );
    assert_eq!(
        (call.provider.as_str(), call.model.as_str()),
        ("openai", "m")
    );
    assert_eq!(call.usage.input_tokens, Some(500));
    assert_eq!(value(&call.messages), json!("hi"));

    let call = record!(gen_ai.request.model = "m", gen_ai.response.model = "");
    assert_eq!(call.model, "m");
    assert_eq!(metadata(&call, "gen_ai.response.model"), None);
}

#[test]
fn the_new_name_of_a_field_wins_whatever_comes_first() {
    for call in [
        record!(
            gen_ai.provider.name = "new",
            gen_ai.system = "old",
            gen_ai.input.messages = "new",
            gen_ai.prompt = "old",
            gen_ai.output.messages = "new",
            gen_ai.completion = "old",
        ),
        record!(
            gen_ai.system = "old",
            gen_ai.provider.name = "new",
            gen_ai.prompt = "old",
            gen_ai.input.messages = "new",
            gen_ai.completion = "old",
            gen_ai.output.messages = "new",
        ),
    ] {
        assert_eq!(call.provider, "new");
        assert_eq!(value(&call.messages), json!("new"));
        assert_eq!(value(&call.response), json!("new"));
    }
}

#[test]
fn what_has_a_place_of_its_own_is_not_metadata() {
    let call = record!(
        rig.completion_parent = true,
        gen_ai.conversation.id = "c",
        gen_ai.agent.name = "Unnamed Agent",
        gen_ai.request.choice.count = 2,
        beluga.cost = 0.0,
    );
    let keys: Vec<_> = call.metadata.keys().collect();
    assert_eq!(keys, ["gen_ai.response.id"]);
    assert_eq!(value(&call.model_parameters), json!({"n": 2}));
    assert_eq!(call.cost, Some(0.0));

    let of_langchain = one(|| {
        info_span!(
            target: "langchain_rust::observability",
            "llm.generate",
            provider = "openai",
            model = "m",
            beluga.user.id = "u",
        );
    });
    assert_eq!(of_langchain.user_id.as_deref(), Some("u"));
    assert_eq!(metadata(&of_langchain, "beluga.user.id"), None);
}

#[test]
fn a_blank_or_senseless_value_is_no_answer() {
    for call in [
        one(|| drop(unanswered!(gen_ai.response.id = ""))),
        one(|| drop(unanswered!(gen_ai.usage.input_tokens = "unknown"))),
    ] {
        assert!(error(call).unwrap().starts_with(NO_ANSWER));
    }
}

#[test]
fn without_content_an_answer_is_an_answer_and_a_blank_one_is_none() {
    const OUTPUT: &str = r#"[{"role":"assistant","parts":[{"type":"text","content":"hi"}]}]"#;
    let is_answer = |call: fn() -> Span| without_content(|| drop(call())).error.is_none();
    assert!(is_answer(|| unanswered!(gen_ai.completion = "hi")));
    assert!(is_answer(|| unanswered!(gen_ai.output.messages = OUTPUT)));
    assert!(!is_answer(|| unanswered!(gen_ai.output.messages = " ")));
    // Recorded later, and formatted.
    assert!(is_answer(|| {
        let call = unanswered!(gen_ai.output.messages = Empty);
        call.record("gen_ai.output.messages", display("hi"));
        call
    }));
}

/// `#[instrument]` makes a field of every argument, so that a text may be content under any name.
#[test]
fn without_content_the_text_of_a_field_that_nobody_knows_is_left_out() {
    let failed = io::Error::other("SECRET");
    let calls: [&dyn Fn() -> Span; 4] = [
        &|| {
            chat!(
                gen_ai.request.prompt = "SECRET",
                gen_ai.input.text = "SECRET",
                gen_ai.embeddings.input = "SECRET",
                gen_ai.retrieval.query.text = "SECRET",
                gen_ai.tool.description = "SECRET",
                llm.prompts = "SECRET",
                llm.prompt_template.variables = "SECRET",
                traceloop.entity.input = "SECRET",
            )
        },
        &|| chat!(input = "SECRET", prompt = ?"SECRET", user_input = ?"SECRET", notes = %"SECRET"),
        &|| chat!(my.notes = "SECRET", my.error = &failed as &dyn Error),
        &|| {
            let call = chat!(my.notes = Empty, prompt = Empty);
            call.record("my.notes", "SECRET");
            call.record("prompt", display("SECRET"));
            call
        },
    ];
    for make in calls {
        let call = without_content(|| drop(make()));
        let text = serde_json::to_string(&call).unwrap();
        assert!(!text.contains("SECRET"), "{text}");
    }
}

#[test]
fn without_content_what_is_known_not_to_be_content_stays() {
    let call = without_content(|| {
        drop(chat!(
            gen_ai.request.model = "m",
            gen_ai.response.model = "m-1",
            gen_ai.agent.name = %"planner",
            server.address = "api.openai.com",
            error.type = "429",
            my.count = 7,
            my.flag = true,
            my.share = 0.5,
            beluga.session.id = "s",
            beluga.user.id = ?"u",
            beluga.tags = "a, b",
            beluga.metadata.tenant = "acme",
        ));
    });
    let seen: Value = call
        .metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.read::<Value>().unwrap()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let expected = json!({
        "gen_ai.response.id": "1",
        "gen_ai.response.model": "m-1",
        "gen_ai.agent.name": "planner",
        "server.address": "api.openai.com",
        "my.count": 7,
        "my.flag": true,
        "my.share": 0.5,
        "tenant": "acme",
    });
    assert_eq!(seen, expected);
    assert_eq!(call.error.unwrap().kind.as_deref(), Some("429"));
    assert_eq!(call.session_id.as_deref(), Some("s"));
    assert_eq!(call.user_id.as_deref(), Some("u"));
    assert_eq!(call.tags, ["a", "b"]);
}

#[test]
fn formatted_values_are_read_as_they_were_meant() {
    let call = record!(gen_ai.request.stream = ?Some(true));
    assert_eq!(value(&call.model_parameters), json!({"stream": true}));
    // Rust quotes the character between the two others as JSON does not.
    let family = "he said \"hi\" \u{1f468}\u{200d}\u{1f469}\n";
    assert_eq!(
        value(&record!(gen_ai.prompt = ?family).messages),
        json!(family)
    );
    let quotes = r#""a" and "b""#;
    let call = record!(gen_ai.prompt = %quotes, gen_ai.completion = quotes);
    assert_eq!(value(&call.messages), json!(quotes));
    assert_eq!(value(&call.response), json!(quotes));
}

#[test]
fn finish_reasons_are_a_list_and_their_field_wins_over_the_messages() {
    let output = r#"[{"role":"assistant","parts":[],"finish_reason":"length"}]"#;
    for call in [
        record!(gen_ai.response.finish_reasons = "stop"),
        record!(
            gen_ai.response.finish_reasons = r#"["stop"]"#,
            gen_ai.output.messages = output,
        ),
    ] {
        assert_eq!(metadata(&call, FINISH_REASONS), Some(json!(["stop"])));
    }
}

#[test]
fn messages_of_other_shapes_lose_nothing() {
    let output = |messages: &str| record!(gen_ai.output.messages = messages).response;
    let input = |messages: &str| record!(gen_ai.input.messages = messages).messages;
    for (content, kept) in [
        (
            output(
                r#"[{"parts":[{"type":"text","content":"x"},{"type":"tool_call","id":"1","name":"f","arguments":{}}]}]"#,
            ),
            "tool_calls",
        ),
        (
            output(
                r#"[{"role":"assistant","parts":[{"type":"reasoning","content":["deep thought"]},{"type":"text","content":"x"}]}]"#,
            ),
            "deep thought",
        ),
        (
            input(
                r#"[{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":null,"result":"a cat"}]}]"#,
            ),
            "a cat",
        ),
    ] {
        let content = value(&content).to_string();
        assert!(content.contains(kept), "{content}");
    }
    let call = record!(gen_ai.tool.call.arguments = r#"{"a":1}"#);
    let arguments = metadata(&call, "gen_ai.tool.call.arguments");
    assert_eq!(arguments, Some(json!({"a": 1})));
}

#[test]
fn a_text_that_was_cut_within_a_character_is_a_message_still() {
    let call = record!(
        gen_ai.system_instructions = "s",
        gen_ai.input.messages =
            r#"[{"role":"user","parts":[{"type":"text","content":"cut \ud83d"}]}]"#,
    );
    assert_eq!(
        value(&call.messages)[1],
        json!({"role": "user", "content": "cut \u{fffd}"})
    );
}

#[test]
fn tags_may_be_numbers() {
    for (tags, expected) in [
        ("[1, 2]", ["1", "2"].as_slice()),
        (r#"["a", 1, null]"#, &["a", "1"]),
    ] {
        assert_eq!(record!(beluga.tags = tags).tags, expected);
    }
}

#[test]
fn counts_that_are_all_cached_or_reasoning_include_it_and_none_overflows() {
    let counts = |count: u64, part: u64| {
        let usage = record!(
            gen_ai.usage.input_tokens = count,
            gen_ai.usage.output_tokens = count,
            gen_ai.usage.cache_read.input_tokens = part,
            gen_ai.usage.cache_creation.input_tokens = 0,
            gen_ai.usage.reasoning_tokens = part,
        )
        .usage;
        (usage.input_tokens, usage.output_tokens)
    };
    assert_eq!(counts(100, 100), (Some(100), Some(100)));
    assert_eq!(counts(1, u64::MAX), (Some(u64::MAX), Some(u64::MAX)));
}

#[test]
fn a_field_of_the_call_wins_over_metadata_from_around() {
    let call = one(|| {
        let _request = info_span!("request", beluga.metadata.server.port = 1).entered();
        chat!(server.port = 2);
    });
    assert_eq!(metadata(&call, "server.port"), Some(json!(2)));
}

#[test]
fn a_span_that_names_a_trace_begins_one_even_with_a_number() {
    let calls = calls(|| {
        let _server = info_span!("server", beluga.user.id = "u").entered();
        for number in [1_u64, 2] {
            let _request = info_span!("request", beluga.trace.name = number).entered();
            chat!();
        }
    });
    let names = [&calls[0], &calls[1]].map(|call| call.name.as_deref());
    assert_eq!(names, [Some("1"), Some("2")]);
    assert_ne!(calls[0].trace_id, calls[1].trace_id);
}

#[test]
fn a_trace_that_is_given_stays_where_spans_in_it_name_one() {
    let calls = calls(|| {
        let _job = info_span!("job", beluga.trace.id = "job").entered();
        for name in ["a", "b"] {
            let _step = info_span!("step", beluga.trace.name = name).entered();
            chat!();
        }
    });
    let traces: Vec<_> = calls.iter().map(|call| call.trace_id.as_deref()).collect();
    assert_eq!(traces, [Some("job"); 2]);
}

#[test]
fn a_span_of_another_trace_is_no_parent() {
    let calls = calls(|| {
        let _run = info_span!("run", gen_ai.operation.name = "invoke_agent").entered();
        chat!();
        let _request = info_span!("request", beluga.trace.name = "another").entered();
        chat!();
    });
    assert_ne!(calls[0].trace_id, calls[1].trace_id);
    assert!(calls[0].parent_span_id.is_some());
    assert_eq!(calls[1].parent_span_id, None);
}

#[test]
fn the_id_of_a_run_that_begins_its_trace_is_the_end_of_the_traces() {
    let call = one(|| {
        let _run = info_span!("run", gen_ai.operation.name = "invoke_agent").entered();
        chat!();
    });
    let (trace, parent) = (call.trace_id.unwrap(), call.parent_span_id.unwrap());
    assert!(
        trace.ends_with(&parent) && !trace.starts_with(&parent),
        "{trace} {parent}"
    );
}

#[test]
fn calls_of_different_kinds_in_each_other_are_two() {
    let calls = calls(|| {
        let _outer = info_span!("outer", gen_ai.operation.name = "rerank").entered();
        info_span!("inner", gen_ai.operation.name = "transcription");
    });
    assert_eq!(calls.len(), 2);
}

#[test]
fn operations_that_only_one_library_has() {
    let calls = |operation: &str| {
        calls(|| {
            info_span!(
                "s",
                gen_ai.operation.name = operation,
                gen_ai.request.model = "m"
            );
        })
    };
    let [interactions] = <[_; 1]>::try_from(calls("interactions")).unwrap();
    assert!(error(interactions).unwrap().starts_with(NO_ANSWER));
    assert_eq!(calls("evaluate"), []);
}

#[test]
fn content_of_a_scope_that_cannot_be_kept_costs_only_itself() {
    struct Fails;
    impl serde::Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("on purpose"))
        }
    }
    let call = one(|| {
        let scope = CallScope::new();
        scope.messages(Fails);
        scope.model_parameters(Fails);
        scope.response("kept");
        scope.response(Fails);
        scope.in_scope(|| drop(chat!()));
    });
    assert_eq!((call.messages, call.model_parameters), (None, None));
    assert_eq!(value(&call.response), json!("kept"));
}

#[test]
fn a_scope_that_says_nothing_changes_nothing() {
    let call = one(|| {
        let scope = CallScope::new();
        scope.fail("");
        scope.partial("");
        scope.in_scope(|| drop(chat!()));
    });
    assert_eq!((call.error, call.time_to_first_token), (None, None));
    assert_eq!(call.response, None);
}

#[test]
fn the_first_piece_is_the_first_token_unless_the_span_knows_better() {
    const PAUSE: Duration = Duration::from_millis(30);
    let first_token = |first_chunk: Option<f64>| {
        let call = one(|| {
            let scope = CallScope::new();
            scope.in_scope(|| {
                let _call = chat!(gen_ai.response.time_to_first_chunk = first_chunk).entered();
                thread::sleep(PAUSE);
                scope.partial("a");
                thread::sleep(PAUSE);
                scope.partial("b");
            });
        });
        (call.time_to_first_token.unwrap(), call.duration.unwrap())
    };
    let (first, whole) = first_token(None);
    assert!(
        first >= PAUSE && first + PAUSE <= whole,
        "{first:?} of {whole:?}"
    );
    assert_eq!(first_token(Some(7.0)).0, Duration::from_secs(7));
}

#[test]
fn token_counts_of_a_scope_complete_those_of_the_span_and_are_an_answer() {
    for (of_span, input) in [(None, 7), (Some(5_u64), 5)] {
        let call = one(|| {
            let scope = CallScope::new();
            scope.in_scope(|| drop(unanswered!(gen_ai.usage.input_tokens = of_span)));
            scope.usage(Usage::new(7, 8));
        });
        assert_eq!((call.error, call.usage), (None, Usage::new(input, 8)));
    }
}

#[test]
fn an_answer_of_a_scope_takes_back_no_error_that_the_span_told() {
    let call = one(|| {
        let scope = CallScope::new();
        // The name under which the layer notes that it has inferred an error.
        scope.in_scope(|| drop(chat!(error = "told", beluga.metadata.error_inferred = true)));
        scope.response("x");
    });
    assert_eq!(error(call).as_deref(), Some("told"));
}

/// No other test here may do what is said only once in a process.
#[test]
fn what_goes_wrong_is_said_once_in_the_log() {
    let lines = Lines::default();
    let log = log::layer()
        .with_ansi(false)
        .with_writer(lines.clone())
        .with_filter(LevelFilter::WARN);
    let layer =
        LlmCallLayer::builder(InMemoryExporter::new()).with_before_submit(|call| {
            match call.model.as_str() {
                "panic" => panic_any(1),
                "refused" => Some(call.with_cost(f64::NAN)),
                _ => Some(call),
            }
        });
    with_default(Registry::default().with(log).with(layer.build()), || {
        for _ in 0..3 {
            let _request = info_span!(
                "request",
                beluga.sesion.id = "SECRET",
                beluga.metadata.known = 1
            )
            .entered();
            chat!(beluga.cost = "SECRET");
            chat!(gen_ai.request.model = "panic");
            chat!(gen_ai.request.model = "refused");
        }
    });
    let text = lines.text();
    for said in [
        "the field beluga.sesion.id of a span is not known",
        "a beluga.cost is ignored",
        "with_before_submit or the sink panicked",
        "calls are lost, since they are refused",
    ] {
        assert_eq!(text.matches(said).count(), 1, "{said}: {text}");
    }
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(!text.contains("SECRET"), "{text}");
}
