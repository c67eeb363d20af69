//! The repo-agent's configuration.

use std::path::PathBuf;
use std::time::Duration;

use secretscan_bus::{AgentSettings, NatsSettings};
use secretscan_detect::Secret;
use secretscan_git::{Credentials, FetchLimits, HostToken};
use secretscan_service::{ServiceSettings, Settings};
use serde::Deserialize;
use thiserror::Error;

/// The documented configuration file, with the defaults.
pub const SAMPLE: &str = include_str!("../config.toml");

/// The section `[mirrors]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorSettings {
    /// Where mirrors are kept.
    pub dir: PathBuf,
    /// How many bytes they may take together; the least recently used go first.
    pub max_bytes: u64,
    /// The program that indexes the packs of new mirrors in Git's place, if it begins with [`secretscan_git::called_by_git`]. Nobody
    /// configures it.
    #[serde(skip)]
    pub indexer: Option<PathBuf>,
}

impl Default for MirrorSettings {
    fn default() -> Self {
        Self { dir: "/var/cache/secretscan/mirrors".into(), max_bytes: 20 << 30, indexer: None }
    }
}

/// The section `[fetch]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSettings {
    /// How long a fetch may take, in seconds.
    pub timeout_s: u64,
    /// How many bytes a mirror may take.
    pub max_bytes: u64,
    /// How many bytes of memory each process of git may write to, in fetches and after.
    pub max_memory_bytes: u64,
    /// Fetch from local paths.
    pub allow_local: bool,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self { timeout_s: 3_600, max_bytes: 10 << 30, max_memory_bytes: 4 << 30, allow_local: false }
    }
}

impl FetchSettings {
    pub(crate) fn limits(&self) -> FetchLimits {
        FetchLimits {
            timeout: Duration::from_secs(self.timeout_s),
            max_bytes: self.max_bytes,
            max_memory_bytes: self.max_memory_bytes,
        }
    }
}

/// The section `[batches]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Commits in a batch.
    pub max_commits: usize,
    /// Bytes in the distinct blobs of a batch, inflated.
    pub max_bytes: u64,
    /// Bytes that the repository stores for them.
    pub max_stored_bytes: u64,
    /// Larger blobs are reported as not scanned.
    pub max_blob_bytes: u64,
    /// Batches of a request that may wait or be scanned at a time: bounds the object store.
    pub max_open: usize,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            max_commits: 20_000,
            max_bytes: 4 << 30,
            max_stored_bytes: 64 << 20,
            max_blob_bytes: 1 << 30,
            max_open: 64,
        }
    }
}

/// A token for one host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The host, with `:port` where the URI has one.
    pub host: String,
    /// The user that goes with the token.
    pub user: String,
    /// A file that holds the token.
    pub token_file: PathBuf,
}

/// The section `[credentials]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialSettings {
    /// Tokens by host.
    pub tokens: Vec<TokenSettings>,
    /// The private key for ssh.
    pub ssh_key: Option<PathBuf>,
    /// A Git credential helper.
    pub helper: Option<String>,
}

/// A token that can't be read.
#[derive(Debug, Error)]
#[error("the token of {host} can't be read from {path}; check credentials.tokens")]
pub struct CredentialsError {
    host: String,
    path: PathBuf,
    source: std::io::Error,
}

impl CredentialSettings {
    pub(crate) fn read(&self) -> Result<Credentials, CredentialsError> {
        let read = |settings: &TokenSettings| match std::fs::read_to_string(&settings.token_file) {
            Ok(token) => Ok(HostToken {
                host: settings.host.clone(),
                user: settings.user.clone(),
                token: Secret::new(token.trim().as_bytes()),
            }),
            Err(source) => Err(CredentialsError {
                host: settings.host.clone(),
                path: settings.token_file.clone(),
                source,
            }),
        };
        Ok(Credentials {
            tokens: self.tokens.iter().map(read).collect::<Result<_, _>>()?,
            ssh_key: self.ssh_key.clone(),
            helper: self.helper.clone(),
        })
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[service]`
    pub service: ServiceSettings,
    /// `[nats]`
    pub nats: NatsSettings,
    /// `[agent]`
    pub agent: AgentSettings,
    /// `[mirrors]`
    pub mirrors: MirrorSettings,
    /// `[fetch]`
    pub fetch: FetchSettings,
    /// `[batches]`
    pub batches: BatchSettings,
    /// `[credentials]`
    pub credentials: CredentialSettings,
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
}
