//! Reports of findings: text for people, JSON, JSON lines and SARIF for programs.
//!
//! [`Report`] is the input, [`Report::write`] the one way out. Nothing here scans, filters or decides an exit code, and
//! nothing here reads the environment: the caller says whether the text has colours.
//!
//! The decision worth knowing: everything shown comes from a repository that may be hostile, so characters that act
//! on a terminal or reorder text are escaped in every format, in JSON as `\u` escapes that decode to the same text.
//! The price: each document is built in memory before it is written. A secret appears only where the caller put it
//! into [`ReportedFinding::secret`].

mod date;
mod escape;
mod ignore;
mod json;
mod sarif;
mod text;

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use secretscan_model::{Finding, NotScanned};
use thiserror::Error;

pub use escape::for_terminal as escape_for_terminal;
pub use ignore::{IgnoreError, IgnoreList};
pub use text::TextStyle;

/// The name under which reports speak of the program.
const TOOL_NAME: &str = "secretscan";

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, in a terminal.
    Text,
    /// One JSON document with findings and summary.
    Json,
    /// One JSON object a line for each finding, without a summary.
    Jsonl,
    /// SARIF 2.1.0.
    Sarif,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "JSON",
            Self::Jsonl => "JSON lines",
            Self::Sarif => "SARIF",
        })
    }
}

/// A finding and, only when the user asked for it, the secret itself.
#[derive(Clone)]
pub struct ReportedFinding<'a> {
    /// The finding.
    pub finding: &'a Finding,
    /// The secret in clear; `None` keeps it out of the report.
    pub secret: Option<Cow<'a, str>>,
}

impl fmt::Debug for ReportedFinding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.as_ref().map(|_| "****");
        f.debug_struct("ReportedFinding").field("finding", self.finding).field("secret", &secret).finish()
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
    /// How long it took.
    pub elapsed: Duration,
    /// How many findings are left out because an ignore file names them.
    pub ignored: u64,
    /// What a bound or a fault kept from being scanned.
    pub not_scanned: Vec<NotScanned>,
}

/// Everything a report says.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The version of the program.
    pub tool_version: &'a str,
    /// The version of the rules.
    pub rule_set_version: &'a str,
    /// The findings, in the order in which they are shown.
    pub findings: Vec<ReportedFinding<'a>>,
    /// What was scanned.
    pub summary: Summary,
}

/// A report that could not be written.
#[derive(Debug, Error)]
#[error("cannot write the report as {format}")]
pub struct WriteError {
    /// As what it was to be written.
    pub format: Format,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl Report<'_> {
    /// Writes the report and flushes; `style` concerns [`Format::Text`] only.
    ///
    /// # Errors
    /// When `out` refuses. A reader that went away is [`io::ErrorKind::BrokenPipe`] in the source.
    pub fn write(&self, format: Format, style: TextStyle, out: &mut dyn Write) -> Result<(), WriteError> {
        let written = match format {
            Format::Text => text::write(self, style, out),
            Format::Json => json::write(self, out),
            Format::Jsonl => json::write_lines(self, out),
            Format::Sarif => sarif::write(self, out),
        };
        written.and_then(|()| out.flush()).map_err(|source| WriteError { format, source })
    }

    /// Writes only what [`Format::Text`] ends with: the counts and what was not scanned.
    ///
    /// # Errors
    /// As [`Report::write`].
    pub fn write_summary(&self, style: TextStyle, out: &mut dyn Write) -> Result<(), WriteError> {
        text::write_summary(self, style, out)
            .and_then(|()| out.flush())
            .map_err(|source| WriteError { format: Format::Text, source })
    }
}
