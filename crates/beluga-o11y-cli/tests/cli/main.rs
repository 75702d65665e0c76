//! The command, run as a process as its users run it.

mod replay;
mod resume;
mod spool;
mod support;
