//! Base64 and hexadecimal: runs that decode to text.

use std::ops::Range;

use super::{Form, Run, hex_digit, is_text, is_token};

/// Shorter runs are left alone: they hold fewer than 12 characters of text.
pub(super) const MIN_LEN: usize = 16;
const MIN_HEX_LEN: usize = 32;
/// So much of what a run decodes to tells whether it is text. Of random runs, one in 100,000 passes.
const SAMPLE: usize = 12;
/// A line at least this long may be followed by more lines of the same run; encoders break lines at 64 or 76.
const MIN_FULL_LINE: usize = 60;
/// Longer lines belong to no other.
const MAX_LINE: usize = 256;
/// Text may have one strange byte in so many.
const STRANGE_SHARE: usize = 8;

const INVALID: u8 = 0xFF;
/// The values of the characters of both alphabets of RFC 4648.
const VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut at = 0;
    while at < alphabet.len() {
        values[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
};

/// The run that starts at `start`, or after `0x` there, where at least [`MIN_LEN`] word bytes follow each other.
pub(super) fn run_at(content: &[u8], start: usize) -> Option<Run> {
    let token = &content[start..];
    // Base64 of ASCII starts with a letter, its hexadecimal form with a digit.
    if token[0].is_ascii_digit() {
        let prefix = if token.starts_with(b"0x") { 2 } else { 0 };
        let len = hex_len(&token[prefix..])?;
        return Some(run(Form::Hex, start + prefix..start + prefix + len));
    }
    if !is_base64_of_text(token) {
        return None;
    }
    let len = token.iter().take_while(|byte| is_token(**byte)).count();
    Some(run(Form::Base64, start..base64_end(content, start..start + len)))
}

fn run(form: Form, range: Range<usize>) -> Run {
    Run { form, range, atoms: Vec::new() }
}

/// Whether the first bytes are those of text, in ASCII or in UTF-16 with the low byte first.
fn is_start_of_text(mut bytes: impl Iterator<Item = u8>) -> bool {
    let (Some(first), Some(second)) = (bytes.next(), bytes.next()) else { return false };
    let is_wide = second == 0;
    is_text(first)
        && (is_wide || is_text(second))
        && bytes.zip(0..).all(|(byte, at)| if is_wide && at % 2 == 1 { byte == 0 } else { is_text(byte) })
}

fn is_base64_of_text(token: &[u8]) -> bool {
    // Decoding ends with the first byte that is none of a text, for most tokens the first.
    let first = VALUES[usize::from(token[0])] << 2 | VALUES[usize::from(token[1])] >> 4;
    let (quads, _) = token[..MIN_LEN].as_chunks::<4>();
    is_text(first)
        && is_start_of_text(quads.iter().flat_map(|quad| decode_quad(*quad)))
        && quads.iter().flatten().all(|byte| VALUES[usize::from(*byte)] != INVALID)
}

fn decode_quad(quad: [u8; 4]) -> [u8; 3] {
    let [a, b, c, d] = quad.map(|byte| VALUES[usize::from(byte)]);
    [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]
}

/// The length of the hexadecimal text that the token starts with. All of the token up to its punctuation must be.
fn hex_len(token: &[u8]) -> Option<usize> {
    let pairs = || token.as_chunks::<2>().0.iter().map_while(|pair| decode_pair(*pair));
    if token.len() < MIN_HEX_LEN || !is_start_of_text(pairs().take(SAMPLE)) {
        return None;
    }
    let len = token.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let is_whole = token.get(len).is_none_or(|next| !next.is_ascii_alphanumeric());
    (is_whole && len >= MIN_HEX_LEN && len % 2 == 0).then_some(len)
}

fn decode_pair([high, low]: [u8; 2]) -> Option<u8> {
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}

/// The end of the run whose first line is `line`, with its padding.
fn base64_end(content: &[u8], line: Range<usize>) -> usize {
    let Range { start: mut line_start, mut end } = line;
    loop {
        let padding = content[end..].iter().take(2).take_while(|byte| **byte == b'=').count();
        let len = end - line_start;
        if padding > 0 || len < MIN_FULL_LINE || len % 4 != 0 {
            return end + padding;
        }
        match next_line(content, end) {
            Some(next) => (line_start, end) = (next.start, next.end),
            None => return end,
        }
    }
}

/// The next line, if nothing but base64 is on it.
fn next_line(content: &[u8], end: usize) -> Option<Range<usize>> {
    let rest = &content[end..];
    let rest = rest.strip_prefix(b"\r").unwrap_or(rest).strip_prefix(b"\n")?;
    let indentation = rest.iter().take(MAX_LINE / 2).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let rest = &rest[indentation..];
    let start = content.len() - rest.len();
    let len =
        rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).count();
    let is_ended =
        matches!(rest.get(len), None | Some(b'=' | b'\n' | b'\r' | b'"' | b'\'' | b'`' | b'<' | b','));
    ((1..MAX_LINE).contains(&len) && is_ended).then(|| start..start + len)
}

/// The text of a run, if it is one: mostly text, or text at the start, and then without what follows.
pub(super) fn decode(form: Form, run: &[u8]) -> Option<Vec<u8>> {
    let bytes = if form == Form::Hex {
        run.as_chunks::<2>().0.iter().map_while(|pair| decode_pair(*pair)).collect()
    } else {
        let values: Vec<u8> =
            run.iter().map(|byte| VALUES[usize::from(*byte)]).filter(|value| *value != INVALID).collect();
        decode_values(&values)
    };
    readable(bytes)
}

fn decode_values(values: &[u8]) -> Vec<u8> {
    let (quads, rest) = values.as_chunks::<4>();
    let mut bytes: Vec<u8> =
        quads.iter().flat_map(|[a, b, c, d]| [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]).collect();
    match *rest {
        [a, b, c] => bytes.extend([a << 2 | b >> 4, b << 4 | c >> 2]),
        [a, b] => bytes.push(a << 2 | b >> 4),
        _ => {}
    }
    bytes
}

fn readable(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    if bytes.get(1) == Some(&0) {
        let units = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
        let text: String = char::decode_utf16(units).map_while(Result::ok).collect();
        bytes = text.into_bytes();
    }
    let is_strange = |byte: &u8| byte.is_ascii() && !is_text(*byte);
    let invalid = String::from_utf8_lossy(&bytes).matches(char::REPLACEMENT_CHARACTER).count();
    let strange = bytes.iter().filter(|byte| is_strange(byte)).count() + invalid;
    if strange * STRANGE_SHARE > bytes.len() {
        let valid = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
        let text = bytes[..valid].iter().take_while(|byte| !is_strange(byte)).count();
        bytes.truncate(text);
    }
    (bytes.len() >= SAMPLE).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

    use super::*;

    const TEXT: &str = "user: someone, and more?>~";

    fn decoded(content: &str) -> Option<(String, Range<usize>)> {
        let start = content.find(|c: char| c.is_ascii_alphanumeric())?;
        let run = run_at(content.as_bytes(), start)?;
        let text = decode(run.form, &content.as_bytes()[run.range.clone()])?;
        Some((String::from_utf8(text).unwrap(), run.range))
    }

    #[test]
    fn every_alphabet_is_decoded() {
        for encoded in [
            BASE64.encode(TEXT.as_bytes()),
            BASE64URL_NOPAD.encode(TEXT.as_bytes()),
            HEXLOWER.encode(TEXT.as_bytes()),
            HEXUPPER.encode(TEXT.as_bytes()),
        ] {
            let content = format!(" {encoded} ");
            assert_eq!(decoded(&content), Some((TEXT.to_owned(), 1..1 + encoded.len())), "{encoded}");
        }
        assert_eq!(decoded(&format!("0x{}", HEXLOWER.encode(TEXT.as_bytes()))).unwrap().0, TEXT);
    }

    #[test]
    fn utf16_is_decoded_and_lines_belong_together() {
        let wide: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decoded(&BASE64.encode(&wide)).unwrap().0, TEXT);
        let long = TEXT.repeat(20);
        let encoded = BASE64.encode(long.as_bytes());
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        for line_break in ["\n", "\r\n", "\n    "] {
            let content = format!("{}\nnot base64", lines.join(line_break));
            let (text, range) = decoded(&content).unwrap();
            assert_eq!((text, range.end), (long.clone(), content.len() - 11));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for content in [
            "TestJetStreamClusterAccountInfoAndConfigLimits",
            "internal/server/configuration/defaults",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "MIIEpAIBAAKCAQEA2Z3qX2BTLS4e0rXfVJHhdFQ",
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
            "AAAAB3NzaC1yc2EAAAADAQABAAABgQC7",
            "6865",
        ] {
            assert_eq!(decoded(content), None);
        }
    }

    #[test]
    fn binary_after_text_is_cut_off() {
        let mut bytes = b"openssh-key-v1".to_vec();
        bytes.extend([0, 0, 0, 4, 0xFF, 0xD8, 1, 2, 3, 0, 0, 0, 0, 0, 9]);
        assert_eq!(decoded(&BASE64.encode(&bytes)).unwrap().0, "openssh-key-v1");
    }
}
