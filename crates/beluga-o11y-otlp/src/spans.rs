//! The spans of a request while it is filled.

use beluga_o11y::{ExportError, LLMCallData};
use beluga_o11y_http::{Packed, Packing};

use crate::{OtlpBackend, convert, wire::Span};

/// The batch size of OpenTelemetry's own SDKs (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
const MAX_SPANS: usize = 512;
/// Bytes around a span in a request: its field and its length.
const AROUND: usize = 6;

#[derive(Debug)]
pub(crate) struct Spans {
    spans: Vec<Span>,
    bytes: usize,
    /// The place of the last call in the caller's batch.
    last: usize,
    limit: usize,
}

impl Spans {
    /// None yet; at most this many bytes in one request. (A single call may have more.)
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            spans: Vec::new(),
            bytes: 0,
            last: 0,
            limit,
        }
    }

    fn push(&mut self, index: usize, span: Span, size: usize) -> Option<Packed<Vec<Span>>> {
        let size = size + AROUND;
        let fits = self.spans.len() < MAX_SPANS && self.bytes + size <= self.limit;
        let full = if fits { None } else { self.take() };
        self.spans.push(span);
        self.bytes += size;
        self.last = index;
        full
    }

    fn take(&mut self) -> Option<Packed<Vec<Span>>> {
        let spans = std::mem::take(&mut self.spans);
        self.bytes = 0;
        let only = (spans.len() == 1).then_some(self.last);
        (!spans.is_empty()).then_some(Packed {
            request: spans,
            only,
        })
    }
}

/// Fills requests with the spans of calls.
pub(crate) struct Filling<'a, B> {
    pub(crate) spans: Spans,
    pub(crate) backend: &'a B,
    pub(crate) max_record_bytes: usize,
}

impl<B: OtlpBackend> Packing for Filling<'_, B> {
    type Request = Vec<Span>;

    fn push(
        &mut self,
        index: usize,
        call: &LLMCallData,
    ) -> Result<Option<Packed<Vec<Span>>>, ExportError> {
        let (span, size) = convert::span(self.backend, call, self.max_record_bytes)?;
        Ok(self.spans.push(index, span, size))
    }

    fn take(&mut self) -> Option<Packed<Vec<Span>>> {
        self.spans.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(sizes: &[usize], limit: usize) -> Vec<(usize, Option<usize>)> {
        let mut spans = Spans::new(limit);
        let mut all = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            all.extend(spans.push(index, Span::default(), *size));
        }
        all.extend(spans.take());
        assert!(spans.take().is_none());
        all.into_iter()
            .map(|packed| (packed.request.len(), packed.only))
            .collect()
    }

    #[test]
    fn a_request_is_full_by_count_or_by_bytes_and_a_large_call_goes_alone() {
        assert_eq!(split(&[], 100), []);
        assert_eq!(split(&[1; 513], 1_000_000), [(512, None), (1, Some(512))]);
        assert_eq!(split(&[10; 4], 32), [(2, None), (2, None)]);
        assert_eq!(
            split(&[10, 10, 200, 10, 10], 32),
            [(2, None), (1, Some(2)), (2, None)]
        );
    }
}
