//! What the index has that HEAD has not, without a child process.
//!
//! The index remembers the tree of each directory that did not change since it was written out or read in: where HEAD has the same
//! tree nothing is compared.

use std::iter::Peekable;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use git2::{ErrorCode, ObjectFormat, ObjectType, Odb, OdbObject, Oid, Repository};
use gix_hash::{ObjectId, oid};
use gix_index::entry::Mode;
use gix_index::extension::Tree as CachedTree;
use gix_object::TreeRefIter;
use gix_object::bstr::BStr;
use gix_object::tree::EntryRef;
use secretscan_detect::{HashKey, Scanner};
use secretscan_model::ids::BlobId;

use crate::error::GitError;
use crate::index::{Index, IndexEntry};
use crate::introductions::Change;
use crate::loose::each;
use crate::objects::read;
use crate::parallel;
use crate::repository::{self, discover, id_kind, ids_of, open};
use crate::scan::{Scan, ScanOptions, ScanReport};

/// So many entries are compared in the time that it takes to start a thread.
const ENTRIES_WORTH_A_THREAD: usize = 4_096;

/// What the index adds or changes against HEAD: what the next commit would bring, not what stands in the working tree.
pub struct Staged {
    repository: Repository,
    /// By path.
    blobs: Vec<Change>,
}

impl Staged {
    /// Compares. Submodules, entries that are only intended to be added, and sides of a merge that is not resolved are no
    /// blobs that a commit would have.
    ///
    /// `index` is the absolute path of the index file where it is not the repository's own: `git commit PATH` gives its
    /// hooks another one in `GIT_INDEX_FILE`.
    ///
    /// # Errors
    /// When the repository or its index can't be read.
    pub fn read(repo: &Path, index: Option<&Path>, options: &ScanOptions<'_>) -> Result<Self, GitError> {
        let repository = discover(repo)?;
        let path = index.map_or_else(|| repository.path().join("index"), Path::to_path_buf);
        let blobs = compare(&repository, &Index::read(&path, ids_of(&repository))?, options)?;
        Ok(Self { repository, blobs })
    }

    /// Scans their content.
    ///
    /// # Errors
    /// When the repository can't be read. What can't be read inside is reported as not scanned.
    pub fn scan(
        &self,
        scanner: &Scanner,
        key: &HashKey,
        options: &ScanOptions<'_>,
    ) -> Result<ScanReport, GitError> {
        let mut scan = Scan::new(scanner, key, *options);
        let git_dir = self.repository.path();
        each(&mut scan, scanner, options, &self.blobs, || {
            let repository = open(git_dir)?;
            Ok(move |(_, blob): &(Arc<[u8]>, BlobId)| {
                read(&repository, blob.as_bytes(), options.max_blob_bytes).map(|(_, content)| content)
            })
        })?;
        Ok(scan.finish())
    }
}

fn odb(repository: &Repository) -> Result<Odb<'_>, GitError> {
    repository.odb().map_err(GitError::libgit2("read objects"))
}

/// The blobs that the index has at paths where HEAD has not the same.
fn compare(
    repository: &Repository,
    index: &Index,
    options: &ScanOptions<'_>,
) -> Result<Vec<Change>, GitError> {
    let objects = &odb(repository)?;
    let mut comparison = Comparison { repository, objects, index, todo: Vec::new(), found: Vec::new() };
    comparison.add_directory(Vec::new(), 0..index.len(), head_tree(repository)?, index.cached_tree());
    // What is worth it is shared out among threads.
    while let Some(todo) = comparison.todo.pop() {
        comparison.step(todo)?;
        let entries: usize = comparison.todo.iter().map(Todo::entries).sum();
        if entries > ENTRIES_WORTH_A_THREAD && comparison.todo.len() > 1 {
            break;
        }
    }
    let Comparison { todo, mut found, .. } = comparison;
    let git_dir = repository.path();
    let rest = parallel::map(&todo, options, || {
        // Of one that is open, libgit2 lets one thread read at a time.
        let repository = open(git_dir)?;
        Ok(move |todo: &Todo<'_>| {
            let (repository, objects) = (&repository, &odb(&repository)?);
            let mut comparison =
                Comparison { repository, objects, index, todo: vec![todo.clone()], found: Vec::new() };
            while let Some(todo) = comparison.todo.pop() {
                comparison.step(todo)?;
            }
            Ok::<_, GitError>(comparison.found)
        })
    })?;
    for of_directory in rest {
        found.extend(of_directory?);
    }
    found.sort_unstable();
    Ok(found)
}

/// `None`: the first commit is yet to come.
fn head_tree(repository: &Repository) -> Result<Option<ObjectId>, GitError> {
    let head = match repository.head() {
        Ok(head) => head,
        Err(error) if error.code() == ErrorCode::UnbornBranch => return Ok(None),
        Err(error) => return Err(GitError::libgit2("read HEAD")(error)),
    };
    let tree = head.peel_to_commit().map(|commit| commit.tree_id());
    let tree = tree.map_err(GitError::libgit2("read the commit of HEAD"))?;
    Ok(Some(ObjectId::from_bytes_or_panic(tree.as_bytes())))
}

#[derive(Clone)]
enum Todo<'a> {
    /// A directory of the index against a tree of HEAD. Its path is empty or ends with a slash.
    Directory { path: Vec<u8>, entries: Range<usize>, head: Option<ObjectId>, cached: Option<&'a CachedTree> },
    /// A directory that a sparse index holds as one entry.
    Tree { path: Vec<u8>, tree: ObjectId, head: Option<ObjectId> },
}

impl Todo<'_> {
    fn entries(&self) -> usize {
        match self {
            Self::Directory { entries, .. } => entries.len(),
            Self::Tree { .. } => 1,
        }
    }
}

struct Comparison<'a> {
    repository: &'a Repository,
    objects: &'a Odb<'a>,
    index: &'a Index,
    todo: Vec<Todo<'a>>,
    found: Vec<Change>,
}

impl<'a> Comparison<'a> {
    fn step(&mut self, todo: Todo<'a>) -> Result<(), GitError> {
        match todo {
            Todo::Directory { path, entries, head, cached } => self.directory(&path, entries, head, cached),
            Todo::Tree { path, tree, head } => self.tree(&path, tree, head),
        }
    }

    fn add_directory(
        &mut self,
        path: Vec<u8>,
        entries: Range<usize>,
        head: Option<ObjectId>,
        cached: Option<&'a CachedTree>,
    ) {
        let cached_id = cached.filter(|tree| tree.num_entries.is_some()).map(|tree| tree.id);
        if cached_id.is_none() || cached_id != head {
            self.todo.push(Todo::Directory { path, entries, head, cached });
        }
    }

    fn directory(
        &mut self,
        path: &[u8],
        entries: Range<usize>,
        head: Option<ObjectId>,
        cached: Option<&'a CachedTree>,
    ) -> Result<(), GitError> {
        let head = self.read(head)?;
        let mut head = TreeEntries::of(head.as_ref());
        let mut next = entries.start;
        while next < entries.end {
            let entry = self.index.entry(next);
            let rest = entry.path.get(path.len()..).unwrap_or_default();
            if entry.mode == Mode::DIR {
                let head = head.directory(rest.strip_suffix(b"/").unwrap_or(rest))?;
                self.todo.push(Todo::Tree { path: entry.path.to_vec(), tree: entry.id.to_owned(), head });
                next += 1;
                continue;
            }
            let Some(slash) = memchr::memchr(b'/', rest) else {
                self.blob(head.file(rest)?, &entry);
                next += 1;
                continue;
            };
            let (name, inside) = (&rest[..slash], &entry.path[..=path.len() + slash]);
            // After this one at least, also in an index that is out of order.
            let end = self.index.end_of(inside, next + 1..entries.end);
            let cached =
                cached.and_then(|tree| tree.children.iter().find(|child| child.name.as_slice() == name));
            self.add_directory(inside.to_vec(), next..end, head.directory(name)?, cached);
            next = end;
        }
        Ok(())
    }

    fn blob(&mut self, head: Option<ObjectId>, entry: &IndexEntry<'_>) {
        let is_blob = matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE | Mode::SYMLINK);
        if is_blob && entry.is_settled && head.as_deref() != Some(entry.id) {
            self.add(entry.path, entry.id);
        }
    }

    fn tree(&mut self, path: &[u8], tree: ObjectId, head: Option<ObjectId>) -> Result<(), GitError> {
        if Some(tree) == head {
            return Ok(());
        }
        let (new, head) = (self.read(Some(tree))?, self.read(head)?);
        let (new, mut head) = (TreeEntries::of(new.as_ref()), TreeEntries::of(head.as_ref()));
        for entry in new {
            let EntryRef { mode, filename: name, oid } = entry?;
            let full = [path, name].concat();
            if mode.is_tree() {
                let (path, head) = ([full.as_slice(), b"/"].concat(), head.directory(name)?);
                self.todo.push(Todo::Tree { path, tree: oid.to_owned(), head });
            } else if mode.is_blob_or_symlink() && head.file(name)?.as_deref() != Some(oid) {
                self.add(&full, oid);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &[u8], id: &oid) {
        self.found.extend(BlobId::from_bytes(id.as_bytes()).map(|blob| (path.into(), blob)));
    }

    fn read(&self, tree: Option<ObjectId>) -> Result<Option<OdbObject<'a>>, GitError> {
        let read = |id: ObjectId| {
            let object = repository::oid(self.repository, id.as_bytes()).and_then(|id| self.objects.read(id));
            let object = object.map_err(GitError::libgit2("read a tree"))?;
            let is_tree = object.kind() == ObjectType::Tree;
            if is_tree { Ok(object) } else { Err(damaged(&object.id())) }
        };
        tree.map(read).transpose()
    }
}

/// The entries of a tree, to be asked for in the order of trees, which is that of the paths in an index. Asked for in
/// another order they seem to be missing.
struct TreeEntries<'a> {
    tree: Option<Oid>,
    rest: Peekable<TreeRefIter<'a>>,
}

impl<'a> TreeEntries<'a> {
    /// Of no tree there are none.
    fn of(tree: Option<&'a OdbObject<'_>>) -> Self {
        let bytes = tree.map_or(&[][..], OdbObject::data);
        let tree = tree.map(OdbObject::id);
        let format = tree.map_or(ObjectFormat::Sha1, |id| id.object_format());
        Self { tree, rest: TreeRefIter::from_bytes(bytes, id_kind(format)).peekable() }
    }

    fn file(&mut self, name: &[u8]) -> Result<Option<ObjectId>, GitError> {
        self.find(name, false)
    }

    fn directory(&mut self, name: &[u8]) -> Result<Option<ObjectId>, GitError> {
        self.find(name, true)
    }

    /// What has this name, if it is a directory as wanted, or none.
    fn find(&mut self, name: &[u8], is_tree: bool) -> Result<Option<ObjectId>, GitError> {
        let compare = |entry: &EntryRef<'_>| {
            let len = entry.filename.len().min(name.len());
            let after = |name: &[u8], is_tree: bool| name.get(len).copied().or(is_tree.then_some(b'/'));
            entry.filename[..len]
                .cmp(BStr::new(&name[..len]))
                .then_with(|| after(entry.filename, entry.mode.is_tree()).cmp(&after(name, is_tree)))
        };
        let is_passed = |entry: &Result<EntryRef<'_>, _>| entry.as_ref().is_ok_and(|e| compare(e).is_lt());
        while self.rest.next_if(is_passed).is_some() {}
        match self.rest.peek() {
            Some(Ok(entry)) if compare(entry).is_eq() => Ok(Some(entry.oid.to_owned())),
            Some(Err(_)) => Err(self.damaged()),
            _ => Ok(None),
        }
    }

    fn damaged(&self) -> GitError {
        damaged(&self.tree.unwrap_or(Oid::ZERO_SHA1))
    }
}

impl<'a> Iterator for TreeEntries<'a> {
    type Item = Result<EntryRef<'a>, GitError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.rest.next()?;
        Some(entry.map_err(|_| self.damaged()))
    }
}

fn damaged(tree: &Oid) -> GitError {
    let damage = git2::Error::from_str("it is damaged; see what git fsck says");
    GitError::libgit2(format!("read the tree {tree}"))(damage)
}
