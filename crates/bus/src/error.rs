//! What can go wrong on the bus, and what a handler does about it.

use secretscan_model::{CalendarError, StepError};
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
    #[error("the server does not say what time it is")]
    Time { source: Source },
    #[error("the schedule {id} can't go on")]
    Calendar { id: String, source: CalendarError },
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
            | Self::Time { .. }
            | Self::Pack { .. } => Class::Transient,
            Self::Absent { .. }
            | Self::Topology { .. }
            | Self::Record { .. }
            | Self::Missing { .. }
            | Self::Segment { .. }
            | Self::Calendar { .. }
            | Self::Step(StepError::Illegal { .. }) => Class::Permanent,
            Self::Step(StepError::LeaseLost { .. }) => Class::LeaseLost,
        }
    }

    /// Whether the server could not be reached, or takes no more for now: no fault of the work that met it, and nothing
    /// that an attempt should count for.
    pub fn is_outage(&self) -> bool {
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            if says_outage(error) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

fn says_outage(error: &(dyn std::error::Error + 'static)) -> bool {
    use async_nats::jetstream::context::{PublishError, PublishErrorKind, RequestError, RequestErrorKind};
    use async_nats::jetstream::kv::{EntryError, EntryErrorKind, UpdateError, UpdateErrorKind};
    use async_nats::jetstream::object_store::{PutError, PutErrorKind};
    use async_nats::jetstream::{Error, ErrorCode};
    if let Some(error) = error.downcast_ref::<PublishError>() {
        // Nobody answers for a stream whose replicas are choosing a leader.
        return matches!(
            error.kind(),
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::StreamNotFound
        );
    }
    if let Some(error) = error.downcast_ref::<RequestError>() {
        return matches!(error.kind(), RequestErrorKind::TimedOut | RequestErrorKind::NoResponders);
    }
    if let Some(error) = error.downcast_ref::<UpdateError>() {
        return error.kind() == UpdateErrorKind::TimedOut;
    }
    if let Some(error) = error.downcast_ref::<EntryError>() {
        return error.kind() == EntryErrorKind::TimedOut;
    }
    if let Some(error) = error.downcast_ref::<PutError>() {
        // Its cause is a text. Pieces are of a size that every server takes.
        return matches!(error.kind(), PutErrorKind::PublishChunks | PutErrorKind::PublishMetadata);
    }
    error.downcast_ref::<Error>().is_some_and(|error| {
        [
            ErrorCode::STREAM_STORE_FAILED,
            ErrorCode::INSUFFICIENT_RESOURCES,
            ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ]
        .contains(&error.error_code())
    })
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
