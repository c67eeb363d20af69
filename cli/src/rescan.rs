//! `secretscan rescan`: scans histories again where the rules have changed.

use std::collections::BTreeSet;

use secretscan_bus::{Bus, v1};
use secretscan_model::ledger::CommitState;
use secretscan_model::{Agent, Repository, Role};
use serde::Serialize;
use uuid::Uuid;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::{self, ListFormat};
use crate::request::{self, RequesterArgument};
use crate::{output, repositories};

/// Scan commits again that were scanned with other rules than the batch-agents have now
///
/// Only the rules run that are new or changed, after all other work. What rules had found that are gone, or find it no more,
/// is kept and marked: see `secretscan findings --resolved-by-rule-change`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  secretscan rescan --outdated --all-repositories
  secretscan rescan --outdated github.com/owner/project")]
pub struct Arguments {
    /// The commits that were scanned with other rules
    #[arg(long, required = true)]
    outdated: bool,

    /// Of this repository
    #[arg(value_name = "ID|URI|NAME", required_unless_present = "all_repositories")]
    repository: Option<String>,

    /// Of all repositories
    #[arg(long, conflicts_with = "repository")]
    all_repositories: bool,

    /// How to show what is asked for
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    requester: RequesterArgument,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    repository: String,
    request_id: String,
    rule_set: String,
    /// Commits that were scanned with another version.
    outdated: u64,
}

/// Asks for them.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    arguments.connection.with_bus(async |bus| arguments.ask(bus).await)
}

impl Arguments {
    async fn ask(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let rule_set = rule_set_in_use(&bus.agents().await?)?;
        let repositories = match &self.repository {
            Some(text) => vec![repositories::find(bus, text).await?],
            None => bus.repositories().await?,
        };
        let mut views = Vec::new();
        for repository in &repositories {
            let outdated = outdated(bus, repository, &rule_set).await?;
            if outdated == 0 {
                continue;
            }
            let message = v1::NewRepositoryScan {
                request_id: Uuid::now_v7().to_string(),
                repository_id: repository.id.to_string(),
                priority: v1::Priority::Scheduled.into(),
                requester: self.requester.requester.clone(),
                rescan: rule_set.clone(),
                ..v1::NewRepositoryScan::default()
            };
            let request_id = request::send(bus, &message).await?.request_id;
            let (repository, rule_set) = (repository.name.clone(), rule_set.clone());
            views.push(View { repository, request_id, rule_set, outdated });
        }
        output::to_stdout(|out| match self.format {
            ListFormat::Json => lists::write_json(&views, out),
            ListFormat::Text if views.is_empty() => {
                writeln!(out, "every scanned commit was scanned with {rule_set}")
            }
            ListFormat::Text => {
                let row = |view: &View| {
                    [view.repository.clone(), view.outdated.to_string(), view.request_id.clone()]
                };
                let rows: Vec<_> = views.iter().map(row).collect();
                lists::write_table(["REPOSITORY", "OUTDATED COMMITS", "REQUEST"], &rows, out)
            }
        })?;
        Ok(Outcome::Clean)
    }
}

async fn outdated(bus: &Bus, repository: &Repository, rule_set: &str) -> anyhow::Result<u64> {
    let totals = bus.ledger(&repository.id).head().await?.totals();
    let is_outdated = |state, version: &str| state == CommitState::Scanned && version != rule_set;
    let outdated = totals.iter().filter(|total| is_outdated(total.state, &total.rule_set));
    Ok(outdated.map(|total| total.commits).sum())
}

/// The version of the rules that all batch-agents have.
fn rule_set_in_use(agents: &[Agent]) -> anyhow::Result<String> {
    let scanning = agents.iter().filter(|agent| agent.role == Role::BatchAgent);
    let versions: BTreeSet<&str> = scanning.map(|agent| agent.rule_set.as_str()).collect();
    match Vec::from_iter(versions).as_slice() {
        [version] if !version.is_empty() => Ok((*version).to_owned()),
        [] | [_] => {
            let message = "no batch-agent says which rules it has";
            Err(Failure::new(message, "start a batch-agent; `secretscan agents` lists them").into())
        }
        several => {
            let message = format!("the batch-agents have different rules: {}", several.join(", "));
            Err(Failure::new(message, "ask again when all have been restarted with the new rules").into())
        }
    }
}
