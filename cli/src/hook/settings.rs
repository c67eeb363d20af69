//! What decides about hooks besides their arguments: Git's configuration, and one environment variable.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use secretscan_detect::canonical;

use crate::failure::Failure;
use crate::hook::repository;
use crate::scan::explain;

/// How long a server's hook may take, unless it is configured.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// What happens when a hook can't scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Git is stopped.
    Block,
    /// Git goes on after a warning.
    Warn,
}

/// The keys `secretscan.*` of Git's configuration.
#[derive(Debug)]
pub struct Settings {
    /// `secretscan.onFailure`.
    pub on_failure: OnFailure,
    /// `secretscan.baseline`.
    pub baseline: Option<PathBuf>,
    /// `secretscan.timeout`, in whole seconds.
    pub timeout: Duration,
}

impl Settings {
    /// Reads them for the repository of the hook.
    pub fn read() -> anyhow::Result<Self> {
        let config = secretscan_git::Settings::read(&repository()).map_err(explain)?;
        let on_failure = match config.get("secretscan.onFailure")?.as_deref() {
            None | Some("block") => OnFailure::Block,
            Some("warn") => OnFailure::Warn,
            Some(other) => return Err(wrong("secretscan.onFailure", other, "block or warn")),
        };
        let timeout = match config.get("secretscan.timeout")? {
            None => DEFAULT_TIMEOUT,
            Some(text) => match text.parse() {
                Ok(seconds @ 1..) => Duration::from_secs(seconds),
                _ => return Err(wrong("secretscan.timeout", &text, "a number of seconds, such as 30")),
            },
        };
        let baseline = config.path("secretscan.baseline")?;
        Ok(Self { on_failure, baseline, timeout })
    }
}

fn wrong(key: &str, value: &str, expected: &str) -> anyhow::Error {
    let hint =
        format!("git config {key} VALUE sets it, and git config --show-origin {key} says where it stands");
    Failure::new(format!("{key} is {value:?} in Git's configuration, and must be {expected}"), hint).into()
}

/// The rules whose findings do not count this once.
#[derive(Debug, Default)]
pub struct SkippedRules(BTreeSet<String>);

impl SkippedRules {
    /// Whether no rule counts.
    pub fn is_all(&self) -> bool {
        self.0.contains("all")
    }

    /// Whether this rule does not.
    pub fn has(&self, rule: &str) -> bool {
        self.0.contains(rule)
    }

    /// Those of them that are not in a list.
    pub fn missing<'a>(&'a self, known: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(String::as_str).filter(|rule| !known.contains(rule))
    }

    /// Whether every rule counts.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads `SECRETSCAN_SKIP`: ids of rules, or `all`, with commas in between.
pub fn skipped_rules(value: Option<OsString>) -> SkippedRules {
    let value = value.unwrap_or_default();
    let value = value.to_string_lossy();
    let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
    SkippedRules(names.map(|name| canonical(name).to_owned()).collect())
}
