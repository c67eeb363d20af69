//! What gitleaks' README says about its configuration, and what becomes of it here.

use std::sync::Arc;

use secretscan_detect::{Confidence, Problem, RuleError, RuleFilter, RuleSet, Scanner};

/// Every key that the README documents, and ours.
const EVERY_KEY: &str = r#"
title = "ours"
description = "of the corporation"
minVersion = "8.25.0"

[extend]
useDefault = true
disabledRules = ["jwt", "github-fine-grained-pat"]

[[rules]]
id = "corp"
description = "Corp token"
severity = "high"
confidence = "medium"
documentation = "https://corp.example/tokens"
regex = '''corp_([a-z0-9]{8})'''
path = '''\.env$'''
secretGroup = 1
entropy = 2.0
keywords = ["corp_"]
tags = ["ours", "token"]
generic = false
[[rules.required]]
id = "corp-id"
withinLines = 5
withinColumns = 80
[[rules.allowlists]]
description = "comments in documents"
condition = "AND"
regexTarget = "line"
regexes = ['''^#''']
paths = ['''^docs/''']
[[rules.allowlists]]
commits = ["89abcdef0123456789abcdef0123456789abcdef"]
[rules.allowlist]
stopwords = ["abcd"]
[rules.examples]
match = [["corp_", "q8xv3lm7 id=12345"]]
miss = [["corp_", "q8xv3lm7"]]

[[rules]]
id = "corp-id"
regex = '''id=[0-9]{5}'''
skipReport = true

[[rules]]
id = "key-store"
path = '''\.p12$'''

[[rules]]
id = "generic-api-key"
[[rules.allowlists]]
regexTarget = "match"
regexes = ['''MY-''']

[allowlist]
commits = ["0123456789abcdef0123456789abcdef01234567"]

[[allowlists]]
targetRules = ["corp", "key-store"]
paths = ['''^vendor/''']
"#;

fn parse(toml: &str) -> RuleSet {
    RuleSet::parse(toml, "test", Some(&secretscan_rules::builtin())).expect("the rules are right")
}

fn scanner(toml: &str) -> Scanner {
    Scanner::new(Arc::new(parse(toml)))
}

fn refusal(toml: &str) -> String {
    let error: RuleError =
        RuleSet::parse(toml, "rules.toml", Some(&secretscan_rules::builtin())).expect_err("refused");
    error.to_string()
}

/// The rules that report something in the content at the path.
fn reporting<'a>(scanner: &'a Scanner, content: &str, path: &str) -> Vec<&'a str> {
    let path = path.as_bytes();
    let found = scanner.scan_path(path).into_iter().chain(scanner.scan(content.as_bytes()));
    found
        .filter(|raw| scanner.is_reported(raw, path, None))
        .map(|raw| scanner.rules().rule(raw.rule).id.as_str())
        .collect()
}

#[test]
fn every_key_is_taken_and_has_its_effect() {
    let rules = parse(EVERY_KEY);
    assert_eq!(rules.warnings(), [""; 0]);
    let rule = |id: &str| rules.rules().iter().find(|rule| rule.id == id);
    let corp = rule("corp").unwrap();
    assert_eq!((corp.description.as_str(), corp.severity.as_str()), ("Corp token", "high"));
    assert_eq!((corp.confidence, corp.is_generic), (Confidence::Medium, false));
    assert_eq!(corp.documentation.as_deref(), Some("https://corp.example/tokens"));
    assert_eq!((corp.regex(), corp.path()), (Some("corp_([a-z0-9]{8})"), Some(r"\.env$")));
    assert_eq!((corp.secret_group, corp.entropy), (Some(1), Some(2.0)));
    assert_eq!((corp.keywords.as_slice(), corp.tags.len()), (&["corp_".to_owned()][..], 2));
    let required = &corp.required[0];
    assert_eq!(required.id, "corp-id");
    assert_eq!((required.within_lines, required.within_columns), (Some(5), Some(80)));
    assert_eq!(
        (corp.allowlists.len(), rules.allowlists().len()),
        (3, 2 + secretscan_rules::builtin().allowlists().len())
    );
    assert!(rule("corp-id").unwrap().is_helper && rule("key-store").unwrap().is_path_only());
    assert!(rule("jwt").is_none() && rule("github-fine-grained-token").is_none());
    assert!(rule("generic-api-key").is_none(), "it completes ours");
    let (ours, before) = (rule("generic-secret-assignment").unwrap(), secretscan_rules::builtin());
    let before = before.rules().iter().find(|rule| rule.id == ours.id).unwrap();
    assert_eq!(ours.allowlists.len(), before.allowlists.len() + 1);
    let errors = rules.check().into_iter().filter(|complaint| !complaint.problem.is_warning());
    assert_eq!(errors.collect::<Vec<_>>(), []);

    let scanner = Scanner::new(Arc::new(rules));
    let secret = "# corp_q8xv3lm7 id=12345";
    assert_eq!(reporting(&scanner, secret, "a/.env"), ["corp"]);
    assert_eq!(reporting(&scanner, "corp_q8xv3lm7", "a/.env"), [""; 0], "required");
    assert_eq!(reporting(&scanner, secret, "a/b.txt"), [""; 0], "path");
    assert_eq!(reporting(&scanner, secret, "docs/.env"), [""; 0], "line and path");
    assert_eq!(reporting(&scanner, secret, "vendor/.env"), [""; 0], "targetRules");
    assert_eq!(reporting(&scanner, "corp_q8abcd7z id=12345", "a/.env"), [""; 0], "stopwords");
    assert_eq!(reporting(&scanner, "corp_qqqqqqqq id=12345", "a/.env"), [""; 0], "entropy");
    assert_eq!(reporting(&scanner, "", "a/b.p12"), ["key-store"]);
    let raw = &scanner.scan(secret.as_bytes())[0];
    let commit = |id| scanner.is_reported(raw, b".env", Some(id));
    assert!(!commit("0123456789abcdef0123456789abcdef01234567"));
    assert!(!commit("89abcdef0123456789abcdef0123456789abcdef"));
    assert!(commit("9abcdef0123456789abcdef0123456789abcdef0"));
}

#[test]
fn rules_over_the_network_are_refused() {
    let refused = refusal("[extend]\nuseDefault = true\nurl = 'https://corp.example/rules.toml'\n");
    assert!(refused.starts_with("rules.toml:3: `extend.url` is not supported: "), "{refused}");
}

#[test]
fn what_speaks_of_unknown_default_rules_is_passed_over_with_a_warning() {
    let rules = parse(
        "[extend]\nuseDefault = true\ndisabledRules = ['no-such-rule']\n\
         [[rules]]\nid = 'no-such-rule'\n[[rules.allowlists]]\npaths = ['^a']\n\
         [[allowlists]]\ntargetRules = ['jwt', 'nor-such']\npaths = ['^b']\n",
    );
    assert_eq!(
        rules.warnings(),
        [
            "test:4 (rule `no-such-rule`): the rule has no effect: no built-in rule has its id",
            "test:8: `targetRules` names the rule `nor-such`, which is not there",
        ]
    );
    assert_eq!(rules.rules().len(), secretscan_rules::builtin().rules().len());
    let refused = refusal("[[allowlists]]\ntargetRules = ['nor-such']\npaths = ['^b']\n");
    assert_eq!(refused, "rules.toml:1: `targetRules` names the rule `nor-such`, which is not there");
}

#[test]
fn a_regex_replaces_the_earlier_one_with_what_belongs_to_it() {
    let rules = parse(
        "[extend]\nuseDefault = true\n[[rules]]\nid = 'github-token'\nregex = 'corp_[0-9]{8}'\n\
         [[rules]]\nid = 'generic-api-key'\nregex = 'api-[0-9]{8}'\n",
    );
    let rule = |id: &str| rules.rules().iter().find(|rule| rule.id == id).unwrap();
    let github = rule("github-token");
    assert_eq!((github.checksum, github.secret_group, github.keywords.len()), (None, None, 0));
    assert_eq!((github.severity.as_str(), github.examples.matching.len()), ("critical", 0));
    assert!(rule("generic-secret-assignment").regex() != rule("generic-api-key").regex());
    let scanner = Scanner::new(Arc::new(rules));
    assert_eq!(
        reporting(&scanner, "corp_12345678 api-12345678", "file"),
        ["github-token", "generic-api-key"]
    );
}

const PATH_RULE: &str = "[[rules]]\nid = 'key-store'\npath = '''(?i)\\.p12$'''\ntags = ['file']\n";

#[test]
fn a_rule_without_a_regex_is_about_the_path() {
    let scanner = scanner(PATH_RULE);
    let found = scanner.scan_path(b"a/\x1bb.P12");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].line, found[0].column, found[0].end_line, found[0].end_column), (1, 1, 1, 1));
    assert_eq!(
        (found[0].secret.expose(), found[0].excerpt.as_str()),
        (&b"a/\x1bb.P12"[..], "a/\u{fffd}b.P12")
    );
    assert!(scanner.is_reported(&found[0], b"a/\x1bb.P12", None));
    assert_eq!(scanner.scan_path(b"a.p12.txt"), []);
    assert_eq!(scanner.scan(b"a.p12"), [], "the content does not matter");
}

#[test]
fn allowlists_hold_for_paths_as_far_as_they_ask_for_places() {
    let with = |more: &str| scanner(&format!("{PATH_RULE}{more}"));
    let reports = |scanner: &Scanner, commit| {
        scanner.scan_path(b"test/a.p12").iter().any(|raw| scanner.is_reported(raw, b"test/a.p12", commit))
    };
    assert!(!reports(&with("[[rules.allowlists]]\npaths = ['^test/']\n"), None));
    assert!(reports(&with("[[rules.allowlists]]\npaths = ['^src/']\nregexes = ['test']\n"), None));
    let both = with("[[allowlists]]\ncondition = 'AND'\npaths = ['^test/']\ncommits = ['0123456']\n");
    assert!(reports(&both, None) && !reports(&both, Some("0123456789")));
    assert!(reports(&with("[[allowlists]]\ncondition = 'AND'\npaths = ['^test/']\nregexes = ['a']\n"), None));
    assert!(!reports(&with("skipReport = true\n"), None));
}

/// A rule that requires another, with these limits.
fn composite(limits: &str) -> Scanner {
    scanner(&format!(
        "[[rules]]\nid = 'secret'\nregex = 'secret-[0-9]'\n[[rules.required]]\nid = 'user'\n{limits}\n\
         [[rules]]\nid = 'user'\nregex = 'user-[a-z]+'\nskipReport = true\nentropy = 2.7\n"
    ))
}

#[test]
fn a_required_match_must_be_near() {
    let close = "user-ab secret-1";
    let same_column = "user-ab\n\n\nsecret-1";
    let apart = format!("user-ab\n\n\n{}secret-1", " ".repeat(30));
    for (limits, expected) in [
        ("", [true, true, true]),
        ("withinLines = 3", [true, true, true]),
        ("withinLines = 2", [true, false, false]),
        ("withinLines = 0", [true, false, false]),
        ("withinColumns = 8", [true, true, false]),
        ("withinLines = 3\nwithinColumns = 8", [true, true, false]),
        ("withinLines = 3\nwithinColumns = 7", [false, true, false]),
    ] {
        let scanner = composite(limits);
        let reports = |content: &str| reporting(&scanner, content, "file") == ["secret"];
        assert_eq!([close, same_column, &apart].map(reports), expected, "{limits}");
        assert!(!reports("secret-1") && !reports("user-ab"));
        assert!(!reports("user-a secret-1"), "the required rule's entropy counts");
    }
}

#[test]
fn every_required_rule_must_match_and_each_match_for_itself() {
    let rules = "[[rules]]\nid = 'secret'\nregex = 'secret-[0-9]'\n\
                 [[rules.required]]\nid = 'user'\nwithinLines = 1\n[[rules.required]]\nid = 'host'\n\
                 [[rules]]\nid = 'user'\nregex = 'user-[a-z]+'\n[[rules]]\nid = 'host'\nregex = 'host-[a-z]+'\n";
    let scanner = scanner(rules);
    let found = |content: &str| -> Vec<String> {
        let found = scanner.scan(content.as_bytes()).into_iter();
        found.map(|raw| String::from_utf8(raw.secret.expose().to_vec()).unwrap()).collect()
    };
    assert_eq!(found("user-a secret-1"), ["user-a"], "rules that are required report, too");
    assert_eq!(found("user-a secret-1\n\nsecret-2 host-a"), ["user-a", "secret-1", "host-a"]);
}

#[test]
fn a_required_rule_that_is_not_for_the_path_has_no_match_there() {
    let rules = |more: &str| {
        scanner(&format!(
            "[[rules]]\nid = 'secret'\nregex = 'secret-[0-9]'\nrequired = [{{ id = 'user' }}]\n\
             [[rules]]\nid = 'user'\nregex = 'user-[a-z]+'\nskipReport = true\n{more}"
        ))
    };
    let content = "user-a secret-1";
    let for_env = rules("path = '[.]env$'\n");
    assert_eq!(reporting(&for_env, content, "a.env"), ["secret"]);
    assert_eq!(reporting(&for_env, content, "a.txt"), [""; 0]);
    let not_docs = rules("[[rules.allowlists]]\npaths = ['^docs/']\n");
    assert_eq!(reporting(&not_docs, content, "docs/a"), [""; 0]);
    assert_eq!(reporting(&not_docs, content, "a"), ["secret"]);
    let rules = parse(
        "[[rules]]\nid = 'a'\nregex = 'abcd'\nrequired = [{ id = 'b' }]\n[[rules]]\nid = 'b'\nregex = 'bcde'\n",
    );
    assert!(!rules.rules()[0].is_local() && rules.rules()[1].is_local());
}

#[test]
fn a_disabled_rule_still_helps_and_may_still_be_named() {
    let folder = std::env::temp_dir().join(format!("secretscan-disabled-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let base = "[[rules]]\nid = 'secret'\nregex = 'secret-[0-9]'\nrequired = [{ id = 'user' }]\n\
                [[rules]]\nid = 'user'\nregex = 'user-[a-z]+'\n[[rules]]\nid = 'other'\nregex = 'other'\n\
                [[allowlists]]\ntargetRules = ['other', 'user']\npaths = ['^docs/']\n";
    std::fs::write(folder.join("base.toml"), base).unwrap();
    let own = "[extend]\npath = 'base.toml'\ndisabledRules = ['user', 'other']\n";
    std::fs::write(folder.join("own.toml"), own).unwrap();
    let rules = RuleSet::load(&folder.join("own.toml"), None);
    std::fs::remove_dir_all(&folder).unwrap();
    let scanner = Scanner::new(Arc::new(rules.unwrap()));
    assert_eq!(scanner.rules().warnings(), [""; 0]);
    assert_eq!(reporting(&scanner, "user-a secret-1 other", "file"), ["secret"]);
    let builtin = parse("[extend]\nuseDefault = true\ndisabledRules = ['netrc-password']\n");
    assert_eq!(builtin.warnings(), [""; 0]);
}

#[test]
fn generic_rules_do_not_yield_to_what_is_not_reported() {
    let scanner = scanner(
        "[[rules]]\nid = 'any'\nregex = 'word-([0-9]+)'\ngeneric = true\n\
         [[rules]]\nid = 'helper'\nregex = 'word-[0-9]+'\nskipReport = true\n\
         [[rules]]\nid = 'pair'\nregex = 'word-[0-9]+'\nrequired = [{ id = 'other' }]\n\
         [[rules]]\nid = 'other'\nregex = 'other-[0-9]'\nskipReport = true\n",
    );
    assert_eq!(reporting(&scanner, "word-123", "file"), ["any"]);
    assert_eq!(reporting(&scanner, "word-123 other-1", "file"), ["pair"]);
}

#[test]
fn a_required_rule_must_be_another_with_a_regex() {
    let with = |required: &str| {
        refusal(&format!(
            "[[rules]]\nid = 'one'\nregex = 'abcd'\n[[rules.required]]\n{required}\n{PATH_RULE}"
        ))
    };
    let place = "rules.toml:4 (rule `one`): `required` ";
    assert_eq!(with("id = 'two'"), format!("{place}names the rule `two`, which is not there"));
    assert_eq!(with("id = 'one'"), format!("{place}names the rule itself"));
    assert_eq!(with("id = 'key-store'"), format!("{place}names the rule `key-store`, which has no regex"));
    assert_eq!(with("withinLines = 1"), format!("{place}has no `id`"));
    let unknown = with("id = 'two'\nwithinBytes = 1");
    assert!(unknown.starts_with("rules.toml:6 (rule `one`): unknown field `withinBytes`"), "{unknown}");
    assert!(with("id = 'two'\nwithinLines = -1").starts_with("rules.toml:6 (rule `one`): "));
    let refused = refusal(&format!(
        "{PATH_RULE}required = [{{ id = 'one' }}]\n[[rules]]\nid = 'one'\nregex = 'abcd'\n"
    ));
    assert!(refused.ends_with("the rule has `required` but no `regex`"), "{refused}");
}

#[test]
fn a_regex_without_a_fixed_text_reads_everything() {
    let scanner = scanner("[[rules]]\nid = 'hex'\nregex = '\\b[0-9a-f]{10}\\b'\n");
    assert!(scanner.rules().rules()[0].is_slow());
    assert_eq!(reporting(&scanner, "a 0123456789 b\n0123456789a", "file"), ["hex"]);
    let problems: Vec<_> = scanner.rules().check().into_iter().map(|complaint| complaint.problem).collect();
    assert_eq!(problems, [Problem::Slow, Problem::FewExamples { matching: 0, near_misses: 0 }]);
}

#[test]
fn check_names_what_is_wrong_and_where() {
    let rules = parse(
        "[[rules]]\nid = 'one'\nregex = 'one-[0-9]'\n\n\
         [[rules]]\nid = 'big'\nregex = 'abc(?:[a-z]{10}|[A-Z]{180}|[0-9]{180}){330}'\n",
    );
    let complaints = rules.check();
    assert_eq!(complaints[1].place.to_string(), "test:5 (rule `big`)");
    assert!(matches!(complaints[1].problem, Problem::Large { states } if states > 100_000), "{complaints:?}");
    let three = |text: &str| format!("[['{text}1'], ['{text}2'], ['{text}3']]");
    let examples = format!(
        "[[rules]]\nid = 'helper'\nregex = 'one-[0-9]'\nskipReport = true\n[rules.examples]\nmatch = {}\nmiss = {}\n\
         [[rules]]\nid = 'path'\npath = '[0-9]$'\n[rules.examples]\nmatch = {}\nmiss = [['a'], ['2b'], ['1c']]\n",
        three("one-"),
        three("two-"),
        three("a/b")
    );
    assert_eq!(parse(&examples).check(), []);
}

#[test]
fn a_filter_keeps_what_is_required_without_a_report() {
    let rules = parse(
        "[[rules]]\nid = 'secret'\nregex = 'secret-[0-9]'\nrequired = [{ id = 'user' }]\n\
         [[rules]]\nid = 'user'\nregex = 'user-[a-z]+'\nconfidence = 'low'\nrequired = [{ id = 'host' }]\n\
         [[rules]]\nid = 'host'\nregex = 'host-[a-z]+'\nconfidence = 'medium'\n",
    );
    let all = RuleFilter { confidence: Confidence::Low, only: Vec::new(), without: Vec::new() };
    let names = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let found = |filter: &RuleFilter| {
        let scanner = Scanner::new(Arc::new(rules.filtered(filter).unwrap()));
        reporting(&scanner, "user-a secret-1 host-a", "file").join(" ")
    };
    assert_eq!(rules.filtered(&all).unwrap().version(), rules.version());
    assert_eq!(found(&all), "user secret host");
    assert_eq!(found(&RuleFilter { confidence: Confidence::Medium, ..all.clone() }), "secret host");
    assert_eq!(found(&RuleFilter { confidence: Confidence::High, ..all.clone() }), "secret");
    assert_eq!(found(&RuleFilter { only: names(&["host"]), ..all.clone() }), "host");
    assert_eq!(found(&RuleFilter { without: names(&["host", "user"]), ..all.clone() }), "secret");
    let unknown = rules.filtered(&RuleFilter { without: names(&["nobody"]), ..all }).unwrap_err();
    assert_eq!(unknown.to_string(), "no rule has the id `nobody`");
}
