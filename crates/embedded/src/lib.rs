//! The embedded nats-server: found or installed, started and stopped as a child process.
//!
//! For one machine and for tests; in production the server is a cluster that others run. Nothing here speaks the NATS
//! protocol beyond reading the greeting that tells when JetStream is ready.
//!
//! The decision worth knowing: the server is a separate program of a pinned version, brought by pip with its hashes
//! checked when the machine has none that is new enough. The price is that the first start needs the network and
//! Python, unless a server is installed or named. Unix only.
//!
//! A store directory belongs to one process at a time, which holds a lock on it. The server that a killed process left
//! behind is stopped before a new one starts on its store.

mod error;
mod install;
mod server;
mod store;

pub use error::EmbeddedError;
pub use install::{INSTALLED_VERSION, OLDEST_VERSION, can_install, find, find_or_install};
pub use server::{NatsServer, ServerOptions};
