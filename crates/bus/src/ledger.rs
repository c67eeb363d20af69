//! The ledger of scanned commits on the bus: one head and immutable segments for each repository.

mod cache;
mod forget;
mod rescan;

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use prost::Message;
use secretscan_model::ledger::{CommitState, Head, KnownCommits, Segment, drop_known, sorted};
use secretscan_model::{BatchKey, CommitId, RepositoryId};
use secretscan_proto::{pack_commit_ids, unpack_commit_ids, v1};
use uuid::Uuid;

use crate::metrics::WriteRefusal;
use crate::{Bus, BusError, fail, now};

use cache::Ids;
pub use cache::LedgerCache;
pub use forget::{ForgetError, Wanted};

/// A revision race lost this often in a row is given up; the message comes back later.
const MAX_RACES: u32 = 100;
/// Segments of one ledger read at once.
const CONCURRENCY: usize = 16;

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
        self.commits_in(|_| true).await
    }

    /// The commits of all segments that pass.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn commits_in(&self, passes: impl Fn(&Segment) -> bool) -> Result<KnownCommits, BusError> {
        for _ in 0..MAX_RACES {
            let mut head = self.head().await?;
            head.segments.retain(&passes);
            let commits = head.segments.iter().map(|segment| segment.commits).sum::<u64>();
            let mut ids = Vec::with_capacity(usize::try_from(commits).unwrap_or_default());
            let mut segments = futures::stream::iter(keys(&head))
                .map(|key| async move { self.segment(&key).await })
                .buffer_unordered(CONCURRENCY);
            let mut is_whole = true;
            while let Some(segment) = segments.try_next().await? {
                is_whole &= segment.is_some();
                ids.extend(segment.unwrap_or_default());
            }
            // A head that was read before a release or a merger names a segment that is gone: there is another by now.
            if is_whole {
                return Ok(ids.into());
            }
        }
        Err(BusError::Contended { key: self.head_key(), attempts: MAX_RACES })
    }

    /// The segments that hold these commits; a commit that the ledger does not know is missing.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn holders(&self, commits: &[CommitId]) -> Result<HashMap<CommitId, Segment>, BusError> {
        for _ in 0..MAX_RACES {
            let (mut holders, mut is_whole) = (HashMap::new(), true);
            let mut segments = futures::stream::iter(self.head().await?.segments)
                .map(|segment| async move {
                    let ids = self.segment(&segment.key).await?;
                    Ok::<_, BusError>((segment, ids))
                })
                .buffer_unordered(CONCURRENCY);
            while let Some((segment, ids)) = segments.try_next().await? {
                is_whole &= ids.is_some();
                let ids = ids.unwrap_or_default();
                let held = commits.iter().filter(|id| ids.binary_search(id).is_ok());
                holders.extend(held.map(|id| (*id, segment.clone())));
            }
            if is_whole {
                return Ok(holders);
            }
        }
        Err(BusError::Contended { key: self.head_key(), attempts: MAX_RACES })
    }

    /// Those of the offered commits that no segment holds: sorted, each once. `None` when a segment is gone.
    async fn unknown(
        &self,
        head: &Head,
        offered: &[CommitId],
        cache: &LedgerCache,
    ) -> Result<Option<Vec<CommitId>>, BusError> {
        let mut ids = sorted(offered);
        let mut segments = futures::stream::iter(keys(head))
            .map(|key| async move { self.cached_segment(&key, cache).await })
            .buffer_unordered(CONCURRENCY);
        while let Some(segment) = segments.try_next().await? {
            let Some(segment) = segment else { return Ok(None) };
            drop_known(&mut ids, &segment);
        }
        Ok(Some(ids))
    }

    async fn cached_segment(&self, key: &str, cache: &LedgerCache) -> Result<Option<Ids>, BusError> {
        let name = self.segment_key(key);
        if let Some(ids) = cache.get(&name) {
            return Ok(Some(ids));
        }
        let _permit = cache.reads.acquire().await.expect("it is never closed");
        let Some(ids) = self.segment(key).await? else { return Ok(None) };
        let ids = Arc::new(ids);
        cache.insert(name, ids.clone());
        Ok(Some(ids))
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
        let writer = cache.writer(&self.repository);
        let _turn = writer.lock().await;
        for _ in 0..MAX_RACES {
            let loaded = self.bus.heads.get(&self.head_key()).await?;
            let revision = loaded.as_ref().map(|head| head.revision);
            let mut head = loaded.map(|head| head.value).unwrap_or_default();
            if let Some(segment) = head.segment(batch) {
                self.delete_stray_segments(batch, &segment.key).await?;
                return Ok(segment.commits);
            }
            // A segment that is gone: the head is another by now.
            let Some(ids) = self.unknown(&head, offered, cache).await? else { continue };
            if ids.is_empty() {
                return Ok(0);
            }
            // A name that nobody else uses: a racing writer of the same batch can neither change nor delete what this
            // head will name.
            let key = format!("{batch}.{}", Uuid::now_v7().simple());
            self.put_segment(&key, &ids).await?;
            fail::point(format_args!("ledger.segment-written"));
            head.admit(Segment {
                batch: batch.clone(),
                key: key.clone(),
                commits: ids.len() as u64,
                state: CommitState::WaitingForScan,
                is_rescanned: false,
                rule_set: String::new(),
                at: now(),
            });
            if let Some(written) = self.write_head(&head, revision).await? {
                fail::point(format_args!("ledger.admitted"));
                if is_repeated {
                    self.delete_stray_segments(batch, &key).await?;
                }
                let count = ids.len() as u64;
                cache.insert(self.segment_key(&key), Arc::new(ids));
                self.merge(head, written, cache).await?;
                return Ok(count);
            }
            self.delete_segment(&key).await?;
        }
        Err(BusError::Contended { key: self.head_key(), attempts: MAX_RACES })
    }

    /// Puts one segment in the place of several small ones that are scanned, when there are enough: the head must not
    /// grow with every push to a repository.
    async fn merge(&self, mut head: Head, revision: u64, cache: &LedgerCache) -> Result<(), BusError> {
        let parts = head.mergeable();
        if parts.is_empty() {
            return Ok(());
        }
        let mut ids = Vec::new();
        for part in &parts {
            // Gone: another controller has merged it.
            let Some(segment) = self.cached_segment(&part.key, cache).await? else { return Ok(()) };
            ids.extend_from_slice(&segment);
        }
        // A segment has ids of one object format. Both are there where a repository was replaced while it was scanned.
        if ids.iter().any(|id| !id.is_of_format_of(&ids[0])) {
            return Ok(());
        }
        let ids = sorted(&ids);
        self.delete_left(&mut head).await?;
        let key = derived_key();
        self.put_segment(&key, &ids).await?;
        head.merge(&parts, key.clone());
        if self.write_head(&head, Some(revision)).await?.is_none() {
            // Another time.
            return self.delete_segment(&key).await;
        }
        cache.insert(self.segment_key(&key), Arc::new(ids));
        for part in parts {
            cache.remove(&self.segment_key(&part.key));
            self.delete_segment(&part.key).await?;
        }
        Ok(())
    }

    /// Deletes what a controller left that died between the write of a head and the deletion of what it had replaced.
    async fn delete_left(&self, head: &mut Head) -> Result<(), BusError> {
        for key in head.merged.drain(..) {
            self.delete_segment(&key).await?;
        }
        Ok(())
    }

    async fn put_segment(&self, key: &str, ids: &[CommitId]) -> Result<(), BusError> {
        let (commit_id_length, commit_ids) = pack_commit_ids(ids);
        let bytes = v1::LedgerSegment { commit_id_length, commit_ids }.encode_to_vec();
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

    /// Gives the revision; `None` when another wrote first.
    async fn write_head(&self, head: &Head, revision: Option<u64>) -> Result<Option<u64>, BusError> {
        let key = self.head_key();
        let written = match revision {
            Some(revision) => self.bus.heads.update(&key, head, revision).await?,
            None => self.bus.heads.create(&key, head).await?,
        };
        if written.is_none() {
            self.bus.metrics.refused("ledger", WriteRefusal::RaceLost);
        }
        Ok(written)
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
            if self.write_head(&head, Some(loaded.revision)).await?.is_some() {
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

    /// Ends a batch without a scan: see [`Head::release`]. Repeats safely.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub(crate) async fn release(&self, batch: &BatchKey) -> Result<(), BusError> {
        if let Some(segment) = self.change_head(|head| head.release(batch)).await?
            && segment.state == CommitState::WaitingForScan
        {
            self.delete_segment(&segment.key).await?;
        }
        Ok(())
    }
}

/// The key of a segment that is made of others. Not below the name of a batch: who admits that batch deletes what
/// is there and the head did not name a moment ago.
fn derived_key() -> String {
    Uuid::now_v7().simple().to_string()
}

fn keys(head: &Head) -> Vec<String> {
    head.segments.iter().map(|segment| segment.key.clone()).collect()
}
