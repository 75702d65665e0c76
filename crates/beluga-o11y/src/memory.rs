//! An exporter that keeps what it is given, for tests.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::{CallSink, ExportError, LLMCallData, Refusal, Submission, TraceExporter};

/// Keeps calls in memory, without a limit: for tests, and to look at what a program reports.
///
/// Clones share the same calls. It refuses what every backend would refuse
/// ([`LLMCallData::validate`]).
///
/// ```
/// use beluga_o11y::{CallSink, InMemoryExporter, LLMCallData};
///
/// let memory = InMemoryExporter::new();
/// memory.submit(LLMCallData::new("openai", "gpt-4o").with_tokens(12, 3));
/// assert_eq!(memory.take()[0].usage.input_tokens, Some(12));
/// assert!(memory.is_empty());
/// ```
#[derive(Clone, Default)]
pub struct InMemoryExporter {
    calls: Arc<Mutex<Vec<Arc<LLMCallData>>>>,
}

impl InMemoryExporter {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it has been given, in order of arrival.
    pub fn calls(&self) -> Vec<Arc<LLMCallData>> {
        self.lock().clone()
    }

    /// Takes out what it has been given, in order of arrival.
    pub fn take(&self) -> Vec<Arc<LLMCallData>> {
        std::mem::take(&mut self.lock())
    }

    /// How many calls it holds.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<LLMCallData>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TraceExporter for InMemoryExporter {
    fn name(&self) -> &str {
        "memory"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        call.validate()
            .map_err(|invalid| ExportError::rejected("memory", invalid.to_string()))?;
        self.lock().push(Arc::new(call.clone()));
        Ok(())
    }
}

impl CallSink for InMemoryExporter {
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        if let Err(invalid) = call.validate() {
            return Submission::Refused(Refusal::Invalid(invalid));
        }
        self.lock().push(call);
        Submission::Accepted
    }
}

impl fmt::Debug for InMemoryExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryExporter")
            .field("calls", &self.len())
            .finish()
    }
}
