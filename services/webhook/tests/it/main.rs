//! Deliveries over real sockets, to a real nats-server with the rights that the webhook has.
#![allow(clippy::unwrap_used, reason = "tests")]

mod client;
mod fixture;
mod hosts;
mod limits;
mod outage;
mod payloads;
mod process;
mod refusals;
mod replays;
mod signatures;
