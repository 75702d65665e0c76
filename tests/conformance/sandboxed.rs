//! An exporter to a backend that the sandbox plays.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use beluga_o11y::{LLMCallData, TraceExporter, async_trait};
use beluga_o11y_sandbox::{
    Backend, Sandbox, SandboxBuilder,
    conformance::{Feature, Subject},
};

/// The key that every backend knows.
pub(crate) const KEY: &str = "the-right-key";

/// What makes one backend another than the others.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) backend: Backend,
    /// Tells the sandbox to know [`KEY`].
    pub(crate) sandbox: fn(SandboxBuilder) -> SandboxBuilder,
    pub(crate) url: fn(&Sandbox) -> String,
    /// With a URL and a key.
    pub(crate) exporter: fn(String, &str) -> Arc<dyn TraceExporter>,
    pub(crate) has_credentials: bool,
    pub(crate) not_shown: fn(Feature, &str) -> Option<&'static str>,
}

pub(crate) struct Sandboxed {
    row: Row,
    sandbox: Sandbox,
    closed_port: socket2::Socket,
}

impl Row {
    pub(crate) fn start(self) -> Sandboxed {
        let sandbox = (self.sandbox)(Sandbox::builder()).start();
        // Bound, so that nobody else gets it, but nobody listens.
        let closed_port = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        closed_port
            .bind(&any.into())
            .expect("a free port on loopback");
        Sandboxed {
            row: self,
            sandbox: sandbox.expect("a free port on loopback"),
            closed_port,
        }
    }
}

impl Sandboxed {
    fn url(&self) -> String {
        (self.row.url)(&self.sandbox)
    }
}

#[async_trait]
impl Subject for Sandboxed {
    fn exporter(&self) -> Arc<dyn TraceExporter> {
        (self.row.exporter)(self.url(), KEY)
    }

    async fn arrived(&self) -> Vec<LLMCallData> {
        let calls = self.sandbox.calls_of(self.row.backend);
        calls.into_iter().map(LLMCallData::from).collect()
    }

    fn not_shown(&self, feature: Feature, case: &str) -> Option<&'static str> {
        (self.row.not_shown)(feature, case)
    }

    fn with_wrong_credentials(&self, key: &str) -> Option<Arc<dyn TraceExporter>> {
        let exporter = || (self.row.exporter)(self.url(), key);
        self.row.has_credentials.then(exporter)
    }

    fn down(&self) -> Option<Arc<dyn TraceExporter>> {
        let address = self.closed_port.local_addr().ok()?.as_socket()?;
        let here = self.sandbox.address().to_string();
        let url = self.url().replace(&here, &address.to_string());
        Some((self.row.exporter)(url, KEY))
    }
}
