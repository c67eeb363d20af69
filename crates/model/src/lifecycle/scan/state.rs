//! Where a request and its batches stand.

use serde::{Deserialize, Serialize};

use crate::lifecycle::{Claim, NotScanned};

/// Where a repository scan request stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name")]
pub enum ScanState {
    /// Taken from the door.
    New,
    /// Being checked.
    Validating,
    /// Waits for the scheduler.
    Queued,
    /// The scheduler has it in hand.
    Scheduling,
    /// Waits for a repo-agent, one of which had a free slot.
    Scheduled,
    /// Being fetched and cut into batches, then until its batches have ended.
    InProgress {
        /// The repo-agent that lists it.
        claim: Claim,
        /// Whether the history is listed and all batches are cut.
        is_listed: bool,
    },
    /// Every batch has ended well.
    Completed,
    /// It can't be done.
    Failed {
        /// Why, in words for the requester.
        reason: String,
    },
    /// The requester took it back.
    Cancelled,
}

impl ScanState {
    /// The names of all states, in the order of a request's life.
    pub const NAMES: [&str; 9] = [
        "New",
        "Validating",
        "Queued",
        "Scheduling",
        "Scheduled",
        "InProgress",
        "Completed",
        "Failed",
        "Cancelled",
    ];

    /// The name of the state, as the specification gives it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::New => "New",
            Self::Validating => "Validating",
            Self::Queued => "Queued",
            Self::Scheduling => "Scheduling",
            Self::Scheduled => "Scheduled",
            Self::InProgress { .. } => "InProgress",
            Self::Completed => "Completed",
            Self::Failed { .. } => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Whether the state is never left.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Completed | Self::Failed { .. } | Self::Cancelled => true,
            Self::New
            | Self::Validating
            | Self::Queued
            | Self::Scheduling
            | Self::Scheduled
            | Self::InProgress { .. } => false,
        }
    }
}

/// What listing the history found. Of a request to verify: how many commits are not scanned, and which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Commits reachable from the refs asked for.
    pub commits: u64,
    /// Those of them that the ledger did not know.
    pub unknown: u64,
    /// Of a run of a schedule: those of the unknown ones that no push announced and no run told of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold: Option<u64>,
    /// Commits that the ledger knows and that no ref reaches any more; `None` when that was not looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vanished: Option<u64>,
    /// A hash of all refs as they were, if all that they reach was known or cut: while the refs are the same, there is
    /// nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refs: Option<String>,
    /// Whether nothing was fetched, since the refs are those of the run before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unchanged: bool,
    /// What could not be listed or cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_scanned: Vec<NotScanned>,
}

/// How a batch of a request stands, as the request knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum BatchOutcome {
    /// Not ended.
    Open,
    /// Scanned, or nothing was left to scan.
    #[serde(rename_all = "camelCase")]
    Completed {
        /// Commits scanned.
        commits: u64,
        /// Distinct blobs scanned.
        blobs: u64,
        /// Bytes scanned.
        bytes: u64,
        /// Findings in it, known ones included.
        findings: u64,
        /// Things not scanned; the batch's record names them.
        not_scanned: u64,
    },
    /// Failed for good.
    Failed {
        /// Why.
        reason: String,
    },
    /// Cancelled with its request.
    Cancelled,
}

/// Sums over the batches of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanTotals {
    /// Batches created.
    pub batches: u64,
    /// Batches ended.
    pub ended: u64,
    /// Commits scanned.
    pub commits: u64,
    /// Distinct blobs scanned, summed over batches.
    pub blobs: u64,
    /// Bytes scanned.
    pub bytes: u64,
    /// Findings, summed over batches.
    pub findings: u64,
    /// Things not scanned.
    pub not_scanned: u64,
}
