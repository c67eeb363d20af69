//! Mirrors of remote repositories on disk: one bare repository for each, fetched again and again.
//!
//! A cache directory holds, for each repository, the mirror `ID.git` and two lock files. `ID.fetch-lock` is held by the
//! one who fetches; `ID.use-lock` is shared by all who read, and held alone by the one who evicts. A new mirror grows
//! as `ID.new` and takes its name once complete. Locks are the system's, so a process that dies leaves none.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use secretscan_model::ids::{CommitId, RepositoryId};

use crate::command::git_in;
use crate::error::GitError;
use crate::fetch::{
    ALL_REFS, Bounds, FetchError, FetchProgress, Order, check_uri, clone_command, command, disk_usage,
    local_path, run,
};
use crate::indexer;
use crate::repository::{oid, open};
use crate::said::OwnWords;

/// With more packs than this a mirror is repacked: every fetch that brings something adds one, and each costs time at
/// every look-up.
const MAX_PACKS: usize = 50;
/// So many commits are asked for one by one when a host does not have all that are wanted.
const MAX_WANTED: usize = 20;
/// How often a waiting fetch looks whether the other one is done.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// A directory of mirrors, bounded in size, that several processes may share.
#[derive(Clone, Debug)]
pub struct MirrorCache {
    dir: PathBuf,
    max_bytes: u64,
    indexer: Option<PathBuf>,
}

/// A mirror in use: it is not evicted while this lives.
#[derive(Debug)]
pub struct Mirror {
    path: PathBuf,
    was_there: bool,
    /// Shared lock on the `use-lock`.
    _in_use: File,
}

impl Mirror {
    /// The bare repository.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was there already, and was brought up to date.
    pub fn was_there(&self) -> bool {
        self.was_there
    }
}

/// How often a lock is tried that nobody should hold for long.
const LOCK_TRIES: u32 = 10;

impl MirrorCache {
    /// A cache in this directory, which is made at need; mirrors that are not in use are evicted, the least recently
    /// fetched first, when all together take more than `max_bytes`.
    pub fn new(dir: impl Into<PathBuf>, max_bytes: u64) -> Self {
        Self { dir: dir.into(), max_bytes, indexer: None }
    }

    /// Lets this program index the packs of new mirrors in Git's place: one that begins with [`called_by_git`].
    ///
    /// [`called_by_git`]: crate::called_by_git
    pub fn with_indexer(self, program: Option<PathBuf>) -> Self {
        Self { indexer: program, ..self }
    }

    /// Brings the mirror of a repository up to date, or makes it. A mirror that proves damaged is made anew, once, and so is
    /// one whose repository has another object format by now.
    ///
    /// Waits while another process fetches the same repository.
    ///
    /// # Errors
    /// [`FetchError::is_transient`] says whether to try again.
    pub fn fetch(
        &self,
        order: &Order<'_>,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Mirror, FetchError> {
        check_uri(order.uri, order.allow_local)?;
        let repository = order.repository;
        let bounds = Bounds { limits: order.limits, started: Instant::now(), stop };
        fs::create_dir_all(&self.dir).map_err(FetchError::io("make the directory", &self.dir))?;
        let fetch_lock = self.lock_file(repository, "fetch-lock")?;
        lock(&fetch_lock, &bounds).map_err(|e| e.at(self.path(repository, "fetch-lock")))?;
        let in_use = self.lock_file(repository, "use-lock")?;
        let path = self.path(repository, "git");
        let mut fetch = Fetch { order, bounds, indexer: self.indexer.as_deref(), progress };
        // Packs vanish when they are joined, so only while nobody reads.
        if in_use.try_lock().is_ok() {
            fetch.join_packs(&path)?;
        }
        // Also turns the lock held alone into a shared one.
        in_use.lock_shared().map_err(FetchError::io("lock", self.path(repository, "use-lock")))?;
        self.evict();
        let updated = if path.exists() { Some(fetch.update(&path)) } else { None };
        let was_there = matches!(updated, Some(Ok(())));
        match updated {
            Some(Ok(())) => {}
            Some(Err(error @ (FetchError::Corrupt { .. } | FetchError::OtherObjectFormat))) => {
                tracing::warn!(repo = %repository, %error, "the mirror is of no use and is made anew");
                remove(&path)?;
                fetch.create(&path, &self.path(repository, "new"))?;
            }
            Some(Err(error)) => return Err(error),
            None => fetch.create(&path, &self.path(repository, "new"))?,
        }
        fetch.wanted(&path)?;
        // The time of the last write is what eviction goes by.
        (&in_use).write_all(b".").map_err(FetchError::io("write", self.path(repository, "use-lock")))?;
        self.evict();
        Ok(Mirror { path, was_there, _in_use: in_use })
    }

    /// Throws a mirror away that proved damaged while it was read, so that the next fetch makes it anew. Does nothing
    /// while another process fetches into it.
    ///
    /// # Errors
    /// [`FetchError::Io`] when it can't be removed.
    pub fn discard(&self, mirror: Mirror) -> Result<(), FetchError> {
        let path = mirror.path.with_extension("fetch-lock");
        let lock = open_lock(&path).map_err(FetchError::io("open the lock file", &path))?;
        // A process that is just being started holds for a moment what it inherits, our own last lock among it.
        for _ in 0..LOCK_TRIES {
            match lock.try_lock() {
                Ok(()) => return remove(&mirror.path),
                Err(TryLockError::WouldBlock) => thread::park_timeout(LOCK_POLL),
                Err(TryLockError::Error(error)) => return Err(FetchError::io("lock", path)(error)),
            }
        }
        Ok(())
    }

    fn path(&self, repository: &RepositoryId, suffix: &str) -> PathBuf {
        self.dir.join(format!("{repository}.{suffix}"))
    }

    fn lock_file(&self, repository: &RepositoryId, suffix: &str) -> Result<File, FetchError> {
        let path = self.path(repository, suffix);
        open_lock(&path).map_err(FetchError::io("open the lock file", path))
    }

    /// Removes mirrors that are not in use until the rest fits, and what a clone that was killed left. What can't be
    /// removed stays for the next time.
    fn evict(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut mirrors = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "git") {
                let lock = path.with_extension("use-lock");
                let used = fs::metadata(&lock).and_then(|metadata| metadata.modified()).ok();
                mirrors.push((used, disk_usage(&path), path, lock));
            } else if path.extension().is_some_and(|extension| extension == "new")
                && let Ok(lock) = open_lock(&path.with_extension("fetch-lock"))
                && lock.try_lock().is_ok()
            {
                // Nobody is cloning into it.
                let _ = remove(&path);
            }
        }
        mirrors.sort();
        let mut total: u64 = mirrors.iter().map(|(_, bytes, ..)| bytes).sum();
        for (_, bytes, path, lock) in mirrors {
            if total <= self.max_bytes {
                return;
            }
            let Ok(lock) = open_lock(&lock) else { continue };
            if lock.try_lock().is_ok() && remove(&path).is_ok() {
                total -= bytes;
                tracing::info!(mirror = %path.display(), bytes, "evicted a mirror");
            }
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// Why a lock was not taken.
enum LockFailure {
    Bound(FetchError),
    Io(io::Error),
}

impl LockFailure {
    fn at(self, path: PathBuf) -> FetchError {
        match self {
            Self::Bound(error) => error,
            Self::Io(source) => FetchError::Io { doing: "lock", path, source },
        }
    }
}

/// Takes the lock, or gives up with the bounds. The system offers no wait that can be ended, hence the polling.
fn lock(file: &File, bounds: &Bounds<'_>) -> Result<(), LockFailure> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => bounds.check().map_err(LockFailure::Bound)?,
            Err(TryLockError::Error(error)) => return Err(LockFailure::Io(error)),
        }
        thread::park_timeout(LOCK_POLL);
    }
}

fn remove(path: &Path) -> Result<(), FetchError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FetchError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A fetch under the locks.
struct Fetch<'a> {
    order: &'a Order<'a>,
    bounds: Bounds<'a>,
    indexer: Option<&'a Path>,
    progress: &'a mut dyn FnMut(FetchProgress),
}

impl Fetch<'_> {
    /// Fetches into an existing mirror.
    fn update(&mut self, mirror: &Path) -> Result<(), FetchError> {
        remove_leftovers(mirror);
        if let Err(error) = open(mirror) {
            return Err(FetchError::Corrupt { stderr: error.to_string() });
        }
        self.run(mirror, &[ALL_REFS.to_owned()])
    }

    /// Fetches what is wanted and no ref led to. What the host does not have any more, or does not give by its id, is
    /// left out.
    fn wanted(&mut self, mirror: &Path) -> Result<(), FetchError> {
        let missing = missing(mirror, self.order.wanted);
        if missing.is_empty() || self.run_kindly(mirror, &missing)? || missing.len() == 1 {
            return Ok(());
        }
        // One of them spoils it for all.
        for id in missing.iter().take(MAX_WANTED) {
            self.run_kindly(mirror, std::slice::from_ref(id))?;
        }
        Ok(())
    }

    /// Whether the host gave what was asked for.
    fn run_kindly(&mut self, mirror: &Path, what: &[String]) -> Result<bool, FetchError> {
        match self.run(mirror, what) {
            Ok(()) => Ok(true),
            // Hosts word it differently.
            Err(
                FetchError::Git { stderr } | FetchError::NotFound { stderr } | FetchError::Corrupt { stderr },
            ) => {
                tracing::info!(mirror = %mirror.display(), stderr, "the host does not give what was pushed");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a mirror under another name and renames it once it is complete. Its object format is that of the repository.
    fn create(&mut self, mirror: &Path, new: &Path) -> Result<(), FetchError> {
        let made = self
            .clone_to(new)
            .and_then(|()| fs::rename(new, mirror).map_err(FetchError::io("rename to its final name", new)));
        if made.is_err() {
            // The error that made it useless is the one to report; what stays here goes at the next fetch.
            let _ = remove(new);
        }
        made
    }

    fn clone_to(&mut self, new: &Path) -> Result<(), FetchError> {
        // A program that is gone, after an upgrade, indexes nothing.
        let indexer = self.indexer.filter(|program| program.exists());
        match (self.clone_with(indexer, new), indexer) {
            // Git has the word on what is damaged or too large.
            (Err(error @ (FetchError::Corrupt { .. } | FetchError::TooMuchMemory { .. })), Some(_)) => {
                tracing::info!(repo = %self.order.repository, %error, "is fetched again, and indexed by Git");
                self.clone_with(None, new)?;
            }
            (made, _) => made?,
        }
        // Not the host's, which no later fetch would change: only refs say what there is.
        let head = open(new)
            .and_then(|made| made.set_head("refs/heads/main").map_err(GitError::libgit2("set the head")));
        head.map_err(|error| FetchError::Git { stderr: error.to_string() })
    }

    fn clone_with(&mut self, indexer: Option<&Path>, new: &Path) -> Result<(), FetchError> {
        let dir = tempfile::tempdir().map_err(FetchError::io("make a directory in", env::temp_dir()))?;
        if let Some(program) = indexer {
            indexer::link(program, dir.path()).map_err(FetchError::io("make a link in", dir.path()))?;
        }
        at_either_name(self.order.uri, |uri| {
            remove(new)?;
            let mut command = clone_command(new, uri, self.order);
            trust(uri, dir.path(), &mut command)?;
            if indexer.is_some() {
                command.env(indexer::EXEC_PATH, dir.path());
            }
            run(command, new, &self.bounds, OwnWords::new(uri, self.order.credentials), self.progress)
        })
    }

    /// Joins the packs of a mirror that has many. No object is dropped, reachable or not.
    fn join_packs(&mut self, mirror: &Path) -> Result<(), FetchError> {
        let packs = fs::read_dir(mirror.join("objects/pack")).into_iter().flatten().flatten();
        let packs =
            packs.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack"));
        if packs.count() <= MAX_PACKS {
            return Ok(());
        }
        let mut repack = git_in(mirror);
        repack.args(["repack", "-d", "-q", "--geometric=2"]).stdout(Stdio::null());
        let words = OwnWords::new(self.order.uri, self.order.credentials);
        match run(repack, mirror, &self.bounds, words, self.progress) {
            // The fetch that follows finds out whether the mirror is damaged.
            Err(FetchError::Git { stderr } | FetchError::Corrupt { stderr }) => {
                tracing::warn!(mirror = %mirror.display(), stderr, "the mirror could not be repacked");
                Ok(())
            }
            other => other,
        }
    }

    fn run(&mut self, mirror: &Path, what: &[String]) -> Result<(), FetchError> {
        at_either_name(self.order.uri, |uri| {
            let mut command = command(mirror, uri, self.order, what);
            trust(uri, mirror, &mut command)?;
            run(command, mirror, &self.bounds, OwnWords::new(uri, self.order.credentials), self.progress)
        })
    }
}

/// Some hosts redirect to the name with `.git`, which is known to be the same repository.
pub(crate) fn at_either_name(
    uri: &str,
    mut run: impl FnMut(&str) -> Result<(), FetchError>,
) -> Result<(), FetchError> {
    match run(uri) {
        Err(FetchError::Redirected { .. }) if !uri.ends_with(".git") => {
            run(&format!("{}.git", uri.trim_end_matches('/')))
        }
        other => other,
    }
}

/// Lets Git read a local repository that the user trusts. Git's own check of the source's owner can't see the user's
/// configuration, so it is made here with it. A file in the directory says so to the command.
pub(crate) fn trust(uri: &str, dir: &Path, command: &mut Command) -> Result<(), FetchError> {
    let Some(source) = local_path(uri) else { return Ok(()) };
    if let Err(GitError::NotOwned { path }) = open(source) {
        return Err(FetchError::NotOwned { path });
    }
    let trusted = dir.join("trusted-source");
    fs::write(&trusted, "[safe]\n\tdirectory = *\n").map_err(FetchError::io("write", &trusted))?;
    command.env("GIT_CONFIG_GLOBAL", &trusted);
    Ok(())
}

/// Those of the objects that a repository does not have, each once. All, where it can't be read.
fn missing(repository: &Path, wanted: &[CommitId]) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let repository = open(repository).ok();
    let opened = repository.as_ref().and_then(|repository| Some((repository, repository.odb().ok()?)));
    let has = |id: &CommitId| {
        opened.as_ref().is_some_and(|(repository, objects)| {
            oid(repository, id.as_bytes()).is_ok_and(|id| objects.exists(id))
        })
    };
    let missing: BTreeSet<&CommitId> = wanted.iter().filter(|id| !has(id)).collect();
    missing.into_iter().map(CommitId::to_string).collect()
}

/// Removes what a fetch that was killed left in the way of the next one: lock files and half packs. The caller holds
/// the fetch lock, so they are nobody's.
fn remove_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_leftovers(&entry.path());
        } else if name.ends_with(b".lock") || name.starts_with(b"tmp_") {
            // What can't be removed fails the fetch, with a better message.
            let _ = fs::remove_file(entry.path());
        }
    }
}
