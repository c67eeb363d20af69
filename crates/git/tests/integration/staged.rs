//! What is staged, compared with what `git diff-index` says, over indexes of every kind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use secretscan_git::Staged;
use tempfile::tempdir;

use crate::support::{git, key, options, scanner, token};

/// Paths whose content is new in the index.
fn by_git(work: &Path) -> BTreeSet<Vec<u8>> {
    let arguments =
        ["diff-index", "--cached", "--raw", "-z", "--no-renames", "--ita-invisible-in-index", "HEAD"];
    let output = git(work, &arguments);
    let mut tokens = output.split(|byte| *byte == 0);
    let mut paths = BTreeSet::new();
    while let (Some(change), Some(path)) = (tokens.next(), tokens.next()) {
        let change = String::from_utf8_lossy(change).into_owned();
        let [_, mode, old, new, _] = change.split(' ').collect::<Vec<_>>()[..] else { panic!("{change}") };
        if mode.starts_with("10") && old != new {
            paths.insert(path.to_vec());
        }
    }
    paths
}

fn by_us(work: &Path) -> BTreeSet<Vec<u8>> {
    let scratch = tempdir().unwrap();
    let options = options(scratch.path());
    let report = Staged::read(work, None, &options).unwrap().scan(&scanner(), &key(), &options).unwrap();
    assert_eq!(report.not_scanned, []);
    report.findings.into_iter().map(|located| located.finding.path).collect()
}

fn random(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}

/// Directories that sort before and after files whose names begin as theirs.
const DIRS: [&str; 6] = ["", "a/", "a/b/", "a.b/", "a0/", "z/y/x/w/"];

/// Each content has a token of its own.
fn change(work: &Path, state: &mut u64, step: usize) {
    let path = format!("{}f{}", DIRS[random(state, DIRS.len())], random(state, 4));
    let full = work.join(&path);
    match random(state, 10) {
        0 | 1 => {
            git(work, &["rm", "-q", "-r", "-f", "--sparse", "--ignore-unmatch", &path]);
        }
        // A directory where a file was, and the other way round.
        2 => {
            git(work, &["rm", "-q", "-r", "-f", "--sparse", "--ignore-unmatch", "a.b", "a.b/f1"]);
            fs::write(work.join("a.b"), token(step)).unwrap();
            git(work, &["add", "--sparse", "a.b"]);
            git(work, &["rm", "-q", "-f", "--sparse", "a.b"]);
        }
        3 => {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(work.join("intended"), token(step)).unwrap();
            git(work, &["add", "-N", "--sparse", "intended"]);
        }
        4 => {
            git(work, &["write-tree"]);
        }
        5 => {
            git(work, &["commit", "-q", "--allow-empty", "-m", "m"]);
        }
        _ => {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(&full, token(step)).unwrap();
            git(work, &["add", "--sparse", &path]);
        }
    }
}

fn agrees(format: &str, seed: u64, prepare: &[&[&str]]) {
    let dir = tempdir().unwrap();
    let work = dir.path();
    git(work, &["init", "-q", "-b", "main", &format!("--object-format={format}")]);
    let mut state = seed;
    for (n, dir) in DIRS.iter().enumerate() {
        fs::create_dir_all(work.join(dir)).unwrap();
        fs::write(work.join(dir).join("kept"), token(1_000 + n)).unwrap();
    }
    git(work, &["add", "--all"]);
    git(work, &["commit", "-q", "-m", "m"]);
    for arguments in prepare {
        git(work, arguments);
    }
    for step in 0..25 {
        change(work, &mut state, step);
        assert_eq!(by_us(work), by_git(work), "seed {seed}, step {step}");
    }
}

#[test]
fn what_is_staged_is_what_git_says() {
    agrees("sha1", 1, &[]);
    agrees("sha256", 1, &[]);
    agrees("sha1", 2, &[&["update-index", "--index-version", "4"]]);
    agrees("sha1", 3, &[&["update-index", "--split-index"]]);
    agrees("sha256", 4, &[&["sparse-checkout", "set", "--cone", "--sparse-index", "a"]]);
}
