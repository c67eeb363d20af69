//! Who wrote commits.

use std::collections::HashMap;
use std::path::Path;

use git2::Oid;
use secretscan_model::ids::CommitId;

use crate::error::GitError;
use crate::repository::open;

/// So many commits are asked for their authors, the last ones.
const MAX_ASKED: usize = 10_000;

/// Those who wrote these commits, by name and address as the commits say, at most so many, who wrote most first.
///
/// # Errors
/// When a commit can't be read.
pub fn authors(repo: &Path, commits: &[CommitId], max: usize) -> Result<Vec<(String, String)>, GitError> {
    let repository = open(repo)?;
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    for id in commits.iter().rev().take(MAX_ASKED) {
        let id = Oid::from_bytes(id.as_bytes());
        let commit =
            id.and_then(|id| repository.find_commit(id)).map_err(GitError::libgit2("read commits"))?;
        let author = commit.author();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        *counts.entry((text(author.name_bytes()), text(author.email_bytes()))).or_default() += 1;
    }
    let mut authors: Vec<_> = counts.into_iter().collect();
    authors.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
    Ok(authors.into_iter().take(max).map(|(author, _)| author).collect())
}
