//! What a scan of a repository's whole history must find, worked out slowly and simply.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context, ensure};
use secretscan_detect::RuleSet;
use secretscan_model::{BlobId, CommitId};

use crate::git::run_git;
use crate::naive_scan::{NaiveMatch, NaiveScanner, Place};

/// Stands for the path of what a commit's message says.
pub const COMMIT_MESSAGE: &[u8] = b".git/COMMIT_MESSAGE";
/// Stands for the path of a commit's author and committer.
pub const COMMIT_AUTHOR: &[u8] = b".git/COMMIT_AUTHOR";

/// One secret in one path, as the oracle knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OracleFinding {
    /// The rule that finds it.
    pub rule_id: String,
    /// The path.
    pub path: Vec<u8>,
    /// The secret.
    pub secret: Vec<u8>,
    /// The commit that brought the secret to the path: of several, the one with the smallest corrected commit date, and
    /// of equal ones the smallest id.
    pub introduced: CommitId,
}

struct Commit {
    id: CommitId,
    /// The committer time, corrected to be greater than that of every parent.
    corrected_date: i64,
    parents: Vec<CommitId>,
}

type Tree = BTreeMap<Vec<u8>, BlobId>;

/// Everything that the rules find in commits reachable from any reference. Lists the tree of every commit and runs
/// every regex over every blob: for repositories of some hundred commits.
///
/// # Errors
/// When git fails or a rule's regex does not compile.
pub fn oracle(repository: &Path, rules: &RuleSet) -> anyhow::Result<BTreeSet<OracleFinding>> {
    let scanner = NaiveScanner::new(rules)?;
    let commits = list_commits(repository)?;
    let mut trees: HashMap<CommitId, Tree> = HashMap::new();
    for commit in &commits {
        trees.insert(commit.id, list_tree(repository, commit.id)?);
    }
    let blobs: BTreeSet<BlobId> = trees.values().flat_map(|tree| tree.values().copied()).collect();
    let matches = scan_blobs(repository, &blobs, &scanner)?;

    let mut earliest = BTreeMap::new();
    for commit in &commits {
        let id = commit.id.to_string();
        for (path, blob) in &trees[&commit.id] {
            if commit.parents.iter().any(|parent| trees[parent].get(path) == Some(blob)) {
                continue;
            }
            let place = Place { path, commit: &id };
            let of_path = scanner.scan_path(path);
            let found = matches[blob].iter().chain(&of_path);
            for found in found.filter(|found| scanner.is_reported(found, place)) {
                let key = (scanner.rule_id(found).to_owned(), path.clone(), found.value());
                let candidate = (commit.corrected_date, commit.id);
                let known = earliest.entry(key).or_insert(candidate);
                *known = candidate.min(*known);
            }
        }
    }
    let date_of: HashMap<CommitId, i64> =
        commits.iter().map(|commit| (commit.id, commit.corrected_date)).collect();
    for (path, format) in [(COMMIT_MESSAGE, "%H%n%B"), (COMMIT_AUTHOR, "%H%n%an <%ae>%n%cn <%ce>")] {
        let output = run_git(repository, &["log", "--all", "-z", &format!("--format={format}")], b"")?;
        for text in output.split(|byte| *byte == 0).filter(|text| !text.is_empty()) {
            let (id, text) = text.split_at_checked(40).context("a commit id")?;
            let id = std::str::from_utf8(id)?;
            let matches = scanner.scan(text);
            let place = Place { path, commit: id };
            for found in matches.iter().filter(|found| scanner.is_reported(found, place)) {
                let key = (scanner.rule_id(found).to_owned(), path.to_vec(), found.value());
                let id: CommitId = id.parse()?;
                let candidate = (date_of[&id], id);
                let known = earliest.entry(key).or_insert(candidate);
                *known = candidate.min(*known);
            }
        }
    }
    let finding =
        |((rule_id, path, secret), (_, introduced))| OracleFinding { rule_id, path, secret, introduced };
    Ok(earliest.into_iter().map(finding).collect())
}

/// All commits, parents first.
fn list_commits(repository: &Path) -> anyhow::Result<Vec<Commit>> {
    let arguments =
        ["rev-list", "--all", "--topo-order", "--reverse", "--no-commit-header", "--format=%ct %H %P"];
    let output = String::from_utf8(run_git(repository, &arguments, b"")?)?;
    let mut dates: HashMap<CommitId, i64> = HashMap::new();
    let mut commits = Vec::new();
    for line in output.lines() {
        let mut words = line.split_whitespace();
        let time: i64 = words.next().context("a committer time")?.parse()?;
        let id: CommitId = words.next().context("a commit id")?.parse()?;
        let parents = words.map(str::parse).collect::<Result<Vec<CommitId>, _>>()?;
        let after_parents = parents.iter().map(|parent| dates[parent] + 1).max();
        let corrected_date = after_parents.map_or(time, |date| date.max(time));
        dates.insert(id, corrected_date);
        commits.push(Commit { id, corrected_date, parents });
    }
    Ok(commits)
}

/// The blobs of a commit: files and symbolic links.
fn list_tree(repository: &Path, commit: CommitId) -> anyhow::Result<Tree> {
    let output = run_git(repository, &["ls-tree", "-r", "-z", &commit.to_string()], b"")?;
    let mut tree = Tree::new();
    for entry in output.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let tab = entry.iter().position(|byte| *byte == b'\t').context("a tab before the path")?;
        let mut words = std::str::from_utf8(&entry[..tab])?.split(' ').skip(1);
        let (kind, id) = (words.next().context("a type")?, words.next().context("an id")?);
        if kind == "blob" {
            tree.insert(entry[tab + 1..].to_vec(), id.parse()?);
        }
    }
    Ok(tree)
}

fn scan_blobs(
    repository: &Path,
    blobs: &BTreeSet<BlobId>,
    scanner: &NaiveScanner<'_>,
) -> anyhow::Result<HashMap<BlobId, Vec<NaiveMatch>>> {
    let wanted: String = blobs.iter().map(|blob| format!("{blob}\n")).collect();
    let output = run_git(repository, &["cat-file", "--batch"], wanted.as_bytes())?;
    let mut rest = output.as_slice();
    let mut matches = HashMap::new();
    // For each `<id> blob <size>`, the content, and an empty line's end.
    for blob in blobs {
        let newline = rest.iter().position(|byte| *byte == b'\n').context("a line about the blob")?;
        let head = std::str::from_utf8(&rest[..newline])?;
        let size = head.strip_prefix(&format!("{blob} blob ")).with_context(|| format!("reading {head}"))?;
        let end = newline + 1 + size.parse::<usize>()?;
        ensure!(rest.get(end) == Some(&b'\n'), "the content of {blob} is cut");
        matches.insert(*blob, scanner.scan(&rest[newline + 1..end]));
        rest = &rest[end + 1..];
    }
    Ok(matches)
}
