//! Reading rule files: what is taken, what is refused, and what the refusal says.

use std::error::Error;

use secretscan_detect::{RuleError, RuleSet};

fn refusal(toml: &str) -> String {
    let error: RuleError = RuleSet::parse(toml, "rules.toml").expect_err("refused");
    error.to_string()
}

#[test]
fn gitleaks_keys_are_taken() {
    let rules = RuleSet::parse(
        r#"
title = "ours"
minVersion = "8.25.0"
[[rules]]
id = "corp"
description = "Corp token"
regex = '''corp_([a-z0-9]{8})'''
path = '''\.env$'''
secretGroup = 1
entropy = 2.0
keywords = ["corp_"]
tags = ["ours"]
[[rules.allowlists]]
condition = "AND"
regexTarget = "line"
regexes = ['''^#''']
paths = ['''^docs/''']
[rules.allowlist]
stopwords = ["abc"]
[allowlist]
commits = ["0123456789abcdef0123456789abcdef01234567"]
[[allowlists]]
targetRules = ["corp"]
paths = ['''^vendor/''']
"#,
        "rules.toml",
    )
    .unwrap();
    let rule = &rules.rules()[0];
    assert_eq!((rule.id.as_str(), rule.secret_group, rule.path()), ("corp", Some(1), Some(r"\.env$")));
    assert_eq!((rule.allowlists.len(), rules.allowlists().len()), (2, 2));
}

#[test]
fn a_refusal_names_file_line_and_rule() {
    let unknown =
        refusal("[[rules]]\nid = 'one'\nregex = 'abcd'\n\n[[rules]]\nid = 'two'\nregexp = 'abcd'\n");
    assert!(unknown.starts_with("rules.toml:7 (rule `two`): unknown field `regexp`"), "{unknown}");

    let error = RuleSet::parse("[[rules]]\nid = 'one'\nregex = 'ab(cd'\n", "rules.toml").unwrap_err();
    assert_eq!(error.to_string(), "rules.toml:3 (rule `one`): `regex` is not a valid regex");
    assert!(error.source().unwrap().to_string().contains("unclosed group"));

    assert!(
        refusal("[[rules]]\nid = 'one'\nregex = '(?:[a-z]{900}){1000}'\n")
            .contains("rules.toml:3 (rule `one`): `regex` is too big")
    );
    assert!(
        refusal("[[rules]]\nid = 'one'\ntags = ['a']\n").ends_with("the rule has neither `regex` nor `path`")
    );
    assert!(refusal("[[rules]]\nregex = 'abcd'\n").ends_with("the rule has no `id`"));
    assert!(
        refusal("[[rules]]\nid = 'one'\nregex = 'abc(d)'\nsecretGroup = 2\n")
            .contains("`secretGroup` is more")
    );
    assert!(refusal("[[allowlists]]\ndescription = 'nothing'\n").contains("has none of"));
    assert!(refusal("[[allowlists]]\ncommits = ['abc']\n").contains("`commits`"));
    assert!(refusal("[[allowlists]]\npaths = ['(']\n").starts_with("rules.toml:2: `paths`"));
    assert!(refusal("[extend]\npath = 'other.toml'\n").contains("loaded from a file"));
}

#[test]
fn extending_adds_completes_and_disables() {
    let builtin = RuleSet::builtin().rules().len();
    let rules = RuleSet::parse(
        "[extend]\nuseDefault = true\ndisabledRules = ['jwt']\n\
         [[rules]]\nid = 'corp'\nregex = 'corp_[0-9]{8}'\n\
         [[rules]]\nid = 'github-token'\nseverity = 'low'\n[[rules.allowlists]]\npaths = ['^test/']\n",
        "rules.toml",
    )
    .unwrap();
    assert_eq!(rules.rules().len(), builtin);
    assert!(rules.rules().iter().all(|rule| rule.id != "jwt"));
    let github = rules.rules().iter().find(|rule| rule.id == "github-token").unwrap();
    assert_eq!((github.severity.as_str(), github.allowlists.len()), ("low", 1));
    assert!(github.regex().unwrap().starts_with(r"\bgh"));
}

#[test]
fn files_extend_each_other_by_relative_path() {
    let folder = std::env::temp_dir().join(format!("secretscan-detect-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("base")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("base/rules.toml", "[[rules]]\nid = 'base'\nregex = 'base_[0-9]{8}'\n");
    write("own.toml", "[extend]\npath = 'base/rules.toml'\n[[rules]]\nid = 'own'\nregex = 'own_[0-9]{8}'\n");
    write("circle.toml", "[extend]\npath = 'circle.toml'\n");
    let ids = |rules: &RuleSet| rules.rules().iter().map(|rule| rule.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&RuleSet::load(&folder.join("own.toml")).unwrap()), ["base", "own"]);
    let too_deep = RuleSet::load(&folder.join("circle.toml")).unwrap_err();
    let missing = RuleSet::load(&folder.join("missing.toml")).unwrap_err();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(too_deep, RuleError::TooDeep { .. }));
    assert!(matches!(missing, RuleError::Read { .. }));
}
