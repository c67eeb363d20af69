//! The on-demand scan, end to end.

use prost::Message;
use secretscan_bus::access::Identity;
use secretscan_model::ScanState;
use secretscan_model::ledger::CommitState;
use secretscan_proto::v1;
use secretscan_testkit::{Change, eventually, generate};
use secretscan_tests::{DEADLINE, Size, System, expected, keys};

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
    assert_eq!(keys(&findings), expected(&system.key(), &path));
    assert!(findings.len() >= generated.planted.len());
    let stored = system.everything_stored().await.unwrap();
    for planted in &generated.planted {
        let secret = planted.secret.as_bytes();
        // Excerpts show the ends of long secrets, never the whole.
        assert!(memchr::memmem::find(&stored, secret).is_none(), "a {} is stored", planted.rule_id);
    }

    let (id, _) = system.request(&format!("file://{uri}")).await.unwrap();
    let again = system.ended(&id).await;
    assert_eq!(again.state, ScanState::Completed);
    assert_eq!((again.found.unwrap().unknown, again.batches.len()), (0, 0));

    let text = format!("aws_access_key_id = AKIA{}\n", "QWERTYUIOPASDFGH");
    generated.repository.push_commit("main", [Change::write("new.txt", text.as_bytes())]).unwrap();
    let (id, _) = system.request(&uri).await.unwrap();
    let pushed = system.ended(&id).await;
    assert_eq!(pushed.totals().commits, 1);
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), &path));

    let head = system.bus.ledger(&repository).head().await.unwrap();
    assert_eq!(head.count(CommitState::Scanned), found.commits + 1);
    assert_eq!(head.count(CommitState::WaitingForScan), 0);
    system.drained().await;
    system.stop_services().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_and_protobuf_are_taken_with_and_without_ids() {
    let system = System::start(Size::default()).await.unwrap();
    let generated = generate(2, 30).unwrap();
    let uri = generated.repository.path().to_str().unwrap().to_owned();
    let client = system.client(Identity::Requester).await.unwrap();
    let door = "secretscan.repository-scan.new";

    // As `nats pub` sends it.
    client.publish(door, format!(r#"{{"uri":"{uri}","requester":"somebody"}}"#).into()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "by-header");
    client.publish_with_headers(door, headers, format!(r#"{{"uri":"{uri}"}}"#).into()).await.unwrap();
    let message = v1::NewRepositoryScan {
        request_id: "by-field".into(),
        uri: uri.clone(),
        priority: v1::Priority::Reactive.into(),
        ..v1::NewRepositoryScan::default()
    };
    for _ in 0..3 {
        client.publish(door, message.encode_to_vec().into()).await.unwrap();
    }
    let scans = eventually(DEADLINE, "three requests have completed", async || {
        let scans = system.bus.scans().await.ok()?;
        let completed = scans.iter().filter(|scan| scan.state == ScanState::Completed).count();
        (completed == 3).then_some(scans)
    })
    .await;
    let mut ids: Vec<&str> = scans.iter().map(|scan| scan.id.as_str()).collect();
    ids.retain(|id| id.starts_with("by-"));
    ids.sort_unstable();
    assert_eq!(ids, ["by-field", "by-header"]);
    let repository = scans[0].repository.clone().unwrap();
    assert!(scans.iter().all(|scan| scan.repository.as_ref() == Some(&repository)));

    // As `nats request` sends it, by the id of the repository.
    let body = format!(r#"{{"repositoryId":"{repository}"}}"#);
    let reply = client.request(door, body.into()).await.unwrap();
    let answer: v1::Answer = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(answer.repository_id, repository.to_string());
    assert_eq!(system.ended(&answer.request_id.parse().unwrap()).await.state, ScanState::Completed);
    system.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_loses_and_repeats_nothing() {
    let mut system = System::start(Size { batch_commits: 20, ..Size::default() }).await.unwrap();
    let generated = generate(3, 400).unwrap();
    let path = generated.repository.path();
    let (id, repository) = system.request(path.to_str().unwrap()).await.unwrap();
    // An agent lost for the third time would fail the request.
    for batches in [3, 10] {
        eventually(DEADLINE, "some batches have ended", async || {
            let scan = system.bus.scan(&id).await.ok()??;
            (scan.totals().ended >= batches || scan.state.is_terminal()).then_some(())
        })
        .await;
        system.crash_services().await.unwrap();
        system.server.kill().await.unwrap();
        system.server.restart().await.unwrap();
        system.start_services().await.unwrap();
    }
    let scan = system.ended(&id).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), path));
    let head = system.bus.ledger(&repository).head().await.unwrap();
    assert_eq!(head.count(CommitState::Scanned), scan.found.unwrap().commits);
    system.drained().await;
    system.stop_services().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_request_stops_and_can_be_asked_again() {
    let system = System::start(Size { batch_commits: 5, ..Size::default() }).await.unwrap();
    let generated = generate(4, 300).unwrap();
    let path = generated.repository.path();
    let (id, repository) = system.request(path.to_str().unwrap()).await.unwrap();
    eventually(DEADLINE, "a batch has ended", async || {
        (system.bus.scan(&id).await.ok()??.totals().ended > 0).then_some(())
    })
    .await;
    let cancel = v1::CancelRepositoryScan { request_id: id.to_string(), requester: "test".into() };
    let answer = system.bus.cancel_scan(&cancel).await.unwrap();
    assert_eq!((answer.request_id.as_str(), answer.error.as_str()), (id.as_str(), ""));
    assert_eq!(system.ended(&id).await.state, ScanState::Cancelled);
    system.drained().await;
    let head = system.bus.ledger(&repository).head().await.unwrap();
    assert_eq!(head.count(CommitState::WaitingForScan), 0, "what was not scanned is unknown again");
    assert!(head.count(CommitState::Scanned) > 0);
    let unknown = v1::CancelRepositoryScan { request_id: "no-such".into(), ..cancel.clone() };
    assert_eq!(system.bus.cancel_scan(&unknown).await.unwrap().error, "there is no request no-such");

    let (id, _) = system.request(path.to_str().unwrap()).await.unwrap();
    assert_eq!(system.ended(&id).await.state, ScanState::Completed);
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), path));
    let late = v1::CancelRepositoryScan { request_id: id.to_string(), ..cancel };
    assert_eq!(
        system.bus.cancel_scan(&late).await.unwrap().error,
        format!("the request {id} is Completed and can't be cancelled")
    );
}
