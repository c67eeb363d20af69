//! The built-in rules.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use secretscan_detect::{RuleSet, Scanner};

#[test]
fn every_example_does_what_it_should() {
    let mut complaints = RuleSet::builtin().check();
    complaints.retain(|complaint| !complaint.problem.is_warning());
    assert_eq!(complaints, []);
}

#[test]
fn every_rule_is_complete_and_local() {
    let rules = RuleSet::builtin();
    let mut ids = HashSet::new();
    for rule in rules.rules() {
        let id = &rule.id;
        assert!(ids.insert(id), "{id} is there twice");
        assert!(rule.is_local(), "the matches of {id} need not contain its keywords");
        assert!(
            rule.examples.matching.len() >= 2 && rule.examples.near_misses.len() >= 2,
            "examples of {id}"
        );
        assert!(!rule.description.is_empty() && !rule.keywords.is_empty(), "{id}");
        assert!(rule.documentation.is_some() || rule.is_generic, "documentation of {id}");
    }
    assert!(ids.len() >= 45);
}

#[test]
fn version_is_stable_and_follows_the_meaning() {
    let rules = RuleSet::builtin();
    let version = rules.version();
    assert!(version.len() == 15 && version.starts_with("r1-"), "{version}");
    let rule = "[[rules]]\nid = 'a'\nregex = 'abc[0-9]'\n";
    let parse = |text: &str| RuleSet::parse(text, "test").unwrap().version().to_owned();
    assert_eq!(parse(rule), parse(&format!("{rule}description = 'other words'\n")));
    assert_ne!(parse(rule), parse(&format!("{rule}entropy = 3.0\n")));
    assert_ne!(parse(rule), parse(&rule.replace("[0-9]", "[1-9]")));
}

#[test]
fn this_crate_has_no_findings() {
    fn walk(folder: &std::path::Path, scanner: &Scanner, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, scanner, found);
                continue;
            }
            let content = std::fs::read(&path).unwrap();
            for raw in scanner.scan(&content) {
                if scanner.is_reported(&raw, path.to_string_lossy().as_bytes(), None) {
                    let rule = &scanner.rules().rule(raw.rule).id;
                    found.push(format!("{}:{} {rule} {}", path.display(), raw.line, raw.excerpt));
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(std::path::Path::new(env!("CARGO_MANIFEST_DIR")), &Scanner::new(RuleSet::builtin()), &mut found);
    assert_eq!(found, [""; 0]);
}

#[test]
fn hostile_repetition_stays_linear() {
    const LEN: usize = 300_000;
    // Linear work takes a few milliseconds; a window per candidate that goes on to the longest match takes minutes.
    const LIMIT: Duration = Duration::from_secs(2);
    let scanner = Scanner::new(RuleSet::builtin());
    for rule in scanner.rules().rules() {
        let example = &rule.examples.matching[0];
        for cut in [4, 8, 12, 20, 30, 60, example.len()] {
            let piece = &example[..cut.min(example.len())];
            for separator in ["", "-", "\n"] {
                let content = format!("{piece}{separator}").repeat(LEN / (piece.len() + separator.len()));
                let started = Instant::now();
                scanner.scan(content.as_bytes());
                assert!(started.elapsed() < LIMIT, "{} repeats {cut} bytes and {separator:?}", rule.id);
            }
        }
    }
}
