//! Opik's names for providers, and how each family of them counts tokens.

use std::borrow::Cow;

use beluga_o11y::Usage;

use crate::wire::FlatUsage;

/// How a provider's API counts tokens, and so under which keys Opik looks for them
/// (`SpanCostCalculator.java`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    OpenAi,
    Anthropic,
    Bedrock,
    Google,
}

/// The provider in Opik's words, without which Opik finds no price: exact and in lower case. A name
/// that Opik does not know goes as it is, in lower case.
pub(crate) fn provider<'a>(provider: &'a str, model: &str) -> (Cow<'a, str>, Family) {
    let lower = provider.trim().to_ascii_lowercase();
    let known = match lower.as_str() {
        "openai" => ("openai", Family::OpenAi),
        "azure" | "azure_openai" | "azure-openai" | "azure.openai" | "azure.ai.openai"
        | "azure.ai.inference" => ("azure", Family::OpenAi),
        "anthropic" => ("anthropic", Family::Anthropic),
        "anthropic_vertexai" => ("anthropic_vertexai", Family::Anthropic),
        "google_vertexai" | "vertex-ai" | "vertex_ai" | "vertexai" | "gcp.vertex_ai"
            if model.contains("claude") =>
        {
            ("anthropic_vertexai", Family::Anthropic)
        }
        "google_vertexai" | "vertex-ai" | "vertex_ai" | "vertexai" | "gcp.vertex_ai" => {
            ("google_vertexai", Family::Google)
        }
        "google_ai" | "google-ai" | "google" | "gemini" | "gcp.gemini" | "gcp.gen_ai"
        | "google_genai" => ("google_ai", Family::Google),
        "bedrock" | "aws" | "aws.bedrock" | "aws_bedrock" | "aws-bedrock" | "amazon-bedrock"
        | "amazon_bedrock" | "bedrock_converse" => ("bedrock", Family::Bedrock),
        "groq" => ("groq", Family::OpenAi),
        "mistral" | "mistralai" | "mistral_ai" => ("mistral", Family::OpenAi),
        "xai" | "x_ai" | "x-ai" => ("xai", Family::OpenAi),
        "fireworks" | "fireworks_ai" => ("fireworks_ai", Family::OpenAi),
        "moonshot" | "moonshotai" | "moonshot_ai" => ("moonshot", Family::OpenAi),
        "perplexity" | "perplexity_ai" => ("perplexity", Family::OpenAi),
        _ if lower == provider => return (Cow::Borrowed(provider), Family::OpenAi),
        _ => return (Cow::Owned(lower), Family::OpenAi),
    };
    (Cow::Borrowed(known.0), known.1)
}

/// Token counts under the keys that Opik's Python client sends for the family: three in OpenAI's
/// words, that Opik shows, and the provider's own under `original_usage.`, that it prices.
///
/// Anthropic and Bedrock do not count cached tokens as input. Sent without their own
/// `original_usage` keys, cached tokens would be charged twice.
pub(crate) fn usage(usage: &Usage, family: Family) -> FlatUsage {
    let Usage {
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: read,
        cache_write_tokens: write,
        reasoning_tokens: reasoning,
        ..
    } = *usage;
    let total = usage.total_tokens();
    let less = |count: Option<u64>, parts: &[Option<u64>]| {
        let parts: u64 = parts
            .iter()
            .flatten()
            .fold(0, |sum, n| sum.saturating_add(*n));
        count.map(|count| count.saturating_sub(parts))
    };
    let uncached = less(input, &[read, write]);
    let keys: &[(&'static str, Option<u64>)] = match family {
        Family::OpenAi => &[
            ("original_usage.prompt_tokens", input),
            ("original_usage.completion_tokens", output),
            ("original_usage.total_tokens", total),
            ("original_usage.prompt_tokens_details.cached_tokens", read),
            (
                "original_usage.prompt_tokens_details.cache_write_tokens",
                write,
            ),
            (
                "original_usage.completion_tokens_details.reasoning_tokens",
                reasoning,
            ),
        ],
        Family::Anthropic => &[
            ("original_usage.input_tokens", uncached),
            ("original_usage.output_tokens", output),
            ("original_usage.cache_read_input_tokens", read),
            ("original_usage.cache_creation_input_tokens", write),
            (
                "original_usage.output_tokens_details.thinking_tokens",
                reasoning,
            ),
        ],
        Family::Bedrock => &[
            ("original_usage.inputTokens", uncached),
            ("original_usage.outputTokens", output),
            ("original_usage.totalTokens", total),
            ("original_usage.cacheReadInputTokens", read),
            ("original_usage.cacheWriteInputTokens", write),
            // Bedrock has no count of its own for it.
            (
                "original_usage.completion_tokens_details.reasoning_tokens",
                reasoning,
            ),
        ],
        Family::Google => &[
            ("original_usage.prompt_token_count", input),
            (
                "original_usage.candidates_token_count",
                less(output, &[reasoning]),
            ),
            ("original_usage.total_token_count", total),
            ("original_usage.cached_content_token_count", read),
            ("original_usage.thoughts_token_count", reasoning),
        ],
    };
    let shown = [
        ("prompt_tokens", input),
        ("completion_tokens", output),
        ("total_tokens", total),
    ];
    let known = shown.iter().chain(keys);
    FlatUsage(
        known
            .filter_map(|(key, count)| Some((*key, (*count)?)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sent(usage: Usage, name: &str) -> Value {
        let (_, family) = provider(name, "");
        serde_json::to_value(super::usage(&usage, family)).unwrap()
    }

    fn all() -> Usage {
        Usage::new(117, 3)
            .with_cache_read(100)
            .with_cache_write(7)
            .with_reasoning(2)
    }

    /// From the Python client on the wire (`opik` 2.2.122).
    #[test]
    fn openai_with_cached_tokens_as_the_python_client_sends_them() {
        assert_eq!(
            sent(Usage::new(12, 5).with_cache_read(4), "openai"),
            json!({
                "completion_tokens": 5, "prompt_tokens": 12, "total_tokens": 17,
                "original_usage.completion_tokens": 5, "original_usage.prompt_tokens": 12,
                "original_usage.total_tokens": 17,
                "original_usage.prompt_tokens_details.cached_tokens": 4,
            })
        );
    }

    /// From the Python client on the wire (`opik` 2.2.122).
    #[test]
    fn anthropic_with_cached_tokens_as_the_python_client_sends_them() {
        assert_eq!(
            sent(
                Usage::new(117, 3).with_cache_read(100).with_cache_write(7),
                "anthropic"
            ),
            json!({
                "completion_tokens": 3, "prompt_tokens": 117, "total_tokens": 120,
                "original_usage.input_tokens": 10, "original_usage.output_tokens": 3,
                "original_usage.cache_creation_input_tokens": 7,
                "original_usage.cache_read_input_tokens": 100,
            })
        );
    }

    #[test]
    fn the_other_families() {
        assert_eq!(
            sent(all(), "bedrock"),
            json!({
                "completion_tokens": 3, "prompt_tokens": 117, "total_tokens": 120,
                "original_usage.inputTokens": 10, "original_usage.outputTokens": 3,
                "original_usage.totalTokens": 120, "original_usage.cacheReadInputTokens": 100,
                "original_usage.cacheWriteInputTokens": 7,
                "original_usage.completion_tokens_details.reasoning_tokens": 2,
            })
        );
        assert_eq!(
            sent(all(), "gemini"),
            json!({
                "completion_tokens": 3, "prompt_tokens": 117, "total_tokens": 120,
                "original_usage.prompt_token_count": 117,
                "original_usage.candidates_token_count": 1,
                "original_usage.total_token_count": 120,
                "original_usage.cached_content_token_count": 100,
                "original_usage.thoughts_token_count": 2,
            })
        );
    }

    #[test]
    fn what_is_unknown_is_absent_and_zero_is_zero() {
        assert_eq!(sent(Usage::default(), "openai"), json!({}));
        let mut input_only = Usage::default();
        input_only.input_tokens = Some(0);
        assert_eq!(
            sent(input_only, "anthropic"),
            json!({"prompt_tokens": 0, "original_usage.input_tokens": 0})
        );
    }

    #[test]
    fn cached_tokens_beyond_the_input_do_not_underflow() {
        let sent = sent(Usage::new(5, 1).with_cache_read(100), "anthropic");
        assert_eq!(sent["original_usage.input_tokens"], 0);
    }

    /// The table of docs/opik.md, and names that go as they are.
    #[test]
    fn providers_in_opiks_words() {
        for (opik, names) in [
            ("openai", "openai OpenAI"),
            ("anthropic", "anthropic"),
            (
                "azure",
                "azure azure_openai azure-openai azure.openai azure.ai.openai azure.ai.inference",
            ),
            (
                "google_ai",
                "google_ai gemini google google-ai google_genai gcp.gemini gcp.gen_ai GCP.Gemini",
            ),
            (
                "google_vertexai",
                "google_vertexai vertex_ai vertex-ai vertexai gcp.vertex_ai",
            ),
            ("anthropic_vertexai", "anthropic_vertexai"),
            (
                "bedrock",
                "bedrock aws aws.bedrock aws_bedrock aws-bedrock amazon-bedrock amazon_bedrock \
                 bedrock_converse",
            ),
            ("groq", "groq"),
            ("mistral", "mistral mistralai mistral_ai"),
            ("xai", "xai x_ai x-ai"),
            ("fireworks_ai", "fireworks_ai fireworks"),
            ("moonshot", "moonshot moonshotai moonshot_ai"),
            ("perplexity", "perplexity perplexity_ai"),
            ("deepseek", "deepseek DeepSeek"),
            ("ollama", "Ollama"),
        ] {
            for name in names.split_whitespace() {
                assert_eq!(provider(name, "a-model").0, opik, "{name}");
                assert_eq!(provider(&format!(" {name} "), "a-model").0, opik, "{name}");
            }
        }
        for name in "google_vertexai vertex_ai vertex-ai vertexai gcp.vertex_ai".split(' ') {
            let claude = provider(name, "claude-sonnet-4-5");
            assert_eq!(claude, ("anthropic_vertexai".into(), Family::Anthropic));
        }
    }
}
