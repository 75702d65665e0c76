//! What was accepted: projects, traces and spans, with the row keys and versions of the backend.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::opik::calls::{self, OfTrace};
use crate::opik::evaluation::Evaluation;
use crate::opik::record::{Span, Trace};
use crate::opik::row::{ProjectIndex, Row, Table, keep, newest_of_each, replace};
use crate::opik::wire::{Common, Kind, SpanOwn, TraceOwn, Update, Write};
use crate::rows::Touched;
use crate::stored::StoredCall;
use crate::text::to_value;

const DEFAULT_PROJECT: &str = "Default Project";

/// Why a write is refused with 409.
#[derive(Debug)]
pub(crate) struct Conflict(pub(crate) &'static str);

#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) id: Uuid,
    pub(crate) workspace: String,
    pub(crate) name: String,
    pub(crate) created_at: DateTime<Utc>,
}

impl Project {
    /// Opik: `Project.View.Public`.
    pub(crate) fn public_view(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "visibility": "private",
            "created_at": self.created_at, "created_by": "admin",
            "last_updated_at": self.created_at, "last_updated_by": "admin",
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    projects: Vec<Project>,
    traces: Table<TraceOwn>,
    spans: Table<SpanOwn>,
    /// Places of a trace's spans, by project and trace id.
    spans_of: HashMap<(ProjectIndex, Uuid), BTreeSet<usize>>,
    pub(crate) evaluation: Evaluation,
}

/// The rows of traces or of spans.
pub(crate) trait Stored: Kind {
    type Record;
    const EXISTS_ELSEWHERE: &'static str;
    /// Whether some of the rows are LLM calls.
    const ARE_CALLS: bool;

    fn table(store: &Store) -> &Table<Self>;
    fn table_mut(store: &mut Store) -> &mut Table<Self>;
    fn record(store: &Store, row: &Row<Self>) -> Self::Record;
    /// The trace that a span counts in.
    fn counted_in(&self) -> Option<Uuid> {
        None
    }
    /// What a single create of something that exists comes to.
    fn duplicate() -> Result<(), Conflict>;
    /// Only a row of the same project is the same.
    fn same_project_only() -> bool;
    fn merge(&mut self, update: Self) -> Result<(), Conflict>;
    fn complete(&mut self, partial: Self);
}

impl Stored for TraceOwn {
    type Record = Trace;
    const EXISTS_ELSEWHERE: &'static str =
        "Project name and workspace name do not match the existing trace";
    const ARE_CALLS: bool = false;

    fn table(store: &Store) -> &Table<Self> {
        &store.traces
    }

    fn table_mut(store: &mut Store) -> &mut Table<Self> {
        &mut store.traces
    }

    fn record(store: &Store, row: &Row<Self>) -> Trace {
        store.trace_record(row)
    }

    fn duplicate() -> Result<(), Conflict> {
        Err(Conflict("Trace already exists"))
    }

    fn same_project_only() -> bool {
        false
    }

    fn merge(&mut self, update: Self) -> Result<(), Conflict> {
        replace(&mut self.thread_id, update.thread_id);
        Ok(())
    }

    fn complete(&mut self, partial: Self) {
        keep(&mut self.thread_id, partial.thread_id);
    }
}

impl Stored for SpanOwn {
    type Record = Span;
    const EXISTS_ELSEWHERE: &'static str =
        "Project name and workspace name do not match the existing span";
    const ARE_CALLS: bool = true;

    fn table(store: &Store) -> &Table<Self> {
        &store.spans
    }

    fn table_mut(store: &mut Store) -> &mut Table<Self> {
        &mut store.spans
    }

    fn record(store: &Store, row: &Row<Self>) -> Span {
        store.span_record(row)
    }

    fn counted_in(&self) -> Option<Uuid> {
        self.trace_id
    }

    fn duplicate() -> Result<(), Conflict> {
        Ok(())
    }

    fn same_project_only() -> bool {
        true
    }

    fn merge(&mut self, update: Self) -> Result<(), Conflict> {
        if self.parent_span_id != update.parent_span_id {
            return Err(Conflict("parent_span_id does not match the existing span"));
        }
        if self.trace_id != update.trace_id {
            return Err(Conflict("trace_id does not match the existing span"));
        }
        replace(&mut self.span_type, update.span_type);
        replace(&mut self.model, update.model);
        replace(&mut self.provider, update.provider);
        replace(&mut self.usage, update.usage);
        replace(&mut self.total_estimated_cost, update.total_estimated_cost);
        Ok(())
    }

    fn complete(&mut self, partial: Self) {
        keep(&mut self.span_type, partial.span_type);
        keep(&mut self.model, partial.model);
        keep(&mut self.provider, partial.provider);
        keep(&mut self.usage, partial.usage);
        keep(&mut self.total_estimated_cost, partial.total_estimated_cost);
    }
}

impl Store {
    /// How many rows of traces and of spans there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.traces.rows.len(), self.spans.rows.len())
    }

    /// Forgets the oldest traces, the oldest spans, and the oldest of what evaluations leave, each beyond that many.
    pub(crate) fn forget_beyond(&mut self, max: usize) {
        self.forget_rows_beyond::<TraceOwn>(max);
        self.forget_rows_beyond::<SpanOwn>(max);
        self.evaluation.forget_beyond(max);
    }

    fn forget_rows_beyond<T: Stored>(&mut self, max: usize) {
        while let Some((place, row)) = T::table_mut(self).pop_beyond(max) {
            self.uncount(place, row.project, row.own.counted_in());
        }
    }

    /// Stores a batch: the newest version of each row stays.
    pub(crate) fn batch<T: Stored>(
        &mut self,
        workspace: &str,
        writes: Vec<Write<T>>,
        now: DateTime<Utc>,
    ) -> Touched {
        let mut touched = Touched::default();
        for write in newest_of_each(writes) {
            let project = self.project(workspace, write.common.project_name.as_deref(), now);
            self.upsert(Row::new(write, project, now), &mut touched);
        }
        touched
    }

    /// Stores one, unless it is there already.
    pub(crate) fn create<T: Stored>(
        &mut self,
        workspace: &str,
        write: Write<T>,
        now: DateTime<Utc>,
    ) -> Result<(Uuid, Touched), Conflict> {
        let mut touched = Touched::default();
        let project = self.project(workspace, write.common.project_name.as_deref(), now);
        let mut row = Row::new(write, project, now);
        let id = row.id;
        let Some(place) = self.find::<T>(workspace, id, None) else {
            self.upsert(row, &mut touched);
            return Ok((id, touched));
        };
        let Some(old) = T::table_mut(self).rows.get_mut(place) else {
            return Ok((id, touched));
        };
        if old.project != project && !T::same_project_only() {
            return Err(Conflict(T::EXISTS_ELSEWHERE));
        }
        if !old.partial || old.project != project {
            return T::duplicate().map(|()| (id, touched));
        }
        // The create that an early update was waiting for: what the update said stays.
        let early_trace = old.own.counted_in();
        row.common.complete(std::mem::take(&mut old.common));
        row.own.complete(std::mem::take(&mut old.own));
        row.created_at = old.created_at;
        let trace = row.own.counted_in();
        *old = row;
        if trace != early_trace {
            self.uncount(place, project, early_trace);
            self.count(place, project, trace);
        }
        touched.note(place, true);
        Ok((id, touched))
    }

    /// Changes what is there, or notes what is not there yet.
    pub(crate) fn update<T: Stored>(
        &mut self,
        workspace: &str,
        id: Uuid,
        project: ProjectIndex,
        update: Update<T>,
        now: DateTime<Utc>,
    ) -> Result<Touched, Conflict> {
        let mut touched = Touched::default();
        let scope = T::same_project_only().then_some(project);
        let Some(place) = self.find::<T>(workspace, id, scope) else {
            let mut row = Row::new(
                Write {
                    id: Some(id),
                    last_updated_at: None,
                    common: Common::default(),
                    own: update.own,
                },
                project,
                now,
            );
            row.partial = true;
            row.common
                .merge(update.common, &update.tags_to_add, &update.tags_to_remove);
            self.upsert(row, &mut touched);
            return Ok(touched);
        };
        let Some(row) = T::table_mut(self).rows.get_mut(place) else {
            return Ok(touched);
        };
        if row.project != project {
            return Err(Conflict(T::EXISTS_ELSEWHERE));
        }
        row.own.merge(update.own)?;
        row.common
            .merge(update.common, &update.tags_to_add, &update.tags_to_remove);
        row.updated_at = now;
        touched.note(place, true);
        Ok(touched)
    }

    /// The LLM calls: one for each span of type `llm`, in order of arrival.
    pub(crate) fn calls(&self) -> Vec<StoredCall> {
        let spans = self.spans.rows.iter();
        spans.filter_map(|span| self.call_of(span)).collect()
    }

    /// The LLM call that the span at this place is, if it is one.
    pub(crate) fn call(&self, place: usize) -> Option<StoredCall> {
        self.call_of(self.spans.rows.get(place)?)
    }

    fn call_of(&self, span: &Row<SpanOwn>) -> Option<StoredCall> {
        if span.own.span_type != Some("llm") {
            return None;
        }
        let mut traces = self.traces.with_id(span.own.trace_id.unwrap_or_default());
        let trace = traces.find(|(_, trace)| trace.project == span.project);
        let trace = trace.map(|(_, trace)| OfTrace {
            metadata: value(trace.common.metadata.as_deref()),
            tags: trace.common.tags.clone().unwrap_or_default(),
            thread_id: trace.own.thread_id.clone(),
        });
        Some(calls::call(
            self.span_record(span),
            trace.unwrap_or_default(),
        ))
    }

    /// All records, in order of arrival.
    pub(crate) fn records<T: Stored>(&self) -> Vec<T::Record> {
        T::table(self)
            .rows
            .iter()
            .map(|row| T::record(self, row))
            .collect()
    }

    /// The newest record with this id, in any workspace or in one.
    pub(crate) fn record<T: Stored>(&self, id: Uuid, workspace: Option<&str>) -> Option<T::Record> {
        let rows = T::table(self).with_id(id).map(|(_, row)| row);
        rows.filter(|row| workspace.is_none_or(|workspace| self.is_in(row.project, workspace)))
            .max_by_key(|row| row.updated_at)
            .map(|row| T::record(self, row))
    }

    /// The project of the newest row with this id.
    pub(crate) fn project_of<T: Stored>(&self, workspace: &str, id: Uuid) -> Option<ProjectIndex> {
        let place = self.find::<T>(workspace, id, None)?;
        T::table(self).rows.get(place).map(|row| row.project)
    }

    /// The records of a project, newest id first, as the backend lists them.
    pub(crate) fn of_project<T: Stored>(
        &self,
        project: ProjectIndex,
    ) -> impl Iterator<Item = T::Record> {
        let mut rows: Vec<_> = T::table(self)
            .rows
            .iter()
            .filter(|row| row.project == project)
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.id));
        rows.into_iter().map(|row| T::record(self, row))
    }

    /// The project of that name, made if it is new. Names are stripped and matched whatever their case.
    pub(crate) fn project(
        &mut self,
        workspace: &str,
        name: Option<&str>,
        now: DateTime<Utc>,
    ) -> ProjectIndex {
        let name = name.map_or(DEFAULT_PROJECT, str::trim);
        if let Some(known) = self.project_named(workspace, name) {
            return known;
        }
        self.projects.push(Project {
            id: Uuid::now_v7(),
            workspace: workspace.to_owned(),
            name: name.to_owned(),
            created_at: now,
        });
        self.projects.len() - 1
    }

    pub(crate) fn project_named(&self, workspace: &str, name: &str) -> Option<ProjectIndex> {
        let name = name.trim();
        let same = |known: &str| known == name || known.to_lowercase() == name.to_lowercase();
        self.projects
            .iter()
            .position(|project| project.workspace == workspace && same(&project.name))
    }

    pub(crate) fn project_with_id(&self, workspace: &str, id: Uuid) -> Option<ProjectIndex> {
        self.projects
            .iter()
            .position(|project| project.workspace == workspace && project.id == id)
    }

    pub(crate) fn project_at(&self, index: ProjectIndex) -> Option<&Project> {
        self.projects.get(index)
    }

    pub(crate) fn projects_of(&self, workspace: &str) -> impl Iterator<Item = &Project> {
        self.projects
            .iter()
            .filter(move |project| project.workspace == workspace)
    }

    fn is_in(&self, project: ProjectIndex, workspace: &str) -> bool {
        self.projects
            .get(project)
            .is_some_and(|project| project.workspace == workspace)
    }

    fn upsert<T: Stored>(&mut self, row: Row<T>, touched: &mut Touched) {
        let (project, trace) = (row.project, row.own.counted_in());
        if let Some((place, again)) = T::table_mut(self).upsert(row) {
            self.count(place, project, trace);
            touched.note(place, again);
        }
    }

    /// Notes that the span at this place belongs to a trace.
    fn count(&mut self, place: usize, project: ProjectIndex, trace: Option<Uuid>) {
        if let Some(trace) = trace {
            let places = self.spans_of.entry((project, trace)).or_default();
            places.insert(place);
        }
    }

    /// The opposite of [`count`](Self::count).
    fn uncount(&mut self, place: usize, project: ProjectIndex, trace: Option<Uuid>) {
        let Some(trace) = trace else {
            return;
        };
        if let Entry::Occupied(mut places) = self.spans_of.entry((project, trace)) {
            places.get_mut().remove(&place);
            if places.get().is_empty() {
                places.remove();
            }
        }
    }

    fn find<T: Stored>(
        &self,
        workspace: &str,
        id: Uuid,
        project: Option<ProjectIndex>,
    ) -> Option<usize> {
        T::table(self)
            .with_id(id)
            .filter(|(_, row)| self.is_in(row.project, workspace))
            .filter(|(_, row)| project.is_none_or(|project| row.project == project))
            .max_by_key(|(_, row)| row.updated_at)
            .map(|(place, _)| place)
    }

    fn workspace_and_name(&self, project: ProjectIndex) -> (String, Uuid, String) {
        let project = self.projects.get(project);
        project
            .map(|project| (project.workspace.clone(), project.id, project.name.clone()))
            .unwrap_or_default()
    }

    fn trace_record(&self, row: &Row<TraceOwn>) -> Trace {
        let (workspace, project_id, project_name) = self.workspace_and_name(row.project);
        let spans = self.spans_of.get(&(row.project, row.id));
        let places = spans.into_iter().flatten();
        let totals = Totals::of(places.filter_map(|place| self.spans.rows.get(*place)));
        let common = &row.common;
        Trace {
            id: row.id,
            workspace,
            project_id,
            project_name,
            name: common.name.clone(),
            start_time: common.start_time.unwrap_or_default(),
            end_time: common.end_time,
            input: value(common.input.as_deref()),
            output: value(common.output.as_deref()),
            metadata: value(common.metadata.as_deref()),
            tags: common.tags.clone().unwrap_or_default(),
            error_info: common.error_info.clone(),
            thread_id: row.own.thread_id.clone(),
            ttft: common.ttft,
            source: common.source.map(str::to_owned),
            environment: common.environment.clone(),
            created_at: row.created_at,
            last_updated_at: row.updated_at,
            duration: common.duration(),
            usage: totals.usage,
            total_estimated_cost: (totals.cost > 0.0).then(|| rounded(totals.cost, COST_DECIMALS)),
            span_count: spans.map_or(0, BTreeSet::len),
            llm_span_count: totals.llm_spans,
            providers: totals.providers.into_iter().collect(),
            feedback_scores: self.scores_of::<TraceOwn>(row.project, row.id),
        }
    }

    fn span_record(&self, row: &Row<SpanOwn>) -> Span {
        let (workspace, project_id, project_name) = self.workspace_and_name(row.project);
        let common = &row.common;
        Span {
            id: row.id,
            workspace,
            project_id,
            project_name,
            trace_id: row.own.trace_id.unwrap_or_default(),
            parent_span_id: row.own.parent_span_id,
            name: common.name.clone(),
            span_type: row.own.span_type.map(str::to_owned),
            start_time: common.start_time.unwrap_or_default(),
            end_time: common.end_time,
            input: value(common.input.as_deref()),
            output: value(common.output.as_deref()),
            metadata: value(common.metadata.as_deref()),
            model: row.own.model.clone(),
            provider: row.own.provider.clone(),
            tags: common.tags.clone().unwrap_or_default(),
            usage: row.own.usage.clone().unwrap_or_default(),
            error_info: common.error_info.clone(),
            ttft: common.ttft,
            total_estimated_cost: row.cost(),
            source: common.source.map(str::to_owned),
            environment: common.environment.clone(),
            created_at: row.created_at,
            last_updated_at: row.updated_at,
            duration: common.duration(),
            feedback_scores: self.scores_of::<SpanOwn>(row.project, row.id),
        }
    }
}

/// What a trace gets from its spans.
#[derive(Debug, Default)]
struct Totals {
    usage: BTreeMap<String, i64>,
    cost: f64,
    llm_spans: usize,
    providers: BTreeSet<String>,
}

impl Totals {
    fn of<'a>(spans: impl Iterator<Item = &'a Row<SpanOwn>>) -> Self {
        let mut totals = Self::default();
        for span in spans {
            for (key, count) in span.own.usage.iter().flatten() {
                *totals.usage.entry(key.clone()).or_default() += i64::from(*count);
            }
            totals.cost += span.cost().unwrap_or_default();
            totals.llm_spans += usize::from(span.own.span_type == Some("llm"));
            totals.providers.extend(
                span.own
                    .provider
                    .clone()
                    .filter(|provider| !provider.is_empty()),
            );
        }
        totals
    }
}

/// Those of the cost column.
pub(crate) const COST_DECIMALS: usize = 12;

/// To the decimals of a column; this also takes away the noise of adding floats.
pub(crate) fn rounded(value: f64, decimals: usize) -> f64 {
    // By way of text: dividing by 1e12 would give some costs back one bit off.
    format!("{value:.decimals$}").parse().unwrap_or(value)
}

fn value(raw: Option<&RawValue>) -> Option<Value> {
    raw.map(|raw| to_value(raw.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_trace_is_remembered_for_spans_that_are_forgotten() {
        let mut store = Store::default();
        for _ in 0..100 {
            let span = json!({
                "start_time": "2026-11-22T21:52:14Z", "trace_id": Uuid::now_v7(), "type": "llm", "source": "sdk",
            });
            let body = json!({"spans": [span, span]}).to_string();
            let writes = Write::<SpanOwn>::batch(body.as_bytes()).unwrap();
            store.batch("default", writes, Utc::now());
            store.forget_beyond(5);
        }
        assert_eq!((store.counts(), store.spans_of.len()), ((0, 5), 3));
        store.forget_beyond(0);
        assert_eq!((store.counts(), store.spans_of.len()), ((0, 0), 0));
    }
}
