//! The on-demand scan, end to end.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use secretscan_detect::{RuleSet, Secret};
use secretscan_model::ledger::CommitState;
use secretscan_model::{Finding, ScanState};
use secretscan_testkit::{Change, generate, oracle};
use secretscan_tests::{Size, System};

/// What must be equal: rule, path, hash of the secret, introducing commit.
type Key = (String, Vec<u8>, String, String);

fn keys(findings: &[Finding]) -> BTreeSet<Key> {
    findings
        .iter()
        .map(|finding| {
            let introduced = finding.introduced().commit.to_string();
            (finding.rule_id.to_string(), finding.path.clone(), finding.secret_hash.0.clone(), introduced)
        })
        .collect()
}

fn expected(system: &System, path: &std::path::Path) -> BTreeSet<Key> {
    oracle(path, &RuleSet::builtin())
        .unwrap()
        .into_iter()
        .map(|found| {
            let hash = Secret::new(found.secret).hash(&system.key());
            (found.rule_id.to_string(), found.path, hash, found.introduced.to_string())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_equal_the_oracle_and_a_second_request_scans_nothing() {
    let mut system = System::start(Size::default()).await.unwrap();
    let mut generated = generate(1, 300).unwrap();
    let path = generated.repository.path().to_owned();
    let uri = path.to_str().unwrap().to_owned();

    let (id, repository) = system.request(&uri).await.unwrap();
    let scan = system.ended(&id).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
    let states: Vec<&str> = scan.trail.iter().map(|entry| entry.state.as_str()).collect();
    assert_eq!(states, ["New", "Validating", "Queued", "Scheduling", "Scheduled", "InProgress", "Completed"]);
    let found = scan.found.clone().unwrap();
    assert_eq!((found.commits, scan.totals().commits), (found.unknown, found.unknown));
    assert!(scan.batches.len() >= 6, "{} batches", scan.batches.len());
    let findings = system.findings(&repository).await.unwrap();
    assert_eq!(keys(&findings), expected(&system, &path));
    assert!(findings.len() >= generated.planted.len());

    let (id, _) = system.request(&format!("file://{uri}")).await.unwrap();
    let again = system.ended(&id).await;
    assert_eq!(again.state, ScanState::Completed);
    assert_eq!((again.found.unwrap().unknown, again.batches.len()), (0, 0));

    let text = format!("aws_access_key_id = AKIA{}\n", "QWERTYUIOPASDFGH");
    generated.repository.push_commit("main", [Change::write("new.txt", text.as_bytes())]).unwrap();
    let (id, _) = system.request(&uri).await.unwrap();
    let pushed = system.ended(&id).await;
    assert_eq!(pushed.totals().commits, 1);
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system, &path));

    let head = system.bus.ledger(&repository).head().await.unwrap();
    assert_eq!(head.count(CommitState::Scanned), found.commits + 1);
    assert_eq!(head.count(CommitState::WaitingForScan), 0);
    system.drained().await;
    system.stop_services().await.unwrap();
}
