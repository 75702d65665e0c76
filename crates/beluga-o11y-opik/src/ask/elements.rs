//! Many things in a few requests: Opik takes lists, all or nothing, of at most a thousand elements.

use std::ops::Range;

use beluga_o11y::{ExportError, ExportErrorKind};
use serde::Serialize;

/// Opik takes at most this many elements in a request (`TraceBatch.java`, `DatasetItemBatch.java`, ..).
pub(crate) const MAX_ELEMENTS: usize = 1_000;
/// After so many refused requests in a row the search for what is bad in them is given up: all of it probably is. A
/// request of which every element is bad is searched whole within fewer.
const MAX_REFUSALS: usize = 2 * MAX_ELEMENTS;

/// JSON objects that go out as a list in a larger object.
#[derive(Debug, Default)]
pub(crate) struct Elements {
    json: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// What became of them.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The places of those that Opik refused, in order.
    pub(crate) refused: Vec<(usize, ExportError)>,
    /// Why the rest was not sent, from which place on.
    pub(crate) stopped: Option<(usize, ExportError)>,
}

impl Elements {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds what this writes; nothing if it fails.
    pub(crate) fn write<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.json.len();
        match write(&mut self.json) {
            Ok(()) => self.ends.push(self.json.len()),
            Err(error) => {
                self.json.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Adds one of our own structs, which always serialise.
    pub(crate) fn push(&mut self, element: &impl Serialize) {
        let _ = self.write(|json| serde_json::to_writer(json, element));
    }

    pub(crate) fn append(&mut self, other: Self) {
        let start = self.json.len();
        self.json.extend(other.json);
        self.ends.extend(other.ends.iter().map(|end| start + end));
    }

    fn start_of(&self, place: usize) -> usize {
        let before = place.checked_sub(1).and_then(|place| self.ends.get(place));
        before.copied().unwrap_or(0)
    }

    /// The object: what it opens with, up to and with the list's bracket, and these elements.
    fn body(&self, open: &str, range: Range<usize>) -> Vec<u8> {
        let size = self.start_of(range.end) - self.start_of(range.start);
        let mut body = Vec::with_capacity(open.len() + size + range.len() + 2);
        body.extend_from_slice(open.as_bytes());
        for place in range.clone() {
            if place > range.start {
                body.push(b',');
            }
            let json = self.start_of(place)..self.start_of(place + 1);
            body.extend_from_slice(self.json.get(json).unwrap_or_default());
        }
        body.extend_from_slice(b"]}");
        body
    }

    /// As many as fit into each request. A large one goes alone.
    fn ranges(&self, overhead: usize, max_bytes: usize) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let mut start = 0;
        for place in 0..self.len() {
            let count = place - start;
            let size = self.start_of(place + 1) - self.start_of(start) + count + overhead;
            if count > 0 && (count == MAX_ELEMENTS || size > max_bytes) {
                ranges.push(start..place);
                start = place;
            }
        }
        if start < self.len() {
            ranges.push(start..self.len());
        }
        ranges
    }

    /// Sends them all, in order. What Opik refuses is searched for by halves, so that the rest is stored; if Opik is
    /// down or refuses the key, the rest is not sent.
    pub(crate) async fn send<F>(
        &self,
        open: &str,
        max_bytes: usize,
        send: impl Fn(Vec<u8>) -> F,
    ) -> Outcome
    where
        F: Future<Output = Result<(), ExportError>>,
    {
        let mut ranges = self.ranges(open.len() + 2, max_bytes);
        ranges.reverse();
        let mut refused = Vec::new();
        let mut refusals = 0;
        while let Some(range) = ranges.pop() {
            let Err(error) = send(self.body(open, range.clone())).await else {
                refusals = 0;
                continue;
            };
            if error.kind().affects_every_call() {
                return Outcome {
                    refused,
                    stopped: Some((range.start, error)),
                };
            }
            refusals += 1;
            // What is too large is large for a reason of its own, and always splits.
            let split = refusals <= MAX_REFUSALS || error.kind() == ExportErrorKind::TooLarge;
            if range.len() > 1 && split {
                let middle = range.start + range.len() / 2;
                ranges.push(middle..range.end);
                ranges.push(range.start..middle);
            } else {
                refused.extend(range.map(|place| (place, error.clone())));
            }
        }
        Outcome {
            refused,
            stopped: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;

    fn elements(count: usize) -> Elements {
        let mut elements = Elements::default();
        for number in 0..count {
            elements.push(&json!({ "n": number }));
        }
        elements
    }

    /// The numbers in each request, and what came of it, when requests with one of these are refused.
    async fn sent(count: usize, max_bytes: usize, bad: &[u64]) -> (Vec<Vec<u64>>, Outcome) {
        let stored = Mutex::new(Vec::new());
        let outcome = elements(count)
            .send("{\"x\":1,\"all\":[", max_bytes, async |body| {
                let body: Value = serde_json::from_slice(&body).unwrap();
                let numbers = body["all"].as_array().unwrap().iter();
                let numbers: Vec<u64> = numbers.map(|one| one["n"].as_u64().unwrap()).collect();
                if numbers.iter().any(|number| bad.contains(number)) {
                    return Err(ExportError::rejected("opik", "bad"));
                }
                stored.lock().unwrap().push(numbers);
                Ok(())
            })
            .await;
        (stored.into_inner().unwrap(), outcome)
    }

    fn places(outcome: &Outcome) -> Vec<usize> {
        outcome.refused.iter().map(|(place, _)| *place).collect()
    }

    #[tokio::test]
    async fn a_request_has_at_most_a_thousand() {
        let (stored, _) = sent(2_001, 1_000_000, &[]).await;
        let sizes: Vec<_> = stored.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1_000, 1_000, 1]);
        assert_eq!(stored.concat(), (0..2_001).collect::<Vec<_>>());
        assert!(sent(0, 1, &[]).await.0.is_empty());
    }

    #[tokio::test]
    async fn a_request_is_split_by_bytes_and_a_large_one_goes_alone() {
        // 16 around, 7 each, 1 between.
        assert_eq!(sent(4, 16 + 15, &[]).await.0, [[0, 1], [2, 3]]);
        assert_eq!(sent(3, 16 + 14, &[]).await.0, [[0], [1], [2]]);
        assert_eq!(sent(2, 1, &[]).await.0, [[0], [1]]);
    }

    #[tokio::test]
    async fn what_is_refused_is_found_and_the_rest_is_stored() {
        for bad in [vec![0], vec![7], vec![99], vec![3, 4, 50]] {
            let (stored, outcome) = sent(100, 1_000_000, &bad).await;
            let places: Vec<u64> = places(&outcome).iter().map(|place| *place as u64).collect();
            assert_eq!(places, bad);
            let good: Vec<u64> = (0..100).filter(|number| !bad.contains(number)).collect();
            assert_eq!(stored.concat(), good);
            assert!(outcome.stopped.is_none());
        }
    }

    #[tokio::test]
    async fn however_many_are_refused_in_a_row_the_rest_is_stored() {
        let bad: Vec<u64> = (0..995).collect();
        let (stored, outcome) = sent(1_200, 1_000_000, &bad).await;
        assert!(places(&outcome).into_iter().eq(0..995));
        assert!(stored.concat().into_iter().eq(995..1_200));
    }

    #[tokio::test]
    async fn when_all_is_refused_the_search_ends() {
        let asked = Mutex::new(0);
        let outcome = elements(20_000)
            .send("{\"all\":[", 1_000_000, async |_| {
                *asked.lock().unwrap() += 1;
                Err(ExportError::rejected("opik", "bad"))
            })
            .await;
        assert!(places(&outcome).into_iter().eq(0..20_000));
        let asked = asked.into_inner().unwrap();
        assert!(asked < 2_100, "{asked} requests");
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_not_asked_again() {
        let asked = Mutex::new(0);
        let outcome = elements(3_000)
            .send("{\"all\":[", 1_000_000, async |_| {
                let mut asked = asked.lock().unwrap();
                *asked += 1;
                match *asked {
                    1 => Ok(()),
                    _ => Err(ExportError::temporary("opik", "down")),
                }
            })
            .await;
        assert_eq!(asked.into_inner().unwrap(), 2);
        assert_eq!(outcome.stopped.unwrap().0, 1_000);
    }
}
