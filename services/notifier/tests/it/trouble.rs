//! Hosts that fail, processes that die, and replicas that compete.

use secretscan_bus::notifications::Phase;
use secretscan_testkit::eventually;
use secretscan_testkit::service::ServiceProcess;

use crate::host::{Answer, Host, body};
use crate::stage::{DEADLINE, Stage, commit, push};

const URI: &str = "https://github.com/acme/shop";

fn states(requests: &[String]) -> Vec<String> {
    let line = |request: &String| match request.starts_with("GET ") {
        true => "asked".to_owned(),
        false => body(request)["state"].as_str().unwrap().to_owned(),
    };
    requests.iter().map(line).collect()
}

/// How GitHub lists a status.
fn listed(state: &str, text: &str) -> Answer {
    let body = format!(r#"[{{"id":1,"state":"{state}","description":"{text}","context":"secretscan"}}]"#);
    Answer::Say(200, "", body)
}

const PENDING: &str = "looking for secrets in what was pushed";

#[tokio::test]
async fn what_fails_is_tried_again_and_what_may_have_arrived_is_asked_for_first() {
    let none = || Answer::Say(200, "", "[]".into());
    let answers = [
        // The rate limits of GitHub: for certain not taken.
        Answer::Say(429, "retry-after: 1\r\n", "{}".into()),
        Answer::Say(403, "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 1\r\n", "{}".into()),
        Answer::status(503),
        // Nobody knows whether it was taken: asked, not there; asked, there.
        Answer::status(500),
        none(),
        Answer::Cut,
        Answer::status(502),
        none(),
        Answer::Hold,
        listed("pending", PENDING),
    ];
    let (stage, host) = (Stage::set().await, Host::start(answers).await);
    let _notifier = stage.start(&stage.status("github.com", "github", &host.url())).await;
    stage.pushed("r1", URI, vec![push("refs/heads/main", &[3])]).await;
    host.received(10).await;
    stage.completed("r1").await;
    stage.drained().await;
    let [p, asked] = ["pending", "asked"];
    assert_eq!(states(&host.requests()), [p, p, p, p, asked, p, asked, asked, p, asked, "success"]);
    let question = format!("GET /repos/acme/shop/commits/{}/statuses?per_page=100 HTTP/1.1\r\n", commit(3));
    assert!(host.requests()[4].starts_with(&question), "{}", host.requests()[4]);
    assert_eq!(stage.remembered("r1", 3).await.unwrap().phase, Phase::Sent);
}

#[tokio::test]
async fn what_a_host_refuses_is_kept_as_undelivered() {
    let secret = format!("t0{}", "ken");
    let answers = [
        Answer::Say(404, "", format!("there is no {secret}")),
        Answer::Say(302, "location: http://127.0.0.1:1/\r\n", String::new()),
    ];
    let (stage, host) = (Stage::set().await, Host::start(answers).await);
    let notifier = stage.start(&stage.status("github.com", "github", &host.url())).await;
    stage.pushed("r1", URI, vec![push("refs/heads/main", &[3])]).await;
    assert_eq!(stage.undelivered("r1", 3).await, "answered 404");
    stage.completed("r1").await;
    eventually(DEADLINE, "the last state is given up too", async || {
        (stage.remembered("r1", 3).await?.what == "success").then_some(())
    })
    .await;
    assert_eq!(stage.undelivered("r1", 3).await, "answered 302: redirects are not followed");
    stage.drained().await;
    assert_eq!(states(&host.requests()), ["pending", "success"], "each once");
    let (_, metrics) = notifier.get("/metrics").await.unwrap();
    let counted = r#"secretscan_notifications_total{to="github.com",outcome="undelivered"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
    let (_, log) = notifier.finish().await.unwrap();
    assert!(log.contains("status undelivered") && !log.contains(&secret), "{log}");
}

#[tokio::test]
async fn a_host_that_is_away_for_too_long_is_given_up() {
    let stage = Stage::set().await;
    let config = stage.status("github.com", "github", "http://127.0.0.1:1");
    let give_up = [("SECRETSCAN_DELIVERY__GIVE_UP_AFTER_S", "1")];
    let _notifier = stage.start_with(&config, &give_up).await;
    stage.pushed("r1", URI, vec![push("refs/heads/main", &[3])]).await;
    let reason = stage.undelivered("r1", 3).await;
    assert!(reason.starts_with("given up: ") && reason.contains("refused"), "{reason}");
    stage.drained().await;
}

#[tokio::test]
async fn gitlab_that_has_a_state_already_is_content() {
    let refusal = r#"{"message":{"state":["Cannot transition status via :enqueue from :pending"]}}"#;
    let answers = [Answer::Say(400, "", refusal.into())];
    let (stage, host) = (Stage::set().await, Host::start(answers).await);
    let _notifier = stage.start(&stage.status("gitlab.com", "gitlab", &host.url())).await;
    stage.pushed("r1", "https://gitlab.com/acme/shop", vec![push("refs/heads/main", &[3])]).await;
    stage.drained().await;
    assert_eq!(stage.remembered("r1", 3).await.unwrap().phase, Phase::Sent);
    assert_eq!(host.requests().len(), 1);
}

/// Waits until a notifier has died at a fail point.
async fn dies(notifier: ServiceProcess) {
    eventually(DEADLINE, "it has died", async || notifier.get("/healthz").await.err().map(drop)).await;
}

#[tokio::test]
async fn a_crash_before_or_after_the_request_makes_no_second_status() {
    for (point, answers, expected) in [
        // Before: the host is asked, and has none.
        (
            "notification.pending.sending.written",
            vec![Answer::Say(200, "", "[]".into())],
            vec!["asked", "pending"],
        ),
        // After: the host is asked, and has it.
        (
            "notification.pending.answered",
            vec![Answer::status(201), listed("pending", PENDING)],
            vec!["pending", "asked"],
        ),
    ] {
        let (stage, host) = (Stage::set().await, Host::start(answers).await);
        let config = stage.status("github.com", "github", &host.url());
        // It must be up before there is what it dies of.
        let notifier = stage.start_with(&config, &[("FAIL_POINTS", point)]).await;
        stage.pushed("r1", URI, vec![push("refs/heads/main", &[3])]).await;
        dies(notifier).await;
        let Phase::Sending { .. } = stage.remembered("r1", 3).await.unwrap().phase else {
            panic!("{point}: it died too late")
        };
        // Meanwhile the scan ends: the last state waits for the first one, and comes after it.
        let _notifier = stage.start(&config).await;
        host.received(2).await;
        stage.completed("r1").await;
        stage.drained().await;
        let expected: Vec<&str> = expected.into_iter().chain(["success"]).collect();
        assert_eq!(states(&host.requests()), expected, "{point}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_send_each_state_once_and_in_order() {
    let (stage, host) = (Stage::set().await, Host::start([]).await);
    let config = stage.status("github.com", "github", &host.url());
    let _notifiers = (stage.start(&config).await, stage.start(&config).await);
    let numbers = 1..=30;
    for number in numbers.clone() {
        let id = format!("r{number}");
        stage.pushed(&id, URI, vec![push("refs/heads/main", &[number])]).await;
        stage.completed(&id).await;
    }
    stage.drained().await;
    let requests = host.requests();
    for number in numbers {
        let path = format!("/statuses/{}", commit(number));
        let of_commit: Vec<String> =
            requests.iter().filter(|request| request.contains(&path)).cloned().collect();
        let states = states(&of_commit);
        // A commit whose scan has ended before anybody looked has no pending status.
        assert!(states == ["pending", "success"] || states == ["success"], "{number}: {states:?}");
    }
}
