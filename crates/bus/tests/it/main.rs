//! The bus against a real nats-server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod agents;
mod door;
mod findings;
mod ledger;
mod packs;
mod queues;
mod requests;
mod schedules;

use secretscan_bus::queue::{Verdict, Workers};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, NatsConfig, Stop};
use secretscan_model::{
    BatchKey, CommitId, Priority, RepositoryId, RepositoryUri, RequestId, ScanEvent, UriPolicy,
};
use secretscan_testkit::TestServer;

async fn bus(server: &TestServer, name: &str) -> Bus {
    let config = NatsConfig { url: server.url().to_owned(), name: name.into(), ..NatsConfig::default() };
    Bus::connect(&config).await.unwrap()
}

fn commits(range: std::ops::Range<u32>) -> Vec<CommitId> {
    range
        .map(|n| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            CommitId::from_bytes(&bytes).unwrap()
        })
        .collect()
}

fn key(batch: &str) -> BatchKey {
    BatchKey { request: "r1".parse().unwrap(), batch: batch.parse().unwrap() }
}

async fn accepted(bus: &Bus, id: &RequestId) -> RepositoryId {
    let uri = RepositoryUri::parse("https://h.example/a/b", UriPolicy::default()).unwrap();
    let repository = bus.know_repository(&uri).await.unwrap();
    bus.create_scan(id, vec![], Priority::OnDemand, "test".into(), &[]).await.unwrap();
    let accept = ScanEvent::Accept { repository: repository.clone(), uri: uri.fetch().into() };
    bus.apply_scan(id, &[ScanEvent::StartValidation, accept]).await.unwrap();
    repository
}

/// Takes one message of a queue and says Done.
async fn take(bus: &Bus, queue: Queue) {
    let stop = Stop::new();
    bus.work(queue, Workers::ONE, &stop, |_| async {
        stop.cancel();
        Verdict::Done
    })
    .await;
}
