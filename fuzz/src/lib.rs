//! Texts in which there is something to find: fuzzers do not come upon secrets by chance.

use arbitrary::Arbitrary;

/// What texts are made of. Secrets come into being when parts are joined, so that no scanner finds one here.
const WORDS: [&str; 32] = [
    "\n",
    " ",
    "\"",
    "'",
    " = ",
    ": ",
    "password",
    "aws_secret_access_key",
    "AKI",
    "AQ7ZKD3MNB5VCXSWE",
    "xox",
    "b-",
    "123456789012-",
    "sk_",
    "live_",
    "-----BEGIN RSA ",
    "-----END RSA ",
    "PRIVATE KEY-----",
    "secretscan:allow",
    "gitleaks:allow",
    "https://user:",
    "@host.example/",
    "Authorization: Basic ",
    "eyJhbGciOiJIUzI1NiJ9.",
    "\" +\n    \"",
    "\\n",
    "&quot;",
    "\\u0041",
    "%41",
    "=",
    "\u{feff}",
    "\r\n",
];
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Longer texts are cut: time per input is what a fuzzer has least of.
const MAX_TEXT_BYTES: usize = 1 << 14;

/// A part of a text.
#[derive(Arbitrary, Debug)]
pub enum Piece {
    /// One of the words.
    Word(u8),
    /// Letters that look random: which, and how many.
    Random(u16, u8),
    /// So many dull lines.
    Lines(u8),
    /// Anything.
    Bytes(Vec<u8>),
    /// In base64.
    Base64(Vec<Piece>),
    /// In hexadecimal.
    Hex(Vec<Piece>),
    /// In percent escapes.
    Percent(Vec<Piece>),
}

/// The text of the pieces.
pub fn text(pieces: &[Piece]) -> Vec<u8> {
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Word(word) => text.extend_from_slice(WORDS[usize::from(*word) % WORDS.len()].as_bytes()),
            Piece::Random(seed, length) => text.extend(random(*seed).take(usize::from(*length % 80))),
            Piece::Lines(lines) => {
                (0..lines % 32).for_each(|line| text.extend(format!("let line = {line};\n").bytes()));
            }
            Piece::Bytes(bytes) => text.extend_from_slice(bytes),
            Piece::Base64(inner) => {
                text.extend(data_encoding::BASE64.encode(&self::text(inner)).bytes());
            }
            Piece::Hex(inner) => text.extend(data_encoding::HEXLOWER.encode(&self::text(inner)).bytes()),
            Piece::Percent(inner) => {
                self::text(inner).iter().for_each(|byte| text.extend(format!("%{byte:02X}").bytes()));
            }
        }
        text.truncate(MAX_TEXT_BYTES);
    }
    text
}

/// Knuth's linear congruential generator (MMIX).
fn random(seed: u16) -> impl Iterator<Item = u8> {
    let step = |state: &u64| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    };
    std::iter::successors(Some(u64::from(seed)), step).skip(1).map(|state| LETTERS[(state >> 58) as usize])
}

/// Flips bits of a content.
pub fn damage(content: &mut [u8], flips: &[(u16, u8)]) {
    for (at, bits) in flips {
        let len = content.len().max(1);
        if let Some(byte) = content.get_mut(usize::from(*at) % len) {
            *byte ^= bits;
        }
    }
}
