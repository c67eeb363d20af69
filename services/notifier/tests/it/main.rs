//! The notifier as a process, on a real nats-server, against servers that keep what they are sent.
#![allow(clippy::unwrap_used, reason = "tests")]

mod config;
mod host;
mod mail;
mod messages;
mod stage;
mod status;
mod trouble;
