//! For tests/live/run: makes calls and sends them to a real Phoenix.
//!
//! - `calls COUNT` prints one call of each kind and a batch of so many, one JSON object a line.
//! - `send URL PROJECT [KEY]` sends the calls of its standard input to a Phoenix, `collect URL PROJECT` to a collector in
//!   front of one: the batch as a batch, the others one by one.
//! - `check URL PROJECT [KEY]` says what a check says.
//! - `flood URL PROJECT KEY` sends until the server has no room, and then until it has room again.
//!
//! What an exporter says against it is printed with its kind or name in front, and the exit code is then 1.

mod calls;

use std::{
    error::Error,
    io,
    process::ExitCode,
    time::{Duration, Instant},
};

use beluga_o11y::{ExportError, ExportErrorKind, LLMCallData, TraceExporter};
use beluga_o11y_otlp::OtlpExporter;
use beluga_o11y_phoenix::PhoenixExporter;
use serde_json::json;

/// The program was called in a wrong way.
type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let said = match arguments.as_slice() {
        ["calls", count] => print_calls(count.parse()?),
        ["send", url, project, key @ ..] => send(&phoenix(url, project, key)?, read_calls()?).await,
        ["collect", url, project] => send(&collector(url, project)?, read_calls()?).await,
        ["check", url, project, key @ ..] => check(&phoenix(url, project, key)?).await,
        ["flood", url, project, key] => flood(&phoenix(url, project, &[key])?).await,
        _ => return Err("usage: live_phoenix calls|send|collect|check|flood ..".into()),
    };
    Ok(match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(said) => {
            println!("{said}");
            ExitCode::FAILURE
        }
    })
}

fn phoenix(url: &str, project: &str, key: &[&str]) -> Result<PhoenixExporter, Failure> {
    let mut phoenix = PhoenixExporter::builder()
        .with_base_url(url)
        .with_project(project)
        .with_timeout(Duration::from_secs(20));
    if let Some(key) = key.first() {
        phoenix = phoenix.with_api_key(*key);
    }
    Ok(phoenix.build()?)
}

fn collector(url: &str, project: &str) -> Result<OtlpExporter, Failure> {
    let collector = OtlpExporter::builder()
        .with_endpoint(url)
        .with_resource_attribute("openinference.project.name", project)
        .with_timeout(Duration::from_secs(20));
    Ok(collector.build()?)
}

fn print_calls(batch: u64) -> Result<(), String> {
    for call in calls::batch(batch).iter().chain(&calls::of_every_kind()) {
        println!("{}", json!(call));
    }
    Ok(())
}

fn read_calls() -> Result<Vec<LLMCallData>, Failure> {
    let lines = io::stdin().lines();
    lines
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect()
}

async fn send(exporter: &impl TraceExporter, calls: Vec<LLMCallData>) -> Result<(), String> {
    let is_batch = |call: &&LLMCallData| call.name.as_deref() == Some("batch");
    let (batch, alone): (Vec<_>, Vec<_>) = calls.iter().partition(is_batch);
    for call in alone {
        exporter.export_llm_call(call).await.map_err(words)?;
    }
    send_batch(exporter, &batch).await.map_err(words)
}

async fn send_batch(
    exporter: &impl TraceExporter,
    batch: &[&LLMCallData],
) -> Result<(), ExportError> {
    let report = exporter.export_batch(batch).await?;
    match report.failures.into_iter().next() {
        None => Ok(()),
        Some(failure) => Err(failure.error),
    }
}

fn words(error: ExportError) -> String {
    let status = error.status().map(|status| status.to_string());
    format!("{:?} {}: {error}", error.kind(), status.unwrap_or_default())
}

async fn check(phoenix: &PhoenixExporter) -> Result<(), String> {
    match phoenix.check().await {
        Ok(found) => {
            println!("   {found:?}");
            Ok(())
        }
        Err(error) => {
            let variant = format!("{error:?}");
            let name = variant.split(['(', ' ']).next().unwrap_or_default();
            Err(format!("{name}: {error}"))
        }
    }
}

async fn flood(phoenix: &PhoenixExporter) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(60);
    let mut taken = 0;
    let mut refused = None;
    while Instant::now() < end {
        let calls = calls::batch(100);
        let batch: Vec<_> = calls.iter().collect();
        // One that is refused is sent again, as a pipeline would.
        while let Err(error) = send_batch(phoenix, &batch).await {
            if (error.kind(), error.status()) != (ExportErrorKind::Temporary, Some(503))
                || Instant::now() > end
            {
                return Err(words(error));
            }
            refused.get_or_insert((error, Instant::now()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        taken += 1;
        if let Some((error, since)) = refused {
            let (after, words) = (since.elapsed().as_secs_f32(), words(error));
            println!("   {words}\n   taken {after:.1} s later, batch {taken} of 100 calls");
            return Ok(());
        }
    }
    Err(format!(
        "it took {taken} batches in a minute, and refused none"
    ))
}
