//! Real repositories, written by `git fast-import`: thousands of commits in a second.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use secretscan_model::CommitId;
use tempfile::TempDir;

use crate::git::run_git;

/// The committer time of the first commit: 2024-01-01, seconds since the Unix epoch.
const FIRST_TIME: i64 = 1_704_067_200;
/// How much later each commit is than the one before, in seconds.
const TIME_STEP: i64 = 60;

/// What a commit does to the tree of its (first) parent. Paths are raw bytes.
#[derive(Clone, Debug)]
pub enum Change {
    /// Writes a file.
    Write {
        /// Its path.
        path: Vec<u8>,
        /// Its new content.
        content: Vec<u8>,
    },
    /// Removes a file.
    Delete {
        /// Its path.
        path: Vec<u8>,
    },
    /// Moves a file, with its content and mode.
    Rename {
        /// The path it had.
        from: Vec<u8>,
        /// Its new path.
        to: Vec<u8>,
    },
    /// Writes a file with content and mode of another one.
    Copy {
        /// The path of the other.
        from: Vec<u8>,
        /// Its path.
        to: Vec<u8>,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Its path.
        path: Vec<u8>,
        /// Where it points.
        target: Vec<u8>,
    },
    /// Makes a submodule entry, without `.gitmodules`.
    Submodule {
        /// Its path.
        path: Vec<u8>,
        /// The commit of the other repository.
        commit: CommitId,
    },
}

impl Change {
    /// A [`Change::Write`].
    pub fn write(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::Write { path: path.as_ref().to_vec(), content: content.as_ref().to_vec() }
    }

    /// A [`Change::Delete`].
    pub fn delete(path: impl AsRef<[u8]>) -> Self {
        Self::Delete { path: path.as_ref().to_vec() }
    }

    /// A [`Change::Rename`].
    pub fn rename(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        Self::Rename { from: from.as_ref().to_vec(), to: to.as_ref().to_vec() }
    }

    /// A [`Change::Copy`].
    pub fn copy(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        Self::Copy { from: from.as_ref().to_vec(), to: to.as_ref().to_vec() }
    }

    /// A [`Change::Symlink`].
    pub fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::Symlink { path: path.as_ref().to_vec(), target: target.as_ref().to_vec() }
    }

    /// A [`Change::Submodule`].
    pub fn submodule(path: impl AsRef<[u8]>, commit: CommitId) -> Self {
        Self::Submodule { path: path.as_ref().to_vec(), commit }
    }
}

/// A commit of a [`RepositoryBuilder`]; its id is known once the repository is built: [`Repository::id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(usize);

/// One entry of a tree.
#[derive(Clone)]
enum Entry {
    /// A file or symbolic link: its mode, and how the stream names its blob.
    Blob {
        mode: &'static str,
        mark: usize,
        content: Arc<[u8]>,
    },
    Submodule(CommitId),
}

type Tree = BTreeMap<Vec<u8>, Entry>;

struct Tip {
    commit: Mark,
    tree: Tree,
}

/// Collects commits, and writes them to a bare repository at once. Dates are fixed, so that equal calls make equal ids.
///
/// The methods panic on a branch or path that is not there: the test is wrong.
pub struct RepositoryBuilder {
    dir: TempDir,
    /// For `git fast-import`, since the last import.
    stream: Vec<u8>,
    branches: BTreeMap<String, Tip>,
    next_mark: usize,
    next_time: i64,
    next_message: Option<String>,
    author: String,
}

impl RepositoryBuilder {
    /// An empty bare repository in a temporary directory, with SHA-1 ids.
    ///
    /// # Errors
    /// When git does not make it.
    pub fn new() -> anyhow::Result<Self> {
        Self::with_object_format("sha1")
    }

    /// The same with SHA-256 ids.
    ///
    /// # Errors
    /// When git does not make it.
    pub fn new_sha256() -> anyhow::Result<Self> {
        Self::with_object_format("sha256")
    }

    fn with_object_format(format: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("making a directory for a repository")?;
        let format = format!("--object-format={format}");
        let init = ["init", "--quiet", "--bare", "--initial-branch=main", &format, "repository.git"];
        run_git(dir.path(), &init, b"")?;
        Ok(Self {
            dir,
            stream: Vec::new(),
            branches: BTreeMap::new(),
            next_mark: 1,
            next_time: FIRST_TIME,
            next_message: None,
            author: "Ada Example <ada@example.com>".into(),
        })
    }

    /// Author and committer of the commits to come, as `Name <address>`.
    pub fn author(&mut self, author: &str) {
        author.clone_into(&mut self.author);
    }

    /// What the next commit says.
    pub fn message(&mut self, message: &str) {
        self.next_message = Some(message.to_owned());
    }

    /// The committer and author time of the next commit, in seconds since the Unix epoch; each later one is a minute
    /// later than the one before. It may lie before the parents' times.
    pub fn time(&mut self, seconds: i64) {
        self.next_time = seconds;
    }

    /// Moves the times of the commits to come.
    pub(crate) fn shift_time(&mut self, seconds: i64) {
        self.next_time += seconds;
    }

    /// Commits to a branch. A branch that is not there yet begins with this commit, without parents.
    pub fn commit(&mut self, branch: &str, changes: impl IntoIterator<Item = Change>) -> Mark {
        self.merge(branch, &[], changes)
    }

    /// Merges other branches into a branch: several make an octopus. Files that only the others have are taken over;
    /// where both have something, the branch's stays. Changes on top of that make it an evil merge.
    pub fn merge(
        &mut self,
        branch: &str,
        others: &[&str],
        changes: impl IntoIterator<Item = Change>,
    ) -> Mark {
        let merged: Vec<Mark> = others.iter().map(|other| self.branches[*other].commit).collect();
        let (parent, mut tree) = match self.branches.remove(branch) {
            Some(tip) => (Some(tip.commit), tip.tree),
            None => (None, Tree::new()),
        };
        let mut touched = BTreeSet::new();
        for other in others {
            for (path, entry) in &self.branches[*other].tree {
                if !is_taken(&tree, path) {
                    tree.insert(path.clone(), entry.clone());
                    touched.insert(path.clone());
                }
            }
        }
        for change in changes {
            self.apply(&mut tree, &mut touched, change);
        }

        let commit = self.take_mark();
        let mut head = format!("commit refs/heads/{branch}\nmark :{}\n", commit.0);
        for role in ["author", "committer"] {
            let _ = writeln!(head, "{role} {} {} +0000", self.author, self.next_time);
        }
        let message = self.next_message.take().unwrap_or_else(|| format!("Commit {}\n", commit.0));
        let _ = write!(head, "data {}\n{message}", message.len());
        if let Some(parent) = parent {
            let _ = writeln!(head, "from :{}", parent.0);
        }
        for other in merged {
            let _ = writeln!(head, "merge :{}", other.0);
        }
        self.stream.extend_from_slice(head.as_bytes());
        write_changes(&mut self.stream, &touched, &tree);
        self.stream.push(b'\n');
        self.next_time += TIME_STEP;
        self.branches.insert(branch.to_owned(), Tip { commit, tree });
        commit
    }

    /// Starts a branch at the tip of another one.
    pub fn branch(&mut self, name: &str, from: &str) {
        let tip = &self.branches[from];
        let tip = Tip { commit: tip.commit, tree: tip.tree.clone() };
        self.reset(&format!("refs/heads/{name}"), tip.commit);
        self.branches.insert(name.to_owned(), tip);
    }

    /// Deletes a branch. Its commits stay, reachable or not.
    pub fn delete_branch(&mut self, name: &str) {
        self.branches.remove(name).expect("the branch is there");
        // A reset to the zero id, as `git fast-import` documents it, deletes the reference.
        let zeros = "0".repeat(self.id_len());
        self.stream.extend_from_slice(format!("reset refs/heads/{name}\nfrom {zeros}\n\n").as_bytes());
    }

    /// Makes a lightweight tag.
    pub fn tag(&mut self, name: &str, commit: Mark) {
        self.reset(&format!("refs/tags/{name}"), commit);
    }

    /// Makes an annotated tag.
    pub fn annotated_tag(&mut self, name: &str, commit: Mark) {
        let message = format!("Release {name}\n");
        let tag = format!(
            "tag {name}\nfrom :{}\ntagger {} {} +0000\ndata {}\n{message}\n",
            commit.0,
            self.author,
            self.next_time,
            message.len()
        );
        self.stream.extend_from_slice(tag.as_bytes());
    }

    /// Makes any reference, such as `refs/pull/1/head`.
    pub fn reference(&mut self, name: &str, commit: Mark) {
        self.reset(name, commit);
    }

    /// Writes everything to the repository.
    ///
    /// # Errors
    /// When git refuses it.
    pub fn build(self) -> anyhow::Result<Repository> {
        let mut repository = Repository { builder: self, ids: BTreeMap::new() };
        repository.import()?;
        Ok(repository)
    }

    /// The paths of the regular files at the tip of a branch.
    pub(crate) fn files(&self, branch: &str) -> Vec<&[u8]> {
        let is_file = |entry: &Entry| matches!(entry, Entry::Blob { mode: "100644", .. });
        let tree = &self.branches[branch].tree;
        tree.iter().filter(|(_, entry)| is_file(entry)).map(|(path, _)| path.as_slice()).collect()
    }

    /// The content of a file at the tip of a branch.
    pub(crate) fn content(&self, branch: &str, path: &[u8]) -> &[u8] {
        match &self.branches[branch].tree[path] {
            Entry::Blob { content, .. } => content,
            Entry::Submodule(_) => panic!("a submodule has no content"),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("repository.git")
    }

    fn id_len(&self) -> usize {
        let config = std::fs::read_to_string(self.path().join("config")).unwrap_or_default();
        if config.contains("sha256") { 64 } else { 40 }
    }

    fn take_mark(&mut self) -> Mark {
        self.next_mark += 1;
        Mark(self.next_mark - 1)
    }

    fn reset(&mut self, reference: &str, commit: Mark) {
        self.stream.extend_from_slice(format!("reset {reference}\nfrom :{}\n\n", commit.0).as_bytes());
    }

    fn apply(&mut self, tree: &mut Tree, touched: &mut BTreeSet<Vec<u8>>, change: Change) {
        let (path, entry) = match change {
            Change::Write { path, content } => (path, self.blob("100644", content)),
            Change::Symlink { path, target } => (path, self.blob("120000", target)),
            Change::Submodule { path, commit } => (path, Entry::Submodule(commit)),
            Change::Delete { path } => {
                tree.remove(&path).expect("the file to delete is there");
                touched.insert(path);
                return;
            }
            Change::Rename { from, to } => {
                let entry = tree.remove(&from).expect("the file to rename is there");
                touched.insert(from);
                (to, entry)
            }
            Change::Copy { from, to } => (to, tree.get(&from).expect("the file to copy is there").clone()),
        };
        tree.insert(path.clone(), entry);
        touched.insert(path);
    }

    fn blob(&mut self, mode: &'static str, content: Vec<u8>) -> Entry {
        let Mark(mark) = self.take_mark();
        let head = format!("blob\nmark :{mark}\ndata {}\n", content.len());
        self.stream.extend_from_slice(head.as_bytes());
        self.stream.extend_from_slice(&content);
        self.stream.push(b'\n');
        Entry::Blob { mode, mark, content: content.into() }
    }
}

/// Whether there is a file of this path, a directory of this path, or a file where this path needs a directory.
fn is_taken(tree: &Tree, path: &[u8]) -> bool {
    let directory = [path, b"/"].concat();
    let is_directory =
        tree.range(directory.clone()..).next().is_some_and(|(next, _)| next.starts_with(&directory));
    let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    is_directory || tree.contains_key(path) || slashes.any(|at| tree.contains_key(&path[..at]))
}

/// Writes what became of the touched paths, deletions first: a file may take the place of a directory.
fn write_changes(stream: &mut Vec<u8>, touched: &BTreeSet<Vec<u8>>, tree: &Tree) {
    for path in touched.iter().filter(|path| !tree.contains_key(*path)) {
        stream.extend_from_slice(b"D ");
        write_path(stream, path);
    }
    for (path, entry) in touched.iter().filter_map(|path| tree.get_key_value(path)) {
        let head = match entry {
            Entry::Blob { mode, mark, .. } => format!("M {mode} :{mark} "),
            Entry::Submodule(commit) => format!("M 160000 {commit} "),
        };
        stream.extend_from_slice(head.as_bytes());
        write_path(stream, path);
    }
}

/// Writes a path in the C style quotes of `git fast-import`, and a line feed.
fn write_path(stream: &mut Vec<u8>, path: &[u8]) {
    stream.push(b'"');
    for byte in path {
        match byte {
            b'"' | b'\\' => stream.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => stream.push(*byte),
            _ => write!(stream, "\\{byte:03o}").expect("a Vec takes everything"),
        }
    }
    stream.extend_from_slice(b"\"\n");
}

/// A bare repository in a temporary directory, which is removed on drop.
pub struct Repository {
    builder: RepositoryBuilder,
    ids: BTreeMap<usize, CommitId>,
}

impl Repository {
    /// The repository's directory.
    pub fn path(&self) -> PathBuf {
        self.builder.path()
    }

    /// The id of a commit.
    pub fn id(&self, commit: Mark) -> CommitId {
        self.ids[&commit.0]
    }

    /// Adds a commit to a branch, as a push would; see [`RepositoryBuilder::commit`].
    ///
    /// # Errors
    /// When git refuses it.
    pub fn push_commit(
        &mut self,
        branch: &str,
        changes: impl IntoIterator<Item = Change>,
    ) -> anyhow::Result<CommitId> {
        let commit = self.builder.commit(branch, changes);
        self.import()?;
        Ok(self.id(commit))
    }

    /// Makes anything further: what `change` tells the builder is written when it returns.
    ///
    /// # Errors
    /// When git refuses it.
    pub fn extend<T>(&mut self, change: impl FnOnce(&mut RepositoryBuilder) -> T) -> anyhow::Result<T> {
        let result = change(&mut self.builder);
        self.import()?;
        Ok(result)
    }

    /// Puts everything reachable into one pack with good deltas, and drops the rest, as `git gc` does after a while.
    ///
    /// # Errors
    /// When git fails.
    pub fn repack(&self) -> anyhow::Result<()> {
        run_git(&self.path(), &["repack", "-a", "-d", "--quiet"], b"")?;
        Ok(())
    }

    /// Runs git in the repository and returns what it writes.
    ///
    /// # Errors
    /// When git fails.
    pub fn git(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        run_git(&self.path(), arguments, b"")
    }

    /// Every commit that a ref reaches, with its first parent, empty where it has none; in hexadecimal, children first.
    ///
    /// # Errors
    /// When git fails.
    pub fn commits_and_parents(&self) -> anyhow::Result<Vec<(String, String)>> {
        let lines = String::from_utf8(self.git(&["rev-list", "--all", "--parents"])?)?;
        let pair = |line: &str| {
            let mut ids = line.split(' ').map(str::to_owned);
            (ids.next().unwrap_or_default(), ids.next().unwrap_or_default())
        };
        Ok(lines.lines().map(pair).collect())
    }

    fn import(&mut self) -> anyhow::Result<()> {
        let marks = self.builder.dir.path().join("marks");
        let stream = std::mem::take(&mut self.builder.stream);
        let (import, export) = (
            format!("--import-marks-if-exists={}", marks.display()),
            format!("--export-marks={}", marks.display()),
        );
        let arguments = ["fast-import", "--quiet", "--force", "--date-format=raw", &import, &export];
        run_git(&self.path(), &arguments, &stream)?;
        let text = std::fs::read_to_string(&marks).context("reading the marks of git fast-import")?;
        for line in text.lines() {
            let (mark, id) = line.trim_start_matches(':').split_once(' ').context("a line of marks")?;
            self.ids.insert(mark.parse()?, id.parse()?);
        }
        Ok(())
    }
}
