//! Whatever the values of a span are, its call gives one record that a backend can take.

#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::fmt;

use beluga_o11y::LLMCallData;
use proptest::{prelude::*, sample::select, test_runner::Config};
use serde_json::json;
use support::calls_with;
use tracing::{Span, field::Empty, info_span};

/// The fields, and spans that have them: a span has the fields that its source names.
macro_rules! spans {
    ($($name:literal),* $(,)?) => {
        const FIELDS: &[&str] = &[$($name),*];

        /// A span with the fields that mean something to the layer, and some that do not.
        fn span(langchain: bool) -> Span {
            if langchain {
                info_span!(target: "langchain_rust::observability", "llm.generate", $($name = Empty),*)
            } else {
                info_span!(target: "genai::otel::span", "chat", gen_ai.operation.name = "chat", $($name = Empty),*)
            }
        }
    };
}

spans![
    "gen_ai.provider.name",
    "gen_ai.system",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.response.id",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.system_instructions",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.definitions",
    "gen_ai.tool.call.arguments",
    "gen_ai.request.stream",
    "gen_ai.request.temperature",
    "gen_ai.request.stop_sequences",
    "gen_ai.request.encoding_formats",
    "gen_ai.output.type",
    "gen_ai.agent.name",
    "gen_ai.conversation.id",
    "error.type",
    "error",
    "otel.status_code",
    "provider",
    "model",
    "prompt_tokens",
    "stream",
    "anything",
    "beluga.session.id",
    "beluga.tags",
    "beluga.cost",
    "beluga.trace.id",
    "beluga.trace.name",
    "beluga.metadata.key",
];

/// A value as a program records it.
#[derive(Clone, Debug)]
enum Given {
    Text(String),
    /// With `%` or `?`.
    Formatted(String),
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    U128(u128),
}

/// A text whose `Debug` has no quotes.
struct Shown<'a>(&'a str);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn give(span: &Span, name: &str, given: &Given) {
    match given {
        Given::Text(text) => span.record(name, text.as_str()),
        Given::Formatted(text) => span.record(name, tracing::field::debug(Shown(text))),
        Given::U64(value) => span.record(name, *value),
        Given::I64(value) => span.record(name, *value),
        Given::F64(value) => span.record(name, *value),
        Given::Bool(value) => span.record(name, *value),
        Given::U128(value) => span.record(name, *value),
    };
}

/// JSON of the shape of messages, with anything in any place.
fn messages() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        any::<u64>().prop_map(|value| json!(value)),
        any::<String>().prop_map(|value| json!(value)),
        select(vec![
            "text",
            "tool_call",
            "tool_call_response",
            "reasoning",
            "uri",
            "blob",
            "image",
            "system",
            "user",
            ""
        ])
        .prop_map(|value| json!(value)),
    ];
    let key = select(vec![
        "role",
        "parts",
        "type",
        "content",
        "text",
        "id",
        "name",
        "arguments",
        "response",
        "result",
        "modality",
        "mime_type",
        "uri",
        "finish_reason",
        "",
    ]);
    let value = scalar.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| json!(list)),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|fields| json!(
                fields
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
            )),
        ]
    });
    prop_oneof![
        3 => value.clone().prop_map(|value| value.to_string()),
        1 => prop::collection::vec(value, 0..4).prop_map(|list| json!(list).to_string()),
    ]
}

/// Text of any kind: nothing special, of the shape of messages, nested too deep for a parser, or what some reader has its
/// troubles with.
fn text() -> impl Strategy<Value = String> {
    let deep = |open: &'static str, close: &'static str| {
        (95_usize..135).prop_map(move |n| format!("{}{}", open.repeat(n), close.repeat(n)))
    };
    prop_oneof![
        any::<String>(),
        messages(),
        deep("[", "]"),
        deep("{\"parts\":[", "]}"),
        deep(
            "[{\"role\":\"user\",\"parts\":[{\"type\":\"x\",\"content\":",
            "0}]}]"
        ),
        select(vec![
            "",
            " ",
            "None",
            "Some(\"x\")",
            "\"",
            "\"\\",
            "\u{0}",
            "\"\\ud83d\"",
            "[\"\\ud83d\"]",
            "1e999",
            "[1e999]",
            "-1e400",
            "[123456789012345678901234567890]",
            "NaN",
            "inf",
            "-0",
            "null",
            "[null]",
            "{}",
            "[]",
            "[{}]",
            "[[]]",
            "{\"a\":1,\"a\":2}",
            "[{\"parts\":null}]",
            "true",
            "[1",
            "{\"role\"",
            "18446744073709551616",
            "\u{feff}[]",
        ])
        .prop_map(str::to_owned),
    ]
}

fn given() -> impl Strategy<Value = Given> {
    prop_oneof![
        4 => text().prop_map(Given::Text),
        2 => text().prop_map(Given::Formatted),
        1 => any::<u64>().prop_map(Given::U64),
        1 => any::<i64>().prop_map(Given::I64),
        1 => prop_oneof![any::<f64>(), select(vec![f64::NAN, f64::INFINITY, -0.0, -1.0])].prop_map(Given::F64),
        1 => any::<bool>().prop_map(Given::Bool),
        1 => any::<u128>().prop_map(Given::U128),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 512, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_call_gives_one_record_that_a_backend_can_take(
        values in prop::collection::vec((select(FIELDS), given()), 0..24),
        around in prop::collection::vec((select(FIELDS), given()), 0..6),
        langchain: bool,
        content: bool,
    ) {
        let calls = calls_with(
            |builder| builder.with_content(content),
            || {
                let outer = info_span!(
                    "outer",
                    beluga.session.id = Empty, beluga.tags = Empty, beluga.cost = Empty, beluga.trace.id = Empty,
                    beluga.trace.name = Empty, beluga.metadata.key = Empty, gen_ai.agent.name = Empty,
                );
                for (name, value) in &around {
                    give(&outer, name, value);
                }
                let _entered = outer.enter();
                let span = span(langchain);
                for (name, value) in &values {
                    give(&span, name, value);
                }
            },
        );
        // The sink of the tests refuses what does not validate.
        prop_assert_eq!(calls.len(), 1);
        let text = serde_json::to_string(&calls[0]).unwrap();
        let read: LLMCallData = serde_json::from_str(&text).unwrap();
        prop_assert!(read.validate().is_ok());
        let call = &calls[0];
        prop_assert!(content || (call.messages.is_none() && call.response.is_none()));
        prop_assert!(call.cost.is_none_or(|cost| cost.is_finite() && cost >= 0.0));
        for blank in [&call.session_id, &call.trace_id, &call.name] {
            prop_assert!(blank.as_ref().is_none_or(|text| !text.trim().is_empty()));
        }
        prop_assert!(call.tags.iter().all(|tag| !tag.is_empty()));
    }
}
