//! What an answer of Phoenix means.

use beluga_o11y::{ExportError, ExportErrorKind};
use beluga_o11y_http::HttpResponse;
use beluga_o11y_otlp::error_of_answer;

use crate::NAME;

/// What an answer to an export means: nothing for one that says that the spans were taken.
///
/// | status | means | kind |
/// |---|---|---|
/// | 2xx | taken; stored a little later | |
/// | 2xx with an HTML page | not the API: a login page, the user interface | `Destination` |
/// | 401 | no key, a wrong or an expired one | `Destination` |
/// | 403 | a viewer's key, which may not write | `Destination` |
/// | 404, 405 | no Phoenix at this URL | `Destination` |
/// | 415 | the server takes no protobuf here: not Phoenix, or a proxy changed the request | `Destination` |
/// | 422, 400 and other 4xx | the request is no OTLP | `Rejected` |
/// | 413 | too big, by a proxy: Phoenix has no limit | `TooLarge` |
/// | 429, 502, 503 (its queue is full), 504, 408 | busy or down | `Temporary` |
/// | 500 | the body could not be unpacked | `Rejected` |
/// | 507 | its database is out of storage | `Destination` |
pub(crate) fn from_response(response: &HttpResponse, spans: usize) -> Option<ExportError> {
    let general = error_of_answer(NAME, response, spans)?;
    let message = match response.status() {
        200..300 if response.is_html() => {
            "answered by a web page, not by Phoenix's API; check the base URL"
        }
        401 => {
            "401 Unauthorized: the API key was refused or is missing; check PHOENIX_API_KEY or with_api_key"
        }
        403 => "403 Forbidden: the API key is a viewer's, which may not write; use another user's",
        404 | 405 => "no Phoenix at this URL; check the base URL",
        507 => "507 Insufficient Storage: Phoenix's database is full; give it more storage",
        _ => return Some(general),
    };
    Some(general.reworded(ExportErrorKind::Destination, message))
}
