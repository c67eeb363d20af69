//! Listing commits: parents before children, in an order that does not depend on who lists them.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, Write};
use std::path::Path;

use secretscan_model::ids::CommitId;

use crate::command::{ChildLimits, git_in, pipe};
use crate::error::GitError;
use crate::repository::{open, parse_oid};

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
/// [`GitError::UnknownRef`] when a named ref does not exist.
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
        let id = parse_oid(repository, name).ok_or_else(unknown)?;
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
    let mut places = Places::default();
    let mut commits: Vec<CommitEntry> = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        let source = |source| GitError::Spawn { command: "rev-list", source };
        if output.read_line(&mut line).map_err(source)? == 0 {
            return Ok(commits);
        }
        let date_of = |id: &CommitId| places.find(&commits, id).map(|entry| entry.corrected_date);
        let entry = read_commit(&line, date_of)
            .ok_or_else(|| GitError::Output { command: "rev-list", detail: line.trim_end().to_owned() })?;
        commits.push(entry);
        places.add_last(&commits);
    }
}

/// The time of a commit in seconds, or the latest that counts.
pub(crate) fn limited(seconds: u64) -> i64 {
    seconds.min(MAX_DATE) as i64
}

/// A line of `time id parent...`; `date_of` knows the parents that are listed.
fn read_commit(line: &str, date_of: impl Fn(&CommitId) -> Option<i64>) -> Option<CommitEntry> {
    let mut fields = line.split_ascii_whitespace();
    // Git reads a malformed date as zero and one too large as the largest unsigned number.
    let mut corrected_date = limited(fields.next()?.parse().ok()?);
    let id = fields.next()?.parse().ok()?;
    for parent in fields {
        // A parent outside the listed range has no date here.
        if let Some(date) = date_of(&parent.parse().ok()?) {
            corrected_date = corrected_date.max(date.saturating_add(1));
        }
    }
    Some(CommitEntry { corrected_date, id })
}

/// Where commits stand in a list, by id: a hash table of four bytes for each place. A map from ids to dates takes more than ten
/// times as much, which for a million commits is most of the memory of who lists them.
#[derive(Default)]
pub(crate) struct Places {
    /// One more than the place in the list; 0 where there is none. Its length is a power of two.
    table: Vec<u32>,
    /// Seeded: a hostile history must not be able to have all of its ids in one row.
    hasher: RandomState,
}

/// For the first commits.
const LEAST_TABLE: usize = 64;

impl Places {
    /// Those of all commits of a list.
    pub fn of(commits: &[CommitEntry]) -> Self {
        let mut places = Self::default();
        places.table.resize((2 * commits.len()).next_power_of_two().max(LEAST_TABLE), 0);
        (1..=commits.len()).for_each(|count| places.add(&commits[..count]));
        places
    }

    pub fn find<'a>(&self, commits: &'a [CommitEntry], id: &CommitId) -> Option<&'a CommitEntry> {
        let mut at = self.slot(id)?;
        loop {
            let entry = commits.get(self.table[at].checked_sub(1)? as usize)?;
            if entry.id == *id {
                return Some(entry);
            }
            at = (at + 1) % self.table.len();
        }
    }

    /// Takes in the last commit of the list; the others are there.
    fn add_last(&mut self, commits: &[CommitEntry]) {
        // At most two of three are taken, so a search meets a free one soon.
        if 3 * commits.len() >= 2 * self.table.len() {
            let doubled = (2 * self.table.len()).max(LEAST_TABLE);
            self.table.clear();
            self.table.resize(doubled, 0);
            (1..commits.len()).for_each(|count| self.add(&commits[..count]));
        }
        self.add(commits);
    }

    fn add(&mut self, commits: &[CommitEntry]) {
        let Some(last) = commits.last() else { return };
        let Some(mut at) = self.slot(&last.id) else { return };
        while self.table[at] != 0 {
            at = (at + 1) % self.table.len();
        }
        self.table[at] =
            u32::try_from(commits.len()).expect("git lists fewer commits than four thousand million");
    }

    /// Where to begin to look for an id.
    fn slot(&self, id: &CommitId) -> Option<usize> {
        let length = self.table.len();
        (length > 0).then(|| self.hasher.hash_one(id) as usize % length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_found_at_its_place_and_no_other() {
        let id = |number: u32| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            CommitId::from_bytes(&bytes).unwrap()
        };
        let (mut places, mut commits) = (Places::default(), Vec::new());
        assert!(places.find(&commits, &id(0)).is_none());
        for number in 0..1_000 {
            commits.push(CommitEntry { corrected_date: i64::from(number), id: id(number) });
            places.add_last(&commits);
            let found = (0..=number + 1).map(|number| places.find(&commits, &id(number)));
            let dates: Vec<Option<i64>> =
                found.map(|entry| entry.map(|entry| entry.corrected_date)).collect();
            let expected: Vec<Option<i64>> = (0..=number).map(|n| Some(i64::from(n))).chain([None]).collect();
            assert_eq!(dates, expected);
        }
    }
}
