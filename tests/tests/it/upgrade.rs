//! A rolling upgrade: every service is replaced, one by one, while a scan runs, and nothing is lost. What is replaced are the
//! programs of the version before, when `SECRETSCAN_UPGRADE_FROM` names the directory that has them; else programs of this one.

use std::path::Path;

use secretscan_model::ledger::CommitState;
use secretscan_model::{BatchOutcome, RequestId, ScanState};
use secretscan_testkit::service::ServiceProcess;
use secretscan_testkit::{TestServer, eventually, generate};
use secretscan_tests::faults::binaries::SERVICES;
use secretscan_tests::kubernetes::{ApiServer, Kind};
use secretscan_tests::processes::{DashboardFiles, NO_TASKS, Programs};
use secretscan_tests::{DEADLINE, System, Users, expected, keys};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// Many small pieces of work, so that each service has something in hand when it goes.
const PIECES: [(&str, &str); 2] =
    [("SECRETSCAN_BATCHES__MAX_COMMITS", "6"), ("SECRETSCAN_BATCHES__MAX_OPEN", "6")];

/// What services find around them.
struct Surroundings {
    system: System,
    api_server: ApiServer,
    secret: NamedTempFile,
}

/// A service, and how to ask it when it is a dashboard.
struct Running {
    process: ServiceProcess,
    dashboard: Option<DashboardFiles>,
}

impl Surroundings {
    async fn new() -> Self {
        let users = Users::new().unwrap();
        let server = TestServer::start_with(users.server_config().unwrap()).await.unwrap();
        let system = System::start_on(server, users, NO_TASKS, Box::new(|_, _| {})).await.unwrap();
        let secret = NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "0123456789".repeat(4)).unwrap();
        Self { system, api_server: ApiServer::start().await.unwrap(), secret }
    }

    async fn start(&self, programs: &Programs, service: &str) -> Running {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let dashboard = match service {
            "dashboard" => Some(DashboardFiles::new().await.unwrap()),
            _ => None,
        };
        let kubernetes = self.api_server.settings();
        let settings: Vec<(&str, String)> = match service {
            "repo-agent" => PIECES.map(|(name, value)| (name, value.to_owned())).into(),
            "webhook" => vec![
                ("SECRETSCAN_WEBHOOK__LISTEN", "127.0.0.1:0".to_owned()),
                ("SECRETSCAN_SOURCES__GITHUB__KIND", "github".to_owned()),
                ("SECRETSCAN_SOURCES__GITHUB__SECRET_FILE", text(self.secret.path())),
                ("SECRETSCAN_SOURCES__GITHUB__BASE_URL", "https://github.example/".to_owned()),
            ],
            "dashboard" => {
                dashboard.iter().map(|files| ("SECRETSCAN_CONFIG", text(&files.config()))).collect()
            }
            "operator" => vec![
                ("SECRETSCAN_KUBERNETES__URL", kubernetes.url),
                ("SECRETSCAN_KUBERNETES__CA_FILE", text(&kubernetes.ca_file)),
                ("SECRETSCAN_KUBERNETES__TOKEN_FILE", text(&kubernetes.token_file)),
            ],
            _ => vec![],
        };
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let process = programs.start(&self.system, service, &settings).await.unwrap();
        Running { process, dashboard }
    }

    /// The resource that asks for the scan.
    fn resource(&self) -> Value {
        self.api_server.get(Kind::RepositoryScan, "upgraded").unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_replaced_one_by_one_during_a_scan() {
    let surroundings = Surroundings::new().await;
    let (system, new) = (&surroundings.system, Programs::build().await.unwrap());
    let before = std::env::var_os("SECRETSCAN_UPGRADE_FROM").map(|dir| Programs::of(Path::new(&dir)));
    let old = before.as_ref().unwrap_or(&new);
    let mut running = Vec::new();
    for service in SERVICES {
        running.push((service, surroundings.start(old, service).await));
    }
    let generated = generate(91, 600).unwrap();
    let path = generated.repository.path();
    surroundings.api_server.apply(Kind::RepositoryScan, "upgraded", &json!({ "uri": path }));
    let id = eventually(DEADLINE, "the operator has asked", async || {
        surroundings.resource()["status"]["requestId"].as_str().map(|id| id.parse::<RequestId>().unwrap())
    })
    .await;

    // As a rollout does it: the new one is ready before the old one is told to go.
    let mut replaced = 0;
    for (service, old) in &mut running {
        let before = ended_batches(system, &id).await;
        eventually(DEADLINE, "the scan has moved on", async || {
            (ended_batches(system, &id).await > before).then_some(())
        })
        .await;
        let old = std::mem::replace(old, surroundings.start(&new, service).await);
        let (status, log) = old.process.finish().await.unwrap();
        assert_eq!(status.code(), Some(0), "{service}: {log}");
        let scan = system.bus.scan(&id).await.unwrap().unwrap();
        replaced += usize::from(!scan.state.is_terminal());
    }
    println!("{} batches had ended when all were replaced", ended_batches(system, &id).await);
    assert_eq!(replaced, SERVICES.len(), "the scan ended before all were replaced");

    let scan = system.ended(&id).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail.last());
    let repository = scan.repository.unwrap();
    system.drained().await;
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), path));
    let commits = String::from_utf8(generated.repository.git(&["rev-list", "--all"]).unwrap()).unwrap();
    let ledger = system.bus.ledger(&repository);
    let scanned = ledger.commits_in(|segment| segment.state == CommitState::Scanned).await.unwrap();
    for commit in commits.lines() {
        assert!(scanned.contains(&commit.parse().unwrap()), "{commit} is not scanned");
    }
    assert_eq!(scanned.len(), commits.lines().count(), "one was scanned twice");

    // The new ones that are no part of the scan tell of it, too.
    eventually(DEADLINE, "the resource shows it", async || {
        (surroundings.resource()["status"]["state"] == "Completed").then_some(())
    })
    .await;
    let dashboard = running.iter().find_map(|(_, running)| running.dashboard.as_ref()).unwrap();
    eventually(DEADLINE, "the dashboard shows it", async || {
        let shown = dashboard.ask(&format!("/api/v1/requests/{id}"), None).await.ok()?;
        (shown["state"] == "Completed").then_some(())
    })
    .await;
}

async fn ended_batches(system: &System, id: &RequestId) -> usize {
    let scan = system.bus.scan(id).await.unwrap().unwrap();
    scan.batches.values().filter(|outcome| **outcome != BatchOutcome::Open).count()
}
