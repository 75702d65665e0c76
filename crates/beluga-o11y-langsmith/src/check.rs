//! Is LangSmith there, is the key good, does the project exist?

use beluga_o11y_http::{HttpError, HttpRequest, HttpResponse, HttpSender, MAX_BODY_BYTES};
use serde::{Deserialize, de::IgnoredAny};
use uuid::Uuid;

use crate::{LangSmithConfig, error::WORKSPACE_WANTED};

/// What a check found: everything is well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LangSmithCheck {
    /// The version of the server, if it says so.
    pub version: Option<String>,
    /// The project that runs go to.
    pub project: String,
    /// Whether the project exists already. If not, LangSmith makes it with the first run.
    pub project_exists: bool,
}

/// What a check found to be wrong. Prints as `langsmith: check: <what, and what to do>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LangSmithCheckError {
    /// An off switch is on, so nothing is sent.
    #[error(
        "langsmith: check: exporting is switched off by BELUGA_O11Y_DISABLED or LANGSMITH_TRACING"
    )]
    Disabled,
    /// Nobody answers: the address is wrong, the server is down, TLS fails, or it redirects.
    #[error("langsmith: check: {0}")]
    Unreachable(#[source] HttpError),
    /// Something answers, but not as LangSmith does.
    #[error(
        "langsmith: check: {base_url} answers with status {status}, but not as LangSmith does; check \
         the base URL, which on a server of your own ends in /api/v1"
    )]
    NotLangSmith {
        /// The base URL in use.
        base_url: String,
        /// The status of the answer.
        status: u16,
    },
    /// LangSmith is there, but without the endpoint that lists projects.
    #[error(
        "langsmith: check: the server{} lacks the endpoint sessions (status {status}); update it",
        version.as_ref().map(|version| format!(" has version {version} and")).unwrap_or_default()
    )]
    TooOld {
        /// The version of the server, if it says so.
        version: Option<String>,
        /// The status of the answer.
        status: u16,
    },
    /// LangSmith refused the key.
    #[error(
        "langsmith: check: the API key was refused; check that it is whole, and of this server and \
         region"
    )]
    KeyRefused,
    /// The key belongs to a whole organisation, and no workspace is set.
    #[error(
        "langsmith: check: the API key belongs to a whole organisation and wants a workspace; call \
         with_workspace_id(..) or set LANGSMITH_WORKSPACE_ID"
    )]
    WorkspaceMissing,
    /// The key is known, but may not do this: in this workspace, or at all.
    #[error(
        "langsmith: check: the API key may not look at the projects of this workspace; check the key, \
         the workspace id, and that the base URL is that of the key's region"
    )]
    Forbidden,
    /// LangSmith refused the request: the workspace id is no id, or it does not know a parameter.
    #[error(
        "langsmith: check: the question for the project was refused with status {status}; check that \
         the workspace id is the UUID that the settings of the workspace show"
    )]
    Refused {
        /// The status of the answer.
        status: u16,
    },
    /// The check itself met a limit or a failure of the server.
    #[error("langsmith: check: the server answered with status {status}; try again later")]
    Busy {
        /// The status of the answer.
        status: u16,
    },
}

pub(crate) async fn check(
    sender: &HttpSender,
    config: &LangSmithConfig,
) -> Result<LangSmithCheck, LangSmithCheckError> {
    let version = version(sender, config).await?;
    let project_exists = project_exists(sender, config, &version).await?;
    Ok(LangSmithCheck {
        version,
        project: config.project.clone(),
        project_exists,
    })
}

/// Asks for what LangSmith's own client asks for first.
pub(crate) async fn version(
    sender: &HttpSender,
    config: &LangSmithConfig,
) -> Result<Option<String>, LangSmithCheckError> {
    #[derive(Deserialize)]
    struct Info {
        version: Option<String>,
        batch_ingest_config: Option<IgnoredAny>,
        instance_flags: Option<IgnoredAny>,
    }
    let response = get(sender, HttpRequest::get("info")).await?;
    if !response.is_success() {
        return Err(refusal(&response, config));
    }
    match serde_json::from_slice::<Info>(response.body()) {
        Ok(Info {
            version: None,
            batch_ingest_config: None,
            instance_flags: None,
        }) => Err(not_langsmith(&response, config)),
        Ok(info) => Ok(info.version.filter(|version| !version.is_empty())),
        Err(_) => Err(not_langsmith(&response, config)),
    }
}

/// Asks as LangSmith's own client does for a project by name.
async fn project_exists(
    sender: &HttpSender,
    config: &LangSmithConfig,
    version: &Option<String>,
) -> Result<bool, LangSmithCheckError> {
    #[derive(Deserialize)]
    struct Session {
        name: Option<String>,
    }
    let request = HttpRequest::get("sessions")
        .with_query("limit", "1")
        .with_query("name", &config.project)
        .with_query("include_stats", "false");
    let response = get(sender, request).await?;
    match response.status() {
        200..300 => {}
        status @ (404 | 405) if !response.is_html() => {
            return Err(LangSmithCheckError::TooOld {
                version: version.clone(),
                status,
            });
        }
        _ => return Err(refusal(&response, config)),
    }
    let sessions: Vec<Session> =
        serde_json::from_slice(response.body()).map_err(|_| not_langsmith(&response, config))?;
    Ok(sessions
        .iter()
        .any(|session| session.name.as_ref() == Some(&config.project)))
}

/// Asks as LangSmith's own client does for a run.
pub(crate) async fn is_stored(
    sender: &HttpSender,
    config: &LangSmithConfig,
    run: Uuid,
) -> Result<bool, LangSmithCheckError> {
    #[derive(Deserialize)]
    struct Run {
        id: Uuid,
    }
    let response = get(sender, HttpRequest::get(format!("runs/{run}"))).await?;
    let is_it = || match serde_json::from_slice::<Run>(response.body()) {
        Ok(found) => found.id == run,
        // A large run is not read to its end.
        Err(_) => response.body().len() == MAX_BODY_BYTES && !response.is_html(),
    };
    match response.status() {
        200..300 if is_it() => Ok(true),
        404 => Ok(false),
        _ => Err(refusal(&response, config)),
    }
}

async fn get(
    sender: &HttpSender,
    request: HttpRequest,
) -> Result<HttpResponse, LangSmithCheckError> {
    sender
        .send(request)
        .await
        .map_err(LangSmithCheckError::Unreachable)
}

fn refusal(response: &HttpResponse, config: &LangSmithConfig) -> LangSmithCheckError {
    match response.status() {
        status @ (408 | 425 | 429 | 500..) => LangSmithCheckError::Busy { status },
        _ if response.is_html() => not_langsmith(response, config),
        401 => LangSmithCheckError::KeyRefused,
        403 if response.text().contains(WORKSPACE_WANTED) => LangSmithCheckError::WorkspaceMissing,
        403 => LangSmithCheckError::Forbidden,
        status @ (400 | 422) => LangSmithCheckError::Refused { status },
        _ => not_langsmith(response, config),
    }
}

fn not_langsmith(response: &HttpResponse, config: &LangSmithConfig) -> LangSmithCheckError {
    LangSmithCheckError::NotLangSmith {
        base_url: config.base_url.clone(),
        status: response.status(),
    }
}
