//! The settings of a pipeline.

use std::{borrow::Cow, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use beluga_o11y::TraceExporter;

use crate::{
    DeadLetter, Pipeline,
    dead_letter::{self, DeadLetters},
    machine::Rules,
    pipeline::{Intake, Shared},
    redact::Redactor,
    sample::Sampler,
    worker,
};

#[cfg(feature = "spool")]
use crate::Spool;

/// What happens to a call when the memory is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The new call is refused ([`Refusal::Full`](beluga_o11y::Refusal::Full)).
    #[default]
    RefuseNew,
    /// The oldest waiting calls are dropped to make room for it.
    DropOldest,
    /// Whoever hands it over waits until there is room, at most this long; then it is refused. That thread is blocked
    /// meanwhile, also if it belongs to an async runtime.
    Block(Duration),
}

/// What happens to a call that by itself is too large for the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oversize {
    /// Its largest contents are replaced by `{"truncated":true,"bytes":n}`, n being their size, until at most 64 KiB of
    /// content are left, and it is sent once more. Numbers, ids and small contents arrive. If it is still refused, it
    /// is a dead letter, shortened as it is.
    #[default]
    Shorten,
    /// It becomes a dead letter, whole.
    DeadLetter,
}

/// Makes a [`Pipeline`]: [`Pipeline::builder`].
///
/// Every setting has a default that suits a server process; none is read from the environment.
#[must_use = "nothing runs until spawn() is called"]
pub struct PipelineBuilder {
    exporter: Arc<dyn TraceExporter>,
    max_batch_size: usize,
    max_batch_bytes: usize,
    max_batch_delay: Duration,
    max_in_flight: usize,
    max_memory_bytes: usize,
    max_retry_time: Option<Duration>,
    export_timeout: Duration,
    drop_timeout: Duration,
    overflow: Overflow,
    oversize: Oversize,
    sample_rate: f64,
    keep_errors: bool,
    redactor: Option<Redactor>,
    on_dead_letter: Option<Box<dead_letter::Function>>,
    dead_letter_file: Option<PathBuf>,
    #[cfg(feature = "spool")]
    spool: Option<Spool>,
}

impl PipelineBuilder {
    pub(crate) fn new(exporter: impl TraceExporter + 'static) -> Self {
        Self {
            exporter: Arc::new(exporter),
            max_batch_size: 500,
            max_batch_bytes: 4_000_000,
            max_batch_delay: Duration::from_secs(1),
            max_in_flight: 4,
            max_memory_bytes: 64 * 1024 * 1024,
            max_retry_time: None,
            export_timeout: Duration::from_secs(60),
            drop_timeout: Duration::from_secs(2),
            overflow: Overflow::default(),
            oversize: Oversize::default(),
            sample_rate: 1.0,
            keep_errors: false,
            redactor: None,
            on_dead_letter: None,
            dead_letter_file: None,
            #[cfg(feature = "spool")]
            spool: None,
        }
    }

    /// The most calls in a batch. Default: 500. At least 1.
    pub fn with_max_batch_size(mut self, calls: usize) -> Self {
        self.max_batch_size = calls;
        self
    }

    /// The most bytes of calls in a batch, before the exporter makes its request of them; a larger call goes alone.
    /// Default: 4 MB (4,000,000). At least 1.
    pub fn with_max_batch_bytes(mut self, bytes: usize) -> Self {
        self.max_batch_bytes = bytes;
        self
    }

    /// How long a call waits for others, to go with them. Default: 1 s. 0 sends at once.
    pub fn with_max_batch_delay(mut self, delay: Duration) -> Self {
        self.max_batch_delay = delay;
        self
    }

    /// How many batches may be on their way at a time. Default: 4. At least 1.
    pub fn with_max_in_flight(mut self, batches: usize) -> Self {
        self.max_in_flight = batches;
        self
    }

    /// The memory for calls and for the requests made of them, in bytes. Default: 64 MiB. At least 64 KiB.
    ///
    /// A third of it is kept free for the requests, since without them nothing leaves. What happens when the rest is
    /// full, [`with_overflow`](Self::with_overflow) says.
    pub fn with_max_memory_bytes(mut self, bytes: usize) -> Self {
        self.max_memory_bytes = bytes;
        self
    }

    /// What happens to a call when the memory is full. Default: [`Overflow::RefuseNew`].
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Gives up a call that could not be delivered for this long, counted from its acceptance, without the waits that
    /// the backend itself asked for. It becomes a dead letter. One that was never sent is not given up. Default: never;
    /// memory is the bound.
    pub fn with_max_retry_time(mut self, time: Duration) -> Self {
        self.max_retry_time = Some(time);
        self
    }

    /// How long the exporter may take over one batch before it is cancelled and the batch tried again: a safety net
    /// below the exporter's own timeouts. Default: 60 s.
    pub fn with_export_timeout(mut self, timeout: Duration) -> Self {
        self.export_timeout = timeout;
        self
    }

    /// How long the drop of the last handle waits for what is pending. Default: 2 s. 0 does not wait: what is pending is
    /// then sent in the background for as long as the process lives.
    ///
    /// This is what lets a program just end. Where a handle lives longer than `main`, in a static or a global
    /// subscriber, use [`Pipeline::flush_guard`] or [`Pipeline::shutdown`].
    pub fn with_drop_timeout(mut self, timeout: Duration) -> Self {
        self.drop_timeout = timeout;
        self
    }

    /// What happens to a call that by itself is too large for the backend. Default: [`Oversize::Shorten`].
    pub fn with_oversize(mut self, oversize: Oversize) -> Self {
        self.oversize = oversize;
        self
    }

    /// The share of calls to keep, from 0.0 to 1.0. Default: 1.0.
    ///
    /// The choice depends only on the call's [`trace_id`](beluga_o11y::LLMCallData::trace_id), in capitals or not, or
    /// its id if it has none: the calls of a trace are kept or left out together, in every process, and with a higher rate all that a
    /// lower one keeps are kept.
    pub fn with_sample_rate(mut self, rate: f64) -> Self {
        self.sample_rate = rate;
        self
    }

    /// Whether calls with an error are kept whatever the sample rate. Default: `false`.
    pub fn with_errors_always_kept(mut self, keep: bool) -> Self {
        self.keep_errors = keep;
        self
    }

    /// Passes every string of every call through a function before the call is queued: names, ids, tags, the error, and
    /// in messages, response, parameters and metadata every string and every key. Numbers, times and the call's own id
    /// stay. Default: none.
    ///
    /// It runs on the thread that submits. If it panics, that call is sent without its content, that is, with its
    /// numbers, times, and those of provider, model and ids that pass the function by themselves. (The panic hook, which
    /// prints to standard error unless the program has set another, cannot be kept from running.)
    ///
    /// ```
    /// use std::borrow::Cow;
    /// # use beluga_o11y::{CallSink, InMemoryExporter, LLMCallData};
    /// # use beluga_o11y_pipeline::Pipeline;
    /// # let exporter = InMemoryExporter::new();
    /// # let backend = exporter.clone();
    ///
    /// let pipeline = Pipeline::builder(exporter)
    ///     .with_redaction(|text| match text.contains('@') {
    ///         true => Cow::Borrowed("[e-mail]"),
    ///         false => Cow::Borrowed(text),
    ///     })
    ///     .spawn()?;
    /// pipeline.submit(LLMCallData::new("openai", "gpt-4o").with_response("me@example.org"));
    /// # drop(pipeline);
    /// # assert_eq!(backend.calls()[0].response.as_ref().unwrap().as_str(), "\"[e-mail]\"");
    /// # Ok::<(), beluga_o11y_pipeline::PipelineError>(())
    /// ```
    pub fn with_redaction(
        mut self,
        redact: impl for<'a> Fn(&'a str) -> Cow<'a, str> + Send + Sync + 'static,
    ) -> Self {
        self.redactor = Some(Redactor::new(redact));
        self
    }

    /// Is told of every call that the backend refused or that was given up, on the pipeline's own thread. Default: none.
    pub fn with_dead_letters(mut self, tell: impl Fn(&DeadLetter) + Send + Sync + 'static) -> Self {
        self.on_dead_letter = Some(Box::new(tell));
        self
    }

    /// Appends every call that the backend refused or that was given up to a file, one JSON object a line, as
    /// [`DeadLetter`] has it. The file is made if need be, and is readable by its owner only. Default: none.
    ///
    /// It holds prompts and answers.
    pub fn with_dead_letter_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.dead_letter_file = Some(path.into());
        self
    }

    /// Keeps every call on disk until the backend has taken it, in a directory of the pipeline's own: a path, or a
    /// [`Spool`] with settings. Default: none, calls are kept in memory only.
    ///
    /// ```no_run
    /// # use beluga_o11y::{CallSink, InMemoryExporter, LLMCallData};
    /// # use beluga_o11y_pipeline::Pipeline;
    /// # let exporter = InMemoryExporter::new();
    /// let pipeline = Pipeline::builder(exporter)
    ///     .with_spool("/var/lib/my-program/llm-calls")
    ///     .spawn()?;
    /// pipeline.submit(LLMCallData::new("openai", "gpt-4o")); // on disk when this returns
    /// # Ok::<(), beluga_o11y_pipeline::PipelineError>(())
    /// ```
    #[cfg(feature = "spool")]
    pub fn with_spool(mut self, spool: impl Into<Spool>) -> Self {
        self.spool = Some(spool.into());
        self
    }

    /// Starts the pipeline's thread.
    ///
    /// # Errors
    ///
    /// [`PipelineError`] names the setting that makes no sense, or what the system refused.
    pub fn spawn(self) -> Result<Pipeline, PipelineError> {
        let at_least = |setting, value: usize, least: usize| {
            let problem = || PipelineError::Setting {
                setting,
                problem: format!("{value} is less than {least}"),
            };
            if value < least {
                Err(problem())
            } else {
                Ok(value)
            }
        };
        if !(0.0..=1.0).contains(&self.sample_rate) {
            return Err(PipelineError::Setting {
                setting: "with_sample_rate",
                problem: format!("{} is not between 0 and 1", self.sample_rate),
            });
        }
        if self.export_timeout.is_zero() {
            return Err(PipelineError::Setting {
                setting: "with_export_timeout",
                problem: "nothing can be exported in no time".to_owned(),
            });
        }
        let rules = Rules {
            max_batch_size: at_least("with_max_batch_size", self.max_batch_size, 1)?,
            max_batch_bytes: at_least("with_max_batch_bytes", self.max_batch_bytes, 1)?,
            max_batch_delay: self.max_batch_delay,
            max_in_flight: at_least("with_max_in_flight", self.max_in_flight, 1)?,
            max_memory_bytes: at_least("with_max_memory_bytes", self.max_memory_bytes, 64 * 1024)?,
            max_retry_time: self.max_retry_time,
        };
        #[cfg(feature = "spool")]
        let rules = Rules {
            max_retry_time: match (self.max_retry_time, &self.spool) {
                (Some(time), Some(spool)) => Some(time.min(spool.max_age())),
                (time, spool) => time.or(spool.as_ref().map(Spool::max_age)),
            },
            ..rules
        };
        let dead_letters = DeadLetters::new(self.on_dead_letter, self.dead_letter_file)?;
        let intake = Intake {
            overflow: self.overflow,
            sampler: Sampler::new(self.sample_rate, self.keep_errors),
            redactor: self.redactor,
        };
        #[cfg(feature = "spool")]
        let (disk, opening) = {
            let drops_oldest = self.overflow == Overflow::DropOldest;
            let spool = self
                .spool
                .map(|spool| spool.open(self.exporter.name(), drops_oldest));
            spool.transpose()?.unzip()
        };
        #[cfg(not(feature = "spool"))]
        let disk = None;
        let shared = Arc::new(Shared::new(self.exporter.name(), intake, rules, disk));
        #[cfg(feature = "spool")]
        if let Some(opening) = opening {
            opening.start(Arc::clone(&shared))?;
        }
        let ways = worker::Ways {
            export_timeout: self.export_timeout,
            oversize: self.oversize,
            dead_letters,
        };
        let spawned = worker::spawn(Arc::clone(&shared), self.exporter, ways);
        if spawned.is_err() {
            // Nobody else lets go of the files.
            shared.worker_gone();
        }
        spawned?;
        Ok(Pipeline::new(shared, self.drop_timeout))
    }
}

impl fmt::Debug for PipelineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineBuilder")
            .field("exporter", &self.exporter.name())
            .field("max_batch_size", &self.max_batch_size)
            .field("max_batch_bytes", &self.max_batch_bytes)
            .field("max_batch_delay", &self.max_batch_delay)
            .field("max_in_flight", &self.max_in_flight)
            .field("max_memory_bytes", &self.max_memory_bytes)
            .field("max_retry_time", &self.max_retry_time)
            .field("export_timeout", &self.export_timeout)
            .field("drop_timeout", &self.drop_timeout)
            .field("overflow", &self.overflow)
            .field("oversize", &self.oversize)
            .field("sample_rate", &self.sample_rate)
            .field("keep_errors", &self.keep_errors)
            .field("redaction", &self.redactor.is_some())
            .field("dead_letters", &self.on_dead_letter.is_some())
            .field("dead_letter_file", &self.dead_letter_file)
            .finish_non_exhaustive()
    }
}

/// Why a pipeline cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A setting makes no sense.
    #[error("pipeline: {setting}: {problem}")]
    Setting {
        /// The function that set it.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The dead letter file cannot be opened for appending.
    #[error("pipeline: with_dead_letter_file: cannot append to {}", path.display())]
    DeadLetterFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system gave no thread, or nothing to wait for the network with.
    #[error("pipeline: cannot start its thread")]
    Thread(#[source] io::Error),
}
