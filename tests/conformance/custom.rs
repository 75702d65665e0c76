#[path = "../../examples/custom_exporter.rs"]
#[expect(dead_code, reason = "it is a program; its main is not called here")]
mod example;

pub(crate) use example::start;
