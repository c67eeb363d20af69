//! What the bus counts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use secretscan_model::lifecycle::TrailEntry;
use secretscan_model::{BatchReport, Role};

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
struct OfState {
    kind: &'static str,
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCache {
    cache: &'static str,
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
    requests: Family<OfState, Counter>,
    stages: Family<OfState, Histogram>,
    scanned: Scanned,
    fetches: Family<OfCache, Counter>,
    agents: Family<OfRole, Gauge>,
    slots: Family<OfRole, Gauge>,
    waiting: Family<OfRole, Gauge>,
    oldest: Family<OfRole, Gauge<f64, AtomicU64>>,
}

/// What batch-agents have scanned.
#[derive(Clone, Default)]
struct Scanned {
    commits: Counter,
    blobs: Counter,
    bytes: Counter,
    findings: Counter,
}

/// 1 ms to about 17 minutes.
fn handling_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 11))
}

impl Default for BusMetrics {
    fn default() -> Self {
        Self {
            handled: Family::default(),
            seconds: Family::new_with_constructor(handling_seconds),
            redelivered: Family::default(),
            refused: Family::default(),
            dead_letters: Counter::default(),
            ledger_gaps: Counter::default(),
            requests: Family::default(),
            stages: Family::new_with_constructor(handling_seconds),
            scanned: Scanned::default(),
            fetches: Family::default(),
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
    /// `secretscan_refused_writes_total{record,reason}`, `secretscan_dead_letters_total`, `secretscan_ledger_gaps_total`,
    /// `secretscan_requests_total{kind,state}`, `secretscan_stage_seconds{kind,state}`; of the batch-agent
    /// `secretscan_scanned_commits_total`, `secretscan_scanned_blobs_total`, `secretscan_scanned_bytes_total` and
    /// `secretscan_found_total`; of the repo-agent `secretscan_fetches_total{cache}`; and of the scheduler `secretscan_agents{role}`, `secretscan_agent_slots{role}`, `secretscan_waiting{role}` and
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
        registry.register(
            "secretscan_requests",
            "Requests and batches that this service brought into a state, by kind",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "secretscan_stage",
            "Time that they had been in a state when this service brought them to the next, by kind",
            Unit::Seconds,
            self.stages.clone(),
        );
        self.register_work(registry);
        self.register_agents(registry);
    }

    fn register_agents(&self, registry: &mut Registry) {
        let Scanned { commits, blobs, bytes, findings } = &self.scanned;
        registry.register("secretscan_scanned_commits", "Commits scanned", commits.clone());
        registry.register("secretscan_scanned_blobs", "Contents of files scanned", blobs.clone());
        registry.register_with_unit(
            "secretscan_scanned",
            "Contents scanned, inflated",
            Unit::Bytes,
            bytes.clone(),
        );
        registry.register(
            "secretscan_found",
            "Findings in what was scanned, known ones among them",
            findings.clone(),
        );
        registry.register(
            "secretscan_fetches",
            "Repositories fetched, by whether a mirror was there (hit) or was made (miss)",
            self.fetches.clone(),
        );
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

    /// Counts the states that a record came into, in the order of its trail: all after the first `seen` entries.
    pub(crate) fn stepped(&self, kind: &'static str, trail: &[TrailEntry], seen: usize) {
        for (index, entry) in trail.iter().enumerate().skip(seen) {
            self.requests.get_or_create(&OfState { kind, state: entry.state.clone() }).inc();
            if let Some(before) = index.checked_sub(1).and_then(|index| trail.get(index)) {
                let ms = u32::try_from(entry.at.0 - before.at.0).unwrap_or(0);
                let stage = OfState { kind, state: before.state.clone() };
                self.stages.get_or_create(&stage).observe(f64::from(ms) / 1_000.0);
            }
        }
    }

    /// Counts what a batch-agent has scanned.
    pub fn scanned(&self, report: &BatchReport) {
        self.scanned.commits.inc_by(report.commits);
        self.scanned.blobs.inc_by(report.blobs);
        self.scanned.bytes.inc_by(report.bytes);
        self.scanned.findings.inc_by(report.findings);
    }

    /// Counts a fetch, by whether the mirror was there.
    pub fn fetched(&self, was_there: bool) {
        self.fetches.get_or_create(&OfCache { cache: if was_there { "hit" } else { "miss" } }).inc();
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
        let verdict = verdict.name();
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
