//! Where literals of the rules stand in a content, and what a delta of that content takes over of them.
//!
//! Most literals stand in no match, and what lies within [`MARGIN`] of them shows it: those are forgotten. A delta reads
//! that far on both sides of each seam, so it finds those again that might be in a match now.

use std::ops::Range;

use crate::decode::KnownRun;

/// How far around a seam a delta is read. Longer: more to read; shorter: more rules look further, and every literal of
/// those is remembered. (The contents of unit tests are short.)
pub(crate) const MARGIN: usize = if cfg!(test) { 24 } else { 64 };

/// A literal in a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Landmark {
    /// Offset of its first byte.
    pub(crate) start: usize,
    /// Its number in the finder.
    pub(crate) text: u32,
    /// Whether it is known that no match has it, whatever the rest of the content: those rules aside that depend on all
    /// of it.
    pub(crate) is_settled: bool,
}

/// What a scan of a content leaves for the scans of its deltas; see [`crate::Scanner::scan_delta`].
#[derive(Debug, Default)]
pub struct Landmarks {
    /// In order.
    list: Vec<Landmark>,
    /// Where the content may hold text in another form, by start.
    pub(crate) runs: Vec<KnownRun>,
    content_len: usize,
}

impl Landmarks {
    pub(crate) fn new(mut list: Vec<Landmark>, content_len: usize) -> Self {
        // It consists of long rows in order, which this sort makes use of.
        list.sort();
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

    /// Asks of each, by its place in the list, whether it is settled; `None`: it is forgotten.
    pub(crate) fn keep(&mut self, is_settled: impl Fn(usize) -> Option<bool>) {
        let mut place = 0;
        self.list.retain_mut(|landmark| {
            let kept = is_settled(place);
            place += 1;
            landmark.is_settled = kept == Some(true);
            kept.is_some()
        });
        self.list.shrink_to_fit();
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

impl Copied {
    /// How far a byte of the content at `at`, which is copied, is from where the content and the base differ: before it
    /// and after it. The lengths are those of the base and the content.
    pub(crate) fn reach(&self, at: usize, (base_len, len): (usize, usize)) -> (usize, usize) {
        let starts_alike = self.from == 0 && self.to == 0;
        let ends_alike = self.from + self.len == base_len && self.to + self.len == len;
        let before = if starts_alike { usize::MAX } else { at - self.to };
        let after = if ends_alike { usize::MAX } else { self.to + self.len - at };
        (before, after)
    }
}

/// The parts of a content where what is known of its base may not hold: new bytes and seams, with this margin. In order;
/// none touch. `None` when that is most of the content.
pub(crate) fn zones(
    copied: &[Copied],
    (base_len, content_len): (usize, usize),
    margin: usize,
) -> Option<Vec<Range<usize>>> {
    let mut zones: Vec<Range<usize>> = Vec::new();
    let mut add = |from: usize, to: usize| {
        let (from, to) = (from.saturating_sub(margin), content_len.min(to + margin));
        match zones.last_mut() {
            Some(last) if from <= last.end => last.end = to,
            _ => zones.push(from..to),
        }
    };
    let (mut end, mut base_end) = (0, 0);
    for copied in copied {
        // The content may begin as the base does.
        if copied.to > 0 || copied.from > 0 {
            add(end, copied.to);
        }
        (end, base_end) = (copied.to + copied.len, copied.from + copied.len);
    }
    if end < content_len || base_end < base_len {
        add(end, content_len);
    }
    let to_read: usize = zones.iter().map(ExactSizeIterator::len).sum();
    (to_read <= content_len / 4 * 3).then_some(zones)
}
