//! Objects of other projects, whose schemas Kubernetes does not have: KEDA and the Prometheus operator.

use std::collections::BTreeSet;

use secretscan_bus::topology::Queue;
use serde_json::Value;

use super::Problems;
use crate::deploy::manifests::{Manifests, Workload, list};

/// The fields that a kind has, below `spec`; those with `!` must be there.
const FIELDS: [(&str, &[&str]); 3] = [
    (
        "ScaledObject",
        &[
            "scaleTargetRef!",
            "triggers!",
            "minReplicaCount",
            "maxReplicaCount",
            "pollingInterval",
            "cooldownPeriod",
            "idleReplicaCount",
            "fallback",
            "advanced",
        ],
    ),
    (
        "PodMonitor",
        &["selector!", "podMetricsEndpoints!", "namespaceSelector", "podTargetLabels", "jobLabel"],
    ),
    ("PrometheusRule", &["groups!"]),
];

pub(super) fn check(manifests: &Manifests, problems: &mut Problems) {
    for object in &manifests.objects {
        let (kind, name) = (object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str());
        if let Some((_, fields)) = FIELDS.iter().find(|(of, _)| *of == kind) {
            of_fields(name.unwrap_or_default(), &object["spec"], fields, problems);
        }
    }
    for object in manifests.of_kind("ScaledObject") {
        scaled(manifests, object, problems);
    }
    for autoscaler in manifests.of_kind("HorizontalPodAutoscaler") {
        target(manifests, autoscaler, problems);
    }
    for monitor in manifests.of_kind("PodMonitor") {
        monitored(manifests, monitor, problems);
    }
    for rule in manifests.of_kind("PrometheusRule") {
        alerts(rule, problems);
    }
}

fn of_fields(name: &str, spec: &Value, fields: &[&str], problems: &mut Problems) {
    for key in spec.as_object().into_iter().flat_map(|spec| spec.keys()) {
        let is_known = fields.iter().any(|field| field.trim_end_matches('!') == key);
        problems.unless(is_known, name, format!("there is no field spec.{key}"));
    }
    for field in fields.iter().filter_map(|field| field.strip_suffix('!')) {
        problems.unless(spec.get(field).is_some(), name, format!("spec.{field} is missing"));
    }
}

/// What is scaled is there, and does not say itself how many there are.
fn target<'a>(manifests: &'a Manifests, object: &Value, problems: &mut Problems) -> Option<Workload<'a>> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let reference = &object["spec"]["scaleTargetRef"];
    let found = manifests.workloads().into_iter().find(|workload| {
        reference["name"] == workload.name
            && reference["kind"].as_str().unwrap_or("Deployment") == workload.kind
    });
    problems.unless(found.is_some(), name, "what it scales is not there");
    let says = found.as_ref().is_some_and(|workload| workload.object["spec"].get("replicas").is_some());
    problems.unless(
        !says,
        name,
        "what it scales has spec.replicas, which each `kubectl apply` would go back to",
    );
    found
}

/// https://keda.sh/docs/latest/scalers/nats-jetstream/. A consumer that is not there counts as the whole stream, so that a
/// wrong name scales to the maximum; and nothing is ever scheduled for agents that are not there, so that from zero only what
/// waits for the scheduler counts.
fn scaled(manifests: &Manifests, object: &Value, problems: &mut Problems) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let spec = &object["spec"];
    target(manifests, object, problems);
    let (minimum, maximum) = (spec["minReplicaCount"].as_u64(), spec["maxReplicaCount"].as_u64());
    problems.unless(minimum < maximum, name, "minReplicaCount and maxReplicaCount must rise");
    let mut counted = BTreeSet::new();
    for trigger in list(&spec["triggers"]) {
        problems.unless(trigger["type"] == "nats-jetstream", name, "a trigger is not of nats-jetstream");
        let metadata = &trigger["metadata"];
        let are_texts = metadata.as_object().is_some_and(|fields| fields.values().all(Value::is_string));
        problems.unless(are_texts, name, "all metadata of a trigger are texts");
        problems.unless(metadata["account"] == "SECRETSCAN", name, "the account is SECRETSCAN");
        let lag = metadata["lagThreshold"].as_str().and_then(|lag| lag.parse::<u64>().ok());
        problems.unless(lag.is_some_and(|lag| lag > 0), name, "lagThreshold is no number");
        let endpoint = metadata["natsServerMonitoringEndpoint"].as_str();
        problems.unless(
            endpoint == Some("nats.secretscan.svc.cluster.local:8222"),
            name,
            "the endpoint is not the monitoring port of the headless Service",
        );
        let (stream, consumer) = (metadata["stream"].as_str(), metadata["consumer"].as_str());
        let queue = Queue::all()
            .into_iter()
            .find(|queue| stream == Some(queue.stream()) && consumer == Some(queue.consumer().as_str()));
        problems.unless(queue.is_some(), name, format!("{stream:?} has no consumer {consumer:?}"));
        counted.extend(queue.map(Queue::consumer));
    }
    let expected: BTreeSet<String> = queues_for(name).into_iter().map(Queue::consumer).collect();
    problems.unless(counted == expected, name, format!("it must count {expected:?}"));
}

/// What an agent has to do: what waits for the scheduler, and what was handed out.
fn queues_for(agent: &str) -> Vec<Queue> {
    let of_agent = |queue: &Queue| match queue {
        Queue::QueuedScans(_) | Queue::ScheduledScans => agent == "repo-agent",
        Queue::WaitingBatches(_) | Queue::ScheduledBatches => agent == "batch-agent",
        _ => false,
    };
    Queue::all().into_iter().filter(of_agent).collect()
}

/// The pods are there, and name the port.
fn monitored(manifests: &Manifests, monitor: &Value, problems: &mut Problems) {
    let name = monitor["metadata"]["name"].as_str().unwrap_or_default();
    let chosen = manifests.chosen(&monitor["spec"]["selector"]);
    problems.unless(!chosen.is_empty(), name, "this monitor is about no pod");
    for endpoint in list(&monitor["spec"]["podMetricsEndpoints"]) {
        let is_named = chosen.iter().all(|workload| {
            list(&workload.container()["ports"]).iter().any(|port| port["name"] == endpoint["port"])
        });
        problems.unless(is_named, name, format!("no container names the port {}", endpoint["port"]));
    }
}

/// Each alert says how bad it is, what is the matter, and what to do.
fn alerts(object: &Value, problems: &mut Problems) {
    for rule in list(&object["spec"]["groups"]).iter().flat_map(|group| list(&group["rules"])) {
        let name = rule["alert"].as_str().unwrap_or_default();
        let severity = rule["labels"]["severity"].as_str();
        problems.unless(matches!(severity, Some("warning" | "critical")), name, "it has no severity");
        let says = |what: &str| rule["annotations"][what].is_string();
        problems.unless(rule["expr"].is_string(), name, "it has no expression");
        problems.unless(says("summary") && says("action"), name, "it says nothing of what to do");
    }
}
