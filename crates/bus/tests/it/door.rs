//! The public door, and dead letters.

use std::time::Duration;

use secretscan_bus::Stop;
use secretscan_bus::door::Door;
use secretscan_bus::queue::{Verdict, Workers};
use secretscan_bus::topology::Queue;
use secretscan_proto::v1;
use secretscan_testkit::{TestServer, eventually};

use crate::bus;

#[tokio::test]
async fn the_door_answers_and_dead_letters_are_kept() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let stop = Stop::new();
    let door = Door::new(bus.clone());
    let worker = bus.work(Queue::NewScans, Workers::ONE, &stop, |delivery| {
        let door = &door;
        async move {
            let error = delivery.decode_strictly::<v1::NewRepositoryScan>().unwrap_err().to_string();
            door.answer(&delivery, v1::Answer { error: error.clone(), ..v1::Answer::default() }).await;
            Verdict::Reject(error)
        }
    });
    let asker = async {
        let client = async_nats::connect(server.url()).await.unwrap();
        let reply = client.request("secretscan.repository-scan.new", r#"{"url":"x"}"#.into()).await.unwrap();
        stop.cancel();
        let answer: v1::Answer = serde_json::from_slice(&reply.payload).unwrap();
        assert!(answer.error.contains("unknown field `url`"), "{}", answer.error);
    };
    tokio::join!(door.listen(&stop), worker, asker);
    // The server counts a rejection a moment after it was sent.
    let settled = async || (bus.unfinished(Queue::NewScans).await.ok()? == 0).then_some(());
    eventually(Duration::from_secs(20), "the message is settled", settled).await;
}
