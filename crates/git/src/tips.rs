//! What stands at the tips of branches.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository};
use secretscan_model::ids::BlobId;

use crate::error::GitError;
use crate::repository::open;

/// A tree with more bytes is passed over: libgit2 reads it as a whole. Git's own projects stay far below.
const MAX_TREE_BYTES: usize = 64 << 20;

/// The trees at which the branches of a repository ended when this was made: refs under `refs/heads/`.
pub struct Tips {
    repository: Repository,
    trees: BTreeSet<Oid>,
}

impl Tips {
    /// The tips as they are now.
    ///
    /// # Errors
    /// When the repository can't be opened or its refs can't be read.
    pub fn of(repo: &Path) -> Result<Self, GitError> {
        let repository = open(repo)?;
        let failed = GitError::libgit2("read refs");
        let trees = || -> Result<BTreeSet<Oid>, git2::Error> {
            let mut trees = BTreeSet::new();
            for branch in repository.references_glob("refs/heads/*")? {
                // A ref that leads to no commit has no files.
                trees.extend(branch?.peel_to_commit().ok().map(|commit| commit.tree_id()));
            }
            Ok(trees)
        };
        let trees = trees().map_err(failed)?;
        Ok(Self { repository, trees })
    }

    /// The contents that stand at these paths, at whichever tip, by the place of the path in the list. The paths are sorted.
    ///
    /// Looks only into directories that lead to one of the paths, and into each once, so its cost has a bound whatever
    /// the trees are.
    ///
    /// # Errors
    /// When the repository can't be read.
    pub fn contents(&self, paths: &[&[u8]]) -> Result<HashSet<(usize, BlobId)>, GitError> {
        let failed = |error| GitError::libgit2("read trees")(error);
        let odb = self.repository.odb().map_err(failed)?;
        let mut contents = HashSet::new();
        let mut left: Vec<Directory> = self
            .trees
            .iter()
            .map(|tree| Directory { tree: *tree, first: 0, end: paths.len(), depth: 0 })
            .collect();
        let mut visited: HashSet<Directory> = left.iter().copied().collect();
        while let Some(directory) = left.pop() {
            if !is_readable_tree(&odb, directory.tree).map_err(failed)? {
                continue;
            }
            // One that is no list of entries has none.
            let Ok(tree) = self.repository.find_tree(directory.tree) else { continue };
            let mut first = directory.first;
            while first < directory.end {
                let name = component(paths[first], directory.depth);
                let group = Directory { first, depth: directory.depth + name.len() + 1, ..directory };
                let end = group.end_of(paths);
                let entry = tree.get_name_bytes(name);
                match entry.as_ref().and_then(|entry| Some((entry.kind()?, entry.id()))) {
                    Some((ObjectType::Blob, id)) if group.is_file(paths) => {
                        let blob = BlobId::from_bytes(id.as_bytes());
                        contents.extend(blob.ok().map(|blob| (first, blob)));
                    }
                    Some((ObjectType::Tree, id)) if !group.is_file(paths) => {
                        let next = Directory { tree: id, end, ..group };
                        if visited.insert(next) {
                            left.push(next);
                        }
                    }
                    _ => {}
                }
                first = end;
            }
        }
        Ok(contents)
    }
}

/// A tree, and which of the paths lead into it: those from `first` to before `end`, which share `depth` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Directory {
    tree: Oid,
    first: usize,
    end: usize,
    depth: usize,
}

impl Directory {
    /// Whether the first path ends with the name before `depth`.
    fn is_file(&self, paths: &[&[u8]]) -> bool {
        paths[self.first].len() < self.depth
    }

    /// Where the paths end that begin as the first does, up to `depth`; a file is alone.
    fn end_of(&self, paths: &[&[u8]]) -> usize {
        let first = paths[self.first];
        let Some(prefix) = first.get(..self.depth) else { return self.first + 1 };
        self.first + paths[self.first..self.end].partition_point(|path| path.starts_with(prefix))
    }
}

/// The name that begins after so many bytes of a path.
fn component(path: &[u8], depth: usize) -> &[u8] {
    let rest = path.get(depth..).unwrap_or_default();
    rest.split(|byte| *byte == b'/').next().unwrap_or_default()
}

/// What a tree calls a directory may be anything, or not be there.
fn is_readable_tree(odb: &Odb<'_>, id: Oid) -> Result<bool, git2::Error> {
    match odb.read_header(id) {
        Ok((bytes, kind)) => Ok(kind == ObjectType::Tree && bytes <= MAX_TREE_BYTES),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
