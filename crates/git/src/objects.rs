//! Reading chosen objects from wherever they are: packs in the order that decodes each delta once, the rest by id.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ObjectType, Repository};
use gix_hash::{Kind as IdKind, ObjectId, oid};
use gix_object::Kind;

use crate::command::ChildLimits;
use crate::error::GitError;
use crate::parallel;
use crate::repository::{self, ids_of, open};
use crate::scan::ScanOptions;
use crate::traversal::{Base, ContentLimits, Object, PackReader, Visit, Wants};
use crate::trees::{TreeGatherer, Trees};

/// Of a pack's objects, one in so many must be wanted: fewer are read by id, since a traversal looks at every header.
const ONE_IN: usize = 64;
/// The same of commits whose trees are compared: all trees are decoded for that.
const ONE_COMPARED_IN: usize = 16;
/// What trees may take in memory beside a scan. What they would take more is left to Git.
const MAX_TREE_BYTES: u64 = 512 << 20;
/// The same where nothing but trees is read, and services have less memory.
const MAX_COMPARED_BYTES: u64 = 160 << 20;
/// What a traversal takes in memory for each object of a pack, about.
const BYTES_OF_ENTRY: u64 = 64;
/// How deep alternates may name alternates. Source: gitrepository-layout(5) and Git's own limit.
const MAX_ALTERNATES: usize = 5;

/// Where objects are.
pub(crate) struct ObjectStore {
    packs: Arc<[PackReader]>,
    /// What the ids are.
    ids: IdKind,
    /// The Git directory to read the rest from by id: loose objects, and packs without an index.
    git_dir: Option<PathBuf>,
    is_shallow: bool,
}

impl ObjectStore {
    /// Everything that a repository has, its alternates included.
    pub fn of_repository(repository: &Repository) -> Result<Self, GitError> {
        let mut dirs = vec![repository.commondir().join("objects")];
        let mut level = 0..1;
        for _ in 0..MAX_ALTERNATES {
            let named: Vec<PathBuf> = dirs[level.clone()].iter().flat_map(|dir| alternates(dir)).collect();
            level.start = dirs.len();
            for dir in named {
                if !dirs.contains(&dir) {
                    dirs.push(dir);
                }
            }
            level.end = dirs.len();
        }
        let (mut packs, ids) = (Vec::new(), ids_of(repository));
        for dir in dirs {
            let Ok(files) = fs::read_dir(dir.join("pack")) else { continue };
            let mut paths: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
            paths.retain(|path| {
                path.extension().is_some_and(|e| e == "pack") && path.with_extension("idx").is_file()
            });
            paths.sort();
            for path in paths {
                packs.push(PackReader::open(&path, ids)?);
            }
        }
        let git_dir = Some(repository.path().to_path_buf());
        Ok(Self { packs: packs.into(), ids, git_dir, is_shallow: repository.is_shallow() })
    }

    /// One pack, and nothing besides.
    pub fn of_pack(pack: PackReader) -> Self {
        Self { ids: pack.ids(), packs: [pack].into(), git_dir: None, is_shallow: false }
    }

    /// Visits each of these objects once, and returns for each that is not visited the reason. A pack by itself must have
    /// all of them.
    ///
    /// The visitor gets what it returned for the object's base, if the object is stored as a delta and the base is one of
    /// these objects too.
    pub fn for_each<S: Send + Sync>(
        &self,
        mut wanted: HashSet<ObjectId>,
        options: &ScanOptions<'_>,
        visit: &Visit<'_, S>,
    ) -> Result<LeftOut, GitError> {
        if wanted.is_empty() {
            return Ok(LeftOut::new());
        }
        let packed: usize = self.packs.iter().map(PackReader::len).sum();
        let mut left_out = LeftOut::new();
        if self.git_dir.is_none() || wanted.len().saturating_mul(ONE_IN) >= packed {
            left_out = self.for_each_packed(&|id, _| wanted.contains(id), options, visit)?;
            wanted.retain(|id| !self.is_packed(id));
        }
        match &self.git_dir {
            _ if wanted.is_empty() => {}
            Some(git_dir) => left_out.extend(read_by_id(git_dir, wanted, options, visit)?),
            None => return Err(GitError::corrupt(format!("the pack lacks {} objects", wanted.len()))),
        }
        Ok(left_out)
    }

    /// The same for those objects in packs that are wanted.
    pub fn for_each_packed<S: Send + Sync>(
        &self,
        wants: &Wants<'_>,
        options: &ScanOptions<'_>,
        visit: &Visit<'_, S>,
    ) -> Result<LeftOut, GitError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads.max(1)).build();
        let pool = pool.map_err(|e| GitError::Threads { reason: e.to_string() })?;
        let mut left_out = LeftOut::new();
        for (number, pack) in self.packs.iter().enumerate() {
            let earlier = &self.packs[..number];
            let wants = |id: &oid, kind| wants(id, kind) && !earlier.iter().any(|pack| pack.has(id));
            let limits = ContentLimits {
                max_bytes: options.max_blob_bytes,
                max_memory_bytes: options.max_memory_bytes,
            };
            let sizes = pack.for_each(&pool, options.stop, limits, &wants, visit)?;
            let reason = |size| too_large(size, options.max_blob_bytes);
            left_out.extend(sizes.into_iter().map(|(id, size)| (id, reason(size))));
        }
        Ok(left_out)
    }

    /// The trees to compare so many commits by, unless Git is quicker.
    pub fn trees_for(
        &self,
        commits: usize,
        threads: usize,
        limits: &ChildLimits<'_>,
    ) -> Result<Option<Trees>, GitError> {
        let packed: usize = self.packs.iter().map(PackReader::len).sum();
        let is_too_large = packed as u64 * BYTES_OF_ENTRY > MAX_COMPARED_BYTES;
        if is_too_large || commits.saturating_mul(ONE_COMPARED_IN) < packed {
            return Ok(None);
        }
        let max_bytes = MAX_COMPARED_BYTES.min(limits.max_memory_bytes / 4);
        let Some(gatherer) = self.gatherer(max_bytes) else { return Ok(None) };
        let options = ScanOptions {
            threads,
            max_blob_bytes: limits.max_memory_bytes,
            max_memory_bytes: limits.max_memory_bytes,
            stop: limits.stop,
            scratch: Path::new(""),
        };
        let wants = |_: &oid, kind| matches!(kind, Kind::Tree | Kind::Commit);
        self.for_each_packed(&wants, &options, &|object, _: Option<Base<'_, ()>>| {
            gatherer.add(&object.id, object.kind, object.content);
        })?;
        Ok(Some(gatherer.into_trees()))
    }

    /// For who goes through the packs anyway; `None` where commits have not the parents that they name.
    pub fn tree_gatherer(&self, max_memory_bytes: u64) -> Option<TreeGatherer> {
        self.gatherer(MAX_TREE_BYTES.min(max_memory_bytes / 4))
    }

    fn gatherer(&self, max_bytes: u64) -> Option<TreeGatherer> {
        (!self.is_shallow).then(|| TreeGatherer::new(self.packs.clone(), self.ids, max_bytes))
    }

    /// Whether an object is in one of the packs, which were gone through, and is no file.
    pub fn is_packed_and_no_blob(&self, id: &oid) -> bool {
        self.packs.iter().find_map(|pack| pack.kind(id)).is_some_and(|kind| kind != Kind::Blob)
    }

    /// Whether an object is in one of the packs.
    pub fn is_packed(&self, id: &oid) -> bool {
        self.packs.iter().any(|pack| pack.has(id))
    }
}

/// Objects that are not visited, and why.
pub(crate) type LeftOut = HashMap<ObjectId, String>;

/// Why something that a tree calls a file is not scanned.
pub(crate) const NO_FILE: &str = "it is no file, though its tree says so";

/// Why content is not scanned.
pub(crate) fn too_large(size: u64, limit: u64) -> String {
    format!("{size} bytes, more than the limit of {limit}")
}

/// Reads one object; the error says why there is none.
pub(crate) fn read(
    repository: &Repository,
    id: &[u8],
    max_bytes: u64,
) -> Result<(ObjectType, Vec<u8>), String> {
    let read = || {
        let id = repository::oid(repository, id)?;
        let odb = repository.odb()?;
        let (size, _) = odb.read_header(id)?;
        if size as u64 > max_bytes {
            return Ok(Err(too_large(size as u64, max_bytes)));
        }
        odb.read(id).map(|object| Ok((object.kind(), object.data().to_vec())))
    };
    read().unwrap_or_else(|error: git2::Error| Err(error.message().to_owned()))
}

fn read_by_id<S>(
    git_dir: &Path,
    wanted: HashSet<ObjectId>,
    options: &ScanOptions<'_>,
    visit: &Visit<'_, S>,
) -> Result<LeftOut, GitError> {
    let mut wanted: Vec<ObjectId> = wanted.into_iter().collect();
    wanted.sort_unstable();
    let left_out = parallel::map(&wanted, options, || {
        let repository = open(git_dir)?;
        Ok(move |id: &ObjectId| match read(&repository, id.as_bytes(), options.max_blob_bytes) {
            Ok((kind, content)) => {
                let kind = match kind {
                    ObjectType::Blob => Kind::Blob,
                    ObjectType::Commit => Kind::Commit,
                    ObjectType::Tag => Kind::Tag,
                    _ => Kind::Tree,
                };
                visit(Object { id: *id, kind, content: &content }, None);
                None
            }
            Err(reason) => Some((*id, reason)),
        })
    })?;
    Ok(left_out.into_iter().flatten().collect())
}

/// The object directories that one borrows from. Source: `objects/info/alternates` in gitrepository-layout(5).
fn alternates(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read(dir.join("info").join("alternates")).unwrap_or_default();
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    lines.map(|line| dir.join(Path::new(std::ffi::OsStr::from_bytes(line)))).collect()
}
