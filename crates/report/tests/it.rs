//! Snapshots of every format, and what must hold for any finding.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use secretscan_model::finding::MAX_OCCURRENCES;
use secretscan_model::{Author, CommitId, Finding, Fingerprint, NotScanned, Occurrence, RuleId, SecretHash};
use secretscan_report::{Format, Report, ReportedFinding, Summary, TextStyle};
use serde_json::Value;

fn occurrence(commit: u8, line: u32, column: u32, excerpt: &str) -> Occurrence {
    Occurrence {
        corrected_date: 1_780_000_000 + i64::from(commit),
        commit: CommitId::from_bytes(&[commit; 20]).unwrap(),
        line,
        column,
        end_line: line,
        end_column: column + 40,
        author: Author {
            name: "Ada Lovelace".into(),
            email: "ada@example.org".into(),
            time: 1_780_000_000 + i64::from(commit),
        },
        excerpt: excerpt.into(),
    }
}

fn finding(rule: &str, severity: &str, path: &[u8], occurrences: Vec<Occurrence>) -> Finding {
    Finding {
        fingerprint: Fingerprint(format!("v1-{:032x}", path.len())),
        rule_id: RuleId::parse(rule).unwrap(),
        description: rule.replace("-", " "),
        severity: severity.into(),
        confidence: if severity == "medium" { "low" } else { "high" }.into(),
        tags: if severity == "low" { vec!["keys".into(), "a\u{1b}b".into()] } else { Vec::new() },
        secret_hash: SecretHash("ab".repeat(32)),
        path: path.to_vec(),
        occurrences,
    }
}

fn findings() -> Vec<Finding> {
    let many = (1..=20).map(|n| occurrence(n, 3, 9, "token: \"ghp_****\" # 日本")).collect();
    vec![
        finding("github-token", "critical", b"src/config.yaml", many),
        finding(
            "github-token",
            "critical",
            b"two words/#1.env",
            vec![
                occurrence(0xab, 1, 18, "    A=**** TOKEN=ghp_****"),
                occurrence(0xac, 2, 18, "    A=**** TOKEN=ghp_****"),
            ],
        ),
        finding("generic-password", "medium", b"caf\xe9.txt", vec![occurrence(0, 7, 900, "…xxx ****; y…")]),
        finding(
            "private-key",
            "low",
            b"evil\x1b[2J\xe2\x80\xae.pem",
            vec![Occurrence {
                end_line: 20,
                end_column: 5,
                author: Author { name: "\u{1b}]0;x\u{7}Eve".into(), email: "e@\r\nx".into(), time: i64::MAX },
                ..occurrence(0xcd, 1, 1, "**** \u{9b}31m")
            }],
        ),
    ]
}

fn report(findings: &[Finding]) -> Report<'_> {
    Report {
        tool_version: "1.2.3",
        rule_set_version: "r1-0123456789ab",
        findings: findings.iter().map(|finding| ReportedFinding { finding, secret: None }).collect(),
        summary: Summary {
            commits: 1234,
            blobs: 5678,
            bytes: 98_765_432,
            elapsed: Duration::from_millis(1500),
            ignored: 2,
            not_scanned: vec![
                NotScanned { what: "big.iso".into(), reason: "larger than the limit of 1 GiB".into() },
                NotScanned { what: "bad\u{1b}[31m\nname".into(), reason: "unreadable".into() },
            ],
        },
    }
}

fn written(report: &Report<'_>, format: Format, style: TextStyle) -> String {
    let mut out = Vec::new();
    report.write(format, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn plain(report: &Report<'_>, format: Format) -> String {
    written(report, format, TextStyle::Plain)
}

#[test]
fn text() {
    insta::assert_snapshot!(plain(&report(&findings()), Format::Text));
}

#[test]
fn text_in_colours() {
    let coloured = written(&report(&findings()[1..2]), Format::Text, TextStyle::Coloured);
    insta::assert_snapshot!(coloured.replace('\u{1b}', "ESC"));
}

#[test]
fn text_without_findings() {
    let mut empty = report(&[]);
    empty.summary = Summary {
        commits: 1,
        blobs: 1,
        bytes: 999,
        elapsed: Duration::from_millis(12),
        ..Summary::default()
    };
    insta::assert_snapshot!(plain(&empty, Format::Text));
}

#[test]
fn json() {
    insta::assert_snapshot!(plain(&report(&findings()[1..]), Format::Json));
}

#[test]
fn jsonl() {
    insta::assert_snapshot!(plain(&report(&findings()[1..]), Format::Jsonl));
}

#[test]
fn sarif() {
    insta::assert_snapshot!(plain(&report(&findings()), Format::Sarif));
}

/// The parts of SARIF that its schema and code scanning dashboards insist on.
#[test]
fn sarif_refers_to_each_rule_once_and_has_ordered_regions() {
    let findings = findings();
    let document: Value = serde_json::from_str(&plain(&report(&findings), Format::Sarif)).unwrap();
    assert_eq!(document["version"], "2.1.0");
    let run = &document["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 3);
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.len());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        assert!(result["partialFingerprints"]["secretscanFingerprint/v1"].is_string());
        let location = &result["locations"][0]["physicalLocation"];
        let uri = location["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.bytes().all(|b| b.is_ascii_graphic()) && !uri.starts_with('/'), "{uri}");
        let region = |key: &str| location["region"][key].as_u64().unwrap();
        assert!(region("startLine") >= 1 && region("startColumn") >= 1);
        assert!((region("startLine"), region("startColumn")) <= (region("endLine"), region("endColumn")));
    }
    let notifications = run["invocations"][0]["toolExecutionNotifications"].as_array().unwrap();
    assert_eq!(notifications.len(), 2);
}

#[test]
fn no_format_shows_characters_that_act_on_a_terminal() {
    let findings = findings();
    for format in [Format::Text, Format::Json, Format::Jsonl, Format::Sarif] {
        let shown = plain(&report(&findings), format);
        let is_harmless = |c: char| (c == '\n' || !c.is_control()) && c != '\u{202e}';
        assert!(shown.chars().all(is_harmless), "{format}: {shown:?}");
    }
}

#[test]
fn a_path_that_is_not_utf8_keeps_its_bytes() {
    let findings = findings();
    let lines: Vec<Value> = plain(&report(&findings), Format::Jsonl)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[2]["path"], "caf\u{fffd}.txt");
    assert_eq!(lines[2]["pathBytes"], "Y2Fm6S50eHQ=");
    assert!(lines[0].get("pathBytes").is_none());
}

#[test]
fn a_full_list_of_occurrences_is_said_to_be_cut() {
    let findings = findings();
    assert_eq!(findings[0].occurrences.len(), MAX_OCCURRENCES);
    let document: Value = serde_json::from_str(&plain(&report(&findings), Format::Json)).unwrap();
    assert_eq!(document["findings"][0]["mayHaveMoreOccurrences"], true);
    assert_eq!(document["findings"][1]["mayHaveMoreOccurrences"], false);
    assert_eq!(document["findings"][2]["occurrences"][0]["commit"], Value::Null);
}

#[test]
fn the_secret_is_shown_only_where_it_was_given() {
    let findings = findings();
    let mut shown = report(&findings);
    shown.findings[0].secret = Some("canary\u{1b}value".into());
    for format in [Format::Text, Format::Json, Format::Jsonl, Format::Sarif] {
        assert!(plain(&shown, format).contains("canary"), "{format}");
        assert!(!plain(&report(&findings), format).contains("canary"), "{format}");
    }
    assert!(!format!("{shown:?}").contains("canary"));
}

#[test]
fn a_refused_write_says_so() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in [Format::Text, Format::Json, Format::Jsonl, Format::Sarif] {
        let error = report(&findings()).write(format, TextStyle::Plain, &mut Closed).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::BrokenPipe);
    }
}
