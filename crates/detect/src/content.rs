//! Forms of content: UTF-16 and UTF-32 next to plain bytes, and lines.

/// How much of the content tells whether it is UTF-16 or UTF-32 without a byte order mark.
const SAMPLE: usize = 4096;
/// Shorter content without a byte order mark is taken for bytes.
const MIN_LEN: usize = 16;

/// The byte order mark of UTF-8.
pub(crate) const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";

/// UTF-16 or UTF-32 content as UTF-8.
pub(crate) struct Transcoded {
    /// The text without a byte order mark; what is no character is replaced.
    pub(crate) text: Vec<u8>,
    encoding: Encoding,
    /// Length of the byte order mark in the original.
    mark_len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Encoding {
    /// Bytes of a code unit: 2 or 4.
    width: usize,
    /// Whether the low byte comes first.
    is_little: bool,
}

impl Transcoded {
    /// The content as UTF-8, if it looks like UTF-16 or UTF-32.
    pub(crate) fn of(content: &[u8]) -> Option<Self> {
        let (mark_len, encoding) = detect(content)?;
        let bytes = &content[mark_len..];
        let text: String = if encoding.width == 2 {
            let pairs = bytes.as_chunks::<2>().0.iter();
            let read = if encoding.is_little { u16::from_le_bytes } else { u16::from_be_bytes };
            let units = char::decode_utf16(pairs.map(|pair| read(*pair)));
            units.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        } else {
            let units = bytes.as_chunks::<4>().0.iter();
            let read = if encoding.is_little { u32::from_le_bytes } else { u32::from_be_bytes };
            let character = |unit: &[u8; 4]| char::from_u32(read(*unit));
            units.map(|unit| character(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        };
        Some(Self { text: text.into_bytes(), encoding, mark_len })
    }

    /// The offset in the original of a byte of the text; inside a character, that of the character.
    pub(crate) fn original_offset(&self, at: usize) -> usize {
        let before = &self.text[..at];
        // In UTF-16, characters of four bytes, and only those, are two units.
        let pairs = if self.encoding.width == 2 { before.iter().filter(|b| **b >= 0xF0).count() } else { 0 };
        self.mark_len + self.encoding.width * (characters(before) + pairs)
    }
}

/// Length of the byte order mark and the encoding.
fn detect(content: &[u8]) -> Option<(usize, Encoding)> {
    let encoding = |width, is_little| Encoding { width, is_little };
    match content {
        [0xFF, 0xFE, 0, 0, ..] => return Some((4, encoding(4, true))),
        [0, 0, 0xFE, 0xFF, ..] => return Some((4, encoding(4, false))),
        [0xFF, 0xFE, ..] => return Some((2, encoding(2, true))),
        [0xFE, 0xFF, ..] => return Some((2, encoding(2, false))),
        _ => {}
    }
    if content.len() < MIN_LEN {
        return None;
    }
    let sample = &content[..content.len().min(SAMPLE) & !3];
    // What has no zero at all is by far the most common.
    memchr::memchr(0, sample)?;
    // Mostly ASCII text has zeros in all bytes of most units but the lowest, and few there.
    let zeros = |offset, step| sample.iter().skip(offset).step_by(step).filter(|byte| **byte == 0).count();
    let is_text = |step: usize, lowest: usize| {
        let units = sample.len() / step;
        let mut high = (0..step).filter(|offset| *offset != lowest);
        zeros(lowest, step) * 10 <= units && high.all(|at| zeros(at, step) * 10 >= units * 7)
    };
    [(4, true), (4, false), (2, true), (2, false)]
        .into_iter()
        .find(|(width, is_little)| is_text(*width, if *is_little { 0 } else { width - 1 }))
        .map(|(width, is_little)| (0, encoding(width, is_little)))
}

/// A position in content that moves forward and knows its line.
#[derive(Clone)]
pub(crate) struct LineCursor<'a> {
    content: &'a [u8],
    at: usize,
    line: usize,
    line_start: usize,
    /// Characters between the start of the line and `at`.
    passed: usize,
}

impl<'a> LineCursor<'a> {
    pub(crate) fn new(content: &'a [u8]) -> Self {
        Self { content, at: 0, line: 1, line_start: 0, passed: 0 }
    }

    /// Moves forward; lines end with a line feed.
    pub(crate) fn advance(&mut self, to: usize) {
        for newline in memchr::memchr_iter(b'\n', &self.content[self.at..to]) {
            self.line += 1;
            self.line_start = self.at + newline + 1;
            self.passed = 0;
        }
        self.passed += characters(&self.content[self.at.max(self.line_start)..to]);
        self.at = to;
    }

    /// The line, from 1.
    pub(crate) fn line(&self) -> u32 {
        u32::try_from(self.line).unwrap_or(u32::MAX)
    }

    /// The column in characters, from 1.
    pub(crate) fn column(&self) -> u32 {
        u32::try_from(self.passed + 1).unwrap_or(u32::MAX)
    }

    /// The column after the character that the byte here belongs to.
    pub(crate) fn next_column(&self) -> u32 {
        self.column().saturating_add(u32::from(is_first_byte(self.content[self.at])))
    }

    /// Where the line starts.
    pub(crate) fn line_start(&self) -> usize {
        self.line_start
    }
}

/// Whether a byte starts a character of UTF-8. What is not UTF-8 counts a byte as a character, but for those that
/// could continue one.
fn is_first_byte(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| is_first_byte(**byte)).count()
}

/// The end of the line that `at` lies in, without its line break, looking at most `limit` bytes ahead.
pub(crate) fn line_end(content: &[u8], at: usize, limit: usize) -> usize {
    let end = content.len().min(at.saturating_add(limit));
    let line = &content[at..end];
    match memchr::memchr(b'\n', line) {
        Some(newline) if line[..newline].ends_with(b"\r") => at + newline - 1,
        Some(newline) => at + newline,
        None => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str, width: usize, is_little: bool) -> Vec<u8> {
        let units: Vec<u32> = if width == 2 {
            text.encode_utf16().map(u32::from).collect()
        } else {
            text.chars().map(u32::from).collect()
        };
        let bytes = |unit: u32| {
            let bytes = unit.to_le_bytes();
            let (low, high) = (bytes[..width].to_vec(), bytes[..width].iter().rev().copied().collect());
            if is_little { low } else { high }
        };
        units.into_iter().flat_map(bytes).collect()
    }

    #[test]
    fn wide_encodings_are_recognised_with_and_without_mark() {
        let text = "key = value, and é 😀 more text";
        for (width, is_little) in [(2, true), (2, false), (4, true), (4, false)] {
            for mark in ["", "\u{feff}"] {
                let content = encode(&format!("{mark}{text}"), width, is_little);
                let transcoded = Transcoded::of(&content).unwrap();
                assert_eq!(transcoded.text, text.as_bytes());
                let at = text.find("more").unwrap();
                let offset = transcoded.original_offset(at);
                assert_eq!(content[offset..offset + 4 * width], encode("more", width, is_little));
            }
        }
        assert!(Transcoded::of(b"plain text of some length").is_none());
        assert!(Transcoded::of(&[0; 64]).is_none());
        assert!(Transcoded::of(b"").is_none());
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        let mut cursor = LineCursor::new(b"ab\r\ncd\n");
        cursor.advance(1);
        assert_eq!((cursor.line(), cursor.column()), (1, 2));
        cursor.advance(5);
        assert_eq!((cursor.line(), cursor.column(), cursor.line_start()), (2, 2, 4));
        let text = "x\n日é=日本".as_bytes();
        let mut cursor = LineCursor::new(text);
        cursor.advance(text.len() - 6);
        assert_eq!((cursor.line(), cursor.column()), (2, 4));
        cursor.advance(text.len() - 1);
        assert_eq!(cursor.next_column(), 6);
        assert_eq!(line_end(b"ab\r\ncd", 1, 100), 2);
        assert_eq!(line_end(b"abcdef", 1, 3), 4);
    }
}
