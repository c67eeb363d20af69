//! The line around a match, fit to be shown: short, every secret in it masked, no control characters.

use std::ops::Range;

use crate::content::line_end;
use crate::secret::mask;

/// How many bytes are shown before the secret, and how many after it.
const AROUND: usize = 85;
/// The greatest length of an excerpt, in characters.
const MAX_CHARS: usize = 200;
const CUT: &str = "…";

/// What stands again on the line is masked too, from this length on: shorter secrets stand in words by chance.
const REPEATED_FROM_LEN: usize = 4;

/// Byte ranges that must not be shown: every secret that any rule saw, sorted, not overlapping.
pub(crate) struct MaskedRanges(Vec<MaskedRange>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct MaskedRange {
    start: usize,
    end: usize,
    /// Whether not even the first characters are shown.
    is_whole: bool,
}

impl MaskedRanges {
    /// The first characters of plain secrets may be shown, of encoded ones none: they would tell of short secrets too.
    pub(crate) fn new(
        plain: impl Iterator<Item = (usize, usize)>,
        encoded: impl Iterator<Item = (usize, usize)>,
    ) -> Self {
        let range = |is_whole| move |(start, end)| MaskedRange { start, end, is_whole };
        Self::merge(plain.map(range(false)).chain(encoded.map(range(true))).collect())
    }

    fn merge(mut ranges: Vec<MaskedRange>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<MaskedRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start < last.end => {
                    last.end = last.end.max(range.end);
                    last.is_whole |= range.is_whole;
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// Those in a part of the content, and where one of them, or the secret, stands there once more: what a rule looks for
    /// around a secret may be around but one of them.
    fn within(&self, content: &[u8], part: Range<usize>, secret: &[u8]) -> Self {
        let first = self.0.partition_point(|range| range.end <= part.start);
        let known = self.0[first..].iter().take_while(|range| range.start < part.end);
        let mut ranges: Vec<MaskedRange> = known.clone().copied().collect();
        let texts = known.map(|range| (&content[range.start..range.end], range.is_whole));
        for (text, is_whole) in texts.chain([(secret, false)]) {
            if text.len() >= REPEATED_FROM_LEN {
                ranges.extend(memchr::memmem::find_iter(&content[part.clone()], text).map(|at| {
                    let start = part.start + at;
                    MaskedRange { start, end: start + text.len(), is_whole }
                }));
            }
        }
        Self::merge(ranges)
    }
}

/// The lines of the secret, which is written at `start..end`; `line_start` is the start of the first one.
pub(crate) fn excerpt(
    content: &[u8],
    masked: &MaskedRanges,
    secret: &[u8],
    (start, end): (usize, usize),
    line_start: usize,
) -> String {
    let mut from = line_start.max(start.saturating_sub(AROUND));
    let to = line_end(content, end, AROUND);
    let mut shown = String::new();
    if from > line_start {
        shown.push_str(CUT);
    }
    for range in masked.within(content, from..to, secret).0 {
        push_clean(&mut shown, &content[from..range.start.max(from)]);
        shown.push_str(&mask(if range.is_whole { b"" } else { &content[range.start..range.end] }));
        from = range.end;
    }
    if from < to {
        push_clean(&mut shown, &content[from..to]);
    }
    let is_cut = to < content.len() && !matches!(content[to], b'\n' | b'\r');
    if let Some((cut, _)) =
        shown.char_indices().nth(MAX_CHARS - 1).filter(|_| is_cut || shown.chars().count() > MAX_CHARS)
    {
        shown.truncate(cut);
    }
    if is_cut && !shown.ends_with(CUT) {
        shown.push_str(CUT);
    }
    shown
}

/// A text fit to be shown, at most 200 characters of it.
pub(crate) fn clean(text: &[u8]) -> String {
    let mut shown = String::new();
    push_clean(&mut shown, text);
    if let Some((cut, _)) = shown.char_indices().nth(MAX_CHARS) {
        shown.truncate(cut);
    }
    shown
}

fn push_clean(shown: &mut String, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    shown.extend(text.chars().map(|c| match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt_of(content: &str, secrets: &[&str], which: usize) -> String {
        let range = |secret: &str| {
            let start = content.find(secret).unwrap();
            (start, start + secret.len())
        };
        let masked = MaskedRanges::new(secrets.iter().map(|secret| range(secret)), [].into_iter());
        let (start, end) = range(secrets[which]);
        let line_start = content[..start].rfind('\n').map_or(0, |newline| newline + 1);
        excerpt(content.as_bytes(), &masked, secrets[which].as_bytes(), (start, end), line_start)
    }

    #[test]
    fn a_secret_that_stands_again_where_no_rule_sees_it_is_masked_too() {
        assert_eq!(
            excerpt_of("key=SECRET # was SECRET, not SECRE", &["SECRET"], 0),
            "key=**** # was ****, not SECRE"
        );
    }

    #[test]
    fn every_secret_on_the_line_is_masked() {
        let content = "first\nid=AAAA secret=\tBBBB;\r\nlast";
        assert_eq!(excerpt_of(content, &["AAAA", "BBBB"], 1), "id=**** secret= ****;");
    }

    #[test]
    fn long_lines_are_cut_on_both_sides() {
        let content = format!("{}SECRET{}", "x".repeat(1000), "é".repeat(1000));
        let shown = excerpt_of(&content, &["SECRET"], 0);
        assert!(shown.chars().count() <= 200 && shown.starts_with('…') && shown.ends_with('…'), "{shown}");
        assert!(shown.contains("x****é"));
    }

    #[test]
    fn a_secret_over_several_lines_becomes_one_mask() {
        assert_eq!(excerpt_of("a\nkey: AA\nBB\nCC end\nb", &["AA\nBB\nCC"], 0), "key: **** end");
    }

    #[test]
    fn a_cut_inside_another_secret_shows_none_of_it() {
        let other = "o".repeat(150);
        let content = format!("{other} key=SECRET {}", "p".repeat(300));
        let shown = excerpt_of(&content, &[&other, "SECRET", &"p".repeat(300)], 1);
        assert!(!shown.contains("ooooo") && !shown.contains("ppppp"), "{shown}");
    }
}
