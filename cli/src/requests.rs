//! `secretscan requests`: the repository scan requests.

use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use secretscan_bus::Bus;
use secretscan_model::{Listing, Push, RepositoryId, RepositoryScan, ScanState, ScheduledRun, Timestamp};
use serde::Serialize;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::lists::{self, ListFormat};
use crate::output;

/// List the scan requests, newest first
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan requests --state Queued,InProgress")]
pub struct Arguments {
    /// Only requests in these states, separated by commas
    #[arg(
        long, value_name = "STATE", value_parser = clap::builder::PossibleValuesParser::new(ScanState::NAMES),
        ignore_case = true, value_delimiter = ','
    )]
    state: Vec<String>,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value = "20")]
    limit: NonZeroUsize,

    /// How to show them
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Lists them.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    arguments.connection.with_bus(async |bus| list(bus, arguments).await)
}

async fn list(bus: &Bus, arguments: &Arguments) -> anyhow::Result<Outcome> {
    let is_chosen = |scan: &RepositoryScan| {
        let name = scan.state.name();
        arguments.state.is_empty() || arguments.state.iter().any(|state| state.eq_ignore_ascii_case(name))
    };
    let mut scans = bus.scans().await?;
    scans.retain(is_chosen);
    scans.sort_by(|a, b| (created(b), &b.id).cmp(&(created(a), &a.id)));
    let left_off = scans.len().saturating_sub(arguments.limit.get());
    scans.truncate(arguments.limit.get());
    let repositories = bus.repositories().await?;
    let names: HashMap<RepositoryId, String> =
        repositories.into_iter().map(|repository| (repository.id, repository.name)).collect();
    let name = |scan: &RepositoryScan| scan.repository.as_ref().and_then(|id| names.get(id)).cloned();
    let views: Vec<_> = scans.iter().map(|scan| RequestView::new(scan, name(scan))).collect();
    output::to_stdout(|out| match arguments.format {
        ListFormat::Json => lists::write_json(&views, out),
        ListFormat::Text if views.is_empty() => writeln!(out, "no request"),
        ListFormat::Text => {
            let rows: Vec<_> = views.iter().map(row).collect();
            let header = ["ID", "STATE", "REPOSITORY", "CREATED (UTC)", "BATCHES", "COMMITS", "FINDINGS"];
            lists::write_table(header, &rows, out)
        }
    })?;
    if left_off > 0 {
        // Where standard error is closed, nobody listens.
        let _ = writeln!(io::stderr(), "note: {left_off} older left off, see --limit");
    }
    Ok(Outcome::Clean)
}

fn created(scan: &RepositoryScan) -> Timestamp {
    scan.trail.first().map(|entry| entry.at).unwrap_or_default()
}

/// A request as programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestView<'a> {
    pub id: &'a str,
    pub state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The name of the repository; `null` when the request was not accepted.
    pub repository: Option<String>,
    pub repository_id: Option<&'a str>,
    pub uri: &'a str,
    /// All when empty.
    pub refs: &'a [String],
    /// What was pushed, when it is about pushes.
    #[serde(skip_serializing_if = "<[Push]>::is_empty")]
    pub pushes: &'a [Push],
    pub purpose: &'static str,
    pub priority: &'static str,
    pub requester: &'a str,
    /// The run of a schedule that it is, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<&'a ScheduledRun>,
    pub created: String,
    /// When the state was entered.
    pub changed: String,
    pub attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<&'a str>,
    /// What the history held; `null` until it is listed.
    pub found: Option<FoundView>,
    pub totals: TotalsView,
    #[serde(skip)]
    created_at: Timestamp,
}

/// What the history held.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundView {
    pub commits: u64,
    /// Those of them that were neither scanned nor in flight.
    pub unknown: u64,
    /// Those of the unknown ones that no push announced and nobody was told of before; only for runs of schedules that tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untold: Option<u64>,
    /// Commits that were scanned and that no ref reaches any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vanished: Option<u64>,
    /// Whether the refs were those of the run before, so that nothing was fetched.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_unchanged: bool,
}

impl FoundView {
    /// The view of a listing.
    pub fn new(found: &Listing) -> Self {
        Self {
            commits: found.commits,
            unknown: found.unknown,
            untold: found.untold,
            vanished: found.vanished,
            is_unchanged: found.is_unchanged,
        }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let commits = lists::counted(self.commits, "commit", "commits");
        let mut words = format!("{commits}, {} of them not scanned before", self.unknown);
        if let Some(untold @ 1..) = self.untold {
            words += &format!(", {untold} of those announced by no push");
        }
        if let Some(vanished @ 1..) = self.vanished {
            words += &format!("; {vanished} that were scanned are gone");
        }
        if self.is_unchanged {
            words += "; nothing has changed";
        }
        words
    }
}

/// Sums over the batches of a request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TotalsView {
    pub batches: u64,
    pub batches_ended: u64,
    pub commits: u64,
    pub blobs: u64,
    pub bytes: u64,
    pub findings: u64,
    pub not_scanned: u64,
}

impl<'a> RequestView<'a> {
    /// The view of a request with the name of its repository.
    pub fn new(scan: &'a RepositoryScan, repository: Option<String>) -> Self {
        let totals = scan.totals();
        let reason = match &scan.state {
            ScanState::Failed { reason } => Some(reason.as_str()),
            _ => None,
        };
        let created_at = created(scan);
        Self {
            id: scan.id.as_str(),
            state: scan.state.name(),
            reason,
            repository,
            repository_id: scan.repository.as_ref().map(RepositoryId::as_str),
            uri: &scan.uri,
            refs: &scan.refs,
            pushes: &scan.pushes,
            purpose: scan.purpose.as_str(),
            priority: scan.priority.as_str(),
            requester: &scan.requester,
            scheduled: scan.scheduled.as_ref(),
            created: lists::rfc3339(created_at),
            changed: lists::rfc3339(scan.trail.last().map(|entry| entry.at).unwrap_or_default()),
            attempts: scan.attempts,
            last_error: scan.last_error.as_deref(),
            found: scan.found.as_ref().map(FoundView::new),
            totals: TotalsView {
                batches: totals.batches,
                batches_ended: totals.ended,
                commits: totals.commits,
                blobs: totals.blobs,
                bytes: totals.bytes,
                findings: totals.findings,
                not_scanned: totals.not_scanned,
            },
            created_at,
        }
    }
}

fn row(view: &RequestView<'_>) -> [String; 7] {
    let totals = &view.totals;
    [
        view.id.to_owned(),
        view.state.to_owned(),
        view.repository.clone().unwrap_or_else(|| "-".to_owned()),
        lists::time(view.created_at),
        format!("{}/{}", totals.batches_ended, totals.batches),
        totals.commits.to_string(),
        totals.findings.to_string(),
    ]
}
