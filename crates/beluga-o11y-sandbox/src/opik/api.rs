//! The backend's endpoints, and the order in which it checks things.

use std::sync::MutexGuard;

use chrono::Utc;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::arrival::News;
use crate::body::{Body, MAX_DECODED, Problem};
use crate::opik::Opik;
use crate::opik::constraints::Refused;
use crate::opik::json::parse_uuid;
use crate::opik::record::{PublicView, Span, Trace};
use crate::opik::search::{self, Query, Searched};
use crate::opik::store::{Conflict, Store, Stored};
use crate::opik::wire::{Kind, SpanOwn, TraceOwn, Update, Write};
use crate::opik::{auth, evaluation};
use crate::text::query_value;

/// The version that `/is-alive/ver` tells: one that has every rule the sandbox keeps.
const VERSION: &str = "2.2.48";
/// The API's prefixes: of the cloud and of Comet on-prem, of the self-hosted front end, of the bare backend.
const PREFIXES: &[&str] = &["/opik/api", "/api", ""];

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Ping,
    Version,
    CheckAuth,
    WorkspaceName,
    Projects,
    Project(Uuid),
    RetrieveProject,
    List(Entity),
    Create(Entity),
    Batch(Entity),
    Search(Entity),
    Get(Entity, Uuid),
    Update(Entity, Uuid),
    PutScores(Entity),
    PutScore(Entity, Uuid),
    DeleteScore(Entity, Uuid),
    Evaluation(evaluation::api::Route),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entity {
    Traces,
    Spans,
}

/// Handles a request that met no fault.
pub(crate) fn answer(opik: &Opik, head: &Parts, body: &Body, news: &mut News) -> Answer {
    try_answer(opik, head, body, news).unwrap_or_else(|refusal| refusal)
}

/// Whether a path is below one that the API has.
pub(crate) fn owns(path: &str) -> bool {
    let below = |prefix: &&str| path.strip_prefix(prefix).is_some_and(is_known);
    PREFIXES.iter().any(below)
}

/// With the prefix cut off.
fn is_known(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/is-alive/")
}

/// The order is the backend's: size on the wire, path and method, media type, workspace and key, then the body.
fn try_answer(opik: &Opik, head: &Parts, body: &Body, news: &mut News) -> Result<Answer, Answer> {
    if let Some(Problem::TooLarge(limit)) = body.problem {
        return Err(Answer::too_large(limit));
    }
    let route = route(&head.method, head.uri.path())?;
    match route {
        Route::Ping => {
            let healthy = json!({"message": "Healthy Server", "healthy": true});
            return Ok(Answer::json(StatusCode::OK, &healthy));
        }
        Route::Version => return Ok(Answer::json(StatusCode::OK, &json!({"version": VERSION}))),
        _ => {}
    }
    let reads_json = head.method != Method::GET && route != Route::CheckAuth;
    if reads_json && !is_json(head) {
        return Err(Answer::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let query = head.uri.query().unwrap_or_default();
    let workspace = auth::workspace(&opik.accounts, &head.headers, query)?;
    match body.problem {
        Some(Problem::TooLargeUnpacked | Problem::TooLarge(_)) => {
            return Err(Answer::too_large(MAX_DECODED));
        }
        Some(Problem::Corrupt) => return Err(Answer::unreadable("Not in GZIP format")),
        None => {}
    }
    let call = Call {
        opik,
        head,
        workspace,
        body: &body.bytes,
    };
    call.answer(route, news)
}

/// A request to a known endpoint, in a workspace that it may use.
pub(crate) struct Call<'a> {
    pub(crate) opik: &'a Opik,
    head: &'a Parts,
    pub(crate) workspace: &'a str,
    pub(crate) body: &'a [u8],
}

impl Call<'_> {
    fn answer(&self, route: Route, news: &mut News) -> Result<Answer, Answer> {
        let query = self.query();
        match route {
            Route::Ping | Route::Version => Ok(Answer::empty(StatusCode::OK)),
            Route::CheckAuth => Ok(Answer::empty(StatusCode::NO_CONTENT)),
            Route::WorkspaceName => Ok(Answer::json(
                StatusCode::OK,
                &json!({"workspace_name": self.workspace}),
            )),
            Route::Projects => Ok(self.projects(query)),
            Route::Project(id) => Ok(self.project(id)),
            Route::RetrieveProject => self.retrieve_project(),
            Route::List(Entity::Traces) => {
                search::page::<Trace>(&self.opik.store(), self.workspace, query)
            }
            Route::List(Entity::Spans) => {
                search::page::<Span>(&self.opik.store(), self.workspace, query)
            }
            Route::Search(Entity::Traces) => self.search::<Trace>(),
            Route::Search(Entity::Spans) => self.search::<Span>(),
            Route::Batch(Entity::Traces) => self.batch::<TraceOwn>(news),
            Route::Batch(Entity::Spans) => self.batch::<SpanOwn>(news),
            Route::Create(Entity::Traces) => self.create::<TraceOwn>(news),
            Route::Create(Entity::Spans) => self.create::<SpanOwn>(news),
            Route::Get(Entity::Traces, id) => self.get::<TraceOwn>(id),
            Route::Get(Entity::Spans, id) => self.get::<SpanOwn>(id),
            Route::Update(Entity::Traces, id) => self.update::<TraceOwn>(id, news),
            Route::Update(Entity::Spans, id) => self.update::<SpanOwn>(id, news),
            Route::PutScores(Entity::Traces) => self.put_scores::<TraceOwn>(),
            Route::PutScores(Entity::Spans) => self.put_scores::<SpanOwn>(),
            Route::PutScore(Entity::Traces, id) => self.put_score::<TraceOwn>(id),
            Route::PutScore(Entity::Spans, id) => self.put_score::<SpanOwn>(id),
            Route::DeleteScore(Entity::Traces, id) => self.delete_score::<TraceOwn>(id),
            Route::DeleteScore(Entity::Spans, id) => self.delete_score::<SpanOwn>(id),
            Route::Evaluation(route) => self.answer_evaluation(route),
        }
    }

    fn batch<T: Stored>(&self, news: &mut News) -> Result<Answer, Answer> {
        let writes = Write::<T>::batch(self.body)?;
        for write in &writes {
            self.check_ids(write.id, &write.own)?;
        }
        let mut store = self.opik.store();
        let touched = store.batch(self.workspace, writes, Utc::now());
        self.opik.note_stored::<T>(&mut store, &touched, news);
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }

    fn create<T: Stored>(&self, news: &mut News) -> Result<Answer, Answer> {
        let write = Write::<T>::single(self.body)?;
        self.check_ids(write.id, &write.own)?;
        let mut store = self.opik.store();
        let (id, touched) = store
            .create(self.workspace, write, Utc::now())
            .map_err(conflict)?;
        self.opik.note_stored::<T>(&mut store, &touched, news);
        Ok(self.created(T::BATCH, id))
    }

    /// The answer to a create. Its URL is the one that the backend sees behind its front end: without the prefix.
    pub(crate) fn created(&self, kind: &str, id: Uuid) -> Answer {
        let host = self.head.headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let location = format!("http://{host}/v1/private/{kind}/{id}");
        Answer::empty(StatusCode::CREATED).with_header("location", &location)
    }

    /// The answer to a write, with what is too old by now forgotten.
    pub(crate) fn stored(&self, mut store: MutexGuard<'_, Store>, status: StatusCode) -> Answer {
        store.forget_beyond(self.opik.max_rows);
        Answer::empty(status)
    }

    /// What came after `?`, or nothing.
    pub(crate) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    pub(crate) fn not_found<T: Stored>(id: Uuid) -> Answer {
        let text = format!("{} id: {id} not found", T::RESOURCE);
        Answer::message(StatusCode::NOT_FOUND, &text)
    }

    fn update<T: Stored>(&self, id: Uuid, news: &mut News) -> Result<Answer, Answer> {
        let update = Update::<T>::read(self.body)?;
        let now = Utc::now();
        let window = self.opik.id_window;
        window
            .check_reference(id, T::RESOURCE, now)
            .map_err(|details| Answer::invalid_id(&details))?;
        self.check_ids(None, &update.own)?;
        let mut store = self.opik.store();
        let project = match update.project_id {
            Some(id) => store
                .project_with_id(self.workspace, id)
                .ok_or_else(project_not_found)?,
            None => store.project(self.workspace, update.common.project_name.as_deref(), now),
        };
        let touched = store
            .update(self.workspace, id, project, update, now)
            .map_err(conflict)?;
        self.opik.note_stored::<T>(&mut store, &touched, news);
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }

    fn get<T: Stored>(&self, id: Uuid) -> Result<Answer, Answer>
    where
        T::Record: PublicView,
    {
        let record = self.opik.store().record::<T>(id, Some(self.workspace));
        record
            .map(|record| Answer::json(StatusCode::OK, &record.public_view()))
            .ok_or_else(|| Self::not_found::<T>(id))
    }

    fn search<T: Searched>(&self) -> Result<Answer, Answer> {
        let query = Query::from_body(self.body)?;
        search::stream::<T>(&self.opik.store(), self.workspace, &query)
    }

    fn projects(&self, query: &str) -> Answer {
        let name = query_value(query, "name")
            .unwrap_or_default()
            .to_lowercase();
        let store = self.opik.store();
        let named = store
            .projects_of(self.workspace)
            .filter(|project| project.name.to_lowercase().contains(&name));
        let views: Vec<Value> = named
            .map(crate::opik::store::Project::public_view)
            .collect();
        Answer::json(StatusCode::OK, &search::paged(views, query))
    }

    fn project(&self, id: Uuid) -> Answer {
        let store = self.opik.store();
        let found = store
            .project_with_id(self.workspace, id)
            .and_then(|index| store.project_at(index));
        found.map_or_else(project_not_found, |project| {
            Answer::json(StatusCode::OK, &project.public_view())
        })
    }

    fn retrieve_project(&self) -> Result<Answer, Answer> {
        Ok(search::project_by_name(
            &self.opik.store(),
            self.workspace,
            self.body,
        )?)
    }

    fn check_ids(&self, id: Option<Uuid>, own: &impl Kind) -> Result<(), Answer> {
        self.opik
            .check_ids(id, own)
            .map_err(|details| Answer::invalid_id(&details))
    }
}

pub(crate) fn project_not_found() -> Answer {
    Answer::errors(StatusCode::NOT_FOUND, &["Project not found"])
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unreadable(reason) => Self::unreadable(&reason),
            Refused::Broken(errors) => Self::errors(StatusCode::UNPROCESSABLE_ENTITY, &errors),
        }
    }
}

fn conflict(conflict: Conflict) -> Answer {
    Answer::errors(StatusCode::CONFLICT, &[conflict.0])
}

/// Finds the endpoint: 404 if there is none, 405 if it has other methods.
fn route(method: &Method, path: &str) -> Result<Route, Answer> {
    let path = PREFIXES
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix).filter(|path| is_known(path)));
    let routes = routes(path.unwrap_or_default());
    if routes.is_empty() {
        return Err(Answer::plain(StatusCode::NOT_FOUND));
    }
    let found = routes
        .iter()
        .find(|(known, _)| known == method)
        .map(|(_, route)| *route);
    found.ok_or_else(|| {
        let allowed: Vec<&str> = routes.iter().map(|(method, _)| method.as_str()).collect();
        Answer::plain(StatusCode::METHOD_NOT_ALLOWED).with_header("allow", &allowed.join(","))
    })
}

/// What each method does at a path, the API's prefix cut off.
fn routes(path: &str) -> Vec<(Method, Route)> {
    match path.trim_end_matches('/') {
        "/is-alive/ping" => vec![(Method::GET, Route::Ping)],
        "/is-alive/ver" => vec![(Method::GET, Route::Version)],
        "/v1/private/auth" => vec![(Method::POST, Route::CheckAuth)],
        "/v1/private/auth/workspace" => vec![(Method::GET, Route::WorkspaceName)],
        "/v1/private/projects" => vec![(Method::GET, Route::Projects)],
        "/v1/private/projects/retrieve" => vec![(Method::POST, Route::RetrieveProject)],
        path => {
            let project = path
                .strip_prefix("/v1/private/projects/")
                .and_then(parse_uuid);
            let project = project.map(|id| vec![(Method::GET, Route::Project(id))]);
            let traces = || {
                path.strip_prefix("/v1/private/traces")
                    .map(|rest| entity_routes(Entity::Traces, rest))
            };
            let spans = || {
                path.strip_prefix("/v1/private/spans")
                    .map(|rest| entity_routes(Entity::Spans, rest))
            };
            let evaluation = || {
                let routes = evaluation::api::routes(path.strip_prefix("/v1/private")?);
                let wrapped = |(method, route)| (method, Route::Evaluation(route));
                Some(routes.into_iter().map(wrapped).collect())
            };
            let known = project.or_else(traces).or_else(spans);
            known.or_else(evaluation).unwrap_or_default()
        }
    }
}

fn entity_routes(entity: Entity, rest: &str) -> Vec<(Method, Route)> {
    match rest {
        "" => vec![
            (Method::GET, Route::List(entity)),
            (Method::POST, Route::Create(entity)),
        ],
        "/batch" => vec![(Method::POST, Route::Batch(entity))],
        "/search" => vec![(Method::POST, Route::Search(entity))],
        "/feedback-scores" => vec![(Method::PUT, Route::PutScores(entity))],
        _ => {
            let rest = rest.strip_prefix('/').unwrap_or_default();
            let (id, rest) = rest.split_once('/').unwrap_or((rest, ""));
            parse_uuid(id).map_or_else(Vec::new, |id| routes_of_one(entity, id, rest))
        }
    }
}

fn routes_of_one(entity: Entity, id: Uuid, rest: &str) -> Vec<(Method, Route)> {
    match rest {
        "" => vec![
            (Method::GET, Route::Get(entity, id)),
            (Method::PATCH, Route::Update(entity, id)),
        ],
        "feedback-scores" => vec![(Method::PUT, Route::PutScore(entity, id))],
        "feedback-scores/delete" => vec![(Method::POST, Route::DeleteScore(entity, id))],
        _ => Vec::new(),
    }
}

/// Opik: `@Consumes(APPLICATION_JSON)` on every resource; parameters such as a charset are fine.
fn is_json(head: &Parts) -> bool {
    let content_type = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::arrival::Listener;

    fn opik(accounts: Vec<auth::OpikCloud>) -> Opik {
        Opik::new(accounts, Duration::ZERO, usize::MAX)
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused_after_the_key() {
        let request = hyper::Request::post("/v1/private/traces/batch");
        let (head, ()) = request
            .header("content-type", "application/json")
            .body(())
            .unwrap()
            .into_parts();
        let body = Body {
            problem: Some(Problem::TooLargeUnpacked),
            ..Body::default()
        };
        let status = |opik| answer(&opik, &head, &body, &mut Listener::default().news()).status;
        assert_eq!(status(opik(Vec::new())), 413);
        assert_eq!(status(opik(vec![auth::OpikCloud::new("key")])), 403);
    }
}
