//! One pass over content for thousands of texts at once.
//!
//! The automaton looks for a fragment of each text, a few bytes that are rare in ordinary content; where one stands, the
//! rest of the text is compared. So the table of its states stays small enough for a processor's cache. It is built with
//! the `aho-corasick` crate and then laid out with two bytes for a transition instead of four.

use std::collections::HashMap;
use std::ops::Range;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};

/// The automaton reads so many parts of a content side by side. Each step waits for the one before it, so a processor
/// does four chains of steps in little more time than one.
pub(crate) const LANES: usize = 4;
/// At most so many bytes of a text are in the automaton, fewer when it would have too many states.
const FRAGMENT_LEN: usize = 5;
/// From common to rare in source code and prose; what is missing is rarest.
const COMMON_BYTES: &[u8] = b" etaoinsrlcdupmh_gfbyv-.0k1w/2:xj";

/// Texts of lower case, found in content of any case.
#[derive(Debug)]
pub(crate) struct Automaton {
    /// Which bytes are treated alike.
    classes: [u8; 256],
    /// The number of classes is two to this power.
    class_bits: u32,
    /// By state, then class: the next state.
    transitions: Vec<u16>,
    /// This state and all after it are those where a fragment ends.
    first_match: u16,
    /// By state from `first_match` on: where its fragments begin in `found`, and one more.
    first_found: Vec<u32>,
    /// The texts whose fragment ends.
    found: Vec<u32>,
    texts: Vec<Text>,
    max_len: usize,
}

#[derive(Debug)]
struct Text {
    lower: Box<[u8]>,
    /// How far its fragment's end is from its start.
    fragment_end: usize,
}

impl Automaton {
    /// An automaton for texts of at least one byte, without upper-case letters; they are numbered in this order.
    pub(crate) fn new(texts: Vec<Vec<u8>>) -> Self {
        (2..=FRAGMENT_LEN)
            .rev()
            .find_map(|len| Self::with_fragments(&texts, len))
            .expect("fragments of two bytes need no more states than there are numbers of two bytes")
    }

    /// `None` when it would have too many states.
    fn with_fragments(texts: &[Vec<u8>], len: usize) -> Option<Self> {
        let mut fragments: Vec<&[u8]> = Vec::new();
        let mut known: HashMap<&[u8], usize> = HashMap::new();
        let mut of_fragment: Vec<Vec<u32>> = Vec::new();
        let mut entries = Vec::with_capacity(texts.len());
        for (text, number) in texts.iter().zip(0_u32..) {
            let range = rarest(text, len);
            let fragment = &text[range.clone()];
            let at = *known.entry(fragment).or_insert_with(|| {
                fragments.push(fragment);
                of_fragment.push(Vec::new());
                fragments.len() - 1
            });
            of_fragment[at].push(number);
            entries.push(Text { lower: text.as_slice().into(), fragment_end: range.end });
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
        let mut transitions = vec![0_u16; states.order.len() << class_bits];
        let (mut first_found, mut found) = (vec![0], Vec::new());
        for (state, row) in states.order.iter().zip(transitions.chunks_exact_mut(1 << class_bits)) {
            for (byte, next) in representatives.iter().zip(row) {
                *next = states.numbers[&dfa.next_state(Anchored::No, *state, *byte)];
            }
            if dfa.is_match(*state) {
                for index in 0..dfa.match_len(*state) {
                    found.extend(&of_fragment[dfa.match_pattern(*state, index).as_usize()]);
                }
                first_found.push(u32::try_from(found.len()).expect("each text ends few states"));
            }
        }
        let max_len = texts.iter().map(Vec::len).max().unwrap_or(0);
        let first_match = states.first_match;
        Some(Self {
            classes,
            class_bits,
            transitions,
            first_match,
            first_found,
            found,
            texts: entries,
            max_len,
        })
    }

    /// The length of the longest text.
    pub(crate) fn max_len(&self) -> usize {
        self.max_len
    }

    /// The length of a text.
    pub(crate) fn len_of(&self, text: usize) -> usize {
        self.texts[text].lower.len()
    }

    /// Calls `found` with the number of every text that stands in the content, and where it starts; in no particular
    /// order.
    pub(crate) fn find(&self, content: &[u8], mut found: impl FnMut(usize, usize)) {
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
        self.transitions[usize::from(state) << self.class_bits | usize::from(class)]
    }

    /// Compares the texts whose fragment ends here with the content.
    fn report(&self, state: u16, content: &[u8], end: usize, found: &mut impl FnMut(usize, usize)) {
        let Some(index) = state.checked_sub(self.first_match) else { return };
        let index = usize::from(index);
        for number in &self.found[self.first_found[index] as usize..self.first_found[index + 1] as usize] {
            let text = &self.texts[*number as usize];
            let start = end.checked_sub(text.fragment_end);
            if let Some(start) = start
                && let Some(there) = content.get(start..start + text.lower.len())
                && there.eq_ignore_ascii_case(&text.lower)
            {
                found(*number as usize, start);
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
                if !numbers.contains_key(&reached) {
                    numbers.insert(reached, u16::try_from(order.len()).ok()?);
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
fn classes(fragments: &[&[u8]]) -> ([u8; 256], Vec<u8>) {
    let mut is_used = [false; 256];
    fragments.iter().copied().flatten().for_each(|byte| is_used[usize::from(*byte)] = true);
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
        let automaton = Automaton::new(texts.iter().map(|text| text.as_bytes().to_vec()).collect());
        let mut found = Vec::new();
        automaton.find(content, |text, start| found.push((start, text)));
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
