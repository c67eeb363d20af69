//! Where the view gets what it shows: it reads what is new each second, and writes nothing.

use std::time::Duration;

use secretscan_bus::changes::{Change, Changes};
use secretscan_bus::topology::{AGENTS, REQUESTS};
use secretscan_bus::{Bus, BusError, chain, now};
use secretscan_model::Timestamp;
use secretscan_report::escape_for_terminal;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::snapshot::{Notice, QueueRow, Snapshot, place};
use super::state::State;
use super::throughput::Throughput;

/// How often the system is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many names of repositories are asked for at a look.
const NAMES_AT_A_LOOK: usize = 20;
/// An agent that gave no sign of life for so many times what it may take is gone.
const SILENT_TIMES: i64 = 2;

/// A look that failed.
type Trouble = String;

/// What the view reads, and how far it has read.
pub struct Source {
    bus: Bus,
    requests: Changes,
    agents: Changes,
    alerts: [Changes; 2],
    state: State,
    throughput: Throughput,
    url: String,
    since: Timestamp,
}

impl Source {
    /// Begins to follow.
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked.
    pub async fn open(bus: Bus, url: String) -> Result<Self, BusError> {
        Ok(Self {
            requests: bus.changes(REQUESTS, ">").await?,
            agents: bus.changes(AGENTS, ">").await?,
            alerts: bus.alerts().await?,
            state: State::default(),
            throughput: Throughput::default(),
            url,
            since: now(),
            bus,
        })
    }

    /// Looks again and again, until nobody wants to see it.
    pub async fn run(mut self, snapshots: watch::Sender<Snapshot>) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let before = snapshots.borrow().clone();
            let snapshot = self.look(&before).await;
            if snapshots.send(snapshot).is_err() {
                return;
            }
        }
    }

    /// Looks at everything once. What can't be asked for is as it was before.
    pub async fn look(&mut self, before: &Snapshot) -> Snapshot {
        let mut trouble = self.read_changes().await.err();
        let queues = match self.queues().await {
            Ok(queues) => queues,
            Err(error) => {
                trouble = trouble.or(Some(error));
                before.queues.clone()
            }
        };
        let (dead_letters, last) = match self.dead_letters().await {
            Ok(found) => found,
            Err(error) => {
                trouble = trouble.or(Some(error));
                (before.dead_letters, None)
            }
        };
        let at = now();
        self.throughput.record(at, self.state.done);
        let silent = i64::try_from(self.bus.ack_wait().as_millis()).unwrap_or(i64::MAX) * SILENT_TIMES;
        let mut notices: Vec<Notice> = self.state.alerts().iter().cloned().chain(last).collect();
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.at));
        let server = self.bus.server();
        Snapshot {
            at,
            since: self.since,
            url: self.url.clone(),
            server: server.name,
            version: server.version,
            is_connected: self.bus.is_connected(),
            trouble,
            queues,
            agents: self.state.agents(Timestamp(at.0.saturating_sub(silent))),
            requests: self.state.requests(),
            notices,
            dead_letters,
            throughput: self.throughput.clone(),
        }
    }

    async fn read_changes(&mut self) -> Result<(), Trouble> {
        let state = &mut self.state;
        read(&mut self.requests, |change| state.request(change)).await?;
        state.is_caught_up = true;
        read(&mut self.agents, |change| state.agent(change)).await?;
        for alerts in &mut self.alerts {
            read(alerts, |change| state.alert(change)).await?;
        }
        for id in state.nameless().into_iter().take(NAMES_AT_A_LOOK) {
            let repository = self.bus.repository(&id).await.map_err(|error| chain(&error))?;
            let name = repository.map_or_else(|| id.to_string(), |repository| repository.name);
            state.names.insert(id, escape_for_terminal(&name).to_string());
        }
        Ok(())
    }

    async fn queues(&self) -> Result<Vec<QueueRow>, Trouble> {
        let mut rows = Vec::new();
        for (queue, found) in self.bus.inspect_queues().await {
            let found = found.map_err(|unknown| format!("the queues: {unknown}"))?;
            rows.extend(found.map(|found| QueueRow {
                queue,
                waiting: found.waiting,
                in_hand: found.in_hand,
                oldest: found.oldest,
            }));
        }
        rows.sort_by_key(|row| place(row.queue));
        Ok(rows)
    }

    /// How many there are, and the last.
    async fn dead_letters(&self) -> Result<(u64, Option<Notice>), Trouble> {
        let found =
            self.bus.dead_letter_count().await.map_err(|unknown| format!("the dead letters: {unknown}"))?;
        let Some((count @ 1.., number)) = found else { return Ok((0, None)) };
        let letters = self.bus.dead_letters(number, 1).await.map_err(|error| chain(&error))?;
        let last = letters.into_iter().next().map(|letter| Notice {
            at: letter.at,
            kind: "dead letter",
            text: escape_for_terminal(&letter.reason).to_string(),
        });
        Ok((count, last))
    }
}

/// Reads what is new.
async fn read(changes: &mut Changes, mut seen: impl FnMut(&Change)) -> Result<(), Trouble> {
    changes.forget_hints();
    loop {
        let page = changes.next().await.map_err(|error| chain(&error))?;
        if page.is_empty() {
            return Ok(());
        }
        page.iter().for_each(&mut seen);
    }
}
