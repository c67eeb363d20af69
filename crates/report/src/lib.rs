//! Reports of findings: text and a web page for people, JSON, SARIF and others for programs, templates for the rest;
//! and baselines, which tell what was known before.
//!
//! [`Report`] is the input, one for each repository, and [`write()`] the one way out. Nothing here scans, decides an
//! exit code or reads the environment: the caller says whether the text has colours.
//!
//! The decision worth knowing: everything shown comes from a repository that may be hostile, so characters that act
//! on a terminal or reorder text are escaped in every format, in JSON as `\u` escapes that decode to the same text.
//! How much of a secret may be seen is decided once, by [`ReportedFinding::list`], and no format knows more.
//! The price: each document is built in memory before it is written.

mod baseline;
mod blocked;
mod csv;
mod date;
mod document;
mod escape;
mod gitlab;
mod html;
mod ignore;
mod junit;
mod markdown;
mod sarif;
mod shown;
mod template;
mod text;

use std::io::{self, Write};
use std::time::Duration;

use secretscan_model::{NotScanned, Timestamp};
use thiserror::Error;

pub use baseline::{Baseline, BaselineError, SecretHasher};
pub use blocked::{Advice, Blocked};
pub use escape::for_terminal as escape_for_terminal;
pub use ignore::{IgnoreError, IgnoreList};
pub use shown::{Found, Redaction, ReportedFinding};
pub use template::{Template, TemplateError};
pub use text::TextStyle;

/// The name under which reports speak of the program.
const TOOL_NAME: &str = "secretscan";

/// How reports are written.
#[derive(Clone, Debug)]
pub enum Format {
    /// For people, in a terminal.
    Text(TextStyle),
    /// One JSON document with findings and summary.
    Json,
    /// One JSON object a line for each finding, without a summary.
    Jsonl,
    /// SARIF 2.1.0, a run for each repository.
    Sarif,
    /// A table with a header, as spreadsheets read it.
    Csv,
    /// JUnit XML, a test suite for each repository.
    Junit,
    /// GitLab's secret detection report, which has no place for a repository's name.
    Gitlab,
    /// A web page that needs nothing else.
    Html,
    /// Markdown, for the summary of a CI job or a comment.
    Markdown,
    /// What a template makes of the JSON document.
    Template(Template),
}

impl Format {
    /// The name of the format, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Json => "JSON",
            Self::Jsonl => "JSON lines",
            Self::Sarif => "SARIF",
            Self::Csv => "CSV",
            Self::Junit => "JUnit XML",
            Self::Gitlab => "GitLab's secret detection format",
            Self::Html => "HTML",
            Self::Markdown => "Markdown",
            Self::Template(_) => "a template",
        }
    }
}

/// What was scanned, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many commits.
    pub commits: u64,
    /// How many blobs or files.
    pub blobs: u64,
    /// How many bytes of content.
    pub bytes: u64,
    /// When work began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How long was worked in between.
    pub elapsed: Duration,
    /// How many findings are left out because an ignore file names them.
    pub ignored: u64,
    /// What a bound or a fault kept from being scanned.
    pub not_scanned: Vec<NotScanned>,
    /// How many findings a baseline knows, which are left out; `None` without a baseline.
    pub known: Option<usize>,
}

/// Everything a report says of one repository, or of content outside of any.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The version of the program.
    pub tool_version: &'a str,
    /// The version of the rules.
    pub rule_set_version: &'a str,
    /// The name of the repository; `None` for what is at hand.
    pub repository: Option<&'a str>,
    /// The findings, in the order in which they are shown.
    pub findings: Vec<ReportedFinding<'a>>,
    /// What was scanned.
    pub summary: Summary,
}

impl Report<'_> {
    /// Leaves out the findings that a baseline knows, and counts them.
    pub fn leave_out_known(&mut self, baseline: &Baseline) {
        let before = self.findings.len();
        self.findings.retain(|reported| !baseline.knows(self.repository, &reported.finding));
        self.summary.known = Some(before - self.findings.len());
    }
}

/// A report that could not be written.
#[derive(Debug, Error)]
#[error("cannot write the report as {format}")]
pub struct WriteError {
    /// As what it was to be written.
    pub format: &'static str,
    /// Why not. A template that fails is [`io::ErrorKind::InvalidInput`].
    #[source]
    pub source: io::Error,
}

/// Writes the reports as one document and flushes.
///
/// # Errors
/// When `out` refuses or a template fails. A reader that went away is [`io::ErrorKind::BrokenPipe`] in the source.
pub fn write(reports: &[Report<'_>], format: &Format, out: &mut dyn Write) -> Result<(), WriteError> {
    let written = match format {
        Format::Text(style) => text::write(reports, *style, out),
        Format::Json => document::write(reports, out),
        Format::Jsonl => document::write_lines(reports, out),
        Format::Sarif => sarif::write(reports, out),
        Format::Csv => csv::write(reports, out),
        Format::Junit => junit::write(reports, out),
        Format::Gitlab => gitlab::write(reports, out),
        Format::Html => html::write(reports, out),
        Format::Markdown => markdown::write(reports, out),
        Format::Template(template) => template.write(reports, out),
    };
    written.and_then(|()| out.flush()).map_err(|source| WriteError { format: format.name(), source })
}

/// Writes only what [`Format::Text`] ends with: the counts and what was not scanned.
///
/// # Errors
/// As [`write()`].
pub fn write_summary(
    reports: &[Report<'_>],
    style: TextStyle,
    out: &mut dyn Write,
) -> Result<(), WriteError> {
    text::write_summaries(reports, style, out)
        .and_then(|()| out.flush())
        .map_err(|source| WriteError { format: "text", source })
}
