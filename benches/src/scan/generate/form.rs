//! The forms in which a text can stand in a file.

use std::io::{Cursor, Write};

use data_encoding::BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use secretscan_testkit::Random;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::text::Prose;
use crate::planted::Place;

/// The length of a long line, in bytes.
const LONG_LINE: usize = 200_000;

/// A file's content, and how its name ends.
pub fn content(
    place: Place,
    text: &str,
    prose: &Prose,
    random: &mut Random,
) -> anyhow::Result<(&'static str, Vec<u8>)> {
    let mut around = || prose.lines(20, random).concat();
    Ok(match place {
        Place::Utf16 => {
            let units = format!("\u{feff}{}{text}{}", around(), around()).replace('\n', "\r\n");
            ("reg", units.encode_utf16().flat_map(u16::to_le_bytes).collect())
        }
        Place::Binary => {
            ("dat", [b"\x7fDAT\0\0\x01\xff\0".as_slice(), text.as_bytes(), b"\0\xfe\xff\0\0"].concat())
        }
        Place::LongLine => {
            let mut side = String::new();
            while side.len() < LONG_LINE / 2 {
                side += &around().replace('\n', ";");
            }
            ("js", format!("{side}{};{side}\n", text.trim_end()).into_bytes())
        }
        Place::Base64 => {
            let encoded = BASE64.encode(text.as_bytes());
            ("yaml", format!("kind: Config\ndata:\n  settings: {encoded}\n").into_bytes())
        }
        Place::Zip => {
            let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
            archive.start_file("settings.conf", SimpleFileOptions::default())?;
            archive.write_all(format!("{}{text}{}", around(), around()).as_bytes())?;
            ("zip", archive.finish()?.into_inner())
        }
        Place::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(format!("{}{text}{}", around(), around()).as_bytes())?;
            ("conf.gz", encoder.finish()?)
        }
        _ => ("conf", format!("{}{text}{}", around(), around()).into_bytes()),
    })
}
