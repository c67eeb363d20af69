//! Configuration: a TOML file, then the environment. Unknown keys are refused.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The variable that names the configuration file.
pub(crate) const FILE_VARIABLE: &str = "SECRETSCAN_CONFIG";
/// What all variables begin with; `__` stands for the dot of a key.
const PREFIX: &str = "SECRETSCAN_";

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The section `[service]`, which every service has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceSettings {
    /// What is logged, as `tracing` filters say it: `info`, `secretscan=debug`.
    pub log: String,
    /// How.
    pub log_format: LogFormat,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; nowhere when absent.
    pub health_address: Option<SocketAddr>,
    /// A collector of traces that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; spans go nowhere when absent.
    pub otlp_endpoint: Option<String>,
    /// Of the traces that begin here, one in so many is sent.
    pub trace_one_in: NonZeroU32,
    /// How long a stop may take, in seconds. Shorter than that of the pod.
    pub grace_s: u64,
    /// Threads of the runtime. Scans and fetches have threads of their own.
    pub threads: usize,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            log: "info".into(),
            log_format: LogFormat::Text,
            health_address: None,
            otlp_endpoint: None,
            trace_one_in: NonZeroU32::MIN,
            grace_s: 20,
            threads: 2,
        }
    }
}

/// The configuration of a service.
pub trait Settings: DeserializeOwned {
    /// Its section `[service]`.
    fn service(&self) -> &ServiceSettings;
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error(
        "the configuration file {path} can't be read; check the path given by --config or {FILE_VARIABLE}"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A key or a value is wrong.
    #[error("the configuration{} is wrong", .file.as_ref().map(|file| format!(" ({}, then the environment)", file.display())).unwrap_or_default())]
    Wrong {
        /// The file, if there is one.
        file: Option<PathBuf>,
        /// What is wrong.
        #[source]
        source: config::ConfigError,
    },
}

/// Reads a configuration from a file, if one is given, and then from variables, which win.
///
/// # Errors
/// [`ConfigError`] for an unreadable file, an unknown key, or a value of the wrong type.
pub fn load<C: DeserializeOwned>(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<C, ConfigError> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
        None => String::new(),
    };
    parse(&text, variables).map_err(|source| ConfigError::Wrong { file: file.map(Path::to_owned), source })
}

/// Reads a configuration from a text and then from variables, which win.
///
/// # Errors
/// For an unknown key or a value of the wrong type.
pub fn parse<C: DeserializeOwned>(
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<C, config::ConfigError> {
    // Variables without `__` are for the command line (SECRETSCAN_CONFIG, SECRETSCAN_SKIP), not keys of a section.
    let variables = variables
        .into_iter()
        .filter(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|key| key.contains("__")))
        .collect();
    let environment = Environment::with_prefix("SECRETSCAN")
        .prefix_separator("_")
        .separator("__")
        .try_parsing(true)
        .source(Some(variables));
    Config::builder()
        .add_source(File::from_str(text, FileFormat::Toml))
        .add_source(environment)
        .build()
        .and_then(Config::try_deserialize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[derive(Default)]
    struct Example {
        service: ServiceSettings,
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        std::fs::write(&file, "[service]\nlog = \"debug\"\ngrace_s = 5\n").unwrap();
        let variables = variables(&[
            ("SECRETSCAN_SERVICE__GRACE_S", "7"),
            ("SECRETSCAN_SERVICE__LOG_FORMAT", "json"),
            ("SECRETSCAN_CONFIG", "x"),
            ("OTHER__KEY", "x"),
        ]);
        let example: Example = load(Some(&file), variables).unwrap();
        assert_eq!(example.service.log, "debug");
        assert_eq!(example.service.grace_s, 7);
        assert_eq!(example.service.log_format, LogFormat::Json);
    }

    #[test]
    fn unknown_keys_and_missing_files_are_refused() {
        let unknown = load::<Example>(None, variables(&[("SECRETSCAN_SERVICE__LOGG", "x")])).unwrap_err();
        assert!(super::super::chain(&unknown).contains("logg"), "{}", super::super::chain(&unknown));
        let unknown = load::<Example>(None, variables(&[("SECRETSCAN_SERVISE__LOG", "x")])).unwrap_err();
        assert!(super::super::chain(&unknown).contains("servise"));
        assert!(matches!(load::<Example>(Some(Path::new("/nowhere")), []), Err(ConfigError::Read { .. })));
    }
}
