//! Runs the examples that rules carry.

use std::sync::Arc;

use crate::rule_set::RuleSet;
use crate::scanner::Scanner;

/// An example that does not do what it should. The text itself is left out: it may look like a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleFailure {
    /// The rule.
    pub rule: String,
    /// The position in its list, from 1.
    pub number: usize,
    /// Whether the rule should have found something in it.
    pub should_match: bool,
}

impl RuleSet {
    /// Scans every example of every rule: the rule must find something in each matching one and nothing in the near
    /// misses. Other rules may find what they like.
    pub fn check(self: &Arc<Self>) -> Vec<ExampleFailure> {
        let scanner = Scanner::new(self.clone());
        let mut failures = Vec::new();
        for (index, rule) in self.rules().iter().enumerate() {
            let examples = &rule.examples;
            for (texts, should_match) in [(&examples.matching, true), (&examples.near_misses, false)] {
                for (number, text) in (1..).zip(texts) {
                    let matches = scanner.scan(text.as_bytes());
                    if matches.iter().any(|found| usize::from(found.rule.0) == index) != should_match {
                        failures.push(ExampleFailure { rule: rule.id.clone(), number, should_match });
                    }
                }
            }
        }
        failures
    }
}
