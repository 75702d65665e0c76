//! What the rows share.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use beluga_o11y_pipeline::PipelineStats;
use beluga_o11y_sandbox::Sandbox;
use tempfile::TempDir;

pub(crate) const MICROS: Duration = Duration::from_micros(1);
pub(crate) const MILLIS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// For what has no deadline of its own; only a test that fails waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Both laws.
pub(crate) fn check(stats: &PipelineStats) {
    let PipelineStats {
        submitted,
        accepted,
        recovered,
        sampled_out,
        delivered,
        rejected,
        pending,
        ..
    } = stats;
    let (refused, dropped) = (stats.refused.total(), stats.dropped.total());
    assert_eq!(*submitted, accepted + refused + sampled_out, "{stats:?}");
    assert_eq!(
        accepted + recovered,
        delivered + rejected + dropped + pending,
        "{stats:?}"
    );
}

/// A directory of a row's own. It is kept if the row fails.
pub(crate) struct Place(Option<TempDir>);

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("crash-").tempdir();
        Self(Some(directory.expect("a directory")))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().expect("it is there until the end").path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(directory) = self.0.take()
        {
            eprintln!("what is left of it is in {}", directory.keep().display());
        }
    }
}

/// The files below a directory.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        // Files come and go.
        let Ok(entry) = entry else { continue };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
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

    pub(crate) fn port(&self) -> u16 {
        self.port
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
