//! What can go wrong at the start, and while a batch is worked on.

use std::path::PathBuf;
use std::time::Duration;

use secretscan_bus::{BusError, Class};
use secretscan_detect::RuleError;
use secretscan_git::GitError;
use thiserror::Error;

/// Why the agent can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// No key is configured.
    #[error(
        "scan.key_file is not set; make a file of 32 random bytes, the same for all batch-agents, and name it there"
    )]
    NoKey,
    /// The key can't be read.
    #[error("the key file {path} can't be read; check scan.key_file")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The key could be guessed.
    #[error("the key file {path} has {length} bytes, at least 32 are needed")]
    ShortKey {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// The rules can't be used.
    #[error("the rules of scan.rules can't be used")]
    Rules(#[from] RuleError),
}

/// What can go wrong while a batch is worked on.
#[derive(Debug, Error)]
pub(crate) enum WorkError {
    #[error("scanning failed")]
    Git(#[from] GitError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("no temporary file can be made; check the space and the rights of agent.scratch")]
    Scratch(#[source] std::io::Error),
    #[error("a thread of the agent ended unexpectedly")]
    Thread(#[from] tokio::task::JoinError),
    #[error("the ledger does not list the batch")]
    NotInLedger,
    #[error(
        "it is to be scanned with the rules {wanted}, and this agent has {own}; ask again when all have the same"
    )]
    OtherRules { wanted: String, own: String },
    #[error("the rules that are to run can't be put together")]
    Rules(#[from] RuleError),
    #[error("its pack is gone from the object store")]
    NoPack,
    #[error("it took longer than {limit:?}")]
    TimedOut { limit: Duration },
    #[error("its pack of {bytes} bytes needs more than {limit} bytes of temporary files")]
    TooMuchDisk { bytes: u64, limit: u64 },
    #[error("the claim is lost")]
    LeaseLost,
    #[error("the agent stops")]
    Stopped,
}

impl WorkError {
    /// Whether NATS failed, and not the work: no attempt is counted.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Bus(error) if error.is_outage())
    }

    /// The key of the configuration that allows more.
    pub(crate) fn limiting_key(&self) -> Option<&'static str> {
        match self {
            Self::TimedOut { .. } => Some("agent.timeout_s"),
            Self::TooMuchDisk { .. } => Some("agent.max_scratch_bytes"),
            Self::Git(_)
            | Self::Bus(_)
            | Self::Scratch(_)
            | Self::Thread(_)
            | Self::NotInLedger
            | Self::OtherRules { .. }
            | Self::Rules(_)
            | Self::NoPack
            | Self::LeaseLost
            | Self::Stopped => None,
        }
    }

    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Git(GitError::Corrupt { .. }) | Self::NotInLedger | Self::NoPack => Class::Permanent,
            Self::TimedOut { .. } | Self::TooMuchDisk { .. } => Class::Permanent,
            Self::OtherRules { .. } | Self::Rules(_) => Class::Permanent,
            Self::Bus(error) => error.class(),
            Self::Git(_) | Self::Scratch(_) | Self::Thread(_) | Self::Stopped => Class::Transient,
            Self::LeaseLost => Class::LeaseLost,
        }
    }
}
