//! The schemas and their rules, and what a status says of a request.

use std::path::Path;

use kube::CustomResourceExt;
use secretscan_model::{
    RepositoryScan as Request, RequestId, ScanEvent, Stamp, Timestamp, lifecycle::step_scan,
};
use serde_json::Value;

use super::*;

const WRITE: &str = "SECRETSCAN_WRITE_MANIFESTS";

/// The manifest of a kind, which an administrator applies.
fn is_written<K: CustomResourceExt>() {
    let definition = K::crd();
    let name = definition.spec.names.plural.clone();
    let command = format!("{WRITE}=1 cargo test -p secretscan-operator manifests");
    let yaml = serde_saphyr::to_string(&definition).unwrap();
    let text = format!("# Made of services/operator/src/resources by `{command}`.\n{yaml}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/k8s/parts/operator")
        .join(format!("{name}.yaml"));
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{} is not what the types say; write it by\n{command}", path.display());
    let read: Value = serde_saphyr::from_str(&written).unwrap();
    assert_eq!(read, serde_json::to_value(&definition).unwrap());
}

#[test]
fn manifests_are_those_of_the_types() {
    is_written::<RepositoryScan>();
    is_written::<ScheduledRepositoryScan>();
}

fn scan(spec: Value) -> RepositoryScan {
    RepositoryScan::new("scan", serde_json::from_value(spec).unwrap())
}

fn scheduled(spec: Value) -> ScheduledRepositoryScan {
    ScheduledRepositoryScan::new("scheduled", serde_json::from_value(spec).unwrap())
}

/// Assembled, so that no scanner finds it here.
fn with_password() -> String {
    ["https://user:", "password", "@example.org/a/b"].concat()
}

#[test]
fn rules_of_requests_refuse_what_makes_no_sense() {
    let uri = "https://example.org/a/b";
    for spec in [
        json!({ "uri": uri }),
        json!({ "repositoryId": "x" }),
        json!({ "uri": "ssh://git@example.org:22/a/b" }),
        json!({ "uri": "git@example.org:a/b" }),
        json!({ "uri": uri, "verify": true, "refs": ["refs/heads/main"] }),
        json!({ "uri": uri, "rescan": "r1-1a2b3c4d5e6f" }),
    ] {
        scan(spec.clone()).validate_cel().unwrap_or_else(|error| panic!("{spec}: {error:?}"));
    }
    for (spec, message) in [
        (json!({}), ONE_REPOSITORY_MESSAGE),
        (json!({ "uri": uri, "repositoryId": "x" }), ONE_REPOSITORY_MESSAGE),
        (json!({ "uri": with_password() }), NO_PASSWORD_MESSAGE),
        (json!({ "uri": uri, "rescan": "r1", "verify": true }), "give either verify or rescan"),
        (json!({ "uri": uri, "rescan": "r1", "refs": ["refs/heads/main"] }), "rescan is of all refs"),
    ] {
        let error = format!("{:?}", scan(spec).validate_cel().unwrap_err());
        assert!(error.contains(message), "{error}");
    }
    let before = scan(json!({ "uri": uri }));
    assert!(before.validate_cel_update(&before).is_ok());
    let after = scan(json!({ "uri": uri, "priority": "Reactive" }));
    let error = format!("{:?}", after.validate_cel_update(&before).unwrap_err());
    assert!(error.contains("make another RepositoryScan"), "{error}");
}

#[test]
fn rules_of_schedules_let_them_change() {
    let spec = |uri: &str| json!({ "uri": uri, "schedule": "@daily" });
    let (before, after) =
        (scheduled(spec("https://example.org/a/b")), scheduled(spec("https://example.org/c/d")));
    assert!(after.validate_cel_update(&before).is_ok());
    for (spec, message) in [
        (json!({ "schedule": "@daily" }), ONE_REPOSITORY_MESSAGE),
        (spec(&with_password()), NO_PASSWORD_MESSAGE),
    ] {
        let error = format!("{:?}", scheduled(spec).validate_cel().unwrap_err());
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn what_the_schema_does_not_know_is_an_error_and_no_panic() {
    let read = |spec: Value| serde_json::from_value::<RepositoryScanSpec>(spec).map(drop);
    assert!(read(json!({ "uri": "x", "priority": "AtOnce" })).is_err());
    assert!(read(json!({ "uri": 7 })).is_err());
    assert!(read(json!({ "uri": "x", "of": "a later version" })).is_ok());
    assert!(serde_json::from_value::<ScheduledRepositoryScanSpec>(json!({ "uri": "x" })).is_err());
    // A status of another version.
    let status: RepositoryScanStatus =
        serde_json::from_value(json!({ "state": "Paused", "more": 1 })).unwrap();
    assert!(!status.is_final());
}

fn step(request: Request, event: ScanEvent, at: i64) -> Request {
    let stamp = Stamp { now: Timestamp(at), by: "test" };
    step_scan(&request, &event, stamp).unwrap().next.unwrap()
}

fn truths(status: &RepositoryScanStatus) -> Vec<(&str, &str, &str)> {
    status
        .conditions
        .iter()
        .map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str()))
        .collect()
}

#[test]
fn conditions_keep_the_time_since_when_they_hold() {
    let id = RequestId::parse("r").unwrap();
    let stamp = Stamp { now: Timestamp(1_000), by: "test" };
    let new = Request::new(id, vec![], secretscan_model::Priority::OnDemand, String::new(), stamp);
    let validating = step(new, ScanEvent::StartValidation, 1_500);
    let empty = RepositoryScanStatus::default();
    let of = |request: &Request, before: &RepositoryScanStatus, at| {
        RepositoryScanStatus::of(request, before, Some(1), Timestamp(at))
    };
    let first = of(&validating, &empty, 2_999);
    let expected = [
        ("Accepted", "Unknown", "Validating"),
        ("Completed", "False", "Validating"),
        ("Failed", "False", "Validating"),
    ];
    assert_eq!(truths(&first), expected);

    let accept =
        ScanEvent::Accept { repository: "x".parse().unwrap(), uri: "https://example.org/a/b".into() };
    let queued = step(validating.clone(), accept, 3_000);
    let second = of(&queued, &first, 4_000);
    let expected =
        [("Accepted", "True", "Accepted"), ("Completed", "False", "Queued"), ("Failed", "False", "Queued")];
    assert_eq!(truths(&second), expected);
    let since = |status: &RepositoryScanStatus| -> Vec<String> {
        status
            .conditions
            .iter()
            .map(|of| serde_json::to_value(&of.last_transition_time).unwrap().to_string())
            .collect()
    };
    let at = |second: u8| format!("\"1970-01-01T00:00:0{second}Z\"");
    assert_eq!(since(&second), [at(4), at(2), at(2)]);
    assert!(!second.is_final());
    // Nothing new is nothing to write.
    assert_eq!(of(&queued, &second, 9_000), second);

    let cancelled = of(&step(queued, ScanEvent::Cancel { requester: "q".into() }, 5_000), &second, 6_000);
    assert_eq!(truths(&cancelled)[2], ("Failed", "True", "Cancelled"));
    assert!(cancelled.is_final() && cancelled.completion_time.is_some());

    let refused = step(validating, ScanEvent::Refuse { reason: "no such host".into() }, 5_000);
    let refused = of(&refused, &empty, 6_000);
    assert_eq!(truths(&refused)[0], ("Accepted", "False", "Refused"));
    assert_eq!(refused.conditions[2].message, "no such host");
    let unknown =
        RepositoryScanStatus::without_record(Truth::Unknown, "NoAnswer", "", &empty, Some(1), Timestamp(0));
    assert_eq!((unknown.is_final(), unknown.state), (false, None));
    let long = "x".repeat(5_000);
    let refused =
        RepositoryScanStatus::without_record(Truth::False, "Refused", &long, &empty, None, Timestamp(0));
    assert_eq!((refused.is_final(), refused.conditions[0].message.len()), (true, 1_024));
}

#[test]
fn a_schedule_that_is_as_it_should_be_is_left_alone() {
    let spec = |text: Value| serde_json::from_value::<ScheduledRepositoryScanSpec>(text).unwrap();
    let plain = spec(json!({ "uri": "https://Example.org/a/b.git", "schedule": "@daily" }));
    let plan = plain.plan("q".into()).unwrap();
    assert_eq!((plan.time_zone.as_str(), plan.jitter_s, plan.requester.as_str()), ("UTC", 0, "q"));
    let same = spec(json!({ "uri": "https://example.org/a/b", "schedule": "@daily", "jitter": "0" }));
    assert_eq!(same.plan("q".into()).unwrap(), plan, "two URIs of one repository");
    let by_id = spec(json!({ "repositoryId": plan.repository.as_str(), "schedule": "@daily" }));
    assert_eq!(by_id.plan("q".into()).unwrap(), plan);
    for wrong in [
        json!({ "schedule": "@daily" }),
        json!({ "uri": "", "schedule": "@daily" }),
        json!({ "uri": "https://example.org/a/b", "schedule": "@daily", "jitter": "soon" }),
    ] {
        assert_eq!(spec(wrong).plan("q".into()), None);
    }
}

#[test]
fn what_is_refused_stays_so_and_is_written_once() {
    let plan = serde_json::from_value::<ScheduledRepositoryScanSpec>(
        json!({ "repositoryId": "r", "schedule": "@daily" }),
    );
    let plan = plan.unwrap().plan("q".into()).unwrap();
    let schedule = secretscan_model::Schedule::new("s".parse().unwrap(), plan, Timestamp(0)).unwrap();
    let look = |before: &ScheduledRepositoryScanStatus, at| {
        ScheduledRepositoryScanStatus::of(&schedule, None, before, Some(2), Timestamp(at)).not_accepted(
            Truth::False,
            "Refused",
            "no",
            before,
            Some(2),
            Timestamp(at),
        )
    };
    let first = look(&ScheduledRepositoryScanStatus::default(), 1_000);
    assert_eq!((first.refusal(Some(2)), first.refusal(Some(3))), (Some("no"), None));
    assert!(first.next_run_time.is_some(), "what was accepted before goes on");
    assert_eq!(look(&first, 60_000), first);
}
