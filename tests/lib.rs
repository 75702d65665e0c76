//! Tests that cross crates; see the files beside this one. The code in README and docs is tested here.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/opik.md")]
struct DocsOpik;

#[cfg(doctest)]
#[doc = include_str!("../docs/pipeline.md")]
struct DocsPipeline;
