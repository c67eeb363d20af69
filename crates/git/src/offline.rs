//! Scans of a repository at hand, with no service and no network.

use std::path::Path;

use git2::Repository;
use secretscan_detect::{HashKey, Scanner};
use secretscan_model::ids::CommitId;

use crate::command::ChildLimits;
use crate::error::GitError;
use crate::history::{CommitEntry, resolve, rev_list};
use crate::introductions::Asked;
use crate::manifest::Manifest;
use crate::objects::ObjectStore;
use crate::repository::{discover, parse_oid};
use crate::scan::{Scan, ScanOptions, ScanReport};
use crate::texts::scan_refs;
use crate::trees::Trees;

/// Files that the selected commits may introduce in all: they are held in memory.
const MAX_INTRODUCTIONS: usize = 32_000_000;

/// Which commits to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything reachable from any ref or HEAD.
    All,
    /// Everything reachable from these refs or full commit ids.
    Refs(Vec<String>),
    /// One range as Git writes it: `A..B`, `A...B`, `A..`, `..B`, `A^!`, `A^@`, `A^-`, or a revision for all that it
    /// reaches.
    Range(String),
}

/// Scans what the selected commits introduced; `repo` may be any path inside the repository.
///
/// The dates of a [`Selection::Range`] are corrected within the selected commits only.
///
/// # Errors
/// [`GitError::UnknownRef`] or [`GitError::BadRange`] for a selection that means nothing here.
pub fn scan_history(
    repo: &Path,
    selection: &Selection,
    scanner: &Scanner,
    key: &HashKey,
    options: &ScanOptions<'_>,
) -> Result<ScanReport, GitError> {
    let repository = discover(repo)?;
    let mut scan = Scan::new(scanner, key, *options);
    note_shallow(&mut scan, &repository);
    let objects = ObjectStore::of_repository(&repository)?;
    let limits = child_limits(options);
    let list = || select(&repository, selection, &limits);
    if *selection == Selection::All {
        scan.add_repository(&objects, list, |commits, trees| {
            manifest_of(&repository, commits, trees.as_ref(), options)
        })?;
        scan_refs(&mut scan, &repository, scanner, options)?;
    } else {
        let commits = list()?;
        let trees = objects.trees_for(commits.len(), options.threads, &limits)?;
        scan.add_batch(manifest_of(&repository, commits, trees.as_ref(), options)?, &objects, &|_| true)?;
    }
    Ok(scan.finish())
}

fn select(
    repository: &Repository,
    selection: &Selection,
    limits: &ChildLimits<'_>,
) -> Result<Vec<CommitEntry>, GitError> {
    let git_dir = repository.path();
    match selection {
        Selection::All => rev_list(git_dir, &["--all".to_owned()], &[], limits),
        Selection::Refs(names) => {
            let tips = names.iter().map(|name| resolve(repository, name)).collect::<Result<Vec<_>, _>>()?;
            rev_list(git_dir, &[], &tips, limits)
        }
        Selection::Range(range) => rev_list(git_dir, &[], &parse_range(repository, range)?, limits),
    }
}

/// What the children of a scan may take.
pub(crate) fn child_limits<'a>(options: &ScanOptions<'a>) -> ChildLimits<'a> {
    ChildLimits { stop: options.stop, max_memory_bytes: options.max_memory_bytes, ..ChildLimits::NONE }
}

/// What these commits introduced.
pub(crate) fn manifest_of(
    repository: &Repository,
    commits: Vec<CommitEntry>,
    trees: Option<&Trees>,
    options: &ScanOptions<'_>,
) -> Result<Manifest, GitError> {
    let ids: Vec<CommitId> = commits.iter().map(|commit| commit.id).collect();
    let (threads, limits) = (options.threads, child_limits(options));
    let asked = Asked { git_dir: repository.path(), trees, threads, limits };
    let introduced = asked.introduced(&ids, MAX_INTRODUCTIONS)?;
    if introduced.commits < commits.len() {
        return Err(GitError::TooManyFiles { limit: MAX_INTRODUCTIONS });
    }
    Ok(Manifest::new(commits, introduced))
}

/// Says what can't be seen of a shallow clone.
pub(crate) fn note_shallow(scan: &mut Scan<'_>, repository: &Repository) {
    if repository.is_shallow() {
        let what = repository.path().join("shallow").display().to_string();
        scan.leave_out(
            what,
            "a shallow clone: commits before its boundary are not here, run git fetch --unshallow",
        );
    }
}

/// Lets Git read the range: the answer is one line for each end, `^` before those to leave out.
fn parse_range(repository: &Repository, range: &str) -> Result<Vec<String>, GitError> {
    let bad = |reason: String| GitError::BadRange { range: range.to_owned(), reason };
    if range.starts_with('-') || range.is_empty() {
        return Err(bad("a range does not start with a dash and is not empty".to_owned()));
    }
    let mut command = crate::command::git_in(repository.path());
    command.args(["rev-parse", "--revs-only", "--end-of-options", range, "--"]);
    let text = match crate::command::output(command, "rev-parse") {
        Ok(text) => text,
        Err(GitError::Child { stderr, .. }) => return Err(bad(stderr)),
        Err(e) => return Err(e),
    };
    let ends: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    let is_commit = |end: &String| {
        let id = parse_oid(repository, end.trim_start_matches('^'));
        id.is_some_and(|id| repository.find_object(id, None).and_then(|o| o.peel_to_commit()).is_ok())
    };
    if ends.is_empty() || !ends.iter().all(is_commit) {
        return Err(bad("it names no commit".to_owned()));
    }
    Ok(ends)
}
