//! What an agent run is while it goes on, and the trace and the spans that it becomes. Pure: no IO, no clock.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use beluga_o11y::{CallError, ExportError, Json, LLMCallData};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Serialize, Serializer, ser::SerializeMap};
use uuid::Uuid;

use crate::{
    ask::elements::Elements,
    convert::{self, Failure, Place, Target, bad, instant},
    id,
    wire::{Common, Content, Model, Span, Trace},
};

/// A run, with everything that it has done so far.
pub(crate) struct AgentTree {
    pub(crate) id: Uuid,
    pub(crate) work: Work,
    pub(crate) session_id: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) nodes: Vec<Node>,
    /// Where each call is, by its id.
    places: HashMap<Uuid, usize>,
}

/// Something that takes a while: the run itself, or a step of it.
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) start: DateTime<Utc>,
    /// None while it goes on.
    pub(crate) end: Option<DateTime<Utc>>,
    pub(crate) input: Option<Json>,
    pub(crate) output: Option<Json>,
    pub(crate) error: Option<CallError>,
    pub(crate) tags: Vec<String>,
    pub(crate) metadata: BTreeMap<String, Json>,
}

pub(crate) struct Node {
    /// The place of the node that it belongs to, which is before its own; the run itself if none.
    pub(crate) parent: Option<usize>,
    pub(crate) what: What,
}

pub(crate) enum What {
    Call(Arc<LLMCallData>),
    Step {
        id: Uuid,
        /// Its type in Opik: `tool` or `general`.
        kind: &'static str,
        work: Box<Work>,
    },
}

/// The elements that a run is sent as, and what of it Opik would not take.
pub(crate) struct Encoded {
    pub(crate) trace: Elements,
    pub(crate) spans: Elements,
    pub(crate) refused: Vec<ExportError>,
}

impl Work {
    pub(crate) fn new(name: String, start: DateTime<Utc>) -> Self {
        Self {
            name,
            start,
            end: None,
            input: None,
            output: None,
            error: None,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }

    /// The last word counts: what failed before has not.
    pub(crate) fn finish(&mut self, output: Json) {
        self.output = Some(output);
        self.error = None;
    }

    /// Measured by a clock that nobody sets; the calendar's last moment if there is no such.
    pub(crate) fn end_after(&mut self, elapsed: Duration) {
        let end = TimeDelta::from_std(elapsed)
            .ok()
            .and_then(|elapsed| self.start.checked_add_signed(elapsed));
        self.end = Some(end.unwrap_or(DateTime::<Utc>::MAX_UTC));
    }

    fn check(&self, what: &str) -> Result<(), ExportError> {
        let content = [("input", &self.input), ("output", &self.output)];
        let content = content
            .into_iter()
            .filter_map(|(field, json)| Some((field, json.as_ref()?)));
        let metadata = self.metadata.values().map(|json| ("metadata", json));
        for (field, json) in content.chain(metadata) {
            if let Some(error) = json.error() {
                return Err(bad(format!("{what}: {field}: {error}")));
            }
        }
        Ok(())
    }

    /// What the element of a trace or of a span has of it.
    fn write(
        &self,
        what: &'static str,
        times: Times,
        scope: &Scope<'_>,
        json: &mut Vec<u8>,
        write: impl FnOnce(&Common<'_>, &mut Vec<u8>) -> serde_json::Result<()>,
    ) -> Result<(), ExportError> {
        self.check(what)?;
        convert::check_times(times.start, times.end)?;
        let (start, end) = (instant(times.start), instant(times.end));
        let error = Failure::of(self.error.as_ref());
        let common = Common {
            project_name: scope.target.project.as_deref(),
            name: convert::not_blank(&self.name).unwrap_or(what),
            start_time: &start,
            end_time: &end,
            input: self
                .input
                .as_ref()
                .map(|input| Content::object_or("input", input)),
            output: self
                .output
                .as_ref()
                .map(|output| Content::object_or("output", output)),
            error_info: error.as_ref().map(Failure::info),
            last_updated_at: scope.version,
            ttft: None,
            source: scope.target.source,
            environment: scope.target.environment.as_deref(),
        };
        let before = json.len();
        write(&common, json).map_err(|_| bad(format!("the {what} cannot be written as JSON")))?;
        convert::check_size(what, json.len() - before, scope.target)
    }
}

/// What everything in a run shares.
struct Scope<'a> {
    target: &'a Target,
    trace_id: Uuid,
    /// When it is sent: a run that is sent again with more in it replaces what was sent before.
    version: &'a str,
}

#[derive(Clone, Copy)]
struct Times {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Times {
    fn of(work: &Work, now: DateTime<Utc>) -> Self {
        Self {
            start: work.start,
            // A clock that was set back in the meantime gives no negative duration.
            end: work.end.unwrap_or(now).max(work.start),
        }
    }

    fn include(&mut self, inner: Self) {
        self.start = self.start.min(inner.start);
        self.end = self.end.max(inner.end);
    }
}

impl Node {
    fn times(&self, now: DateTime<Utc>) -> Times {
        match &self.what {
            What::Call(call) => Times {
                start: call.start_time(),
                end: call.end_time(),
            },
            What::Step { work, .. } => Times::of(work, now),
        }
    }

    /// Ids that are too old for Opik are replaced, as those of calls are.
    fn sent_as(&self, now: DateTime<Utc>) -> Uuid {
        match &self.what {
            What::Call(call) => convert::trace_id(call, now),
            What::Step { id, work, .. } => id::trace_id(*id, work.start, now),
        }
    }
}

impl AgentTree {
    pub(crate) fn new(name: String, now: DateTime<Utc>) -> Self {
        Self {
            id: Uuid::now_v7(),
            work: Work::new(name, now),
            session_id: None,
            user_id: None,
            environment: None,
            nodes: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Ends the run so long after its start, and with it what has not ended.
    pub(crate) fn end(&mut self, elapsed: Duration) {
        self.work.end_after(elapsed);
        let end = self.work.end;
        for node in &mut self.nodes {
            if let What::Step { work, .. } = &mut node.what
                && work.end.is_none()
            {
                work.end = end;
            }
        }
    }

    /// The trace's id, as it is sent now.
    pub(crate) fn sent_as(&self, now: DateTime<Utc>) -> Uuid {
        id::trace_id(self.id, self.work.start, now)
    }

    /// A call that is there already, by its id, is replaced where it is: below another parent Opik would take it for
    /// another span, and count its tokens twice.
    pub(crate) fn add(&mut self, call: Arc<LLMCallData>, parent: Option<usize>) {
        match self.places.entry(call.id()) {
            Entry::Occupied(known) => {
                if let Some(node) = self.nodes.get_mut(*known.get()) {
                    node.what = What::Call(call);
                }
            }
            Entry::Vacant(new) => {
                new.insert(self.nodes.len());
                self.nodes.push(Node {
                    parent,
                    what: What::Call(call),
                });
            }
        }
    }

    /// The calls, in order of their ends.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Arc<LLMCallData>> {
        self.nodes.iter().filter_map(|node| match &node.what {
            What::Call(call) => Some(call),
            What::Step { .. } => None,
        })
    }

    /// What has not ended by `now` ends then. What goes on around something lasts as long as that does, whatever the
    /// clocks said.
    ///
    /// A call or a step that Opik would refuse is left out and told; what is below such a step moves up to its parent.
    ///
    /// # Errors
    ///
    /// Opik would refuse the run itself.
    pub(crate) fn encode(
        &self,
        target: &Target,
        now: DateTime<Utc>,
    ) -> Result<Encoded, ExportError> {
        convert::check_environment(self.environment.as_deref())?;
        let (run, times) = self.times(now);
        let mut target = target.clone();
        if self.environment.is_some() {
            target.environment.clone_from(&self.environment);
        }
        let scope = Scope {
            target: &target,
            trace_id: self.sent_as(now),
            version: &instant(now),
        };
        let mut encoded = Encoded {
            trace: Elements::default(),
            spans: Elements::default(),
            refused: Vec::new(),
        };
        encoded
            .trace
            .write(|json| self.write_trace(run, &scope, json))?;
        // For each node the span that its children belong to.
        let mut parents: Vec<Option<Uuid>> = Vec::with_capacity(self.nodes.len());
        for (node, times) in self.nodes.iter().zip(times) {
            let parent = node
                .parent
                .and_then(|place| parents.get(place).copied())
                .flatten();
            let id = node.sent_as(now);
            let written = encoded
                .spans
                .write(|json| self.write_span(node, id, parent, times, &scope, json));
            parents.push(match written {
                Ok(()) => Some(id),
                Err(error) => {
                    encoded.refused.push(error);
                    parent
                }
            });
        }
        Ok(encoded)
    }

    /// When the run, and each node, began and ended, so that each is within its parent's.
    fn times(&self, now: DateTime<Utc>) -> (Times, Vec<Times>) {
        let mut run = Times::of(&self.work, now);
        let mut times: Vec<Times> = self.nodes.iter().map(|node| node.times(now)).collect();
        // Parents come before their children, so from the end on each has all of its own when it is counted.
        for (place, node) in self.nodes.iter().enumerate().rev() {
            let Some(own) = times.get(place).copied() else {
                continue;
            };
            if convert::check_times(own.start, own.end).is_err() {
                continue;
            }
            // A step with a time that Opik does not take is left out, and what is in it moves up.
            let mut around = node.parent;
            while let Some(parent) = around.and_then(|place| times.get_mut(place))
                && convert::check_times(parent.start, parent.end).is_err()
            {
                around = around.and_then(|place| self.nodes.get(place)?.parent);
            }
            match around.and_then(|parent| times.get_mut(parent)) {
                Some(parent) => parent.include(own),
                None => run.include(own),
            }
        }
        (run, times)
    }

    fn write_trace(
        &self,
        times: Times,
        scope: &Scope<'_>,
        json: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        let of_calls = || self.calls().find_map(|call| call.session_id.as_deref());
        let write = |common: &Common<'_>, json: &mut Vec<u8>| {
            let trace = Trace {
                id: scope.trace_id,
                common,
                metadata: RunMetadata(self),
                tags: &self.work.tags,
                thread_id: self.session_id.as_deref().or_else(of_calls),
            };
            serde_json::to_writer(json, &trace)
        };
        self.work.write("agent run", times, scope, json, write)
    }

    fn write_span(
        &self,
        node: &Node,
        id: Uuid,
        parent: Option<Uuid>,
        times: Times,
        scope: &Scope<'_>,
        json: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        let place = Place {
            id,
            trace_id: scope.trace_id,
            parent,
            version: scope.version,
        };
        match &node.what {
            What::Call(call) => convert::write_span(call, &place, scope.target, json),
            What::Step { kind, work, .. } => {
                let write = |common: &Common<'_>, json: &mut Vec<u8>| {
                    let span = Span {
                        id: place.id,
                        trace_id: place.trace_id,
                        parent_span_id: place.parent,
                        kind,
                        common,
                        metadata: (!work.metadata.is_empty()).then_some(&work.metadata),
                        tags: &work.tags,
                        model: Model::default(),
                    };
                    serde_json::to_writer(json, &span)
                };
                work.write("step", times, scope, json, write)
            }
        }
    }
}

/// The run's own entries win.
struct RunMetadata<'a>(&'a AgentTree);

impl Serialize for RunMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(run) = self;
        let mut map = serializer.serialize_map(None)?;
        if let Some(user) = &run.user_id
            && !run.work.metadata.contains_key("user_id")
        {
            map.serialize_entry("user_id", user)?;
        }
        for (key, value) in &run.work.metadata {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
