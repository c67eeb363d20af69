//! Versions: hashes of what decides the findings.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::rule::{Allowlist, Required, Rule};
use crate::rule_set::RuleSet;

/// Raised when the engine finds something else with unchanged rules.
const ENGINE_VERSION: u32 = 1;

impl RuleSet {
    /// A hash of all that decides what a rule finds alone: its own text, the allowlists for it, and the rules that it
    /// requires. The places that a generic rule leaves to others are not in it.
    pub(crate) fn hash_of(&self, rule: &Rule) -> String {
        let mut hash = PartsHash::default();
        hash.add(&ENGINE_VERSION.to_string());
        let required = rule.required.iter().map(|required| {
            let Required { within_lines, within_columns, .. } = required;
            (format!("{within_lines:?} {within_columns:?}"), self.rule(required.rule))
        });
        for (nearness, rule) in std::iter::once((String::new(), rule)).chain(required) {
            hash.add(&nearness);
            hash.add_rule(rule);
            self.allowlists_of(rule).for_each(|allowlist| hash.add_allowlist(allowlist));
        }
        hash.finish(16)
    }
}

/// Hashes what decides the findings. Texts for people and examples are left out.
pub(crate) fn version(rules: &[Rule], allowlists: &[Allowlist]) -> String {
    let mut hash = PartsHash::default();
    hash.add(&format!("{ENGINE_VERSION} {} {}", rules.len(), allowlists.len()));
    for rule in rules {
        hash.add_rule(rule);
        hash.add(&format!("{:?} {}", rule.required, rule.is_helper));
    }
    for allowlist in rules.iter().flat_map(|rule| &rule.allowlists).chain(allowlists) {
        hash.add_allowlist(allowlist);
    }
    format!("r1-{}", hash.finish(12))
}

/// A hash of texts one after the other.
#[derive(Default)]
struct PartsHash(Sha256);

impl PartsHash {
    fn add(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn add_rule(&mut self, rule: &Rule) {
        self.add(&rule.id);
        self.add(rule.bounded_regex());
        let Rule { secret_group, entropy, is_generic, checksum, reject, .. } = rule;
        let path = rule.path();
        self.add(&format!("{path:?} {secret_group:?} {entropy:?} {is_generic} {checksum:?} {reject:?}"));
        self.add(&format!("{:?} {}", rule.keywords, rule.allowlists.len()));
    }

    fn add_allowlist(&mut self, allowlist: &Allowlist) {
        let Allowlist { condition, regex_target, target_rules, commits, stopwords, .. } = allowlist;
        self.add(&format!("{condition:?} {regex_target:?} {target_rules:?} {commits:?} {stopwords:?}"));
        self.add(&format!("{:?}", allowlist.paths().collect::<Vec<_>>()));
        self.add(&format!("{:?}", allowlist.regexes().collect::<Vec<_>>()));
    }

    /// The first of its hexadecimal digits.
    fn finish(self, digits: usize) -> String {
        HEXLOWER.encode(&self.0.finalize())[..digits].to_owned()
    }
}
