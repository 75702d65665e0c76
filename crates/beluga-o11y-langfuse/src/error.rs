//! What an answer of Langfuse means.

use beluga_o11y::{ExportError, ExportErrorKind};
use beluga_o11y_http::HttpResponse;

use crate::NAME;

/// What an answer to an export means: nothing for one that says that the spans were taken.
///
/// | status | means | kind |
/// |---|---|---|
/// | 2xx | taken and queued; the body is a job of the server with the public key in it, and is not read | |
/// | 2xx with an HTML page | not Langfuse: a login page, a proxy, the user interface | `Destination` |
/// | 400 that speaks of the ingestion version | the server does not take this one | `Destination` |
/// | other 400, 422 | a span is bad; none of the request is stored | `Rejected` |
/// | 401 | the keys were refused | `Destination` |
/// | 403 | a key of an organisation, or ingestion is suspended | `Destination` |
/// | 404, 405 | no Langfuse with OTLP (3.22 and newer) at this URL | `Destination` |
/// | 413 | too big, by the server or a proxy | `TooLarge` |
/// | 408, 425, 429, and all 5xx: Langfuse answers 500 while its object store or Redis is briefly down | busy or down | `Temporary` |
pub(crate) fn from_response(response: &HttpResponse) -> Option<ExportError> {
    use ExportErrorKind::{Destination, Rejected};
    let status = response.status();
    if response.is_success() {
        let error = || {
            ExportError::destination(
                NAME,
                "answered by a web page, not by Langfuse; check the base URL",
            )
        };
        return response.is_html().then(|| error().with_status(status));
    }
    let general = response.error_for_status(NAME)?;
    let (kind, message) = match status {
        400 if response.text().contains("x-langfuse-ingestion-version") => (
            Destination,
            "400 Bad Request: the server does not take version 4 of the ingestion",
        ),
        400 => (
            Rejected,
            "400 Bad Request: a span is not as Langfuse wants it; none of the request is stored",
        ),
        401 => (
            Destination,
            "401 Unauthorized: the keys were refused; check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY (or \
             with_public_key and with_secret_key), and that they are of this server: each region of the cloud \
             has its own",
        ),
        403 => (
            Destination,
            "403 Forbidden: the keys are not those of a project, or the ingestion is suspended for its usage",
        ),
        404 | 405 => (
            Destination,
            "no Langfuse that takes OTLP at this URL; check the base URL, and that the server is 3.30 or newer",
        ),
        _ => return Some(general),
    };
    Some(general.reworded(kind, message))
}
