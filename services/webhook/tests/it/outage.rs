//! While NATS is away, nothing is taken that is not stored, and what is refused can be delivered again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secretscan_testkit::eventually;

use crate::client::{DEADLINE, Delivery};
use crate::fixture::{Fixture, secrets};
use crate::payloads::{self, NONE, id};

fn push(number: u64) -> Delivery {
    let payload = payloads::github("refs/heads/main", NONE, &id(number));
    Delivery::github(&secrets().0, &number.to_string(), &payload)
}

#[tokio::test]
async fn without_nats_the_answer_is_503_and_later_202() {
    let mut webhook =
        Fixture::start_with(|config| config.webhook.store_timeout_s = 1.try_into().unwrap()).await;
    assert_eq!(webhook.status(&push(1)).await, 202);
    webhook.server.kill().await.unwrap();
    let answer = webhook.send(&push(2)).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.head.contains("retry-after: 10"), "{}", answer.head);
    assert_eq!(webhook.status(&push(2).with("X-Hub-Signature-256", "sha256=00")).await, 401);
    webhook.server.restart().await.unwrap();
    eventually(DEADLINE, "the delivery is taken", async || {
        (webhook.status(&push(2)).await == 202).then_some(())
    })
    .await;
    assert_eq!(webhook.status(&push(1)).await, 409, "what was taken is remembered");
    let mut stored: Vec<_> = webhook.pushes().await.into_iter().map(|push| push.delivery).collect();
    stored.sort_unstable();
    assert_eq!(stored, ["1", "2"]);
    webhook.stop().await;
}

/// Deliveries under way at a time.
const HOSTS: u64 = 8;

/// Delivers one push after the other until it is over; gives what each was answered with.
async fn deliver(first: u64, address: SocketAddr, is_over: Arc<AtomicBool>) -> BTreeMap<u64, u16> {
    let mut answers = BTreeMap::new();
    let mut number = first + 1;
    while !is_over.load(Ordering::Relaxed) {
        answers.insert(number, push(number).send(address).await.status);
        number += HOSTS;
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_with_202_is_stored_once_through_kills_of_nats() {
    let mut webhook =
        Fixture::start_with(|config| config.webhook.store_timeout_s = 1.try_into().unwrap()).await;
    let address = webhook.address;
    let is_over = Arc::new(AtomicBool::new(false));
    let hosts: Vec<_> =
        (0..HOSTS).map(|first| tokio::spawn(deliver(first, address, is_over.clone()))).collect();
    for _ in 0..3 {
        let _ = tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await;
        webhook.server.kill().await.unwrap();
        webhook.server.restart().await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    let mut answers = BTreeMap::new();
    for host in hosts {
        answers.extend(host.await.unwrap());
    }
    let other = answers.iter().find(|(_, status)| !matches!(**status, 202 | 503));
    assert_eq!(other, None);
    let taken = answers.values().filter(|status| **status == 202).count() as u64;
    eventually(DEADLINE, "the server is back", async || webhook.bus.is_connected().then_some(())).await;
    let stored = webhook.count().await;
    assert!(stored >= taken && stored <= answers.len() as u64, "{taken} taken, {stored} stored");
    // The hosts deliver again what was not taken: some of it was stored all the same, and is not stored twice.
    for (number, _) in answers.iter().filter(|(_, status)| **status == 503) {
        eventually(DEADLINE, "it is taken", async || {
            matches!(push(*number).send(address).await.status, 202 | 409).then_some(())
        })
        .await;
    }
    let mut stored: Vec<u64> =
        webhook.pushes().await.into_iter().map(|push| push.delivery.parse().unwrap()).collect();
    stored.sort_unstable();
    assert_eq!(stored, answers.keys().copied().collect::<Vec<_>>());
    webhook.stop().await;
}
