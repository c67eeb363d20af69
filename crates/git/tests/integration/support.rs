//! Repositories made with the real `git`, and the plain way to compute what the crate computes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use secretscan_detect::{HashKey, RuleSet, Scanner};
use secretscan_git::{
    BatchCutter, BatchLimits, ChildLimits, ComparedTrees, GitError, LocatedFinding, Refs, ScanOptions, list,
};
use secretscan_model::ids::{BlobId, CommitId};

pub const FILE: &str = "100644";
pub const LINK: &str = "120000";
pub const SUBMODULE: &str = "160000";

/// The object formats, with the length of an id in bytes.
pub const FORMATS: [(&str, usize); 2] = [("sha1", 20), ("sha256", 32)];

pub static NEVER: AtomicBool = AtomicBool::new(false);

/// Runs git in a directory and gives its output.
pub fn git(dir: &Path, args: &[&str]) -> Vec<u8> {
    git_with_input(dir, args, b"")
}

pub fn git_text(dir: &Path, args: &[&str]) -> String {
    String::from_utf8(git(dir, args)).unwrap().trim().to_owned()
}

pub fn git_with_input(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args([
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.com",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(args)
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub type Tree = BTreeMap<Vec<u8>, (&'static str, Vec<u8>)>;

/// A tree from path, mode and content (of a submodule: the commit id).
pub fn tree(files: &[(&[u8], &'static str, &[u8])]) -> Tree {
    files.iter().map(|(path, mode, content)| (path.to_vec(), (*mode, content.to_vec()))).collect()
}

/// Plain files.
pub fn files(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| (path.as_bytes().to_vec(), (FILE, text.as_bytes().to_vec()))).collect()
}

/// A bare repository written through `git fast-import`: any tree, any parents, any dates.
pub struct Builder {
    stream: Vec<u8>,
    commits: usize,
}

impl Builder {
    pub fn new() -> Self {
        Self { stream: Vec::new(), commits: 0 }
    }

    /// Adds a commit with this whole tree; gives its number.
    pub fn commit(&mut self, time: i64, parents: &[usize], tree: &Tree) -> usize {
        self.commits += 1;
        let mark = self.commits;
        let mut text = format!(
            "commit refs/heads/c{mark}\nmark :{mark}\nauthor A{mark} <a@example.com> {time} +0000\n\
             committer C <c@example.com> {time} +0000\ndata 1\nm\n"
        );
        for (n, parent) in parents.iter().enumerate() {
            text += &format!("{} :{parent}\n", if n == 0 { "from" } else { "merge" });
        }
        text += "deleteall\n";
        self.stream.extend(text.as_bytes());
        for (path, (mode, content)) in tree {
            let quoted: String = path.iter().map(|b| format!("\\{b:03o}")).collect();
            if *mode == SUBMODULE {
                let id = String::from_utf8(content.clone()).unwrap();
                self.stream.extend(format!("M {mode} {id} \"{quoted}\"\n").as_bytes());
            } else {
                self.stream
                    .extend(format!("M {mode} inline \"{quoted}\"\ndata {}\n", content.len()).as_bytes());
                self.stream.extend(content);
                self.stream.push(b'\n');
            }
        }
        mark
    }

    /// Adds an annotated tag on a commit.
    pub fn tag(&mut self, name: &str, commit: usize) {
        let text =
            format!("tag {name}\nfrom :{commit}\ntagger T <t@example.com> 1700000000 +0000\ndata 1\nm\n");
        self.stream.extend(text.as_bytes());
    }

    /// Makes the repository, with SHA-1 ids; commit number n is at `refs/heads/cn`.
    pub fn write(&self, dir: &Path) -> PathBuf {
        self.write_as("sha1", dir)
    }

    /// The same with ids of this object format.
    pub fn write_as(&self, format: &str, dir: &Path) -> PathBuf {
        git(dir, &["init", "-q", "--bare", "-b", "main", &format!("--object-format={format}"), "repo.git"]);
        let repo = dir.join("repo.git");
        git_with_input(&repo, &["fast-import", "--quiet", "--force"], &self.stream);
        repo
    }
}

/// The id of commit number n.
pub fn id(repo: &Path, n: usize) -> CommitId {
    git_text(repo, &["rev-parse", &format!("refs/heads/c{n}")]).parse().unwrap()
}

/// Every commit reachable from refs with its parents, in no particular order.
pub fn all_commits(repo: &Path) -> Vec<(CommitId, i64, Vec<CommitId>)> {
    let text = git_text(repo, &["log", "--all", "--format=%H %ct %P"]);
    let commit = |line: &str| {
        let mut fields = line.split(' ').filter(|field| !field.is_empty());
        let id = fields.next().unwrap().parse().unwrap();
        let date = fields.next().unwrap().parse().unwrap();
        (id, date, fields.map(|parent| parent.parse().unwrap()).collect())
    };
    text.lines().map(commit).collect()
}

type Blobs = BTreeSet<(Vec<u8>, BlobId)>;

fn blobs_of(repo: &Path, commit: &CommitId) -> Blobs {
    let listing = git(repo, &["ls-tree", "-r", "-z", &commit.to_string()]);
    let mut blobs = Blobs::new();
    for entry in listing.split(|b| *b == 0).filter(|entry| !entry.is_empty()) {
        let tab = entry.iter().position(|b| *b == b'\t').unwrap();
        let fields: Vec<&str> = std::str::from_utf8(&entry[..tab]).unwrap().split(' ').collect();
        if fields[1] == "blob" {
            blobs.insert((entry[tab + 1..].to_vec(), fields[2].parse().unwrap()));
        }
    }
    blobs
}

/// Introductions by their definition: each commit's listing without those of its parents.
pub fn naive_introductions(repo: &Path) -> BTreeSet<(CommitId, Vec<u8>, BlobId)> {
    let commits = all_commits(repo);
    let blobs: BTreeMap<CommitId, Blobs> = commits.iter().map(|(id, ..)| (*id, blobs_of(repo, id))).collect();
    let mut found = BTreeSet::new();
    for (id, _, parents) in &commits {
        for (path, blob) in &blobs[id] {
            let entry = (path.clone(), *blob);
            if !parents.iter().any(|parent| blobs[parent].contains(&entry)) {
                found.insert((*id, path.clone(), *blob));
            }
        }
    }
    found
}

/// A rule of our own: what the built-in ones match is not the matter here.
pub fn scanner() -> Scanner {
    let rules = r#"
        [[rules]]
        id = "test-token"
        description = "A token for tests"
        severity = "high"
        regex = '''\btok_[a-z0-9]{16}\b'''
        keywords = ["tok_"]
    "#;
    Scanner::new(Arc::new(RuleSet::parse(rules, "test.toml", None).unwrap()))
}

pub fn key() -> HashKey {
    HashKey::from_bytes(b"key")
}

/// A text with one token.
pub fn token(n: usize) -> String {
    format!("tok{}{n:016x}", "_")
}

/// What a test's children may take.
pub const CHILDREN: ChildLimits<'static> =
    ChildLimits { stop: &NEVER, max_memory_bytes: 1 << 28, max_file_bytes: 1 << 28 };

/// Cuts all that the refs reach.
pub fn cutter<'a>(
    repo: &Path,
    limits: BatchLimits,
    scratch: &Path,
    children: &ChildLimits<'a>,
) -> Result<BatchCutter<'a>, GitError> {
    let commits = list(repo, &Refs::All, children)?;
    let trees = ComparedTrees::gather(repo, commits.len(), children)?;
    BatchCutter::new(repo, trees, commits, limits, scratch, children)
}

pub fn options(scratch: &Path) -> ScanOptions<'_> {
    ScanOptions { threads: 2, max_blob_bytes: 1 << 20, max_memory_bytes: 1 << 26, stop: &NEVER, scratch }
}

/// Findings in a form to compare and to read.
pub fn told(findings: &[LocatedFinding]) -> Vec<String> {
    let one = |located: &LocatedFinding| {
        let finding = &located.finding;
        let secret = String::from_utf8_lossy(located.secret.expose()).into_owned();
        let at = finding.occurrences.iter().map(|o| format!(" {}@{}:{}", o.commit, o.line, o.column));
        format!("{} {secret}{}", finding.display_path(), at.collect::<String>())
    };
    findings.iter().map(one).collect()
}
