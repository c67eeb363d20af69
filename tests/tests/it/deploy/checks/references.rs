//! References between objects: volumes, ConfigMaps, Secrets, Services, PodDisruptionBudgets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Problems;
use crate::deploy::manifests::{Manifests, Workload, list};

/// The Secrets that `secretscan nats-config --kubernetes` makes for services, and those that people make: README.md has them.
/// Each is for one workload.
const SECRETS: [(&str, &str); 16] = [
    ("nats-accounts", "nats"),
    ("nats-setup", "setup"),
    ("nats-controller", "controller"),
    ("nats-scheduler", "scheduler"),
    ("nats-repo-agent", "repo-agent"),
    ("nats-batch-agent", "batch-agent"),
    ("nats-webhook", "webhook"),
    ("nats-notifier", "notifier"),
    ("nats-dashboard", "dashboard"),
    ("nats-kubernetes", "operator"),
    ("fingerprint-key", "batch-agent"),
    ("dashboard-session", "dashboard"),
    ("nats-tls", "nats"),
    ("git-credentials", "repo-agent"),
    ("webhook-secrets", "webhook"),
    ("notifier-secrets", "notifier"),
];

/// What every namespace has: the certificates of those that vouch for the API server.
pub(in crate::deploy) const OF_KUBERNETES: &str = "kube-root-ca.crt";
/// Kinds that are in no namespace.
const OF_THE_CLUSTER: [&str; 4] =
    ["Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"];

/// 0440: files are read by the group of the pod, and by nobody else.
const FOR_THE_GROUP: u64 = 0o440;

pub(super) fn check(manifests: &Manifests, problems: &mut Problems) {
    let mut used = BTreeSet::new();
    for workload in manifests.workloads() {
        mounts(&workload, problems);
        for reference in config_maps(&workload) {
            let is_there = manifests.find("ConfigMap", reference).is_some() || reference == OF_KUBERNETES;
            problems.unless(is_there, workload.name, format!("there is no ConfigMap {reference}"));
            used.insert(reference.to_owned());
        }
        secrets(&workload, problems);
    }
    for map in manifests.of_kind("ConfigMap") {
        let name = map["metadata"]["name"].as_str().unwrap_or_default();
        let labels = &map["metadata"]["labels"];
        let is_for_others = labels["grafana_dashboard"] == "1";
        problems.unless(is_for_others || used.contains(name), name, "no pod uses this ConfigMap");
    }
    problems.unless(
        manifests.of_kind("Secret").next().is_none(),
        "Secret",
        "secrets are made at installation",
    );
    one_of_each(manifests, problems);
    services(manifests, problems);
    budgets(manifests, problems);
}

/// Each volume is mounted once, and each mount has its volume.
fn mounts(workload: &Workload, problems: &mut Problems) {
    let mut volumes: Vec<&str> =
        list(&workload.pod()["volumes"]).iter().filter_map(|volume| volume["name"].as_str()).collect();
    let claims = list(&workload.object["spec"]["volumeClaimTemplates"]);
    volumes.extend(claims.iter().filter_map(|claim| claim["metadata"]["name"].as_str()));
    let mounts = list(&workload.container()["volumeMounts"]);
    for mount in mounts {
        let name = mount["name"].as_str().unwrap_or_default();
        problems.unless(
            volumes.contains(&name),
            workload.name,
            format!("there is no volume {name} to mount"),
        );
    }
    for volume in volumes {
        let count = mounts.iter().filter(|mount| mount["name"] == volume).count();
        problems.unless(count == 1, workload.name, format!("the volume {volume} is mounted {count} times"));
    }
    let paths: BTreeSet<_> = mounts.iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
    problems.unless(paths.len() == mounts.len(), workload.name, "two volumes are mounted at one path");
}

fn config_maps<'a>(workload: &Workload<'a>) -> Vec<&'a str> {
    let container = workload.container();
    let mut names = Vec::new();
    for volume in list(&workload.pod()["volumes"]) {
        names.push(&volume["configMap"]["name"]);
        names.extend(list(&volume["projected"]["sources"]).iter().map(|source| &source["configMap"]["name"]));
    }
    names.extend(list(&container["envFrom"]).iter().map(|source| &source["configMapRef"]["name"]));
    names.extend(list(&container["env"]).iter().map(|of| &of["valueFrom"]["configMapKeyRef"]["name"]));
    names.into_iter().filter_map(Value::as_str).collect()
}

fn secrets(workload: &Workload, problems: &mut Problems) {
    let name = workload.name;
    let owner = |secret: &str| SECRETS.iter().find(|(of, _)| *of == secret).map(|(_, owner)| *owner);
    let mut mounted = |source: &Value, secret: &Value, mode: &Value| {
        let secret = secret.as_str().unwrap_or_default();
        // Everybody may know who vouches for the server.
        let is_public = secret == "nats-tls"
            && source["items"] == serde_json::json!([{ "key": "ca.crt", "path": "ca.crt" }]);
        let is_own = owner(secret) == Some(name);
        problems.unless(is_own || is_public, name, format!("there is no Secret {secret} for it"));
        problems.unless(
            *mode == FOR_THE_GROUP,
            name,
            format!("the files of {secret} can't be read by its group alone"),
        );
    };
    for volume in list(&workload.pod()["volumes"]) {
        if volume.get("secret").is_some() {
            let secret = &volume["secret"];
            mounted(secret, &secret["secretName"], &secret["defaultMode"]);
        }
        for source in list(&volume["projected"]["sources"]) {
            if let Some(secret) = source.get("secret") {
                mounted(secret, &secret["name"], &volume["projected"]["defaultMode"]);
            }
        }
    }
    let text = workload.container().to_string();
    problems.unless(!text.contains("secretKeyRef"), name, "secrets are files, not variables");
    problems.unless(!text.contains("secretRef"), name, "secrets are files, not variables");
    problems.unless(!text.contains("subPath"), name, "what a subPath mounts is never updated");
}

fn one_of_each(manifests: &Manifests, problems: &mut Problems) {
    let mut counts = BTreeMap::new();
    for object in &manifests.objects {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        *counts.entry((kind.as_str(), name.as_str())).or_insert(0) += 1;
        let is_in_namespace = kind.as_str().is_some_and(|kind| OF_THE_CLUSTER.contains(&kind))
            || object["metadata"]["namespace"] == "secretscan";
        problems.unless(
            is_in_namespace,
            name.as_str().unwrap_or_default(),
            "it is not in the namespace secretscan",
        );
    }
    for ((kind, name), count) in counts {
        problems.unless(
            count == 1,
            name.unwrap_or_default(),
            format!("{} are there {count} times", kind.unwrap_or_default()),
        );
    }
}

fn services(manifests: &Manifests, problems: &mut Problems) {
    for service in manifests.of_kind("Service") {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        let selector = serde_json::json!({ "matchLabels": service["spec"]["selector"] });
        let chosen = manifests.chosen(&selector);
        problems.unless(chosen.len() == 1, name, "this Service does not choose the pods of one workload");
        for port in list(&service["spec"]["ports"]) {
            let is_there = chosen.iter().all(|workload| {
                list(&workload.container()["ports"]).iter().any(|of| of["name"] == port["targetPort"])
            });
            problems.unless(is_there, name, format!("no container names the port {}", port["targetPort"]));
        }
    }
    for workload in manifests.workloads().into_iter().filter(|workload| workload.kind == "StatefulSet") {
        let service = workload.object["spec"]["serviceName"].as_str().unwrap_or_default();
        let is_headless =
            manifests.find("Service", service).is_some_and(|service| service["spec"]["clusterIP"] == "None");
        problems.unless(is_headless, workload.name, format!("there is no headless Service {service}"));
    }
}

/// A PodDisruptionBudget for each workload that stays, which lets its nodes be drained.
fn budgets(manifests: &Manifests, problems: &mut Problems) {
    for budget in manifests.of_kind("PodDisruptionBudget") {
        let name = budget["metadata"]["name"].as_str().unwrap_or_default();
        let chosen = manifests.chosen(&budget["spec"]["selector"]);
        problems.unless(chosen.len() == 1, name, "this budget does not choose the pods of one workload");
        let replicas = chosen.first().and_then(|workload| workload.object["spec"]["replicas"].as_u64());
        if let (Some(minimum), Some(replicas)) = (budget["spec"]["minAvailable"].as_u64(), replicas) {
            problems.unless(minimum < replicas, name, "no pod may ever be drained: minAvailable is too high");
        }
        problems.unless(
            budget["spec"]["maxUnavailable"] != 0,
            name,
            "no pod may ever be drained: maxUnavailable is 0",
        );
    }
    for workload in manifests.workloads() {
        let has_budget = manifests.of_kind("PodDisruptionBudget").any(|budget| {
            manifests.chosen(&budget["spec"]["selector"]).iter().any(|of| of.name == workload.name)
        });
        let is_job = matches!(workload.kind, "Job" | "CronJob");
        problems.unless(is_job || has_budget, workload.name, "it has no PodDisruptionBudget");
    }
}
