//! What the layer makes of spans, whoever made them.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use beluga_o11y::{InMemoryExporter, LLMCallData};
use beluga_o11y_tracing::LlmCallLayer;
use tracing::info_span;
use tracing_subscriber::prelude::*;

fn calls(run: impl FnOnce()) -> Vec<LLMCallData> {
    let sink = InMemoryExporter::new();
    let subscriber = tracing_subscriber::registry().with(LlmCallLayer::new(sink.clone()));
    tracing::subscriber::with_default(subscriber, run);
    sink.take().iter().map(|call| (**call).clone()).collect()
}

#[test]
fn smoke() {
    let calls = calls(|| {
        let user = info_span!("request", beluga.session.id = "s", beluga.tags = "a, b");
        let _entered = user.enter();
        let _other = info_span!("other").entered();
        info_span!(
            "chat",
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = "openai",
            gen_ai.request.model = "gpt-4o",
            gen_ai.usage.input_tokens = 5_u64
        );
    });
    assert_eq!(calls.len(), 1);
    println!("{}", serde_json::to_string_pretty(&calls[0]).unwrap());
    assert_eq!(calls[0].session_id.as_deref(), Some("s"));
}
