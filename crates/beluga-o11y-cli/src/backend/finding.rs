//! What a check can find to be wrong.

use beluga_o11y::{ExportError, ExportErrorKind};
use beluga_o11y_http::{ConnectProblem, HttpConfigError, HttpError, TlsProblem};
use serde::Serialize;

/// Something that keeps calls from arriving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) problem: Problem,
    /// What happened, and often what to do.
    pub(crate) text: String,
}

/// By name, for machines, and for what else there is to say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Problem {
    /// A setting is wrong.
    Settings,
    SwitchedOff,
    MissingKey,
    WrongKey,
    /// The key was refused by a server that has sisters in other regions, each with keys of its own.
    WrongKeyOrRegion,
    WrongWorkspace,
    /// The key is good for several workspaces, and none is named.
    MissingWorkspace,
    ProjectMissing,
    /// The key is good, and may not write.
    Forbidden,
    PlainHttp,
    Dns,
    Refused,
    Timeout,
    Connection,
    Proxy,
    /// The authority that signed the server's certificate is not trusted.
    UntrustedCertificate,
    Certificate,
    Tls,
    Redirect,
    Clock,
    /// Something answers, but not the server that is meant.
    WrongServer,
    OldServer,
    Unhealthy,
    RateLimited,
    Quota,
    TooLarge,
    Rejected,
    /// It was taken, and cannot be read.
    NotReadable,
}

impl Finding {
    pub(crate) fn new(problem: Problem, text: impl ToString) -> Self {
        let text = text.to_string();
        Self { problem, text }
    }

    /// About an answer that says by its status what is wrong, whatever was asked; if it does not, it is the given
    /// problem.
    pub(crate) fn of_status(
        status: u16,
        otherwise: Problem,
        name: &str,
        error: impl ToString,
    ) -> Self {
        let answered = |what| format!("the server answered with status {status}: {what}");
        match status {
            402 => Self::new(Problem::Quota, answered("the quota of the plan is used up")),
            407 => Self::new(
                Problem::Proxy,
                "the proxy asks for a user and a password in its URL",
            ),
            413 => Self::new(Problem::TooLarge, answered("the request is too big")),
            408 | 504 => Self::of(Problem::Timeout, name, error),
            429 => Self::of(Problem::RateLimited, name, error),
            500.. => Self::of(Problem::Unhealthy, name, error),
            _ => Self::of(otherwise, name, error),
        }
    }

    /// `text` says who found it first, which is said elsewhere: `opik: check: ..`.
    pub(crate) fn of(problem: Problem, name: &str, error: impl ToString) -> Self {
        let text = error.to_string();
        let mut rest = text.as_str();
        for prefix in [name, "check", "export"] {
            rest = rest
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix(": "))
                .unwrap_or(rest);
        }
        Self::new(problem, rest)
    }
}

/// Why there was no answer.
impl From<&HttpError> for Finding {
    fn from(error: &HttpError) -> Self {
        let problem = match error {
            HttpError::Timeout { .. } => Problem::Timeout,
            HttpError::Connect { problem, .. } => match problem {
                ConnectProblem::Dns => Problem::Dns,
                ConnectProblem::Refused => Problem::Refused,
                ConnectProblem::TimedOut => Problem::Timeout,
                ConnectProblem::Proxy | ConnectProblem::ProxyAuthorization => Problem::Proxy,
                _ => Problem::Connection,
            },
            HttpError::Tls { problem, .. } => match problem {
                TlsProblem::Untrusted => Problem::UntrustedCertificate,
                TlsProblem::WrongName | TlsProblem::Expired | TlsProblem::Certificate => {
                    Problem::Certificate
                }
                _ => Problem::Tls,
            },
            HttpError::Redirect { .. } => Problem::Redirect,
            HttpError::InsecureHttp { .. } => Problem::PlainHttp,
            HttpError::NotHttp { .. } => Problem::WrongServer,
            _ => Problem::Connection,
        };
        Self::new(problem, error)
    }
}

/// What is wrong with the settings of the connection.
impl From<&HttpConfigError> for Finding {
    fn from(error: &HttpConfigError) -> Self {
        let problem = match error {
            HttpConfigError::InsecureHttp { .. } => Problem::PlainHttp,
            HttpConfigError::InvalidProxy { .. } => Problem::Proxy,
            _ => Problem::Settings,
        };
        Self::new(problem, error)
    }
}

/// Why a test record did not arrive.
impl Finding {
    pub(crate) fn of_export(name: &str, error: &ExportError) -> Self {
        let mut text = error.to_string();
        let problem = match (error.status(), error.kind()) {
            (Some(300..=399), _) => Problem::Redirect,
            (Some(401), _) => Problem::WrongKey,
            (Some(402), _) => Problem::Quota,
            (Some(403), _) => Problem::Forbidden,
            (Some(407), _) => Problem::Proxy,
            (Some(404 | 405 | 501), _) => Problem::OldServer,
            (Some(413), _) | (_, ExportErrorKind::TooLarge) => Problem::TooLarge,
            (Some(429), _) => Problem::RateLimited,
            (Some(408 | 504), _) => Problem::Timeout,
            (Some(500..), _) => Problem::Unhealthy,
            (_, ExportErrorKind::Rejected) => Problem::Rejected,
            // An error of an export says it in words only.
            (None, _) if text.contains("no answer from ") => Problem::Timeout,
            (None, _) => Problem::Connection,
            // Opik's cloud says so of one that it does not know.
            (Some(400), _) if text.contains("workspace") => Problem::WrongWorkspace,
            // An answer, and not one of the API.
            (Some(_), _) => Problem::WrongServer,
        };
        if problem == Problem::Rejected
            && let Some(answer) = error.response_snippet()
        {
            // It is about a record that holds nothing of anybody's.
            text.push_str("; the server answered: ");
            text.push_str(answer);
        }
        Self::of(problem, name, text)
    }
}
