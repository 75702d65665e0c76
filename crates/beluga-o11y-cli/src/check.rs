//! Shows where calls would go, and whether they arrive.

mod report;

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use beluga_o11y::LLMCallData;
use beluga_o11y_http::{ConnectProblem, Env, HttpError, HttpRequest, HttpSender, Origin, Setting};
use beluga_o11y_providers::FromEnvError;
use chrono::{TimeDelta, Utc};
use serde_json::json;
use tokio::{net, time};

use crate::{
    arguments::{Check, Connection, Loudness, Target},
    backend::{self, Builder, Finding, Probe, Problem},
    output::{Failure, Outcome},
    runtime,
};

use report::{Report, StepName};

/// All of a check.
const PATIENCE: Duration = Duration::from_secs(9);
/// One request of it, unless `--timeout` says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a test record may take to become readable.
const READ_PATIENCE: Duration = Duration::from_secs(4);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Opik refuses ids whose time is further off than this.
const CLOCK_WRONG: TimeDelta = TimeDelta::hours(24);
const CLOCK_ODD: TimeDelta = TimeDelta::minutes(5);

pub(crate) fn run(arguments: &Check, loudness: Loudness) -> Outcome {
    let targets = targets(arguments)?;
    let reports = runtime::block_on(async {
        let mut running = Vec::new();
        for target in targets {
            let (connection, write) = (arguments.connection.clone(), !arguments.no_write);
            running.push(tokio::spawn(async move {
                check(target, &connection, write).await
            }));
        }
        let mut reports = Vec::new();
        for report in running {
            // A task that panicked is an error of this program, and its message was printed.
            reports.push(report.await.map_err(|_| Failure::Told)?);
        }
        Ok::<_, Failure>(reports)
    })??;
    let all_well = reports.iter().all(Report::is_well);
    let mut out = anstream::stdout().lock();
    if arguments.json {
        let checks: Vec<_> = reports.iter().map(Report::json).collect();
        let text = serde_json::to_string_pretty(&json!({ "ok": all_well, "checks": checks }));
        writeln!(out, "{}", text.map_err(Failure::failed)?)?;
    } else {
        for (index, report) in reports.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            report.print(&mut out, loudness)?;
        }
    }
    match all_well {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

/// Where the environment names nobody and several have credentials, all of them are meant.
fn targets(arguments: &Check) -> Outcome<Vec<Target>> {
    if arguments.providers.is_empty()
        && let Err(FromEnvError::Several { names }) = beluga_o11y_providers::names_from_env()
        && !arguments.connection.is_set()
    {
        return Ok(names.into_iter().filter_map(Target::by_name).collect());
    }
    backend::chosen(&arguments.providers, &arguments.connection)
}

async fn check(target: Target, connection: &Connection, write: bool) -> Report {
    let mut report = Report::new(target);
    let until = Instant::now() + PATIENCE;
    let checked = time::timeout_at(until.into(), steps(&mut report, target, connection, write));
    if checked.await.is_err() {
        let text = format!("no answer within {} s", PATIENCE.as_secs());
        report.fail(Finding::new(Problem::Timeout, text));
    }
    report
}

/// Goes on until something is wrong.
async fn steps(report: &mut Report, target: Target, connection: &Connection, write: bool) {
    if let Err(finding) = try_steps(report, target, connection, write).await {
        report.fail(finding);
    }
}

async fn try_steps(
    report: &mut Report,
    target: Target,
    connection: &Connection,
    write: bool,
) -> Result<(), Finding> {
    report.begin(StepName::Settings);
    let mut connection = connection.clone();
    let own_timeout = connection.timeout.is_some();
    let timeout = *connection.timeout.get_or_insert(REQUEST_TIMEOUT);
    let builder = Builder::new(target, &connection);
    let builder = builder.map_err(|failure| Finding::new(Problem::Settings, failure))?;
    report.settings = builder.settings()?;
    if let Some(path) = &connection.ca {
        let path = Some(path.display().to_string());
        let setting = Setting::new("own authorities", path, Origin::Code);
        report.settings.push(setting);
    }
    if !own_timeout {
        // It is this command's.
        report.settings.retain(|setting| setting.name != "timeout");
    }
    // Shorter than the whole, so that it shows which of the two is over.
    let connect_timeout = CONNECT_TIMEOUT.min(timeout.mul_f64(0.75));
    let probe = builder.with_connect_timeout(connect_timeout).build()?;
    let Some(sender) = probe.sender().filter(|_| !probe.is_switched_off()) else {
        let by = report.setting("switched off by").unwrap_or_default();
        let text = format!("exporting is switched off by {by}");
        return Err(Finding::new(Problem::SwitchedOff, text));
    };
    report.destination = Some(probe.destination());
    report.pass("resolved");

    let proxy = Proxy::of(sender, &connection);
    if let Some(proxy) = &proxy {
        report.settings.push(proxy.setting.clone());
    }
    reach(report, sender, proxy.as_ref(), probe.path()).await?;

    let server = probe.server().await?;
    report.pass(server);

    report.begin(StepName::Credentials);
    let access = probe
        .access()
        .await
        .map_err(|finding| region(finding, report, &*probe, sender));
    let access = match access {
        Ok(access) => access,
        Err(finding) => {
            let about_the_place = matches!(
                finding.problem,
                Problem::WrongWorkspace | Problem::MissingWorkspace | Problem::ProjectMissing
            );
            if about_the_place {
                report.pass(match report.has_key() {
                    true => "the key is known",
                    false => "none, and none was asked for",
                });
                report.begin(StepName::Place);
            }
            if finding.problem == Problem::MissingKey && report.has_key() {
                // The exporter looks for one in its own place only.
                let text = "the server wants credentials, and takes no header for them";
                return Err(Finding::new(Problem::WrongKey, text));
            }
            return Err(finding);
        }
    };
    report.pass(match report.has_key() {
        true => "accepted",
        false => "none, and none is wanted",
    });
    report.begin(StepName::Place);
    match &access.missing_project {
        None => report.pass(access.place),
        // Nobody has chosen it.
        Some(_) if report.is_default("project") => report.pass(access.place),
        Some(project) => report.warn(Finding::new(
            Problem::ProjectMissing,
            format!(
                "there is no project {project} yet: it is made with the first call. If there should be one, check its name"
            ),
        )),
    }
    if !write {
        return Ok(());
    }
    report.begin(StepName::TestRecord);
    let call = test_call();
    let sent = probe.export_llm_call(&call).await;
    sent.map_err(|error| Finding::of_export(probe.name(), &error))
        .map_err(|finding| region(finding, report, &*probe, sender))?;
    report.pass(format!("{} was taken", call.id()));

    report.begin(StepName::ReadBack);
    read_back(report, &*probe, &call).await
}

/// Name, connection, TLS, and whether it is the right server at all, as far as a request without a key can tell.
async fn reach(
    report: &mut Report,
    sender: &HttpSender,
    proxy: Option<&Proxy>,
    path: &'static str,
) -> Result<(), Finding> {
    let https = sender.base_url().starts_with("https:");
    if let Some(proxy) = proxy {
        for step in [StepName::Name, StepName::Connection] {
            report.begin(step);
            report.skip(match proxy.is_used {
                true => "through a proxy",
                false => "through a proxy, unless NO_PROXY excludes the host",
            });
        }
    } else {
        report.begin(StepName::Name);
        let host = sender.host();
        let addresses = resolve(host, sender.port()).await?;
        let shown: Vec<_> = addresses
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(_) => report.skip("an address already"),
            Err(_) => report.pass(format!("{host} is {}", shown.join(", "))),
        }
        report.begin(StepName::Connection);
        report.pass(format!("to {}", connect(&addresses).await?));
    }
    report.begin(if https {
        StepName::Tls
    } else {
        StepName::Server
    });
    let answer = match sender.send(HttpRequest::get(path)).await {
        Ok(answer) => Some(answer),
        // Nothing has to be there; whether what takes spans redirects too is found next.
        Err(HttpError::Redirect { .. }) if path.is_empty() => None,
        Err(error) => {
            let (step, finding) = not_reached(&error, https, proxy);
            report.move_to(step);
            return Err(finding);
        }
    };
    if https {
        report.pass("the certificate is trusted");
    }
    if let Some(date) = answer.and_then(|answer| answer.date()) {
        clock(report, Utc::now() - date)?;
    }
    report.begin(StepName::Server);
    Ok(())
}

/// Why there is no answer, and the step that this is about.
fn not_reached(error: &HttpError, https: bool, proxy: Option<&Proxy>) -> (StepName, Finding) {
    let finding = Finding::from(error);
    match error {
        // There was a connection a moment ago.
        HttpError::Connect { host, problem }
            if *problem == ConnectProblem::TimedOut && https && proxy.is_none() =>
        {
            let text = format!(
                "{host} takes the connection and does not answer in TLS; is it http:// or another port"
            );
            (StepName::Tls, Finding::new(Problem::Timeout, text))
        }
        // The server is the proxy's to find.
        HttpError::Connect {
            problem: ConnectProblem::Dns | ConnectProblem::Refused,
            ..
        } if proxy.is_some_and(|proxy| proxy.is_used) => {
            let text = format!("the proxy is not there: {error}");
            (StepName::Connection, Finding::new(Problem::Proxy, text))
        }
        HttpError::Connect { .. } | HttpError::Broken { .. } => (StepName::Connection, finding),
        HttpError::Tls { .. } => (StepName::Tls, finding),
        _ => (StepName::Server, finding),
    }
}

/// Says nothing of a clock that is right.
fn clock(report: &mut Report, off: TimeDelta) -> Result<(), Finding> {
    if off.abs() <= CLOCK_ODD {
        return Ok(());
    }
    report.begin(StepName::Clock);
    let (amount, way) = match off < TimeDelta::zero() {
        true => (-off, "behind"),
        false => (off, "ahead of"),
    };
    let amount = crate::human::duration(amount.to_std().unwrap_or_default());
    let text = format!("this machine's clock is {amount} {way} the server's");
    let finding = Finding::new(Problem::Clock, text);
    if off.abs() > CLOCK_WRONG {
        return Err(finding);
    }
    report.warn(finding);
    Ok(())
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Finding> {
    let unbracketed = host.trim_start_matches('[').trim_end_matches(']');
    let found = time::timeout(CONNECT_TIMEOUT, net::lookup_host((unbracketed, port))).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) => Vec::new(),
        Err(_) => {
            let text = format!("the name service does not answer for {host}");
            return Err(Finding::new(Problem::Dns, text));
        }
    };
    match addresses.is_empty() {
        true => {
            let text = format!("the name {host} cannot be resolved; check it in the base URL");
            Err(Finding::new(Problem::Dns, text))
        }
        false => Ok(addresses),
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<SocketAddr, Finding> {
    let mut last = Finding::new(Problem::Connection, "there is no address");
    for address in addresses {
        let connected = time::timeout(CONNECT_TIMEOUT, net::TcpStream::connect(address)).await;
        last = match connected {
            Ok(Ok(_)) => return Ok(*address),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Finding::new(
                    Problem::Refused,
                    format!(
                        "{address} refuses the connection; check that the server runs, and the port"
                    ),
                )
            }
            Ok(Err(error)) => Finding::new(
                Problem::Connection,
                format!("no connection to {address}: {error}"),
            ),
            Err(_) => Finding::new(
                Problem::Timeout,
                format!(
                    "{address} does not take the connection within {} s; a firewall, or the wrong port",
                    CONNECT_TIMEOUT.as_secs()
                ),
            ),
        };
    }
    Err(last)
}

/// A proxy in between: what this program can look up itself then says nothing.
struct Proxy {
    setting: Setting,
    /// If not, the HTTP client decides, by NO_PROXY.
    is_used: bool,
}

impl Proxy {
    fn of(sender: &HttpSender, connection: &Connection) -> Option<Self> {
        if sender.is_loopback() {
            return None;
        }
        if let Some(url) = &connection.proxy {
            let setting = Setting::url("proxy", url, Origin::Code);
            return Some(Self {
                setting,
                is_used: true,
            });
        }
        let first = |names: &[&'static str]| Env::process().first(names).ok().flatten();
        let (name, url) = first(match sender.base_url().starts_with("https:") {
            true => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
            false => &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
        })?;
        Some(Self {
            setting: Setting::url("proxy", &url, Origin::Variable(name)),
            is_used: first(&["NO_PROXY", "no_proxy"]).is_none(),
        })
    }
}

/// A key that one region refuses may be good in another.
fn region(finding: Finding, report: &Report, probe: &dyn Probe, sender: &HttpSender) -> Finding {
    let refused = match finding.problem {
        Problem::WrongKey => true,
        // Where nobody has named a workspace, it is the key's own that was refused.
        Problem::WrongWorkspace => report.setting("workspace id").is_none(),
        _ => false,
    };
    if !refused || !probe.regions().contains(&sender.host()) {
        return finding;
    }
    let others: Vec<_> = probe
        .regions()
        .iter()
        .filter(|host| **host != sender.host())
        .map(|host| format!("https://{host}"))
        .collect();
    Finding::new(
        Problem::WrongKeyOrRegion,
        format!(
            "{}. Each region has keys of its own; this is {}, the others are {}",
            finding.text,
            sender.host(),
            others.join(", ")
        ),
    )
}

async fn read_back(
    report: &mut Report,
    probe: &dyn Probe,
    call: &LLMCallData,
) -> Result<(), Finding> {
    let until = Instant::now() + READ_PATIENCE;
    loop {
        match probe.has(call).await {
            None => {
                report.skip("there is no standard way to ask for it");
                return Ok(());
            }
            Some(Ok(true)) => {
                report.pass("it can be read");
                return Ok(());
            }
            Some(Ok(false)) if Instant::now() < until => time::sleep(ASK_AGAIN).await,
            Some(Ok(false)) => {
                // These servers store after they have answered.
                report.warn(Finding::new(
                    Problem::NotReadable,
                    format!(
                        "it was taken, but cannot be read after {} s; look for it in the user interface later",
                        READ_PATIENCE.as_secs()
                    ),
                ));
                return Ok(());
            }
            Some(Err(finding)) if finding.problem == Problem::NotReadable => {
                report.warn(finding);
                return Ok(());
            }
            Some(Err(finding)) => return Err(finding),
        }
    }
}

/// A call that nobody made, to be recognised as such.
fn test_call() -> LLMCallData {
    LLMCallData::new("beluga-o11y", "check")
        .with_name("beluga-o11y check")
        .with_messages(json!([{"role": "user", "content": "Does this arrive?"}]))
        .with_response("It does.")
        .with_tokens(4, 2)
        .with_duration(Duration::from_millis(1))
        .with_tag("beluga-o11y-check")
}
