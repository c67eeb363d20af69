//! Scans of a repository at hand, with no service and no network.

use std::path::Path;

use git2::Repository;
use secretscan_detect::{HashKey, Scanner};
use secretscan_model::ids::CommitId;

use crate::command::ChildLimits;
use crate::error::GitError;
use crate::history::{CommitEntry, resolve, rev_list};
use crate::introductions::in_git_dir;
use crate::manifest::Manifest;
use crate::objects::ObjectStore;
use crate::repository::discover;
use crate::scan::{Scan, ScanOptions, ScanReport};
use crate::texts::scan_refs;

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
    /// What a push brings: reachable from the tips, and neither from the commits that the other side is known to have
    /// nor from the remote-tracking refs of `remote`. Known ids that this repository lacks are passed over.
    Pushed {
        /// The ids that are pushed; tags are followed to their commit.
        tips: Vec<CommitId>,
        /// The ids that the pushed refs have now.
        known: Vec<CommitId>,
        /// The name of a configured remote.
        remote: Option<String>,
    },
}

/// Scans what the selected commits introduced; `repo` may be any path inside the repository.
///
/// The dates of a [`Selection::Range`] or [`Selection::Pushed`] are corrected within the selected commits only.
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
    if repository.is_shallow() {
        let what = repository.path().join("shallow").display().to_string();
        scan.leave_out(
            what,
            "a shallow clone: commits before its boundary are not here, run git fetch --unshallow",
        );
    }
    let objects = ObjectStore::of_repository(&repository)?;
    let history = || {
        let max_memory_bytes = options.max_memory_bytes;
        let limits = ChildLimits { stop: options.stop, max_memory_bytes, ..ChildLimits::NONE };
        let commits = select(&repository, selection, &limits)?;
        let ids: Vec<CommitId> = commits.iter().map(|commit| commit.id).collect();
        let threads = options.threads.div_ceil(2);
        let introduced = in_git_dir(repository.path(), &ids, threads, MAX_INTRODUCTIONS, &limits)?;
        if introduced.commits < commits.len() {
            return Err(GitError::TooManyFiles { limit: MAX_INTRODUCTIONS });
        }
        Ok(Manifest::new(commits, introduced))
    };
    if *selection == Selection::All {
        scan.add_repository(&objects, history)?;
        scan_refs(&mut scan, &repository, scanner, options)?;
    } else {
        scan.add_batch(history()?, &objects, &|_| true)?;
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
        Selection::Pushed { tips, known, remote } => {
            let oid = |id: &CommitId| git2::Oid::from_bytes(id.as_bytes()).ok();
            let has = |id: &CommitId| oid(id).is_some_and(|oid| repository.find_object(oid, None).is_ok());
            let tips = tips.iter().map(CommitId::to_string);
            let known = known.iter().filter(|id| has(id)).map(|id| format!("^{id}"));
            let options = remote
                .iter()
                .flat_map(|name| ["--not".to_owned(), format!("--remotes={name}"), "--not".to_owned()]);
            let revisions: Vec<String> = tips.chain(known).collect();
            rev_list(git_dir, &options.collect::<Vec<_>>(), &revisions, limits)
        }
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
        let id = git2::Oid::from_str(end.trim_start_matches('^'));
        id.and_then(|id| repository.find_object(id, None)?.peel_to_commit()).is_ok()
    };
    if ends.is_empty() || !ends.iter().all(is_commit) {
        return Err(bad("it names no commit".to_owned()));
    }
    Ok(ends)
}
