//! One trace from the message that asks for a scan to its last finding, across all services, as a collector gets it.

use std::collections::{HashMap, HashSet};

use async_nats::HeaderMap;
use secretscan_bus::access::Identity;
use secretscan_model::ScanState;
use secretscan_testkit::{TestServer, eventually, generate};
use secretscan_tests::collector::{Collector, Span};
use secretscan_tests::processes::{NO_TASKS, Programs};
use secretscan_tests::{DEADLINE, System, Users};
use serde_json::json;

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
    for service in SERVICES {
        let settings = if service == "repo-agent" { &settings[..] } else { &settings[..1] };
        services.push(programs.start(&system, service, settings).await.unwrap());
    }
    let repositories = [generate(77, 120).unwrap(), generate(78, 60).unwrap()];

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
    // What is in hand is sent when a service stops.
    let mut logs = HashMap::new();
    for (name, service) in SERVICES.into_iter().zip(services) {
        let (status, log) = service.finish().await.unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        logs.insert(name, log);
    }
    let spans = eventually(DEADLINE, "the spans have arrived", async || {
        let spans = collector.spans();
        (traces(&spans).len() >= 2).then_some(spans)
    })
    .await;

    let traces = traces(&spans);
    let called = &traces[TRACE];
    let roots: Vec<&Span> = called.iter().filter(|span| span.parent.as_deref() == Some(CALLER)).collect();
    assert_eq!(roots.len(), 1, "{roots:?}");
    is_whole(called, Some(CALLER));
    let alone =
        traces.iter().find(|(id, trace)| **id != TRACE && trace.iter().any(|span| span.name == "scan"));
    is_whole(alone.expect("a trace of its own").1, None);
    // A line of a log leads to its trace.
    let line = logs["batch-agent"].lines().find(|line| line.contains("scanned")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(traces.contains_key(line["openTelemetry"]["traceId"].as_str().unwrap()), "{line}");
}

fn traces(spans: &[Span]) -> HashMap<String, Vec<Span>> {
    let mut traces: HashMap<String, Vec<Span>> = HashMap::new();
    for span in spans {
        traces.entry(span.trace.clone()).or_default().push(span.clone());
    }
    traces
}

/// Every span hangs on another one of the trace, but for the first; and all services took part, in the order of their work.
fn is_whole(trace: &[Span], caller: Option<&str>) {
    let by_id: HashMap<&str, &Span> = trace.iter().map(|span| (span.id.as_str(), span)).collect();
    let first: Vec<&Span> = trace.iter().filter(|span| span.parent.as_deref() == caller).collect();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(
        (first[0].service.as_str(), first[0].name.as_str()),
        ("secretscan-controller", "process controller-new")
    );
    for span in trace.iter().filter(|span| span.parent.as_deref() != caller) {
        assert!(by_id.contains_key(span.parent.as_deref().unwrap()), "the parent of {span:?} is missing");
    }
    let services: HashSet<&str> = trace.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services.len(), SERVICES.len(), "{services:?}");
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
    assert_eq!(way, expected.map(|service| format!("secretscan-{service}")));
}
