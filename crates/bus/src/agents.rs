//! Living agents: how they announce themselves and how the scheduler sees them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::StreamExt;
use secretscan_model::{Agent, AgentId, Claim, Priority, Role};
use tokio::sync::{
    Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore,
};

use crate::queue::Workers;
use crate::{Bus, BusError, Stop, chain, now};

/// An agent's presence in the `agents` bucket.
pub struct Presence {
    bus: Bus,
    agent: Mutex<Agent>,
    changed: Notify,
    turns: Arc<RwLock<()>>,
    slots: Arc<Semaphore>,
}

/// What an agent takes beyond its slots, at most: urgent work, which would else wait for the end of long work.
const EXPRESS: u64 = 1;

/// A slot of an agent, or the place beside them that only urgent work gets.
pub struct Slot(#[expect(dead_code, reason = "held until dropped")] Option<OwnedSemaphorePermit>);

/// Work that an agent holds, as its presence shows. Dropped when the work ends.
pub struct Held {
    presence: Arc<Presence>,
    what: String,
    turn: Option<Turn>,
    #[expect(dead_code, reason = "held until dropped")]
    slot: Slot,
}

/// Beside others, or alone.
#[expect(dead_code, reason = "held until dropped")]
enum Turn {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
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
            rule_set: String::new(),
            host,
            started: now,
            seen: now,
        };
        Arc::new(Self {
            bus,
            agent: Mutex::new(agent),
            changed: Notify::new(),
            turns: Arc::default(),
            slots: Arc::new(Semaphore::new(slots as usize)),
        })
    }

    /// How many messages the agent works on at once: one for each slot, and one that is urgent.
    pub fn workers(&self) -> Workers {
        Workers { slots: self.agent().slots as usize, beyond: EXPRESS as usize }
    }

    /// A slot for work of this urgency; `None` when all are taken: the work is another agent's then. What is urgent needs
    /// none.
    pub fn slot(&self, priority: Priority) -> Option<Slot> {
        match priority {
            Priority::Reactive => Some(Slot(None)),
            Priority::OnDemand | Priority::Scheduled => {
                self.slots.clone().try_acquire_owned().ok().map(|permit| Slot(Some(permit)))
            }
        }
    }

    fn agent(&self) -> std::sync::MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id.
    pub fn id(&self) -> AgentId {
        self.agent().id.clone()
    }

    /// Shows with which version of the rules the agent scans.
    pub fn scans_with(&self, rule_set: &str) {
        rule_set.clone_into(&mut self.agent().rule_set);
    }

    /// Shows that the agent works on something, until the result is dropped. What is to be alone waits until the agent has
    /// nothing else in hand, and nothing else begins beside it: so work that ends its agents ends no other work with its
    /// last attempt, and no work is lost in all its attempts to the company that it was in.
    pub async fn hold(self: &Arc<Self>, what: String, slot: Slot, is_alone: bool) -> Held {
        self.agent().holds.push(what.clone());
        self.changed.notify_one();
        let mut held = Held { presence: self.clone(), what, turn: None, slot };
        let turns = self.turns.clone();
        held.turn = Some(match is_alone {
            true => Turn::Alone(turns.write_owned().await),
            false => Turn::Shared(turns.read_owned().await),
        });
        held
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
        if let Err(error) = self.bus.agents.purge(&key).await {
            tracing::warn!(error = chain(&error), "the agent stays listed until its heartbeat expires");
        }
    }

    fn key(&self) -> String {
        let agent = self.agent();
        key(agent.role, &agent.id)
    }

    /// Whether the agent that has claimed this work is another, lives, and says that it works on it.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn is_held_by_another(&self, claim: Option<&Claim>, what: &str) -> Result<bool, BusError> {
        let (role, id) = {
            let agent = self.agent();
            (agent.role, agent.id.clone())
        };
        let Some(Claim { agent: holder, .. }) = claim.filter(|claim| claim.agent != id) else {
            return Ok(false);
        };
        let holder = self.bus.agents.get(&key(role, holder)).await?;
        Ok(holder.is_some_and(|holder| holder.value.holds.iter().any(|held| held == what)))
    }

    async fn beat(&self) -> Result<(), BusError> {
        let body = {
            let mut agent = self.agent();
            agent.seen = now();
            crate::requests::json(&*agent)
        };
        // The client has no write with a time to live that replaces a record: publish it as the bucket stores it.
        let subject = self.bus.agents.subject(&self.key());
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

fn key(role: Role, id: &AgentId) -> String {
    format!("{}.{id}", role.as_str())
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
        let agents = self.agents();
        let of_role = agents.values().filter(|(agent, _)| agent.role == role);
        of_role.map(|(agent, _)| u64::from(agent.slots)).sum()
    }

    /// What all agents of a role take beyond their slots of urgent work.
    pub fn express(&self, role: Role) -> u64 {
        let agents = self.agents();
        agents.values().filter(|(agent, _)| agent.role == role).count() as u64 * EXPRESS
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<String, (Agent, Instant)>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) {
        for role in [Role::RepoAgent, Role::BatchAgent] {
            let agents = self.agents().values().filter(|(agent, _)| agent.role == role).count();
            self.bus.metrics.agents(role, agents, self.slots(role));
        }
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
        let mut written = std::pin::pin!(self.bus.agents.written().await?);
        match self.bus.agents.few(">").await {
            Ok(agents) => {
                let now = Instant::now();
                *self.agents() = agents.into_iter().map(|(key, agent)| (key, (agent, now))).collect();
            }
            Err(error) => tracing::warn!(error = chain(&error), "the agents show with their next heartbeat"),
        }
        self.count();
        changed();
        let mut tick = tokio::time::interval(self.bus.sign_of_life_every());
        loop {
            tokio::select! {
                heard = written.next() => match heard {
                    Some((key, Some(agent))) => drop(self.agents().insert(key, (agent, Instant::now()))),
                    Some((key, None)) => drop(self.agents().remove(&key)),
                    None => return Ok(()),
                },
                _ = tick.tick() => self.agents().retain(|_, (_, seen)| seen.elapsed() < self.bus.ack_wait),
            }
            self.count();
            changed();
        }
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
}
