//! One trace from the message that asks for a scan to its last finding, across all services, as a collector gets it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use async_nats::HeaderMap;
use secretscan_bus::access::Identity;
use secretscan_model::{RequestId, ScanState};
use secretscan_testkit::{GeneratedRepository, TestServer, eventually, generate};
use secretscan_tests::collector::{Collector, Span};
use secretscan_tests::forge::{Told, serve, webhook_config};
use secretscan_tests::processes::{DashboardFiles, NO_TASKS, Programs};
use secretscan_tests::{DEADLINE, System, Users};
use serde_json::json;
use tokio::net::TcpListener;

const SERVICES: [&str; 4] = ["controller", "scheduler", "repo-agent", "batch-agent"];

/// The trace that the caller of a request is in.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_is_one_trace_through_all_services() {
    let users = Users::new().unwrap();
    let server = TestServer::start_with(users.server_config().unwrap()).await.unwrap();
    let system = System::start_on(server, users, NO_TASKS, Box::new(|_, _| {})).await.unwrap();
    let collector = Collector::start().await.unwrap();
    let (programs, endpoint) = (Programs::build().await.unwrap(), collector.endpoint());
    let settings =
        [("SECRETSCAN_SERVICE__OTLP_ENDPOINT", endpoint.as_str()), ("SECRETSCAN_BATCHES__MAX_COMMITS", "50")];
    let mut services = Vec::new();
    let policy = [
        settings[0],
        ("SECRETSCAN_POLICY__ALLOW_HTTP", "true"),
        ("SECRETSCAN_POLICY__ALLOW_PRIVATE_HOSTS", "true"),
    ];
    for service in SERVICES {
        let settings = match service {
            "repo-agent" => &settings[..],
            "controller" => &policy[..],
            _ => &settings[..1],
        };
        services.push(programs.start(&system, service, settings).await.unwrap());
    }
    let repositories = [generate(77, 120).unwrap(), generate(78, 60).unwrap()];
    let for_the_api = generate(79, 40).unwrap();

    // As `nats pub` sends it; and as a program does that is part of a trace.
    let client = system.client(Identity::Requester).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    for ((id, headers), generated) in
        [("alone", HeaderMap::new()), ("called", headers)].into_iter().zip(&repositories)
    {
        let uri = generated.repository.path();
        let request = json!({ "requestId": id, "uri": uri }).to_string();
        client.publish_with_headers("secretscan.repository-scan.new", headers, request.into()).await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(system.ended(&id.parse().unwrap()).await.state, ScanState::Completed);
    }
    let asked = asked_by_the_api((&system, &programs), &endpoint, &for_the_api.repository.path()).await;
    assert_eq!(system.ended(&asked).await.state, ScanState::Completed);
    let pushed = told_by_a_webhook(&system, &programs, &endpoint, &generate(80, 40).unwrap()).await;
    assert_eq!(system.ended(&pushed).await.state, ScanState::Completed);
    // What is in hand is sent when a service stops.
    let mut logs = HashMap::new();
    for (name, service) in SERVICES.into_iter().zip(services) {
        let (status, log) = service.finish().await.unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        logs.insert(name, log);
    }
    let spans = eventually(DEADLINE, "the spans have arrived", async || {
        let spans = collector.spans();
        (traces(&spans).len() >= 4).then_some(spans)
    })
    .await;

    let traces = traces(&spans);
    let called = &traces[TRACE];
    let roots: Vec<&Span> = called.iter().filter(|span| span.parent.as_deref() == Some(CALLER)).collect();
    assert_eq!(roots.len(), 1, "{roots:?}");
    let door = ("secretscan-controller", "process controller-new");
    is_whole(called, Some(CALLER), door);
    let begins_with = |first: (&str, &str)| {
        let is_first = |span: &Span| span.parent.is_none() && (&*span.service, &*span.name) == first;
        traces.values().find(|trace| trace.iter().any(is_first)).expect("a trace of its own")
    };
    is_whole(begins_with(door), None, door);
    let api = ("secretscan-dashboard", "POST /api/v1/requests");
    is_whole(begins_with(api), None, api);
    let webhook = ("secretscan-webhook", "POST /hooks/");
    is_whole(begins_with(webhook), None, webhook);
    // A line of a log leads to its trace.
    let line = logs["batch-agent"].lines().find(|line| line.contains("scanned")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(traces.contains_key(line["openTelemetry"]["traceId"].as_str().unwrap()), "{line}");
}

/// By a dashboard as a process of its own, which is stopped then.
async fn asked_by_the_api(
    (system, programs): (&System, &Programs),
    endpoint: &str,
    repository: &Path,
) -> RequestId {
    let files = DashboardFiles::new().await.unwrap();
    let config = files.config();
    let settings =
        [("SECRETSCAN_CONFIG", config.to_str().unwrap()), ("SECRETSCAN_SERVICE__OTLP_ENDPOINT", endpoint)];
    let dashboard = programs.start(system, "dashboard", &settings).await.unwrap();
    let asked = files.ask("/api/v1/requests", Some(&json!({ "uri": repository }))).await.unwrap();
    let (status, log) = dashboard.finish().await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    asked["requestId"].as_str().unwrap().parse().unwrap()
}

/// By a webhook as a process of its own, which is stopped then; gives the request that the push makes.
async fn told_by_a_webhook(
    system: &System,
    programs: &Programs,
    endpoint: &str,
    generated: &GeneratedRepository,
) -> RequestId {
    let dir = tempfile::tempdir().unwrap();
    let host = serve(&dir.path().join("host"), &generated.repository.path()).await.unwrap();
    let listen = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let text = webhook_config(dir.path(), &host).unwrap().replace("127.0.0.1:0'", &format!("{listen}'"));
    let config = dir.path().join("webhook.toml");
    std::fs::write(&config, text).unwrap();
    let settings =
        [("SECRETSCAN_SERVICE__OTLP_ENDPOINT", endpoint), ("SECRETSCAN_CONFIG", config.to_str().unwrap())];
    let webhook = programs.start(system, "webhook", &settings).await.unwrap();
    let git = |arguments: &[&str]| {
        String::from_utf8(generated.repository.git(arguments).unwrap()).unwrap().trim().to_owned()
    };
    let (name, after) = (git(&["symbolic-ref", "HEAD"]), git(&["rev-parse", "HEAD"]));
    let told = Told { url: &host.url(), name: &name, before: "", after: &after, delivery: "one" };
    assert_eq!(told.deliver(listen).await.unwrap(), 202);
    let id = eventually(DEADLINE, "the push is scanned", async || {
        let scans = system.bus.scans().await.ok()?;
        scans.into_iter().find(|scan| !scan.pushes.is_empty() && scan.state.is_terminal())
    })
    .await
    .id;
    let (status, log) = webhook.finish().await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    id
}

fn traces(spans: &[Span]) -> HashMap<String, Vec<Span>> {
    let mut traces: HashMap<String, Vec<Span>> = HashMap::new();
    for span in spans {
        traces.entry(span.trace.clone()).or_default().push(span.clone());
    }
    traces
}

/// Every span hangs on another one of the trace, but for the first; and all services took part, in the order of their work.
fn is_whole(trace: &[Span], caller: Option<&str>, first_is: (&str, &str)) {
    let by_id: HashMap<&str, &Span> = trace.iter().map(|span| (span.id.as_str(), span)).collect();
    let first: Vec<&Span> = trace.iter().filter(|span| span.parent.as_deref() == caller).collect();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!((first[0].service.as_str(), first[0].name.as_str()), first_is);
    for span in trace.iter().filter(|span| span.parent.as_deref() != caller) {
        assert!(by_id.contains_key(span.parent.as_deref().unwrap()), "the parent of {span:?} is missing");
    }
    let services: HashSet<&str> = trace.iter().map(|span| span.service.as_str()).collect();
    let by_another = usize::from(first_is.0 != "secretscan-controller");
    assert_eq!(services.len(), SERVICES.len() + by_another, "{services:?}");
    // From the findings back to the request: which services it went through.
    let recorded = trace.iter().find(|span| span.name == "record_findings").expect("findings were recorded");
    let mut way = vec![recorded.service.as_str()];
    let mut at = recorded;
    while let Some(parent) = at.parent.as_deref().and_then(|parent| by_id.get(parent)) {
        assert!(parent.times.0 <= at.times.0, "{parent:?} began after {at:?}");
        if way.last() != Some(&parent.service.as_str()) {
            way.push(&parent.service);
        }
        at = parent;
    }
    let expected = ["batch-agent", "scheduler", "controller", "repo-agent", "scheduler", "controller"];
    let mut expected = expected.map(|service| format!("secretscan-{service}")).to_vec();
    expected.extend((by_another == 1).then(|| first_is.0.to_owned()));
    assert_eq!(way, expected);
}
