//! For tests only: what several crates' tests need, and nothing that runs in production.
//!
//! [`TestServer`] is a real nats-server of one test, [`TestCluster`] are three, [`Certificates`] are for TLS;
//! [`RepositoryBuilder`] and [`generate`] make real repositories, which [`HttpRemote`] serves, and [`hostile`] such as no
//! honest Git makes; [`oracle`] says what a scan of one must find; [`Browser`] shows pages;
//! [`eventually`] waits for what happens elsewhere.
//!
//! The decision worth knowing: nothing is mocked. The price is that tests start processes, and that the first run on a
//! machine without nats-server installs it into `.tools` at the root of the workspace, and Chromium by apt-get.

mod browser;
mod certificates;
mod cluster;
mod generate;
mod git;
pub mod hostile;
mod naive_scan;
mod oracle;
mod random;
mod remote;
mod repository;
mod secret;
mod server;
pub mod service;
mod small_disk;
mod wait;

pub use browser::Browser;
pub use certificates::Certificates;
pub use cluster::TestCluster;
pub use generate::{GeneratedRepository, PlantedSecret, generate};
pub use git::run_git;
pub use oracle::{OracleFinding, oracle};
pub use random::Random;
pub use remote::HttpRemote;
pub use repository::{Change, Mark, Repository, RepositoryBuilder};
pub use secret::{SecretKind, SecretText, base62, crc32};
pub use server::{Config as ServerConfig, TestServer, server_binary};
pub use small_disk::SmallDisk;
pub use wait::eventually;
