//! Where a working repository stands.

use std::path::Path;

use git2::Repository;
use secretscan_model::ids::CommitId;

use crate::error::GitError;
use crate::repository::discover;

/// Where a repository stands: what is not known is not there.
#[derive(Debug)]
pub struct Checkout {
    /// The commit of HEAD.
    pub head: Option<CommitId>,
    /// The full name of the branch that HEAD stands for, born or not.
    pub branch: Option<String>,
    /// The URL of the remote of the branch, else of `origin`, else of the first remote. It may hold credentials.
    pub remote_url: Option<String>,
}

impl Checkout {
    /// Of the repository that a path belongs to.
    ///
    /// # Errors
    /// When there is no repository.
    pub fn read(repo: &Path) -> Result<Self, GitError> {
        let repository = discover(repo)?;
        let head = repository.head().ok().and_then(|head| head.peel_to_commit().ok());
        let symbolic = repository.find_reference("HEAD").ok();
        let branch = symbolic.and_then(|head| head.symbolic_target().ok().flatten().map(str::to_owned));
        Ok(Self {
            head: head.and_then(|commit| CommitId::from_bytes(commit.id().as_bytes()).ok()),
            remote_url: remote_url(&repository, branch.as_deref()),
            branch,
        })
    }
}

fn remote_url(repository: &Repository, branch: Option<&str>) -> Option<String> {
    let of_branch = branch.and_then(|branch| repository.branch_upstream_remote(branch).ok());
    let of_branch = of_branch.and_then(|name| name.as_str().ok().map(str::to_owned));
    let all = repository.remotes().ok();
    let first = all.iter().flatten().find_map(|name| name.ok().flatten().map(str::to_owned));
    let names = [of_branch, Some("origin".to_owned()), first];
    let remote = names.into_iter().flatten().find_map(|name| repository.find_remote(&name).ok())?;
    remote.url().ok().map(str::to_owned)
}
