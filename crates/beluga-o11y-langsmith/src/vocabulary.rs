//! LangSmith's words for providers.

/// The provider as LangSmith's own client names it in `ls_provider` (`langsmith` 0.15.0: `wrap_openai`,
/// `wrap_anthropic`, `wrap_gemini`, the integrations). LangSmith looks up prices by it and the model. A name
/// that is not listed goes as it is.
pub(crate) fn provider(provider: &str) -> &str {
    let provider = provider.trim();
    match provider.to_ascii_lowercase().as_str() {
        "openai" => "openai",
        "azure" | "azure_openai" | "azure-openai" | "azure.openai" | "azure.ai.openai"
        | "azure.ai.inference" => "azure",
        "anthropic" => "anthropic",
        "google" | "gemini" | "gcp.gemini" | "gcp.gen_ai" => "google",
        "google_vertexai" | "vertex-ai" | "vertex_ai" | "vertexai" | "gcp.vertex_ai" => {
            "google_vertexai"
        }
        "bedrock" | "aws" | "aws.bedrock" | "aws_bedrock" | "aws-bedrock" | "amazon-bedrock"
        | "amazon_bedrock" | "bedrock_converse" => "amazon_bedrock",
        _ => provider,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/langsmith.md, and names that go as they are.
    #[test]
    fn providers_in_langsmiths_words() {
        for (langsmith, names) in [
            ("openai", "openai OpenAI"),
            ("anthropic", "anthropic"),
            (
                "azure",
                "azure azure_openai azure-openai azure.openai azure.ai.openai azure.ai.inference",
            ),
            ("google", "google gemini gcp.gemini gcp.gen_ai GCP.Gemini"),
            (
                "google_vertexai",
                "google_vertexai vertex_ai vertex-ai vertexai gcp.vertex_ai",
            ),
            (
                "amazon_bedrock",
                "amazon_bedrock bedrock aws aws.bedrock aws_bedrock aws-bedrock amazon-bedrock \
                 bedrock_converse",
            ),
            ("mistral", "mistral"),
            ("google_genai", "google_genai"),
            ("DeepSeek", "DeepSeek"),
        ] {
            for name in names.split_whitespace() {
                assert_eq!(provider(name), langsmith, "{name}");
                assert_eq!(provider(&format!(" {name}\n")), langsmith, "{name}");
            }
        }
    }
}
