//! Rows of bytes of one kind that every match of a pattern contains, such as 32 hexadecimal digits: where no such row is
//! near, the regex need not run.

use std::ops::Range;

use regex_syntax::hir::{Hir, HirKind};

use crate::byte_set::ByteSet;

/// A row must cut down the candidates by so many bits: others are everywhere.
const MIN_SCORE: f64 = 5.0;
/// So many rows are looked for.
const MAX_RUNS: usize = 3;

/// A row of bytes that is in every match.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Run {
    bytes: ByteSet,
    len: usize,
    /// The fewest bytes of the match before it.
    min_before: usize,
    /// The most bytes of the match before it.
    max_before: usize,
}

impl Run {
    /// The rows of different parts of the pattern that tell the most, as far as they are worth a look.
    ///
    /// Every repetition in `hir` must have an upper limit.
    pub(crate) fn all_of(hir: &Hir) -> Vec<Self> {
        let mut rows = match hir.kind() {
            HirKind::Capture(capture) => return Self::all_of(&capture.sub),
            HirKind::Concat(subs) => rows_of_concat(subs),
            _ => best(hir).map(|run| (0..1, run)).into_iter().collect(),
        };
        rows.retain(|(_, run)| run.score() >= MIN_SCORE);
        rows.sort_by(|(_, a), (_, b)| b.score().total_cmp(&a.score()));
        let mut chosen: Vec<(Range<usize>, Self)> = Vec::new();
        for (parts, run) in rows {
            let overlaps =
                |(other, _): &(Range<usize>, Self)| parts.start < other.end && other.start < parts.end;
            if chosen.len() < MAX_RUNS && !chosen.iter().any(overlaps) {
                chosen.push((parts, run));
            }
        }
        chosen.into_iter().map(|(_, run)| run).collect()
    }

    /// Whether a match that starts at `first..=last` could contain such a row.
    pub(crate) fn may_be_in(&self, content: &[u8], first: usize, last: usize) -> bool {
        let end = content.len().min(self.end_of_last(last));
        let mut at = first + self.min_before;
        // A byte of another kind rules out all rows that would contain it, so most bytes are not looked at.
        while at + self.len <= end {
            match content[at..at + self.len].iter().rposition(|byte| !self.bytes.has(*byte)) {
                Some(other) => at += other + 1,
                None => return true,
            }
        }
        false
    }

    /// Where such a row ends at the latest, in a match that starts at `last`.
    pub(crate) fn end_of_last(&self, last: usize) -> usize {
        last + self.max_before + self.len
    }

    /// By how many bits it cuts down the candidates, roughly.
    fn score(&self) -> f64 {
        self.len as f64 * -self.bytes.share().log2()
    }

    fn after(mut self, min: usize, max: usize) -> Self {
        self.min_before += min;
        self.max_before = self.max_before.saturating_add(max);
        self
    }
}

fn best(hir: &Hir) -> Option<Run> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => None,
        HirKind::Literal(_) | HirKind::Class(_) => whole(hir),
        HirKind::Capture(capture) => best(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min == 0 => None,
        HirKind::Repetition(repetition) => better(whole(hir), best(&repetition.sub)),
        HirKind::Alternation(subs) => {
            let mut runs = subs.iter().map(best);
            let mut all = runs.next()??;
            for run in runs {
                let run = run?;
                all.bytes = all.bytes.union(run.bytes);
                all.len = all.len.min(run.len);
                all.min_before = all.min_before.min(run.min_before);
                all.max_before = all.max_before.max(run.max_before);
            }
            better(whole(hir), Some(all))
        }
        HirKind::Concat(subs) => rows_of_concat(subs)
            .into_iter()
            .map(|(_, run)| run)
            .fold(None, |best, run| better(best, Some(run))),
    }
}

/// The rows of each part and of each row of parts, with the parts.
fn rows_of_concat(subs: &[Hir]) -> Vec<(Range<usize>, Run)> {
    let mut rows = Vec::new();
    let (mut min_before, mut max_before) = (0, 0_usize);
    for (first, sub) in subs.iter().enumerate() {
        rows.extend(best(sub).map(|run| (first..first + 1, run.after(min_before, max_before))));
        let mut bytes = ByteSet::NONE;
        let mut len = 0;
        for (last, sub) in subs.iter().enumerate().skip(first) {
            bytes = bytes.union(ByteSet::of(sub));
            len += min_len(sub);
            if len > 0 {
                rows.push((first..last + 1, Run { bytes, len, min_before, max_before }));
            }
        }
        min_before += min_len(sub);
        max_before = max_before.saturating_add(sub.properties().maximum_len().unwrap_or(usize::MAX));
    }
    rows
}

/// All of it as one row.
fn whole(hir: &Hir) -> Option<Run> {
    let len = min_len(hir);
    (len > 0).then(|| Run { bytes: ByteSet::of(hir), len, min_before: 0, max_before: 0 })
}

fn better(one: Option<Run>, other: Option<Run>) -> Option<Run> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.score() > one.score() { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn min_len(hir: &Hir) -> usize {
    hir.properties().minimum_len().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::bound_repetitions;

    fn run(regex: &str) -> Run {
        let parsed = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(regex);
        Run::all_of(&bound_repetitions(parsed.unwrap())).remove(0)
    }

    #[test]
    fn the_row_that_tells_the_most_is_taken() {
        let of = |regex: &str| {
            let run = run(regex);
            (run.len, run.min_before, run.max_before)
        };
        assert_eq!(of(r#"name[\w .-]{0,32}["']?=["']([0-9a-f]{32})\b"#), (34, 4, 36));
        assert_eq!(of("ab(?:[0-9]{8}|x[0-9]{9}y)"), (8, 2, 3));
        assert_eq!(of("[0-9]{4}-[0-9]{4}"), (9, 0, 0));
    }

    #[test]
    fn a_row_is_found_at_every_place() {
        let run = run("k=([0-9]{4})");
        for before in 0..10 {
            let content = format!("{}k=1234{}", "-".repeat(before), "-".repeat(5));
            for first in 0..content.len() {
                let expected = (first..=content.len())
                    .any(|start| content[start.min(content.len())..].starts_with("k=1234"));
                let found = run.may_be_in(content.as_bytes(), first, content.len());
                assert!(found || !expected, "{content} from {first}");
            }
        }
        assert!(!run.may_be_in(b"k=123-k=12", 0, 10));
        assert!(!run.may_be_in(b"", 0, 0));
    }
}
