//! Looks at rules as their authors should: runs the examples that they carry, and names what makes scans slow.

use std::fmt;
use std::sync::Arc;

use crate::error::Place;
use crate::rule::Rule;
use crate::rule_set::RuleSet;
use crate::scanner::Scanner;

/// A regex of more states takes long to compile and to run. Scans take twice as many: rules are also written elsewhere.
const MAX_STATES: usize = 100_000;
/// So many examples of either kind a rule should have.
const MIN_EXAMPLES: usize = 3;

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Where the rule is.
    pub place: Place,
    /// What it is.
    pub problem: Problem,
}

/// What can be wrong with a rule that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The matching example with this number, from 1, is not found. The text itself is left out: it may look like a
    /// secret.
    Missed(usize),
    /// The near miss with this number is found.
    Found(usize),
    /// The regex has to read every byte.
    Slow,
    /// The regex is large.
    Large {
        /// About as many states as it has when compiled.
        states: usize,
    },
    /// There are fewer than three matching examples or near misses.
    FewExamples {
        /// How many match.
        matching: usize,
        /// How many do not.
        near_misses: usize,
    },
}

impl Problem {
    /// Whether the rule may stay as it is.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::FewExamples { .. })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed(number) => write!(f, "matching example {number} is not found"),
            Self::Found(number) => write!(f, "near miss {number} is found"),
            Self::Slow => f.write_str(
                "no text of three or more characters is in every match of the regex, so it has to read every byte of \
                 every file with a keyword, or of all files when there is none",
            ),
            Self::Large { states } => {
                write!(f, "the regex has {states} states, the limit is {MAX_STATES}; lower the limits of its repetitions")
            }
            Self::FewExamples { matching, near_misses } => write!(
                f,
                "examples that match: {matching}, near misses: {near_misses}; there should be {MIN_EXAMPLES} of each"
            ),
        }
    }
}

impl RuleSet {
    /// Everything that is wrong with the rules. Scans every example of every rule: the rule must find something in each
    /// matching one and nothing in the near misses; other rules may find what they like. The examples of a rule about
    /// paths alone are paths.
    pub fn check(&self) -> Vec<Complaint> {
        let audible = self.whole_rules().into_iter().map(|rule| Rule { is_helper: false, ..rule });
        let audible = Self::assemble(audible.collect(), self.allowlists().to_vec(), Vec::new());
        let scanner = Scanner::new(Arc::new(audible));
        let mut complaints = Vec::new();
        for (index, rule) in self.rules().iter().enumerate() {
            let mut complain = |problem| complaints.push(Complaint { place: rule.place.clone(), problem });
            let is_found = |text: &String| {
                let found = if rule.is_path_only() {
                    scanner.scan_path(text.as_bytes())
                } else {
                    scanner.scan(text.as_bytes())
                };
                found.iter().any(|found| usize::from(found.rule.0) == index)
            };
            if rule.is_slow() {
                complain(Problem::Slow);
            }
            if rule.pattern.states > MAX_STATES {
                complain(Problem::Large { states: rule.pattern.states });
            }
            let examples = &rule.examples;
            let (matching, near_misses) = (examples.matching.len(), examples.near_misses.len());
            (1..)
                .zip(&examples.matching)
                .filter(|(_, text)| !is_found(text))
                .for_each(|(n, _)| complain(Problem::Missed(n)));
            (1..)
                .zip(&examples.near_misses)
                .filter(|(_, text)| is_found(text))
                .for_each(|(n, _)| complain(Problem::Found(n)));
            if matching.min(near_misses) < MIN_EXAMPLES {
                complain(Problem::FewExamples { matching, near_misses });
            }
        }
        complaints
    }
}
