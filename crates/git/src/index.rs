//! The index of a repository: what the next commit will hold.
//!
//! The entries of an index in the usual form are read part by part, and of each half is kept. gix-index maps the file and keeps all of
//! it a second time. It reads what is left: the extensions, split indexes, paths that build on each other (version 4), and
//! whatever looks damaged, so that one reader says what is wrong. As in Git the checksum is not checked.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

use gix_hash::{Kind as IdKind, oid};
use gix_index::State;
use gix_index::decode::Options;
use gix_index::entry::{Flags, Mode};
use gix_index::extension::Tree as CachedTree;

use crate::error::GitError;

/// Signature, version and number of entries.
const HEADER: usize = 12;
/// Times, device and inode, mode, user, group and size, the id, flags: before the path.
const MODE: Range<usize> = 24..28;
const ID: usize = 40;
/// What the flags tell: there are more; the side of a merge; the length of the path, the greatest for all that are longer.
const EXTENDED: u16 = 0x4000;
const STAGE: u16 = 0x3000;
const PATH_LEN: u16 = 0x0fff;
/// Of the flags that follow, all that Git has defined.
const INTENT_TO_ADD: u16 = 0x2000;
const SKIP_WORKTREE: u16 = 0x4000;
/// So much of the file is read at a time: it stays in the processor's cache.
const PART: usize = 128 << 10;

/// Entries by path.
pub(crate) struct Index {
    entries: Entries,
    /// The extensions, and the entries where gix-index read them.
    state: State,
}

enum Entries {
    Ours(Compact),
    Gix,
}

/// Of each entry the mode (4 bytes), the id, whether it is settled (1) and the path.
struct Compact {
    bytes: Vec<u8>,
    /// Where each begins, and where the last one ends.
    starts: Vec<u32>,
    /// Of an id, in bytes.
    id_len: usize,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct IndexEntry<'a> {
    /// Of a directory that a sparse index holds as one entry it ends with a slash.
    pub path: &'a [u8],
    pub id: &'a oid,
    pub mode: Mode,
    /// Whether the next commit would have it: not only intended to be added, nor one side of a merge that is not resolved.
    pub is_settled: bool,
}

impl Index {
    /// The index in this file, with ids of this kind. Where there is none, nothing is staged.
    ///
    /// # Errors
    /// When it can't be read, is damaged, or has a form that is not known.
    pub fn read(path: &Path, ids: IdKind) -> Result<Self, GitError> {
        let failed = |detail: String| GitError::Index { path: path.to_owned(), detail };
        let ours = match File::open(path) {
            Ok(file) => read_ours(file, ids),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { entries: Entries::Gix, state: State::new(ids) });
            }
            Err(error) => Err(error),
        };
        match ours {
            Ok(Some(index)) => Ok(index),
            Ok(None) => Self::read_gix(path, ids).map_err(failed),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn read_gix(path: &Path, ids: IdKind) -> Result<Self, String> {
        let file = gix_index::File::at(path, ids, true, Options::default());
        let file = file.map_err(|error| error.to_string())?;
        Ok(Self { entries: Entries::Gix, state: file.into_parts().0 })
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Ours(compact) => compact.starts.len() - 1,
            Entries::Gix => self.state.entries().len(),
        }
    }

    /// One of them.
    pub fn entry(&self, number: usize) -> IndexEntry<'_> {
        match &self.entries {
            Entries::Ours(compact) => compact.entry(number),
            Entries::Gix => {
                let entry = self.state.entry(number);
                let is_settled = !entry.flags.contains(Flags::INTENT_TO_ADD) && entry.stage_raw() == 0;
                IndexEntry { path: entry.path(&self.state), id: &entry.id, mode: entry.mode, is_settled }
            }
        }
    }

    /// Of these entries the first whose path does not start with `directory`, as those before it do.
    pub fn end_of(&self, directory: &[u8], Range { mut start, mut end }: Range<usize>) -> usize {
        while start < end {
            let middle = start.midpoint(end);
            match self.entry(middle).path.starts_with(directory) {
                true => start = middle + 1,
                false => end = middle,
            }
        }
        end
    }

    /// The trees of directories that did not change since the index was written out or read in.
    pub fn cached_tree(&self) -> Option<&CachedTree> {
        self.state.tree()
    }
}

impl Compact {
    fn push(&mut self, entry: IndexEntry<'_>) -> Option<()> {
        self.bytes.extend_from_slice(&entry.mode.bits().to_be_bytes());
        self.bytes.extend_from_slice(entry.id.as_bytes());
        self.bytes.push(entry.is_settled.into());
        self.bytes.extend_from_slice(entry.path);
        self.starts.push(self.bytes.len().try_into().ok()?);
        Some(())
    }

    fn entry(&self, number: usize) -> IndexEntry<'_> {
        let entry = &self.bytes[self.starts[number] as usize..self.starts[number + 1] as usize];
        let (mode, rest) = entry.split_first_chunk().expect("an entry has a mode");
        let (id, rest) = rest.split_at(self.id_len);
        let (is_settled, path) = rest.split_first().expect("an entry is settled or not");
        IndexEntry {
            path,
            id: oid::from_bytes_unchecked(id),
            mode: Mode::from_bits_truncate(u32::from_be_bytes(*mode)),
            is_settled: *is_settled != 0,
        }
    }
}

/// `None` when it is for gix-index to read, from the beginning.
fn read_ours(mut file: impl Read, ids: IdKind) -> io::Result<Option<Index>> {
    let mut part = Vec::new();
    read_more(&mut file, &mut part)?;
    let Some((head, count)) = part.first_chunk::<HEADER>().and_then(|header| header.split_last_chunk())
    else {
        return Ok(None);
    };
    if head != b"DIRC\0\0\0\x02" && head != b"DIRC\0\0\0\x03" {
        return Ok(None);
    }
    let mut left = u32::from_be_bytes(*count);
    // The same index without entries, once what follows the entries is there too.
    let mut rest = [head, &[0; 4]].concat();
    part.drain(..HEADER);
    let id_len = ids.len_in_bytes();
    let mut compact = Compact { bytes: Vec::new(), starts: vec![0], id_len };
    while left > 0 {
        let mut at = 0;
        while left > 0
            && let Some((entry, next)) = entry_at(&part, at, id_len)
        {
            if compact.push(entry).is_none() {
                return Ok(None);
            }
            (left, at) = (left - 1, next);
        }
        part.drain(..at);
        if left > 0 && read_more(&mut file, &mut part)? == 0 {
            return Ok(None);
        }
    }
    rest.append(&mut part);
    file.read_to_end(&mut rest)?;
    // Two extensions say where in the file entries are. Without entries nobody asks.
    let state = State::from_bytes(&rest, State::new(ids).timestamp(), ids, Options::default());
    Ok(match state {
        Ok((state, _)) if state.link().is_none() => Some(Index { entries: Entries::Ours(compact), state }),
        _ => None,
    })
}

/// Appends what comes next. 0 at the end of the file.
fn read_more(file: &mut impl Read, part: &mut Vec<u8>) -> io::Result<usize> {
    let before = part.len();
    part.resize(before + PART, 0);
    let read = loop {
        match file.read(&mut part[before..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    part.truncate(before + read);
    Ok(read)
}

/// The entry that begins here, and where the next one does. `None` where it does not end, or has flags that are not known.
fn entry_at(bytes: &[u8], start: usize, id_len: usize) -> Option<(IndexEntry<'_>, usize)> {
    let entry = bytes.get(start..)?;
    let number = |at: usize| Some(u16::from_be_bytes(*entry.get(at..)?.first_chunk()?));
    let id_end = ID + id_len;
    let flags = number(id_end)?;
    let (more, path) = match flags & EXTENDED {
        0 => (0, id_end + 2),
        _ => (number(id_end + 2)?, id_end + 4),
    };
    if more & !(INTENT_TO_ADD | SKIP_WORKTREE) != 0 {
        return None;
    }
    let path_end = match flags & PATH_LEN {
        PATH_LEN => path + memchr::memchr(0, entry.get(path..)?)?,
        len => path + usize::from(len),
    };
    let mode = u32::from_be_bytes(entry.get(MODE)?.try_into().ok()?);
    let found = IndexEntry {
        path: entry.get(path..path_end)?,
        id: oid::try_from_bytes(entry.get(ID..id_end)?).ok()?,
        mode: Mode::from_bits_truncate(mode),
        is_settled: more & INTENT_TO_ADD == 0 && flags & STAGE == 0,
    };
    // One to eight zeros fill it up.
    let size = (path_end + 8) / 8 * 8;
    (size <= entry.len()).then_some((found, start + size))
}

#[cfg(test)]
mod tests {
    use secretscan_testkit::run_git;
    use tempfile::tempdir;

    use std::fs;

    use super::*;

    /// An index with an entry of every kind, in the version that is asked for or a later one that it needs, `long` among its paths.
    fn index(ids: IdKind, version: &str, long: &str) -> Vec<u8> {
        let dir = tempdir().unwrap();
        let git = |arguments: &[&str], input: &str| {
            run_git(dir.path(), arguments, input.as_bytes()).unwrap();
        };
        git(&["init", "-q", &format!("--object-format={ids}")], "");
        fs::write(dir.path().join("intended"), "").unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        git(&["add", "file"], "");
        let blob = ids.empty_blob();
        let info = format!(
            "100644 {blob} 0\ta/b\n100755 {blob} 0\ta/run\n120000 {blob} 0\tlink\n160000 {blob} 0\tsub\n\
             100644 {blob} 1\tmerge\n100644 {blob} 3\tmerge\n100644 {blob} 0\t{long}\n100644 {blob} 0\tunseen\n"
        );
        git(&["update-index", "--index-version", version], "");
        git(&["update-index", "--index-info"], &info);
        if version == "3" {
            git(&["add", "-N", "intended"], "");
            git(&["update-index", "--skip-worktree", "unseen"], "");
        }
        fs::read(dir.path().join(".git/index")).unwrap()
    }

    fn ours(file: &[u8]) -> Option<Index> {
        read_ours(file, IdKind::Sha1).unwrap()
    }

    fn entries(index: &Index) -> Vec<IndexEntry<'_>> {
        (0..index.len()).map(|number| index.entry(number)).collect()
    }

    #[test]
    fn entries_are_those_that_gix_reads() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("index");
        let forms = [("2", 9), ("3", 10)];
        for (ids, (version, count)) in IdKind::all().iter().flat_map(|ids| forms.map(|form| (*ids, form))) {
            let file = index(ids, version, &"d/f".repeat(1_364));
            fs::write(&path, &file).unwrap();
            let ours = read_ours(&*file, ids).unwrap().unwrap();
            let theirs = Index::read_gix(&path, ids).unwrap();
            assert_eq!(ours.len(), count);
            assert_eq!(entries(&ours), entries(&theirs));
            assert_eq!(ours.cached_tree(), theirs.cached_tree());
        }
        assert!(ours(&index(IdKind::Sha1, "4", "long")).is_none());
    }

    /// gix-index calls them damaged.
    #[test]
    fn paths_may_be_longer_than_the_flags_can_say() {
        for len in [4_094, 4_095, 4_096, 5_000] {
            let long = "f".repeat(len);
            let index = ours(&index(IdKind::Sha1, "3", &long)).unwrap();
            let paths: Vec<&[u8]> = entries(&index).iter().map(|entry| entry.path).collect();
            assert!(
                paths.is_sorted()
                    && paths.contains(&long.as_bytes())
                    && paths.contains(&b"unseen".as_slice())
            );
        }
    }

    #[test]
    fn a_damaged_index_is_never_read_past_its_end() {
        let file = index(IdKind::Sha1, "3", "long");
        for len in 0..file.len() {
            if let Some(index) = ours(&file[..len]) {
                assert_eq!(entries(&index).len(), 10);
            }
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0xff;
            if let Some(index) = ours(&damaged) {
                entries(&index);
            }
        }
    }
}
