use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use secretscan_git::{CommitEntry, GitError, Refs, introductions, list, list_mirror};
use secretscan_model::ids::CommitId;
use tempfile::tempdir;

use crate::support::*;

/// Branches, an evil merge, an octopus, an orphan, a rename, a copy, a revert, an empty commit, a mode change, a
/// submodule, a symbolic link, odd paths, a file that becomes a directory, and clocks that run backwards.
fn odd_history() -> Builder {
    odd_history_of(20)
}

/// The same for a repository whose ids have so many bytes.
fn odd_history_of(id_len: usize) -> Builder {
    let submodule = "12".repeat(id_len);
    let mut repo = Builder::new();
    let base = files(&[("a", "1"), ("dir/b", "2"), ("dir.c", "3"), ("keep", "k")]);
    let c1 = repo.commit(1_000, &[], &base);
    let c2 = repo.commit(500, &[c1], &files(&[("a", "1"), ("dir/b", "2x"), ("dir.c", "3"), ("keep", "k")]));
    let c3 =
        repo.commit(2_000, &[c1], &files(&[("a", "1y"), ("moved/b", "2"), ("copy", "3"), ("keep", "k")]));
    // Takes one side of each, and adds what no parent has.
    let evil =
        repo.commit(400, &[c2, c3], &files(&[("a", "1y"), ("dir/b", "2x"), ("evil", "e"), ("keep", "k!")]));
    let orphan = repo.commit(1, &[], &files(&[("a", "1"), ("other", "o")]));
    let octopus =
        repo.commit(3_000, &[evil, orphan, c2], &files(&[("a", "new"), ("keep", "k!"), ("other", "o")]));
    let empty = repo.commit(3_000, &[octopus], &files(&[("a", "new"), ("keep", "k!"), ("other", "o")]));
    let odd = tree(&[
        (b"a", "100755", b"new"),
        (b"keep", LINK, b"a"),
        (b"new\nline\t\"quoted\"", FILE, b"n"),
        (b":100644 looks like a change", FILE, b"l"),
        (b"\xff\xfe", FILE, b"not utf-8"),
        (b"sub", SUBMODULE, submodule.as_bytes()),
    ]);
    let odd = repo.commit(2_500, &[empty], &odd);
    // A link becomes a file with the same bytes, a submodule a file, a file a directory.
    let changed = tree(&[(b"a/inside", FILE, b"new"), (b"keep", FILE, b"a"), (b"sub", FILE, b"s")]);
    let changed = repo.commit(2_500, &[odd], &changed);
    let reverted = repo.commit(4_000, &[changed], &base);
    repo.commit(4_000, &[reverted], &Tree::new());
    repo.tag("v1", c3);
    repo
}

fn ids(commits: &[CommitEntry]) -> Vec<CommitId> {
    commits.iter().map(|c| c.id).collect()
}

fn check_introductions(repo: &Path) {
    let commits = ids(&list(repo, &Refs::All, &CHILDREN).unwrap());
    let naive = naive_introductions(repo);
    for threads in [1, 3] {
        let found = introductions(repo, &commits, threads).unwrap();
        assert!(found.is_sorted());
        let set: BTreeSet<_> =
            found.iter().map(|i| (commits[i.commit as usize], i.path.to_vec(), i.blob)).collect();
        assert_eq!(set.len(), found.len(), "none twice");
        assert_eq!(set, naive);
    }
}

#[test]
fn introductions_are_what_the_definition_says() {
    for (format, id_len) in FORMATS {
        let dir = tempdir().unwrap();
        check_introductions(&odd_history_of(id_len).write_as(format, dir.path()));
    }
}

#[test]
fn commits_are_ordered_by_corrected_date() {
    let dir = tempdir().unwrap();
    let repo = odd_history().write(dir.path());
    let listed = list(&repo, &Refs::All, &CHILDREN).unwrap();
    let all = all_commits(&repo);
    assert_eq!(listed.len(), all.len());
    assert!(listed.is_sorted_by_key(|c| (c.corrected_date, c.id)));
    let dates: BTreeMap<CommitId, i64> = listed.iter().map(|c| (c.id, c.corrected_date)).collect();
    for (id, date, parents) in &all {
        let after_parents = parents.iter().map(|parent| dates[parent] + 1).max();
        assert_eq!(dates[id], after_parents.unwrap_or(i64::MIN).max(*date));
    }
    // Committed at 400, after a parent at 2,000.
    assert_eq!(dates[&id(&repo, 4)], 2_001);
}

#[test]
fn named_refs_limit_the_history() {
    for (format, id_len) in FORMATS {
        let dir = tempdir().unwrap();
        named_refs_limit(&odd_history_of(id_len).write_as(format, dir.path()));
    }
}

fn named_refs_limit(repo: &Path) {
    let named = |names: &[&str]| {
        list(repo, &Refs::Named(names.iter().map(|name| (*name).to_owned()).collect()), &CHILDREN)
    };
    assert_eq!(ids(&named(&["c2"]).unwrap()), ids(&named(&["refs/heads/c2"]).unwrap()));
    assert_eq!(named(&["c2"]).unwrap().len(), 2);
    assert_eq!(named(&["v1"]).unwrap().len(), 2, "an annotated tag leads to its commit");
    assert_eq!(named(&["v1", "c2"]).unwrap().len(), 3);
    assert_eq!(named(&[&id(repo, 5).to_string()]).unwrap().len(), 1, "a commit id");
    assert!(named(&[]).unwrap().is_empty());
    for bad in ["nothing", "--all", "c2..c3", "", &"12".repeat(20), &"12".repeat(32), "c2^"] {
        assert!(matches!(named(&[bad]), Err(GitError::UnknownRef { .. })), "{bad:?}");
    }
}

#[test]
fn an_empty_repository_has_no_commits() {
    let dir = tempdir().unwrap();
    git(dir.path(), &["init", "-q", "--bare", "empty.git"]);
    let repo = dir.path().join("empty.git");
    assert_eq!(list(&repo, &Refs::All, &CHILDREN).unwrap(), []);
    assert_eq!(introductions(&repo, &[], 2).unwrap(), []);
    assert_eq!(secretscan_git::refs(&repo).unwrap(), []);
}

#[test]
fn what_is_no_usable_repository_is_named() {
    let dir = tempdir().unwrap();
    assert!(matches!(list(dir.path(), &Refs::All, &CHILDREN), Err(GitError::NotARepository { .. })));
    git(dir.path(), &["init", "-q", "--bare", "new.git"]);
    let repo = dir.path().join("new.git");
    git(&repo, &["config", "core.repositoryFormatVersion", "1"]);
    git(&repo, &["config", "extensions.objectFormat", "md5"]);
    let error = list(&repo, &Refs::All, &CHILDREN).unwrap_err();
    assert!(matches!(error, GitError::Libgit2 { .. }), "{error}");
}

#[test]
fn a_missing_commit_is_an_error() {
    for (format, id_len) in FORMATS {
        let dir = tempdir().unwrap();
        let repo = odd_history_of(id_len).write_as(format, dir.path());
        let gone = CommitId::from_bytes(&vec![9; id_len]).unwrap();
        for commits in [vec![gone], vec![id(&repo, 1), gone, id(&repo, 2)]] {
            let error = introductions(&repo, &commits, 1).unwrap_err();
            let is_named = matches!(&error, GitError::MissingObject { detail } if detail.contains("0909"));
            assert!(is_named, "{error}");
        }
    }
}

#[test]
fn the_repositorys_own_configuration_does_not_matter() {
    let dir = tempdir().unwrap();
    let repo = odd_history().write(dir.path());
    let settings = [
        ("diff.renames", "copies"),
        ("diff.orderFile", "/nonexistent"),
        ("diff.noprefix", "true"),
        ("core.quotePath", "true"),
        ("core.abbrev", "7"),
        ("core.fsmonitor", "/nonexistent"),
        ("log.showRoot", "false"),
        ("log.showSignature", "true"),
        ("pack.packSizeLimit", "1m"),
        ("pack.indexVersion", "1"),
        ("grep.lineNumber", "true"),
    ];
    for (name, value) in settings {
        git(&repo, &["config", name, value]);
    }
    check_introductions(&repo);
    // Neither do replaced objects and grafts, which would give a commit other parents.
    let before = list(&repo, &Refs::Named(vec!["c4".to_owned()]), &CHILDREN).unwrap();
    let (old, new) = (id(&repo, 4).to_string(), id(&repo, 5).to_string());
    git(&repo, &["replace", &old, &new]);
    std::fs::create_dir_all(repo.join("info")).unwrap();
    std::fs::write(repo.join("info/grafts"), format!("{old}\n")).unwrap();
    assert_eq!(list(&repo, &Refs::Named(vec!["c4".to_owned()]), &CHILDREN).unwrap(), before);
}

#[test]
fn dates_that_no_clock_shows_are_bounded() {
    let dir = tempdir().unwrap();
    let mut repo = Builder::new();
    repo.commit(1, &[], &files(&[("a", "1")]));
    let repo = repo.write(dir.path());
    let tree = git_text(&repo, &["rev-parse", "c1^{tree}"]);
    let mut parent = git_text(&repo, &["rev-parse", "c1"]);
    for date in ["99999999999999999999999", "-5", "x", "1"] {
        let text = format!(
            "tree {tree}\nparent {parent}\nauthor A <a> {date} +0000\ncommitter C <c> {date} +0000\n\nm"
        );
        let id = git_with_input(
            &repo,
            &["hash-object", "-t", "commit", "-w", "--literally", "--stdin"],
            text.as_bytes(),
        );
        parent = String::from_utf8(id).unwrap().trim().to_owned();
    }
    git(&repo, &["update-ref", "refs/heads/odd", &parent]);
    let dates: Vec<i64> =
        list(&repo, &Refs::All, &CHILDREN).unwrap().iter().map(|c| c.corrected_date).collect();
    assert_eq!(dates.len(), 5);
    assert!(dates.is_sorted_by(|a, b| a < b), "{dates:?}");
}

/// What a mirror is asked for again is what Git lists, whatever came and went between.
#[test]
fn a_mirror_that_is_listed_again_is_listed_in_full() {
    for (format, id_len) in FORMATS {
        let dir = tempdir().unwrap();
        let repo = odd_history_of(id_len).write_as(format, dir.path());
        let lists_all = |what: &str| {
            let (commits, outside) = list_mirror(&repo, &CHILDREN).unwrap();
            assert_eq!(commits, list(&repo, &Refs::All, &CHILDREN).unwrap(), "{format}: {what}");
            outside
        };
        let tree = git_text(&repo, &["rev-parse", "refs/heads/c8^{tree}"]);
        let old = git_text(&repo, &["rev-parse", "refs/heads/c2"]);
        let commit = |parents: &[&str], message: &str| {
            let mut args = vec!["commit-tree", &tree, "-m", message];
            args.extend(parents.iter().flat_map(|parent| ["-p", parent]));
            git_text(&repo, &args)
        };
        let set = |name: &str, id: &str| drop(git(&repo, &["update-ref", name, id]));

        assert!(lists_all("first").is_empty());
        lists_all("nothing new");
        let head = git_text(&repo, &["rev-parse", "refs/heads/c8"]);
        let one = commit(&[&head], "one");
        set("refs/heads/new", &one);
        lists_all("a branch with a commit");
        let merge = commit(&[&one, &old], "two");
        set("refs/heads/new", &merge);
        lists_all("a push to it");
        set("refs/heads/alone", &commit(&[], "a root"));
        git(&repo, &["tag", "-m", "annotated", "v2", &merge]);
        git(&repo, &["update-ref", "refs/heads/of-a-tree", &old]);
        lists_all("a root, a tag, and a ref to an old commit");
        git(&repo, &["update-ref", "-d", "refs/heads/new"]);
        lists_all("the tag still leads to what the branch led to");
        git(&repo, &["tag", "-d", "v2"]);
        lists_all("nothing does any more");
        git(&repo, &["tag", "-m", "of a tree", "tree", &tree]);
        assert_eq!(lists_all("a tag of a tree").len(), 1);
        git(&repo, &["tag", "-m", "of a tag", "nested", "tree"]);
        lists_all("a tag of a tag");

        let file = repo.join("secretscan-history");
        let whole = std::fs::read(&file).unwrap();
        set("refs/heads/new", &one);
        for damaged in [&whole[..whole.len() - 1], &whole[..30], b"", b"something else"] {
            std::fs::write(&file, damaged).unwrap();
            lists_all("what is kept is damaged");
        }
    }
}
