//! `secretscan doctor` and `secretscan nats-config migrate` on real servers.

use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use secretscan_bus::access::{Identity, Keys, Limits, seed_file};
use secretscan_bus::topology::{AUDIT, COMMIT_BATCHES, EVENTS, PUSHES, Queue, REPOSITORY_SCANS};
use secretscan_bus::{Bus, NatsConfig};
use secretscan_model::Role;
use secretscan_testkit::TestServer;
use serde_json::Value;
use tempfile::TempDir;

use super::{Ran, System, older, run_at};

/// A system with an identity for each service.
struct Guarded {
    server: TestServer,
    keys: TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let limits = Limits { max_memory_bytes: 64 << 20, max_store_bytes: 1 << 30 };
        let config = Keys::in_dir(keys.path()).unwrap().accounts(&limits);
        let server = TestServer::start_with(config.as_object().unwrap().clone()).await.unwrap();
        let setup = NatsConfig::of(Identity::Setup, &server.url(), keys.path());
        Bus::connect(&setup).await.unwrap().close().await.unwrap();
        Self { server, keys }
    }

    fn run(&self, identity: Identity, arguments: &[&str]) -> Ran {
        let key = seed_file(self.keys.path(), identity);
        run_at(&self.server.url(), &[arguments, &["--nkey", key.to_str().unwrap()]].concat())
    }

    fn doctor(&self, identity: Identity) -> Ran {
        self.run(identity, &["doctor", "--format", "json"])
    }
}

/// The lines of the system: check, status, what it says and what to do.
fn lines(ran: &Ran) -> Vec<(String, String, String)> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let system = ran.json()["system"].as_array().unwrap().clone();
    let words = |line: &Value| format!("{} -> {}", text(line, "says"), text(line, "advice"));
    system.iter().map(|line| (text(line, "check"), text(line, "status"), words(line))).collect()
}

/// What the lines of a check say that is not well.
fn complaint(ran: &Ran, check: &str, status: &str) -> String {
    let all = lines(ran);
    let of_check: Vec<_> = all.iter().filter(|(name, is, _)| name == check && is == status).collect();
    assert!(!of_check.is_empty(), "{check} {status}: {}{}", ran.out, ran.err);
    of_check.iter().map(|(_, _, words)| words.as_str()).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_a_healthy_system_healthy() {
    let system = Guarded::start().await;
    let mut agents = Vec::new();
    for (identity, role) in [(Identity::RepoAgent, Role::RepoAgent), (Identity::BatchAgent, Role::BatchAgent)]
    {
        let config = NatsConfig::of(identity, &system.server.url(), system.keys.path());
        let bus = Bus::connect(&config).await.unwrap();
        let presence = secretscan_bus::agents::Presence::new(bus, role, 2, "host-1".into());
        let stop = secretscan_bus::Stop::new();
        let until = stop.clone();
        agents.push((stop, tokio::spawn(async move { presence.keep(&until).await })));
    }
    let ran = secretscan_testkit::eventually(Duration::from_secs(20), "both agents are seen", async || {
        let ran = system.doctor(Identity::Cli);
        (!ran.out.contains("agent is there")).then_some(ran)
    })
    .await;
    assert!(lines(&ran).iter().all(|(_, status, _)| status == "ok"), "{}{}", ran.out, ran.err);
    let mut checks: Vec<String> = lines(&ran).into_iter().map(|(check, _, _)| check).collect();
    checks.dedup();
    let all = [
        "server",
        "transport",
        "rights",
        "streams",
        "consumers",
        "limits",
        "replicas",
        "clock",
        "agents",
        "queues",
        "dead letters",
    ];
    assert_eq!(checks, all);
    for (stop, task) in agents {
        stop.cancel();
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_differs_and_what_is_missing() {
    let system = System::start().await;
    let jetstream = jetstream::new(async_nats::connect(system.server.url()).await.unwrap());
    let stream = jetstream.get_stream(COMMIT_BATCHES).await.unwrap();
    stream.delete_consumer(&Queue::ScheduledBatches.consumer()).await.unwrap();
    let events = jetstream.get_stream(EVENTS).await.unwrap().cached_info().config.clone();
    let changed = stream::Config { max_age: Duration::from_secs(172_800), max_bytes: 1_000_000, ..events };
    jetstream.update_stream(changed).await.unwrap();
    let pushes = jetstream.get_stream(PUSHES).await.unwrap().cached_info().config.clone();
    let changed = stream::Config { subjects: vec!["secretscan.push.*".into()], ..pushes };
    jetstream.update_stream(changed).await.unwrap();
    let dead = "secretscan.dead-letter.repository-scan.new";
    jetstream.publish(dead, "{}".into()).await.unwrap().await.unwrap();

    let url = system.server.url();
    let ran = run_at(&url, &["doctor", "--format", "json"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        complaint(&ran, "consumers", "failed").contains("missing: consumer batch-agents of COMMIT_BATCHES")
    );
    let differs = complaint(&ran, "streams", "warning");
    assert!(differs.contains("stream EVENTS: max_age is 172800s, needed is 604800s"), "{differs}");
    assert!(!differs.contains("max_bytes"), "operators may set it: {differs}");
    let refused = complaint(&ran, "streams", "failed");
    assert!(
        refused.contains("stream PUSHES: subjects") && refused.contains("nats-config migrate"),
        "{refused}"
    );
    assert!(complaint(&ran, "agents", "failed").contains("no batch-agent is there"));
    assert!(complaint(&ran, "dead letters", "warning").contains("1 message could not be done"));

    // With a clock that is wrong.
    let mut command = Command::new(env!("CARGO_BIN_EXE_secretscan"));
    command.args(["doctor", "--format", "json"]).env("SECRETSCAN_NATS", &url).env("CLOCK_OFFSET_S", "-100");
    let ran = Ran::new(&command.output().unwrap());
    let wrong = complaint(&ran, "clock", "warning");
    assert!(wrong.contains("the clock of this machine is 100 s behind the server's"), "{wrong}");

    let ran = run_at(&url, &["doctor"]);
    assert!(ran.out.contains("-> `secretscan setup` makes what is missing"), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_why_it_can_not_look() {
    let system = Guarded::start().await;
    // Who decides about findings does not hear the answers to other commands.
    for identity in [Identity::Requester, Identity::Operator] {
        let ran = system.doctor(identity);
        assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
        assert!(complaint(&ran, "rights", "failed").contains("log in with cli.nk"));
        assert!(complaint(&ran, "streams", "warning").contains("none can be looked at: this key may not"));
    }

    let other = tempfile::tempdir().unwrap();
    Keys::in_dir(other.path()).unwrap();
    let key = seed_file(other.path(), Identity::Cli);
    let url = system.server.url();
    let ran = run_at(&url, &["doctor", "--format", "json", "--nkey", key.to_str().unwrap()]);
    let refused = complaint(&ran, "connection", "failed");
    assert!(ran.code == 1 && refused.contains("authorization violation"), "{refused}");

    // A server on which secretscan never ran.
    let server = TestServer::start().await.unwrap();
    let ran = run_at(&server.url(), &["doctor", "--format", "json"]);
    assert_eq!(ran.code, 1);
    assert!(complaint(&ran, "streams", "failed").contains("there is no secretscan on this server"));
    assert!(!lines(&ran).iter().any(|(check, ..)| check == "consumers"), "said once: {}", ran.out);
}

#[test]
fn doctor_looks_at_this_machine_without_a_server() {
    let ran = run_at("nats://ada:password@127.0.0.1:1", &["doctor"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("failed   connection"), "{}", ran.out);
    assert!(!ran.out.contains("password"), "{}", ran.out);

    let mut command = Command::new(env!("CARGO_BIN_EXE_secretscan"));
    command.args(["doctor"]).env("SECRETSCAN_NATS", "nats://127.0.0.1:1").env("PATH", "/nowhere");
    let ran = Ran::new(&command.output().unwrap());
    assert!(ran.out.contains("failed   git           git does not run"), "{}", ran.out);
    assert!(ran.out.contains("-> install git 2.34 or newer"), "{}", ran.out);
}

async fn migrate(url: &str, arguments: &[&str]) -> (i32, Vec<Value>) {
    let arguments = [&["nats-config", "migrate", "--format", "json"], arguments].concat();
    let ran = run_at(url, &arguments);
    let steps =
        ran.json().as_array().unwrap().iter().filter(|step| step["step"] != "keep").cloned().collect();
    (ran.code, steps)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_topology_is_brought_to_what_this_version_wants() {
    let system = System::start().await;
    let url = system.server.url();
    assert_eq!(migrate(&url, &[]).await, (0, vec![]), "nothing to do");
    let jetstream = jetstream::new(async_nats::connect(&url).await.unwrap());

    // A stream with another limit and subject.
    let events = jetstream.get_stream(EVENTS).await.unwrap().cached_info().config.clone();
    let older = stream::Config {
        max_age: Duration::ZERO,
        max_bytes: 50_000_000,
        allow_direct: false,
        ..events.clone()
    };
    jetstream.update_stream(older).await.unwrap();
    jetstream.publish("secretscan.event.old", "{}".into()).await.unwrap().await.unwrap();
    // One whose retention the server does not change, with a message in it.
    let audit = jetstream.get_stream(AUDIT).await.unwrap().cached_info().config.clone();
    jetstream.delete_stream(AUDIT).await.unwrap();
    let older = stream::Config { retention: stream::RetentionPolicy::WorkQueue, ..audit };
    jetstream.create_stream(older).await.unwrap();
    jetstream.publish("secretscan.audit.old", "{}".into()).await.unwrap().await.unwrap();
    // A missing consumer, one whose policy the server does not change, and one that nobody wants any more.
    let batches = jetstream.get_stream(COMMIT_BATCHES).await.unwrap();
    batches.delete_consumer("batch-agents").await.unwrap();
    batches.delete_consumer("controller-batches").await.unwrap();
    let all = consumer::pull::Config {
        durable_name: Some("older".into()),
        filter_subject: Queue::NewBatches.subject(),
        ..Default::default()
    };
    batches.create_consumer(all).await.unwrap();
    let events = jetstream.get_stream(EVENTS).await.unwrap();
    events.delete_consumer("notifier-events").await.unwrap();
    let pushed = consumer::pull::Config {
        durable_name: Some("notifier-events".into()),
        filter_subject: "secretscan.event.>".into(),
        ack_policy: consumer::AckPolicy::All,
        max_deliver: -1,
        max_ack_pending: 100_000,
        ..Default::default()
    };
    events.create_consumer(pushed).await.unwrap();
    // One whose pulls had no order, and fewer of which could wait.
    let scans = jetstream.get_stream(REPOSITORY_SCANS).await.unwrap();
    older::make_without_order(&scans, &Queue::ScheduledScans.consumer()).await;
    // Streams that are not wanted: one of an older version, and one of somebody else.
    for (name, subject) in [("OLDER", "secretscan.older.>"), ("OTHER", "other.>")] {
        let config =
            stream::Config { name: name.into(), subjects: vec![subject.into()], ..Default::default() };
        jetstream.create_stream(config).await.unwrap();
    }

    let (code, plan) = migrate(&url, &[]).await;
    let shown: Vec<String> = plan
        .iter()
        .map(|step| format!("{} {} {}", step["step"], step["part"], step["loses"]).replace('"', ""))
        .collect();
    assert_eq!(
        shown,
        [
            "remove stream OLDER null",
            "remake stream AUDIT all of its 1 messages",
            "change stream EVENTS what is beyond max_age 604800s",
            "remove consumer older of COMMIT_BATCHES null",
            "remake consumer notifier-events of EVENTS null",
            "remake consumer repo-agents of REPOSITORY_SCANS null",
            "create consumer batch-agents of COMMIT_BATCHES null",
            "create consumer controller-batches of COMMIT_BATCHES null",
        ]
    );
    assert_eq!(code, 1, "something is left to do");
    assert!(jetstream.get_stream("OLDER").await.is_ok(), "nothing is done without --apply");

    let (code, steps) = migrate(&url, &["--apply"]).await;
    let left: Vec<&Value> =
        steps.iter().filter(|step| step["isDone"] != true).map(|step| &step["part"]).collect();
    assert_eq!(
        (code, left),
        (1, vec![&Value::from("stream AUDIT"), &Value::from("stream EVENTS")]),
        "{steps:?}"
    );
    assert!(jetstream.get_stream("OLDER").await.is_err() && jetstream.get_stream("OTHER").await.is_ok());
    assert_eq!(jetstream.get_stream(AUDIT).await.unwrap().cached_info().state.messages, 1);

    let (code, steps) = migrate(&url, &["--apply", "--delete-messages"]).await;
    assert_eq!((code, steps.len()), (0, 2), "{steps:?}");
    let info = jetstream.get_stream(EVENTS).await.unwrap().cached_info().clone();
    assert_eq!((info.config.max_bytes, info.state.messages), (50_000_000, 1), "what operators set stays");
    assert_eq!(migrate(&url, &[]).await, (0, vec![]), "as it should be");
    assert!(run_at(&url, &["setup"]).code == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_begins_on_an_empty_server_by_migrating() {
    let server = TestServer::start().await.unwrap();
    let ran = run_at(&server.url(), &["nats-config", "migrate", "--apply"]);
    assert!(ran.code == 0 && ran.out.contains("create  stream EVENTS"), "{}{}", ran.out, ran.err);
    assert_eq!(run_at(&server.url(), &["agents"]).out, "no agent is running\n");
}
