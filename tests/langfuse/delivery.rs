//! What is sent, and where to.

use beluga_o11y::TraceExporter;
use beluga_o11y_sandbox::{Backend, LangfuseProject, Sandbox};

use super::*;

#[tokio::test]
async fn the_request() {
    let server = Server::start([]).await;
    let langfuse = at(server.url("/")).with_gzip(false).build().unwrap();
    let call = call();
    langfuse.export_llm_call(&call).await.unwrap();
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.method_str(), "POST");
    for (name, value) in [
        ("content-type", "application/x-protobuf"),
        (
            "authorization",
            "Basic cGstbGYtY2FuYXJ5OnNrLWxmLWNhbmFyeQ==",
        ),
        ("x-langfuse-ingestion-version", "4"),
        ("x-langfuse-sdk-name", "beluga-o11y-rust"),
        ("x-langfuse-sdk-version", env!("CARGO_PKG_VERSION")),
        (
            "user-agent",
            concat!("beluga-o11y-langfuse/", env!("CARGO_PKG_VERSION")),
        ),
    ] {
        assert_eq!(header(&request, name), [value]);
    }
    assert_eq!(header(&request, "content-encoding"), [""; 0]);
    assert_eq!(request.body_ref(), langfuse.encode(&call).unwrap());
    langfuse_compresses(&server).await;
}

async fn langfuse_compresses(server: &Server) {
    let large = call().with_response("x".repeat(2_000));
    exporter(server).export_llm_call(&large).await.unwrap();
    let request = server.requests().pop().unwrap();
    assert_eq!(header(&request, "content-encoding"), ["gzip"]);
    assert_eq!(header(&request, "content-type"), ["application/x-protobuf"]);
}

#[tokio::test]
async fn where_to() {
    for (base_url, path) in [
        ("", "/api/public/otel/v1/traces"),
        ("/", "/api/public/otel/v1/traces"),
        ("/prefix", "/prefix/api/public/otel/v1/traces"),
        ("/prefix/", "/prefix/api/public/otel/v1/traces"),
    ] {
        let server = Server::start([]).await;
        export(&at(server.url(base_url)).build().unwrap())
            .await
            .unwrap();
        assert_eq!(server.paths(), [path], "{base_url}");
    }
}

#[tokio::test]
async fn bad_calls() {
    let sandbox = Sandbox::builder()
        .with_langfuse(LangfuseProject::new(PUBLIC_KEY, SECRET_KEY))
        .start()
        .unwrap();
    let langfuse = at(sandbox.langfuse_url()).build().unwrap();
    bad_calls_cost_no_other(
        "langfuse",
        &langfuse,
        || sandbox.request_count(),
        || sandbox.calls_of(Backend::Langfuse).len(),
    )
    .await;
}
