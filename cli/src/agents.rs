//! `secretscan agents`: who is there to work.

use secretscan_bus::Bus;
use secretscan_model::Agent;
use serde::Serialize;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::lists::{self, ListFormat};
use crate::output;

/// List the running agents
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan agents --nats nats://nats.example.org")]
pub struct Arguments {
    /// How to show them
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentView<'a> {
    role: &'a str,
    id: &'a str,
    slots: u32,
    holds: &'a [String],
    host: &'a str,
    version: &'a str,
    /// Of a batch-agent, the version of its rules.
    #[serde(skip_serializing_if = "str::is_empty")]
    rule_set: &'a str,
    since: String,
    seen: String,
}

/// Lists them.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    arguments.connection.with_bus(async |bus| list(bus, arguments.format).await)
}

async fn list(bus: &Bus, format: ListFormat) -> anyhow::Result<Outcome> {
    let mut agents = bus.agents().await?;
    agents.sort_by(|a, b| (a.role, a.started, &a.id).cmp(&(b.role, b.started, &b.id)));
    output::to_stdout(|out| match format {
        ListFormat::Json => lists::write_json(&agents.iter().map(view).collect::<Vec<_>>(), out),
        ListFormat::Text if agents.is_empty() => writeln!(out, "no agent is running"),
        ListFormat::Text => {
            let rows: Vec<_> = agents.iter().map(row).collect();
            lists::write_table(["ROLE", "ID", "SLOTS", "HOLDS", "HOST", "SINCE (UTC)"], &rows, out)
        }
    })?;
    Ok(Outcome::Clean)
}

fn row(agent: &Agent) -> [String; 6] {
    let holds = if agent.holds.is_empty() { "-".to_owned() } else { agent.holds.join(",") };
    [
        agent.role.as_str().to_owned(),
        agent.id.to_string(),
        agent.slots.to_string(),
        holds,
        agent.host.clone(),
        lists::time(agent.started),
    ]
}

fn view(agent: &Agent) -> AgentView<'_> {
    AgentView {
        role: agent.role.as_str(),
        id: agent.id.as_str(),
        slots: agent.slots,
        holds: &agent.holds,
        host: &agent.host,
        version: &agent.version,
        rule_set: &agent.rule_set,
        since: lists::rfc3339(agent.started),
        seen: lists::rfc3339(agent.seen),
    }
}
