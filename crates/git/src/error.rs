use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What went wrong while reading a repository or an archive.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum GitError {
    #[error("there is no Git repository at {}", path.display())]
    NotARepository { path: PathBuf },
    #[error(
        "the repository at {} belongs to another user; if you trust it, run: git config --global --add safe.directory {}",
        path.display(),
        path.display()
    )]
    NotOwned { path: PathBuf },
    #[error("the ref {name:?} does not exist or leads to no commit")]
    UnknownRef { name: String },
    #[error("{range:?} is not a range of commits: {reason}")]
    BadRange { range: String, reason: String },
    #[error(
        "an object that the history needs is missing ({detail}); a partial clone without trees can't be scanned, \
         fetch it in full"
    )]
    MissingObject { detail: String },
    #[error("can't {doing}")]
    Libgit2 { doing: String, source: git2::Error },
    #[error("can't read the index {}: {detail}", path.display())]
    Index { path: PathBuf, detail: String },
    #[error("can't run git {command}")]
    Spawn { command: &'static str, source: io::Error },
    #[error("git {command} failed ({status}): {stderr}")]
    Child { command: &'static str, status: String, stderr: String },
    #[error("git {command} wrote something unexpected: {detail}")]
    Output { command: &'static str, detail: String },
    #[error("git {command} needs more memory than the limit of {limit} bytes")]
    TooMuchMemory { command: &'static str, limit: u64 },
    #[error("more than the limit of {limit} bytes of temporary files are needed")]
    TooMuchDisk { limit: u64 },
    #[error("the history introduces more than {limit} files at once; scan it in parts, by ranges of commits")]
    TooManyFiles { limit: usize },
    #[error("can't {doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the batch archive is damaged: {detail}")]
    Corrupt { detail: String },
    #[error("the pack {pack} is damaged ({detail}); see what git fsck says")]
    DamagedPack { pack: String, detail: String },
    #[error("can't start threads: {reason}")]
    Threads { reason: String },
    #[error("stopped on request")]
    Stopped,
}

impl GitError {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn libgit2(doing: impl Into<String>) -> impl FnOnce(git2::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Libgit2 { doing, source }
    }

    pub(crate) fn damaged_pack(pack: &str, detail: impl Into<String>) -> Self {
        Self::DamagedPack { pack: pack.to_owned(), detail: detail.into() }
    }

    pub(crate) fn corrupt(detail: impl Into<String>) -> Self {
        Self::Corrupt { detail: detail.into() }
    }
}
