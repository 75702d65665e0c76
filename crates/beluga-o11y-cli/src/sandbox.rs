//! Plays the backends, and shows what arrives.

use std::{
    io::{self, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use beluga_o11y_sandbox::{Arrival, Backend, StoredCall};
use chrono::{SecondsFormat, Utc};

use crate::{
    arguments::{Loudness, Sandbox},
    human, interrupt,
    output::{DIM, Failure, GREEN, Outcome, RED, YELLOW, visible, width, wrap},
};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the last lines are waited for.
const GRACE: Duration = Duration::from_secs(1);
/// How many arrivals wait to be printed at most.
const MAX_WAITING: usize = 10_000;
/// What a line takes up besides the names of model and place.
const COLUMNS: usize = 64;
/// The most characters of a message or of content.
const MAX_TEXT: usize = 300;
/// Where what is said about a line begins.
const INDENT: usize = 17;

/// What the listener leaves for the command.
#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU64,
    refused: AtomicU64,
    /// Arrivals that were not printed, since nobody takes what is.
    unseen: AtomicU64,
}

pub(crate) fn run(arguments: &Sandbox, loudness: Loudness) -> Outcome {
    static SEEN: Seen = Seen {
        calls: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        unseen: AtomicU64::new(0),
    };
    interrupt::handle();
    let names = width().unwrap_or(100).saturating_sub(COLUMNS).clamp(16, 60);
    // A terminal that is halted must not halt the programs that send.
    let (texts, printed) = mpsc::sync_channel(MAX_WAITING);
    let sandbox = beluga_o11y_sandbox::Sandbox::builder()
        .with_port(arguments.port)
        .with_max_calls(arguments.keep)
        .with_request_log(100)
        .with_listener(move |arrival| SEEN.show(&arrival, names, loudness, &texts))
        .start()
        .map_err(|error| not_started(&error, arguments.port))?;
    let mut out = anstream::stdout().lock();
    for (name, value) in sandbox.environment() {
        writeln!(out, "export {name}={value}")?;
    }
    if !loudness.quiet {
        writeln!(
            out,
            "{DIM}# Set these where your program runs; Ctrl-C ends the sandbox.\n\
             # Python's arize-phoenix-otel also needs register(protocol=\"http/protobuf\").\n\
             # What it holds, as JSON: http://{}/_sandbox/calls{DIM:#}\n",
            sandbox.address()
        )?;
    }
    out.flush()?;
    drop(out);
    let printer = thread::spawn(move || SEEN.print(&printed));
    while !interrupt::asked() && !printer.is_finished() {
        thread::sleep(LOOK_EVERY);
    }
    drop(sandbox);
    let until = Instant::now() + GRACE;
    while !printer.is_finished() {
        if Instant::now() > until {
            return Ok(());
        }
        thread::sleep(LOOK_EVERY / 10);
    }
    if let Ok(Err(error)) = printer.join() {
        return Err(error.into());
    }
    if !loudness.quiet {
        let mut out = anstream::stdout().lock();
        let calls = SEEN.calls.load(Ordering::Relaxed);
        let refused = SEEN.refused.load(Ordering::Relaxed);
        let (calls, refused) = (
            human::count(calls, "call"),
            human::count(refused, "request"),
        );
        writeln!(out, "{calls} arrived, {refused} refused")?;
    }
    Ok(())
}

fn not_started(error: &io::Error, port: u16) -> Failure {
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::Settings(format!(
            "port {port} is taken: name another one with --port, or 0 for a free one"
        )),
        _ => Failure::Settings(format!("cannot listen on port {port}: {error}")),
    }
}

impl Seen {
    fn show(
        &self,
        arrival: &Arrival,
        names: usize,
        loudness: Loudness,
        texts: &SyncSender<Vec<u8>>,
    ) {
        match arrival {
            Arrival::Call { .. } => self.calls.fetch_add(1, Ordering::Relaxed),
            _ => self.refused.fetch_add(1, Ordering::Relaxed),
        };
        if loudness.quiet {
            return;
        }
        let mut text = Vec::new();
        let shown = print(&mut text, arrival, names, loudness);
        if shown.is_err() || texts.try_send(text).is_err() {
            self.unseen.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn print(&self, texts: &Receiver<Vec<u8>>) -> io::Result<()> {
        for text in texts {
            let mut out = anstream::stdout().lock();
            out.write_all(&text)?;
            let unseen = self.unseen.swap(0, Ordering::Relaxed);
            if unseen > 0 {
                let more = human::count(unseen, "more arrival");
                writeln!(out, "{DIM}{more} not shown{DIM:#}")?;
            }
            out.flush()?;
        }
        Ok(())
    }
}

fn print(
    out: &mut dyn Write,
    arrival: &Arrival,
    names: usize,
    loudness: Loudness,
) -> io::Result<()> {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let time = time.get(11..19).unwrap_or_default();
    match arrival {
        Arrival::Call { call, again } => {
            let (style, fate) = match (&call.error, again) {
                (Some(_), _) => (YELLOW, "error"),
                (None, true) => (DIM, "again"),
                (None, false) => (GREEN, "call"),
            };
            let tokens = match (call.input_tokens, call.output_tokens) {
                (None, None) => String::new(),
                (input, output) => format!("{} in, {} out", count(input), count(output)),
            };
            let cost = call
                .cost
                .map(|cost| format!("${cost:.4}"))
                .unwrap_or_default();
            let line = format!(
                "{:<9}  {}  {tokens:<16} {:>8} {cost:>8}",
                name_of(call.backend),
                fitted(&title(call), names),
                took(call),
            );
            let line = line.trim_end();
            writeln!(out, "{DIM}{time}{DIM:#}  {style}{fate:<5}{style:#}  {line}")?;
            if let Some(error) = &call.error {
                let kind = error.kind.as_deref().unwrap_or("error");
                let text = format!("{kind}: {}", error.message);
                beneath(out, &fitted(&text, MAX_TEXT))?;
            }
            if loudness.verbose > 0 {
                for (label, content) in [("in: ", &call.input), ("out: ", &call.output)] {
                    if let Some(content) = content {
                        let text = fitted(&content.to_string(), MAX_TEXT);
                        beneath(out, &format!("{label}{text}"))?;
                    }
                }
            }
        }
        Arrival::Refused {
            backend,
            method,
            path,
            status,
            reason,
        } => {
            let backend = backend.map_or("nobody", name_of);
            let path = fitted(path, MAX_TEXT);
            let path = path.trim_end();
            writeln!(
                out,
                "{DIM}{time}{DIM:#}  {RED}{status:<5}{RED:#}  {backend:<9}  {method} {path}"
            )?;
            if let Some(reason) = reason {
                beneath(out, reason)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// What there is to say about a line.
fn beneath(out: &mut dyn Write, text: &str) -> io::Result<()> {
    for line in wrap(text.trim_end(), INDENT) {
        writeln!(out, "{:INDENT$}{line}", "")?;
    }
    Ok(())
}

fn name_of(backend: Backend) -> &'static str {
    match backend {
        Backend::Opik => "opik",
        Backend::Langfuse => "langfuse",
        Backend::Phoenix => "phoenix",
        Backend::LangSmith => "langsmith",
        Backend::Otlp => "otlp",
        _ => "other",
    }
}

/// Provider and model, and the call's name if it is more than those.
fn title(call: &StoredCall) -> String {
    let provider = call.provider.as_deref().unwrap_or_default();
    let model = call.model.as_deref().unwrap_or_default();
    let name = call.name.as_deref().unwrap_or_default();
    let usual = [provider, model]
        .into_iter()
        .filter(|part| !part.is_empty());
    let usual = usual.collect::<Vec<_>>().join("/");
    match model.is_empty() || !name.contains(model) {
        true if usual.is_empty() || name.is_empty() => format!("{name}{usual}"),
        true => format!("{name}: {usual}"),
        false => usual,
    }
}

/// Exactly so many characters, on one line.
fn fitted(text: &str, width: usize) -> String {
    let start: String = text.chars().take(width + 1).collect();
    let mut fitted = visible(&start).into_owned();
    if fitted.chars().count() > width {
        fitted = fitted.chars().take(width.saturating_sub(1)).collect();
        fitted.push('…');
    }
    format!("{fitted:<width$}")
}

fn count(tokens: Option<u64>) -> String {
    tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string())
}

fn took(call: &StoredCall) -> String {
    let took = call
        .end_time
        .and_then(|end| (end - call.start_time).to_std().ok());
    match took {
        Some(Duration::ZERO) | None => String::new(),
        Some(took) if took < Duration::from_secs(1) => format!("{} ms", took.as_millis()),
        Some(took) => human::duration(took),
    }
}
