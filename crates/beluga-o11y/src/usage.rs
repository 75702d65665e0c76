//! Token counts, read from the answers of the providers.
//!
//! The providers name and nest the same few counts differently, and disagree about which count
//! includes which. Each [`Dialect`] is one provider's way, written down as a table; everything
//! below the tables is the same for all.

use serde::Serialize;
use serde_json::Value;

use crate::Json;

/// The token counts of one call, under one meaning for all providers.
///
/// Make it from what the provider answered, with the maker of the provider's family, or from your
/// own counts with [`new`](Self::new). A count that is not known is `None`, never 0; a provider
/// that reports 0 gives `Some(0)`.
///
/// # What the makers accept
///
/// Anything that serializes: a [`serde_json::Value`], the typed answer of a client crate, or JSON
/// text in a `str` or `String`.
///
/// - **An answer**, whole, or only its usage object.
/// - **One event of a stream**, the last one for most providers.
/// - **Several events of a stream**, in their order: a `Vec`, a slice, or a tuple like
///   `(&first, &last)`. A count that comes again replaces the earlier one, since every provider
///   sends running totals; a count that does not come again stays.
///
/// The makers never fail and never panic. Only a whole number that is not negative is a count,
/// `12.0` included; fractions, nulls and text (but for HTTP headers) are as good as absent. Where a count is a sum that
/// does not fit into a `u64`, it is `None`. A value that does not serialize to JSON, or is more than 100
/// levels deep, gives an empty `Usage`. The answer is serialized to be read, so where that is a lot (thousands of embeddings,
/// images), hand over its usage object.
///
/// ```
/// use beluga_o11y::Usage;
///
/// let usage = Usage::new(1_000, 200).with_cache_read(600);
///
/// assert_eq!(usage.total_tokens(), Some(1_200));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt, **including** those read from and written to a cache, and those of
    /// tool results that the provider fed back to the model itself.
    pub input_tokens: Option<u64>,
    /// Tokens that the model generated, **including** reasoning.
    pub output_tokens: Option<u64>,
    /// The part of the input that came out of the provider's prompt cache.
    pub cache_read_tokens: Option<u64>,
    /// The part of the input that was written to the provider's prompt cache.
    pub cache_write_tokens: Option<u64>,
    /// The part of the output that was reasoning ("thinking").
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Counts of your own: all input tokens, cached ones included, and all output tokens, reasoning
    /// included.
    #[must_use]
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens: Some(input_tokens),
            output_tokens: Some(output_tokens),
            ..Self::default()
        }
    }

    /// Says how many of the input tokens were read from a cache. Default: unknown.
    #[must_use]
    pub fn with_cache_read(mut self, tokens: u64) -> Self {
        self.cache_read_tokens = Some(tokens);
        self
    }

    /// Says how many of the input tokens were written to a cache. Default: unknown.
    #[must_use]
    pub fn with_cache_write(mut self, tokens: u64) -> Self {
        self.cache_write_tokens = Some(tokens);
        self
    }

    /// Says how many of the output tokens were reasoning. Default: unknown.
    #[must_use]
    pub fn with_reasoning(mut self, tokens: u64) -> Self {
        self.reasoning_tokens = Some(tokens);
        self
    }

    /// Input and output together. `None` unless both are known, or if the sum does not fit.
    #[must_use]
    pub fn total_tokens(&self) -> Option<u64> {
        self.input_tokens?.checked_add(self.output_tokens?)
    }

    /// Takes in what a later event of the same stream says, for those who keep no events.
    ///
    /// A count that `later` knows replaces this one. One exception: an input count that comes
    /// without any cache counts may have left the cached tokens out, so it does not lower one that
    /// came with them.
    ///
    /// ```
    /// use beluga_o11y::Usage;
    /// use serde_json::json;
    ///
    /// let events = [
    ///     json!({"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}),
    ///     json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello"}}),
    ///     json!({"type": "message_delta", "usage": {"output_tokens": 15}}),
    /// ];
    ///
    /// let usage = events
    ///     .iter()
    ///     .fold(Usage::default(), |usage, event| usage.merge(Usage::from_anthropic(event)));
    ///
    /// assert_eq!(usage, Usage::new(25, 15));
    /// ```
    #[must_use]
    pub fn merge(self, later: Self) -> Self {
        let has_cache =
            |usage: &Self| usage.cache_read_tokens.is_some() || usage.cache_write_tokens.is_some();
        let input_tokens = if has_cache(&self) && !has_cache(&later) {
            self.input_tokens.max(later.input_tokens)
        } else {
            later.input_tokens.or(self.input_tokens)
        };
        Self {
            input_tokens,
            output_tokens: later.output_tokens.or(self.output_tokens),
            cache_read_tokens: later.cache_read_tokens.or(self.cache_read_tokens),
            cache_write_tokens: later.cache_write_tokens.or(self.cache_write_tokens),
            reasoning_tokens: later.reasoning_tokens.or(self.reasoning_tokens),
        }
    }

    /// Reads an answer in the OpenAI format: Chat Completions, Responses, Completions, Embeddings.
    ///
    /// Streaming: Chat Completions carries usage in the last chunk, if
    /// `stream_options.include_usage` was asked for; Responses carries it in `response.completed`.
    ///
    /// Both report cached tokens within the input and reasoning tokens within the output
    /// ([chat](https://platform.openai.com/docs/api-reference/chat/object),
    /// [responses](https://platform.openai.com/docs/api-reference/responses/object)). Also read are
    /// the variants of compatible services:
    ///
    /// - `prompt_tokens_details.cache_write_tokens`, of OpenAI itself and of
    ///   [OpenRouter](https://openrouter.ai/docs/use-cases/usage-accounting)
    /// - `prompt_cache_hit_tokens`, of
    ///   [DeepSeek](https://api-docs.deepseek.com/api/create-chat-completion)
    /// - `x_groq.usage`, of [Groq](https://console.groq.com/docs/api-reference)'s streams
    /// - `cached_tokens` and, in streams, `choices[0].usage`, of
    ///   [Kimi](https://platform.kimi.ai/docs/guide/utilize-the-streaming-output-feature-of-kimi-api)
    /// - `cache_read_input_tokens` and `cache_creation_input_tokens` beside `prompt_tokens`, of
    ///   [LiteLLM](https://docs.litellm.ai/docs/completion/prompt_caching)
    ///
    /// Where `total_tokens` proves that reasoning was counted beside the completion, as
    /// [Grok](https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/grok/capabilities/reasoning)
    /// does, it is added to the output.
    ///
    /// ```
    /// use beluga_o11y::Usage;
    /// use serde_json::json;
    ///
    /// let usage = Usage::from_openai(&json!({"usage": {
    ///     "prompt_tokens": 2006,
    ///     "completion_tokens": 300,
    ///     "total_tokens": 2306,
    ///     "prompt_tokens_details": {"cached_tokens": 1920},
    /// }}));
    ///
    /// assert_eq!(usage, Usage::new(2006, 300).with_cache_read(1920));
    /// ```
    #[must_use]
    pub fn from_openai(answer: &(impl Serialize + ?Sized)) -> Self {
        read(answer, &[OPENAI_CHAT, OPENAI_RESPONSES])
    }

    /// Reads an answer of Anthropic's Messages API, also by way of Vertex AI or a gateway.
    ///
    /// Streaming: `message_start` carries the input, `message_delta` the final output and, today,
    /// the input again. Hand over both, all events, or [`merge`](Self::merge) as they come.
    ///
    /// `input_tokens` counts only what had nothing to do with the cache, so the input is
    /// `input_tokens + cache_creation_input_tokens + cache_read_input_tokens`
    /// ([source](https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance)).
    /// Thinking is part of `output_tokens`; `output_tokens_details.thinking_tokens`, where it is
    /// reported, says how much
    /// ([source](https://platform.claude.com/docs/en/api/messages)).
    ///
    /// Where `iterations` are listed, they are summed up instead, because the counts around them
    /// leave out what compaction used
    /// ([source](https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage)).
    ///
    /// ```
    /// use beluga_o11y::Usage;
    /// use serde_json::json;
    ///
    /// let usage = Usage::from_anthropic(&json!({"usage": {
    ///     "input_tokens": 10,
    ///     "cache_creation_input_tokens": 7,
    ///     "cache_read_input_tokens": 100,
    ///     "output_tokens": 3,
    /// }}));
    ///
    /// assert_eq!(usage, Usage::new(117, 3).with_cache_read(100).with_cache_write(7));
    /// ```
    #[must_use]
    pub fn from_anthropic(answer: &(impl Serialize + ?Sized)) -> Self {
        read(answer, &[ANTHROPIC])
    }

    /// Reads an answer of the Gemini API or of Gemini on Vertex AI, as the REST API writes it
    /// (`usageMetadata`) or as an SDK dumps it (`usage_metadata`), and of the Interactions API.
    ///
    /// Streaming: the last chunk has the final counts. The Live API's messages are read as well.
    ///
    /// The input is the prompt, which includes cached content, and the results of tools that Gemini
    /// ran itself. The output is the candidates and the thoughts
    /// ([source](https://ai.google.dev/api/generate-content#UsageMetadata)). Some versions of the API
    /// count the thoughts among the candidates; where `totalTokenCount` proves it, they are not
    /// added again.
    ///
    /// ```
    /// use beluga_o11y::Usage;
    /// use serde_json::json;
    ///
    /// let usage = Usage::from_gemini(&json!({"usageMetadata": {
    ///     "promptTokenCount": 12,
    ///     "candidatesTokenCount": 30,
    ///     "thoughtsTokenCount": 400,
    ///     "totalTokenCount": 442,
    /// }}));
    ///
    /// assert_eq!(usage, Usage::new(12, 430).with_reasoning(400));
    /// ```
    #[must_use]
    pub fn from_gemini(answer: &(impl Serialize + ?Sized)) -> Self {
        read(answer, &[GEMINI, GEMINI_INTERACTIONS])
    }

    /// Reads an answer of Amazon Bedrock: Converse, ConverseStream, and InvokeModel.
    ///
    /// Streaming: ConverseStream's `metadata` event; of InvokeModelWithResponseStream the last
    /// chunk, with its `amazon-bedrock-invocationMetrics`.
    ///
    /// `inputTokens` leaves the cached tokens out, so the input is
    /// `inputTokens + cacheReadInputTokens + cacheWriteInputTokens`
    /// ([source](https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html)).
    /// Bedrock does not report reasoning by itself.
    ///
    /// InvokeModel answers with the model's own body. Read are those of Nova, Claude, Llama, Titan,
    /// and of the models that answer in the OpenAI format. For all others, hand over the response
    /// headers as a map: `x-amzn-bedrock-input-token-count` and its siblings.
    ///
    /// ```
    /// use beluga_o11y::Usage;
    /// use serde_json::json;
    ///
    /// let usage = Usage::from_bedrock(&json!({"usage": {
    ///     "inputTokens": 10,
    ///     "outputTokens": 3,
    ///     "totalTokens": 113,
    ///     "cacheReadInputTokens": 100,
    /// }}));
    ///
    /// assert_eq!(usage, Usage::new(110, 3).with_cache_read(100));
    /// ```
    #[must_use]
    pub fn from_bedrock(answer: &(impl Serialize + ?Sized)) -> Self {
        read(
            answer,
            &[
                BEDROCK,
                ANTHROPIC,
                BEDROCK_MODELS,
                BEDROCK_HEADERS,
                OPENAI_CHAT,
            ],
        )
    }
}

/// One way of reporting usage. All places are JSON pointers; of several, the first that holds a
/// count is the one.
struct Dialect {
    /// Where, in an answer or an event, the counts may be.
    homes: &'static [&'static str],
    input: &'static [&'static str],
    tool_input: &'static [&'static str],
    cache_read: &'static [&'static str],
    cache_write: &'static [&'static str],
    output: &'static [&'static str],
    reasoning: &'static [&'static str],
    total: &'static [&'static str],
    /// Where the parts of the call are listed, if the other counts leave some of them out.
    iterations: Option<&'static str>,
    /// Whether cached tokens are left out of the input count.
    cache_beside_input: bool,
    /// Whether reasoning is left out of the output count, unless the total proves otherwise.
    reasoning_beside_output: bool,
    /// Whether the counts are text, as in HTTP headers.
    text: bool,
}

const SILENT: Dialect = Dialect {
    homes: &[],
    input: &[],
    tool_input: &[],
    cache_read: &[],
    cache_write: &[],
    output: &[],
    reasoning: &[],
    total: &[],
    iterations: None,
    cache_beside_input: false,
    reasoning_beside_output: false,
    text: false,
};

/// Chat Completions, legacy Completions and Embeddings, and what compatible services add.
const OPENAI_CHAT: Dialect = Dialect {
    homes: &["/usage", "/x_groq/usage", "/choices/0/usage", ""],
    input: &["/prompt_tokens"],
    cache_read: &[
        "/prompt_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
        "/cached_tokens",
        "/cache_read_input_tokens",
    ],
    cache_write: &[
        "/prompt_tokens_details/cache_write_tokens",
        "/cache_creation_input_tokens",
    ],
    output: &["/completion_tokens"],
    reasoning: &["/completion_tokens_details/reasoning_tokens"],
    total: &["/total_tokens"],
    ..SILENT
};

/// Responses; the singular `_token_details` are the Realtime API's.
const OPENAI_RESPONSES: Dialect = Dialect {
    homes: &["/usage", "/response/usage", ""],
    input: &["/input_tokens"],
    cache_read: &[
        "/input_tokens_details/cached_tokens",
        "/input_token_details/cached_tokens",
    ],
    cache_write: &["/input_tokens_details/cache_write_tokens"],
    output: &["/output_tokens"],
    reasoning: &["/output_tokens_details/reasoning_tokens"],
    ..SILENT
};

const ANTHROPIC: Dialect = Dialect {
    homes: &["/usage", "/message/usage", ""],
    input: &["/input_tokens"],
    cache_read: &["/cache_read_input_tokens"],
    cache_write: &["/cache_creation_input_tokens"],
    output: &["/output_tokens"],
    reasoning: &["/output_tokens_details/thinking_tokens"],
    iterations: Some("/iterations"),
    cache_beside_input: true,
    ..SILENT
};

/// Gemini and Vertex AI; `responseTokenCount` is the Live API's.
const GEMINI: Dialect = Dialect {
    homes: &["/usageMetadata", "/usage_metadata", ""],
    input: &["/promptTokenCount", "/prompt_token_count"],
    tool_input: &["/toolUsePromptTokenCount", "/tool_use_prompt_token_count"],
    cache_read: &["/cachedContentTokenCount", "/cached_content_token_count"],
    output: &[
        "/candidatesTokenCount",
        "/candidates_token_count",
        "/responseTokenCount",
        "/response_token_count",
    ],
    reasoning: &["/thoughtsTokenCount", "/thoughts_token_count"],
    total: &["/totalTokenCount", "/total_token_count"],
    reasoning_beside_output: true,
    ..SILENT
};

const GEMINI_INTERACTIONS: Dialect = Dialect {
    homes: &["/usage", "/interaction/usage", ""],
    input: &["/total_input_tokens"],
    tool_input: &["/total_tool_use_tokens"],
    cache_read: &["/total_cached_tokens"],
    output: &["/total_output_tokens"],
    reasoning: &["/total_thought_tokens"],
    total: &["/total_tokens"],
    reasoning_beside_output: true,
    ..SILENT
};

/// Converse and Nova's own body, and the invocation metrics of InvokeModelWithResponseStream.
const BEDROCK: Dialect = Dialect {
    homes: &[
        "/usage",
        "/metadata/usage",
        "/amazon-bedrock-invocationMetrics",
        "",
    ],
    input: &["/inputTokens", "/inputTokenCount"],
    cache_read: &["/cacheReadInputTokens", "/cacheReadInputTokenCount"],
    cache_write: &["/cacheWriteInputTokens", "/cacheWriteInputTokenCount"],
    output: &["/outputTokens", "/outputTokenCount"],
    cache_beside_input: true,
    ..SILENT
};

/// The bodies of [Llama](https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html)
/// and [Titan](https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html),
/// whole and in a stream.
const BEDROCK_MODELS: Dialect = Dialect {
    homes: &[""],
    input: &["/prompt_token_count", "/inputTextTokenCount"],
    output: &[
        "/generation_token_count",
        "/results/0/tokenCount",
        "/totalOutputTextTokenCount",
    ],
    ..SILENT
};

/// Response headers, in the case that AWS sends and in the one that HTTP libraries make of it.
const BEDROCK_HEADERS: Dialect = Dialect {
    homes: &[""],
    input: &[
        "/x-amzn-bedrock-input-token-count",
        "/X-Amzn-Bedrock-Input-Token-Count",
    ],
    cache_read: &[
        "/x-amzn-bedrock-cache-read-input-token-count",
        "/X-Amzn-Bedrock-Cache-Read-Input-Token-Count",
    ],
    cache_write: &[
        "/x-amzn-bedrock-cache-write-input-token-count",
        "/X-Amzn-Bedrock-Cache-Write-Input-Token-Count",
    ],
    output: &[
        "/x-amzn-bedrock-output-token-count",
        "/X-Amzn-Bedrock-Output-Token-Count",
    ],
    cache_beside_input: true,
    text: true,
    ..SILENT
};

/// The counts as the provider reports them, before one is counted into another.
#[derive(Clone, Copy, Default)]
struct Counts {
    input: Option<u64>,
    tool_input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
}

impl Counts {
    /// Whether the counts say anything of the call itself, and not only of its parts.
    fn tell(&self) -> bool {
        self.input.is_some() || self.output.is_some() || self.reasoning.is_some()
    }

    fn then(self, later: Self) -> Self {
        Self {
            input: later.input.or(self.input),
            tool_input: later.tool_input.or(self.tool_input),
            cache_read: later.cache_read.or(self.cache_read),
            cache_write: later.cache_write.or(self.cache_write),
            output: later.output.or(self.output),
            reasoning: later.reasoning.or(self.reasoning),
            total: later.total.or(self.total),
        }
    }
}

impl Dialect {
    /// Reads the events of one stream, or the single event that is a whole answer. `None` if this
    /// is not the dialect that they speak.
    fn usage(&self, events: &[Value]) -> Option<Usage> {
        let counts = events
            .iter()
            .filter_map(|event| self.event(event))
            .reduce(Counts::then)?;
        let input_tokens = self.input_tokens(&counts);
        Some(Usage {
            input_tokens,
            output_tokens: self.output_tokens(&counts, input_tokens),
            cache_read_tokens: counts.cache_read,
            cache_write_tokens: counts.cache_write,
            reasoning_tokens: counts.reasoning,
        })
    }

    fn event(&self, event: &Value) -> Option<Counts> {
        self.homes
            .iter()
            .filter_map(|home| event.pointer(home))
            .map(|home| self.counts(home))
            .find(Counts::tell)
    }

    fn counts(&self, home: &Value) -> Counts {
        let whole = self.own_counts(home);
        let iterations: Vec<Counts> = self
            .iterations
            .and_then(|place| home.pointer(place)?.as_array())
            .into_iter()
            .flatten()
            .map(|iteration| self.own_counts(iteration))
            .collect();
        let sum = |whole: Option<u64>, count: fn(&Counts) -> Option<u64>| {
            let known = || iterations.iter().filter_map(count);
            if known().next().is_none() {
                return whole;
            }
            known().try_fold(0, u64::checked_add)
        };
        Counts {
            input: sum(whole.input, |counts| counts.input),
            cache_read: sum(whole.cache_read, |counts| counts.cache_read),
            cache_write: sum(whole.cache_write, |counts| counts.cache_write),
            output: sum(whole.output, |counts| counts.output),
            ..whole
        }
    }

    fn own_counts(&self, home: &Value) -> Counts {
        let find = |places: &[&str]| {
            places
                .iter()
                .filter_map(|place| home.pointer(place))
                .find_map(|value| self.count(value))
        };
        Counts {
            input: find(self.input),
            tool_input: find(self.tool_input),
            cache_read: find(self.cache_read),
            cache_write: find(self.cache_write),
            output: find(self.output),
            reasoning: find(self.reasoning),
            total: find(self.total),
        }
    }

    fn count(&self, value: &Value) -> Option<u64> {
        match value {
            Value::Number(number) => number
                .as_u64()
                .or_else(|| number.as_f64().and_then(whole_number)),
            Value::String(text) if self.text => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn input_tokens(&self, counts: &Counts) -> Option<u64> {
        let cached = if self.cache_beside_input {
            [counts.cache_read, counts.cache_write]
        } else {
            [None, None]
        };
        cached
            .into_iter()
            .chain([counts.tool_input])
            .flatten()
            .try_fold(counts.input?, u64::checked_add)
    }

    fn output_tokens(&self, counts: &Counts, input_tokens: Option<u64>) -> Option<u64> {
        let Some(reasoning) = counts.reasoning else {
            return counts.output;
        };
        let Some(output) = counts.output else {
            return self.reasoning_beside_output.then_some(reasoning);
        };
        let both = output.checked_add(reasoning);
        let amounts_to_total = |output: Option<u64>| {
            counts.total.is_some() && input_tokens.zip(output).and_then(sum) == counts.total
        };
        if amounts_to_total(Some(output)) {
            Some(output)
        } else if amounts_to_total(both) || self.reasoning_beside_output {
            both
        } else {
            Some(output)
        }
    }
}

fn sum((a, b): (u64, u64)) -> Option<u64> {
    a.checked_add(b)
}

/// A count that was written as a float. Beyond 2^53 floats no longer hold every whole number.
fn whole_number(float: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    ((0.0..=EXACT).contains(&float) && float.fract() == 0.0).then_some(float as u64)
}

fn read(answer: &(impl Serialize + ?Sized), dialects: &[Dialect]) -> Usage {
    // By way of `Json`, which gives up on what is too deep before it exhausts the stack.
    Json::new(answer)
        .read()
        .map(|answer| usage(answer, dialects))
        .unwrap_or_default()
}

fn usage(answer: Value, dialects: &[Dialect]) -> Usage {
    let events = match parsed(answer) {
        Value::Array(events) => events.into_iter().map(parsed).collect(),
        answer => vec![answer],
    };
    dialects
        .iter()
        .find_map(|dialect| dialect.usage(&events))
        .unwrap_or_default()
}

/// The value that a string holds as JSON text; any other value as it is.
fn parsed(value: Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
        value => value,
    }
}
