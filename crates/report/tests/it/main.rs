//! Snapshots of every format, and what must hold for any finding.
#![allow(clippy::unwrap_used, reason = "tests")]

mod baseline;
mod formats;
mod hostile;
mod page;
mod redaction;
mod schemas;
mod verification;

use std::time::Duration;

use secretscan_model::finding::LaterOccurrences;
use secretscan_model::{
    Author, CommitId, Finding, FindingId, NotScanned, Occurrence, RuleId, SecretHash, Timestamp,
};
use secretscan_report::{Format, Found, Redaction, Report, ReportedFinding, Summary, Template, TextStyle};

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
        decoded_from: (commit == 0).then(|| "base64>percent".into()),
        blob: None,
    }
}

fn finding(rule: &str, severity: &str, path: &[u8], occurrences: Vec<Occurrence>) -> Finding {
    Finding {
        id: FindingId(format!("v2-{:032x}.{:016x}", rule.len(), path.len())),
        rule_id: RuleId::parse(rule).unwrap(),
        description: rule.replace("-", " "),
        severity: severity.into(),
        confidence: if severity == "medium" { "low" } else { "high" }.into(),
        tags: if severity == "low" { vec!["keys".into(), "a\u{1b}b".into()] } else { Vec::new() },
        secret_hash: SecretHash("ab".repeat(32)),
        path: path.to_vec(),
        matched_by: std::collections::BTreeSet::new(),
        occurrences,
        later: LaterOccurrences::default(),
        seen: None,
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
    let found: Vec<Found<'_>> = findings.iter().map(|finding| Found { finding, secret: None }).collect();
    Report {
        tool_version: "1.2.3",
        rule_set_version: "r1-0123456789ab",
        repository: None,
        findings: ReportedFinding::list(&found, Redaction::WHOLE),
        summary: Summary {
            commits: 1234,
            blobs: 5678,
            bytes: 98_765_432,
            started: Timestamp(1_780_000_000_000),
            ended: Timestamp(1_780_000_001_500),
            elapsed: Duration::from_millis(1500),
            ignored: 2,
            not_scanned: vec![
                NotScanned { what: "big.iso".into(), reason: "larger than the limit of 1 GiB".into() },
                NotScanned { what: "bad\u{1b}[31m\nname".into(), reason: "unreadable".into() },
            ],
            known: None,
        },
    }
}

/// Every format there is.
fn formats() -> [Format; 10] {
    let template = "{% for f in findings %}{{ f.path }} {{ f.occurrences[0].excerpt }} {{ f.secret or '' }}\n{% endfor %}";
    [
        Format::Text(TextStyle::PLAIN),
        Format::Json,
        Format::Jsonl,
        Format::Sarif,
        Format::Csv,
        Format::Junit,
        Format::Gitlab,
        Format::Html,
        Format::Markdown,
        Format::Template(Template::parse("report.txt", template).unwrap()),
    ]
}

fn written(report: &Report<'_>, format: &Format) -> String {
    all_written(std::slice::from_ref(report), format)
}

fn all_written(reports: &[Report<'_>], format: &Format) -> String {
    let mut out = Vec::new();
    secretscan_report::write(reports, format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}
