//! The commits and trees of a history, small and quick to compare.
//!
//! A tree is kept as a row of pieces. Versions of a directory differ in the pieces with what was changed, and share the
//! others. An entry takes eight bytes: names and objects have numbers.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gix_hash::{Kind as IdKind, ObjectId, oid};
use gix_object::Kind;

use crate::numbers::{Numbers, in_packs};
use crate::traversal::PackReader;
use crate::tree_entry::{EntryKind, Piece, TreeEntry};

/// What a commit says of its place in the history: its tree, and its parents.
fn parse_commit(content: &[u8]) -> Option<(ObjectId, Vec<ObjectId>)> {
    let id = |line: &[u8], name: &[u8]| ObjectId::from_hex(line.strip_prefix(name)?).ok();
    let mut lines = content.split(|byte| *byte == b'\n');
    let tree = id(lines.next()?, b"tree ")?;
    Some((tree, lines.map_while(|line| id(line, b"parent ")).collect()))
}

/// Gathers the trees and commits in packs, on several threads.
pub(crate) struct TreeGatherer {
    packs: Arc<[PackReader]>,
    ids: IdKind,
    trees: Mutex<Trees>,
    max_bytes: u64,
}

impl TreeGatherer {
    /// One that takes up to so many bytes, about; what is more is left out.
    pub fn new(packs: Arc<[PackReader]>, ids: IdKind, max_bytes: u64) -> Self {
        Self { trees: Mutex::new(Trees::new(packs.clone())), packs, ids, max_bytes }
    }

    /// Adds an object if it is a commit or a tree, and such as Git writes them.
    pub fn add(&self, id: &oid, kind: Kind, content: &[u8]) {
        if kind == Kind::Tree {
            self.add_tree(id, content);
        } else if kind == Kind::Commit {
            self.add_commit(id, content);
        }
    }

    fn add_commit(&self, id: &oid, content: &[u8]) {
        let (Some(number), Some((tree, parents))) = (in_packs(&self.packs, id), parse_commit(content)) else {
            return;
        };
        // Looking up ids takes the longest, and needs no lock.
        let named: Vec<(&ObjectId, Option<u32>)> =
            std::iter::once(&tree).chain(&parents).map(|id| (id, in_packs(&self.packs, id))).collect();
        let mut trees = self.trees.lock().expect("no visit panicked");
        if trees.bytes() > self.max_bytes {
            return;
        }
        let row: Vec<u32> =
            named.into_iter().map(|(id, number)| number.unwrap_or_else(|| trees.numbers.add(id))).collect();
        trees.add_row(number, RowOf::Commit, &row);
    }

    fn add_tree(&self, id: &oid, content: &[u8]) {
        let (Some(number), Some(pieces)) = (in_packs(&self.packs, id), Piece::all(content, self.ids)) else {
            return;
        };
        let is_shared = pieces.len() > 1;
        let known: Vec<Option<u32>> = if is_shared {
            let trees = self.trees.lock().expect("no visit panicked");
            pieces.iter().map(|piece| trees.number_of(*piece)).collect()
        } else {
            vec![None; pieces.len()]
        };
        // Looking up ids takes the longest, and needs no lock.
        let new = pieces.iter().zip(&known).filter(|(_, known)| known.is_none());
        let objects =
            new.flat_map(|(piece, _)| piece.entries()).map(|entry| in_packs(&self.packs, entry.object));
        let mut objects = objects.collect::<Vec<_>>().into_iter();
        let mut trees = self.trees.lock().expect("no visit panicked");
        if trees.bytes() > self.max_bytes {
            return;
        }
        let row: Vec<u32> = (pieces.iter().zip(known))
            .map(|(piece, known)| known.unwrap_or_else(|| trees.add_piece(*piece, is_shared, &mut objects)))
            .collect();
        trees.add_row(number, RowOf::Tree, &row);
    }

    /// What was gathered. What is missing is not known to be missing from the repository.
    pub fn into_trees(self) -> Trees {
        let mut trees = self.trees.into_inner().expect("no visit panicked");
        (trees.by_hash, trees.name_numbers) = (HashMap::new(), HashMap::new());
        trees
    }
}

/// Trees and commits.
pub(crate) struct Trees {
    numbers: Numbers,
    names: Vec<Arc<[u8]>>,
    name_numbers: HashMap<Arc<[u8]>, u32>,
    /// Of all pieces, one after the other.
    entries: Vec<CompactEntry>,
    /// Where the entries of each piece end.
    piece_ends: Vec<u32>,
    /// By hash: a piece that trees may share.
    by_hash: HashMap<u64, u32>,
    /// Of each tree the numbers of its pieces; of each commit those of its tree and its parents. Before them how many they are,
    /// twice, and one more for a commit.
    rows: Vec<u32>,
    /// By number of the object: where in `rows` it is, if it is a tree or a commit.
    row_of: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RowOf {
    Tree,
    Commit,
}

/// A commit's place in the history, as numbers.
#[derive(Clone, Copy)]
pub(crate) struct Commit<'a> {
    pub tree: u32,
    pub parents: &'a [u32],
}

/// Stands for no row.
const NO_ROW: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct CompactEntry {
    /// Four times the number of the name, and the kind.
    name: u32,
    object: u32,
}

const KINDS: [EntryKind; 3] = [EntryKind::Tree, EntryKind::Blob, EntryKind::Submodule];

impl Trees {
    fn new(packs: Arc<[PackReader]>) -> Self {
        let numbers = Numbers::new(packs);
        Self {
            row_of: vec![NO_ROW; numbers.packed() as usize],
            numbers,
            names: Vec::new(),
            name_numbers: HashMap::new(),
            entries: Vec::new(),
            piece_ends: Vec::new(),
            by_hash: HashMap::new(),
            rows: Vec::new(),
        }
    }

    /// What the largest parts take.
    fn bytes(&self) -> u64 {
        (8 * self.entries.len() + 4 * (self.rows.len() + self.piece_ends.len()) + 64 * self.names.len())
            as u64
    }

    /// The number of a piece that trees share, if it is known.
    fn number_of(&self, piece: Piece<'_>) -> Option<u32> {
        let number = *self.by_hash.get(&piece.hash)?;
        let mut there = self.entries_of(number);
        let is_next = |entry: TreeEntry<'_, &oid>| {
            there.next().is_some_and(|other| {
                entry.kind == other.kind
                    && entry.name == other.name
                    && *entry.object == *self.numbers.id(other.object)
            })
        };
        (piece.entries().all(is_next) && there.next().is_none()).then_some(number)
    }

    /// Adds a piece; `objects` are the numbers of the next entries' objects that are in packs.
    fn add_piece(
        &mut self,
        piece: Piece<'_>,
        is_shared: bool,
        objects: &mut impl Iterator<Item = Option<u32>>,
    ) -> u32 {
        for entry in piece.entries() {
            let object = objects.next().flatten().unwrap_or_else(|| self.numbers.add(entry.object));
            let name = match self.name_numbers.get(entry.name) {
                Some(number) => *number,
                None => {
                    let (name, number): (Arc<[u8]>, _) = (entry.name.into(), self.names.len() as u32);
                    self.names.push(name.clone());
                    self.name_numbers.insert(name, number);
                    number
                }
            };
            self.entries.push(CompactEntry { name: name << 2 | entry.kind as u32, object });
        }
        let number = self.piece_ends.len() as u32;
        self.piece_ends.push(self.entries.len() as u32);
        if is_shared {
            self.by_hash.entry(piece.hash).or_insert(number);
        }
        number
    }

    fn add_row(&mut self, object: u32, kind: RowOf, row: &[u32]) {
        self.row_of[object as usize] = self.rows.len() as u32;
        self.rows.push((row.len() as u32) << 1 | kind as u32);
        self.rows.extend_from_slice(row);
    }

    fn row(&self, object: u32, kind: RowOf) -> Option<&[u32]> {
        let row = *self.row_of.get(object as usize).filter(|row| **row != NO_ROW)? as usize;
        let head = self.rows[row];
        let len = (head >> 1) as usize;
        (head & 1 == kind as u32).then(|| &self.rows[row + 1..row + 1 + len])
    }

    fn entries_of(&self, piece: u32) -> impl Iterator<Item = TreeEntry<'_, u32>> {
        let start = piece.checked_sub(1).map_or(0, |before| self.piece_ends[before as usize]);
        let entries = &self.entries[start as usize..self.piece_ends[piece as usize] as usize];
        entries.iter().map(|entry| TreeEntry {
            kind: KINDS[(entry.name & 3) as usize],
            name: &self.names[(entry.name >> 2) as usize],
            object: entry.object,
        })
    }

    /// A commit by its number, if it was gathered.
    pub fn commit(&self, number: u32) -> Option<Commit<'_>> {
        let (tree, parents) = self.row(number, RowOf::Commit)?.split_first()?;
        Some(Commit { tree: *tree, parents })
    }

    /// The number of an object that a tree or a commit names, if it has one.
    pub fn number(&self, id: &oid) -> Option<u32> {
        self.numbers.get(id)
    }

    /// The object with this number.
    pub fn id(&self, number: u32) -> &oid {
        self.numbers.id(number)
    }

    /// A tree by its number, if it was gathered.
    pub fn tree(&self, number: u32) -> Option<Tree<'_>> {
        Some(Tree { trees: self, row: self.row(number, RowOf::Tree)? })
    }
}

/// A tree, or a part of one.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a> {
    trees: &'a Trees,
    row: &'a [u32],
}

impl<'a> Tree<'a> {
    /// The entries in order.
    pub fn entries(self) -> impl Iterator<Item = TreeEntry<'a, u32>> {
        self.row.iter().flat_map(move |piece| self.trees.entries_of(*piece))
    }

    /// Both without the pieces that they start and end with alike.
    pub fn without_common_ends(self, other: Self) -> (Self, Self) {
        let start = self.row.iter().zip(other.row).take_while(|(one, other)| one == other).count();
        let (mut one, mut two) = (&self.row[start..], &other.row[start..]);
        while let (Some((a, rest_one)), Some((b, rest_two))) = (one.split_last(), two.split_last())
            && a == b
        {
            (one, two) = (rest_one, rest_two);
        }
        (Self { row: one, ..self }, Self { row: two, ..other })
    }

    /// The entry that is equal by [`TreeEntry::order`].
    pub fn find(self, wanted: &TreeEntry<'_, u32>) -> Option<TreeEntry<'a, u32>> {
        let starts_before = |piece: &u32| {
            let first = self.trees.entries_of(*piece).next();
            first.is_some_and(|first| first.order(wanted) != Ordering::Greater)
        };
        let piece = self.row.partition_point(starts_before).checked_sub(1)?;
        self.trees.entries_of(self.row[piece]).find(|entry| entry.order(wanted) == Ordering::Equal)
    }
}
