//! Calls that are told by two libraries: the instrumentation of a client and the client itself, or that of a framework
//! and that of the client which it uses. Counted twice, they would cost twice.

use std::collections::{HashMap, HashSet};

use beluga_o11y::{LLMCallData, Usage};
use chrono::{DateTime, Utc};

use super::{call::Kind, span::Span};

/// How many spans beside a call are looked at for one that tells the same call.
const NEIGHBOURS: usize = 64;
/// By how many tokens two may differ about an answer: OpenLLMetry adds to those of Anthropic's streams what their begin tells.
const FEW: u64 = 16;

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
    response_model: Option<String>,
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
            response_model: (span.attributes.peek("gen_ai.response.model")).map(str::to_owned),
            call: record(span),
        }
    }

    fn place(&self) -> (&str, &str) {
        (&self.trace_id, &self.span_id)
    }

    /// How many spans of the same time are above this one.
    fn depth(&self, spans: &HashMap<(&str, &str), &Self>) -> usize {
        let above = |it: &&Self| {
            let parent = it.parent_span_id.as_deref()?;
            let above = spans.get(&(&*it.trace_id, parent)).copied()?;
            ((above.start, above.end) == (it.start, it.end)).then_some(above)
        };
        // Spans may be each other's parents.
        let all = std::iter::successors(Some(self), above);
        all.take(NEIGHBOURS).count()
    }

    /// Whether this may be what another library tells of the same call, or of several.
    fn may_be(&self, other: &Self) -> bool {
        let ids = (&self.response_id, &other.response_id);
        self.kind == other.kind
            && self.scope != other.scope
            && !matches!(ids, (Some(one), Some(other)) if one != other)
            && self.has_model_of(other)
    }

    /// As far as both know it. One may have it as it was asked for, and the other as it answered.
    fn has_model_of(&self, other: &Self) -> bool {
        let (own, model) = (&self.call.model, &other.call.model);
        own.is_empty()
            || model.is_empty()
            || own == model
            || self.response_model.as_ref() == Some(model)
            || other.response_model.as_ref() == Some(own)
    }

    /// Whether this is what another library tells of a call that it makes meanwhile.
    fn is_around(&self, inner: &Self) -> bool {
        self.may_be(inner)
            && self.end >= inner.end
            && is_as_many(&self.call.usage, &[&inner.call.usage])
    }
}

/// Whether that many tokens may be those of all of these, as far as they are known.
fn is_as_many(whole: &Usage, parts: &[&Usage]) -> bool {
    let differ = |count: fn(&Usage) -> Option<u64>, few: u64| {
        let sum: Option<u64> = parts
            .iter()
            .map(|part| count(part))
            .try_fold(0, |sum: u64, part| Some(sum.saturating_add(part?)));
        matches!((count(whole), sum), (Some(whole), Some(sum)) if whole.abs_diff(sum) > few)
    };
    !differ(|usage| usage.input_tokens, 0) && !differ(|usage| usage.output_tokens, FEW)
}

/// Each call once, and how many spans are none. Of two that tell the same, the outer is the call, and takes over what only the
/// inner one knows. One that holds several calls is none itself, unless it tells of other tokens.
pub(super) fn once(told: Vec<Told>) -> (Vec<(usize, LLMCallData)>, u64) {
    let mut order: Vec<usize> = (0..told.len()).collect();
    // What is around a call comes before it.
    let spans: HashMap<_, _> = told.iter().map(|it| (it.place(), it)).collect();
    order.sort_by_cached_key(|index| {
        let it = told.get(*index)?;
        Some((it.start, std::cmp::Reverse(it.end), it.depth(&spans)))
    });
    let around = around(&told, &order);

    let mut calls: Vec<_> = told.into_iter().map(|it| Some((it.at, it.call))).collect();
    let mut inner: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut others = 0;
    for index in order.into_iter().rev() {
        let mut own = inner.remove(&index).unwrap_or_default();
        let usage = |index: &usize| Some(&calls.get(*index)?.as_ref()?.1.usage);
        let parts: Vec<_> = own.iter().filter_map(usage).collect();
        let drop = match own.as_slice() {
            _ if !usage(&index).is_some_and(|whole| is_as_many(whole, &parts)) => None,
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
    let mut taken: HashSet<usize> = HashSet::new();
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
            // Two calls at once are told by two: a parent may hold several, another span tells of one.
            let last = (last.copied())
                .find(|found| !taken.contains(found) && is(found, &|outer| outer.is_around(it)));
            found = found.or(last);
            neighbours.push(*index);
        }
        taken.extend(found);
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
    for (own, other) in [
        (&mut outer.provider, inner.provider),
        (&mut outer.model, inner.model),
    ] {
        if own.is_empty() {
            *own = other;
        }
    }
    for (own, other) in [
        (&mut outer.name, inner.name),
        (&mut outer.session_id, inner.session_id),
        (&mut outer.user_id, inner.user_id),
        (&mut outer.environment, inner.environment),
        (&mut outer.release, inner.release),
    ] {
        *own = own.take().or(other);
    }
    if outer.tags.is_empty() {
        outer.tags = inner.tags;
    }
    for (name, value) in inner.metadata {
        outer.metadata.entry(name).or_insert(value);
    }
    outer.error = outer.error.take().or(inner.error);
    outer.cost = outer.cost.or(inner.cost);
    outer.messages = outer.messages.take().or(inner.messages);
    outer.response = outer.response.take().or(inner.response);
    outer.model_parameters = outer.model_parameters.take().or(inner.model_parameters);
    outer.time_to_first_token = outer.time_to_first_token.or(inner.time_to_first_token);
}
