//! Some of a scanner's rules, as they find beside the others.
//!
//! A scanner of just these rules would be wrong: what they find may be a place that another rule wins, and beside it may
//! stand a secret that only another rule knows, and masks. So they run alone over everything, and where they find something,
//! which is seldom, all rules run over that content: what is kept are the matches of the chosen.

use std::sync::Arc;

use crate::error::RuleError;
use crate::filter::RuleFilter;
use crate::rule::{Confidence, RuleIndex};
use crate::scanner::{RawMatch, Scanned, Scanner};

/// The chosen rules.
#[derive(Clone, Debug)]
pub(crate) struct Narrow {
    /// A scanner of them alone.
    pub(crate) alone: Scanner,
    /// Whether a rule of the whole set is chosen, by place.
    is_chosen: Arc<[bool]>,
}

impl Narrow {
    pub(crate) fn new(whole: &Scanner, is_chosen: impl Fn(&str) -> bool) -> Result<Self, RuleError> {
        let rules = whole.rules().rules();
        let chosen: Vec<bool> = rules.iter().map(|rule| is_chosen(&rule.id)).collect();
        let of_chosen = rules.iter().zip(&chosen).filter(|(_, is_chosen)| **is_chosen);
        let only: Vec<String> = of_chosen.map(|(rule, _)| rule.id.clone()).collect();
        let filter = RuleFilter { confidence: Confidence::Low, only, without: Vec::new() };
        let alone = whole.with_rules(Arc::new(whole.rules().filtered(&filter)?));
        Ok(Self { alone, is_chosen: chosen.into() })
    }

    /// The matches of the chosen rules, among those of all.
    pub(crate) fn keep(&self, matches: &mut Vec<RawMatch>) {
        matches.retain(|found| self.is_chosen(found.rule));
    }

    pub(crate) fn is_chosen(&self, rule: RuleIndex) -> bool {
        self.is_chosen[usize::from(rule.0)]
    }

    /// What the chosen rules found alone, as it is beside the others.
    pub(crate) fn settle(&self, whole: &Scanner, content: &[u8], mut alone: Scanned) -> Scanned {
        if !alone.matches.is_empty() {
            alone.matches = whole.scan_all(content).matches;
            self.keep(&mut alone.matches);
        }
        alone
    }
}
