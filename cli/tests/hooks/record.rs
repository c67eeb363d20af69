//! Skips that are recorded on a real nats-server, whose users may do no more than their roles need.

use secretscan_bus::access::{Identity, Keys, Limits, seed_file};
use secretscan_bus::{Bus, NatsConfig, topology};
use secretscan_testkit::TestServer;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Place, Ran, git};
use crate::{RULE, leak, ran};

/// A server with streams, and the keys of all identities.
struct System {
    server: TestServer,
    keys: TempDir,
}

impl System {
    async fn start() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let limits = Limits { max_memory_bytes: 1 << 28, max_store_bytes: 1 << 34 };
        let accounts = Keys::in_dir(keys.path()).unwrap().accounts(&limits);
        let server = TestServer::start_with(accounts.as_object().cloned().unwrap()).await.unwrap();
        let setup = NatsConfig::of(Identity::Setup, &server.url(), keys.path());
        Bus::connect(&setup).await.unwrap().close().await.unwrap();
        Self { server, keys }
    }

    /// A repository with the hooks, a remote, and this server in its configuration.
    fn place(&self) -> Place {
        let place = Place::with_hooks(&["--pre-commit"]);
        let key = seed_file(self.keys.path(), Identity::Requester);
        place.git(&["config", "secretscan.nats", &self.server.url()]);
        place.git(&["config", "secretscan.nkey", key.to_str().unwrap()]);
        place.git(&["config", "user.email", "ada@example.org"]);
        place.git(&["remote", "add", "origin", "https://ada:pass-of-ada@git.example.org/a/b.git"]);
        place
    }

    /// The latest event, and its subject.
    async fn last(&self) -> Option<(String, Value)> {
        let seed = std::fs::read_to_string(seed_file(self.keys.path(), Identity::Setup)).unwrap();
        let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
        let client = options.connect(self.server.url()).await.unwrap();
        let stream = async_nats::jetstream::new(client).get_stream(topology::EVENTS).await.unwrap();
        let last = stream.cached_info().state.last_sequence;
        if last == 0 {
            return None;
        }
        let message = stream.get_raw_message(last).await.unwrap();
        Some((message.subject.to_string(), serde_json::from_slice(&message.payload).unwrap()))
    }
}

fn commit(place: &Place, skip: &str) -> Ran {
    let commit = ["commit", "--quiet", "--message", "change"];
    ran(git(place.path(), &commit).env("SECRETSCAN_SKIP", skip))
}

/// Commits a secret until that is recorded: on a busy machine the server may take longer than a hook waits. Gives the
/// commit that was HEAD before.
fn record(place: &Place, skip: &str) -> String {
    let mut last = String::new();
    for n in 0..9 {
        let head = place.ask(&["rev-parse", "HEAD"]);
        place.stage(&format!("{skip}{n}"), &leak());
        let ran = commit(place, skip);
        assert_eq!(ran.code, 0, "{}", ran.shown());
        if ran.err.contains("the server has recorded that") {
            return head;
        }
        last = ran.shown();
    }
    panic!("never recorded: {last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skip_is_recorded_once_findings_are_let_through() {
    let system = System::start().await;
    let place = system.place();
    place.stage("clean", "nothing\n");
    let clean = commit(&place, RULE);
    assert_eq!((clean.code, clean.err.as_str()), (0, ""));
    place.stage("f", &leak());
    assert_eq!(commit(&place, "aws-access-key-id").code, 1);
    assert_eq!(system.last().await, None, "nothing was let through");
    place.git(&["rm", "--quiet", "--force", "f"]);

    let head = record(&place, RULE);
    let (subject, event) = system.last().await.unwrap();
    let id = event["repositoryId"].as_str().unwrap();
    assert_eq!(subject, format!("secretscan.event.hook-skipped.{id}"));
    let expected = [
        ("repository", "git.example.org/a/b"),
        ("hook", "pre-commit"),
        ("head", head.as_str()),
        ("ref", "refs/heads/main"),
        ("userEmail", "ada@example.org"),
    ];
    for (field, value) in expected {
        assert_eq!(event[field], value, "{event}");
    }
    assert_eq!((&event["rules"], &event["findings"]), (&serde_json::json!([RULE]), &Value::from(1)));
    let text = event.to_string();
    assert!(!text.contains("pass-of-ada") && !text.contains(&leak()[20..40]), "{text}");

    record(&place, "all");
    assert_eq!(system.last().await.unwrap().1["rules"], serde_json::json!(["all"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_skip_from_being_recorded_is_said_and_stops_nobody() {
    let system = System::start().await;
    let place = system.place();
    let is_let_through = |name: &str, why: &str| {
        place.stage(name, &leak());
        let ran = commit(&place, RULE);
        assert_eq!(ran.code, 0, "{}", ran.shown());
        assert!(ran.err.contains("no server has recorded that") && ran.err.contains(why), "{}", ran.shown());
        assert!(!ran.err.contains("pass-of-ada"), "{}", ran.shown());
    };
    // Who may not publish this gets no answer.
    let agent = seed_file(system.keys.path(), Identity::BatchAgent);
    place.git(&["config", "secretscan.nkey", agent.to_str().unwrap()]);
    is_let_through("a", "within 1 s");
    place.git(&["config", "secretscan.nkey", "/no/such/key"]);
    is_let_through("b", "/no/such/key");
    place.git(&["config", "secretscan.nats", "nats://ada:pass-of-ada@127.0.0.1:1"]);
    place.git(&["config", "--unset", "secretscan.nkey"]);
    is_let_through("c", "127.0.0.1:1");
    place.git(&["remote", "remove", "origin"]);
    is_let_through("d", "has no remote");
    assert_eq!(system.last().await, None);

    place.git(&["config", "--unset", "secretscan.nats"]);
    place.stage("e", &leak());
    let ran = commit(&place, RULE);
    assert!(ran.code == 0 && !ran.err.contains("recorded"), "{}", ran.shown());
}
