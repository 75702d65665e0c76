//! What a span is to the layer, told by what is known of it before it is made.

use tracing::Metadata;

/// The field that makes a span a GenAI span.
pub(crate) const OPERATION: &str = "gen_ai.operation.name";
/// What the names of the fields that programs put on spans of their own begin with.
pub(crate) const RESERVED: &str = "beluga.";

/// What a span is to the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// By the GenAI conventions; its operation says more.
    GenAi,
    /// One of langchain-rust, which has names of its own.
    LangChain(LangChain),
    /// Neither, but it has fields that are for the layer.
    Reserved,
}

/// The spans of langchain-rust 7 (`observability.rs` documents them as public).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LangChain {
    Generate,
    Embed,
    /// A chain, an agent, one of its plans, or a tool.
    Step,
}

impl Role {
    /// Asked for every span of the program where filters disagree, so it looks at each name once.
    pub(crate) fn of(metadata: &Metadata<'_>) -> Option<Self> {
        let mut reserved = false;
        for field in metadata.fields().iter() {
            let name = field.name();
            if name == OPERATION {
                return Some(Self::GenAi);
            }
            reserved |= name.starts_with(RESERVED);
        }
        if let Some(span) = LangChain::of(metadata) {
            return Some(Self::LangChain(span));
        }
        reserved.then_some(Self::Reserved)
    }
}

impl LangChain {
    fn of(metadata: &Metadata<'_>) -> Option<Self> {
        let below = metadata.target().strip_prefix("langchain_rust")?;
        if !below.is_empty() && !below.starts_with("::") {
            return None;
        }
        match metadata.name() {
            "llm.generate" => Some(Self::Generate),
            "embed.documents" | "embed.query" => Some(Self::Embed),
            "chain.call" | "agent.run" | "agent.plan" | "tool.call" => Some(Self::Step),
            _ => None,
        }
    }
}

/// What is done to a model. Two calls of one kind, one in the other, are the same call, told twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Text, or tool calls, are generated.
    Generation,
    Embeddings,
    Rerank,
    Transcription,
    Image,
    Audio,
    /// What nobody has heard of yet.
    Other,
}

impl Operation {
    /// Of a GenAI span; `None` if it is not a call of a model: a run of an agent, a tool, ..
    pub(crate) fn of(name: &str, has_model: bool) -> Option<Self> {
        match name {
            "chat" | "generate_content" | "text_completion" => Some(Self::Generation),
            // rig up to 0.42.
            "chat_streaming" | "interactions" | "interactions_streaming" => Some(Self::Generation),
            "embeddings" => Some(Self::Embeddings),
            "rerank" => Some(Self::Rerank),
            "transcription" => Some(Self::Transcription),
            "image_generation" => Some(Self::Image),
            "audio_generation" => Some(Self::Audio),
            "invoke_agent" | "create_agent" | "invoke_workflow" | "execute_tool" | "plan"
            | "retrieval" | "evaluate" => None,
            // What nobody has heard of yet is a call if it names its model.
            _ => has_model.then_some(Self::Other),
        }
    }
}
