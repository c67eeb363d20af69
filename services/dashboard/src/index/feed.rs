//! The way from the buckets to the database.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use secretscan_bus::changes::{Change, Changes};
use secretscan_bus::{Bus, BusError, Stop, chain, now, topology};
use tokio::task::JoinSet;

use super::apply::Applier;
use super::{Changed, Index};

/// A page of changes waits here for the writer, so that it always has one at hand.
const WAITING_PAGES: usize = 4;
/// How long the writer gathers changes for one commit at most.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// How often what expires is looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(2);
/// More changed requests than these are not named one by one.
const MAX_NAMED: usize = 100;

/// Where records come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The bucket `repositories`.
    Repositories,
    /// The bucket `requests`.
    Requests,
    /// The bucket `findings`.
    Findings,
    /// The bucket `standings`.
    Standings,
    /// The bucket `triage`.
    Triage,
    /// The heads in the bucket `history`.
    Ledgers,
    /// The bucket `rule-sets`.
    RuleSets,
    /// The bucket `schedules`.
    Schedules,
    /// The bucket `agents`.
    Agents,
    /// The stream of events.
    Events,
    /// The stream of what people did.
    Audit,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Repositories,
        Self::Requests,
        Self::Findings,
        Self::Standings,
        Self::Triage,
        Self::Ledgers,
        Self::RuleSets,
        Self::Schedules,
        Self::Agents,
        Self::Events,
        Self::Audit,
    ];

    /// The name that pages use for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repositories => "repositories",
            Self::Requests => "requests",
            Self::Findings => "findings",
            Self::Standings => "standings",
            Self::Triage => "triage",
            Self::Ledgers => "ledgers",
            Self::RuleSets => "rule-sets",
            Self::Schedules => "schedules",
            Self::Agents => "agents",
            Self::Events => "events",
            Self::Audit => "audit",
        }
    }

    async fn open(self, bus: &Bus) -> Result<Changes, BusError> {
        match self {
            Self::Repositories => bus.changes(topology::REPOSITORIES, "*").await,
            Self::Requests => bus.changes(topology::REQUESTS, "*").await,
            Self::Findings => bus.changes(topology::FINDINGS, "*.*.*").await,
            Self::Standings => bus.changes(topology::STANDINGS, ">").await,
            Self::Triage => bus.changes(topology::TRIAGE, ">").await,
            Self::Ledgers => bus.changes(topology::HISTORY, "*.head").await,
            Self::RuleSets => bus.changes(topology::RULE_SETS, "*").await,
            Self::Schedules => bus.changes(topology::SCHEDULES, "*").await,
            Self::Agents => bus.changes(topology::AGENTS, ">").await,
            Self::Events => bus.events(1).await,
            Self::Audit => bus.audit_entries(1).await,
        }
    }
}

enum Message {
    Changes(Source, Vec<Change>),
    CaughtUp(Source),
}

/// Keeps the database up to date until stopped. Ends earlier only when the database fails.
pub async fn feed(bus: Bus, index: Index, writer: Connection, stop: Stop) {
    let (sender, receiver) = sync_channel(WAITING_PAGES);
    let writing = tokio::task::spawn_blocking(move || write(&index, writer, &receiver));
    let mut sources = JoinSet::new();
    for source in Source::ALL {
        sources.spawn(follow(bus.clone(), source, sender.clone(), stop.clone()));
    }
    drop(sender);
    while sources.join_next().await.is_some() {}
    if let Ok(Err(error)) = writing.await {
        tracing::error!(error = chain(&error), "the index can't be written");
    }
}

async fn follow(bus: Bus, source: Source, sender: SyncSender<Message>, stop: Stop) {
    while !stop.is_cancelled() {
        let followed = tokio::select! {
            followed = follow_once(&bus, source, &sender) => followed,
            () = stop.cancelled() => return,
        };
        match followed {
            // The writer is gone.
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(error = chain(&error), "lost sight of {}, looking again", source.name())
            }
        }
        bus.pause(&stop).await;
    }
}

async fn follow_once(bus: &Bus, source: Source, sender: &SyncSender<Message>) -> Result<(), BusError> {
    // From the beginning also after a failure: what is known already changes nothing.
    let mut changes = source.open(bus).await?;
    let mut is_caught_up = false;
    loop {
        let page = changes.next().await?;
        let message = match page.is_empty() {
            false => Message::Changes(source, page),
            true if !is_caught_up => {
                is_caught_up = true;
                Message::CaughtUp(source)
            }
            true => {
                changes.wait().await;
                continue;
            }
        };
        let sender = sender.clone();
        // It waits while the writer is busy.
        match tokio::task::spawn_blocking(move || sender.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Ok(()),
        }
    }
}

fn write(
    index: &Index,
    mut connection: Connection,
    messages: &Receiver<Message>,
) -> Result<(), rusqlite::Error> {
    let mut applier = Applier::default();
    let mut expired = Instant::now();
    let mut caught_up: HashSet<Source> = HashSet::new();
    loop {
        let message = match messages.recv_timeout(EXPIRE_EVERY) {
            Ok(message) => Some(message),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let transaction = connection.transaction()?;
        let mut changed = Changed::default();
        let (began, mut next) = (Instant::now(), message);
        while let Some(message) = next.take() {
            match message {
                Message::Changes(source, changes) => {
                    for change in &changes {
                        // One record that can't be read must not hold up the others.
                        if let Err(error) = applier.apply(&transaction, source, change)? {
                            tracing::warn!(%error, key = change.key, "a record of {} is passed over", source.name());
                        }
                    }
                    if !changed.sources.contains(&source) {
                        changed.sources.push(source);
                    }
                    if source == Source::Requests {
                        changed.requests.extend(changes.into_iter().map(|change| change.key));
                    }
                }
                Message::CaughtUp(source) => drop(caught_up.insert(source)),
            }
            if began.elapsed() < COMMIT_EVERY {
                next = messages.try_recv().ok();
            }
        }
        if expired.elapsed() >= EXPIRE_EVERY {
            expired = Instant::now();
            if applier.expire(&transaction, now())? > 0 {
                changed.sources.push(Source::Findings);
            }
        }
        transaction.commit()?;
        if caught_up.len() == Source::ALL.len() && !index.is_caught_up() {
            index.make_lists(&connection)?;
        }
        if changed.requests.len() > MAX_NAMED {
            changed.requests.clear();
        }
        if !changed.sources.is_empty() {
            index.tell(changed);
        }
    }
}
