//! Tests that cross crates; see the files beside this one. The code in README and docs is tested here.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/opik.md")]
struct DocsOpik;

#[cfg(doctest)]
#[doc = include_str!("../docs/experiments.md")]
struct DocsExperiments;

#[cfg(doctest)]
#[doc = include_str!("../docs/pipeline.md")]
struct DocsPipeline;

#[cfg(doctest)]
#[doc = include_str!("../docs/otlp.md")]
struct DocsOtlp;

#[cfg(doctest)]
#[doc = include_str!("../docs/langfuse.md")]
struct DocsLangfuse;

#[cfg(doctest)]
#[doc = include_str!("../docs/phoenix.md")]
struct DocsPhoenix;

#[cfg(doctest)]
#[doc = include_str!("../docs/langsmith.md")]
struct DocsLangSmith;

#[cfg(doctest)]
#[doc = include_str!("../docs/tracing.md")]
struct DocsTracing;
