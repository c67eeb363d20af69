//! A cluster of nats-servers for one test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::server::server_binary;

/// How many servers there are: the fewest that can lose one.
const SIZE: usize = 3;

/// Three nats-servers with JetStream that replicate to each other. Dropping it kills them.
#[derive(Debug)]
pub struct TestCluster {
    binary: PathBuf,
    ports: Vec<u16>,
    configs: Vec<PathBuf>,
    // Before the directory: the servers are killed before their stores are removed.
    running: Vec<Option<Child>>,
    _dir: TempDir,
}

impl TestCluster {
    /// Starts the servers; they need a moment to elect a leader.
    ///
    /// # Errors
    /// When there is no usable nats-server, or one can't be started.
    pub async fn start() -> anyhow::Result<Self> {
        let binary = server_binary().await?;
        let dir = tempfile::tempdir().context("making a directory for the stores of nats-servers")?;
        // Servers must know the ports of each other before they start: taken from the system, and let go.
        let listeners: Vec<TcpListener> =
            (0..SIZE * 2).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
        let mut ports: Vec<u16> = listeners
            .iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<std::io::Result<_>>()?;
        drop(listeners);
        let routes = ports.split_off(SIZE);
        let mut configs = Vec::new();
        for number in 0..SIZE {
            let config = dir.path().join(format!("{number}.conf"));
            let urls: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
            // Servers read JSON as well as their own format.
            let text = format!(
                r#"{{ "host": "127.0.0.1", "port": {}, "server_name": "n{number}",
                      "jetstream": {{ "store_dir": {:?} }},
                      "cluster": {{ "name": "test", "host": "127.0.0.1", "port": {}, "routes": {urls:?} }} }}"#,
                ports[number],
                dir.path().join(format!("{number}.store")),
                routes[number],
            );
            std::fs::write(&config, text)?;
            configs.push(config);
        }
        let mut cluster =
            Self { binary, ports, configs, running: (0..SIZE).map(|_| None).collect(), _dir: dir };
        for number in 0..SIZE {
            cluster.restart(number)?;
        }
        Ok(cluster)
    }

    /// Where clients connect: all servers.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        urls.join(",")
    }

    /// Kills one of the servers as a crash would.
    ///
    /// # Errors
    /// When the process can't be killed.
    pub async fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        if let Some(mut child) = self.running[number].take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Starts one of the servers again on its ports and store.
    ///
    /// # Errors
    /// When the process can't be started.
    pub fn restart(&mut self, number: usize) -> anyhow::Result<()> {
        let child = Command::new(&self.binary)
            .arg("--config")
            .arg(&self.configs[number])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting nats-server")?;
        self.running[number] = Some(child);
        Ok(())
    }
}
