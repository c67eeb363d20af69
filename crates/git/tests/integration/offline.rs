use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use secretscan_git::{
    GitError, Push, PushedRef, ScanOptions, ScanReport, Selection, Staged, scan_content, scan_directory,
    scan_history,
};
use tempfile::tempdir;

use crate::support::*;

fn history(repo: &Path, selection: &Selection) -> Result<ScanReport, GitError> {
    let scratch = tempdir().unwrap();
    scan_history(repo, selection, &scanner(), &key(), &options(scratch.path()))
}

fn range(repo: &Path, range: &str) -> Result<ScanReport, GitError> {
    history(repo, &Selection::Range(range.to_owned()))
}

fn secrets(report: &ScanReport) -> Vec<String> {
    let mut all: Vec<String> =
        report.findings.iter().map(|f| String::from_utf8(f.secret.expose().to_vec()).unwrap()).collect();
    all.sort();
    all
}

/// Four commits in a row, each replaces the token in one file.
fn row(dir: &Path) -> PathBuf {
    let mut repo = Builder::new();
    let mut last = None;
    for n in 1..=4 {
        last = Some(repo.commit(n as i64, last.as_slice(), &files(&[("f", &token(n))])));
    }
    repo.write(dir)
}

#[test]
fn selections_limit_what_is_scanned() {
    let dir = tempdir().unwrap();
    let repo = row(dir.path());
    let of = |range_text: &str| secrets(&range(&repo, range_text).unwrap());
    assert_eq!(of("c2..c4"), [token(3), token(4)]);
    assert_eq!(of("c3^!"), [token(3)]);
    assert_eq!(of("c2"), [token(1), token(2)]);
    assert_eq!(of("c4...c3"), [token(4)]);
    assert_eq!(of("c4..c2"), Vec::<String>::new());
    let first = id(&repo, 1);
    assert_eq!(of(&format!("{first}..c2")), [token(2)]);
    for bad in ["", "--all", "nothing..c2", "-n1", "c1 c2", "c1:f"] {
        let result = range(&repo, bad);
        assert!(matches!(result, Err(GitError::BadRange { .. })), "{bad:?}: {result:?}");
    }
    let refs = Selection::Refs(vec!["c2".to_owned()]);
    assert_eq!(secrets(&history(&repo, &refs).unwrap()), [token(1), token(2)]);
    assert_eq!(secrets(&history(&repo, &Selection::All).unwrap()).len(), 4);
}

#[test]
fn a_push_brings_what_the_other_side_lacks() {
    let dir = tempdir().unwrap();
    let repo = row(dir.path());
    let unknown = secretscan_model::ids::CommitId::from_bytes(&[7; 20]).unwrap();
    let scratch = tempdir().unwrap();
    let pushed = |tips: &[usize], known: Vec<_>, remote: Option<&str>| {
        let refs = tips.iter().map(|n| PushedRef { name: format!("refs/heads/x{n}"), id: id(&repo, *n) });
        let push = Push::outgoing(&repo, refs.collect(), &known, remote.as_slice()).unwrap();
        secrets(&push.scan(&scanner(), &key(), &options(scratch.path())).unwrap())
    };
    assert_eq!(pushed(&[4], vec![id(&repo, 3)], None), [token(4)]);
    assert_eq!(pushed(&[2], vec![unknown], None), [token(1), token(2)]);
    git(&repo, &["update-ref", "refs/remotes/origin/main", "refs/heads/c1"]);
    git(&repo, &["config", "remote.origin.url", "somewhere"]);
    assert_eq!(pushed(&[3], vec![], Some("somewhere")), [token(2), token(3)]);
    assert_eq!(pushed(&[3], vec![], Some("origin")), [token(2), token(3)]);
    assert_eq!(pushed(&[3], vec![], Some("other")).len(), 3);
    assert!(pushed(&[], vec![], Some("origin")).is_empty());
}

#[test]
fn any_path_inside_a_working_tree_will_do() {
    let dir = tempdir().unwrap();
    let source = row(dir.path());
    git(dir.path(), &["clone", "-q", "--branch", "c4", source.to_str().unwrap(), "work"]);
    let work = dir.path().join("work");
    fs::create_dir_all(work.join("deep/er")).unwrap();
    git(&work, &["worktree", "add", "-q", "../linked", "-b", "x"]);
    for path in [work.clone(), work.join("deep/er"), dir.path().join("linked")] {
        assert_eq!(secrets(&history(&path, &Selection::All).unwrap()).len(), 4, "{}", path.display());
    }
    assert!(matches!(history(dir.path(), &Selection::All), Err(GitError::NotARepository { .. })));
}

#[test]
fn what_shallow_and_partial_clones_lack_is_named() {
    let dir = tempdir().unwrap();
    let source = row(dir.path());
    git(&source, &["config", "uploadpack.allowFilter", "true"]);
    let uri = format!("file://{}", source.display());
    git(dir.path(), &["clone", "-q", "--bare", "--depth=2", "--branch=c4", &uri, "shallow.git"]);
    let report = history(&dir.path().join("shallow.git"), &Selection::All).unwrap();
    assert_eq!(secrets(&report), [token(3), token(4)]);
    assert_eq!(report.not_scanned.len(), 1);
    assert!(report.not_scanned[0].what.ends_with("shallow"), "{:?}", report.not_scanned);

    git(dir.path(), &["clone", "-q", "--bare", "--filter=blob:none", &uri, "partial.git"]);
    let report = history(&dir.path().join("partial.git"), &Selection::All).unwrap();
    assert_eq!((report.findings.len(), report.not_scanned.len()), (0, 4));
    assert!(report.not_scanned[0].what.starts_with("f (blob "));

    git(dir.path(), &["clone", "-q", "--bare", "--filter=tree:0", &uri, "treeless.git"]);
    let result = history(&dir.path().join("treeless.git"), &Selection::All);
    assert!(matches!(result, Err(GitError::MissingObject { .. })), "{result:?}");
}

fn staged(repo: &Path, index: Option<&Path>) -> ScanReport {
    let scratch = tempdir().unwrap();
    let options = options(scratch.path());
    Staged::read(repo, index, &options).unwrap().scan(&scanner(), &key(), &options).unwrap()
}

#[test]
fn staged_content_is_scanned_and_nothing_else() {
    let dir = tempdir().unwrap();
    let work = dir.path();
    git(work, &["init", "-q", "-b", "main"]);
    assert_eq!(staged(work, None).blobs, 0, "nothing staged, no commit yet");
    let write = |name: &str, n: usize| fs::write(work.join(name), token(n)).unwrap();
    write("first", 1);
    git(work, &["add", "first"]);
    // What the working tree has since then does not count.
    write("first", 2);
    write("untracked", 3);
    assert_eq!(secrets(&staged(work, None)), [token(1)], "before the first commit");
    git(work, &["commit", "-q", "-m", "m"]);
    assert_eq!(staged(work, None).blobs, 0);

    write("intended", 4);
    git(work, &["add", "-N", "intended"]);
    symlink(token(5), work.join("link")).unwrap();
    // Only the mode changes.
    let first = git_text(work, &["rev-parse", "HEAD:first"]);
    git(work, &["update-index", "--cacheinfo", &format!("100755,{first},first")]);
    git(work, &["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", "12".repeat(20))]);
    git(work, &["add", "link"]);
    write("sub dir\n", 6);
    git(work, &["add", "sub dir\n"]);
    let report = staged(work, None);
    assert_eq!(secrets(&report), [token(5), token(6)]);
    assert_eq!(report.blobs, 2);
    let finding = report.findings.iter().find(|f| f.finding.path == b"sub dir\n").unwrap();
    assert_eq!(finding.finding.introduced().commit.as_bytes(), [0; 20]);

    // Another index, as `git commit PATH` gives it to a hook.
    let other = dir.path().join("other-index");
    fs::copy(work.join(".git/index"), &other).unwrap();
    git(work, &["reset", "-q"]);
    assert!(secrets(&staged(work, None)).is_empty());
    assert_eq!(secrets(&staged(work, Some(&other))), [token(5), token(6)]);

    // A split index and a detached HEAD.
    git(work, &["checkout", "-q", "--detach"]);
    git(work, &["update-index", "--split-index"]);
    git(work, &["add", "untracked"]);
    assert_eq!(secrets(&staged(work, None)), [token(3)]);
}

#[test]
fn a_directory_is_scanned_without_git_and_links() {
    let dir = tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("sub/.git")).unwrap();
    fs::write(dir.path().join("outside"), token(1)).unwrap();
    fs::write(top.join("a"), token(2)).unwrap();
    fs::write(top.join("sub/b"), format!("\n x={}", token(3))).unwrap();
    fs::write(top.join("sub/.git/config"), token(4)).unwrap();
    fs::write(top.join("large"), vec![b' '; 3000]).unwrap();
    symlink(dir.path().join("outside"), top.join("link")).unwrap();
    symlink(dir.path(), top.join("loop")).unwrap();
    let scan = |path: &Path| {
        let options = ScanOptions { max_blob_bytes: 2000, ..options(dir.path()) };
        scan_directory(path, &scanner(), &key(), &options)
    };
    let report = scan(&top).unwrap();
    assert_eq!(secrets(&report), [token(2), token(3)]);
    let b = &report.findings[1].finding;
    assert_eq!((b.path.as_slice(), b.introduced().line, b.introduced().column), (&b"sub/b"[..], 2, 4));
    assert_eq!(report.not_scanned.len(), 1);
    assert_eq!(report.not_scanned[0].what, "large");
    assert_eq!(secrets(&scan(&top.join("a")).unwrap()), [token(2)], "a single file");
    assert!(matches!(scan(&top.join("missing")), Err(GitError::Io { .. })));
}

#[test]
fn bytes_at_hand_are_scanned_under_their_name() {
    let dir = tempdir().unwrap();
    let report = scan_content(b"stdin", token(1).as_bytes(), &scanner(), &key(), &options(dir.path()));
    assert_eq!(secrets(&report), [token(1)]);
    assert_eq!(report.findings[0].finding.path, b"stdin");
    assert_eq!((report.commits, report.blobs, report.bytes), (0, 1, 20));
}

#[test]
fn the_variables_that_git_gives_its_hooks_do_not_leak_in() {
    let tests =
        ["offline::staged_content_is_scanned_and_nothing_else", "offline::selections_limit_what_is_scanned"];
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(tests)
        .arg("--exact")
        .env("GIT_DIR", "/nonexistent")
        .env("GIT_INDEX_FILE", "/nonexistent/index")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("2 passed"), "{text}");
}
