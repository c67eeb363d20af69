//! Settings of ours in Git's configuration.

use std::path::Path;

use git2::{Config, ErrorCode};

use crate::error::GitError;
use crate::repository::discover;

/// Git's configuration as a repository sees it: its own, the user's and the system's.
pub struct Settings(Config);

impl Settings {
    /// The configuration of the repository that a path belongs to.
    ///
    /// # Errors
    /// When there is no repository, or a configuration file can't be read.
    pub fn read(repo: &Path) -> Result<Self, GitError> {
        let mut config = discover(repo)?.config().map_err(GitError::libgit2("read Git's configuration"))?;
        config.snapshot().map(Self).map_err(GitError::libgit2("read Git's configuration"))
    }

    /// The value of a key such as `secretscan.timeout`, the last one if there are several.
    ///
    /// # Errors
    /// When it is no text.
    pub fn get(&self, key: &str) -> Result<Option<String>, GitError> {
        match self.0.get_string(key) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(GitError::libgit2(format!("read {key} in Git's configuration"))(error)),
        }
    }
}
