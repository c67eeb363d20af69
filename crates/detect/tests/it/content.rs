//! Kinds of content, and where in them a match is said to be.

use std::sync::Arc;

use proptest::prelude::*;
use secretscan_detect::{RawMatch, RuleSet, Scanner};

const SECRET: &str = "corp_q8xv3lm7"; // secretscan:allow

fn scanner() -> Scanner {
    let rule = "[[rules]]\nid = 'corp'\nregex = '''\\bcorp_[a-z0-9]{8}\\b'''\n";
    Scanner::new(Arc::new(RuleSet::parse(rule, "test", None).expect("the rule is right")))
}

fn only(content: &[u8]) -> RawMatch {
    let mut found = scanner().scan(content);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn utf16(text: &str, is_little: bool) -> Vec<u8> {
    text.encode_utf16()
        .flat_map(|unit| if is_little { unit.to_le_bytes() } else { unit.to_be_bytes() })
        .collect()
}

#[test]
fn the_first_and_the_last_byte_count() {
    let raw = only(SECRET.as_bytes());
    assert_eq!((raw.start, raw.end), (0, 13));
    assert_eq!((raw.line, raw.column, raw.end_line, raw.end_column), (1, 1, 1, 14));
    assert_eq!(raw.excerpt, "****");
    assert_eq!(scanner().scan(b""), []);
}

#[test]
fn lines_may_end_with_carriage_returns() {
    let raw = only(format!("one\r\n  key: {SECRET}\r\nthree").as_bytes());
    assert_eq!((raw.line, raw.column, raw.end_line, raw.end_column), (2, 8, 2, 21));
    assert_eq!(raw.excerpt, "  key: ****");
}

#[test]
fn secrets_in_binaries_count() {
    let mut content = vec![0, 0xff, 0xfe, 0x80];
    content.extend(SECRET.as_bytes());
    content.extend([0, 1, 2, 0xff]);
    let raw = only(&content);
    assert_eq!((raw.start, raw.secret.expose()), (4, SECRET.as_bytes()));
}

#[test]
fn a_line_of_two_megabytes() {
    let filler = "var a=function(){return 1};".repeat(40_000);
    let content = format!("{filler}'{SECRET}'{filler}");
    let raw = only(content.as_bytes());
    assert_eq!((raw.line, raw.column as usize), (1, filler.len() + 2));
    assert!(raw.excerpt.chars().count() <= 200 && raw.excerpt.contains("'****'"));
}

#[test]
fn utf16_offsets_are_those_of_the_original() {
    let text = format!("first é 😀\r\nkey = {SECRET};\r\nlast\r\n");
    for is_little in [true, false] {
        for mark in ["", "\u{feff}"] {
            let content = utf16(&format!("{mark}{text}"), is_little);
            let raw = only(&content);
            assert_eq!(content[raw.start..raw.end], utf16(SECRET, is_little));
            assert_eq!((raw.line, raw.column), (2, 7));
            assert_eq!(raw.excerpt, "key = ****;");
        }
    }
}

#[test]
fn a_secret_over_several_lines() {
    let rule = "[[rules]]\nid = 'block'\nregex = '''(?s)BEGIN.{1,99}?FINISH'''\n";
    let scanner = Scanner::new(Arc::new(RuleSet::parse(rule, "test", None).unwrap()));
    let found = scanner.scan(b"a\n BEGIN\nbody\nFINISH b\n");
    assert_eq!(found.len(), 1);
    let raw = &found[0];
    assert_eq!((raw.line, raw.column, raw.end_line, raw.end_column), (2, 2, 4, 7));
    assert_eq!(raw.excerpt, " **** b");
}

#[test]
fn no_form_of_a_match_shows_the_secret() {
    let body = "q8Xv3Lm7Zt2Rw9Kp4Nc6Yb1Hd5Gs0Jf8Ae2U";
    let other = "Zq7Lw2Nx9Rt4Bv6Kc1Md8Fh3Js5Pg0Ty2Ua4";
    let content = format!("a = gh{}_{body}; b = gh{}_{other}", "p", "s");
    for raw in Scanner::new(secretscan_rules::builtin()).scan(content.as_bytes()) {
        let shown = format!("{raw:?} {}", raw.excerpt);
        assert!(!shown.contains(&body[4..]) && !shown.contains(&other[4..]), "{shown}");
    }
}

proptest! {
    #[test]
    fn a_planted_secret_is_found_wherever_it_stands(
        before in prop::collection::vec(any::<u8>(), 0..300),
        after in prop::collection::vec(any::<u8>(), 0..300),
        body in "[a-z0-9]{8}",
    ) {
        let secret = format!(" corp_{body} ");
        let content = [&before, secret.as_bytes(), &after].concat();
        let found = scanner().scan(&content);
        prop_assert!(found.iter().any(|raw| raw.start == before.len() + 1 && raw.secret.expose() == secret.trim().as_bytes()));
        for raw in &found {
            let newlines = content[..raw.start].iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(raw.line as usize, newlines + 1);
            prop_assert!(raw.excerpt.chars().count() <= 200);
        }
    }

    #[test]
    fn utf16_text_is_scanned_like_its_utf8_form(
        lines in prop::collection::vec("[ -~é€😀]{8,30}( corp_[a-z0-9]{8})?", 1..20),
        is_little: bool,
        is_crlf: bool,
    ) {
        let text = lines.join(if is_crlf { "\r\n" } else { "\n" });
        let places = |found: Vec<RawMatch>| -> Vec<_> {
            found.into_iter().map(|raw| (raw.line, raw.column, raw.end_line, raw.end_column, raw.excerpt)).collect()
        };
        let content = utf16(&format!("\u{feff}{text}"), is_little);
        prop_assert_eq!(places(scanner().scan(&content)), places(scanner().scan(text.as_bytes())));
    }

    #[test]
    fn any_bytes_are_scanned_without_panic(content in prop::collection::vec(any::<u8>(), 0..2000)) {
        let scanner = Scanner::new(secretscan_rules::builtin());
        for raw in scanner.scan(&content) {
            scanner.is_reported(&raw, &content, Some("0123"));
        }
    }
}
