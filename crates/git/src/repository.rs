//! Opening repositories, and their refs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use git2::{ErrorClass, ErrorCode, ObjectFormat, Oid, Repository, RepositoryOpenFlags};
use gix_hash::Kind as IdKind;

use secretscan_model::ids::CommitId;

use crate::command::output;
use crate::error::GitError;

/// Opens the repository at exactly this path: a Git directory, or a working tree's top.
pub(crate) fn open(path: &Path) -> Result<Repository, GitError> {
    hash_nothing_that_is_read();
    let flags = RepositoryOpenFlags::NO_SEARCH;
    Repository::open_ext(path, flags, std::iter::empty::<&OsStr>()).map_err(|e| explain(path, e))
}

/// Opens the repository that a path belongs to: the path may be anywhere inside a working tree.
pub(crate) fn discover(path: &Path) -> Result<Repository, GitError> {
    hash_nothing_that_is_read();
    Repository::discover(path).map_err(|e| explain(path, e))
}

/// As Git does it: what came was hashed when it came. Hashing each object that is read costs more than reading it.
fn hash_nothing_that_is_read() {
    git2::opts::strict_hash_verification(false);
}

/// The Git directory of a repository, for child processes.
pub(crate) fn git_dir(path: &Path) -> Result<PathBuf, GitError> {
    Ok(open(path)?.path().to_path_buf())
}

fn explain(path: &Path, error: git2::Error) -> GitError {
    let path = path.to_path_buf();
    match error.code() {
        ErrorCode::NotFound => GitError::NotARepository { path },
        ErrorCode::Owner => GitError::NotOwned { path },
        _ => GitError::Libgit2 { doing: format!("open the repository at {}", path.display()), source: error },
    }
}

/// What the ids of a repository are.
pub(crate) fn ids_of(repository: &Repository) -> IdKind {
    id_kind(repository.object_format())
}

/// The same kind of ids as gix calls it.
pub(crate) fn id_kind(format: ObjectFormat) -> IdKind {
    match format {
        ObjectFormat::Sha1 => IdKind::Sha1,
        ObjectFormat::Sha256 => IdKind::Sha256,
    }
}

/// An id as libgit2 takes it, which this repository may have. One of the other object format it has not, and libgit2, asked for
/// it, would write past the end of its memory.
#[expect(clippy::disallowed_methods, reason = "the one place, which compares the formats")]
pub(crate) fn oid(repository: &Repository, id: &[u8]) -> Result<Oid, git2::Error> {
    let oid = Oid::from_bytes(id)?;
    if oid.object_format() != repository.object_format() {
        let told = format!("{oid} has not the object format of the repository");
        return Err(git2::Error::new(ErrorCode::NotFound, ErrorClass::Odb, told));
    }
    Ok(oid)
}

/// The same of an id that a text gives in full.
pub(crate) fn parse_oid(repository: &Repository, text: &str) -> Option<Oid> {
    oid(repository, text.parse::<CommitId>().ok()?.as_bytes()).ok()
}

/// Every ref under `refs/` with the id it holds (a tag's own id for annotated tags), by name.
///
/// # Errors
/// When the repository can't be opened or its refs can't be read.
pub fn refs(repo: &Path) -> Result<Vec<(String, String)>, GitError> {
    let mut command = crate::command::git_in(&git_dir(repo)?);
    command.args(["for-each-ref", "--format=%(objectname) %(refname)"]);
    let text = output(command, "for-each-ref")?;
    let pair = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        line.split_once(' ').map(|(id, name)| (name.to_owned(), id.to_owned()))
    };
    Ok(text.split(|b| *b == b'\n').filter_map(pair).collect())
}
