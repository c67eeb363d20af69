//! One pass over content for thousands of texts at once.
//!
//! The automaton looks for a fragment of each text, a few bytes that are rare in ordinary content; where one stands, the
//! rest of the text is compared. So the table of its states stays small enough for a processor's cache. It is built with
//! the `aho-corasick` crate and then laid out with two bytes for a transition instead of four.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};
use serde::{Deserialize, Serialize};

use crate::byte_set::ByteSet;

/// The automaton reads so many parts of a content side by side. Each step waits for the one before it, so a processor
/// does four chains of steps in little more time than one.
pub(crate) const LANES: usize = 4;
/// At most so many bytes of a text are in the automaton, fewer when it would have too many states.
const FRAGMENT_LEN: usize = 5;
/// From common to rare in source code and prose; what is missing is rarest.
const COMMON_BYTES: &[u8] = b" etaoinsrlcdupmh_gfbyv-.0k1w/2:xj";

/// Texts, found in content.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Automaton {
    /// By byte: its class. Bytes of one class are treated alike.
    #[serde(borrow)]
    classes: Cow<'static, [u8]>,
    /// The number of classes is two to this power.
    class_bits: u32,
    /// By state, then class: the next state, in two bytes, the low one first.
    #[serde(borrow)]
    transitions: Cow<'static, [u8]>,
    /// This state and all after it are those where a fragment ends.
    first_match: u16,
    /// By state from `first_match` on: where its fragments begin in `found`, and one more.
    first_found: Vec<u32>,
    /// The texts whose fragment ends, and how far its end is from their start.
    found: Vec<(u32, u32)>,
    texts: Vec<Text>,
    max_len: usize,
}

/// A text to look for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Text {
    /// At least one byte; with ASCII letters in lower case, unless the text is exact.
    #[serde(borrow)]
    pub(crate) bytes: Cow<'static, [u8]>,
    /// Whether it must stand in the content as it is here, and not with letters of either case.
    pub(crate) is_exact: bool,
    /// It is left out where the byte before it is none of these.
    pub(crate) before: ByteSet,
    /// It is left out where the byte after it is none of these.
    pub(crate) after: ByteSet,
}

impl Text {
    /// A text with letters of either case, between whatever.
    pub(crate) fn anywhere(text: &str) -> Self {
        let bytes = text.to_ascii_lowercase().into_bytes().into();
        Self { bytes, is_exact: false, before: ByteSet::ALL, after: ByteSet::ALL }
    }

    /// Whether it stands there.
    fn is_at(&self, content: &[u8], start: usize) -> bool {
        let end = start + self.bytes.len();
        content.get(start..end).is_some_and(|there| {
            content.get(end).is_none_or(|next| self.after.has(*next))
                && (start == 0 || self.before.has(content[start - 1]))
                && if self.is_exact { *there == *self.bytes } else { there.eq_ignore_ascii_case(&self.bytes) }
        })
    }
}

impl Automaton {
    /// An automaton for these texts; they are numbered in this order.
    pub(crate) fn new(texts: Vec<Text>) -> Self {
        (2..=FRAGMENT_LEN)
            .rev()
            .find_map(|len| Self::with_fragments(&texts, len))
            .expect("fragments of two bytes need no more states than there are numbers of two bytes")
    }

    /// `None` when it would have too many states.
    fn with_fragments(texts: &[Text], len: usize) -> Option<Self> {
        let mut fragments: Vec<Vec<u8>> = Vec::new();
        let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut of_fragment: Vec<Vec<(u32, u32)>> = Vec::new();
        for (text, number) in texts.iter().zip(0_u32..) {
            let lower = text.bytes.to_ascii_lowercase();
            let range = rarest(&lower, len);
            let at = *known.entry(lower[range.clone()].to_vec()).or_insert_with_key(|fragment| {
                fragments.push(fragment.clone());
                of_fragment.push(Vec::new());
                fragments.len() - 1
            });
            let fragment_end = u32::try_from(range.end).expect("regexes have no texts of gigabytes");
            of_fragment[at].push((number, fragment_end));
        }
        let (classes, representatives) = classes(&fragments);
        let dfa = DFA::builder()
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .prefilter(false)
            .build(&fragments)
            .expect("a few thousand short texts are far below the limits of the automaton");
        let states = States::walk(&dfa, &representatives)?;

        let class_bits = representatives.len().next_power_of_two().trailing_zeros();
        let mut transitions = vec![[0; 2]; states.order.len() << class_bits];
        let (mut first_found, mut found) = (vec![0], Vec::new());
        for (state, row) in states.order.iter().zip(transitions.chunks_exact_mut(1 << class_bits)) {
            for (byte, next) in representatives.iter().zip(row) {
                *next = states.numbers[&dfa.next_state(Anchored::No, *state, *byte)].to_le_bytes();
            }
            if dfa.is_match(*state) {
                for index in 0..dfa.match_len(*state) {
                    found.extend(&of_fragment[dfa.match_pattern(*state, index).as_usize()]);
                }
                first_found.push(u32::try_from(found.len()).expect("each text ends few states"));
            }
        }
        let max_len = texts.iter().map(|text| text.bytes.len()).max().unwrap_or(0);
        let first_match = states.first_match;
        Some(Self {
            classes: Cow::Owned(classes.to_vec()),
            class_bits,
            transitions: Cow::Owned(transitions.into_flattened()),
            first_match,
            first_found,
            found,
            texts: texts.to_vec(),
            max_len,
        })
    }

    /// The length of the longest text.
    pub(crate) fn max_len(&self) -> usize {
        self.max_len
    }

    /// Calls `found` with the number of every text that stands in the content, and where it starts; in no particular
    /// order.
    pub(crate) fn find(&self, content: &[u8], mut found: impl FnMut(u32, usize)) {
        let part = content.len() / LANES;
        let parts: [&[u8]; LANES] = std::array::from_fn(|lane| &content[lane * part..(lane + 1) * part]);
        // What ends in a part may begin before it. The state depends on no more than the longest fragment.
        let mut states: [u16; LANES] = std::array::from_fn(|lane| {
            let from = (lane * part).saturating_sub(FRAGMENT_LEN);
            content[from..lane * part].iter().fold(0, |state, byte| self.step(state, *byte))
        });
        for at in 0..part {
            for (state, part) in states.iter_mut().zip(parts) {
                *state = self.step(*state, part[at]);
            }
            if states.iter().any(|state| *state >= self.first_match) {
                for (lane, state) in states.iter().enumerate() {
                    self.report(*state, content, lane * part + at + 1, &mut found);
                }
            }
        }
        let mut state = states[LANES - 1];
        for (byte, end) in content[LANES * part..].iter().zip(LANES * part + 1..) {
            state = self.step(state, *byte);
            self.report(state, content, end, &mut found);
        }
    }

    fn step(&self, state: u16, byte: u8) -> u16 {
        let class = self.classes[usize::from(byte)];
        let at = 2 * (usize::from(state) << self.class_bits | usize::from(class));
        u16::from_le_bytes([self.transitions[at], self.transitions[at + 1]])
    }

    /// Compares the texts whose fragment ends here with the content.
    fn report(&self, state: u16, content: &[u8], end: usize, found: &mut impl FnMut(u32, usize)) {
        let Some(index) = state.checked_sub(self.first_match) else { return };
        let index = usize::from(index);
        let ends = self.first_found[index] as usize..self.first_found[index + 1] as usize;
        for (number, fragment_end) in &self.found[ends] {
            if let Some(start) = end.checked_sub(*fragment_end as usize)
                && self.texts[*number as usize].is_at(content, start)
            {
                found(*number, start);
            }
        }
    }
}

/// The states that are reached from the start: those without a match first, the start before all.
struct States {
    order: Vec<StateID>,
    numbers: HashMap<StateID, u16>,
    first_match: u16,
}

impl States {
    /// `None` when there are more than numbers of two bytes.
    fn walk(dfa: &DFA, bytes: &[u8]) -> Option<Self> {
        let start = dfa.start_state(Anchored::No).expect("the automaton was built for this kind of search");
        let mut order = vec![start];
        let mut numbers = HashMap::from([(start, 0_u16)]);
        let mut next = 0;
        while let Some(state) = order.get(next).copied() {
            next += 1;
            for byte in bytes {
                let reached = dfa.next_state(Anchored::No, state, *byte);
                if let Entry::Vacant(place) = numbers.entry(reached) {
                    place.insert(u16::try_from(order.len()).ok()?);
                    order.push(reached);
                }
            }
        }
        // A stable sort: the start stays first, since no text is empty.
        order.sort_by_key(|state| dfa.is_match(*state));
        let first_match = order.partition_point(|state| !dfa.is_match(*state));
        for (state, number) in order.iter().zip(0..) {
            numbers.insert(*state, number);
        }
        Some(Self { first_match: u16::try_from(first_match).ok()?, order, numbers })
    }
}

/// The class of each byte, and a byte of each class.
fn classes(fragments: &[Vec<u8>]) -> ([u8; 256], Vec<u8>) {
    let mut is_used = [false; 256];
    fragments.iter().flatten().for_each(|byte| is_used[usize::from(*byte)] = true);
    let unused = (0..=u8::MAX).find(|byte| !is_used[usize::from(*byte)] && !byte.is_ascii_uppercase());
    let mut classes = [0; 256];
    let mut representatives: Vec<u8> = unused.into_iter().collect();
    for byte in 0..=u8::MAX {
        if is_used[usize::from(byte)] {
            classes[usize::from(byte)] = representatives.len() as u8;
            representatives.push(byte);
        }
    }
    for upper in b'A'..=b'Z' {
        classes[usize::from(upper)] = classes[usize::from(upper.to_ascii_lowercase())];
    }
    (classes, representatives)
}

/// The part of a text, of at most this length, whose bytes are the least common.
fn rarest(text: &[u8], len: usize) -> Range<usize> {
    let rarity =
        |byte: &u8| COMMON_BYTES.iter().position(|common| common == byte).unwrap_or(COMMON_BYTES.len());
    let len = len.min(text.len());
    let starts = 0..=text.len() - len;
    // Of equal ones the first.
    let start = starts
        .rev()
        .max_by_key(|start| text[*start..start + len].iter().map(rarity).sum::<usize>())
        .unwrap_or(0);
    start..start + len
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(texts: &[&str], content: &[u8]) -> Vec<(usize, usize)> {
        let automaton = Automaton::new(texts.iter().map(|text| Text::anywhere(text)).collect());
        let mut found = Vec::new();
        automaton.find(content, |text, start| found.push((start, text as usize)));
        found.sort_unstable();
        found
    }

    fn find_naively(texts: &[&str], content: &[u8]) -> Vec<(usize, usize)> {
        let lower = content.to_ascii_lowercase();
        let mut found = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let starts = (0..content.len()).filter(|at| lower[*at..].starts_with(text.as_bytes()));
            found.extend(starts.map(|start| (start, number)));
        }
        found.sort_unstable();
        found
    }

    const TEXTS: &[&str] = &["a", "ab", "abcab", "bca", "aaaaaa", "secret_key", "ret_k", "zzz", "\u{e9}b"];

    proptest! {
        #[test]
        fn every_text_is_found_wherever_it_stands(
            content in prop::collection::vec(prop_oneof![
                prop::sample::select(b"abczABCZ_\xc3\xa9".to_vec()).prop_map(|byte| vec![byte]),
                prop::sample::select(TEXTS.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
                any::<u8>().prop_map(|byte| vec![byte]),
            ], 0..60)
        ) {
            let content = content.concat();
            prop_assert_eq!(find(TEXTS, &content), find_naively(TEXTS, &content));
        }
    }

    #[test]
    fn the_rarest_part_of_a_text_is_looked_for() {
        assert_eq!(rarest(b"secret_key", 5), 5..10);
        assert_eq!(rarest(b"ab", 5), 0..2);
        assert_eq!(rarest(b"aaaaaaa", 3), 0..3);
    }

    #[test]
    fn no_texts_are_found_nowhere() {
        assert_eq!(find(&[], b"anything"), []);
    }
}
