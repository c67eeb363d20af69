//! The scheduler: hands waiting requests and batches to agents, late and fairly.
//!
//! It holds what waits in memory, unacknowledged, so nothing is lost when it dies, and decides with the model's pure plan.
//! Any number may run: conditional writes decide. The decision worth knowing: free slots are the slots of living agents
//! minus the unfinished messages of their queue, a number that all schedulers share and that needs no reservation. Two
//! schedulers may overshoot by one, and what is over waits in the queue of the agents.

mod config;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use secretscan_bus::agents::AgentsView;
use secretscan_bus::queue::{Delivery, Verdict};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError, Class, Stop, chain};
use secretscan_model::plan::{Candidate, Rounds};
use secretscan_model::{BatchEvent, BatchKey, IdError, Priority, RepositoryId, RequestId, Role, ScanEvent};
use secretscan_proto::{DecodeError, v1};
use tokio::sync::Notify;

pub use config::{Config, SAMPLE};

/// Messages pulled ahead from each queue. Beyond the pool's bound, which the server keeps, first come, first considered.
const AHEAD: usize = 256;
/// While something waits, the plan is looked at this often even if nothing changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What waits for so many ack deadlines without coming again is in the hands of another scheduler.
const FORGET: u32 = 2;

/// Runs until stopped.
pub async fn run(bus: Bus, stop: Stop) {
    let scheduler = Scheduler {
        agents: AgentsView::new(bus.clone()),
        scans: Pool::new(bus.ack_wait() * FORGET),
        batches: Pool::new(bus.ack_wait() * FORGET),
        bus,
        changed: Notify::new(),
    };
    let scheduler = &scheduler;
    let queues = Priority::ALL.into_iter().flat_map(|priority| {
        [
            scheduler.collect(Queue::QueuedScans(priority), priority, &stop),
            scheduler.collect(Queue::WaitingBatches(priority), priority, &stop),
        ]
    });
    tokio::join!(
        scheduler.agents.keep(&stop, || scheduler.changed.notify_one()),
        futures::future::join_all(queues),
        scheduler.dispatch(&stop),
    );
}

/// What is to be handed out: the same for scans and batches but for the record behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Scan(RequestId),
    Batch(BatchKey),
}

struct Waiting {
    delivery: Delivery,
    priority: Priority,
    repository: RepositoryId,
    since: Instant,
}

struct Pool {
    forget: Duration,
    waiting: Mutex<HashMap<Work, Waiting>>,
    rounds: Mutex<Rounds>,
}

impl Pool {
    fn new(forget: Duration) -> Self {
        Self { forget, waiting: Mutex::default(), rounds: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Work, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what the plan chooses among what is not blocked.
    fn take(&self, blocked: &[Work]) -> Option<(Work, Waiting)> {
        let mut waiting = self.waiting();
        waiting.retain(|_, item| item.since.elapsed() < self.forget);
        let works: Vec<Work> = waiting.keys().cloned().collect();
        let candidates: Vec<Candidate> = works
            .iter()
            .map(|work| {
                let item = &waiting[work];
                Candidate {
                    priority: item.priority,
                    repository: item.repository.clone(),
                    sequence: item.delivery.sequence(),
                    is_blocked: blocked.contains(work),
                }
            })
            .collect();
        let chosen = self.rounds.lock().unwrap_or_else(PoisonError::into_inner).pick(&candidates)?;
        let work = works[chosen].clone();
        let item = waiting.remove(&work)?;
        Some((work, item))
    }
}

/// A message that can't be read.
#[derive(Debug)]
struct Unreadable(String);

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Self {
        Self(chain(&error))
    }
}

impl From<IdError> for Unreadable {
    fn from(error: IdError) -> Self {
        Self(error.to_string())
    }
}

fn read(queue: Queue, delivery: &Delivery) -> Result<(Work, RepositoryId), Unreadable> {
    if let Queue::QueuedScans(_) = queue {
        let reference: v1::RepositoryScanReference = delivery.decode()?;
        let work = Work::Scan(reference.request_id.parse()?);
        Ok((work, reference.repository_id.parse()?))
    } else {
        let reference: v1::CommitBatchReference = delivery.decode()?;
        let key = BatchKey { request: reference.request_id.parse()?, batch: reference.batch_id.parse()? };
        Ok((Work::Batch(key), reference.repository_id.parse()?))
    }
}

struct Scheduler {
    bus: Bus,
    agents: AgentsView,
    scans: Pool,
    batches: Pool,
    changed: Notify,
}

impl Scheduler {
    /// Collects what waits in a queue until stopped.
    async fn collect(&self, queue: Queue, priority: Priority, stop: &Stop) {
        let mut deliveries = std::pin::pin!(self.bus.deliveries(queue, AHEAD, stop));
        while let Some(delivery) = deliveries.next().await {
            match read(queue, &delivery) {
                Ok((work, repository)) => {
                    let pool = match &work {
                        Work::Scan(_) => &self.scans,
                        Work::Batch(_) => &self.batches,
                    };
                    let item = Waiting { delivery, priority, repository, since: Instant::now() };
                    // A redelivery takes the place of what came before: only its acknowledgement counts.
                    pool.waiting().insert(work, item);
                    self.changed.notify_one();
                }
                Err(Unreadable(reason)) => self.settle(&delivery, Verdict::Reject(reason)).await,
            }
        }
    }

    async fn settle(&self, delivery: &Delivery, verdict: Verdict) {
        if let Err(error) = self.bus.settle(delivery, verdict).await {
            tracing::warn!(error = chain(&error), "a message was not settled and will come back");
        }
    }

    /// Hands out what waits, each time something changed, until stopped.
    async fn dispatch(&self, stop: &Stop) {
        loop {
            let is_idle = self.scans.waiting().is_empty() && self.batches.waiting().is_empty();
            let changed = self.changed.notified();
            tokio::select! {
                () = stop.cancelled() => return,
                () = changed => {}
                () = look_again(), if !is_idle => {}
            }
            for (pool, role, queue) in [
                (&self.batches, Role::BatchAgent, Queue::ScheduledBatches),
                (&self.scans, Role::RepoAgent, Queue::ScheduledScans),
            ] {
                if let Err(error) = self.hand_out(pool, role, queue).await {
                    tracing::warn!(error = chain(&error), "handing out stopped for a moment");
                }
            }
        }
    }

    async fn hand_out(&self, pool: &Pool, role: Role, queue: Queue) -> Result<(), BusError> {
        let slots = self.agents.slots(role);
        if slots == 0 || pool.waiting().is_empty() {
            return Ok(());
        }
        let mut free = slots.saturating_sub(self.bus.unfinished(queue).await?);
        let mut blocked = Vec::new();
        while free > 0 {
            let Some((work, item)) = pool.take(&blocked) else { break };
            match self.assign(&work, &item).await {
                Ok(true) => {
                    pool.rounds.lock().unwrap_or_else(PoisonError::into_inner).served(&item.repository);
                    self.settle(&item.delivery, Verdict::Done).await;
                    free -= 1;
                }
                Ok(false) => {
                    blocked.push(work.clone());
                    pool.waiting().entry(work).or_insert(item);
                }
                Err(error) if error.class() == Class::Permanent => {
                    self.settle(&item.delivery, Verdict::Reject(chain(&error))).await;
                }
                // Dropped here, it comes back by itself.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves work to Scheduled; `false` when it must wait for another fetch of its repository.
    async fn assign(&self, work: &Work, item: &Waiting) -> Result<bool, BusError> {
        match work {
            Work::Scan(id) => {
                if !self.bus.hold_fetch(&item.repository, id).await? {
                    return Ok(false);
                }
                let scan = self.bus.apply_scan(id, &[ScanEvent::StartScheduling, ScanEvent::Assign]).await?;
                tracing::debug!(request_id = %id, state = scan.state.name(), "scan handed out");
            }
            Work::Batch(key) => {
                let events = [BatchEvent::StartScheduling, BatchEvent::Assign];
                let batch = self.bus.apply_batch(key, &events).await?;
                tracing::debug!(batch_id = %key, state = batch.state.name(), "batch handed out");
            }
        }
        Ok(true)
    }
}

#[expect(clippy::disallowed_methods, reason = "a look at what waits, in case a change was missed")]
async fn look_again() {
    tokio::time::sleep(LOOK_AGAIN).await;
}
