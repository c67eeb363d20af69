//! What can go wrong while a request is worked on.

use std::time::Duration;

use secretscan_bus::{BusError, Class};
use secretscan_git::{FetchError, GitError};
use secretscan_model::RepositoryId;
use thiserror::Error;

/// What can go wrong while a request is worked on.
#[derive(Debug, Error)]
pub(crate) enum WorkError {
    #[error("fetching failed")]
    Fetch(#[source] FetchError),
    #[error("reading the history failed")]
    Git(#[from] GitError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("no temporary file can be made; check the space and the rights of agent.scratch")]
    Scratch(#[source] std::io::Error),
    #[error("a thread of the agent ended unexpectedly")]
    Thread(#[from] tokio::task::JoinError),
    #[error("the request was accepted without a repository")]
    NoRepository,
    #[error(
        "its commits have another object format than those that were scanned before; if it was converted or replaced on \
         purpose, run: secretscan history forget {repository} --all, and ask for a scan again"
    )]
    OtherObjectFormat { repository: RepositoryId },
    #[error("no batch-agent with the rules {version} has started yet, so it is not known what has changed")]
    UnknownRules { version: String },
    #[error("it took longer than {limit:?}")]
    TimedOut { limit: Duration },
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
            Self::Fetch(FetchError::TimedOut { .. }) => Some("fetch.timeout_s"),
            Self::Fetch(FetchError::TooLarge { .. }) => Some("fetch.max_bytes"),
            Self::Fetch(FetchError::TooMuchMemory { .. }) | Self::Git(GitError::TooMuchMemory { .. }) => {
                Some("fetch.max_memory_bytes")
            }
            Self::Git(GitError::TooMuchDisk { .. }) => Some("agent.max_scratch_bytes"),
            Self::Fetch(_)
            | Self::Git(_)
            | Self::Bus(_)
            | Self::Scratch(_)
            | Self::Thread(_)
            | Self::NoRepository
            | Self::OtherObjectFormat { .. }
            | Self::UnknownRules { .. }
            | Self::LeaseLost
            | Self::Stopped => None,
        }
    }

    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Fetch(error) if error.is_transient() => Class::Transient,
            Self::Fetch(_)
            | Self::NoRepository
            | Self::OtherObjectFormat { .. }
            | Self::UnknownRules { .. }
            | Self::TimedOut { .. } => Class::Permanent,
            Self::Git(error) => class_of_git(error),
            Self::Bus(error) => error.class(),
            Self::Scratch(_) | Self::Thread(_) | Self::Stopped => Class::Transient,
            Self::LeaseLost => Class::LeaseLost,
        }
    }
}

fn class_of_git(error: &GitError) -> Class {
    match error {
        GitError::UnknownRef { .. }
        | GitError::BadRange { .. }
        | GitError::TooMuchMemory { .. }
        | GitError::TooMuchDisk { .. }
        | GitError::TooManyFiles { .. }
        | GitError::NotOwned { .. } => Class::Permanent,
        GitError::NotARepository { .. }
        | GitError::MissingObject { .. }
        | GitError::Libgit2 { .. }
        | GitError::Index { .. }
        | GitError::Spawn { .. }
        | GitError::Child { .. }
        | GitError::Output { .. }
        | GitError::Io { .. }
        | GitError::Corrupt { .. }
        | GitError::DamagedPack { .. }
        | GitError::Threads { .. }
        | GitError::Stopped => Class::Transient,
    }
}

/// Whether the error may come from a damaged mirror, so that a new one may help.
pub(crate) fn is_damage(error: &GitError) -> bool {
    match error {
        GitError::NotARepository { .. }
        | GitError::MissingObject { .. }
        | GitError::Libgit2 { .. }
        | GitError::Child { .. }
        | GitError::Output { .. }
        | GitError::Corrupt { .. }
        | GitError::DamagedPack { .. } => true,
        GitError::UnknownRef { .. }
        | GitError::BadRange { .. }
        | GitError::NotOwned { .. }
        | GitError::Index { .. }
        | GitError::Spawn { .. }
        | GitError::Io { .. }
        | GitError::TooMuchMemory { .. }
        | GitError::TooMuchDisk { .. }
        | GitError::TooManyFiles { .. }
        | GitError::Threads { .. }
        | GitError::Stopped => false,
    }
}
