//! `secretscan findings`: what the system has found, as reports of its repositories, and what became of it.

mod list;
mod record;
mod show;
mod triage;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use secretscan_bus::{Bus, BusError};
use secretscan_model::ledger::{CommitState, Head};
use secretscan_model::rules::resolved_by;
use secretscan_model::{
    BatchState, Finding, NotScanned, Purpose, Repository, RepositoryScan, RuleChange, RuleHashes, Timestamp,
};
use secretscan_report::{Found, Redaction, Report, ReportedFinding, Summary};

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output::{ReportArguments, ReportWriter};
use crate::repositories;
use crate::rules::ConfidenceArgument;

/// Report the findings of one repository or of all; list them, show one, or decide about it
///
/// Secrets are never shown: the system keeps only keyed hashes and masked excerpts.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Example: secretscan findings --repository https://github.com/owner/project --format sarif

Exit codes: 0 no findings, 1 findings, 2 error"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Only this repository [default: all]
    #[arg(long, value_name = "ID|URI|NAME")]
    repository: Option<String>,

    #[command(flatten)]
    report: ReportArguments,

    /// Only findings of at least this confidence
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = ConfidenceArgument::Low)]
    confidence: ConfidenceArgument,

    /// Instead, those that a change of the rules has resolved: their rule is gone, or finds them no more
    #[arg(long)]
    resolved_by_rule_change: bool,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(clap::Subcommand)]
enum Command {
    List(list::ListArguments),
    Show(show::ShowArguments),
    Triage(triage::TriageArguments),
}

/// Reports, lists, shows or decides.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Some(Command::List(list)) => return list.run(),
        Some(Command::Show(show)) => return show.run(),
        Some(Command::Triage(triage)) => return triage.run(),
        None => {}
    }
    let writer = arguments.report.open(None)?;
    arguments.connection.with_bus(async |bus| {
        let repositories = selected(bus, arguments.repository.as_deref()).await?;
        let which = if arguments.resolved_by_rule_change { Which::Resolved } else { Which::Open };
        write_report(bus, &repositories, arguments.confidence, which, writer).await
    })
}

/// The repository that a text names, or all.
async fn selected(bus: &Bus, repository: Option<&str>) -> anyhow::Result<Vec<Repository>> {
    if let Some(text) = repository {
        return Ok(vec![repositories::find(bus, text).await?]);
    }
    let mut all = bus.repositories().await?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn no_finding() -> Failure {
    let hint = "list the findings with `secretscan findings list`";
    Failure::new("the repository has no finding with this fingerprint", hint)
}

/// Which findings are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those that the rules still find.
    Open,
    /// Those that a change of the rules has resolved.
    Resolved,
}

/// Reports what is known of these repositories, of at least this confidence.
pub async fn report(
    bus: &Bus,
    repositories: &[Repository],
    least: ConfidenceArgument,
    writer: ReportWriter,
) -> anyhow::Result<Outcome> {
    write_report(bus, repositories, least, Which::Open, writer).await
}

async fn write_report(
    bus: &Bus,
    repositories: &[Repository],
    least: ConfidenceArgument,
    which: Which,
    writer: ReportWriter,
) -> anyhow::Result<Outcome> {
    let scans = bus.scans().await?;
    let mut known = Vec::with_capacity(repositories.len());
    for repository in repositories {
        known.push(Known::load(bus, repository, &scans, least, which).await?);
    }
    writer.write(known.iter().map(Known::report).collect())
}

/// What the system knows of a repository.
struct Known<'a> {
    repository: &'a Repository,
    findings: Vec<(Finding, Option<RuleChange>)>,
    rule_set: String,
    summary: Summary,
}

impl<'a> Known<'a> {
    async fn load(
        bus: &Bus,
        repository: &'a Repository,
        scans: &[RepositoryScan],
        least: ConfidenceArgument,
        which: Which,
    ) -> Result<Self, BusError> {
        let head = bus.ledger(&repository.id).head().await?;
        let versions = versions(bus, &head).await?;
        let mut findings = Vec::new();
        for (_, finding) in bus.findings(Some(&repository.id)).await? {
            let change = resolved_by(&finding.rule_id, &finding.matched_by, &head, &versions).cloned();
            if least.allows(&finding.confidence) && change.is_some() == (which == Which::Resolved) {
                findings.push((finding, change));
            }
        }
        findings.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
        let mut summary = Summary { commits: head.count(CommitState::Scanned), ..Summary::default() };
        let mut not_scanned = BTreeSet::new();
        let mut is_first = true;
        let is_scan = |scan: &&RepositoryScan| {
            scan.repository.as_ref() == Some(&repository.id) && scan.purpose != Purpose::Verify
        };
        for scan in scans.iter().filter(is_scan) {
            let totals = scan.totals();
            summary.blobs += totals.blobs;
            summary.bytes += totals.bytes;
            if let Some((started, ended)) = worked(scan) {
                summary.started = if is_first { started } else { summary.started.min(started) };
                summary.ended = summary.ended.max(ended);
                summary.elapsed += duration(started, ended);
                is_first = false;
            }
            not_scanned.extend(self::not_scanned(bus, scan).await?);
        }
        summary.not_scanned = not_scanned.into_iter().collect();
        Ok(Self { repository, findings, rule_set: latest_rule_set(&head), summary })
    }

    fn report(&self) -> Report<'_> {
        let found: Vec<Found<'_>> =
            self.findings.iter().map(|(finding, _)| Found { finding, secret: None }).collect();
        let changes = self.findings.iter().map(|(_, change)| change.clone());
        let findings = ReportedFinding::list(&found, Redaction::WHOLE).into_iter().zip(changes);
        Report {
            tool_version: env!("CARGO_PKG_VERSION"),
            rule_set_version: &self.rule_set,
            repository: Some(&self.repository.name),
            findings: findings.map(|(finding, change)| finding.with_rule_change(change)).collect(),
            summary: self.summary.clone(),
        }
    }
}

/// What the versions of the rules consist of that a ledger speaks of. None while they never changed.
async fn versions(bus: &Bus, head: &Head) -> Result<BTreeMap<String, RuleHashes>, BusError> {
    let mut versions = BTreeMap::new();
    if head.changes.is_empty() {
        return Ok(versions);
    }
    let changes = head.changes.iter().map(|change| &change.rule_set);
    let names: BTreeSet<&String> =
        head.segments.iter().map(|segment| &segment.rule_set).chain(changes).collect();
    // Those that wait for their scan have none yet.
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        if let Some(hashes) = bus.rule_set(name).await? {
            versions.insert(name.clone(), hashes);
        }
    }
    Ok(versions)
}

/// The most severe first, then by place.
fn order(finding: &Finding) -> (usize, &[u8], u32, u32, &str) {
    let at = finding.introduced();
    (severity_rank(&finding.severity), &finding.path, at.line, at.column, &finding.id.0)
}

/// The smaller, the more severe.
fn severity_rank(severity: &str) -> usize {
    let rank = ["critical", "high", "medium", "low"].iter().position(|name| *name == severity);
    rank.unwrap_or(usize::MAX)
}

fn latest_rule_set(head: &Head) -> String {
    let scanned = head.segments.iter().filter(|segment| segment.state == CommitState::Scanned);
    let latest = scanned.max_by_key(|segment| segment.at);
    latest.map_or_else(|| "not yet used".to_owned(), |segment| segment.rule_set.clone())
}

/// When work on a request began and when it ended, or how far it is.
fn worked(scan: &RepositoryScan) -> Option<(Timestamp, Timestamp)> {
    let start = scan.trail.iter().find(|entry| entry.state == "InProgress")?;
    Some((start.at, scan.trail.last()?.at))
}

fn duration(start: Timestamp, end: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(end.0 - start.0).unwrap_or(0))
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
