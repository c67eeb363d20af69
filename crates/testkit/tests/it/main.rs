//! The test tools themselves.
#![allow(clippy::unwrap_used, reason = "tests")]

mod oracle;
mod remote;
mod repository;
mod server;
