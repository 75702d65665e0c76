//! Langfuse, as a self-hosted 4.16 with its defaults: OTLP in, observations out; the legacy ingestion refuses.

mod answers;
mod export;
mod ingestion;
mod metadata;
mod observation;
mod project;
mod usage;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use chrono::{DateTime, Utc};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use self::observation::Observation;
pub use self::project::LangfuseProject;
use self::project::Projects;
pub(crate) use self::project::Settings;
use crate::answer::Answer;
use crate::arrival::News;
use crate::body::{Coding, Problem};
use crate::role::{Arrived, Role};
use crate::rows::{Rows, Touched};
use crate::shared::lock;
use crate::spans::OtlpSpan;
use crate::stored::{Backend, StoredCall};
use crate::text::query_value;

/// The version that it says it has.
const VERSION: &str = "4.16.0";

/// What Langfuse accepted, in order of first arrival.
#[derive(Debug, Default)]
struct Store {
    rows: Rows<Row>,
    places: HashMap<Key, usize>,
}

/// Project, trace id, span id, start to the millisecond.
type Key = (usize, String, String, DateTime<Utc>);

/// An observation. Its key is project, trace id, span id and start to the millisecond; the newest content stays
/// (Langfuse: `events_full`, once ClickHouse has merged).
#[derive(Debug)]
struct Row {
    project: usize,
    observation: Observation,
    span: OtlpSpan,
}

impl Row {
    fn key(&self) -> Key {
        (
            self.project,
            self.span.trace_id.clone(),
            self.span.span_id.clone(),
            self.observation.start_time,
        )
    }
}

#[derive(Debug)]
pub(crate) struct Langfuse {
    projects: Projects,
    max_rows: usize,
    store: Mutex<Store>,
}

impl Langfuse {
    pub(crate) fn new(settings: Settings, max_rows: usize) -> Self {
        Self {
            projects: settings.projects(),
            max_rows,
            store: Mutex::default(),
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// The variables that point a client at it, which is at this URL: the newer name of the URL and the older one.
    pub(crate) fn environment(&self, url: String) -> Vec<(&'static str, String)> {
        let mut all = vec![("LANGFUSE_BASE_URL", url.clone()), ("LANGFUSE_HOST", url)];
        all.extend(self.projects.environment());
        all
    }

    fn try_answer(&self, request: &Arrived<'_>, news: &mut News) -> Result<Answer, Answer> {
        if let Some(Problem::TooLarge(_)) = request.body.problem {
            return Err(answers::too_large());
        }
        let path = request.path.strip_prefix("/api/public/");
        match (path.unwrap_or_default(), &request.head.method) {
            ("otel/v1/traces", &Method::POST) => self.traces(request, news),
            ("otel/v1/metrics", &Method::POST) => {
                self.projects.authenticate(request)?;
                Ok(Answer::json(StatusCode::OK, &json!({})))
            }
            ("health" | "ready", &Method::GET) => {
                let healthy = json!({"status": "OK", "version": VERSION});
                Ok(Answer::json(StatusCode::OK, &healthy))
            }
            ("projects", &Method::GET) => {
                let (project, _) = self.projects.authenticate(request)?;
                Ok(Answer::json(
                    StatusCode::OK,
                    &json!({"data": [self.projects.view(project)]}),
                ))
            }
            ("v2/observations", &Method::GET) => self.observations(request),
            ("ingestion", &Method::POST) => {
                // Its answers to a lack of credentials are of another shape.
                self.projects
                    .authenticate(request)
                    .map_err(|_| answers::legacy_unauthorized())?;
                ingestion::answer(request)
            }
            (
                "otel/v1/traces" | "otel/v1/metrics" | "health" | "ready" | "projects"
                | "v2/observations" | "ingestion",
                _,
            ) => Err(answers::method_not_allowed()),
            _ => Err(answers::not_found()),
        }
    }

    /// `POST /api/public/otel/v1/traces`.
    fn traces(&self, request: &Arrived<'_>, news: &mut News) -> Result<Answer, Answer> {
        let (project, public_key) = self.projects.authenticate(request)?;
        let spans = export::spans_of(request)?;
        if spans.is_empty() {
            return Ok(Answer::json(StatusCode::OK, &json!({})));
        }
        let mut store = self.store();
        let mut touched = Touched::default();
        for span in spans {
            store.put(project, span, &mut touched);
        }
        for (place, again) in touched.iter() {
            news.note(again, || self.call(store.rows.get(place)?));
        }
        store.forget_beyond(self.max_rows);
        Ok(queued(project, &public_key))
    }

    /// `GET /api/public/v2/observations`: those of the project, of one trace and from one time to another if they are
    /// named, with the groups of fields that are asked for, as far as they are large.
    fn observations(&self, request: &Arrived<'_>) -> Result<Answer, Answer> {
        let (project, _) = self.projects.authenticate(request)?;
        let trace = query_value(request.query(), "traceId");
        let (from, to) = (
            time(request, "fromStartTime")?,
            time(request, "toStartTime")?,
        );
        let fields = query_value(request.query(), "fields");
        let store = self.store();
        let rows = store.rows.iter().filter(|row| {
            let start = row.observation.start_time;
            row.project == project
                && trace.as_ref().is_none_or(|id| *id == row.span.trace_id)
                && from.is_none_or(|from| start >= from)
                && to.is_none_or(|to| start < to)
        });
        let data: Vec<Value> = rows
            .map(|row| {
                let view = row.observation.view(&project::id(project));
                asked_for(view, fields.as_deref())
            })
            .collect();
        Ok(Answer::json(
            StatusCode::OK,
            &json!({"data": data, "meta": {}}),
        ))
    }

    /// The LLM call that a row is, if it is one.
    fn call(&self, row: &Row) -> Option<StoredCall> {
        row.observation
            .call(&row.span, self.projects.name(row.project))
    }

    pub(crate) fn spans(&self) -> Vec<OtlpSpan> {
        let rows = &self.store().rows;
        rows.iter().map(|row| row.span.clone()).collect()
    }
}

/// A time in the query.
fn time(request: &Arrived<'_>, name: &str) -> Result<Option<DateTime<Utc>>, Answer> {
    let time = query_value(request.query(), name).map(|text| text.parse());
    time.transpose()
        .map_err(|_| answers::bad("Invalid request data"))
}

/// Without `fields` there are all.
fn asked_for(mut view: Value, fields: Option<&str>) -> Value {
    let Some((fields, view_fields)) = fields.zip(view.as_object_mut()) else {
        return view;
    };
    let large: [(&str, &[&str]); 2] = [("io", &["input", "output"]), ("metadata", &["metadata"])];
    for (group, names) in large {
        if !fields.split(',').any(|asked| asked == group) {
            view_fields.retain(|name, _| !names.contains(&name.as_str()));
        }
    }
    view
}

/// A job of the queue, as JSON whatever the request was. No client should look at it.
fn queued(project: usize, public_key: &str) -> Answer {
    let id = Uuid::new_v4();
    let job = json!({
        "id": id, "name": "otel-ingestion-job",
        "data": {
            "id": id, "timestamp": Utc::now(), "name": "otel-ingestion-job",
            "payload": {
                "data": {"fileKey": format!("otel/{}/{id}.json", project::id(project)), "publicKey": public_key},
                "authCheck": {"validKey": true, "scope": {"projectId": project::id(project), "accessLevel": "project"}},
            },
        },
    });
    Answer::json(StatusCode::OK, &job)
}

impl Store {
    fn put(&mut self, project: usize, span: OtlpSpan, touched: &mut Touched) {
        let row = Row {
            project,
            observation: Observation::of(&span),
            span,
        };
        let new = self.rows.next_place();
        let place = *self.places.entry(row.key()).or_insert(new);
        match self.rows.get_mut(place) {
            Some(old) => *old = row,
            None => drop(self.rows.push(row)),
        }
        touched.note(place, place != new);
    }

    fn forget_beyond(&mut self, max: usize) {
        while let Some((_, row)) = self.rows.pop_beyond(max) {
            self.places.remove(&row.key());
        }
    }
}

impl Role for Langfuse {
    fn backend(&self) -> Backend {
        Backend::Langfuse
    }

    fn prefix(&self) -> &'static str {
        "/langfuse"
    }

    fn coding(&self, content_encoding: &str) -> Option<Coding> {
        content_encoding.contains("gzip").then_some(Coding::Gzip)
    }

    fn answer(&self, request: &Arrived<'_>, news: &mut News) -> Answer {
        self.try_answer(request, news)
            .unwrap_or_else(|refusal| refusal)
    }

    fn refusal(&self, status: StatusCode) -> Answer {
        answers::default_for(status)
    }

    fn calls(&self) -> Vec<StoredCall> {
        let store = self.store();
        let rows = store.rows.iter();
        rows.filter_map(|row| self.call(row)).collect()
    }

    fn stored(&self) -> usize {
        self.store().rows.len()
    }

    fn clear(&self) {
        *self.store() = Store::default();
    }
}
