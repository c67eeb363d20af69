//! Scans of what a push brings: before it leaves this repository, or before this repository takes it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository};
use secretscan_detect::{HashKey, Scanner};
use secretscan_model::Finding;
use secretscan_model::ids::CommitId;
use tempfile::TempDir;

use crate::error::GitError;
use crate::history::rev_list;
use crate::objects::ObjectStore;
use crate::offline::{child_limits, manifest_of, note_shallow};
use crate::repository::{self, discover, ids_of, open, parse_oid, refs};
use crate::scan::{Scan, ScanOptions, ScanReport};
use crate::texts::RefScan;

/// A ref as a push sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedRef {
    /// Its full name on the other side.
    pub name: String,
    /// The id that it gets: for an annotated tag that of the tag itself.
    pub id: CommitId,
}

/// A push that is about to happen.
#[derive(Debug)]
pub struct Push {
    /// Where its objects can be read.
    git_dir: PathBuf,
    refs: Vec<PushedRef>,
    /// What the other side is known to have. The repository may lack some of it.
    known: Vec<String>,
    /// Its remote-tracking refs say what else the other side has.
    remote: Option<String>,
    /// What `git_dir` is, where the objects are in quarantine.
    view: Option<TempDir>,
}

impl Push {
    /// A push from this repository; `repo` may be any path inside. `known` are the ids that the refs have there now,
    /// and `remotes` are names or URLs of the other side.
    ///
    /// # Errors
    /// When the repository can't be opened.
    pub fn outgoing(
        repo: &Path,
        refs: Vec<PushedRef>,
        known: &[CommitId],
        remotes: &[&str],
    ) -> Result<Self, GitError> {
        let repository = discover(repo)?;
        let known = known.iter().map(CommitId::to_string).collect();
        let remote = remotes.iter().find_map(|remote| remote_name(&repository, remote));
        Ok(Self { git_dir: repository.path().to_path_buf(), refs, known, remote, view: None })
    }

    /// A push to the repository at `repo`, which has all that its refs reach. `quarantine` are the directories in which Git
    /// keeps new objects apart until a hook has agreed, and those that they borrow from.
    ///
    /// # Errors
    /// When the repository can't be opened, or no directory for temporary files be made.
    pub fn incoming(repo: &Path, pushed: Vec<PushedRef>, quarantine: &[PathBuf]) -> Result<Self, GitError> {
        let repository = discover(repo)?;
        let known = refs(repository.path())?.into_iter().map(|(_, id)| id).collect();
        let view = if quarantine.is_empty() { None } else { Some(view(&repository, quarantine)?) };
        let git_dir = view.as_ref().map_or(repository.path(), TempDir::path).to_path_buf();
        Ok(Self { git_dir, refs: pushed, known, remote: None, view })
    }

    /// Scans each commit that the other side lacks once, however many refs reach it, the messages of tags, and blobs that
    /// refs lead to.
    ///
    /// # Errors
    /// When objects are missing or can't be read.
    pub fn scan(
        &self,
        scanner: &Scanner,
        key: &HashKey,
        options: &ScanOptions<'_>,
    ) -> Result<ScanReport, GitError> {
        let repository = open(&self.git_dir)?;
        let mut scan = Scan::new(scanner, key, *options);
        note_shallow(&mut scan, &repository);
        let objects = ObjectStore::of_repository(&repository)?;
        let (options_of_remote, revisions) = (self.remote_options(), self.revisions(&repository)?);
        let commits = rev_list(&self.git_dir, &options_of_remote, &revisions, &child_limits(options))?;
        let trees = objects.trees_for(commits.len(), options.threads, &child_limits(options))?;
        scan.add_batch(manifest_of(&repository, commits, trees.as_ref(), options)?, &objects, &|_| true)?;
        let mut of_refs = RefScan::new(&repository, scanner, options);
        for pushed in &self.refs {
            let id = oid(&repository, &pushed.id)?;
            of_refs.add(&mut scan, pushed.name.as_bytes(), id);
        }
        Ok(scan.finish())
    }

    fn remote_options(&self) -> Vec<String> {
        let remote = self.remote.iter();
        remote
            .flat_map(|name| ["--not".to_owned(), format!("--remotes={name}"), "--not".to_owned()])
            .collect()
    }

    /// For `git rev-list`, which dies of an id that it does not know.
    fn revisions(&self, repository: &Repository) -> Result<Vec<String>, GitError> {
        let objects = repository.odb().map_err(GitError::libgit2("read objects"))?;
        let has = |id: &&String| parse_oid(repository, id).is_some_and(|id| objects.exists(id));
        let known = self.known.iter().filter(has).map(|id| format!("^{id}"));
        Ok(self.refs.iter().map(|pushed| pushed.id.to_string()).chain(known).collect())
    }

    /// The names of the refs that would show this finding to the other side.
    ///
    /// # Errors
    /// When the history can't be walked.
    pub fn refs_with(&self, finding: &Finding) -> Result<Vec<&str>, GitError> {
        let repository = open(&self.git_dir)?;
        let mut names = Vec::new();
        for pushed in &self.refs {
            // What a tag or a blob says itself is found under the name of the ref.
            let is_own = finding.path == pushed.name.as_bytes();
            if is_own || self.reaches(&repository, pushed, finding)? {
                names.push(pushed.name.as_str());
            }
        }
        Ok(names)
    }

    fn reaches(
        &self,
        repository: &Repository,
        pushed: &PushedRef,
        finding: &Finding,
    ) -> Result<bool, GitError> {
        if self.refs.iter().any(|other| finding.path == other.name.as_bytes()) {
            return Ok(false);
        }
        let object = repository.find_object(oid(repository, &pushed.id)?, None);
        let Ok(tip) = object.and_then(|object| object.peel_to_commit()) else { return Ok(false) };
        for occurrence in &finding.occurrences {
            let commit = oid(repository, &occurrence.commit)?;
            let walked = || GitError::libgit2(format!("walk the history of {}", pushed.name));
            if tip.id() == commit || repository.graph_descendant_of(tip.id(), commit).map_err(walked())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what the scan has on disk, for a process that ends without waiting for it.
    pub fn abandon(&self) {
        if let Some(view) = &self.view {
            // It is in the directory for temporary files: what can't be removed goes with those.
            let _ = fs::remove_dir_all(view.path());
        }
    }
}

fn oid(repository: &Repository, id: &CommitId) -> Result<Oid, GitError> {
    repository::oid(repository, id.as_bytes()).map_err(GitError::libgit2(format!("read the id {id}")))
}

/// The configured remote with this name, or else with this URL.
fn remote_name(repository: &Repository, remote: &str) -> Option<String> {
    let names = repository.remotes().ok()?;
    let names: Vec<&str> = names.iter().filter_map(|name| name.ok().flatten()).collect();
    if names.contains(&remote) {
        return Some(remote.to_owned());
    }
    let has_url = |name: &&&str| {
        repository.find_remote(name).is_ok_and(|found| {
            let push = found.pushurl().ok().flatten();
            push.or(found.url().ok()).is_some_and(|url| url == remote)
        })
    };
    names.iter().find(has_url).map(|name| (*name).to_owned())
}

/// A Git directory that borrows all objects and has no refs. The `git` program, libgit2 and our own reader of packs all
/// follow alternates, so nothing else has to know of a quarantine.
fn view(repository: &Repository, quarantine: &[PathBuf]) -> Result<TempDir, GitError> {
    let dir = tempfile::tempdir().map_err(GitError::io("make a directory in", std::env::temp_dir()))?;
    let own = repository.commondir().join("objects");
    let mut alternates = Vec::new();
    for objects in quarantine.iter().chain([&own]) {
        let objects = objects.canonicalize().map_err(GitError::io("find", objects))?;
        alternates.extend_from_slice(objects.as_os_str().as_bytes());
        alternates.push(b'\n');
    }
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(dir.path())).map_err(GitError::io("make", &path))?;
        fs::write(&path, content).map_err(GitError::io("write", &path))
    };
    write("HEAD", b"ref: refs/heads/none\n")?;
    write("refs/none", b"")?;
    fs::remove_file(dir.path().join("refs/none")).map_err(GitError::io("remove from", dir.path()))?;
    let ids = ids_of(repository);
    let config = format!(
        "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = {ids}\n"
    );
    write("config", config.as_bytes())?;
    write("objects/info/alternates", &alternates)?;
    if let Ok(shallow) = fs::read(repository.commondir().join("shallow")) {
        write("shallow", &shallow)?;
    }
    Ok(dir)
}
