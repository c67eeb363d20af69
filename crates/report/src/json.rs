//! JSON and JSON lines: the finding as it is kept elsewhere, with dates and paths made readable.

use std::borrow::Cow;
use std::io::{self, Write};

use data_encoding::BASE64;
use secretscan_model::finding::MAX_OCCURRENCES;
use secretscan_model::{CommitId, NotScanned, Occurrence};
use serde::Serialize;

use crate::{Report, ReportedFinding, TOOL_NAME, date, escape};

/// Names the shape of the document; the number rises when a reader would have to change.
const SCHEMA: &str = "secretscan-report/1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema: &'static str,
    tool: Tool<'a>,
    findings: Vec<JsonFinding<'a>>,
    summary: JsonSummary<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    name: &'static str,
    version: &'a str,
    rule_set_version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonFinding<'a> {
    fingerprint: &'a str,
    rule_id: &'a str,
    description: &'a str,
    severity: &'a str,
    confidence: &'a str,
    tags: &'a [String],
    secret_hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    path: Cow<'a, str>,
    /// Base64 of the path, when it is not UTF-8 and `path` therefore not exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    occurrences: Vec<JsonOccurrence<'a>>,
    /// Whether later occurrences may have been left off: only the earliest are kept.
    may_have_more_occurrences: bool,
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
struct JsonSummary<'a> {
    findings: usize,
    commits: u64,
    blobs: u64,
    bytes: u64,
    seconds: f64,
    ignored: u64,
    not_scanned: &'a [NotScanned],
}

/// Writes one document.
pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let summary = &report.summary;
    let document = Document {
        schema: SCHEMA,
        tool: Tool {
            name: TOOL_NAME,
            version: report.tool_version,
            rule_set_version: report.rule_set_version,
        },
        findings: report.findings.iter().map(json_finding).collect(),
        summary: JsonSummary {
            findings: report.findings.len(),
            commits: summary.commits,
            blobs: summary.blobs,
            bytes: summary.bytes,
            seconds: summary.elapsed.as_secs_f64(),
            ignored: summary.ignored,
            not_scanned: &summary.not_scanned,
        },
    };
    write_document(&document, out)
}

/// Writes one line for each finding.
pub(crate) fn write_lines(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    for reported in &report.findings {
        let line = serde_json::to_string(&json_finding(reported))?;
        writeln!(out, "{}", escape::for_json(&line))?;
    }
    Ok(())
}

/// Writes a value indented, with the characters escaped that are unsafe to show.
pub(crate) fn write_document(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
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

fn json_finding<'a>(reported: &'a ReportedFinding<'a>) -> JsonFinding<'a> {
    let finding = reported.finding;
    JsonFinding {
        fingerprint: &finding.fingerprint.0,
        rule_id: finding.rule_id.as_str(),
        description: &finding.description,
        severity: &finding.severity,
        confidence: &finding.confidence,
        tags: &finding.tags,
        secret_hash: &finding.secret_hash.0,
        secret: reported.secret.as_deref(),
        path: finding.display_path(),
        path_bytes: path_bytes(&finding.path),
        occurrences: finding.occurrences.iter().map(json_occurrence).collect(),
        may_have_more_occurrences: finding.occurrences.len() >= MAX_OCCURRENCES,
    }
}

fn json_occurrence(occurrence: &Occurrence) -> JsonOccurrence<'_> {
    let Occurrence { line, column, end_line, end_column, author, excerpt, .. } = occurrence;
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
    }
}
