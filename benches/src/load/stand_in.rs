//! Agents that do all that a repo-agent does, but for Git: they announce themselves, pull, claim, list and settle.

use std::sync::Arc;

use secretscan_bus::access::Identity;
use secretscan_bus::agents::Presence;
use secretscan_bus::queue::{ANOTHER_AGENT, Delivery, Settled, Verdict};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError, Stop, chain, v1};
use secretscan_model::lifecycle::Listing;
use secretscan_model::{Claim, Priority, RequestId, Role, ScanEvent};
use tokio::task::JoinSet;

use secretscan_benches::system::System;

/// How many agents there are, and what each does at a time.
pub const AGENTS: usize = 32;
/// Pieces of work that an agent does at a time.
pub const SLOTS: usize = 8;

/// Running agents. Dropping them ends them.
pub struct StandIns {
    agents: JoinSet<()>,
    stop: Stop,
}

impl StandIns {
    /// Starts all of them.
    pub async fn start(system: &System) -> anyhow::Result<Self> {
        let (mut agents, stop) = (JoinSet::new(), Stop::new());
        for number in 0..AGENTS {
            let bus = system.connect(Identity::RepoAgent).await?;
            let presence =
                Presence::new(bus.clone(), Role::RepoAgent, SLOTS as u32, format!("stand-in-{number}"));
            let stop = stop.clone();
            agents.spawn(async move {
                let agent = StandIn { bus: bus.clone(), presence };
                let workers = agent.presence.workers();
                let work = bus.work(Queue::ScheduledScans, workers, &stop, |delivery| agent.handle(delivery));
                tokio::join!(agent.presence.keep(&stop), work);
            });
        }
        Ok(Self { agents, stop })
    }

    /// Stops them and waits for it.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.agents.join_next().await.is_some() {}
    }
}

struct StandIn {
    bus: Bus,
    presence: Arc<Presence>,
}

impl StandIn {
    async fn handle(&self, delivery: Arc<Delivery>) -> Settled {
        let id = match delivery.decode::<v1::RepositoryScanReference>() {
            Ok(reference) => RequestId::parse(&reference.request_id).map_err(|error| error.to_string()),
            Err(error) => Err(chain(&error)),
        };
        let id = match id {
            Ok(id) => id,
            Err(reason) => return Verdict::Reject(reason).into(),
        };
        let Some(slot) = self.presence.slot(Priority::OnDemand) else {
            return Verdict::RetryAfter(ANOTHER_AGENT).into();
        };
        let held = self.presence.hold(id.to_string(), slot, false).await;
        let verdict = match self.take(&id).await {
            Ok(()) => Verdict::Done,
            Err(error) => {
                tracing::warn!(error = chain(&error), "trying again");
                Verdict::RetryAfter(secretscan_bus::queue::RETRY_AFTER)
            }
        };
        Settled::new(verdict, held)
    }

    async fn take(&self, id: &RequestId) -> Result<(), BusError> {
        // As a repo-agent looks whether another agent works on it.
        self.bus.scan(id).await?;
        let claim = ScanEvent::Claim { agent: self.presence.id(), max_attempts: 3 };
        let scan = self.bus.apply_scan(id, &[claim]).await?;
        let claim = Claim { agent: self.presence.id(), attempt: scan.attempts };
        if scan.is_claimed_by(&claim) {
            let listing = Listing::default();
            self.bus.apply_scan(id, &[ScanEvent::FinishListing { claim, listing }]).await?;
        }
        Ok(())
    }
}
