//! The way to one Opik: its HTTP sender and the form of authorization that it takes.

use beluga_o11y_http::{HttpError, HttpRequest, HttpResponse, HttpSender};

use crate::auth::Auth;

#[derive(Debug)]
pub(crate) struct Connection {
    sender: HttpSender,
    auth: Auth,
}

impl Connection {
    pub(crate) fn new(sender: HttpSender, auth: Auth) -> Self {
        Self { sender, auth }
    }

    pub(crate) fn sender(&self) -> &HttpSender {
        &self.sender
    }

    /// Without authorization: for what tells nothing of anybody's data.
    pub(crate) async fn get(&self, path: &'static str) -> Result<HttpResponse, HttpError> {
        self.sender.send(HttpRequest::get(path)).await
    }

    /// With authorization: for what is somebody's.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.auth.send(&self.sender, request).await
    }

    /// With authorization.
    pub(crate) async fn post(
        &self,
        path: &'static str,
        body: Vec<u8>,
    ) -> Result<HttpResponse, HttpError> {
        self.send(HttpRequest::post(path, "application/json", body))
            .await
    }
}
