//! `secretscan nats-config`: what a nats-server is told of secretscan, and the keys of its identities.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::Context;
use secretscan_bus::access::{Identity, Keys, Limits, seed_file};
use serde_json::json;

use crate::exit::Outcome;
use crate::output;

/// Write a nats-server configuration: a user for each service with just what it needs, limits, TLS
///
/// Writes nats-server.conf and, for each identity, an nkey seed NAME.nk. Keys that are there are kept, so it can be run
/// again after an upgrade. Then: `nats-server -c DIR/nats-server.conf`, `secretscan setup --nkey DIR/setup.nk`, and start
/// each service with SECRETSCAN_NATS__NKEY_SEED=DIR/NAME.nk and SECRETSCAN_NATS__IS_PROVISIONED=true.
#[derive(clap::Args)]
#[command(
    after_help = "Example: secretscan nats-config --output /etc/secretscan/nats --store-dir /var/lib/nats"
)]
pub struct Arguments {
    /// Where to write; made if it is not there
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Where the server keeps its streams
    #[arg(long, value_name = "DIR")]
    store_dir: PathBuf,

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

/// Writes the files.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let Arguments { output: dir, store_dir, listen, max_store, max_memory, .. } = arguments;
    let cannot_write = || format!("writing to {}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(cannot_write)?;
    let dir = dir.canonicalize().with_context(cannot_write)?;
    let limits = Limits { max_memory_bytes: max_memory << 20, max_store_bytes: max_store << 30 };
    let mut config = Keys::in_dir(&dir)?.accounts(&limits);
    config["listen"] = json!(listen);
    config["jetstream"] = json!({ "store_dir": store_dir });
    if let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) {
        config["tls"] = json!({ "cert_file": certificate, "key_file": key });
        if let Some(ca) = &arguments.tls_client_ca {
            config["tls"]["ca_file"] = json!(ca);
            config["tls"]["verify"] = json!(true);
        }
    }
    let path = dir.join("nats-server.conf");
    fs::write(&path, format!("{config:#}\n")).with_context(cannot_write)?;
    let keys = Identity::ALL.map(|identity| seed_file(&dir, identity).display().to_string());
    output::to_stdout(|out| writeln!(out, "{}\n{}", path.display(), keys.join("\n")))?;
    Ok(Outcome::Clean)
}
