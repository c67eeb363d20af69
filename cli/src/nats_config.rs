//! `secretscan nats-config`: what a nats-server is told of secretscan, and the keys of its identities.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use secretscan_bus::access::{Identity, Keys, Limits, seed_file};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::exit::Outcome;
use crate::output;

mod migrate;

/// Write a nats-server configuration: a user for each service with just what it needs, limits, TLS
///
/// Writes nats-server.conf and, for each identity, an nkey seed NAME.nk. Keys that are there are kept, so it can be run
/// again after an upgrade. Then: `nats-server -c DIR/nats-server.conf`, `secretscan setup --nkey DIR/setup.nk`, and start
/// each service with SECRETSCAN_NATS__NKEY_SEED=DIR/NAME.nk and SECRETSCAN_NATS__IS_PROVISIONED=true.
///
/// For Kubernetes it writes secrets.json instead, with what deploy/k8s mounts: for the server the users and what they may
/// do, for each service its key, and fingerprint.key and session.key, which are made if they are not there.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example: secretscan nats-config --output /etc/secretscan/nats --store-dir /var/lib/nats"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    files: FilesArguments,
}

#[derive(clap::Subcommand)]
enum Command {
    Migrate(migrate::Arguments),
}

/// What to write.
#[derive(clap::Args)]
struct FilesArguments {
    /// Where to write; made if it is not there
    #[arg(long, value_name = "DIR", required = true)]
    output: Option<PathBuf>,

    /// Where the server keeps its streams
    #[arg(long, value_name = "DIR", required_unless_present = "kubernetes")]
    store_dir: Option<PathBuf>,

    /// Write secrets.json for `kubectl apply -f`; the server's other settings are in deploy/k8s
    #[arg(long, conflicts_with_all = ["store_dir", "listen", "max_store", "max_memory", "tls_certificate"])]
    kubernetes: bool,

    /// Where the server listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4222")]
    listen: String,

    /// What it may keep on disk, in GiB
    #[arg(long, value_name = "GIB", default_value_t = 100)]
    max_store: u64,

    /// What it may keep in memory, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    max_memory: u64,

    /// The server's certificate (PEM): clients must use TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// Clients must show a certificate that one of these vouches for (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_client_ca: Option<PathBuf>,
}

/// What mounts a key of NATS in a cluster. The others are people's.
const IN_THE_CLUSTER: [Identity; 9] = [
    Identity::Setup,
    Identity::Controller,
    Identity::Scheduler,
    Identity::RepoAgent,
    Identity::BatchAgent,
    Identity::Webhook,
    Identity::Notifier,
    Identity::Dashboard,
    Identity::Kubernetes,
];

/// Writes the files, or brings a server to what this version wants.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Some(Command::Migrate(migrate)) => migrate::run(migrate),
        None => write(&arguments.files),
    }
}

fn write(arguments: &FilesArguments) -> anyhow::Result<Outcome> {
    let dir = arguments.output.as_deref().context("--output is missing")?;
    let cannot_write = || format!("writing to {}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(cannot_write)?;
    let dir = dir.canonicalize().with_context(cannot_write)?;
    let limits =
        Limits { max_memory_bytes: arguments.max_memory << 20, max_store_bytes: arguments.max_store << 30 };
    let accounts = Keys::in_dir(&dir)?.accounts(&limits);
    let (name, written) = match arguments.kubernetes {
        true => ("secrets.json", secrets(&dir, accounts)?),
        false => ("nats-server.conf", server(arguments, accounts)),
    };
    let path = dir.join(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(cannot_write)?;
    file.write_all(format!("{written:#}\n").as_bytes()).with_context(cannot_write)?;
    let keys = Identity::ALL.map(|identity| seed_file(&dir, identity).display().to_string());
    output::to_stdout(|out| writeln!(out, "{}\n{}", path.display(), keys.join("\n")))?;
    Ok(Outcome::Clean)
}

/// All that a server is told.
fn server(arguments: &FilesArguments, mut config: Value) -> Value {
    config["listen"] = json!(arguments.listen);
    config["jetstream"] = json!({ "store_dir": arguments.store_dir });
    if let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) {
        config["tls"] = json!({ "cert_file": certificate, "key_file": key });
        if let Some(ca) = &arguments.tls_client_ca {
            config["tls"]["ca_file"] = json!(ca);
            config["tls"]["verify"] = json!(true);
        }
    }
    config
}

/// The Secrets of a cluster, as Kubernetes reads them.
fn secrets(dir: &Path, mut accounts: Value) -> anyhow::Result<Value> {
    // Nobody else uses that server: its own limits, which are in the manifests, do.
    accounts["accounts"]["SECRETSCAN"]["jetstream"] = json!("enabled");
    let mut items = vec![
        secret("nats-accounts", "accounts.conf", &format!("{accounts:#}\n")),
        secret("fingerprint-key", "fingerprint.key", &random_file(dir, "fingerprint.key")?),
        secret("dashboard-session", "session.key", &random_file(dir, "session.key")?),
    ];
    for identity in IN_THE_CLUSTER {
        let path = seed_file(dir, identity);
        let seed =
            fs::read_to_string(&path).with_context(|| format!("reading the key file {}", path.display()))?;
        items.push(secret(&format!("nats-{}", identity.name()), "nats.nk", &seed));
    }
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}

fn secret(name: &str, file: &str, content: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "labels": { "app.kubernetes.io/part-of": "secretscan" } },
        "stringData": { file: content },
    })
}

/// What is in a file of random text, which is made if it is not there, for the owner only.
fn random_file(dir: &Path, name: &str) -> anyhow::Result<String> {
    let path = dir.join(name);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            // Each has 122 random bits.
            let text = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()].map(|id| id.simple().to_string());
            file.write_all(text.concat().as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("writing {}", path.display())),
    }
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}
