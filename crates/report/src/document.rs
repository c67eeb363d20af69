//! JSON and JSON lines: the finding as it is kept elsewhere, with dates and paths made readable. Templates get the same.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};

use data_encoding::BASE64;
use secretscan_model::finding::MAX_OCCURRENCES;
use secretscan_model::{CommitId, NotScanned, Occurrence, Verification};
use serde::Serialize;

use crate::{Report, ReportedFinding, Summary, TOOL_NAME, date, escape};

/// Names the shape of the document; the number rises when a reader would have to change.
pub(crate) const SCHEMA: &str = "secretscan-report/1";

/// Everything that the reports say.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document<'a> {
    schema: &'static str,
    tool: Tool<'a>,
    findings: Vec<JsonFinding<'a>>,
    pub(crate) summary: JsonSummary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    name: &'static str,
    version: &'a str,
    rule_set_version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonFinding<'a> {
    /// The name of the repository, where there may be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<&'a str>,
    /// Of the secret in its file.
    id: &'a str,
    /// Of the secret, whichever file holds it.
    fingerprint: &'a str,
    rule_id: &'a str,
    description: &'a str,
    severity: &'a str,
    confidence: &'a str,
    tags: &'a [String],
    secret_hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    /// Absent when nobody was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<&'a Verification>,
    /// Absent while the rules find it.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_by_rule_change: Option<JsonRuleChange<'a>>,
    path: Cow<'a, str>,
    /// Base64 of the path, when it is not UTF-8 and `path` therefore not exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    occurrences: Vec<JsonOccurrence<'a>>,
    /// Whether later occurrences may have been left off: only the earliest are kept.
    may_have_more_occurrences: bool,
}

/// The version of the rules that does not find it any more, and since when.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonRuleChange<'a> {
    rule_set: &'a str,
    at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonOccurrence<'a> {
    /// `null` for content that is in no commit.
    commit: Option<CommitId>,
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
    author: Option<JsonAuthor<'a>>,
    excerpt: &'a str,
    /// Absent where the file holds the secret itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded_from: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonAuthor<'a> {
    name: &'a str,
    email: &'a str,
    /// Author time; `null` outside the years 0 to 9999.
    date: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonSummary {
    findings: usize,
    /// Findings of the baseline, which are left out; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<usize>,
    commits: u64,
    blobs: u64,
    bytes: u64,
    started: String,
    ended: String,
    seconds: f64,
    /// Findings that ignore files list, which are left out.
    ignored: u64,
    not_scanned: Vec<NotScanned>,
}

impl<'a> Document<'a> {
    pub(crate) fn new(reports: &'a [Report<'_>]) -> Self {
        let rule_sets: BTreeSet<&str> = reports.iter().map(|report| report.rule_set_version).collect();
        let findings: Vec<JsonFinding<'a>> = reports.iter().flat_map(findings).collect();
        let summary = merged(reports);
        Self {
            schema: SCHEMA,
            tool: Tool {
                name: TOOL_NAME,
                version: reports.first().map_or("", |report| report.tool_version),
                rule_set_version: Vec::from_iter(rule_sets).join(", "),
            },
            summary: JsonSummary {
                findings: findings.len(),
                known: summary.known,
                commits: summary.commits,
                blobs: summary.blobs,
                bytes: summary.bytes,
                started: date::of_event(summary.started),
                ended: date::of_event(summary.ended),
                seconds: summary.elapsed.as_secs_f64(),
                ignored: summary.ignored,
                not_scanned: summary.not_scanned,
            },
            findings,
        }
    }
}

/// What all reports together say of the scan.
pub(crate) fn merged(reports: &[Report<'_>]) -> Summary {
    let summaries = || reports.iter().map(|report| &report.summary);
    Summary {
        commits: summaries().map(|summary| summary.commits).sum(),
        blobs: summaries().map(|summary| summary.blobs).sum(),
        bytes: summaries().map(|summary| summary.bytes).sum(),
        started: summaries().map(|summary| summary.started).min().unwrap_or_default(),
        ended: summaries().map(|summary| summary.ended).max().unwrap_or_default(),
        elapsed: summaries().map(|summary| summary.elapsed).sum(),
        ignored: summaries().map(|summary| summary.ignored).sum(),
        not_scanned: summaries().flat_map(|summary| summary.not_scanned.clone()).collect(),
        known: summaries().map(|summary| summary.known).sum(),
    }
}

/// Writes one document.
pub(crate) fn write(reports: &[Report<'_>], out: &mut dyn Write) -> io::Result<()> {
    write_json(&Document::new(reports), out)
}

/// Writes one line for each finding.
pub(crate) fn write_lines(reports: &[Report<'_>], out: &mut dyn Write) -> io::Result<()> {
    for finding in reports.iter().flat_map(findings) {
        writeln!(out, "{}", escape::for_json(&serde_json::to_string(&finding)?))?;
    }
    Ok(())
}

/// Writes a value indented, with the characters escaped that are unsafe to show.
pub(crate) fn write_json(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let document = serde_json::to_string_pretty(document)?;
    writeln!(out, "{}", escape::for_json(&document))
}

/// The commit of an occurrence, unless it stands for content that is in none.
pub(crate) fn commit(occurrence: &Occurrence) -> Option<CommitId> {
    let is_commit = occurrence.commit.as_bytes().iter().any(|byte| *byte != 0);
    is_commit.then_some(occurrence.commit)
}

/// Base64 of a path that is not UTF-8.
pub(crate) fn path_bytes(path: &[u8]) -> Option<String> {
    std::str::from_utf8(path).is_err().then(|| BASE64.encode(path))
}

/// The findings of a report.
pub(crate) fn findings<'a>(report: &'a Report<'_>) -> impl Iterator<Item = JsonFinding<'a>> {
    report.findings.iter().map(|reported| json_finding(report.repository, reported))
}

fn json_finding<'a>(repository: Option<&'a str>, reported: &'a ReportedFinding<'_>) -> JsonFinding<'a> {
    let finding = &reported.finding;
    JsonFinding {
        repository,
        id: &finding.id.0,
        fingerprint: finding.id.fingerprint(),
        rule_id: finding.rule_id.as_str(),
        description: &finding.description,
        severity: &finding.severity,
        confidence: &finding.confidence,
        tags: &finding.tags,
        secret_hash: &finding.secret_hash.0,
        secret: reported.secret.as_deref(),
        verification: reported.verification.as_ref(),
        resolved_by_rule_change: rule_change(reported),
        path: finding.display_path(),
        path_bytes: path_bytes(&finding.path),
        occurrences: finding.occurrences.iter().map(json_occurrence).collect(),
        may_have_more_occurrences: finding.occurrences.len() >= MAX_OCCURRENCES,
    }
}

/// The change of the rules that resolved a finding.
pub(crate) fn rule_change<'a>(reported: &'a ReportedFinding<'_>) -> Option<JsonRuleChange<'a>> {
    let change = reported.rule_change.as_ref()?;
    Some(JsonRuleChange { rule_set: &change.rule_set, at: date::of_event(change.at) })
}

fn json_occurrence(occurrence: &Occurrence) -> JsonOccurrence<'_> {
    let Occurrence { line, column, end_line, end_column, author, excerpt, decoded_from, .. } = occurrence;
    let commit = commit(occurrence);
    let author = commit.map(|_| JsonAuthor {
        name: &author.name,
        email: &author.email,
        date: date::rfc3339(author.time),
    });
    JsonOccurrence {
        commit,
        line: *line,
        column: *column,
        end_line: *end_line,
        end_column: *end_column,
        author,
        excerpt,
        decoded_from: decoded_from.as_deref(),
    }
}
