//! What stands at the tips of branches.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::thread;

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository, Tree};
use secretscan_model::ids::BlobId;

use crate::error::GitError;
use crate::kept::{self, Reader};
use crate::repository::{ids_of, oid, open};

/// A tree with more bytes is passed over: libgit2 reads it as a whole. Git's own projects stay far below.
const MAX_TREE_BYTES: usize = 64 << 20;

/// The trees at which the branches of a repository ended when this was made: refs under `refs/heads/`.
pub struct Tips {
    repository: Repository,
    trees: BTreeSet<Oid>,
}

/// Which contents stand where: the place of the path in a list, and the content.
type Contents = Vec<(usize, BlobId)>;

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
        let nodes = self.nodes(&self.trees, paths)?;
        Ok(nodes.into_values().flat_map(|node| node.files).collect())
    }

    /// The same of a mirror, which keeps what stands at each tip: a tip that was there when the same was asked is not looked at
    /// again.
    ///
    /// # Errors
    /// When the repository can't be read.
    pub fn contents_again(&self, paths: &[&[u8]]) -> Result<HashSet<(usize, BlobId)>, GitError> {
        if self.trees.len().saturating_mul(paths.len()) > MAX_KEPT {
            return self.contents(paths);
        }
        let mirror = self.repository.path();
        let known = Known::read(mirror, &self.repository, paths).unwrap_or_default();
        let missing: BTreeSet<Oid> =
            self.trees.iter().filter(|tree| !known.0.contains_key(tree)).copied().collect();
        let mut contents = known.0;
        let count = contents.len();
        contents.retain(|tree, _| self.trees.contains(tree));
        if !missing.is_empty() || contents.len() != count {
            contents.extend(self.of_trees(&missing, paths)?);
            let known = Known(contents);
            if let Err(error) = known.write(mirror, paths) {
                tracing::warn!(mirror = %mirror.display(), %error, "what stands at the tips is not kept");
            }
            contents = known.0;
        }
        Ok(contents.into_values().flatten().collect())
    }

    /// The contents of each of these trees.
    fn of_trees(&self, trees: &BTreeSet<Oid>, paths: &[&[u8]]) -> Result<HashMap<Oid, Contents>, GitError> {
        let nodes = self.nodes(trees, paths)?;
        let contents = |tree: &Oid| {
            let (mut contents, mut left) = (Contents::new(), vec![Directory::root(*tree, paths)]);
            while let Some(node) = left.pop().and_then(|directory| nodes.get(&directory)) {
                contents.extend(&node.files);
                left.extend(&node.children);
            }
            (*tree, contents)
        };
        Ok(trees.iter().map(contents).collect())
    }

    /// These trees and the directories below that lead to paths; many trees on several threads.
    fn nodes(&self, trees: &BTreeSet<Oid>, paths: &[&[u8]]) -> Result<HashMap<Directory, Node>, GitError> {
        let mut roots: Vec<Directory> = trees.iter().map(|tree| Directory::root(*tree, paths)).collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let part = roots.len().div_ceil(threads).max(MIN_PART);
        let here = roots.split_off(roots.len().saturating_sub(part));
        let dir = self.repository.path();
        thread::scope(|scope| {
            let parts =
                roots.chunks(part).map(|part| scope.spawn(move || nodes_of(&open(dir)?, part, paths)));
            let parts: Vec<_> = parts.collect();
            let mut nodes = nodes_of(&self.repository, &here, paths)?;
            for part in parts {
                nodes.extend(part.join().expect("does not panic")?);
            }
            Ok(nodes)
        })
    }
}

/// A thread looks at this many trees at least.
const MIN_PART: usize = 64;

fn nodes_of(
    repository: &Repository,
    roots: &[Directory],
    paths: &[&[u8]],
) -> Result<HashMap<Directory, Node>, GitError> {
    let failed = |error| GitError::libgit2("read trees")(error);
    let odb = repository.odb().map_err(failed)?;
    let (mut nodes, mut left) = (HashMap::new(), roots.to_vec());
    while let Some(directory) = left.pop() {
        if nodes.contains_key(&directory) {
            continue;
        }
        let mut node = Node::default();
        // One that is no list of entries has none.
        if is_readable_tree(&odb, directory.tree).map_err(failed)?
            && let Ok(tree) = repository.find_tree(directory.tree)
        {
            directory.look_into(&tree, paths, &mut node);
        }
        left.extend(&node.children);
        nodes.insert(directory, node);
    }
    Ok(nodes)
}

/// What leads to paths in a directory.
#[derive(Default)]
struct Node {
    files: Contents,
    children: Vec<Directory>,
}

const FILE: &str = "secretscan-tips";
const MAGIC: &[u8] = b"secretscan tips 1\n";
/// More than this, tips times paths, is not kept.
const MAX_KEPT: usize = 2_000_000;

/// What stood at paths, by tree.
#[derive(Default)]
struct Known(HashMap<Oid, Contents>);

impl Known {
    /// What is known of these paths.
    fn read(mirror: &Path, repository: &Repository, paths: &[&[u8]]) -> Option<Self> {
        let bytes = kept::read(mirror, FILE)?;
        let mut reader = Reader::new(&bytes, MAGIC)?;
        let id_bytes = ids_of(repository).len_in_bytes();
        if reader.count()? != paths.len() {
            return None;
        }
        for path in paths {
            let length = reader.count()?;
            if reader.bytes(length)? != *path {
                return None;
            }
        }
        let mut known = HashMap::new();
        for _ in 0..reader.count()? {
            let tree = oid(repository, reader.bytes(id_bytes)?).ok()?;
            let entry = |bytes: &[u8]| {
                let (place, id) = bytes.split_first_chunk::<8>()?;
                let place = usize::try_from(u64::from_le_bytes(*place)).ok()?;
                (place < paths.len()).then_some((place, BlobId::from_bytes(id).ok()?))
            };
            known.insert(tree, reader.parts(8 + id_bytes)?.map(entry).collect::<Option<_>>()?);
        }
        reader.is_at_end().then_some(Self(known))
    }

    fn write(&self, mirror: &Path, paths: &[&[u8]]) -> io::Result<()> {
        kept::write(mirror, FILE, |to| {
            to.write_all(MAGIC)?;
            kept::write_count(to, paths.len())?;
            for path in paths {
                kept::write_count(to, path.len())?;
                to.write_all(path)?;
            }
            kept::write_count(to, self.0.len())?;
            for (tree, contents) in &self.0 {
                to.write_all(tree.as_bytes())?;
                kept::write_count(to, contents.len())?;
                for (place, blob) in contents {
                    to.write_all(&(*place as u64).to_le_bytes())?;
                    to.write_all(blob.as_bytes())?;
                }
            }
            Ok(())
        })
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
    fn root(tree: Oid, paths: &[&[u8]]) -> Self {
        Self { tree, first: 0, end: paths.len(), depth: 0 }
    }

    fn look_into(&self, tree: &Tree<'_>, paths: &[&[u8]], node: &mut Node) {
        let mut first = self.first;
        while first < self.end {
            let name = component(paths[first], self.depth);
            let group = Directory { first, depth: self.depth + name.len() + 1, ..*self };
            let end = group.end_of(paths);
            let entry = tree.get_name_bytes(name);
            match entry.as_ref().and_then(|entry| Some((entry.kind()?, entry.id()))) {
                Some((ObjectType::Blob, id)) if group.is_file(paths) => {
                    let blob = BlobId::from_bytes(id.as_bytes());
                    node.files.extend(blob.ok().map(|blob| (first, blob)));
                }
                Some((ObjectType::Tree, id)) if !group.is_file(paths) => {
                    node.children.push(Directory { tree: id, end, ..group });
                }
                _ => {}
            }
            first = end;
        }
    }

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
