//! GitLab's report of secret detection, schema 15.0.7: the security dashboard takes it in as a CI artifact.
//!
//! One vulnerability for each finding, at the place of its earliest occurrence.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::{Report, ReportedFinding, TOOL_NAME, date, document};

/// The version of the schema: one that every GitLab from 16 on takes.
const VERSION: &str = "15.0.7";
/// What GitLab's own analyzer gives for content that is in no commit.
const NO_COMMIT: &str = "0000000";
/// The schema's limits, in characters.
const MAX_NAME: usize = 255;

pub(crate) fn write(reports: &[Report<'_>], out: &mut dyn Write) -> io::Result<()> {
    let summary = document::merged(reports);
    let tool_version = reports.first().map_or("unknown", |report| report.tool_version);
    let tool = json!({
        "id": TOOL_NAME,
        "name": TOOL_NAME,
        "version": tool_version,
        "vendor": { "name": TOOL_NAME },
    });
    let messages: Vec<Value> = (summary.not_scanned.iter())
        .map(|skipped| {
            let text = format!("not scanned: {}: {}", skipped.what, skipped.reason);
            json!({ "level": "warn", "value": text })
        })
        .collect();
    let findings = reports.iter().flat_map(|report| &report.findings);
    let document = json!({
        "version": VERSION,
        "scan": {
            "analyzer": tool,
            "scanner": tool,
            "type": "secret_detection",
            "status": "success",
            "start_time": date::without_zone(summary.started),
            "end_time": date::without_zone(summary.ended),
            "messages": messages,
        },
        "vulnerabilities": findings.map(vulnerability).collect::<Vec<_>>(),
    });
    document::write_json(&document, out)
}

fn vulnerability(reported: &ReportedFinding<'_>) -> Value {
    let finding = &reported.finding;
    let at = finding.introduced();
    let commit = match document::commit(at) {
        Some(commit) => json!({
            "sha": commit,
            "author": format!("{} <{}>", at.author.name, at.author.email),
            "date": date::rfc3339(at.author.time).unwrap_or_default(),
        }),
        None => json!({ "sha": NO_COMMIT }),
    };
    let name: String = finding.description.chars().take(MAX_NAME).collect();
    let rule = finding.rule_id.as_str();
    let mut description = format!("{}, found by the rule {rule}.", finding.description);
    if let Some(secret) = &reported.secret {
        description += &format!(" The secret: {secret}");
    }
    let mut vulnerability = json!({
        "id": finding.id,
        "category": "secret_detection",
        "name": name,
        "description": description,
        "severity": severity(&finding.severity),
        "solution": "Revoke the secret and issue a new one: it stays in the history, and in every clone of it.",
        "identifiers": [
            { "type": "secretscan_rule_id", "name": format!("{TOOL_NAME} rule {rule}"), "value": rule },
            {
                "type": "cwe",
                "name": "CWE-798",
                "value": "798",
                "url": "https://cwe.mitre.org/data/definitions/798.html",
            },
        ],
        "location": {
            "file": finding.display_path(),
            "start_line": at.line,
            "end_line": at.end_line,
            "commit": commit,
        },
        "raw_source_code_extract": at.excerpt,
    });
    if let Some(forms) = &at.decoded_from {
        // A named list of typed fields, which the vulnerability's page shows.
        vulnerability["details"]["decodedFrom"] =
            json!({ "type": "text", "name": "Decoded from", "value": forms });
    }
    vulnerability
}

fn severity(severity: &str) -> &'static str {
    match severity {
        "critical" => "Critical",
        "high" => "High",
        "medium" => "Medium",
        "low" => "Low",
        _ => "Unknown",
    }
}
