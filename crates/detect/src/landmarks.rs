//! Where literals of the rules stand in a content, and what a delta of that content takes over of them.
//!
//! Most literals stand in no match, and what lies close to them shows it: those are forgotten. A delta is read
//! [`MARGIN_BEFORE`] and [`MARGIN_AFTER`] each seam, so those are found again that might be in a match now. Of the others it
//! is remembered how far around them the bytes lie that show it.

use std::num::NonZeroU16;
use std::ops::Range;

use crate::decode::KnownRun;
use crate::search::{CONTEXT, Hit};

/// How far before a seam a delta is read, at least. Longer: more to read; shorter: more literals to remember. (The contents
/// of unit tests are short.)
pub(crate) const MARGIN_BEFORE: usize = if cfg!(test) { 24 } else { 32 };
/// The same after a seam: what is before a literal seldom decides.
const MARGIN_AFTER: usize = if cfg!(test) { 12 } else { 16 };

/// A literal in a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Landmark {
    /// Offset of its first byte.
    pub(crate) start: usize,
    /// Its number in the finder.
    pub(crate) text: u32,
    /// What shows that no match has it, if that is known: those rules aside that depend on all of the content.
    pub(crate) settled: Option<Reach>,
}

/// How many bytes before the first byte of a literal, and from it on, decide about something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reach {
    before: u16,
    after: NonZeroU16,
}

impl Reach {
    /// The first byte alone.
    pub(crate) const NEAREST: Self = Self { before: 0, after: NonZeroU16::MIN };

    /// `None` when it is too far to be remembered.
    pub(crate) fn new(before: usize, after: usize) -> Option<Self> {
        let after = u16::try_from(after.max(1)).ok().and_then(NonZeroU16::new)?;
        Some(Self { before: before.try_into().ok()?, after })
    }

    /// As far as either.
    pub(crate) fn union(self, other: Self) -> Self {
        Self { before: self.before.max(other.before), after: self.after.max(other.after) }
    }

    /// Whether a delta might not find the literal again though these bytes changed.
    pub(crate) fn is_far(self) -> bool {
        usize::from(self.before) > MARGIN_AFTER || usize::from(self.after.get()) > MARGIN_BEFORE
    }

    fn is_within(self, (before, after): (usize, usize)) -> bool {
        usize::from(self.before) <= before && usize::from(self.after.get()) <= after
    }
}

/// The match of a rule that starts at one of these places, which has no other one there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownHit {
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) hit: Hit,
    /// The end of the bytes that say so.
    pub(crate) read: usize,
}

impl KnownHit {
    /// The same in a content that has a part around it in common with the base, if all bytes that say so are in that part.
    pub(crate) fn moved(self, copied: &Copied, lens: (usize, usize)) -> Option<Self> {
        let moved = |at: usize| at - copied.from + copied.to;
        let reach = Reach::new(CONTEXT, self.read - self.first + CONTEXT)?;
        let first = moved(self.first);
        reach.is_within(copied.reach(first, lens)).then(|| Self {
            first,
            last: moved(self.last),
            hit: self.hit.moved(moved),
            read: moved(self.read),
        })
    }
}

/// What a scan of a content leaves for the scans of its deltas; see [`crate::Scanner::scan_delta`].
#[derive(Debug, Default)]
pub struct Landmarks {
    /// In order.
    list: Vec<Landmark>,
    /// By rule, then place.
    pub(crate) hits: Vec<KnownHit>,
    /// Where the content may hold text in another form, by start.
    pub(crate) runs: Vec<KnownRun>,
    content_len: usize,
}

impl Landmarks {
    pub(crate) fn new(mut list: Vec<Landmark>, content_len: usize) -> Self {
        // It consists of long rows in order, which this sort makes use of.
        list.sort();
        Self { list, hits: Vec::new(), runs: Vec::new(), content_len }
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

    /// Asks of each, by its place in the list, what settles it; `None`: it is forgotten.
    pub(crate) fn keep(&mut self, settled: impl Fn(usize) -> Option<Option<Reach>>) {
        let mut place = 0;
        self.list.retain_mut(|landmark| {
            let kept = settled(place);
            place += 1;
            landmark.settled = kept.flatten();
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

impl Landmark {
    /// The same in a content that has a part around it in common with the base; open again where what settles it goes
    /// beyond that part. The lengths are those of the base and the content.
    pub(crate) fn moved(self, copied: &Copied, lens: (usize, usize)) -> Self {
        let start = self.start - copied.from + copied.to;
        let settled = self.settled.filter(|reach| reach.is_within(copied.reach(start, lens)));
        Self { start, settled, ..self }
    }
}

impl Copied {
    /// How far a byte of the content at `at`, which is copied, is from where the content and the base differ: before it
    /// and after it. The lengths are those of the base and the content.
    fn reach(&self, at: usize, (base_len, len): (usize, usize)) -> (usize, usize) {
        let starts_alike = self.from == 0 && self.to == 0;
        let ends_alike = self.from + self.len == base_len && self.to + self.len == len;
        let before = if starts_alike { usize::MAX } else { at - self.to };
        let after = if ends_alike { usize::MAX } else { self.to + self.len - at };
        (before, after)
    }
}

/// The parts of a content where what is known of its base may not hold: new bytes and seams, with `before` bytes before each
/// and some after it. In order; none touch. `None` when that is most of the content.
pub(crate) fn zones(
    copied: &[Copied],
    (base_len, content_len): (usize, usize),
    before: usize,
) -> Option<Vec<Range<usize>>> {
    let mut zones: Vec<Range<usize>> = Vec::new();
    let mut add = |from: usize, to: usize| {
        let (from, to) = (from.saturating_sub(before), content_len.min(to + MARGIN_AFTER));
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
