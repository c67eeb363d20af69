//! The pass over a content that finds its runs.
//!
//! It reads 64 bytes at a time and makes masks of them, one bit a byte; only where these meet does it look closer. That
//! costs a small part of what the search for literals costs (`examples/throughput.rs` measures both).

use std::ops::Range;

use wide::i8x16;

use super::{Atom, Form, Run, base64, escape, joint};

const CHUNK: usize = 64;
/// Escapes, and joints, no further apart than this belong to one run.
const MAX_GAP: usize = 128;

/// The runs that touch the range, in no particular order: those of the whole content that lie in the range, reach into
/// it or end beside it.
pub(crate) fn encoded_runs(content: &[u8], range: Range<usize>) -> Vec<Run> {
    let start = quiet_place(content, 0, range.start).unwrap_or(0);
    encoded_runs_from(content, start, range)
}

/// The same, where no run goes through `start`, which is not after the range begins.
pub(super) fn encoded_runs_from(content: &[u8], start: usize, range: Range<usize>) -> Vec<Run> {
    let mut gather = Gather::new(content);
    gather.pass(start, &range);
    gather.runs.extend(gather.open.into_iter().flatten());
    gather.runs.retain(|run| run.range.start <= range.end && run.range.end >= range.start);
    gather.runs
}

/// The last place in `floor..=at` found that no run goes through: after a line that does not go on in the next, with no
/// escape nor joint shortly before.
pub(super) fn quiet_place(content: &[u8], floor: usize, at: usize) -> Option<usize> {
    /// Longer than any joint and the gap to the next one.
    const QUIET: usize = 512;
    let mut before = at;
    loop {
        // What ends a line of base64 or of a block scalar is none of these; joints of literals are looked for.
        let is_end = |newline: &usize| {
            let line = &content[..*newline];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            line.last().is_none_or(|byte| b"\n ,;:()[]{}\"'".contains(byte))
        };
        let newline = memchr::memrchr_iter(b'\n', content.get(floor..before)?).map(|newline| floor + newline);
        let start = { newline }.find(is_end)? + 1;
        let mut gather = Gather::new(content);
        gather.pass(start.saturating_sub(QUIET), &(start..start));
        let is_near = |run: &Run| !run.atoms.is_empty() && run.range.start < start;
        if !gather.open.iter().flatten().chain(&gather.runs).any(is_near) {
            return Some(start);
        }
        before = start.saturating_sub(MAX_GAP);
    }
}

/// For each byte of 64 a bit, the first one the lowest.
#[derive(Clone, Copy, Default)]
struct Masks {
    /// What tokens are made of, but for the slash: what follows it may be a word of its own, and base64 of ASCII text
    /// has it only for a question mark.
    word: u64,
    /// The first character of an escape, or the backslash at the end of a line.
    escape: u64,
    /// The header of a block scalar.
    block: u64,
    quote: u64,
    /// White space, and more.
    space: u64,
    /// Operators without a space before them that join literals.
    operator: u64,
}

impl Masks {
    #[inline(always)]
    fn of(chunk: &[u8; CHUNK]) -> Self {
        let mut masks = Self::default();
        for (part, shift) in chunk.as_chunks::<16>().0.iter().zip((0..).step_by(16)) {
            let bytes = i8x16::new(part.map(u8::cast_signed));
            let all = |byte: u8| i8x16::splat(byte.cast_signed());
            let is = |byte| bytes.simd_eq(all(byte));
            // Shifted so that the first one is the least signed number.
            let is_within = |bytes: i8x16, first: u8, last: u8| {
                (bytes - all(first ^ 0x80)).simd_lt(all((last - first + 1) ^ 0x80))
            };
            let plus = is(b'+');
            let word = is_within(bytes | all(0x20), b'a', b'z')
                | is_within(bytes, b'0', b'9')
                | plus
                | is(b'-')
                | is(b'_');
            let bits = |mask: i8x16| u64::from(mask.to_bitmask()) << shift;
            masks.word |= bits(word);
            masks.escape |= bits(is(b'\\') | is(b'%') | is(b'&'));
            masks.block |= bits(is(b'|') | is(b'>'));
            masks.quote |= bits(is(b'"') | is(b'\''));
            masks.space |= bits(bytes.simd_lt(all(b' ' + 1)));
            masks.operator |= bits(plus | is(b'.'));
        }
        masks
    }
}

/// The set bits, from the lowest.
fn ones(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as usize);
        mask &= mask.wrapping_sub(1);
        bit
    })
}

/// Where [`base64::MIN_LEN`] word bytes in a row, with another byte before them, end: the bit of the last of them.
fn long_words(before: u64, now: u64) -> u64 {
    const { assert!(base64::MIN_LEN == 16) };
    let bits = u128::from(now) << CHUNK | u128::from(before);
    let mut all = bits;
    for shift in [1, 2, 4, 8] {
        all &= all >> shift;
    }
    // The bit is that of the first byte now; those whose 16th byte is in this chunk count.
    let first = all & !(all << 1);
    (first >> (CHUNK - 15)) as u64
}

/// Gathers runs while the pass goes on.
struct Gather<'a> {
    content: &'a [u8],
    /// Where the last base64 or hex run ended: the lines that a run goes on to are tokens too.
    base64_end: usize,
    /// For each form of [`Gather::CLUSTERED`], the run that may go on.
    open: [Option<Run>; 4],
    runs: Vec<Run>,
}

impl<'a> Gather<'a> {
    const CLUSTERED: [Form; 4] = [Form::Percent, Form::Unicode, Form::Html, Form::Joined];

    fn new(content: &'a [u8]) -> Self {
        Self { content, base64_end: 0, open: Default::default(), runs: Vec::new() }
    }

    /// Looks at the content from `start` until nothing that touches the range can follow.
    fn pass(&mut self, start: usize, range: &Range<usize>) {
        let mut before = Masks::default();
        // Quotes after words.
        let mut closing_before = 0;
        let (chunks, rest) = self.content[start..].as_chunks::<CHUNK>();
        let mut last = [0; CHUNK];
        last[..rest.len()].copy_from_slice(rest);
        for (chunk, at) in chunks.iter().chain([&last]).zip((start..).step_by(CHUNK)) {
            if at >= range.end.saturating_add(CHUNK) && !self.may_reach(range, at) {
                return;
            }
            let masks = Masks::of(chunk);
            let starts = long_words(before.word, masks.word);
            let closing = masks.quote & (masks.word << 1 | before.word >> (CHUNK - 1));
            let ends = (closing << 1 | closing_before >> (CHUNK - 1)) & (masks.space | masks.operator);
            let headers = masks.block & (masks.space << 1 | before.space >> (CHUNK - 1));
            (before, closing_before) = (masks, closing);
            for bit in ones(starts) {
                self.word(at + bit + 1 - base64::MIN_LEN);
            }
            for bit in ones(masks.escape | ends | headers) {
                if ends >> bit & 1 == 1 {
                    self.literal_end(at + bit - 1);
                } else {
                    self.lead(at + bit);
                }
            }
        }
    }

    fn word(&mut self, start: usize) {
        if start >= self.base64_end
            && let Some(run) = base64::run_at(self.content, start)
        {
            self.base64_end = run.range.end;
            self.runs.push(run);
        }
    }

    fn lead(&mut self, at: usize) {
        match self.content[at] {
            b'|' | b'>' => {
                let atoms = joint::in_block_scalar(self.content, at);
                if let (Some(first), Some(last)) = (atoms.first(), atoms.last()) {
                    let range = first.range.start..last.range.end;
                    self.runs.push(Run { form: Form::Joined, range, atoms });
                }
            }
            b'\\' if matches!(self.content.get(at + 1), Some(b'\n' | b'\r')) => {
                if let Some(joint) = joint::after_backslash(self.content, at) {
                    self.add(Form::Joined, joint);
                }
            }
            _ => {
                if let Some((form, atom)) = escape::escape_at(self.content, at) {
                    self.add(form, atom);
                }
            }
        }
    }

    fn literal_end(&mut self, at: usize) {
        if let Some(joint) = joint::between_literals(self.content, at) {
            self.add(Form::Joined, joint);
        }
    }

    fn add(&mut self, form: Form, atom: Atom) {
        let place = Self::CLUSTERED.iter().position(|clustered| *clustered == form).expect("it has atoms");
        let open = &mut self.open[place];
        match open {
            // A joint may be seen from both of its ends.
            Some(run) if atom.range.start < run.range.end => {}
            Some(run) if atom.range.start - run.range.end <= MAX_GAP => {
                run.range.end = atom.range.end;
                run.atoms.push(atom);
            }
            _ => {
                let run = Run { form, range: atom.range.clone(), atoms: vec![atom] };
                self.runs.extend(open.replace(run));
            }
        }
    }

    /// Whether bytes from `at` on may belong to a run that touches the range.
    fn may_reach(&self, range: &Range<usize>, at: usize) -> bool {
        let is_open = |run: &Run| run.range.start <= range.end && at <= run.range.end + MAX_GAP + CHUNK;
        self.open.iter().flatten().any(is_open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_has_the_runs_of_the_whole_that_touch_it(
            pieces in prop::collection::vec(
                prop_oneof![
                    "[ a-z\n]{1,40}",
                    "[A-Za-z0-9+/]{1,80}\n?",
                    Just("cGFzc3dvcmQgaXMgdGhpcw==".to_owned()),
                    Just("\n\n".to_owned()),
                    Just("dXNlcjogc29tZW9uZSBhbmQgcGFzc3dvcmQ6IHNlY3JldCBhbmQgc28gb24gYWdh\n".to_owned()),
                    Just("%3D".to_owned()),
                    Just("\\u003d".to_owned()),
                    Just("&quot;".to_owned()),
                    Just("\"abc\" + \"def\"".to_owned()),
                    Just("abc\\\n  def".to_owned()),
                    Just("key: |\n  abc\n  def\n".to_owned()),
                    "[ \n]{100,300}",
                ],
                0..60,
            ),
            start: prop::sample::Index,
            end: prop::sample::Index,
        ) {
            let content = pieces.concat();
            let content = content.as_bytes();
            let (one, other) = (start.index(content.len() + 1), end.index(content.len() + 1));
            let range = one.min(other)..one.max(other);
            let sorted = |mut runs: Vec<Run>| {
                runs.sort_by_key(|run| (run.range.start, run.range.end, run.form));
                runs
            };
            let mut all = encoded_runs(content, 0..content.len());
            all.retain(|run| run.range.start <= range.end && run.range.end >= range.start);
            prop_assert_eq!(sorted(encoded_runs(content, range)), sorted(all));
        }
    }

    #[test]
    fn tokens_are_found_wherever_they_stand() {
        let encoded = "dXNlcjogc29tZW9uZQ";
        for before in 0..200 {
            let content = format!("{}{encoded}", " ".repeat(before));
            let runs = encoded_runs(content.as_bytes(), 0..content.len());
            assert_eq!(runs.len(), 1, "{before}");
            assert_eq!(runs[0].range, before..content.len());
        }
    }
}
