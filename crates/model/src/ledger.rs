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
use crate::lifecycle::{BatchKey, Rescan};
use crate::rules::RuleChange;

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
    /// Whether its batch, which is in flight, scans commits again that are scanned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_rescanned: bool,
    /// The version of the rules they were scanned with; empty before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule_set: String,
    /// When the state changed last.
    pub at: Timestamp,
}

impl Segment {
    /// Whether a batch that is in flight holds its commits.
    pub fn is_in_flight(&self) -> bool {
        self.state == CommitState::WaitingForScan || self.is_rescanned
    }

    /// Whether its commits were scanned with another version than this one, and no batch scans them again.
    pub fn is_outdated(&self, rule_set: &str) -> bool {
        !self.is_in_flight() && self.rule_set != rule_set
    }
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
    /// When the whole ledger came to be scanned with another version of the rules: the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<RuleChange>,
}

/// Commits in a merged segment at most: with ids of 32 bytes it fits into a message of a megabyte, which is what a
/// nats-server takes that nobody configured.
const MAX_MERGED: u64 = 25_000;
/// So many changes of the rules are kept.
const MAX_CHANGES: usize = 100;
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
            Some(segment) if segment.is_in_flight() => {
                (segment.state, segment.is_rescanned) = (CommitState::Scanned, false);
                rule_set.clone_into(&mut segment.rule_set);
                segment.at = now;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Ends a batch without a scan: its commits are unknown again, and those that it was to scan again stay scanned as they
    /// were. Gives its segment as it was, if there is something to change.
    pub fn release(&mut self, batch: &BatchKey) -> Option<Segment> {
        let is_its = |segment: &Segment| segment.batch == *batch && segment.is_in_flight();
        let index = self.segments.iter().position(is_its)?;
        let segment = self.segments[index].clone();
        match segment.state {
            CommitState::WaitingForScan => drop(self.segments.remove(index)),
            CommitState::Scanned => self.segments[index].is_rescanned = false,
        }
        Some(segment)
    }

    /// Moves commits that are scanned out of other segments into that of a batch that scans them again.
    pub fn admit_again(&mut self, cuts: &[Cut], segment: Segment) {
        debug_assert!(segment.is_rescanned && segment.state == CommitState::Scanned);
        self.cut(cuts);
        self.admit(segment);
    }

    /// Ends a rescan whose batches are all scanned. Where no rule had to run, what the older versions had scanned counts as
    /// scanned with the new one. Where rules ran, what is left of it no ref reaches any more, so they could not run there:
    /// it is unknown again, and scanned in whole should it come back. Gives the keys of the segments that are gone; `None`
    /// when there is nothing to change.
    pub fn end_rescan(&mut self, rescan: &Rescan, now: Timestamp) -> Option<Vec<String>> {
        let rule_set = &rescan.chosen.rule_set;
        let is_left =
            |segment: &Segment| segment.is_outdated(rule_set) && rescan.from.contains(&segment.rule_set);
        let has_run = rescan.chosen.rules.as_ref().is_none_or(|rules| !rules.is_empty());
        let (mut gone, mut is_changed) = (Vec::new(), false);
        self.segments.retain_mut(|segment| {
            if !is_left(segment) {
                return true;
            }
            is_changed = true;
            if has_run {
                gone.push(segment.key.clone());
                return false;
            }
            (segment.rule_set, segment.at) = (rule_set.clone(), now);
            true
        });
        self.merged.extend(gone.iter().cloned());
        let mut scanned = self.segments.iter().filter(|segment| segment.state == CommitState::Scanned);
        if scanned.all(|segment| segment.rule_set == *rule_set)
            && self.changes.last().is_none_or(|change| change.rule_set != *rule_set)
        {
            is_changed = true;
            self.changes.push(RuleChange { rule_set: rule_set.clone(), at: now });
            self.changes.drain(..self.changes.len().saturating_sub(MAX_CHANGES));
        }
        is_changed.then_some(gone)
    }

    /// Makes commits unknown again, so that they are scanned again; gives how many. What is in flight can't be forgotten:
    /// its batch comes back, and nothing is changed.
    ///
    /// # Errors
    /// The batch that has some of the commits in flight.
    pub fn forget(&mut self, cuts: &[Cut]) -> Result<u64, BatchKey> {
        let is_cut = |segment: &&Segment| cuts.iter().any(|cut| cut.key == segment.key);
        if let Some(segment) = self.segments.iter().filter(is_cut).find(|segment| segment.is_in_flight()) {
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
        let is_small = |segment: &&Segment| !segment.is_in_flight() && segment.commits <= MAX_MERGED / 2;
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

    /// Whether all are of the object format of this commit.
    pub fn are_of_format_of(&self, id: &CommitId) -> bool {
        self.ids.iter().all(|known| known.is_of_format_of(id))
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
    use crate::rules::ChosenRules;

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

        let long = CommitId::from_bytes(&[7; 32]).unwrap();
        assert!(known.are_of_format_of(&id(9, 9)) && !known.are_of_format_of(&long));
        assert!(KnownCommits::default().are_of_format_of(&long));
    }

    #[test]
    fn the_end_of_a_rescan_leaves_nothing_of_the_older_versions() {
        let segment = |name: &str, rule_set: &str, is_rescanned| Segment {
            batch: format!("r.{name}").parse().unwrap(),
            key: name.to_owned(),
            commits: 1,
            state: CommitState::Scanned,
            is_rescanned,
            rule_set: rule_set.to_owned(),
            at: Timestamp(1),
        };
        let parts = [segment("old", "v1", false), segment("busy", "v1", true), segment("new", "v2", false)];
        let head = Head { segments: parts.to_vec(), ..Head::default() };
        let rescan =
            |rules| Rescan { chosen: ChosenRules { rule_set: "v2".into(), rules }, from: vec!["v1".into()] };
        let (none, some) = (rescan(Some(vec![])), rescan(None));

        // No rule had to run: what is not in another batch counts as scanned.
        let mut moved = head.clone();
        assert_eq!(moved.end_rescan(&none, Timestamp(2)), Some(vec![]));
        assert_eq!(moved.segments[0], Segment { at: Timestamp(2), ..segment("old", "v2", false) });
        assert_eq!(moved.changes, [], "some are still being scanned again");
        assert_eq!(moved.end_rescan(&none, Timestamp(3)), None, "it repeats safely");

        // Rules ran, and not over this.
        let mut left = head.clone();
        assert_eq!(left.end_rescan(&some, Timestamp(2)), Some(vec!["old".to_owned()]));
        assert_eq!(left.segments, parts[1..]);
        left.mark_scanned(&parts[1].batch, "v2", Timestamp(3));
        assert_eq!(left.end_rescan(&some, Timestamp(4)), Some(vec![]));
        assert_eq!(left.changes, [RuleChange { rule_set: "v2".into(), at: Timestamp(4) }]);
        assert_eq!(left.end_rescan(&some, Timestamp(5)), None);

        // A batch that fails leaves its commits as they were.
        let mut failed = head;
        assert_eq!(failed.release(&parts[1].batch), Some(parts[1].clone()));
        assert_eq!(failed.segments[1], segment("busy", "v1", false));
    }

    #[test]
    fn segments_are_merged_when_they_are_full_or_many() {
        let mut head = Head::default();
        let push = |head: &mut Head, number: usize, commits: u64| {
            let batch =
                BatchKey { request: "r".parse().unwrap(), batch: format!("b{number}").parse().unwrap() };
            let (key, at, rule_set) = (number.to_string(), Timestamp(number as i64), String::new());
            let state = CommitState::WaitingForScan;
            let is_rescanned = false;
            head.admit(Segment { batch: batch.clone(), key, commits, state, is_rescanned, rule_set, at });
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
