//! A nats-server and the services under load, each a process of its own.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use secretscan_bus::access::{Identity, Keys, Limits, seed_file};
use secretscan_bus::{Bus, NatsConfig};
use secretscan_embedded::{NatsServer, ServerOptions, find_or_install};
use tempfile::TempDir;
use tokio::process::Child;

use crate::process::{Usage, usage};
use crate::workspace;

/// What the streams may hold; the disk may hold less.
const LIMITS: Limits = Limits { max_memory_bytes: 1 << 30, max_store_bytes: 1 << 40 };

/// A running system. Dropping it kills its processes.
pub struct System {
    // Before the server and the directory.
    services: Vec<(Identity, Child)>,
    server: NatsServer,
    binary: PathBuf,
    options: ServerOptions,
    dir: TempDir,
}

impl System {
    /// Starts a server on an empty store, sets it up, and starts controller and scheduler.
    pub async fn start(binaries: &Path) -> anyhow::Result<Self> {
        let mut system = Self::start_server().await?;
        for identity in [Identity::Controller, Identity::Scheduler] {
            system.start_service(binaries, identity, &[])?;
        }
        Ok(system)
    }

    /// Starts a server on an empty store and sets it up.
    pub async fn start_server() -> anyhow::Result<Self> {
        let tools = workspace().join(".tools");
        let explicit = env::var_os("SECRETSCAN_NATS_SERVER").map(PathBuf::from);
        let find = move || find_or_install(explicit.as_deref(), &tools, |line| eprintln!("{line}"));
        let binary = tokio::task::spawn_blocking(find).await?.context("finding a nats-server")?;
        // Beside this program: that is a disk, which a folder for temporary files need not be.
        let this = env::current_exe().context("finding this program")?;
        let dir = tempfile::tempdir_in(this.parent().context("this program is in no folder")?)?;
        let keys = dir.path().join("keys");
        fs::create_dir(&keys)?;
        let accounts = Keys::in_dir(&keys)?.accounts(&LIMITS);
        let config = accounts.as_object().cloned().unwrap_or_default();
        let options = ServerOptions { config, ..ServerOptions::new(dir.path().join("nats")) };
        let server = NatsServer::start(&binary, options.clone()).await?;
        let options = ServerOptions { port: server.port(), ..options };
        let system = Self { services: Vec::new(), server, binary, options, dir };
        system.connect(Identity::Setup).await?.close().await?;
        Ok(system)
    }

    /// Kills the server as a crash would, and starts it again on the same port and store.
    pub async fn crash_server(self) -> anyhow::Result<Self> {
        let Self { services, server, binary, options, dir } = self;
        server.kill().await?;
        let server = NatsServer::start(&binary, options.clone()).await?;
        Ok(Self { services, server, binary, options, dir })
    }

    /// Starts a service, with more variables of its configuration.
    pub fn start_service(
        &mut self,
        binaries: &Path,
        identity: Identity,
        variables: &[(&str, String)],
    ) -> anyhow::Result<()> {
        let name = identity.name();
        let binary = binaries.join(format!("secretscan-{name}"));
        let log = File::create(self.log(identity))?;
        let mut command = tokio::process::Command::new(&binary);
        for (variable, _) in env::vars().filter(|(variable, _)| variable.starts_with("SECRETSCAN_")) {
            command.env_remove(variable);
        }
        let child = command
            .env("SECRETSCAN_NATS__URL", self.url())
            .env("SECRETSCAN_NATS__NKEY_SEED", seed_file(&self.keys(), identity))
            .env("SECRETSCAN_NATS__IS_PROVISIONED", "true")
            .env("SECRETSCAN_SERVICE__LOG", "warn")
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        self.services.push((identity, child));
        Ok(())
    }

    /// The processes of a service.
    pub fn pids(&self, identity: Identity) -> Vec<u32> {
        let of_it = self.services.iter().filter(|(service, _)| *service == identity);
        of_it.filter_map(|(_, child)| child.id()).collect()
    }

    /// The file that a service logs to.
    pub fn log(&self, identity: Identity) -> PathBuf {
        self.dir.path().join(format!("{}.log", identity.name()))
    }

    /// Where the server is.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// A file beside the keys.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// A folder that is removed in the end.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder of the keys of the identities.
    pub fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// A connection as one of the identities.
    pub async fn connect(&self, identity: Identity) -> anyhow::Result<Bus> {
        connect(&self.url(), &self.keys(), identity).await
    }

    /// A connection without the bus, as who may do everything.
    pub async fn client(&self) -> anyhow::Result<async_nats::Client> {
        client(&self.url(), &self.keys(), Identity::Setup).await
    }

    /// A connection without the bus, as who may only ask for scans.
    pub async fn requester(&self) -> anyhow::Result<async_nats::Client> {
        client(&self.url(), &self.keys(), Identity::Requester).await
    }

    /// What nats-server, each service and this program have used, by name.
    pub fn usages(&self) -> anyhow::Result<Vec<(String, Usage)>> {
        let mut used = vec![("nats-server".to_owned(), usage(self.server.pid().unsigned_abs())?)];
        for (identity, child) in &self.services {
            let pid = child.id().with_context(|| self.why_ended(*identity))?;
            let usage = usage(pid).with_context(|| self.why_ended(*identity))?;
            used.push((identity.name().to_owned(), usage));
        }
        used.push(("this program".to_owned(), usage(std::process::id())?));
        Ok(used)
    }

    fn why_ended(&self, identity: Identity) -> String {
        let log = fs::read_to_string(self.log(identity)).unwrap_or_default();
        format!("the {} has ended; it said: {log}", identity.name())
    }

    /// The size of the server's files, in bytes.
    pub fn bytes_on_disk(&self) -> anyhow::Result<u64> {
        bytes_in(self.server.store_dir())
    }

    /// How many messages were ever written to all streams and buckets.
    pub async fn writes(&self) -> anyhow::Result<u64> {
        use futures::TryStreamExt;
        let jetstream = async_nats::jetstream::new(self.client().await?);
        let streams: Vec<_> = jetstream.streams().try_collect().await.context("listing the streams")?;
        Ok(streams.iter().map(|stream| stream.state.last_sequence).sum())
    }

    /// Kills the services; the server goes on.
    pub async fn kill_services(&mut self) -> anyhow::Result<()> {
        for (_, mut child) in self.services.drain(..) {
            child.kill().await?;
        }
        Ok(())
    }

    /// Stops the services, then the server.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.kill_services().await?;
        Ok(self.server.stop().await?)
    }
}

/// What was used since an earlier look.
pub fn since(before: &[(String, Usage)], now: Vec<(String, Usage)>) -> Vec<(String, Usage, Duration)> {
    let earlier =
        |name: &str| before.iter().find(|(of, _)| of == name).map_or(Duration::ZERO, |(_, u)| u.cpu);
    now.into_iter()
        .map(|(name, usage)| {
            let cpu = usage.cpu.saturating_sub(earlier(&name));
            (name, usage, cpu)
        })
        .collect()
}

/// A connection as one of the identities.
pub async fn connect(url: &str, keys: &Path, identity: Identity) -> anyhow::Result<Bus> {
    let config = NatsConfig::of(identity, url, keys);
    Ok(Bus::connect(&config).await?)
}

async fn client(url: &str, keys: &Path, identity: Identity) -> anyhow::Result<async_nats::Client> {
    let seed = fs::read_to_string(seed_file(keys, identity)).context("reading a key")?;
    let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
    Ok(options.connect(url).await?)
}

/// Builds services; gives the folder they are in.
pub fn build(services: &[Identity]) -> anyhow::Result<PathBuf> {
    let packages = services.iter().map(|identity| format!("--package=secretscan-{}", identity.name()));
    let packages: Vec<String> = packages.chain(["--bins".to_owned()]).collect();
    let arguments: Vec<&str> = packages.iter().map(String::as_str).collect();
    let executables = crate::build(&arguments)?;
    let folder = executables.first().and_then(|executable| executable.parent());
    folder.map(Path::to_owned).context("cargo built no services")
}

/// The machine, in a line.
pub fn describe() -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism().context("counting the cores")?;
    Ok(format!("{cores} cores; files on disk, synced as nats-server does by default (every two minutes)"))
}

fn bytes_in(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        // What the server deletes meanwhile is not there.
        let Ok(entry) = entry else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { bytes_in(&entry.path()).unwrap_or_default() } else { metadata.len() };
    }
    Ok(bytes)
}
