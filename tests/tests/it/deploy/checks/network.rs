//! Network policies: nothing is let through but the flows of the design, and each policy is about pods that there are.

use serde_json::{Value, json};

use super::Problems;
use crate::deploy::manifests::{Manifests, Workload, list};

/// Who may reach what is outside of the cluster.
const OUTSIDE: [&str; 3] = ["repo-agent", "notifier", "operator"];
/// Whom anybody may reach.
const FRONT_DOORS: [&str; 2] = ["webhook", "dashboard"];

pub(super) fn check(manifests: &Manifests, problems: &mut Problems) {
    let denied = manifests.find("NetworkPolicy", "deny-all").map(|policy| &policy["spec"]);
    let all = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    problems.unless(denied == Some(&all), "deny-all", "it must deny all pods everything");
    for policy in manifests.of_kind("NetworkPolicy") {
        let name = policy["metadata"]["name"].as_str().unwrap_or_default();
        let spec = &policy["spec"];
        let chosen = manifests.chosen(&spec["podSelector"]);
        problems.unless(!chosen.is_empty(), name, "this policy is about no pod");
        for (direction, kind) in [("ingress", "Ingress"), ("egress", "Egress")] {
            let is_named = list(&spec["policyTypes"]).contains(&json!(kind));
            let has_rules = !list(&spec[direction]).is_empty();
            problems.unless(is_named || !has_rules, name, format!("{kind} is not among its policyTypes"));
        }
        for rule in list(&spec["ingress"]) {
            ports_are_open(name, &chosen, rule, problems);
            from(manifests, name, &chosen, rule, problems);
        }
        for rule in list(&spec["egress"]) {
            to(manifests, name, &chosen, rule, problems);
        }
    }
}

/// Every rule has ports, and the pods that are reached have them.
fn ports_are_open(name: &str, reached: &[Workload], rule: &Value, problems: &mut Problems) {
    problems.unless(!list(&rule["ports"]).is_empty(), name, "a rule without ports lets all of them through");
    for port in list(&rule["ports"]) {
        let port = &port["port"];
        let is_open = |workload: &Workload| {
            let open = list(&workload.container()["ports"]);
            open.iter().any(|of| of["name"] == *port || of["containerPort"] == *port)
        };
        problems.unless(
            reached.iter().all(is_open),
            name,
            format!("the port {port} is not one of the container"),
        );
    }
}

fn from(manifests: &Manifests, name: &str, chosen: &[Workload], rule: &Value, problems: &mut Problems) {
    let is_for_all = list(&rule["from"]).is_empty();
    let are_doors = chosen.iter().all(|workload| FRONT_DOORS.contains(&workload.name));
    problems.unless(!is_for_all || are_doors, name, "anybody may come in");
    for peer in list(&rule["from"]) {
        peer_is_there(manifests, name, peer, problems);
    }
}

fn to(manifests: &Manifests, name: &str, chosen: &[Workload], rule: &Value, problems: &mut Problems) {
    problems.unless(!list(&rule["to"]).is_empty(), name, "a rule without peers lets everything out");
    problems.unless(!list(&rule["ports"]).is_empty(), name, "a rule without ports lets all of them through");
    for peer in list(&rule["to"]) {
        if let Some(block) = peer.get("ipBlock") {
            let may = chosen.iter().all(|workload| OUTSIDE.contains(&workload.name));
            problems.unless(may, name, "only repo-agent, notifier and operator leave the cluster");
            let metadata = json!("169.254.0.0/16");
            problems.unless(
                block["cidr"] != "0.0.0.0/0" || list(&block["except"]).contains(&metadata),
                name,
                "the metadata of the cloud can be reached",
            );
        }
        peer_is_there(manifests, name, peer, problems);
        if peer.get("podSelector").is_some() && peer.get("namespaceSelector").is_none() {
            ports_are_open(name, &manifests.chosen(&peer["podSelector"]), rule, problems);
        }
    }
}

fn peer_is_there(manifests: &Manifests, name: &str, peer: &Value, problems: &mut Problems) {
    let is_here = peer.get("podSelector").is_some() && peer.get("namespaceSelector").is_none();
    let is_there = !manifests.chosen(&peer["podSelector"]).is_empty();
    problems.unless(!is_here || is_there, name, "a peer is no pod that there is");
}
