//! Several of each service, and several requests at once.

use std::collections::BTreeSet;

use secretscan_model::ScanState;
use secretscan_model::ledger::CommitState;
use secretscan_testkit::generate;
use secretscan_tests::{Size, System, expected, keys};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_requests_at_once_scan_each_commit_once() {
    let size = Size { controllers: 2, schedulers: 2, repo_agents: 2, batch_agents: 2, batch_commits: 20 };
    let system = System::start(size).await.unwrap();
    let generated = generate(5, 300).unwrap();
    let path = generated.repository.path();
    let uri = path.to_str().unwrap();
    let (first, second) = tokio::join!(system.request(uri), system.request(uri));
    let ((first, repository), (second, _)) = (first.unwrap(), second.unwrap());
    let (first, second) = (system.ended(&first).await, system.ended(&second).await);
    assert_eq!((&first.state, &second.state), (&ScanState::Completed, &ScanState::Completed));
    let commits = first.found.as_ref().unwrap().commits;
    assert_eq!(first.totals().commits + second.totals().commits, commits);
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), path));
    let head = system.bus.ledger(&repository).head().await.unwrap();
    assert_eq!(head.count(CommitState::Scanned), commits);
    system.drained().await;
}

/// As after a crash just after the hold, when messages come again in another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_may_fetch_is_not_held_up_by_one_that_waits_for_it() {
    let mut system = System::start(Size { repo_agents: 0, ..Size::default() }).await.unwrap();
    let generated = generate(8, 30).unwrap();
    let path = generated.repository.path();
    let uri = path.to_str().unwrap();
    let (first, repository) = system.request(uri).await.unwrap();
    let (second, _) = system.request(uri).await.unwrap();
    assert_eq!(system.bus.hold_fetch(&repository, &second).await.unwrap(), second);
    system.stop_services().await.unwrap();
    system.size.repo_agents = 1;
    system.start_services().await.unwrap();
    for request in [second, first] {
        assert_eq!(system.ended(&request).await.state, ScanState::Completed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_agents_of_each_kind_share_five_thousand_commits_and_small_repositories() {
    let size = Size { controllers: 2, schedulers: 2, repo_agents: 3, batch_agents: 3, batch_commits: 100 };
    let system = System::start(size).await.unwrap();
    let big = generate(6, 5_000).unwrap();
    let small: Vec<_> = (7..13).map(|seed| generate(seed, 40).unwrap()).collect();
    let (giant, giant_repository) = system.request(big.repository.path().to_str().unwrap()).await.unwrap();
    let mut requests = vec![];
    for generated in &small {
        let path = generated.repository.path();
        requests.push((generated, system.request(path.to_str().unwrap()).await.unwrap()));
    }
    for (generated, (id, repository)) in requests {
        assert_eq!(system.ended(&id).await.state, ScanState::Completed);
        let found = keys(&system.findings(&repository).await.unwrap());
        assert_eq!(found, expected(&system.key(), generated.repository.path()));
    }
    let scan = system.ended(&giant).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
    assert_eq!(scan.totals().commits, scan.found.as_ref().unwrap().commits);
    // The naive oracle is too slow for this one: every planted secret must be there.
    let found: BTreeSet<(String, Vec<u8>)> = keys(&system.findings(&giant_repository).await.unwrap())
        .into_iter()
        .map(|(rule, path, _, _)| (rule, path))
        .collect();
    for planted in &big.planted {
        assert!(found.contains(&(planted.rule_id.to_string(), planted.path.clone())), "{planted:?}");
    }
    let batches = system.bus.batches_of(&giant).await.unwrap();
    let agents: BTreeSet<String> = batches
        .iter()
        .flat_map(|batch| batch.trail.iter().filter(|entry| entry.state == "InProgress"))
        .map(|entry| entry.by.clone())
        .collect();
    assert_eq!(agents.len(), 3, "all batch-agents took part: {agents:?}");
    system.drained().await;
}
