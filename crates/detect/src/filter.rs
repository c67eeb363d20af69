//! Choosing some of a rule set's rules.

use std::collections::HashSet;

use crate::error::RuleError;
use crate::rule::{Confidence, Rule};
use crate::rule_set::RuleSet;

/// Which rules are to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFilter {
    /// Those of at least this confidence.
    pub confidence: Confidence,
    /// Only those with these ids; empty: all.
    pub only: Vec<String>,
    /// None with these ids.
    pub without: Vec<String>,
}

impl RuleSet {
    /// The rules that pass the filter. What they require stays too, without reporting anything.
    ///
    /// # Errors
    /// [`RuleError::UnknownRule`] when the filter names a rule that is not there.
    pub fn filtered(&self, filter: &RuleFilter) -> Result<Self, RuleError> {
        let has = |id: &str| self.rules().iter().any(|rule| rule.id == id);
        if let Some(id) = filter.only.iter().chain(&filter.without).find(|id| !has(id)) {
            return Err(RuleError::UnknownRule { id: id.clone() });
        }
        let passes = |rule: &&Rule| {
            rule.confidence >= filter.confidence
                && (filter.only.is_empty() || filter.only.contains(&rule.id))
                && !filter.without.contains(&rule.id)
        };
        let passing: HashSet<&str> =
            self.rules().iter().filter(passes).map(|rule| rule.id.as_str()).collect();
        let mut wanted = passing.clone();
        for rule in self.rules().iter().filter(passes) {
            wanted.extend(rule.required.iter().map(|required| required.id.as_str()));
        }
        let mut rules: Vec<Rule> = Vec::with_capacity(wanted.len());
        for rule in self.whole_rules().into_iter().filter(|rule| wanted.contains(rule.id.as_str())) {
            let is_helper = rule.is_helper || !passing.contains(rule.id.as_str());
            let mut rule = Rule { is_helper, ..rule };
            if is_helper {
                // What a required rule requires itself does not matter, and may not be there.
                rule.required.clear();
            }
            rules.push(rule);
        }
        Ok(Self::assemble(rules, self.allowlists().to_vec(), self.warnings().to_vec()))
    }
}
