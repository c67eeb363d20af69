//! Who has no secret gets 401 and learns nothing more.

use data_encoding::BASE64;

use crate::client::{Delivery, hmac_hex};
use crate::fixture::{Fixture, secrets, signing_key};
use crate::payloads::{self, NONE, id};

const MINUTE: i64 = 60;

fn now() -> i64 {
    secretscan_bus::now().0 / 1_000
}

/// A right delivery of each source.
fn right(secret: &str) -> Vec<Delivery> {
    let gitea = payloads::gitea("refs/heads/main", NONE, &id(2));
    let bitbucket = payloads::bitbucket(&[(
        payloads::bitbucket_state("branch", "main", &id(2)),
        serde_json::Value::Null,
    )]);
    let gitlab = payloads::gitlab("push", "refs/heads/main", NONE, &id(2));
    let names: Vec<String> = (0..6).map(|number| format!("{secret}-{number}")).collect();
    vec![
        Delivery::github(
            secret,
            &names[0],
            &payloads::github("refs/heads/main", NONE, &id(secret.len() as u64)),
        ),
        Delivery::gitlab(secret, &names[1], &gitlab),
        Delivery::gitea(
            "gitea",
            secret,
            &names[2],
            &payloads::gitea("refs/heads/main", NONE, &id(secret.len() as u64)),
        ),
        Delivery::gitea("forgejo", secret, &names[3], &gitea),
        Delivery::gitea("gogs", secret, &names[4], &gitea),
        Delivery::bitbucket(secret, &names[5], &bitbucket),
    ]
}

#[tokio::test]
async fn both_secrets_of_a_rotation_are_right_and_a_third_is_not() {
    let webhook = Fixture::start().await;
    let (current, previous) = secrets();
    for delivery in right("a-third-one-that-nobody-configured") {
        let answer = webhook.send(&delivery).await;
        assert_eq!((answer.status, answer.body.as_str()), (401, "unauthorized\n"), "{delivery:?}");
    }
    assert_eq!(webhook.count().await, 0);
    for delivery in right(&current) {
        assert_eq!(webhook.status(&delivery).await, 202, "{delivery:?}");
    }
    // Forgejo's payload is the same, and so is what is signed of it.
    for delivery in right(&previous).into_iter().filter(|delivery| delivery.path != "/hooks/forgejo") {
        assert_eq!(webhook.status(&delivery).await, 202, "{delivery:?}");
    }
    assert_eq!(webhook.count().await, 11);
    webhook.stop().await;
}

#[tokio::test]
async fn a_signature_that_is_missing_changed_or_of_something_else_is_refused() {
    let webhook = Fixture::start().await;
    let (secret, _) = secrets();
    let names = [
        "X-Hub-Signature-256",
        "X-Gitlab-Token",
        "X-Gitea-Signature",
        "X-Forgejo-Signature",
        "X-Gogs-Signature",
        "X-Hub-Signature",
    ];
    for (delivery, name) in right(&secret).into_iter().zip(names) {
        let value = delivery.headers.iter().find(|(other, _)| other == name).unwrap().1.clone();
        let flipped = value.chars().rev().map(|c| if c == 'a' { 'b' } else { 'a' }).collect::<String>();
        let mut changed = delivery.clone();
        changed.body.push(b' ');
        let mut cases = vec![
            delivery.clone().with(name, ""),
            delivery.clone().with(name, &flipped),
            delivery.clone().with(name, &value[..value.len() - 2]),
            delivery.clone().with(name, &format!("{value}00")),
            delivery.clone().with(name, "sha256=zz"),
        ];
        if name == "X-Forgejo-Signature" {
            // The newer header is the one that counts.
            cases.push(delivery.clone().with(name, &hmac_hex(b"another", &delivery.body)));
        } else {
            cases.push(delivery.clone().without(name));
        }
        if name != "X-Gitlab-Token" {
            // A token says nothing of the body.
            cases.push(changed);
        }
        for case in cases {
            assert_eq!(webhook.status(&case).await, 401, "{case:?}");
        }
    }
    let sha1 = right(&secret).remove(0).without("X-Hub-Signature-256").with("X-Hub-Signature", "sha1=00");
    assert_eq!(webhook.status(&sha1).await, 401);
    assert_eq!(webhook.count().await, 0);
    webhook.stop().await;
}

#[tokio::test]
async fn a_signed_delivery_of_gitlab_is_fresh_and_whole() {
    let webhook = Fixture::start().await;
    let key = signing_key();
    let payload = payloads::gitlab("push", "refs/heads/main", NONE, &id(2));
    let signed = |name: &str, time| Delivery::gitlab_signed(&key, name, time, &payload);
    let good = signed("fresh", now());
    let value = good.headers.iter().find(|(name, _)| name == "webhook-signature").unwrap().1.clone();
    let other = format!("v1,{}", BASE64.encode(&[7; 32]));
    for (case, delivery) in [
        ("old", signed("a", now() - 6 * MINUTE)),
        ("of the future", signed("b", now() + 6 * MINUTE)),
        ("another time", signed("c", now()).with("webhook-timestamp", &(now() - MINUTE).to_string())),
        ("another id", signed("d", now()).with("webhook-id", "e")),
        ("no time", signed("f", now()).without("webhook-timestamp")),
        ("a time beyond all", signed("g", now()).with("webhook-timestamp", "9223372036854775807")),
        ("another key", Delivery::gitlab_signed(b"another key", "h", now(), &payload)),
        ("another version", signed("i", now()).with("webhook-signature", &value.replace("v1,", "v2,"))),
        ("the token alone", Delivery::gitlab(&secrets().0, "j", &payload)),
    ] {
        let delivery = Delivery { path: "/hooks/gitlab-signed".into(), ..delivery };
        assert_eq!(webhook.status(&delivery).await, 401, "{case}");
    }
    assert_eq!(webhook.count().await, 0);
    let one_of_two = good.clone().with("webhook-signature", &format!("{other} {value}"));
    assert_eq!(webhook.status(&one_of_two).await, 202);
    assert_eq!(webhook.status(&signed("almost-old", now() - 4 * MINUTE)).await, 202);
    webhook.stop().await;
}
