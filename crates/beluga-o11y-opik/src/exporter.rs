//! The exporter: the only place of this crate that talks to the network.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use beluga_o11y::{BatchReport, ExportError, LLMCallData, TraceExporter};
use beluga_o11y_http::{HttpSender, export_packed, single};
use chrono::{DateTime, Utc};
use futures_util::future::join;

use crate::{
    NAME, OpikCheck, OpikCheckError, OpikConfig, OpikConfigError, OpikExporterBuilder,
    bodies::{Bodies, Filling, SPANS, TRACES},
    check,
    connection::Connection,
    convert::{self, Target},
    error,
};

/// Sends LLM calls to [Opik](https://www.comet.com/site/products/opik/), the cloud or one's own.
///
/// Each call becomes a trace and, because Opik computes tokens and cost from spans, one span of type
/// `llm`. [`export_llm_call`](TraceExporter::export_llm_call) resolves when Opik has answered:
/// nothing is queued, batched on a timer or tried again here, and `flush` has nothing to do.
///
/// Sending a call again is safe: both are written by the batch endpoints, which replace what has the
/// same id. It is cheap to clone and can be shared between tasks and runtimes.
///
/// ```no_run
/// use beluga_o11y::{LLMCallData, TraceExporter};
/// use beluga_o11y_opik::OpikExporter;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let opik = OpikExporter::builder()
///     .with_api_key(std::env::var("OPIK_API_KEY")?)
///     .with_workspace("my-workspace")
///     .build()?;
///
/// let call = LLMCallData::new("openai", "gpt-4o").with_response("The capital of France is Paris.");
/// opik.export_llm_call(&call).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpikExporter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: OpikConfig,
    /// None if an off switch is on.
    pub(crate) connection: Option<Connection>,
    pub(crate) target: Target,
    pub(crate) max_request_bytes: usize,
}

impl OpikExporter {
    /// Starts with the defaults. Nothing is read from the environment or a file unless
    /// [`OpikExporterBuilder::from_env`] is called.
    pub fn builder() -> OpikExporterBuilder {
        OpikExporterBuilder::default()
    }

    /// An exporter as the environment and `~/.opik.config` say; see
    /// [`OpikExporterBuilder::from_env`].
    ///
    /// # Errors
    ///
    /// [`OpikConfigError`] names the first setting that is missing or wrong.
    pub fn from_env() -> Result<Self, OpikConfigError> {
        Self::builder().from_env().build()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Where it sends to.
    pub fn config(&self) -> &OpikConfig {
        &self.inner.config
    }

    /// The HTTP sender that it uses; none if it is switched off. To ask the server for something that this crate has no
    /// function for: requests made with it carry the headers that were set, but not the key.
    pub fn sender(&self) -> Option<&HttpSender> {
        self.connection().map(Connection::sender)
    }

    /// Asks whether Opik is there, and for its version, if it tells it. No key is needed, and none is sent.
    ///
    /// # Errors
    ///
    /// [`OpikCheckError`] names what is wrong and what to do.
    pub async fn version(&self) -> Result<Option<String>, OpikCheckError> {
        check::version(self.checked_connection()?, &self.inner.config).await
    }

    /// Asks Opik whether it has stored a call, its trace and its span. It stores a little after it has answered, so
    /// `false` means: not yet, or never.
    ///
    /// A call whose id is not of version 7, or is older than 23 hours, is sent under an id that changes every 22
    /// hours; it is looked for under the one that it would be sent with now.
    ///
    /// # Errors
    ///
    /// [`OpikCheckError`] names what is wrong and what to do.
    pub async fn is_stored(&self, call: &LLMCallData) -> Result<bool, OpikCheckError> {
        let trace = self.trace_id(call);
        check::is_stored(self.checked_connection()?, &self.inner.config, trace).await
    }

    /// None if an off switch is on.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.inner.connection.as_ref()
    }

    pub(crate) fn target(&self) -> &Target {
        &self.inner.target
    }

    pub(crate) fn max_request_bytes(&self) -> usize {
        self.inner.max_request_bytes
    }

    fn checked_connection(&self) -> Result<&Connection, OpikCheckError> {
        self.connection().ok_or(OpikCheckError::Disabled)
    }

    /// Asks Opik whether it is there, whether the key is good and whether the workspace exists,
    /// without writing anything.
    ///
    /// # Errors
    ///
    /// [`OpikCheckError`] names what is wrong and what to do.
    pub async fn check(&self) -> Result<OpikCheck, OpikCheckError> {
        check::check(self.checked_connection()?, &self.inner.config).await
    }

    /// Appends to two buffers the trace and the span that a call would be sent as now, and sends
    /// nothing: for a dry run, and to see what Opik gets.
    ///
    /// # Errors
    ///
    /// As [`export_llm_call`](TraceExporter::export_llm_call) for a call that Opik would refuse. The
    /// buffers are then as they were.
    pub fn encode(
        &self,
        call: &LLMCallData,
        trace: &mut Vec<u8>,
        span: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        convert::write(call, &self.inner.target, now(), trace, span)
    }

    /// Sends both bodies at once, and gives the first error.
    async fn send(&self, connection: &Connection, bodies: Bodies) -> Result<(), ExportError> {
        let (traces, spans) = bodies.finish();
        let (traces, spans) = join(
            self.post(connection, TRACES.path, traces),
            self.post(connection, SPANS.path, spans),
        )
        .await;
        traces.and(spans)
    }

    pub(crate) async fn post(
        &self,
        connection: &Connection,
        path: &'static str,
        body: Vec<u8>,
    ) -> Result<(), ExportError> {
        let response = connection.post(path, body).await;
        let response = response.map_err(|error| error.into_export_error(NAME))?;
        match error::from_response(&response) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl TraceExporter for OpikExporter {
    fn name(&self) -> &str {
        NAME
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        single(self.export_batch(&[call]).await?)
    }

    /// Sends at most 1000 calls and [`with_max_request_bytes`] of JSON in a request, traces and spans
    /// at once. Calls that Opik would refuse are found before anything is sent, and reported; the
    /// others go on without them.
    ///
    /// A request that Opik refuses is refused whole: it does not say which call is bad. The requests
    /// after it are sent all the same. If Opik is down or refuses the key, the rest is not sent.
    ///
    /// # Errors
    ///
    /// Why Opik is not to be reached, or else the first refusal of a request with several calls. What it
    /// refuses of a single call is in the report.
    ///
    /// [`with_max_request_bytes`]: OpikExporterBuilder::with_max_request_bytes
    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let Some(connection) = self.connection() else {
            return Ok(BatchReport::default());
        };
        let filling = Filling {
            bodies: Bodies::new(self.inner.max_request_bytes),
            target: &self.inner.target,
            now: now(),
        };
        export_packed(calls, filling, |bodies| self.send(connection, bodies)).await
    }
}

/// The clock. (`Utc::now()` would panic on a machine whose clock stands before 1970.)
pub(crate) fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}
