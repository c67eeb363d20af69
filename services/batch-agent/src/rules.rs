//! The rules that this agent scans with, and those that run where rules have changed.

use std::sync::{Mutex, PoisonError};

use secretscan_detect::{RuleHash, Scanner};
use secretscan_model::{ChosenRules, Finding, RuleHashes, RuleId};

use crate::error::WorkError;

/// The scanner with all rules, and the last one that was made of some of them.
pub(crate) struct AgentRules {
    scanner: Scanner,
    hashes: RuleHashes,
    narrowed: Mutex<Option<(Vec<RuleId>, Scanner)>>,
}

impl AgentRules {
    pub(crate) fn new(scanner: Scanner) -> Self {
        let mut hashes = RuleHashes::default();
        for RuleHash { id, hash, is_generic } in scanner.hashes() {
            let id = RuleId::fit(&id);
            if is_generic {
                hashes.generic.insert(id.clone());
            }
            // Several may go by one name where that was made fit.
            hashes.rules.entry(id).or_default().push_str(&hash);
        }
        Self { hashes, scanner, narrowed: Mutex::default() }
    }

    /// What they consist of.
    pub(crate) fn hashes(&self) -> &RuleHashes {
        &self.hashes
    }

    /// Their version.
    pub(crate) fn version(&self) -> String {
        self.scanner.version()
    }

    /// The scanner for a batch: one with all rules, unless some are chosen.
    pub(crate) fn scanner(&self, chosen: Option<&ChosenRules>) -> Result<Scanner, WorkError> {
        let Some(ChosenRules { rule_set, rules }) = chosen else { return Ok(self.scanner.clone()) };
        let own = self.version();
        if *rule_set != own {
            return Err(WorkError::OtherRules { wanted: rule_set.clone(), own });
        }
        let Some(rules) = rules else { return Ok(self.scanner.clone()) };
        // The batches of a request have the same.
        let mut narrowed = self.narrowed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, scanner)) = &*narrowed
            && known == rules
        {
            return Ok(scanner.clone());
        }
        let scanner = self.scanner.narrowed(|id| rules.contains(&RuleId::fit(id)))?;
        *narrowed = Some((rules.clone(), scanner.clone()));
        Ok(scanner)
    }

    /// A finding with the hash of the rule that found it.
    pub(crate) fn mark(&self, finding: Finding) -> Finding {
        let matched_by = self.hashes.rules.get(&finding.rule_id).cloned().into_iter().collect();
        Finding { matched_by, ..finding }
    }
}
