//! Runs of schedules: what a timer that fired brings about.
//!
//! The server keeps the timers, and what fired waits in a queue until a scheduler is there. Any number may take it: the record
//! of the schedule is written on condition.

use std::sync::Arc;

use secretscan_bus::queue::{Delivery, RETRY_AFTER, Verdict};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError, Class, Stop, chain};
use secretscan_model::{ScheduleEvent, ScheduleId};
use secretscan_proto::v1;

/// Timers handled at once.
const CONCURRENCY: usize = 64;

/// Lets schedules run until stopped, and looks now and then for timers that are gone.
pub(crate) async fn keep(bus: &Bus, stop: &Stop) {
    tokio::join!(
        bus.work_ahead(Queue::DueSchedules, CONCURRENCY, stop, |delivery| fire(bus, delivery)),
        recover(bus, stop),
    );
}

async fn fire(bus: &Bus, delivery: Arc<Delivery>) -> Verdict {
    let timer = match delivery.decode::<v1::ScheduleTimer>() {
        Ok(timer) => timer,
        Err(error) => return Verdict::Reject(chain(&error)),
    };
    let id = match ScheduleId::parse(&timer.schedule_id) {
        Ok(id) => id,
        Err(error) => return Verdict::Reject(error.to_string()),
    };
    match bus.apply_schedule(&id, &ScheduleEvent::Fire { run: timer.run }).await {
        Ok(schedule) => {
            let is_known = schedule.is_some();
            tracing::debug!(schedule_id = %id, run = timer.run, is_known, "a timer fired");
            Verdict::Done
        }
        Err(error) => verdict(&error),
    }
}

fn verdict(error: &BusError) -> Verdict {
    match error.class() {
        Class::Transient | Class::LeaseLost => {
            tracing::warn!(error = chain(error), "trying again");
            Verdict::RetryAfter(RETRY_AFTER)
        }
        Class::Permanent => Verdict::Reject(chain(error)),
    }
}

async fn recover(bus: &Bus, stop: &Stop) {
    let mut looks = tokio::time::interval(bus.sweep_every());
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stop.cancelled() => return,
        }
        match bus.recover_schedules().await {
            Ok(0) => {}
            Ok(lost) => tracing::warn!(lost, "timers of schedules were gone and are set again"),
            Err(error) => tracing::warn!(error = chain(&error), "timers were not looked through"),
        }
    }
}
