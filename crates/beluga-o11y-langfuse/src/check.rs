//! Is Langfuse there, are the keys good, which project do they open?

use beluga_o11y::LLMCallData;
use beluga_o11y_http::{HttpError, HttpRequest};
use beluga_o11y_otlp::{OtlpBackend, OtlpTraces, wire_ids};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Deserialize;

use crate::LangfuseConfig;

/// What a check found: everything is well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LangfuseCheck {
    /// The version of the server, if it says so.
    pub version: Option<String>,
    /// The name of the project that the keys open.
    pub project: String,
    /// The project's id, as it stands in the URLs of the user interface: `<base URL>/project/<id>/traces`.
    pub project_id: String,
}

/// What a check found to be wrong. Prints as `langfuse: check: <what, and what to do>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LangfuseCheckError {
    /// An off switch is on, so nothing is sent.
    #[error(
        "langfuse: check: exporting is switched off by BELUGA_O11Y_DISABLED or LANGFUSE_TRACING_ENABLED"
    )]
    Disabled,
    /// Nobody answers: the address is wrong, the server is down, TLS fails, or it redirects.
    #[error("langfuse: check: {0}")]
    Unreachable(#[source] HttpError),
    /// Something answers, but not as Langfuse does.
    #[error(
        "langfuse: check: {base_url} answers with status {status}, but not as Langfuse does; check the base URL"
    )]
    NotLangfuse {
        /// The base URL in use.
        base_url: String,
        /// The status of the answer.
        status: u16,
    },
    /// Langfuse is there and says that it is not healthy.
    #[error(
        "langfuse: check: the server is there but not healthy (status {status}); try again later"
    )]
    Unhealthy {
        /// The status of the answer.
        status: u16,
    },
    /// Langfuse refused the keys.
    #[error(
        "langfuse: check: the keys were refused; check that they are whole and of this server: each region of \
         the cloud has its own"
    )]
    KeysRefused,
    /// The keys are good, but not those of a project.
    #[error(
        "langfuse: check: the keys are those of an organisation; make keys in the settings of a project"
    )]
    NotProjectKeys,
    /// The keys are good, but Langfuse takes nothing with them.
    #[error(
        "langfuse: check: the server takes no calls of this project (status 403); its ingestion is suspended, \
         or the keys may not write"
    )]
    Suspended,
    /// Langfuse is there and takes no OTLP.
    #[error(
        "langfuse: check: the server{} takes no OTLP (status {status}); it must be 3.30 or newer",
        version.as_ref().map(|version| format!(" has version {version} and")).unwrap_or_default()
    )]
    NoOtlp {
        /// The version of the server, if it says so.
        version: Option<String>,
        /// The status of the answer.
        status: u16,
    },
    /// Langfuse is there and cannot be asked for the calls that it has.
    #[error(
        "langfuse: check: the server cannot be asked whether it has stored a call: it lacks the endpoint \
         api/public/v2/observations (status {status}); look in its user interface, or update it"
    )]
    NoObservations {
        /// The status of the answer.
        status: u16,
    },
    /// The check itself met a limit or a failure of the server.
    #[error("langfuse: check: the server answered with status {status}; try again later")]
    Busy {
        /// The status of the answer.
        status: u16,
    },
}

type Result<T> = std::result::Result<T, LangfuseCheckError>;

pub(crate) async fn check(
    config: &LangfuseConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
) -> Result<LangfuseCheck> {
    let version = version(config, traces).await?;
    let (project_id, project) = project(config, traces).await?;
    otlp(traces, &version).await?;
    Ok(LangfuseCheck {
        version,
        project,
        project_id,
    })
}

fn not_langfuse(config: &LangfuseConfig, status: u16) -> LangfuseCheckError {
    LangfuseCheckError::NotLangfuse {
        base_url: config.base_url.clone(),
        status,
    }
}

/// Health and version, for which no key is asked.
pub(crate) async fn version(
    config: &LangfuseConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Health {
        version: Option<String>,
    }
    if config.disabled {
        return Err(LangfuseCheckError::Disabled);
    }
    let request = HttpRequest::get("api/public/health");
    let response = traces.sender().send(request).await;
    let response = response.map_err(LangfuseCheckError::Unreachable)?;
    let status = response.status();
    match status {
        408 | 429 => return Err(LangfuseCheckError::Busy { status }),
        500.. => return Err(LangfuseCheckError::Unhealthy { status }),
        _ => {}
    }
    match serde_json::from_slice::<Health>(response.body()) {
        Ok(health) if response.is_success() => Ok(health.version),
        _ => Err(not_langfuse(config, status)),
    }
}

/// Id and name of the project that the keys open.
async fn project(
    config: &LangfuseConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
) -> Result<(String, String)> {
    #[derive(Deserialize)]
    struct Projects {
        data: Vec<Project>,
    }
    #[derive(Deserialize)]
    struct Project {
        id: String,
        name: String,
    }
    let response = traces.get("api/public/projects").await;
    let response = response.map_err(LangfuseCheckError::Unreachable)?;
    match response.status() {
        status @ 200..300 => serde_json::from_slice::<Projects>(response.body())
            .ok()
            .and_then(|projects| projects.data.into_iter().next())
            .map(|project| (project.id, project.name))
            .ok_or_else(|| not_langfuse(config, status)),
        401 => Err(LangfuseCheckError::KeysRefused),
        403 => Err(LangfuseCheckError::NotProjectKeys),
        status @ (408 | 429 | 500..) => Err(LangfuseCheckError::Busy { status }),
        status => Err(not_langfuse(config, status)),
    }
}

/// By an export without spans.
async fn otlp(traces: &OtlpTraces<impl OtlpBackend>, version: &Option<String>) -> Result<()> {
    let response = traces
        .probe()
        .await
        .map_err(LangfuseCheckError::Unreachable)?;
    match response.status() {
        200..300 if !response.is_html() => Ok(()),
        401 => Err(LangfuseCheckError::KeysRefused),
        403 => Err(LangfuseCheckError::Suspended),
        status @ (408 | 429 | 500..) => Err(LangfuseCheckError::Busy { status }),
        status => Err(LangfuseCheckError::NoOtlp {
            version: version.clone(),
            status,
        }),
    }
}

/// By the observations of the call's trace around its start: in the caller's trace there may be many more.
pub(crate) async fn is_stored(
    config: &LangfuseConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
    call: &LLMCallData,
) -> Result<bool> {
    #[derive(Deserialize)]
    struct Observations {
        data: Vec<Observation>,
    }
    #[derive(Deserialize)]
    struct Observation {
        id: String,
    }
    if config.disabled {
        return Err(LangfuseCheckError::Disabled);
    }
    let Some((trace, span)) = wire_ids(call) else {
        return Ok(false);
    };
    let margin = TimeDelta::seconds(1);
    let at = |time: Option<DateTime<Utc>>| {
        let time = time.unwrap_or_else(|| call.start_time());
        time.to_rfc3339_opts(SecondsFormat::Millis, true)
    };
    let request = HttpRequest::get("api/public/v2/observations")
        .with_query("traceId", trace)
        .with_query(
            "fromStartTime",
            at(call.start_time().checked_sub_signed(margin)),
        )
        .with_query(
            "toStartTime",
            at(call.start_time().checked_add_signed(margin)),
        )
        .with_query("fields", "core");
    let response = traces.request(request).await;
    let response = response.map_err(LangfuseCheckError::Unreachable)?;
    match response.status() {
        status @ 200..300 => serde_json::from_slice::<Observations>(response.body())
            .map(|found| found.data.iter().any(|observation| observation.id == span))
            .map_err(|_| not_langfuse(config, status)),
        401 => Err(LangfuseCheckError::KeysRefused),
        403 => Err(LangfuseCheckError::NotProjectKeys),
        // The list of a server that has it is empty rather than not there.
        status @ (404 | 405) => Err(LangfuseCheckError::NoObservations { status }),
        status @ (408 | 429 | 500..) => Err(LangfuseCheckError::Busy { status }),
        status => Err(not_langfuse(config, status)),
    }
}
