//! What alerts and the dashboard ask for is what services say of themselves.

use std::collections::BTreeSet;

use serde_json::Value;

use super::manifests::{Manifests, list};

/// The expressions of alerts and of the dashboard.
fn expressions(manifests: &Manifests) -> Vec<String> {
    let rules = manifests.of_kind("PrometheusRule").flat_map(|rule| list(&rule["spec"]["groups"]));
    let alerts = rules.flat_map(|group| list(&group["rules"])).map(|rule| rule["expr"].clone());
    let dashboards = manifests
        .of_kind("ConfigMap")
        .filter(|map| map["metadata"]["labels"]["grafana_dashboard"] == "1")
        .filter_map(|map| serde_json::from_str(map["data"]["secretscan.json"].as_str()?).ok());
    let panels = dashboards.flat_map(|dashboard: Value| list(&dashboard["panels"]).to_vec());
    let asked =
        panels.flat_map(|panel| list(&panel["targets"]).to_vec()).map(|target| target["expr"].clone());
    alerts.chain(asked).map(|expression| expression.as_str().unwrap().to_owned()).collect()
}

/// The series that are asked for, with the labels by which they are chosen.
fn asked_for() -> BTreeSet<(String, Option<String>)> {
    let expressions = expressions(&Manifests::of_monitored("production"));
    assert!(expressions.len() > 10, "{expressions:?}");
    let mut asked = BTreeSet::new();
    for expression in expressions {
        for (start, _) in expression.match_indices("secretscan_") {
            let rest = &expression[start..];
            let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
            let label =
                rest[end..].strip_prefix('{').map(|labels| labels[..labels.find('}').unwrap()].into());
            asked.insert((rest[..end].to_owned(), label));
        }
    }
    asked
}

/// Fails unless pages of `/metrics` have everything that is asked for.
pub(super) fn is_told(pages: &str) {
    for (name, label) in asked_for() {
        let is_told = pages.lines().filter_map(|line| line.strip_prefix(name.as_str())).any(|rest| {
            rest.starts_with(['{', ' ']) && label.as_ref().is_none_or(|label| rest.contains(label.as_str()))
        });
        assert!(is_told, "no service tells {name} {label:?}:\n{pages}");
    }
}
