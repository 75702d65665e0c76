//! rig-core and rig-agent 0.46.0: the spans of 0.44, and the definitions of tools in a turn.

use tracing::{Span, field::Empty, info_span};

use crate::{
    rig::{Counts, Rig, rig_tests},
    rig_0_44::{V044, canonical, completion_parent},
};

pub(crate) struct V046;

impl Rig for V046 {
    const HAS_STREAM: bool = true;
    const HAS_TOOL_DEFINITIONS: bool = true;

    fn turn(agent: &str, system: Option<&str>, _stream: bool) -> Span {
        completion_parent!(
            "chat",
            "chat",
            system,
            gen_ai.agent.name = agent,
            gen_ai.tool.definitions = Empty,
        )
    }

    fn completion(
        operation: &str,
        provider: &str,
        model: &str,
        system: Option<&str>,
    ) -> Option<Span> {
        V044::completion(operation, provider, model, system)
    }

    fn run(agent: &str, system: Option<&str>) -> Span {
        V044::run(agent, system)
    }

    fn tool() -> Span {
        V044::tool()
    }

    fn record_tool_call_id(span: &Span, id: &str) {
        V044::record_tool_call_id(span, id);
    }

    fn record_usage(span: &Span, counts: Counts) {
        V044::record_usage(span, counts);
    }

    fn streaming_operation() -> &'static str {
        V044::streaming_operation()
    }
}

rig_tests! {
    V046:
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
