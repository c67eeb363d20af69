//! Secrets to look for, and every form in which they might stand somewhere.

use std::collections::BTreeSet;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use memchr::memmem::Finder;

/// A secret that must not be seen again.
pub(crate) struct Canary {
    /// Where it was planted.
    pub(crate) name: &'static str,
    forms: Vec<(&'static str, Finder<'static>)>,
}

impl Canary {
    /// One in all its forms.
    pub(crate) fn new(name: &'static str, secret: &str) -> Self {
        let bytes = secret.as_bytes();
        let mut forms = vec![("as it is", bytes.to_vec())];
        // Base64 depends on how many bytes come before, and its last characters on what follows.
        for before in 0..3 {
            let shifted = [&b"\0\0"[..before], bytes].concat();
            let sure = (before * 4).div_ceil(3)..shifted.len() / 3 * 4;
            forms.push(("base64", BASE64.encode(&shifted).as_bytes()[sure.clone()].to_vec()));
            forms.push(("base64url", BASE64URL_NOPAD.encode(&shifted).as_bytes()[sure].to_vec()));
        }
        let escaped = |escape: fn(&u8) -> String| bytes.iter().map(escape).collect::<String>().into_bytes();
        forms.extend([
            ("hexadecimal", HEXLOWER.encode(bytes).into_bytes()),
            ("hexadecimal", HEXUPPER.encode(bytes).into_bytes()),
            ("percent escapes", escaped(|byte| format!("%{byte:02X}"))),
            ("percent escapes", escaped(|byte| format!("%{byte:02x}"))),
            ("some percent escapes", url_encoded(bytes)),
            ("JSON escapes", escaped(|byte| format!("\\u{byte:04x}"))),
            ("JSON", serde_json::to_string(secret).unwrap().trim_matches('"').as_bytes().to_vec()),
            ("numbers", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes()),
            ("numbers", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(",").into_bytes()),
            ("reversed", bytes.iter().rev().copied().collect()),
        ]);
        let mut seen = BTreeSet::new();
        forms.retain(|(_, form)| seen.insert(form.clone()));
        let forms = forms.into_iter().map(|(form, text)| (form, Finder::new(&text).into_owned())).collect();
        Self { name, forms }
    }

    /// The form in which it stands in these bytes, and where, if it does.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<(&'static str, usize)> {
        self.forms.iter().find_map(|(form, finder)| Some((*form, finder.find(bytes)?)))
    }
}

/// As in a URL: letters and digits stay.
fn url_encoded(bytes: &[u8]) -> Vec<u8> {
    let encoded = bytes.iter().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(*byte).to_string(),
        other => format!("%{other:02X}"),
    });
    encoded.collect::<String>().into_bytes()
}

#[test]
fn a_canary_is_found_in_every_form_wherever_it_stands() {
    let secret = ["correct/horse", "battery=staple"].join("+");
    let canary = Canary::new("test", &secret);
    for before in ["", "x", "xy", "xyz"] {
        for after in ["", "z"] {
            let text = format!("{before}{secret}{after}");
            let header = format!("Basic {}", BASE64.encode(text.as_bytes()));
            let reversed: String = text.chars().rev().collect();
            let hex = HEXLOWER.encode(text.as_bytes());
            for shown in [text, header, reversed, hex] {
                assert!(canary.find(shown.as_bytes()).is_some(), "{shown}");
            }
        }
    }
    assert_eq!(canary.find(b"correct horse"), None);
}
