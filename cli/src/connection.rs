//! The connection to a running system.

use std::path::PathBuf;
use std::{env, fs};

use secretscan_bus::access::{Identity, seed_file};
use secretscan_bus::{Bus, BusError, NatsConfig, TlsSettings};

use crate::data_dir;
use crate::failure::Failure;

/// Where a nats-server listens that nobody configured.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// How to reach the system.
#[derive(clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArguments {
    /// The NATS server [default: that of a running `secretscan up`, else nats://127.0.0.1:4222]
    // Not shown: an address may hold a password.
    #[arg(long, value_name = "URL", env = "SECRETSCAN_NATS", hide_env_values = true)]
    nats: Option<String>,

    /// Where `secretscan up` keeps its data [default: the user's data directory]
    #[arg(long, value_name = "DIR", env = "SECRETSCAN_DATA", hide_env_values = true)]
    data: Option<PathBuf>,

    /// Log in with this credentials file (JWT and nkey)
    #[arg(long, value_name = "FILE")]
    creds: Option<PathBuf>,

    /// Log in with the nkey seed in this file
    #[arg(long, value_name = "FILE", conflicts_with = "creds")]
    nkey: Option<PathBuf>,

    /// Use TLS, and believe a server that one of these certificates vouches for (PEM)
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    tls_ca: Option<PathBuf>,

    /// Show this certificate to the server (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key", hide_short_help = true)]
    tls_certificate: Option<PathBuf>,

    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate", hide_short_help = true)]
    tls_key: Option<PathBuf>,
}

impl ConnectionArguments {
    /// What Git's configuration says, if it or the environment names a server.
    pub fn of_git(config: &secretscan_git::Settings) -> anyhow::Result<Option<Self>> {
        let of_environment = env::var("SECRETSCAN_NATS").ok().filter(|url| !url.is_empty());
        let Some(nats) = of_environment.map_or_else(|| config.get("secretscan.nats"), |url| Ok(Some(url)))?
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            nats: Some(nats),
            data: env::var_os("SECRETSCAN_DATA").map(PathBuf::from),
            creds: config.path("secretscan.creds")?,
            nkey: config.path("secretscan.nkey")?,
            tls_ca: config.path("secretscan.tlsCa")?,
            tls_certificate: config.path("secretscan.tlsCertificate")?,
            tls_key: config.path("secretscan.tlsKey")?,
        }))
    }

    /// Connects, creating nothing there, and does the work.
    pub fn with_bus<T>(&self, work: impl AsyncFnOnce(&Bus) -> anyhow::Result<T>) -> anyhow::Result<T> {
        self.with_bus_as(Identity::Cli, work)
    }

    /// The same as somebody else than who only reads.
    pub fn with_bus_as<T>(
        &self,
        identity: Identity,
        work: impl AsyncFnOnce(&Bus) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let config = self.config(identity);
        with_connection(Bus::open(&config), work)
    }

    /// The same where there may be no system yet.
    pub fn with_server<T>(
        &self,
        identity: Identity,
        work: impl AsyncFnOnce(&Bus) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let config = self.config(identity);
        with_connection(Bus::attach(&config), work)
    }

    fn url(&self) -> String {
        let of_local_system = || self.local_system().map(|(_, url)| url);
        self.nats.clone().or_else(of_local_system).unwrap_or_else(|| DEFAULT_URL.to_owned())
    }

    /// Whether the user named a server, or `secretscan up` says that it runs one: else the address is a guess.
    pub fn names_a_server(&self) -> bool {
        self.nats.is_some() || self.local_system().is_some()
    }

    /// Where the data of this machine is, or would be.
    pub fn data(&self) -> Option<PathBuf> {
        self.data.clone().or_else(|| data_dir::default().ok())
    }

    /// Where a running `secretscan up` keeps its data, and where its server is.
    fn local_system(&self) -> Option<(PathBuf, String)> {
        let data = self.data()?;
        let url = fs::read_to_string(data_dir::url_file(&data)).ok()?.trim().to_owned();
        Some((data, url))
    }

    /// The key of a running `secretscan up`, if its server is the one to connect to.
    fn local_key(&self, identity: Identity) -> Option<PathBuf> {
        let (data, url) = self.local_system()?;
        let key = seed_file(&data_dir::nats_keys(&data), identity);
        (url == self.url() && self.creds.is_none() && key.exists()).then_some(key)
    }

    /// Creates what is missing there.
    pub fn set_up(&self, replicas: usize) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let config = NatsConfig { replicas, is_provisioned: false, ..self.config(Identity::Setup) };
            Bus::connect(&config).await.map_err(unreachable)?.close().await?;
            Ok(())
        })
    }

    /// How an identity connects.
    pub fn config(&self, identity: Identity) -> NatsConfig {
        NatsConfig {
            url: self.url(),
            credentials: self.creds.clone(),
            nkey_seed: self.nkey.clone().or_else(|| self.local_key(identity)),
            tls: TlsSettings {
                ca_file: self.tls_ca.clone(),
                certificate_file: self.tls_certificate.clone(),
                key_file: self.tls_key.clone(),
            },
            is_provisioned: true,
            name: identity.name().to_owned(),
            ..NatsConfig::default()
        }
    }
}

fn with_connection<T>(
    connecting: impl Future<Output = Result<Bus, BusError>>,
    work: impl AsyncFnOnce(&Bus) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let bus = connecting.await.map_err(unreachable)?;
        work(&bus).await
    })
}

fn unreachable(error: BusError) -> Failure {
    let hint = match &error {
        BusError::Absent { .. } => {
            "start the services there, or name another server with --nats or SECRETSCAN_NATS"
        }
        BusError::Connect { .. } => {
            "check that the server runs, and its address (--nats, SECRETSCAN_NATS) and the credentials (--creds, \
             --nkey); `secretscan up` starts a whole system on this machine"
        }
        _ => "check that the server has JetStream and that these credentials may use it",
    };
    Failure::caused_by(error, "cannot reach secretscan", hint)
}
