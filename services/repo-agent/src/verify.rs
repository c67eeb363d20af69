//! Which commits of a history are not scanned, and why.

use std::collections::BTreeMap;

use secretscan_git::CommitEntry;
use secretscan_model::ledger::CommitState;
use secretscan_model::{BatchKey, CommitId, Listing, NotScanned, RepositoryId};

use crate::{Agent, MAX_NOT_SCANNED, WorkError};

impl Agent {
    /// Compares a listed history with the ledger, and names the commits that are not scanned.
    pub(crate) async fn verify(
        &self,
        repository: &RepositoryId,
        commits: &[CommitEntry],
    ) -> Result<Listing, WorkError> {
        let ledger = self.bus.ledger(repository);
        let scanned = ledger.commits_in(|segment| segment.state == CommitState::Scanned).await?;
        let missing = commits.iter().map(|commit| commit.id).filter(|id| !scanned.contains(id));
        let missing: Vec<CommitId> = missing.collect();
        let named = &missing[..missing.len().min(MAX_NOT_SCANNED)];
        let holders = ledger.holders(named).await?;
        let (mut not_scanned, mut batches) = (Vec::new(), BTreeMap::new());
        for id in named {
            let reason = match holders.get(id) {
                None => "the ledger does not know it: ask for a scan".to_owned(),
                // Scanned since the ledger was read.
                Some(segment) if segment.state == CommitState::Scanned => continue,
                Some(segment) => self.waits(&segment.batch, &mut batches).await?,
            };
            not_scanned.push(NotScanned { what: id.to_string(), reason });
        }
        let left_off = missing.len() - named.len();
        let unknown = (not_scanned.len() + left_off) as u64;
        if left_off > 0 {
            let what = format!("{left_off} more");
            not_scanned.push(NotScanned { what, reason: "too many to name".into() });
        }
        Ok(Listing { commits: commits.len() as u64, unknown, not_scanned, ..Listing::default() })
    }

    /// What the commits of a batch in flight wait for.
    async fn waits(
        &self,
        batch: &BatchKey,
        known: &mut BTreeMap<BatchKey, String>,
    ) -> Result<String, WorkError> {
        if let Some(reason) = known.get(batch) {
            return Ok(reason.clone());
        }
        let reason = match self.bus.batch(batch).await? {
            Some(record) => format!("its batch {batch} is {}", record.state.name()),
            None => format!("its batch {batch} has no record"),
        };
        known.insert(batch.clone(), reason.clone());
        Ok(reason)
    }
}
