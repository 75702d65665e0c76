//! What an answer of LangSmith means.

use beluga_o11y::{ExportError, ExportErrorKind};
use beluga_o11y_http::HttpResponse;

use crate::NAME;

/// What LangSmith did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It took the runs.
    Taken,
    /// It has seen the request, or a run in it, before.
    AlreadyReceived,
}

/// The code of a 403 for a key that belongs to a whole organisation.
pub(crate) const WORKSPACE_WANTED: &str = "org_scoped_key_requires_workspace";

/// What an answer to an export means.
///
/// | status | means | kind |
/// |---|---|---|
/// | 2xx | taken | |
/// | 2xx with an HTML page | not LangSmith: a login page, a proxy, the user interface | `Destination` |
/// | 409 | received earlier | |
/// | 400, 422 | a run is bad; none of the batch is stored | `Rejected` |
/// | 401 | the key was refused, or there is none | `Destination` |
/// | 402 | the plan's quota is used up | `Destination` |
/// | 403 `org_scoped_key_requires_workspace` | the key wants a workspace id | `Destination` |
/// | other 403 | the key may not write there, or is of another region | `Destination` |
/// | 404, 405 | the URL is wrong | `Destination` |
/// | 413 | too big | `TooLarge` |
/// | 408, 425, 429, 5xx | busy, rate-limited, over a quota, or down | `Temporary` |
pub(crate) fn outcome(response: &HttpResponse) -> Result<Outcome, ExportError> {
    use ExportErrorKind::{Destination, Rejected};
    let status = response.status();
    if response.is_success() {
        return if response.is_html() {
            let error = ExportError::destination(
                NAME,
                "answered by a web page, not by LangSmith; check the base URL, which is that of the \
                 API: https://api.smith.langchain.com, or your own ending in /api/v1",
            );
            Err(error.with_status(status))
        } else {
            Ok(Outcome::Taken)
        };
    }
    let Some(general) = response.error_for_status(NAME) else {
        return Ok(Outcome::Taken);
    };
    let (kind, message) = match status {
        409 => return Ok(Outcome::AlreadyReceived),
        400 => (
            Rejected,
            "400 Bad Request: a run is not as LangSmith wants it; none of the batch is stored",
        ),
        422 => (
            Rejected,
            "422 Unprocessable Entity: a run breaks a rule of LangSmith; none of the batch is stored",
        ),
        401 => (
            Destination,
            "401 Unauthorized: the API key was refused; check LANGSMITH_API_KEY or with_api_key, and \
             that the key is of this server and region",
        ),
        403 if response.text().contains(WORKSPACE_WANTED) => (
            Destination,
            "403 Forbidden: the API key belongs to a whole organisation and wants a workspace; set \
             LANGSMITH_WORKSPACE_ID or with_workspace_id",
        ),
        403 => (
            Destination,
            "403 Forbidden: the API key may not write there; check the key, the workspace id, and that \
             the base URL is that of the key's region",
        ),
        404 => (
            Destination,
            "404 Not Found: no LangSmith API at this URL; check the base URL, which on a server of your \
             own ends in /api/v1",
        ),
        405 => (
            Destination,
            "405 Method Not Allowed: no LangSmith API at this URL; check the base URL, which on a \
             server of your own ends in /api/v1",
        ),
        _ => return Err(general),
    };
    Err(general.reworded(kind, message))
}
