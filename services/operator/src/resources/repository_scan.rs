//! `RepositoryScan`: one request.
#![allow(clippy::duplicated_attributes, reason = "each printer column has the same attributes")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use secretscan_bus::v1;
use secretscan_model::{self as model, RequestId, ScanState, Timestamp};
use serde::{Deserialize, Serialize};

use super::condition::find;
use super::{Condition, Conditions, ID, MAX_URI, NO_PASSWORD, NO_PASSWORD_MESSAGE, Truth, time};
use super::{ONE_REPOSITORY, ONE_REPOSITORY_MESSAGE};

/// Whether the controller has taken the request.
pub(crate) const ACCEPTED: &str = "Accepted";
const COMPLETED: &str = "Completed";
const FAILED: &str = "Failed";

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, CustomResource, KubeSchema)]
#[kube(
    group = "secretscan.dev",
    version = "v1alpha1",
    kind = "RepositoryScan",
    namespaced,
    status = "RepositoryScanStatus",
    category = "secretscan",
    derive = "PartialEq",
    doc = "A request to scan the history of a repository. It is made once; deleting it while it runs cancels it.",
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.uri"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Batches",
        type_ = "string",
        json_path = ".status.batches.progress",
        description = "Batches that have ended, of those that there are so far."
    ),
    printcolumn(name = "Findings", type_ = "integer", json_path = ".status.findings"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.requestId", priority = "1"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Failed\")].message",
        priority = "1"
    )
)]
#[cfg_attr(test, kube(cel))]
#[x_kube(validation = Rule::new(ONE_REPOSITORY).message(ONE_REPOSITORY_MESSAGE))]
#[x_kube(validation = Rule::new("self == oldSelf").message("a request is made once: make another RepositoryScan"))]
#[x_kube(validation = Rule::new("!has(self.rescan) || !(has(self.verify) && self.verify)").message("give either verify or rescan"))]
#[x_kube(validation = Rule::new("!has(self.rescan) || !has(self.refs) || size(self.refs) == 0").message("rescan is of all refs: give none"))]
#[serde(rename_all = "camelCase")]
pub struct RepositoryScanSpec {
    /// The URI of the repository, without credentials, such as https://github.com/owner/project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = MAX_URI))]
    #[x_kube(validation = Rule::new(NO_PASSWORD).message(NO_PASSWORD_MESSAGE))]
    pub uri: Option<String>,
    /// The id of a repository that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = ID))]
    pub repository_id: Option<String>,
    /// Full names of refs, such as refs/heads/main; all refs when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::refs")]
    pub refs: Vec<String>,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// Scan nothing: name the commits that are not scanned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verify: bool,
    /// Scan the commits again that were scanned with other rules than this version of them, such as r1-1a2b3c4d5e6f.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub rescan: Option<String>,
}

/// How urgent a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Priority {
    /// Before all others: somebody waits.
    Reactive,
    /// A person asks.
    #[default]
    OnDemand,
    /// After all others.
    Scheduled,
}

/// Where a request stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RepositoryScanStatus {
    /// The generation of the resource that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The id of the request, for `secretscan request show`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The id of the repository, once the request is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_id: Option<String>,
    /// The state of the request: New, Validating, Queued, Scheduling, Scheduled, InProgress, Completed, Failed or Cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The batches that its commits were cut into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<BatchCounts>,
    /// Its commits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commits: Option<CommitCounts>,
    /// Findings, summed over batches; those that were known before among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub findings: Option<u64>,
    /// Things that could not be scanned, or were left out by a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub not_scanned: Option<u64>,
    /// When the request was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// What can be said for sure, one of each type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::conditions")]
    pub conditions: Vec<Condition>,
}

/// How many batches there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct BatchCounts {
    /// So far.
    #[schemars(with = "i64")]
    pub total: u64,
    /// Those that have ended.
    #[schemars(with = "i64")]
    pub ended: u64,
    /// Both in one, such as 3/12.
    pub progress: String,
}

/// How many commits there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct CommitCounts {
    /// Those that the refs reach; absent until the history is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub listed: Option<u64>,
    /// Those of them that were not scanned before; absent until the history is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub unknown: Option<u64>,
    /// Those that this request has scanned.
    #[schemars(with = "i64")]
    pub scanned: u64,
}

impl RepositoryScanStatus {
    /// Whether the request has ended, or was refused: nothing changes any more.
    pub fn is_final(&self) -> bool {
        [COMPLETED, FAILED]
            .iter()
            .any(|kind| find(&self.conditions, kind).is_some_and(|condition| condition.status == "True"))
    }

    /// What to say of a request, after what was said before.
    pub fn of(scan: &model::RepositoryScan, before: &Self, generation: Option<i64>, now: Timestamp) -> Self {
        let (totals, state) = (scan.totals(), scan.state.name());
        let (truth, reason, accepted) = match (&scan.repository, &scan.state) {
            (Some(_), _) => (Truth::True, ACCEPTED, "the controller has taken the request".to_owned()),
            (None, ScanState::Failed { reason }) => (Truth::False, "Refused", reason.clone()),
            (None, _) => (Truth::Unknown, state, "the request is being looked at".to_owned()),
        };
        let message = match &scan.state {
            ScanState::Failed { reason } => reason.clone(),
            ScanState::Cancelled => "the request was cancelled".to_owned(),
            ScanState::Completed => {
                format!("{} commits scanned, {} findings", totals.commits, totals.findings)
            }
            _ => scan.last_error.as_ref().map_or_else(
                || format!("{} of {} batches have ended", totals.ended, totals.batches),
                |error| format!("the last attempt failed and is made again: {error}"),
            ),
        };
        let is_completed = scan.state == ScanState::Completed;
        let end_reason = if truth == Truth::False { reason } else { state };
        let conditions = Conditions::after(&before.conditions, generation, now)
            .with(ACCEPTED, truth, reason, &accepted)
            .with(COMPLETED, is_completed, end_reason, &message)
            .with(FAILED, scan.state.is_terminal() && !is_completed, end_reason, &message);
        let ended = scan.trail.last().filter(|_| scan.state.is_terminal());
        Self {
            observed_generation: generation,
            request_id: Some(scan.id.to_string()),
            repository_id: scan.repository.as_ref().map(ToString::to_string),
            state: Some(state.to_owned()),
            batches: Some(BatchCounts {
                total: totals.batches,
                ended: totals.ended,
                progress: format!("{}/{}", totals.ended, totals.batches),
            }),
            commits: Some(CommitCounts {
                listed: scan.found.as_ref().map(|found| found.commits),
                unknown: scan.found.as_ref().map(|found| found.unknown),
                scanned: totals.commits,
            }),
            findings: Some(totals.findings),
            not_scanned: Some(
                totals.not_scanned + scan.found.as_ref().map_or(0, |found| found.not_scanned.len() as u64),
            ),
            start_time: scan.trail.first().map(|entry| time(entry.at)),
            completion_time: ended.map(|entry| time(entry.at)),
            conditions: conditions.into_vec(),
        }
    }

    /// What to say while it is not known what has become of a request, or of one that has no record.
    pub fn without_record(
        accepted: Truth,
        reason: &str,
        message: &str,
        before: &Self,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Self {
        let is_refused = accepted == Truth::False;
        let conditions = Conditions::after(&before.conditions, generation, now)
            .with(ACCEPTED, accepted, reason, message)
            .with(COMPLETED, false, reason, message)
            .with(FAILED, is_refused, reason, message);
        Self {
            observed_generation: generation,
            state: is_refused.then(|| FAILED.to_owned()),
            conditions: conditions.into_vec(),
            ..before.clone()
        }
    }
}

impl RepositoryScanSpec {
    /// The message that asks for it.
    pub fn message(&self, id: &RequestId, requester: String) -> v1::NewRepositoryScan {
        let priority = match self.priority {
            Priority::Reactive => v1::Priority::Reactive,
            Priority::OnDemand => v1::Priority::OnDemand,
            Priority::Scheduled => v1::Priority::Scheduled,
        };
        v1::NewRepositoryScan {
            request_id: id.to_string(),
            uri: self.uri.clone().unwrap_or_default(),
            repository_id: self.repository_id.clone().unwrap_or_default(),
            refs: self.refs.clone(),
            priority: priority.into(),
            requester,
            verify: self.verify,
            rescan: self.rescan.clone().unwrap_or_default(),
        }
    }
}
