//! Texts with random parts, so that what looks like a secret exists at run time only.
//!
//! `${hex 32}` stands for 32 hexadecimal digits; [`make`] lists what else there is. What a part takes as its argument may
//! hold parts of its own, and braces that are balanced. What is in such braces and is no part (`${DB_USER}`) stays.

use anyhow::{Context, bail};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use secretscan_testkit::{Random, base62, crc32};

const START: &str = "${";

/// How many characters a line of armor has.
const LINE: usize = 64;

/// Fills in all parts.
pub fn fill(template: &str, random: &mut Random) -> anyhow::Result<String> {
    let mut made = String::new();
    let mut rest = template;
    while let Some(start) = rest.find(START) {
        made.push_str(&rest[..start]);
        let inner = &rest[start + START.len()..];
        let end = closing(inner).with_context(|| format!("a brace is not closed: {}", &rest[start..]))?;
        let (name, argument) = inner[..end].split_once(' ').unwrap_or((&inner[..end], ""));
        if !is_part(name) {
            made.push_str(START);
            rest = inner;
            continue;
        }
        let argument = fill(argument, random)?;
        let part =
            make(name, &argument, &made, random).with_context(|| format!("making {}", &inner[..end]))?;
        made.push_str(&part);
        rest = &inner[end + 1..];
    }
    made.push_str(rest);
    Ok(made)
}

fn is_part(name: &str) -> bool {
    const PARTS: [&str; 14] = [
        "uuid",
        "choose",
        "base64",
        "base64url",
        "lines",
        "hexlines",
        "pem",
        "pemline",
        "pemindent",
        "jwt",
        "crc62",
        "crchex",
        "bech32",
        "agekey",
    ];
    PARTS.contains(&name) || alphabet(name).is_some()
}

/// Where the brace stands that closes the one before the text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_u32;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// A part, given what stands before it.
fn make(name: &str, argument: &str, before: &str, random: &mut Random) -> anyhow::Result<String> {
    if let Some(alphabet) = alphabet(name) {
        return Ok(random.text(&alphabet, argument.parse().context("the length")?));
    }
    Ok(match name {
        "uuid" => uuid(random),
        "choose" => (*random.choose(&argument.split(',').collect::<Vec<_>>())).to_owned(),
        "base64" => BASE64.encode(argument.as_bytes()),
        "base64url" => BASE64URL_NOPAD.encode(argument.as_bytes()),
        "lines" => wrap(argument).join("\n"),
        "hexlines" => {
            let (lines, digits) = argument.split_once(' ').context("lines and digits")?;
            let (lines, digits): (usize, usize) = (lines.parse()?, digits.parse()?);
            (0..lines).map(|_| random.text(HEX, digits)).collect::<Vec<_>>().join("\n")
        }
        "pem" => armor(argument, random)?.join("\n"),
        "pemline" => armor(argument, random)?.join("\\n") + "\\n",
        "pemindent" => armor(argument, random)?.join("\n    "),
        "jwt" => {
            let head = r#"{"alg":"HS256","typ":"JWT"}"#;
            let claims = format!(
                r#"{{"sub":"{}","iss":"ledger","iat":17{}}}"#,
                uuid(random),
                random.text("0123456789", 8)
            );
            let [head, claims] = [head, &claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
            format!("{head}.{claims}.{}", random.text(URL, 43))
        }
        // GitHub's checksum, and npm's: of what follows the last underscore.
        "crc62" => base62(crc32(before.rsplit('_').next().unwrap_or_default().as_bytes())),
        // Grafana's: of all that stands before it.
        "crchex" => format!("_{:08x}", crc32(before.as_bytes())),
        "bech32" => {
            let (prefix, bytes) = argument.split_once(' ').context("prefix and bytes")?;
            bech32(prefix, bytes.parse()?, random)
        }
        "agekey" => bech32("age-secret-key-", 32, random).to_uppercase(),
        _ => bail!("it has no alphabet and no generator"),
    })
}

const HEX: &str = "0123456789abcdef";
const URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BECH32: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The characters that a name stands for.
fn alphabet(name: &str) -> Option<String> {
    const CAPITALS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const SMALL: &str = "abcdefghijklmnopqrstuvwxyz";
    const DIGITS: &str = "0123456789";
    let alphanumeric = format!("{CAPITALS}{SMALL}{DIGITS}");
    Some(match name {
        "hex" => HEX.to_owned(),
        "HEX" => HEX.to_uppercase(),
        // No leading zero, as most numbers have none.
        "digits" => "123456789".to_owned(),
        "abc" => SMALL.to_owned(),
        "letters" => format!("{CAPITALS}{SMALL}"),
        "lower" => format!("{SMALL}{DIGITS}"),
        "upper" => format!("{CAPITALS}{DIGITS}"),
        "alnum" => alphanumeric,
        "url" | "b64url" => URL.to_owned(),
        "b64" => alphanumeric + "+/",
        // crypt(3) has its own.
        "b64dot" => alphanumeric + "./",
        "base32" => format!("{CAPITALS}234567"),
        "lowerbase32" => format!("{SMALL}234567"),
        "base58" => alphanumeric.replace(['0', 'O', 'I', 'l'], ""),
        "pass" => alphanumeric + "!*-_+.",
        // <https://github.com/django/django/blob/main/django/core/management/utils.py>
        "django" => format!("{SMALL}{DIGITS}!@#$%^&*(-_=+)"),
        "ascii" => alphanumeric + "!*-_+.#%@^~()[]=?,:;",
        _ => return None,
    })
}

fn uuid(random: &mut Random) -> String {
    let mut part = |len| random.text(HEX, len);
    format!("{}-{}-4{}-a{}-{}", part(8), part(4), part(3), part(3), part(12))
}

/// Of `first characters,label,number of further characters` the lines of an armored key. No line of ours has the armor.
fn armor(argument: &str, random: &mut Random) -> anyhow::Result<Vec<String>> {
    let mut parts = argument.split(',');
    let mut part = || parts.next().context("first characters, label, length");
    let (first, label, length) = (part()?, part()?, part()?);
    let body = format!("{first}{}", random.text(&alphabet("b64").expect("it is one"), length.parse()?));
    let mut lines = vec![format!("-----{} {label}-----", "BEGIN")];
    lines.extend(wrap(&body));
    lines.push(format!("-----{} {label}-----", "END"));
    Ok(lines)
}

fn wrap(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(LINE).map(|line| line.iter().collect()).collect()
}

/// Random bytes in Bech32, with its checksum: <https://github.com/bitcoin/bips/blob/master/bip-0173.mediawiki>.
fn bech32(prefix: &str, bytes: usize, random: &mut Random) -> String {
    let digits = (bytes * 8).div_ceil(5);
    let mut values: Vec<u8> = (0..digits).map(|_| random.below(32) as u8).collect();
    // The bits that fill up the last digit are zero.
    let padding = digits * 5 - bytes * 8;
    if let Some(last) = values.last_mut() {
        *last &= u8::MAX << padding;
    }
    let expanded =
        prefix.bytes().map(|byte| byte >> 5).chain([0]).chain(prefix.bytes().map(|byte| byte & 31));
    let checked = expanded.chain(values.iter().copied()).chain([0; 6]);
    let checksum = polymod(checked) ^ 1;
    values.extend((0..6).map(|at| ((checksum >> (5 * (5 - at))) & 31) as u8));
    let digit = |value: &u8| char::from(BECH32.as_bytes()[usize::from(*value)]);
    format!("{prefix}1{}", values.iter().map(digit).collect::<String>())
}

fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |check, value| {
        let top = check >> 25;
        let shifted = ((check & 0x01ff_ffff) << 5) ^ u32::from(value);
        GENERATOR.iter().enumerate().fold(
            shifted,
            |check, (bit, word)| {
                if (top >> bit) & 1 == 1 { check ^ word } else { check }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> String {
        fill(template, &mut Random::new(1)).unwrap()
    }

    #[test]
    fn parts_are_filled_in() {
        assert_eq!(filled("no part { }"), "no part { }");
        assert_eq!(filled("a-${hex 12}-b").len(), 16);
        assert_eq!(filled("${base64 {\"a\":\"${choose b}\"}}"), "eyJhIjoiYiJ9");
        assert_eq!(filled("${lines ${hex 130}}").lines().map(str::len).collect::<Vec<_>>(), [64, 64, 2]);
        assert!(fill("${hex", &mut Random::new(1)).is_err());
        assert_eq!(filled("${DB_USER}:${{ secrets.X }}:${env:X}"), "${DB_USER}:${{ secrets.X }}:${env:X}");
    }

    #[test]
    fn checksums_are_those_of_the_formats() {
        // The check value of the CRC catalogue, 0xCBF43926.
        assert_eq!(filled("a_123456789${crc62}"), "a_1234567893jZRME");
        assert_eq!(filled("123456789${crchex}"), "123456789_cbf43926");
        // A valid address of BIP 173 ends so.
        let digits = |text: &str| text.chars().map(|c| BECH32.find(c).unwrap() as u8).collect::<Vec<_>>();
        let expanded = [3, 0, 1].into_iter().chain(digits("2uel5l"));
        assert_eq!(polymod(expanded), 1);
        assert_eq!(filled("${agekey}").len(), 74);
        assert_eq!(filled("${bech32 nsec 32}").len(), 63);
    }
}
