//! A nats-server, set up, with requests and findings as the other services make them.

use std::time::Duration;

use secretscan_bus::access::{Identity, Keys, Limits};
use secretscan_bus::notifications::{Notification, Phase};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, NatsConfig, v1};
use secretscan_model::{
    Claim, CommitId, Finding, Listing, Priority, Push, RepositoryId, RepositoryUri, RequestId, ScanEvent,
    UriPolicy,
};
use secretscan_proto::pack_commit_ids;
use secretscan_testkit::service::ServiceProcess;
use secretscan_testkit::{TestServer, eventually};
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_secretscan-notifier");
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const LIMITS: Limits = Limits { max_memory_bytes: 1 << 28, max_store_bytes: 1 << 34 };

pub(crate) struct Stage {
    pub(crate) server: TestServer,
    pub(crate) bus: Bus,
    dir: TempDir,
}

/// A commit of this number.
pub(crate) fn commit(number: u32) -> CommitId {
    format!("{number:040x}").parse().unwrap()
}

/// A push of commits to a branch, the newest first.
pub(crate) fn push(name: &str, commits: &[u32]) -> (Push, v1::PushContent) {
    let ids: Vec<CommitId> = commits.iter().map(|number| commit(*number)).collect();
    let (commit_id_length, commit_ids) = pack_commit_ids(&ids);
    let content = v1::PushContent {
        name: name.into(),
        after: ids[0].to_string(),
        tip: ids[0].to_string(),
        commit_id_length,
        commit_ids,
        is_cut: false,
    };
    (Push { name: name.into(), before: None, after: ids[0] }, content)
}

/// A finding in a commit.
pub(crate) fn finding(number: u32, severity: &str, commit_number: u32) -> Finding {
    serde_json::from_value(serde_json::json!({
        "id": format!("v2-{number:032x}.0123456789abcdef"), "rule_id": "github-token", "description": "GitHub token",
        "severity": severity, "confidence": "high", "secret_hash": format!("{number:032x}").repeat(2), "path": b"src/<a>.txt",
        "occurrences": [{
            "corrected_date": 1, "commit": commit(commit_number), "line": 7, "column": 1, "end_line": 7,
            "end_column": 2, "author": { "name": "A & B", "email": "a@b.example", "time": 1 },
            "excerpt": "token = ghp_****",
        }],
    }))
    .unwrap()
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Keys::in_dir(dir.path()).unwrap().accounts(&LIMITS);
        let server = TestServer::start_with(accounts.as_object().cloned().unwrap()).await.unwrap();
        let config = NatsConfig::of(Identity::Setup, &server.url(), dir.path());
        // What a crashed notifier had in hand comes back soon.
        let config = NatsConfig { ack_wait: Duration::from_secs(1), ..config };
        let bus = Bus::connect(&config).await.unwrap();
        let stage = Self { server, bus, dir };
        stage.write("token", "t0ken");
        stage
    }

    /// Writes a file and gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A host in the configuration, with its interface at a URL.
    pub(crate) fn status(&self, host: &str, kind: &str, api: &str) -> String {
        let token = self.dir.path().join("token");
        let token = token.display();
        format!("[[status]]\nhost = {host:?}\nkind = {kind:?}\napi = {api:?}\ntoken_file = \"{token}\"\n")
    }

    /// Starts a notifier, as the identity that it has, with pauses of milliseconds.
    pub(crate) async fn start(&self, config: &str) -> ServiceProcess {
        self.start_with(config, &[]).await
    }

    pub(crate) async fn start_with(&self, config: &str, more: &[(&str, &str)]) -> ServiceProcess {
        let text = format!(
            "[link]\nbase = \"https://scan.example/\"\n[batch]\nwindow_ms = 300\nmax_items = 2\n\
             [delivery]\nfirst_pause_ms = 10\ntimeout_s = 1\n[service]\nlog = \"debug\"\n{config}"
        );
        let file = self.write("notifier.toml", &text);
        let seed = secretscan_bus::access::seed_file(self.dir.path(), Identity::Notifier);
        let mut variables = vec![
            ("SECRETSCAN_CONFIG", file.as_str()),
            ("SECRETSCAN_NATS__NKEY_SEED", seed.to_str().unwrap()),
            ("SECRETSCAN_NATS__IS_PROVISIONED", "true"),
            ("SECRETSCAN_NATS__ACK_WAIT_S", "1"),
        ];
        variables.extend(more);
        ServiceProcess::start(BINARY, &self.server, &variables).await.unwrap()
    }

    /// A request that scans pushes, waiting.
    pub(crate) async fn pushed(
        &self,
        id: &str,
        uri: &str,
        pushes: Vec<(Push, v1::PushContent)>,
    ) -> RepositoryId {
        let request: RequestId = id.parse().unwrap();
        let uri = RepositoryUri::parse(uri, UriPolicy::default()).unwrap();
        let repository = self.bus.know_repository(&uri).await.unwrap();
        let (pushes, contents): (Vec<Push>, Vec<v1::PushContent>) = pushes.into_iter().unzip();
        self.bus.create_scan(&request, vec![], Priority::Reactive, "test".into(), &[]).await.unwrap();
        let accept = ScanEvent::Accept { repository: repository.clone(), uri: uri.fetch().into() };
        let events = [ScanEvent::StartValidation, accept, ScanEvent::Join { pushes }];
        self.bus.apply_scan(&request, &events).await.unwrap();
        self.bus.put_pushed(&repository, &request, &v1::PushedCommits { pushes: contents }).await.unwrap();
        repository
    }

    /// The scan of a request goes on and ends.
    pub(crate) async fn completed(&self, id: &str) {
        let claim = self.claimed(id).await;
        let listing = Listing { commits: 1, unknown: 1, ..Listing::default() };
        let request: RequestId = id.parse().unwrap();
        self.bus.apply_scan(&request, &[ScanEvent::FinishListing { claim, listing }]).await.unwrap();
    }

    /// The scan of a request goes on and fails.
    pub(crate) async fn failed(&self, id: &str, reason: &str) {
        let claim = self.claimed(id).await;
        let fail = ScanEvent::Fail { claim, reason: reason.into() };
        self.bus.apply_scan(&id.parse().unwrap(), &[fail]).await.unwrap();
    }

    async fn claimed(&self, id: &str) -> Claim {
        let request: RequestId = id.parse().unwrap();
        let take = ScanEvent::Claim { agent: "agent".parse().unwrap(), max_attempts: 3 };
        let events = [ScanEvent::StartScheduling, ScanEvent::Assign, take];
        let scan = self.bus.apply_scan(&request, &events).await.unwrap();
        scan.claim().unwrap().clone()
    }

    /// Waits until the notifier has nothing more to do.
    pub(crate) async fn drained(&self) {
        // A message that changes hands is in none for a moment.
        let mut looks = 0;
        eventually(DEADLINE, "the notifier has handled all", async || {
            let open = self.bus.unfinished(Queue::Events).await.ok()?
                + self.bus.unfinished(Queue::DeadLetters).await.ok()?;
            looks = if open == 0 { looks + 1 } else { 0 };
            (looks >= 5).then_some(())
        })
        .await;
    }

    /// What the notifier remembers of the status of a commit.
    pub(crate) async fn remembered(&self, request: &str, number: u32) -> Option<Notification> {
        let key = format!("status.{request}.{}", commit(number));
        Some(self.bus.notification(&key).await.unwrap()?.value)
    }

    /// Waits until a status could not be delivered, and gives the reason.
    pub(crate) async fn undelivered(&self, request: &str, number: u32) -> String {
        eventually(DEADLINE, "the status is undelivered", async || {
            match self.remembered(request, number).await?.phase {
                Phase::Undelivered { reason } => Some(reason),
                Phase::Waiting { .. } | Phase::Sending { .. } | Phase::Sent => None,
            }
        })
        .await
    }

    /// Publishes an event as a service would.
    pub(crate) async fn publish(&self, subject: &str, event: &impl serde::Serialize) {
        let jetstream = async_nats::jetstream::new(self.client().await);
        let body = serde_json::to_vec(event).unwrap();
        jetstream.publish(subject.to_owned(), body.into()).await.unwrap().await.unwrap();
    }

    /// A message that nobody could read, kept as a dead letter.
    pub(crate) async fn dead_letter(&self, reason: &str) {
        let jetstream = async_nats::jetstream::new(self.client().await);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Secretscan-Reason", reason);
        headers.insert("Secretscan-Origin-Subject", "secretscan.repository-scan.new");
        let subject = "secretscan.dead-letter.repository-scan.new";
        jetstream.publish_with_headers(subject, headers, "?".into()).await.unwrap().await.unwrap();
    }

    async fn client(&self) -> async_nats::Client {
        let seed =
            std::fs::read_to_string(secretscan_bus::access::seed_file(self.dir.path(), Identity::Setup));
        let options = async_nats::ConnectOptions::with_nkey(seed.unwrap().trim().to_owned())
            .custom_inbox_prefix("_INBOX_setup");
        options.connect(self.server.url()).await.unwrap()
    }

    /// Waits until the notifier has everything in hand.
    pub(crate) async fn taken(&self) {
        let jetstream = async_nats::jetstream::new(self.client().await);
        eventually(DEADLINE, "it has taken all", async || {
            let stream = jetstream.get_stream(Queue::Events.stream()).await.ok()?;
            let info = stream.consumer_info(Queue::Events.consumer()).await.ok()?;
            (info.num_pending == 0 && info.num_ack_pending > 0).then_some(())
        })
        .await;
    }
}
