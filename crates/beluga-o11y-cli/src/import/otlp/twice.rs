//! Calls that are told by two libraries: the instrumentation of a client and the client itself, or that of a framework
//! and that of the client which it uses. Counted twice, they would cost twice.

use std::collections::HashMap;

use beluga_o11y::LLMCallData;
use chrono::{DateTime, Utc};

use super::{call::Kind, span::Span};

/// How many spans beside a call are looked at for one that tells the same call.
const NEIGHBOURS: usize = 64;

/// A call as one span tells it.
pub(super) struct Told {
    at: usize,
    kind: Kind,
    scope: String,
    trace_id: String,
    span_id: String,
    parent_span_id: Option<String>,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    response_id: Option<String>,
    call: LLMCallData,
}

impl Told {
    pub(super) fn new(
        at: usize,
        kind: Kind,
        scope: &str,
        span: Span,
        record: impl FnOnce(Span) -> LLMCallData,
    ) -> Self {
        Self {
            at,
            kind,
            scope: scope.to_owned(),
            trace_id: span.trace_id.clone(),
            span_id: span.span_id.clone(),
            parent_span_id: span.parent_span_id.clone(),
            start: span.start,
            end: span.end.unwrap_or(span.start),
            response_id: (span.attributes.peek("gen_ai.response.id")).map(str::to_owned),
            call: record(span),
        }
    }

    fn may_be(&self, other: &Self) -> bool {
        let ids = (&self.response_id, &other.response_id);
        self.kind == other.kind && !matches!(ids, (Some(one), Some(other)) if one != other)
    }

    /// Whether this is what another library tells of a call that it makes meanwhile.
    fn is_around(&self, inner: &Self) -> bool {
        self.may_be(inner)
            && self.scope != inner.scope
            && self.end >= inner.end
            && self.call.model == inner.call.model
    }
}

/// Each call once, and how many spans are none. Of two that tell the same, the outer is the call, and takes over what only the
/// inner one knows. One that holds several calls is none itself.
pub(super) fn once(told: Vec<Told>) -> (Vec<(usize, LLMCallData)>, u64) {
    let mut order: Vec<usize> = (0..told.len()).collect();
    // What is around a call comes before it.
    order.sort_by_key(|index| {
        told.get(*index)
            .map(|it| (it.start, std::cmp::Reverse(it.end)))
    });
    let around = around(&told, &order);

    let mut calls: Vec<_> = told.into_iter().map(|it| Some((it.at, it.call))).collect();
    let mut inner: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut others = 0;
    for index in order.into_iter().rev() {
        let mut own = inner.remove(&index).unwrap_or_default();
        let drop = match own.as_slice() {
            [] => None,
            [only] => Some(*only),
            _ => Some(index),
        };
        if let Some(drop) = drop {
            let dropped = calls.get_mut(drop).and_then(Option::take);
            others += 1;
            if drop != index {
                own = vec![index];
                let outer = calls.get_mut(index).and_then(Option::as_mut);
                if let (Some((_, outer)), Some((_, dropped))) = (outer, dropped) {
                    complete(outer, dropped);
                }
            }
        } else {
            own = vec![index];
        }
        if let Some(Some(around)) = around.get(index) {
            inner.entry(*around).or_default().extend(own);
        }
    }
    (calls.into_iter().flatten().collect(), others)
}

/// For each call the one around it that may be the same. In this order, it comes before it, so none is around itself.
fn around(told: &[Told], order: &[usize]) -> Vec<Option<usize>> {
    #[derive(PartialEq, Eq, Hash)]
    enum Beside<'a> {
        Parent(&'a str, &'a str),
        Response(&'a str),
    }
    let mut around = vec![None; told.len()];
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    let mut beside: HashMap<Beside<'_>, Vec<usize>> = HashMap::new();
    for index in order {
        let Some(it) = told.get(*index) else { continue };
        let is = |found: &usize, holds: &dyn Fn(&Told) -> bool| told.get(*found).is_some_and(holds);
        let parent = it.parent_span_id.as_deref();
        let above = parent.and_then(|parent| seen.get(&(&*it.trace_id, parent)).copied());
        let mut found = above.filter(|found| is(found, &|above| above.may_be(it)));
        let keys = [
            it.response_id.as_deref().map(Beside::Response),
            parent.map(|parent| Beside::Parent(&it.trace_id, parent)),
        ];
        for key in keys.into_iter().flatten() {
            let neighbours = beside.entry(key).or_default();
            let last = neighbours.iter().rev().take(NEIGHBOURS);
            let last = last
                .copied()
                .find(|found| is(found, &|outer| outer.is_around(it)));
            found = found.or(last);
            neighbours.push(*index);
        }
        if let Some(place) = around.get_mut(*index) {
            *place = found;
        }
        seen.insert((&it.trace_id, &it.span_id), *index);
    }
    around
}

fn complete(outer: &mut LLMCallData, inner: LLMCallData) {
    let usage = inner.usage;
    let own = &mut outer.usage;
    own.input_tokens = own.input_tokens.or(usage.input_tokens);
    own.output_tokens = own.output_tokens.or(usage.output_tokens);
    own.cache_read_tokens = own.cache_read_tokens.or(usage.cache_read_tokens);
    own.cache_write_tokens = own.cache_write_tokens.or(usage.cache_write_tokens);
    own.reasoning_tokens = own.reasoning_tokens.or(usage.reasoning_tokens);
    outer.cost = outer.cost.or(inner.cost);
    outer.messages = outer.messages.take().or(inner.messages);
    outer.response = outer.response.take().or(inner.response);
    outer.model_parameters = outer.model_parameters.take().or(inner.model_parameters);
    outer.time_to_first_token = outer.time_to_first_token.or(inner.time_to_first_token);
}
