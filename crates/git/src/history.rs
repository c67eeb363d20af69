//! Listing commits: parents before children, in an order that does not depend on who lists them.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::Path;

use secretscan_model::ids::CommitId;

use crate::command::{ChildLimits, git_in, pipe};
use crate::error::GitError;
use crate::repository::open;

/// Later than any honest clock, and far enough from the largest number for a long row of descendants.
const MAX_DATE: u64 = 1 << 40;

/// Where a history begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refs {
    /// Everything under `refs/`, and HEAD.
    All,
    /// These refs, by full or short name; a full commit id is taken too.
    Named(Vec<String>),
}

/// A commit in its place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitEntry {
    /// Committer time in seconds, at least one more than that of every parent: what Git's commit-graph calls the
    /// corrected commit date.
    pub corrected_date: i64,
    /// The commit.
    pub id: CommitId,
}

/// Every commit reachable from the refs, ordered by `(corrected_date, id)`: parents come before children.
///
/// An empty repository has none.
///
/// # Errors
/// [`GitError::UnknownRef`] when a named ref does not exist, [`GitError::UnsupportedObjectFormat`] for SHA-256.
pub fn list(repo: &Path, refs: &Refs, limits: &ChildLimits<'_>) -> Result<Vec<CommitEntry>, GitError> {
    let repository = open(repo)?;
    match refs {
        Refs::All => rev_list(repository.path(), &["--all".to_owned()], &[], limits),
        Refs::Named(names) => {
            let tips = names.iter().map(|name| resolve(&repository, name)).collect::<Result<Vec<_>, _>>()?;
            rev_list(repository.path(), &[], &tips, limits)
        }
    }
}

/// The commit that a ref (or a full commit id) leads to.
pub(crate) fn resolve(repository: &git2::Repository, name: &str) -> Result<String, GitError> {
    let unknown = || GitError::UnknownRef { name: name.to_owned() };
    if name.parse::<CommitId>().is_ok() {
        let id = git2::Oid::from_str(name).map_err(|_| unknown())?;
        return repository.find_commit(id).map(|commit| commit.id().to_string()).map_err(|_| unknown());
    }
    let reference = repository.resolve_reference_from_short_name(name).map_err(|_| unknown())?;
    reference.peel_to_commit().map(|commit| commit.id().to_string()).map_err(|_| unknown())
}

/// Runs `git rev-list` on options and commit ids (`^` before those to leave out) that the caller vouches for.
///
/// The `git` program lists commits several times faster than libgit2 walks them, and uses the commit-graph.
pub(crate) fn rev_list(
    git_dir: &Path,
    options: &[String],
    revisions: &[String],
    limits: &ChildLimits<'_>,
) -> Result<Vec<CommitEntry>, GitError> {
    let mut command = git_in(git_dir);
    command.args(["rev-list", "--topo-order", "--reverse", "--parents", "--timestamp", "--stdin"]);
    command.args(options);
    let write = |input: &mut std::io::BufWriter<_>| {
        revisions.iter().try_for_each(|revision| writeln!(input, "{revision}"))
    };
    let mut commits = pipe(command, "rev-list", limits, write, |output, _| read_commits(output))?;
    commits.sort_unstable();
    Ok(commits)
}

/// Lines of `time id parent...`, parents first.
fn read_commits(mut output: impl BufRead) -> Result<Vec<CommitEntry>, GitError> {
    let mut dates = HashMap::new();
    let mut commits = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        let source = |source| GitError::Spawn { command: "rev-list", source };
        if output.read_line(&mut line).map_err(source)? == 0 {
            return Ok(commits);
        }
        let entry = read_commit(&line, &dates)
            .ok_or_else(|| GitError::Output { command: "rev-list", detail: line.trim_end().to_owned() })?;
        dates.insert(entry.id, entry.corrected_date);
        commits.push(entry);
    }
}

fn read_commit(line: &str, dates: &HashMap<CommitId, i64>) -> Option<CommitEntry> {
    let mut fields = line.split_ascii_whitespace();
    // Git reads a malformed date as zero and one too large as the largest unsigned number.
    let mut corrected_date = fields.next()?.parse::<u64>().ok()?.min(MAX_DATE) as i64;
    let id = fields.next()?.parse().ok()?;
    for parent in fields {
        // A parent outside the listed range has no date here.
        if let Some(date) = dates.get(&parent.parse().ok()?) {
            corrected_date = corrected_date.max(date.saturating_add(1));
        }
    }
    Some(CommitEntry { corrected_date, id })
}
