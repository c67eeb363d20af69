//! The commands that talk to a running system, against a real nats-server. Records are made through the bus, as the
//! services do; where an answer is needed, the real controller gives it.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "remote/discover.rs"]
mod discover;
#[path = "remote/doctor.rs"]
mod doctor;
mod older;
#[path = "remote/schedules.rs"]
mod schedules;

use std::process::{Command, Output};
use std::time::Duration;

use secretscan_bus::agents::Presence;
use secretscan_bus::ledger::LedgerCache;
use secretscan_bus::{Bus, NatsConfig, Stop};
use secretscan_model::finding::LaterOccurrences;
use secretscan_model::{
    AgentId, Author, BatchEvent, BatchKey, BatchReport, Claim, CommitId, Finding, FindingId, Listing,
    NotScanned, Occurrence, Priority, RepositoryId, RepositoryUri, RequestId, Role, ScanEvent, ScanState,
    SecretHash, UriPolicy,
};
use secretscan_testkit::{TestServer, eventually};
use serde_json::Value;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(20);

/// A control sequence, as a hostile record may hold one.
const CLEAR_SCREEN: &str = "\u{1b}[2J";

/// A nats-server with the buckets of a system.
struct System {
    server: TestServer,
    bus: Bus,
}

impl System {
    async fn start() -> Self {
        let server = TestServer::start().await.unwrap();
        let config = NatsConfig { url: server.url(), name: "test".into(), ..NatsConfig::default() };
        let bus = Bus::connect(&config).await.unwrap();
        Self { server, bus }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run_at(&self.server.url(), arguments)
    }

    /// Runs a command that ends only when something else happens.
    fn spawn(&self, arguments: &[&str]) -> JoinHandle<Ran> {
        let url = self.server.url();
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            run_at(&url, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
        })
    }

    async fn repository(&self, uri: &str) -> RepositoryId {
        let uri = RepositoryUri::parse(uri, UriPolicy::default()).unwrap();
        self.bus.know_repository(&uri).await.unwrap()
    }

    /// A request in the state Queued.
    async fn queued(&self, id: &str, uri: &str) -> (RequestId, RepositoryId) {
        let id: RequestId = id.parse().unwrap();
        let repository = self.repository(uri).await;
        self.bus.create_scan(&id, vec![], Priority::OnDemand, "ada".into(), &[]).await.unwrap();
        let accept = ScanEvent::Accept { repository: repository.clone(), uri: uri.into() };
        self.bus.apply_scan(&id, &[ScanEvent::StartValidation, accept]).await.unwrap();
        (id, repository)
    }

    /// Lets an agent take a queued request and fail it.
    async fn failed(&self, id: &RequestId) {
        let agent: AgentId = "repo-agent-1".parse().unwrap();
        let claim = Claim { agent: agent.clone(), attempt: 1 };
        let fail = ScanEvent::Fail { claim, reason: "the host does not know it".into() };
        let take = ScanEvent::Claim { agent, max_attempts: 3 };
        let events = [ScanEvent::StartScheduling, ScanEvent::Assign, take, fail];
        self.bus.apply_scan(id, &events).await.unwrap();
    }

    /// Lets an agent take a queued request, list 3 commits, and cut one batch.
    async fn listed(&self, id: &RequestId, repository: &RepositoryId) -> BatchKey {
        let agent: AgentId = "repo-agent-1".parse().unwrap();
        let claim = Claim { agent: agent.clone(), attempt: 1 };
        let batch = BatchKey { request: id.clone(), batch: "b1".parse().unwrap() };
        let listing = Listing { commits: 3, unknown: 2, ..Listing::default() };
        let events = [
            ScanEvent::StartScheduling,
            ScanEvent::Assign,
            ScanEvent::Claim { agent, max_attempts: 3 },
            ScanEvent::CutBatch { claim: claim.clone(), batch: batch.batch.clone() },
            ScanEvent::FinishListing { claim, listing },
            ScanEvent::Settle,
        ];
        for event in events {
            self.bus.apply_scan(id, &[event]).await.unwrap();
        }
        self.bus.create_batch(&batch, repository, Priority::OnDemand, 2, 1_000, None).await.unwrap();
        let commits = [commit(1), commit(2)];
        let admitted = self
            .bus
            .ledger(repository)
            .admit(&batch, &commits, &LedgerCache::default(), false)
            .await
            .unwrap();
        let events = [
            BatchEvent::StartValidation,
            BatchEvent::Admit { commits: admitted },
            BatchEvent::StartScheduling,
            BatchEvent::Assign,
            BatchEvent::Claim { agent: "batch-agent-1".parse().unwrap(), max_attempts: 3 },
        ];
        self.bus.apply_batch(&batch, &events).await.unwrap();
        batch
    }

    /// Ends the batch of a listed request, and so the request.
    async fn scanned(&self, batch: &BatchKey, repository: &RepositoryId, findings: Vec<Finding>) {
        let count = findings.len() as u64;
        self.bus.record_findings(repository, findings).await.unwrap();
        let skipped = NotScanned { what: "big.bin".into(), reason: "larger than 1.07 GB".into() };
        let report = BatchReport {
            commits: 2,
            blobs: 5,
            bytes: 12_345,
            findings: count,
            rules: 2,
            rule_set: "r1-0123456789ab".into(),
            not_scanned: vec![skipped],
        };
        let claim = Claim { agent: "batch-agent-1".parse().unwrap(), attempt: 1 };
        self.bus.apply_batch(batch, &[BatchEvent::Finish { claim, report }]).await.unwrap();
        // As the controller does when it is told.
        self.bus.apply_batch(batch, &[BatchEvent::Settle]).await.unwrap();
    }

    /// A completed request with one finding.
    async fn completed(&self) -> RepositoryId {
        let (id, repository) = self.queued("r1", "https://git.example.org/team/project").await;
        let batch = self.listed(&id, &repository).await;
        self.scanned(&batch, &repository, vec![finding("src/config.py")]).await;
        repository
    }

    async fn agent(&self, role: Role, slots: u32) -> Agent {
        let stop = Stop::new();
        let presence = Presence::new(self.bus.clone(), role, slots, "host-1".into());
        let id = presence.id();
        let kept = presence.clone();
        let until = stop.clone();
        let task = tokio::spawn(async move { kept.keep(&until).await });
        eventually(DEADLINE, "the agent is listed", async || {
            let agents = self.bus.agents().await.unwrap();
            agents.iter().any(|agent| agent.id == id).then_some(())
        })
        .await;
        Agent { stop, task }
    }

    fn controller(&self) -> Agent {
        let stop = Stop::new();
        let run = secretscan_controller::run(
            self.bus.clone(),
            secretscan_controller::Config::default(),
            stop.clone(),
        );
        let task = tokio::spawn(async move {
            run.await;
        });
        Agent { stop, task }
    }
}

/// A service that runs until the test stops it.
struct Agent {
    stop: Stop,
    task: JoinHandle<()>,
}

impl Agent {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn commit(n: u8) -> CommitId {
    CommitId::from_bytes(&[n; 20]).unwrap()
}

fn finding(path: &str) -> Finding {
    let occurrence = Occurrence {
        corrected_date: 1_780_000_000,
        commit: commit(1),
        line: 2,
        column: 10,
        end_line: 2,
        end_column: 50,
        author: Author { name: "Ada Lovelace".into(), email: "ada@example.org".into(), time: 1_780_000_000 },
        excerpt: "token = \"ghp_****\"".into(),
        decoded_from: None,
        blob: None,
    };
    Finding {
        id: FindingId(format!("v2-{:032x}.{:016x}", 7, path.len())),
        rule_id: "github-personal-access-token".parse().unwrap(),
        description: "GitHub personal access token".into(),
        severity: "critical".into(),
        confidence: "high".into(),
        tags: Vec::new(),
        secret_hash: SecretHash("00".repeat(32)),
        path: path.as_bytes().to_vec(),
        matched_by: std::collections::BTreeSet::new(),
        occurrences: vec![occurrence],
        later: LaterOccurrences::default(),
        seen: None,
    }
}

fn run_at(url: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secretscan"));
    command.args(arguments).env("SECRETSCAN_NATS", url).env("USER", "ada");
    Ran::new(&command.output().unwrap())
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn json(&self) -> Value {
        assert!(self.out.is_ascii());
        serde_json::from_str(&self.out).unwrap()
    }

    /// Everything at once, for snapshots.
    fn shown(&self) -> String {
        format!("exit code {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}

/// Compares with a snapshot, without what differs from run to run.
macro_rules! assert_shown {
    ($ran:expr) => {
        let mut settings = insta::Settings::clone_current();
        // On a slow machine the request waits long enough to be told what for.
        settings.add_filter(r"waits: .*\n", "");
        settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "[          TIME   ]");
        settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]");
        settings.add_filter(r", (\d+ ms|\d+\.\d s)", ", [DURATION]");
        settings.add_filter(r"127\.0\.0\.1:\d{2,}", "127.0.0.1:[PORT]");
        settings.add_filter(r"agent-[0-9a-f]{32}", "agent-[                              ]");
        settings.add_filter(r"secretscan \d+\.\d+\.\d+", "secretscan [VERSION]");
        settings.bind(|| insta::assert_snapshot!($ran.shown()));
    };
}

#[path = "remote/findings.rs"]
mod findings;
#[path = "remote/requests.rs"]
mod requests;

const LISTS: [&[&str]; 4] = [&["requests"], &["repositories"], &["findings"], &["agents"]];

#[test]
fn unreachable_server() {
    // Nothing listens on the port that TCP reserves.
    let ran = run_at("nats://ada:password@127.0.0.1:1", &["agents"]);
    assert!(!ran.err.contains("password"), "{}", ran.err);
    assert_shown!(ran);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_secretscan_is_left_as_it_is() {
    let server = TestServer::start().await.unwrap();
    let commands: [&[&str]; 3] = [
        &["request", "https://git.example.org/a/b"],
        &["request", "show", "r1"],
        &["request", "cancel", "r1"],
    ];
    for arguments in LISTS.iter().chain(&commands) {
        let ran = run_at(&server.url(), arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.err.contains("there is no secretscan at"), "{}", ran.err);
    }
    assert_shown!(run_at(&server.url(), &["agents"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_on_this_machine_is_found() {
    let system = System::start().await;
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("nats.url"), system.server.url()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_secretscan"));
    command.arg("agents").env_remove("SECRETSCAN_NATS").env("SECRETSCAN_DATA", data.path());
    let ran = Ran::new(&command.output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (0, "no agent is running\n"), "{}", ran.err);
}

#[test]
fn missing_credentials_file() {
    let ran = run_at("nats://127.0.0.1:1", &["agents", "--creds", "missing.creds"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("missing.creds") && ran.err.contains("hint: "), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_nothing() {
    let system = System::start().await;
    let shown = LISTS.map(|arguments| {
        let ran = system.run(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        ran.out
    });
    insta::assert_snapshot!(shown.concat(), @r"
    no request
    no repository is known
    no secrets found in 0 repositories
    no agent is running
    ");
    for list in ["requests", "repositories", "agents"] {
        assert_eq!(system.run(&[list, "--format", "json"]).json(), Value::Array(vec![]), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_listed() {
    let system = System::start().await;
    system.completed().await;
    let (failed, _) = system.queued("r2", "https://git.example.org/team/other").await;
    system.bus.apply_scan(&failed, &[ScanEvent::Cancel { requester: "ada".into() }]).await.unwrap();
    system.queued("r3", "https://git.example.org/team/other").await;
    assert_shown!(system.run(&["requests"]));
    let ran = system.run(&["requests", "--state", "queued,Cancelled", "--limit", "1", "--format", "json"]);
    assert_eq!(ran.err, "note: 1 older left off, see --limit\n");
    let requests = ran.json();
    assert_eq!(requests.as_array().unwrap().len(), 1);
    assert_eq!((&requests[0]["id"], &requests[0]["state"]), (&"r3".into(), &"Queued".into()));
    let completed = system.run(&["requests", "--state", "Completed", "--format", "json"]).json();
    assert_eq!(completed[0]["totals"]["bytes"], 12_345);
    assert_eq!(completed[0]["repository"], "git.example.org/team/project");
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories() {
    let system = System::start().await;
    system.completed().await;
    system.repository("https://git.example.org/a").await;
    assert_shown!(system.run(&["repositories"]));
    let repositories = system.run(&["repositories", "--format", "json"]).json();
    assert_eq!(repositories[0]["lastScan"], Value::Null);
    assert_eq!(repositories[1]["commitsScanned"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents() {
    let system = System::start().await;
    let batch_agent = system.agent(Role::BatchAgent, 4).await;
    let repo_agent = system.agent(Role::RepoAgent, 1).await;
    assert_shown!(system.run(&["agents"]));
    let agents = system.run(&["agents", "--format", "json"]).json();
    assert_eq!((&agents[0]["role"], &agents[1]["slots"]), (&"repo-agent".into(), &4.into()));
    batch_agent.stop().await;
    repo_agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_show() {
    let system = System::start().await;
    system.completed().await;
    assert_shown!(system.run(&["request", "show", "r1"]));
    let request = system.run(&["request", "show", "r1", "--format", "json"]).json();
    assert_eq!(request["state"], "Completed");
    assert_eq!(request["trail"].as_array().unwrap().len(), 7);
    assert_eq!((&request["batches"][0]["commits"], &request["found"]["commits"]), (&2.into(), &3.into()));
    assert_eq!(request["notScanned"][0]["what"], "big.bin");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_request() {
    let system = System::start().await;
    assert_shown!(system.run(&["request", "show", "nowhere"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_of_one_repository() {
    let system = System::start().await;
    let id = system.completed().await;
    let ran = system.run(&["findings", "--repository", "git.example.org/team/project"]);
    assert_shown!(ran);
    for same in [id.as_str(), "https://git.example.org/team/project.git", "git@git.example.org:team/project"]
    {
        assert_eq!(system.run(&["findings", "--repository", same]).out, ran.out, "{same}");
    }
    let json = system.run(&["findings", "--repository", id.as_str(), "--format", "json"]);
    assert_eq!(json.code, 1);
    assert_eq!(json.json()["findings"][0]["path"], "src/config.py");
    let confidence = |level: &str| {
        system.run(&["findings", "--repository", id.as_str(), "--format", "jsonl", "--confidence", level])
    };
    assert_eq!((confidence("high").code, confidence("low").code), (1, 1));
    let less = Finding { confidence: "medium".into(), ..finding("src/config.py") };
    let sure = Finding { confidence: "high".into(), ..finding("b") };
    let other = system.repository("https://git.example.org/other").await;
    system.bus.record_findings(&other, vec![less, sure]).await.unwrap();
    let ran = system.run(&[
        "findings",
        "--format",
        "jsonl",
        "--confidence",
        "high",
        "--repository",
        other.as_str(),
    ]);
    assert_eq!((ran.out.lines().count(), ran.json()["path"].as_str()), (1, Some("b")));
    let sarif = system.run(&["findings", "--repository", id.as_str(), "--format", "sarif"]).json();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 1);
    let known = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(known.path(), &json.out).unwrap();
    let baseline = ["findings", "--repository", id.as_str(), "--baseline", known.path().to_str().unwrap()];
    let ran = system.run(&baseline);
    assert!(ran.code == 0 && ran.out.contains("1 known from the baseline"), "{}", ran.shown());
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_of_all_repositories() {
    let system = System::start().await;
    system.completed().await;
    let other = system.repository("https://git.example.org/a").await;
    system.repository("https://git.example.org/clean").await;
    system.bus.record_findings(&other, vec![finding("a"), finding("bb")]).await.unwrap();
    assert_shown!(system.run(&["findings"]));
    let lines = system.run(&["findings", "--format", "jsonl"]);
    assert_eq!(lines.code, 1);
    assert!(lines.err.contains("not scanned (1)\n  big.bin: "), "{}", lines.err);
    assert!(lines.err.ends_with("\n3 secrets in 2 of 3 repositories\n"), "{}", lines.err);
    let lines: Vec<Value> = lines.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<_> = lines.iter().map(|line| (&line["repository"], &line["path"])).collect();
    let (first, second) = (Value::from("git.example.org/a"), Value::from("git.example.org/team/project"));
    assert_eq!(shown, [(&first, &"a".into()), (&first, &"bb".into()), (&second, &"src/config.py".into())]);
    let sarif = system.run(&["findings", "--format", "sarif"]).json();
    let runs = sarif["runs"].as_array().unwrap().iter();
    let runs: Vec<&str> = runs.map(|run| run["automationDetails"]["id"].as_str().unwrap()).collect();
    let names = ["a", "clean", "team/project"].map(|name| format!("secretscan/git.example.org/{name}/"));
    assert_eq!(runs, names);
    let gitlab = system.run(&["findings", "--format", "gitlab"]);
    assert!(gitlab.code == 2 && gitlab.err.contains("reports on one repository"), "{}", gitlab.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_of_an_unknown_repository() {
    let system = System::start().await;
    assert_shown!(system.run(&["findings", "--repository", "https://ada:password@git.example.org/a"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_record_acts_on_a_terminal() {
    let system = System::start().await;
    let id: RequestId = "r1".parse().unwrap();
    system.bus.create_scan(&id, vec![], Priority::OnDemand, CLEAR_SCREEN.into(), &[]).await.unwrap();
    let refuse = ScanEvent::Refuse { reason: format!("no {CLEAR_SCREEN}\u{9b}2J") };
    system.bus.apply_scan(&id, &[ScanEvent::StartValidation, refuse]).await.unwrap();
    let repository = system.repository("https://git.example.org/a").await;
    let hostile = finding(&format!("src/{CLEAR_SCREEN}\u{9b}2J"));
    system.bus.record_findings(&repository, vec![hostile]).await.unwrap();
    let commands: [&[&str]; 8] = [
        &["request", "show", "r1"],
        &["request", "show", "r1", "--format", "json"],
        &["requests"],
        &["requests", "--format", "json"],
        &["repositories"],
        &["findings"],
        &["findings", "--format", "jsonl"],
        &["findings", "--repository", "git.example.org/a", "--format", "sarif"],
    ];
    for arguments in commands {
        let ran = system.run(arguments);
        let acts = |c: char| c.is_control() && c != '\n';
        assert!(!ran.out.contains(acts) && !ran.err.contains(acts), "{arguments:?}: {}", ran.shown());
    }
    let shown = system.run(&["request", "show", "r1"]).out;
    assert!(shown.contains("Failed: no \\u{1b}[2J\\u{9b}2J"), "{shown}");
}

#[test]
fn usage_errors_of_remote_commands() {
    let mistakes: [&[&str]; 7] = [
        &["request"],
        &["request", "show"],
        &["request", "show", "a b"],
        &["request", "https://git.example.org/a", "--priority", "soon"],
        &["requests", "--state", "Waiting"],
        &["requests", "--limit", "0"],
        &["agents", "--creds", "a", "--nkey", "b"],
    ];
    for arguments in mistakes {
        let ran = run_at("nats://127.0.0.1:1", arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.err.contains("error: "), "{}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_tried_again_and_dropped() {
    let system = System::start().await;
    assert_eq!(system.run(&["dead-letters", "list"]).out, "no dead letter\n");
    let (id, _) = system.queued("r1", "https://git.example.org/team/project").await;
    system.failed(&id).await;
    system.bus.apply_scan(&id, &[ScanEvent::Settle]).await.unwrap();

    let listed = system.run(&["dead-letters", "list", "--format", "json"]).json();
    assert_eq!(listed[0]["reason"], "the host does not know it");
    assert_eq!((&listed[0]["number"], &listed[0]["canRetry"]), (&1.into(), &true.into()));
    let shown = system.run(&["dead-letters", "show", "1"]);
    assert!(shown.out.contains("reason   the host does not know it"), "{}", shown.out);
    assert!(shown.out.contains("https://git.example.org/team/project"), "{}", shown.out);
    let listed = system.run(&["dead-letters", "list"]);
    assert!(listed.out.contains("repository-scan.new"), "{}", listed.out);

    let stop = Stop::new();
    let controller = secretscan_controller::run(
        system.bus.clone(),
        secretscan_controller::Config::default(),
        stop.clone(),
    );
    let retried = async {
        let url = system.server.url();
        let ran = tokio::task::spawn_blocking(move || run_at(&url, &["dead-letters", "retry", "1"]));
        let ran = ran.await.unwrap();
        stop.cancel();
        ran
    };
    let ((), retried) = tokio::join!(controller, retried);
    assert!(retried.code == 0 && retried.out.starts_with("1: request "), "{}{}", retried.out, retried.err);
    assert_eq!(system.bus.scans().await.unwrap().len(), 2, "asked for again under another id");
    assert_eq!(system.run(&["dead-letters", "list"]).out, "no dead letter\n");
    for action in ["show", "retry", "drop"] {
        let ran = system.run(&["dead-letters", action, "1"]);
        assert!(ran.code == 2 && ran.err.contains("there is no dead letter 1"), "{action}: {}", ran.err);
    }
}

#[test]
fn help_tells_nothing_of_the_server() {
    let ran = run_at("nats://ada:password@127.0.0.1:1", &["request", "--help"]);
    assert!(ran.code == 0 && !ran.out.contains("password"), "{}", ran.shown());
    let ran = run_at("nats://127.0.0.1:1", &["request", "--help"]);
    assert_shown!(ran);
}
