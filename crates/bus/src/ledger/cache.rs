//! What a controller remembers of the ledgers that it reads again and again, within bounds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use secretscan_model::{CommitId, RepositoryId};
use tokio::sync::Semaphore;

/// Commits remembered at a time, over all repositories: some 70 MB.
const MAX_COMMITS: usize = 2_000_000;
/// Repositories whose writers are told apart at a time.
const MAX_WRITERS: usize = 64;
/// Segments read at once: each is up to a megabyte in transit and once more when it is read.
const MAX_READS: usize = 16;

/// The commits of a segment, sorted.
pub(super) type Ids = Arc<Vec<CommitId>>;

/// What the controller remembers of ledgers. A segment never changes, so it is remembered until there is no room.
pub struct LedgerCache {
    segments: Mutex<Segments>,
    /// One writer of a repository at a time in this process: they would only lose races against each other.
    writers: Mutex<HashMap<RepositoryId, Arc<tokio::sync::Mutex<()>>>>,
    pub(super) reads: Semaphore,
}

#[derive(Default)]
struct Segments {
    ids: HashMap<String, Ids>,
    commits: usize,
}

impl Default for LedgerCache {
    fn default() -> Self {
        Self { segments: Mutex::default(), writers: Mutex::default(), reads: Semaphore::new(MAX_READS) }
    }
}

impl LedgerCache {
    pub(super) fn writer(&self, repository: &RepositoryId) -> Arc<tokio::sync::Mutex<()>> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if writers.len() >= MAX_WRITERS {
            writers.retain(|_, writer| Arc::strong_count(writer) > 1);
        }
        writers.entry(repository.clone()).or_default().clone()
    }

    pub(super) fn get(&self, key: &str) -> Option<Ids> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).ids.get(key).cloned()
    }

    pub(super) fn insert(&self, key: String, ids: Ids) {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if segments.commits + ids.len() > MAX_COMMITS {
            *segments = Segments::default();
        }
        segments.commits += ids.len();
        if let Some(before) = segments.ids.insert(key, ids) {
            segments.commits -= before.len();
        }
    }

    pub(super) fn remove(&self, key: &str) {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ids) = segments.ids.remove(key) {
            segments.commits -= ids.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let cache = LedgerCache::default();
        let ids = Arc::new(vec![CommitId::from_bytes(&[7; 20]).unwrap(); MAX_COMMITS / 2]);
        cache.insert("a".into(), ids.clone());
        cache.insert("a".into(), ids.clone());
        cache.insert("b".into(), ids.clone());
        assert!(cache.get("a").is_some() && cache.get("b").is_some(), "the same is counted once");
        cache.insert("c".into(), ids);
        assert!(cache.get("a").is_none() && cache.get("c").is_some());
    }
}
