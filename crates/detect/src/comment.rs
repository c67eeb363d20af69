//! Comments that allow what stands on their line.

use crate::content::{LineCursor, line_end};

/// How far from a comment its line is looked at to see whether it stands alone.
const LINE_LIMIT: usize = 256;

/// The lines with allow comments.
pub(crate) struct AllowedLines {
    /// Ascending; with each, whether nothing but the comment stands on it.
    lines: Vec<(u32, bool)>,
}

impl AllowedLines {
    /// Those of comments at these ascending offsets.
    pub(crate) fn new(content: &[u8], comments: &[usize]) -> Self {
        let mut cursor = LineCursor::new(content);
        let mut lines: Vec<(u32, bool)> = Vec::with_capacity(comments.len());
        for comment in comments {
            cursor.advance(*comment);
            if lines.last().is_none_or(|(line, _)| *line < cursor.line()) {
                lines.push((cursor.line(), stands_alone(content, cursor.line_start(), *comment)));
            }
        }
        Self { lines }
    }

    /// Whether a match on lines `first..=last` is allowed: by a comment on any of them or, when they are several and
    /// so have no room for a comment, by one that stands alone on the line before.
    pub(crate) fn allow(&self, first: u32, last: u32) -> bool {
        let start = if first < last { first - 1 } else { first };
        let from = self.lines.partition_point(|(line, _)| *line < start);
        self.lines[from..]
            .iter()
            .take_while(|(line, _)| *line <= last)
            .take(2)
            .any(|(line, is_alone)| *line >= first || *is_alone)
    }
}

/// Whether there is nothing on the line but the words `TOOL:allow` and what is neither letter nor digit.
fn stands_alone(content: &[u8], line_start: usize, comment: usize) -> bool {
    let is_bare = |bytes: &[u8]| !bytes.iter().any(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80);
    let rest = &content[comment..line_end(content, comment, LINE_LIMIT)];
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b':';
    let word = rest.iter().take_while(|byte| is_word(byte)).count();
    comment - line_start <= LINE_LIMIT
        && rest.len() < LINE_LIMIT
        && is_bare(&content[line_start..comment])
        && is_bare(&rest[word..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(content: &str) -> AllowedLines {
        let comments: Vec<usize> = content.match_indices("gitleaks:allow").map(|(at, _)| at).collect();
        AllowedLines::new(content.as_bytes(), &comments)
    }

    #[test]
    fn a_comment_counts_on_every_line_of_a_match() {
        let allowed = allowed("one\n# gitleaks:allow reason\nthree\nx = 1; // gitleaks:allow gitleaks:allow");
        assert_eq!(allowed.lines, [(2, false), (4, false)]);
        assert!(allowed.allow(2, 2) && allowed.allow(1, 2) && allowed.allow(2, 3) && allowed.allow(4, 9));
        assert!(!allowed.allow(1, 1) && !allowed.allow(3, 3) && !allowed.allow(5, 9));
    }

    #[test]
    fn a_lone_comment_counts_on_the_line_before_several() {
        for comment in ["# gitleaks:allow", "\t/* gitleaks:allow */\r", "<!--gitleaks:allow-->"] {
            let allowed = allowed(&format!("one\n{comment}\nthree\nfour"));
            assert_eq!(allowed.lines, [(2, true)], "{comment}");
            assert!(allowed.allow(3, 4) && !allowed.allow(3, 3) && !allowed.allow(4, 5));
        }
        for line in ["x # gitleaks:allow", "# gitleaks:allow x", "é gitleaks:allow"] {
            assert!(!allowed(&format!("{line}\nb\nc")).allow(2, 3), "{line}");
        }
        let far = format!("#{}gitleaks:allow\nb\nc", " ".repeat(LINE_LIMIT));
        assert!(!allowed(&far).allow(2, 3));
    }
}
