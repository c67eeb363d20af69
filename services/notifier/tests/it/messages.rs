//! Messages to people: forms, batches, routes, and what a crash leaves.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use secretscan_bus::v1;
use secretscan_model::{Finding, TriageState};
use secretscan_testkit::eventually;
use sha2::Sha256;

use crate::host::{Answer, Host, body};
use crate::stage::{DEADLINE, Stage, finding, push};

const URI: &str = "https://github.com/acme/shop";

fn channel(stage: &Stage, name: &str, kind: &str, host: &Host) -> String {
    let file = stage.write(&format!("{name}-url"), &format!("{}/hook/{name}\n", host.url()));
    format!("[[channels]]\nname = {name:?}\nkind = {kind:?}\nurl_file = {file:?}\n")
}

fn route(on: &[&str], channels: &[&str], more: &str) -> String {
    format!("[[routes]]\non = {on:?}\nchannels = {channels:?}\n{more}\n")
}

fn key() -> Vec<u8> {
    vec![7; 32]
}

/// All occasions: three findings, a failed request, a dead letter, and unknown commits.
async fn happen(stage: &Stage) {
    let repository = stage.pushed("r1", URI, vec![push("refs/heads/main", &[3])]).await;
    let mut findings = vec![finding(1, "critical", 3), finding(2, "low", 3), finding(3, "high", 3)];
    // They come one by one, so that their order is known.
    for finding in findings.drain(..) {
        stage.bus.record_findings(&repository, vec![finding]).await.unwrap();
    }
    stage.failed("r1", "it is <gone>").await;
    let alert = v1::UnknownCommits {
        repository_id: repository.to_string(),
        request_id: "s1".into(),
        count: 12,
        refs: vec!["refs/heads/main".into()],
        authors: vec!["A & B".into()],
        schedule_id: "nightly".into(),
        at: 1_700_000_000_000,
        first_written: 1_699_000_000,
        last_written: 1_699_000_060,
    };
    stage.publish(&format!("secretscan.event.alert.unknown-commits.{repository}"), &alert).await;
    stage.dead_letter("what is it?").await;
}

#[tokio::test]
async fn chats_get_what_the_routes_say_in_one_message() {
    let (stage, slack, teams) = (Stage::set().await, Host::start([]).await, Host::start([]).await);
    let config = [
        channel(&stage, "security", "slack", &slack),
        channel(&stage, "operations", "teams", &teams),
        route(&["finding"], &["security"], "min_severity = 'high'\nrepositories = ['github.com/acme/*']"),
        route(&["finding"], &["operations"], "repositories = ['gitlab.com/**']"),
        route(&["failed-request", "dead-letter", "unknown-commits"], &["operations"], ""),
    ]
    .concat();
    happen(&stage).await;
    let _notifier = stage.start(&config).await;
    stage.drained().await;
    let requests = slack.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let version = env!("CARGO_PKG_VERSION");
    let finding = |severity: &str| {
        let commit = "000000000000";
        format!(
            "• *{severity}*: GitHub token in github.com/acme/shop, `src/&lt;a&gt;.txt:7`, commit {commit} by A &amp; B\n   \
             `token = ghp_****`\n"
        )
    };
    // https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/
    let text = format!("*secretscan: 2 new secrets*\n{}{}", finding("critical"), finding("high"));
    let sent = serde_json::json!({ "text": text.trim_end() }).to_string();
    assert_eq!(
        requests[0],
        format!(
            "POST /hook/security HTTP/1.1\r\nuser-agent: secretscan/{version}\r\ncontent-type: application/json\r\n\
             host: 127.0.0.1:PORT\r\ncontent-length: {}\r\n\r\n{sent}",
            sent.len()
        )
    );
    let bodies = teams.bodies();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    // https://learn.microsoft.com/connectors/teams/: the message of a workflow's webhook
    assert_eq!(bodies[0]["type"], "message");
    let attachment = &bodies[0]["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(attachment["content"]["type"], "AdaptiveCard");
    let text = attachment["content"]["body"][0]["text"].as_str().unwrap();
    let headline = "**secretscan: 1 repository with unknown commits, 1 failed scan, 1 dead letter**\n";
    assert!(text.starts_with(headline), "{text}");
    assert!(text.ends_with("…and 1 more"), "at most two items are named: {text}");
}

#[tokio::test]
async fn a_webhook_is_signed_and_told_everything_once() {
    let (stage, host) = (Stage::set().await, Host::start([]).await);
    let secret = stage.write("secret", &format!("whsec_{}", BASE64.encode(&key())));
    let config = [
        channel(&stage, "tickets", "webhook", &host),
        format!("secret_file = {secret:?}\n"),
        route(&["finding", "failed-request", "dead-letter", "unknown-commits"], &["tickets"], ""),
    ]
    .concat();
    happen(&stage).await;
    let first = stage.start(&config).await;
    stage.drained().await;
    let requests = host.requests();
    assert_eq!(requests.len(), 1);
    let (head, sent) = requests[0].split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
    };
    // https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    let mut mac = Hmac::<Sha256>::new_from_slice(&key()).unwrap();
    mac.update(format!("{}.{}.{sent}", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    let signature = BASE64.encode(&mac.finalize().into_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
    assert!(header("webhook-id").starts_with("msg_"));
    let body = body(&requests[0]);
    assert_eq!(body["type"], "secretscan.notification");
    let data = &body["data"];
    assert_eq!((data["count"].as_u64(), data["more"].as_u64()), (Some(6), Some(4)));
    assert_eq!(data["items"].as_array().unwrap().len(), 2);
    let finding = data["items"].as_array().unwrap().iter().find(|item| item["kind"] == "finding");
    if let Some(finding) = finding {
        assert_eq!(finding["excerpt"], "token = ghp_****");
        assert_eq!(finding["repository"], "github.com/acme/shop");
    }
    // The same again, as after a lost acknowledgement: nothing is told twice.
    drop(first.kill().await);
    stage.bus.take_back_work().await.unwrap();
    let second = stage.start(&config).await;
    stage.drained().await;
    assert_eq!(host.requests().len(), 1);
    let (_, metrics) = second.get("/metrics").await.unwrap();
    assert!(!metrics.contains(r#"to="tickets""#), "{metrics}");
}

#[tokio::test]
async fn a_chat_that_is_busy_is_told_later_and_one_that_is_gone_never() {
    let answers = [
        Answer::Say(429, "retry-after: 1\r\n", "rate_limited".into()),
        Answer::Cut,
        Answer::Say(200, "", "ok".into()),
        Answer::Say(404, "", "no_service".into()),
    ];
    let (stage, host) = (Stage::set().await, Host::start(answers).await);
    let config =
        [channel(&stage, "security", "slack", &host), route(&["finding"], &["security"], "")].concat();
    let notifier = stage.start(&config).await;
    let repository = stage.pushed("r1", URI, vec![push("refs/heads/main", &[3])]).await;
    stage.bus.record_findings(&repository, vec![finding(1, "high", 3)]).await.unwrap();
    stage.drained().await;
    assert_eq!(host.requests().len(), 3);
    stage.bus.record_findings(&repository, vec![finding(2, "high", 3)]).await.unwrap();
    stage.drained().await;
    assert_eq!(host.requests().len(), 4);
    let key = format!("told.security.finding.{repository}.v2-{:032x}.0123456789abcdef", 2);
    let told = stage.bus.notification(&key).await.unwrap().unwrap().value;
    assert_eq!(serde_json::to_value(told).unwrap()["reason"], "answered 404");
    let (_, log) = notifier.finish().await.unwrap();
    assert!(!log.contains("/hook/"), "the URL is a secret: {log}");
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_to_be_told() {
    let (stage, host) = (Stage::set().await, Host::start([]).await);
    let config =
        [channel(&stage, "security", "slack", &host), route(&["finding"], &["security"], "")].concat();
    let repository = stage.pushed("r1", URI, vec![push("refs/heads/main", &[3])]).await;
    stage.bus.record_findings(&repository, vec![finding(1, "high", 3)]).await.unwrap();
    // Killed while it waits for company: nothing was sent, nothing is lost.
    let long = stage.start_with(&config, &[("SECRETSCAN_BATCH__WINDOW_MS", "60000")]).await;
    stage.taken().await;
    long.kill().await.unwrap();
    assert_eq!(host.requests().len(), 0);
    // Stopped while it waits: given back at once.
    let long = stage.start_with(&config, &[("SECRETSCAN_BATCH__WINDOW_MS", "60000")]).await;
    stage.taken().await;
    assert_eq!(long.terminate().await.unwrap().code(), Some(0));
    // Dies after it was sent and before it is remembered: told again, at least once and not for ever.
    let dies = stage.start_with(&config, &[("FAIL_POINTS", "message.answered")]).await;
    host.received(1).await;
    eventually(DEADLINE, "it has died", async || dies.get("/healthz").await.err().map(drop)).await;
    let _last = stage.start(&config).await;
    stage.drained().await;
    assert_eq!(host.requests().len(), 2);
}

#[tokio::test]
async fn what_was_decided_about_is_not_told_again_under_another_name() {
    let (stage, host) = (Stage::set().await, Host::start([]).await);
    let config =
        [channel(&stage, "security", "slack", &host), route(&["finding"], &["security"], "")].concat();
    let repository = stage.pushed("r1", URI, vec![push("refs/heads/main", &[3])]).await;
    let [known, dropped, other] = [1, 2, 3].map(|number| finding(number, "high", 3));
    let renamed = Finding { secret_hash: known.secret_hash.clone(), path: b"renamed".to_vec(), ..dropped };
    let decide = async |finding: &Finding, state| {
        stage.bus.decide(&repository, &finding.secret(), &state, "", "ada").await.unwrap();
    };
    decide(&known, TriageState::FalsePositive).await;
    decide(&other, TriageState::Confirmed).await;
    stage.bus.record_findings(&repository, vec![renamed, other]).await.unwrap();
    let _notifier = stage.start(&config).await;
    stage.drained().await;
    let text = host.bodies()[0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("*secretscan: 1 new secret*") && !text.contains("renamed"), "{text}");
}

#[tokio::test]
async fn a_template_of_ones_own_is_used() {
    let (stage, host) = (Stage::set().await, Host::start([]).await);
    let template =
        stage.write("own.j2", "{% for item in items %}{{ item.path }} {{ item.ruleId }}{% endfor %}");
    let config = [
        channel(&stage, "security", "slack", &host),
        format!("template_file = {template:?}\n"),
        route(&["finding"], &["security"], ""),
    ]
    .concat();
    let _notifier = stage.start(&config).await;
    let repository = stage.pushed("r1", URI, vec![push("refs/heads/main", &[3])]).await;
    stage.bus.record_findings(&repository, vec![finding(1, "high", 3)]).await.unwrap();
    stage.drained().await;
    assert_eq!(host.bodies()[0]["text"], "src/&lt;a&gt;.txt github-token");
}
