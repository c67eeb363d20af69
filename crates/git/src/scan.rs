//! Scanning batches: each blob once, then attribution through the introductions.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use secretscan_detect::{HashKey, RawMatch, Scanner};
use secretscan_model::ids::{BlobId, CommitId};
use secretscan_model::{Author, NotScanned};

use crate::attribution::{FindingSink, LocatedFinding, Origin};
use crate::batch::{IDX, MANIFEST, PACK};
use crate::error::GitError;
use crate::manifest::Manifest;
use crate::pack::{Object, Pack};

/// Names and addresses are cut at this length: a commit may claim megabytes.
const MAX_AUTHOR_CHARS: usize = 256;

/// How to scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    /// How many threads scan.
    pub threads: usize,
    /// Content with more bytes than this is reported as not scanned. (In an archive the one who cut it decided.)
    pub max_blob_bytes: u64,
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
    scan.add_batch(manifest, &pack, admitted)?;
    Ok(scan.finish())
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
fn unpack(archive: &Path, dir: &Path) -> Result<(Manifest, Pack), GitError> {
    let file = File::open(archive).map_err(GitError::io("open the archive", archive))?;
    let damaged = |e: io::Error| GitError::corrupt(e.to_string());
    let mut tar = tar::Archive::new(io::BufReader::new(file));
    let mut manifest = None;
    let pack = Pack { pack: dir.join(PACK), idx: dir.join(IDX) };
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
            name if name == IDX.as_bytes() => &pack.idx,
            name if name == PACK.as_bytes() => &pack.pack,
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
    let manifest = manifest.filter(|_| pack.idx.exists() && pack.pack.exists());
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

    /// Scans the pack of a batch and attributes what is found.
    pub fn add_batch(
        &mut self,
        mut manifest: Manifest,
        pack: &Pack,
        admitted: &dyn Fn(&CommitId) -> bool,
    ) -> Result<(), GitError> {
        let is_admitted: Vec<bool> = manifest.commits.iter().map(|c| admitted(&c.id)).collect();
        manifest.introductions.retain(|i| is_admitted[i.commit as usize]);
        self.report.commits += is_admitted.iter().filter(|is_admitted| **is_admitted).count() as u64;

        let scanned = self.scan_pack(&manifest, pack)?;
        let mut named = HashSet::new();
        for introduction in &manifest.introductions {
            if let Some(reason) = manifest.absent.get(&introduction.blob)
                && named.insert(introduction.blob)
            {
                let path = String::from_utf8_lossy(&introduction.path);
                let what = format!("{path} (blob {})", introduction.blob);
                self.report.not_scanned.push(NotScanned { what, reason: reason.clone() });
            }
            let matches = scanned.matches.get(&introduction.blob).map_or(&[][..], Vec::as_slice);
            if matches.is_empty() && !self.sink.matches_path(&introduction.path) {
                continue;
            }
            let commit = manifest.commits[introduction.commit as usize];
            let author = scanned.authors.get(&commit.id).cloned();
            let author = author.ok_or_else(|| GitError::corrupt("the pack lacks a commit"))?;
            let origin = Origin { corrected_date: commit.corrected_date, commit: Some(commit.id), author };
            self.sink.add(matches, &introduction.path, &origin);
        }
        Ok(())
    }

    fn scan_pack(&mut self, manifest: &Manifest, pack: &Pack) -> Result<ScannedPack, GitError> {
        let introduced = manifest.introductions.iter().map(|i| i.blob);
        let wanted: HashSet<BlobId> = introduced.filter(|blob| !manifest.absent.contains_key(blob)).collect();
        let result = Mutex::new(ScannedPack::default());
        let (blobs, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        pack.for_each(self.options.threads, self.options.stop, |object| match object {
            Object::Commit(id, text) => {
                let author = author(text);
                result.lock().expect("no scan panicked").authors.insert(id, author);
            }
            Object::Blob(id, content) if wanted.contains(&id) => {
                blobs.fetch_add(1, Ordering::Relaxed);
                bytes.fetch_add(content.len() as u64, Ordering::Relaxed);
                let matches = self.scanner.scan(content);
                if !matches.is_empty() {
                    result.lock().expect("no scan panicked").matches.insert(id, matches);
                }
            }
            Object::Blob(..) => {}
        })?;
        let blobs = blobs.into_inner();
        if blobs != wanted.len() as u64 {
            return Err(GitError::corrupt(format!("the pack lacks {} blobs", wanted.len() as u64 - blobs)));
        }
        self.report.blobs += blobs;
        self.report.bytes += bytes.into_inner();
        Ok(result.into_inner().expect("no scan panicked"))
    }

    /// Adds the matches of one content that belongs to no batch.
    pub fn add_content(&mut self, path: &[u8], bytes: u64, matches: &[RawMatch], origin: &Origin) {
        self.report.blobs += 1;
        self.report.bytes += bytes;
        self.sink.add(matches, path, origin);
    }

    /// Notes a content that is left out. Its path counts all the same.
    pub fn leave_out_content(&mut self, path: &[u8], reason: String, origin: &Origin) {
        self.leave_out(String::from_utf8_lossy(path), reason);
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

#[derive(Default)]
struct ScannedPack {
    /// Only of blobs that have some.
    matches: HashMap<BlobId, Vec<RawMatch>>,
    authors: HashMap<CommitId, Author>,
}

/// Reads the author of a commit, `author NAME <EMAIL> SECONDS ZONE`. Histories hold malformed ones: what can't be read
/// is left empty.
fn author(commit: &[u8]) -> Author {
    let header = commit.split(|b| *b == b'\n').take_while(|line| !line.is_empty());
    let line = header.filter_map(|line| line.strip_prefix(b"author ")).next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let (name, rest) = line.split_once('<').unwrap_or((&line, ""));
    let (email, time) = rest.rsplit_once('>').unwrap_or((rest, ""));
    let time = time.split_ascii_whitespace().next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let short = |text: &str| text.trim().chars().take(MAX_AUTHOR_CHARS).collect();
    Author { name: short(name), email: short(email), time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_are_read_from_good_and_bad_commits() {
        let of = |text: &[u8]| author(text);
        let good =
            of(b"tree 00\nauthor A U Thor <a@example.com> 1700000000 +0100\ncommitter C <c> 1 +0000\n\nm");
        assert_eq!(good.name, "A U Thor");
        assert_eq!((good.email.as_str(), good.time), ("a@example.com", 1_700_000_000));
        assert_eq!(of(b"author <> 5 +0000\n"), Author { time: 5, ..Author::default() });
        assert_eq!(of(b"author L\xe9o <l@x>\n").name, "L\u{fffd}o");
        assert_eq!(of(b"tree 00\n\nauthor In Message <m> 1 +0"), Author::default());
        assert_eq!(of(b""), Author::default());
    }
}
