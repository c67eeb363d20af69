//! The scheduler: hands waiting requests and batches to agents, late and fairly; and lets schedules run (`schedules`).
//!
//! It holds what waits in memory, unacknowledged, so nothing is lost when it dies, and decides with the model's pure plan.
//! Any number may run: conditional writes decide. The decision worth knowing: free slots are the slots of living agents
//! minus the unfinished messages of their queue, a number that all schedulers share and that needs no reservation. Two
//! schedulers that look at the same time may both fill them, and what is over waits in the queue of the agents. Each agent
//! takes one piece of urgent work beyond its slots, so that a push never waits for the end of long work.

mod config;
mod schedules;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use secretscan_bus::agents::AgentsView;
use secretscan_bus::queue::{Delivery, Verdict};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError, Class, Stop, chain, now};
use secretscan_model::plan::{Chosen, Line};
use secretscan_model::{BatchEvent, BatchKey, IdError, Priority, RepositoryId, RequestId, Role, ScanEvent};
use secretscan_proto::{DecodeError, v1};
use tokio::sync::Notify;
use tracing::{Instrument, Span};

pub use config::{Config, SAMPLE};

/// Messages pulled ahead from each queue. Beyond the pool's bound, which the server keeps, first come, first considered.
const AHEAD: usize = 256;
/// Handed out at once.
const AT_ONCE: usize = 256;
/// While something waits, the line is looked at this often even if nothing changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A repository that another request fetches is not asked for again before.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// What waits for so many ack deadlines without coming again is in the hands of another scheduler.
const FORGET: u32 = 2;

/// Runs until stopped.
pub async fn run(bus: Bus, stop: Stop) {
    let scheduler = Scheduler {
        agents: AgentsView::new(bus.clone()),
        scans: Pool::new(Role::RepoAgent, Queue::ScheduledScans, bus.ack_wait() * FORGET),
        batches: Pool::new(Role::BatchAgent, Queue::ScheduledBatches, bus.ack_wait() * FORGET),
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
        schedules::keep(&scheduler.bus, &stop),
    );
    scheduler.give_back().await;
}

/// What is to be handed out: the same for scans and batches but for the record behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Scan(RequestId),
    Batch(BatchKey),
}

enum Assigned {
    Done,
    WaitsFor(RequestId),
}

struct Waiting {
    work: Work,
    delivery: Delivery,
    /// From here until it is handed out.
    span: Span,
    since: Instant,
}

/// What waits for the agents of a role.
struct Pool {
    role: Role,
    queue: Queue,
    forget: Duration,
    line: Mutex<Line<Waiting>>,
    /// Repositories that one request alone may fetch.
    blocked: Mutex<HashMap<RepositoryId, Blocked>>,
}

struct Blocked {
    holder: Work,
    asked: Instant,
}

impl Pool {
    fn new(role: Role, queue: Queue, forget: Duration) -> Self {
        let is_exclusive = role == Role::RepoAgent;
        let line = Mutex::new(Line::new(is_exclusive));
        Self { role, queue, forget, line, blocked: Mutex::default() }
    }

    fn line(&self) -> MutexGuard<'_, Line<Waiting>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blocked(&self) -> MutexGuard<'_, HashMap<RepositoryId, Blocked>> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what is to go next, of these urgencies.
    fn take(&self, priorities: &[Priority], count: usize) -> Vec<Chosen<Waiting>> {
        let blocked = self.blocked();
        // A holder may stand behind others of its repository: after a crash, messages come again in any order.
        let may_go = |repository: &RepositoryId, waiting: &Waiting| {
            blocked.get(repository).is_none_or(|blocked| waiting.work == blocked.holder)
        };
        self.line().take_of(priorities, count, may_go)
    }

    /// Puts back what must wait until another request has fetched its repository.
    fn block(&self, chosen: Chosen<Waiting>, holder: RequestId) {
        let blocked = Blocked { holder: Work::Scan(holder), asked: Instant::now() };
        self.blocked().insert(chosen.repository.clone(), blocked);
        self.line().put_back(chosen);
    }

    /// How much waits, and for how long the oldest has.
    fn waiting(&self) -> (usize, Duration) {
        let line = self.line();
        let stored: Vec<i64> = line.works().map(|waiting| waiting.delivery.published_ms()).collect();
        let oldest_ms = stored.iter().min().map_or(0, |stored| now().0.saturating_sub(*stored));
        (stored.len(), Duration::from_millis(u64::try_from(oldest_ms).unwrap_or(0)))
    }

    /// Forgets what others have in hand by now, and which repositories were blocked long enough ago to ask again.
    fn sweep(&self) {
        self.line().retain(|waiting| waiting.since.elapsed() < self.forget);
        self.blocked().retain(|_, blocked| blocked.asked.elapsed() < ASK_AGAIN);
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
                    let sequence = delivery.sequence();
                    let span = delivery.span();
                    let waiting = Waiting { work, delivery, span, since: Instant::now() };
                    // A redelivery takes the place of what came before: only its acknowledgement counts.
                    pool.line().insert(priority, &repository, sequence, waiting);
                    self.changed.notify_one();
                }
                Err(Unreadable(reason)) => self.settle(&delivery, Verdict::Reject(reason)).await,
            }
        }
    }

    /// What waits here is another scheduler's at once, not after its ack deadline.
    async fn give_back(&self) {
        for pool in [&self.scans, &self.batches] {
            let line = std::mem::replace(&mut *pool.line(), Line::new(false));
            let again = Verdict::RetryAfter(Duration::from_millis(1));
            let given = line.works().map(|waiting| self.settle(&waiting.delivery, again.clone()));
            futures::future::join_all(given).await;
        }
    }

    async fn settle(&self, delivery: &Delivery, verdict: Verdict) {
        if let Err(error) = self.bus.settle(delivery, verdict).await {
            tracing::warn!(error = chain(&error), "a message was not settled and will come back");
        }
    }

    /// Hands out what waits, each time something changed, until stopped.
    async fn dispatch(&self, stop: &Stop) {
        let mut swept = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = self.look_again() => {}
            }
            let is_due = swept.elapsed() >= ASK_AGAIN;
            if is_due {
                swept = Instant::now();
            }
            for pool in [&self.batches, &self.scans] {
                if is_due {
                    pool.sweep();
                }
                if let Err(error) = self.hand_out(pool).await {
                    tracing::warn!(error = chain(&error), "handing out stopped for a moment");
                }
                if is_due {
                    let (count, oldest) = pool.waiting();
                    self.bus.metrics().waiting(pool.role, count, oldest);
                }
            }
        }
    }

    async fn hand_out(&self, pool: &Pool) -> Result<(), BusError> {
        let slots = self.agents.slots(pool.role);
        if slots == 0 || pool.line().is_empty() {
            return Ok(());
        }
        let mut taken = self.bus.unfinished(pool.queue).await?;
        // What is urgent may go beyond the slots.
        let express = slots + self.agents.express(pool.role);
        for (priorities, places) in [(&Priority::ALL[..], slots), (&[Priority::Reactive], express)] {
            while taken < places {
                let free = usize::try_from(places - taken).unwrap_or(usize::MAX);
                let chosen = pool.take(priorities, free.min(AT_ONCE));
                if chosen.is_empty() {
                    break;
                }
                let handed = chosen.into_iter().map(|chosen| self.hand_out_one(pool, chosen));
                for is_out in futures::future::join_all(handed).await {
                    taken += u64::from(is_out?);
                }
            }
        }
        Ok(())
    }

    /// Whether it took a slot.
    async fn hand_out_one(&self, pool: &Pool, chosen: Chosen<Waiting>) -> Result<bool, BusError> {
        let Waiting { work, delivery, span, .. } = &chosen.work;
        match self.assign(work, &chosen.repository).instrument(span.clone()).await {
            Ok(Assigned::Done) => {
                self.settle(delivery, Verdict::Done).await;
                Ok(true)
            }
            Ok(Assigned::WaitsFor(holder)) => {
                pool.block(chosen, holder);
                Ok(false)
            }
            Err(error) if error.class() == Class::Permanent => {
                self.settle(delivery, Verdict::Reject(chain(&error))).await;
                Ok(false)
            }
            // Dropped here, it comes back by itself.
            Err(error) => Err(error),
        }
    }

    /// Moves work to Scheduled, if no other request fetches its repository.
    async fn assign(&self, work: &Work, repository: &RepositoryId) -> Result<Assigned, BusError> {
        match work {
            Work::Scan(id) => {
                let holder = self.bus.hold_fetch(repository, id).await?;
                if holder != *id {
                    return Ok(Assigned::WaitsFor(holder));
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
        Ok(Assigned::Done)
    }

    /// In case a change was missed, or a repository is free again; never when nothing waits.
    #[expect(clippy::disallowed_methods, reason = "a look at what waits")]
    async fn look_again(&self) {
        let is_idle = self.scans.line().is_empty() && self.batches.line().is_empty();
        let is_any_blocked = !self.scans.blocked().is_empty();
        match (is_idle, is_any_blocked) {
            (true, _) => std::future::pending().await,
            (false, true) => tokio::time::sleep(ASK_AGAIN).await,
            (false, false) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}
