//! The calls that are looked at one by one: the slowest, the dearest, those that failed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use beluga_o11y::{CallError, LLMCallData};
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::{
    conversation::{Said, conversation, cut, json_text},
    figures::{Facts, usd},
    row::Row,
    timeline::time,
};

/// So many of each.
const MAX_CALLS: usize = 100;
/// The most characters of a trace.
const MAX_TRACE_CHARS: usize = 8 * 1024;
/// Of anything else.
const MAX_TEXT_CHARS: usize = 2 * 1024;
const MAX_TAGS: usize = 100;

/// Where a call stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) source: &'a str,
    /// Nothing for one of a spool.
    pub(crate) line: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Picks {
    seen: u64,
    slowest: Best,
    dearest: Best,
    failed: Best,
}

/// The calls of the highest rank; of equal ones, those that came first.
#[derive(Debug, Default)]
struct Best(BinaryHeap<Reverse<Pick>>);

#[derive(Debug)]
struct Pick {
    rank: i128,
    number: Reverse<u64>,
    call: Arc<Shown>,
}

impl PartialEq for Pick {
    fn eq(&self, other: &Self) -> bool {
        (self.rank, self.number) == (other.rank, other.number)
    }
}

impl Eq for Pick {}

impl PartialOrd for Pick {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pick {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.rank, self.number).cmp(&(other.rank, other.number))
    }
}

impl Best {
    fn wants(&self, rank: i128) -> bool {
        self.0.len() < MAX_CALLS || self.0.peek().is_some_and(|least| least.0.rank < rank)
    }

    fn add(&mut self, rank: i128, number: u64, call: &Arc<Shown>) {
        if self.0.len() >= MAX_CALLS {
            self.0.pop();
        }
        self.0.push(Reverse(Pick {
            rank,
            number: Reverse(number),
            call: Arc::clone(call),
        }));
    }

    /// The highest first.
    fn into_sorted(self) -> Vec<Pick> {
        // Of what is reversed, the highest is the least.
        let sorted = self.0.into_sorted_vec();
        sorted.into_iter().map(|Reverse(pick)| pick).collect()
    }
}

/// A call, as the page shows it.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    source: String,
    line: Option<u64>,
    start_time: String,
    provider: String,
    model: String,
    name: Option<String>,
    duration_ms: Option<f64>,
    time_to_first_token_ms: Option<f64>,
    input_tokens: Option<u64>,
    cache_read_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    output_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cost: Option<f64>,
    error: Option<Failed>,
    session_id: Option<String>,
    user_id: Option<String>,
    tags: Vec<String>,
    environment: Option<String>,
    release: Option<String>,
    trace_id: Option<String>,
    conversation: Vec<Said>,
    messages_left_out: usize,
    parameters: Option<String>,
    metadata: Option<String>,
}

#[derive(Debug, Serialize)]
struct Failed {
    kind: Option<String>,
    message: String,
    trace: Option<String>,
}

/// The calls, and where they stand in each list.
#[derive(Debug, Serialize)]
pub(crate) struct Calls {
    #[serde(serialize_with = "each")]
    calls: Vec<Arc<Shown>>,
    slowest: Vec<usize>,
    dearest: Vec<usize>,
    failed: Vec<usize>,
}

fn each<S: Serializer>(calls: &[Arc<Shown>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(calls.iter().map(|call| &**call))
}

impl Picks {
    /// Shows a call to each list; `read` gives all of it, with an id.
    pub(crate) fn add(
        &mut self,
        row: &Row<'_>,
        start: DateTime<Utc>,
        place: Place<'_>,
        read: impl FnOnce() -> Option<LLMCallData>,
    ) {
        self.seen += 1;
        let slow = row.duration.map(|duration| duration.as_nanos() as i128);
        let slow = slow.filter(|rank| self.slowest.wants(*rank));
        let dear = row
            .facts
            .cost
            .map(|cost| i128::try_from(cost).unwrap_or(i128::MAX));
        let dear = dear.filter(|rank| *rank > 0 && self.dearest.wants(*rank));
        // The latest first.
        let failed = row.facts.failed;
        let failed = failed.then(|| i128::from(start.timestamp_micros()));
        let failed = failed.filter(|rank| self.failed.wants(*rank));
        if slow.is_none() && dear.is_none() && failed.is_none() {
            return;
        }
        let Some(call) = read() else {
            return;
        };
        let call = Arc::new(Shown::of(&call, &row.facts, place));
        for (best, rank) in [
            (&mut self.slowest, slow),
            (&mut self.dearest, dear),
            (&mut self.failed, failed),
        ] {
            if let Some(rank) = rank {
                best.add(rank, self.seen, &call);
            }
        }
    }

    pub(crate) fn calls(self) -> Calls {
        let mut calls = Vec::new();
        let mut known = BTreeMap::new();
        let mut places = |best: Best| {
            let picks = best.into_sorted().into_iter();
            let places = picks.map(|pick| {
                *known.entry(pick.number).or_insert_with(|| {
                    calls.push(pick.call);
                    calls.len() - 1
                })
            });
            places.collect()
        };
        let slowest = places(self.slowest);
        let dearest = places(self.dearest);
        let failed = places(self.failed);
        Calls {
            calls,
            slowest,
            dearest,
            failed,
        }
    }
}

impl Shown {
    fn of(call: &LLMCallData, facts: &Facts, place: Place<'_>) -> Self {
        let text = |text: &str, most: usize| {
            let (mut text, left_out) = cut(text.to_owned(), most);
            if left_out > 0 {
                text.push('…');
            }
            text
        };
        let some = |field: &Option<String>| {
            let field = field.as_deref().filter(|field| !field.is_empty());
            field.map(|field| text(field, MAX_TEXT_CHARS))
        };
        let failed = |error: &CallError| Failed {
            kind: some(&error.kind),
            message: text(&error.message, MAX_TEXT_CHARS),
            trace: error
                .trace
                .as_ref()
                .map(|trace| text(trace, MAX_TRACE_CHARS)),
        };
        let millis = |duration: std::time::Duration| duration.as_nanos() as f64 / 1e6;
        let (conversation, messages_left_out) = conversation(call);
        let metadata: BTreeMap<_, _> = call
            .metadata
            .iter()
            .filter(|(_, value)| value.error().is_none())
            .collect();
        let metadata = (!metadata.is_empty()).then(|| beluga_o11y::Json::new(&metadata));
        Self {
            id: call.id().to_string(),
            source: place.source.to_owned(),
            line: place.line,
            start_time: time(call.start_time()),
            provider: text(&call.provider, MAX_TEXT_CHARS),
            model: text(&call.model, MAX_TEXT_CHARS),
            name: some(&call.name),
            duration_ms: call.duration.map(millis),
            time_to_first_token_ms: call.time_to_first_token.map(millis),
            input_tokens: call.usage.input_tokens,
            cache_read_tokens: call.usage.cache_read_tokens,
            cache_write_tokens: call.usage.cache_write_tokens,
            output_tokens: call.usage.output_tokens,
            reasoning_tokens: call.usage.reasoning_tokens,
            cost: facts.cost.map(usd),
            error: call.error.as_ref().filter(|_| facts.failed).map(failed),
            session_id: some(&call.session_id),
            user_id: some(&call.user_id),
            tags: {
                let tags = call.tags.iter().take(MAX_TAGS);
                tags.map(|tag| text(tag, 200)).collect()
            },
            environment: some(&call.environment),
            release: some(&call.release),
            trace_id: some(&call.trace_id),
            conversation,
            messages_left_out,
            parameters: call.model_parameters.as_ref().and_then(json_text),
            metadata: metadata.as_ref().and_then(json_text),
        }
    }
}
