//! What the bus counts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use secretscan_model::Role;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRole {
    role: &'static str,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WriteRefusal {
    /// The writer's claim is not the current one.
    LeaseLost,
    /// Somebody else wrote first; the writer looks again.
    RaceLost,
}

/// Counters of handled messages, and what the scheduler sees of agents and their work.
#[derive(Clone)]
pub struct BusMetrics {
    handled: Family<Handled, Counter>,
    seconds: Family<OfQueue, Histogram>,
    redelivered: Family<OfQueue, Counter>,
    refused: Family<Refused, Counter>,
    dead_letters: Counter,
    ledger_gaps: Counter,
    agents: Family<OfRole, Gauge>,
    slots: Family<OfRole, Gauge>,
    waiting: Family<OfRole, Gauge>,
    oldest: Family<OfRole, Gauge<f64, AtomicU64>>,
}

impl Default for BusMetrics {
    fn default() -> Self {
        Self {
            handled: Family::default(),
            // 1 ms to about 17 minutes.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 11))),
            redelivered: Family::default(),
            refused: Family::default(),
            dead_letters: Counter::default(),
            ledger_gaps: Counter::default(),
            agents: Family::default(),
            slots: Family::default(),
            waiting: Family::default(),
            oldest: Family::default(),
        }
    }
}

impl BusMetrics {
    /// Makes the metrics readable: `secretscan_messages_total{queue,verdict}`,
    /// `secretscan_message_handling_seconds{queue}`, `secretscan_redeliveries_total{queue}`,
    /// `secretscan_refused_writes_total{record,reason}`, `secretscan_dead_letters_total`, `secretscan_ledger_gaps_total`; and of
    /// the scheduler `secretscan_agents{role}`, `secretscan_agent_slots{role}`, `secretscan_waiting{role}` and
    /// `secretscan_oldest_waiting_seconds{role}`.
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
        registry.register("secretscan_dead_letters", "Dead letters written", self.dead_letters.clone());
        registry.register(
            "secretscan_ledger_gaps",
            "Commits that a ref reaches and that are not scanned, found by `history verify`",
            self.ledger_gaps.clone(),
        );
        self.register_work(registry);
    }

    fn register_work(&self, registry: &mut Registry) {
        registry.register("secretscan_agents", "Living agents, by role", self.agents.clone());
        registry.register("secretscan_agent_slots", "Slots of living agents, by role", self.slots.clone());
        registry.register(
            "secretscan_waiting",
            "What this scheduler holds for agents that have no free slot, by their role",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "secretscan_oldest_waiting",
            "How long the oldest of it has waited, by their role",
            Unit::Seconds,
            self.oldest.clone(),
        );
    }

    /// Says what waits for the agents of a role, and for how long the oldest has.
    pub fn waiting(&self, role: Role, count: usize, oldest: Duration) {
        let role = OfRole { role: role.as_str() };
        self.waiting.get_or_create(&role).set(i64::try_from(count).unwrap_or(i64::MAX));
        self.oldest.get_or_create(&role).set(oldest.as_secs_f64());
    }

    pub(crate) fn agents(&self, role: Role, agents: usize, slots: u64) {
        let role = OfRole { role: role.as_str() };
        self.agents.get_or_create(&role).set(i64::try_from(agents).unwrap_or(i64::MAX));
        self.slots.get_or_create(&role).set(i64::try_from(slots).unwrap_or(i64::MAX));
    }

    pub(crate) fn dead_letter(&self) {
        self.dead_letters.inc();
    }

    pub(crate) fn ledger_gaps(&self, commits: u64) {
        self.ledger_gaps.inc_by(commits);
    }

    pub(crate) fn handled(&self, queue: Queue, delivery: &Delivery, verdict: &Verdict, elapsed: Duration) {
        let verdict = match verdict {
            Verdict::Done => "done",
            Verdict::RetryAfter(_) => "retry",
            Verdict::Reject(_) | Verdict::RejectWithoutBody(_) => "rejected",
            Verdict::Leave => "left",
        };
        let queue = queue.consumer();
        // Told from the first message on, so that there is something to compare with.
        let redelivered = u64::from(delivery.is_redelivered());
        self.redelivered.get_or_create(&OfQueue { queue: queue.clone() }).inc_by(redelivered);
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
