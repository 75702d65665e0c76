//! Which form of authorization the server takes.
//!
//! Opik's documentation of this provider says `Bearer <key>`. Its own clients send the bare key, its
//! open-source server ignores the header, and the cloud's auth service, which decides, is closed. So
//! the documented form goes first, and when the server refuses it with 401, the bare key is tried. If
//! that is refused too, it is tried again only after a while: a wrong key must not double every request,
//! and a key that becomes good must be found so.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use beluga_o11y_http::{
    HttpConfigError, HttpError, HttpRequest, HttpResponse, HttpSender, SecretHeaderValue,
};
use tokio::sync::Mutex;

/// How the API key is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpikAuthorization {
    /// `Authorization: Bearer <key>`; if the server answers 401, the bare key, at most every 10 seconds.
    /// Whichever was accepted stays. A key that brings a scheme (`Basic ..`) goes as it is.
    #[default]
    Auto,
    /// `Authorization: Bearer <key>`, and nothing else.
    Bearer,
    /// `Authorization: <key>`, as Opik's own clients send it, and nothing else.
    Bare,
}

/// After both forms were refused, the second one is left alone for this long.
const ASK_AGAIN: Duration = Duration::from_secs(10);

const OPEN: u8 = 0;
const FIRST: u8 = 1;
const SECOND: u8 = 2;

/// The forms of the header, and what has been found out about them.
#[derive(Debug)]
pub(crate) struct Auth {
    first: Option<SecretHeaderValue>,
    second: Option<SecretHeaderValue>,
    state: AtomicU8,
    /// When both forms were refused for the last time, if nothing is decided yet.
    deciding: Mutex<Option<Instant>>,
    /// How long to wait for the request that decides.
    patience: Duration,
}

impl Auth {
    pub(crate) fn new(
        key: Option<&str>,
        form: OpikAuthorization,
        patience: Duration,
    ) -> Result<Self, HttpConfigError> {
        let bearer = |key: &str| SecretHeaderValue::new(&format!("Bearer {key}"));
        let (first, second) = match (key, form) {
            (None, _) => (None, None),
            (Some(key), _) if has_scheme(key) => (Some(SecretHeaderValue::new(key)?), None),
            (Some(key), OpikAuthorization::Bearer) => (Some(bearer(key)?), None),
            (Some(key), OpikAuthorization::Bare) => (Some(SecretHeaderValue::new(key)?), None),
            (Some(key), OpikAuthorization::Auto) => {
                (Some(bearer(key)?), Some(SecretHeaderValue::new(key)?))
            }
        };
        Ok(Self {
            state: AtomicU8::new(if second.is_some() { OPEN } else { FIRST }),
            first,
            second,
            deciding: Mutex::new(None),
            patience,
        })
    }

    /// Sends a request in the form that the server takes, or finds out which one that is.
    pub(crate) async fn send(
        &self,
        sender: &HttpSender,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        let state = self.state.load(Ordering::Acquire);
        let response = self.send_as(sender, &request, state).await?;
        if state != OPEN {
            return Ok(response);
        }
        if response.is_success() {
            // Unless another request has found out otherwise meanwhile.
            let _ = self
                .state
                .compare_exchange(OPEN, FIRST, Ordering::AcqRel, Ordering::Acquire);
            return Ok(response);
        }
        if response.status() != 401 {
            return Ok(response);
        }
        // Requests that were refused meanwhile wait here for the one that finds out, and then go on side
        // by side. They do not wait for ever: that one may be a future that nobody polls any more.
        let Ok(mut deciding) = tokio::time::timeout(self.patience, self.deciding.lock()).await
        else {
            return self.send_as(sender, &request, SECOND).await;
        };
        match self.state.load(Ordering::Acquire) {
            FIRST => return Ok(response),
            SECOND => {
                drop(deciding);
                return self.send_as(sender, &request, SECOND).await;
            }
            _ if deciding.is_some_and(|refused| refused.elapsed() < ASK_AGAIN) => {
                return Ok(response);
            }
            _ => {}
        }
        let second = self.send_as(sender, &request, SECOND).await?;
        match second.status() {
            401 => {
                *deciding = Some(Instant::now());
                Ok(response)
            }
            // Busy or down says nothing about the key: the next request finds out.
            408 | 425 | 429 | 500.. => Ok(second),
            _ => {
                self.state.store(SECOND, Ordering::Release);
                Ok(second)
            }
        }
    }

    async fn send_as(
        &self,
        sender: &HttpSender,
        request: &HttpRequest,
        state: u8,
    ) -> Result<HttpResponse, HttpError> {
        let form = if state == SECOND {
            &self.second
        } else {
            &self.first
        };
        let request = match form {
            Some(value) => request.clone().with_authorization(value),
            None => request.clone(),
        };
        sender.send(request).await
    }
}

/// `Bearer x`, `Basic x`: a word, a blank and the rest. Opik's own keys have no blanks.
fn has_scheme(key: &str) -> bool {
    key.split_once(' ').is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}
