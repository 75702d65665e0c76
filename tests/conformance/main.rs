//! The suite that every exporter must pass, case by case, on ours: `cargo test --test conformance opik::`.
//!
//! Each file is an exporter, with what its backend does not show. What was not compared is printed, so that nobody
//! takes it for tested.

mod custom;
mod langfuse;
mod langsmith;
mod memory;
mod opik;
mod otlp;
mod phoenix;
mod sandboxed;

use std::sync::Arc;

use beluga_o11y_sandbox::conformance::{self, Subject, Verdict};
use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    add(&mut trials, "memory", memory::start);
    add(&mut trials, "custom", custom::start);
    add(&mut trials, "opik", opik::start);
    add(&mut trials, "langfuse", langfuse::start);
    add(&mut trials, "phoenix", phoenix::start);
    add(&mut trials, "langsmith", langsmith::start);
    add(&mut trials, "otlp", otlp::start);
    libtest_mimic::run(&arguments, trials).exit();
}

/// A trial for each case.
fn add<S: Subject + 'static>(
    trials: &mut Vec<Trial>,
    exporter: &'static str,
    start: impl Fn() -> S + Send + Sync + 'static,
) {
    let start = Arc::new(start);
    for case in conformance::cases() {
        let start = Arc::clone(&start);
        let run = move || {
            let report = case.run(move || start());
            match &report.verdict {
                Verdict::Ok if report.not_compared.is_empty() => {}
                Verdict::Failed(_) => return Err(report.to_string().into()),
                _ => println!("{exporter}: {report}"),
            }
            Ok(())
        };
        trials.push(Trial::test(format!("{exporter}::{}", case.name()), run));
    }
}
