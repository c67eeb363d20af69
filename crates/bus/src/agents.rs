//! Living agents: how they announce themselves and how the scheduler sees them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::TryStreamExt;
use secretscan_model::{Agent, AgentId, Role};
use tokio::sync::Notify;

use crate::{Bus, BusError, Stop, chain, now};

/// An agent's presence in the `agents` bucket.
pub struct Presence {
    bus: Bus,
    agent: Mutex<Agent>,
    changed: Notify,
}

/// Work that an agent holds, as its presence shows. Dropped when the work ends.
pub struct Held {
    presence: Arc<Presence>,
    what: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.presence.agent().holds.retain(|held| *held != self.what);
        self.presence.changed.notify_one();
    }
}

impl Presence {
    /// Announces an agent. It is there while [`Presence::keep`] runs.
    pub fn new(bus: Bus, role: Role, slots: u32, host: String) -> Arc<Self> {
        let id = format!("{}-{}", role.as_str(), uuid::Uuid::now_v7().simple());
        let now = now();
        let agent = Agent {
            id: AgentId::parse(&id).expect("a role and a UUID are an id"),
            role,
            slots,
            holds: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            started: now,
            seen: now,
        };
        Arc::new(Self { bus, agent: Mutex::new(agent), changed: Notify::new() })
    }

    fn agent(&self) -> std::sync::MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id.
    pub fn id(&self) -> AgentId {
        self.agent().id.clone()
    }

    /// Shows that the agent works on something, until the result is dropped.
    pub fn hold(self: &Arc<Self>, what: String) -> Held {
        self.agent().holds.push(what.clone());
        self.changed.notify_one();
        Held { presence: self.clone(), what }
    }

    /// Gives signs of life until stopped, then takes the agent out of the bucket.
    pub async fn keep(&self, stop: &Stop) {
        let mut beat = tokio::time::interval(self.bus.sign_of_life_every());
        while !stop.is_cancelled() {
            tokio::select! {
                _ = beat.tick() => {}
                () = self.changed.notified() => {}
                () = stop.cancelled() => break,
            }
            if let Err(error) = self.beat().await {
                tracing::warn!(error = chain(&error), "no heartbeat");
            }
        }
        let key = self.key();
        if let Err(error) = self.bus.agents.store().purge(&key).await {
            tracing::warn!(%error, "the agent stays listed until its heartbeat expires");
        }
    }

    fn key(&self) -> String {
        let agent = self.agent();
        format!("{}.{}", agent.role.as_str(), agent.id)
    }

    async fn beat(&self) -> Result<(), BusError> {
        let body = {
            let mut agent = self.agent();
            agent.seen = now();
            crate::requests::json(&*agent)
        };
        // The client has no write with a time to live that replaces a record: publish it as the bucket stores it.
        let subject = format!("{}{}", self.bus.agents.store().prefix, self.key());
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-TTL", format!("{}s", self.bus.ack_wait.as_secs().max(1)));
        let wrap = |source| BusError::Publish { subject: subject.clone(), source };
        self.bus
            .jetstream
            .publish_with_headers(subject.clone(), headers, body.into())
            .await
            .map_err(|source| wrap(Box::new(source)))?
            .await
            .map_err(|source| wrap(Box::new(source)))?;
        Ok(())
    }
}

/// The living agents, kept up to date by [`AgentsView::keep`].
pub struct AgentsView {
    bus: Bus,
    /// With the time of the last sign of life: a server that restarts forgets the bucket, and tells nobody who is gone.
    agents: Mutex<HashMap<String, (Agent, Instant)>>,
}

impl AgentsView {
    /// A view that has seen nobody yet.
    pub fn new(bus: Bus) -> Self {
        Self { bus, agents: Mutex::default() }
    }

    /// All slots of a role.
    pub fn slots(&self, role: Role) -> u64 {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|_, (_, seen)| seen.elapsed() < self.bus.ack_wait);
        agents.values().filter(|(agent, _)| agent.role == role).map(|(agent, _)| u64::from(agent.slots)).sum()
    }

    /// Follows the bucket until stopped, and calls `changed` after each change.
    pub async fn keep(&self, stop: &Stop, changed: impl Fn()) {
        while !stop.is_cancelled() {
            let followed = tokio::select! {
                followed = self.follow(&changed) => followed,
                () = stop.cancelled() => return,
            };
            if let Err(error) = followed {
                tracing::warn!(error = chain(&error), "lost sight of the agents, looking again");
            }
            self.bus.pause(stop).await;
        }
    }

    async fn follow(&self, changed: &impl Fn()) -> Result<(), BusError> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let watch = self.bus.agents.watch(">").await?;
        let mut watch = std::pin::pin!(watch);
        while let Some((key, agent)) = watch.try_next().await? {
            {
                let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
                match agent {
                    Some(agent) => agents.insert(key, (agent, Instant::now())),
                    None => agents.remove(&key),
                };
            }
            changed();
        }
        Ok(())
    }
}

impl Bus {
    /// All living agents.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn agents(&self) -> Result<Vec<Agent>, BusError> {
        Ok(self.agents.list(">").await?.into_iter().map(|(_, agent)| agent).collect())
    }

    /// Whether an agent other than this one lives and says that it works on this.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn is_held_by_another(&self, me: &AgentId, what: &str) -> Result<bool, BusError> {
        let agents = self.agents().await?;
        Ok(agents.iter().any(|agent| agent.id != *me && agent.holds.iter().any(|held| held == what)))
    }
}
