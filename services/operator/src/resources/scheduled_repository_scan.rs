//! `ScheduledRepositoryScan`: a schedule.
#![allow(clippy::duplicated_attributes, reason = "each printer column has the same attributes")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use secretscan_bus::repositories::repository_id;
use secretscan_bus::v1;
use secretscan_model::calendar::parse_jitter;
use secretscan_model::lifecycle::SchedulePlan;
use secretscan_model::{
    self as model, Missed, OnUnknown, RepositoryId, RepositoryUri, ScheduleId, Timestamp, UriPolicy,
};
use serde::{Deserialize, Serialize};

use super::condition::find;
use super::repository_scan::ACCEPTED;
use super::{Condition, Conditions, ID, MAX_URI, NO_PASSWORD, NO_PASSWORD_MESSAGE, Truth, time};
use super::{ONE_REPOSITORY, ONE_REPOSITORY_MESSAGE};

const SUSPENDED: &str = "Suspended";

/// What a schedule is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, CustomResource, KubeSchema)]
#[kube(
    group = "secretscan.dev",
    version = "v1alpha1",
    kind = "ScheduledRepositoryScan",
    namespaced,
    status = "ScheduledRepositoryScanStatus",
    category = "secretscan",
    derive = "PartialEq",
    doc = "Scans of a repository that come by themselves, by a cron pattern. Deleting it deletes the schedule; what was scanned stays so.",
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.uri"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Last Run", type_ = "date", json_path = ".status.lastRun.time"),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.lastRun.state"),
    printcolumn(name = "Next Run", type_ = "string", json_path = ".status.nextRunTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Time Zone", type_ = "string", json_path = ".spec.timeZone", priority = "1"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].message",
        priority = "1"
    )
)]
#[cfg_attr(test, kube(cel))]
#[x_kube(validation = Rule::new(ONE_REPOSITORY).message(ONE_REPOSITORY_MESSAGE))]
#[serde(rename_all = "camelCase")]
pub struct ScheduledRepositoryScanSpec {
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
    /// When: five fields (minute, hour, day of month, month, day of week), six with seconds before them, or a name such as
    /// @daily.
    #[schemars(length(min = 1, max = 256))]
    pub schedule: String,
    /// The time zone that the schedule is read in, such as Europe/Paris.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// Each run is late by up to so much, each by another time: 30s, 10m, 2h.
    #[serde(default = "no_jitter")]
    #[schemars(regex(pattern = "^(0|[0-9]{1,6}[smh])$"))]
    pub jitter: String,
    /// Whether runs are left out for now.
    #[serde(default)]
    pub suspend: bool,
    /// What a run does about commits that are not scanned yet.
    #[serde(default)]
    pub unknown_commits: UnknownCommits,
    /// What becomes of runs that came while no scheduler was there.
    #[serde(default)]
    pub missed_runs: MissedRuns,
}

fn utc() -> String {
    "UTC".into()
}

fn no_jitter() -> String {
    "0".into()
}

/// What a run does about commits that are not scanned yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum UnknownCommits {
    /// Tells of those that no push announced, and scans none.
    Alert,
    /// Scans them.
    Scan,
    /// Both.
    #[default]
    Both,
}

/// What becomes of runs that came while no scheduler was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MissedRuns {
    /// One run makes up for all of them.
    #[default]
    Once,
    /// None is made up for.
    Skip,
}

/// Where a schedule stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduledRepositoryScanStatus {
    /// The generation of the resource that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The id of the schedule, for `secretscan schedule show`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<String>,
    /// The id of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_id: Option<String>,
    /// When the next run comes; absent while runs are suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run_time: Option<Time>,
    /// The run that came last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// What can be said for sure, one of each type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::conditions")]
    pub conditions: Vec<Condition>,
}

/// A run that has come.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// When it came.
    pub time: Time,
    /// Its request; absent when the run was missed and left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The state of its request, or Missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What its request has found so far, summed over batches; findings that were known before among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub findings: Option<u64>,
}

impl ScheduledRepositoryScanStatus {
    /// Why this generation of the resource was refused, if it was: it is not asked for again before there is another.
    pub fn refusal(&self, generation: Option<i64>) -> Option<&str> {
        let accepted = find(&self.conditions, ACCEPTED).filter(|_| self.observed_generation == generation)?;
        (accepted.status == "False").then_some(accepted.message.as_str())
    }

    /// What to say of a schedule and the request of its last run, after what was said before.
    pub fn of(
        schedule: &model::Schedule,
        last: Option<&model::RepositoryScan>,
        before: &Self,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Self {
        let is_suspended = schedule.is_paused;
        let (reason, message) = match is_suspended {
            true => ("Suspended", "no run comes before spec.suspend is false"),
            false => ("Waiting", "the next run comes in its time"),
        };
        let conditions = Conditions::after(&before.conditions, generation, now)
            .with(ACCEPTED, true, ACCEPTED, "the controller has taken the schedule")
            .with(SUSPENDED, is_suspended, reason, message);
        let last_run = schedule.latest().map(|run| LastRun {
            time: time(run.at),
            request_id: run.request.as_ref().map(ToString::to_string),
            state: match (&run.request, last) {
                (None, _) => Some("Missed".to_owned()),
                (Some(_), last) => last.map(|scan| scan.state.name().to_owned()),
            },
            findings: last.map(|scan| scan.totals().findings),
        });
        Self {
            observed_generation: generation,
            schedule_id: Some(schedule.id.to_string()),
            repository_id: Some(schedule.plan.repository.to_string()),
            next_run_time: schedule.due.filter(|_| !is_suspended).map(|due| time(due.at)),
            last_run,
            conditions: conditions.into_vec(),
        }
    }

    /// The same, where what the resource says now was not accepted. What was accepted before goes on.
    #[must_use]
    pub fn not_accepted(
        self,
        accepted: Truth,
        reason: &str,
        message: &str,
        before: &Self,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Self {
        let ours =
            Conditions::after(&before.conditions, generation, now).with(ACCEPTED, accepted, reason, message);
        let others = self.conditions.into_iter().filter(|condition| condition.type_ != ACCEPTED);
        let conditions = ours.into_vec().into_iter().chain(others).collect();
        Self { observed_generation: generation, conditions, ..self }
    }
}

impl ScheduledRepositoryScanSpec {
    /// The message that asks for it.
    pub fn message(&self, id: &ScheduleId, requester: String) -> v1::NewSchedule {
        v1::NewSchedule {
            schedule_id: id.to_string(),
            uri: self.uri.clone().unwrap_or_default(),
            repository_id: self.repository_id.clone().unwrap_or_default(),
            refs: self.refs.clone(),
            cron: self.schedule.clone(),
            time_zone: self.time_zone.clone(),
            jitter: self.jitter.clone(),
            on_unknown: v1::OnUnknown::from(self.on_unknown()).into(),
            missed: v1::Missed::from(self.missed()).into(),
            requester,
        }
    }

    /// What the controller makes of that; `None` where it is sure to refuse it.
    pub fn plan(&self, requester: String) -> Option<SchedulePlan> {
        let repository = match (&self.uri, &self.repository_id) {
            (Some(uri), None) => repository_id(RepositoryUri::parse(uri, UriPolicy::ANY).ok()?.name()),
            (None, Some(id)) => RepositoryId::parse(id).ok()?,
            _ => return None,
        };
        Some(SchedulePlan {
            repository,
            cron: self.schedule.clone(),
            time_zone: self.time_zone.clone(),
            jitter_s: parse_jitter(&self.jitter).ok()?,
            refs: self.refs.clone(),
            on_unknown: self.on_unknown(),
            missed: self.missed(),
            requester,
        })
    }

    fn on_unknown(&self) -> OnUnknown {
        match self.unknown_commits {
            UnknownCommits::Alert => OnUnknown::Alert,
            UnknownCommits::Scan => OnUnknown::Scan,
            UnknownCommits::Both => OnUnknown::Both,
        }
    }

    fn missed(&self) -> Missed {
        match self.missed_runs {
            MissedRuns::Once => Missed::Once,
            MissedRuns::Skip => Missed::Skip,
        }
    }
}
