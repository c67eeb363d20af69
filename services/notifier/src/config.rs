//! The notifier's configuration, as it is written.

mod channel;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use secretscan_bus::NatsSettings;
use secretscan_detect::Severity;
use secretscan_service::{ServiceSettings, Settings};
use serde::{Deserialize, Serialize};

pub use channel::{ChannelKind, ChannelSettings, MailTls, SmtpSettings};

/// The documented configuration file, with the defaults.
pub const SAMPLE: &str = include_str!("../config.toml");

/// What kind of interface a Git host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKind {
    /// GitHub, or GitHub Enterprise Server.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea.
    Gitea,
    /// Forgejo, which has the interface of Gitea.
    Forgejo,
    /// Bitbucket Cloud.
    Bitbucket,
}

/// A Git host that is told the status of commits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusSettings {
    /// The host, as names of repositories begin, with `:port` where they have one.
    pub host: String,
    /// Its kind.
    pub kind: HostKind,
    /// Where its interface is; by kind and host when absent.
    pub api: Option<String>,
    /// A file that holds the token.
    pub token_file: PathBuf,
    /// The user of an app password, for Bitbucket; without one the token is an access token.
    pub user: Option<String>,
    /// The name of the status.
    #[serde(default = "default_context")]
    pub context: String,
    /// Findings from this severity on make a commit fail; all when absent.
    pub fail_on: Option<Severity>,
}

fn default_context() -> String {
    "secretscan".into()
}

/// What people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// A secret was found that was not known.
    Finding,
    /// A scheduled scan found commits that no push told of.
    UnknownCommits,
    /// A request failed.
    FailedRequest,
    /// A message could not be done.
    DeadLetter,
}

impl Occasion {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finding => "finding",
            Self::UnknownCommits => "unknown-commits",
            Self::FailedRequest => "failed-request",
            Self::DeadLetter => "dead-letter",
        }
    }
}

/// Who is told what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// On which occasions.
    pub on: Vec<Occasion>,
    /// Of which repositories, by patterns of their names: `*` within a part of the path, `**` across parts. All, and what
    /// is of no repository, when absent.
    pub repositories: Option<Vec<String>>,
    /// Of findings, only those from this severity on.
    pub min_severity: Option<Severity>,
    /// The channels.
    pub channels: Vec<String>,
}

/// The section `[link]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSettings {
    /// Where the dashboard is: statuses and messages link to `BASE/requests/ID`.
    pub base: Option<String>,
}

/// The section `[batch]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// How long a message waits for more to say, in milliseconds.
    pub window_ms: u64,
    /// So many items are named in one message; more are counted.
    pub max_items: NonZeroUsize,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { window_ms: 30_000, max_items: NonZeroUsize::new(20).expect("20 is not 0") }
    }
}

/// The section `[delivery]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverySettings {
    /// How long one request or one mail may take, in seconds.
    pub timeout_s: NonZeroU64,
    /// The pause after the first failure, in milliseconds; twice as long after each further one.
    pub first_pause_ms: NonZeroU64,
    /// The longest pause, in seconds, unless a host asks for more.
    pub longest_pause_s: NonZeroU64,
    /// What could not be sent for so long is given up, in seconds.
    pub give_up_after_s: NonZeroU64,
    /// Whether plain http, and mail without TLS, may leave this machine.
    pub allow_plaintext: bool,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        let number = |value| NonZeroU64::new(value).expect("none of them is 0");
        Self {
            timeout_s: number(20),
            first_pause_ms: number(1_000),
            longest_pause_s: number(300),
            give_up_after_s: number(24 * 3_600),
            allow_plaintext: false,
        }
    }
}

impl DeliverySettings {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s.get())
    }

    pub(crate) fn give_up_after(&self) -> Duration {
        Duration::from_secs(self.give_up_after_s.get())
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
    /// `[link]`
    pub link: LinkSettings,
    /// `[batch]`
    pub batch: BatchSettings,
    /// `[delivery]`
    pub delivery: DeliverySettings,
    /// `[[status]]`
    pub status: Vec<StatusSettings>,
    /// `[[channels]]`
    pub channels: Vec<ChannelSettings>,
    /// `[[routes]]`
    pub routes: Vec<RouteSettings>,
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

    #[test]
    fn the_commented_part_of_the_sample_is_a_configuration() {
        let (_, examples) = SAMPLE.split_once("# For example:\n").unwrap();
        let text: String =
            examples.lines().map(|line| format!("{}\n", line.strip_prefix('#').unwrap_or(line))).collect();
        let config: Config = secretscan_service::parse(&text, []).unwrap();
        assert_eq!((config.status.len(), config.channels.len(), config.routes.len()), (5, 4, 2));
    }
}
