//! From content to the matches of each rule's regex: literals, windows, regexes.

use std::collections::HashMap;
use std::ops::Range;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};
use regex::bytes::Captures;

use crate::literal::Literal;
use crate::rule::Rule;

/// Comments that exclude the matches on their line.
const ALLOW_COMMENTS: [&str; 2] = ["secretscan:allow", "gitleaks:allow"];
/// How many bytes beyond the longest match a window shows, so that look-around sees what it would see in the whole
/// content: `\b` decodes up to one character, the line anchors look at two bytes.
const CONTEXT: usize = 8;
/// Up to so many starts are tried one by one: such a search ends with the first byte that can't belong to a match,
/// while a search for any start goes on to the end of the window.
const MAX_TRIES: usize = 4;
/// The automaton reads so many parts of a content side by side. Each step waits for the one before it, so a processor
/// does four chains of steps in little more time than one.
const LANES: usize = 4;

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
    automaton: DFA,
    /// By pattern of the automaton.
    meanings: Vec<Vec<Meaning>>,
    /// By rule: whether it reads everything even without keywords, since it has none.
    is_open: Vec<bool>,
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
        let automaton = DFA::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            // A prefilter would only be for few texts, and would make start states special.
            .prefilter(false)
            .build(&texts)
            .expect("a few thousand short texts are far below the limits of the automaton");
        let is_open = |rule: &Rule| rule.pattern.reads_everything() && rule.keywords.is_empty();
        Self { automaton, meanings, is_open: rules.iter().map(is_open).collect() }
    }

    /// Every match of every rule's regex, as if each had searched the whole content (those rules aside whose
    /// keywords are missing).
    pub(crate) fn find(&self, rules: &[Rule], content: &[u8]) -> Hits {
        let mut hits = Hits::default();
        let mut candidates: Vec<Starts> = Vec::new();
        let mut has_keyword = self.is_open.clone();
        self.find_texts(content, |pattern, range| {
            for meaning in &self.meanings[pattern] {
                match meaning {
                    Meaning::Candidate { rule, exact, min_before, max_before } => {
                        let is_exact = exact.as_ref().is_none_or(|exact| content[range.clone()] == exact[..]);
                        if is_exact && range.start >= *min_before {
                            candidates.push(Starts {
                                rule: *rule,
                                first: range.start.saturating_sub(*max_before),
                                last: range.start - min_before,
                            });
                        }
                    }
                    Meaning::Keyword { rule } => has_keyword[usize::from(*rule)] = true,
                    Meaning::Allow => hits.allow_comments.push(range.start),
                }
            }
        });
        hits.allow_comments.sort_unstable();
        candidates.retain(|starts| {
            !rules[usize::from(starts.rule)].pattern.is_gated || has_keyword[usize::from(starts.rule)]
        });
        // Without literals any place is a candidate.
        let everywhere = rules
            .iter()
            .zip(0_u16..)
            .filter(|(rule, index)| rule.pattern.literals.is_empty() && has_keyword[usize::from(*index)]);
        candidates.extend(everywhere.map(|(_, rule)| Starts { rule, first: 0, last: content.len() }));
        candidates.sort_unstable();
        for of_rule in candidates.chunk_by(|a, b| a.rule == b.rule) {
            let rule = &rules[usize::from(of_rule[0].rule)];
            find_in_windows(rule, of_rule, content, &mut hits.hits);
        }
        hits.hits.sort_unstable();
        hits
    }

    /// Calls `found` with every text that stands in the content, by its number, and where; in no particular order.
    fn find_texts(&self, content: &[u8], mut found: impl FnMut(usize, Range<usize>)) {
        let automaton = &self.automaton;
        let step = |state, byte| automaton.next_state(Anchored::No, state, byte);
        let mut report = |state, end: usize| {
            for number in 0..automaton.match_len(state) {
                let pattern = automaton.match_pattern(state, number);
                found(pattern.as_usize(), end - automaton.pattern_len(pattern)..end);
            }
        };
        let start =
            automaton.start_state(Anchored::No).expect("the automaton was built for this kind of search");
        let part = content.len() / LANES;
        let parts: [&[u8]; LANES] = std::array::from_fn(|lane| &content[lane * part..(lane + 1) * part]);
        // What ends in a part may begin before it. The state depends on no more than the longest text.
        let mut states: [StateID; LANES] = std::array::from_fn(|lane| {
            let from = (lane * part).saturating_sub(automaton.max_pattern_len());
            content[from..lane * part].iter().fold(start, |state, byte| step(state, *byte))
        });
        for at in 0..part {
            for (state, part) in states.iter_mut().zip(parts) {
                *state = step(*state, part[at]);
            }
            if states.iter().any(|state| automaton.is_special(*state)) {
                for (lane, state) in states.iter().enumerate() {
                    if automaton.is_match(*state) {
                        report(*state, lane * part + at + 1);
                    }
                }
            }
        }
        let mut state = states[LANES - 1];
        for (byte, end) in content[LANES * part..].iter().zip(LANES * part + 1..) {
            state = step(state, *byte);
            if automaton.is_match(state) {
                report(state, end);
            }
        }
    }
}

/// The matches that start in one of the windows, as `find_iter` over the whole content would give them: leftmost,
/// not overlapping. `starts` is of one rule and sorted.
fn find_in_windows(rule: &Rule, starts: &[Starts], content: &[u8], hits: &mut Vec<Hit>) {
    let mut at = 0;
    let mut starts = starts.iter().copied().peekable();
    while let Some(mut window) = starts.next() {
        while let Some(next) = starts.next_if(|next| next.first <= window.last) {
            window.last = window.last.max(next.last);
        }
        at = at.max(window.first);
        while at <= window.last
            && let Some(hit) = find_first(rule, window.rule, content, (window.first, at, window.last))
        {
            at = hit.end;
            hits.push(hit);
        }
    }
}

/// The leftmost match that starts in `at..=last`. Every match that starts there ends within `max_len` of `last`, so
/// what lies further on can't change the result; a match that starts after `last` belongs to another window.
fn find_first(
    rule: &Rule,
    index: u16,
    content: &[u8],
    (first, at, last): (usize, usize, usize),
) -> Option<Hit> {
    let pattern = &rule.pattern;
    let end = content.len().min(last + pattern.max_len + CONTEXT);
    let hit = |base: usize, skipped: usize, captures: &Captures<'_>| {
        let whole = captures.get_match().range();
        let secret = secret_range(rule, captures).unwrap_or(whole.start + skipped..whole.end);
        Hit {
            rule: index,
            start: base + whole.start + skipped,
            end: base + whole.end,
            secret_start: base + secret.start,
            secret_end: base + secret.end,
        }
    };
    if at > 0
        && last - at < MAX_TRIES
        && let Some(anchored) = &pattern.anchored
    {
        let regex = anchored.get();
        return (at..=last).find_map(|start| {
            let window = &content[start - 1..end];
            // Captures cost more than a search, and most candidates are no match.
            let captures = regex.is_match(window).then(|| regex.captures(window)).flatten()?;
            Some(hit(start - 1, 1, &captures))
        });
    }
    let base = first.saturating_sub(CONTEXT);
    let window = &content[base..end];
    let regex = pattern.regex.get();
    let found = regex.find_at(window, at - base)?;
    if base + found.start() > last {
        return None;
    }
    regex.captures_at(window, at - base).map(|captures| hit(base, 0, &captures))
}

/// The range of the group that is the secret; `None` when that is the whole match.
fn secret_range(rule: &Rule, captures: &Captures<'_>) -> Option<Range<usize>> {
    let group = |index| captures.get(index).map(|group| group.range()).filter(|range| !range.is_empty());
    match rule.secret_group {
        Some(index) => group(index),
        None => (1..captures.len()).find_map(group),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::RuleSet;

    /// Patterns that windows could get wrong: look-around of every kind, variable prefixes, nesting, gates.
    const HARD: &[&str] = &[
        r"regex = '''\btok[a-z]{1,5}\b'''",
        r"regex = '''\Btok[a-z]*'''",
        r"regex = '''(?m)^tok.+$'''",
        r"regex = '''(?mR)^[a-z]{0,3}key$'''",
        r"regex = '''tok\z'''",
        r"regex = '''\Atok'''",
        r"regex = '''\A[a-z]*key'''",
        r"regex = '''[ab=]{0,9}tok'''",
        r"regex = '''(?:tok|token)+(=*)'''",
        r"regex = '''(tok)?[a-z]{2}key([a-z]{0,2})'''",
        r"regex = '''[a-z]+tok[a-z]+'''",
        r"regex = '''tok[\s\S]*?key'''",
        r"regex = '''\b(?:tok|key)\b'''",
        r"regex = '''(?i)tOk[^x]{3,}'''",
        r"regex = '''(?:éa|\p{Greek})tok\b'''",
        "regex = '''[a-z]{4}'''\nkeywords = ['Gate']",
        r"regex = '''[ab=]{3}'''",
        "regex = '''tok[a-z]'''\nkeywords = ['gate', 'door']",
    ];

    fn hard_rules() -> RuleSet {
        let rule = |(number, body): (usize, &&str)| format!("[[rules]]\nid = 'rule-{number}'\n{body}\n");
        let text: String = HARD.iter().enumerate().map(rule).collect();
        RuleSet::parse(&text, "test").unwrap()
    }

    /// The definition of what [`Search::find`] finds: no prefilter, no windows.
    fn find_naively(rules: &[Rule], content: &[u8]) -> Vec<Hit> {
        let lower = content.to_ascii_lowercase();
        let has =
            |word: &String| memchr::memmem::find(&lower, word.to_ascii_lowercase().as_bytes()).is_some();
        let mut hits = Vec::new();
        for (rule, index) in rules.iter().zip(0_u16..) {
            if !rule.keywords.is_empty() && !rule.keywords.iter().any(has) {
                continue;
            }
            for captures in rule.pattern.regex.get().captures_iter(content) {
                let whole = captures.get_match().range();
                let secret = secret_range(rule, &captures).unwrap_or(whole.clone());
                let (start, end) = (whole.start, whole.end);
                hits.push(Hit {
                    start,
                    end,
                    rule: index,
                    secret_start: secret.start,
                    secret_end: secret.end,
                });
            }
        }
        hits.sort_unstable();
        hits
    }

    fn assert_same(rules: &RuleSet, search: &Search, content: &[u8]) {
        let found = search.find(rules.rules(), content).hits;
        assert_eq!(
            found,
            find_naively(rules.rules(), content),
            "in {:?}",
            content.escape_ascii().to_string()
        );
    }

    static HARD_RULES: LazyLock<(RuleSet, Search)> = LazyLock::new(|| {
        let rules = hard_rules();
        let search = Search::new(rules.rules());
        (rules, search)
    });

    static BUILTIN: LazyLock<Search> = LazyLock::new(|| Search::new(RuleSet::builtin().rules()));

    fn hard_content() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "tok", "TOK", "token", "key", "gate", "a", "b", "x", "=", " ", "\n", "\r\n", "\r", "é", "α",
                "_",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    /// Examples of built-in rules, whole and cut, among separators and noise.
    fn likely_content() -> impl Strategy<Value = Vec<u8>> {
        let rules = RuleSet::builtin();
        let examples: Vec<String> = rules
            .rules()
            .iter()
            .flat_map(|rule| rule.examples.matching.iter().chain(&rule.examples.near_misses).cloned())
            .collect();
        let cut = |(text, from, to): (String, prop::sample::Index, prop::sample::Index)| {
            let (from, to) = (from.index(text.len() + 1), to.index(text.len() + 1));
            text.as_bytes()[from.min(to)..from.max(to)].to_vec()
        };
        let example = prop::sample::select(examples);
        let piece = prop_oneof![
            4 => example.clone().prop_map(String::into_bytes),
            2 => (example, any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(cut),
            4 => prop::sample::select(vec!["", " ", "\n", "\r\n", "\"", "'", "=", ": ", "-", "_", "a", "0"])
                .prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ];
        prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn hard_patterns_are_found_as_without_windows(content in hard_content()) {
            assert_same(&HARD_RULES.0, &HARD_RULES.1, &content);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn builtin_patterns_are_found_as_without_windows(content in likely_content()) {
            assert_same(&RuleSet::builtin(), &BUILTIN, &content);
        }
    }

    #[test]
    fn matches_longer_than_a_window_end_alike() {
        for text in
            ["tok".repeat(3000), format!("tok{}key", "a".repeat(5000)), format!("{}tok", "a".repeat(5000))]
        {
            assert_same(&HARD_RULES.0, &HARD_RULES.1, text.as_bytes());
        }
    }
    #[test]
    fn a_text_is_found_at_every_place() {
        for len in 0..6 * LANES {
            for at in 0..=len {
                let content = format!("{}tokab;key{}", "-".repeat(at), "-".repeat(len - at));
                assert_same(&HARD_RULES.0, &HARD_RULES.1, content.as_bytes());
                let content = &content.as_bytes()[..len];
                assert_same(&HARD_RULES.0, &HARD_RULES.1, content);
            }
        }
    }
}
