//! A delivery is taken once.

use crate::client::Delivery;
use crate::fixture::{Fixture, secrets, signing_key};
use crate::payloads::{self, NONE, id};

#[tokio::test]
async fn a_delivery_that_comes_again_is_refused() {
    let webhook = Fixture::start().await;
    let (secret, _) = secrets();
    let now = secretscan_bus::now().0 / 1_000;
    let bitbucket = payloads::bitbucket(&[(
        payloads::bitbucket_state("branch", "main", &id(2)),
        serde_json::Value::Null,
    )]);
    let gitlab = payloads::gitlab("push", "refs/heads/main", NONE, &id(2));
    for delivery in [
        Delivery::github(&secret, "1", &payloads::github("refs/heads/main", NONE, &id(2))),
        Delivery::gitlab(&secret, "1", &gitlab),
        Delivery::gitlab_signed(&signing_key(), "1", now, &gitlab),
        Delivery::gitea("gitea", &secret, "1", &payloads::gitea("refs/heads/main", NONE, &id(2))),
        Delivery::gitea("forgejo", &secret, "1", &payloads::gitea("refs/heads/main", NONE, &id(2))),
        Delivery::gitea("gogs", &secret, "1", &payloads::gitea("refs/heads/main", NONE, &id(2))),
        Delivery::bitbucket(&secret, "{1}", &bitbucket),
    ] {
        assert_eq!(webhook.status(&delivery).await, 202, "{delivery:?}");
        let answer = webhook.send(&delivery).await;
        assert_eq!((answer.status, answer.body.as_str()), (409, "this delivery was taken before\n"));
    }
    assert_eq!(webhook.count().await, 7, "each source has ids of its own");
    webhook.stop().await;
}

#[tokio::test]
async fn an_id_or_a_dated_payload_that_was_seen_is_refused_with_anything_else_of_it_new() {
    let webhook = Fixture::start().await;
    let (secret, _) = secrets();
    let payload = |number| payloads::github("refs/heads/main", NONE, &id(number));
    assert_eq!(webhook.status(&Delivery::github(&secret, "1", &payload(1))).await, 202);
    assert_eq!(webhook.status(&Delivery::github(&secret, "2", &payload(1))).await, 409, "another id");
    assert_eq!(webhook.status(&Delivery::github(&secret, "1", &payload(2))).await, 409, "another payload");
    // What was refused leaves no trace.
    assert_eq!(webhook.status(&Delivery::github(&secret, "2", &payload(2))).await, 202);
    assert_eq!(webhook.count().await, 2);
    webhook.stop().await;
}

#[tokio::test]
async fn of_one_delivery_that_comes_many_times_at_once_one_is_taken() {
    let webhook = Fixture::start().await;
    let payload = payloads::github("refs/heads/main", NONE, &id(1));
    let delivery = Delivery::github(&secrets().0, "1", &payload);
    let all = futures::future::join_all((0..20).map(|_| webhook.status(&delivery))).await;
    let count = |status| all.iter().filter(|answered| **answered == status).count();
    assert_eq!((count(202), count(409)), (1, 19));
    assert_eq!(webhook.count().await, 1);
    webhook.stop().await;
}

#[tokio::test]
async fn a_branch_that_goes_there_and_back_and_there_is_three_pushes_also_without_dates() {
    let webhook = Fixture::start().await;
    let (secret, _) = secrets();
    let state = |number| payloads::bitbucket_state("branch", "main", &id(number));
    let moves = [(2, 1), (1, 2), (2, 1)];
    for (number, (new, old)) in moves.into_iter().enumerate() {
        let bitbucket = payloads::bitbucket(&[(state(new), state(old))]);
        let gitlab = payloads::gitlab("push", "refs/heads/main", &id(old), &id(new));
        for delivery in [
            Delivery::bitbucket(&secret, &number.to_string(), &bitbucket),
            Delivery::gitlab(&secret, &number.to_string(), &gitlab),
        ] {
            assert_eq!(webhook.status(&delivery).await, 202, "{delivery:?}");
        }
    }
    assert_eq!(webhook.count().await, 6);
    webhook.stop().await;
}

#[tokio::test]
async fn older_versions_of_gitlab_share_an_id_among_pushes_that_a_webhook_caused() {
    let webhook = Fixture::start().await;
    let (secret, _) = secrets();
    let delivery = |after| {
        let payload = payloads::gitlab("push", "refs/heads/main", NONE, &id(after));
        Delivery::gitlab(&secret, "", &payload).without("Idempotency-Key")
    };
    assert_eq!(webhook.status(&delivery(1)).await, 202);
    assert_eq!(webhook.status(&delivery(2)).await, 202);
    assert_eq!(webhook.status(&delivery(2)).await, 409);
    webhook.stop().await;
}
