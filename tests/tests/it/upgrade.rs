//! A rolling upgrade: every service is replaced, one by one, while a scan runs, and nothing is lost.

use secretscan_model::ledger::CommitState;
use secretscan_model::{BatchOutcome, RequestId, ScanState};
use secretscan_testkit::{TestServer, eventually, generate};
use secretscan_tests::processes::{NO_TASKS, Programs};
use secretscan_tests::{DEADLINE, System, Users, expected, keys};

const SERVICES: [&str; 6] = ["controller", "scheduler", "repo-agent", "batch-agent", "webhook", "notifier"];
/// Many small pieces of work, so that each service has something in hand when it goes.
const PIECES: [(&str, &str); 2] =
    [("SECRETSCAN_BATCHES__MAX_COMMITS", "6"), ("SECRETSCAN_BATCHES__MAX_OPEN", "6")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_replaced_one_by_one_during_a_scan() {
    let users = Users::new().unwrap();
    let server = TestServer::start_with(users.server_config().unwrap()).await.unwrap();
    let system = System::start_on(server, users, NO_TASKS, Box::new(|_, _| {})).await.unwrap();
    let programs = Programs::build().await.unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "0123456789".repeat(4)).unwrap();
    let source = [
        ("SECRETSCAN_WEBHOOK__LISTEN", "127.0.0.1:0"),
        ("SECRETSCAN_SOURCES__GITHUB__KIND", "github"),
        ("SECRETSCAN_SOURCES__GITHUB__SECRET_FILE", secret.path().to_str().unwrap()),
        ("SECRETSCAN_SOURCES__GITHUB__BASE_URL", "https://github.example/"),
    ];
    let start = async |service: &str| {
        let settings = match service {
            "repo-agent" => &PIECES[..],
            "webhook" => &source[..],
            _ => &[],
        };
        programs.start(&system, service, settings).await.unwrap()
    };
    let mut running = Vec::new();
    for service in SERVICES {
        running.push((service, start(service).await));
    }
    let generated = generate(91, 600).unwrap();
    let path = generated.repository.path();
    let (id, repository) = system.request(path.to_str().unwrap()).await.unwrap();

    // As a rollout does it: the new one is ready before the old one is told to go.
    let mut replaced = 0;
    for (service, old) in running.iter_mut().map(|(service, old)| (*service, old)).collect::<Vec<_>>() {
        let before = ended_batches(&system, &id).await;
        eventually(DEADLINE, "the scan has moved on", async || {
            (ended_batches(&system, &id).await > before).then_some(())
        })
        .await;
        let new = start(service).await;
        let (status, log) = std::mem::replace(old, new).finish().await.unwrap();
        assert_eq!(status.code(), Some(0), "{service}: {log}");
        let scan = system.bus.scan(&id).await.unwrap().unwrap();
        replaced += usize::from(!scan.state.is_terminal());
    }
    println!("{} batches had ended when all were replaced", ended_batches(&system, &id).await);
    assert_eq!(replaced, SERVICES.len(), "the scan ended before all were replaced");

    let scan = system.ended(&id).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail.last());
    system.drained().await;
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), &path));
    let commits = String::from_utf8(generated.repository.git(&["rev-list", "--all"]).unwrap()).unwrap();
    let ledger = system.bus.ledger(&repository);
    let scanned = ledger.commits_in(|segment| segment.state == CommitState::Scanned).await.unwrap();
    for commit in commits.lines() {
        assert!(scanned.contains(&commit.parse().unwrap()), "{commit} is not scanned");
    }
    assert_eq!(scanned.len(), commits.lines().count(), "one was scanned twice");
}

async fn ended_batches(system: &System, id: &RequestId) -> usize {
    let scan = system.bus.scan(id).await.unwrap().unwrap();
    scan.batches.values().filter(|outcome| **outcome != BatchOutcome::Open).count()
}
