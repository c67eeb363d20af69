//! One pass over content for thousands of texts at once.
//!
//! Each text has a gram in it: four bytes of it that are rare in ordinary content, or three when it has no more. The pass
//! asks at each place of the content whether a gram may start there, which a bit for each hash of one tells. These bits,
//! and not the many states of an Aho-Corasick automaton, stay in a processor's nearest cache, and no step waits for the
//! one before it. Only where a gram stands, the texts with it are compared.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::bigrams::rarity;
use crate::byte_set::{ByteSet, ByteSets};

/// The content is read in parts of this size, in lower case.
const PART: usize = 4 << 10;
/// So many bytes before a gram, and from its start on, are compared at once.
const BACK: usize = 8;
/// So many bits of the hash of a gram count in the filter.
const FILTER_BITS: u32 = 15;
/// The same for the lists of texts.
const BUCKET_BITS: u32 = 13;
/// Places that are asked in a row before the answers are looked at.
const ROW: usize = 8;
/// By a byte: the numbers of the bits that are set, and how many they are.
static SET_BITS: [([u8; ROW], u8); 1 << ROW] = {
    let mut all = [([0; ROW], 0); 1 << ROW];
    let mut byte = 0;
    while byte < all.len() {
        let mut bit = 0;
        while bit < ROW {
            if byte >> bit & 1 == 1 {
                all[byte].0[all[byte].1 as usize] = bit as u8;
                all[byte].1 += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    all
};

/// A text to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// At least one byte; with ASCII letters in lower case, unless the text is exact.
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
}

/// A [`Text`], with the sets of bytes by their places.
#[derive(Debug, Serialize, Deserialize)]
struct CompactText {
    #[serde(borrow)]
    bytes: Cow<'static, [u8]>,
    is_exact: bool,
    before: u16,
    after: u16,
}

impl CompactText {
    /// Whether it stands there.
    fn is_at(&self, sets: &ByteSets, content: &[u8], start: usize) -> bool {
        let end = start + self.bytes.len();
        content.get(start..end).is_some_and(|there| {
            content.get(end).is_none_or(|next| sets.has(self.after, *next))
                && (start == 0 || sets.has(self.before, content[start - 1]))
                && if self.is_exact { *there == *self.bytes } else { there.eq_ignore_ascii_case(&self.bytes) }
        })
    }
}

/// Texts, found in content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
pub(crate) struct Finder {
    texts: Vec<CompactText>,
    sets: ByteSets,
    /// By text: where its gram begins.
    gram_starts: Vec<u8>,
    max_len: usize,
    #[serde(skip)]
    grams: Grams,
}

/// Room for a part of a content.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The part in lower case, and what is around it.
    part: [u8; BACK + PART + 8],
    /// The places where a gram may stand.
    places: [u16; PART + ROW],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { part: [0; BACK + PART + 8], places: [0; PART + ROW] }
    }
}

/// The grams of all texts, in forms that are quick to ask.
#[derive(Debug)]
struct Grams {
    /// By hash of the first three bytes of a gram: a bit for each remainder by 8 that the fourth byte has.
    filter: Box<[u8; 1 << FILTER_BITS]>,
    /// The texts with a gram of four bytes.
    fours: Buckets,
    /// The texts of three bytes.
    threes: Buckets,
    /// The texts that are too short for a gram.
    short: Vec<u32>,
}

/// Texts by the hash of their gram.
#[derive(Debug)]
struct Buckets {
    /// By hash: the end of its part of `entries`.
    ends: Box<[u32; 1 << BUCKET_BITS]>,
    entries: Vec<Entry>,
}

/// A text with its gram.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Eight bytes of the text with the gram in them, or all when it has fewer; and 0xFF for each of them.
    bytes: u64,
    mask: u64,
    text: u32,
    gram_start: u8,
    /// How many of the bytes are before the gram.
    back: u8,
}

impl Default for Grams {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new(), Vec::new())
    }
}

impl Grams {
    fn new(fours: Vec<(u32, Entry)>, threes: Vec<(u32, Entry)>, short: Vec<u32>) -> Self {
        let mut filter = Box::new([0; 1 << FILTER_BITS]);
        for (gram, _) in &fours {
            filter[hash(three(*gram), FILTER_BITS)] |= 1 << ((gram >> 24) % 8);
        }
        for (gram, _) in &threes {
            filter[hash(*gram, FILTER_BITS)] = u8::MAX;
        }
        Self { filter, fours: Buckets::new(fours), threes: Buckets::new(threes), short }
    }

    /// Whether a gram may start with these bytes.
    fn may_be(&self, bytes: u32) -> bool {
        self.filter[hash(three(bytes), FILTER_BITS)] >> ((bytes >> 24) % 8) & 1 == 1
    }

    /// Texts with a gram that may start with these bytes.
    fn entries(&self, bytes: u32) -> impl Iterator<Item = &Entry> {
        self.fours.of(bytes).iter().chain(self.threes.of(three(bytes)))
    }
}

impl Buckets {
    fn new(grams: Vec<(u32, Entry)>) -> Self {
        let mut ends = Box::new([0; 1 << BUCKET_BITS]);
        for (gram, _) in &grams {
            ends[hash(*gram, BUCKET_BITS)] += 1;
        }
        let mut sum = 0;
        for end in ends.iter_mut() {
            sum += *end;
            *end = sum;
        }
        // Counted already, they need no sort; from the back, each part fills up to its start.
        let mut next = ends.clone();
        let mut entries = vec![Entry::default(); grams.len()];
        for (gram, entry) in grams.into_iter().rev() {
            let place = &mut next[hash(gram, BUCKET_BITS)];
            *place -= 1;
            entries[*place as usize] = entry;
        }
        Self { ends, entries }
    }

    fn of(&self, gram: u32) -> &[Entry] {
        let hash = hash(gram, BUCKET_BITS);
        let first = hash.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.entries[first as usize..self.ends[hash] as usize]
    }
}

/// A number of so many bits.
fn hash(gram: u32, bits: u32) -> usize {
    // The multiplier of Fibonacci hashing.
    (gram.wrapping_mul(0x9E37_79B1) >> (u32::BITS - bits)) as usize
}

/// The first three of four bytes.
fn three(bytes: u32) -> u32 {
    bytes & 0xFF_FFFF
}

impl Finder {
    /// Finds these texts; they are numbered in this order.
    pub(crate) fn new(texts: Vec<Text>) -> Self {
        let gram_start = |text: &Text| u8::try_from(rarest_gram(&text.bytes)).unwrap_or(u8::MAX);
        let gram_starts = texts.iter().map(gram_start).collect();
        let max_len = texts.iter().map(|text| text.bytes.len()).max().unwrap_or(0);
        let mut sets = ByteSets::default();
        let compact = |Text { bytes, is_exact, before, after }| CompactText {
            bytes,
            is_exact,
            before: sets.place_of(before),
            after: sets.place_of(after),
        };
        let texts = texts.into_iter().map(compact).collect();
        let mut finder = Self { texts, sets, gram_starts, max_len, grams: Grams::default() };
        finder.lay_out();
        finder
    }

    /// Lays out what the compiled form leaves out, since it is made of the rest.
    pub(crate) fn lay_out(&mut self) {
        let (mut fours, mut threes, mut short) = (Vec::new(), Vec::new(), Vec::new());
        for ((text, gram_start), number) in self.texts.iter().zip(&self.gram_starts).zip(0..) {
            let bytes = &text.bytes[..];
            let gram_start = usize::from(*gram_start);
            let start = gram_start.min(bytes.len().saturating_sub(8));
            let (mut window, mut mask) = ([0; 8], [0; 8]);
            for ((byte, place), is_set) in bytes[start..].iter().zip(&mut window).zip(&mut mask) {
                (*place, *is_set) = (byte.to_ascii_lowercase(), 0xFF);
            }
            let entry = Entry {
                bytes: u64::from_le_bytes(window),
                mask: u64::from_le_bytes(mask),
                text: number,
                gram_start: gram_start as u8,
                back: (gram_start - start) as u8,
            };
            let gram_of = |len: usize| {
                let mut gram = [0; 4];
                gram[..len].copy_from_slice(&bytes[gram_start..gram_start + len]);
                u32::from_le_bytes(gram.map(|byte| byte.to_ascii_lowercase()))
            };
            match bytes.len() - gram_start {
                0..3 => short.push(number),
                3 => threes.push((gram_of(3), entry)),
                _ => fours.push((gram_of(4), entry)),
            }
        }
        self.grams = Grams::new(fours, threes, short);
    }

    /// All texts, in order.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Text> {
        self.texts.iter().map(|text| Text {
            bytes: text.bytes.clone(),
            is_exact: text.is_exact,
            before: self.sets.at(text.before),
            after: self.sets.at(text.after),
        })
    }

    /// The length of the longest text.
    pub(crate) fn max_len(&self) -> usize {
        self.max_len
    }

    /// Calls `found` with the number of every text that stands in the content and starts in this range, and where it
    /// starts; in no particular order.
    pub(crate) fn find(
        &self,
        content: &[u8],
        range: Range<usize>,
        scratch: &mut Scratch,
        mut found: impl FnMut(u32, usize),
    ) {
        let Scratch { part, places } = scratch;
        let end = content.len().min(range.end + self.max_len);
        for start in (range.start..end).step_by(PART) {
            let len = PART.min(end - start);
            // What is around a part is read with it. Around the content are zeros, of which no text is made.
            let first = BACK - start.min(BACK);
            let with_next = &content[start + first - BACK..content.len().min(start + len + 8)];
            part[..first].fill(0);
            let read = first + with_next.len();
            part[first..read].copy_from_slice(with_next);
            part[first..read].make_ascii_lowercase();
            part[read..BACK + len.next_multiple_of(ROW) + 8].fill(0);
            // First where a gram may stand, without a branch that nobody can foresee; then which.
            let mut count = 0;
            for row in (0..len).step_by(ROW) {
                let window: &[u8; ROW + 3] =
                    part[BACK + row..].first_chunk().expect("a part has more than its places");
                let mut answers = 0;
                for place in 0..ROW {
                    answers |= usize::from(self.grams.may_be(bytes_at(window, place))) << place;
                }
                let row = u16::try_from(row).expect("parts are short");
                let (set, len) = &SET_BITS[answers];
                for (place, bit) in places[count..][..ROW].iter_mut().zip(set) {
                    *place = row + u16::from(*bit);
                }
                count += usize::from(*len);
            }
            for place in &places[..count] {
                let place = usize::from(*place);
                let Some(bytes) = part[BACK + place..].first_chunk() else { continue };
                for entry in self.grams.entries(u32::from_le_bytes(*bytes)) {
                    let from = BACK + place - usize::from(entry.back);
                    let there = part[from..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                    if there & entry.mask == entry.bytes
                        && let Some(at) = (start + place).checked_sub(usize::from(entry.gram_start))
                        && range.contains(&at)
                        && self.texts[entry.text as usize].is_at(&self.sets, content, at)
                    {
                        found(entry.text, at);
                    }
                }
            }
        }
        for number in &self.grams.short {
            let text = &self.texts[*number as usize];
            range.clone().filter(|at| text.is_at(&self.sets, content, *at)).for_each(|at| found(*number, at));
        }
    }
}

fn bytes_at(window: &[u8; ROW + 3], place: usize) -> u32 {
    u32::from_le_bytes([window[place], window[place + 1], window[place + 2], window[place + 3]])
}

/// Where in a text its gram begins: the four bytes that are the least common in source code, or all when it has fewer.
fn rarest_gram(text: &[u8]) -> usize {
    let starts = (0..=text.len().saturating_sub(4)).rev();
    // Of equal ones the first.
    starts.max_by_key(|start| rarity(&text[*start..text.len().min(start + 4)])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(texts: &[&str], content: &[u8]) -> Vec<(usize, usize)> {
        let finder = Finder::new(texts.iter().map(|text| Text::anywhere(text)).collect());
        let mut found = Vec::new();
        finder.find(content, 0..content.len(), &mut Scratch::default(), |text, start| {
            found.push((start, text as usize));
        });
        let middle = content.len() / 2;
        let mut of_ranges = Vec::new();
        for range in [0..middle, middle..content.len()] {
            finder.find(content, range, &mut Scratch::default(), |text, start| {
                of_ranges.push((start, text as usize));
            });
        }
        found.sort_unstable();
        of_ranges.sort_unstable();
        assert_eq!(found, of_ranges);
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
        assert!(rarest_gram(b"ther_xkqz") >= 4);
        assert_eq!(rarest_gram(b"abc"), 0);
        assert_eq!(rarest_gram(b"aaaaaaa"), 0);
    }

    #[test]
    fn no_texts_are_found_nowhere() {
        assert_eq!(find(&[], b"anything"), []);
    }
}
