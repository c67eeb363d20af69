//! From content to the matches of each rule's regex: literals, windows, regexes.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use regex::bytes::Captures;

use crate::literal::Literal;
use crate::pattern::Pattern;
use crate::rule::Rule;

/// Comments that exclude the matches on their line.
const ALLOW_COMMENTS: [&str; 2] = ["secretscan:allow", "gitleaks:allow"];
/// How many bytes beyond the longest match a window shows, so that look-around sees what it would see in the whole
/// content: `\b` decodes up to one character, the line anchors look at two bytes.
const CONTEXT: usize = 8;

/// What finding a text means.
#[derive(Debug)]
enum Meaning {
    /// A match of the rule may start around here.
    Candidate { rule: u16, exact: Option<Vec<u8>>, min_before: usize, max_before: usize },
    /// The rule's keyword is there.
    Keyword { rule: u16 },
    /// The line is allowed.
    Allow,
}

/// All literals of a rule set in one automaton.
#[derive(Debug)]
pub(crate) struct Search {
    automaton: AhoCorasick,
    /// By pattern of the automaton.
    meanings: Vec<Vec<Meaning>>,
}

/// A match of a rule's regex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) rule: u16,
    pub(crate) secret_start: usize,
    pub(crate) secret_end: usize,
}

/// What is in one content.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    /// Sorted by start.
    pub(crate) hits: Vec<Hit>,
    /// Where the allow comments stand, ascending.
    pub(crate) allow_comments: Vec<usize>,
}

/// A match of the rule may start at `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Starts {
    rule: u16,
    first: usize,
    last: usize,
}

impl Search {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut texts: Vec<Vec<u8>> = Vec::new();
        let mut meanings: Vec<Vec<Meaning>> = Vec::new();
        let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut add = |text: Vec<u8>, meaning| {
            let at = *known.entry(text).or_insert_with_key(|text| {
                texts.push(text.clone());
                meanings.push(Vec::new());
                texts.len() - 1
            });
            meanings[at].push(meaning);
        };
        for (rule, index) in rules.iter().zip(0_u16..) {
            for Literal { lower, exact, min_before, max_before } in rule.pattern.literals.iter().cloned() {
                add(lower, Meaning::Candidate { rule: index, exact, min_before, max_before });
            }
            if rule.pattern.is_gated {
                for keyword in &rule.keywords {
                    add(keyword.to_ascii_lowercase().into(), Meaning::Keyword { rule: index });
                }
            }
        }
        for comment in ALLOW_COMMENTS {
            add(comment.into(), Meaning::Allow);
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&texts)
            .expect("a few thousand short texts are far below the limits of the automaton");
        Self { automaton, meanings }
    }

    /// Every match of every rule's regex, as if each had searched the whole content (those rules aside whose
    /// keywords are missing).
    pub(crate) fn find(&self, rules: &[Rule], content: &[u8]) -> Hits {
        let mut hits = Hits::default();
        let mut candidates: Vec<Starts> = Vec::new();
        let mut with_keyword: Vec<u16> = Vec::new();
        let mut state = aho_corasick::automaton_state();
        while let Some(found) = self.next(content, &mut state) {
            for meaning in &self.meanings[found.pattern().as_usize()] {
                match meaning {
                    Meaning::Candidate { rule, exact, min_before, max_before } => {
                        let is_exact = exact.as_ref().is_none_or(|exact| content[found.range()] == exact[..]);
                        if is_exact && found.start() >= *min_before {
                            candidates.push(Starts {
                                rule: *rule,
                                first: found.start().saturating_sub(*max_before),
                                last: found.start() - min_before,
                            });
                        }
                    }
                    Meaning::Keyword { rule } => with_keyword.push(*rule),
                    Meaning::Allow => hits.allow_comments.push(found.start()),
                }
            }
        }
        with_keyword.sort_unstable();
        with_keyword.dedup();
        candidates.retain(|starts| {
            !rules[usize::from(starts.rule)].pattern.is_gated || with_keyword.binary_search(&starts.rule).is_ok()
        });
        // Without literals any place is a candidate.
        let everywhere = |rule: &u16| rules[usize::from(*rule)].pattern.literals.is_empty();
        candidates.extend(with_keyword.iter().copied().filter(everywhere).map(|rule| Starts {
            rule,
            first: 0,
            last: content.len(),
        }));
        candidates.sort_unstable();
        for of_rule in candidates.chunk_by(|a, b| a.rule == b.rule) {
            let index = of_rule[0].rule;
            find_in_windows(&rules[usize::from(index)], index, content, of_rule, &mut hits.hits);
        }
        hits.hits.sort_unstable();
        hits
    }
}
