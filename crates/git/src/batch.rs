//! Cutting a history into batches, each a self-contained archive that can be scanned without the repository.
//!
//! An archive is a plain tar of `manifest`, `batch.idx` and `batch.pack`. The pack holds the batch's commits and the
//! blobs that they introduce, and no trees: what a tree says (which blob stands at which path) the manifest says
//! already, for the introductions only. With trees the reader would need those of the parents as well to tell what is
//! new, and trees are most of the objects of many histories. A repository that fits one batch goes with its pack as it is: the
//! reader passes over the rest.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secretscan_model::ids::{BlobId, CommitId};
use secretscan_model::lifecycle::Look;
use tempfile::NamedTempFile;
use tracing::info_span;

use crate::command::ChildLimits;
use crate::error::GitError;
use crate::history::CommitEntry;
use crate::introductions::{Asked, Introduced, Introduction};
use crate::manifest::Manifest;
use crate::objects::{NO_FILE, ObjectStore, too_large};
use crate::pack::{BlobSize, Pack, blob_sizes, only_pack, write_pack};
use crate::repository::open;
use crate::tips::Tips;
use crate::trees::Trees;

/// How many commits are looked at together: bounds the memory, and makes the start of child processes cheap.
const READ_AHEAD: usize = 8192;
/// And how many files these may introduce, about: with one commit more.
const READ_AHEAD_FILES: usize = 2_000_000;

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
    /// The same for the bytes that the repository stores for them, compressed, deltas as deltas: about what the pack takes,
    /// and what it costs to scan it.
    pub max_stored_bytes: u64,
    /// A blob with more bytes than this stays out of the pack and is reported as not scanned.
    pub max_blob_bytes: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_commits: 20_000, max_bytes: 4 << 30, max_stored_bytes: 64 << 20, max_blob_bytes: 1 << 30 }
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
pub struct BatchCutter<'a> {
    contents: Contents<'a>,
    scratch: PathBuf,
    tips: Option<(Look, Tips)>,
}

/// What commits are compared by: the trees of a repository, where they are few enough to be held in memory.
pub struct ComparedTrees(Option<Trees>);

impl ComparedTrees {
    /// Gathers them to compare so many commits by; `usize::MAX` for all, however many they are.
    ///
    /// # Errors
    /// When the repository can't be read.
    pub fn gather(repo: &Path, commits: usize, children: &ChildLimits<'_>) -> Result<Self, GitError> {
        let _span = info_span!("trees").entered();
        ObjectStore::of_repository(&open(repo)?)?.trees_for(commits, threads(), children).map(Self)
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl<'a> BatchCutter<'a> {
    /// Prepares to cut these commits, compared by these trees; archives are made in the directory `scratch`, by children within
    /// these limits.
    ///
    /// # Errors
    /// When the repository can't be opened.
    pub fn new(
        repo: &Path,
        trees: ComparedTrees,
        commits: Vec<CommitEntry>,
        limits: BatchLimits,
        scratch: &Path,
        children: &ChildLimits<'a>,
    ) -> Result<Self, GitError> {
        let git_dir = open(repo)?.path().to_path_buf();
        let contents = Contents::new(git_dir, trees.0, commits, limits, threads(), *children);
        Ok(Self { contents, scratch: scratch.to_path_buf(), tips: None })
    }

    /// Has the batches say what of them stands at the tips of branches, by this look at them.
    #[must_use]
    pub fn with_tips(mut self, look: Look, tips: Tips) -> Self {
        self.tips = Some((look, tips));
        self
    }

    fn look_at_tips(&self, manifest: &mut Manifest) -> Result<(), GitError> {
        let Some((look, tips)) = &self.tips else { return Ok(()) };
        let paths: BTreeSet<Arc<[u8]>> = manifest.introductions.iter().map(|i| i.path.clone()).collect();
        let paths: Vec<Arc<[u8]>> = paths.into_iter().collect();
        let contents = tips.contents(&paths.iter().map(|path| &**path).collect::<Vec<_>>())?;
        manifest.at_tips = contents.into_iter().map(|(place, blob)| (paths[place].clone(), blob)).collect();
        manifest.look = Some(look.clone());
        Ok(())
    }

    /// The pack of a repository that fits one batch: it has little besides, and making one takes longer than to take it along.
    fn pack_as_it_is(&self, content: &Content) -> Option<Pack> {
        let (pack, objects) = only_pack(&self.contents.git_dir)?;
        let wanted = content.blobs.len() + content.manifest.commits.len();
        let bytes = pack.pack.metadata().ok()?.len();
        let is_most = 2 * wanted >= objects && bytes / 2 <= self.contents.limits.max_stored_bytes;
        is_most.then_some(pack)
    }

    fn archive(&self, mut content: Content) -> Result<CutBatch, GitError> {
        info_span!("tips").in_scope(|| self.look_at_tips(&mut content.manifest))?;
        let dir = tempfile::tempdir_in(&self.scratch)
            .map_err(GitError::io("make a temporary directory in", &self.scratch))?;
        let pack = match self.pack_as_it_is(&content) {
            Some(pack) => pack,
            None => content.write_pack(&self.contents.git_dir, dir.path(), &self.contents.children)?,
        };
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

impl Iterator for BatchCutter<'_> {
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
    pub fn write_pack(&self, git_dir: &Path, dir: &Path, limits: &ChildLimits<'_>) -> Result<Pack, GitError> {
        let commits = self.manifest.commits.iter().map(|c| c.id);
        write_pack(git_dir, commits, self.blobs.iter().copied(), dir, limits)
    }
}

/// Decides what goes into which batch: an iterator of [`Content`].
pub(crate) struct Contents<'a> {
    git_dir: PathBuf,
    trees: Option<Trees>,
    limits: BatchLimits,
    threads: usize,
    children: ChildLimits<'a>,
    commits: Vec<CommitEntry>,
    /// Where those begin that are not read ahead.
    next: usize,
    ahead: VecDeque<Ahead>,
    /// The sizes of the blobs of the commits ahead; see [`blob_sizes`].
    sizes: HashMap<BlobId, Option<BlobSize>>,
}

/// A commit read ahead.
struct Ahead {
    commit: CommitEntry,
    introduced: Vec<Introduction>,
    /// Why not all that it introduces is listed.
    cut_off: Option<String>,
}

impl<'a> Contents<'a> {
    pub fn new(
        git_dir: PathBuf,
        trees: Option<Trees>,
        commits: Vec<CommitEntry>,
        limits: BatchLimits,
        threads: usize,
        children: ChildLimits<'a>,
    ) -> Self {
        let (ahead, sizes) = (VecDeque::new(), HashMap::new());
        Self { git_dir, trees, limits, threads, children, commits, next: 0, ahead, sizes }
    }

    /// Gives nothing any more.
    fn end(&mut self) {
        self.next = self.commits.len();
        self.ahead.clear();
    }

    fn read_ahead(&mut self) -> Result<(), GitError> {
        let commits: Vec<CommitEntry> = self.commits[self.next..].iter().take(READ_AHEAD).copied().collect();
        let ids: Vec<CommitId> = commits.iter().map(|c| c.id).collect();
        let asked = Asked {
            git_dir: &self.git_dir,
            trees: self.trees.as_ref(),
            threads: self.threads,
            limits: self.children,
        };
        let Introduced { introductions, cut_off, commits: count } =
            info_span!("introduced").in_scope(|| asked.introduced(&ids, READ_AHEAD_FILES))?;
        self.next += count;
        let mut blobs: Vec<BlobId> = introductions.iter().map(|i| i.blob).collect();
        blobs.sort_unstable();
        blobs.dedup();
        self.sizes = info_span!("sizes")
            .in_scope(|| blob_sizes(&self.git_dir, &blobs, self.threads, &self.children))?;
        let mut introductions = introductions.into_iter().peekable();
        let mut cut_off: HashMap<u32, String> = cut_off.into_iter().collect();
        for (n, commit) in (0_u32..).zip(commits.into_iter().take(count)) {
            let introduced = std::iter::from_fn(|| introductions.next_if(|i| i.commit == n)).collect();
            self.ahead.push_back(Ahead { commit, introduced, cut_off: cut_off.remove(&n) });
        }
        Ok(())
    }

    /// The distinct blobs that the commit ahead would add, and their size together.
    fn additions(&self, introduced: &[Introduction], packed: &HashSet<BlobId>) -> (Vec<BlobId>, BlobSize) {
        let mut seen = HashSet::new();
        let mut sum = BlobSize::default();
        let is_added = |blob: &BlobId| {
            let size = self.sizes.get(blob).copied().flatten();
            let size = size.filter(|size| size.inflated <= self.limits.max_blob_bytes);
            let added = size.filter(|_| !packed.contains(blob) && seen.insert(*blob));
            sum = sum.plus(added.unwrap_or_default());
            added.is_some()
        };
        let added = introduced.iter().map(|i| i.blob).filter(is_added).collect();
        (added, sum)
    }

    /// Why a blob stays out of the pack, if it does.
    fn absence(&self, blob: &BlobId) -> Option<String> {
        let limit = self.limits.max_blob_bytes;
        match self.sizes.get(blob) {
            None => Some("the repository does not have this content (partial clone)".to_owned()),
            Some(None) => Some(NO_FILE.to_owned()),
            Some(Some(size)) if size.inflated > limit => Some(too_large(size.inflated, limit)),
            Some(Some(_)) => None,
        }
    }

    fn cut(&mut self) -> Result<Option<Content>, GitError> {
        let mut manifest = Manifest::default();
        let mut blobs = Vec::new();
        let mut packed = HashSet::new();
        let mut sum = BlobSize::default();
        while manifest.commits.len() < self.limits.max_commits.max(1) {
            if self.ahead.is_empty() {
                self.read_ahead()?;
            }
            let Some(ahead) = self.ahead.pop_front() else { break };
            let (added, size) = self.additions(&ahead.introduced, &packed);
            let with = sum.plus(size);
            let BatchLimits { max_bytes, max_stored_bytes, .. } = self.limits;
            let is_too_much = with.inflated > max_bytes || with.stored > max_stored_bytes;
            if !manifest.commits.is_empty() && is_too_much {
                self.ahead.push_front(ahead);
                break;
            }
            let Ahead { commit, introduced, cut_off } = ahead;
            sum = with;
            packed.extend(added.iter().copied());
            blobs.extend(added);
            let place = manifest.commits.len() as u32;
            for introduction in introduced {
                if let Some(reason) = self.absence(&introduction.blob) {
                    manifest.absent.insert(introduction.blob, reason);
                }
                manifest.introductions.push(Introduction { commit: place, ..introduction });
            }
            manifest.cut_off.extend(cut_off.map(|reason| (place, reason)));
            manifest.commits.push(commit);
        }
        let is_empty = manifest.commits.is_empty();
        Ok((!is_empty).then_some(Content { manifest, blobs, inflated_bytes: sum.inflated }))
    }
}

impl Iterator for Contents<'_> {
    type Item = Result<Content, GitError>;

    fn next(&mut self) -> Option<Self::Item> {
        let cut = self.cut();
        if cut.is_err() {
            self.end();
        }
        cut.transpose()
    }
}
