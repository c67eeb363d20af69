//! Schedules: the door for new ones and for what is asked of them, and the scans that their runs ask for.

use std::sync::Arc;

use secretscan_bus::queue::{Delivery, Verdict};
use secretscan_bus::topology::Queue;
use secretscan_bus::{BusError, Stop, chain};
use secretscan_model::calendar::parse_jitter;
use secretscan_model::lifecycle::SchedulePlan;
use secretscan_model::{
    IdError, RepositoryId, RequestId, ScanEvent, ScanState, Schedule, ScheduleEvent, ScheduleId, ScheduledRun,
};
use secretscan_proto::v1::{self, ScheduleAction};

use crate::{Asked, CONCURRENCY, Controller, Refusal, Trouble, made_id, settled};

fn refused(error: impl std::fmt::Display) -> Refusal {
    Refusal::from(error.to_string())
}

fn of_enum<E: TryFrom<i32>>(field: &str, number: i32) -> Result<E, Refusal> {
    E::try_from(number).map_err(|_| Refusal::from(format!("{field}: there is no {number}")))
}

impl Controller {
    /// Works until stopped.
    pub(crate) async fn schedules(&self, stop: &Stop) {
        let bus = &self.bus;
        tokio::join!(
            bus.work_ahead(Queue::NewSchedules, CONCURRENCY, stop, |delivery| self.new_schedule(delivery)),
            bus.work_ahead(Queue::ScheduleChanges, CONCURRENCY, stop, |delivery| self
                .change_schedule(delivery)),
            bus.work_ahead(Queue::ScheduleRuns, CONCURRENCY, stop, |delivery| self.scheduled_run(delivery)),
        );
    }

    async fn new_schedule(&self, delivery: Arc<Delivery>) -> Verdict {
        let made = self.try_new_schedule(&delivery).await.map(|schedule| v1::Answer {
            schedule_id: schedule.id.to_string(),
            repository_id: schedule.plan.repository.to_string(),
            ..v1::Answer::default()
        });
        self.answered(&delivery, made).await
    }

    async fn change_schedule(&self, delivery: Arc<Delivery>) -> Verdict {
        let changed = self.try_change_schedule(&delivery).await;
        self.answered(&delivery, changed).await
    }

    async fn try_new_schedule(&self, delivery: &Delivery) -> Result<Schedule, Trouble> {
        self.check_size(delivery)?;
        let new: v1::NewSchedule = delivery.decode_strictly().map_err(|error| refused(chain(&error)))?;
        let given = match new.schedule_id.as_str() {
            "" => delivery.message_id().map(str::to_owned),
            id => Some(id.to_owned()),
        };
        let id = given.unwrap_or_else(|| made_id(delivery).to_string());
        let id = ScheduleId::parse(&id).map_err(refused)?;
        let schedule = self.planned(id.clone(), &new).await?;
        let known = self.bus.create_schedule(&schedule).await?;
        if known.plan != schedule.plan {
            let reason =
                format!("there is another schedule {id}; remove it first, or give another scheduleId");
            return Err(Refusal::from(reason).into());
        }
        tracing::info!(schedule_id = %id, repo = %known.plan.repository, cron = known.plan.cron, "scheduled");
        Ok(known)
    }

    /// The schedule that is asked for, whose repository is known from then on. What is refused leaves nothing.
    async fn planned(&self, id: ScheduleId, new: &v1::NewSchedule) -> Result<Schedule, Trouble> {
        let asked = Asked {
            uri: &new.uri,
            repository_id: &new.repository_id,
            refs: &new.refs,
            requester: &new.requester,
        };
        let uri = self.uri_of(self.check(&asked)?).await?;
        let plan = SchedulePlan {
            repository: secretscan_bus::repositories::repository_id(uri.name()),
            cron: new.cron.clone(),
            time_zone: new.time_zone.clone(),
            jitter_s: parse_jitter(&new.jitter).map_err(refused)?,
            refs: new.refs.clone(),
            on_unknown: of_enum::<v1::OnUnknown>("onUnknown", new.on_unknown)?.into(),
            missed: of_enum::<v1::Missed>("missed", new.missed)?.into(),
            requester: new.requester.clone(),
        };
        let schedule = Schedule::new(id, plan, self.bus.server_time().await?).map_err(refused)?;
        self.bus.know_repository(&uri).await?;
        Ok(schedule)
    }

    async fn try_change_schedule(&self, delivery: &Delivery) -> Result<v1::Answer, Trouble> {
        self.check_size(delivery)?;
        let change: v1::ChangeSchedule =
            delivery.decode_strictly().map_err(|error| refused(chain(&error)))?;
        let id = ScheduleId::parse(&change.schedule_id).map_err(refused)?;
        let mut answer = v1::Answer { schedule_id: id.to_string(), ..v1::Answer::default() };
        let event = match of_enum::<ScheduleAction>("action", change.action)? {
            ScheduleAction::Unspecified => {
                let actions = "PAUSE, RESUME, REMOVE, RUN_NOW or REPLACE, with SCHEDULE_ACTION_ before it";
                return Err(Refusal::from(format!("no action is given; give {actions}")).into());
            }
            ScheduleAction::Remove => None,
            ScheduleAction::Pause => Some(ScheduleEvent::Pause),
            ScheduleAction::Resume => Some(ScheduleEvent::Resume),
            ScheduleAction::RunNow => {
                let request = made_id(delivery);
                answer.request_id = request.to_string();
                Some(ScheduleEvent::RunNow { request })
            }
            ScheduleAction::Replace => {
                Some(ScheduleEvent::Replace { plan: self.replacement(&id, &change).await? })
            }
        };
        let action = event.as_ref().map_or("Remove", ScheduleEvent::name);
        let is_known = match event {
            Some(event) => self.bus.apply_schedule(&id, &event).await?.is_some(),
            // Again: a crash may have come between the removal and the answer.
            None => self.bus.remove_schedule(&id).await? || delivery.is_redelivered(),
        };
        if !is_known {
            return Err(Refusal::from(format!("there is no schedule {id}")).into());
        }
        tracing::info!(schedule_id = %id, action, by = change.requester, "schedule changed");
        Ok(answer)
    }

    async fn replacement(
        &self,
        id: &ScheduleId,
        change: &v1::ChangeSchedule,
    ) -> Result<SchedulePlan, Trouble> {
        let given = change.replacement.as_ref();
        let new = given.ok_or_else(|| refused("no replacement is given"))?;
        if self.bus.schedule(id).await?.is_none() {
            return Err(refused(format!("there is no schedule {id}")).into());
        }
        Ok(self.planned(id.clone(), new).await?.plan)
    }

    /// The run of a schedule becomes a request.
    async fn scheduled_run(&self, delivery: Arc<Delivery>) -> Verdict {
        settled(self.try_scheduled_run(&delivery).await)
    }

    async fn try_scheduled_run(&self, delivery: &Delivery) -> Result<(), Trouble> {
        let run: v1::ScheduleRun = delivery.decode().map_err(|error| refused(chain(&error)))?;
        let wrong = |error: IdError| refused(error);
        let id = RequestId::parse(&run.request_id).map_err(wrong)?;
        let repository = RepositoryId::parse(&run.repository_id).map_err(wrong)?;
        let previous = match run.previous_request_id.as_str() {
            "" => None,
            previous => Some(RequestId::parse(previous).map_err(wrong)?),
        };
        let scheduled = ScheduledRun {
            schedule: ScheduleId::parse(&run.schedule_id).map_err(wrong)?,
            run: run.run,
            on_unknown: of_enum::<v1::OnUnknown>("onUnknown", run.on_unknown)?.into(),
            previous,
        };
        let events = match self.bus.repository(&repository).await? {
            None => vec![refuse(format!("there is no repository {repository}"))],
            Some(known) => match self.parse_uri(&known.uri) {
                Ok(uri) => vec![
                    ScanEvent::StartValidation,
                    ScanEvent::Accept { repository, uri: uri.fetch().to_owned() },
                ],
                // The policy is another by now.
                Err(refusal) => vec![refuse(refusal.reason)],
            },
        };
        match self.bus.create_scheduled_scan(&id, run.refs, scheduled, &events).await {
            // It was made before, and goes on.
            Err(BusError::Step(_)) => Ok(()),
            made => match made?.state {
                ScanState::Failed { reason } if events.len() == 1 => Err(Refusal::from(reason).into()),
                state => {
                    let (schedule_id, state) = (run.schedule_id, state.name());
                    tracing::info!(request_id = %id, schedule_id, run = run.run, state, "a run was asked for");
                    Ok(())
                }
            },
        }
    }
}

fn refuse(reason: String) -> ScanEvent {
    ScanEvent::Refuse { reason }
}
