//! What an answer of Opik means.

use beluga_o11y::{ExportError, ExportErrorKind};
use beluga_o11y_http::HttpResponse;

use crate::NAME;

/// What an answer to an export means: nothing for one that says that the records are stored.
///
/// | status | means | kind |
/// |---|---|---|
/// | 2xx | stored | |
/// | 2xx with an HTML page | not Opik: a login page, a proxy, the user interface | `Destination` |
/// | 409 `already exists` | stored earlier | |
/// | 400 that speaks of the workspace | the cloud does not know it | `Destination` |
/// | 400, 413 that speak of a maximum size | too big, by the version of the server | `TooLarge` |
/// | other 400, 409, 422 | a record is bad; none of the batch is stored | `Rejected` |
/// | 401 | the key was refused, or there is none | `Destination` |
/// | 402 | the plan's quota is used up | `Destination` |
/// | 403 | the key may not use the workspace | `Destination` |
/// | 404 | a self-hosted Opik has only the workspace `default`, or the URL is wrong | `Destination` |
/// | 408, 425, 429, 5xx | busy or down | `Temporary` |
pub(crate) fn from_response(response: &HttpResponse) -> Option<ExportError> {
    use ExportErrorKind::{Destination, TooLarge};
    let status = response.status();
    if response.is_success() {
        let error = || {
            ExportError::destination(
                NAME,
                "answered by a web page, not by Opik; check the base URL, which ends in /api",
            )
        };
        return response.is_html().then(|| error().with_status(status));
    }
    let general = response.error_for_status(NAME)?;
    let body = response.text().to_lowercase();
    let (kind, message) = match status {
        409 if body.contains("already exists") => return None,
        400 if body.contains("workspace") && !body.contains("unable to process json") => (
            Destination,
            "400 Bad Request: the workspace was refused; check its name",
        ),
        400 if body.contains("exceeds the maximum") => (
            TooLarge,
            "400 Bad Request: the request is too large for the server",
        ),
        400 | 409 | 422 => return Some(rejected(general)),
        401 => (
            Destination,
            "401 Unauthorized: the API key was refused; check OPIK_API_KEY or with_api_key, and the \
             workspace that it belongs to",
        ),
        402 => (
            Destination,
            "402 Payment Required: the usage limit of the Opik plan is used up",
        ),
        403 => (
            Destination,
            "403 Forbidden: the API key may not write to this workspace; check OPIK_WORKSPACE or \
             with_workspace",
        ),
        404 if body.contains("workspace") => (
            Destination,
            "404 Not Found: no such workspace; a self-hosted Opik has only `default`",
        ),
        404 => (
            Destination,
            "404 Not Found: no Opik API at this URL; check the base URL, which ends in /api",
        ),
        _ => return Some(general),
    };
    Some(general.reworded(kind, message))
}

fn rejected(general: ExportError) -> ExportError {
    let message = match general.status() {
        Some(422) => {
            "422 Unprocessable Entity: a record breaks a rule of Opik; none of the batch is stored"
        }
        Some(409) => "409 Conflict: a record contradicts one that is stored",
        _ => "400 Bad Request: a record is not as Opik wants it; none of the batch is stored",
    };
    general.reworded(ExportErrorKind::Rejected, message)
}
