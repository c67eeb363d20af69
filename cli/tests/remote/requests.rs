//! Requests: sent, watched, cancelled.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_request_says_what_for() {
    let system = System::start().await;
    let state = |id: &str| {
        let out = system.run(&["request", "show", id]).out;
        let line = out.lines().find(|line| line.starts_with("state")).unwrap().to_owned();
        line.trim_start_matches("state").trim().to_owned()
    };
    let (first, repository) = system.queued("r1", "https://git.example.org/a/b").await;
    assert_eq!(state("r1"), "Queued: no repo-agent is running");
    let agent = system.agent(Role::RepoAgent, 1).await;
    assert_eq!(state("r1"), "Queued: the scheduler has to assign it");
    assert_eq!(system.bus.hold_fetch(&repository, &first).await.unwrap(), first);
    system.bus.apply_scan(&first, &[ScanEvent::StartScheduling, ScanEvent::Assign]).await.unwrap();
    assert_eq!(state("r1"), "Scheduled: a repo-agent has to take it");
    system.queued("r2", "https://git.example.org/a/b").await;
    assert_eq!(state("r2"), "Queued: the repository is being fetched by request r1");
    system.queued("r3", "https://git.example.org/c/d").await;
    assert_eq!(state("r3"), "Queued: no free slot: the repo-agents have 1 slot in all");
    let gone = ScanEvent::Claim { agent: "gone".parse().unwrap(), max_attempts: 3 };
    system.bus.apply_scan(&first, &[gone]).await.unwrap();
    assert_eq!(state("r1"), "InProgress: its repo-agent is gone; another has to take it");
    agent.stop().await;
    assert_eq!(state("r3"), "Queued: no repo-agent is running");
    let (fourth, repository) = system.queued("r4", "https://git.example.org/e").await;
    system.listed(&fourth, &repository).await;
    assert_eq!(state("r4"), "InProgress: no batch-agent is running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_sent_shown_and_cancelled() {
    let system = System::start().await;
    let controller = system.controller();
    let uri = "https://git.example.org/team/project";
    let sent = system.run(&["request", uri, "--ref", "refs/heads/main", "--priority", "scheduled"]);
    assert_eq!((sent.code, sent.err.as_str()), (0, ""));
    let id: RequestId = sent.out.trim_end().parse().unwrap();
    let scan = system.bus.scan(&id).await.unwrap().unwrap();
    assert_eq!(
        (scan.state, scan.priority, scan.requester.as_str()),
        (ScanState::Queued, Priority::Scheduled, "ada")
    );
    assert_eq!(scan.refs, ["refs/heads/main"]);

    // A known repository by its id; the same id twice is one request.
    let repository = scan.repository.unwrap();
    for _ in 0..2 {
        let again = system.run(&["request", repository.as_str(), "--id", "mine", "--requester", "grace"]);
        assert_eq!((again.code, again.out.as_str()), (0, "mine\n"), "{}", again.err);
    }
    assert_eq!(system.bus.scans().await.unwrap().len(), 2);

    let cancelled = system.run(&["request", "cancel", "mine"]);
    assert_eq!((cancelled.code, cancelled.out.as_str()), (0, "request mine is cancelled\n"));
    let scan = system.bus.scan(&"mine".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(scan.state, ScanState::Cancelled);

    system.completed().await;
    assert_shown!(system.run(&["request", "cancel", "r1"]));
    let unknown = system.run(&["request", "cancel", "nowhere"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""));
    assert!(unknown.err.contains("nowhere"), "{}", unknown.err);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_request() {
    let system = System::start().await;
    let controller = system.controller();
    assert_shown!(system.run(&["request", "/srv/git/project", "--id", "r1"]));
    assert_eq!(system.run(&["request", "https://git.example.org/a", "--id", "r2", "--ref", "main"]).code, 2);
    assert_eq!(system.run(&["request", "unknown-id", "--id", "r3"]).code, 2);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_uri_is_never_sent() {
    // There is no controller: whatever is sent would wait for an answer.
    let system = System::start().await;
    let ran = system.run(&["request", "https://ada:password@git.example.org/a"]);
    assert!(!ran.err.contains("password@"), "{}", ran.err);
    assert_shown!(ran);
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_ends_with_the_findings() {
    let system = System::start().await;
    let controller = system.controller();
    let uri = "https://git.example.org/team/project";
    let watching = system.spawn(&["request", uri, "--id", "r1", "--watch"]);
    let id: RequestId = "r1".parse().unwrap();
    let repository = eventually(DEADLINE, "the request is queued", async || {
        let scan = system.bus.scan(&id).await.unwrap()?;
        (scan.state == ScanState::Queued).then(|| scan.repository.unwrap())
    })
    .await;
    let batch = system.listed(&id, &repository).await;
    system.scanned(&batch, &repository, vec![finding("src/config.py")]).await;
    let ran = watching.await.unwrap();
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("src/config.py:2:10"), "{}", ran.out);
    // Which steps between two states are seen depends on timing, the states do not.
    let states: Vec<&str> =
        ran.err.lines().filter_map(|line| line.split_once("  ")).map(|(_, state)| state).collect();
    let expected = ["New", "Validating", "Queued", "Scheduling", "Scheduled", "InProgress", "Completed"];
    assert_eq!(states, expected, "{}", ran.err);
    let last = "2 of 2 new commits, 1 of 1 batch ended, 12.35 kB, 1 finding, 1 not scanned\n";
    assert!(ran.err.starts_with("request r1\n") && ran.err.ends_with(last), "{}", ran.err);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_survives_a_restart_of_the_server() {
    let mut system = System::start().await;
    let controller = system.controller();
    let watching =
        system.spawn(&["request", "https://git.example.org/team/project", "--id", "r1", "--watch"]);
    let id: RequestId = "r1".parse().unwrap();
    let repository = eventually(DEADLINE, "the request is queued", async || {
        let scan = system.bus.scan(&id).await.unwrap()?;
        (scan.state == ScanState::Queued).then(|| scan.repository.unwrap())
    })
    .await;
    controller.stop().await;
    system.server.kill().await.unwrap();
    system.server.restart().await.unwrap();
    eventually(DEADLINE, "the bus is back", async || system.bus.scan(&id).await.ok()).await;
    let batch = system.listed(&id, &repository).await;
    system.scanned(&batch, &repository, vec![]).await;
    let ran = watching.await.unwrap();
    assert_eq!(ran.code, 0, "{}", ran.shown());
    assert!(ran.err.contains("  Completed"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_a_request_that_fails_is_an_error() {
    let system = System::start().await;
    let controller = system.controller();
    let watching =
        system.spawn(&["request", "https://git.example.org/team/project", "--id", "r1", "--watch"]);
    let id: RequestId = "r1".parse().unwrap();
    eventually(DEADLINE, "the request is queued", async || {
        let scan = system.bus.scan(&id).await.unwrap()?;
        (scan.state == ScanState::Queued).then_some(())
    })
    .await;
    system.failed(&id).await;
    let ran = watching.await.unwrap();
    assert_eq!(ran.code, 2);
    assert_shown!(ran);
    controller.stop().await;
}
