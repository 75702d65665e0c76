//! The exporter: the only place of this crate that talks to the network.

use std::sync::Arc;

use async_trait::async_trait;
use beluga_o11y::{BatchReport, ExportError, LLMCallData, TraceExporter};
use beluga_o11y_http::{HttpRequest, HttpSender, export_packed, single};
use bytes::Bytes;

use crate::{
    LangSmithCheck, LangSmithCheckError, LangSmithConfig, LangSmithConfigError,
    LangSmithExporterBuilder, NAME, check,
    convert::{self, Target},
    error::{self, Outcome},
    id,
    runs::{Batch, Filling, Runs},
};

/// Sends LLM calls to [LangSmith](https://www.langchain.com/langsmith), the cloud or one's own.
///
/// Each call becomes one finished run of type `llm`, sent once and whole: it uses the quota once, and cannot
/// stay "pending" because a second request was lost. [`export_llm_call`](TraceExporter::export_llm_call)
/// resolves when LangSmith has answered: nothing is queued, batched on a timer or tried again here, and
/// `flush` has nothing to do.
///
/// Sending a call again is safe: it has the same id each time, and LangSmith's answer to an id that it has
/// (409) counts as success. It is cheap to clone and can be shared between tasks and runtimes.
///
/// ```no_run
/// use beluga_o11y::{LLMCallData, TraceExporter};
/// use beluga_o11y_langsmith::LangSmithExporter;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let langsmith = LangSmithExporter::builder()
///     .with_api_key(std::env::var("LANGSMITH_API_KEY")?)
///     .with_project("my-project")
///     .build()?;
///
/// let call = LLMCallData::new("openai", "gpt-4o").with_response("The capital of France is Paris.");
/// langsmith.export_llm_call(&call).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LangSmithExporter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: LangSmithConfig,
    /// None if an off switch is on.
    pub(crate) sender: Option<HttpSender>,
    pub(crate) target: Target,
    pub(crate) max_request_bytes: usize,
}

impl LangSmithExporter {
    /// Starts with the defaults. Nothing is read from the environment unless
    /// [`LangSmithExporterBuilder::from_env`] is called.
    pub fn builder() -> LangSmithExporterBuilder {
        LangSmithExporterBuilder::default()
    }

    /// An exporter as the environment says; see [`LangSmithExporterBuilder::from_env`].
    ///
    /// # Errors
    ///
    /// [`LangSmithConfigError`] names the first setting that is missing or wrong.
    pub fn from_env() -> Result<Self, LangSmithConfigError> {
        Self::builder().from_env().build()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Where it sends to.
    pub fn config(&self) -> &LangSmithConfig {
        &self.inner.config
    }

    /// The HTTP sender that it uses; none if it is switched off. To ask the server for something that this crate has
    /// no function for: requests made with it carry the headers that were set and, since it is a header too
    /// (`x-api-key`), the key.
    pub fn sender(&self) -> Option<&HttpSender> {
        self.inner.sender.as_ref()
    }

    /// Asks whether LangSmith is there, and for its version, if it tells it. No key is needed.
    ///
    /// # Errors
    ///
    /// [`LangSmithCheckError`] names what is wrong and what to do.
    pub async fn version(&self) -> Result<Option<String>, LangSmithCheckError> {
        check::version(self.asked()?, &self.inner.config).await
    }

    /// Asks LangSmith whether it has stored a call. It stores a little after it has answered, so `false` means: not
    /// yet, or never.
    ///
    /// # Errors
    ///
    /// [`LangSmithCheckError`] names what is wrong and what to do.
    pub async fn is_stored(&self, call: &LLMCallData) -> Result<bool, LangSmithCheckError> {
        let run = id::run_id(call.id(), call.start_time());
        check::is_stored(self.asked()?, &self.inner.config, run).await
    }

    fn asked(&self) -> Result<&HttpSender, LangSmithCheckError> {
        self.sender().ok_or(LangSmithCheckError::Disabled)
    }

    /// Asks LangSmith whether it is there, whether the key is good, and whether the project exists already,
    /// without writing anything.
    ///
    /// That a key may read projects does not prove that it may write runs.
    ///
    /// # Errors
    ///
    /// [`LangSmithCheckError`] names what is wrong and what to do.
    pub async fn check(&self) -> Result<LangSmithCheck, LangSmithCheckError> {
        check::check(self.asked()?, &self.inner.config).await
    }

    /// Appends to a buffer the run that a call would be sent as, and sends nothing: for a dry run, and to
    /// see what LangSmith gets.
    ///
    /// # Errors
    ///
    /// As [`export_llm_call`](TraceExporter::export_llm_call) for a call that LangSmith would refuse. The
    /// buffer is then as it was.
    pub fn encode(&self, call: &LLMCallData, run: &mut Vec<u8>) -> Result<(), ExportError> {
        convert::write(call, &self.inner.target, run)
    }

    /// That something in a batch was received before does not say that the rest of it is stored: a batch
    /// may be put together anew when it is sent again. So its runs go out once more, each alone, and those
    /// that LangSmith has are answered with 409 again.
    async fn send(&self, sender: &HttpSender, batch: Batch) -> Result<(), ExportError> {
        match post(sender, batch.body()).await? {
            Outcome::Taken => return Ok(()),
            Outcome::AlreadyReceived if batch.len() == 1 => return Ok(()),
            Outcome::AlreadyReceived => {}
        }
        let mut refused = None;
        for run in batch.one_by_one() {
            match post(sender, run).await {
                Ok(Outcome::Taken | Outcome::AlreadyReceived) => {}
                Err(error) if error.kind().affects_every_call() => return Err(error),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

async fn post(sender: &HttpSender, body: Bytes) -> Result<Outcome, ExportError> {
    let request = HttpRequest::post("runs/batch", "application/json", body);
    let response = sender.send(request).await;
    error::outcome(&response.map_err(|error| error.into_export_error(NAME))?)
}

#[async_trait]
impl TraceExporter for LangSmithExporter {
    fn name(&self) -> &str {
        NAME
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        single(self.export_batch(&[call]).await?)
    }

    /// Sends at most 100 calls and [`with_max_request_bytes`] of JSON in a request. Calls that LangSmith
    /// would refuse are found before anything is sent, and reported; the others go on without them.
    ///
    /// A request that LangSmith refuses is refused whole, because of one bad run. The requests after it are
    /// sent all the same. If LangSmith is down or refuses the key, the rest is not sent.
    ///
    /// When LangSmith says of a request of several that it was received before (409), each of its calls is
    /// sent once more by itself, since the others in it may be new.
    ///
    /// # Errors
    ///
    /// Why LangSmith is not to be reached, or else the first refusal of a request with several calls. What
    /// it refuses of a single call is in the report.
    ///
    /// [`with_max_request_bytes`]: LangSmithExporterBuilder::with_max_request_bytes
    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let Some(sender) = &self.inner.sender else {
            return Ok(BatchReport::default());
        };
        let filling = Filling {
            runs: Runs::new(self.inner.max_request_bytes),
            target: &self.inner.target,
        };
        export_packed(calls, filling, |batch| self.send(sender, batch)).await
    }
}
