//! What is sent, and where to.

use beluga_o11y::TraceExporter;
use beluga_o11y_sandbox::{Backend, Sandbox};

use super::*;

#[tokio::test]
async fn the_request() {
    let server = Server::start([]).await;
    let phoenix = at(server.url("/")).with_gzip(false).build().unwrap();
    let call = call();
    phoenix.export_llm_call(&call).await.unwrap();
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.method_str(), "POST");
    // In no other form: no charset, no second value.
    assert_eq!(header(&request, "content-type"), ["application/x-protobuf"]);
    assert_eq!(header(&request, "authorization"), ["Bearer canary-key"]);
    // Empty, it would make a project without a name.
    assert_eq!(header(&request, "x-project-name"), [""; 0]);
    assert_eq!(header(&request, "content-encoding"), [""; 0]);
    let agent = concat!("beluga-o11y-phoenix/", env!("CARGO_PKG_VERSION"));
    assert_eq!(header(&request, "user-agent"), [agent]);
    assert_eq!(request.body_ref(), phoenix.encode(&call).unwrap());

    let large = call.with_response("x".repeat(2_000));
    exporter(&server).export_llm_call(&large).await.unwrap();
    let request = server.requests().pop().unwrap();
    assert_eq!(header(&request, "content-encoding"), ["gzip"]);
    assert_eq!(header(&request, "content-type"), ["application/x-protobuf"]);
    let open = PhoenixExporter::builder().with_base_url(server.url("/"));
    export(&open.build().unwrap()).await.unwrap();
    let request = server.requests().pop().unwrap();
    assert_eq!(header(&request, "authorization"), [""; 0]);
}

#[tokio::test]
async fn where_to() {
    for (base_url, path) in [
        ("", "/v1/traces"),
        ("/", "/v1/traces"),
        ("/v1/traces", "/v1/traces"),
        ("/v1/traces/", "/v1/traces"),
        ("/s/space", "/s/space/v1/traces"),
        ("/s/space/", "/s/space/v1/traces"),
        ("/s/space/v1/traces", "/s/space/v1/traces"),
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
    let sandbox = Sandbox::builder().with_phoenix_key(KEY).start().unwrap();
    let phoenix = at(sandbox.phoenix_url()).build().unwrap();
    bad_calls_cost_no_other(
        "phoenix",
        &phoenix,
        || sandbox.request_count(),
        || sandbox.calls_of(Backend::Phoenix).len(),
    )
    .await;
}
