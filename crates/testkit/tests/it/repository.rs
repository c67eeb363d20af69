use secretscan_testkit::{Change, Repository, RepositoryBuilder, generate};

fn lines(repository: &Repository, arguments: &[&str]) -> Vec<String> {
    let output = repository.git(arguments).unwrap();
    String::from_utf8_lossy(&output).lines().map(str::to_owned).collect()
}

#[test]
fn commits_say_what_they_were_told() {
    let mut builder = RepositoryBuilder::new().unwrap();
    builder.commit("main", [Change::write("a", "1\n"), Change::write("b/c", "2\n")]);
    builder.branch("x", "main");
    builder.commit("x", [Change::rename("a", "d\"\\\n\u{e9}"), Change::copy("b/c", "e")]);
    builder.branch("y", "main");
    builder.time(0);
    let early = builder.commit("y", [Change::delete("b/c"), Change::write("b", "a file now")]);
    let module = "1".repeat(40).parse().unwrap();
    builder.commit("z", [Change::symlink("link", "target"), Change::submodule("module", module)]);
    let octopus =
        builder.merge("main", &["x", "y", "z"], [Change::delete("e"), Change::write("evil", "3\n")]);
    builder.tag("light", octopus);
    builder.annotated_tag("heavy", early);
    builder.delete_branch("z");
    let mut repository = builder.build().unwrap();

    let id = |mark| repository.id(mark).to_string();
    let parents = lines(&repository, &["rev-list", "--parents", "-n1", "main"]);
    assert_eq!(parents[0].split(' ').count(), 5, "an octopus of four parents: {parents:?}");
    assert!(parents[0].starts_with(&id(octopus)));
    let tree = lines(&repository, &["ls-tree", "-r", "main", "--format=%(objectmode) %(path)"]);
    let expected = ["100644 a", "100644 b/c", "100644 \"d\\\"\\\\\\n\\303\\251\"", "100644 evil"];
    assert_eq!(tree, [&expected[..], &["120000 link", "160000 module"]].concat());
    let times = lines(&repository, &["log", "-1", "--format=%ct %at %an", "y"]);
    assert_eq!(times, ["0 0 Ada Example"]);
    let references = lines(&repository, &["for-each-ref", "--format=%(objecttype) %(refname)"]);
    let expected = ["commit refs/heads/main", "commit refs/heads/x", "commit refs/heads/y"];
    assert_eq!(references, [&expected[..], &["tag refs/tags/heavy", "commit refs/tags/light"]].concat());

    let pushed = repository.push_commit("main", [Change::write("a", "later\n")]).unwrap();
    assert_eq!(lines(&repository, &["rev-parse", "main"]), [pushed.to_string()]);
    assert_eq!(lines(&repository, &["show", "main:a"]), ["later"]);
    repository.repack().unwrap();
    assert!(lines(&repository, &["fsck", "--full", "--strict"]).is_empty());
}

#[test]
fn sha256_ids_are_longer() {
    let mut builder = RepositoryBuilder::new_sha256().unwrap();
    let commit = builder.commit("main", [Change::write("a", "1\n")]);
    builder.branch("gone", "main");
    builder.delete_branch("gone");
    let repository = builder.build().unwrap();
    assert_eq!(repository.id(commit).as_bytes().len(), 32);
    assert_eq!(lines(&repository, &["branch", "--format=%(refname)"]), ["refs/heads/main"]);
}

#[test]
fn a_generated_repository_is_sound_and_the_same_again() {
    let generated = generate(7, 300).unwrap();
    let repository = &generated.repository;
    assert!(lines(repository, &["fsck", "--full", "--strict"]).is_empty());
    let listed = lines(repository, &["rev-list", "--all"]);
    assert!(listed.len() >= 300 * 9 / 10, "{} commits are reachable", listed.len());
    assert!(!lines(repository, &["rev-list", "--all", "--min-parents=3"]).is_empty());
    assert_eq!(lines(repository, &["rev-list", "--all", "--max-parents=0"]).len(), 3);
    assert!(generated.planted.len() >= 15);
    for planted in generated.planted.iter().filter(|planted| !planted.path.starts_with(b".git/")) {
        let touched =
            repository.git(&["show", "--name-only", "-z", "--format=", &planted.commit.to_string()]).unwrap();
        assert!(touched.split(|byte| *byte == 0).any(|path| path == planted.path), "{planted:?}");
    }

    let again = generate(7, 300).unwrap();
    assert_eq!(again.planted, generated.planted);
    assert_eq!(lines(&again.repository, &["rev-parse", "main"]), lines(repository, &["rev-parse", "main"]));
    assert_ne!(generate(8, 300).unwrap().planted, generated.planted);
}

#[test]
#[ignore = "a measurement"]
fn five_thousand_commits() {
    let start = std::time::Instant::now();
    let generated = generate(1, 5000).unwrap();
    let made = start.elapsed();
    generated.repository.repack().unwrap();
    let repacked = start.elapsed() - made;
    println!("made in {made:?}, repacked in {repacked:?}, {} secrets", generated.planted.len());
    println!("{:?}", lines(&generated.repository, &["count-objects", "-v"]));
}
