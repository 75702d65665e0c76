//! One exact request, one exact answer.

use beluga_o11y::{ExportErrorKind, LLMCallData, TraceExporter};
use httpmock::{When, prelude::*};
use serde_json::json;

use super::*;

fn exporter_to(server: &MockServer) -> OpikExporterBuilder {
    OpikExporter::builder().with_base_url(server.url("/prefix/api/"))
}

#[tokio::test]
async fn the_documented_call_on_the_wire() {
    let server = MockServer::start_async().await;
    let now = chrono::Utc::now();
    let id = LLMCallData::new("", "").with_start_time(now).id();
    let start = now.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let end = (now + chrono::TimeDelta::milliseconds(1200))
        .to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let head = |when: When, path: &str| {
        when.method(POST)
            .path(path)
            .header("authorization", "Bearer opik-key")
            .header("comet-workspace", "my-workspace")
            .header("content-type", "application/json")
    };
    let traces = server
        .mock_async(|when, then| {
            head(when, "/prefix/api/v1/private/traces/batch").json_body(json!({"traces": [{
                "id": id,
                "name": "openai/gpt-4o",
                "start_time": start,
                "end_time": end,
                "output": {"response": "The capital of France is Paris."},
                "metadata": {
                    "model": "gpt-4o", "provider": "openai", "input_tokens": 500,
                    "output_tokens": 150, "total_tokens": 650, "cost": 0.003,
                    "experiment": "baseline-v2",
                },
                "last_updated_at": end,
                "source": "sdk",
            }]}));
            then.status(204);
        })
        .await;
    let spans = server
        .mock_async(|when, then| {
            head(when, "/prefix/api/v1/private/spans/batch").is_true(move |request| {
                let body: serde_json::Value = serde_json::from_slice(request.body_ref()).unwrap();
                let mut span = body["spans"][0].clone();
                let span_id = span.as_object_mut().unwrap().remove("id").unwrap();
                assert_ne!(span_id, json!(id));
                span == json!({
                    "trace_id": id,
                    "type": "llm",
                    "name": "openai/gpt-4o",
                    "start_time": start,
                    "end_time": end,
                    "output": {"response": "The capital of France is Paris."},
                    "model": "gpt-4o",
                    "provider": "openai",
                    "usage": {
                        "prompt_tokens": 500, "completion_tokens": 150, "total_tokens": 650,
                        "original_usage.prompt_tokens": 500,
                        "original_usage.completion_tokens": 150,
                        "original_usage.total_tokens": 650,
                    },
                    "total_estimated_cost": 0.003,
                    "last_updated_at": end,
                    "source": "sdk",
                })
            });
            then.status(204);
        })
        .await;

    let opik = exporter_to(&server)
        .with_api_key("opik-key")
        .with_workspace("my-workspace")
        .build()
        .unwrap();
    let call = LLMCallData::new("openai", "gpt-4o")
        .with_id(id)
        .with_start_time(now)
        .with_response("The capital of France is Paris.")
        .with_tokens(500, 150)
        .with_duration(Duration::from_millis(1200))
        .with_cost(0.003)
        .with_metadata("experiment", "baseline-v2");
    opik.export_llm_call(&call).await.unwrap();
    traces.assert_async().await;
    spans.assert_async().await;
}

async fn answered(
    status: u16,
    content_type: &str,
    body: &str,
) -> Result<(), beluga_o11y::ExportError> {
    let server = MockServer::start_async().await;
    server
        .mock_async(|when, then| {
            when.method(POST);
            then.status(status)
                .header("content-type", content_type)
                .body(body);
        })
        .await;
    exporter_to(&server)
        .build()
        .unwrap()
        .export_llm_call(&call())
        .await
}

#[tokio::test]
async fn what_counts_as_stored() {
    answered(201, "application/json", "").await.unwrap();
    answered(204, "", "").await.unwrap();
    answered(200, "application/json", "not json at all")
        .await
        .unwrap();
    answered(
        409,
        "application/json",
        r#"{"errors":["Trace already exists"]}"#,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn what_the_answers_mean() {
    use ExportErrorKind::{Destination, Rejected, Temporary, TooLarge};
    let json = "application/json";
    for (status, content_type, body, kind, text) in [
        (
            200,
            "text/html; charset=utf-8",
            "<html>log in</html>",
            Destination,
            "answered by a web page",
        ),
        (
            400,
            json,
            r#"{"code":400,"message":"Unable to process JSON. Cannot construct"}"#,
            Rejected,
            "400 Bad Request: a record",
        ),
        (
            400,
            json,
            r#"{"code":400,"message":"Workspace `x` does not exist"}"#,
            Destination,
            "400 Bad Request: the workspace",
        ),
        (
            400,
            json,
            r#"{"code":400,"message":"Document length exceeds the maximum allowed"}"#,
            TooLarge,
            "400 Bad Request: the request is too large",
        ),
        (
            401,
            json,
            r#"{"code":401,"message":"API key should be provided"}"#,
            Destination,
            "401 Unauthorized: the API key",
        ),
        (
            402,
            json,
            r#"{"code":402,"message":"You have exceeded the usage limit"}"#,
            Destination,
            "402 Payment Required",
        ),
        (403, json, "{}", Destination, "403 Forbidden"),
        (
            404,
            json,
            r#"{"code":404,"message":"Workspace not found"}"#,
            Destination,
            "404 Not Found: no such workspace",
        ),
        (
            404,
            "text/html",
            "<html>nginx</html>",
            Destination,
            "404 Not Found: no Opik API",
        ),
        (405, "text/html", "", Destination, "405 Method Not Allowed"),
        (408, json, "", Temporary, "408 Request Timeout"),
        (
            409,
            json,
            r#"{"errors":["Project name and workspace name do not match the existing trace"]}"#,
            Rejected,
            "409 Conflict",
        ),
        (413, "text/html", "<html>nginx</html>", TooLarge, "413 "),
        (
            422,
            json,
            r#"{"errors":["traces[0].startTime must not be null"]}"#,
            Rejected,
            "422 Unprocessable Entity",
        ),
        (
            429,
            json,
            r#"{"code":429,"message":"Too Many Requests"}"#,
            Temporary,
            "429 Too Many Requests",
        ),
        (500, json, "", Temporary, "500 "),
        (503, "text/plain", "canary", Temporary, "503 "),
    ] {
        let error = answered(status, content_type, body).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status()),
            (kind, Some(status)),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .starts_with(&format!("opik: export: {text}")),
            "{error}"
        );
        if status >= 400 && !body.is_empty() {
            assert_eq!(error.response_snippet(), Some(body));
            assert!(!error.to_string().contains(body), "{error}");
        }
    }
}

#[tokio::test]
async fn the_servers_wait_is_passed_on() {
    for (header, value, wait) in [
        ("RateLimit-Reset", "7", Some(7)),
        ("Retry-After", "3", Some(3)),
        ("Retry-After", "soon", None),
    ] {
        let server = MockServer::start_async().await;
        server
            .mock_async(|when, then| {
                when.method(POST);
                then.status(429).header(header, value);
            })
            .await;
        let opik = exporter_to(&server).build().unwrap();
        let error = opik.export_llm_call(&call()).await.unwrap_err();
        assert_eq!(
            error.retry_after(),
            wait.map(Duration::from_secs),
            "{header}: {value}"
        );
    }
}
