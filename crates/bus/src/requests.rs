//! The four beats: load with revision, step, write on condition of the revision, perform the effects.

use std::ops::ControlFlow;

use futures::FutureExt;
use futures::future::BoxFuture;
use prost::Message;
use secretscan_model::lifecycle::{Step, TrailEntry, step_batch, step_scan};
use secretscan_model::{
    BatchEffect, BatchEvent, BatchKey, BatchState, ChosenRules, CommitBatch, Priority, Purpose, RepositoryId,
    RepositoryScan, RequestId, ScanEffect, ScanEvent, ScanState, ScheduledRun, Stamp, StepError,
};
use secretscan_proto::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::metrics::WriteRefusal;
use crate::{Bucket, Bus, BusError, fail, now, topology};

/// A revision race lost this often in a row is given up; the message comes back later.
pub(crate) const MAX_RACES: u32 = 100;

/// A kind of request: its record, its step, its event.
trait Record: Clone + Serialize + DeserializeOwned + Send {
    type Event;
    type Effect;
    const WHAT: &'static str;
    /// In metrics and the names of fail points.
    const SHORT: &'static str;
    fn step(&self, event: &Self::Event, stamp: Stamp<'_>) -> Result<Step<Self, Self::Effect>, StepError>;
    fn trail(&self) -> &[TrailEntry];
    fn name(event: &Self::Event) -> &'static str;
    fn event(&self, entry: &TrailEntry) -> (String, Vec<u8>);
}

impl Record for RepositoryScan {
    type Event = ScanEvent;
    type Effect = ScanEffect;
    const WHAT: &'static str = "repository scan request";
    const SHORT: &'static str = "scan";

    fn step(&self, event: &ScanEvent, stamp: Stamp<'_>) -> Result<Step<Self, ScanEffect>, StepError> {
        step_scan(self, event, stamp)
    }

    fn trail(&self) -> &[TrailEntry] {
        &self.trail
    }

    fn name(event: &ScanEvent) -> &'static str {
        event.name()
    }

    fn event(&self, entry: &TrailEntry) -> (String, Vec<u8>) {
        let event = v1::RepositoryScanChanged {
            request_id: self.id.to_string(),
            repository_id: self.repository.as_ref().map(ToString::to_string).unwrap_or_default(),
            state: entry.state.clone(),
            at: entry.at.0,
            by: entry.by.clone(),
            attempt: entry.attempt,
            note: entry.note.clone().unwrap_or_default(),
        };
        (format!("secretscan.event.repository-scan.{}", self.id), json(&event))
    }
}

impl Record for CommitBatch {
    type Event = BatchEvent;
    type Effect = BatchEffect;
    const WHAT: &'static str = "commit batch";
    const SHORT: &'static str = "batch";

    fn step(&self, event: &BatchEvent, stamp: Stamp<'_>) -> Result<Step<Self, BatchEffect>, StepError> {
        step_batch(self, event, stamp)
    }

    fn trail(&self) -> &[TrailEntry] {
        &self.trail
    }

    fn name(event: &BatchEvent) -> &'static str {
        event.name()
    }

    fn event(&self, entry: &TrailEntry) -> (String, Vec<u8>) {
        let event = v1::CommitBatchChanged {
            request_id: self.key.request.to_string(),
            batch_id: self.key.batch.to_string(),
            repository_id: self.repository.to_string(),
            state: entry.state.clone(),
            at: entry.at.0,
            by: entry.by.clone(),
            attempt: entry.attempt,
            note: entry.note.clone().unwrap_or_default(),
        };
        (format!("secretscan.event.commit-batch.{}", self.key), json(&event))
    }
}

/// The canonical JSON of a message of ours, which always has one.
pub(crate) fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("a generated message always serialises")
}

impl Bus {
    /// The record of a repository scan request.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn scan(&self, id: &RequestId) -> Result<Option<RepositoryScan>, BusError> {
        Ok(self.scans.get(id.as_str()).await?.map(|record| record.value))
    }

    /// All repository scan requests.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn scans(&self) -> Result<Vec<RepositoryScan>, BusError> {
        Ok(self.scans.list(">").await?.into_iter().map(|(_, scan)| scan).collect())
    }

    /// The record of a batch.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn batch(&self, key: &BatchKey) -> Result<Option<CommitBatch>, BusError> {
        Ok(self.batches.get(&key.to_string()).await?.map(|record| record.value))
    }

    /// Shows each batch of a request, without a consumer, so for services. One that changes meanwhile may be shown again.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn each_batch(
        &self,
        request: &RequestId,
        mut seen: impl FnMut(CommitBatch),
    ) -> Result<(), BusError> {
        self.batches.walk(&format!("{request}.*"), |_, batch| seen(batch)).await
    }

    /// The batches of a request.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn batches_of(&self, request: &RequestId) -> Result<Vec<CommitBatch>, BusError> {
        let records = self.batches.list(&format!("{request}.*")).await?;
        Ok(records.into_iter().map(|(_, batch)| batch).collect())
    }

    /// Follows a request: `seen` gets its record now and after each change, `None` when there is none, until it says to
    /// end.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn follow_scan(
        &self,
        id: &RequestId,
        seen: impl FnMut(Option<RepositoryScan>) -> ControlFlow<()>,
    ) -> Result<(), BusError> {
        self.scans.follow(id.as_str(), seen).await
    }

    /// Follows a batch, as [`Bus::follow_scan`] a request.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn follow_batch(
        &self,
        key: &BatchKey,
        seen: impl FnMut(Option<CommitBatch>) -> ControlFlow<()>,
    ) -> Result<(), BusError> {
        self.batches.follow(&key.to_string(), seen).await
    }

    /// Creates the record of a request, unless it exists, applies events to it, in one write, and performs their effects.
    /// Repeats safely.
    ///
    /// # Errors
    /// As [`Bus::apply_scan`].
    pub async fn create_scan(
        &self,
        id: &RequestId,
        refs: Vec<String>,
        priority: Priority,
        requester: String,
        events: &[ScanEvent],
    ) -> Result<RepositoryScan, BusError> {
        let new = RepositoryScan::new(id.clone(), refs, priority, requester, self.stamp());
        self.step_scan(id, Some(new), events).await
    }

    /// The same for the run of a schedule.
    ///
    /// # Errors
    /// As [`Bus::apply_scan`].
    pub async fn create_scheduled_scan(
        &self,
        id: &RequestId,
        refs: Vec<String>,
        run: ScheduledRun,
        events: &[ScanEvent],
    ) -> Result<RepositoryScan, BusError> {
        let requester = format!("schedule {}", run.schedule);
        let new = RepositoryScan::new(id.clone(), refs, Priority::Scheduled, requester, self.stamp()).of(run);
        self.step_scan(id, Some(new), events).await
    }

    /// Creates the record of a batch unless it exists; `true` when it is new. With `rescan` its commits are scanned again.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn create_batch(
        &self,
        key: &BatchKey,
        repository: &RepositoryId,
        priority: Priority,
        offered: u64,
        pack_bytes: u64,
        rescan: Option<ChosenRules>,
    ) -> Result<bool, BusError> {
        let batch =
            CommitBatch::new(key.clone(), repository.clone(), priority, offered, pack_bytes, self.stamp())
                .again(rescan);
        let is_new = self.batches.create(&key.to_string(), &batch).await?.is_some();
        if is_new {
            self.metrics.stepped(CommitBatch::SHORT, &batch.trail, 0);
        }
        fail::point(format_args!("batch.created"));
        Ok(is_new)
    }

    /// Applies events to a repository scan request, in one write, and performs their effects. Repeats safely.
    ///
    /// # Errors
    /// [`BusError::Step`] when the event does not apply; other [`BusError`]s when the server can't be asked.
    pub async fn apply_scan(&self, id: &RequestId, events: &[ScanEvent]) -> Result<RepositoryScan, BusError> {
        self.step_scan(id, None, events).await
    }

    async fn step_scan(
        &self,
        id: &RequestId,
        new: Option<RepositoryScan>,
        events: &[ScanEvent],
    ) -> Result<RepositoryScan, BusError> {
        let (scan, effects) = self.beats(&self.scans, id.as_str(), new, events).await?;
        for (index, effect) in effects.into_iter().enumerate() {
            self.perform_scan(&scan, effect).await?;
            performed::<RepositoryScan>(events, index);
        }
        Ok(scan)
    }

    /// Applies events to a batch, in one write, and performs their effects. Repeats safely.
    ///
    /// # Errors
    /// As [`Bus::apply_scan`].
    pub async fn apply_batch(&self, key: &BatchKey, events: &[BatchEvent]) -> Result<CommitBatch, BusError> {
        let (batch, effects) = self.beats(&self.batches, &key.to_string(), None, events).await?;
        for (index, effect) in effects.into_iter().enumerate() {
            self.perform_batch(&batch, effect).await?;
            performed::<CommitBatch>(events, index);
        }
        Ok(batch)
    }

    fn stamp(&self) -> Stamp<'_> {
        Stamp { now: now(), by: &self.name }
    }

    /// The first three beats. Gives the record as it stands and the effects still to be performed. A record that may be
    /// new is not looked for first: most are.
    async fn beats<R: Record>(
        &self,
        bucket: &Bucket<R>,
        key: &str,
        mut new: Option<R>,
        events: &[R::Event],
    ) -> Result<(R, Vec<R::Effect>), BusError> {
        for _ in 0..MAX_RACES {
            let (loaded, revision) = match new.take() {
                Some(new) => (new, None),
                None => {
                    let loaded = bucket.get(key).await?.ok_or_else(|| missing::<R>(key))?;
                    (loaded.value, Some(loaded.revision))
                }
            };
            let before = loaded.trail().len();
            let (next, effects) = self.steps(&loaded, events)?;
            let is_changed = next.is_some();
            let record = next.unwrap_or(loaded);
            match revision {
                None if bucket.create(key, &record).await?.is_none() => continue,
                None => fail::point(format_args!("{}.created", R::SHORT)),
                Some(revision) if is_changed && bucket.update(key, &record, revision).await?.is_none() => {
                    self.metrics.refused(R::WHAT, WriteRefusal::RaceLost);
                    continue;
                }
                Some(_) => {}
            }
            let seen = if revision.is_none() { 0 } else { before };
            self.metrics.stepped(R::SHORT, record.trail(), seen);
            if is_changed {
                let (short, event) = (R::SHORT, last_name::<R>(events));
                fail::point(format_args!("{short}.{event}.written"));
                // Of one request alone; the key of a batch begins with its request.
                let request = key.split('.').next().unwrap_or_default();
                fail::point(format_args!("{short}.{event}.written@{request}"));
            }
            // A step that changes nothing may follow a crash between the write and the event: tell it again.
            let first_untold = if is_changed { before } else { before.saturating_sub(1) };
            self.tell(&record, first_untold).await?;
            fail::point(format_args!("{}.{}.told", R::SHORT, last_name::<R>(events)));
            return Ok((record, effects));
        }
        Err(BusError::Contended { key: key.to_owned(), attempts: MAX_RACES })
    }

    /// The record after these events, if it is another, and the effects of the last.
    fn steps<R: Record>(
        &self,
        loaded: &R,
        events: &[R::Event],
    ) -> Result<(Option<R>, Vec<R::Effect>), BusError> {
        let (mut next, mut effects): (Option<R>, _) = (None, Vec::new());
        for event in events {
            let record = next.as_ref().unwrap_or(loaded);
            let step = record.step(event, self.stamp()).inspect_err(|error| {
                if let StepError::LeaseLost { .. } = error {
                    self.metrics.refused(R::WHAT, WriteRefusal::LeaseLost);
                }
            })?;
            next = step.next.or(next);
            effects = step.effects;
        }
        Ok((next, effects))
    }

    /// Publishes what happened to a record, from an entry of its trail on.
    async fn tell<R: Record>(&self, record: &R, first: usize) -> Result<(), BusError> {
        let mut sent = Vec::new();
        for (index, entry) in record.trail().iter().enumerate().skip(first) {
            let (subject, body) = record.event(entry);
            let message_id = format!("{subject}.{index}");
            sent.push(self.send_off(subject, message_id, async_nats::HeaderMap::new(), body.into()).await?);
        }
        for stored in sent {
            stored.await?;
        }
        Ok(())
    }

    pub(crate) async fn send(
        &self,
        subject: String,
        message_id: String,
        message: &impl Message,
    ) -> Result<(), BusError> {
        self.publish(subject, message_id, async_nats::HeaderMap::new(), message.encode_to_vec().into()).await
    }

    async fn perform_scan(&self, scan: &RepositoryScan, effect: ScanEffect) -> Result<(), BusError> {
        let reference = v1::RepositoryScanReference {
            request_id: scan.id.to_string(),
            repository_id: scan.repository.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        match effect {
            ScanEffect::Queue => {
                let message_id = format!("{}.queued", scan.id);
                self.send(topology::queued_scan(scan.priority), message_id, &reference).await
            }
            ScanEffect::Dispatch => {
                let message_id = format!("{}.scheduled", scan.id);
                self.send(topology::SCHEDULED_SCAN.into(), message_id, &reference).await
            }
            ScanEffect::Report => {
                if let (Purpose::Verify, Some(listing)) = (&scan.purpose, &scan.found) {
                    self.metrics.ledger_gaps(listing.unknown);
                }
                // What is reported of it may follow one upon another.
                let message_id = format!("{}.reported.{}", scan.id, scan.trail.len());
                self.send(topology::REPORTED_SCAN.into(), message_id, &reference).await
            }
            ScanEffect::ReleaseFetch => match &scan.repository {
                Some(repository) => self.release_fetch(repository, scan).await,
                None => Ok(()),
            },
            ScanEffect::EndRescan(rescan) => match &scan.repository {
                Some(repository) => self.ledger(repository).end_rescan(&rescan).await,
                None => Ok(()),
            },
            ScanEffect::CancelBatches => {
                for (batch, outcome) in &scan.batches {
                    if *outcome != secretscan_model::BatchOutcome::Open {
                        continue;
                    }
                    let key = BatchKey { request: scan.id.clone(), batch: batch.clone() };
                    match self.apply_batch_boxed(&key, BatchEvent::Cancel).await {
                        // Not yet taken by the controller, which will see that its request has ended.
                        Ok(_) | Err(BusError::Missing { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            ScanEffect::DeadLetter { reason } => {
                let original = v1::NewRepositoryScan {
                    request_id: scan.id.to_string(),
                    uri: scan.uri.clone(),
                    repository_id: String::new(),
                    refs: scan.refs.clone(),
                    priority: v1::Priority::from(scan.priority).into(),
                    requester: scan.requester.clone(),
                    verify: scan.purpose == Purpose::Verify,
                    rescan: scan
                        .purpose
                        .rescan()
                        .map(|rescan| rescan.chosen.rule_set.clone())
                        .unwrap_or_default(),
                };
                let message_id = format!("{}.dead", scan.id);
                self.dead_letter(topology::NEW_SCAN, &message_id, &reason, json(&original).into()).await
            }
        }
    }

    async fn perform_batch(&self, batch: &CommitBatch, effect: BatchEffect) -> Result<(), BusError> {
        let reference = v1::CommitBatchReference {
            request_id: batch.key.request.to_string(),
            batch_id: batch.key.batch.to_string(),
            repository_id: batch.repository.to_string(),
        };
        match effect {
            BatchEffect::Wait => {
                let message_id = format!("{}.waiting", batch.key);
                self.send(topology::waiting_batch(batch.priority), message_id, &reference).await
            }
            BatchEffect::Dispatch => {
                let message_id = format!("{}.scheduled", batch.key);
                self.send(topology::SCHEDULED_BATCH.into(), message_id, &reference).await
            }
            BatchEffect::Report => {
                let message_id = format!("{}.reported.{}", batch.key, batch.trail.len());
                self.send(topology::REPORTED_BATCH.into(), message_id, &reference).await
            }
            BatchEffect::MarkScanned { rule_set } => {
                self.ledger(&batch.repository).mark_scanned(&batch.key, &rule_set).await
            }
            BatchEffect::EndInRequest(outcome) => {
                let event = ScanEvent::EndBatch { batch: batch.key.batch.clone(), outcome };
                self.apply_scan_boxed(&batch.key.request, event).await.map(|_| ())
            }
            BatchEffect::ReleaseCommits => self.ledger(&batch.repository).release(&batch.key).await,
            BatchEffect::DeletePack => self.delete_pack(&batch.key).await,
            BatchEffect::DeadLetter { reason } => {
                let message_id = format!("{}.dead", batch.key);
                let body = json(&reference).into();
                self.dead_letter(topology::SCHEDULED_BATCH, &message_id, &reason, body).await
            }
        }
    }

    /// A request ends its batches and a batch ends its request: the recursion needs a box.
    fn apply_scan_boxed<'a>(
        &'a self,
        id: &'a RequestId,
        event: ScanEvent,
    ) -> BoxFuture<'a, Result<RepositoryScan, BusError>> {
        async move { self.apply_scan(id, &[event]).await }.boxed()
    }

    fn apply_batch_boxed<'a>(
        &'a self,
        key: &'a BatchKey,
        event: BatchEvent,
    ) -> BoxFuture<'a, Result<CommitBatch, BusError>> {
        async move { self.apply_batch(key, &[event]).await }.boxed()
    }

    /// Hands a cut batch to the controller.
    ///
    /// # Errors
    /// [`BusError::Publish`] when it was not stored.
    pub async fn announce_batch(&self, batch: &v1::NewCommitBatch) -> Result<(), BusError> {
        let message_id = format!("{}.{}.new", batch.request_id, batch.batch_id);
        self.send(topology::NEW_BATCH.into(), message_id, batch).await?;
        fail::point(format_args!("batch.announced"));
        Ok(())
    }

    /// Whether a request may still go on: it exists and has not ended.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn is_live(&self, id: &RequestId) -> Result<bool, BusError> {
        Ok(self.scan(id).await?.is_some_and(|scan| !scan.state.is_terminal()))
    }

    /// Whether a request is past fetching its repository, so that another may fetch it.
    pub(crate) async fn is_past_fetching(&self, id: &RequestId) -> Result<bool, BusError> {
        Ok(match self.scan(id).await?.map(|scan| scan.state) {
            None => true,
            Some(ScanState::InProgress { is_listed, .. }) => is_listed,
            Some(ScanState::Completed | ScanState::Failed { .. } | ScanState::Cancelled) => true,
            Some(
                ScanState::New
                | ScanState::Validating
                | ScanState::Queued
                | ScanState::Scheduling
                | ScanState::Scheduled,
            ) => false,
        })
    }

    /// Whether the batch is scanned or otherwise at its end.
    pub fn has_ended(batch: &CommitBatch) -> bool {
        matches!(
            batch.state,
            BatchState::Completed { .. } | BatchState::Failed { .. } | BatchState::Cancelled
        )
    }
}

fn last_name<R: Record>(events: &[R::Event]) -> &'static str {
    events.last().map_or("nothing", R::name)
}

/// A fail point after each effect.
fn performed<R: Record>(events: &[R::Event], index: usize) {
    fail::point(format_args!("{}.{}.performed.{index}", R::SHORT, last_name::<R>(events)));
}

fn missing<R: Record>(key: &str) -> BusError {
    BusError::Missing { what: R::WHAT, key: key.to_owned() }
}
