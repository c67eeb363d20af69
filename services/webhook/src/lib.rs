//! The webhook: takes what Git hosts tell of pushes, and stores it for the controller.
//!
//! The only service that the internet talks to, so it does little and may do less: it checks a signature, reads a few
//! fields, stores a message, and answers. Repositories, requests and findings are others' work. The decision worth
//! knowing: a delivery is answered with 202 only once its push is stored, so a host that was answered otherwise can
//! deliver it again; the price is that no push is taken while NATS is away.
//!
//! `server` has the connections and their bounds, `reception` the way of one delivery, `hosts` what each kind of host
//! sends, `signature` how it proves to be that host.

mod answer;
mod body;
mod config;
pub mod hosts;
mod metrics;
mod reception;
mod server;
mod signature;
mod source;
mod tls;

pub use config::{
    Config, Policy, SAMPLE, SourceSettings, TlsFiles, Transport, UnknownRepositories, WebhookSettings,
};
pub use metrics::Metrics;
pub use server::{Server, StartError};
pub use source::SourceError;
