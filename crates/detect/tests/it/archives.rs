//! Secrets in archives and compressed files.

use std::io::{Cursor, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use proptest::prelude::*;
use secretscan_detect::{Depth, RuleSet, Scanned, Scanner};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

const SECRET: &str = concat!("corp_", "q8xv3lm7");

fn scanner() -> Scanner {
    static SCANNER: OnceLock<Scanner> = OnceLock::new();
    SCANNER.get_or_init(new_scanner).clone()
}

fn new_scanner() -> Scanner {
    let rule = "[[rules]]\nid = 'corp'\nregex = '''\\bcorp_[a-z0-9]{8}\\b'''\n\
        [[allowlists]]\npaths = ['''^docs/''', '''(?:^|/)skipped\\.txt$''']\n";
    Scanner::new(Arc::new(RuleSet::parse(rule, "test", None).expect("the rule is right")))
}

fn text() -> Vec<u8> {
    format!("first\nkey = {SECRET}\n{}", "filler ".repeat(200)).into_bytes()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn xz(content: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zip_with(files: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    zip_with(files, SimpleFileOptions::default().compression_method(CompressionMethod::Deflated))
}

/// Where the secret was found.
fn places(scanned: &Scanned) -> Vec<(String, u32)> {
    let place = |raw: &secretscan_detect::RawMatch| {
        assert_eq!(raw.secret.expose(), SECRET.as_bytes());
        (String::from_utf8(raw.path(b"a.bin").into_owned()).unwrap(), raw.line)
    };
    scanned.matches.iter().map(place).collect()
}

#[test]
fn every_format_is_opened() {
    let text = text();
    let files: [(&str, &[u8]); 2] = [("dir/key.txt", &text), ("empty", b"")];
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let bzipped = SimpleFileOptions::default().compression_method(CompressionMethod::Bzip2);
    let in_dir = ("a.bin!dir/key.txt".to_owned(), 2);
    let by_itself = ("a.bin".to_owned(), 2);
    for (content, place) in [
        (zip_of(&files), &in_dir),
        (zip_with(&files, stored), &in_dir),
        (zip_with(&files, bzipped), &in_dir),
        (tar(&files), &in_dir),
        (gzip(&tar(&files)), &in_dir),
        (bzip2(&tar(&files)), &in_dir),
        (xz(&tar(&files)), &in_dir),
        (zstandard(&tar(&files)), &in_dir),
        (gzip(&text), &by_itself),
        (bzip2(&text), &by_itself),
        (xz(&text), &by_itself),
        (zstandard(&text), &by_itself),
        ([gzip(b"one\n"), gzip(&text[6..])].concat(), &by_itself),
        ([zstandard(b"one\n"), zstandard(&text[6..])].concat(), &by_itself),
    ] {
        let scanned = scanner().scan_all(&content);
        assert_eq!(scanned.unread, []);
        assert_eq!(places(&scanned), std::slice::from_ref(place));
    }
}

#[test]
fn archives_in_archives_are_opened_to_the_depth() {
    let text = text();
    let inner = gzip(&tar(&[("dir/key.txt", &text)]));
    let middle = zip_of(&[("x/inner.tgz", &inner), ("log.gz", &gzip(&text))]);
    let outer = tar(&[("middle.jar", &middle)]);
    let all = ["a.bin!middle.jar!x/inner.tgz!dir/key.txt", "a.bin!middle.jar!log.gz"];
    let at_depth = |archive| {
        let depth = Depth { archive, ..Depth::default() };
        let scanned = scanner().with_depth(depth).scan_all(&outer);
        let unread: Vec<String> =
            scanned.unread.iter().map(|gap| String::from_utf8_lossy(&gap.member).into_owned()).collect();
        (places(&scanned).into_iter().map(|(path, _)| path).collect::<Vec<_>>(), unread)
    };
    assert_eq!(at_depth(3), (all.map(str::to_owned).to_vec(), vec![]));
    let gaps = ["middle.jar!x/inner.tgz", "middle.jar!log.gz"];
    assert_eq!(at_depth(2), (vec![], gaps.map(str::to_owned).to_vec()));
    assert_eq!(at_depth(1), (vec![], vec!["middle.jar".to_owned()]));
    assert_eq!(at_depth(0), (vec![], vec![]));
}

#[test]
fn rules_for_paths_see_the_member_and_the_whole() {
    let text = text();
    let content = tar(&[("kept.txt", &text), ("skipped.txt", &text)]);
    let scanner = scanner();
    let matches = scanner.scan(&content);
    let reported = |path: &[u8]| matches.iter().filter(|raw| scanner.is_reported(raw, path, None)).count();
    assert_eq!(matches.len(), 2);
    assert_eq!(reported(b"a.tar"), 1);
    assert_eq!(reported(b"docs/a.tar"), 0);
}

#[test]
fn decoding_goes_on_inside() {
    let encoded = data_encoding::BASE64.encode(SECRET.as_bytes());
    let scanned = scanner().scan_all(&zip_of(&[("a", encoded.as_bytes())]));
    assert_eq!(scanned.matches.len(), 1);
    assert_eq!(scanned.matches[0].decoded_from.as_deref(), Some("base64"));
    assert_eq!(scanned.matches[0].member.as_deref(), Some(&b"a"[..]));
}

#[test]
fn damage_is_told_and_what_can_be_had_is_scanned() {
    // What compresses badly, so that a cut leaves the secret.
    let mut noise = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    })
    .take(300_000)
    .collect();
    let text = [&text(), &noise[..]].concat();
    for content in [gzip(&text), gzip(&tar(&[("t", &text)])), tar(&[("t", &text)])] {
        let scanned = scanner().scan_all(&content[..content.len() - 9000]);
        assert_eq!(scanned.matches.len(), 1);
        assert!(!scanned.unread.is_empty());
        assert!(scanned.unread.iter().all(|gap| gap.reason.contains("damaged")), "{:?}", scanned.unread);
    }
    for content in [zip_of(&[("t", &text)]), xz(&text), bzip2(&text), zstandard(&text)] {
        assert!(!scanner().scan_all(&content[..content.len() / 2]).unread.is_empty());
    }
}

#[test]
fn encrypted_members_are_told() {
    // The flag of encryption, in the local and in the central header. Source: APPNOTE.TXT 4.4.4.
    let mut content = zip_of(&[("locked", b"content content content")]);
    let central = content.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    content[6] |= 1;
    content[central + 8] |= 1;
    let unread = scanner().scan_all(&content).unread;
    assert_eq!(
        (&unread[0].member[..], unread[0].reason.as_str(), unread.len()),
        (&b"locked"[..], "encrypted", 1)
    );
}

/// Far more than what is unpacked of a small content, and far less than what a bomb unpacks to.
const LIMIT: Duration = Duration::from_secs(120);

fn assert_bounded(content: &[u8]) {
    let started = Instant::now();
    let scanned = scanner().scan_all(content);
    assert!(!scanned.unread.is_empty() && scanned.unread.len() <= 101);
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
}

#[test]
fn bombs_are_bounded() {
    // One gigabyte of zeros, compressed twice.
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&zeros).unwrap();
    }
    let once = encoder.finish().unwrap();
    assert_bounded(&once);
    assert_bounded(&gzip(&once));
    // A zip file with the same large content under many names.
    let many: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let files: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &zeros[..])).collect();
    assert_bounded(&zip_of(&files));
    // A tar file that holds nothing but a great file, compressed.
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(1 << 30);
    header.set_cksum();
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(header.as_bytes()).unwrap();
    for _ in 0..1024 {
        encoder.write_all(&zeros).unwrap();
    }
    assert_bounded(&encoder.finish().unwrap());
}

proptest! {
    #[test]
    fn damaged_archives_never_panic(
        which in 0_usize..6,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut: prop::sample::Index,
    ) {
        let text = text();
        let files: [(&str, &[u8]); 2] = [("one", &text), ("two", b"2")];
        let makers: [&dyn Fn() -> Vec<u8>; 6] = [
            &|| zip_of(&files),
            &|| tar(&files),
            &|| gzip(&tar(&files)),
            &|| xz(&text),
            &|| bzip2(&text),
            &|| zstandard(&text),
        ];
        let mut content = makers[which]();
        for (at, byte) in damage {
            let at = at.index(content.len());
            content[at] = byte;
        }
        content.truncate(cut.index(content.len()) + 1);
        scanner().scan_all(&content);
    }
}
