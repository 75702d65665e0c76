//! Requests that are no exports: for datasets, experiments, scores and agent runs.
//!
//! A pipeline tries exports again; nothing stands behind these. So they are tried again here, a few times and within
//! seconds, for the short failures of a server and for the waits of its rate limit. All of them may be sent twice: what
//! they write has an id of its own.

pub(crate) mod elements;
pub(crate) mod pages;

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use beluga_o11y::{ExportError, ExportErrorKind};
use beluga_o11y_http::{HttpRequest, HttpResponse};
use futures_util::future::join;
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::{
    NAME, OpikError, OpikExporter, WriteReport,
    bodies::{List, SPANS, TRACES},
    error,
};
use elements::{Elements, Outcome};

/// The pauses between five tries: 0.5, 1, 2 and 4 s, each up to twice as long by chance.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const PAUSES: usize = 4;
/// What Opik calls the project of whoever names none (`ProjectService.java`).
const DEFAULT_PROJECT: &str = "Default Project";
/// The longest wait of a server's that is waited for. Opik's rate limit is counted by the minute.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Tries again what is temporary.
pub(crate) async fn persist<T, F>(attempt: impl Fn() -> F) -> Result<T, ExportError>
where
    F: Future<Output = Result<T, ExportError>>,
{
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_times(PAUSES)
        .with_jitter()
        .build();
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let named = error.retry_after();
        if error.kind() != ExportErrorKind::Temporary
            || named.is_some_and(|wait| wait > LONGEST_WAIT)
        {
            return Err(error);
        }
        let Some(pause) = pauses.next() else {
            return Err(error);
        };
        tokio::time::sleep(named.unwrap_or(pause)).await;
    }
}

impl OpikExporter {
    /// Sends a request with authorization. Statuses that are `expected` come back as answers, with those of success.
    pub(crate) async fn ask(
        &self,
        operation: &'static str,
        request: HttpRequest,
        expected: &[u16],
    ) -> Result<HttpResponse, OpikError> {
        let Some(connection) = self.connection() else {
            return Err(OpikError::Disabled { operation });
        };
        let attempt = || async {
            let response = connection.send(request.clone()).await;
            let response = response.map_err(|error| error.into_export_error(NAME))?;
            if expected.contains(&response.status()) && is_of_opik(&response) {
                return Ok(response);
            }
            match error::from_response(&response) {
                Some(error) => Err(error),
                None => Ok(response),
            }
        };
        persist(attempt)
            .await
            .map_err(|error| OpikError::Failed { operation, error })
    }

    /// Sends a list, as [`Elements::send`] does; `places` are those of the elements in the caller's list. With an off
    /// switch on nothing is sent.
    pub(crate) async fn write_elements(
        &self,
        operation: &'static str,
        request: impl Fn(Vec<u8>) -> HttpRequest,
        list: (&str, &Elements),
        places: &[usize],
        report: &mut WriteReport,
    ) -> Result<(), OpikError> {
        if self.connection().is_none() {
            return Ok(());
        }
        let (open, elements) = list;
        let send = async |body| match self.ask(operation, request(body), &[]).await {
            Ok(_) => Ok(()),
            Err(OpikError::Failed { error, .. }) => Err(error),
            Err(error) => Err(ExportError::destination(NAME, error.to_string())),
        };
        let outcome = elements.send(open, self.max_request_bytes(), send).await;
        if let Some((_, error)) = outcome.stopped {
            return Err(OpikError::Failed { operation, error });
        }
        report.stored += elements.len() - outcome.refused.len();
        for (place, error) in outcome.refused {
            let index = places.get(place).copied().unwrap_or(place);
            report.push(index, OpikError::Failed { operation, error });
        }
        report.failures.sort_by_key(|failure| failure.index);
        Ok(())
    }

    /// Sends traces and spans, side by side. With an off switch on nothing is sent.
    pub(crate) async fn send_records(
        &self,
        traces: &Elements,
        spans: &Elements,
    ) -> (Outcome, Outcome) {
        let send = async |List { path, open }, elements: &Elements| {
            let Some(connection) = self.connection() else {
                return Outcome::default();
            };
            let post = |body: Vec<u8>| persist(move || self.post(connection, path, body.clone()));
            elements.send(open, self.max_request_bytes(), post).await
        };
        join(send(TRACES, traces), send(SPANS, spans)).await
    }

    /// The project that everything is in, by name. Opik's own clients always name it, and datasets and experiments are
    /// found in it only.
    pub(crate) fn project(&self) -> &str {
        self.config().project.as_deref().unwrap_or(DEFAULT_PROJECT)
    }
}

/// Opik's answers to what is not there are JSON. A workspace that is not there is another matter, and so is a wrong URL.
fn is_of_opik(response: &HttpResponse) -> bool {
    !response.text().to_lowercase().contains("workspace")
        && serde_json::from_slice::<IgnoredAny>(response.body()).is_ok()
}

/// A request with this body.
pub(crate) fn json_post(path: &'static str, body: &impl Serialize) -> HttpRequest {
    HttpRequest::post(path, "application/json", json(body))
}

/// Our own structs of strings, numbers and JSON always serialise.
pub(crate) fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

/// Reads an answer.
pub(crate) fn read<T: DeserializeOwned>(
    operation: &'static str,
    response: &HttpResponse,
) -> Result<T, OpikError> {
    if !response.is_complete() {
        return Err(broke_off(operation));
    }
    serde_json::from_slice(response.body()).map_err(|_| OpikError::NotOpik { operation })
}

pub(crate) fn broke_off(operation: &'static str) -> OpikError {
    OpikError::Failed {
        operation,
        error: ExportError::temporary(NAME, "the answer broke off; try again"),
    }
}

/// A name without the blanks around it, of which there must be more than those.
pub(crate) fn checked_name<'a>(of: &'static str, name: &'a str) -> Result<&'a str, OpikError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(OpikError::BlankName { of });
    }
    Ok(name)
}
