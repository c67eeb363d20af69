//! Values that a schema takes as any text: quantities, times of CronJobs, and words out of a list.

use secretscan_model::calendar::Calendar;
use serde_json::Value;

use super::Problems;
use crate::deploy::manifests::Manifests;

/// Keys whose values are words out of a list, wherever they stand: https://kubernetes.io/docs/reference/kubernetes-api/.
const WORDS: [(&str, &[&str]); 11] = [
    ("concurrencyPolicy", &["Allow", "Forbid", "Replace"]),
    ("restartPolicy", &["Always", "OnFailure", "Never"]),
    ("imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"]),
    ("podManagementPolicy", &["OrderedReady", "Parallel"]),
    ("fsGroupChangePolicy", &["OnRootMismatch", "Always"]),
    ("protocol", &["TCP", "UDP", "SCTP"]),
    ("operator", &["In", "NotIn", "Exists", "DoesNotExist"]),
    ("policyTypes", &["Ingress", "Egress"]),
    ("accessModes", &["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]),
    ("drop", &["ALL"]),
];

pub(super) fn check(manifests: &Manifests, problems: &mut Problems) {
    for object in &manifests.objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        // What ConfigMaps hold is not of Kubernetes.
        if object["kind"] != "ConfigMap" {
            look(name, "", object, problems);
        }
        if object["kind"] == "CronJob" {
            let schedule = object["spec"]["schedule"].as_str().unwrap_or_default();
            let zone = object["spec"]["timeZone"].as_str().unwrap_or("UTC");
            let parsed = Calendar::parse(schedule, zone);
            problems.unless(parsed.is_ok(), name, format!("the schedule {schedule:?} is none"));
        }
    }
}

fn look(name: &str, key: &str, value: &Value, problems: &mut Problems) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let are_quantities = matches!(key, "requests" | "limits")
                    && matches!(field.as_str(), "cpu" | "memory" | "storage");
                if are_quantities || field == "sizeLimit" {
                    let is_one = value.as_str().is_some_and(|text| quantity(text).is_some());
                    problems.unless(is_one, name, format!("{field}: {value} is no quantity"));
                }
                look(name, field, value, problems);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| look(name, key, value, problems)),
        Value::String(text) => {
            if let Some((_, words)) = WORDS.iter().find(|(of, _)| *of == key) {
                problems.unless(
                    words.contains(&text.as_str()),
                    name,
                    format!("{key}: {text:?} is none of {words:?}"),
                );
            }
        }
        _ => {}
    }
}

/// A quantity in thousandths: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/.
pub(super) fn quantity(text: &str) -> Option<u128> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor: u128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    number.parse::<u128>().ok()?.checked_mul(factor)
}
