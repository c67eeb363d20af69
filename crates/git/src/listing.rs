//! Listing a mirror again: Git is asked only for what came since the last time.
//!
//! Beside what Git keeps, a mirror has a file with the commits that its refs reached when they were listed last, so a push of
//! one commit to a long history costs a walk over one commit. The file goes with the mirror, and is passed over when it does
//! not fit.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Write};
use std::path::Path;

use secretscan_model::NotScanned;
use secretscan_model::ids::CommitId;

use crate::command::{ChildLimits, git_in, pipe};
use crate::error::GitError;
use crate::history::{CommitEntry, Places, Refs, list, read_commit};
use crate::kept::{self, Reader};
use crate::repository::{oid, open, refs};

const FILE: &str = "secretscan-history";
const MAGIC: &[u8] = b"secretscan history 1\n";

/// Every commit that the refs of a mirror reach, as [`list`] gives them, and the refs that lead to none.
///
/// # Errors
/// When the mirror can't be read.
pub fn list_mirror(
    mirror: &Path,
    limits: &ChildLimits<'_>,
) -> Result<(Vec<CommitEntry>, Vec<NotScanned>), GitError> {
    let refs = refs(mirror)?;
    let mut ids: Vec<CommitId> = refs.iter().filter_map(|(_, id)| id.parse().ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    let known = Known::read(mirror, ids.first().map_or(20, |id| id.as_bytes().len()));
    let targets = targets(mirror, &ids, known.as_ref().map_or(&[][..], |known| &known.targets), limits)?;
    let outside = outside(&refs, &targets);
    let commits = match known {
        Some(known) if known.targets == targets => return Ok((known.commits, outside)),
        Some(known) => known.and_since(mirror, &tips(&targets), limits),
        None => Ok(None),
    };
    let commits = match commits {
        Ok(Some(commits)) => commits,
        Err(GitError::Stopped) => return Err(GitError::Stopped),
        Ok(None) | Err(_) => list(mirror, &Refs::All, limits)?,
    };
    let known = Known { targets, commits };
    if let Err(error) = known.write(mirror) {
        tracing::warn!(mirror = %mirror.display(), %error, "the list of commits is not kept");
    }
    Ok((known.commits, outside))
}

/// Where an object leads to that a ref names: itself, or what the tag is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    /// The object, whatever it is.
    id: CommitId,
    kind: Kind,
    leads_to: CommitId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Commit,
    Tree,
    Blob,
    /// What is not there, for one.
    Unknown,
}

impl Kind {
    /// As Git calls them, and as they are kept.
    const ALL: [(Self, &str); 4] =
        [(Self::Commit, "commit"), (Self::Tree, "tree"), (Self::Blob, "blob"), (Self::Unknown, "unknown")];

    fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map_or(Self::Unknown, |(kind, _)| kind)
    }
}

/// Where these objects lead to, in their order; Git is asked about those that are not known.
fn targets(
    mirror: &Path,
    ids: &[CommitId],
    known: &[Target],
    limits: &ChildLimits<'_>,
) -> Result<Vec<Target>, GitError> {
    const COMMAND: &str = "cat-file";
    let known_at = |id: &CommitId| known.binary_search_by(|target| target.id.cmp(id)).ok();
    let asked: Vec<CommitId> = ids.iter().filter(|id| known_at(id).is_none()).copied().collect();
    let mut told = HashMap::new();
    if !asked.is_empty() {
        let mut command = git_in(mirror);
        command.args([COMMAND, "--buffer", "--batch-check=%(objecttype) %(objectname)"]);
        let write =
            |input: &mut io::BufWriter<_>| asked.iter().try_for_each(|id| writeln!(input, "{id}^{{}}"));
        let lines = pipe(command, COMMAND, limits, write, |output, _| {
            let lines: io::Result<Vec<String>> = output.lines().collect();
            lines.map_err(|source| GitError::Spawn { command: COMMAND, source })
        })?;
        for (id, line) in asked.iter().zip(lines) {
            let (kind, leads_to) = line.split_once(' ').unwrap_or_default();
            let target = match leads_to.parse() {
                Ok(leads_to) => Target { id: *id, kind: Kind::of(kind), leads_to },
                Err(_) => Target { id: *id, kind: Kind::Unknown, leads_to: *id },
            };
            told.insert(*id, target);
        }
    }
    let unknown = |id: &CommitId| Target { id: *id, kind: Kind::Unknown, leads_to: *id };
    let target = |id: &CommitId| match known_at(id) {
        Some(at) => known[at],
        None => told.get(id).copied().unwrap_or_else(|| unknown(id)),
    };
    Ok(ids.iter().map(target).collect())
}

/// The refs that lead to a tree or to a file.
fn outside(refs: &[(String, String)], targets: &[Target]) -> Vec<NotScanned> {
    let odd: Vec<(String, &str)> = (targets.iter())
        .filter_map(|target| match target.kind {
            Kind::Tree => Some((target.id.to_string(), "tree")),
            Kind::Blob => Some((target.id.to_string(), "blob")),
            Kind::Commit | Kind::Unknown => None,
        })
        .collect();
    if odd.is_empty() {
        return Vec::new();
    }
    let leads = |id: &str| odd.iter().find(|(odd, _)| odd == id).map(|(_, kind)| *kind);
    let named = refs.iter().filter_map(|(name, id)| Some((name, leads(id)?)));
    named
        .map(|(name, kind)| NotScanned {
            what: name.clone(),
            reason: format!("it leads to a {kind} that belongs to no commit"),
        })
        .collect()
}

/// The commits among them, sorted; `None` when it is not known where one leads to.
fn tips(targets: &[Target]) -> Option<Vec<CommitId>> {
    if targets.iter().any(|target| target.kind == Kind::Unknown) {
        return None;
    }
    let commits = targets.iter().filter(|target| target.kind == Kind::Commit);
    let mut tips: Vec<CommitId> = commits.map(|target| target.leads_to).collect();
    tips.sort_unstable();
    tips.dedup();
    Some(tips)
}

/// What was listed before.
struct Known {
    /// Where the refs led to then, by what they named.
    targets: Vec<Target>,
    /// What they reached, in order.
    commits: Vec<CommitEntry>,
}

impl Known {
    /// `None` when there is nothing, or not as this program writes it.
    fn read(mirror: &Path, id_bytes: usize) -> Option<Self> {
        let bytes = kept::read(mirror, FILE)?;
        let mut reader = Reader::new(&bytes, MAGIC)?;
        let id = |bytes: &[u8]| CommitId::from_bytes(bytes).ok();
        let target = |bytes: &[u8]| {
            let (kind, ids) = bytes.split_first()?;
            let (named, leads_to) = ids.split_at(id_bytes);
            Some(Target {
                id: id(named)?,
                kind: Kind::ALL.get(usize::from(*kind))?.0,
                leads_to: id(leads_to)?,
            })
        };
        let entry = |bytes: &[u8]| {
            let (date, bytes) = bytes.split_first_chunk::<8>()?;
            Some(CommitEntry { corrected_date: i64::from_le_bytes(*date), id: id(bytes)? })
        };
        let targets = reader.parts(1 + 2 * id_bytes)?.map(target).collect::<Option<_>>()?;
        let commits = reader.parts(8 + id_bytes)?.map(entry).collect::<Option<_>>()?;
        reader.is_at_end().then_some(Self { targets, commits })
    }

    fn write(&self, mirror: &Path) -> io::Result<()> {
        kept::write(mirror, FILE, |to| {
            to.write_all(MAGIC)?;
            kept::write_count(to, self.targets.len())?;
            for Target { id, kind, leads_to } in &self.targets {
                let kind = Kind::ALL.iter().position(|(known, _)| known == kind).unwrap_or_default();
                to.write_all(&[kind as u8])?;
                to.write_all(id.as_bytes())?;
                to.write_all(leads_to.as_bytes())?;
            }
            kept::write_count(to, self.commits.len())?;
            for commit in &self.commits {
                to.write_all(&commit.corrected_date.to_le_bytes())?;
                to.write_all(commit.id.as_bytes())?;
            }
            Ok(())
        })
    }

    /// These commits and those that the refs reach since; `None` when that is not clear, or they don't reach all of these
    /// any more.
    fn and_since(
        self,
        mirror: &Path,
        tips: &Option<Vec<CommitId>>,
        limits: &ChildLimits<'_>,
    ) -> Result<Option<Vec<CommitEntry>>, GitError> {
        let (Some(tips), Some(old)) = (tips, self::tips(&self.targets)) else { return Ok(None) };
        let places = Places::of(&self.commits);
        let known = |id: &CommitId| places.find(&self.commits, id);
        let Some(walked) = walk_to_known(mirror, &without(tips, &old), |id| known(id).is_some())? else {
            return Ok(None);
        };
        // Where a ref was moved on, what it led to is a parent of what came.
        let gone: Vec<CommitId> =
            without(&old, tips).into_iter().filter(|id| !walked.border.contains(id)).collect();
        if !gone.is_empty() && !rev_list(mirror, &["--max-count=1"], &gone, tips, limits)?.is_empty() {
            return Ok(None);
        }
        let options = ["--topo-order", "--reverse", "--parents", "--timestamp"];
        let border: Vec<CommitId> = walked.border.iter().copied().collect();
        let lines = rev_list(mirror, &options, &walked.new, &border, limits)?;
        let border = border.iter().filter_map(known).map(|entry| (entry.id, entry.corrected_date));
        let mut dates: HashMap<CommitId, i64> = border.collect();
        drop(places);
        let mut commits = self.commits;
        for line in lines {
            let entry = read_commit(&line, |id| dates.get(id).copied())
                .ok_or(GitError::Output { command: "rev-list", detail: line })?;
            dates.insert(entry.id, entry.corrected_date);
            commits.push(entry);
        }
        // Mostly sorted: the new ones are at the end.
        commits.sort();
        Ok(Some(commits))
    }
}

/// What came to a history.
struct Walked {
    /// Commits that are not known.
    new: Vec<CommitId>,
    /// Commits that are known and parents of these, or were asked for.
    border: HashSet<CommitId>,
}

/// With more new commits than this Git is left to list all.
const MAX_NEW: usize = 20_000;

/// Goes from commits to their parents until those that are known, which are known with all that they reach.
fn walk_to_known(
    mirror: &Path,
    from: &[CommitId],
    is_known: impl Fn(&CommitId) -> bool,
) -> Result<Option<Walked>, GitError> {
    let repository = open(mirror)?;
    let (mut new, mut border) = (HashSet::new(), HashSet::new());
    let mut left: Vec<CommitId> = from.to_vec();
    while let Some(id) = left.pop() {
        if is_known(&id) {
            border.insert(id);
            continue;
        }
        if !new.insert(id) {
            continue;
        }
        if new.len() > MAX_NEW {
            return Ok(None);
        }
        let commit = oid(&repository, id.as_bytes()).and_then(|id| repository.find_commit(id));
        let Ok(commit) = commit else { return Ok(None) };
        left.extend(commit.parent_ids().filter_map(|id| CommitId::from_bytes(id.as_bytes()).ok()));
    }
    Ok(Some(Walked { new: new.into_iter().collect(), border }))
}

/// Those of the first, which is sorted as the other is, that are not in the other.
fn without(ids: &[CommitId], others: &[CommitId]) -> Vec<CommitId> {
    ids.iter().filter(|id| others.binary_search(id).is_err()).copied().collect()
}

/// The lines of `git rev-list` of what the commits reach and the excluded ones do not.
fn rev_list(
    mirror: &Path,
    options: &[&str],
    commits: &[CommitId],
    excluded: &[CommitId],
    limits: &ChildLimits<'_>,
) -> Result<Vec<String>, GitError> {
    const COMMAND: &str = "rev-list";
    if commits.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = git_in(mirror);
    command.arg(COMMAND).args(options).arg("--stdin");
    let write = |input: &mut io::BufWriter<_>| {
        commits.iter().try_for_each(|id| writeln!(input, "{id}"))?;
        excluded.iter().try_for_each(|id| writeln!(input, "^{id}"))
    };
    pipe(command, COMMAND, limits, write, |output, _| {
        let lines: io::Result<Vec<String>> = output.lines().collect();
        lines.map_err(|source| GitError::Spawn { command: COMMAND, source })
    })
}
