//! What was accepted: projects, traces and spans, with the row keys and versions of the backend.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::opik::record::{Span, Trace};
use crate::opik::row::{ProjectIndex, Row, Table, keep, newest_of_each, replace};
use crate::opik::wire::{Common, Kind, SpanOwn, TraceOwn, Update, Write};
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
    spans_of: HashMap<(ProjectIndex, Uuid), Vec<usize>>,
}

/// The rows of traces or of spans.
pub(crate) trait Stored: Kind {
    type Record;
    const EXISTS_ELSEWHERE: &'static str;

    fn table(store: &Store) -> &Table<Self>;
    fn table_mut(store: &mut Store) -> &mut Table<Self>;
    fn record(store: &Store, row: &Row<Self>) -> Self::Record;
    /// Called for every row that is new.
    fn index(_store: &mut Store, _place: usize) {}
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

    fn table(store: &Store) -> &Table<Self> {
        &store.spans
    }

    fn table_mut(store: &mut Store) -> &mut Table<Self> {
        &mut store.spans
    }

    fn record(store: &Store, row: &Row<Self>) -> Span {
        store.span_record(row)
    }

    fn index(store: &mut Store, place: usize) {
        if let Some((project, Some(trace))) = store
            .spans
            .rows
            .get(place)
            .map(|row| (row.project, row.own.trace_id))
        {
            store
                .spans_of
                .entry((project, trace))
                .or_default()
                .push(place);
        }
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

    /// Stores a batch: the newest version of each row stays.
    pub(crate) fn batch<T: Stored>(
        &mut self,
        workspace: &str,
        writes: Vec<Write<T>>,
        now: DateTime<Utc>,
    ) {
        for write in newest_of_each(writes) {
            let project = self.project(workspace, write.common.project_name.as_deref(), now);
            self.upsert(Row::new(write, project, now));
        }
    }

    /// Stores one, unless it is there already.
    pub(crate) fn create<T: Stored>(
        &mut self,
        workspace: &str,
        write: Write<T>,
        now: DateTime<Utc>,
    ) -> Result<Uuid, Conflict> {
        let project = self.project(workspace, write.common.project_name.as_deref(), now);
        let mut row = Row::new(write, project, now);
        let id = row.id;
        let Some(place) = self.find::<T>(workspace, id, None) else {
            self.upsert(row);
            return Ok(id);
        };
        let Some(old) = T::table_mut(self).rows.get_mut(place) else {
            return Ok(id);
        };
        if old.project != project && !T::same_project_only() {
            return Err(Conflict(T::EXISTS_ELSEWHERE));
        }
        if !old.partial || old.project != project {
            return T::duplicate().map(|()| id);
        }
        // The create that an early update was waiting for: what the update said stays.
        row.common.complete(std::mem::take(&mut old.common));
        row.own.complete(std::mem::take(&mut old.own));
        row.created_at = old.created_at;
        *old = row;
        Ok(id)
    }

    /// Changes what is there, or notes what is not there yet.
    pub(crate) fn update<T: Stored>(
        &mut self,
        workspace: &str,
        id: Uuid,
        project: ProjectIndex,
        update: Update<T>,
        now: DateTime<Utc>,
    ) -> Result<(), Conflict> {
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
            self.upsert(row);
            return Ok(());
        };
        let Some(row) = T::table_mut(self).rows.get_mut(place) else {
            return Ok(());
        };
        if row.project != project {
            return Err(Conflict(T::EXISTS_ELSEWHERE));
        }
        row.own.merge(update.own)?;
        row.common
            .merge(update.common, &update.tags_to_add, &update.tags_to_remove);
        row.updated_at = now;
        Ok(())
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

    fn upsert<T: Stored>(&mut self, row: Row<T>) {
        if let Some(place) = T::table_mut(self).upsert(row) {
            T::index(self, place);
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
        let spans = self
            .spans_of
            .get(&(row.project, row.id))
            .map(Vec::as_slice)
            .unwrap_or_default();
        let totals = Totals::of(spans.iter().filter_map(|place| self.spans.rows.get(*place)));
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
            total_estimated_cost: (totals.cost > 0.0).then(|| rounded(totals.cost)),
            span_count: spans.len(),
            llm_span_count: totals.llm_spans,
            providers: totals.providers.into_iter().collect(),
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

/// The cost column has 12 decimals; this also takes away the noise of adding floats.
fn rounded(cost: f64) -> f64 {
    // By way of text: dividing by 1e12 would give some costs back one bit off.
    format!("{cost:.12}").parse().unwrap_or(cost)
}

fn value(raw: Option<&RawValue>) -> Option<Value> {
    raw.map(|raw| to_value(raw.get()))
}
