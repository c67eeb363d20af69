//! Which commit brought which blob to which path.
//!
//! Trees are compared in this process where many commits are asked about, so that each tree is decoded once; a few are
//! left to the `git` program, which decodes only what it needs. It also has the word on what [`Comparison`] makes nothing
//! of: damaged and odd trees, and missing ones.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use secretscan_model::ids::{BlobId, CommitId};

use crate::command::ChildLimits;
use crate::compare::Comparison;
use crate::diff_tree;
use crate::error::GitError;
use crate::objects::ObjectStore;
use crate::repository::open;
use crate::trees::Trees;

/// A commit that has a blob at a path where none of its parents has the same blob.
///
/// Every path of a root commit counts; of a merge, only what differs from all parents. Renames are not looked for: a
/// moved file is introduced at its new path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Introduction {
    /// Which commit: its place in the list of commits.
    pub commit: u32,
    /// The path in the repository, raw bytes.
    pub path: Arc<[u8]>,
    /// The blob: a file's content, or a symbolic link's target.
    pub blob: BlobId,
}

/// A blob that is new at a path.
pub(crate) type Change = (Arc<[u8]>, BlobId);

/// Paths, each in memory once: a history changes the same files again and again.
#[derive(Default)]
pub(crate) struct Paths(HashSet<Arc<[u8]>>);

impl Paths {
    pub(crate) fn share(&mut self, path: &[u8]) -> Arc<[u8]> {
        if let Some(known) = self.0.get(path) {
            return known.clone();
        }
        let path: Arc<[u8]> = path.into();
        self.0.insert(path.clone());
        path
    }
}

/// The introductions of these commits, ordered by `(commit, path)`, found on `threads` threads.
///
/// # Errors
/// [`GitError::MissingObject`] when a commit or a tree is not there.
pub fn introductions(
    repo: &Path,
    commits: &[CommitId],
    threads: usize,
) -> Result<Vec<Introduction>, GitError> {
    let repository = open(repo)?;
    let limits = ChildLimits::NONE;
    let trees = ObjectStore::of_repository(&repository)?.trees_for(commits.len(), threads, &limits)?;
    let asked = Asked { git_dir: repository.path(), trees: trees.as_ref(), threads, limits };
    Ok(asked.introduced(commits, usize::MAX)?.introductions)
}

/// What a row of commits introduces.
#[derive(Default)]
pub(crate) struct Introduced {
    /// Ordered by `(commit, path)`.
    pub introductions: Vec<Introduction>,
    /// Commits that are not listed in full, by their place, and why.
    pub cut_off: Vec<(u32, String)>,
    /// How many of the commits this is about: fewer than asked when they introduce too much to look at together.
    pub commits: usize,
}

/// Who is asked what commits introduce.
pub(crate) struct Asked<'a> {
    pub git_dir: &'a Path,
    /// Trees to compare before Git is asked.
    pub trees: Option<&'a Trees>,
    pub threads: usize,
    pub limits: ChildLimits<'a>,
}

impl Asked<'_> {
    /// What at least one of the commits introduces, and no more of them than introduce some `max` files.
    pub fn introduced(&self, commits: &[CommitId], max: usize) -> Result<Introduced, GitError> {
        if commits.is_empty() {
            return Ok(Introduced::default());
        }
        let threads = self.threads.max(1);
        let part_len = commits.len().div_ceil(threads);
        let max = max / threads;
        let parts = thread::scope(|scope| {
            let started: Vec<_> = commits
                .chunks(part_len)
                .enumerate()
                .map(|(n, part)| scope.spawn(move || self.of_part(part, n * part_len, max)))
                .collect();
            started.into_iter().map(|part| part.join().expect("does not panic")).collect::<Vec<_>>()
        });
        let mut all = Introduced::default();
        for (part, commits) in parts.into_iter().zip(commits.chunks(part_len)) {
            let mut part = part?;
            all.introductions.append(&mut part.introductions);
            all.cut_off.append(&mut part.cut_off);
            all.commits += part.commits;
            if part.commits < commits.len() {
                break;
            }
        }
        // Git orders `a/b` against `a.c` by its own rule; one order for all is simpler to rely on.
        all.introductions.sort();
        Ok(all)
    }

    fn of_part(&self, commits: &[CommitId], first: usize, max: usize) -> Result<Introduced, GitError> {
        let Some(trees) = self.trees else {
            return diff_tree::run(self.git_dir, commits, first, max, &self.limits);
        };
        let mut part = Introduced::default();
        let mut comparison = Comparison::new(trees);
        let (mut unknown, mut places) = (Vec::new(), Vec::new());
        for (commit, place) in commits.iter().zip(first..) {
            if self.limits.stop.load(Ordering::Relaxed) {
                return Err(GitError::Stopped);
            }
            if part.introductions.len() > max {
                break;
            }
            let place =
                u32::try_from(place).map_err(|_| GitError::TooManyFiles { limit: u32::MAX as usize })?;
            if comparison.add(commit, place, &mut part.introductions).is_err() {
                unknown.push(*commit);
                places.push(place);
            }
            part.commits += 1;
        }
        let mut done = 0;
        while done < unknown.len() && (done == 0 || part.introductions.len() <= max) {
            let of_git = diff_tree::run(self.git_dir, &unknown[done..], done, max, &self.limits)?;
            let place = |n: u32| places[n as usize];
            let introduced = of_git.introductions.into_iter();
            part.introductions.extend(introduced.map(|i| Introduction { commit: place(i.commit), ..i }));
            part.cut_off.extend(of_git.cut_off.into_iter().map(|(n, reason)| (place(n), reason)));
            done += of_git.commits;
        }
        if let Some(next) = places.get(done) {
            part.leave_from(*next, first);
        }
        Ok(part)
    }
}

impl Introduced {
    /// Leaves the commits from this place on to the next list; `first` is the place of the first one.
    fn leave_from(&mut self, next: u32, first: usize) {
        self.introductions.retain(|introduction| introduction.commit < next);
        self.cut_off.retain(|(commit, _)| *commit < next);
        self.commits = next as usize - first;
    }
}
