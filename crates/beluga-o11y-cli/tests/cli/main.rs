//! The command, run as a process as its users run it.

mod docs;
mod replay;
mod resume;
mod spool;
mod support;
