use std::sync::{LazyLock, Mutex};

use proptest::prelude::*;
use regex::bytes::Regex;

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
    let search = Search::new(&rules.whole_rules());
    (rules, search)
}

fn compiled(regex: &str) -> Regex {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap();
    compiled.entry(regex.to_owned()).or_insert_with(|| Regex::new(regex).unwrap()).clone()
}

/// The definition of what [`Search::find`] finds: no prefilter, no windows.
fn find_naively(rules: &Rules, content: &[u8]) -> Vec<Hit> {
    let lower = content.to_ascii_lowercase();
    let has = |word: &String| memchr::memmem::find(&lower, word.to_ascii_lowercase().as_bytes()).is_some();
    let mut hits = Vec::new();
    for (rule, index) in rules.iter().zip(0_u16..) {
        if !rule.keywords.is_empty() && !rule.keywords.iter().any(has) {
            continue;
        }
        let regex = compiled(rule.pattern.bounded());
        for captures in regex.captures_iter(content) {
            let whole = captures.get_match().range();
            let group =
                |index| captures.get(index).map(|group| group.range()).filter(|range| !range.is_empty());
            let secret = match rule.secret_group {
                Some(index) => group(index),
                None => (1..captures.len()).find_map(group),
            };
            let secret = secret.unwrap_or(whole.clone());
            hits.push(Hit {
                start: whole.start,
                end: whole.end,
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
    assert_eq!(found, find_naively(rules.rules(), content), "in {:?}", content.escape_ascii().to_string());
}

static HARD_RULES: LazyLock<(RuleSet, Search)> = LazyLock::new(|| rules(HARD.iter()));
static SHORT_RULES: LazyLock<(RuleSet, Search)> =
    LazyLock::new(|| rules(SHORT.iter().map(|number| &HARD[*number])));

/// Parsed here: what the crate of the built-in rules has is of this crate as built without its tests.
static BUILTIN: LazyLock<RuleSet> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/builtin");
    let read = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(entry.unwrap().path());
    let texts: Vec<String> = std::fs::read_dir(folder).unwrap().map(|entry| read(entry).unwrap()).collect();
    RuleSet::join(texts.iter().map(|text| ("builtin", text.as_str()))).unwrap()
});

fn hard_content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "tok", "TOK", "token", "key", "gate", "a", "b", "x", "=", " ", "\n", "\r\n", "\r", "é", "α", "_",
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
    for len in 0..30 {
        for at in 0..=len {
            let content = format!("{}tokab;key{}", "-".repeat(at), "-".repeat(len - at));
            assert_same(&HARD_RULES.0, &HARD_RULES.1, content.as_bytes());
            let content = &content.as_bytes()[..len];
            assert_same(&HARD_RULES.0, &HARD_RULES.1, content);
        }
    }
}
