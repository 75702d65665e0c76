//! What the rows share.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use beluga_o11y::{CallSink, LLMCallData};
use beluga_o11y_opik::{OpikExporter, OpikExporterBuilder};
use beluga_o11y_pipeline::{Pipeline, PipelineStats};
use beluga_o11y_sandbox::{Request, Sandbox};
use serde_json::json;
use uuid::Uuid;

pub(crate) const MILLIS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// For what has no deadline of its own; only a test that fails waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn sandbox() -> Sandbox {
    Sandbox::start().expect("a free port on loopback")
}

pub(crate) fn opik_builder(url: impl Into<String>) -> OpikExporterBuilder {
    OpikExporter::builder()
        .with_base_url(url)
        .with_timeout(5 * SECOND)
}

pub(crate) fn opik(url: impl Into<String>) -> OpikExporter {
    opik_builder(url).build().expect("these settings are fine")
}

pub(crate) fn call() -> LLMCallData {
    LLMCallData::new("openai", "gpt-4o")
        .with_messages(json!([{"role": "user", "content": "hi"}]))
        .with_response("hello")
        .with_tokens(12, 5)
        .with_duration(Duration::from_millis(840))
}

pub(crate) fn calls(count: usize) -> Vec<LLMCallData> {
    (0..count).map(|_| call()).collect()
}

/// For rows that keep a core busy: one after the other, so that the rows that look at the clock have a core, too.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static BUSY: Mutex<()> = Mutex::new(());
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands all of them over, and gives their ids.
pub(crate) fn submit(sink: &impl CallSink, calls: Vec<LLMCallData>) -> BTreeSet<Uuid> {
    let ids = calls.iter().map(LLMCallData::id).collect();
    for call in calls {
        let submission = sink.submit(call);
        assert!(submission.is_accepted(), "{submission:?}");
    }
    ids
}

/// Both laws.
pub(crate) fn check(stats: &PipelineStats) {
    let PipelineStats {
        submitted,
        accepted,
        sampled_out,
        delivered,
        rejected,
        pending,
        ..
    } = stats;
    let (refused, dropped) = (stats.refused.total(), stats.dropped.total());
    assert_eq!(*submitted, accepted + refused + sampled_out, "{stats:?}");
    assert_eq!(
        *accepted,
        delivered + rejected + dropped + pending,
        "{stats:?}"
    );
}

/// What became of all calls, both laws checked.
pub(crate) fn stats(pipeline: &Pipeline) -> PipelineStats {
    let stats = pipeline.stats();
    check(&stats);
    stats
}

/// Checks both laws from a thread of its own for as long as it lives. It holds a handle of the pipeline.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn watch(pipeline: &Pipeline) -> Watch {
    let stop = Arc::new(AtomicBool::new(false));
    let (pipeline, stopped) = (pipeline.clone(), Arc::clone(&stop));
    let thread = thread::spawn(move || {
        let mut before = PipelineStats::default();
        while !stopped.load(Ordering::Relaxed) {
            let now = stats(&pipeline);
            assert!(now.submitted >= before.submitted && now.delivered >= before.delivered);
            before = now;
            thread::sleep(5 * MILLIS);
        }
    });
    Watch {
        stop,
        thread: Some(thread),
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let result = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(result, Some(Ok(()))), "a law was broken");
        }
    }
}

/// Waits until it is so.
pub(crate) fn wait_for(what: &str, limit: Duration, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < limit,
            "{what}: not within {:?}",
            start.elapsed()
        );
        thread::sleep(2 * MILLIS);
    }
}

/// Waits until all that was accepted has been delivered.
pub(crate) fn wait_for_delivery(pipeline: &Pipeline, limit: Duration) {
    let start = Instant::now();
    loop {
        let stats = stats(pipeline);
        if stats.delivered == stats.accepted {
            return;
        }
        assert!(
            start.elapsed() < limit,
            "not within {limit:?}: {stats}, last error {:?}",
            stats.last_error
        );
        thread::sleep(2 * MILLIS);
    }
}

pub(crate) fn sleep_until(start: Instant, after: Duration) {
    thread::sleep(after.saturating_sub(start.elapsed()));
}

pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = run();
    (value, start.elapsed())
}

/// The sandbox has exactly these calls, each once, as trace and as span.
pub(crate) fn assert_stored(sandbox: &Sandbox, ids: &BTreeSet<Uuid>) {
    let traces: Vec<_> = sandbox.traces().iter().map(|trace| trace.id).collect();
    let spans: Vec<_> = sandbox.spans().iter().map(|span| span.trace_id).collect();
    for (what, stored) in [("traces", traces), ("spans", spans)] {
        assert_eq!(stored.len(), ids.len(), "{what}");
        assert_eq!(&stored.into_iter().collect::<BTreeSet<_>>(), ids, "{what}");
    }
}

/// How many elements each request to this path had, in order of arrival.
pub(crate) fn batch_sizes(requests: &[Request], kind: &str) -> Vec<usize> {
    let path = format!("/{kind}/batch");
    requests
        .iter()
        .filter(|request| request.path.ends_with(&path))
        .map(|request| request.body[kind].as_array().map_or(0, Vec::len))
        .collect()
}

/// A port of loopback where nobody listens. It is bound, so that no other test gets it.
pub(crate) struct ClosedPort {
    socket: socket2::Socket,
    port: u16,
}

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        socket.bind(&any.into()).expect("a free port on loopback");
        let address = socket.local_addr().ok().and_then(|a| a.as_socket());
        let port = address.expect("an address of IPv4").port();
        Self { socket, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/opik/api", self.port)
    }

    /// From now on there is a sandbox.
    pub(crate) fn open(self) -> Sandbox {
        drop(self.socket);
        let start = Instant::now();
        loop {
            match Sandbox::builder().with_port(self.port).start() {
                Ok(sandbox) => return sandbox,
                // Another socket may have got it as its own end of a connection, for a moment.
                Err(_) if start.elapsed() < 5 * SECOND => thread::sleep(10 * MILLIS),
                Err(error) => panic!("port {}: {error}", self.port),
            }
        }
    }
}
