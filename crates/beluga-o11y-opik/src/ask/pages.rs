//! Opik's streams: JSON objects, one a line, the newest first, a page at a time.

use beluga_o11y::ExportErrorKind;
use beluga_o11y_http::{HttpRequest, HttpResponse};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{OpikError, OpikExporter, ask::broke_off};

/// How much of a page is read. What does not fit comes with the next one.
pub(crate) const MAX_PAGE_BYTES: usize = 64 << 20;

/// What a page has, and after which id the next one begins, if there is one.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) next: Option<Uuid>,
}

/// How often a page is asked for that breaks off before its first line.
const TRIES: usize = 3;

impl<T: DeserializeOwned> Page<T> {
    /// Asks for the page that begins after a row.
    pub(crate) async fn fetch(
        opik: &OpikExporter,
        operation: &'static str,
        request: HttpRequest,
        after: Option<Uuid>,
        id: impl Fn(&T) -> Uuid,
    ) -> Result<Self, OpikError> {
        let request = request.with_max_answer_bytes(MAX_PAGE_BYTES);
        let mut tries = 1..TRIES;
        loop {
            let response = opik.ask(operation, request.clone(), &[]).await?;
            match Self::read(operation, &response, after, &id) {
                Err(error)
                    if error.kind() == ExportErrorKind::Temporary && tries.next().is_some() => {}
                page => return page,
            }
        }
    }

    /// Reads an answer. It may break off, be late or be larger than what is read: its whole lines count, and the next
    /// page begins after them. Opik itself ends a page early when something goes wrong, and says 200 all the same
    /// (`Streamer.java`), so only an empty page is the last one.
    fn read(
        operation: &'static str,
        response: &HttpResponse,
        after: Option<Uuid>,
        id: impl Fn(&T) -> Uuid,
    ) -> Result<Self, OpikError> {
        let mut lines: Vec<&[u8]> = response.body().split(|byte| *byte == b'\n').collect();
        if !response.is_complete() {
            lines.pop();
        }
        let mut rows = Vec::with_capacity(lines.len());
        let mut broken = !response.is_complete();
        for line in lines.iter().filter(|line| !line.trim_ascii().is_empty()) {
            match serde_json::from_slice(line) {
                Ok(row) => rows.push(row),
                Err(_) if is_failure(line) => {
                    broken = true;
                    break;
                }
                Err(_) => return Err(OpikError::NotOpik { operation }),
            }
        }
        match rows.last().map(id) {
            // A server that knows nothing of pages would give the first one for ever.
            Some(last) if Some(last) == after => Err(OpikError::NotOpik { operation }),
            next @ Some(_) => Ok(Self { rows, next }),
            None if response.body().len() >= MAX_PAGE_BYTES => Err(OpikError::AnswerTooLarge {
                operation,
                limit: MAX_PAGE_BYTES,
            }),
            None if broken => Err(broke_off(operation)),
            None => Ok(Self { rows, next: None }),
        }
    }
}

/// `{"code":500,"message":"Streaming operation timed out"}` as the last line of an answer with status 200
/// (`Streamer.java`).
fn is_failure(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Failure {
        code: u16,
    }
    serde_json::from_slice::<Failure>(line).is_ok_and(|failure| failure.code >= 400)
}
