//! Secrets that never were any, assembled at run time so that no scanner finds one in this file.

use crate::random::Random;

const LETTERS_AND_DIGITS: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What kind of secret to make; each has a built-in rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretKind {
    /// A classic personal access token of GitHub, with its checksum.
    GitHubToken,
    /// An access key id and a secret access key of AWS: two secrets.
    AwsKeyPair,
    /// A bot token of Slack.
    SlackToken,
    /// A live secret key of Stripe.
    StripeKey,
    /// A private key in PEM armor, over several lines.
    PrivateKey,
    /// A value assigned to a name that says password.
    Password,
}

impl SecretKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::GitHubToken,
        Self::AwsKeyPair,
        Self::SlackToken,
        Self::StripeKey,
        Self::PrivateKey,
        Self::Password,
    ];
}

/// A text with one or more secrets, to be put into a file.
#[derive(Clone, Debug)]
pub struct SecretText {
    /// One or more whole lines, with line feeds, as they could stand in a settings file.
    pub text: String,
    /// The ids of the built-in rules that find something there, with the secret that each finds.
    pub secrets: Vec<(&'static str, String)>,
}

impl SecretText {
    /// A new one; the same for the same state of `random`.
    pub fn new(kind: SecretKind, random: &mut Random) -> Self {
        match kind {
            SecretKind::GitHubToken => {
                let body = random.text(LETTERS_AND_DIGITS, 30);
                let checksum = base62(crc32(body.as_bytes()));
                let token = format!("gh{}_{body}{checksum}", "p");
                Self { text: format!("github = \"{token}\"\n"), secrets: vec![("github-token", token)] }
            }
            SecretKind::AwsKeyPair => {
                let id = format!("{}A{}", "AKI", random.text(BASE32, 16));
                let secret = random.text(BASE64, 40);
                Self {
                    text: format!("aws_access_key_id = {id}\naws_secret_access_key = {secret}\n"),
                    secrets: vec![("aws-access-key-id", id), ("aws-secret-access-key", secret)],
                }
            }
            SecretKind::SlackToken => {
                let (team, bot) = (random.text("123456789", 12), random.text("123456789", 12));
                let token = format!("xox{}-{team}-{bot}-{}", "b", random.text(LETTERS_AND_DIGITS, 24));
                Self { text: format!("slack: {token}\n"), secrets: vec![("slack-token", token)] }
            }
            SecretKind::StripeKey => {
                let key = format!("sk{}live_{}", "_", random.text(LETTERS_AND_DIGITS, 24));
                Self { text: format!("charge('{key}')\n"), secrets: vec![("stripe-live-key", key)] }
            }
            SecretKind::PrivateKey => {
                let lines: String = (0..6).map(|_| random.text(BASE64, 64) + "\n").collect();
                let kind = format!("RSA {} KEY", "PRIVATE");
                let key = format!("-----BEGIN {kind}-----\n{lines}-----END {kind}-----");
                Self { text: format!("{key}\n"), secrets: vec![("private-key", key)] }
            }
            SecretKind::Password => {
                let value = format!("{}7{}4", random.text(LETTERS_AND_DIGITS, 10), random.text(BASE32, 10));
                Self {
                    text: format!("vault_pass{} = \"{value}\"\n", "word"),
                    secrets: vec![("generic-secret-assignment", value)],
                }
            }
        }
    }
}

/// The checksum of zlib and Ethernet (reflected polynomial 0xEDB88320), which GitHub puts at the end of its tokens:
/// <https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Six digits of base 62, leading zeros included.
pub fn base62(mut number: u32) -> String {
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = LETTERS_AND_DIGITS.as_bytes()[(number % 62) as usize];
        number /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(base62(0), "000000");
        assert_eq!(base62(62 * 62 + 61), "00010z");
    }

    #[test]
    fn a_text_holds_its_secrets_and_depends_on_the_seed_alone() {
        for kind in SecretKind::ALL {
            let made = SecretText::new(kind, &mut Random::new(1));
            assert!(made.secrets.iter().all(|(_, secret)| made.text.contains(secret)), "{kind:?}");
            assert!(made.text.ends_with('\n'));
            assert_eq!(made.text, SecretText::new(kind, &mut Random::new(1)).text);
            assert_ne!(made.text, SecretText::new(kind, &mut Random::new(2)).text);
        }
    }
}
