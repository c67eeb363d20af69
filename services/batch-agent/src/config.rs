//! The batch-agent's configuration.

use std::path::PathBuf;

use secretscan_bus::{AgentSettings, NatsSettings};
use secretscan_detect::{Depth, HashKey};
use secretscan_service::{ServiceSettings, Settings};
use serde::Deserialize;

use crate::error::StartError;

/// The documented configuration file, with the defaults.
pub const SAMPLE: &str = include_str!("../config.toml");

/// A shorter key could be guessed.
const MIN_KEY_BYTES: usize = 32;

/// The section `[scan]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScanSettings {
    /// The file that holds the key of the hashes of secrets.
    pub key_file: Option<PathBuf>,
    /// A rules file instead of the built-in rules.
    pub rules: Option<PathBuf>,
    /// Threads for each batch; all cores when 0.
    pub threads: usize,
    /// Larger blobs are reported as not scanned.
    pub max_blob_bytes: u64,
    /// Contents of so many bytes are held in memory together.
    pub max_memory_bytes: u64,
    /// Text that is encoded so many times is decoded.
    pub max_decode_depth: u8,
    /// Archives in archives are opened so deep.
    pub max_archive_depth: u8,
}

impl Default for ScanSettings {
    fn default() -> Self {
        let depth = Depth::default();
        Self {
            key_file: None,
            rules: None,
            threads: 0,
            max_blob_bytes: 1 << 30,
            max_memory_bytes: 2 << 30,
            max_decode_depth: depth.decode,
            max_archive_depth: depth.archive,
        }
    }
}

impl ScanSettings {
    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    pub(crate) fn depth(&self) -> Depth {
        Depth { decode: self.max_decode_depth, archive: self.max_archive_depth }
    }

    pub(crate) fn read_key(&self) -> Result<HashKey, StartError> {
        let path = self.key_file.as_ref().ok_or(StartError::NoKey)?;
        let bytes = std::fs::read(path).map_err(|source| StartError::Key { path: path.clone(), source })?;
        if bytes.len() < MIN_KEY_BYTES {
            return Err(StartError::ShortKey { path: path.clone(), length: bytes.len() });
        }
        Ok(HashKey::from_bytes(&bytes))
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
    /// `[scan]`
    pub scan: ScanSettings,
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
