//! Where one text goes on in the next literal or line.

use super::{Atom, is_token};

/// White space between two literals, and a line to be joined, are looked through up to this length.
const MAX_GAP: usize = 200;
/// The lines of a block scalar that are joined.
const MAX_LINES: usize = 200;

fn joint(start: usize, end: usize) -> Atom {
    Atom { range: start..end, stands_for: None }
}

/// The joint of two string literals, of which the first ends with the quote at `at`: `"abc" + "def"`, `"abc" "def"`,
/// `'abc' . 'def'`, `"abc" & _` and so on. What meets there must look like a token: sentences end with a space.
pub(super) fn between_literals(content: &[u8], at: usize) -> Option<Atom> {
    let content = &content[..content.len().min(at + MAX_GAP)];
    let mut next = skip_space(content, at + 1);
    let is_spaced = next > at + 1;
    let operator = [&b".."[..], b"||", b"<>", b"+", b".", b"&", b"~"];
    let operator = operator.iter().find(|operator| content[next..].starts_with(operator));
    if let Some(operator) = operator {
        next = skip_space(content, next + operator.len());
    }
    // The line goes on: a backslash in many languages, an underscore in Visual Basic.
    let goes_on = matches!(content.get(next..next + 2)?, [b'\\' | b'_', b'\n' | b'\r']);
    if goes_on {
        next = skip_space(content, next + 1);
    }
    if operator.is_none() && !is_spaced {
        return None;
    }
    // The kind of the literal, as in `b"def"`.
    if matches!(content.get(next)?, b'r' | b'b' | b'f' | b'u' | b'L' | b'@') {
        next += 1;
    }
    let is_literal = matches!(content.get(next)?, b'"' | b'\'') && is_token(*content.get(next + 1)?);
    is_literal.then(|| joint(at, next + 1))
}

/// The joint of two lines, of which the first ends with the backslash at `at`, in the middle of a token.
pub(super) fn after_backslash(content: &[u8], at: usize) -> Option<Atom> {
    if at == 0 || !is_token(content[at - 1]) {
        return None;
    }
    let start = start_of_next_line(content, at + 1)?;
    is_token(*content.get(start)?).then(|| joint(at, start))
}

/// The joints of a YAML block scalar whose header, `|` or `>`, stands at `at` after `key: `: the header, and the line
/// breaks between lines that are all token.
pub(super) fn in_block_scalar(content: &[u8], at: usize) -> Vec<Atom> {
    let is_after_key = content[..at].ends_with(b": ");
    let header =
        content[at + 1..].iter().take(2).take_while(|byte| matches!(byte, b'+' | b'-' | b'1'..=b'9'));
    let header_end = at + 1 + header.count();
    let mut joints = Vec::new();
    let mut line_break = Some((at, header_end)).filter(|_| is_after_key);
    while let Some((from, line_end)) = line_break.take()
        && joints.len() < MAX_LINES
        && let Some(start) = start_of_next_line(content, line_end)
        && is_indented(content, start)
        && content.get(start).is_some_and(|byte| is_token(*byte))
    {
        joints.push(joint(from, start));
        let len = content[start..]
            .iter()
            .take_while(|byte| is_token(**byte) || matches!(byte, b'=' | b'.'))
            .count();
        line_break = Some((start + len, start + len));
    }
    joints
}

fn is_indented(content: &[u8], start: usize) -> bool {
    start > 0 && matches!(content[start - 1], b' ' | b'\t')
}

/// Past the line break at `at` and the indentation after it.
fn start_of_next_line(content: &[u8], at: usize) -> Option<usize> {
    let rest = &content[at..];
    let rest = rest.strip_prefix(b"\r").unwrap_or(rest).strip_prefix(b"\n")?;
    let indentation = rest.iter().take(MAX_GAP).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    Some(content.len() - rest.len() + indentation)
}

fn skip_space(content: &[u8], at: usize) -> usize {
    at + content[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(content: &str, atoms: impl IntoIterator<Item = Atom>) -> String {
        let (mut text, mut at) = (String::new(), 0);
        for atom in atoms {
            text.push_str(&content[at..atom.range.start]);
            at = atom.range.end;
        }
        text + &content[at..]
    }

    #[test]
    fn literals_are_joined() {
        for content in [
            "\"abc\" + \"def\"",
            "\"abc\"+'def'",
            "\"abc\" \"def\"",
            "\"abc\"\n    \"def\"",
            "'abc' . 'def'",
            "\"abc\" +\n  \"def\"",
            "\"abc\"\n  + \"def\"",
            "\"abc\" \\\n  \"def\"",
            "\"abc\" & _\r\n  \"def\"",
            "\"abc\" .. \"def\"",
            "'abc' || 'def'",
            "b'abc'\nb'def'",
        ] {
            let at = content.find("abc").unwrap() + 3;
            let joined = replaced(content, between_literals(content.as_bytes(), at));
            assert!(joined.contains("abcdef"), "{content}: {joined}");
        }
        for content in [
            "\"abc\", \"def\"",
            "\"abc\"\"def\"",
            "\"abc\" + def",
            "\"abc\" + \" def\"",
            "\"abc\"",
            "\"abc\" +",
        ] {
            assert_eq!(between_literals(content.as_bytes(), 4), None, "{content}");
        }
    }

    #[test]
    fn lines_go_on_after_a_backslash() {
        let content = "abc\\\n  def";
        assert_eq!(replaced(content, after_backslash(content.as_bytes(), 3)), "abcdef");
        assert_eq!(after_backslash(b"abc \\\n  def", 4), None);
        assert_eq!(after_backslash(b"abc\\", 3), None);
    }

    #[test]
    fn block_scalars_are_joined_to_their_key() {
        for (content, joined) in [
            ("key: |\n  abc\n", "key: abc\n"),
            ("key: >-\n    abc\n    def\nother: 1", "key: abcdef\nother: 1"),
            ("key: |+\r\n\tabc def\n\tghi", "key: abc def\n\tghi"),
            ("key: >\nother: 1", "key: >\nother: 1"),
            ("a | b", "a | b"),
        ] {
            let at = content.find(['|', '>']).unwrap();
            assert_eq!(replaced(content, in_block_scalar(content.as_bytes(), at)), joined);
        }
    }
}
