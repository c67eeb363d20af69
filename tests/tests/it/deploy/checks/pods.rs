//! Pods: Pod Security `restricted`, probes, resources, the time to stop, and spreading.

use std::path::Path;

use secretscan_service::ServiceSettings;
use serde_json::Value;

use super::Problems;
use super::values::quantity;
use crate::deploy::manifests::{Manifests, Workload, list, selects};

pub(super) fn check(manifests: &Manifests, problems: &mut Problems) {
    for workload in manifests.workloads() {
        let selector = &workload.object["spec"]["selector"];
        if !selector.is_null() {
            problems.unless(
                selects(selector, workload.labels()),
                workload.name,
                "its selector does not choose its pods",
            );
        }
        restricted(&workload, problems);
        identity(manifests, &workload, problems);
        resources(&workload, problems);
        if !matches!(workload.kind, "Job" | "CronJob") {
            probes(&workload, problems);
            spread(&workload, problems);
            time_to_stop(manifests, &workload, problems);
        }
    }
}

/// https://kubernetes.io/docs/concepts/security/pod-security-standards/, level `restricted`, and read-only roots.
fn restricted(workload: &Workload, problems: &mut Problems) {
    let (name, pod) = (workload.name, workload.pod());
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        problems.unless(pod[host].is_null(), name, format!("{host} is not for restricted pods"));
    }
    problems.unless(pod["securityContext"]["runAsNonRoot"] == true, name, "runAsNonRoot must be true");
    let profile = &pod["securityContext"]["seccompProfile"]["type"];
    problems.unless(
        profile == "RuntimeDefault" || profile == "Localhost",
        name,
        "a seccomp profile is needed",
    );
    for volume in list(&pod["volumes"]) {
        let allowed = ["configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"];
        let kinds = volume.as_object().map(|volume| volume.keys().filter(|key| *key != "name").collect());
        let kinds: Vec<_> = kinds.unwrap_or_default();
        problems.unless(
            kinds.len() == 1 && allowed.contains(&kinds[0].as_str()),
            name,
            format!("a volume that restricted pods may not have: {kinds:?}"),
        );
    }
    for container in ["containers", "initContainers"].iter().flat_map(|list_of| list(&pod[*list_of])) {
        let context = &container["securityContext"];
        problems.unless(
            context["allowPrivilegeEscalation"] == false,
            name,
            "allowPrivilegeEscalation must be false",
        );
        problems.unless(context["privileged"] != true, name, "privileged is not for restricted pods");
        problems.unless(
            context["capabilities"] == serde_json::json!({ "drop": ["ALL"] }),
            name,
            "all capabilities must be dropped",
        );
        problems.unless(context["runAsUser"] != 0, name, "it runs as root");
        problems.unless(context["readOnlyRootFilesystem"] == true, name, "its root must be read-only");
        let image = container["image"].as_str().unwrap_or_default();
        let tag = image.rsplit_once('/').map_or(image, |(_, name)| name).split_once(':');
        problems.unless(
            tag.is_some_and(|(_, tag)| tag != "latest"),
            name,
            format!("the image {image} has no fixed tag"),
        );
    }
}

/// A ServiceAccount of its own, without a token for the API server.
fn identity(manifests: &Manifests, workload: &Workload, problems: &mut Problems) {
    let (name, pod) = (workload.name, workload.pod());
    problems.unless(pod["serviceAccountName"] == name, name, "it needs a ServiceAccount of its own name");
    let account = manifests.find("ServiceAccount", name);
    problems.unless(account.is_some(), name, "its ServiceAccount is missing");
    let account = account.unwrap_or(&Value::Null);
    for holder in [pod, account] {
        problems.unless(
            holder["automountServiceAccountToken"] == false,
            name,
            "it gets a token for the API server",
        );
    }
    problems.unless(pod["enableServiceLinks"] == false, name, "it gets variables of other services");
}

fn resources(workload: &Workload, problems: &mut Problems) {
    for container in list(&workload.pod()["containers"]) {
        let resources = &container["resources"];
        let of = |kind: &str, what: &str| resources[kind][what].as_str().and_then(quantity);
        let name = workload.name;
        problems.unless(of("requests", "cpu").is_some(), name, "it requests no CPU");
        match (of("requests", "memory"), of("limits", "memory")) {
            (Some(requested), Some(limit)) => {
                problems.unless(requested <= limit, name, "it requests more memory than its limit");
            }
            _ => problems.unless(false, name, "it needs a request and a limit of memory"),
        }
    }
}

fn probes(workload: &Workload, problems: &mut Problems) {
    for container in list(&workload.pod()["containers"]) {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let port = &container[probe]["httpGet"]["port"];
            problems.unless(
                list(&container["ports"]).iter().any(|of| of["name"] == *port),
                workload.name,
                format!("the {probe} asks the port {port}, which the container does not name"),
            );
        }
        let path = |probe: &str| container[probe]["httpGet"]["path"].as_str();
        problems.unless(
            path("livenessProbe") != path("readinessProbe"),
            workload.name,
            "what is not ready would be restarted: liveness and readiness ask the same",
        );
    }
}

fn spread(workload: &Workload, problems: &mut Problems) {
    let constraints = list(&workload.pod()["topologySpreadConstraints"]);
    let is_spread =
        constraints.iter().any(|constraint| selects(&constraint["labelSelector"], workload.labels()));
    problems.unless(
        !constraints.is_empty() && is_spread,
        workload.name,
        "its pods are not spread over nodes",
    );
}

/// A pod has longer to stop than what runs in it takes.
fn time_to_stop(manifests: &Manifests, workload: &Workload, problems: &mut Problems) {
    let Some(takes) = seconds_to_stop(manifests, workload) else {
        problems.unless(false, workload.name, "how long it takes to stop is not known");
        return;
    };
    let given = workload.pod()["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    problems.unless(
        given > takes,
        workload.name,
        format!("it takes {takes} s to stop and is killed after {given}"),
    );
}

fn seconds_to_stop(manifests: &Manifests, workload: &Workload) -> Option<u64> {
    if workload.name == "nats" {
        let config = workload.file(manifests, Path::new("/etc/nats/nats.conf"))?;
        let seconds = |key: &str| {
            let value = config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            value.map_or(Some(0), |value| value.strip_suffix('s')?.parse::<u64>().ok())
        };
        return Some(seconds("lame_duck_grace_period")? + seconds("lame_duck_duration")?);
    }
    #[derive(serde::Deserialize)]
    struct Configuration {
        service: ServiceSettings,
    }
    let text = workload.file(manifests, Path::new("/etc/secretscan/config/config.toml"))?;
    Some(toml::from_str::<Configuration>(text).ok()?.service.grace_s)
}
