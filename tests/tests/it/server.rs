//! What can happen to nats-server, and what publishers do.

use futures::TryStreamExt;
use prost::Message;
use secretscan_bus::access::Identity;
use secretscan_model::ScanState;
use secretscan_proto::v1;
use secretscan_testkit::{eventually, generate};
use secretscan_tests::{DEADLINE, Size, System, expected, keys};

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
