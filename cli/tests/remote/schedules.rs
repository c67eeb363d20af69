//! `secretscan schedule`, answered by the real controller.

use secretscan_model::OnUnknown;

use super::*;

const URI: &str = "https://git.example.org/team/project";

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_made_listed_shown_and_changed() {
    let system = System::start().await;
    let controller = system.controller();
    let none = system.run(&["schedule", "list"]);
    assert_eq!((none.code, none.out.as_str()), (0, "no schedule\n"));
    let add =
        ["schedule", "add", URI, "--cron", "0 3 * * *", "--time-zone", "Europe/Paris", "--id", "nightly"];
    let more = [
        "--jitter",
        "10m",
        "--refs",
        "refs/heads/a,refs/heads/b",
        "--on-unknown",
        "alert",
        "--missed",
        "skip",
    ];
    let added = system.run(&[&add[..], &more[..]].concat());
    assert_eq!((added.code, added.out.as_str()), (0, "nightly\n"), "{}", added.shown());
    // A run that somebody asked for, and what it found.
    let ran = system.run(&["schedule", "run-now", "nightly"]);
    assert_eq!(ran.code, 0, "{}", ran.shown());
    let request: RequestId = ran.out.trim_end().parse().unwrap();
    let scan =
        eventually(DEADLINE, "the run is a request", async || system.bus.scan(&request).await.unwrap()).await;
    let run = scan.scheduled.clone().unwrap();
    assert_eq!((run.schedule.as_str(), run.run, run.on_unknown), ("nightly", 0, OnUnknown::Alert));
    assert_eq!((scan.priority, scan.refs.len()), (Priority::Scheduled, 2));
    let agent: AgentId = "repo-agent-1".parse().unwrap();
    let claim = Claim { agent: agent.clone(), attempt: 1 };
    let listing =
        Listing { commits: 12, unknown: 3, untold: Some(2), vanished: Some(1), ..Listing::default() };
    let take = ScanEvent::Claim { agent, max_attempts: 3 };
    let listed = ScanEvent::FinishListing { claim, listing };
    system
        .bus
        .apply_scan(&request, &[ScanEvent::StartScheduling, ScanEvent::Assign, take, listed])
        .await
        .unwrap();

    let list = system.run(&["schedule", "list"]);
    let found = "Completed: 12 commits, 3 of them not scanned before, 2 of those announced by no push; \
                 1 that were scanned are gone";
    assert!(list.out.contains(found), "{}", list.shown());
    let shown = system.run(&["schedule", "show", "nightly"]);
    for line in
        ["cron        0 3 * * * (Europe/Paris)", "jitter      600 s", "on unknown  alert", "missed      skip"]
    {
        assert!(shown.out.contains(line), "{}", shown.shown());
    }
    let request_shown = system.run(&["request", "show", request.as_str()]);
    assert!(request_shown.out.contains("schedule    nightly, out of turn"), "{}", request_shown.shown());
    let json = system.run(&["schedule", "show", "nightly", "--format", "json"]).json();
    assert_eq!((&json["last"]["found"]["untold"], &json["isPaused"]), (&2.into(), &false.into()));

    for (action, done) in [("pause", "paused"), ("resume", "resumed"), ("remove", "removed")] {
        let changed = system.run(&["schedule", action, "nightly"]);
        assert_eq!(changed.out, format!("schedule nightly is {done}\n"), "{}", changed.shown());
        let paused = system.run(&["schedule", "list"]).out.contains("paused");
        assert_eq!(paused, action == "pause");
    }
    let gone = system.run(&["schedule", "show", "nightly"]);
    assert!(gone.code == 2 && gone.err.contains("there is no schedule nightly"), "{}", gone.shown());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_can_not_be_says_what_is_wrong() {
    let system = System::start().await;
    let add = |arguments: &[&str]| system.run(&[&["schedule", "add", URI], arguments].concat());
    for (arguments, error) in [
        (&["--cron", "0 25 * * *"][..], "cron \"0 25 * * *\" can't be read"),
        (&["--cron", "@daily", "--time-zone", "Paris"], "there is no time zone \"Paris\"; give a name"),
        (
            &["--cron", "@daily", "--jitter", "soon"],
            "jitter \"soon\" can't be read; give a number and a unit",
        ),
    ] {
        let ran = add(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(error), "{}", ran.shown());
    }
    assert_eq!(add(&[]).code, 2, "a schedule needs a pattern");
}
