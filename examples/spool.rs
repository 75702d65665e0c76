//! Calls survive the process: one is killed in the middle of its work while the backend is down, and the next one
//! delivers what it had accepted.
//!
//! It starts itself as that first process.

use std::{env, error::Error, io::Read, process, time::Duration};

use beluga_o11y::{CallSink, LLMCallData};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_pipeline::{Pipeline, PipelineStats};
use beluga_o11y_sandbox::{Fault, Sandbox};

/// Tells the first process where to report to.
const URL: &str = "EXAMPLE_URL";
/// A program names a directory of its own, such as /var/lib/my-program/llm-calls.
const DIRECTORY: &str = "EXAMPLE_DIRECTORY";

fn main() -> Result<(), Box<dyn Error>> {
    if let (Ok(url), Ok(directory)) = (env::var(URL), env::var(DIRECTORY)) {
        return first(&url, &directory);
    }
    // A sandbox stands in for Opik, and is down at first.
    let sandbox = Sandbox::start()?;
    sandbox.inject(Fault::status(503).always());
    let directory = tempfile::tempdir()?;
    let directory = directory.path().to_str().ok_or("a path that is text")?;

    let mut child = process::Command::new(env::current_exe()?)
        .env(URL, sandbox.opik_url())
        .env(DIRECTORY, directory)
        .stdout(process::Stdio::piped())
        .spawn()?;
    // It says when it has handed over its calls, and then waits to be killed.
    child.stdout.take().ok_or("a pipe")?.read_exact(&mut [0])?;
    child.kill()?;
    println!("the first process: {}", child.wait()?);
    println!("arrived: {} traces in Opik", sandbox.traces().len());

    sandbox.clear_faults();
    let pipeline = start(&sandbox.opik_url(), directory)?;
    let report = pipeline.shutdown(Duration::from_secs(10));
    println!("the second process: {}", report.stats);
    println!("arrived: {} traces in Opik", sandbox.traces().len());
    let PipelineStats {
        recovered,
        delivered,
        ..
    } = report.stats;
    assert_eq!(
        (recovered, delivered, sandbox.traces().len()),
        (100, 100, 100)
    );
    Ok(())
}

fn start(url: &str, directory: &str) -> Result<Pipeline, Box<dyn Error>> {
    let opik = OpikExporter::builder().with_base_url(url).build()?;
    Ok(Pipeline::builder(opik).with_spool(directory).spawn()?)
}

fn first(url: &str, directory: &str) -> Result<(), Box<dyn Error>> {
    let pipeline = start(url, directory)?;
    for _ in 0..100 {
        let call = LLMCallData::new("openai", "gpt-4o")
            .with_messages("What is the capital of France?")
            .with_response("Paris")
            .with_tokens(12, 3);
        // On disk when this returns.
        pipeline.submit(call);
    }
    println!();
    loop {
        std::thread::park();
    }
}
