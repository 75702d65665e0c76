//! Where calls stand when a program makes them at once, in turns, in tasks, threads and streams: each is reported once,
//! in the right trace and below the right parent.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests"
)]

mod agents;
mod calls;
mod scopes;
mod streams;
mod support;
mod tasks;
mod threads;
mod traces;
