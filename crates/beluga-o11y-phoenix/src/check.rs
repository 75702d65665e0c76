//! Is Phoenix there, may the key write, does the project exist?

use beluga_o11y::LLMCallData;
use beluga_o11y_http::{HttpError, HttpRequest, MAX_BODY_BYTES};
use beluga_o11y_otlp::{OtlpBackend, OtlpTraces, wire_ids};
use serde::Deserialize;

use crate::PhoenixConfig;

/// What a check found: everything is well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhoenixCheck {
    /// The version of the server.
    pub version: String,
    /// The project that calls go to.
    pub project: String,
    /// Whether the project exists already; Phoenix makes it with the first call. `None` if that cannot be asked: for a name with
    /// a slash, or if the list of projects fails.
    pub project_exists: Option<bool>,
}

/// What a check found to be wrong. Prints as `phoenix: check: <what, and what to do>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhoenixCheckError {
    /// An off switch is on, so nothing is sent.
    #[error("phoenix: check: exporting is switched off by BELUGA_O11Y_DISABLED")]
    Disabled,
    /// Nobody answers: the address is wrong, the server is down, TLS fails, or it redirects.
    #[error("phoenix: check: {0}")]
    Unreachable(#[source] HttpError),
    /// Something answers, but not as Phoenix does.
    #[error(
        "phoenix: check: {base_url} answers with status {status}, but not as Phoenix does; check the base URL"
    )]
    NotPhoenix {
        /// The base URL in use.
        base_url: String,
        /// The status of the answer.
        status: u16,
    },
    /// Phoenix is there and takes no OTLP.
    #[error(
        "phoenix: check: the server{} takes no OTLP at v1/traces (status {status}); update it, or check that what is in \
         front of it lets that path through",
        version.as_ref().map(|version| format!(" has version {version} and")).unwrap_or_default()
    )]
    TooOld {
        /// The version of the server, if it says so.
        version: Option<String>,
        /// The status of the answer.
        status: u16,
    },
    /// Phoenix cannot be asked for the spans of a project of this name.
    #[error(
        "phoenix: check: the server cannot be asked for the spans of the project `{project}`, because of its name; look in \
         its user interface"
    )]
    ProjectName {
        /// The project.
        project: String,
    },
    /// Phoenix wants a key and there is none.
    #[error(
        "phoenix: check: the server wants an API key; call with_api_key(..) or set PHOENIX_API_KEY"
    )]
    KeyMissing,
    /// Phoenix refused the key.
    #[error(
        "phoenix: check: the API key was refused; check that it is whole, of this server and not expired"
    )]
    KeyRefused,
    /// The key is good, but only for reading.
    #[error("phoenix: check: the API key is a viewer's, which may not write; use another user's")]
    KeyMayNotWrite,
    /// The check itself met a limit or a failure of the server.
    #[error("phoenix: check: the server answered with status {status}; try again later")]
    Busy {
        /// The status of the answer.
        status: u16,
    },
}

type Result<T> = std::result::Result<T, PhoenixCheckError>;

pub(crate) async fn check(
    config: &PhoenixConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
) -> Result<PhoenixCheck> {
    let version = version(config, traces).await?;
    credentials(config, traces, &version).await?;
    Ok(PhoenixCheck {
        version,
        project: config.project.clone(),
        project_exists: project_exists(config, traces).await?,
    })
}

fn not_phoenix(config: &PhoenixConfig, status: u16) -> PhoenixCheckError {
    PhoenixCheckError::NotPhoenix {
        base_url: config.base_url.clone(),
        status,
    }
}

/// No key is asked for it. A wrong path is no 404 at a Phoenix, but its user interface; so the text is looked at.
pub(crate) async fn version(
    config: &PhoenixConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
) -> Result<String> {
    const MAX_CHARS: usize = 40;
    if config.disabled {
        return Err(PhoenixCheckError::Disabled);
    }
    let request = HttpRequest::get("arize_phoenix_version");
    let response = traces.sender().send(request).await;
    let response = response.map_err(PhoenixCheckError::Unreachable)?;
    let status = response.status();
    let text = response.text();
    let version = text.trim();
    let is_version = version.starts_with(|c: char| c.is_ascii_digit())
        && version.len() <= MAX_CHARS
        && version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".+-".contains(c));
    match status {
        200 if is_version => Ok(version.to_owned()),
        408 | 429 | 500.. => Err(PhoenixCheckError::Busy { status }),
        _ => Err(not_phoenix(config, status)),
    }
}

/// By an export without spans: what a viewer may read says nothing of what the key may write.
async fn credentials(
    config: &PhoenixConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
    version: &str,
) -> Result<()> {
    let response = traces
        .probe()
        .await
        .map_err(PhoenixCheckError::Unreachable)?;
    match response.status() {
        status @ 200..300 if response.is_html() => Err(not_phoenix(config, status)),
        200..300 => Ok(()),
        401 if config.has_api_key => Err(PhoenixCheckError::KeyRefused),
        401 => Err(PhoenixCheckError::KeyMissing),
        403 => Err(PhoenixCheckError::KeyMayNotWrite),
        status @ (404 | 405) if !response.is_html() => Err(PhoenixCheckError::TooOld {
            version: Some(version.to_owned()),
            status,
        }),
        status @ (408 | 429 | 500..) => Err(PhoenixCheckError::Busy { status }),
        status => Err(not_phoenix(config, status)),
    }
}

async fn project_exists(
    config: &PhoenixConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
) -> Result<Option<bool>> {
    #[derive(Deserialize)]
    struct Answer {
        data: Project,
    }
    #[derive(Deserialize)]
    struct Project {
        name: String,
    }
    if config.project.contains('/') {
        return Ok(None);
    }
    let response = traces.get(format!("v1/projects/{}", config.project)).await;
    let response = response.map_err(PhoenixCheckError::Unreachable)?;
    let found = serde_json::from_slice::<Answer>(response.body());
    Ok(match (response.status(), found) {
        // Phoenix takes the id of a project in this place too, so the name must be the one that was asked for.
        (200, Ok(found)) => Some(found.data.name == config.project),
        (404, _) => Some(false),
        _ => None,
    })
}

/// By the call's span. An unknown project is one that Phoenix has not made yet.
pub(crate) async fn is_stored(
    config: &PhoenixConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
    call: &LLMCallData,
) -> Result<bool> {
    #[derive(Deserialize)]
    struct Spans {
        data: Vec<Span>,
    }
    #[derive(Deserialize)]
    struct Span {
        context: Context,
    }
    #[derive(Deserialize)]
    struct Context {
        span_id: String,
    }
    if config.disabled {
        return Err(PhoenixCheckError::Disabled);
    }
    let project = &config.project;
    if project.contains('/') || [".", ".."].contains(&project.as_str()) {
        return Err(PhoenixCheckError::ProjectName {
            project: project.clone(),
        });
    }
    let Some((trace, span)) = wire_ids(call) else {
        return Ok(false);
    };
    let request = HttpRequest::get(format!("v1/projects/{project}/spans"))
        .with_query("trace_id", trace)
        .with_query("span_id", &span);
    let response = traces.request(request).await;
    let response = response.map_err(PhoenixCheckError::Unreachable)?;
    match response.status() {
        status @ 200..300 => match serde_json::from_slice::<Spans>(response.body()) {
            Ok(spans) => Ok(spans.data.iter().any(|found| found.context.span_id == span)),
            // A large span is not read to its end, and no list without spans is large.
            Err(_) if response.body().len() == MAX_BODY_BYTES && !response.is_html() => Ok(true),
            Err(_) => Err(not_phoenix(config, status)),
        },
        401 if config.has_api_key => Err(PhoenixCheckError::KeyRefused),
        401 => Err(PhoenixCheckError::KeyMissing),
        404 => Ok(false),
        status @ (408 | 429 | 500..) => Err(PhoenixCheckError::Busy { status }),
        status => Err(not_phoenix(config, status)),
    }
}
