//! The dashboard's configuration.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use secretscan_bus::NatsSettings;
use secretscan_service::{ServiceSettings, Settings};
use serde::Deserialize;

use crate::auth::AuthSettings;
use crate::discovery::DiscoverySettings;

/// The documented configuration file, with the defaults.
pub const SAMPLE: &str = include_str!("../config.toml");

/// The section `[dashboard]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DashboardSettings {
    /// Where pages and the API are served.
    pub listen: SocketAddr,
    /// What people type to come here; http and the address when absent.
    pub public_url: Option<String>,
    /// Whether a proxy in front says in `X-Forwarded-For` where requests come from.
    pub is_behind_proxy: bool,
    /// Where the copy of the buckets is kept; the directory for temporary files when absent.
    pub index_dir: Option<PathBuf>,
    /// Templates of reports by the names under which they are offered.
    pub report_templates: BTreeMap<String, PathBuf>,
}

impl Default for DashboardSettings {
    fn default() -> Self {
        let listen = (Ipv4Addr::LOCALHOST, 8082).into();
        Self {
            listen,
            public_url: None,
            is_behind_proxy: false,
            index_dir: None,
            report_templates: BTreeMap::new(),
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
    /// `[dashboard]`
    pub dashboard: DashboardSettings,
    /// `[auth]`
    pub auth: AuthSettings,
    /// `[discovery.NAME]`: owners at Git hosts whose repositories admins may list.
    pub discovery: BTreeMap<String, DiscoverySettings>,
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
