//! A stretch of content as a reader of its encoded parts sees it, and the way back.

use std::ops::Range;

use super::{Form, Run, base64};
use crate::content::line_end;

/// How much of the content before a run is in its view: from the start of the line before it, but no more than this.
pub(crate) const CONTEXT_BEFORE: usize = 256;
/// How much of the content after a run is in its view: to the end of the next line, but no more than this.
pub(crate) const CONTEXT_AFTER: usize = 128;

/// Text with the original place of each of its bytes.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) text: Vec<u8>,
    /// In order, without gaps, from start to end of text and original. Those that stand for nothing are empty in the
    /// text.
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    text: Range<usize>,
    original: Range<usize>,
    is_replaced: bool,
}

impl View {
    /// The content around the run with the run decoded; `None` if that is no text.
    pub(crate) fn of(content: &[u8], run: &Run) -> Option<Self> {
        let mut view = Self { text: Vec::new(), pieces: Vec::new() };
        let mut at = context_start(content, run.range.start);
        if matches!(run.form, Form::Base64 | Form::Hex) {
            let decoded = base64::decode(run.form, &content[run.range.clone()])?;
            view.copy(content, at..run.range.start);
            view.replace(run.range.clone(), &decoded);
            at = run.range.end;
        }
        for atom in &run.atoms {
            view.copy(content, at..atom.range.start);
            view.replace(atom.range.clone(), atom.stands_for.as_slice());
            at = atom.range.end;
        }
        view.copy(content, at..context_end(content, run.range.end));
        Some(view)
    }

    fn copy(&mut self, content: &[u8], original: Range<usize>) {
        self.push(original.clone(), &content[original], false);
    }

    fn replace(&mut self, original: Range<usize>, text: &[u8]) {
        self.push(original, text, true);
    }

    fn push(&mut self, original: Range<usize>, text: &[u8], is_replaced: bool) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.pieces.push(Piece { text: start..self.text.len(), original, is_replaced });
    }

    /// Whether something in this range of the text, or between two bytes of it, is not as in the original.
    pub(crate) fn is_changed(&self, range: &Range<usize>) -> bool {
        let first = self.pieces.partition_point(|piece| piece.text.end <= range.start);
        self.pieces[first..]
            .iter()
            .take_while(|piece| piece.text.start < range.end)
            .any(|piece| piece.is_replaced && piece.text.end > range.start)
    }

    /// The shortest range of the text with everything in it that is not as in the original.
    pub(crate) fn changed(&self) -> Range<usize> {
        let mut replaced = self.pieces.iter().filter(|piece| piece.is_replaced);
        let start = replaced.next().map_or(0, |piece| piece.text.start);
        start..self.pieces.iter().rfind(|piece| piece.is_replaced).map_or(start, |piece| piece.text.end)
    }

    /// The original of a range of the text that is not empty, with the whole of each replaced part.
    pub(crate) fn original(&self, range: &Range<usize>) -> Range<usize> {
        let piece = |at: usize| {
            let piece = &self.pieces[self.pieces.partition_point(|piece| piece.text.end <= at)];
            (piece, at - piece.text.start)
        };
        let (first, into_first) = piece(range.start);
        let (last, into_last) = piece(range.end - 1);
        let start = if first.is_replaced { first.original.start } else { first.original.start + into_first };
        let end = if last.is_replaced { last.original.end } else { last.original.start + into_last + 1 };
        start..end
    }
}

fn context_start(content: &[u8], at: usize) -> usize {
    let from = at.saturating_sub(CONTEXT_BEFORE);
    let mut newlines = memchr::memrchr_iter(b'\n', &content[from..at]);
    newlines.nth(1).map_or(from, |newline| from + newline + 1)
}

fn context_end(content: &[u8], at: usize) -> usize {
    let end = line_end(content, at, CONTEXT_AFTER);
    let left = CONTEXT_AFTER - (end - at);
    let next = memchr::memchr(b'\n', &content[end..content.len().min(end + left)]);
    next.map_or(end, |newline| line_end(content, end + newline + 1, left - newline - 1))
}

#[cfg(test)]
mod tests {
    use super::super::Atom;
    use super::*;

    #[test]
    fn places_are_found_in_the_original() {
        let content = b"one\ntwo\na%3Db + c\nthree\nfour\n";
        let atoms =
            vec![Atom { range: 9..12, stands_for: Some(b'=') }, Atom { range: 13..16, stands_for: None }];
        let run = Run { form: Form::Percent, range: 9..16, atoms };
        let view = View::of(content, &run).unwrap();
        assert_eq!(view.text, b"two\na=bc\nthree");
        assert_eq!(view.changed(), 5..7);
        assert_eq!(view.original(&(4..5)), 8..9);
        assert_eq!(view.original(&(5..6)), 9..12);
        assert_eq!(view.original(&(4..7)), 8..13);
        assert_eq!(view.original(&(6..8)), 12..17);
        let changed = |range| view.is_changed(&range);
        assert!(changed(5..6) && changed(4..9) && changed(6..8));
        assert!(!changed(0..5) && !changed(6..7) && !changed(7..9));
    }
}
