//! What providers said stands where programs and people look for it.

use secretscan_model::Verification;
use secretscan_report::{Format, Report, TextStyle};
use serde_json::{Value, json};

use super::{findings, formats, report, written};

fn verified(findings: &[secretscan_model::Finding]) -> Report<'_> {
    let answers = [
        Some(Verification::Valid),
        Some(Verification::Revoked),
        Some(Verification::Unknown { reason: "the host is not found\u{1b}[2J".into() }),
        None,
    ];
    let mut report = report(findings);
    let reported = report.findings.into_iter().zip(answers);
    report.findings = reported.map(|(reported, answer)| reported.with_verification(answer)).collect();
    report
}

#[test]
fn machine_formats_have_the_result_and_the_reason() {
    let findings = findings();
    let report = verified(&findings);
    let unknown = json!({ "result": "unknown", "reason": "the host is not found\u{1b}[2J" });
    let expected = [json!({ "result": "valid" }), json!({ "result": "revoked" }), unknown, Value::Null];
    let document: Value = serde_json::from_str(&written(&report, &Format::Json)).unwrap();
    let sarif: Value = serde_json::from_str(&written(&report, &Format::Sarif)).unwrap();
    let lines = written(&report, &Format::Jsonl);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (n, expected) in expected.iter().enumerate() {
        assert_eq!(&document["findings"][n]["verification"], expected);
        assert_eq!(&lines[n]["verification"], expected);
        assert_eq!(&sarif["runs"][0]["results"][n]["properties"]["verification"], expected);
    }
}

#[test]
fn text_says_it_in_a_line() {
    let findings = findings();
    let shown = written(&verified(&findings), &Format::Text(TextStyle::PLAIN));
    let lines: Vec<&str> =
        shown.lines().filter(|line| line.contains("verification")).map(str::trim).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    = verification valid: the provider accepts it
    = verification revoked: the provider does not know it
    = verification unknown: the host is not found\u{1b}[2J
    ");
}

#[test]
fn every_format_can_be_written() {
    let findings = findings();
    for format in formats() {
        assert!(!written(&verified(&findings), &format).contains('\u{1b}'), "{}", format.name());
    }
}
