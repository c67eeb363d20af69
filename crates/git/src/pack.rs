//! Packs of chosen objects, written from a repository.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use secretscan_model::ids::{BlobId, CommitId};

use crate::command::{ChildLimits, git_in, pipe};
use crate::error::GitError;

/// A pack and its index on disk.
pub(crate) struct Pack {
    pub pack: PathBuf,
    pub idx: PathBuf,
}

/// The inflated sizes of blobs; those that the repository lacks are left out, and what is no blob is `None`: a tree may
/// name anything as a file.
pub(crate) fn blob_sizes(
    git_dir: &Path,
    blobs: &HashSet<BlobId>,
    limits: &ChildLimits<'_>,
) -> Result<HashMap<BlobId, Option<u64>>, GitError> {
    const COMMAND: &str = "cat-file";
    if blobs.is_empty() {
        return Ok(HashMap::new());
    }
    let mut command = git_in(git_dir);
    command.args(["cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", "--buffer"]);
    let write = |input: &mut io::BufWriter<_>| blobs.iter().try_for_each(|blob| writeln!(input, "{blob}"));
    pipe(command, COMMAND, limits, write, |output, _| {
        let mut sizes = HashMap::with_capacity(blobs.len());
        for line in output.lines() {
            let line = line.map_err(|source| GitError::Spawn { command: COMMAND, source })?;
            let fields: Vec<&str> = line.split(' ').collect();
            match (fields[0].parse(), &fields[1..]) {
                (Ok(id), ["blob", size]) if let Ok(size) = size.parse() => drop(sizes.insert(id, Some(size))),
                (Ok(_), ["missing"]) => {}
                (Ok(id), [_, _]) => drop(sizes.insert(id, None)),
                _ => return Err(GitError::Output { command: COMMAND, detail: line }),
            }
        }
        Ok(sizes)
    })
}

/// Writes a pack of exactly these objects into the directory.
///
/// Deltas that the repository has are reused where their base is in the pack too; blobs whose base is not are stored
/// whole. Seeking new deltas for those would halve the pack and take 1.6 times as long, and the usual compression level
/// instead of the fastest one 2.4 times (measured on 2,000 commits of a history of 20,000). Never a thin pack, so that
/// every base is inside.
pub(crate) fn write_pack(
    git_dir: &Path,
    commits: impl Iterator<Item = CommitId> + Send,
    blobs: impl Iterator<Item = BlobId> + Send,
    dir: &Path,
    limits: &ChildLimits<'_>,
) -> Result<Pack, GitError> {
    const COMMAND: &str = "pack-objects";
    let mut command = git_in(git_dir);
    // The repository's own configuration must not split the pack or choose another index version.
    for setting in
        ["pack.packSizeLimit=0", "pack.indexVersion=2", "pack.writeReverseIndex=false", "pack.compression=1"]
    {
        command.args(["-c", setting]);
    }
    command.args(["pack-objects", "-q", "--window=0", "--delta-base-offset", "--threads=1"]);
    command.arg(dir.join("batch"));
    let write = |input: &mut io::BufWriter<_>| {
        commits.into_iter().try_for_each(|id| writeln!(input, "{id}"))?;
        blobs.into_iter().try_for_each(|id| writeln!(input, "{id}"))
    };
    let name = pipe(command, COMMAND, limits, write, |output, _| {
        io::read_to_string(output).map_err(|source| GitError::Spawn { command: COMMAND, source })
    })?;
    let file = |suffix| dir.join(format!("batch-{}.{suffix}", name.trim_end()));
    Ok(Pack { pack: file("pack"), idx: file("idx") })
}

/// Blobs that are not in a pack, and why.
pub(crate) type Absent = BTreeMap<BlobId, String>;
