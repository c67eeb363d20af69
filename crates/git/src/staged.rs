//! What the index has that HEAD has not, without a child process.
//!
//! The decision worth knowing: gix-index reads the index and not libgit2, which can't read split and sparse indexes and
//! hashes the whole file first. As in Git the checksum is not checked. The index remembers the tree of each directory that
//! did not change since it was written out or read in: where HEAD has the same tree nothing is compared.

use std::ops::Range;
use std::path::Path;

use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};
use gix_index::entry::{Flags, Mode};
use gix_index::extension::Tree as CachedTree;
use secretscan_model::ids::BlobId;

use crate::error::GitError;
use crate::introductions::Change;

/// The blobs that the index has at paths where HEAD has not the same, by path. Submodules, entries that are only intended
/// to be added, and sides of a merge that is not resolved are no blobs that a commit would have.
pub(crate) fn staged(repository: &Repository, index: Option<&Path>) -> Result<Vec<Change>, GitError> {
    let path = index.map_or_else(|| repository.path().join("index"), Path::to_path_buf);
    let kind = gix_hash::Kind::Sha1;
    let index = gix_index::File::at_or_default(&path, kind, true, gix_index::decode::Options::default())
        .map_err(|error| GitError::Index { path: path.clone(), detail: error.to_string() })?;
    let mut comparison = Comparison { repository, index: &index, todo: Vec::new(), found: Vec::new() };
    comparison.todo.push(Todo::Directory {
        path: Vec::new(),
        entries: 0..index.entries().len(),
        head: head_tree(repository)?,
        cached: index.tree(),
    });
    while let Some(todo) = comparison.todo.pop() {
        match todo {
            Todo::Directory { path, entries, head, cached } => {
                comparison.directory(&path, entries, head, cached)?;
            }
            Todo::Tree { path, tree, head } => comparison.tree(&path, tree, head)?,
        }
    }
    let mut found = comparison.found;
    found.sort_unstable();
    Ok(found)
}

/// `None`: the first commit is yet to come.
fn head_tree(repository: &Repository) -> Result<Option<Oid>, GitError> {
    let head = match repository.head() {
        Ok(head) => head,
        Err(error) if error.code() == ErrorCode::UnbornBranch => return Ok(None),
        Err(error) => return Err(GitError::libgit2("read HEAD")(error)),
    };
    let tree = head.peel_to_commit().map(|commit| commit.tree_id());
    tree.map(Some).map_err(GitError::libgit2("read the commit of HEAD"))
}

enum Todo<'a> {
    /// A directory of the index against a tree of HEAD. Its path is empty or ends with a slash.
    Directory { path: Vec<u8>, entries: Range<usize>, head: Option<Oid>, cached: Option<&'a CachedTree> },
    /// A directory that a sparse index holds as one entry.
    Tree { path: Vec<u8>, tree: Oid, head: Option<Oid> },
}

struct Comparison<'a> {
    repository: &'a Repository,
    index: &'a gix_index::State,
    todo: Vec<Todo<'a>>,
    found: Vec<Change>,
}

impl<'a> Comparison<'a> {
    fn directory(
        &mut self,
        path: &[u8],
        entries: Range<usize>,
        head: Option<Oid>,
        cached: Option<&'a CachedTree>,
    ) -> Result<(), GitError> {
        let cached_id = cached.filter(|tree| tree.num_entries.is_some()).map(|tree| oid(&tree.id));
        if cached_id.is_some() && cached_id == head {
            return Ok(());
        }
        let head = self.read(head)?;
        let mut next = entries.start;
        while next < entries.end {
            let entry = &self.index.entries()[next];
            let entry_path: &[u8] = entry.path(self.index);
            let rest = entry_path.get(path.len()..).unwrap_or_default();
            if entry.mode == Mode::DIR {
                let name = rest.strip_suffix(b"/").unwrap_or(rest);
                let (path, head) = (entry_path.to_vec(), subtree(head.as_ref(), name));
                self.todo.push(Todo::Tree { path, tree: oid(&entry.id), head });
                next += 1;
                continue;
            }
            let Some(slash) = memchr::memchr(b'/', rest) else {
                self.blob(head.as_ref(), rest, entry);
                next += 1;
                continue;
            };
            let (name, inside) = (&rest[..slash], &entry_path[..=path.len() + slash]);
            let of_directory = self.index.entries()[next..entries.end]
                .partition_point(|entry| entry.path(self.index).starts_with(inside));
            // At least this one, also in an index that is out of order.
            let end = next + of_directory.max(1);
            self.todo.push(Todo::Directory {
                path: inside.to_vec(),
                entries: next..end,
                head: subtree(head.as_ref(), name),
                cached: cached
                    .and_then(|tree| tree.children.iter().find(|child| child.name.as_slice() == name)),
            });
            next = end;
        }
        Ok(())
    }

    fn blob(&mut self, head: Option<&Tree<'_>>, name: &[u8], entry: &gix_index::Entry) {
        let is_blob = matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE | Mode::SYMLINK);
        if !is_blob || entry.flags.contains(Flags::INTENT_TO_ADD) || entry.stage_raw() != 0 {
            return;
        }
        let id = oid(&entry.id);
        if in_tree(head, name).is_none_or(|(known, _)| known != id) {
            self.add(entry.path(self.index), id);
        }
    }

    fn tree(&mut self, path: &[u8], tree: Oid, head: Option<Oid>) -> Result<(), GitError> {
        if Some(tree) == head {
            return Ok(());
        }
        let (new, head) = (self.read(Some(tree))?, self.read(head)?);
        for entry in new.iter().flat_map(Tree::iter) {
            let (name, id) = (entry.name_bytes(), entry.id());
            let full = [path, name].concat();
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let (path, head) = ([full.as_slice(), b"/"].concat(), subtree(head.as_ref(), name));
                    self.todo.push(Todo::Tree { path, tree: id, head });
                }
                Some(ObjectType::Blob)
                    if in_tree(head.as_ref(), name).is_none_or(|(known, _)| known != id) =>
                {
                    self.add(&full, id);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &[u8], id: Oid) {
        self.found.extend(BlobId::from_bytes(id.as_bytes()).map(|blob| (path.into(), blob)));
    }

    fn read(&self, tree: Option<Oid>) -> Result<Option<Tree<'a>>, GitError> {
        let read = |id| self.repository.find_tree(id).map_err(GitError::libgit2("read a tree of HEAD"));
        tree.map(read).transpose()
    }
}

fn oid(id: &gix_hash::ObjectId) -> Oid {
    Oid::from_bytes(id.as_bytes()).unwrap_or(Oid::ZERO_SHA1)
}

fn in_tree(tree: Option<&Tree<'_>>, name: &[u8]) -> Option<(Oid, Option<ObjectType>)> {
    let entry = tree?.get_name_bytes(name)?;
    Some((entry.id(), entry.kind()))
}

fn subtree(tree: Option<&Tree<'_>>, name: &[u8]) -> Option<Oid> {
    in_tree(tree, name).filter(|(_, kind)| *kind == Some(ObjectType::Tree)).map(|(id, _)| id)
}
