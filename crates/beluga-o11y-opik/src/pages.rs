//! Opik's streams: JSON objects, one a line, the newest first, a page at a time.

use beluga_o11y::ExportError;
use beluga_o11y_http::HttpResponse;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{NAME, OpikError};

/// How much of a page is read. What does not fit comes with the next one.
pub(crate) const MAX_PAGE_BYTES: usize = 64 << 20;

/// What a page has, and after which id the next one begins, if there is one.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) next: Option<Uuid>,
}

impl<T: DeserializeOwned> Page<T> {
    /// Reads an answer to a request for at most `size` rows `after` one. An answer may break off, be late or be larger
    /// than what is read: its whole lines count, and the next page begins after them.
    pub(crate) fn read(
        operation: &'static str,
        response: &HttpResponse,
        size: usize,
        after: Option<Uuid>,
        id: impl Fn(&T) -> Uuid,
    ) -> Result<Self, OpikError> {
        let whole = response.is_complete();
        let mut lines: Vec<&[u8]> = response.body().split(|byte| *byte == b'\n').collect();
        if !whole {
            lines.pop();
        }
        let lines = lines.iter().filter(|line| !line.trim_ascii().is_empty());
        let rows: Vec<T> = lines
            .map(|line| serde_json::from_slice(line))
            .collect::<Result<_, _>>()
            .map_err(|_| OpikError::NotOpik { operation })?;
        if whole && rows.len() < size {
            return Ok(Self { rows, next: None });
        }
        match rows.last().map(id) {
            // A server that knows nothing of pages would give the first one for ever.
            Some(last) if Some(last) == after => Err(OpikError::NotOpik { operation }),
            next @ Some(_) => Ok(Self { rows, next }),
            None if response.body().len() >= MAX_PAGE_BYTES => Err(OpikError::AnswerTooLarge {
                operation,
                limit: MAX_PAGE_BYTES,
            }),
            None => Err(OpikError::Failed {
                operation,
                error: ExportError::temporary(NAME, "the answer broke off"),
            }),
        }
    }
}
