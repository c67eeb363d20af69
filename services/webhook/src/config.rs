//! The webhook's configuration.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use secretscan_bus::NatsSettings;
use secretscan_model::UriPolicy;
use secretscan_service::{ServiceSettings, Settings};
use serde::Deserialize;

use crate::hosts::Host;

/// The documented configuration file, with the defaults.
pub const SAMPLE: &str = include_str!("../config.toml");

/// The section `[webhook]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// Where deliveries are taken.
    pub listen: SocketAddr,
    /// The certificate of the address; plain HTTP when absent.
    pub tls: Option<TlsFiles>,
    /// Size of a body, in bytes.
    pub max_body_bytes: NonZeroU32,
    /// Size of all bodies that are being received, in bytes.
    pub max_bodies_bytes: NonZeroU32,
    /// Connections at a time; more wait to be accepted.
    pub max_connections: NonZeroUsize,
    /// Connections at a time from one address; 0: as many as there may be.
    pub max_connections_per_address: usize,
    /// How long a client may take to send the head of a request, or be silent before it.
    pub header_timeout_s: NonZeroU64,
    /// How long a client may take to send a body.
    pub body_timeout_s: NonZeroU64,
    /// How long NATS may take to store a push.
    pub store_timeout_s: NonZeroU64,
    /// How long a connection is used.
    pub connection_age_s: NonZeroU64,
}

/// The section `[webhook.tls]`, all or nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and what vouches for it, PEM.
    pub certificate_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8081).into(),
            tls: None,
            max_body_bytes: const { NonZeroU32::new(25 << 20).expect("not 0") },
            max_bodies_bytes: const { NonZeroU32::new(256 << 20).expect("not 0") },
            max_connections: const { NonZeroUsize::new(1024).expect("not 0") },
            max_connections_per_address: 64,
            header_timeout_s: const { NonZeroU64::new(5).expect("not 0") },
            body_timeout_s: const { NonZeroU64::new(10).expect("not 0") },
            store_timeout_s: const { NonZeroU64::new(3).expect("not 0") },
            connection_age_s: const { NonZeroU64::new(120).expect("not 0") },
        }
    }
}

impl WebhookSettings {
    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.header_timeout_s.get())
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_s.get())
    }

    pub(crate) fn store_timeout(&self) -> Duration {
        Duration::from_secs(self.store_timeout_s.get())
    }

    pub(crate) fn connection_age(&self) -> Duration {
        Duration::from_secs(self.connection_age_s.get())
    }
}

/// What is done about a push to a repository that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownRepositories {
    /// It is scanned, and known from then on.
    #[default]
    Register,
    /// The delivery is refused.
    Refuse,
}

/// The section `[policy]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What is done about a push to a repository that is not known.
    pub unknown_repositories: UnknownRepositories,
    /// Accept plain http.
    pub allow_http: bool,
    /// Accept loopback, private and link-local hosts.
    pub allow_private_hosts: bool,
}

impl Policy {
    /// Which clone URLs are accepted. Never local paths: nothing on this machine is pushed to over a host.
    pub(crate) fn of_uris(&self) -> UriPolicy {
        UriPolicy {
            allow_local: false,
            allow_http: self.allow_http,
            allow_private_hosts: self.allow_private_hosts,
        }
    }
}

/// Which clone URL of a payload is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// That over https (or http).
    #[default]
    Https,
    /// That over ssh.
    Ssh,
}

/// A section `[sources.NAME]`: who may deliver to `/hooks/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// What kind of host it is.
    pub kind: Host,
    /// The file of the secret that its webhooks have.
    pub secret_file: PathBuf,
    /// The file of the secret that some of its webhooks still have.
    pub previous_secret_file: Option<PathBuf>,
    /// What the clone URLs of its repositories begin with, such as `https://github.com/owner/`.
    pub base_url: String,
    /// Which of the clone URLs is used.
    #[serde(default)]
    pub clone: Transport,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[service]`
    pub service: ServiceSettings,
    /// `[nats]`
    pub nats: NatsSettings,
    /// `[webhook]`
    pub webhook: WebhookSettings,
    /// `[policy]`
    pub policy: Policy,
    /// `[sources.NAME]`, by name.
    pub sources: BTreeMap<String, SourceSettings>,
}

impl Settings for Config {
    fn service(&self) -> &ServiceSettings {
        &self.service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_holds_the_defaults() {
        assert_eq!(secretscan_service::parse::<Config>(SAMPLE, []).unwrap(), Config::default());
    }

    fn is_name(text: &str) -> bool {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }

    #[test]
    fn the_sources_of_the_sample_are_accepted() {
        let start = SAMPLE.find("# [sources.").unwrap();
        let is_key = |line: &&str| line.starts_with('[') || line.split(" = ").next().is_some_and(is_name);
        let lines = SAMPLE[start..].lines().map(|line| line.trim_start_matches("# ")).filter(is_key);
        let text = lines.collect::<Vec<_>>().join("\n");
        let config = secretscan_service::parse::<Config>(&text, []).unwrap();
        assert_eq!(config.sources["github"].kind, Host::Github);
    }

    #[test]
    fn a_source_may_be_given_by_the_environment_alone() {
        let variables = [
            ("SECRETSCAN_SOURCES__WORK__KIND", "gitlab"),
            ("SECRETSCAN_SOURCES__WORK__SECRET_FILE", "/etc/secret"),
            ("SECRETSCAN_SOURCES__WORK__BASE_URL", "https://git.example/"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = secretscan_service::parse::<Config>("", variables).unwrap();
        assert_eq!(config.sources["work"].kind, Host::Gitlab);
    }
}
