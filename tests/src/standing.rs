//! Where requests, their batches and the queues stand: for whoever waits for them, and for whoever looks for the cause.

use std::time::Duration;

use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, chain};
use secretscan_model::{RepositoryScan, RequestId};
use secretscan_testkit::eventually;
use tokio::time::timeout;

/// Waits until a request has ended.
///
/// # Panics
/// When it takes longer than the deadline; the message says where all stands.
pub async fn ended(bus: &Bus, id: &RequestId, deadline: Duration) -> RepositoryScan {
    // `eventually` must not end first: it can't say where all stands.
    let ended = eventually(deadline * 2, "the request has ended", async || {
        bus.scan(id).await.ok().flatten().filter(|scan| scan.state.is_terminal())
    });
    match timeout(deadline, ended).await {
        Ok(scan) => scan,
        Err(_) => panic!("request {id} has not ended within {deadline:?}\n{}", where_all_stands(bus).await),
    }
}

/// A request's record, as it is stored.
pub(crate) fn standing(scan: &RepositoryScan) -> String {
    serde_json::to_string(scan).unwrap_or_default()
}

/// Every record that has not ended, and how many messages each queue holds: for whoever looks for the cause.
pub(crate) async fn where_all_stands(bus: &Bus) -> String {
    let mut lines = Vec::new();
    for scan in bus.scans().await.unwrap_or_default() {
        if scan.state.is_terminal() {
            continue;
        }
        for batch in bus.batches_of(&scan.id).await.unwrap_or_default() {
            if !Bus::has_ended(&batch) {
                lines.push(format!("batch {}", serde_json::to_string(&batch).unwrap_or_default()));
            }
        }
        lines.push(format!("request {}", standing(&scan)));
    }
    for queue in Queue::all().into_iter().filter(|queue| queue.is_work()) {
        let count = match bus.unfinished(queue).await {
            Ok(count) => count.to_string(),
            Err(error) => chain(&error),
        };
        lines.push(format!("queue {}: {count}", queue.consumer()));
    }
    lines.join("\n")
}
