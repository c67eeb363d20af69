//! Schedules.

use secretscan_bus::repositories::repository_id;
use secretscan_bus::v1;
use secretscan_model::lifecycle::{Missed, OnUnknown};
use secretscan_model::{Schedule, ScheduleId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::requests::Target;
use super::{ActionError, Actions, Attempt, Done, accepted, check_uri};
use crate::auth::Role;

/// A schedule to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSchedule {
    /// Its id; one is made when absent.
    pub id: Option<ScheduleId>,
    /// What is scanned.
    pub target: Target,
    /// Full names of refs; all when empty.
    pub refs: Vec<String>,
    /// When, and how.
    pub plan: Plan,
}

/// When a schedule runs, and what its runs do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When: five fields, six with seconds before them, or a name such as `@daily`.
    pub cron: String,
    /// In which time zone, by its name; UTC when empty.
    pub time_zone: String,
    /// How late each run may be: `30s`, `10m`, `2h`; empty for not at all.
    pub jitter: String,
    /// What a run does about unknown commits.
    pub on_unknown: OnUnknown,
    /// What becomes of runs that nobody was there to make.
    pub missed: Missed,
}

/// What can be asked of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleChange {
    /// To leave out its runs.
    Pause,
    /// To make them again.
    Resume,
    /// To go for good.
    Remove,
    /// To run now, out of turn.
    RunNow,
}

impl ScheduleChange {
    fn action(self) -> &'static str {
        match self {
            Self::Pause => "schedule-pause",
            Self::Resume => "schedule-resume",
            Self::Remove => "schedule-remove",
            Self::RunNow => "schedule-run-now",
        }
    }

    fn message(self) -> v1::ScheduleAction {
        match self {
            Self::Pause => v1::ScheduleAction::Pause,
            Self::Resume => v1::ScheduleAction::Resume,
            Self::Remove => v1::ScheduleAction::Remove,
            Self::RunNow => v1::ScheduleAction::RunNow,
        }
    }
}

impl Actions<'_> {
    /// Makes a schedule; gives its id.
    ///
    /// # Errors
    /// [`ActionError`] says why not.
    pub async fn create_schedule(&self, new: &NewSchedule) -> Result<ScheduleId, ActionError> {
        let made = || Uuid::now_v7().to_string().parse().expect("a UUID is an id");
        let id: ScheduleId = new.id.clone().unwrap_or_else(made);
        let plan = &new.plan;
        let mut message = v1::NewSchedule {
            schedule_id: id.to_string(),
            refs: new.refs.clone(),
            cron: plan.cron.clone(),
            time_zone: plan.time_zone.clone(),
            jitter: plan.jitter.clone(),
            on_unknown: v1::OnUnknown::from(plan.on_unknown).into(),
            missed: v1::Missed::from(plan.missed).into(),
            requester: self.actor.name.clone(),
            ..v1::NewSchedule::default()
        };
        let repository = match &new.target {
            Target::Uri(uri) => {
                uri.trim().clone_into(&mut message.uri);
                repository_id(check_uri(uri)?.name())
            }
            Target::Repository(id) => {
                message.repository_id = id.to_string();
                id.clone()
            }
        };
        let attempt = Attempt::new("schedule-create", id.as_str(), Role::Admin).of(Some(&repository));
        self.audited(attempt, async || {
            if self.app.bus.schedule(&id).await?.is_some() {
                return Err(ActionError::Refused(format!(
                    "there is a schedule {id} already; choose another id"
                )));
            }
            accepted(self.app.bus.request_schedule(&message).await?)?;
            let after = format!("{} {}", plan.cron, plan.time_zone).trim().to_owned();
            Ok(Done { value: id.clone(), before: String::new(), after })
        })
        .await
    }

    /// A schedule, if it is in the scope.
    ///
    /// # Errors
    /// [`ActionError::Missing`] when there is none.
    pub async fn schedule(&self, id: &ScheduleId) -> Result<Schedule, ActionError> {
        let schedule = self.app.bus.schedule(id).await?;
        let schedule = schedule.filter(|schedule| self.actor.scope.holds(&schedule.plan.repository));
        schedule.ok_or_else(|| ActionError::Missing { what: "schedule", id: id.to_string() })
    }

    /// Asks something of a schedule.
    ///
    /// # Errors
    /// [`ActionError`] says why not.
    pub async fn change_schedule(&self, id: &ScheduleId, change: ScheduleChange) -> Result<(), ActionError> {
        let schedule = self.schedule(id).await?;
        let repository = Some(&schedule.plan.repository);
        let attempt = Attempt::new(change.action(), id.as_str(), Role::Admin).of(repository);
        self.audited(attempt, async || {
            let message = v1::ChangeSchedule {
                schedule_id: id.to_string(),
                action: change.message().into(),
                requester: self.actor.name.clone(),
                replacement: None,
            };
            accepted(self.app.bus.change_schedule(&message).await?)?;
            let before = if schedule.is_paused { "paused" } else { "active" };
            Ok(Done { value: (), before: before.into(), after: change.action().replace("schedule-", "") })
        })
        .await
    }
}
