//! The ledger as its commands use it: what is not scanned is named, and commits are scanned again that were forgotten.

use secretscan_bus::access::Identity;
use secretscan_model::ledger::CommitState;
use secretscan_model::{Listing, RepositoryId, RepositoryScan, ScanState};
use secretscan_proto::v1;
use secretscan_testkit::{
    Change, HttpRemote, Random, RepositoryBuilder, SecretKind, SecretText, eventually, generate,
};
use secretscan_tests::{DEADLINE, Size, System, expected, keys};

async fn verify(system: &System, repository: &RepositoryId) -> Listing {
    let request = v1::NewRepositoryScan {
        repository_id: repository.to_string(),
        verify: true,
        ..v1::NewRepositoryScan::default()
    };
    let answer = system.bus.request_scan(&request).await.unwrap();
    assert_eq!(answer.error, "");
    let scan = system.ended(&answer.request_id.parse().unwrap()).await;
    assert_eq!((&scan.state, scan.batches.len()), (&ScanState::Completed, 0), "{:?}", scan.trail);
    scan.found.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_scanned_is_named_and_what_is_in_flight_is_not_forgotten() {
    let system = System::start(Size { batch_agents: 0, ..Size::default() }).await.unwrap();
    let generated = generate(40, 60).unwrap();
    let (id, repository) = system.request(generated.repository.path().to_str().unwrap()).await.unwrap();
    let listed = eventually(DEADLINE, "the batches are on their way", async || {
        let head = system.bus.ledger(&repository).head().await.ok()?;
        let found = system.bus.scan(&id).await.ok()??.found?;
        (head.count(CommitState::WaitingForScan) == found.unknown).then_some(found.commits)
    })
    .await;
    let found = verify(&system, &repository).await;
    assert_eq!((found.commits, found.unknown, found.not_scanned.len() as u64), (listed, listed, listed));
    for commit in &found.not_scanned {
        assert!(commit.reason.starts_with(&format!("its batch {id}.")), "{}", commit.reason);
    }
    // People's commands have the right, the public door has not.
    let cli = system.connect(Identity::Cli).await.unwrap();
    let all = v1::ForgetCommits { repository_id: repository.to_string(), all: true, ..Default::default() };
    let answer = cli.forget_commits(&all).await.unwrap();
    assert!(answer.error.contains(&format!("being scanned by the request {id}")), "{}", answer.error);
    for (wrong, reason) in [
        (v1::ForgetCommits { all: false, ..all.clone() }, "neither all nor commits"),
        (v1::ForgetCommits { commits: vec!["12".into()], ..all.clone() }, "both all and commits"),
        (v1::ForgetCommits { all: false, commits: vec!["12".into()], ..all.clone() }, "40 or 64 hexadecimal"),
        (
            v1::ForgetCommits { repository_id: "nobody".into(), ..all.clone() },
            "there is no repository nobody",
        ),
    ] {
        let answer = cli.forget_commits(&wrong).await.unwrap();
        assert!(answer.error.contains(reason), "{}", answer.error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_were_forgotten_are_scanned_again_and_no_other() {
    let mut system = System::start(Size::default()).await.unwrap();
    let generated = generate(41, 60).unwrap();
    let path = generated.repository.path();
    let uri = path.to_str().unwrap();
    let (id, repository) = system.request(uri).await.unwrap();
    let first = system.ended(&id).await.found.unwrap();
    assert_eq!(verify(&system, &repository).await, Listing { unknown: 0, vanished: None, ..first.clone() });

    let mut commits: Vec<String> =
        generated.repository.commits_and_parents().unwrap().into_iter().map(|(id, _)| id).collect();
    commits.truncate(7);
    let some = v1::ForgetCommits {
        repository_id: repository.to_string(),
        commits: commits.clone(),
        ..Default::default()
    };
    let answer = system.bus.forget_commits(&some).await.unwrap();
    assert_eq!((answer.error.as_str(), answer.commits), ("", 7));
    let found = verify(&system, &repository).await;
    let mut named: Vec<String> = found.not_scanned.into_iter().map(|commit| commit.what).collect();
    named.sort();
    commits.sort();
    assert_eq!((found.unknown, named), (7, commits));
    let (id, _) = system.request(uri).await.unwrap();
    let again = system.ended(&id).await;
    assert_eq!((again.found.clone().unwrap().unknown, again.totals().commits), (7, 7));
    assert_eq!(verify(&system, &repository).await.unknown, 0);
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), &path));
    system.drained().await;
    system.stop_services().await.unwrap();
}

fn with_secret(path: &str, seed: u64) -> Change {
    Change::write(path, SecretText::new(SecretKind::StripeKey, &mut Random::new(seed)).text)
}

async fn scan(system: &System, uri: &str) -> RepositoryScan {
    let (id, _) = system.request(uri).await.unwrap();
    system.ended(&id).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_with_sha256_ids_is_scanned_like_all_others() {
    let mut system = System::start(Size::default()).await.unwrap();
    let mut builder = RepositoryBuilder::new_sha256().unwrap();
    let leak = builder.commit("main", [with_secret("a", 1)]);
    builder.commit("main", [Change::write("a", "clean\n")]);
    let mut repository = builder.build().unwrap();
    let path = repository.path();
    let remote = HttpRemote::serve(&path).await.unwrap();
    let uri = remote.url();
    let (id, repository_id) = system.request(&uri).await.unwrap();
    let first = system.ended(&id).await;
    assert_eq!((&first.state, first.totals().commits), (&ScanState::Completed, 2), "{:?}", first.trail);
    let findings = system.findings(&repository_id).await.unwrap();
    assert_eq!(findings[0].introduced().commit, repository.id(leak));
    assert_eq!(verify(&system, &repository_id).await.unknown, 0);

    // One commit more, and one that a host tells of.
    let before = repository.push_commit("main", [with_secret("b", 2)]).unwrap();
    assert_eq!(verify(&system, &repository_id).await.unknown, 1);
    assert_eq!(scan(&system, &uri).await.totals().commits, 1);
    let after = repository.push_commit("main", [with_secret("c", 3)]).unwrap();
    let pushed = v1::PushedRef {
        name: "refs/heads/main".into(),
        before: before.to_string(),
        after: after.to_string(),
    };
    let push = v1::PushReceived {
        source: "host".into(),
        delivery: "1".into(),
        uri: uri.clone(),
        refs: vec![pushed],
        ..Default::default()
    };
    system.connect(Identity::Webhook).await.unwrap().receive_push(&push).await.unwrap();
    eventually(DEADLINE, "the push is scanned", async || {
        let head = system.bus.ledger(&repository_id).head().await.ok()?;
        (head.count(CommitState::Scanned) == 4).then_some(())
    })
    .await;
    system.drained().await;
    assert_eq!(verify(&system, &repository_id).await.unknown, 0);
    assert_eq!(keys(&system.findings(&repository_id).await.unwrap()), expected(&system.key(), &path));

    // Another repository in its place, with ids of the other format, is not taken for the same one.
    let mut builder = RepositoryBuilder::new().unwrap();
    builder.commit("main", [Change::write("a", "clean\n")]);
    let other = builder.build().unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::rename(other.path(), &path).unwrap();
    let refused = scan(&system, &uri).await;
    let ScanState::Failed { reason } = &refused.state else { panic!("{:?}", refused.trail) };
    assert!(reason.contains(&format!("history forget {repository_id} --all")), "{reason}");
    let all = v1::ForgetCommits { repository_id: repository_id.to_string(), all: true, ..Default::default() };
    assert_eq!(system.bus.forget_commits(&all).await.unwrap().commits, 4);
    let scanned = scan(&system, &uri).await;
    assert_eq!((&scanned.state, scanned.totals().commits), (&ScanState::Completed, 1), "{:?}", scanned.trail);
    system.drained().await;
    system.stop_services().await.unwrap();
}
