//! rig-core and rig-agent 0.42.0: streaming calls have operations of their own, no field tells of them; of modalities there
//! are no spans; token counts are as each provider has them.

use serde_json::{Value, json};
use tracing::{Span, field::Empty, info_span};

use crate::{
    only, records,
    rig::{Answer, Counts, Rig, open, record_answer, rig_tests},
    seen,
};

/// `__rig_canonical_completion_span!`
macro_rules! canonical {
    ($target:literal, $name:literal, { $($header:tt)* } { $($extra:tt)* }) => {
        info_span!(
            target: $target,
            $name,
            $($header)*
            gen_ai.response.id = Empty,
            gen_ai.response.model = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            gen_ai.usage.cache_read.input_tokens = Empty,
            gen_ai.usage.cache_creation.input_tokens = Empty,
            gen_ai.usage.tool_use_prompt_tokens = Empty,
            gen_ai.usage.reasoning_tokens = Empty,
            gen_ai.input.messages = Empty,
            gen_ai.output.messages = Empty
            $($extra)*
        )
    };
}

/// `new_completion_span!`
macro_rules! completion {
    ($name:literal, $operation:expr, $provider:expr, $model:expr, $system:expr) => {
        canonical!(
            "rig::completions",
            $name,
            {
                gen_ai.operation.name = $operation,
                gen_ai.provider.name = $provider,
                gen_ai.request.model = $model,
                gen_ai.system_instructions = $system,
            }
            {}
        )
    };
}

/// `completion_parent_span!`
macro_rules! completion_parent {
    ($name:literal, $operation:expr, $system:expr $(, $($extra:tt)*)?) => {
        canonical!(
            "rig::agent_chat",
            $name,
            {
                rig.completion_parent = true,
                gen_ai.operation.name = $operation,
                gen_ai.system_instructions = $system,
                gen_ai.provider.name = Empty,
                gen_ai.request.model = Empty,
            }
            { $(, $($extra)*)? }
        )
    };
}

pub(crate) struct V042;

impl Rig for V042 {
    const HAS_STREAM: bool = false;
    const HAS_TOOL_DEFINITIONS: bool = false;

    fn completion(
        operation: &str,
        provider: &str,
        model: &str,
        system: Option<&str>,
    ) -> Option<Span> {
        Some(match operation {
            "chat" => completion!("chat", operation, provider, model, system),
            "chat_streaming" => completion!("chat_streaming", operation, provider, model, system),
            "generate_content" => {
                completion!("generate_content", operation, provider, model, system)
            }
            "interactions" => completion!("interactions", operation, provider, model, system),
            "interactions_streaming" => {
                completion!("interactions_streaming", operation, provider, model, system)
            }
            _ => return None,
        })
    }

    fn turn(agent: &str, system: Option<&str>, stream: bool) -> Span {
        if stream {
            completion_parent!("chat_streaming", "chat", system, gen_ai.agent.name = agent,)
        } else {
            completion_parent!("chat", "chat", system, gen_ai.agent.name = agent,)
        }
    }

    fn run(agent: &str, system: Option<&str>) -> Span {
        info_span!(
            target: "rig_agent::agent::runner",
            "invoke_agent",
            gen_ai.operation.name = "invoke_agent",
            gen_ai.agent.name = agent,
            gen_ai.system_instructions = system,
            gen_ai.prompt = Empty,
            gen_ai.completion = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            gen_ai.usage.cache_read.input_tokens = Empty,
            gen_ai.usage.cache_creation.input_tokens = Empty,
            gen_ai.usage.tool_use_prompt_tokens = Empty,
            gen_ai.usage.reasoning_tokens = Empty,
        )
    }

    fn tool() -> Span {
        info_span!(
            target: "rig_agent::agent::runner",
            "execute_tool",
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.type = "function",
            gen_ai.tool.name = Empty,
            gen_ai.tool.call.id = Empty,
            gen_ai.tool.call.arguments = Empty,
            gen_ai.tool.call.result = Empty,
            gen_ai.tool.call.outcome = Empty,
            gen_ai.tool.error.type = Empty
        )
    }

    fn record_tool_call_id(span: &Span, id: &str) {
        span.record("gen_ai.tool.call.id", id);
    }

    /// All zeros are no counts; else what is unknown is zero.
    fn record_usage(span: &Span, counts: Counts) {
        let fields = counts.fields();
        if fields
            .iter()
            .any(|(_, count)| count.is_some_and(|count| count > 0))
        {
            for (field, count) in fields {
                span.record(field, count.unwrap_or(0));
            }
        }
    }

    fn streaming_operation() -> &'static str {
        "chat_streaming"
    }
}

rig_tests! {
    V042:
    plain_call,
    same_model,
    gemini_has_an_operation_of_its_own,
    streaming_call,
    no_answer,
    a_turn_that_is_not_sent,
    a_turn_that_is_not_adopted,
    content_of_a_direct_call,
    agent_run,
    agent_run_with_content,
    run_in_a_span_of_the_program,
    agent_as_a_tool,
    traces,
    media,
    no_doubles,
}

fn answered(operation: &str, provider: &str, answer: Answer<'_>) -> Value {
    only(|| {
        let span = open::<V042>(operation, provider, "m", true);
        span.in_scope(|| record_answer::<V042>(&span, answer));
    })
}

/// What a provider counts, and what is to become of it: input, output, read from and written to a cache, reasoning.
#[test]
fn counts_are_as_each_provider_has_them() {
    for (providers, counted, expected) in [
        // Without what is cached. Z.ai is called that where it serves Anthropic's API.
        (
            ["anthropic", "aws_bedrock", "z.ai"].as_slice(),
            [100, 20, 80, 15, 0],
            [195, 20, 80, 15, 0],
        ),
        (
            &["anthropic", "aws_bedrock", "z.ai"],
            [3, 20, 9_000, 0, 10],
            [9_003, 20, 9_000, 0, 10],
        ),
        // With it, also where the rest is more.
        (
            &["openai", "groq", "zai", "gcp.gemini"],
            [100, 20, 80, 0, 0],
            [100, 20, 80, 0, 0],
        ),
        // OpenAI's output includes reasoning, Gemini's does not.
        (&["openai"], [40, 70, 5, 0, 30], [40, 70, 5, 0, 30]),
        (&["gcp.gemini"], [40, 70, 5, 0, 30], [40, 100, 5, 0, 30]),
    ] {
        for provider in providers {
            let [input, output, cache_read, cache_write, reasoning] = counted.map(Some);
            let counts = Counts {
                input,
                output,
                cache_read,
                cache_write,
                reasoning,
                tool_use: None,
            };
            let answer = Answer {
                counts,
                ..Answer::default()
            };
            let call = answered("chat_streaming", provider, answer);
            let fields = [
                "input_tokens",
                "output_tokens",
                "cache_read_tokens",
                "cache_write_tokens",
                "reasoning_tokens",
            ];
            let usage = fields.map(|field| call[field].as_u64().unwrap());
            assert_eq!(usage, expected, "{provider}: {counted:?}");
        }
    }
}

#[test]
fn no_counts() {
    let answer = Answer {
        id: Some("c"),
        counts: Counts::new(0, 0),
        ..Answer::default()
    };
    let metadata = json!({"gen_ai.response.id": "c"});
    let expected = json!({"provider": "openai", "model": "m", "metadata": metadata});
    assert_eq!(answered("chat", "openai", answer), expected);
}

/// The stream of an OpenAI-compatible API records three counts, straight.
#[test]
fn counts_of_a_compatible_stream() {
    let calls = records(|| {
        let span = open::<V042>("chat", "groq", "llama", true);
        span.in_scope(|| {
            span.record("gen_ai.response.id", "c");
            span.record("gen_ai.usage.input_tokens", 7_u64);
            span.record("gen_ai.usage.output_tokens", 2_u64);
            span.record("gen_ai.usage.cache_read.input_tokens", 0_u64);
        });
    });
    let usage = calls[0].usage;
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (Some(7), Some(2))
    );
    assert_eq!(
        (usage.cache_read_tokens, usage.cache_write_tokens),
        (Some(0), None)
    );
}

/// Streams are told as parameters, as later versions have them; what is left of the operation stands in the metadata.
#[test]
fn operations_of_its_own() {
    for (operation, stream, name) in [
        ("chat", None, None),
        ("chat_streaming", Some(true), None),
        ("generate_content", None, Some("generate_content")),
        ("interactions", None, Some("interactions")),
        ("interactions_streaming", Some(true), None),
    ] {
        let answer = Answer {
            id: Some("r"),
            ..Answer::default()
        };
        let call = answered(operation, "gcp.gemini", answer);
        assert_eq!(call["model_parameters"]["stream"].as_bool(), stream);
        assert_eq!(call["metadata"]["gen_ai.operation.name"].as_str(), name);
        assert_eq!(call["metadata"]["gen_ai.response.id"], "r");
    }
}

/// The program's log has an error inside the call's span, with the answer that could not be read.
#[test]
fn an_answer_that_cannot_be_read() {
    let calls = records(|| {
        let span = open::<V042>("chat", "openai", "gpt-4o", false);
        span.in_scope(|| {
            tracing::error!(
                target: "rig_core::providers::internal::completion_send",
                error = %"expected value at line 1",
                body = %"<html>SECRET</html>",
                "failed to deserialize {label} response",
                label = "OpenAI",
            );
        });
    });
    let error = calls[0].error.clone().unwrap();
    assert!(!error.message.is_empty() && error.message != crate::NO_ANSWER);
    let record = json!(seen(&calls)).to_string();
    assert!(!record.contains("SECRET"), "{record}");
}

/// An error that is only logged is no error of a call that has an answer.
#[test]
fn an_error_in_the_log_of_a_call_that_succeeds() {
    let answer = Answer {
        counts: Counts::new(1, 1),
        ..Answer::default()
    };
    let call = only(|| {
        let span = open::<V042>("chat_streaming", "anthropic", "m", true);
        span.in_scope(|| {
            tracing::error!(target: "rig::sequence_law", law = "open", "sequence-law violation");
            record_answer::<V042>(&span, answer);
        });
    });
    assert_eq!(call.get("error"), None);
}
