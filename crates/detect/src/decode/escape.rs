//! Escapes that stand for one character each.

use super::{Atom, Form, hex_digit, is_text};

/// The named character references (HTML 5, section 13.5) that a secret, or what surrounds one, may be written with.
const NAMED: [(&str, u8); 31] = [
    ("quot", b'"'),
    ("amp", b'&'),
    ("lt", b'<'),
    ("gt", b'>'),
    ("apos", b'\''),
    ("nbsp", b' '),
    ("equals", b'='),
    ("colon", b':'),
    ("sol", b'/'),
    ("plus", b'+'),
    ("lowbar", b'_'),
    ("num", b'#'),
    ("percnt", b'%'),
    ("dollar", b'$'),
    ("commat", b'@'),
    ("period", b'.'),
    ("comma", b','),
    ("excl", b'!'),
    ("ast", b'*'),
    ("lpar", b'('),
    ("rpar", b')'),
    ("lsqb", b'['),
    ("rsqb", b']'),
    ("lcub", b'{'),
    ("rcub", b'}'),
    ("semi", b';'),
    ("quest", b'?'),
    ("bsol", b'\\'),
    ("Hat", b'^'),
    ("grave", b'`'),
    ("NewLine", b'\n'),
];
/// The longest name, `&#x0000FFFF;` and `\u{0000FFFF}` included.
const MAX_LEN: usize = 12;

/// The escape that starts at `at`, if it stands for a character of text in ASCII: no other matters to a rule.
pub(super) fn escape_at(content: &[u8], at: usize) -> Option<(Form, Atom)> {
    let rest = &content[at..content.len().min(at + MAX_LEN)];
    let (form, len, stands_for) = match rest {
        [b'%', digits @ ..] => (Form::Percent, 3, hex(digits.get(..2)?)?),
        [b'\\', b'x', digits @ ..] => (Form::Unicode, 4, hex(digits.get(..2)?)?),
        [b'\\', b'u', b'{', rest @ ..] => {
            let len = rest.iter().position(|byte| *byte == b'}')?;
            (Form::Unicode, len + 4, hex(&rest[..len])?)
        }
        [b'\\', b'u', digits @ ..] => (Form::Unicode, 6, hex(digits.get(..4)?)?),
        [b'\\', b'U', digits @ ..] => (Form::Unicode, 10, hex(digits.get(..8)?)?),
        [b'&', rest @ ..] => {
            let len = rest.iter().position(|byte| *byte == b';')?;
            (Form::Html, len + 2, reference(&rest[..len])?)
        }
        _ => return None,
    };
    is_text(stands_for).then(|| (form, Atom { range: at..at + len, stands_for: Some(stands_for) }))
}

fn hex(digits: &[u8]) -> Option<u8> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u8, |value, digit| value.checked_mul(16)?.checked_add(hex_digit(*digit)?))
}

fn reference(name: &[u8]) -> Option<u8> {
    match name {
        [b'#', b'x' | b'X', digits @ ..] => hex(digits),
        [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => NAMED.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, byte)| *byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_text_are_read() {
        for (escape, form) in [
            ("%3d", Form::Percent),
            ("%3D", Form::Percent),
            ("\\x3d", Form::Unicode),
            ("\\u003d", Form::Unicode),
            ("\\u{3d}", Form::Unicode),
            ("\\U0000003D", Form::Unicode),
            ("&#61;", Form::Html),
            ("&#x3d;", Form::Html),
            ("&#X3D;", Form::Html),
            ("&equals;", Form::Html),
        ] {
            let content = format!("a{escape}b");
            let atom = Atom { range: 1..1 + escape.len(), stands_for: Some(b'=') };
            assert_eq!(escape_at(content.as_bytes(), 1), Some((form, atom)), "{escape}");
            for cut in 1..escape.len() {
                assert_eq!(escape_at(&content.as_bytes()[..1 + cut], 1), None, "{escape} cut at {cut}");
            }
        }
    }

    #[test]
    fn other_characters_are_left_alone() {
        for escape in [
            "%02d",
            "%s",
            "%d",
            "%zz",
            "\\u4e2d",
            "\\u{1F600}",
            "\\x1b",
            "\\n",
            "&#27;",
            "&#300;",
            "&&",
            "&eacute;",
            "\\u{}",
        ] {
            assert_eq!(escape_at(escape.as_bytes(), 0), None, "{escape}");
        }
    }
}
