//! Batch archives: whatever stands in the manifest, the pack and its index, the archive is scanned or refused.
//!
//! The checksums are right, so that the readers see what is behind them.
#![no_main]

use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use arbitrary::Arbitrary;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use secretscan_detect::{HashKey, Scanner};
use secretscan_fuzz::{Piece, damage, text};
use secretscan_git::{ScanOptions, archive_commits, scan_archive};
use sha1::{Digest, Sha1};
use tempfile::TempDir;

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(secretscan_rules::builtin()));
static DIR: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary directory"));

#[derive(Arbitrary, Debug)]
struct Batch {
    objects: Vec<Object>,
    introductions: Vec<(u8, u8)>,
    pack_flips: Vec<(u16, u8)>,
    idx_flips: Vec<(u16, u8)>,
    manifest_flips: Vec<(u16, u8)>,
}

#[derive(Arbitrary, Debug)]
struct Object {
    kind: Kind,
    content: Content,
    /// Added to the size in the header.
    lie: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
    /// A delta of the object that stands so many places before.
    OffsetDelta(u8),
    /// A delta of the object with this number.
    NamedDelta(u8),
}

#[derive(Arbitrary, Debug)]
enum Content {
    Text(Vec<Piece>),
    /// A delta that fits a base of so many bytes: instructions as in gitformat-pack(5).
    Delta {
        base: u16,
        result: u16,
        instructions: Vec<u8>,
    },
}

fuzz_target!(|batch: Batch| {
    let archive = DIR.path().join("archive");
    write_archive(&batch, &archive).expect("the archive is written");
    let stop = AtomicBool::new(false);
    let options = ScanOptions {
        threads: 1,
        max_blob_bytes: 1 << 20,
        max_memory_bytes: 4 << 20,
        stop: &stop,
        scratch: DIR.path(),
    };
    let commits = archive_commits(&archive);
    let report = scan_archive(&archive, &|_| true, &SCANNER, &HashKey::from_bytes(b"key"), &options);
    if let (Ok(commits), Ok(report)) = (commits, report) {
        assert_eq!(report.commits, commits.len() as u64);
    }
});

fn write_archive(batch: &Batch, to: &Path) -> std::io::Result<()> {
    let objects = &batch.objects[..batch.objects.len().min(32)];
    let (mut pack, mut offsets) = (b"PACK\0\0\0\x02".to_vec(), Vec::new());
    pack.extend((objects.len() as u32).to_be_bytes());
    for object in objects {
        offsets.push(pack.len());
        object.write(&mut pack, &offsets)?;
    }
    if let Some(body) = pack.get_mut(12..) {
        damage(body, &batch.pack_flips);
    }
    let checksum = Sha1::digest(&pack);
    pack.extend(checksum);
    let mut idx = index(&offsets, &checksum);
    damage(&mut idx, &batch.idx_flips);
    idx.extend(Sha1::digest(&idx));
    let mut manifest = manifest(objects, &batch.introductions).encode_to_vec();
    damage(&mut manifest, &batch.manifest_flips);
    let mut tar = tar::Builder::new(std::fs::File::create(to)?);
    for (name, bytes) in [("manifest", manifest), ("batch.idx", idx), ("batch.pack", pack)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, &*bytes)?;
    }
    tar.finish()
}

impl Object {
    fn write(&self, pack: &mut Vec<u8>, offsets: &[usize]) -> std::io::Result<()> {
        let content = match &self.content {
            Content::Text(pieces) => text(pieces),
            Content::Delta { base, result, instructions } => {
                [&*varint(u64::from(*base)), &*varint(u64::from(*result)), instructions].concat()
            }
        };
        let number = match self.kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
            Kind::OffsetDelta(_) => 6,
            Kind::NamedDelta(_) => 7,
        };
        let size = content.len() as u64 + u64::from(self.lie);
        let mut rest = size >> 4;
        pack.push(number << 4 | (size & 15) as u8 | if rest > 0 { 0x80 } else { 0 });
        while rest > 0 {
            pack.push((rest & 0x7f) as u8 | if rest > 0x7f { 0x80 } else { 0 });
            rest >>= 7;
        }
        match self.kind {
            Kind::OffsetDelta(back) => {
                let place = offsets.len().saturating_sub(1 + usize::from(back));
                let mut distance = offsets[offsets.len() - 1] - offsets[place];
                let mut bytes = vec![(distance & 0x7f) as u8];
                while distance > 0x7f {
                    distance = (distance >> 7) - 1;
                    bytes.insert(0, 0x80 | (distance & 0x7f) as u8);
                }
                pack.extend(bytes);
            }
            Kind::NamedDelta(base) => pack.extend(id(base)),
            _ => {}
        }
        pack.extend(zlib(&content)?);
        Ok(())
    }
}

fn zlib(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content)?;
    encoder.finish()
}

/// The objects are named by their numbers.
fn id(number: u8) -> [u8; 20] {
    [number; 20]
}

/// Seven bits a byte, the lowest first.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Version 2 of the index, but for its own checksum. Source: gitformat-pack(5).
fn index(offsets: &[usize], checksum: &[u8]) -> Vec<u8> {
    let mut idx = b"\xfftOc\0\0\0\x02".to_vec();
    (0..256_usize).for_each(|first| idx.extend((offsets.len().min(first + 1) as u32).to_be_bytes()));
    (0..offsets.len()).for_each(|number| idx.extend(id(number as u8)));
    idx.extend(std::iter::repeat_n(0, 4 * offsets.len()));
    offsets.iter().for_each(|offset| idx.extend((*offset as u32).to_be_bytes()));
    idx.extend(checksum);
    idx
}

/// As in `crates/git/src/manifest.rs`.
#[derive(Clone, PartialEq, Message)]
struct Manifest {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, repeated, tag = "2")]
    commits: Vec<Commit>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    blobs: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    introductions: Vec<Introduction>,
    #[prost(bytes = "vec", tag = "6")]
    paths: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Commit {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Introduction {
    #[prost(uint32, tag = "1")]
    commit: u32,
    #[prost(uint32, tag = "2")]
    path_bytes: u32,
    #[prost(uint32, tag = "3")]
    blob: u32,
}

/// Names every commit and blob that is stored whole, and every delta as a blob.
fn manifest(objects: &[Object], introductions: &[(u8, u8)]) -> Manifest {
    let numbered = || objects.iter().zip(0_u8..);
    let is_commit = |object: &Object| matches!(object.kind, Kind::Commit);
    let is_blob =
        |object: &Object| matches!(object.kind, Kind::Blob | Kind::OffsetDelta(_) | Kind::NamedDelta(_));
    Manifest {
        version: 2,
        commits: numbered()
            .filter(|(object, _)| is_commit(object))
            .map(|(_, number)| Commit { id: id(number).to_vec() })
            .collect(),
        blobs: numbered()
            .filter(|(object, _)| is_blob(object))
            .map(|(_, number)| id(number).to_vec())
            .collect(),
        introductions: introductions
            .iter()
            .take(64)
            .map(|(commit, blob)| Introduction {
                commit: u32::from(*commit % 4),
                path_bytes: 1,
                blob: u32::from(*blob % 32),
            })
            .collect(),
        paths: zlib(&[b'a'; 64]).expect("memory takes it"),
    }
}
