//! Repositories that no honest Git would write: any bytes as objects, and packs put together by hand.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use gix_hash::ObjectId;
use tempfile::TempDir;

use crate::git::run_git;

/// A bare repository, each object of which is written as it is told.
pub struct RawRepository {
    dir: TempDir,
}

/// Kinds of objects, as packs have them.
pub const TREE: u8 = 2;
/// A file.
pub const BLOB: u8 = 3;
/// An annotated tag.
const TAG: u8 = 4;

/// An entry of a pack. Numbers are places in the pack.
#[derive(Clone, Debug)]
pub enum PackEntry {
    /// A whole object: 1 is a commit, 2 a tree, 3 a blob, 4 a tag; 0 and 5 are no kind.
    Whole(u8, Vec<u8>),
    /// An object that claims so many bytes, whatever it has.
    Claims(u8, u64, Vec<u8>),
    /// A delta on an earlier entry.
    Delta(usize, Vec<u8>),
}

impl RawRepository {
    /// An empty one.
    ///
    /// # Errors
    /// When git does not make it.
    pub fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("making a directory for a repository")?;
        run_git(dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "repository.git"], b"")?;
        Ok(Self { dir })
    }

    /// A file `f` with this text, if any, in so many directories, each of which stands in the next under all these names.
    /// One commit has it.
    ///
    /// # Errors
    /// When git does not make it.
    pub fn nested(levels: usize, names: &[&[u8]], text: Option<&str>) -> anyhow::Result<Self> {
        let repository = Self::new()?;
        let mut objects = Vec::new();
        let mut tree = Vec::new();
        if let Some(text) = text {
            let blob = object_id(BLOB, text.as_bytes())?.to_string();
            objects.push((BLOB, text.as_bytes().to_vec()));
            tree = tree_bytes(&[("100644", b"f", &blob)])?;
        }
        for _ in 0..levels {
            let id = object_id(TREE, &tree)?.to_string();
            objects.push((TREE, tree));
            tree = tree_bytes(&names.iter().map(|name| ("40000", *name, id.as_str())).collect::<Vec<_>>())?;
        }
        let top = object_id(TREE, &tree)?.to_string();
        objects.push((TREE, tree));
        repository.objects(objects)?;
        repository.set("refs/heads/main", &repository.commit(&top, &[])?)?;
        Ok(repository)
    }

    /// One commit with a file for each of these blobs, which are in one pack, in the order of their names `f000` and so on.
    ///
    /// # Errors
    /// When git does not make it.
    pub fn packed(blobs: Vec<(PackEntry, ObjectId)>) -> anyhow::Result<Self> {
        let repository = Self::new()?;
        let names: Vec<(String, String)> =
            blobs.iter().enumerate().map(|(n, (_, id))| (format!("f{n:03}"), id.to_string())).collect();
        let files: Vec<_> = names.iter().map(|(name, id)| ("100644", name.as_bytes(), id.as_str())).collect();
        let commit = repository.commit(&repository.tree(&files)?, &[])?;
        repository.set("refs/heads/main", &commit)?;
        repository.pack(&blobs)?;
        Ok(repository)
    }

    /// The repository's directory.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("repository.git")
    }

    /// Writes an object of this kind with any bytes.
    ///
    /// # Errors
    /// When git does not write it.
    pub fn object(&self, kind: &str, bytes: &[u8]) -> anyhow::Result<String> {
        let id = run_git(&self.path(), &["hash-object", "-w", "--literally", "-t", kind, "--stdin"], bytes)?;
        Ok(String::from_utf8(id)?.trim().to_owned())
    }

    /// Tags of tags, so many, the innermost on this commit; gives the id of the outermost.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn nested_tags(&self, commit: &str, count: usize) -> anyhow::Result<String> {
        let mut target = (commit.to_owned(), "commit");
        let mut tags = Vec::with_capacity(count);
        for n in 0..count {
            let (id, kind) = &target;
            let tag =
                format!("object {id}\ntype {kind}\ntag t{n}\ntagger T <t@x> 1 +0000\n\nm\n").into_bytes();
            target = (object_id(TAG, &tag)?.to_string(), "tag");
            tags.push((TAG, tag));
        }
        self.objects(tags)?;
        Ok(target.0)
    }

    /// Writes many objects at once, by kind as a [`PackEntry`] has it.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn objects(&self, objects: Vec<(u8, Vec<u8>)>) -> anyhow::Result<()> {
        let entry = |(kind, bytes): (u8, Vec<u8>)| {
            let id = object_id(kind, &bytes)?;
            Ok((PackEntry::Whole(kind, bytes), id))
        };
        self.pack(&objects.into_iter().map(entry).collect::<anyhow::Result<Vec<_>>>()?).map(drop)
    }

    /// Writes a tree with these entries: mode, name and id, in this order.
    ///
    /// # Errors
    /// When git does not write it.
    pub fn tree(&self, entries: &[(&str, &[u8], &str)]) -> anyhow::Result<String> {
        self.object("tree", &tree_bytes(entries)?)
    }

    /// Writes a commit of this tree.
    ///
    /// # Errors
    /// When git does not write it.
    pub fn commit(&self, tree: &str, parents: &[&str]) -> anyhow::Result<String> {
        self.object("commit", &commit_bytes(tree, parents, "1700000000"))
    }

    /// Points a ref to an object, without a check.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn set(&self, reference: &str, id: &str) -> anyhow::Result<()> {
        let path = self.path().join(reference);
        std::fs::create_dir_all(path.parent().context("a ref has a directory")?)?;
        Ok(std::fs::write(path, format!("{id}\n"))?)
    }

    /// Runs git in the repository and returns what it writes.
    ///
    /// # Errors
    /// When git fails.
    pub fn git(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        run_git(&self.path(), arguments, b"")
    }

    /// Puts a pack in, with an index that says the objects have these ids.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn pack(&self, entries: &[(PackEntry, ObjectId)]) -> anyhow::Result<PathBuf> {
        let path = self.path().join("objects/pack/pack-0000000000000000000000000000000000000000.pack");
        let (pack, offsets) =
            pack_bytes(&entries.iter().map(|(entry, _)| entry.clone()).collect::<Vec<_>>())?;
        let index = index_bytes(entries.iter().map(|(_, id)| *id).zip(offsets).collect(), &pack)?;
        std::fs::write(&path, pack)?;
        std::fs::write(path.with_extension("idx"), index)?;
        Ok(path)
    }
}

/// A tree as an object.
///
/// # Errors
/// When an id is none.
pub fn tree_bytes(entries: &[(&str, &[u8], &str)]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(mode.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(ObjectId::from_hex(id.as_bytes())?.as_slice());
    }
    Ok(bytes)
}

/// A commit as an object; the date may be any text.
pub fn commit_bytes(tree: &str, parents: &[&str], date: &str) -> Vec<u8> {
    let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
    let who = format!("Ada Example <ada@example.com> {date} +0000");
    format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\nmessage\n").into_bytes()
}

/// The id that an object has; the kind is that of a [`PackEntry`].
///
/// # Errors
/// When the kind is none.
pub fn object_id(kind: u8, bytes: &[u8]) -> anyhow::Result<ObjectId> {
    let name =
        ["commit", "tree", "blob", "tag"].get(usize::from(kind).wrapping_sub(1)).context("no such kind")?;
    hash(&[format!("{name} {}\0", bytes.len()).as_bytes(), bytes])
}

/// A delta that copies the whole of a base again and again, `times` times: 64 KB by 64 KB.
pub fn repeating_delta(base_bytes: u64, times: u64) -> Vec<u8> {
    let mut delta = Vec::new();
    number(&mut delta, base_bytes);
    number(&mut delta, base_bytes * times);
    for _ in 0..times {
        let mut at = 0;
        while at < base_bytes {
            let len = (base_bytes - at).min(0x10000);
            let (offset, len) = (
                (at as u32).to_le_bytes(),
                if len == 0x10000 { [0; 3] } else { [len as u8, (len >> 8) as u8, 0] },
            );
            delta.push(0x80 | 0x0f | 0x30);
            delta.extend_from_slice(&offset);
            delta.extend_from_slice(&len[..2]);
            at += if len == [0; 3] { 0x10000 } else { base_bytes - at };
        }
    }
    delta
}

/// The beginning of a delta: the sizes of its base and of what it makes.
pub fn delta_head(base_bytes: u64, result_bytes: u64) -> Vec<u8> {
    let mut delta = Vec::new();
    number(&mut delta, base_bytes);
    number(&mut delta, result_bytes);
    delta
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn hash(parts: &[&[u8]]) -> anyhow::Result<ObjectId> {
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.try_finalize().context("hashing")
}

/// A pack and where its entries begin. Source: gitformat-pack(5).
///
/// # Errors
/// When it can't be hashed.
pub fn pack_bytes(entries: &[PackEntry]) -> anyhow::Result<(Vec<u8>, Vec<u64>)> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend_from_slice(&u32::try_from(entries.len())?.to_be_bytes());
    let mut offsets: Vec<u64> = Vec::new();
    for entry in entries {
        let offset = pack.len() as u64;
        let (kind, size, bytes) = match entry {
            PackEntry::Whole(kind, bytes) => (*kind, bytes.len() as u64, bytes),
            PackEntry::Claims(kind, size, bytes) => (*kind, *size, bytes),
            PackEntry::Delta(_, delta) => (6, delta.len() as u64, delta),
        };
        let (mut byte, mut rest) = (kind << 4 | (size & 0x0f) as u8, size >> 4);
        while rest > 0 {
            pack.push(byte | 0x80);
            (byte, rest) = ((rest & 0x7f) as u8, rest >> 7);
        }
        pack.push(byte);
        if let PackEntry::Delta(base, _) = entry {
            base_distance(&mut pack, offset - offsets[*base]);
        }
        let mut deflate = ZlibEncoder::new(&mut pack, Compression::fast());
        deflate.write_all(bytes)?;
        deflate.finish()?;
        offsets.push(offset);
    }
    let checksum = hash(&[&pack])?;
    pack.extend_from_slice(checksum.as_slice());
    Ok((pack, offsets))
}

fn base_distance(pack: &mut Vec<u8>, mut distance: u64) {
    let mut bytes = vec![(distance & 0x7f) as u8];
    distance >>= 7;
    while distance > 0 {
        distance -= 1;
        bytes.push(0x80 | (distance & 0x7f) as u8);
        distance >>= 7;
    }
    bytes.reverse();
    pack.extend_from_slice(&bytes);
}

/// An index of version 2.
fn index_bytes(mut objects: Vec<(ObjectId, u64)>, pack: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut ends: Vec<u64> = objects.iter().map(|(_, offset)| *offset).skip(1).collect();
    ends.push(pack.len() as u64 - 20);
    let checksum = |(_, offset): &(ObjectId, u64)| {
        let end = ends[ends.partition_point(|end| end <= offset)];
        let mut crc = flate2::Crc::new();
        crc.update(&pack[*offset as usize..end as usize]);
        crc.sum()
    };
    objects.sort_unstable();
    let mut index = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..=u8::MAX {
        let count = objects.iter().filter(|(id, _)| id.as_slice()[0] <= first).count();
        index.extend_from_slice(&u32::try_from(count)?.to_be_bytes());
    }
    objects.iter().for_each(|(id, _)| index.extend_from_slice(id.as_slice()));
    objects.iter().for_each(|object| index.extend_from_slice(&checksum(object).to_be_bytes()));
    for (_, offset) in &objects {
        index.extend_from_slice(&u32::try_from(*offset)?.to_be_bytes());
    }
    index.extend_from_slice(&pack[pack.len() - 20..]);
    let checksum = hash(&[&index])?;
    index.extend_from_slice(checksum.as_slice());
    Ok(index)
}

/// Damages a file: this byte becomes another.
///
/// # Errors
/// When it can't be written.
pub fn damage(path: &Path, at: usize) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(path)?;
    let at = at % bytes.len().max(1);
    bytes[at] ^= 0x55;
    replace(path, &bytes)
}

/// Writes a file anew: Git makes its packs read-only.
///
/// # Errors
/// When it can't be written.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::remove_file(path)?;
    Ok(std::fs::write(path, bytes)?)
}
