//! The ledger of scanned commits on the bus: one head and immutable segments for each repository.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};
use prost::Message;
use secretscan_model::ledger::{CommitState, Head, Segment, unknown};
use secretscan_model::{BatchKey, CommitId, RepositoryId};
use secretscan_proto::{pack_commit_ids, unpack_commit_ids, v1};
use uuid::Uuid;

use crate::metrics::WriteRefusal;
use crate::{Bus, BusError, fail, now};

/// A revision race lost this often in a row is given up; the message comes back later.
const MAX_RACES: u32 = 100;
/// Segments read at once.
const CONCURRENCY: usize = 16;

/// What was read of one repository's ledger. Segments never change, so only new ones need reading.
#[derive(Default)]
pub struct KnownCommits {
    segments: HashSet<String>,
    ids: HashSet<CommitId>,
}

impl KnownCommits {
    /// Whether the ledger knows the commit: scanned, or in flight.
    pub fn contains(&self, id: &CommitId) -> bool {
        self.ids.contains(id)
    }

    /// How many commits the ledger knows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether the ledger knows none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// What the controller remembers of ledgers that it reads again and again.
#[derive(Default)]
pub struct LedgerCache {
    repositories: Mutex<HashMap<RepositoryId, Arc<tokio::sync::Mutex<KnownCommits>>>>,
}

/// Repositories remembered by a [`LedgerCache`] at a time.
const MAX_CACHED: usize = 64;

impl LedgerCache {
    fn entry(&self, repository: &RepositoryId) -> Arc<tokio::sync::Mutex<KnownCommits>> {
        let mut repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        if repositories.len() >= MAX_CACHED && !repositories.contains_key(repository) {
            repositories.clear();
        }
        repositories.entry(repository.clone()).or_default().clone()
    }
}

/// The ledger of one repository.
pub struct Ledger<'a> {
    bus: &'a Bus,
    repository: RepositoryId,
}

impl Bus {
    /// The ledger of a repository.
    pub fn ledger(&self, repository: &RepositoryId) -> Ledger<'_> {
        Ledger { bus: self, repository: repository.clone() }
    }
}

impl Ledger<'_> {
    fn head_key(&self) -> String {
        format!("{}.head", self.repository)
    }

    fn segment_key(&self, key: &str) -> String {
        format!("{}.segment.{key}", self.repository)
    }

    /// The head; empty when nothing was ever admitted.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn head(&self) -> Result<Head, BusError> {
        Ok(self.bus.heads.get(&self.head_key()).await?.map(|head| head.value).unwrap_or_default())
    }

    /// All commits that the ledger knows now.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn known(&self) -> Result<KnownCommits, BusError> {
        let mut known = KnownCommits::default();
        self.refresh(&self.head().await?, &mut known).await?;
        Ok(known)
    }

    async fn refresh(&self, head: &Head, known: &mut KnownCommits) -> Result<(), BusError> {
        let listed: HashSet<&str> = head.segments.iter().map(|segment| segment.key.as_str()).collect();
        if known.segments.iter().any(|key| !listed.contains(key.as_str())) {
            *known = KnownCommits::default();
        }
        let missing: Vec<String> =
            listed.into_iter().filter(|key| !known.segments.contains(*key)).map(str::to_owned).collect();
        let mut segments = futures::stream::iter(missing)
            .map(|key| async move {
                let ids = self.segment(&key).await?;
                Ok::<_, BusError>((key, ids))
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((key, ids)) = segments.try_next().await? {
            // A head that was read before a release may name a segment that is gone: its commits are unknown again.
            if let Some(ids) = ids {
                known.ids.extend(ids);
                known.segments.insert(key);
            }
        }
        Ok(())
    }

    async fn segment(&self, key: &str) -> Result<Option<Vec<CommitId>>, BusError> {
        let Some((bytes, _)) = self.bus.heads.read(&self.segment_key(key)).await? else { return Ok(None) };
        let segment = v1::LedgerSegment::decode(bytes)
            .map_err(|error| BusError::Segment { reason: error.to_string() })?;
        unpack_commit_ids(segment.commit_id_length, &segment.commit_ids)
            .map(Some)
            .map_err(|error| BusError::Segment { reason: error.to_string() })
    }

    /// The commits of a batch that were admitted; `None` when the ledger has no such batch.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn commits_of(&self, batch: &BatchKey) -> Result<Option<Vec<CommitId>>, BusError> {
        match self.head().await?.segment(batch) {
            Some(segment) => self.segment(&segment.key).await,
            None => Ok(None),
        }
    }

    /// Marks those commits of a batch as waiting that are neither scanned nor in flight; gives how many. Two batches
    /// that race for a commit never both get it: the head is written on condition of its revision. Repeats safely;
    /// `is_repeated` says that somebody may have tried before, and left a segment that the head does not name.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn admit(
        &self,
        batch: &BatchKey,
        offered: &[CommitId],
        cache: &LedgerCache,
        is_repeated: bool,
    ) -> Result<u64, BusError> {
        let entry = cache.entry(&self.repository);
        let mut known = entry.lock().await;
        for _ in 0..MAX_RACES {
            let loaded = self.bus.heads.get(&self.head_key()).await?;
            let revision = loaded.as_ref().map(|head| head.revision);
            let mut head = loaded.map(|head| head.value).unwrap_or_default();
            if let Some(segment) = head.segment(batch) {
                self.delete_stray_segments(batch, &segment.key).await?;
                return Ok(segment.commits);
            }
            self.refresh(&head, &mut known).await?;
            let ids = unknown(offered, &known.ids);
            if ids.is_empty() {
                return Ok(0);
            }
            let (commit_id_length, commit_ids) = pack_commit_ids(&ids);
            let segment = v1::LedgerSegment { commit_id_length, commit_ids };
            let bytes = segment.encode_to_vec();
            // A name that nobody else uses: a racing writer of the same batch can neither change nor delete what this
            // head will name.
            let key = format!("{batch}.{}", Uuid::now_v7().simple());
            self.put_segment(&key, bytes).await?;
            fail::point(format_args!("ledger.segment-written"));
            head.admit(Segment {
                batch: batch.clone(),
                key: key.clone(),
                commits: ids.len() as u64,
                state: CommitState::WaitingForScan,
                rule_set: String::new(),
                at: now(),
            });
            if self.write_head(&head, revision).await? {
                fail::point(format_args!("ledger.admitted"));
                if is_repeated {
                    self.delete_stray_segments(batch, &key).await?;
                }
                known.segments.insert(key);
                let count = ids.len() as u64;
                known.ids.extend(ids);
                return Ok(count);
            }
            self.delete_segment(&key).await?;
        }
        Err(BusError::Contended { key: self.head_key(), attempts: MAX_RACES })
    }

    async fn put_segment(&self, key: &str, bytes: Vec<u8>) -> Result<(), BusError> {
        let store = self.bus.heads.store().await?;
        store.put(self.segment_key(key), bytes.into()).await.map_err(|source| BusError::Bucket {
            bucket: store.name.clone(),
            action: "writing",
            source: Box::new(source),
        })?;
        Ok(())
    }

    async fn delete_segment(&self, key: &str) -> Result<(), BusError> {
        self.bus.heads.purge(&self.segment_key(key)).await
    }

    /// Deletes the segments of a batch but for the one that the head names: no other can be named any more.
    async fn delete_stray_segments(&self, batch: &BatchKey, named: &str) -> Result<(), BusError> {
        let store = self.bus.heads.store().await?;
        let failed = |source| BusError::Bucket { bucket: store.name.clone(), action: "listing", source };
        let prefix = format!("{}{}.segment.", store.prefix, self.repository);
        let mut subjects = store
            .stream
            .info_with_subjects(format!("{prefix}{batch}.*"))
            .await
            .map_err(|error| failed(Box::new(error)))?;
        while let Some((subject, _)) = subjects.try_next().await.map_err(|error| failed(Box::new(error)))? {
            if let Some(key) = subject.strip_prefix(&prefix)
                && named != key
            {
                self.delete_segment(key).await?;
            }
        }
        Ok(())
    }

    async fn write_head(&self, head: &Head, revision: Option<u64>) -> Result<bool, BusError> {
        let key = self.head_key();
        let written = match revision {
            Some(revision) => self.bus.heads.update(&key, head, revision).await?,
            None => self.bus.heads.create(&key, head).await?,
        };
        if written.is_none() {
            self.bus.metrics.refused("ledger", WriteRefusal::RaceLost);
        }
        Ok(written.is_some())
    }

    /// Changes the head, if `change` says that it did, under compare-and-set.
    async fn change_head<T>(
        &self,
        mut change: impl FnMut(&mut Head) -> Option<T>,
    ) -> Result<Option<T>, BusError> {
        for _ in 0..MAX_RACES {
            let Some(loaded) = self.bus.heads.get(&self.head_key()).await? else { return Ok(None) };
            let mut head = loaded.value;
            let Some(changed) = change(&mut head) else { return Ok(None) };
            if self.write_head(&head, Some(loaded.revision)).await? {
                return Ok(Some(changed));
            }
        }
        Err(BusError::Contended { key: self.head_key(), attempts: MAX_RACES })
    }

    /// Marks the commits of a batch as scanned with these rules. Repeats safely.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn mark_scanned(&self, batch: &BatchKey, rule_set: &str) -> Result<(), BusError> {
        self.change_head(|head| head.mark_scanned(batch, rule_set, now()).then_some(())).await?;
        fail::point(format_args!("ledger.marked"));
        Ok(())
    }

    /// Makes the commits of a batch unknown again, unless they were scanned. Repeats safely.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub(crate) async fn release(&self, batch: &BatchKey) -> Result<(), BusError> {
        if let Some(segment) = self.change_head(|head| head.release(batch)).await? {
            self.delete_segment(&segment.key).await?;
        }
        Ok(())
    }
}
