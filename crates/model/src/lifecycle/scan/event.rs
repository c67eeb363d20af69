//! What happens to a repository scan request, and what follows from it.

use super::{BatchOutcome, Listing, Purpose, Rescan};
use crate::ids::{AgentId, BatchId, RepositoryId, RuleId};
use crate::lifecycle::{Claim, Push};

/// What happens to a repository scan request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanEvent {
    /// The controller begins to check it.
    StartValidation,
    /// The controller refuses it.
    Refuse {
        /// Why.
        reason: String,
    },
    /// The controller puts down what it is for, where that is not a scan.
    Aim {
        /// What it is for.
        purpose: Purpose,
    },
    /// The controller accepts it.
    Accept {
        /// The repository, which exists now.
        repository: RepositoryId,
        /// What to fetch.
        uri: String,
    },
    /// A push joins it, so that it scans what was pushed as well.
    Join {
        /// What was pushed.
        pushes: Vec<Push>,
    },
    /// The scheduler takes it in hand.
    StartScheduling,
    /// The scheduler saw a free slot.
    Assign,
    /// A repo-agent takes it, for the first time or after another was lost.
    Claim {
        /// The agent.
        agent: AgentId,
        /// How many claims there may be in all.
        max_attempts: u32,
    },
    /// The agent could not finish and lets go: another attempt follows.
    GiveBack {
        /// The claim it held.
        claim: Claim,
        /// Why; `None` when it was not the work that failed, which is not an attempt.
        error: Option<String>,
    },
    /// The agent has compared the history with the ledger.
    Compare {
        /// The claim it holds.
        claim: Claim,
        /// What it found.
        listing: Listing,
    },
    /// The agent has compared the versions of the rules.
    ChooseRules {
        /// The claim it holds.
        claim: Claim,
        /// The other versions that the ledger has.
        from: Vec<String>,
        /// The rules that run; all when `None`.
        rules: Option<Vec<RuleId>>,
    },
    /// The agent cut a batch.
    CutBatch {
        /// The claim it holds.
        claim: Claim,
        /// The batch.
        batch: BatchId,
    },
    /// The agent has listed the history and cut all batches.
    FinishListing {
        /// The claim it holds.
        claim: Claim,
        /// What it found.
        listing: Listing,
    },
    /// A batch has ended.
    EndBatch {
        /// The batch.
        batch: BatchId,
        /// How.
        outcome: BatchOutcome,
    },
    /// The agent says that no attempt can succeed.
    Fail {
        /// The claim it holds.
        claim: Claim,
        /// Why.
        reason: String,
    },
    /// The controller was told that an agent has listed or ended it, and does what follows.
    Settle,
    /// The requester takes it back.
    Cancel {
        /// Who.
        requester: String,
    },
}

impl ScanEvent {
    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StartValidation => "StartValidation",
            Self::Refuse { .. } => "Refuse",
            Self::Aim { .. } => "Aim",
            Self::Accept { .. } => "Accept",
            Self::Join { .. } => "Join",
            Self::StartScheduling => "StartScheduling",
            Self::Assign => "Assign",
            Self::Claim { .. } => "Claim",
            Self::GiveBack { .. } => "GiveBack",
            Self::Compare { .. } => "Compare",
            Self::ChooseRules { .. } => "ChooseRules",
            Self::CutBatch { .. } => "CutBatch",
            Self::FinishListing { .. } => "FinishListing",
            Self::EndBatch { .. } => "EndBatch",
            Self::Fail { .. } => "Fail",
            Self::Settle => "Settle",
            Self::Cancel { .. } => "Cancel",
        }
    }
}

/// What is to be done once a step is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanEffect {
    /// Publish it to the scheduler.
    Queue,
    /// Publish it to the repo-agents.
    Dispatch,
    /// Tell the controller that an agent has listed or ended it.
    Report,
    /// Let another request fetch the repository.
    ReleaseFetch,
    /// Note in the ledger that nothing of the older versions is left.
    EndRescan(Rescan),
    /// Cancel every batch that has not ended.
    CancelBatches,
    /// Keep the request for people to read.
    DeadLetter {
        /// Why.
        reason: String,
    },
}
