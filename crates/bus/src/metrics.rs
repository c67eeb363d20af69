//! What the bus counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::queue::Verdict;
use crate::topology::Queue;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    queue: String,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: String,
}

/// Counters of handled messages.
#[derive(Clone)]
pub struct BusMetrics {
    handled: Family<Handled, Counter>,
    seconds: Family<OfQueue, Histogram>,
}

impl Default for BusMetrics {
    fn default() -> Self {
        Self {
            handled: Family::default(),
            // 1 ms to about 17 minutes.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 11))),
        }
    }
}

impl BusMetrics {
    /// Makes the metrics readable: `secretscan_messages_total{queue,verdict}` and
    /// `secretscan_message_handling_seconds{queue}`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "secretscan_messages",
            "Messages handled, by queue and verdict",
            self.handled.clone(),
        );
        registry.register_with_unit(
            "secretscan_message_handling",
            "Time from delivery to verdict, by queue",
            Unit::Seconds,
            self.seconds.clone(),
        );
    }

    pub(crate) fn handled(&self, queue: Queue, verdict: &Verdict, elapsed: Duration) {
        let verdict = match verdict {
            Verdict::Done => "done",
            Verdict::RetryAfter(_) => "retry",
            Verdict::Reject(_) | Verdict::RejectWithoutBody(_) => "rejected",
            Verdict::Leave => "left",
        };
        let queue = queue.consumer();
        self.handled.get_or_create(&Handled { queue: queue.clone(), verdict }).inc();
        self.seconds.get_or_create(&OfQueue { queue }).observe(elapsed.as_secs_f64());
    }
}
