//! The life of a request, and of a finding: every legal state, and the one function of each that moves between them.
//!
//! Delivery repeats, so stepping repeats: an event whose target is the current state gives the same effects again,
//! an event that was overtaken gives none (or, when the request has ended, what its end still owes), and only a true
//! contradiction is an error. Effects carry all they need and are performed after the new record is written, so a crash
//! between the two is mended by the next delivery.

mod batch;
mod push;
mod scan;
mod schedule;
mod standing;
mod triage;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use batch::{BatchEffect, BatchEvent, BatchKey, BatchReport, BatchState, CommitBatch, step_batch};
pub use push::{MAX_PUSHES, Push};
pub use scan::{
    BatchOutcome, Listing, Purpose, RepositoryScan, Rescan, ScanEffect, ScanEvent, ScanState, ScanTotals,
    step_scan,
};
pub use schedule::{
    Due, Missed, OnUnknown, RUN_PREFIX, Run, Schedule, ScheduleEffect, ScheduleEvent, SchedulePlan,
    ScheduledRun, step_schedule,
};
pub use standing::{
    FindingState, Look, MAX_MOVES, Move, Place, Sight, Standing, Survey, Whereabouts, survey, whereabouts,
};
pub use triage::{Decision, MAX_DECISIONS, Triage, TriageError, TriageState};

use crate::ids::{AgentId, Timestamp};

/// How urgent a request is. The order is the order of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// A push happened and somebody may be waiting for the answer.
    Reactive,
    /// A person asked.
    #[default]
    OnDemand,
    /// A schedule fired.
    Scheduled,
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Self; 3] = [Self::Reactive, Self::OnDemand, Self::Scheduled];

    /// How nice its work is to other work on the same machine (setpriority(2)): when both have something to do, what is asked for
    /// gets a tenth of the processor time of what is urgent, and what is scheduled a third of that.
    pub fn niceness(self) -> i32 {
        match self {
            Self::Reactive => 0,
            Self::OnDemand => 10,
            Self::Scheduled => 15,
        }
    }

    /// The name as it stands in subjects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reactive => "reactive",
            Self::OnDemand => "on-demand",
            Self::Scheduled => "scheduled",
        }
    }
}

/// Who works on an item. The attempt makes two claims of one agent different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The agent.
    pub agent: AgentId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// One line of the trail of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailEntry {
    /// The name of the state that was entered.
    pub state: String,
    /// When.
    pub at: Timestamp,
    /// Which service or agent did it.
    pub by: String,
    /// How many claims there had been.
    pub attempt: u32,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Something that a bound or a fault kept from being scanned. Never silent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NotScanned {
    /// A path, an object id or a ref.
    pub what: String,
    /// Why not.
    pub reason: String,
}

impl NotScanned {
    /// Names at most `max` and says how many more there are: a record has a size that the server limits.
    pub fn at_most(mut all: Vec<Self>, max: usize) -> Vec<Self> {
        if all.len() > max {
            let what = format!("{} more", all.len() - max);
            all.truncate(max);
            all.push(Self { what, reason: "too many to name".into() });
        }
        all
    }
}

/// How the last attempt ended, in words: somebody still holds the claim when an agent takes over that has no attempt left.
fn lost(claim: Option<&Claim>, last_error: Option<&str>) -> String {
    match (claim, last_error) {
        (Some(claim), _) => {
            format!("its agent {} was lost, killed or out of memory as it seems", claim.agent)
        }
        (None, Some(error)) => error.to_owned(),
        (None, None) => "its agent was lost".to_owned(),
    }
}

/// What an event does to a record: the new record when it changes, and what is to be done once it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<R, E> {
    /// The record to write; `None` leaves it as it is.
    pub next: Option<R>,
    /// To be performed after the write, in this order. All of them may be repeated.
    pub effects: Vec<E>,
}

impl<R, E> Step<R, E> {
    fn change(next: R, effects: Vec<E>) -> Self {
        Self { next: Some(next), effects }
    }

    fn stay(effects: Vec<E>) -> Self {
        Self { next: None, effects }
    }
}

/// Why an event does not apply.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StepError {
    /// Somebody else holds the item now, or it has ended: stop working on it.
    #[error("the claim on this work is lost: it is {state} now")]
    LeaseLost {
        /// The state that it is in.
        state: String,
    },
    /// The event contradicts the state.
    #[error("{event} does not apply in state {state}")]
    Illegal {
        /// The state.
        state: &'static str,
        /// The event.
        event: &'static str,
    },
}

/// Everything that stamps a transition: when and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// Now.
    pub now: Timestamp,
    /// The service or agent.
    pub by: &'a str,
}

impl Stamp<'_> {
    fn entry(self, state: &str, attempt: u32, note: Option<String>) -> TrailEntry {
        TrailEntry { state: state.to_owned(), at: self.now, by: self.by.to_owned(), attempt, note }
    }
}
