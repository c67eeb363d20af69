//! The custom resources: what people write, and what they see.
//!
//! The manifests of deploy/k8s/parts/operator are made of these types; a test compares them.

mod condition;
mod repository_scan;
mod scheduled_repository_scan;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use secretscan_model::Timestamp;
use serde_json::json;

pub use condition::{Condition, Conditions, Truth};
pub use repository_scan::{
    BatchCounts, CommitCounts, Priority, RepositoryScan, RepositoryScanSpec, RepositoryScanStatus,
};
pub use scheduled_repository_scan::{
    LastRun, MissedRuns, ScheduledRepositoryScan, ScheduledRepositoryScanSpec, ScheduledRepositoryScanStatus,
    UnknownCommits,
};

/// The longest URI of a repository, in bytes: the controller's limit.
const MAX_URI: u32 = 2_048;
/// The most refs: the controller's limit.
const MAX_REFS: u32 = 1_000;
/// The longest name of a ref: the controller's limit.
const MAX_REF: u32 = 1_024;
/// What a repository id is: see `secretscan_model::RepositoryId`.
const ID: &str = "^[A-Za-z0-9_-]{1,128}$";

/// Rules in CEL, which the API server checks: https://kubernetes.io/docs/reference/using-api/cel/.
const ONE_REPOSITORY: &str = "has(self.uri) != has(self.repositoryId)";
const ONE_REPOSITORY_MESSAGE: &str = "give either uri or repositoryId";
/// Everybody who may read the resource would read it.
const NO_PASSWORD: &str = "!self.matches('^[A-Za-z][A-Za-z0-9+.-]*://[^/@]*:[^/]*@')";
const NO_PASSWORD_MESSAGE: &str =
    "the URI holds a password; remove it and give credentials to the repo-agent's configuration";

/// A time as the API server keeps it: to the second.
fn time(at: Timestamp) -> Time {
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1_000)).unwrap_or(jiff::Timestamp::MAX);
    Time(at)
}

/// The schema of a list of refs.
fn refs(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let name = json!({ "type": "string", "maxLength": MAX_REF, "pattern": "^refs/" });
    let list = json!({
        "description": "Full names of refs, such as refs/heads/main; all refs when empty.",
        "type": "array", "items": name, "maxItems": MAX_REFS,
    });
    list.try_into().expect("an object is a schema")
}

/// The schema of conditions: a list with one of each type.
fn conditions(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let list = json!({
        "description": "What can be said for sure, one of each type.",
        "type": "array", "items": generator.subschema_for::<Condition>(),
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    });
    list.try_into().expect("an object is a schema")
}

#[cfg(test)]
mod tests;
