//! Scanning batches: each blob once, then attribution through the introductions.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use gix_hash::ObjectId;
use gix_object::Kind;
use secretscan_detect::{HashKey, Landmarks, RawMatch, Scanned, Scanner, Unread};
use secretscan_model::ids::{BlobId, CommitId};
use secretscan_model::{Author, NotScanned, Seen};

use crate::attribution::{FindingSink, LocatedFinding, Origin};
use crate::batch::{IDX, MANIFEST, PACK};
use crate::error::GitError;
use crate::history::CommitEntry;
use crate::introductions::Introduction;
use crate::manifest::Manifest;
use crate::objects::{LeftOut, NO_FILE, ObjectStore};
use crate::texts::{author, texts_of_commit};
use crate::traversal::{Base, PackReader, Visit};
use crate::trees::{TreeGatherer, Trees};

/// How to scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    /// How many threads scan.
    pub threads: usize,
    /// Content with more bytes than this is reported as not scanned.
    pub max_blob_bytes: u64,
    /// Decoded contents may take so many bytes together. When they would take more, one at a time is decoded, with its
    /// base: that may still take twice `max_blob_bytes`.
    pub max_memory_bytes: u64,
    /// Set from elsewhere to end the scan early, with [`GitError::Stopped`].
    pub stop: &'a AtomicBool,
    /// An existing directory for temporary files.
    pub scratch: &'a Path,
}

/// What a scan found, and what it did not look at.
#[derive(Clone, Debug, Default)]
pub struct ScanReport {
    /// One for each rule, secret and path; by path, then place in the file.
    pub findings: Vec<LocatedFinding>,
    /// How many commits were scanned.
    pub commits: u64,
    /// How many contents were scanned.
    pub blobs: u64,
    /// How many bytes these had.
    pub bytes: u64,
    /// What was left out, and why.
    pub not_scanned: Vec<NotScanned>,
}

/// Scans what the admitted commits of a batch archive introduced.
///
/// # Errors
/// [`GitError::Corrupt`] when the archive is not as it was cut, [`GitError::Stopped`] when told to stop.
pub fn scan_archive(
    archive: &Path,
    admitted: &dyn Fn(&CommitId) -> bool,
    scanner: &Scanner,
    key: &HashKey,
    options: &ScanOptions<'_>,
) -> Result<ScanReport, GitError> {
    let dir = tempfile::tempdir_in(options.scratch)
        .map_err(GitError::io("make a temporary directory in", options.scratch))?;
    let (manifest, pack) = unpack(archive, dir.path())?;
    let mut scan = Scan::new(scanner, key, *options);
    let add = || {
        let reader = PackReader::open(&pack, manifest.ids())?;
        reader.verify()?;
        scan.add_batch(manifest, &ObjectStore::of_pack(reader), admitted)
    };
    match add() {
        Ok(()) => Ok(scan.finish()),
        Err(GitError::DamagedPack { detail, .. } | GitError::MissingObject { detail }) => {
            Err(GitError::Corrupt { detail })
        }
        Err(error) => Err(error),
    }
}

/// The commits of a batch archive, in order.
///
/// # Errors
/// [`GitError::Corrupt`] when the archive is not as it was cut.
pub fn archive_commits(archive: &Path) -> Result<Vec<CommitId>, GitError> {
    let file = File::open(archive).map_err(GitError::io("open the archive", archive))?;
    let damaged = |e: io::Error| GitError::corrupt(e.to_string());
    let mut tar = tar::Archive::new(io::BufReader::new(file));
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if *entry.path_bytes() == *MANIFEST.as_bytes() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            return Ok(Manifest::decode(&bytes)?.commits.into_iter().map(|commit| commit.id).collect());
        }
    }
    Err(GitError::corrupt("it lacks a member"))
}

/// Takes an archive apart. Each of the three members must be there once, and nothing else.
fn unpack(archive: &Path, dir: &Path) -> Result<(Manifest, PathBuf), GitError> {
    let file = File::open(archive).map_err(GitError::io("open the archive", archive))?;
    let damaged = |e: io::Error| GitError::corrupt(e.to_string());
    let mut tar = tar::Archive::new(io::BufReader::new(file));
    let mut manifest = None;
    let (pack, idx) = (dir.join(PACK), dir.join(IDX));
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path_bytes().into_owned();
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(GitError::corrupt("a member is not a plain file"));
        }
        let target = match name.as_slice() {
            name if name == MANIFEST.as_bytes() && manifest.is_none() => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(damaged)?;
                manifest = Some(Manifest::decode(&bytes)?);
                continue;
            }
            name if name == IDX.as_bytes() => &idx,
            name if name == PACK.as_bytes() => &pack,
            name => {
                let name = String::from_utf8_lossy(name);
                return Err(GitError::corrupt(format!("the member {name:?} is unknown or there twice")));
            }
        };
        let size = entry.size();
        let mut file = File::create_new(target).map_err(GitError::io("unpack to", target))?;
        let copied = io::copy(&mut entry, &mut file).map_err(GitError::io("unpack to", target))?;
        if copied != size {
            return Err(GitError::corrupt("it ends too early"));
        }
    }
    let manifest = manifest.filter(|_| idx.exists() && pack.exists());
    manifest.map(|manifest| (manifest, pack)).ok_or_else(|| GitError::corrupt("it lacks a member"))
}

/// A scan in progress, over one batch or several.
pub(crate) struct Scan<'a> {
    scanner: &'a Scanner,
    options: ScanOptions<'a>,
    sink: FindingSink<'a>,
    report: ScanReport,
}

impl<'a> Scan<'a> {
    pub fn new(scanner: &'a Scanner, key: &'a HashKey, options: ScanOptions<'a>) -> Self {
        let sink = FindingSink::new(scanner, key);
        Self { scanner, options, sink, report: ScanReport::default() }
    }

    /// Scans what the admitted commits of a batch introduced and attributes what is found.
    pub fn add_batch(
        &mut self,
        mut manifest: Manifest,
        objects: &ObjectStore,
        admitted: &dyn Fn(&CommitId) -> bool,
    ) -> Result<(), GitError> {
        let is_admitted: Vec<bool> = manifest.commits.iter().map(|c| admitted(&c.id)).collect();
        manifest.introductions.retain(|i| is_admitted[i.commit as usize]);
        manifest.cut_off.retain(|(commit, _)| is_admitted[*commit as usize]);
        self.report.commits += is_admitted.iter().filter(|is_admitted| **is_admitted).count() as u64;

        let mut scanned = ScannedBlobs::default();
        let introduced = manifest.introductions.iter().map(|i| i.blob);
        let present = introduced.filter(|blob| !manifest.absent.contains_key(blob)).map(object_id);
        let commits = manifest.commits.iter().zip(&is_admitted).filter(|(_, is_admitted)| **is_admitted);
        let wanted = present.chain(commits.map(|(commit, _)| id_of(commit.id))).collect();
        self.scan_objects(&mut scanned, None, |options, visit| objects.for_each(wanted, options, visit))?;
        self.attribute(&manifest, &scanned, objects)
    }

    /// Scans all that a repository holds, while `list` lists its commits; then `introduced` says what they introduced,
    /// with the trees that the scan came by.
    pub fn add_repository(
        &mut self,
        objects: &ObjectStore,
        list: impl FnOnce() -> Result<Vec<CommitEntry>, GitError>,
        introduced: impl FnOnce(Vec<CommitEntry>, Option<Trees>) -> Result<Manifest, GitError>,
    ) -> Result<(), GitError> {
        let mut scanned = ScannedBlobs::default();
        let gatherer = objects.tree_gatherer(self.options.max_memory_bytes);
        let commits = thread::scope(|scope| {
            let scan = scope.spawn(|| {
                let wants = |_: &gix_hash::oid, kind| match kind {
                    Kind::Blob | Kind::Commit => true,
                    Kind::Tree => gatherer.is_some(),
                    Kind::Tag => false,
                };
                self.scan_objects(&mut scanned, gatherer.as_ref(), |options, visit| {
                    objects.for_each_packed(&wants, options, visit)
                })
            });
            let commits = list();
            scan.join().expect("no scan panics").and(commits)
        })?;
        let manifest = introduced(commits, gatherer.map(TreeGatherer::into_trees))?;
        let introduced = manifest.introductions.iter().map(|i| object_id(i.blob));
        let all = introduced.chain(manifest.commits.iter().map(|commit| id_of(commit.id)));
        let rest = all.filter(|id| !objects.is_packed(id)).collect();
        let introduced = manifest.introductions.iter().map(|i| object_id(i.blob));
        let no_files = introduced.filter(|id| objects.is_packed_and_no_blob(id));
        scanned.left_out.extend(no_files.map(|id| (id, NO_FILE.to_owned())));
        self.scan_objects(&mut scanned, None, |options, visit| objects.for_each(rest, options, visit))?;
        self.report.commits += manifest.commits.len() as u64;
        self.attribute(&manifest, &scanned, objects)
    }

    /// Scans the blobs and the commits that `for_each` visits, and gathers trees.
    fn scan_objects(
        &mut self,
        scanned: &mut ScannedBlobs,
        gatherer: Option<&TreeGatherer>,
        for_each: impl FnOnce(&ScanOptions<'_>, &Visit<'_, Landmarks>) -> Result<LeftOut, GitError>,
    ) -> Result<(), GitError> {
        let found = Mutex::new(Vec::new());
        let (blobs, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let (texts, no_files) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let left_out = for_each(&self.options, &|object, base| {
            if let Some(gatherer) = gatherer {
                gatherer.add(&object.id, object.kind, object.content);
            }
            if object.kind == Kind::Commit {
                for (path, text) in texts_of_commit(object.content) {
                    let matches = self.scanner.scan(text);
                    if !matches.is_empty() {
                        let id = CommitId::from_bytes(object.id.as_bytes())
                            .expect("an object id has 20 or 32 bytes");
                        texts.lock().expect("no scan panicked").push((id, path, matches));
                    }
                }
            }
            if object.kind != Kind::Blob {
                if object.kind != Kind::Commit && gatherer.is_none() {
                    no_files.lock().expect("no scan panicked").push((object.id, NO_FILE.to_owned()));
                }
                return Landmarks::default();
            }
            blobs.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(object.content.len() as u64, Ordering::Relaxed);
            let (scanned, landmarks) = match base {
                Some(base) => self.scanner.scan_delta(object.content, base.state, base.copied),
                None => self.scanner.scan_base(object.content),
            };
            if scanned != Default::default() {
                found.lock().expect("no scan panicked").push((object.id, scanned));
            }
            landmarks
        })?;
        self.report.blobs += blobs.into_inner();
        self.report.bytes += bytes.into_inner();
        scanned.found.extend(found.into_inner().expect("no scan panicked"));
        for (commit, path, scanned_text) in texts.into_inner().expect("no scan panicked") {
            scanned.texts.entry(commit).or_default().push((path, scanned_text));
        }
        scanned.left_out.extend(left_out);
        scanned.left_out.extend(no_files.into_inner().expect("no scan panicked"));
        Ok(())
    }

    /// Turns matches into findings, each with the commit that introduced it.
    fn attribute(
        &mut self,
        manifest: &Manifest,
        scanned: &ScannedBlobs,
        objects: &ObjectStore,
    ) -> Result<(), GitError> {
        for (commit, reason) in &manifest.cut_off {
            self.leave_out(format!("commit {}", manifest.commits[*commit as usize].id), reason);
        }
        for commit in &manifest.commits {
            if let Some(reason) = scanned.left_out.get(&id_of(commit.id)) {
                self.leave_out(format!("commit {} (its message)", commit.id), reason);
            }
        }
        let mut named = HashSet::new();
        let mut found = Vec::new();
        for introduction in &manifest.introductions {
            let id = object_id(introduction.blob);
            let in_content = scanned.found.get(&id);
            if let Some(Scanned { unread, .. }) = in_content {
                if !unread.is_empty() && named.insert(id) {
                    self.leave_out_members(&introduction.path, unread);
                }
            } else if let Some(reason) =
                manifest.absent.get(&introduction.blob).or_else(|| scanned.left_out.get(&id))
                && named.insert(id)
            {
                let path = self.sink.shown_path(&introduction.path);
                let what = format!("{} (blob {})", String::from_utf8_lossy(&path), introduction.blob);
                self.report.not_scanned.push(NotScanned { what, reason: reason.clone() });
            }
            let matches = in_content.map_or(&[][..], |scanned| &scanned.matches);
            if !matches.is_empty() || self.sink.matches_path(&introduction.path) {
                found.push((introduction, matches));
            }
        }
        let commit_of = |introduction: &Introduction| manifest.commits[introduction.commit as usize];
        let speaking = manifest.commits.iter().filter(|commit| scanned.texts.contains_key(&commit.id));
        let commits = found.iter().map(|(introduction, _)| commit_of(introduction).id);
        let authors =
            authors(commits.chain(speaking.clone().map(|commit| commit.id)), objects, &self.options)?;
        let origin = |commit: &CommitEntry| {
            let author = authors.get(&commit.id).cloned().unwrap_or_default();
            let seen = manifest.look.clone().map(|look| Seen::at(look, false));
            Origin { seen, ..Origin::of_commit(commit.corrected_date, Some(commit.id), author) }
        };
        for (introduction, matches) in found {
            let is_at_tip = manifest.at_tips.contains(&(introduction.path.clone(), introduction.blob));
            let seen = manifest.look.clone().map(|look| Seen::at(look, is_at_tip));
            let origin = Origin { blob: Some(introduction.blob), seen, ..origin(&commit_of(introduction)) };
            self.sink.add(matches, &introduction.path, &origin);
        }
        for commit in speaking {
            for (path, matches) in &scanned.texts[&commit.id] {
                self.sink.add(matches, path, &origin(commit));
            }
        }
        Ok(())
    }

    /// Adds what is in one content that belongs to no batch.
    pub fn add_content(&mut self, path: &[u8], bytes: u64, scanned: &Scanned, origin: &Origin) {
        self.report.blobs += 1;
        self.report.bytes += bytes;
        self.add_text(path, &scanned.matches, origin);
        self.leave_out_members(path, &scanned.unread);
    }

    /// Adds what is in a text that is no blob.
    pub fn add_text(&mut self, path: &[u8], matches: &[RawMatch], origin: &Origin) {
        self.sink.add(matches, path, origin);
    }

    fn leave_out_members(&mut self, path: &[u8], unread: &[Unread]) {
        for Unread { member, reason } in unread {
            let what = if member.is_empty() { path.to_vec() } else { [path, member].join(&b'!') };
            let shown = self.sink.shown_path(&what).into_owned();
            self.leave_out(String::from_utf8_lossy(&shown), reason);
        }
    }

    /// Notes a content that is left out. Its path counts all the same.
    pub fn leave_out_content(&mut self, path: &[u8], reason: String, origin: &Origin) {
        let shown = self.sink.shown_path(path);
        self.leave_out(String::from_utf8_lossy(&shown), reason);
        self.sink.add(&[], path, origin);
    }

    /// Notes what is left out.
    pub fn leave_out(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        self.report.not_scanned.push(NotScanned { what: what.into(), reason: reason.into() });
    }

    pub fn finish(mut self) -> ScanReport {
        self.report.findings = self.sink.finish();
        self.report
    }
}

fn id_of(commit: CommitId) -> ObjectId {
    ObjectId::from_bytes_or_panic(commit.as_bytes())
}

fn object_id(blob: BlobId) -> ObjectId {
    ObjectId::from_bytes_or_panic(blob.as_bytes())
}

/// What was found in blobs that were scanned.
#[derive(Default)]
struct ScannedBlobs {
    /// Only of blobs in which there is something to tell.
    found: HashMap<ObjectId, Scanned>,
    texts: HashMap<CommitId, Vec<ScannedText>>,
    left_out: LeftOut,
}

/// What a commit says itself: what stands for the path, and what is in it.
type ScannedText = (&'static [u8], Vec<RawMatch>);

/// Who wrote commits. A commit that is too large to be read has no author: that it is not scanned was noted before.
fn authors(
    commits: impl Iterator<Item = CommitId>,
    objects: &ObjectStore,
    options: &ScanOptions<'_>,
) -> Result<HashMap<CommitId, Author>, GitError> {
    let wanted = commits.map(id_of).collect();
    let authors = Mutex::new(HashMap::new());
    objects.for_each(wanted, options, &|object, _: Option<Base<'_, ()>>| {
        if object.kind == Kind::Commit {
            let id = CommitId::from_bytes(object.id.as_bytes()).expect("an object id has 20 or 32 bytes");
            authors.lock().expect("no visit panicked").insert(id, author(object.content));
        }
    })?;
    Ok(authors.into_inner().expect("no visit panicked"))
}
