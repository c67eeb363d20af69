//! What can go wrong on the bus, and what a handler does about it.

use secretscan_model::StepError;
use thiserror::Error;

pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// What a handler does with work that ended in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Try again later.
    Transient,
    /// Trying again can't help.
    Permanent,
    /// Somebody else holds the work: stop.
    LeaseLost,
}

/// What can go wrong on the bus.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum BusError {
    #[error("can't connect to NATS at {url}: {reason}")]
    Connect { url: String, reason: String },
    #[error("there is no secretscan at {url}: its buckets do not exist")]
    Absent { url: String },
    #[error("{kind} {name} is not as this version needs it: {reason}")]
    Topology { kind: &'static str, name: String, reason: String },
    #[error("{action} the bucket {bucket} failed")]
    Bucket { bucket: String, action: &'static str, source: Source },
    #[error("publishing to {subject} failed")]
    Publish { subject: String, source: Source },
    #[error("pulling from the consumer {consumer} failed")]
    Pull { consumer: String, source: Source },
    #[error("acknowledging a message of {subject} failed: {reason}")]
    Acknowledge { subject: String, reason: String },
    #[error("the record {key} in the bucket {bucket} can't be read")]
    Record { bucket: String, key: String, source: serde_json::Error },
    #[error("there is no {what} {key}")]
    Missing { what: &'static str, key: String },
    #[error("{key} was changed by others {attempts} times in a row")]
    Contended { key: String, attempts: u32 },
    #[error("the pack {name} failed in {action}")]
    Pack { name: String, action: &'static str, source: Source },
    #[error("a ledger segment can't be read: {reason}")]
    Segment { reason: String },
    #[error(transparent)]
    Step(#[from] StepError),
}

impl BusError {
    /// What a handler does about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Connect { .. }
            | Self::Bucket { .. }
            | Self::Publish { .. }
            | Self::Pull { .. }
            | Self::Acknowledge { .. }
            | Self::Contended { .. }
            | Self::Pack { .. } => Class::Transient,
            Self::Absent { .. }
            | Self::Topology { .. }
            | Self::Record { .. }
            | Self::Missing { .. }
            | Self::Segment { .. }
            | Self::Step(StepError::Illegal { .. }) => Class::Permanent,
            Self::Step(StepError::LeaseLost { .. }) => Class::LeaseLost,
        }
    }
}

/// The error and its causes in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
