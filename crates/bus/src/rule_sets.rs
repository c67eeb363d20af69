//! What each version of the rules consists of.

use secretscan_model::RuleHashes;

use crate::{Bus, BusError};

impl Bus {
    /// Puts down what a version consists of, unless it is known. Repeats safely: a version never changes.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn know_rule_set(&self, version: &str, rules: &RuleHashes) -> Result<(), BusError> {
        if self.rule_sets.get(version).await?.is_none() {
            self.rule_sets.create(version, rules).await?;
        }
        Ok(())
    }

    /// What a version consists of; `None` when no batch-agent ever said.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn rule_set(&self, version: &str) -> Result<Option<RuleHashes>, BusError> {
        Ok(self.rule_sets.get(version).await?.map(|record| record.value))
    }
}
