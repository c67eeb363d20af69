//! The runs of a content that has parts in common with another one.

use std::ops::Range;

use super::find::{encoded_runs_from, quiet_place};
use super::{Run, encoded_runs};
use crate::landmarks::Copied;

/// So far around a run the bytes decide what it is, and what its view shows: further than the longest gap between
/// escapes, and the longest line or space that is looked at after a run.
const REACH: usize = 512;

/// A run that an earlier look at the content, or at its base, found.
#[derive(Clone, Debug)]
pub(crate) struct KnownRun {
    pub(crate) run: Run,
    /// What is known when no rule finds anything in it.
    pub(crate) settled: Option<Settled>,
}

/// What is left to know of a run in which no rule finds anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It does not decode to text, or is no encoding of a whole text.
    Nothing,
    /// One word.
    Word,
    /// Words.
    Words,
}

impl From<Run> for KnownRun {
    fn from(run: Run) -> Self {
        Self { run, settled: None }
    }
}

/// All runs of the content, by start.
pub(crate) fn known_runs(content: &[u8]) -> Vec<KnownRun> {
    sorted(encoded_runs(content, 0..content.len()).into_iter().map(KnownRun::from).collect())
}

/// The same for content that consists of parts of a base, whose runs are known, and of new bytes.
pub(crate) fn known_runs_of_delta(
    content: &[u8],
    (base, base_len): (&[KnownRun], usize),
    copied: &[Copied],
) -> Vec<KnownRun> {
    // Of each copied part, in the content, where the runs are that are, with all that they depend on, in the part.
    let alike: Vec<(&Copied, Range<usize>)> = copied
        .iter()
        .map(|part| {
            let starts_alike = part.from == 0 && part.to == 0;
            let ends_alike = part.from + part.len == base_len && part.to + part.len == content.len();
            let start = part.to + if starts_alike { 0 } else { REACH };
            let end = (part.to + part.len).saturating_sub(if ends_alike { 0 } else { REACH });
            (part, start..end)
        })
        .filter(|(_, range)| !range.is_empty())
        .collect();
    let taken: usize = alike.iter().map(|(_, range)| range.len()).sum();
    if taken < content.len() / 2 {
        return known_runs(content);
    }
    let mut runs = Vec::with_capacity(base.len());
    for (part, range) in &alike {
        let start = range.start - part.to + part.from;
        let end = range.end - part.to + part.from;
        let first = base.partition_point(|known| known.run.range.start < start);
        let in_part = base[first..].iter().take_while(|known| known.run.range.start < end);
        for known in in_part.filter(|known| known.run.range.end <= end) {
            runs.push(KnownRun { run: known.run.moved(part.from, part.to), settled: known.settled });
        }
    }
    let inside = |run: &Run| {
        let after = alike.partition_point(|(_, range)| range.start <= run.range.start);
        after.checked_sub(1).is_some_and(|last| run.range.end <= alike[last].1.end)
    };
    let ends = alike.iter().map(|(_, range)| range.end);
    let starts = alike.iter().map(|(_, range)| range.start);
    // Gaps without a quiet place in between are looked at in one go, so that no byte is looked at twice.
    let mut gaps: Vec<(usize, Range<usize>)> = Vec::new();
    for (start, end) in [0].into_iter().chain(ends).zip(starts.chain([content.len()])) {
        if start == end {
            continue;
        }
        let floor = gaps.last().map_or(0, |(_, gap)| gap.end);
        match (quiet_place(content, floor, start), gaps.last_mut()) {
            (Some(quiet), _) => gaps.push((quiet, start..end)),
            (None, Some((_, gap))) => gap.end = end,
            (None, None) => gaps.push((0, start..end)),
        }
    }
    for (quiet, gap) in gaps {
        let new = encoded_runs_from(content, quiet, gap).into_iter().filter(|run| !inside(run));
        runs.extend(new.map(KnownRun::from));
    }
    sorted(runs)
}

fn sorted(mut runs: Vec<KnownRun>) -> Vec<KnownRun> {
    // A run between two gaps may be found from both.
    let key = |known: &KnownRun| (known.run.range.start, known.run.range.end, known.run.form);
    runs.sort_by_key(key);
    runs.dedup_by_key(|known| key(known));
    runs
}
