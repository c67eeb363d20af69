//! Where the literals of the rules stand in a content, and what a delta of that content takes over of them.

use std::ops::Range;

use crate::decode::KnownRun;

/// A literal in a content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Landmark {
    start: usize,
    /// The number of the literal, twice, and one more when it is settled.
    pattern: u32,
}

impl Landmark {
    pub(crate) fn new(start: usize, pattern: usize) -> Self {
        Self { start, pattern: 2 * u32::try_from(pattern).expect("an automaton has fewer patterns") }
    }

    /// The same literal elsewhere.
    pub(crate) fn moved(self, start: usize, is_settled: bool) -> Self {
        Self { start, pattern: self.pattern & !1 | u32::from(is_settled) }
    }

    /// Offset of its first byte.
    pub(crate) fn start(self) -> usize {
        self.start
    }

    /// Its number in the automaton.
    pub(crate) fn pattern(self) -> usize {
        (self.pattern / 2) as usize
    }

    /// Whether it is known to stand in no match.
    pub(crate) fn is_settled(self) -> bool {
        self.pattern & 1 == 1
    }
}

/// What a scan of a content leaves for the scans of its deltas; see [`crate::Scanner::scan_delta`].
#[derive(Debug, Default)]
pub struct Landmarks {
    /// By start.
    list: Vec<Landmark>,
    /// Where the content may hold text in another form, by start.
    pub(crate) runs: Vec<KnownRun>,
    content_len: usize,
}

impl Landmarks {
    pub(crate) fn new(mut list: Vec<Landmark>, content_len: usize) -> Self {
        list.sort_unstable_by_key(|landmark| landmark.start);
        list.shrink_to_fit();
        Self { list, runs: Vec::new(), content_len }
    }

    pub(crate) fn list(&self) -> &[Landmark] {
        &self.list
    }

    pub(crate) fn content_len(&self) -> usize {
        self.content_len
    }

    /// Those that start here or later.
    pub(crate) fn from(&self, start: usize) -> &[Landmark] {
        &self.list[self.list.partition_point(|landmark| landmark.start < start)..]
    }

    /// Settles those of which this says so, by their place in the list.
    pub(crate) fn settle(&mut self, is_settled: impl Fn(usize, Landmark) -> bool) {
        for (index, landmark) in self.list.iter_mut().enumerate() {
            *landmark = landmark.moved(landmark.start, is_settled(index, *landmark));
        }
    }
}

/// Bytes that a content has in common with another one, its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Offset in the base.
    pub from: usize,
    /// Offset in the content.
    pub to: usize,
    /// How many bytes.
    pub len: usize,
}

/// A content as a row of copied and new parts.
pub(crate) struct Segments<'a> {
    copied: &'a [Copied],
    content_len: usize,
}

impl<'a> Segments<'a> {
    /// The copied parts are in the order of the content and do not overlap there.
    pub(crate) fn new(copied: &'a [Copied], content_len: usize) -> Self {
        Self { copied, content_len }
    }

    /// What is to be read to see everything that is not wholly inside one copied part: the new bytes and the seams, with
    /// a margin on both sides, where they touch as one range. `None` when that is most of the content.
    pub(crate) fn gaps(&self, margin: usize) -> Option<Vec<Range<usize>>> {
        let mut gaps: Vec<Range<usize>> = Vec::new();
        let mut add = |from: usize, to: usize| {
            let from = from.saturating_sub(margin);
            let to = self.content_len.min(to + margin);
            match gaps.last_mut() {
                Some(last) if from <= last.end => last.end = to,
                _ => gaps.push(from..to),
            }
        };
        let mut end = 0;
        for copied in self.copied {
            // The very start is no seam.
            if copied.to > 0 {
                add(end, copied.to);
            }
            end = copied.to + copied.len;
        }
        if end < self.content_len {
            add(end, self.content_len);
        }
        let to_read: usize = gaps.iter().map(ExactSizeIterator::len).sum();
        (to_read <= self.content_len / 2).then_some(gaps)
    }

    /// Whether the range lies wholly inside one copied part.
    pub(crate) fn is_copied(&self, range: &Range<usize>) -> bool {
        let after = self.copied.partition_point(|copied| copied.to <= range.start);
        after.checked_sub(1).is_some_and(|last| {
            let copied = self.copied[last];
            range.end <= copied.to + copied.len
        })
    }
}
