//! Each identity may do what its role needs on the server, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use secretscan_bus::access::{Identity, Keys, Limits, seed_file};
use secretscan_bus::topology::{self, Queue};
use secretscan_bus::{Bus, BusError, NatsConfig, TlsSettings};
use secretscan_testkit::{Certificates, TestServer};
use secretscan_tests::Users;
use tokio::sync::mpsc;

/// Refused to everybody but the identity that sets up.
const SENTINEL: &str = "refused.to.all";
/// So many operations are tried before their refusals are awaited: the client keeps a few at a time.
const AT_ONCE: usize = 20;
const DEADLINE: Duration = Duration::from_secs(20);

const STREAMS: [&str; 9] = [
    topology::REPOSITORY_SCAN_DOOR,
    topology::REPOSITORY_SCANS,
    topology::COMMIT_BATCHES,
    topology::PUSHES,
    topology::SCHEDULE_DOOR,
    topology::SCHEDULES_STREAM,
    topology::EVENTS,
    topology::DEAD_LETTERS,
    topology::AUDIT,
];

const BUCKETS: [&str; 15] = [
    topology::REQUESTS,
    topology::BATCHES,
    topology::REPOSITORIES,
    topology::HISTORY,
    topology::RULE_SETS,
    topology::FINDINGS,
    topology::STANDINGS,
    topology::TRIAGE,
    topology::AGENTS,
    topology::ANSWERED,
    topology::DELIVERIES,
    topology::PUSHED,
    topology::NOTIFICATIONS,
    topology::SCHEDULES,
    topology::ALERTED,
];

const LIMITS: Limits = Limits { max_memory_bytes: 1 << 28, max_store_bytes: 1 << 34 };

struct Server {
    server: TestServer,
    users: Users,
}

impl Server {
    /// A server with all identities, set up, without any service.
    async fn start() -> Self {
        Self::start_for(Users::new().unwrap()).await
    }

    async fn start_for(users: Users) -> Self {
        let server = TestServer::start_with(users.server_config().unwrap()).await.unwrap();
        let server = Self { server, users };
        server.bus(Identity::Setup).await.unwrap();
        server
    }

    async fn bus(&self, identity: Identity) -> Result<Bus, BusError> {
        Bus::connect(&self.users.config(&self.server.url(), identity)).await
    }

    async fn client(&self, identity: Identity) -> Client {
        let (sender, refusals) = mpsc::unbounded_channel();
        let options = self.users.client_options(identity).unwrap().event_callback(move |event| {
            let sender = sender.clone();
            async move {
                if let Event::ServerError(error) = event {
                    let _ = sender.send(error.to_string());
                }
            }
        });
        Client { client: options.connect(self.server.url()).await.unwrap(), refusals }
    }
}

/// A connection that hears what is refused to it.
struct Client {
    client: async_nats::Client,
    refusals: mpsc::UnboundedReceiver<String>,
}

impl Client {
    /// Those of the subjects that it may publish to.
    async fn may_publish(&mut self, subjects: &[String]) -> BTreeSet<String> {
        let mut allowed: BTreeSet<String> = subjects.iter().cloned().collect();
        for subjects in subjects.chunks(AT_ONCE) {
            for subject in subjects {
                self.client.publish(subject.clone(), "{}".into()).await.unwrap();
            }
            for refused in self.refused().await {
                allowed.remove(&refused);
            }
        }
        allowed
    }

    /// Those of the subjects that it may subscribe to.
    async fn may_subscribe(&mut self, subjects: &[String]) -> BTreeSet<String> {
        let mut allowed: BTreeSet<String> = subjects.iter().cloned().collect();
        for subjects in subjects.chunks(AT_ONCE) {
            for subject in subjects {
                drop(self.client.subscribe(subject.clone()).await.unwrap());
            }
            for refused in self.refused().await {
                allowed.remove(&refused);
            }
        }
        allowed
    }

    /// What was refused since the last time: the server refuses in order.
    async fn refused(&mut self) -> Vec<String> {
        self.client.publish(SENTINEL, "".into()).await.unwrap();
        let mut refused = Vec::new();
        loop {
            let error = tokio::time::timeout(DEADLINE, self.refusals.recv()).await.unwrap().unwrap();
            let (_, rest) = error.split_once('"').unwrap();
            let (subject, _) = rest.split_once('"').unwrap();
            if subject == SENTINEL {
                return refused;
            }
            refused.push(subject.to_owned());
        }
    }
}

/// Everything that can be done on the server, one subject for each kind of it.
fn publications() -> Vec<String> {
    let mut all: Vec<String> = [
        topology::NEW_SCAN,
        topology::CANCEL_SCAN,
        topology::FORGET_COMMITS,
        "secretscan.repository-scan.queued.reactive",
        topology::SCHEDULED_SCAN,
        topology::REPORTED_SCAN,
        topology::PUSH_RECEIVED,
        topology::NEW_SCHEDULE,
        topology::CHANGE_SCHEDULE,
        "secretscan.schedule.timer.s",
        topology::SCHEDULE_DUE,
        topology::SCHEDULE_RUN,
        topology::NEW_BATCH,
        "secretscan.commit-batch.waiting.reactive",
        topology::SCHEDULED_BATCH,
        topology::REPORTED_BATCH,
        "secretscan.event.repository-scan.r",
        "secretscan.event.commit-batch.r.b",
        "secretscan.event.finding.r",
        "secretscan.event.hook-skipped.r",
        "secretscan.event.alert.unknown-commits.r",
        "secretscan.dead-letter.repository-scan.new",
        "secretscan.dead-letter.commit-batch.scheduled",
        "secretscan.audit.findings-triage",
        "secretscan.anything",
        "anything",
        "_INBOX.somebody.1",
        "_INBOX_cli.somebody.1",
        "$SYS.REQ.SERVER.PING",
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.LIST",
        "$O.packs.M.bmFtZQ==",
        "$O.packs.C.chunk",
        "$KV.agents.repo-agent.a",
        "$KV.agents.batch-agent.a",
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend(
        BUCKETS.iter().filter(|name| **name != topology::AGENTS).map(|name| format!("$KV.{name}.key")),
    );
    let buckets = BUCKETS.iter().map(|name| (format!("KV_{name}"), format!("$KV.{name}.key")));
    let packs = [("OBJ_packs".to_owned(), "$O.packs.M.bmFtZQ==".to_owned())];
    let streams = STREAMS.iter().map(|name| ((*name).to_owned(), "secretscan.x".to_owned()));
    for (stream, subject) in streams.chain(buckets).chain(packs) {
        for action in ["CREATE", "UPDATE", "DELETE", "PURGE", "INFO", "MSG.GET", "MSG.DELETE", "SNAPSHOT"] {
            all.push(format!("$JS.API.STREAM.{action}.{stream}"));
        }
        all.push(format!("$JS.API.DIRECT.GET.{stream}"));
        all.push(format!("$JS.API.DIRECT.GET.{stream}.{subject}"));
        all.push(format!("$JS.API.CONSUMER.CREATE.{stream}"));
        all.push(format!("$JS.API.CONSUMER.CREATE.{stream}.mine.{subject}"));
        all.push(format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.mine"));
        all.push(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.other"));
        all.push(format!("$JS.API.CONSUMER.LIST.{stream}"));
    }
    for queue in Queue::all() {
        let (stream, consumer) = (queue.stream(), queue.consumer());
        for action in ["INFO", "MSG.NEXT", "DELETE", "PAUSE"] {
            all.push(format!("$JS.API.CONSUMER.{action}.{stream}.{consumer}"));
        }
        all.push(format!("$JS.ACK.{stream}.{consumer}.1.2.3.4.5"));
        all.push(format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{}", queue.subject()));
    }
    all
}

fn subscriptions() -> Vec<String> {
    let mut all: Vec<String> = [
        ">",
        "secretscan.>",
        topology::NEW_SCAN,
        topology::CANCEL_SCAN,
        topology::FORGET_COMMITS,
        topology::NEW_SCHEDULE,
        topology::CHANGE_SCHEDULE,
        topology::SCHEDULE_RUN,
        topology::PUSH_RECEIVED,
        topology::NEW_BATCH,
        topology::SCHEDULED_BATCH,
        "secretscan.event.>",
        "secretscan.event.finding.>",
        "secretscan.audit.>",
        "_INBOX.>",
        "$JS.>",
        "$SYS.>",
        "$O.packs.>",
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend(BUCKETS.iter().map(|name| format!("$KV.{name}.key")));
    all.extend(Identity::ALL.iter().map(|identity| format!("_INBOX_{}.>", identity.name())));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_outside_of_a_role_is_refused() {
    let server = Server::start().await;
    let (publications, subscriptions) = (publications(), subscriptions());
    let mut table = String::new();
    for identity in Identity::ALL {
        if identity == Identity::Setup {
            continue;
        }
        let mut client = server.client(identity).await;
        let allowed = client.may_publish(&publications).await;
        let heard = client.may_subscribe(&subscriptions).await;
        table += &format!("{}\n", identity.name());
        allowed.iter().for_each(|subject| table += &format!("  publish    {subject}\n"));
        heard.iter().for_each(|subject| table += &format!("  subscribe  {subject}\n"));

        // What holds whatever the table says.
        let is_person = identity == Identity::Cli;
        for subject in &allowed {
            let changes_streams = ["CREATE.", "UPDATE.", "DELETE.", "MSG.DELETE.", "SNAPSHOT."]
                .iter()
                .any(|action| subject.starts_with(&format!("$JS.API.STREAM.{action}")));
            let is_for_people = is_person || identity == Identity::Dashboard;
            let drops_letters = subject == "$JS.API.STREAM.MSG.DELETE.DEAD_LETTERS" && is_for_people;
            assert!(!changes_streams || drops_letters, "{identity:?} may {subject}");
            assert!(!subject.starts_with("$SYS"), "{identity:?} may {subject}");
            // A timer writes to any subject of its stream, so nobody may choose where a consumer of it delivers to.
            let of_timers = format!("CREATE.{}", topology::SCHEDULES_STREAM);
            let is_of_timers = subject.contains("CONSUMER.") && subject.contains(&of_timers);
            assert!(!is_of_timers, "{identity:?} may {subject}");
            let only =
                |subject_of: &str, writer| *subject != format!("$KV.{subject_of}.key") || identity == writer;
            assert!(
                only(topology::TRIAGE, Identity::Operator) || identity == Identity::Dashboard,
                "{identity:?} may decide about findings"
            );
            assert!(
                !subject.starts_with("secretscan.audit.") || identity == Identity::Dashboard,
                "{identity:?} may say what people did"
            );
            assert!(
                only(topology::STANDINGS, Identity::RepoAgent),
                "{identity:?} may say where findings stand"
            );
            let is_own = |queue: &Queue| {
                let (stream, consumer) = (queue.stream(), queue.consumer());
                *subject == format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{}", queue.subject())
            };
            let makes_consumers = subject.contains("CONSUMER.")
                && subject.contains("CREATE.")
                && !Queue::all().iter().any(is_own);
            assert!(!makes_consumers || is_person, "{identity:?} may {subject}: it could write anywhere");
        }
        let foreign = |subject: &&String| {
            subject.starts_with("_INBOX_") && **subject != format!("_INBOX_{}.>", identity.name())
        };
        assert_eq!(heard.iter().find(foreign), None, "{identity:?} reads the answers to another");
    }
    insta::assert_snapshot!(table);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_key_or_a_wrong_one_is_refused() {
    let server = Server::start().await;
    assert!(async_nats::connect(server.server.url()).await.is_err(), "nobody");
    let other = tempfile::tempdir().unwrap();
    Keys::in_dir(other.path()).unwrap();
    let seed = std::fs::read_to_string(seed_file(other.path(), Identity::Controller)).unwrap();
    let stranger = ConnectOptions::with_nkey(seed.trim().to_owned()).connect(server.server.url()).await;
    assert!(stranger.is_err(), "a stranger");
    let config = NatsConfig { url: server.server.url(), is_provisioned: true, ..NatsConfig::default() };
    let error = Bus::connect(&config).await.err().unwrap().to_string();
    assert!(error.contains("authorization violation"), "{error}");
}

#[test]
fn key_files_are_for_the_owner_and_stay() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let first = Keys::in_dir(dir.path()).unwrap().accounts(&LIMITS);
    assert_eq!(Keys::in_dir(dir.path()).unwrap().accounts(&LIMITS), first);
    for identity in Identity::ALL {
        let path = seed_file(dir.path(), identity);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let seed = std::fs::read_to_string(path).unwrap();
        assert!(!first.to_string().contains(seed.trim()), "the configuration has no seed");
    }
    std::fs::write(seed_file(dir.path(), Identity::Cli), "not a seed").unwrap();
    let error = Keys::in_dir(dir.path()).err().unwrap().to_string();
    assert!(error.contains("reading the key file") && error.ends_with("cli.nk failed"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_both_sides_must_show_a_certificate() {
    // With both it is let in.
    let server = Server::start_for(Users::with_tls().unwrap()).await;
    let connect = async |tls: TlsSettings| {
        let config = NatsConfig { tls, ..server.users.config(&server.server.url(), Identity::Setup) };
        Bus::connect(&config).await.map(drop)
    };
    let both = server.users.tls();
    let without = TlsSettings { ca_file: both.ca_file.clone(), ..TlsSettings::default() };
    connect(without).await.expect_err("without a certificate it is refused");
    let stranger = Certificates::new().unwrap();
    let unknown = TlsSettings {
        certificate_file: Some(stranger.path("client.pem")),
        key_file: Some(stranger.path("client.key")),
        ..both.clone()
    };
    connect(unknown).await.expect_err("a certificate of another authority is refused");
    let impostor = TlsSettings { ca_file: Some(stranger.path("ca.pem")), ..both.clone() };
    connect(impostor).await.expect_err("a server that another authority vouches for is refused");
    let half = TlsSettings { key_file: None, ..both };
    let error = connect(half).await.expect_err("a certificate without its key").to_string();
    assert!(error.contains("go together"), "{error}");
}
