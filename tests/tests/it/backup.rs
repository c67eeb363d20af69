//! Backup and restore, by the interface of the server that `nats account backup` and `nats account restore` use.

use async_nats::jetstream;
use async_nats::{Client, HeaderMap};
use axum::body::Bytes;
use futures::{StreamExt, TryStreamExt};
use secretscan_bus::access::Identity;
use secretscan_model::ScanState;
use secretscan_testkit::{TestServer, eventually, generate};
use secretscan_tests::{DEADLINE, Size, System, expected, keys};
use serde_json::{Value, json};

/// A stream, with its messages and consumers, as the server packs it.
struct Backup {
    name: String,
    config: Value,
    state: Value,
    chunks: Vec<Bytes>,
}

/// What the server answers; an error is one.
async fn ask(client: &Client, subject: String, body: Value) -> Value {
    let answer = client.request(subject.clone(), body.to_string().into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer.get("error").is_none(), "{subject}: {answer}");
    answer
}

async fn backup(client: &Client, name: String) -> Backup {
    let inbox = client.new_inbox();
    let mut chunks_come = client.subscribe(inbox.clone()).await.unwrap();
    let asked = json!({ "deliver_subject": inbox, "chunk_size": 128 << 10, "no_consumers": false });
    let about = ask(client, format!("$JS.API.STREAM.SNAPSHOT.{name}"), asked).await;
    let mut chunks = Vec::new();
    while let Some(chunk) = chunks_come.next().await {
        if let Some(reply) = chunk.reply {
            client.publish(reply, "".into()).await.unwrap();
        }
        if chunk.payload.is_empty() {
            break;
        }
        chunks.push(chunk.payload);
    }
    Backup { name, config: about["config"].clone(), state: about["state"].clone(), chunks }
}

async fn restore(client: &Client, backup: &Backup) {
    let about = json!({ "config": backup.config, "state": backup.state });
    let answer = ask(client, format!("$JS.API.STREAM.RESTORE.{}", backup.name), about).await;
    let to = answer["deliver_subject"].as_str().unwrap().to_owned();
    for chunk in &backup.chunks {
        client.request_with_headers(to.clone(), HeaderMap::new(), chunk.clone()).await.unwrap();
    }
    let done = client.request(to, "".into()).await.unwrap();
    let done: Value = serde_json::from_slice(&done.payload).unwrap();
    assert!(done.get("error").is_none(), "{}: {done}", backup.name);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_goes_on_from_its_backup_in_the_midst_of_a_scan() {
    let mut system = System::start(Size { batch_commits: 5, ..Size::default() }).await.unwrap();
    let [ended, running] = [generate(95, 30).unwrap(), generate(96, 300).unwrap()];
    let (first, known) = system.request(ended.repository.path().to_str().unwrap()).await.unwrap();
    assert_eq!(system.ended(&first).await.state, ScanState::Completed);
    let path = running.repository.path();
    let (second, repository) = system.request(path.to_str().unwrap()).await.unwrap();
    eventually(DEADLINE, "some of it is scanned", async || {
        (system.findings(&repository).await.unwrap().len() > 2).then_some(())
    })
    .await;

    // As deploy/README.md says: the services stop, and the streams are of one moment.
    system.stop_services().await.unwrap();
    assert!(!system.bus.scan(&second).await.unwrap().unwrap().state.is_terminal(), "it is over");
    let client = system.client(Identity::Setup).await.unwrap();
    let names: Vec<String> = jetstream::new(client.clone()).stream_names().try_collect().await.unwrap();
    let mut backups = Vec::new();
    for name in names {
        backups.push(backup(&client, name).await);
    }
    let users = system.into_users();

    let server = TestServer::start_with(users.server_config().unwrap()).await.unwrap();
    let options = users.client_options(Identity::Setup).unwrap();
    let client = options.connect(server.url()).await.unwrap();
    for backup in &backups {
        restore(&client, backup).await;
    }
    let system = System::start_on(server, users, Size::default(), Box::new(|_, _| {})).await.unwrap();
    let scan = system.ended(&second).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail.last());
    system.drained().await;
    for (repository, path) in [(known, ended.repository.path()), (repository, path)] {
        assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), &path));
    }
}
