//! Reading back: lists, streams and the few filters that tests need.

use hyper::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::constraints::{Broken, Errors, Refused};
use crate::opik::json::{Object, Read, parse_uuid};
use crate::opik::record::{PublicView, Span, Trace};
use crate::opik::row::ProjectIndex;
use crate::opik::store::Store;
use crate::text::query_value;

/// Records that a stream gives unless it is asked for fewer or more, and at most (Opik: `TraceSearchStreamRequest`).
pub(crate) const DEFAULT_LIMIT: i32 = 500;
const MAX_LIMIT: i32 = 2000;

/// What to look for.
#[derive(Debug, Default)]
pub(crate) struct Query {
    project_name: Option<String>,
    project_id: Option<Uuid>,
    trace_id: Option<Uuid>,
    last_retrieved_id: Option<Uuid>,
    limit: Limit,
    filters: Vec<Filter>,
}

/// How many records a stream gives.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limit(i32);

impl Limit {
    pub(crate) fn read(object: &Object<'_>, name: &str, default: i32) -> Read<Self> {
        let limit = object.integer(name)?;
        Ok(Self(limit.unwrap_or(default)))
    }

    pub(crate) fn check(self, broken: &mut Broken<'_>, field: &str) {
        broken.if_true(self.0 < 1, field, "must be greater than or equal to 1");
        let complaint = format!("must be less than or equal to {MAX_LIMIT}");
        broken.if_true(self.0 > MAX_LIMIT, field, &complaint);
    }

    pub(crate) fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or_default()
    }
}

/// One condition on a field of the public view.
#[derive(Debug)]
struct Filter {
    field: String,
    operator: String,
    value: String,
}

impl Query {
    /// The body of `POST .../search`.
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, Refused> {
        let object = Object::from_body(body, "com.comet.opik.api.SearchStreamRequest")?;
        let query = Self::read(&object)?;
        let mut errors = Errors::default();
        query.limit.check(&mut errors.top(), "limit");
        errors.refuse()?;
        Ok(query)
    }

    fn read(object: &Object<'_>) -> Read<Self> {
        let filters = object
            .objects("filters", "com.comet.opik.api.filter.Filter")?
            .unwrap_or_default();
        Ok(Self {
            project_name: object.string("project_name")?,
            project_id: object.uuid("project_id")?,
            trace_id: object.uuid("trace_id")?,
            last_retrieved_id: object.uuid("last_retrieved_id")?,
            limit: Limit::read(object, "limit", DEFAULT_LIMIT)?,
            filters: filters.iter().map(Filter::read).collect::<Read<Vec<_>>>()?,
        })
    }

    /// The query string of `GET /v1/private/traces`.
    pub(crate) fn from_query(query: &str) -> Self {
        let id = |name| query_value(query, name).as_deref().and_then(parse_uuid);
        Self {
            project_name: query_value(query, "project_name"),
            project_id: id("project_id"),
            trace_id: id("trace_id"),
            ..Self::default()
        }
    }

    /// The project that is asked for.
    fn project(&self, store: &Store, workspace: &str) -> Result<ProjectIndex, Answer> {
        let by_name = self
            .project_name
            .as_deref()
            .filter(|name| !name.trim().is_empty());
        let (found, complaint) = match (self.project_id, by_name) {
            (Some(id), _) => (
                store.project_with_id(workspace, id),
                format!("Project id: {id} not found"),
            ),
            (None, Some(name)) => (
                store.project_named(workspace, name),
                format!("Project name: {name} not found"),
            ),
            (None, None) => {
                let complaint =
                    "Either 'project_name' or 'project_id' query params must be provided";
                return Err(Answer::message(StatusCode::BAD_REQUEST, complaint));
            }
        };
        found.ok_or_else(|| Answer::message(StatusCode::NOT_FOUND, &complaint))
    }

    /// Public views of the records that match, newest id first.
    fn views<T: Searched>(&self, store: &Store, workspace: &str) -> Result<Vec<Value>, Answer> {
        if let Some(filter) = self.filters.iter().find(|filter| !filter.is_known()) {
            let text = format!(
                "The sandbox has no filter '{} {}'",
                filter.field, filter.operator
            );
            return Err(Answer::message(StatusCode::BAD_REQUEST, &text));
        }
        let project = self.project(store, workspace)?;
        let records = T::of_project(store, project)
            .filter(|record| self.trace_id.is_none_or(|trace| record.trace_id() == trace))
            .filter(|record| self.last_retrieved_id.is_none_or(|last| record.id() < last));
        let views = records.map(|record| record.public_view());
        Ok(views
            .filter(|view| self.filters.iter().all(|filter| filter.matches(view)))
            .collect())
    }
}

impl Filter {
    fn read(object: &Object<'_>) -> Read<Self> {
        Ok(Self {
            field: object.string("field")?.unwrap_or_default(),
            operator: object.string("operator")?.unwrap_or_default(),
            value: object.string("value")?.unwrap_or_default(),
        })
    }

    fn is_known(&self) -> bool {
        const FIELDS: &[&str] = &[
            "id",
            "name",
            "thread_id",
            "trace_id",
            "type",
            "model",
            "provider",
            "environment",
            "tags",
        ];
        FIELDS.contains(&self.field.as_str()) && ["=", "contains"].contains(&self.operator.as_str())
    }

    fn matches(&self, view: &Value) -> bool {
        let holds = |text: &Value| {
            let text = text.as_str().unwrap_or_default();
            if self.operator == "=" {
                text == self.value
            } else {
                text.contains(&self.value)
            }
        };
        match view.get(&self.field) {
            Some(Value::Array(elements)) => elements.iter().any(holds),
            Some(value) => holds(value),
            None => false,
        }
    }
}

/// Records that can be searched for.
pub(crate) trait Searched: PublicView + Sized {
    fn id(&self) -> Uuid;
    fn trace_id(&self) -> Uuid;
    fn of_project(store: &Store, project: ProjectIndex) -> impl Iterator<Item = Self>;
}

impl Searched for Trace {
    fn id(&self) -> Uuid {
        self.id
    }

    fn trace_id(&self) -> Uuid {
        self.id
    }

    fn of_project(store: &Store, project: ProjectIndex) -> impl Iterator<Item = Self> {
        store.of_project::<crate::opik::wire::TraceOwn>(project)
    }
}

impl Searched for Span {
    fn id(&self) -> Uuid {
        self.id
    }

    fn trace_id(&self) -> Uuid {
        self.trace_id
    }

    fn of_project(store: &Store, project: ProjectIndex) -> impl Iterator<Item = Self> {
        store.of_project::<crate::opik::wire::SpanOwn>(project)
    }
}

/// `POST .../search`: one JSON object a line (Opik: `Streamer`).
pub(crate) fn stream<T: Searched>(
    store: &Store,
    workspace: &str,
    query: &Query,
) -> Result<Answer, Answer> {
    let views = query.views::<T>(store, workspace)?;
    Ok(lines(views.into_iter().take(query.limit.get())))
}

/// One JSON object a line.
pub(crate) fn lines(views: impl IntoIterator<Item = Value>) -> Answer {
    let views = views.into_iter();
    let lines: String = views.map(|view| format!("{view}\r\n")).collect();
    Answer::empty(StatusCode::OK)
        .with_body(bytes::Bytes::from(lines).into())
        .with_header("content-type", "application/octet-stream")
}

/// Refuses the filters of a query string: those of datasets and experiments are not known here.
pub(crate) fn no_filters(query: &str) -> Result<(), Answer> {
    no_filter_text(query_value(query, "filters").as_deref())
}

/// The same for filters that are JSON text in a body.
pub(crate) fn no_filter_text(filters: Option<&str>) -> Result<(), Answer> {
    let text = filters.unwrap_or_default().trim();
    if text.is_empty() || text == "[]" {
        return Ok(());
    }
    let message = format!("The sandbox has no filter '{text}'");
    Err(Answer::message(StatusCode::BAD_REQUEST, &message))
}

/// `GET /v1/private/traces` and `/spans`: one page.
pub(crate) fn page<T: Searched>(
    store: &Store,
    workspace: &str,
    query: &str,
) -> Result<Answer, Answer> {
    let views = Query::from_query(query).views::<T>(store, workspace)?;
    Ok(Answer::json(StatusCode::OK, &paged(views, query)))
}

/// The page of a list that a query string asks for: 10 elements unless it says otherwise.
pub(crate) fn paged(all: Vec<Value>, query: &str) -> Value {
    paged_as(all, query, |view| view)
}

/// As [`paged`], of what is shown only when it is on the page.
pub(crate) fn paged_as<T>(all: Vec<T>, query: &str, view: impl FnMut(T) -> Value) -> Value {
    let number = |name, default| {
        query_value(query, name)
            .and_then(|text| text.parse::<usize>().ok())
            .filter(|n| *n > 0)
            .unwrap_or(default)
    };
    let (page, size, total) = (number("page", 1), number("size", 10), all.len());
    let content: Vec<Value> = all
        .into_iter()
        .skip((page - 1).saturating_mul(size))
        .take(size)
        .map(view)
        .collect();
    json!({"page": page, "size": content.len(), "total": total, "content": content, "sortableBy": []})
}

/// `POST /v1/private/projects/retrieve`.
pub(crate) fn project_by_name(
    store: &Store,
    workspace: &str,
    body: &[u8],
) -> Result<Answer, Refused> {
    let object = Object::from_body(body, "com.comet.opik.api.ProjectRetrieve")?;
    let name = object.string("name")?.unwrap_or_default();
    if name.trim().is_empty() {
        return Err(Refused::Broken(vec!["name must not be blank".to_owned()]));
    }
    let found = store
        .project_named(workspace, &name)
        .and_then(|index| store.project_at(index));
    Ok(found.map_or_else(
        || Answer::errors(StatusCode::NOT_FOUND, &["Project not found"]),
        |project| Answer::json(StatusCode::OK, &project.public_view()),
    ))
}
