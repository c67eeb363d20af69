//! Text that a content holds in another form: encoded, escaped, or cut into pieces.
//!
//! Two steps. [`encoded_runs`] finds the places in one cheap pass over the bytes; what it says of a place depends on
//! the bytes of the run and one byte on either side. [`View::of`] makes the text that a reader of the run would see,
//! with some of the content around it, for the rules to search; it depends on no more than [`view::CONTEXT_BEFORE`]
//! bytes before and [`view::CONTEXT_AFTER`] bytes after the run.

mod base64;
mod delta;
mod escape;
mod find;
mod joint;
mod view;

use std::ops::Range;

pub(crate) use delta::{KnownRun, Settled, known_runs, known_runs_of_delta};
pub(crate) use find::encoded_runs;
pub(crate) use view::View;

/// A way to write text that hides it from a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Form {
    /// RFC 4648, either alphabet, padded or not, over several lines too; of UTF-8 or UTF-16 text.
    Base64,
    /// Two hexadecimal digits for each byte.
    Hex,
    /// `%XX`, RFC 3986.
    Percent,
    /// `\uXXXX`, `\u{..}`, `\UXXXXXXXX`, `\xXX`: escapes of programming languages and JSON.
    Unicode,
    /// `&quot;`, `&#NN;`, `&#xNN;`: character references of HTML and XML.
    Html,
    /// String literals that are concatenated, and values that go on in the next line.
    Joined,
}

impl Form {
    /// The name in [`crate::RawMatch::decoded_from`].
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Percent => "percent",
            Self::Unicode => "unicode",
            Self::Html => "html",
            Self::Joined => "joined",
        }
    }
}

/// A place in a content where text may stand in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) form: Form,
    pub(crate) range: Range<usize>,
    /// What is replaced in the range; for base64 and hex nothing is named, since all of it is.
    pub(crate) atoms: Vec<Atom>,
}

impl Run {
    /// The same run in other surroundings: what stood at `from` stands at `to`.
    fn moved(&self, from: usize, to: usize) -> Self {
        let moved = |range: &Range<usize>| range.start - from + to..range.end - from + to;
        let atom = |atom: &Atom| Atom { range: moved(&atom.range), ..*atom };
        Self { form: self.form, range: moved(&self.range), atoms: self.atoms.iter().map(atom).collect() }
    }
}

/// A part of a run that stands for one character, or for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Atom {
    pub(crate) range: Range<usize>,
    pub(crate) stands_for: Option<u8>,
}

/// Text as far as secrets go: secrets in other scripts are not known.
fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')
}

/// What a secret and both base64 alphabets are made of.
const fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut token = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let at = byte as u8;
            token[byte] = at.is_ascii_alphanumeric() || matches!(at, b'+' | b'/' | b'-' | b'_');
            byte += 1;
        }
        token
    };
    TOKEN[byte as usize]
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
