//! The ledger of one repository's commits: which are scanned, which wait.
//!
//! A repository has one head, written with compare-and-set, which lists its segments. A segment holds the ids of the
//! commits of one batch and never changes, so it may be cached for ever; the state of its commits stands in the head.
//! A commit is in at most one segment of the head: that is what makes a scan happen once. Small segments that are scanned
//! are merged, so that the head stays small, however often a repository is scanned. What is taken out of a segment leaves
//! a new one with the rest in its place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{CommitId, Timestamp};
use crate::lifecycle::BatchKey;

/// The state of the commits of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CommitState {
    /// Admitted; a batch that holds them is in flight.
    WaitingForScan,
    /// Scanned.
    Scanned,
}

impl CommitState {
    /// The name, as records write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaitingForScan => "WaitingForScan",
            Self::Scanned => "Scanned",
        }
    }
}

/// A segment, as the head lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// The batch that scans its commits; of a merged segment, the last of its batches.
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

/// What is taken out of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The key of the segment.
    pub key: String,
    /// The key of what is left of it, and how many commits that are; `None` when nothing is.
    pub rest: Option<(String, u64)>,
}

/// The commits of a ledger that share their state and their rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// Their state.
    pub state: CommitState,
    /// The version of the rules they were scanned with; empty before.
    pub rule_set: String,
    /// How many there are.
    pub commits: u64,
    /// When the first of them came into this state.
    pub oldest: Timestamp,
    /// When the last of them did.
    pub newest: Timestamp,
}

/// The head of a repository's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// All segments, in the order of admission.
    pub segments: Vec<Segment>,
    /// The keys of the segments that others took the place of last, which may still be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
}

/// Commits in a merged segment at most: with ids of 32 bytes it fits into a message of a megabyte, which is what a
/// nats-server takes that nobody configured.
const MAX_MERGED: u64 = 25_000;
/// So many small segments are merged even if they hold few commits.
const MANY: usize = 32;

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

    /// Makes commits unknown again, so that they are scanned again; gives how many. What is in flight can't be forgotten:
    /// its batch comes back, and nothing is changed.
    ///
    /// # Errors
    /// The batch that has some of the commits in flight.
    pub fn forget(&mut self, cuts: &[Cut]) -> Result<u64, BatchKey> {
        let is_cut = |segment: &&Segment| cuts.iter().any(|cut| cut.key == segment.key);
        let in_flight = |segment: &&Segment| segment.state == CommitState::WaitingForScan;
        if let Some(segment) = self.segments.iter().filter(is_cut).find(in_flight) {
            return Err(segment.batch.clone());
        }
        Ok(self.cut(cuts))
    }

    /// Takes commits out of segments; gives how many.
    fn cut(&mut self, cuts: &[Cut]) -> u64 {
        let mut taken = 0;
        self.segments.retain_mut(|segment| {
            let Some(cut) = cuts.iter().find(|cut| cut.key == segment.key) else { return true };
            taken += segment.commits;
            let Some((key, commits)) = &cut.rest else { return false };
            taken -= commits;
            (segment.key, segment.commits) = (key.clone(), *commits);
            true
        });
        self.merged = cuts.iter().map(|cut| cut.key.clone()).collect();
        taken
    }

    /// How many commits there are by state and rules, those that wait first.
    pub fn totals(&self) -> Vec<Total> {
        let mut totals: BTreeMap<(CommitState, &str), Total> = BTreeMap::new();
        for Segment { state, rule_set, commits, at, .. } in &self.segments {
            let total = totals.entry((*state, rule_set)).or_insert_with(|| Total {
                state: *state,
                rule_set: rule_set.clone(),
                commits: 0,
                oldest: *at,
                newest: *at,
            });
            total.commits += commits;
            (total.oldest, total.newest) = (total.oldest.min(*at), total.newest.max(*at));
        }
        totals.into_values().collect()
    }

    /// Segments to put together, in their order: small, scanned, with the same rules; none while it is not worth it.
    pub fn mergeable(&self) -> Vec<Segment> {
        let is_small =
            |segment: &&Segment| segment.state == CommitState::Scanned && segment.commits <= MAX_MERGED / 2;
        let mut groups: BTreeMap<&str, (Vec<&Segment>, u64)> = BTreeMap::new();
        for segment in self.segments.iter().filter(is_small) {
            let (group, commits) = groups.entry(&segment.rule_set).or_default();
            // Full: what comes of it is not small.
            if *commits + segment.commits > MAX_MERGED {
                return group.iter().copied().cloned().collect();
            }
            group.push(segment);
            *commits += segment.commits;
            if group.len() >= MANY {
                return group.iter().copied().cloned().collect();
            }
        }
        Vec::new()
    }

    /// Puts one segment with this key in the place of several, which must be those of [`Head::mergeable`].
    pub fn merge(&mut self, parts: &[Segment], key: String) {
        let Some(last) = parts.last() else { return };
        let merged = Segment {
            key,
            commits: parts.iter().map(|part| part.commits).sum(),
            at: parts.iter().map(|part| part.at).max().unwrap_or(last.at),
            ..last.clone()
        };
        self.segments.retain_mut(|segment| {
            if segment.key == last.key {
                segment.clone_from(&merged);
                return true;
            }
            !parts.iter().any(|part| part.key == segment.key)
        });
        self.merged = parts.iter().map(|part| part.key.clone()).collect();
    }

    /// How many commits are in a state.
    pub fn count(&self, state: CommitState) -> u64 {
        self.segments.iter().filter(|segment| segment.state == state).map(|segment| segment.commits).sum()
    }
}

/// Sorted, each once.
pub fn sorted(ids: &[CommitId]) -> Vec<CommitId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Drops those commits that a segment holds. Both are sorted.
pub fn drop_known(ids: &mut Vec<CommitId>, segment: &[CommitId]) {
    let mut rest = segment;
    ids.retain(|id| {
        // Both are spread evenly, so the next is near: look in steps that double.
        let mut bound = 1;
        while rest.get(bound).is_some_and(|known| known < id) {
            bound *= 2;
        }
        let near = &rest[..rest.len().min(bound + 1)];
        rest = &rest[near.partition_point(|known| known < id)..];
        rest.first() != Some(id)
    });
}

/// All commits of a ledger. Sorted, with the places where the first two bytes change: half the memory of a hash table,
/// and filled from sorted segments in a fraction of its time.
#[derive(Debug, Default)]
pub struct KnownCommits {
    ids: Vec<CommitId>,
    /// Where the ids begin whose first two bytes are this number, and one more: the end.
    starts: Vec<usize>,
}

impl From<Vec<CommitId>> for KnownCommits {
    fn from(mut ids: Vec<CommitId>) -> Self {
        // Not unstable: this sort merges what is sorted in parts.
        ids.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        ids.dedup();
        let mut starts = vec![0; PREFIXES + 1];
        for id in &ids {
            starts[prefix(id) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Self { ids, starts }
    }
}

impl KnownCommits {
    /// Whether the ledger knows the commit: scanned, or in flight.
    pub fn contains(&self, id: &CommitId) -> bool {
        let at = prefix(id);
        let (Some(start), Some(end)) = (self.starts.get(at), self.starts.get(at + 1)) else { return false };
        self.ids[*start..*end].binary_search_by(|known| known.as_bytes().cmp(id.as_bytes())).is_ok()
    }

    /// How many commits the ledger knows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether the ledger knows none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// How many numbers two bytes can be.
const PREFIXES: usize = 1 << 16;

fn prefix(id: &CommitId) -> usize {
    id.as_bytes().iter().take(2).fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, last: u8) -> CommitId {
        let mut bytes = [0; 20];
        (bytes[0], bytes[19]) = (first, last);
        CommitId::from_bytes(&bytes).unwrap()
    }

    #[test]
    fn known_commits_are_found_and_others_are_not() {
        let known = KnownCommits::from(vec![id(255, 1), id(0, 0), id(7, 3), id(7, 1), id(7, 3)]);
        assert_eq!(known.len(), 4);
        assert!([id(0, 0), id(7, 1), id(7, 3), id(255, 1)].iter().all(|id| known.contains(id)));
        assert!(![id(0, 1), id(7, 2), id(8, 1), id(255, 0)].iter().any(|id| known.contains(id)));
        assert!(!KnownCommits::default().contains(&id(0, 0)));
    }

    #[test]
    fn segments_are_merged_when_they_are_full_or_many() {
        let mut head = Head::default();
        let push = |head: &mut Head, number: usize, commits: u64| {
            let batch =
                BatchKey { request: "r".parse().unwrap(), batch: format!("b{number}").parse().unwrap() };
            let (key, at, rule_set) = (number.to_string(), Timestamp(number as i64), String::new());
            let state = CommitState::WaitingForScan;
            head.admit(Segment { batch: batch.clone(), key, commits, state, rule_set, at });
            head.mark_scanned(&batch, "v", at);
        };
        for number in 0..12 {
            push(&mut head, number, 2_000);
            assert!(head.mergeable().is_empty(), "neither full nor many");
        }
        push(&mut head, 12, 2_000);
        let parts = head.mergeable();
        assert_eq!(parts.len(), 12);
        head.merge(&parts, "merged".into());
        assert_eq!(head.segments.iter().map(|part| part.commits).collect::<Vec<_>>(), [24_000, 2_000]);
        assert_eq!((head.segments[0].at, head.merged.len()), (Timestamp(11), 12));
        for number in 13..43 {
            push(&mut head, number, 1);
            assert!(head.mergeable().is_empty(), "what is full stays");
        }
        push(&mut head, 43, 1);
        assert_eq!(head.mergeable().len(), 32);
    }
}
