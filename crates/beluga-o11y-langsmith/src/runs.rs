//! The body of `POST /runs/batch`, while it is filled.

use std::ops::Range;

use beluga_o11y::{ExportError, LLMCallData};
use beluga_o11y_http::{Packed, Packing};
use bytes::Bytes;

use crate::convert::{self, Target};

/// LangSmith takes at most this many runs in a request (`size_limit` of its `/info`).
const MAX_BATCH: usize = 100;
const POST: &[u8] = b"{\"post\":[";
const END: &[u8] = b"]}";

pub(crate) struct Runs {
    body: Vec<u8>,
    /// Where each run stands in the body.
    places: Vec<Range<usize>>,
    /// The place of the last call in the caller's batch.
    last: usize,
    limit: usize,
}

impl Runs {
    /// Empty, to be filled up to this many bytes. (A single run may have more.)
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            body: POST.to_vec(),
            places: Vec::new(),
            last: 0,
            limit,
        }
    }

    /// Adds the run that `write` appends. If there is no room for it, what was there before comes back, to
    /// be sent, and the run starts the next request. On an error nothing has changed.
    pub(crate) fn push<E>(
        &mut self,
        index: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        let before = self.body.len();
        if !self.places.is_empty() {
            self.body.push(b',');
        }
        let start = self.body.len();
        if let Err(error) = write(&mut self.body) {
            self.body.truncate(before);
            return Err(error);
        }
        let end = self.body.len();
        let fits = self.places.len() < MAX_BATCH && end + END.len() <= self.limit;
        if self.places.is_empty() || fits {
            self.places.push(start..end);
            self.last = index;
            return Ok(None);
        }
        let mut next = Self::new(self.limit);
        next.body.extend(self.body.drain(start..));
        next.places.push(POST.len()..next.body.len());
        next.last = index;
        self.body.truncate(before);
        Ok(Some(std::mem::replace(self, next)))
    }

    /// What is there, if anything is.
    pub(crate) fn take(&mut self) -> Option<Self> {
        let taken = std::mem::replace(self, Self::new(self.limit));
        (!taken.places.is_empty()).then_some(taken)
    }

    fn packed(self) -> Packed<Batch> {
        Packed {
            only: (self.places.len() == 1).then_some(self.last),
            request: self.finish(),
        }
    }

    pub(crate) fn finish(mut self) -> Batch {
        self.body.extend_from_slice(END);
        Batch {
            body: self.body.into(),
            places: self.places,
        }
    }
}

/// A body that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Batch {
    body: Bytes,
    places: Vec<Range<usize>>,
}

impl Batch {
    pub(crate) fn body(&self) -> Bytes {
        self.body.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// A body for each run.
    pub(crate) fn one_by_one(&self) -> impl Iterator<Item = Bytes> {
        self.places.iter().map(|place| {
            let run = self.body.get(place.clone()).unwrap_or_default();
            [POST, run, END].concat().into()
        })
    }
}

/// Fills it with calls.
pub(crate) struct Filling<'a> {
    pub(crate) runs: Runs,
    pub(crate) target: &'a Target,
}

impl Packing for Filling<'_> {
    type Request = Batch;

    fn push(
        &mut self,
        index: usize,
        call: &LLMCallData,
    ) -> Result<Option<Packed<Batch>>, ExportError> {
        let full = self
            .runs
            .push(index, |body| convert::write(call, self.target, body))?;
        Ok(full.map(Runs::packed))
    }

    fn take(&mut self) -> Option<Packed<Batch>> {
        self.runs.take().map(Runs::packed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn runs_in(body: &[u8]) -> Vec<Value> {
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 1);
        body["post"].as_array().unwrap().clone()
    }

    /// The runs of each body; a run of no size is a bad one. A run is a text of its index.
    fn split(sizes: &[usize], limit: usize) -> Vec<Vec<Value>> {
        let mut runs = Runs::new(limit);
        let mut all = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let write = |body: &mut Vec<u8>| {
                body.extend(
                    format!("\"{index:0>width$}\"", width = size.saturating_sub(2)).bytes(),
                );
                if *size == 0 { Err(()) } else { Ok(()) }
            };
            all.extend(runs.push(index, write).ok().flatten());
        }
        all.extend(runs.take());
        assert!(runs.take().is_none());
        all.into_iter()
            .map(|runs| {
                let only = (runs.places.len() == 1).then_some(runs.last);
                let packed = runs.packed();
                assert_eq!(packed.only, only);
                let batch = packed.request;
                let together = runs_in(&batch.body());
                assert!(together.len() == 1 || batch.body().len() <= limit);
                assert_eq!(together.len(), batch.len());
                let alone: Vec<_> = batch.one_by_one().flat_map(|body| runs_in(&body)).collect();
                assert_eq!(alone, together);
                together
            })
            .collect()
    }

    fn counts(sizes: &[usize], limit: usize) -> Vec<usize> {
        split(sizes, limit).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_request_has_at_most_a_hundred() {
        assert_eq!(counts(&[], 4_000), [0; 0]);
        assert_eq!(counts(&[5; 100], 4_000), [100]);
        assert_eq!(counts(&[5; 201], 4_000), [100, 100, 1]);
    }

    #[test]
    fn a_request_is_split_by_bytes_and_a_large_run_goes_alone() {
        // 11 bytes around, 10 for each, 1 between.
        assert_eq!(counts(&[10; 4], 11 + 21), [2, 2]);
        assert_eq!(counts(&[10; 4], 11 + 20), [1, 1, 1, 1]);
        assert_eq!(counts(&[10, 10, 200, 10, 10], 32), [2, 1, 2]);
    }

    #[test]
    fn a_bad_run_leaves_no_trace_and_the_order_stays() {
        assert_eq!(
            split(&[0, 3, 0, 3, 0, 30], 32),
            [
                vec![json!("1"), json!("3")],
                vec![json!(format!("{:0>28}", 5))]
            ]
        );
        assert_eq!(counts(&[0], 34), [0; 0]);
    }
}
