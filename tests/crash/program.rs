//! A program that reports its calls, and is killed for it. It does what it is told on standard input, and says on
//! standard output what it may rely on: `+ ID` for a call that was accepted and is on disk, `- ID` for one that was
//! accepted when not everything was on disk any more.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    panic,
    path::PathBuf,
    process::{self, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::{CallSink, TraceExporter};
use beluga_o11y_langfuse::LangfuseExporter;
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_pipeline::{Durability, FlushReport, Pipeline, PipelineStats, Spool};
use beluga_o11y_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::{
    calls::Number,
    support::{MILLIS, SECOND, check, files_below},
};

/// Its only argument.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) trial: u32,
    pub(crate) process: u8,
    /// A pipeline for each.
    pub(crate) targets: Vec<Target>,
    pub(crate) power: bool,
    pub(crate) write_timeout: Duration,
    pub(crate) max_memory_bytes: usize,
    pub(crate) max_batch_delay: Duration,
    pub(crate) max_batch_size: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As [`Server::address`](crate::server::Server::address) has it.
    pub(crate) address: Value,
    pub(crate) spool: PathBuf,
}

impl Target {
    /// What the files there are called, but for their ends: a name for each process.
    fn spools(&self) -> BTreeSet<String> {
        let exporter = self.address["backend"].as_str().unwrap();
        let files = files_below(&self.spool.join(exporter)).into_iter();
        let names = files.map(|file| file.file_name().unwrap().to_str().unwrap().to_owned());
        names
            .map(|name| name.split('.').next().unwrap().to_owned())
            .collect()
    }
}

impl Settings {
    pub(crate) fn to_json(&self) -> String {
        let targets = self.targets.iter();
        let targets = targets.map(|target| json!([target.address, target.spool]));
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
        json!({
            "trial": self.trial,
            "process": self.process,
            "targets": targets.collect::<Vec<_>>(),
            "power": self.power,
            "write_timeout": micros(self.write_timeout),
            "max_memory_bytes": self.max_memory_bytes,
            "max_batch_delay": micros(self.max_batch_delay),
            "max_batch_size": self.max_batch_size,
        })
        .to_string()
    }

    fn from_json(text: &str) -> Self {
        let json: Value = serde_json::from_str(text).unwrap();
        let number = |name: &str| json[name].as_u64().unwrap();
        let target = |target: &Value| Target {
            address: target[0].clone(),
            spool: target[1].as_str().unwrap().into(),
        };
        Self {
            trial: number("trial").try_into().unwrap(),
            process: number("process").try_into().unwrap(),
            targets: json["targets"]
                .as_array()
                .unwrap()
                .iter()
                .map(target)
                .collect(),
            power: json["power"].as_bool().unwrap(),
            write_timeout: Duration::from_micros(number("write_timeout")),
            max_memory_bytes: number("max_memory_bytes").try_into().unwrap(),
            max_batch_delay: Duration::from_micros(number("max_batch_delay")),
            max_batch_size: number("max_batch_size").try_into().unwrap(),
        }
    }
}

struct Program {
    settings: Settings,
    pipelines: Vec<Pipeline>,
    next: AtomicU16,
    stdout: File,
}

pub(crate) fn run(arguments: &[String]) {
    // A panic in any thread, also in the pipeline's own, is the end.
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tell(panic);
        process::exit(101);
    }));
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    let settings = Settings::from_json(&arguments[0]);
    let program = Program {
        pipelines: settings
            .targets
            .iter()
            .map(|target| pipeline(&settings, target))
            .collect(),
        settings,
        next: AtomicU16::new(0),
        stdout: File::from(io::stdout().as_fd().try_clone_to_owned().unwrap()),
    };
    program.say("ready");
    for order in io::stdin().lines() {
        let order = order.unwrap();
        let words: Vec<_> = order.split(' ').collect();
        match words[..] {
            ["submit", threads, calls] => {
                program.submit(threads.parse().unwrap(), calls.parse().unwrap());
            }
            // A program that goes on for longer than this one.
            ["start", seconds] => {
                let other = Command::new("sleep")
                    .arg(seconds)
                    .stdout(Stdio::null())
                    .spawn();
                program.say(&other.unwrap().id().to_string());
            }
            ["end", others] => return program.end(others.parse().unwrap()),
            _ => panic!("{order:?}"),
        }
    }
    // Whoever started it has gone.
    process::exit(2);
}

fn pipeline(settings: &Settings, target: &Target) -> Pipeline {
    let spool = Spool::new(&target.spool)
        .with_write_timeout(settings.write_timeout)
        .with_durability(match settings.power {
            true => Durability::Power,
            false => Durability::Process,
        });
    Pipeline::builder(exporter(&target.address))
        .with_max_memory_bytes(settings.max_memory_bytes)
        .with_max_batch_delay(settings.max_batch_delay)
        .with_max_batch_size(settings.max_batch_size)
        .with_spool(spool)
        .spawn()
        .unwrap()
}

fn exporter(address: &Value) -> Box<dyn TraceExporter> {
    let at = |path| format!("http://127.0.0.1:{}{path}", address["port"]);
    match address["backend"].as_str() {
        Some("opik") => {
            let builder = OpikExporter::builder().with_base_url(at("/opik/api"));
            Box::new(builder.build().unwrap())
        }
        Some("langfuse") => {
            let builder = LangfuseExporter::builder()
                .with_base_url(at("/langfuse"))
                .with_public_key(Sandbox::LANGFUSE_PUBLIC_KEY)
                .with_secret_key(Sandbox::LANGFUSE_SECRET_KEY);
            Box::new(builder.build().unwrap())
        }
        other => panic!("{other:?}"),
    }
}

impl Program {
    /// With one write, so that it is said whole or not at all.
    fn say(&self, line: &str) {
        let line = format!("{line}\n");
        let written = (&self.stdout).write(line.as_bytes());
        assert_eq!(written.unwrap(), line.len());
    }

    fn submit(&self, threads: usize, calls: u16) {
        let end = self.next.load(Ordering::Relaxed) + calls;
        let next = || self.next.fetch_add(1, Ordering::Relaxed);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let call = next()
                        && call < end
                    {
                        self.submit_one(call);
                    }
                });
            }
        });
        // Each thread went one too far.
        self.next.store(end, Ordering::Relaxed);
    }

    fn submit_one(&self, call: u16) {
        let number = Number {
            trial: self.settings.trial,
            process: self.settings.process,
            call,
        };
        let record = Arc::new(number.record());
        let mut durable = true;
        for pipeline in &self.pipelines {
            let submission = pipeline.submit_shared(Arc::clone(&record));
            assert!(submission.is_accepted(), "{submission:?}");
            let stats = pipeline.stats();
            check(&stats);
            durable &= stats.spool.not_durable == 0;
        }
        let sign = if durable { '+' } else { '-' };
        self.say(&format!("{sign} {}", record.id()));
    }

    /// Waits until everything is delivered, and the files of at most so many other processes are left. Then ends, and
    /// says for each pipeline how many calls it has recovered.
    fn end(&self, others: usize) {
        let start = Instant::now();
        let left = || (20 * SECOND).saturating_sub(start.elapsed());
        let mut flushed = Vec::new();
        for pipeline in &self.pipelines {
            let FlushReport { pending, stats, .. } = pipeline.flush_within(left());
            check(&stats);
            assert_eq!(pending, 0, "{stats:?}");
            flushed.push(stats.recovered);
        }
        for (pipeline, target) in self.pipelines.iter().zip(&self.settings.targets) {
            while let spools = target.spools()
                && spools.len() > 1 + others
            {
                let stats = pipeline.stats();
                check(&stats);
                assert!(!left().is_zero(), "left behind: {spools:?}, {stats:?}");
                thread::sleep(MILLIS);
            }
        }
        for (pipeline, flushed) in self.pipelines.iter().zip(flushed) {
            let FlushReport { pending, stats, .. } = pipeline.shutdown(5 * SECOND);
            check(&stats);
            assert_eq!((pending, stats.pending), (0, 0), "{stats:?}");
            let PipelineStats {
                accepted,
                recovered,
                ..
            } = stats;
            assert_eq!(stats.delivered, accepted + recovered, "{stats:?}");
            // The flush knew of all that was there at the start.
            assert!(others > 0 || recovered == flushed, "{flushed}, {stats:?}");
            self.say(&format!("recovered {recovered}"));
        }
    }
}
