//! What pushes that a host told of have brought to a mirror.

use std::collections::BTreeSet;
use std::path::Path;

use git2::{ErrorCode, ObjectType, Oid, Repository, Sort};
use secretscan_model::NotScanned;
use secretscan_model::ids::CommitId;
use secretscan_model::lifecycle::Push;

use crate::command::ChildLimits;
use crate::error::GitError;
use crate::history::{CommitEntry, rev_list};
use crate::repository::{oid, open, refs};

/// What one push brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The commit that the ref leads to since, where the mirror has it.
    pub tip: Option<CommitId>,
    /// The commits that the ref reaches and did not reach before, the newest first.
    pub commits: Vec<CommitId>,
    /// Whether older ones were left out.
    pub is_cut: bool,
}

/// What pushes brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// The history that their tips reach, in the order of [`crate::list`].
    pub history: Vec<CommitEntry>,
    /// Of each push, in their order.
    pub each: Vec<Arrival>,
    /// What can't be scanned, because the host does not have it any more or it is no commit.
    pub not_scanned: Vec<NotScanned>,
}

/// Looks up what pushes brought. All together name at most `max_commits` of their commits.
///
/// A ref that is new brought what no ref reaches that was not pushed along with it.
///
/// # Errors
/// When the mirror can't be read.
pub fn arrivals(
    mirror: &Path,
    pushes: &[Push],
    max_commits: usize,
    limits: &ChildLimits<'_>,
) -> Result<Arrivals, GitError> {
    let repository = open(mirror)?;
    let mut arrivals = Arrivals::default();
    let (mut tips, mut left) = (BTreeSet::new(), max_commits);
    let others = if pushes.iter().any(|push| push.before.is_none()) {
        others(&repository, mirror, pushes)?
    } else {
        vec![]
    };
    for push in pushes {
        let tip = match tip_of(&repository, &push.after)? {
            Ok(tip) => Some(tip),
            Err(reason) => {
                arrivals
                    .not_scanned
                    .push(NotScanned { what: format!("{} of {}", push.after, push.name), reason });
                None
            }
        };
        let mut arrival = Arrival { tip, commits: vec![], is_cut: false };
        if let Some(tip) = tip {
            tips.insert(tip.to_string());
            let known = match &push.before {
                Some(before) => Vec::from_iter(tip_of(&repository, before)?.ok()),
                None => others.clone(),
            };
            // One more than may be named tells whether there are more.
            let mut commits = range(&repository, &tip, &known, left + 1)?;
            arrival.is_cut = commits.len() > left;
            commits.truncate(left);
            left -= commits.len();
            arrival.commits = commits;
        }
        arrivals.each.push(arrival);
    }
    if !tips.is_empty() {
        arrivals.history = rev_list(mirror, &[], &Vec::from_iter(tips), limits)?;
    }
    Ok(arrivals)
}

/// What a ref that is new does not bring: the tips of refs that were not pushed.
fn others(repository: &Repository, mirror: &Path, pushes: &[Push]) -> Result<Vec<CommitId>, GitError> {
    let pushed: BTreeSet<&str> = pushes.iter().map(|push| push.name.as_str()).collect();
    let mut tips = BTreeSet::new();
    for (name, id) in refs(mirror)? {
        if !pushed.contains(name.as_str())
            && let Ok(id) = id.parse()
        {
            tips.extend(tip_of(repository, &id)?.ok());
        }
    }
    Ok(tips.into_iter().collect())
}

/// The commits that `tip` reaches and none of `known` does, the newest first, at most `max`. By libgit2, which needs no
/// process for each: a request may have hundreds of pushes.
fn range(
    repository: &Repository,
    tip: &CommitId,
    known: &[CommitId],
    max: usize,
) -> Result<Vec<CommitId>, GitError> {
    let failed = GitError::libgit2("walk the history");
    let walk = || -> Result<Vec<Oid>, git2::Error> {
        let mut walk = repository.revwalk()?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
        walk.push(oid(repository, tip.as_bytes())?)?;
        for id in known {
            walk.hide(oid(repository, id.as_bytes())?)?;
        }
        walk.take(max).collect()
    };
    walk().map_err(failed)?.iter().map(commit_id).collect()
}

fn commit_id(id: &Oid) -> Result<CommitId, GitError> {
    CommitId::from_bytes(id.as_bytes())
        .map_err(|_| GitError::Output { command: "rev-list", detail: id.to_string() })
}

/// The commit that an id leads to, or why it leads to none.
fn tip_of(repository: &Repository, id: &CommitId) -> Result<Result<CommitId, String>, GitError> {
    let failed = |error: git2::Error| match error.code() {
        ErrorCode::NotFound => Ok(Err("the host does not have it any more".to_owned())),
        ErrorCode::Peel | ErrorCode::InvalidSpec => Ok(Err("it leads to no commit".to_owned())),
        _ => Err(GitError::libgit2("read objects")(error)),
    };
    let object = oid(repository, id.as_bytes()).and_then(|id| repository.find_object(id, None));
    match object.and_then(|object| object.peel(ObjectType::Commit)) {
        Ok(commit) => commit_id(&commit.id()).map(Ok),
        Err(error) => failed(error),
    }
}
