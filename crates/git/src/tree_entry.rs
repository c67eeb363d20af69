//! The entries of a tree as Git stores it, in pieces that versions of a directory share.

use std::cmp::Ordering;

use gix_hash::{Kind as IdKind, oid};

/// One entry in so many ends a piece.
const PIECE: u64 = 8;
/// A multiplier that mixes well, that of Fibonacci hashing.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// What an entry of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Tree,
    /// A file or a symbolic link.
    Blob,
    Submodule,
}

/// An entry of a tree. `I` is what stands for an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeEntry<'a, I> {
    pub kind: EntryKind,
    pub name: &'a [u8],
    pub object: I,
}

impl<I> TreeEntry<'_, I> {
    /// The order of entries in a tree. Only entries of the same name, both trees or both none, are equal.
    pub fn order<J>(&self, other: &TreeEntry<'_, J>) -> Ordering {
        let len = self.name.len().min(other.name.len());
        let end = |name: &[u8], kind| {
            name.get(len).copied().unwrap_or(if kind == EntryKind::Tree { b'/' } else { 0 })
        };
        let ends = || end(self.name, self.kind).cmp(&end(other.name, other.kind));
        self.name[..len].cmp(&other.name[..len]).then_with(ends)
    }
}

impl<'a> TreeEntry<'a, &'a oid> {
    /// Takes the next entry, with an id of so many bytes; `None`: it is nothing that Git writes today.
    fn take(rest: &mut &'a [u8], id_len: usize) -> Option<Self> {
        let mode = rest.iter().take(7).position(|byte| *byte == b' ')?;
        let kind = match &rest[..mode] {
            b"40000" => EntryKind::Tree,
            b"100644" | b"100755" | b"100664" | b"120000" => EntryKind::Blob,
            b"160000" => EntryKind::Submodule,
            _ => return None,
        };
        let after = &rest[mode + 1..];
        let (name, after) = after.split_at(memchr::memchr(0, after)?);
        let id;
        (id, *rest) = after[1..].split_at_checked(id_len)?;
        let is_name = !name.is_empty() && memchr::memchr(b'/', name).is_none();
        is_name.then(|| Self { kind, name, object: oid::from_bytes_unchecked(id) })
    }
}

/// Some entries of a tree that follow each other.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    bytes: &'a [u8],
    id_len: usize,
    /// The same for equal pieces.
    pub hash: u64,
}

impl<'a> Piece<'a> {
    /// Cuts a tree; `None` for what Git does not write. The name of the last entry alone decides where a piece ends.
    pub fn all(tree: &'a [u8], ids: IdKind) -> Option<Vec<Self>> {
        let (mut pieces, id_len) = (Vec::new(), ids.len_in_bytes());
        let (mut rest, mut start, mut hash) = (tree, 0, 0_u64);
        let mut before: Option<TreeEntry<'_, _>> = None;
        while !rest.is_empty() {
            let entry = TreeEntry::take(&mut rest, id_len)?;
            if before.is_some_and(|before| before.order(&entry) != Ordering::Less) {
                return None;
            }
            before = Some(entry);
            let of_id = entry.object.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let of_name = hash_of_name(entry.name);
            hash = (hash.rotate_left(7) ^ of_id ^ of_name).wrapping_mul(MIX);
            if of_name & (PIECE - 1) == 0 || rest.is_empty() {
                let end = tree.len() - rest.len();
                pieces.push(Self { bytes: &tree[start..end], id_len, hash });
                (start, hash) = (end, 0);
            }
        }
        Some(pieces)
    }

    /// Its entries.
    pub fn entries(self) -> impl Iterator<Item = TreeEntry<'a, &'a oid>> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || TreeEntry::take(&mut rest, self.id_len))
    }
}

fn hash_of_name(name: &[u8]) -> u64 {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    // Names of a directory differ in their middle, between a common start and a common extension.
    let (start, end) = name.split_at(name.len().saturating_sub(8));
    let start = &start[start.len().saturating_sub(8)..];
    (word(start).rotate_left(29) ^ word(end)).wrapping_mul(MIX) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &str)], ids: IdKind) -> Vec<u8> {
        let id = vec![1; ids.len_in_bytes()];
        let entry = |(mode, name): &(&str, &str)| [format!("{mode} {name}\0").as_bytes(), &id].concat();
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn versions_of_a_tree_have_most_pieces_in_common() {
        let names: Vec<String> = (100..400).map(|n| format!("file{n}_test.go")).collect();
        let mut entries: Vec<(&str, &str)> = names.iter().map(|name| ("100644", name.as_str())).collect();
        let hashes = |entries: &[(&str, &str)]| -> Vec<u64> {
            Piece::all(&tree(entries, IdKind::Sha1), IdKind::Sha1)
                .unwrap()
                .iter()
                .map(|piece| piece.hash)
                .collect()
        };
        let all = hashes(&entries);
        assert!((20..80).contains(&all.len()), "{}", all.len());
        for place in [0, 100, 299] {
            let removed = entries.remove(place);
            let changed = hashes(&entries);
            assert!(all.iter().filter(|hash| !changed.contains(hash)).count() <= 2);
            entries.insert(place, removed);
        }
    }

    #[test]
    fn trees_that_git_does_not_write_are_left_out() {
        let good = [("40000", "a-b"), ("100644", "a.c"), ("40000", "a"), ("160000", "a0")];
        for ids in [IdKind::Sha1, IdKind::Sha256] {
            let whole = tree(&good, ids);
            let pieces = Piece::all(&whole, ids).unwrap();
            assert_eq!(pieces.iter().map(|piece| piece.entries().count()).sum::<usize>(), 4);
            assert!(Piece::all(b"", ids).is_some_and(|pieces| pieces.is_empty()));
            let cut = (1..whole.len()).filter(|len| Piece::all(&whole[..*len], ids).is_some());
            assert_eq!(cut.count(), 3, "cut between entries");
        }
        for bad in [
            &[("040000", "a")][..],
            &[("100600", "a")],
            &[("100644", "")],
            &[("100644", "a/b")],
            &[("100644", "b"), ("100644", "a")],
            &[("100644", "a"), ("100755", "a")],
            &[("40000", "a"), ("100644", "a.c")],
        ] {
            assert!(Piece::all(&tree(bad, IdKind::Sha1), IdKind::Sha1).is_none(), "{bad:?}");
        }
    }
}
