//! Checksums that token formats carry: a mistyped or made-up token is told apart without asking its provider.

use crc::{CRC_16_XMODEM, CRC_32_ISO_HDLC, Crc};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};

const CRC_32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const CRC_16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// How a secret proves that it was made by its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// The last six characters are the CRC-32 of those between the last underscore and them, in base 62 with the digits
    /// `0-9A-Za-z`. Source: "Behind GitHub's new authentication token formats" in GitHub's blog; npm does the same.
    Base62Crc32,
    /// After the last underscore come eight hexadecimal digits, the CRC-32 of all that precedes that underscore.
    /// Source: Grafana's documentation of service account tokens.
    HexCrc32,
    /// Base58 with four bytes of a double SHA-256 at the end. Source: Bitcoin's documentation of wallet import format.
    Base58Check,
    /// Source: BIP 173 (Bech32) and BIP 350 (Bech32m).
    Bech32,
    /// Base32 without padding whose last two bytes are the CRC-16/XMODEM of the others, the low one first. Source: the
    /// NATS documentation of NKeys, and SEP-23 of Stellar.
    Base32Crc16,
    /// A JSON Web Token: the first part is a JSON object with `alg`. Source: RFC 7519.
    Jwt,
}

impl Checksum {
    /// Whether the secret's checksum is right.
    pub fn holds(self, secret: &[u8]) -> bool {
        std::str::from_utf8(secret).is_ok_and(|secret| match self {
            Self::Base62Crc32 => base62_crc32(secret),
            Self::HexCrc32 => hex_crc32(secret),
            Self::Base58Check => bs58::decode(secret).with_check(None).into_vec().is_ok(),
            Self::Bech32 => bech32::decode(secret).is_ok(),
            Self::Base32Crc16 => base32_crc16(secret),
            Self::Jwt => is_jwt(secret),
        })
    }
}

fn base62_crc32(secret: &str) -> bool {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let body = secret.rsplit_once('_').map_or(secret, |(_, body)| body);
    let Some((body, checksum)) = body.split_at_checked(body.len().saturating_sub(6)) else { return false };
    let mut rest = CRC_32.checksum(body.as_bytes());
    let mut expected = [0_u8; 6];
    for place in expected.iter_mut().rev() {
        *place = DIGITS[rest as usize % DIGITS.len()];
        rest /= 62;
    }
    checksum.as_bytes() == expected
}

fn hex_crc32(secret: &str) -> bool {
    let Some((body, checksum)) = secret.rsplit_once('_') else { return false };
    checksum.len() == 8 && u32::from_str_radix(checksum, 16) == Ok(CRC_32.checksum(body.as_bytes()))
}

fn base32_crc16(secret: &str) -> bool {
    let Ok(bytes) = BASE32_NOPAD.decode(secret.as_bytes()) else { return false };
    let Some((body, checksum)) = bytes.split_last_chunk::<2>() else { return false };
    u16::from_le_bytes(*checksum) == CRC_16.checksum(body)
}

fn is_jwt(secret: &str) -> bool {
    let header = secret.split('.').next().unwrap_or_default();
    let Ok(bytes) = BASE64URL_NOPAD.decode(header.trim_end_matches('=').as_bytes()) else { return false };
    serde_json::from_slice::<serde_json::Value>(&bytes).is_ok_and(|header| header["alg"].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_hold_and_changed_ones_do_not() {
        // The example key of the Bitcoin wiki's article on the format, the test vector of BIP 173, and RFC 7519's header.
        let wif = ["5HueCGU8rMjxEXxiPuD5BDku4", "MkFqeZyd4dZ1jvhTVqvbTLvyTJ"].concat();
        let jwt = ["eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", ".e30.c2ln"].concat();
        let github = ["zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ", "0mLq17"].concat();
        let nkey = {
            let mut bytes = vec![0x90, 0x20, 1, 2, 3];
            bytes.extend(CRC_16.checksum(&bytes).to_le_bytes());
            BASE32_NOPAD.encode(&bytes)
        };
        let grafana = format!("gl{}_{:08x}", "sa_body", CRC_32.checksum(b"glsa_body"));
        for (checksum, text) in [
            (Checksum::Base62Crc32, format!("gh{}_{github}", "p")),
            (Checksum::HexCrc32, grafana),
            (Checksum::Base58Check, wif),
            (Checksum::Bech32, "A12UEL5L".into()),
            (Checksum::Base32Crc16, nkey),
        ] {
            assert!(checksum.holds(text.as_bytes()), "{checksum:?} {text}");
            let last = text.chars().next_back().unwrap();
            let other = if last == 'B' { 'C' } else { 'B' };
            let changed = format!("{}{other}", &text[..text.len() - 1]);
            assert!(!checksum.holds(changed.as_bytes()), "{checksum:?} {changed}");
        }
        assert!(Checksum::Jwt.holds(jwt.as_bytes()));
        assert!(!Checksum::Jwt.holds(b"eyJhIjoxfQ.e30.c2ln"));
        for checksum in [Checksum::Base62Crc32, Checksum::HexCrc32, Checksum::Base32Crc16, Checksum::Jwt] {
            for text in [&b""[..], b"_", b"\xff", "é".as_bytes()] {
                assert!(!checksum.holds(text));
            }
        }
    }
}
