//! Which commits are to be scanned again because the rules have changed, and with which rules.

use std::collections::BTreeSet;

use secretscan_git::CommitEntry;
use secretscan_model::ledger::CommitState;
use secretscan_model::{Claim, RepositoryId, RepositoryScan, Rescan, ScanEvent};

use crate::{Agent, WorkError};

impl Agent {
    /// Compares the versions that the ledger has with the wanted one, puts down which rules must run, and gives those of the
    /// listed commits that they must run over. None when no rule is new or changed.
    pub(crate) async fn outdated(
        &self,
        scan: &RepositoryScan,
        claim: &Claim,
        repository: &RepositoryId,
        rescan: &Rescan,
        commits: Vec<CommitEntry>,
    ) -> Result<Vec<CommitEntry>, WorkError> {
        let wanted = &rescan.chosen.rule_set;
        let ledger = self.bus.ledger(repository);
        let head = ledger.head().await?;
        // Those in flight as well: batches that an earlier attempt cut run with what is put down here.
        let is_other = |version: &&String| *version != wanted;
        let scanned = head.segments.iter().filter(|segment| segment.state == CommitState::Scanned);
        let from: BTreeSet<&String> = scanned.map(|segment| &segment.rule_set).filter(is_other).collect();
        let version = wanted.clone();
        let current = self.bus.rule_set(wanted).await?.ok_or(WorkError::UnknownRules { version })?;
        let mut older = Vec::with_capacity(from.len());
        for version in &from {
            older.push(self.bus.rule_set(version).await?);
        }
        let rules = current.rescan(&older);
        let has_none = rules.as_ref().is_some_and(Vec::is_empty);
        tracing::info!(
            request_id = %scan.id, rule_set = wanted, rules = rules.as_ref().map(Vec::len), versions = from.len(),
            "rules chosen"
        );
        let from = from.into_iter().cloned().collect();
        let choose = ScanEvent::ChooseRules { claim: claim.clone(), from, rules };
        self.bus.apply_scan(&scan.id, &[choose]).await?;
        if has_none {
            return Ok(Vec::new());
        }
        let outdated = ledger.commits_in(|segment| segment.is_outdated(wanted)).await?;
        Ok(commits.into_iter().filter(|commit| outdated.contains(&commit.id)).collect())
    }
}
