//! What was found, for people and for machines.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use beluga_o11y_http::{Origin, Setting};
use serde_json::{Value, json};

use crate::{
    arguments::{Loudness, Target},
    backend::{Finding, Problem},
    output::{BOLD, DIM, GREEN, RED, YELLOW},
};

/// What exporters call what lets them in. A key may also be among the headers.
const KEYS: &[&str] = &["API key", "secret key", "authorization", "headers"];
/// More has no place on a screen, whoever sends it.
const MAX_CHARS: usize = 1_000;
/// Steps that take longer tell how long.
const SHOWN: Duration = Duration::from_millis(10);

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StepName {
    Settings,
    Name,
    Connection,
    Tls,
    /// Only where it is wrong.
    Clock,
    Server,
    Credentials,
    Place,
    TestRecord,
    ReadBack,
}

impl StepName {
    const ALL: [Self; 10] = [
        Self::Settings,
        Self::Name,
        Self::Connection,
        Self::Tls,
        Self::Clock,
        Self::Server,
        Self::Credentials,
        Self::Place,
        Self::TestRecord,
        Self::ReadBack,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Name => "name",
            Self::Connection => "connection",
            Self::Tls => "TLS",
            Self::Clock => "clock",
            Self::Server => "server",
            Self::Credentials => "credentials",
            Self::Place => "project",
            Self::TestRecord => "test record",
            Self::ReadBack => "read back",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::TestRecord => "test_record",
            Self::ReadBack => "read_back",
            other => other.label(),
        }
    }
}

#[derive(Debug)]
struct Step {
    name: StepName,
    fate: Fate,
    took: Duration,
}

#[derive(Debug)]
enum Fate {
    Passed(String),
    Skipped(&'static str),
    Warning(Finding),
    Failed(Finding),
}

/// A check of one backend.
#[derive(Debug)]
pub(crate) struct Report {
    name: &'static str,
    pub(crate) destination: Option<String>,
    pub(crate) settings: Vec<Setting>,
    steps: Vec<Step>,
    /// The step that is going on.
    current: StepName,
    since: Instant,
}

/// A setting that was made in code was made by a flag, here.
fn shown_origin(origin: &Origin) -> String {
    match origin {
        Origin::Code => "flag".to_owned(),
        other => shown(&other.to_string()),
    }
}

/// A text of whatever length, by whomever.
fn shown(text: &str) -> String {
    let mut shown = crate::output::visible(text).into_owned();
    if let Some((end, _)) = shown.char_indices().nth(MAX_CHARS) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

impl Report {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            name: target.name(),
            destination: None,
            settings: Vec::new(),
            steps: Vec::new(),
            current: StepName::Settings,
            since: Instant::now(),
        }
    }

    /// A step starts. The one before it has ended.
    pub(crate) fn begin(&mut self, step: StepName) {
        self.current = step;
        self.since = Instant::now();
    }

    /// What has just been found belongs to another step than was thought; those between are fine.
    pub(crate) fn move_to(&mut self, step: StepName) {
        if self.current == StepName::Tls && step == StepName::Server {
            self.pass("the certificate is trusted");
        }
        self.steps.retain(|known| known.name != step);
        self.current = step;
    }

    pub(crate) fn pass(&mut self, detail: impl Into<String>) {
        self.end(Fate::Passed(detail.into()));
    }

    pub(crate) fn skip(&mut self, why: &'static str) {
        self.end(Fate::Skipped(why));
    }

    pub(crate) fn warn(&mut self, finding: Finding) {
        self.end(Fate::Warning(finding));
    }

    /// The last step.
    pub(crate) fn fail(&mut self, finding: Finding) {
        self.end(Fate::Failed(finding));
    }

    fn end(&mut self, mut fate: Fate) {
        if let Fate::Passed(text)
        | Fate::Warning(Finding { text, .. })
        | Fate::Failed(Finding { text, .. }) = &mut fate
        {
            // A server may have written it.
            *text = shown(text);
        }
        self.steps.push(Step {
            name: self.current,
            fate,
            took: self.since.elapsed(),
        });
        self.since = Instant::now();
    }

    pub(crate) fn is_well(&self) -> bool {
        !self
            .steps
            .iter()
            .any(|step| matches!(step.fate, Fate::Failed(_)))
    }

    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        let setting = self.settings.iter().find(|setting| setting.name == name);
        setting?.value.as_deref()
    }

    pub(crate) fn is_default(&self, name: &str) -> bool {
        let setting = self.settings.iter().find(|setting| setting.name == name);
        setting.is_none_or(|setting| setting.origin == Origin::Default)
    }

    pub(crate) fn has_key(&self) -> bool {
        KEYS.iter().any(|key| self.setting(key).is_some())
    }

    /// What the finding is about: a setting, and where its value is from.
    fn cause(&self, problem: Problem) -> Option<String> {
        let names: &[&str] = match problem {
            Problem::WrongKey | Problem::WrongKeyOrRegion | Problem::Forbidden => KEYS,
            Problem::WrongWorkspace | Problem::MissingWorkspace => &["workspace", "workspace id"],
            Problem::Dns
            | Problem::Refused
            | Problem::Timeout
            | Problem::Connection
            | Problem::UntrustedCertificate
            | Problem::Certificate
            | Problem::Tls
            | Problem::WrongServer
            | Problem::OldServer
            | Problem::Redirect
            | Problem::PlainHttp => &["base URL", "endpoint"],
            Problem::ProjectMissing => &["project"],
            _ => &[],
        };
        let about = |setting: &&Setting| setting.value.is_some() && names.contains(&setting.name);
        let setting = self.settings.iter().find(about)?;
        let value = shown(setting.value.as_deref()?);
        let from = shown_origin(&setting.origin);
        Some(format!("{} {value}, from: {from}", setting.name))
    }

    /// What this command offers against it.
    fn remedy(problem: Problem) -> Option<&'static str> {
        Some(match problem {
            Problem::MissingKey => {
                "here: its variable, or --api-key KEY (Langfuse: also --public-key KEY; OTLP: --header 'authorization: ..')"
            }
            Problem::MissingWorkspace => "here: its variable, or --workspace ID",
            Problem::UntrustedCertificate => {
                "here: --ca FILE; in a program: with_root_certificate_pem; everywhere: the system's certificates"
            }
            Problem::PlainHttp => "here: --allow-http, if nobody else is in between",
            Problem::Redirect => "use the address that it redirects to: --url, or the variable",
            Problem::Proxy => {
                "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY set the proxy; --proxy another one"
            }
            Problem::Clock => {
                "set this machine's clock: certificates and times are judged by it, and Opik refuses calls whose time is a day off"
            }
            Problem::RateLimited => "try again later; a pipeline waits and tries again by itself",
            Problem::Quota => "the plan's limit is used up: raise it, or wait for the next period",
            Problem::TooLarge => {
                "something in between takes small requests only: look for the body limit of the proxy or gateway"
            }
            Problem::SwitchedOff => "unset it to send",
            _ => return None,
        })
    }

    pub(crate) fn print(&self, out: &mut dyn Write, loudness: Loudness) -> io::Result<()> {
        let beside = self.name.len() + 2;
        let destination = self.destination.as_deref().map(shown).unwrap_or_default();
        let mut lines = crate::output::wrap(&destination, beside).into_iter();
        let first = lines.next().unwrap_or_default();
        let heading = format!("{BOLD}{}{BOLD:#}  {first}", self.name);
        writeln!(out, "{}", heading.trim_end())?;
        for line in lines {
            writeln!(out, "{:beside$}{line}", "")?;
        }
        if !loudness.quiet && !self.settings.is_empty() {
            let mut table = crate::output::table(["setting", "value", "from"]);
            for setting in &self.settings {
                let Some(value) = &setting.value else {
                    continue;
                };
                let value = shown(value);
                table.add_row([setting.name, &value, &shown_origin(&setting.origin)]);
            }
            for line in table.to_string().lines() {
                writeln!(out, " {}", line.trim_end())?;
            }
            writeln!(out)?;
        }
        for step in &self.steps {
            let (style, sign, text, finding) = match &step.fate {
                Fate::Passed(detail) => (GREEN, "ok", detail.as_str(), None),
                Fate::Skipped(why) => (DIM, "--", *why, None),
                Fate::Warning(finding) => (YELLOW, "!!", finding.text.as_str(), Some(finding)),
                Fate::Failed(finding) => (RED, "NO", finding.text.as_str(), Some(finding)),
            };
            let label = step.name.label();
            let head = 4 + 2 + 13;
            let text = match &step.fate {
                Fate::Passed(_) if step.took >= SHOWN => {
                    format!("{text} ({} ms)", step.took.as_millis())
                }
                _ => text.to_owned(),
            };
            let mut lines = crate::output::wrap(&text, head).into_iter();
            let first = lines.next().unwrap_or_default();
            writeln!(out, "  {style}{sign}{style:#}  {label:<12} {first}")?;
            let mut more: Vec<String> = lines.collect();
            if let Some(finding) = finding {
                let hints = [
                    self.cause(finding.problem),
                    Self::remedy(finding.problem).map(str::to_owned),
                ];
                for hint in hints.into_iter().flatten() {
                    more.extend(crate::output::wrap(&hint, head));
                }
            }
            for line in more {
                writeln!(out, "{:head$}{line}", "")?;
            }
        }
        let rest: Vec<_> = self.untried().map(StepName::label).collect();
        if !rest.is_empty() {
            let rest = format!("not tried: {}", rest.join(", "));
            for (index, line) in crate::output::wrap(&rest, 6).iter().enumerate() {
                let sign = if index == 0 { "--" } else { "" };
                writeln!(out, "  {DIM}{sign:<2}  {line}{DIM:#}")?;
            }
        }
        Ok(())
    }

    /// The steps that come after a failure.
    fn untried(&self) -> impl Iterator<Item = StepName> {
        let failed = !self.is_well();
        let plain = |destination: &String| destination.starts_with("http:");
        let plain = self.destination.as_ref().is_some_and(plain);
        let last = self.steps.iter().map(|step| step.name).max();
        StepName::ALL.into_iter().filter(move |step| {
            let is_for_none = *step == StepName::Clock || plain && *step == StepName::Tls;
            failed && Some(*step) > last && !is_for_none
        })
    }

    pub(crate) fn json(&self) -> Value {
        let settings = self.settings.iter().map(|setting| {
            json!({
                "name": setting.name,
                "value": setting.value.as_deref().map(shown),
                "from": shown_origin(&setting.origin),
            })
        });
        let steps = self.steps.iter().map(|step| {
            let mut shown = json!({
                "step": step.name.key(),
                "ms": u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
            });
            let (status, text, problem) = match &step.fate {
                Fate::Passed(detail) => ("ok", detail.as_str(), None),
                Fate::Skipped(why) => ("skipped", *why, None),
                Fate::Warning(finding) => ("warning", finding.text.as_str(), Some(finding.problem)),
                Fate::Failed(finding) => ("failed", finding.text.as_str(), Some(finding.problem)),
            };
            if let Some(object) = shown.as_object_mut() {
                object.insert("status".to_owned(), status.into());
                object.insert("text".to_owned(), text.into());
                if let Some(problem) = problem {
                    object.insert("problem".to_owned(), json!(problem));
                    object.insert("cause".to_owned(), json!(self.cause(problem)));
                    object.insert("remedy".to_owned(), json!(Self::remedy(problem)));
                }
            }
            shown
        });
        json!({
            "provider": self.name,
            "destination": self.destination.as_deref().map(shown),
            "ok": self.is_well(),
            "settings": settings.collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}
