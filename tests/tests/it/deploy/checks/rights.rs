//! Rights on the API server: only the operator has a token, and may do with its own kinds what it does.

use serde_json::{Value, json};

use super::Problems;
use crate::deploy::manifests::{Manifests, list};

const OPERATOR: &str = "operator";
/// What the operator's code does, and nothing else.
const MAY: [(&str, &[&str]); 4] = [
    ("repositoryscans", &["list", "watch", "patch"]),
    ("scheduledrepositoryscans", &["list", "watch", "patch"]),
    ("repositoryscans/status", &["update"]),
    ("scheduledrepositoryscans/status", &["update"]),
];

pub(super) fn check(manifests: &Manifests, problems: &mut Problems) {
    for workload in manifests.workloads() {
        let volumes = list(&workload.pod()["volumes"]).iter();
        let sources = volumes.flat_map(|volume| list(&volume["projected"]["sources"]));
        let has_token = sources.into_iter().any(|source| source.get("serviceAccountToken").is_some());
        problems.unless(
            has_token == (workload.name == OPERATOR),
            workload.name,
            "only the operator has a token for the API server",
        );
    }
    for kind in ["Role", "RoleBinding"] {
        problems.unless(manifests.of_kind(kind).next().is_none(), kind, "the operator is for all namespaces");
    }
    for role in manifests.of_kind("ClusterRole") {
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        for rule in list(&role["rules"]) {
            let is_own =
                rule["apiGroups"] == json!(["secretscan.dev"]) && rule.get("nonResourceURLs").is_none();
            let text = rule.to_string();
            problems.unless(is_own && !text.contains('*'), name, "it is about what is not of secretscan");
        }
    }
    for binding in manifests.of_kind("ClusterRoleBinding") {
        let name = binding["metadata"]["name"].as_str().unwrap_or_default();
        let subject = json!([{ "kind": "ServiceAccount", "name": OPERATOR, "namespace": "secretscan" }]);
        problems.unless(binding["subjects"] == subject, name, "only the operator gets a role");
        let role = binding["roleRef"]["name"].as_str().unwrap_or_default();
        let rules = manifests.find("ClusterRole", role).map_or(&Value::Null, |role| &role["rules"]);
        let mut granted: Vec<(String, Value)> = list(rules)
            .iter()
            .flat_map(|rule| list(&rule["resources"]).iter().map(|of| (of.as_str(), &rule["verbs"])))
            .map(|(resource, verbs)| (resource.unwrap_or_default().to_owned(), verbs.clone()))
            .collect();
        granted.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut needed = MAY.map(|(resource, verbs)| (resource.to_owned(), json!(verbs))).to_vec();
        needed.sort_by(|(one, _), (other, _)| one.cmp(other));
        problems.unless(granted == needed, name, "it does not grant exactly what the operator does");
    }
}
