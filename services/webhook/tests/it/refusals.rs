//! What is wrong with a delivery is said, without a word of it.

use secretscan_model::{RepositoryUri, UriPolicy};
use secretscan_webhook::UnknownRepositories;
use serde_json::{Value, json};

use crate::client::{Delivery, hmac_hex};
use crate::fixture::{Fixture, secrets};
use crate::payloads::{self, NONE, id};

fn push() -> Value {
    payloads::github("refs/heads/main", NONE, &id(2))
}

/// A payload of GitHub with another value in a field.
fn changed(pointer: &str, value: Value) -> Value {
    let mut payload = push();
    *payload.pointer_mut(pointer).unwrap() = value;
    payload
}

#[tokio::test]
async fn a_wrong_payload_is_refused_with_its_field() {
    let webhook = Fixture::start().await;
    let (secret, _) = secrets();
    let canary = "canary\u{1b}[31m";
    for (payload, status, told) in [
        (changed("/ref", json!(null)), 422, "lacks the field ref"),
        (changed("/ref", json!(canary)), 422, "the field ref does not name"),
        (changed("/ref", json!("refs/heads/../../canary")), 422, "the field ref does not name"),
        (changed("/ref", json!(["canary"])), 422, "another type is expected at line 1"),
        (changed("/after", json!(null)), 422, "lacks the field after"),
        (changed("/after", json!("canary")), 422, "the field after is not an id"),
        (changed("/before", json!(&id(1)[1..])), 422, "the field before is not an id"),
        (changed("/repository", json!(null)), 422, "lacks the field repository"),
        (changed("/repository", json!("canary")), 422, "another type"),
        (changed("/repository/clone_url", json!(null)), 422, "lacks the field repository.clone_url"),
        (changed("/repository/clone_url", json!("file:///srv/canary")), 422, "not accepted"),
        (changed("/repository/clone_url", json!("https://u:canary@github.example/a/b")), 422, "not accepted"),
        (changed("/repository/clone_url", json!("https://10.0.0.1/canary")), 422, "not accepted"),
        (changed("/repository/clone_url", json!("https://github.example.evil/canary")), 403, "base_url"),
        (changed("/repository/clone_url", json!("https://elsewhere.example/canary")), 403, "base_url"),
        (json!(["canary"]), 422, "another type"),
    ] {
        let answer = webhook.send(&Delivery::github(&secret, "1", &payload)).await;
        assert_eq!(answer.status, status, "{payload}: {}", answer.body);
        assert!(answer.body.contains(told), "{payload}: {}", answer.body);
        assert!(!answer.body.contains("canary"), "{}", answer.body);
    }
    for body in ["", "{", "canary", "payload=canary", &"{\"x\":".repeat(100_000), "{\"ref\":\"\u{0}\"}"] {
        let signature = format!("sha256={}", hmac_hex(secret.as_bytes(), body.as_bytes()));
        let delivery = Delivery { body: body.into(), ..Delivery::github(&secret, "1", &push()) };
        let answer = webhook.send(&delivery.with("X-Hub-Signature-256", &signature)).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains("not JSON") && !answer.body.contains("canary"), "{}", answer.body);
    }
    for id in ["", "a b", "\"", &"a".repeat(200)] {
        assert_eq!(webhook.status(&Delivery::github(&secret, id, &push())).await, 400, "{id}");
    }
    let states = payloads::bitbucket_state("branch", "main", &id(1));
    let many = payloads::bitbucket(&vec![(states, Value::Null); 1_001]);
    assert_eq!(webhook.status(&Delivery::bitbucket(&secret, "1", &many)).await, 422);
    assert_eq!(webhook.count().await, 0);
    webhook.stop().await;
}

#[tokio::test]
async fn there_is_nothing_but_deliveries() {
    let webhook = Fixture::start().await;
    let (secret, _) = secrets();
    let delivery = Delivery::github(&secret, "1", &push());
    for path in
        ["/", "/hooks", "/hooks/", "/hooks/other", "/hooks/github/", "/healthz", "/metrics", "//", "/%2e%2e/"]
    {
        let delivery = Delivery { path: path.into(), ..delivery.clone() };
        assert_eq!(webhook.status(&delivery).await, 404, "{path}");
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let answer = webhook.send(&Delivery { method, ..delivery.clone() }).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: post"), "{}", answer.head);
    }
    webhook.stop().await;
}

#[tokio::test]
async fn answers_are_counted_by_source_and_outcome() {
    let webhook = Fixture::start().await;
    let delivery = Delivery::github(&secrets().0, "1", &push());
    let elsewhere = Delivery { path: "/hooks/no-such-source".into(), ..delivery.clone() };
    let unsigned = delivery.clone().without("X-Hub-Signature-256");
    for delivery in [&delivery, &delivery, &unsigned, &elsewhere] {
        webhook.send(delivery).await;
    }
    let metrics = webhook.metrics();
    for line in [
        r#"secretscan_webhook_deliveries_total{source="github",outcome="taken"} 1"#,
        r#"secretscan_webhook_deliveries_total{source="github",outcome="replayed"} 1"#,
        r#"secretscan_webhook_deliveries_total{source="github",outcome="unauthorized"} 1"#,
        r#"secretscan_webhook_deliveries_total{source="",outcome="not-found"} 1"#,
        r#"secretscan_webhook_answer_seconds_count{source="github"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("no-such-source"));
    webhook.stop().await;
}

#[tokio::test]
async fn a_policy_may_refuse_repositories_that_are_not_known() {
    let webhook =
        Fixture::start_with(|config| config.policy.unknown_repositories = UnknownRepositories::Refuse).await;
    let delivery = Delivery::github(&secrets().0, "1", &push());
    let answer = webhook.send(&delivery).await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.starts_with("unknown repository"), "{}", answer.body);
    assert_eq!(webhook.count().await, 0);
    let uri = RepositoryUri::parse("git@github.example:acme/shop", UriPolicy::default()).unwrap();
    webhook.bus.know_repository(&uri).await.unwrap();
    assert_eq!(webhook.status(&delivery).await, 202, "by whatever URI it is known");
    webhook.stop().await;
}
