//! `secretscan history verify`: whether every commit that a ref reaches is scanned.

use std::io::{self, Write};

use anyhow::Context;
use secretscan_bus::{Bus, v1};
use secretscan_model::{Listing, NotScanned, RequestId};
use secretscan_report::escape_for_terminal;
use serde::Serialize;
use uuid::Uuid;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::lists::{self, ListFormat, counted};
use crate::request::{self, RequesterArgument};
use crate::{output, repositories};

/// Prove that every commit that a ref reaches is scanned, or name those that are not, and why
///
/// A repo-agent fetches the repository and compares its history with the ledger. Nothing is scanned.
#[derive(clap::Args)]
#[command(after_help = "\
Example: secretscan history verify github.com/owner/project

Exit codes: 0 every commit is scanned, 1 some are not, 2 error")]
pub struct Arguments {
    /// The repository
    #[arg(value_name = "ID|URI|NAME")]
    repository: String,

    /// How to show it
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    requester: RequesterArgument,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    request_id: &'a str,
    commits: u64,
    not_scanned: u64,
    /// Which, if there are not too many to name.
    named: &'a [NotScanned],
}

impl Arguments {
    pub fn run(&self) -> anyhow::Result<Outcome> {
        self.connection.with_bus(async |bus| self.verify(bus).await)
    }

    async fn verify(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let repository = repositories::find(bus, &self.repository).await?;
        let id: RequestId = Uuid::now_v7().to_string().parse()?;
        let message = v1::NewRepositoryScan {
            request_id: id.to_string(),
            repository_id: repository.id.to_string(),
            requester: self.requester.requester.clone(),
            verify: true,
            ..v1::NewRepositoryScan::default()
        };
        request::send(bus, &message).await?;
        // Where standard error is closed, nobody listens.
        let _ = writeln!(io::stderr(), "request {id}");
        let found = request::completed(bus, &id).await?.found.context("it completed without a listing")?;
        output::to_stdout(|out| self.write(&id, &found, out))?;
        Ok(if found.unknown == 0 { Outcome::Clean } else { Outcome::Findings })
    }

    fn write(&self, id: &RequestId, found: &Listing, out: &mut dyn Write) -> io::Result<()> {
        let Listing { commits, unknown, not_scanned, .. } = found;
        if self.format == ListFormat::Json {
            let view = View {
                request_id: id.as_str(),
                commits: *commits,
                not_scanned: *unknown,
                named: not_scanned,
            };
            return lists::write_json(&view, out);
        }
        let reachable = counted(*commits, "commit", "commits");
        if *unknown == 0 {
            return writeln!(out, "{reachable} reachable, all scanned");
        }
        writeln!(out, "{reachable} reachable, {unknown} not scanned:")?;
        for NotScanned { what, reason } in not_scanned {
            writeln!(out, "  {}: {}", escape_for_terminal(what), escape_for_terminal(reason))?;
        }
        Ok(())
    }
}
