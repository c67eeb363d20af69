//! What a channel is to be told, collected into messages.
//!
//! Who puts an item in waits for the message that holds it, with its event in hand, so that a crash loses nothing: the event
//! comes again. What was told is remembered in the bucket `notifications` before the events are settled. The price: a crash
//! just between the two tells a message twice.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use secretscan_bus::notifications::{Notification, Phase};
use secretscan_bus::queue::RETRY_AFTER;
use secretscan_bus::{Bus, BusError, Stop, chain, fail};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{Channel, Item};
use crate::Outside;
use crate::config::BatchSettings;
use crate::outcome::{Gate, Outcome, is_given_up};

/// A message with so many items waits for no more.
const FULL: usize = 2_000;
/// Keys written at once.
const CONCURRENCY: usize = 32;

/// An item on its way into a message.
pub(crate) struct Entry {
    pub(crate) item: Item,
    /// How often its event was delivered.
    pub(crate) deliveries: u64,
    /// When its event happened, in milliseconds since the Unix epoch.
    pub(crate) said_ms: i64,
    /// Is told after which time to try again, if at all.
    pub(crate) answer: oneshot::Sender<Option<Duration>>,
}

impl Entry {
    fn answer(self, again: Option<Duration>) {
        // Nobody waits any more when the service has stopped.
        let _ = self.answer.send(again);
    }
}

/// The mailbox of a channel.
pub(crate) struct Mailbox {
    bus: Bus,
    outside: Outside,
    channel: Channel,
    settings: BatchSettings,
    gate: Gate,
}

impl Mailbox {
    pub(crate) fn new(bus: Bus, outside: Outside, channel: Channel, settings: BatchSettings) -> Self {
        Self { bus, outside, channel, settings, gate: Gate::new() }
    }

    fn key(&self, item: &Item) -> String {
        format!("told.{}.{}", self.channel.name, item.key)
    }

    /// Whether the channel was told of it, or can't be.
    pub(crate) async fn has(&self, item: &Item) -> Result<bool, BusError> {
        Ok(self.bus.notification(&self.key(item)).await?.is_some())
    }

    /// How long the channel takes nothing.
    pub(crate) fn closed_for(&self) -> Option<Duration> {
        self.gate.closed_for()
    }

    /// Sends messages of what comes, until stopped. What is not sent then is given back by dropping it.
    pub(crate) async fn keep(&self, mut entries: mpsc::Receiver<Entry>, stop: &Stop) {
        while let Some(first) = next(&mut entries, stop).await {
            let mut batch = vec![first];
            let end = Instant::now() + Duration::from_millis(self.settings.window_ms);
            while batch.len() < FULL
                && let Ok(Some(entry)) = timeout_at(end, next(&mut entries, stop)).await
            {
                batch.push(entry);
            }
            if stop.is_cancelled() {
                return;
            }
            self.send(batch).await;
        }
    }

    async fn send(&self, batch: Vec<Entry>) {
        if let Some(left) = self.gate.closed_for() {
            batch.into_iter().for_each(|entry| entry.answer(Some(left)));
            return;
        }
        let mut keys = HashSet::new();
        let items: Vec<&Item> =
            batch.iter().map(|entry| &entry.item).filter(|item| keys.insert(item.key.as_str())).collect();
        let max_items = self.settings.max_items.get();
        let outcome = self.channel.send(&self.outside.http, &items, max_items).await;
        fail::point(format_args!("message.answered"));
        let name = &self.channel.name;
        self.outside.metrics.count(name, outcome.name(), items.len());
        let deliveries = batch.iter().map(|entry| entry.deliveries).min().unwrap_or(1);
        let again = self.gate.note(&outcome, deliveries, &self.outside.delivery);
        match &outcome {
            Outcome::Arrived => {
                tracing::info!(channel = name, items = items.len(), "message sent");
                self.settle(batch, &Phase::Sent).await;
            }
            Outcome::Never { reason } => self.give_up(batch, reason).await,
            Outcome::Again { reason, .. } => {
                tracing::warn!(channel = name, items = items.len(), reason, "message not sent yet");
                let is_old = |entry: &Entry| is_given_up(entry.said_ms, &self.outside.delivery);
                let (old, young): (Vec<Entry>, Vec<Entry>) = batch.into_iter().partition(is_old);
                young.into_iter().for_each(|entry| entry.answer(again));
                if !old.is_empty() {
                    self.outside.metrics.count(name, "undelivered", old.len());
                    self.give_up(old, &format!("given up: {reason}")).await;
                }
            }
        }
    }

    async fn give_up(&self, entries: Vec<Entry>, reason: &str) {
        tracing::error!(channel = self.channel.name, items = entries.len(), reason, "message undelivered");
        self.settle(entries, &Phase::Undelivered { reason: reason.to_owned() }).await;
    }

    /// Remembers what became of items, and answers those who wait.
    async fn settle(&self, entries: Vec<Entry>, phase: &Phase) {
        let settle = |entry: Entry| async move {
            let what = entry.item.kind.as_str().to_owned();
            let notification = Notification { what, text: String::new(), phase: phase.clone() };
            match self.bus.put_notification(&self.key(&entry.item), &notification, None).await {
                Ok(_) => entry.answer(None),
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "what was told is not remembered, and may be told again"
                    );
                    entry.answer(Some(RETRY_AFTER));
                }
            }
        };
        futures::stream::iter(entries).for_each_concurrent(CONCURRENCY, settle).await;
    }
}

async fn next(entries: &mut mpsc::Receiver<Entry>, stop: &Stop) -> Option<Entry> {
    tokio::select! {
        entry = entries.recv() => entry,
        () = stop.cancelled() => None,
    }
}
