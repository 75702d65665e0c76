//! A plain receiver of OTLP over HTTP: what any OpenTelemetry backend or Collector has to do, and no more.

mod call;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;

use crate::answer::{Answer, Payload};
use crate::arrival::News;
use crate::body::{Coding, Problem};
use crate::role::{Arrived, Role};
use crate::rows::Rows;
use crate::sandbox::{Sandbox, SandboxBuilder};
use crate::shared::lock;
use crate::spans::{self, OtlpSpan};
use crate::stored::{Backend, StoredCall};
use crate::text::percent_encoded;

const PROTOBUF: &str = "application/x-protobuf";

impl SandboxBuilder {
    /// Makes the OTLP receiver want this header, as backends want their keys; without it the answer is 401. Called
    /// again, it adds one. Default: none.
    #[must_use]
    pub fn with_otlp_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.otlp.headers.push((name.into(), value.into()));
        self
    }
}

impl Sandbox {
    /// The spans that this backend stored, whole and in the order in which their rows first arrived: of
    /// [`Backend::Langfuse`], [`Backend::Phoenix`] and [`Backend::Otlp`]; the others take none.
    ///
    /// Langfuse and Phoenix have one for each row, the plain receiver one for each that arrived.
    pub fn otlp_spans(&self, backend: Backend) -> Vec<OtlpSpan> {
        match backend {
            Backend::Langfuse => self.shared.langfuse.spans(),
            Backend::Phoenix => self.shared.phoenix.spans(),
            Backend::Otlp => self.shared.otlp.store().spans.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Makes the OTLP receiver answer, from the next request on, with a `partial_success`: it does not store the last
    /// `rejected_spans` spans of each request, and says so with this message. With 0 rejected it is a warning.
    pub fn answer_otlp_partially(&self, rejected_spans: u32, message: impl Into<String>) {
        *self.shared.otlp.partial() = Some((rejected_spans, message.into()));
    }

    /// Makes the OTLP receiver take everything again, and say nothing about it.
    pub fn answer_otlp_fully(&self) {
        *self.shared.otlp.partial() = None;
    }
}

/// What the builder was told about the receiver. `Debug` does not show the headers' values.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    headers: Vec<(String, String)>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.headers.iter().map(|(name, _)| name);
        formatter.debug_set().entries(names).finish()
    }
}

/// What the receiver accepted, in order of arrival.
#[derive(Debug, Default)]
struct Store {
    spans: Rows<OtlpSpan>,
    /// How many of them have this trace id and span id.
    with_ids: HashMap<(String, String), usize>,
}

impl Store {
    /// The place of the row, and whether there was one with its ids.
    fn put(&mut self, span: OtlpSpan) -> (usize, bool) {
        let ids = (span.trace_id.clone(), span.span_id.clone());
        let with_ids = self.with_ids.entry(ids).or_default();
        let again = *with_ids > 0;
        *with_ids += 1;
        (self.spans.push(span), again)
    }

    fn forget_beyond(&mut self, max: usize) {
        while let Some((_, span)) = self.spans.pop_beyond(max) {
            let ids = (span.trace_id, span.span_id);
            if let Entry::Occupied(mut with_ids) = self.with_ids.entry(ids) {
                *with_ids.get_mut() -= 1;
                if *with_ids.get() == 0 {
                    with_ids.remove();
                }
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Otlp {
    settings: Settings,
    partial: Mutex<Option<(u32, String)>>,
    max_rows: usize,
    store: Mutex<Store>,
}

impl Otlp {
    pub(crate) fn new(settings: Settings, max_rows: usize) -> Self {
        Self {
            settings,
            max_rows,
            partial: Mutex::default(),
            store: Mutex::default(),
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    fn partial(&self) -> MutexGuard<'_, Option<(u32, String)>> {
        lock(&self.partial)
    }

    /// The variables that point an exporter at it, which is at this URL, with the headers that it asks for.
    pub(crate) fn environment(&self, url: String) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ];
        let headers = self.settings.headers.iter();
        let headers: Vec<String> = headers
            .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
            .collect();
        if !headers.is_empty() {
            all.push(("OTEL_EXPORTER_OTLP_HEADERS", headers.join(",")));
        }
        all
    }

    fn try_answer(&self, request: &Arrived<'_>, news: &mut News) -> Result<Answer, Answer> {
        if request.path != "/v1/traces" {
            return Err(Answer::text(StatusCode::NOT_FOUND, "404 page not found\n"));
        }
        if request.head.method != Method::POST {
            let text = "405 method not allowed, supported: [POST]";
            return Err(Answer::text(StatusCode::METHOD_NOT_ALLOWED, text));
        }
        if let Some(Problem::TooLarge(_)) = request.body.problem {
            return Err(status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let has = |(name, value): &(String, String)| request.header(name) == Some(value);
        if !self.settings.headers.iter().all(has) {
            return Err(status(StatusCode::UNAUTHORIZED));
        }
        let content_type = request.header("content-type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case(PROTOBUF) {
            let text = "415 unsupported media type, supported: [application/x-protobuf]";
            return Err(Answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        let encoding = request.header("content-encoding").unwrap_or_default();
        if !matches!(encoding, "" | "identity") && self.coding(encoding).is_none() {
            let text = format!("unsupported Content-Encoding: {encoding}");
            return Err(Answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text));
        }
        match request.body.problem {
            Some(Problem::Corrupt) => return Err(status(StatusCode::BAD_REQUEST)),
            Some(_) => return Err(status(StatusCode::PAYLOAD_TOO_LARGE)),
            None => {}
        }
        let spans = spans::decode(&request.body.bytes);
        let mut spans = spans.map_err(|_| status(StatusCode::BAD_REQUEST))?;
        let partial = self.partial().clone();
        let response = ExportTraceServiceResponse {
            partial_success: partial.map(|(rejected, message)| {
                let kept = spans.len().saturating_sub(rejected as usize);
                spans.truncate(kept);
                ExportTracePartialSuccess {
                    rejected_spans: rejected.into(),
                    error_message: message,
                }
            }),
        };
        let mut store = self.store();
        for span in spans {
            let (place, again) = store.put(span);
            news.note(again, || call::of(store.spans.get(place)?));
        }
        store.forget_beyond(self.max_rows);
        Ok(protobuf(StatusCode::OK, response.encode_to_vec()))
    }
}

impl Role for Otlp {
    fn backend(&self) -> Backend {
        Backend::Otlp
    }

    fn prefix(&self) -> &'static str {
        "/otlp"
    }

    fn coding(&self, content_encoding: &str) -> Option<Coding> {
        content_encoding
            .eq_ignore_ascii_case("gzip")
            .then_some(Coding::Gzip)
    }

    fn answer(&self, request: &Arrived<'_>, news: &mut News) -> Answer {
        self.try_answer(request, news)
            .unwrap_or_else(|refusal| refusal)
    }

    fn refusal(&self, code: StatusCode) -> Answer {
        if code.as_u16() < 400 {
            return protobuf(code, Vec::new());
        }
        status(code)
    }

    fn calls(&self) -> Vec<StoredCall> {
        self.store().spans.iter().filter_map(call::of).collect()
    }

    fn stored(&self) -> usize {
        self.store().spans.len()
    }

    fn clear(&self) {
        *self.store() = Store::default();
    }
}

fn protobuf(status: StatusCode, body: Vec<u8>) -> Answer {
    Answer::empty(status)
        .with_body(Payload::from(Bytes::from(body)))
        .with_header("content-type", PROTOBUF)
}

/// A refusal with the `google.rpc.Status` that OTLP wants as its body: 1 is the code, 2 the message.
fn status(status: StatusCode) -> Answer {
    let code = match status.as_u16() {
        400 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        408 | 504 => 4,
        413 | 429 => 8,
        500 => 13,
        502 | 503 => 14,
        _ => 2,
    };
    let message = status.canonical_reason().unwrap_or_default();
    let length = u8::try_from(message.len()).unwrap_or_default();
    let mut body = vec![0x08, code, 0x12, length];
    body.extend_from_slice(message.get(..length.into()).unwrap_or_default().as_bytes());
    protobuf(status, body)
}
