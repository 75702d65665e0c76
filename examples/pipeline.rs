//! A pipeline: the program hands calls over and goes on, also while the backend is down, and knows what became of each.

use std::{error::Error, thread, time::Duration};

use beluga_o11y::{CallSink, LLMCallData};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::{Fault, Sandbox};

// No runtime is needed: the pipeline has a thread of its own.
fn main() -> Result<(), Box<dyn Error>> {
    // A sandbox stands in for Opik, and has a bad day: it is down at first.
    let sandbox = Sandbox::start()?;
    sandbox.inject(Fault::status(503).times(4));

    let opik = OpikExporter::builder()
        .with_base_url(sandbox.opik_url())
        .build()?;
    let pipeline = Pipeline::builder(opik)
        .with_max_batch_delay(Duration::from_millis(200))
        .with_dead_letters(|letter| println!("dead letter: {}", letter.error))
        .spawn()?;

    // From any thread, with or without a runtime.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let pipeline = pipeline.clone();
            thread::spawn(move || {
                for _ in 0..250 {
                    let call = LLMCallData::new("openai", "gpt-4o")
                        .with_messages("What is the capital of France?")
                        .with_response("Paris")
                        .with_tokens(12, 3);
                    pipeline.submit(call);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("nothing here panics");
    }
    println!("handed over: {}", pipeline.stats());

    // A call that no backend can take is refused at once, and costs no other.
    let answer = pipeline.submit(LLMCallData::new("openai", "gpt-4o").with_cost(f64::NAN));
    println!("a cost of NaN: {answer:?}");

    let report = pipeline.shutdown(Duration::from_secs(5));
    println!("shut down:   {}", report.stats);
    println!("arrived: {} traces in Opik", sandbox.traces().len());
    Ok(())
}
