//! Backends that LLM calls are reported to, in your process: for tests, and to try things without an account.
//!
//! [`Sandbox::start`] listens on a free port of 127.0.0.1 and plays all of them at once, each under a path of its own.
//! It takes what they take, refuses what they refuse with their statuses and bodies, keeps what it took, gives
//! it back typed, and misbehaves when told to ([`Fault`]).
//!
//! | backend | its URL | gives back, besides [`Sandbox::calls`] |
//! |---|---|---|
//! | Opik | [`Sandbox::opik_url`] | [`Sandbox::traces`], [`Sandbox::spans`], [`Sandbox::datasets`], [`Sandbox::dataset_items`], [`Sandbox::experiments`], [`Sandbox::experiment_items`] |
//! | LangSmith | [`Sandbox::langsmith_url`] | [`Sandbox::runs`] |
//! | Langfuse | `Sandbox::langfuse_url` | `Sandbox::otlp_spans` |
//! | Arize Phoenix | `Sandbox::phoenix_url` | `Sandbox::otlp_spans` |
//! | any receiver of OTLP | `Sandbox::otlp_url` | `Sandbox::otlp_spans` |
//!
//! The last three read OTLP, with OpenTelemetry's own messages, and want the cargo feature `otlp`.
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
//! [`Sandbox::calls`] gives the LLM calls that all of them show in one form, [`StoredCall`]: a program that reports to
//! several backends is checked in the same way for each. What a backend does not show is absent there, even if it was sent.
//!
//! [`SandboxBuilder::with_listener`] tells of each call when it arrives, and of each request that is refused
//! ([`Arrival`]). With [`SandboxBuilder::with_max_calls`] it keeps the newest ones only, so that it can run for days, and
//! [`Sandbox::environment`] names the variables that point clients of any language at it.
//!
//! It works in synchronous tests and under any async runtime, since it has a thread of its own, and many can run side
//! by side. For programs in other languages there is the example `serve`, and `GET /_sandbox/calls`,
//! `/_sandbox/traces`, `/_sandbox/spans`, `/_sandbox/datasets`, `/_sandbox/dataset_items`, `/_sandbox/experiments`,
//! `/_sandbox/experiment_items` and `/_sandbox/requests` give what the methods of these names give, as JSON; no backend
//! has these paths.
//!
//! # What it enforces
//!
//! ## Opik
//!
//! Self-hosted rules by default: no key is looked at, the workspace is absent, empty or `default`. With
//! [`SandboxBuilder::with_cloud`] the cloud's: a key, verbatim, and a workspace that it opens.
//!
//! In this order: the size on the wire (413); path and method (404, 405); `application/json` (415); workspace and key
//! (401, 403, 400, 404); the unpacked size (413); JSON and its types (400); the constraints of all elements (422); the
//! ids (400); what exists already (409). A batch of 1 to 1000 is taken whole or not at all, and replaces rows that
//! are not newer. A trace has no tokens and no cost but those of its spans, in its own project.
//!
//! Feedback scores may come before what they are of, or without it. A trace or span has one of a name, in the project
//! that the score names. A dataset is made by the first write that names it, in the project that this names, and items
//! are replaced by id. An experiment is made once, whatever comes later under its id, and what its items name need not
//! be there: its averages are over the traces that are.
//!
//! Endpoints: `traces` and `spans` (`batch`, single, `PATCH`, by id, page by page, `search`, `feedback-scores` in a batch
//! or of one), `datasets` (create, by id, page by page, `retrieve`, `delete`, `versions`), `datasets/items` (`PUT`, page by
//! page, `stream`, `delete`, beside those of experiments), `experiments` (create, by id, page by page, `PATCH`, `stream`,
//! `finish`), `experiments/items` (add, `stream`, `delete`), `projects` (by id, by name, `retrieve`), `auth`,
//! `auth/workspace`, `is-alive/ping`, `is-alive/ver`, each under `/opik/api`, `/api` and no prefix. Everything else is
//! 404, also what a real Opik has: attachments, threads, prompts, OTLP, items in bulk, most deletion.
//!
//! ## Langfuse
//!
//! A self-hosted 4.16 with its defaults. `POST /api/public/otel/v1/traces` checks, in this order: path and method
//! (404, 405); Basic credentials, of which the secret decides (401; 403 for a public key alone); gzip, and no other coding
//! (400); the content type (400); that it is OTLP, in protobuf or JSON (400); the ids of all spans, of which one bad one
//! refuses all (400); `x-langfuse-ingestion-version` (400). The answer is JSON with the public key in it, never OTLP.
//!
//! A span becomes an observation as in Langfuse: `langfuse.*` before the conventions, tokens in exclusive buckets, a cost
//! only with its total, metadata only from `langfuse.observation.metadata.*` and `langfuse.trace.metadata.*`, and all
//! other attributes below `attributes`. Its row is trace, span and start to the millisecond; what comes again replaces it.
//!
//! Besides: `GET` of `health`, `ready`, `projects` and `v2/observations` (by `traceId`, `fromStartTime` and
//! `toStartTime`; `fields` without `io` or `metadata` leaves those out), and the legacy `POST` of `ingestion`, which
//! refuses traces and generations inside a 207.
//!
//! ## Arize Phoenix
//!
//! Version 20.26. Authentication is off unless `SandboxBuilder::with_phoenix_key` turns it on. `POST /v1/traces` checks,
//! in this order: path and method (405); the key (401); the content type, to the letter (415); the coding, gzip or
//! deflate (415), which breaks it if it is corrupt (500); the message (422). The answer is empty.
//!
//! 200 is not acceptance: a span without ids is dropped, and so is one whose span id any project has had before. The
//! project is named by the header `x-project-name`, also an empty one, which then breaks the list of projects; else by the
//! resource. `gen_ai.*` is read where OpenInference says nothing, and as strictly as there; without a kind there are no
//! tokens; the resource is dropped; **a cost that was sent is never shown**.
//!
//! Besides: `GET` of `healthz`, `readyz`, `arize_phoenix_version`, `v1/projects`, one of them, and its `spans`. Any other
//! path is a page for `GET` and 405 for the rest.
//!
//! ## Any receiver of OTLP
//!
//! `POST /v1/traces` in protobuf, with gzip or nothing, and with the headers that `SandboxBuilder::with_otlp_header` asks
//! for (401). Refusals are `google.rpc.Status`, as OTLP has it. `Sandbox::answer_otlp_partially` makes it answer with a
//! `partial_success`. What comes twice is stored twice.
//!
//! # Where it is stricter than they are, on purpose
//!
//! Opik:
//!
//! * `error_info` must have an `exception_type` and a `traceback` that are not blank, on traces too (422). Opik does
//!   not check those of a trace, and then its own Python client cannot read that trace back.
//! * JSON types are not converted. Opik's JSON mapper would read `"17"` as 17, 5 as `"5"` and a number as an instant;
//!   it would also take `NaN`. Here that is 400. Only usage counts may be floats, which are truncated.
//! * A project name of more than 150 characters is 422, and so is a dataset's of more than 255. They do not fit Opik's
//!   columns.
//! * JSON may be nested 127 levels deep, Opik's 1000.
//! * The time inside an id is always checked ([`SandboxBuilder::with_id_window`]); a self-hosted Opik may have that
//!   switched off.
//!
//! Langfuse: ids must have 32 and 16 hex digits, as newer servers want them; 4.16.0 takes any in JSON.
//!
//! OTLP: a Collector would also take JSON and other codings. Not every client could then be sure of its receiver.
//!
//! # What it does not do
//!
//! There are no price tables and no tokenizers: a call costs what it was said to cost, or nothing. There are no rate
//! limits or quotas but those that you inject, and no size limits but [`SandboxBuilder::with_max_body_bytes`]. What was
//! accepted can be read at once, where the real ones take their time, and Langfuse's duplicates are merged at once. In
//! Opik, searches know the filters `=` and `contains` on text fields only, datasets and experiments have none, and of a
//! dataset's versions the items of the latest are kept; to ask for more is 400. Of Langfuse there are no scores, prompts and
//! datasets, of Phoenix no GraphQL, no gRPC and no JSON endpoint for spans. There is no UI, nothing is written to disk,
//! and all is gone when the [`Sandbox`] is. It is no place for real data: keys are compared, not guarded.

mod answer;
mod arrival;
mod body;
pub mod conformance;
mod fault;
#[cfg(feature = "otlp")]
mod langfuse;
mod langsmith;
mod opik;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "otlp")]
mod phoenix;
mod request;
mod role;
mod rows;
mod sandbox;
mod server;
mod shared;
#[cfg(feature = "otlp")]
mod spans;
mod stored;
mod text;

pub use arrival::Arrival;
pub use fault::Fault;
#[cfg(feature = "otlp")]
pub use langfuse::LangfuseProject;
pub use langsmith::{LangSmithAccount, LangSmithRun};
pub use opik::{
    Dataset, DatasetItem, ErrorInfo, Experiment, ExperimentItem, FeedbackScore, OpikCloud, Span,
    Trace,
};
pub use request::Request;
pub use sandbox::{Sandbox, SandboxBuilder};
#[cfg(feature = "otlp")]
pub use spans::{OtlpEvent, OtlpSpan};
pub use stored::{Backend, StoredCall, StoredError};
