//! Forms of content: UTF-16 next to plain bytes, and lines.

/// How much of the content tells whether it is UTF-16 without a byte order mark.
const SAMPLE: usize = 4096;
/// Shorter content without a byte order mark is not taken for UTF-16.
const MIN_UTF16_LEN: usize = 16;

/// UTF-16 content as UTF-8.
pub(crate) struct Transcoded {
    /// The text without a byte order mark; lone surrogates are replaced.
    pub(crate) text: Vec<u8>,
    /// Length of the byte order mark in the original.
    mark_len: usize,
}

impl Transcoded {
    /// The content as UTF-8, if it looks like UTF-16.
    pub(crate) fn from_utf16(content: &[u8]) -> Option<Self> {
        let (mark_len, is_little) = detect_utf16(content)?;
        let units = content[mark_len..].chunks_exact(2).map(|pair| {
            let pair = [pair[0], pair[1]];
            if is_little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
        });
        let text: String =
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        Some(Self { text: text.into_bytes(), mark_len })
    }

    /// The offset in the original of a byte of the text; inside a character, that of the character.
    pub(crate) fn original_offset(&self, at: usize) -> usize {
        let before = &self.text[..at];
        // Characters of four bytes, and only those, are two units.
        let units = characters(before) + before.iter().filter(|b| **b >= 0xF0).count();
        self.mark_len + 2 * units
    }
}

/// Length of the byte order mark and whether the low byte comes first.
fn detect_utf16(content: &[u8]) -> Option<(usize, bool)> {
    match content {
        [0xFF, 0xFE, rest @ ..] => return (!rest.starts_with(&[0, 0])).then_some((2, true)),
        [0xFE, 0xFF, ..] => return Some((2, false)),
        _ => {}
    }
    if content.len() < MIN_UTF16_LEN {
        return None;
    }
    // Mostly ASCII text has a zero in most second bytes and in few of the others.
    let sample = &content[..content.len().min(SAMPLE) & !1];
    // What has no zero at all is by far the most common.
    memchr::memchr(0, sample)?;
    let pairs = sample.len() / 2;
    let zeros = |offset| sample.iter().skip(offset).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let is_text = |high: usize, low: usize| high * 10 >= pairs * 7 && low * 10 <= pairs;
    if is_text(odd, even) {
        Some((0, true))
    } else if is_text(even, odd) {
        Some((0, false))
    } else {
        None
    }
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

    fn utf16(text: &str, is_little: bool) -> Vec<u8> {
        text.encode_utf16()
            .flat_map(|unit| if is_little { unit.to_le_bytes() } else { unit.to_be_bytes() })
            .collect()
    }

    #[test]
    fn utf16_is_recognised_with_and_without_mark() {
        let text = "key = value, and é 😀 more text";
        for is_little in [true, false] {
            for mark in ["", "\u{feff}"] {
                let content = utf16(&format!("{mark}{text}"), is_little);
                let transcoded = Transcoded::from_utf16(&content).unwrap();
                assert_eq!(transcoded.text, text.as_bytes());
                let at = text.find("more").unwrap();
                let offset = transcoded.original_offset(at);
                assert_eq!(content[offset..offset + 8], utf16("more", is_little));
            }
        }
        assert!(Transcoded::from_utf16(b"plain text of some length").is_none());
        assert!(Transcoded::from_utf16(&[0; 64]).is_none());
        assert!(Transcoded::from_utf16(b"").is_none());
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
