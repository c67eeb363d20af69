//! A web page of its own: no other file, no other host. It is whole without its script, which filters and groups.
//!
//! The template escapes everything. Its content security policy lets nothing run or load but this style and script.

use std::io::{self, Write};
use std::sync::LazyLock;

use data_encoding::BASE64;
use secretscan_model::Verification;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::document::{self, Document, JsonFinding};
use crate::template::Template;
use crate::{Report, ReportedFinding};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");
static PAGE: LazyLock<Template> = LazyLock::new(|| {
    Template::parse("page.html", include_str!("html/page.html")).expect("a test renders it")
});

/// Worst first, as the page lists them.
const SEVERITIES: [&str; 4] = ["critical", "high", "medium", "low"];
/// Surest first.
const CONFIDENCES: [&str; 3] = ["high", "medium", "low"];

#[derive(Serialize)]
struct Page<'a> {
    style: &'static str,
    style_hash: String,
    script: &'static str,
    script_hash: String,
    document: Document<'a>,
    /// Worst first.
    findings: Vec<Row<'a>>,
    severities: Vec<Severity>,
    /// Sorted, each once.
    rules: Vec<&'a str>,
    has_repositories: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    finding: JsonFinding<'a>,
    /// The excerpts of the occurrences before, in and after their mark.
    excerpts: Vec<[&'a str; 3]>,
}

#[derive(Serialize)]
struct Severity {
    name: &'static str,
    count: usize,
}

pub(crate) fn write(reports: &[Report<'_>], out: &mut dyn Write) -> io::Result<()> {
    let all = || reports.iter().flat_map(|report| &report.findings);
    let count = |name| all().filter(|reported| reported.finding.severity == name).count();
    let mut rules: Vec<&str> = all().map(|reported| reported.finding.rule_id.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let mut findings: Vec<_> = reports.iter().flat_map(document::findings).zip(all()).collect();
    findings.sort_by_key(|(_, reported)| rank(reported));
    let page = Page {
        style: STYLE,
        style_hash: hash(STYLE),
        script: SCRIPT,
        script_hash: hash(SCRIPT),
        document: Document::new(reports),
        findings: findings
            .into_iter()
            .map(|(finding, reported)| Row { finding, excerpts: excerpts(reported) })
            .collect(),
        severities: SEVERITIES
            .map(|name| Severity { name, count: count(name) })
            .into_iter()
            .filter(|severity| severity.count > 0)
            .collect(),
        rules,
        has_repositories: reports.iter().any(|report| report.repository.is_some()),
    };
    PAGE.render(&page, out)
}

/// The smaller, the worse: by severity, then what a provider accepts, then by confidence. What is not known comes last.
fn rank(reported: &ReportedFinding<'_>) -> (usize, bool, usize) {
    let place =
        |names: &[&str], name: &str| names.iter().position(|known| *known == name).unwrap_or(names.len());
    let finding = &reported.finding;
    let is_in_use = reported.verification == Some(Verification::Valid);
    (place(&SEVERITIES, &finding.severity), !is_in_use, place(&CONFIDENCES, &finding.confidence))
}

/// As a content security policy names a source.
fn hash(source: &str) -> String {
    format!("sha256-{}", BASE64.encode(&Sha256::digest(source)))
}

fn excerpts<'a>(reported: &'a ReportedFinding<'_>) -> Vec<[&'a str; 3]> {
    let occurrences = reported.finding.occurrences.iter().zip(&reported.marks);
    occurrences
        .map(|(occurrence, mark)| {
            let excerpt = occurrence.excerpt.as_str();
            match mark {
                Some(mark) => [&excerpt[..mark.start], &excerpt[mark.clone()], &excerpt[mark.end..]],
                None => [excerpt, "", ""],
            }
        })
        .collect()
}
