//! `secretscan history show`: what the ledger knows of one commit.

use secretscan_bus::Bus;
use secretscan_model::CommitId;
use secretscan_model::ledger::Segment;
use serde::Serialize;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::{self, ListFormat};
use crate::{output, repositories};

/// Show whether a commit is scanned: by which batch, with which rules, since when
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan history show github.com/owner/project COMMIT")]
pub struct Arguments {
    /// The repository
    #[arg(value_name = "ID|URI|NAME")]
    repository: String,

    /// The full id of the commit
    commit: CommitId,

    /// How to show it
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    commit: &'a CommitId,
    state: &'a str,
    batch: String,
    rule_set: &'a str,
    at: String,
}

impl Arguments {
    pub fn run(&self) -> anyhow::Result<Outcome> {
        self.connection.with_bus(async |bus| self.show(bus).await)
    }

    async fn show(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let repository = repositories::find(bus, &self.repository).await?;
        let commit = &self.commit;
        let mut holders = bus.ledger(&repository.id).holders(std::slice::from_ref(commit)).await?;
        let Some(segment) = holders.remove(commit) else {
            let message = format!("the ledger of {} does not know the commit {commit}", repository.name);
            let hint = "it is scanned by the next request that lists it; `secretscan request` asks for one";
            return Err(Failure::new(message, hint).into());
        };
        let Segment { batch, state, rule_set, at, .. } = &segment;
        output::to_stdout(|out| match self.format {
            ListFormat::Json => {
                let (batch, at) = (batch.to_string(), lists::rfc3339(*at));
                lists::write_json(&View { commit, state: state.name(), batch, rule_set, at }, out)
            }
            ListFormat::Text => {
                writeln!(out, "commit    {commit}")?;
                writeln!(out, "state     {} since {} UTC", state.name(), lists::time(*at))?;
                writeln!(out, "batch     {batch}")?;
                match rule_set.as_str() {
                    "" => Ok(()),
                    rule_set => writeln!(out, "rule set  {rule_set}"),
                }
            }
        })?;
        Ok(Outcome::Clean)
    }
}
