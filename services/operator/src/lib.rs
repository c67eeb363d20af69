//! The operator: the front door for who works with Kubernetes. Turns resources into requests and schedules, and writes back
//! what becomes of them.
//!
//! It asks at the doors that everybody asks at, and reads records; it decides nothing about scans. The decision worth knowing:
//! it keeps no state of its own. Ids are made of the uid of the resource, the doors take the same id once, and what it writes
//! to the API server is on condition that the resource is still the one that it has read. So it may crash anywhere, and any
//! number of replicas may do the same work without one that leads. The price: each replica reads each record that changes.

mod client;
mod config;
mod ids;
mod reconcile;
mod repository_scans;
pub mod resources;
mod scheduled_scans;

use secretscan_bus::{Bus, Stop};

pub use client::{ConnectError, connect};
pub use config::{Config, KubernetesSettings, SAMPLE};

/// Works until stopped.
pub async fn run(client: kube::Client, bus: Bus, stop: Stop) {
    tokio::join!(
        reconcile::run::<resources::RepositoryScan>(&client, &bus, &stop),
        reconcile::run::<resources::ScheduledRepositoryScan>(&client, &bus, &stop),
    );
}
