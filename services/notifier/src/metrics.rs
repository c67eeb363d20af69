//! What the notifier counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Told {
    to: String,
    outcome: &'static str,
}

/// Counters of what was sent. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    told: Family<Told, Counter>,
}

impl Metrics {
    /// Makes the metrics readable: `secretscan_notifications_total{to,outcome}`, where `to` is the host of a status or the
    /// name of a channel, and the outcome `sent`, `again` or `undelivered`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Statuses and items of messages sent, by host or channel and outcome";
        registry.register("secretscan_notifications", help, self.told.clone());
    }

    pub(crate) fn count(&self, to: &str, outcome: &'static str, items: usize) {
        let told = Told { to: to.to_owned(), outcome };
        self.told.get_or_create(&told).inc_by(items as u64);
    }
}
