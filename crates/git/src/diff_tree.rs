//! What commits introduce, as the `git` program lists it.
//!
//! Measured against libgit2's tree diffs on a history of 20,000 commits, it took a quarter of the time.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use secretscan_model::ids::{BlobId, CommitId};

use crate::command::{ChildLimits, Running, git_in, pipe};
use crate::error::GitError;
use crate::introductions::{Change, Introduced, Introduction, Paths};

const COMMAND: &str = "diff-tree";
/// Memory of a child that compares trees: enough for a commit that changes a million files.
const DIFF_MEMORY: u64 = 256 << 20;

/// What a run of commits introduces, by one child, and by another one each time that Git ends over a commit. `first` is
/// the place of the first; the list ends after the commit with which it has more than `max` files.
pub(crate) fn run(
    git_dir: &Path,
    commits: &[CommitId],
    first: usize,
    max: usize,
    limits: &ChildLimits<'_>,
) -> Result<Introduced, GitError> {
    // Git keeps all changes of a commit in memory before it tells the first.
    let diff = ChildLimits { max_memory_bytes: limits.max_memory_bytes.min(DIFF_MEMORY), ..*limits };
    let mut part = Introduced::default();
    while part.commits < commits.len() && part.introductions.len() <= max {
        let before = part.commits;
        match diff_tree(git_dir, &commits[before..], first + before, max, &diff, &mut part) {
            Ok(()) => {}
            Err(GitError::Child { .. } | GitError::TooMuchMemory { .. }) if part.commits > before => {}
            Err(GitError::Child { stderr: reason, .. }) => {
                once_each(git_dir, commits[before], first + before, &reason, limits, &mut part)?;
            }
            Err(GitError::TooMuchMemory { .. }) => {
                once_each(git_dir, commits[before], first + before, "too many", limits, &mut part)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(part)
}

/// One child for a run of commits.
fn diff_tree(
    git_dir: &Path,
    commits: &[CommitId],
    first: usize,
    max: usize,
    limits: &ChildLimits<'_>,
    part: &mut Introduced,
) -> Result<(), GitError> {
    let mut command = git_in(git_dir);
    command.args([
        "diff-tree",
        "--stdin",
        "--always",
        "-c",
        "-r",
        "--root",
        "--raw",
        "-z",
        "--no-renames",
        "--no-abbrev",
    ]);
    let write =
        |input: &mut std::io::BufWriter<_>| commits.iter().try_for_each(|commit| writeln!(input, "{commit}"));
    pipe(command, COMMAND, limits, write, |output, child| {
        RawDiff::new(output).read(commits, first, max, child, part)
    })
}

/// The second way, for a commit whose list of changes is endless or can't be made: each new content once, at one of its
/// paths. A tree that stands in a tree many times is looked at once.
fn once_each(
    git_dir: &Path,
    commit: CommitId,
    place: usize,
    reason: &str,
    limits: &ChildLimits<'_>,
    part: &mut Introduced,
) -> Result<(), GitError> {
    const COMMAND: &str = "rev-list";
    let commit_place =
        u32::try_from(place).map_err(|_| GitError::TooManyFiles { limit: u32::MAX as usize })?;
    let id_len = hex_len(&commit);
    let mut command = git_in(git_dir);
    command.args(["rev-list", "--objects", "--filter=object:type=blob", &commit.to_string()]);
    command.args(["--not", &format!("{commit}^@"), "--"]);
    let listed = pipe(
        command,
        COMMAND,
        limits,
        |_| Ok(()),
        |output, _| {
            let mut found = Vec::new();
            for line in output.split(b'\n') {
                let line = line.map_err(|source| GitError::Spawn { command: COMMAND, source })?;
                // The commit itself has no path; what follows a line feed in a path is no id.
                let Some((id, path)) =
                    line.split_at_checked(id_len).filter(|(_, path)| path.starts_with(b" "))
                else {
                    continue;
                };
                if let Some(blob) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) {
                    found.push(Introduction { commit: commit_place, path: path[1..].into(), blob });
                }
            }
            Ok(found)
        },
    );
    let reason = match listed {
        Ok(found) => {
            part.introductions.extend(found);
            format!(
                "its files can't be listed ({reason}): each new content is scanned at one of its paths only"
            )
        }
        Err(
            error
            @ (GitError::Child { .. } | GitError::TooMuchMemory { .. } | GitError::MissingObject { .. }),
        ) => {
            format!("its files can't be listed: {error}")
        }
        Err(error) => return Err(error),
    };
    part.cut_off.push((commit_place, reason));
    part.commits += 1;
    Ok(())
}

/// The output of `diff-tree -z`: tokens that end with NUL, which are a commit id, or a description of a change and
/// then its path.
struct RawDiff<R> {
    output: BufReader<R>,
    token: Vec<u8>,
    /// Each path once: most come again and again.
    paths: Paths,
}

impl<R: Read> RawDiff<R> {
    fn new(output: BufReader<R>) -> Self {
        Self { output, token: Vec::new(), paths: Paths::default() }
    }

    /// Adds what is read to the part, commit by commit; ends the child when there are more than `max`.
    fn read(
        mut self,
        commits: &[CommitId],
        first: usize,
        max: usize,
        child: &Running,
        part: &mut Introduced,
    ) -> Result<(), GitError> {
        // Commits come in input order and, with `--always`, every one; what git can't read it leaves out silently.
        let (mut started, id_len) = (0, commits.first().map_or(0, hex_len));
        while self.next_token()? {
            if self.token.first() != Some(&b':') {
                let id: CommitId = std::str::from_utf8(&self.token)
                    .ok()
                    .and_then(|id| id.parse().ok())
                    .ok_or_else(|| self.unexpected())?;
                if commits.get(started) != Some(&id) {
                    break;
                }
                if part.introductions.len() > max {
                    child.end();
                    return Ok(());
                }
                started += 1;
                part.commits += 1;
                continue;
            }
            let place = started.checked_sub(1).ok_or_else(|| self.unexpected())?;
            let commit = u32::try_from(first + place).map_err(|_| self.unexpected())?;
            if let Some((path, blob)) = self.change(id_len)? {
                part.introductions.push(Introduction { commit, path, blob });
            }
        }
        match commits.get(started) {
            Some(missing) => Err(GitError::MissingObject { detail: format!("commit {missing}") }),
            None => Ok(()),
        }
    }

    /// Takes the token as a change and reads its path.
    fn change(&mut self, id_len: usize) -> Result<Option<Change>, GitError> {
        let introduced = new_blob(&self.token, id_len).ok_or_else(|| self.unexpected())?;
        if !self.next_token()? {
            return Err(self.unexpected());
        }
        let Some(blob) = introduced else { return Ok(None) };
        Ok(Some((self.paths.share(&self.token), blob)))
    }

    /// Reads up to the next NUL; false at the end.
    fn next_token(&mut self) -> Result<bool, GitError> {
        self.token.clear();
        let source = |source| GitError::Spawn { command: COMMAND, source };
        self.output.read_until(0, &mut self.token).map_err(source)?;
        Ok(self.token.pop_if(|last| *last == 0).is_some())
    }

    fn unexpected(&self) -> GitError {
        GitError::Output { command: COMMAND, detail: String::from_utf8_lossy(&self.token).into_owned() }
    }
}

/// How many digits the ids of a repository have that has this commit.
fn hex_len(commit: &CommitId) -> usize {
    2 * commit.as_bytes().len()
}

/// Reads `:modes ids status`, with one colon, old mode and old id for each parent. `Some(None)`: the new side is no
/// blob, or a parent has the same blob there (only the mode changed).
fn new_blob(change: &[u8], id_len: usize) -> Option<Option<BlobId>> {
    const MODE: usize = 6;
    let parents = change.iter().take_while(|b| **b == b':').count();
    let (modes, rest) = change[parents..].split_at_checked((parents + 1) * (MODE + 1))?;
    let (ids, _status) = rest.split_at_checked((parents + 1) * (id_len + 1))?;
    let mode = modes.get(parents * (MODE + 1)..)?;
    let mut ids = ids.chunks_exact(id_len + 1).map(|id| &id[..id_len]);
    let new = ids.next_back()?;
    // Regular files are 100644 and 100755 (and in old histories 100664), symbolic links 120000.
    let is_blob = mode.starts_with(b"100") || mode == b"120000 ";
    // An unmerged index entry has no id.
    let is_null = new.iter().all(|digit| *digit == b'0');
    if !is_blob || is_null || ids.any(|old| old == new) {
        return Some(None);
    }
    std::str::from_utf8(new).ok()?.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_apart() {
        for id_len in [40, 64] {
            changes_are_told_apart_by(id_len);
        }
    }

    fn changes_are_told_apart_by(id_len: usize) {
        let (a, b, zero) = ("a".repeat(id_len), "b".repeat(id_len), "0".repeat(id_len));
        let blob = |text: &str| new_blob(text.as_bytes(), id_len);
        let id: BlobId = b.parse().unwrap();
        assert_eq!(blob(&format!(":000000 100644 {zero} {b} A")), Some(Some(id)));
        assert_eq!(blob(&format!(":100644 100755 {b} {b} M")), Some(None), "only the mode");
        assert_eq!(blob(&format!(":100644 000000 {b} {zero} D")), Some(None));
        assert_eq!(blob(&format!(":000000 160000 {zero} {b} A")), Some(None), "a submodule");
        assert_eq!(blob(&format!("::100644 100644 100644 {a} {zero} {b} MM")), Some(Some(id)));
        assert_eq!(blob(&format!("::100644 100644 100755 {a} {b} {b} MM")), Some(None));
        assert_eq!(blob(":100644 100644 M"), None);
    }
}
