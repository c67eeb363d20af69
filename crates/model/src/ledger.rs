//! The ledger of one repository's commits: which are scanned, which wait.
//!
//! A repository has one head, written with compare-and-set, which lists its segments. A segment holds the ids of the
//! commits of one batch and never changes, so it may be cached for ever; the state of its commits stands in the head.
//! A commit is in at most one segment of the head: that is what makes a scan happen once.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::ids::{CommitId, Timestamp};
use crate::lifecycle::BatchKey;

/// The state of the commits of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitState {
    /// Admitted; a batch that holds them is in flight.
    WaitingForScan,
    /// Scanned.
    Scanned,
}

/// A segment, as the head lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// The batch that scans its commits.
    pub batch: BatchKey,
    /// The key of its ids in the `history` bucket, after the repository's prefix.
    pub key: String,
    /// How many commits it holds.
    pub commits: u64,
    /// Their state.
    pub state: CommitState,
    /// The version of the rules they were scanned with; empty before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule_set: String,
    /// When the state changed last.
    pub at: Timestamp,
}

/// The head of a repository's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// All segments, in the order of admission.
    pub segments: Vec<Segment>,
}

impl Head {
    /// The segment of a batch.
    pub fn segment(&self, batch: &BatchKey) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.batch == *batch)
    }

    /// Adds the segment of a batch that has none yet.
    pub fn admit(&mut self, segment: Segment) {
        debug_assert!(self.segment(&segment.batch).is_none(), "a batch is admitted once");
        self.segments.push(segment);
    }

    /// Marks the commits of a batch as scanned; `false` when there is nothing to change.
    pub fn mark_scanned(&mut self, batch: &BatchKey, rule_set: &str, now: Timestamp) -> bool {
        match self.segments.iter_mut().find(|segment| segment.batch == *batch) {
            Some(segment) if segment.state == CommitState::WaitingForScan => {
                segment.state = CommitState::Scanned;
                rule_set.clone_into(&mut segment.rule_set);
                segment.at = now;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Makes the commits of a batch unknown again, unless they were scanned. Gives the segment that was removed.
    pub fn release(&mut self, batch: &BatchKey) -> Option<Segment> {
        let index = self
            .segments
            .iter()
            .position(|segment| segment.batch == *batch && segment.state == CommitState::WaitingForScan)?;
        Some(self.segments.remove(index))
    }

    /// How many commits are in a state.
    pub fn count(&self, state: CommitState) -> u64 {
        self.segments.iter().filter(|segment| segment.state == state).map(|segment| segment.commits).sum()
    }
}

/// Those of the offered commits that no segment holds: sorted, each once.
pub fn unknown(offered: &[CommitId], known: &HashSet<CommitId>) -> Vec<CommitId> {
    let mut ids: Vec<CommitId> = offered.iter().copied().filter(|id| !known.contains(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
