//! What keeps a match from being reported: entropy, allowlists, comments, paths, more telling rules.

use std::sync::Arc;

use secretscan_detect::{RuleSet, Scanner};

const RULE: &str = "[[rules]]\nid = 'corp'\nregex = '''corp_([a-z0-9]{8})'''\n";

fn scanner(more: &str) -> Scanner {
    Scanner::new(Arc::new(
        RuleSet::parse(&format!("{RULE}{more}"), "test", None).expect("the rules are right"),
    ))
}

/// Whether something in the content is reported at the place.
fn reports_at(scanner: &Scanner, content: &str, path: &str, commit: Option<&str>) -> bool {
    scanner.scan(content.as_bytes()).iter().any(|raw| scanner.is_reported(raw, path.as_bytes(), commit))
}

fn reports(scanner: &Scanner, content: &str) -> bool {
    reports_at(scanner, content, "file", None)
}

#[test]
fn entropy_must_be_exceeded() {
    let scanner = scanner("entropy = 2.0\n");
    assert!(!reports(&scanner, "corp_abcdabcd"));
    assert!(reports(&scanner, "corp_abcdefgh"));
}

#[test]
fn regexes_look_at_their_target() {
    for (target, excluded, reported) in [
        ("secret", "corp_zzzzzzzz corp", "zz corp_abcdefgh"),
        ("match", "corp_zzzzzzzz", "zz corp_abcdefgh"),
        ("line", "zz corp_abcdefgh", "zz\ncorp_abcdefgh\nzz"),
    ] {
        let scanner = scanner(&format!("[[rules.allowlists]]\nregexTarget = '{target}'\nregexes = ['zz']\n"));
        assert!(!reports(&scanner, excluded), "{target}");
        assert!(reports(&scanner, reported), "{target}");
    }
}

#[test]
fn stopwords_ignore_case() {
    let scanner = scanner("[[rules.allowlists]]\nstopwords = ['ABCD']\n");
    assert!(!reports(&scanner, "corp_11abcd22"));
    assert!(reports(&scanner, "corp_11abc222"));
}

#[test]
fn paths_and_commits_are_decided_later() {
    let scanner = scanner("[[allowlists]]\npaths = ['^docs/']\ncommits = ['0123456789ABC']\n");
    let text = "corp_abcdefgh";
    assert!(!reports_at(&scanner, text, "docs/a", None));
    assert!(!reports_at(&scanner, text, "src/a", Some("0123456789abcdef0123456789abcdef01234567")));
    assert!(reports_at(&scanner, text, "src/a", Some("1123456789abcdef0123456789abcdef01234567")));
    assert_eq!(scanner.scan(text.as_bytes()).len(), 1);
}

#[test]
fn and_needs_content_and_path() {
    let scanner = scanner(
        "[[allowlists]]\ncondition = 'AND'\nregexes = ['^abc']\nstopwords = ['fgh']\npaths = ['^docs/']\n",
    );
    assert!(!reports_at(&scanner, "corp_abcdefgh", "docs/a", None));
    assert!(reports_at(&scanner, "corp_abcdefgh", "src/a", None));
    assert!(reports_at(&scanner, "corp_abcdefgx", "docs/a", None));
    assert!(reports_at(&scanner, "corp_xbcdefgh", "docs/a", None));
}

#[test]
fn and_of_paths_and_commits() {
    let scanner = scanner("[[allowlists]]\ncondition = 'AND'\npaths = ['^docs/']\ncommits = ['0123456']\n");
    assert!(!reports_at(&scanner, "corp_abcdefgh", "docs/a", Some("0123456789")));
    assert!(reports_at(&scanner, "corp_abcdefgh", "docs/a", None));
    assert!(reports_at(&scanner, "corp_abcdefgh", "src/a", Some("0123456789")));
}

#[test]
fn a_rule_may_be_for_some_paths_only() {
    let scanner = scanner("path = '''\\.env$'''\n");
    assert!(reports_at(&scanner, "corp_abcdefgh", "a/.env", None));
    assert!(!reports_at(&scanner, "corp_abcdefgh", "a/env.rs", None));
}

#[test]
fn a_global_allowlist_may_be_for_some_rules_only() {
    let other = "[[rules]]\nid = 'other'\nregex = '''other_[a-z0-9]{8}'''\n";
    let scanner = scanner(&format!("{other}[[allowlists]]\ntargetRules = ['corp']\nstopwords = ['abc']\n"));
    assert!(!reports(&scanner, "corp_abcdefgh"));
    assert!(reports(&scanner, "other_abcdefgh"));
}

#[test]
fn a_comment_allows_its_line() {
    let scanner = scanner("");
    assert!(!reports(&scanner, "corp_abcdefgh # secretscan:allow"));
    assert!(!reports(&scanner, "one\n/* gitleaks:allow */ corp_abcdefgh\r\ntwo"));
    assert!(reports(&scanner, "secretscan:allow\ncorp_abcdefgh\nsecretscan:allow"));
}

/// A rule whose matches have several lines, the secret in the middle ones.
const BLOCK: &str = "[[rules]]\nid = 'block'\nregex = '''(?s)BEGIN[^\\n]*\\n(corp[^E]+)\\sEND'''\n";

#[test]
fn a_comment_allows_what_has_a_line_there() {
    let scanner = scanner(BLOCK);
    for comment in ["gitleaks:allow", "secretscan:allow", "Secretscan:Allow"] {
        for excluded in [
            format!("BEGIN // {comment}\ncorp 1\ncorp 2\nEND"),
            format!("BEGIN\ncorp 1\ncorp 2 {comment}\nEND"),
            format!("one\nBEGIN\ncorp 1\ncorp 2\nEND # {comment}\ntwo"),
            format!("one\n# {comment}\nBEGIN\ncorp 1\ncorp 2\nEND"),
            format!("  <!-- {comment} -->\n BEGIN\ncorp 1\ncorp 2\nEND"),
        ] {
            for line_end in ["\n", "\r\n"] {
                let content = excluded.replace('\n', line_end);
                assert!(!reports(&scanner, &content), "{content:?}");
                let utf16: Vec<u8> =
                    format!("\u{feff}{content}").encode_utf16().flat_map(u16::to_le_bytes).collect();
                assert_eq!(scanner.scan(&utf16), [], "{content:?}");
                assert!(reports(&scanner.clone().ignoring_comments(), &content));
                assert_eq!(scanner.clone().ignoring_comments().scan(&utf16).len(), 1);
            }
        }
        for reported in [
            format!("# {comment}\n\nBEGIN\ncorp 1\nEND"),
            format!("x = 1 # {comment}\nBEGIN\ncorp 1\nEND"),
            format!("BEGIN\ncorp 1\nEND\n# {comment}"),
            format!("# {comment}\ncorp_abcdefgh"),
        ] {
            assert!(reports(&scanner, &reported), "{reported:?}");
        }
    }
}

#[test]
fn a_private_key_is_allowed_by_a_comment_before_it() {
    let line = "1UHWFhafmPk8B0yezMSF0lz26emqS0cjbiyaDN5nHFbfCKhgF8lzsIZxq1KIjC8U";
    let key = format!("-----BEGIN RSA PRI{0}-----\n{line}\n-----END RSA PRI{0}-----\n", "VATE KEY");
    let scanner = Scanner::new(secretscan_rules::builtin());
    assert_eq!(scanner.scan(format!("# note\n{key}").as_bytes()).len(), 1);
    assert_eq!(scanner.scan(format!("# gitleaks:allow\n{key}").as_bytes()), []);
    assert_eq!(scanner.scan(format!("# gitleaks:allow\n{key}").replace('\n', "\r\n").as_bytes()), []);
}

#[test]
fn white_space_around_a_match_is_not_its_line() {
    let scanner = scanner("[[rules]]\nid = 'word'\nregex = '''(?:^|\\s)word-([0-9]{3})\\s'''\n");
    assert!(reports(&scanner, "a # gitleaks:allow\nword-123\n"));
    assert!(!reports(&scanner, "a\nword-123 # gitleaks:allow\n"));
}

#[test]
fn generic_rules_yield() {
    let token = format!("gh{}_{}", "p", "Zq7Lw2Nx9Rt4Bv6Kc1Md8Fh3Js5Pg02pOepA");
    let content = format!("api_token = \"{token}\"\nother_token = \"{}\"\n", "q8Xv3Lm7Zt2Rw9Kp4Nc6");
    let scanner = Scanner::new(secretscan_rules::builtin());
    let found = scanner.scan(content.as_bytes());
    let ids: Vec<_> = found.iter().map(|raw| scanner.rules().rule(raw.rule).id.as_str()).collect();
    assert_eq!(ids, ["github-token", "generic-secret-assignment"]);
    assert_eq!(found[0].secret.expose(), token.as_bytes());
}
