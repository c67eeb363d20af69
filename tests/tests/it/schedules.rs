//! Schedules: the door, the runs, and what a run says of commits that no push announced.

use std::time::Duration;

use secretscan_bus::access::Identity;
use secretscan_model::ledger::CommitState;
use secretscan_model::{RepositoryScan, ScanState, ScheduleId};
use secretscan_proto::v1::{self, ScheduleAction};
use secretscan_testkit::{Change, Random, Repository, RepositoryBuilder, SecretKind, SecretText, eventually};
use secretscan_tests::schedules::{Options, run};
use secretscan_tests::{DEADLINE, Size, System};

/// Not while a test runs.
const NEVER: &str = "0 0 1 1 *";

async fn ask(system: &System, identity: Identity, subject: &str, body: &str) -> v1::Answer {
    let client = system.client(identity).await.unwrap();
    let reply = client.request(subject.to_owned(), body.to_owned().into()).await.unwrap();
    serde_json::from_slice(&reply.payload).unwrap()
}

async fn schedule(system: &System, repository: &Repository, on_unknown: v1::OnUnknown) -> ScheduleId {
    let new = v1::NewSchedule {
        uri: repository.path().to_str().unwrap().into(),
        cron: NEVER.into(),
        on_unknown: on_unknown.into(),
        ..v1::NewSchedule::default()
    };
    let answer = system.bus.request_schedule(&new).await.unwrap();
    assert_eq!(answer.error, "");
    answer.schedule_id.parse().unwrap()
}

async fn change(system: &System, id: &ScheduleId, action: ScheduleAction) -> v1::Answer {
    let change = v1::ChangeSchedule {
        schedule_id: id.to_string(),
        action: action.into(),
        ..v1::ChangeSchedule::default()
    };
    system.bus.change_schedule(&change).await.unwrap()
}

/// Makes a run and waits for its end.
async fn run_now(system: &System, id: &ScheduleId) -> RepositoryScan {
    let answer = change(system, id, ScheduleAction::RunNow).await;
    assert_eq!(answer.error, "");
    let request = answer.request_id.parse().unwrap();
    // It is not there before its message is handled.
    eventually(DEADLINE, "the run is a request", async || system.bus.scan(&request).await.unwrap()).await;
    system.ended(&request).await
}

/// What people were told so far of commits that no push announced.
async fn alerts(system: &System) -> Vec<v1::UnknownCommits> {
    let jetstream = async_nats::jetstream::new(system.client(Identity::Setup).await.unwrap());
    let stream = jetstream.get_stream("EVENTS").await.unwrap();
    let (mut alerts, mut next) = (vec![], 1);
    loop {
        let ask = stream.raw_message_builder().sequence(next).next_by_subject("secretscan.event.alert.>");
        let Ok(message) = ask.send().await else { return alerts };
        next = message.sequence + 1;
        alerts.push(serde_json::from_slice(&message.payload).unwrap());
    }
}

fn small(name: &str) -> Repository {
    let mut builder = RepositoryBuilder::new().unwrap();
    for number in 0..10 {
        builder.commit("main", [Change::write(format!("{name}-{number}"), format!("{name} {number}"))]);
    }
    builder.build().unwrap()
}

fn milliseconds(scan: &RepositoryScan, from: &str, to: &str) -> i64 {
    let at = |state: &str| scan.trail.iter().rfind(|entry| entry.state == state).unwrap().at.0;
    at(to) - at(from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_makes_schedules_and_operators_change_them() {
    let system = System::start(Size::default()).await.unwrap();
    let new = "secretscan.schedule.new";
    let repository = small("door");
    let uri = repository.path().to_str().unwrap().to_owned();
    let wrong = [
        (r#""cron":"61 * * * *""#, "cron \"61 * * * *\" can't be read"),
        (r#""cron":"""#, "cron \"\" can't be read"),
        (r#""cron":"0 0 30 2 *""#, "never comes"),
        (r#""cron":"@daily","timeZone":"Mars/Base""#, "there is no time zone \"Mars/Base\""),
        (r#""cron":"@daily","jitter":"10""#, "jitter \"10\" can't be read"),
        (r#""cron":"@daily","refs":["main"]"#, "\"main\" is not the full name of a ref"),
        (r#""cron":"@daily","scheduleId":"a b""#, "a schedule id has 1 to 64"),
        (r#""cron":"@daily","repositoryId":"x""#, "both uri and repositoryId"),
        (r#""cron":"@daily","onUnknown":9"#, "invalid value: integer `9`"),
        (r#""cron":"@daily","every":"1h""#, "unknown field `every`"),
    ];
    for (fields, error) in wrong {
        let body = format!(r#"{{"uri":"{uri}",{fields}}}"#);
        let answer = ask(&system, Identity::Requester, new, &body).await;
        assert!(answer.error.contains(error), "{fields}: {}", answer.error);
    }
    assert!(system.bus.repositories().await.unwrap().is_empty(), "what is refused leaves nothing");

    let body = format!(
        r#"{{"scheduleId":"nightly","uri":"{uri}","cron":"0 3 * * *","timeZone":"Europe/Paris","jitter":"10m","missed":"MISSED_SKIP"}}"#
    );
    for _ in 0..2 {
        let answer = ask(&system, Identity::Requester, new, &body).await;
        assert_eq!((answer.error.as_str(), answer.schedule_id.as_str()), ("", "nightly"));
        let known = system.bus.repository(&answer.repository_id.parse().unwrap()).await.unwrap();
        assert_eq!(known.unwrap().uri, uri);
    }
    let other = body.replace("0 3", "0 4");
    let answer = ask(&system, Identity::Requester, new, &other).await;
    assert!(answer.error.contains("there is another schedule nightly"), "{}", answer.error);

    let id: ScheduleId = "nightly".parse().unwrap();
    let of = async || system.bus.schedule(&id).await.unwrap();
    let due = of().await.unwrap().due.unwrap();
    assert!((0..=600_000).contains(&(due.at.0 - due.planned.0)), "{due:?}");
    assert_eq!(change(&system, &id, ScheduleAction::Pause).await.error, "");
    assert!(of().await.unwrap().is_paused);
    assert_eq!(change(&system, &id, ScheduleAction::Resume).await.error, "");
    assert!(!of().await.unwrap().is_paused);
    assert_eq!(run_now(&system, &id).await.state, ScanState::Completed);
    let replace = async |replacement: Option<v1::NewSchedule>| {
        let action = ScheduleAction::Replace.into();
        let change =
            v1::ChangeSchedule { schedule_id: id.to_string(), action, replacement, ..Default::default() };
        system.bus.change_schedule(&change).await.unwrap().error
    };
    assert!(replace(None).await.contains("no replacement is given"));
    let mut later: v1::NewSchedule = serde_json::from_str(&other).unwrap();
    later.time_zone = "Mars/Base".into();
    assert!(replace(Some(later.clone())).await.contains("there is no time zone"));
    later.time_zone = String::new();
    assert_eq!(replace(Some(later)).await, "");
    let replaced = of().await.unwrap();
    assert_eq!((replaced.plan.cron.as_str(), replaced.plan.time_zone.as_str()), ("0 4 * * *", ""));
    assert!(change(&system, &id, ScheduleAction::Unspecified).await.error.contains("no action is given"));
    assert_eq!(change(&system, &id, ScheduleAction::Remove).await.error, "");
    assert_eq!(of().await, None);
    assert!(
        change(&system, &id, ScheduleAction::Remove).await.error.contains("there is no schedule nightly")
    );
    let body = format!(r#"{{"uri":"{uri}","requestId":"scheduled-nightly-2"}}"#);
    let answer = ask(&system, Identity::Requester, "secretscan.repository-scan.new", &body).await;
    assert!(answer.error.contains("begin with scheduled-"), "{}", answer.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_tells_of_commits_that_no_push_announced_and_scans_just_those() {
    let system = System::start(Size::default()).await.unwrap();
    let mut repository = small("both");
    let id = schedule(&system, &repository, v1::OnUnknown::Both).await;
    let first = run_now(&system, &id).await;
    let found = first.found.clone().unwrap();
    assert_eq!((found.commits, found.unknown, found.untold, found.vanished), (10, 10, None, Some(0)));
    let repository_id = first.repository.clone().unwrap();
    assert_eq!(first.priority.as_str(), "scheduled");

    let second = run_now(&system, &id).await;
    let found = second.found.clone().unwrap();
    assert!(found.is_unchanged && second.batches.is_empty(), "{found:?}");
    assert_eq!((found.commits, found.unknown), (10, 0));
    println!(
        "a run without news: {} ms from its claim to its end",
        milliseconds(&second, "InProgress", "Completed")
    );

    // A burst without a push, by two people.
    repository
        .extend(|builder| {
            builder.branch("sneaky", "main");
            builder.author("Mallory <mallory@example.com>");
            builder.commit("sneaky", [Change::write("a", "a")]);
            builder.commit("sneaky", [Change::write("b", "b")]);
            builder.author("Trent <trent@example.com>");
            builder.commit("sneaky", [Change::write("c", "c")])
        })
        .unwrap();
    let third = run_now(&system, &id).await;
    let found = third.found.clone().unwrap();
    assert_eq!((found.commits, found.unknown, found.untold, found.vanished), (13, 3, Some(3), Some(0)));
    assert_eq!(third.totals().commits, 3, "just the difference");
    let told = alerts(&system).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].count, told[0].request_id.as_str()), (3, third.id.as_str()));
    assert_eq!(told[0].refs, ["refs/heads/sneaky"]);
    assert_eq!(told[0].authors, ["Mallory <mallory@example.com>", "Trent <trent@example.com>"]);
    let times = repository.git(&["log", "--format=%at", "main..sneaky"]).unwrap();
    let times = String::from_utf8(times).unwrap();
    let mut times: Vec<i64> = times.lines().map(|time| time.parse().unwrap()).collect();
    times.sort_unstable();
    assert_eq!((told[0].first_written, told[0].last_written), (times[0], times[2]));
    assert_eq!((&told[0].schedule_id, &told[0].repository_id), (&id.to_string(), &repository_id.to_string()));

    // What a push announced is no news.
    let before = repository.git(&["rev-parse", "main"]).unwrap();
    let before = String::from_utf8(before).unwrap().trim().to_owned();
    let after = repository.push_commit("main", [Change::write("d", "d")]).unwrap().to_string();
    let pushed = v1::PushedRef { name: "refs/heads/main".into(), before, after };
    let push = v1::PushReceived {
        source: "host".into(),
        delivery: "1".into(),
        uri: repository.path().to_str().unwrap().into(),
        refs: vec![pushed],
        ..v1::PushReceived::default()
    };
    system.connect(Identity::Webhook).await.unwrap().receive_push(&push).await.unwrap();
    // Whether that is scanned before or after.
    let fourth = run_now(&system, &id).await;
    let found = fourth.found.clone().unwrap();
    assert_eq!(found.untold.unwrap_or_default(), 0, "{found:?}");
    system.drained().await;

    // Pushed away by force.
    repository.git(&["update-ref", "refs/heads/sneaky", "main~8"]).unwrap();
    let fifth = run_now(&system, &id).await;
    let found = fifth.found.clone().unwrap();
    assert_eq!((found.commits, found.unknown, found.vanished), (11, 0, Some(3)));
    assert_eq!(alerts(&system).await.len(), 1);
    let head = system.bus.ledger(&repository_id).head().await.unwrap();
    assert_eq!(head.count(CommitState::Scanned), 14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_only_tells_scans_nothing_and_tells_once() {
    let system = System::start(Size::default()).await.unwrap();
    let mut repository = small("alert");
    let id = schedule(&system, &repository, v1::OnUnknown::Alert).await;
    let unscanned = run_now(&system, &id).await.found.unwrap();
    assert_eq!((unscanned.unknown, unscanned.untold), (10, None), "everything is unknown: nothing to tell");
    let (request, _) = system.request(repository.path().to_str().unwrap()).await.unwrap();
    assert_eq!(system.ended(&request).await.state, ScanState::Completed);

    let mut counts = vec![];
    let mut random = Random::new(1);
    let tokens = [(); 2].map(|()| SecretText::new(SecretKind::GitHubToken, &mut random).secrets.remove(0).1);
    for name in ["a", "b"] {
        repository
            .extend(|builder| {
                builder.author(&format!("{} <a@example.com>", tokens[0]));
                builder.commit("main", [Change::write(name, name)]);
                builder.branch(&format!("{name}-{}", tokens[1]), "main");
            })
            .unwrap();
        for _ in 0..2 {
            let scan = run_now(&system, &id).await;
            assert!(scan.batches.is_empty());
            let found = scan.found.unwrap();
            counts.push((found.unknown, found.untold, found.is_unchanged));
        }
    }
    assert_eq!(counts, [(1, Some(1), false), (1, Some(0), true), (2, Some(1), false), (2, Some(0), true)]);
    assert_eq!(alerts(&system).await.iter().map(|told| told.count).collect::<Vec<_>>(), [1, 1]);
    // Strangers chose the names that an alert tells.
    let stored = system.everything_stored().await.unwrap();
    for token in &tokens {
        assert!(memchr::memmem::find(&stored, token.as_bytes()).is_none(), "a secret is kept");
    }
    assert!(alerts(&system).await[0].authors[0].contains("****"));
    // One that scans finds them, and has nothing to tell.
    let scanning = schedule(&system, &repository, v1::OnUnknown::Scan).await;
    let scan = run_now(&system, &scanning).await;
    assert_eq!((scan.totals().commits, scan.found.unwrap().untold), (2, None));
    assert_eq!(alerts(&system).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_second_each_run_comes_once_while_schedulers_are_killed() {
    let options = Options {
        seed: 5,
        schedules: 20,
        cron: "* * * * * *".into(),
        replicas: 3,
        duration: Duration::from_secs(8),
        down: Duration::from_millis(1_500),
        patience: Duration::from_secs(60),
    };
    let outcome = run(&options, |line| println!("{line}")).await.unwrap();
    println!("{outcome}");
    assert!(outcome.runs > 20, "{outcome}");
}
