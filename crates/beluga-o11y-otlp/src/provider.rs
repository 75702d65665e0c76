//! The names of providers in the words of both conventions. A name that is not known goes as it is.

/// One provider, by all spellings that programs use.
struct Provider {
    /// Lower case.
    spellings: &'static [&'static str],
    /// `gen_ai.provider.name`, as the conventions list them.
    gen_ai: &'static str,
    /// `llm.provider`, as OpenInference lists them (`LLMProvider`).
    open_inference: &'static str,
    /// `llm.system`, the API that is spoken (`LLMSystem`), where OpenInference has a word for it.
    system: Option<&'static str>,
}

const PROVIDERS: &[Provider] = &[
    Provider {
        spellings: &["openai"],
        gen_ai: "openai",
        open_inference: "openai",
        system: Some("openai"),
    },
    Provider {
        spellings: &[
            "azure",
            "azure_openai",
            "azure-openai",
            "azure.openai",
            "azure.ai.openai",
        ],
        gen_ai: "azure.ai.openai",
        open_inference: "azure",
        system: Some("openai"),
    },
    Provider {
        spellings: &["azure.ai.inference"],
        gen_ai: "azure.ai.inference",
        open_inference: "azure",
        system: None,
    },
    Provider {
        spellings: &["anthropic"],
        gen_ai: "anthropic",
        open_inference: "anthropic",
        system: Some("anthropic"),
    },
    Provider {
        spellings: &[
            "google",
            "google_ai",
            "google-ai",
            "google_genai",
            "gemini",
            "gcp.gemini",
        ],
        gen_ai: "gcp.gemini",
        open_inference: "google",
        system: None,
    },
    Provider {
        spellings: &["gcp.gen_ai"],
        gen_ai: "gcp.gen_ai",
        open_inference: "google",
        system: None,
    },
    Provider {
        spellings: &[
            "google_vertexai",
            "vertex_ai",
            "vertex-ai",
            "vertexai",
            "gcp.vertex_ai",
        ],
        gen_ai: "gcp.vertex_ai",
        open_inference: "google",
        system: Some("vertexai"),
    },
    Provider {
        spellings: &[
            "aws",
            "bedrock",
            "aws.bedrock",
            "aws_bedrock",
            "aws-bedrock",
            "amazon-bedrock",
            "amazon_bedrock",
            "bedrock_converse",
        ],
        gen_ai: "aws.bedrock",
        open_inference: "aws",
        system: None,
    },
    Provider {
        spellings: &["cohere"],
        gen_ai: "cohere",
        open_inference: "cohere",
        system: Some("cohere"),
    },
    Provider {
        spellings: &["mistral", "mistralai", "mistral_ai"],
        gen_ai: "mistral_ai",
        open_inference: "mistralai",
        system: Some("mistralai"),
    },
    Provider {
        spellings: &["xai", "x_ai", "x-ai"],
        gen_ai: "x_ai",
        open_inference: "xai",
        system: None,
    },
    Provider {
        spellings: &["deepseek"],
        gen_ai: "deepseek",
        open_inference: "deepseek",
        system: None,
    },
    Provider {
        spellings: &["moonshot", "moonshotai", "moonshot_ai"],
        gen_ai: "moonshot_ai",
        open_inference: "moonshot",
        system: None,
    },
    Provider {
        spellings: &["perplexity", "perplexity_ai"],
        gen_ai: "perplexity",
        open_inference: "perplexity",
        system: None,
    },
];

fn known(name: &str) -> Option<&'static Provider> {
    let name = name.trim();
    PROVIDERS.iter().find(|provider| {
        let mut spellings = provider.spellings.iter();
        spellings.any(|spelling| spelling.eq_ignore_ascii_case(name))
    })
}

/// `gen_ai.provider.name`.
pub(crate) fn gen_ai(name: &str) -> String {
    known(name)
        .map_or(name, |provider| provider.gen_ai)
        .to_owned()
}

/// `llm.provider`.
pub(crate) fn open_inference(name: &str) -> String {
    known(name)
        .map_or(name, |provider| provider.open_inference)
        .to_owned()
}

/// `llm.system`, if there is a word for it.
pub(crate) fn system(name: &str) -> Option<&'static str> {
    known(name)?.system
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_become_the_words_of_the_conventions() {
        for (name, in_gen_ai, in_open_inference, in_system) in [
            ("OpenAI", "openai", "openai", Some("openai")),
            ("azure", "azure.ai.openai", "azure", Some("openai")),
            ("gemini", "gcp.gemini", "google", None),
            ("bedrock", "aws.bedrock", "aws", None),
            ("mistral", "mistral_ai", "mistralai", Some("mistralai")),
            ("My-Own", "My-Own", "My-Own", None),
        ] {
            assert_eq!(gen_ai(name), in_gen_ai);
            assert_eq!(open_inference(name), in_open_inference);
            assert_eq!(system(name), in_system);
        }
    }

    #[test]
    fn no_spelling_stands_for_two() {
        let mut all: Vec<_> = PROVIDERS.iter().flat_map(|p| p.spellings).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        for provider in PROVIDERS {
            assert!(
                provider.spellings.contains(&provider.gen_ai),
                "{}",
                provider.gen_ai
            );
        }
    }
}
