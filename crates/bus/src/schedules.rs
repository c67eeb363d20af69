//! Schedules: their records, and their timers, which the server keeps.
//!
//! A timer is a message with the header `Nats-Schedule: @at`; when its time has come, the server puts it under the subject
//! that schedulers take work from, where it waits for them. A schedule has one timer at most: a new one takes the place of
//! the old. The decision worth knowing: only the server's clock counts, which the timers go by. The clocks of services may be
//! wrong by minutes.

use async_nats::HeaderMap;
use async_nats::header::{NATS_SCHEDULE, NATS_SCHEDULE_TARGET};
use futures::TryStreamExt;
use prost::Message;
use secretscan_model::lifecycle::{Due, Run, ScheduleEffect, step_schedule};
use secretscan_model::{RepositoryId, Schedule, ScheduleEvent, ScheduleId, Timestamp};
use secretscan_proto::v1;

use crate::metrics::WriteRefusal;
use crate::requests::MAX_RACES;
use crate::{Bus, BusError, fail, topology};

const WHAT: &str = "schedule";

impl Bus {
    /// A schedule.
    ///
    /// # Errors
    /// [`BusError`] when it can't be read.
    pub async fn schedule(&self, id: &ScheduleId) -> Result<Option<Schedule>, BusError> {
        Ok(self.schedules.get(id.as_str()).await?.map(|record| record.value))
    }

    /// All schedules, by a consumer.
    ///
    /// # Errors
    /// [`BusError`] when they can't be read.
    pub async fn schedules(&self) -> Result<Vec<Schedule>, BusError> {
        Ok(self.schedules.list(">").await?.into_iter().map(|(_, schedule)| schedule).collect())
    }

    /// Creates a schedule unless there is one of its id, and sets its timer. Gives the one that there is. Repeats safely.
    ///
    /// # Errors
    /// [`BusError`] when it can't be written.
    pub async fn create_schedule(&self, schedule: &Schedule) -> Result<Schedule, BusError> {
        self.schedules.create(schedule.id.as_str(), schedule).await?;
        fail::point(format_args!("schedule.created"));
        let known = self.apply_schedule(&schedule.id, &ScheduleEvent::Recover).await?;
        known.ok_or_else(|| BusError::Missing { what: WHAT, key: schedule.id.to_string() })
    }

    /// Forgets a schedule; `false` when there is none. Its timer does nothing when it fires.
    ///
    /// # Errors
    /// [`BusError`] when it can't be written.
    pub async fn remove_schedule(&self, id: &ScheduleId) -> Result<bool, BusError> {
        let is_known = self.schedule(id).await?.is_some();
        if is_known {
            self.schedules.purge(id.as_str()).await?;
        }
        Ok(is_known)
    }

    /// Applies an event to a schedule and performs the effects; `None` when there is no such schedule. Repeats safely.
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked, or the schedule can't be read any more.
    pub async fn apply_schedule(
        &self,
        id: &ScheduleId,
        event: &ScheduleEvent,
    ) -> Result<Option<Schedule>, BusError> {
        for _ in 0..MAX_RACES {
            let now = self.server_time().await?;
            let Some(loaded) = self.schedules.get(id.as_str()).await? else { return Ok(None) };
            let step = step_schedule(&loaded.value, event, now)
                .map_err(|source| BusError::Calendar { id: id.to_string(), source })?;
            let schedule = match step.next {
                None => loaded.value,
                Some(next) => {
                    if self.schedules.update(id.as_str(), &next, loaded.revision).await?.is_none() {
                        self.metrics.refused(WHAT, WriteRefusal::RaceLost);
                        continue;
                    }
                    fail::point(format_args!("schedule.{}.written", event.name()));
                    next
                }
            };
            for (index, effect) in step.effects.into_iter().enumerate() {
                self.perform_schedule(&schedule, effect).await?;
                fail::point(format_args!("schedule.{}.performed.{index}", event.name()));
            }
            return Ok(Some(schedule));
        }
        Err(BusError::Contended { key: id.to_string(), attempts: MAX_RACES })
    }

    async fn perform_schedule(&self, schedule: &Schedule, effect: ScheduleEffect) -> Result<(), BusError> {
        match (effect, schedule.due) {
            (ScheduleEffect::Request(run), _) => self.request_run(schedule, &run).await,
            (ScheduleEffect::SetTimer, Some(due)) => self.set_timer(schedule, due).await,
            (ScheduleEffect::SetTimer, None) => Ok(()),
        }
    }

    /// Asks for the scan of a run, once, however often this is called: by the message's id, and by the request's later on.
    async fn request_run(&self, schedule: &Schedule, run: &Run) -> Result<(), BusError> {
        let Some(request) = &run.request else { return Ok(()) };
        let message = v1::ScheduleRun {
            request_id: request.to_string(),
            schedule_id: schedule.id.to_string(),
            run: run.number,
            repository_id: schedule.plan.repository.to_string(),
            refs: schedule.plan.refs.clone(),
            on_unknown: v1::OnUnknown::from(schedule.plan.on_unknown).into(),
            previous_request_id: run.previous.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        self.send(topology::SCHEDULE_RUN.into(), request.to_string(), &message).await
    }

    /// Without a message id: a timer that is gone is set again as it was.
    async fn set_timer(&self, schedule: &Schedule, due: Due) -> Result<(), BusError> {
        let subject = topology::schedule_timer(&schedule.id);
        let failed = |source| BusError::Publish { subject: subject.clone(), source };
        let message = v1::ScheduleTimer { schedule_id: schedule.id.to_string(), run: schedule.next_run };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_SCHEDULE, format!("@at {}", due.at.to_rfc3339()).as_str());
        headers.insert(NATS_SCHEDULE_TARGET, topology::SCHEDULE_DUE);
        let body = message.encode_to_vec().into();
        let sent = self.jetstream.publish_with_headers(subject.clone(), headers, body).await;
        sent.map_err(|error| failed(Box::new(error)))?.await.map_err(|error| failed(Box::new(error)))?;
        Ok(())
    }

    /// Sets the timers again that are gone, such as when somebody has purged their stream; gives how many there were.
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked.
    pub async fn recover_schedules(&self) -> Result<u64, BusError> {
        let now = self.server_time().await?;
        // Before the timers are looked at: one that fires meanwhile is not missed then, and an extra one does no harm.
        let mut waiting = Vec::new();
        self.schedules
            .walk(">", |_, schedule| {
                if let Some(due) = schedule.due.filter(|_| !schedule.is_paused) {
                    waiting.push((schedule.id, due));
                }
            })
            .await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let timers = self.timers().await?;
        let patience = i64::try_from(self.sweep_every().as_millis()).unwrap_or(i64::MAX);
        // What has just fired is in the hands of a scheduler.
        let is_lost = |id: &ScheduleId, due: Due| {
            let is_in_hand = due.at <= now && now.0.saturating_sub(due.at.0) < patience;
            !is_in_hand && !timers.contains(id.as_str())
        };
        let mut lost = 0;
        for (id, due) in waiting {
            if is_lost(&id, due) {
                self.apply_schedule(&id, &ScheduleEvent::Recover).await?;
                lost += 1;
            }
        }
        Ok(lost)
    }

    /// The schedules that have a timer.
    async fn timers(&self) -> Result<std::collections::HashSet<String>, BusError> {
        let failed = |source| BusError::Bucket {
            bucket: topology::SCHEDULES_STREAM.to_owned(),
            action: "listing",
            source,
        };
        let stream = self.jetstream.get_stream_no_info(topology::SCHEDULES_STREAM).await;
        let stream = stream.map_err(|error| failed(Box::new(error)))?;
        let subjects = stream.info_with_subjects(topology::SCHEDULE_TIMERS).await;
        let subjects = subjects.map_err(|error| failed(Box::new(error)))?;
        let prefix = topology::SCHEDULE_TIMERS.trim_end_matches('*');
        subjects
            .map_ok(|(subject, _)| subject.trim_start_matches(prefix).to_owned())
            .try_collect()
            .await
            .map_err(|error| failed(Box::new(error)))
    }

    /// What time it is for the server that keeps the timers.
    ///
    /// # Errors
    /// [`BusError::Time`] when it does not say so.
    pub async fn server_time(&self) -> Result<Timestamp, BusError> {
        #[derive(serde::Deserialize)]
        struct Info {
            ts: String,
        }
        let subject = format!("$JS.API.STREAM.INFO.{}", topology::SCHEDULES_STREAM);
        let failed = |source| BusError::Time { source };
        let answer = self.client.request(subject, "".into()).await;
        let answer = answer.map_err(|error| failed(Box::new(error)))?;
        let info: Info = serde_json::from_slice(&answer.payload).map_err(|error| failed(Box::new(error)))?;
        Timestamp::parse_rfc3339(&info.ts).ok_or_else(|| failed(format!("{:?} is no time", info.ts).into()))
    }

    /// Which commits of a repository people were told of though no push announced them.
    ///
    /// # Errors
    /// [`BusError`] when it can't be read.
    pub async fn alerted(&self, repository: &RepositoryId) -> Result<Option<v1::ToldCommits>, BusError> {
        Ok(self.alerted.get(repository.as_str()).await?.map(|record| record.value))
    }

    /// Tells of commits that no push announced, and then remembers that it was told. Repeats safely.
    ///
    /// # Errors
    /// [`BusError`] when it is not stored.
    pub async fn alert_unknown_commits(
        &self,
        repository: &RepositoryId,
        event: &v1::UnknownCommits,
        told: &v1::ToldCommits,
    ) -> Result<(), BusError> {
        let subject = format!("secretscan.event.alert.unknown-commits.{repository}");
        let message_id = format!("unknown-commits.{}.{}", event.request_id, told.count);
        self.publish(subject, message_id, HeaderMap::new(), crate::requests::json(event).into()).await?;
        fail::point(format_args!("alert.told"));
        self.alerted.put(repository.as_str(), told).await?;
        Ok(())
    }
}
