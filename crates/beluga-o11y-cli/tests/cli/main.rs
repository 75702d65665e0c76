//! The command, run as a process as its users run it.

mod docs;
mod manual;
mod replay;
mod resume;
mod sandbox;
mod spool;
mod support;
