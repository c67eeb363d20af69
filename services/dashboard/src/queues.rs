//! What is in the queues between the services.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// So long nobody asks the server again: each open page would.
const KEPT: Duration = Duration::from_secs(1);

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// What is in it, for people.
    pub holds: String,
    /// Messages that nobody has finished: waiting, and in hand.
    pub unfinished: u64,
    /// Since when the oldest of them is there; absent when it is empty.
    pub oldest: Option<String>,
}

/// The queues as they were a moment ago.
#[derive(Default)]
pub struct Queues(Mutex<Option<(Instant, Arc<[QueueView]>)>>);

impl Queues {
    /// All queues.
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked.
    pub async fn read(&self, bus: &Bus) -> Result<Arc<[QueueView]>, BusError> {
        let mut kept = self.0.lock().await;
        if let Some((_, queues)) = kept.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(queues.clone());
        }
        let queues: Arc<[QueueView]> =
            try_join_all(Queue::all().into_iter().map(|queue| view(bus, queue))).await?.into();
        *kept = Some((Instant::now(), queues.clone()));
        Ok(queues)
    }
}

async fn view(bus: &Bus, queue: Queue) -> Result<QueueView, BusError> {
    let unfinished = bus.unfinished(queue).await?;
    // The streams of events and dead letters keep what was read.
    let oldest = match unfinished > 0 && queue.is_work() {
        true => bus.oldest_unfinished(queue).await?.map(|at| at.to_rfc3339()),
        false => None,
    };
    Ok(QueueView { name: queue.consumer(), holds: queue.holds(), unfinished, oldest })
}
