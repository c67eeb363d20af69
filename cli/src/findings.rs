//! `secretscan findings`: what the system has found, as reports of its repositories.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use console::Style;
use secretscan_bus::{Bus, BusError};
use secretscan_model::ledger::{CommitState, Head};
use secretscan_model::{BatchState, Finding, NotScanned, Repository, RepositoryScan};
use secretscan_report::{Format, Report, ReportedFinding, Summary, TextStyle, escape_for_terminal};

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::counted;
use crate::rules::ConfidenceArgument;
use crate::scan::FormatArgument;
use crate::{output, repositories};

/// Show the findings of one repository or of all
///
/// Secrets are never shown: the system keeps only keyed hashes and masked excerpts.
#[derive(clap::Args)]
#[command(after_help = "\
Example: secretscan findings --repository https://github.com/owner/project --format sarif

Exit codes: 0 no findings, 1 findings, 2 error")]
pub struct Arguments {
    /// Only this repository [default: all; JSON and SARIF need one]
    #[arg(long, value_name = "ID|URI|NAME")]
    repository: Option<String>,

    /// How to report
    #[arg(long, value_enum, default_value_t = FormatArgument::Text)]
    format: FormatArgument,

    /// Only findings of at least this confidence
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = ConfidenceArgument::Low)]
    confidence: ConfidenceArgument,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Shows them.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let format = arguments.format.into();
    if arguments.repository.is_none() && matches!(format, Format::Json | Format::Sarif) {
        let message = format!("{format} reports on one repository");
        let hint = "name it with --repository; or use --format jsonl, where each line names its repository";
        return Err(Failure::new(message, hint).into());
    }
    let least = arguments.confidence;
    arguments.connection.with_bus(async |bus| match &arguments.repository {
        Some(text) => show_repository(bus, &repositories::find(bus, text).await?, format, least).await,
        None => show_all(bus, format, least).await,
    })
}

/// Reports what is known of one repository, of at least this confidence.
pub async fn show_repository(
    bus: &Bus,
    repository: &Repository,
    format: Format,
    least: ConfidenceArgument,
) -> anyhow::Result<Outcome> {
    let known = Known::load(bus, repository, &bus.scans().await?, least).await?;
    let report = known.report();
    output::to_stdout(|out| report.write(format, TextStyle::of_stdout(), out).map_err(|error| error.source))?;
    if format != Format::Text {
        // Where standard error is closed, nobody listens.
        let _ = report.write_summary(TextStyle::of_stderr(), &mut io::stderr());
    }
    Ok(known.outcome())
}

async fn show_all(bus: &Bus, format: Format, least: ConfidenceArgument) -> anyhow::Result<Outcome> {
    let mut repositories = bus.repositories().await?;
    repositories.sort_by(|a, b| a.name.cmp(&b.name));
    let scans = bus.scans().await?;
    let mut all = Vec::with_capacity(repositories.len());
    for repository in &repositories {
        all.push(Known::load(bus, repository, &scans, least).await?);
    }
    let total = total(&all);
    output::to_stdout(|out| {
        for known in all.iter().filter(|known| !known.findings.is_empty()) {
            if format == Format::Text {
                known.write_text(out)?;
            } else {
                known.write_lines(out)?;
            }
        }
        if format == Format::Text { writeln!(out, "{total}") } else { Ok(()) }
    })?;
    if format != Format::Text {
        // Where standard error is closed, nobody listens.
        let _ = writeln!(io::stderr(), "{total}");
    }
    let is_clean = all.iter().all(|known| known.outcome() == Outcome::Clean);
    Ok(if is_clean { Outcome::Clean } else { Outcome::Findings })
}

fn total(all: &[Known<'_>]) -> String {
    let repositories = counted(all.len() as u64, "repository", "repositories");
    let findings: usize = all.iter().map(|known| known.findings.len()).sum();
    if findings == 0 {
        return format!("no secrets found in {repositories}");
    }
    let with_findings = all.iter().filter(|known| !known.findings.is_empty()).count();
    format!("{} in {with_findings} of {repositories}", counted(findings as u64, "secret", "secrets"))
}

/// What the system knows of a repository.
struct Known<'a> {
    repository: &'a Repository,
    findings: Vec<Finding>,
    rule_set: String,
    summary: Summary,
}

impl<'a> Known<'a> {
    async fn load(
        bus: &Bus,
        repository: &'a Repository,
        scans: &[RepositoryScan],
        least: ConfidenceArgument,
    ) -> Result<Self, BusError> {
        let mut findings: Vec<Finding> =
            bus.findings(Some(&repository.id)).await?.into_iter().map(|(_, finding)| finding).collect();
        findings.retain(|finding| least.allows(&finding.confidence));
        findings.sort_by(|a, b| order(a).cmp(&order(b)));
        let head = bus.ledger(&repository.id).head().await?;
        let mut summary = Summary { commits: head.count(CommitState::Scanned), ..Summary::default() };
        let mut not_scanned = BTreeSet::new();
        for scan in scans.iter().filter(|scan| scan.repository.as_ref() == Some(&repository.id)) {
            let totals = scan.totals();
            summary.blobs += totals.blobs;
            summary.bytes += totals.bytes;
            summary.elapsed += duration(scan);
            not_scanned.extend(self::not_scanned(bus, scan).await?);
        }
        summary.not_scanned = not_scanned.into_iter().collect();
        Ok(Self { repository, findings, rule_set: latest_rule_set(&head), summary })
    }

    fn report(&self) -> Report<'_> {
        Report {
            tool_version: env!("CARGO_PKG_VERSION"),
            rule_set_version: &self.rule_set,
            findings: self.findings.iter().map(|finding| ReportedFinding { finding, secret: None }).collect(),
            summary: self.summary.clone(),
        }
    }

    fn outcome(&self) -> Outcome {
        if self.findings.is_empty() { Outcome::Clean } else { Outcome::Findings }
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = escape_for_terminal(&self.repository.name);
        writeln!(out, "{}\n", Style::new().bold().underlined().apply_to(name))?;
        self.report().write(Format::Text, TextStyle::of_stdout(), out).map_err(|error| error.source)?;
        writeln!(out)
    }

    /// JSON lines whose first field is the name of the repository. The lines are those of the report, byte for byte:
    /// reading and writing them anew would undo its escapes.
    fn write_lines(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut lines = Vec::new();
        self.report().write(Format::Jsonl, TextStyle::Plain, &mut lines).map_err(|error| error.source)?;
        let name = serde_json::to_string(&self.repository.name)?;
        for line in lines.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"{")) {
            write!(out, "{{\"repository\":{name},")?;
            out.write_all(line)?;
            writeln!(out)?;
        }
        Ok(())
    }
}

/// The most severe first, then by place.
fn order(finding: &Finding) -> (usize, &[u8], u32, u32, &str) {
    let rank = ["critical", "high", "medium", "low"].iter().position(|name| *name == finding.severity);
    let at = finding.introduced();
    (rank.unwrap_or(usize::MAX), &finding.path, at.line, at.column, &finding.fingerprint.0)
}

fn latest_rule_set(head: &Head) -> String {
    let scanned = head.segments.iter().filter(|segment| segment.state == CommitState::Scanned);
    let latest = scanned.max_by_key(|segment| segment.at);
    latest.map_or_else(|| "not yet used".to_owned(), |segment| segment.rule_set.clone())
}

/// How long a request was worked on.
fn duration(scan: &RepositoryScan) -> Duration {
    let start = scan.trail.iter().find(|entry| entry.state == "InProgress");
    let (Some(start), Some(end)) = (start, scan.trail.last()) else { return Duration::ZERO };
    Duration::from_millis(u64::try_from(end.at.0 - start.at.0).unwrap_or(0))
}

/// What a request could not scan: of its history, as the listing says, and of its batches, as their records name it.
pub async fn not_scanned(bus: &Bus, scan: &RepositoryScan) -> Result<Vec<NotScanned>, BusError> {
    let mut not_scanned = scan.found.as_ref().map(|found| found.not_scanned.clone()).unwrap_or_default();
    let count = scan.totals().not_scanned;
    if count == 0 {
        return Ok(not_scanned);
    }
    let mut named = 0;
    for batch in bus.batches_of(&scan.id).await? {
        if let BatchState::Completed { report } = batch.state {
            named += report.not_scanned.len() as u64;
            not_scanned.extend(report.not_scanned);
        }
    }
    if count > named {
        // Records of batches are kept for a time only.
        let reason = format!("{} more, whose names are no longer kept", count - named);
        not_scanned.push(NotScanned { what: format!("request {}", scan.id), reason });
    }
    Ok(not_scanned)
}
