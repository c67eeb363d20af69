//! Secrets that a content holds encoded or in pieces.

use std::sync::Arc;

use data_encoding::{BASE64, BASE64_MIME, BASE64URL_NOPAD, HEXLOWER};
use proptest::prelude::*;
use secretscan_detect::{Copied, Depth, RawMatch, RuleSet, Scanner};

/// A specific rule, and a generic one that needs a name.
const RULES: &str = r#"
[[rules]]
id = 'corp'
regex = '''\bcorp_[a-z0-9]{8}\b'''
[[rules]]
id = 'named'
generic = true
regex = '''(?i)password["']?[ ]?[:=][ ]?["']?([a-z0-9!=+/]{12,64})'''
keywords = ['password']
"#;
const SECRET: &str = concat!("corp_", "q8xv3lm7");

fn scanner_to(decode: u8) -> Scanner {
    let rules = RuleSet::parse(RULES, "test", None).expect("the rules are right");
    Scanner::new(Arc::new(rules)).with_depth(Depth { decode, ..Depth::default() })
}

fn scanner() -> Scanner {
    scanner_to(Depth::default().decode)
}

fn only(content: &str) -> RawMatch {
    let mut found = scanner().scan(content.as_bytes());
    assert_eq!(found.len(), 1, "{content}: {found:?}");
    found.remove(0)
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn entities(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte % 2 == 0 { format!("&#{byte};") } else { format!("&#x{byte:x};") })
        .collect()
}

fn unicode(text: &str) -> String {
    text.bytes().map(|byte| format!("\\u{byte:04x}")).collect()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn every_encoding_is_seen_through() {
    let text = format!("user {SECRET} x");
    for (name, encoded) in [
        ("base64", BASE64.encode(text.as_bytes())),
        ("base64", BASE64URL_NOPAD.encode(text.as_bytes())),
        ("base64", BASE64.encode(&utf16(&text))),
        ("hex", HEXLOWER.encode(text.as_bytes())),
        ("base64>base64", BASE64.encode(BASE64.encode(text.as_bytes()).as_bytes())),
        ("hex>base64", HEXLOWER.encode(BASE64.encode(text.as_bytes()).as_bytes())),
    ] {
        let content = format!("first\n  value: \"{encoded}\" # note\nlast\n");
        let raw = only(&content);
        assert_eq!(raw.secret.expose(), SECRET.as_bytes(), "{encoded}");
        assert_eq!(&content[raw.start..raw.end], encoded);
        assert_eq!((raw.line, raw.column, raw.end_column as usize), (2, 11, 11 + encoded.len()));
        assert_eq!(raw.decoded_from.as_deref(), Some(name));
        assert_eq!(raw.excerpt, "  value: \"****\" # note");
    }
}

#[test]
fn escapes_are_seen_through_and_placed() {
    for (name, encoded) in [
        ("percent", percent(SECRET)),
        ("unicode", unicode(SECRET)),
        ("html", entities(SECRET)),
        ("percent", SECRET.replace('_', "%5f")),
        ("unicode", SECRET.replace('_', "\\u{5F}")),
        ("html", SECRET.replace('_', "&lowbar;")),
        ("unicode>percent", SECRET.replace('_', "\\u00255f")),
    ] {
        let content = format!("a {encoded} b");
        let raw = only(&content);
        assert_eq!(
            (&content[raw.start..raw.end], raw.decoded_from.as_deref()),
            (encoded.as_str(), Some(name))
        );
        assert_eq!(raw.excerpt, "a **** b");
    }
    let raw = only("a=1&amp;password&#61;hunter2hunter2&quot;");
    assert_eq!(
        (raw.secret.expose(), raw.excerpt.as_str()),
        (&b"hunter2hunter2"[..], "a=1&amp;password&#61;****&quot;")
    );
}

#[test]
fn the_name_before_an_encoded_value_counts() {
    let content = format!("kind: Secret\ndata:\n  password: {}\n", BASE64.encode(b"!s3cret-less!"));
    let found = scanner().scan(content.as_bytes());
    assert_eq!(found.len(), 1);
    // The encoded form is itself what the rule looks for.
    assert_eq!(found[0].decoded_from, None);
    let rules = RULES.replace("{12,64}", "{12,16}\\b");
    let scanner = Scanner::new(Arc::new(RuleSet::parse(&rules, "test", None).unwrap()));
    let found = scanner.scan(content.replace('!', "").as_bytes());
    assert_eq!(found.len(), 0);
    let content = format!("data:\n  password: {}\n", BASE64.encode(b"0pen5esame77!"));
    let found = scanner.scan(content.as_bytes());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].secret.expose(), found[0].line), (&b"0pen5esame77"[..], 2));
}

#[test]
fn a_specific_match_in_decoded_text_wins_over_a_generic_one_of_the_encoded_form() {
    let raw = only(&format!("password: \"{}\"", BASE64.encode(SECRET.as_bytes())));
    assert_eq!((raw.secret.expose(), raw.decoded_from.as_deref()), (SECRET.as_bytes(), Some("base64")));
    // And a plain match wins over what is inside of it.
    let rules =
        format!("{RULES}\n[[rules]]\nid = 'outer'\nregex = '''wrapped\\.[A-Za-z0-9+/=]{{10,99}}\\.end'''\n");
    let scanner = Scanner::new(Arc::new(RuleSet::parse(&rules, "test", None).unwrap()));
    let content = format!("wrapped.{}.end", BASE64.encode(SECRET.as_bytes()));
    let found = scanner.scan(content.as_bytes());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].decoded_from, None);
}

#[test]
fn a_token_that_is_base64_is_one_match() {
    let part = |text: String| BASE64URL_NOPAD.encode(text.as_bytes());
    let claims = format!(
        "{{\"sub\":\"1\",\"password\":\"{}\",\"api_key\":\"{}\"}}",
        "Kd83ndlQ92ndk", "q8Xv3Lm7Zt2Rw9Kp4Nc6"
    );
    let header = part(format!("{{\"alg\":\"{}\",\"typ\":\"JWT\"}}", "HS256"));
    let token = format!("{header}.{}.{}", part(claims), "q8Xv3Lm7Zt2Rw9Kp4Nc6Yb1Hd5Gs0Jf8Ae2U");
    let scanner = Scanner::new(secretscan_rules::builtin());
    let found = scanner.scan(format!("cookie {token}").as_bytes());
    let rules: Vec<&str> = found.iter().map(|raw| scanner.rules().rule(raw.rule).id.as_str()).collect();
    assert_eq!(rules, ["jwt"]);
}

#[test]
fn pieces_are_joined() {
    for content in [
        "x = \"corp_\" + \"q8xv3lm7\";",
        "x = \"corp_q8\"\n    \"xv3lm7\"",
        "x = 'corp_q8' . 'xv3lm7';",
        "x = \"corp_q8\" & _\r\n  \"xv3lm7\"",
        "x = \"corp\" + \"_q8x\" + \"v3lm7\"",
        "x: \"corp_q8\\\n   xv3lm7\"",
        "export X=corp_q8\\\nxv3lm7",
    ] {
        let raw = only(content);
        let start = content.find("corp").unwrap();
        assert_eq!((raw.start, raw.secret.expose()), (start, SECRET.as_bytes()), "{content}");
        assert!(content[..raw.end].ends_with("lm7"), "{content}");
        assert_eq!(raw.decoded_from.as_deref(), Some("joined"));
        assert!(!raw.excerpt.contains("corp"), "{}", raw.excerpt);
    }
    let raw = only("password: >-\n  hunter2hunter2\nother: 1\n");
    assert_eq!((raw.secret.expose(), raw.line, raw.column), (&b"hunter2hunter2"[..], 2, 3));
    let encoded = BASE64.encode(SECRET.as_bytes());
    let raw = only(&format!("'{}' + '{}'", &encoded[..9], &encoded[9..]));
    assert_eq!(
        (raw.secret.expose(), raw.decoded_from.as_deref()),
        (SECRET.as_bytes(), Some("joined>base64"))
    );
}

#[test]
fn a_key_in_pieces_is_found() {
    let line = |seed: usize| -> String {
        (0..64).map(|at| char::from(b'A' + u8::try_from((at * seed + at * at / 3) % 26).unwrap())).collect()
    };
    let mark = |word: &str| format!("-----{word} RSA {} KEY-----", ["PRI", "VATE"].concat());
    let lines = [mark("BEGIN"), line(7), line(11), line(5), mark("END")];
    let scanner = Scanner::new(secretscan_rules::builtin());
    for separator in ["\\n\" & _\n    \"", "\\n"] {
        let content = format!("{{\"key\": \"{}\\n\"}}", lines.join(separator));
        let found = scanner.scan(content.as_bytes());
        let rules: Vec<_> = found.iter().map(|raw| scanner.rules().rule(raw.rule).id.as_str()).collect();
        assert_eq!(rules, ["private-key"], "{content}");
        assert!(!found[0].excerpt.contains(&lines[1][..20]));
    }
}

#[test]
fn the_same_secret_plain_and_encoded_is_found_at_both_places() {
    let content = format!("{SECRET}\n{}\n", BASE64.encode(SECRET.as_bytes()));
    let found = scanner().scan(content.as_bytes());
    let places: Vec<u32> = found.iter().map(|raw| raw.line).collect();
    assert_eq!(places, [1, 2]);
}

#[test]
fn the_allow_comment_counts_for_encoded_secrets() {
    let encoded = BASE64.encode(SECRET.as_bytes());
    assert_eq!(scanner().scan(format!("{encoded} # secretscan:{}", "allow").as_bytes()), []);
    assert_eq!(scanner().scan(format!("# secretscan:{}\n{encoded}", "allow").as_bytes()).len(), 1);
}

#[test]
fn base64_of_words_is_no_secret() {
    let scanner = Scanner::new(secretscan_rules::builtin());
    let finds = |value: &str| !scanner.scan(format!("api_secret: \"{value}\"\n").as_bytes()).is_empty();
    assert!(finds("q8Xv3Lm7Zt2Rw9Kp4Nc6Yb1H"));
    assert!(!finds(&BASE64.encode(b"one, 2 and 3 words")));
    assert!(!finds(&BASE64.encode(b"my-placeholder-12")));
    assert!(finds(&BASE64.encode(b"tR0ub4dor&3x")));
}

#[test]
fn depth_limits_decoding() {
    let mut content = SECRET.to_owned();
    for depth in 1..=6 {
        content = BASE64.encode(content.as_bytes());
        let finds = |to: u8| !scanner_to(to).scan(content.as_bytes()).is_empty();
        assert!(finds(depth) && !finds(depth - 1), "{depth}");
    }
}

#[test]
fn no_form_of_a_match_shows_the_encoded_secret() {
    let encoded = BASE64.encode(SECRET.as_bytes());
    let content =
        format!("password = {encoded}; b = {encoded}; c = {}", HEXLOWER.encode(SECRET.repeat(2).as_bytes()));
    for raw in scanner().scan(content.as_bytes()) {
        let shown = format!("{raw:?} {}", raw.excerpt);
        assert!(!shown.contains(&encoded[..4]) && !shown.contains("corp"), "{shown}");
    }
}

#[test]
fn content_made_of_runs_stays_linear() {
    let scanner = Scanner::new(secretscan_rules::builtin());
    for piece in [
        "dXNlcjogc29tZW9uZQ ",
        "%41",
        "%41 ",
        "\\u0041",
        "&#65;",
        "&amp;",
        "%25",
        "\"ab\" + ",
        "ab\\\n",
        "k: |\n ab\n",
        "%2541",
        "\"a\"+",
        "|\n a\n",
    ] {
        let content = piece.repeat(300_000 / piece.len());
        let started = std::time::Instant::now();
        scanner.scan(content.as_bytes());
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{piece}: {:?}", started.elapsed());
    }
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Base64,
    Base64Lines,
    Base64Url,
    Base64Wide,
    Hex,
    Percent,
    Unicode,
    Html,
}

impl Encoding {
    fn encode(self, text: &str) -> String {
        match self {
            Self::Base64 => BASE64.encode(text.as_bytes()),
            Self::Base64Lines => BASE64_MIME.encode(text.as_bytes()).trim_end().to_owned(),
            Self::Base64Url => BASE64URL_NOPAD.encode(text.as_bytes()),
            Self::Base64Wide => BASE64.encode(&utf16(text)),
            Self::Hex => HEXLOWER.encode(text.as_bytes()),
            Self::Percent => percent(text),
            Self::Unicode => unicode(text),
            Self::Html => entities(text),
        }
    }
}

/// A piece of a content; some need their neighbours to mean something.
fn piece() -> impl Strategy<Value = String> {
    let secret = "[a-z0-9]{8}".prop_map(|body| format!("corp_{body}"));
    let encoded = (secret, encodings(2)).prop_map(|(secret, chain)| {
        chain.iter().fold(format!("of {secret} it"), |text, encoding| encoding.encode(&text))
    });
    let words = "([a-z]{1,9} ){20,80}\n\n";
    prop_oneof![
        3 => words,
        2 => encoded,
        1 => Just("\n".to_owned()),
        1 => Just("password: ".to_owned()),
        1 => Just("\" + \"".to_owned()),
        1 => Just("corp_q8".to_owned()),
        1 => Just("xv3lm7".to_owned()),
        1 => Just("key: |\n  ".to_owned()),
        1 => "[A-Za-z0-9+/]{64}\n",
        1 => Just("%5F".to_owned()),
        1 => " {100,600}",
    ]
}

fn encodings(max: usize) -> impl Strategy<Value = Vec<Encoding>> {
    use Encoding::{Base64, Base64Lines, Base64Url, Base64Wide, Hex, Html, Percent, Unicode};
    let one =
        prop::sample::select(vec![Base64, Base64Lines, Base64Url, Base64Wide, Hex, Percent, Unicode, Html]);
    prop::collection::vec(one, 1..=max)
}

proptest! {
    #[test]
    fn a_secret_is_found_through_any_chain(
        before in "([ -~]{0,80}\n){0,3}",
        after in "(\n[ -~]{0,80}){0,3}",
        // Hexadecimal of fewer than 16 bytes is left alone.
        inner_before in "[a-z ]{2,30} ",
        inner_after in " [a-z ]{0,30}",
        body in "[a-z0-9]{8}",
        chain in encodings(3),
        quote in prop::sample::select(vec!["\"", "'", "`", "\n"]),
    ) {
        let secret = format!("corp_{body}");
        let text = format!("{inner_before}{secret}{inner_after}");
        let encoded = chain.iter().fold(text, |text, encoding| encoding.encode(&text));
        let content = format!("{before}{quote}{encoded}{quote}{after}");
        let found = scanner().scan(content.as_bytes());
        let place = before.len() + 1..before.len() + 1 + encoded.len();
        let is_there = |raw: &RawMatch| {
            raw.secret.expose() == secret.as_bytes() && raw.start >= place.start && raw.end <= place.end
                && raw.decoded_from.as_ref().is_some_and(|forms| forms.split('>').count() >= chain.len())
        };
        prop_assert!(found.iter().any(is_there), "{content:?} {found:?}");
        for raw in &found {
            prop_assert!(raw.start < raw.end && raw.end <= content.len());
            prop_assert!(raw.excerpt.chars().count() <= 200);
        }
    }

    #[test]
    fn a_delta_is_scanned_like_a_whole(
        base in prop::collection::vec(piece(), 1..40),
        steps in prop::collection::vec(
            prop::collection::vec((piece(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
            1..4,
        ),
    ) {
        let scanner = scanner();
        let mut content = base.concat().into_bytes();
        let (_, mut landmarks) = scanner.scan_base(&content);
        for step in steps {
            let (mut next, mut copied) = (Vec::new(), Vec::new());
            for (new, one, other) in step {
                next.extend(new.into_bytes());
                let (one, other) = (one.index(content.len() + 1), other.index(content.len() + 1));
                let range = one.min(other)..one.max(other);
                copied.push(Copied { from: range.start, to: next.len(), len: range.len() });
                next.extend(&content[range]);
            }
            let (scanned, of_delta) = scanner.scan_delta(&next, &landmarks, &copied);
            prop_assert_eq!(scanned, scanner.scan_all(&next), "{}", next.escape_ascii());
            (content, landmarks) = (next, of_delta);
        }
    }

    #[test]
    fn what_is_found_plain_does_not_depend_on_depth(content in "([ -~]{0,60}( corp_[a-z0-9]{8} )?\n){0,9}") {
        let plain = |scanner: Scanner| -> Vec<RawMatch> {
            let found = scanner.scan(content.as_bytes()).into_iter();
            found.filter(|raw| raw.decoded_from.is_none()).collect()
        };
        prop_assert_eq!(plain(scanner_to(0)), plain(scanner()));
    }

    #[test]
    fn any_mixture_is_scanned_without_panic(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[A-Za-z0-9+/=_-]{0,60}".prop_map(String::into_bytes),
                "(%[0-9a-f]{2}|\\\\u00[0-9a-f]{2}|&#[0-9]{2};|\"|\\+| |\n|\\\\\n|: \\|\n  ){0,20}".prop_map(String::into_bytes),
            ],
            0..30,
        ),
    ) {
        let scanner = Scanner::new(secretscan_rules::builtin());
        for raw in scanner.scan(&pieces.concat()) {
            prop_assert!(raw.start < raw.end);
        }
    }
}
