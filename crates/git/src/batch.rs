//! Cutting a history into batches, each a self-contained archive that can be scanned without the repository.
//!
//! An archive is a plain tar of `manifest`, `batch.idx` and `batch.pack`. The pack holds the batch's commits and the
//! blobs that they introduce, and no trees: what a tree says (which blob stands at which path) the manifest says
//! already, for the introductions only. With trees the reader would need those of the parents as well to tell what is
//! new, and trees are most of the objects of many histories.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use secretscan_model::ids::{BlobId, CommitId};
use tempfile::NamedTempFile;

use crate::error::GitError;
use crate::history::CommitEntry;
use crate::introductions::{Introduction, in_git_dir};
use crate::manifest::Manifest;
use crate::pack::{Pack, blob_sizes, write_pack};
use crate::repository::git_dir;

/// How many commits are looked at together: bounds the memory, and makes the start of child processes cheap.
const READ_AHEAD: usize = 8192;

pub(crate) const MANIFEST: &str = "manifest";
pub(crate) const IDX: &str = "batch.idx";
pub(crate) const PACK: &str = "batch.pack";

/// How big a batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// At most this many commits.
    pub max_commits: usize,
    /// At most this many bytes in the distinct blobs, inflated; a single commit with more is a batch of its own.
    pub max_bytes: u64,
    /// A blob with more bytes than this stays out of the pack and is reported as not scanned.
    pub max_blob_bytes: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_commits: 2000, max_bytes: 512 << 20, max_blob_bytes: 1 << 30 }
    }
}

/// One batch, ready to be handed over.
#[derive(Debug)]
pub struct CutBatch {
    /// The commits in order.
    pub commits: Vec<CommitEntry>,
    /// The archive, removed when dropped.
    pub archive: NamedTempFile,
    /// The size of the archive.
    pub archive_bytes: u64,
    /// How many blobs the pack holds.
    pub blobs: u64,
    /// Their size, inflated.
    pub inflated_bytes: u64,
}

/// Cuts commits into batches, in their order, one at a time.
///
/// The same commits and limits give the same batches. Memory does not grow with the number of commits beyond the list
/// itself. After an error the iterator ends.
pub struct BatchCutter {
    contents: Contents,
    scratch: PathBuf,
}

impl BatchCutter {
    /// Prepares to cut these commits; archives are made in the directory `scratch`.
    ///
    /// # Errors
    /// When the repository can't be opened.
    pub fn new(
        repo: &Path,
        commits: Vec<CommitEntry>,
        limits: BatchLimits,
        scratch: &Path,
    ) -> Result<Self, GitError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let contents = Contents::new(git_dir(repo)?, commits, limits, threads);
        Ok(Self { contents, scratch: scratch.to_path_buf() })
    }

    fn archive(&self, content: Content) -> Result<CutBatch, GitError> {
        let dir = tempfile::tempdir_in(&self.scratch)
            .map_err(GitError::io("make a temporary directory in", &self.scratch))?;
        let pack = content.write_pack(&self.contents.git_dir, dir.path())?;
        let archive = NamedTempFile::new_in(&self.scratch)
            .map_err(GitError::io("make a temporary file in", &self.scratch))?;
        write_archive(archive.as_file(), &content.manifest.encode(), &pack)
            .map_err(GitError::io("write the archive", archive.path()))?;
        let metadata = archive.as_file().metadata();
        let archive_bytes = metadata.map_err(GitError::io("look at", archive.path()))?.len();
        let Content { manifest, blobs, inflated_bytes } = content;
        Ok(CutBatch {
            commits: manifest.commits,
            archive,
            archive_bytes,
            blobs: blobs.len() as u64,
            inflated_bytes,
        })
    }
}

impl Iterator for BatchCutter {
    type Item = Result<CutBatch, GitError>;

    fn next(&mut self) -> Option<Self::Item> {
        let cut = self.contents.next()?.and_then(|content| self.archive(content));
        if cut.is_err() {
            self.contents.end();
        }
        Some(cut)
    }
}

fn write_archive(file: &File, manifest: &[u8], pack: &Pack) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    // Fixed times and modes: the archive depends on its content alone.
    let header = |size| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header
    };
    tar.append_data(&mut header(manifest.len() as u64), MANIFEST, manifest)?;
    for (name, path) in [(IDX, &pack.idx), (PACK, &pack.pack)] {
        let source = File::open(path)?;
        tar.append_data(&mut header(source.metadata()?.len()), name, source)?;
    }
    tar.into_inner()?.into_inner()?;
    Ok(())
}

/// A batch before its objects are packed.
pub(crate) struct Content {
    pub manifest: Manifest,
    /// The blobs to pack, each once, in order of introduction.
    pub blobs: Vec<BlobId>,
    pub inflated_bytes: u64,
}

impl Content {
    /// Packs the commits and the blobs.
    pub fn write_pack(&self, git_dir: &Path, dir: &Path) -> Result<Pack, GitError> {
        write_pack(git_dir, self.manifest.commits.iter().map(|c| c.id), self.blobs.iter().copied(), dir)
    }
}

/// Decides what goes into which batch: an iterator of [`Content`].
pub(crate) struct Contents {
    git_dir: PathBuf,
    limits: BatchLimits,
    threads: usize,
    commits: std::vec::IntoIter<CommitEntry>,
    /// Commits read ahead, with what each introduces.
    ahead: VecDeque<(CommitEntry, Vec<Introduction>)>,
    /// The sizes of the blobs of the commits ahead; no size: missing.
    sizes: HashMap<BlobId, u64>,
}

impl Contents {
    pub fn new(git_dir: PathBuf, commits: Vec<CommitEntry>, limits: BatchLimits, threads: usize) -> Self {
        let commits = commits.into_iter();
        Self { git_dir, limits, threads, commits, ahead: VecDeque::new(), sizes: HashMap::new() }
    }

    /// Gives nothing any more.
    fn end(&mut self) {
        self.commits = Vec::new().into_iter();
        self.ahead.clear();
    }

    fn read_ahead(&mut self) -> Result<(), GitError> {
        let commits: Vec<CommitEntry> = self.commits.by_ref().take(READ_AHEAD).collect();
        let ids: Vec<CommitId> = commits.iter().map(|c| c.id).collect();
        let introductions = in_git_dir(&self.git_dir, &ids, self.threads)?;
        let blobs: HashSet<BlobId> = introductions.iter().map(|i| i.blob).collect();
        self.sizes = blob_sizes(&self.git_dir, &blobs)?;
        let mut introductions = introductions.into_iter().peekable();
        for (n, commit) in commits.into_iter().enumerate() {
            let of_commit = std::iter::from_fn(|| introductions.next_if(|i| i.commit as usize == n));
            self.ahead.push_back((commit, of_commit.collect()));
        }
        Ok(())
    }

    /// The distinct blobs that the commit ahead would add, and their bytes.
    fn additions(&self, introduced: &[Introduction], packed: &HashSet<BlobId>) -> (Vec<BlobId>, u64) {
        let mut seen = HashSet::new();
        let mut bytes = 0;
        let is_added = |blob: &BlobId| {
            let size = self.sizes.get(blob).copied();
            let fits = size.is_some_and(|size| size <= self.limits.max_blob_bytes);
            let is_added = fits && !packed.contains(blob) && seen.insert(*blob);
            bytes += if is_added { size.unwrap_or(0) } else { 0 };
            is_added
        };
        let added = introduced.iter().map(|i| i.blob).filter(is_added).collect();
        (added, bytes)
    }

    /// Why a blob stays out of the pack, if it does.
    fn absence(&self, blob: &BlobId) -> Option<String> {
        let limit = self.limits.max_blob_bytes;
        match self.sizes.get(blob) {
            None => Some("the repository does not have this content (partial clone)".to_owned()),
            Some(size) if *size > limit => Some(format!("{size} bytes, more than the limit of {limit}")),
            Some(_) => None,
        }
    }

    fn cut(&mut self) -> Result<Option<Content>, GitError> {
        let mut manifest = Manifest::default();
        let mut blobs = Vec::new();
        let mut packed = HashSet::new();
        let mut inflated_bytes = 0;
        while manifest.commits.len() < self.limits.max_commits.max(1) {
            if self.ahead.is_empty() {
                self.read_ahead()?;
            }
            let Some((commit, introduced)) = self.ahead.pop_front() else { break };
            let (added, bytes) = self.additions(&introduced, &packed);
            if !manifest.commits.is_empty() && inflated_bytes + bytes > self.limits.max_bytes {
                self.ahead.push_front((commit, introduced));
                break;
            }
            inflated_bytes += bytes;
            packed.extend(added.iter().copied());
            blobs.extend(added);
            let place = manifest.commits.len() as u32;
            for introduction in introduced {
                if let Some(reason) = self.absence(&introduction.blob) {
                    manifest.absent.insert(introduction.blob, reason);
                }
                manifest.introductions.push(Introduction { commit: place, ..introduction });
            }
            manifest.commits.push(commit);
        }
        let is_empty = manifest.commits.is_empty();
        Ok((!is_empty).then_some(Content { manifest, blobs, inflated_bytes }))
    }
}

impl Iterator for Contents {
    type Item = Result<Content, GitError>;

    fn next(&mut self) -> Option<Self::Item> {
        let cut = self.cut();
        if cut.is_err() {
            self.end();
        }
        cut.transpose()
    }
}
