//! What can happen to nats-server, and what publishers do.

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use secretscan_bus::access::Identity;
use secretscan_model::ScanState;
use secretscan_proto::v1;
use secretscan_testkit::{SmallDisk, TestServer, eventually, generate};
use secretscan_tests::{DEADLINE, Size, System, Users, expected, keys};

async fn jetstream(system: &System) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(system.client(Identity::Setup).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_published_a_thousand_times_is_one_request() {
    let system = System::start(Size { controllers: 2, ..Size::default() }).await.unwrap();
    let generated = generate(31, 25).unwrap();
    let uri = generated.repository.path().to_str().unwrap().to_owned();
    let client = system.client(Identity::Requester).await.unwrap();
    let door = "secretscan.repository-scan.new";
    let by_field = v1::NewRepositoryScan {
        request_id: "by-field".into(),
        uri: uri.clone(),
        ..v1::NewRepositoryScan::default()
    };
    for _ in 0..1_000 {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", "by-header");
        let body = format!(r#"{{"uri":"{uri}"}}"#);
        client.publish_with_headers(door, headers, body.into()).await.unwrap();
        client.publish(door, by_field.encode_to_vec().into()).await.unwrap();
    }
    client.flush().await.unwrap();
    for id in ["by-field", "by-header"] {
        let id = id.parse().unwrap();
        assert_eq!(system.ended(&id).await.state, ScanState::Completed);
    }
    system.drained().await;
    assert_eq!(system.bus.scans().await.unwrap().len(), 2);
    let events: Vec<_> = async {
        let events = jetstream(&system).await.get_stream("EVENTS").await.unwrap();
        let subjects = events.info_with_subjects("secretscan.event.repository-scan.>").await.unwrap();
        subjects.try_collect().await.unwrap()
    }
    .await;
    // Each state is told once: from Validating to Completed.
    assert!(events.iter().all(|(_, count)| *count == 6), "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_are_wiped_from_their_bucket_go_on() {
    let system = System::start(Size { batch_commits: 5, ..Size::default() }).await.unwrap();
    let generated = generate(32, 150).unwrap();
    let path = generated.repository.path();
    let (id, repository) = system.request(path.to_str().unwrap()).await.unwrap();
    let agents = jetstream(&system).await.get_stream("KV_agents").await.unwrap();
    for batches in [1, 5, 10] {
        eventually(DEADLINE, "some batches have ended", async || {
            (system.bus.scan(&id).await.ok()??.totals().ended >= batches).then_some(())
        })
        .await;
        agents.purge().await.unwrap();
    }
    let scan = system.ended(&id).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), path));
    system.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_at_its_limits_holds_work_up_and_loses_none() {
    let system = System::start(Size { batch_commits: 5, ..Size::default() }).await.unwrap();
    let jetstream = jetstream(&system).await;
    let mut config = jetstream.get_stream("COMMIT_BATCHES").await.unwrap().cached_info().config.clone();
    config.max_messages = 1;
    jetstream.update_stream(&config).await.unwrap();
    let generated = generate(33, 150).unwrap();
    let path = generated.repository.path();
    let (id, repository) = system.request(path.to_str().unwrap()).await.unwrap();
    eventually(DEADLINE, "the repo-agent has given back", async || {
        let scan = system.bus.scan(&id).await.ok()??;
        let claims = scan.trail.iter().filter(|entry| entry.state == "InProgress").count();
        (claims >= 2).then_some(())
    })
    .await;
    config.max_messages = -1;
    jetstream.update_stream(&config).await.unwrap();
    let scan = system.ended(&id).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), path));
    system.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_holds_work_up_and_loses_none() {
    let disk = match SmallDisk::mount(24).await {
        Ok(disk) => disk,
        Err(error) => return println!("not tested, as this system allows no mounts of its own: {error:#}"),
    };
    let users = Users::new().unwrap();
    let server = TestServer::start_on(&disk, users.server_config().unwrap()).await.unwrap();
    let size = Size { batch_commits: 5, ..Size::default() };
    let mut system = System::start_on(server, users, size, Box::new(|_, _| {})).await.unwrap();
    let generated = generate(34, 150).unwrap();
    let path = generated.repository.path();
    let (id, repository) = system.request(path.to_str().unwrap()).await.unwrap();
    eventually(DEADLINE, "some batches have ended", async || {
        (system.bus.scan(&id).await.ok()??.totals().ended >= 2).then_some(())
    })
    .await;
    disk.fill().unwrap();
    // The server takes nothing more, until it is started with space.
    eventually(DEADLINE, "a request is not taken", async || {
        system.request(path.to_str().unwrap()).await.err()
    })
    .await;
    system.server.kill().await.unwrap();
    disk.free().unwrap();
    system.server.restart().await.unwrap();
    let scan = system.ended(&id).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), path));
    system.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_a_thousand_times_is_done_once() {
    let mut system = System::start(Size { controllers: 2, ..Size::default() }).await.unwrap();
    system.stop_services().await.unwrap();
    let generated = generate(35, 25).unwrap();
    let path = generated.repository.path();
    let client = system.client(Identity::Setup).await.unwrap();
    let body = format!(r#"{{"requestId":"again","uri":"{}"}}"#, path.display());
    client.publish("secretscan.repository-scan.new", body.into()).await.unwrap();
    let stream = jetstream(&system).await.get_stream("REPOSITORY_SCAN_DOOR").await.unwrap();
    let consumer: PullConsumer = stream.get_consumer("controller-new").await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    for delivery in 1..=1_000 {
        let message = messages.next().await.unwrap().unwrap();
        assert_eq!(message.info().unwrap().delivered, delivery);
        message.ack_with(AckKind::Nak(None)).await.unwrap();
    }
    drop(messages);
    system.start_services().await.unwrap();
    let id = "again".parse().unwrap();
    let scan = system.ended(&id).await;
    assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
    // What the agents were told comes again and again too, when all is done.
    let batches = system.bus.batches_of(&id).await.unwrap();
    for _ in 0..1_000 {
        let reference = v1::RepositoryScanReference { request_id: id.to_string(), ..Default::default() };
        client
            .publish("secretscan.repository-scan.scheduled", reference.encode_to_vec().into())
            .await
            .unwrap();
        for batch in &batches {
            let reference = v1::CommitBatchReference {
                request_id: id.to_string(),
                batch_id: batch.key.batch.to_string(),
                ..Default::default()
            };
            client
                .publish("secretscan.commit-batch.scheduled", reference.encode_to_vec().into())
                .await
                .unwrap();
        }
    }
    client.flush().await.unwrap();
    system.drained().await;
    assert_eq!(system.bus.scan(&id).await.unwrap().unwrap().trail, scan.trail);
    assert_eq!(system.bus.batches_of(&id).await.unwrap(), batches);
    let repository = scan.repository.unwrap();
    assert_eq!(keys(&system.findings(&repository).await.unwrap()), expected(&system.key(), path));
}
