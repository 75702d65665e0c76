//! What is sent, and where to.

use beluga_o11y::{ExportErrorKind, TraceExporter};
use beluga_o11y_sandbox::{Backend, Sandbox};

use super::*;

#[tokio::test]
async fn the_request() {
    let server = Server::start([]).await;
    let otlp = at(server.url("/"))
        .with_header("x-tenant", "t1")
        .with_gzip(false)
        .build()
        .unwrap();
    export(&otlp).await.unwrap();
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.method_str(), "POST");
    assert_eq!(request.uri().path(), "/v1/traces");
    // Phoenix takes it in no other form: no charset, no second value.
    assert_eq!(header(&request, "content-type"), ["application/x-protobuf"]);
    assert_eq!(header(&request, "authorization"), ["Bearer canary-key"]);
    assert_eq!(header(&request, "x-tenant"), ["t1"]);
    assert_eq!(header(&request, "content-encoding"), [""; 0]);
    let agent = concat!("beluga-o11y-otlp/", env!("CARGO_PKG_VERSION"));
    assert_eq!(header(&request, "user-agent"), [agent]);
    let server = Server::start([]).await;
    let otlp = at(server.url("/")).with_gzip(false).build().unwrap();
    let call = call();
    otlp.export_llm_call(&call).await.unwrap();
    assert_eq!(server.requests()[0].body_ref(), otlp.encode(&call).unwrap());
}

#[tokio::test]
async fn what_is_large_is_compressed() {
    let server = Server::start([]).await;
    let otlp = exporter(&server);
    otlp.export_llm_call(&call().with_response("x".repeat(2_000)))
        .await
        .unwrap();
    otlp.check().await.unwrap();
    let [large, small] = server.requests().try_into().unwrap();
    assert_eq!(header(&large, "content-encoding"), ["gzip"]);
    assert_eq!(large.body_ref()[..2], [0x1f, 0x8b]);
    assert_eq!(header(&small, "content-encoding"), [""; 0]);
}

#[tokio::test]
async fn where_to() {
    for (endpoint, path) in [
        ("", "/v1/traces"),
        ("/", "/v1/traces"),
        ("/v1/traces", "/v1/traces"),
        ("/v1/traces/", "/v1/traces"),
        ("/prefix", "/prefix/v1/traces"),
        ("/prefix/", "/prefix/v1/traces"),
        ("/prefix/v1/traces", "/prefix/v1/traces"),
    ] {
        let server = Server::start([]).await;
        let otlp = at(server.url(endpoint)).build().unwrap();
        export(&otlp).await.unwrap();
        assert_eq!(server.paths(), [path], "{endpoint}");
        assert_eq!(otlp.config().endpoint, server.url(path));
    }
    // For traces the URL is taken as it is.
    for path in ["/", "/x/y", "/api/v2/otlp", "/prefix/v1/traces"] {
        let server = Server::start([]).await;
        let otlp = OtlpExporter::builder().with_traces_endpoint(server.url(path));
        export(&otlp.build().unwrap()).await.unwrap();
        assert_eq!(server.paths(), [path]);
    }
    // What was said last counts.
    let builder = OtlpExporter::builder();
    let last = builder
        .with_traces_endpoint("http://localhost:1/x")
        .with_endpoint("http://localhost:2");
    assert_eq!(
        last.build().unwrap().config().endpoint,
        "http://localhost:2/v1/traces"
    );
    let default = OtlpExporter::builder().build().unwrap();
    assert_eq!(default.config().endpoint, "http://localhost:4318/v1/traces");
}

#[tokio::test]
async fn a_batch_is_split_by_count_and_by_bytes() {
    let sandbox = Sandbox::start().unwrap();
    let otlp = at(sandbox.otlp_url()).build().unwrap();
    let batch = calls(513);
    let batch: Vec<_> = batch.iter().collect();
    let report = otlp.export_batch(&batch).await.unwrap();
    assert!(report.is_complete());
    assert_eq!(sandbox.request_count(), 2);
    assert_eq!(sandbox.otlp_spans(Backend::Otlp).len(), 513);

    let size = otlp.encode(&call()).unwrap().len();
    let sandbox = Sandbox::start().unwrap();
    let otlp = at(sandbox.otlp_url()).with_max_request_bytes(2 * size);
    let otlp = otlp.build().unwrap();
    assert!(otlp.export_batch(&batch[..4]).await.unwrap().is_complete());
    assert_eq!(sandbox.request_count(), 2);
    assert_eq!(sandbox.otlp_spans(Backend::Otlp).len(), 4);
    assert!(otlp.export_batch(&[]).await.unwrap().is_complete());
    assert_eq!(sandbox.request_count(), 2);
}

#[tokio::test]
async fn a_server_that_refuses_every_call_is_asked_once() {
    let server = Server::start([answer(401)]).await;
    let otlp = at(server.url("/"))
        .with_max_request_bytes(1)
        .build()
        .unwrap();
    let batch = calls(3);
    let batch: Vec<_> = batch.iter().collect();
    let error = otlp.export_batch(&batch).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Destination);
    assert_eq!(server.requests().len(), 1);
    // A request that is refused costs no other.
    let server = Server::start([answer(400)]).await;
    let otlp = at(server.url("/"))
        .with_max_request_bytes(1)
        .build()
        .unwrap();
    let report = otlp.export_batch(&batch).await.unwrap();
    assert_eq!(report.failures.len(), 3);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn no_attribute_comes_twice() {
    let sandbox = Sandbox::start().unwrap();
    let otlp = at(sandbox.otlp_url())
        .with_service_name("svc")
        .with_resource_attribute("service.name", "other")
        .with_resource_attribute("telemetry.sdk.language", "own")
        .build()
        .unwrap();
    export(&otlp).await.unwrap();
    let [span] = sandbox.otlp_spans(Backend::Otlp).try_into().unwrap();
    assert_eq!(span.repeated, [""; 0]);
    assert_eq!(span.resource["service.name"], "svc");
    assert_eq!(span.resource["telemetry.sdk.language"], "own");
}

#[tokio::test]
async fn bad_calls() {
    let sandbox = Sandbox::start().unwrap();
    let otlp = at(sandbox.otlp_url()).build().unwrap();
    bad_calls_cost_no_other(
        "otlp",
        &otlp,
        || sandbox.request_count(),
        || sandbox.otlp_spans(Backend::Otlp).len(),
    )
    .await;
}
