//! SARIF 2.1.0 (OASIS standard), as code scanning dashboards take it in.
//!
//! A run for each repository, and in it one result for each finding, at the place of its earliest occurrence; the commit
//! stands in the property bag, since SARIF ties a revision to a whole run only.

use std::collections::HashMap;
use std::io::{self, Write};

use secretscan_model::{Finding, RuleId};
use serde_json::{Value, json};

use crate::{Report, ReportedFinding, TOOL_NAME, date, document, escape};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub(crate) fn write(reports: &[Report<'_>], out: &mut dyn Write) -> io::Result<()> {
    let runs: Vec<Value> = reports.iter().map(run).collect();
    document::write_json(&json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": runs }), out)
}

fn run(report: &Report<'_>) -> Value {
    let mut indexes: HashMap<&RuleId, usize> = HashMap::new();
    let mut rules = Vec::new();
    let mut results = Vec::with_capacity(report.findings.len());
    let summary = &report.summary;
    for reported in &report.findings {
        let index = *indexes.entry(&reported.finding.rule_id).or_insert_with(|| {
            rules.push(rule(&reported.finding));
            rules.len() - 1
        });
        let mut result = result(reported, index);
        if summary.known.is_some() {
            result["baselineState"] = json!("new");
        }
        results.push(result);
    }
    let notifications: Vec<Value> = (summary.not_scanned.iter())
        .map(|skipped| {
            let text = format!("not scanned: {}: {}", skipped.what, skipped.reason);
            json!({ "level": "warning", "message": { "text": text } })
        })
        .collect();
    // What stands before the last slash tells dashboards which runs follow each other.
    let category = report.repository.map(|name| format!("/{name}")).unwrap_or_default();
    json!({
        "tool": { "driver": {
            "name": TOOL_NAME,
            "version": report.tool_version,
            "rules": rules,
            "properties": { "ruleSetVersion": report.rule_set_version },
        } },
        "automationDetails": { "id": format!("{TOOL_NAME}{category}/") },
        "invocations": [{
            "executionSuccessful": true,
            "startTimeUtc": date::of_event(summary.started),
            "endTimeUtc": date::of_event(summary.ended),
            "toolExecutionNotifications": notifications,
        }],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            "commits": summary.commits,
            "blobs": summary.blobs,
            "bytes": summary.bytes,
            "ignored": summary.ignored,
            "seconds": summary.elapsed.as_secs_f64(),
        },
    })
}

fn rule(finding: &Finding) -> Value {
    json!({
        "id": finding.rule_id,
        "shortDescription": { "text": finding.description },
        "defaultConfiguration": { "level": level(&finding.severity) },
        "properties": {
            "security-severity": security_severity(&finding.severity),
            "precision": finding.confidence,
            "tags": ["security", "secret", "external/cwe/cwe-798"],
        },
    })
}

fn result(reported: &ReportedFinding<'_>, rule_index: usize) -> Value {
    let finding = &reported.finding;
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
    if let Some(commit) = document::commit(first) {
        text.push_str(&format!(", introduced in commit {commit}"));
        properties["commit"] = json!(commit);
        properties["author"] = json!(first.author.name);
        properties["authorEmail"] = json!(first.author.email);
        properties["date"] = json!(date::rfc3339(first.author.time));
    }
    if let Some(bytes) = document::path_bytes(&finding.path) {
        properties["pathBytes"] = json!(bytes);
    }
    if let Some(forms) = &first.decoded_from {
        properties["decodedFrom"] = json!(forms);
    }
    if let Some(secret) = &reported.secret {
        properties["secret"] = json!(secret);
    }
    if let Some(verification) = &reported.verification {
        properties["verification"] = json!(verification);
    }
    if let Some(change) = document::rule_change(reported) {
        properties["resolvedByRuleChange"] = json!(change);
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
        "partialFingerprints": { "secretscanFingerprint/v2": finding.id.fingerprint() },
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
