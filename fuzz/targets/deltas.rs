//! Deltas: what is found in a content by way of its base is what is found in it as a whole.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use secretscan_detect::{Copied, Scanner};
use secretscan_fuzz::{Piece, text};

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(secretscan_rules::builtin()));

#[derive(Arbitrary, Debug)]
struct History {
    first: Vec<Piece>,
    /// How each version is made of the one before it.
    later: Vec<Vec<Part>>,
}

#[derive(Arbitrary, Debug)]
enum Part {
    Copy { from: u16, len: u16 },
    Insert(Vec<Piece>),
}

const MAX_BYTES: usize = 1 << 14;

fuzz_target!(|history: History| {
    let mut base = text(&history.first);
    let (_, mut landmarks) = SCANNER.scan_base(&base);
    for parts in history.later.iter().take(4) {
        let (content, copied) = apply(&base, parts);
        let (found, next) = SCANNER.scan_delta(&content, &landmarks, &copied);
        assert_eq!(
            found,
            SCANNER.scan_all(&content),
            "{copied:?} in {:?}",
            content.escape_ascii().to_string()
        );
        (base, landmarks) = (content, next);
    }
});

fn apply(base: &[u8], parts: &[Part]) -> (Vec<u8>, Vec<Copied>) {
    let (mut content, mut copied) = (Vec::new(), Vec::new());
    for part in parts {
        let to = content.len();
        match part {
            Part::Copy { from, len } => {
                let from = usize::from(*from).min(base.len());
                let end = base.len().min(from + usize::from(*len)).min(from + MAX_BYTES.saturating_sub(to));
                if from < end {
                    content.extend_from_slice(&base[from..end]);
                    copied.push(Copied { from, to, len: end - from });
                }
            }
            Part::Insert(pieces) if to < MAX_BYTES => content.extend(text(pieces)),
            Part::Insert(_) => {}
        }
    }
    (content, copied)
}
