//! The exporter.

use std::sync::Arc;

use async_trait::async_trait;
use beluga_o11y::{BatchReport, ExportError, LLMCallData, TraceExporter};
use beluga_o11y_http::{HttpResponse, HttpSender, single};
use beluga_o11y_otlp::{Attributes, OtlpBackend, OtlpConventions, OtlpTraces};

use crate::{
    NAME, PhoenixCheck, PhoenixCheckError, PhoenixConfig, PhoenixConfigError,
    PhoenixExporterBuilder, check, error,
};

/// Sends LLM calls to [Arize Phoenix](https://phoenix.arize.com), hosted or one's own.
///
/// Each call becomes a span of kind `LLM`. [`export_llm_call`](TraceExporter::export_llm_call) resolves when Phoenix has
/// answered: nothing is queued, batched on a timer or tried again here, and `flush` has nothing to do. Phoenix answers
/// before it stores, about 100 spans a second with SQLite; what was sent shows up a little later.
///
/// Sending a call again is safe: it has the same span id, and Phoenix keeps the first span of an id. It is cheap to
/// clone and can be shared between tasks and runtimes.
///
/// Phoenix shows a cost of its own, see the [crate].
///
/// ```no_run
/// use beluga_o11y::{LLMCallData, TraceExporter};
/// use beluga_o11y_phoenix::PhoenixExporter;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let phoenix = PhoenixExporter::builder()
///     .with_base_url("http://localhost:6006")
///     .with_project("my-project")
///     .build()?;
///
/// let call = LLMCallData::new("openai", "gpt-4o").with_response("The capital of France is Paris.");
/// phoenix.export_llm_call(&call).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PhoenixExporter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: PhoenixConfig,
    traces: OtlpTraces<Phoenix>,
}

/// What is Phoenix's own in OTLP.
#[derive(Debug)]
pub(crate) struct Phoenix {
    pub(crate) conventions: OtlpConventions,
    pub(crate) environment: Option<String>,
    pub(crate) parents: bool,
}

impl OtlpBackend for Phoenix {
    fn name(&self) -> &'static str {
        NAME
    }

    fn attributes(&self, call: &LLMCallData, attributes: &mut Attributes) {
        self.conventions
            .write(call, self.environment.as_deref(), attributes);
    }

    fn error(&self, response: &HttpResponse, spans: usize) -> Option<ExportError> {
        error::from_response(response, spans)
    }

    fn sends_parent(&self) -> bool {
        self.parents
    }

    /// On PostgreSQL such a span would be lost after the answer.
    fn replaces_nul(&self) -> bool {
        true
    }
}

impl PhoenixExporter {
    /// Starts with the defaults. Nothing is read from the environment unless
    /// [`PhoenixExporterBuilder::from_env`] is called.
    pub fn builder() -> PhoenixExporterBuilder {
        PhoenixExporterBuilder::default()
    }

    /// An exporter as the environment says; see [`PhoenixExporterBuilder::from_env`].
    ///
    /// # Errors
    ///
    /// [`PhoenixConfigError`] names the first setting that is wrong.
    pub fn from_env() -> Result<Self, PhoenixConfigError> {
        Self::builder().from_env().build()
    }

    pub(crate) fn new(config: PhoenixConfig, traces: OtlpTraces<Phoenix>) -> Self {
        Self(Arc::new(Inner { config, traces }))
    }

    /// Where it sends to.
    pub fn config(&self) -> &PhoenixConfig {
        &self.0.config
    }

    /// The HTTP sender that it uses; none if it is switched off. To ask the server for something that this crate has no
    /// function for: requests made with it carry the headers that were set, but not the key.
    pub fn sender(&self) -> Option<&HttpSender> {
        (!self.0.config.disabled).then(|| self.0.traces.sender())
    }

    /// Asks whether Phoenix is there, and for its version. No key is needed, and none is sent.
    ///
    /// # Errors
    ///
    /// [`PhoenixCheckError`] names what is wrong and what to do.
    pub async fn version(&self) -> Result<Option<String>, PhoenixCheckError> {
        let version = check::version(&self.0.config, &self.0.traces).await?;
        Ok(Some(version))
    }

    /// Asks Phoenix whether it has stored a call in the project that is set. It stores a little after it has
    /// answered, so `false` means: not yet, or never.
    ///
    /// # Errors
    ///
    /// [`PhoenixCheckError`] names what is wrong and what to do.
    pub async fn is_stored(&self, call: &LLMCallData) -> Result<bool, PhoenixCheckError> {
        check::is_stored(&self.0.config, &self.0.traces, call).await
    }

    /// Asks Phoenix whether it is there, whether the key may write and whether the project exists, without writing
    /// anything.
    ///
    /// # Errors
    ///
    /// [`PhoenixCheckError`] names what is wrong and what to do.
    pub async fn check(&self) -> Result<PhoenixCheck, PhoenixCheckError> {
        check::check(&self.0.config, &self.0.traces).await
    }

    /// The body of the request that a call would be sent in, alone and before compression, and sends nothing: for a
    /// dry run, and to see what Phoenix gets.
    ///
    /// # Errors
    ///
    /// As [`export_llm_call`](TraceExporter::export_llm_call) for a call that cannot be sent.
    pub fn encode(&self, call: &LLMCallData) -> Result<Vec<u8>, ExportError> {
        self.0.traces.encode(call)
    }
}

#[async_trait]
impl TraceExporter for PhoenixExporter {
    fn name(&self) -> &str {
        NAME
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        single(self.export_batch(&[call]).await?)
    }

    /// Sends at most 512 calls and [`with_max_request_bytes`](PhoenixExporterBuilder::with_max_request_bytes) in a request.
    /// Calls that cannot be sent are found before anything is sent, and reported; the others go on without them.
    ///
    /// # Errors
    ///
    /// Why Phoenix is not to be reached, or else the first refusal of a request with several calls. What it
    /// refuses of a single call is in the report.
    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        if self.0.config.disabled {
            return Ok(BatchReport::default());
        }
        self.0.traces.export(calls).await
    }
}

#[cfg(test)]
mod tests;
