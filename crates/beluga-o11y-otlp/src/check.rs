//! Is there a receiver of OTLP, and does it take the credentials?

use beluga_o11y_http::HttpError;

use crate::{OtlpBackend, OtlpConfig, OtlpTraces};

/// What a check found: everything is well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtlpCheck {
    /// The URL that takes spans.
    pub endpoint: String,
}

/// What a check found to be wrong. Prints as `otlp: check: <what, and what to do>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpCheckError {
    /// An off switch is on, so nothing is sent.
    #[error("otlp: check: exporting is switched off by BELUGA_O11Y_DISABLED or OTEL_SDK_DISABLED")]
    Disabled,
    /// Nobody answers: the address is wrong, the server is down, TLS fails, or it redirects.
    #[error("otlp: check: {0}")]
    Unreachable(#[source] HttpError),
    /// Something answers, but not as a receiver of OTLP does.
    #[error(
        "otlp: check: {endpoint} answers with status {status}, but not as a receiver of OTLP over HTTP \
         with protobuf does; check the endpoint and its port (4318 is usual)"
    )]
    NotOtlp {
        /// The URL in use.
        endpoint: String,
        /// The status of the answer.
        status: u16,
    },
    /// The server wants credentials and there are none.
    #[error(
        "otlp: check: the server wants credentials; call with_authorization(..) or with_header(..), or set \
         OTEL_EXPORTER_OTLP_HEADERS"
    )]
    CredentialsMissing,
    /// The server refused the credentials.
    #[error("otlp: check: the credentials were refused (status {status})")]
    CredentialsRefused {
        /// The status of the answer.
        status: u16,
    },
    /// The check itself met a limit or a failure of the server.
    #[error("otlp: check: the server answered with status {status}; try again later")]
    Busy {
        /// The status of the answer.
        status: u16,
    },
}

pub(crate) async fn check(
    config: &OtlpConfig,
    traces: &OtlpTraces<impl OtlpBackend>,
) -> Result<OtlpCheck, OtlpCheckError> {
    if config.disabled {
        return Err(OtlpCheckError::Disabled);
    }
    let endpoint = config.endpoint.clone();
    let answer = traces.probe().await.map_err(OtlpCheckError::Unreachable)?;
    match answer.status() {
        status @ 200..300 if answer.is_html() => Err(OtlpCheckError::NotOtlp { endpoint, status }),
        200..300 => Ok(OtlpCheck { endpoint }),
        401 if !config.has_authorization => Err(OtlpCheckError::CredentialsMissing),
        status @ (401 | 403) => Err(OtlpCheckError::CredentialsRefused { status }),
        status @ (408 | 429 | 500..) => Err(OtlpCheckError::Busy { status }),
        status => Err(OtlpCheckError::NotOtlp { endpoint, status }),
    }
}
