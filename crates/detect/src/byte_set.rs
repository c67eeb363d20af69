//! Sets of bytes, and which of them a pattern can start with, end with and have in it.

use std::collections::HashMap;

use regex_syntax::hir::{Class, Hir, HirKind};

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(crate) const NONE: Self = Self([0; 4]);
    pub(crate) const ALL: Self = Self([u64::MAX; 4]);

    /// What `\b` tells apart: ASCII letters, digits and `_`.
    pub(crate) fn word() -> Self {
        let mut bytes = Self::NONE;
        for range in [b'0'..=b'9', b'A'..=b'Z', b'_'..=b'_', b'a'..=b'z'] {
            bytes.insert(range);
        }
        bytes
    }

    pub(crate) fn insert(&mut self, range: std::ops::RangeInclusive<u8>) {
        for byte in range {
            self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
    }

    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] | other.0[n]))
    }

    /// Those that are not in `other`.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] & !other.0[n]))
    }

    /// About how often a byte of ordinary content is in the set.
    pub(crate) fn share(&self) -> f64 {
        let share = |byte: u8| match byte {
            b' ' => 0.15,
            b'a'..=b'z' => 0.024,
            b'0'..=b'9' | b'A'..=b'Z' | b'_' => 0.004,
            b'!'..=b'~' => 0.003,
            _ => 0.0002,
        };
        (0..=u8::MAX).filter(|byte| self.has(*byte)).map(share).sum::<f64>().clamp(1e-6, 1.0)
    }

    /// Every byte that can be in a match.
    pub(crate) fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::NONE,
            HirKind::Literal(literal) => {
                literal.0.iter().map(|byte| Self::one(*byte)).fold(Self::NONE, Self::union)
            }
            HirKind::Class(class) => Self::of_class(class),
            HirKind::Repetition(repetition) => Self::of(&repetition.sub),
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Concat(subs) | HirKind::Alternation(subs) => {
                subs.iter().map(Self::of).fold(Self::NONE, Self::union)
            }
        }
    }

    /// Every byte that a match can start with, those that can follow an empty one not among them.
    fn first_of(hir: &Hir) -> Self {
        Self::at_edge(hir, true)
    }

    /// Every byte that a match can end with, likewise.
    fn last_of(hir: &Hir) -> Self {
        Self::at_edge(hir, false)
    }

    fn at_edge(hir: &Hir, is_start: bool) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::NONE,
            HirKind::Literal(literal) => {
                let byte = if is_start { literal.0.first() } else { literal.0.last() };
                byte.map_or(Self::NONE, |byte| Self::one(*byte))
            }
            HirKind::Class(class) => Self::of_class(class),
            HirKind::Repetition(repetition) => Self::at_edge(&repetition.sub, is_start),
            HirKind::Capture(capture) => Self::at_edge(&capture.sub, is_start),
            HirKind::Concat(subs) if is_start => Self::after(subs, Self::NONE),
            HirKind::Concat(subs) => Self::before(subs, Self::NONE),
            HirKind::Alternation(subs) => {
                subs.iter().map(|sub| Self::at_edge(sub, is_start)).fold(Self::NONE, Self::union)
            }
        }
    }

    /// Every byte that can come next where this row of parts does; `beyond`: what can come after them.
    pub(crate) fn after(parts: &[Hir], beyond: Self) -> Self {
        Self::along(parts.iter(), Self::first_of, beyond)
    }

    /// Every byte that can come before what follows this row of parts; `beyond`: what can come before them.
    pub(crate) fn before(parts: &[Hir], beyond: Self) -> Self {
        Self::along(parts.iter().rev(), Self::last_of, beyond)
    }

    fn along<'a>(parts: impl Iterator<Item = &'a Hir>, edge: fn(&Hir) -> Self, beyond: Self) -> Self {
        let mut all = Self::NONE;
        for part in parts {
            all = all.union(edge(part));
            if part.properties().minimum_len().is_some_and(|len| len > 0) {
                return all;
            }
        }
        all.union(beyond)
    }

    pub(crate) fn one(byte: u8) -> Self {
        let mut bytes = Self::NONE;
        bytes.insert(byte..=byte);
        bytes
    }

    /// A byte; a letter in both cases.
    pub(crate) fn any_case(byte: u8) -> Self {
        Self::one(byte.to_ascii_lowercase()).union(Self::one(byte.to_ascii_uppercase()))
    }

    fn of_class(class: &Class) -> Self {
        let mut bytes = Self::NONE;
        match class {
            Class::Bytes(class) => {
                class.ranges().iter().for_each(|range| bytes.insert(range.start()..=range.end()));
            }
            Class::Unicode(class) => {
                for range in class.ranges() {
                    let ascii = |c: char| u8::try_from(c).ok().filter(u8::is_ascii);
                    if let Some(start) = ascii(range.start()) {
                        bytes.insert(start..=ascii(range.end()).unwrap_or(0x7f));
                    }
                    if !range.end().is_ascii() {
                        bytes.insert(0x80..=0xff);
                    }
                }
            }
        }
        bytes
    }
}

/// Sets of bytes, each once: thousands of texts and rules share a few hundred.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct ByteSets {
    sets: Vec<ByteSet>,
    #[serde(skip)]
    places: HashMap<ByteSet, u16>,
}

impl ByteSets {
    /// The place of a set, which is added if it is not there.
    ///
    /// # Panics
    /// With more than 65,536 different sets.
    pub(crate) fn place_of(&mut self, set: ByteSet) -> u16 {
        *self.places.entry(set).or_insert_with(|| {
            self.sets.push(set);
            u16::try_from(self.sets.len() - 1).expect("rules have far fewer different sets")
        })
    }

    /// The set at a place.
    pub(crate) fn at(&self, place: u16) -> ByteSet {
        self.sets[usize::from(place)]
    }

    /// Whether the set at a place has a byte.
    pub(crate) fn has(&self, place: u16, byte: u8) -> bool {
        self.sets[usize::from(place)].has(byte)
    }
}
