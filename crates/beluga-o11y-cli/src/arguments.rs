//! The command line: commands, arguments, flags.

use std::{path::PathBuf, time::Duration};

use crate::report::{Key, Moment, Sort};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};

const AFTER_HELP: &str = "\
Exit codes:
    0  all is well: everything checked, sent or found
    1  something is not: a check failed, a call did not arrive, a line could not be read
    2  nothing was tried: the arguments or the settings are wrong
  130  interrupted

Settings come from flags, then environment variables, then (for Opik) ~/.opik.config, then defaults;
`beluga-o11y check` shows which came from where. NO_COLOR switches colours off.";

/// Checks connections to LLM observability backends, sends, replays and imports LLM calls, reports on them, looks after
/// spools.
#[derive(Debug, Parser)]
#[command(name = "beluga-o11y", version, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) loudness: Loudness,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Loudness {
    /// Only errors; no progress, no summary
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// What happens inside as well; twice for every detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows where calls would go, and whether they arrive
    ///
    /// Resolves the settings and says where each came from, then goes step by step: name, connection, TLS, server, credentials,
    /// workspace or project, a test record, and reading it back where the backend has a way. Each provider takes less than
    /// 10 seconds, all at once.
    Check(Check),

    /// Sends one call
    ///
    /// From flags, or from JSON (the form of `LLMCallData`) on standard input if there are none of them.
    Send(Box<Send>),

    /// Sends the calls of JSON Lines files
    ///
    /// A line is a call in the JSON form of `LLMCallData`, or a dead letter of a pipeline. Files may be packed with gzip.
    /// Lines that cannot be read, and calls that a backend rejects, are written to FILE.rejected.jsonl with the reason.
    Replay(Replay),

    /// Sums up the calls of JSON Lines files, or of a spool
    ///
    /// Calls, errors, tokens, cost, latency and time to first token: in all, by model or what else is asked for, and over
    /// time. A line is a call in the JSON form of `LLMCallData`, or a dead letter of a pipeline. Files may be packed with gzip.
    Report(Report),

    /// Turns traces and logs of others into records, for `replay` and `report`
    ///
    /// Records go to standard output, one a line. What cannot be turned is named on standard error, with file and line.
    Import(Import),

    /// Looks after the directory where a program keeps calls until they are delivered
    #[command(subcommand)]
    Spool(Spool),

    /// Plays Opik, Langfuse, Phoenix, LangSmith and an OpenTelemetry Collector, for developing without an account
    ///
    /// Prints the environment variables that point programs at it, in any language, and then what arrives. It listens on
    /// 127.0.0.1 and keeps what it got in memory.
    Sandbox(Sandbox),

    /// Writes the completions for a shell to standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Writes the manual page to standard output, or those of all commands to a directory
    Man {
        /// Writes a page for each command to this directory
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Where calls go: a provider, by the name of its cargo feature, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    Opik,
    Langfuse,
    Phoenix,
    #[value(name = "langsmith")]
    LangSmith,
    Otlp,
    /// Nowhere: calls are read, validated and thrown away
    None,
}

impl Target {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Opik => "opik",
            Self::Langfuse => "langfuse",
            Self::Phoenix => "phoenix",
            Self::LangSmith => "langsmith",
            Self::Otlp => "otlp",
            Self::None => "none",
        }
    }
}

/// Those that are a server.
fn provider() -> impl TypedValueParser<Value = Target> {
    let names = ["opik", "langfuse", "phoenix", "langsmith", "otlp"];
    PossibleValuesParser::new(names).try_map(|name| Target::from_str(&name, false))
}

/// Settings of the connection. They beat environment and file, and are for one provider.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection (for one provider)")]
pub(crate) struct Connection {
    /// The base URL of the backend
    #[arg(long)]
    pub(crate) url: Option<String>,

    /// The API key, or Langfuse's secret key. Other users of this machine may see it here: prefer the variable
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,

    /// Langfuse's public key
    #[arg(long, value_name = "KEY")]
    pub(crate) public_key: Option<String>,

    /// The workspace (Opik), or its id (LangSmith)
    #[arg(long, value_name = "NAME")]
    pub(crate) workspace: Option<String>,

    /// The project (Opik, Phoenix, LangSmith)
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,

    /// A header for every request, such as one that a gateway wants; repeatable
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,

    /// A file with certificates (PEM) of authorities to trust besides those of this machine
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// The proxy. Default: what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,

    /// How long one request may take, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    /// Sends keys over plain http:// to any host, not only inside the local network
    #[arg(long)]
    pub(crate) allow_http: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The providers. Default: those that BELUGA_O11Y_EXPORTERS names, else those that have credentials
    #[arg(value_parser = provider(), value_name = "PROVIDER")]
    pub(crate) providers: Vec<Target>,

    /// Does not write a test record
    #[arg(long)]
    pub(crate) no_write: bool,

    /// Prints JSON, for machines
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Where to. Default: what BELUGA_O11Y_EXPORTERS names, else the one that has credentials
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PROVIDER,..")]
    pub(crate) to: Vec<Target>,

    /// Fields that are not known are left out, instead of refusing the call
    #[arg(long)]
    pub(crate) ignore_unknown: bool,

    #[command(flatten)]
    pub(crate) call: Call,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// A call, by flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "The call (instead of JSON on standard input)")]
pub(crate) struct Call {
    /// Who served the model: openai, anthropic, ..
    #[arg(long)]
    pub(crate) provider: Option<String>,

    /// The model
    #[arg(long)]
    pub(crate) model: Option<String>,

    /// A name for this kind of call
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// What the user asked: a message of the role `user`
    #[arg(long, conflicts_with = "messages")]
    pub(crate) prompt: Option<String>,

    /// What was sent, as JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) messages: Option<String>,

    /// What the model answered
    #[arg(long)]
    pub(crate) response: Option<String>,

    /// Tokens read, cached ones included
    #[arg(long, value_name = "N")]
    pub(crate) input_tokens: Option<u64>,

    /// Tokens written, reasoning included
    #[arg(long, value_name = "N")]
    pub(crate) output_tokens: Option<u64>,

    /// How long the call took, in milliseconds
    #[arg(long, value_name = "MS")]
    pub(crate) duration_ms: Option<f64>,

    /// What it cost, in USD
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    pub(crate) cost: Option<f64>,

    /// Why it failed
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: Option<String>,

    /// The session, thread or conversation
    #[arg(long, value_name = "ID")]
    pub(crate) session_id: Option<String>,

    /// The user
    #[arg(long, value_name = "ID")]
    pub(crate) user_id: Option<String>,

    /// A label; repeatable
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,

    /// Anything else; repeatable. JSON, or else text
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) metadata: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The files; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Where to. Default: what BELUGA_O11Y_EXPORTERS names, else the one that has credentials
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PROVIDER,..")]
    pub(crate) to: Vec<Target>,

    /// Remembers in this file what has arrived: run the same command again to go on after an interruption
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<PathBuf>,

    /// Sends nothing, but reads and validates every line, and what the backends would refuse if --to names some
    #[arg(long, conflicts_with_all = ["state", "rate"])]
    pub(crate) dry_run: bool,

    /// At most so many calls a second
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Stops at the first line that cannot be read and the first call that is rejected
    #[arg(long)]
    pub(crate) strict: bool,

    /// Fields that are not known are left out, instead of refusing the line
    #[arg(long)]
    pub(crate) ignore_unknown: bool,

    /// Where rejected lines go, of all files. Default: FILE.rejected.jsonl beside each file
    #[arg(long, value_name = "FILE")]
    pub(crate) rejected: Option<PathBuf>,

    /// Gives up a backend that takes nothing for so many seconds (a key or workspace that it refuses: 5)
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) patience: Duration,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The files; `-` is standard input
    #[arg(
        required_unless_present = "spool",
        conflicts_with = "spool",
        value_name = "FILE"
    )]
    pub(crate) files: Vec<PathBuf>,

    /// Calls that a program keeps in this directory until they are delivered, and its dead letters
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,

    /// By what: model, provider, name, session, user, tag, environment, release, time, or metadata.KEY. Several make a
    /// table each
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "model,time",
        value_name = "KEY,.."
    )]
    pub(crate) by: Vec<Key>,

    /// What comes first, and what is kept where there are more than 1,000
    #[arg(long, value_enum, default_value_t, value_name = "FIGURE")]
    pub(crate) sort: Sort,

    /// Only calls that began then or later: 2026-11-23, 2026-11-23T15:04:05Z, or how long ago: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub(crate) since: Option<Moment>,

    /// Only calls that began before
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub(crate) until: Option<Moment>,

    /// Prints JSON, for machines
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,

    /// Prints CSV, a row for each row of the tables
    #[arg(long)]
    pub(crate) csv: bool,

    /// Writes a page with charts, tables and the slowest, dearest and failed calls with their conversations; readable by
    /// its owner only
    #[arg(long, value_name = "OUT")]
    pub(crate) html: Option<PathBuf>,

    /// Fields that are not known are left out, instead of refusing the line
    #[arg(long)]
    pub(crate) ignore_unknown: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The files; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// What is in them
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) from: Format,
}

/// What `import` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Traces in the JSON form of OTLP, with spans of the GenAI conventions or of OpenInference
    OtlpJson,
    /// LiteLLM's standard logging payloads, one a line
    #[value(name = "litellm")]
    LiteLlm,
    /// Requests to OpenAI's API with their responses, one pair a line
    #[value(name = "openai")]
    OpenAi,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Spool {
    /// Shows what waits in each file, and who has it
    Status(SpoolStatus),

    /// Delivers what ended programs have left
    ///
    /// Files that a running program has are left to it.
    Drain(Box<SpoolDrain>),

    /// Writes the calls that wait to standard output, as JSON Lines
    Export(SpoolFilter),

    /// Shows the dead letters: calls that the backend rejected or that were given up
    Dead(SpoolDead),

    /// Asks for the dead letters to be sent again
    ///
    /// A running program does so within seconds; for files of ended ones, the next program or `spool drain`.
    RetryDead(SpoolFilter),
}

#[derive(Debug, Args)]
pub(crate) struct SpoolFilter {
    /// The directory, as the program has it in `with_spool` or BELUGA_O11Y_SPOOL_DIR
    pub(crate) dir: PathBuf,

    /// Only those for this exporter
    #[arg(long, value_name = "NAME")]
    pub(crate) exporter: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SpoolStatus {
    #[command(flatten)]
    pub(crate) filter: SpoolFilter,

    /// Prints JSON, for machines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SpoolDead {
    #[command(flatten)]
    pub(crate) filter: SpoolFilter,

    /// Prints JSON Lines with the calls, as a dead letter file has them
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SpoolDrain {
    /// The directory, as the program has it in `with_spool` or BELUGA_O11Y_SPOOL_DIR
    pub(crate) dir: PathBuf,

    /// Only those for this provider
    #[arg(long, value_parser = provider(), value_name = "PROVIDER")]
    pub(crate) exporter: Option<Target>,

    /// Gives up a backend that takes nothing for so many seconds (a key or workspace that it refuses: 5)
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) patience: Duration,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    /// The port on 127.0.0.1; 0 is a free one
    #[arg(long, default_value_t = 5173)]
    pub(crate) port: u16,

    /// How many calls of each backend are kept in memory
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) keep: usize,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "a number of seconds above zero is expected".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    // One in eleven days: whoever waits longer has made a mistake.
    const LEAST: f64 = 0.000_001;
    let rate = text.parse::<f64>().ok();
    rate.filter(|rate| rate.is_finite() && *rate >= LEAST)
        .ok_or_else(|| format!("a number from {LEAST} is expected"))
}
