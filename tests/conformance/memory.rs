use std::sync::Arc;

use beluga_o11y::{InMemoryExporter, LLMCallData, TraceExporter, async_trait};
use beluga_o11y_sandbox::conformance::{Feature, Subject};

pub(crate) struct Memory(InMemoryExporter);

pub(crate) fn start() -> Memory {
    Memory(InMemoryExporter::new())
}

#[async_trait]
impl Subject for Memory {
    fn exporter(&self) -> Arc<dyn TraceExporter> {
        Arc::new(self.0.clone())
    }

    async fn arrived(&self) -> Vec<LLMCallData> {
        self.0.calls().iter().map(|call| (**call).clone()).collect()
    }

    fn not_shown(&self, feature: Feature, _: &str) -> Option<&'static str> {
        (feature == Feature::Once).then_some("it keeps all that it is given, in order of arrival")
    }
}
