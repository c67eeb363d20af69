//! Who may connect to the server of a test, and how each of them does.

use anyhow::Context;
use async_nats::ConnectOptions;
use secretscan_bus::access::{Identity, Keys, Limits, seed_file};
use secretscan_bus::{NatsConfig, TlsSettings};
use secretscan_testkit::{Certificates, ServerConfig};
use tempfile::TempDir;

/// The keys of all identities, and certificates if the server talks TLS only.
pub struct Users {
    keys: TempDir,
    certificates: Option<Certificates>,
}

const LIMITS: Limits = Limits { max_memory_bytes: 1 << 30, max_store_bytes: 1 << 36 };

impl Users {
    /// Makes keys; the server knows its clients by them.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { keys: tempfile::tempdir()?, certificates: None })
    }

    /// Makes keys and certificates; both sides must show a certificate.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn with_tls() -> anyhow::Result<Self> {
        Ok(Self { certificates: Some(Certificates::new()?), ..Self::new()? })
    }

    /// What the server is to be told of them.
    ///
    /// # Errors
    /// When the keys can't be written.
    pub fn server_config(&self) -> anyhow::Result<ServerConfig> {
        let mut config = Keys::in_dir(self.keys.path())?.accounts(&LIMITS);
        if let Some(certificates) = &self.certificates {
            config["tls"] = serde_json::json!({
                "cert_file": certificates.path("server.pem"),
                "key_file": certificates.path("server.key"),
                "ca_file": certificates.path("ca.pem"),
                "verify": true,
            });
        }
        config.as_object().cloned().context("the configuration is an object")
    }

    /// How an identity connects.
    pub fn config(&self, url: &str, identity: Identity) -> NatsConfig {
        NatsConfig { tls: self.tls(), ..NatsConfig::of(identity, url, self.keys.path()) }
    }

    /// What an identity needs for TLS.
    pub fn tls(&self) -> TlsSettings {
        let path = |name| self.certificates.as_ref().map(|certificates| certificates.path(name));
        TlsSettings {
            ca_file: path("ca.pem"),
            certificate_file: path("client.pem"),
            key_file: path("client.key"),
        }
    }

    /// The same for a process: variables of a service's configuration, without their prefix.
    pub fn variables(&self, identity: Identity) -> Vec<(&'static str, String)> {
        let NatsConfig { nkey_seed, tls, .. } = self.config("", identity);
        let files = [
            ("NATS__NKEY_SEED", nkey_seed),
            ("NATS__TLS__CA_FILE", tls.ca_file),
            ("NATS__TLS__CERTIFICATE_FILE", tls.certificate_file),
            ("NATS__TLS__KEY_FILE", tls.key_file),
        ];
        let files = files.into_iter().filter_map(|(name, path)| Some((name, path?.to_string_lossy().into())));
        files.chain([("NATS__IS_PROVISIONED", "true".to_owned())]).collect()
    }

    /// How a client connects as one of the identities, to try what no service does.
    ///
    /// # Errors
    /// When its key can't be read.
    pub fn client_options(&self, identity: Identity) -> anyhow::Result<ConnectOptions> {
        let seed = std::fs::read_to_string(seed_file(self.keys.path(), identity))?;
        let options = ConnectOptions::with_nkey(seed.trim().to_owned())
            .custom_inbox_prefix(format!("_INBOX_{}", identity.name()));
        Ok(match self.tls() {
            TlsSettings { ca_file: Some(ca), certificate_file: Some(certificate), key_file: Some(key) } => {
                options.add_root_certificates(ca).add_client_certificate(certificate, key).require_tls(true)
            }
            _ => options,
        })
    }
}
