//! Repositories and hosts that mean harm: each request ends in a clear state within its limits, and a good one beside them
//! completes.

use std::collections::BTreeMap;
use std::path::Path;

use secretscan_model::{RepositoryScan, ScanState};
use secretscan_testkit::hostile::{
    BLOB, PackEntry, RawRepository, damage, delta_head, object_id, pack_bytes, repeating_delta,
};
use secretscan_testkit::{
    Change, HttpRemote, Random, Repository, RepositoryBuilder, SecretKind, SecretText, generate,
};
use secretscan_tests::{Size, System};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The largest file that is scanned here.
const MAX_BLOB: u64 = 1 << 20;

/// Limits that these repositories reach soon.
fn limits(repo: &mut secretscan_repo_agent::Config, batch: &mut secretscan_batch_agent::Config) {
    repo.agent.slots = 8;
    repo.agent.timeout_s = 12;
    repo.fetch.timeout_s = 6;
    repo.fetch.max_bytes = 4 << 20;
    repo.fetch.max_memory_bytes = 64 << 20;
    repo.batches.max_blob_bytes = MAX_BLOB;
    batch.scan.max_blob_bytes = MAX_BLOB;
    batch.scan.max_memory_bytes = 2 << 20;
}

fn secret() -> String {
    SecretText::new(SecretKind::GitHubToken, &mut Random::new(7)).text
}

/// What a request must end with.
enum End {
    /// Failed, for a reason with this in it.
    Fails(&'static str),
    /// Completed with so many findings, and something for each of these not scanned.
    Completes(usize, &'static [&'static str]),
}
use End::{Completes, Fails};

/// What a scan left out, in its own record and in those of its batches.
async fn not_scanned(system: &System, scan: &RepositoryScan) -> Vec<String> {
    let mut all = scan.found.clone().map(|found| found.not_scanned).unwrap_or_default();
    for batch in system.bus.batches_of(&scan.id).await.unwrap() {
        if let secretscan_model::BatchState::Completed { report } = batch.state {
            all.extend(report.not_scanned);
        }
    }
    all.into_iter().map(|left| format!("{}: {}", left.what, left.reason)).collect()
}

/// Asks for all at once, and for a good repository, and checks how each ends.
async fn all_end(system: &mut System, cases: Vec<(&str, String, End)>) {
    let good = generate(41, 30).unwrap();
    let good_path = good.repository.path();
    let mut asked = Vec::new();
    for (name, uri, end) in cases {
        let (id, repository) = system.request(&uri).await.unwrap();
        asked.push((name, id, repository, end));
    }
    let (id, repository) = system.request(good_path.to_str().unwrap()).await.unwrap();
    let scan = system.ended(&id).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
    assert!(system.findings(&repository).await.unwrap().len() >= good.planted.len());
    let mut wrong = BTreeMap::new();
    for (name, id, repository, end) in &asked {
        let scan = system.ended(id).await;
        let findings = system.findings(repository).await.unwrap().len();
        let left = not_scanned(system, &scan).await;
        let is_right = match (end, &scan.state) {
            (Fails(words), ScanState::Failed { reason }) => reason.contains(words),
            (Completes(count, words), ScanState::Completed) => {
                findings == *count
                    && left.len() >= words.len()
                    && words.iter().all(|words| left.iter().any(|left| left.contains(words)))
                    && (left.is_empty() || !words.is_empty())
            }
            _ => false,
        };
        if !is_right {
            wrong.insert(*name, format!("{:?}, {findings} findings, not scanned: {left:?}", scan.state));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    system.drained().await;
    system.stop_services().await.unwrap();
}

fn uri(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

/// A good history in one pack.
fn packed_history() -> Repository {
    let mut builder = RepositoryBuilder::new().unwrap();
    for n in 0..20 {
        builder.commit("main", [Change::write(format!("f{n}"), format!("{n} {}", "text ".repeat(200)))]);
    }
    let repository = builder.build().unwrap();
    repository.repack().unwrap();
    repository
}

fn pack_of(repository: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(repository.join("objects/pack")).unwrap();
    let mut paths = files.map(|file| file.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|extension| extension == "pack")).unwrap()
}

/// The same with its pack cut off or damaged in some places.
fn broken_packs() -> Vec<Repository> {
    let break_at = |share: usize, is_cut: bool| {
        let repository = packed_history();
        let pack = pack_of(&repository.path());
        let bytes = std::fs::read(&pack).unwrap();
        let at = bytes.len() * share / 100;
        match is_cut {
            true => secretscan_testkit::hostile::replace(&pack, &bytes[..at]).unwrap(),
            false => damage(&pack, at).unwrap(),
        }
        repository
    };
    let places = [0, 30, 60, 95].into_iter();
    places.flat_map(|share| [break_at(share, true), break_at(share, false)]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_and_endless_packs_and_hosts_fail_their_own_request() {
    let mut system = System::start_with(Size::default(), Box::new(limits)).await.unwrap();
    let broken = broken_packs();
    let mut cases: Vec<_> = broken
        .iter()
        .map(|repository| ("a broken pack", uri(repository.path()), Fails("fetching failed")))
        .collect();
    let served = HttpRemote::serve(&broken[3].path()).await.unwrap();
    cases.push(("a broken pack by http", served.url(), Fails("fetching failed")));
    let whole = packed_history();
    let mut hosts = JoinSet::new();
    let mut remotes = Vec::new();
    for (name, answer, words) in [
        ("silence", Answer::Nothing, "fetch.timeout_s of the repo-agent allows more"),
        ("endless progress", Answer::Progress, "fetch.timeout_s of the repo-agent allows more"),
        ("an endless pack", Answer::Pack(0xffff), "fetch.max_bytes of the repo-agent allows more"),
        (
            "two billion objects",
            Answer::Pack(i32::MAX as u32),
            "fetch.max_memory_bytes of the repo-agent allows more",
        ),
        ("a redirect", Answer::Redirect, "redirect, which is not followed"),
        ("a bomb", Answer::This(claims_too_much()), "fetching failed"),
        ("an unknown kind", Answer::This(of_unknown_kind()), "fetching failed"),
    ] {
        let remote = HttpRemote::serve(&whole.path()).await.unwrap();
        cases.push((name, evil(&mut hosts, &remote.url(), answer).await, Fails(words)));
        remotes.push(remote);
    }
    let tree = "12".repeat(20);
    let lost = RawRepository::new().unwrap();
    lost.set("refs/heads/main", &lost.commit(&tree, &[]).unwrap()).unwrap();
    cases.push(("a commit without a tree", uri(lost.path()), Fails("fetching failed")));
    let orphan = RawRepository::new().unwrap();
    let empty = orphan.tree(&[]).unwrap();
    orphan.set("refs/heads/main", &orphan.commit(&empty, &[&tree]).unwrap()).unwrap();
    cases.push(("a commit without its parent", uri(orphan.path()), Fails("fetching failed")));
    let deep = RawRepository::nested(10_000, &[b"a"], Some(&secret())).unwrap();
    cases.push(("a deep tree", uri(deep.path()), Fails("fetching failed")));
    let endless = RawRepository::nested(60, &[b"a", b"b"], None).unwrap();
    cases.push((
        "a tree without end",
        uri(endless.path()),
        Fails("agent.timeout_s of the repo-agent allows more"),
    ));
    all_end(&mut system, cases).await;
}

fn claims_too_much() -> Vec<u8> {
    let base = PackEntry::Whole(BLOB, b"base".to_vec());
    pack_bytes(&[base, PackEntry::Delta(0, delta_head(4, 1 << 50))]).unwrap().0
}

fn of_unknown_kind() -> Vec<u8> {
    pack_bytes(&[PackEntry::Whole(5, b"x".to_vec())]).unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_repositories_are_scanned_and_what_is_left_out_is_named() {
    let mut system = System::start_with(Size::default(), Box::new(limits)).await.unwrap();
    let endless = RawRepository::nested(60, &[b"a", b"b"], Some(&secret())).unwrap();
    let (names, names_found) = strange_names();
    let (doubling, tags) = (doubling(), tags_and_refs());
    let mut large = RepositoryBuilder::new().unwrap();
    large.commit("main", [Change::write("zeros", vec![0; 8 << 20]), Change::write("s", secret())]);
    let large = large.build().unwrap();
    let cases = vec![
        ("endless paths", uri(endless.path()), Completes(1, &["can't be listed"])),
        ("strange names", uri(names.path()), Completes(names_found, &[])),
        ("a doubling chain", uri(doubling.path()), Completes(11, &["more than the limit of 1048576"])),
        ("tags and refs", uri(tags.path()), Completes(1, &["refs/odd/tree", "refs/odd/blob"])),
        ("a large file", uri(large.path()), Completes(1, &["zeros"])),
    ];
    all_end(&mut system, cases).await;
}

/// The same secret under names that no file system takes or that mean something elsewhere.
fn strange_names() -> (RawRepository, usize) {
    let repository = RawRepository::new().unwrap();
    let blob = repository.object("blob", secret().as_bytes()).unwrap();
    let other = repository.commit(&repository.tree(&[]).unwrap(), &[]).unwrap();
    let names: [&[u8]; 9] =
        [b"..", b".", b".git", b"../x", b"/root", b"a\nb", b"\xff\xfe", b"-x", b"\x1b[2J"];
    let mut entries: Vec<_> = names.iter().map(|name| ("100644", *name, blob.as_str())).collect();
    entries.push(("160000", b"sub", &other));
    let inner = repository.tree(&entries).unwrap();
    let modules = b"[submodule \"x\"]\n\tpath = sub\n\turl = -ux\n[submodule \"y\"]\n\tpath = ../y\n\turl = ext::sh -c x\n";
    let modules = repository.object("blob", modules).unwrap();
    let top = [
        ("40000", &b".git"[..], inner.as_str()),
        ("100644", b".gitmodules", &modules),
        ("40000", b"..", &inner),
    ];
    let top = repository.tree(&top).unwrap();
    repository.set("refs/heads/main", &repository.commit(&top, &[]).unwrap()).unwrap();
    // Objects borrowed from nowhere, from itself, and from another host.
    let info = repository.path().join("objects/info");
    std::fs::create_dir_all(&info).unwrap();
    std::fs::write(info.join("alternates"), "/nowhere/at/all\n.\n../objects\n").unwrap();
    std::fs::write(info.join("http-alternates"), "http://127.0.0.1:1/objects\n").unwrap();
    (repository, 2 * names.len())
}

/// Blobs of 1 KB to 16 MB, each a delta that has the one before it twice.
fn doubling() -> RawRepository {
    let mut content = secret().into_bytes();
    content.resize(1 << 10, b' ');
    let mut blobs = vec![(PackEntry::Whole(BLOB, content.clone()), object_id(BLOB, &content).unwrap())];
    for base in 0..14 {
        let delta = repeating_delta(content.len() as u64, 2);
        content = content.repeat(2);
        blobs.push((PackEntry::Delta(base, delta), object_id(BLOB, &content).unwrap()));
    }
    RawRepository::packed(blobs).unwrap()
}

/// Tags of tags, symbolic refs in circles, dates of long ago and of never, refs to what is no commit.
fn tags_and_refs() -> RawRepository {
    let repository = RawRepository::new().unwrap();
    let blob = repository.object("blob", secret().as_bytes()).unwrap();
    let tree = repository.tree(&[("100644", b"f", &blob)]).unwrap();
    let mut parent: Vec<String> = Vec::new();
    for date in ["-5", "0", "31556889864403199", "99999999999999999999999", "x"] {
        let parents: Vec<&str> = parent.iter().map(String::as_str).collect();
        let commit = secretscan_testkit::hostile::commit_bytes(&tree, &parents, date);
        parent = vec![repository.object("commit", &commit).unwrap()];
    }
    repository.set("refs/heads/main", &parent[0]).unwrap();
    let deep = repository.nested_tags(&parent[0], 10_000).unwrap();
    repository.set("refs/tags/deep", &deep).unwrap();
    repository.set("refs/odd/tree", &tree).unwrap();
    repository.set("refs/odd/blob", &blob).unwrap();
    for (name, to) in [("a", "b"), ("b", "a"), ("self", "self")] {
        repository.set(&format!("refs/heads/{name}"), &format!("ref: refs/heads/{to}")).unwrap();
    }
    repository
}

/// How a host answers a fetch, once it has told its refs.
#[derive(Clone)]
enum Answer {
    /// Nothing at all, from the first request on.
    Nothing,
    /// A redirect to a private address, from the first request on.
    Redirect,
    /// Progress without end.
    Progress,
    /// A pack without end, of so many objects.
    Pack(u32),
    /// This pack.
    This(Vec<u8>),
}

/// A host in front of a good one, until the set is dropped; gives its URL.
async fn evil(hosts: &mut JoinSet<()>, good: &str, answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (behind, name) = good.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let (behind, url) = (behind.to_owned(), format!("http://{address}/{name}"));
    hosts.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // A client that breaks off is its own matter.
            let (behind, answer) = (behind.clone(), answer.clone());
            connections.spawn(async move { drop(serve(stream, &behind, answer).await) });
        }
    });
    url
}

async fn serve(mut client: TcpStream, behind: &str, answer: Answer) -> std::io::Result<()> {
    let request = read_request(&mut client).await?;
    let is_fetch = memchr::memmem::find(&request, b"command=fetch").is_some();
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\nConnection: close\r\n\r\n";
    match answer {
        Answer::Nothing => std::future::pending::<()>().await,
        Answer::Redirect => {
            let moved =
                "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n";
            client.write_all(moved.as_bytes()).await?;
        }
        _ if !is_fetch => {
            let mut server = TcpStream::connect(behind).await?;
            server.write_all(&request).await?;
            tokio::io::copy(&mut server, &mut client).await?;
        }
        Answer::Progress => {
            client.write_all(format!("{head}000dpackfile\n").as_bytes()).await?;
            loop {
                client.write_all(&band(2, b"Counting objects: all of them\r")).await?;
                tokio::time::sleep_until(tokio::time::Instant::now() + std::time::Duration::from_millis(5))
                    .await;
            }
        }
        Answer::Pack(count) => {
            client.write_all(format!("{head}000dpackfile\n").as_bytes()).await?;
            let pack = pack_bytes(&[PackEntry::Whole(BLOB, noise(60_000))]).unwrap().0;
            client.write_all(&band(1, &[&pack[..8], &count.to_be_bytes()].concat())).await?;
            loop {
                client.write_all(&band(1, &pack[12..pack.len() - 20])).await?;
            }
        }
        Answer::This(pack) => {
            client.write_all(format!("{head}000dpackfile\n").as_bytes()).await?;
            client.write_all(&band(1, &pack)).await?;
            client.write_all(b"0000").await?;
        }
    }
    client.shutdown().await
}

/// Bytes that don't compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..len).map(next).collect()
}

/// A packet of a side band. Source: gitprotocol-pack(5).
fn band(number: u8, bytes: &[u8]) -> Vec<u8> {
    [format!("{:04x}", bytes.len() + 5).as_bytes(), &[number], bytes].concat()
}

/// A request with its body.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = client.read(&mut piece).await?;
        request.extend_from_slice(&piece[..count]);
        let Some(end) = memchr::memmem::find(&request, b"\r\n\r\n") else {
            if count == 0 {
                return Ok(request);
            }
            continue;
        };
        let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        if count == 0 || request.len() >= end + 4 + length.unwrap_or(0) {
            return Ok(request);
        }
    }
}
