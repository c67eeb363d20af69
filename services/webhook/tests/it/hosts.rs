//! What each host sends becomes a push of the refs that were created or moved.

use secretscan_bus::v1;
use secretscan_webhook::Transport;
use serde_json::Value;

use crate::client::{Delivery, hmac_hex};
use crate::fixture::{Fixture, secrets, signing_key};
use crate::payloads::{self, NONE, id};

fn moved(name: &str, before: &str, after: &str) -> v1::PushedRef {
    v1::PushedRef { name: name.into(), before: before.into(), after: after.into() }
}

#[tokio::test]
async fn every_host_tells_of_pushes_of_branches_and_tags() {
    let webhook = Fixture::start().await;
    let (secret, _) = secrets();
    let now = secretscan_bus::now().0 / 1_000;
    let tag = payloads::gitlab("tag_push", "refs/tags/v1", NONE, &id(3));
    let mut system_hook = payloads::gitlab("push", "refs/heads/main", &id(1), &id(2));
    system_hook.as_object_mut().unwrap().remove("object_kind");
    let branches = payloads::bitbucket(&[
        (
            payloads::bitbucket_state("branch", "main", &id(2)),
            payloads::bitbucket_state("branch", "main", &id(1)),
        ),
        (payloads::bitbucket_state("tag", "v1", &id(3)), Value::Null),
        (Value::Null, payloads::bitbucket_state("branch", "old", &id(4))),
    ]);
    let push = |of: fn(&str, &str, &str) -> Value| of("refs/heads/main", &id(1), &id(2));
    for delivery in [
        Delivery::github(&secret, "g1", &push(payloads::github)),
        Delivery::gitlab(&secret, "l1", &payloads::gitlab("push", "refs/heads/main", &id(1), &id(2))),
        Delivery::gitlab(&secret, "l2", &tag).with("X-Gitlab-Event", "Tag Push Hook"),
        Delivery::gitlab(&secret, "l3", &system_hook).with("X-Gitlab-Event", "System Hook"),
        Delivery::gitlab_signed(&signing_key(), "s1", now, &tag),
        Delivery::gitea("gitea", &secret, "t1", &push(payloads::gitea)),
        Delivery::gitea("forgejo", &secret, "f1", &push(payloads::gitea)),
        Delivery::gitea("gogs", &secret, "o1", &push(payloads::gitea)),
        Delivery::bitbucket(&secret, "b1", &branches),
    ] {
        let answer = webhook.send(&delivery).await;
        assert_eq!((answer.status, answer.body.as_str()), (202, "accepted\n"), "{delivery:?}");
    }
    let pushes = webhook.pushes().await;
    let (main, tag) = (moved("refs/heads/main", &id(1), &id(2)), moved("refs/tags/v1", "", &id(3)));
    let told: Vec<_> = pushes.iter().map(|push| (push.delivery.as_str(), push.refs.clone())).collect();
    assert_eq!(
        told,
        [
            ("g1", vec![main.clone()]),
            ("l1", vec![main.clone()]),
            ("l2", vec![tag.clone()]),
            ("l3", vec![main.clone()]),
            ("s1", vec![tag.clone()]),
            ("t1", vec![main.clone()]),
            ("f1", vec![main.clone()]),
            ("o1", vec![main.clone()]),
            ("b1", vec![main, tag]),
        ]
    );
    let uris: Vec<_> = pushes.iter().map(|push| push.uri.trim_start_matches("https://")).collect();
    let [github, gitlab, gitea, bitbucket] =
        ["github", "gitlab", "gitea", "bitbucket"].map(|host| format!("{host}.example/acme/shop.git"));
    assert_eq!(
        uris,
        [&github, &gitlab, &gitlab, &gitlab, &gitlab, &gitea, &gitea, &gitea, &bitbucket].map(|s| s.as_str())
    );
    assert!(pushes.iter().all(|push| push.pusher == "kim" && push.received_at >= now * 1_000));
    webhook.stop().await;
}

#[tokio::test]
async fn what_is_no_push_of_content_is_taken_notice_of_and_not_stored() {
    let webhook = Fixture::start().await;
    let (secret, _) = secrets();
    let ping = serde_json::json!({ "zen": "Keep it logically awesome.", "hook_id": 1 });
    let deleted = payloads::bitbucket(&[(Value::Null, payloads::bitbucket_state("branch", "old", &id(4)))]);
    let wiki = serde_json::json!({ "event_name": "repository_update", "project_id": 1 });
    for delivery in [
        Delivery::github(&secret, "p1", &ping).with("X-GitHub-Event", "ping"),
        Delivery::github(&secret, "p2", &payloads::github("refs/heads/old", &id(1), NONE)),
        Delivery::gitlab(&secret, "p3", &payloads::gitlab("push", "refs/heads/old", &id(1), NONE)),
        Delivery::gitlab(&secret, "p4", &wiki).with("X-Gitlab-Event", "System Hook"),
        Delivery::gitlab(&secret, "p5", &ping).with("X-Gitlab-Event", "Issue Hook"),
        Delivery::gitea("gitea", &secret, "p6", &ping).with("X-Gitea-Event", "create"),
        Delivery::bitbucket(&secret, "p7", &deleted),
        Delivery::bitbucket(&secret, "p8", &ping).with("X-Event-Key", "repo:fork"),
    ] {
        assert_eq!(webhook.status(&delivery).await, 204, "{delivery:?}");
    }
    assert_eq!(webhook.count().await, 0);
    webhook.stop().await;
}

#[tokio::test]
async fn a_source_may_use_the_url_of_ssh_and_github_may_send_a_form() {
    let webhook = Fixture::start_with(|config| {
        let source = |name: &str, base: &str| {
            let mut source = config.sources[name].clone();
            (source.clone, source.base_url) = (Transport::Ssh, base.to_owned());
            (name.to_owned(), source)
        };
        config.sources = [
            source("github", "git@github.example:"),
            source("gitea", "ssh://git@gitea.example:2222/acme/"),
            source("bitbucket", "git@bitbucket.example:acme/"),
        ]
        .into();
    })
    .await;
    let (secret, _) = secrets();
    let mut form = Delivery::github(&secret, "1", &payloads::github("refs/heads/a&b", NONE, &id(2)));
    let payload = String::from_utf8(form.body).unwrap();
    form.body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &payload)
        .finish()
        .into_bytes();
    let signature = format!("sha256={}", hmac_hex(secret.as_bytes(), &form.body));
    let form = form
        .with("Content-Type", "application/x-www-form-urlencoded")
        .with("X-Hub-Signature-256", &signature);
    let gitea = payloads::gitea("refs/heads/main", NONE, &id(2));
    let bitbucket =
        payloads::bitbucket(&[(payloads::bitbucket_state("branch", "main", &id(2)), Value::Null)]);
    for delivery in
        [form, Delivery::gitea("gitea", &secret, "2", &gitea), Delivery::bitbucket(&secret, "3", &bitbucket)]
    {
        assert_eq!(webhook.status(&delivery).await, 202, "{delivery:?}");
    }
    let pushes = webhook.pushes().await;
    let uris: Vec<_> = pushes.iter().map(|push| push.uri.as_str()).collect();
    assert_eq!(
        uris,
        [
            "ssh://git@github.example/acme/shop.git",
            "ssh://git@gitea.example:2222/acme/shop.git",
            "ssh://git@bitbucket.example/acme/shop.git",
        ]
    );
    assert_eq!(pushes[0].refs, [moved("refs/heads/a&b", "", &id(2))]);
    webhook.stop().await;
}
