//! What a version of the rules consists of, what two versions differ in, and what follows for what was found.
//!
//! A rule is known by a hash of all that decides what it finds alone. What it finds beside others depends on them only if
//! it is generic: then it yields to the others on the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{RuleId, Timestamp};
use crate::ledger::{CommitState, Head};

/// The rules of one version, as the `rule-sets` bucket keeps them by version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleHashes {
    /// A hash of each rule that reports, by id.
    pub rules: BTreeMap<RuleId, String>,
    /// Those of them that yield to others on the same bytes.
    pub generic: BTreeSet<RuleId>,
}

/// What a version has and an older one has not, by rule id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleDifference {
    /// Only the newer one has them.
    pub added: BTreeSet<RuleId>,
    /// Both have them, with different hashes.
    pub changed: BTreeSet<RuleId>,
    /// Only the older one has them.
    pub removed: BTreeSet<RuleId>,
}

impl RuleHashes {
    /// What this version has and an older one has not.
    pub fn difference(&self, older: &Self) -> RuleDifference {
        let mut difference = RuleDifference::default();
        for (id, hash) in &self.rules {
            match older.rules.get(id) {
                None => difference.added.insert(id.clone()),
                Some(before) if before != hash => difference.changed.insert(id.clone()),
                Some(_) => false,
            };
        }
        let removed = older.rules.keys().filter(|id| !self.rules.contains_key(*id));
        difference.removed.extend(removed.cloned());
        difference
    }

    /// The rules that must run over what an older version has scanned: those that are new or changed; and once one is
    /// changed or gone, the generic ones as well, since it may have won a place over them that is theirs now.
    fn to_run(&self, older: &Self) -> BTreeSet<RuleId> {
        let RuleDifference { added, changed, removed } = self.difference(older);
        let may_win_more = !changed.is_empty() || !removed.is_empty();
        let mut rules: BTreeSet<RuleId> = added.into_iter().chain(changed).collect();
        if may_win_more {
            rules.extend(self.generic.iter().cloned());
        }
        rules
    }

    /// The rules that must run over what older versions have scanned, sorted; `None`: all of them. A version of which
    /// nothing is known may have had none.
    pub fn rescan(&self, older: &[Option<Self>]) -> Option<Vec<RuleId>> {
        let mut rules = BTreeSet::new();
        for older in older {
            rules.extend(self.to_run(older.as_ref()?));
        }
        (rules.len() < self.rules.len() || rules.is_empty()).then(|| rules.into_iter().collect())
    }
}

/// Which rules scan commits again that were scanned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChosenRules {
    /// The version of the rules that the commits are scanned with in the end.
    pub rule_set: String,
    /// Those of its rules that run; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<RuleId>>,
}

/// That a whole ledger came to be scanned with one version, after another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleChange {
    /// The version.
    pub rule_set: String,
    /// When.
    pub at: Timestamp,
}

/// The change of the rules that resolved a finding: since then no version that the ledger was scanned with has a rule that
/// finds it. `matched_by` are the hashes of its rule, as the scans that found it had it; of a finding from before these
/// were kept, only that the rule is gone can be told. A version that is missing in `versions` may find anything.
pub fn resolved_by<'a>(
    rule: &RuleId,
    matched_by: &BTreeSet<String>,
    head: &'a Head,
    versions: &BTreeMap<String, RuleHashes>,
) -> Option<&'a RuleChange> {
    let finds = |version: &str| match versions.get(version).map(|version| version.rules.get(rule)) {
        None => true,
        Some(None) => false,
        Some(Some(hash)) => matched_by.is_empty() || matched_by.contains(hash),
    };
    let scanned = head.segments.iter().filter(|segment| segment.state == CommitState::Scanned);
    if scanned.map(|segment| segment.rule_set.as_str()).any(finds) {
        return None;
    }
    head.changes.iter().rev().take_while(|change| !finds(&change.rule_set)).last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Segment;

    fn hashes(rules: &[(&str, &str)], generic: &[&str]) -> RuleHashes {
        RuleHashes {
            rules: rules.iter().map(|(id, hash)| (id.parse().unwrap(), (*hash).to_owned())).collect(),
            generic: generic.iter().map(|id| id.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn only_what_is_new_or_changed_runs_and_generic_rules_that_may_win_more() {
        let older = hashes(&[("a", "1"), ("b", "1"), ("g", "1")], &["g"]);
        let text = |rules: Vec<RuleId>| rules.iter().map(RuleId::as_str).collect::<Vec<_>>().join(" ");
        let run = |newer: &RuleHashes| newer.rescan(&[Some(older.clone())]).map(text);
        assert_eq!(run(&older).unwrap(), "");
        assert_eq!(run(&hashes(&[("a", "1"), ("b", "1"), ("c", "1"), ("g", "1")], &["g"])).unwrap(), "c");
        assert_eq!(run(&hashes(&[("a", "2"), ("b", "1"), ("g", "1")], &["g"])).unwrap(), "a g");
        assert_eq!(run(&hashes(&[("b", "1"), ("g", "1")], &["g"])).unwrap(), "g", "one is gone");
        assert_eq!(run(&hashes(&[("a", "2"), ("b", "2"), ("g", "2")], &["g"])), None, "all of them");
        let newer = hashes(&[("a", "1"), ("b", "2"), ("c", "1")], &[]);
        assert_eq!(newer.rescan(&[Some(older.clone()), None]), None, "nothing is known of one");
        let other = hashes(&[("a", "1"), ("b", "2")], &[]);
        assert_eq!(
            newer.rescan(&[Some(older), Some(other)]).map(text).unwrap(),
            "b c",
            "of several, what each needs"
        );
    }

    #[test]
    fn a_finding_is_resolved_once_no_version_in_use_has_its_rule_as_it_was() {
        let versions = BTreeMap::from([
            ("v1".to_owned(), hashes(&[("a", "1"), ("b", "1")], &[])),
            ("v2".to_owned(), hashes(&[("a", "2")], &[])),
            ("v3".to_owned(), hashes(&[("a", "2"), ("c", "1")], &[])),
        ]);
        let mut head = Head::default();
        let change = |version: &str, at| RuleChange { rule_set: version.to_owned(), at: Timestamp(at) };
        let scanned = |version: &str| Segment {
            batch: "r.b".parse().unwrap(),
            key: String::new(),
            commits: 1,
            state: CommitState::Scanned,
            is_rescanned: false,
            rule_set: version.to_owned(),
            at: Timestamp(0),
        };
        let [a, b]: [RuleId; 2] = ["a", "b"].map(|id| id.parse().unwrap());
        let first: BTreeSet<String> = ["1".to_owned()].into();
        let both: BTreeSet<String> = ["1".to_owned(), "2".to_owned()].into();
        head.segments = vec![scanned("v1")];
        assert_eq!(resolved_by(&a, &first, &head, &versions), None, "the rules are what they were");
        head.segments.push(scanned("v2"));
        head.changes = vec![change("v2", 7)];
        assert_eq!(
            resolved_by(&b, &first, &head, &versions),
            None,
            "some commits are scanned with the older version"
        );
        head.segments.remove(0);
        assert_eq!(resolved_by(&a, &first, &head, &versions), Some(&change("v2", 7)), "changed");
        assert_eq!(resolved_by(&a, &both, &head, &versions), None, "changed, and found again");
        assert_eq!(resolved_by(&b, &first, &head, &versions), Some(&change("v2", 7)), "gone");
        assert_eq!(resolved_by(&a, &BTreeSet::new(), &head, &versions), None, "nobody knows what found it");
        head.segments = vec![scanned("v3")];
        head.changes.push(change("v3", 8));
        assert_eq!(resolved_by(&b, &first, &head, &versions), Some(&change("v2", 7)), "since then");
        head.segments = vec![scanned("v1")];
        head.changes.push(change("v1", 9));
        assert_eq!(resolved_by(&b, &first, &head, &versions), None, "the rule is back");
        head.segments = vec![scanned("unknown")];
        assert_eq!(resolved_by(&b, &first, &head, &versions), None);
    }
}
