//! What the bus counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::queue::{Delivery, Verdict};
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    record: &'static str,
    reason: &'static str,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WriteRefusal {
    /// The writer's claim is not the current one.
    LeaseLost,
    /// Somebody else wrote first; the writer looks again.
    RaceLost,
}

/// Counters of handled messages.
#[derive(Clone)]
pub struct BusMetrics {
    handled: Family<Handled, Counter>,
    seconds: Family<OfQueue, Histogram>,
    redelivered: Family<OfQueue, Counter>,
    refused: Family<Refused, Counter>,
}

impl Default for BusMetrics {
    fn default() -> Self {
        Self {
            handled: Family::default(),
            // 1 ms to about 17 minutes.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 11))),
            redelivered: Family::default(),
            refused: Family::default(),
        }
    }
}

impl BusMetrics {
    /// Makes the metrics readable: `secretscan_messages_total{queue,verdict}`,
    /// `secretscan_message_handling_seconds{queue}`, `secretscan_redeliveries_total{queue}` and
    /// `secretscan_refused_writes_total{record,reason}`.
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
        registry.register(
            "secretscan_redeliveries",
            "Messages handled that had been delivered before, by queue",
            self.redelivered.clone(),
        );
        registry.register(
            "secretscan_refused_writes",
            "Writes refused because the claim was lost, or because another wrote first",
            self.refused.clone(),
        );
    }

    pub(crate) fn handled(&self, queue: Queue, delivery: &Delivery, verdict: &Verdict, elapsed: Duration) {
        let verdict = match verdict {
            Verdict::Done => "done",
            Verdict::RetryAfter(_) => "retry",
            Verdict::Reject(_) | Verdict::RejectWithoutBody(_) => "rejected",
            Verdict::Leave => "left",
        };
        let queue = queue.consumer();
        if delivery.is_redelivered() {
            self.redelivered.get_or_create(&OfQueue { queue: queue.clone() }).inc();
        }
        self.handled.get_or_create(&Handled { queue: queue.clone(), verdict }).inc();
        self.seconds.get_or_create(&OfQueue { queue }).observe(elapsed.as_secs_f64());
    }

    pub(crate) fn refused(&self, record: &'static str, reason: WriteRefusal) {
        let reason = match reason {
            WriteRefusal::LeaseLost => "lease-lost",
            WriteRefusal::RaceLost => "race-lost",
        };
        self.refused.get_or_create(&Refused { record, reason }).inc();
    }
}
