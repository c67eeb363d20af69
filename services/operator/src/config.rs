//! The operator's configuration.

use std::path::PathBuf;

use secretscan_bus::NatsSettings;
use secretscan_service::{ServiceSettings, Settings};
use serde::Deserialize;

/// The documented configuration file, with the defaults.
pub const SAMPLE: &str = include_str!("../config.toml");

/// The section `[kubernetes]`: how to reach the API server. The defaults are what every pod has that gets a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesSettings {
    /// Its address: https, or plain http to this machine, where `kubectl proxy` listens.
    pub url: String,
    /// The certificates of those that may vouch for it, PEM.
    pub ca_file: PathBuf,
    /// A file that holds the token, read again when it may have been replaced.
    pub token_file: PathBuf,
}

impl Default for KubernetesSettings {
    fn default() -> Self {
        // https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
        let of_pod = |name| PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount").join(name);
        Self {
            url: "https://kubernetes.default.svc".into(),
            ca_file: of_pod("ca.crt"),
            token_file: of_pod("token"),
        }
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
    /// `[kubernetes]`
    pub kubernetes: KubernetesSettings,
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
