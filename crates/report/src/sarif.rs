//! SARIF 2.1.0 (OASIS standard), as code scanning dashboards take it in.
//!
//! One result for each finding, at the place of its earliest occurrence; the commit stands in the property bag, since
//! SARIF ties a revision to a whole run only. Columns are counted in bytes, which SARIF can't name: they agree with its
//! code points as long as the line is ASCII up to the end of the secret.

use std::collections::HashMap;
use std::io::{self, Write};

use secretscan_model::RuleId;
use serde_json::{Value, json};

use crate::{Report, ReportedFinding, TOOL_NAME, date, escape, json as plain};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut indexes: HashMap<&RuleId, usize> = HashMap::new();
    let mut rules = Vec::new();
    let mut results = Vec::with_capacity(report.findings.len());
    for reported in &report.findings {
        let index = *indexes.entry(&reported.finding.rule_id).or_insert_with(|| {
            rules.push(rule(reported));
            rules.len() - 1
        });
        results.push(result(reported, index));
    }
    let notifications: Vec<Value> = (report.summary.not_scanned.iter())
        .map(|skipped| {
            let text = format!("not scanned: {}: {}", skipped.what, skipped.reason);
            json!({ "level": "warning", "message": { "text": text } })
        })
        .collect();
    let document = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": TOOL_NAME,
                "version": report.tool_version,
                "rules": rules,
                "properties": { "ruleSetVersion": report.rule_set_version },
            } },
            "invocations": [{ "executionSuccessful": true, "toolExecutionNotifications": notifications }],
            "columnKind": "unicodeCodePoints",
            "results": results,
            "properties": {
                "commits": report.summary.commits,
                "blobs": report.summary.blobs,
                "bytes": report.summary.bytes,
                "ignored": report.summary.ignored,
                "seconds": report.summary.elapsed.as_secs_f64(),
            },
        }],
    });
    plain::write_document(&document, out)
}

fn rule(reported: &ReportedFinding<'_>) -> Value {
    let finding = reported.finding;
    json!({
        "id": finding.rule_id,
        "shortDescription": { "text": finding.description },
        "defaultConfiguration": { "level": level(&finding.severity) },
        "properties": {
            "security-severity": security_severity(&finding.severity),
            "precision": finding.confidence,
            "tags": ["security", "secret"],
        },
    })
}

fn result(reported: &ReportedFinding<'_>, rule_index: usize) -> Value {
    let finding = reported.finding;
    let first = finding.introduced();
    let mut properties = json!({
        "severity": finding.severity,
        "confidence": finding.confidence,
        "tags": finding.tags,
        "secretHash": finding.secret_hash,
        "excerpt": first.excerpt,
        "occurrences": finding.occurrences.len(),
    });
    let mut text = finding.description.clone();
    if let Some(commit) = plain::commit(first) {
        text.push_str(&format!(", introduced in commit {commit}"));
        properties["commit"] = json!(commit);
        properties["author"] = json!(first.author.name);
        properties["authorEmail"] = json!(first.author.email);
        properties["date"] = json!(date::rfc3339(first.author.time));
    }
    if let Some(bytes) = plain::path_bytes(&finding.path) {
        properties["pathBytes"] = json!(bytes);
    }
    if let Some(secret) = &reported.secret {
        properties["secret"] = json!(secret);
    }
    json!({
        "ruleId": finding.rule_id,
        "ruleIndex": rule_index,
        "level": level(&finding.severity),
        "message": { "text": text },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": escape::for_uri(&finding.path), "uriBaseId": "%SRCROOT%" },
            "region": {
                "startLine": first.line,
                "startColumn": first.column,
                "endLine": first.end_line,
                "endColumn": first.end_column,
            },
        } }],
        "partialFingerprints": { "secretscanFingerprint/v1": finding.fingerprint },
        "properties": properties,
    })
}

fn level(severity: &str) -> &'static str {
    match severity {
        "critical" | "high" => "error",
        "medium" => "warning",
        _ => "note",
    }
}

/// GitHub sorts by this number: over 9.0 is critical, from 7.0 high, from 4.0 medium.
fn security_severity(severity: &str) -> &'static str {
    match severity {
        "critical" => "9.5",
        "high" => "8.0",
        "medium" => "5.5",
        _ => "3.0",
    }
}
