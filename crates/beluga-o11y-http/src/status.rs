//! What a status means.

use beluga_o11y::ExportErrorKind;
use reqwest::StatusCode;

/// What to do about an answer with this status, if the backend's own documentation says nothing else.
///
/// | status | kind |
/// |---|---|
/// | 408, 425, 429, 5xx | `Temporary` |
/// | 401, 402, 403, 404, 405, 407, 410, 3xx | `Destination` |
/// | 413 | `TooLarge` |
/// | every other 4xx | `Rejected` |
/// | anything else | `Destination`: whoever answered is not the API that we want |
pub fn kind_for_status(status: u16) -> ExportErrorKind {
    match status {
        408 | 425 | 429 | 500..=599 => ExportErrorKind::Temporary,
        401..=405 | 407 | 410 => ExportErrorKind::Destination,
        413 => ExportErrorKind::TooLarge,
        400..=499 => ExportErrorKind::Rejected,
        _ => ExportErrorKind::Destination,
    }
}

/// `<status> <its name>: <what it means for an export>`.
pub(crate) fn message(status: u16) -> String {
    let name = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    match name {
        Some(name) => format!("{status} {name}: {}", meaning(status)),
        None => format!("{status}: {}", meaning(status)),
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 => "the API key was refused",
        402 => "the quota of the plan is used up",
        403 => "the API key is not allowed to do this",
        404 => "nothing is at this address; check the base URL",
        405 => "this address does not take such a request; check the base URL",
        407 => "the proxy asks for a user and a password",
        408 => "the server waited too long for the request",
        410 => "nothing is at this address any more; check the base URL",
        413 => "the request is too big",
        422 => "the server found its content invalid",
        425 => "the server is not ready for it yet",
        429 => "rate limited",
        400..=499 => "the server refused the request",
        502 => "a gateway got no good answer from the server",
        503 => "the server is not available right now",
        504 => "a gateway got no answer from the server in time",
        500..=599 => "the server failed",
        300..=399 => "the server points elsewhere; check the base URL",
        _ => "not an answer of the API; check the base URL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        use ExportErrorKind::{Destination, Rejected, Temporary, TooLarge};
        for (kind, statuses) in [
            (
                Temporary,
                &[408, 425, 429, 500, 501, 502, 503, 504, 507, 520, 529, 599][..],
            ),
            (
                Destination,
                &[
                    401, 402, 403, 404, 405, 407, 410, 300, 301, 302, 304, 307, 308,
                ],
            ),
            (Destination, &[100, 101, 199, 600, 999]),
            (TooLarge, &[413]),
            (
                Rejected,
                &[
                    400, 406, 409, 411, 412, 414, 415, 418, 421, 422, 431, 451, 499,
                ],
            ),
        ] {
            for status in statuses {
                assert_eq!(kind_for_status(*status), kind, "{status}");
            }
        }
    }

    #[test]
    fn messages() {
        assert_eq!(message(429), "429 Too Many Requests: rate limited");
        assert_eq!(message(401), "401 Unauthorized: the API key was refused");
        assert_eq!(message(599), "599: the server failed");
        for status in 100..=999 {
            let message = message(status);
            assert!(
                !message.ends_with('.') && message.contains(": "),
                "{message}"
            );
        }
    }
}
