//! A webhook that runs, as who may do just what the webhook may, and the server it stores to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use data_encoding::BASE64;
use futures::StreamExt;
use prometheus_client::registry::Registry;
use secretscan_bus::access::{Identity, Keys, Limits};
use secretscan_bus::queue::Verdict;
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, NatsConfig, Stop, v1};
use secretscan_testkit::TestServer;
use secretscan_webhook::hosts::Host;
use secretscan_webhook::{Config, Server, SourceSettings, Transport};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::client::{Answer, DEADLINE, Delivery};

const LIMITS: Limits = Limits { max_memory_bytes: 1 << 28, max_store_bytes: 1 << 34 };

/// The secret of all sources, and the one before.
pub fn secrets() -> (String, String) {
    ("current".repeat(5), "previous".repeat(5))
}

/// The key of the source that is signed by GitLab.
pub fn signing_key() -> Vec<u8> {
    b"thirty-two bytes of a signing key".to_vec()
}

/// A running webhook.
pub struct Fixture {
    pub server: TestServer,
    pub address: SocketAddr,
    /// Who may do everything.
    pub bus: Bus,
    metrics: Registry,
    stop: Stop,
    running: JoinHandle<()>,
    _dir: TempDir,
}

impl Fixture {
    /// With a source for each kind of host.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With more configuration.
    pub async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::in_dir(dir.path()).unwrap().accounts(&LIMITS);
        let server = TestServer::start_with(keys.as_object().unwrap().clone()).await.unwrap();
        let connect = async |identity| {
            Bus::connect(&NatsConfig::of(identity, &server.url(), dir.path())).await.unwrap()
        };
        let bus = connect(Identity::Setup).await;
        let mut config = Config { sources: sources(dir.path()), ..Config::default() };
        config.webhook.listen.set_port(0);
        adjust(&mut config);
        let webhook = Server::bind(connect(Identity::Webhook).await, &config).await.unwrap();
        let (address, stop, mut metrics) = (webhook.address(), Stop::new(), Registry::default());
        webhook.metrics().register(&mut metrics);
        let running = tokio::spawn(webhook.run(stop.clone()));
        Self { server, address, bus, metrics, stop, running, _dir: dir }
    }

    /// Sends a delivery.
    pub async fn send(&self, delivery: &Delivery) -> Answer {
        delivery.send(self.address).await
    }

    /// Sends a delivery and gives the status of its answer.
    pub async fn status(&self, delivery: &Delivery) -> u16 {
        self.send(delivery).await.status
    }

    /// What it has counted, as text.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        text
    }

    /// How many pushes are stored.
    pub async fn count(&self) -> u64 {
        self.bus.unfinished(Queue::Pushes).await.unwrap()
    }

    /// Takes the pushes that are stored.
    pub async fn pushes(&self) -> Vec<v1::PushReceived> {
        let count = self.count().await as usize;
        let stop = Stop::new();
        let mut pushes = Vec::new();
        let mut deliveries = std::pin::pin!(self.bus.deliveries(Queue::Pushes, 64, &stop));
        while pushes.len() < count {
            let delivery = tokio::time::timeout(DEADLINE, deliveries.next()).await.unwrap().unwrap();
            pushes.push(delivery.decode().unwrap());
            self.bus.settle(&delivery, Verdict::Done).await.unwrap();
        }
        pushes
    }

    /// Stops the webhook.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn sources(dir: &Path) -> BTreeMap<String, SourceSettings> {
    let (current, previous) = secrets();
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path
    };
    let (secret_file, previous_secret_file) = (write("current", &current), write("previous", &previous));
    let signing_file = write("signing", &format!("{}{}", "whsec_", BASE64.encode(&signing_key())));
    let source = |name: &str, kind, base_url: &str| {
        let source = SourceSettings {
            kind,
            secret_file: secret_file.clone(),
            previous_secret_file: Some(previous_secret_file.clone()),
            base_url: base_url.to_owned(),
            clone: Transport::Https,
        };
        (name.to_owned(), source)
    };
    let mut sources = BTreeMap::from([
        source("github", Host::Github, "https://github.example/"),
        source("gitlab", Host::Gitlab, "https://gitlab.example/"),
        source("gitlab-signed", Host::Gitlab, "https://gitlab.example/"),
        source("gitea", Host::Gitea, "https://gitea.example/"),
        source("forgejo", Host::Forgejo, "https://gitea.example/"),
        source("gogs", Host::Gogs, "https://gitea.example/"),
        source("bitbucket", Host::Bitbucket, "https://bitbucket.example/"),
    ]);
    let signed = sources.get_mut("gitlab-signed").unwrap();
    (signed.secret_file, signed.previous_secret_file) = (signing_file, None);
    sources
}
