//! What a baseline knows.

use secretscan_model::Finding;
use secretscan_report::{Baseline, BaselineError, Format, TextStyle};
use serde_json::{Value, json};

use super::{findings, report, written};

/// The paths that are left when the baseline is applied, and the summary's last words on it.
fn left(
    findings: &[Finding],
    baseline: &Baseline,
    repository: Option<&'static str>,
) -> (Vec<String>, String) {
    let mut report = report(findings);
    report.repository = repository;
    report.leave_out_known(baseline);
    let json: Value = serde_json::from_str(&written(&report, &Format::Json)).unwrap();
    let paths = json["findings"].as_array().unwrap().iter();
    let paths = paths.map(|finding| finding["path"].as_str().unwrap().to_owned()).collect();
    let text = written(&report, &Format::Text(TextStyle::PLAIN));
    let summary = text.lines().find(|line| line.contains(" in 1234 commits")).unwrap();
    (paths, summary.split(" in 1234").next().unwrap().to_owned())
}

#[test]
fn only_what_is_new_is_shown_and_lines_may_move() {
    let mut findings = findings();
    let known = written(&report(&findings[..3]), &Format::Json);
    let baseline = Baseline::parse(known.as_bytes(), None).unwrap();
    findings[0].occurrences.iter_mut().for_each(|at| at.line += 100);
    let (paths, summary) = left(&findings[1..], &baseline, None);
    assert_eq!(paths, ["evil\u{1b}[2J\u{202e}.pem"]);
    assert_eq!(summary, "1 new secret (1 low), 2 known from the baseline,");
    let (paths, summary) = left(&findings[..3], &baseline, None);
    assert_eq!((paths.len(), summary.as_str()), (0, "no new secrets found, 3 known from the baseline,"));
}

#[test]
fn what_one_repository_knows_another_does_not() {
    let findings = findings();
    let mut known = report(&findings);
    known.repository = Some("host/a");
    let baseline = Baseline::parse(written(&known, &Format::Json).as_bytes(), None).unwrap();
    assert_eq!(left(&findings, &baseline, Some("host/a")).0.len(), 0);
    assert_eq!(left(&findings, &baseline, Some("host/b")).0.len(), 4);
    assert_eq!(left(&findings, &baseline, None).0.len(), 0);
}

#[test]
fn reports_of_gitleaks_are_known_by_secret_and_by_place() {
    let findings = findings();
    let of_gitleaks = |path: &str, line: u32, commit: &str, secret: &str| {
        json!({
            "RuleID": "some-rule", "Description": "d", "StartLine": line, "EndLine": line, "StartColumn": 1,
            "EndColumn": 9, "Match": "m", "Secret": secret, "File": path, "Commit": commit, "Entropy": 4.5,
            "Author": "a", "Email": "e", "Date": "2026-01-01T00:00:00Z", "Message": "m", "Tags": [],
            "Fingerprint": format!("{commit}:{path}:some-rule:{line}")
        })
    };
    let commit = "0a".repeat(20);
    let report = json!([
        of_gitleaks("src/config.yaml", 3, &commit, "REDACTED"),
        of_gitleaks("two words/#1.env", 999, "elsewhere", "the secret"),
        of_gitleaks("caf\u{fffd}.txt", 8, "", "another"),
    ]);
    let report = report.to_string();
    let hash = |secret: &[u8]| if secret == b"the secret" { "ab".repeat(32) } else { String::new() };
    let baseline = Baseline::parse(report.as_bytes(), Some(&hash)).unwrap();
    assert_eq!(left(&findings[..3], &baseline, None).0, ["caf\u{fffd}.txt"]);
    let baseline = Baseline::parse(report.as_bytes(), None).unwrap();
    assert_eq!(left(&findings[..3], &baseline, None).0.len(), 2);
}

#[test]
fn what_is_no_baseline_is_refused() {
    let parse = |text: &str| Baseline::parse(text.as_bytes(), None);
    assert!(matches!(parse("{"), Err(BaselineError::Syntax { .. })));
    assert!(matches!(parse("{\"version\": \"2.1.0\"}"), Err(BaselineError::Unknown)));
    assert!(matches!(parse("{\"schema\": \"secretscan-report/1\"}"), Err(BaselineError::Shape { .. })));
    assert!(matches!(parse("[{\"File\": \"a\"}]"), Err(BaselineError::Shape { .. })));
    assert!(parse("[]").is_ok());
}
