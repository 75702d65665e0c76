//! The sandbox itself: started, asked, stopped.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::arrival::{Arrival, Listener};
use crate::fault::Fault;
use crate::langsmith::{self, LangSmith};
use crate::opik::{Dataset, DatasetItem, Experiment, ExperimentItem, Opik, OpikCloud, Span, Trace};
use crate::request::{Log, Request};
use crate::server;
use crate::shared::Shared;
use crate::stored::{Backend, StoredCall};
#[cfg(feature = "otlp")]
use crate::{
    langfuse::{self, Langfuse},
    otlp::{self, Otlp},
    phoenix::{self, Phoenix},
};

/// A running server that behaves like several backends, each under a path of its own. It listens on 127.0.0.1 only, and stops when it is dropped.
///
/// It runs in a thread of its own, so it works in synchronous tests and under any async runtime. Dropping it closes
/// every connection, also hanging ones, and waits for the thread.
///
/// `Debug` shows how much it holds, never what.
pub struct Sandbox {
    address: SocketAddr,
    /// Also for the methods that the backends' own files add.
    pub(crate) shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Starts a sandbox with the rules of self-hosted installations, on a free port.
    ///
    /// # Errors
    /// No port or no thread is to be had.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// A sandbox to be configured.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// The base URL to give to a client of Opik: `http://127.0.0.1:PORT/opik/api`.
    ///
    /// The API is there under `/api` and under no prefix as well, as in real installations.
    pub fn opik_url(&self) -> String {
        format!("http://{}/opik/api", self.address)
    }

    /// The base URL to give to a client of Langfuse: `http://127.0.0.1:PORT/langfuse`.
    #[cfg(feature = "otlp")]
    pub fn langfuse_url(&self) -> String {
        format!("http://{}/langfuse", self.address)
    }

    /// The base URL to give to a client of Arize Phoenix: `http://127.0.0.1:PORT/phoenix`.
    #[cfg(feature = "otlp")]
    pub fn phoenix_url(&self) -> String {
        format!("http://{}/phoenix", self.address)
    }

    /// The base URL to give to a client of LangSmith: `http://127.0.0.1:PORT/langsmith`.
    pub fn langsmith_url(&self) -> String {
        format!("http://{}/langsmith", self.address)
    }

    /// The base URL to give to an exporter of OTLP over HTTP: `http://127.0.0.1:PORT/otlp`, to which it appends
    /// `/v1/traces`.
    #[cfg(feature = "otlp")]
    pub fn otlp_url(&self) -> String {
        format!("http://{}/otlp", self.address)
    }

    /// The variables, by name and value, that point the official clients of any language and the exporters of this
    /// project at it, Opik's URL first.
    ///
    /// Their credentials are those of the first account, project or key that the sandbox was given. Where it was given
    /// none they are made up, for the clients that insist on some, and so that no real ones are sent.
    ///
    /// There is no gRPC here, which Phoenix's Python client prefers: its `register` wants `protocol="http/protobuf"`.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let shared = &self.shared;
        let mut all = shared.opik.environment(self.opik_url());
        #[cfg(feature = "otlp")]
        {
            all.extend(shared.langfuse.environment(self.langfuse_url()));
            all.extend(shared.phoenix.environment(self.phoenix_url()));
        }
        all.extend(shared.langsmith.environment(self.langsmith_url()));
        #[cfg(feature = "otlp")]
        all.extend(shared.otlp.environment(self.otlp_url()));
        all
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The LLM calls that all backends show, in one form: backend after backend, each in the order in which its rows
    /// first arrived.
    ///
    /// For Opik that is one for each span of type `llm`, with what its trace knows.
    pub fn calls(&self) -> Vec<StoredCall> {
        self.shared.calls()
    }

    /// The LLM calls that this backend shows, in the order in which its rows first arrived.
    pub fn calls_of(&self, backend: Backend) -> Vec<StoredCall> {
        let roles = self.shared.roles();
        let role = roles.into_iter().find(|role| role.backend() == backend);
        role.map(|role| role.calls()).unwrap_or_default()
    }

    /// Opik's stored traces, one per row, in the order in which the rows first arrived.
    pub fn traces(&self) -> Vec<Trace> {
        self.shared.opik.traces()
    }

    /// Opik's stored spans, one per row, in the order in which the rows first arrived.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.opik.spans()
    }

    /// Opik's trace with this id; if several projects or workspaces have one, the last updated.
    pub fn trace(&self, id: Uuid) -> Option<Trace> {
        self.shared.opik.trace(id)
    }

    /// Opik's span with this id; if several projects or workspaces have one, the last updated.
    pub fn span(&self, id: Uuid) -> Option<Span> {
        self.shared.opik.span(id)
    }

    /// Opik's stored datasets, in the order in which they were created.
    pub fn datasets(&self) -> Vec<Dataset> {
        self.shared.opik.datasets()
    }

    /// The items of all of Opik's datasets, in the order in which they first arrived.
    pub fn dataset_items(&self) -> Vec<DatasetItem> {
        self.shared.opik.dataset_items()
    }

    /// Opik's stored experiments, in the order in which they were created, with what their traces say by now.
    pub fn experiments(&self) -> Vec<Experiment> {
        self.shared.opik.experiments()
    }

    /// The items of all of Opik's experiments, in the order in which they first arrived.
    pub fn experiment_items(&self) -> Vec<ExperimentItem> {
        self.shared.opik.experiment_items()
    }

    /// The requests that arrived, in order: the newest 10 000, unless
    /// [`with_request_log`](SandboxBuilder::with_request_log) says otherwise. What is not HTTP is not here, nor are
    /// requests to the sandbox's own endpoints.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log().requests()
    }

    /// How many requests arrived since the start or the last [`clear`](Self::clear), kept or not.
    pub fn request_count(&self) -> u64 {
        self.shared.log().count()
    }

    /// Forgets what every backend stored, and the requests. Faults stay.
    pub fn clear(&self) {
        for role in self.shared.roles() {
            role.clear();
        }
        self.shared.log().clear();
    }

    /// Makes it misbehave from the next request on. Several faults are tried in the order of their injection.
    pub fn inject(&self, fault: Fault) {
        self.shared.faults().push(fault);
    }

    /// Makes it behave again; what is hanging already goes on hanging.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (traces, spans) = self.shared.opik.counts();
        let mut shown = f.debug_struct("Sandbox");
        shown
            .field("address", &self.address)
            .field("traces", &traces)
            .field("spans", &spans);
        for role in self.shared.roles() {
            if role.backend() != Backend::Opik {
                shown.field(role.prefix().trim_start_matches('/'), &role.stored());
            }
        }
        shown
            .field("requests", &self.request_count())
            .finish_non_exhaustive()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A listener may drop the last handle, and a thread cannot wait for itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread.join());
        }
    }
}

/// Configures a [`Sandbox`].
#[derive(Debug, Clone)]
pub struct SandboxBuilder {
    port: u16,
    accounts: Vec<OpikCloud>,
    #[cfg(feature = "otlp")]
    pub(crate) langfuse: langfuse::Settings,
    #[cfg(feature = "otlp")]
    pub(crate) phoenix: phoenix::Settings,
    pub(crate) langsmith: langsmith::Settings,
    #[cfg(feature = "otlp")]
    pub(crate) otlp: otlp::Settings,
    max_body_bytes: Option<u64>,
    id_window: Duration,
    request_log: usize,
    max_calls: usize,
    listener: Listener,
}

impl Default for SandboxBuilder {
    fn default() -> Self {
        Self {
            port: 0,
            accounts: Vec::new(),
            #[cfg(feature = "otlp")]
            langfuse: langfuse::Settings::default(),
            #[cfg(feature = "otlp")]
            phoenix: phoenix::Settings::default(),
            langsmith: langsmith::Settings::default(),
            #[cfg(feature = "otlp")]
            otlp: otlp::Settings::default(),
            max_body_bytes: None,
            id_window: Duration::from_secs(24 * 60 * 60),
            request_log: 10_000,
            max_calls: usize::MAX,
            listener: Listener::default(),
        }
    }
}

impl SandboxBuilder {
    /// The port to listen on. Default: 0, a free one.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Applies the rules of Opik's cloud and lets this account in. Called again, it adds an account. Default: self-hosted rules.
    #[must_use]
    pub fn with_cloud(mut self, account: OpikCloud) -> Self {
        self.accounts.push(account);
        self
    }

    /// Refuses with 413 a body of more bytes on the wire, that is, as it is sent, compressed or not. It is for all
    /// backends; to those that have no limit, as Phoenix, it is what a proxy in front of them may have.
    ///
    /// Default: none, as up to Opik 2.1.24. The cloud's limit is about 50 MB; a self-hosted backend after 2.1.24 has
    /// 512 MB. Whatever is set, a body of more than 256 MiB, packed or unpacked, is refused (the cloud's limit for
    /// unpacked ones), so that a hostile one cannot take all memory.
    #[must_use]
    pub fn with_max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = Some(bytes);
        self
    }

    /// How far the time inside a new id of Opik may be from now, both ways. Default: 24 hours (Opik:
    /// `UuidV7TimestampValidator`, `uuidValidation.window`; a real one has 12 hours to 45 days).
    ///
    /// A wide window lets recorded traffic be replayed.
    #[must_use]
    pub fn with_id_window(mut self, window: Duration) -> Self {
        self.id_window = window;
        self
    }

    /// How many requests [`Sandbox::requests`] keeps. Default: 10 000, and of their bodies at most 64 MiB. With 0 a
    /// load test leaves nothing behind but its rows.
    #[must_use]
    pub fn with_request_log(mut self, requests: usize) -> Self {
        self.request_log = requests;
        self
    }

    /// Keeps the newest `calls` rows of each backend, by their first arrival, and forgets older ones: for a sandbox that
    /// runs for days. Of Opik it is as many traces, as many spans, and as many of each that evaluations leave: scores,
    /// datasets, experiments, and the items of both. Default: all are kept.
    ///
    /// What is forgotten has never been there: it is in no answer and no total any more, and if it comes again it is new.
    #[must_use]
    pub fn with_max_calls(mut self, calls: usize) -> Self {
        self.max_calls = calls;
        self
    }

    /// Tells this function of each LLM call when it is stored, and of each request that is refused, in place of a
    /// listener set before. Default: none.
    ///
    /// It is called on the sandbox's own thread, before the answer is sent, so it should be quick: no other request is
    /// answered meanwhile. No lock is held, so it may ask the sandbox. A panic in it is caught.
    ///
    /// A call is told once for each request that stores it, with what the backend then shows; what the backend drops,
    /// as Phoenix does with a span id that it knows, is not told. A call of Opik is told when its span arrives, with
    /// what is known of its trace by then: a trace that arrives later changes what [`Sandbox::calls`] shows, but is
    /// not told. Faults that do not answer, and what is not a whole request, are not told as refused.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use beluga_o11y_sandbox::{Arrival, Sandbox};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (tell, told) = mpsc::channel();
    /// let builder = Sandbox::builder().with_listener(move |arrival| drop(tell.send(arrival)));
    /// let sandbox = builder.start()?;
    /// // Wherever they are shown:
    /// for arrival in told.try_iter() {
    ///     if let Arrival::Call { call, .. } = arrival {
    ///         println!("{:?} {:?} {:?}", call.model, call.input_tokens, call.output_tokens);
    ///     }
    /// }
    /// # drop(sandbox);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_listener(mut self, tell: impl Fn(Arrival) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(tell);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// The port is taken, or no port or no thread is to be had.
    pub fn start(self) -> io::Result<Sandbox> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            opik: Opik::new(self.accounts, self.id_window, self.max_calls),
            #[cfg(feature = "otlp")]
            langfuse: Langfuse::new(self.langfuse, self.max_calls),
            #[cfg(feature = "otlp")]
            phoenix: Phoenix::new(self.phoenix, self.max_calls),
            langsmith: LangSmith::new(self.langsmith, self.max_calls),
            #[cfg(feature = "otlp")]
            otlp: Otlp::new(self.otlp, self.max_calls),
            max_body_bytes: self.max_body_bytes,
            listener: self.listener,
            log: Mutex::new(Log::new(self.request_log)),
            faults: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("beluga-o11y-sandbox".to_owned())
            .spawn(move || runtime.block_on(server::serve(listener, served, stopped)))?;
        Ok(Sandbox {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}
