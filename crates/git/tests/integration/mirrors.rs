use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use secretscan_git::{
    Arrival, Credentials, FetchError, FetchLimits, Mirror, MirrorCache, Order, Refs, arrivals, list, refs,
};
use secretscan_model::Push;
use secretscan_model::ids::{CommitId, RepositoryId};
use secretscan_testkit::{Change, RepositoryBuilder};
use tempfile::tempdir;

use crate::support::*;

const LIMITS: FetchLimits =
    FetchLimits { timeout: Duration::from_secs(60), max_bytes: 1 << 30, max_memory_bytes: 1 << 30 };

/// Of local paths too, within [`LIMITS`].
fn order<'a>(repository: &'a RepositoryId, uri: &'a str) -> Order<'a> {
    static NONE: Credentials = Credentials { tokens: Vec::new(), ssh_key: None, helper: None };
    Order { repository, uri, wanted: &[], credentials: &NONE, limits: LIMITS, allow_local: true }
}

fn fetch_as(cache: &MirrorCache, name: &str, source: &Path) -> Result<Mirror, FetchError> {
    let uri = source.to_str().unwrap();
    let id = RepositoryId::parse(name).unwrap();
    cache.fetch(&order(&id, uri), &NEVER, &mut |_| {})
}

fn fetch(cache: &MirrorCache, source: &Path) -> Result<Mirror, FetchError> {
    fetch_as(cache, "r", source)
}

fn source(dir: &Path) -> PathBuf {
    let mut repo = Builder::new();
    let first = repo.commit(1, &[], &files(&[("a", "1")]));
    repo.commit(2, &[first], &files(&[("a", "2")]));
    repo.tag("v1", first);
    repo.write(dir)
}

fn add_commit(source: &Path, parent: &str, branch: &str) {
    let tree = git_text(source, &["rev-parse", &format!("{parent}^{{tree}}")]);
    let commit = git_text(source, &["commit-tree", &tree, "-p", parent, "-m", branch]);
    git(source, &["update-ref", branch, &commit]);
}

#[test]
fn a_mirror_follows_its_source() {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    git(&source, &["update-ref", "refs/pull/1/head", "refs/heads/c1"]);
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let mirror = fetch(&cache, &source).unwrap();
    assert_eq!(refs(mirror.path()).unwrap(), refs(&source).unwrap());
    assert_eq!(
        list(mirror.path(), &Refs::All, &CHILDREN).unwrap(),
        list(&source, &Refs::All, &CHILDREN).unwrap()
    );

    // A new branch where a ref was, one deleted, one moved back.
    add_commit(&source, "refs/heads/c2", "refs/heads/new");
    git(&source, &["update-ref", "-d", "refs/pull/1/head"]);
    add_commit(&source, "refs/heads/c1", "refs/pull/1/head/deeper");
    git(&source, &["update-ref", "refs/heads/c2", "refs/heads/c1"]);
    drop(mirror);
    let mirror = fetch(&cache, &source).unwrap();
    assert_eq!(refs(mirror.path()).unwrap(), refs(&source).unwrap());
    // And by file URI, with nothing new.
    let uri = PathBuf::from(format!("file://{}", source.display()));
    fetch(&cache, &uri).unwrap();
}

#[test]
fn an_empty_source_makes_an_empty_mirror() {
    let dir = tempdir().unwrap();
    git(dir.path(), &["init", "-q", "--bare", "empty.git"]);
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let mirror = fetch(&cache, &dir.path().join("empty.git")).unwrap();
    assert_eq!(list(mirror.path(), &Refs::All, &CHILDREN).unwrap(), []);
}

fn assert_is_mirrored(cache: &MirrorCache, source: &Path) {
    let mirror = fetch(cache, source).unwrap();
    assert_eq!(refs(mirror.path()).unwrap(), refs(source).unwrap());
    let of = |repo: &Path| list(repo, &Refs::All, &CHILDREN).unwrap();
    assert_eq!(of(mirror.path()), of(source));
}

#[test]
fn a_mirror_has_the_object_format_of_its_source() {
    let dir = tempdir().unwrap();
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let source = dir.path().join("repo.git");
    git(dir.path(), &["init", "-q", "--bare", "--object-format=sha256", "repo.git"]);
    assert_is_mirrored(&cache, &source);
    // Until there is something to fetch, nothing told the format. Then the other one takes its place, and back.
    for format in ["sha256", "sha1", "sha256"] {
        fs::remove_dir_all(&source).unwrap();
        let mut repo = Builder::new();
        let first = repo.commit(1, &[], &files(&[("a", "1")]));
        repo.commit(2, &[first], &files(&[("a", "2")]));
        repo.write_as(format, dir.path());
        assert_is_mirrored(&cache, &source);
        // And once more, with something new.
        add_commit(&source, "refs/heads/c2", "refs/heads/new");
        assert_is_mirrored(&cache, &source);
    }
}

#[test]
fn failures_are_classified_and_leave_nothing() {
    let dir = tempdir().unwrap();
    let cache_dir = dir.path().join("cache");
    let cache = MirrorCache::new(&cache_dir, u64::MAX);
    let missing = fetch(&cache, &dir.path().join("missing")).unwrap_err();
    assert!(matches!(missing, FetchError::NotFound { .. }), "{missing}");
    // Nobody listens on the reserved port 1.
    let unreachable = fetch(&cache, Path::new("http://127.0.0.1:1/r")).unwrap_err();
    assert!(matches!(unreachable, FetchError::Unreachable { .. }), "{unreachable}");
    assert!(unreachable.is_transient());
    let id = RepositoryId::parse("r").unwrap();
    let uri = dir.path().to_str().unwrap();
    let local = cache.fetch(&Order { allow_local: false, ..order(&id, uri) }, &NEVER, &mut |_| {});
    assert!(matches!(local, Err(FetchError::Refused { .. })));
    let left: Vec<_> = fs::read_dir(&cache_dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with("-lock")), "{left:?}");
}

/// Damages a mirror, and checks that the next fetch mends it.
fn is_mended(damage: impl Fn(&Path)) {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let mirror = fetch(&cache, &source).unwrap();
    let path = mirror.path().to_path_buf();
    drop(mirror);
    damage(&path);
    add_commit(&source, "refs/heads/c2", "refs/heads/new");
    let mirror = fetch(&cache, &source).unwrap();
    assert_eq!(
        list(mirror.path(), &Refs::All, &CHILDREN).unwrap(),
        list(&source, &Refs::All, &CHILDREN).unwrap()
    );
    git(mirror.path(), &["fsck", "--strict"]);
}

fn pack_of(mirror: &Path) -> PathBuf {
    let files = fs::read_dir(mirror.join("objects/pack")).unwrap().map(|e| e.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|e| e == "pack")).unwrap()
}

#[test]
fn a_mirror_without_head_is_made_anew() {
    is_mended(|mirror| fs::remove_file(mirror.join("HEAD")).unwrap());
}

#[test]
fn a_mirror_without_its_pack_is_made_anew() {
    is_mended(|mirror| fs::remove_file(pack_of(mirror)).unwrap());
}

#[test]
fn a_mirror_with_a_cut_pack_is_made_anew() {
    is_mended(|mirror| {
        let pack = pack_of(mirror);
        let bytes = fs::read(&pack).unwrap();
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, &bytes[..bytes.len() / 2]).unwrap();
    });
}

#[test]
fn a_mirror_with_broken_refs_is_made_anew() {
    is_mended(|mirror| fs::write(mirror.join("packed-refs"), "nonsense").unwrap());
}

#[test]
fn a_damaged_source_is_an_error_and_leaves_no_mirror() {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    git(&source, &["repack", "-adq"]);
    let pack = pack_of(&source);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0);
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let error = fetch(&cache, &source).unwrap_err();
    assert!(!error.is_transient() || matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert!(!dir.path().join("cache/r.git").exists());
}

#[test]
fn many_packs_are_joined() {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let mut parent = "refs/heads/c2".to_owned();
    for n in 0..52 {
        let branch = format!("refs/heads/n{n}");
        add_commit(&source, &parent, &branch);
        parent = branch;
        fetch(&cache, &source).unwrap();
    }
    let mirror = fetch(&cache, &source).unwrap();
    let packs = fs::read_dir(mirror.path().join("objects/pack")).unwrap();
    let packs = packs.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "pack"));
    assert!(packs.count() < 10);
    assert_eq!(
        list(mirror.path(), &Refs::All, &CHILDREN).unwrap(),
        list(&source, &Refs::All, &CHILDREN).unwrap()
    );
}

#[test]
fn what_a_killed_fetch_left_does_not_matter() {
    is_mended(|mirror| {
        fs::write(mirror.join("packed-refs.lock"), "").unwrap();
        fs::create_dir_all(mirror.join("refs/heads")).unwrap();
        fs::write(mirror.join("refs/heads/new.lock"), "").unwrap();
        fs::write(mirror.join("objects/pack/tmp_pack_x"), "half").unwrap();
        for name in ["new", "other.new"] {
            fs::create_dir_all(mirror.with_extension(name).join("objects")).unwrap();
        }
    });
}

#[test]
fn a_discarded_mirror_is_made_anew() {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let mirror = fetch(&cache, &source).unwrap();
    let path = mirror.path().to_path_buf();
    cache.discard(mirror).unwrap();
    assert!(!path.exists());
    assert!(fetch(&cache, &source).unwrap().path().exists());
}

#[test]
fn the_least_recently_fetched_mirror_goes_first_and_none_in_use() {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    let roomy = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let paths: Vec<PathBuf> =
        ["a", "b", "c"].map(|name| fetch_as(&roomy, name, &source).unwrap().path().to_path_buf()).to_vec();
    // `a` is used again, so `b` is the oldest; `b` is in use, so `c` goes.
    fetch_as(&roomy, "a", &source).unwrap();
    let in_use = fetch_as(&roomy, "b", &source).unwrap();
    fetch_as(&roomy, "a", &source).unwrap();
    let tight = MirrorCache::new(dir.path().join("cache"), 1);
    let held = fetch_as(&tight, "a", &source).unwrap();
    assert_eq!(paths.iter().map(|path| path.exists()).collect::<Vec<_>>(), [true, true, false]);
    drop((in_use, held));
    fetch_as(&tight, "c", &source).unwrap();
    assert_eq!(paths.iter().map(|path| path.exists()).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn what_was_pushed_and_overwritten_is_fetched_as_long_as_the_host_has_it() {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    add_commit(&source, "refs/heads/c2", "refs/heads/new");
    let overwritten: CommitId = git_text(&source, &["rev-parse", "refs/heads/new"]).parse().unwrap();
    git(&source, &["update-ref", "-d", "refs/heads/new"]);
    let gone: CommitId = "12".repeat(20).parse().unwrap();
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let (id, uri) = (RepositoryId::parse("r").unwrap(), source.to_str().unwrap());
    let order = Order { wanted: &[gone, overwritten], ..order(&id, uri) };
    let mirror = cache.fetch(&order, &NEVER, &mut |_| {}).unwrap();
    assert_eq!(git_text(mirror.path(), &["cat-file", "-t", &overwritten.to_string()]), "commit");
    assert_eq!(refs(mirror.path()).unwrap(), refs(&source).unwrap());

    let push = |name: &str, after| Push { name: name.to_owned(), before: None, after };
    let pushes = [push("refs/heads/gone", gone), push("refs/heads/new", overwritten)];
    let arrived = arrivals(mirror.path(), &pushes, 10, &CHILDREN).unwrap();
    assert_eq!(arrived.each[0], Arrival { tip: None, commits: vec![], is_cut: false });
    assert_eq!(arrived.each[1].commits, [overwritten]);
    assert_eq!(arrived.history.len(), 3);
    assert_eq!(arrived.not_scanned[0].what, format!("{gone} of refs/heads/gone"));
    assert_eq!(arrived.not_scanned[0].reason, "the host does not have it any more");
}

#[test]
fn a_push_brings_what_its_ref_did_not_reach_before() {
    push_brings(RepositoryBuilder::new().unwrap());
    push_brings(RepositoryBuilder::new_sha256().unwrap());
}

/// In a repository that has what `git maintenance` leaves there.
fn push_brings(mut builder: RepositoryBuilder) {
    let write = |name: &str| [Change::write(name, name)];
    let commits = ["1", "2", "3"].map(|name| builder.commit("main", write(name)));
    builder.branch("side", "main");
    let on_side = builder.commit("side", write("4"));
    builder.annotated_tag("v1", on_side);
    builder.reference("refs/heads/third", commits[1]);
    let repository = builder.build().unwrap();
    repository.git(&["repack", "-a", "-d", "--quiet", "--write-midx"]).unwrap();
    repository.git(&["commit-graph", "write", "--reachable"]).unwrap();
    let [first, second, third] = commits.map(|mark| repository.id(mark));
    let side = repository.id(on_side);
    let tag = git_text(&repository.path(), &["rev-parse", "refs/tags/v1"]).parse().unwrap();
    let brought = |name: &str, before: Option<CommitId>, after: CommitId, max: usize| {
        let push = Push { name: name.to_owned(), before, after };
        let arrived = arrivals(&repository.path(), &[push], max, &CHILDREN).unwrap();
        assert_eq!(arrived.not_scanned, []);
        let [Arrival { commits, is_cut, .. }] = arrived.each.try_into().unwrap();
        (commits, is_cut)
    };
    assert_eq!(brought("refs/heads/main", Some(first), third, 9), (vec![third, second], false), "moved on");
    assert_eq!(brought("refs/heads/main", Some(first), third, 1), (vec![third], true), "too many");
    assert_eq!(brought("refs/heads/main", Some(third), first, 9), (vec![], false), "moved back");
    assert_eq!(brought("refs/heads/main", Some(side), third, 9), (vec![], false), "moved aside");
    assert_eq!(brought("refs/heads/third", None, second, 9), (vec![], false), "new, and known before");
    for (_, id_len) in FORMATS {
        let unknown = "12".repeat(id_len).parse().unwrap();
        let all = (vec![third, second, first], false);
        assert_eq!(brought("refs/heads/main", Some(unknown), third, 9), all, "what was there is gone");
    }
    // The branch that was there before reaches it too.
    assert_eq!(brought("refs/tags/v1", None, tag, 9), (vec![], false), "a tag");
    let tree: CommitId = git_text(&repository.path(), &["rev-parse", "main^{tree}"]).parse().unwrap();
    let push = Push { name: "refs/tags/tree".to_owned(), before: None, after: tree };
    let arrived = arrivals(&repository.path(), &[push], 9, &CHILDREN).unwrap();
    assert_eq!(arrived.not_scanned[0].reason, "it leads to no commit");

    let push = |name: &str, after| Push { name: name.to_owned(), before: None, after };
    let together = [push("refs/heads/side", side), push("refs/tags/v1", tag)];
    let arrived = arrivals(&repository.path(), &together, 9, &CHILDREN).unwrap();
    assert_eq!(
        arrived.each.iter().map(|arrival| &arrival.commits[..]).collect::<Vec<_>>(),
        [[side], [side]],
        "neither was there before"
    );
    assert_eq!(arrived.history.len(), 4);
}

#[test]
fn a_source_over_the_limit_is_refused() {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let limits = FetchLimits { max_bytes: 100, ..LIMITS };
    let id = RepositoryId::parse("r").unwrap();
    let uri = source.to_str().unwrap();
    let result = cache.fetch(&Order { limits, ..order(&id, uri) }, &NEVER, &mut |_| {});
    assert!(matches!(result, Err(FetchError::TooLarge { limit: 100 })), "{result:?}");
    assert!(!dir.path().join("cache/r.git").exists());
}

/// A listener that accepts connections and never answers.
fn silent_host() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/r", listener.local_addr().unwrap());
    (listener, uri)
}

#[test]
fn a_fetch_ends_with_the_stop_flag_and_the_time_limit() {
    let dir = tempdir().unwrap();
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let (listener, uri) = silent_host();
    let id = RepositoryId::parse("r").unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let fetch = scope.spawn(|| cache.fetch(&order(&id, &uri), &stop, &mut |_| {}));
        let connection = listener.accept().unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(fetch.join().unwrap(), Err(FetchError::Stopped)));
        drop(connection);
    });
    let limits = FetchLimits { timeout: Duration::from_millis(300), ..LIMITS };
    let late = cache.fetch(&Order { limits, ..order(&id, &uri) }, &NEVER, &mut |_| {});
    assert!(matches!(late, Err(FetchError::TimedOut { .. })));
}

/// Answers one request after the other, and gives the first line of each.
fn answer(listener: &std::net::TcpListener, answers: &[&str]) -> Vec<String> {
    let one = |answer: &&str| {
        let (mut connection, _) = listener.accept().unwrap();
        // Read the request first: closing a connection with unread bytes would reset it.
        let mut request = vec![0; 4096];
        let len = std::io::Read::read(&mut connection, &mut request).unwrap();
        write!(connection, "HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request[..len]).lines().next().unwrap().to_owned()
    };
    answers.iter().map(one).collect()
}

#[test]
fn a_redirect_is_not_followed_but_for_the_git_suffix() {
    let dir = tempdir().unwrap();
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    let (listener, uri) = silent_host();
    let moved = "301 Moved\r\nLocation: http://127.0.0.1:1/x";
    thread::scope(|scope| {
        let host = scope.spawn(|| answer(&listener, &[moved, moved, moved, "404 Not Found"]));
        let error = fetch(&cache, Path::new(&uri)).unwrap_err();
        assert!(matches!(error, FetchError::Redirected { .. }), "{error}");
        let error = fetch(&cache, Path::new(&uri)).unwrap_err();
        assert!(matches!(error, FetchError::NotFound { .. }), "{error}");
        let requests = host.join().unwrap();
        assert!(
            requests[2].starts_with("GET /r/info/refs") && requests[3].starts_with("GET /r.git/info/refs")
        );
    });
}

#[test]
fn a_host_that_asks_for_credentials_is_not_unreachable() {
    let dir = tempdir().unwrap();
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    for (status, is_transient) in [
        ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=x", false),
        ("403 Forbidden", false),
        ("503 Unavailable", true),
        ("429 Too Many Requests", true),
    ] {
        let (listener, uri) = silent_host();
        thread::scope(|scope| {
            scope.spawn(|| answer(&listener, &[status]));
            let error = fetch(&cache, Path::new(&uri)).unwrap_err();
            assert_eq!(error.is_transient(), is_transient, "{status}: {error}");
            assert_eq!(matches!(error, FetchError::AuthenticationRequired { .. }), !is_transient, "{error}");
        });
    }
}

#[test]
fn many_at_once_share_one_mirror() {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    let cache = MirrorCache::new(dir.path().join("cache"), u64::MAX);
    thread::scope(|scope| {
        let fetches: Vec<_> = (0..4).map(|_| scope.spawn(|| fetch(&cache, &source).unwrap())).collect();
        for fetch in fetches {
            let mirror = fetch.join().unwrap();
            assert_eq!(list(mirror.path(), &Refs::All, &CHILDREN).unwrap().len(), 2);
        }
    });
}

#[test]
fn a_lock_held_by_another_process_is_waited_for() {
    let dir = tempdir().unwrap();
    let source = source(dir.path());
    let cache_dir = dir.path().join("cache");
    fs::create_dir_all(&cache_dir).unwrap();
    // `flock` holds the lock until its input ends.
    let mut other = std::process::Command::new("flock")
        .arg(cache_dir.join("r.fetch-lock"))
        .args(["sh", "-c", "echo locked; cat"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(other.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    let cache = MirrorCache::new(&cache_dir, u64::MAX);
    let id = RepositoryId::parse("r").unwrap();
    let limits = FetchLimits { timeout: Duration::from_millis(200), ..LIMITS };
    let uri = source.to_str().unwrap();
    let late = cache.fetch(&Order { limits, ..order(&id, uri) }, &NEVER, &mut |_| {});
    assert!(matches!(late, Err(FetchError::TimedOut { .. })));
    drop(other.stdin.take());
    other.wait().unwrap();
    assert!(fetch(&cache, &source).is_ok());
}
