//! What commits introduce, by comparing their trees with those of their parents.

use std::cmp::Ordering;
use std::sync::Arc;

use gix_hash::oid;
use secretscan_model::ids::{BlobId, CommitId};

use crate::introductions::{Introduction, Paths};
use crate::tree_entry::{EntryKind, TreeEntry};
use crate::trees::{Tree, Trees};

/// Deeper trees are left to Git.
const MAX_DEPTH: usize = 256;
/// A commit that takes more trees to compare, or introduces more files, is left to Git: a tree may hold another one many
/// times, and have more paths than anybody can count.
const MAX_TREES: usize = 1 << 20;
const MAX_FILES: usize = 1 << 20;

/// Git must say what the commit introduces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown;

/// Compares trees.
pub(crate) struct Comparison<'t> {
    trees: &'t Trees,
    /// Each path once: most come again and again.
    paths: Paths,
    /// The path of the tree that is looked at, with a slash at its end.
    prefix: Vec<u8>,
    /// What is known so far of the commit that is looked at.
    introduced: Vec<(Arc<[u8]>, BlobId)>,
    compared: usize,
}

impl<'t> Comparison<'t> {
    /// A comparison of these.
    pub fn new(trees: &'t Trees) -> Self {
        let (paths, prefix, introduced) = (Paths::default(), Vec::new(), Vec::new());
        Self { trees, paths, prefix, introduced, compared: 0 }
    }

    /// Adds what a commit introduces, ordered by path; `place` is that of the commit.
    pub fn add(&mut self, commit: &CommitId, place: u32, to: &mut Vec<Introduction>) -> Result<(), Unknown> {
        let of = |number| self.trees.commit(number).ok_or(Unknown);
        let number = self.trees.number(oid::from_bytes_unchecked(commit.as_bytes())).ok_or(Unknown)?;
        let commit = of(number)?;
        let tree = commit.tree;
        let parents = commit.parents.iter().map(|parent| Ok(of(*parent)?.tree));
        let parents = parents.collect::<Result<Vec<_>, _>>()?;
        self.prefix.clear();
        self.introduced.clear();
        self.compared = 0;
        if !parents.contains(&tree) {
            self.compare(tree, &parents, 0)?;
        }
        self.introduced.sort_unstable();
        let introduced = self.introduced.drain(..);
        to.extend(introduced.map(|(path, blob)| Introduction { commit: place, path, blob }));
        Ok(())
    }

    /// Compares a tree with those that stand in its place in the parents: none is the tree itself, and some parents may
    /// have none.
    fn compare(&mut self, new: u32, old: &[u32], depth: usize) -> Result<(), Unknown> {
        self.compared += 1;
        if depth > MAX_DEPTH || self.compared > MAX_TREES || self.introduced.len() > MAX_FILES {
            return Err(Unknown);
        }
        let tree = |number| self.trees.tree(number).ok_or(Unknown);
        let (new, old) = (tree(new)?, old.iter().map(|number| tree(*number)).collect::<Result<Vec<_>, _>>()?);
        match old.split_first() {
            None => new.entries().try_for_each(|entry| self.introduce(&entry, Vec::new(), depth)),
            Some((first, others)) => {
                for (entry, in_first) in differences(new, *first) {
                    let in_others = others.iter().filter_map(|tree| tree.find(&entry));
                    let in_parents: Vec<u32> =
                        in_first.into_iter().chain(in_others).map(|entry| entry.object).collect();
                    if !in_parents.contains(&entry.object) {
                        self.introduce(&entry, in_parents, depth)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes an entry that no parent has; `old` is what has its name in the parents.
    fn introduce(&mut self, entry: &TreeEntry<'_, u32>, old: Vec<u32>, depth: usize) -> Result<(), Unknown> {
        let len = self.prefix.len();
        self.prefix.extend_from_slice(entry.name);
        match entry.kind {
            EntryKind::Submodule => {}
            EntryKind::Tree => {
                self.prefix.push(b'/');
                self.compare(entry.object, &old, depth + 1)?;
            }
            EntryKind::Blob if self.trees.id(entry.object).is_null() => {}
            EntryKind::Blob => {
                let path = self.paths.share(&self.prefix);
                let blob = BlobId::from_bytes(self.trees.id(entry.object).as_bytes())
                    .expect("an object id has 20 or 32 bytes");
                self.introduced.push((path, blob));
            }
        }
        self.prefix.truncate(len);
        Ok(())
    }
}

/// The entries of a tree that are not in the other one, with what has their name there.
fn differences<'a>(
    new: Tree<'a>,
    old: Tree<'a>,
) -> impl Iterator<Item = (TreeEntry<'a, u32>, Option<TreeEntry<'a, u32>>)> {
    let (new, old) = new.without_common_ends(old);
    let mut old = old.entries().peekable();
    new.entries().filter_map(move |entry| {
        while old.next_if(|other| other.order(&entry) == Ordering::Less).is_some() {}
        let same_name = old.next_if(|other| other.order(&entry) == Ordering::Equal);
        let is_same = same_name.is_some_and(|other| other.object == entry.object);
        (!is_same).then_some((entry, same_name))
    })
}
