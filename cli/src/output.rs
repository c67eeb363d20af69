//! Writing to standard output, and reports wherever the user wants them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::ValueEnum;
use secretscan_model::Timestamp;
use secretscan_report::{Baseline, Format, Report, SecretHasher, Template, TextStyle, WriteError};

use crate::exit::Outcome;
use crate::failure::Failure;

/// How and where to report.
#[derive(clap::Args)]
pub struct ReportArguments {
    /// How to report [default: text; with --template: template]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<FormatArgument>,

    /// Write the report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write one more report; may be repeated, such as --report sarif=a.sarif --report html=a.html
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    more: Vec<MoreArgument>,

    /// The template of the format template, in Jinja's syntax: it gets what the JSON report has
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    template: Option<PathBuf>,

    /// Report only what this JSON report of before (or of gitleaks) lacks
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// How to report.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatArgument {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// One JSON object a line for each finding
    Jsonl,
    /// SARIF 2.1.0
    Sarif,
    /// A table for spreadsheets
    Csv,
    /// JUnit XML, for CI servers
    Junit,
    /// GitLab's secret detection report
    Gitlab,
    /// A web page, for people
    Html,
    /// Markdown, for the summary of a CI job or a comment
    Markdown,
    /// What --template makes of it
    Template,
}

/// `FORMAT=FILE`.
#[derive(Clone)]
struct MoreArgument {
    format: FormatArgument,
    file: PathBuf,
}

impl FromStr for MoreArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, file) =
            text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or("it lacks =FILE")?;
        let format = FormatArgument::from_str(format, false).map_err(|_| {
            let known = FormatArgument::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            let known: Vec<String> = known.map(|value| value.get_name().to_owned()).collect();
            format!("{format:?} is no format; there are {}", known.join(", "))
        })?;
        Ok(Self { format, file: file.into() })
    }
}

impl ReportArguments {
    /// Opens and reads everything that the reports need: a mistake should not cost a long scan, and an old report must
    /// not pass for a new one. `hash` gives the hash of a secret, where findings are told apart by one that is known.
    pub fn open(&self, hash: Option<SecretHasher<'_>>) -> anyhow::Result<ReportWriter> {
        let baseline = self.baseline.as_deref().map(|file| read_baseline(file, hash)).transpose()?;
        let template = self.template.as_deref().map(read_template).transpose()?;
        let default = if template.is_some() { FormatArgument::Template } else { FormatArgument::Text };
        let main = self.format.unwrap_or(default);
        let is_used = std::iter::once(main)
            .chain(self.more.iter().map(|more| more.format))
            .any(|format| format == FormatArgument::Template);
        if is_used != template.is_some() {
            let message = "the format template and --template FILE need each other";
            return Err(Failure::new(message, "give both, or --template alone").into());
        }
        let mut files: HashSet<&Path> = self.baseline.iter().map(PathBuf::as_path).collect();
        let outputs = self.output.iter().chain(self.more.iter().map(|more| &more.file));
        if let Some(twice) = outputs.clone().find(|file| !files.insert(file)) {
            let message = format!("{} would be overwritten", twice.display());
            return Err(Failure::new(message, "name each file once").into());
        }
        let format = |argument: FormatArgument, style| match (argument, &template) {
            (FormatArgument::Json, _) => Format::Json,
            (FormatArgument::Jsonl, _) => Format::Jsonl,
            (FormatArgument::Sarif, _) => Format::Sarif,
            (FormatArgument::Csv, _) => Format::Csv,
            (FormatArgument::Junit, _) => Format::Junit,
            (FormatArgument::Gitlab, _) => Format::Gitlab,
            (FormatArgument::Html, _) => Format::Html,
            (FormatArgument::Markdown, _) => Format::Markdown,
            (FormatArgument::Template, Some(template)) => Format::Template(template.clone()),
            (FormatArgument::Template, None) | (FormatArgument::Text, _) => Format::Text(style),
        };
        let mut writer = ReportWriter { baseline, stdout: None, files: Vec::new() };
        match &self.output {
            Some(file) => writer.files.push((format(main, TextStyle::PLAIN), create(file)?)),
            None => writer.stdout = Some(format(main, TextStyle::of_stdout())),
        }
        for more in &self.more {
            writer.files.push((format(more.format, TextStyle::PLAIN), create(&more.file)?));
        }
        Ok(writer)
    }
}

/// Reads a report as a baseline.
pub fn read_baseline(file: &Path, hash: Option<SecretHasher<'_>>) -> anyhow::Result<Baseline> {
    let failure = |cause: anyhow::Error| {
        let message = format!("cannot use the baseline {}", file.display());
        Failure::caused_by(cause, message, "write one with --format json --output FILE, without --baseline")
    };
    let report = fs::read(file).map_err(|error| failure(error.into()))?;
    Ok(Baseline::parse(&report, hash).map_err(|error| failure(error.into()))?)
}

fn read_template(file: &Path) -> anyhow::Result<Template> {
    let failure = |cause: anyhow::Error| {
        let message = format!("cannot use the template {}", file.display());
        Failure::caused_by(cause, message, "it is a text file in Jinja's syntax")
    };
    let source = fs::read_to_string(file).map_err(|error| failure(error.into()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(Template::parse(&name, &source).map_err(|error| failure(error.into()))?)
}

fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    File::create(path).map(BufWriter::new).map_err(|cause| {
        let message = format!("cannot write the report to {}", path.display());
        Failure::caused_by(cause, message, "name a file in an existing, writable directory")
    })
}

/// Reports about to be written, everything they need at hand.
pub struct ReportWriter {
    baseline: Option<Baseline>,
    stdout: Option<Format>,
    files: Vec<(Format, BufWriter<File>)>,
}

impl ReportWriter {
    /// What is shown when nobody says how.
    #[cfg(feature = "remote")]
    pub fn text_to_stdout() -> Self {
        Self { baseline: None, stdout: Some(Format::Text(TextStyle::of_stdout())), files: Vec::new() }
    }

    /// Refuses formats that can't report on so many repositories.
    pub fn check(&self, repositories: usize) -> Result<(), Failure> {
        let mut formats = self.stdout.iter().chain(self.files.iter().map(|(format, _)| format));
        if repositories > 1 && formats.any(|format| matches!(format, Format::Gitlab)) {
            let message = format!("{} reports on one repository", Format::Gitlab.name());
            return Err(Failure::new(message, "name one repository, or use another format"));
        }
        Ok(())
    }

    /// Writes them. Where standard output does not have it, the summary goes to standard error.
    pub fn write(mut self, mut reports: Vec<Report<'_>>) -> anyhow::Result<Outcome> {
        self.check(reports.len())?;
        if let Some(baseline) = &self.baseline {
            reports.iter_mut().for_each(|report| report.leave_out_known(baseline));
        }
        for (format, file) in &mut self.files {
            secretscan_report::write(&reports, format, file)?;
        }
        if let Some(format) = &self.stdout {
            let mut failed = None;
            to_stdout(|out| match secretscan_report::write(&reports, format, out) {
                // A template that fails has nothing to do with standard output.
                Err(error) if error.source.kind() == ErrorKind::InvalidInput => {
                    failed = Some(error);
                    Ok(())
                }
                written => written.map_err(|error: WriteError| error.source),
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        if !matches!(self.stdout, Some(Format::Text(_))) {
            // Where standard error is closed, nobody listens.
            let _ = secretscan_report::write_summary(&reports, TextStyle::of_stderr(), &mut io::stderr());
        }
        let is_clean = reports.iter().all(|report| report.findings.is_empty());
        Ok(if is_clean { Outcome::Clean } else { Outcome::Findings })
    }
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock where there is no bus")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Runs `write` on buffered standard output. A reader that went away, such as `head`, is no error: it has what it
/// wanted.
///
/// # Errors
/// Whatever else goes wrong with standard output.
pub fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // Dropping the writer would only try again.
            drop(out.into_parts());
            Ok(())
        }
        result => result.context("cannot write to standard output"),
    }
}
