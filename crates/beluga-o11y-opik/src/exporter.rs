//! The exporter: the only place of this crate that talks to the network.

use std::sync::Arc;

use async_trait::async_trait;
use beluga_o11y::{BatchReport, ExportError, ExportErrorKind, LLMCallData, TraceExporter};
use chrono::{DateTime, Utc};
use futures_util::future::join;

use crate::{
    NAME, OpikCheck, OpikCheckError, OpikConfig, OpikConfigError, OpikExporterBuilder, check,
    connection::Connection,
    convert::{self, Target},
    error,
};

/// Opik takes at most this many elements in a request (`TraceBatch.java`).
const MAX_BATCH: usize = 1_000;
/// What stands around the elements: `{"traces":[` and `]}`.
const ENVELOPE_BYTES: usize = 13;

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

    /// Asks Opik whether it is there, whether the key is good and whether the workspace exists,
    /// without writing anything.
    ///
    /// # Errors
    ///
    /// [`OpikCheckError`] names what is wrong and what to do.
    pub async fn check(&self) -> Result<OpikCheck, OpikCheckError> {
        let connection = self
            .inner
            .connection
            .as_ref()
            .ok_or(OpikCheckError::Disabled)?;
        check::check(connection, &self.inner.config).await
    }

    /// Appends to two buffers the trace and the span that a call would be sent as now, and sends
    /// nothing: for a dry run, and to see what Opik gets.
    ///
    /// # Errors
    ///
    /// As [`export_llm_call`](TraceExporter::export_llm_call) for a call that Opik would refuse. The buffers are then as they were.
    pub fn encode(
        &self,
        call: &LLMCallData,
        trace: &mut Vec<u8>,
        span: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        convert::write(call, &self.inner.target, Utc::now(), trace, span)
    }

    /// Writes the elements of a request's two bodies, sends both at once, and gives the first error.
    async fn send(&self, connection: &Connection, bodies: Bodies) -> Result<(), ExportError> {
        let (traces, spans) = bodies.finish();
        let (traces, spans) = join(
            self.post(connection, "v1/private/traces/batch", traces),
            self.post(connection, "v1/private/spans/batch", spans),
        )
        .await;
        traces.and(spans)
    }

    async fn post(
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
        let report = self.export_batch(&[call]).await?;
        match report.failures.into_iter().next() {
            Some(failure) => Err(failure.error),
            None => Ok(()),
        }
    }

    /// Sends at most 1000 calls and [`with_max_request_bytes`] of JSON in a request, traces and spans
    /// at once. Calls that Opik would refuse are found before anything is sent, and reported; the
    /// others go on without them.
    ///
    /// A request that Opik refuses is refused whole: it does not say which call is bad. The requests
    /// after it are sent all the same, unless they would meet the same error.
    ///
    /// [`with_max_request_bytes`]: OpikExporterBuilder::with_max_request_bytes
    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let mut report = BatchReport::default();
        let Some(connection) = &self.inner.connection else {
            return Ok(report);
        };
        let now = Utc::now();
        let limit = self.inner.max_request_bytes;
        let mut first_error = None;
        let mut bodies = Bodies::default();
        let mut calls = calls.iter().enumerate();
        loop {
            let next = calls.next();
            let full = match next {
                Some((index, call)) => match bodies.push(call, &self.inner.target, now, limit) {
                    Ok(full) => full,
                    Err(error) => {
                        report.push(index, error);
                        None
                    }
                },
                None => Some(std::mem::take(&mut bodies)),
            };
            if let Some(full) = full.filter(|full| full.count > 0)
                && let Err(error) = self.send(connection, full).await
            {
                let every_request_would_fail = matches!(
                    error.kind(),
                    ExportErrorKind::Temporary | ExportErrorKind::Destination
                );
                let first = first_error.get_or_insert(error);
                if every_request_would_fail {
                    return Err(first.clone());
                }
            }
            if next.is_none() {
                break;
            }
        }
        first_error.map_or(Ok(report), Err)
    }
}

/// The two bodies of a pair of requests, as far as they are written.
#[derive(Default)]
struct Bodies {
    traces: Vec<u8>,
    spans: Vec<u8>,
    count: usize,
}

impl Bodies {
    /// Adds a call. If there is no room for it, what was there before comes back, to be sent, and
    /// the call starts the next pair. On an error nothing has changed.
    fn push(
        &mut self,
        call: &LLMCallData,
        target: &Target,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<Option<Self>, ExportError> {
        let before = (self.traces.len(), self.spans.len());
        let separator: &[u8] = if self.count == 0 { b"" } else { b"," };
        self.traces.extend_from_slice(separator);
        self.spans.extend_from_slice(separator);
        if let Err(error) = convert::write(call, target, now, &mut self.traces, &mut self.spans) {
            self.traces.truncate(before.0);
            self.spans.truncate(before.1);
            return Err(error);
        }
        let size = self.traces.len().max(self.spans.len()) + ENVELOPE_BYTES;
        if self.count == 0 || (self.count < MAX_BATCH && size <= limit) {
            self.count += 1;
            return Ok(None);
        }
        let next = Self {
            traces: self.traces.split_off(before.0 + separator.len()),
            spans: self.spans.split_off(before.1 + separator.len()),
            count: 1,
        };
        self.traces.truncate(before.0);
        self.spans.truncate(before.1);
        Ok(Some(std::mem::replace(self, next)))
    }

    /// The bodies of `/traces/batch` and `/spans/batch`.
    fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let envelope = |name: &str, elements: &[u8]| {
            [b"{\"", name.as_bytes(), b"\":[", elements, b"]}"].concat()
        };
        (
            envelope("traces", &self.traces),
            envelope("spans", &self.spans),
        )
    }
}

#[cfg(test)]
mod tests {
    use beluga_o11y::LLMCallData;
    use serde_json::Value;

    use super::*;

    fn target() -> Target {
        Target {
            project: None,
            environment: None,
            max_record_bytes: 2_000,
        }
    }

    /// The number of elements in each pair of bodies.
    fn split(calls: &[LLMCallData], limit: usize) -> Vec<usize> {
        let mut bodies = Bodies::default();
        let mut all: Vec<_> = calls
            .iter()
            .filter_map(|call| {
                bodies
                    .push(call, &target(), Utc::now(), limit)
                    .ok()
                    .flatten()
            })
            .collect();
        all.push(bodies);
        all.into_iter()
            .map(|bodies| {
                let count = bodies.count;
                let (traces, spans) = bodies.finish();
                for (name, body) in [("traces", traces), ("spans", spans)] {
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(body[name].as_array().unwrap().len(), count);
                }
                count
            })
            .collect()
    }

    fn calls(count: usize) -> Vec<LLMCallData> {
        (0..count).map(|_| LLMCallData::new("p", "m")).collect()
    }

    #[test]
    fn a_request_has_at_most_a_thousand() {
        assert_eq!(split(&calls(0), 4_000_000), [0]);
        assert_eq!(split(&calls(1_000), 4_000_000), [1_000]);
        assert_eq!(split(&calls(2_001), 4_000_000), [1_000, 1_000, 1]);
    }

    #[test]
    fn a_request_is_split_by_bytes_and_a_large_call_goes_alone() {
        let mut all = calls(7);
        let big = LLMCallData::new("p", "m").with_response("x".repeat(1_500));
        all.insert(3, big);
        let sizes = split(&all, 1_000);
        assert_eq!(sizes.iter().sum::<usize>(), 8);
        assert!(sizes.len() > 2 && sizes.contains(&1), "{sizes:?}");
    }

    #[test]
    fn a_bad_call_leaves_no_trace_in_the_bodies() {
        let mut all = calls(3);
        all.insert(0, LLMCallData::new("p", "m").with_cost(-1.0));
        all.insert(
            2,
            LLMCallData::new("p", "m").with_response("x".repeat(3_000)),
        );
        all.push(LLMCallData::new("p", "m").with_cost(f64::NAN));
        assert_eq!(split(&all, 4_000_000), [3]);
    }
}
