//! The exporter.

use std::sync::Arc;

use async_trait::async_trait;
use beluga_o11y::{BatchReport, ExportError, LLMCallData, TraceExporter};
use beluga_o11y_http::{HttpResponse, HttpSender, single};

use crate::{
    Attributes, NAME, OtlpBackend, OtlpCheck, OtlpCheckError, OtlpConfig, OtlpConfigError,
    OtlpConventions, OtlpExporterBuilder, OtlpTraces, check, error_of_answer,
};

/// Sends LLM calls to any backend that takes OTLP over HTTP, or to an OpenTelemetry Collector.
///
/// Each call becomes one span of kind `CLIENT`, with the attributes of [`OtlpConventions`].
/// [`export_llm_call`](TraceExporter::export_llm_call) resolves when the server has answered: nothing is queued, batched on
/// a timer or tried again here, and `flush` has nothing to do. An answer of 200 means that the spans were received;
/// what a Collector does with them afterwards it does not tell.
///
/// Sending a call again sends the same ids. It is cheap to clone and can be shared between tasks and runtimes.
///
/// ```no_run
/// use beluga_o11y::{LLMCallData, TraceExporter};
/// use beluga_o11y_otlp::OtlpExporter;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let otlp = OtlpExporter::builder()
///     .with_endpoint("http://localhost:4318")
///     .with_service_name("my-service")
///     .build()?;
///
/// let call = LLMCallData::new("openai", "gpt-4o").with_response("The capital of France is Paris.");
/// otlp.export_llm_call(&call).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OtlpExporter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: OtlpConfig,
    traces: OtlpTraces<Otlp>,
}

/// Any backend, by the specification.
#[derive(Debug)]
pub(crate) struct Otlp {
    pub(crate) conventions: OtlpConventions,
    pub(crate) environment: Option<String>,
}

impl OtlpBackend for Otlp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn attributes(&self, call: &LLMCallData, attributes: &mut Attributes) {
        self.conventions
            .write(call, self.environment.as_deref(), attributes);
    }

    fn error(&self, response: &HttpResponse, spans: usize) -> Option<ExportError> {
        error_of_answer(NAME, response, spans)
    }
}

impl OtlpExporter {
    /// Starts with the defaults. Nothing is read from the environment unless
    /// [`OtlpExporterBuilder::from_env`] is called.
    pub fn builder() -> OtlpExporterBuilder {
        OtlpExporterBuilder::default()
    }

    /// An exporter as the environment says; see [`OtlpExporterBuilder::from_env`].
    ///
    /// # Errors
    ///
    /// [`OtlpConfigError`] names the first setting that is missing or wrong.
    pub fn from_env() -> Result<Self, OtlpConfigError> {
        Self::builder().from_env().build()
    }

    pub(crate) fn new(config: OtlpConfig, traces: OtlpTraces<Otlp>) -> Self {
        Self(Arc::new(Inner { config, traces }))
    }

    /// Where it sends to.
    pub fn config(&self) -> &OtlpConfig {
        &self.0.config
    }

    /// The HTTP sender that it uses; none if it is switched off. To ask the server for something that this crate has no
    /// function for: requests made with it carry the headers that were set, but not the credentials.
    pub fn sender(&self) -> Option<&HttpSender> {
        (!self.0.config.disabled).then(|| self.0.traces.sender())
    }

    /// Asks whether a receiver of OTLP is there and takes the credentials, by a request without spans.
    ///
    /// # Errors
    ///
    /// [`OtlpCheckError`] names what is wrong and what to do.
    pub async fn check(&self) -> Result<OtlpCheck, OtlpCheckError> {
        check::check(&self.0.config, &self.0.traces).await
    }

    /// The body of the request that a call would be sent in, alone and before compression, and sends nothing: for a
    /// dry run, and to see what the backend gets.
    ///
    /// # Errors
    ///
    /// As [`export_llm_call`](TraceExporter::export_llm_call) for a call that cannot be sent.
    pub fn encode(&self, call: &LLMCallData) -> Result<Vec<u8>, ExportError> {
        self.0.traces.encode(call)
    }
}

#[async_trait]
impl TraceExporter for OtlpExporter {
    fn name(&self) -> &str {
        NAME
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        single(self.export_batch(&[call]).await?)
    }

    /// Sends at most 512 spans and [`with_max_request_bytes`](OtlpExporterBuilder::with_max_request_bytes) in a request. Calls
    /// that cannot be sent are found before anything is sent, and reported; the others go on without them.
    ///
    /// If the server rejects some of the spans of a request (`partial_success`), it does not say which; that is an error
    /// of the whole batch, as if it had refused the request. The spans that it took keep their ids when they are
    /// sent again. (The specification asks clients not to send them again; who rejected what would then be unknown.)
    ///
    /// # Errors
    ///
    /// Why the server is not to be reached, or else the first refusal of a request with several calls. What it
    /// refuses of a single call is in the report.
    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        if self.0.config.disabled {
            return Ok(BatchReport::default());
        }
        self.0.traces.export(calls).await
    }
}
