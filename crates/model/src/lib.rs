//! Domain types, ids and the request lifecycle of secretscan.
//!
//! Pure: no I/O, no async, no clock reads; time and randomness come in as arguments. Everything that two
//! services must agree on is decided here, above all [`lifecycle`]: the only place where the state of a request
//! changes. The price is that callers carry timestamps and revisions around.

pub mod agent;
pub mod calendar;
pub mod finding;
pub mod ids;
pub mod ledger;
pub mod lifecycle;
pub mod plan;
pub mod repository;
pub mod rules;
pub mod uri;
pub mod verification;

pub use agent::{Agent, Role};
pub use calendar::CalendarError;
pub use finding::{Author, Finding, FindingId, Occurrence, SecretHash, SecretIdentity, Seen};
pub use ids::{
    AgentId, BatchId, BlobId, CommitId, IdError, RepositoryId, RequestId, RuleId, ScheduleId, Timestamp,
};
pub use lifecycle::{
    BatchEffect, BatchEvent, BatchKey, BatchOutcome, BatchReport, BatchState, Claim, CommitBatch,
    FindingState, Listing, Look, Missed, NotScanned, OnUnknown, Place, Priority, Purpose, Push,
    RepositoryScan, Rescan, ScanEffect, ScanEvent, ScanState, Schedule, ScheduleEvent, ScheduledRun, Stamp,
    Standing, StepError, Survey, Triage, TriageState, Whereabouts,
};
pub use repository::Repository;
pub use rules::{ChosenRules, RuleChange, RuleHashes};
pub use uri::{RepositoryUri, UriError, UriPolicy};
pub use verification::Verification;
