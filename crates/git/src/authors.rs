//! Who wrote commits.

use std::collections::HashMap;
use std::path::Path;

use secretscan_model::ids::CommitId;

use crate::error::GitError;
use crate::repository::{oid, open};

/// So many commits are asked for their authors, the last ones.
const MAX_ASKED: usize = 10_000;

/// Who wrote commits, and when, as the commits say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorship {
    /// Names and addresses, who wrote most first.
    pub authors: Vec<(String, String)>,
    /// The earliest author time, in seconds since the Unix epoch; 0 of no commits.
    pub first: i64,
    /// The latest one.
    pub last: i64,
}

/// Who wrote these commits, at most so many, and when.
///
/// # Errors
/// When a commit can't be read.
pub fn authorship(repo: &Path, commits: &[CommitId], max: usize) -> Result<Authorship, GitError> {
    let repository = open(repo)?;
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    let mut times: Option<(i64, i64)> = None;
    for id in commits.iter().rev().take(MAX_ASKED) {
        let id = oid(&repository, id.as_bytes());
        let commit =
            id.and_then(|id| repository.find_commit(id)).map_err(GitError::libgit2("read commits"))?;
        let author = commit.author();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        *counts.entry((text(author.name_bytes()), text(author.email_bytes()))).or_default() += 1;
        let time = author.when().seconds();
        times = Some(times.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
    }
    let mut authors: Vec<_> = counts.into_iter().collect();
    authors.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
    let authors = authors.into_iter().take(max).map(|(author, _)| author).collect();
    let (first, last) = times.unwrap_or_default();
    Ok(Authorship { authors, first, last })
}
