use std::collections::BTreeSet;

use secretscan_git::{Tips, refs};
use secretscan_testkit::{Change, Repository, RepositoryBuilder};

use crate::support::*;

#[test]
fn the_contents_at_the_tips_of_branches_are_found() {
    find_contents(RepositoryBuilder::new().unwrap());
    find_contents(RepositoryBuilder::new_sha256().unwrap());
}

fn find_contents(mut builder: RepositoryBuilder) {
    let files = ["a", "a.c", "a/b", "dir/a", "dir/b/c", "dir/b.c"].map(|path| match path {
        "a" => Change::write("plain", "old"),
        path => Change::write(path, path),
    });
    builder.commit("main", files);
    builder.branch("feature/x", "main");
    builder.commit("feature/x", [Change::write("dir/b/c", "other"), Change::symlink("link", "dir")]);
    let tagged = builder.commit("gone", [Change::write("plain", "tagged")]);
    builder.tag("v1", tagged);
    builder.delete_branch("gone");
    builder.commit("main", [Change::write("plain", "new")]);
    let repository = builder.build().unwrap();
    let paths: [&[u8]; 9] =
        [b"a.c", b"a/b", b"dir", b"dir/a", b"dir/b.c", b"dir/b/c", b"link", b"link/a", b"plain"];
    assert!(paths.is_sorted());
    let found = Tips::of(&repository.path()).unwrap().contents(&paths).unwrap();
    let found: BTreeSet<(&[u8], String)> =
        found.into_iter().map(|(place, blob)| (paths[place], blob.to_string())).collect();
    let mut expected = BTreeSet::new();
    for (name, _) in refs(&repository.path()).unwrap() {
        for path in paths.into_iter().filter(|_| name.starts_with("refs/heads/")) {
            let spec = format!("{name}:{}", String::from_utf8_lossy(path));
            let kind = ["cat-file", "-t", &spec];
            if repository.git(&kind).is_ok_and(|kind| kind == b"blob\n") {
                let id = git(&repository.path(), &["rev-parse", &spec]);
                expected.insert((path, String::from_utf8(id).unwrap().trim().to_owned()));
            }
        }
    }
    assert_eq!(found, expected);
    assert_eq!(found.len(), 9);
    finds_them_again(repository, &paths);
}

/// What is kept of an earlier look changes nothing.
fn finds_them_again(mut repository: Repository, paths: &[&[u8]]) {
    let path = repository.path();
    let looks = |paths: &[&[u8]]| {
        let tips = Tips::of(&path).unwrap();
        let found = tips.contents_again(paths).unwrap();
        assert_eq!(found, tips.contents(paths).unwrap());
        found
    };
    let first = looks(paths);
    assert_eq!(looks(paths), first);
    repository
        .extend(|builder| builder.commit("main", [Change::write("dir/a", "newer"), Change::delete("a.c")]))
        .unwrap();
    assert_ne!(looks(paths), first);
    looks(&paths[..4]);
    repository.extend(|builder| builder.delete_branch("feature/x")).unwrap();
    looks(paths);
    looks(&[]);
    let file = path.join("secretscan-tips");
    let whole = std::fs::read(&file).unwrap();
    for damaged in [&whole[..whole.len() - 1], &whole[..20], b""] {
        std::fs::write(&file, damaged).unwrap();
        looks(paths);
    }
}

#[test]
fn a_repository_without_branches_has_no_tips() {
    let repository = RepositoryBuilder::new().unwrap().build().unwrap();
    assert!(Tips::of(&repository.path()).unwrap().contents(&[b"a"]).unwrap().is_empty());
}
