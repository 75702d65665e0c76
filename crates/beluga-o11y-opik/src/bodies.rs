//! The bodies of a pair of requests, `/traces/batch` and `/spans/batch`, while they are filled.

use beluga_o11y::{ExportError, LLMCallData};
use beluga_o11y_http::{Packed, Packing};
use chrono::{DateTime, Utc};

use crate::{
    ask::elements::MAX_ELEMENTS,
    convert::{self, Target},
};

/// The lists of the two requests.
pub(crate) const TRACES: List = List {
    path: "v1/private/traces/batch",
    open: "{\"traces\":[",
};
pub(crate) const SPANS: List = List {
    path: "v1/private/spans/batch",
    open: "{\"spans\":[",
};
const END: &[u8] = b"]}";

/// Where a list goes, and what it opens with.
pub(crate) struct List {
    pub(crate) path: &'static str,
    pub(crate) open: &'static str,
}

pub(crate) struct Bodies {
    traces: Vec<u8>,
    spans: Vec<u8>,
    count: usize,
    /// The place of the last call in the caller's batch.
    last: usize,
    limit: usize,
}

impl Bodies {
    /// Empty ones, of which each may have this many bytes. (A single call may have more.)
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            traces: TRACES.open.into(),
            spans: SPANS.open.into(),
            count: 0,
            last: 0,
            limit,
        }
    }

    /// Adds the call that `write` appends. If there is no room for it, what was there before comes back,
    /// to be sent, and the call starts the next pair. On an error nothing has changed.
    pub(crate) fn push<E>(
        &mut self,
        index: usize,
        write: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        let before = (self.traces.len(), self.spans.len());
        let separator: &[u8] = if self.count == 0 { b"" } else { b"," };
        self.traces.extend_from_slice(separator);
        self.spans.extend_from_slice(separator);
        if let Err(error) = write(&mut self.traces, &mut self.spans) {
            self.traces.truncate(before.0);
            self.spans.truncate(before.1);
            return Err(error);
        }
        let size = self.traces.len().max(self.spans.len()) + END.len();
        if self.count == 0 || (self.count < MAX_ELEMENTS && size <= self.limit) {
            self.count += 1;
            self.last = index;
            return Ok(None);
        }
        let mut next = Self::new(self.limit);
        (next.count, next.last) = (1, index);
        next.traces
            .extend(self.traces.drain(before.0..).skip(separator.len()));
        next.spans
            .extend(self.spans.drain(before.1..).skip(separator.len()));
        Ok(Some(std::mem::replace(self, next)))
    }

    /// What is there, if anything is.
    pub(crate) fn take(&mut self) -> Option<Self> {
        let taken = std::mem::replace(self, Self::new(self.limit));
        (taken.count > 0).then_some(taken)
    }

    fn packed(self) -> Packed<Self> {
        Packed {
            only: (self.count == 1).then_some(self.last),
            request: self,
        }
    }

    /// The bodies of `/traces/batch` and `/spans/batch`.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.traces.extend_from_slice(END);
        self.spans.extend_from_slice(END);
        (self.traces, self.spans)
    }
}

/// Fills them with calls.
pub(crate) struct Filling<'a> {
    pub(crate) bodies: Bodies,
    pub(crate) target: &'a Target,
    pub(crate) now: DateTime<Utc>,
}

impl Packing for Filling<'_> {
    type Request = Bodies;

    fn push(
        &mut self,
        index: usize,
        call: &LLMCallData,
    ) -> Result<Option<Packed<Bodies>>, ExportError> {
        let full = self.bodies.push(index, |traces, spans| {
            convert::write(call, self.target, self.now, traces, spans)
        })?;
        Ok(full.map(Bodies::packed))
    }

    fn take(&mut self) -> Option<Packed<Bodies>> {
        self.bodies.take().map(Bodies::packed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The number of elements in each pair of bodies; an element of no size is a bad one.
    fn split(sizes: &[usize], limit: usize) -> Vec<usize> {
        let mut bodies = Bodies::new(limit);
        let mut all = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let write = |traces: &mut Vec<u8>, spans: &mut Vec<u8>| {
                // Half of it is written before it fails.
                traces.extend(vec![b'1'; *size]);
                spans.extend(vec![b'1'; size / 2 + 1]);
                if *size == 0 { Err(()) } else { Ok(()) }
            };
            all.extend(bodies.push(index, write).ok().flatten());
        }
        all.extend(bodies.take());
        assert!(bodies.take().is_none());
        let count = |bodies: Bodies| {
            let count = bodies.count;
            let (traces, spans) = bodies.finish();
            assert!(count == 1 || traces.len() <= limit);
            for (name, body) in [("traces", traces), ("spans", spans)] {
                // Numbers of many digits are as good as calls here.
                let body = String::from_utf8(body).unwrap().replace("11", "1");
                let body: Value = serde_json::from_str(&body).unwrap();
                assert_eq!(body[name].as_array().unwrap().len(), count);
            }
            count
        };
        all.into_iter().map(count).collect()
    }

    #[test]
    fn a_request_has_at_most_a_thousand() {
        assert_eq!(split(&[], 4_000), [0; 0]);
        assert_eq!(split(&[1; 1_000], 4_000), [1_000]);
        assert_eq!(split(&[1; 2_001], 4_000), [1_000, 1_000, 1]);
    }

    #[test]
    fn a_request_is_split_by_bytes_and_a_large_call_goes_alone() {
        // 13 bytes around, 10 for each, 1 between.
        assert_eq!(split(&[10; 4], 13 + 21), [2, 2]);
        assert_eq!(split(&[10; 4], 13 + 20), [1, 1, 1, 1]);
        assert_eq!(split(&[10, 10, 200, 10, 10], 34), [2, 1, 2]);
    }

    #[test]
    fn a_bad_call_leaves_no_trace() {
        assert_eq!(split(&[0, 10, 0, 10, 0], 34), [2]);
        assert_eq!(split(&[0], 34), [0; 0]);
    }
}
