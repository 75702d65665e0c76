//! The way to any backend that takes OTLP.

use std::{borrow::Cow, fmt};

use beluga_o11y::{BatchReport, ExportError, LLMCallData};
use beluga_o11y_http::{
    HttpError, HttpRequest, HttpResponse, HttpSender, SecretHeaderValue, export_packed,
};
use prost::Message;

use crate::{
    Attributes, convert,
    spans::{Filling, Spans},
    wire::{ExportTraceServiceRequest, Resource, ResourceSpans, Scope, ScopeSpans, Span},
};

/// The one content type of OTLP's binary form. No parameters: Phoenix refuses it with a charset.
const PROTOBUF: &str = "application/x-protobuf";
const MAX_RECORD_BYTES: usize = 20_000_000;
const MAX_REQUEST_BYTES: usize = 4_000_000;

/// What is a backend's own in OTLP: its name, its attributes, and what its answers mean.
///
/// For exporters to backends that take OTLP. Everything else is [`OtlpTraces`].
pub trait OtlpBackend: Send + Sync {
    /// The name of the exporter, which its errors start with.
    fn name(&self) -> &'static str;

    /// Adds all attributes of a call's span. [`OtlpConventions::write`](crate::OtlpConventions::write) adds those that
    /// OpenInference and OpenTelemetry name.
    fn attributes(&self, call: &LLMCallData, attributes: &mut Attributes);

    /// What an answer means; nothing if the spans were taken. `spans` is how many were sent.
    fn error(&self, response: &HttpResponse, spans: usize) -> Option<ExportError>;

    /// Whether a span names the caller's own span as its parent, if the caller's ids are of the form that OpenTelemetry has. Right
    /// where the caller's own spans go too; elsewhere the backend may hide a span whose parent it never sees.
    /// Default true.
    fn sends_parent(&self) -> bool {
        true
    }

    /// Whether the character U+0000 is replaced by U+FFFD, because the backend could not store a span with it. Default
    /// false.
    fn replaces_nul(&self) -> bool {
        false
    }
}

/// Sends calls as OTLP over HTTP to one backend, which is what exporters to such backends are made of.
///
/// Nothing is queued or tried again here. A call is one span, in requests of at most 512 spans and 4 MB before
/// compression. `Debug` shows no secret, and of the resource how many attributes it has.
pub struct OtlpTraces<B> {
    backend: B,
    sender: HttpSender,
    path: Cow<'static, str>,
    authorization: Option<SecretHeaderValue>,
    resource: Resource,
    max_record_bytes: usize,
    max_request_bytes: usize,
}

impl<B: OtlpBackend> OtlpTraces<B> {
    /// Posts to this path below the sender's base URL, without authorization and resource attributes.
    pub fn new(backend: B, sender: HttpSender, path: impl Into<Cow<'static, str>>) -> Self {
        Self {
            backend,
            sender,
            path: path.into(),
            authorization: None,
            resource: Resource::default(),
            max_record_bytes: MAX_RECORD_BYTES,
            max_request_bytes: MAX_REQUEST_BYTES,
        }
    }

    /// The `Authorization` header of every request. Default none.
    #[must_use]
    pub fn with_authorization(mut self, authorization: Option<SecretHeaderValue>) -> Self {
        self.authorization = authorization;
        self
    }

    /// The attributes of the resource, which all spans share. Default none.
    #[must_use]
    pub fn with_resource(mut self, attributes: Attributes) -> Self {
        self.resource = Resource {
            attributes: attributes.0,
        };
        self
    }

    /// The most bytes of OTLP that a call may have; larger ones are refused before anything is sent. Default 20 MB, which
    /// is what an OpenTelemetry Collector takes.
    #[must_use]
    pub fn with_max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = bytes;
        self
    }

    /// The most bytes of spans in a request, before compression; a single call may be larger. Default 4 MB.
    #[must_use]
    pub fn with_max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// The sender, for requests without the authorization.
    pub fn sender(&self) -> &HttpSender {
        &self.sender
    }

    /// Sends the calls, see [`export_packed`].
    ///
    /// # Errors
    ///
    /// Those of [`export_packed`].
    pub async fn export(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let filling = Filling {
            spans: Spans::new(self.max_request_bytes),
            backend: &self.backend,
            max_record_bytes: self.max_record_bytes,
        };
        export_packed(calls, filling, |spans| self.send(spans)).await
    }

    async fn send(&self, spans: Vec<Span>) -> Result<(), ExportError> {
        let count = spans.len();
        let response = self.post(self.body(spans)).await;
        let response = response.map_err(|error| error.into_export_error(self.backend.name()))?;
        self.backend.error(&response, count).map_or(Ok(()), Err)
    }

    /// Sends a request without spans, which changes nothing, and gives the answer: whether there is a receiver, and
    /// whether it takes the credentials.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn probe(&self) -> Result<HttpResponse, HttpError> {
        self.post(Vec::new()).await
    }

    /// Asks for a path below the base URL, with the authorization.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn get(&self, path: impl Into<Cow<'static, str>>) -> Result<HttpResponse, HttpError> {
        self.request(HttpRequest::get(path)).await
    }

    async fn post(&self, body: Vec<u8>) -> Result<HttpResponse, HttpError> {
        self.request(HttpRequest::post(self.path.clone(), PROTOBUF, body))
            .await
    }

    /// Sends a request of the exporter's own, with the authorization.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn request(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = match &self.authorization {
            Some(authorization) => request.with_authorization(authorization),
            None => request,
        };
        self.sender.send(request).await
    }

    /// The request that a call would be sent in, alone and before compression, for a dry run.
    ///
    /// # Errors
    ///
    /// The backend could not take the call.
    pub fn encode(&self, call: &LLMCallData) -> Result<Vec<u8>, ExportError> {
        let (span, _) = convert::span(&self.backend, call, self.max_record_bytes)?;
        Ok(self.body(vec![span]))
    }

    fn body(&self, spans: Vec<Span>) -> Vec<u8> {
        let scope = Scope {
            name: "beluga-o11y".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                }],
            }],
        };
        request.encode_to_vec()
    }
}

impl<B: fmt::Debug> fmt::Debug for OtlpTraces<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpTraces")
            .field("backend", &self.backend)
            .field("sender", &self.sender)
            .field("path", &self.path)
            .field("authorization", &self.authorization.is_some())
            .field("resource", &self.resource.attributes.len())
            .field("max_record_bytes", &self.max_record_bytes)
            .field("max_request_bytes", &self.max_request_bytes)
            .finish()
    }
}
