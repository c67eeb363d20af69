//! What Git meets where it looks for its own programs, when a mirror is made.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use secretscan_git::{Credentials, FetchError, FetchLimits, FetchProgress, Mirror, MirrorCache, Order};
use secretscan_model::ids::RepositoryId;
use secretscan_testkit::hostile::{BLOB, PackEntry, pack_bytes};
use secretscan_testkit::{Change, HttpRemote, Repository, RepositoryBuilder, generate, run_git};
use tempfile::{TempDir, tempdir};

const AGENT: &str = env!("CARGO_BIN_EXE_secretscan-repo-agent");

fn fetch(cache: &MirrorCache, uri: &str) -> (Result<Mirror, FetchError>, Vec<FetchProgress>) {
    let order = Order {
        repository: &RepositoryId::parse("r").unwrap(),
        uri,
        wanted: &[],
        credentials: &Credentials::default(),
        limits: FetchLimits {
            timeout: Duration::from_secs(60),
            max_bytes: 1 << 30,
            max_memory_bytes: 1 << 30,
        },
        allow_local: true,
    };
    let mut progress = Vec::new();
    let fetched = cache.fetch(&order, &AtomicBool::new(false), &mut |told| progress.push(told));
    (fetched, progress)
}

/// Ends of the names of what a mirror has in its directory of packs.
fn kinds(mirror: &Path) -> Vec<String> {
    let files = fs::read_dir(mirror.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let kind = |file: PathBuf| file.extension().unwrap_or(file.as_os_str()).to_str().unwrap().to_owned();
    let mut kinds: Vec<_> = files.map(kind).collect();
    kinds.sort_unstable();
    kinds
}

/// The pack of a mirror that has one.
fn pack_of(mirror: &Path) -> PathBuf {
    let files = fs::read_dir(mirror.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|file| file.extension().is_some_and(|kind| kind == "pack")).unwrap()
}

/// Fails if Git makes another index of the pack, or another reverse index.
fn is_indexed_as_git_does(pack: &Path, format: &str) {
    let dir = tempdir().unwrap();
    let index = dir.path().join("pack.idx");
    let arguments = ["index-pack", "--rev-index", &format!("--object-format={format}"), "-o"];
    let paths = [&index, pack].map(|path: &Path| path.to_str().unwrap());
    run_git(dir.path(), &[&arguments[..], &paths[..]].concat(), b"").unwrap();
    for kind in ["idx", "rev"] {
        let [ours, gits] = [pack, &index].map(|path: &Path| fs::read(path.with_extension(kind)).unwrap());
        assert!(ours == gits, "{kind} differs");
    }
}

fn is_mirrored(repository: &Path, uri: &str, format: &str) {
    let dir = tempdir().unwrap();
    let cache = MirrorCache::new(dir.path(), u64::MAX).with_indexer(Some(AGENT.into()));
    let (mirror, progress) = fetch(&cache, uri);
    let mirror = mirror.unwrap();
    // Nothing keeps the pack any more.
    assert_eq!(kinds(mirror.path()), ["idx", "pack", "rev"]);
    let pack = pack_of(mirror.path());
    // Git takes the right to write from everybody.
    assert!(!fs::metadata(&pack).unwrap().permissions().readonly(), "Git has written it");
    is_indexed_as_git_does(&pack, format);
    run_git(mirror.path(), &["fsck", "--connectivity-only"], b"").unwrap();
    let objects =
        |path: &Path| run_git(path, &["cat-file", "--batch-check", "--batch-all-objects"], b"").unwrap();
    assert!(objects(mirror.path()) == objects(repository), "the objects differ");
    let tells = |start: &str| progress.iter().any(|told| told.line.starts_with(start));
    assert!(tells("Receiving objects: 100% (") && tells("Resolving deltas: 100% ("), "{progress:?}");
}

/// With the objects that its refs reach in one pack.
fn packed(repository: &Repository) -> PathBuf {
    repository.git(&["repack", "-a", "-d", "--quiet"]).unwrap();
    repository.path()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_mirror_has_the_index_that_git_makes() {
    let generated = generate(7, 200).unwrap();
    let path = packed(&generated.repository);
    let remote = HttpRemote::serve(&path).await.unwrap();
    tokio::task::block_in_place(|| {
        is_mirrored(&path, &remote.url(), "sha1");
        is_mirrored(&path, path.to_str().unwrap(), "sha1");
    });
    let mut builder = RepositoryBuilder::new_sha256().unwrap();
    for n in 0..20 {
        builder.commit("main", [Change::write("f", format!("{n}\n{}", "the same line\n".repeat(100)))]);
    }
    let repository = builder.build().unwrap();
    let path = packed(&repository);
    is_mirrored(&path, path.to_str().unwrap(), "sha256");
}

#[test]
fn what_comes_later_is_indexed_by_git() {
    let mut builder = RepositoryBuilder::new().unwrap();
    builder.commit("main", [Change::write("f", "1")]);
    let mut repository = builder.build().unwrap();
    let dir = tempdir().unwrap();
    let cache = MirrorCache::new(dir.path(), u64::MAX).with_indexer(Some(AGENT.into()));
    let path = repository.path();
    fetch(&cache, path.to_str().unwrap()).0.unwrap();
    repository.extend(|builder| builder.commit("main", [Change::write("f", "2")])).unwrap();
    let mirror = fetch(&cache, path.to_str().unwrap()).0.unwrap();
    let files = fs::read_dir(mirror.path().join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let packs = files.filter(|file| file.extension().is_some_and(|kind| kind == "pack"));
    let mut are_gits: Vec<_> =
        packs.map(|pack| fs::metadata(pack).unwrap().permissions().readonly()).collect();
    are_gits.sort_unstable();
    assert_eq!(are_gits, [false, true]);
    let of = |path: &Path| run_git(path, &["rev-list", "--objects", "--all"], b"").unwrap();
    assert_eq!(of(mirror.path()), of(&repository.path()));
}

/// Git's call for a pack, in a repository of its own; gives what came of it, and the ends of the files' names.
fn called(pack: &[u8]) -> (Output, TempDir) {
    let dir = tempdir().unwrap();
    run_git(dir.path(), &["init", "--quiet", "--bare", "r.git"], b"").unwrap();
    let programs = dir.path().join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(AGENT, programs.join("git")).unwrap();
    let mut call = Command::new(programs.join("git"));
    call.args([
        "index-pack",
        "--stdin",
        "-v",
        "--fix-thin",
        "--keep=why",
        "--check-self-contained-and-connected",
    ]);
    call.env("GIT_DIR", dir.path().join("r.git")).env("GIT_EXEC_PATH", &programs);
    let mut child = call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who has seen enough does not read on.
    let _ = child.stdin.take().unwrap().write_all(pack);
    (child.wait_with_output().unwrap(), dir)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn blobs() -> Vec<u8> {
    let entries: Vec<_> =
        (0..3).map(|n| PackEntry::Whole(BLOB, format!("blob {n}").repeat(50).into_bytes())).collect();
    pack_bytes(&entries).unwrap().0
}

#[test]
fn git_is_told_the_pack_and_what_keeps_it() {
    let (output, dir) = called(&blobs());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let id = text(&output.stdout).strip_prefix("keep\t").unwrap().trim().to_owned();
    let keep = dir.path().join(format!("r.git/objects/pack/pack-{id}.keep"));
    assert_eq!(fs::read_to_string(keep).unwrap(), "why\n");
}

#[test]
fn what_is_damaged_or_cut_is_an_error_and_leaves_nothing() {
    let pack = blobs();
    let fails = |pack: &[u8], says: &str| {
        let (output, dir) = called(pack);
        assert_eq!(output.status.code(), Some(128));
        let told = text(&output.stderr);
        assert!(told.lines().any(|line| line.contains("fatal: ") && line.contains(says)), "{told}");
        assert_eq!(text(&output.stdout), "");
        // Git, to which it hands on what has another header, leaves its own.
        assert!(kinds(&dir.path().join("r.git")).iter().all(|name| name.contains("/tmp_pack_")), "{told}");
    };
    for len in 0..pack.len() {
        fails(&pack[..len], "early EOF");
    }
    for at in 0..pack.len() {
        let mut damaged = pack.clone();
        damaged[at] ^= 0x55;
        // A larger number of objects, or of bytes, looks like a cut.
        fails(&damaged, "");
    }
}

#[test]
fn git_does_what_this_does_not() {
    // An empty pack.
    let empty = pack_bytes(&[]).unwrap().0;
    let (output, _) = called(&empty);
    let id: String = empty[empty.len() - 20..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text(&output.stdout).split_whitespace().last(), Some(&*id), "{}", text(&output.stderr));

    // Other commands, also by way of a shell, which does not tell where it found the program.
    let programs = tempdir().unwrap();
    symlink(AGENT, programs.path().join("git")).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let paths = [programs.path().to_owned()].into_iter().chain(std::env::split_paths(&path));
    let paths = std::env::join_paths(paths).unwrap();
    let run = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", &paths).env("GIT_EXEC_PATH", programs.path());
        let output = command.output().unwrap();
        (text(&output.stdout), text(&output.stderr))
    };
    let version = Command::new("git").arg("--version").output().unwrap();
    for (program, arguments) in
        [(programs.path().join("git"), &["--version"][..]), ("sh".into(), &["-c", "git --version"])]
    {
        assert_eq!(run(&program, arguments), (text(&version.stdout), String::new()));
    }
}

#[test]
fn what_an_indexer_refuses_is_left_to_git() {
    let mut builder = RepositoryBuilder::new().unwrap();
    builder.commit("main", [Change::write("f", "1")]);
    let repository = builder.build().unwrap();
    let dir = tempdir().unwrap();
    let indexer = dir.path().join("indexer");
    let script = "#!/bin/sh\n[ \"$1\" = index-pack ] && exit 1\nunset GIT_EXEC_PATH\nPATH=${PATH#*:} exec git \"$@\"\n";
    fs::write(&indexer, script).unwrap();
    fs::set_permissions(&indexer, PermissionsExt::from_mode(0o755)).unwrap();
    for indexer in [indexer, dir.path().join("gone")] {
        let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX).with_indexer(Some(indexer));
        let mirror = fetch(&cache, repository.path().to_str().unwrap()).0.unwrap();
        run_git(mirror.path(), &["rev-parse", "main"], b"").unwrap();
        cache.discard(mirror).unwrap();
    }
}
