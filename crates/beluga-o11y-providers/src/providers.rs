//! The handle to all of them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::Builder,
    time::Duration,
};

use beluga_o11y::{CallSink, LLMCallData, Submission};
use beluga_o11y_http::Env;
use beluga_o11y_pipeline::{FlushReport, Pipeline, PipelineBuilder, PipelineStats};

use crate::{
    FromEnvError,
    config::{self, Choice, Nothing},
};

/// The providers that the environment asks for, each in a pipeline of its own; see the [crate] for which these are.
///
/// # Errors
///
/// [`FromEnvError`] names the first thing that is missing or wrong.
pub fn from_env() -> Result<Providers, FromEnvError> {
    from_env_with(|_, pipeline| pipeline)
}

/// As [`from_env`], with a say in each pipeline before it starts: redaction, dead letters, its limits. `configure` is called
/// with the provider's name.
///
/// ```no_run
/// # fn main() -> Result<(), beluga_o11y_providers::FromEnvError> {
/// let providers = beluga_o11y_providers::from_env_with(|name, pipeline| {
///     pipeline.with_dead_letter_file(format!("dead-letters-{name}.jsonl"))
/// })?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`from_env`].
pub fn from_env_with(
    configure: impl Fn(&'static str, PipelineBuilder) -> PipelineBuilder,
) -> Result<Providers, FromEnvError> {
    let (chosen, nothing) = match config::chosen(Env::process())? {
        Choice::Providers(chosen) => (chosen, None),
        Choice::Nothing(reason) => (Vec::new(), Some(reason)),
    };
    let spool = config::spool_directory(Env::process())?;
    let mut made = Vec::new();
    for provider in chosen {
        made.push((
            provider.name,
            (provider.make)().map_err(FromEnvError::Provider)?,
        ));
    }
    // Threads are started when nothing can be wrong any more.
    let mut outlets = Vec::new();
    for (name, made) in made {
        let pipeline = configure(name, spooled(made.pipeline, spool.as_deref())).spawn();
        outlets.push(Outlet {
            name,
            destination: made.destination,
            pipeline: pipeline.map_err(|error| FromEnvError::Pipeline { name, error })?,
        });
    }
    let providers = Providers(Arc::new(Inner {
        outlets,
        nothing,
        announced: AtomicBool::new(false),
    }));
    // Often the program's log is set up only after this; then the first call is the time to say it.
    if tracing::dispatcher::has_been_set() {
        providers.announce();
    }
    Ok(providers)
}

fn spooled(pipeline: PipelineBuilder, directory: Option<&str>) -> PipelineBuilder {
    match directory {
        #[cfg(feature = "spool")]
        Some(directory) => pipeline.with_spool(directory),
        _ => pipeline,
    }
}

/// The names of the providers that [`from_env`] would set up, in the order in which they are asked for; none if nothing
/// would be sent. For programs that set them up themselves.
///
/// # Errors
///
/// Those of [`from_env`] that are about the choice.
pub fn names_from_env() -> Result<Vec<&'static str>, FromEnvError> {
    Ok(match config::chosen(Env::process())? {
        Choice::Providers(chosen) => chosen.iter().map(|provider| provider.name).collect(),
        Choice::Nothing(_) => Vec::new(),
    })
}

/// Takes finished calls for all providers: a handle, cheap to clone.
///
/// Each provider has a queue, batches, retries and a fate of its own: one that is down holds up neither the program nor the others.
/// When the last handle is dropped, what is pending is sent, for 2 seconds at most unless
/// [`with_drop_timeout`](PipelineBuilder::with_drop_timeout) says otherwise; all providers at once.
///
/// `Display` says where data goes; the same line is logged once, at the start.
#[derive(Clone)]
pub struct Providers(Arc<Inner>);

struct Inner {
    outlets: Vec<Outlet>,
    /// Why there are no outlets.
    nothing: Option<Nothing>,
    announced: AtomicBool,
}

struct Outlet {
    name: &'static str,
    destination: String,
    pipeline: Pipeline,
}

impl Providers {
    /// The names of the providers, in the order in which they were asked for.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.outlets.iter().map(|outlet| outlet.name).collect()
    }

    /// What became of all calls so far, for each provider.
    pub fn stats(&self) -> Vec<(&'static str, PipelineStats)> {
        let outlets = self.0.outlets.iter();
        outlets
            .map(|outlet| (outlet.name, outlet.pipeline.stats()))
            .collect()
    }

    /// Waits until every call accepted so far is settled at every provider, or the deadline is over, and tells for each
    /// provider. It blocks the thread, for no longer than the deadline for all of them together; async code calls it
    /// by `tokio::task::spawn_blocking`, and so it does [`shutdown`](Self::shutdown).
    pub fn flush_within(&self, deadline: Duration) -> Vec<(&'static str, FlushReport)> {
        self.at_once(|pipeline| pipeline.flush_within(deadline))
    }

    /// Takes no more calls, and sends what is pending until the deadline; tells for each provider. It blocks the thread, for no
    /// longer than the deadline for all of them together.
    pub fn shutdown(&self, deadline: Duration) -> Vec<(&'static str, FlushReport)> {
        self.at_once(|pipeline| pipeline.shutdown(deadline))
    }

    /// Side by side: one after the other, the first that is down would use up the time of all.
    fn at_once(
        &self,
        wait: impl Fn(&Pipeline) -> FlushReport + Sync,
    ) -> Vec<(&'static str, FlushReport)> {
        let Some((last, others)) = self.0.outlets.split_last() else {
            return Vec::new();
        };
        let wait = |outlet: &Outlet| (outlet.name, wait(&outlet.pipeline));
        std::thread::scope(|scope| {
            let waiting: Vec<_> = others
                .iter()
                .map(|outlet| (outlet, Builder::new().spawn_scoped(scope, || wait(outlet))))
                .collect();
            let last = wait(last);
            let others = waiting.into_iter().map(|(outlet, thread)| {
                let report = thread.ok().and_then(|thread| thread.join().ok());
                // Without a thread for it, it comes after the others.
                report.unwrap_or_else(|| wait(outlet))
            });
            others.chain([last]).collect()
        })
    }

    fn announce(&self) {
        if self.0.announced.swap(true, Ordering::Relaxed) {
            return;
        }
        match self.0.nothing {
            // Whoever set no credentials may not know; whoever switched it off does.
            Some(Nothing::NoCredentials) => tracing::warn!("{self}"),
            _ => tracing::info!("{self}"),
        }
    }
}

impl Drop for Inner {
    /// Each pipeline waits for its own calls; one after the other, the program would wait for the sum.
    fn drop(&mut self) {
        let mut outlets = std::mem::take(&mut self.outlets);
        let last = outlets.pop();
        // Without a thread for it, an outlet is dropped here, with the closure.
        let dropping: Vec<_> = outlets
            .into_iter()
            .filter_map(|outlet| Builder::new().spawn(move || drop(outlet)).ok())
            .collect();
        drop(last);
        for thread in dropping {
            drop(thread.join());
        }
    }
}

impl CallSink for Providers {
    /// The answer is the first one that is not [`Submission::Accepted`], in the order of the providers.
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        if !self.0.announced.load(Ordering::Relaxed) {
            self.announce();
        }
        let submissions = self.0.outlets.iter();
        submissions
            .map(|outlet| outlet.pipeline.submit_shared(Arc::clone(&call)))
            .fold(Submission::Accepted, |first, next| match first {
                Submission::Accepted => next,
                refused => refused,
            })
    }
}

impl fmt::Display for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(nothing) = self.0.nothing {
            return write!(f, "LLM calls are not sent anywhere: {}", nothing.reason());
        }
        let mut separator = "LLM calls go to ";
        for outlet in &self.0.outlets {
            write!(f, "{separator}{} ({})", outlet.name, outlet.destination)?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outlets = self.0.outlets.iter();
        f.debug_map()
            .entries(outlets.map(|outlet| (outlet.name, &outlet.destination)))
            .finish()
    }
}
