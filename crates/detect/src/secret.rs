//! The secret itself, and the keyed hashes that stand for it everywhere outside the process that found it.

use std::fmt;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// From this length on, a masked secret shows its first characters: short secrets are often passwords, and any part
/// of those is too much.
const SHOWN_FROM_LEN: usize = 20;
/// How many leading characters are shown: enough to tell the kind of token.
const SHOWN_CHARS: usize = 4;
const MASK: &str = "****";

/// A secret value: no `Display`, no `Serialize`, masked `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps the value.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(value.into())
    }

    /// The value that a text writes so: JSON and JavaScript may put a backslash before a slash, nested JSON several.
    pub fn from_written(text: &[u8]) -> Self {
        let mut value = Vec::with_capacity(text.len());
        for byte in text {
            while *byte == b'/' && value.last() == Some(&b'\\') {
                value.pop();
            }
            value.push(*byte);
        }
        Self(value)
    }

    /// The value in clear. It must not reach a log, an error, a message or a file.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A text that may be shown: the first four characters of a long secret and a mask of fixed length, for others
    /// the mask alone.
    pub fn masked(&self) -> String {
        mask(&self.0)
    }

    /// HMAC-SHA-256 of the value, lower-case hexadecimal.
    pub fn hash(&self, key: &HashKey) -> String {
        HEXLOWER.encode(&key.digest(&[b"secret", &self.0]))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.masked())
    }
}

/// See [`Secret::masked`].
pub(crate) fn mask(secret: &[u8]) -> String {
    let mut shown = String::with_capacity(SHOWN_CHARS + MASK.len());
    if secret.len() >= SHOWN_FROM_LEN {
        shown.extend(
            secret.iter().take(SHOWN_CHARS).map_while(|b| b.is_ascii_graphic().then_some(*b as char)),
        );
    }
    shown + MASK
}

/// The key of the secret hashes. Whoever has it can test guesses against a hash, so it is a secret too.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

impl HashKey {
    /// A key from bytes of any length; 32 random bytes are right.
    pub fn from_bytes(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// What a finding is known by: its fingerprint (`v2-` and 32 hexadecimal digits, the first half of an HMAC-SHA-256 over rule id
    /// and secret hash, as [`Secret::hash`] gives it), a dot, and the file (16 digits of one over the path).
    pub fn finding_id(&self, rule: &str, secret_hash: &str, path: &[u8]) -> String {
        let secret = self.digest(&[b"finding-v2", rule.as_bytes(), secret_hash.as_bytes()]);
        let file = self.digest(&[b"file-v2", path]);
        format!("v2-{}.{}", HEXLOWER.encode(&secret[..16]), HEXLOWER.encode(&file[..8]))
    }

    /// Each part goes in with its length, so that no two lists of parts share an input.
    fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_is_masked_whole_and_a_long_one_shows_four_characters() {
        assert_eq!(Secret::new("hunter2").masked(), "****");
        let long = Secret::new("abcdefghijklmnopqrstuvwxyz");
        assert_eq!(long.masked(), "abcd****");
        assert_eq!(format!("{long:?}"), "Secret(abcd****)");
        assert_eq!(Secret::new(vec![0xff; 30]).masked(), "****");
    }

    #[test]
    fn a_slash_may_be_written_with_backslashes() {
        for (written, value) in [(r"a\/b", "a/b"), (r"a\\\/b/", "a/b/"), (r"a\b\", r"a\b\"), ("", "")] {
            assert_eq!(Secret::from_written(written.as_bytes()), Secret::new(value), "{written}");
        }
    }

    #[test]
    fn hashes_depend_on_key_and_every_part() {
        let (one, two) = (HashKey::from_bytes(b"one"), HashKey::from_bytes(b"two"));
        let secret = Secret::new("value");
        assert_eq!(secret.hash(&one).len(), 64);
        assert_eq!(secret.hash(&one), secret.hash(&one));
        assert_ne!(secret.hash(&one), secret.hash(&two));
        let id = |rule: &str, hash: &str, path: &[u8]| {
            let id = one.finding_id(rule, hash, path);
            let (fingerprint, file) = id.split_once('.').unwrap();
            (fingerprint.to_owned(), file.to_owned())
        };
        let (fingerprint, file) = id("rule", "00", b"path");
        assert!(fingerprint.starts_with("v2-") && fingerprint.len() == 35 && file.len() == 16);
        assert_ne!(fingerprint, id("rule0", "0", b"path").0);
        let renamed = id("rule", "00", b"other");
        assert!(fingerprint == renamed.0 && file != renamed.1);
    }
}
