//! One client for each runtime.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, Proxy, header::HeaderValue, redirect, retry};
use tokio::runtime::Id;

use crate::tls::{PlatformRoots, Tls};

/// More runtimes than this at once are rare (tests); the one not used for longest loses its idle
/// connections, nothing else.
const MAX_RUNTIMES: usize = 8;

/// All that a client is made from.
pub(crate) struct ClientSpec {
    pub(crate) user_agent: HeaderValue,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) loopback: bool,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) tls: Tls,
    pub(crate) platform_roots: PlatformRoots,
}

impl ClientSpec {
    fn build(&self) -> reqwest::Result<Client> {
        match self.platform_roots {
            PlatformRoots::Needed => self.build_with(true),
            PlatformRoots::IfThereAreAny => {
                self.build_with(true).or_else(|_| self.build_with(false))
            }
            PlatformRoots::Unused => self.build_with(false),
        }
    }

    fn build_with(&self, platform_roots: bool) -> reqwest::Result<Client> {
        // Other crates of the program may turn on more features of the HTTP library; what they would
        // change is turned off by name.
        let client = Client::builder()
            .user_agent(self.user_agent.clone())
            .timeout(self.timeout)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.idle_timeout)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .http1_only()
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .no_hickory_dns();
        let client = match &self.proxy {
            // A proxy is of no use towards this machine, and its own loopback is another.
            _ if self.loopback => client.no_proxy(),
            Some(proxy) => client.no_proxy().proxy(proxy.clone()),
            None => client,
        };
        self.tls.apply(client, platform_roots).build()
    }
}

/// A connection lives in a task of the runtime that opened it. If that runtime is not being driven any
/// more (a `current_thread` runtime between two `block_on`), a request over its connection would wait for
/// ever, and if it ends at that moment, the request is lost. So every runtime gets its own client.
pub(crate) struct Clients {
    spec: ClientSpec,
    state: Mutex<State>,
}

struct State {
    /// Built with the sender, to find mistakes early; the first runtime takes it.
    unused: Option<Client>,
    /// The most recently used one last.
    used: Vec<(Id, Client)>,
}

impl Clients {
    pub(crate) fn new(spec: ClientSpec) -> reqwest::Result<Self> {
        let unused = Some(spec.build()?);
        Ok(Self {
            spec,
            state: Mutex::new(State {
                unused,
                used: Vec::new(),
            }),
        })
    }

    pub(crate) fn get(&self, runtime: Id) -> reqwest::Result<Client> {
        if let Some(client) = self.lock().find(runtime) {
            return Ok(client);
        }
        // Outside of the lock: TLS reads the platform's certificates, which takes a while.
        let client = self.spec.build()?;
        Ok(self.lock().insert(runtime, client))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spec(&self) -> &ClientSpec {
        &self.spec
    }
}

impl State {
    fn find(&mut self, runtime: Id) -> Option<Client> {
        if let Some(at) = self.used.iter().position(|(id, _)| *id == runtime) {
            let entry = self.used.remove(at);
            let client = entry.1.clone();
            self.used.push(entry);
            return Some(client);
        }
        let client = self.unused.take()?;
        Some(self.insert(runtime, client))
    }

    fn insert(&mut self, runtime: Id, client: Client) -> Client {
        // Another thread of the same runtime may have been faster.
        if let Some((_, client)) = self.used.iter().find(|(id, _)| *id == runtime) {
            return client.clone();
        }
        if self.used.len() >= MAX_RUNTIMES {
            self.used.remove(0);
        }
        self.used.push((runtime, client.clone()));
        client
    }
}
