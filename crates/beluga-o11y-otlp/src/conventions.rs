//! Which attributes a call has, and what they are called: the one table.

use beluga_o11y::LLMCallData;
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{Attributes, messages, parameters, provider};

/// The names that the attributes of a call have.
///
/// Two sets of names are in use for LLM calls: [OpenInference](https://github.com/Arize-ai/openinference)'s,
/// which Phoenix and Arize read, and the [GenAI conventions](https://opentelemetry.io/docs/specs/semconv/gen-ai/) of
/// OpenTelemetry, which are still in development. Backends that read both exist, and those that read only one; so both
/// are sent by default, on the same span. A fact for which one of them has no name has the other's, whatever is
/// chosen: tags, metadata and the cost, for example.
///
/// Messages are then sent twice or three times; gzip takes most of that away. Choose one set if your backend
/// reads only that.
///
/// | fact | OpenInference | GenAI |
/// |---|---|---|
/// | that it is an LLM call | `openinference.span.kind` = `LLM` | `gen_ai.operation.name` = `chat` |
/// | provider | `llm.provider`, `llm.system` | `gen_ai.provider.name`, `gen_ai.system` |
/// | model | `llm.model_name` | `gen_ai.request.model` |
/// | parameters | `llm.invocation_parameters`, `llm.tools.N.tool.json_schema` | `gen_ai.request.*`, `gen_ai.tool.definitions` |
/// | messages | `input.value`, `input.mime_type`, `llm.input_messages.N.*` | `gen_ai.input.messages`, `gen_ai.system_instructions` |
/// | response | `output.value`, `output.mime_type`, `llm.output_messages.N.*` | `gen_ai.output.messages`, `gen_ai.response.finish_reasons` |
/// | input tokens | `llm.token_count.prompt` | `gen_ai.usage.input_tokens` |
/// | of them read from a cache | `llm.token_count.prompt_details.cache_read` | `gen_ai.usage.cache_read.input_tokens` |
/// | of them written to a cache | `llm.token_count.prompt_details.cache_write` | `gen_ai.usage.cache_creation.input_tokens` |
/// | output tokens | `llm.token_count.completion` | `gen_ai.usage.output_tokens` |
/// | of them reasoning | `llm.token_count.completion_details.reasoning` | `gen_ai.usage.reasoning.output_tokens` |
/// | all tokens | `llm.token_count.total` | |
/// | cost in USD | `llm.cost.total` | `gen_ai.usage.cost` (a habit, not in the conventions) |
/// | time to first token | | `gen_ai.response.time_to_first_chunk`, seconds |
/// | session | `session.id` | `gen_ai.conversation.id` |
/// | user | `user.id` | `user.id` |
/// | tags | `tag.tags` | |
/// | metadata, environment, release, the caller's own ids | `metadata`, a JSON object as text | |
/// | environment | | `deployment.environment.name` |
/// | release | | `service.version` |
/// | kind of error | | `error.type` |
/// | id of the record | `beluga_o11y.id` | `beluga_o11y.id` |
/// | the caller's own trace id, span id | `beluga_o11y.trace_id`, `beluga_o11y.parent_span_id` | the same |
///
/// Token totals include their parts, in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtlpConventions {
    /// Both sets of names.
    #[default]
    Both,
    /// OpenInference's.
    OpenInference,
    /// OpenTelemetry's GenAI conventions.
    GenAi,
}

/// A fact's names. One that a set has no name for is sent under the other's, whatever is chosen.
struct Names {
    open_inference: Option<&'static str>,
    gen_ai: Option<&'static str>,
}

const fn both(open_inference: &'static str, gen_ai: &'static str) -> Names {
    Names {
        open_inference: Some(open_inference),
        gen_ai: Some(gen_ai),
    }
}

const fn only_open_inference(name: &'static str) -> Names {
    Names {
        open_inference: Some(name),
        gen_ai: None,
    }
}

const fn only_gen_ai(name: &'static str) -> Names {
    Names {
        open_inference: None,
        gen_ai: Some(name),
    }
}

const MODEL: Names = both("llm.model_name", "gen_ai.request.model");
const INPUT_TOKENS: Names = both("llm.token_count.prompt", "gen_ai.usage.input_tokens");
const OUTPUT_TOKENS: Names = both("llm.token_count.completion", "gen_ai.usage.output_tokens");
const TOTAL_TOKENS: Names = only_open_inference("llm.token_count.total");
const CACHE_READ: Names = both(
    "llm.token_count.prompt_details.cache_read",
    "gen_ai.usage.cache_read.input_tokens",
);
/// Renamed to `cache_write` in the newest conventions, which neither Phoenix nor Langfuse reads.
const CACHE_WRITE: Names = both(
    "llm.token_count.prompt_details.cache_write",
    "gen_ai.usage.cache_creation.input_tokens",
);
const REASONING: Names = both(
    "llm.token_count.completion_details.reasoning",
    "gen_ai.usage.reasoning.output_tokens",
);
const COST: Names = both("llm.cost.total", "gen_ai.usage.cost");
const FIRST_TOKEN: Names = only_gen_ai("gen_ai.response.time_to_first_chunk");
const SESSION: Names = both("session.id", "gen_ai.conversation.id");
const TAGS: Names = only_open_inference("tag.tags");
const METADATA: Names = only_open_inference("metadata");
const ENVIRONMENT: Names = only_gen_ai("deployment.environment.name");
const RELEASE: Names = only_gen_ai("service.version");
const ERROR_KIND: Names = only_gen_ai("error.type");

impl OtlpConventions {
    fn open_inference(self) -> bool {
        self != Self::GenAi
    }

    fn gen_ai(self) -> bool {
        self != Self::OpenInference
    }

    /// The names under which a fact is sent.
    fn of(self, names: &Names) -> impl Iterator<Item = &'static str> {
        let wants = |wanted: bool, name: Option<&'static str>, other: Option<&'static str>| {
            name.filter(|_| wanted || other.is_none())
        };
        let first = wants(self.open_inference(), names.open_inference, names.gen_ai);
        let second = wants(self.gen_ai(), names.gen_ai, names.open_inference);
        first.into_iter().chain(second)
    }

    /// Adds the attributes of a call. What it does not know is left out. `environment` counts for calls that
    /// name none.
    pub fn write(self, call: &LLMCallData, environment: Option<&str>, out: &mut Attributes) {
        let environment = not_blank(call.environment.as_deref()).or(environment);
        let mut text = |names: &Names, value: Option<&str>| {
            for name in self.of(names) {
                out.text_if(name, value);
            }
        };
        text(&MODEL, Some(&call.model));
        text(&SESSION, call.session_id.as_deref());
        text(&ENVIRONMENT, environment);
        text(&RELEASE, call.release.as_deref());
        let error = call.error.as_ref().filter(|error| !error.is_empty());
        // `_OTHER` is the convention's word for an error without a known kind.
        text(
            &ERROR_KIND,
            error.map(|error| not_blank(error.kind.as_deref()).unwrap_or("_OTHER")),
        );
        out.text_if("user.id", call.user_id.as_deref());
        self.kind_and_provider(call, out);

        let usage = &call.usage;
        for (names, count) in [
            (&INPUT_TOKENS, usage.input_tokens),
            (&OUTPUT_TOKENS, usage.output_tokens),
            (&TOTAL_TOKENS, usage.total_tokens()),
            (&CACHE_READ, usage.cache_read_tokens),
            (&CACHE_WRITE, usage.cache_write_tokens),
            (&REASONING, usage.reasoning_tokens),
        ] {
            for name in self.of(names) {
                out.count(name, count);
            }
        }
        let first_token = call.time_to_first_token.map(|time| time.as_secs_f64());
        for (names, number) in [(&COST, call.cost), (&FIRST_TOKEN, first_token)] {
            for name in self.of(names) {
                out.double(name, number);
            }
        }
        for name in self.of(&TAGS) {
            out.texts(name, &call.tags);
        }
        let metadata = Metadata { call, environment };
        if !metadata.is_empty() {
            for name in self.of(&METADATA) {
                out.json(name, &metadata);
            }
        }
        out.text("beluga_o11y.id", call.id().to_string());
        out.text_if("beluga_o11y.trace_id", call.trace_id.as_deref());
        out.text_if("beluga_o11y.parent_span_id", call.parent_span_id.as_deref());
        self.content(call, out);
    }

    fn kind_and_provider(self, call: &LLMCallData, out: &mut Attributes) {
        let provider = call.provider.trim();
        if self.open_inference() {
            // In upper case: Phoenix shows `llm` as well, but without a cost.
            out.text("openinference.span.kind", "LLM");
            out.text("llm.provider", provider::open_inference(provider));
            out.text_if("llm.system", provider::system(provider));
        }
        if self.gen_ai() {
            out.text("gen_ai.operation.name", "chat");
            let provider = provider::gen_ai(provider);
            out.text("gen_ai.provider.name", provider.clone());
            // The name until version 1.37 of the conventions; LangSmith and older servers of Opik read it.
            out.text("gen_ai.system", provider);
        }
    }

    fn content(self, call: &LLMCallData, out: &mut Attributes) {
        let failed = call.error.as_ref().is_some_and(|error| !error.is_empty());
        let input = call.messages.as_ref().map(messages::input);
        let output = call
            .response
            .as_ref()
            .map(|response| messages::output(response, failed));
        if self.open_inference() {
            if let Some(messages) = &call.messages {
                messages::value("input", messages, out);
            }
            if let Some(response) = &call.response {
                messages::value("output", response, out);
            }
            messages::open_inference("llm.input_messages", input.as_ref(), out);
            messages::open_inference("llm.output_messages", output.as_ref(), out);
        }
        if self.gen_ai() {
            if let Some(input) = &input {
                messages::gen_ai_input(input, out);
            }
            if let Some(output) = &output {
                messages::gen_ai_output(output, out);
            }
        }
        if let Some(parameters) = &call.model_parameters {
            parameters::write(parameters, self.open_inference(), self.gen_ai(), out);
        }
    }
}

fn not_blank(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// The caller's entries, and by name what backends would not show else: Phoenix drops what is on the resource. The
/// caller's win.
struct Metadata<'a> {
    call: &'a LLMCallData,
    environment: Option<&'a str>,
}

impl Metadata<'_> {
    fn facts(&self) -> [(&'static str, Option<&str>); 4] {
        let Self { call, environment } = self;
        [
            ("environment", *environment),
            ("release", call.release.as_deref()),
            ("trace_id", call.trace_id.as_deref()),
            ("parent_span_id", call.parent_span_id.as_deref()),
        ]
        .map(|(name, fact)| (name, not_blank(fact)))
    }

    fn is_empty(&self) -> bool {
        self.call.metadata.is_empty() && self.facts().iter().all(|(_, fact)| fact.is_none())
    }
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = &self.call.metadata;
        let mut map = serializer.serialize_map(None)?;
        for (name, fact) in self.facts() {
            if let Some(fact) = fact.filter(|_| !own.contains_key(name)) {
                map.serialize_entry(name, fact)?;
            }
        }
        for (key, value) in own {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
