//! The dashboard against a real nats-server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod client;
mod index;
mod login;
mod pages;
mod provider;
mod stage;
