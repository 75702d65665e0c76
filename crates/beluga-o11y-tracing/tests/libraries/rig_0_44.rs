//! rig-core and rig-agent 0.44.0.

use tracing::{
    Span,
    field::{Empty, display},
    info_span,
};

use crate::rig::{Counts, Rig, rig_tests};

/// `__rig_canonical_completion_span!`
macro_rules! canonical {
    ($target:literal, $name:literal, { $($header:tt)* } { $($extra:tt)* }) => {
        info_span!(
            target: $target,
            $name,
            $($header)*
            gen_ai.request.stream = Empty,
            gen_ai.response.id = Empty,
            gen_ai.response.model = Empty,
            rig.provider_request_id = Empty,
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

/// `new_modality_span!`
macro_rules! modality {
    ($name:literal, $operation:expr, $provider:expr, $model:expr) => {
        info_span!(
            target: "rig::modalities",
            $name,
            gen_ai.operation.name = $operation,
            gen_ai.provider.name = $provider,
            gen_ai.request.model = $model,
            gen_ai.response.id = Empty,
            gen_ai.response.model = Empty,
            rig.provider_request_id = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            gen_ai.usage.cache_read.input_tokens = Empty,
            gen_ai.usage.cache_creation.input_tokens = Empty,
            gen_ai.usage.tool_use_prompt_tokens = Empty,
            gen_ai.usage.reasoning_tokens = Empty,
        )
    };
}

pub(crate) use {canonical, completion_parent};

pub(crate) struct V044;

impl Rig for V044 {
    const HAS_STREAM: bool = true;
    const HAS_TOOL_DEFINITIONS: bool = false;

    fn completion(
        operation: &str,
        provider: &str,
        model: &str,
        system: Option<&str>,
    ) -> Option<Span> {
        Some(match operation {
            "chat" => completion!("chat", operation, provider, model, system),
            "generate_content" => {
                completion!("generate_content", operation, provider, model, system)
            }
            "embeddings" => modality!("embeddings", operation, provider, model),
            "rerank" => modality!("rerank", operation, provider, model),
            "transcription" => modality!("transcription", operation, provider, model),
            "image_generation" => modality!("image_generation", operation, provider, model),
            "audio_generation" => modality!("audio_generation", operation, provider, model),
            _ => return None,
        })
    }

    fn turn(agent: &str, system: Option<&str>, _stream: bool) -> Span {
        completion_parent!("chat", "chat", system, gen_ai.agent.name = agent,)
    }

    fn run(agent: &str, system: Option<&str>) -> Span {
        info_span!(
            target: "rig_agent::agent::telemetry",
            parent: None,
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
            target: "rig_agent::agent::telemetry",
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
        span.record("gen_ai.tool.call.id", display(id));
    }

    fn record_usage(span: &Span, counts: Counts) {
        for (field, count) in counts.fields() {
            if let Some(count) = count {
                span.record(field, count);
            }
        }
    }

    fn streaming_operation() -> &'static str {
        "chat"
    }
}

rig_tests! {
    V044:
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
    modalities,
    embedding_in_a_turn,
    counts_that_include_what_is_cached,
    a_zero_is_a_count,
    a_stream_that_nobody_finishes,
}
