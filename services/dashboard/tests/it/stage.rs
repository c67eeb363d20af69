//! A dashboard on a nats-server of its own.

use std::path::Path;

use data_encoding::HEXLOWER;
use secretscan_bus::{Bus, NatsConfig, Stop};
use secretscan_dashboard::index::Index;
use secretscan_dashboard::{Config, Server};
use secretscan_testkit::TestServer;
use sha2::{Digest, Sha256};

use crate::client::Visitor;

/// A dashboard on a server of its own.
pub struct Dashboard {
    pub base: String,
    pub link: String,
    pub bus: Bus,
    pub index: Index,
    stop: Stop,
    _server: TestServer,
    pub dir: tempfile::TempDir,
}

impl Dashboard {
    pub async fn start(auth: impl FnOnce(&Path) -> String) -> Self {
        let server = TestServer::start().await.unwrap();
        let nats = NatsConfig { url: server.url().to_owned(), name: "test".into(), ..NatsConfig::default() };
        let bus = Bus::connect(&nats).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let text = format!("[dashboard]\nlisten = '127.0.0.1:0'\n{}", auth(dir.path()));
        let config: Config = secretscan_service::parse(&text, []).unwrap();
        let dashboard = Server::bind(bus.clone(), &config).await.unwrap();
        let base = format!("http://{}", dashboard.address().unwrap());
        let (link, stop, index) = (dashboard.login_link(), Stop::new(), dashboard.index());
        tokio::spawn(dashboard.run(stop.clone()));
        index.caught_up().await;
        Self { base, link, bus, index, stop, _server: server, dir }
    }

    pub fn visitor(&self) -> Visitor {
        Visitor::new(&self.base)
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An entry of the configuration.
pub fn token(name: &str, role: &str, token: &str) -> String {
    let hash = HEXLOWER.encode(&Sha256::digest(token.as_bytes()));
    format!("[[auth.tokens]]\nname = '{name}'\nrole = '{role}'\nsha256 = '{hash}'\n")
}
