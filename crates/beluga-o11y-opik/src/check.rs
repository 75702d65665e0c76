//! Is Opik there, is the key good, does the workspace exist?

use beluga_o11y_http::HttpError;
use serde::Deserialize;

use crate::{OpikConfig, connection::Connection};

/// What a check found: everything is well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpikCheck {
    /// The version of the server, if it says so.
    pub version: Option<String>,
    /// The workspace that records go to.
    pub workspace: String,
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
    healthy(connection, config).await?;
    let version = version(connection).await?;
    credentials(connection, config).await?;
    Ok(OpikCheck {
        version,
        workspace: config.workspace.clone(),
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

/// A server that does not tell its version is none the worse for it.
async fn version(connection: &Connection) -> Result<Option<String>, OpikCheckError> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let response = connection
        .get("is-alive/ver")
        .await
        .map_err(OpikCheckError::Unreachable)?;
    let version = serde_json::from_slice::<Version>(response.body()).ok();
    Ok(version.map(|version| version.version))
}

async fn credentials(connection: &Connection, config: &OpikConfig) -> Result<(), OpikCheckError> {
    let response = connection.post("v1/private/auth", Vec::new()).await;
    let response = response.map_err(OpikCheckError::Unreachable)?;
    let workspace = config.workspace.clone();
    match response.status() {
        200..300 => Ok(()),
        401 if config.has_api_key => Err(OpikCheckError::KeyRefused),
        401 => Err(OpikCheckError::KeyMissing),
        403 => Err(OpikCheckError::WorkspaceForbidden { workspace }),
        // The cloud's auth service says 400, a self-hosted server 404.
        400 => Err(OpikCheckError::WorkspaceUnknown { workspace }),
        404 if response.text().to_lowercase().contains("workspace") => {
            Err(OpikCheckError::WorkspaceUnknown { workspace })
        }
        status @ (408 | 429 | 500..) => Err(OpikCheckError::Busy { status }),
        status => Err(OpikCheckError::NotOpik {
            base_url: config.base_url.clone(),
            status,
        }),
    }
}
