//! Making text harmless that comes from a repository.

use std::fmt::Write;

/// Whether a character acts on a terminal, or hides or reorders what is around it: control characters, line and
/// paragraph separators, and the format characters of bidirectional text and of zero width.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Makes a text harmless for a terminal: characters that act on it, or that hide or reorder text, become escapes such
/// as `\u{1b}` or `\n`.
pub fn for_terminal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The same for text of several lines, in which line feeds and tabs stay.
pub(crate) fn for_lines(text: &str) -> String {
    text.split_inclusive(['\n', '\t'])
        .flat_map(|part| {
            let (text, end) = part.split_at(part.trim_end_matches(['\n', '\t']).len());
            [for_terminal(text), end.to_owned()]
        })
        .collect()
}

/// The same for XML 1.0, which has no place for two characters more. Markup is not escaped.
pub(crate) fn for_xml(text: &str) -> String {
    for_terminal(text).replace('\u{fffe}', "\\u{fffe}").replace('\u{ffff}', "\\u{ffff}")
}

/// For a JSON document that is already encoded: unsafe characters as `\u001b`, so that it decodes to the same. They
/// can stand only inside strings there. The line ends and indents of the document itself stay.
pub(crate) fn for_json(document: &str) -> String {
    let mut safe = String::with_capacity(document.len());
    for c in document.chars() {
        if is_unsafe(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(safe, "\\u{unit:04x}").expect("a string takes everything");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A path as a relative URI reference (RFC 3986): every byte but the unreserved ones and `/` percent-encoded.
pub(crate) fn for_uri(path: &[u8]) -> String {
    let mut uri = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").expect("a string takes everything");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_controls_and_no_reordering() {
        assert_eq!(for_terminal("a\u{1b}[2Jb\r\n\t"), "a\\u{1b}[2Jb\\r\\n\\t");
        assert_eq!(
            for_terminal("\u{9b}31m \u{202e}x \u{200b} \u{e0041}"),
            "\\u{9b}31m \\u{202e}x \\u{200b} \\u{e0041}"
        );
        assert_eq!(for_terminal("naïve 日本 ✓"), "naïve 日本 ✓");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(for_lines("\na\tb\n\nc\u{1b}"), "\na\tb\n\nc\\u{1b}");
        assert_eq!(for_lines(""), "");
    }

    #[test]
    fn xml_gets_only_what_it_can_hold() {
        let all: String = (0..=0x2_ffff).filter_map(char::from_u32).collect();
        let is_char = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(for_xml(&all).chars().all(is_char));
    }

    #[test]
    fn escaped_json_decodes_to_the_same() {
        let text = "a\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}\n é";
        let json = serde_json::to_string(text).unwrap();
        let safe = for_json(&json);
        assert_eq!(safe, "\"a\\u001b\\u007f\\u009b\\u202e\\udb40\\udc41\\n é\"");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }

    #[test]
    fn uris_keep_raw_bytes() {
        assert_eq!(for_uri(b"a b/c:d%\xff~.txt"), "a%20b/c%3Ad%25%FF~.txt");
    }
}
