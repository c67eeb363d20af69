//! The built-in rules.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;

use secretscan_detect::{ALIASES, RuleSet, Scanner, canonical};
use secretscan_rules::{builtin, builtin_with_examples};

#[test]
fn every_example_does_what_it_should() {
    let mut complaints = builtin_with_examples().check();
    complaints.retain(|complaint| !complaint.problem.is_warning());
    assert_eq!(complaints, []);
}

#[test]
fn every_rule_is_complete_and_local() {
    let rules = builtin_with_examples();
    let mut ids = HashSet::new();
    let mut faults = Vec::new();
    for rule in rules.rules() {
        let id = rule.id.as_str();
        let (matching, near_misses) = (rule.examples.matching.len(), rule.examples.near_misses.len());
        let is_documented = rule.documentation.as_ref().is_some_and(|url| url.starts_with("https://"));
        for (is_right, fault) in [
            (ids.insert(id.to_owned()), "there twice"),
            (rule.is_local(), "matches need not contain its keywords"),
            (rule.is_generic || matching.min(near_misses) >= 3, "fewer than three examples"),
            (!rule.description.is_empty() && !rule.keywords.is_empty(), "no description or no keywords"),
            (rule.is_generic || is_documented, "no documentation"),
        ] {
            if !is_right {
                faults.push(format!("{id}: {fault}"));
            }
        }
    }
    assert_eq!(faults, [""; 0]);
    assert!(ids.len() >= 400);
}

#[test]
fn version_is_stable_and_follows_the_meaning() {
    let rules = builtin();
    let version = rules.version();
    assert!(version.len() == 15 && version.starts_with("r1-"), "{version}");
    let rule = "[[rules]]\nid = 'a'\nregex = 'abc[0-9]'\n";
    let parse = |text: &str| RuleSet::parse(text, "test", None).unwrap().version().to_owned();
    assert_eq!(parse(rule), parse(&format!("{rule}description = 'other words'\n")));
    assert_ne!(parse(rule), parse(&format!("{rule}entropy = 3.0\n")));
    assert_ne!(parse(rule), parse(&rule.replace("[0-9]", "[1-9]")));
}

#[test]
fn rules_and_engine_have_no_findings() {
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
    walk(std::path::Path::new(env!("CARGO_MANIFEST_DIR")), &Scanner::new(builtin()), &mut found);
    assert_eq!(found, [""; 0]);
}

#[test]
fn aliases_lead_to_rules_that_are_there() {
    let rules = builtin();
    let has = |id: &str| rules.rules().iter().any(|rule| rule.id == id);
    let astray = ALIASES.iter().filter(|(theirs, ours)| !has(ours) || has(theirs));
    assert_eq!(astray.collect::<Vec<_>>(), [&("", ""); 0]);
    assert!(ALIASES.iter().all(|(theirs, ours)| canonical(theirs) == *ours));
}

/// A window per candidate that goes on to the longest match would take minutes.
#[test]
fn hostile_repetition_stays_linear() {
    const LEN: usize = 20_000;
    let scanner = Scanner::new(builtin());
    for rule in builtin_with_examples().rules() {
        let example = &rule.examples.matching[0];
        for cut in [8, 20, example.len()] {
            let piece = example.as_bytes().get(..cut).unwrap_or(example.as_bytes());
            for separator in [&b""[..], b"\n"] {
                scanner.scan(&[piece, separator].concat().repeat(LEN / (piece.len() + separator.len())));
            }
        }
    }
}
