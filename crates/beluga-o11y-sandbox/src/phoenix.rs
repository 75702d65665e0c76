//! Arize Phoenix, as 20.26: OTLP in protobuf, one row a span for ever, prices of its own.

mod answers;
mod gen_ai;
mod shown;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use self::shown::Shown;
use crate::answer::Answer;
use crate::arrival::News;
use crate::body::{Coding, Problem};
use crate::role::{Arrived, Role};
use crate::rows::Rows;
use crate::sandbox::SandboxBuilder;
use crate::shared::lock;
use crate::spans::{self, OtlpSpan};
use crate::stored::{Backend, StoredCall};
use crate::text::{percent_decoded, query_values};

/// The version that it says it has.
const VERSION: &str = "20.26.1";
const DEFAULT_PROJECT: &str = "default";
const PROTOBUF: &str = "application/x-protobuf";
/// What to send as a key where none is looked at.
const DUMMY_KEY: &str = "sandbox";
/// Rows of a page, unless it is asked for others.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

impl SandboxBuilder {
    /// Turns Phoenix's authentication on, and lets this key in: `Authorization: Bearer <key>`. Called again, it adds a
    /// key. Default: off, whatever is sent as a key is let through.
    #[must_use]
    pub fn with_phoenix_key(mut self, key: impl Into<String>) -> Self {
        self.phoenix.keys.push(key.into());
        self
    }
}

/// What the builder was told about Phoenix. `Debug` does not show the keys.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    /// Empty: authentication is off.
    keys: Vec<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("keys", &self.keys.len())
            .finish()
    }
}

/// What Phoenix accepted, in order of arrival.
#[derive(Debug)]
struct Store {
    projects: Vec<String>,
    rows: Rows<Row>,
    /// Of all rows that are kept, whatever their traces and projects: a span id is taken once.
    span_ids: HashSet<String>,
}

#[derive(Debug)]
struct Row {
    project: usize,
    shown: Shown,
    span: OtlpSpan,
}

/// There is always one project.
impl Default for Store {
    fn default() -> Self {
        Self {
            projects: vec![DEFAULT_PROJECT.to_owned()],
            rows: Rows::default(),
            span_ids: HashSet::new(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Phoenix {
    settings: Settings,
    max_rows: usize,
    store: Mutex<Store>,
}

impl Phoenix {
    pub(crate) fn new(settings: Settings, max_rows: usize) -> Self {
        Self {
            settings,
            max_rows,
            store: Mutex::default(),
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// The variables that point a client at it, which is at this URL. Without authentication any key will do.
    pub(crate) fn environment(&self, url: String) -> Vec<(&'static str, String)> {
        let key = self.settings.keys.first();
        let key = key.map_or(DUMMY_KEY, String::as_str);
        vec![
            ("PHOENIX_COLLECTOR_ENDPOINT", url),
            ("PHOENIX_API_KEY", key.to_owned()),
        ]
    }

    fn try_answer(&self, request: &Arrived<'_>, news: &mut News) -> Result<Answer, Answer> {
        if let Some(Problem::TooLarge(_)) = request.body.problem {
            // It has no limit of its own; this is a proxy's.
            return Err(answers::text(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let method = &request.head.method;
        match (method, request.path) {
            (&Method::GET, "/healthz") => Ok(Answer::text(StatusCode::OK, "OK")),
            (&Method::GET, "/readyz") => Ok(Answer::json(StatusCode::OK, &json!({}))),
            (&Method::GET, "/arize_phoenix_version") => Ok(Answer::text(StatusCode::OK, VERSION)),
            (&Method::POST, "/v1/traces") => self.traces(request, news),
            (&Method::GET, path) if path == "/v1/projects" || path.starts_with("/v1/projects/") => {
                self.authenticate(request)?;
                self.projects(request)
            }
            // What is no endpoint is the page, which knows no other method.
            (&Method::GET | &Method::HEAD, _) => Ok(answers::page()),
            _ => Err(answers::method_not_allowed()),
        }
    }

    fn authenticate(&self, request: &Arrived<'_>) -> Result<(), Answer> {
        let keys = &self.settings.keys;
        let header = request.header("authorization").unwrap_or_default();
        let key = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key);
        if keys.is_empty() || keys.iter().any(|known| Some(known.as_str()) == key) {
            Ok(())
        } else {
            Err(answers::invalid_token())
        }
    }

    /// `POST /v1/traces`. What is answered is not what is stored: a span without ids is lost in silence.
    fn traces(&self, request: &Arrived<'_>, news: &mut News) -> Result<Answer, Answer> {
        self.authenticate(request)?;
        let content_type = request.header("content-type");
        if content_type != Some(PROTOBUF) {
            return Err(answers::unsupported("type", content_type.unwrap_or("None")));
        }
        let encoding = request.header("content-encoding").unwrap_or_default();
        if !encoding.is_empty() && self.coding(encoding).is_none() {
            return Err(answers::unsupported("encoding", encoding));
        }
        if request.body.problem.is_some() {
            return Err(answers::internal_error());
        }
        let spans = spans::decode(&request.body.bytes).map_err(|_| answers::unprocessable())?;
        let header = request.header("x-project-name");
        let mut store = self.store();
        for span in spans {
            if let Some(place) = store.put(header, span) {
                // What comes again is dropped, so a call is new or none.
                news.note(false, || store.call(store.rows.get(place)?));
            }
        }
        store.forget_beyond(self.max_rows);
        Ok(Answer::empty(StatusCode::OK).with_header("content-type", PROTOBUF))
    }

    /// `GET /v1/projects`, `/v1/projects/{id or name}`, `/v1/projects/{id or name}/spans`.
    fn projects(&self, request: &Arrived<'_>) -> Result<Answer, Answer> {
        let store = self.store();
        let path = request
            .path
            .strip_prefix("/v1/projects")
            .unwrap_or_default();
        let mut parts = path.split('/').skip(1);
        match (parts.next().filter(|name| !name.is_empty()), parts.next()) {
            (None, _) => {
                if store.projects.iter().any(String::is_empty) {
                    return Err(answers::internal_error());
                }
                let views = store.projects.iter().enumerate();
                let views: Vec<Value> = views.map(|(place, name)| project(place, name)).collect();
                Ok(answers::list(&views))
            }
            (Some(wanted), None) => {
                let (place, name) = store.project(wanted)?;
                Ok(Answer::json(
                    StatusCode::OK,
                    &json!({"data": project(place, name)}),
                ))
            }
            (Some(wanted), Some("spans")) => {
                let (place, _) = store.project(wanted)?;
                Ok(store.spans(place, request.query()))
            }
            _ => Ok(answers::page()),
        }
    }

    pub(crate) fn spans(&self) -> Vec<OtlpSpan> {
        let rows = &self.store().rows;
        rows.iter().map(|row| row.span.clone()).collect()
    }
}

impl Store {
    /// The place of the row, unless the span is dropped.
    fn put(&mut self, header: Option<&str>, span: OtlpSpan) -> Option<usize> {
        if span.trace_id.is_empty() || span.span_id.is_empty() {
            return None;
        }
        let of_resource = span
            .resource
            .get("openinference.project.name")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty());
        // An empty header is a name all the same.
        let name = header.or(of_resource).unwrap_or(DEFAULT_PROJECT);
        let known = self.projects.iter().position(|known| known == name);
        let project = known.unwrap_or_else(|| {
            self.projects.push(name.to_owned());
            self.projects.len() - 1
        });
        let is_new = self.span_ids.insert(span.span_id.clone());
        is_new.then(|| {
            self.rows.push(Row {
                project,
                shown: Shown::of(&span),
                span,
            })
        })
    }

    fn forget_beyond(&mut self, max: usize) {
        while let Some((_, row)) = self.rows.pop_beyond(max) {
            self.span_ids.remove(&row.span.span_id);
        }
    }

    /// The LLM call that a row is, if it is one.
    fn call(&self, row: &Row) -> Option<StoredCall> {
        let project = self.projects.get(row.project)?;
        row.shown.call(&row.span, project)
    }

    fn project(&self, wanted: &str) -> Result<(usize, &str), Answer> {
        // In a path a plus is a plus.
        let wanted = percent_decoded(&wanted.replace('+', "%2B")).unwrap_or_default();
        let projects = self.projects.iter().map(String::as_str).enumerate();
        let mut found = projects
            .filter(|(place, name)| *name == wanted || global_id("Project", place + 1) == wanted);
        found.next().ok_or_else(|| answers::no_project(&wanted))
    }

    fn spans(&self, project: usize, query: &str) -> Answer {
        let wanted = |name: &str| query_values(query, name);
        let (traces, ids) = (wanted("trace_id"), wanted("span_id"));
        let limit = wanted("limit").first().and_then(|limit| limit.parse().ok());
        let limit = limit.unwrap_or(PAGE).min(MAX_PAGE);
        let is_one = |wanted: &[String], id: &String| wanted.is_empty() || wanted.contains(id);
        let rows = self.rows.iter_with_places();
        let views = rows
            .filter(|(_, row)| {
                row.project == project
                    && is_one(&traces, &row.span.trace_id)
                    && is_one(&ids, &row.span.span_id)
            })
            .take(limit)
            .map(|(place, row)| row.shown.view(&row.span, &global_id("Span", place + 1)));
        answers::list(&views.collect::<Vec<_>>())
    }
}

fn project(place: usize, name: &str) -> Value {
    json!({"id": global_id("Project", place + 1), "name": name, "description": null})
}

/// As GraphQL's relay has them.
fn global_id(kind: &str, number: usize) -> String {
    STANDARD.encode(format!("{kind}:{number}"))
}

impl Role for Phoenix {
    fn backend(&self) -> Backend {
        Backend::Phoenix
    }

    fn prefix(&self) -> &'static str {
        "/phoenix"
    }

    fn coding(&self, content_encoding: &str) -> Option<Coding> {
        match content_encoding {
            "gzip" => Some(Coding::Gzip),
            "deflate" => Some(Coding::Deflate),
            _ => None,
        }
    }

    fn answer(&self, request: &Arrived<'_>, news: &mut News) -> Answer {
        let answer = self.try_answer(request, news);
        answers::signed(answer.unwrap_or_else(|refusal| refusal))
    }

    fn refusal(&self, status: StatusCode) -> Answer {
        answers::signed(answers::default_for(status))
    }

    fn calls(&self) -> Vec<StoredCall> {
        let store = self.store();
        let rows = store.rows.iter();
        rows.filter_map(|row| store.call(row)).collect()
    }

    fn stored(&self) -> usize {
        self.store().rows.len()
    }

    fn clear(&self) {
        *self.store() = Store::default();
    }
}
