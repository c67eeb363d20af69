//! A nats-server for one test.

use std::path::{Path, PathBuf};

use anyhow::Context;
use secretscan_embedded::{NatsServer, ServerOptions, find_or_install};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::SmallDisk;

/// A real nats-server with JetStream, on a port picked by the system and a temporary store. Dropping it kills it.
#[derive(Debug)]
pub struct TestServer {
    binary: PathBuf,
    port: u16,
    // Before the directory: the server is killed before its store is removed.
    running: Option<NatsServer>,
    store: TempDir,
    config: Config,
}

/// More of a server's configuration, by key.
pub type Config = serde_json::Map<String, serde_json::Value>;

impl TestServer {
    /// Starts one. The program is `SECRETSCAN_NATS_SERVER`, or the one on `PATH` or in `.tools` at the root of the
    /// workspace, or installed there.
    ///
    /// # Errors
    /// When there is no usable nats-server, or it does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Config::new()).await
    }

    /// The same, with more configuration, such as who may connect.
    ///
    /// # Errors
    /// When there is no usable nats-server, or it does not come up.
    pub async fn start_with(config: Config) -> anyhow::Result<Self> {
        Self::start_program(server_binary().await?, config).await
    }

    /// The same, its store on a disk that is soon full.
    ///
    /// # Errors
    /// As [`TestServer::start_with`].
    pub async fn start_on(disk: &SmallDisk, mut config: Config) -> anyhow::Result<Self> {
        config.insert("jetstream".into(), serde_json::json!({ "store_dir": disk.path() }));
        Self::start_program(disk.inside(&server_binary().await?)?, config).await
    }

    async fn start_program(binary: PathBuf, config: Config) -> anyhow::Result<Self> {
        let store = tempfile::tempdir().context("making a directory for the store of nats-server")?;
        let options = ServerOptions { config: config.clone(), ..ServerOptions::new(store.path()) };
        let server = NatsServer::start(&binary, options).await?;
        Ok(Self { binary, port: server.port(), running: Some(server), store, config })
    }

    /// Where clients connect; the same for the whole life of this value.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The directory of its store, its log and its configuration.
    pub fn store_dir(&self) -> &Path {
        self.store.path()
    }

    /// Kills the server as a crash would. [`TestServer::restart`] brings it back.
    ///
    /// # Errors
    /// When the process can't be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(server) = self.running.take() {
            server.kill().await?;
        }
        Ok(())
    }

    /// Starts it again on the same port and store; stops it in order first if it runs.
    ///
    /// # Errors
    /// When it does not stop or does not come up, such as when another process took the port meanwhile.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if let Some(server) = self.running.take() {
            server.stop().await?;
        }
        let config = self.config.clone();
        let options = ServerOptions { port: self.port, config, ..ServerOptions::new(self.store.path()) };
        self.running = Some(NatsServer::start(&self.binary, options).await?);
        Ok(())
    }
}

/// The program `nats-server`, installed if need be.
///
/// # Errors
/// When there is no usable one.
pub async fn server_binary() -> anyhow::Result<PathBuf> {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    let find = || tokio::task::spawn_blocking(find_binary);
    Ok(BINARY.get_or_try_init(async || find().await?).await?.clone())
}

fn find_binary() -> anyhow::Result<PathBuf> {
    let tools_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    let explicit = std::env::var_os("SECRETSCAN_NATS_SERVER").map(PathBuf::from);
    find_or_install(explicit.as_deref(), &tools_dir, |_| {}).context("finding a nats-server for the test")
}
