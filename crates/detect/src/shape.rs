//! The shape of a secret, as far as a regex can't tell: like words, like encoded text, like a pattern.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

/// A shape that real secrets do not have. A rule names those it rejects with the key `reject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Its characters follow each other as in words and identifiers: `session-token-lifetime`, `getUserById2`.
    Words,
    /// Base64 or hexadecimal of readable text.
    EncodedText,
    /// A part that is repeated, or characters or bytes that count: `0123456789abcdef`, `qwertyuiop`, `00112233aabbccdd`.
    Patterned,
}

impl Shape {
    /// Whether the secret has this shape.
    pub fn holds(self, secret: &[u8]) -> bool {
        match self {
            Self::Words => is_words(secret),
            Self::EncodedText => is_encoded_text(secret),
            Self::Patterned => is_patterned(secret),
        }
    }
}

/// Words and identifiers stay below in 98 of 100 cases, random letters and digits above in 99 of 100.
const LEAST_SURPRISE: f64 = 4.4;
/// The same for a text with fewer than two digits: there are many more such identifiers, and few such secrets.
const LEAST_SURPRISE_OF_LETTERS: f64 = 5.0;
/// So many hexadecimal digits in a row, letters and figures mixed, are no word, though they may look pronounceable.
const HEX_RUN: usize = 16;
/// Shorter texts decode to readable ones by chance.
const MIN_DECODED: usize = 8;

/// `a` to `z`, then any digit, then what separates words.
const CLASSES: usize = 28;
const DIGIT: usize = 26;
const SEPARATOR: usize = 27;
/// What a character that is in no word costs, on either side.
const SYMBOL_SURPRISE: f64 = 6.0;

/// How surprising it is that a class (column) comes after another (row) in words and identifiers, in tenths of a bit:
/// counted over the distinct identifiers of public source code.
#[rustfmt::skip]
const SURPRISE: [[u8; CLASSES]; CLASSES] = [
    [74, 53, 38, 41, 75, 69, 50, 98, 50, 96, 73, 34, 40, 38, 86, 49, 93, 36, 39, 25, 41, 65, 79, 67, 64, 89, 69, 47],
    [30, 63, 58, 75, 34, 80, 74, 90, 43, 41, 82, 29, 74, 81, 43, 78, 88, 58, 43, 74, 30, 91, 93, 93, 45, 89, 55, 27],
    [34, 80, 54, 80, 35, 71, 95, 37, 58, 99, 39, 38, 73, 88, 24, 69, 95, 45, 62, 33, 39, 82, 92, 90, 66, 100, 68, 37],
    [39, 65, 70, 49, 21, 79, 88, 85, 35, 92, 93, 52, 72, 74, 48, 67, 93, 59, 52, 76, 54, 78, 92, 86, 66, 99, 66, 15],
    [47, 71, 42, 41, 68, 57, 64, 94, 84, 96, 95, 52, 56, 34, 81, 57, 60, 26, 33, 40, 84, 65, 59, 50, 65, 99, 77, 23],
    [34, 80, 71, 72, 42, 47, 65, 91, 19, 96, 87, 45, 77, 72, 29, 86, 90, 37, 57, 51, 54, 95, 88, 90, 64, 94, 60, 30],
    [52, 92, 71, 88, 20, 52, 62, 56, 38, 99, 95, 57, 77, 51, 45, 79, 96, 41, 45, 63, 50, 84, 79, 95, 71, 81, 75, 17],
    [30, 85, 83, 71, 21, 88, 95, 92, 34, 98, 88, 77, 67, 76, 30, 72, 97, 54, 69, 40, 58, 92, 94, 95, 80, 88, 49, 22],
    [57, 57, 39, 44, 45, 59, 45, 100, 92, 94, 78, 41, 48, 23, 30, 57, 91, 51, 35, 34, 95, 58, 101, 68, 102, 50, 87, 55],
    [37, 78, 74, 56, 19, 83, 80, 80, 67, 83, 66, 81, 76, 81, 32, 67, 79, 75, 23, 77, 53, 79, 33, 88, 83, 80, 58, 35],
    [55, 77, 78, 73, 15, 75, 63, 78, 39, 93, 75, 60, 76, 63, 70, 72, 87, 78, 40, 68, 56, 72, 82, 93, 75, 89, 64, 16],
    [37, 70, 76, 48, 25, 64, 77, 88, 29, 100, 85, 39, 77, 84, 31, 67, 100, 85, 47, 44, 45, 67, 90, 88, 56, 98, 72, 26],
    [26, 54, 81, 62, 19, 85, 87, 97, 36, 93, 88, 52, 52, 69, 39, 38, 75, 84, 46, 72, 55, 82, 97, 99, 63, 88, 75, 30],
    [40, 84, 45, 38, 38, 46, 35, 88, 51, 96, 70, 70, 82, 54, 46, 78, 93, 87, 39, 26, 60, 59, 94, 90, 75, 98, 79, 22],
    [54, 55, 45, 45, 88, 64, 58, 91, 63, 87, 54, 46, 45, 21, 53, 43, 101, 27, 50, 48, 41, 60, 56, 72, 86, 98, 88, 40],
    [30, 89, 73, 62, 30, 85, 83, 67, 47, 100, 75, 40, 83, 82, 32, 47, 90, 29, 55, 34, 48, 83, 88, 90, 74, 100, 68, 29],
    [76, 76, 74, 77, 73, 83, 78, 78, 77, 87, 76, 41, 82, 77, 68, 77, 74, 63, 57, 48, 7, 77, 75, 80, 78, 82, 56, 28],
    [37, 77, 60, 58, 22, 74, 51, 97, 34, 101, 62, 51, 60, 65, 37, 81, 101, 52, 44, 46, 61, 52, 85, 99, 52, 99, 80, 24],
    [53, 92, 55, 80, 27, 82, 73, 51, 43, 100, 70, 62, 76, 81, 50, 47, 82, 72, 38, 26, 49, 86, 75, 101, 66, 91, 75, 18],
    [40, 93, 60, 80, 27, 82, 90, 35, 30, 100, 97, 64, 76, 87, 41, 60, 102, 41, 49, 52, 62, 96, 85, 80, 50, 98, 75, 19],
    [58, 43, 55, 64, 36, 62, 64, 98, 48, 97, 93, 37, 44, 35, 77, 44, 101, 26, 33, 24, 88, 85, 97, 79, 99, 90, 71, 62],
    [24, 81, 61, 83, 12, 83, 80, 86, 26, 91, 90, 61, 79, 87, 54, 85, 84, 81, 72, 82, 87, 82, 80, 97, 88, 90, 47, 37],
    [33, 83, 71, 70, 34, 85, 80, 43, 27, 91, 67, 69, 89, 46, 30, 83, 85, 38, 48, 51, 85, 84, 63, 77, 92, 85, 67, 23],
    [53, 80, 38, 77, 47, 65, 89, 71, 46, 89, 87, 76, 57, 83, 81, 29, 91, 77, 68, 25, 89, 86, 88, 56, 45, 88, 42, 17],
    [68, 78, 68, 78, 64, 83, 86, 88, 66, 93, 89, 60, 57, 49, 68, 31, 95, 81, 42, 50, 89, 92, 78, 91, 87, 76, 67, 7],
    [24, 74, 75, 75, 13, 73, 77, 77, 48, 84, 83, 65, 64, 79, 51, 72, 85, 66, 55, 74, 67, 82, 72, 76, 58, 61, 56, 27],
    [58, 66, 61, 66, 65, 66, 83, 78, 81, 82, 82, 72, 75, 77, 80, 75, 85, 76, 73, 72, 77, 78, 82, 63, 85, 81, 10, 16],
    [39, 51, 33, 46, 46, 48, 54, 51, 46, 64, 66, 49, 44, 49, 48, 41, 77, 39, 33, 40, 54, 60, 55, 76, 87, 78, 49, 56],
];

/// The class of a character; `None`: it is in no word.
fn class(byte: u8) -> Option<usize> {
    match byte {
        b'a'..=b'z' => Some(usize::from(byte - b'a')),
        b'A'..=b'Z' => Some(usize::from(byte - b'A')),
        b'0'..=b'9' => Some(DIGIT),
        b'_' | b'-' | b'.' | b'/' | b':' | b',' | b' ' => Some(SEPARATOR),
        _ => None,
    }
}

fn is_words(secret: &[u8]) -> bool {
    if has_hex_run(secret) {
        return false;
    }
    let mut sum = 0.0;
    let mut steps = 0_u32;
    let mut step = |from: Option<usize>, to: Option<usize>| {
        steps += 1;
        sum += match (from, to) {
            (Some(from), Some(to)) => f64::from(SURPRISE[from][to]) / 10.0,
            _ => SYMBOL_SURPRISE,
        };
    };
    for pair in secret.windows(2) {
        let (from, to) = (class(pair[0]), class(pair[1]));
        // A capital in the middle begins a word.
        if pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase() {
            step(from, Some(SEPARATOR));
            step(Some(SEPARATOR), to);
        } else {
            step(from, to);
        }
    }
    let figures = secret.iter().filter(|byte| byte.is_ascii_digit()).count();
    let least = if figures < 2 { LEAST_SURPRISE_OF_LETTERS } else { LEAST_SURPRISE };
    sum < least * f64::from(steps)
}

fn has_hex_run(secret: &[u8]) -> bool {
    secret.split(|byte| !byte.is_ascii_hexdigit()).any(|run| {
        let figures = run.iter().filter(|byte| byte.is_ascii_digit()).count();
        run.len() >= HEX_RUN && figures * 8 >= run.len() && (run.len() - figures) * 8 >= run.len()
    })
}

fn is_encoded_text(secret: &[u8]) -> bool {
    let body = secret.trim_ascii_end();
    let body = &body[..body.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1)];
    [&HEXLOWER_PERMISSIVE, &BASE64_NOPAD, &BASE64URL_NOPAD].iter().any(|encoding| {
        encoding.decode(body).is_ok_and(|bytes| bytes.len() >= MIN_DECODED && is_text(&bytes))
    })
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\0')))
}

fn is_patterned(secret: &[u8]) -> bool {
    let lower: Vec<u8> =
        secret.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
    if lower.len() < MIN_DECODED {
        return false;
    }
    let repeats = |period: usize| lower.iter().zip(&lower[period..]).all(|(a, b)| a == b);
    if (1..=lower.len() / 2).any(repeats) {
        return true;
    }
    let neighbours = lower.windows(2).filter(|pair| are_neighbours(pair[0], pair[1])).count();
    if neighbours * 10 >= (lower.len() - 1) * 6 {
        return true;
    }
    HEXLOWER_PERMISSIVE.decode(&lower).is_ok_and(|bytes| {
        let step = |pair: &[u8]| pair[1].wrapping_sub(pair[0]);
        let steady = bytes.windows(3).filter(|three| step(&three[..2]) == step(&three[1..])).count();
        bytes.len() > 4 && steady * 10 >= (bytes.len() - 2) * 6
    })
}

/// Whether two characters are equal or next to each other in the alphabet, in counting, or on a keyboard.
fn are_neighbours(a: u8, b: u8) -> bool {
    const ROWS: [&[u8]; 4] = [b"1234567890", b"qwertyuiop", b"asdfghjkl", b"zxcvbnm"];
    a.abs_diff(b) <= 1
        || ROWS.iter().any(|row| {
            let at = |byte| row.iter().position(|key| *key == byte);
            matches!((at(a), at(b)), (Some(a), Some(b)) if a.abs_diff(b) == 1)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_random_characters() {
        for text in [
            "session-token-lifetime",
            "getUserById2",
            "com.corp.app.UserTokenService2",
            "libngtcp2_crypto_wolfssl",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "1.2.840.113549.1.1.11",
        ] {
            assert!(Shape::Words.holds(text.as_bytes()), "{text}");
        }
        for text in [
            "hV7kQ2mP9xT4",
            "zXqvKjTwPhRbMgNf",
            "Xk29-Lm48-Qp71-Zr05",
            "k#9vL!x@2Qz$",
            "9f86d081884c7d659a2feaa0c55ad015",
            "tok_9f86d081884c7d659a2feaa0",
        ] {
            assert!(!Shape::Words.holds(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn encoded_text_is_what_decodes_to_text() {
        for text in ["aGVsbG8gd29ybGQgZm9vIGJhcg==", "aGVsbG8gd29ybGQgZm9vIGJhcg", "68656c6c6f20776f726c64"] {
            assert!(Shape::EncodedText.holds(text.as_bytes()), "{text}");
        }
        for text in ["hV7kQ2mP9xT4wE1z", "9f86d081884c7d659a2feaa0c55ad015", "Zm9v", ""] {
            assert!(!Shape::EncodedText.holds(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn patterns_repeat_or_count() {
        for text in [
            "0123456789abcdef",
            "qwertyuiop12",
            "00112233445566778899aabbccddeeff",
            "000102030405060708090a0b0c0d0e0f",
            "deadbeefdeadbeef",
            "abc1abc1abc1abc1",
            "fffefdfcfbfaf9f8",
            "11-11-11-11-11",
        ] {
            assert!(Shape::Patterned.holds(text.as_bytes()), "{text}");
        }
        for text in ["hV7kQ2mP9xT4wE1z", "9f86d081884c7d659a2feaa0c55ad015", "a", ""] {
            assert!(!Shape::Patterned.holds(text.as_bytes()), "{text}");
        }
    }
}
