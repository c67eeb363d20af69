//! What the webhook counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivered {
    source: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSource {
    source: String,
}

/// Counters of deliveries and connections. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    deliveries: Family<Delivered, Counter>,
    seconds: Family<OfSource, Histogram>,
    pub(crate) connections: Gauge,
    pub(crate) refused_connections: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            deliveries: Family::default(),
            // 0.5 ms to about 16 s.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 2.0, 16))),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes the metrics readable: `secretscan_webhook_deliveries_total{source,outcome}`,
    /// `secretscan_webhook_answer_seconds{source}` from the head of a request to its answer,
    /// `secretscan_webhook_connections` and `secretscan_webhook_refused_connections_total`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "secretscan_webhook_deliveries",
            "Requests answered, by source (empty when it is none) and outcome",
            self.deliveries.clone(),
        );
        registry.register_with_unit(
            "secretscan_webhook_answer",
            "Time from the head of a request to its answer, by source",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register(
            "secretscan_webhook_connections",
            "Connections that are open",
            self.connections.clone(),
        );
        registry.register(
            "secretscan_webhook_refused_connections",
            "Connections refused because their address has too many",
            self.refused_connections.clone(),
        );
    }

    /// Counts an answer. A source is a configured one: a client's word would make metrics without end.
    pub(crate) fn answered(&self, source: Option<&str>, outcome: &'static str, elapsed: Duration) {
        let source = source.unwrap_or_default().to_owned();
        self.deliveries.get_or_create(&Delivered { source: source.clone(), outcome }).inc();
        self.seconds.get_or_create(&OfSource { source }).observe(elapsed.as_secs_f64());
    }
}
