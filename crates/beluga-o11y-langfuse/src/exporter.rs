//! The exporter.

use std::sync::Arc;

use async_trait::async_trait;
use beluga_o11y::{BatchReport, ExportError, LLMCallData, TraceExporter};
use beluga_o11y_http::{HttpResponse, HttpSender, single};
use beluga_o11y_otlp::{Attributes, OtlpBackend, OtlpTraces};

use crate::{
    LangfuseCheck, LangfuseCheckError, LangfuseConfig, LangfuseConfigError,
    LangfuseExporterBuilder, NAME, check, convert, error,
};

/// Sends LLM calls to [Langfuse](https://langfuse.com), the cloud or one's own.
///
/// Each call becomes an observation of type `generation`. [`export_llm_call`](TraceExporter::export_llm_call) resolves when
/// Langfuse has answered: nothing is queued, batched on a timer or tried again here, and `flush` has nothing to do.
/// Langfuse answers before it stores; what was sent shows up a little later.
///
/// A call that is sent again has the same ids and the same start, by which Langfuse knows that it is the same; until its
/// database has merged the two, within seconds as a rule, both can be seen. It is cheap to clone and can be
/// shared between tasks and runtimes.
///
/// ```no_run
/// use beluga_o11y::{LLMCallData, TraceExporter};
/// use beluga_o11y_langfuse::LangfuseExporter;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let langfuse = LangfuseExporter::builder()
///     .with_public_key(std::env::var("LANGFUSE_PUBLIC_KEY")?)
///     .with_secret_key(std::env::var("LANGFUSE_SECRET_KEY")?)
///     .build()?;
///
/// let call = LLMCallData::new("openai", "gpt-4o").with_response("The capital of France is Paris.");
/// langfuse.export_llm_call(&call).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LangfuseExporter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: LangfuseConfig,
    traces: OtlpTraces<Langfuse>,
}

/// What is Langfuse's own in OTLP.
#[derive(Debug)]
pub(crate) struct Langfuse {
    pub(crate) environment: Option<String>,
    pub(crate) release: Option<String>,
}

impl OtlpBackend for Langfuse {
    fn name(&self) -> &'static str {
        NAME
    }

    fn attributes(&self, call: &LLMCallData, attributes: &mut Attributes) {
        let (environment, release) = (self.environment.as_deref(), self.release.as_deref());
        convert::attributes(call, environment, release, attributes);
    }

    fn error(&self, response: &HttpResponse, _spans: usize) -> Option<ExportError> {
        error::from_response(response)
    }
}

impl LangfuseExporter {
    /// Starts with the defaults. Nothing is read from the environment unless
    /// [`LangfuseExporterBuilder::from_env`] is called.
    pub fn builder() -> LangfuseExporterBuilder {
        LangfuseExporterBuilder::default()
    }

    /// An exporter as the environment says; see [`LangfuseExporterBuilder::from_env`].
    ///
    /// # Errors
    ///
    /// [`LangfuseConfigError`] names the first setting that is missing or wrong.
    pub fn from_env() -> Result<Self, LangfuseConfigError> {
        Self::builder().from_env().build()
    }

    pub(crate) fn new(config: LangfuseConfig, traces: OtlpTraces<Langfuse>) -> Self {
        Self(Arc::new(Inner { config, traces }))
    }

    /// Where it sends to.
    pub fn config(&self) -> &LangfuseConfig {
        &self.0.config
    }

    /// The HTTP sender that it uses; none if it is switched off. To ask the server for something that this crate has no
    /// function for: requests made with it carry the headers that were set, but not the keys.
    pub fn sender(&self) -> Option<&HttpSender> {
        (!self.0.config.disabled).then(|| self.0.traces.sender())
    }

    /// Asks whether Langfuse is there, and for its version, if it tells it. No key is needed, and none is sent.
    ///
    /// # Errors
    ///
    /// [`LangfuseCheckError`] names what is wrong and what to do.
    pub async fn version(&self) -> Result<Option<String>, LangfuseCheckError> {
        check::version(&self.0.config, &self.0.traces).await
    }

    /// Asks Langfuse whether it has stored a call. It stores a little after it has answered, so `false` means: not
    /// yet, or never.
    ///
    /// # Errors
    ///
    /// [`LangfuseCheckError`] names what is wrong and what to do.
    pub async fn is_stored(&self, call: &LLMCallData) -> Result<bool, LangfuseCheckError> {
        check::is_stored(&self.0.config, &self.0.traces, call).await
    }

    /// Asks Langfuse whether it is there, whether the keys are good and which project they open, without writing
    /// anything.
    ///
    /// # Errors
    ///
    /// [`LangfuseCheckError`] names what is wrong and what to do.
    pub async fn check(&self) -> Result<LangfuseCheck, LangfuseCheckError> {
        check::check(&self.0.config, &self.0.traces).await
    }

    /// The body of the request that a call would be sent in, alone and before compression, and sends nothing: for a
    /// dry run, and to see what Langfuse gets.
    ///
    /// # Errors
    ///
    /// As [`export_llm_call`](TraceExporter::export_llm_call) for a call that cannot be sent.
    pub fn encode(&self, call: &LLMCallData) -> Result<Vec<u8>, ExportError> {
        self.0.traces.encode(call)
    }
}

#[async_trait]
impl TraceExporter for LangfuseExporter {
    fn name(&self) -> &str {
        NAME
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        single(self.export_batch(&[call]).await?)
    }

    /// Sends at most 512 calls and [`with_max_request_bytes`](LangfuseExporterBuilder::with_max_request_bytes) in a request.
    /// Calls that cannot be sent are found before anything is sent, and reported; the others go on without them. A
    /// request that Langfuse refuses is refused whole: it does not say which call is bad.
    ///
    /// # Errors
    ///
    /// Why Langfuse is not to be reached, or else the first refusal of a request with several calls. What it
    /// refuses of a single call is in the report.
    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        if self.0.config.disabled {
            return Ok(BatchReport::default());
        }
        self.0.traces.export(calls).await
    }
}
