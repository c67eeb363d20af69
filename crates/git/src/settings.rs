//! Settings of ours in Git's configuration.

use std::path::{Path, PathBuf};

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

    /// The value of a key that names a file; `~` stands for the user's home directory, as Git has it.
    ///
    /// # Errors
    /// When it is no path.
    pub fn path(&self, key: &str) -> Result<Option<PathBuf>, GitError> {
        found(key, self.0.get_path(key))
    }

    /// The value of a key such as `secretscan.timeout`, the last one if there are several.
    ///
    /// # Errors
    /// When it is no text.
    pub fn get(&self, key: &str) -> Result<Option<String>, GitError> {
        found(key, self.0.get_string(key))
    }
}

fn found<T>(key: &str, value: Result<T, git2::Error>) -> Result<Option<T>, GitError> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(GitError::libgit2(format!("read {key} in Git's configuration"))(error)),
    }
}
