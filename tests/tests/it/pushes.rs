//! Pushes that a Git host told of.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use secretscan_bus::access::Identity;
use secretscan_bus::pushes::Reception;
use secretscan_bus::topology::Queue;
use secretscan_model::ledger::CommitState;
use secretscan_model::{Priority, RepositoryId, RepositoryScan, ScanState};
use secretscan_proto::v1;
use secretscan_testkit::{eventually, generate};
use secretscan_tests::{DEADLINE, Key, Size, System, keys};

fn push(uri: &str, delivery: &str, name: &str, before: &str, after: &str) -> v1::PushReceived {
    let pushed = v1::PushedRef { name: name.to_owned(), before: before.to_owned(), after: after.to_owned() };
    v1::PushReceived {
        source: "host".to_owned(),
        delivery: delivery.to_owned(),
        uri: uri.to_owned(),
        refs: vec![pushed],
        pusher: "somebody".to_owned(),
        received_at: 0,
    }
}

/// The requests for pushes, once all have ended.
async fn ended(system: &System) -> Vec<RepositoryScan> {
    system.drained().await;
    eventually(DEADLINE, "all requests have ended", async || {
        let scans = system.bus.scans().await.ok()?;
        scans.iter().all(|scan| scan.state.is_terminal()).then_some(scans)
    })
    .await
}

fn lines(output: Vec<u8>) -> Vec<String> {
    String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pushes_are_few_scans_and_no_commit_is_lost() {
    let mut system = System::start(Size { controllers: 2, repo_agents: 0, ..Size::default() }).await.unwrap();
    let webhook = system.connect(Identity::Webhook).await.unwrap();
    let generated = generate(71, 1_000).unwrap();
    let repository = &generated.repository;
    let uri = repository.path().to_str().unwrap().to_owned();
    let commits = repository.commits_and_parents().unwrap();
    let pushes: Vec<v1::PushReceived> = commits
        .iter()
        .enumerate()
        .map(|(number, (after, before))| push(&uri, &number.to_string(), "refs/heads/main", before, after))
        .collect();
    // Half of them while nobody fetches, half beside the scans: each scan makes room for the next, so how many there are goes by how
    // long these take to come.
    let (before, beside) = pushes.split_at(500);
    for pushes in [before, beside] {
        let received =
            futures::stream::iter(pushes).map(|push| webhook.receive_push(push)).buffer_unordered(50);
        let receptions: Vec<Reception> = received.try_collect().await.unwrap();
        assert!(receptions.iter().all(|reception| *reception == Reception::Taken));
        if system.size.repo_agents == 0 {
            eventually(DEADLINE, "all have joined a request", async || {
                (system.bus.unfinished(Queue::Pushes).await.ok()? == 0).then_some(())
            })
            .await;
            system.stop_services().await.unwrap();
            system.size.repo_agents = 1;
            system.start_services().await.unwrap();
        }
    }
    assert_eq!(webhook.receive_push(&pushes[3]).await.unwrap(), Reception::Replayed);

    let scans = ended(&system).await;
    // A request takes 250 of them.
    assert!((4..=20).contains(&scans.len()), "{} requests", scans.len());
    assert!(
        scans.iter().all(|scan| scan.state == ScanState::Completed && scan.priority == Priority::Reactive)
    );
    let told: BTreeSet<String> = pushes.iter().map(|push| push.refs[0].after.clone()).collect();
    let asked: BTreeSet<String> =
        scans.iter().flat_map(|scan| scan.pushes.iter().map(|push| push.after.to_string())).collect();
    assert_eq!(asked, told);
    let id = scans[0].repository.clone().unwrap();
    // The naive oracle is too slow for this one.
    let found = keys(&system.findings(&id).await.unwrap());
    for planted in &generated.planted {
        let is_it = |key: &Key| key.0 == planted.rule_id && key.1 == planted.path;
        assert!(found.iter().any(is_it), "{planted:?}");
    }
    let head = system.bus.ledger(&id).head().await.unwrap();
    assert_eq!(head.count(CommitState::Scanned), told.len() as u64);

    // Each push that was told of brought one commit, whichever request it joined.
    for scan in &scans {
        let pushed = system.bus.pushed(&id, &scan.id).await.unwrap().unwrap();
        assert_eq!(pushed.pushes.len(), scan.pushes.len());
        for (content, push) in pushed.pushes.iter().zip(&scan.pushes) {
            assert_eq!((&content.after, &content.tip), (&push.after.to_string(), &content.after));
            // A branch beside it reaches the first commit too.
            let is_first = push.before.is_none();
            assert!(is_first || content.commit_ids.starts_with(push.after.as_bytes()), "{content:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_pushed_is_scanned_and_nothing_else() {
    let system = System::start(Size::default()).await.unwrap();
    let webhook = system.connect(Identity::Webhook).await.unwrap();
    let generated = generate(72, 60).unwrap();
    let repository = &generated.repository;
    let uri = repository.path().to_str().unwrap().to_owned();
    let git = |arguments: &[&str]| lines(repository.git(arguments).unwrap()).concat();
    let head = git(&["rev-parse", "HEAD"]);
    let middle = git(&["rev-parse", "HEAD~10"]);
    // A branch that nobody told of, and one that was overwritten before anybody could look.
    let make = |message: &str| {
        git(&[
            "-c",
            "user.name=n",
            "-c",
            "user.email=e",
            "commit-tree",
            "-p",
            &head,
            "-m",
            message,
            "HEAD^{tree}",
        ])
    };
    let (untold, overwritten) = (make("untold"), make("overwritten"));
    git(&["update-ref", "refs/heads/untold", &untold]);
    let gone = "12".repeat(20);

    webhook.receive_push(&push(&uri, "1", "refs/heads/main", &middle, &head)).await.unwrap();
    let scans = ended(&system).await;
    let id: RepositoryId = scans[0].repository.clone().unwrap();
    let known = async || {
        let known = system.bus.ledger(&id).known().await.unwrap();
        [&head, &overwritten, &untold].map(|commit| known.contains(&commit.parse().unwrap()))
    };
    assert_eq!(known().await, [true, false, false]);
    webhook.receive_push(&push(&uri, "2", "refs/heads/side", "", &overwritten)).await.unwrap();
    webhook.receive_push(&push(&uri, "3", "refs/heads/side", "", &gone)).await.unwrap();
    let scans = ended(&system).await;
    assert_eq!(known().await, [true, true, false]);
    let not_scanned: Vec<String> = scans
        .iter()
        .flat_map(|scan| &scan.found.as_ref().unwrap().not_scanned)
        .map(|left| format!("{}: {}", left.what, left.reason))
        .collect();
    assert_eq!(not_scanned, [format!("{gone} of refs/heads/side: the host does not have it any more")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_makes_no_sense_is_a_dead_letter() {
    let system = System::start(Size::default()).await.unwrap();
    let webhook = system.connect(Identity::Webhook).await.unwrap();
    let (id, local) = ("12".repeat(20), "/srv/r");
    let wrong = [
        (
            push(local, "1", "main", "", &id),
            "\"main\" is not the full name of a ref, such as refs/heads/main",
        ),
        (push(local, "2", "refs/heads/main", "", "12"), "of refs/heads/main: "),
        (push("ext::sh", "3", "refs/heads/main", "", &id), ""),
        (
            v1::PushReceived { refs: vec![], ..push(local, "4", "", "", "") },
            "a push has 1 to 1000 refs, this one has 0",
        ),
    ];
    for (push, _) in &wrong {
        webhook.receive_push(push).await.unwrap();
    }
    system.drained().await;
    let letters = eventually(DEADLINE, "the dead letters", async || {
        let letters = system.bus.dead_letters(0, 100).await.ok()?;
        (letters.len() == wrong.len()).then_some(letters)
    })
    .await;
    for (_, reason) in &wrong {
        assert!(letters.iter().any(|letter| letter.reason.starts_with(reason)), "{reason}: {letters:?}");
    }
    assert_eq!(system.bus.scans().await.unwrap(), []);
}
