//! From content to the matches of each rule's regex: literals, windows, regexes.

use std::collections::HashMap;
use std::ops::Range;

use regex::bytes::Captures;
use serde::{Deserialize, Serialize};

use crate::automaton::Automaton;
use crate::landmarks::{Copied, Landmark, Landmarks, MARGIN, zones};
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

/// What finding a text means.
#[derive(Debug, Serialize, Deserialize)]
enum Meaning {
    /// A match of the rule may start around here: this one of its literals stands here.
    Candidate { rule: u16, literal: u16, is_exact: bool, min_before: usize, max_before: usize },
    /// The rule's keyword is there.
    Keyword { rule: u16 },
    /// The line is allowed.
    Allow,
}

/// All literals of a rule set in one automaton.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
pub(crate) struct Search {
    automaton: Automaton,
    /// By text of the automaton.
    meanings: Vec<Vec<Meaning>>,
    /// By text of the automaton: whether it is to be remembered even where it stands in no match, because what is within
    /// [`MARGIN`] of its start does not decide that, or because it means something else.
    is_remembered: Vec<bool>,
    /// By rule: whether it reads everything even without keywords, since it has none.
    is_open: Vec<bool>,
    /// The rules without literals.
    slow: Vec<u16>,
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
    /// The place in the list of the landmark that says so.
    landmark: usize,
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
            for (literal, number) in rule.pattern.literals.iter().zip(0_u16..) {
                let Literal { is_exact, min_before, max_before, .. } = *literal;
                let meaning =
                    Meaning::Candidate { rule: index, literal: number, is_exact, min_before, max_before };
                add(literal.lower(), meaning);
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
        let automaton = Automaton::new(texts);
        let is_remembered = meanings.iter().map(|all| all.iter().any(|m| m.reaches_far(rules))).collect();
        let is_open = |rule: &Rule| rule.pattern.reads_everything() && rule.keywords.is_empty();
        let slow = rules.iter().zip(0_u16..).filter(|(rule, _)| rule.is_slow()).map(|(_, index)| index);
        Self {
            automaton,
            meanings,
            is_remembered,
            is_open: rules.iter().map(is_open).collect(),
            slow: slow.collect(),
        }
    }

    /// Every literal that stands in the content.
    pub(crate) fn landmarks(&self, content: &[u8]) -> Landmarks {
        let mut list = Vec::new();
        self.automaton.find(content, |text, start| list.push(Landmark { start, text }));
        Landmarks::new(list, content.len())
    }

    /// The literals that may stand in a match, in content that consists of parts of another one and of new bytes.
    pub(crate) fn landmarks_of_delta(
        &self,
        content: &[u8],
        base: &Landmarks,
        copied: &[Copied],
    ) -> Landmarks {
        let Some(zones) = zones(copied, base.content_len(), content.len()) else {
            return self.landmarks(content);
        };
        let mut list = Vec::new();
        for zone in &zones {
            let end = content.len().min(zone.end + self.automaton.max_len());
            self.automaton.find(&content[zone.start..end], |text, start| {
                let start = zone.start + start;
                if start < zone.end {
                    list.push(Landmark { start, text });
                }
            });
        }
        let mut zones = zones.iter().peekable();
        for copied in copied {
            for landmark in base.from(copied.from) {
                if landmark.start >= copied.from + copied.len {
                    break;
                }
                let start = landmark.start - copied.from + copied.to;
                while zones.next_if(|zone| zone.end <= start).is_some() {}
                if zones.peek().is_none_or(|zone| start < zone.start) {
                    list.push(Landmark { start, text: landmark.text });
                }
            }
        }
        Landmarks::new(list, content.len())
    }

    /// Every match of every rule's regex, as if each had searched the whole content (those rules aside whose
    /// keywords are missing). Landmarks that a delta would find again are forgotten.
    pub(crate) fn find(&self, rules: &[Rule], content: &[u8], landmarks: &mut Landmarks) -> Hits {
        let mut hits = Hits::default();
        let mut candidates: Vec<Starts> = Vec::new();
        let mut has_keyword = self.is_open.clone();
        for (landmark, index) in landmarks.list().iter().zip(0..) {
            for meaning in &self.meanings[landmark.text as usize] {
                let at = landmark.start;
                match meaning {
                    Meaning::Candidate { rule, literal, is_exact, min_before, max_before } => {
                        let pattern = &rules[usize::from(*rule)].pattern;
                        let is_there =
                            || content[at..].starts_with(&pattern.literals[usize::from(*literal)].text);
                        if at < *min_before || *is_exact && !is_there() {
                            continue;
                        }
                        let (first, last) = (at.saturating_sub(*max_before), at - min_before);
                        let runs = &pattern.runs;
                        if runs.iter().all(|run| run.may_be_in(content, first, last)) {
                            candidates.push(Starts { rule: *rule, first, last, landmark: index });
                        }
                    }
                    Meaning::Keyword { rule } => has_keyword[usize::from(*rule)] = true,
                    Meaning::Allow => hits.allow_comments.push(at),
                }
            }
        }
        candidates.retain(|starts| {
            !rules[usize::from(starts.rule)].pattern.is_gated || has_keyword[usize::from(starts.rule)]
        });
        let mut is_open = vec![false; landmarks.list().len()];
        candidates.sort_unstable();
        for of_rule in candidates.chunk_by(|a, b| a.rule == b.rule) {
            let rule = &rules[usize::from(of_rule[0].rule)];
            find_in_windows(rule, of_rule, content, &mut hits.hits, &mut is_open);
        }
        landmarks.keep(|index, landmark| is_open[index] || self.is_remembered[landmark.text as usize]);
        // Without literals any place is a candidate.
        for index in self.slow.iter().filter(|index| has_keyword[usize::from(**index)]) {
            let all = Starts { rule: *index, first: 0, last: content.len(), landmark: 0 };
            find_in_windows(&rules[usize::from(*index)], &[all], content, &mut hits.hits, &mut [false]);
        }
        hits.hits.sort_unstable();
        hits
    }
}

impl Meaning {
    /// Whether more than what is within [`MARGIN`] of the text's start plays a part.
    fn reaches_far(&self, rules: &[Rule]) -> bool {
        match self {
            Self::Candidate { rule, min_before, max_before, .. } => {
                let pattern = &rules[usize::from(*rule)].pattern;
                let after = (pattern.max_len + CONTEXT).saturating_sub(*min_before);
                pattern.is_gated || max_before + CONTEXT > MARGIN || after > MARGIN
            }
            Self::Keyword { .. } | Self::Allow => true,
        }
    }
}

/// The matches that start in one of the windows, as `find_iter` over the whole content would give them: leftmost,
/// not overlapping. `starts` is of one rule and sorted. Marks in `is_open` the landmarks whose windows have a match,
/// or might have one if an earlier match did not hide it.
fn find_in_windows(
    rule: &Rule,
    starts: &[Starts],
    content: &[u8],
    hits: &mut Vec<Hit>,
    is_open: &mut [bool],
) {
    let mut at = 0;
    let mut rest = starts;
    while let Some(mut window) = rest.first().copied() {
        let mut len = 1;
        while let Some(next) = rest.get(len).filter(|next| next.first <= window.last) {
            window.last = window.last.max(next.last);
            len += 1;
        }
        let known = hits.len();
        let is_hidden = at > window.first;
        at = at.max(window.first);
        while at <= window.last
            && let Some(hit) = find_first(rule, window.rule, content, (window.first, at, window.last))
        {
            at = hit.end;
            hits.push(hit);
        }
        if is_hidden || hits.len() > known {
            rest[..len].iter().for_each(|starts| is_open[starts.landmark] = true);
        }
        rest = &rest[len..];
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
    use crate::automaton::LANES;

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
        r"regex = '''\Btok'''",
        r"regex = '''key\B'''",
        "regex = '''[a-z]{4}'''\nkeywords = ['Gate']",
        r"regex = '''[ab=]{3}'''",
        "regex = '''tok[a-z]'''\nkeywords = ['gate', 'door']",
    ];

    /// Those of them that look at a few bytes only, so that deltas take much over.
    const SHORT: &[usize] = &[0, 4, 12, 15, 16];

    fn rules<'a>(bodies: impl Iterator<Item = &'a &'static str>) -> (RuleSet, Search) {
        let rule = |(number, body)| format!("[[rules]]\nid = 'rule-{number}'\n{body}\n");
        let text: String = bodies.enumerate().map(rule).collect();
        let rules = RuleSet::parse(&text, "test", None).unwrap();
        let search = Search::new(rules.rules());
        (rules, search)
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
        let found = search.find(rules.rules(), content, &mut search.landmarks(content)).hits;
        assert_eq!(
            found,
            find_naively(rules.rules(), content),
            "in {:?}",
            content.escape_ascii().to_string()
        );
    }

    static HARD_RULES: LazyLock<(RuleSet, Search)> = LazyLock::new(|| rules(HARD.iter()));
    static SHORT_RULES: LazyLock<(RuleSet, Search)> =
        LazyLock::new(|| rules(SHORT.iter().map(|number| &HARD[*number])));

    /// Parsed here: what the crate of the built-in rules has is of this crate as built without its tests.
    static BUILTIN: LazyLock<RuleSet> = LazyLock::new(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/builtin");
        let read = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(entry.unwrap().path());
        let texts: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| read(entry).unwrap()).collect();
        RuleSet::join(texts.iter().map(|text| ("builtin", text.as_str()))).unwrap()
    });

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
        let examples: Vec<String> = BUILTIN
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
            assert_same(&BUILTIN, BUILTIN.search(), &content);
        }
    }

    /// How a content is made of the one before it: parts to copy, by two places each, and new bytes before each.
    /// Places are shares of the length.
    type Step = Vec<(Vec<u8>, f64, f64)>;

    fn steps(new: impl Strategy<Value = Vec<u8>> + 'static) -> impl Strategy<Value = Vec<Step>> {
        let new = prop_oneof![Just(Vec::new()), new].boxed();
        let place = || prop_oneof![Just(0.0), Just(1.0), 0.0..1.0];
        let part = (new, place(), place());
        prop::collection::vec(prop::collection::vec(part, 0..4), 1..6)
    }

    /// Whatever row of deltas leads to a content, the same is found in it as by a scan of the whole.
    fn assert_deltas_same(rules: &RuleSet, search: &Search, base: Vec<u8>, steps: &[Step]) {
        let mut content = base;
        let mut landmarks = search.landmarks(&content);
        search.find(rules.rules(), &content, &mut landmarks);
        for step in steps {
            let (mut next, mut copied) = (Vec::new(), Vec::new());
            for (new, one, other) in step {
                next.extend(new);
                let place = |share: &f64| (share * content.len() as f64) as usize;
                let (one, other) = (place(one), place(other));
                let range = one.min(other)..one.max(other);
                copied.push(Copied { from: range.start, to: next.len(), len: range.len() });
                next.extend(&content[range]);
            }
            landmarks = search.landmarks_of_delta(&next, &landmarks, &copied);
            let found = search.find(rules.rules(), &next, &mut landmarks);
            let expected = search.find(rules.rules(), &next, &mut search.landmarks(&next));
            assert_eq!(found.hits, expected.hits, "in {:?}", next.escape_ascii().to_string());
            assert_eq!(found.allow_comments, expected.allow_comments);
            content = next;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn deltas_are_scanned_like_whole_contents(
            base in prop::collection::vec(hard_content(), 1..10).prop_map(|parts| parts.concat()),
            steps in steps(hard_content().prop_map(|mut content| { content.truncate(20); content })),
        ) {
            assert_deltas_same(&HARD_RULES.0, &HARD_RULES.1, base.clone(), &steps);
            assert_deltas_same(&SHORT_RULES.0, &SHORT_RULES.1, base, &steps);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn builtin_patterns_are_found_in_deltas(base in likely_content(), steps in steps(likely_content())) {
            assert_deltas_same(&BUILTIN, BUILTIN.search(), base, &steps);
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
