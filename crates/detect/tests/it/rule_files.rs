//! Reading rule files: what is taken, what is refused, and what the refusal says.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use secretscan_detect::{Method, Piece, RuleError, RuleSet, Scanner, Secret};

fn refusal(toml: &str) -> String {
    let error: RuleError =
        RuleSet::parse(toml, "rules.toml", Some(&secretscan_rules::builtin())).expect_err("refused");
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
        Some(&secretscan_rules::builtin()),
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

    let error = RuleSet::parse("[[rules]]\nid = 'one'\nregex = 'ab(cd'\n", "rules.toml", None).unwrap_err();
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
    let builtin = secretscan_rules::builtin().rules().len();
    let rules = RuleSet::parse(
        "[extend]\nuseDefault = true\ndisabledRules = ['jwt']\n\
         [[rules]]\nid = 'corp'\nregex = 'corp_[0-9]{8}'\n\
         [[rules]]\nid = 'github-token'\nseverity = 'low'\n[[rules.allowlists]]\npaths = ['^test/']\n",
        "rules.toml",
        Some(&secretscan_rules::builtin()),
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
    assert_eq!(ids(&RuleSet::load(&folder.join("own.toml"), None).unwrap()), ["base", "own"]);
    let too_deep = RuleSet::load(&folder.join("circle.toml"), None).unwrap_err();
    let missing = RuleSet::load(&folder.join("missing.toml"), None).unwrap_err();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(too_deep, RuleError::TooDeep { .. }));
    assert!(matches!(missing, RuleError::Read { .. }));
    let endless = RuleSet::load(Path::new("/dev/zero"), None).unwrap_err();
    assert!(matches!(endless, RuleError::Read { .. }));
}

fn with_verify(verify: &str) -> String {
    format!("[[rules]]\nid = 'one'\nregex = 'abcd'\n[rules.verify]\n{verify}\n")
}

#[test]
fn a_check_is_read_and_may_be_replaced() {
    let first = with_verify(
        "method = 'POST'\nurl = 'https://API.example.org:8443/me?x={{secret}}'\n\
         headers = { Authorization = 'Basic {{basic:secret:}}', X-Key = 'k {{secret}}' }\n\
         body = '{\"q\":1}'\nprefixes = ['ab']\n\
         valid = { status = [200], contains = '\"ok\":true' }\n\
         revoked = { status = [401, 403], contains = ['a', 'b'] }",
    );
    let rules = RuleSet::parse(&first, "rules.toml", None).unwrap();
    let check = rules.rules()[0].verify.as_ref().unwrap();
    assert_eq!((check.method, check.host.as_str()), (Method::Post, "api.example.org"));
    let text = |text: &str| Piece::Text(text.into());
    let basic = Piece::Basic { before: String::new(), after: ":".into() };
    assert_eq!(check.url.0, [text("https://API.example.org:8443/me?x="), Piece::Secret]);
    assert_eq!(check.headers[0].1.0, [text("Basic "), basic]);
    assert_eq!(check.headers[1].1.0, [text("k "), Piece::Secret]);
    assert_eq!(check.body.as_ref().unwrap().0, [text("{\"q\":1}")]);
    assert_eq!(check.valid.contains, ["\"ok\":true"]);
    assert_eq!(check.revoked.as_ref().unwrap().status, [401, 403]);
    assert!(check.is_for(&Secret::new("abc")) && !check.is_for(&Secret::new("bc")));

    let second = first.clone()
        + "[[rules]]\nid = 'one'\nseverity = 'low'\n[[rules]]\nid = 'one'\n\
           [rules.verify]\nurl = 'https://b.example.org/{{secret}}'\nvalid.status = [200]\n";
    let rules = RuleSet::parse(&second, "rules.toml", None).unwrap();
    assert_eq!(rules.rules()[0].verify.as_ref().unwrap().host, "b.example.org");
}

#[test]
fn a_check_that_could_lead_a_secret_astray_is_refused() {
    let url = |url: &str| refusal(&with_verify(&format!("url = '{url}'\nvalid.status = [200]")));
    let place = "rules.toml:5 (rule `one`): `verify.url` ";
    for bad in ["http://example.org/{{secret}}", "HTTPS://example.org/{{secret}}", "ftp://x/{{secret}}"] {
        assert_eq!(url(bad), format!("{place}does not start with https://"));
    }
    for bad in [
        "https://{{secret}}/",
        "https://{{secret}}.example.org/",
        "https://example.org:{{secret}}/",
        "https://example.org:99999/{{secret}}",
        "https://example.org:/{{secret}}",
        "https://user@example.org/{{secret}}",
        "https://example.org\\@evil.example/{{secret}}",
        "https://example.org#{{secret}}",
        "https://[::1]/{{secret}}",
        "https:///{{secret}}",
        "https://.example.org/{{secret}}",
    ] {
        assert!(url(bad).starts_with(&format!("{place}needs a host")), "{bad}: {}", url(bad));
    }
    assert!(url("https://example.org/a b{{secret}}").contains("can't stand in a URL"));
    assert!(url("https://example.org/#{{secret}}").contains("can't stand in a URL"));
    assert!(url("https://example.org/{{secrets}}").contains("unknown placeholder {{secrets}}"));
    assert!(url("https://example.org/{{secret").contains("has {{ without }}"));
    assert!(url("https://example.org/{{basic:secret:}}").contains("only headers may have"));
    assert!(url("https://example.org/").contains("`verify` has {{secret}} nowhere"));
}

#[test]
fn a_check_that_makes_no_sense_is_refused() {
    let with =
        |keys: &str| refusal(&with_verify(&format!("url = 'https://example.org/{{{{secret}}}}'\n{keys}")));
    assert!(with("").contains("missing field `valid`"));
    assert!(with("valid.status = [200]\nretries = 3").contains("unknown field `retries`"));
    assert!(with("method = 'DELETE'\nvalid.status = [200]").contains("unknown variant `DELETE`"));
    for status in ["[]", "[429]", "[302]", "[500]", "[99]"] {
        let refused = with(&format!("valid = {{ status = {status} }}"));
        assert!(refused.starts_with("rules.toml:6 (rule `one`): `verify.valid` needs a list"), "{refused}");
    }
    assert!(with("valid = { status = [200], contains = ' ' }").contains("has an empty text"));
    assert!(with("valid = { status = [200], contains = 1 }").contains("a text or a list of texts"));
    assert!(with("valid.status = [200]\nrevoked = { status = [301] }").contains("`verify.revoked`"));
    assert!(with("valid.status = [200]\nbody = 'x'").contains("`verify.body` needs the method POST"));
    assert!(with("valid.status = [200]\nprefixes = ['']").contains("`verify.prefixes` has an empty text"));
    assert!(with("valid.status = [200]\nheaders = { Host = 'evil.example' }").contains("may not set Host"));
    assert!(with("valid.status = [200]\nheaders = { 'A: b' = 'c' }").contains("a name that is none"));
    let line_break = with("valid.status = [200]\nheaders = { A = \"b\\nC: d\" }");
    assert!(line_break.contains("`verify.headers` has characters that are not printable"), "{line_break}");
    let two = with("valid.status = [200]\nheaders = { A = '{{basic:secret:secret}}' }");
    assert!(two.contains("unknown placeholder"), "{two}");
}

#[test]
fn built_in_checks_ask_hosts_of_providers() {
    let rules = secretscan_rules::builtin();
    let hosts: BTreeSet<&str> = rules
        .rules()
        .iter()
        .filter_map(|rule| rule.verify.as_ref())
        .map(|check| check.host.as_str())
        .collect();
    assert!(hosts.len() >= 25, "{hosts:?}");
    assert!(hosts.iter().all(|host| host.contains('.') && !host.ends_with(|c: char| c.is_ascii_digit())));
}

#[test]
fn built_in_checks_stand_with_the_rules_that_they_are_for() {
    let rules = Arc::new(secretscan_rules::builtin_with_examples());
    let scanner = Scanner::new(rules.clone());
    for rule in rules.rules() {
        let Some(check) = &rule.verify else { continue };
        let has_one = rule.examples.matching.iter().any(|example| {
            let found = scanner.scan(example.as_bytes());
            let mut of_rule = found.iter().filter(|found| rules.rule(found.rule).id == rule.id);
            of_rule.any(|found| check.is_for(&found.secret))
        });
        assert!(has_one, "{}: no example is of those that can be asked about", rule.id);
        let provider = rule.id.split('-').next().unwrap();
        assert!(check.host.contains(provider), "{} asks {}", rule.id, check.host);
    }
}
