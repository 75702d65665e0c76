//! Is Opik there, is the key good, does the workspace exist?

use beluga_o11y_http::{HttpError, HttpRequest, HttpResponse, MAX_BODY_BYTES};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{OpikConfig, connection::Connection, id};

/// What a check found: everything is well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpikCheck {
    /// The version of the server, if it says so.
    pub version: Option<String>,
    /// The workspace that records go to.
    pub workspace: String,
    /// Whether the project exists already; Opik makes it with the first record. `None` if no project is set, or if that
    /// cannot be asked.
    pub project_exists: Option<bool>,
}

/// What a check found to be wrong. Prints as `opik: check: <what, and what to do>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpikCheckError {
    /// An off switch is on, so nothing is sent.
    #[error("opik: check: exporting is switched off by BELUGA_O11Y_DISABLED or OPIK_TRACK_DISABLE")]
    Disabled,
    /// Nobody answers: the address is wrong, the server is down, TLS fails, or it redirects.
    #[error("opik: check: {0}")]
    Unreachable(#[source] HttpError),
    /// Something answers, but not as Opik does.
    #[error(
        "opik: check: {base_url} answers with status {status}, but not as Opik does; check the base \
         URL, which ends in /api"
    )]
    NotOpik {
        /// The base URL in use.
        base_url: String,
        /// The status of the answer.
        status: u16,
    },
    /// Opik is there and says that it is not healthy.
    #[error("opik: check: the server is there but not healthy (status {status}); try again later")]
    Unhealthy {
        /// The status of the answer.
        status: u16,
    },
    /// Opik is there, but without the endpoint that checks a key.
    #[error(
        "opik: check: the server{} lacks the endpoint v1/private/auth (status {status}); update it, 2.1.24 is known to \
         have it",
        version.as_ref().map(|version| format!(" has version {version} and")).unwrap_or_default()
    )]
    TooOld {
        /// The version of the server, if it says so.
        version: Option<String>,
        /// The status of the answer.
        status: u16,
    },
    /// Opik wants a key and there is none.
    #[error("opik: check: the server wants an API key; call with_api_key(..) or set OPIK_API_KEY")]
    KeyMissing,
    /// Opik refused the key.
    #[error("opik: check: the API key was refused; check that it is whole and of this server")]
    KeyRefused,
    /// The key is good, but not for this workspace.
    #[error("opik: check: the API key may not use the workspace `{workspace}`")]
    WorkspaceForbidden {
        /// The workspace in use.
        workspace: String,
    },
    /// There is no such workspace.
    #[error(
        "opik: check: there is no workspace `{workspace}`; a self-hosted Opik has only `default`"
    )]
    WorkspaceUnknown {
        /// The workspace in use.
        workspace: String,
    },
    /// The check itself met a limit or a failure of the server.
    #[error("opik: check: the server answered with status {status}; try again later")]
    Busy {
        /// The status of the answer.
        status: u16,
    },
}

pub(crate) async fn check(
    connection: &Connection,
    config: &OpikConfig,
) -> Result<OpikCheck, OpikCheckError> {
    let version = version(connection, config).await?;
    credentials(connection, config, &version).await?;
    Ok(OpikCheck {
        version,
        workspace: config.workspace.clone(),
        project_exists: project_exists(connection, config).await?,
    })
}

async fn healthy(connection: &Connection, config: &OpikConfig) -> Result<(), OpikCheckError> {
    #[derive(Deserialize)]
    struct Ping {
        healthy: bool,
    }
    let response = connection
        .get("is-alive/ping")
        .await
        .map_err(OpikCheckError::Unreachable)?;
    let status = response.status();
    match serde_json::from_slice::<Ping>(response.body()) {
        Ok(Ping { healthy: true }) if response.is_success() => Ok(()),
        Ok(Ping { .. }) => Err(OpikCheckError::Unhealthy { status }),
        Err(_) if status >= 500 => Err(OpikCheckError::Unhealthy { status }),
        Err(_) => Err(OpikCheckError::NotOpik {
            base_url: config.base_url.clone(),
            status,
        }),
    }
}

/// Health and version, for which no key is asked. A server that does not tell its version is none the worse for it.
pub(crate) async fn version(
    connection: &Connection,
    config: &OpikConfig,
) -> Result<Option<String>, OpikCheckError> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    healthy(connection, config).await?;
    let response = connection
        .get("is-alive/ver")
        .await
        .map_err(OpikCheckError::Unreachable)?;
    let version = serde_json::from_slice::<Version>(response.body()).ok();
    Ok(version.map(|version| version.version))
}

async fn credentials(
    connection: &Connection,
    config: &OpikConfig,
    version: &Option<String>,
) -> Result<(), OpikCheckError> {
    let response = connection.post("v1/private/auth", Vec::new()).await;
    let response = response.map_err(OpikCheckError::Unreachable)?;
    match response.status() {
        200..300 => Ok(()),
        // The cloud's auth service says 400 of a workspace that it does not know, a self-hosted server 404.
        404 if response.text().to_lowercase().contains("workspace") => {
            Err(OpikCheckError::WorkspaceUnknown {
                workspace: config.workspace.clone(),
            })
        }
        status @ (404 | 405) if !response.is_html() => Err(OpikCheckError::TooOld {
            version: version.clone(),
            status,
        }),
        _ => Err(refusal(&response, config)),
    }
}

/// Asks as Opik's own clients do for a project by name. A server that cannot be asked is none the worse for it.
async fn project_exists(
    connection: &Connection,
    config: &OpikConfig,
) -> Result<Option<bool>, OpikCheckError> {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<String>,
    }
    let Some(project) = &config.project else {
        return Ok(None);
    };
    let body = json!({ "name": project }).to_string().into_bytes();
    let response = connection.post("v1/private/projects/retrieve", body).await;
    let response = response.map_err(OpikCheckError::Unreachable)?;
    let is_refusal = || {
        // What lacks the endpoint says 404 too, but not like this.
        let refusal = serde_json::from_slice::<Refusal>(response.body());
        refusal.is_ok_and(|refusal| !refusal.errors.is_empty())
    };
    Ok(match response.status() {
        200..300 if !response.is_html() => Some(true),
        404 if is_refusal() => Some(false),
        _ => None,
    })
}

/// Whether both records of a call are there. Without the span Opik would show no tokens and no cost.
pub(crate) async fn is_stored(
    connection: &Connection,
    config: &OpikConfig,
    trace: Uuid,
) -> Result<bool, OpikCheckError> {
    Ok(has(connection, config, "traces", trace).await?
        && has(connection, config, "spans", id::span_id(trace)).await?)
}

async fn has(
    connection: &Connection,
    config: &OpikConfig,
    kind: &str,
    id: Uuid,
) -> Result<bool, OpikCheckError> {
    #[derive(Deserialize)]
    struct Record {
        id: Uuid,
    }
    let response = connection
        .send(HttpRequest::get(format!("v1/private/{kind}/{id}")))
        .await;
    let response = response.map_err(OpikCheckError::Unreachable)?;
    let is_it = || match serde_json::from_slice::<Record>(response.body()) {
        Ok(record) => record.id == id,
        // A large record is not read to its end.
        Err(_) => response.body().len() == MAX_BODY_BYTES && !response.is_html(),
    };
    match response.status() {
        200..300 if is_it() => Ok(true),
        404 => Ok(false),
        _ => Err(refusal(&response, config)),
    }
}

fn refusal(response: &HttpResponse, config: &OpikConfig) -> OpikCheckError {
    let workspace = || config.workspace.clone();
    match response.status() {
        400 => OpikCheckError::WorkspaceUnknown {
            workspace: workspace(),
        },
        401 if config.has_api_key => OpikCheckError::KeyRefused,
        401 => OpikCheckError::KeyMissing,
        403 => OpikCheckError::WorkspaceForbidden {
            workspace: workspace(),
        },
        status @ (408 | 429 | 500..) => OpikCheckError::Busy { status },
        status => OpikCheckError::NotOpik {
            base_url: config.base_url.clone(),
            status,
        },
    }
}
