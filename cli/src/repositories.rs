//! `secretscan repositories`: what is known, and how much of it is scanned.

use std::collections::HashMap;

use secretscan_bus::Bus;
use secretscan_model::ledger::CommitState;
use secretscan_model::{Purpose, Repository, RepositoryId, RepositoryUri, ScanState, Timestamp, UriPolicy};
use serde::Serialize;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::{self, ListFormat};
use crate::output;

/// Any URI: the controller decides what it accepts.
pub const ANY_URI: UriPolicy = UriPolicy::ANY;

/// List the known repositories: commits scanned and waiting, findings, last scan
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan repositories --format json")]
pub struct Arguments {
    /// How to show them
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RepositoryView<'a> {
    name: &'a str,
    id: &'a str,
    uri: &'a str,
    commits_scanned: u64,
    commits_waiting: u64,
    findings: u64,
    /// When the last request for it completed.
    last_scan: Option<String>,
    #[serde(skip)]
    last_scan_at: Option<Timestamp>,
}

/// Lists them.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    arguments.connection.with_bus(async |bus| list(bus, arguments.format).await)
}

async fn list(bus: &Bus, format: ListFormat) -> anyhow::Result<Outcome> {
    let mut repositories = bus.repositories().await?;
    repositories.sort_by(|a, b| a.name.cmp(&b.name));
    let mut findings: HashMap<RepositoryId, u64> = HashMap::new();
    for (repository, _) in bus.findings(None).await? {
        *findings.entry(repository).or_default() += 1;
    }
    let mut last_scans: HashMap<RepositoryId, Timestamp> = HashMap::new();
    for scan in bus.scans().await? {
        if scan.state == ScanState::Completed
            && scan.purpose != Purpose::Verify
            && let (Some(repository), Some(end)) = (scan.repository, scan.trail.last())
        {
            let last = last_scans.entry(repository).or_default();
            *last = end.at.max(*last);
        }
    }
    let mut views = Vec::with_capacity(repositories.len());
    for repository in &repositories {
        let head = bus.ledger(&repository.id).head().await?;
        let last_scan_at = last_scans.get(&repository.id).copied();
        views.push(RepositoryView {
            name: &repository.name,
            id: repository.id.as_str(),
            uri: &repository.uri,
            commits_scanned: head.count(CommitState::Scanned),
            commits_waiting: head.count(CommitState::WaitingForScan),
            findings: findings.get(&repository.id).copied().unwrap_or(0),
            last_scan: last_scan_at.map(lists::rfc3339),
            last_scan_at,
        });
    }
    output::to_stdout(|out| match format {
        ListFormat::Json => lists::write_json(&views, out),
        ListFormat::Text if views.is_empty() => writeln!(out, "no repository is known"),
        ListFormat::Text => {
            let rows: Vec<_> = views.iter().map(row).collect();
            let header = ["NAME", "ID", "SCANNED", "WAITING", "FINDINGS", "LAST SCAN (UTC)"];
            lists::write_table(header, &rows, out)
        }
    })?;
    Ok(Outcome::Clean)
}

fn row(view: &RepositoryView<'_>) -> [String; 6] {
    [
        view.name.to_owned(),
        view.id.to_owned(),
        view.commits_scanned.to_string(),
        view.commits_waiting.to_string(),
        view.findings.to_string(),
        view.last_scan_at.map_or_else(|| "never".to_owned(), lists::time),
    ]
}

/// The known repository that a text names: its id, its name or one of its URIs.
pub async fn find(bus: &Bus, text: &str) -> anyhow::Result<Repository> {
    if let Ok(id) = text.parse()
        && let Some(repository) = bus.repository(&id).await?
    {
        return Ok(repository);
    }
    let uri = RepositoryUri::parse(text, ANY_URI).ok();
    let name = uri.as_ref().map_or(text, RepositoryUri::name);
    // The name is of no use here: a text that is no URI may be anything, even a URI with a password.
    bus.repository_named(name).await?.ok_or_else(|| {
        let message = "no known repository has this id, name or URI";
        Failure::new(message, "list the known ones with `secretscan repositories`").into()
    })
}
