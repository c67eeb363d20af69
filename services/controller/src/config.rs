//! The controller's configuration.

use secretscan_bus::NatsSettings;
use secretscan_model::UriPolicy;
use secretscan_service::{ServiceSettings, Settings};
use serde::Deserialize;

/// The documented configuration file, with the defaults.
pub const SAMPLE: &str = include_str!("../config.toml");

/// Bounds on what a request may say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Size of a message at the door, in bytes.
    pub max_message_bytes: usize,
    /// Refs in a request.
    pub max_refs: usize,
    /// Length of the requester, in bytes.
    pub max_requester_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_message_bytes: 256 * 1024, max_refs: 1_000, max_requester_bytes: 256 }
    }
}

/// The section `[policy]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Accept local paths.
    pub allow_local: bool,
    /// Accept plain http.
    pub allow_http: bool,
    /// Accept loopback, private and link-local hosts.
    pub allow_private_hosts: bool,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[service]`
    pub service: ServiceSettings,
    /// `[nats]`
    pub nats: NatsSettings,
    /// `[policy]`
    pub policy: Policy,
    /// `[limits]`
    pub limits: Limits,
}

impl Config {
    pub(crate) fn policy(&self) -> UriPolicy {
        UriPolicy {
            allow_local: self.policy.allow_local,
            allow_http: self.policy.allow_http,
            allow_private_hosts: self.policy.allow_private_hosts,
        }
    }
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
