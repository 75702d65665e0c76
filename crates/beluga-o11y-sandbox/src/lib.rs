//! A server that behaves like Opik, in your process: for tests, and to try things without an account.
//!
//! [`Sandbox::start`] listens on a free port of 127.0.0.1. It takes what Opik takes, refuses what Opik refuses with
//! Opik's statuses and bodies, keeps what it took, gives it back typed, and misbehaves when told to ([`Fault`]).
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! use beluga_o11y_sandbox::{Fault, Sandbox};
//!
//! # fn main() -> std::io::Result<()> {
//! let sandbox = Sandbox::start()?;
//! sandbox.inject(Fault::status(503)); // the first try fails
//!
//! // Your program, given `sandbox.opik_url()` as the URL of Opik. Here it speaks HTTP itself:
//! let body = r#"{"traces":[{"name":"chat","start_time":"2026-11-22T21:52:14Z","source":"sdk"}]}"#;
//! for _try in 0..2 {
//!     let mut stream = TcpStream::connect(sandbox.address())?;
//!     write!(
//!         stream,
//!         "POST /opik/api/v1/private/traces/batch HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
//!          Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
//!         body.len()
//!     )?;
//!     stream.read_to_end(&mut Vec::new())?;
//! }
//!
//! let traces = sandbox.traces();
//! assert_eq!(traces.len(), 1);
//! assert_eq!(traces[0].name.as_deref(), Some("chat"));
//! assert_eq!(traces[0].project_name, "Default Project");
//! let statuses: Vec<_> = sandbox.requests().iter().map(|request| request.status).collect();
//! assert_eq!(statuses, [Some(503), Some(204)]);
//! # Ok(())
//! # }
//! ```
//!
//! It works in synchronous tests and under any async runtime, since it has a thread of its own, and many can run side
//! by side. For programs in other languages there is the example `serve`, and `GET /_sandbox/traces`,
//! `/_sandbox/spans` and `/_sandbox/requests` give what [`Sandbox::traces`], [`Sandbox::spans`] and
//! [`Sandbox::requests`] give, as JSON; no backend has these paths.
//!
//! # What it enforces
//!
//! Self-hosted rules by default: no key is looked at, the workspace is absent, empty or `default`. With
//! [`SandboxBuilder::with_cloud`] the cloud's: a key, verbatim, and a workspace that it opens.
//!
//! In this order: the size on the wire (413); path and method (404, 405); `application/json` (415); workspace and key
//! (401, 403, 400, 404); the unpacked size (413); JSON and its types (400); the constraints of all elements (422); the
//! ids (400); what exists already (409). A batch of 1 to 1000 is taken whole or not at all, and replaces rows that
//! are not newer. A trace has no tokens and no cost but those of its spans, in its own project.
//!
//! Endpoints: `traces` and `spans` (`batch`, single, `PATCH`, by id, page by page, `search`), `projects` (by id, by
//! name, `retrieve`), `auth`, `auth/workspace`, `is-alive/ping`, `is-alive/ver`, each under `/opik/api`, `/api` and
//! no prefix. Everything else is 404, also what a real Opik has: feedback scores, datasets, experiments,
//! attachments, threads, OTLP, deletion.
//!
//! # Where it is stricter than Opik, on purpose
//!
//! * `error_info` must have an `exception_type` and a `traceback` that are not blank, on traces too (422). Opik does
//!   not check those of a trace, and then its own Python client cannot read that trace back.
//! * JSON types are not converted. Opik's JSON mapper would read `"17"` as 17, 5 as `"5"` and a number as an instant;
//!   it would also take `NaN`. Here that is 400. Only usage counts may be floats, which are truncated.
//! * A project name of more than 150 characters is 422. It does not fit Opik's column.
//! * JSON may be nested 127 levels deep, Opik's 1000.
//! * The time inside an id is always checked ([`SandboxBuilder::with_id_window`]); a self-hosted Opik may have that
//!   switched off.
//!
//! # What it does not do
//!
//! There is no price table: a span costs what its `total_estimated_cost` says, else its `metadata.cost`, else nothing.
//! There are no rate limits or quotas but those that you inject. What was accepted can be read at once, where Opik
//! takes its time. Searches know the filters `=` and `contains` on text fields only. There is no UI, nothing is written
//! to disk, and all is gone when the [`Sandbox`] is. It is no place for real data: keys are compared, not guarded.

mod answer;
mod api;
mod auth;
mod body;
mod fault;
mod ids;
mod instant;
mod json;
mod record;
mod request;
mod row;
mod sandbox;
mod search;
mod server;
mod shared;
mod store;
mod stored;
mod wire;

pub use auth::OpikCloud;
pub use fault::Fault;
pub use json::ErrorInfo;
pub use record::{Span, Trace};
pub use request::Request;
pub use sandbox::{Sandbox, SandboxBuilder};
pub use stored::{Backend, StoredCall, StoredError};
