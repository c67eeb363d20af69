//! Contents: texts in encodings and archives, damaged or not, are scanned in bounded time and memory; what is found
//! stands where it is said to stand, and is not shown.
#![no_main]

use std::io::{Cursor, Write};
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use secretscan_detect::{RawMatch, Scanner};
use secretscan_fuzz::{Piece, damage, text};

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(secretscan_rules::builtin()));

#[derive(Arbitrary, Debug)]
struct Content {
    pieces: Vec<Piece>,
    /// What is around the text, from the inside, and the bits that are flipped then.
    layers: Vec<(Layer, Vec<(u16, u8)>)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Layer {
    Gzip,
    Bzip2,
    Xz,
    Zstandard,
    Tar,
    Zip,
    Utf16,
    Twice,
}

/// A secret with fewer bytes may stand in a line by chance.
const TELLING: usize = 12;

fuzz_target!(|content: Content| {
    let mut bytes = text(&content.pieces);
    for (layer, flips) in content.layers.iter().take(6) {
        bytes = layer.around(&bytes).expect("memory takes it");
        damage(&mut bytes, flips);
    }
    for found in SCANNER.scan_all(&bytes).matches {
        assert!(found.start <= found.end && found.line >= 1 && found.column >= 1);
        assert!(found.member.is_some() || is_archive(&bytes) || found.end <= bytes.len());
        assert!(!shows_secret(&found), "{found:?}");
        SCANNER.is_reported(&found, b"src/main.rs", None);
    }
});

/// A compressed file is one member without a name.
fn is_archive(bytes: &[u8]) -> bool {
    [&b"\x1F\x8B\x08"[..], b"BZh", b"\xFD7zXZ\0", b"\x28\xB5\x2F\xFD", b"PK"]
        .iter()
        .any(|magic| bytes.starts_with(magic))
}

fn shows_secret(found: &RawMatch) -> bool {
    let secret = String::from_utf8_lossy(found.secret.expose());
    secret.len() >= TELLING && found.excerpt.contains(&*secret)
}

impl Layer {
    fn around(self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Zstandard => {
                Ok(ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest))
            }
            Self::Tar => {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                let mut builder = tar::Builder::new(Vec::new());
                builder.append_data(&mut header, "member", bytes)?;
                builder.into_inner()
            }
            Self::Zip => {
                let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
                writer.start_file("member", zip::write::SimpleFileOptions::default())?;
                writer.write_all(bytes)?;
                Ok(writer.finish()?.into_inner())
            }
            Self::Utf16 => {
                let text = String::from_utf8_lossy(bytes);
                Ok([0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect())
            }
            Self::Twice => Ok([bytes, bytes].concat()),
        }
    }
}
