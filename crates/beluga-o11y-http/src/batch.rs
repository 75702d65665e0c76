//! Many calls, in as few requests as the backend allows.

use beluga_o11y::{BatchReport, ExportError, LLMCallData};

/// Requests that are filled with calls, one call after the other, within a backend's limits.
pub trait Packing {
    /// A request, ready to be sent.
    type Request;

    /// Adds a call; `index` is its place in the caller's batch. If there is no room for it, what was there before comes
    /// back, to be sent, and the call starts the next request.
    ///
    /// # Errors
    ///
    /// The backend could not take this call. Nothing has changed.
    fn push(
        &mut self,
        index: usize,
        call: &LLMCallData,
    ) -> Result<Option<Packed<Self::Request>>, ExportError>;

    /// What is there, if anything is.
    fn take(&mut self) -> Option<Packed<Self::Request>>;
}

/// A request that is full.
#[derive(Clone, Debug)]
pub struct Packed<R> {
    /// The request.
    pub request: R,
    /// The place of its call in the caller's batch, if there is only one.
    pub only: Option<usize>,
}

/// Exports calls in requests of several, as
/// [`TraceExporter::export_batch`](beluga_o11y::TraceExporter::export_batch) wants it done.
///
/// Calls that the backend could not take are found before they are sent, and reported; the others go on
/// without them. What the backend refuses of a request with one call is reported too; of one with several it
/// does not say which call is bad, so that is the error of the whole batch, and the requests after it are
/// sent all the same. If the backend is down or refuses the key, the rest is not sent.
///
/// # Errors
///
/// Why the backend is not to be reached, or else the first refusal of a request with several calls.
pub async fn export_packed<P, F, Fut>(
    calls: &[&LLMCallData],
    mut packing: P,
    send: F,
) -> Result<BatchReport, ExportError>
where
    P: Packing,
    F: Fn(P::Request) -> Fut,
    Fut: Future<Output = Result<(), ExportError>>,
{
    let mut report = BatchReport::default();
    let mut refused = None;
    let mut calls = calls.iter().enumerate();
    loop {
        let next = calls.next();
        let full = match next {
            Some((index, call)) => packing.push(index, call).unwrap_or_else(|error| {
                report.push(index, error);
                None
            }),
            None => packing.take(),
        };
        if let Some(Packed { request, only }) = full {
            match (send(request).await, only) {
                (Ok(()), _) => {}
                (Err(error), _) if error.kind().affects_every_call() => return Err(error),
                (Err(error), Some(index)) => report.push(index, error),
                (Err(error), None) => refused = refused.or(Some(error)),
            }
        }
        if next.is_none() {
            break;
        }
    }
    report.failures.sort_by_key(|failure| failure.index);
    refused.map_or(Ok(report), Err)
}

/// The one result of a batch with one call.
///
/// # Errors
///
/// The call was not taken.
pub fn single(report: BatchReport) -> Result<(), ExportError> {
    match report.failures.into_iter().next() {
        Some(failure) => Err(failure.error),
        None => Ok(()),
    }
}
