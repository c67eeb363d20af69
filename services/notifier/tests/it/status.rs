//! The status of commits, in the forms that the hosts document.

use crate::host::Host;
use crate::stage::{Stage, finding, push};

/// A request as it must come, written from the documentation of the hosts.
fn post(path: &str, headers: &str, body: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "POST {path} HTTP/1.1\r\nuser-agent: secretscan/{version}\r\ncontent-type: application/json\r\n{headers}\
         host: 127.0.0.1:PORT\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>
fn github(commit: &str, state: &str, request: &str, text: &str) -> String {
    post(
        &format!("/repos/acme/shop/statuses/{commit}"),
        "accept: application/vnd.github+json\r\nauthorization: Bearer t0ken\r\nx-github-api-version: 2022-11-28\r\n",
        &format!(
            r#"{{"state":"{state}","target_url":"https://scan.example/requests/{request}","description":"{text}","context":"secretscan"}}"#
        ),
    )
}

const PENDING: &str = "looking for secrets in what was pushed";
const COMMIT_3: &str = "0000000000000000000000000000000000000003";
const COMMIT_9: &str = "0000000000000000000000000000000000000009";

#[tokio::test]
async fn a_push_is_pending_until_its_findings_are_known() {
    let (stage, host) = (Stage::set().await, Host::start([]).await);
    let notifier = stage.start(&stage.status("github.com", "github", &host.url())).await;
    let pushes = vec![push("refs/heads/main", &[3, 2]), push("refs/heads/other", &[9])];
    let repository = stage.pushed("r1", "https://github.com/acme/shop.git", pushes).await;
    host.received(2).await;
    // In a commit of the push, in its head, in both, and in neither.
    let mut both = finding(3, "critical", 2);
    both.occurrences.extend(finding(3, "critical", 3).occurrences);
    let findings = vec![finding(1, "high", 2), finding(2, "low", 3), both, finding(4, "critical", 1)];
    stage.bus.record_findings(&repository, findings).await.unwrap();
    stage.completed("r1").await;
    stage.drained().await;
    let mut requests = host.requests();
    requests[..2].sort();
    requests[2..].sort();
    assert_eq!(
        requests,
        [
            github(COMMIT_3, "pending", "r1", PENDING),
            github(COMMIT_9, "pending", "r1", PENDING),
            github(COMMIT_3, "failure", "r1", "3 secrets in 2 commits: 1 critical, 1 high, 1 low"),
            github(COMMIT_9, "success", "r1", "no secrets in 1 commit"),
        ]
    );
    let (status, metrics) = notifier.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    let counted = r#"secretscan_notifications_total{to="github.com",outcome="sent"} 4"#;
    assert!(metrics.contains(counted), "{metrics}");
    let (_, log) = notifier.finish().await.unwrap();
    assert!(!log.contains("t0ken"), "no token in the log");
}

#[tokio::test]
async fn a_failed_or_cancelled_scan_is_told_without_its_reason() {
    let (stage, host) = (Stage::set().await, Host::start([]).await);
    stage.pushed("r1", "https://github.com/acme/shop", vec![push("refs/heads/main", &[3])]).await;
    stage.failed("r1", "the host internal.example can't be reached").await;
    stage.pushed("r2", "https://github.com/acme/shop", vec![push("refs/heads/main", &[9])]).await;
    let cancel = secretscan_model::ScanEvent::Cancel { requester: "somebody".into() };
    stage.bus.apply_scan(&"r2".parse().unwrap(), &[cancel]).await.unwrap();
    // Both have ended before the notifier starts: a state that has passed is not told.
    let _notifier = stage.start(&stage.status("github.com", "github", &host.url())).await;
    stage.drained().await;
    let mut requests = host.requests();
    requests.sort();
    assert_eq!(
        requests,
        [
            github(COMMIT_3, "error", "r1", "the scan failed"),
            github(COMMIT_9, "error", "r2", "the scan was cancelled"),
        ]
    );
}

#[tokio::test]
async fn the_severity_that_fails_a_commit_is_configured_and_tags_wait_for_their_commit() {
    let (stage, host) = (Stage::set().await, Host::start([]).await);
    let config = [stage.status("github.com", "github", &host.url()), "fail_on = \"high\"\n".into()].concat();
    let _notifier = stage.start(&config).await;
    let (mut tag, mut content) = push("refs/tags/v1", &[3]);
    // An annotated tag, and one on a commit that was there before.
    tag.after = crate::stage::commit(77);
    content.after = tag.after.to_string();
    let (old, mut nothing) = push("refs/tags/v0", &[88]);
    nothing.commit_ids.clear();
    let pushes = vec![(tag, content), (old, nothing)];
    let repository = stage.pushed("r1", "https://github.com/acme/shop", pushes).await;
    stage.bus.record_findings(&repository, vec![finding(1, "medium", 3)]).await.unwrap();
    stage.completed("r1").await;
    stage.drained().await;
    let text = "1 secret in 1 commit: 1 medium";
    assert_eq!(host.requests().last().unwrap(), &github(COMMIT_3, "success", "r1", text));
    assert!(host.requests().iter().all(|request| request.contains(COMMIT_3)), "no status on a tag");
}

#[tokio::test]
async fn other_hosts_get_their_own_forms() {
    let (stage, host) = (Stage::set().await, Host::start([]).await);
    let url = host.url();
    let config = [
        stage.status("gitlab.com", "gitlab", &format!("{url}/api/v4")),
        stage.status("gitea.example", "gitea", &format!("{url}/api/v1")),
        stage.status("bitbucket.org", "bitbucket", &format!("{url}/2.0/")),
        stage.status("old.example", "bitbucket", &format!("{url}/2.0")),
        "user = \"somebody\"\n".into(),
    ]
    .concat();
    let _notifier = stage.start(&config).await;
    for (id, uri) in [
        ("r1", "https://gitlab.com/acme/web/shop"),
        ("r2", "https://gitea.example/acme/shop"),
        ("r3", "https://bitbucket.org/acme/shop"),
        ("r4", "https://old.example/acme/shop"),
    ] {
        let repository = stage.pushed(id, uri, vec![push("refs/heads/topic/x", &[3])]).await;
        let count = host.requests().len();
        host.received(count.max(1)).await;
        stage.drained().await;
        stage.bus.record_findings(&repository, vec![finding(1, "high", 3)]).await.unwrap();
        stage.completed(id).await;
        stage.drained().await;
    }
    let found = "1 secret in 1 commit: 1 high";
    // https://docs.gitlab.com/api/commits/#set-commit-pipeline-status
    let gitlab = |state, text| {
        post(
            &format!("/api/v4/projects/acme%2Fweb%2Fshop/statuses/{COMMIT_3}"),
            "private-token: t0ken\r\n",
            &format!(
                r#"{{"state":"{state}","ref":"topic/x","name":"secretscan","target_url":"https://scan.example/requests/r1","description":"{text}"}}"#
            ),
        )
    };
    // https://docs.gitea.com/api/: POST /repos/{owner}/{repo}/statuses/{sha}
    let gitea = |state, text| {
        post(
            &format!("/api/v1/repos/acme/shop/statuses/{COMMIT_3}"),
            "authorization: token t0ken\r\n",
            &format!(
                r#"{{"state":"{state}","target_url":"https://scan.example/requests/r2","description":"{text}","context":"secretscan"}}"#
            ),
        )
    };
    // https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/
    let bitbucket = |login, request, state, text| {
        post(
            &format!("/2.0/repositories/acme/shop/commit/{COMMIT_3}/statuses/build"),
            &format!("authorization: {login}\r\n"),
            &format!(
                r#"{{"key":"secretscan","state":"{state}","name":"secretscan","url":"https://scan.example/requests/{request}","description":"{text}"}}"#
            ),
        )
    };
    let (token, basic) = ("Bearer t0ken", "Basic c29tZWJvZHk6dDBrZW4=");
    assert_eq!(
        host.requests(),
        [
            gitlab("pending", PENDING),
            gitlab("failed", found),
            gitea("pending", PENDING),
            gitea("failure", found),
            bitbucket(token, "r3", "INPROGRESS", PENDING),
            bitbucket(token, "r3", "FAILED", found),
            bitbucket(basic, "r4", "INPROGRESS", PENDING),
            bitbucket(basic, "r4", "FAILED", found),
        ]
    );
}
