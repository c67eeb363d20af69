//! The life of a commit batch scan request.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{BatchOutcome, Claim, NotScanned, Priority, Stamp, Step, StepError, TrailEntry, lost};
use crate::ids::{AgentId, BatchId, IdError, RepositoryId, RequestId};
use crate::rules::ChosenRules;

/// Names a batch: its request and its id within it. As text `request.batch`, which is its key in the `batches` bucket
/// and the name of its pack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchKey {
    /// The request that created it.
    pub request: RequestId,
    /// The id within the request.
    pub batch: BatchId,
}

impl fmt::Display for BatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.request, self.batch)
    }
}

impl FromStr for BatchKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (request, batch) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self { request: request.parse()?, batch: batch.parse()? })
    }
}

/// Where a commit batch scan request stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name")]
pub enum BatchState {
    /// Taken from the queue.
    New,
    /// Its commits are compared with the ledger.
    Validating,
    /// Waits for the scheduler.
    WaitingForScheduling,
    /// The scheduler has it in hand.
    Scheduling,
    /// Waits for a batch-agent, one of which had a free slot.
    Scheduled,
    /// Being scanned.
    InProgress {
        /// The batch-agent that scans it.
        claim: Claim,
    },
    /// Scanned, or nothing was left to scan.
    Completed {
        /// What was done.
        report: BatchReport,
    },
    /// It can't be done.
    Failed {
        /// Why.
        reason: String,
    },
    /// Its request was cancelled or failed.
    Cancelled,
}

impl BatchState {
    /// The name of the state, as the specification gives it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::New => "New",
            Self::Validating => "Validating",
            Self::WaitingForScheduling => "WaitingForScheduling",
            Self::Scheduling => "Scheduling",
            Self::Scheduled => "Scheduled",
            Self::InProgress { .. } => "InProgress",
            Self::Completed { .. } => "Completed",
            Self::Failed { .. } => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// What scanning a batch did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchReport {
    /// Commits scanned.
    pub commits: u64,
    /// Distinct blobs scanned.
    pub blobs: u64,
    /// Bytes scanned.
    pub bytes: u64,
    /// Findings in it, known ones included.
    pub findings: u64,
    /// How many rules ran.
    #[serde(default)]
    pub rules: u64,
    /// The version of the rule set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule_set: String,
    /// What was not scanned, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_scanned: Vec<NotScanned>,
}

/// A commit batch scan request, as the `batches` bucket keeps it. Its commits stand in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitBatch {
    /// The name.
    pub key: BatchKey,
    /// The repository.
    pub repository: RepositoryId,
    /// The urgency, that of its request.
    pub priority: Priority,
    /// Commits that the repo-agent offered.
    pub offered: u64,
    /// Commits that the ledger admitted: neither scanned nor in flight elsewhere.
    pub admitted: u64,
    /// Size of its pack in the object store, in bytes.
    pub pack_bytes: u64,
    /// With which rules its commits are scanned again; `None` when they are scanned for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescan: Option<ChosenRules>,
    /// Where it stands.
    pub state: BatchState,
    /// How many claims there were.
    pub attempts: u32,
    /// Why the last attempt ended without success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Every state it was in.
    pub trail: Vec<TrailEntry>,
}

impl CommitBatch {
    /// A new batch.
    pub fn new(
        key: BatchKey,
        repository: RepositoryId,
        priority: Priority,
        offered: u64,
        pack_bytes: u64,
        stamp: Stamp<'_>,
    ) -> Self {
        Self {
            key,
            repository,
            priority,
            offered,
            admitted: 0,
            pack_bytes,
            rescan: None,
            state: BatchState::New,
            attempts: 0,
            last_error: None,
            trail: vec![stamp.entry("New", 0, None)],
        }
    }

    /// The same, whose commits are scanned again.
    #[must_use]
    pub fn again(self, rescan: Option<ChosenRules>) -> Self {
        Self { rescan, ..self }
    }

    /// The claim of the agent that works on it.
    pub fn claim(&self) -> Option<&Claim> {
        match &self.state {
            BatchState::InProgress { claim } => Some(claim),
            BatchState::New
            | BatchState::Validating
            | BatchState::WaitingForScheduling
            | BatchState::Scheduling
            | BatchState::Scheduled
            | BatchState::Completed { .. }
            | BatchState::Failed { .. }
            | BatchState::Cancelled => None,
        }
    }

    /// Whether this claim is the current one.
    pub fn is_claimed_by(&self, claim: &Claim) -> bool {
        self.claim() == Some(claim)
    }

    fn enter(mut self, state: BatchState, stamp: Stamp<'_>, note: Option<String>) -> Self {
        self.trail.push(stamp.entry(state.name(), self.attempts, note));
        self.state = state;
        self
    }

    /// What the end still owes to the world.
    fn owed(&self) -> Vec<BatchEffect> {
        match &self.state {
            BatchState::New
            | BatchState::Validating
            | BatchState::WaitingForScheduling
            | BatchState::Scheduling
            | BatchState::Scheduled
            | BatchState::InProgress { .. } => vec![],
            BatchState::Completed { report } => vec![
                BatchEffect::MarkScanned { rule_set: report.rule_set.clone() },
                BatchEffect::EndInRequest(BatchOutcome::Completed {
                    commits: report.commits,
                    blobs: report.blobs,
                    bytes: report.bytes,
                    findings: report.findings,
                    not_scanned: report.not_scanned.len() as u64,
                }),
                BatchEffect::DeletePack,
            ],
            BatchState::Failed { reason } => vec![
                BatchEffect::ReleaseCommits,
                BatchEffect::EndInRequest(BatchOutcome::Failed { reason: reason.clone() }),
                BatchEffect::DeletePack,
                BatchEffect::DeadLetter { reason: reason.clone() },
            ],
            BatchState::Cancelled => vec![
                BatchEffect::ReleaseCommits,
                BatchEffect::EndInRequest(BatchOutcome::Cancelled),
                BatchEffect::DeletePack,
            ],
        }
    }

    /// An end that the controller brings about, which does all that follows.
    fn end(self, state: BatchState, stamp: Stamp<'_>, note: Option<String>) -> Step<Self, BatchEffect> {
        let next = self.enter(state, stamp, note);
        let effects = next.owed();
        Step::change(next, effects)
    }

    /// An end that an agent brings about, which may do nothing of what follows: it tells the controller.
    fn end_by_agent(
        self,
        state: BatchState,
        stamp: Stamp<'_>,
        note: Option<String>,
    ) -> Step<Self, BatchEffect> {
        Step::change(self.enter(state, stamp, note), vec![BatchEffect::Report])
    }
}

/// What happens to a commit batch scan request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchEvent {
    /// The controller begins to compare it with the ledger.
    StartValidation,
    /// The ledger admitted this many of its commits; with none the batch is complete.
    Admit {
        /// Commits admitted.
        commits: u64,
    },
    /// The scheduler takes it in hand.
    StartScheduling,
    /// The scheduler saw a free slot.
    Assign,
    /// A batch-agent takes it, for the first time or after another was lost.
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
    /// The agent has scanned it: its findings are written.
    Finish {
        /// The claim it holds.
        claim: Claim,
        /// What was done.
        report: BatchReport,
    },
    /// The agent says that no attempt can succeed.
    Fail {
        /// The claim it holds.
        claim: Claim,
        /// Why.
        reason: String,
    },
    /// The controller was told that an agent has ended it, and does what follows.
    Settle,
    /// Its request has ended.
    Cancel,
}

impl BatchEvent {
    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StartValidation => "StartValidation",
            Self::Admit { .. } => "Admit",
            Self::StartScheduling => "StartScheduling",
            Self::Assign => "Assign",
            Self::Claim { .. } => "Claim",
            Self::GiveBack { .. } => "GiveBack",
            Self::Finish { .. } => "Finish",
            Self::Fail { .. } => "Fail",
            Self::Settle => "Settle",
            Self::Cancel => "Cancel",
        }
    }
}

/// What is to be done once a step is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchEffect {
    /// Publish it to the scheduler.
    Wait,
    /// Publish it to the batch-agents.
    Dispatch,
    /// Tell the controller that it has ended.
    Report,
    /// Note in the ledger that its commits are scanned.
    MarkScanned {
        /// The version of the rule set.
        rule_set: String,
    },
    /// Tell its request how it ended.
    EndInRequest(BatchOutcome),
    /// Make its commits unknown again, or, if they were scanned before, leave them as they were.
    ReleaseCommits,
    /// Delete its pack.
    DeletePack,
    /// Keep the batch for people to read.
    DeadLetter {
        /// Why.
        reason: String,
    },
}

/// Moves a commit batch scan request on. The only place where its state changes.
///
/// # Errors
/// [`StepError::LeaseLost`] when the caller's claim is not the current one; [`StepError::Illegal`] when the event
/// contradicts the state.
pub fn step_batch(
    batch: &CommitBatch,
    event: &BatchEvent,
    stamp: Stamp<'_>,
) -> Result<Step<CommitBatch, BatchEffect>, StepError> {
    use BatchState::{
        Cancelled, Completed, Failed, InProgress, New, Scheduled, Scheduling, Validating,
        WaitingForScheduling,
    };
    let illegal = || StepError::Illegal { state: batch.state.name(), event: event.name() };
    let lease_lost = || StepError::LeaseLost { state: batch.state.name().to_owned() };
    Ok(match event {
        BatchEvent::StartValidation => match &batch.state {
            New => Step::change(batch.clone().enter(Validating, stamp, None), vec![]),
            Validating
            | WaitingForScheduling
            | Scheduling
            | Scheduled
            | InProgress { .. }
            | Completed { .. }
            | Failed { .. }
            | Cancelled => Step::stay(vec![]),
        },
        BatchEvent::Admit { commits: 0 } => match &batch.state {
            Validating => {
                let note = Some("every commit is scanned or in flight elsewhere".to_owned());
                batch.clone().end(Completed { report: BatchReport::default() }, stamp, note)
            }
            Completed { .. } | Failed { .. } | Cancelled => Step::stay(batch.owed()),
            New | WaitingForScheduling | Scheduling | Scheduled | InProgress { .. } => {
                return Err(illegal());
            }
        },
        BatchEvent::Admit { commits } => match &batch.state {
            Validating => {
                let mut next = batch.clone();
                next.admitted = *commits;
                Step::change(next.enter(WaitingForScheduling, stamp, None), vec![BatchEffect::Wait])
            }
            WaitingForScheduling => Step::stay(vec![BatchEffect::Wait]),
            Scheduling | Scheduled | InProgress { .. } => Step::stay(vec![]),
            Completed { .. } | Failed { .. } | Cancelled => Step::stay(batch.owed()),
            New => return Err(illegal()),
        },
        BatchEvent::StartScheduling => match &batch.state {
            WaitingForScheduling => Step::change(batch.clone().enter(Scheduling, stamp, None), vec![]),
            Scheduling | Scheduled | InProgress { .. } | Completed { .. } | Failed { .. } | Cancelled => {
                Step::stay(vec![])
            }
            New | Validating => return Err(illegal()),
        },
        BatchEvent::Assign => match &batch.state {
            Scheduling => {
                Step::change(batch.clone().enter(Scheduled, stamp, None), vec![BatchEffect::Dispatch])
            }
            Scheduled => Step::stay(vec![BatchEffect::Dispatch]),
            InProgress { .. } | Completed { .. } | Failed { .. } | Cancelled => Step::stay(vec![]),
            New | Validating | WaitingForScheduling => return Err(illegal()),
        },
        BatchEvent::Claim { agent, max_attempts } => match &batch.state {
            Scheduled | InProgress { .. } => {
                if batch.attempts >= *max_attempts {
                    let last = lost(batch.claim(), batch.last_error.as_deref());
                    let reason = format!("gave up after {} attempts; the last: {last}", batch.attempts);
                    batch.clone().end_by_agent(Failed { reason: reason.clone() }, stamp, Some(reason))
                } else {
                    let mut next = batch.clone();
                    next.attempts += 1;
                    let claim = Claim { agent: agent.clone(), attempt: next.attempts };
                    Step::change(next.enter(InProgress { claim }, stamp, None), vec![])
                }
            }
            Completed { .. } | Failed { .. } | Cancelled => Step::stay(vec![BatchEffect::Report]),
            New | Validating | WaitingForScheduling | Scheduling => return Err(illegal()),
        },
        BatchEvent::GiveBack { claim, error } => {
            if !batch.is_claimed_by(claim) {
                return Err(lease_lost());
            }
            let mut next = batch.clone();
            match error {
                Some(error) => next.last_error = Some(error.clone()),
                None => next.attempts -= 1,
            }
            Step::change(next.enter(Scheduled, stamp, error.clone()), vec![])
        }
        BatchEvent::Finish { claim, report } => match &batch.state {
            InProgress { claim: held } if held == claim => {
                batch.clone().end_by_agent(Completed { report: report.clone() }, stamp, None)
            }
            Completed { .. } => Step::stay(vec![BatchEffect::Report]),
            New
            | Validating
            | WaitingForScheduling
            | Scheduling
            | Scheduled
            | InProgress { .. }
            | Failed { .. }
            | Cancelled => return Err(lease_lost()),
        },
        BatchEvent::Fail { claim, reason } => {
            if !batch.is_claimed_by(claim) {
                return Err(lease_lost());
            }
            batch.clone().end_by_agent(Failed { reason: reason.clone() }, stamp, Some(reason.clone()))
        }
        BatchEvent::Settle => match &batch.state {
            Completed { .. } | Failed { .. } | Cancelled => Step::stay(batch.owed()),
            New | Validating | WaitingForScheduling | Scheduling | Scheduled | InProgress { .. } => {
                return Err(illegal());
            }
        },
        BatchEvent::Cancel => match &batch.state {
            New | Validating | WaitingForScheduling | Scheduling | Scheduled | InProgress { .. } => {
                batch.clone().end(Cancelled, stamp, None)
            }
            Completed { .. } | Failed { .. } | Cancelled => Step::stay(batch.owed()),
        },
    })
}
