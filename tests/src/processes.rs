//! Services as processes of their own, on the server of a system.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use data_encoding::HEXLOWER;
use secretscan_bus::access::Identity;
use secretscan_testkit::service::ServiceProcess;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::faults::binaries;
use crate::{Size, System};

/// Of a system whose services are processes.
pub const NO_TASKS: Size =
    Size { controllers: 0, schedulers: 0, repo_agents: 0, batch_agents: 0, batch_commits: 0 };

/// The programs of the services.
pub struct Programs {
    built: HashMap<&'static str, PathBuf>,
    /// `None` when somebody else built them.
    _dir: Option<TempDir>,
}

impl Programs {
    /// Those of another build: a directory with `secretscan-controller` and the others.
    pub fn of(dir: &Path) -> Self {
        Self { built: binaries::of(dir), _dir: None }
    }

    /// Builds them.
    ///
    /// # Errors
    /// When they can't be built.
    pub async fn build() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let to = dir.path().to_owned();
        let built = tokio::task::spawn_blocking(move || binaries::build(&to)).await??;
        Ok(Self { built, _dir: Some(dir) })
    }

    /// Starts one, with more variables.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(
        &self,
        system: &System,
        service: &str,
        more: &[(&str, &str)],
    ) -> anyhow::Result<ServiceProcess> {
        // An identity with the operator's own name is that of people who decide about findings.
        let name = if service == "operator" { Identity::Kubernetes.name() } else { service };
        let identity = Identity::ALL.into_iter().find(|identity| identity.name() == name);
        let variables = system.variables(identity.with_context(|| format!("there is no service {service}"))?);
        let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let variables: Vec<_> = variables.chain(more.iter().copied()).collect();
        let binary = self.built[service].to_str().context("its path is no text")?;
        ServiceProcess::start(binary, &system.server, &variables).await
    }
}

/// Where a dashboard that is a process listens, and whom it lets in.
pub struct DashboardFiles {
    dir: TempDir,
    address: String,
}

/// The token of its administrator.
const TOKEN: &str = "letmein-letmein";

impl DashboardFiles {
    /// Writes the configuration of one.
    ///
    /// # Errors
    /// When the system gives no port, or no file can be written.
    pub async fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
        let hash = HEXLOWER.encode(&Sha256::digest(TOKEN));
        let text = format!(
            "[dashboard]\nlisten = '{address}'\nindex_dir = {:?}\n[[auth.tokens]]\nname = 'ada'\nrole = 'admin'\nsha256 = '{hash}'\n",
            dir.path()
        );
        let files = Self { dir, address };
        std::fs::write(files.config(), text)?;
        Ok(files)
    }

    /// Its configuration file, for `SECRETSCAN_CONFIG`.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("dashboard.toml")
    }

    /// Asks its API as the administrator; with a body it is a POST. Gives what is answered.
    ///
    /// # Errors
    /// When it does not answer, or by anything but success.
    pub async fn ask(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("it broke off")?;
        anyhow::ensure!(head.split(' ').nth(1).is_some_and(|code| code.starts_with('2')), "{answer}");
        serde_json::from_str(body).with_context(|| answer.clone())
    }
}
