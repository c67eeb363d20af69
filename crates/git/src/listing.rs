//! Listing a mirror again: only what came since the last time is looked at.
//!
//! Beside what Git keeps, a mirror has a file with the commits that its refs reached when they were listed last, so a push of
//! one commit to a long history costs a walk over one commit. The file goes with the mirror, and is passed over when it does
//! not fit. What came is read here, commit by commit: where that is not clear, `git rev-list` lists all.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::thread;

use git2::{ObjectType, Repository};
use secretscan_model::NotScanned;
use secretscan_model::ids::CommitId;

use crate::command::{ChildLimits, git_in, pipe};
use crate::error::GitError;
use crate::history::{CommitEntry, Places, Refs, limited, list};
use crate::kept::{self, Reader};
use crate::repository::{ids_of, oid, open, refs};

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
    let repository = open(mirror)?;
    let id_bytes = ids_of(&repository).len_in_bytes();
    let (refs, known) = thread::scope(|scope| {
        let known = scope.spawn(|| Known::read(mirror, id_bytes));
        (refs(mirror), known.join().expect("no reader panics"))
    });
    let refs = refs?;
    let mut ids: Vec<CommitId> = refs.iter().filter_map(|(_, id)| id.parse().ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    let targets = targets(&repository, &ids, known.as_ref().map_or(&[][..], |known| &known.targets), limits)?;
    let outside = outside(&refs, &targets);
    let commits = match known {
        Some(known) if known.targets == targets => return Ok((known.commits, outside)),
        Some(known) => known.and_since(&repository, &tips(&targets), limits),
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

impl Target {
    fn unknown(id: &CommitId) -> Self {
        Self { id: *id, kind: Kind::Unknown, leads_to: *id }
    }
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

/// So many objects are read faster here than Git starts.
const FEW: usize = 500;

/// Where these objects lead to, in their order, those that are not known by the repository.
fn targets(
    repository: &Repository,
    ids: &[CommitId],
    known: &[Target],
    limits: &ChildLimits<'_>,
) -> Result<Vec<Target>, GitError> {
    let known_at = |id: &CommitId| known.binary_search_by(|target| target.id.cmp(id)).ok();
    let asked: Vec<CommitId> = ids.iter().filter(|id| known_at(id).is_none()).copied().collect();
    let told = match asked.len() {
        0..FEW => asked.iter().map(|id| target(repository, id)).collect(),
        _ => targets_by_git(repository.path(), &asked, limits)?,
    };
    let told: HashMap<CommitId, Target> = told.into_iter().map(|target| (target.id, target)).collect();
    let target = |id: &CommitId| match known_at(id) {
        Some(at) => known[at],
        None => told.get(id).copied().unwrap_or_else(|| Target::unknown(id)),
    };
    Ok(ids.iter().map(target).collect())
}

fn target(repository: &Repository, named: &CommitId) -> Target {
    let lead = || -> Result<Target, git2::Error> {
        let objects = repository.odb()?;
        let mut id = oid(repository, named.as_bytes())?;
        let kind = loop {
            match objects.read_header(id)?.1 {
                ObjectType::Tag => id = repository.find_tag(id)?.target_id(),
                ObjectType::Commit => break Kind::Commit,
                ObjectType::Tree => break Kind::Tree,
                ObjectType::Blob => break Kind::Blob,
                ObjectType::Any => break Kind::Unknown,
            }
        };
        let leads_to = CommitId::from_bytes(id.as_bytes()).unwrap_or(*named);
        Ok(Target { id: *named, kind, leads_to })
    };
    lead().unwrap_or_else(|_| Target::unknown(named))
}

fn targets_by_git(
    git_dir: &Path,
    asked: &[CommitId],
    limits: &ChildLimits<'_>,
) -> Result<Vec<Target>, GitError> {
    const COMMAND: &str = "cat-file";
    let mut command = git_in(git_dir);
    command.args([COMMAND, "--buffer", "--batch-check=%(objecttype) %(objectname)"]);
    let write = |input: &mut io::BufWriter<_>| asked.iter().try_for_each(|id| writeln!(input, "{id}^{{}}"));
    let lines = pipe(command, COMMAND, limits, write, |output, _| {
        let lines: io::Result<Vec<String>> = output.lines().collect();
        lines.map_err(|source| GitError::Spawn { command: COMMAND, source })
    })?;
    let target = |(id, line): (&CommitId, String)| {
        let (kind, leads_to) = line.split_once(' ').unwrap_or_default();
        match leads_to.parse() {
            Ok(leads_to) => Target { id: *id, kind: Kind::of(kind), leads_to },
            Err(_) => Target::unknown(id),
        }
    };
    Ok(asked.iter().zip(lines).map(target).collect())
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
        repository: &Repository,
        tips: &Option<Vec<CommitId>>,
        limits: &ChildLimits<'_>,
    ) -> Result<Option<Vec<CommitEntry>>, GitError> {
        let (Some(tips), Some(old)) = (tips, self::tips(&self.targets)) else { return Ok(None) };
        let places = Places::of(&self.commits);
        let known = |id: &CommitId| places.find(&self.commits, id).map(|entry| entry.corrected_date);
        let Some(walked) = walk_to_known(repository, &without(tips, &old), known) else { return Ok(None) };
        // Where a ref was moved on, what it led to is a parent of what came.
        let gone: Vec<CommitId> =
            without(&old, tips).into_iter().filter(|id| !walked.border.contains_key(id)).collect();
        if !gone.is_empty() && is_left(repository.path(), &gone, tips, limits)? {
            return Ok(None);
        }
        drop(places);
        let mut commits = self.commits;
        commits.extend(walked.in_order());
        // Mostly sorted: the new ones are at the end.
        commits.sort();
        Ok(Some(commits))
    }
}

/// What came to a history.
struct Walked {
    /// Commits that are not known.
    new: HashMap<CommitId, New>,
    /// Commits that are known and parents of these, or were asked for, and their dates.
    border: HashMap<CommitId, i64>,
}

/// A commit that came.
struct New {
    /// Committer time in seconds.
    date: i64,
    parents: Vec<CommitId>,
}

impl Walked {
    /// What came, with dates that are later than those of all parents.
    fn in_order(&self) -> Vec<CommitEntry> {
        let mut children: HashMap<&CommitId, Vec<&CommitId>> = HashMap::new();
        let mut parents_left: HashMap<&CommitId, usize> = HashMap::new();
        for (id, new) in &self.new {
            let of_new = new.parents.iter().filter(|parent| self.new.contains_key(parent));
            parents_left.insert(id, of_new.clone().count());
            of_new.for_each(|parent| children.entry(parent).or_default().push(id));
        }
        let mut next: Vec<&CommitId> =
            parents_left.iter().filter(|(_, left)| **left == 0).map(|(id, _)| *id).collect();
        let mut dates = self.border.clone();
        let mut commits = Vec::with_capacity(self.new.len());
        while let Some(id) = next.pop() {
            let New { date, parents } = &self.new[id];
            let later =
                parents.iter().filter_map(|parent| dates.get(parent)).map(|date| date.saturating_add(1));
            let corrected_date = later.fold(*date, i64::max);
            dates.insert(*id, corrected_date);
            commits.push(CommitEntry { corrected_date, id: *id });
            for child in children.get(id).into_iter().flatten() {
                let left = parents_left.get_mut(child).expect("each that came is counted");
                *left -= 1;
                if *left == 0 {
                    next.push(child);
                }
            }
        }
        commits
    }
}

/// With more new commits than this Git is left to list all.
const MAX_NEW: usize = 20_000;

/// Goes from commits to their parents until those that are known, which are known with all that they reach. `None` when
/// there are too many, or one is missing or not as Git writes it.
fn walk_to_known(
    repository: &Repository,
    from: &[CommitId],
    known: impl Fn(&CommitId) -> Option<i64>,
) -> Option<Walked> {
    let mut walked = Walked { new: HashMap::new(), border: HashMap::new() };
    let mut left: Vec<CommitId> = from.to_vec();
    while let Some(id) = left.pop() {
        if let Some(date) = known(&id) {
            walked.border.insert(id, date);
            continue;
        }
        if walked.new.contains_key(&id) {
            continue;
        }
        if walked.new.len() == MAX_NEW {
            return None;
        }
        let commit = repository.find_commit(oid(repository, id.as_bytes()).ok()?).ok()?;
        let parents = commit.parent_ids().map(|id| CommitId::from_bytes(id.as_bytes()).ok());
        let parents = parents.collect::<Option<Vec<_>>>()?;
        left.extend(&parents);
        walked.new.insert(id, New { date: committer_date(commit.raw_header_bytes())?, parents });
    }
    Some(walked)
}

/// The committer time in the header of a commit as Git writes it. Of others Git has the word.
fn committer_date(header: &[u8]) -> Option<i64> {
    let mut lines = header.split(|byte| *byte == b'\n').skip_while(|line| !line.starts_with(b"author "));
    let committer = lines.nth(1)?.strip_prefix(b"committer ")?;
    let date = committer.iter().rposition(|byte| *byte == b'>')? + 1;
    let (seconds, zone) = str::from_utf8(&committer[date..]).ok()?.strip_prefix(' ')?.split_once(' ')?;
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_zone = zone.len() == 5 && zone.starts_with(['+', '-']) && are_digits(&zone[1..]);
    let seconds: u64 = seconds.parse().ok().filter(|_| are_digits(seconds) && is_zone)?;
    Some(limited(seconds))
}

/// Those of the first, which is sorted as the other is, that are not in the other.
fn without(ids: &[CommitId], others: &[CommitId]) -> Vec<CommitId> {
    ids.iter().filter(|id| others.binary_search(id).is_err()).copied().collect()
}

/// Whether commits reach something that the others do not.
fn is_left(
    git_dir: &Path,
    commits: &[CommitId],
    others: &[CommitId],
    limits: &ChildLimits<'_>,
) -> Result<bool, GitError> {
    const COMMAND: &str = "rev-list";
    let mut command = git_in(git_dir);
    command.args([COMMAND, "--max-count=1", "--stdin"]);
    let write = |input: &mut io::BufWriter<_>| {
        commits.iter().try_for_each(|id| writeln!(input, "{id}"))?;
        others.iter().try_for_each(|id| writeln!(input, "^{id}"))
    };
    pipe(command, COMMAND, limits, write, |mut output, _| {
        let read = output.read(&mut [0]);
        Ok(read.map_err(|source| GitError::Spawn { command: COMMAND, source })? > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_git_writes_them_and_no_others() {
        let header = |date: &str| {
            format!("tree 0\nparent 0\nauthor A <a> 1 +0000\ncommitter B > <b> {date}\nencoding x")
        };
        let date = |date: &str| committer_date(header(date).as_bytes());
        assert_eq!(date("17 +0100"), Some(17));
        assert_eq!(date("99999999999999999 -0230"), Some(limited(u64::MAX)));
        for odd in
            ["", "17", "17 0100", "17 +01", "+17 +0100", "-17 +0100", "17 +0100 ", " 17 +0100", "1.7 +0100"]
        {
            assert_eq!(date(odd), None, "{odd}");
        }
        assert_eq!(committer_date(b"tree 0\nauthor A <a> 1 +0000\nx\ncommitter B <b> 2 +0000"), None);
    }
}
