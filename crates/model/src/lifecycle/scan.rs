//! The life of a repository scan request.

mod event;
mod purpose;
mod state;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use event::{ScanEffect, ScanEvent};
pub use purpose::{Purpose, Rescan};
pub use state::{BatchOutcome, Listing, ScanState, ScanTotals};

use super::{
    Claim, MAX_PUSHES, OnUnknown, Priority, Push, ScheduledRun, Stamp, Step, StepError, TrailEntry, lost,
};
use crate::ids::{BatchId, IdError, RepositoryId, RequestId};
use crate::rules::ChosenRules;

/// A repository scan request, as the `requests` bucket keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryScan {
    /// The id.
    pub id: RequestId,
    /// The repository; `None` until the request is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryId>,
    /// What to fetch; empty until the request is accepted.
    pub uri: String,
    /// The refs to scan; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<String>,
    /// The pushes that it scans, and nothing else, when there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pushes: Vec<Push>,
    /// The run of a schedule that it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<ScheduledRun>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Purpose::is_scan")]
    pub purpose: Purpose,
    /// The urgency.
    pub priority: Priority,
    /// Who asked, as they say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requester: String,
    /// Where it stands.
    pub state: ScanState,
    /// How many claims there were.
    pub attempts: u32,
    /// Why the last attempt ended without success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What listing the history found, once it is compared with the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Listing>,
    /// Every batch it created, and how each ended. A set, not a counter: telling twice is telling once.
    #[serde(default)]
    pub batches: BTreeMap<BatchId, BatchOutcome>,
    /// Every state it was in.
    pub trail: Vec<TrailEntry>,
}

impl RepositoryScan {
    /// A new request.
    pub fn new(
        id: RequestId,
        refs: Vec<String>,
        priority: Priority,
        requester: String,
        stamp: Stamp<'_>,
    ) -> Self {
        Self {
            id,
            repository: None,
            uri: String::new(),
            refs,
            pushes: Vec::new(),
            scheduled: None,
            purpose: Purpose::Scan,
            priority,
            requester,
            state: ScanState::New,
            attempts: 0,
            last_error: None,
            found: None,
            batches: BTreeMap::new(),
            trail: vec![stamp.entry("New", 0, None)],
        }
    }

    /// The same as the run of a schedule.
    #[must_use]
    pub fn of(mut self, run: ScheduledRun) -> Self {
        self.scheduled = Some(run);
        self
    }

    /// Whether it has scanned all that its repository held.
    pub fn is_whole(&self) -> bool {
        let is_scanning = self.scheduled.as_ref().is_none_or(|run| run.on_unknown != OnUnknown::Alert);
        self.state == ScanState::Completed && self.purpose.is_scan() && self.lists_everything() && is_scanning
    }

    /// The hash of the refs that its repository had, if nothing that these reach is left to scan: what it found unknown it has
    /// scanned itself, unless it was to scan nothing. Another request that had it in flight may have failed since.
    pub fn settled_refs(&self) -> Option<&str> {
        let found = self.found.as_ref().filter(|_| self.state == ScanState::Completed)?;
        let is_alert = self.scheduled.as_ref().is_some_and(|run| run.on_unknown == OnUnknown::Alert);
        let is_settled = is_alert || self.totals().commits == found.unknown;
        found.refs.as_deref().filter(|_| is_settled)
    }

    /// Whether it is about all that any ref reaches.
    pub fn lists_everything(&self) -> bool {
        self.refs.is_empty() && self.pushes.is_empty()
    }

    /// Whether a batch has not ended.
    pub fn has_open_batches(&self) -> bool {
        self.batches.values().any(|outcome| *outcome == BatchOutcome::Open)
    }

    /// The sums over its batches.
    pub fn totals(&self) -> ScanTotals {
        let mut totals = ScanTotals { batches: self.batches.len() as u64, ..ScanTotals::default() };
        for outcome in self.batches.values() {
            match outcome {
                BatchOutcome::Open => continue,
                BatchOutcome::Completed { commits, blobs, bytes, findings, not_scanned } => {
                    totals.commits += commits;
                    totals.blobs += blobs;
                    totals.bytes += bytes;
                    totals.findings += findings;
                    totals.not_scanned += not_scanned;
                }
                BatchOutcome::Failed { .. } | BatchOutcome::Cancelled => {}
            }
            totals.ended += 1;
        }
        totals
    }

    /// The claim of the agent that works on it, or has listed it.
    pub fn claim(&self) -> Option<&Claim> {
        match &self.state {
            ScanState::InProgress { claim, .. } => Some(claim),
            ScanState::New
            | ScanState::Validating
            | ScanState::Queued
            | ScanState::Scheduling
            | ScanState::Scheduled
            | ScanState::Completed
            | ScanState::Failed { .. }
            | ScanState::Cancelled => None,
        }
    }

    /// Whether this claim is the current one, for work that is not listed yet.
    pub fn is_claimed_by(&self, claim: &Claim) -> bool {
        matches!(&self.state, ScanState::InProgress { claim: held, is_listed: false } if held == claim)
    }

    /// The number of the latest claim: no two claims of a request have the same, and a later one has a greater. The ids
    /// of the batches that a claim cuts begin with it, so nothing is ever stored under a name that another claim uses.
    pub fn fence(&self) -> usize {
        self.trail.iter().rposition(|entry| entry.state == "InProgress").map_or(0, |index| index + 1)
    }

    /// Whether there was a claim before the latest. Attempts don't tell: a claim that is given back may not count as one.
    pub fn was_claimed_before(&self) -> bool {
        self.trail.iter().filter(|entry| entry.state == "InProgress").count() > 1
    }

    /// The id of a batch that the latest claim cuts; `content` tells its batches apart.
    ///
    /// # Errors
    /// [`IdError`] when the content can't be part of an id.
    pub fn batch_id(&self, content: &str) -> Result<BatchId, IdError> {
        BatchId::parse(&format!("{}-{content}", self.fence()))
    }

    /// Whether nobody will ever need the pack of this batch: it has ended, or it was never told to this request and can't
    /// be any more.
    pub fn is_stray(&self, batch: &BatchId) -> bool {
        match self.batches.get(batch) {
            Some(outcome) => *outcome != BatchOutcome::Open,
            None if self.state.is_terminal() => true,
            None => {
                let fence = batch.as_str().split_once('-').and_then(|(fence, _)| fence.parse::<usize>().ok());
                fence.is_some_and(|fence| fence < self.fence())
            }
        }
    }

    /// The pushes that are not among its own.
    fn news(&self, pushes: &[Push]) -> Vec<Push> {
        let mut news: Vec<Push> = Vec::new();
        for push in pushes {
            if !self.pushes.contains(push) && !news.contains(push) {
                news.push(push.clone());
            }
        }
        news
    }

    fn join(mut self, pushes: Vec<Push>, stamp: Stamp<'_>) -> Self {
        let (state, note) = (self.state.clone(), super::push::describe(&pushes));
        self.pushes.extend(pushes);
        self.enter(state, stamp, Some(note))
    }

    fn enter(mut self, state: ScanState, stamp: Stamp<'_>, note: Option<String>) -> Self {
        self.trail.push(stamp.entry(state.name(), self.attempts, note));
        self.state = state;
        self
    }

    /// What the end still owes to the world.
    fn owed(&self) -> Vec<ScanEffect> {
        match &self.state {
            ScanState::New
            | ScanState::Validating
            | ScanState::Queued
            | ScanState::Scheduling
            | ScanState::Scheduled
            | ScanState::InProgress { .. } => vec![],
            ScanState::Completed => match &self.purpose {
                Purpose::Rescan(rescan) => {
                    vec![ScanEffect::ReleaseFetch, ScanEffect::EndRescan(rescan.clone())]
                }
                Purpose::Scan | Purpose::Verify => vec![ScanEffect::ReleaseFetch],
            },
            // Refused at the door: the refused message itself is the dead letter.
            ScanState::Failed { .. } if self.repository.is_none() => vec![],
            ScanState::Failed { reason } => vec![
                ScanEffect::ReleaseFetch,
                ScanEffect::CancelBatches,
                ScanEffect::DeadLetter { reason: reason.clone() },
            ],
            ScanState::Cancelled => vec![ScanEffect::ReleaseFetch, ScanEffect::CancelBatches],
        }
    }

    /// An end that the controller brings about, which does all that follows.
    fn end(self, state: ScanState, stamp: Stamp<'_>, note: Option<String>) -> Step<Self, ScanEffect> {
        let next = self.enter(state, stamp, note);
        let effects = next.owed();
        Step::change(next, effects)
    }

    /// Ends the request if its listing is done and no batch is open.
    fn end_if_done(self, stamp: Stamp<'_>) -> Step<Self, ScanEffect> {
        let is_listed = matches!(self.state, ScanState::InProgress { is_listed: true, .. });
        if !is_listed || self.has_open_batches() {
            return Step::change(self, vec![]);
        }
        let failures: Vec<&String> = self
            .batches
            .values()
            .filter_map(|outcome| match outcome {
                BatchOutcome::Failed { reason } => Some(reason),
                BatchOutcome::Open | BatchOutcome::Completed { .. } | BatchOutcome::Cancelled => None,
            })
            .collect();
        match failures.first() {
            None => self.end(ScanState::Completed, stamp, None),
            Some(first) => {
                let reason = format!(
                    "{} of {} batches failed; the first: {first}",
                    failures.len(),
                    self.batches.len()
                );
                self.end(ScanState::Failed { reason: reason.clone() }, stamp, Some(reason))
            }
        }
    }
}

/// Moves a repository scan request on. The only place where its state changes.
///
/// # Errors
/// [`StepError::LeaseLost`] when the caller's claim is not the current one; [`StepError::Illegal`] when the event
/// contradicts the state.
pub fn step_scan(
    scan: &RepositoryScan,
    event: &ScanEvent,
    stamp: Stamp<'_>,
) -> Result<Step<RepositoryScan, ScanEffect>, StepError> {
    use ScanState::{
        Cancelled, Completed, Failed, InProgress, New, Queued, Scheduled, Scheduling, Validating,
    };
    let illegal = || StepError::Illegal { state: scan.state.name(), event: event.name() };
    let lease_lost = || StepError::LeaseLost { state: scan.state.name().to_owned() };
    Ok(match event {
        ScanEvent::StartValidation => match &scan.state {
            New => Step::change(scan.clone().enter(Validating, stamp, None), vec![]),
            Validating
            | Queued
            | Scheduling
            | Scheduled
            | InProgress { .. }
            | Completed
            | Failed { .. }
            | Cancelled => Step::stay(vec![]),
        },
        ScanEvent::Refuse { reason } => match &scan.state {
            New | Validating => {
                scan.clone().end(Failed { reason: reason.clone() }, stamp, Some(reason.clone()))
            }
            Failed { .. } | Cancelled => Step::stay(scan.owed()),
            Queued | Scheduling | Scheduled | InProgress { .. } | Completed => return Err(illegal()),
        },
        ScanEvent::Aim { purpose } => match &scan.state {
            Validating if scan.purpose == *purpose => Step::stay(vec![]),
            Validating => Step::change(RepositoryScan { purpose: purpose.clone(), ..scan.clone() }, vec![]),
            Queued | Scheduling | Scheduled | InProgress { .. } | Completed | Failed { .. } | Cancelled => {
                Step::stay(vec![])
            }
            New => return Err(illegal()),
        },
        ScanEvent::Accept { repository, uri } => match &scan.state {
            Validating => {
                let mut next = scan.clone();
                next.repository = Some(repository.clone());
                next.uri.clone_from(uri);
                Step::change(next.enter(Queued, stamp, None), vec![ScanEffect::Queue])
            }
            Queued => Step::stay(vec![ScanEffect::Queue]),
            Scheduling | Scheduled | InProgress { .. } | Completed | Failed { .. } | Cancelled => {
                Step::stay(vec![])
            }
            New => return Err(illegal()),
        },
        ScanEvent::Join { pushes } => {
            let news = scan.news(pushes);
            match &scan.state {
                // Told again: it may not have been queued yet.
                Queued if news.is_empty() => Step::stay(vec![ScanEffect::Queue]),
                Scheduling | Scheduled | InProgress { .. } | Completed | Failed { .. } | Cancelled
                    if news.is_empty() =>
                {
                    Step::stay(vec![])
                }
                // Who claims it from now on reads of the push.
                Queued | Scheduling | Scheduled if scan.pushes.len() + news.len() <= MAX_PUSHES => {
                    let effects = if scan.state == Queued { vec![ScanEffect::Queue] } else { vec![] };
                    Step::change(scan.clone().join(news, stamp), effects)
                }
                New
                | Validating
                | Queued
                | Scheduling
                | Scheduled
                | InProgress { .. }
                | Completed
                | Failed { .. }
                | Cancelled => return Err(illegal()),
            }
        }
        ScanEvent::StartScheduling => match &scan.state {
            Queued => Step::change(scan.clone().enter(Scheduling, stamp, None), vec![]),
            Scheduling | Scheduled | InProgress { .. } | Completed | Failed { .. } | Cancelled => {
                Step::stay(vec![])
            }
            New | Validating => return Err(illegal()),
        },
        ScanEvent::Assign => match &scan.state {
            Scheduling => {
                Step::change(scan.clone().enter(Scheduled, stamp, None), vec![ScanEffect::Dispatch])
            }
            Scheduled => Step::stay(vec![ScanEffect::Dispatch]),
            InProgress { .. } | Completed | Failed { .. } | Cancelled => Step::stay(vec![]),
            New | Validating | Queued => return Err(illegal()),
        },
        ScanEvent::Claim { agent, max_attempts } => match &scan.state {
            Scheduled | InProgress { is_listed: false, .. } => {
                if scan.attempts >= *max_attempts {
                    let last = lost(scan.claim(), scan.last_error.as_deref());
                    let reason = format!("gave up after {} attempts; the last: {last}", scan.attempts);
                    let next = scan.clone().enter(Failed { reason: reason.clone() }, stamp, Some(reason));
                    Step::change(next, vec![ScanEffect::Report])
                } else {
                    let mut next = scan.clone();
                    next.attempts += 1;
                    let claim = Claim { agent: agent.clone(), attempt: next.attempts };
                    Step::change(next.enter(InProgress { claim, is_listed: false }, stamp, None), vec![])
                }
            }
            InProgress { is_listed: true, .. } | Completed | Failed { .. } | Cancelled => {
                Step::stay(vec![ScanEffect::Report])
            }
            New | Validating | Queued | Scheduling => return Err(illegal()),
        },
        ScanEvent::GiveBack { claim, error } => {
            if !scan.is_claimed_by(claim) {
                return Err(lease_lost());
            }
            let mut next = scan.clone();
            match error {
                Some(error) => next.last_error = Some(error.clone()),
                None => next.attempts -= 1,
            }
            Step::change(next.enter(Scheduled, stamp, error.clone()), vec![])
        }
        ScanEvent::Compare { claim, listing } => {
            if !scan.is_claimed_by(claim) {
                return Err(lease_lost());
            }
            let mut next = scan.clone();
            next.found = Some(listing.clone());
            Step::change(next, vec![])
        }
        ScanEvent::ChooseRules { claim, from, rules } => {
            if !scan.is_claimed_by(claim) {
                return Err(lease_lost());
            }
            let Purpose::Rescan(rescan) = &scan.purpose else { return Err(illegal()) };
            let chosen = ChosenRules { rules: rules.clone(), ..rescan.chosen.clone() };
            let purpose = Purpose::Rescan(Rescan { chosen, from: from.clone() });
            Step::change(RepositoryScan { purpose, ..scan.clone() }, vec![])
        }
        ScanEvent::CutBatch { claim, batch } => {
            if !scan.is_claimed_by(claim) {
                return Err(lease_lost());
            }
            if scan.batches.contains_key(batch) {
                Step::stay(vec![])
            } else {
                let mut next = scan.clone();
                next.batches.insert(batch.clone(), BatchOutcome::Open);
                Step::change(next, vec![])
            }
        }
        ScanEvent::FinishListing { claim, listing } => match &scan.state {
            InProgress { claim: held, .. } if held != claim => return Err(lease_lost()),
            InProgress { is_listed: true, .. } | Completed => Step::stay(vec![ScanEffect::Report]),
            InProgress { is_listed: false, .. } => {
                let mut next = scan.clone();
                next.found = Some(listing.clone());
                next.state = InProgress { claim: claim.clone(), is_listed: true };
                Step { effects: vec![ScanEffect::Report], ..next.end_if_done(stamp) }
            }
            New | Validating | Queued | Scheduling | Scheduled | Failed { .. } | Cancelled => {
                return Err(lease_lost());
            }
        },
        ScanEvent::EndBatch { batch, outcome } => match &scan.state {
            // Scheduled: the batch of an attempt that gave back ends before the next attempt begins.
            Scheduled | InProgress { .. } => match scan.batches.get(batch) {
                Some(BatchOutcome::Open) | None => {
                    let mut next = scan.clone();
                    next.batches.insert(batch.clone(), outcome.clone());
                    next.end_if_done(stamp)
                }
                Some(
                    BatchOutcome::Completed { .. } | BatchOutcome::Failed { .. } | BatchOutcome::Cancelled,
                ) => Step::stay(vec![]),
            },
            // Its last batch may have ended it just before a crash.
            Failed { reason } => Step::stay(vec![ScanEffect::DeadLetter { reason: reason.clone() }]),
            Completed => Step::stay(scan.owed()),
            Cancelled => Step::stay(vec![]),
            New | Validating | Queued | Scheduling => return Err(illegal()),
        },
        ScanEvent::Fail { claim, reason } => {
            if !scan.is_claimed_by(claim) {
                return Err(lease_lost());
            }
            let next = scan.clone().enter(Failed { reason: reason.clone() }, stamp, Some(reason.clone()));
            Step::change(next, vec![ScanEffect::Report])
        }
        ScanEvent::Settle => match &scan.state {
            InProgress { is_listed: true, .. } => Step::stay(vec![ScanEffect::ReleaseFetch]),
            Completed | Failed { .. } | Cancelled => Step::stay(scan.owed()),
            New | Validating | Queued | Scheduling | Scheduled | InProgress { is_listed: false, .. } => {
                return Err(illegal());
            }
        },
        ScanEvent::Cancel { requester } => match &scan.state {
            New | Validating | Queued | Scheduling | Scheduled | InProgress { .. } => {
                scan.clone().end(Cancelled, stamp, Some(format!("by {requester}")))
            }
            Cancelled => Step::stay(scan.owed()),
            Completed | Failed { .. } => return Err(illegal()),
        },
    })
}
