//! The operator: resources become requests and schedules, and their status tells what becomes of these. The API server is a
//! stand-in, everything else is real.

use std::time::Duration;

use secretscan_bus::Stop;
use secretscan_bus::topology::Queue;
use secretscan_model::{RequestId, ScanState, Schedule, ScheduleId};
use secretscan_proto::v1;
use secretscan_testkit::{Repository, eventually, generate};
use secretscan_tests::kubernetes::{ApiServer, Fault, Kind, operator};
use secretscan_tests::{DEADLINE, Size, System, expected, keys};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const SCAN: Kind = Kind::RepositoryScan;
const SCHEDULED: Kind = Kind::ScheduledRepositoryScan;
const FINALIZERS: &str = "/metadata/finalizers";

struct Cluster {
    api: ApiServer,
    system: System,
    stop: Stop,
    operators: Vec<JoinHandle<()>>,
}

impl Cluster {
    async fn start(size: Size, operators: usize) -> Self {
        let system = System::start(size).await.unwrap();
        let mut cluster =
            Self { api: ApiServer::start().await.unwrap(), system, stop: Stop::new(), operators: vec![] };
        for _ in 0..operators {
            cluster.start_operator().await;
        }
        cluster
    }

    async fn start_operator(&mut self) {
        let started = operator(&self.api, &self.system, self.stop.clone()).await.unwrap();
        self.operators.push(started);
    }

    /// Ends all operators as a crash would.
    async fn crash_operators(&mut self) {
        for operator in self.operators.drain(..) {
            operator.abort();
            let _ = operator.await;
        }
    }

    /// Waits until a resource is as it should be; gives it.
    async fn shows(&self, kind: Kind, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let (api, mut last) = (&self.api, Value::Null);
        let look = async || {
            last = api.get(kind, name).unwrap_or_default();
            is_so(&last).then(|| last.clone())
        };
        eventually(DEADLINE, &format!("{name}: {what}"), look).await
    }

    async fn is_gone(&self, kind: Kind, name: &str) {
        eventually(DEADLINE, &format!("{name} is gone"), async || {
            self.api.get(kind, name).is_none().then_some(())
        })
        .await;
    }

    async fn is_final(&self, name: &str) -> Value {
        let is_final = |object: &Value| {
            condition(object, "Completed")["status"] == "True"
                || condition(object, "Failed")["status"] == "True"
        };
        let object = self.shows(SCAN, name, "its request has ended", is_final).await;
        // Nothing keeps it any more.
        self.shows(SCAN, name, "the finalizer is gone", |object| finalizers(object) == 0).await;
        object
    }

    async fn request_of(&self, name: &str) -> RequestId {
        let object =
            self.shows(SCAN, name, "it has a request", |object| object["status"]["requestId"].is_string());
        object.await["status"]["requestId"].as_str().unwrap().parse().unwrap()
    }

    async fn schedule(&self, id: &ScheduleId) -> Option<Schedule> {
        self.system.bus.schedule(id).await.unwrap()
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind)).unwrap_or(&Value::Null)
}

fn finalizers(object: &Value) -> usize {
    object.pointer(FINALIZERS).and_then(Value::as_array).map_or(0, Vec::len)
}

fn uri(repository: &Repository) -> String {
    repository.path().to_str().unwrap().to_owned()
}

/// Of tests that look at requests before they are scheduled.
const NO_AGENTS: Size =
    Size { controllers: 1, schedulers: 0, repo_agents: 0, batch_agents: 0, batch_commits: 50 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_becomes_a_request_and_shows_what_becomes_of_it() {
    let cluster = Cluster::start(Size { batch_commits: 5, ..Size::default() }, 1).await;
    let generated = generate(7, 40).unwrap();
    cluster.api.apply(SCAN, "nightly", &json!({ "uri": uri(&generated.repository) }));
    let object = cluster.is_final("nightly").await;

    let request = cluster.request_of("nightly").await;
    let scan = cluster.system.bus.scan(&request).await.unwrap().unwrap();
    assert_eq!(scan.state, ScanState::Completed);
    assert_eq!(scan.requester, "kubernetes team/nightly");
    let (totals, status) = (scan.totals(), &object["status"]);
    let repository = scan.repository.unwrap();
    let found = cluster.system.findings(&repository).await.unwrap();
    assert_eq!(keys(&found), expected(&cluster.system.key(), generated.repository.path()));
    assert!(totals.findings > 0 && totals.batches > 1, "{totals:?}");
    let expected = json!({
        "observedGeneration": 1,
        "requestId": format!("kubernetes-{}", object["metadata"]["uid"].as_str().unwrap()),
        "repositoryId": repository.as_str(),
        "state": "Completed",
        "batches": {
            "total": totals.batches, "ended": totals.batches,
            "progress": format!("{0}/{0}", totals.batches),
        },
        "commits": {
            "listed": scan.found.as_ref().unwrap().commits, "unknown": totals.commits, "scanned": totals.commits,
        },
        "findings": totals.findings,
        "notScanned": totals.not_scanned + scan.found.unwrap().not_scanned.len() as u64,
        "startTime": status["startTime"],
        "completionTime": status["completionTime"],
        "conditions": status["conditions"],
    });
    assert_eq!(*status, expected);
    for (kind, truth, reason) in [
        ("Accepted", "True", "Accepted"),
        ("Completed", "True", "Completed"),
        ("Failed", "False", "Completed"),
    ] {
        let condition = condition(&object, kind);
        assert_eq!((&condition["status"], &condition["reason"]), (&json!(truth), &json!(reason)), "{kind}");
        assert_eq!(condition["observedGeneration"], 1);
        assert!(condition["lastTransitionTime"].as_str().unwrap().ends_with('Z'), "{condition}");
    }
    assert!(cluster.api.status_writes() < 30, "{} writes", cluster.api.status_writes());

    // Nothing is left to do for it, so it goes at once, and what was scanned stays.
    cluster.api.delete(SCAN, "nightly");
    assert_eq!(cluster.api.get(SCAN, "nightly"), None);
    assert_eq!(cluster.system.bus.scan(&request).await.unwrap().unwrap().state, ScanState::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_door_refuses_is_told() {
    let cluster = Cluster::start(NO_AGENTS, 1).await;
    for (name, spec, reason) in [
        (
            "scheme",
            json!({ "uri": "ftp://example.org/owner/project" }),
            "the scheme \"ftp\" is not supported",
        ),
        ("unknown", json!({ "repositoryId": "nobody-knows" }), "there is no repository nobody-knows"),
        (
            "both",
            json!({ "uri": "https://example.org/a/b", "repositoryId": "c" }),
            "both uri and repositoryId",
        ),
        ("ref", json!({ "uri": "https://example.org/a/b", "refs": ["main"] }), "not the full name of a ref"),
    ] {
        cluster.api.apply(SCAN, name, &spec);
        let object = cluster.is_final(name).await;
        let (accepted, failed) = (condition(&object, "Accepted"), condition(&object, "Failed"));
        assert_eq!(
            (&accepted["status"], &accepted["reason"]),
            (&json!("False"), &json!("Refused")),
            "{name}"
        );
        assert!(accepted["message"].as_str().unwrap().contains(reason), "{accepted}");
        assert_eq!((&failed["status"], &failed["reason"]), (&json!("True"), &json!("Refused")), "{name}");
        assert_eq!(object["status"]["state"], "Failed");
    }
    // What no version of the schema lets through is passed over, and holds up nothing.
    for (name, spec) in [
        ("priority", json!({ "uri": "https://example.org/a/b", "priority": "AtOnce" })),
        ("kind", json!({ "uri": 7 })),
        ("nothing", Value::Null),
    ] {
        cluster.api.apply(SCAN, name, &spec);
    }
    cluster.api.apply(SCHEDULED, "no-schedule", &json!({ "uri": "https://example.org/a/b" }));
    cluster.api.apply(SCAN, "after", &json!({ "uri": "https://example.org/a/b" }));
    let queued = |object: &Value| object["status"]["state"] == "Queued";
    cluster.shows(SCAN, "after", "it is queued", queued).await;
    cluster.api.delete(SCAN, "priority");
    cluster.is_gone(SCAN, "priority").await;
    assert!(cluster.operators.iter().all(|operator| !operator.is_finished()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_resource_cancels_its_request() {
    let mut cluster = Cluster::start(NO_AGENTS, 2).await;
    cluster.api.apply(SCAN, "unwanted", &json!({ "uri": "https://example.org/owner/project" }));
    let queued = |object: &Value| object["status"]["state"] == "Queued";
    cluster.shows(SCAN, "unwanted", "it is queued", queued).await;
    let request = cluster.request_of("unwanted").await;
    cluster.api.delete(SCAN, "unwanted");
    cluster.is_gone(SCAN, "unwanted").await;
    let scan = cluster.system.bus.scan(&request).await.unwrap().unwrap();
    assert_eq!(scan.state, ScanState::Cancelled);
    assert!(
        scan.trail.last().unwrap().note.as_ref().unwrap().contains("kubernetes team/unwanted"),
        "{scan:?}"
    );

    // One that nobody has answered for: the controller is away when it is made and when it is deleted.
    cluster.system.stop_services().await.unwrap();
    cluster.api.apply(SCAN, "unanswered", &json!({ "uri": "https://example.org/owner/project" }));
    let is_unknown = |object: &Value| condition(object, "Accepted")["reason"] == "NoAnswer";
    let object = cluster.shows(SCAN, "unanswered", "that is told", is_unknown).await;
    assert_eq!(condition(&object, "Accepted")["status"], "Unknown");
    cluster.api.delete(SCAN, "unanswered");
    cluster.system.start_services().await.unwrap();
    cluster.is_gone(SCAN, "unanswered").await;
    let id = format!("kubernetes-{}", object["metadata"]["uid"].as_str().unwrap()).parse().unwrap();
    assert_eq!(cluster.system.ended(&id).await.state, ScanState::Cancelled);
    eventually(DEADLINE, "nothing waits at the door", async || {
        (cluster.system.bus.unfinished(Queue::NewScans).await.ok()? == 0).then_some(())
    })
    .await;
    assert_eq!(cluster.system.bus.scan(&id).await.unwrap().unwrap().state, ScanState::Cancelled);

    // Somebody else cancels.
    cluster.api.apply(SCAN, "foreign", &json!({ "uri": "https://example.org/owner/project" }));
    cluster.shows(SCAN, "foreign", "it is queued", queued).await;
    let request_id = cluster.request_of("foreign").await.to_string();
    let cancel = v1::CancelRepositoryScan { request_id, requester: "somebody".into() };
    assert_eq!(cluster.system.bus.cancel_scan(&cancel).await.unwrap().error, "");
    let object = cluster.is_final("foreign").await;
    assert_eq!(condition(&object, "Failed")["reason"], "Cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_that_crash_and_an_api_server_that_fails_make_no_second_request() {
    let mut cluster = Cluster::start(Size { batch_commits: 5, ..Size::default() }, 0).await;
    let generated = generate(8, 30).unwrap();
    let names: Vec<String> = (0..8).map(|number| format!("scan-{number}")).collect();
    let faults = [Fault::Refused(500), Fault::AnswerLost, Fault::Refused(409), Fault::Refused(503)];
    for (number, name) in names.iter().enumerate() {
        cluster.api.fail(faults);
        cluster.api.apply(SCAN, name, &json!({ "uri": uri(&generated.repository) }));
        cluster.start_operator().await;
        cluster.start_operator().await;
        if number % 2 == 0 {
            cluster.shows(SCAN, name, "it is in hand", |object| finalizers(object) > 0).await;
        }
        cluster.api.disconnect();
        cluster.crash_operators().await;
    }
    cluster.start_operator().await;
    cluster.start_operator().await;
    for name in &names {
        let object = cluster.is_final(name).await;
        assert_eq!(condition(&object, "Completed")["status"], "True", "{object}");
    }
    assert_eq!(cluster.api.faults_left(), 0);
    let scans = cluster.system.bus.scans().await.unwrap();
    assert_eq!(scans.len(), names.len(), "{scans:?}");
    println!("{} writes of a status, {} conflicts", cluster.api.status_writes(), cluster.api.conflicts());
    assert!(cluster.api.status_writes() < 30 * names.len() as u64);
    // SIGTERM.
    cluster.stop.cancel();
    for operator in cluster.operators.drain(..) {
        tokio::time::timeout(Duration::from_secs(20), operator).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_made_changed_suspended_and_deleted() {
    let cluster = Cluster::start(Size::default(), 2).await;
    let generated = generate(9, 40).unwrap();
    let spec = |schedule: &str, suspend: bool| json!({ "uri": uri(&generated.repository), "schedule": schedule, "suspend": suspend, "timeZone": "Europe/Paris" });
    cluster.api.apply(SCHEDULED, "daily", &spec("0 3 * * *", false));
    let waits = |object: &Value| object["status"]["nextRunTime"].is_string();
    let object = cluster.shows(SCHEDULED, "daily", "it waits", waits).await;
    let id = format!("kubernetes-{}", object["metadata"]["uid"].as_str().unwrap());
    assert_eq!(object["status"]["scheduleId"], json!(id));
    assert_eq!(condition(&object, "Accepted")["status"], "True");
    assert_eq!(condition(&object, "Suspended")["status"], "False");
    let id: ScheduleId = id.parse().unwrap();
    let first = cluster.schedule(&id).await.unwrap();
    assert_eq!((first.plan.cron.as_str(), first.plan.time_zone.as_str()), ("0 3 * * *", "Europe/Paris"));

    // Suspended, and by somebody else: what the resource says holds.
    cluster.api.apply(SCHEDULED, "daily", &spec("0 3 * * *", true));
    let is_suspended = |object: &Value| condition(object, "Suspended")["status"] == "True";
    let object = cluster.shows(SCHEDULED, "daily", "it is suspended", is_suspended).await;
    assert_eq!(
        (&object["status"]["nextRunTime"], &object["status"]["observedGeneration"]),
        (&Value::Null, &json!(2))
    );
    let resume = v1::ChangeSchedule {
        schedule_id: id.to_string(),
        action: v1::ScheduleAction::Resume.into(),
        ..v1::ChangeSchedule::default()
    };
    assert_eq!(cluster.system.bus.change_schedule(&resume).await.unwrap().error, "");
    eventually(DEADLINE, "it is paused again", async || {
        cluster.schedule(&id).await.unwrap().is_paused.then_some(())
    })
    .await;

    // What is refused leaves the schedule as it was.
    cluster.api.apply(SCHEDULED, "daily", &spec("61 3 * * *", true));
    let is_refused = |object: &Value| condition(object, "Accepted")["status"] == "False";
    let object = cluster.shows(SCHEDULED, "daily", "it is refused", is_refused).await;
    let message = condition(&object, "Accepted")["message"].as_str().unwrap();
    assert!(message.contains("cron \"61 3 * * *\" can't be read"), "{message}");
    assert_eq!(cluster.schedule(&id).await.unwrap().plan, first.plan);

    let writes = cluster.api.status_writes();
    assert_eq!(cluster.system.bus.change_schedule(&resume).await.unwrap().error, "");
    cluster
        .shows(SCHEDULED, "daily", "it goes on", |object| object["status"]["nextRunTime"].is_string())
        .await;
    // Two replicas have seen it, each once.
    assert!(cluster.api.status_writes() - writes <= 2, "{writes} {}", cluster.api.status_writes());

    // Every second.
    cluster.api.apply(SCHEDULED, "daily", &spec("* * * * * *", false));
    let has_run = |object: &Value| object["status"]["lastRun"]["state"] == "Completed";
    let object = cluster.shows(SCHEDULED, "daily", "it has run", has_run).await;
    assert_eq!(condition(&object, "Accepted")["status"], "True");
    let request = object["status"]["lastRun"]["requestId"].as_str().unwrap();
    assert!(request.starts_with(&format!("scheduled-{id}-")), "{request}");
    assert_eq!(cluster.schedule(&id).await.unwrap().created, first.created, "it is the same schedule");

    cluster.api.delete(SCHEDULED, "daily");
    cluster.is_gone(SCHEDULED, "daily").await;
    assert_eq!(cluster.schedule(&id).await, None);
}
