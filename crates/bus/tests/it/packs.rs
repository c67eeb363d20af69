//! What is left in the object store.

use futures::TryStreamExt;
use secretscan_bus::packs::PackSweeper;
use secretscan_model::{BatchKey, RequestId, ScanEvent};
use secretscan_testkit::TestServer;

use crate::{accepted, bus};

#[tokio::test]
async fn what_lost_agents_leave_in_the_object_store_is_swept() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let id: RequestId = "r1".parse().unwrap();
    accepted(&bus, &id).await;
    bus.apply_scan(&id, &[ScanEvent::StartScheduling, ScanEvent::Assign]).await.unwrap();
    let claim = ScanEvent::Claim { agent: "lost".parse().unwrap(), max_attempts: 3 };
    let lost = bus.apply_scan(&id, &[claim]).await.unwrap();
    let claim = ScanEvent::Claim { agent: "next".parse().unwrap(), max_attempts: 3 };
    let next = bus.apply_scan(&id, &[claim]).await.unwrap();
    let of = |scan: &secretscan_model::RepositoryScan| BatchKey {
        request: id.clone(),
        batch: scan.batch_id("ab12").unwrap(),
    };
    assert_ne!(of(&lost), of(&next), "each claim names its batches apart");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [7; 1_000]).unwrap();
    // The lost agent was only slow: it stores its pack late.
    bus.put_pack(&of(&next), file.path()).await.unwrap();
    bus.put_pack(&of(&lost), file.path()).await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let pieces = async || {
        let stream = jetstream.get_stream("OBJ_packs").await.unwrap();
        let found = stream.info_with_subjects("$O.packs.C.>").await.unwrap();
        found.try_collect::<Vec<_>>().await.unwrap().len()
    };
    // And one died in the middle of storing.
    jetstream.publish("$O.packs.C.half", "half".into()).await.unwrap().await.unwrap();
    assert_eq!(pieces().await, 3);
    let mut sweeper = PackSweeper::default();
    sweeper.sweep(&bus).await.unwrap();
    assert_eq!(pieces().await, 2, "what is half stored may grow");
    jetstream.publish("$O.packs.C.half", "more".into()).await.unwrap().await.unwrap();
    sweeper.sweep(&bus).await.unwrap();
    assert_eq!(pieces().await, 2, "it did grow");
    sweeper.sweep(&bus).await.unwrap();
    assert_eq!(pieces().await, 1);
    let copy = tempfile::NamedTempFile::new().unwrap();
    assert!(bus.get_pack(&of(&next), copy.path()).await.unwrap(), "who holds the claim keeps its pack");
    bus.apply_scan(&id, &[ScanEvent::Cancel { requester: "test".into() }]).await.unwrap();
    // Who deleted it died when its pieces were gone.
    let stream = jetstream.get_stream("OBJ_packs").await.unwrap();
    stream.purge().filter("$O.packs.C.>").await.unwrap();
    sweeper.sweep(&bus).await.unwrap();
    let stream = jetstream.get_stream("OBJ_packs").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 0);
}
