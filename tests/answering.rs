//! A server that answers as it is told and keeps what it was asked, for tests of one exact request or answer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use beluga_o11y::{ExportError, ExportErrorKind, LLMCallData, TraceExporter};
use httpmock::{HttpMockRequest, HttpMockResponse, MockServer};
use serde_json::{Value, json};

/// What the answers of servers quote, and no error may show.
pub(crate) const PROMPT: &str = "canary prompt";

/// An answer, and the paths that get it: those that start so.
#[derive(Clone)]
pub(crate) struct Answer {
    path: &'static str,
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

pub(crate) fn answer(status: u16) -> Answer {
    Answer {
        path: "/",
        status,
        headers: Vec::new(),
        body: Vec::new(),
    }
}

impl Answer {
    pub(crate) fn on(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self.header("content-type", content_type)
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn html(self) -> Self {
        self.body("text/html; charset=utf-8", "<html>log in</html>")
    }
}

/// Answers with the first answer whose path fits, else with 200 and nothing.
pub(crate) struct Server {
    mock: MockServer,
    requests: Arc<Mutex<Vec<HttpMockRequest>>>,
}

impl Server {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: Vec<_> = answers.into_iter().collect();
        let requests = Arc::<Mutex<Vec<HttpMockRequest>>>::default();
        let seen = requests.clone();
        let mock = MockServer::start_async().await;
        mock.mock_async(|when, then| {
            when.any_request();
            then.respond_with(move |request: &HttpMockRequest| {
                seen.lock().unwrap().push(request.clone());
                let uri = request.uri();
                let fits = answers
                    .iter()
                    .find(|answer| uri.path().starts_with(answer.path));
                let answer = fits.cloned().unwrap_or_else(|| self::answer(200));
                let mut response = HttpMockResponse::builder().status(answer.status);
                for (name, value) in answer.headers {
                    response = response.header(name, value);
                }
                response.body(answer.body).build()
            });
        })
        .await;
        Self { mock, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.mock.url(path)
    }

    pub(crate) fn requests(&self) -> Vec<HttpMockRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// The paths that were asked for, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        let path = |request: &HttpMockRequest| request.uri().path().to_owned();
        self.requests().iter().map(path).collect()
    }
}

/// All values of a header.
pub(crate) fn header(request: &HttpMockRequest, name: &str) -> Vec<String> {
    let headers = request.headers();
    let values = headers.get_all(name).iter();
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn call() -> LLMCallData {
    LLMCallData::new("openai", "gpt-4o")
        .with_messages(json!([{"role": "user", "content": PROMPT}]))
        .with_response("hello")
        .with_tokens(12, 5)
        .with_duration(Duration::from_millis(840))
}

pub(crate) fn calls(count: usize) -> Vec<LLMCallData> {
    (0..count).map(|_| call()).collect()
}

/// What an answer means, and how the message starts.
pub(crate) type Row = (Answer, ExportErrorKind, &'static str);

/// Exports a call to a server with this answer, for each row, and looks at the error.
pub(crate) async fn each_answer_means<E: TraceExporter>(
    name: &str,
    rows: Vec<Row>,
    exporter: impl Fn(&Server) -> E,
) {
    for (answer, kind, text) in rows {
        let (status, body) = (answer.status, answer.body.clone());
        let server = Server::start([answer]).await;
        let error = export(&exporter(&server)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status()),
            (kind, Some(status)),
            "{error}"
        );
        let expected = format!("{name}: export: {text}");
        assert!(error.to_string().starts_with(&expected), "{error}");
        if status >= 400 && !body.is_empty() {
            let body = String::from_utf8(body).unwrap();
            assert_eq!(error.response_snippet(), Some(body.as_str()));
        }
        assert_eq!(server.requests().len(), 1, "{error}");
    }
}

/// Exports a call. Whatever comes of it shows neither the prompt nor a key.
pub(crate) async fn export(exporter: &impl TraceExporter) -> Result<(), ExportError> {
    let result = exporter.export_llm_call(&call()).await;
    let shown = format!("{result:?}");
    assert!(!shown.contains("canary"), "{shown}");
    if let Err(error) = &result {
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    result
}

/// The server's wait of 429 and 503, in both forms.
pub(crate) async fn the_wait_is_passed_on<E: TraceExporter>(exporter: impl Fn(&Server) -> E) {
    for status in [429, 503] {
        for (value, wait) in [("3", Some(3)), ("soon", None), ("0", None)] {
            let server = Server::start([answer(status).header("retry-after", value)]).await;
            let error = export(&exporter(&server)).await.unwrap_err();
            assert_eq!(error.kind(), ExportErrorKind::Temporary);
            assert_eq!(
                error.retry_after(),
                wait.map(Duration::from_secs),
                "{status} {value}"
            );
        }
    }
}

/// Calls that OTLP cannot carry, and how the messages start.
pub(crate) fn bad_calls() -> Vec<(LLMCallData, ExportErrorKind, &'static str)> {
    use ExportErrorKind::{Rejected, TooLarge};
    let time = |text: &str| text.parse().unwrap();
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| Value::Array(vec![inner]));
    vec![
        (
            call().with_cost(f64::NAN),
            Rejected,
            "cost: not a finite number",
        ),
        (
            call().with_cost(-0.01),
            Rejected,
            "cost: -0.01 USD is negative",
        ),
        (
            call().with_start_time(time("1969-12-31T23:59:59Z")),
            Rejected,
            "the start is 1969-",
        ),
        (
            call().with_start_time(time("2262-04-12T00:00:00Z")),
            Rejected,
            "the start is 2262-",
        ),
        (
            call().with_duration(Duration::MAX),
            Rejected,
            "the start is -262143-",
        ),
        (
            call().with_id(uuid::Uuid::nil()),
            Rejected,
            "id: its last 8 bytes are zero",
        ),
        (
            call().with_messages(deep(101)),
            Rejected,
            "messages: JSON is more than 100 levels deep",
        ),
        (
            call().with_metadata("k", deep(10_000)),
            Rejected,
            "metadata: JSON is more than 100 levels",
        ),
        (
            call().with_response("x".repeat(20_000_000)),
            TooLarge,
            "the call is ",
        ),
    ]
}

/// Each bad call alone is a clear error and nothing is sent; in a batch they cost no other. `stored` asks how many the server has.
pub(crate) async fn bad_calls_cost_no_other(
    name: &str,
    exporter: &impl TraceExporter,
    requests: impl Fn() -> u64,
    stored: impl Fn() -> usize,
) {
    let bad = bad_calls();
    for (call, kind, text) in &bad {
        let error = exporter.export_llm_call(call).await.unwrap_err();
        assert_eq!(error.kind(), *kind, "{error}");
        let text = format!("{name}: export: {text}");
        assert!(error.to_string().starts_with(&text), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    assert_eq!(requests(), 0);

    let mut batch = calls(600);
    let places: Vec<_> = (0..bad.len()).map(|i| i * 64 + 3).collect();
    for (place, (call, ..)) in places.iter().zip(&bad) {
        batch[*place] = call.clone();
    }
    let report = exporter
        .export_batch(&batch.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    let reported: Vec<_> = report
        .failures
        .iter()
        .map(|failure| failure.index)
        .collect();
    assert_eq!(reported, places);
    for (failure, (_, kind, _)) in report.failures.iter().zip(&bad) {
        assert_eq!(failure.error.kind(), *kind);
    }
    assert_eq!(stored(), batch.len() - bad.len());

    let deep = (0..100).fold(json!(1), |inner, _| Value::Array(vec![inner]));
    for call in [
        call().with_messages(deep.clone()).with_metadata("k", deep),
        call().with_tokens(u64::MAX, 0),
        call().with_cost(0.0),
        call().with_start_time("1970-01-01T00:00:00Z".parse().unwrap()),
    ] {
        exporter.export_llm_call(&call).await.unwrap();
    }
    assert_eq!(stored(), batch.len() - bad.len() + 4);
}
