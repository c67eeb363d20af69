//! A `ScheduledRepositoryScan` and its schedule.

use kube::Resource;
use kube::api::ObjectMeta;
use secretscan_bus::door::AskError;
use secretscan_bus::topology::{REQUESTS, SCHEDULES};
use secretscan_bus::{Bus, now, v1};
use secretscan_model::lifecycle::SchedulePlan;
use secretscan_model::{Schedule, ScheduleId};

use crate::ids::{requester, schedule_id};
use crate::reconcile::{Error, Kind, Observed, Writer};
use crate::resources::{ScheduledRepositoryScan, ScheduledRepositoryScanStatus, Truth};

impl Kind for ScheduledRepositoryScan {
    type Status = ScheduledRepositoryScanStatus;
    const BUCKETS: &'static [&'static str] = &[SCHEDULES, REQUESTS];

    fn status(&self) -> Option<&ScheduledRepositoryScanStatus> {
        self.status.as_ref()
    }

    fn with_status(mut self, status: ScheduledRepositoryScanStatus) -> Self {
        self.status = Some(status);
        self
    }

    fn is_final(&self) -> bool {
        false
    }

    async fn observe(
        &self,
        bus: &Bus,
        writer: &Writer<'_, Self>,
    ) -> Result<Observed<ScheduledRepositoryScanStatus>, Error> {
        let id = schedule_id(self.meta())?;
        let (before, generation) = (self.status.clone().unwrap_or_default(), self.meta().generation);
        let known = bus.schedule(&id).await?;
        let answer = match before.refusal(generation) {
            Some(refusal) => Ok(Some(refusal.to_owned())),
            None if self.is_as_wanted(known.as_ref()) => Ok(None),
            None => {
                writer.is_current().await?;
                self.ask(&id, known.as_ref(), bus).await
            }
        };
        let schedule = bus.schedule(&id).await?;
        let seen = match &schedule {
            Some(schedule) => {
                let last = match schedule.latest().and_then(|run| run.request.as_ref()) {
                    Some(request) => bus.scan(request).await?,
                    None => None,
                };
                ScheduledRepositoryScanStatus::of(schedule, last.as_ref(), &before, generation, now())
            }
            None => before.clone(),
        };
        let not = |accepted, reason, message: &str| {
            seen.clone().not_accepted(accepted, reason, message, &before, generation, now())
        };
        Ok(match answer {
            // Somebody has removed it in between: the next look makes it again.
            Ok(Some(_)) if known.is_some() && schedule.is_none() => {
                Observed { status: before, trouble: None }
            }
            Ok(Some(refusal)) => Observed { status: not(Truth::False, "Refused", &refusal), trouble: None },
            Ok(None) => Observed { status: seen, trouble: None },
            Err(error) => {
                Observed { status: not(Truth::Unknown, "NoAnswer", &error.to_string()), trouble: Some(error) }
            }
        })
    }

    async fn release(meta: &ObjectMeta, resource: Option<&Self>, bus: &Bus) -> Result<(), Error> {
        let id = schedule_id(meta)?;
        if bus.schedule(&id).await?.is_none()
            && let Some(resource) = resource
        {
            // It may have been asked for without an answer, and would be made later. What is asked for twice is made once.
            bus.request_schedule(&resource.message(&id)).await?;
        }
        if bus.schedule(&id).await?.is_some() {
            // A refusal says that it is gone.
            change(&id, meta, v1::ScheduleAction::Remove, None, bus).await?;
        }
        Ok(())
    }
}

impl ScheduledRepositoryScan {
    fn message(&self, id: &ScheduleId) -> v1::NewSchedule {
        self.spec.message(id, requester(self.meta()))
    }

    fn plan(&self) -> Option<SchedulePlan> {
        self.spec.plan(requester(self.meta()))
    }

    fn is_as_wanted(&self, known: Option<&Schedule>) -> bool {
        known.is_some_and(|known| {
            known.is_paused == self.spec.suspend && Some(&known.plan) == self.plan().as_ref()
        })
    }

    /// Asks for what differs from what there is; gives why it is refused.
    async fn ask(
        &self,
        id: &ScheduleId,
        known: Option<&Schedule>,
        bus: &Bus,
    ) -> Result<Option<String>, AskError> {
        use v1::ScheduleAction as Action;
        let meta = self.meta();
        let answer = match known {
            Some(known) if Some(&known.plan) == self.plan().as_ref() => None,
            Some(_) => Some(change(id, meta, Action::Replace, Some(self.message(id)), bus).await?),
            None => Some(bus.request_schedule(&self.message(id)).await?),
        };
        if let Some(refusal) = answer.map(|answer| answer.error).filter(|error| !error.is_empty()) {
            return Ok(Some(refusal));
        }
        let action = match (known.is_some_and(|known| known.is_paused), self.spec.suspend) {
            (false, true) => Action::Pause,
            (true, false) => Action::Resume,
            (true, true) | (false, false) => return Ok(None),
        };
        let answer = change(id, meta, action, None, bus).await?;
        Ok(Some(answer.error).filter(|error| !error.is_empty()))
    }
}

async fn change(
    id: &ScheduleId,
    meta: &ObjectMeta,
    action: v1::ScheduleAction,
    replacement: Option<v1::NewSchedule>,
    bus: &Bus,
) -> Result<v1::Answer, AskError> {
    let (schedule_id, requester) = (id.to_string(), requester(meta));
    let change = v1::ChangeSchedule { schedule_id, action: action.into(), requester, replacement };
    bus.change_schedule(&change).await
}
